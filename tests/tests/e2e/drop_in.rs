//! Other products' own clients, unmodified but for URL and key.

use super::alertmanager::{Alertmanager, newest, notification};
use super::pipeline::INFRASTRUCTURE;
use serde_json::{Value, json};
use std::time::Duration;
use tests::receive::text;
use tests::tenant::{Got, Tenant};
use tests::{Stack, in_seconds, stack, unique, wait};

/// A full tenant and a token that may post for it.
fn prepared(stack: &Stack) -> (Tenant, String) {
    let tenant = stack.full_tenant();
    let key = key(stack, &tenant);
    (tenant, key)
}

fn key(stack: &Stack, tenant: &Tenant) -> String {
    text(&stack.token(json!({"name": "drop-in", "scopes": ["incidents:write"], "tenants": [tenant.id]})), "/token")
}

/// Everybody of the matrix so often; text messages only when something opens, worsens or is resolved.
fn everybody(updates: usize, text_messages: usize) -> Got {
    let count = |name: &str| if name.ends_with("sms") { text_messages } else { updates };
    INFRASTRUCTURE.iter().map(|name| ((*name).to_owned(), count(name))).collect()
}

/// The id of a tenant's only incident, once its update `update` is over.
fn incident(tenant: &Tenant, update: u64) -> String {
    let id = text(&newest(tenant, 1), "/incident_id");
    drop(tenant.settled(&id, update));
    id
}

fn pagerduty(stack: &Stack, key: &str, calls: &Value) -> Value {
    stack.client(&["pagerduty", &stack.https_api(), key, &calls.to_string()])
}

#[test]
fn pagerdutys_python_client_triggers_acknowledges_and_resolves() {
    let stack = stack!();
    let (tenant, key) = prepared(&stack);
    let mark = unique();
    let trigger = json!([["trigger", {"summary": format!("{mark} down"), "source": "host-1", "severity": "critical",
        "dedup_key": mark, "payload": {"class": "api.outage", "component": "api"}, "custom_details": {"tenant": tenant.id}}]]);
    assert_eq!(pagerduty(&stack, &key, &trigger), json!([mark]));
    let id = incident(&tenant, 1);
    tenant.expect(&mark, INFRASTRUCTURE, 0);
    // Once more is a repeat, and an acknowledgement is one however often it comes.
    assert_eq!(pagerduty(&stack, &key, &trigger), json!([mark]));
    let acknowledge = json!([["acknowledge", {"dedup_key": mark}], ["acknowledge", {"dedup_key": mark}]]);
    assert_eq!(pagerduty(&stack, &key, &acknowledge), json!([mark, mark]));
    assert_eq!(tenant.settled(&id, 2)["incident"]["status"], "identified");
    tenant.expect_counts(&mark, &everybody(2, 1), 2);
    assert_eq!(pagerduty(&stack, &key, &json!([["resolve", {"dedup_key": mark}]])), json!([mark]));
    assert_eq!(tenant.settled(&id, 3)["incident"]["status"], "resolved");
    tenant.expect_counts(&mark, &everybody(3, 2), 5);

    // A change event is recorded and notifies nobody. An unknown dedup key is accepted, as by PagerDuty.
    let change = unique();
    let calls = json!([["send_change_event", {"payload": {"summary": format!("{change} deployed"), "source": "ci",
        "timestamp": "2026-11-23T10:00:00Z", "custom_details": {"tenant": tenant.id}}}],
        ["resolve", {"dedup_key": change}]]);
    assert_eq!(pagerduty(&stack, &key, &calls), json!([null, change]));
    let recorded = wait("the change to be recorded", Duration::from_secs(60), || {
        let list = tenant.get("/incidents?include=excluded");
        list.to_string().contains(&change).then_some(list)
    });
    assert!(recorded.to_string().contains("advisory.notice"), "{recorded}");
    tenant.expect(&change, &[], 3);
}

#[test]
fn alertmanagers_pagerduty_client_opens_and_resolves() {
    let stack = stack!();
    let (tenant, key) = prepared(&stack);
    let mark = unique();
    let receiver = format!(
        "pagerduty_configs:\n  - url: {}/v2/enqueue\n    routing_key: {key}\n    severity: critical\n    class: api.outage\n    \
         component: api\n    description: {mark} down\n    details:\n      tenant: {}\n",
        stack.text("/api_url"),
        tenant.id
    );
    opens_and_resolves(&stack, &tenant, &mark, &receiver);
}

#[test]
fn alertmanagers_opsgenie_client_opens_and_closes() {
    let stack = stack!();
    let (tenant, key) = prepared(&stack);
    let mark = unique();
    let receiver = format!(
        "opsgenie_configs:\n  - api_url: {}/\n    api_key: {key}\n    message: {mark} down\n    priority: P1\n    details:\n      \
         tenant: {}\n      type: api.outage\n",
        stack.text("/api_url"),
        tenant.id
    );
    opens_and_resolves(&stack, &tenant, &mark, &receiver);
}

#[test]
fn alertmanagers_opsgenie_client_updates_an_open_alert() {
    let stack = stack!();
    let (tenant, key) = prepared(&stack);
    let mark = unique();
    let receiver = format!(
        "opsgenie_configs:\n  - api_url: {}/\n    api_key: {key}\n    update_alerts: true\n    message: {mark} down\n    \
         description: '{{{{ range .Alerts.Firing }}}}{{{{ .Labels.instance }}}} {{{{ end }}}}'\n    priority: P1\n    details:\n      \
         tenant: {}\n      type: api.outage\n",
        stack.text("/api_url"),
        tenant.id
    );
    let Some(alertmanager) = Alertmanager::start_with(&stack, &receiver) else { return };
    let labels = |instance: &str| json!({"alertname": format!("A{mark}"), "instance": instance});
    alertmanager.alert(&labels("web01"), &json!({}), false);
    let id = incident(&tenant, 1);
    alertmanager.alert(&labels("web02"), &json!({}), false);
    let known = tenant.settled(&id, 2);
    assert_eq!(known["timeline"][1]["message"], "web01 web02", "{known}");
    // Alertmanager repeats the same text every second; that is no further update.
    tests::pause(3);
    assert_eq!(tenant.incident(&id)["incident"]["updates"], 2);
    alertmanager.alert(&labels("web01"), &json!({}), true);
    alertmanager.alert(&labels("web02"), &json!({}), true);
    wait("the alert to close", Duration::from_secs(60), || {
        (tenant.incident(&id)["incident"]["status"] == "resolved").then_some(())
    });
}

#[test]
fn alertmanagers_webhook_says_how_many_alerts_it_left_out() {
    let stack = stack!();
    let (tenant, key) = prepared(&stack);
    let mark = unique();
    let receiver = format!(
        "webhook_configs:\n  - url: {}/v1/intake/alertmanager\n    max_alerts: 1\n    http_config:\n      authorization:\n        \
         credentials: {key}\n",
        stack.text("/api_url"),
    );
    let Some(alertmanager) = Alertmanager::start_with(&stack, &receiver) else { return };
    for instance in ["a", "b", "c"] {
        let labels =
            json!({"alertname": format!("A{mark}"), "instance": instance, "tenant": tenant.id, "type": "api.outage"});
        alertmanager.alert(&labels, &json!({"summary": format!("{mark} {instance}")}), false);
    }
    // What was left out is reported to the operators; what was sent opens its incident.
    let id = incident(&tenant, 1);
    let detail = tenant.incident(&id);
    assert!(detail["timeline"][0]["key_details"].to_string().contains("\"instance\""), "{detail}");
}

fn opens_and_resolves(stack: &Stack, tenant: &Tenant, mark: &str, receiver: &str) {
    let Some(alertmanager) = Alertmanager::start_with(stack, receiver) else { return };
    let labels = json!({"alertname": format!("A{mark}")});
    alertmanager.alert(&labels, &json!({}), false);
    let id = incident(tenant, 1);
    tenant.expect(mark, INFRASTRUCTURE, 3);
    alertmanager.alert(&labels, &json!({}), true);
    assert_eq!(tenant.settled(&id, 2)["incident"]["status"], "resolved");
    tenant.expect_counts(mark, &everybody(2, 2), 5);
}

#[test]
fn opsgenies_sdk_creates_acknowledges_notes_and_closes() {
    let stack = stack!();
    let (tenant, key) = prepared(&stack);
    let mark = unique();
    let ask = |calls: Value| stack.client(&["opsgenie", &stack.text("/api_url"), &key, &calls.to_string()]);
    let created = ask(
        json!([["create_alert", {"create_alert_payload": {"CreateAlertPayload": {"message": format!("{mark} down"),
        "alias": mark, "priority": "P1", "details": {"tenant": tenant.id, "type": "api.outage", "component": "api"}}}}]]),
    );
    assert_eq!(created[0]["result"], "Request will be processed", "{created}");
    let id = incident(&tenant, 1);
    tenant.expect(&mark, INFRASTRUCTURE, 0);
    let request = text(&created, "/0/request_id");
    let status = ask(json!([["get_request_status", {"request_id": request}]]));
    let data = &status[0]["data"];
    assert_eq!((&data["alert_id"], &data["alias"]), (&json!(id), &json!(mark)), "{status}");
    assert_eq!((&data["is_success"], &data["status"]), (&json!(true), &json!("Created alert")), "{status}");

    // By the id that was just returned, and by alias.
    let done = ask(json!([["acknowledge_alert", {"identifier": id}]]));
    assert!(done[0]["request_id"].is_string(), "{done}");
    assert_eq!(tenant.settled(&id, 2)["incident"]["status"], "identified");
    let words = format!("{mark} the carrier has called back");
    let note = json!({"AddNoteToAlertPayload": {"note": words}});
    let by_alias = json!({"identifier": mark, "identifier_type": "alias", "add_note_to_alert_payload": note});
    assert!(ask(json!([["add_note", by_alias]]))[0]["request_id"].is_string());
    let known = tenant.settled(&id, 3);
    assert!(known["timeline"].to_string().contains(&words), "{known}");
    let closed = ask(json!([["close_alert", {"identifier": mark, "identifier_type": "alias"}]]));
    assert!(closed[0]["request_id"].is_string(), "{closed}");
    assert_eq!(tenant.settled(&id, 4)["incident"]["status"], "resolved");
    tenant.expect_counts(&mark, &everybody(4, 2), 5);
    // Another's token knows neither the id nor the alias.
    let other = super::drop_in::key(&stack, &stack.tenant("starter"));
    let theirs = stack.client(&[
        "opsgenie",
        &stack.text("/api_url"),
        &other,
        &json!([["close_alert", {"identifier": id}]]).to_string(),
    ]);
    assert_eq!(theirs[0]["status"], 404, "{theirs}");
}

#[test]
fn cloudevents_are_accepted_in_three_modes() {
    let stack = stack!();
    let (tenant, key) = prepared(&stack);
    let mark = unique();
    let event = |id: &str, subject: &str, status: Option<&str>| {
        json!({"id": format!("{mark}-{id}"), "source": "/e2e", "type": "api.outage", "specversion": "1.0", "subject": subject,
            "data": {"title": format!("{mark} {subject}"), "severity": "critical", "tenant_ids": [tenant.id], "status": status,
                "public": true}})
    };
    let post = |mode: &str, events: Value| {
        let message = stack.client(&["cloudevents", mode, &events.to_string()]);
        let headers = message["headers"].as_object().unwrap();
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        let bearer = format!("Bearer {key}");
        let all: Vec<(&str, &str)> = headers.into_iter().chain([("authorization", bearer.as_str())]).collect();
        let url = format!("{}/v1/intake/cloudevents", stack.text("/api_url"));
        let body = text(&message, "/body");
        let answer = tests::http::send("POST", &url, &all, Some(body.as_bytes())).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()
    };
    let opened = post("structured", json!([event("1", "one", None)]));
    assert_eq!(opened["events"][0]["dedup_key"], "one");
    let id = incident(&tenant, 1);
    tenant.expect(&mark, INFRASTRUCTURE, 0);
    // Its token may not publish: the alert goes out, and only the flag is left behind.
    let known = stack.event(&text(&opened, "/events/0/event_id"));
    assert!(known["warnings"][0].as_str().is_some_and(|said| said.contains("incidents:platform")), "{known}");
    assert_eq!(stack.call("GET", &format!("/status/incidents/{id}"), "", None).status, 404);
    // The same source and id are the same event, in whichever mode it comes.
    let again = post("binary", json!([event("1", "one", None)]));
    assert_eq!(again["events"][0]["event_id"], opened["events"][0]["event_id"]);
    drop(post("binary", json!([event("2", "one", Some("identified"))])));
    assert_eq!(tenant.settled(&id, 2)["incident"]["status"], "identified");
    drop(post("batch", json!([event("3", "one", Some("resolved")), event("4", "two", None)])));
    assert_eq!(tenant.settled(&id, 3)["incident"]["status"], "resolved");
    let second = text(&newest(&tenant, 2), "/incident_id");
    drop(tenant.settled(&second, 1));
    tenant.expect_counts(&mark, &everybody(4, 3), 5);

    let ask = |headers: &[(&str, &str)]| stack.raw("OPTIONS", "/v1/intake/cloudevents", "", headers, None);
    let allowed = ask(&[("webhook-request-origin", "eventemitter.example.com")]);
    assert_eq!((allowed.status, allowed.header("webhook-allowed-origin")), (200, Some("eventemitter.example.com")));
    assert_eq!(allowed.header("webhook-allowed-rate"), Some("12000"));
    assert_eq!(ask(&[]).status, 422);
}

/// What an alarm's description says.
fn described(tenant: &Tenant) -> String {
    json!({"type": "api.outage", "tenant": tenant.id, "component": "api", "severity": "critical"}).to_string()
}

#[test]
fn a_cloudwatch_alarm_is_accepted_through_its_topic() {
    let stack = stack!();
    let tenant = stack.full_tenant();
    let mark = unique();
    let topic = stack.text("/outputs/IncomingAlarmTopicArn");
    let _alarm = stack.aws(&["alarm", &mark, &described(&tenant), &topic]);
    let set = |state: &str| drop(stack.aws(&["alarm-state", &mark, state, "Threshold Crossed: 12 errors"]));
    set("ALARM");
    let id = incident(&tenant, 1);
    tenant.expect(&mark, INFRASTRUCTURE, 0);
    // Missing data is a note: the incident stays open and nobody is notified.
    set("INSUFFICIENT_DATA");
    wait("the note to be counted", Duration::from_secs(60), || {
        (tenant.incident(&id)["incident"]["repeats"] == 1).then_some(())
    });
    tenant.expect(&mark, INFRASTRUCTURE, 0);
    set("OK");
    assert_eq!(tenant.settled(&id, 2)["incident"]["status"], "resolved");
    tenant.expect_counts(&mark, &everybody(2, 2), 5);
}

#[test]
fn a_cloudwatch_alarm_is_accepted_through_eventbridge() {
    let stack = stack!();
    let tenant = stack.full_tenant();
    let mark = unique();
    // The emulator raises no events of alarms, and like AWS lets nobody else send them. So the rule is asked whether it takes
    // AWS's own example, and the example is put where the rule's target is.
    let event = |state: &str, at: &str, description: &str| {
        json!({"version": "0", "id": unique(), "account": "000000000000", "time": "2026-11-23T10:00:01Z", "region":
            "eu-central-1", "source": "aws.cloudwatch", "detail-type": "CloudWatch Alarm State Change",
            "resources": [format!("arn:aws:cloudwatch:eu-central-1:000000000000:alarm:{mark}")],
            "detail": {"alarmName": mark, "configuration": {"description": description, "metrics": []},
                "previousState": {"value": "OK", "timestamp": "2026-11-23T09:00:00.000+0000"},
                "state": {"value": state, "reason": "Threshold Crossed", "timestamp": at}}})
        .to_string()
    };
    let queue = stack.text("/queues/IntakeQueue");
    let rule = |event: &str| stack.aws(&["rule", &stack.text("/stack_name"), "IncomingAlarmRule", event]);
    let put = |event: String| {
        let rule = rule(&event);
        let name = queue.rsplit('/').next().unwrap();
        assert!(text(&rule, "/targets/0").ends_with(name) && rule["state"] == "ENABLED", "{rule}");
        if rule["matches"] == true {
            drop(stack.aws(&["send", &queue, &event]));
        }
        rule["matches"] == true
    };
    let described = described(&tenant);
    assert!(put(event("ALARM", "2026-11-23T10:00:00.985+0000", &described)));
    let id = incident(&tenant, 1);
    // The same change of state again is the same event; an alarm without a description for Tocsin is ignored.
    assert!(put(event("ALARM", "2026-11-23T10:00:00.985+0000", &described)));
    assert!(!put(event("ALARM", "2026-11-23T10:01:00.000+0000", "CPU of the build machine")));
    tenant.expect(&mark, INFRASTRUCTURE, 3);
    assert!(put(event("OK", "2026-11-23T10:05:00.000+0000", &described)));
    assert_eq!(tenant.settled(&id, 2)["incident"]["status"], "resolved");
    tenant.expect_counts(&mark, &everybody(2, 2), 5);
}

#[test]
fn grafana_posts_and_its_signature_is_checked() {
    let stack = stack!();
    let (tenant, key) = prepared(&stack);
    let mark = unique();
    let mut body = notification(
        &json!({"alertname": "High errors", "type": "api.outage", "tenant": tenant.id, "severity": "critical"}),
        &json!({"summary": format!("{mark} down")}),
    );
    body["version"] = json!("1");
    body["alerts"][0]["values"] = json!({"A": 12.5});
    body["alerts"][0]["panelURL"] = json!("https://grafana.example/d/1?viewPanel=2");
    let post = |body: &Value, signature: &str| {
        let headers = [("x-grafana-alerting-signature", signature)];
        stack.call_with("POST", "/v1/intake/grafana", &key, &headers, Some(body))
    };
    let wrong = post(&body, &"ab".repeat(32));
    assert_eq!(wrong.status, 401, "{}", wrong.body);
    let signature = stack.client(&["signature", &key, &body.to_string()]);
    let answer = post(&body, signature.as_str().unwrap());
    assert_eq!(answer.status, 202, "{}", answer.body);
    let id = incident(&tenant, 1);
    tenant.expect(&mark, INFRASTRUCTURE, 0);
    body["alerts"][0]["status"] = json!("resolved");
    assert_eq!(stack.call("POST", "/v1/intake/grafana", &key, Some(&body)).status, 202);
    assert_eq!(tenant.settled(&id, 2)["incident"]["status"], "resolved");
    tenant.expect_counts(&mark, &everybody(2, 2), 3);
}

/// One product: how a key is shown, where an event goes, and what a good one is.
struct Product {
    name: &'static str,
    path: &'static str,
    scheme: &'static str,
    content_type: &'static str,
    event: fn(&str, &str, &str) -> Value,
    /// The field whose absence is refused, and the status of that.
    needed: (&'static str, u16),
    /// The severity's field, and the answer to one that nobody knows.
    severity: (&'static str, u16),
    unauthorized: u16,
    malformed: u16,
}

const PRODUCTS: [Product; 6] = [
    Product {
        name: "pagerduty",
        path: "/v2/enqueue",
        scheme: "",
        content_type: "application/json",
        event: |key, tenant, mark| {
            json!({"routing_key": key, "event_action": "trigger", "payload": {"summary": mark, "source": "s", "severity":
                "critical", "class": "api.outage", "custom_details": {"tenant": tenant}}})
        },
        needed: ("/payload/summary", 400),
        severity: ("/payload/severity", 400),
        unauthorized: 400,
        malformed: 400,
    },
    Product {
        name: "opsgenie",
        path: "/v2/alerts",
        scheme: "GenieKey",
        content_type: "application/json",
        event: |_, tenant, mark| json!({"message": mark, "priority": "P1", "details": {"tenant": tenant, "type": "api.outage"}}),
        needed: ("/message", 422),
        severity: ("/priority", 422),
        unauthorized: 401,
        malformed: 400,
    },
    Product {
        name: "alertmanager",
        path: "/v1/intake/alertmanager",
        scheme: "Bearer",
        content_type: "application/json",
        event: |_, tenant, mark| {
            let labels = json!({"alertname": "A", "tenant": tenant, "type": "api.outage", "severity": "critical"});
            notification(&labels, &json!({"summary": mark}))
        },
        needed: ("/version", 422),
        severity: ("/alerts/0/labels/severity", 202),
        unauthorized: 401,
        malformed: 400,
    },
    Product {
        name: "grafana",
        path: "/v1/intake/grafana",
        scheme: "Bearer",
        content_type: "application/json",
        event: |_, tenant, mark| {
            let labels = json!({"alertname": "A", "tenant": tenant, "type": "api.outage", "severity": "critical"});
            let mut body = notification(&labels, &json!({"summary": mark}));
            body["version"] = json!("1");
            body
        },
        needed: ("/version", 422),
        severity: ("/alerts/0/labels/severity", 202),
        unauthorized: 401,
        malformed: 400,
    },
    Product {
        name: "cloudevents",
        path: "/v1/intake/cloudevents",
        scheme: "Bearer",
        content_type: "application/cloudevents+json",
        event: |_, tenant, mark| {
            json!({"specversion": "1.0", "id": mark, "source": "s", "type": "api.outage", "data": {"title": mark, "severity":
                "critical", "tenant_ids": [tenant]}})
        },
        needed: ("/id", 422),
        severity: ("/data/severity", 202),
        unauthorized: 401,
        malformed: 400,
    },
    Product {
        name: "cloudwatch",
        path: "/v1/intake/cloudwatch",
        scheme: "Bearer",
        content_type: "application/json",
        event: |_, tenant, mark| {
            let description = json!({"tenant": tenant, "type": "api.outage", "severity": "critical"}).to_string();
            json!({"AlarmName": mark, "AlarmArn": format!("arn:{mark}"), "AlarmDescription": description, "NewStateValue": "ALARM"})
        },
        needed: ("/AlarmName", 422),
        severity: ("", 0),
        unauthorized: 401,
        malformed: 400,
    },
];

impl Product {
    fn post(&self, stack: &Stack, key: &str, body: &str) -> tests::http::Response {
        let authorization = format!("{} {key}", self.scheme);
        let mut headers = vec![("content-type", self.content_type)];
        if !self.scheme.is_empty() {
            headers.push(("authorization", authorization.as_str()));
        }
        let url = format!("{}{}", stack.text("/api_url"), self.path);
        tests::http::send("POST", &url, &headers, Some(body.as_bytes())).unwrap()
    }
}

fn without(mut event: Value, pointer: &str) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    drop(event.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name));
    event
}

#[test]
fn refusals_have_the_products_own_format_and_alert_nobody() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("org_admin", &[]));
    let key = key(&stack, &tenant);
    let revoked = stack.token(json!({"name": "old", "scopes": ["incidents:write"], "tenants": [tenant.id]}));
    let path = format!("/v1/tokens/{}?tenant={}", text(&revoked, "/token_id"), tenant.id);
    assert_eq!(stack.call("DELETE", &path, &stack.admin(), None).status, 200);
    let revoked = text(&revoked, "/token");
    let mark = unique();
    for product in &PRODUCTS {
        let good = (product.event)(&key, &tenant.id, &mark);
        let answer = |key: &str, body: &str, expected: u16, what: &str| {
            let answer = product.post(&stack, key, body);
            assert_eq!(answer.status, expected, "{} {what}: {}", product.name, answer.body);
            answer
        };
        let as_key = |key: &str| (product.event)(key, &tenant.id, &mark).to_string();
        for (bad, what) in
            [("x".repeat(32), "a wrong key"), ("short".to_owned(), "no key"), (revoked.clone(), "a revoked key")]
        {
            drop(answer(&bad, &as_key(&bad), product.unauthorized, what));
        }
        drop(answer(&key, "{\"a\":", product.malformed, "malformed JSON"));
        let (field, status) = product.needed;
        let refused = answer(&key, &without(good.clone(), field).to_string(), status, "a missing field");
        assert!(refused.body.contains(field.rsplit('/').next().unwrap()), "{}: {}", product.name, refused.body);
        let mut large = good.clone();
        large["more"] = json!("x".repeat(600 * 1024));
        drop(answer(&key, &large.to_string(), 413, "600 KiB"));
    }
    tenant.expect(&mark, &[], 3);
    assert!(tenant.own_incidents().is_empty());
}

#[test]
fn unknown_severities_and_unknown_or_missing_tenants_get_their_documented_answers() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("org_admin", &[]));
    let key = key(&stack, &tenant);
    for product in &PRODUCTS {
        let name = product.name;
        let event = |tenant: &str, mark: &str| (product.event)(&key, tenant, mark);
        // Another token's tenant, an invalid one, and none: accepted, and reported to the operators only.
        let mark = unique();
        for whose in ["platform", "Not A Tenant", ""] {
            let answer = product.post(&stack, &key, &event(whose, &mark).to_string());
            assert_eq!(answer.status, 202, "{name} {whose}: {}", answer.body);
        }
        wait(&format!("{name}: the operators to see what nobody placed"), Duration::from_secs(60), || {
            let path = "/v1/tenants/platform/incidents?include=excluded&limit=200";
            let list = stack.call("GET", path, &stack.admin(), None);
            list.body.contains(&mark).then_some(())
        });
        let (field, status) = product.severity;
        if field.is_empty() {
            continue;
        }
        let words = unique();
        let mut odd = event(&tenant.id, &words);
        *odd.pointer_mut(field).unwrap() = json!("page-everybody");
        let answer = product.post(&stack, &key, &odd.to_string());
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        if status == 202 {
            let found = wait("the incident", Duration::from_secs(60), || {
                tenant.own_incidents().into_iter().find(|incident| incident["title"].to_string().contains(&words))
            });
            assert_eq!(found["severity"], "error", "{name}: unknown is error");
        }
        tenant.expect(&mark, &[], 0);
    }
}

#[test]
fn an_alert_for_an_unknown_tenant_does_not_lose_the_others() {
    let stack = stack!();
    let tenant = stack.full_tenant();
    let (later, mark) = (unique(), unique());
    // As intake splits one event that names two tenants; within five minutes the queue itself would drop the second round.
    let send = |whose: &str| {
        let event = json!({"format": "alertmanager", "source": "alertmanager", "type": "api.outage", "dedup_key": mark, "severity":
            "critical", "title": format!("{mark} down"), "message": "", "tenant_ids": [later, tenant.id]});
        let message = json!({"v": 1, "event_id": format!("evt_{mark}"), "correlation_id": "e2e", "accepted_at": in_seconds(0),
            "integration_id": "int_e2e", "scope": {"tenant": whose}, "body": {"event": event}});
        drop(stack.aws(&["send", &stack.text("/queues/ClassifyQueue"), &message.to_string(), whose]));
    };
    let known =
        || stack.call("GET", &format!("/v1/events/evt_{mark}"), &stack.monitor(), None).json()["not_notified"].clone();
    send(&later);
    wait("the unknown tenant to be recorded", Duration::from_secs(60), || {
        known().to_string().contains("tenant_unknown").then_some(())
    });
    send(&tenant.id);
    drop(incident(&tenant, 1));
    // The operators make the tenant that was missing; the same alert, sent again hours later, is its first.
    let made = json!({"name": "Later", "plan": "starter", "zone": "UTC"});
    assert_eq!(stack.call("PUT", &format!("/v1/tenants/{later}"), &stack.admin(), Some(&made)).status, 201);
    send(&later);
    send(&tenant.id);
    wait("the incident of the tenant that came later", Duration::from_secs(60), || {
        let list = stack.call("GET", &format!("/v1/tenants/{later}/incidents"), &stack.admin(), None);
        list.body.contains(&mark).then_some(())
    });
    tenant.expect(&mark, INFRASTRUCTURE, 3);
}

#[test]
fn alarms_out_of_order_end_in_cloudwatchs_last_state() {
    let stack = stack!();
    let tenant = stack.full_tenant();
    let mark = unique();
    let queue = stack.text("/queues/IntakeQueue");
    let put = |state: &str, minute: u32, tenant: &str| {
        let description = json!({"type": "api.outage", "tenant": tenant, "severity": "critical"}).to_string();
        let alarm = json!({"AlarmName": mark, "AlarmArn": format!("arn:aws:cloudwatch:eu-central-1:1:alarm:{mark}"),
            "AlarmDescription": description, "NewStateValue": state, "NewStateReason": "x",
            "StateChangeTime": format!("2026-11-23T10:{minute:02}:00.000+0000")});
        drop(stack.aws(&["send", &queue, &alarm.to_string()]));
        // Each is through before the next is sent: here the order is what is tested.
        tests::pause(4);
    };
    put("OK", 2, &tenant.id);
    put("ALARM", 1, &tenant.id);
    assert!(tenant.own_incidents().is_empty(), "it was over before it came");
    put("ALARM", 3, &tenant.id);
    let id = incident(&tenant, 1);
    put("OK", 2, &tenant.id);
    assert_eq!(tenant.incident(&id)["incident"]["status"], "investigating");
    // The description changed meanwhile: whoever was notified of ALARM is notified of OK.
    put("OK", 4, "platform");
    assert_eq!(tenant.settled(&id, 2)["incident"]["status"], "resolved");
    tenant.expect_counts(&mark, &everybody(2, 2), 3);
}
