//! A tenant's settings.

use super::Footprint;
use crate::digest::Digest;
use crate::ids::TenantId;
use crate::quiet::QuietHours;
use crate::vocabulary::{Category, ChannelClass, Severity, StormMode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A tenant's settings for one category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategorySettings {
    /// Whether alerts of the category are sent.
    pub enabled: bool,
    /// Channels selected for the category.
    pub channels: BTreeSet<ChannelClass>,
    /// Until when the category is muted; `None` if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<Timestamp>,
    /// Minimum severity of destinations that have none of their own; `None` leaves it to [`Settings::min_severity`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_severity: Option<Severity>,
}

/// How much of an alert may leave the platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentLevel {
    /// The whole alert, with all its fields.
    #[default]
    Full,
    /// Only title, severity and link.
    Minimal,
}

/// What the tenant's data-processing agreement allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataProcessing {
    /// Allowed channels; `None` allows all.
    #[serde(default)]
    pub channels: Option<BTreeSet<ChannelClass>>,
    /// How much of an alert may be sent.
    #[serde(default)]
    pub content: ContentLevel,
}

/// What the rules of the tenant's country require for SMS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmsCompliance {
    /// ISO 3166 code of the country whose rules apply, such as `IN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// India: id of the registered entity (DLT), 1–50 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dlt_entity_id: Option<String>,
    /// India: id of the registered template (DLT), 1–50 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dlt_template_id: Option<String>,
    /// The alphanumeric sender id that the tenant wants, 3–11 characters. It is used once the platform has approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
}

/// An admin's confirmation that alerts on a channel comply with the notification rules that apply to its recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComplianceConfirmed {
    /// Id of the token, or who else confirmed it.
    pub by: String,
    /// When it was confirmed.
    pub at: Timestamp,
    /// The text that was confirmed.
    pub wording: String,
}

/// Returns the text by which an admin confirms that alerts on a channel are lawful; `None` for webhooks and the tenant's own chat channels,
/// which need no confirmation.
#[must_use]
pub fn compliance_wording(class: ChannelClass) -> Option<String> {
    match class {
        ChannelClass::Email | ChannelClass::Sms => Some(format!(
            "I confirm that alerting these recipients by {} complies with the notification rules that apply to them.",
            class.title()
        )),
        ChannelClass::Chat | ChannelClass::Webhook => None,
    }
}

/// What the platform lets a tenant call itself in messages. Until a name is approved, messages carry a neutral text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedNames {
    /// The tenant's name in messages to people who have not agreed to any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_name: Option<String>,
    /// The sender id of the tenant's text messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
}

/// A tenant's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Id of the tenant.
    pub tenant: TenantId,
    /// Display name of the tenant.
    pub name: String,
    /// The name that the tenant wants strangers to read; `None` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_name: Option<String>,
    /// The names that the platform has approved.
    #[serde(default, skip_serializing_if = "ApprovedNames::is_empty")]
    pub approved: ApprovedNames,
    /// Id of the tenant's plan in `plans.yaml`.
    pub plan: String,
    /// IANA time zone for every local time of the tenant.
    pub zone: String,
    /// The alert window: seconds within which the provider should accept an alert.
    pub alert_window_seconds: u32,
    /// Settings of the three categories.
    pub categories: BTreeMap<Category, CategorySettings>,
    /// Domains that alerts may be e-mailed to; empty allows all.
    #[serde(default)]
    pub allowed_email_domains: Vec<String>,
    /// Regulatory data for SMS.
    #[serde(default)]
    pub compliance: SmsCompliance,
    /// Confirmations that alerts comply with local notification rules, by channel.
    #[serde(default)]
    pub compliance_confirmed: BTreeMap<ChannelClass, ComplianceConfirmed>,
    /// What the data-processing agreement allows.
    #[serde(default)]
    pub data_processing: DataProcessing,
    /// Hours in which people and chat channels are not notified; `None` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
    /// Minimum severity where neither the destination nor the category has one; `None` accepts every severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_severity: Option<Severity>,
    /// The digest of recipients who chose none of their own; `None` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Storm protection: whether too many alerts are bundled or sent one by one.
    #[serde(default = "bundle_storms")]
    pub storms: StormMode,
    /// The components and regions that the tenant uses. Platform-wide incidents elsewhere are not its own.
    #[serde(default, skip_serializing_if = "Footprint::is_everything")]
    pub footprint: Footprint,
    /// Increases by one with each write; used as the ETag.
    pub version: u64,
}

impl ApprovedNames {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Settings {
    /// Returns the name by which people are asked who have not agreed to anything: the approved one, or the tenant's id, which the platform
    /// has given it.
    #[must_use]
    pub fn name_for_strangers(&self) -> &str {
        let approved = self.approved.public_name.as_deref().filter(|_| self.public_name.is_some());
        approved.unwrap_or(self.tenant.as_str())
    }

    /// Returns what text messages of the tenant carry: its registrations, and its sender id only if that is approved.
    #[must_use]
    pub fn sms_compliance(&self) -> SmsCompliance {
        let sender_id = self.approved.sender_id.clone().filter(|_| self.compliance.sender_id.is_some());
        SmsCompliance { sender_id, ..self.compliance.clone() }
    }
}

fn bundle_storms() -> StormMode {
    StormMode::Bundle
}
