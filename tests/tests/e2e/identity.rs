//! Users of the identity provider: a JWT of the emulator's Cognito opens what its claims say, and nothing else does.

use serde_json::{Value, json};
use tests::receive::text;
use tests::{Stack, pause, stack};

fn signed_in(stack: &Stack, client: &str, tenants: &str, groups: &[&str]) -> Value {
    let pool = stack.text("/identity/pool_id");
    let mut arguments = vec!["user", &pool, client, tenants];
    arguments.extend(groups);
    let tokens = stack.aws(&arguments);
    stack.secret(&text(&tokens, "/id_token"));
    tokens
}

fn user(stack: &Stack, tenants: &str, groups: &[&str]) -> String {
    text(&signed_in(stack, &stack.text("/identity/client_id"), tenants, groups), "/id_token")
}

#[test]
fn a_jwt_user_manages_the_tenants_of_its_claims_and_is_named_in_the_audit() {
    let stack = stack!();
    let (mine, theirs) = (stack.tenant("enterprise"), stack.tenant("enterprise"));
    let token = user(&stack, &mine.id, &["alerts:manage", "alerts:read", "office"]);
    let settings = stack.call("GET", &mine.path("/settings"), &token, None);
    assert_eq!(settings.status, 200, "{}", settings.body);
    let tag = settings.header("etag").unwrap().to_owned();
    let patch = json!({"alert_window_seconds": 75});
    let path = mine.path("/settings");
    let saved = stack.call_with("PATCH", &path, &token, &[("if-match", &tag)], Some(&patch));
    assert_eq!(saved.status, 200, "{}", saved.body);
    let trail = mine.get("/audit");
    assert_eq!(trail["audit"][0]["what"], "settings.updated");
    assert!(trail["audit"][0]["who"].as_str().unwrap().starts_with("jwt_"), "{trail}");
    assert_eq!(stack.call("GET", &theirs.path("/settings"), &token, None).status, 404);
    let event = json!({"source": "e2e", "type": "api.outage", "title": "t", "tenant_ids": [mine.id]});
    assert_eq!(stack.call("POST", "/v1/incidents", &token, Some(&event)).status, 403, "no such scope");

    let reader = user(&stack, &format!("{},{}", mine.id, theirs.id), &["alerts:read"]);
    for tenant in [&mine, &theirs] {
        assert_eq!(stack.call("GET", &tenant.path("/settings"), &reader, None).status, 200);
    }
    assert_eq!(stack.call("GET", "/v1/tokens", &reader, None).status, 403);
    let monitor = user(&stack, &mine.id, &["incidents:write"]);
    assert_eq!(stack.call("POST", "/v1/incidents", &monitor, Some(&event)).status, 202);
    // Only platform admins reach all tenants.
    let everybody = user(&stack, "*", &["platform:admin"]);
    assert_eq!(stack.call("GET", &theirs.path("/settings"), &everybody, None).status, 200);
}

#[test]
fn a_jwt_with_a_wrong_signature_audience_or_time_is_refused() {
    let stack = stack!();
    let tenant = stack.tenant("enterprise");
    let pool = stack.text("/identity/pool_id");
    let path = tenant.path("/settings");
    let ask = |token: &str| stack.call("GET", &path, token, None);
    let refused = |token: &str, what: &str| {
        let answer = ask(token);
        assert_eq!(answer.status, 401, "{what}: {}", answer.body);
        assert!(answer.header("content-type").unwrap_or_default().starts_with("application/problem+json"), "{what}");
    };
    let groups = ["alerts:read"];
    let tokens = signed_in(&stack, &stack.text("/identity/client_id"), &tenant.id, &groups);
    let good = text(&tokens, "/id_token");
    assert_eq!(ask(&good).status, 200, "the one that is right");
    for how in ["none", "confused", "tampered", "unknown-key"] {
        refused(&text(&stack.aws(&["forge", &good, how]), "/token"), how);
    }
    refused(&text(&tokens, "/access_token"), "an access token, which names no tenants");
    refused(&format!("{good}x"), "a longer signature");
    let client = text(&stack.aws(&["app-client", &pool]), "/client_id");
    let other = text(&signed_in(&stack, &client, &tenant.id, &groups), "/id_token");
    refused(&other, "another application's");
    let foreign = stack.aws(&["pool"]);
    let (pool_id, client_id) = (text(&foreign, "/pool_id"), text(&foreign, "/client_id"));
    let stranger = stack.aws(&["user", &pool_id, &client_id, &tenant.id, "alerts:read"]);
    refused(&text(&stranger, "/id_token"), "another issuer's");
    refused(&user(&stack, "", &groups), "no tenants");
    refused(&user(&stack, "*", &groups), "all tenants without the right to");
    refused(&user(&stack, &tenant.id, &["office"]), "no scopes");
    assert_eq!(ask(&good).status, 200, "the provider's keys are still known");
}

#[test]
fn a_jwt_ends_when_it_says() {
    let stack = stack!();
    let tenant = stack.tenant("starter");
    let (pool, client) = (stack.text("/identity/pool_id"), stack.text("/identity/client_id"));
    let token = text(&stack.aws(&["short-lived", &pool, &client, &tenant.id, "alerts:read"]), "/id_token");
    let path = tenant.path("/settings");
    assert_eq!(stack.call("GET", &path, &token, None).status, 200, "the clocks may be a minute apart");
    pause(64);
    assert_eq!(stack.call("GET", &path, &token, None).status, 401);
}
