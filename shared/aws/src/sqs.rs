//! Sends messages to queues, singly or in batches, and changes the visibility of received messages.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::BuildError;
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use futures::StreamExt;

use crate::error::{AwsError, classify, classify_failure, plain_code};

/// Maximum messages that SQS accepts in one call.
const MESSAGES_PER_CALL_MAX: usize = 10;
/// Maximum bytes that SQS accepts in one message and in one call.
const BYTES_MAX: usize = 1_048_576;
/// Maximum calls in flight. More would only wait inside the client.
const CALLS_IN_FLIGHT_MAX: usize = 8;
/// Maximum tries of an entry that SQS rejects in an otherwise successful call.
const ENTRY_TRIES: u32 = 4;
/// Pause before the second try of rejected entries; it doubles with each further try.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// Maximum delivery delay that SQS accepts, in seconds.
const DELAY_MAX: u16 = 900;
/// Maximum visibility timeout that SQS accepts: twelve hours.
const VISIBILITY_MAX: Duration = Duration::from_secs(43_200);

/// A message to send to a queue.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// The message body: JSON text.
    pub body: String,
    /// Message group, for ordering on a FIFO queue and fairness on a standard queue.
    pub group: Option<String>,
    /// Deduplication id, for FIFO queues only.
    pub dedup: Option<String>,
    /// Delivery delay of 0 to 900 seconds (higher values are capped), for standard queues only.
    pub delay_seconds: u16,
    /// Text attributes, at most ten (limit of SQS).
    pub attributes: BTreeMap<String, String>,
}

impl fmt::Debug for OutgoingMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("body_bytes", &self.body.len())
            .field("group", &self.group.is_some())
            .field("dedup", &self.dedup.is_some())
            .field("delay_seconds", &self.delay_seconds)
            .finish_non_exhaustive()
    }
}

impl OutgoingMessage {
    /// Returns the size that SQS counts: the body and the name, type and value of all attributes.
    fn size(&self) -> usize {
        let attributes: usize =
            self.attributes.iter().map(|(name, value)| name.len() + "String".len() + value.len()).sum();
        self.body.len() + attributes
    }

    /// Escapes the two Unicode characters that SQS rejects, as JSON allows.
    fn wire_body(&self) -> String {
        self.body.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
    }

    fn delay(&self) -> Option<i32> {
        // A FIFO queue rejects the field even if it is zero.
        (self.delay_seconds > 0).then(|| i32::from(self.delay_seconds.min(DELAY_MAX)))
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

/// Some messages of a [`Queues::send_all`] call were not accepted. All others were.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} of {total} messages were not accepted by the queue: {cause}", indices.len())]
pub struct UnsentMessages {
    /// Positions of the unsent messages in the given list, ascending.
    pub indices: Vec<usize>,
    /// Number of messages in the given list.
    pub total: usize,
    /// Why they were not accepted. If the causes differ, one that a retry may resolve.
    pub cause: AwsError,
}

/// Sends to the stack's SQS queues.
#[derive(Debug, Clone)]
pub struct Queues {
    client: Client,
}

impl Queues {
    /// Creates a client with the process's configuration.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// Sends one message to a queue.
    ///
    /// # Errors
    /// [`AwsError`] of the call. The message is certain to be in the queue only if this returns `Ok`.
    pub async fn send(&self, url: &str, message: &OutgoingMessage) -> Result<(), AwsError> {
        if message.size() > BYTES_MAX {
            return Err(too_large_error());
        }
        self.client
            .send_message()
            .queue_url(url)
            .message_body(message.wire_body())
            .set_message_group_id(message.group.clone())
            .set_message_deduplication_id(message.dedup.clone())
            .set_delay_seconds(message.delay())
            .set_message_attributes(attributes(&message.attributes).map_err(|_| invalid_request_error())?)
            .send()
            .await
            .map_err(|error| classify(&error))?;
        Ok(())
    }

    /// Sends any number of messages in as few calls as SQS allows.
    ///
    /// Calls run concurrently. If a message has a deduplication id, the queue is FIFO and calls run one after another, so that groups
    /// keep the order of the list. Entries that SQS rejects are retried a few times.
    ///
    /// # Errors
    /// The positions of the messages that are not in the queue. All others are.
    pub async fn send_all(&self, url: &str, messages: Vec<OutgoingMessage>) -> Result<(), UnsentMessages> {
        let of = messages.len();
        let ordered = messages.iter().any(|message| message.dedup.is_some());
        let parallel = if ordered { 1 } else { CALLS_IN_FLIGHT_MAX };
        let (fitting, oversized): (Vec<_>, Vec<_>) =
            messages.into_iter().enumerate().partition(|(_, message)| message.size() <= BYTES_MAX);

        let mut left: Vec<(usize, AwsError)> =
            oversized.into_iter().map(|(index, _)| (index, too_large_error())).collect();
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
            Some(cause) => {
                Err(UnsentMessages { indices: left.into_iter().map(|(index, _)| index).collect(), total: of, cause })
            }
        }
    }

    /// Sends one batch and retries its rejected entries. Returns the positions and causes of those that are still not in the queue.
    async fn send_batch(&self, url: &str, mut batch: Vec<(usize, OutgoingMessage)>) -> Vec<(usize, AwsError)> {
        let mut unsent = Vec::new();
        let mut pause = FIRST_BACKOFF;
        for round in 1..=ENTRY_TRIES {
            let entries: Result<Vec<_>, _> =
                batch.iter().enumerate().map(|(id, (_, message))| message.entry(id)).collect();
            let Ok(entries) = entries else {
                unsent.extend(batch.into_iter().map(|(index, _)| (index, invalid_request_error())));
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
                match entry_error(&answer, &id.to_string()) {
                    None => {}
                    Some(cause) if cause.is_transient() && round < ENTRY_TRIES => again.push((index, message)),
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

    /// Makes a received message visible again after `visible_in` (at most twelve hours, rounded up to seconds). Zero returns it to the
    /// queue immediately.
    ///
    /// # Errors
    /// [`AwsError`] of the call; `Refused` if the message's visibility timeout has already expired.
    pub async fn set_visibility(&self, url: &str, receipt_handle: &str, visible_in: Duration) -> Result<(), AwsError> {
        let whole = visible_in.as_secs() + u64::from(visible_in.subsec_nanos() > 0);
        let seconds = i32::try_from(whole.min(VISIBILITY_MAX.as_secs())).unwrap_or(i32::MAX);
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

/// Returns why SQS rejected an entry of a call, or `None` if it is in the queue.
fn entry_error(answer: &SendMessageBatchOutput, id: &str) -> Option<AwsError> {
    if answer.successful().iter().any(|accepted| accepted.id() == id) {
        return None;
    }
    Some(match answer.failed().iter().find(|failed| failed.id() == id) {
        None => AwsError::Unavailable,
        Some(failed) => {
            let status = if failed.sender_fault() { 400 } else { 500 };
            let code = failed.code();
            classify_failure(&crate::error::ServiceFailure { code, status, message: "" })
        }
    })
}

/// Splits messages into as few batches as the limits on messages and bytes allow, in the given order.
fn batches(messages: Vec<(usize, OutgoingMessage)>) -> Vec<Vec<(usize, OutgoingMessage)>> {
    let mut batches = Vec::new();
    let mut current: Vec<(usize, OutgoingMessage)> = Vec::new();
    let mut bytes = 0;
    for (index, message) in messages {
        let size = message.size();
        if current.len() == MESSAGES_PER_CALL_MAX || (bytes + size > BYTES_MAX && !current.is_empty()) {
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

fn too_large_error() -> AwsError {
    AwsError::Refused { code: plain_code("MessageTooLarge") }
}

fn invalid_request_error() -> AwsError {
    AwsError::Refused { code: plain_code("InvalidRequest") }
}

#[cfg(test)]
mod tests;
