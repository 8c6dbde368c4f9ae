//! Checks request bodies before they are saved. Each check reports every wrong field at once, each with its remedy. No I/O.

pub(crate) mod integration;
pub(crate) mod recipient;
pub(crate) mod settings;
pub(crate) mod token;

use contracts::http::{DigestBody, QuietHoursBody};
use contracts::problem::{FieldError, pointer_segment};
use domain::digest::{Digest, DigestSchedule};
use domain::event::{LIST_MAX, NAME_MAX};
use domain::quiet::QuietHours;
use domain::tenant::Filters;
use domain::vocabulary::{Category, ChannelClass, Day, Role, Severity};
use jiff::civil::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// Longest display name, in characters.
const DISPLAY_NAME_MAX: usize = 100;

const INVALID_ZONE: &str = "must be an IANA time zone, such as Asia/Kolkata, Europe/Berlin or UTC";

/// Returns quiet hours as the API shows them.
fn quiet_hours_body(hours: &QuietHours) -> QuietHoursBody {
    let text = |time: Time| time.strftime("%H:%M").to_string();
    QuietHoursBody {
        from: text(hours.from),
        to: text(hours.to),
        days: hours.days.iter().map(|day| day.as_str().to_owned()).collect(),
        zone: hours.zone.clone(),
        critical_passes: hours.critical_passes,
    }
}

/// Returns a digest as the API shows it.
fn digest_body(digest: &Digest) -> DigestBody {
    let (every, at) = match digest.schedule {
        DigestSchedule::Hourly => ("hourly", None),
        DigestSchedule::Daily { at } => ("daily", Some(at.strftime("%H:%M").to_string())),
    };
    let channels = digest.channels.iter().map(|class| class.as_str().to_owned()).collect();
    DigestBody { every: every.to_owned(), at, below: digest.below.as_str().to_owned(), channels }
}

/// Returns minimum severities of categories as the API shows them.
fn min_severities_body(filters: &Filters) -> BTreeMap<String, String> {
    let body = |(category, severity): (&Category, &Severity)| (category.to_string(), severity.as_str().to_owned());
    filters.min_severities.iter().map(body).collect()
}

/// The filters of a recipient's or an integration's body.
#[derive(Clone, Copy, Debug)]
struct FilterFields<'a> {
    regions: &'a [String],
    components: &'a [String],
    min_severity: Option<&'a str>,
    min_severities: &'a BTreeMap<String, String>,
}

/// Collects the wrong fields of one body.
#[derive(Debug, Default)]
pub(crate) struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Adds a wrong field.
    pub(crate) fn add(&mut self, pointer: impl Into<String>, detail: impl Display) {
        self.0.push(FieldError::new(pointer, detail.to_string()));
    }

    /// Returns the value, or the errors if there are any.
    pub(crate) fn into_result<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }

    /// Returns the errors alone, for a value that could not be built.
    pub(crate) fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    /// Checks a display name. It appears in subjects and headings, so it has one line. Returns it without outer spaces.
    fn parse_display_name(&mut self, pointer: &str, text: &str) -> String {
        let text = text.trim();
        let length = text.chars().count();
        if !(1..=DISPLAY_NAME_MAX).contains(&length) || text.chars().any(char::is_control) {
            self.add(pointer, format_args!("must have 1 to {DISPLAY_NAME_MAX} characters on one line"));
        }
        text.to_owned()
    }

    /// Checks that the field `zone` is an IANA time zone.
    fn check_zone(&mut self, zone: &str) {
        if domain::zone::find_zone(zone).is_none() {
            self.add("/zone", INVALID_ZONE);
        }
    }

    /// Parses quiet hours; `None` without them, or if a time is not valid.
    fn parse_quiet_hours(&mut self, given: Option<&QuietHoursBody>) -> Option<QuietHours> {
        let given = given?;
        let (from, to) =
            (self.parse_time("/quiet_hours/from", &given.from), self.parse_time("/quiet_hours/to", &given.to));
        if from.is_some() && from == to {
            self.add("/quiet_hours/to", "must differ from `from`; to stop all alerts, pause or mute instead");
        }
        let all = Day::ALL.iter().map(|day| day.as_str()).collect::<Vec<_>>();
        let days = self.parse_set("/quiet_hours/days", &given.days, Day::parse, &all);
        let zone = given.zone.clone().filter(|zone| !zone.is_empty());
        if zone.as_deref().is_some_and(|zone| domain::zone::find_zone(zone).is_none()) {
            self.add("/quiet_hours/zone", INVALID_ZONE);
        }
        Some(QuietHours { from: from?, to: to?, days, zone, critical_passes: given.critical_passes })
    }

    /// Parses a local time in whole minutes, the resolution of the due index.
    fn parse_time(&mut self, pointer: &str, text: &str) -> Option<Time> {
        let fits = text.len() == 5 && text.as_bytes().get(2) == Some(&b':');
        let time = text.parse::<Time>().ok().filter(|_| fits);
        if time.is_none() {
            self.add(pointer, "must be a local time as HH:MM, such as 22:00");
        }
        time
    }

    /// Parses a digest; `None` without one, or if a field is not valid.
    fn parse_digest(&mut self, given: Option<&DigestBody>) -> Option<Digest> {
        let given = given?;
        let schedule = match (given.every.as_str(), &given.at) {
            ("hourly", None) => Some(DigestSchedule::Hourly),
            ("hourly", Some(_)) => {
                self.add("/digest/at", "applies to daily digests only; hourly digests are sent on the hour");
                None
            }
            ("daily", Some(at)) => self.parse_time("/digest/at", at).map(|at| DigestSchedule::Daily { at }),
            ("daily", None) => {
                self.add("/digest/at", "is required for a daily digest; add a time such as 08:00");
                None
            }
            _ => {
                self.add("/digest/every", "must be hourly or daily");
                None
            }
        };
        let below = Severity::parse(&given.below);
        if below.is_none() {
            self.add("/digest/below", "must be critical, error, warning or info");
        }
        let parse = |text: &str| {
            ChannelClass::parse(text).filter(|class| matches!(class, ChannelClass::Email | ChannelClass::Sms))
        };
        let channels = self.parse_set("/digest/channels", &given.channels, parse, &["email", "sms"]);
        if given.channels.is_empty() {
            self.add("/digest/channels", "must list email, sms or both");
        }
        Some(Digest { schedule: schedule?, below: below?, channels })
    }

    /// Parses a list of words out of `all`.
    fn parse_set<T: Ord>(
        &mut self,
        pointer: &str,
        given: &[String],
        parse: impl Fn(&str) -> Option<T>,
        all: &[&str],
    ) -> BTreeSet<T> {
        let mut values = BTreeSet::new();
        for (index, text) in given.iter().enumerate() {
            match parse(text) {
                Some(value) => drop(values.insert(value)),
                None => self.add(format!("{pointer}/{index}"), format_args!("must be one of {}", all.join(", "))),
            }
        }
        values
    }

    /// Roles of a recipient, audiences of an integration: 1 to 4.
    fn parse_roles(&mut self, pointer: &str, given: &[String]) -> BTreeSet<Role> {
        let all = Role::ALL.iter().map(|role| role.as_str()).collect::<Vec<_>>();
        let roles = self.parse_set(pointer, given, Role::parse, &all);
        if given.is_empty() {
            self.add(pointer, format_args!("must list at least one of {}", all.join(", ")));
        }
        roles
    }

    fn parse_categories(&mut self, pointer: &str, given: &[String]) -> BTreeSet<Category> {
        let all = Category::ALL.iter().map(|category| category.as_str()).collect::<Vec<_>>();
        self.parse_set(pointer, given, Category::parse, &all)
    }

    fn parse_channel_classes(&mut self, pointer: &str, given: &[String]) -> BTreeSet<ChannelClass> {
        let all = ChannelClass::ALL.iter().map(|class| class.as_str()).collect::<Vec<_>>();
        self.parse_set(pointer, given, ChannelClass::parse, &all)
    }

    fn parse_filters(&mut self, given: FilterFields<'_>) -> Filters {
        let regions = self.parse_names("/regions", given.regions);
        let components = self.parse_names("/components", given.components);
        let min_severity = self.parse_severity("/min_severity", given.min_severity);
        let mut min_severities = BTreeMap::new();
        for (name, text) in given.min_severities {
            let pointer = format!("/min_severities/{}", pointer_segment(name));
            let Some(category) = Category::parse(name) else {
                let all = Category::ALL.iter().map(|category| category.as_str()).collect::<Vec<_>>().join(", ");
                self.add(pointer, format_args!("is not a category; use one of {all}"));
                continue;
            };
            min_severities.extend(self.parse_severity(&pointer, Some(text)).map(|severity| (category, severity)));
        }
        Filters { regions, components, min_severity, min_severities }
    }

    /// Parses a minimum severity; `None` without one, or if it is not valid.
    fn parse_severity(&mut self, pointer: &str, given: Option<&str>) -> Option<Severity> {
        let severity = Severity::parse(given?);
        if severity.is_none() {
            let all = Severity::ALL.iter().map(|severity| severity.as_str()).collect::<Vec<_>>();
            self.add(pointer, format_args!("must be one of {}", all.join(", ")));
        }
        severity
    }

    fn parse_names(&mut self, pointer: &str, given: &[String]) -> Vec<String> {
        if given.len() > LIST_MAX {
            self.add(pointer, format_args!("has more than {LIST_MAX} entries; remove some"));
            return Vec::new();
        }
        let mut names: Vec<String> = Vec::new();
        for (index, text) in given.iter().enumerate() {
            let name = text.trim();
            if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
                self.add(
                    format!("{pointer}/{index}"),
                    format_args!("must have 1 to {NAME_MAX} characters on one line"),
                );
            } else if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// Parses a list of names out of `known`. A name that was saved before is accepted even if it is no longer known.
    fn parse_known_names(&mut self, pointer: &str, given: &[String], known: &[&str], saved: &[String]) -> Vec<String> {
        let names = self.parse_names(pointer, given);
        for (index, text) in given.iter().enumerate() {
            let name = text.trim();
            if names.iter().any(|one| one == name) && !known.contains(&name) && !saved.iter().any(|one| one == name) {
                self.add(
                    format!("{pointer}/{index}"),
                    format_args!("is not in the catalogue; use one of {}", known.join(", ")),
                );
            }
        }
        names
    }

    /// Accepts a read-only id in a body if it is the id of the path.
    fn check_read_only_id(&mut self, pointer: &str, given: Option<&str>, known: &str) {
        if given.is_some_and(|given| given != known) {
            self.add(pointer, "is read-only and does not match the path; leave it out");
        }
    }
}
