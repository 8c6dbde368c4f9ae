//! A digest on the running stack: everything that is less severe in one e-mail, nothing twice, nothing left out.

use serde_json::json;
use std::time::Duration;
use tests::{stack, unique, utc_time_in, wait};

#[test]
fn a_digest_holds_every_alert_once_in_one_message() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let digest = json!({"every": "daily", "at": utc_time_in(2), "below": "critical"});
    let person = tenant.person_with("support_manager", json!({"digest": digest, "zone": "UTC"}));
    let mark = unique();
    let post = |number: usize, more: serde_json::Value| {
        let mut event = json!({"type": "api.outage", "severity": "error", "title": format!("{mark} number {number:02}"),
            "dedup_key": format!("{mark}-{number}"), "tenant_ids": [tenant.id]});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stack.incident_of(&stack.post(event))
    };
    let incidents: Vec<String> = (0..12).map(|number| post(number, json!({}))).collect();
    let worst = post(12, json!({"severity": "critical"}));
    assert_eq!(post(3, json!({"status": "resolved"})), incidents[3]);
    drop(tenant.settled(&incidents[3], 2));
    drop(tenant.settled(&worst, 1));
    let mails = || -> Vec<String> {
        stack.mails(&mark).into_iter().filter(|mail| mail.to == person.email).map(|mail| mail.text).collect()
    };
    assert_eq!(mails().len(), 1, "the critical one alone");
    let explained = |incident: &str| {
        let known = tenant.get(&format!("/incidents/{incident}/explain"));
        let mine =
            known["decisions"].as_array().unwrap().iter().rfind(|entry| entry["channel"] == "email").cloned().unwrap();
        (mine["outcome"].as_str().unwrap().to_owned(), mine["reason"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(explained(&incidents[0]), ("held".to_owned(), "digest".to_owned()));

    let collected =
        wait("the digest", Duration::from_secs(300), || mails().into_iter().find(|mail| mail.contains("digest of")));
    assert!(collected.contains("digest of 12 alerts"), "{collected}");
    assert!(collected.contains("And 2 more") && !collected.contains("number 12"), "{collected}");
    // Ten in the list, and the worst in subject and heading.
    assert_eq!(collected.matches(&format!("{mark} number")).count(), 12, "{collected}");
    assert!(collected.contains("11 error open; 1 resolved"), "{collected}");
    wait("every delivery of it to be marked", Duration::from_secs(60), || {
        incidents.iter().all(|incident| explained(incident).0 == "accepted").then_some(())
    });
    let known = tenant.incident(&incidents[3]);
    assert_eq!(known["deliveries"].as_array().unwrap().iter().filter(|row| row["channel"] == "email").count(), 1);
    // The minutes after it bring nothing more.
    tests::pause(70);
    assert_eq!(mails().len(), 2, "{:?}", mails());
}
