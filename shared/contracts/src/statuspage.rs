//! A status page as Statuspage's public API tells it (`/api/v2/….json`), so that its clients read ours.
//!
//! Shapes: the type definitions of the npm package `statuspage.io` 3.3.8 and the answers of live pages
//! (<https://confluence.status.atlassian.com/api>). Times have milliseconds and end in `Z`, as theirs do.

use domain::schema::Instant;
use domain::status::{Board, Line, Said, Shown};
use domain::vocabulary::{Health, Impact, Indicator, Kind, Phase, Status};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::cmp::Reverse;

/// Incidents of `incidents.json`: as many as theirs.
pub const INCIDENTS_MAX: usize = 50;

/// A page with its address, and what is on it.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// What names it; also in every entry.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Where it is.
    pub url: String,
    /// What stands before an incident's id in its address.
    pub incidents: String,
    /// When something on it changed last.
    pub updated_at: Timestamp,
}

/// A moment as they write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At(Timestamp);

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

impl JsonSchema for At {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Instant::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Instant::json_schema(generator)
    }
}

/// The page.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicPage {
    /// What names it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// The zone of its texts.
    pub time_zone: &'static str,
    /// When something on it changed last.
    pub updated_at: At,
}

/// What everything comes to.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicStatus {
    /// In a word.
    pub indicator: Indicator,
    /// In a sentence.
    pub description: &'static str,
}

/// A component.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicComponent {
    /// What events call it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state.
    pub status: Health,
    /// When the newest word about it came.
    pub created_at: At,
    /// The same.
    pub updated_at: At,
    /// Its place, from 1.
    pub position: usize,
    /// What it is.
    pub description: Option<String>,
    /// Always true: every component is shown.
    pub showcase: bool,
    /// Unknown.
    pub start_date: Option<String>,
    /// None: there are no groups.
    pub group_id: Option<String>,
    /// The page.
    pub page_id: String,
    /// Always false.
    pub group: bool,
    /// False for what the catalogue has.
    pub only_show_if_degraded: bool,
}

/// One entry of an incident's timeline.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicUpdate {
    /// The incident's id and the update's number.
    pub id: String,
    /// Where the incident stood after it.
    pub status: &'static str,
    /// The words.
    pub body: String,
    /// The incident.
    pub incident_id: String,
    /// When it was said.
    pub created_at: At,
    /// The same.
    pub updated_at: At,
    /// The same.
    pub display_at: At,
    /// Not told by update.
    pub affected_components: Option<Vec<String>>,
    /// Always true: subscribers hear of every update.
    pub deliver_notifications: bool,
}

/// An incident.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicIncident {
    /// The incident.
    pub id: String,
    /// Its title.
    pub name: String,
    /// `investigating`, `identified`, `monitoring`, `resolved`; of maintenance `scheduled`, `in_progress`, `verifying`, `completed`.
    pub status: &'static str,
    /// When it began.
    pub created_at: At,
    /// When the last update came.
    pub updated_at: At,
    /// When it was first only watched.
    pub monitoring_at: Option<At>,
    /// When it was over.
    pub resolved_at: Option<At>,
    /// How much it matters.
    pub impact: Impact,
    /// Its page.
    pub shortlink: String,
    /// When it began.
    pub started_at: At,
    /// The page.
    pub page_id: String,
    /// Newest first.
    pub incident_updates: Vec<PublicUpdate>,
    /// What is affected, as it is now.
    pub components: Vec<PublicComponent>,
    /// Where, by the names that events use. Statuspage has no such field.
    pub regions: Vec<String>,
    /// Of maintenance, its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_for: Option<At>,
    /// Of maintenance, its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_until: Option<At>,
}

/// `status.json`
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicStatusAnswer {
    /// The page.
    pub page: PublicPage,
    /// What everything comes to.
    pub status: PublicStatus,
}

/// `components.json`
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicComponentList {
    /// The page.
    pub page: PublicPage,
    /// Every component.
    pub components: Vec<PublicComponent>,
}

/// `incidents.json`, `incidents/unresolved.json`
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicIncidentList {
    /// The page.
    pub page: PublicPage,
    /// Newest first.
    pub incidents: Vec<PublicIncident>,
}

/// `scheduled-maintenances.json`, `…/upcoming.json`, `…/active.json`
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicMaintenanceList {
    /// The page.
    pub page: PublicPage,
    /// What begins last first.
    pub scheduled_maintenances: Vec<PublicIncident>,
}

/// `summary.json`
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicSummary {
    /// The page.
    pub page: PublicPage,
    /// Every component.
    pub components: Vec<PublicComponent>,
    /// What is open.
    pub incidents: Vec<PublicIncident>,
    /// What is announced or being done.
    pub scheduled_maintenances: Vec<PublicIncident>,
    /// What everything comes to.
    pub status: PublicStatus,
}

/// What a tenant sees of its own: `summary.json`, and its advisories among the incidents.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OwnSummary {
    /// The summary.
    #[serde(flatten)]
    pub summary: PublicSummary,
    /// False where so much happened that not all of it stands here: older incidents of a storm. Statuspage has no such field.
    pub complete: bool,
}

/// An incident with its timeline, newest first.
pub type Told<'a> = (&'a Shown, &'a [Said]);

impl Page<'_> {
    fn view(&self) -> PublicPage {
        PublicPage {
            id: self.id.to_owned(),
            name: self.name.to_owned(),
            url: self.url.clone(),
            time_zone: "Etc/UTC",
            updated_at: At(self.updated_at),
        }
    }

    fn component(&self, position: usize, line: &Line) -> PublicComponent {
        let at = At(line.updated_at.unwrap_or(self.updated_at));
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

    fn components(&self, board: &Board) -> Vec<PublicComponent> {
        board.components.iter().enumerate().map(|(place, line)| self.component(place, line)).collect()
    }

    fn incident(&self, board: &Board, (shown, said): Told<'_>) -> PublicIncident {
        let update = |said: &Said| PublicUpdate {
            id: format!("{}-{}", shown.id, said.number),
            status: status(shown.kind, said.status),
            body: said.message.clone(),
            incident_id: shown.id.to_string(),
            created_at: At(said.at),
            updated_at: At(said.at),
            display_at: At(said.at),
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
            created_at: At(said.last().map_or(shown.started_at, |first| first.at)),
            updated_at: At(shown.updated_at),
            monitoring_at: watched.map(At).filter(|_| !of_work),
            resolved_at: shown.resolved_at.map(At),
            impact: shown.impact(),
            shortlink: format!("{}{}", self.incidents, shown.id),
            started_at: At(from),
            page_id: self.id.to_owned(),
            incident_updates: said.iter().map(update).collect(),
            components: affected.collect(),
            regions: shown.regions.clone(),
            scheduled_for: of_work.then_some(At(from)),
            scheduled_until: shown
                .maintenance
                .and_then(|planned| planned.until)
                .or(shown.resolved_at)
                .map(At)
                .filter(|_| of_work),
        }
    }

    fn incidents(&self, board: &Board, told: &[Told<'_>], wanted: impl Fn(&Shown) -> bool) -> Vec<PublicIncident> {
        told.iter().filter(|(shown, _)| wanted(shown)).map(|told| self.incident(board, *told)).collect()
    }

    /// `status.json`
    #[must_use]
    pub fn status(&self, board: &Board) -> PublicStatusAnswer {
        PublicStatusAnswer { page: self.view(), status: total(board) }
    }

    /// `components.json`
    #[must_use]
    pub fn all_components(&self, board: &Board) -> PublicComponentList {
        PublicComponentList { page: self.view(), components: self.components(board) }
    }

    /// `incidents.json`; `only_open` for `incidents/unresolved.json`. Advisories are none: nobody resolves them.
    #[must_use]
    pub fn all_incidents(&self, board: &Board, told: &[Told<'_>], only_open: bool) -> PublicIncidentList {
        let wanted = |shown: &Shown| shown.kind == Kind::Incident && !(only_open && shown.resolved_at.is_some());
        PublicIncidentList { page: self.view(), incidents: self.incidents(board, told, wanted) }
    }

    /// `scheduled-maintenances.json`, or those in certain phases only.
    #[must_use]
    pub fn maintenances(&self, board: &Board, told: &[Told<'_>], phases: &[Phase]) -> PublicMaintenanceList {
        let mut told = told.to_vec();
        told.sort_by_key(|(shown, _)| Reverse(shown.maintenance.map(|planned| planned.from)));
        PublicMaintenanceList {
            page: self.view(),
            scheduled_maintenances: self.incidents(board, &told, |shown| is_in(shown, phases)),
        }
    }

    /// What a tenant sees of its own. `told` is what is not over; `complete`, whether that is all of it.
    #[must_use]
    pub fn own_summary(&self, board: &Board, told: &[Told<'_>], complete: bool) -> OwnSummary {
        let wanted = |shown: &Shown| shown.kind != Kind::Maintenance;
        let summary = PublicSummary { incidents: self.incidents(board, told, wanted), ..self.summary(board, told) };
        OwnSummary { summary, complete }
    }

    /// `summary.json`
    #[must_use]
    pub fn summary(&self, board: &Board, told: &[Told<'_>]) -> PublicSummary {
        PublicSummary {
            page: self.view(),
            components: self.components(board),
            incidents: self.all_incidents(board, told, true).incidents,
            scheduled_maintenances: self.maintenances(board, told, OPEN_PHASES).scheduled_maintenances,
            status: total(board),
        }
    }
}

/// The phases of what is not over.
pub const OPEN_PHASES: &[Phase] = &[Phase::Scheduled, Phase::InProgress, Phase::Verifying];

fn is_in(shown: &Shown, phases: &[Phase]) -> bool {
    shown.maintenance.is_some_and(|planned| phases.contains(&planned.phase))
}

fn total(board: &Board) -> PublicStatus {
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
    use domain::maintenance::Planned;
    use domain::policy::Catalogue;
    use domain::vocabulary::Severity;
    use serde_json::{Value, json};

    const AT: &str = "2026-11-24T10:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn shown(id: &str, kind: Kind) -> Shown {
        Shown {
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

    fn summary(incidents: &[Shown]) -> Value {
        let said = [
            Said { number: 2, at: at("2026-11-24T10:20:00Z"), status: Status::Monitoring, message: "Watched.".into() },
            Said {
                number: 1,
                at: at("2026-11-24T10:01:00Z"),
                status: Status::Investigating,
                message: "We look.".into(),
            },
        ];
        let page = Page {
            id: "status",
            name: "Service status",
            url: "https://x.test/live/status".into(),
            incidents: "https://x.test/live/status/incidents/".into(),
            updated_at: at(AT),
        };
        let board = domain::status::board(&Catalogue::embedded().unwrap(), incidents, at("2026-11-24T11:00:00Z"));
        let told: Vec<Told<'_>> = incidents.iter().map(|shown| (shown, said.as_slice())).collect();
        serde_json::to_value(page.summary(&board, &told)).unwrap()
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
        let planned = Planned { phase: Phase::InProgress, from: at(AT), until: Some(at("2026-11-24T12:00:00Z")) };
        let work = Shown { maintenance: Some(planned), status: Status::Identified, ..shown("m", Kind::Maintenance) };
        let over = Planned { phase: Phase::Completed, ..planned };
        let over =
            Shown { maintenance: Some(over), resolved_at: Some(at(AT)), status: Status::Resolved, ..work.clone() };
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
