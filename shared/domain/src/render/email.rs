//! E-mail: text and HTML of the same facts, one recipient a message, one thread an incident.

use super::{INSIDE, Read, facts, headline, inside, notes};
use crate::alert::{Alert, Why, because, why_sentence};
use crate::event::cut_chars;
use crate::vocabulary::{Channel, Severity, Status};
use mail_builder::MessageBuilder;
use mail_builder::headers::raw::Raw;

/// Most characters of a subject: what phones still show is far less.
const SUBJECT_MAX: usize = 150;

/// An e-mail before it is MIME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// The subject.
    pub subject: String,
    /// The text part.
    pub text: String,
    /// The HTML part.
    pub html: String,
    /// The thread: the same for every update of the incident (SES replaces Message-ID, so a thread needs a value of its own).
    pub references: String,
    /// The incident, for filters; empty where it is about none.
    pub incident: String,
}

/// The e-mail of an alert.
#[must_use]
pub fn email(alert: &Alert, why: &Why, read: &Read) -> Email {
    let mut subject = format!("[{}] {}", headline(alert), one_line(&alert.title));
    cut_chars(&mut subject, SUBJECT_MAX);
    let reasons = (because(alert, why), why_sentence(alert, why, Channel::Email.title()));
    Email {
        subject,
        text: text(alert, &reasons, read),
        html: html(alert, &reasons, read),
        references: format!("<{}.{}@tocsin.invalid>", alert.incident_id, alert.tenant),
        incident: alert.incident_id.to_string(),
    }
}

fn text(alert: &Alert, (because, reason): &(String, String), read: &Read) -> String {
    let mut out = format!("{}: {}\n\n", headline(alert), one_line(&alert.title));
    for note in notes(alert) {
        out.push_str(&format!("{note}\n\n"));
    }
    if !alert.message.trim().is_empty() {
        out.push_str(&format!("{}\n\n", alert.message.trim()));
    }
    for (name, value) in facts(alert) {
        out.push_str(&format!("{name:<9} {}\n", one_line(&value)));
    }
    let inside = inside(alert);
    if !inside.is_empty() {
        out.push_str(&format!("\n{INSIDE}:\n- {}\n", inside.join("\n- ")));
    }
    out.push_str(&format!("\nRead on: {}\n", read.incident_url));
    for link in alert.links.iter().filter(|link| link.href.starts_with("https://")) {
        out.push_str(&format!("{}: {}\n", if link.text.is_empty() { "Link" } else { &link.text }, link.href));
    }
    out.push_str(&format!("\nSent now because {because}.\n{reason}\n"));
    if let Some(url) = &read.stop_url {
        out.push_str(&format!("Stop telling me about this incident: {url}\n"));
    }
    if let Some(url) = &read.unsubscribe_url {
        out.push_str(&format!("Stop e-mail alerts of this category: {url}\n"));
    }
    out.push_str(&format!("Incident {} · update {}\n", alert.incident_id, alert.update));
    out
}

fn html(alert: &Alert, (because, reason): &(String, String), read: &Read) -> String {
    let colour = colour(alert);
    let mut rows = String::new();
    for (name, value) in facts(alert) {
        rows.push_str(&format!(
            "<tr><td class=\"quiet\" style=\"padding:3px 16px 3px 0;color:#5b6470;white-space:nowrap;vertical-align:top\">{name}</td>\
             <td style=\"padding:3px 0\">{}</td></tr>",
            escape(&value)
        ));
    }
    let mut inner = String::new();
    for note in notes(alert) {
        inner.push_str(&format!(
            "<p class=\"note\" style=\"margin:0 0 16px;padding:8px 12px;background:#f1f3f6;border-radius:6px\">{}</p>",
            escape(&note)
        ));
    }
    if !alert.message.trim().is_empty() {
        let message = escape(alert.message.trim()).replace('\n', "<br>");
        inner.push_str(&format!("<p style=\"margin:0 0 16px\">{message}</p>"));
    }
    if !alert.minimal {
        inner.push_str(&steps(alert.status));
    }
    inner.push_str(&format!(
        "<table role=\"presentation\" style=\"border-collapse:collapse;margin:0 0 20px\">{rows}</table>"
    ));
    let inside: Vec<String> = inside(alert).iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
    if !inside.is_empty() {
        inner.push_str(&format!(
            "<p style=\"margin:0 0 4px\">{INSIDE}:</p><ul style=\"margin:0 0 20px;padding-left:20px\">{}</ul>",
            inside.concat()
        ));
    }
    inner.push_str(&format!(
        "<p style=\"margin:0 0 20px\"><a href=\"{}\" style=\"display:inline-block;background:{colour};color:#ffffff;\
         text-decoration:none;padding:10px 18px;border-radius:6px;font-weight:600\">Read on</a></p>",
        escape(&read.incident_url)
    ));
    let links: Vec<String> = alert
        .links
        .iter()
        .filter(|link| link.href.starts_with("https://"))
        .map(|link| {
            let text = if link.text.is_empty() { &link.href } else { &link.text };
            format!("<a href=\"{}\" style=\"color:#2563c4\">{}</a>", escape(&link.href), escape(text))
        })
        .collect();
    if !links.is_empty() {
        inner.push_str(&format!("<p style=\"margin:0 0 20px\">{}</p>", links.join(" · ")));
    }
    let quiet = |url: &Option<String>, words: &str| {
        url.as_ref().map_or_else(String::new, |url| {
            format!("<br><a href=\"{}\" style=\"color:#5b6470\" class=\"quiet\">{words}</a>", escape(url))
        })
    };
    let stop = quiet(&read.stop_url, "Stop telling me about this incident");
    let unsubscribe = stop + &quiet(&read.unsubscribe_url, "Stop e-mail alerts of this category");
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title><style>\
         @media (prefers-color-scheme:dark){{body,.page{{background:#14171c!important;color:#e8eaed!important}}\
         .card{{background:#1d2229!important;border-color:#333a44!important}}.quiet{{color:#a3acb8!important}}\
         .note{{background:#2a313b!important}}.step{{color:#a3acb8!important}}.now{{color:#ffffff!important}}}}</style></head>\
         <body style=\"margin:0;background:#f5f6f8;color:#1b2027;font:16px/1.5 -apple-system,'Segoe UI',Roboto,Arial,sans-serif\">\
         <div class=\"page\" style=\"padding:20px 12px;background:#f5f6f8\"><div class=\"card\" style=\"max-width:600px;margin:0 auto;\
         background:#ffffff;border:1px solid #dfe3e8;border-top:4px solid {colour};border-radius:8px;padding:22px;overflow-wrap:anywhere\">\
         <p style=\"margin:0 0 4px\"><span style=\"display:inline-block;background:{colour};color:#ffffff;font-size:12px;\
         font-weight:700;letter-spacing:.04em;padding:2px 8px;border-radius:4px\">{headline}</span></p>\
         <h1 style=\"font-size:20px;line-height:1.3;margin:0 0 14px\">{title}</h1>{inner}\
         <p class=\"quiet\" style=\"margin:0;color:#5b6470;font-size:13px\">Sent now because {because}.<br>{reason}{unsubscribe}<br>\
         Incident {id} · update {update}</p></div></div></body></html>",
        title = escape(&one_line(&alert.title)),
        headline = escape(&headline(alert)),
        because = escape(because),
        reason = escape(reason),
        id = escape(alert.incident_id.as_str()),
        update = alert.update,
    )
}

/// The four steps of an incident, the current one in bold.
fn steps(now: Status) -> String {
    let steps: Vec<String> = Status::ALL
        .iter()
        .map(|step| {
            let name = super::status(*step);
            if *step == now {
                format!("<b class=\"now\" style=\"color:#1b2027\">{name}</b>")
            } else {
                format!("<span class=\"step\" style=\"color:#5b6470\">{name}</span>")
            }
        })
        .collect();
    format!("<p style=\"margin:0 0 16px;font-size:14px\">{}</p>", steps.join(" &rsaquo; "))
}

/// White text on it has a contrast of at least 4.5.
pub(super) fn colour(alert: &Alert) -> &'static str {
    match (alert.status, alert.severity) {
        (Status::Resolved, _) => "#1a7f4b",
        (_, Severity::Critical) => "#b3202e",
        (_, Severity::Error) => "#b4460f",
        (_, Severity::Warning) => "#8a6100",
        (_, Severity::Info) => "#2563c4",
    }
}

/// The MIME message for one recipient.
///
/// # Errors
/// Where the parts cannot be written; no address is in the text.
pub fn mime(from: &str, to: &str, email: &Email, unsubscribe: Option<&str>) -> Result<Vec<u8>, &'static str> {
    let mut message = MessageBuilder::new()
        .from(("Tocsin", from))
        .to(to)
        .subject(email.subject.as_str())
        .header("References", Raw::new(email.references.as_str()))
        .header("In-Reply-To", Raw::new(email.references.as_str()))
        .header("Auto-Submitted", Raw::new("auto-generated"))
        .header("Content-Language", Raw::new("en"));
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
        .map_err(|_| "the message cannot be written")
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::alert;
    use super::*;
    use crate::incident::Change;
    use crate::vocabulary::Role;

    fn read() -> Read {
        Read {
            incident_url: "https://status.example.com/status/incidents/inc_a".into(),
            unsubscribe_url: Some("https://status.example.com/unsubscribe?t=1.x".into()),
            stop_url: Some("https://status.example.com/stop?t=1.y".into()),
        }
    }

    fn admin() -> Why {
        Why { role: Some(Role::OrgAdmin), held: None }
    }

    #[test]
    fn the_text_says_what_to_what_since_when_where_why_and_where_to_read_on() {
        let email = email(&alert(), &admin(), &read());
        assert_eq!(email.subject, "[CRITICAL] Outbound calls fail in Mumbai");
        for said in [
            "Every third call fails.",
            "Affected  voice",
            "Since     Mon 23 Nov 2026, 14:00 IST (UTC+05:30)",
            "Region    ap-south-1",
            "You get this because acme sends Infrastructure alerts by e-mail to the role Org Admin.",
            "Sent now because this is the first message about it.",
            "Read on: https://status.example.com/status/incidents/inc_a",
            "https://status.example.com/unsubscribe?t=1.x",
        ] {
            assert!(email.text.contains(said), "{said}\n---\n{}", email.text);
        }
    }

    #[test]
    fn updates_share_one_thread_and_a_resolve_says_how_long() {
        let resolved = Alert {
            change: Change::Resolved,
            status: Status::Resolved,
            resolved_at: Some("2026-11-23T09:12:00Z".parse().unwrap()),
            update: 3,
            ..alert()
        };
        let (first, last) = (email(&alert(), &admin(), &read()), email(&resolved, &admin(), &read()));
        assert_eq!(first.references, last.references);
        assert_eq!(last.subject, "[RESOLVED] Outbound calls fail in Mumbai");
        assert!(last.text.contains("Lasted    42 min"), "{}", last.text);
    }

    #[test]
    fn nothing_of_the_source_becomes_markup_or_a_header() {
        let evil = Alert {
            title: "x\r\nBcc: victim@example.com <script>alert(1)</script>".into(),
            message: "<img src=x onerror=alert(1)>".into(),
            ..alert()
        };
        let email = email(&evil, &admin(), &read());
        assert!(!email.html.contains("<script") && !email.html.contains("<img"));
        let mime = mime("alerts@example.com", "ops@example.com", &email, read().unsubscribe_url.as_deref()).unwrap();
        let mime = String::from_utf8(mime).unwrap();
        let headers = mime.split("\r\n\r\n").next().unwrap();
        assert!(!headers.lines().any(|line| line.starts_with("Bcc:")), "{headers}");
        assert!(headers.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), "{headers}");
        assert!(headers.contains("References: <inc_abcdefghijklmnopqrstuvwxyz.acme@tocsin.invalid>"), "{headers}");
        assert!(mime.lines().all(|line| line.len() <= 998));
        assert!(mime.contains("multipart/alternative"));
    }

    #[test]
    fn work_names_what_it_explained_in_both_parts() {
        let email = email(&super::super::tests::work(), &admin(), &read());
        assert!(
            email.text.contains("During this work:\n- Calls <b>fail</b>: since Mon 23 Nov 2026, 14:10 IST"),
            "{}",
            email.text
        );
        assert!(email.text.contains("\n- and 2 more\n"), "{}", email.text);
        assert!(email.html.contains("<li>Calls &lt;b&gt;fail&lt;/b&gt;: since") && !email.html.contains("<b>fail"));
    }

    #[test]
    fn minimal_says_title_severity_and_link_only() {
        let minimal = Alert { minimal: true, message: String::new(), components: vec![], regions: vec![], ..alert() };
        let email = email(&minimal, &admin(), &read());
        assert!(email.text.contains("Severity  critical") && email.text.contains("Read on: https://"));
        for hidden in ["voice", "ap-south-1", "Every third", "Since"] {
            assert!(!email.text.contains(hidden) && !email.html.contains(hidden), "{hidden}");
        }
    }
}
