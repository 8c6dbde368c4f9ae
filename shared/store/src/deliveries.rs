//! Delivery rows: each attempt is claimed, sent, then marked.
//!
//! The order is claim → send → mark. A mark before the send would lose the message if the function died in between.

mod claim;
mod mark;
mod schedule;

use crate::{StoreError, Table, keys, read, sort_key};
use domain::delivery::{DeliveryRow, FailedAttempt, HistoryEntry};
use domain::ids::{IncidentId, TenantId};
use serde::Serialize;

/// The condition under which a claim is granted: the rule [`domain::delivery::claim_refusal`] as a DynamoDB expression.
const CLAIMABLE: &str = "attribute_not_exists(pk) OR (done < :n AND latest <= :n AND lease_until_ms <= :now \
                         AND (latest < :n OR attempts < :attempt))";

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
