//! What the public status page shows of an incident.

use super::model::{Incident, PublicScope};
use crate::classification::RuleMatch;
use crate::event::{Event, Format};
use crate::ids::Scope;
use crate::vocabulary::{Kind, Status};

/// The text on the status page for a reminder of a maintenance. The hours are shown above it.
pub(super) const REMINDER_TEXT: &str = "This is a reminder: the maintenance starts soon.";

/// Texts for the status page; empty if the incident is not public.
#[derive(Debug, Default)]
pub(super) struct PublicText {
    pub(super) title: String,
    pub(super) message: String,
}

/// Whether an incident goes on the status page: if its event says so, or else if its rule says so and it is platform-wide. Intake accepts
/// `public: true` only from tokens with the scope `incidents:platform`.
pub(super) fn is_public(event: &Event, rule: &RuleMatch, scope: &Scope) -> bool {
    match event.public {
        Some(public) => public && rule.kind != Kind::OptIn,
        None => rule.public && *scope == Scope::Platform,
    }
}

/// Returns title and text of a public event for the status page.
///
/// Text of drop-in formats, which monitors wrote, is never published: only their annotations for the public are, or else the rule's
/// sentence with components and regions.
pub(super) fn public_text(event: &Event, rule: &RuleMatch) -> PublicText {
    let is_native = event.format == Format::Native;
    let title = match &event.public_title {
        Some(title) => title.clone(),
        None if is_native => event.title.clone(),
        None => rule.public_sentence.clone(),
    };
    let message = match &event.public_message {
        Some(message) => message.clone(),
        None if is_native => event.message.clone(),
        None => neutral_text(event, rule),
    };
    PublicText { title, message }
}

fn neutral_text(event: &Event, rule: &RuleMatch) -> String {
    let mut text = rule.public_sentence.clone();
    if !event.components.is_empty() {
        text.push_str(&format!(" Affected: {}.", event.components.join(", ")));
    }
    if !event.regions.is_empty() {
        text.push_str(&format!(" Region: {}.", event.regions.join(", ")));
    }
    text
}

/// Returns the components and regions on the status page after `event` changed `incident` to `next`; `None` if they are the incident's own.
/// An event with `public: false` does not change them.
pub(super) fn next_public_scope(incident: &Incident, event: &Event, next: &Incident) -> Option<PublicScope> {
    if !next.public {
        return None;
    }
    let before = incident.public_scope();
    let after = if event.public == Some(false) || next.status == Status::Resolved {
        before
    } else {
        PublicScope {
            components: keep_if_empty(&before.components, &event.components),
            regions: keep_if_empty(&before.regions, &event.regions),
        }
    };
    let is_own = after.components == next.components && after.regions == next.regions;
    (!is_own).then_some(after)
}

/// Returns the new names, or the previous ones if the event names none.
pub(super) fn keep_if_empty(before: &[String], now: &[String]) -> Vec<String> {
    if now.is_empty() { before.to_vec() } else { now.to_vec() }
}
