//! Trigger  `DeliverWebhookQueue`, `DeliverWebhookBulkQueue`
//! Reads    nothing: the message carries everything; the integration, if the key is gone that sealed its URL and secret
//! Writes   the delivery row (claim, mark), failed attempts, entries of the due index; disables an endpoint that answers 410
//! Emits    one signed POST (Standard Webhooks); retries to its own bulk lane
//! Fails    endpoint's failure: recorded and retried over 27 hours. AWS fault: returned to the queue. Unprocessable message: dead-letter
//!          queue
//! Config   [`config::Config`]

pub mod config;

use aws::sqs::Queues;
use config::Config;
use contracts::queue::{Delivery, DeliveryTarget};
use contracts::webhook;
use delivery::message_links::MessageLinks;
use delivery::{Deliverer, OpenEndpoint, QueueUrls, SealedEndpoint, Sender};
use outbound::Client;
use pipeline::deliver::Message;
use pipeline::{Accepted, SendFailure};
use runtime::queue::{QueueFunction, QueueSetup, RecordError, RecordMeta};
use runtime::{Aws, StartError, clock, ids};
use std::time::Duration;
use store::Table;
use vault::LazyKeyring;

/// How long an endpoint may take to answer (Svix: 15 s): less than the function's 20 s, so that the outcome can still be marked.
const TIME_LIMIT: Duration = Duration::from_secs(15);

/// The function, with the clients and settings that one Lambda environment keeps.
#[derive(Debug)]
pub struct DeliverWebhook {
    config: Config,
    deliverer: Deliverer,
    webhooks: Webhooks,
}

#[derive(Debug)]
struct Webhooks {
    client: Client,
    keyring: LazyKeyring,
    links: MessageLinks,
    table: Table,
}

impl QueueFunction for DeliverWebhook {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type Message = Delivery;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days)
            .with_due_index(config.due_shards, &ids::id_suffix());
        let keyring = LazyKeyring::new(aws.config(), &table, clock::now()).await;
        let exceptions = config.outbound_exceptions.as_deref().unwrap_or_default();
        let root = config.outbound_extra_root.as_deref().unwrap_or_default();
        let options = outbound::ClientOptions::parse(exceptions, root).map_err(StartError::new)?;
        let links = MessageLinks::new(&config.public_base_url);
        let client = Client::new(&options).map_err(StartError::new)?;
        let webhooks = Webhooks { client, keyring, links, table: table.clone() };
        let urls = QueueUrls {
            urgent: &config.urgent_queue_url,
            bulk: &config.bulk_queue_url,
            classify: &config.classify_queue_url,
        };
        let queues = Queues::new(aws.config());
        let deliverer = Deliverer::new(Self::NAME, queues, table, urls);
        Ok(Self { config, deliverer, webhooks })
    }

    fn setup(&self) -> QueueSetup {
        let config = &self.config;
        QueueSetup::lanes(&config.dead_letter_queue_url, &config.urgent_queue_url, &config.bulk_queue_url)
    }

    async fn handle(&self, delivery: Delivery, meta: &RecordMeta) -> Result<(), RecordError> {
        self.deliverer.deliver(&self.webhooks, Message::Single(Box::new(delivery)), meta).await
    }
}

impl Sender for Webhooks {
    async fn send(&self, message: &Message, time_limit: Duration) -> Result<Accepted, SendFailure> {
        // Webhooks get every alert on its own.
        let Message::Single(delivery) = message else { return Err(SendFailure::permanent("not_a_single_alert")) };
        let DeliveryTarget::Webhook { url, secret, old_secret } = &delivery.target else {
            return Err(SendFailure::permanent("not_a_webhook_target"));
        };
        let alert = &delivery.alert;
        let now = clock::now();
        let sealed = SealedEndpoint { url, secret: Some(secret), old_secret: old_secret.as_ref() };
        let endpoint = delivery::open_endpoint(&self.keyring, &self.table, delivery, sealed).await?;
        let OpenEndpoint { url, secrets } = endpoint;
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let keyring = delivery::load_keyring(&self.keyring).await?;
        let Ok(link) = self.links.incident(&keyring, alert, now) else {
            return Err(SendFailure::unavailable("link_key"));
        };
        let Ok(body) = serde_json::to_vec(&webhook::build_body(alert, &delivery.why, &link)) else {
            return Err(SendFailure::permanent("cannot_be_written"));
        };
        let id = webhook::webhook_id(&alert.tenant, &alert.incident_id, alert.update, &delivery.destination);
        let Ok(mut headers) = outbound::sign(&secrets, &id, now.as_second(), &body) else {
            return Err(SendFailure::permanent("secret_not_usable"));
        };
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        match self.client.post(&url, headers, body, TIME_LIMIT.min(time_limit), now).await {
            Ok(answer) => match webhook::evaluate_response(answer.status.as_u16()) {
                None => Ok(Accepted::default()),
                Some(failed) => {
                    let text = String::from_utf8_lossy(&answer.body).into_owned();
                    Err(delivery::failed_response(failed, &answer, text))
                }
            },
            Err(error) => Err(delivery::failed_request(&error)),
        }
    }
}
