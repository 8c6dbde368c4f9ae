//! The updates of one incident, and who is notified of each.

use serde_json::{Value, json};
use std::time::Duration;
use tests::receive::{body, text};
use tests::tenant::Got;
use tests::{stack, unique};

fn counts(list: &[(&str, usize)]) -> Got {
    list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn everybody_is_notified_of_each_update_once_from_open_to_resolved() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("org_admin", &[]));
    drop(tenant.endpoint("slack", "org_admin"));
    let hook = tenant.endpoint("webhook", "org_admin");
    let (mark, key) = (unique(), unique());
    let event = |severity: &str, status: Value, message: &str| {
        let mut event = json!({"type": "network.outage", "severity": severity, "title": format!("{mark} net"),
            "message": message, "tenant_ids": [tenant.id], "dedup_key": key});
        if status.is_string() {
            event["status"] = status;
        }
        stack.post(event)
    };
    let incident = stack.incident_of(&event("error", json!(null), "It began."));
    drop(tenant.settled(&incident, 1));
    let each = |n: usize, sms: usize| {
        counts(&[("org_admin email", n), ("org_admin slack", n), ("org_admin webhook", n), ("org_admin sms", sms)])
    };
    tenant.expect_counts(&mark, &each(1, 1), 0);

    // A re-sent event with another message notifies nobody again.
    for round in 0..10 {
        let id = event("error", json!(null), &format!("Round {round}: latency is {round}00 ms."));
        let known = stack.event(&id);
        assert_eq!(known["not_notified"][0]["reason"], "repeat", "{known}");
    }
    tenant.expect_counts(&mark, &each(1, 1), 5);
    assert_eq!(tenant.incident(&incident)["incident"]["repeats"], 10);

    let worse = event("critical", json!(null), "It got worse.");
    assert_eq!(stack.incident_of(&worse), incident);
    drop(tenant.settled(&incident, 2));
    tenant.expect_counts(&mark, &each(2, 2), 0);

    let update = json!({"status": "identified", "message": "A cable was cut. zq-words-of-the-source"});
    let answer = stack.call("POST", &format!("/v1/incidents/{incident}/updates"), &stack.monitor(), Some(&update));
    assert_eq!(answer.status, 202, "{}", answer.body);
    drop(tenant.settled(&incident, 3));
    // SMS goes out on open, worse and resolved only.
    tenant.expect_counts(&mark, &each(3, 2), 0);

    let over = event("critical", json!("resolved"), "It is over.");
    assert_eq!(stack.incident_of(&over), incident);
    let known = tenant.settled(&incident, 4);
    tenant.expect_counts(&mark, &each(4, 3), 4);

    let inbox = stack.inbox(&hook.path);
    let sent: Vec<(String, u64)> =
        inbox.iter().map(body).map(|b| (text(&b, "/type"), b["data"]["sequence"].as_u64().unwrap())).collect();
    let words = ["incident.opened", "incident.updated", "incident.updated", "incident.resolved"];
    assert_eq!(sent, words.iter().zip(1..).map(|(word, n)| ((*word).to_owned(), n)).collect::<Vec<_>>());
    let changes: Vec<String> =
        known["timeline"].as_array().unwrap().iter().map(|entry| text(entry, "/change")).collect();
    assert_eq!(changes, ["opened", "severity_raised", "status_changed", "resolved"]);
    assert_eq!(known["incident"]["status"], "resolved");

    // A resolved incident refuses updates; the same dedup key opens a new one.
    let answer = stack.call("POST", &format!("/v1/incidents/{incident}/updates"), &stack.monitor(), Some(&update));
    assert_eq!(answer.status, 409, "{}", answer.body);
    let next = stack.incident_of(&event("error", json!(null), "Again."));
    assert_ne!(next, incident);
    drop(tenant.settled(&next, 1));
}

#[test]
fn whoever_was_notified_of_the_opening_gets_the_resolve_even_if_the_category_is_off() {
    let stack = stack!();
    let tenant = stack.full_tenant();
    let (mark, key) = (unique(), unique());
    let event = |status: &str| {
        stack.post(
            json!({"type": "api.outage", "severity": "critical", "title": format!("{mark} api"), "status": status,
            "tenant_ids": [tenant.id], "dedup_key": key}),
        )
    };
    let incident = stack.incident_of(&event("investigating"));
    drop(tenant.settled(&incident, 1));
    tenant.expect(&mark, super::pipeline::INFRASTRUCTURE, 0);
    tenant.set(json!({"plan": "starter", "categories": {"infrastructure": {"enabled": false}}}));
    drop(stack.event(&event("resolved")));
    drop(tenant.settled(&incident, 2));
    let twice: Got = super::pipeline::INFRASTRUCTURE.iter().map(|name| ((*name).to_owned(), 2)).collect();
    tenant.expect_counts(&mark, &twice, 4);
}

#[test]
fn a_resolve_is_not_sent_to_whoever_never_got_the_opening() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person_with("org_admin", json!({"min_severity": "critical", "phone": null})));
    let (mark, key) = (unique(), unique());
    let event = |status: &str| {
        stack.post(json!({"type": "api.outage", "severity": "error", "title": format!("{mark} api"), "status": status,
            "tenant_ids": [tenant.id], "dedup_key": key}))
    };
    let incident = stack.incident_of(&event("investigating"));
    drop(tenant.settled(&incident, 1));
    drop(stack.event(&event("resolved")));
    let known = tenant.settled(&incident, 2);
    tenant.expect(&mark, &[], 3);
    assert_eq!(tenant.decisions(&known, 2)["org_admin email"], "severity_below_filter");
}

#[test]
fn a_resolve_without_open_is_recorded_and_not_sent() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("org_admin", &[]));
    let mark = unique();
    let id = stack.post(json!({"type": "api.outage", "title": format!("{mark} over"), "status": "resolved",
        "tenant_ids": [tenant.id], "dedup_key": unique()}));
    let known = stack.event(&id);
    assert_eq!(known["not_notified"][0]["reason"], "resolve_without_open", "{known}");
    assert_eq!(known["incidents"], json!([]));
    tenant.expect(&mark, &[], 4);
}

#[test]
fn a_newer_update_supersedes_an_older_one_for_people_and_webhooks_get_every_update() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("tech_devops", &[]);
    let hook = tenant.endpoint("webhook", "tech_devops");
    let (mark, key) = (unique(), unique());
    let mut last = String::new();
    for (severity, status) in
        [("warning", "investigating"), ("error", "identified"), ("critical", "monitoring"), ("critical", "resolved")]
    {
        last = stack.post(json!({"type": "api.outage", "severity": severity, "title": format!("{mark} api"),
            "status": status, "tenant_ids": [tenant.id], "dedup_key": key}));
    }
    let incident = stack.incident_of(&last);
    drop(tenant.settled(&incident, 4));
    let got = tenant.requests(&hook, 4, Duration::from_secs(60));
    let sequence: Vec<u64> = got.iter().map(|one| body(one)["data"]["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequence, [1, 2, 3, 4], "in order, although all of them lay on the queue at once");
    let mails: Vec<_> = stack.mails(&mark).into_iter().filter(|mail| mail.to == person.email).collect();
    assert!((1..=4).contains(&mails.len()), "{}", mails.len());
    assert!(mails.iter().any(|mail| mail.text.contains("RESOLVED")), "the last step is among them");
}
