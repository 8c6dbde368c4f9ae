//! What a received message does next, answer by answer.

use super::*;
use contracts::queue::Lane;
use domain::event::{Event, Format};
use domain::ids::{EventId, IntegrationId};
use domain::vocabulary::Severity;
use jiff::Timestamp;
use std::time::Duration;

fn policy() -> Policy {
    Policy::embedded().unwrap()
}

fn turn() -> Turn {
    Turn {
        now: Timestamp::UNIX_EPOCH,
        left: Duration::from_secs(20),
        receives: 1,
        lane: Lane::Urgent,
        jitter: 0.0,
        token: "run".to_owned(),
        counted: Vec::new(),
    }
}

fn message() -> IncidentReceived {
    let event = Event {
        event_type: "network.outage".to_owned(),
        dedup_key: "k".to_owned(),
        severity: Severity::Critical,
        title: "t".to_owned(),
        ..Event::blank(Format::Native, "s")
    };
    let acme = TenantId::parse("acme").unwrap();
    IncidentReceived {
        integration_id: IntegrationId::new("token"),
        ..IncidentReceived::system_event(&acme, event, EventId::new("a"), "c", Timestamp::UNIX_EPOCH)
    }
}

/// Tells a story on until it commits, with nothing found on the way.
fn until_commit(mut story: Classify, turn: &mut Turn) -> Box<Commit> {
    let policy = policy();
    loop {
        story = match story {
            Classify::Record(step) => step.answered(Ok(None), &policy, turn),
            Classify::Tenant(step) => step.answered(Ok(true), &policy, turn),
            Classify::Key(step) => step.answered(Ok((None, None)), &policy, turn),
            Classify::Windows(step) => step.answered(Ok(Vec::new()), &policy, turn),
            Classify::Commit(step) => return step,
            other => panic!("{other:?}"),
        };
    }
}

fn parked(story: Classify) -> String {
    let Classify::End(Verdict::Park { reason }) = story else { panic!("{story:?}") };
    reason
}

#[test]
fn an_event_opens_an_incident_and_emits_its_job_only_once_it_is_stored() {
    let mut turn = turn();
    let commit = until_commit(begin(message(), 4), &mut turn);
    let jobs = commit.decision().record.jobs.len();
    assert!(jobs > 0 && commit.decision().head.is_some());
    let Classify::Emit(emit) = commit.answered(Ok(true), &mut turn) else { panic!("nothing is emitted") };
    assert_eq!(emit.jobs().len(), jobs);
    assert_eq!(turn.counted, [Counted::Classified { outcome: Classified::Included }]);
    assert!(matches!(emit.answered(Ok(()), &mut turn), Classify::End(Verdict::Delete)));
}

#[test]
fn a_redelivery_emits_the_stored_jobs_and_decides_nothing() {
    let mut turn = turn();
    let record = until_commit(begin(message(), 4), &mut turn).decision().record.clone();
    let Classify::Record(step) = begin(message(), 4) else { panic!("the record is not read first") };
    let Classify::Emit(emit) = step.answered(Ok(Some(record.clone())), &policy(), &mut turn) else { panic!() };
    assert_eq!(emit.jobs().len(), record.jobs.len());

    let Classify::Record(step) = begin(message(), 4) else { panic!() };
    let story = step.answered(Ok(Some(EventRecord { jobs: Vec::new(), ..record.clone() })), &policy(), &mut turn);
    assert!(matches!(story, Classify::End(Verdict::Delete)), "nothing was to follow");

    let Classify::Record(step) = begin(message(), 4) else { panic!() };
    let unreadable = EventRecord { jobs: vec!["{}".to_owned()], ..record };
    assert_eq!(parked(step.answered(Ok(Some(unreadable)), &policy(), &mut turn)), "cannot read a stored job");
}

#[test]
fn a_lost_race_is_decided_again_and_the_fifth_in_a_row_returns_the_message() {
    let mut turn = turn();
    let mut story = begin(message(), 4);
    for _ in 1..LOST_RACES_MAX {
        story = until_commit(story, &mut turn).answered(Ok(false), &mut turn);
        assert!(matches!(story, Classify::Record(_)), "decided again from the beginning");
    }
    let story = until_commit(story, &mut turn).answered(Ok(false), &mut turn);
    assert!(matches!(story, Classify::End(Verdict::Fault { .. })));
    assert_eq!(turn.counted, [], "nothing was classified");
}

#[test]
fn a_missing_tenant_is_recorded_without_a_scope_unless_the_record_is_there_already() {
    let (mut turn, policy) = (turn(), policy());
    let missing = || IncidentReceived { scope: None, ..message() };
    let Classify::Record(step) = begin(missing(), 4) else { panic!() };
    let commit = until_commit(step.answered(Ok(None), &policy, &mut turn), &mut turn);
    assert_eq!(commit.decision().record.reason, Some(Reason::TenantMissing));

    // Another tenant's part of the same event is stored without a scope too: this part has a record of its own then.
    let Classify::Record(step) = begin(message(), 4) else { panic!() };
    let Classify::Tenant(step) = step.answered(Ok(None), &policy, &mut turn) else { panic!() };
    let Classify::Record(step) = step.answered(Ok(false), &policy, &mut turn) else { panic!() };
    assert_eq!(step.scope(), None);
    let story = step.answered(Ok(None), &policy, &mut turn);
    let commit = until_commit(story, &mut turn);
    assert_eq!(commit.decision().record.reason, Some(Reason::TenantUnknown));
    assert!(commit.decision().head.is_none());
}

#[test]
fn an_open_key_without_its_incident_is_put_aside_with_the_reason() {
    let (mut turn, policy) = (turn(), policy());
    let Classify::Record(step) = begin(message(), 4) else { panic!() };
    let Classify::Tenant(step) = step.answered(Ok(None), &policy, &mut turn) else { panic!() };
    let Classify::Key(step) = step.answered(Ok(true), &policy, &mut turn) else { panic!() };
    let open = serde_json::json!({"incident_id": "inc_a", "open": true});
    let Ok(open) = serde_json::from_value::<KeyState>(open) else { panic!("not a key state") };
    let story = step.answered(Ok((Some(open), None)), &policy, &mut turn);
    assert_eq!(parked(story), "the incident of this message is not in the table");
}

#[test]
fn a_fault_of_aws_returns_the_message_whatever_it_interrupts() {
    let fault = || crate::Fault::Unavailable { code: "ThrottlingException".to_owned() };
    let (mut turn, policy) = (turn(), policy());
    let is_fault = |story: Classify| matches!(story, Classify::End(Verdict::Fault { .. }));
    let Classify::Record(step) = begin(message(), 4) else { panic!() };
    assert!(is_fault(step.answered(Err(fault()), &policy, &mut turn)));
    let commit = until_commit(begin(message(), 4), &mut turn);
    assert!(is_fault(commit.answered(Err(fault()), &mut turn)));
    let commit = until_commit(begin(message(), 4), &mut turn);
    let Classify::Emit(emit) = commit.answered(Ok(true), &mut turn) else { panic!() };
    assert!(is_fault(emit.answered(Err(fault()), &mut turn)));
}

/// The record of a message's event as it was stored when the event came first.
fn first_record(message: &IncidentReceived, turn: &mut Turn) -> EventRecord {
    until_commit(begin(message.clone(), 4), turn).decision().record.clone()
}

#[test]
fn a_monitors_repeat_is_counted_and_emits_nothing() {
    let (mut turn, policy) = (turn(), policy());
    let report = IncidentReceived {
        body: match message().body {
            MessageBody::Event(event) => MessageBody::Event(Box::new(Event { format: Format::Alertmanager, ..*event })),
            other => other,
        },
        ..message()
    };
    let commit = until_commit(begin(report.clone(), 4), &mut turn);
    let (record, incident) = (commit.decision().record.clone(), commit.decision().head.clone().unwrap().0);
    let again = IncidentReceived { accepted_at: Timestamp::from_second(330).unwrap(), ..report };

    // It is still so: one more repeat, and the first one's record with its jobs stays.
    let Classify::Record(step) = begin(again.clone(), 4) else { panic!() };
    let Classify::Tenant(step) = step.answered(Ok(Some(record.clone())), &policy, &mut turn) else { panic!() };
    let Classify::Key(step) = step.answered(Ok(true), &policy, &mut turn) else { panic!() };
    let key = KeyState::of(&incident);
    let story = step.answered(Ok((Some(key), Some(incident.clone()))), &policy, &mut turn);
    let Classify::Commit(commit) = story else { panic!("{story:?}") };
    assert_eq!(commit.decision().record_write, EventRecordWrite::Keep);
    assert_eq!(commit.decision().head.as_ref().map(|(incident, _)| incident.repeats), Some(1));
    assert!(matches!(commit.answered(Ok(true), &mut turn), Classify::End(Verdict::Delete)), "nothing is emitted");

    // It had ended, and has come back with the same id: another incident, in place of the first one's record.
    let Classify::Record(step) = begin(again.clone(), 4) else { panic!() };
    let Classify::Tenant(step) = step.answered(Ok(Some(record.clone())), &policy, &mut turn) else { panic!() };
    let Classify::Key(step) = step.answered(Ok(true), &policy, &mut turn) else { panic!() };
    let closed =
        KeyState { open: false, closed_at: Some(Timestamp::from_second(300).unwrap()), ..KeyState::of(&incident) };
    let story = step.answered(Ok((Some(closed), None)), &policy, &mut turn);
    let commit = until_commit(story, &mut turn);
    assert_eq!(commit.decision().record_write, EventRecordWrite::Replace { accepted_at: record.accepted_at });
    assert!(commit.decision().head.as_ref().is_some_and(|(next, _)| next.id != incident.id));
    assert!(matches!(commit.answered(Ok(true), &mut turn), Classify::Emit(_)));
}

#[test]
fn a_second_copy_of_any_other_event_does_nothing() {
    let (mut turn, policy) = (turn(), policy());
    let record = first_record(&message(), &mut turn);
    let retried = IncidentReceived { accepted_at: Timestamp::from_second(120).unwrap(), ..message() };
    let Classify::Record(step) = begin(retried, 4) else { panic!() };
    let story = step.answered(Ok(Some(record)), &policy, &mut turn);
    assert!(matches!(story, Classify::End(Verdict::Delete)), "{story:?}");
    assert_eq!(turn.counted, [Counted::Classified { outcome: Classified::Repeated }]);
}
