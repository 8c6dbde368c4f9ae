//! DynamoDB: one table, and the only place where a key is spelled ([`keys`]).
//!
//! Writes that can race are conditional. There is no Scan. TTL (`expires_at`) is a broom, never a timer.

pub mod aliases;
pub mod clock;
pub mod contacts;
pub mod credentials;
pub mod dead;
pub mod deliveries;
pub mod due;
pub mod events;
pub mod gate;
pub mod health;
pub mod incidents;
pub mod keys;
pub mod maintenance;
pub mod messages;
pub mod plans;
pub mod public;
pub mod subscriptions;
pub mod tenants;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;

/// An item as DynamoDB knows it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// What went wrong, by what to do next. No text of an item is ever in it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB throttled, timed out or was not there: try again.
    #[error("the table is not available ({operation}: {code})")]
    Unavailable {
        /// The call.
        operation: &'static str,
        /// AWS's code.
        code: String,
    },
    /// Somebody else wrote first.
    #[error("somebody else wrote first ({operation})")]
    Conflict {
        /// The call.
        operation: &'static str,
    },
    /// The call will never work: a permission, a missing table, a bad request.
    #[error("the table refused ({operation}: {code})")]
    Refused {
        /// The call.
        operation: &'static str,
        /// AWS's code.
        code: String,
    },
    /// An item does not have the shape that this version writes.
    #[error("an item of {kind} cannot be read: {detail}")]
    Corrupt {
        /// What it should be.
        kind: &'static str,
        /// What is wrong with it, without its values.
        detail: String,
    },
}

impl StoreError {
    /// True where trying again can help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Conflict { .. })
    }
}

/// The table.
#[derive(Clone, Debug)]
pub struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
    retention: SignedDuration,
}

/// How long rows of incidents live unless the deployer says otherwise, in days.
pub const RETENTION_DAYS: u32 = 90;
/// How long it is known at the least who was told of what.
const PLANS_KEPT: SignedDuration = SignedDuration::from_hours(24 * 400);
/// How long event records and excluded events live, in days.
pub const EVENT_DAYS: u32 = 30;

impl Table {
    /// The table `name` through the process's one SDK configuration; rows of incidents expire after `retention_days`.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, name: &str, retention_days: u32) -> Self {
        let retention = SignedDuration::from_hours(24 * i64::from(retention_days));
        Self { client: Client::new(config), name: name.to_owned(), retention }
    }

    /// When a row of an incident written at `now` expires, in epoch seconds.
    pub(crate) fn expiry(&self, now: Timestamp) -> i64 {
        now.as_second().saturating_add(self.retention.as_secs())
    }

    /// When goes who was told of what. It names nobody but by id, and an incident may be open for longer than texts are kept: its end is for
    /// whoever has its beginning.
    pub(crate) fn expiry_of_plans(&self, now: Timestamp) -> i64 {
        self.expiry(now).max(now.as_second().saturating_add(PLANS_KEPT.as_secs()))
    }

    pub(crate) async fn get(&self, pk: &str, sk: &str) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.name).consistent_read(true);
        let answer = request.key("pk", text(pk)).key("sk", text(sk)).send().await;
        Ok(answer.map_err(|error| failed("GetItem", &error))?.item)
    }

    pub(crate) async fn put(&self, item: Item) -> Result<(), StoreError> {
        let answer = self.client.put_item().table_name(&self.name).set_item(Some(item)).send().await;
        answer.map(drop).map_err(|error| failed("PutItem", &error))
    }

    /// Puts an item that must not be there yet; gives back the one that is.
    pub(crate) async fn put_new(&self, item: Item) -> Result<Option<Item>, StoreError> {
        self.put_if(item, "attribute_not_exists(pk)", vec![]).await
    }

    /// Puts an item on a condition; gives back the one that is there where the condition does not hold.
    pub(crate) async fn put_if(
        &self,
        item: Item,
        condition: &str,
        values: Vec<(&str, AttributeValue)>,
    ) -> Result<Option<Item>, StoreError> {
        use aws_sdk_dynamodb::operation::put_item::PutItemError;
        use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld;
        let request = self.client.put_item().table_name(&self.name).set_item(Some(item));
        let mut request = request.condition_expression(condition);
        for (name, value) in values {
            request = request.expression_attribute_values(name, value);
        }
        match request.return_values_on_condition_check_failure(AllOld).send().await {
            Ok(_) => Ok(None),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(old)) => {
                    Ok(Some(old.item().cloned().unwrap_or_default()))
                }
                _ => Err(failed("PutItem", &error)),
            },
        }
    }

    pub(crate) async fn delete(&self, pk: &str, sk: &str) -> Result<(), StoreError> {
        let request = self.client.delete_item().table_name(&self.name).key("pk", text(pk)).key("sk", text(sk));
        request.send().await.map(drop).map_err(|error| failed("DeleteItem", &error))
    }

    /// Every item of `pk` whose sort key lies in `from..=to`, in order, at most `limit`.
    pub(crate) async fn query(&self, pk: &str, from: &str, to: &str, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.query_in(pk, from, to, limit, true).await
    }

    /// The sort keys of those items of `pk` from `from` to `to` that meet a condition on one field.
    pub(crate) async fn sort_keys(
        &self,
        pk: &str,
        (from, to): (&str, &str),
        (condition, (name, field), (place, value)): (&str, (&str, &str), (&str, AttributeValue)),
    ) -> Result<Vec<String>, StoreError> {
        let mut keys = Vec::new();
        let mut start: Option<Item> = None;
        loop {
            let request = self.client.query().table_name(&self.name).consistent_read(true).projection_expression("sk");
            let request = request.key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to");
            let request = request.filter_expression(condition).expression_attribute_names(name, field);
            let request = request.expression_attribute_values(place, value.clone());
            let request = request.expression_attribute_values(":pk", text(pk));
            let request = request.expression_attribute_values(":from", text(from));
            let request = request.expression_attribute_values(":to", text(to));
            let page = request.set_exclusive_start_key(start).send().await;
            let page = page.map_err(|error| failed("Query", &error))?;
            keys.extend(page.items().iter().map(|item| sort_key(item).to_owned()));
            start = page.last_evaluated_key().cloned().filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(keys);
            }
        }
    }

    /// The newest items of `pk` whose sort key lies in `from..=to`, newest first, at most `limit`.
    pub(crate) async fn query_newest(
        &self,
        pk: &str,
        from: &str,
        to: &str,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        self.query_in(pk, from, to, limit, false).await
    }

    async fn query_in(
        &self,
        pk: &str,
        from: &str,
        to: &str,
        limit: usize,
        forward: bool,
    ) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        let mut start: Option<Item> = None;
        loop {
            let left = i32::try_from(limit.saturating_sub(items.len()).min(1_000_000)).unwrap_or(i32::MAX);
            let request = self.client.query().table_name(&self.name).consistent_read(true).limit(left);
            let request = request.key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to");
            let request = request.scan_index_forward(forward);
            let request = request.expression_attribute_values(":pk", text(pk));
            let request = request.expression_attribute_values(":from", text(from));
            let request = request.expression_attribute_values(":to", text(to));
            let answer = request.set_exclusive_start_key(start).send().await;
            let answer = answer.map_err(|error| failed("Query", &error))?;
            items.extend(answer.items.unwrap_or_default());
            start = answer.last_evaluated_key;
            if start.is_none() || items.len() >= limit {
                return Ok(items);
            }
        }
    }

    /// Every item of `pk` whose sort key begins with `prefix`.
    pub(crate) async fn query_prefix(&self, pk: &str, prefix: &str) -> Result<Vec<Item>, StoreError> {
        // DynamoDB takes no empty key, so "everything" begins at the least character. U+10FFFF sorts after every character
        // that a key holds.
        let from = if prefix.is_empty() { "\u{1}" } else { prefix };
        self.query(pk, from, &format!("{prefix}\u{10ffff}"), usize::MAX).await
    }

    /// Runs a transaction. `Ok(None)` is done; `Ok(Some(places))` are the places whose condition failed, with the items
    /// that stood there.
    pub(crate) async fn transact(
        &self,
        writes: Vec<aws_sdk_dynamodb::types::TransactWriteItem>,
    ) -> Result<Option<Vec<(usize, Item)>>, StoreError> {
        use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
        let answer = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        let error = match answer {
            Ok(_) => return Ok(None),
            Err(error) => error,
        };
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() {
            let reasons = cancelled.cancellation_reasons();
            let places: Vec<(usize, Item)> = reasons
                .iter()
                .enumerate()
                .filter(|(_, reason)| reason.code() == Some("ConditionalCheckFailed"))
                .map(|(place, reason)| (place, reason.item().cloned().unwrap_or_default()))
                .collect();
            if !places.is_empty() {
                return Ok(Some(places));
            }
            if reasons.iter().any(|reason| reason.code() == Some("TransactionConflict")) {
                return Err(StoreError::Conflict { operation: "TransactWriteItems" });
            }
        }
        Err(failed("TransactWriteItems", &error))
    }

    pub(crate) fn put_action(
        &self,
        item: Item,
        condition: Option<&str>,
        values: Vec<(&str, AttributeValue)>,
    ) -> Result<aws_sdk_dynamodb::types::TransactWriteItem, StoreError> {
        use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
        let mut put = Put::builder().table_name(&self.name).set_item(Some(item));
        if let Some(condition) = condition {
            put = put
                .condition_expression(condition)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        }
        for (name, value) in values {
            put = put.expression_attribute_values(name, value);
        }
        let put = put.build().map_err(|_| build_error())?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    pub(crate) fn delete_action(
        &self,
        pk: &str,
        sk: &str,
    ) -> Result<aws_sdk_dynamodb::types::TransactWriteItem, StoreError> {
        use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};
        let delete = Delete::builder().table_name(&self.name).key("pk", text(pk)).key("sk", text(sk));
        Ok(TransactWriteItem::builder().delete(delete.build().map_err(|_| build_error())?).build())
    }
}

pub(crate) fn build_error() -> StoreError {
    StoreError::Refused { operation: "build", code: "incomplete request".to_owned() }
}

pub(crate) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// An item of `value` under its key, swept at `expires_at` (epoch seconds) if given.
pub(crate) fn item(pk: &str, sk: &str, value: &impl Serialize, expires_at: Option<i64>) -> Result<Item, StoreError> {
    let mut item: Item = serde_dynamo::to_item(value).map_err(|error| corrupt("a new item", &error))?;
    item.insert("pk".to_owned(), text(pk));
    item.insert("sk".to_owned(), text(sk));
    if let Some(at) = expires_at {
        item.insert("expires_at".to_owned(), number(at));
    }
    Ok(item)
}

pub(crate) fn read<T: DeserializeOwned>(item: Item, kind: &'static str) -> Result<T, StoreError> {
    serde_dynamo::from_item(item).map_err(|error| corrupt(kind, &error))
}

pub(crate) fn sort_key(item: &Item) -> &str {
    item.get("sk").and_then(|value| value.as_s().ok()).map_or("", String::as_str)
}

fn corrupt(kind: &'static str, error: &serde_dynamo::Error) -> StoreError {
    // serde's messages may quote a value; what stands before the first quote says enough.
    let detail = error.to_string();
    let detail = detail.split(['"', '`']).next().unwrap_or_default().trim().to_owned();
    StoreError::Corrupt { kind, detail }
}

/// Maps an SDK error by what to do next.
pub(crate) fn failed<E: ProvideErrorMetadata, R>(operation: &'static str, error: &SdkError<E, R>) -> StoreError {
    let Some(service) = error.as_service_error() else {
        // Timeouts and broken connections: whether the write happened is unknown, so everything here can be done twice.
        return StoreError::Unavailable { operation, code: "no answer".to_owned() };
    };
    let code = service.code().unwrap_or("unknown").to_owned();
    match code.as_str() {
        "ConditionalCheckFailedException" => StoreError::Conflict { operation },
        "TransactionConflictException" | "TransactionInProgressException" | "TransactionCanceledException" => {
            StoreError::Conflict { operation }
        }
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "InternalServerError"
        | "ServiceUnavailable" => StoreError::Unavailable { operation, code },
        _ => StoreError::Refused { operation, code },
    }
}
