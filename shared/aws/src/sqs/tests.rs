use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use wiremock::matchers::header;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::*;

const URL: &str = "http://127.0.0.1/1/deliver";

/// The response to an entry at its n-th appearance (from 1): success, or an error code and whether it is the sender's fault.
type Verdict = fn(body: &str, appearance: usize) -> Option<(&'static str, bool)>;

/// A fake SQS that speaks the wire protocol and records the entries of all calls.
struct FakeSqs {
    server: MockServer,
    calls: Arc<Mutex<Vec<Vec<Value>>>>,
}

impl FakeSqs {
    async fn start(verdict: Verdict) -> Self {
        let server = MockServer::start().await;
        let calls: Arc<Mutex<Vec<Vec<Value>>>> = Arc::default();
        let seen = calls.clone();
        Mock::given(header("x-amz-target", "AmazonSQS.SendMessageBatch"))
            .respond_with(move |request: &Request| {
                let call: Value = serde_json::from_slice(&request.body).unwrap();
                let entries = call["Entries"].as_array().unwrap().clone();
                let mut calls = seen.lock().unwrap();
                let (mut successful, mut failed) = (Vec::new(), Vec::new());
                for entry in &entries {
                    let body = entry["MessageBody"].as_str().unwrap();
                    let before = calls.iter().flatten().filter(|earlier| earlier["MessageBody"] == body).count();
                    match verdict(body, before + 1) {
                        None => successful.push(json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "0"})),
                        Some((code, sender)) => {
                            failed
                                .push(json!({"Id": entry["Id"], "Code": code, "SenderFault": sender, "Message": body}));
                        }
                    }
                }
                calls.push(entries);
                ResponseTemplate::new(200).set_body_json(json!({"Successful": successful, "Failed": failed}))
            })
            .mount(&server)
            .await;
        Self { server, calls }
    }

    async fn queues(&self) -> Queues {
        Queues::new(&crate::config::test_config(&self.server.uri()).await)
    }

    fn calls(&self) -> Vec<Vec<Value>> {
        self.calls.lock().unwrap().clone()
    }
}

fn messages(bodies: impl IntoIterator<Item = String>) -> Vec<OutgoingMessage> {
    bodies.into_iter().map(|body| OutgoingMessage { body, ..OutgoingMessage::default() }).collect()
}

#[tokio::test]
async fn messages_are_sent_once_in_calls_of_ten() {
    let queue = FakeSqs::start(|_, _| None).await;
    queue.queues().await.send_all(URL, messages((0..95).map(|n| format!("m{n}")))).await.unwrap();
    let calls = queue.calls();
    assert_eq!(calls.len(), 10);
    assert!(calls.iter().all(|entries| entries.len() <= 10));
    let mut bodies: Vec<&str> = calls.iter().flatten().map(|entry| entry["MessageBody"].as_str().unwrap()).collect();
    bodies.sort_unstable();
    bodies.dedup();
    assert_eq!(bodies.len(), 95);
}

#[tokio::test]
async fn an_empty_list_makes_no_call() {
    let queue = FakeSqs::start(|_, _| None).await;
    queue.queues().await.send_all(URL, Vec::new()).await.unwrap();
    assert!(queue.calls().is_empty());
}

#[tokio::test]
async fn only_rejected_entries_are_retried() {
    let queue = FakeSqs::start(|body, time| (body == "m3" && time < 3).then_some(("InternalError", false))).await;
    queue.queues().await.send_all(URL, messages((0..10).map(|n| format!("m{n}")))).await.unwrap();
    let sizes: Vec<usize> = queue.calls().iter().map(Vec::len).collect();
    assert_eq!(sizes, [10, 1, 1]);
}

#[tokio::test]
async fn unsent_messages_are_reported_by_position() {
    let queue = FakeSqs::start(|body, _| (body == "m3" || body == "m14").then_some(("InternalError", false))).await;
    let unsent = queue.queues().await.send_all(URL, messages((0..20).map(|n| format!("m{n}")))).await.unwrap_err();
    assert_eq!(unsent, UnsentMessages { indices: vec![3, 14], total: 20, cause: AwsError::Unavailable });
    assert_eq!(unsent.to_string(), "2 of 20 messages were not accepted by the queue: AWS did not respond, or failed");
    assert_eq!(queue.calls().len(), 2 * 4);
}

#[tokio::test]
async fn an_entry_rejected_as_the_senders_fault_is_not_retried() {
    let queue = FakeSqs::start(|body, _| (body == "bad").then_some(("InvalidMessageContents", true))).await;
    let sent = queue.queues().await.send_all(URL, messages(["good".to_owned(), "bad".to_owned()])).await;
    let cause = AwsError::Refused { code: "InvalidMessageContents".to_owned() };
    assert_eq!(sent, Err(UnsentMessages { indices: vec![1], total: 2, cause }));
    assert_eq!(queue.calls().len(), 1);
}

#[tokio::test]
async fn a_call_stays_under_one_mebibyte() {
    let queue = FakeSqs::start(|_, _| None).await;
    let large = |n: usize| format!("{n}{}", "x".repeat(300_000));
    queue.queues().await.send_all(URL, messages((0..7).map(large))).await.unwrap();
    let sizes: Vec<usize> = queue.calls().iter().map(Vec::len).collect();
    assert_eq!((sizes.iter().sum::<usize>(), sizes.iter().max()), (7, Some(&3)));
}

#[tokio::test]
async fn an_oversized_message_does_not_block_the_others() {
    let queue = FakeSqs::start(|_, _| None).await;
    let bodies = ["a".to_owned(), "x".repeat(BYTES_MAX + 1), "b".to_owned()];
    let unsent = queue.queues().await.send_all(URL, messages(bodies)).await.unwrap_err();
    assert_eq!((unsent.indices, unsent.cause), (vec![1], AwsError::Refused { code: "MessageTooLarge".to_owned() }));
    assert_eq!(queue.calls().iter().flatten().count(), 2);
}

#[tokio::test]
async fn a_fifo_queue_receives_messages_in_order() {
    let queue = FakeSqs::start(|_, _| None).await;
    let ordered = messages((0..60).map(|n| format!("{n:02}"))).into_iter().map(|message| OutgoingMessage {
        dedup: Some(message.body.clone()),
        group: Some("incident".to_owned()),
        ..message
    });
    queue.queues().await.send_all("http://127.0.0.1/1/routing.fifo", ordered.collect()).await.unwrap();
    let entries: Vec<Value> = queue.calls().into_iter().flatten().collect();
    assert!(entries.is_sorted_by_key(|entry| entry["MessageBody"].to_string()));
    assert_eq!(
        (&entries[7]["MessageDeduplicationId"], &entries[7]["MessageGroupId"]),
        (&json!("07"), &json!("incident"))
    );
    assert!(entries[7].get("DelaySeconds").is_none(), "a FIFO queue rejects the field");
}

#[tokio::test]
async fn delay_group_and_attributes_reach_the_wire() {
    let queue = FakeSqs::start(|_, _| None).await;
    let message = OutgoingMessage {
        body: "x".to_owned(),
        group: Some("acme".to_owned()),
        dedup: None,
        delay_seconds: 2000,
        attributes: [("correlation".to_owned(), "c-1".to_owned())].into(),
    };
    queue.queues().await.send_all(URL, vec![message]).await.unwrap();
    let entry = queue.calls()[0][0].clone();
    assert_eq!((&entry["DelaySeconds"], &entry["MessageGroupId"]), (&json!(900), &json!("acme")));
    assert_eq!(entry["MessageAttributes"]["correlation"], json!({"DataType": "String", "StringValue": "c-1"}));
}

#[tokio::test]
async fn errors_of_whole_calls_map_to_what_the_caller_can_do() {
    for (status, code, expected, calls) in [
        (400, "com.amazonaws.sqs#RequestThrottled", AwsError::Throttled, 3),
        (503, "ServiceUnavailable", AwsError::Unavailable, 3),
        (403, "AccessDeniedException", AwsError::Denied { code: "AccessDeniedException".to_owned() }, 1),
        (400, "com.amazonaws.sqs#QueueDoesNotExist", AwsError::Denied { code: "QueueDoesNotExist".to_owned() }, 1),
        (
            400,
            "com.amazonaws.sqs#InvalidMessageContents",
            AwsError::Refused { code: "InvalidMessageContents".to_owned() },
            1,
        ),
    ] {
        let server = MockServer::start().await;
        let error = json!({"__type": code, "message": "hunter2"});
        Mock::given(wiremock::matchers::any())
            .respond_with(ResponseTemplate::new(status).set_body_raw(error.to_string(), "application/x-amz-json-1.0"))
            .mount(&server)
            .await;
        let queues = Queues::new(&crate::config::test_config(&server.uri()).await);
        let message = OutgoingMessage { body: "hunter2".to_owned(), ..OutgoingMessage::default() };
        let sent = queues.send(URL, &message).await.unwrap_err();
        assert_eq!(sent, expected, "{code}");
        assert!(!format!("{sent} {sent:?} {message:?}").contains("hunter2"));
        assert_eq!(server.received_requests().await.unwrap().len(), calls, "{code}");

        let all = queues.send_all(URL, messages(["a".to_owned(), "b".to_owned()])).await.unwrap_err();
        assert_eq!(all, UnsentMessages { indices: vec![0, 1], total: 2, cause: expected.clone() });
        assert_eq!(queues.set_visibility(URL, "r", Duration::ZERO).await, Err(expected));
    }
}

#[tokio::test]
async fn visibility_is_rounded_up_to_seconds_and_capped_at_twelve_hours() {
    for (visible_in, seconds) in [
        (Duration::ZERO, 0),
        (Duration::from_millis(1), 1),
        (Duration::from_secs(5), 5),
        (Duration::from_millis(5_001), 6),
        (Duration::from_secs(90_000), 43_200),
    ] {
        let server = MockServer::start().await;
        Mock::given(header("x-amz-target", "AmazonSQS.ChangeMessageVisibility"))
            .respond_with(ResponseTemplate::new(200).set_body_string("{}"))
            .mount(&server)
            .await;
        let queues = Queues::new(&crate::config::test_config(&server.uri()).await);
        queues.set_visibility(URL, "handle", visible_in).await.unwrap();
        let sent: Value = serde_json::from_slice(&server.received_requests().await.unwrap()[0].body).unwrap();
        assert_eq!((&sent["VisibilityTimeout"], &sent["ReceiptHandle"]), (&json!(seconds), &json!("handle")));
    }
}

#[test]
fn a_body_has_no_character_that_sqs_rejects() {
    let body = json!({"title": "a\u{fffe}b\u{ffff}ü"}).to_string();
    let wire = OutgoingMessage { body: body.clone(), ..OutgoingMessage::default() }.wire_body();
    assert!(!wire.contains(['\u{fffe}', '\u{ffff}']));
    assert_eq!(serde_json::from_str::<Value>(&wire).unwrap(), serde_json::from_str::<Value>(&body).unwrap());
}
