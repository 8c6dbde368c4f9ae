//! What a message says of the state of its incident: what is new in it, in the field's words for its kind.

use super::{format_clock, format_duration, severity_label, status_label};
use crate::alert::{Alert, EarlierUpdate};
use crate::incident::Change;
use crate::vocabulary::{Kind, Status};

/// Returns the headline with what is new, such as `CRITICAL · Identified`: two messages about one incident differ in it.
#[must_use]
pub fn heading(alert: &Alert) -> String {
    let headline = super::headline(alert);
    match state(alert).filter(|_| alert.kind != Kind::Maintenance && alert.change != Change::Resolved) {
        Some(state) => format!("{headline} · {state}"),
        None => headline,
    }
}

/// Returns what is new with the update, such as `Identified` or `Raised to critical`; `None` where nothing follows an opening: for advisories,
/// warnings and test alerts.
#[must_use]
pub fn state(alert: &Alert) -> Option<String> {
    let state = match (alert.kind, alert.change) {
        (Kind::Maintenance, Change::Reminded) => {
            let from = alert.maintenance.map_or(alert.started_at, |schedule| schedule.from);
            format!("Reminder: starts {}", format_clock(from, alert.at, &alert.zone))
        }
        (Kind::Maintenance, _) => maintenance_step(alert).to_owned(),
        (_, Change::Resolved) => match alert.resolved_at.filter(|_| !alert.minimal) {
            Some(resolved_at) => format!("Resolved after {}", format_duration(alert.started_at, resolved_at)),
            None => "Resolved".to_owned(),
        },
        (_, Change::Opened) if !has_progress(alert) => return None,
        (_, Change::Opened) => format!("New, {}", status_label(alert.kind, alert.status).to_lowercase()),
        (_, change) => change_phrase(change, status_of(alert).unwrap_or("Open"), severity_label(alert.severity)),
    };
    Some(state)
}

/// Returns what an earlier update changed.
pub(super) fn earlier_state(alert: &Alert, earlier: &EarlierUpdate) -> String {
    let status = match (alert.kind, earlier.status) {
        (Kind::Incident, Status::Investigating) if !alert.platform_wide => "Open",
        (kind, status) => status_label(kind, status),
    };
    match (alert.kind, earlier.change) {
        (_, Change::Opened) => format!("{status} ({})", severity_label(earlier.severity).to_lowercase()),
        (_, change) => change_phrase(change, status, severity_label(earlier.severity)),
    }
}

fn change_phrase(change: Change, status: &str, severity: &str) -> String {
    match change {
        Change::SeverityRaised => format!("Raised to {}", severity.to_lowercase()),
        Change::SeverityLowered => format!("Lowered to {}", severity.to_lowercase()),
        Change::ScopeChanged => format!("Scope changed, {}", status.to_lowercase()),
        Change::TextAdded => format!("Update, {}", status.to_lowercase()),
        Change::Rescheduled => "Rescheduled".to_owned(),
        Change::Reminded => "Reminder".to_owned(),
        Change::Opened | Change::StatusChanged | Change::Resolved => status.to_owned(),
    }
}

/// Whether the incident passes through the statuses that people post: the platform's own incidents and scheduled maintenance do. Nobody
/// investigates a tenant's low balance, a notice or a test.
#[must_use]
pub fn has_progress(alert: &Alert) -> bool {
    let is_worked_on = alert.platform_wide && alert.kind == Kind::Incident || alert.kind == Kind::Maintenance;
    is_worked_on && !alert.test && !alert.minimal
}

/// Returns the status as a fact; `None` for what has none.
pub(super) fn status_of(alert: &Alert) -> Option<&'static str> {
    match (alert.kind, alert.status) {
        (Kind::Advisory | Kind::OptIn | Kind::Excluded, Status::Resolved) => Some("Resolved"),
        (Kind::Advisory | Kind::OptIn | Kind::Excluded, _) => None,
        (Kind::Maintenance, Status::Resolved) => Some(maintenance_step(alert)),
        (Kind::Incident, _) if alert.test => Some("Test"),
        (Kind::Incident, Status::Investigating) if !alert.platform_wide => Some("Open"),
        (kind, status) => Some(status_label(kind, status)),
    }
}

/// Returns the phase of a maintenance, or what is new of it.
pub(super) fn maintenance_step(alert: &Alert) -> &'static str {
    let is_canceled = alert.maintenance.is_some_and(|schedule| schedule.is_canceled(alert.resolved_at));
    match (alert.change, alert.status) {
        (Change::Resolved, _) | (_, Status::Resolved) if is_canceled => "Canceled",
        (Change::Resolved, _) | (_, Status::Resolved) => "Completed",
        (Change::Reminded, _) => "Reminder",
        (Change::Rescheduled, _) => "Rescheduled",
        (_, Status::Investigating) => "Scheduled",
        (Change::StatusChanged, Status::Identified) => "Started",
        (_, status) => status_label(Kind::Maintenance, status),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{alert, maintenance_alert};
    use super::*;
    use crate::vocabulary::{Category, Severity};

    #[test]
    fn two_updates_of_one_incident_have_different_headings() {
        let next = |change, status| Alert { change, status, update: 2, ..alert() };
        assert_eq!(heading(&alert()), "CRITICAL · New, investigating");
        assert_eq!(heading(&next(Change::StatusChanged, Status::Identified)), "CRITICAL · Identified");
        assert_eq!(heading(&next(Change::TextAdded, Status::Identified)), "CRITICAL · Update, identified");
        assert_eq!(heading(&next(Change::SeverityRaised, Status::Identified)), "CRITICAL · Raised to critical");
        let resolved_at = "2026-11-23T09:12:00Z".parse().ok();
        let over = Alert { resolved_at, ..next(Change::Resolved, Status::Resolved) };
        assert_eq!((heading(&over), state(&over)), ("RESOLVED".into(), Some("Resolved after 42 min".into())));
    }

    #[test]
    fn nobody_investigates_a_balance_a_notice_or_a_test() {
        let balance = Alert { platform_wide: false, category: Some(Category::Billing), ..alert() };
        let notice = Alert { kind: Kind::Advisory, platform_wide: false, ..alert() };
        let test = Alert { test: true, ..alert() };
        for (alert, status) in [(balance, Some("Open")), (notice, None), (test, Some("Test"))] {
            assert_eq!((status_of(&alert), has_progress(&alert), state(&alert)), (status, false, None));
        }
        assert_eq!(severity_label(Severity::Warning), "Warning");
    }

    #[test]
    fn a_maintenance_says_its_phase_and_what_is_new() {
        let next = |change, status| Alert { change, status, ..maintenance_alert() };
        let step = |change, status| heading(&next(change, status));
        assert_eq!(step(Change::Opened, Status::Investigating), "MAINTENANCE SCHEDULED");
        assert_eq!(step(Change::Reminded, Status::Investigating), "MAINTENANCE REMINDER");
        assert_eq!(step(Change::StatusChanged, Status::Identified), "MAINTENANCE STARTED");
        assert_eq!(step(Change::StatusChanged, Status::Monitoring), "MAINTENANCE VERIFYING");
        assert_eq!(step(Change::Resolved, Status::Resolved), "MAINTENANCE COMPLETED");
    }
}
