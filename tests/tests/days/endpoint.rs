//! An endpoint that is dead for days: every retry at its hour, the owner told, disabled, tried again, and back.

use crate::{post, stands};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::time::Duration;
use tests::clock::Clock;
use tests::receive::text;
use tests::tenant::{Tenant, outcome};
use tests::{stack, wait};

fn integration(tenant: &Tenant, id: &str) -> Value {
    tenant.get(&format!("/integrations/{id}"))
}

fn told(tenant: &Tenant, words: &str) {
    wait(words, Duration::from_secs(90), || {
        tenant.stack.mails(words).into_iter().find(|mail| mail.text.contains(&tenant.id))
    });
}

#[test]
fn one_that_dies_for_two_days_and_comes_back_loses_nothing_that_came_since() {
    let stack = stack!();
    let mut clock = Clock::at(&stack, "2027-07-01T08:00:00Z");
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("tech_devops", &[]));
    let hook = tenant.endpoint_with("webhook", "tech_devops", json!({"name": format!("Hook {}", tenant.id)}));
    stack.behave(&hook.path, json!({"status": 503}));
    let first = post(&tenant, "first", json!({}));
    // The pauses of a queue are the machine's: five seconds, then five minutes.
    drop(tenant.requests(&hook, 3, Duration::from_secs(480)));
    let mut attempts = 3;
    for (hours, minutes) in [(0, 36), (2, 24), (6, 0), (12, 0), (12, 0)] {
        clock.pass(SignedDuration::from_hours(hours) + SignedDuration::from_mins(minutes));
        attempts += 1;
        drop(tenant.requests(&hook, attempts, Duration::from_secs(90)));
        if attempts == 4 {
            told(&tenant, "does not take alerts");
            assert!(integration(&tenant, &hook.id)["failing_since"].is_string());
        }
    }
    stands(&tenant, &first, (&hook.id, "webhook"), &outcome(1, "failed", "gave_up"));
    // What came meanwhile, and after two days the endpoint is back.
    let second = post(&tenant, "second", json!({}));
    assert_eq!(post(&tenant, "second", json!({"status": "identified"})), second);
    drop(tenant.requests(&hook, attempts + 4, Duration::from_secs(60)));
    clock.pass(SignedDuration::from_hours(16));
    stack.heal(&hook.path);
    let third = post(&tenant, "third", json!({}));
    stands(&tenant, &third, (&hook.id, "webhook"), &outcome(1, "delivered", ""));
    told(&tenant, "takes alerts again");
    wait("it to be well", Duration::from_secs(30), || {
        integration(&tenant, &hook.id).get("failing_since").is_none().then_some(())
    });
    // What still waits for its retry comes as well, each update once, with its number.
    wait("the retries", Duration::from_secs(480), || {
        let both = tenant.explained(&second, &hook.id, "webhook");
        (both == [outcome(1, "delivered", ""), outcome(2, "delivered", "")]).then_some(())
    });
    let bodies: Vec<Value> = stack.inbox(&hook.path).iter().map(tests::receive::body).collect();
    let numbers: std::collections::BTreeSet<u64> = bodies
        .iter()
        .filter(|body| text(body, "/data/incident/id") == second || text(body, "/data/incident_id") == second)
        .filter_map(|body| body.pointer("/data/sequence").and_then(Value::as_u64))
        .collect();
    assert_eq!(numbers, [1, 2].into(), "{:?}", bodies.last());
}

#[test]
fn five_days_of_nothing_but_failures_disable_it_and_an_alert_a_day_later_finds_it_back() {
    let stack = stack!();
    let mut clock = Clock::at(&stack, "2027-08-01T08:00:00Z");
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("tech_devops", &[]));
    let name = format!("Hook {}", tenant.id);
    let hook = tenant.endpoint_with("webhook", "tech_devops", json!({"name": name}));
    stack.behave(&hook.path, json!({"status": 503}));
    for number in 0..4 {
        let incident = post(&tenant, &format!("early{number}"), json!({}));
        drop(tenant.requests(&hook, number * 2 + 2, Duration::from_secs(60)));
        stands(&tenant, &incident, (&hook.id, "webhook"), &outcome(1, "pending", ""));
        clock.pass(SignedDuration::from_secs(61));
    }
    told(&tenant, "does not take alerts");
    clock.pass(SignedDuration::from_hours(4 * 24));
    let still = post(&tenant, "still", json!({}));
    stands(&tenant, &still, (&hook.id, "webhook"), &outcome(1, "pending", ""));
    assert_eq!(integration(&tenant, &hook.id)["enabled"], true, "four days are not five");
    clock.pass(SignedDuration::from_hours(25));
    let last = post(&tenant, "last", json!({}));
    stands(&tenant, &last, (&hook.id, "webhook"), &outcome(1, "failed", "endpoint_disabled"));
    let known = integration(&tenant, &hook.id);
    assert_eq!(
        (&known["enabled"], &known["disabled"]["cause"]),
        (&json!(false), &json!("failing_too_long")),
        "{known}"
    );
    told(&tenant, "gets no more alerts");
    let skipped = post(&tenant, "skipped", json!({}));
    stands(&tenant, &skipped, (&hook.id, "webhook"), &outcome(1, "skipped", "endpoint_disabled"));

    // A day later an alert tries it: still dead, so the next is tried a day after.
    clock.pass(SignedDuration::from_hours(24) + SignedDuration::from_mins(1));
    let probe = post(&tenant, "probe", json!({}));
    stands(&tenant, &probe, (&hook.id, "webhook"), &outcome(1, "failed", "endpoint_disabled"));
    let between = post(&tenant, "between", json!({}));
    stands(&tenant, &between, (&hook.id, "webhook"), &outcome(1, "skipped", "endpoint_disabled"));
    clock.pass(SignedDuration::from_hours(24) + SignedDuration::from_mins(1));
    stack.heal(&hook.path);
    let back = post(&tenant, "back", json!({}));
    stands(&tenant, &back, (&hook.id, "webhook"), &outcome(1, "delivered", ""));
    told(&tenant, "takes alerts again");
    wait("it to be enabled", Duration::from_secs(30), || {
        let known = integration(&tenant, &hook.id);
        (known["enabled"] == true && known.get("failing_since").is_none()).then_some(())
    });
    let own = tenant.own_incidents().into_iter().find(|one| text(one, "/title").contains(&name)).unwrap();
    assert_eq!(own["status"], "resolved", "{own}");
}
