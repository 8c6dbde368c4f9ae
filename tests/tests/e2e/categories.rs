//! The category table of the product document, row by row.

use serde_json::{Value, json};
use std::time::Duration;
use tests::receive::text;
use tests::{stack, unique, wait};

/// Type, category, and what it takes to be included.
const INCLUDED: &[(&str, &str, &str)] = &[
    ("api.outage", "infrastructure", "{}"),
    ("status_page.outage", "infrastructure", "{}"),
    ("database.degraded", "infrastructure", "{}"),
    ("network.degraded", "infrastructure", "{}"),
    ("network.outage", "infrastructure", "{}"),
    ("cloud.outage", "infrastructure", "{}"),
    ("voice.routing_failure", "infrastructure", "{}"),
    ("carrier.outage", "infrastructure", "{}"),
    ("pop.degraded", "infrastructure", "{}"),
    ("analytics.backfill_delay", "infrastructure", r#"{"measurements":{"delay_minutes":30,"threshold_minutes":30}}"#),
    // A missing measurement never excludes.
    ("analytics.backfill_delay", "infrastructure", "{}"),
    ("payment_gateway.error", "billing", r#"{"labels":{"method":"card"}}"#),
    ("payment_gateway.error", "billing", r#"{"labels":{"method":"upi"}}"#),
    ("auto_recharge.failure", "billing", "{}"),
    ("wallet.low_balance", "billing", r#"{"measurements":{"balance":90,"threshold":100}}"#),
    ("wallet.exhausted", "billing", r#"{"measurements":{"balance":0,"threshold":100}}"#),
    ("invoice_job.error", "billing", "{}"),
    ("invoice_job.delayed", "billing", "{}"),
    ("plan.expiry", "billing", "{}"),
    ("credit.expiry", "billing", "{}"),
    ("webhook.failing", "configurable", "{}"),
    ("ivr.misconfigured", "configurable", "{}"),
    ("caller_id.blocked", "configurable", "{}"),
    ("routing_rule.invalid", "configurable", "{}"),
    ("agent_group.empty", "configurable", "{}"),
    ("agent_capacity.blocking", "configurable", "{}"),
];

const EXCLUDED: &[(&str, &str)] = &[
    ("analytics.backfill_delay", r#"{"measurements":{"delay_minutes":12,"threshold_minutes":30}}"#),
    ("advisory.notice", "{}"),
    ("marketing.email", "{}"),
    ("pricing.change", "{}"),
];

fn event(event_type: &str, tenant: &str, title: &str, more: &str) -> Value {
    let mut event = json!({"type": event_type, "severity": "warning", "title": title, "tenant_ids": [tenant]});
    let more: Value = serde_json::from_str(more).unwrap();
    for (name, value) in more.as_object().into_iter().flatten() {
        event[name] = value.clone();
    }
    event
}

#[test]
fn every_included_example_notifies_in_its_category() {
    let stack = stack!();
    let mut tenant = stack.tenant("starter");
    drop(tenant.person("org_admin", &["configurable_email"]));
    let posted: Vec<(String, String)> = INCLUDED
        .iter()
        .map(|(event_type, _, more)| {
            let mark = unique();
            let id = stack.post(event(event_type, &tenant.id, &format!("{mark} {event_type}"), more));
            (mark, id)
        })
        .collect();
    for ((event_type, category, _), (_, id)) in INCLUDED.iter().zip(&posted) {
        let known = stack.event(id);
        assert_eq!(known["classification"], "included", "{event_type}: {known}");
        assert_eq!(known["category"], *category, "{event_type}: {known}");
        let incident = known.pointer("/incidents/0/incident_id").and_then(Value::as_str).unwrap();
        drop(tenant.settled(incident, 1));
    }
    let mails = tenant.arrivals("");
    for ((event_type, ..), (mark, _)) in INCLUDED.iter().zip(&posted) {
        let own = mails.iter().filter(|mail| mail.channel == "email" && mail.text.contains(mark)).count();
        assert_eq!(own, 1, "{event_type}");
    }
}

#[test]
fn every_excluded_example_notifies_nobody_and_is_listed() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("org_admin", &["configurable_email", "warnings_email"]));
    let mark = unique();
    for (event_type, more) in EXCLUDED {
        let id = stack.post(event(event_type, &tenant.id, &format!("{mark} {event_type}"), more));
        let known = stack.event(&id);
        assert_eq!(known["classification"], "excluded", "{event_type}: {known}");
        assert_eq!(known["not_notified"][0]["reason"], "excluded_by_rule", "{known}");
        assert!(known["rule"].is_string(), "{known}");
    }
    let list = tenant.get("/incidents?include=excluded");
    let listed = list["excluded"].as_array().unwrap().iter().filter(|entry| text(entry, "/title").contains(&mark));
    let mut listed: Vec<String> = listed.map(|entry| text(entry, "/type")).collect();
    listed.sort();
    assert_eq!(listed, ["advisory.notice", "analytics.backfill_delay", "marketing.email", "pricing.change"]);
    assert_eq!(tenant.own_incidents(), Vec::<Value>::new());
    assert_eq!(tenant.get("/incidents").get("excluded"), None);
    tenant.expect(&mark, &[], 4);
}

#[test]
fn an_unclassified_event_is_reported_to_the_operators_only() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("org_admin", &[]));
    let odd = format!("odd.{}", unique());
    let issued = stack.token(json!({"name": "odd", "scopes": ["incidents:write"], "tenants": [tenant.id]}));
    let token = issued["token"].as_str().unwrap();
    let id = stack.post_as(token, event(&odd, &tenant.id, &format!("{odd} happened"), "{}"));
    let known = stack.event(&id);
    assert_eq!(known["classification"], "unclassified", "{known}");
    assert_eq!(known["not_notified"][0]["reason"], "unclassified", "{known}");
    let mails = wait("the operators' mail", Duration::from_secs(60), || {
        let mails = stack.mails(&odd);
        (!mails.is_empty()).then_some(mails)
    });
    // The same token again within the hour does not tell them again, whatever it says.
    let again = stack.post_as(token, event(&format!("{odd}.2"), &tenant.id, &format!("{odd} happened again"), "{}"));
    drop(stack.event(&again));
    tests::pause(6);
    assert_eq!(stack.mails(&odd).len(), 1, "{mails:?}");
    assert_eq!(mails[0].to, "operators@tocsin.test");
    tenant.expect(&odd, &[], 0);
    let list = stack.call("GET", "/v1/tenants/platform/incidents", &stack.admin(), None).json();
    let own = list["incidents"].as_array().unwrap().iter().any(|incident| incident["type"] == "tocsin.unclassified");
    assert!(own, "{list}");
}

#[test]
fn user_level_warnings_reach_only_those_who_opted_in_and_only_where() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let user = unique();
    let of_user = |opt_in: &str, user: &str| json!({"opt_ins": [opt_in], "user_id": user});
    drop(tenant.person_with("org_admin", of_user("warnings_sms", &user)));
    drop(tenant.person_with("support_manager", of_user("warnings_email", &user)));
    drop(tenant.person_with("billing_admin", of_user("warnings_email", "somebody-else")));
    drop(tenant.person_with("tech_devops", json!({"user_id": user})));
    drop(tenant.endpoint("webhook", "org_admin"));
    drop(tenant.endpoint("slack", "org_admin"));
    let mark = unique();
    let warning = |more: &str| event("user.warning", &tenant.id, &format!("{mark} careful"), more);
    let body = {
        let mut body = warning("{}");
        body["source"] = json!("e2e");
        body
    };
    let refused = stack.call("POST", "/v1/incidents", &stack.monitor(), Some(&body));
    assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (422, &json!("/user_id")));
    let id = stack.post(warning(&json!({"user_id": user}).to_string()));
    let incident = tenant.settled(&stack.incident_of(&id), 1);
    tenant.expect(&mark, &["org_admin sms", "support_manager email"], 4);
    let mut decisions = tenant.decisions(&incident, 1);
    decisions.retain(|_, what| what != "deliver");
    assert_eq!(decisions.remove("billing_admin email").as_deref(), Some("other_user"), "{decisions:?}");
    assert!(decisions.values().all(|what| what == "opt_in_missing"), "{decisions:?}");
    assert_eq!(decisions.len(), 7, "{decisions:?}");
}

#[test]
fn maintenance_is_an_advisory_not_an_alarm() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let hook = tenant.endpoint("webhook", "tech_devops");
    let mark = unique();
    let id = stack.post(event("maintenance.announced", &tenant.id, &format!("{mark} tonight"), "{}"));
    drop(tenant.settled(&stack.incident_of(&id), 1));
    let got = tenant.requests(&hook, 1, Duration::from_secs(30));
    assert_eq!(tests::receive::body(&got[0])["type"], "maintenance.opened");
}
