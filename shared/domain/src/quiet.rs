//! Quiet hours: local hours in which people are not disturbed. What would be sent in them is held, never dropped.

use crate::vocabulary::Day;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Hours of local time. The beginning is in them, the end is not; they may cross midnight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    /// When they begin.
    pub from: Time,
    /// When they end; at or before `from` it is the next day's.
    pub to: Time,
    /// The days on which they begin; empty is every day.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub days: BTreeSet<Day>,
    /// IANA zone of the hours; `None` is the zone of whoever has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether critical alerts are sent all the same.
    pub critical_passes: bool,
}

/// What a recipient says of quiet hours, where it says anything: else the tenant's are its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnQuietHours {
    /// None, whatever the tenant has.
    Off,
    /// These, and not the tenant's.
    Hours(QuietHours),
}

impl QuietHours {
    /// When the quiet hours end that `now` is in; `None` outside of them. `zone` is that of whoever has them.
    ///
    /// Where a clock jumps over the beginning or the end, it is the moment right after the jump by as much; where it strikes
    /// twice, it is the first time (RFC 5545, 3.3.5).
    #[must_use]
    pub fn until(&self, zone: &str, now: Timestamp) -> Option<Timestamp> {
        let zone = TimeZone::get(self.zone.as_deref().unwrap_or(zone)).unwrap_or(TimeZone::UTC);
        let today = now.to_zoned_datetime(zone.clone()).date();
        // Those that began yesterday may still last.
        [today.checked_sub(1.day()).ok(), Some(today)].into_iter().flatten().find_map(|day| {
            let (begin, end) = self.beginning_on(day, &zone)?;
            (begin <= now && now < end).then_some(end)
        })
    }

    fn beginning_on(&self, day: Date, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
        if !self.days.is_empty() && !self.days.contains(&named(day.weekday())) {
            return None;
        }
        let last = if self.to <= self.from { day.checked_add(1.day()).ok()? } else { day };
        let at = |date: Date, time: Time| zone.to_timestamp(date.to_datetime(time)).ok();
        Some((at(day, self.from)?, at(last, self.to)?))
    }

    /// How many minutes they last, by the clock.
    #[must_use]
    pub fn minutes(&self) -> i64 {
        let minute = |time: Time| i64::from(time.hour()) * 60 + i64::from(time.minute());
        (minute(self.to) - minute(self.from)).rem_euclid(24 * 60)
    }
}

const fn named(day: Weekday) -> Day {
    match day {
        Weekday::Monday => Day::Monday,
        Weekday::Tuesday => Day::Tuesday,
        Weekday::Wednesday => Day::Wednesday,
        Weekday::Thursday => Day::Thursday,
        Weekday::Friday => Day::Friday,
        Weekday::Saturday => Day::Saturday,
        Weekday::Sunday => Day::Sunday,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hours(from: &str, to: &str, days: &[Day]) -> QuietHours {
        QuietHours {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            days: days.iter().copied().collect(),
            zone: None,
            critical_passes: true,
        }
    }

    fn until(hours: &QuietHours, zone: &str, now: &str) -> Option<String> {
        hours.until(zone, now.parse().unwrap()).map(|end| end.to_string())
    }

    #[test]
    fn they_cross_midnight_with_the_beginning_in_and_the_end_out() {
        let night = hours("22:00", "07:00", &[]);
        for (now, end) in [
            ("2026-11-23T21:59:59+05:30", None),
            ("2026-11-23T22:00:00+05:30", Some("2026-11-24T01:30:00Z")),
            ("2026-11-24T00:00:00+05:30", Some("2026-11-24T01:30:00Z")),
            ("2026-11-24T06:59:59+05:30", Some("2026-11-24T01:30:00Z")),
            ("2026-11-24T07:00:00+05:30", None),
        ] {
            assert_eq!(until(&night, "Asia/Kolkata", now).as_deref(), end, "{now}");
        }
        let noon = hours("12:00", "13:00", &[]);
        assert_eq!(until(&noon, "UTC", "2028-02-29T12:30:00Z").as_deref(), Some("2028-02-29T13:00:00Z"));
    }

    #[test]
    fn a_day_is_the_one_on_which_they_begin() {
        let weekend = hours("20:00", "08:00", &[Day::Saturday, Day::Sunday]);
        // 2026-11-21 is a Saturday.
        for (now, quiet) in [
            ("2026-11-20T21:00:00Z", false),
            ("2026-11-21T07:00:00Z", false),
            ("2026-11-21T21:00:00Z", true),
            ("2026-11-23T07:59:00Z", true),
            ("2026-11-23T21:00:00Z", false),
        ] {
            assert_eq!(until(&weekend, "UTC", now).is_some(), quiet, "{now}");
        }
    }

    #[test]
    fn clocks_that_change_keep_the_local_hours() {
        let night = hours("22:00", "07:00", &[]);
        // Berlin: 2026-03-29 has 23 hours, 2026-10-25 has 25.
        assert_eq!(until(&night, "Europe/Berlin", "2026-03-28T23:00:00Z").as_deref(), Some("2026-03-29T05:00:00Z"));
        assert_eq!(until(&night, "Europe/Berlin", "2026-10-24T23:00:00Z").as_deref(), Some("2026-10-25T06:00:00Z"));
        // Ends in the hour that is left out: right after the jump. Ends in the hour that comes twice: the first time.
        let to_the_gap = hours("22:00", "02:30", &[]);
        assert_eq!(
            until(&to_the_gap, "Europe/Berlin", "2026-03-29T00:30:00Z").as_deref(),
            Some("2026-03-29T01:30:00Z")
        );
        assert_eq!(
            until(&to_the_gap, "Europe/Berlin", "2026-10-25T00:10:00Z").as_deref(),
            Some("2026-10-25T00:30:00Z")
        );
        assert_eq!(until(&to_the_gap, "Europe/Berlin", "2026-10-25T01:10:00Z"), None, "the second 02:10");
        // Half and quarter hours.
        assert_eq!(until(&night, "Asia/Kathmandu", "2026-11-23T20:00:00Z").as_deref(), Some("2026-11-24T01:15:00Z"));
        assert_eq!(
            until(&night, "Australia/Lord_Howe", "2026-10-03T14:00:00Z").as_deref(),
            Some("2026-10-03T20:00:00Z")
        );
    }

    #[test]
    fn their_own_zone_counts_where_they_have_one() {
        let night = QuietHours { zone: Some("America/New_York".into()), ..hours("22:00", "07:00", &[]) };
        assert!(until(&night, "Asia/Kolkata", "2026-11-24T04:00:00Z").is_some());
        assert_eq!(night.minutes(), 540);
        assert_eq!(hours("00:00", "23:59", &[]).minutes(), 1_439);
    }

    proptest! {
        /// Whatever the hours, the zone and the moment: an end is later than now, at most a day and an hour later, on the
        /// minute, and outside of the hours.
        #[test]
        fn an_end_is_soon_and_outside(
            from in 0i8..24, from_minute in 0i8..60, length in 1i64..1_440,
            days in proptest::collection::btree_set(proptest::sample::select(Day::ALL), 0..7),
            zone in proptest::sample::select(&["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"][..]),
            second in 1_700_000_000i64..1_900_000_000,
        ) {
            let from = Time::new(from, from_minute, 0, 0).unwrap();
            let to = from.wrapping_add(length.minutes());
            let quiet = QuietHours { from, to, days, zone: None, critical_passes: true };
            let now = Timestamp::from_second(second).unwrap();
            if let Some(end) = quiet.until(zone, now) {
                prop_assert!(end > now && end.as_second() - second <= 25 * 3_600);
                prop_assert_eq!(end.as_second() % 60, 0);
                // Only those that begin again at that very moment hold on, and these never end where they begin.
                prop_assert_eq!(quiet.until(zone, end), None);
            }
        }
    }
}
