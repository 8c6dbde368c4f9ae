//! Trigger  `DeliverSmsQueue`, `DeliverSmsBulkQueue`
//! Reads    nothing: the message carries everything
//! Writes   the delivery row (claim, mark), failed attempts, entries of the due index; what the number was sent lately,
//!          and how many message parts number, tenant and stack were sent today
//! Emits    one SMS through SNS; retries to its own bulk lane; opt-outs to `feedback`
//! Fails    number refused: recorded and retried. AWS fault: returned to the queue. Unprocessable message: dead-letter queue
//! Config   [`config::Config`]
//!
//! SNS returns a message id even for messages that it will not send, so "accepted" never means "delivered".

pub mod config;

use aws::sns::{Sms, SmsError, SmsSender};
use aws::sqs::Queues;
use config::Config;
use contracts::queue::{ConfirmationRequest, Delivery, DeliveryTarget, OutboundMessage};
use delivery::message_links::MessageLinks;
use delivery::{ConfirmationSender, Deliverer, QueueUrls, Sender};
use domain::ids::TenantId;
use domain::permission::{lacks_registration, requires_registration};
use domain::policy::{Policy, SmsPartsPerDay, StormPolicy};
use domain::reason::Reason;
use domain::render;
use domain::tenant::{Phone, SmsCompliance};
use domain::vocabulary::Channel;
use pipeline::deliver::Message;
use pipeline::{Accepted, SendFailure};
use runtime::queue::{QueueFunction, QueueSetup, RecordError, RecordMeta};
use runtime::{Aws, Pacer, StartError, clock, ids, metrics};
use std::time::Duration;
use store::Table;
use store::sms_parts::{SmsPartCount, SmsPartLimits};
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
    table: Table,
    parts_per_day: SmsPartLimits,
}

impl QueueFunction for DeliverSms {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type Message = OutboundMessage;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days)
            .with_due_index(config.due_shards, &ids::id_suffix());
        let keyring = LazyKeyring::new(aws.config(), &table, clock::now()).await;
        let policy = Policy::embedded().map_err(StartError::new)?;
        let SmsPartsPerDay { number, number_by_one_tenant, tenant } = policy.limits.sms.parts_per_day;
        let texts = Texts {
            table: table.clone(),
            parts_per_day: SmsPartLimits { number, number_by_one_tenant, tenant, stack: config.parts_per_day },
            texter: SmsSender::new(aws.config()),
            policy,
            pace: Pacer::new(Duration::from_millis(config.send_interval_ms)),
            sender_id: config.sender_id.clone(),
            keyring,
            links: MessageLinks::new(&config.public_base_url),
        };
        let urls = QueueUrls {
            urgent: &config.urgent_queue_url,
            bulk: &config.bulk_queue_url,
            classify: &config.classify_queue_url,
        };
        let queues = Queues::new(aws.config());
        let deliverer = Deliverer::new(Self::NAME, queues, table, urls)
            .with_rate_limits(StormPolicy::embedded().map_err(StartError::new)?)
            .with_feedback(&config.feedback_queue_url);
        Ok(Self { config, deliverer, texts })
    }

    fn setup(&self) -> QueueSetup {
        let config = &self.config;
        QueueSetup::lanes(&config.dead_letter_queue_url, &config.urgent_queue_url, &config.bulk_queue_url)
    }

    async fn handle(&self, message: OutboundMessage, meta: &RecordMeta) -> Result<(), RecordError> {
        match message {
            OutboundMessage::Delivery(delivery) => {
                self.deliverer.deliver(&self.texts, Message::Single(delivery), meta).await
            }
            OutboundMessage::Batch(batch) => self.deliverer.deliver(&self.texts, Message::List(batch), meta).await,
            OutboundMessage::Confirmation(request) => {
                self.deliverer.confirm(&self.texts, request, Channel::Sms, meta).await
            }
        }
    }
}

impl Texts {
    async fn send_text(
        &self,
        tenant: &TenantId,
        phone: &Phone,
        compliance: &SmsCompliance,
        text: String,
    ) -> Result<Accepted, SendFailure> {
        // Checked when the alert was planned, too. The policy may be narrower by now, and a confirmation code has no plan.
        let facts = phone.facts();
        if !self.policy.limits.sms.allows(&facts) {
            return Err(SendFailure::permanent(Reason::SmsCountryNotAllowed.as_str()));
        }
        let country = facts.country.as_deref();
        let dlt = requires_registration(&self.policy, compliance, country);
        if lacks_registration(&self.policy, compliance, country) {
            return Err(SendFailure::permanent(Reason::DltRegistrationMissing.as_str()));
        }
        let parts = u32::try_from(render::gsm7::parts(&text)).unwrap_or(u32::MAX);
        let counted = self.table.count_sms_parts(phone, tenant, parts, self.parts_per_day, clock::now()).await;
        let counted = match counted.map_err(|_| SendFailure::unavailable("sms_limits"))? {
            SmsPartCount::Counted(counted) => counted,
            SmsPartCount::UsedUp(scope) => {
                metrics::count_by("SmsLimitReached", "scope", scope, 1);
                return Err(SendFailure::permanent(Reason::SmsLimitReached.as_str()));
            }
        };
        let sms = Sms {
            phone: phone.expose().to_owned(),
            text,
            sender_id: compliance.sender_id.clone().or_else(|| self.sender_id.clone()),
            entity_id: compliance.dlt_entity_id.clone().filter(|_| dlt),
            template_id: compliance.dlt_template_id.clone().filter(|_| dlt),
            ..Sms::default()
        };
        self.pace.wait().await;
        let sent = self.texter.send(&sms).await;
        // What the provider did not accept costs nobody a part: through an outage of hours each attempt would.
        if sent.is_err()
            && let Err(error) = self.table.return_sms_parts(&counted).await
        {
            tracing::warn!(%error, "the parts of a text message that was not sent stay counted");
        }
        match sent {
            Ok(id) => Ok(Accepted { provider_id: Some(id) }),
            Err(SmsError::Throttled) => Err(SendFailure::Throttled),
            Err(SmsError::QuotaExhausted) => Err(SendFailure::QuotaExhausted),
            Err(SmsError::OptedOut) => Err(SendFailure::permanent(Reason::OptedOut.as_str())),
            Err(SmsError::Refused { code }) => Err(SendFailure::permanent(&code)),
            Err(SmsError::Denied { code }) => Err(SendFailure::Unavailable { code }),
            Err(SmsError::Unavailable) => Err(SendFailure::unavailable("sns")),
        }
    }
}

impl Texts {
    async fn send_single(&self, delivery: &Delivery) -> Result<Accepted, SendFailure> {
        let DeliveryTarget::Sms { phone, compliance } = &delivery.target else {
            return Err(SendFailure::permanent("not_an_sms_target"));
        };
        let alert = &delivery.alert;
        let keyring = delivery::load_keyring(&self.keyring).await?;
        let Ok(link) = self.links.short_incident(&keyring, delivery, clock::now()) else {
            return Err(SendFailure::unavailable("link_key"));
        };
        let text = render::sms(alert, &delivery.why, &link);
        self.send_text(&alert.tenant, phone, compliance, text.text).await
    }
}

impl Sender for Texts {
    async fn send(&self, message: &Message, _time_limit: Duration) -> Result<Accepted, SendFailure> {
        match message {
            Message::Single(delivery) => self.send_single(delivery).await,
            Message::List(list) => match delivery::merge_batch(list) {
                Some(delivery) => self.send_single(&delivery).await,
                None => Err(SendFailure::permanent("empty_digest")),
            },
        }
    }
}

impl ConfirmationSender for Texts {
    /// Sends the code by which the owner of a number confirms that it may receive a tenant's alerts.
    async fn send_confirmation(&self, request: &ConfirmationRequest) -> Result<Accepted, SendFailure> {
        let (DeliveryTarget::Sms { phone, compliance }, Some(code)) = (&request.target, &request.code) else {
            return Err(SendFailure::permanent("not_an_sms_target"));
        };
        let aad = vault::owner_aad(request.tenant.as_str(), request.recipient.as_str());
        let code = delivery::open_code(&self.keyring, &aad, code).await?;
        let text = render::confirmation_sms(&request.tenant_name, request.tenant.as_str(), &code);
        self.send_text(&request.tenant, phone, compliance, text).await
    }
}
