//! Trigger  `FeedbackQueue`: SES notifications about accepted e-mails, through a topic, and lines of SNS's SMS delivery log
//! Reads    what was sent with the message, the recipient
//! Writes   the provider's report to those deliveries; the suppression of the address for the whole stack, and of a recipient whose address
//!          bounced or complained, or whose number opted out of SMS, with its compiled subscriptions
//! Emits    a notice to the org admins about a suppressed contact; the lines of SNS's log to this function's own queue
//! Fails    AWS fault: retried. An unknown message id is looked up again a few times, and then ignored as another application's
//! Config   [`config::Config`]

pub mod config;

use aws::sqs::{OutgoingMessage, Queues, UnsentMessages};
use config::Config;
use contracts::queue::Correlated;
use futures::stream::{self, StreamExt};
use pipeline::feedback::{Feedback as Story, RecordReport, SendNotice, SuppressContact, begin};
use pipeline::{Answer, Counted, Fault, Turn};
use runtime::queue::{
    Deadline, QueueFunction, QueueSetup, RecordError, RecordMeta, first_turn, next_turn, verdict_result,
};
use runtime::{Aws, DirectError, DirectFunction, StartError, ids, logs, metrics};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{StoreError, Table};

/// Rows of a digest that are written at once.
const IN_FLIGHT: usize = 16;

/// The Lambda function and its clients.
#[derive(Debug)]
pub struct FeedbackFunction {
    config: Config,
    table: Table,
    queues: Queues,
}

/// A message on the queue. It contains addresses, so it does not implement `Debug`.
#[derive(Deserialize)]
pub struct Notification {
    body: String,
    message_id: String,
}

impl Correlated for Notification {
    fn correlation_id(&self) -> &str {
        &self.message_id
    }
}

impl QueueFunction for FeedbackFunction {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type Message = Notification;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days);
        Ok(Self { table, queues: Queues::new(aws.config()), config })
    }

    fn setup(&self) -> QueueSetup {
        let config = &self.config;
        QueueSetup::lanes(&config.dead_letter_queue_url, &config.queue_url, &config.queue_url)
    }

    fn read(&self, body: &str, meta: &RecordMeta) -> Result<Notification, RecordError> {
        Ok(Notification { body: body.to_owned(), message_id: meta.message_id.clone() })
    }

    async fn handle(&self, notification: Notification, meta: &RecordMeta) -> Result<(), RecordError> {
        if let Ok(FailedInvocation { payload }) = serde_json::from_str(&notification.body) {
            let lines = logs::subscription_messages(&payload).map_err(|error| RecordError::unprocessable(&error))?;
            return self.enqueue_log_lines(lines).await.map_err(runtime::queue::unsent_error);
        }
        let mut turn = first_turn(meta);
        let mut story = begin(&notification.body, &mut turn);
        loop {
            turn.counted.drain(..).for_each(|counted| record(&counted));
            story = match story {
                Story::End(verdict) => return verdict_result(verdict),
                step => self.perform(step, &mut turn, meta.deadline).await,
            };
        }
    }
}

/// An asynchronous invocation that failed three times; Lambda's failure destination is this queue.
#[derive(Deserialize)]
struct FailedInvocation {
    /// The event from SNS's log subscription.
    #[serde(rename = "requestPayload")]
    payload: Value,
}

impl FeedbackFunction {
    /// Performs the next effect of a report, and tells the story what came of it.
    async fn perform(&self, story: Story, turn: &mut Turn, deadline: Deadline) -> Story {
        match story {
            Story::Messages(step) => {
                let messages = self.table.provider_messages(step.channel(), step.message_id()).await.map_err(fault);
                step.answered(messages, next_turn(turn, deadline))
            }
            Story::Record(step) => {
                let recorded = self.record(&step).await;
                step.answered(recorded, next_turn(turn, deadline))
            }
            Story::Address(step) => {
                let written = self.table.suppress_address(step.id(), step.address()).await.map_err(fault);
                step.answered(written, next_turn(turn, deadline))
            }
            Story::Recipient(step) => {
                let recipient = self.table.recipient(step.tenant(), step.recipient()).await.map_err(fault);
                step.answered(recipient, next_turn(turn, deadline))
            }
            Story::Notice(step) => {
                let sent = self.send_notice(&step).await;
                step.answered(sent, next_turn(turn, deadline))
            }
            Story::Suppress(step) => {
                let written = self.suppress_contact(&step).await;
                step.answered(written, next_turn(turn, deadline))
            }
            Story::End(_) => story,
        }
    }

    async fn record(&self, step: &RecordReport) -> Vec<Answer<()>> {
        let writes = step.reports().map(|(message, feedback)| async move {
            // One that does not count changes nothing.
            self.table.record_feedback(message, &feedback).await.map(drop).map_err(fault)
        });
        stream::iter(writes.collect::<Vec<_>>()).buffered(IN_FLIGHT).collect().await
    }

    async fn send_notice(&self, step: &SendNotice) -> Answer<()> {
        let notice = step.notice();
        let body = serde_json::to_string(notice)
            .map_err(|_| Fault::Unprocessable { reason: "cannot serialize the notice".to_owned() })?;
        let (group, dedup) = (Some(notice.message_group_id()), Some(notice.deduplication_id()));
        let outgoing = OutgoingMessage { body, group, dedup, ..OutgoingMessage::default() };
        let sent = self.queues.send(&self.config.classify_queue_url, &outgoing).await;
        sent.map_err(|error| runtime::queue::aws_error(error).into_fault())
    }

    async fn suppress_contact(&self, step: &SuppressContact) -> Answer<()> {
        let (tenant, recipient, change_id) = (step.tenant(), step.recipient(), ids::id_suffix());
        let written = self.table.suppress_contact(tenant, recipient, step.silenced(), Self::NAME, &change_id).await;
        written.map(drop).map_err(fault)
    }

    /// Puts lines of SNS's log on this function's queue, where they are retried until their delivery is stored.
    async fn enqueue_log_lines(&self, lines: Vec<String>) -> Result<(), UnsentMessages> {
        let messages = lines.into_iter().map(|body| OutgoingMessage { body, ..OutgoingMessage::default() }).collect();
        self.queues.send_all(&self.config.queue_url, messages).await
    }
}

fn fault(error: StoreError) -> Fault {
    runtime::queue::store_error(error).into_fault()
}

/// Counts and logs what the story counted.
fn record(counted: &Counted) {
    match counted {
        Counted::FeedbackReceived { kind } => metrics::count_by("FeedbackReceived", "kind", kind.as_str(), 1),
        Counted::FeedbackUnknown => metrics::count("FeedbackUnknown", 1),
        Counted::QuotaExhausted { channel } => {
            metrics::count_by("ProviderQuotaExhausted", "channel", channel.as_str(), 1);
        }
        Counted::ContactSuppressed { tenant, recipient, reason } => {
            tracing::info!(%tenant, %recipient, reason = reason.as_str(), "contact suppressed");
        }
        _ => {}
    }
}

impl DirectFunction for FeedbackFunction {
    /// Receives lines of SNS's log from its subscription.
    async fn handle_direct(&self, event: Value) -> Result<Value, DirectError> {
        let lines = logs::subscription_messages(&event).map_err(|error| DirectError::new("BadRequest", error))?;
        let queued = lines.len();
        self.enqueue_log_lines(lines)
            .await
            .map_err(|error| DirectError::new("Unavailable", format!("cannot queue the log's lines: {error}")))?;
        Ok(json!({"queued": queued}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_invocation_contains_the_log_subscriptions_event() {
        let failed = json!({"version": "1.0", "requestContext": {"condition": "RetriesExhausted"},
            "requestPayload": {"awslogs": {"data": "x"}}, "responseContext": {"functionError": "Unhandled"}});
        let FailedInvocation { payload } = serde_json::from_value(failed).unwrap();
        assert_eq!(payload, json!({"awslogs": {"data": "x"}}));
        let event: Value = serde_json::from_str(include_str!("../event.json")).unwrap();
        let ses = event["Records"][0]["body"].as_str().unwrap();
        assert!(serde_json::from_str::<FailedInvocation>(ses).is_err());
    }
}
