//! When a tenant was affected, by component and region: what call logs and reports are marked with. Nothing of an incident's
//! words, severity or source is in it.

use crate::schema::Instant;
use crate::status::Shown;
use crate::vocabulary::{Health, Kind};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A time in which one component was affected in one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Affected {
    /// What was affected; `None` where it was not said.
    pub component: Option<String>,
    /// Where; `None` is everywhere, or not said.
    pub region: Option<String>,
    /// Since when, inclusive.
    #[schemars(with = "Instant")]
    pub from: Timestamp,
    /// Until when, exclusive; `None` while it lasts.
    #[schemars(with = "Option<Instant>")]
    pub until: Option<Timestamp>,
}

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The beginning.
    pub from: Timestamp,
    /// The end.
    pub to: Timestamp,
    /// Only this component; an incident that names none counts for each.
    pub component: Option<&'a str>,
    /// Only this region; an incident that names none counts for each.
    pub region: Option<&'a str>,
}

/// The times in which something was affected and that touch the time asked about, by component, region and beginning. Those of one
/// component and region that overlap or meet are one. Announced work counts while it was being done; advisories and notices do not.
#[must_use]
pub fn affected(incidents: &[Shown], asked: &Asked<'_>) -> Vec<Affected> {
    /// Component and region.
    type Place<'a> = (Option<&'a str>, Option<&'a str>);
    let mut places: BTreeMap<Place<'_>, Vec<(Timestamp, Option<Timestamp>)>> = BTreeMap::new();
    for shown in incidents {
        let Some((from, until)) = span(shown) else { continue };
        if from >= asked.to || until.is_some_and(|until| until <= asked.from) {
            continue;
        }
        for component in each(&shown.components, asked.component) {
            for region in each(&shown.regions, asked.region) {
                places.entry((component, region)).or_default().push((from, until));
            }
        }
    }
    let mut all = Vec::new();
    for ((component, region), mut spans) in places {
        spans.sort();
        let mut merged: Vec<(Timestamp, Option<Timestamp>)> = Vec::new();
        for (from, until) in spans {
            match merged.last_mut() {
                Some((_, end)) if end.is_none_or(|end| from <= end) => *end = end.zip(until).map(|(a, b)| a.max(b)),
                _ => merged.push((from, until)),
            }
        }
        let named = |name: Option<&str>| name.map(str::to_owned);
        all.extend(merged.into_iter().map(|(from, until)| Affected {
            component: named(component),
            region: named(region),
            from,
            until,
        }));
    }
    all
}

/// When an incident affected anything; `None` if it did not.
fn span(shown: &Shown) -> Option<(Timestamp, Option<Timestamp>)> {
    let (from, until) = match (shown.kind, shown.maintenance) {
        (Kind::Maintenance, Some(planned)) => {
            let begun = shown.resolved_at.is_some() || shown.health() == Health::UnderMaintenance;
            (planned.from, begun.then_some(shown.resolved_at)?)
        }
        (Kind::Incident, _) if shown.health() > Health::Operational => (shown.started_at, shown.resolved_at),
        _ => return None,
    };
    until.is_none_or(|until| until > from).then_some((from, until))
}

/// The names of an incident that are asked about; one nameless where it names none.
fn each<'a>(names: &'a [String], only: Option<&str>) -> Vec<Option<&'a str>> {
    if names.is_empty() {
        return vec![None];
    }
    names.iter().map(String::as_str).filter(|name| only.is_none_or(|only| only == *name)).map(Some).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::IncidentId;
    use crate::maintenance::Planned;
    use crate::vocabulary::{Phase, Severity, Status};

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap()
    }

    fn shown(from: i64, until: Option<i64>, components: &[&str], regions: &[&str]) -> Shown {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Shown {
            id: IncidentId::new("a"),
            title: "secret".into(),
            kind: Kind::Incident,
            status: Status::Identified,
            severity: Severity::Error,
            components: list(components),
            regions: list(regions),
            started_at: at(from),
            updated_at: at(from),
            resolved_at: until.map(at),
            maintenance: None,
            covered_by: None,
        }
    }

    fn asked<'a>(component: Option<&'a str>, region: Option<&'a str>) -> Asked<'a> {
        Asked { from: at(0), to: at(100), component, region }
    }

    fn told(incidents: &[Shown], asked: &Asked<'_>) -> Vec<(String, i64, Option<i64>)> {
        let minute = |time: Timestamp| (time.as_second() - 1_800_000_000) / 60;
        let name = |one: &Affected| {
            format!("{}@{}", one.component.as_deref().unwrap_or("?"), one.region.as_deref().unwrap_or("?"))
        };
        affected(incidents, asked).iter().map(|one| (name(one), minute(one.from), one.until.map(minute))).collect()
    }

    #[test]
    fn what_overlaps_or_meets_is_one_and_what_lasts_has_no_end() {
        let spans = [
            shown(10, Some(20), &["voice"], &["eu"]),
            shown(15, Some(30), &["voice"], &["eu", "us"]),
            shown(30, Some(31), &["voice"], &["eu"]),
            shown(40, Some(41), &["voice"], &["eu"]),
            shown(50, None, &["api"], &[]),
            shown(60, Some(70), &["api"], &[]),
        ];
        let one = |place: &str, from, until| (place.to_owned(), from, until);
        assert_eq!(
            told(&spans, &asked(None, None)),
            [
                one("api@?", 50, None),
                one("voice@eu", 10, Some(31)),
                one("voice@eu", 40, Some(41)),
                one("voice@us", 15, Some(30)),
            ]
        );
    }

    #[test]
    fn the_window_is_half_open_and_what_names_nothing_counts_for_everything() {
        let spans = [
            shown(-20, Some(0), &["voice"], &[]),
            shown(-20, Some(1), &["voice"], &["eu"]),
            shown(99, Some(300), &[], &[]),
            shown(100, None, &["voice"], &["eu"]),
        ];
        let one = |place: &str, from, until| (place.to_owned(), from, until);
        assert_eq!(
            told(&spans, &asked(Some("voice"), Some("eu"))),
            [one("?@?", 99, Some(300)), one("voice@eu", -20, Some(1))]
        );
        assert_eq!(told(&spans, &asked(Some("api"), None)), [one("?@?", 99, Some(300))]);
    }

    #[test]
    fn work_counts_while_it_is_done_and_words_do_not() {
        let work = |phase, until: Option<i64>| Shown {
            kind: Kind::Maintenance,
            maintenance: Some(Planned { phase, from: at(10), until: Some(at(60)) }),
            ..shown(-50, until, &["network"], &[])
        };
        let one = |from, until| ("network@?".to_owned(), from, until);
        assert_eq!(told(&[work(Phase::Scheduled, None)], &asked(None, None)), []);
        assert_eq!(told(&[work(Phase::InProgress, None)], &asked(None, None)), [one(10, None)]);
        assert_eq!(told(&[work(Phase::Completed, Some(30))], &asked(None, None)), [one(10, Some(30))]);
        assert_eq!(told(&[work(Phase::Completed, Some(5))], &asked(None, None)), [], "called off before it began");
        let notice = Shown { kind: Kind::Advisory, ..shown(10, None, &["voice"], &[]) };
        let info = Shown { severity: Severity::Info, ..shown(10, None, &["voice"], &[]) };
        assert_eq!(told(&[notice, info], &asked(None, None)), []);
    }
}
