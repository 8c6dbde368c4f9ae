//! The pages: what is shown, and its HTML. Every text goes through the template's escaping; there is no script.

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

/// What the page is called.
pub const NAME: &str = "Service status";
/// How long a resolved incident stays on the overview.
pub const RECENT: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Entries of one timeline on the overview; its own page has the others.
pub const ENTRIES_SHOWN: usize = 10;
/// Most text of timelines on one page, escaped, in bytes: with every incident's newest entry it still fits a Lambda's answer.
const TEXT_MAX: usize = 1_000_000;
/// Where announced work stands that was over before it was to begin.
const CALLED_OFF: &str = "Called off";
/// The width of a day in a history bar, and of the gap after it.
const DAY_WIDTH: usize = 4;

/// The style sheet; the content security policy names its hash.
pub const STYLE: &str = include_str!("../templates/page.css");

/// An incident with the newest entries of its timeline, newest first.
#[derive(Clone, Debug)]
pub struct Told {
    /// The incident.
    pub incident: PublishedIncident,
    /// Its timeline.
    pub timeline: Vec<PublishedUpdate>,
    /// True where the timeline goes on beyond what was read.
    pub more: bool,
}

/// Incidents as the overview has them.
#[derive(Clone, Debug)]
pub struct Sorted {
    /// Incidents that are open, newest first; then work that is being done or announced, the next first; then notices.
    pub shown: Vec<PublishedIncident>,
    /// How many more incidents are open, which there is no room for.
    pub beyond: usize,
    /// What was over lately, the last first.
    pub over: Vec<PublishedIncident>,
}

/// Sorts incidents for the overview.
#[must_use]
pub fn sort(incidents: &[PublishedIncident], now: Timestamp) -> Sorted {
    let (mut shown, mut over): (Vec<_>, Vec<_>) =
        incidents.iter().cloned().partition(|incident| !incident.is_over(now));
    let place = |shown: &PublishedIncident| match (shown.kind, shown.maintenance) {
        (Kind::Maintenance, planned) => (1, planned.map_or(shown.started_at, |planned| planned.from).as_second()),
        (Kind::Advisory, _) => (2, -shown.started_at.as_second()),
        _ => (0, -shown.started_at.as_second()),
    };
    shown.sort_by(|left, right| place(left).cmp(&place(right)).then_with(|| left.id.cmp(&right.id)));
    let open = shown.iter().take_while(|shown| place(shown).0 == 0).count();
    let beyond = open.saturating_sub(crate::NEWEST);
    drop(shown.drain(open - beyond..open));
    let since = now.saturating_sub(RECENT).unwrap_or(Timestamp::MIN);
    over.retain(|incident| incident.kind != Kind::Advisory && incident.ended_at() >= since);
    over.sort_by(|left, right| right.ended_at().cmp(&left.ended_at()).then_with(|| left.id.cmp(&right.id)));
    Sorted { shown, beyond, over }
}

/// Cuts the oldest entries of timelines until all their texts fit; the newest entry of each stays.
pub fn fit(told: &mut [Told], mut room: usize) {
    for one in told {
        let mut kept = 0;
        for said in &one.timeline {
            let size = serde_json::to_string(&said.message).map_or(said.message.len(), |text| text.len());
            if kept > 0 && size > room {
                break;
            }
            room = room.saturating_sub(size);
            kept += 1;
        }
        one.more |= kept < one.timeline.len();
        one.timeline.truncate(kept);
    }
}

/// The way from a page back to `/status`, relative to the page: on AWS the stage's name stands before the path, and only
/// the browser knows it. `below` is what follows `/status` in the path.
#[must_use]
pub fn home(below: &str) -> String {
    format!("{}status", "../".repeat(below.matches('/').count()))
}

/// Everything that the overview shows.
#[derive(Clone, Debug)]
pub struct Overview<'c> {
    catalogue: &'c Catalogue,
    board: StatusOverview,
    history: BTreeMap<String, Vec<(Date, Health)>>,
    known_from: Date,
    told: Vec<Told>,
    beyond: usize,
    over: Vec<PublishedIncident>,
    /// What announced work explains, with that work.
    inside: Vec<(IncidentId, PublishedIncident)>,
    now: Timestamp,
}

impl<'c> Overview<'c> {
    /// The overview of all incidents that were read, those of `sorted` that are not over with their timelines.
    #[must_use]
    pub fn of(
        catalogue: &'c Catalogue,
        all: &PublicIncidents,
        told: Vec<Told>,
        sorted: Sorted,
        now: Timestamp,
    ) -> Self {
        let day = |at: Timestamp| at.to_zoned_datetime(TimeZone::UTC).date();
        let history = daily_history(&all.incidents, now);
        Self {
            catalogue,
            board: summarize_status(catalogue, &all.incidents, now),
            history: history.into_iter().map(|(name, days)| (name.to_owned(), days)).collect(),
            // Where more happened than was read, the days before may have been worse than we know.
            known_from: all.complete_since.map_or(Date::MIN, day),
            inside: inside(&all.incidents, now),
            told,
            beyond: sorted.beyond,
            over: sorted.over,
            now,
        }
    }

    /// The page.
    ///
    /// # Errors
    /// [`askama::Error`]; none of the values here can cause one.
    pub fn render(&self, home: &str) -> Result<String, askama::Error> {
        let mut room = TEXT_MAX;
        let mut cards = |wanted: &dyn Fn(&PublishedIncident) -> bool| -> Vec<Card<'_>> {
            let told = self.told.iter().filter(|told| wanted(&told.incident));
            told.map(|told| Card::of(told, &self.inside, self.catalogue, home, &mut room)).collect()
        };
        let of_work = |shown: &PublishedIncident| shown.kind == Kind::Maintenance;
        let notice = |shown: &PublishedIncident| shown.kind == Kind::Advisory;
        // What work explains is shown under it.
        let part = |shown: &PublishedIncident| self.inside.iter().any(|(_, one)| one.id == shown.id);
        let open = cards(&|shown| !of_work(shown) && !notice(shown) && !part(shown));
        let works = cards(&of_work);
        let notices = cards(&notice);
        let newest = self.told.iter().map(|told| told.incident.updated_at).max();
        let (incidents, other) = (open.len() + self.beyond, notices.len());
        OverviewPage {
            home,
            banner: Banner::of(self.board.indicator, incidents, other),
            newest: newest.map(Moment::of),
            lines: self.board.components.iter().map(|line| self.component(line)).collect(),
            width: HISTORY_DAYS * (DAY_WIDTH + 1),
            open,
            beyond: self.beyond,
            works,
            notices,
            over: self.over.iter().map(|incident| Line::of(incident, self.catalogue, home)).collect(),
            made: Moment::of(self.now),
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
                said: format!("{}: {}", date.strftime("%-d %b %Y"), health.title().to_lowercase()),
            })
            .collect();
        let today = self.now.to_zoned_datetime(TimeZone::UTC).date();
        let known = today
            .since(self.known_from)
            .map_or(HISTORY_DAYS, |span| usize::try_from(span.get_days()).unwrap_or(HISTORY_DAYS) + 1);
        let said = match bars.as_slice() {
            [] => "nothing in the last 90 days".to_owned(),
            [one] => format!("one day with an incident in the last 90: {}", one.said),
            [.., last] => format!("{} days with incidents in the last 90, the last {}", bars.len(), last.said),
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
            said,
        }
    }
}

/// What announced work explains, each with that work, the newest first.
fn inside(all: &[PublishedIncident], now: Timestamp) -> Vec<(IncidentId, PublishedIncident)> {
    all.iter().filter_map(|shown| Some((shown.enclosing_maintenance(all, now)?.id.clone(), shown.clone()))).collect()
}

/// One incident's page.
///
/// # Errors
/// [`askama::Error`]; none of the values here can cause one.
pub fn incident(
    home: &str,
    told: &Told,
    all: &[PublishedIncident],
    catalogue: &Catalogue,
    now: Timestamp,
) -> Result<String, askama::Error> {
    let mut room = TEXT_MAX;
    IncidentPage { home, card: Card::of(told, &inside(all, now), catalogue, home, &mut room), made: Moment::of(now) }
        .render()
}

/// A page without the moment as of which it is, which alone is new every second.
#[must_use]
pub fn timeless(page: &str) -> [&str; 2] {
    let parts =
        page.rsplit_once("As of <time").and_then(|(before, made)| Some([before, made.split_once("</time>")?.1]));
    parts.unwrap_or([page, ""])
}

/// The page for everything that is not there, unknown and private alike.
///
/// # Errors
/// [`askama::Error`]; none of the values here can cause one.
pub fn not_found(home: &str) -> Result<String, askama::Error> {
    let text = "There is no public page at this address. An incident's page goes when its records expire.";
    Note { home, title: "Not found", text }.render()
}

/// The page for when the table cannot be read.
///
/// # Errors
/// [`askama::Error`]; none of the values here can cause one.
pub fn unavailable(home: &str) -> Result<String, askama::Error> {
    let text = "The current status cannot be read at this moment. This says nothing about the service itself. \
                Reload the page in a minute.";
    Note { home, title: "Status unavailable", text }.render()
}

/// What the whole comes to.
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
            0 => "No incident is open.".to_owned(),
            1 => "One incident is open.".to_owned(),
            many => format!("{many} incidents are open."),
        };
        Self { tone, title, text }
    }
}

/// A component with its history.
struct Component<'a> {
    name: &'a str,
    description: &'a str,
    tone: &'static str,
    state: &'static str,
    regions: Vec<String>,
    bars: Vec<Bar>,
    /// How much of the history, from the left, nobody knows.
    unknown: usize,
    said: String,
}

/// A day on which not all was well.
struct Bar {
    at: usize,
    tone: &'static str,
    said: String,
}

const fn health_tone(health: Health) -> &'static str {
    match health {
        Health::Operational => "good",
        Health::UnderMaintenance => "note",
        Health::DegradedPerformance | Health::PartialOutage => "warn",
        Health::MajorOutage => "bad",
    }
}

/// A time for people and for machines.
struct Moment {
    machine: String,
    people: String,
}

impl Moment {
    fn of(at: Timestamp) -> Self {
        let people = at.strftime("%-d %b %Y, %H:%M UTC").to_string();
        Self { machine: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), people }
    }
}

/// An incident with its timeline.
struct Card<'a> {
    link: String,
    title: &'a str,
    tone: &'static str,
    /// Nothing of work and notices, which break nothing.
    severity: Option<&'static str>,
    status: &'static str,
    components: String,
    regions: String,
    began: &'static str,
    started: Moment,
    until: Option<Moment>,
    ended: Option<Moment>,
    over: &'static str,
    lasted: Option<String>,
    entries: Vec<Entry<'a>>,
    more: bool,
    /// Of announced work, what it explains.
    inside: Vec<Part<'a>>,
}

/// An incident that announced work explains.
struct Part<'a> {
    link: String,
    title: &'a str,
    status: &'static str,
    started: Moment,
    ended: Option<Moment>,
}

struct Entry<'a> {
    status: &'static str,
    tone: &'static str,
    at: Moment,
    message: &'a str,
}

impl<'a> Card<'a> {
    fn of(
        told: &'a Told,
        inside: &'a [(IncidentId, PublishedIncident)],
        catalogue: &'a Catalogue,
        home: &str,
        room: &mut usize,
    ) -> Self {
        let incident = &told.incident;
        let mut more = told.more;
        let mut entries = Vec::with_capacity(told.timeline.len());
        for (place, update) in told.timeline.iter().enumerate() {
            // The newest entry is always shown: it is what everybody came for, and intake caps its length.
            let size = escaped_size(&update.message);
            if place > 0 && size > *room {
                more = true;
                break;
            }
            *room = room.saturating_sub(size);
            let tone = tone_of(incident.kind, update.status);
            let status = stands(incident, update.status);
            entries.push(Entry { status, tone, at: Moment::of(update.at), message: update.message.trim() });
        }
        let planned = incident.maintenance;
        let breaks = incident.kind != Kind::Maintenance && incident.kind != Kind::Advisory;
        let resolved = incident.status == Status::Resolved || incident.resolved_at.is_some();
        let from = planned.map_or(incident.started_at, |planned| planned.from);
        Self {
            link: link(home, incident),
            title: title(incident),
            tone: match (resolved, breaks) {
                (true, _) => "good",
                (false, true) => severity_tone(incident.severity),
                (false, false) => "note",
            },
            severity: breaks.then(|| severity_label(incident.severity)),
            status: stands(incident, incident.status),
            components: names(&incident.components, |id| catalogue.component_name(id)),
            regions: names(&incident.regions, |id| catalogue.region_name(id)),
            began: match planned.map(|planned| planned.phase) {
                _ if incident.is_canceled() => "Was to begin",
                Some(Phase::Scheduled) => "Begins",
                _ => "Began",
            },
            started: Moment::of(from),
            until: planned.and_then(|planned| planned.until).filter(|_| !resolved).map(Moment::of),
            ended: resolved.then(|| Moment::of(incident.ended_at())),
            over: stands(incident, Status::Resolved),
            lasted: lasted(incident, from),
            entries,
            more,
            inside: inside
                .iter()
                .filter(|(work, _)| *work == incident.id)
                .map(|(_, part)| Part {
                    link: link(home, part),
                    title: title(part),
                    status: render::status_label(part.kind, part.status),
                    started: Moment::of(part.started_at),
                    ended: part.resolved_at.map(Moment::of),
                })
                .collect(),
        }
    }
}

fn names<'a>(ids: &'a [String], name: impl Fn(&'a str) -> &'a str) -> String {
    ids.iter().map(|id| name(id)).collect::<Vec<_>>().join(", ")
}

/// Where an incident stands, in words.
pub(crate) fn stands(incident: &PublishedIncident, status: Status) -> &'static str {
    let off = status == Status::Resolved && incident.is_canceled();
    if off { CALLED_OFF } else { render::status_label(incident.kind, status) }
}

/// How long it lasted; nothing of work that never began.
fn lasted(incident: &PublishedIncident, from: Timestamp) -> Option<String> {
    (!incident.is_canceled()).then(|| render::format_duration(from, incident.ended_at()))
}

/// What a text takes once it is escaped: each special character becomes five.
fn escaped_size(text: &str) -> usize {
    text.len() + 4 * text.bytes().filter(|byte| b"<>&\"'".contains(byte)).count()
}

/// A resolved incident in the list.
struct Line<'a> {
    link: String,
    title: &'a str,
    over: &'static str,
    ended: Moment,
    lasted: Option<String>,
    components: String,
    regions: String,
}

impl<'a> Line<'a> {
    fn of(incident: &'a PublishedIncident, catalogue: &'a Catalogue, home: &str) -> Self {
        let from = incident.maintenance.map_or(incident.started_at, |planned| planned.from);
        Self {
            link: link(home, incident),
            title: title(incident),
            over: stands(incident, Status::Resolved),
            ended: Moment::of(incident.ended_at()),
            lasted: lasted(incident, from),
            components: names(&incident.components, |id| catalogue.component_name(id)),
            regions: names(&incident.regions, |id| catalogue.region_name(id)),
        }
    }
}

fn link(home: &str, incident: &PublishedIncident) -> String {
    format!("{home}/incidents/{}", incident.id)
}

/// The title of an incident; a word for one whose text is empty.
#[must_use]
pub fn title(incident: &PublishedIncident) -> &str {
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
    newest: Option<Moment>,
    lines: Vec<Component<'a>>,
    width: usize,
    open: Vec<Card<'a>>,
    beyond: usize,
    works: Vec<Card<'a>>,
    notices: Vec<Card<'a>>,
    over: Vec<Line<'a>>,
    made: Moment,
}

#[derive(Template)]
#[template(path = "incident.html")]
struct IncidentPage<'a> {
    home: &'a str,
    card: Card<'a>,
    made: Moment,
}

#[derive(Template)]
#[template(path = "note.html")]
struct Note<'a> {
    home: &'a str,
    title: &'a str,
    text: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::IncidentId;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn public(id: &str, status: Status, severity: Severity, began: &str, resolved: Option<&str>) -> PublishedIncident {
        PublishedIncident {
            id: IncidentId::new(id),
            title: format!("Title of {id}"),
            kind: Kind::Incident,
            status,
            severity,
            components: vec!["voice".into()],
            regions: vec!["ap-south-1".into()],
            started_at: at(began),
            updated_at: at(resolved.unwrap_or(began)),
            resolved_at: resolved.map(at),
            maintenance: None,
            covered_by: None,
        }
    }

    fn told(incident: PublishedIncident, messages: &[&str]) -> Told {
        let timeline = messages.iter().zip((1..=9).rev()).map(|(message, number)| PublishedUpdate {
            number,
            at: incident.updated_at,
            status: incident.status,
            message: (*message).to_owned(),
        });
        Told { timeline: timeline.collect(), incident, more: false }
    }

    fn catalogue() -> Catalogue {
        Catalogue::embedded().unwrap()
    }

    fn overview(told: &[Told], over: &[PublishedIncident]) -> String {
        overview_since(None, told, over)
    }

    fn overview_since(known_from: Option<&str>, told: &[Told], over: &[PublishedIncident]) -> String {
        let incidents = told.iter().map(|told| told.incident.clone()).chain(over.iter().cloned()).collect();
        let all = PublicIncidents { incidents, complete_since: known_from.map(at) };
        let sorted = Sorted { shown: Vec::new(), beyond: 0, over: over.to_vec() };
        Overview::of(&catalogue(), &all, told.to_vec(), sorted, at(NOW)).render("status").unwrap()
    }

    const NOW: &str = "2026-11-23T12:00:00Z";

    #[test]
    fn what_is_open_stays_and_what_is_over_goes_after_two_weeks() {
        let all = vec![
            public("old", Status::Investigating, Severity::Info, "2026-01-01T00:00:00Z", None),
            public("new", Status::Monitoring, Severity::Info, "2026-11-23T00:00:00Z", None),
            public("edge", Status::Resolved, Severity::Info, "2026-11-01T00:00:00Z", Some("2026-11-09T12:00:00Z")),
            public("gone", Status::Resolved, Severity::Info, "2026-11-01T00:00:00Z", Some("2026-11-09T11:59:59Z")),
            public("late", Status::Resolved, Severity::Info, "2026-10-01T00:00:00Z", Some("2026-11-20T00:00:00Z")),
        ];
        let Sorted { shown, over, .. } = sort(&all, at(NOW));
        let names =
            |list: Vec<PublishedIncident>| list.into_iter().map(|i| i.id.as_str().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(shown), ["inc_new", "inc_old"]);
        assert_eq!(names(over), ["inc_late", "inc_edge"]);
    }

    #[test]
    fn of_very_many_open_ones_the_newest_are_listed_and_the_others_counted() {
        let named = |n: usize| public(&format!("n{n}"), Status::Identified, Severity::Error, NOW, None);
        let mut all: Vec<PublishedIncident> = (0..crate::NEWEST).map(named).collect();
        all.push(public("old", Status::Identified, Severity::Critical, "2026-01-01T00:00:00Z", None));
        all.push(PublishedIncident {
            kind: Kind::Maintenance,
            ..public("work", Status::Investigating, Severity::Info, NOW, None)
        });
        let sorted = sort(&all, at(NOW));
        assert_eq!((sorted.shown.len(), sorted.beyond), (crate::NEWEST + 1, 1));
        assert_eq!(sorted.shown.last().unwrap().id.as_str(), "inc_work");
        let told: Vec<Told> = sorted.shown.iter().map(|shown| told(shown.clone(), &[])).collect();
        let all = PublicIncidents { incidents: all, complete_since: None };
        let html = Overview::of(&catalogue(), &all, told, sorted, at(NOW)).render("status").unwrap();
        for part in ["1001 incidents are open.", "One more is open", "Major service disruption"] {
            assert!(html.contains(part), "{part}");
        }
    }

    #[test]
    fn every_text_is_escaped() {
        let mut evil = public("evil", Status::Investigating, Severity::Critical, NOW, None);
        evil.title = "</title><script>alert(1)</script>".into();
        evil.components = vec!["<b>".into()];
        evil.regions = vec!["\" onmouseover=\"x".into()];
        let over = PublishedIncident { status: Status::Resolved, resolved_at: Some(at(NOW)), ..evil.clone() };
        let evil = told(evil, &["<img src=x onerror=alert(1)>"]);
        for html in [
            overview(std::slice::from_ref(&evil), &[over]),
            incident("../../status", &evil, &[], &catalogue(), at(NOW)).unwrap(),
        ] {
            for raw in ["<script", "<img", "<b>", "\" onmouseover"] {
                assert!(!html.contains(raw), "{raw} in {html}");
            }
            assert!(html.contains("&#60;script&#62;") || html.contains("&lt;script&gt;"), "{html}");
        }
    }

    #[test]
    fn the_worst_open_incident_names_the_state() {
        for (worst, title) in [
            (Indicator::None, "All systems operational"),
            (Indicator::Maintenance, "Maintenance in progress"),
            (Indicator::Minor, "Degraded service"),
            (Indicator::Major, "Service disruption"),
            (Indicator::Critical, "Major service disruption"),
        ] {
            assert_eq!(Banner::of(worst, 0, 0).title, title);
        }
        assert_eq!(Banner::of(Indicator::None, 0, 1).title, "Service notice");
        let open = [
            told(public("a", Status::Monitoring, Severity::Warning, NOW, None), &["a"]),
            told(public("b", Status::Identified, Severity::Error, NOW, None), &["b"]),
        ];
        let html = overview(&open, &[]);
        assert!(html.contains("Service disruption") && html.contains("2 incidents are open."));
        let calm = overview(&[], &[]);
        assert!(calm.contains("All systems operational") && !calm.contains("Open incidents"));
    }

    #[test]
    fn components_have_their_state_their_regions_and_ninety_days() {
        let now = told(public("a", Status::Identified, Severity::Error, NOW, None), &["a"]);
        let then =
            public("b", Status::Resolved, Severity::Critical, "2026-11-01T00:00:00Z", Some("2026-11-02T00:00:00Z"));
        let html = overview(&[now], &[then]);
        for part in [
            "Voice calls",
            "Partial outage",
            "Mumbai: partial outage",
            "3 days with incidents in the last 90, the last 23 Nov 2026: partial outage",
            "<title>2 Nov 2026: major outage</title>",
            "class=\"bad\" x=\"335\"",
            "Billing",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(!html.contains("class=\"unknown\""));
        let html = overview_since(Some("2026-11-20T00:00:00Z"), &[], &[]);
        assert!(html.contains("class=\"unknown\" width=\"430\""), "before what was read nobody knows: {html}");
    }

    #[test]
    fn work_and_notices_have_their_places() {
        let planned = |phase| domain::maintenance::MaintenanceSchedule {
            phase,
            from: at("2026-11-24T22:00:00Z"),
            until: Some(at("2026-11-25T02:00:00Z")),
        };
        let work = |phase, status| PublishedIncident {
            kind: Kind::Maintenance,
            maintenance: Some(planned(phase)),
            ..public("work", status, Severity::Warning, NOW, None)
        };
        let notice = PublishedIncident {
            kind: Kind::Advisory,
            ..public("say", Status::Investigating, Severity::Warning, NOW, None)
        };
        let html =
            overview(&[told(work(Phase::Scheduled, Status::Investigating), &["w"]), told(notice.clone(), &["n"])], &[]);
        for part in [
            "Service notice",
            "No incident is open.",
            "<h2 id=\"work\">Maintenance",
            "Begins",
            "Until",
            "Scheduled",
            "<h2 id=\"notices\">Notices",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(!html.contains("Open incidents") && !html.contains("Severity"), "{html}");
        let html = overview(&[told(work(Phase::InProgress, Status::Identified), &["w"])], &[]);
        assert!(html.contains("Maintenance in progress") && html.contains("Under maintenance"), "{html}");
        let off = PublishedIncident { resolved_at: Some(at(NOW)), ..work(Phase::Completed, Status::Resolved) };
        let html = overview(&[], std::slice::from_ref(&off));
        assert!(
            html.contains("Called off <time datetime=\"2026-11-23T12:00:00Z\">") && !html.contains(" after "),
            "{html}"
        );
        let html = incident("../../status", &told(off, &["w"]), &[], &catalogue(), at(NOW)).unwrap();
        assert!(html.contains("Was to begin") && !html.contains("Completed"), "{html}");
        let late = at("2026-12-24T00:00:00Z");
        assert!(sort(&[notice], late).shown.is_empty(), "a notice goes by itself");
    }

    #[test]
    fn what_work_explains_is_shown_under_it_and_makes_nothing_worse() {
        let work = PublishedIncident {
            kind: Kind::Maintenance,
            maintenance: Some(domain::maintenance::MaintenanceSchedule {
                phase: Phase::InProgress,
                from: at("2026-11-23T11:00:00Z"),
                until: Some(at("2026-11-23T13:00:00Z")),
            }),
            ..public("work", Status::Identified, Severity::Info, "2026-11-23T11:00:00Z", None)
        };
        let part = PublishedIncident {
            covered_by: Some(IncidentId::new("work")),
            ..public("part", Status::Investigating, Severity::Error, "2026-11-23T11:30:00Z", None)
        };
        let html = overview(&[told(part.clone(), &["p"]), told(work.clone(), &["w"])], &[]);
        assert!(html.contains("Maintenance in progress") && html.contains("No incident is open."), "{html}");
        assert!(!html.contains("Open incidents"), "{html}");
        assert!(html.contains("During this work") && html.contains("href=\"status/incidents/inc_part\""), "{html}");
        let all = [part, work.clone()];
        let html = incident("../../status", &told(work, &["w"]), &all, &catalogue(), at(NOW)).unwrap();
        assert!(html.contains("During this work") && html.contains("incidents/inc_part"), "{html}");
        // It outlives the work: an incident like any other.
        let (catalogue, told) = (catalogue(), vec![told(all[0].clone(), &["p"])]);
        let (all, then) =
            (PublicIncidents { incidents: all.to_vec(), complete_since: None }, at("2026-11-23T13:00:00Z"));
        let sorted = sort(&all.incidents, then);
        let html = Overview::of(&catalogue, &all, told, sorted, then).render("status").unwrap();
        assert!(html.contains("Service disruption") && html.contains("One incident is open."), "{html}");
    }

    #[test]
    fn what_a_page_shows_is_the_same_however_often_it_is_made() {
        let open = told(public("a", Status::Identified, Severity::Error, NOW, None), &["As of now"]);
        let made = |at: Timestamp| {
            let all = PublicIncidents { incidents: vec![open.incident.clone()], complete_since: None };
            let sorted = sort(&all.incidents, at);
            let page = Overview::of(&catalogue(), &all, vec![open.clone()], sorted, at).render("status").unwrap();
            [page, incident("../../status", &open, &[], &catalogue(), at).unwrap()]
        };
        for (one, other) in made(at(NOW)).iter().zip(&made(at("2026-11-23T12:01:07Z"))) {
            assert!(one != other && timeless(one) == timeless(other), "{one}");
            assert!(one.contains("As of <time datetime=\"2026-11-23T12:00:00Z\">"));
        }
        assert_ne!(timeless(&made(at(NOW))[0]), timeless(&overview(&[], &[])));
        assert_eq!(timeless("As of now"), ["As of now", ""]);
    }

    #[test]
    fn links_are_relative_and_times_are_for_people_and_machines() {
        let over = public("x", Status::Resolved, Severity::Error, "2026-11-20T08:00:00Z", Some("2026-11-20T09:24:00Z"));
        let html = overview(&[], &[over]);
        assert!(html.contains("href=\"status/incidents/inc_x\""));
        assert!(
            html.contains("<time datetime=\"2026-11-20T09:24:00Z\">20 Nov 2026, 09:24 UTC</time> after 1 h 24 min")
        );
        assert!(!html.contains("href=\"/"));
    }

    #[test]
    fn a_page_always_fits_an_answer() {
        let long = "\"".repeat(15_000);
        let messages: Vec<&str> = std::iter::repeat_n(long.as_str(), 9).collect();
        let open: Vec<Told> = (0..50)
            .map(|n| told(public(&format!("n{n}"), Status::Identified, Severity::Error, NOW, None), &messages))
            .collect();
        let html = overview(&open, &[]);
        assert!(html.len() < 5 * 1024 * 1024, "{}", html.len());
        assert!(html.contains("All updates of this incident"), "what is left out is said");
        assert!((0..50).all(|n| html.contains(&format!("inc_n{n}\""))), "every incident is there");
    }
}
