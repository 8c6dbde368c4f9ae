//! What becomes of an event: pure, so that a redelivered or outraced event is decided anew.

use contracts::queue::{Body, IncidentReceived, Job, Note, Route, RoutingJob, VERSION};
use domain::classification::{Included, Verdict};
use domain::event::{Event, Format};
use domain::ids::{EventId, IntegrationId, SHARDS, Scope, TenantId};
use domain::incident::{
    Arrival, Incident, KeyState, Step, Update, advance, advance_by_note, advance_by_update, ended_before_it_began,
};
use domain::maintenance::{Window, explained};
use domain::policy::Policy;
use domain::reason::Reason;
use domain::storm::counted;
use domain::vocabulary::{Severity, Status};
use serde_json::Value;
use std::collections::BTreeMap;
use store::events::EventRecord;
use store::incidents::Seen;

/// The type of the notes to the operators; a rule of `classification.yaml` knows it.
pub(crate) const OPERATORS_TYPE: &str = "tocsin.unclassified";

/// What is to be written and emitted.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) record: EventRecord,
    pub(crate) head: Option<(Incident, u64)>,
    pub(crate) update: Option<Update>,
    pub(crate) key_before: Option<KeyState>,
    pub(crate) key_alone: Option<(String, KeyState)>,
    pub(crate) seen: Option<Seen>,
}

/// What is known already of an event's key, and of the work that may explain it.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) remembered: Option<KeyState>,
    pub(crate) open: Option<&'a Incident>,
    pub(crate) windows: &'a [Window],
}

/// An event whose scope is known.
pub(crate) fn event(
    policy: &Policy,
    event: &Event,
    message: &IncidentReceived,
    arrival: &Arrival<'_>,
    known: Known<'_>,
    shards_per_job: u16,
) -> Decided {
    let Known { remembered, open, windows } = known;
    let resolved = open.filter(|_| event.status == Some(Status::Resolved));
    let included = match (policy.classify(event), resolved) {
        (Verdict::Included(included), _) => included,
        // What resolves an open incident is told, whatever a rule says by then: a threshold crossed back, or a rule that was
        // edited, must not leave an alarm standing.
        (_, Some(incident)) => as_opened(incident),
        (Verdict::Excluded { rule }, None) => {
            let mut record = record(message, Some(arrival.scope), "excluded", event);
            record.rule = Some(rule);
            record.reason = Some(Reason::ExcludedByRule);
            return untold(record);
        }
        // Nobody knows what it is, so it is not shown to everybody either.
        (Verdict::Unclassified, None) if *arrival.scope == Scope::Platform => {
            return unplaced(message, Reason::Unclassified);
        }
        (Verdict::Unclassified, None) => {
            let mut record = record(message, Some(arrival.scope), "unclassified", event);
            record.reason = Some(Reason::Unclassified);
            record.jobs = note_to_operators(message, Reason::Unclassified, event);
            return untold(record);
        }
    };
    if *arrival.scope == Scope::Platform && !policy.may_be_platform_wide(&included) {
        // One tenant's configuration is nobody else's business.
        return unplaced(message, Reason::TenantMissing);
    }
    let mut record = record(message, Some(arrival.scope), "included", event);
    record.category = included.category;
    record.rule = Some(included.rule.clone());
    record.warnings.extend_from_slice(&included.warnings);
    let now = arrival.accepted_at;
    let step = explained(advance(remembered.as_ref(), open, event, &included, arrival), open, windows, now);
    let step = counted(step, remembered.as_ref(), &policy.storms.flapping, now);
    let alone = (step == Step::ResolveWithoutOpen).then(|| ended_before_it_began(event, remembered.as_ref(), arrival));
    let key_before = remembered.clone();
    let decided = stepped(record, step, open, remembered, shards_per_job, arrival);
    match alone.flatten() {
        Some(state) => Decided { key_alone: Some((arrival.key.to_owned(), state)), key_before, ..decided },
        None => decided,
    }
}

/// Somebody's words on an incident.
pub(crate) fn update(
    (incident, windows): (&Incident, &[Window]),
    status: Option<Status>,
    words: &str,
    message: &IncidentReceived,
    arrival: &Arrival<'_>,
    shards_per_job: u16,
) -> Decided {
    let record = record_on(Some(incident), &incident.title, message, arrival.scope);
    let step = advance_by_update(incident, status, words, arrival);
    let step = explained(step, Some(incident), windows, arrival.accepted_at);
    stepped(record, step, Some(incident), Some(key_of(incident)), shards_per_job, arrival)
}

/// A drop-in format's words on whatever is open under its key.
pub(crate) fn note(
    note: &Note,
    (open, windows): (Option<&Incident>, &[Window]),
    message: &IncidentReceived,
    arrival: &Arrival<'_>,
    shards_per_job: u16,
) -> Decided {
    // Its words are kept here even where nobody is told them.
    let title =
        if note.message.trim().is_empty() { open.map_or("", |incident| &incident.title) } else { &note.message };
    let record = record_on(open, title, message, arrival.scope);
    let step = advance_by_note(open, note.status, &note.message, note.tell, arrival);
    let step = explained(step, open, windows, arrival.accepted_at);
    stepped(record, step, open, open.map(key_of), shards_per_job, arrival)
}

/// The record of words on an incident, or on nothing.
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

fn key_of(incident: &Incident) -> KeyState {
    KeyState {
        incident_id: incident.id.clone(),
        open: incident.resolved_at.is_none(),
        source_started_at: incident.source_started_at,
        as_of: incident.as_of,
        closed_at: incident.resolved_at,
        openings: incident.openings,
    }
}

/// An event that nobody can place: stored, and the operators are told, once per reason, type and hour.
pub(crate) fn unplaced(message: &IncidentReceived, reason: Reason) -> Decided {
    let (event_type, title) = match &message.body {
        Body::Event(event) => (event.event_type.clone(), event.title.clone()),
        Body::Update { .. } => ("update".to_owned(), String::new()),
        Body::Note(_) => ("note".to_owned(), String::new()),
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
    if let Body::Event(event) = &message.body {
        record.jobs = note_to_operators(message, reason, event);
        record.warnings.clone_from(&event.warnings);
    }
    untold(record)
}

fn untold(record: EventRecord) -> Decided {
    let seen = Seen {
        at: record.accepted_at,
        incident_id: None,
        event: Some(EventRecord { jobs: Vec::new(), ..record.clone() }),
    };
    Decided { record, head: None, update: None, key_before: None, key_alone: None, seen: Some(seen) }
}

fn stepped(
    mut record: EventRecord,
    step: Step,
    open: Option<&Incident>,
    key_before: Option<KeyState>,
    shards_per_job: u16,
    arrival: &Arrival<'_>,
) -> Decided {
    let before = open.map_or(0, |incident| incident.version);
    match step {
        Step::Open(pair) | Step::Update(pair) => {
            let (incident, update) = *pair;
            record.incident_id = Some(incident.id.to_string());
            record.update = Some(update.number);
            record.jobs = routing(&incident, &update, shards_per_job);
            let seen = (before == 0).then(|| Seen {
                at: arrival.accepted_at,
                incident_id: Some(incident.id.clone()),
                event: None,
            });
            Decided { record, head: Some((incident, before)), update: Some(update), key_before, key_alone: None, seen }
        }
        Step::Repeat(incident) => {
            record.incident_id = Some(incident.id.to_string());
            record.reason = Some(Reason::Repeat);
            Decided { record, head: Some((*incident, before)), update: None, key_before, key_alone: None, seen: None }
        }
        Step::Stale => {
            record.reason = Some(Reason::Stale);
            Decided { record, head: None, update: None, key_before: None, key_alone: None, seen: None }
        }
        Step::ResolveWithoutOpen => {
            record.reason = Some(Reason::ResolveWithoutOpen);
            Decided { record, head: None, update: None, key_before: None, key_alone: None, seen: None }
        }
    }
}

fn routing(incident: &Incident, update: &Update, shards_per_job: u16) -> Vec<Value> {
    let job = |route| {
        let job = Job::Route(RoutingJob {
            v: VERSION,
            correlation_id: update.correlation_id.clone(),
            incident_id: incident.id.clone(),
            update: update.number,
            route,
        });
        serde_json::to_value(job).unwrap_or_default()
    };
    match &incident.scope {
        Scope::Tenant(tenant) => vec![job(Route::Tenant(tenant.clone()))],
        Scope::Platform => {
            let step = shards_per_job.clamp(1, SHARDS);
            let firsts = (0..SHARDS).step_by(usize::from(step));
            firsts
                .map(|first| {
                    let end = first.saturating_add(step).min(SHARDS);
                    job(Route::Shards { first, next: first, end, after: None })
                })
                .collect()
        }
    }
}

/// An event for the operators' own tenant about an event that nobody could place. It is one incident a type, reason and
/// hour: the key holds the hour, and everything after the first in that hour is a repeat.
fn note_to_operators(message: &IncidentReceived, reason: Reason, event: &Event) -> Vec<Value> {
    if event.event_type == OPERATORS_TYPE {
        return Vec::new();
    }
    let operators = TenantId::operators();
    let hour = message.accepted_at.as_second() / 3_600;
    let mut labels = BTreeMap::new();
    labels.insert("reason".to_owned(), reason.as_str().to_owned());
    labels.insert("event_id".to_owned(), message.event_id.to_string());
    let note = Event {
        event_type: OPERATORS_TYPE.to_owned(),
        dedup_key: format!("{reason}:{}:{hour}", event.event_type),
        severity: event.severity.max(Severity::Warning),
        title: format!("Nobody was told of an event of type {}: {reason}", event.event_type),
        message: format!(
            "{} Source: {}. Title: {}. Event: {}.",
            reason.sentence(),
            event.source,
            event.title,
            message.event_id
        ),
        tenant_ids: vec![operators.clone()],
        labels,
        ..Event::blank(Format::Native, "tocsin")
    }
    .capped();
    let received = IncidentReceived {
        v: VERSION,
        event_id: EventId::derived(&[message.event_id.as_str(), "operators"]),
        correlation_id: message.correlation_id.clone(),
        accepted_at: message.accepted_at,
        integration_id: IntegrationId::new("tocsin"),
        scope: Some(Scope::Tenant(operators)),
        trouble: None,
        body: Body::Event(Box::new(note)),
    };
    vec![serde_json::to_value(Job::Receive(Box::new(received))).unwrap_or_default()]
}

fn as_opened(incident: &Incident) -> Included {
    Included {
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
