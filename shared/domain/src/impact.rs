//! Periods in which a tenant was affected, by component and region, with which call logs and reports are annotated. They show nothing of
//! an incident's texts, severity or source.

use crate::event::SYSTEM_TYPE_PREFIX;
use crate::ids::Scope;
use crate::incident::{Incident, Update};
use crate::policy::Catalogue;
use crate::schema::Instant;
use crate::tenant::Footprint;
use crate::vocabulary::{Category, Kind, Phase, Severity};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A period in which one component was affected in one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImpactPeriod {
    /// The affected component; `None` if the incident names none.
    pub component: Option<String>,
    /// The affected region; `None` if the incident names none, or affects all.
    pub region: Option<String>,
    /// The start of the period, inclusive.
    #[schemars(with = "Instant")]
    pub from: Timestamp,
    /// The end of the period, exclusive; `None` while the incident is open.
    #[schemars(with = "Option<Instant>")]
    pub until: Option<Timestamp>,
}

/// The period and filters of a query for impact periods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImpactQuery<'a> {
    /// The start of the queried period, inclusive.
    pub from: Timestamp,
    /// The end of the queried period, exclusive.
    pub to: Timestamp,
    /// Only this component. Incidents that name no component match too, as they do with alert filters.
    pub component: Option<&'a str>,
    /// Only this region. Incidents that name no region match too.
    pub region: Option<&'a str>,
    /// What the tenant uses: of platform-wide incidents, only what touches it counts.
    pub footprint: &'a Footprint,
    /// The catalogue of the footprint's names.
    pub catalogue: &'a Catalogue,
}

impl ImpactQuery<'_> {
    /// Whether the tenant is affected by what an incident names.
    fn affects(&self, incident: &Incident, components: &[String], regions: &[String]) -> bool {
        incident.scope != Scope::Platform || self.footprint.is_touched_by(self.catalogue, components, regions)
    }

    /// Whether a component counts that an incident names.
    fn counts_component(&self, incident: &Incident, name: &str) -> bool {
        self.component.is_none_or(|only| only == name)
            && (incident.scope != Scope::Platform || self.footprint.uses_component(self.catalogue, name))
    }

    /// Whether a region counts that an incident names.
    fn counts_region(&self, incident: &Incident, name: &str) -> bool {
        self.region.is_none_or(|only| only == name)
            && (incident.scope != Scope::Platform || self.footprint.uses_region(self.catalogue, name))
    }
}

/// Start and end of a period; no end while the incident is open.
type Span = (Timestamp, Option<Timestamp>);

/// Whether an incident may have affected the platform's service in the queried period.
///
/// Only Infrastructure counts: not billing, not a tenant's own configuration and endpoints, and no system events. Advisories never count,
/// and a maintenance counts only from its start on.
#[must_use]
pub fn has_impact(incident: &Incident, query: &ImpactQuery<'_>) -> bool {
    let service =
        incident.category == Some(Category::Infrastructure) && !incident.event_type.starts_with(SYSTEM_TYPE_PREFIX);
    service && impact_span(incident).is_some_and(|span| overlaps(span, query))
}

/// Lists the impact periods that overlap the queried period, sorted by component, region and start.
///
/// Each incident, for which [`has_impact`] must be true, comes with its timeline, whose updates say what was affected from then on. Periods
/// of the same component and region that overlap or are adjacent are merged.
#[must_use]
pub fn list_impact_periods(incidents: &[(Incident, Vec<Update>)], query: &ImpactQuery<'_>) -> Vec<ImpactPeriod> {
    /// A component and a region, where they are known.
    type Place<'a> = (Option<&'a str>, Option<&'a str>);
    let mut places: BTreeMap<Place<'_>, Vec<Span>> = BTreeMap::new();
    for (incident, timeline) in incidents {
        for (span, components, regions) in impact_segments(incident, timeline) {
            if !query.affects(incident, components, regions) {
                continue;
            }
            for component in matching_names(components, |name| query.counts_component(incident, name)) {
                for region in matching_names(regions, |name| query.counts_region(incident, name)) {
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
        all.extend(merged.into_iter().filter(|span| overlaps(*span, query)).map(|(from, until)| ImpactPeriod {
            component: named(component),
            region: named(region),
            from,
            until,
        }));
    }
    all
}

fn overlaps(span: Span, query: &ImpactQuery<'_>) -> bool {
    let (from, until) = span;
    from < query.to && until.is_none_or(|until| until > query.from)
}

/// Returns the period in which an incident may have affected anything; `None` if it did not.
fn impact_span(incident: &Incident) -> Option<Span> {
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

/// Splits the period of an incident where its components, regions or severity changed. Without a stored timeline, the current ones count
/// for the whole period.
fn impact_segments<'a>(incident: &'a Incident, timeline: &'a [Update]) -> Vec<(Span, &'a [String], &'a [String])> {
    let Some((begun, ended)) = impact_span(incident) else { return Vec::new() };
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

/// Returns the names of an incident that count, or a single `None` if it names none.
fn matching_names(names: &[String], counts: impl Fn(&str) -> bool) -> Vec<Option<&str>> {
    if names.is_empty() {
        return vec![None];
    }
    names.iter().map(String::as_str).filter(|name| counts(name)).map(Some).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ids::TenantId;
    use crate::maintenance::MaintenanceSchedule;
    use serde_json::json;
    use std::sync::LazyLock;

    /// An incident with its timeline.
    type Recorded = (Incident, Vec<Update>);

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap()
    }

    pub(crate) fn incident(from: i64, until: Option<i64>, components: &[&str], regions: &[&str]) -> Incident {
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

    fn recorded(from: i64, until: Option<i64>, components: &[&str], regions: &[&str]) -> Recorded {
        (incident(from, until, components, regions), vec![update(from, "error", components, regions)])
    }

    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::embedded().unwrap());
    static EVERYTHING: LazyLock<Footprint> = LazyLock::new(Footprint::default);

    fn query<'a>(component: Option<&'a str>, region: Option<&'a str>) -> ImpactQuery<'a> {
        ImpactQuery { from: at(0), to: at(100), component, region, footprint: &EVERYTHING, catalogue: &CATALOGUE }
    }

    fn periods(incidents: &[Recorded], query: &ImpactQuery<'_>) -> Vec<(String, i64, Option<i64>)> {
        let minute = |time: Timestamp| (time.as_second() - 1_800_000_000) / 60;
        let name = |one: &ImpactPeriod| {
            format!("{}@{}", one.component.as_deref().unwrap_or("?"), one.region.as_deref().unwrap_or("?"))
        };
        let touching: Vec<Recorded> = incidents.iter().filter(|(one, _)| has_impact(one, query)).cloned().collect();
        list_impact_periods(&touching, query)
            .iter()
            .map(|one| (name(one), minute(one.from), one.until.map(minute)))
            .collect()
    }

    fn one(place: &str, from: i64, until: Option<i64>) -> (String, i64, Option<i64>) {
        (place.to_owned(), from, until)
    }

    #[test]
    fn overlapping_and_adjacent_periods_are_merged_and_open_ones_have_no_end() {
        let incidents = [
            recorded(10, Some(20), &["voice"], &["eu"]),
            recorded(15, Some(30), &["voice"], &["eu", "us"]),
            recorded(30, Some(31), &["voice"], &["eu"]),
            recorded(40, Some(41), &["voice"], &["eu"]),
            recorded(50, None, &["api"], &[]),
            recorded(60, Some(70), &["api"], &[]),
        ];
        assert_eq!(
            periods(&incidents, &query(None, None)),
            [
                one("api@?", 50, None),
                one("voice@eu", 10, Some(31)),
                one("voice@eu", 40, Some(41)),
                one("voice@us", 15, Some(30)),
            ]
        );
    }

    #[test]
    fn the_queried_period_is_half_open_and_unnamed_components_match_every_filter() {
        let incidents = [
            recorded(-20, Some(0), &["voice"], &[]),
            recorded(-20, Some(1), &["voice"], &["eu"]),
            recorded(99, Some(300), &[], &[]),
            recorded(100, None, &["voice"], &["eu"]),
        ];
        assert_eq!(
            periods(&incidents, &query(Some("voice"), Some("eu"))),
            [one("?@?", 99, Some(300)), one("voice@eu", -20, Some(1))]
        );
        assert_eq!(periods(&incidents, &query(Some("api"), None)), [one("?@?", 99, Some(300))]);
    }

    #[test]
    fn each_component_is_affected_only_while_an_update_names_it() {
        let narrowed = incident(10, Some(50), &["voice"], &["eu"]);
        let timeline = vec![
            update(12, "error", &["voice", "api"], &["eu"]),
            update(30, "error", &["voice"], &["eu"]),
            update(40, "info", &["voice"], &["eu"]),
            update(50, "info", &["voice"], &["eu"]),
        ];
        let narrowed = (narrowed, timeline);
        let all = [one("api@eu", 10, Some(30)), one("voice@eu", 10, Some(40))];
        assert_eq!(periods(std::slice::from_ref(&narrowed), &query(None, None)), all);
        let late = ImpactQuery { from: at(30), ..query(None, None) };
        assert_eq!(periods(std::slice::from_ref(&narrowed), &late), [one("voice@eu", 10, Some(40))]);
        let forgotten = (narrowed.0, Vec::new());
        assert_eq!(periods(&[forgotten], &query(None, None)), [one("voice@eu", 10, Some(50))]);
    }

    #[test]
    fn a_platform_wide_incident_counts_only_inside_the_footprint() {
        let virginia = Footprint { regions: vec!["us-east-1".to_owned()], ..Footprint::default() };
        let of_virginia = ImpactQuery { footprint: &virginia, ..query(None, None) };
        let mumbai = recorded(10, Some(20), &["voice"], &["ap-south-1"]);
        let both = recorded(30, Some(40), &["voice"], &["ap-south-1", "us-east-1"]);
        let everywhere = recorded(50, Some(60), &["voice"], &[]);
        let scope = Scope::Tenant(TenantId::parse("acme").unwrap());
        let own = (Incident { scope, ..mumbai.0.clone() }, mumbai.1.clone());
        assert_eq!(periods(std::slice::from_ref(&mumbai), &of_virginia), []);
        assert_eq!(periods(&[own], &of_virginia), [one("voice@ap-south-1", 10, Some(20))]);
        assert_eq!(
            periods(&[mumbai, both, everywhere], &of_virginia),
            [one("voice@?", 50, Some(60)), one("voice@us-east-1", 30, Some(40))]
        );
    }

    #[test]
    fn an_incident_counts_from_when_it_reaches_the_footprint() {
        let virginia = Footprint { regions: vec!["us-east-1".to_owned()], ..Footprint::default() };
        let both = ["ap-south-1", "us-east-1"];
        let spread = incident(10, Some(40), &["voice"], &both);
        let timeline = vec![update(10, "error", &["voice"], &both[..1]), update(25, "error", &["voice"], &both)];
        let of_virginia = ImpactQuery { footprint: &virginia, ..query(None, None) };
        assert_eq!(periods(&[(spread, timeline)], &of_virginia), [one("voice@us-east-1", 25, Some(40))]);
    }

    #[test]
    fn only_infrastructure_incidents_have_impact() {
        let of = |category: Option<Category>, event_type: &str| {
            let (incident, timeline) = recorded(10, None, &["voice"], &[]);
            (Incident { category, event_type: event_type.into(), ..incident }, timeline)
        };
        let others = [
            of(Some(Category::Billing), "wallet.low_balance"),
            of(Some(Category::Configurable), "tocsin.endpoint_failing"),
            of(Some(Category::Infrastructure), "tocsin.unclassified"),
            of(None, "user.warning"),
        ];
        assert_eq!(periods(&others, &query(None, None)), []);
        assert_eq!(periods(&[of(Some(Category::Infrastructure), "api.outage")], &query(None, None)).len(), 1);
    }

    #[test]
    fn maintenance_has_impact_from_its_start_on_and_advisories_have_none() {
        let maintenance = |phase, until: Option<i64>| {
            let (incident, timeline) = recorded(-50, until, &["network"], &[]);
            let maintenance = Some(MaintenanceSchedule { phase, from: at(10), until: Some(at(60)) });
            (Incident { kind: Kind::Maintenance, maintenance, ..incident }, timeline)
        };
        let periods_of = |one: Recorded| periods(&[one], &query(None, None));
        assert_eq!(periods_of(maintenance(Phase::Scheduled, None)), []);
        assert_eq!(periods_of(maintenance(Phase::InProgress, None)), [one("network@?", 10, None)]);
        assert_eq!(periods_of(maintenance(Phase::Completed, Some(30))), [one("network@?", 10, Some(30))]);
        assert_eq!(periods_of(maintenance(Phase::Completed, Some(5))), [], "canceled before its start");
        let (notice, timeline) = recorded(10, None, &["voice"], &[]);
        assert_eq!(periods_of((Incident { kind: Kind::Advisory, ..notice.clone() }, timeline)), []);
        assert_eq!(periods_of((notice, vec![update(10, "info", &["voice"], &[])])), []);
    }
}
