//! An endpoint that fails for days: every retry on schedule, the owner notified, the endpoint disabled, probed and enabled again.

use crate::{post, stands};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tests::clock::Clock;
use tests::receive::text;
use tests::tenant::{Endpoint, Tenant, outcome};
use tests::{Stack, stack, wait};

fn integration(tenant: &Tenant, id: &str) -> Value {
    tenant.get(&format!("/integrations/{id}"))
}

fn assert_notice(tenant: &Tenant, text: &str) {
    wait(text, Duration::from_secs(90), || {
        tenant.stack.mails(text).into_iter().find(|mail| mail.text.contains(&tenant.id))
    });
}

/// Waits until `hook` got so many requests about `incident`. The notice about the other endpoint is another incident, which comes first if
/// that one is the first to fail for the fourth time.
fn attempts_at(tenant: &Tenant, hook: &Endpoint, incident: &str, count: usize, at_most: Duration) {
    wait(&format!("{count} attempts at {}", hook.id), at_most, || {
        let inbox = tenant.stack.inbox(&hook.path);
        (inbox.iter().filter(|got| got["body"].to_string().contains(incident)).count() >= count).then_some(())
    });
}

/// A tenant whose two endpoints are dead, and an alert that both are to get.
struct Dead {
    tenant: Tenant,
    back: Endpoint,
    gone: Endpoint,
    first: String,
}

impl Dead {
    /// Two endpoints die.
    fn new(stack: &Stack) -> Self {
        let _clock = Clock::at(stack, "2027-03-01T08:00:00Z");
        let mut tenant = stack.tenant("enterprise");
        drop(tenant.person("tech_devops", &[]));
        let [back, gone] = ["Back", "Gone"].map(|name| {
            let hook = tenant.endpoint_with("webhook", "tech_devops", json!({"name": format!("{name} {}", tenant.id)}));
            stack.behave(&hook.path, json!({"status": 503}));
            hook
        });
        let first = post(&tenant, "first", json!({}));
        for hook in [&back, &gone] {
            drop(tenant.requests(hook, 2, Duration::from_secs(60)));
        }
        let dead = Self { tenant, back, gone, first };
        std::fs::write(Self::note(stack), dead.to_json().to_string()).unwrap();
        dead
    }

    /// The endpoints that died at the beginning of this run, or new ones if only some of its tests run.
    fn found(stack: &Stack) -> Self {
        let Ok(text) = std::fs::read_to_string(Self::note(stack)) else { return Self::new(stack) };
        let noted: Value = serde_json::from_str(&text).unwrap();
        let endpoint = |name: &str| {
            let of = |field: &str| noted[name][field].as_str().unwrap().to_owned();
            let [id, path] = ["id", "path"].map(of);
            Endpoint { id, path, kind: "webhook".to_owned(), role: "tech_devops".to_owned(), secret: String::new() }
        };
        let of = |field: &str| noted[field].as_str().unwrap().to_owned();
        let [id, token, first] = ["tenant", "token", "first"].map(of);
        let tenant = Tenant { stack: stack.clone(), id, token, people: Vec::new(), endpoints: Vec::new() };
        Self { tenant, back: endpoint("back"), gone: endpoint("gone"), first }
    }

    fn to_json(&self) -> Value {
        let endpoint = |one: &Endpoint| json!({"id": one.id, "path": one.path});
        let (back, gone) = (endpoint(&self.back), endpoint(&self.gone));
        json!({"tenant": self.tenant.id, "token": self.tenant.token, "first": self.first, "back": back, "gone": gone})
    }

    fn note(stack: &Stack) -> std::path::PathBuf {
        stack.folder("endpoints").join("dead.json")
    }
}

/// The first test on its stack: the third attempt comes after five minutes of a queue, which are the machine's. Other days pass meanwhile,
/// until `a_recovered_endpoint_gets_everything_sent_since`.
#[test]
fn two_endpoints_die_and_their_alert_waits() {
    let stack = &stack!(clock);
    let Dead { tenant, back, gone, first } = Dead::new(stack);
    for hook in [&back, &gone] {
        stands(&tenant, &first, (&hook.id, "webhook"), &outcome(1, "pending", ""));
    }
}

/// One comes back after more than two days: nothing that came since is lost. The other's alert is given up after its eighth attempt.
#[test]
fn a_recovered_endpoint_gets_everything_sent_since() {
    let stack = &stack!(clock);
    let Dead { tenant, back, gone, first } = &Dead::found(stack);
    for hook in [back, gone] {
        attempts_at(tenant, hook, first, 3, Duration::from_secs(480));
    }
    let mut clock = Clock::at(stack, "2027-07-01T08:00:00Z");
    let mut attempts = 3;
    for (hours, minutes) in [(0, 36), (2, 24), (6, 0), (12, 0)] {
        clock.pass(SignedDuration::from_hours(hours) + SignedDuration::from_mins(minutes));
        attempts += 1;
        for hook in [back, gone] {
            attempts_at(tenant, hook, first, attempts, Duration::from_secs(90));
        }
        if attempts == 4 {
            assert_notice(tenant, "is not accepting alerts");
            wait("it to be marked as failing", Duration::from_secs(30), || {
                integration(tenant, &back.id)["failing_since"].as_str().map(str::to_owned)
            });
        }
    }
    stack.heal(&back.path);
    // Each update in its order, the newer ones before the retry of the old one.
    let second = post(tenant, "second", json!({}));
    stands(tenant, &second, (&back.id, "webhook"), &outcome(1, "delivered", ""));
    assert_eq!(post(tenant, "second", json!({"status": "identified"})), second);
    stands(tenant, &second, (&back.id, "webhook"), &outcome(2, "delivered", ""));
    assert_notice(tenant, "accepts alerts again");
    wait("it to be well", Duration::from_secs(30), || {
        integration(tenant, &back.id).get("failing_since").is_none().then_some(())
    });
    clock.pass(SignedDuration::from_hours(12));
    stands(tenant, first, (&back.id, "webhook"), &outcome(1, "delivered", ""));
    stands(tenant, first, (&gone.id, "webhook"), &outcome(1, "failed", "gave_up"));
    let known = tenant.get(&format!("/incidents/{first}/explain"));
    let entry = |id: &str| {
        known["decisions"].as_array().unwrap().iter().find(|one| one["integration_id"] == id).cloned().unwrap()
    };
    assert_eq!(entry(&gone.id)["attempts"].as_array().unwrap().len(), 8);
    assert_eq!(entry(&back.id)["attempts"].as_array().unwrap().len(), 7, "the eighth was taken");
    // Without the notice about the other endpoint.
    let is_alert = |got: &&Value| [first, &second].iter().any(|incident| got["body"].to_string().contains(*incident));
    let inbox = tenant.stack.inbox(&back.path);
    let ids: BTreeSet<String> = inbox.iter().filter(is_alert).map(|got| text(got, "/headers/webhook-id")).collect();
    assert_eq!(ids.len(), 3, "eight times the same message, and two others");
}

#[test]
fn five_days_of_failures_disable_an_endpoint_and_a_probe_a_day_later_enables_it() {
    let stack = &stack!(clock);
    let mut clock = Clock::at(stack, "2027-08-01T08:00:00Z");
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
    assert_notice(&tenant, "is not accepting alerts");
    let own = tenant.own_incidents().into_iter().find(|one| text(one, "/title").contains(&name)).unwrap();
    let own = text(&own, "/incident_id");
    clock.pass(SignedDuration::from_hours(4 * 24));
    let still = post(&tenant, "still", json!({}));
    stands(&tenant, &still, (&hook.id, "webhook"), &outcome(1, "pending", ""));
    assert_eq!(integration(&tenant, &hook.id)["enabled"], true, "four days are not five");
    clock.pass(SignedDuration::from_hours(25));
    // This one or a retry of an earlier one: the first that fails.
    drop(post(&tenant, "last", json!({})));
    let known = wait("it to be disabled", Duration::from_secs(60), || {
        let known = integration(&tenant, &hook.id);
        (known["enabled"] == false).then_some(known)
    });
    assert_eq!(known["disabled"]["cause"], "failing_too_long", "{known}");
    assert_notice(&tenant, "was disabled");
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
    assert_notice(&tenant, "accepts alerts again");
    wait("it to be enabled", Duration::from_secs(30), || {
        let known = integration(&tenant, &hook.id);
        (known["enabled"] == true && known.get("failing_since").is_none()).then_some(())
    });
    assert_eq!(tenant.incident(&own)["incident"]["status"], "resolved");
}
