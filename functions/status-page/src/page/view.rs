//! How a reader looks at the pages: the name and logo of the product, the reader's time zone, and whether the page reloads itself. All of it
//! is in the address, because the pages have no script and set no cookie.

use super::NAME;
use super::card::DisplayTime;
use domain::zone::find_zone;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

/// Seconds after which the overview and an incident's page reload themselves. Caches keep them for 15.
pub const REFRESH_SECONDS: u32 = 60;

/// Zones that the page offers, from west to east. Any other works in the address.
const ZONES: &[&str] = &[
    "America/Los_Angeles",
    "America/Denver",
    "America/Chicago",
    "America/New_York",
    "America/Sao_Paulo",
    "Europe/London",
    "Europe/Berlin",
    "Africa/Lagos",
    "Africa/Johannesburg",
    "Africa/Nairobi",
    "Asia/Dubai",
    "Asia/Karachi",
    "Asia/Kolkata",
    "Asia/Dhaka",
    "Asia/Jakarta",
    "Asia/Singapore",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Australia/Sydney",
    "Pacific/Auckland",
];

/// What an address may say after `?`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ViewQuery {
    /// The IANA name of the reader's time zone.
    #[serde(default)]
    pub zone: String,
    /// `off` keeps the page as it is.
    #[serde(default)]
    pub refresh: String,
}

/// The name and logo that the deployer chose.
#[derive(Clone, Debug)]
pub struct Brand {
    /// The title of the pages and feeds.
    pub name: String,
    /// The https URL of an image, shown beside the name.
    pub logo: Option<String>,
}

impl Default for Brand {
    fn default() -> Self {
        Self { name: NAME.to_owned(), logo: None }
    }
}

/// How a reader looks at a page.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The relative path to `/status`.
    pub home: String,
    /// The product's name and logo.
    pub brand: &'a Brand,
    zone: Option<(String, TimeZone)>,
    refreshes: bool,
}

impl<'a> View<'a> {
    /// Reads the address of a page whose relative path to `/status` is `home`. A zone that does not exist is UTC.
    #[must_use]
    pub fn new(home: String, brand: &'a Brand, query: &ViewQuery) -> Self {
        let zone = find_zone(query.zone.trim());
        let name_of =
            |zone: &TimeZone| zone.iana_name().filter(|name| !matches!(*name, "UTC" | "Etc/UTC")).map(str::to_owned);
        let zone = zone.and_then(|zone| Some((name_of(&zone)?, zone)));
        Self { home, brand, zone, refreshes: query.refresh != "off" }
    }

    /// Whether the page reloads itself.
    #[must_use]
    pub const fn refreshes(&self) -> bool {
        self.refreshes
    }

    /// Formats a time: in the reader's zone with UTC beside it, or in UTC alone.
    pub(super) fn time(&self, at: Timestamp) -> DisplayTime {
        let utc = at.strftime("%-d %b %Y, %H:%M UTC").to_string();
        let text = match &self.zone {
            None => utc,
            Some((_, zone)) => {
                let local = at.to_zoned_datetime(zone.clone());
                let same_day = local.date() == at.to_zoned_datetime(TimeZone::UTC).date();
                let beside = at.strftime(if same_day { "%H:%M UTC" } else { "%-d %b, %H:%M UTC" });
                format!("{} ({beside})", local.strftime("%-d %b %Y, %H:%M %Z"))
            }
        };
        DisplayTime { machine_text: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), text }
    }

    /// Returns what the links between the pages carry on, from `?`; empty for a reader who chose nothing.
    pub(super) fn query(&self) -> String {
        self.query_with(self.refreshes)
    }

    fn query_with(&self, refreshes: bool) -> String {
        let zone = self.zone.as_ref().map(|(name, _)| format!("zone={}", name.replace('+', "%2B")));
        let refresh = (!refreshes).then(|| "refresh=off".to_owned());
        let pairs: Vec<String> = zone.into_iter().chain(refresh).collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }

    /// Returns the address of the overview.
    pub(super) fn overview(&self) -> String {
        format!("{}{}", self.home, self.query())
    }

    /// Returns the address of this page with the other choice about reloading.
    pub(super) fn toggled(&self) -> String {
        match self.query_with(!self.refreshes).as_str() {
            "" => "?".to_owned(),
            query => query.to_owned(),
        }
    }

    /// Says in which zones the times are.
    pub(super) fn zone_note(&self) -> String {
        match &self.zone {
            Some((name, _)) => format!("Times are in {name}, with UTC beside them."),
            None => "All times are UTC.".to_owned(),
        }
    }

    /// Lists the zones that the page offers, each with whether it is the reader's.
    pub(super) fn zones(&self) -> Vec<(&str, bool)> {
        let own = self.zone.as_ref().map(|(name, _)| name.as_str());
        let mut zones = vec![("UTC", own.is_none())];
        zones.extend(own.filter(|name| !ZONES.contains(name)).map(|name| (name, true)));
        zones.extend(ZONES.iter().map(|name| (*name, own == Some(*name))));
        zones
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'a>(brand: &'a Brand, zone: &str, refresh: &str) -> View<'a> {
        View::new("status".to_owned(), brand, &ViewQuery { zone: zone.to_owned(), refresh: refresh.to_owned() })
    }

    #[test]
    fn a_reader_sees_the_own_zone_and_utc_beside_it() {
        let brand = Brand::default();
        let at = |text: &str| text.parse().unwrap();
        let text = |zone: &str, time: &str| view(&brand, zone, "").time(at(time)).text;
        assert_eq!(text("Asia/Kolkata", "2026-11-23T08:30:00Z"), "23 Nov 2026, 14:00 IST (08:30 UTC)");
        assert_eq!(text("asia/kolkata", "2026-11-23T20:30:00Z"), "24 Nov 2026, 02:00 IST (23 Nov, 20:30 UTC)");
        for none in ["", "UTC", "Nowhere/Land", "<script>"] {
            assert_eq!(text(none, "2026-11-23T08:30:00Z"), "23 Nov 2026, 08:30 UTC", "{none}");
        }
    }

    #[test]
    fn links_carry_on_what_the_reader_chose() {
        let brand = Brand::default();
        let queries = |zone: &str, refresh: &str| {
            let view = view(&brand, zone, refresh);
            (view.overview(), view.toggled())
        };
        assert_eq!(queries("", ""), ("status".into(), "?refresh=off".into()));
        assert_eq!(queries("", "off"), ("status?refresh=off".into(), "?".into()));
        assert_eq!(
            queries("Asia/Kolkata", "off"),
            ("status?zone=Asia/Kolkata&refresh=off".into(), "?zone=Asia/Kolkata".into())
        );
        assert_eq!(queries("Etc/GMT+5", "").0, "status?zone=Etc/GMT%2B5");
        let own = view(&brand, "Asia/Kathmandu", "");
        assert!(own.zones().contains(&("Asia/Kathmandu", true)) && own.zones().contains(&("UTC", false)));
        assert_eq!(own.zones().iter().filter(|(_, chosen)| *chosen).count(), 1);
        assert!(ZONES.iter().all(|zone| find_zone(zone).is_some()));
    }
}
