//! Queues as AWS documents them, and the event source mappings that read them.
//!
//! - FIFO: while a message of a group is in flight, no other message of the group is received. A receive takes as many messages of one group as
//!   it can before it goes on with the next. (SQS, "FIFO queue delivery logic")
//! - Lambda: a batch of a FIFO queue may have several groups; a mapping runs at most `MaximumConcurrency` batches. A standard queue begins with
//!   five at a time, and 300 a minute are added while messages are waiting. (Lambda, "Configuring scaling behavior for SQS event source mappings")
//! - Fair queues: a group is noisy if more than a tenth of the messages in flight are its own, and at least 30, or if more than a tenth of the
//!   recent time of consumers was its own. Noisy groups are served after the others. (SQS, "How Amazon SQS fair queues work")

use crate::stages::Work;
use crate::template::Mapping;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Batches at a time with which a mapping of a standard queue begins, and how many are added a second.
const POLLERS: usize = 5;
/// The time in which consumers' time counts as recent, in milliseconds. AWS does not say.
const RECENT_MS: i64 = 60_000;

/// A message on a queue.
#[derive(Clone, Debug)]
pub(crate) struct QueuedMessage {
    pub(crate) sent_at: i64,
    pub(crate) group: String,
    pub(crate) work: Work,
    pub(crate) receives: u32,
    /// Whether it is about the alert that is watched.
    pub(crate) watched: bool,
}

/// A queue with its mapping.
pub(crate) struct Queue {
    pub(crate) mapping: Mapping,
    groups: BTreeMap<String, VecDeque<(u64, QueuedMessage)>>,
    in_flight: BTreeMap<String, usize>,
    /// Consumers' time by group: when it ended, and how long it was.
    recent: VecDeque<(i64, String, i64)>,
    recent_by_group: BTreeMap<String, i64>,
    /// The environments that are free, each with the time from which it may send again.
    free: BTreeSet<usize>,
    pub(crate) may_send_at: Vec<i64>,
    pollers: usize,
    arrived: u64,
}

impl Queue {
    pub(crate) fn new(mapping: Mapping) -> Self {
        let pollers = if mapping.is_fifo { mapping.concurrency } else { POLLERS.min(mapping.concurrency) };
        let free = (0..mapping.concurrency).collect();
        let may_send_at = vec![0; mapping.concurrency];
        Self {
            mapping,
            groups: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            recent: VecDeque::new(),
            recent_by_group: BTreeMap::new(),
            free,
            may_send_at,
            pollers,
            arrived: 0,
        }
    }

    pub(crate) fn put(&mut self, message: QueuedMessage) {
        self.arrived += 1;
        self.groups.entry(message.group.clone()).or_default().push_back((self.arrived, message));
    }

    /// A message that returns keeps its place in its group.
    pub(crate) fn put_back(&mut self, message: QueuedMessage) {
        let group = self.groups.entry(message.group.clone()).or_default();
        let first = group.front().map_or(0, |(place, _)| place.saturating_sub(1));
        group.push_front((first, message));
    }

    /// Adds a second's worth of pollers. Returns whether there may be more.
    pub(crate) fn scale(&mut self) -> bool {
        if !self.groups.is_empty() {
            self.pollers = (self.pollers + POLLERS).min(self.mapping.concurrency);
        }
        self.pollers < self.mapping.concurrency
    }

    /// Receives a batch for a free environment; `None` if there is none, or nothing to receive.
    pub(crate) fn receive(&mut self, now: i64) -> Option<(usize, Vec<QueuedMessage>)> {
        let running = self.mapping.concurrency - self.free.len();
        if running >= self.pollers {
            return None;
        }
        let batch = if self.mapping.is_fifo { self.receive_in_order() } else { self.receive_fairly(now) };
        if batch.is_empty() {
            return None;
        }
        for message in &batch {
            *self.in_flight.entry(message.group.clone()).or_default() += 1;
        }
        Some((self.free.pop_first()?, batch))
    }

    fn take(&mut self, group: &str) -> Option<QueuedMessage> {
        let waiting = self.groups.get_mut(group)?;
        let (_, message) = waiting.pop_front()?;
        if waiting.is_empty() {
            self.groups.remove(group);
        }
        Some(message)
    }

    fn receive_in_order(&mut self) -> Vec<QueuedMessage> {
        let free = self.groups.iter().filter(|(group, _)| !self.in_flight.contains_key(*group));
        let mut heads: Vec<(u64, String)> =
            free.filter_map(|(group, waiting)| Some((waiting.front()?.0, group.clone()))).collect();
        heads.sort_unstable();
        let mut batch = Vec::new();
        for (_, group) in heads {
            while batch.len() < self.mapping.batch {
                let Some(message) = self.take(&group) else { break };
                batch.push(message);
            }
        }
        batch
    }

    fn receive_fairly(&mut self, now: i64) -> Vec<QueuedMessage> {
        while let Some((_, group, took)) = self.recent.pop_front_if(|(ended, _, _)| *ended < now - RECENT_MS) {
            *self.recent_by_group.entry(group).or_default() -= took;
        }
        let mut batch = Vec::new();
        while batch.len() < self.mapping.batch {
            let all: usize = self.in_flight.values().sum();
            let time: i64 = self.recent_by_group.values().sum();
            let is_noisy = |group: &str| {
                let own = self.in_flight.get(group).copied().unwrap_or(0);
                let own_time = self.recent_by_group.get(group).copied().unwrap_or(0);
                own >= 30 && own * 10 > all || own_time * 10 > time
            };
            let heads =
                self.groups.iter().filter_map(|(group, waiting)| Some((is_noisy(group), waiting.front()?.0, group)));
            let Some((_, _, group)) = heads.min() else { break };
            let group = group.clone();
            batch.extend(self.take(&group));
        }
        batch
    }

    /// Ends a batch: its environment is free, and its groups are.
    pub(crate) fn end(&mut self, environment: usize, now: i64, batch: &[(String, i64)]) {
        for (group, took) in batch {
            if let Some(own) = self.in_flight.get_mut(group) {
                *own -= 1;
                if *own == 0 {
                    self.in_flight.remove(group);
                }
            }
            if !self.mapping.is_fifo {
                self.recent.push_back((now, group.clone(), *took));
                *self.recent_by_group.entry(group.clone()).or_default() += took;
            }
        }
        self.free.insert(environment);
    }
}
