//! Plans as they are stored: the history that the next update is planned on.

use super::Decision;
use crate::ids::TenantId;
use crate::vocabulary::Channel;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
}

/// A tenant's plans for an incident, with later revisions: the history that the next update is planned on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanHistory {
    /// The stored plans, one per chunk and update.
    pub plans: Vec<StoredPlan>,
    /// Decisions whose outcome differs from the stored plan, for example a held delivery that was sent at another time or not at all.
    pub revisions: Vec<Decision>,
    /// Recipients who stopped notifications of this incident.
    pub stopped: BTreeSet<String>,
}

impl PlanHistory {
    /// All decisions as planned, without revisions, each with the time of its plan.
    pub fn decisions(&self) -> impl Iterator<Item = (Timestamp, &Decision)> {
        self.plans.iter().flat_map(|plan| plan.decisions.iter().map(|decision| (plan.at, decision)))
    }

    /// Returns the decision about one update for one destination and channel: the revision if there is one, otherwise the planned
    /// decision. `None` if nothing was planned.
    #[must_use]
    pub fn current_decision(&self, destination: &str, channel: Channel, update: u32) -> Option<&Decision> {
        let matches =
            |one: &&Decision| (one.destination.as_str(), one.channel, one.update) == (destination, channel, update);
        if let Some(revision) = self.revisions.iter().find(matches) {
            return Some(revision);
        }
        self.decisions().map(|(_, decision)| decision).find(matches)
    }
}
