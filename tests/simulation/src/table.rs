//! The table. Each function is one read, one conditional write or one transaction.

pub mod contacts;
mod deliveries;
mod due;
mod incidents;

pub use due::due_place;

use contacts::ContactItems;
use contracts::queue::Delivery;
use domain::delivery::{DeliveryRow, delivery_row_key};
use domain::due::{DuePlaces, ScheduledDelivery};
use domain::event_record::EventRecord;
use domain::ids::{EventId, IncidentId, Scope, TenantId};
use domain::incident::{Incident, KeyState, Update};
use domain::maintenance::SuppressedIncident;
use domain::plan::{PlannedShards, RoutingPlace, StoredPlan};
use domain::rate_limit::RateLimitState;
use domain::reason::Reason;
use domain::subscriber::Subscriber;
use domain::vocabulary::Channel;
use std::collections::{BTreeMap, BTreeSet};

/// Identifies a delivery of one update.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryKey {
    /// Where it goes, and about what.
    pub thread: Thread,
    /// Number of the update.
    pub update: u32,
}

/// One destination, channel and incident.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thread {
    /// The tenant of the destination.
    pub tenant: TenantId,
    /// The incident that it is notified of.
    pub incident: IncidentId,
    /// The recipient or integration.
    pub destination: String,
    /// The channel on which it is notified.
    pub channel: Channel,
}

impl DeliveryKey {
    /// The key of a delivery.
    #[must_use]
    pub fn of(delivery: &Delivery) -> Self {
        let thread = Thread {
            tenant: delivery.alert.tenant.clone(),
            incident: delivery.alert.incident_id.clone(),
            destination: delivery.destination.clone(),
            channel: delivery.channel,
        };
        Self { thread, update: delivery.alert.update }
    }

    /// The key of a scheduled delivery.
    #[must_use]
    pub fn of_due(due: &ScheduledDelivery) -> Self {
        let thread = Thread {
            tenant: due.tenant.clone(),
            incident: due.incident_id.clone(),
            destination: due.destination.clone(),
            channel: due.channel,
        };
        Self { thread, update: due.update }
    }

    /// The earlier updates of the same thread.
    pub fn earlier(&self) -> impl Iterator<Item = Self> + '_ {
        (1..self.update).map(|update| Self { thread: self.thread.clone(), update })
    }

    /// Where its row is.
    #[must_use]
    pub fn row(&self) -> RowKey {
        let name = delivery_row_key(&self.thread.destination, self.thread.channel, self.update);
        (self.thread.tenant.clone(), self.thread.incident.clone(), name)
    }
}

impl std::fmt::Display for DeliveryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Thread { tenant, incident, destination, channel } = &self.thread;
        write!(f, "{tenant}/{incident}#{}/{destination} by {channel}", self.update)
    }
}

/// How an update ended on its row.
#[derive(Clone, Debug)]
pub struct End {
    /// Whether it was accepted, or why it was not.
    pub outcome: Result<(), Reason>,
    /// When it ended, in milliseconds since 1970.
    pub at: i64,
    /// Whether a sender ended it, after attempts; otherwise `release` did, without any.
    pub by_sender: bool,
}

/// Where a delivery row is: tenant, incident, name.
pub type RowKey = (TenantId, IncidentId, String);

/// An incident and its timeline.
#[derive(Clone, Debug)]
pub struct IncidentRecord {
    /// The incident as it is now.
    pub incident: Incident,
    /// Its updates, oldest first.
    pub updates: Vec<Update>,
    /// For maintenance, the incidents that it suppresses.
    pub suppressed: Vec<SuppressedIncident>,
    /// The places of interrupted routing jobs.
    pub places: BTreeMap<PlannedShards, RoutingPlace>,
}

/// The table of a world.
#[derive(Clone, Debug, Default)]
pub struct SimulatedTable {
    /// The tenants with their compiled subscriptions.
    pub tenants: Vec<Subscriber>,
    /// The records of events.
    pub records: BTreeMap<(EventId, Option<Scope>), EventRecord>,
    /// The states of dedup keys.
    pub keys: BTreeMap<String, KeyState>,
    /// The incidents, open and closed.
    pub incidents: BTreeMap<IncidentId, IncidentRecord>,
    /// The stored plans.
    pub plans: BTreeMap<(IncidentId, TenantId), Vec<StoredPlan>>,
    /// The recipients who stopped notifications of an incident.
    pub stopped: BTreeMap<(IncidentId, TenantId), BTreeSet<String>>,
    /// The delivery rows by tenant, incident and name.
    pub rows: BTreeMap<RowKey, DeliveryRow>,
    /// The due index, by shard and [`due_place`]. No two writes have the same version.
    pub due: BTreeMap<(u16, String), (ScheduledDelivery, u64)>,
    due_versions: u64,
    /// Who may send the lists of a shard of the due index, and until when, in milliseconds.
    pub leases: BTreeMap<u16, (String, i64)>,
    /// Where runs over the due index stopped, by the first of their shards.
    pub due_places: BTreeMap<u16, DuePlaces>,
    /// Whether a deployment is half done all the time: every other entry is written by release 0.1.0, which knows eight shards.
    pub upgrading: bool,
    due_writes: u64,
    /// How often a write left a row in each state.
    pub states: BTreeMap<String, u64>,
    /// How updates ended; each ends once.
    pub ends: BTreeMap<DeliveryKey, Vec<End>>,
    /// What is known about contacts.
    pub contacts: ContactItems,
    limits: BTreeMap<String, RateLimitState>,
    slots: BTreeMap<String, i64>,
    openings: BTreeMap<(TenantId, i64), u32>,
}

impl SimulatedTable {
    /// A table with these tenants and nothing else.
    #[must_use]
    pub fn new(tenants: Vec<Subscriber>, upgrading: bool) -> Self {
        Self { tenants, upgrading, ..Self::default() }
    }
}
