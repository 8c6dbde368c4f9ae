//! Which destinations an incident's earlier updates were sent to, or are still held for.

use super::{Decision, DecisionOutcome};
use crate::reason::Reason;
use crate::vocabulary::Channel;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};

/// The id of a destination and one of its channels.
type DestinationChannel = (String, Channel);

/// What earlier updates of one incident sent to the destinations of one tenant.
#[derive(Clone, Debug, Default)]
pub struct NotificationHistory {
    /// Destinations with a message that was sent or is still held.
    planned: BTreeSet<DestinationChannel>,
    /// Until when and why the latest message of a destination is held.
    held: HashMap<DestinationChannel, (Timestamp, Reason)>,
    /// Destinations that got at least one message.
    received: BTreeSet<DestinationChannel>,
    /// Destinations whose latest message was planned as part of a bundle.
    bundled: BTreeSet<DestinationChannel>,
    /// The newest planned update; 0 if there is none.
    last_update: u32,
    /// Ids of the recipients that asked for no more messages about this incident.
    stopped: BTreeSet<String>,
}

impl NotificationHistory {
    /// Reads the state at `now` from earlier decisions, each with the time of its plan.
    ///
    /// `revised` holds what became of some of them later: another time, an earlier delivery, or a skip. A held message counts as sent at
    /// the start of its minute, when it is released, unless a newer update was planned before that and replaced it.
    #[must_use]
    pub fn from_plans<'a>(
        decisions: impl IntoIterator<Item = (Timestamp, &'a Decision)>,
        revised: &[Decision],
        now: Timestamp,
    ) -> Self {
        let mut decisions: Vec<_> = decisions.into_iter().collect();
        decisions.sort_by_key(|(_, decision)| decision.update);
        let revised: HashMap<(&str, Channel, u32), &DecisionOutcome> = revised
            .iter()
            .map(|revision| ((revision.destination.as_str(), revision.channel, revision.update), &revision.outcome))
            .collect();
        let mut history = Self::default();
        let mut send_times: HashMap<DestinationChannel, Timestamp> = HashMap::new();
        for (planned_at, decision) in decisions {
            history.record(decision);
            if matches!(decision.outcome, DecisionOutcome::Skip { .. }) {
                continue;
            }
            let target = (decision.destination.clone(), decision.channel);
            if send_times.get(&target).is_some_and(|previous| *previous <= planned_at) {
                history.received.insert(target.clone());
            }
            let key = (decision.destination.as_str(), decision.channel, decision.update);
            match revised.get(&key).copied().unwrap_or(&decision.outcome) {
                DecisionOutcome::Hold { until, reason, .. } => {
                    history.held.insert(target.clone(), (*until, *reason));
                    send_times.insert(target, start_of_minute(*until));
                }
                DecisionOutcome::Deliver { .. } => {
                    history.held.remove(&target);
                    send_times.insert(target, planned_at);
                }
                DecisionOutcome::Skip { .. } => {
                    // The skipped update had replaced the pending one, so nothing is pending. Updates of a webhook replace nothing.
                    if decision.channel != Channel::Webhook || !send_times.contains_key(&target) {
                        send_times.remove(&target);
                        history.remove_pending(&target);
                    }
                }
            }
        }
        let sent = send_times.into_iter().filter(|(_, send_time)| *send_time <= now);
        history.received.extend(sent.map(|(target, _)| target));
        history
    }

    /// Marks the recipients that asked for no more messages about this incident.
    #[must_use]
    pub fn with_stopped(self, stopped: &BTreeSet<String>) -> Self {
        Self { stopped: stopped.clone(), ..self }
    }

    /// Adds a decision of a plan.
    pub(super) fn record(&mut self, decision: &Decision) {
        self.last_update = self.last_update.max(decision.update);
        let target = (decision.destination.clone(), decision.channel);
        match &decision.outcome {
            DecisionOutcome::Hold { until, reason, .. } => {
                self.held.insert(target.clone(), (*until, *reason));
                if *reason == Reason::Throttled {
                    self.bundled.insert(target.clone());
                } else {
                    self.bundled.remove(&target);
                }
            }
            DecisionOutcome::Deliver { .. } => {
                self.held.remove(&target);
                self.bundled.remove(&target);
            }
            // The destination of a superseded update gets the newer one.
            DecisionOutcome::Skip { reason: Reason::SupersededBy, .. } => {}
            DecisionOutcome::Skip { .. } => return,
        }
        self.planned.insert(target);
    }

    /// Removes the pending message of a destination; the destination stays planned only if it got a message before.
    fn remove_pending(&mut self, target: &DestinationChannel) {
        self.held.remove(target);
        self.bundled.remove(target);
        if !self.received.contains(target) {
            self.planned.remove(target);
        }
    }

    /// Returns the newest update that was planned for any destination of the tenant; 0 if there is none.
    #[must_use]
    pub fn last_planned_update(&self) -> u32 {
        self.last_update
    }

    /// Returns whether a message was sent to this channel or is still held for it.
    pub(super) fn was_planned(&self, destination: &str, channel: Channel) -> bool {
        self.planned.contains(&(destination.to_owned(), channel))
    }

    /// Returns whether this channel got a message. The resolve is then sent at any hour.
    #[must_use]
    pub fn was_notified(&self, destination: &str, channel: Channel) -> bool {
        self.was_planned(destination, channel) && self.pending(destination, channel).is_none()
    }

    /// Returns whether this channel got every message that was planned for it by `at`.
    #[must_use]
    pub fn was_fully_notified(&self, destination: &str, channel: Channel, at: Timestamp) -> bool {
        let hold = self.held.get(&(destination.to_owned(), channel));
        let still_held = hold.is_some_and(|(until, _)| start_of_minute(*until) > at);
        self.was_notified(destination, channel) && !still_held
    }

    /// Returns until when and why this channel waits for its first message; `None` if it got one.
    pub(super) fn pending(&self, destination: &str, channel: Channel) -> Option<(Timestamp, Reason)> {
        let target = (destination.to_owned(), channel);
        if self.received.contains(&target) { None } else { self.held.get(&target).copied() }
    }

    /// Returns whether the latest message to this channel was planned as part of a bundle.
    pub(super) fn was_bundled(&self, destination: &str, channel: Channel) -> bool {
        self.bundled.contains(&(destination.to_owned(), channel))
    }

    /// Returns whether the recipient asked for no more messages about this incident.
    pub(super) fn has_stopped(&self, destination: &str) -> bool {
        self.stopped.contains(destination)
    }
}

fn start_of_minute(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second().div_euclid(60) * 60).unwrap_or(at)
}
