//! The role matrix of the product document, row by row, over the running stack.

use serde_json::json;
use std::collections::BTreeMap;
use tests::{stack, unique};

/// Every role and channel that is notified of an infrastructure incident.
pub(crate) const INFRASTRUCTURE: &[&str] = &[
    "org_admin email",
    "org_admin sms",
    "org_admin slack",
    "org_admin teams",
    "org_admin webhook",
    "tech_devops email",
    "tech_devops slack",
    "tech_devops teams",
    "tech_devops webhook",
    "support_manager email",
    "support_manager slack",
    "support_manager teams",
];
const BILLING: &[&str] = &[
    "org_admin email",
    "org_admin slack",
    "org_admin teams",
    "billing_admin email",
    "billing_admin slack",
    "billing_admin teams",
];
const LOW_BALANCE: &[&str] = &[
    "org_admin email",
    "org_admin slack",
    "org_admin teams",
    "billing_admin email",
    "billing_admin sms",
    "billing_admin slack",
    "billing_admin teams",
];
const CONFIGURABLE: &[&str] = &[
    "org_admin email",
    "org_admin slack",
    "org_admin teams",
    "org_admin webhook",
    "tech_devops email",
    "tech_devops slack",
    "tech_devops teams",
    "tech_devops webhook",
    "support_manager email",
    "support_manager slack",
    "support_manager teams",
];

/// Posts one event for a full tenant and asserts who was notified and why the others were skipped.
fn row(event_type: &str, expected: &[&str], not: &[(&str, &str)]) {
    let stack = stack!();
    let tenant = stack.full_tenant();
    let mark = unique();
    let event = stack.post(json!({"type": event_type, "severity": "critical", "title": format!("{mark} {event_type}"),
        "tenant_ids": [tenant.id], "components": ["voice"], "regions": ["ap-south-1"]}));
    let incident = tenant.settled(&stack.incident_of(&event), 1);
    tenant.expect(&mark, expected, 4);
    // Every role and channel has exactly one decision: notified, or skipped with one reason.
    let mut wanted = BTreeMap::new();
    for role in tests::tenant::ROLES {
        for channel in ["email", "sms", "slack", "teams", "webhook"] {
            let name = format!("{role} {channel}");
            let special = not.iter().find(|(other, _)| *other == name).map(|(_, reason)| *reason);
            let what =
                if expected.contains(&name.as_str()) { "deliver" } else { special.unwrap_or("role_not_in_matrix") };
            wanted.insert(name, what.to_owned());
        }
    }
    // Two channels of these categories are not selected, which is checked before the role.
    let unticked = match event_type {
        "api.outage" => None,
        "webhook.failing" => Some("sms"),
        _ => Some("webhook"),
    };
    for (name, what) in &mut wanted {
        if unticked.is_some_and(|channel| name.ends_with(channel)) {
            *what = "channel_not_ticked".to_owned();
        }
    }
    assert_eq!(tenant.decisions(&incident, 1), wanted);
}

#[test]
fn infrastructure_reaches_exactly_the_matrix() {
    row("api.outage", INFRASTRUCTURE, &[]);
}

#[test]
fn billing_reaches_exactly_the_matrix() {
    row("payment_gateway.error", BILLING, &[("billing_admin sms", "low_balance_only")]);
}

#[test]
fn low_balance_reaches_billing_admins_by_sms_too() {
    row("wallet.low_balance", LOW_BALANCE, &[]);
}

#[test]
fn configurable_reaches_exactly_the_matrix() {
    row("webhook.failing", CONFIGURABLE, &[]);
}

#[test]
fn every_message_says_what_where_since_when_and_why_and_links_the_incident() {
    let stack = stack!();
    let tenant = stack.full_tenant();
    let mark = unique();
    let event = stack.post(json!({"type": "voice.routing_failure", "severity": "critical",
        "title": format!("{mark} calls fail"), "message": "Every third call fails.", "tenant_ids": [tenant.id],
        "components": ["voice"], "regions": ["ap-south-1"]}));
    let incident = stack.incident_of(&event);
    drop(tenant.settled(&incident, 1));
    let arrivals = tenant.arrivals(&mark);
    assert_eq!(arrivals.len(), INFRASTRUCTURE.len());
    for arrival in arrivals {
        let (channel, words) = (arrival.channel.as_str(), arrival.text.as_str());
        let lower = words.to_lowercase();
        let region = if channel == "webhook" { "ap-south-1" } else { "mumbai" };
        for word in ["voice", region, "critical"] {
            // One GSM-7 part of 160 characters has no room for the place beside a long local link.
            assert!(
                lower.contains(word) || channel == "sms" && word != "critical",
                "{channel} without {word}: {words}"
            );
        }
        match channel {
            "webhook" => assert!(words.contains("\"audience\":") && words.contains("\"started_at\":"), "{words}"),
            // The reason is the first that a text message has no room for.
            "sms" => assert!(words.contains("/r/"), "{words}"),
            _ => {
                assert!(words.contains("You get this"), "{channel} does not say why: {words}");
                assert!(words.contains("/read?t="), "{channel} does not lead anywhere: {words}");
                assert!(words.contains("IST"), "{channel} does not say since when: {words}");
            }
        }
    }
}

#[test]
fn an_event_for_two_tenants_opens_an_incident_for_each_and_no_third() {
    let stack = stack!();
    let tenants: Vec<_> = (0..3)
        .map(|_| {
            let mut tenant = stack.tenant("starter");
            drop(tenant.person("tech_devops", &[]));
            tenant
        })
        .collect();
    let mark = unique();
    let event = stack.post(json!({"type": "pop.degraded", "title": format!("{mark} slow"),
        "tenant_ids": [tenants[0].id, tenants[1].id]}));
    let known = stack.event(&event);
    assert_eq!(known["classification"], "included");
    let list = tests::wait("both tenants' records", std::time::Duration::from_secs(30), || {
        let known = stack.event(&event);
        let list = known["incidents"].as_array().unwrap().clone();
        (list.len() == 2).then_some(list)
    });
    assert_ne!(list[0]["incident_id"], list[1]["incident_id"]);
    for tenant in &tenants[..2] {
        let own = list.iter().find(|entry| entry["tenant_id"] == tenant.id.as_str()).expect("each has its own");
        drop(tenant.settled(own["incident_id"].as_str().unwrap(), 1));
        tenant.expect(&mark, &["tech_devops email"], 0);
        let other = list.iter().find(|entry| entry["tenant_id"] != tenant.id.as_str()).unwrap();
        let path = tenant.path(&format!("/incidents/{}", other["incident_id"].as_str().unwrap()));
        assert_eq!(stack.call("GET", &path, &tenant.token, None).status, 404);
    }
    tenants[2].expect(&mark, &[], 3);
}
