//! A bad hour, drawn from a seed: AWS throttles, fails, answers late, twice or not at all, receivers fail, and functions are killed. Afterwards
//! ledger and inboxes must agree: whatever was accepted arrived, and whatever did not arrive has a reason.
//!
//! The suite runs one seed. `cargo xtask test --faults` runs as many as there is time for, `--seed N` one of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may fail by a panic"
)]

use serde_json::{Value, json};
use simulation::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tests::receive::text;
use tests::tenant::Tenant;
use tests::{Stack, http, stack, today, unique, wait};

/// Incidents per round. Each opens, and two of three are resolved.
const INCIDENTS: usize = 9;
/// The functions that are killed.
const FUNCTIONS: [&str; 7] = [
    "IntakeFunction",
    "ClassifyFunction",
    "SubscriptionLookupFunction",
    "DeliverEmailFunction",
    "DeliverSmsFunction",
    "DeliverChatFunction",
    "DeliverWebhookFunction",
];

/// The faults of the proxy, until this is dropped.
struct Faults<'a>(&'a Stack);

impl<'a> Faults<'a> {
    fn begin(stack: &'a Stack, seed: u64) -> Self {
        let plan = json!({"seed": seed, "one_in": 3, "operations": ["dynamodb.", "sqs.", "ses.", "sns.", "kms."],
            "kinds": ["throttled", "unavailable", "cut_before", "cut_after", "late", "truncated", "partly_failed", "duplicated"]});
        let url = format!("{}/faults", stack.text("/control_url"));
        let answer = http::send("PUT", &url, &[], Some(plan.to_string().as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        Self(stack)
    }

    /// Ends them. Returns how often each was drawn, by operation and kind.
    fn end(&self) -> BTreeMap<String, u64> {
        let url = format!("{}/faults", self.0.text("/control_url"));
        let drawn = http::send("DELETE", &url, &[], None).unwrap().json();
        serde_json::from_value(drawn).unwrap_or_default()
    }
}

impl Drop for Faults<'_> {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// Makes some receivers fail once.
fn disturb_receivers(tenant: &Tenant, random: &mut Random) {
    for endpoint in &tenant.endpoints {
        let behavior = match random.place(8) {
            0 => json!({"status": 500, "times": 1}),
            1 => json!({"status": 429, "retry_after": 2, "times": 1}),
            2 => json!({"reset": true, "times": 1}),
            3 => json!({"delay_ms": 1_500, "times": 2}),
            4 => json!({"huge": true, "times": 1}),
            _ => continue,
        };
        tenant.stack.behave(&endpoint.path, behavior);
    }
}

/// The dead letters of today, by function and id.
fn dead_letters(stack: &Stack) -> BTreeSet<String> {
    let functions = [
        "intake",
        "classify",
        "subscription-lookup",
        "deliver-email",
        "deliver-sms",
        "deliver-chat",
        "deliver-webhook",
    ];
    let of = |function: &str| {
        let command = json!({"list": {"function": function, "day": today()}}).to_string();
        let list = stack.aws(&["invoke", &stack.text("/functions/DeadLetterFunction"), &command]);
        let letters = list["letters"].as_array().cloned().unwrap_or_default().into_iter();
        letters.map(|letter| format!("{function} {letter}")).collect::<Vec<_>>()
    };
    functions.into_iter().flat_map(of).collect()
}

/// An incident that a round posted.
struct Posted {
    title: String,
    id: String,
    updates: u64,
}

/// What the ledger says of a delivery: the update, the outcome and the reason.
type Explained = (u64, String, String);

fn was_sent(entry: &Explained) -> bool {
    matches!(entry.1.as_str(), "accepted" | "delivered")
}

/// Waits until an incident's every update is explained for a destination and nothing of it waits any more.
fn settled(tenant: &Tenant, posted: &Posted, id: &str, channel: &str) -> Vec<Explained> {
    let what = format!("{channel} of {} to {id}", posted.title);
    wait(&what, Duration::from_secs(420), || {
        let entries = tenant.explained(&posted.id, id, channel);
        let known: BTreeSet<u64> = entries.iter().map(|entry| entry.0).collect();
        let is_over = |entry: &Explained| {
            was_sent(entry) || (["skipped", "failed"].contains(&entry.1.as_str()) && !entry.2.is_empty())
        };
        ((1..=posted.updates).all(|update| known.contains(&update)) && entries.iter().all(is_over)).then_some(entries)
    })
}

/// Compares what the ledger says of an incident with what arrived. Returns how many messages there were, and how many came twice.
fn check(tenant: &Tenant, posted: &Posted) -> (usize, usize) {
    let (mut messages, mut doubled) = (0, 0);
    let people = tenant.people.iter().flat_map(|person| {
        [("email", &person.email), ("sms", &person.phone)].map(|(channel, to)| (&person.id, channel, to))
    });
    let endpoints = tenant.endpoints.iter().map(|endpoint| (&endpoint.id, endpoint.kind.as_str(), &endpoint.path));
    let explained =
        people.chain(endpoints).map(|(id, channel, to)| (settled(tenant, posted, id, channel), channel, to));
    let explained: Vec<_> = explained.collect();
    let arrivals = tenant.arrivals(&posted.title);
    for (entries, channel, to) in explained {
        let sent = entries.iter().filter(|entry| was_sent(entry)).count();
        let arrived = arrivals.iter().filter(|arrival| arrival.to == *to).count();
        assert!(arrived >= sent, "{channel} of {}: {arrived} arrived of {entries:?}", posted.title);
        // A failed attempt may have arrived; so may one of which the function died, or which a newer update then replaced.
        let may_arrive = |entry: &Explained| was_sent(entry) || entry.1 == "failed" || entry.2 == "superseded_by";
        assert!(
            arrived == 0 || entries.iter().any(may_arrive),
            "{channel} of {}: {arrived} of {entries:?}",
            posted.title
        );
        messages += arrived;
        doubled += arrived.saturating_sub(entries.len());
    }
    for endpoint in tenant.endpoints.iter().filter(|endpoint| endpoint.kind == "webhook") {
        // Every update, each with one id however often it comes.
        let mut ids: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for request in tenant.stack.inbox(&endpoint.path) {
            let body: Value = serde_json::from_str(&text(&request, "/body")).unwrap();
            if body["data"]["incident_id"] == posted.id.as_str() {
                let id = text(&request, "/headers/webhook-id");
                ids.entry(body["data"]["sequence"].as_u64().unwrap()).or_default().insert(id);
            }
        }
        for (update, ..) in tenant.explained(&posted.id, &endpoint.id, "webhook").iter().filter(|entry| was_sent(entry))
        {
            assert!(ids.contains_key(update), "update {update} of {} never arrived: {ids:?}", posted.title);
        }
        assert!(ids.values().all(|ids| ids.len() == 1), "one update has several ids: {ids:?}");
    }
    (messages, doubled)
}

/// Runs the bad hour of a seed.
fn round(stack: &Stack, seed: u64) {
    let begun = Instant::now();
    let mut random = Random::new(seed);
    let tenants = [stack.full_tenant(), stack.full_tenant()];
    let letters_before = dead_letters(stack);
    let faults = Faults::begin(stack, seed);
    tenants.iter().for_each(|tenant| disturb_receivers(tenant, &mut random));
    let mut events = Vec::new();
    for number in 0..INCIDENTS {
        let tenant = random.place(tenants.len());
        let title = format!("{} fault", unique());
        let event = |status: &str| {
            json!({"source": "e2e", "type": "api.outage", "severity": "error", "title": title, "status": status,
                "dedup_key": title, "tenant_ids": [tenants[tenant].id]})
        };
        let opened = stack.post_until_accepted(&event("investigating"));
        let updates = if number % 3 == 0 { 1 } else { 2 };
        if updates == 2 {
            drop(stack.post_until_accepted(&event("resolved")));
        }
        events.push((tenant, title, opened, updates));
        if number % 4 == 3 {
            let function = FUNCTIONS[random.place(FUNCTIONS.len())];
            eprintln!("seed {seed}: killed {} processes of {function}", stack.kill(function));
        }
    }
    tests::pause(10);
    let drawn = faults.end();
    for tenant in &tenants {
        tenant.endpoints.iter().for_each(|endpoint| stack.heal(&endpoint.path));
    }
    let total: u64 = drawn.values().sum();
    assert!(total > 100, "only {total} calls went wrong: {drawn:?}");
    let (mut messages, mut doubled) = (0, 0);
    for (tenant, title, opened, updates) in events {
        let posted = Posted { id: stack.incident_of(&opened), title, updates };
        let (all, twice) = check(&tenants[tenant], &posted);
        messages += all;
        doubled += twice;
    }
    // Faults of AWS are waited for, however many there are: nothing is given up.
    let letters: BTreeSet<String> = dead_letters(stack).difference(&letters_before).cloned().collect();
    assert!(letters.is_empty(), "dead letters: {letters:#?}; {drawn:?}");
    // The one double that nobody can rule out: a send or a mark whose answer was lost, or that was refused again and again.
    assert!(doubled * 4 <= messages, "{doubled} of {messages} messages came twice; {drawn:?}");
    let seconds = begun.elapsed().as_secs();
    eprintln!("seed {seed}: {total} faults, {messages} messages, {doubled} of them twice, {seconds} s; {drawn:?}");
}

/// The number in an environment variable.
fn given(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

#[test]
fn whatever_goes_wrong_every_alert_arrives_or_has_a_reason() {
    let stack = stack!(alone);
    let Some(minutes) = given("TOCSIN_FAULT_MINUTES") else {
        return round(&stack, given("TOCSIN_FAULT_SEED").unwrap_or(1));
    };
    // Goes on where the last run ended.
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/next-fault-seed");
    let read = || std::fs::read_to_string(&file).ok()?.trim().parse::<u64>().ok();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(minutes * 60) {
        let seed = read().unwrap_or(1);
        round(&stack, seed);
        std::fs::write(&file, (seed + 1).to_string()).unwrap();
    }
}
