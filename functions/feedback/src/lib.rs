//! Trigger  `FeedbackQueue`: what SES says of a message after it took it, by way of a topic, and what SNS writes to its log
//! Reads    the deliveries that the message was, the recipient
//! Writes   what came of them onto their rows; the recipient whose address bounced for good or complained, or whose phone's owner wants
//!          no more, with its compiled chunks
//! Emits    a notice to the org admins that the contact gets nothing more; the lines of SNS's log to its own queue
//! Fails    AWS fault: retried. A message that is not known yet is asked for again, and then was none of ours
//! Config   [`config::Config`]

pub mod config;

use aws::sqs::{Outgoing, Queues, Unsent};
use config::Config;
use contracts::queue::{Correlated, IncidentReceived, OptedOut};
use contracts::{ses, sns};
use domain::contact::{is_still, silenced};
use domain::delivery::{Feedback as Said, FeedbackKind};
use domain::ids::{EventId, IncidentId, RecipientId, TenantId};
use domain::reason::Reason;
use domain::tenant::Suppressed;
use domain::vocabulary::{Category, Channel};
use jiff::Timestamp;
use runtime::queue::{Failure, Meta, QueueFunction, Setup};
use runtime::{Aws, Direct, DirectError, StartError, clock, ids, logs, metrics};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use store::Table;
use store::messages::Message;

/// How often a message is asked for that nothing is known of: SES may be quicker than our own mark.
const ASKS: u32 = 4;
/// The pause between two such questions.
const PAUSE: Duration = Duration::from_secs(20);

/// The function.
#[derive(Debug)]
pub struct Feedback {
    config: Config,
    table: Table,
    queues: Queues,
}

/// What the topic put on the queue. It holds addresses, so it is not printed.
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

    fn setup(&self) -> Setup {
        let config = &self.config;
        Setup::lanes(&config.dead_letter_queue_url, &config.queue_url, &config.queue_url)
    }

    fn read(&self, body: &str, meta: &Meta) -> Result<Notification, String> {
        Ok(Notification { body: body.to_owned(), message_id: meta.message_id.clone() })
    }

    async fn handle(&self, notification: Notification, meta: &Meta) -> Result<(), Failure> {
        let at = clock::now();
        if let Ok(said) = serde_json::from_str::<OptedOut>(&notification.body) {
            let OptedOut { tenant, incident_id, category, contact, .. } = &said;
            let about = About { tenant, incident_id, category: *category, contact: Some(contact) };
            metrics::count_by("FeedbackReceived", "kind", FeedbackKind::OptedOut.as_str(), 1);
            return self.suppress(&said.recipient, about, Reason::OptedOut, at).await;
        }
        if let Ok(Undelivered { payload }) = serde_json::from_str(&notification.body) {
            let lines = logs::lines(&payload).map_err(|error| Failure::poison(&error))?;
            return self.queue(lines).await.map_err(runtime::queue::unsent);
        }
        let Some(word) = read(&notification.body)? else {
            // Opens, clicks and sends, if somebody switched them on: nothing that we ask.
            return Ok(());
        };
        let messages = self.table.messages(word.channel, &word.message_id).await.map_err(runtime::queue::table)?;
        if word.quota {
            metrics::count_by("ProviderQuotaExhausted", "channel", word.channel.as_str(), 1);
        }
        if messages.is_empty() {
            if meta.receive_count < ASKS {
                return Err(Failure::later(PAUSE, "message_not_known_yet"));
            }
            // Confirmations have no delivery, and another stack may send from the same address or account.
            metrics::count("FeedbackUnknown", 1);
            return Ok(());
        }
        metrics::count_by("FeedbackReceived", "kind", word.kind.as_str(), 1);
        for message in &messages {
            let said = Said { update: message.update, kind: word.kind, at, text: word.text.clone() };
            self.table.note_feedback(message, &said).await.map_err(runtime::queue::table)?;
        }
        let Some((reason, message)) = word.kind.suppresses().zip(messages.first()) else { return Ok(()) };
        let Some(id) = RecipientId::parse(&message.destination) else { return Ok(()) };
        let Message { tenant, incident_id, category, contact, .. } = message;
        let about = About { tenant, incident_id, category: *category, contact: contact.as_deref() };
        self.suppress(&id, about, reason, at).await
    }
}

/// An asynchronous invocation that failed three times, as Lambda puts it on the queue.
#[derive(Deserialize)]
struct Undelivered {
    /// The event of the log's subscription.
    #[serde(rename = "requestPayload")]
    payload: Value,
}

/// What a provider said of a message.
struct Word {
    channel: Channel,
    message_id: String,
    kind: FeedbackKind,
    text: String,
    /// True where the account may send no more for now.
    quota: bool,
}

/// Reads a line of SNS's log, or a notification of SES. `None`: it is nothing that we ask.
fn read(body: &str) -> Result<Option<Word>, Failure> {
    if let Ok(said) = sns::parse(body.as_bytes()) {
        let sns::Outcome { message_id, kind, text, quota } = said;
        return Ok(Some(Word { channel: Channel::Sms, message_id, kind, text, quota }));
    }
    let said = ses::parse(body.as_bytes()).map_err(|error| {
        let what = "it is nothing that SES or SNS says of a message";
        Failure::poison(&format!("{what}: {}: {}", error.pointer, error.detail))
    })?;
    let meaning = said.meaning();
    let word = |(kind, text)| Word { channel: Channel::Email, message_id: said.message_id, kind, text, quota: false };
    Ok(meaning.map(word))
}

/// What a contact was to be told when it was found that it cannot be.
#[derive(Clone, Copy)]
struct About<'a> {
    tenant: &'a TenantId,
    incident_id: &'a IncidentId,
    category: Option<Category>,
    contact: Option<&'a str>,
}

impl Feedback {
    /// Puts the lines of SNS's log on the queue, which keeps them until they find their delivery.
    async fn queue(&self, lines: Vec<String>) -> Result<(), Unsent> {
        let messages = lines.into_iter().map(|body| Outgoing { body, ..Outgoing::default() }).collect();
        self.queues.send_all(&self.config.queue_url, messages).await
    }

    /// Sends nothing more to an address or number, until its owner confirms it anew or it is another one; and says so. The notice goes
    /// first: a crash in between repeats it, and it is the same event.
    async fn suppress(&self, id: &RecipientId, about: About<'_>, reason: Reason, at: Timestamp) -> Result<(), Failure> {
        let suppressed = Suppressed { reason, at };
        let known = self.table.recipient(about.tenant, id).await.map_err(runtime::queue::table)?;
        let Some(recipient) = known else { return Ok(()) };
        let silenced_now = recipient.clone().silence(&suppressed);
        if !silenced_now || !is_still(about.tenant, &recipient, reason, about.contact) {
            return Ok(());
        }
        let event = silenced(about.tenant, &recipient, reason, about.category, about.incident_id);
        let event_id = EventId::derived(&[id.as_str(), about.incident_id.as_str(), reason.as_str()]);
        let correlation_id = event_id.to_string();
        let notice = IncidentReceived::own(about.tenant, event, event_id, &correlation_id, at);
        let body = serde_json::to_string(&notice).map_err(|_| Failure::poison("a notice cannot be written"))?;
        let (group, dedup) = (Some(notice.group()), Some(notice.deduplication_id()));
        let outgoing = Outgoing { body, group, dedup, ..Outgoing::default() };
        self.queues.send(&self.config.classify_queue_url, &outgoing).await.map_err(runtime::queue::aws)?;
        let who = (Self::NAME, ids::suffix());
        let done = self.table.suppress(about.tenant, id, &suppressed, who.0, &who.1).await;
        done.map_err(runtime::queue::table)?;
        tracing::info!(tenant = %about.tenant, recipient = %id, reason = reason.as_str(), "nothing more is sent there");
        Ok(())
    }
}

impl Direct for Feedback {
    /// Lines of SNS's log, from its subscription.
    async fn direct(&self, event: Value) -> Result<Value, DirectError> {
        let lines = logs::lines(&event).map_err(|error| DirectError::new("BadRequest", error))?;
        let queued = lines.len();
        self.queue(lines)
            .await
            .map_err(|error| DirectError::new("Unavailable", format!("the log's lines cannot be queued: {error}")))?;
        Ok(json!({"queued": queued}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_event_is_what_ses_sends() {
        let event: Value = serde_json::from_str(include_str!("../event.json")).unwrap();
        let word = read(event["Records"][0]["body"].as_str().unwrap()).unwrap().unwrap();
        assert_eq!((word.kind, word.text.as_str()), (FeedbackKind::Bounced, "smtp; 550 5.1.1 user unknown"));
        assert_eq!(word.channel, Channel::Email);
    }

    #[test]
    fn what_lambda_gave_up_is_the_subscriptions_event() {
        let failed = json!({"version": "1.0", "requestContext": {"condition": "RetriesExhausted"},
            "requestPayload": {"awslogs": {"data": "x"}}, "responseContext": {"functionError": "Unhandled"}});
        let Undelivered { payload } = serde_json::from_value(failed).unwrap();
        assert_eq!(payload, json!({"awslogs": {"data": "x"}}));
        let event: Value = serde_json::from_str(include_str!("../event.json")).unwrap();
        let ses = event["Records"][0]["body"].as_str().unwrap();
        assert!(serde_json::from_str::<Undelivered>(ses).is_err());
    }

    #[test]
    fn what_is_neither_is_poison() {
        assert!(read("{}").is_err());
        let line = r#"{"notification":{"messageId":"m"},"delivery":{"providerResponse":"ok"},"status":"SUCCESS"}"#;
        let word = read(line).unwrap().unwrap();
        assert_eq!((word.channel, word.kind), (Channel::Sms, FeedbackKind::Delivered));
    }
}
