//! `infra/policy/limits.yaml`: how many messages the API takes in, to which numbers text messages go, and how often strangers are asked.

use super::{PolicyError, parse_yaml};
use crate::tenant::{NumberFacts, NumberType};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Everything that `limits.yaml` limits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsPolicy {
    /// The buckets of intake.
    pub intake: IntakeLimits,
    /// Text messages.
    pub sms: SmsLimits,
    /// Confirmation messages.
    pub confirmations: ConfirmationLimits,
}

/// The buckets of intake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntakeLimits {
    /// One token that is limited to some tenants.
    pub token: BucketLimit,
    /// All tokens about one tenant together.
    pub tenant: BucketLimit,
    /// One token for all tenants.
    pub all_tenants_token: BucketLimit,
}

/// A token bucket, counted in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketLimit {
    /// How many messages refill it each second, 1 to 100,000.
    pub per_second: u32,
    /// How many messages a full one holds, 1 to 1,000,000.
    pub burst: u32,
}

impl BucketLimit {
    /// Returns how long it takes to refill so many messages, in milliseconds.
    #[must_use]
    pub fn milliseconds(&self, messages: u32) -> i64 {
        i64::from(messages) * 1_000 / i64::from(self.per_second.max(1))
    }
}

/// To which numbers text messages go, and how many.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsLimits {
    /// ISO 3166 codes of the countries that text messages go to; at least one.
    pub countries: BTreeSet<String>,
    /// The types of numbers that they go to; at least one.
    pub number_types: BTreeSet<NumberType>,
    /// The most message parts per day (UTC).
    pub parts_per_day: SmsPartsPerDay,
}

/// The most message parts per day (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsPartsPerDay {
    /// To one number, from all tenants together; at least 1.
    pub number: u32,
    /// To one number, of one tenant; at least 1. Less than `number`, so that a person on call for two tenants is still reached by the other.
    pub number_by_one_tenant: u32,
    /// Of one tenant; at least 1.
    pub tenant: u32,
}

impl SmsLimits {
    /// Whether text messages go to such a number.
    #[must_use]
    pub fn allows(&self, number: &NumberFacts) -> bool {
        number.country.as_ref().is_some_and(|country| self.countries.contains(country))
            && self.number_types.contains(&number.number_type)
    }
}

/// How many confirmation messages are sent per day (UTC; to one contact: within 24 hours). Each is at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmationLimits {
    /// To one mailbox or number, by all tenants together.
    pub contact: u32,
    /// To one mailbox or number by one tenant, so that no tenant uses up the limit of all.
    pub contact_by_one_tenant: u32,
    /// To all mailboxes of one domain, by one tenant.
    pub domain: u32,
    /// To one recipient, whatever its address becomes.
    pub recipient: u32,
    /// By one tenant.
    pub tenant: u32,
    /// Asked for with one token.
    pub token: u32,
    /// Days between two questions of one tenant to somebody who has unsubscribed from its mail, 1 to 400.
    pub unsubscribed_days: u32,
}

impl LimitsPolicy {
    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        let limits: Self = parse_yaml("limits.yaml", text)?;
        match limits.problem() {
            Some(problem) => Err(PolicyError { file: "limits.yaml", problem }),
            None => Ok(limits),
        }
    }

    fn problem(&self) -> Option<String> {
        let IntakeLimits { token, tenant, all_tenants_token } = self.intake;
        for (name, bucket) in [("token", token), ("tenant", tenant), ("all_tenants_token", all_tenants_token)] {
            if !(1..=100_000).contains(&bucket.per_second) || !(1..=1_000_000).contains(&bucket.burst) {
                return Some(format!("intake.{name}: per_second must be from 1 to 100000, burst from 1 to 1000000"));
            }
        }
        let SmsLimits { countries, number_types, parts_per_day } = &self.sms;
        let is_code = |code: &String| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
        if countries.is_empty() || !countries.iter().all(is_code) {
            return Some("sms.countries: name at least one country by its two-letter ISO 3166 code, such as US".into());
        }
        if number_types.is_empty() {
            return Some("sms.number_types: name at least one type, such as mobile".into());
        }
        let ConfirmationLimits { contact, contact_by_one_tenant, domain, recipient, tenant, token, unsubscribed_days } =
            self.confirmations;
        if !(1..=400).contains(&unsubscribed_days) {
            return Some("confirmations.unsubscribed_days must be from 1 to 400".into());
        }
        let counts = [
            ("sms.parts_per_day.number", parts_per_day.number),
            ("sms.parts_per_day.number_by_one_tenant", parts_per_day.number_by_one_tenant),
            ("sms.parts_per_day.tenant", parts_per_day.tenant),
            ("confirmations.contact", contact),
            ("confirmations.contact_by_one_tenant", contact_by_one_tenant),
            ("confirmations.domain", domain),
            ("confirmations.recipient", recipient),
            ("confirmations.tenant", tenant),
            ("confirmations.token", token),
        ];
        let zero = counts.iter().find(|(_, count)| *count == 0);
        zero.map(|(name, _)| format!("{name} must be at least 1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyFiles;
    use crate::tenant::Phone;

    fn embedded() -> LimitsPolicy {
        LimitsPolicy::parse(PolicyFiles::EMBEDDED.limits).unwrap()
    }

    #[test]
    fn text_messages_go_to_mobile_phones_of_the_listed_countries_only() {
        let sms = embedded().sms;
        let allowed = |text: &str| Phone::parse(text).is_ok_and(|phone| sms.allows(&phone.facts()));
        for good in [
            "+14155550100",
            "+14165550100",
            "+447400123456",
            "+4915123456789",
            "+33612345678",
            "+919876543210",
            "+6581234567",
            "+61412345678",
        ] {
            assert!(allowed(good), "{good}");
        }
        // Premium rates, satellites, the Caribbean behind +1, islands behind +44, landlines, and other countries.
        for bad in [
            "+19005550100",
            "+18005550100",
            "+18765550100",
            "+18095550100",
            "+12425550100",
            "+16495550100",
            "+881612345678",
            "+882161234567",
            "+979123456789",
            "+447797712345",
            "+447624123456",
            "+449012345678",
            "+442071838750",
            "+447012345678",
            "+49900123456",
            "+5352345678",
            "+25261234567",
            "+393123456789",
            "+5511961234567",
            "+85251234567",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn what_allows_nothing_or_everything_is_no_policy() {
        let text = PolicyFiles::EMBEDDED.limits;
        for (old, new, words) in [
            ("[US, CA, GB, DE, FR, IN, SG, AU]", "[]", "sms.countries"),
            ("[US, CA, GB, DE, FR, IN, SG, AU]", "[usa]", "sms.countries"),
            ("[mobile, fixed_line_or_mobile]", "[]", "sms.number_types"),
            ("[mobile, fixed_line_or_mobile]", "[cell]", "cell"),
            ("number: 60", "number: 0", "sms.parts_per_day.number"),
            ("domain: 50", "domain: 0", "confirmations.domain"),
            ("unsubscribed_days: 30", "unsubscribed_days: 0", "confirmations.unsubscribed_days"),
            ("per_second: 10,", "per_second: 0,", "intake.token"),
        ] {
            assert!(text.contains(old), "{old}");
            let error = LimitsPolicy::parse(&text.replace(old, new)).unwrap_err();
            assert!(error.problem.contains(words), "{error}");
        }
    }
}
