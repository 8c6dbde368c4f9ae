//! Test alerts: through the real queues, rules and senders, with a row for everybody that says what came of it.

use serde_json::{Value, json};
use std::time::Duration;
use tests::tenant::Tenant;
use tests::{pause, stack, wait};

fn send(tenant: &Tenant, body: Value) -> Value {
    let answer = tenant.stack.call("POST", &tenant.path("/test-alert"), &tenant.token, Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// Sends, and reads again until nothing is pending.
fn sent(tenant: &Tenant, body: Value) -> Value {
    let answer = send(tenant, body);
    let path = tenant.path(&format!("/test-alert/{}", answer["test_id"].as_str().unwrap()));
    wait("the test's outcome", Duration::from_secs(60), || {
        let known = tenant.stack.call("GET", &path, &tenant.token, None);
        (known.status == 200 && known.json()["complete"] == true).then(|| known.json())
    })
}

fn row(answer: &Value, id: &str, channel: &str) -> Value {
    let rows = answer["rows"].as_array().unwrap();
    let of = |row: &&Value| (row["recipient_id"] == id || row["integration_id"] == id) && row["channel"] == channel;
    rows.iter().find(of).unwrap_or_else(|| panic!("{id} {channel}: {answer:#}")).clone()
}

#[test]
fn a_test_reaches_everybody_an_alert_would_and_explains_the_others() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let admin = tenant.person("org_admin", &[]);
    let quiet = tenant.person_with("org_admin", json!({"dnd": true}));
    let billing = tenant.person("billing_admin", &[]);
    let slack = tenant.endpoint("slack", "org_admin");
    let hook = tenant.endpoint("webhook", "org_admin");
    let answer = sent(&tenant, json!({"category": "infrastructure"}));
    let outcome = |id: &str, channel: &str| {
        let row = row(&answer, id, channel);
        (row["outcome"].as_str().unwrap().to_owned(), row["reason"].as_str().unwrap_or_default().to_owned())
    };
    let is = |outcome: &str, reason: &str| (outcome.to_owned(), reason.to_owned());
    assert_eq!(outcome(&admin.id, "email"), is("accepted", ""));
    assert_eq!(outcome(&admin.id, "sms"), is("accepted", ""));
    assert_eq!(outcome(&quiet.id, "sms"), is("skipped", "dnd"));
    assert_eq!(outcome(&billing.id, "email"), is("skipped", "role_not_in_matrix"));
    assert_eq!(outcome(&slack.id, "slack"), is("delivered", ""));
    let delivered = row(&answer, &hook.id, "webhook");
    assert!(delivered["outcome"] == "delivered" && delivered["latency_ms"].as_u64().is_some(), "{delivered}");
    let mail = row(&answer, &admin.id, "email");
    assert!(mail["remedy"].as_str().unwrap().contains("allow-list"), "{mail}");
    assert!(row(&answer, &quiet.id, "sms")["remedy"].as_str().unwrap().contains("consent"));

    let mark = "Test alert: Infrastructure";
    let arrived = tenant.arrivals(mark);
    assert_eq!(arrived.len(), 5, "two e-mails, an SMS, Slack, the webhook: {arrived:#?}");
    assert!(
        arrived.iter().all(|arrival| arrival.text.contains("TEST") || arrival.text.contains("\"test\":true")),
        "{arrived:#?}"
    );

    // The test is visible to its tenant only, and marked as a test.
    let listed = tenant.own_incidents();
    assert!(listed.iter().all(|incident| incident["test"] == true && incident["public"] == false), "{listed:#?}");
    let public = stack.call("GET", "/status", "", None).body;
    assert!(!public.contains("Test alert"), "a test is on the status page");

    // What a billing admin has by SMS is low balances only: a test of billing is one.
    let low = sent(&tenant, json!({"category": "billing", "recipient_id": billing.id}));
    assert_eq!(row(&low, &billing.id, "sms")["outcome"], "accepted", "{low:#}");
    assert_eq!(row(&low, &billing.id, "email")["outcome"], "accepted", "{low:#}");

    for (name, id, channel) in [("recipient_id", &admin.id, "email"), ("integration_id", &hook.id, "webhook")] {
        let one = sent(&tenant, json!({name: id, "channel": channel, "category": "infrastructure"}));
        assert_eq!(one["rows"].as_array().unwrap().len(), 1, "{one:#}");
        assert_ne!(row(&one, id, channel)["outcome"], "skipped");
    }
}

#[test]
fn a_failed_test_shows_the_receivers_response_and_disables_nothing() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let hook = tenant.endpoint("webhook", "org_admin");
    let only = json!({"integration_id": hook.id, "category": "infrastructure"});
    stack.behave(&hook.path, json!({"status": 410, "body": "we moved"}));
    let failed = row(&sent(&tenant, only.clone()), &hook.id, "webhook");
    assert_eq!(
        (&failed["outcome"], &failed["reason"], &failed["status"]),
        (&json!("failed"), &json!("refused_by_provider"), &json!(410))
    );
    assert_eq!((&failed["cause"], &failed["response"]), (&json!("http_410"), &json!("we moved")));
    assert!(failed["detail"].is_string() && failed["remedy"].is_string(), "{failed}");
    let known = tenant.get(&format!("/integrations/{}", hook.id));
    assert_ne!(known["enabled"], false, "a test disables nothing");
    pause(7);
    assert_eq!(stack.inbox(&hook.path).len(), 1, "a test is tried once");

    // A real alert disables the integration. A test then shows whether the endpoint works again.
    drop(stack.post(json!({"type": "api.outage", "severity": "error", "title": "real", "tenant_ids": [tenant.id]})));
    wait("the integration to be disabled", Duration::from_secs(60), || {
        (tenant.get(&format!("/integrations/{}", hook.id))["enabled"] == false).then_some(())
    });
    stack.behave(&hook.path, json!({"status": 200}));
    let fixed = row(&sent(&tenant, only), &hook.id, "webhook");
    assert_eq!(fixed["outcome"], "delivered");
    assert!(fixed["remedy"].as_str().unwrap().contains("Enable"), "{fixed}");
}

#[test]
fn an_invalid_test_request_names_the_field() {
    let stack = stack!();
    let mut tenant = stack.tenant("business");
    let ask = |token: &str, body: Value| stack.call("POST", &tenant.path("/test-alert"), token, Some(&body));
    let pointer =
        |body: Value| ask(&tenant.token, body).json()["errors"][0]["pointer"].as_str().unwrap_or_default().to_owned();
    assert_eq!(pointer(json!({})), "", "nobody is there to test");
    assert_eq!(pointer(json!({"channel": "fax"})), "/channel");
    assert_eq!(pointer(json!({"recipient_id": "rcp_abcdefghijklmnopqrstuvwxyz"})), "/recipient_id");
    assert_eq!(pointer(json!({"wait_seconds": 60})), "/wait_seconds");
    let other = stack.tenant("starter");
    assert_eq!(ask(&other.token, json!({})).status, 404);
    let reader = stack.token(json!({"name": "r", "tenants": [tenant.id], "scopes": ["alerts:read"]}));
    assert_eq!(ask(reader["token"].as_str().unwrap(), json!({})).status, 403);
    assert_eq!(ask("", json!({})).status, 401);
    let unknown = stack.call("GET", &tenant.path("/test-alert/evt_abcdefghijklmnopqrstuvwxyz"), &tenant.token, None);
    assert_eq!(unknown.status, 404);
    for _ in 0..11 {
        drop(tenant.person("org_admin", &[]));
    }
    let many = |body: Value| stack.call("POST", &tenant.path("/test-alert"), &tenant.token, Some(&body));
    let refused = many(json!({"category": "infrastructure"}));
    assert_eq!((refused.status, refused.json()["errors"][0]["pointer"].as_str()), (422, Some("/confirm_all")));
    let meant = many(json!({"category": "infrastructure", "confirm_all": true, "wait_seconds": 0}));
    assert_eq!(meant.status, 200, "{}", meant.body);

    let function = stack.text("/functions/TestAlertFunction");
    let direct = stack.aws(&[
        "invoke",
        &function,
        &json!({"tenant_id": tenant.id, "recipient_id": tenant.people[0].id,
        "channel": "email", "category": "infrastructure", "wait_seconds": 60})
        .to_string(),
    ]);
    assert_eq!(direct["rows"][0]["outcome"], "accepted", "{direct}");
}

#[test]
fn test_alerts_are_limited_and_no_source_can_post_one() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let admin = tenant.person("org_admin", &[]);
    let body = json!({"recipient_id": admin.id, "channel": "email", "category": "infrastructure", "wait_seconds": 0});
    let test = || stack.call("POST", &tenant.path("/test-alert"), &tenant.token, Some(&body));
    // Twenty per ten clock minutes. The ten minutes may end in between.
    let refused = (0..41).map(|_| test()).find(|answer| answer.status != 200).unwrap();
    assert_eq!(refused.status, 429, "{}", refused.body);
    let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=600).contains(&seconds) && refused.body.contains("20 test alerts in 10 minutes"), "{}", refused.body);

    for own in ["test.alert", "tocsin.delivery_failed"] {
        let event = json!({"source": "e2e", "type": own, "title": own, "tenant_ids": [tenant.id]});
        let refused = stack.call("POST", "/v1/incidents", &stack.monitor(), Some(&event));
        assert_eq!((refused.status, refused.json()["errors"][0]["pointer"].as_str()), (422, Some("/type")));
        // A monitor never resends a refused event, so the event is kept, and only the operators are notified.
        let labels = json!({"alertname": "x", "type": own, "tenant": tenant.id, "category": "infrastructure"});
        let body = super::alertmanager::notification(&labels, &json!({"summary": format!("{own} of {}", tenant.id)}));
        let kept = stack.call("POST", "/v1/intake/alertmanager", &stack.monitor(), Some(&body));
        assert_eq!(kept.status, 202, "{}", kept.body);
        let known = stack.event(kept.json()["events"][0]["event_id"].as_str().unwrap());
        assert_eq!(known["not_notified"][0]["reason"], "unclassified", "{known}");
        assert!(
            known["warnings"][0].as_str().is_some_and(|warning| warning.contains("reserved for Tocsin")),
            "{known}"
        );
    }
    // A test alert gets no further updates.
    let incident = tenant.own_incidents()[0]["incident_id"].as_str().unwrap().to_owned();
    let more = json!({"message": "more"});
    let path = format!("/v1/incidents/{incident}/updates");
    assert_eq!(stack.call("POST", &path, &stack.monitor(), Some(&more)).status, 404);
}
