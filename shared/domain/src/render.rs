//! Renders alerts as e-mail and SMS, within the limits of each channel.
//!
//! Every message says what happened, what is affected, where and since when, why this recipient gets it, and where to find more. A text
//! message alone leaves out what it has no room for.

mod bundle;
mod confirmation;
mod digest;
mod email;
pub mod gsm7;
mod sms;
mod state;
mod why;

pub use bundle::bundle;
pub use confirmation::{QuestionLinks, allow_again_email, confirmation_email, confirmation_sms, subscribe_again_email};
pub use digest::{BatchKind, DigestContent, DigestEntry, UnsubscribeLink, digest_email};
pub use email::{RenderedEmail, build_mime, email};
pub use sms::{Encoding, RenderedSms, sms};
pub use state::{has_progress, heading, state};
pub use why::{subscription_sentence, trigger_clause};

use crate::alert::Alert;
use crate::event::{KeyDetail, truncate_chars};
use crate::incident::Change;
use crate::maintenance::SuppressedIncident;
use crate::policy::Catalogue;
use crate::vocabulary::{Category, Kind, Severity, Status};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Number of openings of one dedup key from which messages say that the incident is flapping.
const FLAPPING_NOTE_FROM: u32 = 3;

/// The links in a message about one alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertLinks {
    /// The URL of the incident's page.
    pub incident_url: String,
    /// The URL that unsubscribes the recipient from the category; e-mail only.
    pub unsubscribe_url: Option<String>,
    /// The URL that stops notifications about this incident; only in e-mails to an address that one person reads.
    pub stop_url: Option<String>,
}

/// Returns the label at the start of a message, such as `CRITICAL`, `RESOLVED` or `MAINTENANCE STARTED`.
#[must_use]
pub fn headline(alert: &Alert) -> String {
    let label = match (alert.change, alert.kind) {
        (_, Kind::Maintenance) => format!("MAINTENANCE {}", state::maintenance_step(alert).to_uppercase()),
        (Change::Resolved, _) => "RESOLVED".to_owned(),
        (_, Kind::Advisory) if alert.severity == Severity::Critical => "CRITICAL ADVISORY".to_owned(),
        (_, Kind::Advisory) => "ADVISORY".to_owned(),
        // A problem in the tenant's own configuration. No part of the product is down.
        (_, Kind::Incident) if alert.category == Some(Category::Configurable) => match alert.severity {
            Severity::Critical => "CRITICAL CONFIGURATION ALERT".to_owned(),
            _ => "CONFIGURATION ALERT".to_owned(),
        },
        _ => alert.severity.as_str().to_uppercase(),
    };
    if alert.test { format!("TEST {label}") } else { label }
}

/// Lists the facts of an alert as name and value, in the order in which somebody woken at night needs them.
#[must_use]
pub fn facts(alert: &Alert) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if alert.minimal {
        return vec![("Severity", severity_label(alert.severity).to_owned())];
    }
    if let Some(status) = state::status_of(alert) {
        facts.push(("Status", status.to_owned()));
    }
    facts.push(("Severity", severity_label(alert.severity).to_owned()));
    if !alert.components.is_empty() {
        facts.push(("Affected", component_names(alert).join(", ")));
    }
    if !alert.regions.is_empty() {
        facts.push((if alert.regions.len() == 1 { "Region" } else { "Regions" }, region_names(alert).join(", ")));
    }
    match (&alert.maintenance, alert.late_source) {
        (Some(planned), _) => {
            facts.push(("Start", format_time(planned.from, &alert.zone)));
            if let Some(until) = planned.until.filter(|_| alert.resolved_at.is_none()) {
                facts.push(("End", format_time(until, &alert.zone)));
            }
        }
        (None, Some(happened)) => {
            facts.push(("Started", format_time(happened, &alert.zone)));
            facts.push(("Reported to us", format_time(alert.at, &alert.zone)));
        }
        (None, None) if alert.kind == Kind::Incident || alert.resolved_at.is_some() => {
            facts.push(("Started", format_time(alert.started_at, &alert.zone)));
        }
        (None, None) => facts.push(("Since", format_time(alert.started_at, &alert.zone))),
    }
    if let Some(openings) = alert.openings.filter(|openings| openings.count >= FLAPPING_NOTE_FROM) {
        let since = format_time(openings.since, &alert.zone);
        facts.push(("Flapping", format!("opened {} times since {since}", openings.count)));
    }
    if let Some(resolved_at) = alert.resolved_at {
        facts.push((status_label(alert.kind, Status::Resolved), format_time(resolved_at, &alert.zone)));
        facts.extend(duration(alert).map(|duration| ("Duration", duration)));
    }
    facts.push(("Category", alert.category_title().to_owned()));
    let name = alert.tenant_title();
    facts.push((
        "Scope",
        if alert.platform_wide { format!("Platform-wide; sent to {name}") } else { format!("{name} only") },
    ));
    facts
}

/// Returns how long a resolved incident lasted; a maintenance from its planned start, and not at all if it was canceled before that.
fn duration(alert: &Alert) -> Option<String> {
    let resolved_at = alert.resolved_at?;
    let from = match alert.maintenance {
        Some(planned) if planned.is_canceled(Some(resolved_at)) => return None,
        Some(planned) => planned.from,
        None => alert.started_at,
    };
    Some(format_duration(from, resolved_at))
}

/// Returns a severity as people read it.
#[must_use]
pub const fn severity_label(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "Info",
        Severity::Warning => "Warning",
        Severity::Error => "Error",
        Severity::Critical => "Critical",
    }
}

/// Returns the names of the affected components, as the catalogue has them.
#[must_use]
pub fn component_names(alert: &Alert) -> Vec<&str> {
    alert.components.iter().map(|id| Catalogue::names().component_name(id)).collect()
}

/// Returns the names of the affected regions, as the catalogue has them.
#[must_use]
pub fn region_names(alert: &Alert) -> Vec<&str> {
    alert.regions.iter().map(|id| Catalogue::names().region_name(id)).collect()
}

/// The heading above what readers can do.
pub const ADVICE_HEADING: &str = "What to do";
/// The heading above the updates before the one that a message is about.
pub const EARLIER_HEADING: &str = "Earlier updates";

/// Returns the label of a status. Maintenance has labels of its own, such as "Scheduled".
#[must_use]
pub const fn status_label(kind: Kind, at: Status) -> &'static str {
    match (kind, at) {
        (Kind::Maintenance, Status::Investigating) => "Scheduled",
        (Kind::Maintenance, Status::Identified) => "In progress",
        (Kind::Maintenance, Status::Monitoring) => "Verifying",
        (Kind::Maintenance, Status::Resolved) => "Completed",
        (_, other) => incident_status_label(other),
    }
}

/// Returns the label of an incident's status.
#[must_use]
pub const fn incident_status_label(status: Status) -> &'static str {
    match status {
        Status::Investigating => "Investigating",
        Status::Identified => "Identified",
        Status::Monitoring => "Monitoring",
        Status::Resolved => "Resolved",
    }
}

/// Formats a time in an IANA zone, with the zone's abbreviation and UTC offset. An unknown zone is UTC.
#[must_use]
pub fn format_time(at: Timestamp, zone: &str) -> String {
    let zone = crate::zone::find_zone(zone).unwrap_or(TimeZone::UTC);
    at.to_zoned_datetime(zone).strftime("%a %-d %b %Y, %H:%M %Z (UTC%:z)").to_string()
}

/// Formats the time between two moments in its two largest units, in whole minutes.
#[must_use]
pub fn format_duration(from: Timestamp, to: Timestamp) -> String {
    let minutes = (to.as_second() - from.as_second()).max(0) / 60;
    match (minutes / 1_440, minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => "less than a minute".to_owned(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// The heading above the key details of an alert.
pub const DETAILS_HEADING: &str = "Details";

/// Returns the first key detail that the title does not name.
#[must_use]
pub fn target_detail(alert: &Alert) -> Option<&KeyDetail> {
    let is_named = |detail: &&KeyDetail| {
        alert.title.match_indices(&detail.value).any(|(at, found)| {
            let ends_word = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
            let before = alert.title.get(..at).and_then(|text| text.chars().next_back());
            let after = alert.title.get(at + found.len()..).and_then(|text| text.chars().next());
            ends_word(before) && ends_word(after)
        })
    };
    alert.key_details.iter().find(|detail| !is_named(detail))
}

/// Returns an alert's title for a list, with the first key detail that it does not name: two targets of one rule then differ.
#[must_use]
pub fn list_title(alert: &Alert) -> String {
    let title = email::one_line(&alert.title);
    match target_detail(alert) {
        Some(detail) => format!("{title} ({})", detail.value),
        None => title,
    }
}

/// Maximum length of a suppressed incident's title, in characters.
const SUPPRESSED_TITLE_MAX: usize = 150;
/// The heading above the incidents that a maintenance suppressed.
pub const SUPPRESSED_HEADING: &str = "Incidents during this maintenance";

/// Lists the incidents that a maintenance suppressed, one line each, and the number of those that are not named.
#[must_use]
pub fn suppressed_incident_lines(alert: &Alert) -> Vec<String> {
    let line = |one: &SuppressedIncident| {
        let mut title = email::one_line(&one.title);
        truncate_chars(&mut title, SUPPRESSED_TITLE_MAX);
        let from = format_time(one.from, &alert.zone);
        match one.until {
            _ if alert.minimal => title,
            Some(until) => format!("{title}: {from} to {}", format_time(until, &alert.zone)),
            None => format!("{title}: since {from}, still open"),
        }
    };
    let mut lines: Vec<String> = alert.suppressed_incidents.incidents.iter().map(line).collect();
    if alert.suppressed_incidents.omitted_count > 0 {
        lines.push(format!("and {} more", alert.suppressed_incidents.omitted_count));
    }
    lines
}

/// Says how many incidents a maintenance suppressed; `None` if there were none.
#[must_use]
pub fn suppressed_incident_count(alert: &Alert) -> Option<String> {
    match alert.suppressed_incidents.count() {
        0 => None,
        1 => Some("1 incident during maintenance".to_owned()),
        many => Some(format!("{many} incidents during maintenance")),
    }
}

/// Says when the incident started and when it was reported, in the reader's zone; `None` unless its source reported it late.
#[must_use]
pub fn late_report(alert: &Alert) -> Option<String> {
    let started = format_clock(alert.late_source?, alert.at, &alert.zone);
    Some(format!("started {started}, reported {}", format_clock(alert.at, alert.at, &alert.zone)))
}

/// Formats a time in a few characters, such as `14:00 IST`, with its day where that is another one than the day of `now`.
#[must_use]
pub fn format_clock(at: Timestamp, now: Timestamp, zone: &str) -> String {
    let zone = crate::zone::find_zone(zone).unwrap_or(TimeZone::UTC);
    let (at, now) = (at.to_zoned_datetime(zone.clone()), now.to_zoned_datetime(zone));
    at.strftime(if at.date() == now.date() { "%H:%M %Z" } else { "%-d %b %H:%M %Z" }).to_string()
}

/// Lists remarks for the reader: that it is a test, that details are left out, or that a text was truncated.
#[must_use]
pub fn notes(alert: &Alert) -> Vec<String> {
    let mut notes = Vec::new();
    if alert.test {
        notes.push("This is a test alert. Nothing is broken.".to_owned());
    }
    if alert.minimal {
        notes.push(
            "Your data processing agreement keeps details out of messages. View the incident to see them.".to_owned(),
        );
    }
    if !alert.cut.is_empty() {
        notes.push(format!("Truncated because it was too long: {}.", alert.cut.join(", ")));
    }
    notes
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ids::{EventId, IncidentId, Scope, TenantId};
    use crate::maintenance::SuppressedIncidents;

    /// An ordinary alert: the opening of a critical platform-wide incident.
    pub(crate) fn alert() -> Alert {
        Alert {
            tenant: TenantId::parse("acme").unwrap(),
            tenant_name: "Acme Voice".into(),
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
            suppressed_incidents: SuppressedIncidents::default(),
            covered: None,
            late_source: None,
            openings: None,
            change: Change::Opened,
            advice: "Route urgent calls over another carrier.".into(),
            thread: None,
            earlier: Vec::new(),
            zone: "Asia/Kolkata".into(),
            links: vec![],
            measurements: Default::default(),
            labels: Default::default(),
            key_details: Vec::new(),
            details: Default::default(),
            cut: vec![],
            public: true,
            test: false,
            minimal: false,
        }
    }

    #[test]
    fn times_show_their_zone_and_an_unknown_zone_is_utc() {
        let at = alert().started_at;
        assert_eq!(format_time(at, "Asia/Kolkata"), "Mon 23 Nov 2026, 14:00 IST (UTC+05:30)");
        assert_eq!(format_time(at, "Nowhere/Land"), "Mon 23 Nov 2026, 08:30 UTC (UTC+00:00)");
    }

    #[test]
    fn durations_show_their_two_largest_units() {
        let from = alert().started_at;
        let text = |seconds: i64| format_duration(from, Timestamp::from_second(from.as_second() + seconds).unwrap());
        assert_eq!(
            [text(30), text(2_520), text(3_660), text(180_000)],
            ["less than a minute", "42 min", "1 h 1 min", "2 d 2 h"]
        );
    }

    /// A maintenance that suppressed one resolved incident, one open incident, and two that are not named.
    pub(crate) fn maintenance_alert() -> Alert {
        let one = |id: &str, title: &str, until: Option<&str>| SuppressedIncident {
            incident_id: IncidentId::new(id),
            scope: Scope::Platform,
            title: title.to_owned(),
            from: "2026-11-23T08:40:00Z".parse().unwrap(),
            until: until.map(|until| until.parse().unwrap()),
            escalated: false,
        };
        let incidents =
            vec![one("a", "Calls <b>fail</b>", None), one("b", "Texts\nwait", Some("2026-11-23T09:00:00Z"))];
        Alert {
            kind: Kind::Maintenance,
            title: "New carrier".into(),
            suppressed_incidents: SuppressedIncidents { incidents, omitted_count: 2 },
            ..alert()
        }
    }

    #[test]
    fn a_maintenance_lists_the_incidents_it_suppressed() {
        assert_eq!(
            suppressed_incident_lines(&maintenance_alert()),
            [
                "Calls <b>fail</b>: since Mon 23 Nov 2026, 14:10 IST (UTC+05:30), still open",
                "Texts wait: Mon 23 Nov 2026, 14:10 IST (UTC+05:30) to Mon 23 Nov 2026, 14:30 IST (UTC+05:30)",
                "and 2 more",
            ]
        );
        assert_eq!(
            suppressed_incident_lines(&Alert { minimal: true, ..maintenance_alert() })[0],
            "Calls <b>fail</b>",
            "a minimal message still names the title"
        );
        assert_eq!(suppressed_incident_count(&maintenance_alert()).as_deref(), Some("4 incidents during maintenance"));
        assert_eq!((suppressed_incident_lines(&alert()), suppressed_incident_count(&alert())), (vec![], None));
    }

    #[test]
    fn headlines_follow_change_kind_category_and_severity() {
        let resolved = Alert { change: Change::Resolved, ..alert() };
        assert_eq!(headline(&alert()), "CRITICAL");
        assert_eq!(headline(&resolved), "RESOLVED");
        assert_eq!(headline(&Alert { test: true, ..alert() }), "TEST CRITICAL");
        let configuration = |severity| Alert { category: Some(Category::Configurable), severity, ..alert() };
        assert_eq!(headline(&configuration(Severity::Error)), "CONFIGURATION ALERT");
        assert_eq!(headline(&configuration(Severity::Critical)), "CRITICAL CONFIGURATION ALERT");
        assert_eq!(headline(&Alert { change: Change::Resolved, ..configuration(Severity::Error) }), "RESOLVED");
        assert_eq!(headline(&Alert { kind: Kind::Advisory, ..configuration(Severity::Error) }), "ADVISORY");
        assert_eq!(headline(&maintenance_alert()), "MAINTENANCE SCHEDULED");
    }
}
