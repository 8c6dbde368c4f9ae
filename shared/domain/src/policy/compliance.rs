//! `infra/policy/compliance.yaml`: what the law of each country requires of SMS.

use super::{PolicyError, parse_yaml};
use crate::quiet::QuietHours;
use crate::vocabulary::Kind;
use jiff::Timestamp;
use jiff::civil::Time;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The SMS rules of all countries that have some.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compliance {
    countries: BTreeMap<String, CountryRules>,
}

/// The SMS rules of one country.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountryRules {
    /// The country's name as people read it.
    pub name: String,
    /// Whether an SMS must name a registered entity and template (India's DLT).
    #[serde(default)]
    pub dlt_required: bool,
    /// The hours in which SMS may be sent that might not count as alerts; `None` if they may be sent at any time.
    #[serde(default)]
    pub sms_hours: Option<SmsWindow>,
}

/// The regulatory SMS window of a country: the daily hours in which SMS about some kinds of incidents may be sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsWindow {
    /// The start of the window, in local time.
    pub from: Time,
    /// The end of the window, in local time.
    pub to: Time,
    /// The IANA time zone of both.
    pub zone: String,
    /// The kinds of incidents that the window applies to.
    pub kinds: BTreeSet<Kind>,
}

impl SmsWindow {
    /// Returns when the window opens next for SMS about this kind; `None` if they may be sent at `now`.
    #[must_use]
    pub fn closed_until(&self, kind: Kind, now: Timestamp) -> Option<Timestamp> {
        if !self.kinds.contains(&kind) {
            return None;
        }
        let closed = QuietHours {
            from: self.to,
            to: self.from,
            days: BTreeSet::new(),
            zone: Some(self.zone.clone()),
            critical_passes: false,
        };
        closed.active_until(&self.zone, now)
    }
}

impl Compliance {
    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        let compliance: Self = parse_yaml("compliance.yaml", text)?;
        for (code, country) in &compliance.countries {
            let Some(hours) = &country.sms_hours else { continue };
            let problem = if hours.from == hours.to {
                "`from` and `to` must differ"
            } else if crate::zone::find_zone(&hours.zone).is_none() {
                "`zone` is not a known IANA time zone"
            } else {
                continue;
            };
            return Err(PolicyError { file: "compliance.yaml", problem: format!("{code}: sms_hours: {problem}") });
        }
        Ok(compliance)
    }

    /// Whether any country restricts the hours of SMS about this kind.
    #[must_use]
    pub fn restricts_sms_hours(&self, kind: Kind) -> bool {
        let mut windows = self.countries.values().filter_map(|country| country.sms_hours.as_ref());
        windows.any(|hours| hours.kinds.contains(&kind))
    }

    /// Finds the rules of a country by its ISO 3166-1 alpha-2 code.
    #[must_use]
    pub fn country(&self, code: &str) -> Option<&CountryRules> {
        self.countries.get(code)
    }
}
