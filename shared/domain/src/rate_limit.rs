//! Rate limits per contact: how many messages one e-mail address or phone number gets per window.
//!
//! A message over the limit is never dropped: it is deferred to the next minute with room and delivered there in one bundle with
//! everything else that was deferred. Two kinds of message have a small extra allowance: the opening of a critical incident, and a
//! resolve.

use crate::policy::{BucketLimit, RateLimit};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Most send times that one state holds; more than any window counts.
const SENT_MAX: usize = 64;

/// What was sent, or is scheduled, to one contact. Times are Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimitState {
    /// Send times within the longest window, past and scheduled, ascending; at most `SENT_MAX`.
    #[serde(default)]
    pub sent: Vec<i64>,
    /// When the pending bundle is sent; in the past if there is none.
    #[serde(default)]
    pub bundle_at: i64,
    /// Resolves sent over the limit within the last minute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolves_over_limit: Vec<i64>,
    /// Critical openings sent over the limit within the last minute. Counted apart from resolves, so that a burst of resolves cannot
    /// delay a critical opening.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub criticals_over_limit: Vec<i64>,
    /// When the pending bundle of critical openings is sent; in the past if there is none.
    #[serde(default)]
    pub critical_bundle_at: i64,
}

/// Messages that may exceed the limit, each kind up to [`StormPolicy::exempt_per_minute`](crate::policy::StormPolicy) times a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption {
    /// The opening of a critical incident. Beyond its allowance it is deferred to the next minute, whatever the limits say.
    CriticalOpening,
    /// The resolve of an incident that the contact was notified of.
    Resolve,
}

/// Whether one message is sent now or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitDecision {
    /// The message is within the limit or its exemption.
    SendNow,
    /// The message joins the bundle that is sent at the start of this minute.
    Defer {
        /// A full clock minute.
        until: Timestamp,
    },
}

/// A token bucket as it is stored. Times are Unix milliseconds. A bucket that was never used is full.
///
/// It is admitted to whenever it is not in debt, however much a request takes, so that nothing is too large to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// When it is full again.
    pub full_at_ms: i64,
    /// When it was last taken from, by the clock of whoever took.
    pub taken_at_ms: i64,
}

/// How far clocks may differ, in milliseconds. A bucket that was taken from later than that is of a clock that was set back, and counts as full:
/// otherwise it would let nobody in until that time comes.
pub const CLOCKS_DIFFER_MS: i64 = 60_000;

/// What a request for messages of a bucket comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is admitted. This is the bucket after it.
    Admitted(Bucket),
    /// The bucket is in debt.
    InDebt {
        /// Whole seconds until it is not.
        retry_after: u32,
    },
}

impl Bucket {
    /// Decides about a request of so many messages at `now_ms`. `before` is `None` for a bucket that was never used.
    #[must_use]
    pub fn admit(before: Option<Self>, messages: u32, limit: BucketLimit, now_ms: i64) -> Admission {
        let full_at_ms = before.filter(|bucket| !bucket.is_full(now_ms)).map_or(now_ms, |bucket| bucket.full_at_ms);
        let debt_ms = full_at_ms - now_ms - limit.milliseconds(limit.burst);
        if debt_ms > 0 {
            let seconds = u32::try_from((debt_ms + 999) / 1_000).unwrap_or(u32::MAX);
            return Admission::InDebt { retry_after: seconds };
        }
        Admission::Admitted(Self { full_at_ms: full_at_ms + limit.milliseconds(messages), taken_at_ms: now_ms })
    }

    /// Whether it is full at `now_ms`.
    #[must_use]
    pub fn is_full(&self, now_ms: i64) -> bool {
        self.full_at_ms <= now_ms || self.taken_at_ms > now_ms + CLOCKS_DIFFER_MS
    }
}

/// When a target that accepts one call per interval may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallSlot {
    /// At this time, in Unix milliseconds; it is reserved for the caller.
    At(i64),
    /// Not soon enough. Nothing was reserved.
    Full,
}

impl RateLimitState {
    /// Decides on one more message at `now` and returns the state to store with that decision.
    ///
    /// `exemption` comes with its allowance per minute. A bundle counts as one message, however many messages join it.
    #[must_use]
    pub fn reserve(
        &self,
        limits: &[RateLimit],
        now: Timestamp,
        exemption: Option<(Exemption, u32)>,
    ) -> (RateLimitDecision, Self) {
        let second = now.as_second();
        let mut next = self.without_expired(limits, second);
        let bundle_pending = next.bundle_at > second;
        if !bundle_pending && next.has_capacity(limits, second) {
            next.record_send(second);
            return (RateLimitDecision::SendNow, next);
        }
        if let Some((kind, per_minute)) = exemption
            && next.use_exemption(kind, per_minute, second)
        {
            next.record_send(second);
            return (RateLimitDecision::SendNow, next);
        }
        let critical = matches!(exemption, Some((Exemption::CriticalOpening, _)));
        let pending_at = if critical { self.critical_bundle_at } else { self.bundle_at };
        if pending_at > second {
            return (RateLimitDecision::Defer { until: timestamp(pending_at) }, self.clone());
        }
        let minute =
            if critical { next.schedule_critical_bundle(second) } else { next.schedule_bundle(limits, second) };
        // Both bundles of one minute are sent as one message.
        if next.bundle_at != next.critical_bundle_at {
            next.record_send(minute);
        }
        (RateLimitDecision::Defer { until: timestamp(minute) }, next)
    }

    /// Copies the state without the times that no window counts any more.
    fn without_expired(&self, limits: &[RateLimit], second: i64) -> Self {
        let longest = limits.iter().map(RateLimit::seconds).max().unwrap_or(0);
        let after = |times: &[i64], limit: i64| times.iter().copied().filter(|at| *at > limit).collect::<Vec<i64>>();
        Self {
            // Windows are whole clock minutes, so the minute in which a window begins counts too.
            sent: after(&self.sent, second - longest - 60),
            resolves_over_limit: after(&self.resolves_over_limit, second - 60),
            criticals_over_limit: after(&self.criticals_over_limit, second - 60),
            ..*self
        }
    }

    /// Returns whether one more message at second `at` stays within every limit. Limits count whole clock minutes, so the next minute with room is
    /// at most one window away.
    fn has_capacity(&self, limits: &[RateLimit], at: i64) -> bool {
        let minute = |second: i64| second.div_euclid(60);
        limits.iter().all(|limit| {
            let (last, before_first) = (minute(at), minute(at) - i64::from(limit.minutes));
            let within = self.sent.iter().filter(|sent| (before_first + 1..=last).contains(&minute(**sent))).count();
            within < usize::try_from(limit.messages).unwrap_or(usize::MAX)
        })
    }

    /// Adds a send time and forgets the oldest beyond `SENT_MAX`.
    fn record_send(&mut self, at: i64) {
        self.sent.push(at);
        self.sent.sort_unstable();
        let beyond = self.sent.len().saturating_sub(SENT_MAX);
        self.sent.drain(..beyond);
    }

    /// Uses one message of the kind's allowance; `false` if it is used up for this minute.
    fn use_exemption(&mut self, kind: Exemption, per_minute: u32, second: i64) -> bool {
        let used = match kind {
            Exemption::CriticalOpening => &mut self.criticals_over_limit,
            Exemption::Resolve => &mut self.resolves_over_limit,
        };
        if used.len() >= usize::try_from(per_minute).unwrap_or(usize::MAX) {
            return false;
        }
        used.push(second);
        true
    }

    /// Schedules the bundle of critical openings for the next minute, whatever the limits say.
    fn schedule_critical_bundle(&mut self, second: i64) -> i64 {
        self.critical_bundle_at = next_minute(second);
        self.critical_bundle_at
    }

    /// Schedules the bundle for the next minute with room.
    fn schedule_bundle(&mut self, limits: &[RateLimit], second: i64) -> i64 {
        let mut minute = next_minute(second);
        while !self.has_capacity(limits, minute) {
            minute += 60;
        }
        self.bundle_at = minute;
        minute
    }
}

fn next_minute(second: i64) -> i64 {
    (second.div_euclid(60) + 1) * 60
}

fn timestamp(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use proptest::prelude::*;

    #[test]
    fn a_bucket_admits_whatever_is_asked_until_it_is_in_debt() {
        let limit = BucketLimit { per_second: 10, burst: 1_000 };
        let admit = |before, messages, now_ms| Bucket::admit(before, messages, limit, now_ms);
        let Admission::Admitted(first) = admit(None, 700, 0) else { panic!() };
        let Admission::Admitted(second) = admit(Some(first), 700, 0) else { panic!("300 were left") };
        assert_eq!(admit(Some(second), 1, 0), Admission::InDebt { retry_after: 40 });
        assert_eq!(admit(Some(second), 1, 39_500), Admission::InDebt { retry_after: 1 });
        assert!(matches!(admit(Some(second), 5_000, 40_000), Admission::Admitted(_)), "however large");
        let Admission::Admitted(rested) = admit(Some(second), 1_000, 3_600_000) else { panic!() };
        assert_eq!(rested.full_at_ms, 3_600_000 + 100_000, "what is unused is not saved beyond the burst");
        let Admission::Admitted(earlier) = admit(Some(second), 100, -3_600_000) else { panic!("a clock was set back") };
        assert_eq!(earlier, Bucket { full_at_ms: -3_590_000, taken_at_ms: -3_600_000 });
    }

    const CRITICAL: Option<(Exemption, u32)> = Some((Exemption::CriticalOpening, 3));
    const RESOLVE: Option<(Exemption, u32)> = Some((Exemption::Resolve, 3));
    const SEND_NOW: RateLimitDecision = RateLimitDecision::SendNow;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn deferred_to(second: i64) -> RateLimitDecision {
        RateLimitDecision::Defer { until: at(second) }
    }

    /// Reserves a slot for a message at each of these seconds; 0 stands for sent at once, any other number for the second of the bundle.
    fn reserve_all(limits: &[RateLimit], seconds: &[i64]) -> Vec<i64> {
        let mut state = RateLimitState::default();
        let reserve = |second: &i64| {
            let (decision, next) = state.reserve(limits, at(*second), None);
            state = next;
            match decision {
                RateLimitDecision::SendNow => 0,
                RateLimitDecision::Defer { until } => until.as_second() - 1_800_000_000,
            }
        };
        seconds.iter().map(reserve).collect()
    }

    #[test]
    fn a_message_over_the_limit_joins_one_bundle_in_the_next_free_minute() {
        let one = [RateLimit { messages: 1, minutes: 1 }];
        assert_eq!(reserve_all(&one, &[0, 1, 2, 59, 60, 61, 119, 120]), [0, 60, 60, 60, 120, 120, 120, 180]);
        assert_eq!(reserve_all(&one, &[0, 70, 200]), [0, 0, 0]);
        assert_eq!(
            reserve_all(&one, &[50, 55, 61]),
            [0, 60, 120],
            "the next minute is free, whenever in this minute the first message was sent"
        );
        let two = [RateLimit { messages: 2, minutes: 1 }, RateLimit { messages: 3, minutes: 15 }];
        // The second window is full until the first of its three messages is 15 minutes old.
        assert_eq!(reserve_all(&two, &[0, 1, 2, 61, 62]), [0, 0, 60, 900, 900]);
        assert_eq!(reserve_all(&two, &[0, 1, 2, 121, 122, 905]), [0, 0, 60, 900, 900, 0]);
    }

    #[test]
    fn three_critical_openings_a_minute_are_sent_over_the_limit() {
        let one = [RateLimit { messages: 1, minutes: 1 }];
        let mut state = RateLimitState::default();
        let mut reserve = |second, exemption| {
            let (decision, next) = state.reserve(&one, at(second), exemption);
            state = next;
            decision
        };
        assert_eq!(reserve(0, None), SEND_NOW);
        assert_eq!(reserve(1, None), deferred_to(60));
        for second in 2..5 {
            assert_eq!(reserve(second, CRITICAL), SEND_NOW);
        }
        assert_eq!(reserve(5, CRITICAL), deferred_to(60), "the fourth within a minute");
        assert_eq!(reserve(63, CRITICAL), SEND_NOW);
    }

    #[test]
    fn a_burst_of_other_messages_does_not_delay_a_critical_opening() {
        let ten = [RateLimit { messages: 10, minutes: 1 }];
        let mut state = RateLimitState::default();
        let mut reserve = |second, exemption| {
            let (decision, next) = state.reserve(&ten, at(second), exemption);
            state = next;
            decision
        };
        assert!((0..10).all(|second| reserve(second, None) == SEND_NOW));
        assert_eq!(reserve(10, None), deferred_to(60));
        assert!((11..14).all(|second| reserve(second, CRITICAL) == SEND_NOW));
        assert_eq!(reserve(14, CRITICAL), deferred_to(60));
    }

    #[test]
    fn a_burst_of_resolves_does_not_delay_a_critical_opening() {
        let sms = [RateLimit { messages: 1, minutes: 1 }, RateLimit { messages: 5, minutes: 15 }];
        let mut state = RateLimitState::default();
        let mut reserve = |second, exemption| {
            let (decision, next) = state.reserve(&sms, at(second), exemption);
            state = next;
            decision
        };
        // One resolve is within the limit and three use the exemption; the others wait until all windows have room.
        assert!((0..4).all(|second| reserve(second, RESOLVE) == SEND_NOW));
        assert_eq!(reserve(4, RESOLVE), deferred_to(60));
        assert_eq!(reserve(61, RESOLVE), SEND_NOW, "a new minute has a new allowance");
        assert_eq!(reserve(62, None), deferred_to(900));
        // However full the windows are: three critical openings at once, the rest in the next minute, in one bundle.
        assert!((63..66).all(|second| reserve(second, CRITICAL) == SEND_NOW));
        assert_eq!((reserve(66, CRITICAL), reserve(67, CRITICAL)), (deferred_to(120), deferred_to(120)));
        assert_eq!(reserve(68, None), deferred_to(900), "the other bundle keeps its minute");
        assert_eq!(reserve(124, CRITICAL), SEND_NOW);
    }

    proptest! {
        #[test]
        fn no_window_ever_exceeds_its_limit(gaps in proptest::collection::vec(0i64..90, 1..200)) {
            let policy = Policy::embedded().unwrap();
            for limits in policy.storms.contacts.values() {
                let mut state = RateLimitState::default();
                let (mut second, mut sent) = (0, std::collections::BTreeSet::new());
                for gap in &gaps {
                    second += gap;
                    let (decision, next) = state.reserve(limits, at(second), None);
                    state = next;
                    match decision {
                        RateLimitDecision::SendNow => {
                            sent.insert((second, sent.len()));
                        }
                        // A bundle is one message, however many join it.
                        RateLimitDecision::Defer { until } => {
                            prop_assert!(until > at(second) && until.as_second() % 60 == 0);
                            sent.insert((until.as_second() - 1_800_000_000, usize::MAX));
                        }
                    }
                }
                for limit in limits {
                    let first = |end: &i64| end / 60 - i64::from(limit.minutes) + 1;
                    for (end, _) in &sent {
                        let within = sent.iter().filter(|(one, _)| (first(end)..=end / 60).contains(&(one / 60))).count();
                        prop_assert!(within <= usize::try_from(limit.messages).unwrap(), "{within} in {limit:?}");
                    }
                }
            }
        }
    }
}
