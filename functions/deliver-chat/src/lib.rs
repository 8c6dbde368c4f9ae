//! Trigger  `DeliverChatQueue`, `DeliverChatBulkQueue`
//! Reads    nothing: the message carries all; the destination's gate
//! Writes   the delivery row (claim, mark), failed attempts, due work; an integration that is gone is disabled
//! Emits    one message to Slack (Block Kit) or Teams (Adaptive Card through Workflows); retries to its own bulk lane
//! Fails    the receiver: recorded and tried again. AWS: back to the queue. Poison: dead letter
//! Config   [`config::Config`]

pub mod config;

use aws::sqs::Queues;
use config::Config;
use contracts::queue::{Delivery, Digest, Letter, Target};
use contracts::{slack, teams};
use delivery::outbound_link::ReadOn;
use delivery::{Deliverer, Sender, Sent};
use domain::render::Read;
use domain::vocabulary::Channel;
use http::HeaderMap;
use jiff::Timestamp;
use outbound::{Client, SecretUrl};
use runtime::queue::{Failure, Meta, QueueFunction, Setup};
use runtime::{Aws, StartError, clock};
use std::time::Duration;
use store::{StoreError, Table};
use vault::LazyKeyring;

/// Slack bears one message a second and URL; more risks the app. Teams publishes no figure for Workflows, so it gets the same.
const PAUSE_MS: i64 = 1_000;
/// How long a chat webhook may take: well inside the function's 8 s, so that its outcome is still marked.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// The function.
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
    read_on: ReadOn,
}

impl QueueFunction for DeliverChat {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type Message = Letter;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days);
        let keyring = LazyKeyring::new(aws.config(), &table, &config.kms_key_id, clock::now()).await;
        let exceptions = config.outbound_exceptions.as_deref().unwrap_or_default();
        let root = config.outbound_extra_root.as_deref().unwrap_or_default();
        let options = outbound::Options::parse(exceptions, root).map_err(StartError::new)?;
        let chat = Chat {
            client: Client::new(&options).map_err(StartError::new)?,
            read_on: ReadOn::new(&config.public_base_url),
            keyring,
            table: table.clone(),
        };
        let lanes = (config.urgent_queue_url.as_str(), config.bulk_queue_url.as_str());
        let queues = Queues::new(aws.config());
        let deliverer = Deliverer::new(Self::NAME, queues, table, lanes, &config.classify_queue_url);
        Ok(Self { config, deliverer, chat })
    }

    fn setup(&self) -> Setup {
        let config = &self.config;
        Setup::lanes(&config.dead_letter_queue_url, &config.urgent_queue_url, &config.bulk_queue_url)
    }

    async fn handle(&self, letter: Letter, meta: &Meta) -> Result<(), Failure> {
        match letter {
            Letter::Delivery(delivery) => self.deliverer.deliver(&self.chat, *delivery, meta).await,
            Letter::Digest(digest) => {
                self.deliverer.digest(*digest, meta, |digest, time_limit| self.chat.digest(digest, time_limit)).await
            }
            Letter::Confirmation(_) => Err(Failure::poison("a room is asked nothing")),
        }
    }
}

impl Chat {
    /// Sends what came at once in one message.
    async fn digest(&self, digest: Digest, time_limit: Duration) -> Sent {
        let Some(mut delivery) = delivery::bundled(digest) else { return delivery::refused("empty_digest") };
        match self.send(&delivery, time_limit).await {
            Sent::Plain => {
                delivery.plain = true;
                self.send(&delivery, time_limit).await
            }
            sent => sent,
        }
    }
}

impl Sender for Chat {
    async fn slot(&self, delivery: &Delivery, now: Timestamp) -> Result<Option<i64>, StoreError> {
        let Target::Chat { fingerprint, .. } = &delivery.target else { return Ok(None) };
        self.table.next_free(fingerprint, now, PAUSE_MS).await.map(Some)
    }

    async fn send(&self, delivery: &Delivery, time_limit: Duration) -> Sent {
        let Target::Chat { url, .. } = &delivery.target else { return delivery::refused("not_a_chat_target") };
        let aad = vault::aad(delivery.alert.tenant.as_str(), &delivery.destination);
        let keyring = match delivery::keyring(&self.keyring).await {
            Ok(keyring) => keyring,
            Err(sent) => return sent,
        };
        let url = match delivery::opened(keyring, &aad, url) {
            Ok(url) => url,
            Err(sent) => return sent,
        };
        let Ok(url) = SecretUrl::parse(&url) else { return delivery::refused("url_not_usable") };
        let Ok(link) = self.read_on.link(keyring, &delivery.alert) else {
            return Sent::Unavailable { code: "link_key".to_owned() };
        };
        let read = Read { incident_url: link, unsubscribe_url: None, stop_url: None };
        let slack = delivery.channel == Channel::Slack;
        let body = match (slack, delivery.plain) {
            (true, false) => slack::message(&delivery.alert, &delivery.why, &read),
            (true, true) => slack::plain(&delivery.alert, &delivery.why, &read),
            (false, _) => teams::message(&delivery.alert, &delivery.why, &read),
        };
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let time_limit = TIME_LIMIT.min(time_limit);
        let answer = self.client.post(&url, headers, body.to_string().into_bytes(), time_limit, clock::now()).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return delivery::not_answered(&error),
        };
        let status = answer.status.as_u16();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if slack {
            match slack::verdict(status, &text) {
                slack::Verdict::Accepted => Sent::Accepted { provider_id: None },
                slack::Verdict::RetryPlain if !delivery.plain => Sent::Plain,
                slack::Verdict::RetryPlain => delivery::refused("invalid_blocks"),
                slack::Verdict::Failed(failed) => delivery::answered(failed, &answer, text),
            }
        } else {
            match teams::verdict(status, &text) {
                None => Sent::Accepted { provider_id: None },
                Some(failed) => delivery::answered(failed, &answer, text),
            }
        }
    }
}
