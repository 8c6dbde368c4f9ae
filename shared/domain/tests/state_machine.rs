//! The incident's state machine, by example.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use domain::classification::Included;
use domain::event::{Event, Format};
use domain::ids::{EventId, IntegrationId, Scope, TenantId};
use domain::incident::{
    Arrival, Change, Incident, KeyState, Step, Update, advance, advance_by_note, advance_by_reminder,
    advance_by_update, ended_before_it_began, key,
};
use domain::maintenance::{Planned, Reminder};
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
        platform: true,
        components: vec!["voice".into()],
        regions: vec!["ap-south-1".into()],
        starts_at: Some(at(-60)),
        ends_at: None,
        as_of: None,
        measurements: Default::default(),
        labels: Default::default(),
        links: vec![],
        details: Default::default(),
        public: None,
        test_of: None,
        cut: vec![],
        warnings: vec![],
    }
}

fn class() -> Included {
    Included {
        category: Some(Category::Infrastructure),
        kind: Kind::Incident,
        rule: "voice-routing".into(),
        public: true,
        public_sentence: "Some calls may fail.".into(),
        low_balance: false,
        warnings: vec![],
    }
}

/// Takes `event` through the machine as event number `n`.
fn step(remembered: Option<&KeyState>, open: Option<&Incident>, event: &Event, n: u32, scope: &Scope) -> Step {
    let integration = IntegrationId::new("x");
    let key = key(scope, &integration, &event.source, &event.dedup_key);
    let id = EventId::new(&n.to_string());
    let arrival = Arrival {
        event_id: &id,
        scope,
        key: &key,
        integration_id: &integration,
        correlation_id: "c",
        accepted_at: at(i64::from(n)),
    };
    advance(remembered, open, event, &class(), &arrival)
}

fn opened(event: &Event, scope: &Scope) -> (Incident, Update) {
    match step(None, None, event, 1, scope) {
        Step::Open(pair) => *pair,
        other => panic!("{other:?}"),
    }
}

fn change(open: &Incident, event: &Event) -> Option<(Change, Incident)> {
    match step(None, Some(open), event, 2, &open.scope) {
        Step::Update(pair) => Some((pair.1.change, pair.0)),
        Step::Repeat(_) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_event_opens() {
    let (incident, update) = opened(&event(), &Scope::Platform);
    assert_eq!((incident.status, incident.updates, incident.version), (Status::Investigating, 1, 1));
    assert_eq!((update.number, update.change), (1, Change::Opened));
    assert_eq!(incident.started_at, at(-60), "the source knows better when it began");
    assert_eq!(incident.opened_at, Some(at(1)), "and we when we heard of it");
    assert!(incident.public);
    assert_eq!(incident.public_title, "Calls fail");
}

#[test]
fn a_repeat_changes_nothing_however_its_text_changes() {
    let (open, _) = opened(&event(), &Scope::Platform);
    let again = Event { title: "Calls fail!".into(), message: "12 lost".into(), ..event() };
    match step(None, Some(&open), &again, 2, &Scope::Platform) {
        Step::Repeat(repeated) => {
            assert_eq!((repeated.repeats, repeated.updates), (1, 1));
            assert_eq!(repeated.last_seen, at(2));
            assert_eq!(repeated.title, open.title);
        }
        other => panic!("{other:?}"),
    }
    let silent = Event { components: vec![], regions: vec![], ..event() };
    assert_eq!(change(&open, &silent).map(|(change, _)| change), None, "silence about where is no change");
}

#[test]
fn what_changes_notifies_and_says_why() {
    let (open, _) = opened(&event(), &Scope::Platform);
    let changed = |event: Event| change(&open, &event).map(|(change, _)| change);
    assert_eq!(changed(Event { severity: Severity::Critical, ..event() }), Some(Change::SeverityRaised));
    assert_eq!(changed(Event { severity: Severity::Warning, ..event() }), Some(Change::SeverityLowered));
    assert_eq!(changed(Event { regions: vec!["eu-west-1".into()], ..event() }), Some(Change::ScopeChanged));
    assert_eq!(changed(Event { status: Some(Status::Monitoring), ..event() }), Some(Change::StatusChanged));
    let resolve = Event { status: Some(Status::Resolved), severity: Severity::Info, regions: vec![], ..event() };
    let (why, resolved) = change(&open, &resolve).unwrap();
    assert_eq!((why, resolved.resolved_at), (Change::Resolved, Some(at(2))));
    assert_eq!(resolved.severity, Severity::Error, "a resolve says nothing about how bad it was");
}

#[test]
fn the_status_moves_forward_and_falls_back_only_from_monitoring() {
    use Status::{Identified, Investigating, Monitoring, Resolved};
    for (from, asked, to) in [
        (Investigating, Some(Identified), Identified),
        (Investigating, Some(Resolved), Resolved),
        (Identified, Some(Investigating), Identified),
        (Monitoring, Some(Identified), Identified),
        (Monitoring, Some(Investigating), Monitoring),
        (Resolved, Some(Investigating), Resolved),
        (Monitoring, None, Monitoring),
    ] {
        assert_eq!(domain::incident::next_status(from, asked), to, "{from} asked for {asked:?}");
    }
}

#[test]
fn a_resolve_needs_something_open_and_a_late_repeat_is_stale() {
    let resolve = Event { status: Some(Status::Resolved), ..event() };
    assert_eq!(step(None, None, &resolve, 2, &Scope::Platform), Step::ResolveWithoutOpen);
    let (incident, _) = opened(&event(), &Scope::Platform);
    let closed = KeyState {
        incident_id: incident.id,
        open: false,
        source_started_at: Some(at(-60)),
        as_of: None,
        closed_at: None,
        openings: None,
    };
    assert_eq!(step(Some(&closed), None, &event(), 3, &Scope::Platform), Step::Stale);
    let anew = Event { starts_at: Some(at(5)), ..event() };
    assert!(matches!(step(Some(&closed), None, &anew, 3, &Scope::Platform), Step::Open(_)), "it broke again");
    let timeless = Event { starts_at: None, ..event() };
    let closed = KeyState { source_started_at: None, ..closed };
    assert!(matches!(step(Some(&closed), None, &timeless, 3, &Scope::Platform), Step::Open(_)));
}

#[test]
fn what_the_public_may_see() {
    let acme = Scope::Tenant(TenantId::parse("acme").unwrap());
    assert!(!opened(&event(), &acme).0.public, "a named tenant's incident is nobody else's business");
    assert!(opened(&Event { public: Some(true), ..event() }, &acme).0.public);
    assert!(!opened(&Event { public: Some(false), ..event() }, &Scope::Platform).0.public);
    let raw = Event { format: Format::Alertmanager, message: "host bom-1.internal".into(), ..event() };
    let (incident, update) = opened(&raw, &Scope::Platform);
    assert_eq!(incident.public_title, "Some calls may fail.");
    assert_eq!(update.public_message, "Some calls may fail. Affected: voice. Region: ap-south-1.");
    let written = Event { public_message: Some("We are on it.".into()), ..raw };
    assert_eq!(opened(&written, &Scope::Platform).1.public_message, "We are on it.");
    // What goes on under a public incident is shown; of what is not for the public only the status.
    let public = opened(&event(), &Scope::Platform).0;
    for (said, shown) in [(None, "Every third call."), (Some(false), "")] {
        let later = Event {
            public: said,
            public_message: None,
            message: "Every third call.".into(),
            status: Some(Status::Identified),
            ..event()
        };
        let Step::Update(pair) = step(None, Some(&public), &later, 2, &Scope::Platform) else { panic!("{said:?}") };
        assert_eq!((pair.0.status, pair.1.message.as_str()), (Status::Identified, "Every third call."));
        assert_eq!((pair.0.public, pair.1.public_message.as_str()), (true, shown));
    }
    // Nor do they say there what is affected, also not once a publisher goes on without naming it.
    let wide = |public| Event { public, components: vec!["voice".into(), "hacked by x".into()], ..event() };
    let go_on = |open: &Incident, event: &Event| match step(None, Some(open), event, 2, &Scope::Platform) {
        Step::Update(pair) => pair.0,
        other => panic!("{other:?}"),
    };
    let hidden = go_on(&public, &wide(Some(false)));
    assert_eq!((hidden.components.len(), hidden.shown().components), (2, vec!["voice".to_owned()]));
    let silent = Event { components: vec![], regions: vec![], ..event() };
    for (status, severity) in [(Status::Resolved, Severity::Error), (Status::Identified, Severity::Critical)] {
        let later = go_on(&hidden, &Event { status: Some(status), severity, ..silent.clone() });
        assert_eq!((later.components.len(), later.shown().components.len()), (2, 1), "{status:?}");
    }
    let Step::Repeat(told) = step(None, Some(&hidden), &wide(None), 2, &Scope::Platform) else {
        panic!("it is no news")
    };
    assert_eq!((told.shown.clone(), told.shown().components.len()), (None, 2), "but the public reads of it");
    let named = go_on(&hidden, &Event { severity: Severity::Critical, ..wide(None) });
    assert_eq!((named.shown.clone(), named.shown().components.len()), (None, 2));
}

#[test]
fn words_alone_notify_through_updates() {
    let (open, _) = opened(&event(), &Scope::Platform);
    let (id, integration) = (EventId::new("9"), IntegrationId::new("x"));
    let arrival = Arrival {
        event_id: &id,
        scope: &open.scope,
        key: &open.key,
        integration_id: &integration,
        correlation_id: "c",
        accepted_at: at(9),
    };
    let said = |status| match advance_by_update(&open, status, "We found it.", &arrival) {
        Step::Update(pair) => (pair.1.change, pair.1.message, pair.0.updates),
        other => panic!("{other:?}"),
    };
    assert_eq!(said(None), (Change::TextAdded, "We found it.".to_owned(), 2));
    assert_eq!(said(Some(Status::Identified)).0, Change::StatusChanged);
    assert_eq!(said(Some(Status::Resolved)).0, Change::Resolved);
    let over = Incident { status: Status::Resolved, ..open.clone() };
    assert_eq!(advance_by_update(&over, None, "Late words.", &arrival), Step::Stale);
}

#[test]
fn the_key_keeps_tenants_integrations_and_sources_apart() {
    let acme = Scope::Tenant(TenantId::parse("acme").unwrap());
    let (one, two) = (IntegrationId::new("one"), IntegrationId::new("two"));
    let keys = [
        key(&acme, &one, "s", "k"),
        key(&Scope::Platform, &one, "s", "k"),
        key(&acme, &two, "s", "k"),
        key(&acme, &one, "t", "k"),
        key(&acme, &one, "s", "l"),
        key(&acme, &one, "sk", ""),
    ];
    for (place, left) in keys.iter().enumerate() {
        assert!(keys.iter().skip(place + 1).all(|right| left != right), "{place}");
    }
}

fn noted(open: Option<&Incident>, status: Option<Status>, words: &str, tell: bool) -> Step {
    let (integration, id) = (IntegrationId::new("x"), EventId::new("n"));
    let scope = Scope::Platform;
    let arrival = Arrival {
        event_id: &id,
        scope: &scope,
        key: "",
        integration_id: &integration,
        correlation_id: "c",
        accepted_at: at(9),
    };
    advance_by_note(open, status, words, tell, &arrival)
}

#[test]
fn a_note_opens_nothing_takes_nothing_back_and_publishes_no_words() {
    assert_eq!(noted(None, Some(Status::Resolved), "", false), Step::ResolveWithoutOpen);
    assert_eq!(noted(None, None, "Hello", true), Step::ResolveWithoutOpen);
    let (open, _) = opened(&event(), &Scope::Platform);
    let told = |step: Step| match step {
        Step::Update(pair) => Some((pair.1.change, pair.0.status, pair.1.message, pair.1.public_message)),
        Step::Repeat(_) => None,
        other => panic!("{other:?}"),
    };
    let acknowledged = told(noted(Some(&open), Some(Status::Identified), "db-7.internal", false)).unwrap();
    assert_eq!((acknowledged.0, acknowledged.1), (Change::StatusChanged, Status::Identified));
    assert_eq!((acknowledged.2.as_str(), acknowledged.3.as_str()), ("db-7.internal", ""), "open is public");
    let words = told(noted(Some(&open), None, "We called the carrier.", true)).unwrap();
    assert_eq!((words.0, words.3.as_str()), (Change::TextAdded, ""));
    // Once more, further on already, only for the record, without a word.
    let further = Incident { status: Status::Monitoring, ..open.clone() };
    assert_eq!(told(noted(Some(&further), Some(Status::Identified), "", false)), None);
    assert_eq!(told(noted(Some(&open), None, "No data.", false)), None);
    assert_eq!(told(noted(Some(&open), None, " ", true)), None);
}

#[test]
fn what_overtakes_on_the_way_is_put_in_its_place() {
    let said = |second: i64, over: bool| Event {
        starts_at: None,
        as_of: Some(at(second)),
        status: over.then_some(Status::Resolved),
        ..event()
    };
    let (integration, id) = (IntegrationId::new("x"), EventId::new("9"));
    let arrival = Arrival {
        event_id: &id,
        scope: &Scope::Platform,
        key: "k",
        integration_id: &integration,
        correlation_id: "c",
        accepted_at: at(9),
    };
    // The end came first: the beginning is stale when it comes, and the next beginning opens.
    let ended = said(20, true);
    assert_eq!(step(None, None, &ended, 1, &Scope::Platform), Step::ResolveWithoutOpen);
    let key = ended_before_it_began(&ended, None, &arrival).unwrap();
    assert_eq!(step(Some(&key), None, &said(10, false), 2, &Scope::Platform), Step::Stale);
    assert!(matches!(step(Some(&key), None, &said(30, false), 3, &Scope::Platform), Step::Open(_)));
    assert_eq!(ended_before_it_began(&said(15, true), Some(&key), &arrival), None, "an older end says nothing new");
    let silent = Event { as_of: None, ..ended };
    assert_eq!(ended_before_it_began(&silent, None, &arrival), None, "a source that names no times cannot be ordered");

    // An old end does not resolve what has begun anew since.
    let (open, _) = opened(&said(10, false), &Scope::Platform);
    let Step::Repeat(again) = step(None, Some(&open), &said(30, false), 2, &Scope::Platform) else { panic!() };
    assert_eq!(step(None, Some(&again), &said(20, true), 3, &Scope::Platform), Step::Stale);
    assert!(matches!(step(None, Some(&again), &said(40, true), 4, &Scope::Platform), Step::Update(_)));
}

#[test]
fn a_letter_that_was_sent_again_after_its_time_tells_nothing() {
    let fresh = Event { starts_at: None, ..event() };
    let (open, _) = opened(&fresh, &Scope::Platform);
    let busy = Incident { last_seen: at(3_600), ..open.clone() };
    let worse = Event { severity: Severity::Critical, ..fresh.clone() };
    assert_eq!(step(None, Some(&busy), &worse, 2, &Scope::Platform), Step::Stale);
    let near = Incident { last_seen: at(30), ..open.clone() };
    assert!(matches!(step(None, Some(&near), &worse, 2, &Scope::Platform), Step::Update(_)), "clocks may differ");
    let key = |closed| KeyState {
        incident_id: open.id.clone(),
        open: false,
        source_started_at: None,
        as_of: None,
        closed_at: Some(closed),
        openings: None,
    };
    assert_eq!(step(Some(&key(at(3_600))), None, &fresh, 2, &Scope::Platform), Step::Stale);
    assert!(matches!(step(Some(&key(at(30))), None, &fresh, 2, &Scope::Platform), Step::Open(_)));
}

/// Takes the types of a maintenance through the machine one after another; what each did, and where the work stands then.
fn maintained(events: &[(&str, Option<i64>, Option<i64>)]) -> Vec<Option<(Change, Status, Planned)>> {
    let class = Included { kind: Kind::Maintenance, ..class() };
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
        let arrival = Arrival {
            event_id: &id,
            scope: &Scope::Platform,
            key: "k",
            integration_id: &integration,
            correlation_id: "c",
            accepted_at: at(n),
        };
        let step = advance(None, open.as_ref(), &event, &class, &arrival);
        steps.push(match step {
            Step::Open(pair) | Step::Update(pair) => {
                let (incident, update) = *pair;
                let done = (update.change, incident.status, incident.maintenance.unwrap());
                open = Some(incident).filter(|incident| incident.resolved_at.is_none());
                Some(done)
            }
            Step::Repeat(incident) => {
                open = Some(*incident);
                None
            }
            other => panic!("{other:?}"),
        });
    }
    steps
}

#[test]
fn a_maintenance_is_announced_reminded_of_begun_verified_and_completed() {
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
    let said: Vec<_> = steps.iter().map(|step| step.map(|(change, _, planned)| (change, planned.phase))).collect();
    assert_eq!(
        said,
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
    assert_eq!(planned(5).from, at(6), "it began before its time");
    assert_eq!(steps[7].unwrap().1, Status::Resolved);
}

#[test]
fn what_its_source_told_late_says_when_it_happened() {
    for (before, late) in [(299, false), (300, false), (301, true), (86_400, true)] {
        let event = Event { starts_at: Some(at(1 - before)), ..event() };
        let (_, update) = opened(&event, &Scope::Platform);
        assert_eq!(update.late_source, late.then(|| at(1 - before)), "{before} s");
    }
    assert_eq!(opened(&Event { starts_at: None, ..event() }, &Scope::Platform).1.late_source, None);
}

#[test]
fn announced_work_is_reminded_of_once_and_only_where_nothing_was_said_since() {
    const HOUR: i64 = 3_600;
    let hour = SignedDuration::from_secs(HOUR);
    let (id, integration) = (EventId::new("1"), IntegrationId::new("x"));
    let arrival = |now: i64| Arrival {
        event_id: &id,
        scope: &Scope::Platform,
        key: "k",
        integration_id: &integration,
        correlation_id: "c",
        accepted_at: at(now),
    };
    let announced = |begins: i64| {
        let said = Event { event_type: "maintenance.announced".into(), starts_at: Some(at(begins)), ..event() };
        let class = Included { kind: Kind::Maintenance, ..class() };
        match advance(None, None, &said, &class, &arrival(0)) {
            Step::Open(pair) => *pair,
            other => panic!("{other:?}"),
        }
    };
    let (work, first) = announced(24 * HOUR);
    let noted = Reminder::of(&work, hour, "c", at(0)).unwrap();
    assert_eq!((noted.at, noted.update), (at(23 * HOUR), 1));
    assert!(Reminder::of(&announced(2 * HOUR).0, hour, "c", at(0)).is_some());
    let fresh = announced(2 * HOUR - 1).0;
    assert_eq!(Reminder::of(&fresh, hour, "c", at(0)), None, "they heard of it less than an hour before");
    assert_eq!(Reminder::of(&work, SignedDuration::ZERO, "c", at(0)), None, "never");
    assert_eq!(Reminder::of(&opened(&event(), &Scope::Platform).0, hour, "c", at(0)), None, "no work");

    let reminded = |work: &Incident, said: Option<&Update>, now: i64| match advance_by_reminder(
        work,
        (noted.update, said),
        &arrival(now),
        at(now),
    ) {
        Step::Update(pair) => Some(*pair),
        Step::Stale => None,
        other => panic!("{other:?}"),
    };
    let (next, update) = reminded(&work, Some(&first), 23 * HOUR).unwrap();
    assert_eq!((update.change, update.number, &update.message), (Change::Reminded, 2, &first.message));
    assert_eq!((next.status, next.maintenance), (work.status, work.maintenance), "it stands as it stood");
    assert_eq!(update.public_message, "This is a reminder: the work begins soon.");
    assert!(reminded(&work, None, 23 * HOUR).is_some(), "what it said may be gone by then");
    assert_eq!(reminded(&next, Some(&first), 23 * HOUR), None, "once");
    assert_eq!(reminded(&work, Some(&first), 24 * HOUR), None, "it should have begun");
    let off = Incident { resolved_at: Some(at(9)), ..work.clone() };
    assert_eq!(reminded(&off, Some(&first), 23 * HOUR), None, "called off");
    let begun = work.maintenance.map(|planned| Planned { phase: Phase::InProgress, ..planned });
    let begun = Incident { maintenance: begun, ..work.clone() };
    assert_eq!(reminded(&begun, Some(&first), 23 * HOUR), None, "it has begun");
}
