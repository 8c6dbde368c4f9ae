//! Trigger  `DeliverEmailQueue`, `DeliverEmailBulkQueue`
//! Reads    whether the address is suppressed for the whole stack; everything else is in the message
//! Writes   the delivery row (claim, mark), failed attempts, entries of the due index; what the address was sent lately
//! Emits    one SES message; retries to its own bulk lane; suppressed addresses to `feedback`
//! Fails    address refused: recorded and retried. AWS fault: returned to the queue. Unprocessable message: dead-letter queue
//! Config   [`config::Config`]

pub mod config;

use aws::ses::{EmailSender, MailError};
use aws::sqs::Queues;
use config::Config;
use contracts::queue::{BatchDelivery, ConfirmationRequest, Delivery, DeliveryTarget, OutboundMessage, Question};
use delivery::message_links::MessageLinks;
use delivery::{ConfirmationSender, Deliverer, QueueUrls, Sender};
use domain::ids::SuppressionId;
use domain::policy::StormPolicy;
use domain::reason::Reason;
use domain::render;
use domain::tenant::Email;
use domain::vocabulary::Channel;
use pipeline::deliver::Message;
use pipeline::{Accepted, SendFailure};
use runtime::queue::{QueueFunction, QueueSetup, RecordError, RecordMeta};
use runtime::{Aws, Pacer, StartError, clock, ids};
use std::collections::BTreeMap;
use std::time::Duration;
use store::Table;
use vault::LazyKeyring;

/// The function, with the clients and settings that one Lambda environment keeps.
#[derive(Debug)]
pub struct DeliverEmail {
    config: Config,
    deliverer: Deliverer,
    mail: Mail,
}

#[derive(Debug)]
struct Mail {
    mailer: EmailSender,
    keyring: LazyKeyring,
    pace: Pacer,
    from: String,
    links: MessageLinks,
    table: Table,
}

impl QueueFunction for DeliverEmail {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type Message = OutboundMessage;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days)
            .with_due_index(config.due_shards, &ids::id_suffix());
        let keyring = LazyKeyring::new(aws.config(), &table, clock::now()).await;
        let mail = Mail {
            mailer: EmailSender::new(aws.config()),
            keyring,
            pace: Pacer::new(Duration::from_millis(config.send_interval_ms)),
            from: config.email_from.clone(),
            links: MessageLinks::new(&config.public_base_url),
            table: table.clone(),
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
        Ok(Self { config, deliverer, mail })
    }

    fn setup(&self) -> QueueSetup {
        let config = &self.config;
        QueueSetup::lanes(&config.dead_letter_queue_url, &config.urgent_queue_url, &config.bulk_queue_url)
    }

    async fn handle(&self, message: OutboundMessage, meta: &RecordMeta) -> Result<(), RecordError> {
        match message {
            OutboundMessage::Delivery(delivery) => {
                self.deliverer.deliver(&self.mail, Message::Single(delivery), meta).await
            }
            OutboundMessage::Batch(batch) => self.deliverer.deliver(&self.mail, Message::List(batch), meta).await,
            OutboundMessage::Confirmation(request) => {
                self.deliverer.confirm(&self.mail, request, Channel::Email, meta).await
            }
        }
    }
}

impl Mail {
    /// Sends several deliveries to one recipient in one message.
    async fn send_list(&self, list: &BatchDelivery) -> Result<Accepted, SendFailure> {
        let BatchDelivery { members, omitted_count, storm, .. } = list;
        let Some(Delivery { target: DeliveryTarget::Email { address, shared }, alert: first, .. }) = members.first()
        else {
            return Err(SendFailure::permanent("not_an_email_target"));
        };
        let keyring = delivery::load_keyring(&self.keyring).await?;
        let mut links = Vec::with_capacity(members.len());
        let mut unsubscribe_by_category: BTreeMap<&'static str, String> = BTreeMap::new();
        let now = clock::now();
        for member in members {
            // A personal link lets its recipient stop one incident. Nobody may do that for a shared address.
            let incident = if *shared {
                self.links.incident(&keyring, &member.alert, now)
            } else {
                self.links.incident_for_recipient(&keyring, member, now)
            };
            let unsubscribe = self.links.unsubscribe(&keyring, member, now);
            let (Ok(incident), Ok(unsubscribe)) = (incident, unsubscribe) else {
                return Err(SendFailure::unavailable("link_key"));
            };
            links.push(incident);
            unsubscribe_by_category.insert(member.alert.category_title(), unsubscribe);
        }
        let all: Vec<render::DigestEntry<'_>> =
            members.iter().zip(&links).map(|(member, url)| render::DigestEntry { alert: &member.alert, url }).collect();
        let since = members.iter().filter_map(|member| Some(member.why.held.as_ref()?.since)).min();
        let unsubscribe_links: Vec<render::UnsubscribeLink> = unsubscribe_by_category
            .into_iter()
            .map(|(category, url)| render::UnsubscribeLink { category: category.to_owned(), url })
            .collect();
        let email = render::digest_email(&render::DigestContent {
            tenant: &first.tenant,
            zone: &first.zone,
            kind: if *storm { render::BatchKind::Bundle } else { render::BatchKind::Digest },
            since: since.unwrap_or(first.at),
            entries: &all,
            omitted_count: *omitted_count,
            unsubscribe: &unsubscribe_links,
        });
        // The one-click header unsubscribes from one category. With several, the recipient chooses in the message.
        let one_click = match unsubscribe_links.as_slice() {
            [link] => Some(link.url.as_str()),
            _ => None,
        };
        self.send_email(&address.to_wire(), &email, one_click).await
    }

    async fn send_email(
        &self,
        to: &str,
        email: &render::RenderedEmail,
        unsubscribe: Option<&str>,
    ) -> Result<Accepted, SendFailure> {
        let mime = match render::build_mime(&self.from, to, email, unsubscribe) {
            Ok(mime) => mime,
            Err(_) => return Err(SendFailure::permanent("cannot_be_written")),
        };
        self.pace.wait().await;
        match self.mailer.send_raw(&self.from, to, mime).await {
            Ok(id) => Ok(Accepted { provider_id: Some(id) }),
            Err(MailError::Throttled) => Err(SendFailure::Throttled),
            Err(MailError::DailyQuota) => Err(SendFailure::QuotaExhausted),
            Err(MailError::Refused { code }) => Err(SendFailure::permanent(&code)),
            Err(MailError::Denied { code }) => Err(SendFailure::Unavailable { code }),
            Err(MailError::Unavailable) => Err(SendFailure::unavailable("ses")),
        }
    }
}

impl Mail {
    /// Returns why nothing is sent to the address, whichever tenant asks; `None` if it is not suppressed.
    async fn suppression(&self, address: &Email) -> Result<Option<Reason>, SendFailure> {
        let found = self.table.address_suppression(&SuppressionId::of(address)).await;
        let found = found.map_err(|_| SendFailure::unavailable("suppressions"))?;
        Ok(found.map(|suppression| suppression.reason))
    }

    async fn send_single(&self, delivery: &Delivery) -> Result<Accepted, SendFailure> {
        let DeliveryTarget::Email { address, shared } = &delivery.target else {
            return Err(SendFailure::permanent("not_an_email_target"));
        };
        let keyring = delivery::load_keyring(&self.keyring).await?;
        let now = clock::now();
        let incident = self.links.incident(&keyring, &delivery.alert, now);
        let unsubscribe = self.links.unsubscribe(&keyring, delivery, now);
        let stop = self.links.stop_incident(&keyring, delivery, now);
        let (Ok(incident), Ok(unsubscribe), Ok(stop)) = (incident, unsubscribe, stop) else {
            return Err(SendFailure::unavailable("link_key"));
        };
        // No reader of a shared address may stop an incident for the others.
        let stop_url = if *shared { None } else { Some(stop) };
        let links = render::AlertLinks { incident_url: incident, unsubscribe_url: Some(unsubscribe.clone()), stop_url };
        let email = render::email(&delivery.alert, &delivery.why, &links);
        self.send_email(&address.to_wire(), &email, Some(&unsubscribe)).await
    }
}

impl Sender for Mail {
    async fn send(&self, message: &Message, _time_limit: Duration) -> Result<Accepted, SendFailure> {
        // All members of a list go to one address.
        if let Some(Delivery { target: DeliveryTarget::Email { address, .. }, .. }) = message.members().first()
            && let Some(reason) = self.suppression(address).await?
        {
            return Err(SendFailure::permanent(reason.as_str()));
        }
        match message {
            Message::Single(delivery) => self.send_single(delivery).await,
            Message::List(list) => self.send_list(list).await,
        }
    }
}

impl ConfirmationSender for Mail {
    /// Sends the link by which the owner of an address confirms that it may receive a tenant's alerts.
    async fn send_confirmation(&self, request: &ConfirmationRequest) -> Result<Accepted, SendFailure> {
        let DeliveryTarget::Email { address, .. } = &request.target else {
            return Err(SendFailure::permanent("not_an_email_target"));
        };
        // The one message that a suppressed address gets asks whether mail is welcome again.
        if request.question != Question::AllowAgain
            && let Some(reason) = self.suppression(address).await?
        {
            return Err(SendFailure::permanent(reason.as_str()));
        }
        let keyring = delivery::load_keyring(&self.keyring).await?;
        let (agree, never) = (self.links.agree(&keyring, request), self.links.never(&keyring, request, clock::now()));
        let (Ok(agree), Ok(never)) = (agree, never) else { return Err(SendFailure::unavailable("link_key")) };
        let links = render::QuestionLinks { agree: &agree, never: &never };
        let (name, tenant) = (request.tenant_name.as_str(), request.tenant.as_str());
        let email = match request.question {
            Question::Confirm => render::confirmation_email(name, tenant, links),
            Question::AllowAgain => render::allow_again_email(tenant, links),
            Question::SubscribeAgain => render::subscribe_again_email(name, tenant, links),
        };
        self.send_email(&address.to_wire(), &email, None).await
    }
}
