//! Sending to queues, alone or by the thousand, and giving a message back for later.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::BuildError;
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use futures::StreamExt;

use crate::error::{AwsError, bare, classify, shared};

/// SQS takes this many messages in one call.
const BATCH: usize = 10;
/// SQS takes this many bytes in one message and in one call.
const LARGEST: usize = 1_048_576;
/// Calls in flight at once; more would only queue inside the client.
const PARALLEL: usize = 8;
/// How often single entries of an answered call are tried again, and the pause that doubles between the tries.
const ROUNDS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest delay and visibility that SQS takes.
const LONGEST_DELAY: u16 = 900;
const LONGEST_VISIBILITY: Duration = Duration::from_secs(43_200);

/// One message on its way to a queue.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// JSON text.
    pub body: String,
    /// The message group: order on a FIFO queue, fairness on a standard one.
    pub group: Option<String>,
    /// The deduplication id; FIFO queues only.
    pub dedup: Option<String>,
    /// 0 to 900 seconds (more is cut); standard queues only.
    pub delay_seconds: u16,
    /// Text attributes, at most ten.
    pub attributes: BTreeMap<String, String>,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("body_bytes", &self.body.len())
            .field("group", &self.group.is_some())
            .field("dedup", &self.dedup.is_some())
            .field("delay_seconds", &self.delay_seconds)
            .finish_non_exhaustive()
    }
}

impl Outgoing {
    /// What SQS counts: the body and every attribute's name, type and value.
    fn size(&self) -> usize {
        let attributes: usize =
            self.attributes.iter().map(|(name, value)| name.len() + "String".len() + value.len()).sum();
        self.body.len() + attributes
    }

    /// The body as SQS takes it: of Unicode it refuses these two, which JSON can spell in another way.
    fn wire_body(&self) -> String {
        self.body.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
    }

    fn delay(&self) -> Option<i32> {
        // A FIFO queue refuses the field even when it is zero.
        (self.delay_seconds > 0).then(|| i32::from(self.delay_seconds.min(LONGEST_DELAY)))
    }

    fn entry(&self, id: usize) -> Result<SendMessageBatchRequestEntry, BuildError> {
        SendMessageBatchRequestEntry::builder()
            .id(id.to_string())
            .message_body(self.wire_body())
            .set_message_group_id(self.group.clone())
            .set_message_deduplication_id(self.dedup.clone())
            .set_delay_seconds(self.delay())
            .set_message_attributes(attributes(&self.attributes)?)
            .build()
    }
}

fn attributes(
    texts: &BTreeMap<String, String>,
) -> Result<Option<std::collections::HashMap<String, MessageAttributeValue>>, BuildError> {
    if texts.is_empty() {
        return Ok(None);
    }
    let text = |value: &String| MessageAttributeValue::builder().data_type("String").string_value(value).build();
    texts.iter().map(|(name, value)| Ok((name.clone(), text(value)?))).collect::<Result<_, _>>().map(Some)
}

/// Some messages of a [`Queues::send_all`] were not taken. All others were.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} of {of} messages were not taken by the queue: {cause}", indices.len())]
pub struct Unsent {
    /// Which, as positions in what was handed in, ascending.
    pub indices: Vec<usize>,
    /// How many were handed in.
    pub of: usize,
    /// Why; when the reasons differ, the one that a later try may mend.
    pub cause: AwsError,
}

/// The queues of this stack.
#[derive(Debug, Clone)]
pub struct Queues {
    client: Client,
}

impl Queues {
    /// A client over the process's one configuration.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// Sends one message.
    ///
    /// # Errors
    /// The message is in the queue only when this answers `Ok`.
    pub async fn send(&self, url: &str, message: &Outgoing) -> Result<(), AwsError> {
        if message.size() > LARGEST {
            return Err(too_large());
        }
        self.client
            .send_message()
            .queue_url(url)
            .message_body(message.wire_body())
            .set_message_group_id(message.group.clone())
            .set_message_deduplication_id(message.dedup.clone())
            .set_delay_seconds(message.delay())
            .set_message_attributes(attributes(&message.attributes).map_err(|_| invalid())?)
            .send()
            .await
            .map_err(|error| classify(&error))?;
        Ok(())
    }

    /// Sends any number of messages in as few calls as SQS allows.
    ///
    /// Calls run side by side, but one after another where a deduplication id says that the queue is FIFO, so that the
    /// groups keep the order of the list. Entries that SQS leaves out of a call are tried again a few times.
    ///
    /// # Errors
    /// Names the messages that are not in the queue; all others are.
    pub async fn send_all(&self, url: &str, messages: Vec<Outgoing>) -> Result<(), Unsent> {
        let of = messages.len();
        let ordered = messages.iter().any(|message| message.dedup.is_some());
        let parallel = if ordered { 1 } else { PARALLEL };
        let (fitting, oversized): (Vec<_>, Vec<_>) =
            messages.into_iter().enumerate().partition(|(_, message)| message.size() <= LARGEST);

        let mut left: Vec<(usize, AwsError)> = oversized.into_iter().map(|(index, _)| (index, too_large())).collect();
        let mut calls =
            futures::stream::iter(batches(fitting)).map(|batch| self.send_batch(url, batch)).buffer_unordered(parallel);
        while let Some(unsent) = calls.next().await {
            left.extend(unsent);
        }

        left.sort_by_key(|(index, _)| *index);
        let cause =
            left.iter().find(|(_, cause)| cause.is_transient()).or(left.first()).map(|(_, cause)| cause.clone());
        match cause {
            None => Ok(()),
            Some(cause) => Err(Unsent { indices: left.into_iter().map(|(index, _)| index).collect(), of, cause }),
        }
    }

    /// One call and the retries of what it left out; answers what is still not in the queue.
    async fn send_batch(&self, url: &str, mut batch: Vec<(usize, Outgoing)>) -> Vec<(usize, AwsError)> {
        let mut unsent = Vec::new();
        let mut pause = FIRST_PAUSE;
        for round in 1..=ROUNDS {
            let entries: Result<Vec<_>, _> =
                batch.iter().enumerate().map(|(id, (_, message))| message.entry(id)).collect();
            let Ok(entries) = entries else {
                unsent.extend(batch.into_iter().map(|(index, _)| (index, invalid())));
                return unsent;
            };
            let answer = match self.client.send_message_batch().queue_url(url).set_entries(Some(entries)).send().await {
                Ok(answer) => answer,
                // The SDK has tried the whole call several times already.
                Err(error) => {
                    let cause = classify(&error);
                    unsent.extend(batch.into_iter().map(|(index, _)| (index, cause.clone())));
                    return unsent;
                }
            };
            let mut again = Vec::new();
            for (id, (index, message)) in batch.into_iter().enumerate() {
                match left_out(&answer, &id.to_string()) {
                    None => {}
                    Some(cause) if cause.is_transient() && round < ROUNDS => again.push((index, message)),
                    Some(cause) => unsent.push((index, cause)),
                }
            }
            if again.is_empty() {
                return unsent;
            }
            batch = again;
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        unsent
    }

    /// Hides a received message for this long from now on (at most twelve hours); zero gives it back at once.
    ///
    /// # Errors
    /// `Refused` when the message is no longer ours, for its visibility had already run out.
    pub async fn set_visibility(&self, url: &str, receipt_handle: &str, visible_in: Duration) -> Result<(), AwsError> {
        let whole = visible_in.as_secs() + u64::from(visible_in.subsec_nanos() > 0);
        let seconds = i32::try_from(whole.min(LONGEST_VISIBILITY.as_secs())).unwrap_or(i32::MAX);
        self.client
            .change_message_visibility()
            .queue_url(url)
            .receipt_handle(receipt_handle)
            .visibility_timeout(seconds)
            .send()
            .await
            .map_err(|error| classify(&error))?;
        Ok(())
    }
}

/// Why this entry of a call is not in the queue; nothing when it is.
fn left_out(answer: &SendMessageBatchOutput, id: &str) -> Option<AwsError> {
    if answer.successful().iter().any(|taken| taken.id() == id) {
        return None;
    }
    Some(match answer.failed().iter().find(|failed| failed.id() == id) {
        None => AwsError::Unavailable,
        Some(failed) => {
            let status = if failed.sender_fault() { 400 } else { 500 };
            let code = failed.code();
            shared(&crate::error::Failure { code, status, message: "" })
        }
    })
}

/// As few calls as the limits on messages and bytes allow, in the given order.
fn batches(messages: Vec<(usize, Outgoing)>) -> Vec<Vec<(usize, Outgoing)>> {
    let mut batches = Vec::new();
    let mut current: Vec<(usize, Outgoing)> = Vec::new();
    let mut bytes = 0;
    for (index, message) in messages {
        let size = message.size();
        if current.len() == BATCH || (bytes + size > LARGEST && !current.is_empty()) {
            batches.push(std::mem::take(&mut current));
            bytes = 0;
        }
        bytes += size;
        current.push((index, message));
    }
    if !current.is_empty() {
        batches.push(current);
    }
    batches
}

fn too_large() -> AwsError {
    AwsError::Refused { code: bare("MessageTooLarge") }
}

fn invalid() -> AwsError {
    AwsError::Refused { code: bare("InvalidRequest") }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use wiremock::matchers::header;
    use wiremock::{Mock, MockServer, Request, ResponseTemplate};

    use super::*;

    const URL: &str = "http://127.0.0.1/1/deliver";

    /// What the queue answers for an entry at its n-th appearance (from 1): nothing, or an error code and whose fault.
    type Verdict = fn(body: &str, appearance: usize) -> Option<(&'static str, bool)>;

    /// An SQS that speaks the wire protocol and remembers every call's entries.
    struct Queue {
        server: MockServer,
        calls: Arc<Mutex<Vec<Vec<Value>>>>,
    }

    impl Queue {
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
                            None => {
                                successful.push(json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "0"}))
                            }
                            Some((code, sender)) => {
                                failed.push(
                                    json!({"Id": entry["Id"], "Code": code, "SenderFault": sender, "Message": body}),
                                );
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
            Queues::new(&crate::config::towards(&self.server.uri()).await)
        }

        fn calls(&self) -> Vec<Vec<Value>> {
            self.calls.lock().unwrap().clone()
        }
    }

    fn messages(bodies: impl IntoIterator<Item = String>) -> Vec<Outgoing> {
        bodies.into_iter().map(|body| Outgoing { body, ..Outgoing::default() }).collect()
    }

    #[tokio::test]
    async fn messages_travel_in_calls_of_ten_each_once() {
        let queue = Queue::start(|_, _| None).await;
        queue.queues().await.send_all(URL, messages((0..95).map(|n| format!("m{n}")))).await.unwrap();
        let calls = queue.calls();
        assert_eq!(calls.len(), 10);
        assert!(calls.iter().all(|entries| entries.len() <= 10));
        let mut bodies: Vec<&str> =
            calls.iter().flatten().map(|entry| entry["MessageBody"].as_str().unwrap()).collect();
        bodies.sort_unstable();
        bodies.dedup();
        assert_eq!(bodies.len(), 95);
    }

    #[tokio::test]
    async fn nothing_to_send_is_no_call() {
        let queue = Queue::start(|_, _| None).await;
        queue.queues().await.send_all(URL, Vec::new()).await.unwrap();
        assert!(queue.calls().is_empty());
    }

    #[tokio::test]
    async fn what_a_call_leaves_out_is_sent_again_alone() {
        let queue = Queue::start(|body, time| (body == "m3" && time < 3).then_some(("InternalError", false))).await;
        queue.queues().await.send_all(URL, messages((0..10).map(|n| format!("m{n}")))).await.unwrap();
        let sizes: Vec<usize> = queue.calls().iter().map(Vec::len).collect();
        assert_eq!(sizes, [10, 1, 1]);
    }

    #[tokio::test]
    async fn what_stays_out_is_named_by_position() {
        let queue = Queue::start(|body, _| (body == "m3" || body == "m14").then_some(("InternalError", false))).await;
        let unsent = queue.queues().await.send_all(URL, messages((0..20).map(|n| format!("m{n}")))).await.unwrap_err();
        assert_eq!(unsent, Unsent { indices: vec![3, 14], of: 20, cause: AwsError::Unavailable });
        assert_eq!(unsent.to_string(), "2 of 20 messages were not taken by the queue: AWS did not answer or failed");
        assert_eq!(queue.calls().len(), 2 * 4);
    }

    #[tokio::test]
    async fn an_entry_that_is_our_fault_is_not_sent_again() {
        let queue = Queue::start(|body, _| (body == "bad").then_some(("InvalidMessageContents", true))).await;
        let sent = queue.queues().await.send_all(URL, messages(["good".to_owned(), "bad".to_owned()])).await;
        let cause = AwsError::Refused { code: "InvalidMessageContents".to_owned() };
        assert_eq!(sent, Err(Unsent { indices: vec![1], of: 2, cause }));
        assert_eq!(queue.calls().len(), 1);
    }

    #[tokio::test]
    async fn a_call_stays_under_one_mebibyte() {
        let queue = Queue::start(|_, _| None).await;
        let large = |n: usize| format!("{n}{}", "x".repeat(300_000));
        queue.queues().await.send_all(URL, messages((0..7).map(large))).await.unwrap();
        let sizes: Vec<usize> = queue.calls().iter().map(Vec::len).collect();
        assert_eq!((sizes.iter().sum::<usize>(), sizes.iter().max()), (7, Some(&3)));
    }

    #[tokio::test]
    async fn a_message_that_no_queue_takes_does_not_hold_the_others() {
        let queue = Queue::start(|_, _| None).await;
        let bodies = ["a".to_owned(), "x".repeat(LARGEST + 1), "b".to_owned()];
        let unsent = queue.queues().await.send_all(URL, messages(bodies)).await.unwrap_err();
        assert_eq!((unsent.indices, unsent.cause), (vec![1], AwsError::Refused { code: "MessageTooLarge".to_owned() }));
        assert_eq!(queue.calls().iter().flatten().count(), 2);
    }

    #[tokio::test]
    async fn a_fifo_queue_gets_its_calls_in_order() {
        let queue = Queue::start(|_, _| None).await;
        let ordered = messages((0..60).map(|n| format!("{n:02}"))).into_iter().map(|message| Outgoing {
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
        assert!(entries[7].get("DelaySeconds").is_none(), "a FIFO queue refuses the field");
    }

    #[tokio::test]
    async fn delay_group_and_attributes_reach_the_wire() {
        let queue = Queue::start(|_, _| None).await;
        let message = Outgoing {
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
    async fn errors_of_whole_calls_are_named_by_what_to_do() {
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
                .respond_with(
                    ResponseTemplate::new(status).set_body_raw(error.to_string(), "application/x-amz-json-1.0"),
                )
                .mount(&server)
                .await;
            let queues = Queues::new(&crate::config::towards(&server.uri()).await);
            let message = Outgoing { body: "hunter2".to_owned(), ..Outgoing::default() };
            let sent = queues.send(URL, &message).await.unwrap_err();
            assert_eq!(sent, expected, "{code}");
            assert!(!format!("{sent} {sent:?} {message:?}").contains("hunter2"));
            assert_eq!(server.received_requests().await.unwrap().len(), calls, "{code}");

            let all = queues.send_all(URL, messages(["a".to_owned(), "b".to_owned()])).await.unwrap_err();
            assert_eq!(all, Unsent { indices: vec![0, 1], of: 2, cause: expected.clone() });
            assert_eq!(queues.set_visibility(URL, "r", Duration::ZERO).await, Err(expected));
        }
    }

    #[tokio::test]
    async fn visibility_is_whole_seconds_rounded_up_and_at_most_twelve_hours() {
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
            let queues = Queues::new(&crate::config::towards(&server.uri()).await);
            queues.set_visibility(URL, "handle", visible_in).await.unwrap();
            let sent: Value = serde_json::from_slice(&server.received_requests().await.unwrap()[0].body).unwrap();
            assert_eq!((&sent["VisibilityTimeout"], &sent["ReceiptHandle"]), (&json!(seconds), &json!("handle")));
        }
    }

    #[test]
    fn a_body_has_no_character_that_sqs_refuses() {
        let body = json!({"title": "a\u{fffe}b\u{ffff}ü"}).to_string();
        let wire = Outgoing { body: body.clone(), ..Outgoing::default() }.wire_body();
        assert!(!wire.contains(['\u{fffe}', '\u{ffff}']));
        assert_eq!(serde_json::from_str::<Value>(&wire).unwrap(), serde_json::from_str::<Value>(&body).unwrap());
    }
}
