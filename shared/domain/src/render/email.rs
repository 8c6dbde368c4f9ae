//! Alert e-mails: a text part and an HTML part with the same facts, one message per recipient, one thread per incident.

use super::{
    ADVICE_HEADING, AlertLinks, DETAILS_HEADING, EARLIER_HEADING, SUPPRESSED_HEADING, component_names, facts,
    format_time, headline, notes, region_names, state, status_label, suppressed_incident_lines,
};
use crate::alert::{Alert, EarlierUpdate, NotificationReason};
use crate::event::{KeyDetail, truncate_chars};
use crate::incident::Change;
use crate::vocabulary::{Channel, Kind, Severity, Status};
use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;

/// Maximum length of a subject, in characters. Phones show far fewer.
pub(super) const SUBJECT_MAX: usize = 150;

/// Maximum length of the line that clients show beside the subject, in characters.
const PREHEADER_MAX: usize = 140;

/// Text of the link that stops the notifications about one incident.
pub(super) const STOP: &str = "Stop notifications about this incident";
/// Text of the link that unsubscribes from the alert's category.
pub(super) const UNSUBSCRIBE: &str = "Unsubscribe from e-mail alerts in this category";

/// An e-mail before it is encoded as MIME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedEmail {
    /// The subject, in one line: the same for every update of an incident, so that clients keep one thread.
    pub subject: String,
    /// The line that clients show beside the subject: what is new.
    pub preheader: String,
    /// Whether clients should mark it as important.
    pub important: bool,
    /// The plain-text part of the message.
    pub text: String,
    /// The HTML part of the message.
    pub html: String,
    /// The thread's id, the same for every update of an incident. SES replaces Message-ID, so threads need a value of their own.
    pub references: String,
    /// The incident's id, for mail filters; empty if the e-mail is about no single incident.
    pub incident: String,
}

/// Renders the e-mail of an alert.
#[must_use]
pub fn email(alert: &Alert, why: &NotificationReason, links: &AlertLinks) -> RenderedEmail {
    let page = EmailPage {
        color: color(alert),
        headline: headline(alert),
        state: beside_headline(alert),
        title: one_line(&alert.title),
        tenant: one_line(alert.tenant_title()),
        preheader: preheader(alert),
        notes: notes(alert),
        message: alert.message.trim(),
        advice: alert.advice_shown(),
        steps: if super::has_progress(alert) { steps(alert) } else { Vec::new() },
        facts: facts(alert),
        details_heading: DETAILS_HEADING,
        details: &alert.key_details,
        suppressed_heading: SUPPRESSED_HEADING,
        suppressed: suppressed_incident_lines(alert),
        earlier: alert.earlier.iter().map(|earlier| EarlierRow::of(alert, earlier)).collect(),
        links,
        source_links: source_links(alert),
        because: super::trigger_clause(alert, why),
        reason: super::subscription_sentence(alert, why, Channel::Email.title()),
        incident_id: alert.incident_id.as_str(),
        update: alert.update,
    };
    RenderedEmail {
        subject: subject(alert),
        preheader: page.preheader.clone(),
        important: alert.severity == Severity::Critical && alert.change != Change::Resolved && !alert.test,
        text: page.plain_text(),
        html: render_html(&page),
        references: format!("<{}.{}@tocsin.invalid>", alert.incident_id, alert.tenant),
        incident: alert.incident_id.to_string(),
    }
}

/// Returns the subject, which is the same for all messages about an incident to one recipient: what is new stands in heading and preheader.
///
/// Gmail starts a new conversation for a new subject, and Outlook for a new topic, whatever `References` says.
fn subject(alert: &Alert) -> String {
    let (title, critical) = match &alert.thread {
        Some(thread) => (thread.title.as_str(), thread.critical),
        None => (alert.title.as_str(), alert.severity == Severity::Critical),
    };
    let tag = match alert.kind {
        _ if alert.test => "[TEST] ",
        Kind::Maintenance => "[MAINTENANCE] ",
        _ if critical => "[CRITICAL] ",
        Kind::Advisory => "[ADVISORY] ",
        Kind::Incident | Kind::OptIn | Kind::Excluded => "",
    };
    let mut subject = format!("{tag}{}: {}", one_line(alert.tenant_title()), one_line(title));
    truncate_chars(&mut subject, SUBJECT_MAX);
    subject
}

/// Returns what is new, without what the headline says: it has the phase of a maintenance, and that an incident is resolved.
fn beside_headline(alert: &Alert) -> Option<String> {
    let state = state(alert)?;
    match (alert.kind, alert.change) {
        (Kind::Maintenance, Change::Reminded) => state.strip_prefix("Reminder: ").map(str::to_owned),
        (Kind::Maintenance, _) => None,
        (_, Change::Resolved) => state.strip_prefix("Resolved ").map(str::to_owned),
        _ => Some(state),
    }
}

/// Returns what clients show beside the subject: what is new, where, and the beginning of the text.
fn preheader(alert: &Alert) -> String {
    let mut pieces = vec![state(alert).unwrap_or_else(|| headline(alert))];
    if !alert.minimal {
        let places: Vec<&str> = component_names(alert).into_iter().chain(region_names(alert)).take(4).collect();
        pieces.extend((!places.is_empty()).then(|| places.join(", ")));
        let text = one_line(&alert.message);
        let text = if text.is_empty() { alert.advice_shown().unwrap_or_default().to_owned() } else { text };
        pieces.extend(Some(text).filter(|text| !text.is_empty()));
    }
    let mut line = pieces.join(" · ");
    truncate_chars(&mut line, PREHEADER_MAX);
    line
}

/// An earlier update below the newest one.
struct EarlierRow<'a> {
    state: String,
    at: String,
    message: &'a str,
}

impl<'a> EarlierRow<'a> {
    fn of(alert: &Alert, earlier: &'a EarlierUpdate) -> Self {
        let at = format_time(earlier.at, &alert.zone);
        Self { state: super::state::earlier_state(alert, earlier), at, message: earlier.message.trim() }
    }
}

/// What both parts of an alert e-mail show. The template is the HTML part.
#[derive(Template)]
#[template(path = "email.html")]
struct EmailPage<'a> {
    color: &'static str,
    headline: String,
    state: Option<String>,
    title: String,
    tenant: String,
    preheader: String,
    notes: Vec<String>,
    message: &'a str,
    advice: Option<&'a str>,
    steps: Vec<ProgressStep>,
    facts: Vec<(&'static str, String)>,
    details_heading: &'static str,
    details: &'a [KeyDetail],
    suppressed_heading: &'static str,
    suppressed: Vec<String>,
    earlier: Vec<EarlierRow<'a>>,
    links: &'a AlertLinks,
    source_links: Vec<(&'a str, String)>,
    because: String,
    reason: String,
    incident_id: &'a str,
    update: u32,
}

/// One status in the progress line of an incident.
struct ProgressStep {
    name: &'static str,
    is_current: bool,
}

impl EmailPage<'_> {
    fn plain_text(&self) -> String {
        let mut out = match &self.state {
            Some(state) => format!("{} · {state}\n{}\n{}\n\n", self.headline, self.title, self.tenant),
            None => format!("{}\n{}\n{}\n\n", self.headline, self.title, self.tenant),
        };
        for note in &self.notes {
            out.push_str(&format!("{note}\n\n"));
        }
        if !self.message.is_empty() {
            out.push_str(&format!("{}\n\n", self.message));
        }
        if let Some(advice) = self.advice {
            out.push_str(&format!("{ADVICE_HEADING}: {advice}\n\n"));
        }
        out.push_str(&format!("View incident: {}\n\n", self.links.incident_url));
        let width = self.facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in &self.facts {
            out.push_str(&format!("{name:<width$}  {}\n", one_line(value)));
        }
        if !self.details.is_empty() {
            out.push_str(&format!("\n{}:\n", self.details_heading));
        }
        for detail in self.details {
            out.push_str(&format!("- {}: {}\n", detail.name, detail.value));
        }
        if !self.suppressed.is_empty() {
            out.push_str(&format!("\n{}:\n- {}\n", self.suppressed_heading, self.suppressed.join("\n- ")));
        }
        if !self.source_links.is_empty() {
            out.push('\n');
        }
        for (href, text) in &self.source_links {
            let name = if text == href { "Link" } else { text.as_str() };
            out.push_str(&format!("{name}: {href}\n"));
        }
        if !self.earlier.is_empty() {
            out.push_str(&format!("\n{EARLIER_HEADING}:\n"));
        }
        for EarlierRow { state, at, message } in &self.earlier {
            out.push_str(&format!("- {state}, {at}\n"));
            for line in message.lines() {
                out.push_str(&format!("  {line}\n"));
            }
        }
        out.push_str(&format!("\nSent now because {}.\n{}\n", self.because, self.reason));
        if let Some(url) = &self.links.stop_url {
            out.push_str(&format!("{STOP}: {url}\n"));
        }
        if let Some(url) = &self.links.unsubscribe_url {
            out.push_str(&format!("{UNSUBSCRIBE}: {url}\n"));
        }
        out.push_str(&format!("Incident {} · update {}\n", self.incident_id, self.update));
        out
    }
}

/// Renders a template to HTML.
pub(super) fn render_html(template: &impl Template) -> String {
    // Rendering can only fail where its writer fails, and a String never does.
    template.render().unwrap_or_default()
}

/// Lists all statuses of the alert's kind, with the current one marked.
fn steps(alert: &Alert) -> Vec<ProgressStep> {
    let step =
        |status: &Status| ProgressStep { name: status_label(alert.kind, *status), is_current: *status == alert.status };
    Status::ALL.iter().map(step).collect()
}

/// Lists the source's https links as address and label.
fn source_links(alert: &Alert) -> Vec<(&str, String)> {
    let https = alert.links.iter().filter(|link| link.href.starts_with("https://"));
    https.map(|link| (link.href.as_str(), link.label())).collect()
}

/// Returns the accent color of an alert. White text on it has a contrast ratio of at least 4.5.
pub(super) fn color(alert: &Alert) -> &'static str {
    match (alert.status, alert.severity) {
        (Status::Resolved, _) => "#1a7f4b",
        (_, Severity::Critical) => "#b3202e",
        (_, Severity::Error) => "#b4460f",
        (_, Severity::Warning) => "#8a6100",
        (_, Severity::Info) => "#2563c4",
    }
}

/// Builds the MIME message for one recipient. `unsubscribe` is the one-click unsubscribe link, if the message has one.
///
/// # Errors
/// The message could not be written. The error text holds no address.
pub fn build_mime(
    from: &str,
    to: &str,
    email: &RenderedEmail,
    unsubscribe: Option<&str>,
) -> Result<Vec<u8>, &'static str> {
    let mut message = MessageBuilder::new()
        .from(("Tocsin", from))
        .to(to)
        .header("Subject", subject_header(&email.subject))
        .header("References", Raw::new(email.references.as_str()))
        .header("In-Reply-To", Raw::new(email.references.as_str()))
        .header("Auto-Submitted", Raw::new("auto-generated"))
        .header("Content-Language", Raw::new("en"));
    if email.important {
        message = message.header("Importance", Raw::new("high")).header("X-Priority", Raw::new("1"));
    }
    if !email.incident.is_empty() {
        message = message.header("X-Tocsin-Incident", Raw::new(email.incident.as_str()));
    }
    if let Some(url) = unsubscribe {
        // RFC 8058: the mail client posts `List-Unsubscribe=One-Click` to the address.
        message = message
            .header("List-Unsubscribe", Raw::new(format!("<{url}>")))
            .header("List-Unsubscribe-Post", Raw::new("List-Unsubscribe=One-Click"));
    }
    message
        .text_body(email.text.as_str())
        .html_body(email.html.as_str())
        .write_to_vec()
        .map_err(|_| "the e-mail could not be written as MIME")
}

/// Returns the value of the Subject header. A text that looks like an encoded word (RFC 2047) is encoded, or readers would decode it.
fn subject_header(subject: &str) -> HeaderType<'_> {
    if !subject.contains("=?") {
        return Text::new(subject).into();
    }
    // A word has at most 75 characters: 12 of its own, and 60 of base64 for 45 bytes.
    let mut words: Vec<String> = vec![String::new()];
    for c in subject.chars() {
        match words.last_mut().filter(|word| word.len() + c.len_utf8() <= 45) {
            Some(word) => word.push(c),
            None => words.push(c.to_string()),
        }
    }
    let encode = |word: &String| format!("=?utf-8?B?{}?=", STANDARD.encode(word));
    Raw::new(words.iter().map(encode).collect::<Vec<_>>().join("\r\n ")).into()
}

/// Joins a text of several lines into one, with single spaces.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::alert;
    use super::*;
    use crate::vocabulary::Role;

    fn read() -> AlertLinks {
        AlertLinks {
            incident_url: "https://status.example.com/status/incidents/inc_a".into(),
            unsubscribe_url: Some("https://status.example.com/unsubscribe?t=1.x".into()),
            stop_url: Some("https://status.example.com/stop?t=1.y".into()),
        }
    }

    fn admin() -> NotificationReason {
        NotificationReason { role: Some(Role::OrgAdmin), held: None }
    }

    #[test]
    fn the_text_names_affected_parts_start_reason_and_links() {
        let email = email(&alert(), &admin(), &read());
        assert_eq!(email.subject, "[CRITICAL] Acme Voice: Outbound calls fail in Mumbai");
        assert!(
            email.preheader.starts_with("New, investigating · Voice calls, Mumbai · Every third"),
            "{}",
            email.preheader
        );
        for expected in [
            "CRITICAL · New, investigating\nOutbound calls fail in Mumbai\nAcme Voice\n",
            "Every third call fails.",
            "What to do: Route urgent calls over another carrier.",
            "Affected  Voice calls",
            "Started   Mon 23 Nov 2026, 14:00 IST (UTC+05:30)",
            "Region    Mumbai",
            "You get this because Acme Voice sends Infrastructure alerts by e-mail to the role Org Admin.",
            "Sent now because this is the first message about it.",
            "View incident: https://status.example.com/status/incidents/inc_a",
            "https://status.example.com/unsubscribe?t=1.x",
        ] {
            assert!(email.text.contains(expected), "{expected}\n---\n{}", email.text);
        }
    }

    #[test]
    fn both_parts_list_the_details_by_which_targets_differ() {
        let details = vec![KeyDetail::new("instance", "192.0.2.1:9100"), KeyDetail::new("a<b", "1 & 2")];
        let email = email(&Alert { key_details: details, ..alert() }, &admin(), &read());
        assert!(email.text.contains("\nDetails:\n- instance: 192.0.2.1:9100\n- a<b: 1 & 2\n"), "{}", email.text);
        assert!(email.html.contains("192.0.2.1:9100") && email.html.contains("a&#60;b") && !email.html.contains("a<b"));
    }

    #[test]
    fn updates_share_one_thread_and_a_resolve_shows_the_duration() {
        let resolved = Alert {
            change: Change::Resolved,
            status: Status::Resolved,
            resolved_at: Some("2026-11-23T09:12:00Z".parse().unwrap()),
            update: 3,
            ..alert()
        };
        let (first, last) = (email(&alert(), &admin(), &read()), email(&resolved, &admin(), &read()));
        assert_eq!(first.references, last.references);
        assert_eq!(first.subject, last.subject);
        assert!(last.text.starts_with("RESOLVED · after 42 min\n"), "{}", last.text);
        assert!(!last.text.contains("What to do"), "it is over");
        assert!(last.text.contains("Duration  42 min"), "{}", last.text);
    }

    #[test]
    fn text_of_the_source_never_becomes_markup_or_a_header() {
        let evil = Alert {
            title: "x\r\nBcc: victim@example.com <script>alert(1)</script>".into(),
            message: "<img src=x onerror=alert(1)>".into(),
            ..alert()
        };
        let email = email(&evil, &admin(), &read());
        assert!(!email.html.contains("<script") && !email.html.contains("<img"));
        let mime =
            build_mime("alerts@example.com", "ops@example.com", &email, read().unsubscribe_url.as_deref()).unwrap();
        let mime = String::from_utf8(mime).unwrap();
        let headers = mime.split("\r\n\r\n").next().unwrap();
        assert!(!headers.lines().any(|line| line.starts_with("Bcc:")), "{headers}");
        assert!(headers.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), "{headers}");
        assert!(headers.contains("References: <inc_abcdefghijklmnopqrstuvwxyz.acme@tocsin.invalid>"), "{headers}");
        assert!(mime.lines().all(|line| line.len() <= 998));
        assert!(mime.contains("multipart/alternative"));
    }

    #[test]
    fn both_parts_list_the_incidents_a_maintenance_suppressed() {
        let email = email(&super::super::tests::maintenance_alert(), &admin(), &read());
        assert!(
            email
                .text
                .contains("Incidents during this maintenance:\n- Calls <b>fail</b>: since Mon 23 Nov 2026, 14:10 IST"),
            "{}",
            email.text
        );
        assert!(email.text.contains("\n- and 2 more\n"), "{}", email.text);
        assert!(email.html.contains("<li>Calls &#60;b&#62;fail&#60;/b&#62;: since") && !email.html.contains("<b>fail"));
    }

    #[test]
    fn a_minimal_message_shows_title_severity_and_link_only() {
        let minimal = Alert { minimal: true, message: String::new(), components: vec![], regions: vec![], ..alert() };
        let email = email(&minimal, &admin(), &read());
        assert!(email.text.contains("Severity  Critical") && email.text.contains("View incident: https://"));
        for hidden in ["voice", "ap-south-1", "Every third", "Started"] {
            assert!(!email.text.contains(hidden) && !email.html.contains(hidden), "{hidden}");
        }
    }

    fn update(number: u32, change: Change, status: Status, message: &str) -> crate::incident::Update {
        let accepted_at = format!("2026-11-23T08:3{number}:00Z");
        serde_json::from_value(serde_json::json!({"number": number, "event_id": "evt_1", "correlation_id": "c",
            "accepted_at": accepted_at, "change": change, "status": status, "severity": "critical", "title": "t",
            "message": message, "components": [], "regions": []}))
        .unwrap()
    }

    #[test]
    fn earlier_updates_stand_below_the_newest_first() {
        let before: Vec<_> = [
            update(1, Change::Opened, Status::Investigating, "Every third call fails."),
            update(2, Change::TextAdded, Status::Investigating, "We are <b>looking</b>."),
            update(3, Change::StatusChanged, Status::Identified, "The carrier has an outage."),
            update(4, Change::TextAdded, Status::Identified, "It is rerouting."),
        ]
        .into();
        let incident = |critical_since| crate::incident::Incident {
            opened_title: "Calls fail".into(),
            critical_since,
            ..crate::impact::tests::incident(0, None, &[], &[])
        };
        let newest = Alert { update: 5, title: "Calls fail, and texts".into(), ..alert() };
        let email = |critical_since, first| {
            let alert = newest.clone().with_thread(&incident(critical_since), first, before.iter());
            email(&alert, &admin(), &read())
        };
        let mail = email(Some(1), Some(1));
        assert_eq!(mail.subject, "[CRITICAL] Acme Voice: Calls fail", "the title with which it was opened");
        let below = &mail.text[mail.text.find("Earlier updates:").unwrap()..];
        let order = ["- Update, identified, Mon 23 Nov 2026, 14:04 IST", "- Identified,", "- Update, investigating,"];
        let places: Vec<usize> = order.iter().map(|one| below.find(one).unwrap_or_else(|| panic!("{below}"))).collect();
        assert!(places.is_sorted() && !below.contains("Every third"), "{below}");
        assert!(mail.html.contains("We are &#60;b&#62;looking"), "{}", mail.html);
        for (critical_since, first, subject) in [
            (Some(3), Some(1), "Acme Voice: Calls fail"),
            (Some(3), Some(3), "[CRITICAL] Acme Voice: Calls fail"),
            (Some(5), None, "[CRITICAL] Acme Voice: Calls fail"),
        ] {
            assert_eq!(email(critical_since, first).subject, subject, "one subject for each recipient");
        }
    }

    #[test]
    fn a_runbook_of_the_source_says_what_to_do() {
        let link = |text: &str| vec![crate::event::Link { href: "https://r.example.com".into(), text: text.into() }];
        let advice = |links| Alert { links, ..alert() }.advice_shown().map(str::to_owned);
        assert_eq!(advice(link("Runbook")), None);
        assert_eq!(advice(link("Dashboard")).as_deref(), Some("Route urgent calls over another carrier."));
    }
}
