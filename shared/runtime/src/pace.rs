//! Limits the rate of calls within one process. Lambda's `MaximumConcurrency` limits the number of processes, not their rate.

use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Lets callers proceed one at a time, at least `interval` apart, first come, first served.
#[derive(Debug)]
pub struct Pacer {
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pacer {
    /// Creates a pacer of one call per `interval`. Zero means no limit.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, next: Mutex::new(None) }
    }

    /// Waits until this caller may proceed.
    pub async fn wait(&self) {
        if self.interval.is_zero() {
            return;
        }
        let turn = {
            let mut next = self.next.lock().await;
            let now = Instant::now();
            let turn = next.map_or(now, |next| next.max(now));
            *next = Some(turn + self.interval);
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_are_at_least_one_interval_apart() {
        let pace = Pacer::new(Duration::from_millis(100));
        let start = Instant::now();
        for _ in 0..5 {
            pace.wait().await;
        }
        assert_eq!(start.elapsed().as_millis(), 400);
    }
}
