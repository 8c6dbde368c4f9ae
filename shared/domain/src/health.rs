//! How a Slack, Teams or webhook endpoint fares: when its owner is told that it fails, when nothing more is sent to it, and how it
//! comes back. Only its owner's alerts count: what Tocsin itself says of endpoints does not, so two dead ones cannot feed each other.

use crate::attempt::meaning;
use crate::event::{Event, Format};
use crate::ids::TenantId;
use crate::tenant::Integration;
use crate::vocabulary::{Severity, Status};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The type of the incident that an endpoint fails.
pub const FAILING: &str = "tocsin.endpoint_failing";
/// The source of what Tocsin itself has to say.
pub const OWN_SOURCE: &str = "tocsin";
/// What the types of all that begin with.
pub const OWN_TYPES: &str = "tocsin.";
/// From how many failures in a row its owner is told (Svix: 4 attempts).
pub const TOLD_AFTER: u32 = 4;
/// After how long with nothing but failures, since its owner was told, nothing more is sent (Svix: 5 days).
pub const DISABLED_AFTER: SignedDuration = SignedDuration::from_hours(5 * 24);
/// How long after that, or after the last probe, an alert tries it again (PagerDuty: 24 h).
pub const PROBE_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// Failures that are nearer to each other count as one: many at once are one trouble, and are written once.
pub const APART: SignedDuration = SignedDuration::from_secs(10);
/// A failure that is longer ago begins no row: within one, a retry comes at least that often (10 hours and a fifth).
const IN_A_ROW: SignedDuration = SignedDuration::from_hours(13);

/// The cause by which an endpoint is disabled that only failed for too long.
pub const TOO_LONG: &str = "failing_too_long";

/// Failures in a row, until they are enough to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// How many, those within ten seconds as one.
    pub count: u32,
    /// The last one that counted.
    pub last: Timestamp,
}

impl Failures {
    /// With one more; `None` where it does not count.
    #[must_use]
    pub fn again(before: Option<Self>, now: Timestamp) -> Option<Self> {
        match before.filter(|before| now.duration_since(before.last) < IN_A_ROW) {
            Some(before) if now.duration_since(before.last) < APART => None,
            Some(before) => Some(Self { count: before.count.saturating_add(1), last: now }),
            None => Some(Self { count: 1, last: now }),
        }
    }

    /// Whether its owner is told: of so many in a row, or of one alert that failed as often.
    #[must_use]
    pub fn are_enough(self, attempt: u32) -> bool {
        self.count >= TOLD_AFTER || attempt >= TOLD_AFTER
    }
}

/// What is known of an endpoint when an alert is sent there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// Nothing bad.
    #[default]
    Healthy,
    /// Its owner was told that it fails.
    Failing {
        /// When.
        since: Timestamp,
    },
    /// It is disabled, and this alert tries whether it is back.
    HalfOpen,
}

impl Endpoint {
    /// Of an integration.
    #[must_use]
    pub fn of(integration: &Integration) -> Self {
        match (&integration.disabled, integration.failing) {
            (Some(_), _) => Self::HalfOpen,
            (None, Some(since)) => Self::Failing { since },
            (None, None) => Self::Healthy,
        }
    }

    /// Whether nothing that was healthy is told of it.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        *self == Self::Healthy
    }

    /// Whether it failed for so long that nothing more is sent.
    #[must_use]
    pub fn failed_for_too_long(self, now: Timestamp) -> bool {
        matches!(self, Self::Failing { since } if now.duration_since(since) >= DISABLED_AFTER)
    }
}

/// What stands about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It fails; alerts go on being tried.
    Fails,
    /// It is disabled.
    Disabled,
    /// It takes alerts again.
    Recovered,
    /// It was removed, so nothing is left to mend.
    Removed,
}

/// The event that tells a tenant of its endpoint: one incident for as long as it lasts. It names no URL.
#[must_use]
pub fn notice(tenant: &TenantId, integration: &Integration, word: Word, cause: &str) -> Event {
    let name = format!("{} \"{}\"", integration.kind.title(), integration.name);
    let (sentence, mend) = meaning(cause);
    let (severity, title, message) = match word {
        Word::Fails => (
            Severity::Warning,
            format!("{name} does not take alerts"),
            format!(
                "{sentence} {mend} Alerts go on being tried; after {} days of nothing but failures the integration is disabled.",
                DISABLED_AFTER.as_hours() / 24
            ),
        ),
        Word::Disabled => (
            Severity::Error,
            format!("{name} gets no more alerts"),
            format!("{sentence} {mend} Then send a test alert to it, and enable it again."),
        ),
        Word::Recovered => (Severity::Warning, format!("{name} takes alerts again"), String::new()),
        Word::Removed => (Severity::Warning, format!("{name} was removed"), String::new()),
    };
    let over = matches!(word, Word::Recovered | Word::Removed);
    Event {
        event_type: FAILING.to_owned(),
        dedup_key: integration.id.to_string(),
        severity,
        title,
        message,
        status: over.then_some(Status::Resolved),
        tenant_ids: vec![tenant.clone()],
        labels: [("integration".to_owned(), integration.id.to_string()), ("cause".to_owned(), cause.to_owned())].into(),
        public: Some(false),
        ..Event::blank(Format::Native, OWN_SOURCE)
    }
    .capped()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn counted(seconds: &[i64]) -> u32 {
        let mut known: Option<Failures> = None;
        for second in seconds {
            known = Failures::again(known, at(*second)).or(known);
        }
        known.map_or(0, |failures| failures.count)
    }

    #[test]
    fn failures_in_a_row_count_and_many_at_once_are_one() {
        assert_eq!(counted(&[0, 1, 2, 9]), 1);
        assert_eq!(counted(&[0, 10, 20, 30]), 4);
        assert_eq!(counted(&[0, 9, 18]), 2, "by the last one that counted");
        assert_eq!(counted(&[0, 3_600, 12 * 3_600, 24 * 3_600]), 4, "the longest pauses of one alert are in a row");
        assert_eq!(counted(&[0, 60, 14 * 3_600]), 1, "yesterday's are not");
        let one = Failures { count: 1, last: at(0) };
        assert!(!one.are_enough(3) && one.are_enough(4) && Failures { count: 4, ..one }.are_enough(1));
    }

    #[test]
    fn five_days_count_from_when_its_owner_was_told() {
        let failing = Endpoint::Failing { since: at(0) };
        assert!(!failing.failed_for_too_long(at(5 * 86_400 - 1)) && failing.failed_for_too_long(at(5 * 86_400)));
        assert!(!Endpoint::Healthy.failed_for_too_long(at(9 * 86_400)));
        assert!(!Endpoint::HalfOpen.failed_for_too_long(at(9 * 86_400)), "it is disabled already");
    }
}
