//! Access: who may do what, and how everybody else is refused.

use serde_json::{Value, json};
use std::time::Duration;
use tests::receive::text;
use tests::{Stack, in_seconds, stack, unique, wait};

fn event(tenant: &str) -> Value {
    json!({"source": "e2e", "type": "api.outage", "title": "nobody hears this", "tenant_ids": [tenant]})
}

/// A problem as RFC 9457 has it.
fn problem(answer: &tests::http::Response, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.body);
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/problem+json"), "{kind}: {}", answer.body);
    let said = answer.json();
    assert!(said["title"].is_string() && said["detail"].is_string() && said["status"] == status, "{said}");
    said
}

fn named(said: &Value, pointer: &str) {
    let errors = said["errors"].as_array().cloned().unwrap_or_default();
    assert!(errors.iter().any(|error| error["pointer"] == pointer), "{pointer} is not named: {said}");
}

fn poster(stack: &Stack, tenant: &str, more: Value) -> Value {
    let mut body = json!({"name": "e2e", "tenants": [tenant], "scopes": ["incidents:write", "alerts:read"]});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    stack.token(body)
}

#[test]
fn a_request_without_a_valid_token_is_401() {
    let stack = stack!();
    let tenant = stack.tenant("starter");
    let refused = |token: &str, why: &str, challenge: &str| {
        let answer = stack.call("POST", "/v1/incidents", token, Some(&event(&tenant.id)));
        let said = problem(&answer, 401);
        assert_eq!(answer.header("www-authenticate"), Some(challenge), "{why}: {said}");
        assert!(!answer.body.contains("event_id"), "{why}");
    };
    let invalid = "Bearer error=\"invalid_token\"";
    // AWS asks no authorizer about a request without a token, and challenges it with `Bearer` alone. The emulator asks.
    let none = stack.call("POST", "/v1/incidents", "", Some(&event(&tenant.id)));
    let said = problem(&none, 401);
    assert!(none.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")), "{said}");
    refused("x y", "malformed", invalid);
    refused(&"A".repeat(32), "wrong", invalid);
    let issued = poster(&stack, &tenant.id, json!({}));
    let token = text(&issued, "/token");
    assert_eq!(stack.call("POST", "/v1/incidents", &token, Some(&event(&tenant.id))).status, 202);
    let path = format!("/v1/tokens/{}?tenant={}", text(&issued, "/token_id"), tenant.id);
    assert_eq!(stack.call("DELETE", &path, &stack.admin(), None).status, 200);
    let listed = |issued: &Value| {
        let list =
            stack.call("GET", &format!("/v1/tokens?tenant={}&limit=500", tenant.id), &stack.admin(), None).json();
        let tokens = list["tokens"].as_array().unwrap().iter();
        tokens.clone().find(|one| one["token_id"] == issued["token_id"]).cloned().unwrap()
    };
    assert!(listed(&issued).get("refused_at").is_none(), "nobody used it since");
    for _ in 0..3 {
        refused(&token, "revoked", invalid);
    }
    let first = text(&listed(&issued), "/refused_at");
    refused(&token, "revoked", invalid);
    assert_eq!(text(&listed(&issued), "/refused_at"), first, "its owner learns of it once a day");

    let issued = poster(&stack, &tenant.id, json!({"expires_at": in_seconds(6)}));
    let token = text(&issued, "/token");
    assert_eq!(stack.call("POST", "/v1/incidents", &token, Some(&event(&tenant.id))).status, 202);
    tests::pause(8);
    refused(&token, "expired", invalid);
    assert!(listed(&issued)["refused_at"].is_string());
}

#[test]
fn another_tenants_objects_are_404() {
    let stack = stack!();
    let (mine, mut other) = (stack.tenant("enterprise"), stack.tenant("enterprise"));
    let person = other.person("org_admin", &[]);
    let id = stack.post(json!({"type": "api.outage", "title": "theirs", "tenant_ids": [other.id]}));
    let incident = stack.incident_of(&id);
    for path in [
        other.path(""),
        other.path("/settings"),
        other.path("/recipients"),
        other.path(&format!("/recipients/{}", person.id)),
        other.path("/integrations"),
        other.path("/incidents"),
        other.path(&format!("/incidents/{incident}")),
        mine.path(&format!("/incidents/{incident}")),
        mine.path(&format!("/recipients/{}", person.id)),
        format!("/v1/incidents/{incident}"),
        format!("/v1/events/{id}"),
        format!("/v1/tokens?tenant={}", other.id),
    ] {
        drop(problem(&stack.call("GET", &path, &mine.token, None), 404));
    }
    let update = json!({"message": "mine now"});
    let path = format!("/v1/incidents/{incident}/updates");
    drop(problem(&stack.call("POST", &path, &mine.token, Some(&update)), 404));
    drop(problem(&stack.call("POST", "/v1/incidents", &mine.token, Some(&event(&other.id))), 403));
    let steal = json!({"name": "steal", "scopes": ["alerts:read"], "tenants": [other.id]});
    drop(problem(&stack.call("POST", "/v1/tokens", &mine.token, Some(&steal)), 422));
    let raise = json!({"name": "raise", "scopes": ["platform:admin"], "tenants": [mine.id]});
    drop(problem(&stack.call("POST", "/v1/tokens", &mine.token, Some(&raise)), 422));
}

#[test]
fn a_token_can_do_only_what_its_scopes_allow() {
    let stack = stack!();
    let tenant = stack.tenant("enterprise");
    let writer = text(&poster(&stack, &tenant.id, json!({"scopes": ["incidents:write"]})), "/token");
    let reader = text(&poster(&stack, &tenant.id, json!({"scopes": ["alerts:read"]})), "/token");
    drop(problem(&stack.call("GET", &tenant.path("/incidents"), &writer, None), 403));
    drop(problem(&stack.call("POST", "/v1/incidents", &reader, Some(&event(&tenant.id))), 403));
    let wide = json!({"source": "e2e", "type": "api.outage", "title": "everybody", "platform": true});
    drop(problem(&stack.call("POST", "/v1/incidents", &writer, Some(&wide)), 403));
    let person = json!({"name": "n", "email": "a@b.test", "roles": ["org_admin"]});
    drop(problem(&stack.call("POST", &tenant.path("/recipients"), &reader, Some(&person)), 403));
    drop(problem(&stack.call("PUT", "/v1/tenants/new-one", &tenant.token, Some(&json!({"name": "n"}))), 403));
}

#[test]
fn only_tokens_with_incidents_platform_write_on_the_status_page() {
    let stack = stack!();
    let tenant = stack.tenant("enterprise");
    let mark = unique();
    let said = |public: bool, status: &str| {
        json!({"source": "e2e", "type": "api.outage", "severity": "info", "title": format!("{mark} title"), "dedup_key": mark,
            "message": format!("{mark} {status}"), "tenant_ids": [tenant.id], "public": public, "status": status})
    };
    let post = |token: &str, event: &Value| stack.call("POST", "/v1/incidents", token, Some(event));
    let refused = problem(&post(&tenant.token, &said(true, "investigating")), 403);
    named(&refused, "/public");
    assert!(refused["detail"].as_str().unwrap().contains("incidents:platform"), "{refused}");
    let hidden = stack.incident_of(&stack.post_as(&tenant.token, said(false, "investigating")));
    // Operators may publish a tenant's incident. Later public texts are then theirs too.
    let id = stack.incident_of(&stack.post(said(true, "investigating")));
    let public = |id: &str| stack.call("GET", &format!("/status/incidents/{id}"), "", None);
    let page = tests::wait("its public page", std::time::Duration::from_secs(60), || {
        Some(public(&id).body).filter(|page| page.contains(&mark))
    });
    assert_eq!(page.matches(&format!("{mark} title</h1>")).count(), 1, "{page}");
    // They may keep a later update's text from the page, which then shows its status only.
    drop(stack.event(&stack.post(said(false, "identified"))));
    let page = tests::wait("its second line", std::time::Duration::from_secs(60), || {
        Some(public(&id).body).filter(|page| page.contains("Identified"))
    });
    assert!(page.contains(&format!("{mark} investigating")) && !page.contains(&format!("{mark} identified")), "{page}");
    let words = json!({"message": "Hacked"});
    drop(problem(&stack.call("POST", &format!("/v1/incidents/{id}/updates"), &tenant.token, Some(&words)), 403));
    drop(stack.event(&stack.post(said(true, "resolved"))));
    assert_eq!(public(&hidden).status, 404);
    let listed = tenant.get("/incidents");
    let ours = listed["incidents"].as_array().unwrap().iter().filter(|one| one["tenant_id"] == tenant.id.as_str());
    assert_eq!(ours.count(), 2, "what was refused made no incident: {listed}");
}

#[test]
fn an_invalid_body_is_answered_with_the_wrong_field() {
    let stack = stack!();
    let tenant = stack.tenant("starter");
    let token = stack.monitor();
    let post = |body: &[u8]| stack.raw("POST", "/v1/incidents", &token, &[], Some(body));
    drop(problem(&post(b"{\"source\": \"e2e\", "), 400));
    let with = |name: &str, value: Value| {
        let mut event = event(&tenant.id);
        event[name] = value;
        post(event.to_string().as_bytes())
    };
    let said = problem(&with("tenant_id", json!("acme")), 422);
    assert!(said.to_string().contains("tenant_id"), "{said}");
    named(&problem(&with("tenant_ids", json!([format!("no-{}", unique())])), 422), "/tenant_ids/0");
    named(&problem(&with("tenant_ids", json!(["Not A Tenant"])), 422), "/tenant_ids/0");
    named(&problem(&with("tenant_ids", json!([])), 422), "/tenant_ids");
    named(&problem(&with("title", json!("")), 422), "/title");
    named(&problem(&with("links", json!([{"href": "http://x.test", "text": "x"}])), 422), "/links/0/href");
    // Types that are always about one tenant cannot be platform-wide.
    for event_type in ["webhook.failing", "wallet.low_balance"] {
        let wide = json!({"source": "e2e", "type": event_type, "title": "t", "platform": true});
        named(&problem(&post(wide.to_string().as_bytes()), 422), "/platform");
    }
    let large = json!({"source": "e2e", "type": "api.outage", "title": "t", "tenant_ids": [tenant.id],
        "message": "x".repeat(600 * 1024)});
    drop(problem(&post(large.to_string().as_bytes()), 413));
    // After all refusals, the next valid event is accepted.
    assert_eq!(with("title", json!("good")).status, 202);
}

#[test]
fn an_idempotency_key_is_one_event_and_one_alert() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("tech_devops", &[]));
    let (mark, key) = (unique(), unique());
    let body =
        json!({"source": "e2e", "type": "api.outage", "title": format!("{mark} once"), "tenant_ids": [tenant.id]});
    let post = |body: &Value| {
        stack.call_with("POST", "/v1/incidents", &stack.monitor(), &[("idempotency-key", &key)], Some(body))
    };
    let first = post(&body).json();
    for _ in 0..3 {
        let again = post(&body);
        assert_eq!((again.status, again.json()), (202, first.clone()));
    }
    let incident = stack.incident_of(first["event_id"].as_str().unwrap());
    drop(tenant.settled(&incident, 1));
    tenant.expect(&mark, &["tech_devops email"], 5);
    let mut other = body.clone();
    other["title"] = json!("another");
    named(&problem(&post(&other), 422), "header:Idempotency-Key");
}

#[test]
fn an_integration_url_with_a_private_address_is_refused() {
    let stack = stack!();
    let tenant = stack.tenant("enterprise");
    for url in [
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/hook",
        "https://127.0.0.1/hook",
        "https://[::1]/hook",
        "https://[::ffff:10.0.0.1]/hook",
        "https://2130706433/hook",
        "https://localhost/hook",
        "http://example.com/hook",
        "https://user:pass@example.com/hook",
    ] {
        let body = json!({"name": "inside", "kind": "webhook", "url": url, "audiences": ["org_admin"]});
        let answer = stack.call("POST", &tenant.path("/integrations"), &tenant.token, Some(&body));
        named(&problem(&answer, 422), "/url");
        assert!(!answer.body.contains("169.254") && !answer.body.contains("pass@"), "{}", answer.body);
    }
}

#[test]
fn a_secret_is_shown_once_and_a_url_never() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let hook = tenant.endpoint("webhook", "org_admin");
    assert!(hook.secret.starts_with("whsec_"));
    for path in ["/integrations".to_owned(), format!("/integrations/{}", hook.id)] {
        let read = tenant.get(&path).to_string();
        assert!(!read.contains("whsec_") && !read.contains(&hook.path), "{read}");
    }
}

#[test]
fn a_write_needs_the_etag_of_the_version_it_is_based_on() {
    let stack = stack!();
    let tenant = stack.tenant("enterprise");
    let path = tenant.path("/settings");
    let patch = json!({"alert_window_seconds": 90});
    let put = |headers: &[(&str, &str)]| stack.call_with("PATCH", &path, &tenant.token, headers, Some(&patch));
    drop(problem(&put(&[]), 428));
    let tag = stack.call("GET", &path, &tenant.token, None).header("etag").unwrap().to_owned();
    assert_eq!(put(&[("if-match", &tag)]).status, 200);
    drop(problem(&put(&[("if-match", &tag)]), 412));
}

/// Issues a token with another one.
fn made_with(stack: &Stack, parent: &str, body: &Value) -> Value {
    let answer = stack.call("POST", "/v1/tokens", parent, Some(body));
    assert_eq!(answer.status, 201, "{}", answer.body);
    let issued = answer.json();
    stack.secret(&text(&issued, "/token"));
    issued
}

#[test]
fn revoking_a_token_revokes_what_was_made_with_it_and_a_rotation_does_not() {
    let stack = stack!();
    let tenant = stack.tenant("business");
    let body = |name: &str, scopes: &[&str]| json!({"name": name, "scopes": scopes, "tenants": [tenant.id]});
    let parent = made_with(&stack, &tenant.token, &body("parent", &["alerts:manage"]));
    let child = made_with(&stack, &text(&parent, "/token"), &body("child", &["alerts:manage"]));
    let grandchild = made_with(&stack, &text(&child, "/token"), &body("grandchild", &["alerts:read"]));
    assert_eq!(child["issued_by"], parent["integration_id"]);
    let works = |token: &Value| stack.call("GET", &tenant.path("/settings"), &text(token, "/token"), None).status;
    let path =
        |token: &Value, rest: &str| format!("/v1/tokens/{}{rest}?tenant={}", text(token, "/token_id"), tenant.id);

    // A rotation keeps the identity, and with it the children.
    let rotated = stack.call("POST", &path(&parent, "/rotate"), &tenant.token, None);
    assert_eq!(rotated.status, 201, "{}", rotated.body);
    let rotated = rotated.json();
    stack.secret(&text(&rotated, "/token"));
    assert_eq!((works(&child), works(&grandchild)), (200, 200));

    let kept = stack.call("DELETE", &format!("{}&children=keep", path(&child, "")), &tenant.token, None);
    assert_eq!((kept.status, kept.json()["revoked"].as_array().unwrap().len()), (200, 1), "{}", kept.body);
    assert_eq!(works(&grandchild), 200, "it is the caller's now");
    let second = made_with(&stack, &text(&rotated, "/token"), &body("second", &["alerts:read"]));
    let ended = stack.call("DELETE", &path(&rotated, ""), &tenant.token, None);
    let revoked = ended.json()["revoked"].clone();
    assert_eq!(revoked, json!([rotated["token_id"], second["token_id"]]), "{}", ended.body);
    wait("the authorizer to refuse it", Duration::from_secs(30), || (works(&second) == 401).then_some(()));
    assert_eq!(works(&grandchild), 200);
    assert_eq!(
        stack.call("DELETE", &format!("{}&children=drop", path(&grandchild, "")), &tenant.token, None).status,
        422
    );
}

#[test]
fn a_leaked_token_leaves_nothing_behind_by_rotating() {
    let stack = stack!();
    let tenant = stack.tenant("business");
    let body = |name: &str| json!({"name": name, "scopes": ["alerts:manage"], "tenants": [tenant.id]});
    let works = |token: &Value| stack.call("GET", &tenant.path("/settings"), &text(token, "/token"), None).status;
    let path =
        |token: &Value, rest: &str| format!("/v1/tokens/{}{rest}?tenant={}", text(token, "/token_id"), tenant.id);
    let rotate = |token: &Value, with: &Value, body: Option<&Value>| {
        let answer = stack.call("POST", &path(token, "/rotate"), &text(with, "/token"), body);
        assert_eq!(answer.status, 201, "{}", answer.body);
        let rotated = answer.json();
        stack.secret(&text(&rotated, "/token"));
        rotated
    };
    let leaked = made_with(&stack, &tenant.token, &body("leaked"));
    let child = made_with(&stack, &text(&leaked, "/token"), &body("child"));
    // A child that rotates its parent makes a circle of the two, and one that keeps itself would, too.
    let other = made_with(&stack, &tenant.token, &body("other"));
    let taken = rotate(&other, &leaked, None);
    let kept = stack.call("DELETE", &format!("{}&children=keep", path(&leaked, "")), &text(&child, "/token"), None);
    assert_eq!(kept.status, 409, "{}", kept.body);
    let successor = rotate(&leaked, &child, Some(&json!({"old_valid_seconds": 3_600})));

    let first = stack.call("DELETE", &path(&leaked, ""), &tenant.token, None);
    assert_eq!(first.json()["still_valid"], json!([successor["token_id"]]), "{}", first.body);
    let second = stack.call("DELETE", &path(&successor, ""), &tenant.token, None);
    let mut revoked: Vec<String> = serde_json::from_value(second.json()["revoked"].clone()).unwrap();
    let mut expected = [&successor, &child, &taken].map(|token| text(token, "/token_id"));
    revoked.sort();
    expected.sort();
    assert_eq!(revoked, expected, "{}", second.body);
    wait("the authorizer to refuse it", Duration::from_secs(30), || {
        [&leaked, &child, &taken, &successor].iter().all(|token| works(token) == 401).then_some(())
    });
}

#[test]
fn a_token_acts_on_no_token_that_it_could_not_have_made_and_outlives_no_parent() {
    let stack = stack!();
    let tenant = stack.tenant("business");
    // A manager of the operators' own tenant, beside tokens that reach beyond it.
    let manager = stack.token(json!({"name": "desk", "scopes": ["alerts:manage"], "tenants": ["platform"]}));
    let wide = stack.token(json!({"name": "wide", "scopes": ["incidents:write"], "tenants": "*"}));
    let path = format!("/v1/tokens/{}?tenant=platform", text(&wide, "/token_id"));
    assert_eq!(stack.call("DELETE", &path, &text(&manager, "/token"), None).status, 403);
    let listed = stack.call("GET", "/v1/tokens?tenant=platform&limit=500", &text(&manager, "/token"), None).json();
    let listed = listed["tokens"].as_array().unwrap().clone();
    assert!(listed.iter().all(|token| token["tenants"] == json!(["platform"])), "{listed:?}");
    assert!(listed.iter().any(|token| token["token_id"] == manager["token_id"]));

    let ends = "2099-01-01T00:00:00Z";
    let body = json!({"name": "parent", "scopes": ["alerts:manage"], "tenants": [tenant.id], "expires_at": ends});
    let parent = made_with(&stack, &tenant.token, &body);
    let child = made_with(
        &stack,
        &text(&parent, "/token"),
        &json!({"name": "c", "scopes": ["alerts:read"], "tenants": [tenant.id]}),
    );
    assert_eq!(child["expires_at"], ends);
    let longer =
        json!({"name": "c", "scopes": ["alerts:read"], "tenants": [tenant.id], "expires_at": "2099-01-02T00:00:00Z"});
    let refused = stack.call("POST", "/v1/tokens", &text(&parent, "/token"), Some(&longer));
    assert_eq!(refused.status, 422, "{}", refused.body);
    named(&refused.json(), "/expires_at");
}

#[test]
fn a_token_that_can_only_post_sees_and_resolves_what_its_own_source_opened() {
    let stack = stack!();
    let tenant = stack.tenant("business");
    let post_only = || text(&poster(&stack, &tenant.id, json!({"scopes": ["incidents:write"]})), "/token");
    let (own, other) = (post_only(), post_only());
    let incident = stack.incident_of(&stack.post_as(&own, event(&tenant.id)));
    let path = format!("/v1/incidents/{incident}");
    let status = |token: &str| stack.call("GET", &path, token, None).status;
    assert_eq!((status(&own), status(&other), status(&tenant.token)), (200, 404, 200));
    let update = |token: &str| {
        let body = json!({"status": "resolved", "message": "over"});
        stack.call("POST", &format!("{path}/updates"), token, Some(&body)).status
    };
    assert_eq!((update(&other), update(&own)), (404, 202));
}
