//! `infra/policy/storms.yaml`: rate limits per contact, and storm protection.

use super::{PolicyError, STORMS, parse_yaml};
use crate::vocabulary::ChannelClass;
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The rate limits per contact, and the limits of storm protection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StormPolicy {
    /// Rate limits of one e-mail address or phone number, by channel. A message is sent only if all of them have capacity.
    pub contacts: BTreeMap<ChannelClass, Vec<RateLimit>>,
    /// How many messages may be sent to a contact per minute over its rate limits: up to so many openings of critical incidents, and up
    /// to so many resolves.
    pub exempt_per_minute: u32,
    /// How many incidents of one tenant are notified one by one.
    pub ceiling: IncidentCeiling,
    /// How often a dedup key may open before its incident counts as flapping.
    pub flapping: FlappingLimit,
    /// Rate limits of one tenant's test alerts.
    pub tests: Vec<RateLimit>,
}

/// A rate limit: so many messages in a window of so many minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Maximum number of messages in the window.
    pub messages: u32,
    /// Length of the window, in minutes.
    pub minutes: u32,
}

impl RateLimit {
    /// Returns the length of the window in seconds.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        i64::from(self.minutes) * 60
    }

    /// Returns the number of the clock-aligned window that contains `now`, and the seconds that are left of it.
    #[must_use]
    pub fn current_window(&self, now: Timestamp) -> (i64, i64) {
        let (second, length) = (now.as_second(), self.seconds().max(1));
        (second.div_euclid(length), length - second.rem_euclid(length))
    }
}

/// The limit of incidents of one tenant that are notified one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentCeiling {
    /// Maximum number of incidents that open in the window.
    pub incidents: u32,
    /// Length of the window, in minutes.
    pub minutes: u32,
}

/// The limit of openings of one dedup key from which its incident counts as flapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlappingLimit {
    /// Maximum number of openings in the window that are notified at once.
    pub openings: u32,
    /// Length of the window, in minutes, from the first opening.
    pub minutes: u32,
}

impl StormPolicy {
    /// Loads the embedded `infra/policy/storms.yaml` alone, for senders that do not need the rest of the policy.
    ///
    /// # Errors
    /// [`PolicyError`] with the file and the problem.
    pub fn embedded() -> Result<Self, PolicyError> {
        Self::parse(STORMS)
    }

    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        let storms: Self = parse_yaml("storms.yaml", text)?;
        let rate_limits = storms.contacts.values().flatten().chain(&storms.tests);
        let limits = rate_limits.map(|limit| (limit.messages, limit.minutes)).chain([
            (storms.ceiling.incidents, storms.ceiling.minutes),
            (storms.flapping.openings, storms.flapping.minutes),
        ]);
        // A limit of 0 would hold everything forever.
        for (number, minutes) in limits {
            if number == 0 || minutes == 0 {
                let problem = "every limit and every `minutes` must be at least 1".to_owned();
                return Err(PolicyError { file: "storms.yaml", problem });
            }
        }
        Ok(storms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_to_the_clock() {
        let window = RateLimit { messages: 1, minutes: 10 };
        let at = |second| window.current_window(Timestamp::from_second(second).unwrap());
        assert_eq!([at(0), at(599), at(600)], [(0, 600), (0, 1), (1, 600)]);
    }
}
