//! Every line of the product document's troubleshooting, made to happen: the test alert and the explanation of a real alert name the
//! same cause, and what to do about it.

use serde_json::{Value, json};
use std::time::Duration;
use tests::tenant::Tenant;
use tests::{stack, unique, wait};

/// What is said of one destination on one channel: by a test alert, and by the explanation of a real one.
struct TestAndReal {
    test: Value,
    real: Value,
}

fn test_and_real(tenant: &Tenant, id: &str, channel: &str) -> TestAndReal {
    let stack = &tenant.stack;
    let name = if id.starts_with("rcp") { "recipient_id" } else { "integration_id" };
    let of = |list: &Value| {
        let list = list.as_array().unwrap();
        list.iter().rev().find(|row| row[name] == id && row["channel"] == channel).cloned()
    };
    let body = json!({"category": "infrastructure", name: id, "channel": channel, "wait_seconds": 20});
    let answer = stack.call("POST", &tenant.path("/test-alert"), &tenant.token, Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let test = of(&answer.json()["rows"]).unwrap_or_else(|| panic!("{}", answer.body));
    let event = json!({"type": "api.outage", "severity": "error", "title": unique(), "tenant_ids": [tenant.id]});
    let incident = stack.incident_of(&stack.post(event));
    let real = wait("the explanation", Duration::from_secs(60), || {
        let path = tenant.path(&format!("/incidents/{incident}/explain"));
        let known = stack.call("GET", &path, &tenant.token, None).json();
        let entry = of(&known["decisions"])?;
        // A failing endpoint is tried again for hours; its first attempt says why.
        (entry["outcome"] != "pending" || !entry["attempts"].as_array().unwrap().is_empty()).then_some(entry)
    });
    TestAndReal { test, real }
}

/// Both name the rule that stopped it, with its sentence, setting and remedy.
fn stopped(tenant: &Tenant, id: &str, channel: &str, reason: &str) {
    let said = test_and_real(tenant, id, channel);
    for rows in [&said.test, &said.real] {
        assert_eq!((&rows["outcome"], &rows["reason"]), (&json!("skipped"), &json!(reason)), "{rows}");
        assert!(rows["remedy"].as_str().is_some_and(|remedy| remedy.len() > 10), "{rows}");
        assert!(rows["setting"].as_str().is_some_and(|setting| !setting.contains('<')), "{rows}");
    }
    assert_eq!(said.test["detail"], said.real["sentence"]);
}

#[test]
fn no_one_received_alerts() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("org_admin", &[]);
    let channels = |all: &[&str]| json!({"categories": {"infrastructure": {"channels": all}}});

    // Check category toggles, channel subscriptions, and recipient lists.
    tenant.set(json!({"categories": {"infrastructure": {"enabled": false}}}));
    stopped(&tenant, &person.id, "email", "category_disabled");
    tenant.set(json!({"categories": {"infrastructure": {"enabled": true}}}));
    tenant.set(channels(&["sms"]));
    stopped(&tenant, &person.id, "email", "channel_not_ticked");
    tenant.set(channels(&["email", "sms"]));
    let empty = stack.tenant("enterprise");
    let answer = stack.call("POST", &empty.path("/test-alert"), &empty.token, Some(&json!({})));
    assert!(answer.status == 422 && answer.body.contains("add a recipient"), "{}", answer.body);
    assert_eq!(empty.get("/lint")["lint"][0]["code"], "category_unreachable");
    let billing = tenant.person("billing_admin", &[]);
    stopped(&tenant, &billing.id, "email", "role_not_in_matrix");

    // Verify domain allow-listing and SMS DND settings.
    tenant.set(json!({"allowed_email_domains": ["example.com"]}));
    stopped(&tenant, &person.id, "email", "domain_not_allowed");
    tenant.set(json!({"allowed_email_domains": []}));
    let path = format!("/recipients/{}", person.id);
    assert_eq!(tenant.patch(&path, &json!({"dnd": true})).status, 200);
    stopped(&tenant, &person.id, "sms", "dnd");
    assert_eq!(tenant.patch(&path, &json!({"sms_consent": true})).status, 200);
    let record = &tenant.get(&path)["sms_consent_record"];
    assert!(record["by"].is_string() && record["at"].is_string(), "who recorded it, and when: {record}");
    let rows = test_and_real(&tenant, &person.id, "sms");
    assert_eq!((&rows.test["outcome"], &rows.real["outcome"]), (&json!("accepted"), &json!("accepted")));
    let mail = test_and_real(&tenant, &person.id, "email");
    assert!(mail.test["remedy"].as_str().unwrap().contains("ask your mail admin to allow-list"), "{}", mail.test);
}

#[test]
fn webhook_failed() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let hook = tenant.endpoint("webhook", "org_admin");
    let failed = |tenant: &Tenant, id: &str, cause: &str| {
        let said = test_and_real(tenant, id, "webhook");
        assert_eq!((&said.test["outcome"], &said.test["cause"]), (&json!("failed"), &json!(cause)), "{}", said.test);
        let attempt = &said.real["attempts"][0];
        assert_eq!((&attempt["cause"], &attempt["remedy"]), (&json!(cause), &said.test["remedy"]), "{}", said.real);
        (
            said.test["remedy"].as_str().unwrap().to_owned(),
            said.test["response"].as_str().unwrap_or_default().to_owned(),
        )
    };
    // Inspect receiver logs; validate signature and TLS.
    stack.behave(&hook.path, json!({"status": 401, "body": "bad signature"}));
    let (remedy, response) = failed(&tenant, &hook.id, "http_401");
    assert!(remedy.contains("signature") && response == "bad signature", "{remedy} {response}");
    stack.behave(&hook.path, json!({"status": 500, "body": "Traceback"}));
    let (remedy, response) = failed(&tenant, &hook.id, "http_500");
    assert!(remedy.contains("log") && response == "Traceback", "{remedy} {response}");
    let plain = stack.text("/control_url").replace("http://", "https://");
    let broken = tenant.endpoint_with("webhook", "tech_devops", json!({"url": format!("{plain}/{}", unique())}));
    let (remedy, response) = failed(&tenant, &broken.id, "tls");
    assert!(remedy.contains("certificate") && response.contains("does not speak TLS"), "{remedy} {response}");

    // Re-send the test alert.
    stack.behave(&hook.path, json!({"status": 200}));
    let only = json!({"category": "infrastructure", "integration_id": hook.id});
    let answer = stack.call("POST", &tenant.path("/test-alert"), &tenant.token, Some(&only)).json();
    assert_eq!(answer["rows"][0]["outcome"], "delivered", "{answer:#}");
}

#[test]
fn too_many_alerts() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person_with("org_admin", json!({"min_severity": "critical"}));
    let hook = tenant.endpoint("webhook", "org_admin");
    // Filter by severity: a real error is stopped; the test stands for the worst alert, and passes.
    let rows = test_and_real(&tenant, &person.id, "email");
    assert_eq!((&rows.real["reason"], &rows.test["outcome"]), (&json!("severity_below_filter"), &json!("accepted")));
    // Disable a category temporarily.
    tenant.set(json!({"categories": {"infrastructure": {"muted_until": tests::in_seconds(3_600)}}}));
    stopped(&tenant, &hook.id, "webhook", "muted");
    tenant.set(json!({"categories": {"infrastructure": {"muted_until": tests::in_seconds(-60)}}}));
    assert_eq!(test_and_real(&tenant, &hook.id, "webhook").test["outcome"], "delivered");
    assert_eq!(tenant.patch(&format!("/integrations/{}", hook.id), &json!({"paused": true})).status, 200);
    stopped(&tenant, &hook.id, "webhook", "integration_paused");
}
