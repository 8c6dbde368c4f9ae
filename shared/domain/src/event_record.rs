//! The event record: what classify decided about an event, and its place in a tenant's list.

use crate::ids::{EventId, IncidentId, Scope};
use crate::reason::Reason;
use crate::vocabulary::Category;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The result of classifying an event for one scope. Written in the transaction that changes the incident; if the event is
/// redelivered, classify finds the record and emits its jobs again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Id of the event.
    pub event_id: EventId,
    /// Scope of the event; `None` if it could not be determined.
    pub scope: Option<Scope>,
    /// When intake accepted the event.
    pub accepted_at: Timestamp,
    /// `included`, `excluded` or `unclassified`.
    pub classification: String,
    /// Category of the event, if a rule assigned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// Id of the classification rule that matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why nobody was notified, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Incident that the event opened, updated or repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<String>,
    /// Number of the update that the event added to the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<u32>,
    /// Type of the event, for lists of excluded events.
    pub event_type: String,
    /// Title of the event, for lists of excluded events.
    pub title: String,
    /// Problems found during classification.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Routing jobs to emit, each as JSON. A redelivered event emits the same ones again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
}

/// How an event's record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventRecordWrite {
    /// On condition that there is none.
    New,
    /// In place of the one that was read: the source sends the same event again, and now it changes something.
    Replace {
        /// When the event of that record was accepted.
        accepted_at: Timestamp,
    },
    /// Not at all: the source sends the same event again, and the first one's record stays.
    Keep,
}

/// An entry of a tenant's list of incidents and excluded events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentListEntry {
    /// When the event was accepted.
    pub at: Timestamp,
    /// Id of the incident; `None` for an event without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<IncidentId>,
    /// The event's record, for an event without an incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventRecord>,
}
