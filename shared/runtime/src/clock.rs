//! The clock: the only code that reads the time.
//!
//! If the template's parameter `TestClock` is true, which is possible only in the local stage, the functions' time is ahead of the
//! system clock by an offset stored in the table, so that tests can simulate days. Deadlines of invocations use the system clock.

use jiff::{SignedDuration, Timestamp};
use std::sync::atomic::{AtomicI64, Ordering};
use store::Table;

/// Offset of the functions' time from the system clock, in milliseconds; 0 without a test clock.
static TEST_OFFSET_MS: AtomicI64 = AtomicI64::new(0);
/// When the offset was last read, in Unix milliseconds of the system clock.
static OFFSET_READ_AT_MS: AtomicI64 = AtomicI64::new(0);
/// Age in milliseconds after which the offset is read again.
const OFFSET_MAX_AGE_MS: i64 = 500;

/// Returns the current time, shifted by the test clock if there is one.
#[must_use]
pub fn now() -> Timestamp {
    let ahead = SignedDuration::from_millis(TEST_OFFSET_MS.load(Ordering::Relaxed));
    system_now().saturating_add(ahead).unwrap_or(Timestamp::MAX)
}

/// Returns the current time of the system clock, which deadlines of invocations are based on.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the only place that reads the clock")]
pub(crate) fn system_now() -> Timestamp {
    Timestamp::now()
}

/// The table in which a test sets the time offset.
#[derive(Clone, Debug)]
pub(crate) struct TestClock(Table);

impl TestClock {
    /// Returns the test clock of the table named by `TEST_CLOCK_TABLE`, or `None` if the variable is not set.
    pub(crate) fn from_env(aws: &aws::SdkConfig) -> Option<Self> {
        let name = crate::config::read_variable::<Option<String>>("TEST_CLOCK_TABLE", &mut Vec::new()).flatten()?;
        Some(Self(Table::new(aws, &name, 1)))
    }

    /// Reads the offset from the table, unless it was read just now. If the read fails, the offset stays unchanged.
    pub(crate) async fn refresh(&self) {
        let now_ms = system_now().as_millisecond();
        if now_ms - OFFSET_READ_AT_MS.load(Ordering::Relaxed) < OFFSET_MAX_AGE_MS {
            return;
        }
        match self.0.test_clock_offset_ms().await {
            Ok(ahead) => {
                TEST_OFFSET_MS.store(ahead, Ordering::Relaxed);
                OFFSET_READ_AT_MS.store(now_ms, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "cannot read the test clock; the offset stays unchanged"),
        }
    }
}
