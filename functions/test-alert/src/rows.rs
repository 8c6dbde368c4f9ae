//! What came of a test, a row for each destination and channel: outcome, reason, and what to do about it. Pure.

use contracts::http::{ExplainEntry, TestAlertRow};
use domain::plan::{next_digest_at, quiet_hours_until};
use domain::policy::Policy;
use domain::render::format_time;
use domain::tenant::{Destination, Settings};
use domain::vocabulary::{Channel, Severity};
use jiff::Timestamp;
use ledger::Destinations;
use std::collections::BTreeMap;

/// Most characters of a receiver's answer that a row shows; the explanation has the rest.
const EXCERPT_CHARS_MAX: usize = 500;

/// Returns the rows of a test whose outcome is not known yet.
pub(crate) fn mark_pending(entries: Vec<ExplainEntry>) -> Vec<ExplainEntry> {
    let pending = |entry: ExplainEntry| match entry.outcome.as_str() {
        "deliver" => ExplainEntry { outcome: "pending".to_owned(), ..entry },
        _ => entry,
    };
    entries.into_iter().map(pending).collect()
}

/// What quiet hours and digests would do to a real alert now, of each destination and channel; a test passes them.
pub(crate) fn hold_notes(people: &Destinations, settings: &Settings, policy: &Policy, now: Timestamp) -> HoldNotes {
    let destinations = people.recipients.iter().cloned().map(|one| Destination::Recipient(Box::new(one)));
    let endpoints = people.integrations.iter().cloned().map(|one| Destination::Integration(Box::new(one)));
    let mut held = HoldNotes::new();
    for destination in destinations.chain(endpoints) {
        for &channel in destination.channels() {
            if let Some(at) = next_digest_at(settings, &destination, channel, Severity::Info, policy, now) {
                let below = match &destination {
                    Destination::Recipient(recipient) => recipient.digest.as_ref().map(|digest| digest.below),
                    Destination::Integration(_) => None,
                };
                let sentence = format!(
                    "A real alert now that is less severe than {} would come with the digest of {}.",
                    below.map_or("", Severity::as_str),
                    format_time(at, &settings.zone)
                );
                held.insert((destination.id().to_owned(), channel), sentence);
            }
            let until = |severity| quiet_hours_until(settings, &destination, channel, severity, policy, now);
            if let Some(end) = until(Severity::Error) {
                let passes = if until(Severity::Critical).is_none() { "; a critical one would pass" } else { "" };
                let sentence = format!(
                    "A real alert now would be held until {}: quiet hours{passes}.",
                    format_time(end, &settings.zone)
                );
                let known = held.entry((destination.id().to_owned(), channel)).or_default();
                *known = format!("{known} {sentence}").trim().to_owned();
            }
        }
    }
    held
}

/// The sentence of [`held`], by destination and channel.
pub(crate) type HoldNotes = BTreeMap<(String, Channel), String>;

/// One row.
pub(crate) fn build_row(entry: &ExplainEntry, people: &Destinations, from: &str, held: &HoldNotes) -> TestAlertRow {
    // What the recipient's mail server said after the mail service had taken it counts, however it stands.
    let last = entry.attempts.last().filter(|last| entry.outcome == "failed" || last.attempt == 0);
    let why = entry.reason.as_ref();
    let (detail, remedy) = match (entry.outcome.as_str(), last) {
        (_, Some(attempt)) if attempt.attempt == 0 => {
            (Some(attempt.sentence.clone()), Some(format!("{} Our sender is {from}.", attempt.remedy)))
        }
        (_, Some(attempt)) => (Some(attempt.sentence.clone()), Some(attempt.remedy.clone())),
        ("accepted", _) => accepted_texts(entry, from),
        ("delivered", _) => delivered_texts(entry, people),
        _ => (why.map(|why| why.sentence.clone()), why.map(|why| why.remedy.clone())),
    };
    let id = entry.recipient_id.as_ref().or(entry.integration_id.as_ref()).cloned().unwrap_or_default();
    // What is skipped is skipped at any hour.
    let held = held.get(&(id, entry.channel)).filter(|_| entry.outcome != "skipped");
    let detail = match (detail, held) {
        (Some(detail), Some(held)) => Some(format!("{detail} {held}")),
        (detail, held) => detail.or_else(|| held.cloned()),
    };
    TestAlertRow {
        recipient_id: entry.recipient_id.clone(),
        integration_id: entry.integration_id.clone(),
        name: entry.name.clone(),
        channel: entry.channel,
        outcome: entry.outcome.clone(),
        reason: why.map(|why| why.reason.clone()),
        cause: last.map(|attempt| attempt.cause.clone()),
        detail,
        remedy,
        setting: why.map(|why| why.setting.clone()),
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

fn delivered_texts(entry: &ExplainEntry, people: &Destinations) -> (Option<String>, Option<String>) {
    let id = entry.integration_id.as_deref().unwrap_or_default();
    let disabled = people.integrations.iter().any(|known| known.id.as_str() == id && known.disabled.is_some());
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
