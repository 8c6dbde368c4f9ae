//! Builds the rows of a test result, one for each destination and channel: outcome, reason and remedy. Pure.

use contracts::http::{ExplainEntry, TestAlertRow};
use domain::plan::{next_digest_at, quiet_hours_until};
use domain::policy::Policy;
use domain::render::format_time;
use domain::tenant::{Destination, Settings};
use domain::vocabulary::{Channel, Severity};
use jiff::Timestamp;
use ledger::Destinations;
use std::collections::BTreeMap;

/// Most characters of a receiver's response in a row; the incident's explanation has all of it.
const EXCERPT_CHARS_MAX: usize = 500;

/// Marks the entries that will be delivered as pending.
pub(crate) fn mark_pending(entries: Vec<ExplainEntry>) -> Vec<ExplainEntry> {
    let pending = |entry: ExplainEntry| match entry.outcome.as_str() {
        "deliver" => ExplainEntry { outcome: "pending".to_owned(), ..entry },
        _ => entry,
    };
    entries.into_iter().map(pending).collect()
}

/// Describes for each destination and channel how quiet hours or a digest would hold a real alert now. They do not hold a test.
pub(crate) fn hold_notes(
    destinations: &Destinations,
    settings: &Settings,
    policy: &Policy,
    now: Timestamp,
) -> HoldNotes {
    let recipients = destinations.recipients.iter().cloned().map(|one| Destination::Recipient(Box::new(one)));
    let integrations = destinations.integrations.iter().cloned().map(|one| Destination::Integration(Box::new(one)));
    let mut notes = HoldNotes::new();
    for destination in recipients.chain(integrations) {
        for &channel in destination.channels() {
            if let Some(at) = next_digest_at(settings, &destination, channel, Severity::Info, policy, now) {
                let below = match &destination {
                    Destination::Recipient(recipient) => {
                        recipient.digest_or(settings.digest.as_ref()).map(|digest| digest.below)
                    }
                    Destination::Integration(_) => None,
                };
                let sentence = format!(
                    "A real alert below {} severity would now be held for the digest at {}.",
                    below.map_or("", Severity::as_str),
                    format_time(at, &settings.zone)
                );
                notes.insert((destination.id().to_owned(), channel), sentence);
            }
            let until = |severity| quiet_hours_until(settings, &destination, channel, severity, policy, now);
            if let Some(end) = until(Severity::Error) {
                let critical =
                    if until(Severity::Critical).is_none() { "; a critical alert would be sent" } else { "" };
                let sentence = format!(
                    "A real alert would now be held until {} for quiet hours{critical}.",
                    format_time(end, &settings.zone)
                );
                let note = notes.entry((destination.id().to_owned(), channel)).or_default();
                *note = format!("{note} {sentence}").trim().to_owned();
            }
        }
    }
    notes
}

/// The sentences of [`hold_notes`], by destination and channel.
pub(crate) type HoldNotes = BTreeMap<(String, Channel), String>;

/// Builds the row of one destination and channel.
pub(crate) fn build_row(
    entry: &ExplainEntry,
    destinations: &Destinations,
    from: &str,
    notes: &HoldNotes,
) -> TestAlertRow {
    // Attempt 0 is feedback from the recipient's mail server after the mail service accepted the message; it is shown with any outcome.
    let last = entry.attempts.last().filter(|last| entry.outcome == "failed" || last.attempt == 0);
    let reason = entry.reason.as_ref();
    let (detail, remedy) = match (entry.outcome.as_str(), last) {
        (_, Some(attempt)) if attempt.attempt == 0 => {
            (Some(attempt.sentence.clone()), Some(format!("{} Our sender address is {from}.", attempt.remedy)))
        }
        (_, Some(attempt)) => (Some(attempt.sentence.clone()), Some(attempt.remedy.clone())),
        ("accepted", _) => accepted_texts(entry, from),
        ("delivered", _) => delivered_texts(entry, destinations),
        _ => (reason.map(|reason| reason.sentence.clone()), reason.map(|reason| reason.remedy.clone())),
    };
    let id = entry.recipient_id.as_ref().or(entry.integration_id.as_ref()).cloned().unwrap_or_default();
    // A skipped destination is skipped at any time, so its note would mislead.
    let note = if entry.outcome == "skipped" { None } else { notes.get(&(id, entry.channel)) };
    let detail = match (detail, note) {
        (Some(detail), Some(note)) => Some(format!("{detail} {note}")),
        (detail, note) => detail.or_else(|| note.cloned()),
    };
    TestAlertRow {
        recipient_id: entry.recipient_id.clone(),
        integration_id: entry.integration_id.clone(),
        name: entry.name.clone(),
        channel: entry.channel,
        outcome: entry.outcome.clone(),
        reason: reason.map(|reason| reason.reason.clone()),
        cause: last.map(|attempt| attempt.cause.clone()),
        detail,
        remedy,
        setting: reason.map(|reason| reason.setting.clone()),
        latency_ms: entry.latency_ms,
        status: last.and_then(|attempt| attempt.status),
        response: last.map(|attempt| excerpt(&attempt.response)).filter(|text| !text.is_empty()),
    }
}

/// Returns the texts for a message that SES or SNS accepted. Whether it is delivered depends on the receiving side.
fn accepted_texts(entry: &ExplainEntry, from: &str) -> (Option<String>, Option<String>) {
    let (detail, remedy) = match entry.channel {
        Channel::Sms => (
            "Accepted by the SMS service.",
            "If it doesn't arrive, check the number, and ask the carrier whether it blocks these messages or whether the number opted out.".to_owned(),
        ),
        _ => (
            "Accepted by the mail service.",
            format!("If it doesn't arrive, check the spam folder, and ask your mail admin to allow-list {from}."),
        ),
    };
    (Some(detail.to_owned()), Some(remedy))
}

fn delivered_texts(entry: &ExplainEntry, destinations: &Destinations) -> (Option<String>, Option<String>) {
    let id = entry.integration_id.as_deref().unwrap_or_default();
    let disabled = destinations.integrations.iter().any(|known| known.id.as_str() == id && known.disabled.is_some());
    if disabled {
        let detail = "The endpoint accepted the test, but the integration is disabled, so alerts aren't sent to it.";
        return (Some(detail.to_owned()), Some("Enable the integration again.".to_owned()));
    }
    (Some("Accepted by the endpoint.".to_owned()), None)
}

fn excerpt(text: &str) -> String {
    let mut text = text.trim().to_owned();
    domain::event::truncate_chars(&mut text, EXCERPT_CHARS_MAX);
    text
}
