//! Messages to subscription-lookup: plan one update for a tenant or for a range of shards.

use super::Lane;
use domain::ids::{IncidentId, TenantId};
use serde::{Deserialize, Serialize};

/// classify → subscription-lookup, and between its pages: plan one update for these tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingJob {
    /// The message version, [`VERSION`](super::VERSION).
    pub v: u32,
    /// The id of the source's request.
    pub correlation_id: String,
    /// The incident's id.
    pub incident_id: IncidentId,
    /// The update's number, from 1.
    pub update: u32,
    /// The tenants to plan for.
    pub route: RoutingTarget,
}

/// The tenants that a routing job plans for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutingTarget {
    /// All subscriptions of one tenant.
    Tenant(TenantId),
    /// Every tenant of the shards `next..end`.
    Shards {
        /// The first shard of the range. It is part of the FIFO group, which keeps the updates of an incident in order.
        first: u16,
        /// The shard in which this page begins.
        next: u16,
        /// The end of the range (exclusive).
        end: u16,
        /// The last tenant of the shard `next` that is already planned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<TenantId>,
    },
}

impl RoutingJob {
    /// Returns the FIFO message group id, which keeps the updates of one incident in order within a range of shards, or for one tenant. What is
    /// wrong with one tenant's items holds up none of the others.
    #[must_use]
    pub fn message_group_id(&self) -> String {
        match &self.route {
            RoutingTarget::Tenant(tenant) => format!("{}-{tenant}", self.incident_id),
            RoutingTarget::Shards { first, .. } => format!("{}-{first}", self.incident_id),
        }
    }

    /// Returns the lane on which classify sends the job: one for a range of shards takes minutes, and no tenant's own alert waits for it.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match &self.route {
            RoutingTarget::Tenant(_) => Lane::Urgent,
            RoutingTarget::Shards { .. } => Lane::Bulk,
        }
    }

    /// Returns the FIFO deduplication id. A page is enqueued once, however often its predecessor runs.
    #[must_use]
    pub fn deduplication_id(&self) -> String {
        let (shard, cursor) = match &self.route {
            RoutingTarget::Tenant(tenant) => (tenant.to_string(), String::new()),
            RoutingTarget::Shards { next, after, .. } => {
                (next.to_string(), after.as_ref().map(ToString::to_string).unwrap_or_default())
            }
        };
        domain::ids::short_hash(&[self.incident_id.as_str(), &self.update.to_string(), &shard, &cursor])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_take_minutes_have_a_lane_of_their_own() {
        let job = |route| RoutingJob {
            v: super::super::VERSION,
            correlation_id: String::new(),
            incident_id: IncidentId::new("a"),
            update: 1,
            route,
        };
        let tenant = RoutingTarget::Tenant(TenantId::parse("acme").unwrap());
        assert_eq!(job(tenant).lane(), Lane::Urgent);
        assert_eq!(job(RoutingTarget::Shards { first: 0, next: 0, end: 4, after: None }).lane(), Lane::Bulk);
    }
}
