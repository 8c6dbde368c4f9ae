//! Time zones, from the database that is compiled in. The machine's own may be years old, and Lambda's image may have none.

use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::sync::LazyLock;

static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Names of the database that are no zones of a place: `Factory` means that nobody chose one.
const NOT_A_PLACE: [&str; 4] = ["Factory", "posixrules", "localtime", "Etc/Unknown"];

/// Returns the zone with an IANA name, such as `Europe/Berlin` or `UTC`; `None` if there is none.
#[must_use]
pub fn find_zone(name: &str) -> Option<TimeZone> {
    if NOT_A_PLACE.iter().any(|other| name.eq_ignore_ascii_case(other)) {
        return None;
    }
    BUNDLED.get(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_that_of_a_place_or_utc() {
        for name in ["Europe/Berlin", "Asia/Kolkata", "America/Argentina/Buenos_Aires", "UTC", "Etc/UTC", "US/Pacific"]
        {
            assert!(find_zone(name).is_some(), "{name}");
        }
        for name in [
            "Factory",
            "factory",
            "posixrules",
            "localtime",
            "Europe/Atlantis",
            "",
            "../etc/passwd",
            "EST5EDT4,M3.2.0,M11.1.0",
        ] {
            assert!(find_zone(name).is_none(), "{name}");
        }
    }
}
