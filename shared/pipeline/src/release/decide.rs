//! Decides what becomes of a due entry, by the facts as they are now: send it, reschedule it, or end it without sending.

use contracts::queue::Delivery;
use domain::alert::{HoldPeriod, NotificationReason};
use domain::delivery::DeliveryState;
use domain::due::{Hold, ScheduledDelivery};
use domain::incident::{Change, Incident, Update};
use domain::maintenance::{SuppressedIncident, next_recheck};
use domain::plan::PlanHistory;
use domain::plan::{
    Decision, DecisionOutcome, NotificationHistory, PlanInput, SendingHours, plan_deliveries, unreachable_reason,
};
use domain::policy::Policy;
use domain::reason::Reason;
use domain::subscriber::Subscriber;
use domain::tenant::{Destination, Settings};
use domain::vocabulary::Channel;
use jiff::{SignedDuration, Timestamp};

/// The facts about a due entry as they are now; `None` for what does not exist any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeliveryFacts<'a> {
    pub(crate) settings: Option<&'a Settings>,
    pub(crate) incident: Option<&'a Incident>,
    pub(crate) update: Option<&'a Update>,
    pub(crate) destination: Option<&'a Destination>,
    /// The incidents that a scheduled maintenance suppressed; empty for other incidents.
    pub(crate) suppressed_incidents: &'a [SuppressedIncident],
}

/// The additional facts for a held delivery, which is planned again before it is released.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplanInput<'a> {
    /// The tenant's compiled subscription; `None` if it does not exist any more.
    pub(crate) subscriber: Option<&'a Subscriber>,
    /// The tenant's plans for the incident.
    pub(crate) plans: &'a PlanHistory,
    pub(crate) policy: &'a Policy,
    /// When the run began. Batches whose minute was missed are sent in the minute after that, however long the run takes.
    pub(crate) began: Timestamp,
    pub(crate) now: Timestamp,
}

/// Until when a delivery waits, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When it is due.
    pub until: Timestamp,
    /// Why it waits.
    pub reason: Reason,
}

/// What becomes of a due entry.
#[derive(Debug)]
pub(crate) enum ReleaseDecision {
    /// The delivery is sent now.
    Send(Box<Delivery>),
    /// The delivery waits longer, or for another reason.
    Reschedule {
        /// The later due entry. It may be looked at before `until`.
        entry: Box<ScheduledDelivery>,
        /// Until when it waits, and why.
        wait: Wait,
    },
    /// The delivery ends without sending.
    End(Reason),
}

/// Decides about a retry, a delivery that waited for its provider's quota, or a resend that an admin requested.
///
/// If quiet hours have begun, or the regulatory SMS window has closed, it is held until they allow it, like a new delivery. Two kinds pass
/// quiet hours: a resolve whose recipient was notified of the opening, and an admin's resend. Nothing passes the regulatory SMS window.
pub(crate) fn decide_retry(
    due: &ScheduledDelivery,
    facts: DeliveryFacts<'_>,
    plans: &PlanHistory,
    policy: &Policy,
    now: Timestamp,
) -> ReleaseDecision {
    let was_notified = NotificationHistory::before(due.update, plans).was_notified(&due.destination, due.channel);
    // If the resolve was skipped for this destination, an opening that it never got is not sent either.
    let unwanted = !was_notified && !due.resend_requested;
    if let Some(reason) = facts.incident.filter(|_| unwanted).and_then(|one| skipped_resolve(due, plans, one)) {
        return ReleaseDecision::End(reason);
    }
    let closed_until = || {
        let (incident, update) = (facts.incident?, facts.update?);
        let (settings, destination) = (facts.settings?, facts.destination?);
        let notified_resolve = update.change == Change::Resolved && was_notified;
        let hours = SendingHours {
            incident,
            settings,
            destination,
            channel: due.channel,
            severity: update.severity,
            policy,
            quiet_hours_apply: !notified_resolve && !due.resend_requested,
        };
        let (until, reason) = hours.closed_until(now.max(due.at))?;
        (!incident.test).then_some((until, reason, update.accepted_at))
    };
    match (closed_until(), build_delivery(policy, due, facts, now)) {
        (Some((at, reason, since)), ReleaseDecision::Send(_)) => {
            let held = Some(Hold { since, reason, always_listed: false });
            let entry = Box::new(ScheduledDelivery { at, held, ..due.clone() });
            ReleaseDecision::Reschedule { entry, wait: Wait { until: at, reason } }
        }
        (_, decision) => decision,
    }
}

/// Builds the delivery of a due entry, unless its destination cannot be reached any more. Category settings, filters and pricing plan are
/// not checked again: they were checked when the update was planned, and a retry is the same delivery.
pub(crate) fn build_delivery(
    policy: &Policy,
    due: &ScheduledDelivery,
    facts: DeliveryFacts<'_>,
    now: Timestamp,
) -> ReleaseDecision {
    let (Some(incident), Some(update)) = (facts.incident, facts.update) else {
        // Incident rows expire after the retention time. An entry that is older than that is of no use any more.
        return ReleaseDecision::End(Reason::Expired);
    };
    let (Some(settings), Some(destination)) = (facts.settings, facts.destination) else {
        return ReleaseDecision::End(Reason::NoDestination);
    };
    if let Some(reason) = unreachable_reason(policy, incident, settings, destination, due.channel, now) {
        return ReleaseDecision::End(reason);
    }
    match Delivery::build(settings, incident, update, destination, due.channel, due.role) {
        Some(delivery) => {
            let delivery = delivery.with_suppressed_incidents(facts.suppressed_incidents);
            let why = NotificationReason { held: due.held_before.clone(), ..delivery.why.clone() };
            let ScheduledDelivery { attempt, plain, resend_requested, .. } = *due;
            ReleaseDecision::Send(Box::new(Delivery { attempt, plain, resend_requested, why, ..delivery }))
        }
        None => ReleaseDecision::End(Reason::NoDestination),
    }
}

/// Decides about a held delivery (quiet hours, digest, rate limit, maintenance) by planning it again: settings, filters and hours may have
/// changed while it waited, and a newer update may have superseded it.
pub(crate) fn decide_held(
    due: &ScheduledDelivery,
    hold: Hold,
    facts: DeliveryFacts<'_>,
    input: ReplanInput<'_>,
) -> ReleaseDecision {
    let (Some(incident), Some(update)) = (facts.incident, facts.update) else {
        return ReleaseDecision::End(Reason::Expired);
    };
    let Some(subscriber) = input.subscriber else { return ReleaseDecision::End(Reason::NoDestination) };
    // People and chat channels need only the newest update, whether it was sent or is held as well.
    let is_sent = |decision: &Decision| !matches!(decision.outcome, DecisionOutcome::Skip { .. });
    if due.channel != Channel::Webhook && newer_decisions(due, input.plans).any(is_sent) {
        return ReleaseDecision::End(Reason::SupersededBy);
    }
    // If the resolve was skipped for this destination, its opening is not sent either.
    if let Some(reason) = skipped_resolve(due, input.plans, incident) {
        return ReleaseDecision::End(reason);
    }
    let history = NotificationHistory::before(due.update, input.plans);
    // A reminder of maintenance that has begun is useful only to those who were not yet notified of it, or of its current window.
    let has_begun = incident.maintenance.is_some_and(|schedule| schedule.from <= input.now);
    if update.change == Change::Reminded && has_begun && history.was_fully_notified(&due.destination, due.channel) {
        return ReleaseDecision::End(Reason::Expired);
    }
    let destinations: Vec<Destination> =
        subscriber.destinations.iter().map(|(_, destination)| destination.clone()).collect();
    let decisions = plan_deliveries(&PlanInput {
        incident,
        updates: std::slice::from_ref(update),
        earlier: &[],
        settings: &subscriber.settings,
        destinations: &destinations,
        history: &history,
        policy: input.policy,
        // A minute's entries are released at its beginning and delayed by the queue: what counts is the time of delivery.
        now: input.now.max(due.at),
        released_from: Some(hold.reason),
        storm_until: None,
    });
    let decision = decisions.into_iter().find(|decision| is_same_target(decision, due));
    match decision.map(|decision| decision.outcome) {
        None => ReleaseDecision::End(Reason::NoDestination),
        Some(DecisionOutcome::Skip { reason, .. }) => ReleaseDecision::End(reason),
        Some(DecisionOutcome::Hold { until, reason, role }) => {
            let held = Some(Hold { reason, ..hold });
            let at = next_recheck(until, reason, input.now);
            let entry = Box::new(ScheduledDelivery { at, role, held, ..due.clone() });
            ReleaseDecision::Reschedule { entry, wait: Wait { until, reason } }
        }
        // After an outage many minutes were missed: their entries are combined into one message, instead of one message for each minute.
        Some(DecisionOutcome::Deliver { role })
            if is_batched_hold(hold) && !due.rebatched && input.began >= missed_after(due.at) =>
        {
            let until = next_minute(input.began);
            let combined = ScheduledDelivery { at: until, role, held: Some(hold), rebatched: true, ..due.clone() };
            ReleaseDecision::Reschedule { entry: Box::new(combined), wait: Wait { until, reason: hold.reason } }
        }
        Some(DecisionOutcome::Deliver { role }) => {
            let held = HoldPeriod { since: held_since(due, hold, input.plans), until: due.at, reason: hold.reason };
            match build_delivery(input.policy, &ScheduledDelivery { role, ..due.clone() }, facts, input.now) {
                ReleaseDecision::Send(delivery) => {
                    let why = NotificationReason { held: Some(held), ..delivery.why.clone() };
                    ReleaseDecision::Send(Box::new(Delivery { why, ..*delivery }))
                }
                other => other,
            }
        }
    }
}

/// Returns the decisions about newer updates for the destination and channel of a due entry.
fn newer_decisions<'a>(due: &'a ScheduledDelivery, plans: &'a PlanHistory) -> impl Iterator<Item = &'a Decision> {
    let decisions = plans.decisions().map(|(_, decision)| decision);
    decisions.filter(|decision| is_same_target(decision, due) && decision.update > due.update)
}

/// Returns why the resolve of the incident was skipped for the destination and channel of a due entry; `None` if it was not.
fn skipped_resolve(due: &ScheduledDelivery, plans: &PlanHistory, incident: &Incident) -> Option<Reason> {
    newer_decisions(due, plans).find_map(|decision| skipped_resolve_reason(decision, incident))
}

/// Whether a decision is about the destination and channel of a due entry.
fn is_same_target(decision: &Decision, due: &ScheduledDelivery) -> bool {
    (decision.destination.as_str(), decision.channel) == (due.destination.as_str(), due.channel)
}

/// Whether a held delivery is sent together with others: in a digest, or in a bundle of storm protection.
pub(crate) fn is_batched_hold(hold: Hold) -> bool {
    matches!(hold.reason, Reason::Digest | Reason::Throttled)
}

/// Returns from when on the time `at` counts as missed: two minutes later, because a schedule that runs late or twice is not an outage.
fn missed_after(at: Timestamp) -> Timestamp {
    at.saturating_add(SignedDuration::from_mins(2)).unwrap_or(at)
}

/// Returns the start of the next minute.
fn next_minute(now: Timestamp) -> Timestamp {
    Timestamp::from_second((now.as_second().div_euclid(60) + 1) * 60).unwrap_or(now)
}

/// Returns until when and why a delivery waits by what is stored: by its row, or by its plan as long as it has no row.
pub(crate) fn stored_wait(due: &ScheduledDelivery, plans: &PlanHistory) -> Option<Wait> {
    match plans.rows.get(&(due.destination.clone(), due.channel)).filter(|row| row.latest >= due.update) {
        Some(row) => {
            let until = row.next_at_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok())?;
            Some(Wait { until, reason: row.reason.filter(|_| row.state == DeliveryState::Retrying)? })
        }
        None => match plans.decision(&due.destination, due.channel, due.update)?.outcome {
            DecisionOutcome::Hold { until, reason, .. } => Some(Wait { until, reason }),
            DecisionOutcome::Deliver { .. } | DecisionOutcome::Skip { .. } => None,
        },
    }
}

/// Returns why the resolve of an incident was skipped, if `decision` is the decision about that resolve and skips it.
fn skipped_resolve_reason(decision: &Decision, incident: &Incident) -> Option<Reason> {
    let is_resolve = incident.resolved_at.is_some() && decision.update == incident.updates;
    match &decision.outcome {
        DecisionOutcome::Skip { reason, .. } if is_resolve => Some(*reason),
        _ => None,
    }
}

/// Returns since when notifications of the incident to this destination have been held: the time of the first of
/// the unbroken series of held updates.
fn held_since(due: &ScheduledDelivery, hold: Hold, plans: &PlanHistory) -> Timestamp {
    let mut since = hold.since;
    let mut earlier: Vec<_> = plans.plans.iter().filter(|plan| plan.update < due.update).collect();
    earlier.sort_by_key(|plan| std::cmp::Reverse(plan.update));
    for plan in earlier {
        match plan.decisions.iter().find(|decision| is_same_target(decision, due)).map(|decision| &decision.outcome) {
            Some(DecisionOutcome::Hold { .. }) => since = since.min(plan.at),
            Some(DecisionOutcome::Deliver { .. }) => break,
            _ => {}
        }
    }
    since
}

/// Returns the queue delay of a due entry, in seconds, rounded up so that nothing is sent early: entries are due to the minute's exact
/// time, but released at its beginning.
pub(crate) fn delay_seconds(due: &ScheduledDelivery, now: Timestamp) -> u16 {
    let milliseconds = (due.at.as_millisecond() - now.as_millisecond()).max(0);
    u16::try_from((milliseconds + 999) / 1_000).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
