use super::*;
use domain::event::TEST_ALERT_TYPE;
use domain::ids::IntegrationId;

const SHARDS_PER_JOB: u16 = 4;

fn said(event_type: &str, format: Format) -> Event {
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

fn own(event_type: &str) -> IncidentReceived {
    let event = said(event_type, Format::Native);
    IncidentReceived::system_event(&acme(), event, EventId::new("a"), "c", Timestamp::UNIX_EPOCH)
}

/// The same from somebody's token.
fn foreign(event_type: &str, token: &str) -> IncidentReceived {
    let event = said(event_type, Format::Alertmanager);
    IncidentReceived {
        integration_id: IntegrationId::new(token),
        body: MessageBody::Event(Box::new(event)),
        ..own(event_type)
    }
}

fn decided(message: &IncidentReceived) -> ClassifyDecision {
    let MessageBody::Event(said) = &message.body else { panic!("{message:?}") };
    let scope = message.scope.clone().unwrap();
    let arrival = EventArrival {
        event_id: &message.event_id,
        scope: &scope,
        key: "key",
        integration_id: &message.integration_id,
        correlation_id: &message.correlation_id,
        accepted_at: message.accepted_at,
    };
    let known = KeyContext { remembered: None, open: None, windows: &[] };
    decide_event(&Policy::embedded().unwrap(), said, message, &arrival, known, SHARDS_PER_JOB)
}

/// The note that the operators get.
fn note_of(decided: &ClassifyDecision) -> IncidentReceived {
    let [job] = decided.record.jobs.as_slice() else { panic!("{:?}", decided.record.jobs) };
    match serde_json::from_value(job.clone()).unwrap() {
        FollowUpJob::Receive(note) => *note,
        other => panic!("{other:?}"),
    }
}

#[test]
fn our_own_types_are_ours_alone() {
    for event_type in [TEST_ALERT_TYPE, "tocsin.delivery_failed", "tocsin.endpoint_failing", UNCLASSIFIED_TYPE] {
        assert!(decided(&own(event_type)).head.is_some(), "{event_type}");
        let kept = decided(&foreign(event_type, "a"));
        assert!(kept.head.is_none(), "{event_type} of a source notifies nobody");
        assert_eq!((kept.record.reason, kept.record.warnings.len()), (Some(Reason::Unclassified), 1), "{event_type}");
        assert!(note_of(&kept).is_system_event(), "but to the operators");
    }
    assert!(decided(&own("tocsin.no_such")).record.jobs.is_empty(), "a note makes no note");
    assert!(decided(&foreign("api.outage", "a")).head.is_some());
}

#[test]
fn a_reminder_that_comes_to_nothing_says_why() {
    let work = |from: &str| -> Incident {
        let json = serde_json::json!({"id": "inc_a", "scope": {"tenant": "acme"}, "key": "k", "integration_id": "int_s",
            "source": "ops", "event_type": "maintenance.announced", "dedup_key": "d", "category": null, "kind": "maintenance",
            "rule": "r", "severity": "info", "status": "investigating", "title": "Switch", "components": [], "regions": [],
            "public": false, "started_at": from, "last_seen": from, "updates": 2, "version": 2,
            "maintenance": {"phase": "scheduled", "from": from}});
        serde_json::from_value(json).unwrap()
    };
    let due = |update: u32| {
        let at = "2026-11-23T09:00:00Z".parse().unwrap();
        let (incident_id, scope) = (IncidentId::new("a"), Scope::Tenant(acme()));
        Reminder { incident_id, scope, key: "k".into(), at, update, correlation_id: "c".into() }
    };
    let decided = |incident: &Incident, update: u32| {
        let message = IncidentReceived::reminder(due(update), due(update).at);
        let scope = message.scope.clone().unwrap();
        let arrival = EventArrival {
            event_id: &message.event_id,
            scope: &scope,
            key: "k",
            integration_id: &message.integration_id,
            correlation_id: &message.correlation_id,
            accepted_at: message.accepted_at,
        };
        decide_reminder(incident, (update, None), &message, &arrival, due(update).at, SHARDS_PER_JOB)
    };
    let decision = decided(&work("2026-11-23T10:00:00Z"), 2);
    assert_eq!((decision.record.reason, decision.record.jobs.len(), decision.update.unwrap().number), (None, 1, 3));
    for (incident, update, reason) in
        [(work("2026-11-23T10:00:00Z"), 1, Reason::SupersededBy), (work("2026-11-23T08:59:00Z"), 2, Reason::Expired)]
    {
        let nothing = decided(&incident, update);
        assert_eq!((nothing.record.reason, nothing.record.jobs.len()), (Some(reason), 0));
        assert!(nothing.head.is_none() && nothing.update.is_none());
    }
    let gone = decide_expired_reminder(&IncidentReceived::reminder(due(2), due(2).at), &due(2));
    assert_eq!((gone.record.reason, gone.head.is_none()), (Some(Reason::Expired), true), "no poison");
}

#[test]
fn a_token_is_one_warning_an_hour_whatever_it_says() {
    let about = |event_type: &str, token: &str| match note_of(&decided(&foreign(event_type, token))).body {
        MessageBody::Event(note) => (note.dedup_key.clone(), note.severity),
        other => panic!("{other:?}"),
    };
    let (key, severity) = about("no.such", "a");
    assert_eq!(severity, Severity::Warning, "the event was critical");
    assert_eq!(about("no.other", "a").0, key);
    assert_ne!(about("no.such", "b").0, key);
}
