//! Reasons that no other test makes happen, each with its sentence and its setting. With the others' every reason is here whose
//! behaviour there is, but one: `same_destination_as` guards what saving an address twice already refuses.

use serde_json::{Value, json};
use std::time::Duration;
use tests::tenant::Tenant;
use tests::{stack, unique, wait};

/// The reason of the newest entry for a destination on a channel, with its sentence and setting.
fn reason(tenant: &Tenant, incident: &str, id: &str, channel: &str) -> String {
    let known = tenant.get(&format!("/incidents/{incident}/explain"));
    let entry =
        known["decisions"].as_array().unwrap().iter().rfind(|entry| {
            (entry["recipient_id"] == id || entry["integration_id"] == id) && entry["channel"] == channel
        });
    let entry = entry.unwrap_or_else(|| panic!("{id} {channel}: {known:#}"));
    for said in ["sentence", "setting", "remedy"] {
        assert!(entry[said].as_str().is_some_and(|text| text.len() > 3), "{said}: {entry}");
    }
    entry["reason"].as_str().unwrap().to_owned()
}

fn post(tenant: &Tenant, key: &str, more: &Value) -> String {
    let mut event = json!({"type": "api.outage", "severity": "error", "title": unique(), "dedup_key": key,
        "tenant_ids": [tenant.id]});
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tenant.stack.post(event)
}

fn opened(tenant: &Tenant, more: &Value) -> (String, String) {
    let key = unique();
    let incident = tenant.stack.incident_of(&post(tenant, &key, more));
    drop(tenant.settled(&incident, 1));
    (key, incident)
}

#[test]
fn skips_for_agreement_plan_and_contact_have_their_reasons() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let first = tenant.person("org_admin", &[]);
    tenant.set(json!({"data_processing": {"channels": ["email"]}}));
    let (_, incident) = opened(&tenant, &json!({}));
    assert_eq!(reason(&tenant, &incident, &first.id, "sms"), "agreement_excludes_channel");

    tenant.set(json!({"data_processing": {"channels": null}}));
    let without = tenant.person_with("org_admin", json!({"phone": null}));
    let (_, incident) = opened(&tenant, &json!({}));
    assert_eq!(reason(&tenant, &incident, &without.id, "sms"), "no_destination");

    // The starter plan has ten recipients; whoever was there before a larger plan ended stays, and is beyond it.
    let others: Vec<String> = (0..9).map(|_| tenant.person("support_manager", &[]).id).collect();
    tenant.set(json!({"plan": "starter"}));
    let (_, incident) = opened(&tenant, &json!({}));
    let beyond = others.iter().filter(|id| {
        let known = tenant.get(&format!("/incidents/{incident}/explain"));
        known["decisions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["recipient_id"] == id.as_str() && entry["reason"] == "plan_limit")
    });
    let beyond: Vec<&String> = beyond.collect();
    assert_eq!(beyond.len(), 1, "eleven people, ten in the plan");
    assert_eq!(reason(&tenant, &incident, beyond[0], "email"), "plan_limit");
}

#[test]
fn skips_of_a_single_update_have_their_reasons() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("org_admin", &[]);
    let (key, incident) = opened(&tenant, &json!({}));
    drop(post(&tenant, &key, &json!({"status": "identified"})));
    drop(tenant.settled(&incident, 2));
    assert_eq!(reason(&tenant, &incident, &person.id, "sms"), "sms_not_for_this_change");

    tenant.set(json!({"categories": {"infrastructure": {"enabled": false}}}));
    let starts_at = "2026-11-01T10:00:00Z";
    let (key, quiet) = opened(&tenant, &json!({"starts_at": starts_at}));
    assert_eq!(reason(&tenant, &quiet, &person.id, "email"), "category_disabled");
    tenant.set(json!({"categories": {"infrastructure": {"enabled": true}}}));
    drop(post(&tenant, &key, &json!({"status": "resolved", "starts_at": starts_at})));
    drop(tenant.settled(&quiet, 2));
    assert_eq!(reason(&tenant, &quiet, &person.id, "email"), "open_not_told");

    // The same thing once more, after it was over: a false reopening is better than a lost alert.
    let again = stack.incident_of(&post(&tenant, &key, &json!({"starts_at": starts_at})));
    assert_ne!(again, quiet);
}

#[test]
fn a_failed_delivery_is_not_reported_on_the_channel_that_failed() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("org_admin", &[]);
    let (broken, well) = (tenant.endpoint("slack", "org_admin"), tenant.endpoint("slack", "org_admin"));
    stack.behave(&broken.path, json!({"status": 404, "body": "no_service"}));
    drop(opened(&tenant, &json!({"severity": "critical"})));
    let notice = wait("the notice", Duration::from_secs(90), || {
        tenant.own_incidents().into_iter().find(|incident| incident["type"] == "tocsin.delivery_failed")
    });
    let notice = notice["incident_id"].as_str().unwrap().to_owned();
    drop(tenant.settled(&notice, 1));
    assert_eq!(reason(&tenant, &notice, &well.id, "slack"), "endpoint_is_subject");
    let notified = stack.mails("could not be delivered").into_iter().any(|mail| mail.to == person.email);
    assert!(notified, "the admin is notified by e-mail");
}

#[test]
fn a_critical_opening_that_is_late_at_an_endpoint_reaches_the_org_admins_by_email_within_the_window() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("org_admin", &[]);
    let hook = tenant.endpoint("webhook", "org_admin");
    stack.behave(&hook.path, json!({"status": 503}));
    let begun = std::time::Instant::now();
    let incident = stack.incident_of(&post(&tenant, &unique(), &json!({"severity": "critical"})));
    // The second attempt fails after five seconds, and the third comes five minutes later.
    let notice = wait("the notice", Duration::from_secs(60), || {
        tenant.own_incidents().into_iter().find(|incident| incident["type"] == "tocsin.window_missed")
    });
    let id = notice["incident_id"].as_str().unwrap().to_owned();
    drop(tenant.settled(&id, 1));
    let mails = || stack.mails(&incident).into_iter().filter(|mail| mail.to == person.email);
    assert!(mails().any(|mail| mail.text.contains("has not reached")), "the admin learns it by e-mail");
    assert!(begun.elapsed() < Duration::from_secs(60), "within the window: {:?}", begun.elapsed());
    assert_eq!(reason(&tenant, &id, &hook.id, "webhook"), "endpoint_is_subject");
    let all = tenant.own_incidents();
    assert_eq!(all.iter().filter(|one| one["type"] == "tocsin.window_missed").count(), 1, "one for each incident");
}
