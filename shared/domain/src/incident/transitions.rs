//! The state machine: what an event, an update, a note or a reminder does to an incident. All functions are pure, so a redelivered event
//! can be applied again with the same result.

use super::model::{Change, EventArrival, Incident, KeyState, LATE_SOURCE_AFTER, Transition, Update};
use super::public::{PublicText, REMINDER_TEXT, is_public, keep_if_empty, next_public_scope, public_text};
use crate::classification::RuleMatch;
use crate::event::{Event, Link, TEST_ALERT_TYPE};
use crate::ids::{EventId, IncidentId, IntegrationId, Scope, short_hash};
use crate::maintenance::{REMINDER_TYPE, next_schedule, requested_status};
use crate::policy::FlappingLimit;
use crate::storm::Openings;
use crate::vocabulary::{Kind, Phase, Severity, Status};
use jiff::{SignedDuration, Timestamp};
use serde_json::Map;
use std::collections::BTreeMap;

/// How much older than the latest event of its incident an event may be and still count. Events of one dedup key stay in order on their
/// queue, and clocks of two environments differ by far less, so an older event can only be a redriven dead letter.
const STALE_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// Most updates of one incident that its source's events add.
pub const UPDATES_MAX: u32 = 500;

/// What a new update says, apart from what stays as it was.
struct UpdateContent {
    change: Change,
    status: Status,
    severity: Severity,
    title: String,
    message: String,
}

/// Applies an event to the incident of its dedup key. `key` is what is remembered about that key, and `open` its open incident.
#[must_use]
pub fn apply_event(
    key: Option<&KeyState>,
    open: Option<&Incident>,
    event: &Event,
    rule: &RuleMatch,
    arrival: &EventArrival<'_>,
) -> Transition {
    match open {
        Some(incident) => apply_to_open(incident, event, rule, arrival),
        None if requested_status(event) == Some(Status::Resolved) => Transition::ResolveWithoutOpen,
        None if is_stale(key, event, arrival) => Transition::Stale,
        None => Transition::Open(Box::new(open_incident(event, rule, key, arrival))),
    }
}

fn apply_to_open(incident: &Incident, event: &Event, rule: &RuleMatch, arrival: &EventArrival<'_>) -> Transition {
    let is_overtaken = event.as_of.is_some() && event.as_of < incident.as_of;
    if is_overtaken || predates(arrival, Some(incident.last_seen)) {
        return Transition::Stale;
    }
    let status = next_status(incident.status, requested_status(event));
    // Sources seldom repeat what was broken when they resolve it, so a resolve changes nothing but the status.
    let (severity, components, regions) = if status == Status::Resolved {
        (incident.severity, incident.components.clone(), incident.regions.clone())
    } else {
        let components = keep_if_empty(&incident.components, &event.components);
        (event.severity, components, keep_if_empty(&incident.regions, &event.regions))
    };
    let change = if status == Status::Resolved {
        Change::Resolved
    } else if severity > incident.severity {
        Change::SeverityRaised
    } else if status != incident.status {
        Change::StatusChanged
    } else if severity < incident.severity {
        Change::SeverityLowered
    } else if !same_set(&components, &incident.components) || !same_set(&regions, &incident.regions) {
        Change::ScopeChanged
    } else if changes_schedule(incident, event) {
        Change::Rescheduled
    } else if incident.maintenance.is_some() && event.event_type == REMINDER_TYPE {
        Change::Reminded
    } else {
        let mut repeated = record_repeat(incident, event.as_of, arrival);
        if !event.key_details.is_empty() {
            repeated.key_details.clone_from(&event.key_details);
        }
        repeated.shown = next_public_scope(incident, event, &repeated);
        return Transition::Repeat(Box::new(repeated));
    };
    let (title, message) = (event.title.clone(), event.message.clone());
    let content = UpdateContent { change, status, severity, title, message };
    let (mut next, mut update) = build_update(incident, content, arrival);
    next.components.clone_from(&components);
    next.regions.clone_from(&regions);
    next.shown = next_public_scope(incident, event, &next);
    if next.kind == Kind::OptIn && next.user_id.is_none() {
        // Release 0.1.0 opened it, which knew no users.
        next.user_id = event.user().map(str::to_owned);
    }
    next.as_of = incident.as_of.max(event.as_of);
    if !event.message.trim().is_empty() {
        next.source_text_hash = Some(hash_text(&event.message));
    }
    next.maintenance =
        next_schedule(incident.kind, incident.maintenance.as_ref(), status, Some(event), arrival.accepted_at);
    update.components = components;
    update.regions = regions;
    if next.public && event.public != Some(false) {
        update.public_message = public_text(event, rule).message;
    }
    if !event.key_details.is_empty() {
        next.key_details.clone_from(&event.key_details);
        update.key_details.clone_from(&event.key_details);
    }
    copy_event_fields(&mut update, event);
    Transition::Update(Box::new((next, update)))
}

/// Builds the incident that an event would open at `now` if none were open. For dry runs and explanations.
#[must_use]
pub fn simulate_opening(event: &Event, rule: &RuleMatch, scope: &Scope, now: Timestamp) -> (Incident, Update) {
    let (event_id, integration_id) = (EventId::new("imagined"), IntegrationId::new("imagined"));
    let arrival = EventArrival {
        event_id: &event_id,
        scope,
        key: "",
        integration_id: &integration_id,
        correlation_id: "",
        accepted_at: now,
    };
    open_incident(&Event { status: None, ..event.clone() }, rule, None, &arrival)
}

/// Applies an operator's update: a new status, a message, or both (`POST /v1/incidents/{id}/updates`). A message alone notifies.
///
/// `None` keeps the status. Stale is an update of a resolved incident, and one that comes long after a newer one.
#[must_use]
pub fn apply_update(
    incident: &Incident,
    status: Option<Status>,
    message: &str,
    arrival: &EventArrival<'_>,
) -> Transition {
    if incident.status == Status::Resolved || predates(arrival, incident.changed_at) {
        return Transition::Stale;
    }
    let status = next_status(incident.status, status);
    let change = if status == Status::Resolved {
        Change::Resolved
    } else if status != incident.status {
        Change::StatusChanged
    } else {
        Change::TextAdded
    };
    let (title, message) = (incident.title.clone(), message.to_owned());
    let content = UpdateContent { change, status, severity: incident.severity, title, message };
    let (next, mut update) = build_update(incident, content, arrival);
    if next.public {
        update.public_message.clone_from(&update.message);
    }
    Transition::Update(Box::new((next, update)))
}

/// The content of a note from a drop-in format.
#[derive(Clone, Copy, Debug)]
pub struct NoteContent<'a> {
    /// The status that the note sets; `None` keeps it.
    pub status: Option<Status>,
    /// The title that the note sets; `None` keeps it. A new title alone notifies nobody.
    pub title: Option<&'a str>,
    /// The severity that the note sets; `None` keeps it.
    pub severity: Option<Severity>,
    /// The text of the note; may be empty.
    pub message: &'a str,
    /// Whether the text alone notifies recipients.
    pub notify: bool,
    /// Whether it notifies them only if it is another text than the latest one.
    pub only_if_new: bool,
}

/// Applies a note of a drop-in format to the open incident of its dedup key.
///
/// A note never opens an incident and never moves its status backward. It notifies only of a new status or severity, or of a text with
/// `notify`; its text is never published, because people who type into a monitor do not write for the public. A note from before the incident's
/// latest change is stale: it may have been about an earlier incident of the key.
#[must_use]
pub fn apply_note(open: Option<&Incident>, note: NoteContent<'_>, arrival: &EventArrival<'_>) -> Transition {
    let Some(incident) = open else { return Transition::ResolveWithoutOpen };
    if predates(arrival, incident.changed_at) {
        return Transition::Stale;
    }
    let title = note.title.unwrap_or(&incident.title).to_owned();
    let status = note.status.filter(|status| *status > incident.status).unwrap_or(incident.status);
    let severity = note.severity.unwrap_or(incident.severity);
    let is_known_text = note.only_if_new && incident.source_text_hash == Some(hash_text(note.message));
    let is_new_text = !is_known_text && !note.message.trim().is_empty();
    let change = if status == Status::Resolved {
        Change::Resolved
    } else if severity > incident.severity {
        Change::SeverityRaised
    } else if status != incident.status {
        Change::StatusChanged
    } else if severity < incident.severity {
        Change::SeverityLowered
    } else if note.notify && is_new_text {
        Change::TextAdded
    } else {
        return Transition::Repeat(Box::new(Incident { title, ..record_repeat(incident, None, arrival) }));
    };
    let content = UpdateContent { change, status, severity, title, message: note.message.to_owned() };
    let (mut next, update) = build_update(incident, content, arrival);
    if note.only_if_new {
        next.source_text_hash = Some(hash_text(note.message));
    }
    Transition::Update(Box::new((next, update)))
}

/// The hash by which a repeated text is recognized.
fn hash_text(text: &str) -> String {
    short_hash(&[text.trim()])
}

/// The update that a maintenance reminder repeats.
#[derive(Clone, Copy, Debug)]
pub struct ReminderContent<'a> {
    /// The number of the latest update when the reminder was scheduled.
    pub update_number: u32,
    /// That update; `None` if it is no longer stored.
    pub update: Option<&'a Update>,
}

/// Applies a maintenance reminder: an update with the text and links of the one that it repeats.
///
/// The reminder is stale if there is a newer update, or if the maintenance has started, should have started, or is over.
#[must_use]
pub fn apply_reminder(
    incident: &Incident,
    reminder: ReminderContent<'_>,
    arrival: &EventArrival<'_>,
    now: Timestamp,
) -> Transition {
    let is_ahead =
        incident.maintenance.is_some_and(|schedule| schedule.phase == Phase::Scheduled && now < schedule.from);
    if !is_ahead || incident.resolved_at.is_some() || incident.updates != reminder.update_number {
        return Transition::Stale;
    }
    let (message, links): (String, Vec<Link>) = match reminder.update {
        Some(update) => (update.message.clone(), update.links.clone()),
        None => (String::new(), Vec::new()),
    };
    let content = UpdateContent {
        change: Change::Reminded,
        status: incident.status,
        severity: incident.severity,
        title: incident.title.clone(),
        message,
    };
    let (next, mut update) = build_update(incident, content, arrival);
    update.links = links;
    if next.public {
        REMINDER_TEXT.clone_into(&mut update.public_message);
    }
    Transition::Update(Box::new((next, update)))
}

/// Returns the incident after an event that changes nothing.
fn record_repeat(incident: &Incident, as_of: Option<Timestamp>, arrival: &EventArrival<'_>) -> Incident {
    let mut repeated = incident.clone();
    repeated.as_of = incident.as_of.max(as_of);
    repeated.repeats += 1;
    repeated.version += 1;
    repeated.last_seen = arrival.accepted_at.max(incident.last_seen);
    repeated
}

/// Whether an event changes the start of a scheduled maintenance, or the end of any.
fn changes_schedule(incident: &Incident, event: &Event) -> bool {
    incident.maintenance.is_some_and(|schedule| {
        event.starts_at.is_some_and(|from| from != schedule.from && schedule.phase == Phase::Scheduled)
            || event.ends_at.is_some_and(|until| Some(until) != schedule.until)
    })
}

/// Returns the status after an event requested one. A status moves forward, in jumps too. The only move backward is from monitoring
/// to identified.
#[must_use]
pub fn next_status(current: Status, requested: Option<Status>) -> Status {
    match requested {
        Some(requested) if requested > current => requested,
        Some(Status::Identified) if current == Status::Monitoring => Status::Identified,
        _ => current,
    }
}

/// Turns an update of an incident that has very many into a repeat: a monitor that changes its mind every minute must not make an incident
/// that nobody can read. A resolve and a rise to critical always pass, as do the words of people. `before` is the incident before the event.
#[must_use]
pub fn limit_updates(
    transition: Transition,
    before: Option<&Incident>,
    as_of: Option<Timestamp>,
    arrival: &EventArrival<'_>,
) -> Transition {
    let full = before.filter(|incident| incident.updates >= UPDATES_MAX);
    match (transition, full) {
        (Transition::Update(pair), Some(incident))
            if pair.1.change != Change::Resolved
                && !(pair.1.change == Change::SeverityRaised && pair.1.severity == Severity::Critical) =>
        {
            Transition::Repeat(Box::new(record_repeat(incident, as_of, arrival)))
        }
        (other, _) => other,
    }
}

/// Adds the recent openings of the dedup key to the incident that a transition opens; returns other transitions unchanged.
#[must_use]
pub fn record_opening(
    transition: Transition,
    key: Option<&KeyState>,
    flapping: &FlappingLimit,
    now: Timestamp,
) -> Transition {
    match transition {
        Transition::Open(mut pair) => {
            pair.0.openings = Some(Openings::count_opening(key.and_then(|key| key.openings), flapping, now));
            Transition::Open(pair)
        }
        other => other,
    }
}

/// Returns the id of the incident that an event opens for a scope. `before` is the latest incident of its dedup key.
///
/// A source may send the same event again when its state has come back, so the id also says which opening of the key it is.
#[must_use]
pub fn opened_incident_id(event: &EventId, scope: &Scope, before: Option<&IncidentId>) -> IncidentId {
    let scope = scope.tenant().map_or("P", |tenant| tenant.as_str());
    IncidentId::derived(&[event.as_str(), scope, before.map_or("", IncidentId::as_str)])
}

/// Builds the incident that an event opens. `key` is what is remembered about its dedup key.
fn open_incident(
    event: &Event,
    rule: &RuleMatch,
    key: Option<&KeyState>,
    arrival: &EventArrival<'_>,
) -> (Incident, Update) {
    let accepted_at = arrival.accepted_at;
    let public = is_public(event, rule, arrival.scope);
    let text = if public { public_text(event, rule) } else { PublicText::default() };
    let status = requested_status(event).unwrap_or(Status::Investigating);
    let incident = Incident {
        id: opened_incident_id(arrival.event_id, arrival.scope, key.map(|key| &key.incident_id)),
        scope: arrival.scope.clone(),
        key: arrival.key.to_owned(),
        integration_id: arrival.integration_id.clone(),
        source: event.source.clone(),
        event_type: event.event_type.clone(),
        dedup_key: event.dedup_key.clone(),
        category: rule.category,
        kind: rule.kind,
        rule: rule.rule.clone(),
        advice: rule.advice.clone(),
        low_balance: rule.low_balance,
        user_id: event.user().filter(|_| rule.kind == Kind::OptIn).map(str::to_owned),
        severity: event.severity,
        status,
        critical_since: (event.severity == Severity::Critical).then_some(1),
        title: event.title.clone(),
        opened_title: event.title.clone(),
        components: event.components.clone(),
        regions: event.regions.clone(),
        key_details: event.key_details.clone(),
        public,
        shown: None,
        public_title: text.title,
        opened_at: Some(accepted_at),
        started_at: event.starts_at.unwrap_or(accepted_at),
        as_of: event.as_of,
        changed_at: Some(accepted_at),
        last_seen: accepted_at,
        resolved_at: None,
        maintenance: next_schedule(rule.kind, None, status, Some(event), accepted_at),
        covered: None,
        openings: None,
        source_text_hash: Some(hash_text(&event.message)),
        closed_by_key_alone: event.format.closes_by_key_alone(),
        updates: 1,
        repeats: 0,
        test: event.event_type == TEST_ALERT_TYPE,
        test_of: event.test_of.clone(),
        version: 1,
    };
    let content = UpdateContent {
        change: Change::Opened,
        status,
        severity: event.severity,
        title: event.title.clone(),
        message: event.message.clone(),
    };
    let mut update = new_update(&incident, content, arrival);
    update.late_source = late_source(event, rule.kind, accepted_at);
    update.public_message = text.message;
    copy_event_fields(&mut update, event);
    (incident, update)
}

/// Returns when the incident started, if its source reported it late. Maintenance is never late: it lies in the future, or is no surprise.
fn late_source(event: &Event, kind: Kind, accepted_at: Timestamp) -> Option<Timestamp> {
    let started = event.starts_at?;
    let is_late = accepted_at.duration_since(started) > LATE_SOURCE_AFTER && kind != Kind::Maintenance;
    is_late.then_some(started)
}

/// Returns the incident after an update, and the update.
fn build_update(incident: &Incident, content: UpdateContent, arrival: &EventArrival<'_>) -> (Incident, Update) {
    let mut next = incident.clone();
    next.version += 1;
    next.updates += 1;
    next.status = content.status;
    next.severity = content.severity;
    if next.critical_since.is_none() && content.severity == Severity::Critical {
        next.critical_since = Some(next.updates);
    }
    next.title.clone_from(&content.title);
    next.last_seen = arrival.accepted_at.max(incident.last_seen);
    next.changed_at = incident.changed_at.max(Some(arrival.accepted_at));
    if content.status == Status::Resolved {
        next.resolved_at = Some(arrival.accepted_at);
    }
    next.maintenance =
        next_schedule(incident.kind, incident.maintenance.as_ref(), content.status, None, arrival.accepted_at);
    let mut update = new_update(&next, content, arrival);
    update.worst_before = Some(incident.severity);
    (next, update)
}

/// Returns the latest update of `incident` with this content, and without public text or data of an event.
fn new_update(incident: &Incident, content: UpdateContent, arrival: &EventArrival<'_>) -> Update {
    Update {
        number: incident.updates,
        event_id: arrival.event_id.clone(),
        correlation_id: arrival.correlation_id.to_owned(),
        accepted_at: arrival.accepted_at,
        late_source: None,
        change: content.change,
        status: content.status,
        severity: content.severity,
        worst_before: None,
        title: content.title,
        message: content.message,
        components: incident.components.clone(),
        regions: incident.regions.clone(),
        public_message: String::new(),
        links: Vec::new(),
        key_details: incident.key_details.clone(),
        measurements: BTreeMap::new(),
        labels: BTreeMap::new(),
        details: Map::new(),
        cut: Vec::new(),
    }
}

fn copy_event_fields(update: &mut Update, event: &Event) {
    update.links.clone_from(&event.links);
    update.measurements.clone_from(&event.measurements);
    update.labels.clone_from(&event.labels);
    update.details.clone_from(&event.details);
    update.cut.clone_from(&event.cut);
}

/// Whether an event that would open an incident belongs to one that is closed already.
///
/// That it gives the same beginning says nothing: a monitor that was cut off for some minutes reports the same alert with the same beginning.
fn is_stale(key: Option<&KeyState>, event: &Event, arrival: &EventArrival<'_>) -> bool {
    let Some(key) = key.filter(|key| !key.open) else { return false };
    let is_overtaken = event.as_of.is_some() && event.as_of <= key.as_of;
    is_overtaken || predates(arrival, key.closed_at)
}

/// Whether an event was accepted more than [`STALE_AFTER`] before `then`.
fn predates(arrival: &EventArrival<'_>, then: Option<Timestamp>) -> bool {
    then.is_some_and(|then| arrival.accepted_at.saturating_add(STALE_AFTER).is_ok_and(|late| late < then))
}

/// Returns what a dedup key remembers of a resolve that overtook its opening, so that the opening is stale when it arrives. `None` if the
/// source does not say when it observed the change, or if something newer is known.
#[must_use]
pub fn record_early_resolve(event: &Event, key: Option<&KeyState>, arrival: &EventArrival<'_>) -> Option<KeyState> {
    let as_of = event.as_of.filter(|_| event.status == Some(Status::Resolved))?;
    let is_newer = key.is_none_or(|key| !key.open && key.as_of < Some(as_of));
    is_newer.then(|| KeyState {
        incident_id: IncidentId::derived(&[arrival.event_id.as_str(), "never"]),
        open: false,
        as_of: Some(as_of),
        closed_at: Some(arrival.accepted_at),
        openings: key.and_then(|key| key.openings),
    })
}

fn same_set(left: &[String], right: &[String]) -> bool {
    left.iter().all(|entry| right.contains(entry)) && right.iter().all(|entry| left.contains(entry))
}
