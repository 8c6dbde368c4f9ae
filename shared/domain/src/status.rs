//! The state of everything, from the incidents that are open: by component, by region, and as a whole.

use crate::ids::IncidentId;
use crate::maintenance::Planned;
use crate::policy::Catalogue;
use crate::vocabulary::{Health, Impact, Indicator, Kind, Phase, Severity, Status};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long an advisory is shown after its last word: nobody resolves one.
pub const ADVISORY_SHOWN: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Days of a component's history.
pub const DAYS: usize = 90;

/// An incident as a status page shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Its id.
    pub id: IncidentId,
    /// Its title for whoever looks.
    pub title: String,
    /// What sort of thing it is.
    #[serde(default = "incident")]
    pub kind: Kind,
    /// Where it stands.
    pub status: Status,
    /// How bad it is.
    pub severity: Severity,
    /// What is affected.
    pub components: Vec<String>,
    /// Where.
    pub regions: Vec<String>,
    /// Since when.
    pub started_at: Timestamp,
    /// When the last update came.
    pub updated_at: Timestamp,
    /// Until when.
    #[serde(default)]
    pub resolved_at: Option<Timestamp>,
    /// Of announced work, where it stands and its hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Planned>,
    /// The announced work that explains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered_by: Option<IncidentId>,
}

fn incident() -> Kind {
    Kind::Incident
}

/// An entry of a timeline as a status page shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// Its number.
    pub number: u32,
    /// When.
    pub at: Timestamp,
    /// Where the incident stood after it.
    pub status: Status,
    /// The words.
    pub message: String,
}

impl Shown {
    /// Whether it is over: resolved, or an advisory that was said long enough ago.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        let ended = self.status == Status::Resolved || self.resolved_at.is_some();
        ended || (self.kind == Kind::Advisory && now.duration_since(self.updated_at) > ADVISORY_SHOWN)
    }

    /// When it was over, or when it was last heard of.
    #[must_use]
    pub fn ended_at(&self) -> Timestamp {
        self.resolved_at.unwrap_or(self.updated_at)
    }

    /// Whether it is announced work that was over before it was to begin.
    #[must_use]
    pub fn is_called_off(&self) -> bool {
        self.maintenance.is_some_and(|planned| planned.is_called_off(self.resolved_at))
    }

    /// What it does to what it affects: an advisory nothing, announced work only while it is being done.
    #[must_use]
    pub fn health(&self) -> Health {
        match (self.kind, self.severity) {
            (Kind::Maintenance, _) => match self.maintenance.map(|planned| planned.phase) {
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

    /// The work among `all` that explains it: it is part of that as long as it does not outlive it.
    #[must_use]
    pub fn part_of<'a>(&self, all: &'a [Self], now: Timestamp) -> Option<&'a Self> {
        let by = self.covered_by.as_ref()?;
        let work = all.iter().find(|work| work.id == *by)?;
        let until = work.maintenance?.until?;
        let until = work.resolved_at.map_or(until, |ended| ended.min(until));
        let within = self.resolved_at.map_or(now < until, |ended| ended <= until);
        within.then_some(work)
    }

    /// What it does to what it affects, no worse than the work that it is part of.
    fn health_among(&self, all: &[Self], now: Timestamp) -> Health {
        match self.part_of(all, now) {
            Some(_) => self.health().min(Health::UnderMaintenance),
            None => self.health(),
        }
    }

    /// How much it matters, in Statuspage's words.
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

/// A component or a region of one, and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its id.
    pub id: String,
    /// Its name for people; the id of what the catalogue does not know.
    pub name: String,
    /// What it is; empty for what the catalogue does not know.
    pub description: String,
    /// Its state.
    pub health: Health,
    /// The state by region, of the regions where it is not operational; empty where no incident says where.
    pub regions: Vec<(String, Health)>,
    /// The newest word about it.
    pub updated_at: Option<Timestamp>,
}

/// The state of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Every component of the catalogue, in its order, and after them what incidents name besides.
    pub components: Vec<Line>,
    /// What it comes to.
    pub indicator: Indicator,
}

/// The state of everything now. What says nothing about components counts for the whole only.
#[must_use]
pub fn board(catalogue: &Catalogue, incidents: &[Shown], now: Timestamp) -> Board {
    let open: Vec<&Shown> = incidents.iter().filter(|shown| !shown.is_over(now)).collect();
    let mut lines: Vec<Line> =
        catalogue.components.iter().map(|known| blank(&known.id, &known.name, &known.description)).collect();
    for shown in &open {
        for name in &shown.components {
            let place = lines.iter().position(|line| line.id == *name).unwrap_or_else(|| {
                lines.push(blank(name, name, ""));
                lines.len() - 1
            });
            let Some(line) = lines.get_mut(place) else { continue };
            let health = shown.health_among(incidents, now);
            line.health = line.health.max(health);
            line.updated_at = line.updated_at.max(Some(shown.updated_at));
            for region in shown.regions.iter().filter(|_| health != Health::Operational) {
                let region = catalogue.region(region);
                match line.regions.iter_mut().find(|(known, _)| known == region) {
                    Some((_, known)) => *known = (*known).max(health),
                    None => line.regions.push((region.to_owned(), health)),
                }
            }
        }
    }
    let worst = open.iter().map(|shown| shown.health_among(incidents, now)).max().unwrap_or(Health::Operational);
    let indicator = match worst {
        Health::Operational => Indicator::None,
        Health::UnderMaintenance => Indicator::Maintenance,
        Health::DegradedPerformance => Indicator::Minor,
        Health::PartialOutage => Indicator::Major,
        Health::MajorOutage => Indicator::Critical,
    };
    Board { components: lines, indicator }
}

fn blank(id: &str, name: &str, description: &str) -> Line {
    Line {
        id: id.to_owned(),
        name: name.to_owned(),
        description: description.to_owned(),
        health: Health::Operational,
        regions: Vec::new(),
        updated_at: None,
    }
}

/// The worst of each day (UTC) for each component that an incident names, the last [`DAYS`] days, oldest first. An incident counts on
/// every day that it touched, with the severity that it had last.
#[must_use]
pub fn history(incidents: &[Shown], now: Timestamp) -> BTreeMap<&str, Vec<(Date, Health)>> {
    let today = day(now);
    let days = || {
        (0..DAYS)
            .rev()
            .filter_map(move |back| today.checked_sub(jiff::Span::new().days(i64::try_from(back).ok()?)).ok())
    };
    let mut all: BTreeMap<&str, Vec<(Date, Health)>> = BTreeMap::new();
    for shown in incidents {
        let (from, until) = match shown.maintenance {
            Some(planned) => (planned.from, shown.resolved_at.unwrap_or(now)),
            None => (shown.started_at, shown.resolved_at.unwrap_or(now)),
        };
        let health = match shown.kind {
            Kind::Maintenance if from < until => Health::UnderMaintenance,
            Kind::Maintenance => Health::Operational,
            _ => shown.health_among(incidents, now),
        };
        let (from, until) = (day(from), day(until.min(now)));
        for name in &shown.components {
            let line = all.entry(name).or_insert_with(|| days().map(|date| (date, Health::Operational)).collect());
            for (_, worst) in line.iter_mut().filter(|(date, _)| (from..=until).contains(date)) {
                *worst = (*worst).max(health);
            }
        }
    }
    all
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

    fn shown(severity: Severity, components: &[&str], regions: &[&str]) -> Shown {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Shown {
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

    fn state(incidents: &[Shown]) -> (Indicator, Vec<(String, Health, Regions)>) {
        let board = board(&Policy::embedded().unwrap().catalogue, incidents, at(NOW));
        let lines =
            board.components.into_iter().filter(|line| line.health != Health::Operational || line.updated_at.is_some());
        (board.indicator, lines.map(|line| (line.name, line.health, line.regions)).collect())
    }

    #[test]
    fn the_worst_open_incident_is_a_components_state_and_its_regions_say_where() {
        assert_eq!(state(&[]), (Indicator::None, vec![]));
        let minor = shown(Severity::Warning, &["voice", "api"], &["eu-central-1"]);
        let major = shown(Severity::Error, &["voice"], &["ap-south-1", "mars-1"]);
        let over = Shown { resolved_at: Some(at(NOW)), ..shown(Severity::Critical, &["voice"], &[]) };
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
    fn what_the_catalogue_does_not_know_is_shown_under_its_own_name() {
        let (indicator, lines) = state(&[shown(Severity::Critical, &["flux-capacitor"], &[])]);
        assert_eq!(
            (indicator, lines),
            (Indicator::Critical, vec![("flux-capacitor".to_owned(), Health::MajorOutage, vec![])])
        );
        // What names no component still counts for the whole.
        assert_eq!(state(&[shown(Severity::Error, &[], &[])]), (Indicator::Major, vec![]));
    }

    #[test]
    fn advisories_break_nothing_and_go_and_work_counts_while_it_is_done() {
        let advisory = Shown { kind: Kind::Advisory, ..shown(Severity::Critical, &["voice"], &[]) };
        assert_eq!(state(std::slice::from_ref(&advisory)).0, Indicator::None);
        assert!(!advisory.is_over(at("2026-11-27T23:30:00Z")) && advisory.is_over(at("2026-11-27T23:30:01Z")));
        let work = |phase| Shown {
            kind: Kind::Maintenance,
            maintenance: Some(Planned { phase, from: at(NOW), until: None }),
            ..shown(Severity::Error, &["voice"], &[])
        };
        assert_eq!(state(&[work(Phase::Scheduled)]).0, Indicator::None);
        assert_eq!(state(&[work(Phase::InProgress)]).0, Indicator::Maintenance);
        assert_eq!(state(&[work(Phase::InProgress), shown(Severity::Warning, &["api"], &[])]).0, Indicator::Minor);
    }

    #[test]
    fn what_work_explains_is_no_worse_than_the_work_unless_it_outlives_it() {
        let work = |resolved_at: Option<&str>| Shown {
            id: IncidentId::new("m"),
            kind: Kind::Maintenance,
            maintenance: Some(Planned {
                phase: Phase::InProgress,
                from: at("2026-11-24T11:00:00Z"),
                until: Some(at("2026-11-24T12:30:00Z")),
            }),
            resolved_at: resolved_at.map(at),
            ..shown(Severity::Info, &["voice"], &[])
        };
        let inside = Shown {
            covered_by: Some(IncidentId::new("m")),
            started_at: at("2026-11-24T11:30:00Z"),
            ..shown(Severity::Error, &["voice"], &["ap-south-1"])
        };
        let (indicator, lines) = state(&[work(None), inside.clone()]);
        assert_eq!((indicator, lines[0].1), (Indicator::Maintenance, Health::UnderMaintenance));
        assert_eq!(lines[0].2, [("Mumbai".to_owned(), Health::UnderMaintenance)]);
        assert_eq!(state(&[work(Some("2026-11-24T11:59:00Z")), inside.clone()]).0, Indicator::Major, "it outlived it");
        assert_eq!(state(std::slice::from_ref(&inside)).0, Indicator::Major, "nobody sees what explains it");
        let last = |incidents: &[Shown]| history(incidents, at(NOW))["voice"].last().unwrap().1;
        let over = |end: &str| Shown { resolved_at: Some(at(end)), ..inside.clone() };
        let done = work(Some("2026-11-24T11:59:00Z"));
        assert_eq!(last(&[done.clone(), over("2026-11-24T11:59:00Z")]), Health::UnderMaintenance);
        assert_eq!(last(&[done, over("2026-11-24T11:59:01Z")]), Health::PartialOutage);
    }

    #[test]
    fn a_day_is_as_bad_as_its_worst_incident() {
        let first = Shown { resolved_at: Some(at("2026-11-21T00:10:00Z")), ..shown(Severity::Error, &["voice"], &[]) };
        let second = Shown { started_at: at("2026-11-24T00:00:00Z"), ..shown(Severity::Critical, &["voice"], &[]) };
        let incidents = [first, second];
        let history = history(&incidents, at(NOW));
        let days = &history["voice"];
        assert_eq!((days.len(), days[0].0.to_string().as_str()), (DAYS, "2026-08-27"));
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
