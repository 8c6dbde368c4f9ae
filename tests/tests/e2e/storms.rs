//! Storm protection on the running stack: alerts over a rate limit come in one bundle that counts them, and critical ones do not wait.

use serde_json::{Value, json};
use std::time::Duration;
use tests::receive::text;
use tests::tenant::{Tenant, outcome};
use tests::{Stack, stack, unique, wait};

/// Creates a tenant with the default storm protection.
fn sparing(stack: &Stack) -> Tenant {
    let tenant = stack.tenant("enterprise");
    tenant.set(json!({"storms": "bundle"}));
    tenant
}

fn post(tenant: &Tenant, key: &str, more: Value) -> String {
    let mut event = json!({"type": "voice.routing_failure", "severity": "error", "title": format!("{key} of {}", tenant.id),
        "dedup_key": key, "tenant_ids": [tenant.id]});
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    tenant.stack.post(event)
}

fn mails(tenant: &Tenant, to: &str) -> Vec<tests::receive::Arrival> {
    tenant.stack.mails(&tenant.id).into_iter().filter(|mail| mail.to == to).collect()
}

#[test]
fn alerts_over_a_contacts_rate_limit_come_in_one_bundle_and_critical_ones_at_once() {
    let stack = stack!();
    let mut tenant = sparing(&stack);
    let person = tenant.person("support_manager", &[]);
    // Side by side, for on a busy machine sixteen may take longer than the minute that they are to fall into.
    let one = |n: usize| post(&tenant, &format!("n{n}"), json!({}));
    let events: Vec<String> = std::thread::scope(|scope| {
        let posting: Vec<_> = (0..16).map(|n| scope.spawn(move || one(n))).collect();
        posting.into_iter().map(|posted| posted.join().unwrap()).collect()
    });
    let incidents: Vec<String> = events.iter().map(|event| stack.incident_of(event)).collect();
    let state = |incident: &str| tenant.explained(incident, &person.id, "email").first().cloned();
    let accepted = Some(outcome(1, "accepted", ""));
    let held = wait("the alerts over the limit to be held", Duration::from_secs(60), || {
        let states: Vec<_> = incidents.iter().map(|one| (one, state(one))).collect();
        let waits = Some(outcome(1, "held", "throttled"));
        let held: Vec<&String> = states.iter().filter(|(_, state)| *state == waits).map(|(one, _)| *one).collect();
        let accepted = states.iter().filter(|(_, state)| *state == accepted).count();
        (held.len() + accepted == 16).then_some(held)
    });
    assert!(held.len() >= 6, "ten a minute, and one minute may have ended meanwhile: {}", held.len());
    let explained = tenant.get(&format!("/incidents/{}/explain", held[0]));
    let entry = explained["decisions"].as_array().unwrap().iter().find(|one| one["reason"] == "throttled").unwrap();
    assert_eq!(entry["setting"], "settings.storms");
    assert!(entry["until"].is_string(), "{entry}");
    // A critical alert does not wait for them.
    let critical = stack.incident_of(&post(&tenant, "worst", json!({"severity": "critical"})));
    drop(tenant.settled(&critical, 1));
    wait("the critical one", Duration::from_secs(30), || (state(&critical) == accepted).then_some(()));

    wait("the others", Duration::from_secs(150), || incidents.iter().all(|one| state(one) == accepted).then_some(()));
    let (together, alone): (Vec<_>, Vec<_>) =
        mails(&tenant, &person.email).into_iter().partition(|mail| mail.text.contains("bundle of"));
    assert_eq!((together.len(), alone.len()), (1, 17 - held.len()), "one message for what waited");
    assert!(together[0].text.contains(&format!("{} alerts", held.len())), "{}", together[0].text);
    assert!(together[0].text.contains("in a short time"), "{}", together[0].text);
    for (n, incident) in incidents.iter().enumerate() {
        let title = format!("n{n} of {}", tenant.id);
        let count = together.iter().chain(&alone).filter(|mail| mail.text.contains(&title)).count();
        assert_eq!(count, 1, "n{n} ({incident}) once");
    }
}

#[test]
fn a_tenant_without_storm_protection_gets_each_alert() {
    let stack = stack!();
    let mut tenant = sparing(&stack);
    let person = tenant.person("support_manager", &[]);
    tenant.set(json!({"storms": "each"}));
    for n in 0..14 {
        drop(post(&tenant, &format!("n{n}"), json!({})));
    }
    wait("each by itself", Duration::from_secs(60), || (mails(&tenant, &person.email).len() == 14).then_some(()));
    assert!(mails(&tenant, &person.email).iter().all(|mail| !mail.text.contains("BUNDLE")));
    let wrong = tenant.patch("/settings", &json!({"storms": "some"}));
    assert_eq!((wrong.status, &wrong.json()["errors"][0]["pointer"]), (422, &json!("/storms")));
}

#[test]
fn a_second_text_message_within_a_minute_is_deferred_to_the_next() {
    let stack = stack!();
    let mut tenant = sparing(&stack);
    let person = tenant.person("org_admin", &[]);
    let first = stack.incident_of(&post(&tenant, "first", json!({})));
    drop(tenant.settled(&first, 1));
    let state = |incident: &str| tenant.explained(incident, &person.id, "sms").first().cloned();
    let accepted = Some(outcome(1, "accepted", ""));
    let others: Vec<String> = ["second", "third"].map(|key| stack.incident_of(&post(&tenant, key, json!({})))).into();
    for incident in &others {
        wait("it to be held", Duration::from_secs(30), || {
            (state(incident) == Some(outcome(1, "held", "throttled"))).then_some(())
        });
    }
    wait("the next minute", Duration::from_secs(150), || others.iter().all(|one| state(one) == accepted).then_some(()));
    let texts = tenant.stack.texts(&person.phone);
    let texts: Vec<&str> = texts.iter().map(|one| one.text.as_str()).filter(|text| text.contains(&tenant.id)).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[1].contains("2 alerts at once"), "{texts:?}");
}

#[test]
fn resolves_do_not_delay_a_critical_alert() {
    let stack = stack!();
    let mut tenant = sparing(&stack);
    let person = tenant.person("org_admin", &[]);
    let critical = |key: &str| stack.incident_of(&post(&tenant, key, json!({"severity": "critical"})));
    let state = |incident: &str, update: usize| tenant.explained(incident, &person.id, "sms").get(update - 1).cloned();
    let sent = |incident: &str, update: u32| {
        wait("a text message", Duration::from_secs(60), || {
            let known = tenant.get(&format!("/incidents/{incident}/explain"));
            let mine = known["decisions"].as_array()?.iter().rfind(|one| {
                one["recipient_id"] == person.id.as_str() && one["channel"] == "sms" && one["update"] == update
            })?;
            (mine["outcome"] == "accepted").then_some(())
        });
    };
    // One has room, three more go without.
    let open: Vec<String> = ["a", "b", "c", "d"].into_iter().map(critical).collect();
    for incident in &open {
        sent(incident, 1);
    }
    tests::pause(61);
    // Their ends use up a minute's of their own kind.
    for key in ["a", "b", "c", "d"] {
        drop(post(&tenant, key, json!({"status": "resolved", "severity": "critical"})));
    }
    for incident in &open {
        drop(tenant.settled(incident, 2));
    }
    let next = critical("e");
    wait("the critical one", Duration::from_secs(30), || {
        (state(&next, 1) == Some(outcome(1, "accepted", ""))).then_some(())
    });
}

#[test]
fn a_flapping_alert_is_held_for_people_and_webhooks_get_every_update() {
    let stack = stack!();
    let mut tenant = sparing(&stack);
    let person = tenant.person("support_manager", &[]);
    let hook = tenant.endpoint("webhook", "tech_devops");
    let key = unique();
    let mut incidents = Vec::new();
    for _ in 0..7 {
        let incident = stack.incident_of(&post(&tenant, &key, json!({})));
        drop(tenant.settled(&incident, 1));
        drop(stack.event(&post(&tenant, &key, json!({"status": "resolved"}))));
        drop(tenant.settled(&incident, 2));
        incidents.push(incident);
    }
    let last = &incidents[6];
    for incident in [&incidents[5], last] {
        let states = tenant.explained(incident, &person.id, "email");
        let both = [outcome(1, "held", "throttled"), outcome(2, "held", "throttled")];
        assert_eq!(states, both, "both updates are sent in one message when it stops flapping");
    }
    assert!(tenant.explained(&incidents[4], &person.id, "email").iter().all(|one| one.1 == "accepted"));
    wait("every webhook", Duration::from_secs(60), || {
        let accepted = tenant.explained(last, &hook.id, "webhook");
        (accepted == [outcome(1, "delivered", ""), outcome(2, "delivered", "")]).then_some(())
    });
    let fifth = mails(&tenant, &person.email);
    assert!(fifth.iter().any(|mail| mail.text.contains("opened 5 times since")), "{}", fifth.len());
    let entry = tenant.get(&format!("/incidents/{last}/explain"));
    let until = entry["decisions"].as_array().unwrap().iter().find(|one| one["outcome"] == "held").unwrap();
    let head = tenant.incident(&incidents[0])["incident"].clone();
    let minutes = |time: &str| time.parse::<jiff::Timestamp>().unwrap().as_second() / 60;
    assert_eq!(minutes(&text(until, "/until")) - minutes(&text(&head, "/started_at")), 30);
}
