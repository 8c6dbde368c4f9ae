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
