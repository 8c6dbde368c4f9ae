//! Plans as they are stored: the history that the next update is planned on.

use super::{Decision, LastSent, Thread};
use crate::delivery::DeliveryRow;
use crate::ids::TenantId;
use crate::vocabulary::Channel;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The decisions about one chunk of a tenant's destinations for one update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredPlan {
    /// Tenant of the destinations.
    pub tenant: TenantId,
    /// Number of the chunk.
    pub chunk: u32,
    /// Number of the update.
    pub update: u32,
    /// When the plan was made.
    pub at: Timestamp,
    /// Version of the tenant's settings that the plan is based on.
    pub settings_version: u64,
    /// One decision per destination and channel.
    pub decisions: Vec<Decision>,
    /// Destinations and channels that earlier plans decided on and this one does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carried: Vec<CarriedThread>,
}

/// One channel of a destination that a plan decides nothing about, because it is gone for now. It may come back before the next update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedThread {
    /// Id of the recipient (`rcp_…`) or the integration (`int_…`).
    pub destination: String,
    /// The channel of that destination.
    pub channel: Channel,
    /// The newest update that a plan meant for it.
    pub last_sent: LastSent,
}

impl CarriedThread {
    /// Returns the destination and the channel.
    #[must_use]
    pub fn thread(&self) -> Thread {
        (self.destination.clone(), self.channel)
    }
}

/// A place in the compiled subscriptions: everything before it is done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RoutingPlace {
    /// The shard in which the next page begins.
    pub shard: u16,
    /// The last tenant of the shard that is done; `None` at the shard's beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<TenantId>,
}

/// The part of a platform-wide update that one routing job plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlannedShards {
    /// Number of the update.
    pub update: u32,
    /// The first shard of the job's range.
    pub first: u16,
}

/// A tenant's plans for an incident, and what became of them: what the next update is planned on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanHistory {
    /// The stored plans, one per chunk and update.
    pub plans: Vec<StoredPlan>,
    /// The delivery rows of recipients and chat channels. Those without a row are as planned.
    pub rows: BTreeMap<Thread, DeliveryRow>,
    /// Recipients who stopped notifications of this incident.
    pub stopped: BTreeSet<String>,
}

impl PlanHistory {
    /// All decisions, each with the time of its plan.
    pub fn decisions(&self) -> impl Iterator<Item = (Timestamp, &Decision)> {
        self.plans.iter().flat_map(|plan| plan.decisions.iter().map(|decision| (plan.at, decision)))
    }

    /// Returns the decision about one update for one destination and channel; `None` if nothing was planned.
    #[must_use]
    pub fn decision(&self, destination: &str, channel: Channel, update: u32) -> Option<&Decision> {
        let matches =
            |one: &&Decision| (one.destination.as_str(), one.channel, one.update) == (destination, channel, update);
        self.decisions().map(|(_, decision)| decision).find(matches)
    }
}
