//! Bodies of incidents and the decisions on them, as a tenant sees them.

use super::{DeliveryView, ReasonView};
use crate::webhook::{CoveredIncident, is_zero};
use domain::event::{KeyDetail, Link};
use domain::impact::ImpactPeriod;
use domain::incident::Change;
use domain::maintenance::{MaintenanceSchedule, MaintenanceSuppression};
use domain::schema::Instant;
use domain::vocabulary::{Category, Channel, Kind, Role, Severity, Status};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Answer of `GET /v1/tenants/{t}/incidents`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentList {
    /// Start of the requested time range.
    #[schemars(with = "Instant")]
    pub from: Timestamp,
    /// End of the requested time range.
    #[schemars(with = "Instant")]
    pub to: Timestamp,
    /// Incidents on this page, newest first.
    pub incidents: Vec<IncidentView>,
    /// Events that created no incident. Only with `include=excluded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Vec<ExcludedEventView>>,
    /// Cursor of the next page; `null` on the last page. Pass it as `cursor`.
    pub next: Option<String>,
}

/// An incident as a tenant sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentView {
    /// The incident's id.
    pub incident_id: String,
    /// The tenant that the incident is about; `null` if it is platform-wide.
    pub tenant_id: Option<String>,
    /// Whether the incident is about every tenant.
    pub platform_wide: bool,
    /// The category; `null` for user-level warnings.
    pub category: Option<Category>,
    /// The kind of the incident.
    pub kind: Kind,
    /// The id of the rule that classified it.
    pub rule: String,
    /// The event type, such as `api.outage`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The name of the source. Only for an incident of this tenant alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The source's dedup key. Only for an incident of this tenant alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
    /// Severity after the newest update.
    pub severity: Severity,
    /// Status after the newest update.
    pub status: Status,
    /// Title after the newest update.
    pub title: String,
    /// Ids of the affected components, at most 50.
    pub components: Vec<String>,
    /// Ids of the affected regions, at most 50.
    pub regions: Vec<String>,
    /// Whether the incident is shown on the public status page.
    pub public: bool,
    /// Time at which the incident began.
    #[schemars(with = "Instant")]
    pub started_at: Timestamp,
    /// Time at which its latest event was accepted.
    #[schemars(with = "Instant")]
    pub last_seen: Timestamp,
    /// Time at which the incident was resolved.
    #[schemars(with = "Option<Instant>")]
    pub resolved_at: Option<Timestamp>,
    /// For scheduled maintenance: its phase and its window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceSchedule>,
    /// The maintenance window that suppresses this incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered: Option<MaintenanceSuppression>,
    /// Number of updates so far, the opening included.
    pub updates: u32,
    /// Number of events that changed nothing.
    pub repeats: u64,
    /// Whether it belongs to a test alert.
    pub test: bool,
}

/// An event that created no incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExcludedEventView {
    /// The event's id.
    pub event_id: String,
    /// Time at which the event was accepted.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// The event type, such as `api.outage`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The event's title.
    pub title: String,
    /// The classification: `excluded`, `unclassified` or `included`.
    pub classification: String,
    /// The category; `null` if it has none.
    pub category: Option<Category>,
    /// The id of the rule that matched.
    pub rule: Option<String>,
    /// Why nobody was notified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonView>,
}

/// Answer of `GET /v1/tenants/{t}/incidents/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentDetailAnswer {
    /// The incident as it is now.
    pub incident: IncidentView,
    /// Where to contact Support, with tenant, incident, channels and times filled in. Absent if the deployment has no such page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_url: Option<String>,
    /// The updates, oldest first; of more than 500 the newest.
    pub timeline: Vec<TimelineEntry>,
    /// Which destinations were to be notified, and why others were not.
    pub decisions: Vec<DecisionView>,
    /// The state of each delivery.
    pub deliveries: Vec<DeliveryView>,
    /// For scheduled maintenance: the incidents that it suppressed so far. Open ones first, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covered_incidents: Vec<CoveredIncident>,
    /// Number of suppressed incidents that are not listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub covered_more: usize,
}

/// An update of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEntry {
    /// The update's number, from 1.
    pub update: u32,
    /// The id of the event that caused the update.
    pub event_id: String,
    /// Time at which the event was accepted. The alert window counts from here.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// Time at which it happened, if the source reported it more than five minutes later. The alert window counts from `at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub late_source: Option<Timestamp>,
    /// What the update changed, which is why it was sent.
    pub change: Change,
    /// Status after the update.
    pub status: Status,
    /// Severity after the update.
    pub severity: Severity,
    /// Title after the update.
    pub title: String,
    /// The update's text.
    pub message: String,
    /// Affected components after the update.
    pub components: Vec<String>,
    /// Affected regions after the update.
    pub regions: Vec<String>,
    /// Links to further information.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// The details by which readers tell one target from another, in order, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_details: Vec<KeyDetail>,
    /// Numbers from the source, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measurements: BTreeMap<String, f64>,
    /// Labels from the source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Everything else from the source.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
    /// Names of the fields that were truncated because they were too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
}

/// The decision on one update for one destination and channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionView {
    /// The update's number.
    pub update: u32,
    /// The id of the recipient or integration.
    pub destination: String,
    /// The name of the recipient or integration; `null` if it was deleted.
    pub name: Option<String>,
    /// The channel of the decision.
    pub channel: Channel,
    /// The decision: `deliver`, `hold` or `skip`.
    #[schemars(extend("enum" = ["deliver", "hold", "skip"]))]
    pub outcome: String,
    /// The role that the notification matrix selected the destination by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Time until which the delivery is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub until: Option<Timestamp>,
    /// Why the delivery is held or skipped.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonView>,
    /// The other destination or update that the reason refers to; for `not_in_footprint` what the tenant uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Answer of `GET /v1/tenants/{t}/impact`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImpactAnswer {
    /// Start of the requested time range.
    #[schemars(with = "Instant")]
    pub from: Timestamp,
    /// End of the requested time range.
    #[schemars(with = "Instant")]
    pub to: Timestamp,
    /// The periods within the range in which something was affected.
    pub affected: Vec<ImpactPeriod>,
    /// False if there were too many incidents to evaluate all of them in one answer. To go on, ask again with `cursor` set to `next`, with the
    /// same filters, and with `from` and `to` of this answer. The periods of all answers together are the whole; they may touch or overlap.
    pub complete: bool,
    /// The cursor of the next answer. Absent if this one is complete, or the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
