//! Delivery rows: each attempt is claimed, sent, then marked.
//!
//! The order is claim → send → mark. A mark before the send would lose the message if the function died in between.

mod claim;
mod mark;
mod schedule;

pub use mark::WaitsIn;
pub use schedule::RowOf;

use crate::{StoreError, Table, keys, read, sort_key};
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, Update};
use domain::delivery::{DeliveryRow, FailedAttempt, HistoryEntry};
use domain::ids::{IncidentId, TenantId};
use serde::Serialize;
use std::collections::BTreeMap;

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
        // Attempts sort before the rows that they belong to.
        let mut failed: BTreeMap<String, Vec<FailedAttempt>> = BTreeMap::new();
        for mut found in self.query_prefix(&keys::deliveries(incident, tenant), "").await? {
            let row = sort_key(&found).to_owned();
            if row.starts_with(keys::STOP) {
                continue;
            }
            if let Some(row) = keys::row_of_attempt(&row) {
                failed.entry(row.to_owned()).or_default().push(read(found, "an attempt")?);
                continue;
            }
            let history = match found.remove("history") {
                Some(list) => serde_dynamo::from_attribute_value(list).map_err(|_| StoreError::Corrupt {
                    kind: "a delivery's history",
                    detail: "cannot be deserialized".to_owned(),
                })?,
                None => Vec::new(),
            };
            let attempts = failed.remove(&row).unwrap_or_default();
            listed.push(ListedDelivery { row, delivery: read(found, "a delivery")?, history, attempts });
        }
        Ok(listed)
    }

    /// Builds the call of an update that is made alone, with the item that its condition refuses.
    fn update_alone(&self, update: Update) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(update.table_name)
            .set_key(Some(update.key))
            .update_expression(update.update_expression)
            .set_condition_expression(update.condition_expression)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .set_expression_attribute_names(update.expression_attribute_names)
            .set_expression_attribute_values(update.expression_attribute_values)
    }
}
