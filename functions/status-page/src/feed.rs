//! The Atom feed of incidents, the calendar of maintenance, and the badge.

use crate::page::{IncidentTimeline, display_title, status_label};
use askama::Template;
use atom_syndication::{Category, Content, Entry, Feed, FixedDateTime, Generator, Link, Person, Text};
use chrono::{DateTime, Utc};
use domain::vocabulary::Indicator;
use icalendar::{Calendar, Component, Event, EventLike, EventStatus, Property};
use jiff::Timestamp;

/// Where the pages are that a feed leads to, and what they are called.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The base URL of the API, without a trailing slash.
    pub base: &'a str,
    /// The title of the status page.
    pub name: &'a str,
}

/// Number of incidents in the feed, the same as in Statuspage's feeds.
pub const ENTRIES: usize = 25;
/// Media type of the Atom feed (RFC 4287).
pub const ATOM: &str = "application/atom+xml; charset=utf-8";
/// Media type of the calendar (RFC 5545).
pub const ICALENDAR: &str = "text/calendar; charset=utf-8";

/// Returns the Atom feed (RFC 4287). It has one entry per incident with its timeline. `base` is the API's URL.
#[must_use]
pub fn atom(site: Site<'_>, listed: &[IncidentTimeline]) -> String {
    let Site { base, name } = site;
    let updated = listed.iter().map(|listed| listed.incident.updated_at).max().unwrap_or(Timestamp::UNIX_EPOCH);
    let link = |rel: &str, href: String, media: &str| Link {
        rel: rel.to_owned(),
        href,
        mime_type: Some(media.to_owned()),
        ..Link::default()
    };
    let feed = Feed {
        title: Text::plain(name),
        id: format!("{base}/status"),
        updated: utc_date_time(updated).fixed_offset(),
        links: vec![
            link("self", format!("{base}/status/feed.atom"), "application/atom+xml"),
            link("alternate", format!("{base}/status"), "text/html"),
        ],
        // Required because the entries name no author (RFC 4287, 4.1.1).
        authors: vec![Person { name: name.to_owned(), ..Person::default() }],
        generator: Some(Generator { value: "Tocsin".to_owned(), ..Generator::default() }),
        entries: listed.iter().map(|listed| entry(base, listed)).collect(),
        ..Feed::default()
    };
    feed.to_string()
}

fn entry(base: &str, listed: &IncidentTimeline) -> Entry {
    let shown = &listed.incident;
    let page = format!("{base}/status/incidents/{}", shown.id);
    let published: FixedDateTime =
        utc_date_time(listed.timeline.last().map_or(shown.started_at, |first| first.at)).fixed_offset();
    Entry {
        title: Text::plain(display_title(shown)),
        id: page.clone(),
        updated: utc_date_time(shown.updated_at).fixed_offset(),
        published: Some(published),
        categories: shown
            .components
            .iter()
            .map(|name| Category { term: name.clone(), ..Category::default() })
            .collect(),
        links: vec![Link {
            rel: "alternate".to_owned(),
            href: page,
            mime_type: Some("text/html".to_owned()),
            ..Link::default()
        }],
        content: Some(Content {
            content_type: Some("html".to_owned()),
            value: Some(timeline(listed)),
            ..Content::default()
        }),
        ..Entry::default()
    }
}

/// Returns the timeline as HTML, newest update first.
fn timeline(listed: &IncidentTimeline) -> String {
    Timeline {
        entries: listed
            .timeline
            .iter()
            .map(|update| {
                (status_label(&listed.incident, update.status), display_time(update.at), update.message.trim())
            })
            .collect(),
    }
    .render()
    .unwrap_or_default()
}

fn display_time(at: Timestamp) -> String {
    at.strftime("%-d %b %Y, %H:%M UTC").to_string()
}

fn utc_date_time(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.as_millisecond()).unwrap_or_default()
}

/// Returns the maintenance calendar (RFC 5545). A maintenance without an end is an event without duration.
#[must_use]
pub fn calendar(site: Site<'_>, listed: &[IncidentTimeline]) -> String {
    let Site { base, name } = site;
    let mut calendar = Calendar::new();
    calendar.name(&format!("{name}: maintenance"));
    for listed in listed {
        let shown = &listed.incident;
        let Some(planned) = shown.maintenance else { continue };
        let page = format!("{base}/status/incidents/{}", shown.id);
        let until = shown.resolved_at.filter(|end| *end > planned.from).or(planned.until);
        let mut event = Event::new();
        event
            .uid(&format!("{}@tocsin", shown.id))
            .timestamp(utc_date_time(shown.updated_at))
            .last_modified(utc_date_time(shown.updated_at))
            .sequence(listed.timeline.first().map_or(0, |newest| newest.number))
            .summary(display_title(shown))
            .description(listed.timeline.first().map_or("", |newest| newest.message.trim()))
            .url(&page)
            // Shown as free time, so that a maintenance does not block anybody's calendar.
            .append_property(Property::new("TRANSP", "TRANSPARENT"))
            .status(if shown.is_canceled() { EventStatus::Cancelled } else { EventStatus::Confirmed })
            .starts(utc_date_time(planned.from));
        if !shown.regions.is_empty() {
            event.location(&shown.regions.join(", "));
        }
        if let Some(until) = until {
            event.ends(utc_date_time(until));
        }
        calendar.push(event.done());
    }
    calendar.done().to_string()
}

/// Returns the overall state as an SVG badge.
///
/// # Errors
/// [`askama::Error`]; none of the values here can cause one.
pub fn badge(indicator: Indicator) -> Result<String, askama::Error> {
    let (state, color) = match indicator {
        Indicator::None => ("operational", "#1a6b3c"),
        Indicator::Maintenance => ("maintenance", "#245a9c"),
        Indicator::Minor => ("degraded", "#8a5200"),
        Indicator::Major => ("partial outage", "#8a5200"),
        Indicator::Critical => ("major outage", "#b3261e"),
    };
    // Verdana's letters are about 6.6 units wide at this size. `textLength` fits the text to this width.
    let width = state.len() * 13 / 2;
    Badge { state, color, width, room: width + 16 }.render()
}

#[derive(Template)]
#[template(path = "badge.svg", escape = "html")]
struct Badge {
    state: &'static str,
    color: &'static str,
    width: usize,
    room: usize,
}

#[derive(Template)]
#[template(path = "timeline.html")]
struct Timeline<'a> {
    entries: Vec<(&'static str, String, &'a str)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::IncidentId;
    use domain::maintenance::MaintenanceSchedule;
    use domain::status::{PublishedIncident, PublishedUpdate};
    use domain::vocabulary::{Kind, Phase, Severity, Status};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn maintenance() -> IncidentTimeline {
        let from = at("2026-11-24T22:00:00Z");
        let incident = PublishedIncident {
            id: IncidentId::new("m"),
            title: "New <switches>, 2;3".into(),
            kind: Kind::Maintenance,
            status: Status::Investigating,
            severity: Severity::Warning,
            components: vec!["network".into()],
            regions: vec!["ap-south-1".into()],
            started_at: at("2026-11-20T08:00:00Z"),
            updated_at: at("2026-11-20T08:00:00Z"),
            resolved_at: None,
            maintenance: Some(MaintenanceSchedule {
                phase: Phase::Scheduled,
                from,
                until: Some(at("2026-11-25T02:00:00Z")),
            }),
            covered_by: None,
        };
        let update = PublishedUpdate {
            opened_at: None,
            number: 1,
            at: incident.updated_at,
            status: incident.status,
            message: "Calls <may> drop.\nBriefly.".into(),
        };
        IncidentTimeline { incident, timeline: vec![update], truncated: false }
    }

    #[test]
    fn the_feed_has_an_entry_for_each_incident_with_its_messages() {
        let text = atom(Site { base: "https://x.test/live", name: "Service status" }, &[maintenance()]);
        for part in [
            "<title>New &lt;switches&gt;, 2;3</title>",
            "<id>https://x.test/live/status/incidents/inc_m</id>",
            "<updated>2026-11-20T08:00:00+00:00</updated>",
            "<link href=\"https://x.test/live/status/feed.atom\" rel=\"self\" type=\"application/atom+xml\"/>",
            "Scheduled",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        // Escaped once as HTML and once as XML.
        assert!(text.contains("Calls &amp;#60;may&amp;#62; drop."), "{text}");
        assert!(
            atom(Site { base: "https://x.test", name: "Service status" }, &[])
                .contains("<updated>1970-01-01T00:00:00+00:00</updated>")
        );
    }

    #[test]
    fn the_calendar_has_the_scheduled_hours() {
        let text = calendar(Site { base: "https://x.test/live", name: "Service status" }, &[maintenance()])
            .replace("\r\n ", "");
        for line in [
            "UID:inc_m@tocsin",
            "DTSTART:20261124T220000Z",
            "DTEND:20261125T020000Z",
            "SUMMARY:New <switches>\\, 2\\;3",
            "DESCRIPTION:Calls <may> drop.\\nBriefly.",
            "DTSTAMP:20261120T080000Z",
            "SEQUENCE:1",
            "LOCATION:ap-south-1",
        ] {
            assert!(text.contains(&format!("{line}\r\n")), "{line} in {text}");
        }
    }

    #[test]
    fn a_canceled_maintenance_is_canceled_in_the_calendar() {
        let mut listed = maintenance();
        assert!(
            calendar(Site { base: "https://x.test", name: "Service status" }, &[listed.clone()])
                .contains("STATUS:CONFIRMED\r\n")
        );
        listed.incident.resolved_at = Some(at("2026-11-22T09:00:00Z"));
        let text = calendar(Site { base: "https://x.test", name: "Service status" }, &[listed.clone()]);
        for line in ["STATUS:CANCELLED", "DTSTART:20261124T220000Z", "DTEND:20261125T020000Z"] {
            assert!(text.contains(&format!("{line}\r\n")), "{line} in {text}");
        }
        listed.incident.resolved_at = Some(at("2026-11-25T01:00:00Z"));
        let text = calendar(Site { base: "https://x.test", name: "Service status" }, &[listed]);
        assert!(text.contains("STATUS:CONFIRMED\r\n") && text.contains("DTEND:20261125T010000Z\r\n"), "{text}");
    }

    #[test]
    fn the_badge_shows_the_state_in_words_and_color() {
        let calm = badge(Indicator::None).unwrap();
        assert!(calm.contains("operational") && calm.contains("#1a6b3c"), "{calm}");
        assert!(badge(Indicator::Critical).unwrap().contains("aria-label=\"Service status: major outage\""));
    }
}
