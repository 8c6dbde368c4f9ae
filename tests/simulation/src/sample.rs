//! Tenants, incidents and updates for tests to which it does not matter who they are.

use domain::subscriber::Subscriber;
use domain::tenant::Destination;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// When they begin.
pub const AT: &str = "2026-11-23T12:00:00Z";

/// Reads a value from JSON.
///
/// # Panics
/// If it is not of that form.
#[must_use]
pub fn parsed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}"))
}

/// A tenant of the enterprise plan, with infrastructure alerts on three classes of channels.
#[must_use]
pub fn subscriber(tenant: &str, destinations: Vec<Destination>) -> Subscriber {
    let confirmed = json!({"at": AT, "by": "usr_a", "wording": "yes"});
    let settings = json!({"tenant": tenant, "name": "Acme", "plan": "enterprise", "zone": "UTC",
        "alert_window_seconds": 60, "version": 1, "storms": "bundle",
        "categories": {"infrastructure": {"enabled": true, "channels": ["email", "chat", "webhook"]}},
        "compliance_confirmed": {"email": confirmed, "chat": confirmed, "webhook": confirmed}});
    Subscriber { settings: parsed(settings), destinations: destinations.into_iter().map(|one| (0, one)).collect() }
}

/// A recipient with a confirmed e-mail address. Whoever sleeps has quiet hours around [`AT`].
#[must_use]
pub fn recipient(id: &str, sleeps: bool) -> Destination {
    let mut value = json!({"id": id, "name": "Ada", "email": format!("{id}@acme.test"), "email_confirmed": true,
        "roles": ["tech_devops"], "version": 1});
    if sleeps {
        value["quiet_hours"] = json!({"hours": {"from": "11:00:00", "to": "13:00:00", "critical_passes": false}});
    }
    Destination::Recipient(Box::new(parsed(value)))
}

/// A Slack channel (`slack`), a Teams channel (`teams`) or a webhook (`webhook`).
#[must_use]
pub fn endpoint(id: &str, kind: &str) -> Destination {
    Destination::Integration(Box::new(parsed(json!({"id": id, "name": kind, "kind": kind, "url": "v1.1.u",
        "host": "x.test", "fingerprint": id, "secret": "v1.1.s", "audiences": ["tech_devops"], "version": 1}))))
}
