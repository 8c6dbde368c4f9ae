//! Scheduled maintenance: its phases and hours, its window, and the incidents that the window suppresses.
//!
//! A maintenance is an incident of the kind [`Kind::Maintenance`]. The type of each event of its dedup key says which phase begins. An
//! incident that affects only what is under maintenance is suppressed: it is named in the messages about the maintenance, and notifies
//! on its own only if it is more severe than announced or outlasts the window.

use crate::event::Event;
use crate::ids::{IncidentId, Scope, TenantId};
use crate::reason::Reason;
use crate::schema::Instant;
use crate::vocabulary::{Kind, Phase, Severity, Status};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The event type of maintenance reminders.
pub const REMINDER_TYPE: &str = "maintenance.reminder";

/// How often an alert that a maintenance suppresses is rechecked, in seconds, because the maintenance may end early or be rescheduled.
/// Rechecks are aligned to the clock, so that the updates of one incident are rechecked together and sent in order.
const RECHECK_INTERVAL_SECONDS: i64 = 600;

/// Phase and hours of a maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MaintenanceSchedule {
    /// The phase that the maintenance is in.
    pub phase: Phase,
    /// The start: the event's `starts_at`, or else when it was announced; the actual start if that was earlier.
    #[schemars(with = "Instant")]
    pub from: Timestamp,
    /// The planned end: the event's `ends_at`. A maintenance without it suppresses no incidents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub until: Option<Timestamp>,
}

impl MaintenanceSchedule {
    /// Whether a maintenance that ended at `ended` was canceled, that is, ended before its planned start.
    #[must_use]
    pub fn is_canceled(&self, ended: Option<Timestamp>) -> bool {
        ended.is_some_and(|ended| ended <= self.from)
    }
}

/// The hours and the scope of a maintenance, with which incidents are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceWindow {
    /// The incident id of the maintenance.
    pub incident_id: IncidentId,
    /// The components under maintenance.
    pub components: Vec<String>,
    /// The regions under maintenance; all of them if empty.
    pub regions: Vec<String>,
    /// The announced severity. More severe incidents are not suppressed.
    pub severity: Severity,
    /// The start of the window, inclusive.
    pub from: Timestamp,
    /// The end of the window, exclusive.
    pub until: Timestamp,
}

/// Which maintenance suppresses an incident, and how far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MaintenanceSuppression {
    /// The incident id of the maintenance.
    pub by: IncidentId,
    /// The end of the suppression. If the incident is still open by then, its recipients are notified.
    #[schemars(with = "Instant")]
    pub until: Timestamp,
    /// The highest suppressed severity. More severe updates are notified immediately.
    pub up_to: Severity,
    /// The latest end that the suppression may have, however often the window is moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub at_most_until: Option<Timestamp>,
}

impl MaintenanceSuppression {
    /// Returns the suppression with the current end of its window, or unchanged if the window is no longer known.
    #[must_use]
    pub fn with_current_end(&self, windows: &[MaintenanceWindow]) -> Self {
        let window = windows.iter().find(|window| window.incident_id == self.by);
        let until = window.map_or(self.until, |window| window.until);
        Self { until: self.at_most_until.map_or(until, |latest| until.min(latest)), ..self.clone() }
    }
}

/// An incident that a maintenance suppresses, as messages about the maintenance name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuppressedIncident {
    /// The id of the incident.
    pub incident_id: IncidentId,
    /// The scope of the incident. Only messages to this scope name it.
    pub scope: Scope,
    /// The title of the incident.
    pub title: String,
    /// When the incident started.
    pub from: Timestamp,
    /// When the incident was resolved; `None` while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether the incident is no longer suppressed, because it became more severe than announced; it then notifies on its own.
    #[serde(default)]
    pub escalated: bool,
}

/// The incidents that a maintenance has suppressed so far, as messages to one tenant show them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuppressedIncidents {
    /// At most [`SuppressedIncidents::NAMED_MAX`] incidents: open ones first, then by start.
    pub incidents: Vec<SuppressedIncident>,
    /// Number of further incidents.
    #[serde(default)]
    pub omitted_count: usize,
}

impl SuppressedIncidents {
    /// Maximum number of incidents that a message names.
    pub const NAMED_MAX: usize = 10;

    /// Selects the incidents that concern a tenant: its own and platform-wide ones, without escalated ones.
    #[must_use]
    pub fn of(suppressed: &[SuppressedIncident], tenant: &TenantId) -> Self {
        let concerns = |incident: &&SuppressedIncident| {
            !incident.escalated && incident.scope.tenant().is_none_or(|owner| owner == tenant)
        };
        let mut incidents: Vec<SuppressedIncident> = suppressed.iter().filter(concerns).cloned().collect();
        incidents.sort_by_key(|incident| (incident.until.is_some(), incident.from));
        let mut selected = Self { incidents, omitted_count: 0 };
        selected.limit_named(Self::NAMED_MAX);
        selected
    }

    /// Keeps at most `max` incidents and counts the others.
    pub fn limit_named(&mut self, max: usize) {
        self.omitted_count += self.incidents.len().saturating_sub(max);
        self.incidents.truncate(max);
    }

    /// Returns the number of incidents, named or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.incidents.len() + self.omitted_count
    }
}

/// A scheduled reminder of a maintenance, stored with its latest announcement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reminder {
    /// The incident id of the maintenance.
    pub incident_id: IncidentId,
    /// The scope of the maintenance.
    pub scope: Scope,
    /// The hash of its dedup key, which keeps the reminder in order with the events of that key.
    pub key: String,
    /// When the reminder is due.
    pub at: Timestamp,
    /// The number of the latest update when the reminder was scheduled. A newer update makes the reminder stale.
    pub update: u32,
    /// The correlation id of the upstream request that announced the maintenance.
    pub correlation_id: String,
}

/// Returns when an alert that is held until `until` is checked next: at the next recheck if a maintenance suppresses it, otherwise at
/// `until` itself.
#[must_use]
pub fn next_recheck(until: Timestamp, reason: Reason, now: Timestamp) -> Timestamp {
    if reason != Reason::CoveredByMaintenance {
        return until;
    }
    let interval = now.as_second().div_euclid(RECHECK_INTERVAL_SECONDS) + 1;
    let Ok(recheck) = Timestamp::from_second(interval * RECHECK_INTERVAL_SECONDS) else { return until };
    // The due index is by the minute, so a recheck in the same minute as the end would be of no use.
    let is_sooner = recheck.as_second().div_euclid(60) < until.as_second().div_euclid(60);
    if is_sooner { recheck } else { until }
}

/// Returns the phase that begins with an event of this type; `None` for other types.
#[must_use]
pub fn phase_of_event_type(event_type: &str) -> Option<Phase> {
    match event_type {
        "maintenance.announced" | REMINDER_TYPE => Some(Phase::Scheduled),
        "maintenance.started" => Some(Phase::InProgress),
        "maintenance.verifying" => Some(Phase::Verifying),
        "maintenance.completed" => Some(Phase::Completed),
        _ => None,
    }
}

/// Returns the status that an event asks for: the one that it states, or else the one of the maintenance phase that it begins.
#[must_use]
pub fn requested_status(event: &Event) -> Option<Status> {
    event.status.or_else(|| match phase_of_event_type(&event.event_type)? {
        Phase::Scheduled => None,
        Phase::InProgress => Some(Status::Identified),
        Phase::Verifying => Some(Status::Monitoring),
        Phase::Completed => Some(Status::Resolved),
    })
}

/// Returns phase and hours of a maintenance after a step at `now`; `None` for other kinds. `status` is the incident's status after it,
/// and `event` is the event that was applied, if there was one.
#[must_use]
pub fn next_schedule(
    kind: Kind,
    before: Option<&MaintenanceSchedule>,
    status: Status,
    event: Option<&Event>,
    now: Timestamp,
) -> Option<MaintenanceSchedule> {
    if kind != Kind::Maintenance {
        return None;
    }
    let phase = match status {
        Status::Investigating => Phase::Scheduled,
        Status::Identified => Phase::InProgress,
        Status::Monitoring => Phase::Verifying,
        Status::Resolved => Phase::Completed,
    };
    // A maintenance that completes without having started was canceled, or its start was not reported. It keeps its hours.
    let had_started = before.is_some_and(|before| before.phase != Phase::Scheduled);
    let has_started = had_started || matches!(phase, Phase::InProgress | Phase::Verifying);
    let stated = event.and_then(|event| event.starts_at).filter(|_| !had_started);
    let from = stated.or(before.map(|before| before.from)).unwrap_or(now);
    let until = event.and_then(|event| event.ends_at).or(before.and_then(|before| before.until));
    Some(MaintenanceSchedule { phase, from: if has_started { from.min(now) } else { from }, until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Format;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_tenant_sees_its_own_and_platform_wide_incidents() {
        let tenant = |id: &str| TenantId::parse(id).unwrap();
        let one = |id: &str, scope, until: Option<&str>| SuppressedIncident {
            incident_id: IncidentId::new(id),
            scope,
            title: id.to_owned(),
            from: at("2026-11-23T20:30:00Z"),
            until: until.map(at),
            escalated: id == "worse",
        };
        let mut all = vec![
            one("over", Scope::Platform, Some("2026-11-23T20:40:00Z")),
            one("own", Scope::Tenant(tenant("acme")), None),
            one("other", Scope::Tenant(tenant("globex")), None),
            one("worse", Scope::Platform, None),
        ];
        let selected = SuppressedIncidents::of(&all, &tenant("acme"));
        let titles: Vec<&str> = selected.incidents.iter().map(|one| one.title.as_str()).collect();
        assert_eq!((titles, selected.omitted_count), (vec!["own", "over"], 0));
        all.extend((0..20).map(|number| one(&format!("p{number}"), Scope::Platform, Some("2026-11-23T20:50:00Z"))));
        let mut selected = SuppressedIncidents::of(&all, &tenant("acme"));
        assert_eq!((selected.incidents.len(), selected.omitted_count, selected.count()), (10, 12, 22));
        assert_eq!(selected.incidents[0].title, "own", "open incidents come first");
        selected.limit_named(3);
        assert_eq!((selected.incidents.len(), selected.count()), (3, 22));
    }

    #[test]
    fn an_early_start_becomes_the_start_of_the_maintenance() {
        let mut event = Event::blank(Format::Native, "ops");
        event.starts_at = Some(at("2026-11-23T20:00:00Z"));
        event.ends_at = Some(at("2026-11-23T22:00:00Z"));
        let announced =
            next_schedule(Kind::Maintenance, None, Status::Investigating, Some(&event), at("2026-11-20T00:00:00Z"))
                .unwrap();
        assert_eq!((announced.phase, announced.from), (Phase::Scheduled, at("2026-11-23T20:00:00Z")));
        let early = at("2026-11-23T19:30:00Z");
        let started = next_schedule(Kind::Maintenance, Some(&announced), Status::Identified, None, early).unwrap();
        assert_eq!((started.phase, started.from, started.until), (Phase::InProgress, early, announced.until));
        assert_eq!(next_schedule(Kind::Incident, None, Status::Investigating, Some(&event), early), None);
    }

    #[test]
    fn a_canceled_maintenance_keeps_its_hours() {
        let announced = MaintenanceSchedule { phase: Phase::Scheduled, from: at("2026-12-10T20:00:00Z"), until: None };
        let over = |before: &MaintenanceSchedule, event: Option<&Event>, now: &str| {
            let schedule = next_schedule(Kind::Maintenance, Some(before), Status::Resolved, event, at(now)).unwrap();
            assert_eq!(schedule.phase, Phase::Completed);
            (schedule.from, schedule.is_canceled(Some(at(now))))
        };
        assert_eq!(over(&announced, None, "2026-12-08T09:00:00Z"), (announced.from, true));
        assert_eq!(
            over(&announced, None, "2026-12-10T21:00:00Z"),
            (announced.from, false),
            "its start was not reported"
        );
        // It started early, and its last event repeats the announced start.
        let started = MaintenanceSchedule { phase: Phase::InProgress, from: at("2026-12-10T19:00:00Z"), until: None };
        let mut event = Event::blank(Format::Native, "ops");
        event.starts_at = Some(announced.from);
        assert_eq!(over(&started, Some(&event), "2026-12-10T19:30:00Z"), (started.from, false));
    }

    #[test]
    fn a_suppressed_alert_is_rechecked_every_ten_minutes_against_the_current_window() {
        let (now, until) = (at("2026-11-23T20:00:00Z"), at("2026-11-23T22:00:00Z"));
        let covered = Reason::CoveredByMaintenance;
        assert_eq!(next_recheck(until, covered, now), at("2026-11-23T20:10:00Z"));
        assert_eq!(next_recheck(until, covered, at("2026-11-23T20:09:59Z")), at("2026-11-23T20:10:00Z"));
        let soon = at("2026-11-23T20:10:08Z");
        assert_eq!(next_recheck(soon, covered, now), soon);
        assert_eq!(next_recheck(until, covered, at("2026-11-23T21:55:00Z")), until);
        assert_eq!(next_recheck(until, Reason::QuietHours, now), until);
        let suppression =
            MaintenanceSuppression { by: IncidentId::new("m"), until, up_to: Severity::Error, at_most_until: None };
        let shorter = MaintenanceWindow {
            incident_id: IncidentId::new("m"),
            components: Vec::new(),
            regions: Vec::new(),
            severity: Severity::Error,
            from: now,
            until: now,
        };
        assert_eq!(suppression.with_current_end(&[shorter]).until, now);
        assert_eq!(suppression.with_current_end(&[]), suppression, "unchanged if the window is no longer known");
    }
}
