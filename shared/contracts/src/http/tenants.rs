//! Bodies of the tenant and its settings.

use super::DigestBody;
use domain::lint::Finding;
use domain::schema::Instant;
use domain::vocabulary::{Category, ChannelClass, Day, Severity, StormMode};
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Body of `PUT /v1/tenants/{t}`: creates a tenant, or changes its name, plan or time zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantBody {
    /// The tenant's display name.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// The id of a plan in `plans.yaml`.
    pub plan: String,
    /// IANA time zone, such as `Asia/Kolkata`.
    pub zone: String,
}

/// Body of `/v1/tenants/{t}/settings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsBody {
    /// The tenant's id. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The tenant's display name.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// The name that the tenant wants people to read who have not agreed to anything, as in a confirmation: without a URL or a domain.
    /// Once the platform has approved it, it is `approved.public_name`; until then such messages name the tenant's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60))]
    pub public_name: Option<String>,
    /// The names that the platform has approved. Omit it to leave them unchanged. Only the platform can change them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<ApprovedNamesBody>,
    /// The id of the tenant's plan. Omit it to leave it unchanged. Only the platform can change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// IANA time zone, such as `Asia/Kolkata`.
    pub zone: String,
    /// The time within which an alert is to be delivered, in seconds: 10 to 86,400.
    #[serde(default = "default_alert_window_seconds")]
    #[schemars(range(min = 10, max = 86_400))]
    pub alert_window_seconds: u64,
    /// The settings of each of the three categories, by name.
    #[schemars(with = "Categories")]
    pub categories: BTreeMap<String, CategoryBody>,
    /// E-mail domains that recipients may have. Empty allows every domain.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub allowed_email_domains: Vec<String>,
    /// What SMS rules require.
    #[serde(default)]
    pub compliance: ComplianceBody,
    /// What the data-processing agreement allows. Omit it to leave it unchanged. Only the platform can change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_processing: Option<DataProcessingBody>,
    /// Hours in which recipients and chat channels are not disturbed. Omit it for no quiet hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHoursBody>,
    /// The lowest severity that destinations are notified about whose category has no `min_severity`, and who have none themselves. Omit it for
    /// all. Notices about Tocsin itself and tests are always sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Severity>")]
    pub min_severity: Option<String>,
    /// The digest of recipients who chose none. Omit it to send every alert at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestBody>,
    /// Storm protection: `bundle` combines alerts into one message that counts them when there are too many, `each` sends every alert by
    /// itself.
    #[serde(default = "default_storm_mode")]
    #[schemars(with = "StormMode")]
    pub storms: String,
    /// The components and regions that the tenant uses. Platform-wide incidents elsewhere do not notify it. Omit it to leave it unchanged.
    /// Only the platform can change it, and the tenant where its plan says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footprint: Option<FootprintBody>,
    /// The version of the settings, as in the ETag. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Settings that look as if they notified somebody but do not. Returned after a write. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Finding>>")]
    pub lint: Option<serde_json::Value>,
}

/// Schema of a map that has all three categories.
struct Categories;

impl JsonSchema for Categories {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Categories".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = Category::ALL.iter().map(|category| category.as_str()).collect();
        let body = generator.subschema_for::<CategoryBody>();
        let properties: BTreeMap<&str, &Schema> = names.iter().map(|name| (*name, &body)).collect();
        json_schema!({
            "type": "object", "properties": properties, "required": names, "additionalProperties": false
        })
    }
}

fn default_storm_mode() -> String {
    StormMode::Bundle.as_str().to_owned()
}

fn default_alert_window_seconds() -> u64 {
    60
}

/// Hours in which recipients and chat channels are not disturbed. Alerts are held until they end. Webhooks have no quiet hours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuietHoursBody {
    /// Local time at which they begin, such as `22:00`.
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub from: String,
    /// Local time at which they end. A time at or before `from` is on the next day.
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub to: String,
    /// Days on which they begin, such as `monday`. Empty means every day.
    #[serde(default)]
    #[schemars(with = "Vec<Day>")]
    pub days: Vec<String>,
    /// IANA time zone. Defaults to the recipient's own zone, or else the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether critical alerts are sent during quiet hours. Default: `true`.
    #[serde(default = "default_true")]
    pub critical_passes: bool,
}

fn default_true() -> bool {
    true
}

/// Settings of one category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CategoryBody {
    /// Whether alerts of this category are sent.
    pub enabled: bool,
    /// Channels that the category is sent on: `email`, `sms`, `chat`, `webhook`.
    #[schemars(with = "Vec<ChannelClass>")]
    pub channels: Vec<String>,
    /// Time until which the category is muted (RFC 3339). Nobody is notified before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub muted_until: Option<String>,
    /// The lowest severity of this category that destinations are notified about that have none of their own. Omit it for the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Severity>")]
    pub min_severity: Option<String>,
}

/// What SMS rules require.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComplianceBody {
    /// ISO 3166 alpha-2 code of the country whose SMS rules apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(equal = 2))]
    pub country: Option<String>,
    /// India: the id of the registered entity (DLT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    pub dlt_entity_id: Option<String>,
    /// India: the id of the registered message template (DLT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    pub dlt_template_id: Option<String>,
    /// The alphanumeric sender id that the tenant wants for its SMS: 3 to 11 characters. Once the platform has approved it, it is
    /// `approved.sender_id`; until then SMS carry the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 11))]
    pub sender_id: Option<String>,
    /// Channels for which an admin confirms that alerts comply with local notification rules: `email`, `sms`. Omit it to keep earlier
    /// confirmations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<ChannelClass>>")]
    pub confirmed: Option<Vec<String>>,
    /// The confirmations on record: who confirmed which channel, when, and the text they agreed to. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmations: Option<Vec<ComplianceConfirmation>>,
}

/// An admin's confirmation that alerts on a channel comply with local notification rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComplianceConfirmation {
    /// Channel that the statement is about.
    pub channel: ChannelClass,
    /// The id of the token that confirmed it, or another name of who did.
    pub by: String,
    /// Time of the confirmation.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// The text that was confirmed.
    pub wording: String,
}

/// The names that the platform lets a tenant use in messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovedNamesBody {
    /// The tenant's name in messages to people who have not agreed to anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60))]
    pub public_name: Option<String>,
    /// The sender id of the tenant's SMS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 11))]
    pub sender_id: Option<String>,
}

/// Answer of `GET /v1/name-requests`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameRequestList {
    /// The names that wait for the platform's approval, ordered by tenant.
    pub name_requests: Vec<NameRequestView>,
    /// Cursor of the next page; `null` on the last page. Pass it as `cursor`.
    pub next: Option<String>,
}

/// The names that a tenant wants. To approve them, `PATCH /v1/tenants/{t}/settings` with `approved`; to decline one, set it to `null` there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameRequestView {
    /// The tenant's id.
    pub tenant_id: String,
    /// Time since which the names wait.
    #[schemars(with = "Instant")]
    pub since: Timestamp,
    /// The name that people who have not agreed to anything are to read. Absent if none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_name: Option<String>,
    /// The sender id that the tenant's SMS are to have. Absent if none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
    /// The names that are approved at present.
    pub approved: ApprovedNamesBody,
}

/// What the data-processing agreement allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataProcessingBody {
    /// Channels that the agreement allows. Omit it to allow all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<ChannelClass>>")]
    pub channels: Option<Vec<String>>,
    /// How much of an incident messages contain: `full` (the default) or `minimal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["full", "minimal", null]))]
    pub content: Option<String>,
}

/// The components and regions that a tenant uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FootprintBody {
    /// Ids of components of the catalogue. Empty means all.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub components: Vec<String>,
    /// Ids of regions of the catalogue. Empty means all.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub regions: Vec<String>,
}

/// Answer of `GET /v1/tenants/{t}/lint`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LintAnswer {
    /// Settings that look as if they notified somebody but do not. Empty if everything that is enabled can reach somebody.
    pub lint: Vec<Finding>,
}

/// Answer of `GET /v1/tenants/{t}/audit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditList {
    /// Audit entries, newest first.
    pub audit: Vec<AuditEntry>,
    /// Cursor of the next page; `null` on the last page. Pass it as `cursor`.
    pub next: Option<String>,
}

/// A change to a tenant's settings, recipients, integrations or tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Time of the change.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// Who made the change: a token's id, `recipient` for somebody who used a link in a message, or the name of a function.
    pub who: String,
    /// What was done, such as `recipient.created`.
    pub what: String,
    /// The id of the changed object.
    pub object: String,
}
