//! What a delivery's story does next, answer by answer.

use super::record::Mark;
use super::*;
use crate::send::{Accepted, SendFailure};
use crate::turn::Fault;
use contracts::queue::{IncidentReceived, Lane, MessageBody};
use domain::attempt::{AttemptFailure, RetryVerdict};
use domain::delivery::{ClaimRefusal, EarlierClaim};
use domain::due::ScheduledDelivery;
use domain::ids::EventId;
use domain::rate_limit::{CallSlot, RateLimitDecision};
use domain::vocabulary::Channel;
use serde_json::json;

fn delivery(channel: &str, incident: &str, update: u32, attempt: u32) -> Delivery {
    let (destination, target) = match channel {
        "email" => ("rcp_a", json!({"to": "email", "address": "a@example.com"})),
        "slack" => ("int_s", json!({"to": "chat", "url": "sealed", "fingerprint": "f"})),
        _ => ("int_h", json!({"to": "webhook", "url": "sealed", "secret": "sealed"})),
    };
    let at = "2027-01-15T08:00:00Z";
    serde_json::from_value(json!({
        "v": 1, "correlation_id": "c", "why": {"role": null}, "destination": destination, "channel": channel,
        "target": target, "attempt": attempt, "window_seconds": 60, "bundle": true,
        "alert": {
            "tenant": "acme", "incident_id": incident, "update": update, "event_id": "evt_1", "platform_wide": false,
            "category": "infrastructure", "kind": "incident", "event_type": "voice.down", "severity": "critical",
            "status": "investigating", "title": "Voice is down", "started_at": at, "at": at, "change": "opened",
            "zone": "UTC", "public": false,
        },
    }))
    .unwrap()
}

fn turn() -> Turn {
    Turn {
        now: "2027-01-15T08:00:05Z".parse().unwrap(),
        left: Duration::from_secs(7),
        receives: 1,
        lane: Lane::Urgent,
        jitter: 0.5,
        token: "token".to_owned(),
        counted: Vec::new(),
    }
}

fn single(channel: &str, attempt: u32) -> Message {
    Message::Single(Box::new(delivery(channel, "inc_1", 1, attempt)))
}

fn list(members: Vec<Delivery>) -> Message {
    Message::List(Box::new(BatchDelivery { v: 1, members, omitted_count: 3, storm: false }))
}

/// Claims all rows of a message, and returns what follows.
fn claimed(message: Message, turn: &mut Turn) -> Deliver {
    let Deliver::Claim(claim) = begin(message, turn) else { panic!("not a claim") };
    let answers = claim.members().iter().map(|_| Ok(Ok(EarlierClaim::default()))).collect();
    claim.answered(answers, turn)
}

/// Returns what follows a send that ended so.
fn sent(message: Message, outcome: Result<Accepted, SendFailure>, turn: &mut Turn) -> Deliver {
    let mut story = claimed(message, turn);
    if let Deliver::Limit(limit) = story {
        story = limit.answered(Ok(domain::rate_limit::RateLimitDecision::SendNow), turn);
    }
    let Deliver::Send(send) = story else { panic!("not a send: {story:?}") };
    send.answered(outcome, turn)
}

fn failed(verdict: RetryVerdict) -> SendFailure {
    let failed = AttemptFailure { cause: "http_503".to_owned(), retry_after: None, slow_down: false, verdict };
    SendFailure::Failed { failed, status: Some(503), response: String::new(), plain: false }
}

/// Goes on after the notices of a story, if it has any.
fn without_notice(story: Deliver, turn: &mut Turn) -> Deliver {
    match story {
        Deliver::Notify(notify) => notify.answered(Ok(()), turn),
        other => other,
    }
}

/// The types of the notices that a story sends.
fn notices(story: &Deliver) -> Vec<(String, EventId)> {
    let Deliver::Notify(notify) = story else { return Vec::new() };
    let notice = |one: &IncidentReceived| match &one.body {
        MessageBody::Event(event) => (event.event_type.clone(), one.event_id.clone()),
        other => panic!("{other:?}"),
    };
    notify.notices().iter().map(notice).collect()
}

fn unavailable() -> Fault {
    Fault::Unavailable { code: "dynamodb".to_owned() }
}

#[test]
fn a_list_that_names_a_row_twice_keeps_its_newest_attempt() {
    let all = [(1, 1), (2, 1), (2, 2), (2, 2)].map(|(update, attempt)| delivery("email", "inc_1", update, attempt));
    let other = delivery("email", "inc_2", 1, 1);
    let turn = &mut turn();
    let Deliver::Claim(claim) = begin(list([&all[..], &[other]].concat()), turn) else { panic!("not a claim") };
    let kept = claim.members().iter().map(|one| (one.alert.incident_id.as_str(), one.alert.update, one.attempt));
    assert_eq!(kept.collect::<Vec<_>>(), [("inc_1", 2, 2), ("inc_2", 1, 1)]);
    assert_eq!(turn.counted, vec![Counted::DuplicateSuppressed; 3]);
}

#[test]
fn nothing_of_a_list_is_sent_while_another_invocation_sends_a_part_of_it() {
    let turn = &mut turn();
    let members = ["inc_1", "inc_2", "inc_3"].map(|incident| delivery("email", incident, 1, 1));
    let Deliver::Claim(claim) = begin(list(members.to_vec()), turn) else { panic!("not a claim") };
    let until_ms = turn.now.as_millisecond() + 4_000;
    let done = ClaimRefusal::Done { accepted_by: Some("other".to_owned()) };
    let answers = vec![Ok(Ok(EarlierClaim::default())), Ok(Err(ClaimRefusal::Leased { until_ms })), Ok(Err(done))];
    let Deliver::Release(release) = claim.answered(answers, turn) else { panic!("not a release") };
    assert_eq!(release.members().len(), 1, "only what was claimed is given back");
    let pause = Duration::from_secs(4);
    let Deliver::End(verdict) = release.answered(Ok(()), turn) else { panic!("not an end") };
    assert_eq!(verdict, Verdict::Return { pause, code: "leased" });
}

#[test]
fn what_was_in_a_list_that_is_marked_in_part_is_marked_and_not_sent_again() {
    let members = ["inc_1", "inc_2", "inc_3", "inc_4"].map(|incident| delivery("email", incident, 1, 1));
    let by = |token: &str| Some(token.to_owned());
    let before = |token| Ok(Ok(EarlierClaim { may_have_sent: token, ..EarlierClaim::default() }));
    let done = |token| Ok(Err(ClaimRefusal::Done { accepted_by: token }));
    let claim = |answers, turn: &mut Turn| {
        let Deliver::Claim(claim) = begin(list(members.to_vec()), turn) else { panic!("not a claim") };
        claim.answered(answers, turn)
    };
    let turn = &mut turn();
    let story = claim(vec![done(by("a")), before(by("a")), before(by("b")), before(None)], turn);
    let Deliver::Write(write) = story else { panic!("not a write: {story:?}") };
    let marks: Vec<_> = write.marks().map(|(member, mark)| (member.alert.incident_id.as_str(), mark)).collect();
    assert!(matches!(marks[..], [("inc_2", Mark::Accept { .. })]), "{marks:?}");
    let Deliver::Send(send) = write.answered(vec![Ok(true)], turn) else { panic!("the others are not sent") };
    let sent: Vec<_> = send.message().members().iter().map(|one| one.alert.incident_id.as_str()).collect();
    assert_eq!(sent, ["inc_3", "inc_4"], "of these nobody knows whether they were sent");

    let story = claim(vec![done(by("a")), before(by("a")), before(by("a")), before(by("a"))], turn);
    let Deliver::Write(write) = story else { panic!("not a write: {story:?}") };
    let Deliver::End(Verdict::Delete) = write.answered(vec![Ok(true); 3], turn) else { panic!("not over") };

    // It was given up, not accepted: nothing says that the others arrived.
    let story = claim(vec![done(None), before(by("a")), before(by("a")), before(by("a"))], turn);
    assert!(matches!(story, Deliver::Send(_)), "{story:?}");
}

#[test]
fn a_lost_retry_whose_pause_looks_longer_by_a_clock_that_is_behind_comes_nevertheless() {
    for (pause_ms, comes) in [(62_500, true), (90_000, false)] {
        let turn = &mut turn();
        let refusal = ClaimRefusal::AttemptOver { attempts: 1, next_at_ms: turn.now.as_millisecond() + pause_ms };
        let message = delivery("slack", "inc_1", 1, 1);
        let Deliver::Claim(claim) = begin(Message::Single(Box::new(message)), turn) else { panic!("not a claim") };
        let story = claim.answered(vec![Ok(Err(refusal))], turn);
        assert_eq!(matches!(story, Deliver::Schedule(_)), comes, "{story:?}");
    }
}

#[test]
fn a_retry_that_was_lost_after_its_mark_is_enqueued_once_more() {
    for (channel, on_a_queue) in [("webhook", true), ("slack", false)] {
        let turn = &mut turn();
        let refusal = ClaimRefusal::AttemptOver { attempts: 1, next_at_ms: turn.now.as_millisecond() + 5_000 };
        let message = delivery(channel, "inc_1", 1, 1);
        let Deliver::Claim(claim) = begin(Message::Single(Box::new(message)), turn) else { panic!("not a claim") };
        match claim.answered(vec![Ok(Err(refusal))], turn) {
            Deliver::Enqueue(again) if on_a_queue => {
                assert_eq!((again.delivery().attempt, again.delay_seconds()), (2, 5));
            }
            // Quiet hours may have begun, which `release` checks.
            Deliver::Schedule(again) if !on_a_queue => {
                assert_eq!(again.entry().attempt, 2);
            }
            other => panic!("{channel}: {other:?}"),
        }
    }
}

/// The due entries of a message whose members are all deferred.
fn deferred(story: &Deliver) -> Vec<ScheduledDelivery> {
    let Deliver::Write(write) = story else { panic!("not deferred: {story:?}") };
    let due = |(_, mark): (&Delivery, &Mark)| match mark {
        Mark::Defer { due, reason: Reason::ProviderLimit } => (**due).clone(),
        other => panic!("{other:?}"),
    };
    write.marks().map(due).collect()
}

#[test]
fn a_throttled_message_is_no_attempt_and_no_dead_letter_however_long_it_lasts() {
    let members = || vec![delivery("email", "inc_1", 1, 1), delivery("email", "inc_2", 1, 2)];
    for message in [single("email", 1), list(members())] {
        let turn = &mut turn();
        let mut pauses = Vec::new();
        for receives in 1..=5 {
            turn.receives = receives;
            let story = match without_notice(sent(message.clone(), Err(SendFailure::Throttled), turn), turn) {
                // A single alert keeps its place within its contact's rate limit.
                Deliver::Write(write) => write.answered(vec![Ok(true)], turn),
                Deliver::Release(release) => release.answered(Ok(()), turn),
                other => panic!("{other:?}"),
            };
            let Deliver::End(Verdict::Return { pause, .. }) = story else { panic!("not returned: {story:?}") };
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60]);
        // It is a dead letter at the twentieth receive, so the rest of the wait is spent in the due index, which begins anew.
        turn.receives = 6;
        let story = without_notice(sent(message, Err(SendFailure::Throttled), turn), turn);
        let entries = deferred(&story);
        assert!(entries.iter().all(|due| due.at == turn.now + SignedDuration::from_mins(1)));
        assert_eq!(entries[0].attempt, 1, "no attempt was made");
        turn.now += SignedDuration::from_mins(20);
        let entries = deferred(&without_notice(sent(list(members()), Err(SendFailure::Throttled), turn), turn));
        assert_eq!(entries[0].at.duration_since(turn.now).as_secs() / 60, 5, "and longer the longer it lasts");
    }
}

#[test]
fn a_throttled_alert_keeps_its_place_within_its_contacts_rate_limit() {
    let turn = &mut turn();
    let Deliver::Write(write) = sent(single("email", 1), Err(SendFailure::Throttled), turn) else {
        panic!("not noted")
    };
    let until = write.marks().find_map(|(_, mark)| match mark {
        Mark::Wait { until, .. } => Some(*until),
        _ => None,
    });
    turn.now = until.unwrap();
    let Deliver::Claim(claim) = begin(single("email", 1), turn) else { panic!("not a claim") };
    let story = claim.answered(vec![Ok(Ok(EarlierClaim { deferred_until: until, ..EarlierClaim::default() }))], turn);
    assert!(matches!(story, Deliver::Send(_)), "it asks for no other: {story:?}");
}

/// World 23182 of the simulation: while an opening waited for its provider's quota, its category was muted and its incident resolved, which
/// was not sent. Then a routing job came again and put a second message for the opening on its queue.
#[test]
fn a_copy_of_what_waits_in_the_due_index_is_left_to_its_entry() {
    for minutes in [-1, 30] {
        let turn = &mut turn();
        let until = turn.now + SignedDuration::from_mins(minutes);
        let Deliver::Claim(claim) = begin(single("email", 1), turn) else { panic!("not a claim") };
        let before = EarlierClaim {
            deferred_until: Some(until),
            due_reason: Some(Reason::ProviderLimit),
            ..EarlierClaim::default()
        };
        let Deliver::Write(write) = claim.answered(vec![Ok(Ok(before))], turn) else { panic!("not deferred") };
        let (_, mark) = write.marks().next().unwrap();
        if minutes > 0 {
            assert_eq!(*mark, Mark::Leave { reason: Reason::ProviderLimit, until });
        } else {
            // It is due, and its entry may be gone: a `release` of an earlier version deleted it without a word on the row.
            let Mark::Defer { due, .. } = mark else { panic!("{mark:?}") };
            assert_eq!((due.at, due.attempt), (until, 1));
        }
        assert!(matches!(write.answered(vec![Ok(true)], turn), Deliver::End(Verdict::Delete)));
    }
}

#[test]
fn a_test_alert_keeps_its_contacts_limits() {
    for storms_bundle in [true, false] {
        let turn = &mut turn();
        let mut test = delivery("email", "inc_1", 1, 1);
        (test.alert.test, test.bundle) = (true, storms_bundle);
        let Deliver::Limit(limit) = claimed(Message::Single(Box::new(test)), turn) else { panic!("no limit") };
        let until = turn.now + SignedDuration::from_secs(30);
        let story = limit.clone().answered(Ok(RateLimitDecision::Defer { until }), turn);
        let Deliver::Write(write) = story else { panic!("not ended") };
        let (_, mark) = write.marks().next().unwrap();
        assert!(matches!(mark, Mark::Fail { reason: Reason::ContactLimit, .. }), "{mark:?}");
        assert!(matches!(limit.answered(Ok(RateLimitDecision::SendNow), turn), Deliver::Send(_)));
    }
}

#[test]
fn a_used_up_quota_defers_every_member_and_its_row_says_so() {
    let turn = &mut turn();
    let members = vec![delivery("email", "inc_1", 1, 2), delivery("email", "inc_2", 1, 1)];
    let story = without_notice(sent(list(members), Err(SendFailure::QuotaExhausted), turn), turn);
    let entries: Vec<_> = deferred(&story).iter().map(|due| (due.attempt, due.omitted_count, due.held)).collect();
    assert!(entries.iter().all(|(_, omitted, held)| *omitted == 3 && held.is_some()), "they come in a list again");
    assert_eq!(entries.iter().map(|(attempt, ..)| *attempt).collect::<Vec<_>>(), [2, 1], "no attempt was made");
    let Deliver::Write(write) = story else { panic!("not written: {story:?}") };
    assert!(matches!(write.answered(vec![Ok(true), Ok(true)], turn), Deliver::End(Verdict::Delete)));
}

#[test]
fn the_mark_of_an_accepted_message_is_tried_until_the_invocation_ends() {
    let turn = &mut turn();
    let mut story = sent(single("email", 1), Ok(Accepted { provider_id: Some("m".to_owned()) }), turn);
    for _ in 0..3 {
        let Deliver::Write(write) = story else { panic!("not a mark") };
        story = write.answered(vec![Err(unavailable())], turn);
    }
    let Deliver::Write(write) = story.clone() else { panic!("not a mark") };
    assert!(write.pause().is_some());
    // The first try may have been written although its answer was lost.
    assert!(matches!(write.answered(vec![Ok(false)], turn), Deliver::Settle(_)));
    assert!(!turn.counted.iter().any(|counted| matches!(counted, Counted::ClaimLost { .. })));
    turn.left = Duration::from_millis(100);
    let Deliver::Write(write) = story else { panic!("not a mark") };
    let Deliver::End(verdict) = write.answered(vec![Err(unavailable())], turn) else { panic!("not an end") };
    assert_eq!(verdict, Verdict::Fault { code: "dynamodb".to_owned() });
}

#[test]
fn a_short_pause_is_spent_on_the_bulk_lane_and_a_long_one_in_the_due_index() {
    for (attempt, on_a_queue) in [(1, true), (3, false)] {
        let turn = &mut turn();
        let story = sent(single("email", attempt), Err(failed(RetryVerdict::Retry)), turn);
        let Deliver::Write(write) = without_notice(story, turn) else { panic!("not a mark") };
        let due = write.marks().map(|(_, mark)| match mark {
            Mark::Retry { due, .. } => due.is_some(),
            other => panic!("{other:?}"),
        });
        assert_eq!(due.collect::<Vec<_>>(), [!on_a_queue]);
        match write.answered(vec![Ok(true)], turn) {
            Deliver::Enqueue(retry) if on_a_queue => {
                assert_eq!((retry.delivery().attempt, retry.lane()), (2, Lane::Bulk));
            }
            Deliver::End(Verdict::Delete) if !on_a_queue => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_endpoint_that_is_gone_is_disabled_and_org_admins_hear_of_a_critical_alert_before_the_mark() {
    let turn = &mut turn();
    let story = sent(single("webhook", 1), Err(failed(RetryVerdict::Gone)), turn);
    let Deliver::Endpoint(endpoint) = story else { panic!("not an endpoint: {story:?}") };
    let Deliver::Disable(disable) = endpoint.answered(Ok(None), turn) else { panic!("not disabled") };
    let Deliver::Notify(notify) = disable.answered(Ok(()), turn) else { panic!("no notice") };
    assert_eq!(notify.notices().len(), 1);
    let Deliver::Write(write) = notify.answered(Ok(()), turn) else { panic!("not a mark") };
    assert!(write.marks().all(|(_, mark)| matches!(mark, Mark::Fail { reason: Reason::EndpointDisabled, .. })));
}

#[test]
fn a_fault_before_the_send_gives_the_claim_back() {
    let turn = &mut turn();
    let Deliver::Limit(limit) = claimed(single("email", 1), turn) else { panic!("no limit") };
    let Deliver::Release(release) = limit.answered(Err(unavailable()), turn) else { panic!("not a release") };
    let Deliver::End(verdict) = release.answered(Ok(()), turn) else { panic!("not an end") };
    assert_eq!(verdict, Verdict::Fault { code: "dynamodb".to_owned() });
}

/// An alert to Slack that is no exemption: neither a critical opening nor a resolve.
fn plain_chat() -> Message {
    let mut delivery = delivery("slack", "inc_1", 1, 1);
    delivery.alert.severity = domain::vocabulary::Severity::Error;
    Message::Single(Box::new(delivery))
}

#[test]
fn a_chat_webhook_owns_its_row_before_it_takes_a_slot_and_takes_one_only() {
    let turn = &mut turn();
    let Deliver::Slot(slot) = claimed(plain_chat(), turn) else { panic!("no slot") };
    assert_eq!(slot.within_ms(), Some(60_000));
    let until = turn.now + SignedDuration::from_secs(3);
    let Deliver::Write(write) = slot.answered(Ok(CallSlot::At(until.as_millisecond())), turn) else { panic!() };
    let waits = Mark::Wait { reason: Reason::Throttled, until };
    assert_eq!(write.marks().map(|(_, mark)| mark.clone()).collect::<Vec<_>>(), [waits]);
    let Deliver::End(verdict) = write.answered(vec![Ok(true)], turn) else { panic!("not an end") };
    assert_eq!(verdict, Verdict::Return { pause: Duration::from_secs(3), code: "slot" });

    // Its message comes again, or the queue delivers it twice: the row says which slot it has.
    let again = |turn: &mut Turn| {
        let Deliver::Claim(claim) = begin(plain_chat(), turn) else { panic!("not a claim") };
        claim.answered(vec![Ok(Ok(EarlierClaim { deferred_until: Some(until), ..EarlierClaim::default() }))], turn)
    };
    assert!(matches!(again(turn), Deliver::Write(_)), "too early: it waits on");
    turn.now = until;
    let Deliver::Send(send) = again(turn) else { panic!("not a send") };
    assert!(send.waited());
}

#[test]
fn a_flood_into_one_chat_webhook_becomes_bundles_and_what_is_critical_goes_at_once() {
    let turn = &mut turn();
    let Deliver::Slot(slot) = claimed(plain_chat(), turn) else { panic!("no slot") };
    let Deliver::Write(write) = slot.answered(Ok(CallSlot::Full), turn) else { panic!("not deferred") };
    let due = write.marks().map(|(_, mark)| match mark {
        Mark::Defer { due, .. } => (due.at.to_string(), due.held.map(|hold| hold.reason)),
        other => panic!("{other:?}"),
    });
    assert_eq!(due.collect::<Vec<_>>(), [("2027-01-15T08:01:00Z".to_owned(), Some(Reason::Throttled))]);
    assert!(matches!(write.answered(vec![Ok(true)], turn), Deliver::End(Verdict::Delete)));

    let Deliver::Slot(slot) = claimed(single("slack", 1), turn) else { panic!("no slot") };
    assert!(matches!(slot.answered(Ok(CallSlot::Full), turn), Deliver::Send(_)), "a critical opening");

    // A second copy of what is in a bundle keeps its place there.
    let Deliver::Claim(claim) = begin(plain_chat(), turn) else { panic!("not a claim") };
    let until = Some(turn.now + SignedDuration::from_secs(90));
    let bundled = EarlierClaim { deferred_until: until, due_reason: Some(Reason::Throttled), may_have_sent: None };
    let Deliver::Write(write) = claim.answered(vec![Ok(Ok(bundled))], turn) else { panic!("not deferred") };
    assert!(write.marks().all(|(_, mark)| matches!(mark, Mark::Leave { .. })));
}

#[test]
fn a_critical_opening_that_misses_its_window_notifies_the_org_admins_and_is_tried_on() {
    // Accepted at 08:00:00, with a window of 60 seconds.
    let turn = &mut turn();
    assert!(notices(&sent(single("email", 1), Err(SendFailure::Throttled), turn)).is_empty(), "again in 5 seconds");
    (turn.now, turn.receives) = ("2027-01-15T08:00:35Z".parse().unwrap(), 4);
    let throttled = sent(single("email", 1), Err(SendFailure::Throttled), turn);
    let sent_notices = notices(&throttled);
    assert_eq!(sent_notices.len(), 1, "again in 40 seconds: {throttled:?}");
    assert_eq!(sent_notices[0].0, "tocsin.window_missed");
    assert!(turn.counted.contains(&Counted::WindowMissed));
    let Deliver::Write(write) = without_notice(throttled, turn) else { panic!("not noted") };
    assert!(write.marks().all(|(_, mark)| matches!(mark, Mark::Wait { .. })), "it is tried on");

    let mut again = self::turn();
    again.now = turn.now;
    again.receives = 4;
    let Deliver::Notify(notify) = sent(single("email", 1), Err(SendFailure::Throttled), &mut again) else {
        panic!("no notice")
    };
    let unsent = notify.answered(Err(unavailable()), &mut again);
    assert!(matches!(unsent, Deliver::Release(_)), "nothing was sent, so the claim is given back: {unsent:?}");

    // Another channel of the same incident within the hour has the same event, which classify knows already.
    assert_eq!(notices(&sent(single("email", 1), Err(SendFailure::QuotaExhausted), turn)), sent_notices);
    let story = sent(single("webhook", 2), Err(failed(RetryVerdict::Retry)), turn);
    let Deliver::Endpoint(endpoint) = story else { panic!("not an endpoint: {story:?}") };
    assert_eq!(notices(&endpoint.answered(Ok(None), turn)), sent_notices, "the next attempt is in five minutes");
}

#[test]
fn only_a_late_critical_opening_notifies_them_and_never_one_of_our_own() {
    let turn = &mut turn();
    let quiet = |change: fn(&mut Delivery), turn: &mut Turn| {
        let mut one = delivery("email", "inc_1", 1, 1);
        change(&mut one);
        let story = sent(Message::Single(Box::new(one)), Err(SendFailure::QuotaExhausted), turn);
        assert!(notices(&story).is_empty(), "{story:?}");
    };
    quiet(|one| one.alert.severity = domain::vocabulary::Severity::Error, turn);
    quiet(|one| one.alert.change = domain::incident::Change::ScopeChanged, turn);
    quiet(|one| one.alert.event_type = "tocsin.endpoint_failing".to_owned(), turn);
    quiet(|one| one.window_seconds = 86_400, turn);
    quiet(|one| one.resend_requested = true, turn);
    let in_time = sent(single("email", 1), Err(failed(RetryVerdict::Retry)), turn);
    assert!(notices(&in_time).is_empty(), "the next attempt is in five seconds: {in_time:?}");
}

/// Whoever owns an address or number is marked before the attempt is recorded, so that no crash in between forgets it.
#[test]
fn a_contact_that_refuses_messages_is_reported_before_its_mark() {
    for message in [single("email", 1), list(vec![delivery("email", "inc_1", 1, 1), delivery("email", "inc_2", 1, 1)])]
    {
        let turn = &mut turn();
        let failure = SendFailure::permanent(Reason::SuppressedComplaint.as_str());
        let Deliver::Refusal(step) = sent(message, Err(failure), turn) else { panic!("not reported") };
        let refused = step.refused();
        assert_eq!((refused.recipient.as_str(), refused.incident_id.as_str()), ("rcp_a", "inc_1"));
        assert_eq!(refused.reason, Reason::SuppressedComplaint);
        assert_eq!(refused.contact, contact_key(&delivery("email", "inc_1", 1, 1)).unwrap());
        assert!(turn.counted.is_empty());
        let Deliver::Release(release) = step.clone().answered(Err(unavailable()), turn) else { panic!("forgotten") };
        assert!(matches!(release.answered(Ok(()), turn), Deliver::End(Verdict::Fault { .. })));
        let Deliver::Notify(notify) = step.answered(Ok(()), turn) else { panic!("a critical alert in silence") };
        let Deliver::Write(write) = notify.answered(Ok(()), turn) else { panic!("not a mark") };
        let ended = |mark: &Mark| matches!(mark, Mark::Fail { reason: Reason::SuppressedComplaint, .. });
        assert!(write.marks().all(|(_, mark)| ended(mark)));
    }
    let turn = &mut turn();
    let story = sent(single("email", 1), Err(SendFailure::permanent("MessageRejected")), turn);
    assert!(matches!(story, Deliver::Notify(_)), "another message may be accepted: {story:?}");
    let story = sent(single("webhook", 1), Err(SendFailure::permanent("opted_out")), turn);
    assert!(matches!(story, Deliver::Endpoint(_)), "an endpoint is no contact: {story:?}");
}

#[test]
fn a_failed_list_comes_again_with_the_next_attempt_of_each_member() {
    let turn = &mut turn();
    let members = vec![delivery("email", "inc_1", 1, 1), delivery("email", "inc_2", 1, 2)];
    let story = sent(list(members), Err(failed(RetryVerdict::Retry)), turn);
    let Deliver::Write(write) = without_notice(story, turn) else { panic!("no mark") };
    let due = write.marks().map(|(_, mark)| match mark {
        Mark::Retry { due: Some(due), .. } => (due.incident_id.to_string(), due.attempt, due.omitted_count),
        other => panic!("{other:?}"),
    });
    assert_eq!(due.collect::<Vec<_>>(), [("inc_1".to_owned(), 2, 3), ("inc_2".to_owned(), 3, 3)]);
}

#[test]
fn a_contact_has_a_key_of_its_own_and_an_endpoint_has_none() {
    let [email, slack, hook] = ["email", "slack", "webhook"].map(|channel| delivery(channel, "inc_1", 1, 1));
    let address = domain::tenant::Email::parse("a@example.com").unwrap();
    assert_eq!(contact_key(&email), Some(contact::email_contact_key(&email.alert.tenant, &address)));
    assert_eq!((contact_key(&slack), contact_key(&hook)), (None, None));
}

#[test]
fn tests_and_system_events_say_nothing_about_an_endpoints_health() {
    let hook = delivery("webhook", "inc_1", 1, 1);
    assert_eq!(monitored_integration(&hook).map(|id| id.to_string()), Some("int_h".to_owned()));
    assert_eq!(monitored_integration(&delivery("email", "inc_1", 1, 1)), None, "a recipient");
    let (mut test, mut system) = (hook.clone(), hook);
    test.alert.test = true;
    system.alert.event_type = "tocsin.suppressed".to_owned();
    assert_eq!((monitored_integration(&test), monitored_integration(&system)), (None, None));
}

/// A webhook's second update, which follows the first one.
fn second_update() -> Message {
    let follows = Some(1);
    Message::Single(Box::new(Delivery { follows, ..delivery("webhook", "inc_1", 2, 1) }))
}

#[test]
fn a_webhook_waits_for_the_first_attempt_of_the_update_before_it_and_not_for_ever() {
    let turn = &mut turn();
    let Deliver::Predecessor(step) = begin(second_update(), turn) else { panic!("it does not wait") };
    assert_eq!(step.delivery().map(|one| one.alert.update), Some(2));
    assert_eq!(step.row(), domain::delivery::delivery_row_key("int_h", Channel::Webhook, 1));
    let row = |state: &str| serde_json::from_value(json!({"latest": 1, "state": state, "channel": "webhook"})).unwrap();
    for before in [None, Some(row("sending"))] {
        let Deliver::End(verdict) = step.clone().answered(Ok(before), turn) else { panic!("out of order") };
        assert_eq!(verdict, Verdict::Return { pause: Duration::from_secs(1), code: "out_of_order" });
    }
    let story = step.clone().answered(Err(unavailable()), turn);
    assert!(matches!(story, Deliver::End(Verdict::Fault { .. })), "{story:?}");
    assert!(matches!(step.answered(Ok(Some(row("accepted"))), turn), Deliver::Claim(_)));
    for (receives, waits) in [(5, true), (6, false), (7, false)] {
        turn.receives = receives;
        assert_eq!(matches!(begin(second_update(), turn), Deliver::Predecessor(_)), waits, "received {receives} times");
    }
}

#[test]
fn a_claim_outlives_the_invocations_time_for_work() {
    let turn = &mut turn();
    let Deliver::Claim(claim) = begin(single("email", 1), turn) else { panic!("not a claim") };
    assert_eq!((claim.token(), claim.at()), ("token", turn.now));
    assert_eq!(claim.lease_until_ms(), turn.now.as_millisecond() + 13_000);
}

#[test]
fn a_lost_retry_is_brought_back_if_its_pause_was_spent_on_a_queue() {
    let turn = &mut turn();
    for (channel, seconds, comes) in
        // Three seconds more than a queue holds: the clock of whoever marked the attempt may be ahead.
        [("email", 63, true), ("email", 64, false), ("webhook", 903, true), ("webhook", 904, false)]
    {
        let Deliver::Claim(claim) = begin(single(channel, 1), turn) else { panic!("not a claim") };
        let next_at_ms = turn.now.as_millisecond() + seconds * 1_000;
        let over = ClaimRefusal::AttemptOver { attempts: 1, next_at_ms };
        let story = claim.answered(vec![Ok(Err(over))], turn);
        let brought = match &story {
            Deliver::Schedule(step) => Some((step.entry().attempt, step.entry().at.as_millisecond())),
            Deliver::Enqueue(step) => {
                Some((step.delivery().attempt, turn.now.as_millisecond() + i64::from(step.delay_seconds()) * 1_000))
            }
            _ => None,
        };
        // A queue holds a message for a quarter of an hour at most.
        let at = if channel == "webhook" { next_at_ms.min(turn.now.as_millisecond() + 900_000) } else { next_at_ms };
        assert_eq!(brought, comes.then_some((2, at)), "{channel} in {seconds} s");
    }
}

/// Claims a single delivery, and returns what follows.
fn claimed_after(delivery: Delivery, before: EarlierClaim, turn: &mut Turn) -> Deliver {
    let Deliver::Claim(claim) = begin(Message::Single(Box::new(delivery)), turn) else { panic!("not a claim") };
    claim.answered(vec![Ok(Ok(before))], turn)
}

fn held_for(delivery: Delivery, reason: Reason) -> Delivery {
    let at = delivery.alert.at;
    let held = Some(domain::alert::HoldPeriod { since: at, until: at, reason });
    let why = domain::alert::NotificationReason { held, ..delivery.why.clone() };
    Delivery { why, ..delivery }
}

#[test]
fn a_contacts_limit_is_asked_once_by_each_alert_that_may_be_bundled() {
    let turn = &mut turn();
    let may_have_sent = EarlierClaim { may_have_sent: Some("t".to_owned()), ..EarlierClaim::default() };
    let until = |seconds: i64, turn: &Turn| EarlierClaim {
        deferred_until: Some(turn.now + SignedDuration::from_secs(seconds)),
        ..EarlierClaim::default()
    };
    let first = || delivery("email", "inc_1", 1, 1);
    let asks = |delivery, before, turn: &mut Turn| matches!(claimed_after(delivery, before, turn), Deliver::Limit(_));
    assert!(asks(first(), EarlierClaim::default(), turn));
    assert!(asks(held_for(first(), Reason::QuietHours), EarlierClaim::default(), turn));
    assert!(!asks(held_for(first(), Reason::Throttled), EarlierClaim::default(), turn), "it has its place");
    assert!(!asks(Delivery { bundle: false, ..first() }, EarlierClaim::default(), turn));
    assert!(!asks(delivery("email", "inc_1", 1, 2), EarlierClaim::default(), turn), "a retry");
    assert!(!asks(first(), may_have_sent, turn), "it may have arrived");
    let sends = |before, turn: &mut Turn| matches!(claimed_after(first(), before, turn), Deliver::Send(_));
    assert!(sends(until(0, turn), turn), "its pause is over");
    assert!(!sends(until(1, turn), turn), "it keeps the place that it has");
    let mut test = Delivery { bundle: false, ..first() };
    test.alert.test = true;
    assert!(asks(test, EarlierClaim::default(), turn), "whatever the tenant's settings say");
}

#[test]
fn a_chat_alert_takes_a_slot_unless_it_has_waited_or_may_have_been_sent() {
    let turn = &mut turn();
    let plain = || match plain_chat() {
        Message::Single(delivery) => *delivery,
        Message::List(_) => panic!("a list"),
    };
    let within = |delivery, turn: &mut Turn| match claimed_after(delivery, EarlierClaim::default(), turn) {
        Deliver::Slot(slot) => {
            assert_eq!(slot.fingerprint(), "f");
            slot.within_ms()
        }
        other => panic!("no slot: {other:?}"),
    };
    assert_eq!(within(plain(), turn), Some(60_000));
    assert_eq!(within(held_for(plain(), Reason::QuietHours), turn), Some(60_000));
    assert_eq!(within(Delivery { bundle: false, ..plain() }, turn), None, "it goes into no bundle");
    assert_eq!(within(Delivery { attempt: 2, ..plain() }, turn), None, "a retry");
    let mut test = plain();
    test.alert.test = true;
    assert_eq!(within(test, turn), None);
    let bundle = claimed_after(held_for(plain(), Reason::Throttled), EarlierClaim::default(), turn);
    assert!(matches!(bundle, Deliver::Send(_)), "a bundle of one has waited");
    let may_have_sent = EarlierClaim { may_have_sent: Some("t".to_owned()), ..EarlierClaim::default() };
    assert!(matches!(claimed_after(plain(), may_have_sent, turn), Deliver::Send(_)));
}

#[test]
fn a_slot_that_is_near_is_used_at_once_and_a_later_one_is_waited_for() {
    for (ahead_ms, waits) in [(0, false), (250, false), (251, true)] {
        let turn = &mut turn();
        let Deliver::Slot(slot) = claimed(plain_chat(), turn) else { panic!("no slot") };
        let story = slot.answered(Ok(CallSlot::At(turn.now.as_millisecond() + ahead_ms)), turn);
        match story {
            Deliver::Send(send) if !waits => assert!(!send.waited(), "nobody delayed it"),
            Deliver::Write(_) if waits => {}
            other => panic!("{ahead_ms} ms: {other:?}"),
        }
    }
}

#[test]
fn a_contacts_limit_defers_an_alert_and_refuses_a_test() {
    let until = "2027-01-15T08:03:00Z".parse().unwrap();
    let turn = &mut turn();
    let first = delivery("email", "inc_1", 1, 1);
    let Deliver::Limit(limit) = claimed_after(first.clone(), EarlierClaim::default(), turn) else { panic!("no limit") };
    assert_eq!(Some(limit.contact().to_owned()), contact_key(&first));
    assert_eq!(limit.exempt(), first.alert.rate_limit_exemption());
    assert!(limit.exempt().is_some(), "a critical opening");
    let story = without_notice(limit.answered(Ok(RateLimitDecision::Defer { until }), turn), turn);
    let Deliver::Write(write) = story else { panic!("no mark") };
    assert!(
        write
            .marks()
            .all(|(_, mark)| matches!(mark, Mark::Defer { reason: Reason::Throttled, due } if due.at == until))
    );
}

#[test]
fn a_receiver_that_refused_the_rich_form_gets_the_plain_one_from_then_on() {
    for (was, refused, plain) in [(false, false, false), (false, true, true), (true, false, true)] {
        let turn = &mut turn();
        let message = Message::Single(Box::new(Delivery { plain: was, ..delivery("slack", "inc_1", 1, 2) }));
        let Deliver::Slot(slot) = claimed(message, turn) else { panic!("no slot") };
        let Deliver::Send(send) = slot.answered(Ok(CallSlot::At(turn.now.as_millisecond())), turn) else { panic!() };
        let SendFailure::Failed { failed, status, response, .. } = failed(RetryVerdict::Retry) else { panic!() };
        let failure = SendFailure::Failed { failed, status, response, plain: refused };
        let Deliver::Endpoint(step) = send.answered(Err(failure), turn) else { panic!("no endpoint") };
        assert_eq!(step.delivery().map(|one| one.plain), Some(plain));
        assert_eq!((step.cause(), step.at()), ("http_503", turn.now));
    }
}

/// Of an e-mail the provider is a part of our path; of chat and webhooks only what began late is our delay.
#[test]
fn only_a_late_delivery_counts_as_our_delay() {
    let by_us = |now: &str, turn: &mut Turn| {
        turn.now = now.parse().unwrap();
        let accepted = Ok(Accepted { provider_id: Some("m-1".to_owned()) });
        let Deliver::Write(write) = sent(single("email", 1), accepted, turn) else { panic!("no mark") };
        let marks: Vec<_> = write.marks().map(|(_, mark)| mark.clone()).collect();
        match &marks[..] {
            [Mark::Accept { late, by_us, .. }] => (*late, *by_us),
            other => panic!("{other:?}"),
        }
    };
    let turn = &mut turn();
    assert_eq!(by_us("2027-01-15T08:00:05Z", turn), (false, false));
    assert_eq!(by_us("2027-01-15T08:05:00Z", turn), (true, true));
}

#[test]
fn a_first_attempt_passes_on_to_the_bulk_lane_unclaimed_and_in_its_tenants_group() {
    let mut turn = turn();
    let Some(Deliver::Enqueue(step)) = pass_on(&single("webhook", 1), &mut turn) else { panic!("it stays") };
    assert_eq!((step.lane(), step.group(), step.delay_seconds()), (Lane::Bulk, "acme", 0));
    assert_eq!(Message::Single(Box::new(step.delivery().clone())), single("webhook", 1), "the same attempt");
    assert_eq!(turn.counted, [Counted::PassedOn { channel: Channel::Webhook }]);
    assert!(matches!(step.answered(Ok(()), &mut turn), Deliver::End(Verdict::Delete)));
    let mut test = delivery("webhook", "inc_1", 1, 1);
    test.alert.test = true;
    for stays in [single("webhook", 2), single("email", 1), Message::Single(Box::new(test))] {
        assert!(pass_on(&stays, &mut turn).is_none(), "{stays:?}");
    }
    turn.lane = Lane::Bulk;
    assert!(pass_on(&single("webhook", 1), &mut turn).is_none(), "it is there already");
}
