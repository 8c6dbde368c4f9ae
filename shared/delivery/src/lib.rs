//! Runs the stories of a message ([`pipeline::deliver`], [`pipeline::confirm`]) against the table and the queues, the same for every
//! channel.
//!
//! A channel implements [`Sender`], which only sends. What must not differ between channels is decided by the story: the claim, rate limits,
//! what is recorded, retries, and giving up.
//!
//! | Module | Does |
//! |---|---|
//! | `run` | performs the effects of a story, one after the other |
//! | `counted` | turns what a story counts into metrics and log lines |
//! | `endpoint_health` | tracks failing endpoints: notifies their owner, disables them, notices a recovery |
//! | `endpoint_speed` | tracks slow endpoints, which leave the urgent lane |
//! | [`message_links`] | builds the links in messages |
//! | `sending` | has what senders share: keys, sealed values, failed requests |

mod counted;
mod endpoint_health;
mod endpoint_speed;
pub mod message_links;
mod run;
mod sending;

use aws::sqs::Queues;
use contracts::queue::{BatchDelivery, ConfirmationRequest, Delivery};
use domain::alert::Alert;
use domain::health::SlowShares;
use domain::policy::StormPolicy;
use domain::render::BatchKind;
use pipeline::deliver::Message;
use pipeline::{Accepted, SendFailure};
use std::sync::Mutex;
use std::time::Duration;
use store::Table;

pub use pipeline::deliver::contact_key;
pub use sending::{
    OpenEndpoint, SealedEndpoint, failed_request, failed_response, load_keyring, open_code, open_endpoint,
};

/// Sends messages on one channel.
pub trait Sender: Send + Sync {
    /// Sends once, within `time_limit`.
    fn send(
        &self,
        message: &Message,
        time_limit: Duration,
    ) -> impl Future<Output = Result<Accepted, SendFailure>> + Send;
}

/// Sends confirmation requests on one channel.
pub trait ConfirmationSender: Send + Sync {
    /// Sends once.
    fn send_confirmation(
        &self,
        request: &ConfirmationRequest,
    ) -> impl Future<Output = Result<Accepted, SendFailure>> + Send;
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
    feedback_url: Option<String>,
    function: &'static str,
    storms: Option<StormPolicy>,
    slow_shares: Mutex<SlowShares>,
}

impl Deliverer {
    /// Creates the deliverer of `function`, whose name goes into the audit trail. It applies no rate limits per contact.
    #[must_use]
    pub fn new(function: &'static str, queues: Queues, table: Table, urls: QueueUrls<'_>) -> Self {
        let [urgent_url, bulk_url, classify_url] = [urls.urgent, urls.bulk, urls.classify].map(str::to_owned);
        Self {
            table,
            queues,
            urgent_url,
            bulk_url,
            classify_url,
            feedback_url: None,
            function,
            storms: None,
            slow_shares: Mutex::default(),
        }
    }

    /// Applies the rate limits per contact of `storms` to first attempts.
    #[must_use]
    pub fn with_rate_limits(self, storms: StormPolicy) -> Self {
        Self { storms: Some(storms), ..self }
    }

    /// Reports contacts that refuse messages to `feedback`, whose queue is `url`.
    #[must_use]
    pub fn with_feedback(self, url: &str) -> Self {
        Self { feedback_url: Some(url.to_owned()), ..self }
    }
}

/// Merges a list into one delivery whose alert lists all of its alerts, for channels that cannot send a list. `None` if it is empty.
#[must_use]
pub fn merge_batch(batch: &BatchDelivery) -> Option<Delivery> {
    let alerts: Vec<&Alert> = batch.members.iter().map(|member| &member.alert).collect();
    let kind = if batch.storm { BatchKind::Bundle } else { BatchKind::Digest };
    let alert = domain::render::bundle(&alerts, batch.omitted_count, kind)?;
    let member = batch.members.iter().find(|member| member.alert.incident_id == alert.incident_id)?;
    Some(Delivery { alert, ..member.clone() })
}
