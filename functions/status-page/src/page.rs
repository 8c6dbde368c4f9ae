//! The HTML pages of the status page: overview, incident, and errors. Templates escape every text, and no page has a script.

use askama::Template;
use domain::ids::IncidentId;
use domain::policy::Catalogue;
use domain::render;
use domain::status::{
    HISTORY_DAYS, PublishedIncident, PublishedUpdate, StatusOverview, daily_history, summarize_status,
};
use domain::vocabulary::{Health, Indicator, Kind, Phase, Severity, Status};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use store::public::PublicIncidents;

/// The title of the status page.
pub const NAME: &str = "Service status";
/// How long a resolved incident stays on the overview: 14 days.
pub const PAST_SHOWN_FOR: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Timeline entries per incident on the overview. The incident's own page shows the others.
pub const ENTRIES_SHOWN: usize = 10;
/// Bytes of timeline text per page, after escaping. With the newest entry of every incident added, a page stays below the 6 MB of a Lambda
/// response.
const TEXT_MAX: usize = 1_000_000;
/// Status label of a maintenance that ended before its start.
const CANCELED: &str = "Canceled";
/// Width of one day in a history bar, in SVG units. A gap of one unit follows.
const DAY_WIDTH: usize = 4;

/// The style sheet; the content security policy names its hash.
pub const STYLE: &str = include_str!("../templates/page.css");

/// An incident with the newest entries of its timeline.
#[derive(Clone, Debug)]
pub struct IncidentTimeline {
    /// The public fields of the incident.
    pub incident: PublishedIncident,
    /// Public updates, newest first.
    pub timeline: Vec<PublishedUpdate>,
    /// Whether older updates exist that were not read.
    pub truncated: bool,
}

/// Incidents in the order of the overview.
#[derive(Clone, Debug)]
pub struct OverviewIncidents {
    /// Open incidents, newest first; then current and scheduled maintenance, the next one first; then notices.
    pub current: Vec<PublishedIncident>,
    /// Number of open incidents that are left out of `current`.
    pub omitted_count: usize,
    /// Incidents and maintenance that ended within [`PAST_SHOWN_FOR`], the latest first.
    pub past: Vec<PublishedIncident>,
}

/// Sorts incidents for the overview.
#[must_use]
pub fn sort_for_overview(incidents: &[PublishedIncident], now: Timestamp) -> OverviewIncidents {
    let (mut shown, mut over): (Vec<_>, Vec<_>) =
        incidents.iter().cloned().partition(|incident| !incident.is_over(now));
    let place = |shown: &PublishedIncident| match (shown.kind, shown.maintenance) {
        (Kind::Maintenance, planned) => (1, planned.map_or(shown.started_at, |planned| planned.from).as_second()),
        (Kind::Advisory, _) => (2, -shown.started_at.as_second()),
        _ => (0, -shown.started_at.as_second()),
    };
    shown.sort_by(|left, right| place(left).cmp(&place(right)).then_with(|| left.id.cmp(&right.id)));
    let open = shown.iter().take_while(|shown| place(shown).0 == 0).count();
    let beyond = open.saturating_sub(crate::PAST_INCIDENTS_READ);
    drop(shown.drain(open - beyond..open));
    let since = now.saturating_sub(PAST_SHOWN_FOR).unwrap_or(Timestamp::MIN);
    over.retain(|incident| incident.kind != Kind::Advisory && incident.ended_at() >= since);
    over.sort_by(|left, right| right.ended_at().cmp(&left.ended_at()).then_with(|| left.id.cmp(&right.id)));
    OverviewIncidents { current: shown, omitted_count: beyond, past: over }
}

/// Removes the oldest timeline entries until all texts fit in `room` bytes. The newest entry of each incident stays.
pub fn truncate_timelines(listed: &mut [IncidentTimeline], mut room: usize) {
    for one in listed {
        let mut kept = 0;
        for update in &one.timeline {
            let size = serde_json::to_string(&update.message).map_or(update.message.len(), |text| text.len());
            if kept > 0 && size > room {
                break;
            }
            room = room.saturating_sub(size);
            kept += 1;
        }
        one.truncated |= kept < one.timeline.len();
        one.timeline.truncate(kept);
    }
}

/// Returns the relative path from a page to `/status`. It is relative because on AWS the stage's name precedes the path, and only the
/// browser knows it. `below` is the part of the page's path after `/status`.
#[must_use]
pub fn path_to_overview(below: &str) -> String {
    format!("{}status", "../".repeat(below.matches('/').count()))
}

/// The content of the overview page.
#[derive(Clone, Debug)]
pub struct Overview<'c> {
    catalogue: &'c Catalogue,
    board: StatusOverview,
    history: BTreeMap<String, Vec<(Date, Health)>>,
    known_from: Date,
    listed: Vec<IncidentTimeline>,
    beyond: usize,
    over: Vec<PublishedIncident>,
    /// Incidents suppressed by a maintenance, each with the maintenance's id.
    inside: Vec<(IncidentId, PublishedIncident)>,
    now: Timestamp,
}

impl<'c> Overview<'c> {
    /// Builds the overview from all incidents that were read. `listed` holds the current ones of `sorted` with their timelines.
    #[must_use]
    pub fn of(
        catalogue: &'c Catalogue,
        all: &PublicIncidents,
        listed: Vec<IncidentTimeline>,
        sorted: OverviewIncidents,
        now: Timestamp,
    ) -> Self {
        let day = |at: Timestamp| at.to_zoned_datetime(TimeZone::UTC).date();
        let history = daily_history(&all.incidents, now);
        Self {
            catalogue,
            board: summarize_status(catalogue, &all.incidents, now),
            history: history.into_iter().map(|(name, days)| (name.to_owned(), days)).collect(),
            // If more incidents exist than were read, earlier days are drawn as unknown.
            known_from: all.complete_since.map_or(Date::MIN, day),
            inside: suppressed_incidents(&all.incidents, now),
            listed,
            beyond: sorted.omitted_count,
            over: sorted.past,
            now,
        }
    }

    /// Renders the page. `home` is the relative path to `/status`.
    ///
    /// # Errors
    /// [`askama::Error`] of the template engine; no value of these pages causes one.
    pub fn render(&self, home: &str) -> Result<String, askama::Error> {
        let mut room = TEXT_MAX;
        let mut cards = |wanted: &dyn Fn(&PublishedIncident) -> bool| -> Vec<Card<'_>> {
            let listed = self.listed.iter().filter(|listed| wanted(&listed.incident));
            listed.map(|listed| Card::of(listed, &self.inside, self.catalogue, home, &mut room)).collect()
        };
        let is_maintenance = |shown: &PublishedIncident| shown.kind == Kind::Maintenance;
        let is_notice = |shown: &PublishedIncident| shown.kind == Kind::Advisory;
        // Incidents suppressed by a maintenance are shown below it.
        let is_suppressed = |shown: &PublishedIncident| self.inside.iter().any(|(_, one)| one.id == shown.id);
        let open = cards(&|shown| !is_maintenance(shown) && !is_notice(shown) && !is_suppressed(shown));
        let works = cards(&is_maintenance);
        let notices = cards(&is_notice);
        let newest = self.listed.iter().map(|listed| listed.incident.updated_at).max();
        let (incidents, other) = (open.len() + self.beyond, notices.len());
        OverviewPage {
            home,
            banner: Banner::of(self.board.indicator, incidents, other),
            newest: newest.map(DisplayTime::of),
            lines: self.board.components.iter().map(|line| self.component(line)).collect(),
            width: HISTORY_DAYS * (DAY_WIDTH + 1),
            open,
            beyond: self.beyond,
            works,
            notices,
            over: self.over.iter().map(|incident| PastRow::of(incident, self.catalogue, home)).collect(),
            made: DisplayTime::of(self.now),
        }
        .render()
    }

    fn component<'a>(&'a self, line: &'a domain::status::ComponentStatus) -> Component<'a> {
        let days = self.history.get(&line.id).map(Vec::as_slice).unwrap_or_default();
        let bars = days
            .iter()
            .enumerate()
            .filter(|(_, (date, health))| *date >= self.known_from && !matches!(health, Health::Operational));
        let bars: Vec<Bar> = bars
            .map(|(place, (date, health))| Bar {
                at: place * (DAY_WIDTH + 1),
                tone: health_tone(*health),
                label: format!("{}: {}", date.strftime("%-d %b %Y"), health.title().to_lowercase()),
            })
            .collect();
        let today = self.now.to_zoned_datetime(TimeZone::UTC).date();
        let known = today
            .since(self.known_from)
            .map_or(HISTORY_DAYS, |span| usize::try_from(span.get_days()).unwrap_or(HISTORY_DAYS) + 1);
        let label = match bars.as_slice() {
            [] => "No incidents in the last 90 days".to_owned(),
            [one] => format!("Incidents on 1 of the last 90 days: {}", one.label),
            [.., last] => format!("Incidents on {} of the last 90 days, most recently {}", bars.len(), last.label),
        };
        Component {
            name: &line.name,
            description: &line.description,
            tone: health_tone(line.health),
            state: line.health.title(),
            regions: line
                .regions
                .iter()
                .map(|(name, health)| format!("{name}: {}", health.title().to_lowercase()))
                .collect(),
            unknown: (HISTORY_DAYS - known.min(HISTORY_DAYS)) * (DAY_WIDTH + 1),
            bars,
            label,
        }
    }
}

/// Returns the incidents suppressed by a maintenance, each with the maintenance's id, newest first.
fn suppressed_incidents(all: &[PublishedIncident], now: Timestamp) -> Vec<(IncidentId, PublishedIncident)> {
    all.iter().filter_map(|shown| Some((shown.enclosing_maintenance(all, now)?.id.clone(), shown.clone()))).collect()
}

/// Renders the page of one incident.
///
/// # Errors
/// [`askama::Error`] of the template engine; no value of these pages causes one.
pub fn render_incident(
    home: &str,
    listed: &IncidentTimeline,
    all: &[PublishedIncident],
    catalogue: &Catalogue,
    now: Timestamp,
) -> Result<String, askama::Error> {
    let mut room = TEXT_MAX;
    IncidentPage {
        home,
        card: Card::of(listed, &suppressed_incidents(all, now), catalogue, home, &mut room),
        made: DisplayTime::of(now),
    }
    .render()
}

/// Splits the time of rendering out of a page, so that an unchanged page has an unchanged ETag.
#[must_use]
pub fn without_render_time(page: &str) -> [&str; 2] {
    let parts =
        page.rsplit_once("As of <time").and_then(|(before, made)| Some([before, made.split_once("</time>")?.1]));
    parts.unwrap_or([page, ""])
}

/// Renders the page for an address that does not exist. Unknown and private incidents get the same page.
///
/// # Errors
/// [`askama::Error`] of the template engine; no value of these pages causes one.
pub fn render_not_found(home: &str) -> Result<String, askama::Error> {
    let text = "There is no public page at this address. Incident pages are removed when their retention period ends.";
    Note { home, title: "Not found", text }.render()
}

/// Renders the page for when the table cannot be read.
///
/// # Errors
/// [`askama::Error`] of the template engine; no value of these pages causes one.
pub fn render_unavailable(home: &str) -> Result<String, askama::Error> {
    let text = "We can't load the current status right now. This doesn't mean that the service is down. \
                Reload this page in a minute.";
    Note { home, title: "Status unavailable", text }.render()
}

/// The overall state at the top of the overview.
struct Banner {
    tone: &'static str,
    title: &'static str,
    text: String,
}

impl Banner {
    fn of(indicator: Indicator, open: usize, notices: usize) -> Self {
        let (tone, title) = match indicator {
            Indicator::None if open + notices > 0 => ("note", "Service notice"),
            Indicator::None => ("good", "All systems operational"),
            Indicator::Maintenance => ("note", "Maintenance in progress"),
            Indicator::Minor => ("warn", "Degraded service"),
            Indicator::Major => ("warn", "Service disruption"),
            Indicator::Critical => ("bad", "Major service disruption"),
        };
        let text = match open {
            0 => "No open incidents.".to_owned(),
            1 => "1 open incident.".to_owned(),
            many => format!("{many} open incidents."),
        };
        Self { tone, title, text }
    }
}

/// A component with its current state and its history.
struct Component<'a> {
    name: &'a str,
    description: &'a str,
    tone: &'static str,
    state: &'static str,
    regions: Vec<String>,
    bars: Vec<Bar>,
    /// Width of the unknown part of the history, from the left, in SVG units.
    unknown: usize,
    label: String,
}

/// A day on which the component was not operational.
struct Bar {
    at: usize,
    tone: &'static str,
    label: String,
}

const fn health_tone(health: Health) -> &'static str {
    match health {
        Health::Operational => "good",
        Health::UnderMaintenance => "note",
        Health::DegradedPerformance | Health::PartialOutage => "warn",
        Health::MajorOutage => "bad",
    }
}

/// A time as shown to people, and in RFC 3339 for the `datetime` attribute.
struct DisplayTime {
    machine: String,
    people: String,
}

impl DisplayTime {
    fn of(at: Timestamp) -> Self {
        let people = at.strftime("%-d %b %Y, %H:%M UTC").to_string();
        Self { machine: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), people }
    }
}

/// An incident or maintenance as the pages show it.
struct Card<'a> {
    link: String,
    title: &'a str,
    tone: &'static str,
    /// `None` for maintenance and notices, which have no severity.
    severity: Option<&'static str>,
    status: &'static str,
    components: String,
    regions: String,
    began: &'static str,
    started: DisplayTime,
    until: Option<DisplayTime>,
    ended: Option<DisplayTime>,
    over: &'static str,
    lasted: Option<String>,
    entries: Vec<Entry<'a>>,
    more: bool,
    /// Incidents that this maintenance suppresses.
    inside: Vec<SuppressedRow<'a>>,
}

/// An incident suppressed by a maintenance, below that maintenance.
struct SuppressedRow<'a> {
    link: String,
    title: &'a str,
    status: &'static str,
    started: DisplayTime,
    ended: Option<DisplayTime>,
}

struct Entry<'a> {
    status: &'static str,
    tone: &'static str,
    at: DisplayTime,
    message: &'a str,
}

impl<'a> Card<'a> {
    fn of(
        listed: &'a IncidentTimeline,
        inside: &'a [(IncidentId, PublishedIncident)],
        catalogue: &'a Catalogue,
        home: &str,
        room: &mut usize,
    ) -> Self {
        let incident = &listed.incident;
        let mut more = listed.truncated;
        let mut entries = Vec::with_capacity(listed.timeline.len());
        for (place, update) in listed.timeline.iter().enumerate() {
            // The newest entry is always shown. Intake limits its length.
            let size = escaped_size(&update.message);
            if place > 0 && size > *room {
                more = true;
                break;
            }
            *room = room.saturating_sub(size);
            let tone = tone_of(incident.kind, update.status);
            let status = status_label(incident, update.status);
            entries.push(Entry { status, tone, at: DisplayTime::of(update.at), message: update.message.trim() });
        }
        let planned = incident.maintenance;
        let breaks = incident.kind != Kind::Maintenance && incident.kind != Kind::Advisory;
        let resolved = incident.status == Status::Resolved || incident.resolved_at.is_some();
        let from = planned.map_or(incident.started_at, |planned| planned.from);
        Self {
            link: incident_link(home, incident),
            title: display_title(incident),
            tone: match (resolved, breaks) {
                (true, _) => "good",
                (false, true) => severity_tone(incident.severity),
                (false, false) => "note",
            },
            severity: breaks.then(|| severity_label(incident.severity)),
            status: status_label(incident, incident.status),
            components: join_names(&incident.components, |id| catalogue.component_name(id)),
            regions: join_names(&incident.regions, |id| catalogue.region_name(id)),
            began: match planned.map(|planned| planned.phase) {
                _ if incident.is_canceled() => "Was scheduled for",
                Some(Phase::Scheduled) => "Starts",
                _ => "Started",
            },
            started: DisplayTime::of(from),
            until: planned.and_then(|planned| planned.until).filter(|_| !resolved).map(DisplayTime::of),
            ended: resolved.then(|| DisplayTime::of(incident.ended_at())),
            over: status_label(incident, Status::Resolved),
            lasted: duration_of(incident, from),
            entries,
            more,
            inside: inside
                .iter()
                .filter(|(work, _)| *work == incident.id)
                .map(|(_, part)| SuppressedRow {
                    link: incident_link(home, part),
                    title: display_title(part),
                    status: render::status_label(part.kind, part.status),
                    started: DisplayTime::of(part.started_at),
                    ended: part.resolved_at.map(DisplayTime::of),
                })
                .collect(),
        }
    }
}

fn join_names<'a>(ids: &'a [String], name: impl Fn(&'a str) -> &'a str) -> String {
    ids.iter().map(|id| name(id)).collect::<Vec<_>>().join(", ")
}

/// Returns the label of a status: the maintenance's own words, and "Canceled" for one that ended before its start.
pub(crate) fn status_label(incident: &PublishedIncident, status: Status) -> &'static str {
    let off = status == Status::Resolved && incident.is_canceled();
    if off { CANCELED } else { render::status_label(incident.kind, status) }
}

/// Returns how long an incident lasted, `None` for a canceled maintenance.
fn duration_of(incident: &PublishedIncident, from: Timestamp) -> Option<String> {
    (!incident.is_canceled()).then(|| render::format_duration(from, incident.ended_at()))
}

/// Returns an upper bound for the bytes of a text after HTML escaping, which makes five bytes of a special character.
fn escaped_size(text: &str) -> usize {
    text.len() + 4 * text.bytes().filter(|byte| b"<>&\"'".contains(byte)).count()
}

/// An ended incident in the list of past incidents.
struct PastRow<'a> {
    link: String,
    title: &'a str,
    over: &'static str,
    ended: DisplayTime,
    lasted: Option<String>,
    components: String,
    regions: String,
}

impl<'a> PastRow<'a> {
    fn of(incident: &'a PublishedIncident, catalogue: &'a Catalogue, home: &str) -> Self {
        let from = incident.maintenance.map_or(incident.started_at, |planned| planned.from);
        Self {
            link: incident_link(home, incident),
            title: display_title(incident),
            over: status_label(incident, Status::Resolved),
            ended: DisplayTime::of(incident.ended_at()),
            lasted: duration_of(incident, from),
            components: join_names(&incident.components, |id| catalogue.component_name(id)),
            regions: join_names(&incident.regions, |id| catalogue.region_name(id)),
        }
    }
}

fn incident_link(home: &str, incident: &PublishedIncident) -> String {
    format!("{home}/incidents/{}", incident.id)
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

const fn tone_of(kind: Kind, status: Status) -> &'static str {
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

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    home: &'a str,
    banner: Banner,
    newest: Option<DisplayTime>,
    lines: Vec<Component<'a>>,
    width: usize,
    open: Vec<Card<'a>>,
    beyond: usize,
    works: Vec<Card<'a>>,
    notices: Vec<Card<'a>>,
    over: Vec<PastRow<'a>>,
    made: DisplayTime,
}

#[derive(Template)]
#[template(path = "incident.html")]
struct IncidentPage<'a> {
    home: &'a str,
    card: Card<'a>,
    made: DisplayTime,
}

#[derive(Template)]
#[template(path = "note.html")]
struct Note<'a> {
    home: &'a str,
    title: &'a str,
    text: &'a str,
}

#[cfg(test)]
mod tests;
