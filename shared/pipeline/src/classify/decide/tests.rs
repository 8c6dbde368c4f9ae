//! Tests of the decisions about events and reminders.

use super::jobs::UNCLASSIFIED_TYPE;
use super::*;
use contracts::queue::FollowUpJob;
use domain::event::{Format, TEST_ALERT_TYPE};
use domain::ids::{EventId, IntegrationId, TenantId};
use domain::vocabulary::Severity;

const SHARDS_PER_JOB: u16 = 4;

fn event_of_type(event_type: &str, format: Format) -> Event {
    Event {
        event_type: event_type.to_owned(),
        dedup_key: "k".to_owned(),
        severity: Severity::Critical,
        title: "t".to_owned(),
        labels: [("category".to_owned(), "infrastructure".to_owned())].into(),
        ..Event::blank(format, "s")
    }
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn system_event(event_type: &str) -> IncidentReceived {
    let event = event_of_type(event_type, Format::Native);
    IncidentReceived::system_event(&acme(), event, EventId::new("a"), "c", Timestamp::UNIX_EPOCH)
}

/// An event of the same type from a source's token.
fn source_event(event_type: &str, token: &str) -> IncidentReceived {
    let event = event_of_type(event_type, Format::Alertmanager);
    IncidentReceived {
        integration_id: IntegrationId::new(token),
        body: MessageBody::Event(Box::new(event)),
        ..system_event(event_type)
    }
}

fn decide(message: &IncidentReceived) -> ClassifyDecision {
    decide_with(message, None)
}

/// Decides about a message while an incident of its key is open.
fn decide_with(message: &IncidentReceived, open: Option<&Incident>) -> ClassifyDecision {
    let MessageBody::Event(event) = &message.body else { panic!("{message:?}") };
    let scope = message.scope.clone().unwrap();
    let arrival = EventArrival {
        event_id: &message.event_id,
        scope: &scope,
        key: "key",
        integration_id: &message.integration_id,
        correlation_id: &message.correlation_id,
        accepted_at: message.accepted_at,
    };
    let context = KeyContext { key_state: None, open, windows: &[] };
    decide_event(&Policy::embedded().unwrap(), event, message, &arrival, context, SHARDS_PER_JOB)
}

/// The warning to the operators.
fn warning_of(decision: &ClassifyDecision) -> IncidentReceived {
    let [job] = decision.record.jobs.as_slice() else { panic!("{:?}", decision.record.jobs) };
    match serde_json::from_str(job).unwrap() {
        FollowUpJob::Receive(warning) => *warning,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reserved_types_are_accepted_from_tocsin_only() {
    for event_type in [TEST_ALERT_TYPE, "tocsin.delivery_failed", "tocsin.endpoint_failing", UNCLASSIFIED_TYPE] {
        assert!(decide(&system_event(event_type)).head.is_some(), "{event_type}");
        let unclassified = decide(&source_event(event_type, "a"));
        assert!(unclassified.head.is_none(), "{event_type} from a source opens no incident");
        assert_eq!(
            (unclassified.record.reason, unclassified.record.warnings.len()),
            (Some(Reason::Unclassified), 1),
            "{event_type}"
        );
        assert!(warning_of(&unclassified).is_system_event(), "the operators are warned");
    }
    assert!(
        decide(&system_event("tocsin.no_such")).record.jobs.is_empty(),
        "an unclassified system event causes no warning"
    );
    assert!(decide(&source_event("api.outage", "a")).head.is_some());
}

#[test]
fn a_reminder_that_is_not_sent_has_a_reason() {
    let maintenance = |from: &str| -> Incident {
        let json = serde_json::json!({"id": "inc_a", "scope": {"tenant": "acme"}, "key": "k", "integration_id": "int_s",
            "source": "ops", "event_type": "maintenance.announced", "dedup_key": "d", "category": null, "kind": "maintenance",
            "rule": "r", "severity": "info", "status": "investigating", "title": "Switch", "components": [], "regions": [],
            "public": false, "started_at": from, "last_seen": from, "updates": 2, "version": 2,
            "maintenance": {"phase": "scheduled", "from": from}});
        serde_json::from_value(json).unwrap()
    };
    let reminder = |update: u32| {
        let at = "2026-11-23T09:00:00Z".parse().unwrap();
        let (incident_id, scope) = (IncidentId::new("a"), Scope::Tenant(acme()));
        Reminder { incident_id, scope, key: "k".into(), at, update, correlation_id: "c".into() }
    };
    let decide = |incident: &Incident, update: u32| {
        let content = ReminderContent { update_number: update, update: None };
        let message = IncidentReceived::reminder(reminder(update), reminder(update).at);
        let scope = message.scope.clone().unwrap();
        let arrival = EventArrival {
            event_id: &message.event_id,
            scope: &scope,
            key: "k",
            integration_id: &message.integration_id,
            correlation_id: &message.correlation_id,
            accepted_at: message.accepted_at,
        };
        decide_reminder(incident, content, &message, &arrival, reminder(update).at, SHARDS_PER_JOB)
    };
    let decision = decide(&maintenance("2026-11-23T10:00:00Z"), 2);
    assert_eq!((decision.record.reason, decision.record.jobs.len(), decision.update.unwrap().number), (None, 1, 3));
    for (incident, update, reason) in [
        (maintenance("2026-11-23T10:00:00Z"), 1, Reason::SupersededBy),
        (maintenance("2026-11-23T08:59:00Z"), 2, Reason::Expired),
    ] {
        let not_sent = decide(&incident, update);
        assert_eq!((not_sent.record.reason, not_sent.record.jobs.len()), (Some(reason), 0));
        assert!(not_sent.head.is_none() && not_sent.update.is_none());
    }
    let gone = decide_expired_reminder(&IncidentReceived::reminder(reminder(2), reminder(2).at), &reminder(2));
    assert_eq!(
        (gone.record.reason, gone.head.is_none()),
        (Some(Reason::Expired), true),
        "the message is not unprocessable"
    );
}

#[test]
fn a_token_causes_one_warning_an_hour_whatever_it_sends() {
    let warning_about = |event_type: &str, token: &str| match warning_of(&decide(&source_event(event_type, token))).body
    {
        MessageBody::Event(warning) => (warning.dedup_key.clone(), warning.severity),
        other => panic!("{other:?}"),
    };
    let (key, severity) = warning_about("no.such", "a");
    assert_eq!(severity, Severity::Warning, "the event was critical");
    assert_eq!(warning_about("no.other", "a").0, key);
    assert_ne!(warning_about("no.such", "b").0, key);
}

#[test]
fn a_user_warning_without_its_user_notifies_nobody_and_says_so() {
    let with_labels = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let event = Event { labels, ..event_of_type("user.warning", Format::Alertmanager) };
        decide(&IncidentReceived { body: MessageBody::Event(Box::new(event)), ..source_event("user.warning", "a") })
    };
    let missing = with_labels(&[]);
    assert!(
        missing.head.is_none() && missing.list_entry.is_some(),
        "it is listed among the events without an incident"
    );
    assert_eq!(missing.record.reason, Some(Reason::UserMissing));
    let named = with_labels(&[("user_id", " u-17 ")]);
    assert_eq!(named.head.unwrap().0.user_id.as_deref(), Some("u-17"));
}

#[test]
fn a_warning_with_the_key_of_another_users_open_one_notifies_neither_and_says_so() {
    let warning = |user: &str| {
        let event = Event { user_id: Some(user.to_owned()), ..event_of_type("user.warning", Format::Native) };
        IncidentReceived { body: MessageBody::Event(Box::new(event)), ..source_event("user.warning", "a") }
    };
    let open = decide(&warning("u-1")).head.unwrap().0;
    let next = |incident: &Incident, user: &str| decide_with(&warning(user), Some(incident));
    let other = next(&open, "u-2");
    assert_eq!((other.record.reason, other.head.is_none()), (Some(Reason::UserDiffers), true));
    assert_eq!(next(&open, "u-1").record.reason, Some(Reason::Repeat));
    let of_an_earlier_release = Incident { user_id: None, severity: Severity::Info, ..open };
    assert_eq!(next(&of_an_earlier_release, "u-2").head.unwrap().0.user_id.as_deref(), Some("u-2"));
}
