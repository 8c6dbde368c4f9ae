//! `infra/policy/matrix.yaml`: which roles receive which categories on which channels.

use super::{PolicyError, parse_yaml};
use crate::vocabulary::{Category, ChannelClass, Role};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Whether the matrix gives a role a category on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Every recipient with the role receives it.
    Yes,
    /// Only recipients who opted in receive it.
    OptIn,
    /// Recipients receive it only about low or exhausted balances.
    LowBalanceOnly,
    /// No recipient with the role receives it.
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Condition {
    Always,
    OptIn,
    LowBalanceOnly,
}

/// The role matrix: a condition for each role, category and class of channels.
#[derive(Clone, Debug)]
pub struct Matrix(BTreeMap<Role, BTreeMap<Category, BTreeMap<ChannelClass, Condition>>>);

impl Matrix {
    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        parse_yaml("matrix.yaml", text).map(Self)
    }

    /// Looks up whether `role` receives `category` on a class of channels.
    #[must_use]
    pub fn allows(&self, role: Role, category: Category, class: ChannelClass) -> Allowance {
        match self.0.get(&role).and_then(|row| row.get(&category)).and_then(|cell| cell.get(&class)) {
            Some(Condition::Always) => Allowance::Yes,
            Some(Condition::OptIn) => Allowance::OptIn,
            Some(Condition::LowBalanceOnly) => Allowance::LowBalanceOnly,
            None => Allowance::No,
        }
    }

    /// Lists the channels on which any role receives a category. A tenant cannot enable any others.
    #[must_use]
    pub fn channels_for(&self, category: Category) -> BTreeSet<ChannelClass> {
        let cells = self.0.values().filter_map(|row| row.get(&category));
        cells.flat_map(|cell| cell.keys().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    #[test]
    fn a_category_can_be_enabled_on_the_channels_of_any_role() {
        let policy = Policy::embedded().unwrap();
        use ChannelClass::{Chat, Email, Sms, Webhook};
        assert_eq!(policy.matrix.channels_for(Category::Infrastructure), [Email, Sms, Chat, Webhook].into());
        assert_eq!(policy.matrix.channels_for(Category::Billing), [Email, Sms, Chat].into());
        assert_eq!(policy.matrix.channels_for(Category::Configurable), [Email, Chat, Webhook].into());
    }
}
