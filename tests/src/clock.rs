//! The functions' clock, which the stack of the tests lets a test set: days pass in seconds.

use crate::{Stack, in_seconds};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Whoever read the clock a moment ago reads it again after half a second.
const READ_AGAIN: Duration = Duration::from_millis(700);

/// The clock, set. It goes on at its usual pace, and is the machine's again when this ends.
#[derive(Debug)]
pub struct Clock<'a> {
    stack: &'a Stack,
    ahead: SignedDuration,
}

impl<'a> Clock<'a> {
    /// Sets the clock to a moment.
    #[must_use]
    pub fn at(stack: &'a Stack, when: &str) -> Self {
        let mut clock = Self { stack, ahead: SignedDuration::ZERO };
        clock.set(moment(when));
        clock
    }

    /// Now, as the functions have it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        machine() + self.ahead
    }

    /// Sets it to a moment, and has everything handed out that is due by then.
    pub fn to(&mut self, when: &str) {
        self.set(moment(when));
        self.release();
    }

    /// Sets it ahead, and has everything handed out that is due by then.
    pub fn pass(&mut self, duration: SignedDuration) {
        let then = self.now() + duration;
        self.set(then);
        self.release();
    }

    /// Has every due shard handed out now rather than within the minute.
    pub fn release(&self) {
        let _done = self.stack.aws(&["release", &self.stack.text("/functions/ReleaseFunction")]);
    }

    fn set(&mut self, when: Timestamp) {
        self.ahead = when.duration_since(machine());
        self.tell();
    }

    fn tell(&self) {
        let milliseconds = self.ahead.as_millis().to_string();
        let _none = self.stack.aws(&["clock", &self.stack.text("/table"), &milliseconds]);
        std::thread::sleep(READ_AGAIN);
    }
}

impl Drop for Clock<'_> {
    fn drop(&mut self) {
        self.ahead = SignedDuration::ZERO;
        self.tell();
    }
}

fn machine() -> Timestamp {
    moment(&in_seconds(0))
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}
