//! Trigger  `DeliverChatQueue`, `DeliverChatBulkQueue`
//! Reads    the destination's rate limiter; the message carries everything else
//! Writes   the delivery row (claim, mark), failed attempts, entries of the due index; disables an integration that is gone
//! Emits    one message to Slack (Block Kit) or Teams (Adaptive Card through Workflows); retries to its own bulk lane
//! Fails    receiver's failure: recorded and retried. AWS fault: returned to the queue. Unprocessable message: dead-letter queue
//! Config   [`config::Config`]

pub mod config;

use aws::sqs::Queues;
use config::Config;
use contracts::queue::{BatchDelivery, Delivery, DeliveryTarget, OutboundMessage};
use contracts::{slack, teams};
use delivery::message_links::MessageLinks;
use delivery::{Deliverer, QueueUrls, SendOutcome, Sender};
use domain::render::AlertLinks;
use domain::vocabulary::Channel;
use http::HeaderMap;
use jiff::Timestamp;
use outbound::{Client, SecretUrl};
use runtime::queue::{QueueFunction, QueueSetup, RecordError, RecordMeta};
use runtime::{Aws, StartError, clock};
use std::time::Duration;
use store::{StoreError, Table};
use vault::LazyKeyring;

/// Minimum milliseconds between two messages to one URL. Slack allows one message a second and may disable an app that sends more; Teams
/// publishes no figure for Workflows, so it gets the same.
const SLOT_INTERVAL_MS: i64 = 1_000;
/// How long a chat webhook may take to answer: less than the function's 8 s, so that the outcome can still be marked.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// The function, with the clients and settings that one Lambda environment keeps.
#[derive(Debug)]
pub struct DeliverChat {
    config: Config,
    deliverer: Deliverer,
    chat: Chat,
}

#[derive(Debug)]
struct Chat {
    client: Client,
    keyring: LazyKeyring,
    table: Table,
    links: MessageLinks,
}

impl QueueFunction for DeliverChat {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type Message = OutboundMessage;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days);
        let keyring = LazyKeyring::new(aws.config(), &table, &config.kms_key_id, clock::now()).await;
        let exceptions = config.outbound_exceptions.as_deref().unwrap_or_default();
        let root = config.outbound_extra_root.as_deref().unwrap_or_default();
        let options = outbound::ClientOptions::parse(exceptions, root).map_err(StartError::new)?;
        let chat = Chat {
            client: Client::new(&options).map_err(StartError::new)?,
            links: MessageLinks::new(&config.public_base_url),
            keyring,
            table: table.clone(),
        };
        let urls = QueueUrls {
            urgent: &config.urgent_queue_url,
            bulk: &config.bulk_queue_url,
            classify: &config.classify_queue_url,
        };
        let queues = Queues::new(aws.config());
        let deliverer = Deliverer::new(Self::NAME, queues, table, urls);
        Ok(Self { config, deliverer, chat })
    }

    fn setup(&self) -> QueueSetup {
        let config = &self.config;
        QueueSetup::lanes(&config.dead_letter_queue_url, &config.urgent_queue_url, &config.bulk_queue_url)
    }

    async fn handle(&self, message: OutboundMessage, meta: &RecordMeta) -> Result<(), RecordError> {
        match message {
            OutboundMessage::Delivery(delivery) => self.deliverer.deliver(&self.chat, *delivery, meta).await,
            OutboundMessage::Batch(batch) => {
                let send = |batch, time_limit| self.chat.send_batch(batch, time_limit);
                self.deliverer.deliver_batch(*batch, meta, send).await
            }
            OutboundMessage::Confirmation(_) => {
                Err(RecordError::unprocessable("chat channels cannot confirm a contact"))
            }
        }
    }
}

impl Chat {
    /// Sends several deliveries in one message.
    async fn send_batch(&self, batch: BatchDelivery, time_limit: Duration) -> SendOutcome {
        let Some(mut delivery) = delivery::merge_batch(batch) else {
            return SendOutcome::permanent_failure("empty_digest");
        };
        match self.send(&delivery, time_limit).await {
            SendOutcome::RetryPlain => {
                delivery.plain = true;
                self.send(&delivery, time_limit).await
            }
            outcome => outcome,
        }
    }
}

impl Sender for Chat {
    async fn reserve_slot(&self, delivery: &Delivery, now: Timestamp) -> Result<Option<i64>, StoreError> {
        let DeliveryTarget::Chat { fingerprint, .. } = &delivery.target else { return Ok(None) };
        self.table.reserve_call_slot(fingerprint, now, SLOT_INTERVAL_MS).await.map(Some)
    }

    async fn send(&self, delivery: &Delivery, time_limit: Duration) -> SendOutcome {
        let DeliveryTarget::Chat { url, .. } = &delivery.target else {
            return SendOutcome::permanent_failure("not_a_chat_target");
        };
        let aad = vault::owner_aad(delivery.alert.tenant.as_str(), &delivery.destination);
        let keyring = match delivery::load_keyring(&self.keyring).await {
            Ok(keyring) => keyring,
            Err(outcome) => return outcome,
        };
        let url = match delivery::open_sealed(keyring, &aad, url) {
            Ok(url) => url,
            Err(outcome) => return outcome,
        };
        let Ok(url) = SecretUrl::parse(&url) else { return SendOutcome::permanent_failure("url_not_usable") };
        let Ok(link) = self.links.incident(keyring, &delivery.alert) else {
            return SendOutcome::Unavailable { code: "link_key".to_owned() };
        };
        let links = AlertLinks { incident_url: link, unsubscribe_url: None, stop_url: None };
        let slack = delivery.channel == Channel::Slack;
        let body = match (slack, delivery.plain) {
            (true, false) => slack::build_message(&delivery.alert, &delivery.why, &links),
            (true, true) => slack::build_plain_message(&delivery.alert, &delivery.why, &links),
            (false, _) => teams::build_message(&delivery.alert, &delivery.why, &links),
        };
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let time_limit = TIME_LIMIT.min(time_limit);
        let answer = self.client.post(&url, headers, body.to_string().into_bytes(), time_limit, clock::now()).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return SendOutcome::failed_request(&error),
        };
        let status = answer.status.as_u16();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if slack {
            match slack::evaluate_response(status, &text) {
                slack::SlackResult::Accepted => SendOutcome::Accepted { provider_id: None },
                slack::SlackResult::RetryPlain if !delivery.plain => SendOutcome::RetryPlain,
                slack::SlackResult::RetryPlain => SendOutcome::permanent_failure("invalid_blocks"),
                slack::SlackResult::Failed(failed) => SendOutcome::failed_response(failed, &answer, text),
            }
        } else {
            match teams::evaluate_response(status, &text) {
                None => SendOutcome::Accepted { provider_id: None },
                Some(failed) => SendOutcome::failed_response(failed, &answer, text),
            }
        }
    }
}
