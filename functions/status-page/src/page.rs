//! The pages: what is shown, and its HTML. Every text goes through the template's escaping; there is no script.

use askama::Template;
use domain::render;
use domain::vocabulary::{Severity, Status};
use jiff::{SignedDuration, Timestamp};
use store::public::{PublicIncident, PublicUpdate};

/// How long a resolved incident stays on the overview.
pub const RECENT: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Entries of one timeline on the overview; its own page has the others.
pub const ENTRIES_SHOWN: usize = 10;
/// Most text of timelines on one page, escaped, in bytes: with every incident's newest entry it still fits a Lambda's answer.
const TEXT_MAX: usize = 1_000_000;

/// The style sheet; the content security policy names its hash.
pub const STYLE: &str = include_str!("../templates/page.css");

/// An incident with the newest entries of its timeline, newest first.
#[derive(Clone, Debug)]
pub struct Told {
    /// The incident.
    pub incident: PublicIncident,
    /// Its timeline.
    pub timeline: Vec<PublicUpdate>,
    /// True where the timeline goes on beyond what was read.
    pub more: bool,
}

/// Sorts incidents into what is open, newest first, and what was resolved lately, the last resolved first.
#[must_use]
pub fn sort(incidents: Vec<PublicIncident>, now: Timestamp) -> (Vec<PublicIncident>, Vec<PublicIncident>) {
    let (mut open, mut over): (Vec<_>, Vec<_>) = incidents.into_iter().partition(|incident| !is_over(incident));
    open.sort_by(|left, right| right.started_at.cmp(&left.started_at).then_with(|| left.id.cmp(&right.id)));
    let since = now.saturating_sub(RECENT).unwrap_or(Timestamp::MIN);
    over.retain(|incident| ended_at(incident) >= since);
    over.sort_by(|left, right| ended_at(right).cmp(&ended_at(left)).then_with(|| left.id.cmp(&right.id)));
    (open, over)
}

fn is_over(incident: &PublicIncident) -> bool {
    incident.status == Status::Resolved || incident.resolved_at.is_some()
}

fn ended_at(incident: &PublicIncident) -> Timestamp {
    incident.resolved_at.unwrap_or(incident.updated_at)
}

/// The way from a page back to `/status`, relative to the page: on AWS the stage's name stands before the path, and only
/// the browser knows it. `below` is what follows `/status` in the path.
#[must_use]
pub fn home(below: &str) -> String {
    format!("{}status", "../".repeat(below.matches('/').count()))
}

/// The overview.
///
/// # Errors
/// [`askama::Error`]; none of the values here can cause one.
pub fn overview(home: &str, open: &[Told], over: &[PublicIncident], now: Timestamp) -> Result<String, askama::Error> {
    let mut room = TEXT_MAX;
    let newest = open.iter().map(|told| told.incident.updated_at).max();
    let page = Overview {
        home,
        banner: Banner::of(open.iter().map(|told| told.incident.severity).max(), open.len()),
        newest: newest.map(Moment::of),
        open: open.iter().map(|told| Card::of(told, home, &mut room)).collect(),
        over: over.iter().map(|incident| Line::of(incident, home)).collect(),
        made: Moment::of(now),
    };
    page.render()
}

/// One incident's page.
///
/// # Errors
/// [`askama::Error`]; none of the values here can cause one.
pub fn incident(home: &str, told: &Told, now: Timestamp) -> Result<String, askama::Error> {
    let mut room = TEXT_MAX;
    IncidentPage { home, card: Card::of(told, home, &mut room), made: Moment::of(now) }.render()
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
    fn of(worst: Option<Severity>, open: usize) -> Self {
        let (tone, title) = match worst {
            None => ("good", "All systems operational"),
            Some(Severity::Info) => ("note", "Service notice"),
            Some(Severity::Warning) => ("warn", "Degraded service"),
            Some(Severity::Error) => ("warn", "Service disruption"),
            Some(Severity::Critical) => ("bad", "Major service disruption"),
        };
        let text = match open {
            0 => "No incident is open.".to_owned(),
            1 => "One incident is open.".to_owned(),
            many => format!("{many} incidents are open."),
        };
        Self { tone, title, text }
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
    severity: &'static str,
    status: &'static str,
    components: String,
    regions: String,
    started: Moment,
    ended: Option<Moment>,
    lasted: String,
    entries: Vec<Entry<'a>>,
    more: bool,
}

struct Entry<'a> {
    status: &'static str,
    tone: &'static str,
    at: Moment,
    message: &'a str,
}

impl<'a> Card<'a> {
    fn of(told: &'a Told, home: &str, room: &mut usize) -> Self {
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
            let (status, tone) = (render::status(update.status), tone_of(update.status));
            entries.push(Entry { status, tone, at: Moment::of(update.at), message: update.message.trim() });
        }
        let over = is_over(incident);
        Self {
            link: link(home, incident),
            title: title(incident),
            tone: if over { "good" } else { severity_tone(incident.severity) },
            severity: severity_label(incident.severity),
            status: render::status(incident.status),
            components: incident.components.join(", "),
            regions: incident.regions.join(", "),
            started: Moment::of(incident.started_at),
            ended: over.then(|| Moment::of(ended_at(incident))),
            lasted: render::lasted(incident.started_at, ended_at(incident)),
            entries,
            more,
        }
    }
}

/// What a text takes once it is escaped: each special character becomes five.
fn escaped_size(text: &str) -> usize {
    text.len() + 4 * text.bytes().filter(|byte| b"<>&\"'".contains(byte)).count()
}

/// A resolved incident in the list.
struct Line<'a> {
    link: String,
    title: &'a str,
    ended: Moment,
    lasted: String,
    components: String,
    regions: String,
}

impl<'a> Line<'a> {
    fn of(incident: &'a PublicIncident, home: &str) -> Self {
        Self {
            link: link(home, incident),
            title: title(incident),
            ended: Moment::of(ended_at(incident)),
            lasted: render::lasted(incident.started_at, ended_at(incident)),
            components: incident.components.join(", "),
            regions: incident.regions.join(", "),
        }
    }
}

fn link(home: &str, incident: &PublicIncident) -> String {
    format!("{home}/incidents/{}", incident.id)
}

fn title(incident: &PublicIncident) -> &str {
    let title = incident.title.trim();
    if title.is_empty() { "Incident" } else { title }
}

const fn tone_of(status: Status) -> &'static str {
    match status {
        Status::Investigating => "bad",
        Status::Identified => "warn",
        Status::Monitoring => "note",
        Status::Resolved => "good",
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
struct Overview<'a> {
    home: &'a str,
    banner: Banner,
    newest: Option<Moment>,
    open: Vec<Card<'a>>,
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

    fn public(id: &str, status: Status, severity: Severity, began: &str, resolved: Option<&str>) -> PublicIncident {
        PublicIncident {
            id: IncidentId::new(id),
            title: format!("Title of {id}"),
            status,
            severity,
            components: vec!["voice".into()],
            regions: vec!["ap-south-1".into()],
            started_at: at(began),
            updated_at: at(resolved.unwrap_or(began)),
            resolved_at: resolved.map(at),
        }
    }

    fn told(incident: PublicIncident, messages: &[&str]) -> Told {
        let timeline = messages.iter().zip((1..=9).rev()).map(|(message, number)| PublicUpdate {
            number,
            at: incident.updated_at,
            status: incident.status,
            message: (*message).to_owned(),
        });
        Told { timeline: timeline.collect(), incident, more: false }
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
        let (open, over) = sort(all, at(NOW));
        let names = |list: Vec<PublicIncident>| list.into_iter().map(|i| i.id.as_str().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(open), ["inc_new", "inc_old"]);
        assert_eq!(names(over), ["inc_late", "inc_edge"]);
    }

    #[test]
    fn every_text_is_escaped() {
        let mut evil = public("evil", Status::Investigating, Severity::Critical, NOW, None);
        evil.title = "</title><script>alert(1)</script>".into();
        evil.components = vec!["<b>".into()];
        evil.regions = vec!["\" onmouseover=\"x".into()];
        let over = PublicIncident { status: Status::Resolved, resolved_at: Some(at(NOW)), ..evil.clone() };
        let evil = told(evil, &["<img src=x onerror=alert(1)>"]);
        for html in [
            overview("status", std::slice::from_ref(&evil), &[over], at(NOW)).unwrap(),
            incident("../../status", &evil, at(NOW)).unwrap(),
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
            (None, "All systems operational"),
            (Some(Severity::Info), "Service notice"),
            (Some(Severity::Warning), "Degraded service"),
            (Some(Severity::Error), "Service disruption"),
            (Some(Severity::Critical), "Major service disruption"),
        ] {
            assert_eq!(Banner::of(worst, usize::from(worst.is_some())).title, title);
        }
        let open = [
            told(public("a", Status::Monitoring, Severity::Warning, NOW, None), &["a"]),
            told(public("b", Status::Identified, Severity::Error, NOW, None), &["b"]),
        ];
        let html = overview("status", &open, &[], at(NOW)).unwrap();
        assert!(html.contains("Service disruption") && html.contains("2 incidents are open."));
        let calm = overview("status", &[], &[], at(NOW)).unwrap();
        assert!(calm.contains("All systems operational") && !calm.contains("Open incidents"));
    }

    #[test]
    fn links_are_relative_and_times_are_for_people_and_machines() {
        let over = public("x", Status::Resolved, Severity::Error, "2026-11-20T08:00:00Z", Some("2026-11-20T09:24:00Z"));
        let html = overview("status", &[], &[over], at(NOW)).unwrap();
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
        let html = overview("status", &open, &[], at(NOW)).unwrap();
        assert!(html.len() < 5 * 1024 * 1024, "{}", html.len());
        assert!(html.contains("All updates of this incident"), "what is left out is said");
        assert!((0..50).all(|n| html.contains(&format!("inc_n{n}\""))), "every incident is there");
    }
}
