//! Reasons of skipped decisions, as the tenant reads them.

use serde_json::{Value, json};
use tests::tenant::Tenant;
use tests::{Stack, stack, unique};

/// Posts an infrastructure incident for the tenant and returns its decisions once its deliveries have ended.
fn decided(stack: &Stack, tenant: &Tenant, mark: &str, more: Value) -> Value {
    let mut event = json!({"type": "api.outage", "severity": "error", "title": format!("{mark} down"),
        "tenant_ids": [tenant.id]});
    for (name, value) in more.as_object().into_iter().flatten() {
        event[name] = value.clone();
    }
    let event = stack.post(event);
    tenant.settled(&stack.incident_of(&event), 1)
}

fn reasons(incident: &Value) -> Vec<(String, String)> {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let mut found: Vec<(String, String)> = incident["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|decision| {
            assert!(decision["outcome"] == "deliver" || decision["sentence"].is_string(), "{decision}");
            (
                text(decision, "channel"),
                text(decision, if decision["outcome"] == "deliver" { "outcome" } else { "reason" }),
            )
        })
        .collect();
    found.sort();
    found
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(channel, what)| ((*channel).to_owned(), (*what).to_owned())).collect()
}

#[test]
fn a_category_that_is_off_notifies_nobody() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    tenant.person("org_admin", &[]);
    tenant.endpoint("webhook", "org_admin");
    tenant.set(json!({"categories": {"infrastructure": {"enabled": false}}}));
    let mark = unique();
    let incident = decided(&stack, &tenant, &mark, json!({}));
    let off = "category_disabled";
    assert_eq!(reasons(&incident), pairs(&[("email", off), ("sms", off), ("webhook", off)]));
    tenant.expect(&mark, &[], 3);
    let first = &incident["decisions"][0];
    assert_eq!(first["setting"], "settings.categories.infrastructure.enabled", "{first}");
}

#[test]
fn a_channel_that_is_not_selected_is_skipped() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    tenant.person("org_admin", &[]);
    tenant.endpoint("slack", "org_admin");
    tenant.set(json!({"categories": {"infrastructure": {"channels": ["email"]}}}));
    let mark = unique();
    let incident = decided(&stack, &tenant, &mark, json!({}));
    let not = "channel_not_ticked";
    assert_eq!(reasons(&incident), pairs(&[("email", "deliver"), ("slack", not), ("sms", not)]));
    tenant.expect(&mark, &["org_admin email"], 3);
}

#[test]
fn a_channel_outside_the_plan_is_skipped() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    tenant.person("org_admin", &[]);
    tenant.endpoint("teams", "org_admin");
    tenant.set(json!({"plan": "starter"}));
    let mark = unique();
    let incident = decided(&stack, &tenant, &mark, json!({}));
    let not = "plan_excludes_channel";
    assert_eq!(reasons(&incident), pairs(&[("email", "deliver"), ("sms", not), ("teams", not)]));
    tenant.expect(&mark, &["org_admin email"], 3);
}

#[test]
fn filters_pass_matching_events_and_events_without_components() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    tenant.person_with("tech_devops", json!({"phone": null, "regions": ["eu-west-1"]}));
    tenant.person_with("support_manager", json!({"phone": null, "min_severity": "critical"}));
    tenant.person_with("org_admin", json!({"phone": null, "components": ["voice"]}));
    let decide = |more: Value| {
        let mark = unique();
        let incident = decided(&stack, &tenant, &mark, more);
        let mut found = tenant.decisions(&incident, 1);
        found.retain(|name, _| name.ends_with("email"));
        found.into_values().collect::<Vec<_>>()
    };
    // In the order of the names: org_admin, support_manager, tech_devops.
    assert_eq!(decide(json!({})), ["deliver", "severity_below_filter", "deliver"]);
    let more = json!({"severity": "critical", "regions": ["ap-south-1"], "components": ["chat"]});
    assert_eq!(decide(more), ["component_mismatch", "deliver", "region_mismatch"]);
    let more = json!({"severity": "critical", "regions": ["eu-west-1"], "components": ["chat", "voice"]});
    assert_eq!(decide(more), ["deliver", "deliver", "deliver"]);
    // A name outside the catalogue is kept and causes a warning.
    let event = stack.event(&stack.post(json!({"type": "api.outage", "title": unique(), "tenant_ids": [tenant.id],
        "components": ["vioce"]})));
    assert!(event["warnings"][0].as_str().unwrap().contains("`vioce`"), "{event}");
}

#[test]
fn an_address_is_notified_once_even_if_two_recipients_share_it() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("org_admin", &[]);
    let body =
        json!({"name": "double", "email": person.email.to_uppercase(), "roles": ["tech_devops"], "confirmed": true});
    let answer = stack.call("POST", &tenant.path("/recipients"), &stack.admin(), Some(&body));
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(answer.body.contains(&person.id), "the first holder is named: {}", answer.body);
    assert!(!answer.body.to_lowercase().contains(&person.email), "{}", answer.body);
}

#[test]
fn an_unconfirmed_contact_is_not_notified() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    tenant.person_with("org_admin", json!({"confirmed": false}));
    let mark = unique();
    let incident = decided(&stack, &tenant, &mark, json!({}));
    let not = "contact_unconfirmed";
    assert_eq!(reasons(&incident), pairs(&[("email", not), ("sms", not)]));
    tenant.expect(&mark, &[], 2);
}

#[test]
fn a_paused_integration_is_skipped() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    tenant.endpoint_with("webhook", "tech_devops", json!({"paused": true}));
    tenant.endpoint_with("slack", "tech_devops", json!({"categories": ["configurable"]}));
    let mark = unique();
    let incident = decided(&stack, &tenant, &mark, json!({}));
    assert_eq!(reasons(&incident), pairs(&[("slack", "category_not_chosen"), ("webhook", "integration_paused")]));
    tenant.expect(&mark, &[], 2);
}

#[test]
fn a_dry_run_says_who_would_be_notified_and_notifies_nobody() {
    let stack = stack!();
    let tenant = stack.full_tenant();
    let mark = unique();
    let event = json!({"source": "e2e", "type": "api.outage", "severity": "critical", "title": format!("{mark} dry"),
        "tenant_ids": [tenant.id], "components": ["voice", "vioce"]});
    let answer = stack.call("POST", "/v1/incidents?dry_run=true", &stack.monitor(), Some(&event));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let said = answer.json();
    assert_eq!(said["rule"], "api-outage");
    let misspelt = "components: `vioce` is not in the catalogue, so filters on components don't match it";
    assert_eq!(said["warnings"], json!([misspelt]));
    assert_eq!(said["would_notify"], json!({"email": 3, "sms": 1, "slack": 3, "teams": 3, "webhook": 2}), "{said}");
    tenant.expect(&mark, &[], 3);
    assert_eq!(tenant.own_incidents(), Vec::<Value>::new());
}
