//! `infra/policy/plans.yaml`: what each pricing plan includes.

use super::{PolicyError, parse_yaml};
use crate::vocabulary::ChannelClass;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A pricing plan, with its channels and limits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PricingPlan {
    /// The plan's id, such as `business`.
    pub id: String,
    /// The plan's name as people read it.
    pub name: String,
    /// The classes of channels that the plan includes.
    pub channels: BTreeSet<ChannelClass>,
    /// Maximum number of recipients of a tenant.
    pub recipients: u32,
    /// Maximum number of integrations of a tenant.
    pub integrations: u32,
    /// Whether the plan includes digests.
    pub digest: bool,
    /// Whether the plan includes quiet hours.
    pub quiet_hours: bool,
    /// Who says what a tenant uses.
    #[serde(default)]
    pub footprint: FootprintEditor,
}

/// Who says which components and regions a tenant uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FootprintEditor {
    /// The platform, which knows.
    #[default]
    Platform,
    /// The tenant's admins as well.
    Tenant,
}

/// The pricing plans, from the smallest to the largest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricingPlans(Vec<PricingPlan>);

impl PricingPlans {
    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        let plans: Vec<PricingPlan> = parse_yaml("plans.yaml", text)?;
        let ids: BTreeSet<&str> = plans.iter().map(|plan| plan.id.as_str()).collect();
        if plans.is_empty() || ids.len() != plans.len() {
            let problem = "define at least one plan, and use each id once".to_owned();
            return Err(PolicyError { file: "plans.yaml", problem });
        }
        Ok(Self(plans))
    }

    /// Finds a plan by its id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&PricingPlan> {
        self.0.iter().find(|plan| plan.id == id)
    }

    /// Lists the ids, from the smallest plan to the largest.
    #[must_use]
    pub fn ids(&self) -> Vec<&str> {
        self.0.iter().map(|plan| plan.id.as_str()).collect()
    }

    /// Returns the largest plan.
    #[must_use]
    pub fn largest(&self) -> Option<&PricingPlan> {
        self.0.last()
    }

    /// Finds the smallest plan that includes a channel, which the error for a channel that is not included names.
    #[must_use]
    pub fn smallest_with_channel(&self, class: ChannelClass) -> Option<&PricingPlan> {
        self.0.iter().find(|plan| plan.channels.contains(&class))
    }
}
