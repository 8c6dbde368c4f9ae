//! What every step of a story gets, and how a story ends.

use contracts::queue::Lane;
use domain::delivery::FeedbackKind;
use domain::ids::{IncidentId, RecipientId, TenantId};
use domain::reason::Reason;
use domain::vocabulary::Channel;
use jiff::Timestamp;
use std::time::Duration;

/// What a step gets beside its effect's answer, and what it counts.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The time by the function's own clock.
    pub now: Timestamp,
    /// The time that this invocation has left for work.
    pub left: Duration,
    /// How often the queue message was received, including this time.
    pub receives: u32,
    /// The lane that the queue message came on.
    pub lane: Lane,
    /// A random number from 0.0 to 1.0.
    pub jitter: f64,
    /// A random text that no other invocation has, for its claims.
    pub token: String,
    /// What the steps counted since the caller last emptied it.
    pub counted: Vec<Counted>,
}

impl Turn {
    /// Counts something, for metrics and the log.
    pub fn count(&mut self, counted: Counted) {
        self.counted.push(counted);
    }
}

/// The answer of an effect.
pub type Answer<T> = Result<T, Fault>;

/// Why an effect gave no answer. It may have taken place nevertheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// AWS is unavailable, or a permission is missing. The same call may succeed later.
    Unavailable {
        /// Code and detail for the log.
        code: String,
    },
    /// A stored item does not have the shape that this version knows. During a deployment a newer version may have written it.
    Unreadable {
        /// What is wrong with it, without its values.
        reason: String,
    },
    /// A request is invalid. The same call fails again.
    Unprocessable {
        /// The reason, without anything of the body.
        reason: String,
    },
}

/// What becomes of the queue message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is finished: the queue deletes it.
    Delete,
    /// It returns to its queue for a pause.
    Return {
        /// How long it stays hidden.
        pause: Duration,
        /// A code for the log.
        code: &'static str,
    },
    /// It returns to its queue because of a fault of AWS, each time for longer.
    Fault {
        /// Code and detail for the log.
        code: String,
    },
    /// This version cannot read what it is about. It returns to its queue for about twenty minutes, which is longer than a deployment; then it
    /// goes to the dead-letter queue.
    Unreadable {
        /// The reason, without anything of the item.
        reason: String,
    },
    /// It can never be handled, and goes to the dead-letter queue.
    Park {
        /// The reason, without anything of the body.
        reason: String,
    },
}

impl From<Fault> for Verdict {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable { code } => Self::Fault { code },
            Fault::Unreadable { reason } => Self::Unreadable { reason },
            Fault::Unprocessable { reason } => Self::Park { reason },
        }
    }
}

/// How a message was classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classified {
    /// It has a category and changed an incident.
    Included,
    /// It has a category and changed nothing.
    Repeated,
    /// A rule excludes it.
    Excluded,
    /// No rule matches it.
    Unclassified,
}

/// Something that happened and that metrics or the log show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counted {
    /// A second message for the same attempt was ignored.
    DuplicateSuppressed,
    /// A mark was refused because another claimer took over after the lease.
    ClaimLost {
        /// Name of the delivery row.
        row: String,
    },
    /// The opening of a critical incident misses its tenant's alert window.
    WindowMissed,
    /// The contact's rate limit deferred a delivery.
    Deferred {
        /// Channel of the delivery.
        channel: Channel,
    },
    /// Tenants of a page got jobs of their own, because this version cannot read their items.
    TenantsSeparated {
        /// The number of these tenants.
        tenants: usize,
    },
    /// An alert left the urgent lane, because its tenant's slow endpoints used up their share.
    PassedOn {
        /// Channel of the alert.
        channel: Channel,
    },
    /// The provider throttled a message.
    ProviderThrottled {
        /// Channel of the message.
        channel: Channel,
    },
    /// The provider's daily quota is used up.
    QuotaExhausted {
        /// Channel of the message.
        channel: Channel,
    },
    /// A delivery was accepted. Test alerts are not counted.
    Delivered {
        /// Channel of the delivery.
        channel: Channel,
        /// Milliseconds from acceptance by intake; `None` in a digest or bundle, which waited on purpose.
        latency_ms: Option<i64>,
        /// Whether it missed its window because of a delay of ours.
        late: bool,
    },
    /// A digest (`storm` is false) or a bundle was accepted.
    ListDelivered {
        /// Whether it was a bundle.
        storm: bool,
    },
    /// An attempt failed at the receiver or the provider.
    AttemptFailed {
        /// Channel of the delivery.
        channel: Channel,
        /// Id of the recipient or integration.
        destination: String,
        /// Number of the attempt, from 1.
        attempt: u32,
        /// The failure's code.
        cause: String,
        /// Whether it was a test alert, which metrics leave out.
        test: bool,
    },
    /// A delivery was given up.
    GivenUp {
        /// Channel of the delivery.
        channel: Channel,
        /// Id of the recipient or integration.
        destination: String,
        /// Why nothing more is tried.
        reason: Reason,
        /// Whether it was a test alert, which metrics leave out.
        test: bool,
    },
    /// A message was classified.
    Classified {
        /// How it was classified.
        outcome: Classified,
    },
    /// A decision was planned.
    Planned {
        /// `deliver`, `hold` or `skip`.
        outcome: &'static str,
    },
    /// Too many incidents of a tenant opened: the notifications of one more are bundled.
    StormHeld,
    /// A delivery that was due ended without being sent.
    EndedUnsent {
        /// The incident of the delivery.
        incident: IncidentId,
        /// Channel of the delivery.
        channel: Channel,
        /// Id of the recipient or integration.
        destination: String,
        /// Why it ended without being sent.
        reason: Reason,
    },
    /// A confirmation request was accepted.
    ConfirmationSent {
        /// Channel of the request.
        channel: Channel,
    },
    /// The provider refused a confirmation request.
    ConfirmationRefused {
        /// Channel of the request.
        channel: Channel,
        /// The refusal's code.
        cause: String,
    },
    /// A provider reported about a message.
    FeedbackReceived {
        /// The outcome that it reported.
        kind: FeedbackKind,
    },
    /// A provider reported about a message that is not known.
    FeedbackUnknown,
    /// A contact was suppressed.
    ContactSuppressed {
        /// The recipient's tenant.
        tenant: TenantId,
        /// The recipient.
        recipient: RecipientId,
        /// Why nothing more is sent to the contact.
        reason: Reason,
    },
}
