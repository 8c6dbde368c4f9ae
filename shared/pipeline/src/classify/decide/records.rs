//! The stored records of events, updates, notes and reminders.

use contracts::queue::IncidentReceived;
use domain::event::Event;
use domain::event_record::EventRecord;
use domain::ids::Scope;
use domain::incident::Incident;

/// Returns the record of an event, without category, rule or incident.
pub(super) fn event_record(
    message: &IncidentReceived,
    scope: Option<&Scope>,
    classification: &str,
    event: &Event,
) -> EventRecord {
    EventRecord {
        event_id: message.event_id.clone(),
        scope: scope.cloned(),
        accepted_at: message.accepted_at,
        classification: classification.to_owned(),
        category: None,
        rule: None,
        reason: None,
        incident_id: None,
        update: None,
        event_type: event.event_type.clone(),
        title: event.title.clone(),
        warnings: event.warnings.clone(),
        jobs: Vec::new(),
    }
}

/// Returns the event record of an update, note or reminder, with or without an incident.
pub(super) fn incident_record(
    incident: Option<&Incident>,
    title: &str,
    message: &IncidentReceived,
    scope: &Scope,
) -> EventRecord {
    EventRecord {
        event_id: message.event_id.clone(),
        scope: Some(scope.clone()),
        accepted_at: message.accepted_at,
        classification: "included".to_owned(),
        category: incident.and_then(|incident| incident.category),
        rule: incident.map(|incident| incident.rule.clone()),
        reason: None,
        incident_id: incident.map(|incident| incident.id.to_string()),
        update: None,
        event_type: incident.map_or("note", |incident| &incident.event_type).to_owned(),
        title: title.to_owned(),
        warnings: Vec::new(),
        jobs: Vec::new(),
    }
}
