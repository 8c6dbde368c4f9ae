//! What the ledger tells over all incidents: the delivery log, sending again, the support bundle, the audit trail, the catalogue.

use serde_json::{Value, json};
use std::time::Duration;
use tests::{stack, unique, wait};

#[test]
fn a_failed_delivery_is_found_sent_again_and_in_the_support_bundle() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("org_admin", &[]);
    let hook = tenant.endpoint("webhook", "org_admin");
    let title = unique();
    stack.behave(&hook.path, json!({"status": 410, "body": "gone, ask root@example.com at https://x.example/y"}));
    let event = json!({"type": "api.outage", "severity": "error", "title": title, "tenant_ids": [tenant.id]});
    let incident = stack.incident_of(&stack.post(event));
    drop(tenant.settled(&incident, 1));

    let log = tenant.get(&format!("/deliveries?outcome=failed&integration_id={}", hook.id));
    let lines = log["deliveries"].as_array().unwrap();
    assert_eq!(lines.len(), 1, "{log:#}");
    assert_eq!((&lines[0]["incident_id"], &lines[0]["title"]), (&json!(incident), &json!(title)));
    assert_eq!((&lines[0]["reason"], &lines[0]["attempts"][0]["status"]), (&json!("endpoint_disabled"), &json!(410)));
    let all = tenant.get("/deliveries");
    let of_incident = |line: &&Value| line["incident_id"] == incident.as_str();
    let all = all["deliveries"].as_array().unwrap().iter().filter(of_incident).count();
    assert_eq!(all, 3, "e-mail, SMS and the webhook");

    let resend = |body: Value| {
        let path = tenant.path(&format!("/incidents/{incident}/resend"));
        stack.call("POST", &path, &tenant.token, Some(&body))
    };
    let again = json!({"integration_id": hook.id, "channel": "webhook"});
    let refused = resend(again.clone());
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body.contains("endpoint_disabled"), "{}", refused.body);
    let destination = json!({"recipient_id": person.id, "channel": "email"});
    assert_eq!(resend(destination).status, 409, "it was accepted, so there is nothing to send again");
    assert_eq!(resend(json!({"channel": "email"})).json()["errors"][0]["pointer"], "/recipient_id");

    let support = format!("/incidents/{incident}/support");
    let bundle = tenant.get(&support);
    let of_hook = |entry: &&Value| entry["integration_id"] == hook.id.as_str();
    let decision = bundle["decisions"].as_array().unwrap().iter().find(of_hook).unwrap();
    assert_eq!(decision["attempts"][0]["response"], "gone, ask [redacted] at [redacted]");
    assert_eq!((&bundle["tenant_id"], &bundle["incident"]["incident_id"]), (&json!(tenant.id), &json!(incident)));
    assert!(
        bundle["correlation_ids"][0].is_string() && bundle["channels"].as_array().unwrap().len() == 3,
        "{bundle:#}"
    );
    let page = stack.call("GET", &tenant.path(&format!("{support}?format=html")), &tenant.token, None);
    assert!(page.status == 200 && page.body.contains(&title) && page.body.contains("[redacted]"), "{}", page.body);
    assert!(!page.body.contains("root@example.com"));

    stack.behave(&hook.path, json!({"status": 200}));
    assert_eq!(tenant.patch(&format!("/integrations/{}", hook.id), &json!({"enabled": true})).status, 200);
    let accepted = resend(again.clone());
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    assert_eq!(resend(again).status, 409, "it is on its way");
    let outcome = || {
        let known = tenant.get(&format!("/incidents/{incident}/explain"));
        let entries = known["decisions"].as_array().unwrap();
        entries.iter().find(of_hook).unwrap()["outcome"].as_str().unwrap().to_owned()
    };
    assert_ne!(outcome(), "failed", "a resent delivery is no longer failed");
    wait("the delivery that was sent again", Duration::from_secs(100), || (outcome() == "delivered").then_some(()));
    assert_eq!(stack.inbox(&hook.path).len(), 2);

    // A successful delivery marks the endpoint as recovered.
    let trail = wait("the endpoint to be noted as well", Duration::from_secs(30), || {
        let trail = tenant.get("/audit?limit=4");
        (trail["audit"][0]["what"] == "integration.recovered").then_some(trail)
    });
    let what: Vec<&str> =
        trail["audit"].as_array().unwrap().iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["integration.recovered", "delivery.resent", "integration.updated", "integration.disabled"]);
    let rest = tenant.get(&format!("/audit?cursor={}", trail["next"].as_str().unwrap()));
    assert!(rest["audit"].as_array().unwrap().iter().any(|entry| entry["what"] == "recipient.created"), "{rest:#}");
}

#[test]
fn the_delivery_log_is_paged_and_shows_one_tenant_only() {
    let stack = stack!();
    let mut tenant = stack.tenant("starter");
    drop(tenant.person("org_admin", &[]));
    let posted: Vec<String> = (0..12)
        .map(|_| stack.post(json!({"type": "api.outage", "title": unique(), "tenant_ids": [tenant.id]})))
        .collect();
    for event in &posted {
        drop(tenant.settled(&stack.incident_of(event), 1));
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = tenant.get(&format!("/deliveries?channel=email&limit=5{cursor}"));
        let of_page = page["deliveries"].as_array().unwrap();
        found.extend(of_page.iter().map(|line| line["incident_id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let wanted: std::collections::BTreeSet<String> = posted.iter().map(|event| stack.incident_of(event)).collect();
    // Platform-wide incidents of other tests that run at the same time are listed too.
    let own: Vec<&String> = found.iter().filter(|id| wanted.contains(*id)).collect();
    assert_eq!(own.len(), 12, "each once: {found:?}");
    let other = stack.tenant("starter");
    for path in ["/deliveries", "/audit", "/catalogue"] {
        assert_eq!(stack.call("GET", &tenant.path(path), &other.token, None).status, 404, "{path}");
    }
    let catalogue = tenant.get("/catalogue");
    assert_eq!(catalogue["plan"]["channels"], json!(["email"]));
    assert_eq!(catalogue["senders"]["email_from"], "alerts@tocsin.test");
    assert_eq!(catalogue["matrix"]["org_admin"]["configurable"]["email"], "opt_in");
}

#[test]
fn people_and_endpoints_are_listed_in_pages() {
    let stack = stack!();
    let mut tenant = stack.tenant("business");
    for _ in 0..5 {
        drop(tenant.person("org_admin", &[]));
        drop(tenant.endpoint("webhook", "org_admin"));
    }
    for list in ["recipients", "integrations"] {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        for page in 0.. {
            let answer = tenant.get(&format!("/{list}?limit=2{cursor}"));
            let of_page = answer[list].as_array().unwrap();
            assert!(of_page.len() <= 2 && page < 3, "{answer:#}");
            ids.extend(of_page.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()));
            match answer["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let once: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert_eq!((ids.len(), once.len()), (5, 5), "{ids:?}");
    }
    let wrong = stack.call("GET", &tenant.path("/recipients?limit=0&cursor=x"), &tenant.token, None).json();
    assert_eq!(wrong["errors"].as_array().unwrap().len(), 2, "{wrong}");
}
