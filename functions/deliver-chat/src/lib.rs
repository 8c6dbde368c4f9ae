//! Trigger  `DeliverChatQueue`, `DeliverChatBulkQueue`
//! Reads    the destination's rate limiter; the message carries everything else; the integration, if the key is gone that sealed its URL
//! Writes   the delivery row (claim, mark), failed attempts, entries of the due index; disables an integration that is gone
//! Emits    one message to Slack (Block Kit) or Teams (Adaptive Card through Workflows); retries to its own bulk lane
//! Fails    receiver's failure: recorded and retried. AWS fault: returned to the queue. Unprocessable message: dead-letter queue
//! Config   [`config::Config`]

pub mod config;

use aws::sqs::Queues;
use config::Config;
use contracts::queue::{Delivery, DeliveryTarget, OutboundMessage};
use contracts::{slack, teams};
use delivery::message_links::MessageLinks;
use delivery::{Deliverer, OpenEndpoint, QueueUrls, SealedEndpoint, Sender};
use domain::render::AlertLinks;
use domain::vocabulary::Channel;
use http::HeaderMap;
use outbound::{Client, SecretUrl};
use pipeline::deliver::Message;
use pipeline::{Accepted, SendFailure};
use runtime::queue::{QueueFunction, QueueSetup, RecordError, RecordMeta};
use runtime::{Aws, StartError, clock, ids};
use std::time::Duration;
use store::Table;
use vault::LazyKeyring;

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
        let table = Table::new(aws.config(), &config.table_name, config.retention_days)
            .with_due_index(config.due_shards, &ids::id_suffix());
        let keyring = LazyKeyring::new(aws.config(), &table, clock::now()).await;
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
            OutboundMessage::Delivery(delivery) => {
                self.deliverer.deliver(&self.chat, Message::Single(delivery), meta).await
            }
            OutboundMessage::Batch(batch) => self.deliverer.deliver(&self.chat, Message::List(batch), meta).await,
            OutboundMessage::Confirmation(_) => {
                Err(RecordError::unprocessable("chat channels cannot confirm a contact"))
            }
        }
    }
}

/// How one post to a chat webhook ended.
enum Posted {
    Accepted,
    /// The receiver did not understand the rich form.
    TooRich,
    Failed(SendFailure),
}

impl Chat {
    /// Sends one message. If the receiver does not understand the rich form, the plain one is sent at once, as the same attempt.
    async fn send_single(&self, delivery: &Delivery, time_limit: Duration) -> Result<Accepted, SendFailure> {
        let DeliveryTarget::Chat { url, .. } = &delivery.target else {
            return Err(SendFailure::permanent("not_a_chat_target"));
        };
        let sealed = SealedEndpoint { url, secret: None, old_secret: None };
        let OpenEndpoint { url, .. } = delivery::open_endpoint(&self.keyring, &self.table, delivery, sealed).await?;
        let keyring = delivery::load_keyring(&self.keyring).await?;
        let Ok(link) = self.links.incident(&keyring, &delivery.alert, clock::now()) else {
            return Err(SendFailure::unavailable("link_key"));
        };
        let links = AlertLinks { incident_url: link, unsubscribe_url: None, stop_url: None };
        let mut plain = delivery.plain;
        if !plain {
            match self.post(&url, delivery, &links, false, time_limit).await {
                Posted::Accepted => return Ok(Accepted::default()),
                Posted::Failed(failure) => return Err(failure),
                Posted::TooRich => plain = true,
            }
        }
        match self.post(&url, delivery, &links, plain, time_limit).await {
            Posted::Accepted => Ok(Accepted::default()),
            Posted::TooRich => Err(SendFailure::permanent("invalid_blocks")),
            Posted::Failed(SendFailure::Failed { failed, status, response, .. }) => {
                Err(SendFailure::Failed { failed, status, response, plain })
            }
            Posted::Failed(failure) => Err(failure),
        }
    }

    /// Posts one form of an alert.
    async fn post(
        &self,
        url: &SecretUrl,
        delivery: &Delivery,
        links: &AlertLinks,
        plain: bool,
        time_limit: Duration,
    ) -> Posted {
        let slack = delivery.channel == Channel::Slack;
        let body = match (slack, plain) {
            (true, false) => slack::build_message(&delivery.alert, &delivery.why, links),
            (true, true) => slack::build_plain_message(&delivery.alert, &delivery.why, links),
            (false, _) => teams::build_message(&delivery.alert, &delivery.why, links),
        };
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let time_limit = TIME_LIMIT.min(time_limit);
        let answer = self.client.post(url, headers, body.to_string().into_bytes(), time_limit, clock::now()).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Posted::Failed(delivery::failed_request(&error)),
        };
        let status = answer.status.as_u16();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let failed = if slack {
            match slack::evaluate_response(status, &text) {
                slack::SlackResult::Accepted => return Posted::Accepted,
                slack::SlackResult::RetryPlain => return Posted::TooRich,
                slack::SlackResult::Failed(failed) => failed,
            }
        } else {
            match teams::evaluate_response(status, &text) {
                None => return Posted::Accepted,
                Some(failed) => failed,
            }
        };
        Posted::Failed(delivery::failed_response(failed, &answer, text))
    }
}

impl Sender for Chat {
    async fn send(&self, message: &Message, time_limit: Duration) -> Result<Accepted, SendFailure> {
        match message {
            Message::Single(delivery) => self.send_single(delivery, time_limit).await,
            Message::List(list) => match delivery::merge_batch(list) {
                Some(delivery) => self.send_single(&delivery, time_limit).await,
                None => Err(SendFailure::permanent("empty_digest")),
            },
        }
    }
}
