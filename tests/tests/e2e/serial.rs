//! Platform-wide incidents, which reach every tenant. nextest runs one of these tests at a time.

#[path = "status_page.rs"]
mod status_page;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::AttributeValue::S;
use domain::ids::TenantId;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use tests::receive::text;
use tests::tenant::Tenant;
use tests::{Stack, stack, unique, wait};

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

/// Two tenants of the same shard with one recipient each. A platform-wide job reads their subscriptions together.
fn neighbors(stack: &Stack) -> (Tenant, Tenant) {
    let shard = |tenant: &Tenant| TenantId::parse(&tenant.id).unwrap().shard();
    let mut others: Vec<Tenant> = Vec::new();
    loop {
        let mut new = stack.tenant("starter");
        if let Some(place) = others.iter().position(|other| shard(other) == shard(&new)) {
            let mut other = others.swap_remove(place);
            drop((other.person("org_admin", &[]), new.person("org_admin", &[])));
            return (other, new);
        }
        others.push(new);
    }
}

#[test]
fn one_tenants_unreadable_subscription_costs_nobody_an_alert() {
    let stack = stack!();
    let (broken, other) = neighbors(&stack);
    let pk = format!("SUBS#infrastructure#{:02}", TenantId::parse(&broken.id).unwrap().shard());
    let key = [("pk", pk), ("sk", format!("{}#0000", broken.id))].map(|(name, value)| (name.to_owned(), S(value)));
    let key: HashMap<String, AttributeValue> = key.into();
    let client = aws_sdk_dynamodb::Client::new(&crate::rows::config(&stack));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = stack.text("/table");
    let item = runtime.block_on(client.get_item().table_name(&table).set_key(Some(key)).send()).unwrap().item.unwrap();
    let put = |item: HashMap<String, AttributeValue>| {
        runtime.block_on(client.put_item().table_name(&table).set_item(Some(item)).send()).unwrap();
    };
    // As a later version may write it, while this one is not replaced yet.
    put(item.clone().into_iter().chain([("destinations".to_owned(), S("in another form".to_owned()))]).collect());
    let mark = unique();
    let event = stack.post(json!({"type": "carrier.outage", "severity": "critical", "platform": true,
        "title": format!("{mark} carrier"), "components": ["voice"]}));
    let incident = stack.incident_of(&event);
    drop(other.settled(&incident, 1));
    other.expect(&mark, &["org_admin email"], 0);
    broken.expect(&mark, &[], 0);
    put(item);
    drop(broken.settled_within(&incident, 1, Duration::from_secs(90)));
    broken.expect(&mark, &["org_admin email"], 0);
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
    let own = format!("/status/incidents/{incident}");
    // The list links to it, and its own page has the rule's public sentence.
    for (path, shown) in [("/status", incident.as_str()), (own.as_str(), "A database is slow or unavailable.")] {
        let page = wait("the incident on the page", Duration::from_secs(20), || {
            let page = stack.call("GET", path, "", None);
            (page.status == 200 && page.body.contains(shown)).then_some(page.body)
        });
        assert!(!page.contains(&host) && !page.contains("internal.example"), "{page}");
    }
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
    // A read counts for five seconds in a warm function.
    let page = wait("the incident on the page", Duration::from_secs(20), || {
        let page = stack.call("GET", "/status", "", None);
        (page.body.contains(&format!("{shown} title")) && page.body.contains(&format!("{shown} words"))).then_some(page)
    });
    assert!(!page.body.contains(&secret) && !page.body.contains(&tenant.id));
    assert!(!page.body.contains("<script"), "no script on a public page");
    drop(stack.event(&event("resolved")));
    drop(tenant.settled(&incident, 2));
    let one = stack.call("GET", &format!("/status/incidents/{incident}"), "", None);
    assert!(one.body.contains("Resolved") && !one.body.contains(&secret), "{}", one.body);
}

#[test]
fn a_platform_wide_incident_notifies_whom_it_affects_and_says_so_to_the_others() {
    let stack = stack!();
    let tenant_in = |region: &str| {
        let mut tenant = stack.tenant("enterprise");
        drop(tenant.person("org_admin", &[]));
        let answer = stack.call("GET", &tenant.path("/settings"), &tenant.token, None);
        let tag = answer.header("etag").expect("settings have an ETag").to_owned();
        // Its plan lets the tenant itself say what it uses.
        let body = json!({"footprint": {"components": ["voice", "api"], "regions": [region]}});
        let path = tenant.path("/settings");
        let answer = stack.call_with("PATCH", &path, &tenant.token, &[("if-match", &tag)], Some(&body));
        assert_eq!(answer.status, 200, "{}", answer.body);
        tenant
    };
    let (mumbai, virginia) = (tenant_in("ap-south-1"), tenant_in("us-east-1"));
    let mark = unique();
    let say = |regions: &[&str], status: &str| {
        let event = stack.post(json!({"type": "carrier.outage", "severity": "critical", "platform": true,
            "title": format!("{mark} carrier"), "components": ["voice"], "regions": regions, "status": status,
            "dedup_key": mark}));
        stack.incident_of(&event)
    };
    let both = ["org_admin email", "org_admin sms"];
    let incident = say(&["ap-south-1"], "investigating");
    drop(mumbai.settled(&incident, 1));
    let seen = virginia.settled(&incident, 1);
    mumbai.expect(&mark, &both, 3);
    virginia.expect(&mark, &[], 0);
    let decisions = virginia.decisions(&seen, 1);
    assert!(decisions.values().all(|what| what == "not_in_footprint"), "{decisions:?}");
    let why = virginia.get(&format!("/incidents/{incident}/explain"));
    assert_eq!(why["decisions"][0]["sentence"], "The incident doesn't affect you: you use Virginia.", "{why}");
    assert_eq!(why["decisions"][0]["setting"], "settings.footprint");
    let affected = |tenant: &Tenant| tenant.get("/impact?component=voice&region=us-east-1")["affected"].clone();
    let in_mumbai = |tenant: &Tenant| tenant.get("/impact?component=voice&region=ap-south-1")["affected"].clone();
    assert_eq!(in_mumbai(&virginia), json!([]));
    let shows = |tenant: &Tenant| tenant.get("/status")["incidents"].to_string().contains(&incident);
    assert_eq!((shows(&mumbai), shows(&virginia)), (true, false));
    assert_eq!(in_mumbai(&mumbai).as_array().map(Vec::len), Some(1));

    // It spreads: there it opens, and is followed to the end.
    assert_eq!(say(&["ap-south-1", "us-east-1"], "identified"), incident);
    drop(mumbai.settled(&incident, 2));
    drop(virginia.settled(&incident, 2));
    virginia.expect(&mark, &both, 0);
    assert_eq!((affected(&virginia).as_array().map(Vec::len), affected(&mumbai)), (Some(1), json!([])));
    assert_eq!(say(&[], "resolved"), incident);
    drop(virginia.settled(&incident, 3));
    let twice = both.iter().map(|line| ((*line).to_owned(), 2)).collect();
    virginia.expect_counts(&mark, &twice, 0);
}
