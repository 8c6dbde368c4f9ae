//! Quiet hours on the running stack: what is held, what passes, and what comes when they end.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::tenant::{Tenant, outcome};
use tests::{stack, unique, utc_time_in, wait};

fn post(tenant: &Tenant, key: &str, mark: &str, more: Value) -> String {
    let mut event = json!({"type": "api.outage", "severity": "error", "title": format!("{mark} is broken"),
        "dedup_key": key, "tenant_ids": [tenant.id]});
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    tenant.stack.incident_of(&tenant.stack.post(event))
}

#[test]
fn held_alerts_come_once_when_quiet_hours_end_and_critical_ones_at_once() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("support_manager", &[]);
    let awake = tenant.person_with("support_manager", json!({"no_quiet_hours": true}));
    let room = tenant.endpoint("slack", "support_manager");
    let hook = tenant.endpoint("webhook", "tech_devops");
    // At least two whole minutes are left for everything that happens before they end.
    let (from, to) = (utc_time_in(-60), utc_time_in(3));
    tenant.set(json!({"quiet_hours": {"from": from, "to": to, "zone": "UTC"}}));
    let begun = Instant::now();
    assert_eq!(tenant.get("/settings")["quiet_hours"]["critical_passes"], true);

    let (changing, over, worst) = (unique(), unique(), unique());
    let first = post(&tenant, "changing", &changing, json!({}));
    let second = post(&tenant, "over", &over, json!({}));
    let third = post(&tenant, "worst", &worst, json!({"severity": "critical"}));
    for (incident, update) in [(&first, 1), (&second, 1), (&third, 1)] {
        drop(tenant.settled(incident, update));
    }
    assert_eq!(post(&tenant, "changing", &changing, json!({"status": "identified"})), first);
    assert_eq!(post(&tenant, "over", &over, json!({"status": "resolved"})), second);
    for incident in [&first, &second] {
        drop(tenant.settled(incident, 2));
    }
    // People and chat channels wait. Webhooks, recipients without quiet hours, and critical alerts do not.
    let held = [outcome(1, "held", "quiet_hours"), outcome(2, "held", "quiet_hours")];
    for (id, channel) in [(&person.id, "email"), (&room.id, "slack")] {
        assert_eq!(tenant.explained(&first, id, channel), held, "{channel}");
        assert_eq!(tenant.explained(&second, id, channel), held, "{channel}");
    }
    assert_eq!(tenant.explained(&first, &awake.id, "email").last(), Some(&outcome(2, "accepted", "")));
    assert_eq!(
        tenant.explained(&first, &hook.id, "webhook"),
        [outcome(1, "delivered", ""), outcome(2, "delivered", "")]
    );
    let mails = |mark: &str, to: &str| -> Vec<String> {
        stack.mails(mark).into_iter().filter(|mail| mail.to == to).map(|mail| mail.text).collect()
    };
    assert_eq!(mails(&worst, &person.email).len(), 1, "critical passes");
    assert_eq!(mails(&changing, &person.email).len() + mails(&over, &person.email).len(), 0);
    let explained = tenant.get(&format!("/incidents/{first}/explain"));
    let mut decisions = explained["decisions"].as_array().unwrap().iter();
    let newest = decisions.rfind(|one| one["recipient_id"] == person.id.as_str() && one["channel"] == "email").unwrap();
    assert!(newest["until"].as_str().is_some_and(|until| until.ends_with(&format!("T{to}:00Z"))), "{newest}");

    // A test says what would have happened, and comes all the same.
    let body = json!({"recipient_id": person.id, "channel": "email", "category": "infrastructure"});
    let test = stack.call("POST", &tenant.path("/test-alert"), &tenant.token, Some(&body)).json();
    assert_eq!(test["rows"][0]["outcome"], "accepted", "{test}");
    let detail = test["rows"][0]["detail"].as_str().unwrap();
    assert!(
        detail.contains("would now be held until") && detail.contains("a critical alert would be sent"),
        "{detail}"
    );
    // So does a dry run.
    let event = json!({"source": "me", "type": "api.outage", "severity": "error", "title": "what if"});
    let asked = stack.call("POST", &tenant.path("/explain"), &tenant.token, Some(&event)).json();
    let mine = asked["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["recipient_id"] == person.id.as_str() && entry["channel"] == "email");
    assert_eq!(mine.unwrap()["reason"], "quiet_hours", "{asked}");
    assert!(begun.elapsed() < Duration::from_secs(120), "the machine was too slow for this test to mean anything");

    // They end: one message of each incident, the newest, and it says that it waited.
    let at_the_end =
        |mark: &str| wait("what was held", Duration::from_secs(300), || mails(mark, &person.email).into_iter().next());
    let (changed, resolved) = (at_the_end(&changing), at_the_end(&over));
    assert!(changed.contains("Identified") && changed.contains("until quiet hours ended"), "{changed}");
    assert!(resolved.contains("RESOLVED") && resolved.contains("Duration"), "{resolved}");
    wait("both incidents to be over", Duration::from_secs(90), || {
        let done = |incident: &str, id: &str, channel: &str, last: &str| {
            tenant.explained(incident, id, channel) == [outcome(1, "skipped", "superseded_by"), outcome(2, last, "")]
        };
        let all = [&first, &second].into_iter().all(|incident| {
            done(incident, &person.id, "email", "accepted") && done(incident, &room.id, "slack", "delivered")
        });
        all.then_some(())
    });
    tests::pause(5);
    assert_eq!((mails(&changing, &person.email).len(), mails(&over, &person.email).len()), (1, 1));
    let posted =
        stack.inbox(&room.path).iter().filter(|request| request["body"].as_str().unwrap().contains(&changing)).count();
    assert_eq!(posted, 1, "the chat channel was notified once");
    // What was held is not late: its window counts from the end of the hours.
    let deliveries = tenant.incident(&first);
    let mail = deliveries["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["destination"] == person.id.as_str() && row["channel"] == "email");
    assert!(mail.unwrap()["latency_ms"].as_i64().unwrap() < 100_000, "{mail:?}");
}
