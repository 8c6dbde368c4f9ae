//! Test clock of the local stage: the offset by which tests move the functions' time.

use crate::{StoreError, Table, keys, read};
use serde::Deserialize;

#[derive(Deserialize)]
struct TestClockItem {
    ahead_ms: i64,
}

impl Table {
    /// Returns by how many milliseconds the functions' clock is ahead of the system clock; 0 if no test set it.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn test_clock_offset_ms(&self) -> Result<i64, StoreError> {
        match self.get(keys::CLOCK, "CLOCK").await? {
            Some(found) => Ok(read::<TestClockItem>(found, "the test clock")?.ahead_ms),
            None => Ok(0),
        }
    }
}
