//! Bodies of the catalogue: what a tenant can choose from.

use domain::policy::{Component, FootprintEditor, Region};
use domain::vocabulary::{Category, ChannelClass, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Answer of `GET /v1/tenants/{t}/catalogue`: what a tenant can choose from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogueView {
    /// The tenant's plan; `null` if the deployment no longer has that plan.
    pub plan: Option<PlanView>,
    /// The notification matrix: for each role and category the channels that are notified, each `always`, `opt_in` or `low_balance_only`.
    pub matrix: BTreeMap<Role, BTreeMap<Category, BTreeMap<ChannelClass, String>>>,
    /// The addresses that alerts are sent from.
    pub senders: Senders,
    /// The product's components, for filters by component.
    pub components: Vec<Component>,
    /// The product's regions, for filters by region.
    pub regions: Vec<Region>,
}

/// A plan of `plans.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanView {
    /// The plan's id.
    pub id: String,
    /// The plan's display name.
    pub name: String,
    /// Channels that the plan includes.
    pub channels: Vec<ChannelClass>,
    /// Maximum number of recipients.
    pub recipients: u32,
    /// Maximum number of integrations.
    pub integrations: u32,
    /// Whether the plan includes digests.
    pub digest: bool,
    /// Whether the plan includes quiet hours.
    pub quiet_hours: bool,
    /// Who says which components and regions the tenant uses: only the `platform`, or the `tenant` as well.
    pub footprint: FootprintEditor,
}

/// The addresses that alerts are sent from, for a mail admin's or a phone's allow list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Senders {
    /// The From address of e-mails.
    pub email_from: String,
    /// The domain that signs e-mails (DKIM).
    pub email_domain: String,
    /// The alphanumeric sender id of SMS; `null` if the carrier shows a number.
    pub sms_sender: Option<String>,
}
