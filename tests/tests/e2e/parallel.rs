//! Requests at the same time: many admins, or one impatient script.

use serde_json::{Value, json};
use std::thread;
use tests::receive::text;
use tests::{Stack, stack, unique};

/// Requests at the same time.
const AT_ONCE: usize = 20;

/// Sends a POST with each body at the same time, and returns the answers' statuses with the bodies of those that are not 201.
fn create_all(stack: &Stack, path: &str, token: &str, bodies: &[Value]) -> Vec<(u16, String)> {
    thread::scope(|scope| {
        let all: Vec<_> =
            bodies.iter().map(|body| scope.spawn(|| stack.call("POST", path, token, Some(body)))).collect();
        let answers = all.into_iter().map(|one| one.join().unwrap());
        answers.map(|answer| (answer.status, if answer.status == 201 { String::new() } else { answer.body })).collect()
    })
}

#[test]
fn twenty_creates_at_the_same_time_in_one_tenant_all_succeed() {
    let stack = stack!();
    let tenant = stack.tenant("enterprise");
    let made = vec![(201, String::new()); AT_ONCE];
    let mark = unique();
    let bodies = |body: &dyn Fn(usize) -> Value| (0..AT_ONCE).map(body).collect::<Vec<Value>>();
    let recipients =
        bodies(&|n| json!({"name": "R", "email": format!("{mark}{n}@{mark}.test"), "roles": ["tech_devops"]}));
    assert_eq!(create_all(&stack, &tenant.path("/recipients"), &tenant.token, &recipients), made);
    let receivers = stack.text("/receivers_url");
    let integrations = bodies(
        &|n| json!({"name": "I", "kind": "webhook", "url": format!("{receivers}/webhook/{mark}{n}"), "audiences": ["tech_devops"]}),
    );
    assert_eq!(create_all(&stack, &tenant.path("/integrations"), &tenant.token, &integrations), made);
    // All of them made with one token, which each of the writes checks.
    let tokens = bodies(&|n| json!({"name": format!("{mark}{n}"), "scopes": ["alerts:read"], "tenants": [tenant.id]}));
    assert_eq!(create_all(&stack, "/v1/tokens", &tenant.token, &tokens), made);

    let listed = |path: &str, list: &str| tenant.get(path)[list].as_array().unwrap().len();
    assert_eq!(listed("/recipients", "recipients"), AT_ONCE);
    assert_eq!(listed("/integrations", "integrations"), AT_ONCE);
    let list = stack.call("GET", &format!("/v1/tokens?tenant={}&limit=500", tenant.id), &tenant.token, None).json();
    let own = list["tokens"].as_array().unwrap().iter().filter(|one| text(one, "/name").starts_with(&mark));
    assert_eq!(own.count(), AT_ONCE);
    // Whoever would be notified is compiled from all of them.
    let explained = tenant.stack.call(
        "POST",
        &tenant.path("/explain"),
        &tenant.token,
        Some(&json!({"source": "e2e", "type": "api.outage", "title": "t", "severity": "critical"})),
    );
    let decisions = explained.json()["decisions"].as_array().unwrap().len();
    assert!(decisions >= 2 * AT_ONCE, "{decisions}: {}", explained.body);
}
