//! Trigger  `FeedbackQueue`: SES notifications about accepted e-mails, through a topic, and lines of SNS's SMS delivery log
//! Reads    the deliveries of the message, the recipient
//! Writes   the provider's report to those deliveries; the suppression of a recipient whose address bounced or complained, or whose number
//!          opted out of SMS, with its compiled subscriptions
//! Emits    a notice to the org admins about a suppressed contact; the lines of SNS's log to this function's own queue
//! Fails    AWS fault: retried. An unknown message id is looked up again a few times, and then ignored as another application's
//! Config   [`config::Config`]

pub mod config;

use aws::sqs::{OutgoingMessage, Queues, UnsentMessages};
use config::Config;
use contracts::queue::{Correlated, IncidentReceived, SmsOptOut};
use contracts::{ses, sns};
use domain::contact::{applies_to_current_contact, suppression_event};
use domain::delivery::{FeedbackKind, ProviderFeedback};
use domain::ids::{EventId, IncidentId, RecipientId, TenantId};
use domain::reason::Reason;
use domain::tenant::Suppression;
use domain::vocabulary::{Category, Channel};
use jiff::Timestamp;
use runtime::queue::{QueueFunction, QueueSetup, RecordError, RecordMeta};
use runtime::{Aws, DirectError, DirectFunction, StartError, clock, ids, logs, metrics};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use store::Table;
use store::messages::ProviderMessage;

/// How often an unknown message id is looked up. SES may report a message before its id is stored.
const LOOKUPS_MAX: u32 = 4;
/// The pause between two lookups.
const LOOKUP_PAUSE: Duration = Duration::from_secs(20);

/// The Lambda function and its clients.
#[derive(Debug)]
pub struct Feedback {
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

impl QueueFunction for Feedback {
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

    fn read(&self, body: &str, meta: &RecordMeta) -> Result<Notification, String> {
        Ok(Notification { body: body.to_owned(), message_id: meta.message_id.clone() })
    }

    async fn handle(&self, notification: Notification, meta: &RecordMeta) -> Result<(), RecordError> {
        let at = clock::now();
        if let Ok(opt_out) = serde_json::from_str::<SmsOptOut>(&notification.body) {
            let SmsOptOut { tenant, incident_id, category, contact, .. } = &opt_out;
            let delivery = ReportedDelivery { tenant, incident_id, category: *category, contact: Some(contact) };
            metrics::count_by("FeedbackReceived", "kind", FeedbackKind::OptedOut.as_str(), 1);
            return self.suppress_contact(&opt_out.recipient, delivery, Reason::OptedOut, at).await;
        }
        if let Ok(FailedInvocation { payload }) = serde_json::from_str(&notification.body) {
            let lines = logs::subscription_messages(&payload).map_err(|error| RecordError::unprocessable(&error))?;
            return self.enqueue_log_lines(lines).await.map_err(runtime::queue::unsent_error);
        }
        let Some(report) = parse_report(&notification.body)? else {
            // Opens, clicks and sends, which SES reports only if that is switched on. They are not used.
            return Ok(());
        };
        let messages = self
            .table
            .provider_messages(report.channel, &report.message_id)
            .await
            .map_err(runtime::queue::store_error)?;
        if report.quota_exhausted {
            metrics::count_by("ProviderQuotaExhausted", "channel", report.channel.as_str(), 1);
        }
        if messages.is_empty() {
            if meta.receive_count < LOOKUPS_MAX {
                return Err(RecordError::retry_after(LOOKUP_PAUSE, "message_not_known_yet"));
            }
            // Confirmations are no deliveries, and another stack may send from the same address or account.
            metrics::count("FeedbackUnknown", 1);
            return Ok(());
        }
        metrics::count_by("FeedbackReceived", "kind", report.kind.as_str(), 1);
        for message in &messages {
            let feedback =
                ProviderFeedback { update: message.update, kind: report.kind, at, text: report.text.clone() };
            self.table.record_feedback(message, &feedback).await.map_err(runtime::queue::store_error)?;
        }
        let Some((reason, message)) = report.kind.suppression_reason().zip(messages.first()) else { return Ok(()) };
        let Some(id) = RecipientId::parse(&message.destination) else { return Ok(()) };
        let ProviderMessage { tenant, incident_id, category, contact, .. } = message;
        let delivery = ReportedDelivery { tenant, incident_id, category: *category, contact: contact.as_deref() };
        self.suppress_contact(&id, delivery, reason, at).await
    }
}

/// An asynchronous invocation that failed three times; Lambda's failure destination is this queue.
#[derive(Deserialize)]
struct FailedInvocation {
    /// The event from SNS's log subscription.
    #[serde(rename = "requestPayload")]
    payload: Value,
}

/// A provider's report about a message.
struct ProviderReport {
    channel: Channel,
    message_id: String,
    kind: FeedbackKind,
    text: String,
    /// Whether the account's sending quota is used up.
    quota_exhausted: bool,
}

/// Parses a line of SNS's log or an SES notification. `None` for a kind of event that is not used.
///
/// # Errors
/// An unprocessable message: neither of the two.
fn parse_report(body: &str) -> Result<Option<ProviderReport>, RecordError> {
    if let Ok(line) = sns::parse(body.as_bytes()) {
        let sns::SmsDeliveryStatus { message_id, kind, text, quota_exhausted } = line;
        return Ok(Some(ProviderReport { channel: Channel::Sms, message_id, kind, text, quota_exhausted }));
    }
    let notification = ses::parse(body.as_bytes()).map_err(|error| {
        let what = "neither an SES notification nor a line of SNS's delivery log";
        RecordError::unprocessable(&format!("{what}: {}: {}", error.pointer, error.detail))
    })?;
    let Some((kind, text)) = notification.feedback() else { return Ok(None) };
    let message_id = notification.message_id;
    Ok(Some(ProviderReport { channel: Channel::Email, message_id, kind, text, quota_exhausted: false }))
}

/// The delivery that a report is about.
#[derive(Clone, Copy)]
struct ReportedDelivery<'a> {
    tenant: &'a TenantId,
    incident_id: &'a IncidentId,
    category: Option<Category>,
    contact: Option<&'a str>,
}

impl Feedback {
    /// Puts lines of SNS's log on this function's queue, where they are retried until their delivery is stored.
    async fn enqueue_log_lines(&self, lines: Vec<String>) -> Result<(), UnsentMessages> {
        let messages = lines.into_iter().map(|body| OutgoingMessage { body, ..OutgoingMessage::default() }).collect();
        self.queues.send_all(&self.config.queue_url, messages).await
    }

    /// Suppresses an address or number until its owner confirms it again or it is replaced, and notifies the org admins. The notice is sent
    /// first, because its event id makes a repetition after a crash harmless.
    async fn suppress_contact(
        &self,
        id: &RecipientId,
        delivery: ReportedDelivery<'_>,
        reason: Reason,
        at: Timestamp,
    ) -> Result<(), RecordError> {
        let suppressed = Suppression { reason, at };
        let stored = self.table.recipient(delivery.tenant, id).await.map_err(runtime::queue::store_error)?;
        let Some(recipient) = stored else { return Ok(()) };
        let silenced_now = recipient.clone().suppress(&suppressed);
        if !silenced_now || !applies_to_current_contact(delivery.tenant, &recipient, reason, delivery.contact) {
            return Ok(());
        }
        let event = suppression_event(delivery.tenant, &recipient, reason, delivery.category, delivery.incident_id);
        let event_id = EventId::derived(&[id.as_str(), delivery.incident_id.as_str(), reason.as_str()]);
        let correlation_id = event_id.to_string();
        let notice = IncidentReceived::system_event(delivery.tenant, event, event_id, &correlation_id, at);
        let body =
            serde_json::to_string(&notice).map_err(|_| RecordError::unprocessable("cannot serialize the notice"))?;
        let (group, dedup) = (Some(notice.message_group_id()), Some(notice.deduplication_id()));
        let outgoing = OutgoingMessage { body, group, dedup, ..OutgoingMessage::default() };
        self.queues.send(&self.config.classify_queue_url, &outgoing).await.map_err(runtime::queue::aws_error)?;
        let change_id = ids::id_suffix();
        let written = self.table.suppress_contact(delivery.tenant, id, &suppressed, Self::NAME, &change_id).await;
        written.map_err(runtime::queue::store_error)?;
        tracing::info!(tenant = %delivery.tenant, recipient = %id, reason = reason.as_str(), "contact suppressed");
        Ok(())
    }
}

impl DirectFunction for Feedback {
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
    fn the_example_event_is_an_ses_bounce() {
        let event: Value = serde_json::from_str(include_str!("../event.json")).unwrap();
        let report = parse_report(event["Records"][0]["body"].as_str().unwrap()).unwrap().unwrap();
        assert_eq!((report.kind, report.text.as_str()), (FeedbackKind::Bounced, "smtp; 550 5.1.1 user unknown"));
        assert_eq!(report.channel, Channel::Email);
    }

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

    #[test]
    fn a_body_of_neither_provider_is_unprocessable() {
        assert!(parse_report("{}").is_err());
        let line = r#"{"notification":{"messageId":"m"},"delivery":{"providerResponse":"ok"},"status":"SUCCESS"}"#;
        let report = parse_report(line).unwrap().unwrap();
        assert_eq!((report.channel, report.kind), (Channel::Sms, FeedbackKind::Delivered));
    }
}
