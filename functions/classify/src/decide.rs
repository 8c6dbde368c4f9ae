//! What becomes of an event: pure, so that a redelivered or outraced event is decided anew.

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

/// The type of the notes to the operators; a rule of `classification.yaml` knows it.
const OPERATORS_TYPE: &str = "tocsin.unclassified";
/// What is wrong with an event whose source says a type of ours.
const OWN_TYPE: &str = "type: test.alert and tocsin.… are Tocsin's own; name it by a type of yours";

/// What is to be written and emitted.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) record: EventRecord,
    pub(crate) head: Option<(Incident, u64)>,
    pub(crate) update: Option<Update>,
    pub(crate) explained: Vec<(IncidentId, SuppressedIncident)>,
    pub(crate) key_before: Option<KeyState>,
    pub(crate) key_alone: Option<(String, KeyState)>,
    pub(crate) seen: Option<IncidentListEntry>,
}

impl Decided {
    /// A record, and nothing that changes.
    fn only(record: EventRecord) -> Self {
        Self { record, head: None, update: None, explained: Vec::new(), key_before: None, key_alone: None, seen: None }
    }
}

/// What is known already of an event's key, and of the work that may explain it.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) remembered: Option<KeyState>,
    pub(crate) open: Option<&'a Incident>,
    pub(crate) windows: &'a [MaintenanceWindow],
}

/// An event whose scope is known.
pub(crate) fn event(
    policy: &Policy,
    event: &Event,
    message: &IncidentReceived,
    arrival: &EventArrival<'_>,
    known: Known<'_>,
    shards_per_job: u16,
) -> Decided {
    let Known { remembered, open, windows } = known;
    let resolved = open.filter(|_| event.status == Some(Status::Resolved));
    // Intake refuses a native event of such a type; a drop-in one is kept, as one that nobody knows.
    let foreign = is_reserved_type(&event.event_type) && !message.is_system_event();
    let verdict = if foreign { Classification::Unclassified } else { policy.classify(event) };
    let included = match (verdict, resolved) {
        (Classification::Included(included), _) => included,
        // What resolves an open incident is told, whatever a rule says by then: a threshold crossed back, or a rule that was
        // edited, must not leave an alarm standing.
        (_, Some(incident)) => as_opened(incident),
        (Classification::Excluded { rule }, None) => {
            let mut record = record(message, Some(arrival.scope), "excluded", event);
            record.rule = Some(rule);
            record.reason = Some(Reason::ExcludedByRule);
            return untold(record);
        }
        // Nobody knows what it is, so it is not shown to everybody either.
        (Classification::Unclassified, None) if *arrival.scope == Scope::Platform => {
            return unplaced(message, Reason::Unclassified);
        }
        (Classification::Unclassified, None) => {
            let mut record = record(message, Some(arrival.scope), "unclassified", event);
            record.reason = Some(Reason::Unclassified);
            record.warnings.extend(foreign.then(|| OWN_TYPE.to_owned()));
            record.jobs = note_to_operators(message, Reason::Unclassified, event);
            return untold(record);
        }
    };
    if *arrival.scope == Scope::Platform && !policy.allows_platform_wide(&included) {
        // One tenant's configuration is nobody else's business.
        return unplaced(message, Reason::TenantMissing);
    }
    let mut record = record(message, Some(arrival.scope), "included", event);
    record.category = included.category;
    record.rule = Some(included.rule.clone());
    record.warnings.extend_from_slice(&included.warnings);
    record.warnings.extend(policy.catalogue.unknown_name_warnings(&event.components, &event.regions));
    let now = arrival.accepted_at;
    let step = apply_maintenance_windows(
        apply_event(remembered.as_ref(), open, event, &included, arrival),
        open,
        windows,
        now,
    );
    let step = record_opening(step, remembered.as_ref(), &policy.storms.flapping, now);
    let alone =
        (step == Transition::ResolveWithoutOpen).then(|| record_early_resolve(event, remembered.as_ref(), arrival));
    let key_before = remembered.clone();
    let decided = stepped(record, step, open, remembered, shards_per_job, arrival);
    match alone.flatten() {
        Some(state) => Decided { key_alone: Some((arrival.key.to_owned(), state)), key_before, ..decided },
        None => decided,
    }
}

/// Somebody's words on an incident.
pub(crate) fn update(
    (incident, windows): (&Incident, &[MaintenanceWindow]),
    status: Option<Status>,
    words: &str,
    message: &IncidentReceived,
    arrival: &EventArrival<'_>,
    shards_per_job: u16,
) -> Decided {
    let record = record_on(Some(incident), &incident.title, message, arrival.scope);
    let step = apply_update(incident, status, words, arrival);
    let step = apply_maintenance_windows(step, Some(incident), windows, arrival.accepted_at);
    stepped(record, step, Some(incident), Some(key_of(incident)), shards_per_job, arrival)
}

/// It is time to remind of announced work: of the number of its newest update by then, and what that said.
pub(crate) fn reminder(
    incident: &Incident,
    (spoken, said): (u32, Option<&Update>),
    message: &IncidentReceived,
    arrival: &EventArrival<'_>,
    now: Timestamp,
    shards_per_job: u16,
) -> Decided {
    let mut record = record_on(Some(incident), &incident.title, message, arrival.scope);
    match apply_reminder(incident, ReminderContent { update_number: spoken, update: said }, arrival, now) {
        Transition::Stale => {
            let newer = incident.updates > spoken;
            record.reason = Some(if newer { Reason::SupersededBy } else { Reason::Expired });
            Decided::only(record)
        }
        step => stepped(record, step, Some(incident), Some(key_of(incident)), shards_per_job, arrival),
    }
}

/// A reminder of work that is not kept any more.
pub(crate) fn forgotten(message: &IncidentReceived, reminder: &Reminder) -> Decided {
    let mut record = record_on(None, "", message, &reminder.scope);
    record.reason = Some(Reason::Expired);
    Decided::only(record)
}

/// A drop-in format's words on whatever is open under its key.
pub(crate) fn note(
    note: &Note,
    (open, windows): (Option<&Incident>, &[MaintenanceWindow]),
    message: &IncidentReceived,
    arrival: &EventArrival<'_>,
    shards_per_job: u16,
) -> Decided {
    // Its words are kept here even where nobody is told them.
    let title =
        if note.message.trim().is_empty() { open.map_or("", |incident| &incident.title) } else { &note.message };
    let record = record_on(open, title, message, arrival.scope);
    let content = NoteContent { status: note.status, message: &note.message, notify: note.notify };
    let step = apply_note(open, content, arrival);
    let step = apply_maintenance_windows(step, open, windows, arrival.accepted_at);
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

/// An event that nobody can place: stored, and the operators are told, once per reason, integration and hour.
pub(crate) fn unplaced(message: &IncidentReceived, reason: Reason) -> Decided {
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
        record.jobs = note_to_operators(message, reason, event);
        record.warnings.clone_from(&event.warnings);
    }
    untold(record)
}

fn untold(record: EventRecord) -> Decided {
    let seen = IncidentListEntry {
        at: record.accepted_at,
        incident_id: None,
        event: Some(EventRecord { jobs: Vec::new(), ..record.clone() }),
    };
    Decided { seen: Some(seen), ..Decided::only(record) }
}

fn stepped(
    mut record: EventRecord,
    step: Transition,
    open: Option<&Incident>,
    key_before: Option<KeyState>,
    shards_per_job: u16,
    arrival: &EventArrival<'_>,
) -> Decided {
    let before = open.map_or(0, |incident| incident.version);
    match step {
        Transition::Open(pair) | Transition::Update(pair) => {
            let (incident, update) = *pair;
            record.incident_id = Some(incident.id.to_string());
            record.update = Some(update.number);
            record.jobs = routing(&incident, &update, shards_per_job);
            let seen = (before == 0).then(|| IncidentListEntry {
                at: arrival.accepted_at,
                incident_id: Some(incident.id.clone()),
                event: None,
            });
            let explained = suppression_records(&incident, open);
            let (head, update) = (Some((incident, before)), Some(update));
            Decided { head, update, explained, key_before, seen, ..Decided::only(record) }
        }
        Transition::Repeat(incident) => {
            record.incident_id = Some(incident.id.to_string());
            record.reason = Some(Reason::Repeat);
            Decided { head: Some((*incident, before)), key_before, ..Decided::only(record) }
        }
        Transition::Stale => {
            record.reason = Some(Reason::Stale);
            Decided::only(record)
        }
        Transition::ResolveWithoutOpen => {
            record.reason = Some(Reason::ResolveWithoutOpen);
            Decided::only(record)
        }
    }
}

fn routing(incident: &Incident, update: &Update, shards_per_job: u16) -> Vec<Value> {
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
            let step = shards_per_job.clamp(1, SHARDS);
            let firsts = (0..SHARDS).step_by(usize::from(step));
            firsts
                .map(|first| {
                    let end = first.saturating_add(step).min(SHARDS);
                    job(RoutingTarget::Shards { first, next: first, end, after: None })
                })
                .collect()
        }
    }
}

/// An event for the operators' own tenant about an event that nobody could place. It is one warning an integration, reason and
/// hour: everything after the first in that hour is a repeat. Nothing of the key or the severity is the sender's word: a token of one
/// tenant would page the operators with it.
fn note_to_operators(message: &IncidentReceived, reason: Reason, event: &Event) -> Vec<Value> {
    if message.is_system_event() {
        return Vec::new();
    }
    let operators = TenantId::operators();
    let hour = message.accepted_at.as_second() / 3_600;
    let mut labels = BTreeMap::new();
    labels.insert("reason".to_owned(), reason.as_str().to_owned());
    labels.insert("event_id".to_owned(), message.event_id.to_string());
    let note = Event {
        event_type: OPERATORS_TYPE.to_owned(),
        dedup_key: format!("{reason}:{}:{hour}", message.integration_id),
        severity: Severity::Warning,
        title: format!("Nobody was told of an event of type {}: {reason}", event.event_type),
        message: format!(
            "{} Source: {}. Title: {}. Event: {}. More of its token in this hour stand in the list of incidents only.",
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

fn as_opened(incident: &Incident) -> RuleMatch {
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
mod tests {
    use super::*;
    use domain::event::TEST_ALERT_TYPE;
    use domain::ids::IntegrationId;

    const SHARDS_PER_JOB: u16 = 4;

    fn said(event_type: &str, format: Format) -> Event {
        Event {
            event_type: event_type.to_owned(),
            dedup_key: "k".to_owned(),
            severity: Severity::Critical,
            title: "t".to_owned(),
            labels: [("category".to_owned(), "infrastructure".to_owned())].into(),
            ..Event::blank(format, "s")
        }
    }

    fn acme() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    fn own(event_type: &str) -> IncidentReceived {
        let event = said(event_type, Format::Native);
        IncidentReceived::system_event(&acme(), event, EventId::new("a"), "c", Timestamp::UNIX_EPOCH)
    }

    /// The same from somebody's token.
    fn foreign(event_type: &str, token: &str) -> IncidentReceived {
        let event = said(event_type, Format::Alertmanager);
        IncidentReceived {
            integration_id: IntegrationId::new(token),
            body: MessageBody::Event(Box::new(event)),
            ..own(event_type)
        }
    }

    fn decided(message: &IncidentReceived) -> Decided {
        let MessageBody::Event(said) = &message.body else { panic!("{message:?}") };
        let scope = message.scope.clone().unwrap();
        let arrival = EventArrival {
            event_id: &message.event_id,
            scope: &scope,
            key: "key",
            integration_id: &message.integration_id,
            correlation_id: &message.correlation_id,
            accepted_at: message.accepted_at,
        };
        let known = Known { remembered: None, open: None, windows: &[] };
        event(&Policy::embedded().unwrap(), said, message, &arrival, known, SHARDS_PER_JOB)
    }

    /// The note that the operators get.
    fn note_of(decided: &Decided) -> IncidentReceived {
        let [job] = decided.record.jobs.as_slice() else { panic!("{:?}", decided.record.jobs) };
        match serde_json::from_value(job.clone()).unwrap() {
            FollowUpJob::Receive(note) => *note,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn our_own_types_are_ours_alone() {
        for event_type in [TEST_ALERT_TYPE, "tocsin.delivery_failed", "tocsin.endpoint_failing", OPERATORS_TYPE] {
            assert!(decided(&own(event_type)).head.is_some(), "{event_type}");
            let kept = decided(&foreign(event_type, "a"));
            assert!(kept.head.is_none(), "{event_type} of a source is told to nobody");
            assert_eq!(
                (kept.record.reason, kept.record.warnings.len()),
                (Some(Reason::Unclassified), 1),
                "{event_type}"
            );
            assert!(note_of(&kept).is_system_event(), "but to the operators");
        }
        assert!(decided(&own("tocsin.no_such")).record.jobs.is_empty(), "a note makes no note");
        assert!(decided(&foreign("api.outage", "a")).head.is_some());
    }

    #[test]
    fn a_reminder_that_comes_to_nothing_says_why() {
        let work = |from: &str| -> Incident {
            let json = serde_json::json!({"id": "inc_a", "scope": {"tenant": "acme"}, "key": "k", "integration_id": "int_s",
                "source": "ops", "event_type": "maintenance.announced", "dedup_key": "d", "category": null, "kind": "maintenance",
                "rule": "r", "severity": "info", "status": "investigating", "title": "Switch", "components": [], "regions": [],
                "public": false, "started_at": from, "last_seen": from, "updates": 2, "version": 2,
                "maintenance": {"phase": "scheduled", "from": from}});
            serde_json::from_value(json).unwrap()
        };
        let due = |update: u32| {
            let at = "2026-11-23T09:00:00Z".parse().unwrap();
            let (incident_id, scope) = (IncidentId::new("a"), Scope::Tenant(acme()));
            Reminder { incident_id, scope, key: "k".into(), at, update, correlation_id: "c".into() }
        };
        let decided = |incident: &Incident, update: u32| {
            let message = IncidentReceived::reminder(due(update), due(update).at);
            let scope = message.scope.clone().unwrap();
            let arrival = EventArrival {
                event_id: &message.event_id,
                scope: &scope,
                key: "k",
                integration_id: &message.integration_id,
                correlation_id: &message.correlation_id,
                accepted_at: message.accepted_at,
            };
            reminder(incident, (update, None), &message, &arrival, due(update).at, SHARDS_PER_JOB)
        };
        let told = decided(&work("2026-11-23T10:00:00Z"), 2);
        assert_eq!((told.record.reason, told.record.jobs.len(), told.update.unwrap().number), (None, 1, 3));
        for (incident, update, reason) in [
            (work("2026-11-23T10:00:00Z"), 1, Reason::SupersededBy),
            (work("2026-11-23T08:59:00Z"), 2, Reason::Expired),
        ] {
            let nothing = decided(&incident, update);
            assert_eq!((nothing.record.reason, nothing.record.jobs.len()), (Some(reason), 0));
            assert!(nothing.head.is_none() && nothing.update.is_none());
        }
        let gone = forgotten(&IncidentReceived::reminder(due(2), due(2).at), &due(2));
        assert_eq!((gone.record.reason, gone.head.is_none()), (Some(Reason::Expired), true), "no poison");
    }

    #[test]
    fn a_token_is_one_warning_an_hour_whatever_it_says() {
        let about = |event_type: &str, token: &str| match note_of(&decided(&foreign(event_type, token))).body {
            MessageBody::Event(note) => (note.dedup_key.clone(), note.severity),
            other => panic!("{other:?}"),
        };
        let (key, severity) = about("no.such", "a");
        assert_eq!(severity, Severity::Warning, "the event was critical");
        assert_eq!(about("no.other", "a").0, key);
        assert_ne!(about("no.such", "b").0, key);
    }
}
