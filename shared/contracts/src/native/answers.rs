//! Answers of the native API: what was accepted, a dry run, and what became of an event or an incident.

use domain::ids::{EventId, IncidentId, TenantId};
use domain::incident::{Incident, Update};
use domain::reason::Reason;
use domain::vocabulary::Category;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Answer 202 of `POST /v1/incidents`: the event is queued durably.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EventAccepted {
    /// The event's id, for `GET /v1/events/{id}`.
    pub event_id: EventId,
    /// The dedup key to send with later events of the same incident.
    pub dedup_key: String,
}

/// Answer 202 of `POST /v1/incidents/{id}/updates`: the update is queued durably.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UpdateAccepted {
    /// The id of the update's event, for `GET /v1/events/{id}`.
    pub event_id: EventId,
    /// The incident's id.
    pub incident_id: IncidentId,
}

/// Answer 202 of `POST /v1/intake/{format}`: every event of the request is queued durably.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EventsAccepted {
    /// The events, in the order of the request.
    pub events: Vec<EventAccepted>,
}

/// Answer of `POST /v1/incidents?dry_run=true`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DryRunAnswer {
    /// Always `true`: nothing was stored or sent.
    pub dry_run: bool,
    /// The classification: `included`, `excluded` or `unclassified`.
    pub classification: &'static str,
    /// The id of the rule that matched.
    pub rule: Option<String>,
    /// Number of tenants that would be planned for.
    pub tenants: usize,
    /// Number of deliveries that would be sent, by channel.
    pub would_notify: BTreeMap<&'static str, u64>,
    /// Warnings: a rule that could not be evaluated, or a component or region that is not in the catalogue.
    pub warnings: Vec<String>,
}

/// Answer of `GET /v1/events/{id}`: the result of an event.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EventAnswer {
    /// The event's id.
    pub event_id: EventId,
    /// The classification: `included`, `excluded` or `unclassified`.
    pub classification: String,
    /// The category; `null` if it has none.
    pub category: Option<Category>,
    /// The id of the rule that matched.
    pub rule: Option<String>,
    /// The incidents that the event opened, updated or repeated.
    pub incidents: Vec<EventIncident>,
    /// Tenants for which nobody was notified, and why.
    pub not_notified: Vec<NotNotified>,
    /// Warnings: something that the source requested and did not get, a component or region that is not in the catalogue, or a rule that
    /// could not be evaluated.
    pub warnings: Vec<String>,
}

/// An incident that an event opened, updated or repeated.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EventIncident {
    /// The incident's id.
    pub incident_id: String,
    /// The tenant that the incident is about; `null` if it is platform-wide.
    pub tenant_id: Option<TenantId>,
    /// The number of the update that the event created; `null` if it changed nothing.
    pub update: Option<u32>,
}

/// A tenant for which nobody was notified of an event.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NotNotified {
    /// The tenant's id; `null` if the event is platform-wide or its tenant is unknown.
    pub tenant_id: Option<TenantId>,
    /// The code of the reason.
    pub reason: Reason,
    /// What the reason means.
    pub sentence: &'static str,
    /// The setting that would change it.
    pub setting: &'static str,
}

/// Answer of `GET /v1/incidents/{id}`: an incident as its source sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SourceIncidentAnswer {
    /// The incident as it is now.
    pub incident: Incident,
    /// Every update, oldest first.
    pub timeline: Vec<Update>,
}
