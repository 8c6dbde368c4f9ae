//! Trigger  `FeedbackQueue`: what SES says of a message after it took it, by way of a topic
//! Reads    the deliveries that the message was, the recipient
//! Writes   what came of them onto their rows; the recipient whose address bounced for good or complained, with its compiled chunks
//! Emits    a notice to the org admins that the address gets no more e-mails
//! Fails    AWS fault: retried. A message that is not known yet is asked for again, and then was none of ours
//! Config   [`config::Config`]

pub mod config;

use aws::sqs::{Outgoing, Queues};
use config::Config;
use contracts::queue::{Body, Correlated, IncidentReceived, VERSION};
use contracts::ses;
use domain::delivery::Feedback as Said;
use domain::event::{Event, Format};
use domain::ids::{EventId, IntegrationId, RecipientId, Scope};
use domain::incident::SUPPRESSED;
use domain::reason::Reason;
use domain::tenant::{Recipient, Suppressed};
use domain::vocabulary::{Category, Severity};
use jiff::Timestamp;
use runtime::queue::{Failure, Meta, QueueFunction, Setup};
use runtime::{Aws, StartError, clock, ids, metrics};
use serde::Deserialize;
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
        let said = ses::parse(notification.body.as_bytes()).map_err(|error| {
            Failure::poison(&format!("it is nothing that SES says of a message: {}: {}", error.pointer, error.detail))
        })?;
        let Some((kind, text)) = said.meaning() else {
            // Opens, clicks and sends, if somebody switched them on: nothing that we ask.
            return Ok(());
        };
        let messages = self.table.messages(&said.message_id).await.map_err(runtime::queue::table)?;
        if messages.is_empty() {
            if meta.receive_count < ASKS {
                return Err(Failure::later(PAUSE, "message_not_known_yet"));
            }
            // Confirmations have no delivery, and another stack may send from the same address.
            metrics::count("FeedbackUnknown", 1);
            return Ok(());
        }
        metrics::count_by("FeedbackReceived", "kind", kind.as_str(), 1);
        let at = clock::now();
        for message in &messages {
            let said = Said { update: message.update, kind, at, text: text.clone() };
            self.table.note_feedback(message, &said).await.map_err(runtime::queue::table)?;
        }
        match (kind.suppresses(), messages.first()) {
            (Some(reason), Some(message)) => self.suppress(message, reason, at).await,
            _ => Ok(()),
        }
    }
}

impl Feedback {
    /// Sends nothing more to an address, until its owner confirms it anew or it is another one; and says so.
    async fn suppress(&self, message: &Message, reason: Reason, at: Timestamp) -> Result<(), Failure> {
        let Some(id) = RecipientId::parse(&message.destination) else { return Ok(()) };
        let suppressed = Suppressed { reason, at };
        let who = (Self::NAME, ids::suffix());
        let done = self.table.suppress(&message.tenant, &id, &suppressed, who.0, &who.1).await;
        let Some(recipient) = done.map_err(runtime::queue::table)? else { return Ok(()) };
        tracing::info!(tenant = %message.tenant, recipient = %id, reason = reason.as_str(), "no more e-mails to it");
        let notice = notice(message, &recipient, reason, at);
        let body = serde_json::to_string(&notice).map_err(|_| Failure::poison("a notice cannot be written"))?;
        let (group, dedup) = (Some(notice.group()), Some(notice.deduplication_id()));
        let outgoing = Outgoing { body, group, dedup, ..Outgoing::default() };
        self.queues.send(&self.config.classify_queue_url, &outgoing).await.map_err(runtime::queue::aws)
    }
}

/// What the org admins are told. It names no address.
fn notice(message: &Message, recipient: &Recipient, reason: Reason, at: Timestamp) -> IncidentReceived {
    let category = message.category.unwrap_or(Category::Configurable);
    let name = &recipient.name;
    let (title, what) = match reason {
        Reason::SuppressedComplaint => {
            (format!("{name} reported an alert as spam"), "reported one of our e-mails as spam")
        }
        _ => (format!("E-mail to {name} bounces"), "has an address that the mail server refuses for good"),
    };
    let event = Event {
        event_type: SUPPRESSED.to_owned(),
        dedup_key: format!("{}:{}", recipient.id, at.as_second()),
        severity: Severity::Warning,
        title,
        message: format!(
            "{name} ({}) {what}, so no more e-mails are sent there. Correct the address, or ask for it to be confirmed again.",
            recipient.id
        ),
        tenant_ids: vec![message.tenant.clone()],
        labels: [
            ("category".to_owned(), category.as_str().to_owned()),
            ("recipient".to_owned(), recipient.id.to_string()),
        ]
        .into(),
        public: Some(false),
        ..Event::blank(Format::Native, "tocsin")
    };
    let event_id = EventId::derived(&[recipient.id.as_str(), message.incident_id.as_str(), "suppressed"]);
    IncidentReceived {
        v: VERSION,
        correlation_id: event_id.to_string(),
        event_id,
        accepted_at: at,
        integration_id: IntegrationId::new("tocsin"),
        scope: Some(Scope::Tenant(message.tenant.clone())),
        trouble: None,
        body: Body::Event(Box::new(event.capped())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::classification::Verdict;
    use domain::delivery::FeedbackKind;
    use domain::ids::{IncidentId, TenantId};
    use domain::policy::Policy;

    #[test]
    fn the_notice_has_a_rule_and_names_no_address() {
        let recipient: Recipient = serde_json::from_value(serde_json::json!({"id": "rcp_a", "name": "Ops",
            "email": "ops@example.com", "roles": ["org_admin"], "version": 3}))
        .unwrap();
        for category in [None, Some(Category::Billing)] {
            let message = Message {
                tenant: TenantId::parse("acme").unwrap(),
                incident_id: IncidentId::new("a"),
                row: "rcp_a#email".into(),
                destination: "rcp_a".into(),
                update: 1,
                category,
            };
            for reason in [Reason::SuppressedBounce, Reason::SuppressedComplaint] {
                let received = notice(&message, &recipient, reason, Timestamp::UNIX_EPOCH);
                let Body::Event(event) = &received.body else { panic!("{received:?}") };
                let verdict = Policy::embedded().unwrap().classify(event);
                assert!(
                    matches!(verdict, Verdict::Included(included) if included.category == Some(category.unwrap_or(Category::Configurable)))
                );
                assert!(!serde_json::to_string(&received).unwrap().contains("ops@example.com"));
            }
        }
    }

    #[test]
    fn the_example_event_is_what_ses_sends() {
        let event: serde_json::Value = serde_json::from_str(include_str!("../event.json")).unwrap();
        let said = ses::parse(event["Records"][0]["body"].as_str().unwrap().as_bytes()).unwrap();
        let (kind, text) = said.meaning().unwrap();
        assert_eq!((kind, text.as_str()), (FeedbackKind::Bounced, "smtp; 550 5.1.1 user unknown"));
    }
}
