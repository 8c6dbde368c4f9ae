//! Bodies of the preferences API: settings, recipients, integrations, tokens, and incidents as a tenant sees them.
//!
//! One shape serves reading and writing, so that a client can read, change and write back. Fields that are *read only* are
//! taken and ignored on a write; fields that are *write only* (a URL, a secret) are never in an answer. Words of closed
//! lists are plain text here: the function that checks them names every wrong one at once, where serde would stop at the
//! first.

use crate::intake::Defaults;
use crate::webhook::{CoveredIncident, is_zero};
use domain::event::Link;
use domain::impact::Affected;
use domain::incident::Change;
use domain::lint::Finding;
use domain::maintenance::{Covered, Planned};
use domain::policy::{Component, Region};
use domain::schema::Instant;
use domain::vocabulary::{Category, Channel, ChannelClass, Day, Kind, Role, Severity, Status, Storms};
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// The scopes of API tokens.
pub mod scopes {
    /// Post incidents for tenants.
    pub const INCIDENTS_WRITE: &str = "incidents:write";
    /// Post platform-wide incidents.
    pub const INCIDENTS_PLATFORM: &str = "incidents:platform";
    /// Read a tenant's settings, incidents and decisions.
    pub const ALERTS_READ: &str = "alerts:read";
    /// Change a tenant's settings.
    pub const ALERTS_MANAGE: &str = "alerts:manage";
    /// Send test alerts.
    pub const ALERTS_TEST: &str = "alerts:test";
    /// Read as support does.
    pub const SUPPORT_READ: &str = "support:read";
    /// Create tenants and issue any token.
    pub const PLATFORM_ADMIN: &str = "platform:admin";

    /// Every scope there is.
    pub const ALL: &[&str] =
        &[ALERTS_MANAGE, ALERTS_READ, ALERTS_TEST, INCIDENTS_PLATFORM, INCIDENTS_WRITE, PLATFORM_ADMIN, SUPPORT_READ];

    /// What a tenant's own admin may hand on, and nothing that reaches beyond the tenant.
    pub const OF_A_TENANT: &[&str] = &[ALERTS_MANAGE, ALERTS_READ, ALERTS_TEST, INCIDENTS_WRITE];
}

/// Text that no log may hold: an address, a number, a URL, a secret, a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Private(String);

impl Private {
    /// Wraps such a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Private(redacted)")
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// `PUT /v1/tenants/{t}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantBody {
    /// The tenant's name for people.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// The plan's id in `plans.yaml`.
    pub plan: String,
    /// IANA zone.
    pub zone: String,
}

/// `/v1/tenants/{t}/settings`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsBody {
    /// Read only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The tenant's name for people.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// The plan; `None` keeps it. Only the platform changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// IANA zone.
    pub zone: String,
    /// 10 to 86,400.
    #[serde(default = "default_window")]
    #[schemars(range(min = 10, max = 86_400))]
    pub alert_window_seconds: u64,
    /// All three categories, by name.
    #[schemars(with = "Categories")]
    pub categories: BTreeMap<String, CategoryBody>,
    /// Empty allows all.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub allowed_email_domains: Vec<String>,
    /// SMS rules.
    #[serde(default)]
    pub compliance: ComplianceBody,
    /// The data-processing agreement.
    #[serde(default)]
    pub data_processing: DataProcessingBody,
    /// When people and rooms are not disturbed; absent is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHoursBody>,
    /// What becomes of more than a person can take: `bundle` (one message that counts it) or `each`.
    #[serde(default = "bundle")]
    #[schemars(with = "Storms")]
    pub storms: String,
    /// Read only: the number in the ETag.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Read only: what these settings cannot do, after a write.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Finding>>")]
    pub lint: Option<serde_json::Value>,
}

/// Words of a closed list that are plain text here, as a schema has them.
macro_rules! words {
    ($name:ident, $words:expr) => {
        struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "enum": $words})
            }
        }
    };
}
words!(ScopeWord, scopes::ALL);
words!(OptInWord, ["configurable_email", "warnings_email", "warnings_sms"]);

/// All three categories, by name.
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

/// Tenants of a token, in a schema.
fn tenants(generator: &mut SchemaGenerator) -> Schema {
    let tenant = generator.subschema_for::<domain::ids::TenantId>();
    json_schema!({"oneOf": [{"const": "*"}, {"type": "array", "items": tenant, "minItems": 1}]})
}

fn bundle() -> String {
    Storms::Bundle.as_str().to_owned()
}

fn default_window() -> u64 {
    60
}

/// Hours in which people and rooms are not disturbed: what would be sent in them waits for their end. Webhooks have none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuietHoursBody {
    /// Local time of their beginning, such as `22:00`.
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub from: String,
    /// Local time of their end; at or before `from` it is the next day's.
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub to: String,
    /// The days on which they begin, such as `monday`; empty is every day.
    #[serde(default)]
    #[schemars(with = "Vec<Day>")]
    pub days: Vec<String>,
    /// IANA zone; absent is the tenant's, or the recipient's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether critical alerts are sent all the same.
    #[serde(default = "yes")]
    pub critical_passes: bool,
}

fn yes() -> bool {
    true
}

/// What of a recipient's e-mails and text messages is collected, and when it comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DigestBody {
    /// `hourly` (at the full hour) or `daily`.
    #[schemars(extend("enum" = ["hourly", "daily"]))]
    pub every: String,
    /// The local time of a daily one, such as `08:00`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub at: Option<String>,
    /// Alerts below this severity are collected, the others come at once.
    #[serde(default = "error")]
    #[schemars(with = "Severity")]
    pub below: String,
    /// On which channels: `email`, `sms` or both, each with a digest of its own.
    #[serde(default = "emails")]
    #[schemars(extend("minItems" = 1, "items" = {"type": "string", "enum": ["email", "sms"]}))]
    pub channels: Vec<String>,
}

fn emails() -> Vec<String> {
    vec![ChannelClass::Email.as_str().to_owned()]
}

fn error() -> String {
    "error".to_owned()
}

/// One category of the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CategoryBody {
    /// Switched on.
    pub enabled: bool,
    /// Ticked channels: `email`, `sms`, `chat`, `webhook`.
    #[schemars(with = "Vec<ChannelClass>")]
    pub channels: Vec<String>,
    /// RFC 3339; nobody is told before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub muted_until: Option<String>,
}

/// SMS rules of the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComplianceBody {
    /// ISO 3166 code of the country whose rules apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(equal = 2))]
    pub country: Option<String>,
    /// India: the registered entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    pub dlt_entity_id: Option<String>,
    /// India: the registered template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    pub dlt_template_id: Option<String>,
    /// Alphanumeric sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 11))]
    pub sender_id: Option<String>,
    /// The channels of which an admin confirms that alerting by them complies with local notification rules: `email`, `sms`.
    /// Absent keeps what was confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<ChannelClass>>")]
    pub confirmed: Option<Vec<String>>,
    /// Read only: who confirmed what, when, in which words.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmations: Option<Vec<ComplianceConfirmation>>,
}

/// Who confirmed that a channel is lawful.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComplianceConfirmation {
    /// The channel.
    pub channel: ChannelClass,
    /// The token's id, or who else said it.
    pub by: String,
    /// When.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// In which words.
    pub wording: String,
}

/// The data-processing agreement of the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataProcessingBody {
    /// The channels it allows; absent allows all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<ChannelClass>>")]
    pub channels: Option<Vec<String>>,
    /// `full` (the default) or `minimal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["full", "minimal", null]))]
    pub content: Option<String>,
}

/// `/v1/tenants/{t}/recipients`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipientBody {
    /// Read only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name for people.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// E-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "email"))]
    pub email: Option<Private>,
    /// Read only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_confirmed: Option<bool>,
    /// Phone number in international form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\+"))]
    pub phone: Option<Private>,
    /// Read only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_confirmed: Option<bool>,
    /// Write only: the platform vouches for address and number. From any other caller it changes nothing.
    #[schemars(extend("writeOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<bool>,
    /// 1 to 4 roles.
    #[schemars(with = "Vec<Role>", length(min = 1))]
    pub roles: Vec<String>,
    /// Regions; empty takes all.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub regions: Vec<String>,
    /// Components; empty takes all.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub components: Vec<String>,
    /// The least severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Severity>")]
    pub min_severity: Option<String>,
    /// `configurable_email`, `warnings_email`, `warnings_sms`.
    #[serde(default)]
    #[schemars(with = "Vec<OptInWord>")]
    pub opt_ins: Vec<String>,
    /// Read only: only the recipient subscribes again.
    #[schemars(extend("readOnly" = true))]
    #[serde(default)]
    #[schemars(with = "Vec<Category>")]
    pub unsubscribed: Vec<String>,
    /// Read only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "is_false")]
    pub unsubscribed_warnings: bool,
    /// The number is in a do-not-disturb registry.
    #[serde(default)]
    pub dnd: bool,
    /// Consent to SMS is recorded.
    #[serde(default)]
    pub sms_consent: bool,
    /// IANA zone in which this person reads times; absent is the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The language of the messages, a tag of BCP 47. Tocsin speaks `en` and no other yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["en", null]))]
    pub language: Option<String>,
    /// What for this person is collected; absent is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestBody>,
    /// This person's own quiet hours, instead of the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHoursBody>,
    /// The tenant's quiet hours do not count for this person.
    #[serde(default)]
    pub no_quiet_hours: bool,
    /// Several people read this address: its links ask an admin to unsubscribe it.
    #[serde(default)]
    pub shared: bool,
    /// Read only: why the address gets nothing more; a new confirmation by its owner lifts it.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<SuppressedBody>,
    /// Read only: since when the phone's owner wants no text messages; confirming the number anew lifts it.
    #[schemars(extend("readOnly" = true), with = "Option<Instant>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms_opted_out_at: Option<Timestamp>,
    /// Read only: how its confirmations stand, by channel, where one is not confirmed.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<BTreeMap<String, ConfirmationView>>,
    /// Read only: the number in the ETag.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Read only: what these settings cannot do, after a write.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Finding>>")]
    pub lint: Option<serde_json::Value>,
}

/// `GET /v1/tenants/{t}/recipients`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecipientList {
    /// In the order of their ids.
    pub recipients: Vec<RecipientBody>,
    /// Pass it as `cursor` for what comes after; `None` at the end.
    pub next: Option<String>,
}

/// Why an address gets nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuppressedBody {
    /// `suppressed_bounce` or `suppressed_complaint`.
    pub reason: String,
    /// Since when.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
}

/// How a confirmation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmationView {
    /// `sent`, `refused` (the provider did not take it), `too_soon` (asked often already), `withheld` (a setting forbids to write
    /// there) or `not_sent` (our fault, or never asked).
    #[schemars(extend("enum" = ["sent", "refused", "too_soon", "withheld", "not_sent"]))]
    pub state: String,
    /// What to do.
    pub mend: String,
    /// When it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub sent_at: Option<Timestamp>,
    /// When it may be sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub next_at: Option<Timestamp>,
}

/// `POST /v1/tenants/{t}/recipients/{id}/confirmation`: asks again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskConfirmationBody {
    /// `email` or `sms`.
    #[schemars(extend("enum" = ["email", "sms"]))]
    pub channel: String,
}

/// `POST /v1/tenants/{t}/recipients/{id}/confirm`
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmBody {
    /// `sms`; an e-mail address is confirmed by its link.
    #[schemars(extend("enum" = ["sms"]))]
    pub channel: String,
    /// The six digits that the number's owner got.
    pub code: String,
}

impl fmt::Debug for ConfirmBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConfirmBody(redacted)")
    }
}

/// `/v1/tenants/{t}/integrations`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntegrationBody {
    /// Read only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name for people.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// `slack`, `teams` or `webhook`; for life.
    #[schemars(extend("enum" = ["slack", "teams", "webhook"]))]
    pub kind: String,
    /// Write only; absent keeps the saved one.
    #[schemars(extend("writeOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Private>,
    /// Read only: what of the URL may be shown.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A webhook's signing secret. Given or made when it is created, and then shown exactly once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Private>,
    /// Read only: until when the secret before the last rotation signs too.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub old_secret_valid_until: Option<Timestamp>,
    /// Categories it takes; empty takes all.
    #[serde(default)]
    #[schemars(with = "Vec<Category>")]
    pub categories: Vec<String>,
    /// 1 to 4 roles it stands for.
    #[schemars(with = "Vec<Role>", length(min = 1))]
    pub audiences: Vec<String>,
    /// Regions; empty takes all.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub regions: Vec<String>,
    /// Components; empty takes all.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub components: Vec<String>,
    /// The least severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Severity>")]
    pub min_severity: Option<String>,
    /// The tenant paused it.
    #[serde(default)]
    pub paused: bool,
    /// False once its endpoint refused for good; writing `true` lifts that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Read only: why it is not enabled.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<DisabledBody>,
    /// Read only: since when its endpoint is known to fail; absent while it does not.
    #[schemars(extend("readOnly" = true), with = "Option<Instant>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Read only: the number in the ETag.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Read only: what these settings cannot do, after a write.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Finding>>")]
    pub lint: Option<serde_json::Value>,
}

/// `GET /v1/tenants/{t}/integrations`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IntegrationList {
    /// In the order of their ids.
    pub integrations: Vec<IntegrationBody>,
    /// Pass it as `cursor` for what comes after; `None` at the end.
    pub next: Option<String>,
}

/// Why an integration is disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisabledBody {
    /// When.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// What its endpoint said, or that it only failed for too long.
    pub cause: String,
    /// From when on an alert tries whether it is back; absent where it said itself that it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub probe_at: Option<Timestamp>,
}

/// `POST /v1/tenants/{t}/integrations/{id}/secret`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateSecretBody {
    /// The new secret; absent has one made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Private>,
}

/// `POST /v1/tokens`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// What it is called.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// What it may do.
    #[schemars(with = "Vec<ScopeWord>", length(min = 1))]
    pub scopes: Vec<String>,
    /// A list of tenants, or `"*"`.
    #[schemars(schema_with = "tenants")]
    pub tenants: Value,
    /// What it says for events that are silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Defaults>,
    /// When it ends; absent is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub expires_at: Option<Timestamp>,
}

/// `POST /v1/tokens/{id}/rotate`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateTokenBody {
    /// How long the old token stays valid beside the new one: 0 (the default) to 86,400 seconds.
    #[serde(default)]
    #[schemars(range(max = 86_400))]
    pub old_valid_seconds: u32,
}

/// A token as it is listed; the token itself only in the answer that issues it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Its public name.
    pub token_id: String,
    /// The identity behind it, kept when it is rotated.
    pub integration_id: String,
    /// What it is called.
    pub name: String,
    /// What it may do.
    #[schemars(with = "Vec<ScopeWord>")]
    pub scopes: Vec<String>,
    /// A list of tenants, or `"*"`.
    #[schemars(schema_with = "tenants")]
    pub tenants: Value,
    /// What it says for events that are silent.
    #[schemars(with = "Defaults")]
    pub defaults: Value,
    /// The tenant whose list it stands in.
    pub owner: String,
    /// When it was issued.
    #[schemars(with = "Instant")]
    pub created_at: Timestamp,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub revoked_at: Option<Timestamp>,
    /// The token, shown exactly once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Private>,
}

/// `GET /v1/tokens`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenList {
    /// Without the tokens themselves.
    pub tokens: Vec<TokenView>,
}

/// `GET /v1/tenants/{t}/lint`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LintAnswer {
    /// What these settings cannot do; empty where everything that is on can reach somebody.
    pub lint: Vec<Finding>,
}

/// `GET /v1/tenants/{t}/incidents`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentList {
    /// The beginning of what was asked.
    #[schemars(with = "Instant")]
    pub from: Timestamp,
    /// Its end.
    #[schemars(with = "Instant")]
    pub to: Timestamp,
    /// Newest first.
    pub incidents: Vec<IncidentView>,
    /// Events that made no incident; only with `include=excluded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Vec<ExcludedView>>,
    /// Pass it as `cursor` for what comes after; `None` at the end.
    pub next: Option<String>,
}

/// An incident as a tenant sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentView {
    /// The incident.
    pub incident_id: String,
    /// Whose; `None` when it is everybody's.
    pub tenant_id: Option<String>,
    /// True when it is everybody's.
    pub platform_wide: bool,
    /// The category; `None` for user-level warnings.
    pub category: Option<Category>,
    /// The kind.
    pub kind: Kind,
    /// The rule that classified it.
    pub rule: String,
    /// The event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The source's name; only of a tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The source's key; only of a tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
    /// How bad.
    pub severity: Severity,
    /// Where it stands.
    pub status: Status,
    /// What happened.
    pub title: String,
    /// To what.
    pub components: Vec<String>,
    /// Where.
    pub regions: Vec<String>,
    /// Whether the public sees it.
    pub public: bool,
    /// Since when.
    #[schemars(with = "Instant")]
    pub started_at: Timestamp,
    /// When its last event came.
    #[schemars(with = "Instant")]
    pub last_seen: Timestamp,
    /// When it was resolved.
    #[schemars(with = "Option<Instant>")]
    pub resolved_at: Option<Timestamp>,
    /// Of announced work, where it stands and its hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Planned>,
    /// The announced work that explains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered: Option<Covered>,
    /// Its updates.
    pub updates: u32,
    /// Events that changed nothing.
    pub repeats: u64,
    /// True for a test alert's.
    pub test: bool,
}

/// An event that made no incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExcludedView {
    /// The event.
    pub event_id: String,
    /// When it was accepted.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// The event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Its title.
    pub title: String,
    /// `excluded`, `unclassified` or `included`.
    pub classification: String,
    /// The category, if it has one.
    pub category: Option<Category>,
    /// The rule that matched.
    pub rule: Option<String>,
    /// Why nobody was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonView>,
}

/// A reason with its sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReasonView {
    /// The word.
    #[schemars(with = "domain::reason::Reason")]
    pub reason: String,
    /// What a tenant admin reads.
    pub sentence: String,
    /// The setting that would change it.
    pub setting: String,
    /// What to do about it.
    pub mend: String,
}

/// `GET /v1/tenants/{t}/incidents/{id}`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentAnswer {
    /// What is true of it now.
    pub incident: IncidentView,
    /// How it came there.
    pub timeline: Vec<TimelineEntry>,
    /// Who was to be told, and why the others were not.
    pub decisions: Vec<DecisionView>,
    /// What became of what was to be told.
    pub deliveries: Vec<DeliveryView>,
    /// Of announced work, the incidents that it explained so far: what is open first, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covered_incidents: Vec<CoveredIncident>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub covered_more: usize,
}

/// One update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEntry {
    /// Its number.
    pub update: u32,
    /// The event that made it.
    pub event_id: String,
    /// When it was accepted.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// When it happened, where its source told us more than five minutes later: the alert window counts from `at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub late_source: Option<Timestamp>,
    /// Why it was sent.
    pub change: Change,
    /// Status after it.
    pub status: Status,
    /// Severity after it.
    pub severity: Severity,
    /// Title after it.
    pub title: String,
    /// The text.
    pub message: String,
    /// What is affected after it.
    pub components: Vec<String>,
    /// Where, after it.
    pub regions: Vec<String>,
    /// Where to look further.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Numbers the source gave.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measurements: BTreeMap<String, f64>,
    /// Words the source gave.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Everything else the source gave.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
    /// What the caps cut.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
}

/// What was decided for one update, destination and channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionView {
    /// The update.
    pub update: u32,
    /// The recipient's or integration's id.
    pub destination: String,
    /// Its name; `None` once it was deleted.
    pub name: Option<String>,
    /// The channel.
    pub channel: Channel,
    /// `deliver`, `hold` or `skip`.
    #[schemars(extend("enum" = ["deliver", "hold", "skip"]))]
    pub outcome: String,
    /// The role that the matrix gives it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Until when it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub until: Option<Timestamp>,
    /// Why it is held or skipped.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonView>,
    /// The other destination or update that the reason speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryView {
    /// The newest update of it.
    pub update: u32,
    /// The recipient's or integration's id.
    pub destination: String,
    /// Its name; `None` once it was deleted.
    pub name: Option<String>,
    /// The channel.
    pub channel: Channel,
    /// `sending`, `retrying`, `accepted` or `failed`.
    pub state: String,
    /// What came of its newest update, by the word that the explanation and the delivery log have for it: what the provider said later counts.
    pub outcome: String,
    /// Attempts of the newest update that are over.
    pub attempts: u32,
    /// What the last attempt met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Why it failed.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonView>,
    /// When it happened, where its source told us more than five minutes later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub late_source: Option<Timestamp>,
    /// When the next attempt is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub next_at: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub at: Option<Timestamp>,
    /// Milliseconds from our acceptance to the provider's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<i64>,
    /// The provider's id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Every end, one for each update.
    pub history: Vec<EndView>,
    /// Attempts that failed, and what the provider said later.
    pub failed_attempts: Vec<AttemptView>,
}

/// One end of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndView {
    /// The update.
    pub update: u32,
    /// `accepted`, or the reason.
    pub outcome: String,
    /// When.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// Attempts it took.
    pub attempts: u32,
}

/// An attempt that failed; with the number 0, what a mail server said after the mail service had taken the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptView {
    /// The update.
    pub update: u32,
    /// The attempt, from 1.
    pub attempt: u32,
    /// When.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// What it met, as a word.
    pub cause: String,
    /// What that means.
    pub sentence: String,
    /// What to do about it.
    pub mend: String,
    /// The receiver's HTTP status, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the receiver said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub response: String,
    /// How long it took.
    pub took_ms: i64,
}

/// `GET /v1/tenants/{t}/incidents/{id}/explain` and `POST /v1/tenants/{t}/explain`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainAnswer {
    /// The incident; `None` for an event that was only asked about.
    pub incident_id: Option<String>,
    /// What the event is.
    pub classification: ClassificationView,
    /// One entry for every update, recipient or integration, and channel of the tenant, told or not.
    pub decisions: Vec<ExplainEntry>,
}

/// What an event is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClassificationView {
    /// `included`, `excluded` or `unclassified`.
    #[schemars(extend("enum" = ["included", "excluded", "unclassified"]))]
    pub classification: String,
    /// The category; `None` for user-level warnings and for what is not alerted on.
    pub category: Option<Category>,
    /// The rule.
    pub rule: Option<String>,
    /// Why nobody is told of it, where nobody is.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonView>,
}

/// What happened, or would, to one update on one channel of one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainEntry {
    /// The update.
    pub update: u32,
    /// The recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_id: Option<String>,
    /// The integration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration_id: Option<String>,
    /// Its name; `None` once it was deleted.
    pub name: Option<String>,
    /// The channel.
    pub channel: Channel,
    /// `delivered` (the receiver answered), `accepted` (SES or SNS took it), `pending`, `held`, `skipped` or `failed`; of an event
    /// that was only asked about `deliver`.
    #[schemars(extend("enum" = ["deliver", "delivered", "accepted", "pending", "held", "skipped", "failed"]))]
    pub outcome: String,
    /// The role that the matrix gives it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The first rule that stopped it.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonView>,
    /// The other destination or update that the reason speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Until when it is held, or when the next attempt is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub until: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub at: Option<Timestamp>,
    /// Milliseconds from our acceptance to the receiver's; of the newest update that it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<i64>,
    /// True where that was longer than the tenant's alert window.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// When it happened, where its source told us more than five minutes later: the window counts from when we were told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub late_source: Option<Timestamp>,
    /// The attempts that failed.
    pub attempts: Vec<AttemptView>,
}

/// `GET /v1/tenants/{t}/catalogue`: what a tenant can choose from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Catalogue {
    /// Its plan; `None` where the deployer no longer has that plan.
    pub plan: Option<PlanView>,
    /// For each role and category the channels that the matrix gives: `always`, `opt_in` or `low_balance_only`.
    pub matrix: BTreeMap<Role, BTreeMap<Category, BTreeMap<ChannelClass, String>>>,
    /// Whom alerts come from.
    pub senders: Senders,
    /// What the product consists of: what a filter by component can name.
    pub components: Vec<Component>,
    /// Where it runs: what a filter by region can name.
    pub regions: Vec<Region>,
}

/// `GET /v1/tenants/{t}/impact`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImpactAnswer {
    /// The beginning of the time asked about.
    #[schemars(with = "Instant")]
    pub from: Timestamp,
    /// Its end.
    #[schemars(with = "Instant")]
    pub to: Timestamp,
    /// The times in which something was affected and that touch it.
    pub affected: Vec<Affected>,
    /// False where so much happened, until the end of that time or since, that not all of it was looked at.
    pub complete: bool,
}

/// A plan of `plans.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanView {
    /// Its id.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// The channels it includes.
    pub channels: Vec<ChannelClass>,
    /// Most recipients.
    pub recipients: u32,
    /// Most integrations.
    pub integrations: u32,
    /// Whether it has digests.
    pub digest: bool,
    /// Whether it has quiet hours.
    pub quiet_hours: bool,
}

/// Whom alerts come from: what a mail admin or a phone is to let through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Senders {
    /// The From address of e-mails.
    pub email_from: String,
    /// The domain that signs them (DKIM).
    pub email_domain: String,
    /// The alphanumeric sender of SMS; `None` where the carrier shows a number.
    pub sms_sender: Option<String>,
}

/// `GET /v1/tenants/{t}/audit`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditList {
    /// Newest first.
    pub audit: Vec<AuditEntry>,
    /// Pass it as `cursor` for what comes after; `None` at the end.
    pub next: Option<String>,
}

/// Who changed what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// When.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// A token's id, `recipient` for somebody who used a link, or a function.
    pub who: String,
    /// What was done, such as `recipient.created`.
    pub what: String,
    /// To which object.
    pub object: String,
}

/// `GET /v1/tenants/{t}/deliveries`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryLog {
    /// The beginning of what was asked.
    #[schemars(with = "Instant")]
    pub from: Timestamp,
    /// Its end.
    #[schemars(with = "Instant")]
    pub to: Timestamp,
    /// Newest incident first.
    pub deliveries: Vec<LoggedDelivery>,
    /// Pass it as `cursor` for what comes after; `None` at the end.
    pub next: Option<String>,
}

/// One line of the delivery log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoggedDelivery {
    /// The incident.
    pub incident_id: String,
    /// Its title now.
    pub title: String,
    /// Its category.
    pub category: Option<Category>,
    /// True for a test alert's.
    pub test: bool,
    /// Since when it is open.
    #[schemars(with = "Instant")]
    pub started_at: Timestamp,
    /// What happened, as the explanation tells it.
    #[serde(flatten)]
    pub entry: ExplainEntry,
}

/// `POST /v1/tenants/{t}/incidents/{id}/resend`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResendBody {
    /// The recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_id: Option<String>,
    /// Or the integration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration_id: Option<String>,
    /// The channel.
    #[schemars(with = "Channel")]
    pub channel: String,
}

/// What will be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResendAnswer {
    /// The incident.
    pub incident_id: String,
    /// The update that is sent again.
    pub update: u32,
    /// From when on it is handed out: within a minute.
    #[schemars(with = "Instant")]
    pub due_at: Timestamp,
}

/// `GET /v1/tenants/{t}/incidents/{id}/support`: everything that Support asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SupportBundle {
    /// When it was put together.
    #[schemars(with = "Instant")]
    pub generated_at: Timestamp,
    /// The version of Tocsin.
    pub version: String,
    /// The tenant.
    pub tenant_id: String,
    /// Its name.
    pub tenant_name: String,
    /// Its plan.
    pub plan: String,
    /// Its zone.
    pub zone: String,
    /// The version of its settings now.
    pub settings_version: u64,
    /// The version that the newest plan was made with.
    pub planned_with: Option<u64>,
    /// The incident.
    pub incident: IncidentView,
    /// The upstream's requests, by which our logs are found; one for each update.
    pub correlation_ids: Vec<String>,
    /// How it went.
    pub timeline: Vec<TimelineEntry>,
    /// The channels affected.
    pub channels: Vec<Channel>,
    /// What happened to every recipient, integration and channel. Receivers' answers are redacted.
    pub decisions: Vec<ExplainEntry>,
}

/// `POST /v1/tenants/{t}/test-alert`, and the payload of a direct invocation of `test-alert`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestAlertBody {
    /// The tenant; by the API it is the path's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The category; absent is the first that is switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Category>")]
    pub category: Option<String>,
    /// Only this channel: `email`, `sms`, `chat`, `slack`, `teams` or `webhook`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["email", "sms", "chat", "slack", "teams", "webhook", null]))]
    pub channel: Option<String>,
    /// Only this recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_id: Option<String>,
    /// Only this integration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration_id: Option<String>,
    /// How long the answer waits for outcomes: 15 unless it is said; at most 25 by the API, 60 by invocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 60))]
    pub wait_seconds: Option<u32>,
    /// Needed where more than ten recipients and integrations would be reached.
    #[serde(default)]
    pub confirm_all: bool,
}

/// What came of a test alert so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestAlertAnswer {
    /// By which it is read again.
    pub test_id: String,
    /// The incident that it made.
    pub incident_id: String,
    /// The category that was tested.
    pub category: Category,
    /// Whether nothing is pending any more.
    pub complete: bool,
    /// One row for each recipient or integration, and channel.
    pub rows: Vec<TestRow>,
}

/// What came of a test on one channel of one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestRow {
    /// The recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_id: Option<String>,
    /// The integration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration_id: Option<String>,
    /// Its name; `None` once it was deleted.
    pub name: Option<String>,
    /// The channel.
    pub channel: Channel,
    /// `delivered` (the receiver answered), `accepted` (SES or SNS took it), `held`, `skipped`, `failed` or `pending`.
    #[schemars(extend("enum" = ["delivered", "accepted", "held", "skipped", "failed", "pending"]))]
    pub outcome: String,
    /// The rule that stopped it.
    #[schemars(with = "Option<domain::reason::Reason>")]
    pub reason: Option<String>,
    /// What a failed attempt met: `http_404`, `tls`, `dns`, Slack's code.
    pub cause: Option<String>,
    /// What that means.
    pub detail: Option<String>,
    /// What to do about it.
    pub mend: Option<String>,
    /// The setting that would change it.
    pub setting: Option<String>,
    /// Milliseconds from our acceptance to the receiver's.
    pub latency_ms: Option<i64>,
    /// The receiver's HTTP status.
    pub status: Option<u16>,
    /// What the receiver said: the reason where TLS failed, the beginning of the body where it answered.
    pub response: Option<String>,
}

/// A direct invocation by an operator whom IAM allows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Makes the operators' tenant and issues the first admin token; again to replace it.
    Bootstrap(Bootstrap),
    /// Writes a tenant's compiled subscriptions anew from its settings.
    Recompile(String),
}

/// What to bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bootstrap {
    /// The first admin token.
    PlatformAdmin,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_private_is_printed() {
        let body = RecipientBody { email: Some(Private::new("ops@example.com")), ..RecipientBody::default() };
        assert!(!format!("{body:?}").contains("ops@"));
        assert_eq!(serde_json::to_value(&body).unwrap()["email"], "ops@example.com");
    }

    #[test]
    fn a_misspelt_field_is_named() {
        let body = br#"{"name":"Ops","roles":["org_admin"],"e-mail":"x"}"#;
        assert!(crate::problem::parse::<RecipientBody>(body).unwrap_err().detail.contains("unknown field"));
    }

    #[test]
    fn a_reason_stands_beside_the_outcome() {
        let reason = ReasonView { reason: "muted".into(), sentence: "s".into(), setting: "t".into(), mend: "m".into() };
        let mut decision = DecisionView {
            update: 1,
            destination: "rcp_1".into(),
            name: None,
            channel: Channel::Email,
            outcome: "skip".into(),
            role: None,
            until: None,
            reason: Some(reason),
            by: None,
        };
        let written = serde_json::to_value(&decision).unwrap();
        assert_eq!(written["reason"], "muted");
        assert_eq!(serde_json::from_value::<DecisionView>(written).unwrap(), decision);
        decision.reason = None;
        decision.outcome = "deliver".into();
        assert_eq!(serde_json::to_value(&decision).unwrap().get("reason"), None);
    }

    #[test]
    fn operators_invoke_with_plain_json() {
        let read = |value| serde_json::from_value::<Operator>(value).ok();
        assert_eq!(read(json!({"bootstrap": "platform_admin"})), Some(Operator::Bootstrap(Bootstrap::PlatformAdmin)));
        assert_eq!(read(json!({"recompile": "acme"})), Some(Operator::Recompile("acme".into())));
        assert_eq!(read(json!({"bootstrap": "x"})), None);
    }
}
