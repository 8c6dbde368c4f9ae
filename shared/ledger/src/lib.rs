//! What the ledger of an incident tells a tenant: its plans, its delivery rows and their attempts, read together.
//!
//! Explanation, delivery log, support bundle and test alerts all say what is here, so that none of them can say what another
//! does not.

use contracts::http::{AttemptView, ExplainEntry, ReasonView};
use contracts::queue::delivery_row_key;
use domain::attempt::explain_cause;
use domain::delivery::{DeliveryState, Feedback, FeedbackKind};
use domain::ids::{RecipientId, TenantId};
use domain::incident::Incident;
use domain::plan::{Decision, DecisionOutcome};
use domain::reason::Reason;
use domain::tenant::{Destination, Integration, Recipient};
use domain::vocabulary::{Category, Channel};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use store::deliveries::{FailedAttempt, ListedDelivery};
use store::plans::StoredPlan;
use store::{StoreError, Table};

/// Everything that is known of what one tenant was told of one incident.
#[derive(Debug)]
pub struct Ledger {
    /// Its plans.
    pub plans: Vec<StoredPlan>,
    /// What came of some of their decisions otherwise.
    pub revised: Vec<Decision>,
    /// Its delivery rows.
    pub deliveries: Vec<ListedDelivery>,
    category: Option<Category>,
    updates: u32,
    last_seen: Timestamp,
    test_of: Option<domain::event::TestTarget>,
    /// When it happened, where we were told late.
    late_source: Option<Timestamp>,
}

impl Ledger {
    /// Reads it.
    ///
    /// # Errors
    /// [`StoreError`] of a call.
    pub async fn read(table: &Table, incident: &Incident, tenant: &TenantId) -> Result<Self, StoreError> {
        // Late is the first word of an incident, if any is.
        let (known, deliveries, first) = futures::try_join!(
            table.plans_of(&incident.id, tenant),
            table.deliveries(&incident.id, tenant),
            table.update(&incident.id, 1)
        )?;
        let late_source = first.and_then(|first| first.late_source);
        let (plans, revised) = (known.plans, known.revisions);
        let test_of = incident.test_of.clone();
        let (category, updates, last_seen) = (incident.category, incident.updates, incident.last_seen);
        Ok(Self { plans, revised, deliveries, category, updates, last_seen, test_of, late_source })
    }

    /// One entry for every update, recipient or integration, and channel of the tenant, told or not, in the order of the
    /// updates. Who was added after the planning has an entry that says so.
    #[must_use]
    pub fn entries(&self, people: &Destinations) -> Vec<ExplainEntry> {
        let names = people.names();
        let (story, decisions) = self.story(&names);
        let mut entries: Vec<ExplainEntry> = decisions.iter().map(|decision| story.entry(decision)).collect();
        let wanted = |id: &str, channel| self.test_of.as_ref().is_none_or(|test| test.includes(id, channel));
        let newest = decisions.iter().map(|decision| decision.update).max().unwrap_or_default();
        // Where routing is done, whoever it left out was not there. Where it is not, only who came after the last event was not:
        // the others wait, however long it takes.
        let later = |created_at| newest >= self.updates || created_at > self.last_seen;
        entries.extend(story.unplanned(&decisions, people, self.updates, &wanted, &later));
        entries.sort_by_key(|entry| entry.update);
        entries
    }

    /// The entries of what was planned, and nothing else.
    #[must_use]
    pub fn planned_entries(&self, people: &Destinations) -> Vec<ExplainEntry> {
        let names = people.names();
        let (story, decisions) = self.story(&names);
        decisions.iter().map(|decision| story.entry(decision)).collect()
    }

    fn story<'a>(&'a self, names: &'a DestinationNames<'a>) -> (EntryBuilder<'a>, Vec<&'a Decision>) {
        let mut decisions: Vec<&Decision> = self.plans.iter().flat_map(|plan| &plan.decisions).collect();
        decisions.sort_by_key(|decision| decision.update);
        let rows = self.deliveries.iter().map(|listed| (listed.row.as_str(), listed)).collect();
        let (category, revised, late_source) = (self.category, self.revised.as_slice(), self.late_source);
        (EntryBuilder { category, names, rows, revised, late_source }, decisions)
    }
}

/// Who is there now.
#[derive(Clone, Debug, Default)]
pub struct Destinations {
    /// The tenant's recipients.
    pub recipients: Vec<Recipient>,
    /// Its integrations.
    pub integrations: Vec<Integration>,
}

impl Destinations {
    /// Reads them.
    ///
    /// # Errors
    /// [`StoreError`] of a call.
    pub async fn read(table: &Table, tenant: &TenantId) -> Result<Self, StoreError> {
        let (recipients, integrations) = futures::try_join!(table.recipients(tenant), table.integrations(tenant))?;
        Ok(Self { recipients, integrations })
    }

    /// Their names by id.
    #[must_use]
    pub fn names(&self) -> DestinationNames<'_> {
        let people = self.recipients.iter().map(|recipient| (recipient.id.as_str(), recipient.name.as_str()));
        let endpoints = self.integrations.iter();
        people.chain(endpoints.map(|integration| (integration.id.as_str(), integration.name.as_str()))).collect()
    }
}

/// Names of recipients and integrations by id.
pub type DestinationNames<'a> = HashMap<&'a str, &'a str>;

/// A failed attempt, with what it means and what to do about it.
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

/// A reason with its sentence and its remedy, and its setting spelled for this category and destination.
#[must_use]
pub fn reason_view(reason: Reason, category: Option<Category>, destination: &str) -> ReasonView {
    ReasonView {
        reason: reason.to_string(),
        sentence: reason.sentence().to_owned(),
        setting: reason.setting_of(category, destination),
        remedy: reason.remedy().to_owned(),
    }
}

/// What would be decided, as entries: of an event that was only asked about.
#[must_use]
pub fn hypothetical_entries(
    decisions: &[Decision],
    category: Option<Category>,
    names: &DestinationNames<'_>,
) -> Vec<ExplainEntry> {
    let story = EntryBuilder { category, names, rows: BTreeMap::new(), revised: &[], late_source: None };
    let entry = |decision: &Decision| {
        let entry = story.entry(decision);
        if matches!(decision.outcome, DecisionOutcome::Deliver { .. }) {
            ExplainEntry { outcome: "deliver".to_owned(), ..entry }
        } else {
            entry
        }
    };
    decisions.iter().map(entry).collect()
}

/// What decisions and deliveries tell together.
struct EntryBuilder<'a> {
    category: Option<Category>,
    names: &'a DestinationNames<'a>,
    rows: BTreeMap<&'a str, &'a ListedDelivery>,
    revised: &'a [Decision],
    late_source: Option<Timestamp>,
}

/// How a planned delivery stands.
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

    /// Until when and why it waits, where that is not what its plan says.
    fn waits(&self, decision: &Decision) -> Option<(Timestamp, Reason)> {
        match self.revised.iter().find(|one| one.has_same_target(decision))?.outcome {
            DecisionOutcome::Hold { until, reason, .. } => Some((until, reason)),
            DecisionOutcome::Deliver { .. } | DecisionOutcome::Skip { .. } => None,
        }
    }

    fn entry(&self, decision: &Decision) -> ExplainEntry {
        let row = self.rows.get(delivery_row_key(&decision.destination, decision.channel, decision.update).as_str());
        let (role, stands) = match &decision.outcome {
            DecisionOutcome::Skip { reason, by } => (
                None,
                DeliveryStatus {
                    outcome: "skipped",
                    reason: Some(*reason),
                    by: by.clone(),
                    ..DeliveryStatus::default()
                },
            ),
            // Once its time has come, it is a delivery like any other.
            DecisionOutcome::Hold { until, reason, role } => {
                match row.filter(|row| row.delivery.latest >= decision.update) {
                    Some(row) => (*role, stands(row, decision)),
                    None => {
                        // It may wait for longer by now, or for another reason.
                        let (until, reason) = self.waits(decision).unwrap_or((*until, *reason));
                        (
                            *role,
                            DeliveryStatus {
                                outcome: "held",
                                reason: Some(reason),
                                until: Some(until),
                                ..DeliveryStatus::default()
                            },
                        )
                    }
                }
            }
            DecisionOutcome::Deliver { role } => (*role, row.map_or_else(pending, |row| stands(row, decision))),
        };
        let attempts = row.map(|row| row.attempts.as_slice()).unwrap_or_default().iter();
        let said = row.and_then(|row| row.delivery.feedback.as_ref()).filter(|said| said.update == decision.update);
        let stands = match said {
            Some(said) => DeliveryStatus { outcome: after(said.kind), reason: said.kind.failure_reason(), ..stands },
            None => stands,
        };
        ExplainEntry {
            outcome: stands.outcome.to_owned(),
            role,
            reason: stands.reason.map(|reason| reason_view(reason, self.category, &decision.destination)),
            by: stands.by,
            until: stands.until,
            at: stands.at,
            latency_ms: stands.latency_ms,
            late: stands.late,
            attempts: attempts
                .filter(|failed| failed.update == decision.update)
                .map(attempt_view)
                .chain(said.and_then(later))
                .collect(),
            ..self.blank(decision.update, &decision.destination, decision.channel)
        }
    }

    /// Whoever is there now and in no plan. `later` says of a moment whether who came then was too late for the newest update.
    fn unplanned(
        &self,
        decisions: &[&Decision],
        people: &Destinations,
        update: u32,
        wanted: &dyn Fn(&str, Channel) -> bool,
        later: &dyn Fn(Timestamp) -> bool,
    ) -> Vec<ExplainEntry> {
        let there: BTreeSet<&str> = decisions.iter().map(|decision| decision.destination.as_str()).collect();
        let endpoints = people.integrations.iter().cloned().map(|one| Destination::Integration(Box::new(one)));
        let people = people.recipients.iter().cloned().map(|one| Destination::Recipient(Box::new(one)));
        let mut entries = Vec::new();
        for destination in people.chain(endpoints).filter(|destination| !there.contains(destination.id())) {
            let later = later(destination.created_at());
            for channel in destination.channels().iter().filter(|channel| wanted(destination.id(), **channel)) {
                let reason = later.then(|| reason_view(Reason::AddedLater, self.category, destination.id()));
                let outcome = if later { "skipped" } else { "pending" }.to_owned();
                entries.push(ExplainEntry { outcome, reason, ..self.blank(update, destination.id(), *channel) });
            }
        }
        entries
    }
}

/// What a delivery is after its provider's later word.
fn after(kind: FeedbackKind) -> &'static str {
    match kind {
        FeedbackKind::Deferred => "accepted",
        // It was read, or who would have complained?
        FeedbackKind::Delivered | FeedbackKind::Complained => "delivered",
        FeedbackKind::Rejected | FeedbackKind::Bounced | FeedbackKind::OptedOut => "failed",
    }
}

/// What a provider said later and what to do about it, as the attempts are told; nothing where all is well.
fn later(said: &Feedback) -> Option<AttemptView> {
    if said.kind == FeedbackKind::Delivered {
        return None;
    }
    let (sentence, remedy) = explain_cause(said.kind.as_str());
    Some(AttemptView {
        update: said.update,
        attempt: 0,
        at: said.at,
        cause: said.kind.as_str().to_owned(),
        sentence: sentence.to_owned(),
        remedy: remedy.to_owned(),
        status: None,
        response: said.text.clone(),
        took_ms: 0,
    })
}

fn pending() -> DeliveryStatus {
    DeliveryStatus { outcome: "pending", ..DeliveryStatus::default() }
}

fn stands(listed: &ListedDelivery, decision: &Decision) -> DeliveryStatus {
    let taken = match decision.channel {
        // SES and SNS take a message and send it later; whether it arrived is another matter.
        Channel::Email | Channel::Sms => "accepted",
        Channel::Slack | Channel::Teams | Channel::Webhook => "delivered",
    };
    let row = &listed.delivery;
    // What was sent again after it had failed has an end already, and is not over.
    let again = row.latest == decision.update && row.done < decision.update;
    if let Some(end) = listed.history.iter().rfind(|end| end.update == decision.update && !again) {
        let at = Some(end.at);
        return match Reason::parse(&end.outcome) {
            // Nobody tried: while it waited, something else took its place or forbade it.
            Some(reason) if end.attempts == 0 => {
                DeliveryStatus { outcome: "skipped", reason: Some(reason), at, ..DeliveryStatus::default() }
            }
            Some(reason) => DeliveryStatus { outcome: "failed", reason: Some(reason), at, ..DeliveryStatus::default() },
            // The row keeps the latency of its newest update.
            None => {
                let latency_ms = row.latency_ms.filter(|_| row.latest == decision.update);
                let late = row.late && latency_ms.is_some();
                DeliveryStatus { outcome: taken, at, latency_ms, late, ..DeliveryStatus::default() }
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
    // A newer word that nobody has taken up yet does not wait for what the older one waits for.
    let until = row.next_at_ms.filter(|_| row.state == DeliveryState::Retrying && row.latest == decision.update);
    let until = until.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let hours = |reason: &Reason| matches!(reason, Reason::QuietHours | Reason::RegulatoryWindow);
    match row.reason.filter(|reason| until.is_some() && (row.attempts == 0 || hours(reason))) {
        // Its contact has had enough for now and nobody tried yet, or it is night where it is to be tried again.
        Some(reason) => DeliveryStatus { outcome: "held", reason: Some(reason), until, ..DeliveryStatus::default() },
        None => DeliveryStatus { until, ..pending() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::delivery::DeliveryRow;
    use domain::vocabulary::Role;
    use store::deliveries::HistoryEntry;

    fn decision(channel: Channel, update: u32, outcome: DecisionOutcome) -> Decision {
        Decision { update, destination: "rcp_1".into(), channel, outcome }
    }

    fn listed(state: DeliveryState, latest: u32, history: Vec<HistoryEntry>) -> ListedDelivery {
        let delivery = DeliveryRow {
            latest,
            done: if history.is_empty() { 0 } else { latest },
            state,
            attempts: 1,
            lease_until_ms: 0,
            token: String::new(),
            channel: Channel::Email,
            feedback: None,
            next_at_ms: Some(9_000),
            cause: None,
            reason: None,
            provider_id: None,
            at: None,
            late: false,
            latency_ms: None,
        };
        let at = Timestamp::UNIX_EPOCH;
        let failed = |update| FailedAttempt {
            update,
            attempt: 1,
            at,
            cause: "http_500".into(),
            status: Some(500),
            response: "oops".into(),
            took_ms: 1,
        };
        ListedDelivery { row: "rcp_1#email".into(), delivery, history, attempts: vec![failed(1), failed(2)] }
    }

    fn entry(listed: Option<&ListedDelivery>, decision: &Decision) -> ExplainEntry {
        let names = DestinationNames::from([("rcp_1", "Ops")]);
        let rows = listed.map(|listed| (listed.row.as_str(), listed)).into_iter().collect();
        let late_source = Some(Timestamp::UNIX_EPOCH);
        EntryBuilder { category: Some(Category::Billing), names: &names, rows, revised: &[], late_source }
            .entry(decision)
    }

    const DELIVER: DecisionOutcome = DecisionOutcome::Deliver { role: Some(Role::BillingAdmin) };

    #[test]
    fn a_delivery_is_told_as_it_stands() {
        let ended = |update, outcome: &str| HistoryEntry {
            update,
            outcome: outcome.into(),
            at: Timestamp::UNIX_EPOCH,
            attempts: 2,
        };
        let first = decision(Channel::Email, 1, DELIVER);
        let pending = entry(None, &first);
        assert_eq!((pending.outcome.as_str(), pending.recipient_id.as_deref()), ("pending", Some("rcp_1")));
        let accepted = entry(Some(&listed(DeliveryState::Accepted, 1, vec![ended(1, "accepted")])), &first);
        assert_eq!((accepted.outcome.as_str(), accepted.attempts.len()), ("accepted", 1), "never shown as delivered");
        let failed = entry(Some(&listed(DeliveryState::Failed, 1, vec![ended(1, "gave_up")])), &first);
        assert_eq!((failed.outcome.as_str(), failed.reason.unwrap().reason.as_str()), ("failed", "gave_up"));
        let retrying = entry(Some(&listed(DeliveryState::Retrying, 1, vec![])), &first);
        assert_eq!((retrying.outcome.as_str(), retrying.until.is_some()), ("pending", true));
        let row = ListedDelivery {
            delivery: DeliveryRow {
                reason: Some(Reason::QuietHours),
                ..listed(DeliveryState::Retrying, 1, vec![]).delivery
            },
            ..listed(DeliveryState::Retrying, 1, vec![])
        };
        let asleep = entry(Some(&row), &first);
        assert_eq!((asleep.outcome.as_str(), asleep.reason.unwrap().reason.as_str()), ("held", "quiet_hours"));
        assert_eq!(asleep.attempts.len(), 1, "it was tried before");
        let newer = entry(Some(&row), &decision(Channel::Email, 2, DELIVER));
        assert_eq!((newer.outcome.as_str(), newer.until), ("pending", None), "it waits for nothing");
        let again = ListedDelivery {
            delivery: DeliveryRow { done: 0, ..listed(DeliveryState::Retrying, 1, vec![]).delivery },
            ..listed(DeliveryState::Failed, 1, vec![ended(1, "gave_up")])
        };
        assert_eq!(entry(Some(&again), &first).outcome, "pending", "sent again");
        let newer = entry(Some(&listed(DeliveryState::Sending, 2, vec![])), &first);
        assert_eq!((newer.reason.unwrap().reason.as_str(), newer.by.as_deref()), ("superseded_by", Some("2")));
        let hook = Decision { destination: "int_1".into(), ..decision(Channel::Webhook, 2, DELIVER) };
        let row = ListedDelivery {
            row: "int_1#000002".into(),
            ..listed(DeliveryState::Accepted, 2, vec![ended(2, "accepted")])
        };
        let hook = entry(Some(&row), &hook);
        assert_eq!((hook.outcome.as_str(), hook.integration_id.as_deref()), ("delivered", Some("int_1")));
        assert_eq!(
            (pending.late_source, hook.late_source),
            (Some(Timestamp::UNIX_EPOCH), None),
            "the first word was late"
        );
    }

    #[test]
    fn who_is_in_no_plan_waits_unless_routing_is_done_or_it_came_later() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let recipient = |created_at: Timestamp| -> Recipient {
            let recipient = serde_json::json!({"id": "rcp_2", "name": "Late", "roles": ["org_admin"], "version": 1,
                "created_at": created_at});
            serde_json::from_value(recipient).unwrap()
        };
        let told = |planned: Option<u32>, created_at| {
            let plan = |update| StoredPlan {
                tenant: TenantId::parse("acme").unwrap(),
                chunk: 0,
                update,
                at: at(10),
                settings_version: 1,
                decisions: vec![decision(Channel::Email, update, DELIVER)],
            };
            let ledger = Ledger {
                revised: Vec::new(),
                plans: planned.map(plan).into_iter().collect(),
                deliveries: vec![],
                category: None,
                updates: 2,
                last_seen: at(100),
                test_of: None,
                late_source: None,
            };
            let people = Destinations { recipients: vec![recipient(created_at)], integrations: vec![] };
            let entries = ledger.entries(&people);
            entries.into_iter().find(|entry| entry.recipient_id.as_deref() == Some("rcp_2")).unwrap().outcome
        };
        assert_eq!(told(None, at(50)), "pending", "an outage of routing is no reason");
        assert_eq!(told(Some(1), at(50)), "pending", "the second update is on its way");
        assert_eq!(told(None, at(150)), "skipped");
        assert_eq!(told(Some(2), at(50)), "skipped", "repeats plan nothing");
    }

    #[test]
    fn a_skip_names_the_setting() {
        let skip = DecisionOutcome::Skip { reason: Reason::CategoryDisabled, by: None };
        let entry = entry(None, &decision(Channel::Email, 1, skip));
        let reason = entry.reason.unwrap();
        assert_eq!(
            (entry.outcome.as_str(), reason.setting.as_str()),
            ("skipped", "settings.categories.billing.enabled")
        );
    }
}
