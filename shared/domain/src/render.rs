//! The words of a message, and the limits they obey. Every message says what happened, to what, since when, where, why this
//! recipient gets it, and where to read on.

mod bundle;
mod confirmation;
mod digest;
mod email;
pub mod gsm7;
mod sms;

pub use bundle::bundle;
pub use confirmation::{confirmation_email, confirmation_sms};
pub use digest::{Collected, Together, digest_email};
pub use email::{Email, email, mime};
pub use sms::{Encoding, Sms, sms};

use crate::alert::Alert;
use crate::event::cut_chars;
use crate::incident::Change;
use crate::maintenance::Explained;
use crate::vocabulary::{Category, Kind, Severity, Status};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// From how many openings of one key on a message says so.
const FLAPS: u32 = 3;

/// The links of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Where to read on.
    pub incident_url: String,
    /// Where to unsubscribe; e-mail only.
    pub unsubscribe_url: Option<String>,
    /// Where to stop hearing of this one incident; e-mail to one person only.
    pub stop_url: Option<String>,
}

/// The word at the head of a message: what sort of news this is.
#[must_use]
pub fn headline(alert: &Alert) -> String {
    let word = match (alert.change, alert.kind) {
        (Change::Resolved, Kind::Maintenance) => "MAINTENANCE COMPLETED".to_owned(),
        (Change::Resolved, _) => "RESOLVED".to_owned(),
        (_, Kind::Maintenance) => "MAINTENANCE".to_owned(),
        (_, Kind::Advisory) => "ADVISORY".to_owned(),
        // The tenant's own settings are wrong: nothing of the product is down.
        (_, Kind::Incident) if alert.category == Some(Category::Configurable) => match alert.severity {
            Severity::Critical => "CRITICAL CONFIGURATION ALERT".to_owned(),
            _ => "CONFIGURATION ALERT".to_owned(),
        },
        _ => alert.severity.as_str().to_uppercase(),
    };
    if alert.test { format!("TEST {word}") } else { word }
}

/// The facts of an alert as name and value, in the order in which somebody woken at night needs them.
#[must_use]
pub fn facts(alert: &Alert) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if !alert.minimal {
        facts.push(("Status", status_of(alert.kind, alert.status).to_owned()));
    }
    facts.push(("Severity", alert.severity.as_str().to_owned()));
    if alert.minimal {
        return facts;
    }
    if !alert.components.is_empty() {
        facts.push(("Affected", alert.components.join(", ")));
    }
    if !alert.regions.is_empty() {
        facts.push(("Region", alert.regions.join(", ")));
    }
    match (&alert.maintenance, alert.late_source) {
        (Some(planned), _) => {
            facts.push(("From", when(planned.from, &alert.zone)));
            if let Some(until) = planned.until.filter(|_| alert.resolved_at.is_none()) {
                facts.push(("Until", when(until, &alert.zone)));
            }
        }
        (None, Some(happened)) => {
            facts.push(("Happened", when(happened, &alert.zone)));
            facts.push(("Reported to us", when(alert.at, &alert.zone)));
        }
        (None, None) => facts.push(("Since", when(alert.started_at, &alert.zone))),
    }
    if let Some(openings) = alert.openings.filter(|openings| openings.count >= FLAPS) {
        let since = when(openings.since, &alert.zone);
        facts.push(("Flapping", format!("opened {} times since {since}", openings.count)));
    }
    if let Some(resolved_at) = alert.resolved_at {
        facts.push(("Until", when(resolved_at, &alert.zone)));
        facts.push(("Lasted", lasted(alert.started_at, resolved_at)));
    }
    facts.push(("Category", alert.category_title().to_owned()));
    facts.push((
        "Scope",
        if alert.platform_wide { "platform-wide".to_owned() } else { format!("{} only", alert.tenant) },
    ));
    facts
}

/// A status as people read it: announced work has words of its own.
#[must_use]
pub const fn status_of(kind: Kind, at: Status) -> &'static str {
    match (kind, at) {
        (Kind::Maintenance, Status::Investigating) => "Scheduled",
        (Kind::Maintenance, Status::Identified) => "In progress",
        (Kind::Maintenance, Status::Monitoring) => "Verifying",
        (Kind::Maintenance, Status::Resolved) => "Completed",
        (_, other) => status(other),
    }
}

/// An incident's status as people read it.
#[must_use]
pub const fn status(status: Status) -> &'static str {
    match status {
        Status::Investigating => "Investigating",
        Status::Identified => "Identified",
        Status::Monitoring => "Monitoring",
        Status::Resolved => "Resolved",
    }
}

/// A moment in a zone, with the zone's name and offset, so that nobody has to guess. An unknown zone is UTC.
#[must_use]
pub fn when(at: Timestamp, zone: &str) -> String {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    at.to_zoned_datetime(zone).strftime("%a %-d %b %Y, %H:%M %Z (UTC%:z)").to_string()
}

/// How long something lasted, in its two largest units.
#[must_use]
pub fn lasted(from: Timestamp, to: Timestamp) -> String {
    let minutes = (to.as_second() - from.as_second()).max(0) / 60;
    match (minutes / 1_440, minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => "less than a minute".to_owned(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// Most characters of an incident's title among those that announced work explains.
const INSIDE_MAX: usize = 150;
/// What stands above them.
pub const INSIDE: &str = "During this work";

/// The incidents that announced work explained, a line each, and how many more there are.
#[must_use]
pub fn inside(alert: &Alert) -> Vec<String> {
    let line = |one: &Explained| {
        let mut title = email::one_line(&one.title);
        cut_chars(&mut title, INSIDE_MAX);
        let from = when(one.from, &alert.zone);
        match one.until {
            _ if alert.minimal => title,
            Some(until) => format!("{title}: {from} to {}", when(until, &alert.zone)),
            None => format!("{title}: since {from}, still open"),
        }
    };
    let mut lines: Vec<String> = alert.inside.incidents.iter().map(line).collect();
    if alert.inside.more > 0 {
        lines.push(format!("and {} more", alert.inside.more));
    }
    lines
}

/// How many incidents announced work explained; `None` for none.
#[must_use]
pub fn count_inside(alert: &Alert) -> Option<String> {
    match alert.inside.count() {
        0 => None,
        1 => Some("1 incident during it".to_owned()),
        many => Some(format!("{many} incidents during it")),
    }
}

/// When it happened and when we were told, by the hour of UTC, where its source told us late.
#[must_use]
pub fn late(alert: &Alert) -> Option<String> {
    let (happened, told) = (alert.late_source?.strftime("%H:%M"), alert.at.strftime("%H:%M"));
    Some(format!("happened {happened}Z, told us {told}Z"))
}

/// What a reader of the alert should know of how it was made.
#[must_use]
pub fn notes(alert: &Alert) -> Vec<String> {
    let mut notes = Vec::new();
    if alert.test {
        notes.push("This is a test alert. Nothing is broken.".to_owned());
    }
    if alert.minimal {
        notes.push("Your data-processing agreement keeps the details out of messages; read on for them.".to_owned());
    }
    if !alert.cut.is_empty() {
        notes.push(format!("Shortened on the way: {}.", alert.cut.join(", ")));
    }
    notes
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ids::{EventId, IncidentId, Scope, TenantId};
    use crate::maintenance::Inside;

    /// An alert as most messages are.
    pub(crate) fn alert() -> Alert {
        Alert {
            tenant: TenantId::parse("acme").unwrap(),
            incident_id: IncidentId::new("abcdefghijklmnopqrstuvwxyz"),
            update: 1,
            event_id: EventId::new("1"),
            platform_wide: true,
            category: Some(Category::Infrastructure),
            kind: Kind::Incident,
            event_type: "voice.routing_failure".into(),
            severity: Severity::Critical,
            status: Status::Investigating,
            title: "Outbound calls fail in Mumbai".into(),
            message: "Every third call fails.\nWe are looking at the carrier.".into(),
            components: vec!["voice".into()],
            regions: vec!["ap-south-1".into()],
            started_at: "2026-11-23T08:30:00Z".parse().unwrap(),
            at: "2026-11-23T08:31:00Z".parse().unwrap(),
            resolved_at: None,
            maintenance: None,
            inside: Inside::default(),
            covered: None,
            late_source: None,
            openings: None,
            change: Change::Opened,
            zone: "Asia/Kolkata".into(),
            links: vec![],
            measurements: Default::default(),
            labels: Default::default(),
            details: Default::default(),
            cut: vec![],
            public: true,
            test: false,
            minimal: false,
        }
    }

    #[test]
    fn times_name_their_zone() {
        let at = alert().started_at;
        assert_eq!(when(at, "Asia/Kolkata"), "Mon 23 Nov 2026, 14:00 IST (UTC+05:30)");
        assert_eq!(when(at, "Nowhere/Land"), "Mon 23 Nov 2026, 08:30 UTC (UTC+00:00)");
    }

    #[test]
    fn durations_have_two_units() {
        let from = alert().started_at;
        let text = |seconds: i64| lasted(from, Timestamp::from_second(from.as_second() + seconds).unwrap());
        assert_eq!(
            [text(30), text(2_520), text(3_660), text(180_000)],
            ["less than a minute", "42 min", "1 h 1 min", "2 d 2 h"]
        );
    }

    /// Announced work with one incident inside that is over, one that is open, and two more.
    pub(crate) fn work() -> Alert {
        let one = |id: &str, title: &str, until: Option<&str>| Explained {
            incident_id: IncidentId::new(id),
            scope: Scope::Platform,
            title: title.to_owned(),
            from: "2026-11-23T08:40:00Z".parse().unwrap(),
            until: until.map(|until| until.parse().unwrap()),
            alone: false,
        };
        let incidents =
            vec![one("a", "Calls <b>fail</b>", None), one("b", "Texts\nwait", Some("2026-11-23T09:00:00Z"))];
        Alert { kind: Kind::Maintenance, title: "New carrier".into(), inside: Inside { incidents, more: 2 }, ..alert() }
    }

    #[test]
    fn work_names_what_it_explained() {
        assert_eq!(
            inside(&work()),
            [
                "Calls <b>fail</b>: since Mon 23 Nov 2026, 14:10 IST (UTC+05:30), still open",
                "Texts wait: Mon 23 Nov 2026, 14:10 IST (UTC+05:30) to Mon 23 Nov 2026, 14:30 IST (UTC+05:30)",
                "and 2 more",
            ]
        );
        assert_eq!(
            inside(&Alert { minimal: true, ..work() })[0],
            "Calls <b>fail</b>",
            "the agreement leaves the title"
        );
        assert_eq!(count_inside(&work()).as_deref(), Some("4 incidents during it"));
        assert_eq!((inside(&alert()), count_inside(&alert())), (vec![], None));
    }

    #[test]
    fn headlines() {
        let resolved = Alert { change: Change::Resolved, ..alert() };
        assert_eq!(headline(&alert()), "CRITICAL");
        assert_eq!(headline(&resolved), "RESOLVED");
        assert_eq!(headline(&Alert { test: true, ..alert() }), "TEST CRITICAL");
        let own = |severity| Alert { category: Some(Category::Configurable), severity, ..alert() };
        assert_eq!(headline(&own(Severity::Error)), "CONFIGURATION ALERT");
        assert_eq!(headline(&own(Severity::Critical)), "CRITICAL CONFIGURATION ALERT");
        assert_eq!(headline(&Alert { change: Change::Resolved, ..own(Severity::Error) }), "RESOLVED");
        assert_eq!(headline(&Alert { kind: Kind::Advisory, ..own(Severity::Error) }), "ADVISORY");
    }
}
