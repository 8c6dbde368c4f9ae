//! Storm protection: when a tenant opens too many incidents at once, and which incidents only flap.
//!
//! Nothing is dropped: alerts over the ceiling, or of a flapping key, are held and delivered in one bundle that counts them.

use crate::policy::{FlappingLimit, IncidentCeiling};
use crate::schema::Instant;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

impl IncidentCeiling {
    /// Returns the number and the end of the window that contains `now`. Windows are aligned to the Unix epoch.
    #[must_use]
    pub fn window_at(&self, now: Timestamp) -> (i64, Timestamp) {
        let length = i64::from(self.minutes.max(1)) * 60;
        let number = now.as_second().div_euclid(length);
        (number, Timestamp::from_second((number + 1) * length).unwrap_or(Timestamp::MAX))
    }
}

/// How often the incidents of one dedup key opened within one flapping window. The window starts with its first opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Openings {
    /// When the first opening of the window happened.
    #[schemars(with = "Instant")]
    pub since: Timestamp,
    /// Openings in the window, including the latest.
    pub count: u32,
}

impl Openings {
    /// Counts one more opening at `now`; starts a new window if the previous one is over.
    #[must_use]
    pub fn count_opening(previous: Option<Self>, flapping: &FlappingLimit, now: Timestamp) -> Self {
        let window = SignedDuration::from_mins(i64::from(flapping.minutes));
        match previous.filter(|previous| now.duration_since(previous.since) < window) {
            Some(previous) => Self { since: previous.since, count: previous.count.saturating_add(1) },
            None => Self { since: now, count: 1 },
        }
    }

    /// Returns when the window of a flapping key ends; `None` while the key does not flap.
    #[must_use]
    pub fn flapping_until(&self, flapping: &FlappingLimit) -> Option<Timestamp> {
        (self.count > flapping.openings).then(|| {
            let window = SignedDuration::from_mins(i64::from(flapping.minutes));
            self.since.saturating_add(window).unwrap_or(self.since)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn ceiling_windows_are_aligned_to_the_clock() {
        let ceiling = IncidentCeiling { incidents: 1, minutes: 5 };
        let (first, end) = ceiling.window_at(at(1));
        assert_eq!((end, ceiling.window_at(at(299)).0), (at(300), first));
        assert_eq!(ceiling.window_at(at(300)), (first + 1, at(600)));
    }

    #[test]
    fn a_flapping_key_is_held_until_its_window_ends() {
        let flapping = FlappingLimit { openings: 2, minutes: 30 };
        let first = Openings::count_opening(None, &flapping, at(0));
        let second = Openings::count_opening(Some(first), &flapping, at(100));
        let third = Openings::count_opening(Some(second), &flapping, at(1_799));
        assert_eq!((first.count, second.flapping_until(&flapping)), (1, None));
        assert_eq!((third.count, third.flapping_until(&flapping)), (3, Some(at(1_800))));
        let later = Openings::count_opening(Some(third), &flapping, at(1_800));
        assert_eq!(later, Openings { since: at(1_800), count: 1 }, "the window is fixed, it does not slide");
    }
}
