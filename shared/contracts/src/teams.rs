//! Messages for Microsoft Teams through a Workflows webhook: an Adaptive Card.
//!
//! A flow answers 202 and then fails silently if the expanded card is larger than 28 KB (MicrosoftDocs/msteams-docs#11274). Cards stay
//! under 20 KB for that reason.

use domain::alert::{Alert, NotificationReason};
use domain::attempt::{AttemptFailure, RetryVerdict};
use domain::event::truncate_chars;
use domain::render::{
    ADVICE_HEADING, AlertLinks, DETAILS_HEADING, SUPPRESSED_HEADING, facts, heading, notes, subscription_sentence,
    suppressed_incident_lines, trigger_clause,
};
use domain::vocabulary::{Channel, Severity, Status};
use serde_json::{Value, json};

/// Maximum size of a card in bytes.
pub const CARD_MAX: usize = 20 * 1024;

/// Builds the message with its card. The text is halved until the card fits [`CARD_MAX`].
#[must_use]
pub fn build_message(alert: &Alert, why: &NotificationReason, links: &AlertLinks) -> Value {
    let mut text_max = 8_000;
    loop {
        let message = build_card(alert, why, links, text_max);
        if text_max == 0 || message.to_string().len() <= CARD_MAX {
            return message;
        }
        text_max /= 2;
    }
}

/// Builds the message with at most `text_max` characters of the update's text; 0 leaves the text out.
fn build_card(alert: &Alert, why: &NotificationReason, links: &AlertLinks, text_max: usize) -> Value {
    let mut body = vec![
        json!({"type": "TextBlock", "text": escape_markdown(&heading(alert)), "weight": "Bolder", "color": color(alert), "wrap": true}),
        json!({"type": "TextBlock", "text": escape_markdown(&one_line(&alert.title)), "size": "Large", "weight": "Bolder",
            "wrap": true, "spacing": "None", "style": "heading"}),
    ];
    for note in notes(alert) {
        body.push(json!({"type": "TextBlock", "text": escape_markdown(&note), "weight": "Bolder", "wrap": true}));
    }
    let mut text = alert.message.trim().to_owned();
    truncate_chars(&mut text, text_max.max(1));
    if !text.is_empty() && text_max > 0 {
        // A text block shows a line break only for two newlines.
        body.push(json!({"type": "TextBlock", "text": escape_markdown(&text).replace('\n', "\n\n"), "wrap": true}));
    }
    if let Some(advice) = alert.advice_shown() {
        body.push(json!({"type": "TextBlock", "text": ADVICE_HEADING, "weight": "Bolder", "wrap": true}));
        body.push(json!({"type": "TextBlock", "text": escape_markdown(advice), "wrap": true, "spacing": "None"}));
    }
    let facts: Vec<Value> = facts(alert)
        .into_iter()
        .map(|(name, mut value)| {
            truncate_chars(&mut value, 300);
            json!({"title": name, "value": escape_markdown(&value)})
        })
        .collect();
    body.push(json!({"type": "FactSet", "facts": facts}));
    if !alert.key_details.is_empty() {
        let details: Vec<Value> = alert
            .key_details
            .iter()
            .map(|detail| json!({"title": escape_markdown(&detail.name), "value": escape_markdown(&detail.value)}))
            .collect();
        body.push(json!({"type": "TextBlock", "text": DETAILS_HEADING, "weight": "Bolder", "wrap": true}));
        body.push(json!({"type": "FactSet", "facts": details, "spacing": "Small"}));
    }
    let suppressed = suppressed_incident_lines(alert);
    if !suppressed.is_empty() {
        body.push(json!({"type": "TextBlock", "text": SUPPRESSED_HEADING, "weight": "Bolder", "wrap": true}));
        let lines = suppressed.iter().map(|line| escape_markdown(line)).collect::<Vec<_>>().join("\n\n");
        body.push(json!({"type": "TextBlock", "text": lines, "wrap": true, "spacing": "None"}));
    }
    let reason = subscription_sentence(alert, why, Channel::Teams.title());
    let footer = format!(
        "Sent now because {}. {reason} Incident {} · update {}",
        trigger_clause(alert, why),
        alert.incident_id,
        alert.update
    );
    body.push(
        json!({"type": "TextBlock", "text": escape_markdown(&footer), "size": "Small", "isSubtle": true, "wrap": true}),
    );
    let mut actions = vec![json!({"type": "Action.OpenUrl", "title": "View incident", "url": links.incident_url})];
    let given = alert.links.iter().filter(|link| link.href.starts_with("https://") && link.href.len() < 1_000).take(3);
    actions.extend(given.map(|link| {
        let mut short = link.clone();
        truncate_chars(&mut short.text, 40);
        let title = short.label();
        json!({"type": "Action.OpenUrl", "title": title, "url": link.href})
    }));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "fallbackText": format!("{} · {}: {}", heading(alert), one_line(alert.tenant_title()), one_line(&alert.title)),
                "body": body,
                "actions": actions,
                "msteams": {"width": "full"},
            },
        }],
    })
}

/// Evaluates a flow's answer; `None` is success. Any 2xx is success (Workflows answers 202), except a retired connector's 200 whose body
/// says that nothing was posted.
#[must_use]
pub fn evaluate_response(status: u16, body: &str) -> Option<AttemptFailure> {
    let hidden_error = ["429", "413"].into_iter().find(|code| body.contains(&format!("HTTP error {code}")));
    let (cause, slow_down, verdict) = match (status, hidden_error) {
        (200..=299, None) => return None,
        (200..=299, Some("413")) | (413, _) => ("http_413".to_owned(), false, RetryVerdict::Refused),
        (200..=299, Some(_)) => ("http_429".to_owned(), true, RetryVerdict::Retry),
        // A deleted flow answers 404, a disabled one 410 or 400. Only 410 means that it is gone permanently.
        (410, _) => ("http_410".to_owned(), false, RetryVerdict::Gone),
        (status, _) => (format!("http_{status}"), status == 429, RetryVerdict::Retry),
    };
    Some(AttemptFailure { cause, retry_after: None, slow_down, verdict })
}

/// Whether Microsoft retired the webhooks of this host. They accept no more messages.
#[must_use]
pub fn is_retired_host(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    ["webhook.office.com", "outlook.office.com", "outlook.office365.com", "logic.azure.com"]
        .iter()
        .any(|retired| host == *retired || host.ends_with(&format!(".{retired}")))
}

fn color(alert: &Alert) -> &'static str {
    match (alert.status, alert.severity) {
        (Status::Resolved, _) => "Good",
        (_, Severity::Critical | Severity::Error) => "Attention",
        (_, Severity::Warning) => "Warning",
        (_, Severity::Info) => "Accent",
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Escapes Markdown, so that a source's text cannot contain markup.
fn escape_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | '*' | '_' | '[' | ']' | '`' | '<' | '#') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}
