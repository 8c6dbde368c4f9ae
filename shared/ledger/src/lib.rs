//! Combines the plans, delivery rows and attempts of an incident into one entry per destination and channel.
//!
//! Explanation, delivery log, support bundle and test alerts all use these entries, so that they cannot contradict each other.

use contracts::http::{AttemptView, ExplainEntry, ReasonView};
use domain::attempt::explain_cause;
use domain::delivery::{DeliveryState, FailedAttempt, FeedbackKind, ProviderFeedback, delivery_row_key};
use domain::ids::{RecipientId, TenantId};
use domain::incident::Incident;
use domain::plan::{Decision, DecisionOutcome, StoredPlan};
use domain::reason::Reason;
use domain::tenant::{Destination, Integration, Recipient};
use domain::vocabulary::{Category, Channel};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use store::deliveries::ListedDelivery;
use store::{StoreError, Table};

/// The delivery history of one incident for one tenant.
#[derive(Debug)]
pub struct Ledger {
    /// Stored plans of all updates.
    pub plans: Vec<StoredPlan>,
    /// Delivery rows with their attempts.
    pub deliveries: Vec<ListedDelivery>,
    category: Option<Category>,
    updates: u32,
    last_seen: Timestamp,
    test_of: Option<domain::event::TestTarget>,
    /// When the incident started, if its source reported it late.
    late_source: Option<Timestamp>,
}

impl Ledger {
    /// Reads plans, deliveries and the first update of an incident.
    ///
    /// # Errors
    /// [`StoreError`] of a failed call.
    pub async fn read(table: &Table, incident: &Incident, tenant: &TenantId) -> Result<Self, StoreError> {
        // Only the opening update of an incident can be late.
        let (plans, deliveries, first) = futures::try_join!(
            table.plans_of(&incident.id, tenant),
            table.deliveries(&incident.id, tenant),
            table.update(&incident.id, 1)
        )?;
        let late_source = first.and_then(|first| first.late_source);
        let test_of = incident.test_of.clone();
        let (category, updates, last_seen) = (incident.category, incident.updates, incident.last_seen);
        Ok(Self { plans, deliveries, category, updates, last_seen, test_of, late_source })
    }

    /// Returns one entry per update, destination and channel, notified or skipped, ordered by update. Destinations that were added after
    /// planning have an entry that says so.
    #[must_use]
    pub fn entries(&self, destinations: &Destinations) -> Vec<ExplainEntry> {
        let names = destinations.names();
        let (builder, decisions) = self.entry_builder(&names);
        let mut entries: Vec<ExplainEntry> = decisions.iter().map(|decision| builder.entry(decision)).collect();
        let is_included = |id: &str, channel| self.test_of.as_ref().is_none_or(|test| test.includes(id, channel));
        let newest = decisions.iter().map(|decision| decision.update).max().unwrap_or_default();
        // Once routing is done, destinations without a decision did not exist then. Before that, only destinations created after the last
        // event did not exist; the others are still pending.
        let is_too_late = |created_at| newest >= self.updates || created_at > self.last_seen;
        entries.extend(builder.unplanned_entries(&decisions, destinations, self.updates, &is_included, &is_too_late));
        entries.sort_by_key(|entry| entry.update);
        entries
    }

    /// Returns the entries of planned decisions only.
    #[must_use]
    pub fn planned_entries(&self, destinations: &Destinations) -> Vec<ExplainEntry> {
        let names = destinations.names();
        let (builder, decisions) = self.entry_builder(&names);
        decisions.iter().map(|decision| builder.entry(decision)).collect()
    }

    fn entry_builder<'a>(&'a self, names: &'a DestinationNames<'a>) -> (EntryBuilder<'a>, Vec<&'a Decision>) {
        let mut decisions: Vec<&Decision> = self.plans.iter().flat_map(|plan| &plan.decisions).collect();
        decisions.sort_by_key(|decision| decision.update);
        let rows = self.deliveries.iter().map(|listed| (listed.row.as_str(), listed)).collect();
        let (category, late_source) = (self.category, self.late_source);
        (EntryBuilder { category, names, rows, late_source }, decisions)
    }
}

/// The current destinations of a tenant.
#[derive(Clone, Debug, Default)]
pub struct Destinations {
    /// All recipients of the tenant.
    pub recipients: Vec<Recipient>,
    /// All integrations of the tenant.
    pub integrations: Vec<Integration>,
}

impl Destinations {
    /// Reads the recipients and integrations of a tenant.
    ///
    /// # Errors
    /// [`StoreError`] of a failed call.
    pub async fn read(table: &Table, tenant: &TenantId) -> Result<Self, StoreError> {
        let (recipients, integrations) = futures::try_join!(table.recipients(tenant), table.integrations(tenant))?;
        Ok(Self { recipients, integrations })
    }

    /// Returns the destinations' names by id.
    #[must_use]
    pub fn names(&self) -> DestinationNames<'_> {
        let recipients = self.recipients.iter().map(|recipient| (recipient.id.as_str(), recipient.name.as_str()));
        let integrations = self.integrations.iter();
        recipients.chain(integrations.map(|integration| (integration.id.as_str(), integration.name.as_str()))).collect()
    }
}

/// Names of recipients and integrations, by their id.
pub type DestinationNames<'a> = HashMap<&'a str, &'a str>;

/// Returns a failed attempt with its meaning and remedy.
#[must_use]
pub fn attempt_view(attempt: &FailedAttempt) -> AttemptView {
    let (sentence, remedy) = explain_cause(&attempt.cause);
    AttemptView {
        update: attempt.update,
        attempt: attempt.attempt,
        at: attempt.at,
        cause: attempt.cause.clone(),
        sentence: sentence.to_owned(),
        remedy: remedy.to_owned(),
        status: attempt.status,
        response: attempt.response.clone(),
        took_ms: attempt.took_ms,
    }
}

/// Returns a reason with its sentence, remedy, and the setting's path for this category and destination.
#[must_use]
pub fn reason_view(reason: Reason, category: Option<Category>, destination: &str) -> ReasonView {
    ReasonView {
        reason: reason.to_string(),
        sentence: reason.sentence().to_owned(),
        setting: reason.setting_of(category, destination),
        remedy: reason.remedy().to_owned(),
    }
}

/// Returns a reason like [`reason_view`], with what it refers to in its sentence.
#[must_use]
pub fn reason_view_about(
    reason: Reason,
    by: Option<&str>,
    category: Option<Category>,
    destination: &str,
) -> ReasonView {
    ReasonView { sentence: reason.sentence_about(by), ..reason_view(reason, category, destination) }
}

/// Returns the entries of a dry run's decisions.
#[must_use]
pub fn hypothetical_entries(
    decisions: &[Decision],
    category: Option<Category>,
    names: &DestinationNames<'_>,
) -> Vec<ExplainEntry> {
    let builder = EntryBuilder { category, names, rows: BTreeMap::new(), late_source: None };
    let entry = |decision: &Decision| {
        let entry = builder.entry(decision);
        if matches!(decision.outcome, DecisionOutcome::Deliver { .. }) {
            ExplainEntry { outcome: "deliver".to_owned(), ..entry }
        } else {
            entry
        }
    };
    decisions.iter().map(entry).collect()
}

/// Builds entries from decisions and deliveries.
struct EntryBuilder<'a> {
    category: Option<Category>,
    names: &'a DestinationNames<'a>,
    rows: BTreeMap<&'a str, &'a ListedDelivery>,
    late_source: Option<Timestamp>,
}

/// The current status of a planned delivery.
#[derive(Default)]
struct DeliveryStatus {
    outcome: &'static str,
    reason: Option<Reason>,
    by: Option<String>,
    until: Option<Timestamp>,
    at: Option<Timestamp>,
    latency_ms: Option<i64>,
    late: bool,
}

impl EntryBuilder<'_> {
    fn blank(&self, update: u32, destination: &str, channel: Channel) -> ExplainEntry {
        let is_recipient = destination.starts_with(RecipientId::PREFIX);
        ExplainEntry {
            update,
            recipient_id: is_recipient.then(|| destination.to_owned()),
            integration_id: (!is_recipient).then(|| destination.to_owned()),
            name: self.names.get(destination).map(|name| (*name).to_owned()),
            channel,
            outcome: String::new(),
            role: None,
            reason: None,
            by: None,
            until: None,
            at: None,
            latency_ms: None,
            late: false,
            late_source: self.late_source.filter(|_| update == 1),
            attempts: Vec::new(),
        }
    }

    fn entry(&self, decision: &Decision) -> ExplainEntry {
        let row = self.rows.get(delivery_row_key(&decision.destination, decision.channel, decision.update).as_str());
        let (role, status) = match &decision.outcome {
            DecisionOutcome::Skip { reason, by } => (
                None,
                DeliveryStatus {
                    outcome: "skipped",
                    reason: Some(*reason),
                    by: by.clone(),
                    ..DeliveryStatus::default()
                },
            ),
            // Without a row it waits as planned. With one, it is treated like any other.
            DecisionOutcome::Hold { until, reason, role } => {
                match row.filter(|row| row.delivery.latest >= decision.update) {
                    Some(row) => (*role, delivery_status(row, decision)),
                    None => (
                        *role,
                        DeliveryStatus {
                            outcome: "held",
                            reason: Some(*reason),
                            until: Some(*until),
                            ..DeliveryStatus::default()
                        },
                    ),
                }
            }
            DecisionOutcome::Deliver { role } => {
                (*role, row.map_or_else(pending_status, |row| delivery_status(row, decision)))
            }
        };
        let attempts = row.map(|row| row.attempts.as_slice()).unwrap_or_default().iter();
        let feedback =
            row.and_then(|row| row.delivery.feedback.as_ref()).filter(|feedback| feedback.update == decision.update);
        let status = match feedback {
            Some(feedback) => DeliveryStatus {
                outcome: outcome_after_feedback(feedback.kind),
                reason: feedback.kind.failure_reason(),
                ..status
            },
            None => status,
        };
        ExplainEntry {
            outcome: status.outcome.to_owned(),
            role,
            reason: status
                .reason
                .map(|reason| reason_view_about(reason, status.by.as_deref(), self.category, &decision.destination)),
            by: status.by,
            until: status.until,
            at: status.at,
            latency_ms: status.latency_ms,
            late: status.late,
            attempts: attempts
                .filter(|failed| failed.update == decision.update)
                .map(attempt_view)
                .chain(feedback.and_then(feedback_view))
                .collect(),
            ..self.blank(decision.update, &decision.destination, decision.channel)
        }
    }

    /// Returns entries for current destinations without a decision. `is_too_late` says whether a destination that was created at a given
    /// time is too new for the newest update.
    fn unplanned_entries(
        &self,
        decisions: &[&Decision],
        destinations: &Destinations,
        update: u32,
        is_included: &dyn Fn(&str, Channel) -> bool,
        is_too_late: &dyn Fn(Timestamp) -> bool,
    ) -> Vec<ExplainEntry> {
        let decided: BTreeSet<&str> = decisions.iter().map(|decision| decision.destination.as_str()).collect();
        let integrations = destinations.integrations.iter().cloned().map(|one| Destination::Integration(Box::new(one)));
        let recipients = destinations.recipients.iter().cloned().map(|one| Destination::Recipient(Box::new(one)));
        let mut entries = Vec::new();
        for destination in recipients.chain(integrations).filter(|destination| !decided.contains(destination.id())) {
            let too_late = is_too_late(destination.created_at());
            for channel in destination.channels().iter().filter(|channel| is_included(destination.id(), **channel)) {
                let reason = too_late.then(|| reason_view(Reason::AddedLater, self.category, destination.id()));
                let outcome = if too_late { "skipped" } else { "pending" }.to_owned();
                entries.push(ExplainEntry { outcome, reason, ..self.blank(update, destination.id(), *channel) });
            }
        }
        entries
    }
}

/// Returns the outcome of an accepted delivery after feedback of its provider.
fn outcome_after_feedback(kind: FeedbackKind) -> &'static str {
    match kind {
        FeedbackKind::Deferred => "accepted",
        // A complaint implies that the message was delivered.
        FeedbackKind::Delivered | FeedbackKind::Complained => "delivered",
        FeedbackKind::Rejected | FeedbackKind::Bounced | FeedbackKind::OptedOut => "failed",
    }
}

/// Returns a provider's negative feedback in the form of an attempt, with its remedy. `None` for a delivery.
fn feedback_view(feedback: &ProviderFeedback) -> Option<AttemptView> {
    if feedback.kind == FeedbackKind::Delivered {
        return None;
    }
    let (sentence, remedy) = explain_cause(feedback.kind.as_str());
    Some(AttemptView {
        update: feedback.update,
        attempt: 0,
        at: feedback.at,
        cause: feedback.kind.as_str().to_owned(),
        sentence: sentence.to_owned(),
        remedy: remedy.to_owned(),
        status: None,
        response: feedback.text.clone(),
        took_ms: 0,
    })
}

fn pending_status() -> DeliveryStatus {
    DeliveryStatus { outcome: "pending", ..DeliveryStatus::default() }
}

fn delivery_status(listed: &ListedDelivery, decision: &Decision) -> DeliveryStatus {
    let accepted_outcome = match decision.channel {
        // SES and SNS accept a message and deliver it later, so accepted does not mean delivered.
        Channel::Email | Channel::Sms => "accepted",
        Channel::Slack | Channel::Teams | Channel::Webhook => "delivered",
    };
    let row = &listed.delivery;
    // A delivery that was sent again has an earlier end in its history, but is not done.
    let was_resent = row.latest == decision.update && row.done < decision.update;
    if let Some(end) = listed.history.iter().rfind(|end| end.update == decision.update && !was_resent) {
        let at = Some(end.at);
        return match Reason::parse(&end.outcome) {
            // No attempt was made: while the delivery waited, it was superseded or a setting stopped it.
            Some(reason) if end.attempts == 0 => {
                DeliveryStatus { outcome: "skipped", reason: Some(reason), at, ..DeliveryStatus::default() }
            }
            Some(reason) => DeliveryStatus { outcome: "failed", reason: Some(reason), at, ..DeliveryStatus::default() },
            // The row stores the latency of its newest update only.
            None => {
                let latency_ms = row.latency_ms.filter(|_| row.latest == decision.update);
                let late = row.late && latency_ms.is_some();
                DeliveryStatus { outcome: accepted_outcome, at, latency_ms, late, ..DeliveryStatus::default() }
            }
        };
    }
    if row.latest > decision.update {
        let by = Some(row.latest.to_string());
        return DeliveryStatus {
            outcome: "skipped",
            reason: Some(Reason::SupersededBy),
            by,
            ..DeliveryStatus::default()
        };
    }
    // A newer update that no attempt has claimed yet does not wait for the same reason as the older one.
    let until = row.next_at_ms.filter(|_| row.state == DeliveryState::Retrying && row.latest == decision.update);
    let until = until.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let waits_for_hours = |reason: &Reason| matches!(reason, Reason::QuietHours | Reason::RegulatoryWindow);
    match row.reason.filter(|reason| until.is_some() && (row.attempts == 0 || waits_for_hours(reason))) {
        // The contact's rate limit deferred the first attempt, or quiet hours hold the retry.
        Some(reason) => DeliveryStatus { outcome: "held", reason: Some(reason), until, ..DeliveryStatus::default() },
        None => DeliveryStatus { until, ..pending_status() },
    }
}

#[cfg(test)]
mod tests;
