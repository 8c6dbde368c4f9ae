//! Days of the system's life in minutes, on the running stack, by a clock that only its tests may set: hours across the change of
//! summer time, digests, maintenance, an endpoint that is dead for days, a storm. They have a stack of their own, and run one at a time on it,
//! for its clock is everybody's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may fail by a panic"
)]

#[path = "days/endpoint.rs"]
mod endpoint;
#[path = "days/hours.rs"]
mod hours;
#[path = "days/kills.rs"]
mod kills;
#[path = "days/maintenance.rs"]
mod maintenance;
#[path = "days/storm.rs"]
mod storm;

use serde_json::{Value, json};
use std::time::Duration;
use tests::tenant::Tenant;
use tests::wait;

/// Posts an event of a tenant and gives back its incident.
fn post(tenant: &Tenant, key: &str, more: Value) -> String {
    let mut event = json!({"type": "voice.routing_failure", "severity": "error", "title": format!("{key} of {}", tenant.id),
        "dedup_key": key, "tenant_ids": [tenant.id]});
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    tenant.stack.incident_of(&tenant.stack.post(event))
}

/// The words of the e-mails to somebody about this tenant.
fn mails(tenant: &Tenant, to: &str) -> Vec<String> {
    let all = tenant.stack.mails(&tenant.id).into_iter();
    all.filter(|mail| mail.to == to).map(|mail| mail.text).collect()
}

/// Waits until the newest entry of an incident's explanation for a destination says so.
fn stands(tenant: &Tenant, incident: &str, (id, channel): (&str, &str), expected: &(u64, String, String)) {
    let what = format!("{id} {channel} to be {expected:?}");
    wait(&what, Duration::from_secs(60), || {
        (tenant.explained(incident, id, channel).last() == Some(expected)).then_some(())
    });
}

/// Returns until when a delivery is held, according to the explanation.
fn until(tenant: &Tenant, incident: &str, id: &str, channel: &str) -> String {
    let known = tenant.get(&format!("/incidents/{incident}/explain"));
    let mut all = known["decisions"].as_array().unwrap().iter().rev();
    let mine = all.find(|one| (one["recipient_id"] == id || one["integration_id"] == id) && one["channel"] == channel);
    mine.and_then(|one| one["until"].as_str()).unwrap_or_default().to_owned()
}
