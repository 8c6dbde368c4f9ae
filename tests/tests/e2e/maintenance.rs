//! Maintenance on the running stack: its phases, and the incidents that it suppresses.

use serde_json::{Value, json};
use std::time::Duration;
use tests::tenant::{Tenant, outcome};
use tests::{in_seconds, stack, wait};

fn post(tenant: &Tenant, key: &str, event_type: &str, more: Value) -> String {
    let mut event = json!({"type": event_type, "severity": "error", "title": format!("{key} of {}", tenant.id),
        "dedup_key": key, "tenant_ids": [tenant.id], "components": ["voice"], "regions": ["ap-south-1"]});
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    tenant.stack.incident_of(&tenant.stack.post(event))
}

#[test]
fn an_incident_inside_maintenance_is_suppressed_unless_it_is_worse_or_outlasts_it() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("support_manager", &[]);
    let hook = tenant.endpoint("webhook", "tech_devops");
    let hours = json!({"starts_at": in_seconds(-5), "ends_at": in_seconds(90)});
    let work = post(&tenant, "work", "maintenance.announced", hours.clone());
    drop(tenant.settled(&work, 1));
    let before = post(&tenant, "elsewhere", "voice.routing_failure", json!({"regions": ["eu-central-1"]}));
    let short = post(&tenant, "short", "voice.routing_failure", json!({}));
    let long = post(&tenant, "long", "voice.routing_failure", json!({}));
    let grows = post(&tenant, "grows", "voice.routing_failure", json!({}));
    for incident in [&before, &short, &long, &grows] {
        drop(tenant.settled(incident, 1));
    }
    assert_eq!(tenant.explained(&before, &person.id, "email"), [outcome(1, "accepted", "")]);
    for incident in [&short, &long, &grows] {
        let held = [outcome(1, "held", "covered_by_maintenance")];
        assert_eq!(tenant.explained(incident, &person.id, "email"), held);
        // A webhook is never held. Its body names the maintenance.
        assert_eq!(tenant.explained(incident, &hook.id, "webhook"), [outcome(1, "delivered", "")]);
        assert_eq!(tenant.incident(incident)["incident"]["covered"]["by"], work.as_str());
    }
    // It gets worse than announced: it is sent at once.
    drop(post(&tenant, "grows", "voice.routing_failure", json!({"severity": "critical"})));
    drop(tenant.settled(&grows, 2));
    assert_eq!(tenant.explained(&grows, &person.id, "email").last(), Some(&outcome(2, "accepted", "")));
    // It ends within the maintenance: nobody is notified, and the explanation says why.
    drop(post(&tenant, "short", "voice.routing_failure", json!({"status": "resolved"})));
    drop(tenant.settled(&short, 2));
    let skipped = tenant.explained(&short, &person.id, "email");
    assert_eq!(skipped.last(), Some(&outcome(2, "skipped", "covered_by_maintenance")));
    let known = tenant.get(&format!("/incidents/{short}/explain"));
    assert!(known["decisions"].as_array().unwrap().iter().any(|entry| entry["by"] == work.as_str()), "{known}");

    // It outlasts the maintenance: it is sent when the window ends, with the reason.
    let mail = wait("the incident that outlasted the maintenance", Duration::from_secs(240), || {
        let words = format!("long of {}", tenant.id);
        stack.mails(&words).into_iter().find(|mail| mail.to == person.email)
    });
    assert!(mail.text.contains("it is still open after the maintenance window"), "{}", mail.text);
    wait("every decision to be over", Duration::from_secs(90), || {
        let ended = tenant.explained(&short, &person.id, "email")
            == [outcome(1, "skipped", "covered_by_maintenance"), outcome(2, "skipped", "covered_by_maintenance")];
        ended.then_some(())
    });
    let short_mails = || stack.mails(&format!("short of {}", tenant.id));
    assert!(short_mails().is_empty(), "it was part of the work");

    // The maintenance's message lists the suppressed incident, and not the one that was sent because it was worse.
    drop(post(&tenant, "work", "maintenance.completed", json!({})));
    drop(tenant.settled(&work, 2));
    let mail = wait("the end of the work", Duration::from_secs(60), || {
        short_mails().into_iter().find(|mail| mail.to == person.email)
    });
    let named = |what: &str| mail.text.lines().find(|line| line.starts_with(&format!("- {what} of {}: ", tenant.id)));
    assert!(
        mail.text.contains("MAINTENANCE COMPLETED") && mail.text.contains("Incidents during this maintenance:"),
        "{}",
        mail.text
    );
    assert!(named("short").is_some_and(|line| line.contains(" to ")), "{}", mail.text);
    assert!(named("long").is_some_and(|line| line.ends_with(", still open")), "{}", mail.text);
    assert!(named("grows").is_none() && named("elsewhere").is_none(), "{}", mail.text);
    // So do the API, and the page that the message leads to.
    let known = tenant.incident(&work);
    let covered = known["covered_incidents"].as_array().unwrap();
    assert_eq!(
        covered.iter().map(|one| &one["incident_id"]).collect::<Vec<_>>(),
        [&json!(long), &json!(short)],
        "{known}"
    );
    assert!(tenant.incident(&short).get("covered_incidents").is_none());
    let url = mail.text.split_whitespace().find(|word| word.contains("/read?t=")).expect("it leads on");
    stack.secret(url.split("t=").nth(1).unwrap());
    let page = stack.call("GET", url, "", None).body;
    let (_, inside) = page.split_once("<h2>Incidents during this maintenance</h2>").unwrap_or_else(|| panic!("{page}"));
    let listed = |what: &str| inside.contains(&format!("<li>{what} of {}: ", tenant.id));
    assert!(listed("short") && listed("long") && !listed("grows"), "{page}");
    let bodies: Vec<Value> = wait("what the webhook got", Duration::from_secs(60), || {
        let bodies: Vec<Value> = stack.inbox(&hook.path).iter().map(tests::receive::body).collect();
        bodies.iter().any(|body| body["type"] == "maintenance.resolved").then_some(bodies)
    });
    let of = |incident: &str| bodies.iter().filter(|body| body["data"]["incident_id"] == incident).collect::<Vec<_>>();
    let covered: Vec<&Value> = of(&work)[1]["data"]["covered"].as_array().unwrap().iter().collect();
    let ids: Vec<&Value> = covered.iter().map(|one| &one["incident_id"]).collect();
    assert_eq!(ids, [&json!(long), &json!(short)], "{covered:?}");
    assert!(covered[0]["resolved_at"].is_null() && covered[1]["resolved_at"].is_string(), "{covered:?}");
    assert_eq!(of(&short).len(), 2, "a machine gets every update");
    assert_eq!(of(&short)[0]["data"]["covered_by"]["incident_id"], work.as_str());
}

#[test]
fn a_maintenance_is_announced_reminded_started_verified_and_completed() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("support_manager", &[]);
    let hook = tenant.endpoint("webhook", "tech_devops");
    let hours = json!({"starts_at": in_seconds(3_600), "ends_at": in_seconds(7_200), "severity": "info"});
    let work = post(&tenant, "work", "maintenance.announced", hours);
    let info = json!({"severity": "info"});
    for (update, step) in (2..).zip(["reminder", "started", "verifying", "completed"]) {
        drop(tenant.settled(&work, update - 1));
        assert_eq!(post(&tenant, "work", &format!("maintenance.{step}"), info.clone()), work);
    }
    drop(tenant.settled(&work, 5));
    let got = tenant.requests(&hook, 5, Duration::from_secs(30));
    let said: Vec<(String, String, String)> = got
        .iter()
        .map(|request| {
            let body = tests::receive::body(request);
            let text = |pointer: &str| tests::receive::text(&body, pointer);
            (text("/type"), text("/data/change"), text("/data/maintenance/phase"))
        })
        .collect();
    let line = |a: &str, b: &str, c: &str| (format!("maintenance.{a}"), b.to_owned(), c.to_owned());
    assert_eq!(
        said,
        [
            line("opened", "opened", "scheduled"),
            line("updated", "reminded", "scheduled"),
            line("updated", "status_changed", "in_progress"),
            line("updated", "status_changed", "verifying"),
            line("resolved", "resolved", "completed"),
        ]
    );
    let mails: Vec<String> = wait("the last e-mail", Duration::from_secs(30), || {
        let mails = stack.mails(&format!("work of {}", tenant.id)).into_iter().filter(|mail| mail.to == person.email);
        let mails: Vec<String> = mails.map(|mail| mail.text).collect();
        mails.iter().any(|text| text.contains("MAINTENANCE COMPLETED")).then_some(mails)
    });
    let first = mails.iter().find(|text| text.contains("MAINTENANCE SCHEDULED")).unwrap();
    assert!(first.contains("Start ") && first.contains("End "), "{first}");
    // An announcement after the end opens a new maintenance, and a `completed` without one is only recorded.
    let late = stack.event(&stack.post(json!({"type": "maintenance.completed", "dedup_key": "never", "title": "x",
        "tenant_ids": [tenant.id], "severity": "info"})));
    assert_eq!(late["not_notified"][0]["reason"], "resolve_without_open", "{late}");
    let answer = stack.call(
        "POST",
        "/v1/incidents",
        &stack.monitor(),
        Some(&json!({"source": "x", "type": "maintenance.announced", "title": "x", "tenant_ids": [tenant.id],
            "starts_at": in_seconds(60), "ends_at": in_seconds(50)})),
    );
    assert_eq!((answer.status, &answer.json()["errors"][0]["pointer"]), (422, &json!("/ends_at")), "{}", answer.body);
    // A window keeps incidents silent: it has an end that people live to see.
    let endless = json!({"source": "x", "type": "maintenance.announced", "title": "x", "tenant_ids": [tenant.id],
        "ends_at": "2099-01-01T00:00:00Z"});
    let answer = stack.call("POST", "/v1/incidents", &stack.monitor(), Some(&endless));
    assert_eq!((answer.status, &answer.json()["errors"][0]["pointer"]), (422, &json!("/ends_at")), "{}", answer.body);
}

#[test]
fn a_late_report_says_when_the_incident_started() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("billing_admin", &[]);
    let id = post(&tenant, "card", "payment_gateway.error", json!({"starts_at": in_seconds(-1_800)}));
    let known = tenant.settled(&id, 1);
    assert!(known["timeline"][0]["late_source"].is_string(), "{known}");
    let mail = wait("the e-mail", Duration::from_secs(30), || {
        stack.mails(&format!("card of {}", tenant.id)).into_iter().find(|mail| mail.to == person.email)
    });
    assert!(mail.text.contains("Started") && mail.text.contains("Reported to us"), "{}", mail.text);
    let explained = tenant.get(&format!("/incidents/{id}/explain"));
    let mine =
        explained["decisions"].as_array().unwrap().iter().find(|entry| entry["recipient_id"] == person.id.as_str());
    let late = &known["timeline"][0]["late_source"];
    assert_eq!(mine.map(|entry| &entry["late_source"]), Some(late), "{explained}");
    let rows = known["deliveries"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["late_source"] == *late), "{known}");
    assert!(mine.unwrap()["latency_ms"].as_i64().unwrap() < 60_000, "our window counts from acceptance: {explained}");
}
