//! Platform-wide incidents, which reach every tenant. nextest runs one of these tests at a time.

#[path = "status_page.rs"]
mod status_page;

use domain::ids::TenantId;
use serde_json::{Value, json};
use std::time::Duration;
use tests::receive::text;
use tests::{Stack, stack, today, unique, wait};

#[test]
fn a_platform_wide_incident_reaches_every_tenant_by_its_own_settings() {
    let stack = stack!();
    let full = stack.full_tenant();
    let mut starter = stack.tenant("starter");
    drop(starter.person("org_admin", &[]));
    let mut off = stack.tenant("enterprise");
    drop(off.person("org_admin", &[]));
    off.set(json!({"categories": {"infrastructure": {"enabled": false}}}));
    let mark = unique();
    let event = stack.post(json!({"type": "carrier.outage", "severity": "critical", "platform": true,
        "title": format!("{mark} carrier"), "components": ["voice"]}));
    let known = stack.event(&event);
    assert_eq!(known["incidents"][0]["tenant_id"], json!(null), "{known}");
    let incident = stack.incident_of(&event);
    for tenant in [&full, &starter, &off] {
        drop(tenant.settled(&incident, 1));
    }
    full.expect(&mark, super::pipeline::INFRASTRUCTURE, 4);
    starter.expect(&mark, &["org_admin email"], 0);
    off.expect(&mark, &[], 0);
    let decisions = off.decisions(&off.incident(&incident), 1);
    assert!(decisions.values().all(|what| what == "category_disabled"), "{decisions:?}");
    let decisions = starter.decisions(&starter.incident(&incident), 1);
    assert_eq!(decisions["org_admin sms"], "plan_excludes_channel");
    // The demo tenants are tenants as well.
    for tenant in ["acme", "globex", "initech"] {
        let person = stack.text(&format!("/demo/{tenant}/recipients/2/email"));
        wait("the demo tenants' mails", Duration::from_secs(60), || {
            let count = stack.mails(&mark).iter().filter(|mail| mail.to == person).count();
            assert!(count <= 1, "{tenant}");
            (count == 1).then_some(())
        });
    }
    // In the list of each, merged in.
    let list = starter.get("/incidents");
    assert!(list["incidents"].as_array().unwrap().iter().any(|one| one["incident_id"] == incident.as_str()), "{list}");

    let page = stack.call("GET", "/status", "", None);
    assert!(page.status == 200 && page.body.contains(&mark), "it is on the status page");
    let own = stack.call("GET", &format!("/status/incidents/{incident}"), "", None);
    assert!(own.status == 200 && own.body.contains(&mark), "{}", own.status);
    // A public incident's mail leads to its public page.
    assert!(stack.mails(&mark).iter().all(|mail| mail.text.contains("/status/incidents/")));
}

/// A tenant whose subscription cannot be read, as long as this lives.
struct Unreadable<'a> {
    stack: &'a Stack,
    key: Value,
}

impl<'a> Unreadable<'a> {
    /// In the shard of another tenant, and before it: a page that cannot be read would be theirs together.
    fn beside(stack: &'a Stack, other: &str) -> Self {
        let shard = TenantId::parse(other).unwrap().shard();
        let names = (0..).map(|number| TenantId::parse(&format!("0-{}-{number}", unique())).unwrap());
        let tenant = names.into_iter().find(|name| name.shard() == shard).unwrap();
        let (pk, sk) = (format!("SUBS#infrastructure#{shard:02}"), format!("{tenant}#0000"));
        let key = json!({"pk": {"S": pk}, "sk": {"S": sk}});
        let mut item = key.clone();
        item["tenant"] = json!({"S": tenant});
        item["destinations"] = json!({"S": "of another version"});
        let put = json!({"TableName": stack.text("/table"), "Item": item}).to_string();
        let _ = stack.aws(&["call", "dynamodb", "PutItem", &put]);
        Self { stack, key }
    }
}

impl Drop for Unreadable<'_> {
    fn drop(&mut self) {
        let delete = json!({"TableName": self.stack.text("/table"), "Key": self.key}).to_string();
        let _ = self.stack.aws(&["call", "dynamodb", "DeleteItem", &delete]);
    }
}

#[test]
fn one_tenants_unreadable_subscription_costs_no_other_tenant_an_alert() {
    let stack = stack!();
    let full = stack.full_tenant();
    let _broken = Unreadable::beside(&stack, &full.id);
    let mark = unique();
    let event = stack.post(json!({"type": "carrier.outage", "severity": "critical", "platform": true,
        "title": format!("{mark} carrier"), "components": ["voice"]}));
    let incident = stack.incident_of(&event);
    drop(full.settled(&incident, 1));
    full.expect(&mark, super::pipeline::INFRASTRUCTURE, 0);
    // And the one is no silent loss: its own job is a dead letter, which alarms, and can be redriven when the item is mended.
    let letters = json!({"list": {"function": "subscription-lookup", "day": today()}}).to_string();
    let letter: Value = wait("the dead letter", Duration::from_secs(60), || {
        let list = stack.aws(&["invoke", &stack.text("/functions/DeadLetterFunction"), &letters]);
        let letters = list["letters"].as_array().cloned().unwrap_or_default();
        letters.into_iter().find(|one| text(one, "/reason").contains("a subscription"))
    });
    assert!(text(&letter, "/source_queue").contains("SubscriptionLookupQueue"), "{letter}");
}

#[test]
fn a_host_name_in_an_annotation_is_on_no_public_route() {
    let stack = stack!();
    let mut tenant = stack.tenant("starter");
    drop(tenant.person("tech_devops", &[]));
    let host = format!("db-{}.internal.example", unique());
    let labels = json!({"alertname": "database.degraded", "tenant": "*", "severity": "critical", "component": "database",
        "instance": format!("{host}:9100")});
    let annotations = json!({"summary": format!("{host} is slow"), "description": format!("{host} answers late")});
    let body = super::alertmanager::notification(&labels, &annotations);
    let answer = stack.call("POST", "/v1/intake/alertmanager", &stack.monitor(), Some(&body));
    assert_eq!(answer.status, 202, "{}", answer.body);
    let event = text(&answer.json(), "/events/0/event_id");
    let incident = stack.incident_of(&event);
    drop(tenant.settled(&incident, 1));
    tenant.expect(&host, &["tech_devops email"], 0);
    let mut pages = String::new();
    for path in ["/status".to_owned(), format!("/status/incidents/{incident}")] {
        let page = stack.call("GET", &path, "", None);
        assert_eq!(page.status, 200, "{path}");
        pages.push_str(&page.body);
    }
    assert!(!pages.contains(&host) && !pages.contains("internal.example"), "{pages}");
    assert!(pages.contains("A database is slow or unavailable."), "the page has the rule's public sentence: {pages}");
}

#[test]
fn the_status_page_shows_public_incidents_and_nothing_of_a_tenant() {
    let stack = stack!();
    let tenant = stack.full_tenant();
    let (secret, shown, key) = (unique(), unique(), unique());
    let own =
        stack.post(json!({"type": "api.outage", "title": format!("{secret} private"), "tenant_ids": [tenant.id]}));
    drop(tenant.settled(&stack.incident_of(&own), 1));
    let event = |status: &str| {
        stack.post(
            json!({"type": "api.outage", "severity": "critical", "title": format!("{secret} raw"), "platform": true,
            "public_title": format!("{shown} title"), "public_message": format!("{shown} words"), "status": status,
            "dedup_key": key}),
        )
    };
    let incident = stack.incident_of(&event("investigating"));
    drop(tenant.settled(&incident, 1));
    let page = stack.call("GET", "/status", "", None);
    assert!(page.body.contains(&format!("{shown} title")) && page.body.contains(&format!("{shown} words")));
    assert!(!page.body.contains(&secret) && !page.body.contains(&tenant.id));
    assert!(!page.body.contains("<script"), "no script on a public page");
    drop(stack.event(&event("resolved")));
    drop(tenant.settled(&incident, 2));
    let one = stack.call("GET", &format!("/status/incidents/{incident}"), "", None);
    assert!(one.body.contains("Resolved") && !one.body.contains(&secret), "{}", one.body);
}
