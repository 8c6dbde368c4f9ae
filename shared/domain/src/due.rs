//! The due index: deliveries that are scheduled for later.

use crate::alert::HoldPeriod;
use crate::ids::{IncidentId, TenantId, shard_of};
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

impl ScheduledDelivery {
    /// Returns the shard of its entry in a due index with so many shards. All entries of a destination and channel are in the same shard, so
    /// that a digest is.
    #[must_use]
    pub fn shard(&self, shards: u16) -> u16 {
        shard_of(&format!("{}#{}", self.destination, self.channel), shards)
    }
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

/// A scheduled delivery with its place in the due index.
#[derive(Clone, Debug)]
pub struct DueItem {
    /// The delivery that is due.
    pub due: ScheduledDelivery,
    shard: u16,
    place: String,
    version: String,
}

/// What is due in the same minute for the same destination and channel. Neighbors in the due index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueGroup {
    minute: i64,
    tenant: TenantId,
    destination: String,
    channel: Channel,
}

impl DueItem {
    /// Builds an item that was found at `place` of `shard`. No two writes have the same `version`, whatever they write; it is empty for an item
    /// of release 0.1.0.
    #[must_use]
    pub fn new(due: ScheduledDelivery, shard: u16, place: &str, version: &str) -> Self {
        Self { due, shard, place: place.to_owned(), version: version.to_owned() }
    }

    /// Returns what is due with it.
    #[must_use]
    pub fn group(&self) -> DueGroup {
        DueGroup {
            minute: minute_of(self.due.at),
            tenant: self.due.tenant.clone(),
            destination: self.due.destination.clone(),
            channel: self.due.channel,
        }
    }

    /// Whether scheduling `due` in a due index with so many shards writes to this item's place. If so, this item must not be deleted
    /// afterwards.
    #[must_use]
    pub fn has_place_of(&self, due: &ScheduledDelivery, shards: u16) -> bool {
        let of = |one: &ScheduledDelivery| (minute_of(one.at), one.channel, one.update);
        self.shard == due.shard(shards)
            && of(&self.due) == of(due)
            && self.due.tenant == due.tenant
            && self.due.destination == due.destination
            && self.due.incident_id == due.incident_id
    }

    /// Returns the number of the item's shard.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// Returns what distinguishes this item from another that was written to its place later.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the item's place in its shard, after which a next page may begin.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }
}

/// A page of the due index.
#[derive(Clone, Debug, Default)]
pub struct DuePage {
    /// The scheduled deliveries, oldest first.
    pub items: Vec<DueItem>,
    /// Number of items that could not be read. They stay in the index.
    pub unreadable: usize,
    /// Place after which the next page begins; `None` on the last page.
    pub next: Option<String>,
}

/// Where a run over several shards of the due index stopped. The next one begins with these shards, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuePlaces {
    /// The shards that had entries left.
    pub places: Vec<DuePlace>,
}

/// Where a run stopped in one shard of the due index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuePlace {
    /// The shard.
    pub shard: u16,
    /// The place after which the next page begins; `None` at the shard's beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// The due index is read minute by minute.
fn minute_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}
