//! A bad hour, drawn from a seed: AWS throttles, fails, answers late, twice, out of order or not at all, receivers fail, functions are killed
//! with a lease in their hands, messages become dead letters and are redriven, AWS is gone for a while, and the emulator starts again. Afterwards
//! ledger, inboxes and queues must agree: whatever was accepted arrived, is held until a time to come, or has a reason.
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
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tests::checker::{Posted, SOURCES, Totals, ask_dead_letters, assert_queues_end_empty, check, dead_letters};
use tests::tenant::Tenant;
use tests::wire::Shortened;
use tests::{Stack, now, stack, today, unique, utc_time_in, wait};

/// Incidents of an hour. Each opens, and two of three are resolved.
const INCIDENTS: usize = 9;
/// How long AWS is gone.
const OUTAGE_SECONDS: u64 = 12;
/// What goes wrong with AWS calls.
const KINDS: [&str; 9] = [
    "throttled",
    "unavailable",
    "cut_before",
    "cut_after",
    "late",
    "truncated",
    "partly_failed",
    "duplicated",
    "reordered",
];
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
/// What is in flight when a function dies comes again sooner: the visibility timeout of its queue, in seconds.
const VISIBILITY: [(&str, u64); 10] = [
    ("ClassifyQueue", 15),
    ("SubscriptionLookupQueue", 15),
    ("DeliverEmailQueue", 15),
    ("DeliverEmailBulkQueue", 15),
    ("DeliverSmsQueue", 15),
    ("DeliverSmsBulkQueue", 15),
    ("DeliverChatQueue", 15),
    ("DeliverChatBulkQueue", 15),
    ("DeliverWebhookQueue", 28),
    ("DeliverWebhookBulkQueue", 28),
];
/// The queues whose messages become dead letters after two receives, in an hour with dead letters.
const IMPATIENT: [&str; 8] = [
    "DeliverEmailQueue",
    "DeliverEmailBulkQueue",
    "DeliverSmsQueue",
    "DeliverSmsBulkQueue",
    "DeliverChatQueue",
    "DeliverChatBulkQueue",
    "DeliverWebhookQueue",
    "DeliverWebhookBulkQueue",
];

/// What an hour has besides the faults of single calls.
#[derive(Clone, Copy, Debug)]
struct Hour {
    seed: u64,
    /// The emulator and all functions end, and start again.
    restart: bool,
    /// All of AWS is gone for a while.
    outage: bool,
    /// Deliveries become dead letters after two receives.
    dead_letters: bool,
}

impl Hour {
    /// Of three hours, one has a restart and one an outage; one of four has dead letters. The first has a restart and dead letters.
    fn of(seed: u64) -> Self {
        Self { seed, restart: seed % 3 == 1, outage: seed % 3 == 2, dead_letters: seed % 4 == 1 }
    }
}

/// A tenant with a destination on each channel, and somebody who gets a digest in twelve hours.
fn tenant(stack: &Stack) -> Tenant {
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("org_admin", &[]));
    let digest = json!({"every": "daily", "at": utc_time_in(720), "below": "critical"});
    drop(tenant.person_with("support_manager", json!({"digest": digest, "zone": "UTC"})));
    for kind in ["slack", "teams", "webhook"] {
        drop(tenant.endpoint(kind, "org_admin"));
    }
    tenant
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

/// Redrives all dead letters of today as an operator does, until there are no more. Returns their number.
fn redrive(stack: &Stack) -> u64 {
    let mut redriven = 0;
    loop {
        // What failed twice is moved when it would be received again.
        tests::pause(4);
        wait("every dead letter to be recorded", Duration::from_secs(180), || {
            let dead = ["Email", "Sms", "Chat", "Webhook"].map(|channel| format!("Deliver{channel}DeadLetterQueue"));
            let queues = IMPATIENT.into_iter().chain(dead.iter().map(String::as_str));
            (stack.depth(queues) == 0).then_some(())
        });
        let mut now = 0;
        for function in SOURCES {
            let done = ask_dead_letters(stack, &json!({"redrive": {"function": function, "day": today()}}));
            assert_eq!((&done["failed"], &done["next"]), (&json!(0), &Value::Null), "{function}: {done}");
            now += done["redriven"].as_u64().unwrap();
        }
        if now == 0 {
            return redriven;
        }
        redriven += now;
    }
}

/// Kills a function; a sender where possible after a claim, whose lease then has to end. Returns whether it held one.
fn kill(stack: &Stack, function: &str, tenant: &Tenant) -> bool {
    let person = &tenant.people[0].id;
    let row = match function {
        "DeliverEmailFunction" => format!("{person}#email\""),
        "DeliverSmsFunction" => format!("{person}#sms\""),
        _ => {
            let _killed = stack.kill(function);
            return false;
        }
    };
    let claim = stack.hold("dynamodb.UpdateItem", &row, true);
    let event = json!({"source": "e2e", "type": "api.outage", "severity": "error", "title": format!("{} lease", unique()),
        "tenant_ids": [tenant.id]});
    let _event = stack.post_until_accepted(&event);
    let begun = Instant::now();
    while !claim.is_held() && begun.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let leased = claim.is_held() && stack.kill(function) > 0;
    claim.cut();
    leased
}

/// Runs the bad hour of a seed.
fn run(stack: &Stack, hour: Hour) {
    let (begun, seed) = (Instant::now(), hour.seed);
    let mut random = Random::new(seed);
    let tenants = [tenant(stack), tenant(stack)];
    let letters_before = dead_letters(stack, &today());
    let _sooner = Shortened::new(stack, &VISIBILITY);
    let patience = hour.dead_letters.then(|| IMPATIENT.map(|queue| (queue, stack.receives_max(queue, 2))));
    let faults = stack.let_fail((seed, 3), &["dynamodb.", "sqs.", "ses.", "sns.", "kms."], &KINDS);
    tenants.iter().for_each(|tenant| disturb_receivers(tenant, &mut random));
    let (mut events, mut killed) = (Vec::new(), Vec::new());
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
            let leased = kill(stack, function, &tenants[tenant]);
            killed.push(format!("{function}{}", if leased { " with a lease" } else { "" }));
        }
        if number == INCIDENTS / 2 && hour.outage {
            let outage = stack.outage();
            std::thread::scope(|scope| {
                // A source goes on until it is accepted.
                scope.spawn(|| {
                    stack.post_until_accepted(&json!({"source": "e2e", "type": "api.outage", "severity": "error",
                    "title": "during the outage", "tenant_ids": [tenants[0].id]}))
                });
                tests::pause(OUTAGE_SECONDS);
                drop(outage);
            });
        }
        if number == INCIDENTS / 2 && hour.restart {
            stack.restart_emulator();
        }
    }
    tests::pause(5);
    let drawn = faults.end();
    for tenant in &tenants {
        tenant.endpoints.iter().for_each(|endpoint| stack.heal(&endpoint.path));
    }
    let total: u64 = drawn.values().sum();
    assert!(total > 60, "only {total} calls went wrong: {drawn:?}");
    let mut redriven = 0;
    if let Some(before) = patience {
        for (queue, receives) in before {
            let _two = stack.receives_max(queue, receives);
        }
        redriven = redrive(stack);
    }
    let bad_for = begun.elapsed().as_secs();
    let mut totals = Totals::default();
    for (tenant, title, opened, updates) in events {
        let posted = Posted { id: stack.incident_of(&opened), title, updates };
        totals.add(check(&tenants[tenant], &posted, now, Duration::from_secs(420)));
    }
    assert_queues_end_empty(stack, Duration::from_secs(120));
    // Faults of AWS are waited for, however many there are: nothing is given up.
    let letters: BTreeSet<String> = dead_letters(stack, &today()).difference(&letters_before).cloned().collect();
    assert!(letters.is_empty(), "dead letters: {letters:#?}; {drawn:?}");
    // The one double that nobody can rule out: a send or a mark whose answer was lost, or that was refused again and again.
    let Totals { messages, doubled, others } = totals;
    assert!(doubled * 4 <= messages, "{doubled} of {messages} messages came twice; {drawn:?}");
    eprintln!(
        "{hour:?}: {total} faults, killed {killed:?}, {redriven} dead letters redriven; {messages} messages, {doubled} of them twice, {others:?}; \
         {bad_for} s of faults and {} s until all was over; {drawn:?}",
        begun.elapsed().as_secs() - bad_for
    );
}

/// The number in an environment variable.
fn given(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

#[test]
fn whatever_goes_wrong_every_alert_arrives_or_has_a_reason() {
    let stack = stack!(alone);
    let Some(minutes) = given("TOCSIN_FAULT_MINUTES") else {
        return run(&stack, Hour::of(given("TOCSIN_FAULT_SEED").unwrap_or(1)));
    };
    // Goes on where the last run ended.
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/next-fault-seed");
    let read = || std::fs::read_to_string(&file).ok()?.trim().parse::<u64>().ok();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(minutes * 60) {
        let seed = read().unwrap_or(1);
        run(&stack, Hour::of(seed));
        std::fs::write(&file, (seed + 1).to_string()).unwrap();
    }
}
