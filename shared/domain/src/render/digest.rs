//! Digests and bundles as one e-mail: a list of the alerts that were combined.

use super::email::{RenderedEmail, SUBJECT_MAX, color, one_line, render_html};
use super::{
    SUPPRESSED_HEADING, component_names, format_duration, format_time, headline, list_title, region_names,
    suppressed_incident_lines,
};
use crate::alert::Alert;
use crate::digest::ALERTS_LISTED_MAX;
use crate::event::truncate_chars;
use crate::ids::TenantId;
use crate::vocabulary::{Severity, Status};
use askama::Template;
use jiff::Timestamp;
use std::cmp::Reverse;

/// Maximum length of an alert's title in the list, in characters.
const TITLE_MAX: usize = 150;

/// Why several alerts are combined into one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    /// The recipient has a digest: alerts below a severity are sent on a schedule.
    Digest,
    /// Storm protection combined alerts that arrived in a short time.
    Bundle,
}

impl BatchKind {
    const fn noun(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Bundle => "bundle",
        }
    }

    /// Says why these alerts come together, and whether others still come by themselves. `criticals` counts the critical ones among them.
    const fn explanation(self, criticals: usize) -> &'static str {
        match (self, criticals) {
            (Self::Digest, 0) => {
                "You receive these alerts together because you have a digest. More severe alerts are sent right away."
            }
            (Self::Digest, _) => "You receive these alerts together because you have a digest.",
            (Self::Bundle, 0) => {
                "Many alerts arrived in a short time, so we combined them. Critical alerts are sent on their own where possible."
            }
            (Self::Bundle, _) => {
                "So many alerts arrived in a short time that we combined them, critical ones included. Usually those are sent on their own."
            }
        }
    }
}

/// One alert in a digest e-mail.
#[derive(Clone, Copy, Debug)]
pub struct DigestEntry<'a> {
    /// The alert that is listed.
    pub alert: &'a Alert,
    /// The URL of the alert's incident page.
    pub url: &'a str,
}

/// A link that unsubscribes from one category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsubscribeLink {
    /// The category's name as people read it.
    pub category: String,
    /// The address of the unsubscribe page.
    pub url: String,
}

/// Everything that a digest e-mail shows.
#[derive(Clone, Copy, Debug)]
pub struct DigestContent<'a> {
    /// The tenant whose alerts these are.
    pub tenant: &'a TenantId,
    /// The IANA time zone in which times are printed.
    pub zone: &'a str,
    /// Why the alerts are combined.
    pub kind: BatchKind,
    /// When the first alert of the batch was held.
    pub since: Timestamp,
    /// The alerts that are known in full, in any order.
    pub entries: &'a [DigestEntry<'a>],
    /// Number of further alerts, which are only counted.
    pub omitted_count: u32,
    /// One link for each category in the digest.
    pub unsubscribe: &'a [UnsubscribeLink],
}

/// The HTML part of a digest e-mail, and the texts that the plain-text part shares with it.
#[derive(Template)]
#[template(path = "digest.html")]
struct DigestPage<'a> {
    color: &'static str,
    label: String,
    heading: String,
    preheader: String,
    breakdown: String,
    period: String,
    rows: Vec<Row<'a>>,
    omitted: Option<String>,
    why: &'static str,
    unsubscribe: &'a [UnsubscribeLink],
}

/// One alert in the list of a digest.
struct Row<'a> {
    color: &'static str,
    headline: String,
    title: String,
    status: String,
    url: &'a str,
}

/// Renders a digest as an e-mail: at most [`ALERTS_LISTED_MAX`] alerts, open ones first, then by severity and time, and the number of
/// the others. Subject and heading name the worst.
#[must_use]
pub fn digest_email(content: &DigestContent<'_>) -> RenderedEmail {
    let entries = content.entries;
    let sorted = worst_first(entries);
    let omitted = usize::try_from(content.omitted_count).unwrap_or(usize::MAX);
    let count = entries.len().saturating_add(omitted);
    let worst = sorted.first().map(|entry| entry.alert);
    let is_open = |alert: &Alert| alert.status != Status::Resolved;
    let tag = match worst {
        Some(alert) if is_open(alert) => alert.severity.as_str().to_uppercase(),
        Some(_) => "RESOLVED".to_owned(),
        None => content.kind.noun().to_uppercase(),
    };
    let criticals =
        entries.iter().filter(|entry| is_open(entry.alert) && entry.alert.severity == Severity::Critical).count();
    let alerts = if count == 1 { "1 alert".to_owned() } else { format!("{count} alerts") };
    let title = worst.map(list_title).unwrap_or_default();
    let heading = match count {
        0 | 1 => title.clone(),
        _ => format!("{alerts}, first: {title}"),
    };
    let tenant = one_line(worst.map_or(content.tenant.as_str(), Alert::tenant_title));
    let mut subject = format!("[{tag}] {tenant}: {} of {alerts}: {title}", content.kind.noun());
    truncate_chars(&mut subject, SUBJECT_MAX);
    let breakdown = breakdown(entries, omitted);
    let page = DigestPage {
        color: worst.map_or("#2563c4", color),
        label: format!("{} of {alerts}", content.kind.noun()).to_uppercase(),
        heading,
        preheader: breakdown.clone(),
        breakdown,
        period: format!("Alerts for {tenant} since {}.", format_time(content.since, content.zone)),
        rows: rows(&sorted),
        omitted: match entries.len().saturating_sub(ALERTS_LISTED_MAX).saturating_add(omitted) {
            0 => None,
            number => Some(format!("And {number} more. See the delivery log in the console.")),
        },
        why: content.kind.explanation(criticals),
        unsubscribe: content.unsubscribe,
    };
    RenderedEmail {
        subject,
        preheader: page.preheader.clone(),
        important: criticals > 0,
        text: page.plain_text(),
        html: render_html(&page),
        references: format!("<digest.{}@tocsin.invalid>", content.tenant),
        incident: String::new(),
    }
}

/// Counts the alerts by severity and state, such as `2 critical and 1 warning open, 3 resolved`. The omitted ones are only counted: what they
/// were is not known here.
fn breakdown(entries: &[DigestEntry<'_>], omitted: usize) -> String {
    let open = |severity: &Severity| {
        let is_one =
            |entry: &&DigestEntry<'_>| entry.alert.status != Status::Resolved && entry.alert.severity == *severity;
        (entries.iter().filter(is_one).count(), *severity)
    };
    let open: Vec<String> = Severity::ALL
        .iter()
        .rev()
        .map(open)
        .filter(|(count, _)| *count > 0)
        .map(|(count, severity)| format!("{count} {severity}"))
        .collect();
    let resolved = entries.iter().filter(|entry| entry.alert.status == Status::Resolved).count();
    let mut parts = Vec::new();
    if !open.is_empty() {
        parts.push(format!("{} open", open.join(", ")));
    }
    if resolved > 0 {
        parts.push(format!("{resolved} resolved"));
    }
    if omitted > 0 {
        parts.push(format!("{omitted} more that are not listed"));
    }
    parts.join("; ")
}

/// Sorts the alerts: open ones first, then by severity and time.
fn worst_first<'a>(entries: &[DigestEntry<'a>]) -> Vec<DigestEntry<'a>> {
    let mut sorted = entries.to_vec();
    sorted.sort_by_key(|entry| {
        (entry.alert.status == Status::Resolved, Reverse(entry.alert.severity), Reverse(entry.alert.at))
    });
    sorted
}

/// Returns the rows of the alerts that are listed.
fn rows<'a>(sorted: &[DigestEntry<'a>]) -> Vec<Row<'a>> {
    let row = |entry: &DigestEntry<'a>| {
        let mut title = list_title(entry.alert);
        truncate_chars(&mut title, TITLE_MAX);
        let (color, headline, status) = (color(entry.alert), headline(entry.alert), status_line(entry.alert));
        Row { color, headline, title, status, url: entry.url }
    };
    sorted.iter().take(ALERTS_LISTED_MAX).map(row).collect()
}

impl DigestPage<'_> {
    fn plain_text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n\n", self.heading, self.breakdown, self.period);
        for Row { headline, title, status, url, .. } in &self.rows {
            text.push_str(&format!("{headline}: {title}\n  {status}\n  {url}\n\n"));
        }
        if let Some(omitted) = &self.omitted {
            text.push_str(&format!("{omitted}\n\n"));
        }
        text.push_str(&format!("{}\n", self.why));
        for link in self.unsubscribe {
            text.push_str(&format!("Unsubscribe from {} e-mail alerts: {}\n", link.category, link.url));
        }
        text
    }
}

/// Describes an alert's status, times, components, regions and suppressed incidents in one line.
fn status_line(alert: &Alert) -> String {
    let started = format_time(alert.started_at, &alert.zone);
    let status = super::state::status_of(alert).unwrap_or("Sent");
    let mut parts = match (alert.resolved_at, alert.late_source) {
        (Some(resolved_at), _) => {
            vec![format!("{status} after {}, started {started}", format_duration(alert.started_at, resolved_at))]
        }
        (None, Some(happened)) => {
            let (happened, reported) = (format_time(happened, &alert.zone), format_time(alert.at, &alert.zone));
            vec![format!("{status}, started {happened}, reported to us {reported}")]
        }
        (None, None) => vec![format!("{status} since {started}")],
    };
    for names in [component_names(alert), region_names(alert)] {
        if !names.is_empty() {
            parts.push(names.join(", "));
        }
    }
    let suppressed = suppressed_incident_lines(alert);
    if !suppressed.is_empty() {
        parts.push(format!("{SUPPRESSED_HEADING}: {}", suppressed.join("; ")));
    }
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::alert;
    use super::*;

    fn content<'a>(entries: &'a [DigestEntry<'a>], unsubscribe: &'a [UnsubscribeLink]) -> DigestContent<'a> {
        let alert = entries[0].alert;
        let (kind, since) = (BatchKind::Digest, alert.started_at);
        DigestContent {
            tenant: &alert.tenant,
            zone: "Asia/Kolkata",
            kind,
            since,
            entries,
            omitted_count: 0,
            unsubscribe,
        }
    }

    #[test]
    fn a_digest_lists_the_ten_worst_alerts_and_counts_the_others() {
        let alerts: Vec<Alert> = (0..13)
            .map(|number| Alert {
                title: format!("Title {number}"),
                severity: if number == 11 { Severity::Warning } else { Severity::Info },
                status: if number == 12 { Status::Resolved } else { Status::Investigating },
                ..alert()
            })
            .collect();
        let entries: Vec<DigestEntry<'_>> =
            alerts.iter().map(|alert| DigestEntry { alert, url: "https://t.example/x" }).collect();
        let category = "Infrastructure".to_owned();
        let links = [UnsubscribeLink { category, url: "https://t.example/u".to_owned() }];
        let digest = content(&entries, &links);
        let mail = digest_email(&digest);
        assert_eq!(
            mail.subject, "[WARNING] Acme Voice: digest of 13 alerts: Title 11",
            "the worst one, and whose it is"
        );
        assert!(
            mail.text.starts_with("13 alerts, first: Title 11\n1 warning, 11 info open; 1 resolved\n"),
            "{}",
            mail.text
        );
        assert!(mail.text.contains("More severe alerts are sent right away"));
        assert!(
            mail.text.contains("And 3 more") && mail.text.contains("since Mon 23 Nov 2026, 14:00 IST"),
            "{}",
            mail.text
        );
        assert!(mail.text.find("Title 11").unwrap() < mail.text.find("Title 1\n").unwrap(), "{}", mail.text);
        assert!(!mail.text.contains("Title 12"), "resolved alerts come last");
        assert_eq!(mail.html.matches("<li").count(), 10);
        assert!(mail.text.contains("Unsubscribe from Infrastructure e-mail alerts: https://t.example/u"));
        let bundle = digest_email(&DigestContent { kind: BatchKind::Bundle, omitted_count: 4_887, ..digest });
        assert_eq!(bundle.subject, "[WARNING] Acme Voice: bundle of 4900 alerts: Title 11");
        assert!(bundle.text.contains("And 4890 more") && bundle.text.contains("in a short time"), "{}", bundle.text);
        assert!(
            bundle.text.contains("; 4887 more that are not listed"),
            "nothing is claimed about them: {}",
            bundle.text
        );
    }

    #[test]
    fn each_line_shows_late_reports_and_suppressed_incidents() {
        let late = Alert { late_source: Some("2026-11-23T08:02:00Z".parse().unwrap()), ..alert() };
        let line = status_line(&late);
        assert!(
            line.contains("started Mon 23 Nov 2026, 13:32 IST (UTC+05:30), reported to us Mon 23 Nov 2026, 14:01 IST"),
            "{line}"
        );
        let line = status_line(&super::super::tests::maintenance_alert());
        assert!(line.starts_with("Scheduled since"), "{line}");
        assert!(line.contains("Incidents during this maintenance: Calls <b>fail</b>: since"), "{line}");
        assert!(line.ends_with("; and 2 more"), "{line}");
    }

    #[test]
    fn text_of_a_source_never_becomes_markup() {
        let evil = Alert { title: "<script>\r\nBcc: x".into(), regions: vec!["<b>".into()], ..alert() };
        let entries = [DigestEntry { alert: &evil, url: "u" }];
        let mail = digest_email(&content(&entries, &[]));
        assert!(!mail.html.contains("<script") && !mail.html.contains("<b>"), "{}", mail.html);
        assert_eq!(mail.subject, "[CRITICAL] Acme Voice: digest of 1 alert: <script> Bcc: x");
    }

    #[test]
    fn a_bundle_of_critical_alerts_does_not_say_that_those_come_by_themselves() {
        let alerts: Vec<Alert> = (0..27).map(|number| Alert { title: format!("Title {number}"), ..alert() }).collect();
        let entries: Vec<DigestEntry<'_>> = alerts.iter().map(|alert| DigestEntry { alert, url: "u" }).collect();
        let mail = digest_email(&DigestContent { kind: BatchKind::Bundle, ..content(&entries, &[]) });
        assert!(mail.subject.starts_with("[CRITICAL] Acme Voice: bundle of 27 alerts: Title "), "{}", mail.subject);
        assert!(
            mail.text.contains("27 critical open") && mail.text.contains("critical ones included"),
            "{}",
            mail.text
        );
        assert!(mail.important && !mail.text.contains("Critical alerts are sent on their own"));
        let over: Vec<Alert> =
            alerts.iter().map(|alert| Alert { status: Status::Resolved, ..alert.clone() }).take(2).collect();
        let entries: Vec<DigestEntry<'_>> = over.iter().map(|alert| DigestEntry { alert, url: "u" }).collect();
        let mail = digest_email(&content(&entries, &[]));
        assert!(mail.subject.starts_with("[RESOLVED] Acme Voice: digest of 2 alerts: ") && !mail.important);
    }
}
