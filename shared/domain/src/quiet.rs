//! Quiet hours: local hours in which people are not notified. Alerts are held until they end, never dropped.

use crate::vocabulary::Day;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Daily hours of local time. The start is included, the end is not; they may cross midnight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    /// Local time at which they start.
    pub from: Time,
    /// Local time at which they end; on the next day if it is at or before `from`.
    pub to: Time,
    /// Days on which they start; empty means every day.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub days: BTreeSet<Day>,
    /// IANA time zone of the hours; `None` means the zone of the tenant or recipient they belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether critical alerts are sent during quiet hours.
    pub critical_passes: bool,
}

/// A recipient's own quiet hours, which replace the tenant's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuietHoursOverride {
    /// No quiet hours, even if the tenant has some.
    Off,
    /// These hours instead of the tenant's.
    Hours(QuietHours),
}

impl QuietHours {
    /// Returns when the quiet hours at `now` end; `None` outside of them. `zone` is the IANA time zone of their owner.
    ///
    /// A local time that a clock change skips is moved forward by the length of the gap. Of a local time that occurs twice, the first counts
    /// (RFC 5545, 3.3.5).
    #[must_use]
    pub fn active_until(&self, zone: &str, now: Timestamp) -> Option<Timestamp> {
        let zone = crate::zone::find_zone(self.zone.as_deref().unwrap_or(zone)).unwrap_or(TimeZone::UTC);
        let today = now.to_zoned_datetime(zone.clone()).date();
        // Quiet hours that started yesterday may still be active.
        [today.checked_sub(1.day()).ok(), Some(today)].into_iter().flatten().find_map(|day| {
            let (start, end) = self.starting_on(day, &zone)?;
            (start <= now && now < end).then_some(end)
        })
    }

    fn starting_on(&self, day: Date, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
        if !self.days.is_empty() && !self.days.contains(&day_of(day.weekday())) {
            return None;
        }
        let last = if self.to <= self.from { day.checked_add(1.day()).ok()? } else { day };
        let at = |date: Date, time: Time| zone.to_timestamp(date.to_datetime(time)).ok();
        Some((at(day, self.from)?, at(last, self.to)?))
    }

    /// Returns their length in minutes, ignoring clock changes.
    #[must_use]
    pub fn duration_minutes(&self) -> i64 {
        let minute = |time: Time| i64::from(time.hour()) * 60 + i64::from(time.minute());
        (minute(self.to) - minute(self.from)).rem_euclid(24 * 60)
    }
}

const fn day_of(day: Weekday) -> Day {
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
        hours.active_until(zone, now.parse().unwrap()).map(|end| end.to_string())
    }

    #[test]
    fn they_cross_midnight_and_include_the_start_but_not_the_end() {
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
    fn a_day_is_the_day_on_which_they_start() {
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
    fn clock_changes_keep_the_local_hours() {
        let night = hours("22:00", "07:00", &[]);
        // Berlin: 2026-03-29 has 23 hours, 2026-10-25 has 25.
        assert_eq!(until(&night, "Europe/Berlin", "2026-03-28T23:00:00Z").as_deref(), Some("2026-03-29T05:00:00Z"));
        assert_eq!(until(&night, "Europe/Berlin", "2026-10-24T23:00:00Z").as_deref(), Some("2026-10-25T06:00:00Z"));
        // An end in the skipped hour moves behind the gap. An end in the repeated hour is the first occurrence.
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
        // Zones with offsets of half and quarter hours.
        assert_eq!(until(&night, "Asia/Kathmandu", "2026-11-23T20:00:00Z").as_deref(), Some("2026-11-24T01:15:00Z"));
        assert_eq!(
            until(&night, "Australia/Lord_Howe", "2026-10-03T14:00:00Z").as_deref(),
            Some("2026-10-03T20:00:00Z")
        );
    }

    #[test]
    fn the_zone_of_the_hours_overrides_the_owners_zone() {
        let night = QuietHours { zone: Some("America/New_York".into()), ..hours("22:00", "07:00", &[]) };
        assert!(until(&night, "Asia/Kolkata", "2026-11-24T04:00:00Z").is_some());
        assert_eq!(night.duration_minutes(), 540);
        assert_eq!(hours("00:00", "23:59", &[]).duration_minutes(), 1_439);
    }

    proptest! {
        /// For any hours, zone and time, the end is in the future, at most 25 hours away, on a full minute, and outside of quiet hours.
        #[test]
        fn the_end_is_near_and_outside_of_quiet_hours(
            from in 0i8..24, from_minute in 0i8..60, length in 1i64..1_440,
            days in proptest::collection::btree_set(proptest::sample::select(Day::ALL), 0..7),
            zone in proptest::sample::select(&["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"][..]),
            second in 1_700_000_000i64..1_900_000_000,
        ) {
            let from = Time::new(from, from_minute, 0, 0).unwrap();
            let to = from.wrapping_add(length.minutes());
            let quiet = QuietHours { from, to, days, zone: None, critical_passes: true };
            let now = Timestamp::from_second(second).unwrap();
            if let Some(end) = quiet.active_until(zone, now) {
                prop_assert!(end > now && end.as_second() - second <= 25 * 3_600);
                prop_assert_eq!(end.as_second() % 60, 0);
                // Only quiet hours of 24 hours would still be active at their end; the generated ones are shorter.
                prop_assert_eq!(quiet.active_until(zone, end), None);
            }
        }
    }
}
