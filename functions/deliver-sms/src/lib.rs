//! Trigger  `DeliverSmsQueue`, `DeliverSmsBulkQueue`
//! Reads    nothing: the message carries all
//! Writes   the delivery row (claim, mark), failed attempts, due work and, beside the plan, that it waits; what a number was sent lately
//! Emits    one SMS through SNS; retries to its own bulk lane; to `feedback` that a number's owner wants no more
//! Fails    the number: recorded and tried again. AWS: back to the queue. Poison: dead letter
//! Config   [`config::Config`]
//!
//! SNS answers with a message id even for what it will not send; "accepted" is never "delivered".

pub mod config;

use aws::sns::{Sms, SmsError, Texter};
use aws::sqs::{Outgoing, Queues};
use config::Config;
use contracts::queue::{Confirmation, Delivery, Digest, Letter, OptedOut, Target, VERSION};
use delivery::outbound_link::ReadOn;
use delivery::{Deliverer, Sender, Sent};
use domain::attempt::OPTED_OUT;
use domain::ids::RecipientId;
use domain::policy::{Policy, Storms};
use domain::render;
use domain::tenant::{Phone, SmsCompliance};
use domain::vocabulary::Channel;
use jiff::Timestamp;
use runtime::queue::{Failure, Meta, QueueFunction, Setup};
use runtime::{Aws, Pace, StartError, clock};
use std::time::Duration;
use store::{StoreError, Table};
use vault::LazyKeyring;

/// The function.
#[derive(Debug)]
pub struct DeliverSms {
    config: Config,
    deliverer: Deliverer,
    texts: Texts,
}

#[derive(Debug)]
struct Texts {
    texter: Texter,
    policy: Policy,
    pace: Pace,
    sender_id: Option<String>,
    keyring: LazyKeyring,
    links: ReadOn,
    queues: Queues,
    feedback_queue_url: String,
}

impl QueueFunction for DeliverSms {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type Message = Letter;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days);
        let keyring = LazyKeyring::new(aws.config(), &table, &config.kms_key_id, clock::now()).await;
        let texts = Texts {
            texter: Texter::new(aws.config()),
            policy: Policy::embedded().map_err(StartError::new)?,
            pace: Pace::new(Duration::from_millis(config.send_interval_ms)),
            sender_id: config.sender_id.clone(),
            keyring,
            links: ReadOn::new(&config.public_base_url),
            queues: Queues::new(aws.config()),
            feedback_queue_url: config.feedback_queue_url.clone(),
        };
        let lanes = (config.urgent_queue_url.as_str(), config.bulk_queue_url.as_str());
        let queues = Queues::new(aws.config());
        let deliverer = Deliverer::new(Self::NAME, queues, table, lanes, &config.classify_queue_url)
            .sparing(Storms::embedded().map_err(StartError::new)?);
        Ok(Self { config, deliverer, texts })
    }

    fn setup(&self) -> Setup {
        let config = &self.config;
        Setup::lanes(&config.dead_letter_queue_url, &config.urgent_queue_url, &config.bulk_queue_url)
    }

    async fn handle(&self, letter: Letter, meta: &Meta) -> Result<(), Failure> {
        match letter {
            Letter::Delivery(delivery) => self.deliverer.deliver(&self.texts, *delivery, meta).await,
            Letter::Confirmation(asked) => {
                self.deliverer.asked(&asked, Channel::Sms, self.texts.ask(&asked).await).await
            }
            Letter::Digest(digest) => {
                self.deliverer.digest(*digest, meta, |digest, time_limit| self.texts.digest(digest, time_limit)).await
            }
        }
    }
}

impl Texts {
    /// Sends the code that confirms a number.
    async fn ask(&self, confirmation: &Confirmation) -> Sent {
        let (Target::Sms { phone, compliance }, Some(code)) = (&confirmation.target, &confirmation.code) else {
            return delivery::refused("not_an_sms_target");
        };
        let keyring = match delivery::keyring(&self.keyring).await {
            Ok(keyring) => keyring,
            Err(sent) => return sent,
        };
        let aad = vault::aad(confirmation.tenant.as_str(), confirmation.recipient.as_str());
        let code = match delivery::opened(keyring, &aad, code) {
            Ok(code) => code,
            Err(sent) => return sent,
        };
        let text = render::confirmation_sms(&confirmation.tenant_name, confirmation.tenant.as_str(), &code);
        self.text(phone, compliance, text).await
    }

    /// Sends what came at once in one message.
    async fn digest(&self, digest: Digest, time_limit: Duration) -> Sent {
        match delivery::bundled(digest) {
            Some(delivery) => self.send(&delivery, time_limit).await,
            None => delivery::refused("empty_digest"),
        }
    }

    /// Has `feedback` send nothing more to a number whose owner does not want it.
    async fn opted_out(&self, delivery: &Delivery) -> Sent {
        let Some(recipient) = RecipientId::parse(&delivery.destination) else { return delivery::refused(OPTED_OUT) };
        let said = OptedOut {
            v: VERSION,
            tenant: delivery.alert.tenant.clone(),
            recipient,
            incident_id: delivery.alert.incident_id.clone(),
            category: delivery.alert.category,
            contact: delivery::contact(delivery).unwrap_or_default(),
        };
        let Ok(body) = serde_json::to_string(&said) else { return delivery::refused(OPTED_OUT) };
        match self.queues.send(&self.feedback_queue_url, &Outgoing { body, ..Outgoing::default() }).await {
            Ok(()) => delivery::refused(OPTED_OUT),
            // SNS will say it again.
            Err(_) => Sent::Unavailable { code: "feedback_queue".to_owned() },
        }
    }

    async fn text(&self, phone: &Phone, compliance: &SmsCompliance, text: String) -> Sent {
        // The number's own country decides; where the number does not tell, the tenant's.
        let country = phone.country().or_else(|| compliance.country.clone());
        let dlt = country.and_then(|code| self.policy.compliance.country(&code)).is_some_and(|rule| rule.dlt_required);
        if dlt && (compliance.dlt_entity_id.is_none() || compliance.dlt_template_id.is_none()) {
            return delivery::refused("dlt_registration_missing");
        }
        let sms = Sms {
            phone: phone.expose().to_owned(),
            text,
            sender_id: compliance.sender_id.clone().or_else(|| self.sender_id.clone()),
            entity_id: compliance.dlt_entity_id.clone().filter(|_| dlt),
            template_id: compliance.dlt_template_id.clone().filter(|_| dlt),
            ..Sms::default()
        };
        self.pace.wait().await;
        match self.texter.send(&sms).await {
            Ok(id) => Sent::Accepted { provider_id: Some(id) },
            Err(SmsError::Throttled) => Sent::Throttled,
            Err(SmsError::QuotaExhausted) => Sent::QuotaExhausted,
            Err(SmsError::OptedOut) => delivery::refused(OPTED_OUT),
            Err(SmsError::Refused { code }) => delivery::refused(&code),
            Err(SmsError::Denied { code }) => Sent::Unavailable { code },
            Err(SmsError::Unavailable) => Sent::Unavailable { code: "sns".to_owned() },
        }
    }
}

impl Sender for Texts {
    async fn slot(&self, _delivery: &Delivery, _now: Timestamp) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }

    async fn send(&self, delivery: &Delivery, _time_limit: Duration) -> Sent {
        let Target::Sms { phone, compliance } = &delivery.target else {
            return delivery::refused("not_an_sms_target");
        };
        let alert = &delivery.alert;
        let keyring = match delivery::keyring(&self.keyring).await {
            Ok(keyring) => keyring,
            Err(sent) => return sent,
        };
        let Ok(link) = self.links.reader(keyring, alert, &delivery.destination) else {
            return Sent::Unavailable { code: "link_key".to_owned() };
        };
        let text = render::sms(alert, &delivery.why, &link);
        match self.text(phone, compliance, text.text).await {
            Sent::Failed { failed, .. } if failed.cause == OPTED_OUT => self.opted_out(delivery).await,
            sent => sent,
        }
    }
}
