//! Digests: alerts that are not urgent are held and sent in one e-mail or one SMS, every hour or once a day.

use crate::vocabulary::{ChannelClass, Severity};
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most alerts that a digest lists; it only counts the others.
pub const ALERTS_LISTED_MAX: usize = 10;

/// Which alerts a recipient gets in a digest, and when it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// When the digest is sent.
    #[serde(flatten)]
    pub schedule: DigestSchedule,
    /// Alerts below this severity are put into the digest; others are sent at once.
    pub below: Severity,
    /// The channels with a digest; each has a digest of its own. Default: e-mail.
    #[serde(default = "email_only")]
    pub channels: BTreeSet<ChannelClass>,
}

fn email_only() -> BTreeSet<ChannelClass> {
    BTreeSet::from([ChannelClass::Email])
}

/// How often a digest is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "every", rename_all = "snake_case")]
pub enum DigestSchedule {
    /// At every full hour of the recipient's local time.
    Hourly,
    /// Once a day, at a fixed local time.
    Daily {
        /// The local time of day.
        at: Time,
    },
}

impl Digest {
    /// Returns when the next digest after `now` is sent. `zone` is the IANA time zone of the recipient.
    ///
    /// A local time that a clock change skips is moved forward by the length of the gap. Of a local time that occurs twice, the first counts.
    #[must_use]
    pub fn next_after(&self, zone: &str, now: Timestamp) -> Timestamp {
        let zone = crate::zone::find_zone(zone).unwrap_or(TimeZone::UTC);
        let local = now.to_zoned_datetime(zone.clone());
        let full_hour = || {
            let into = SignedDuration::from_mins(i64::from(local.minute()))
                + SignedDuration::from_secs(i64::from(local.second()));
            let left = SignedDuration::from_hours(1) - into;
            let next = now.saturating_add(left).unwrap_or(now);
            Timestamp::from_second(next.as_second()).unwrap_or(next)
        };
        match self.schedule {
            DigestSchedule::Hourly => full_hour(),
            DigestSchedule::Daily { at } => {
                let on = |days: i64| {
                    let day = local.date().checked_add(days.days()).ok()?;
                    zone.to_timestamp(day.to_datetime(at)).ok().filter(|moment| *moment > now)
                };
                // A time zone can skip a whole day; then the following day counts.
                (0..=2).find_map(on).unwrap_or_else(full_hour)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn next(schedule: DigestSchedule, zone: &str, now: &str) -> String {
        Digest { schedule, below: Severity::Error, channels: email_only() }
            .next_after(zone, now.parse().unwrap())
            .to_string()
    }

    fn daily(at: &str) -> DigestSchedule {
        DigestSchedule::Daily { at: at.parse().unwrap() }
    }

    #[test]
    fn the_next_digest_is_at_the_full_local_hour_or_the_daily_time() {
        for (schedule, zone, now, expected) in [
            (DigestSchedule::Hourly, "UTC", "2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z"),
            (DigestSchedule::Hourly, "UTC", "2026-11-23T10:59:59.9Z", "2026-11-23T11:00:00Z"),
            (DigestSchedule::Hourly, "Asia/Kolkata", "2026-11-23T10:00:00Z", "2026-11-23T10:30:00Z"),
            (DigestSchedule::Hourly, "Asia/Kathmandu", "2026-11-23T10:20:00Z", "2026-11-23T11:15:00Z"),
            (daily("08:00"), "Asia/Kolkata", "2026-11-23T02:29:59Z", "2026-11-23T02:30:00Z"),
            (daily("08:00"), "Asia/Kolkata", "2026-11-23T02:30:00Z", "2026-11-24T02:30:00Z"),
            (daily("00:00"), "UTC", "2028-02-28T12:00:00Z", "2028-02-29T00:00:00Z"),
        ] {
            assert_eq!(next(schedule, zone, now), expected, "{zone} {now}");
        }
    }

    #[test]
    fn clock_changes_keep_the_daily_time() {
        // Berlin skips 02:00 to 03:00 on 2026-03-29 and repeats it on 2026-10-25.
        assert_eq!(next(daily("08:00"), "Europe/Berlin", "2026-03-28T08:00:00Z"), "2026-03-29T06:00:00Z");
        assert_eq!(next(daily("02:30"), "Europe/Berlin", "2026-03-28T12:00:00Z"), "2026-03-29T01:30:00Z");
        assert_eq!(next(daily("02:30"), "Europe/Berlin", "2026-10-24T12:00:00Z"), "2026-10-25T00:30:00Z");
        assert_eq!(next(daily("02:30"), "Europe/Berlin", "2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z", "once a day");
        assert_eq!(next(DigestSchedule::Hourly, "Europe/Berlin", "2026-10-25T00:30:00Z"), "2026-10-25T01:00:00Z");
    }

    proptest! {
        #[test]
        fn the_next_digest_is_later_and_within_its_interval(
            hour in 0i8..24, minute in 0i8..60,
            zone in proptest::sample::select(&["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"][..]),
            second in 1_300_000_000i64..1_900_000_000,
        ) {
            let now = Timestamp::from_second(second).unwrap();
            let at = Time::new(hour, minute, 0, 0).unwrap();
            for (schedule, most) in [(DigestSchedule::Hourly, 3_600), (DigestSchedule::Daily { at }, 49 * 3_600)] {
                let next = Digest { schedule, below: Severity::Error, channels: email_only() }.next_after(zone, now);
                prop_assert!(next > now && next.as_second() - second <= most, "{schedule:?} {next}");
                prop_assert_eq!(next.as_second() % 60, 0);
            }
        }
    }
}
