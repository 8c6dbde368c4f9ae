//! Bodies that explain why a destination was notified or not, and the support bundle.

use super::{AttemptView, IncidentView, TimelineEntry};
use domain::schema::Instant;
use domain::vocabulary::{Category, Channel, Role};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A reason, what it means, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReasonView {
    /// The code of the reason.
    #[schemars(with = "domain::reason::Reason")]
    pub reason: String,
    /// What the reason means, for a tenant's admin.
    pub sentence: String,
    /// The setting that would change the outcome.
    pub setting: String,
    /// What to do about it.
    pub remedy: String,
}

/// Answer of `GET /v1/tenants/{t}/incidents/{id}/explain` and `POST /v1/tenants/{t}/explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainAnswer {
    /// The incident's id; `null` for a hypothetical event.
    pub incident_id: Option<String>,
    /// How the event is classified.
    pub classification: ClassificationView,
    /// One entry for each update, recipient or integration, and channel of the tenant, whether notified or not.
    pub decisions: Vec<ExplainEntry>,
}

/// How an event is classified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClassificationView {
    /// The classification: `included`, `excluded` or `unclassified`.
    #[schemars(extend("enum" = ["included", "excluded", "unclassified"]))]
    pub classification: String,
    /// The category; `null` for user-level warnings and for events that nobody is alerted about.
    pub category: Option<Category>,
    /// The id of the rule that matched.
    pub rule: Option<String>,
    /// Why nobody is notified, if nobody is.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonView>,
}

/// What happened, or would happen, to one update on one channel of one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainEntry {
    /// The update's number.
    pub update: u32,
    /// The recipient's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_id: Option<String>,
    /// The integration's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration_id: Option<String>,
    /// The name of the recipient or integration; `null` if it was deleted.
    pub name: Option<String>,
    /// The channel of the entry.
    pub channel: Channel,
    /// The outcome: `delivered` (the receiver answered), `accepted` (SES or SNS accepted the message), `pending`, `held`, `skipped` or
    /// `failed`. For a hypothetical event also `deliver`.
    #[schemars(extend("enum" = ["deliver", "delivered", "accepted", "pending", "held", "skipped", "failed"]))]
    pub outcome: String,
    /// The role that the notification matrix selected the destination by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The first rule that stopped the delivery.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonView>,
    /// The other destination or update that the reason refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Time until which it is held, or of the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub until: Option<Timestamp>,
    /// Time at which the delivery finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub at: Option<Timestamp>,
    /// Milliseconds between our acceptance of the event and the receiver's acceptance of the message, for the newest update that was
    /// delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<i64>,
    /// Whether that took longer than the tenant's alert window.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// Time at which it happened, if the source reported it more than five minutes later. The alert window counts from when it was
    /// reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub late_source: Option<Timestamp>,
    /// Failed attempts of this delivery, oldest first.
    pub attempts: Vec<AttemptView>,
}

/// Answer of `GET /v1/tenants/{t}/incidents/{id}/support`: everything that our support needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SupportBundle {
    /// Time at which the bundle was generated.
    #[schemars(with = "Instant")]
    pub generated_at: Timestamp,
    /// The version of Tocsin.
    pub version: String,
    /// The tenant's id.
    pub tenant_id: String,
    /// The tenant's display name.
    pub tenant_name: String,
    /// The id of the tenant's plan.
    pub plan: String,
    /// The tenant's IANA time zone.
    pub zone: String,
    /// The current version of the settings.
    pub settings_version: u64,
    /// The version of the settings that the newest update was planned with.
    pub planned_with: Option<u64>,
    /// The incident as it is now.
    pub incident: IncidentView,
    /// The ids of the source's requests, one for each listed update. Our logs are searched by them.
    pub correlation_ids: Vec<String>,
    /// The updates, oldest first; of more than 500 the newest.
    pub timeline: Vec<TimelineEntry>,
    /// Channels on which the incident has entries.
    pub channels: Vec<Channel>,
    /// Where to contact Support, with tenant, incident, channels and times filled in. Absent if the deployment has no such page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_url: Option<String>,
    /// What happened for each recipient or integration, and channel. Receivers' answers are redacted.
    pub decisions: Vec<ExplainEntry>,
}
