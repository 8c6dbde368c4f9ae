//! A function's process is killed while its claim, its send or its mark is on the way. No alert may be lost, and the only
//! double is the documented one: the provider took the message and we died before we could note it.
//!
//! `TOCSIN_KILLS` says how many alerts are hit at each point (3), three at a time. The queues' visibility timeouts are shortened meanwhile:
//! the waiting is, the mechanism is not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may fail by a panic"
)]

use serde_json::json;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};
use tests::receive::text;
use tests::tenant::Tenant;
use tests::wire::{HeldCall, Shortened};
use tests::{Stack, in_seconds, stack, unique};

/// How many alerts are hit together: one batch, so that the one kill finds all of them at their point.
const TOGETHER: usize = 3;

/// How many rounds of [`TOGETHER`] there are.
fn rounds() -> usize {
    let given = std::env::var_os("TOCSIN_KILLS").and_then(|text| text.to_str().and_then(|text| text.parse().ok()));
    given.unwrap_or(TOGETHER).div_ceil(TOGETHER)
}

/// `each` as often as there are rounds.
fn in_rounds<T: Copy>(each: &[T]) -> Vec<T> {
    each.iter().copied().cycle().take(each.len() * rounds()).collect()
}

/// A call that is to be held while this function is killed.
struct Point {
    function: &'static str,
    hold: HeldCall,
    /// Whose delivery it is: the tenant, and the name in [`ALL`].
    whose: Whose,
}

type Whose = (String, &'static str);

/// Waits for the calls and kills each call's function while it is held. A held call that was not made yet never is: its connection is cut.
/// Gives back whose function died at another point than theirs, since it was not there
/// yet: on a busy machine they do not all arrive in one batch.
fn kill(stack: &Stack, mut points: Vec<Point>) -> BTreeSet<Whose> {
    let mut elsewhere = BTreeSet::new();
    let begun = Instant::now();
    let mut first: Option<Instant> = None;
    while !points.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(200), "{} calls never came", points.len());
        let held: Vec<bool> = points.iter().map(|point| point.hold.is_held()).collect();
        if held.contains(&true) {
            let since = *first.get_or_insert_with(Instant::now);
            // The messages of one batch are killed together. Later ones are killed in a round of their own. A function would be
            // ended by its own timeout after 8 s.
            if held.contains(&false) && since.elapsed() < Duration::from_millis(3_500) {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            let functions: BTreeSet<&str> =
                points.iter().zip(&held).filter(|(_, held)| **held).map(|(point, _)| point.function).collect();
            for function in &functions {
                assert!(stack.kill(function) > 0, "no process of {function} was found while its call was held");
            }
            // One that came after the look and before the kill died with it.
            points.retain(|point| {
                let dead = functions.contains(point.function) && point.hold.is_held();
                if dead {
                    point.hold.cut();
                } else if functions.contains(point.function) {
                    elsewhere.insert(point.whose.clone());
                }
                !dead
            });
            first = None;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    elsewhere
}

/// A tenant with one destination on each channel.
fn tenant(stack: &Stack) -> Tenant {
    let mut tenant = stack.tenant("enterprise");
    tenant.set(json!({"storms": "bundle"}));
    drop(tenant.person("org_admin", &[]));
    drop(tenant.endpoint("slack", "org_admin"));
    drop(tenant.endpoint("webhook", "org_admin"));
    tenant
}

fn event(tenant: &Tenant, mark: &str) -> serde_json::Value {
    json!({"source": "e2e", "type": "api.outage", "severity": "critical", "title": format!("{mark} down"),
        "tenant_ids": [tenant.id], "dedup_key": mark})
}

const ALL: [&str; 4] = ["org_admin email", "org_admin sms", "org_admin slack", "org_admin webhook"];

/// Waits until every destination was notified, and asserts how often.
fn assert_notified(tenant: &Tenant, mark: &str, counts: impl Fn(&str) -> RangeInclusive<usize>) {
    let list = tests::wait("the incident", Duration::from_secs(180), || {
        let list = tenant.own_incidents();
        (!list.is_empty()).then_some(list)
    });
    assert_eq!(list.len(), 1, "{list:?}");
    let incident = text(&list[0], "/incident_id");
    drop(tenant.settled_within(&incident, 1, Duration::from_secs(180)));
    // The ledger is written after the send, but the receivers' log may be a moment behind; and nothing more may come.
    for seconds in [2, 3] {
        tests::pause(seconds);
        let got = tenant.got(mark);
        let fits = ALL.iter().all(|name| counts(name).contains(&got.get(*name).copied().unwrap_or(0)));
        assert!(fits, "what arrived with {mark}: {got:?}; expected {:?}", ALL.map(&counts));
    }
    let hook = tenant.endpoints.iter().find(|endpoint| endpoint.kind == "webhook").unwrap();
    let ids: BTreeSet<String> =
        tenant.stack.inbox(&hook.path).iter().map(|got| text(got, "/headers/webhook-id")).collect();
    assert_eq!(ids.len(), 1, "a double carries the webhook-id of the first");
}

#[test]
fn no_event_is_lost_if_intake_dies_while_it_queues() {
    let stack = stack!(alone);
    for after in [false, true] {
        for _ in 0..TOGETHER * rounds() {
            let (tenant, mark) = (tenant(&stack), unique());
            let body = event(&tenant, &mark);
            let key = [("idempotency-key", mark.as_str())];
            let post = || stack.call_with("POST", "/v1/incidents", &stack.monitor(), &key, Some(&body));
            let hold = stack.hold("sqs.SendMessageBatch", &mark, after);
            let first = std::thread::scope(|scope| {
                let posting = scope.spawn(post);
                let whose = (tenant.id.clone(), "");
                drop(kill(&stack, vec![Point { function: "IntakeFunction", hold, whose }]));
                posting.join().unwrap()
            });
            assert!(first.status >= 500, "an upstream without a 202 sends again: {} {}", first.status, first.body);
            let again = tests::wait("intake to take it", Duration::from_secs(60), || {
                let answer = post();
                (answer.status == 202).then_some(answer)
            });
            assert!(again.json()["event_id"].is_string());
            assert_notified(&tenant, &mark, |_| 1..=1);
        }
    }
}

/// Kills a function at each of these calls, and everybody is notified once. `contains` distinguishes an alert's call from others.
fn dies_at(
    stack: &Stack,
    function: &'static str,
    calls: &[(&'static str, bool)],
    contains: impl Fn(&str, &Tenant, &str) -> String,
) {
    for (operation, after) in in_rounds(calls) {
        let hit: Vec<(Tenant, String)> = (0..TOGETHER).map(|_| (tenant(stack), unique())).collect();
        let points = hit.iter().map(|(tenant, mark)| {
            let hold = stack.hold(operation, &contains(operation, tenant, mark), after);
            Point { function, hold, whose: (tenant.id.clone(), "") }
        });
        let points = points.collect();
        for (tenant, mark) in &hit {
            let _id = stack.post(event(tenant, mark));
        }
        // It doubles nothing, wherever it dies: what was sent and is sent again is claimed once only.
        drop(kill(stack, points));
        for (tenant, mark) in &hit {
            assert_notified(tenant, mark, |_| 1..=1);
        }
    }
}

#[test]
fn no_update_is_lost_if_classify_dies_around_its_transaction_or_send() {
    let stack = stack!(alone);
    let _short = Shortened::new(&stack, &[("ClassifyQueue", 10)]);
    let calls = [
        ("dynamodb.TransactWriteItems", false),
        ("dynamodb.TransactWriteItems", true),
        ("sqs.SendMessage", false),
        ("sqs.SendMessage", true),
    ];
    dies_at(&stack, "ClassifyFunction", &calls, |operation, tenant, mark| match operation {
        "sqs.SendMessage" => format!("route\\\":{{\\\"tenant\\\":\\\"{}", tenant.id),
        _ => mark.to_owned(),
    });
}

#[test]
fn no_delivery_is_lost_if_subscription_lookup_dies_around_its_plan_or_send() {
    let stack = stack!(alone);
    let _short = Shortened::new(&stack, &[("SubscriptionLookupQueue", 10)]);
    let calls = [
        ("dynamodb.PutItem", false),
        ("dynamodb.PutItem", true),
        ("sqs.SendMessageBatch", false),
        ("sqs.SendMessageBatch", true),
    ];
    dies_at(&stack, "SubscriptionLookupFunction", &calls, |operation, tenant, _| match operation {
        "dynamodb.PutItem" => format!("{}#0000#000001", tenant.id),
        _ => tenant.people[0].id.clone(),
    });
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// The claim never reaches the table.
    BeforeClaim,
    /// The claim is made, nobody knows.
    AfterClaim,
    /// The message never reaches the provider.
    BeforeSend,
    /// The provider accepted the message, and no mark was made.
    AfterSend,
    /// It is taken, and the mark never reaches the table.
    BeforeMark,
    /// The mark is made, nobody knows.
    AfterMark,
}

/// The holds of one tenant's deliveries.
fn points(stack: &Stack, tenant: &Tenant, at: At) -> Vec<Point> {
    let person = &tenant.people[0];
    let mut rows = vec![
        ("DeliverEmailFunction", "email", format!("{}#email\"", person.id)),
        ("DeliverSmsFunction", "sms", format!("{}#sms\"", person.id)),
    ];
    for endpoint in &tenant.endpoints {
        rows.push(match endpoint.kind.as_str() {
            "webhook" => ("DeliverWebhookFunction", "webhook", format!("{}#000001\"", endpoint.id)),
            kind => ("DeliverChatFunction", kind, format!("{}#{kind}\"", endpoint.id)),
        });
    }
    let mut kill_at = Vec::new();
    for (function, channel, row) in rows {
        let name = ALL.into_iter().find(|name| name.ends_with(channel)).unwrap();
        let mut point = |hold| kill_at.push(Point { function, hold, whose: (tenant.id.clone(), name) });
        match at {
            At::BeforeClaim | At::AfterClaim => point(stack.hold("dynamodb.UpdateItem", &row, at == At::AfterClaim)),
            At::BeforeMark | At::AfterMark => {
                // The first update of a row is its claim.
                point(stack.hold_call_after("dynamodb.UpdateItem", &row, 1, at == At::AfterMark));
            }
            At::BeforeSend | At::AfterSend => match function {
                "DeliverEmailFunction" => {
                    let name = person.email.split('@').next().unwrap();
                    point(stack.hold("ses.SendRawEmail", name, at == At::AfterSend));
                }
                "DeliverSmsFunction" => {
                    point(stack.hold("sns.Publish", person.phone.trim_start_matches('+'), at == At::AfterSend));
                }
                // A receiver outside of AWS is not on this wire.
                _ => {}
            },
        }
    }
    kill_at
}

#[test]
fn no_message_is_lost_if_a_sender_dies_around_claim_send_or_mark() {
    let stack = stack!(alone);
    let queues =
        [("DeliverEmailQueue", 15), ("DeliverSmsQueue", 15), ("DeliverChatQueue", 15), ("DeliverWebhookQueue", 28)];
    let _short = Shortened::new(&stack, &queues);
    let points_in_time =
        [At::BeforeClaim, At::AfterClaim, At::BeforeSend, At::AfterSend, At::BeforeMark, At::AfterMark];
    for at in in_rounds(&points_in_time) {
        eprintln!("{} killing at {at:?}", in_seconds(0));
        let hit: Vec<(Tenant, String)> = (0..TOGETHER).map(|_| (tenant(&stack), unique())).collect();
        let kill_at: Vec<Point> = hit.iter().flat_map(|(tenant, _)| points(&stack, tenant, at)).collect();
        for (tenant, mark) in &hit {
            let _id = stack.post(event(tenant, mark));
        }
        let all = kill_at.len();
        let elsewhere = kill(&stack, kill_at);
        assert!(elsewhere.len() * 2 <= all, "most of {all} were to be there when they were killed: {elsewhere:?}");
        for (tenant, mark) in &hit {
            assert_notified(tenant, mark, |name| {
                let on_the_wire = name.ends_with("email") || name.ends_with("sms");
                match at {
                    // Where it died then is not known: perhaps between the send and the mark.
                    _ if elsewhere.iter().any(|(id, whose)| *id == tenant.id && *whose == name) => 1..=2,
                    At::AfterSend if on_the_wire => 2..=2,
                    At::BeforeMark => 2..=2,
                    _ => 1..=1,
                }
            });
        }
    }
}

#[test]
fn no_message_is_lost_if_a_sender_dies_while_the_receiver_reads() {
    let stack = stack!(alone);
    let _short = Shortened::new(&stack, &[("DeliverChatQueue", 15), ("DeliverWebhookQueue", 28)]);
    // A few at a time: all of them must be read from while none is done.
    for _ in 0..rounds() {
        chat_and_webhook_die(&stack);
    }
}

fn chat_and_webhook_die(stack: &Stack) {
    let hit: Vec<(Tenant, String)> = (0..TOGETHER).map(|_| (tenant(stack), unique())).collect();
    for (tenant, _) in &hit {
        for endpoint in &tenant.endpoints {
            // As long as its sender waits: none may be done before all of them are being read from.
            let delay_ms = if endpoint.kind == "webhook" { 8_000 } else { 4_000 };
            stack.behave(&endpoint.path, json!({"delay_ms": delay_ms, "times": 1}));
        }
    }
    for (tenant, mark) in &hit {
        let _id = stack.post(event(tenant, mark));
    }
    tests::wait("every receiver to have a request", Duration::from_secs(60), || {
        let all = hit.iter().flat_map(|(tenant, _)| &tenant.endpoints).all(|one| !stack.inbox(&one.path).is_empty());
        all.then_some(())
    });
    for function in ["DeliverChatFunction", "DeliverWebhookFunction"] {
        assert!(stack.kill(function) > 0, "{function}");
    }
    for (tenant, mark) in &hit {
        assert_notified(
            tenant,
            mark,
            |name| if name.ends_with("slack") || name.ends_with("webhook") { 2..=2 } else { 1..=1 },
        );
    }
}
