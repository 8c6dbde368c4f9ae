//! What a run of `release` does next, answer by answer.

use super::facts::PageFacts;
use super::*;
use crate::deliver::Message;
use contracts::queue::Lane;
use domain::delivery::ClaimRefusal;
use domain::due::{DueItem, DuePlace, ScheduledDelivery};
use domain::ids::DUE_SHARDS;
use domain::policy::Policy;
use serde_json::{Value, json};

const AT: &str = "2026-11-23T12:00:00Z";

fn turn() -> Turn {
    Turn {
        now: AT.parse().unwrap(),
        left: Duration::from_secs(20),
        receives: 1,
        lane: Lane::Bulk,
        jitter: 0.0,
        token: "run".to_owned(),
        counted: Vec::new(),
    }
}

const SHARDS: ReadShards = ReadShards { first: 3, written: DUE_SHARDS };

/// A run that reads its first page, from the beginning of shard 3.
fn first_page(turn: &mut Turn) -> Release {
    let Release::Places(step) = begin(SHARDS, turn) else { panic!("the run does not ask where to go on") };
    step.answered(Ok(DuePlaces::default()), turn)
}

/// Answers that the other shards are empty, and that leases and places are saved. Returns the end.
fn with_nothing_else(mut story: Release, turn: &mut Turn) -> Ended {
    loop {
        story = match story {
            Release::Page(step) => step.answered(page(Vec::new(), None), turn),
            Release::Unlease(step) => step.answered((), turn),
            Release::SavePlaces(step) => step.answered((), turn),
            Release::End(ended) => return ended,
            other => panic!("not an end: {other:?}"),
        };
    }
}

/// A retry to a webhook, or with `held` a delivery that waits for a digest.
fn due(number: u32, held: bool) -> DueItem {
    let (destination, channel) = if held { ("rcp_a", "email") } else { ("int_a", "webhook") };
    let mut entry: Value = json!({"at": AT, "tenant": "acme", "destination": destination, "channel": channel,
        "incident_id": format!("inc_{number}"), "update": 1, "attempt": if held { 1 } else { 2 }});
    if held {
        entry["held"] = json!({"since": AT, "reason": "digest"});
    }
    let entry: ScheduledDelivery = serde_json::from_value(entry).unwrap();
    let shard = entry.shard(DUE_SHARDS);
    DueItem::new(entry, shard, &format!("place_{number}"), "1")
}

/// The facts about these entries; the integration exists.
fn facts(items: &[DueItem]) -> PageFacts {
    let tenant = || items[0].due.tenant.clone();
    let settings = json!({"tenant": "acme", "name": "Acme", "plan": "enterprise", "zone": "UTC",
        "alert_window_seconds": 60, "categories": {}, "version": 1});
    let integration = json!({"id": "int_a", "name": "Hook", "kind": "webhook", "url": "v1.1.u", "host": "x.test",
        "fingerprint": "f", "secret": "v1.1.s", "audiences": ["tech_devops"], "version": 1});
    let integration = serde_json::from_value(integration).unwrap();
    let mut facts = PageFacts::default();
    facts.settings.insert(tenant(), serde_json::from_value(settings).ok());
    let hook = Some(domain::tenant::Destination::Integration(Box::new(integration)));
    facts.destinations.insert((tenant(), "int_a".to_owned()), hook);
    for DueItem { due, .. } in items {
        let incident = json!({"id": due.incident_id, "scope": {"tenant": "acme"}, "key": "k", "integration_id": "int_s",
            "source": "monitor", "event_type": "api.outage", "dedup_key": "d", "category": "infrastructure",
            "kind": "incident", "rule": "r", "severity": "error", "status": "investigating", "title": "Down",
            "components": [], "regions": [], "public": false, "started_at": AT, "last_seen": AT, "updates": 1,
            "version": 1});
        let update = json!({"number": 1, "event_id": "evt_a", "correlation_id": "c-1", "accepted_at": AT,
            "change": "opened", "status": "investigating", "severity": "error", "title": "Down", "message": "",
            "components": [], "regions": []});
        facts.incidents.insert(due.incident_id.clone(), Some(serde_json::from_value(incident).unwrap()));
        facts.updates.insert((due.incident_id.clone(), 1), Some(serde_json::from_value(update).unwrap()));
    }
    facts
}

fn page(items: Vec<DueItem>, next: Option<&str>) -> Answer<DuePage> {
    Ok(DuePage { items, unreadable: 0, next: next.map(str::to_owned) })
}

fn read(story: Release, items: Vec<DueItem>, next: Option<&str>, turn: &mut Turn) -> Release {
    let Release::Page(step) = story else { panic!("not a page: {story:?}") };
    step.answered(page(items, next), turn)
}

/// Reads a page of retries and decides about them.
fn decided(items: Vec<DueItem>, turn: &mut Turn) -> Release {
    let facts = facts(&items);
    let story = read(first_page(turn), items, None, turn);
    let Release::Facts(step) = story else { panic!("no facts: {story:?}") };
    step.answered(&facts, &Policy::embedded().unwrap(), turn)
}

#[test]
fn only_what_is_on_a_queue_is_deleted() {
    let turn = &mut turn();
    let story = decided(vec![due(1, false), due(2, false)], turn);
    let Release::Enqueue(step) = story else { panic!("nothing to enqueue: {story:?}") };
    assert!(step.messages().iter().all(|one| matches!(&one.message, Message::Single(one) if one.attempt == 2)));
    let Release::Delete(step) = step.answered(&[false, true], turn) else { panic!("nothing to delete") };
    assert_eq!(step.items().iter().map(DueItem::place).collect::<Vec<_>>(), ["place_2"]);
    let ended = with_nothing_else(step.answered((), turn), turn);
    assert_eq!(ended.counts, ReleaseCounts { released: 1, left: 1, ..ReleaseCounts::default() });
}

#[test]
fn a_delivery_that_is_being_sent_keeps_its_entry() {
    let turn = &mut turn();
    let items = vec![due(1, false), due(2, false), due(3, false)];
    let mut known = facts(&items);
    // The integration was deleted.
    known.destinations.values_mut().for_each(|one| *one = None);
    let Release::Facts(step) = read(first_page(turn), items, None, turn) else { panic!("no facts") };
    let Release::EndRows(step) = step.answered(&known, &Policy::embedded().unwrap(), turn) else { panic!("no end") };
    let answers = vec![
        Ok(Ok(())),
        Ok(Err(ClaimRefusal::Leased { until_ms: 0 })),
        Err(Fault::Unavailable { code: "dynamodb".to_owned() }),
    ];
    let Release::Delete(step) = step.answered(answers, turn) else { panic!("nothing to delete") };
    assert_eq!(step.items().iter().map(DueItem::place).collect::<Vec<_>>(), ["place_1"]);
    let ended = with_nothing_else(step.answered((), turn), turn);
    assert_eq!(ended.counts, ReleaseCounts { ended: 1, left: 2, ..ReleaseCounts::default() });
}

#[test]
fn after_an_attempt_that_was_made_there_is_an_entry_for_the_next_one() {
    let turn = &mut turn();
    let over = |attempts, at: &str| {
        let next_at_ms = at.parse::<Timestamp>().unwrap().as_millisecond();
        Ok(Err(ClaimRefusal::AttemptOver { attempts, next_at_ms }))
    };
    let later = |step: &Reschedule| match step.later() {
        [later] => (later.entry.attempt, later.entry.at.to_string(), later.wait),
        more => panic!("{more:?}"),
    };
    let items = vec![due(1, false)];
    let mut known = facts(&items);
    known.destinations.values_mut().for_each(|one| *one = None);
    let Release::Facts(step) = read(first_page(turn), items, None, turn) else { panic!("no facts") };
    let Release::EndRows(step) = step.answered(&known, &Policy::embedded().unwrap(), turn) else { panic!("no end") };
    let story = step.answered(vec![over(2, "2026-11-23T12:05:00Z")], turn);
    let Release::Reschedule(step) = story else { panic!("the entry goes without a trace: {story:?}") };
    assert_eq!(later(&step), (3, "2026-11-23T12:05:00Z".to_owned(), None));
    let story = step.answered(vec![over(3, "2026-11-23T12:35:00Z")], turn);
    let Release::Reschedule(step) = story else { panic!("{story:?}") };
    assert_eq!(later(&step), (4, "2026-11-23T12:35:00Z".to_owned(), None));
    let Release::Delete(step) = step.answered(vec![Ok(Ok(()))], turn) else { panic!("the old entry stays") };
    assert_eq!(step.items().iter().map(DueItem::place).collect::<Vec<_>>(), ["place_1"]);
    with_nothing_else(step.answered((), turn), turn);
}

#[test]
fn digests_are_left_to_the_run_that_has_their_lease() {
    let turn = &mut turn();
    let items = vec![due(1, false), due(2, true)];
    let Release::Lease(step) = read(first_page(turn), items.clone(), None, turn) else { panic!("no lease") };
    let Release::Facts(step) = read(step.answered(Ok(false), turn), items, None, turn) else { panic!("no facts") };
    assert_eq!(step.items().iter().map(DueItem::place).collect::<Vec<_>>(), ["place_1"]);
}

#[test]
fn the_lease_is_given_back_when_the_time_is_over() {
    let turn = &mut turn();
    let items = vec![due(1, true)];
    let Release::Lease(step) = read(first_page(turn), items, None, turn) else { panic!("no lease") };
    turn.left = PAGE_RESERVE;
    let Release::Unlease(step) = step.answered(Ok(true), turn) else { panic!("the lease stays") };
    assert_eq!(step.shard(), 3);
    let Release::SavePlaces(step) = step.answered((), turn) else { panic!("the place is lost") };
    assert!(matches!(step.answered((), turn), Release::End(Ended { behind: true, fault: None, .. })));
}

/// Releases the entries of a page that goes on behind `next`.
fn released(story: Release, items: Vec<DueItem>, next: Option<&str>, turn: &mut Turn) -> Release {
    let known = facts(&items);
    let Release::Facts(step) = read(story, items, next, turn) else { panic!("no facts") };
    let Release::Enqueue(step) = step.answered(&known, &Policy::embedded().unwrap(), turn) else {
        panic!("no message")
    };
    let Release::Delete(step) = step.answered(&[true], turn) else { panic!("nothing to delete") };
    step.answered((), turn)
}

fn shard_and_place(story: &Release) -> (u16, Option<String>) {
    let Release::Page(step) = story else { panic!("no page: {story:?}") };
    (step.shard(), step.after().map(str::to_owned))
}

#[test]
fn shards_take_turns_so_that_a_flood_in_one_delays_the_others_by_a_page() {
    let turn = &mut turn();
    let mut story = first_page(turn);
    let mut read = Vec::new();
    // Shard 3 is flooded.
    for number in 0..12 {
        let (shard, _) = shard_and_place(&story);
        read.push(shard);
        story = match shard {
            3 => released(story, vec![due(number, false)], Some(&format!("place_{number}")), turn),
            _ => released(story, vec![due(number, false)], None, turn),
        };
    }
    assert_eq!(read, [3, 11, 19, 27, 35, 43, 51, 59, 3, 3, 3, 3]);
    assert_eq!(shard_and_place(&story), (3, Some("place_11".to_owned())), "a page begins after the last entry");
}

#[test]
fn a_shard_that_cannot_be_read_costs_the_others_nothing() {
    let turn = &mut turn();
    let Release::Page(step) = first_page(turn) else { panic!("no page") };
    let story = step.answered(Err(Fault::Unavailable { code: "dynamodb".to_owned() }), turn);
    assert_eq!(shard_and_place(&story), (11, None));
    let ended = with_nothing_else(released(story, vec![due(1, false)], None, turn), turn);
    assert!(ended.fault.is_some() && ended.counts.released == 1 && !ended.behind);
}

#[test]
fn the_next_run_goes_on_where_this_one_stopped_and_reads_what_was_before_that_last() {
    let turn = &mut turn();
    let story = released(first_page(turn), vec![due(1, false)], Some("place_1"), turn);
    // After one page of shard 11 the time is over.
    let Release::Facts(step) = read(story, vec![due(2, false)], None, turn) else { panic!("no facts") };
    turn.left = PAGE_RESERVE;
    let known = facts(&[due(2, false)]);
    let story = step.answered(&known, &Policy::embedded().unwrap(), turn);
    let Release::Enqueue(step) = story else { panic!("no message") };
    let Release::Delete(step) = step.answered(&[true], turn) else { panic!("nothing to delete") };
    let Release::SavePlaces(step) = step.answered((), turn) else { panic!("the place is lost") };
    assert_eq!(step.first(), 3);
    let stopped = step.places().clone();
    let place = |shard, after: Option<&str>| DuePlace { shard, after: after.map(str::to_owned) };
    let waiting = [19, 27, 35, 43, 51, 59].map(|shard| place(shard, None));
    assert_eq!(stopped.places, waiting.into_iter().chain([place(3, Some("place_1"))]).collect::<Vec<_>>());
    assert!(matches!(step.answered((), turn), Release::End(Ended { behind: true, .. })));

    let turn = &mut super::tests::turn();
    let Release::Places(step) = begin(SHARDS, turn) else { panic!("no places") };
    let mut story = step.answered(Ok(stopped), turn);
    let mut pages = Vec::new();
    let ended = loop {
        story = match story {
            Release::Page(step) => {
                pages.push((step.shard(), step.after().map(str::to_owned)));
                let items = if step.shard() == 3 && step.after().is_none() {
                    vec![due(1, false), due(2, false)]
                } else {
                    Vec::new()
                };
                step.answered(page(items, None), turn)
            }
            Release::Facts(step) => {
                assert_eq!(step.items().iter().map(DueItem::place).collect::<Vec<_>>(), ["place_1"], "not read twice");
                // They cannot be read: the entry stays.
                step.answered(&PageFacts::default(), &Policy::embedded().unwrap(), turn)
            }
            Release::SavePlaces(step) => {
                assert!(step.places().places.is_empty(), "everything was read");
                step.answered((), turn)
            }
            Release::End(ended) => break ended,
            other => panic!("{other:?}"),
        };
    };
    let expected = [
        (19, None),
        (27, None),
        (35, None),
        (43, None),
        (51, None),
        (59, None),
        (3, Some("place_1")),
        (11, None),
        (3, None),
    ];
    assert_eq!(pages, expected.map(|(shard, after)| (shard, after.map(str::to_owned))));
    assert_eq!((ended.counts.left, ended.behind), (1, false));
}

#[test]
fn the_oldest_overdue_entry_is_measured_also_if_it_stays() {
    let turn = &mut turn();
    turn.now = "2026-11-23T12:07:00Z".parse().unwrap();
    let items = vec![due(1, false)];
    let Release::Facts(step) = read(first_page(turn), items, None, turn) else { panic!("no facts") };
    let story = step.answered(&PageFacts::default(), &Policy::embedded().unwrap(), turn);
    let ended = with_nothing_else(story, turn);
    assert_eq!((ended.counts.left, ended.overdue), (1, SignedDuration::from_mins(7)));
}

#[test]
fn an_entry_of_an_earlier_release_is_replaced_by_one_in_its_own_shard() {
    let turn = &mut turn();
    let mut items = vec![due(1, false)];
    let earlier = DueItem::new(items[0].due.clone(), items[0].due.shard(8), "place_1", "1");
    assert_ne!(earlier.shard(), items[0].shard());
    for (item, deleted) in [(earlier, true), (items.remove(0), false)] {
        let mut known = facts(std::slice::from_ref(&item));
        known.destinations.values_mut().for_each(|one| *one = None);
        let Release::Facts(step) = read(first_page(turn), vec![item], None, turn) else { panic!("no facts") };
        let Release::EndRows(step) = step.answered(&known, &Policy::embedded().unwrap(), turn) else {
            panic!("no end")
        };
        // Its attempt was made, and the next one is due within the same minute.
        let next_at_ms = AT.parse::<Timestamp>().unwrap().as_millisecond() + 30_000;
        let over = Ok(Err(ClaimRefusal::AttemptOver { attempts: 2, next_at_ms }));
        let Release::Reschedule(step) = step.answered(vec![over], turn) else { panic!("the next attempt is lost") };
        let story = step.answered(vec![Ok(Ok(()))], turn);
        assert_eq!(matches!(story, Release::Delete(_)), deleted, "{story:?}");
    }
}

#[test]
fn a_later_entry_in_the_same_minute_is_not_deleted_with_the_earlier_one() {
    let item = due(1, false);
    let later = |at: &str| ScheduledDelivery { at: at.parse().unwrap(), ..item.due.clone() };
    assert!(item.has_place_of(&later("2026-11-23T12:00:40Z"), DUE_SHARDS));
    assert!(!item.has_place_of(&later("2026-11-23T12:01:00Z"), DUE_SHARDS));
}
