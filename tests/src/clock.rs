//! The functions' clock, which the stack of the tests lets a test set: days pass in seconds.

use crate::{Stack, in_seconds, wait};
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

    /// Has every due shard handed out now rather than within the minute. A run that the schedule started before the clock was set may
    /// have a shard, and does not see what has come due since: it is waited for.
    pub fn release(&self) {
        wait("the other runs to end", Duration::from_secs(90), || (hand_out(self.stack) == 0).then_some(()));
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

/// Starts one more run of every due shard. Gives back how much these left to other runs.
#[must_use]
pub fn hand_out(stack: &Stack) -> u64 {
    let done = stack.aws(&["release", &stack.text("/functions/ReleaseFunction")]);
    done.as_array().unwrap().iter().filter_map(|shard| shard["elsewhere"].as_u64()).sum()
}

fn machine() -> Timestamp {
    moment(&in_seconds(0))
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}
