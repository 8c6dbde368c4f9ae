//! Bodies of recipients and their confirmations.

use super::schema::OptInName;
use super::{Private, QuietHoursBody};
use domain::lint::Finding;
use domain::schema::Instant;
use domain::vocabulary::{Category, ChannelClass, Role, Severity};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

fn is_false(value: &bool) -> bool {
    !*value
}

/// A recipient's digest: which alerts are collected into one message, and when it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DigestBody {
    /// How often the digest is sent: `hourly` (on the hour) or `daily`.
    #[schemars(extend("enum" = ["hourly", "daily"]))]
    pub every: String,
    /// Local time at which a daily digest is sent, such as `08:00`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub at: Option<String>,
    /// Alerts below this severity are collected. All others are sent at once. Default: `error`.
    #[serde(default = "default_digest_severity")]
    #[schemars(with = "Severity")]
    pub below: String,
    /// Channels with a digest: `email`, `sms` or both. Each channel has a digest of its own. Default: `email`.
    #[serde(default = "default_digest_channels")]
    #[schemars(extend("minItems" = 1, "items" = {"type": "string", "enum": ["email", "sms"]}))]
    pub channels: Vec<String>,
}

fn default_digest_channels() -> Vec<String> {
    vec![ChannelClass::Email.as_str().to_owned()]
}

fn default_digest_severity() -> String {
    "error".to_owned()
}

/// Body of `/v1/tenants/{t}/recipients`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipientBody {
    /// The recipient's id. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The recipient's display name.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// E-mail address to which alerts are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "email"))]
    pub email: Option<Private>,
    /// Whether the owner confirmed the e-mail address. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_confirmed: Option<bool>,
    /// Phone number in international format, such as `+14155550100`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\+"))]
    pub phone: Option<Private>,
    /// Whether the owner confirmed the phone number. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_confirmed: Option<bool>,
    /// Whether the platform vouches for the address and the number, so that no confirmation is sent. Ignored unless the caller is the
    /// platform. Write-only.
    #[schemars(extend("writeOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<bool>,
    /// The recipient's roles: 1 to 4.
    #[schemars(with = "Vec<Role>", length(min = 1))]
    pub roles: Vec<String>,
    /// Regions that the recipient is notified about. Empty means all.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub regions: Vec<String>,
    /// Components that the recipient is notified about. Empty means all.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub components: Vec<String>,
    /// The lowest severity that the recipient is notified about. Omit it for the category's or the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Severity>")]
    pub min_severity: Option<String>,
    /// The lowest severity of single categories, in place of `min_severity`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<Category, Severity>")]
    pub min_severities: BTreeMap<String, String>,
    /// The platform's id of the user who the recipient is. User-level warnings about that user reach this recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub user_id: Option<String>,
    /// Alerts that the recipient opted in to: `configurable_email`, `warnings_email`, `warnings_sms`.
    #[serde(default)]
    #[schemars(with = "Vec<OptInName>")]
    pub opt_ins: Vec<String>,
    /// Categories that the recipient unsubscribed from. Only the recipient can subscribe again. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default)]
    #[schemars(with = "Vec<Category>")]
    pub unsubscribed: Vec<String>,
    /// Whether the recipient unsubscribed from user-level warnings. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "is_false")]
    pub unsubscribed_warnings: bool,
    /// Whether the phone number is in a do-not-disturb registry.
    #[serde(default)]
    pub dnd: bool,
    /// Whether consent to SMS is on record.
    #[serde(default)]
    pub sms_consent: bool,
    /// Who recorded the consent, and when. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms_consent_record: Option<ConsentRecordBody>,
    /// IANA time zone of times in messages to this recipient. Defaults to the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Language of the messages (a BCP 47 tag). Only `en` is supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["en", null]))]
    pub language: Option<String>,
    /// The recipient's digest, in place of the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestBody>,
    /// Whether the tenant's digest does not apply to this recipient.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_digest: bool,
    /// The recipient's own quiet hours, in place of the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHoursBody>,
    /// Whether the tenant's quiet hours do not apply to this recipient.
    #[serde(default)]
    pub no_quiet_hours: bool,
    /// Whether several people read this address. Links in its e-mails then ask an admin to unsubscribe it, and no single reader can.
    #[serde(default)]
    pub shared: bool,
    /// Why no more e-mail is sent to the address. Only its owner lifts it, with the link of a resubscription. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<SuppressedBody>,
    /// Time at which the phone's owner opted out of SMS. Confirming the number again lifts it. Read-only.
    #[schemars(extend("readOnly" = true), with = "Option<Instant>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms_opted_out_at: Option<Timestamp>,
    /// The state of confirmations by channel, for channels that are not confirmed yet. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<BTreeMap<String, ConfirmationView>>,
    /// The version of the recipient, as in the ETag. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Settings that look as if they notified somebody but do not. Returned after a write. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Finding>>")]
    pub lint: Option<serde_json::Value>,
}

/// Answer of `GET /v1/tenants/{t}/recipients`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecipientList {
    /// Recipients, sorted by id.
    pub recipients: Vec<RecipientBody>,
    /// Cursor of the next page; `null` on the last page. Pass it as `cursor`.
    pub next: Option<String>,
}

/// Who recorded a recipient's consent to SMS, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsentRecordBody {
    /// The id of the token that recorded it, or another name of who did.
    pub by: String,
    /// Time at which it was recorded.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
}

/// Why no more e-mail is sent to an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuppressedBody {
    /// The reason: `suppressed_bounce`, `suppressed_complaint` or `suppressed_by_owner`.
    pub reason: String,
    /// Time since which the address is suppressed.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// The id under which the address is suppressed, for `/v1/suppressions/{id}`. Shown to the platform only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// Answer of `GET /v1/suppressions/{id}`: an address that nobody may write to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuppressionView {
    /// The id of the suppression. It does not reveal the address.
    pub id: String,
    /// The reason: `suppressed_bounce`, `suppressed_complaint` or `suppressed_by_owner`.
    pub reason: String,
    /// Time since which the address is suppressed.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// Times at which its owner was asked whether mail is welcome again: three at most.
    #[schemars(with = "Vec<Instant>")]
    pub asked: Vec<Timestamp>,
}

/// The state of a confirmation request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmationView {
    /// `sent`, `refused` (the provider did not accept it), `too_soon` (too many requests were sent recently), `withheld` (a setting does
    /// not allow messages to it) or `not_sent` (an error of ours, or never requested).
    #[schemars(extend("enum" = ["sent", "refused", "too_soon", "withheld", "not_sent"]))]
    pub state: String,
    /// What to do about it.
    pub remedy: String,
    /// Time at which the request was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub sent_at: Option<Timestamp>,
    /// Time from which the request can be sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub next_at: Option<Timestamp>,
}

/// Body of `POST /v1/tenants/{t}/recipients/{id}/confirmation`: sends a confirmation request again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendConfirmationBody {
    /// The channel to confirm: `email` or `sms`.
    #[schemars(extend("enum" = ["email", "sms"]))]
    pub channel: String,
}

/// Body of `POST /v1/tenants/{t}/recipients/{id}/confirm`: confirms a phone number with its code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmBody {
    /// Always `sms`. An e-mail address is confirmed by the link that was sent to it.
    #[schemars(extend("enum" = ["sms"]))]
    pub channel: String,
    /// The six-digit code that was sent to the phone.
    pub code: String,
}

impl fmt::Debug for ConfirmBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConfirmBody(redacted)")
    }
}
