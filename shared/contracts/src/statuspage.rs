//! A status page as Statuspage's public API tells it (`/api/v2/….json`), so that its clients read ours.
//!
//! Shapes: the type definitions of the npm package `statuspage.io` 3.3.8 and the answers of live pages
//! (<https://confluence.status.atlassian.com/api>). Times have milliseconds and end in `Z`, as theirs do.

mod body;

pub use body::{
    PublicComponent, PublicComponentList, PublicIncident, PublicIncidentList, PublicMaintenanceList, PublicPage,
    PublicStatus, PublicStatusAnswer, PublicSummary, PublicUpdate, StatuspageTime, TenantSummary,
};

use domain::status::{ComponentStatus, PublishedIncident, PublishedUpdate, StatusOverview};
use domain::vocabulary::{Kind, Phase, Status};
use jiff::Timestamp;
use std::cmp::Reverse;

/// Maximum number of incidents in `incidents.json`, the same as Statuspage's.
pub const INCIDENTS_MAX: usize = 50;

/// A status page: its name and addresses.
#[derive(Clone, Debug)]
pub struct StatusPageView<'a> {
    /// The page's id. It is repeated in every entry.
    pub id: &'a str,
    /// The page's name.
    pub name: &'a str,
    /// The page's address.
    pub url: String,
    /// The address of an incident's page, up to the incident's id.
    pub incident_url_prefix: String,
    /// Time at which something on the page last changed.
    pub updated_at: Timestamp,
}

/// An incident with its timeline, newest first.
pub type IncidentWithTimeline<'a> = (&'a PublishedIncident, &'a [PublishedUpdate]);

impl StatusPageView<'_> {
    fn view(&self) -> PublicPage {
        PublicPage {
            id: self.id.to_owned(),
            name: self.name.to_owned(),
            url: self.url.clone(),
            time_zone: "Etc/UTC",
            updated_at: StatuspageTime(self.updated_at),
        }
    }

    fn component(&self, position: usize, line: &ComponentStatus) -> PublicComponent {
        let at = StatuspageTime(line.updated_at.unwrap_or(self.updated_at));
        PublicComponent {
            id: line.id.clone(),
            name: line.name.clone(),
            status: line.health,
            created_at: at,
            updated_at: at,
            position: position + 1,
            description: Some(line.description.clone()).filter(|text| !text.is_empty()),
            showcase: true,
            start_date: None,
            group_id: None,
            page_id: self.id.to_owned(),
            group: false,
            only_show_if_degraded: line.description.is_empty(),
        }
    }

    fn components(&self, board: &StatusOverview) -> Vec<PublicComponent> {
        board.components.iter().enumerate().map(|(place, line)| self.component(place, line)).collect()
    }

    fn incident(&self, board: &StatusOverview, (shown, said): IncidentWithTimeline<'_>) -> PublicIncident {
        let update = |said: &PublishedUpdate| PublicUpdate {
            id: format!("{}-{}", shown.id, said.number),
            status: status(shown.kind, said.status),
            body: said.message.clone(),
            incident_id: shown.id.to_string(),
            created_at: StatuspageTime(said.at),
            updated_at: StatuspageTime(said.at),
            display_at: StatuspageTime(said.at),
            affected_components: None,
            deliver_notifications: true,
        };
        let affected = self.components(board).into_iter().filter(|line| shown.components.contains(&line.id));
        let watched = said.iter().filter(|said| said.status == Status::Monitoring).map(|said| said.at).min();
        let of_work = shown.kind == Kind::Maintenance;
        let from = shown.maintenance.map_or(shown.started_at, |planned| planned.from);
        PublicIncident {
            id: shown.id.to_string(),
            name: shown.title.clone(),
            status: shown.maintenance.map_or(status(shown.kind, shown.status), |planned| planned.phase.as_str()),
            created_at: StatuspageTime(said.last().map_or(shown.started_at, |first| first.at)),
            updated_at: StatuspageTime(shown.updated_at),
            monitoring_at: watched.map(StatuspageTime).filter(|_| !of_work),
            resolved_at: shown.resolved_at.map(StatuspageTime),
            impact: shown.impact(),
            shortlink: format!("{}{}", self.incident_url_prefix, shown.id),
            started_at: StatuspageTime(from),
            page_id: self.id.to_owned(),
            incident_updates: said.iter().map(update).collect(),
            components: affected.collect(),
            regions: shown.regions.clone(),
            scheduled_for: of_work.then_some(StatuspageTime(from)),
            scheduled_until: shown
                .maintenance
                .and_then(|planned| planned.until)
                .or(shown.resolved_at)
                .map(StatuspageTime)
                .filter(|_| of_work),
        }
    }

    fn incidents(
        &self,
        board: &StatusOverview,
        timelines: &[IncidentWithTimeline<'_>],
        wanted: impl Fn(&PublishedIncident) -> bool,
    ) -> Vec<PublicIncident> {
        timelines.iter().filter(|(shown, _)| wanted(shown)).map(|timelines| self.incident(board, *timelines)).collect()
    }

    /// Builds `status.json`.
    #[must_use]
    pub fn status(&self, board: &StatusOverview) -> PublicStatusAnswer {
        PublicStatusAnswer { page: self.view(), status: total(board) }
    }

    /// Builds `components.json`.
    #[must_use]
    pub fn component_list(&self, board: &StatusOverview) -> PublicComponentList {
        PublicComponentList { page: self.view(), components: self.components(board) }
    }

    /// `incidents.json`; `only_open` for `incidents/unresolved.json`. Advisories are none: nobody resolves them.
    #[must_use]
    pub fn all_incidents(
        &self,
        board: &StatusOverview,
        timelines: &[IncidentWithTimeline<'_>],
        only_open: bool,
    ) -> PublicIncidentList {
        let wanted =
            |shown: &PublishedIncident| shown.kind == Kind::Incident && !(only_open && shown.resolved_at.is_some());
        PublicIncidentList { page: self.view(), incidents: self.incidents(board, timelines, wanted) }
    }

    /// `scheduled-maintenances.json`, or those in certain phases only.
    #[must_use]
    pub fn maintenance_list(
        &self,
        board: &StatusOverview,
        timelines: &[IncidentWithTimeline<'_>],
        phases: &[Phase],
    ) -> PublicMaintenanceList {
        let mut timelines = timelines.to_vec();
        timelines.sort_by_key(|(shown, _)| Reverse(shown.maintenance.map(|planned| planned.from)));
        PublicMaintenanceList {
            page: self.view(),
            scheduled_maintenances: self.incidents(board, &timelines, |shown| is_in(shown, phases)),
        }
    }

    /// Returns a tenant's summary. `timelines` holds current incidents; `complete` says whether it holds all of them.
    #[must_use]
    pub fn tenant_summary(
        &self,
        board: &StatusOverview,
        timelines: &[IncidentWithTimeline<'_>],
        complete: bool,
    ) -> TenantSummary {
        let wanted = |shown: &PublishedIncident| shown.kind != Kind::Maintenance;
        let summary =
            PublicSummary { incidents: self.incidents(board, timelines, wanted), ..self.summary(board, timelines) };
        TenantSummary { summary, complete }
    }

    /// Builds `summary.json`.
    #[must_use]
    pub fn summary(&self, board: &StatusOverview, timelines: &[IncidentWithTimeline<'_>]) -> PublicSummary {
        PublicSummary {
            page: self.view(),
            components: self.components(board),
            incidents: self.all_incidents(board, timelines, true).incidents,
            scheduled_maintenances: self.maintenance_list(board, timelines, OPEN_PHASES).scheduled_maintenances,
            status: total(board),
        }
    }
}

/// The phases of maintenance that is not over.
pub const OPEN_PHASES: &[Phase] = &[Phase::Scheduled, Phase::InProgress, Phase::Verifying];

fn is_in(shown: &PublishedIncident, phases: &[Phase]) -> bool {
    shown.maintenance.is_some_and(|planned| phases.contains(&planned.phase))
}

fn total(board: &StatusOverview) -> PublicStatus {
    PublicStatus { indicator: board.indicator, description: board.indicator.title() }
}

fn status(kind: Kind, status: Status) -> &'static str {
    match (kind, status) {
        (Kind::Maintenance, Status::Investigating) => Phase::Scheduled.as_str(),
        (Kind::Maintenance, Status::Identified) => Phase::InProgress.as_str(),
        (Kind::Maintenance, Status::Monitoring) => Phase::Verifying.as_str(),
        (Kind::Maintenance, Status::Resolved) => Phase::Completed.as_str(),
        (_, other) => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::IncidentId;
    use domain::maintenance::MaintenanceSchedule;
    use domain::policy::Catalogue;
    use domain::vocabulary::Severity;
    use serde_json::{Value, json};

    const AT: &str = "2026-11-24T10:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn shown(id: &str, kind: Kind) -> PublishedIncident {
        PublishedIncident {
            id: IncidentId::new(id),
            title: "Calls fail".into(),
            kind,
            status: Status::Monitoring,
            severity: Severity::Error,
            components: vec!["voice".into()],
            regions: vec!["ap-south-1".into()],
            started_at: at(AT),
            updated_at: at("2026-11-24T10:20:00Z"),
            resolved_at: None,
            maintenance: None,
            covered_by: None,
        }
    }

    fn summary(incidents: &[PublishedIncident]) -> Value {
        let said = [
            PublishedUpdate {
                number: 2,
                at: at("2026-11-24T10:20:00Z"),
                status: Status::Monitoring,
                message: "Watched.".into(),
            },
            PublishedUpdate {
                number: 1,
                at: at("2026-11-24T10:01:00Z"),
                status: Status::Investigating,
                message: "We look.".into(),
            },
        ];
        let page = StatusPageView {
            id: "status",
            name: "Service status",
            url: "https://x.test/live/status".into(),
            incident_url_prefix: "https://x.test/live/status/incidents/".into(),
            updated_at: at(AT),
        };
        let board =
            domain::status::summarize_status(&Catalogue::embedded().unwrap(), incidents, at("2026-11-24T11:00:00Z"));
        let timelines: Vec<IncidentWithTimeline<'_>> = incidents.iter().map(|shown| (shown, said.as_slice())).collect();
        serde_json::to_value(page.summary(&board, &timelines)).unwrap()
    }

    #[test]
    fn an_incident_reads_as_theirs_do() {
        let summary = summary(&[shown("a", Kind::Incident), shown("n", Kind::Advisory)]);
        assert_eq!(summary["status"], json!({"indicator": "major", "description": "Partial System Outage"}));
        assert_eq!(summary["page"]["url"], "https://x.test/live/status");
        assert_eq!(summary["incidents"].as_array().unwrap().len(), 1, "an advisory is no incident");
        let incident = &summary["incidents"][0];
        for (field, value) in [
            ("id", json!("inc_a")),
            ("name", json!("Calls fail")),
            ("status", json!("monitoring")),
            ("impact", json!("major")),
            ("created_at", json!("2026-11-24T10:01:00.000Z")),
            ("started_at", json!("2026-11-24T10:00:00.000Z")),
            ("monitoring_at", json!("2026-11-24T10:20:00.000Z")),
            ("resolved_at", Value::Null),
            ("shortlink", json!("https://x.test/live/status/incidents/inc_a")),
        ] {
            assert_eq!(incident[field], value, "{field}");
        }
        assert_eq!(incident["incident_updates"][1]["body"], "We look.");
        assert_eq!(incident["components"][0]["status"], "partial_outage");
        assert!(incident.get("scheduled_for").is_none());
        assert_eq!(summary["components"][0]["id"], "voice");
    }

    #[test]
    fn work_stands_among_the_scheduled_maintenances() {
        let planned =
            MaintenanceSchedule { phase: Phase::InProgress, from: at(AT), until: Some(at("2026-11-24T12:00:00Z")) };
        let work = PublishedIncident {
            maintenance: Some(planned),
            status: Status::Identified,
            ..shown("m", Kind::Maintenance)
        };
        let over = MaintenanceSchedule { phase: Phase::Completed, ..planned };
        let over = PublishedIncident {
            maintenance: Some(over),
            resolved_at: Some(at(AT)),
            status: Status::Resolved,
            ..work.clone()
        };
        let summary = summary(&[work, over]);
        assert_eq!(summary["status"]["indicator"], "maintenance");
        assert_eq!(summary["incidents"], json!([]));
        let all = summary["scheduled_maintenances"].as_array().unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0]["status"], "in_progress");
        assert_eq!(all[0]["scheduled_until"], "2026-11-24T12:00:00.000Z");
        assert_eq!(all[0]["incident_updates"][1]["status"], "scheduled");
    }
}
