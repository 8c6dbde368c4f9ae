//! Compares what the ledger says of incidents with what arrived: whatever was accepted arrived, is held until a time to come, or has a reason.

use crate::receive::text;
use crate::tenant::Tenant;
use crate::{Stack, wait};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Every queue with messages of the pipeline, and the dead-letter queues.
const QUEUES: [&str; 21] = [
    "IntakeQueue",
    "IntakeDeadLetterQueue",
    "ClassifyQueue",
    "ClassifyDeadLetterQueue",
    "SubscriptionLookupQueue",
    "SubscriptionLookupBulkQueue",
    "SubscriptionLookupDeadLetterQueue",
    "DeliverEmailQueue",
    "DeliverEmailBulkQueue",
    "DeliverEmailDeadLetterQueue",
    "DeliverSmsQueue",
    "DeliverSmsBulkQueue",
    "DeliverSmsDeadLetterQueue",
    "DeliverChatQueue",
    "DeliverChatBulkQueue",
    "DeliverChatDeadLetterQueue",
    "DeliverWebhookQueue",
    "DeliverWebhookBulkQueue",
    "DeliverWebhookDeadLetterQueue",
    "FeedbackQueue",
    "FeedbackDeadLetterQueue",
];

/// An incident that a test posted.
#[derive(Clone, Debug)]
pub struct Posted {
    /// A text that every message about it contains.
    pub title: String,
    /// Id of the incident.
    pub id: String,
    /// The number of its updates.
    pub updates: u64,
}

/// What became of deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages that arrived.
    pub messages: usize,
    /// Messages that arrived once more.
    pub doubled: usize,
    /// The other entries of the ledger, by outcome and reason.
    pub others: BTreeMap<String, usize>,
}

impl Totals {
    /// Adds what became of other deliveries.
    pub fn add(&mut self, more: Self) {
        self.messages += more.messages;
        self.doubled += more.doubled;
        for (name, count) in more.others {
            *self.others.entry(name).or_default() += count;
        }
    }
}

/// What the ledger says of a delivery.
#[derive(Clone, Debug)]
struct Entry {
    update: u64,
    outcome: String,
    reason: String,
    until: Option<Timestamp>,
}

impl Entry {
    fn was_sent(&self) -> bool {
        matches!(self.outcome.as_str(), "accepted" | "delivered")
    }

    /// A failed attempt may have arrived; so may one of which the function died, or which a newer update then replaced.
    fn may_have_arrived(&self) -> bool {
        self.was_sent() || self.outcome == "failed" || self.reason == "superseded_by"
    }

    /// Whether it ended, or waits for a time to come.
    fn is_accounted_for(&self, now: Timestamp) -> bool {
        match self.outcome.as_str() {
            "accepted" | "delivered" => true,
            "skipped" | "failed" => !self.reason.is_empty(),
            "held" => !self.reason.is_empty() && self.until.is_some_and(|until| until > now),
            _ => false,
        }
    }
}

/// Somebody who is notified on a channel, and where the messages arrive.
struct Destination<'a> {
    id: &'a str,
    channel: &'a str,
    to: &'a str,
}

fn destinations(tenant: &Tenant) -> Vec<Destination<'_>> {
    let people = tenant.people.iter().flat_map(|person| {
        [("email", &person.email), ("sms", &person.phone)].map(|(channel, to)| Destination {
            id: &person.id,
            channel,
            to,
        })
    });
    let endpoints = tenant.endpoints.iter();
    people.chain(endpoints.map(|one| Destination { id: &one.id, channel: &one.kind, to: &one.path })).collect()
}

fn entries(known: &Value, destination: &Destination<'_>) -> Vec<Entry> {
    let is_of = |entry: &&Value| {
        (entry["recipient_id"] == destination.id || entry["integration_id"] == destination.id)
            && entry["channel"] == destination.channel
    };
    let read = |entry: &Value| Entry {
        update: entry["update"].as_u64().unwrap_or_default(),
        outcome: text(entry, "/outcome"),
        reason: text(entry, "/reason"),
        until: text(entry, "/until").parse().ok(),
    };
    known["decisions"].as_array().into_iter().flatten().filter(is_of).map(read).collect()
}

/// Waits until every update of an incident is accounted for at each of its tenant's destinations, and compares that with what arrived.
///
/// # Panics
/// If that takes longer than `at_most`, or if the two differ.
#[must_use]
pub fn check(tenant: &Tenant, posted: &Posted, now: impl Fn() -> Timestamp, at_most: Duration) -> Totals {
    let all = destinations(tenant);
    let path = tenant.path(&format!("/incidents/{}/explain", posted.id));
    let mut known = Value::Null;
    let begun = std::time::Instant::now();
    loop {
        let answer = tenant.stack.call("GET", &path, &tenant.token, None);
        if answer.status == 200 {
            known = answer.json();
        }
        let open = all.iter().find(|destination| {
            let entries = entries(&known, destination);
            let updates: BTreeSet<u64> = entries.iter().map(|entry| entry.update).collect();
            !(1..=posted.updates).all(|update| updates.contains(&update))
                || !entries.iter().all(|entry| entry.is_accounted_for(now()))
        });
        let Some(Destination { id, channel, .. }) = open else { break };
        assert!(begun.elapsed() < at_most, "{channel} of {} to {id} is open: {known:#}", posted.title);
        std::thread::sleep(Duration::from_millis(800));
    }
    let mut totals = Totals::default();
    let arrivals = tenant.arrivals(&posted.title);
    for destination in &all {
        let Destination { channel, to, .. } = destination;
        let entries = entries(&known, destination);
        let sent = entries.iter().filter(|entry| entry.was_sent()).count();
        let arrived = arrivals.iter().filter(|arrival| arrival.to == **to).count();
        assert!(arrived >= sent, "{channel} of {}: {arrived} arrived of {entries:?}", posted.title);
        let explained = arrived == 0 || entries.iter().any(Entry::may_have_arrived);
        assert!(explained, "{channel} of {}: {arrived} arrived of {entries:?}", posted.title);
        totals.messages += arrived;
        totals.doubled += arrived.saturating_sub(entries.len());
        for entry in entries.iter().filter(|entry| !entry.was_sent()) {
            *totals.others.entry(format!("{} {}", entry.outcome, entry.reason)).or_default() += 1;
        }
        if *channel == "webhook" {
            check_webhook(tenant, posted, to, &entries);
        }
    }
    totals
}

/// Every update that was delivered arrived, each with one id however often it came.
fn check_webhook(tenant: &Tenant, posted: &Posted, path: &str, entries: &[Entry]) {
    let mut ids: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for request in tenant.stack.inbox(path) {
        let body = crate::receive::body(&request);
        if body["data"]["incident_id"] == posted.id.as_str() {
            let update = body["data"]["sequence"].as_u64().unwrap_or_default();
            ids.entry(update).or_default().insert(text(&request, "/headers/webhook-id"));
        }
    }
    for Entry { update, .. } in entries.iter().filter(|entry| entry.was_sent()) {
        assert!(ids.contains_key(update), "update {update} of {} never arrived: {ids:?}", posted.title);
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "one update has several ids: {ids:?}");
}

/// The functions whose messages may become dead letters.
pub const SOURCES: [&str; 8] = [
    "intake",
    "classify",
    "subscription-lookup",
    "deliver-email",
    "deliver-sms",
    "deliver-chat",
    "deliver-webhook",
    "feedback",
];

/// Asks the function of the dead letters, as an operator does.
#[must_use]
pub fn ask_dead_letters(stack: &Stack, command: &Value) -> Value {
    stack.aws(&["invoke", &stack.text("/functions/DeadLetterFunction"), &command.to_string()])
}

/// Returns the dead letters of a day (`2026-11-23`) that were not redriven, by function and id.
#[must_use]
pub fn dead_letters(stack: &Stack, day: &str) -> BTreeSet<String> {
    let of = |function: &str| {
        let list = ask_dead_letters(stack, &json!({"list": {"function": function, "day": day}}));
        let letters = list["letters"].as_array().cloned().unwrap_or_default().into_iter();
        let open = letters.filter(|letter| letter["redriven_at"].is_null());
        open.map(|letter| format!("{function} {letter}")).collect::<Vec<_>>()
    };
    SOURCES.into_iter().flat_map(of).collect()
}

/// Waits until no queue holds a message any more.
pub fn assert_queues_end_empty(stack: &Stack, at_most: Duration) {
    wait("every queue to be empty", at_most, || (stack.depth(QUEUES) == 0).then_some(()));
}
