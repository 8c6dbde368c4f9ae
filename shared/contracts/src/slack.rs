//! Slack incoming webhooks: Block Kit, with the text that notifications and old clients show.
//!
//! Limits (docs.slack.dev): 50 blocks, a header of 150 characters, a section of 3,000, 10 fields of 2,000. `&`, `<` and `>`
//! are escaped, so that no source can write `<!channel>`.

use domain::alert::{Alert, Why, because, why_sentence};
use domain::attempt::{self, Failed};
use domain::event::cut_chars;
use domain::render::{INSIDE, Read, facts, headline, inside, notes};
use domain::vocabulary::{Channel, Severity, Status};
use serde_json::{Value, json};

const HEADER_MAX: usize = 150;
/// Slack's limit is 3,000; escaping may lengthen what is cut, so the cut comes well before.
const SECTION_MAX: usize = 2_900;
const FIELD_MAX: usize = 1_900;
/// Links shown at most.
const LINKS_MAX: usize = 5;

/// The rich message.
#[must_use]
pub fn message(alert: &Alert, why: &Why, read: &Read) -> Value {
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": header(alert), "emoji": true},
    })];
    for note in notes(alert) {
        blocks.push(section(&format!("*{}*", escape(&note))));
    }
    if !alert.message.trim().is_empty() {
        blocks.push(section(&escape_cut(alert.message.trim(), SECTION_MAX)));
    }
    let fields: Vec<Value> = facts(alert)
        .iter()
        .take(10)
        .map(|(name, value)| json!({"type": "mrkdwn", "text": format!("*{name}*\n{}", escape_cut(value, FIELD_MAX))}))
        .collect();
    blocks.push(json!({"type": "section", "fields": fields}));
    let inside = inside(alert);
    if !inside.is_empty() {
        blocks
            .push(section(&format!("*{INSIDE}*\n{}", escape_cut(&format!("• {}", inside.join("\n• ")), SECTION_MAX))));
    }
    let mut links = vec![format!("<{}|Read on>", escape_url(&read.incident_url))];
    let given = alert.links.iter().filter(|link| link.href.starts_with("https://")).take(LINKS_MAX);
    links.extend(given.map(|link| {
        let text = if link.text.is_empty() { &link.href } else { &link.text };
        format!("<{}|{}>", escape_url(&link.href), escape_cut(text, 100))
    }));
    blocks.push(section(&links.join("  ·  ")));
    let reason = why_sentence(alert, why, Channel::Slack.title());
    let small = format!(
        "Sent now because {}. {} Incident {} · update {}",
        escape(&because(alert, why)),
        escape(&reason),
        alert.incident_id,
        alert.update
    );
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": small}]}));
    json!({"text": fallback(alert), "blocks": blocks})
}

/// The plain message: what is sent when Slack calls the rich one invalid. Everything that matters, in one text.
#[must_use]
pub fn plain(alert: &Alert, why: &Why, read: &Read) -> Value {
    let mut lines = vec![fallback(alert)];
    lines.extend(notes(alert).iter().map(|note| escape(note)));
    if !alert.message.trim().is_empty() {
        lines.push(escape_cut(alert.message.trim(), SECTION_MAX));
    }
    lines.extend(facts(alert).iter().map(|(name, value)| format!("{name}: {}", escape_cut(value, FIELD_MAX))));
    let inside = inside(alert);
    if !inside.is_empty() {
        lines.push(format!("{INSIDE}:"));
        lines.extend(inside.iter().map(|line| escape_cut(line, FIELD_MAX)));
    }
    lines.push(format!("Read on: {}", escape_url(&read.incident_url)));
    lines.push(format!("Sent now because {}.", escape(&because(alert, why))));
    lines.push(escape(&why_sentence(alert, why, Channel::Slack.title())));
    json!({"text": lines.join("\n")})
}

/// What Slack's answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Posted.
    Accepted,
    /// Our blocks were refused: the plain message may still be taken.
    RetryPlain,
    /// Not posted.
    Failed(Failed),
}

/// Codes after which nothing will ever be posted there (Slack's changelog of 2016-05-17, completed from
/// prometheus/alertmanager#3727).
const GONE: &[&str] = &[
    "no_service",
    "no_service_id",
    "invalid_token",
    "no_active_hooks",
    "no_team",
    "team_disabled",
    "channel_not_found",
    "channel_is_archived",
    "action_prohibited",
    "posting_to_general_channel_denied",
];
const OURS: &[&str] = &["invalid_blocks", "invalid_payload", "no_text", "missing_text_or_fallback_or_attachments"];

/// Reads Slack's answer: success is 200 with the body `ok` and nothing else; an error is a code in plain text.
#[must_use]
pub fn verdict(status: u16, body: &str) -> Verdict {
    let body = body.trim();
    if status == 200 && body == "ok" {
        return Verdict::Accepted;
    }
    let word = |codes: &[&'static str]| {
        codes.iter().copied().find(|code| body == *code || body.contains(&format!("\"{code}\"")))
    };
    if word(OURS).is_some() {
        return Verdict::RetryPlain;
    }
    let (cause, verdict) = match word(GONE) {
        Some(code) => (code.to_owned(), attempt::Verdict::Gone),
        None if status == 410 => ("http_410".to_owned(), attempt::Verdict::Gone),
        None => (format!("http_{status}"), attempt::Verdict::Retry),
    };
    Verdict::Failed(Failed { cause, retry_after: None, slow_down: status == 429, verdict })
}

fn header(alert: &Alert) -> String {
    let mut header = format!("{} {}: {}", emoji(alert), headline(alert), one_line(&alert.title));
    cut_chars(&mut header, HEADER_MAX);
    header
}

fn fallback(alert: &Alert) -> String {
    escape(&format!("{}: {}", headline(alert), one_line(&alert.title)))
}

fn emoji(alert: &Alert) -> &'static str {
    match (alert.status, alert.severity) {
        (Status::Resolved, _) => "✅",
        (_, Severity::Critical) => "🔴",
        (_, Severity::Error) => "🟠",
        (_, Severity::Warning) => "🟡",
        (_, Severity::Info) => "🔵",
    }
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Escapes, and cuts what is longer than `max` characters once it is escaped; never inside an entity.
fn escape_cut(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for character in text.chars() {
        let escaped = escape(&character.to_string());
        length += escaped.chars().count();
        if length > max {
            out.push('…');
            return out;
        }
        out.push_str(&escaped);
    }
    out
}

/// A link's address must not end the link.
fn escape_url(url: &str) -> String {
    url.replace('&', "&amp;").replace('<', "%3C").replace('>', "%3E").replace('|', "%7C")
}
