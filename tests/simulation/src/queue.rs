//! The delivery queue: it delivers at least once, in any order, and hides a received message until its visibility timeout.

use contracts::queue::Lane;
use pipeline::deliver::Message;
use std::collections::BTreeMap;

/// After so many receives a message goes to the dead-letter queue: the template's `maxReceiveCount`.
pub const RECEIVES_MAX: u32 = 20;

/// A message on the queue.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The message.
    pub message: Message,
    /// Its lane.
    pub lane: Lane,
    /// When it can be received, in milliseconds.
    pub visible_at: i64,
    /// How often it was received.
    pub receives: u32,
}

/// The queue, and its dead letters.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    /// The messages by number.
    pub messages: BTreeMap<u64, Queued>,
    /// Messages that cannot be handled, each with the reason.
    pub dead: Vec<(Message, String)>,
    sent: u64,
}

impl Queue {
    /// Puts a message on the queue; it can be received at `visible_at`. Returns its number.
    pub fn send(&mut self, message: Message, lane: Lane, visible_at: i64) -> u64 {
        self.sent += 1;
        self.messages.insert(self.sent, Queued { message, lane, visible_at, receives: 0 });
        self.sent
    }

    /// Moves a message to the dead-letter queue.
    pub fn park(&mut self, number: u64, reason: &str) {
        if let Some(parked) = self.messages.remove(&number) {
            self.dead.push((parked.message, reason.to_owned()));
        }
    }
}
