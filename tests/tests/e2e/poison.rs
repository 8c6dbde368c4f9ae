//! Unprocessable messages become dead letters with a reason, and the next message is handled.

use serde_json::{Value, json};
use std::time::Duration;
use tests::receive::text;
use tests::{Stack, stack, today, unique, wait};

const QUEUES: &[(&str, &str)] = &[
    ("IntakeQueue", "intake"),
    ("ClassifyQueue", "classify"),
    ("SubscriptionLookupQueue", "subscription-lookup"),
    ("SubscriptionLookupBulkQueue", "subscription-lookup"),
    ("DeliverEmailQueue", "deliver-email"),
    ("DeliverEmailBulkQueue", "deliver-email"),
    ("DeliverSmsQueue", "deliver-sms"),
    ("DeliverSmsBulkQueue", "deliver-sms"),
    ("DeliverChatQueue", "deliver-chat"),
    ("DeliverChatBulkQueue", "deliver-chat"),
    ("DeliverWebhookQueue", "deliver-webhook"),
    ("DeliverWebhookBulkQueue", "deliver-webhook"),
];

/// Puts a message on a queue and returns its id.
fn send(stack: &Stack, queue: &str, body: &str) -> String {
    let url = stack.text(&format!("/queues/{queue}"));
    let group = unique();
    let mut arguments = vec!["send", url.as_str(), body];
    if url.ends_with(".fifo") {
        arguments.push(&group);
    }
    text(&stack.aws(&arguments), "/message_id")
}

fn ask(stack: &Stack, payload: &Value) -> Value {
    stack.aws(&["invoke", &stack.text("/functions/DeadLetterFunction"), &payload.to_string()])
}

fn letter(stack: &Stack, function: &str, id: &str) -> Value {
    wait(&format!("the dead letter of {function}"), Duration::from_secs(90), || {
        let list = ask(stack, &json!({"list": {"function": function, "day": today(), "id": id}}));
        list.pointer("/letters/0").cloned()
    })
}

#[test]
fn malformed_json_becomes_a_dead_letter_with_a_reason_and_the_next_message_is_handled() {
    let stack = stack!();
    let mark = unique();
    let sent: Vec<(&str, String)> = QUEUES
        .iter()
        .flat_map(|(queue, function)| {
            [format!("{{\"not json {mark}"), format!("{{\"v\":1,\"correlation_id\":\"{mark}\"}}")]
                .map(|body| (*function, send(&stack, queue, &body)))
        })
        .collect();
    for (function, id) in &sent {
        let letter = letter(&stack, function, id);
        let reason = text(&letter, "/reason");
        assert!(reason.len() > 10 && reason != "max_receives", "{letter}");
        assert!(!letter.to_string().contains("not json"), "an operator's list shows no body: {letter}");
        assert!(text(&letter, "/source_queue").contains("Queue"), "{letter}");
    }
    let tenant = stack.full_tenant();
    let event = stack.post(json!({"type": "api.outage", "title": format!("{mark} next"), "tenant_ids": [tenant.id]}));
    drop(tenant.settled(&stack.incident_of(&event), 1));
    tenant.expect(&mark, super::pipeline::INFRASTRUCTURE, 0);
}

#[test]
fn a_redriven_dead_letter_returns_to_its_queue() {
    let stack = stack!();
    let id = send(&stack, "DeliverSmsBulkQueue", "{}");
    drop(letter(&stack, "deliver-sms", &id));
    let outcome = ask(&stack, &json!({"redrive": {"function": "deliver-sms", "day": today(), "id": id}}));
    assert_eq!((&outcome["redriven"], &outcome["failed"]), (&json!(1), &json!(0)), "{outcome}");
    let again = letter(&stack, "deliver-sms", &id);
    assert_eq!(again["redrives"], 1, "{again}");
    assert!(text(&again, "/source_queue").contains("DeliverSmsBulkQueue"), "{again}");
}

#[test]
fn an_operators_invalid_command_is_answered_with_its_format() {
    let stack = stack!();
    for payload in
        [json!({}), json!({"list": {"function": "nobody", "day": today()}}), json!({"list": {"function": "classify"}})]
    {
        let answer = ask(&stack, &payload);
        assert!(text(&answer, "/errorMessage").contains("redrive") || answer["errorType"] == "BadRequest", "{answer}");
    }
}
