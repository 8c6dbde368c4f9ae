//! A sender's own pace: MaximumConcurrency limits environments, not rate.

use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Lets callers through one at a time, at least `interval` apart, in the order in which they asked.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// A pace of one call every `interval`; zero lets everybody through.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, next: Mutex::new(None) }
    }

    /// Waits for this caller's turn.
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
    async fn calls_are_an_interval_apart() {
        let pace = Pace::new(Duration::from_millis(100));
        let start = Instant::now();
        for _ in 0..5 {
            pace.wait().await;
        }
        assert_eq!(start.elapsed().as_millis(), 400);
    }
}
