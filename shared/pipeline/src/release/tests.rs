//! What a run of `release` does next, answer by answer.

use super::facts::PageFacts;
use super::*;
use crate::deliver::Message;
use contracts::queue::Lane;
use domain::delivery::ClaimRefusal;
use domain::due::{DueItem, ScheduledDelivery};
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

/// A retry to a webhook, or with `held` a delivery that waits for a digest.
fn due(number: u32, held: bool) -> DueItem {
    let (destination, channel) = if held { ("rcp_a", "email") } else { ("int_a", "webhook") };
    let mut entry: Value = json!({"at": AT, "tenant": "acme", "destination": destination, "channel": channel,
        "incident_id": format!("inc_{number}"), "update": 1, "attempt": if held { 1 } else { 2 }});
    if held {
        entry["held"] = json!({"since": AT, "reason": "digest"});
    }
    DueItem::new(serde_json::from_value(entry).unwrap(), 0, &format!("place_{number}"))
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
    let story = read(begin(turn), items, None, turn);
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
    let Release::End(ended) = step.answered((), turn) else { panic!("not an end") };
    assert_eq!(ended.counts, ReleaseCounts { released: 1, left: 1, ..ReleaseCounts::default() });
}

#[test]
fn a_delivery_that_is_being_sent_keeps_its_entry() {
    let turn = &mut turn();
    let items = vec![due(1, false), due(2, false), due(3, false)];
    let mut known = facts(&items);
    // The integration was deleted.
    known.destinations.values_mut().for_each(|one| *one = None);
    let Release::Facts(step) = read(begin(turn), items, None, turn) else { panic!("no facts") };
    let Release::EndRows(step) = step.answered(&known, &Policy::embedded().unwrap(), turn) else { panic!("no end") };
    let answers = vec![
        Ok(Ok(())),
        Ok(Err(ClaimRefusal::Leased { until_ms: 0 })),
        Err(Fault::Unavailable { code: "dynamodb".to_owned() }),
    ];
    let Release::Delete(step) = step.answered(answers, turn) else { panic!("nothing to delete") };
    assert_eq!(step.items().iter().map(DueItem::place).collect::<Vec<_>>(), ["place_1"]);
    let Release::End(ended) = step.answered((), turn) else { panic!("not an end") };
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
    let Release::Facts(step) = read(begin(turn), items, None, turn) else { panic!("no facts") };
    let Release::EndRows(step) = step.answered(&known, &Policy::embedded().unwrap(), turn) else { panic!("no end") };
    let story = step.answered(vec![over(2, "2026-11-23T12:05:00Z")], turn);
    let Release::Reschedule(step) = story else { panic!("the entry goes without a trace: {story:?}") };
    assert_eq!(later(&step), (3, "2026-11-23T12:05:00Z".to_owned(), None));
    let story = step.answered(vec![over(3, "2026-11-23T12:35:00Z")], turn);
    let Release::Reschedule(step) = story else { panic!("{story:?}") };
    assert_eq!(later(&step), (4, "2026-11-23T12:35:00Z".to_owned(), None));
    let Release::Delete(step) = step.answered(vec![Ok(Ok(()))], turn) else { panic!("the old entry stays") };
    assert_eq!(step.items().iter().map(DueItem::place).collect::<Vec<_>>(), ["place_1"]);
    assert!(matches!(step.answered((), turn), Release::End(_)));
}

#[test]
fn digests_are_left_to_the_run_that_has_their_lease() {
    let turn = &mut turn();
    let items = vec![due(1, false), due(2, true)];
    let Release::Lease(step) = read(begin(turn), items.clone(), None, turn) else { panic!("no lease") };
    let Release::Facts(step) = read(step.answered(Ok(false), turn), items, None, turn) else { panic!("no facts") };
    assert_eq!(step.items().iter().map(DueItem::place).collect::<Vec<_>>(), ["place_1"]);
}

#[test]
fn the_lease_is_given_back_when_the_time_is_over() {
    let turn = &mut turn();
    let items = vec![due(1, true)];
    let Release::Lease(step) = read(begin(turn), items, None, turn) else { panic!("no lease") };
    turn.left = PAGE_RESERVE;
    let Release::Unlease(step) = step.answered(Ok(true), turn) else { panic!("the lease stays") };
    assert!(matches!(step.answered((), turn), Release::End(Ended { behind: true, fault: None, .. })));
}

#[test]
fn the_next_page_begins_after_the_last_entry() {
    let turn = &mut turn();
    let items = vec![due(1, false)];
    let known = facts(&items);
    let Release::Facts(step) = read(begin(turn), items, Some("place_1"), turn) else { panic!("no facts") };
    let Release::Enqueue(step) = step.answered(&known, &Policy::embedded().unwrap(), turn) else {
        panic!("no message")
    };
    let Release::Delete(step) = step.answered(&[true], turn) else { panic!("nothing to delete") };
    let Release::Page(step) = step.answered((), turn) else { panic!("no next page") };
    assert_eq!(step.after(), Some("place_1"));
    let Release::End(ended) = step.answered(Err(Fault::Unavailable { code: "dynamodb".to_owned() }), turn) else {
        panic!("not an end")
    };
    assert!(ended.fault.is_some() && ended.counts.released == 1);
}

#[test]
fn a_later_entry_in_the_same_minute_is_not_deleted_with_the_earlier_one() {
    let item = due(1, false);
    let later = |at: &str| ScheduledDelivery { at: at.parse().unwrap(), ..item.due.clone() };
    assert!(item.has_place_of(&later("2026-11-23T12:00:40Z")));
    assert!(!item.has_place_of(&later("2026-11-23T12:01:00Z")));
}
