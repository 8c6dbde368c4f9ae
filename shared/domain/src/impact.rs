//! When a tenant was affected, by component and region: what call logs and reports are marked with. Nothing of an incident's
//! words, severity or source is in it.

use crate::health::OWN_TYPES;
use crate::incident::{Incident, Update};
use crate::schema::Instant;
use crate::vocabulary::{Category, Kind, Phase, Severity};
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
    /// Only this component; an incident that names none counts for each, as with the filters of alerts: nobody said that it spared one.
    pub component: Option<&'a str>,
    /// Only this region; an incident that names none counts for each.
    pub region: Option<&'a str>,
}

/// From when until when; `None` while it lasts.
type Span = (Timestamp, Option<Timestamp>);

/// Whether an incident may have affected the platform's service in the time asked about. A tenant's bill, its own settings and
/// endpoints, and what Tocsin says of itself are not the service. Advisories and notices affect nothing, announced work only while it is
/// being done.
#[must_use]
pub fn touches(incident: &Incident, asked: &Asked<'_>) -> bool {
    let service = incident.category == Some(Category::Infrastructure) && !incident.event_type.starts_with(OWN_TYPES);
    service && whole(incident).is_some_and(|span| meets(span, asked))
}

/// The times in which something was affected and that touch the time asked about, by component, region and beginning. Those of one
/// component and region that overlap or meet are one. Each incident, one that [`touches`], comes with its timeline: every update says
/// what was affected from then on.
#[must_use]
pub fn affected(incidents: &[(Incident, Vec<Update>)], asked: &Asked<'_>) -> Vec<Affected> {
    /// Component and region.
    type Place<'a> = (Option<&'a str>, Option<&'a str>);
    let mut places: BTreeMap<Place<'_>, Vec<Span>> = BTreeMap::new();
    for (incident, timeline) in incidents {
        for (span, components, regions) in stretches(incident, timeline) {
            for component in each(components, asked.component) {
                for region in each(regions, asked.region) {
                    places.entry((component, region)).or_default().push(span);
                }
            }
        }
    }
    let mut all = Vec::new();
    for ((component, region), mut spans) in places {
        spans.sort();
        let mut merged: Vec<Span> = Vec::new();
        for (from, until) in spans {
            match merged.last_mut() {
                Some((_, end)) if end.is_none_or(|end| from <= end) => *end = end.zip(until).map(|(a, b)| a.max(b)),
                _ => merged.push((from, until)),
            }
        }
        let named = |name: Option<&str>| name.map(str::to_owned);
        all.extend(merged.into_iter().filter(|span| meets(*span, asked)).map(|(from, until)| Affected {
            component: named(component),
            region: named(region),
            from,
            until,
        }));
    }
    all
}

fn meets((from, until): Span, asked: &Asked<'_>) -> bool {
    from < asked.to && until.is_none_or(|until| until > asked.from)
}

/// When an incident may have affected anything; `None` if it did not.
fn whole(incident: &Incident) -> Option<Span> {
    let from = match (incident.kind, incident.maintenance) {
        (Kind::Maintenance, Some(planned)) => {
            let begun = incident.resolved_at.is_some() || planned.phase != Phase::Scheduled;
            begun.then_some(planned.from)?
        }
        (Kind::Incident, _) => incident.started_at,
        _ => return None,
    };
    incident.resolved_at.is_none_or(|until| until > from).then_some((from, incident.resolved_at))
}

/// What an incident affected, as long as it was the same. Of one whose timeline is not kept any more, what is known now.
fn stretches<'a>(incident: &'a Incident, timeline: &'a [Update]) -> Vec<(Span, &'a [String], &'a [String])> {
    let Some((begun, ended)) = whole(incident) else { return Vec::new() };
    let now = (begun, incident.severity, incident.components.as_slice(), incident.regions.as_slice());
    let mut states: Vec<_> = timeline
        .iter()
        .map(|update| {
            (update.accepted_at.max(begun), update.severity, update.components.as_slice(), update.regions.as_slice())
        })
        .collect();
    match states.first_mut() {
        Some(first) => first.0 = begun,
        None => states.push(now),
    }
    let ends = states.iter().skip(1).map(|state| Some(state.0)).chain([ended]).collect::<Vec<_>>();
    let spans = states.into_iter().zip(ends).filter_map(|((from, severity, components, regions), until)| {
        let until = until.map_or(ended, |until| Some(ended.map_or(until, |ended| until.min(ended))));
        let broken = incident.kind == Kind::Maintenance || severity > Severity::Info;
        (broken && until.is_none_or(|until| until > from)).then_some(((from, until), components, regions))
    });
    spans.collect()
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
    use crate::maintenance::Planned;
    use serde_json::json;

    /// Incidents with their timelines.
    type Known = (Incident, Vec<Update>);

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap()
    }

    fn incident(from: i64, until: Option<i64>, components: &[&str], regions: &[&str]) -> Incident {
        serde_json::from_value(json!({"id": "inc_a", "scope": "platform", "key": "k", "integration_id": "int_s",
            "source": "monitor", "event_type": "voice.routing_failure", "dedup_key": "d", "category": "infrastructure",
            "kind": "incident", "rule": "r", "severity": "error", "status": "identified", "title": "secret",
            "components": components, "regions": regions, "public": false, "started_at": at(from), "last_seen": at(from),
            "resolved_at": until.map(at), "updates": 1, "version": 1}))
        .unwrap()
    }

    fn update(accepted: i64, severity: &str, components: &[&str], regions: &[&str]) -> Update {
        serde_json::from_value(
            json!({"number": 1, "event_id": "evt_a", "correlation_id": "c", "accepted_at": at(accepted),
            "change": "opened", "status": "identified", "severity": severity, "title": "secret", "message": "",
            "components": components, "regions": regions}),
        )
        .unwrap()
    }

    fn known(from: i64, until: Option<i64>, components: &[&str], regions: &[&str]) -> Known {
        (incident(from, until, components, regions), vec![update(from, "error", components, regions)])
    }

    fn asked<'a>(component: Option<&'a str>, region: Option<&'a str>) -> Asked<'a> {
        Asked { from: at(0), to: at(100), component, region }
    }

    fn told(incidents: &[Known], asked: &Asked<'_>) -> Vec<(String, i64, Option<i64>)> {
        let minute = |time: Timestamp| (time.as_second() - 1_800_000_000) / 60;
        let name = |one: &Affected| {
            format!("{}@{}", one.component.as_deref().unwrap_or("?"), one.region.as_deref().unwrap_or("?"))
        };
        let touching: Vec<Known> = incidents.iter().filter(|(one, _)| touches(one, asked)).cloned().collect();
        affected(&touching, asked).iter().map(|one| (name(one), minute(one.from), one.until.map(minute))).collect()
    }

    fn one(place: &str, from: i64, until: Option<i64>) -> (String, i64, Option<i64>) {
        (place.to_owned(), from, until)
    }

    #[test]
    fn what_overlaps_or_meets_is_one_and_what_lasts_has_no_end() {
        let incidents = [
            known(10, Some(20), &["voice"], &["eu"]),
            known(15, Some(30), &["voice"], &["eu", "us"]),
            known(30, Some(31), &["voice"], &["eu"]),
            known(40, Some(41), &["voice"], &["eu"]),
            known(50, None, &["api"], &[]),
            known(60, Some(70), &["api"], &[]),
        ];
        assert_eq!(
            told(&incidents, &asked(None, None)),
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
        let incidents = [
            known(-20, Some(0), &["voice"], &[]),
            known(-20, Some(1), &["voice"], &["eu"]),
            known(99, Some(300), &[], &[]),
            known(100, None, &["voice"], &["eu"]),
        ];
        assert_eq!(
            told(&incidents, &asked(Some("voice"), Some("eu"))),
            [one("?@?", 99, Some(300)), one("voice@eu", -20, Some(1))]
        );
        assert_eq!(told(&incidents, &asked(Some("api"), None)), [one("?@?", 99, Some(300))]);
    }

    #[test]
    fn what_was_affected_counts_as_long_as_it_was() {
        let narrowed = incident(10, Some(50), &["voice"], &["eu"]);
        let timeline = vec![
            update(12, "error", &["voice", "api"], &["eu"]),
            update(30, "error", &["voice"], &["eu"]),
            update(40, "info", &["voice"], &["eu"]),
            update(50, "info", &["voice"], &["eu"]),
        ];
        let narrowed = (narrowed, timeline);
        let all = [one("api@eu", 10, Some(30)), one("voice@eu", 10, Some(40))];
        assert_eq!(told(std::slice::from_ref(&narrowed), &asked(None, None)), all);
        let late = Asked { from: at(30), ..asked(None, None) };
        assert_eq!(told(std::slice::from_ref(&narrowed), &late), [one("voice@eu", 10, Some(40))]);
        let forgotten = (narrowed.0, Vec::new());
        assert_eq!(told(&[forgotten], &asked(None, None)), [one("voice@eu", 10, Some(50))]);
    }

    #[test]
    fn only_the_platforms_service_is_affected() {
        let of = |category: Option<Category>, event_type: &str| {
            let (incident, timeline) = known(10, None, &["voice"], &[]);
            (Incident { category, event_type: event_type.into(), ..incident }, timeline)
        };
        let others = [
            of(Some(Category::Billing), "wallet.low_balance"),
            of(Some(Category::Configurable), "tocsin.endpoint_failing"),
            of(Some(Category::Infrastructure), "tocsin.unclassified"),
            of(None, "user.warning"),
        ];
        assert_eq!(told(&others, &asked(None, None)), []);
        assert_eq!(told(&[of(Some(Category::Infrastructure), "api.outage")], &asked(None, None)).len(), 1);
    }

    #[test]
    fn work_counts_while_it_is_done_and_words_do_not() {
        let work = |phase, until: Option<i64>| {
            let (incident, timeline) = known(-50, until, &["network"], &[]);
            let maintenance = Some(Planned { phase, from: at(10), until: Some(at(60)) });
            (Incident { kind: Kind::Maintenance, maintenance, ..incident }, timeline)
        };
        let told_of = |one: Known| told(&[one], &asked(None, None));
        assert_eq!(told_of(work(Phase::Scheduled, None)), []);
        assert_eq!(told_of(work(Phase::InProgress, None)), [one("network@?", 10, None)]);
        assert_eq!(told_of(work(Phase::Completed, Some(30))), [one("network@?", 10, Some(30))]);
        assert_eq!(told_of(work(Phase::Completed, Some(5))), [], "called off before it began");
        let (notice, timeline) = known(10, None, &["voice"], &[]);
        assert_eq!(told_of((Incident { kind: Kind::Advisory, ..notice.clone() }, timeline)), []);
        assert_eq!(told_of((notice, vec![update(10, "info", &["voice"], &[])])), []);
    }
}
