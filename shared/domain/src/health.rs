//! Endpoint health of Slack, Teams and webhook integrations: when the tenant is notified that an endpoint is failing, when the integration is
//! disabled, and how it recovers. And which endpoints are slow, so that none stands before another tenant's alerts.
//!
//! Only deliveries of the tenant's alerts count. System alerts about endpoints do not, so two failing endpoints cannot disable each other.

use crate::attempt::explain_cause;
use crate::event::{Event, Format, SYSTEM_SOURCE};
use crate::ids::TenantId;
use crate::tenant::Integration;
use crate::vocabulary::{Severity, Status};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// An answer, or a timeout, that takes at least this long is slow. Receivers are asked to answer first and work afterwards, which takes
/// milliseconds.
pub const SLOW_ANSWER: SignedDuration = SignedDuration::from_secs(2);
/// Answers of one kind in a row after which an endpoint counts as slow, or as quick again.
const SLOW_ANSWERS_IN_A_ROW: u32 = 3;
/// An answer this long after the previous one starts a new row.
const ANSWER_GAP_MAX: SignedDuration = SignedDuration::from_mins(10);
/// How long an endpoint counts as slow at least, so that one which is slow now and then changes its lane rarely.
const SLOW_FOR_MIN: SignedDuration = SignedDuration::from_mins(10);
/// The part of one environment's time that the slow endpoints of one tenant may take in the urgent lane: one in so many.
const SLOW_SHARE: i64 = 4;
/// How much of an environment's time a tenant may be ahead of its share, in milliseconds. More than one answer at the time limit of chat.
const SLOW_AHEAD_MAX_MS: i64 = 5_000;
/// Most tenants whose shares one environment keeps.
const SLOW_TENANTS_MAX: usize = 1_000;

/// A row of answers of an endpoint that were all slow, or all quick. Quick ones count only while the endpoint counts as slow, so that a quick
/// endpoint costs no write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerStreak {
    /// Whether the answers were slow.
    pub slow: bool,
    /// Number of answers.
    pub count: u32,
    /// When the last one came.
    pub last: Timestamp,
}

impl AnswerStreak {
    /// Returns the row with one more answer at `now`. Slow answers far apart are no row; quick ones are, so that an endpoint with few alerts
    /// loses its mark too.
    #[must_use]
    pub fn with_answer(previous: Option<Self>, slow: bool, now: Timestamp) -> Self {
        let continues =
            |before: &Self| before.slow == slow && (!slow || now.duration_since(before.last) < ANSWER_GAP_MAX);
        let count = previous.filter(continues).map_or(0, |before| before.count);
        Self { slow, count: count.saturating_add(1), last: now }
    }

    /// Returns what an endpoint that is marked as slow since `marked` is marked as after this row; `None` if nothing changes.
    #[must_use]
    pub fn new_mark(self, marked: Option<Timestamp>) -> Option<SpeedMark> {
        let enough = self.count >= SLOW_ANSWERS_IN_A_ROW;
        match marked {
            None if enough && self.slow => Some(SpeedMark::Slow),
            Some(since) if enough && !self.slow && self.last.duration_since(since) >= SLOW_FOR_MIN => {
                Some(SpeedMark::Quick)
            }
            _ => None,
        }
    }
}

/// How an endpoint is marked from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpeedMark {
    /// Its alerts take the bulk lane.
    Slow,
    /// Its alerts take the urgent lane again.
    Quick,
}

/// How much of one environment's time each tenant's slow answers took lately. It is kept in memory: it bounds how long a tenant's slow
/// endpoints occupy this environment, before enough answers are known to mark each of them.
#[derive(Clone, Debug, Default)]
pub struct SlowShares {
    tenants: BTreeMap<TenantId, SlowShare>,
}

#[derive(Clone, Copy, Debug)]
struct SlowShare {
    /// How far ahead of its share the tenant was at `until_ms`, in milliseconds.
    ahead_ms: i64,
    /// The time that is accounted for, in Unix milliseconds. Calls at the same time occupy the environment once.
    until_ms: i64,
}

impl SlowShare {
    /// How far ahead of its share the tenant is, in milliseconds.
    fn ahead_ms(self, now_ms: i64) -> i64 {
        (self.ahead_ms - (now_ms - self.until_ms).max(0) / SLOW_SHARE).max(0)
    }
}

impl SlowShares {
    /// Records a call to an endpoint of a tenant. Quick ones change nothing.
    pub fn record(&mut self, tenant: &TenantId, started: Timestamp, ended: Timestamp) {
        if ended.duration_since(started) < SLOW_ANSWER {
            return;
        }
        let (from, to) = (started.as_millisecond(), ended.as_millisecond());
        if self.tenants.len() >= SLOW_TENANTS_MAX && !self.tenants.contains_key(tenant) {
            self.tenants.retain(|_, share| share.ahead_ms(to) > 0);
            if self.tenants.len() >= SLOW_TENANTS_MAX {
                return;
            }
        }
        let share = self.tenants.entry(tenant.clone()).or_insert(SlowShare { ahead_ms: 0, until_ms: from });
        // What passed without a slow call is repaid first. Of calls at the same time, each counts from where the one before it ended.
        let begun = from.max(share.until_ms);
        share.ahead_ms = share.ahead_ms(begun) + (to - begun).max(0);
        share.until_ms = share.until_ms.max(to);
    }

    /// Whether a tenant has used up its share, so that its alerts leave the urgent lane for a while.
    #[must_use]
    pub fn is_used_up(&self, tenant: &TenantId, now: Timestamp) -> bool {
        self.tenants.get(tenant).is_some_and(|share| share.ahead_ms(now.as_millisecond()) > SLOW_AHEAD_MAX_MS)
    }
}

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
    fn three_slow_answers_in_a_row_mark_an_endpoint_and_three_quick_ones_later_unmark_it() {
        let marks = |answers: &[(bool, i64)], marked: Option<i64>| {
            let mut streak = None;
            answers.iter().find_map(|(slow, second)| {
                let next = AnswerStreak::with_answer(streak, *slow, at(*second));
                streak = Some(next);
                next.new_mark(marked.map(at)).map(|mark| (mark, *second))
            })
        };
        assert_eq!(marks(&[(true, 0), (true, 0), (true, 0)], None), Some((SpeedMark::Slow, 0)), "at the same time");
        assert_eq!(marks(&[(true, 0), (true, 599), (true, 1_198)], None), Some((SpeedMark::Slow, 1_198)));
        assert_eq!(marks(&[(true, 0), (true, 1), (true, 601)], None), None, "too far apart");
        assert_eq!(marks(&[(true, 0), (true, 1), (false, 2), (true, 3), (true, 4)], None), None);
        let quick = [(false, 700), (false, 701), (false, 702)];
        assert_eq!(marks(&quick, Some(0)), Some((SpeedMark::Quick, 702)));
        assert_eq!(marks(&quick, Some(103)), None, "it has not been slow for ten minutes");
        let rare = [(false, 3_600), (false, 7_200), (false, 90_000)];
        assert_eq!(marks(&rare, Some(0)), Some((SpeedMark::Quick, 90_000)), "with few alerts it takes longer");
        assert_eq!(marks(&quick, None), None);
        assert_eq!(marks(&[(true, 700), (true, 701), (true, 702)], Some(0)), None, "it is marked already");
    }

    #[test]
    fn slow_endpoints_of_one_tenant_take_a_quarter_of_an_environments_time() {
        let [slow, other] = ["slow", "other"].map(|id| TenantId::parse(id).unwrap());
        let mut shares = SlowShares::default();
        shares.record(&slow, at(0), at(1));
        assert!(!shares.is_used_up(&slow, at(1)), "quick answers take nothing");
        // Ten at the same time occupy the environment once.
        for _ in 0..10 {
            shares.record(&slow, at(0), at(15));
        }
        assert!(shares.is_used_up(&slow, at(15)) && !shares.is_used_up(&other, at(15)));
        // It was 15 s; 10 s of it have to be repaid, at a quarter of the time that passes.
        assert!(shares.is_used_up(&slow, at(54)) && !shares.is_used_up(&slow, at(55)));
        shares.record(&slow, at(100), at(104));
        assert!(!shares.is_used_up(&slow, at(104)), "what was used long ago is repaid");
        shares.record(&slow, at(102), at(107));
        assert!(shares.is_used_up(&slow, at(107)), "three seconds more, not five");
        for number in 0..5_000 {
            let tenant = TenantId::parse(&format!("t{number}")).unwrap();
            shares.record(&tenant, at(200 + 40 * number), at(203 + 40 * number));
        }
        assert!(shares.tenants.len() <= SLOW_TENANTS_MAX);
    }

    #[test]
    fn five_days_count_from_the_notification() {
        let failing = EndpointHealth::Failing { since: at(0) };
        assert!(!failing.failed_for_too_long(at(5 * 86_400 - 1)) && failing.failed_for_too_long(at(5 * 86_400)));
        assert!(!EndpointHealth::Healthy.failed_for_too_long(at(9 * 86_400)));
        assert!(!EndpointHealth::HalfOpen.failed_for_too_long(at(9 * 86_400)), "it is already disabled");
    }
}
