//! Failing endpoints: the owner is notified on other channels, two failing endpoints do not feed each other, and recovery resolves the
//! incident.
//! What takes days is in `days.rs`.

use serde_json::{Value, json};
use std::time::Duration;
use tests::receive::{Arrival, text};
use tests::tenant::{Endpoint, Tenant, outcome};
use tests::{pause, stack, unique, wait};

fn open(tenant: &Tenant) -> String {
    tenant.stack.incident_of(&tenant.stack.post(json!({"type": "voice.routing_failure", "severity": "error",
        "title": unique(), "tenant_ids": [tenant.id]})))
}

/// Has an endpoint fail four times, ten seconds and more apart: those nearer to each other count as one.
fn fail_four_times(tenant: &Tenant, endpoint: &Endpoint) {
    tenant.stack.behave(&endpoint.path, json!({"status": 500}));
    for round in 0..4 {
        if round > 0 {
            pause(11);
        }
        drop(open(tenant));
    }
}

/// The one incident about an endpoint, and the mails about it.
fn about(tenant: &Tenant, endpoint: &Endpoint, title: &str) -> Vec<Arrival> {
    let name = format!("{title} {}", tenant.id);
    tenant
        .stack
        .mails(&name)
        .into_iter()
        .filter(|mail| mail.text.contains(&endpoint.id) || mail.text.contains(&name))
        .collect()
}

fn known(tenant: &Tenant, endpoint: &Endpoint) -> Value {
    tenant.get(&format!("/integrations/{}", endpoint.id))
}

fn incident_about(tenant: &Tenant, name: &str) -> String {
    let own = tenant.own_incidents().into_iter().find(|one| text(one, "/title").contains(name));
    text(&own.unwrap_or_else(|| panic!("no incident about {name}")), "/incident_id")
}

#[test]
fn a_failing_endpoint_is_reported_on_other_channels_and_two_do_not_feed_each_other() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("tech_devops", &[]);
    let (one, other) = (format!("One {}", tenant.id), format!("Other {}", tenant.id));
    let hook = tenant.endpoint_with("webhook", "tech_devops", json!({"name": one}));
    let room = tenant.endpoint_with("slack", "support_manager", json!({"name": other}));
    fail_four_times(&tenant, &hook);
    let first = wait("the owner to be notified", Duration::from_secs(60), || {
        about(&tenant, &hook, "One").into_iter().find(|mail| mail.text.contains("is not accepting alerts"))
    });
    assert_eq!(first.to, person.email);
    assert!(first.text.contains("for 5 days") && !first.text.contains(&hook.path), "{}", first.text);
    wait("the integration to say so", Duration::from_secs(30), || {
        known(&tenant, &hook)["failing_since"].as_str().map(drop)
    });
    let about_hook = incident_about(&tenant, &one);
    drop(tenant.settled(&about_hook, 1));
    assert_eq!(tenant.explained(&about_hook, &hook.id, "webhook"), [outcome(1, "skipped", "endpoint_is_subject")]);
    assert_eq!(tenant.explained(&about_hook, &room.id, "slack"), [outcome(1, "delivered", "")]);

    fail_four_times(&tenant, &room);
    wait("the other endpoint's owner to be notified", Duration::from_secs(60), || {
        about(&tenant, &room, "Other").into_iter().find(|mail| mail.text.contains("is not accepting alerts"))
    });
    let about_room = incident_about(&tenant, &other);
    drop(tenant.settled(&about_room, 1));
    let [entry] = &tenant.explained(&about_room, &hook.id, "webhook")[..] else { panic!("one decision") };
    assert_eq!(*entry, outcome(1, "skipped", "endpoint_failing"));
    let explained = tenant.get(&format!("/incidents/{about_room}/explain"));
    let why = explained["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["integration_id"] == hook.id.as_str())
        .unwrap();
    assert!(text(why, "/sentence").contains("This endpoint is failing"), "{why}");

    // Both endpoints work again: the next alert resolves both incidents, and the owner is notified.
    stack.heal(&hook.path);
    stack.heal(&room.path);
    drop(open(&tenant));
    for (endpoint, name, incident) in [(&hook, "One", &about_hook), (&room, "Other", &about_room)] {
        wait("the resolve to be sent", Duration::from_secs(90), || {
            about(&tenant, endpoint, name).into_iter().find(|mail| mail.text.contains("accepts alerts again"))
        });
        assert_eq!(tenant.incident(incident)["incident"]["status"], "resolved");
        wait("the integration to be well", Duration::from_secs(30), || {
            known(&tenant, endpoint).get("failing_since").is_none().then_some(())
        });
    }
    // An endpoint may be notified of another one's failure, but never of its own.
    for endpoint in [&hook, &room] {
        let own = stack.inbox(&endpoint.path);
        assert!(
            !own.iter().any(|got| text(got, "/body").contains("is not accepting alerts")
                && text(got, "/body").contains(&endpoint.id))
        );
    }
}

#[test]
fn a_gone_endpoint_is_reported_and_its_removal_resolves_the_incident() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("tech_devops", &[]));
    let name = format!("Gone {}", tenant.id);
    let hook = tenant.endpoint_with("webhook", "tech_devops", json!({"name": name}));
    stack.behave(&hook.path, json!({"status": 410, "times": 1}));
    drop(open(&tenant));
    wait("the owner to be notified", Duration::from_secs(60), || {
        about(&tenant, &hook, "Gone").into_iter().find(|mail| mail.text.contains("was disabled"))
    });
    let disabled = known(&tenant, &hook);
    assert_eq!(
        (&disabled["enabled"], disabled["disabled"].get("probe_at")),
        (&json!(false), None),
        "it said so itself"
    );
    let incident = incident_about(&tenant, &name);
    let path = tenant.path(&format!("/integrations/{}", hook.id));
    let tag = stack.call("GET", &path, &tenant.token, None).header("etag").unwrap().to_owned();
    assert_eq!(stack.call_with("DELETE", &path, &tenant.token, &[("if-match", &tag)], None).status, 204);
    wait("the incident to end", Duration::from_secs(60), || {
        (tenant.incident(&incident)["incident"]["status"] == "resolved").then_some(())
    });
}
