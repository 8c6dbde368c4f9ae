//! Endpoint health of Slack, Teams and webhook integrations: when the tenant is notified that an endpoint is failing, when the integration is
//! disabled, and how it recovers.
//!
//! Only deliveries of the tenant's alerts count. System alerts about endpoints do not, so two failing endpoints cannot disable each other.

use crate::attempt::explain_cause;
use crate::event::{Event, Format, SYSTEM_SOURCE};
use crate::ids::TenantId;
use crate::tenant::Integration;
use crate::vocabulary::{Severity, Status};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The event type of the incident "endpoint failing".
pub const ENDPOINT_FAILING_TYPE: &str = "tocsin.endpoint_failing";
/// Consecutive failures after which the tenant is notified (Svix: 4 attempts).
pub const NOTIFY_AFTER_FAILURES: u32 = 4;
/// Time with nothing but failures, counted from the notification, after which the integration is disabled (Svix: 5 days).
pub const DISABLE_AFTER: SignedDuration = SignedDuration::from_hours(5 * 24);
/// Time after disabling, or after the last probe, until one alert probes the endpoint again (PagerDuty: 24 h).
pub const PROBE_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// Failures closer together than this count as one, and are written once.
pub const FAILURES_MERGED_WITHIN: SignedDuration = SignedDuration::from_secs(10);
/// A failure this long after the previous one starts a new streak. Retries of one alert are at most 12 hours apart (10 hours plus 20 %).
const STREAK_GAP_MAX: SignedDuration = SignedDuration::from_hours(13);

/// A streak of consecutive failures, until the tenant is notified of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureStreak {
    /// Number of failures; those within ten seconds count as one.
    pub count: u32,
    /// When the last counted failure happened.
    pub last: Timestamp,
}

impl FailureStreak {
    /// Returns the streak with one more failure at `now`; `None` if the failure is too close to the previous one to count.
    #[must_use]
    pub fn with_failure(previous: Option<Self>, now: Timestamp) -> Option<Self> {
        match previous.filter(|previous| now.duration_since(previous.last) < STREAK_GAP_MAX) {
            Some(previous) if now.duration_since(previous.last) < FAILURES_MERGED_WITHIN => None,
            Some(previous) => Some(Self { count: previous.count.saturating_add(1), last: now }),
            None => Some(Self { count: 1, last: now }),
        }
    }

    /// Returns whether the tenant is to be notified: the streak, or the attempts of one alert, reached [`NOTIFY_AFTER_FAILURES`].
    #[must_use]
    pub fn should_notify(self, attempt: u32) -> bool {
        self.count >= NOTIFY_AFTER_FAILURES || attempt >= NOTIFY_AFTER_FAILURES
    }
}

/// The health of an endpoint when an alert is sent to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointHealth {
    /// No failure streak was reported.
    #[default]
    Healthy,
    /// The tenant was notified that the endpoint is failing.
    Failing {
        /// When the tenant was notified.
        since: Timestamp,
    },
    /// The integration is disabled, and this alert probes whether the endpoint works again.
    HalfOpen,
}

impl EndpointHealth {
    /// Reads the health from an integration that an alert is sent to.
    #[must_use]
    pub fn of_integration(integration: &Integration) -> Self {
        match (&integration.disabled, integration.failing) {
            (Some(_), _) => Self::HalfOpen,
            (None, Some(since)) => Self::Failing { since },
            (None, None) => Self::Healthy,
        }
    }

    /// Returns whether no failure was reported.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        *self == Self::Healthy
    }

    /// Returns whether the endpoint has been failing for so long that it is to be disabled.
    #[must_use]
    pub fn failed_for_too_long(self, now: Timestamp) -> bool {
        matches!(self, Self::Failing { since } if now.duration_since(since) >= DISABLE_AFTER)
    }
}

/// What a tenant is notified about one of its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointNotice {
    /// It is failing; alerts are still sent.
    Failing,
    /// The integration was disabled.
    Disabled,
    /// It accepts alerts again.
    Recovered,
    /// The integration was removed, so there is nothing left to fix.
    Removed,
}

/// Builds the system event that notifies a tenant about an endpoint. All events of one outage form one incident. It contains no URL.
#[must_use]
pub fn endpoint_notice_event(
    tenant: &TenantId,
    integration: &Integration,
    notice: EndpointNotice,
    cause: &str,
) -> Event {
    let name = format!("{} \"{}\"", integration.kind.title(), integration.name);
    let (sentence, remedy) = explain_cause(cause);
    let (severity, title, message) = match notice {
        EndpointNotice::Failing => (
            Severity::Warning,
            format!("{name} is not accepting alerts"),
            format!(
                "{sentence} {remedy} We keep sending alerts; if every delivery fails for {} days, the integration is disabled.",
                DISABLE_AFTER.as_hours() / 24
            ),
        ),
        EndpointNotice::Disabled => (
            Severity::Error,
            format!("{name} was disabled"),
            format!("{sentence} {remedy} Then send a test alert to it and enable it again."),
        ),
        EndpointNotice::Recovered => (Severity::Warning, format!("{name} accepts alerts again"), String::new()),
        EndpointNotice::Removed => (Severity::Warning, format!("{name} was removed"), String::new()),
    };
    let is_resolved = matches!(notice, EndpointNotice::Recovered | EndpointNotice::Removed);
    Event {
        event_type: ENDPOINT_FAILING_TYPE.to_owned(),
        dedup_key: integration.id.to_string(),
        severity,
        title,
        message,
        status: is_resolved.then_some(Status::Resolved),
        tenant_ids: vec![tenant.clone()],
        labels: [("integration".to_owned(), integration.id.to_string()), ("cause".to_owned(), cause.to_owned())].into(),
        public: Some(false),
        ..Event::blank(Format::Native, SYSTEM_SOURCE)
    }
    .normalized()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn count_failures(seconds: &[i64]) -> u32 {
        let mut streak: Option<FailureStreak> = None;
        for second in seconds {
            streak = FailureStreak::with_failure(streak, at(*second)).or(streak);
        }
        streak.map_or(0, |failures| failures.count)
    }

    #[test]
    fn consecutive_failures_count_and_simultaneous_ones_count_as_one() {
        assert_eq!(count_failures(&[0, 1, 2, 9]), 1);
        assert_eq!(count_failures(&[0, 10, 20, 30]), 4);
        assert_eq!(count_failures(&[0, 9, 18]), 2, "measured from the last counted failure");
        assert_eq!(
            count_failures(&[0, 3_600, 12 * 3_600, 24 * 3_600]),
            4,
            "the longest retry delays of one alert are one streak"
        );
        assert_eq!(count_failures(&[0, 60, 14 * 3_600]), 1, "yesterday's failures are not");
        let one = FailureStreak { count: 1, last: at(0) };
        assert!(!one.should_notify(3) && one.should_notify(4) && FailureStreak { count: 4, ..one }.should_notify(1));
    }

    #[test]
    fn five_days_count_from_the_notification() {
        let failing = EndpointHealth::Failing { since: at(0) };
        assert!(!failing.failed_for_too_long(at(5 * 86_400 - 1)) && failing.failed_for_too_long(at(5 * 86_400)));
        assert!(!EndpointHealth::Healthy.failed_for_too_long(at(9 * 86_400)));
        assert!(!EndpointHealth::HalfOpen.failed_for_too_long(at(9 * 86_400)), "it is already disabled");
    }
}
