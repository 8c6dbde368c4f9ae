//! Trigger  `DeliverWebhookQueue`, `DeliverWebhookBulkQueue`
//! Reads    nothing: the message carries all
//! Writes   the delivery row (claim, mark), failed attempts, due work; an endpoint that answers 410 is disabled
//! Emits    one signed POST (Standard Webhooks); retries to its own bulk lane
//! Fails    the endpoint: recorded and tried again over 27 hours. AWS: back to the queue. Poison: dead letter
//! Config   [`config::Config`]

pub mod config;

use aws::sqs::Queues;
use config::Config;
use contracts::queue::{Delivery, Target};
use contracts::webhook;
use delivery::{Deliverer, Sender, Sent};
use domain::tenant::Sealed;
use jiff::Timestamp;
use outbound::{Client, SecretUrl};
use runtime::queue::{Failure, Meta, QueueFunction, Setup};
use runtime::{Aws, StartError, clock};
use std::time::Duration;
use store::{StoreError, Table};
use vault::LazyKeyring;

/// How long an endpoint may take (Svix: 15 s); inside the function's 20 s, so that its outcome is still marked.
const TIME_LIMIT: Duration = Duration::from_secs(15);

/// The function.
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
}

impl QueueFunction for DeliverWebhook {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type Message = Delivery;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days);
        let keyring = LazyKeyring::new(aws.config(), &table, &config.kms_key_id, clock::now()).await;
        let exceptions = config.outbound_exceptions.as_deref().unwrap_or_default();
        let root = config.outbound_extra_root.as_deref().unwrap_or_default();
        let options = outbound::Options::parse(exceptions, root).map_err(StartError::new)?;
        let webhooks = Webhooks { client: Client::new(&options).map_err(StartError::new)?, keyring };
        let lanes = (config.urgent_queue_url.as_str(), config.bulk_queue_url.as_str());
        let queues = Queues::new(aws.config());
        let deliverer = Deliverer::new(Self::NAME, queues, table, lanes, &config.classify_queue_url);
        Ok(Self { config, deliverer, webhooks })
    }

    fn setup(&self) -> Setup {
        let config = &self.config;
        Setup::lanes(&config.dead_letter_queue_url, &config.urgent_queue_url, &config.bulk_queue_url)
    }

    async fn handle(&self, delivery: Delivery, meta: &Meta) -> Result<(), Failure> {
        self.deliverer.deliver(&self.webhooks, delivery, meta).await
    }
}

impl Sender for Webhooks {
    async fn slot(&self, _delivery: &Delivery, _now: Timestamp) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }

    async fn send(&self, delivery: &Delivery, time_limit: Duration) -> Sent {
        let Target::Webhook { url, secret, old_secret } = &delivery.target else {
            return delivery::refused("not_a_webhook_target");
        };
        let alert = &delivery.alert;
        let now = clock::now();
        let keyring = match delivery::keyring(&self.keyring).await {
            Ok(keyring) => keyring,
            Err(sent) => return sent,
        };
        let aad = vault::aad(alert.tenant.as_str(), &delivery.destination);
        let open = |sealed: &Sealed| delivery::opened(keyring, &aad, sealed);
        let (url, secret) = match open(url).and_then(|url| Ok((url, open(secret)?))) {
            Ok(both) => both,
            Err(sent) => return sent,
        };
        let Ok(url) = SecretUrl::parse(&url) else { return delivery::refused("url_not_usable") };
        // For 24 hours after a rotation both secrets sign, so that a receiver can change its own without losing an alert.
        let old = old_secret.as_ref().filter(|old| now < old.until).and_then(|old| open(&old.secret).ok());
        let secrets: Vec<&str> = std::iter::once(secret.as_str()).chain(old.as_deref()).collect();
        let Ok(body) = serde_json::to_vec(&webhook::body(alert, &delivery.why)) else {
            return delivery::refused("cannot_be_written");
        };
        let id = webhook::webhook_id(&alert.tenant, &alert.incident_id, alert.update, &delivery.destination);
        let Ok(mut headers) = outbound::sign(&secrets, &id, now.as_second(), &body) else {
            return delivery::refused("secret_not_usable");
        };
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        match self.client.post(&url, headers, body, TIME_LIMIT.min(time_limit), now).await {
            Ok(answer) => match webhook::verdict(answer.status.as_u16()) {
                None => Sent::Accepted { provider_id: None },
                Some(failed) => {
                    let text = String::from_utf8_lossy(&answer.body).into_owned();
                    delivery::answered(failed, &answer, text)
                }
            },
            Err(error) => delivery::not_answered(&error),
        }
    }
}
