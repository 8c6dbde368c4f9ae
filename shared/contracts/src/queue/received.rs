//! Messages to classify: an accepted event, update, note or reminder; and what classify enqueues next.

use super::{RoutingJob, VERSION};
use domain::event::{Event, SYSTEM_SOURCE};
use domain::ids::{EventId, IncidentId, IntegrationId, Scope, TenantId};
use domain::maintenance::Reminder;
use domain::reason::Reason;
use domain::vocabulary::{Severity, Status};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// intake → classify: one accepted event for one scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentReceived {
    /// The message version, [`VERSION`].
    pub v: u32,
    /// The event's id.
    pub event_id: EventId,
    /// The id of the source's request. It is passed on to every later message.
    pub correlation_id: String,
    /// Time at which the event was accepted. The alert window counts from here.
    pub accepted_at: Timestamp,
    /// The id of the source that posted it.
    pub integration_id: IntegrationId,
    /// The tenant that it is about, or the platform; `None` if that is unknown.
    pub scope: Option<Scope>,
    /// Why the event cannot be routed: its tenant is missing, invalid or not allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unroutable: Option<Reason>,
    /// The event, update, note or reminder.
    pub body: MessageBody,
}

/// What an [`IncidentReceived`] message carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageBody {
    /// An event in the native format, after normalization.
    Event(Box<Event>),
    /// An operator's update of an incident (`POST /v1/incidents/{id}/updates`).
    Update {
        /// The incident's id.
        incident_id: IncidentId,
        /// The hash of the incident's dedup key. Updates and events of one incident share a FIFO group.
        key: String,
        /// The new status. `None` leaves it unchanged.
        status: Option<Status>,
        /// The update's text.
        message: String,
    },
    /// A drop-in format's note on whatever is open under a dedup key: acknowledged, closed, or a comment.
    Note(Box<Note>),
    /// A scheduled reminder of maintenance, sent unless there was an update since (release → classify).
    Reminder(Reminder),
}

/// A drop-in format's note on whatever is open under a dedup key. A note never opens an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The name of the source, as in the events of its format.
    pub source: String,
    /// The source's dedup key.
    pub dedup_key: String,
    /// The new status. `None` leaves it unchanged.
    pub status: Option<Status>,
    /// The new title. `None` leaves it unchanged. A new title alone notifies nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The new severity. `None` leaves it unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The note's text.
    pub message: String,
    /// Whether destinations are notified of the text. A note that only reports missing data is recorded without notifying anybody.
    pub notify: bool,
    /// Whether they are notified only if the text is another one than the incident's latest.
    #[serde(default)]
    pub only_if_new: bool,
}

impl IncidentReceived {
    /// Creates a system event for a tenant. It is processed like any other event.
    #[must_use]
    pub fn system_event(
        tenant: &TenantId,
        event: Event,
        event_id: EventId,
        correlation_id: &str,
        now: Timestamp,
    ) -> Self {
        Self {
            v: VERSION,
            event_id,
            correlation_id: correlation_id.to_owned(),
            accepted_at: now,
            integration_id: IntegrationId::new(SYSTEM_SOURCE),
            scope: Some(Scope::Tenant(tenant.clone())),
            unroutable: None,
            body: MessageBody::Event(Box::new(event.normalized())),
        }
    }

    /// Creates the message of a due reminder. The event id is derived from incident and update, so that sending it twice is one event.
    #[must_use]
    pub fn reminder(reminder: Reminder, now: Timestamp) -> Self {
        let Reminder { incident_id, update, .. } = &reminder;
        Self {
            v: VERSION,
            event_id: EventId::derived(&[incident_id.as_str(), "reminder", &update.to_string()]),
            correlation_id: reminder.correlation_id.clone(),
            accepted_at: now,
            integration_id: IntegrationId::new(SYSTEM_SOURCE),
            scope: Some(reminder.scope.clone()),
            unroutable: None,
            body: MessageBody::Reminder(reminder),
        }
    }

    /// Whether it is a system event. The integration id comes from the token, so no source can forge it.
    #[must_use]
    pub fn is_system_event(&self) -> bool {
        self.integration_id == IntegrationId::new(SYSTEM_SOURCE)
    }

    /// Returns the FIFO message group id, which keeps the events of one incident in order.
    #[must_use]
    pub fn message_group_id(&self) -> String {
        let platform = Scope::Platform;
        let scope = self.scope.as_ref().unwrap_or(&platform);
        let key = |source: &str, dedup_key: &str| {
            domain::incident::hash_dedup_key(scope, &self.integration_id, source, dedup_key)
        };
        match &self.body {
            MessageBody::Event(event) => key(&event.source, &event.dedup_key),
            MessageBody::Note(note) => key(&note.source, &note.dedup_key),
            // Intake and release read the key from the incident's head item.
            MessageBody::Update { key, .. } | MessageBody::Reminder(Reminder { key, .. }) => key.clone(),
        }
    }

    /// Returns the FIFO deduplication id, made of event and scope.
    #[must_use]
    pub fn deduplication_id(&self) -> String {
        let scope = match &self.scope {
            Some(Scope::Tenant(tenant)) => tenant.as_str(),
            Some(Scope::Platform) => "P",
            None => "-",
        };
        let accepted_at = self.accepted_at.as_millisecond().to_string();
        domain::ids::short_hash(&[self.event_id.as_str(), scope, &accepted_at])
    }
}

/// A message that classify enqueues after it stored its decision. It is stored with the event's record, so that a redelivered event can
/// enqueue it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum FollowUpJob {
    /// A job for subscription-lookup.
    Route(RoutingJob),
    /// A system event for classify itself, which notifies the operators.
    Receive(Box<IncidentReceived>),
}
