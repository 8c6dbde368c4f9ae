//! Decides what an event, update, note or reminder does. Pure, so that a redelivered event or a lost race is decided again.

mod jobs;
mod records;

use contracts::queue::{IncidentReceived, MessageBody, Note};
use domain::classification::{Classification, RuleMatch};
use domain::event::{Event, is_reserved_type};
use domain::event_record::{EventRecord, EventRecordWrite, IncidentListEntry};
use domain::ids::{IncidentId, Scope};
use domain::incident::{
    EventArrival, Incident, KeyState, NoteContent, ReminderContent, Transition, Update, apply_event,
    apply_maintenance_windows, apply_note, apply_reminder, apply_update, limit_updates, record_early_resolve,
    record_opening, suppression_records,
};
use domain::maintenance::{MaintenanceWindow, REMINDER_TYPE, Reminder, SuppressedIncident};
use domain::policy::Policy;
use domain::reason::Reason;
use domain::vocabulary::{Kind, Status};
use jiff::{SignedDuration, Timestamp};
use jobs::{operators_warning, routing_jobs};
use records::{event_record, incident_record};

/// The warning on an event whose source uses a reserved type.
const RESERVED_TYPE_WARNING: &str = "type: test.alert and tocsin.… are reserved for Tocsin; use a type of your own";

/// What classify writes in its transaction. The record holds the routing jobs that it emits afterwards.
#[derive(Debug)]
pub struct ClassifyDecision {
    /// The event's record.
    pub record: EventRecord,
    /// How the record is written.
    pub record_write: EventRecordWrite,
    /// The incident's new head, and the version that it replaces (0 for a new incident).
    pub head: Option<(Incident, u64)>,
    /// The update that the event added to the incident.
    pub update: Option<Update>,
    /// Entries of this incident for each maintenance that suppresses it, or did.
    pub suppressed: Vec<(IncidentId, SuppressedIncident)>,
    /// The dedup key's state that the decision is based on.
    pub previous_key_state: Option<KeyState>,
    /// Hash and state of a dedup key whose resolve arrived before its opening.
    pub early_resolve: Option<(String, KeyState)>,
    /// The entry in the tenant's incident list, if there is none yet.
    pub list_entry: Option<IncidentListEntry>,
}

impl ClassifyDecision {
    /// A decision that stores the event record and changes no incident.
    fn record_alone(record: EventRecord) -> Self {
        Self {
            record,
            record_write: EventRecordWrite::New,
            head: None,
            update: None,
            suppressed: Vec::new(),
            previous_key_state: None,
            early_resolve: None,
            list_entry: None,
        }
    }
}

/// The stored state of an event's dedup key, and the maintenance windows that may suppress its incident.
#[derive(Debug)]
pub(crate) struct KeyContext<'a> {
    pub(crate) key_state: Option<KeyState>,
    pub(crate) open: Option<&'a Incident>,
    pub(crate) windows: &'a [MaintenanceWindow],
}

/// Which maintenance windows there are, and how long they may keep an incident silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowRules<'a> {
    pub(crate) windows: &'a [MaintenanceWindow],
    pub(crate) covered_max: SignedDuration,
}

/// Decides about an event with a known scope: classifies it and applies the incident's state machine.
pub(crate) fn decide_event(
    policy: &Policy,
    event: &Event,
    message: &IncidentReceived,
    arrival: &EventArrival<'_>,
    context: KeyContext<'_>,
    shards_per_job: u16,
) -> ClassifyDecision {
    let KeyContext { key_state, open, windows } = context;
    let resolved_incident = open.filter(|_| event.status == Some(Status::Resolved));
    // Intake refuses native events of a reserved type. A drop-in event of such a type is kept as unclassified.
    let misuses_reserved_type = is_reserved_type(&event.event_type) && !message.is_system_event();
    let classification = if misuses_reserved_type { Classification::Unclassified } else { policy.classify(event) };
    let included = match (classification, resolved_incident) {
        (Classification::Included(included), _) => included,
        // A resolve of an open incident always counts, even if the rules no longer match: after a threshold was crossed back or a rule
        // was edited, the incident must not stay open.
        (_, Some(incident)) => rule_match_of_opening(incident),
        (Classification::Excluded { rule }, None) => {
            let mut record = event_record(message, Some(arrival.scope), "excluded", event);
            record.rule = Some(rule);
            record.reason = Some(Reason::ExcludedByRule);
            return list_without_incident(record);
        }
        // An unclassified platform-wide event must not reach every tenant.
        (Classification::Unclassified, None) if *arrival.scope == Scope::Platform => {
            return decide_unroutable(message, Reason::Unclassified);
        }
        (Classification::Unclassified, None) => {
            let mut record = event_record(message, Some(arrival.scope), "unclassified", event);
            record.reason = Some(Reason::Unclassified);
            if misuses_reserved_type {
                record.warnings.push(RESERVED_TYPE_WARNING.to_owned());
            }
            record.jobs = operators_warning(message, Reason::Unclassified, event);
            return list_without_incident(record);
        }
    };
    if *arrival.scope == Scope::Platform && !policy.allows_platform_wide(&included) {
        // Events about one tenant's configuration must not reach other tenants.
        return decide_unroutable(message, Reason::TenantMissing);
    }
    if let Some(reason) = user_problem(event, &included, open) {
        let mut record = event_record(message, Some(arrival.scope), "included", event);
        record.rule = Some(included.rule);
        record.reason = Some(reason);
        return list_without_incident(record);
    }
    let mut record = event_record(message, Some(arrival.scope), "included", event);
    record.category = included.category;
    record.rule = Some(included.rule.clone());
    record.warnings.extend_from_slice(&included.warnings);
    record.warnings.extend(policy.catalogue.unknown_name_warnings(&event.components, &event.regions));
    let now = arrival.accepted_at;
    let cut = cut_window(event, open, policy, now);
    record.warnings.extend(cut.is_some().then(|| {
        format!("ends_at: a maintenance has at most {} days; its window was cut", policy.maintenance.window_days_max)
    }));
    let event = cut.as_ref().unwrap_or(event);
    let transition = apply_event(key_state.as_ref(), open, event, &included, arrival);
    let transition = limit_updates(transition, open, event.as_of, arrival);
    let transition = apply_maintenance_windows(transition, open, windows, policy.maintenance.covered_max(), now);
    let transition = record_opening(transition, key_state.as_ref(), &policy.storms.flapping, now);
    let early_resolve = match transition {
        Transition::ResolveWithoutOpen => record_early_resolve(event, key_state.as_ref(), arrival),
        _ => None,
    };
    let previous_key_state = key_state.clone();
    let decision = apply_transition(record, transition, open, key_state, shards_per_job, arrival);
    match early_resolve {
        Some(state) => {
            let early_resolve = Some((arrival.key.to_owned(), state));
            ClassifyDecision { early_resolve, previous_key_state, ..decision }
        }
        None => decision,
    }
}

/// Returns the event with the latest end that a maintenance may have, if its own is later.
fn cut_window(event: &Event, open: Option<&Incident>, policy: &Policy, now: Timestamp) -> Option<Event> {
    let announced = open.and_then(|incident| incident.maintenance).map(|schedule| schedule.from);
    let last_end = policy.maintenance.last_end(event.starts_at.or(announced).unwrap_or(now));
    event.ends_at.filter(|end| *end > last_end).map(|_| Event { ends_at: Some(last_end), ..event.clone() })
}

/// Decides about an operator's update on an incident: new status, message, or both.
pub(crate) fn decide_update(
    incident: &Incident,
    suppression: WindowRules<'_>,
    status: Option<Status>,
    text: &str,
    message: &IncidentReceived,
    arrival: &EventArrival<'_>,
    shards_per_job: u16,
) -> ClassifyDecision {
    let record = incident_record(Some(incident), &incident.title, message, arrival.scope);
    let transition = apply_update(incident, status, text, arrival);
    let WindowRules { windows, covered_max } = suppression;
    let now = arrival.accepted_at;
    let transition = apply_maintenance_windows(transition, Some(incident), windows, covered_max, now);
    apply_transition(record, transition, Some(incident), Some(KeyState::of(incident)), shards_per_job, arrival)
}

/// Decides about a due maintenance reminder. `content` is the update that the reminder was scheduled with.
pub(crate) fn decide_reminder(
    incident: &Incident,
    content: ReminderContent<'_>,
    message: &IncidentReceived,
    arrival: &EventArrival<'_>,
    now: Timestamp,
    shards_per_job: u16,
) -> ClassifyDecision {
    let mut record = incident_record(Some(incident), &incident.title, message, arrival.scope);
    let has_newer_update = incident.updates > content.update_number;
    match apply_reminder(incident, content, arrival, now) {
        Transition::Stale => {
            record.reason = Some(if has_newer_update { Reason::SupersededBy } else { Reason::Expired });
            ClassifyDecision::record_alone(record)
        }
        transition => {
            apply_transition(record, transition, Some(incident), Some(KeyState::of(incident)), shards_per_job, arrival)
        }
    }
}

/// Decides about a reminder whose maintenance has expired from the table.
pub(crate) fn decide_expired_reminder(message: &IncidentReceived, reminder: &Reminder) -> ClassifyDecision {
    let mut record = incident_record(None, "", message, &reminder.scope);
    record.reason = Some(Reason::Expired);
    ClassifyDecision::record_alone(record)
}

/// Decides about a drop-in note (acknowledge, close, comment) on the open incident of its dedup key.
pub(crate) fn decide_note(
    note: &Note,
    open: Option<&Incident>,
    suppression: WindowRules<'_>,
    message: &IncidentReceived,
    arrival: &EventArrival<'_>,
    shards_per_job: u16,
) -> ClassifyDecision {
    // The record keeps the message even if nobody is notified of it.
    let title =
        if note.message.trim().is_empty() { open.map_or("", |incident| &incident.title) } else { &note.message };
    let record = incident_record(open, title, message, arrival.scope);
    let content = NoteContent {
        status: note.status,
        title: note.title.as_deref(),
        severity: note.severity,
        message: &note.message,
        notify: note.notify,
        only_if_new: note.only_if_new,
    };
    let transition = apply_note(open, content, arrival);
    let WindowRules { windows, covered_max } = suppression;
    let now = arrival.accepted_at;
    let transition = apply_maintenance_windows(transition, open, windows, covered_max, now);
    apply_transition(record, transition, open, open.map(KeyState::of), shards_per_job, arrival)
}

/// Returns why nobody can be notified of a user-level warning: it opens one and names no user, or continues that of another user.
fn user_problem(event: &Event, rule: &RuleMatch, open: Option<&Incident>) -> Option<Reason> {
    if rule.kind != Kind::OptIn || event.status == Some(Status::Resolved) {
        return None;
    }
    match (open, event.user()) {
        (None, None) => Some(Reason::UserMissing),
        (Some(incident), Some(user)) => {
            incident.user_id.as_deref().is_some_and(|of| of != user).then_some(Reason::UserDiffers)
        }
        _ => None,
    }
}

/// Decides about an event that cannot be routed to a tenant: it is stored, and the operators are warned.
///
/// They get one warning per reason, integration and hour.
pub(crate) fn decide_unroutable(message: &IncidentReceived, reason: Reason) -> ClassifyDecision {
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
        record.jobs = operators_warning(message, reason, event);
        record.warnings.clone_from(&event.warnings);
    }
    list_without_incident(record)
}

/// Stores the record in the tenant's incident list, as an event without an incident.
fn list_without_incident(record: EventRecord) -> ClassifyDecision {
    let list_entry = IncidentListEntry {
        at: record.accepted_at,
        incident_id: None,
        event: Some(EventRecord { jobs: Vec::new(), ..record.clone() }),
    };
    ClassifyDecision { list_entry: Some(list_entry), ..ClassifyDecision::record_alone(record) }
}

/// Builds the decision of a transition. `open` is the incident before it; `None` if there was none.
fn apply_transition(
    mut record: EventRecord,
    transition: Transition,
    open: Option<&Incident>,
    previous_key_state: Option<KeyState>,
    shards_per_job: u16,
    arrival: &EventArrival<'_>,
) -> ClassifyDecision {
    let replaced_version = open.map_or(0, |incident| incident.version);
    match transition {
        Transition::Open(pair) | Transition::Update(pair) => {
            let (incident, update) = *pair;
            record.incident_id = Some(incident.id.to_string());
            record.update = Some(update.number);
            record.jobs = routing_jobs(&incident, &update, shards_per_job);
            let list_entry = (replaced_version == 0).then(|| IncidentListEntry {
                at: arrival.accepted_at,
                incident_id: Some(incident.id.clone()),
                event: None,
            });
            let suppressed = suppression_records(&incident, open);
            let (head, update) = (Some((incident, replaced_version)), Some(update));
            ClassifyDecision {
                head,
                update,
                suppressed,
                previous_key_state,
                list_entry,
                ..ClassifyDecision::record_alone(record)
            }
        }
        Transition::Repeat(incident) => {
            record.incident_id = Some(incident.id.to_string());
            record.reason = Some(Reason::Repeat);
            let head = Some((*incident, replaced_version));
            ClassifyDecision { head, previous_key_state, ..ClassifyDecision::record_alone(record) }
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

/// Returns the rule match with which an incident was opened.
fn rule_match_of_opening(incident: &Incident) -> RuleMatch {
    RuleMatch {
        category: incident.category,
        kind: incident.kind,
        rule: incident.rule.clone(),
        public: incident.public,
        public_sentence: incident.public_title.clone(),
        advice: incident.advice.clone(),
        low_balance: incident.low_balance,
        warnings: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
