//! Explanations: of an incident afterwards, and of a hypothetical event.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tests::tenant::Tenant;
use tests::{Stack, in_seconds, random, stack, unique, wait};

/// Destination and channel, with what is said of them.
type OutcomesByDestination = BTreeMap<(String, String), (String, String)>;

/// The entries of one update; `delivered`, `accepted`, `pending` and `failed` are all "deliver" to whoever asked before.
fn outcomes(answer: &Value, update: u64) -> OutcomesByDestination {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let entries = answer["decisions"].as_array().unwrap().iter().filter(|entry| entry["update"] == update);
    let mut found = OutcomesByDestination::new();
    for entry in entries {
        let id = format!("{}{}", text(entry, "recipient_id"), text(entry, "integration_id"));
        let outcome = text(entry, "outcome");
        let was_sent = ["deliver", "delivered", "accepted", "pending"].contains(&outcome.as_str());
        assert!(was_sent || !text(entry, "sentence").is_empty() && !text(entry, "setting").is_empty(), "{entry}");
        let outcome = if was_sent || text(entry, "reason") == "gave_up" { "deliver".to_owned() } else { outcome };
        let reason = if outcome == "deliver" { String::new() } else { text(entry, "reason") };
        let before = found.insert((id, text(entry, "channel")), (outcome, reason));
        assert_eq!(before, None, "one entry for each destination and channel: {entry}");
    }
    found
}

fn ask(tenant: &Tenant, event: &Value) -> Value {
    let answer = tenant.stack.call("POST", &tenant.path("/explain"), &tenant.token, Some(event));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// The ledger's own account, once the update is planned.
fn ledger(tenant: &Tenant, incident: &str) -> Value {
    let path = tenant.path(&format!("/incidents/{incident}/explain"));
    wait("the plan", Duration::from_secs(120), || {
        let answer = tenant.stack.call("GET", &path, &tenant.token, None);
        let known = answer.json();
        let pending = known["decisions"].as_array()?.iter().all(|entry| entry["outcome"] == "pending");
        (answer.status == 200 && !pending).then_some(known)
    })
}

/// A few of a list.
fn some<'a>(list: &[&'a str], least: usize) -> Vec<&'a str> {
    let dice: [u8; 16] = random();
    let picked: Vec<&str> = list.iter().zip(dice).filter(|(_, die)| die % 2 == 0).map(|(entry, _)| *entry).collect();
    if picked.len() < least { list[..least].to_vec() } else { picked }
}

fn one<'a>(list: &[&'a str]) -> &'a str {
    let [die] = random::<1>();
    list[usize::from(die) % list.len()]
}

const ROLES: &[&str] = &["org_admin", "billing_admin", "tech_devops", "support_manager"];
const REGIONS: &[&str] = &["ap-south-1", "eu-west-1"];
const COMPONENTS: &[&str] = &["voice", "api", "network"];
const SEVERITIES: &[&str] = &["info", "warning", "error", "critical"];
const TYPES: &[&str] = &[
    "api.outage",
    "voice.routing_failure",
    "wallet.low_balance",
    "payment_gateway.error",
    "webhook.failing",
    "user.warning",
    "advisory.notice",
    "analytics.backfill_delay",
    "something.nobody.knows",
];

/// Creates a tenant with random settings, recipients and integrations.
fn any_tenant(stack: &Stack) -> Tenant {
    let mut tenant = stack.tenant(one(&["starter", "business", "enterprise"]));
    let digest = &in_seconds(10_800)[11..16];
    for _ in 0..3 {
        let more = json!({"roles": some(ROLES, 1), "min_severity": one(SEVERITIES), "regions": some(REGIONS, 0),
            "components": some(COMPONENTS, 0), "opt_ins": some(&["configurable_email", "warnings_email", "warnings_sms"], 0),
            "user_id": one(&["u-1", "u-2"]), "dnd": one(&["y", "n"]) == "y", "no_quiet_hours": one(&["y", "n", "n"]) == "y",
            "digest": if one(&["y", "n"]) == "y" { json!({"every": "daily", "at": digest, "below": one(SEVERITIES), "channels": [one(&["email", "sms"])]}) } else { json!(null) }});
        drop(tenant.person_with("org_admin", more));
    }
    if tenant.get("/settings")["plan"] != "starter" {
        for kind in ["slack", "webhook"] {
            let more = json!({"audiences": some(ROLES, 1), "min_severity": one(SEVERITIES), "paused": one(&["y", "n", "n"]) == "y"});
            drop(tenant.endpoint_with(kind, "org_admin", more));
        }
    }
    let category = one(&["infrastructure", "billing", "configurable"]);
    tenant.set(json!({"categories": {category: {"enabled": one(&["y", "n"]) == "y"}}}));
    if tenant.get("/settings")["plan"] != "starter" && one(&["y", "n"]) == "y" {
        // Far from both ends, so that it is quiet, or not, when it is asked and when it is posted.
        let (from, to) = (in_seconds(one(&["-7200", "7200"]).parse().unwrap()), in_seconds(14_400));
        let critical = one(&["y", "n"]) == "y";
        tenant.set(json!({"quiet_hours": {"from": from[11..16], "to": to[11..16], "zone": "UTC", "critical_passes": critical}}));
    }
    tenant
}

fn any_event(tenant: &Tenant) -> Value {
    json!({"source": "e2e", "type": one(TYPES), "severity": one(SEVERITIES), "title": unique(), "tenant_ids": [tenant.id],
        "regions": some(REGIONS, 0), "components": some(COMPONENTS, 0), "dedup_key": unique(), "user_id": "u-1",
        "measurements": {"balance": 1, "threshold": 5, "delay_minutes": one(&["1", "60"]).parse::<u32>().unwrap(), "threshold_minutes": 30}})
}

/// `TOCSIN_PAIRS` says how many pairs of tenant and event (60).
#[test]
fn what_would_happen_is_what_happens() {
    let stack = stack!();
    let given = std::env::var_os("TOCSIN_PAIRS").and_then(|text| text.to_str().and_then(|text| text.parse().ok()));
    let pairs: usize = given.unwrap_or(60);
    for _ in 0..pairs.div_ceil(20) {
        let tenant = any_tenant(&stack);
        let events: Vec<Value> = (0..20).map(|_| any_event(&tenant)).collect();
        let asked: Vec<Value> = events.iter().map(|event| ask(&tenant, event)).collect();
        let posted: Vec<String> = events.iter().map(|event| stack.post(event.clone())).collect();
        for ((event, asked), posted) in events.iter().zip(&asked).zip(&posted) {
            let known = stack.event(posted);
            assert_eq!(known["classification"], asked["classification"]["classification"], "{event}");
            assert_eq!(known["rule"], asked["classification"]["rule"], "{event}");
            let Some(incident) = known.pointer("/incidents/0/incident_id").and_then(Value::as_str) else {
                assert!(
                    asked["decisions"].as_array().unwrap().is_empty()
                        && asked["classification"]["sentence"].is_string()
                );
                continue;
            };
            let (before, after) = (outcomes(asked, 1), outcomes(&ledger(&tenant, incident), 1));
            assert_eq!(before, after, "{event} of {}", tenant.id);
            let channels = tenant.people.len() * 2 + tenant.endpoints.len();
            assert_eq!(before.len(), channels, "one entry for every recipient, integration and channel");
        }
    }
}

#[test]
fn every_explanation_matches_its_delivery_row() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("org_admin", &[]));
    let hook = tenant.endpoint("webhook", "org_admin");
    stack.behave(&hook.path, json!({"status": 410, "body": "gone for good"}));
    let event =
        stack.post(json!({"type": "api.outage", "severity": "critical", "title": unique(), "tenant_ids": [tenant.id]}));
    let incident = stack.incident_of(&event);
    drop(tenant.settled(&incident, 1));
    let late = tenant.person("tech_devops", &[]);
    let known = tenant.get(&format!("/incidents/{incident}/explain"));
    let entries = known["decisions"].as_array().unwrap();
    let of = |name: &str, id: &str, channel: &str| {
        let found = entries.iter().find(|entry| entry[name] == id && entry["channel"] == channel);
        found.unwrap_or_else(|| panic!("{id} {channel}: {known:#}")).clone()
    };
    let mail = of("recipient_id", &tenant.people[0].id, "email");
    assert_eq!(
        (&mail["outcome"], &mail["role"]),
        (&json!("accepted"), &json!("org_admin")),
        "never shown as delivered"
    );
    let failed = of("integration_id", &hook.id, "webhook");
    assert_eq!(failed["outcome"], "failed", "{failed}");
    assert_eq!(
        (&failed["attempts"][0]["status"], &failed["attempts"][0]["response"]),
        (&json!(410), &json!("gone for good"))
    );
    let added = of("recipient_id", &late.id, "sms");
    assert_eq!((&added["outcome"], &added["reason"]), (&json!("skipped"), &json!("added_later")));

    let other = stack.tenant("starter");
    for (method, path) in [("GET", format!("/incidents/{incident}/explain")), ("POST", "/explain".to_owned())] {
        let theirs = stack.call(method, &tenant.path(&path), &other.token, Some(&json!({})));
        assert_eq!(theirs.status, 404, "{method} {path}: {}", theirs.body);
    }
    let named = json!({"source": "x", "type": "api.outage", "title": "x", "tenant_ids": [other.id]});
    assert_eq!(stack.call("POST", &tenant.path("/explain"), &tenant.token, Some(&named)).status, 422);
}
