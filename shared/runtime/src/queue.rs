//! Handles SQS batches for all functions that consume queues.
//!
//! All records of a standard queue run concurrently. On a FIFO queue, message groups run concurrently and the records of a group in
//! order, up to the first failure. An unprocessable (poison) message, which panics or does not parse, is sent to the dead-letter queue
//! immediately with the reason, and does not affect other records. Shortly before the invocation ends, unfinished records are returned
//! to their queue.

mod dead_letter;
mod record_error;
#[cfg(test)]
mod tests;
mod turns;

pub use dead_letter::dead_letter_attributes;
pub use record_error::{RecordError, aws_error, store_error, unsent_error, verdict_result};
pub use turns::{first_turn, next_turn};

use dead_letter::dead_letter_message;

use crate::{Aws, DirectError, StartError, clock, metrics};
use aws::sqs::Queues;
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use contracts::queue::{Correlated, Lane, VERSION};
use futures::FutureExt;
use futures::future::join_all;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;
use std::time::Duration;
use tracing::Instrument;

/// Time reserved at the end of an invocation for returning records to their queue and for the response.
const DEADLINE_RESERVE: Duration = Duration::from_millis(1_000);
/// Part of the reserve that is kept for the response alone. A late response fails the whole batch, and all its finished records would
/// be handled again.
const RESPONSE_RESERVE: Duration = Duration::from_millis(250);
/// Pause after an AWS fault at the first receive; it doubles with each further receive.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Maximum pause after an AWS fault: 15 minutes.
const PAUSE_MAX: Duration = Duration::from_secs(900);

/// How long a record that cannot be read is tried at least: longer than a deployment takes.
const DEPLOYMENT_MAX: jiff::SignedDuration = jiff::SignedDuration::from_mins(20);

/// Metric of records that return to their queue because of AWS or ourselves. It has an alarm, because the age of a standard queue's
/// oldest message ignores messages that were received three times.
const FAULT_METRIC: &str = "AwsFault";

/// A Lambda function that consumes SQS queues.
pub trait QueueFunction: Send + Sync + Sized + 'static {
    /// Name of the function, in logs and metrics.
    const NAME: &'static str;
    /// Type of the queue messages.
    type Message: DeserializeOwned + Correlated + Send;

    /// Builds the function once per process, at cold start.
    fn start(aws: &Aws) -> impl Future<Output = Result<Self, StartError>> + Send;

    /// Returns the function's queues.
    fn setup(&self) -> QueueSetup;

    /// Parses a record's body, by default as JSON of the version that this release writes or an older one. The dead-letter function accepts
    /// bodies that are not JSON.
    ///
    /// # Errors
    /// Why the message cannot be read, without anything of the body.
    fn read(&self, body: &str, _meta: &RecordMeta) -> Result<Self::Message, RecordError> {
        if let Some(version) = newer_version(body) {
            return Err(RecordError::newer_message(version));
        }
        // Only the position of the error, never the text there.
        serde_json::from_str(body).map_err(|error| {
            RecordError::unprocessable(&format!(
                "the message body does not match the expected format ({:?} error at line {} column {})",
                error.classify(),
                error.line(),
                error.column()
            ))
        })
    }

    /// Handles one message of the batch.
    fn handle(&self, message: Self::Message, meta: &RecordMeta)
    -> impl Future<Output = Result<(), RecordError>> + Send;
}

/// Returns the version of a message if a later release wrote it. A release never reads what a later one writes: half of its functions may be
/// deployed already.
fn newer_version(body: &str) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        v: u64,
    }
    let Versioned { v } = serde_json::from_str(body).ok()?;
    (v > u64::from(VERSION)).then_some(v)
}

/// The queues of a function.
#[derive(Clone, Debug)]
pub struct QueueSetup {
    /// URL of the dead-letter queue; `None` for the function that consumes dead letters.
    pub dead_letters: Option<String>,
    /// URLs of the source queues with their lanes.
    pub sources: Vec<(String, Lane)>,
}

impl QueueSetup {
    /// Builds the setup of a function with FIFO queues, which are all urgent.
    #[must_use]
    pub fn fifo(dead_letters: &str, sources: &[&str]) -> Self {
        let sources = sources.iter().map(|url| ((*url).to_owned(), Lane::Urgent)).collect();
        Self { dead_letters: Some(dead_letters.to_owned()), sources }
    }

    /// Builds the setup of a function with an urgent and a bulk queue.
    #[must_use]
    pub fn lanes(dead_letters: &str, urgent: &str, bulk: &str) -> Self {
        let sources = vec![(urgent.to_owned(), Lane::Urgent), (bulk.to_owned(), Lane::Bulk)];
        Self { dead_letters: Some(dead_letters.to_owned()), sources }
    }

    /// Returns a source queue's URL and lane by the queue's name.
    fn source(&self, name: &str) -> Option<(&str, Lane)> {
        let found = self.sources.iter().find(|(url, _)| url.rsplit('/').next() == Some(name));
        found.map(|(url, lane)| (url.as_str(), *lane))
    }
}

/// The time at which Lambda ends an invocation.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at_ms: i64,
}

impl Deadline {
    /// Builds a deadline from Unix milliseconds, as provided by Lambda.
    #[must_use]
    pub fn at_epoch_ms(at_ms: u64) -> Self {
        Self { at_ms: i64::try_from(at_ms).unwrap_or(i64::MAX) }
    }

    /// Returns the time left for work: the time until the deadline without the reserve.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.until_end().saturating_sub(DEADLINE_RESERVE)
    }

    /// Returns the time until Lambda ends the invocation.
    #[must_use]
    pub fn until_end(&self) -> Duration {
        let left = self.at_ms.saturating_sub(clock::system_now().as_millisecond());
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    /// Returns the time left for dead letters and for returning records to their queue.
    fn until_response_reserve(&self) -> Duration {
        self.until_end().saturating_sub(RESPONSE_RESERVE)
    }
}

/// Attributes of a record, as SQS provides them.
#[derive(Clone, Debug)]
pub struct RecordMeta {
    /// Message id that SQS assigned.
    pub message_id: String,
    /// Number of times that the record was received, including this time.
    pub receive_count: u32,
    /// When the record was sent.
    pub sent_at: Option<Timestamp>,
    /// Name of the queue: the last part of its ARN.
    pub queue: String,
    /// In a dead-letter queue: name of the queue from which SQS moved the record after its last receive.
    pub moved_from: Option<String>,
    /// Lane of the queue.
    pub lane: Lane,
    /// Message group, if there is one.
    pub group: Option<String>,
    /// Text attributes of the message.
    pub attributes: BTreeMap<String, String>,
    /// When Lambda ends the invocation.
    pub deadline: Deadline,
    receipt: String,
}

impl RecordMeta {
    /// Whether a record that cannot be read is tried no more: it was received often enough, and for longer than a deployment takes. It may have
    /// been received for other reasons before.
    fn is_given_up(&self, receives_max: u32) -> bool {
        let since = self.sent_at.unwrap_or(Timestamp::UNIX_EPOCH);
        let is_old = clock::system_now().duration_since(since) >= DEPLOYMENT_MAX;
        self.receive_count >= record_error::RECEIVES_MAX || (self.receive_count >= receives_max && is_old)
    }
}

/// The result of handling a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecordResult {
    /// The record is finished, and Lambda deletes it.
    Done,
    /// The record is visible again after this pause.
    ReturnToQueue(Duration),
}

/// Runs a function on SQS batches.
pub(crate) struct QueueWorker<F> {
    function: F,
    setup: QueueSetup,
    queues: Queues,
}

impl<F: QueueFunction> QueueWorker<F> {
    pub(crate) fn new(function: F, aws: &Aws) -> Self {
        let setup = function.setup();
        Self { function, setup, queues: Queues::new(aws.config()) }
    }

    pub(crate) fn function(&self) -> &F {
        &self.function
    }

    /// Handles a batch and returns Lambda's batch response with the records that are not finished.
    pub(crate) async fn handle_batch(&self, event: Value, deadline: Deadline) -> Result<Value, DirectError> {
        let event: SqsEvent = serde_json::from_value(event)
            .map_err(|_| DirectError::new("BadRequest", "this function accepts only SQS events"))?;
        let all = event.records.len();
        let mut records = Vec::with_capacity(all);
        for record in event.records {
            // A record without id cannot be reported as failed, so the whole batch must be received again.
            let meta = self
                .record_meta(&record, deadline)
                .ok_or_else(|| DirectError::new("BadRequest", "a record has no message id"))?;
            records.push((meta, record.body.unwrap_or_default()));
        }
        let failed: Vec<String> =
            join_all(ordered_groups(records).into_iter().map(|line| self.handle_in_order(line))).await.concat();
        tracing::info!(records = all, failed = failed.len(), "batch handled");
        serde_json::to_value(batch_response(failed))
            .map_err(|_| DirectError::new("Internal", "the result cannot be serialized"))
    }

    /// Handles records one after another, up to the first failure. Returns the ids of that record and all after it.
    async fn handle_in_order(&self, records: Vec<(RecordMeta, String)>) -> Vec<String> {
        let mut records = records.into_iter();
        while let Some((meta, body)) = records.next() {
            let span = tracing::info_span!(
                "record",
                message_id = meta.message_id,
                receive_count = meta.receive_count,
                queue = meta.queue,
                correlation_id = tracing::field::Empty,
                tenant = tracing::field::Empty,
                incident = tracing::field::Empty,
            );
            let RecordResult::ReturnToQueue(pause) = self.handle_record(&meta, &body).instrument(span).await else {
                continue;
            };
            let unfinished: Vec<RecordMeta> = std::iter::once(meta).chain(records.map(|(meta, _)| meta)).collect();
            // SQS locks a group while one of its messages is hidden. The messages after the failure are hidden, too, and would lock the
            // group until their visibility timeout, however short the pause.
            for meta in &unfinished {
                self.return_to_queue(meta, pause).await;
            }
            return unfinished.into_iter().map(|meta| meta.message_id).collect();
        }
        Vec::new()
    }

    /// Handles one record within the deadline and decides what happens to it.
    async fn handle_record(&self, meta: &RecordMeta, body: &str) -> RecordResult {
        if meta.deadline.remaining().is_zero() {
            tracing::warn!("record not started: the invocation has no time left");
            return RecordResult::ReturnToQueue(Duration::ZERO);
        }
        let correlation = OnceLock::new();
        let handling = async {
            let message = self.function.read(body, meta)?;
            let correlation = correlation.get_or_init(|| message.correlation_id().to_owned());
            tracing::Span::current().record("correlation_id", correlation.as_str());
            self.function.handle(message, meta).await
        };
        let result = tokio::time::timeout(meta.deadline.remaining(), AssertUnwindSafe(handling).catch_unwind()).await;
        let correlation = correlation.get().map(String::as_str);
        match result {
            Ok(Ok(Ok(()))) => RecordResult::Done,
            Ok(Ok(Err(RecordError::Unprocessable { reason }))) => {
                self.send_to_dead_letters(meta, body, &reason, correlation).await
            }
            Ok(Ok(Err(RecordError::Unreadable { reason, receives_max }))) if meta.is_given_up(receives_max) => {
                self.send_to_dead_letters(meta, body, &reason, correlation).await
            }
            Ok(Ok(Err(RecordError::Unreadable { reason, .. }))) => {
                let pause = pause_after(meta.receive_count);
                metrics::count(FAULT_METRIC, 1);
                tracing::error!(reason, pause_s = pause.as_secs(), "this version cannot read it; tried again");
                RecordResult::ReturnToQueue(pause)
            }
            Ok(Ok(Err(RecordError::RetryAfter { pause, code }))) => {
                tracing::info!(code, pause_ms = pause.as_millis(), "record returned to the queue for a pause");
                RecordResult::ReturnToQueue(pause)
            }
            Ok(Ok(Err(RecordError::Retry { code }))) => {
                let pause = pause_after(meta.receive_count);
                metrics::count(FAULT_METRIC, 1);
                tracing::warn!(code, pause_s = pause.as_secs(), "AWS fault");
                RecordResult::ReturnToQueue(pause)
            }
            Ok(Err(_panic)) => {
                self.send_to_dead_letters(meta, body, "the function panicked while handling the message", correlation)
                    .await
            }
            Err(_elapsed) => {
                // The first time may be chance. A record that reaches the deadline again is an AWS fault and pauses longer each time:
                // calls to slow receivers time out before the deadline.
                let pause = if meta.receive_count > 1 {
                    metrics::count(FAULT_METRIC, 1);
                    pause_after(meta.receive_count)
                } else {
                    Duration::ZERO
                };
                tracing::warn!(pause_s = pause.as_secs(), "record returned to the queue at the deadline");
                RecordResult::ReturnToQueue(pause)
            }
        }
    }

    /// Sends an unprocessable message to the dead-letter queue with the reason. If that fails, the message stays on its queue.
    async fn send_to_dead_letters(
        &self,
        meta: &RecordMeta,
        body: &str,
        reason: &str,
        correlation: Option<&str>,
    ) -> RecordResult {
        match &self.setup.dead_letters {
            None => tracing::error!(reason, "unprocessable message stays on its queue"),
            Some(url) => {
                let outgoing = dead_letter_message(url, meta, body, reason, correlation);
                match tokio::time::timeout(meta.deadline.until_response_reserve(), self.queues.send(url, &outgoing))
                    .await
                {
                    Ok(Ok(())) => {
                        tracing::error!(reason, "unprocessable message sent to the dead-letter queue");
                        return RecordResult::Done;
                    }
                    Ok(Err(error)) => {
                        tracing::error!(reason, %error, "unprocessable message stays on its queue: the dead-letter queue rejected it");
                    }
                    Err(_elapsed) => {
                        tracing::error!(
                            reason,
                            "unprocessable message stays on its queue: no time left for the dead-letter queue"
                        );
                    }
                }
            }
        }
        metrics::count(FAULT_METRIC, 1);
        RecordResult::ReturnToQueue(pause_after(meta.receive_count))
    }

    /// Makes a record visible again after `pause`. If that fails, it stays hidden until its visibility timeout.
    async fn return_to_queue(&self, meta: &RecordMeta, pause: Duration) {
        let Some((url, _)) = self.setup.source(&meta.queue) else { return };
        let change = self.queues.set_visibility(url, &meta.receipt, pause);
        match tokio::time::timeout(meta.deadline.until_response_reserve(), change).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, message_id = meta.message_id, "cannot return the record to the queue; it stays hidden until its visibility timeout");
            }
            Err(_elapsed) => {
                tracing::warn!(
                    message_id = meta.message_id,
                    "no time left to return the record to the queue; it stays hidden until its visibility timeout"
                );
            }
        }
    }

    /// Reads a record's attributes; `None` if it has no message id.
    fn record_meta(&self, record: &SqsMessage, deadline: Deadline) -> Option<RecordMeta> {
        let attribute = |name: &str| record.attributes.get(name);
        let queue = record.event_source_arn.as_deref().and_then(|arn| arn.rsplit(':').next()).unwrap_or_default();
        let sent_at = attribute("SentTimestamp").and_then(|text| text.parse().ok());
        Some(RecordMeta {
            message_id: record.message_id.clone().filter(|id| !id.is_empty())?,
            receive_count: attribute("ApproximateReceiveCount").and_then(|text| text.parse().ok()).unwrap_or(1),
            sent_at: sent_at.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            queue: queue.to_owned(),
            moved_from: attribute("DeadLetterQueueSourceArn").and_then(|arn| arn.rsplit(':').next()).map(str::to_owned),
            lane: self.setup.source(queue).map_or(Lane::Urgent, |(_, lane)| lane),
            group: attribute("MessageGroupId").cloned(),
            attributes: record
                .message_attributes
                .iter()
                .filter_map(|(name, value)| value.string_value.clone().map(|value| (name.clone(), value)))
                .collect(),
            deadline,
            receipt: record.receipt_handle.clone().unwrap_or_default(),
        })
    }
}

/// Splits a batch into sequences that may run concurrently: each record of a standard queue, and each message group of a FIFO queue in
/// the order of the batch.
fn ordered_groups(records: Vec<(RecordMeta, String)>) -> Vec<Vec<(RecordMeta, String)>> {
    let mut groups: Vec<Vec<(RecordMeta, String)>> = Vec::new();
    for record in records {
        let fifo = record.0.queue.ends_with(".fifo");
        let same_group = |group: &&mut Vec<(RecordMeta, String)>| {
            group.first().is_some_and(|(first, _)| first.queue == record.0.queue && first.group == record.0.group)
        };
        match groups.iter_mut().find(same_group) {
            Some(group) if fifo => group.push(record),
            _ => groups.push(vec![record]),
        }
    }
    groups
}

fn batch_response(failed: Vec<String>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for id in failed {
        response.add_failure(id);
    }
    response
}

/// Returns the pause after an AWS fault at the n-th receive: 5 s, 10 s, 20 s, … 15 min.
fn pause_after(receive_count: u32) -> Duration {
    let doublings = receive_count.saturating_sub(1).min(10);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(PAUSE_MAX)
}
