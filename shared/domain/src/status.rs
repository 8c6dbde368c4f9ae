//! The status of the product, derived from its open incidents: by component, by region, and as a whole.

use crate::ids::IncidentId;
use crate::maintenance::MaintenanceSchedule;
use crate::policy::Catalogue;
use crate::vocabulary::{Health, Impact, Indicator, Kind, Phase, Severity, Status};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long an advisory is shown after its latest update. Advisories are never resolved.
pub const ADVISORY_SHOWN_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Number of days in a component's history.
pub const HISTORY_DAYS: usize = 90;

/// An incident as the status page shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedIncident {
    /// The id of the incident.
    pub id: IncidentId,
    /// The title for this reader: the public one, or the tenant's own.
    pub title: String,
    /// The kind of the incident.
    #[serde(default = "default_kind")]
    pub kind: Kind,
    /// The current status of the incident.
    pub status: Status,
    /// The current severity of the incident.
    pub severity: Severity,
    /// The components that the incident affects.
    pub components: Vec<String>,
    /// The regions that the incident affects.
    pub regions: Vec<String>,
    /// When the incident started.
    pub started_at: Timestamp,
    /// When the latest update was accepted.
    pub updated_at: Timestamp,
    /// When the incident was resolved.
    #[serde(default)]
    pub resolved_at: Option<Timestamp>,
    /// Phase and hours of a maintenance; `None` for other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceSchedule>,
    /// The maintenance that suppresses the incident, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered_by: Option<IncidentId>,
}

fn default_kind() -> Kind {
    Kind::Incident
}

/// An update as the status page shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedUpdate {
    /// The number of the update, from 1.
    pub number: u32,
    /// When the update was accepted.
    pub at: Timestamp,
    /// The status after the update.
    pub status: Status,
    /// The text of the update.
    pub message: String,
    /// When its incident was opened: its place in the list of public incidents. `None` in a view that is older than this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
}

impl PublishedIncident {
    /// Whether the incident is over: resolved, or an advisory without an update for [`ADVISORY_SHOWN_FOR`].
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        let ended = self.status == Status::Resolved || self.resolved_at.is_some();
        ended || (self.kind == Kind::Advisory && now.duration_since(self.updated_at) > ADVISORY_SHOWN_FOR)
    }

    /// Returns when the incident was resolved, or else when it was last updated.
    #[must_use]
    pub fn ended_at(&self) -> Timestamp {
        self.resolved_at.unwrap_or(self.updated_at)
    }

    /// Whether this is a maintenance that was canceled: it ended before its planned start.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.maintenance.is_some_and(|schedule| schedule.is_canceled(self.resolved_at))
    }

    /// Returns the health of the components that the incident affects. Advisories change nothing, and a maintenance changes it only while it
    /// is in progress.
    #[must_use]
    pub fn health(&self) -> Health {
        match (self.kind, self.severity) {
            (Kind::Maintenance, _) => match self.maintenance.map(|schedule| schedule.phase) {
                Some(Phase::InProgress | Phase::Verifying) => Health::UnderMaintenance,
                _ => Health::Operational,
            },
            (Kind::Advisory | Kind::OptIn | Kind::Excluded, _) | (Kind::Incident, Severity::Info) => {
                Health::Operational
            }
            (Kind::Incident, Severity::Warning) => Health::DegradedPerformance,
            (Kind::Incident, Severity::Error) => Health::PartialOutage,
            (Kind::Incident, Severity::Critical) => Health::MajorOutage,
        }
    }

    /// Finds the maintenance among `all` that suppresses the incident; `None` once the incident outlasts its window.
    #[must_use]
    pub fn enclosing_maintenance<'a>(&self, all: &'a [Self], now: Timestamp) -> Option<&'a Self> {
        let by = self.covered_by.as_ref()?;
        let maintenance = all.iter().find(|maintenance| maintenance.id == *by)?;
        let until = maintenance.maintenance?.until?;
        let until = maintenance.resolved_at.map_or(until, |ended| ended.min(until));
        let within = self.resolved_at.map_or(now < until, |ended| ended <= until);
        within.then_some(maintenance)
    }

    /// Returns the health of the affected components, which is `UnderMaintenance` at worst while a maintenance suppresses the incident.
    fn effective_health(&self, all: &[Self], now: Timestamp) -> Health {
        match self.enclosing_maintenance(all, now) {
            Some(_) => self.health().min(Health::UnderMaintenance),
            None => self.health(),
        }
    }

    /// Returns the impact in Statuspage's terms.
    #[must_use]
    pub fn impact(&self) -> Impact {
        match (self.kind, self.severity) {
            (Kind::Incident, Severity::Warning) => Impact::Minor,
            (Kind::Incident, Severity::Error) => Impact::Major,
            (Kind::Incident, Severity::Critical) => Impact::Critical,
            (Kind::Maintenance, _) => Impact::Maintenance,
            _ => Impact::None,
        }
    }
}

/// The status of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentStatus {
    /// The id of the component.
    pub id: String,
    /// The name that people read; the id if the catalogue does not have the component.
    pub name: String,
    /// The description; empty if the catalogue does not have the component.
    pub description: String,
    /// The worst health that an open incident gives it.
    pub health: Health,
    /// The regions where it is not operational, by name; empty if no incident names a region.
    pub regions: Vec<(String, Health)>,
    /// When an open incident that names it was last updated.
    pub updated_at: Option<Timestamp>,
}

/// The status of all components, and of the product as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusOverview {
    /// All components of the catalogue, in its order, followed by others that incidents name.
    pub components: Vec<ComponentStatus>,
    /// The status of the product as a whole.
    pub indicator: Indicator,
}

/// Summarizes the status at `now`. An incident that names no component counts for the product as a whole only.
#[must_use]
pub fn summarize_status(catalogue: &Catalogue, incidents: &[PublishedIncident], now: Timestamp) -> StatusOverview {
    let open: Vec<&PublishedIncident> = incidents.iter().filter(|incident| !incident.is_over(now)).collect();
    let mut lines: Vec<ComponentStatus> =
        catalogue.components.iter().map(|known| operational(&known.id, &known.name, &known.description)).collect();
    for incident in &open {
        for name in &incident.components {
            let place = lines.iter().position(|line| line.id == *name).unwrap_or_else(|| {
                lines.push(operational(name, name, ""));
                lines.len() - 1
            });
            let Some(line) = lines.get_mut(place) else { continue };
            let health = incident.effective_health(incidents, now);
            line.health = line.health.max(health);
            line.updated_at = line.updated_at.max(Some(incident.updated_at));
            for region in incident.regions.iter().filter(|_| health != Health::Operational) {
                let region = catalogue.region_name(region);
                match line.regions.iter_mut().find(|(known, _)| known == region) {
                    Some((_, known)) => *known = (*known).max(health),
                    None => line.regions.push((region.to_owned(), health)),
                }
            }
        }
    }
    let worst =
        open.iter().map(|incident| incident.effective_health(incidents, now)).max().unwrap_or(Health::Operational);
    let indicator = match worst {
        Health::Operational => Indicator::None,
        Health::UnderMaintenance => Indicator::Maintenance,
        Health::DegradedPerformance => Indicator::Minor,
        Health::PartialOutage => Indicator::Major,
        Health::MajorOutage => Indicator::Critical,
    };
    StatusOverview { components: lines, indicator }
}

fn operational(id: &str, name: &str, description: &str) -> ComponentStatus {
    ComponentStatus {
        id: id.to_owned(),
        name: name.to_owned(),
        description: description.to_owned(),
        health: Health::Operational,
        regions: Vec::new(),
        updated_at: None,
    }
}

/// Returns the worst health of each UTC day of the last [`HISTORY_DAYS`] days, oldest first, for each component that an incident names. An
/// incident counts on every day on which it was open, with its latest severity.
#[must_use]
pub fn daily_history(incidents: &[PublishedIncident], now: Timestamp) -> BTreeMap<&str, Vec<(Date, Health)>> {
    let today = day(now);
    let days = || {
        (0..HISTORY_DAYS)
            .rev()
            .filter_map(move |back| today.checked_sub(jiff::Span::new().days(i64::try_from(back).ok()?)).ok())
    };
    let mut all: BTreeMap<&str, Vec<(Date, Health)>> = BTreeMap::new();
    for incident in incidents {
        let (from, until) = match incident.maintenance {
            Some(planned) => (planned.from, incident.resolved_at.unwrap_or(now)),
            None => (incident.started_at, incident.resolved_at.unwrap_or(now)),
        };
        let health = match incident.kind {
            Kind::Maintenance if from < until => Health::UnderMaintenance,
            Kind::Maintenance => Health::Operational,
            _ => incident.effective_health(incidents, now),
        };
        let (from, until) = (day(from), day(until.min(now)));
        for name in &incident.components {
            let line = all.entry(name).or_insert_with(|| days().map(|date| (date, Health::Operational)).collect());
            for (_, worst) in line.iter_mut().filter(|(date, _)| (from..=until).contains(date)) {
                *worst = (*worst).max(health);
            }
        }
    }
    all
}

/// Returns the share of the time from `from` to `now` in which no incident made a component a partial or major outage, in hundredths of a
/// percent; `None` if that time is empty. It is rounded down, so that no outage leaves 100 %.
#[must_use]
pub fn uptime(incidents: &[PublishedIncident], component: &str, from: Timestamp, now: Timestamp) -> Option<u32> {
    let total = now.as_second() - from.as_second();
    if total <= 0 {
        return None;
    }
    let is_outage = |incident: &&PublishedIncident| {
        incident.kind == Kind::Incident
            && incident.components.iter().any(|name| name == component)
            && incident.effective_health(incidents, now) >= Health::PartialOutage
    };
    let mut outages: Vec<(i64, i64)> = incidents
        .iter()
        .filter(is_outage)
        .map(|incident| {
            let until = incident.resolved_at.unwrap_or(now).min(now);
            (incident.started_at.max(from).as_second(), until.as_second())
        })
        .filter(|(begin, end)| begin < end)
        .collect();
    outages.sort_unstable();
    let (mut down, mut counted) = (0, from.as_second());
    for (begin, end) in outages {
        down += (end - begin.max(counted)).max(0);
        counted = counted.max(end);
    }
    u32::try_from((total - down) * 10_000 / total).ok()
}

fn day(at: Timestamp) -> Date {
    at.to_zoned_datetime(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn incident(severity: Severity, components: &[&str], regions: &[&str]) -> PublishedIncident {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        PublishedIncident {
            id: IncidentId::new("a"),
            title: "Calls fail".into(),
            kind: Kind::Incident,
            status: Status::Investigating,
            severity,
            components: list(components),
            regions: list(regions),
            started_at: at("2026-11-20T23:30:00Z"),
            updated_at: at("2026-11-20T23:30:00Z"),
            resolved_at: None,
            maintenance: None,
            covered_by: None,
        }
    }

    type Regions = Vec<(String, Health)>;

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn state(incidents: &[PublishedIncident]) -> (Indicator, Vec<(String, Health, Regions)>) {
        let board = summarize_status(&Policy::embedded().unwrap().catalogue, incidents, at(NOW));
        let lines =
            board.components.into_iter().filter(|line| line.health != Health::Operational || line.updated_at.is_some());
        (board.indicator, lines.map(|line| (line.name, line.health, line.regions)).collect())
    }

    #[test]
    fn uptime_counts_each_second_of_an_outage_once() {
        let outage = |from: &str, until: Option<&str>, severity| PublishedIncident {
            started_at: at(from),
            resolved_at: until.map(at),
            ..incident(severity, &["voice"], &[])
        };
        let day = (at("2026-11-22T00:00:00Z"), at("2026-11-23T00:00:00Z"));
        let share = |all: &[PublishedIncident]| uptime(all, "voice", day.0, day.1);
        let one = outage("2026-11-22T06:00:00Z", Some("2026-11-22T12:00:00Z"), Severity::Error);
        let overlapping = outage("2026-11-22T09:00:00Z", Some("2026-11-22T12:00:00Z"), Severity::Critical);
        let slow = outage("2026-11-22T15:00:00Z", Some("2026-11-22T20:00:00Z"), Severity::Warning);
        let before = outage("2026-11-20T00:00:00Z", Some("2026-11-22T00:00:01Z"), Severity::Critical);
        assert_eq!(share(&[]), Some(10_000));
        assert_eq!(share(&[one.clone(), overlapping, slow]), Some(7_500));
        assert_eq!(share(std::slice::from_ref(&before)), Some(9_999), "a second of outage is not 100 %");
        let still = outage("2026-11-22T18:00:00Z", None, Severity::Critical);
        assert_eq!(share(&[still]), Some(7_500), "an open incident counts until now");
        assert_eq!(uptime(&[one], "api", day.0, day.1), Some(10_000));
        assert_eq!(uptime(&[], "api", day.1, day.0), None);
    }

    #[test]
    fn a_component_has_the_health_of_its_worst_open_incident_by_region() {
        assert_eq!(state(&[]), (Indicator::None, vec![]));
        let minor = incident(Severity::Warning, &["voice", "api"], &["eu-central-1"]);
        let major = incident(Severity::Error, &["voice"], &["ap-south-1", "mars-1"]);
        let over = PublishedIncident { resolved_at: Some(at(NOW)), ..incident(Severity::Critical, &["voice"], &[]) };
        let (indicator, lines) = state(&[minor, major, over]);
        assert_eq!(indicator, Indicator::Major);
        let region = |name: &str, health| (name.to_owned(), health);
        assert_eq!(
            lines,
            [
                (
                    "Voice calls".to_owned(),
                    Health::PartialOutage,
                    vec![
                        region("Frankfurt", Health::DegradedPerformance),
                        region("Mumbai", Health::PartialOutage),
                        region("mars-1", Health::PartialOutage)
                    ]
                ),
                ("API".to_owned(), Health::DegradedPerformance, vec![region("Frankfurt", Health::DegradedPerformance)]),
            ]
        );
    }

    #[test]
    fn a_component_missing_from_the_catalogue_is_shown_by_its_id() {
        let (indicator, lines) = state(&[incident(Severity::Critical, &["flux-capacitor"], &[])]);
        assert_eq!(
            (indicator, lines),
            (Indicator::Critical, vec![("flux-capacitor".to_owned(), Health::MajorOutage, vec![])])
        );
        // An incident without components still counts for the whole.
        assert_eq!(state(&[incident(Severity::Error, &[], &[])]), (Indicator::Major, vec![]));
    }

    #[test]
    fn advisories_change_nothing_and_expire_and_maintenance_counts_while_in_progress() {
        let advisory = PublishedIncident { kind: Kind::Advisory, ..incident(Severity::Critical, &["voice"], &[]) };
        assert_eq!(state(std::slice::from_ref(&advisory)).0, Indicator::None);
        assert!(!advisory.is_over(at("2026-11-27T23:30:00Z")) && advisory.is_over(at("2026-11-27T23:30:01Z")));
        let maintenance = |phase| PublishedIncident {
            kind: Kind::Maintenance,
            maintenance: Some(MaintenanceSchedule { phase, from: at(NOW), until: None }),
            ..incident(Severity::Error, &["voice"], &[])
        };
        assert_eq!(state(&[maintenance(Phase::Scheduled)]).0, Indicator::None);
        assert_eq!(state(&[maintenance(Phase::InProgress)]).0, Indicator::Maintenance);
        assert_eq!(
            state(&[maintenance(Phase::InProgress), incident(Severity::Warning, &["api"], &[])]).0,
            Indicator::Minor
        );
    }

    #[test]
    fn a_suppressed_incident_counts_as_maintenance_unless_it_outlasts_the_window() {
        let maintenance = |resolved_at: Option<&str>| PublishedIncident {
            id: IncidentId::new("m"),
            kind: Kind::Maintenance,
            maintenance: Some(MaintenanceSchedule {
                phase: Phase::InProgress,
                from: at("2026-11-24T11:00:00Z"),
                until: Some(at("2026-11-24T12:30:00Z")),
            }),
            resolved_at: resolved_at.map(at),
            ..incident(Severity::Info, &["voice"], &[])
        };
        let inside = PublishedIncident {
            covered_by: Some(IncidentId::new("m")),
            started_at: at("2026-11-24T11:30:00Z"),
            ..incident(Severity::Error, &["voice"], &["ap-south-1"])
        };
        let (indicator, lines) = state(&[maintenance(None), inside.clone()]);
        assert_eq!((indicator, lines[0].1), (Indicator::Maintenance, Health::UnderMaintenance));
        assert_eq!(lines[0].2, [("Mumbai".to_owned(), Health::UnderMaintenance)]);
        assert_eq!(
            state(&[maintenance(Some("2026-11-24T11:59:00Z")), inside.clone()]).0,
            Indicator::Major,
            "it outlasted the maintenance"
        );
        assert_eq!(
            state(std::slice::from_ref(&inside)).0,
            Indicator::Major,
            "the maintenance is not visible to this reader"
        );
        let last = |incidents: &[PublishedIncident]| daily_history(incidents, at(NOW))["voice"].last().unwrap().1;
        let over = |end: &str| PublishedIncident { resolved_at: Some(at(end)), ..inside.clone() };
        let done = maintenance(Some("2026-11-24T11:59:00Z"));
        assert_eq!(last(&[done.clone(), over("2026-11-24T11:59:00Z")]), Health::UnderMaintenance);
        assert_eq!(last(&[done, over("2026-11-24T11:59:01Z")]), Health::PartialOutage);
    }

    #[test]
    fn a_day_has_the_health_of_its_worst_incident() {
        let first = PublishedIncident {
            resolved_at: Some(at("2026-11-21T00:10:00Z")),
            ..incident(Severity::Error, &["voice"], &[])
        };
        let second = PublishedIncident {
            started_at: at("2026-11-24T00:00:00Z"),
            ..incident(Severity::Critical, &["voice"], &[])
        };
        let incidents = [first, second];
        let history = daily_history(&incidents, at(NOW));
        let days = &history["voice"];
        assert_eq!((days.len(), days[0].0.to_string().as_str()), (HISTORY_DAYS, "2026-08-27"));
        let bad: Vec<_> = days
            .iter()
            .filter(|(_, health)| *health != Health::Operational)
            .map(|(date, h)| (date.to_string(), *h))
            .collect();
        let day = |date: &str, health| (date.to_owned(), health);
        assert_eq!(
            bad,
            [
                day("2026-11-20", Health::PartialOutage),
                day("2026-11-21", Health::PartialOutage),
                day("2026-11-24", Health::MajorOutage)
            ]
        );
    }
}
