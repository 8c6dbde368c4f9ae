//! `release` and `deliver-email` are killed at each point of a digest: nothing is lost, and nothing comes twice but the one message
//! whose acceptance nobody could note.

use crate::mails;
use serde_json::json;
use std::time::Duration;
use tests::clock::Clock;
use tests::tenant::outcome;
use tests::wire::HeldCall;
use tests::{stack, wait};

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// The index is read.
    Read,
    /// One row says that its message is on its queue, the others do not.
    Queued,
    /// The digest never reaches its queue.
    BeforeQueue,
    /// It is on its queue, nobody knows.
    AfterQueue,
    /// The first item never leaves the index.
    BeforeTakeOff,
    /// One item is off, the others are not.
    AfterTakeOff,
    /// The first row is claimed, nobody knows.
    Claim,
    /// SES never gets it.
    BeforeSend,
    /// SES has it, and nothing is marked: the documented double.
    AfterSend,
    /// The first row is marked, the others are not: those come once more.
    Mark,
}

const ALL: [At; 10] = [
    At::Read,
    At::Queued,
    At::BeforeQueue,
    At::AfterQueue,
    At::BeforeTakeOff,
    At::AfterTakeOff,
    At::Claim,
    At::BeforeSend,
    At::AfterSend,
    At::Mark,
];

#[test]
fn a_digest_survives_a_kill_at_each_of_its_points() {
    let stack = stack!(clock);
    let before = stack.visibility("DeliverEmailBulkQueue", 15);
    let mut clock = Clock::at(&stack, "2027-12-01T08:30:00Z");
    let mut hit = Vec::new();
    for at in ALL {
        eprintln!("killing at {at:?}");
        let mut tenant = stack.tenant("enterprise");
        let digest = json!({"every": "hourly", "below": "critical"});
        let person = tenant.person_with("support_manager", json!({"digest": digest, "zone": "UTC"}));
        let keys: Vec<String> = (0..4).map(|n| format!("n{n}")).collect();
        let incidents: Vec<String> = keys.iter().map(|key| crate::post(&tenant, key, json!({}))).collect();
        for incident in &incidents {
            crate::stands(&tenant, incident, (&person.id, "email"), &outcome(1, "held", "digest"));
        }
        let hold = hold(&stack, at, &person.id, &person.email);
        let next = clock.now().round(jiff::Unit::Hour).unwrap();
        let due = if next < clock.now() { next + jiff::SignedDuration::from_hours(1) } else { next };
        std::thread::scope(|scope| {
            // The kill ends this invocation with an error.
            let clock = &mut clock;
            let handed_out = scope
                .spawn(move || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| clock.to(&due.to_string()))));
            wait("the call to be held", Duration::from_secs(60), || hold.is_held().then_some(()));
            let function = match at {
                At::Read | At::Queued | At::BeforeQueue | At::AfterQueue | At::BeforeTakeOff | At::AfterTakeOff => {
                    "ReleaseFunction"
                }
                At::Claim | At::BeforeSend | At::AfterSend | At::Mark => "DeliverEmailFunction",
            };
            assert!(stack.kill(function) > 0, "no process of {function} was found");
            hold.cut();
            drop(handed_out.join());
        });
        // What was killed has its shard until it would have ended, which is before the next minute's run.
        clock.pass(jiff::SignedDuration::from_mins(1));
        wait("the digest", Duration::from_secs(120), || {
            clock.release();
            let over = |one: &String| tenant.explained(one, &person.id, "email") == [outcome(1, "accepted", "")];
            incidents.iter().all(over).then_some(())
        });
        hit.push((at, tenant, person, keys));
    }
    // Whatever still lies on a queue comes within its visibility timeout.
    tests::pause(20);
    clock.release();
    tests::pause(3);
    for (at, tenant, person, keys) in &hit {
        let got = mails(tenant, &person.email);
        for key in keys {
            let count = got.iter().filter(|mail| mail.contains(&format!("{key} of {}", tenant.id))).count();
            // If SES accepted a message and its mark was never made, the message is sent once more.
            let most = if matches!(at, At::AfterSend | At::Mark) { 2 } else { 1 };
            assert!((1..=most).contains(&count), "{at:?}: {key} came {count} times in {got:?}");
        }
        if !matches!(at, At::AfterSend | At::Mark) {
            assert_eq!(got.len(), 1, "{at:?}: one digest");
        }
    }
    let _now = stack.visibility("DeliverEmailBulkQueue", before);
}

fn hold(stack: &tests::Stack, at: At, id: &str, email: &str) -> HeldCall {
    let row = format!("{id}#email");
    match at {
        At::Read => stack.hold("dynamodb.Query", "DUE#", true),
        At::BeforeQueue => stack.hold("sqs.SendMessageBatch", id, false),
        At::AfterQueue => stack.hold("sqs.SendMessageBatch", id, true),
        At::BeforeTakeOff => stack.hold("dynamodb.DeleteItem", &row, false),
        At::AfterTakeOff => stack.hold("dynamodb.DeleteItem", &row, true),
        At::Queued => stack.hold("dynamodb.UpdateItem", &row, true),
        // Four rows that say that they are on their queue, then the first claim.
        At::Claim => stack.hold_call_after("dynamodb.UpdateItem", &row, 4, true),
        At::BeforeSend => stack.hold("ses.SendRawEmail", email.split('@').next().unwrap(), false),
        At::AfterSend => stack.hold("ses.SendRawEmail", email.split('@').next().unwrap(), true),
        // Then the other three, then the first mark.
        At::Mark => stack.hold_call_after("dynamodb.UpdateItem", &row, 8, true),
    }
}
