//! Messages for Slack's incoming webhooks: Block Kit, and the fallback text that notifications and old clients show.
//!
//! Slack's limits (docs.slack.dev): 50 blocks, 150 characters in a header, 3,000 in a section, 10 fields of 2,000. `&`, `<` and `>` are
//! escaped, so that a source's text cannot mention everybody with `<!channel>`.

use domain::alert::{Alert, NotificationReason};
use domain::attempt::{self, AttemptFailure};
use domain::event::{KeyDetail, truncate_chars};
use domain::render::{
    ADVICE_HEADING, AlertLinks, DETAILS_HEADING, SUPPRESSED_HEADING, facts, heading, notes, subscription_sentence,
    suppressed_incident_lines, trigger_clause,
};
use domain::vocabulary::{Channel, Severity, Status};
use serde_json::{Value, json};

const HEADER_MAX: usize = 150;
/// Maximum length of a section's text. Slack's limit is 3,000; the cut comes earlier, because escaping lengthens a text.
const SECTION_MAX: usize = 2_900;
const FIELD_MAX: usize = 1_900;
/// Maximum number of fields in a section.
const FIELDS_MAX: usize = 10;
/// Maximum number of links shown.
const LINKS_MAX: usize = 5;

/// Builds the rich message (Block Kit).
#[must_use]
pub fn build_message(alert: &Alert, why: &NotificationReason, links: &AlertLinks) -> Value {
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": header(alert), "emoji": true},
    })];
    for note in notes(alert) {
        blocks.push(section(&format!("*{}*", escape(&note))));
    }
    if !alert.message.trim().is_empty() {
        blocks.push(section(&escape_truncated(alert.message.trim(), SECTION_MAX)));
    }
    if let Some(advice) = alert.advice_shown() {
        blocks.push(section(&format!("*{ADVICE_HEADING}*\n{}", escape_truncated(advice, FIELD_MAX))));
    }
    let fields: Vec<Value> = facts(alert)
        .iter()
        .map(|(name, value)| mrkdwn(&format!("*{name}*\n{}", escape_truncated(value, FIELD_MAX))))
        .collect();
    blocks.extend(fields.chunks(FIELDS_MAX).map(|fields| json!({"type": "section", "fields": fields})));
    if !alert.key_details.is_empty() {
        blocks.push(section(&format!("*{DETAILS_HEADING}*\n{}", detail_lines(alert, "• ").join("\n"))));
    }
    let suppressed = suppressed_incident_lines(alert);
    if !suppressed.is_empty() {
        blocks.push(section(&format!(
            "*{SUPPRESSED_HEADING}*\n{}",
            escape_truncated(&format!("• {}", suppressed.join("\n• ")), SECTION_MAX)
        )));
    }
    blocks.push(json!({"type": "actions", "elements": [{
        "type": "button", "action_id": "view_incident", "url": links.incident_url,
        "text": {"type": "plain_text", "text": "View incident"},
    }]}));
    let given = alert.links.iter().filter(|link| link.href.starts_with("https://")).take(LINKS_MAX);
    let shown_links: Vec<String> =
        given.map(|link| format!("<{}|{}>", escape_url(&link.href), escape_truncated(&link.label(), 160))).collect();
    let shown_links = join_within(&shown_links, "  ·  ", SECTION_MAX);
    if !shown_links.is_empty() {
        blocks.push(section(&shown_links));
    }
    let reason = subscription_sentence(alert, why, Channel::Slack.title());
    let footer = format!(
        "Sent now because {}. {} Incident {} · update {}",
        escape(&trigger_clause(alert, why)),
        escape(&reason),
        alert.incident_id,
        alert.update
    );
    blocks.push(json!({"type": "context", "elements": [mrkdwn(&footer)]}));
    json!({"text": fallback(alert), "blocks": blocks})
}

/// Builds the plain message, which is sent if Slack rejects the rich one as invalid. It has the same content in one text.
#[must_use]
pub fn build_plain_message(alert: &Alert, why: &NotificationReason, links: &AlertLinks) -> Value {
    let mut lines = vec![fallback(alert)];
    lines.extend(notes(alert).iter().map(|note| escape(note)));
    if !alert.message.trim().is_empty() {
        lines.push(escape_truncated(alert.message.trim(), SECTION_MAX));
    }
    lines.extend(
        alert.advice_shown().map(|advice| format!("{ADVICE_HEADING}: {}", escape_truncated(advice, FIELD_MAX))),
    );
    lines.extend(facts(alert).iter().map(|(name, value)| format!("{name}: {}", escape_truncated(value, FIELD_MAX))));
    if !alert.key_details.is_empty() {
        lines.push(format!("{DETAILS_HEADING}:"));
        lines.extend(detail_lines(alert, ""));
    }
    let suppressed = suppressed_incident_lines(alert);
    if !suppressed.is_empty() {
        lines.push(format!("{SUPPRESSED_HEADING}:"));
        lines.extend(suppressed.iter().map(|line| escape_truncated(line, FIELD_MAX)));
    }
    lines.push(format!("View incident: {}", escape_url(&links.incident_url)));
    lines.push(format!("Sent now because {}.", escape(&trigger_clause(alert, why))));
    lines.push(escape(&subscription_sentence(alert, why, Channel::Slack.title())));
    json!({"text": lines.join("\n")})
}

/// The result of posting a message to Slack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlackResult {
    /// Slack posted the message.
    Accepted,
    /// Slack rejected the blocks. The plain message may still be accepted.
    RetryPlain,
    /// Slack did not post the message.
    Failed(AttemptFailure),
}

/// Error codes after which nothing can be posted to this webhook again (Slack's changelog of 2016-05-17, completed from
/// prometheus/alertmanager#3727).
const WEBHOOK_GONE: &[&str] = &[
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
/// Error codes that mean that Slack rejected our message, not the webhook.
const MESSAGE_REJECTED: &[&str] =
    &["invalid_blocks", "invalid_payload", "no_text", "missing_text_or_fallback_or_attachments"];

/// Evaluates Slack's answer. Success is status 200 with the body `ok` and nothing else; an error is a code in plain text.
#[must_use]
pub fn evaluate_response(status: u16, body: &str) -> SlackResult {
    let body = body.trim();
    if status == 200 && body == "ok" {
        return SlackResult::Accepted;
    }
    let code_of = |codes: &[&'static str]| {
        codes.iter().copied().find(|code| body == *code || body.contains(&format!("\"{code}\"")))
    };
    if code_of(MESSAGE_REJECTED).is_some() {
        return SlackResult::RetryPlain;
    }
    let (cause, verdict) = match code_of(WEBHOOK_GONE) {
        Some(code) => (code.to_owned(), attempt::RetryVerdict::Gone),
        None if status == 410 => ("http_410".to_owned(), attempt::RetryVerdict::Gone),
        None => (format!("http_{status}"), attempt::RetryVerdict::Retry),
    };
    SlackResult::Failed(AttemptFailure { cause, retry_after: None, slow_down: status == 429, verdict })
}

fn header(alert: &Alert) -> String {
    let mut header = format!("{} {}: {}", emoji(alert), heading(alert), one_line(&alert.title));
    truncate_chars(&mut header, HEADER_MAX);
    header
}

/// The text of notifications: what is new, whose it is, and what it is about.
fn fallback(alert: &Alert) -> String {
    escape(&format!("{} · {}: {}", heading(alert), one_line(alert.tenant_title()), one_line(&alert.title)))
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

/// The key details, each as a line of at most 250 escaped characters: ten of them fit one section.
fn detail_lines(alert: &Alert, bullet: &str) -> Vec<String> {
    let line = |detail: &KeyDetail| {
        format!("{bullet}{}: {}", escape_truncated(&detail.name, 60), escape_truncated(&detail.value, 180))
    };
    alert.key_details.iter().map(line).collect()
}

/// Joins as many texts as fit `max` characters. Slack refuses a whole message for one section that is too long.
fn join_within(texts: &[String], separator: &str, max: usize) -> String {
    let mut out = String::new();
    for text in texts {
        let before = if out.is_empty() { "" } else { separator };
        if out.chars().count() + before.chars().count() + text.chars().count() <= max {
            out.push_str(before);
            out.push_str(text);
        }
    }
    out
}

/// A text in which only what is marked up here is markup: Slack makes no links of names and addresses in it.
fn mrkdwn(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": mrkdwn(text)})
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Escapes a text and truncates it to `max` escaped characters, never inside an entity.
fn escape_truncated(text: &str, max: usize) -> String {
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

/// Escapes an address so that it cannot end the link.
fn escape_url(url: &str) -> String {
    url.replace('&', "&amp;").replace('<', "%3C").replace('>', "%3E").replace('|', "%7C")
}
