//! The time that a test sets, in the local stage.

use crate::{StoreError, Table, keys, read};
use serde::Deserialize;

#[derive(Deserialize)]
struct Clock {
    ahead_ms: i64,
}

impl Table {
    /// How many milliseconds the functions' clock is ahead of the machine's; 0 where nobody set it.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn clock_ahead_ms(&self) -> Result<i64, StoreError> {
        match self.get(keys::CLOCK, "CLOCK").await? {
            Some(found) => Ok(read::<Clock>(found, "the test's clock")?.ahead_ms),
            None => Ok(0),
        }
    }
}
