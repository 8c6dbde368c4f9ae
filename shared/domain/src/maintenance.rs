//! Announced work: its phases, its hours, and the incidents that it explains.
//!
//! A maintenance is an incident of kind [`Kind::Maintenance`]: every event of its key moves it on, and the event's type says to
//! where. What breaks meanwhile where it was announced is told as part of it, unless it is worse than announced or outlives it.

use crate::event::Event;
use crate::ids::{IncidentId, Scope, TenantId};
use crate::incident::{Incident, Step};
use crate::reason::Reason;
use crate::schema::Instant;
use crate::vocabulary::{Category, Kind, Phase, Severity, Status};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The type of the event that reminds of announced work.
pub const REMINDER: &str = "maintenance.reminder";

/// Where announced work stands, and its hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// Where it stands.
    pub phase: Phase,
    /// When it begins: the event's `starts_at`, else when it was announced; when it did begin, if that was earlier.
    #[schemars(with = "Instant")]
    pub from: Timestamp,
    /// When it is to end: the event's `ends_at`. Without it the work explains no incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub until: Option<Timestamp>,
}

impl Planned {
    /// Whether the work, over at `ended`, was called off: it was over before it was to begin.
    #[must_use]
    pub fn is_called_off(&self, ended: Option<Timestamp>) -> bool {
        ended.is_some_and(|ended| ended <= self.from)
    }
}

/// The hours and the reach of one announced work, as incidents are compared with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The maintenance.
    pub incident_id: IncidentId,
    /// What is worked on.
    pub components: Vec<String>,
    /// Where; empty is everywhere.
    pub regions: Vec<String>,
    /// The worst that it announced.
    pub severity: Severity,
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
}

/// The work that explains an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Covered {
    /// The maintenance.
    pub by: IncidentId,
    /// Until when: who waits for the incident is told of it then, if it is still open.
    #[schemars(with = "Instant")]
    pub until: Timestamp,
    /// What is worse is told at once.
    pub up_to: Severity,
}

/// An incident that announced work explains, as its messages name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The incident.
    pub incident_id: IncidentId,
    /// Whom it is about: nobody else reads of it.
    pub scope: Scope,
    /// Its title.
    pub title: String,
    /// Since when.
    pub from: Timestamp,
    /// Until when; `None` while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// True once it got worse than announced: then it is told by itself.
    #[serde(default)]
    pub alone: bool,
}

/// What announced work explained so far, as one tenant is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// At most [`Inside::NAMED_MAX`]: what is still open first, then by its beginning.
    pub incidents: Vec<Explained>,
    /// How many more there are.
    #[serde(default)]
    pub more: usize,
}

impl Inside {
    /// Most incidents that a message names.
    pub const NAMED_MAX: usize = 10;

    /// What concerns a tenant: its own incidents, and those of everybody.
    #[must_use]
    pub fn of(explained: &[Explained], tenant: &TenantId) -> Self {
        let concerns = |one: &&Explained| !one.alone && one.scope.tenant().is_none_or(|whose| whose == tenant);
        let mut incidents: Vec<Explained> = explained.iter().filter(concerns).cloned().collect();
        incidents.sort_by_key(|one| (one.until.is_some(), one.from));
        let mut inside = Self { incidents, more: 0 };
        inside.name_at_most(Self::NAMED_MAX);
        inside
    }

    /// Names no more than so many, and counts the others.
    pub fn name_at_most(&mut self, most: usize) {
        self.more += self.incidents.len().saturating_sub(most);
        self.incidents.truncate(most);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.incidents.len() + self.more
    }
}

/// What is noted with the work that explains an incident, or that explained it before this step.
#[must_use]
pub fn noted(incident: &Incident, before: Option<&Incident>) -> Vec<(IncidentId, Explained)> {
    let by = |incident: &Incident| incident.covered.as_ref().map(|cover| cover.by.clone());
    let (now, then) = (by(incident), before.and_then(by));
    let note = |work: IncidentId, alone| {
        let explained = Explained {
            incident_id: incident.id.clone(),
            scope: incident.scope.clone(),
            title: incident.title.clone(),
            from: incident.started_at,
            until: incident.resolved_at,
            alone,
        };
        (work, explained)
    };
    let left = then.filter(|then| now.as_ref() != Some(then)).map(|work| note(work, true));
    now.map(|work| note(work, false)).into_iter().chain(left).collect()
}

/// How often what announced work explains is looked at, in seconds: work ends before its time, and its hours are changed. By the clock,
/// so that the updates of one incident are looked at together and go out in their order.
const LOOK_AGAIN: i64 = 600;

impl Covered {
    /// The same, with the hours that the work has by now.
    #[must_use]
    pub fn as_it_stands(&self, windows: &[Window]) -> Self {
        let now = windows.iter().find(|window| window.incident_id == self.by);
        Self { until: now.map_or(self.until, |window| window.until), ..self.clone() }
    }
}

/// When something that is held until then is looked at next: what announced work explains before that.
#[must_use]
pub fn look_again(until: Timestamp, reason: Reason, now: Timestamp) -> Timestamp {
    let next = Timestamp::from_second((now.as_second().div_euclid(LOOK_AGAIN) + 1) * LOOK_AGAIN).unwrap_or(until);
    // A minute is one slot of the due index: within it there is nothing to be looked at before.
    let sooner = next.as_second().div_euclid(60) < until.as_second().div_euclid(60);
    if reason == Reason::CoveredByMaintenance && sooner { next } else { until }
}

/// The same step, where announced work explains what opened, and as long as it goes on explaining it. What was told before the work
/// began stays told.
#[must_use]
pub fn explained(step: Step, before: Option<&Incident>, windows: &[Window], now: Timestamp) -> Step {
    let still = before.and_then(|incident| incident.covered.as_ref()).is_some_and(|cover| now < cover.until);
    match step {
        Step::Open(mut pair) => {
            pair.0.covered = covering(windows, &pair.0, now);
            Step::Open(pair)
        }
        Step::Update(mut pair) if still && pair.0.resolved_at.is_none() => {
            pair.0.covered = covering(windows, &pair.0, now);
            Step::Update(pair)
        }
        // Whether it was over before the work was is asked of the work's own end.
        Step::Update(mut pair) if pair.0.resolved_at.is_some() => {
            pair.0.covered = pair.0.covered.take().map(|cover| cover.as_it_stands(windows));
            Step::Update(pair)
        }
        other => other,
    }
}

/// The phase that an event of this type begins; `None` for what is no maintenance.
#[must_use]
pub fn phase(event_type: &str) -> Option<Phase> {
    match event_type {
        "maintenance.announced" | REMINDER => Some(Phase::Scheduled),
        "maintenance.started" => Some(Phase::InProgress),
        "maintenance.verifying" => Some(Phase::Verifying),
        "maintenance.completed" => Some(Phase::Completed),
        _ => None,
    }
}

/// The status that an event moves its incident to: what it states, else what its phase amounts to.
#[must_use]
pub fn asked(event: &Event) -> Option<Status> {
    event.status.or_else(|| match phase(&event.event_type)? {
        Phase::Scheduled => None,
        Phase::InProgress => Some(Status::Identified),
        Phase::Verifying => Some(Status::Monitoring),
        Phase::Completed => Some(Status::Resolved),
    })
}

/// What an event makes of announced work that stood at `before`, if it is any; `status` is the incident's afterwards.
#[must_use]
pub fn planned(
    kind: Kind,
    before: Option<&Planned>,
    status: Status,
    event: Option<&Event>,
    now: Timestamp,
) -> Option<Planned> {
    if kind != Kind::Maintenance {
        return None;
    }
    let phase = match status {
        Status::Investigating => Phase::Scheduled,
        Status::Identified => Phase::InProgress,
        Status::Monitoring => Phase::Verifying,
        Status::Resolved => Phase::Completed,
    };
    // What was announced only and is over was called off, or done without a word: it keeps its hours.
    let had_begun = before.is_some_and(|before| before.phase != Phase::Scheduled);
    let begun = had_begun || matches!(phase, Phase::InProgress | Phase::Verifying);
    let stated = event.and_then(|event| event.starts_at).filter(|_| !had_begun);
    let from = stated.or(before.map(|before| before.from)).unwrap_or(now);
    let until = event.and_then(|event| event.ends_at).or(before.and_then(|before| before.until));
    Some(Planned { phase, from: if begun { from.min(now) } else { from }, until })
}

/// The window of a maintenance; `None` for what is none, and for one without an end. One that is completed ends then.
#[must_use]
pub fn window(incident: &Incident) -> Option<Window> {
    let planned = incident.maintenance?;
    let until = planned.until?;
    Some(Window {
        incident_id: incident.id.clone(),
        components: incident.components.clone(),
        regions: incident.regions.clone(),
        severity: incident.severity,
        from: planned.from,
        until: incident.resolved_at.map_or(until, |ended| ended.min(until)),
    })
}

/// A reminder of announced work, as it is noted with what is said of the work long before it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reminder {
    /// The maintenance.
    pub incident_id: IncidentId,
    /// Whom it is about.
    pub scope: Scope,
    /// The hash of its key: a reminder stays in order with what is said of the work.
    pub key: String,
    /// When it is due.
    pub at: Timestamp,
    /// The newest update when it was noted; where there is a newer one by then, this is no reminder.
    pub update: u32,
    /// The upstream's request.
    pub correlation_id: String,
}

impl Reminder {
    /// The reminder of announced work, `before` it begins: where that is so far off that nobody will have heard of it for as long by then.
    #[must_use]
    pub fn of(incident: &Incident, before: SignedDuration, correlation_id: &str, now: Timestamp) -> Option<Self> {
        let planned = incident.maintenance.filter(|planned| planned.phase == Phase::Scheduled)?;
        let at = planned.from.checked_sub(before).ok()?;
        let is_far = now.checked_add(before).is_ok_and(|heard| heard <= at);
        (incident.resolved_at.is_none() && before > SignedDuration::ZERO && is_far).then(|| Self {
            incident_id: incident.id.clone(),
            scope: incident.scope.clone(),
            key: incident.key.clone(),
            at,
            update: incident.updates,
            correlation_id: correlation_id.to_owned(),
        })
    }
}

/// The work that explains an incident now: everything that the incident affects is worked on, where it is worked on, and it is
/// no worse than announced. Of several the one that lasts longest.
#[must_use]
pub fn covering(windows: &[Window], incident: &Incident, now: Timestamp) -> Option<Covered> {
    let explained = incident.kind == Kind::Incident && incident.category == Some(Category::Infrastructure);
    if !explained || incident.test || incident.components.is_empty() {
        return None;
    }
    let within = |all: &[String], some: &[String]| some.iter().all(|name| all.contains(name));
    let covers = |window: &&Window| {
        let here =
            window.regions.is_empty() || (!incident.regions.is_empty() && within(&window.regions, &incident.regions));
        let now_is_within = window.from <= now && now < window.until;
        here && now_is_within
            && within(&window.components, &incident.components)
            && incident.severity <= window.severity
    };
    let longest = windows.iter().filter(covers).max_by_key(|window| window.until)?;
    Some(Covered { by: longest.incident_id.clone(), until: longest.until, up_to: longest.severity })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn window() -> Window {
        Window {
            incident_id: IncidentId::new("m"),
            components: vec!["voice".into(), "sms".into()],
            regions: vec!["ap-south-1".into()],
            severity: Severity::Error,
            from: at("2026-11-23T20:00:00Z"),
            until: at("2026-11-23T22:00:00Z"),
        }
    }

    fn incident(components: &[&str], regions: &[&str], severity: &str) -> Incident {
        serde_json::from_value(
            serde_json::json!({"id": "inc_a", "scope": "platform", "key": "k", "integration_id": "int_s",
            "source": "monitor", "event_type": "voice.routing_failure", "dedup_key": "d", "category": "infrastructure",
            "kind": "incident", "rule": "r", "severity": severity, "status": "investigating", "title": "Down",
            "components": components, "regions": regions, "public": false, "started_at": "2026-11-23T20:30:00Z",
            "last_seen": "2026-11-23T20:30:00Z", "updates": 1, "version": 1}),
        )
        .unwrap()
    }

    fn covered(incident: &Incident, now: &str) -> bool {
        covering(&[window()], incident, at(now)).is_some()
    }

    #[test]
    fn only_what_was_announced_is_explained() {
        const NOW: &str = "2026-11-23T20:30:00Z";
        assert!(covered(&incident(&["voice"], &["ap-south-1"], "error"), NOW));
        assert!(covered(&incident(&["voice", "sms"], &["ap-south-1"], "info"), NOW));
        for (components, regions, severity, why) in [
            (&["voice"][..], &["ap-south-1"][..], "critical", "worse than announced"),
            (&["voice", "api"], &["ap-south-1"], "error", "something else is down too"),
            (&["voice"], &["ap-south-1", "eu-central-1"], "error", "elsewhere too"),
            (&["voice"], &[], "error", "nobody said where"),
            (&[], &["ap-south-1"], "error", "nobody said what"),
        ] {
            assert!(!covered(&incident(components, regions, severity), NOW), "{why}");
        }
        let everywhere = Window { regions: Vec::new(), ..window() };
        assert!(covering(&[everywhere], &incident(&["voice"], &[], "error"), at(NOW)).is_some());
    }

    #[test]
    fn a_test_is_told_whatever_is_worked_on() {
        let test = Incident { test: true, ..incident(&["voice"], &["ap-south-1"], "error") };
        assert_eq!(covering(&[window()], &test, at("2026-11-23T20:30:00Z")), None);
    }

    #[test]
    fn a_tenant_reads_of_its_own_incidents_and_of_everybodys() {
        let tenant = |id: &str| TenantId::parse(id).unwrap();
        let one = |id: &str, scope, until: Option<&str>| Explained {
            incident_id: IncidentId::new(id),
            scope,
            title: id.to_owned(),
            from: at("2026-11-23T20:30:00Z"),
            until: until.map(at),
            alone: id == "worse",
        };
        let mut all = vec![
            one("over", Scope::Platform, Some("2026-11-23T20:40:00Z")),
            one("own", Scope::Tenant(tenant("acme")), None),
            one("other", Scope::Tenant(tenant("globex")), None),
            one("worse", Scope::Platform, None),
        ];
        let named = |inside: &Inside| inside.incidents.iter().map(|one| one.title.clone()).collect::<Vec<_>>();
        let inside = Inside::of(&all, &tenant("acme"));
        assert_eq!((named(&inside), inside.more), (vec!["own".to_owned(), "over".to_owned()], 0));
        all.extend((0..20).map(|number| one(&format!("p{number}"), Scope::Platform, Some("2026-11-23T20:50:00Z"))));
        let mut inside = Inside::of(&all, &tenant("acme"));
        assert_eq!((inside.incidents.len(), inside.more, inside.count()), (10, 12, 22));
        assert_eq!(inside.incidents[0].title, "own", "what is open comes first");
        inside.name_at_most(3);
        assert_eq!((inside.incidents.len(), inside.count()), (3, 22));
    }

    #[test]
    fn what_is_explained_is_noted_with_the_work_and_what_got_worse_as_told_by_itself() {
        let plain = incident(&["voice"], &["ap-south-1"], "error");
        let by =
            |id: &str| Covered { by: IncidentId::new(id), until: at("2026-11-23T22:00:00Z"), up_to: Severity::Error };
        let explained = Incident { covered: Some(by("m")), ..plain.clone() };
        let notes = |incident: &Incident, before: Option<&Incident>| {
            let noted = noted(incident, before).into_iter();
            noted.map(|(work, note)| (work.to_string(), note.alone, note.until.is_some())).collect::<Vec<_>>()
        };
        let note = |work: &str, alone, over| (work.to_owned(), alone, over);
        assert_eq!(notes(&plain, None), []);
        assert_eq!(notes(&explained, None), [note("inc_m", false, false)]);
        let over = Incident { resolved_at: Some(at("2026-11-23T21:00:00Z")), ..explained.clone() };
        assert_eq!(notes(&over, Some(&explained)), [note("inc_m", false, true)]);
        assert_eq!(notes(&plain, Some(&explained)), [note("inc_m", true, false)]);
        let other = Incident { covered: Some(by("n")), ..plain.clone() };
        assert_eq!(notes(&other, Some(&explained)), [note("inc_n", false, false), note("inc_m", true, false)]);
    }

    #[test]
    fn its_hours_include_their_beginning_and_not_their_end() {
        let incident = incident(&["voice"], &["ap-south-1"], "error");
        for (now, inside) in [
            ("2026-11-23T19:59:59.999Z", false),
            ("2026-11-23T20:00:00Z", true),
            ("2026-11-23T21:59:59.999Z", true),
            ("2026-11-23T22:00:00Z", false),
        ] {
            assert_eq!(covered(&incident, now), inside, "{now}");
        }
        let longer = Window { until: at("2026-11-23T23:00:00Z"), incident_id: IncidentId::new("n"), ..window() };
        let by = covering(&[window(), longer], &incident, at("2026-11-23T21:00:00Z")).unwrap();
        assert_eq!((by.by.as_str(), by.until), ("inc_n", at("2026-11-23T23:00:00Z")));
    }

    #[test]
    fn what_begins_early_or_ends_early_says_so() {
        let mut event = Event::blank(crate::event::Format::Native, "ops");
        event.starts_at = Some(at("2026-11-23T20:00:00Z"));
        event.ends_at = Some(at("2026-11-23T22:00:00Z"));
        let announced =
            planned(Kind::Maintenance, None, Status::Investigating, Some(&event), at("2026-11-20T00:00:00Z")).unwrap();
        assert_eq!((announced.phase, announced.from), (Phase::Scheduled, at("2026-11-23T20:00:00Z")));
        let early = at("2026-11-23T19:30:00Z");
        let begun = planned(Kind::Maintenance, Some(&announced), Status::Identified, None, early).unwrap();
        assert_eq!((begun.phase, begun.from, begun.until), (Phase::InProgress, early, announced.until));
        let mut over = incident(&["voice"], &[], "error");
        over.kind = Kind::Maintenance;
        over.maintenance = Some(begun);
        over.resolved_at = Some(at("2026-11-23T21:00:00Z"));
        assert_eq!(super::window(&over).unwrap().until, at("2026-11-23T21:00:00Z"));
        assert_eq!(planned(Kind::Incident, None, Status::Investigating, Some(&event), early), None);
    }

    #[test]
    fn what_is_called_off_keeps_its_hours() {
        let announced = Planned { phase: Phase::Scheduled, from: at("2026-12-10T20:00:00Z"), until: None };
        let over = |before: &Planned, event: Option<&Event>, now: &str| {
            let planned = planned(Kind::Maintenance, Some(before), Status::Resolved, event, at(now)).unwrap();
            assert_eq!(planned.phase, Phase::Completed);
            (planned.from, planned.is_called_off(Some(at(now))))
        };
        assert_eq!(over(&announced, None, "2026-12-08T09:00:00Z"), (announced.from, true));
        assert_eq!(over(&announced, None, "2026-12-10T21:00:00Z"), (announced.from, false), "done without a word");
        // Begun early, and its end names the hours that were announced.
        let begun = Planned { phase: Phase::InProgress, from: at("2026-12-10T19:00:00Z"), until: None };
        let mut event = Event::blank(crate::event::Format::Native, "ops");
        event.starts_at = Some(announced.from);
        assert_eq!(over(&begun, Some(&event), "2026-12-10T19:30:00Z"), (begun.from, false));
    }

    #[test]
    fn what_work_explained_is_looked_at_before_its_end_and_by_the_hours_that_it_has_by_then() {
        let (now, until) = (at("2026-11-23T20:00:00Z"), at("2026-11-23T22:00:00Z"));
        let covered = Reason::CoveredByMaintenance;
        assert_eq!(look_again(until, covered, now), at("2026-11-23T20:10:00Z"));
        assert_eq!(look_again(until, covered, at("2026-11-23T20:09:59Z")), at("2026-11-23T20:10:00Z"));
        let soon = at("2026-11-23T20:10:08Z");
        assert_eq!(look_again(soon, covered, now), soon);
        assert_eq!(look_again(until, covered, at("2026-11-23T21:55:00Z")), until);
        assert_eq!(look_again(until, Reason::QuietHours, now), until);
        let cover = Covered { by: IncidentId::new("m"), until, up_to: Severity::Error };
        let shorter = Window { until: now, ..window() };
        assert_eq!(cover.as_it_stands(&[shorter]).until, now);
        assert_eq!(cover.as_it_stands(&[]), cover, "what is known no more is as it was");
    }
}
