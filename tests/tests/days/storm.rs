//! A storm of one tenant beside one critical event of another. `TOCSIN_STORM` says how many events: 300, or 5,000 for an evening; more than
//! the hundred that a digest holds.

use crate::{mails, post, stands};
use jiff::{SignedDuration, Unit};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tests::clock::Clock;
use tests::receive::text;
use tests::tenant::{entries, outcome};
use tests::{stack, wait};

/// How many incidents are asked about at the end.
const SAMPLE: usize = 300;

#[test]
fn a_storm_of_one_tenant_is_a_few_messages_and_starves_nobody() {
    let stack = stack!(clock);
    let given = std::env::var_os("TOCSIN_STORM").and_then(|text| text.to_str().and_then(|text| text.parse().ok()));
    let events: usize = given.unwrap_or(300);
    let patience = Duration::from_secs(900 + u64::try_from(events).unwrap());
    let mut clock = Clock::at(&stack, "2027-09-06T10:00:10Z");
    let mut noisy = stack.tenant("enterprise");
    noisy.set(json!({"storms": "bundle"}));
    let reader = noisy.person("support_manager", &[]);
    let digest = json!({"every": "hourly", "below": "critical"});
    let collector = noisy.person_with("support_manager", json!({"digest": digest, "zone": "UTC"}));
    let hook = noisy.endpoint("webhook", "tech_devops");
    let room = noisy.endpoint("slack", "support_manager");
    let mut quiet = stack.tenant("enterprise");
    quiet.set(json!({"storms": "bundle"}));
    let other = quiet.person("org_admin", &[]);
    let begun = Instant::now();
    let storm = |part: usize| {
        for number in (0..events).filter(|number| number % 2 == part) {
            let event = json!({"type": "voice.routing_failure", "severity": "error", "title": format!("n{number} of {}", noisy.id),
                "dedup_key": format!("n{number}"), "tenant_ids": [noisy.id]});
            drop(stack.post(event));
        }
    };
    let notified = std::thread::scope(|scope| {
        let posting = [scope.spawn(move || storm(0)), scope.spawn(move || storm(1))];
        // In the thick of it.
        while begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(200));
        }
        let alarm = post(&quiet, "alarm", json!({"severity": "critical"}));
        // Of its own tenant's quiet kind, too: a critical one is not collected with the others.
        let own = post(&noisy, "own", json!({"severity": "critical"}));
        for (tenant, incident, id) in [(&quiet, &alarm, &other.id), (&noisy, &own, &reader.id)] {
            wait("the critical alert", Duration::from_secs(90), || {
                (tenant.explained(incident, id, "email").last() == Some(&outcome(1, "accepted", ""))).then_some(())
            });
        }
        for thread in posting {
            thread.join().unwrap();
        }
        alarm
    });
    let known = quiet.get(&format!("/incidents/{notified}/explain"));
    for entry in known["decisions"].as_array().unwrap().iter().filter(|one| one["outcome"] == "accepted") {
        let latency = entry["latency_ms"].as_i64().unwrap();
        eprintln!(
            "{events} events in {} s; the critical one beside them by {} after {latency} ms",
            begun.elapsed().as_secs(),
            entry["channel"]
        );
        assert!(latency < 60_000 && entry["late"] != true, "inside its window: {entry}");
    }
    // Every incident is recorded, webhooks get every one, and the end of the window brings one message.
    let all = wait("all of it to be known", patience, || {
        let mut ids = BTreeMap::new();
        let mut cursor = String::new();
        loop {
            let page = noisy.get(&format!("/incidents?limit=200{cursor}"));
            for one in page["incidents"].as_array().unwrap() {
                ids.insert(text(one, "/title"), text(one, "/incident_id"));
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        ids.retain(|title, _| title.starts_with('n'));
        (ids.len() == events).then_some(ids)
    });
    wait("every webhook", patience, || (stack.inbox(&hook.path).len() > events).then_some(()));
    for _ in 0..3 {
        clock.pass(SignedDuration::from_mins(6));
        // What is handed out in bundles goes on while there is something.
        clock.release();
    }
    // As many as a window's end may take a while to say of each; among them the first and the last.
    let step = (events / SAMPLE).max(1);
    let sample: Vec<&String> = all.values().step_by(step).chain(all.values().next_back()).collect();
    let both = [(&reader.id, "email"), (&room.id, "slack")];
    // Asked again and again, all of them would take minutes.
    let some = sample.iter().step_by((sample.len() / 20).max(1));
    wait("everything to be over", patience, || {
        let open = some.clone().any(|incident| {
            both.iter().any(|(id, channel)| {
                let (_, what, _) = noisy.explained(incident, id, channel).pop().unwrap_or_default();
                ["held", "pending", ""].contains(&what.as_str())
            })
        });
        if open {
            clock.release();
        }
        (!open).then_some(())
    });
    let mut counts: [BTreeMap<String, usize>; 2] = Default::default();
    for incident in &sample {
        let known = noisy.get(&format!("/incidents/{incident}/explain"));
        for ((id, channel), counts) in both.iter().zip(&mut counts) {
            let (_, what, reason) = entries(&known, id, channel).pop().unwrap();
            *counts.entry(format!("{what} {reason}")).or_default() += 1;
        }
    }
    for ((_, channel), counts) in both.iter().zip(&counts) {
        eprintln!("by {channel}, of {}: {counts:?}", sample.len());
        let notified = if *channel == "email" { "accepted " } else { "delivered " };
        assert_eq!(counts.keys().collect::<Vec<_>>(), [notified, "skipped storm_collapsed"], "{channel}");
    }
    let got = mails(&noisy, &reader.email);
    let bundles: Vec<&String> = got.iter().filter(|mail| mail.contains("bundle of")).collect();
    eprintln!("{} e-mails for {events} events, {} of them bundles", got.len(), bundles.len());
    assert!(
        bundles.iter().any(|mail| mail.contains("more that are not listed")),
        "what is only counted is counted: {bundles:?}"
    );
    assert!(!bundles.is_empty() && got.len() < 120, "{}", got.len());
    stands(&noisy, all.values().next().unwrap(), (&hook.id, "webhook"), &outcome(1, "delivered", ""));

    // A digest is one message, however many alerts it holds, and even if the minute ends while a missed digest is built again.
    let hold = stack.hold_call_after("dynamodb.TransactWriteItems", &collector.id, 50, false);
    std::thread::scope(|scope| {
        let minute = (clock.now() + SignedDuration::from_hours(1)).round(Unit::Minute).unwrap();
        let clock = &mut clock;
        let gathering = scope.spawn(move || clock.to(&(minute - SignedDuration::from_secs(2)).to_string()));
        wait("the first page of the digest", Duration::from_secs(60), || hold.is_held().then_some(()));
        tests::pause(3);
        hold.release();
        gathering.join().unwrap();
    });
    clock.release();
    wait("all of it to be in the digest", patience, || {
        let waits = some.clone().any(|incident| {
            let (_, what, _) = noisy.explained(incident, &collector.id, "email").pop().unwrap_or_default();
            ["held", "pending", ""].contains(&what.as_str())
        });
        if waits {
            clock.release();
        }
        (!waits).then_some(())
    });
    let digests: Vec<String> =
        mails(&noisy, &collector.email).into_iter().filter(|mail| mail.contains("digest of")).collect();
    assert_eq!(digests.len(), 1, "{digests:?}");
    assert!(digests[0].contains(&format!("And {} more", events - 10)), "{}", digests[0]);
}
