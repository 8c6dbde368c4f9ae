//! Delivers one message: claim → send → mark, the same for every channel. Never mark → send.
//!
//! A channel implements [`Sender`]. Everything that must not differ between channels is here: the claim, the rate limits, what is recorded,
//! retries, and giving up. A failure of the receiver is recorded, the next attempt is scheduled, and the message is deleted from its queue.
//! A fault of AWS does not count as an attempt: the message returns to its queue.
//!
//! | Module | Does |
//! |---|---|
//! | `deliver` | delivers one alert to one destination |
//! | `batch` | delivers several alerts to one recipient in one message: a digest, or a bundle of storm protection |
//! | `rate_limit` | defers a delivery: rate limits per contact, rate-limit slots of chat webhooks, order of a webhook's updates |
//! | `retry` | handles a failed attempt: schedules a retry, or gives up |
//! | `undelivered` | notifies the tenant's org admins of a critical alert that was given up |
//! | `endpoint_health` | tracks failing endpoints: notifies their owner, disables them, notices a recovery |
//! | `confirmation` | records how the sending of a confirmation request ended |
//! | [`message_links`] | builds the links in messages |
//! | `send_outcome` | says how one send ended |

mod batch;
mod confirmation;
mod deliver;
mod endpoint_health;
pub mod message_links;
mod rate_limit;
mod retry;
mod send_outcome;
mod undelivered;

use aws::sqs::Queues;
use contracts::queue::{Delivery, DeliveryTarget};
use domain::contact;
use domain::policy::StormPolicy;
use jiff::{SignedDuration, Timestamp};
use runtime::metrics;
use std::time::Duration;
use store::deliveries::AttemptKey;
use store::{StoreError, Table};

pub use batch::merge_batch;
pub use send_outcome::{SendOutcome, load_keyring, open_sealed};

/// How long a claim outlives the invocation's time for work, which ends a second before the invocation: the clocks of two
/// environments differ by less.
const LEASE_MARGIN: SignedDuration = SignedDuration::from_secs(6);
/// The pause after a provider throttled us, in seconds, before jitter.
const THROTTLE_PAUSE: f64 = 2.0;
/// The pause after a provider's daily quota is used up. Hourly, because providers count quotas over a sliding day.
const QUOTA_PAUSE: SignedDuration = SignedDuration::from_mins(60);

/// Sends messages on one channel.
pub trait Sender: Send + Sync {
    /// Reserves the next free rate-limit slot of the destination and returns it, in epoch milliseconds. `None`, the default, where the
    /// channel has no rate limit per destination.
    fn reserve_slot(
        &self,
        _delivery: &Delivery,
        _now: Timestamp,
    ) -> impl Future<Output = Result<Option<i64>, StoreError>> + Send {
        std::future::ready(Ok(None))
    }

    /// Sends once, within `time_limit`.
    fn send(&self, delivery: &Delivery, time_limit: Duration) -> impl Future<Output = SendOutcome> + Send;
}

/// The queues that a delivery function sends to.
#[derive(Clone, Copy, Debug)]
pub struct QueueUrls<'a> {
    /// The function's urgent lane.
    pub urgent: &'a str,
    /// The function's bulk lane; it also carries the retries.
    pub bulk: &'a str,
    /// The queue of `classify`, for notices that Tocsin itself sends to a tenant.
    pub classify: &'a str,
}

/// Delivers messages; the state that every delivery function has.
#[derive(Debug)]
pub struct Deliverer {
    table: Table,
    queues: Queues,
    urgent_url: String,
    bulk_url: String,
    classify_url: String,
    function: &'static str,
    storms: Option<StormPolicy>,
}

impl Deliverer {
    /// Creates the deliverer of `function`, whose name goes into the audit trail. It applies no rate limits per contact.
    #[must_use]
    pub fn new(function: &'static str, queues: Queues, table: Table, urls: QueueUrls<'_>) -> Self {
        let [urgent_url, bulk_url, classify_url] = [urls.urgent, urls.bulk, urls.classify].map(str::to_owned);
        Self { table, queues, urgent_url, bulk_url, classify_url, function, storms: None }
    }

    /// Applies the rate limits per contact of `storms` to first attempts.
    #[must_use]
    pub fn with_rate_limits(self, storms: StormPolicy) -> Self {
        Self { storms: Some(storms), ..self }
    }

    /// Counts and logs a mark that was refused because another claimer took over after our lease. That is the one
    /// duplicate that cannot be ruled out.
    fn warn_if_claim_lost(&self, marked: bool, key: AttemptKey<'_>) {
        if !marked {
            metrics::count("ClaimLost", 1);
            tracing::warn!(row = key.row, "the claim was lost before the delivery was marked");
        }
    }
}

/// Returns the key of a delivery's e-mail address or phone number: a hash by which rate limits and the provider's later feedback find the
/// contact. `None` for chat and webhooks.
#[must_use]
pub fn contact_key(delivery: &Delivery) -> Option<String> {
    let tenant = &delivery.alert.tenant;
    match &delivery.target {
        DeliveryTarget::Email { address, .. } => Some(contact::email_contact_key(tenant, address)),
        DeliveryTarget::Sms { phone, .. } => Some(contact::phone_contact_key(tenant, phone)),
        DeliveryTarget::Chat { .. } | DeliveryTarget::Webhook { .. } => None,
    }
}
