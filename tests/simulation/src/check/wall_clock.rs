//! Quiet hours and the regulatory SMS window by the wall clock, independently of the rules under test.

use crate::scenario::seconds_after;
use crate::world::POLICY;
use contracts::queue::{Delivery, DeliveryTarget};
use domain::event::SYSTEM_TYPE_PREFIX;
use domain::quiet::{QuietHours, QuietHoursOverride};
use domain::tenant::{Destination, Settings};
use domain::vocabulary::{Channel, Day, Kind, Severity};
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// What was decided before quiet hours began may be sent up to so many seconds into them: a pause before a retry on a queue is at most a minute.
pub const TOLERANCE_SECONDS: i64 = 120;

/// Kinds of text messages to India that are restricted to the regulatory SMS window.
pub(super) const RESTRICTED_SMS_KINDS: &[Kind] = &[Kind::Advisory, Kind::Maintenance, Kind::OptIn];

fn zone_of(name: &str) -> TimeZone {
    match domain::zone::find_zone(name) {
        Some(zone) => zone,
        None => panic!("there is no time zone {name}"),
    }
}

/// Returns the beginning of the quiet hours that are in effect for a delivery's destination, unless the delivery passes them.
#[must_use]
pub fn quiet_since(settings: &Settings, to: &Destination, delivery: &Delivery, now: Timestamp) -> Option<Timestamp> {
    if delivery.channel == Channel::Webhook || !POLICY.plans.get(&settings.plan)?.quiet_hours {
        return None;
    }
    let own = match to {
        Destination::Recipient(one) => one.quiet_hours.as_ref().map(|own| (own, one.zone.as_ref())),
        Destination::Integration(_) => None,
    };
    let (hours, zone) = match own {
        Some((QuietHoursOverride::Off, _)) => return None,
        Some((QuietHoursOverride::Hours(hours), zone)) => (hours, zone.unwrap_or(&settings.zone)),
        None => (settings.quiet_hours.as_ref()?, &settings.zone),
    };
    let passes = delivery.alert.severity == Severity::Critical && hours.critical_passes;
    if passes { None } else { quiet_since_within(hours, hours.zone.as_ref().unwrap_or(zone), now) }
}

/// Returns the beginning of the quiet hours that the wall clock is in. `None` within an hour of a daylight-saving change, when wall-clock
/// times occur twice or not at all.
fn quiet_since_within(hours: &QuietHours, zone: &str, now: Timestamp) -> Option<Timestamp> {
    let zone = zone_of(zone);
    let offset = |at: Timestamp| zone.to_offset(at);
    if offset(seconds_after(now, -3_600)) != offset(seconds_after(now, 3_600)) {
        return None;
    }
    let clock = now.to_zoned_datetime(zone.clone());
    let (today, time) = (clock.date(), clock.time());
    let yesterday = today.checked_sub(1.day()).ok()?;
    let counts = |date: Date| hours.days.is_empty() || hours.days.contains(&day(date.weekday()));
    let began = |date: Date| zone.to_timestamp(date.to_datetime(hours.from)).ok();
    let overnight = hours.to <= hours.from;
    if time >= hours.from && (overnight || time < hours.to) && counts(today) {
        return began(today);
    }
    if overnight && time < hours.to && counts(yesterday) { began(yesterday) } else { None }
}

fn day(weekday: Weekday) -> Day {
    Day::ALL[usize::try_from(weekday.to_monday_zero_offset()).unwrap_or(0)]
}

/// Whether this is a restricted text message to India, outside 10:00 to 21:00 there.
#[must_use]
pub fn outside_sms_window(settings: &Settings, delivery: &Delivery, now: Timestamp) -> bool {
    let DeliveryTarget::Sms { phone, .. } = &delivery.target else { return false };
    let number = phone.expose();
    let india = number.starts_with("+91")
        || (!number.starts_with("+1") && settings.compliance.country.as_deref() == Some("IN"));
    let time = now.to_zoned_datetime(zone_of("Asia/Kolkata")).time();
    let open = Time::constant(10, 0, 0, 0) <= time && time < Time::constant(21, 0, 0, 0);
    // What Tocsin itself reports is about the tenant's account.
    let own = delivery.alert.event_type.starts_with(SYSTEM_TYPE_PREFIX);
    india && RESTRICTED_SMS_KINDS.contains(&delivery.alert.kind) && !own && !open
}
