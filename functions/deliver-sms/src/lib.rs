//! Trigger  `DeliverSmsQueue`, `DeliverSmsBulkQueue`
//! Reads    nothing else: the message carries everything
//! Writes   the delivery row (claim, mark), failed attempts, entries of the due index; what the number was sent lately, and where that
//!          defers a delivery, the revised decision
//! Emits    one SMS through SNS; retries to its own bulk lane; opt-outs to `feedback`
//! Fails    number refused: recorded and retried. AWS fault: returned to the queue. Unprocessable message: dead-letter queue
//! Config   [`config::Config`]
//!
//! SNS returns a message id even for messages that it will not send, so "accepted" never means "delivered".

pub mod config;

use aws::sns::{Sms, SmsError, SmsSender};
use aws::sqs::{OutgoingMessage, Queues};
use config::Config;
use contracts::queue::{
    BatchDelivery, ConfirmationRequest, Delivery, DeliveryTarget, OutboundMessage, SmsOptOut, VERSION,
};
use delivery::message_links::MessageLinks;
use delivery::{Deliverer, QueueUrls, SendOutcome, Sender};
use domain::attempt::CAUSE_OPTED_OUT;
use domain::ids::RecipientId;
use domain::policy::{Policy, StormPolicy};
use domain::render;
use domain::tenant::{Phone, SmsCompliance};
use domain::vocabulary::Channel;
use runtime::queue::{QueueFunction, QueueSetup, RecordError, RecordMeta};
use runtime::{Aws, Pacer, StartError, clock};
use std::time::Duration;
use store::Table;
use vault::LazyKeyring;

/// The function, with the clients and settings that one Lambda environment keeps.
#[derive(Debug)]
pub struct DeliverSms {
    config: Config,
    deliverer: Deliverer,
    texts: Texts,
}

#[derive(Debug)]
struct Texts {
    texter: SmsSender,
    policy: Policy,
    pace: Pacer,
    sender_id: Option<String>,
    keyring: LazyKeyring,
    links: MessageLinks,
    queues: Queues,
    feedback_queue_url: String,
}

impl QueueFunction for DeliverSms {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type Message = OutboundMessage;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days);
        let keyring = LazyKeyring::new(aws.config(), &table, &config.kms_key_id, clock::now()).await;
        let texts = Texts {
            texter: SmsSender::new(aws.config()),
            policy: Policy::embedded().map_err(StartError::new)?,
            pace: Pacer::new(Duration::from_millis(config.send_interval_ms)),
            sender_id: config.sender_id.clone(),
            keyring,
            links: MessageLinks::new(&config.public_base_url),
            queues: Queues::new(aws.config()),
            feedback_queue_url: config.feedback_queue_url.clone(),
        };
        let urls = QueueUrls {
            urgent: &config.urgent_queue_url,
            bulk: &config.bulk_queue_url,
            classify: &config.classify_queue_url,
        };
        let queues = Queues::new(aws.config());
        let deliverer = Deliverer::new(Self::NAME, queues, table, urls)
            .with_rate_limits(StormPolicy::embedded().map_err(StartError::new)?);
        Ok(Self { config, deliverer, texts })
    }

    fn setup(&self) -> QueueSetup {
        let config = &self.config;
        QueueSetup::lanes(&config.dead_letter_queue_url, &config.urgent_queue_url, &config.bulk_queue_url)
    }

    async fn handle(&self, message: OutboundMessage, meta: &RecordMeta) -> Result<(), RecordError> {
        match message {
            OutboundMessage::Delivery(delivery) => self.deliverer.deliver(&self.texts, *delivery, meta).await,
            OutboundMessage::Confirmation(confirmation) => {
                let outcome = self.texts.send_confirmation(&confirmation).await;
                self.deliverer.record_confirmation_outcome(&confirmation, Channel::Sms, outcome).await
            }
            OutboundMessage::Batch(batch) => {
                let send = |batch, time_limit| self.texts.send_batch(batch, time_limit);
                self.deliverer.deliver_batch(*batch, meta, send).await
            }
        }
    }
}

impl Texts {
    /// Sends the code by which the owner of a number confirms that it may receive a tenant's alerts.
    async fn send_confirmation(&self, confirmation: &ConfirmationRequest) -> SendOutcome {
        let (DeliveryTarget::Sms { phone, compliance }, Some(code)) = (&confirmation.target, &confirmation.code) else {
            return SendOutcome::permanent_failure("not_an_sms_target");
        };
        let keyring = match delivery::load_keyring(&self.keyring).await {
            Ok(keyring) => keyring,
            Err(outcome) => return outcome,
        };
        let aad = vault::owner_aad(confirmation.tenant.as_str(), confirmation.recipient.as_str());
        let code = match delivery::open_sealed(keyring, &aad, code) {
            Ok(code) => code,
            Err(outcome) => return outcome,
        };
        let text = render::confirmation_sms(&confirmation.tenant_name, confirmation.tenant.as_str(), &code);
        self.send_text(phone, compliance, text).await
    }

    /// Sends several deliveries in one message.
    async fn send_batch(&self, batch: BatchDelivery, time_limit: Duration) -> SendOutcome {
        match delivery::merge_batch(batch) {
            Some(delivery) => self.send(&delivery, time_limit).await,
            None => SendOutcome::permanent_failure("empty_digest"),
        }
    }

    /// Reports an opt-out to `feedback`, which then blocks the number. Returns the outcome of the send.
    async fn report_opt_out(&self, delivery: &Delivery) -> SendOutcome {
        let Some(recipient) = RecipientId::parse(&delivery.destination) else {
            return SendOutcome::permanent_failure(CAUSE_OPTED_OUT);
        };
        let opt_out = SmsOptOut {
            v: VERSION,
            tenant: delivery.alert.tenant.clone(),
            recipient,
            incident_id: delivery.alert.incident_id.clone(),
            category: delivery.alert.category,
            contact: delivery::contact_key(delivery).unwrap_or_default(),
        };
        let Ok(body) = serde_json::to_string(&opt_out) else { return SendOutcome::permanent_failure(CAUSE_OPTED_OUT) };
        match self.queues.send(&self.feedback_queue_url, &OutgoingMessage { body, ..OutgoingMessage::default() }).await
        {
            Ok(()) => SendOutcome::permanent_failure(CAUSE_OPTED_OUT),
            // The retry reports it again.
            Err(_) => SendOutcome::Unavailable { code: "feedback_queue".to_owned() },
        }
    }

    async fn send_text(&self, phone: &Phone, compliance: &SmsCompliance, text: String) -> SendOutcome {
        // The number's country decides; if the number does not tell it, the tenant's country does.
        let country = phone.country().or_else(|| compliance.country.clone());
        let dlt = country.and_then(|code| self.policy.compliance.country(&code)).is_some_and(|rule| rule.dlt_required);
        if dlt && (compliance.dlt_entity_id.is_none() || compliance.dlt_template_id.is_none()) {
            return SendOutcome::permanent_failure("dlt_registration_missing");
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
            Ok(id) => SendOutcome::Accepted { provider_id: Some(id) },
            Err(SmsError::Throttled) => SendOutcome::Throttled,
            Err(SmsError::QuotaExhausted) => SendOutcome::QuotaExhausted,
            Err(SmsError::OptedOut) => SendOutcome::permanent_failure(CAUSE_OPTED_OUT),
            Err(SmsError::Refused { code }) => SendOutcome::permanent_failure(&code),
            Err(SmsError::Denied { code }) => SendOutcome::Unavailable { code },
            Err(SmsError::Unavailable) => SendOutcome::Unavailable { code: "sns".to_owned() },
        }
    }
}

impl Sender for Texts {
    async fn send(&self, delivery: &Delivery, _time_limit: Duration) -> SendOutcome {
        let DeliveryTarget::Sms { phone, compliance } = &delivery.target else {
            return SendOutcome::permanent_failure("not_an_sms_target");
        };
        let alert = &delivery.alert;
        let keyring = match delivery::load_keyring(&self.keyring).await {
            Ok(keyring) => keyring,
            Err(outcome) => return outcome,
        };
        let Ok(link) = self.links.incident_for_recipient(keyring, alert, &delivery.destination) else {
            return SendOutcome::Unavailable { code: "link_key".to_owned() };
        };
        let text = render::sms(alert, &delivery.why, &link);
        match self.send_text(phone, compliance, text.text).await {
            SendOutcome::Failed { failed, .. } if failed.cause == CAUSE_OPTED_OUT => {
                self.report_opt_out(delivery).await
            }
            outcome => outcome,
        }
    }
}
