//! Suppression by maintenance: which incidents a maintenance window suppresses.

use super::model::{Incident, Transition};
use crate::ids::IncidentId;
use crate::maintenance::{MaintenanceSuppression, MaintenanceWindow, SuppressedIncident};
use crate::vocabulary::{Category, Kind};
use jiff::{SignedDuration, Timestamp};

/// Applies the maintenance windows to a transition: marks an incident as suppressed when it opens, and clears the mark when its window no
/// longer covers it. `before` is the incident before the transition.
///
/// An incident that opened before the window is not suppressed, because its recipients have been notified already. None is suppressed for
/// longer than `covered_max` from its opening.
#[must_use]
pub fn apply_maintenance_windows(
    transition: Transition,
    before: Option<&Incident>,
    windows: &[MaintenanceWindow],
    covered_max: SignedDuration,
    now: Timestamp,
) -> Transition {
    let suppression = before.and_then(|incident| incident.covered.as_ref());
    let was_suppressed = suppression.is_some_and(|suppression| now < suppression.until);
    match transition {
        Transition::Open(mut pair) => {
            pair.0.covered = find_suppression(windows, &pair.0, covered_max, now);
            Transition::Open(pair)
        }
        Transition::Update(mut pair) if was_suppressed && pair.0.resolved_at.is_none() => {
            pair.0.covered = find_suppression(windows, &pair.0, covered_max, now);
            Transition::Update(pair)
        }
        // Whether the incident outlasted the maintenance depends on when the maintenance really ends.
        Transition::Update(mut pair) if pair.0.resolved_at.is_some() => {
            pair.0.covered = pair.0.covered.take().map(|suppression| suppression.with_current_end(windows));
            Transition::Update(pair)
        }
        other => other,
    }
}

/// Finds the maintenance that suppresses an incident at `now`: its window covers all components and regions of the incident, and it announced
/// at least its severity. Of several, the one that ends last.
///
/// Only Infrastructure incidents that name a component are suppressed. Test incidents never are.
fn find_suppression(
    windows: &[MaintenanceWindow],
    incident: &Incident,
    covered_max: SignedDuration,
    now: Timestamp,
) -> Option<MaintenanceSuppression> {
    let can_be_suppressed = incident.kind == Kind::Incident
        && incident.category == Some(Category::Infrastructure)
        && !incident.test
        && !incident.components.is_empty();
    if !can_be_suppressed {
        return None;
    }
    let latest = incident.opened_at.unwrap_or(now).saturating_add(covered_max).ok().filter(|latest| now < *latest)?;
    let window = windows.iter().filter(|window| covers(window, incident, now)).max_by_key(|window| window.until)?;
    Some(MaintenanceSuppression {
        by: window.incident_id.clone(),
        until: window.until.min(latest),
        up_to: window.severity,
        at_most_until: Some(latest),
    })
}

fn covers(window: &MaintenanceWindow, incident: &Incident, now: Timestamp) -> bool {
    let contains = |all: &[String], some: &[String]| some.iter().all(|name| all.contains(name));
    let in_regions =
        window.regions.is_empty() || (!incident.regions.is_empty() && contains(&window.regions, &incident.regions));
    in_regions
        && window.from <= now
        && now < window.until
        && contains(&window.components, &incident.components)
        && incident.severity <= window.severity
}

/// Lists what is recorded about an incident under the maintenance that suppresses it. If a maintenance suppressed it before
/// and no longer does, a record under that one marks it as escalated. `before` is the incident before the transition.
#[must_use]
pub fn suppression_records(incident: &Incident, before: Option<&Incident>) -> Vec<(IncidentId, SuppressedIncident)> {
    let suppressed_by = |incident: &Incident| incident.covered.as_ref().map(|suppression| suppression.by.clone());
    let (current, previous) = (suppressed_by(incident), before.and_then(suppressed_by));
    let record = |maintenance: &IncidentId, escalated| {
        let suppressed = SuppressedIncident {
            incident_id: incident.id.clone(),
            scope: incident.scope.clone(),
            title: incident.title.clone(),
            from: incident.started_at,
            until: incident.resolved_at,
            escalated,
        };
        (maintenance.clone(), suppressed)
    };
    let mut records = Vec::new();
    if let Some(maintenance) = &current {
        records.push(record(maintenance, false));
    }
    if let Some(maintenance) = previous.as_ref().filter(|_| previous != current) {
        records.push(record(maintenance, true));
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintenance::MaintenanceSchedule;
    use crate::vocabulary::{Phase, Severity};

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn window() -> MaintenanceWindow {
        MaintenanceWindow {
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

    fn is_suppressed(incident: &Incident, now: &str) -> bool {
        find_suppression(&[window()], incident, DAY, at(now)).is_some()
    }

    #[test]
    fn only_incidents_within_the_announced_scope_and_severity_are_suppressed() {
        const NOW: &str = "2026-11-23T20:30:00Z";
        assert!(is_suppressed(&incident(&["voice"], &["ap-south-1"], "error"), NOW));
        assert!(is_suppressed(&incident(&["voice", "sms"], &["ap-south-1"], "info"), NOW));
        for (components, regions, severity, why) in [
            (&["voice"][..], &["ap-south-1"][..], "critical", "more severe than announced"),
            (&["voice", "api"], &["ap-south-1"], "error", "another component is affected too"),
            (&["voice"], &["ap-south-1", "eu-central-1"], "error", "another region is affected too"),
            (&["voice"], &[], "error", "no region is named"),
            (&[], &["ap-south-1"], "error", "no component is named"),
        ] {
            assert!(!is_suppressed(&incident(components, regions, severity), NOW), "{why}");
        }
        let everywhere = MaintenanceWindow { regions: Vec::new(), ..window() };
        assert!(find_suppression(&[everywhere], &incident(&["voice"], &[], "error"), DAY, at(NOW)).is_some());
    }

    #[test]
    fn a_window_without_end_keeps_an_incident_silent_for_a_day_at_most() {
        let opened = Some(at("2026-11-23T20:30:00Z"));
        let open = Incident { opened_at: opened, ..incident(&["voice"], &["ap-south-1"], "error") };
        let endless = MaintenanceWindow { until: at("2099-01-01T00:00:00Z"), ..window() };
        let found = find_suppression(std::slice::from_ref(&endless), &open, DAY, at("2026-11-23T20:30:00Z")).unwrap();
        assert_eq!(found.until, at("2026-11-24T20:30:00Z"));
        // Moving the window does not move that end, and another update does not begin a new day.
        assert_eq!(found.with_current_end(std::slice::from_ref(&endless)).until, at("2026-11-24T20:30:00Z"));
        assert_eq!(find_suppression(&[endless], &open, DAY, at("2026-11-24T20:30:00Z")), None);
    }

    #[test]
    fn a_test_incident_is_never_suppressed() {
        let test = Incident { test: true, ..incident(&["voice"], &["ap-south-1"], "error") };
        assert_eq!(find_suppression(&[window()], &test, DAY, at("2026-11-23T20:30:00Z")), None);
    }

    #[test]
    fn a_suppressed_incident_is_recorded_under_its_maintenance_and_marked_once_it_escalates() {
        let plain = incident(&["voice"], &["ap-south-1"], "error");
        let by = |id: &str| MaintenanceSuppression {
            by: IncidentId::new(id),
            until: at("2026-11-23T22:00:00Z"),
            up_to: Severity::Error,
            at_most_until: None,
        };
        let suppressed = Incident { covered: Some(by("m")), ..plain.clone() };
        let records = |incident: &Incident, before: Option<&Incident>| {
            let records = suppression_records(incident, before).into_iter();
            records.map(|(id, record)| (id.to_string(), record.escalated, record.until.is_some())).collect::<Vec<_>>()
        };
        let record = |id: &str, escalated, resolved| (id.to_owned(), escalated, resolved);
        assert_eq!(records(&plain, None), []);
        assert_eq!(records(&suppressed, None), [record("inc_m", false, false)]);
        let resolved = Incident { resolved_at: Some(at("2026-11-23T21:00:00Z")), ..suppressed.clone() };
        assert_eq!(records(&resolved, Some(&suppressed)), [record("inc_m", false, true)]);
        assert_eq!(records(&plain, Some(&suppressed)), [record("inc_m", true, false)]);
        let other = Incident { covered: Some(by("n")), ..plain.clone() };
        assert_eq!(records(&other, Some(&suppressed)), [record("inc_n", false, false), record("inc_m", true, false)]);
    }

    #[test]
    fn a_window_includes_its_start_and_excludes_its_end() {
        let incident = incident(&["voice"], &["ap-south-1"], "error");
        for (now, expected) in [
            ("2026-11-23T19:59:59.999Z", false),
            ("2026-11-23T20:00:00Z", true),
            ("2026-11-23T21:59:59.999Z", true),
            ("2026-11-23T22:00:00Z", false),
        ] {
            assert_eq!(is_suppressed(&incident, now), expected, "{now}");
        }
        let longer =
            MaintenanceWindow { until: at("2026-11-23T23:00:00Z"), incident_id: IncidentId::new("n"), ..window() };
        let found = find_suppression(&[window(), longer], &incident, DAY, at("2026-11-23T21:00:00Z")).unwrap();
        assert_eq!((found.by.as_str(), found.until), ("inc_n", at("2026-11-23T23:00:00Z")));
    }

    #[test]
    fn the_window_of_a_completed_maintenance_ends_when_it_was_completed() {
        let (from, until) = (at("2026-11-23T20:00:00Z"), Some(at("2026-11-23T22:00:00Z")));
        let completed = Incident {
            kind: Kind::Maintenance,
            maintenance: Some(MaintenanceSchedule { phase: Phase::Completed, from, until }),
            resolved_at: Some(at("2026-11-23T21:00:00Z")),
            ..incident(&["voice"], &[], "error")
        };
        assert_eq!(completed.maintenance_window().unwrap().until, at("2026-11-23T21:00:00Z"));
    }
}
