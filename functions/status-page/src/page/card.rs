//! Incidents and maintenance as the pages show them, with their labels.

use super::{IncidentTimeline, View};
use domain::ids::IncidentId;
use domain::policy::Catalogue;
use domain::render;
use domain::status::PublishedIncident;
use domain::vocabulary::{Kind, Phase, Severity, Status};
use jiff::Timestamp;

/// Status label of a maintenance that ended before its start.
const CANCELED: &str = "Canceled";

/// A time as shown to people, and in RFC 3339 for the `datetime` attribute.
pub(super) struct DisplayTime {
    pub(super) machine_text: String,
    pub(super) text: String,
}

/// An incident or maintenance as the pages show it.
pub(super) struct Card<'a> {
    pub(super) link: String,
    pub(super) title: &'a str,
    pub(super) tone: &'static str,
    /// `None` for maintenance and notices, which have no severity.
    pub(super) severity: Option<&'static str>,
    pub(super) status: &'static str,
    pub(super) components: String,
    pub(super) regions: String,
    /// Label of `started`.
    pub(super) started_label: &'static str,
    pub(super) started: DisplayTime,
    pub(super) until: Option<DisplayTime>,
    pub(super) ended: Option<DisplayTime>,
    /// Label of `ended`.
    pub(super) ended_label: &'static str,
    pub(super) duration: Option<String>,
    pub(super) entries: Vec<Entry<'a>>,
    /// Whether older updates are left out.
    pub(super) truncated: bool,
    /// Incidents that this maintenance suppresses.
    pub(super) suppressed: Vec<SuppressedRow<'a>>,
}

/// An incident suppressed by a maintenance, below that maintenance.
pub(super) struct SuppressedRow<'a> {
    pub(super) link: String,
    pub(super) title: &'a str,
    pub(super) status: &'static str,
    pub(super) started: DisplayTime,
    pub(super) ended: Option<DisplayTime>,
}

/// One update in a timeline.
pub(super) struct Entry<'a> {
    pub(super) status: &'static str,
    pub(super) tone: &'static str,
    pub(super) at: DisplayTime,
    pub(super) message: &'a str,
}

impl<'a> Card<'a> {
    pub(super) fn of(
        listed: &'a IncidentTimeline,
        suppressed: &'a [(IncidentId, PublishedIncident)],
        catalogue: &'a Catalogue,
        view: &View<'_>,
        room: &mut usize,
    ) -> Self {
        let incident = &listed.incident;
        let mut truncated = listed.truncated;
        let mut entries = Vec::with_capacity(listed.timeline.len());
        for (index, update) in listed.timeline.iter().enumerate() {
            // The newest entry is always shown. Intake limits its length.
            let size = escaped_size(&update.message);
            if index > 0 && size > *room {
                truncated = true;
                break;
            }
            *room = room.saturating_sub(size);
            let tone = status_tone(incident.kind, update.status);
            let status = status_label(incident, update.status);
            entries.push(Entry { status, tone, at: view.time(update.at), message: update.message.trim() });
        }
        let planned = incident.maintenance;
        let is_incident = incident.kind != Kind::Maintenance && incident.kind != Kind::Advisory;
        let resolved = incident.status == Status::Resolved || incident.resolved_at.is_some();
        let from = planned.map_or(incident.started_at, |planned| planned.from);
        Self {
            link: incident_link(view, incident),
            title: display_title(incident),
            tone: match (resolved, is_incident) {
                (true, _) => "good",
                (false, true) => severity_tone(incident.severity),
                (false, false) => "note",
            },
            severity: is_incident.then(|| severity_label(incident.severity)),
            status: status_label(incident, incident.status),
            components: join_names(&incident.components, |id| catalogue.component_name(id)),
            regions: join_names(&incident.regions, |id| catalogue.region_name(id)),
            started_label: match planned.map(|planned| planned.phase) {
                _ if incident.is_canceled() => "Was scheduled for",
                Some(Phase::Scheduled) => "Starts",
                _ => "Started",
            },
            started: view.time(from),
            until: planned.and_then(|planned| planned.until).filter(|_| !resolved).map(|at| view.time(at)),
            ended: resolved.then(|| view.time(incident.ended_at())),
            ended_label: status_label(incident, Status::Resolved),
            duration: duration_of(incident, from),
            entries,
            truncated,
            suppressed: suppressed
                .iter()
                .filter(|(maintenance, _)| *maintenance == incident.id)
                .map(|(_, inside)| SuppressedRow {
                    link: incident_link(view, inside),
                    title: display_title(inside),
                    status: render::status_label(inside.kind, inside.status),
                    started: view.time(inside.started_at),
                    ended: inside.resolved_at.map(|at| view.time(at)),
                })
                .collect(),
        }
    }
}

/// Joins the names of ids with commas.
pub(super) fn join_names<'a>(ids: &'a [String], name: impl Fn(&'a str) -> &'a str) -> String {
    ids.iter().map(|id| name(id)).collect::<Vec<_>>().join(", ")
}

/// Returns the label of a status: the maintenance's own words, and "Canceled" for one that ended before its start.
pub(crate) fn status_label(incident: &PublishedIncident, status: Status) -> &'static str {
    let canceled = status == Status::Resolved && incident.is_canceled();
    if canceled { CANCELED } else { render::status_label(incident.kind, status) }
}

/// Returns how long an incident lasted, `None` for a canceled maintenance.
pub(super) fn duration_of(incident: &PublishedIncident, from: Timestamp) -> Option<String> {
    (!incident.is_canceled()).then(|| render::format_duration(from, incident.ended_at()))
}

/// Returns an upper bound for the bytes of a text after HTML escaping, which makes five bytes of a special character.
fn escaped_size(text: &str) -> usize {
    text.len() + 4 * text.bytes().filter(|byte| b"<>&\"'".contains(byte)).count()
}

/// Returns the incidents suppressed by a maintenance, each with the maintenance's id, newest first.
pub(super) fn suppressed_incidents(all: &[PublishedIncident], now: Timestamp) -> Vec<(IncidentId, PublishedIncident)> {
    all.iter()
        .filter_map(|incident| Some((incident.enclosing_maintenance(all, now)?.id.clone(), incident.clone())))
        .collect()
}

/// Returns the URL of an incident's page, relative to the page that the reader looks at.
pub(super) fn incident_link(view: &View<'_>, incident: &PublishedIncident) -> String {
    format!("{}/incidents/{}{}", view.home, incident.id, view.query())
}

/// Returns the title of an incident, or its kind if the title is empty.
#[must_use]
pub fn display_title(incident: &PublishedIncident) -> &str {
    let title = incident.title.trim();
    match (title.is_empty(), incident.kind) {
        (false, _) => title,
        (true, Kind::Maintenance) => "Maintenance",
        (true, Kind::Advisory) => "Notice",
        (true, _) => "Incident",
    }
}

const fn status_tone(kind: Kind, status: Status) -> &'static str {
    match (kind, status) {
        (_, Status::Resolved) => "good",
        (Kind::Maintenance | Kind::Advisory, _) | (_, Status::Monitoring) => "note",
        (_, Status::Investigating) => "bad",
        (_, Status::Identified) => "warn",
    }
}

const fn severity_label(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "Notice",
        Severity::Warning => "Minor",
        Severity::Error => "Serious",
        Severity::Critical => "Critical",
    }
}

const fn severity_tone(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "note",
        Severity::Warning | Severity::Error => "warn",
        Severity::Critical => "bad",
    }
}
