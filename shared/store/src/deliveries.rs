//! Delivery rows: each attempt is claimed, sent, then marked.
//!
//! The order is claim → send → mark. A mark before the send would lose the message if the function died in between.

mod claim;
mod mark;
mod schedule;

use crate::{StoreError, Table, keys, read, sort_key};
use domain::delivery::DeliveryRow;
use domain::ids::{IncidentId, TenantId};
use domain::reason::Reason;
use domain::vocabulary::Channel;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The condition under which a claim is granted: the rule [`domain::delivery::claim_refusal`] as a DynamoDB expression.
const CLAIMABLE: &str = "attribute_not_exists(pk) OR (done < :n AND latest <= :n AND lease_until_ms <= :now \
                         AND (latest < :n OR attempts < :attempt))";

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

/// A delivery row with its history, for lists.
#[derive(Clone, Debug, Serialize)]
pub struct ListedDelivery {
    /// Name of the row.
    pub row: String,
    /// The stored delivery row.
    pub delivery: DeliveryRow,
    /// Results of the row, one for each update.
    pub history: Vec<HistoryEntry>,
    /// Failed attempts of the row, in order.
    pub attempts: Vec<FailedAttempt>,
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

impl Table {
    /// Returns one delivery row.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn delivery(
        &self,
        incident: &IncidentId,
        tenant: &TenantId,
        row: &str,
    ) -> Result<Option<DeliveryRow>, StoreError> {
        match self.get(&keys::deliveries(incident, tenant), row).await? {
            Some(found) => Ok(Some(read(found, "a delivery")?)),
            None => Ok(None),
        }
    }

    /// Returns all delivery rows of an incident for one tenant, with their history and failed attempts.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn deliveries(
        &self,
        incident: &IncidentId,
        tenant: &TenantId,
    ) -> Result<Vec<ListedDelivery>, StoreError> {
        let mut listed: Vec<ListedDelivery> = Vec::new();
        for mut found in self.query_prefix(&keys::deliveries(incident, tenant), "").await? {
            let row = sort_key(&found).to_owned();
            match row.split_once("#ATT#") {
                Some((row, _)) => {
                    let attempt: FailedAttempt = read(found, "an attempt")?;
                    if let Some(entry) = listed.iter_mut().find(|entry| entry.row == row) {
                        entry.attempts.push(attempt);
                    }
                }
                None => {
                    let history = match found.remove("history") {
                        Some(list) => serde_dynamo::from_attribute_value(list).map_err(|_| StoreError::Corrupt {
                            kind: "a delivery's history",
                            detail: "cannot be deserialized".to_owned(),
                        })?,
                        None => Vec::new(),
                    };
                    listed.push(ListedDelivery {
                        row,
                        delivery: read(found, "a delivery")?,
                        history,
                        attempts: Vec::new(),
                    });
                }
            }
        }
        Ok(listed)
    }
}
