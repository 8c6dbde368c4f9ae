//! The delivery plan: which destinations are notified of an update, on which channel and when, and why the others are not.
//!
//! One pure function decides. Routing, explain and every dry run call it, so that they cannot disagree.

mod eligibility;
mod history;
mod stored;
mod timing;

pub use eligibility::unreachable_reason;
pub use history::{LastSent, NotificationHistory, PlannedHold, Thread};
pub use stored::{CarriedThread, PlanHistory, PlannedShards, RoutingPlace, StoredPlan};
pub use timing::{SendingHours, next_digest_at, quiet_hours_until};

use crate::incident::{Change, Incident, Update};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::tenant::{Destination, Settings};
use crate::vocabulary::{Channel, Role};
use eligibility::{enters_footprint, excluded_by_filters, excluded_by_settings, is_in_footprint, permitted_role};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use timing::schedule;

/// What happens on one channel of one destination for one update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Number of the update within its incident, from 1.
    pub update: u32,
    /// Id of the recipient (`rcp_…`) or the integration (`int_…`).
    pub destination: String,
    /// The channel of that destination.
    pub channel: Channel,
    /// Whether the update is delivered, held or skipped.
    #[serde(flatten)]
    pub outcome: DecisionOutcome,
    /// The newest earlier update that a plan meant for this destination and channel; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sent: Option<LastSent>,
}

impl Decision {
    /// Returns the destination and the channel.
    #[must_use]
    pub fn thread(&self) -> Thread {
        (self.destination.clone(), self.channel)
    }
}

/// Deliver now, hold until a time, or skip with a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum DecisionOutcome {
    /// The update is delivered at once.
    Deliver {
        /// The role to which the role matrix grants it; `None` where only an opt-in counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
    },
    /// The update is held and delivered later.
    Hold {
        /// When it is due.
        until: Timestamp,
        /// Why it is held.
        reason: Reason,
        /// The role to which the role matrix grants it; `None` where only an opt-in counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
    },
    /// The update is not delivered.
    Skip {
        /// Why it is skipped.
        reason: Reason,
        /// The other destination, update or incident that the reason refers to; for `not_in_footprint` what the tenant uses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
}

/// Everything a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// The incident that the updates belong to.
    pub incident: &'a Incident,
    /// Every update that this tenant has no plan for yet, ascending.
    pub updates: &'a [Update],
    /// The updates that it has plans for, ascending, as far as they are kept.
    pub earlier: &'a [Update],
    /// The tenant's settings.
    pub settings: &'a Settings,
    /// All destinations of the tenant, in the order of their chunks.
    pub destinations: &'a [Destination],
    /// Which destinations earlier plans notified.
    pub history: &'a NotificationHistory,
    /// The deployer's policy.
    pub policy: &'a Policy,
    /// The time of the plan.
    pub now: Timestamp,
    /// Why the update was held until now; it is not batched for that reason again. `None` for a new update.
    pub released_from: Option<Reason>,
    /// Until when storm protection bundles this tenant's incidents; `None` without a storm.
    pub storm_until: Option<Timestamp>,
}

/// Plans an update of an incident that nobody was notified of yet. Dry runs and the settings lint use it.
#[must_use]
pub fn plan_without_history(
    incident: &Incident,
    update: &Update,
    settings: &Settings,
    destinations: &[Destination],
    policy: &Policy,
    now: Timestamp,
) -> Vec<Decision> {
    plan_deliveries(&PlanInput {
        incident,
        updates: std::slice::from_ref(update),
        earlier: &[],
        settings,
        destinations,
        history: &NotificationHistory::default(),
        policy,
        now,
        released_from: None,
        storm_until: None,
    })
}

/// Returns one decision for every update, destination and channel, in that order.
///
/// A test alert for selected destinations has decisions for those only.
#[must_use]
pub fn plan_deliveries(input: &PlanInput<'_>) -> Vec<Decision> {
    let within_limit = destinations_within_plan_limit(input);
    let mut history = input.history.clone();
    let mut last_sent: BTreeMap<Thread, LastSent> =
        history.last_sent().map(|(thread, last_sent)| (thread.clone(), last_sent.clone())).collect();
    let mut decisions = Vec::new();
    for update in input.updates {
        let round = plan_update(input, update, &history, &within_limit);
        round.iter().for_each(|decision| history.record(decision));
        decisions.extend(round);
    }
    supersede_older_updates(&mut decisions);
    for decision in &mut decisions {
        decision.last_sent = last_sent.get(&decision.thread()).cloned();
        let after = LastSent::after(decision, decision.last_sent.as_ref());
        last_sent.extend(after.map(|after| (decision.thread(), after)));
    }
    decisions
}

/// Returns what a plan carries on for the next one: the newest updates of destinations and channels that it decides nothing about, because
/// they are gone for now.
#[must_use]
pub fn carried_threads(history: &NotificationHistory, decisions: &[Decision]) -> Vec<CarriedThread> {
    let decided: BTreeSet<Thread> = decisions.iter().map(Decision::thread).collect();
    let others = history.last_sent().filter(|(thread, _)| !decided.contains(thread));
    others
        .map(|((destination, channel), last_sent)| CarriedThread {
            destination: destination.clone(),
            channel: *channel,
            last_sent: last_sent.clone(),
        })
        .collect()
}

/// Returns the decisions on one update.
fn plan_update(
    input: &PlanInput<'_>,
    update: &Update,
    history: &NotificationHistory,
    within_limit: &BTreeSet<&str>,
) -> Vec<Decision> {
    let mut round: Vec<(usize, Decision)> = Vec::new();
    let mut id_by_address: HashMap<(Channel, String), String> = HashMap::new();
    // Where two destinations share an address, the one that was notified before comes first, so that the resolve follows the opening.
    for planned_before in [true, false] {
        for (place, destination) in input.destinations.iter().enumerate() {
            for &channel in destination.channels() {
                let id = destination.id();
                if !is_addressed(input.incident, destination, channel)
                    || history.was_planned(id, channel) != planned_before
                {
                    continue;
                }
                let case = Case {
                    update,
                    destination,
                    channel,
                    planned_before,
                    notified: history.was_notified(id, channel),
                    reached: history.was_reached(id, channel),
                    over_plan_limit: !within_limit.contains(id),
                };
                let outcome = decide(input, &case);
                let outcome = skip_shared_address(outcome, destination, channel, &mut id_by_address);
                let (update, destination) = (update.number, id.to_owned());
                round.push((place, Decision { update, destination, channel, outcome, last_sent: None }));
            }
        }
    }
    round.sort_by(|(left, a), (right, b)| left.cmp(right).then(a.channel.cmp(&b.channel)));
    round.into_iter().map(|(_, decision)| decision).collect()
}

/// Returns whether the incident is meant for this destination and channel; `false` only for test alerts for others.
fn is_addressed(incident: &Incident, destination: &Destination, channel: Channel) -> bool {
    incident.test_of.as_ref().is_none_or(|test| test.includes(destination.id(), channel))
}

/// Skips a destination whose address, number or URL another destination already uses for this update.
fn skip_shared_address(
    outcome: DecisionOutcome,
    destination: &Destination,
    channel: Channel,
    id_by_address: &mut HashMap<(Channel, String), String>,
) -> DecisionOutcome {
    if matches!(outcome, DecisionOutcome::Skip { .. }) {
        return outcome;
    }
    let Some(identity) = destination.identity(channel) else { return outcome };
    if let Some(other) = id_by_address.get(&(channel, identity.clone())) {
        return DecisionOutcome::Skip { reason: Reason::SameDestinationAs, by: Some(other.clone()) };
    }
    id_by_address.insert((channel, identity), destination.id().to_owned());
    outcome
}

/// Skips an undelivered update when the same plan sends the destination a newer one. Webhooks get every update.
fn supersede_older_updates(decisions: &mut [Decision]) {
    let mut newest: HashMap<(String, Channel), u32> = HashMap::new();
    for decision in decisions.iter().filter(|decision| !matches!(decision.outcome, DecisionOutcome::Skip { .. })) {
        let entry = newest.entry((decision.destination.clone(), decision.channel)).or_default();
        *entry = (*entry).max(decision.update);
    }
    for decision in decisions.iter_mut().filter(|decision| decision.channel != Channel::Webhook) {
        let key = (decision.destination.clone(), decision.channel);
        if let (Some(&by), false) = (newest.get(&key), matches!(decision.outcome, DecisionOutcome::Skip { .. }))
            && by > decision.update
        {
            decision.outcome = DecisionOutcome::Skip { reason: Reason::SupersededBy, by: Some(by.to_string()) };
        }
    }
}

/// Returns the ids of the destinations that the tenant's plan includes: the first ones, in the order of their chunks.
fn destinations_within_plan_limit<'a>(input: &PlanInput<'a>) -> BTreeSet<&'a str> {
    let Some(plan) = input.policy.plans.get(&input.settings.plan) else { return BTreeSet::new() };
    let (mut recipients, mut integrations) = (plan.recipients, plan.integrations);
    input
        .destinations
        .iter()
        .filter(|destination| {
            let left = match destination {
                Destination::Recipient(_) => &mut recipients,
                Destination::Integration(_) => &mut integrations,
            };
            let inside = *left > 0;
            *left = left.saturating_sub(1);
            inside
        })
        .map(Destination::id)
        .collect()
}

/// One update for one channel of one destination.
struct Case<'a> {
    update: &'a Update,
    destination: &'a Destination,
    channel: Channel,
    /// Whether an earlier update was delivered to this channel, or is still held for it.
    planned_before: bool,
    /// Whether an earlier update was delivered to this channel, or is on its way.
    notified: bool,
    /// Whether an earlier update may have reached this channel, a failed attempt included.
    reached: bool,
    /// Whether the tenant has more destinations than its plan includes and this one is beyond the limit.
    over_plan_limit: bool,
}

impl Case<'_> {
    /// Returns whether this is the resolve of an incident whose opening was delivered here. Such a resolve passes quiet hours.
    fn resolves_delivered(&self) -> bool {
        self.notified && self.update.change == Change::Resolved
    }
}

fn decide(input: &PlanInput<'_>, case: &Case<'_>) -> DecisionOutcome {
    let skip = |reason| DecisionOutcome::Skip { reason, by: None };
    if input.history.has_stopped(case.destination.id()) {
        // The recipient asked for no more messages about this incident, so not even the resolve is sent.
        return skip(Reason::IncidentStopped);
    }
    // Whoever came in between begins with what is current.
    let is_current = input.updates.last().is_none_or(|last| last.number == case.update.number);
    if !is_current && case.update.accepted_at < case.destination.created_at() {
        return skip(Reason::AddedLater);
    }
    let resolves = case.update.change == Change::Resolved;
    if resolves && case.planned_before {
        return decide_resolve(input, case);
    }
    // Whoever was notified stays notified, also once the incident has left the footprint.
    if !case.planned_before && !is_in_footprint(input, case.update) {
        let used = input.settings.footprint.describe(&input.policy.catalogue, &case.update.regions);
        return DecisionOutcome::Skip { reason: Reason::NotInFootprint, by: Some(used) };
    }
    if let Some(reason) = excluded_by_settings(input, case) {
        return skip(reason);
    }
    let role = match permitted_role(input, case) {
        Ok(role) => role,
        Err(reason) => return skip(reason),
    };
    if let Some(reason) = unreachable(input, case) {
        return skip(reason);
    }
    if let Some(reason) = excluded_by_filters(input, case) {
        return skip(reason);
    }
    if resolves {
        return skip(Reason::OpenNotTold);
    }
    let is_news =
        matches!(case.update.change, Change::Opened | Change::SeverityRaised) || enters_footprint(input, case.update);
    // What was held was news when it was planned, and the updates before it are not read again.
    if case.channel == Channel::Sms && !is_news && input.released_from.is_none() {
        return skip(Reason::SmsNotForThisChange);
    }
    schedule(input, case, role)
}

fn unreachable(input: &PlanInput<'_>, case: &Case<'_>) -> Option<Reason> {
    unreachable_reason(input.policy, input.incident, input.settings, case.destination, case.channel, input.now)
}

/// Decides on the resolve for a destination that the opening was planned for.
///
/// Every destination that got the opening also gets the resolve, whatever categories, filters, roles and plan say by now. Only an
/// unreachable destination or its owner's opt-out prevents it.
fn decide_resolve(input: &PlanInput<'_>, case: &Case<'_>) -> DecisionOutcome {
    let skip = |reason| DecisionOutcome::Skip { reason, by: None };
    if let Some(reason) = unreachable(input, case) {
        return skip(reason);
    }
    // While the opening waits, opening and resolve become one message. If it was switched off meanwhile, neither is sent.
    if !case.reached
        && let Some(reason) = excluded_by_settings(input, case)
    {
        return skip(reason);
    }
    let role = permitted_role(input, case).ok().flatten().or(case.destination.roles().first().copied());
    schedule(input, case, role)
}
