//! Examples of the incident state machine.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use domain::classification::RuleMatch;
use domain::event::{Event, Format};
use domain::ids::{EventId, IntegrationId, Scope, TenantId};
use domain::incident::{
    Change, EventArrival, Incident, KeyState, NoteContent, ReminderContent, Transition, UPDATES_MAX, Update,
    apply_event, apply_note, apply_reminder, apply_update, hash_dedup_key, limit_updates, record_early_resolve,
};
use domain::maintenance::MaintenanceSchedule;
use domain::vocabulary::{Category, Kind, Phase, Severity, Status};
use jiff::{SignedDuration, Timestamp};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + seconds).unwrap()
}

fn event() -> Event {
    Event {
        format: Format::Native,
        source: "voice-monitor".into(),
        event_type: "voice.routing_failure".into(),
        dedup_key: "pop-bom-1".into(),
        severity: Severity::Error,
        severity_given: None,
        title: "Calls fail".into(),
        message: "Every third call fails.".into(),
        public_title: None,
        public_message: None,
        status: None,
        tenant_ids: vec![],
        user_id: None,
        platform: true,
        components: vec!["voice".into()],
        regions: vec!["ap-south-1".into()],
        starts_at: Some(at(-60)),
        ends_at: None,
        as_of: None,
        measurements: Default::default(),
        labels: Default::default(),
        links: vec![],
        key_details: Vec::new(),
        details: Default::default(),
        public: None,
        test_of: None,
        cut: vec![],
        warnings: vec![],
    }
}

fn class() -> RuleMatch {
    RuleMatch {
        category: Some(Category::Infrastructure),
        kind: Kind::Incident,
        rule: "voice-routing".into(),
        public: true,
        public_sentence: "Some calls may fail.".into(),
        advice: String::new(),
        low_balance: false,
        warnings: vec![],
    }
}

/// Applies `event`, accepted `n` seconds after the epoch of the tests.
fn step(remembered: Option<&KeyState>, open: Option<&Incident>, event: &Event, n: u32, scope: &Scope) -> Transition {
    let integration = IntegrationId::new("x");
    let key = hash_dedup_key(scope, &integration, &event.source, &event.dedup_key);
    let id = EventId::new(&n.to_string());
    let arrival = EventArrival {
        event_id: &id,
        scope,
        key: &key,
        integration_id: &integration,
        correlation_id: "c",
        accepted_at: at(i64::from(n)),
    };
    apply_event(remembered, open, event, &class(), &arrival)
}

fn opened(event: &Event, scope: &Scope) -> (Incident, Update) {
    match step(None, None, event, 1, scope) {
        Transition::Open(pair) => *pair,
        other => panic!("{other:?}"),
    }
}

fn change(open: &Incident, event: &Event) -> Option<(Change, Incident)> {
    match step(None, Some(open), event, 2, &open.scope) {
        Transition::Update(pair) => Some((pair.1.change, pair.0)),
        Transition::Repeat(_) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_event_opens_an_incident() {
    let (incident, update) = opened(&event(), &Scope::Platform);
    assert_eq!((incident.status, incident.updates, incident.version), (Status::Investigating, 1, 1));
    assert_eq!((update.number, update.change), (1, Change::Opened));
    assert_eq!(incident.started_at, at(-60), "the start is the source's");
    assert_eq!(incident.opened_at, Some(at(1)), "the opening is the time of acceptance");
    assert!(incident.public);
    assert_eq!(incident.public_title, "Calls fail");
}

#[test]
fn an_event_with_only_a_new_text_is_a_repeat() {
    let (open, _) = opened(&event(), &Scope::Platform);
    let again = Event { title: "Calls fail!".into(), message: "12 lost".into(), ..event() };
    match step(None, Some(&open), &again, 2, &Scope::Platform) {
        Transition::Repeat(repeated) => {
            assert_eq!((repeated.repeats, repeated.updates), (1, 1));
            assert_eq!(repeated.last_seen, at(2));
            assert_eq!(repeated.title, open.title);
        }
        other => panic!("{other:?}"),
    }
    let unnamed = Event { components: vec![], regions: vec![], ..event() };
    assert_eq!(
        change(&open, &unnamed).map(|(change, _)| change),
        None,
        "an event without components and regions does not change them"
    );
}

#[test]
fn a_change_of_severity_status_or_scope_is_an_update() {
    let (open, _) = opened(&event(), &Scope::Platform);
    let changed = |event: Event| change(&open, &event).map(|(change, _)| change);
    assert_eq!(changed(Event { severity: Severity::Critical, ..event() }), Some(Change::SeverityRaised));
    assert_eq!(changed(Event { severity: Severity::Warning, ..event() }), Some(Change::SeverityLowered));
    assert_eq!(changed(Event { regions: vec!["eu-west-1".into()], ..event() }), Some(Change::ScopeChanged));
    assert_eq!(changed(Event { status: Some(Status::Monitoring), ..event() }), Some(Change::StatusChanged));
    let resolve = Event { status: Some(Status::Resolved), severity: Severity::Info, regions: vec![], ..event() };
    let (reason, resolved) = change(&open, &resolve).unwrap();
    assert_eq!((reason, resolved.resolved_at), (Change::Resolved, Some(at(2))));
    assert_eq!(resolved.severity, Severity::Error, "a resolve does not change the severity");
}

#[test]
fn the_status_moves_backward_only_from_monitoring_to_identified() {
    use Status::{Identified, Investigating, Monitoring, Resolved};
    for (from, requested, to) in [
        (Investigating, Some(Identified), Identified),
        (Investigating, Some(Resolved), Resolved),
        (Identified, Some(Investigating), Identified),
        (Monitoring, Some(Identified), Identified),
        (Monitoring, Some(Investigating), Monitoring),
        (Resolved, Some(Investigating), Resolved),
        (Monitoring, None, Monitoring),
    ] {
        assert_eq!(domain::incident::next_status(from, requested), to, "{from} to {requested:?}");
    }
}

#[test]
fn a_resolve_needs_an_open_incident_and_the_same_beginning_may_come_back() {
    let resolve = Event { status: Some(Status::Resolved), ..event() };
    assert_eq!(step(None, None, &resolve, 2, &Scope::Platform), Transition::ResolveWithoutOpen);
    let (first, _) = opened(&event(), &Scope::Platform);
    let closed =
        KeyState { incident_id: first.id.clone(), open: false, as_of: None, closed_at: Some(at(2)), openings: None };
    // A monitor that was cut off reports the same alert again, with the same beginning: it is another incident.
    let Transition::Open(again) = step(Some(&closed), None, &event(), 3, &Scope::Platform) else {
        panic!("the second firing is swallowed")
    };
    assert_ne!(again.0.id, first.id);
    let observed = Event { as_of: Some(at(1)), ..event() };
    let overtaken = KeyState { as_of: Some(at(2)), ..closed };
    assert_eq!(
        step(Some(&overtaken), None, &observed, 3, &Scope::Platform),
        Transition::Stale,
        "what is older is stale"
    );
}

#[test]
fn an_incident_with_very_many_updates_takes_only_what_matters() {
    let (open, _) = opened(&event(), &Scope::Platform);
    let full = Incident { updates: UPDATES_MAX, ..open.clone() };
    let change = |incident: &Incident, event: &Event| {
        let (event_id, integration) = (EventId::new("next"), IntegrationId::new("token"));
        let arrival = EventArrival {
            event_id: &event_id,
            scope: &Scope::Platform,
            key: "key",
            integration_id: &integration,
            correlation_id: "c",
            accepted_at: at(30),
        };
        let transition = step(None, Some(incident), event, 30, &Scope::Platform);
        match limit_updates(transition, Some(incident), None, &arrival) {
            Transition::Update(pair) => Some(pair.1.change),
            Transition::Repeat(repeated) => {
                assert_eq!((repeated.updates, repeated.repeats), (UPDATES_MAX, 1));
                None
            }
            other => panic!("{other:?}"),
        }
    };
    let with = |status, severity| Event { status, severity, ..event() };
    let identified = with(Some(Status::Identified), open.severity);
    assert_eq!(change(&open, &identified), Some(Change::StatusChanged));
    assert_eq!(change(&full, &identified), None);
    assert_eq!(change(&full, &with(None, Severity::Info)), None);
    assert_eq!(change(&full, &with(None, Severity::Critical)), Some(Change::SeverityRaised));
    assert_eq!(change(&full, &with(Some(Status::Resolved), open.severity)), Some(Change::Resolved));
}

#[test]
fn words_from_before_the_latest_change_are_stale_whatever_they_are() {
    let (open, _) = opened(&event(), &Scope::Platform);
    let changed = Incident { changed_at: Some(at(3_600)), ..open.clone() };
    let (event_id, integration) = (EventId::new("late"), IntegrationId::new("token"));
    let arrival = |second| EventArrival {
        event_id: &event_id,
        scope: &Scope::Platform,
        key: "key",
        integration_id: &integration,
        correlation_id: "c",
        accepted_at: at(second),
    };
    let close = NoteContent {
        status: Some(Status::Resolved),
        title: None,
        severity: None,
        message: "",
        notify: false,
        only_if_new: false,
    };
    // A dead letter that is redriven after its key opened anew.
    assert_eq!(apply_note(Some(&changed), close, &arrival(10)), Transition::Stale);
    assert_eq!(apply_update(&changed, Some(Status::Resolved), "over", &arrival(10)), Transition::Stale);
    for second in [3_550, 3_700] {
        assert!(matches!(apply_note(Some(&changed), close, &arrival(second)), Transition::Update(_)));
        assert!(matches!(apply_update(&changed, None, "more", &arrival(second)), Transition::Update(_)));
    }
    // What only repeats changes nothing, so words are not stale for it.
    let Transition::Update(pair) = apply_update(&open, None, "more", &arrival(100)) else { panic!() };
    assert_eq!(pair.0.changed_at, Some(at(100)));
    let Transition::Repeat(repeated) = step(None, Some(&open), &event(), 4_000, &Scope::Platform) else { panic!() };
    assert!(repeated.last_seen > at(3_600) && repeated.changed_at == open.changed_at);
}

#[test]
fn only_text_written_for_the_public_is_published() {
    let acme = Scope::Tenant(TenantId::parse("acme").unwrap());
    assert!(!opened(&event(), &acme).0.public, "a tenant's incident is private by default");
    assert!(opened(&Event { public: Some(true), ..event() }, &acme).0.public);
    assert!(!opened(&Event { public: Some(false), ..event() }, &Scope::Platform).0.public);
    let raw = Event { format: Format::Alertmanager, message: "host bom-1.internal".into(), ..event() };
    let (incident, update) = opened(&raw, &Scope::Platform);
    assert_eq!(incident.public_title, "Some calls may fail.");
    assert_eq!(update.public_message, "Some calls may fail. Affected: voice. Region: ap-south-1.");
    let written = Event { public_message: Some("We are on it.".into()), ..raw };
    assert_eq!(opened(&written, &Scope::Platform).1.public_message, "We are on it.");
    // An update of a public incident is published; with `public: false`, only its status is.
    let public = opened(&event(), &Scope::Platform).0;
    for (flag, published) in [(None, "Every third call."), (Some(false), "")] {
        let later = Event {
            public: flag,
            public_message: None,
            message: "Every third call.".into(),
            status: Some(Status::Identified),
            ..event()
        };
        let Transition::Update(pair) = step(None, Some(&public), &later, 2, &Scope::Platform) else {
            panic!("{flag:?}")
        };
        assert_eq!((pair.0.status, pair.1.message.as_str()), (Status::Identified, "Every third call."));
        assert_eq!((pair.0.public, pair.1.public_message.as_str()), (true, published));
    }
    // With `public: false`, its components and regions are not published either, not even by a later event that names none.
    let wide = |public| Event { public, components: vec!["voice".into(), "hacked by x".into()], ..event() };
    let next = |open: &Incident, event: &Event| match step(None, Some(open), event, 2, &Scope::Platform) {
        Transition::Update(pair) => pair.0,
        other => panic!("{other:?}"),
    };
    let hidden = next(&public, &wide(Some(false)));
    assert_eq!((hidden.components.len(), hidden.public_scope().components), (2, vec!["voice".to_owned()]));
    let unnamed = Event { components: vec![], regions: vec![], ..event() };
    for (status, severity) in [(Status::Resolved, Severity::Error), (Status::Identified, Severity::Critical)] {
        let later = next(&hidden, &Event { status: Some(status), severity, ..unnamed.clone() });
        assert_eq!((later.components.len(), later.public_scope().components.len()), (2, 1), "{status:?}");
    }
    let Transition::Repeat(repeated) = step(None, Some(&hidden), &wide(None), 2, &Scope::Platform) else {
        panic!("a repeat")
    };
    assert_eq!(
        (repeated.shown.clone(), repeated.public_scope().components.len()),
        (None, 2),
        "a repeat publishes them"
    );
    let named = next(&hidden, &Event { severity: Severity::Critical, ..wide(None) });
    assert_eq!((named.shown.clone(), named.public_scope().components.len()), (None, 2));
}

#[test]
fn a_message_alone_notifies_through_an_update() {
    let (open, _) = opened(&event(), &Scope::Platform);
    let (id, integration) = (EventId::new("9"), IntegrationId::new("x"));
    let arrival = EventArrival {
        event_id: &id,
        scope: &open.scope,
        key: &open.key,
        integration_id: &integration,
        correlation_id: "c",
        accepted_at: at(9),
    };
    let updated = |status| match apply_update(&open, status, "We found it.", &arrival) {
        Transition::Update(pair) => (pair.1.change, pair.1.message, pair.0.updates),
        other => panic!("{other:?}"),
    };
    assert_eq!(updated(None), (Change::TextAdded, "We found it.".to_owned(), 2));
    assert_eq!(updated(Some(Status::Identified)).0, Change::StatusChanged);
    assert_eq!(updated(Some(Status::Resolved)).0, Change::Resolved);
    let resolved = Incident { status: Status::Resolved, ..open.clone() };
    assert_eq!(apply_update(&resolved, None, "A late message.", &arrival), Transition::Stale);
}

#[test]
fn hashed_keys_differ_by_scope_integration_source_and_dedup_key() {
    let acme = Scope::Tenant(TenantId::parse("acme").unwrap());
    let (one, two) = (IntegrationId::new("one"), IntegrationId::new("two"));
    let keys = [
        hash_dedup_key(&acme, &one, "s", "k"),
        hash_dedup_key(&Scope::Platform, &one, "s", "k"),
        hash_dedup_key(&acme, &two, "s", "k"),
        hash_dedup_key(&acme, &one, "t", "k"),
        hash_dedup_key(&acme, &one, "s", "l"),
        hash_dedup_key(&acme, &one, "sk", ""),
    ];
    for (place, left) in keys.iter().enumerate() {
        assert!(keys.iter().skip(place + 1).all(|right| left != right), "{place}");
    }
}

fn noted(open: Option<&Incident>, status: Option<Status>, message: &str, notify: bool) -> Transition {
    apply(open, NoteContent { status, title: None, severity: None, message, notify, only_if_new: false })
}

fn apply(open: Option<&Incident>, content: NoteContent<'_>) -> Transition {
    let (integration, id) = (IntegrationId::new("x"), EventId::new("n"));
    let scope = Scope::Platform;
    let arrival = EventArrival {
        event_id: &id,
        scope: &scope,
        key: "",
        integration_id: &integration,
        correlation_id: "c",
        accepted_at: at(9),
    };
    apply_note(open, content, &arrival)
}

#[test]
fn a_note_never_opens_an_incident_moves_it_back_or_publishes_text() {
    assert_eq!(noted(None, Some(Status::Resolved), "", false), Transition::ResolveWithoutOpen);
    assert_eq!(noted(None, None, "Hello", true), Transition::ResolveWithoutOpen);
    let (open, _) = opened(&event(), &Scope::Platform);
    let updated = |step: Transition| match step {
        Transition::Update(pair) => Some((pair.1.change, pair.0.status, pair.1.message, pair.1.public_message)),
        Transition::Repeat(_) => None,
        other => panic!("{other:?}"),
    };
    let acknowledged = updated(noted(Some(&open), Some(Status::Identified), "db-7.internal", false)).unwrap();
    assert_eq!((acknowledged.0, acknowledged.1), (Change::StatusChanged, Status::Identified));
    assert_eq!((acknowledged.2.as_str(), acknowledged.3.as_str()), ("db-7.internal", ""), "the incident is public");
    let message = updated(noted(Some(&open), None, "We called the carrier.", true)).unwrap();
    assert_eq!((message.0, message.3.as_str()), (Change::TextAdded, ""));
    // Repeated, with an earlier status, without `notify`, and without text.
    let further = Incident { status: Status::Monitoring, ..open.clone() };
    assert_eq!(updated(noted(Some(&further), Some(Status::Identified), "", false)), None);
    assert_eq!(updated(noted(Some(&open), None, "No data.", false)), None);
    assert_eq!(updated(noted(Some(&open), None, " ", true)), None);
}

#[test]
fn a_note_changes_title_and_severity_and_repeats_no_text() {
    let (open, _) = opened(&Event { message: "web01".into(), ..event() }, &Scope::Platform);
    let blank = NoteContent { status: None, title: None, severity: None, message: "", notify: true, only_if_new: true };
    let Transition::Repeat(renamed) = apply(Some(&open), NoteContent { title: Some("New"), ..blank }) else {
        panic!("a new title alone notifies nobody")
    };
    assert_eq!(renamed.title, "New");
    assert!(matches!(apply(Some(&open), NoteContent { message: " web01 ", ..blank }), Transition::Repeat(_)));
    let Transition::Update(pair) = apply(Some(&renamed), NoteContent { message: "web01, web02", ..blank }) else {
        panic!("a new text is an update")
    };
    assert_eq!(
        (pair.1.change, pair.1.title.as_str(), pair.1.message.as_str()),
        (Change::TextAdded, "New", "web01, web02")
    );
    assert!(matches!(apply(Some(&pair.0), NoteContent { message: "web01, web02", ..blank }), Transition::Repeat(_)));
    // Somebody's note in between does not make the source's text a new one.
    let Transition::Update(noted) =
        apply(Some(&pair.0), NoteContent { message: "We look.", only_if_new: false, ..blank })
    else {
        panic!("a note notifies")
    };
    assert!(matches!(apply(Some(&noted.0), NoteContent { message: "web01, web02", ..blank }), Transition::Repeat(_)));
    for (severity, change) in [(Severity::Critical, Change::SeverityRaised), (Severity::Info, Change::SeverityLowered)]
    {
        let error = Incident { severity: Severity::Error, ..open.clone() };
        let Transition::Update(pair) = apply(Some(&error), NoteContent { severity: Some(severity), ..blank }) else {
            panic!("{severity:?}")
        };
        assert_eq!((pair.1.change, pair.0.severity), (change, severity));
    }
}

#[test]
fn events_that_overtook_each_other_are_put_in_order() {
    let observed = |second: i64, resolved: bool| Event {
        starts_at: None,
        as_of: Some(at(second)),
        status: resolved.then_some(Status::Resolved),
        ..event()
    };
    let (integration, id) = (IntegrationId::new("x"), EventId::new("9"));
    let arrival = EventArrival {
        event_id: &id,
        scope: &Scope::Platform,
        key: "k",
        integration_id: &integration,
        correlation_id: "c",
        accepted_at: at(9),
    };
    // The resolve arrives first. The opening is stale when it arrives, and the next opening opens an incident.
    let resolve = observed(20, true);
    assert_eq!(step(None, None, &resolve, 1, &Scope::Platform), Transition::ResolveWithoutOpen);
    let key = record_early_resolve(&resolve, None, &arrival).unwrap();
    assert_eq!(step(Some(&key), None, &observed(10, false), 2, &Scope::Platform), Transition::Stale);
    assert!(matches!(step(Some(&key), None, &observed(30, false), 3, &Scope::Platform), Transition::Open(_)));
    assert_eq!(
        record_early_resolve(&observed(15, true), Some(&key), &arrival),
        None,
        "an older resolve changes nothing"
    );
    let undated = Event { as_of: None, ..resolve };
    assert_eq!(record_early_resolve(&undated, None, &arrival), None, "events without as_of cannot be ordered");

    // An older resolve does not resolve an incident that was confirmed since.
    let (open, _) = opened(&observed(10, false), &Scope::Platform);
    let Transition::Repeat(again) = step(None, Some(&open), &observed(30, false), 2, &Scope::Platform) else {
        panic!()
    };
    assert_eq!(step(None, Some(&again), &observed(20, true), 3, &Scope::Platform), Transition::Stale);
    assert!(matches!(step(None, Some(&again), &observed(40, true), 4, &Scope::Platform), Transition::Update(_)));
}

#[test]
fn a_redriven_event_is_stale_if_newer_ones_were_applied() {
    let fresh = Event { starts_at: None, ..event() };
    let (open, _) = opened(&fresh, &Scope::Platform);
    let busy = Incident { last_seen: at(3_600), ..open.clone() };
    let worse = Event { severity: Severity::Critical, ..fresh.clone() };
    assert_eq!(step(None, Some(&busy), &worse, 2, &Scope::Platform), Transition::Stale);
    let near = Incident { last_seen: at(30), ..open.clone() };
    assert!(
        matches!(step(None, Some(&near), &worse, 2, &Scope::Platform), Transition::Update(_)),
        "clocks may differ by less than a minute"
    );
    let key = |closed| KeyState {
        incident_id: open.id.clone(),
        open: false,
        as_of: None,
        closed_at: Some(closed),
        openings: None,
    };
    assert_eq!(step(Some(&key(at(3_600))), None, &fresh, 2, &Scope::Platform), Transition::Stale);
    assert!(matches!(step(Some(&key(at(30))), None, &fresh, 2, &Scope::Platform), Transition::Open(_)));
}

/// Applies maintenance events one after another. Returns change, status and schedule of each; `None` for repeats.
fn maintained(events: &[(&str, Option<i64>, Option<i64>)]) -> Vec<Option<(Change, Status, MaintenanceSchedule)>> {
    let class = RuleMatch { kind: Kind::Maintenance, ..class() };
    let integration = IntegrationId::new("x");
    let mut open: Option<Incident> = None;
    let mut steps = Vec::new();
    for (n, (event_type, from, until)) in (1..).zip(events) {
        let event = Event {
            event_type: format!("maintenance.{event_type}"),
            starts_at: from.map(at),
            ends_at: until.map(at),
            severity: Severity::Warning,
            ..event()
        };
        let id = EventId::new(&n.to_string());
        let arrival = EventArrival {
            event_id: &id,
            scope: &Scope::Platform,
            key: "k",
            integration_id: &integration,
            correlation_id: "c",
            accepted_at: at(n),
        };
        let step = apply_event(None, open.as_ref(), &event, &class, &arrival);
        steps.push(match step {
            Transition::Open(pair) | Transition::Update(pair) => {
                let (incident, update) = *pair;
                let done = (update.change, incident.status, incident.maintenance.unwrap());
                open = Some(incident).filter(|incident| incident.resolved_at.is_none());
                Some(done)
            }
            Transition::Repeat(incident) => {
                open = Some(*incident);
                None
            }
            other => panic!("{other:?}"),
        });
    }
    steps
}

#[test]
fn a_maintenance_goes_through_its_phases() {
    let hours = (Some(3_600), Some(7_200));
    let steps = maintained(&[
        ("announced", hours.0, hours.1),
        ("announced", hours.0, hours.1),
        ("reminder", None, None),
        ("announced", Some(4_000), None),
        ("announced", None, Some(8_000)),
        ("started", None, None),
        ("verifying", None, None),
        ("completed", None, None),
    ]);
    let changes: Vec<_> = steps.iter().map(|step| step.map(|(change, _, planned)| (change, planned.phase))).collect();
    assert_eq!(
        changes,
        [
            Some((Change::Opened, Phase::Scheduled)),
            None,
            Some((Change::Reminded, Phase::Scheduled)),
            Some((Change::Rescheduled, Phase::Scheduled)),
            Some((Change::Rescheduled, Phase::Scheduled)),
            Some((Change::StatusChanged, Phase::InProgress)),
            Some((Change::StatusChanged, Phase::Verifying)),
            Some((Change::Resolved, Phase::Completed)),
        ]
    );
    let planned = |place: usize| steps[place].unwrap().2;
    assert_eq!((planned(0).from, planned(0).until), (at(3_600), Some(at(7_200))));
    assert_eq!((planned(4).from, planned(4).until), (at(4_000), Some(at(8_000))));
    assert_eq!(planned(5).from, at(6), "it started early");
    assert_eq!(steps[7].unwrap().1, Status::Resolved);
}

#[test]
fn an_incident_reported_over_five_minutes_late_keeps_its_start() {
    for (before, late) in [(299, false), (300, false), (301, true), (86_400, true)] {
        let event = Event { starts_at: Some(at(1 - before)), ..event() };
        let (_, update) = opened(&event, &Scope::Platform);
        assert_eq!(update.late_source, late.then(|| at(1 - before)), "{before} s");
    }
    assert_eq!(opened(&Event { starts_at: None, ..event() }, &Scope::Platform).1.late_source, None);
}

#[test]
fn a_maintenance_reminder_is_sent_once_and_only_without_newer_updates() {
    const HOUR: i64 = 3_600;
    let hour = SignedDuration::from_secs(HOUR);
    let (id, integration) = (EventId::new("1"), IntegrationId::new("x"));
    let arrival = |now: i64| EventArrival {
        event_id: &id,
        scope: &Scope::Platform,
        key: "k",
        integration_id: &integration,
        correlation_id: "c",
        accepted_at: at(now),
    };
    let announced = |start: i64| {
        let event = Event { event_type: "maintenance.announced".into(), starts_at: Some(at(start)), ..event() };
        let class = RuleMatch { kind: Kind::Maintenance, ..class() };
        match apply_event(None, None, &event, &class, &arrival(0)) {
            Transition::Open(pair) => *pair,
            other => panic!("{other:?}"),
        }
    };
    let (maintenance, first) = announced(24 * HOUR);
    let reminder = maintenance.schedule_reminder(hour, "c", at(0)).unwrap();
    assert_eq!((reminder.at, reminder.update), (at(23 * HOUR), 1));
    assert!(announced(2 * HOUR).0.schedule_reminder(hour, "c", at(0)).is_some());
    let recent = announced(2 * HOUR - 1).0;
    assert_eq!(recent.schedule_reminder(hour, "c", at(0)), None, "announced less than an hour before the reminder");
    assert_eq!(maintenance.schedule_reminder(SignedDuration::ZERO, "c", at(0)), None, "reminders are off");
    let incident = opened(&event(), &Scope::Platform).0;
    assert_eq!(incident.schedule_reminder(hour, "c", at(0)), None, "not a maintenance");

    let reminded = |maintenance: &Incident, update: Option<&Update>, now: i64| match apply_reminder(
        maintenance,
        ReminderContent { update_number: reminder.update, update },
        &arrival(now),
        at(now),
    ) {
        Transition::Update(pair) => Some(*pair),
        Transition::Stale => None,
        other => panic!("{other:?}"),
    };
    let (next, update) = reminded(&maintenance, Some(&first), 23 * HOUR).unwrap();
    assert_eq!((update.change, update.number, &update.message), (Change::Reminded, 2, &first.message));
    assert_eq!((next.status, next.maintenance), (maintenance.status, maintenance.maintenance), "nothing else changes");
    assert_eq!(update.public_message, "This is a reminder: the maintenance starts soon.");
    assert!(reminded(&maintenance, None, 23 * HOUR).is_some(), "the repeated update may be deleted by then");
    assert_eq!(reminded(&next, Some(&first), 23 * HOUR), None, "only once");
    assert_eq!(reminded(&maintenance, Some(&first), 24 * HOUR), None, "it should have started");
    let canceled = Incident { resolved_at: Some(at(9)), ..maintenance.clone() };
    assert_eq!(reminded(&canceled, Some(&first), 23 * HOUR), None, "canceled");
    let schedule = maintenance.maintenance.map(|schedule| MaintenanceSchedule { phase: Phase::InProgress, ..schedule });
    let started = Incident { maintenance: schedule, ..maintenance.clone() };
    assert_eq!(reminded(&started, Some(&first), 23 * HOUR), None, "it has started");
}
