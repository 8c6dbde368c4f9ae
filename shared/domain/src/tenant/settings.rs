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

/// The names that a tenant wants and the platform has not approved: since when, and how often the platform was notified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRequests {
    /// Since when they wait; `None` if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The day of the last notice, in days since 1970-01-01 (UTC).
    pub day: i64,
    /// The notices of that day.
    pub notices: u32,
}

/// The most notices a day about the names that one tenant wants, so that nobody buries the platform's own alerts.
const NAME_NOTICES_A_DAY: u32 = 3;

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
    /// Since when names wait for the platform's approval.
    #[serde(default, skip_serializing_if = "NameRequests::is_default")]
    pub name_requests: NameRequests,
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

impl NameRequests {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Settings {
    /// Returns the public name that waits for the platform's approval; `None` if none does.
    #[must_use]
    pub fn waiting_public_name(&self) -> Option<&str> {
        self.public_name.as_deref().filter(|name| self.approved.public_name.as_deref() != Some(*name))
    }

    /// Returns the sender id that waits for the platform's approval; `None` if none does.
    #[must_use]
    pub fn waiting_sender_id(&self) -> Option<&str> {
        self.compliance.sender_id.as_deref().filter(|id| self.approved.sender_id.as_deref() != Some(*id))
    }

    /// Returns these settings, which are to replace `before`, with the state of their name requests at `now`, and whether the platform is
    /// notified: of each name that was not wanted before, a few times a day at most.
    #[must_use]
    pub fn with_name_requests(self, before: &Self, now: Timestamp) -> (Self, bool) {
        let wants = |settings: &Self| {
            [settings.waiting_public_name(), settings.waiting_sender_id()].map(|name| name.map(str::to_owned))
        };
        let (old, new) = (wants(before), wants(&self));
        let known = before.name_requests;
        if new.iter().all(Option::is_none) {
            let name_requests = NameRequests { since: None, ..known };
            return (Self { name_requests, ..self }, false);
        }
        let is_new = known.since.is_none() || new.iter().zip(&old).any(|(new, old)| new.is_some() && new != old);
        let since = if is_new { Some(now) } else { known.since };
        let today = now.as_second().div_euclid(86_400);
        let sent = if known.day == today { known.notices } else { 0 };
        let notifies = is_new && sent < NAME_NOTICES_A_DAY;
        let name_requests = NameRequests { since, day: today, notices: sent + u32::from(notifies) };
        (Self { name_requests, ..self }, notifies)
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(public_name: Option<&str>, sender_id: Option<&str>, approved: Option<&str>) -> Settings {
        serde_json::from_value(json!({"tenant": "acme", "name": "Acme", "plan": "business", "zone": "UTC",
            "alert_window_seconds": 60, "categories": {}, "version": 1, "public_name": public_name,
            "approved": {"public_name": approved}, "compliance": {"sender_id": sender_id}}))
        .unwrap()
    }

    #[test]
    fn the_platform_is_notified_of_each_name_a_few_times_a_day() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let none = settings(None, None, None);
        let (asked, notifies) = settings(Some("Acme Alerts"), None, None).with_name_requests(&none, at(0));
        assert!(notifies && asked.name_requests.since == Some(at(0)));
        let (again, notifies) = asked.clone().with_name_requests(&asked, at(5));
        assert!(!notifies && again == asked, "nothing new is wanted");
        let approved = settings(Some("Acme Alerts"), None, Some("Acme Alerts"));
        let (done, notifies) = approved.with_name_requests(&asked, at(10));
        assert!(!notifies && done.name_requests.since.is_none());
        // Wanting another name each minute is noticed three times.
        let mut before = asked;
        let mut notices = 1;
        for minute in 1..20 {
            let next = Settings {
                name_requests: before.name_requests,
                ..settings(Some(&format!("Name {minute}")), Some("ACME"), None)
            };
            let (next, notifies) = next.with_name_requests(&before, at(60 * minute));
            assert_eq!(next.name_requests.since, Some(at(60 * minute)), "the newest wish waits since it was made");
            notices += u32::from(notifies);
            before = next;
        }
        assert_eq!(notices, NAME_NOTICES_A_DAY);
        let next = Settings { name_requests: before.name_requests, ..settings(Some("Tomorrow"), None, None) };
        assert!(next.with_name_requests(&before, at(86_400)).1);
    }

    #[test]
    fn settings_without_names_are_stored_as_before() {
        let stored = serde_json::to_value(settings(None, None, None)).unwrap();
        assert!(stored.get("name_requests").is_none(), "{stored}");
    }
}
