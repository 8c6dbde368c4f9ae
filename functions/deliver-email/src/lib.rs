//! Trigger  `DeliverEmailQueue`, `DeliverEmailBulkQueue`
//! Reads    nothing: the message carries all
//! Writes   the delivery row (claim, mark), failed attempts, due work and, beside the plan, that it waits; what an address was sent lately
//! Emits    one SES message; retries to its own bulk lane
//! Fails    the address: recorded and tried again. AWS: back to the queue. Poison: dead letter
//! Config   [`config::Config`]

pub mod config;

use aws::ses::{MailError, Mailer};
use aws::sqs::Queues;
use config::Config;
use contracts::queue::{Confirmation, Delivery, Digest, Letter, Target};
use delivery::outbound_link::ReadOn;
use delivery::{Deliverer, Sender, Sent};
use domain::policy::Storms;
use domain::render;
use domain::vocabulary::Channel;
use jiff::Timestamp;
use runtime::queue::{Failure, Meta, QueueFunction, Setup};
use runtime::{Aws, Pace, StartError, clock};
use std::collections::BTreeMap;
use std::time::Duration;
use store::{StoreError, Table};
use vault::LazyKeyring;

/// The function.
#[derive(Debug)]
pub struct DeliverEmail {
    config: Config,
    deliverer: Deliverer,
    mail: Mail,
}

#[derive(Debug)]
struct Mail {
    mailer: Mailer,
    keyring: LazyKeyring,
    pace: Pace,
    from: String,
    links: ReadOn,
}

impl QueueFunction for DeliverEmail {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type Message = Letter;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days);
        let keyring = LazyKeyring::new(aws.config(), &table, &config.kms_key_id, clock::now()).await;
        let mail = Mail {
            mailer: Mailer::new(aws.config()),
            keyring,
            pace: Pace::new(Duration::from_millis(config.send_interval_ms)),
            from: config.email_from.clone(),
            links: ReadOn::new(&config.public_base_url),
        };
        let lanes = (config.urgent_queue_url.as_str(), config.bulk_queue_url.as_str());
        let queues = Queues::new(aws.config());
        let deliverer = Deliverer::new(Self::NAME, queues, table, lanes, &config.classify_queue_url)
            .sparing(Storms::embedded().map_err(StartError::new)?);
        Ok(Self { config, deliverer, mail })
    }

    fn setup(&self) -> Setup {
        let config = &self.config;
        Setup::lanes(&config.dead_letter_queue_url, &config.urgent_queue_url, &config.bulk_queue_url)
    }

    async fn handle(&self, letter: Letter, meta: &Meta) -> Result<(), Failure> {
        match letter {
            Letter::Delivery(delivery) => self.deliverer.deliver(&self.mail, *delivery, meta).await,
            Letter::Confirmation(asked) => {
                self.deliverer.asked(&asked, Channel::Email, self.mail.ask(&asked).await).await
            }
            Letter::Digest(digest) => self.deliverer.digest(*digest, meta, |digest, _| self.mail.digest(digest)).await,
        }
    }
}

impl Mail {
    /// Asks whether an address is to get a tenant's alerts.
    async fn ask(&self, confirmation: &Confirmation) -> Sent {
        let Target::Email { address, .. } = &confirmation.target else {
            return delivery::refused("not_an_email_target");
        };
        let keyring = match delivery::keyring(&self.keyring).await {
            Ok(keyring) => keyring,
            Err(sent) => return sent,
        };
        let Ok(link) = self.links.confirm(keyring, confirmation) else {
            return Sent::Unavailable { code: "link_key".to_owned() };
        };
        let email = render::confirmation_email(&confirmation.tenant_name, confirmation.tenant.as_str(), &link);
        self.post(address.expose(), &email, None).await
    }

    /// Sends several deliveries to one recipient in one message.
    async fn digest(&self, digest: Digest) -> Sent {
        let Digest { members, more, storm, .. } = digest;
        let Some(Delivery { target: Target::Email { address, shared }, destination, alert: first, .. }) =
            members.first()
        else {
            return delivery::refused("not_an_email_target");
        };
        let keyring = match delivery::keyring(&self.keyring).await {
            Ok(keyring) => keyring,
            Err(sent) => return sent,
        };
        let mut links = Vec::with_capacity(members.len());
        let mut unsubscribe: BTreeMap<&'static str, String> = BTreeMap::new();
        for member in &members {
            // It names its reader, who may stop that one incident there; of an address that several read nobody may.
            let read = match shared {
                true => self.links.link(keyring, &member.alert),
                false => self.links.reader(keyring, &member.alert, destination),
            };
            let stop = self.links.unsubscribe(keyring, &member.alert, destination);
            let (Ok(read), Ok(stop)) = (read, stop) else {
                return Sent::Unavailable { code: "link_key".to_owned() };
            };
            links.push(read);
            unsubscribe.insert(member.alert.category_title(), stop);
        }
        let all: Vec<render::Collected<'_>> =
            members.iter().zip(&links).map(|(member, url)| render::Collected { alert: &member.alert, url }).collect();
        let since = members.iter().filter_map(|member| Some(member.why.held.as_ref()?.since)).min();
        let stops: Vec<(String, String)> = unsubscribe.into_iter().map(|(what, url)| (what.to_owned(), url)).collect();
        let together = render::Together { since: since.unwrap_or(first.at), more, storm };
        let email = render::digest_email((&first.tenant, &first.zone), &all, together, &stops);
        // One click stops one category: where there are several, the reader chooses.
        let one = stops.first().filter(|_| stops.len() == 1).map(|(_, url)| url.as_str());
        self.post(address.expose(), &email, one).await
    }

    async fn post(&self, to: &str, email: &render::Email, unsubscribe: Option<&str>) -> Sent {
        let mime = match render::mime(&self.from, to, email, unsubscribe) {
            Ok(mime) => mime,
            Err(_) => return delivery::refused("cannot_be_written"),
        };
        self.pace.wait().await;
        match self.mailer.send_raw(&self.from, to, mime).await {
            Ok(id) => Sent::Accepted { provider_id: Some(id) },
            Err(MailError::Throttled) => Sent::Throttled,
            Err(MailError::DailyQuota) => Sent::QuotaExhausted,
            Err(MailError::Refused { code }) => delivery::refused(&code),
            Err(MailError::Denied { code }) => Sent::Unavailable { code },
            Err(MailError::Unavailable) => Sent::Unavailable { code: "ses".to_owned() },
        }
    }
}

impl Sender for Mail {
    async fn slot(&self, _delivery: &Delivery, _now: Timestamp) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }

    async fn send(&self, delivery: &Delivery, _time_limit: Duration) -> Sent {
        let Target::Email { address, shared } = &delivery.target else {
            return delivery::refused("not_an_email_target");
        };
        let keyring = match delivery::keyring(&self.keyring).await {
            Ok(keyring) => keyring,
            Err(sent) => return sent,
        };
        let read = self.links.link(keyring, &delivery.alert);
        let unsubscribe = self.links.unsubscribe(keyring, &delivery.alert, &delivery.destination);
        let stop = self.links.stop(keyring, &delivery.alert, &delivery.destination);
        let (Ok(read), Ok(unsubscribe), Ok(stop)) = (read, unsubscribe, stop) else {
            return Sent::Unavailable { code: "link_key".to_owned() };
        };
        // Of an address that several read, no single one may stop an incident for the others.
        let stop_url = (!shared).then_some(stop);
        let read = render::Read { incident_url: read, unsubscribe_url: Some(unsubscribe.clone()), stop_url };
        let email = render::email(&delivery.alert, &delivery.why, &read);
        self.post(address.expose(), &email, Some(&unsubscribe)).await
    }
}
