//! A status page in the format of Statuspage's public API (`/api/v2/….json`), for clients of that API.
//!
//! Sources of the format: the type definitions of the npm package `statuspage.io` 3.3.8 and the answers of live pages
//! (<https://confluence.status.atlassian.com/api>). Times have milliseconds and end in `Z`, as in Statuspage's.

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

/// An incident with its timeline.
#[derive(Clone, Copy, Debug)]
pub struct IncidentWithTimeline<'a> {
    /// The incident itself.
    pub incident: &'a PublishedIncident,
    /// Its updates, newest first.
    pub updates: &'a [PublishedUpdate],
}

impl StatusPageView<'_> {
    fn page(&self) -> PublicPage {
        PublicPage {
            id: self.id.to_owned(),
            name: self.name.to_owned(),
            url: self.url.clone(),
            time_zone: "Etc/UTC",
            updated_at: StatuspageTime(self.updated_at),
        }
    }

    fn component(&self, index: usize, component: &ComponentStatus) -> PublicComponent {
        let at = StatuspageTime(component.updated_at.unwrap_or(self.updated_at));
        PublicComponent {
            id: component.id.clone(),
            name: component.name.clone(),
            status: component.health,
            created_at: at,
            updated_at: at,
            position: index + 1,
            description: Some(component.description.clone()).filter(|text| !text.is_empty()),
            showcase: true,
            start_date: None,
            group_id: None,
            page_id: self.id.to_owned(),
            group: false,
            only_show_if_degraded: component.description.is_empty(),
        }
    }

    fn components(&self, overview: &StatusOverview) -> Vec<PublicComponent> {
        let components = overview.components.iter().enumerate();
        components.map(|(index, component)| self.component(index, component)).collect()
    }

    fn incident(&self, overview: &StatusOverview, entry: IncidentWithTimeline<'_>) -> PublicIncident {
        let IncidentWithTimeline { incident, updates } = entry;
        let public_update = |update: &PublishedUpdate| PublicUpdate {
            id: format!("{}-{}", incident.id, update.number),
            status: status_code(incident.kind, update.status),
            body: update.message.clone(),
            incident_id: incident.id.to_string(),
            created_at: StatuspageTime(update.at),
            updated_at: StatuspageTime(update.at),
            display_at: StatuspageTime(update.at),
            affected_components: None,
            deliver_notifications: true,
        };
        let affected =
            self.components(overview).into_iter().filter(|component| incident.components.contains(&component.id));
        let monitoring_at =
            updates.iter().filter(|update| update.status == Status::Monitoring).map(|update| update.at).min();
        let is_maintenance = incident.kind == Kind::Maintenance;
        let from = incident.maintenance.map_or(incident.started_at, |planned| planned.from);
        let until = incident.maintenance.and_then(|planned| planned.until).or(incident.resolved_at);
        PublicIncident {
            id: incident.id.to_string(),
            name: incident.title.clone(),
            status: match incident.maintenance {
                Some(planned) => planned.phase.as_str(),
                None => status_code(incident.kind, incident.status),
            },
            created_at: StatuspageTime(updates.last().map_or(incident.started_at, |first| first.at)),
            updated_at: StatuspageTime(incident.updated_at),
            monitoring_at: monitoring_at.map(StatuspageTime).filter(|_| !is_maintenance),
            resolved_at: incident.resolved_at.map(StatuspageTime),
            impact: incident.impact(),
            shortlink: format!("{}{}", self.incident_url_prefix, incident.id),
            started_at: StatuspageTime(from),
            page_id: self.id.to_owned(),
            incident_updates: updates.iter().map(public_update).collect(),
            components: affected.collect(),
            regions: incident.regions.clone(),
            scheduled_for: is_maintenance.then_some(StatuspageTime(from)),
            scheduled_until: until.map(StatuspageTime).filter(|_| is_maintenance),
        }
    }

    fn select_incidents(
        &self,
        overview: &StatusOverview,
        entries: &[IncidentWithTimeline<'_>],
        is_selected: impl Fn(&PublishedIncident) -> bool,
    ) -> Vec<PublicIncident> {
        let selected = entries.iter().filter(|entry| is_selected(entry.incident));
        selected.map(|entry| self.incident(overview, *entry)).collect()
    }

    /// Builds `status.json`.
    #[must_use]
    pub fn status(&self, overview: &StatusOverview) -> PublicStatusAnswer {
        PublicStatusAnswer { page: self.page(), status: overall_status(overview) }
    }

    /// Builds `components.json`.
    #[must_use]
    pub fn component_list(&self, overview: &StatusOverview) -> PublicComponentList {
        PublicComponentList { page: self.page(), components: self.components(overview) }
    }

    /// Builds `incidents.json`. Advisories are left out, because they are never resolved.
    #[must_use]
    pub fn incident_list(&self, overview: &StatusOverview, entries: &[IncidentWithTimeline<'_>]) -> PublicIncidentList {
        let is_selected = |incident: &PublishedIncident| incident.kind == Kind::Incident;
        PublicIncidentList { page: self.page(), incidents: self.select_incidents(overview, entries, is_selected) }
    }

    /// Builds `incidents/unresolved.json`.
    #[must_use]
    pub fn unresolved_incident_list(
        &self,
        overview: &StatusOverview,
        entries: &[IncidentWithTimeline<'_>],
    ) -> PublicIncidentList {
        let is_selected =
            |incident: &PublishedIncident| incident.kind == Kind::Incident && incident.resolved_at.is_none();
        PublicIncidentList { page: self.page(), incidents: self.select_incidents(overview, entries, is_selected) }
    }

    /// Builds `scheduled-maintenances.json`, or one of its variants with the maintenance in `phases` only.
    #[must_use]
    pub fn maintenance_list(
        &self,
        overview: &StatusOverview,
        entries: &[IncidentWithTimeline<'_>],
        phases: &[Phase],
    ) -> PublicMaintenanceList {
        let mut entries = entries.to_vec();
        entries.sort_by_key(|entry| Reverse(entry.incident.maintenance.map(|planned| planned.from)));
        let is_selected = |incident: &PublishedIncident| is_in_phase(incident, phases);
        PublicMaintenanceList {
            page: self.page(),
            scheduled_maintenances: self.select_incidents(overview, &entries, is_selected),
        }
    }

    /// Builds the summary of a tenant's own status. `entries` are its current incidents; `complete` says whether these are all of them.
    #[must_use]
    pub fn tenant_summary(
        &self,
        overview: &StatusOverview,
        entries: &[IncidentWithTimeline<'_>],
        complete: bool,
    ) -> TenantSummary {
        let is_selected = |incident: &PublishedIncident| incident.kind != Kind::Maintenance;
        let incidents = self.select_incidents(overview, entries, is_selected);
        TenantSummary { summary: PublicSummary { incidents, ..self.summary(overview, entries) }, complete }
    }

    /// Builds `summary.json`.
    #[must_use]
    pub fn summary(&self, overview: &StatusOverview, entries: &[IncidentWithTimeline<'_>]) -> PublicSummary {
        PublicSummary {
            page: self.page(),
            components: self.components(overview),
            incidents: self.unresolved_incident_list(overview, entries).incidents,
            scheduled_maintenances: self.maintenance_list(overview, entries, OPEN_PHASES).scheduled_maintenances,
            status: overall_status(overview),
        }
    }
}

/// The phases of maintenance that is not over.
pub const OPEN_PHASES: &[Phase] = &[Phase::Scheduled, Phase::InProgress, Phase::Verifying];

fn is_in_phase(incident: &PublishedIncident, phases: &[Phase]) -> bool {
    incident.maintenance.is_some_and(|planned| phases.contains(&planned.phase))
}

fn overall_status(overview: &StatusOverview) -> PublicStatus {
    PublicStatus { indicator: overview.indicator, description: overview.indicator.title() }
}

/// Returns Statuspage's code of a status. For maintenance it is the code of the corresponding phase.
fn status_code(kind: Kind, status: Status) -> &'static str {
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

    fn incident(id: &str, kind: Kind) -> PublishedIncident {
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
        let updates = [
            PublishedUpdate {
                opened_at: None,
                number: 2,
                at: at("2026-11-24T10:20:00Z"),
                status: Status::Monitoring,
                message: "Recovering.".into(),
            },
            PublishedUpdate {
                opened_at: None,
                number: 1,
                at: at("2026-11-24T10:01:00Z"),
                status: Status::Investigating,
                message: "We are investigating.".into(),
            },
        ];
        let page = StatusPageView {
            id: "status",
            name: "Service status",
            url: "https://x.test/live/status".into(),
            incident_url_prefix: "https://x.test/live/status/incidents/".into(),
            updated_at: at(AT),
        };
        let overview =
            domain::status::summarize_status(&Catalogue::embedded().unwrap(), incidents, at("2026-11-24T11:00:00Z"));
        let entries: Vec<IncidentWithTimeline<'_>> =
            incidents.iter().map(|incident| IncidentWithTimeline { incident, updates: &updates }).collect();
        serde_json::to_value(page.summary(&overview, &entries)).unwrap()
    }

    #[test]
    fn an_incident_has_statuspages_fields_and_codes() {
        let summary = summary(&[incident("a", Kind::Incident), incident("n", Kind::Advisory)]);
        assert_eq!(summary["status"], json!({"indicator": "major", "description": "Partial System Outage"}));
        assert_eq!(summary["page"]["url"], "https://x.test/live/status");
        assert_eq!(summary["incidents"].as_array().unwrap().len(), 1, "advisories are left out");
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
        assert_eq!(incident["incident_updates"][1]["body"], "We are investigating.");
        assert_eq!(incident["components"][0]["status"], "partial_outage");
        assert!(incident.get("scheduled_for").is_none());
        assert_eq!(summary["components"][0]["id"], "voice");
    }

    #[test]
    fn maintenance_is_listed_as_scheduled_maintenance_until_it_is_completed() {
        let planned =
            MaintenanceSchedule { phase: Phase::InProgress, from: at(AT), until: Some(at("2026-11-24T12:00:00Z")) };
        let active = PublishedIncident {
            maintenance: Some(planned),
            status: Status::Identified,
            ..incident("m", Kind::Maintenance)
        };
        let completed = MaintenanceSchedule { phase: Phase::Completed, ..planned };
        let completed = PublishedIncident {
            maintenance: Some(completed),
            resolved_at: Some(at(AT)),
            status: Status::Resolved,
            ..active.clone()
        };
        let summary = summary(&[active, completed]);
        assert_eq!(summary["status"]["indicator"], "maintenance");
        assert_eq!(summary["incidents"], json!([]));
        let all = summary["scheduled_maintenances"].as_array().unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0]["status"], "in_progress");
        assert_eq!(all[0]["scheduled_until"], "2026-11-24T12:00:00.000Z");
        assert_eq!(all[0]["incident_updates"][1]["status"], "scheduled");
    }
}
