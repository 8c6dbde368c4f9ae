//! Deliveries that are scheduled for later.

use crate::alert::HoldPeriod;
use crate::ids::{IncidentId, TenantId};
use crate::plan::{Decision, DecisionOutcome};
use crate::reason::Reason;
use crate::vocabulary::{Channel, Role};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A delivery scheduled for later: a retry, or a held delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledDelivery {
    /// When the delivery is due.
    pub at: Timestamp,
    /// Tenant of the delivery.
    pub tenant: TenantId,
    /// Id of the recipient or integration.
    pub destination: String,
    /// Channel of the delivery.
    pub channel: Channel,
    /// Incident of the delivery.
    pub incident_id: IncidentId,
    /// Number of the update.
    pub update: u32,
    /// Number of the attempt to make, from 1.
    pub attempt: u32,
    /// Whether to send the plain form, because the receiver refused the rich one.
    #[serde(default)]
    pub plain: bool,
    /// Role under which the recipient is notified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Why the delivery is held; `None` for a retry. A held delivery is planned again before it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Hold>,
    /// How a retry was held before its first attempt, if it was. Its messages say so, and its alert window counts from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_before: Option<HoldPeriod>,
    /// For a retried batch: how many further deliveries the message counts without listing them.
    #[serde(default)]
    pub omitted_count: u32,
    /// Whether the delivery missed its minute and was batched again with others that missed theirs.
    #[serde(default)]
    pub rebatched: bool,
    /// Whether an admin requested a resend. A resend ignores quiet hours.
    #[serde(default)]
    pub resend_requested: bool,
}

/// Why a delivery is held that was never attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// When the delivery was first held.
    pub since: Timestamp,
    /// Why the delivery is held.
    pub reason: Reason,
    /// Whether a batch lists this delivery however many others it has: critical openings and resolves.
    #[serde(default)]
    pub always_listed: bool,
}

impl ScheduledDelivery {
    /// Builds the decision with this outcome for the same update, destination and channel.
    #[must_use]
    pub fn to_decision(&self, outcome: DecisionOutcome) -> Decision {
        Decision { update: self.update, destination: self.destination.clone(), channel: self.channel, outcome }
    }
}
