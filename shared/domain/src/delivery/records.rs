//! What is recorded of a delivery beside its row: which attempt it is, how it ended, and its failed attempts.

use crate::ids::{IncidentId, RecipientId, SuppressionId, TenantId};
use crate::reason::Reason;
use crate::vocabulary::{Category, Channel};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Identifies one attempt of one update on a delivery row.
#[derive(Clone, Copy, Debug)]
pub struct AttemptKey<'a> {
    /// Incident of the delivery.
    pub incident: &'a IncidentId,
    /// Tenant of the delivery.
    pub tenant: &'a TenantId,
    /// Name of the row (`contracts::queue::delivery_row_key`).
    pub row: &'a str,
    /// Channel of the delivery.
    pub channel: Channel,
    /// Number of the update.
    pub update: u32,
    /// Number of the attempt, from 1.
    pub attempt: u32,
}

/// The final result of a delivery.
#[derive(Clone, Debug)]
pub enum DeliveryResult<'a> {
    /// The provider or receiver accepted the message.
    Accepted {
        /// The provider's id of the message, if it returned one.
        provider_id: Option<&'a str>,
        /// Milliseconds since intake accepted the event.
        latency_ms: i64,
        /// Whether the latency exceeds the tenant's alert window.
        late: bool,
    },
    /// The delivery ended without success.
    Failed {
        /// Why the delivery ended.
        reason: Reason,
    },
}

/// A failed attempt, for support.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// Number of the update.
    pub update: u32,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// When the attempt failed.
    pub at: Timestamp,
    /// Code of the failure's cause.
    pub cause: String,
    /// The receiver's HTTP status, if it responded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The receiver's response, at most 20,000 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub response: String,
    /// Duration of the attempt in milliseconds.
    pub took_ms: i64,
}

/// The result of one update in a row's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Number of the update.
    pub update: u32,
    /// `accepted`, or the reason code.
    pub outcome: String,
    /// When the delivery ended.
    pub at: Timestamp,
    /// Number of attempts made.
    pub attempts: u32,
}

/// A delivery sent with a provider's message. A digest is one message with many deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderMessage {
    /// Tenant of the delivery.
    pub tenant: TenantId,
    /// Incident of the delivery.
    pub incident_id: IncidentId,
    /// Name of the delivery's row.
    pub row: String,
    /// Id of the recipient.
    pub destination: String,
    /// Number of the update.
    pub update: u32,
    /// Category of the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// Hash of the address or number, as made by [`crate::contact`]. Feedback applies only while the recipient still has this contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// The suppression that a bounce or a complaint makes for the whole stack; `None` for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppression: Option<SuppressionId>,
}

/// A confirmation request that was sent with a provider's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmationMessage {
    /// Tenant that asked.
    pub tenant: TenantId,
    /// Recipient that was asked.
    pub recipient: RecipientId,
    /// Hash of the address, as in [`ProviderMessage`].
    pub contact: String,
    /// As in [`ProviderMessage`].
    pub suppression: SuppressionId,
}

/// What was sent with a provider's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SentMessage {
    /// A delivery. A digest has many.
    Delivery(ProviderMessage),
    /// A confirmation request.
    Confirmation(ConfirmationMessage),
}
