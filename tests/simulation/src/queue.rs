//! The queues: they deliver at least once and hide a received message until its visibility timeout. Standard queues keep no order; FIFO
//! queues deliver a group's messages one after the other and drop what they had within five minutes.

use crate::world::ReportFacts;
use contracts::queue::{ConfirmationRequest, IncidentReceived, Lane, RoutingJob};
use domain::vocabulary::Channel;
use pipeline::deliver::Message;
use std::collections::{BTreeMap, BTreeSet};

/// After so many receives a message goes to the dead-letter queue: the template's `maxReceiveCount`.
pub const RECEIVES_MAX: u32 = 20;
/// For so long a FIFO queue knows what it had, in milliseconds.
const DEDUPLICATED_MS: i64 = 5 * 60_000;

/// What a message says.
#[derive(Clone, Debug)]
pub enum Body {
    /// For `classify`: what intake accepted.
    Received(Box<IncidentReceived>),
    /// For `subscription-lookup`: an update to plan.
    Routing(Box<RoutingJob>),
    /// For a sender: what is due now.
    Delivery {
        /// One alert, or a list.
        message: Message,
        /// The version of the settings that the delivery was decided with.
        version: u64,
    },
    /// For a sender: a question to the owner of a contact.
    Confirmation {
        /// The question.
        request: Box<ConfirmationRequest>,
        /// The channel of the contact.
        channel: Channel,
    },
    /// For `feedback`: what a provider or a sender reports.
    Report {
        /// The body of the message.
        text: String,
        /// What a provider reports; `None` for a sender.
        facts: Option<ReportFacts>,
    },
}

/// A message on a queue.
#[derive(Clone, Debug)]
pub struct Queued {
    /// What the message says.
    pub body: Body,
    /// The lane that it is on.
    pub lane: Lane,
    /// When it can be received, in milliseconds.
    pub visible_at: i64,
    /// How often it was received.
    pub receives: u32,
    /// Its message group, on a FIFO queue.
    group: Option<String>,
}

/// All queues, and their dead letters.
#[derive(Clone, Debug, Default)]
pub struct SimulatedQueues {
    /// The messages by number.
    pub messages: BTreeMap<u64, Queued>,
    /// Messages that cannot be handled, each with the reason.
    pub dead: Vec<(Body, String)>,
    groups: BTreeMap<String, BTreeSet<u64>>,
    had: BTreeMap<String, i64>,
    sent: u64,
}

impl SimulatedQueues {
    /// Puts a message on a standard queue; it can be received at `visible_at`. Returns its number.
    pub fn send(&mut self, body: Body, lane: Lane, visible_at: i64) -> u64 {
        self.sent += 1;
        self.messages.insert(self.sent, Queued { body, lane, visible_at, receives: 0, group: None });
        self.sent
    }

    /// Puts a message on a FIFO queue at `now`. Returns its number; `None` if the queue had it already.
    pub fn send_in_order(&mut self, body: Body, group: String, dedup: String, now: i64) -> Option<u64> {
        if self.had.get(&dedup).is_some_and(|at| now - at < DEDUPLICATED_MS) {
            return None;
        }
        self.had.insert(dedup, now);
        self.sent += 1;
        self.groups.entry(group.clone()).or_default().insert(self.sent);
        let queued = Queued { body, lane: Lane::Urgent, visible_at: now, receives: 0, group: Some(group) };
        self.messages.insert(self.sent, queued);
        Some(self.sent)
    }

    /// Whether a message can be received at `now`: it is there, visible, and the first of its group.
    #[must_use]
    pub fn is_next(&self, number: u64, now: i64) -> bool {
        self.messages.get(&number).is_some_and(|queued| {
            let group = queued.group.as_ref().and_then(|group| self.groups.get(group));
            queued.visible_at <= now && group.is_none_or(|group| group.first() == Some(&number))
        })
    }

    /// Deletes a message. Returns it, and the number of the next one of its group.
    pub fn delete(&mut self, number: u64) -> Option<(Queued, Option<u64>)> {
        let queued = self.messages.remove(&number)?;
        let group = queued.group.as_ref().and_then(|group| self.groups.get_mut(group));
        let next = group.and_then(|group| {
            group.remove(&number);
            group.first().copied()
        });
        Some((queued, next))
    }
}
