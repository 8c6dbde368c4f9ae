//! Sets the functions' clock on the stack `test-clock`, so that days pass in seconds.

use crate::{Stack, in_seconds, wait};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Time after which every process has read a new offset. Functions cache it for half a second.
const READ_AGAIN: Duration = Duration::from_millis(700);

/// The functions' clock, ahead of the machine's. It runs at normal speed, and is reset when this value is dropped.
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

    /// Returns the functions' current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        machine() + self.ahead
    }

    /// Sets the clock to a moment and releases everything that is due by then.
    pub fn to(&mut self, when: &str) {
        self.set(moment(when));
        self.release();
    }

    /// Moves the clock ahead and releases everything that is due by then.
    pub fn pass(&mut self, duration: SignedDuration) {
        let then = self.now() + duration;
        self.set(then);
        self.release();
    }

    /// Releases every due shard now instead of within the minute. Waits for scheduled runs that started before the clock was set, since
    /// these hold a shard and do not see what became due since.
    pub fn release(&self) {
        wait("the other runs to end", Duration::from_secs(90), || (run_release(self.stack) == 0).then_some(()));
    }

    fn set(&mut self, when: Timestamp) {
        self.ahead = when.duration_since(machine());
        self.store_offset();
    }

    fn store_offset(&self) {
        let milliseconds = self.ahead.as_millis().to_string();
        let _none = self.stack.aws(&["clock", &self.stack.text("/table"), &milliseconds]);
        std::thread::sleep(READ_AGAIN);
    }
}

impl Drop for Clock<'_> {
    fn drop(&mut self) {
        self.ahead = SignedDuration::ZERO;
        self.store_offset();
    }
}

/// Runs `release` once for every due shard. Returns the number of batches that were left to other runs.
#[must_use]
pub fn run_release(stack: &Stack) -> u64 {
    let done = stack.aws(&["release", &stack.text("/functions/ReleaseFunction")]);
    done.as_array().unwrap().iter().filter_map(|shard| shard["elsewhere"].as_u64()).sum()
}

fn machine() -> Timestamp {
    moment(&in_seconds(0))
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}
