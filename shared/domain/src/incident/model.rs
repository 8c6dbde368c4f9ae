//! The data of incidents: the incident itself, its updates, and what its dedup key remembers.

use crate::event::{KeyDetail, Link, TestTarget};
use crate::ids::{EventId, IncidentId, IntegrationId, Scope, sha256};
use crate::maintenance::{MaintenanceSchedule, MaintenanceSuppression, MaintenanceWindow, Reminder};
use crate::schema::Instant;
use crate::storm::Openings;
use crate::vocabulary::{Category, Kind, Phase, Severity, Status};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// How long after its start an incident may reach us before messages say that it was reported late. A gateway that throttles its
/// callbacks would otherwise look like our own delay.
pub const LATE_SOURCE_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// The current state of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// The id of the incident.
    pub id: IncidentId,
    /// The tenant that the incident belongs to, or the whole platform.
    pub scope: Scope,
    /// The hash of the dedup key, from [`hash_dedup_key`].
    pub key: String,
    /// The integration whose token sent the event that opened it.
    pub integration_id: IntegrationId,
    /// The name of the source.
    pub source: String,
    /// The type of the event that opened it.
    pub event_type: String,
    /// The dedup key, as the source sent it.
    pub dedup_key: String,
    /// The category; `None` only for the kind `opt_in`, which has no category.
    pub category: Option<Category>,
    /// The kind of the incident.
    pub kind: Kind,
    /// The id of the rule that classified it.
    pub rule: String,
    /// What its readers can do about it by the rule that opened it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advice: String,
    /// Whether the matrix condition `low_balance_only` includes it.
    #[serde(default)]
    pub low_balance: bool,
    /// The user whom a user-level warning is about; `None` for everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The current severity of the incident.
    pub severity: Severity,
    /// The current status of the incident.
    pub status: Status,
    /// The number of the first update that was critical; `None` if none was yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical_since: Option<u32>,
    /// The current title, in one line.
    pub title: String,
    /// The title with which it was opened, which the subjects of all its e-mails show; empty in the oldest incidents.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub opened_title: String,
    /// The components that the incident affects now.
    pub components: Vec<String>,
    /// The regions that the incident affects now.
    pub regions: Vec<String>,
    /// The details by which readers tell its target from another, as its latest event with details sent them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_details: Vec<KeyDetail>,
    /// Whether the incident is on the public status page.
    pub public: bool,
    /// The components and regions on the status page, where they differ from the current ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<PublicScope>,
    /// The title on the status page; empty unless `public`.
    #[serde(default)]
    pub public_title: String,
    /// When the event that opened it was accepted; absent in the oldest incidents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub opened_at: Option<Timestamp>,
    /// When the incident started: the source's `starts_at`, or else the time of acceptance.
    #[schemars(with = "Instant")]
    pub started_at: Timestamp,
    /// When the source observed the latest change of state, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub as_of: Option<Timestamp>,
    /// When its latest update was accepted, which may be earlier than its latest event; absent in the oldest incidents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub changed_at: Option<Timestamp>,
    /// When the latest event of the incident was accepted.
    #[schemars(with = "Instant")]
    pub last_seen: Timestamp,
    /// When the incident was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub resolved_at: Option<Timestamp>,
    /// Phase and hours of a maintenance; `None` for other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceSchedule>,
    /// The maintenance that suppresses the incident, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered: Option<MaintenanceSuppression>,
    /// How often the dedup key opened recently, including this incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openings: Option<Openings>,
    /// The hash of the source's latest description, by which a repeat of it is recognized. Texts of people do not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_text_hash: Option<String>,
    /// Whether its source's clients close it with nothing but its dedup key.
    #[serde(default)]
    pub closed_by_key_alone: bool,
    /// The number of the latest update, from 1.
    pub updates: u32,
    /// Number of events that changed nothing.
    #[serde(default)]
    pub repeats: u64,
    /// Whether a test alert opened the incident.
    #[serde(default)]
    pub test: bool,
    /// The destinations of that test alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_of: Option<TestTarget>,
    /// Incremented by every write, so that concurrent writers notice each other.
    pub version: u64,
}

/// The components and regions that the status page shows for an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublicScope {
    /// The components on the status page.
    pub components: Vec<String>,
    /// The regions on the status page.
    pub regions: Vec<String>,
}

impl Incident {
    /// Returns the number of the first of the newest `most` updates, from 1.
    #[must_use]
    pub fn first_of_newest(&self, most: u32) -> u32 {
        self.updates.saturating_sub(most).saturating_add(1)
    }

    /// Returns the components and regions that the status page shows.
    #[must_use]
    pub fn public_scope(&self) -> PublicScope {
        match &self.shown {
            Some(scope) => scope.clone(),
            None => PublicScope { components: self.components.clone(), regions: self.regions.clone() },
        }
    }

    /// Returns the window of a maintenance; `None` for other kinds, and for a maintenance without a planned end.
    ///
    /// The window of a maintenance that was completed early ends at its completion.
    #[must_use]
    pub fn maintenance_window(&self) -> Option<MaintenanceWindow> {
        let schedule = self.maintenance?;
        let until = schedule.until?;
        Some(MaintenanceWindow {
            incident_id: self.id.clone(),
            components: self.components.clone(),
            regions: self.regions.clone(),
            severity: self.severity,
            from: schedule.from,
            until: self.resolved_at.map_or(until, |ended| ended.min(until)),
        })
    }

    /// Schedules the reminder of a maintenance, `lead_time` before its start.
    ///
    /// `None` if the maintenance is not in the phase `scheduled`, if `lead_time` is zero, or if the reminder would come less than
    /// `lead_time` after the announcement at `now`.
    #[must_use]
    pub fn schedule_reminder(
        &self,
        lead_time: SignedDuration,
        correlation_id: &str,
        now: Timestamp,
    ) -> Option<Reminder> {
        let schedule = self.maintenance.filter(|schedule| schedule.phase == Phase::Scheduled)?;
        if self.resolved_at.is_some() || lead_time <= SignedDuration::ZERO {
            return None;
        }
        let at = schedule.from.checked_sub(lead_time).ok()?;
        let earliest = now.checked_add(lead_time).ok()?;
        if at < earliest {
            return None;
        }
        Some(Reminder {
            incident_id: self.id.clone(),
            scope: self.scope.clone(),
            key: self.key.clone(),
            at,
            update: self.updates,
            correlation_id: correlation_id.to_owned(),
        })
    }
}

/// Why an update notifies; printed in every message (Alertmanager's `notification_reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The incident was opened.
    Opened,
    /// The status changed, and the incident is not resolved.
    StatusChanged,
    /// The severity of the incident increased.
    SeverityRaised,
    /// The severity of the incident decreased, and the incident is not resolved.
    SeverityLowered,
    /// The affected components or regions changed.
    ScopeChanged,
    /// An update with a text was posted.
    TextAdded,
    /// The maintenance starts soon.
    Reminded,
    /// The start or end of the maintenance changed.
    Rescheduled,
    /// The incident was resolved.
    Resolved,
}

impl Change {
    /// Returns the change as the clause after "Sent now because".
    #[must_use]
    pub const fn as_clause(self) -> &'static str {
        match self {
            Self::Opened => "this is the first message about it",
            Self::StatusChanged => "its status changed",
            Self::SeverityRaised => "its severity increased",
            Self::SeverityLowered => "its severity decreased",
            Self::ScopeChanged => "its affected components or regions changed",
            Self::TextAdded => "an update was posted",
            Self::Reminded => "this is a reminder",
            Self::Rescheduled => "the maintenance window changed",
            Self::Resolved => "it was resolved",
        }
    }
}

/// One entry of an incident's timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Update {
    /// The number of the update, from 1, without gaps.
    pub number: u32,
    /// The event that made the update.
    pub event_id: EventId,
    /// The correlation id of the upstream request, which every message and log line of the update carries.
    pub correlation_id: String,
    /// When intake accepted the event. The alert window counts from here.
    #[schemars(with = "Instant")]
    pub accepted_at: Timestamp,
    /// When the incident started, if its source reported it more than five minutes later. The alert window still counts from acceptance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub late_source: Option<Timestamp>,
    /// Why the update notifies.
    pub change: Change,
    /// The status after the update.
    pub status: Status,
    /// The severity after the update.
    pub severity: Severity,
    /// The severity before the update, which decides whether SMS is sent again; absent in the first update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_before: Option<Severity>,
    /// The title after the update.
    pub title: String,
    /// The text of the update; may be empty.
    pub message: String,
    /// The affected components after the update.
    pub components: Vec<String>,
    /// The affected regions after the update.
    pub regions: Vec<String>,
    /// The text on the status page; empty unless the incident is public.
    #[serde(default)]
    pub public_message: String,
    /// Links to more information, as the source sent them.
    #[serde(default)]
    pub links: Vec<Link>,
    /// The details that people see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_details: Vec<KeyDetail>,
    /// Measurements that the source sent.
    #[serde(default)]
    pub measurements: BTreeMap<String, f64>,
    /// Labels that the source sent.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// All other data that the source sent.
    #[serde(default)]
    pub details: Map<String, Value>,
    /// The names of the fields that were truncated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
}

/// What is remembered about a dedup key: its open incident, or its latest one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyState {
    /// The open or latest incident of the key.
    pub incident_id: IncidentId,
    /// Whether that incident is still open.
    pub open: bool,
    /// When the source observed the latest change of state, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// When the incident was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
    /// How often the key opened recently.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openings: Option<Openings>,
}

impl KeyState {
    /// The state of an incident's dedup key, as it follows from the incident.
    #[must_use]
    pub fn of(incident: &Incident) -> Self {
        Self {
            incident_id: incident.id.clone(),
            open: incident.resolved_at.is_none(),
            as_of: incident.as_of,
            closed_at: incident.resolved_at,
            openings: incident.openings,
        }
    }
}

/// The identity of an event, and when it arrived.
#[derive(Clone, Debug)]
pub struct EventArrival<'a> {
    /// The id of the event.
    pub event_id: &'a EventId,
    /// The scope of the incident that the event is for.
    pub scope: &'a Scope,
    /// The hash of the dedup key, from [`hash_dedup_key`].
    pub key: &'a str,
    /// The integration whose token sent the event.
    pub integration_id: &'a IntegrationId,
    /// The correlation id of the upstream request.
    pub correlation_id: &'a str,
    /// When intake accepted the event.
    pub accepted_at: Timestamp,
}

/// What an event does to the incident of its dedup key.
#[derive(Clone, Debug, PartialEq)]
pub enum Transition {
    /// The event opens an incident, with its first update.
    Open(Box<(Incident, Update)>),
    /// The event adds an update to the open incident.
    Update(Box<(Incident, Update)>),
    /// The event changes nothing: it is counted, and nobody is notified.
    Repeat(Box<Incident>),
    /// The event is older than what is known, and is ignored.
    Stale,
    /// The event resolves an incident, and none is open.
    ResolveWithoutOpen,
}

/// Hashes a dedup key with its scope, integration and source. The integration's id stays the same when its token is rotated.
#[must_use]
pub fn hash_dedup_key(scope: &Scope, integration_id: &IntegrationId, source: &str, dedup_key: &str) -> String {
    let scope = scope.tenant().map_or("P", |tenant| tenant.as_str());
    sha256(&[scope, integration_id.as_str(), source, dedup_key]).iter().map(|byte| format!("{byte:02x}")).collect()
}
