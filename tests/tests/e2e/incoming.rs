//! What comes in, on the running stack: the inputs of other people's bug reports, Opsgenie's whole API, requests of monitors and scanners.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tests::foreign::{Case, format_cases};
use tests::receive::text;
use tests::tenant::Tenant;
use tests::{Stack, http, stack, unique, wait};

fn token(stack: &Stack, tenant: &Tenant) -> String {
    let issued = stack.token(json!({"name": "incoming", "scopes": ["incidents:write"], "tenants": [tenant.id],
        "defaults": {"tenant_ids": [tenant.id]}}));
    text(&issued, "/token")
}

fn post(stack: &Stack, case: &Case, tenant: &Tenant, key: &str) -> http::Response {
    let (path, scheme) = match case.format() {
        "native" => ("/v1/incidents".to_owned(), "Bearer"),
        "pagerduty" => ("/v2/enqueue".to_owned(), ""),
        "opsgenie" => ("/v2/alerts".to_owned(), "GenieKey"),
        name => (format!("/v1/intake/{name}"), "Bearer"),
    };
    let authorization = format!("{scheme} {key}");
    let mut headers = case.headers();
    if !case.is_binary() {
        headers.entry("content-type".to_owned()).or_insert_with(|| "application/json".to_owned());
    }
    if !scheme.is_empty() {
        headers.insert("authorization".to_owned(), authorization);
    }
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let url = format!("{}{path}", stack.text("/api_url"));
    http::send("POST", &url, &headers, Some(case.body(&tenant.id, key).as_bytes())).unwrap()
}

#[test]
fn nothing_is_accepted_and_then_unknown() {
    let stack = stack!();
    let tenant = stack.tenant("enterprise");
    let key = token(&stack, &tenant);
    let mut accepted = Vec::new();
    let mut wrong = Vec::new();
    // What is public needs a token for all tenants, and would be on every other test's status page.
    for case in format_cases().into_iter().filter(|case| !case.body("", "").contains("\"public\":true")) {
        let answer = post(&stack, &case, &tenant, &key);
        let is_refused = case.expected().get("refused").is_some();
        if is_refused != (400..500).contains(&answer.status) || (!is_refused && answer.status != 202) {
            wrong.push(format!("{}: {} {}", case.id(), answer.status, answer.body));
            continue;
        }
        if is_refused {
            continue;
        }
        let answer = answer.json();
        let of_one = [answer.pointer("/event_id").and_then(Value::as_str).map(str::to_owned)];
        let of_many = answer["events"].as_array().into_iter().flatten().map(|event| Some(text(event, "/event_id")));
        // Opsgenie's request id names the event.
        let of_opsgenie = answer["requestId"].as_str().and_then(|id| id.split('.').next()).map(str::to_owned);
        let ids = of_one.into_iter().chain(of_many).chain([of_opsgenie]).flatten();
        accepted.extend(ids.map(|id| (case.id().to_owned(), id)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(accepted.len() > 80, "{}", accepted.len());
    for (case, id) in accepted {
        let known = stack.event(&id);
        assert_eq!(text(&known, "/event_id"), id, "{case}");
    }
    // PagerDuty's answer names the key only.
    let opened: Vec<String> = tenant.own_incidents().iter().map(|incident| text(incident, "/title")).collect();
    for title in ["API is down", "new summary"] {
        assert!(opened.iter().any(|known| known == title), "{title} is not in {opened:?}");
    }
}

#[test]
fn opsgenies_clients_change_and_close_an_alert_by_an_alias_with_any_character() {
    let stack = stack!();
    let tenant = stack.full_tenant();
    let key = token(&stack, &tenant);
    let mark = unique();
    let headers = [("authorization", format!("GenieKey {key}")), ("content-type", "application/json".to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let ask = |method: &str, path: &str, body: Value| {
        let url = format!("{}/v2/alerts{path}", stack.text("/api_url"));
        let body = (method != "GET").then(|| body.to_string());
        http::send(method, &url, &headers, body.as_ref().map(String::as_bytes)).unwrap()
    };
    let alias = format!("{mark}/http 50% ü?#close");
    let escaped = format!("{mark}%2Fhttp%2050%25%20%C3%BC%3F%23close");
    let created = ask(
        "POST",
        "",
        json!({"message": format!("{mark} one host"), "alias": alias, "priority": "P3",
        "description": "web01", "details": {"type": "api.outage"}}),
    );
    assert_eq!(created.status, 202, "{}", created.body);
    let incident = text(&super::alertmanager::newest(&tenant, 1), "/incident_id");
    let by_alias = |action: &str| format!("/{escaped}{action}?identifierType=alias");

    let got = ask("GET", &by_alias(""), json!({})).json();
    assert_eq!(
        (&got["data"]["alias"], &got["data"]["status"], &got["data"]["priority"]),
        (&json!(alias), &json!("open"), &json!("P3"))
    );

    assert_eq!(ask("PUT", &by_alias("/message"), json!({"message": format!("{mark} two hosts")})).status, 202);
    assert_eq!(ask("PUT", &by_alias("/description"), json!({"description": "web01"})).status, 202);
    assert_eq!(ask("PUT", &by_alias("/description"), json!({"description": "web01, web02"})).status, 202);
    let known = tenant.settled(&incident, 2);
    assert_eq!(known["incident"]["title"], format!("{mark} two hosts"));
    assert_eq!(known["timeline"][1]["message"], "web01, web02", "{known}");

    assert_eq!(ask("PUT", &by_alias("/priority"), json!({"priority": "P1"})).status, 202);
    let known = tenant.settled(&incident, 3);
    assert_eq!(
        (&known["incident"]["severity"], &known["timeline"][2]["change"]),
        (&json!("critical"), &json!("severity_raised"))
    );
    for (method, action, body) in [
        ("POST", "/snooze", json!({"endTime": "2030-01-01T00:00:00Z"})),
        ("POST", "/acknowledge", json!({})),
        ("POST", "/unacknowledge", json!({})),
        ("POST", "/tags", json!({"tags": ["a"]})),
        ("POST", "/assign", json!({"owner": {"username": "x"}})),
        ("POST", "/actions/Restart", json!({})),
    ] {
        let answer = ask(method, &by_alias(action), body);
        assert_eq!(answer.status, 202, "{action}: {}", answer.body);
        let request = text(&answer.json(), "/requestId");
        wait(&format!("the result of {action}"), Duration::from_secs(60), || {
            let found = ask("GET", &format!("/requests/{request}"), json!({}));
            (found.status == 200).then(|| assert_eq!(found.json()["data"]["success"], true, "{action}: {}", found.body))
        });
    }
    assert_eq!(ask("PUT", &by_alias("/colour"), json!({})).status, 404);
    assert_eq!(ask("POST", &by_alias("/close"), json!({})).status, 202);
    wait("the alert to close", Duration::from_secs(60), || {
        (tenant.incident(&incident)["incident"]["status"] == "resolved").then_some(())
    });
    assert_eq!(ask("GET", &by_alias(""), json!({})).json()["data"]["status"], "closed");
}

#[test]
fn an_uptime_monitor_may_ask_for_the_head_of_every_open_page() {
    let stack = stack!();
    let api = stack.text("/api_url");
    for path in [
        "/status",
        "/status/feed.atom",
        "/status/maintenance.ics",
        "/status/badge.svg",
        "/api/v2/summary.json",
        "/api/v2/status.json",
        "/console",
        // Without a token these are not found, by GET as well.
        "/unsubscribe",
        "/confirm",
        "/stop",
        "/read",
        "/r/x",
    ] {
        let url = format!("{api}{path}");
        let (get, head) = (http::send("GET", &url, &[], None).unwrap(), http::send("HEAD", &url, &[], None).unwrap());
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
}

#[test]
fn a_path_that_does_not_exist_is_not_found_whatever_authorizes_the_request() {
    let stack = stack!();
    let admin = format!("Bearer {}", stack.admin());
    for authorization in [
        "",
        "Bearer nothing",
        admin.as_str(),
        "Basic eDp5",
        "GenieKey x",
        "AWS4-HMAC-SHA256 Credential=AKIA/20261129/eu-central-1/execute-api/aws4_request, SignedHeaders=host, Signature=00",
    ] {
        for path in ["/v1/nothing", "/wp-login.php", "/v2/nothing"] {
            let headers: Vec<(&str, &str)> =
                if authorization.is_empty() { vec![] } else { vec![("authorization", authorization)] };
            let answer = http::send("GET", &format!("{}{path}", stack.text("/api_url")), &headers, None).unwrap();
            assert_eq!(answer.status, 404, "{path} with {authorization:?}: {}", answer.body);
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        }
    }
}

#[test]
fn a_body_with_countless_errors_is_answered_with_a_few_of_them() {
    let stack = stack!();
    let tenant = stack.tenant("enterprise");
    let many: Vec<String> = (0..30_000).map(|number| format!("Bad {number}")).collect();
    let event = json!({"source": "s", "type": "api.outage", "title": "t", "tenant_ids": many});
    let answer = stack.call("POST", "/v1/incidents", &stack.admin(), Some(&event));
    assert_eq!((answer.status, answer.json()["errors"].as_array().unwrap().len()), (422, 1), "{}", answer.body);
    let links: Vec<Value> = (0..2_000).map(|_| json!({"href": "http://x"})).collect();
    let event = json!({"source": "s", "type": "api.outage", "title": "t", "tenant_ids": [tenant.id], "links": links});
    let answer = stack.call("POST", "/v1/incidents", &stack.admin(), Some(&event));
    assert_eq!((answer.status, answer.json()["errors"].as_array().unwrap().len()), (422, 50));
    let token = json!({"name": "n", "scopes": many.get(..1_000), "tenants": many.get(..1_000)});
    let answer = stack.call("POST", "/v1/tokens", &stack.admin(), Some(&token));
    assert!(answer.status == 422 && answer.json()["errors"].as_array().unwrap().len() <= 50, "{}", answer.status);
}

#[test]
fn headers_of_a_cloudevent_may_be_utf_8() {
    let stack = stack!();
    let tenant = stack.tenant("enterprise");
    let key = token(&stack, &tenant);
    let mark = unique();
    let url = format!("{}/v1/intake/cloudevents", stack.text("/api_url"));
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let body = json!({"title": format!("{mark} Zürich"), "severity": "critical"}).to_string();
    // The tests' HTTP client would not send such a header.
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nce-specversion: \
         1.0\r\nce-id: {mark}\r\nce-source: /s\r\nce-type: api.outage\r\nce-subject: {mark} Zürich 😀\r\nContent-Length: \
         {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(host).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let accepted: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap().trim()).unwrap();
    assert_eq!(text(&accepted, "/events/0/dedup_key"), format!("{mark} Zürich 😀"));
}
