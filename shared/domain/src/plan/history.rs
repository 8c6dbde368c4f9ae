//! Which destinations an incident's earlier updates reached, or are still held for: read from plans and delivery rows.
//!
//! A plan counts until a row departs from it. Where a plan says *deliver*, the message is on its queue and its destination counts as
//! notified; where it says *hold*, the message waits as planned. Whoever first departs from that (the release, a rate limit, a failure)
//! writes the row, and then the row counts. No clock is asked.

use super::{Decision, DecisionOutcome, PlanHistory};
use crate::delivery::{DeliveryRow, DeliveryState};
use crate::reason::Reason;
use crate::vocabulary::Channel;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The id of a destination and one of its channels.
pub type Thread = (String, Channel);

/// The newest update that a plan meant for one channel of a destination, held ones included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSent {
    /// Number of the update within its incident, from 1.
    pub update: u32,
    /// Until when and why its plan holds it; `None` if the plan put it on its queue, or put a newer update of the same plan in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<PlannedHold>,
    /// The newest update up to this one that a plan put on its queue at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<u32>,
    /// The first update that it got, or that is on its queue: it begins the thread of e-mails whose subject stays the same. `None` if it got
    /// none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u32>,
}

/// Until when and why a plan holds an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedHold {
    /// When it is due.
    pub until: Timestamp,
    /// Why it is held.
    pub reason: Reason,
}

/// What is known of one channel of a destination.
#[derive(Clone, Debug)]
struct ThreadState {
    last_sent: LastSent,
    /// Whether an earlier update counts: one was accepted or may have been, is on its queue, or waits.
    planned: bool,
    /// Whether a message was accepted, or is on its way.
    notified: bool,
    /// Whether a message may have arrived: it was accepted, is on its way, or was tried.
    reached: bool,
    /// Until when the latest message waits, and why; a failed attempt waits for no reason but its pause.
    waiting: Option<(Timestamp, Option<Reason>)>,
}

/// What earlier updates of one incident sent to the destinations of one tenant.
#[derive(Clone, Debug, Default)]
pub struct NotificationHistory {
    threads: BTreeMap<Thread, ThreadState>,
    /// Ids of the recipients that asked for no more messages about this incident.
    stopped: BTreeSet<String>,
}

impl LastSent {
    /// The newest update after a decision: the decision's own, if it is meant for its destination.
    pub(super) fn after(decision: &Decision, before: Option<&Self>) -> Option<Self> {
        let queued = before.and_then(|before| before.queued);
        let first = before.and_then(|before| before.first);
        let update = decision.update;
        match decision.outcome {
            DecisionOutcome::Deliver { .. } => {
                Some(Self { update, held: None, queued: Some(update), first: first.or(Some(update)) })
            }
            DecisionOutcome::Hold { until, reason, .. } => {
                Some(Self { update, held: Some(PlannedHold { until, reason }), queued, first })
            }
            // The destination of a superseded update gets the newer one.
            DecisionOutcome::Skip { reason: Reason::SupersededBy, .. } => {
                Some(Self { update, held: None, queued, first })
            }
            DecisionOutcome::Skip { .. } => before.cloned(),
        }
    }
}

impl ThreadState {
    /// What a row says of the newest update that a plan meant for its destination; `None` if there is no row. Webhooks have one row per
    /// update and get every update, so their plans alone count.
    fn read(last_sent: LastSent, row: Option<&DeliveryRow>) -> Self {
        let update = last_sent.update;
        let on_its_queue = last_sent.queued.is_some_and(|queued| row.is_none_or(|row| row.latest < queued));
        let on_its_way = |row: &DeliveryRow| {
            row.latest <= update && matches!(row.state, DeliveryState::Queued | DeliveryState::Sending)
        };
        let notified = on_its_queue || row.is_some_and(|row| row.notified > 0 || on_its_way(row));
        let own = row.filter(|row| row.latest == update);
        // It ended before any attempt, and no newer update takes its place.
        let dropped = own.is_some_and(|row| {
            row.state == DeliveryState::Failed && row.attempts == 0 && row.reason != Some(Reason::SupersededBy)
        });
        let waiting = match (own, row) {
            (Some(own), _) => {
                let next = own.next_at_ms.filter(|_| own.state == DeliveryState::Retrying);
                next.and_then(|ms| Timestamp::from_millisecond(ms).ok()).map(|at| (at, own.reason))
            }
            (None, Some(row)) if row.latest > update => None,
            (None, _) => last_sent.held.map(|hold| (hold.until, Some(hold.reason))),
        };
        let reached = notified || row.is_some_and(|row| row.tried > 0);
        // What was held and then sent began the thread, though its plan says only that it is held.
        let first = last_sent.first.or(notified.then_some(update));
        let last_sent = LastSent { first, ..last_sent };
        Self { last_sent, planned: reached || !dropped, notified, reached, waiting }
    }
}

impl NotificationHistory {
    /// Reads what the updates before `update` mean.
    #[must_use]
    pub fn before(update: u32, known: &PlanHistory) -> Self {
        let mut newest: BTreeMap<Thread, LastSent> = BTreeMap::new();
        for plan in known.plans.iter().filter(|plan| plan.update < update) {
            let carried = plan.carried.iter().map(|one| (one.thread(), Some(one.last_sent.clone())));
            let decided = plan.decisions.iter();
            let decided = decided.map(|one| (one.thread(), LastSent::after(one, one.last_sent.as_ref())));
            for (thread, last_sent) in carried.chain(decided).filter_map(|(thread, last)| Some((thread, last?))) {
                let stored = newest.entry(thread).or_insert_with(|| last_sent.clone());
                if stored.update < last_sent.update {
                    *stored = last_sent;
                }
            }
        }
        let read = |(thread, last_sent): (Thread, LastSent)| {
            let state = ThreadState::read(last_sent, known.rows.get(&thread));
            (thread, state)
        };
        Self { threads: newest.into_iter().map(read).collect(), stopped: known.stopped.clone() }
    }

    /// Adds a decision of a plan.
    pub(super) fn record(&mut self, decision: &Decision) {
        let before = self.threads.get(&decision.thread());
        let was_notified = before.is_some_and(|before| before.notified);
        let Some(last_sent) = LastSent::after(decision, before.map(|before| &before.last_sent)) else { return };
        if last_sent.update != decision.update {
            return;
        }
        let waiting = last_sent.held.map(|hold| (hold.until, Some(hold.reason)));
        let notified = was_notified || last_sent.queued == Some(decision.update);
        let reached = notified || before.is_some_and(|before| before.reached);
        self.threads.insert(decision.thread(), ThreadState { last_sent, planned: true, notified, reached, waiting });
    }

    fn thread(&self, destination: &str, channel: Channel) -> Option<&ThreadState> {
        self.threads.get(&(destination.to_owned(), channel))
    }

    /// Returns the newest update that a plan meant for each channel of a destination.
    pub(super) fn last_sent(&self) -> impl Iterator<Item = (&Thread, &LastSent)> {
        self.threads.iter().map(|(thread, state)| (thread, &state.last_sent))
    }

    /// Returns the update with which the messages to this channel begin; `None` if it got none yet.
    #[must_use]
    pub fn first_sent(&self, destination: &str, channel: Channel) -> Option<u32> {
        self.thread(destination, channel).and_then(|state| state.last_sent.first)
    }

    /// Returns whether a message was sent to this channel or is still held for it.
    pub(super) fn was_planned(&self, destination: &str, channel: Channel) -> bool {
        self.thread(destination, channel).is_some_and(|state| state.planned)
    }

    /// Returns whether this channel got a message, or one is on its way. The resolve is then sent at any hour.
    #[must_use]
    pub fn was_notified(&self, destination: &str, channel: Channel) -> bool {
        self.thread(destination, channel).is_some_and(|state| state.planned && state.notified)
    }

    /// Returns whether this channel got a message, one is on its way, or a failed one may have arrived. The resolve is then sent whatever the
    /// settings say by now.
    pub(super) fn was_reached(&self, destination: &str, channel: Channel) -> bool {
        self.thread(destination, channel).is_some_and(|state| state.planned && state.reached)
    }

    /// Returns whether this channel got its latest message, or that is on its way.
    #[must_use]
    pub fn was_fully_notified(&self, destination: &str, channel: Channel) -> bool {
        let is_waiting = self.thread(destination, channel).is_some_and(|state| state.waiting.is_some());
        self.was_notified(destination, channel) && !is_waiting
    }

    /// Returns until when a channel that got no message waits in a bundle of storm protection; `None` if it does not.
    pub(super) fn bundled_until(&self, destination: &str, channel: Channel) -> Option<Timestamp> {
        let state = self.thread(destination, channel).filter(|state| !state.notified)?;
        match state.waiting {
            Some((until, Some(Reason::Throttled))) => Some(until),
            _ => None,
        }
    }

    /// Returns whether the latest message to this channel was planned as part of a bundle.
    pub(super) fn was_bundled(&self, destination: &str, channel: Channel) -> bool {
        let planned_hold = self.thread(destination, channel).and_then(|state| state.last_sent.held);
        planned_hold.is_some_and(|hold| hold.reason == Reason::Throttled)
    }

    /// Returns whether the recipient asked for no more messages about this incident.
    pub(super) fn has_stopped(&self, destination: &str) -> bool {
        self.stopped.contains(destination)
    }
}
