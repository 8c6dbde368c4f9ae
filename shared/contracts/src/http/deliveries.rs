//! Bodies of deliveries, failed attempts, the delivery log and resends.

use super::{ExplainEntry, ReasonView};
use domain::schema::Instant;
use domain::vocabulary::{Category, Channel};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryView {
    /// The newest update that the delivery carries.
    pub update: u32,
    /// The id of the recipient or integration.
    pub destination: String,
    /// The name of the recipient or integration; `null` if it was deleted.
    pub name: Option<String>,
    /// The channel of the delivery.
    pub channel: Channel,
    /// The state: `queued` (it was held), `sending`, `retrying`, `accepted` or `failed`.
    pub state: String,
    /// The outcome of the newest update, with the same codes as in the explanation and the delivery log. Later feedback of the provider
    /// is included.
    pub outcome: String,
    /// Number of finished attempts for the newest update.
    pub attempts: u32,
    /// The error code of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Why the delivery failed.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonView>,
    /// Time at which it happened, if the source reported it more than five minutes later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub late_source: Option<Timestamp>,
    /// Time of the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub next_at: Option<Timestamp>,
    /// Time at which the delivery finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub at: Option<Timestamp>,
    /// Milliseconds between our acceptance of the event and the provider's acceptance of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<i64>,
    /// The provider's id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// The final outcome of each update.
    pub history: Vec<DeliveryOutcomeView>,
    /// Failed attempts, and what the provider reported later.
    pub failed_attempts: Vec<AttemptView>,
}

/// The final outcome of one update of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryOutcomeView {
    /// The update's number.
    pub update: u32,
    /// `accepted`, or the code of the reason.
    pub outcome: String,
    /// Time at which the delivery of the update finished.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// Number of attempts so far, the first included.
    pub attempts: u32,
}

/// A failed attempt. Attempt 0 is an error that a mail server or carrier reported after the provider had accepted the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptView {
    /// The update's number.
    pub update: u32,
    /// The attempt's number, from 1; 0 for a later report.
    pub attempt: u32,
    /// Time of the attempt.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// Code of the failure, such as `timeout` or `http_503`.
    pub cause: String,
    /// What the error code means.
    pub sentence: String,
    /// What to do about it.
    pub remedy: String,
    /// The receiver's HTTP status, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The receiver's answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub response: String,
    /// Duration of the attempt in milliseconds.
    pub took_ms: i64,
}

/// Answer of `GET /v1/tenants/{t}/deliveries`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryLog {
    /// Start of the requested time range.
    #[schemars(with = "Instant")]
    pub from: Timestamp,
    /// End of the requested time range.
    #[schemars(with = "Instant")]
    pub to: Timestamp,
    /// Log entries, newest incident first.
    pub deliveries: Vec<DeliveryLogEntry>,
    /// Cursor of the next page; `null` on the last page. Pass it as `cursor`.
    pub next: Option<String>,
}

/// An entry of the delivery log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryLogEntry {
    /// The incident's id.
    pub incident_id: String,
    /// The incident's current title.
    pub title: String,
    /// The incident's category.
    pub category: Option<Category>,
    /// Whether it belongs to a test alert.
    pub test: bool,
    /// Time at which the incident began.
    #[schemars(with = "Instant")]
    pub started_at: Timestamp,
    /// What happened, as in the explanation of the incident.
    #[serde(flatten)]
    pub entry: ExplainEntry,
}

/// Body of `POST /v1/tenants/{t}/incidents/{id}/resend`. Set either `recipient_id` or `integration_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResendBody {
    /// The recipient's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_id: Option<String>,
    /// The integration's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration_id: Option<String>,
    /// The channel of the failed delivery.
    #[schemars(with = "Channel")]
    pub channel: String,
}

/// Answer of a resend: which update is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResendAnswer {
    /// The incident's id.
    pub incident_id: String,
    /// The update that is sent again.
    pub update: u32,
    /// Time from which it is sent: within a minute.
    #[schemars(with = "Instant")]
    pub due_at: Timestamp,
}
