//! Digests: what is not urgent is collected and comes in one e-mail or one text message, every hour or once a day.

use crate::vocabulary::{ChannelClass, Severity};
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most alerts that a digest shows; it counts the others.
pub const SHOWN: usize = 10;

/// What a recipient wants collected, and when it comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// How often.
    #[serde(flatten)]
    pub every: Every,
    /// Alerts below this severity are collected; the others come at once.
    pub below: Severity,
    /// On which of the recipient's channels, each of which has a digest of its own.
    #[serde(default = "emails")]
    pub channels: BTreeSet<ChannelClass>,
}

fn emails() -> BTreeSet<ChannelClass> {
    BTreeSet::from([ChannelClass::Email])
}

/// How often a digest comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "every", rename_all = "snake_case")]
pub enum Every {
    /// At every full hour of local time.
    Hourly,
    /// Once a day.
    Daily {
        /// At this local time.
        at: Time,
    },
}

impl Digest {
    /// When the next digest after `now` comes, in the zone of its recipient.
    ///
    /// Where a clock jumps over that time, it comes right after the jump by as much; where it strikes twice, the first time.
    #[must_use]
    pub fn next(&self, zone: &str, now: Timestamp) -> Timestamp {
        let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
        let local = now.to_zoned_datetime(zone.clone());
        let full_hour = || {
            let into = SignedDuration::from_mins(i64::from(local.minute()))
                + SignedDuration::from_secs(i64::from(local.second()));
            let left = SignedDuration::from_hours(1) - into;
            let next = now.saturating_add(left).unwrap_or(now);
            Timestamp::from_second(next.as_second()).unwrap_or(next)
        };
        match self.every {
            Every::Hourly => full_hour(),
            Every::Daily { at } => {
                let on = |days: i64| {
                    let day = local.date().checked_add(days.days()).ok()?;
                    zone.to_timestamp(day.to_datetime(at)).ok().filter(|moment| *moment > now)
                };
                // A day may be missing from a zone altogether; then the one after it has the time.
                (0..=2).find_map(on).unwrap_or_else(full_hour)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn next(every: Every, zone: &str, now: &str) -> String {
        Digest { every, below: Severity::Error, channels: emails() }.next(zone, now.parse().unwrap()).to_string()
    }

    fn daily(at: &str) -> Every {
        Every::Daily { at: at.parse().unwrap() }
    }

    #[test]
    fn the_next_one_is_at_the_full_local_hour_or_the_days_time() {
        for (every, zone, now, expected) in [
            (Every::Hourly, "UTC", "2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z"),
            (Every::Hourly, "UTC", "2026-11-23T10:59:59.9Z", "2026-11-23T11:00:00Z"),
            (Every::Hourly, "Asia/Kolkata", "2026-11-23T10:00:00Z", "2026-11-23T10:30:00Z"),
            (Every::Hourly, "Asia/Kathmandu", "2026-11-23T10:20:00Z", "2026-11-23T11:15:00Z"),
            (daily("08:00"), "Asia/Kolkata", "2026-11-23T02:29:59Z", "2026-11-23T02:30:00Z"),
            (daily("08:00"), "Asia/Kolkata", "2026-11-23T02:30:00Z", "2026-11-24T02:30:00Z"),
            (daily("00:00"), "UTC", "2028-02-28T12:00:00Z", "2028-02-29T00:00:00Z"),
        ] {
            assert_eq!(next(every, zone, now), expected, "{zone} {now}");
        }
    }

    #[test]
    fn clocks_that_change_keep_the_days_time() {
        // Berlin leaves out 02:00 to 03:00 on 2026-03-29, and has it twice on 2026-10-25.
        assert_eq!(next(daily("08:00"), "Europe/Berlin", "2026-03-28T08:00:00Z"), "2026-03-29T06:00:00Z");
        assert_eq!(next(daily("02:30"), "Europe/Berlin", "2026-03-28T12:00:00Z"), "2026-03-29T01:30:00Z");
        assert_eq!(next(daily("02:30"), "Europe/Berlin", "2026-10-24T12:00:00Z"), "2026-10-25T00:30:00Z");
        assert_eq!(next(daily("02:30"), "Europe/Berlin", "2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z", "once a day");
        assert_eq!(next(Every::Hourly, "Europe/Berlin", "2026-10-25T00:30:00Z"), "2026-10-25T01:00:00Z");
    }

    proptest! {
        #[test]
        fn it_is_later_and_within_its_time(
            hour in 0i8..24, minute in 0i8..60,
            zone in proptest::sample::select(&["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"][..]),
            second in 1_300_000_000i64..1_900_000_000,
        ) {
            let now = Timestamp::from_second(second).unwrap();
            let at = Time::new(hour, minute, 0, 0).unwrap();
            for (every, most) in [(Every::Hourly, 3_600), (Every::Daily { at }, 49 * 3_600)] {
                let next = Digest { every, below: Severity::Error, channels: emails() }.next(zone, now);
                prop_assert!(next > now && next.as_second() - second <= most, "{every:?} {next}");
                prop_assert_eq!(next.as_second() % 60, 0);
            }
        }
    }
}
