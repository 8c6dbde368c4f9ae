//! The only reader of time.
//!
//! Where the template's parameter `TestClock` is true, which it can be in the local stage only, what functions take for now is as far
//! ahead of the machine's clock as the table says: tests thereby live through days. Deadlines of invocations stay the machine's.

use jiff::{SignedDuration, Timestamp};
use std::sync::atomic::{AtomicI64, Ordering};
use store::Table;

/// How many milliseconds the functions' clock is ahead of the machine's.
static AHEAD_MS: AtomicI64 = AtomicI64::new(0);
/// When that was read last, by the machine's clock in milliseconds.
static READ_MS: AtomicI64 = AtomicI64::new(0);
/// How old it may be.
const FRESH_MS: i64 = 500;

/// Now.
#[must_use]
pub fn now() -> Timestamp {
    let ahead = SignedDuration::from_millis(AHEAD_MS.load(Ordering::Relaxed));
    machine().saturating_add(ahead).unwrap_or(Timestamp::MAX)
}

/// Now, by the clock that deadlines of invocations are on.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub(crate) fn machine() -> Timestamp {
    Timestamp::now()
}

/// Where a test may set the time.
#[derive(Clone, Debug)]
pub(crate) struct TestClock(Table);

impl TestClock {
    /// The clock of `TEST_CLOCK_TABLE`; `None` where there is no such variable.
    pub(crate) fn of_environment(aws: &aws::SdkConfig) -> Option<Self> {
        let name = crate::config::read::<Option<String>>("TEST_CLOCK_TABLE", &mut Vec::new()).flatten()?;
        Some(Self(Table::new(aws, &name, 1)))
    }

    /// Takes over what the table says, unless that was done a moment ago. What cannot be read leaves the time as it is.
    pub(crate) async fn follow(&self) {
        let at = machine().as_millisecond();
        if at - READ_MS.load(Ordering::Relaxed) < FRESH_MS {
            return;
        }
        match self.0.clock_ahead_ms().await {
            Ok(ahead) => {
                AHEAD_MS.store(ahead, Ordering::Relaxed);
                READ_MS.store(at, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "the test's clock cannot be read"),
        }
    }
}
