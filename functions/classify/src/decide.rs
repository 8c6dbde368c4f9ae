//! Decides what an event, update, note or reminder does. Pure, so that a redelivered event or a lost race is decided again.

use contracts::queue::{FollowUpJob, IncidentReceived, MessageBody, Note, RoutingJob, RoutingTarget, VERSION};
use domain::classification::{Classification, RuleMatch};
use domain::event::{Event, Format, SYSTEM_SOURCE, is_reserved_type};
use domain::ids::{EventId, IncidentId, SHARDS, Scope, TenantId};
use domain::incident::{
    EventArrival, Incident, KeyState, NoteContent, ReminderContent, Transition, Update, apply_event,
    apply_maintenance_windows, apply_note, apply_reminder, apply_update, record_early_resolve, record_opening,
    suppression_records,
};
use domain::maintenance::{MaintenanceWindow, REMINDER_TYPE, Reminder, SuppressedIncident};
use domain::policy::Policy;
use domain::reason::Reason;
use domain::vocabulary::{Severity, Status};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use store::events::EventRecord;
use store::incidents::IncidentListEntry;

/// The event type of warnings to the operators about unclassified events. A rule of `classification.yaml` matches it.
const UNCLASSIFIED_TYPE: &str = "tocsin.unclassified";
/// The warning on an event whose source uses a reserved type.
const RESERVED_TYPE_WARNING: &str = "type: test.alert and tocsin.… are reserved for Tocsin; use a type of your own";

/// What classify writes in its transaction. The record holds the routing jobs that it emits afterwards.
#[derive(Debug)]
pub(crate) struct ClassifyDecision {
    pub(crate) record: EventRecord,
    pub(crate) head: Option<(Incident, u64)>,
    pub(crate) update: Option<Update>,
    pub(crate) suppressed: Vec<(IncidentId, SuppressedIncident)>,
    pub(crate) key_before: Option<KeyState>,
    pub(crate) early_resolve: Option<(String, KeyState)>,
    pub(crate) seen: Option<IncidentListEntry>,
}

impl ClassifyDecision {
    /// A decision that stores the event record and changes no incident.
    fn record_alone(record: EventRecord) -> Self {
        Self {
            record,
            head: None,
            update: None,
            suppressed: Vec::new(),
            key_before: None,
            early_resolve: None,
            seen: None,
        }
    }
}

/// The stored state of an event's dedup key, and the maintenance windows that may suppress its incident.
#[derive(Debug)]
pub(crate) struct KeyContext<'a> {
    pub(crate) remembered: Option<KeyState>,
    pub(crate) open: Option<&'a Incident>,
    pub(crate) windows: &'a [MaintenanceWindow],
}

/// Decides about an event with a known scope: classifies it and applies the incident's state machine.
pub(crate) fn decide_event(
    policy: &Policy,
    event: &Event,
    message: &IncidentReceived,
    arrival: &EventArrival<'_>,
    known: KeyContext<'_>,
    shards_per_job: u16,
) -> ClassifyDecision {
    let KeyContext { remembered, open, windows } = known;
    let resolved = open.filter(|_| event.status == Some(Status::Resolved));
    // Intake refuses native events of a reserved type. A drop-in event of such a type is kept as unclassified.
    let foreign = is_reserved_type(&event.event_type) && !message.is_system_event();
    let classification = if foreign { Classification::Unclassified } else { policy.classify(event) };
    let included = match (classification, resolved) {
        (Classification::Included(included), _) => included,
        // A resolve of an open incident always counts, even if the rules no longer match: after a threshold was crossed back or a rule
        // was edited, the incident must not stay open.
        (_, Some(incident)) => rule_match_of_opening(incident),
        (Classification::Excluded { rule }, None) => {
            let mut record = record(message, Some(arrival.scope), "excluded", event);
            record.rule = Some(rule);
            record.reason = Some(Reason::ExcludedByRule);
            return record_only(record);
        }
        // An unclassified platform-wide event must not reach every tenant.
        (Classification::Unclassified, None) if *arrival.scope == Scope::Platform => {
            return decide_unplaced(message, Reason::Unclassified);
        }
        (Classification::Unclassified, None) => {
            let mut record = record(message, Some(arrival.scope), "unclassified", event);
            record.reason = Some(Reason::Unclassified);
            record.warnings.extend(foreign.then(|| RESERVED_TYPE_WARNING.to_owned()));
            record.jobs = warn_operators(message, Reason::Unclassified, event);
            return record_only(record);
        }
    };
    if *arrival.scope == Scope::Platform && !policy.allows_platform_wide(&included) {
        // Events about one tenant's configuration must not reach other tenants.
        return decide_unplaced(message, Reason::TenantMissing);
    }
    let mut record = record(message, Some(arrival.scope), "included", event);
    record.category = included.category;
    record.rule = Some(included.rule.clone());
    record.warnings.extend_from_slice(&included.warnings);
    record.warnings.extend(policy.catalogue.unknown_name_warnings(&event.components, &event.regions));
    let now = arrival.accepted_at;
    let transition = apply_maintenance_windows(
        apply_event(remembered.as_ref(), open, event, &included, arrival),
        open,
        windows,
        now,
    );
    let transition = record_opening(transition, remembered.as_ref(), &policy.storms.flapping, now);
    let alone = (transition == Transition::ResolveWithoutOpen)
        .then(|| record_early_resolve(event, remembered.as_ref(), arrival));
    let key_before = remembered.clone();
    let decided = apply_transition(record, transition, open, remembered, shards_per_job, arrival);
    match alone.flatten() {
        Some(state) => ClassifyDecision { early_resolve: Some((arrival.key.to_owned(), state)), key_before, ..decided },
        None => decided,
    }
}

/// Decides about an operator's update on an incident: new status, message, or both.
pub(crate) fn decide_update(
    (incident, windows): (&Incident, &[MaintenanceWindow]),
    status: Option<Status>,
    message_text: &str,
    message: &IncidentReceived,
    arrival: &EventArrival<'_>,
    shards_per_job: u16,
) -> ClassifyDecision {
    let record = record_on(Some(incident), &incident.title, message, arrival.scope);
    let transition = apply_update(incident, status, message_text, arrival);
    let transition = apply_maintenance_windows(transition, Some(incident), windows, arrival.accepted_at);
    apply_transition(record, transition, Some(incident), Some(key_state(incident)), shards_per_job, arrival)
}

/// Decides about a due maintenance reminder. `spoken` is the number of the update that the reminder was scheduled with, `said` that update.
pub(crate) fn decide_reminder(
    incident: &Incident,
    (spoken, said): (u32, Option<&Update>),
    message: &IncidentReceived,
    arrival: &EventArrival<'_>,
    now: Timestamp,
    shards_per_job: u16,
) -> ClassifyDecision {
    let mut record = record_on(Some(incident), &incident.title, message, arrival.scope);
    match apply_reminder(incident, ReminderContent { update_number: spoken, update: said }, arrival, now) {
        Transition::Stale => {
            let newer = incident.updates > spoken;
            record.reason = Some(if newer { Reason::SupersededBy } else { Reason::Expired });
            ClassifyDecision::record_alone(record)
        }
        transition => {
            apply_transition(record, transition, Some(incident), Some(key_state(incident)), shards_per_job, arrival)
        }
    }
}

/// Decides about a reminder whose maintenance has expired from the table.
pub(crate) fn decide_expired_reminder(message: &IncidentReceived, reminder: &Reminder) -> ClassifyDecision {
    let mut record = record_on(None, "", message, &reminder.scope);
    record.reason = Some(Reason::Expired);
    ClassifyDecision::record_alone(record)
}

/// Decides about a drop-in note (acknowledge, close, comment) on the open incident of its dedup key.
pub(crate) fn decide_note(
    note: &Note,
    (open, windows): (Option<&Incident>, &[MaintenanceWindow]),
    message: &IncidentReceived,
    arrival: &EventArrival<'_>,
    shards_per_job: u16,
) -> ClassifyDecision {
    // The record keeps the message even if nobody is notified of it.
    let title =
        if note.message.trim().is_empty() { open.map_or("", |incident| &incident.title) } else { &note.message };
    let record = record_on(open, title, message, arrival.scope);
    let content = NoteContent { status: note.status, message: &note.message, notify: note.notify };
    let transition = apply_note(open, content, arrival);
    let transition = apply_maintenance_windows(transition, open, windows, arrival.accepted_at);
    apply_transition(record, transition, open, open.map(key_state), shards_per_job, arrival)
}

/// Returns the event record of an update, note or reminder, with or without an incident.
fn record_on(incident: Option<&Incident>, title: &str, message: &IncidentReceived, scope: &Scope) -> EventRecord {
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

fn key_state(incident: &Incident) -> KeyState {
    KeyState {
        incident_id: incident.id.clone(),
        open: incident.resolved_at.is_none(),
        source_started_at: incident.source_started_at,
        as_of: incident.as_of,
        closed_at: incident.resolved_at,
        openings: incident.openings,
    }
}

/// Decides about an event that cannot be routed to a tenant: it is stored, and the operators are warned once per reason, integration and
/// hour.
pub(crate) fn decide_unplaced(message: &IncidentReceived, reason: Reason) -> ClassifyDecision {
    let (event_type, title) = match &message.body {
        MessageBody::Event(event) => (event.event_type.clone(), event.title.clone()),
        MessageBody::Update { .. } => ("update".to_owned(), String::new()),
        MessageBody::Note(_) => ("note".to_owned(), String::new()),
        MessageBody::Reminder(_) => (REMINDER_TYPE.to_owned(), String::new()),
    };
    let mut record = EventRecord {
        event_id: message.event_id.clone(),
        scope: None,
        accepted_at: message.accepted_at,
        classification: "unclassified".to_owned(),
        category: None,
        rule: None,
        reason: Some(reason),
        incident_id: None,
        update: None,
        event_type,
        title,
        warnings: Vec::new(),
        jobs: Vec::new(),
    };
    if let MessageBody::Event(event) = &message.body {
        record.jobs = warn_operators(message, reason, event);
        record.warnings.clone_from(&event.warnings);
    }
    record_only(record)
}

fn record_only(record: EventRecord) -> ClassifyDecision {
    let seen = IncidentListEntry {
        at: record.accepted_at,
        incident_id: None,
        event: Some(EventRecord { jobs: Vec::new(), ..record.clone() }),
    };
    ClassifyDecision { seen: Some(seen), ..ClassifyDecision::record_alone(record) }
}

fn apply_transition(
    mut record: EventRecord,
    transition: Transition,
    open: Option<&Incident>,
    key_before: Option<KeyState>,
    shards_per_job: u16,
    arrival: &EventArrival<'_>,
) -> ClassifyDecision {
    let before = open.map_or(0, |incident| incident.version);
    match transition {
        Transition::Open(pair) | Transition::Update(pair) => {
            let (incident, update) = *pair;
            record.incident_id = Some(incident.id.to_string());
            record.update = Some(update.number);
            record.jobs = routing_jobs(&incident, &update, shards_per_job);
            let seen = (before == 0).then(|| IncidentListEntry {
                at: arrival.accepted_at,
                incident_id: Some(incident.id.clone()),
                event: None,
            });
            let explained = suppression_records(&incident, open);
            let (head, update) = (Some((incident, before)), Some(update));
            ClassifyDecision {
                head,
                update,
                suppressed: explained,
                key_before,
                seen,
                ..ClassifyDecision::record_alone(record)
            }
        }
        Transition::Repeat(incident) => {
            record.incident_id = Some(incident.id.to_string());
            record.reason = Some(Reason::Repeat);
            ClassifyDecision { head: Some((*incident, before)), key_before, ..ClassifyDecision::record_alone(record) }
        }
        Transition::Stale => {
            record.reason = Some(Reason::Stale);
            ClassifyDecision::record_alone(record)
        }
        Transition::ResolveWithoutOpen => {
            record.reason = Some(Reason::ResolveWithoutOpen);
            ClassifyDecision::record_alone(record)
        }
    }
}

fn routing_jobs(incident: &Incident, update: &Update, shards_per_job: u16) -> Vec<Value> {
    let job = |route| {
        let job = FollowUpJob::Route(RoutingJob {
            v: VERSION,
            correlation_id: update.correlation_id.clone(),
            incident_id: incident.id.clone(),
            update: update.number,
            route,
        });
        serde_json::to_value(job).unwrap_or_default()
    };
    match &incident.scope {
        Scope::Tenant(tenant) => vec![job(RoutingTarget::Tenant(tenant.clone()))],
        Scope::Platform => {
            let transition = shards_per_job.clamp(1, SHARDS);
            let firsts = (0..SHARDS).step_by(usize::from(transition));
            firsts
                .map(|first| {
                    let end = first.saturating_add(transition).min(SHARDS);
                    job(RoutingTarget::Shards { first, next: first, end, after: None })
                })
                .collect()
        }
    }
}

/// Returns a system event that warns the operators' own tenant about an unclassified event.
///
/// There is one warning per integration, reason and hour; further ones are repeats. Dedup key and severity never come from the sender, so
/// that one tenant's token cannot page the operators.
fn warn_operators(message: &IncidentReceived, reason: Reason, event: &Event) -> Vec<Value> {
    if message.is_system_event() {
        return Vec::new();
    }
    let operators = TenantId::operators();
    let hour = message.accepted_at.as_second() / 3_600;
    let mut labels = BTreeMap::new();
    labels.insert("reason".to_owned(), reason.as_str().to_owned());
    labels.insert("event_id".to_owned(), message.event_id.to_string());
    let note = Event {
        event_type: UNCLASSIFIED_TYPE.to_owned(),
        dedup_key: format!("{reason}:{}:{hour}", message.integration_id),
        severity: Severity::Warning,
        title: format!("An event of type {} was not routed to any tenant ({reason})", event.event_type),
        message: format!(
            "{} Source: {}. Title: {}. Event: {}. Further events of the same token within this hour are only shown in the list of incidents.",
            reason.sentence(),
            event.source,
            event.title,
            message.event_id
        ),
        tenant_ids: vec![operators.clone()],
        labels,
        ..Event::blank(Format::Native, SYSTEM_SOURCE)
    };
    let id = EventId::derived(&[message.event_id.as_str(), "operators"]);
    let received = IncidentReceived::system_event(&operators, note, id, &message.correlation_id, message.accepted_at);
    vec![serde_json::to_value(FollowUpJob::Receive(Box::new(received))).unwrap_or_default()]
}

fn rule_match_of_opening(incident: &Incident) -> RuleMatch {
    RuleMatch {
        category: incident.category,
        kind: incident.kind,
        rule: incident.rule.clone(),
        public: incident.public,
        public_sentence: incident.public_title.clone(),
        low_balance: incident.low_balance,
        warnings: Vec::new(),
    }
}

fn record(message: &IncidentReceived, scope: Option<&Scope>, classification: &str, event: &Event) -> EventRecord {
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

#[cfg(test)]
mod tests;
