//! What becomes of something due, now that everything about it was read anew.

use contracts::queue::Delivery;
use domain::incident::{Incident, Update};
use domain::plan;
use domain::reason::Reason;
use domain::tenant::{Destination, Settings};
use jiff::Timestamp;
use store::due::Due;

/// The facts as they are now; `None` for what is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) settings: Option<&'a Settings>,
    pub(crate) incident: Option<&'a Incident>,
    pub(crate) update: Option<&'a Update>,
    pub(crate) destination: Option<&'a Destination>,
}

/// What becomes of it.
#[derive(Debug)]
pub(crate) enum Decided {
    /// It is sent.
    Send(Box<Delivery>),
    /// It ends unsent.
    End(Reason),
}

/// Sends what was put off, unless nobody can be reached there any more. Toggles, filters and plan are not asked again: they
/// were asked when the update was planned, and a retry is the same delivery.
pub(crate) fn decide(due: &Due, facts: Facts<'_>) -> Decided {
    let (Some(incident), Some(update)) = (facts.incident, facts.update) else {
        // Rows of incidents go after the retention time; what is due longer than that is of no use to anybody.
        return Decided::End(Reason::Expired);
    };
    let (Some(settings), Some(destination)) = (facts.settings, facts.destination) else {
        return Decided::End(Reason::NoDestination);
    };
    if let Some(reason) = plan::unreachable(incident, settings, destination, due.channel) {
        return Decided::End(reason);
    }
    match Delivery::build(settings, incident, update, destination, due.channel, due.role) {
        Some(delivery) => Decided::Send(Box::new(Delivery { attempt: due.attempt, plain: due.plain, ..delivery })),
        None => Decided::End(Reason::NoDestination),
    }
}

/// How long the queue is to hold it, in seconds, rounded up: a slot is a minute, and nothing comes before its time.
pub(crate) fn delay_seconds(due: &Due, now: Timestamp) -> u16 {
    let milliseconds = (due.at.as_millisecond() - now.as_millisecond()).max(0);
    u16::try_from((milliseconds + 999) / 1_000).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::queue::Target;
    use domain::tenant::Recipient;
    use serde_json::{Value, json};

    const AT: &str = "2026-11-23T12:00:00Z";

    fn settings() -> Settings {
        serde_json::from_value(json!({"tenant": "acme", "name": "Acme", "plan": "top", "zone": "Asia/Kolkata",
            "alert_window_seconds": 60, "categories": {}, "version": 1}))
        .unwrap()
    }

    fn incident() -> Incident {
        serde_json::from_value(
            json!({"id": "inc_a", "scope": {"tenant": "acme"}, "key": "k", "integration_id": "int_s",
            "source": "monitor", "event_type": "api.outage", "dedup_key": "d", "category": "infrastructure",
            "kind": "incident", "rule": "r", "severity": "error", "status": "investigating", "title": "Down",
            "components": [], "regions": [], "public": false, "started_at": AT, "last_seen": AT, "updates": 1,
            "version": 1}),
        )
        .unwrap()
    }

    fn update() -> Update {
        serde_json::from_value(json!({"number": 1, "event_id": "evt_a", "correlation_id": "c-1", "accepted_at": AT,
            "change": "opened", "status": "investigating", "severity": "error", "title": "Down", "message": "",
            "components": [], "regions": []}))
        .unwrap()
    }

    fn recipient(change: Value) -> Destination {
        let mut value = json!({"id": "rcp_a", "name": "A", "email": "a@example.com", "email_confirmed": true,
            "phone": "+14155550100", "phone_confirmed": true, "roles": ["org_admin"], "version": 1});
        for (name, to) in change.as_object().unwrap() {
            value[name] = to.clone();
        }
        Destination::Recipient(Box::new(serde_json::from_value::<Recipient>(value).unwrap()))
    }

    fn integration(change: Value) -> Destination {
        let mut value = json!({"id": "int_a", "name": "Hook", "kind": "webhook", "url": "v1.1.u", "host": "x.test",
            "fingerprint": "f", "secret": "v1.1.s", "audiences": ["tech_devops"], "version": 1});
        for (name, to) in change.as_object().unwrap() {
            value[name] = to.clone();
        }
        Destination::Integration(Box::new(serde_json::from_value(value).unwrap()))
    }

    fn due(channel: &str) -> Due {
        serde_json::from_value(json!({"at": AT, "tenant": "acme", "destination": "int_a", "channel": channel,
            "incident_id": "inc_a", "update": 1, "attempt": 4, "plain": true, "role": "tech_devops"}))
        .unwrap()
    }

    fn decided(channel: &str, destination: Option<&Destination>) -> Decided {
        let (settings, incident, update) = (settings(), incident(), update());
        let facts = Facts { settings: Some(&settings), incident: Some(&incident), update: Some(&update), destination };
        decide(&due(channel), facts)
    }

    #[test]
    fn what_can_be_reached_is_sent_with_its_attempt_and_todays_address() {
        let moved = integration(json!({"url": "v1.2.new"}));
        let Decided::Send(delivery) = decided("webhook", Some(&moved)) else { panic!("not sent") };
        assert_eq!((delivery.attempt, delivery.plain, delivery.slot_ms), (4, true, 0));
        assert_eq!(delivery.why.role, Some(domain::vocabulary::Role::TechDevops));
        assert!(matches!(&delivery.target, Target::Webhook { url, .. } if url.expose() == "v1.2.new"));
    }

    #[test]
    fn what_cannot_be_reached_ends_with_its_reason() {
        for (channel, destination, reason) in [
            ("webhook", integration(json!({"paused": true})), Reason::IntegrationPaused),
            ("webhook", integration(json!({"disabled": {"at": AT, "cause": "http_410"}})), Reason::EndpointDisabled),
            ("webhook", integration(json!({"secret": null})), Reason::NoDestination),
            ("email", recipient(json!({"unsubscribed": ["infrastructure"]})), Reason::OptedOut),
            ("email", recipient(json!({"email": null})), Reason::NoDestination),
            ("email", recipient(json!({"email_confirmed": false})), Reason::ContactUnconfirmed),
            ("sms", recipient(json!({"phone": null})), Reason::NoDestination),
            ("sms", recipient(json!({"dnd": true})), Reason::Dnd),
        ] {
            match decided(channel, Some(&destination)) {
                Decided::End(got) => assert_eq!(got, reason, "{channel}"),
                Decided::Send(_) => panic!("{reason} was sent"),
            }
        }
        assert!(matches!(decided("webhook", None), Decided::End(Reason::NoDestination)));
        assert!(matches!(
            decided("sms", Some(&recipient(json!({"dnd": true, "sms_consent": true})))),
            Decided::Send(_)
        ));
    }

    #[test]
    fn what_it_is_about_may_have_expired() {
        let (settings, destination) = (settings(), integration(json!({})));
        let facts = Facts { settings: Some(&settings), incident: None, update: None, destination: Some(&destination) };
        assert!(matches!(decide(&due("webhook"), facts), Decided::End(Reason::Expired)));
    }

    #[test]
    fn nothing_comes_before_its_time() {
        let due = due("webhook");
        let delay = |now: &str| delay_seconds(&due, now.parse().unwrap());
        assert_eq!(delay("2026-11-23T12:00:00Z"), 0);
        assert_eq!(delay("2026-11-24T12:00:00Z"), 0);
        assert_eq!(delay("2026-11-23T11:59:59.999Z"), 1);
        assert_eq!(delay("2026-11-23T11:59:01Z"), 59);
    }
}
