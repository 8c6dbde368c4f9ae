//! The batch loop of every function that is fed by a queue.
//!
//! A whole standard batch is in flight at once. Of a FIFO batch the groups are, each in strict order, and a group ends at its
//! first failure. A record that panics or does not parse is poison: it is parked in the dead-letter queue at once with its
//! reason, and its neighbours never notice. Shortly before the invocation's end what is not done is handed back.

use crate::{Aws, DirectError, StartError, clock, metrics};
use aws::AwsError;
use aws::sqs::{Outgoing, Queues, Unsent};
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use contracts::queue::Correlated;
use futures::FutureExt;
use futures::future::join_all;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;
use std::time::Duration;
use store::StoreError;
use tracing::Instrument;

/// What is kept back of an invocation's time: enough to hand a record back and to answer.
const RESERVE: Duration = Duration::from_millis(1_000);
/// What is left of the reserve when the handing back must be over: an answer that comes too late fails the whole batch, and
/// every record that is done already would be done again.
const ANSWER: Duration = Duration::from_millis(250);
/// The first pause after an AWS fault; it doubles with each receive.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause after an AWS fault.
const LONGEST_PAUSE: Duration = Duration::from_secs(900);

/// What is counted of records that go back to their queue for AWS's fault or ours. It alarms, for the age of a standard queue's
/// oldest message leaves out what was received three times.
const FAULT: &str = "AwsFault";

/// A function that is fed by queues.
pub trait QueueFunction: Send + Sync + Sized + 'static {
    /// The function's name.
    const NAME: &'static str;
    /// What it is fed with.
    type Message: DeserializeOwned + Correlated + Send;

    /// Builds the function.
    fn start(aws: &Aws) -> impl Future<Output = Result<Self, StartError>> + Send;

    /// Its queues.
    fn setup(&self) -> Setup;

    /// Reads one record; JSON unless a function is fed with what others could not read.
    ///
    /// # Errors
    /// Why it is poison.
    fn read(&self, body: &str, _meta: &Meta) -> Result<Self::Message, String> {
        // Where the body stops fitting, never what stands there.
        serde_json::from_str(body).map_err(|error| {
            format!(
                "the body does not fit ({:?} error at line {} column {})",
                error.classify(),
                error.line(),
                error.column()
            )
        })
    }

    /// Handles one message.
    fn handle(&self, message: Self::Message, meta: &Meta) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A function's queues.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where poison goes; `None` for the function that handles dead letters itself.
    pub dead_letters: Option<String>,
    /// Queue URLs with their lanes.
    pub sources: Vec<(String, Lane)>,
}

impl Setup {
    /// FIFO queues: all urgent.
    #[must_use]
    pub fn fifo(dead_letters: &str, sources: &[&str]) -> Self {
        let sources = sources.iter().map(|url| ((*url).to_owned(), Lane::Urgent)).collect();
        Self { dead_letters: Some(dead_letters.to_owned()), sources }
    }

    /// The two lanes of a channel.
    #[must_use]
    pub fn lanes(dead_letters: &str, urgent: &str, bulk: &str) -> Self {
        let sources = vec![(urgent.to_owned(), Lane::Urgent), (bulk.to_owned(), Lane::Bulk)];
        Self { dead_letters: Some(dead_letters.to_owned()), sources }
    }

    /// A queue's URL and lane by the last part of its ARN.
    fn source(&self, name: &str) -> Option<(&str, Lane)> {
        let found = self.sources.iter().find(|(url, _)| url.rsplit('/').next() == Some(name));
        found.map(|(url, lane)| (url.as_str(), *lane))
    }
}

/// A channel's two lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A tenant's own alerts.
    Urgent,
    /// Platform-wide fan-out and retries.
    Bulk,
}

/// When an invocation ends.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at_ms: i64,
}

impl Deadline {
    /// A deadline in epoch milliseconds, as Lambda gives it.
    #[must_use]
    pub fn at_epoch_ms(at_ms: u64) -> Self {
        Self { at_ms: i64::try_from(at_ms).unwrap_or(i64::MAX) }
    }

    /// What is left of the invocation for work, without the reserve.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.until_end().saturating_sub(RESERVE)
    }

    /// What is left until Lambda ends the invocation, whatever still runs.
    #[must_use]
    pub fn until_end(&self) -> Duration {
        let left = self.at_ms.saturating_sub(clock::machine().as_millisecond());
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    /// What is left for parking and handing back.
    fn until_answer(&self) -> Duration {
        self.until_end().saturating_sub(ANSWER)
    }
}

/// What the queue says about a record.
#[derive(Clone, Debug)]
pub struct Meta {
    /// The message id.
    pub message_id: String,
    /// How often it was received, this time included.
    pub receive_count: u32,
    /// When it was sent.
    pub sent_at: Option<Timestamp>,
    /// The queue's name: the last part of its ARN.
    pub queue: String,
    /// In a dead-letter queue: the queue that SQS itself moved the record from, after its last receive.
    pub moved_from: Option<String>,
    /// The queue's lane.
    pub lane: Lane,
    /// The message group.
    pub group: Option<String>,
    /// Its text attributes.
    pub attributes: BTreeMap<String, String>,
    /// When the invocation ends.
    pub deadline: Deadline,
    receipt: String,
}

/// Why a record is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// An AWS fault: nobody's poison. Back to the queue, each time for longer.
    Retry {
        /// A code for the log.
        code: String,
    },
    /// Somebody else is at it: back to the queue until then.
    Later {
        /// For how long.
        pause: Duration,
        /// A code for the log.
        code: &'static str,
    },
    /// It will never work.
    Poison {
        /// Why; without anything of the body.
        reason: String,
    },
}

impl Failure {
    /// An AWS fault.
    #[must_use]
    pub fn retry(code: &str, detail: &str) -> Self {
        Self::Retry { code: format!("{code}: {detail}") }
    }

    /// Somebody else is at it.
    #[must_use]
    pub fn later(pause: Duration, code: &'static str) -> Self {
        Self::Later { pause, code }
    }

    /// It will never work.
    #[must_use]
    pub fn poison(reason: &str) -> Self {
        Self::Poison { reason: reason.to_owned() }
    }
}

/// What a table's error means for a record. Only an unreadable item is poison: a missing right is mended by a deployment.
#[must_use]
pub fn table(error: StoreError) -> Failure {
    match error {
        StoreError::Corrupt { .. } => Failure::Poison { reason: error.to_string() },
        StoreError::Refused { ref code, .. } if code == "ValidationException" => {
            Failure::Poison { reason: error.to_string() }
        }
        other => Failure::Retry { code: other.to_string() },
    }
}

/// What an AWS error means for a record.
#[must_use]
pub fn aws(error: AwsError) -> Failure {
    let reason = error.to_string();
    if error.is_about_content() { Failure::Poison { reason } } else { Failure::Retry { code: reason } }
}

/// What a partly failed send means for a record: all of it again; what did arrive is dropped behind the queue.
#[must_use]
pub fn unsent(unsent: Unsent) -> Failure {
    Failure::Retry { code: unsent.to_string() }
}

/// The names of a parked message's attributes.
pub mod parked {
    /// Why it was parked.
    pub const REASON: &str = "reason";
    /// The name of the queue that it came from.
    pub const SOURCE_QUEUE: &str = "source_queue";
    /// Its id on that queue.
    pub const MESSAGE_ID: &str = "message_id";
    /// The upstream's request, where the message could be read.
    pub const CORRELATION_ID: &str = "correlation_id";
    /// When it was first sent.
    pub const FIRST_SENT_AT: &str = "first_sent_at";
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Lambda may delete it.
    Done,
    /// It is visible again after this pause.
    Back(Duration),
}

/// A function with its queues.
pub(crate) struct Worker<F> {
    function: F,
    setup: Setup,
    queues: Queues,
}

impl<F: QueueFunction> Worker<F> {
    pub(crate) fn new(function: F, aws: &Aws) -> Self {
        let setup = function.setup();
        Self { function, setup, queues: Queues::new(aws.config()) }
    }

    pub(crate) fn function(&self) -> &F {
        &self.function
    }

    /// Handles a batch and answers which records are not done.
    pub(crate) async fn batch(&self, event: Value, deadline: Deadline) -> Result<Value, DirectError> {
        let event: SqsEvent = serde_json::from_value(event).map_err(|_| {
            DirectError::new("BadRequest", "this is neither an SQS event nor anything else this function knows")
        })?;
        let all = event.records.len();
        let mut records = Vec::with_capacity(all);
        for record in event.records {
            // Without its id a record could be neither reported nor left out: the whole batch must come again.
            let meta =
                self.meta(&record, deadline).ok_or_else(|| DirectError::new("BadRequest", "a record has no id"))?;
            records.push((meta, record.body.unwrap_or_default()));
        }
        let failed: Vec<String> = join_all(lines(records).into_iter().map(|line| self.line(line))).await.concat();
        tracing::info!(records = all, failed = failed.len(), "batch");
        serde_json::to_value(response(failed)).map_err(|_| DirectError::new("Internal", "the answer cannot be written"))
    }

    /// Handles records one after another and gives back the ids of those that are not done: the first failure and all after.
    async fn line(&self, records: Vec<(Meta, String)>) -> Vec<String> {
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
            let Ended::Back(pause) = self.record(&meta, &body).instrument(span).await else { continue };
            let back: Vec<Meta> = std::iter::once(meta).chain(records.map(|(meta, _)| meta)).collect();
            // A group is locked while one of its messages is hidden. Those behind the failure were hidden with it; left alone
            // they would hold the group until their visibility runs out, however short the pause is.
            for meta in &back {
                self.hand_back(meta, pause).await;
            }
            return back.into_iter().map(|meta| meta.message_id).collect();
        }
        Vec::new()
    }

    async fn record(&self, meta: &Meta, body: &str) -> Ended {
        if meta.deadline.remaining().is_zero() {
            tracing::warn!("not begun: no time was left");
            return Ended::Back(Duration::ZERO);
        }
        let correlation = OnceLock::new();
        let work = async {
            let message = self.function.read(body, meta).map_err(|reason| Failure::Poison { reason })?;
            let correlation = correlation.get_or_init(|| message.correlation_id().to_owned());
            tracing::Span::current().record("correlation_id", correlation.as_str());
            self.function.handle(message, meta).await
        };
        let work = tokio::time::timeout(meta.deadline.remaining(), AssertUnwindSafe(work).catch_unwind()).await;
        let correlation = correlation.get().map(String::as_str);
        match work {
            Ok(Ok(Ok(()))) => Ended::Done,
            Ok(Ok(Err(Failure::Poison { reason }))) => self.park(meta, body, &reason, correlation).await,
            Ok(Ok(Err(Failure::Later { pause, code }))) => {
                tracing::info!(code, pause_ms = pause.as_millis(), "later");
                Ended::Back(pause)
            }
            Ok(Ok(Err(Failure::Retry { code }))) => {
                let pause = pause_after(meta.receive_count);
                metrics::count(FAULT, 1);
                tracing::warn!(code, pause_s = pause.as_secs(), "AWS fault");
                Ended::Back(pause)
            }
            Ok(Err(_panic)) => self.park(meta, body, "it made the function panic", correlation).await,
            Err(_elapsed) => {
                // Once is bad luck. What runs into the deadline again waits longer each time, as after any other AWS fault, and counts
                // as one: a receiver's own slowness ends before the invocation.
                let pause = if meta.receive_count > 1 {
                    metrics::count(FAULT, 1);
                    pause_after(meta.receive_count)
                } else {
                    Duration::ZERO
                };
                tracing::warn!(pause_s = pause.as_secs(), "handed back at the deadline");
                Ended::Back(pause)
            }
        }
    }

    /// Puts poison into the dead-letter queue with its reason. What cannot be put there stays on its queue.
    async fn park(&self, meta: &Meta, body: &str, reason: &str, correlation: Option<&str>) -> Ended {
        match &self.setup.dead_letters {
            None => tracing::error!(reason, "poison; the queue keeps it"),
            Some(url) => {
                let outgoing = parked_message(url, meta, body, reason, correlation);
                match tokio::time::timeout(meta.deadline.until_answer(), self.queues.send(url, &outgoing)).await {
                    Ok(Ok(())) => {
                        tracing::error!(reason, "poison; parked");
                        return Ended::Done;
                    }
                    Ok(Err(error)) => tracing::error!(reason, %error, "poison could not be parked; the queue keeps it"),
                    Err(_elapsed) => tracing::error!(reason, "no time was left to park poison; the queue keeps it"),
                }
            }
        }
        metrics::count(FAULT, 1);
        Ended::Back(pause_after(meta.receive_count))
    }

    /// Makes a record visible again after `pause`. A failure only means that it stays hidden for its full time.
    async fn hand_back(&self, meta: &Meta, pause: Duration) {
        let Some((url, _)) = self.setup.source(&meta.queue) else { return };
        let change = self.queues.set_visibility(url, &meta.receipt, pause);
        match tokio::time::timeout(meta.deadline.until_answer(), change).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, message_id = meta.message_id, "the record stays hidden for its full time");
            }
            Err(_elapsed) => {
                tracing::warn!(
                    message_id = meta.message_id,
                    "no time was left: the record stays hidden for its full time"
                );
            }
        }
    }

    fn meta(&self, record: &SqsMessage, deadline: Deadline) -> Option<Meta> {
        let attribute = |name: &str| record.attributes.get(name);
        let queue = record.event_source_arn.as_deref().and_then(|arn| arn.rsplit(':').next()).unwrap_or_default();
        let sent_at = attribute("SentTimestamp").and_then(|text| text.parse().ok());
        Some(Meta {
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

/// A record as the dead-letter queue gets it. SQS refuses empty texts and control characters, and what it refuses could
/// never be parked.
fn parked_message(url: &str, meta: &Meta, body: &str, reason: &str, correlation: Option<&str>) -> Outgoing {
    let shown = |text: &str| text.chars().filter(|letter| !letter.is_control()).take(200).collect::<String>();
    let attributes = [
        (parked::REASON, shown(reason)),
        (parked::SOURCE_QUEUE, shown(&meta.queue)),
        (parked::MESSAGE_ID, shown(&meta.message_id)),
        (parked::CORRELATION_ID, correlation.map(shown).unwrap_or_default()),
        (parked::FIRST_SENT_AT, meta.sent_at.map(|at| at.to_string()).unwrap_or_default()),
    ];
    let fifo = url.ends_with(".fifo");
    Outgoing {
        body: if body.is_empty() { " ".to_owned() } else { body.to_owned() },
        group: fifo.then(|| meta.group.clone().unwrap_or_else(|| "none".to_owned())),
        dedup: fifo.then(|| meta.message_id.clone()),
        delay_seconds: 0,
        attributes: attributes
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| (name.to_owned(), text))
            .collect(),
    }
}

/// Splits a batch into lines that may run side by side: every record of a standard queue is one, every group of a FIFO queue
/// is one, in the order in which it came.
fn lines(records: Vec<(Meta, String)>) -> Vec<Vec<(Meta, String)>> {
    let mut lines: Vec<Vec<(Meta, String)>> = Vec::new();
    for record in records {
        let fifo = record.0.queue.ends_with(".fifo");
        let group = |line: &&mut Vec<(Meta, String)>| {
            line.first().is_some_and(|(first, _)| first.queue == record.0.queue && first.group == record.0.group)
        };
        match lines.iter_mut().find(group) {
            Some(line) if fifo => line.push(record),
            _ => lines.push(vec![record]),
        }
    }
    lines
}

fn response(failed: Vec<String>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for id in failed {
        response.add_failure(id);
    }
    response
}

/// The pause after the n-th receive: 5 s, 10 s, 20 s, … 15 min.
fn pause_after(receive_count: u32) -> Duration {
    let doublings = receive_count.saturating_sub(1).min(10);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;
    use std::sync::Mutex;
    use wiremock::matchers::header;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    #[derive(Deserialize)]
    struct Order {
        word: String,
    }

    impl Correlated for Order {
        fn correlation_id(&self) -> &str {
            &self.word
        }
    }

    #[derive(Default)]
    struct Obedient {
        done: Mutex<Vec<String>>,
    }

    impl QueueFunction for Obedient {
        const NAME: &'static str = "obedient";
        type Message = Order;

        async fn start(_aws: &Aws) -> Result<Self, StartError> {
            Ok(Self::default())
        }

        fn setup(&self) -> Setup {
            Setup { dead_letters: None, sources: Vec::new() }
        }

        fn read(&self, body: &str, meta: &Meta) -> Result<Order, String> {
            assert!(body != "unreadable", "secret");
            serde_json::from_str(body).map_err(|error| format!("{} {}", meta.message_id, error.line()))
        }

        async fn handle(&self, order: Order, _meta: &Meta) -> Result<(), Failure> {
            match order.word.as_str() {
                "panic" => panic!("secret"),
                "retry" => return Err(Failure::retry("x", "y")),
                "later" => return Err(Failure::later(Duration::from_secs(7), "leased")),
                "poison" => return Err(Failure::poison("it is odd")),
                "slow" => tokio::time::sleep(Duration::from_secs(3_600)).await,
                _ => {}
            }
            self.done.lock().unwrap().push(order.word);
            Ok(())
        }
    }

    /// SQS on loopback, as it answers on the wire; `parking` is the status of SendMessage.
    async fn sqs(parking: u16) -> MockServer {
        let server = MockServer::start().await;
        let sent = match parking {
            200 => json!({"MessageId": "parked"}),
            _ => json!({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no"}),
        };
        let calls = [("SendMessage", parking, sent), ("ChangeMessageVisibility", 200, json!({}))];
        for (call, status, body) in calls {
            let answer = ResponseTemplate::new(status).set_body_json(body);
            Mock::given(header("x-amz-target", format!("AmazonSQS.{call}"))).respond_with(answer).mount(&server).await;
        }
        server
    }

    /// What a batch left behind.
    struct Left {
        failed: Vec<String>,
        done: Vec<String>,
        /// Receipt handles with the seconds after which they are visible again, in the order of the calls.
        back: Vec<(String, u64)>,
        parked: Vec<Value>,
    }

    async fn run_on(server: &MockServer, queue: &str, records: &[(&str, &str)], left: Duration) -> Left {
        let config = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new("eu-west-1"))
            .credentials_provider(nobody())
            .endpoint_url(server.uri())
            .build();
        let dead = if queue.ends_with(".fifo") { "dead.fifo" } else { "dead" };
        let setup = Setup {
            dead_letters: Some(format!("{}/1/{dead}", server.uri())),
            sources: vec![(format!("{}/1/{queue}", server.uri()), Lane::Bulk)],
        };
        let worker = Worker { function: Obedient::default(), setup, queues: Queues::new(&config) };
        let records: Vec<Value> = records
            .iter()
            .enumerate()
            .map(|(place, (group, body))| {
                json!({"messageId": place.to_string(), "receiptHandle": format!("r{place}"), "body": body,
                    "attributes": {"MessageGroupId": group, "ApproximateReceiveCount": "2", "SentTimestamp": "1000"},
                    "messageAttributes": {}, "eventSourceARN": format!("arn:aws:sqs:eu-west-1:1:{queue}"),
                    "eventSource": "aws:sqs"})
            })
            .collect();
        let at = clock::now().as_millisecond() + i64::try_from(left.as_millis()).unwrap();
        let deadline = Deadline::at_epoch_ms(u64::try_from(at).unwrap());
        let answer = worker.batch(json!({"Records": records}), deadline).await.unwrap();
        let failed = answer["batchItemFailures"].as_array().unwrap().iter();
        let mut done = worker.function.done.lock().unwrap().clone();
        done.sort();
        let mut found = Left {
            failed: failed.map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect(),
            done,
            back: Vec::new(),
            parked: Vec::new(),
        };
        for request in server.received_requests().await.unwrap() {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            match body["VisibilityTimeout"].as_u64() {
                Some(seconds) => found.back.push((body["ReceiptHandle"].as_str().unwrap().to_owned(), seconds)),
                None => found.parked.push(body),
            }
        }
        found
    }

    async fn run(queue: &str, records: &[(&str, &str)], left: Duration) -> Left {
        run_on(&sqs(200).await, queue, records, left).await
    }

    fn nobody() -> aws_sdk_sqs::config::SharedCredentialsProvider {
        aws_sdk_sqs::config::SharedCredentialsProvider::new(aws_sdk_sqs::config::Credentials::new(
            "test", "test", None, None, "test",
        ))
    }

    fn back(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
        pairs.iter().map(|(receipt, seconds)| ((*receipt).to_owned(), *seconds)).collect()
    }

    const AMPLE: Duration = Duration::from_secs(30);

    fn word(word: &str) -> String {
        json!({"word": word}).to_string()
    }

    #[tokio::test]
    async fn a_bad_record_never_takes_its_neighbours_with_it() {
        let bodies =
            [word("a"), word("panic"), "{".to_owned(), word("retry"), word("later"), word("poison"), word("b")];
        let records: Vec<_> = bodies.iter().map(|body| ("g", body.as_str())).collect();
        let mut left = run("standard", &records, AMPLE).await;
        assert_eq!(left.failed, ["3", "4"]);
        assert_eq!(left.done, ["a", "b"]);
        left.back.sort();
        assert_eq!(left.back, back(&[("r3", 10), ("r4", 7)]), "an AWS fault's pause doubles; a lease names its own");
        let mut reasons: Vec<_> = left.parked.iter().map(|parked| attribute(parked, "reason").unwrap()).collect();
        reasons.sort_unstable();
        assert_eq!(reasons, ["2 1", "it is odd", "it made the function panic"]);
    }

    fn attribute<'a>(parked: &'a Value, name: &str) -> Option<&'a str> {
        parked["MessageAttributes"][name]["StringValue"].as_str()
    }

    #[tokio::test]
    async fn a_parked_message_tells_where_it_came_from_and_keeps_its_body() {
        let odd = word("poison");
        let left = run("incidents.fifo", &[("one", &odd)], AMPLE).await;
        assert!(left.failed.is_empty() && left.back.is_empty());
        let parked = left.parked.first().unwrap();
        assert_eq!(parked["MessageBody"], json!(odd));
        assert_eq!((&parked["MessageGroupId"], &parked["MessageDeduplicationId"]), (&json!("one"), &json!("0")));
        assert!(parked["QueueUrl"].as_str().unwrap().ends_with("/dead.fifo"));
        assert_eq!(attribute(parked, parked::REASON), Some("it is odd"));
        assert_eq!(attribute(parked, parked::SOURCE_QUEUE), Some("incidents.fifo"));
        assert_eq!(attribute(parked, parked::MESSAGE_ID), Some("0"));
        assert_eq!(attribute(parked, parked::CORRELATION_ID), Some("poison"));
        assert_eq!(attribute(parked, parked::FIRST_SENT_AT), Some("1970-01-01T00:00:01Z"));

        let left = run("standard", &[("one", "unreadable")], AMPLE).await;
        let parked = left.parked.first().unwrap();
        assert_eq!(attribute(parked, parked::REASON), Some("it made the function panic"), "reading is fenced too");
        assert!(parked.get("MessageGroupId").is_none() && attribute(parked, parked::CORRELATION_ID).is_none());
    }

    #[tokio::test]
    async fn what_cannot_be_parked_stays_on_its_queue() {
        let odd = word("poison");
        let left = run_on(&sqs(400).await, "standard", &[("g", &odd)], AMPLE).await;
        assert_eq!(left.failed, ["0"]);
        assert_eq!(left.back, back(&[("r0", 10)]));
    }

    #[tokio::test]
    async fn a_fifo_group_stops_at_its_first_failure_and_the_others_go_on() {
        let bodies = [word("a"), word("retry"), word("b"), word("c"), word("d")];
        let groups = ["one", "one", "two", "one", "two"];
        let records: Vec<_> = groups.into_iter().zip(bodies.iter().map(String::as_str)).collect();
        let left = run("incidents.fifo", &records, AMPLE).await;
        assert_eq!(left.failed, ["1", "3"]);
        assert_eq!(left.done, ["a", "b", "d"]);
        assert_eq!(left.back, back(&[("r1", 10), ("r3", 10)]), "one hidden message would lock its group");
    }

    #[tokio::test]
    async fn poison_does_not_stop_its_group() {
        let bodies = [word("poison"), word("a")];
        let records: Vec<_> = bodies.iter().map(|body| ("one", body.as_str())).collect();
        let left = run("incidents.fifo", &records, AMPLE).await;
        assert_eq!((left.failed.len(), left.done, left.parked.len()), (0, vec!["a".to_owned()], 1));
    }

    #[tokio::test]
    async fn what_is_not_done_at_the_deadline_is_handed_back() {
        let bodies = [word("slow"), word("a")];
        let records: Vec<_> = bodies.iter().map(|body| ("g", body.as_str())).collect();
        let left = run("standard", &records, RESERVE + Duration::from_millis(300)).await;
        assert_eq!((left.failed, left.done), (vec!["0".to_owned()], vec!["a".to_owned()]));
        assert_eq!(left.back, back(&[("r0", 10)]), "it was received before");
        let mut left = run("standard", &records, RESERVE - Duration::from_millis(100)).await;
        left.back.sort();
        assert_eq!((left.failed.len(), left.done.len()), (2, 0), "nothing is begun without time");
        assert_eq!(left.back, back(&[("r0", 0), ("r1", 0)]));
    }

    #[tokio::test]
    async fn what_is_our_fault_or_awss_is_counted_and_nothing_else() {
        metrics::start("obedient");
        let counted = || {
            let mut out = Vec::new();
            metrics::flush_to(&mut out);
            serde_json::from_slice::<Value>(&out).map_or(json!(0), |line| line["AwsFault"].clone())
        };
        let once = [("g", word("a")), ("g", word("later")), ("g", word("poison"))];
        let records: Vec<_> = once.iter().map(|(group, body)| (*group, body.as_str())).collect();
        drop(run("standard", &records, AMPLE).await);
        assert_eq!(counted(), 0, "a lease is no fault, and poison is parked");
        let faults = [word("retry"), word("slow")];
        let records: Vec<_> = faults.iter().map(|body| ("g", body.as_str())).collect();
        drop(run("standard", &records, RESERVE + Duration::from_millis(300)).await);
        assert_eq!(counted(), 2, "a fault, and a deadline that is met again");
        drop(run_on(&sqs(400).await, "standard", &[("g", &word("poison"))], AMPLE).await);
        assert_eq!(counted(), 1, "poison that no queue takes");
    }

    #[tokio::test]
    async fn handing_back_never_outlasts_the_invocation() {
        let server = MockServer::start().await;
        let hangs = ResponseTemplate::new(200).set_body_json(json!({})).set_delay(Duration::from_secs(30));
        Mock::given(wiremock::matchers::any()).respond_with(hangs).mount(&server).await;
        let (start, whole) = (std::time::Instant::now(), RESERVE + Duration::from_millis(500));
        let bodies = [word("retry"), word("poison"), word("slow")];
        let records: Vec<_> = bodies.iter().map(|body| ("g", body.as_str())).collect();
        let left = run_on(&server, "standard", &records, whole).await;
        assert_eq!(left.failed, ["0", "1", "2"]);
        assert!(start.elapsed() < whole, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_record_without_an_id_fails_the_whole_batch() {
        let worker = Worker {
            function: Obedient::default(),
            setup: Obedient::default().setup(),
            queues: Queues::new(
                &aws_config::SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::latest()).build(),
            ),
        };
        let deadline = Deadline::at_epoch_ms(u64::MAX);
        for id in [json!(null), json!("")] {
            let event = json!({"Records": [{"messageId": id, "body": word("a")}]});
            assert!(worker.batch(event, deadline).await.is_err());
        }
        assert!(worker.function.done.lock().unwrap().is_empty());
    }

    #[test]
    fn the_answer_is_what_lambda_reads() {
        let text = serde_json::to_string(&response(vec!["a".into()])).unwrap();
        assert_eq!(text, r#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#);
        assert_eq!(serde_json::to_string(&response(vec![])).unwrap(), r#"{"batchItemFailures":[]}"#);
    }

    #[test]
    fn pauses_double_up_to_a_quarter_of_an_hour() {
        let seconds: Vec<u64> = [1, 2, 3, 8, 9, 20].map(|count| pause_after(count).as_secs()).into();
        assert_eq!(seconds, [5, 10, 20, 640, 900, 900]);
    }
}
