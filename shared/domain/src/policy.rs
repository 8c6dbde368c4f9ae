//! The deployer's policy files in `infra/policy`, embedded at build time, and parsed and checked at start.

mod catalogue;
mod compliance;
mod limits;
mod matrix;
mod plans;
mod storms;

pub use catalogue::{Catalogue, Component, Region};
pub use compliance::{Compliance, CountryRules, SmsWindow};
pub use limits::{BucketLimit, ConfirmationLimits, IntakeLimits, LimitsPolicy, SmsLimits, SmsPartsPerDay};
pub use matrix::{Allowance, Matrix};
pub use plans::{FootprintEditor, PricingPlan, PricingPlans};
pub use storms::{FlappingLimit, IncidentCeiling, RateLimit, StormPolicy};

use crate::classification::{Classification, Rule, RuleMatch, Rules};
use crate::event::{Event, is_reserved_type};
use crate::vocabulary::{Category, Kind};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;

const CLASSIFICATION: &str = include_str!("../../../infra/policy/classification.yaml");
const MATRIX: &str = include_str!("../../../infra/policy/matrix.yaml");
const PLANS: &str = include_str!("../../../infra/policy/plans.yaml");
const COMPLIANCE: &str = include_str!("../../../infra/policy/compliance.yaml");
const STORMS: &str = include_str!("../../../infra/policy/storms.yaml");
const CATALOGUE: &str = include_str!("../../../infra/policy/catalogue.yaml");
const MAINTENANCE: &str = include_str!("../../../infra/policy/maintenance.yaml");
const LIMITS: &str = include_str!("../../../infra/policy/limits.yaml");

/// A problem in a policy file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("infra/policy/{file}: {problem}")]
pub struct PolicyError {
    /// The name of the file.
    pub file: &'static str,
    /// What is wrong, where, and how to fix it.
    pub problem: String,
}

/// The texts of the policy files.
#[derive(Clone, Copy, Debug)]
pub struct PolicyFiles<'a> {
    /// The text of `classification.yaml`.
    pub classification: &'a str,
    /// The text of `matrix.yaml`.
    pub matrix: &'a str,
    /// The text of `plans.yaml`.
    pub plans: &'a str,
    /// The text of `compliance.yaml`.
    pub compliance: &'a str,
    /// The text of `catalogue.yaml`.
    pub catalogue: &'a str,
    /// The text of `storms.yaml`.
    pub storms: &'a str,
    /// The text of `maintenance.yaml`.
    pub maintenance: &'a str,
    /// The text of `limits.yaml`.
    pub limits: &'a str,
}

impl PolicyFiles<'static> {
    /// The files that were embedded at build time.
    pub const EMBEDDED: Self = Self {
        classification: CLASSIFICATION,
        matrix: MATRIX,
        plans: PLANS,
        compliance: COMPLIANCE,
        catalogue: CATALOGUE,
        storms: STORMS,
        maintenance: MAINTENANCE,
        limits: LIMITS,
    };
}

/// Everything that the deployer decides in `infra/policy`.
#[derive(Debug)]
pub struct Policy {
    rules: Rules,
    /// Which roles receive which categories on which channels.
    pub matrix: Matrix,
    /// What each pricing plan includes.
    pub plans: PricingPlans,
    /// What the law of each country requires of SMS.
    pub compliance: Compliance,
    /// The names of components and regions.
    pub catalogue: Catalogue,
    /// Rate limits and storm protection.
    pub storms: StormPolicy,
    /// When maintenance reminders are sent, and how long maintenance may keep incidents silent.
    pub maintenance: MaintenancePolicy,
    /// How many messages the API takes in, where text messages go, and how often strangers are asked.
    pub limits: LimitsPolicy,
}

impl Policy {
    /// Loads the policy that was embedded at build time.
    ///
    /// # Errors
    /// [`PolicyError`] with the file and the problem.
    pub fn embedded() -> Result<Self, PolicyError> {
        Self::parse(&PolicyFiles::EMBEDDED)
    }

    /// Parses and checks the texts of the policy files.
    ///
    /// # Errors
    /// [`PolicyError`] with the file and the problem.
    pub fn parse(files: &PolicyFiles<'_>) -> Result<Self, PolicyError> {
        let rules = Rules::parse(files.classification)
            .map_err(|problem| PolicyError { file: "classification.yaml", problem })?;
        Ok(Self {
            rules,
            matrix: Matrix::parse(files.matrix)?,
            plans: PricingPlans::parse(files.plans)?,
            compliance: Compliance::parse(files.compliance)?,
            catalogue: Catalogue::parse(files.catalogue)?,
            storms: StormPolicy::parse(files.storms)?,
            maintenance: MaintenancePolicy::parse(files.maintenance)?,
            limits: LimitsPolicy::parse(files.limits)?,
        })
    }

    /// Finds the rule that an event matches.
    #[must_use]
    pub fn classify(&self, event: &Event) -> Classification {
        self.rules.classify(event)
    }

    /// Whether any rule is for an event type that sources may send.
    #[must_use]
    pub fn has_rule_for(&self, event_type: &str) -> bool {
        !is_reserved_type(event_type) && self.rules.has_type(event_type)
    }

    /// Returns the rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        self.rules.all()
    }

    /// Whether an event of this rule may go to all tenants. A single tenant's users, configuration or wallet concern no other tenant, so
    /// outside Infrastructure only what may be public may be platform-wide.
    #[must_use]
    pub fn allows_platform_wide(&self, rule: &RuleMatch) -> bool {
        match rule.category {
            Some(Category::Infrastructure) => rule.kind != Kind::OptIn,
            Some(Category::Billing) => rule.public,
            Some(Category::Configurable) | None => false,
        }
    }
}

/// When maintenance reminders are sent, and how long maintenance may keep incidents silent (`infra/policy/maintenance.yaml`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenancePolicy {
    /// Minutes before the start at which the reminder is sent, 0 to 10,080 (a week). 0 turns reminders off.
    pub reminder_minutes_before: u16,
    /// Most days from the start of a maintenance to its end, 1 to 366.
    pub window_days_max: u16,
    /// Hours after which an incident that a maintenance suppresses notifies anyway, 1 to 336.
    pub covered_hours_max: u16,
}

impl MaintenancePolicy {
    /// One week, in minutes.
    const REMINDER_MAX: u16 = 7 * 24 * 60;

    /// Returns how long before the start the reminder is sent. Zero turns reminders off.
    #[must_use]
    pub fn reminder_lead_time(&self) -> SignedDuration {
        SignedDuration::from_mins(self.reminder_minutes_before.into())
    }

    /// Returns the last end that a maintenance may have which starts at `from`.
    #[must_use]
    pub fn last_end(&self, from: Timestamp) -> Timestamp {
        from.saturating_add(SignedDuration::from_hours(24 * i64::from(self.window_days_max))).unwrap_or(Timestamp::MAX)
    }

    /// Returns how long after its opening an incident that a maintenance suppresses notifies at the latest.
    #[must_use]
    pub fn covered_max(&self) -> SignedDuration {
        SignedDuration::from_hours(self.covered_hours_max.into())
    }

    fn parse(text: &str) -> Result<Self, PolicyError> {
        let maintenance: Self = parse_yaml("maintenance.yaml", text)?;
        for (name, value, max) in [
            ("window_days_max", maintenance.window_days_max, 366),
            ("covered_hours_max", maintenance.covered_hours_max, 336),
        ] {
            if !(1..=max).contains(&value) {
                let problem = format!("{name} must be from 1 to {max}");
                return Err(PolicyError { file: "maintenance.yaml", problem });
            }
        }
        if maintenance.reminder_minutes_before > Self::REMINDER_MAX {
            let problem = format!("reminder_minutes_before must be from 0 to {}", Self::REMINDER_MAX);
            return Err(PolicyError { file: "maintenance.yaml", problem });
        }
        Ok(maintenance)
    }
}

fn parse_yaml<T: DeserializeOwned>(file: &'static str, text: &str) -> Result<T, PolicyError> {
    serde_norway::from_str(text).map_err(|error| PolicyError { file, problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::ChannelClass;

    #[test]
    fn an_error_names_the_file_and_the_place() {
        let error = |files: PolicyFiles<'_>| Policy::parse(&files).unwrap_err().to_string();
        let good = PolicyFiles::EMBEDDED;
        let text = error(PolicyFiles { matrix: "org_admin: {weather: {}}", ..good });
        assert!(text.contains("matrix.yaml") && text.contains("weather"), "{text}");
        let text = error(PolicyFiles { plans: "[]", ..good });
        assert!(text.contains("plans.yaml: define at least one plan"), "{text}");
        let twice = CLASSIFICATION.replace("id: cloud-outage", "id: network-outage");
        let text = error(PolicyFiles { classification: &twice, ..good });
        assert!(text.contains("network-outage is used twice"), "{text}");
        let twice = CATALOGUE.replace("id: eu-central-1", "id: voice");
        assert_eq!(
            error(PolicyFiles { catalogue: &twice, ..good }),
            "infra/policy/catalogue.yaml: the id `voice` is used twice"
        );
        let zero = STORMS.replace("messages: 11", "messages: 0");
        assert_eq!(
            error(PolicyFiles { storms: &zero, ..good }),
            "infra/policy/storms.yaml: every limit and every `minutes` must be at least 1"
        );
        let nowhere = COMPLIANCE.replace("Asia/Kolkata", "Asia/Nowhere");
        assert_eq!(
            error(PolicyFiles { compliance: &nowhere, ..good }),
            "infra/policy/compliance.yaml: IN: sms_hours: `zone` is not a known IANA time zone"
        );
        let broken = CLASSIFICATION.replace("has(measurements.delay_minutes) &&", "has( &&");
        let text = error(PolicyFiles { classification: &broken, ..good });
        assert!(text.contains("analytics-backfill-under-threshold: `when` does not parse"), "{text}");
    }

    #[test]
    fn sources_cannot_send_reserved_event_types() {
        let policy = Policy::embedded().unwrap();
        assert!(policy.has_rule_for("api.outage") && !policy.has_rule_for("no.such"));
        for reserved in
            [crate::event::TEST_ALERT_TYPE, crate::incident::DELIVERY_FAILED_TYPE, crate::health::ENDPOINT_FAILING_TYPE]
        {
            assert!(!policy.has_rule_for(reserved) && policy.rules.has_type(reserved), "{reserved}");
        }
    }

    #[test]
    fn an_event_about_one_tenant_is_never_platform_wide() {
        let policy = Policy::embedded().unwrap();
        let platform_wide = |event_type: &str| {
            let event = serde_json::json!({"format": "native", "source": "s", "type": event_type, "dedup_key": "k",
                "severity": "error", "title": "t"});
            match policy.classify(&serde_json::from_value(event).unwrap()) {
                Classification::Included(included) => policy.allows_platform_wide(&included),
                other => panic!("{other:?}"),
            }
        };
        for event_type in ["api.outage", "maintenance.announced", "payment_gateway.error", "invoice_job.delayed"] {
            assert!(platform_wide(event_type), "{event_type}");
        }
        for event_type in ["wallet.low_balance", "wallet.exhausted", "plan.expiry", "webhook.failing", "user.warning"] {
            assert!(!platform_wide(event_type), "{event_type}");
        }
    }

    #[test]
    fn plans_are_ordered_from_the_smallest_to_the_largest() {
        let policy = Policy::embedded().unwrap();
        assert_eq!(policy.plans.ids(), ["starter", "business", "enterprise"]);
        assert_eq!(
            policy.plans.smallest_with_channel(ChannelClass::Sms).map(|plan| plan.id.as_str()),
            Some("enterprise")
        );
        assert!(policy.compliance.country("IN").is_some_and(|country| country.dlt_required));
    }
}
