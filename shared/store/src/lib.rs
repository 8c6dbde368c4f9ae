//! Reads and writes the one DynamoDB table. All keys are defined in [`keys`].
//!
//! Writes that can race are conditional. There is no Scan. TTL (`expires_at`) only removes old items: nothing relies on the time
//! at which an item expires.

pub mod aliases;
pub mod clock;
pub mod contacts;
pub mod credentials;
pub mod data_keys;
pub mod dead_letters;
pub mod deliveries;
pub mod due;
pub mod events;
#[cfg(test)]
mod golden;
pub mod health;
pub mod incidents;
pub mod keys;
pub mod maintenance;
pub mod messages;
pub mod name_requests;
pub mod plans;
pub mod public;
pub mod rate_limits;
pub mod sms_parts;
pub mod subscriptions;
mod suppressions;
pub mod tenants;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason};
use domain::ids::DUE_SHARDS;
use domain::vocabulary::Channel;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::time::Duration;

/// A DynamoDB item: attribute values by name.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// Why a table call failed, grouped by what the caller can do next. Never contains an item's values.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB throttled the call, timed out or could not be reached. Retry.
    #[error("the table is unavailable ({operation}: {code})")]
    Unavailable {
        /// The operation that failed: DynamoDB's, such as `PutItem`, or a function of this crate, such as `suppress_contact`.
        operation: &'static str,
        /// Error code that AWS returned.
        code: String,
    },
    /// A condition failed because the item was changed by another writer in the meantime. Read again and retry.
    #[error("the item was changed by another writer ({operation})")]
    Conflict {
        /// The operation that failed: DynamoDB's, such as `PutItem`, or a function of this crate, such as `suppress_contact`.
        operation: &'static str,
    },
    /// Another transaction has the item at this moment. That says nothing about conditions: repeat the call.
    #[error("another transaction has the item ({operation})")]
    Contended {
        /// The operation that failed: DynamoDB's, such as `PutItem`.
        operation: &'static str,
    },
    /// The call fails again if it is repeated: a missing permission or table, or an invalid request.
    #[error("DynamoDB rejected the call ({operation}: {code})")]
    Refused {
        /// The operation that failed: DynamoDB's, such as `PutItem`, or a function of this crate, such as `suppress_contact`.
        operation: &'static str,
        /// Error code that AWS returned.
        code: String,
    },
    /// A stored item does not have the shape that this version writes.
    #[error("stored item is invalid, expected {kind}: {detail}")]
    Corrupt {
        /// The kind of item that was expected, such as `a delivery`.
        kind: &'static str,
        /// What is wrong with the item, without its values.
        detail: String,
    },
}

impl StoreError {
    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Conflict { .. } | Self::Contended { .. })
    }
}

/// Pauses before a transaction is tried again that met another one, in milliseconds: about a second in all. Transactions take some ten
/// milliseconds.
const CONTENTION_PAUSES_MS: [u64; 5] = [20, 60, 180, 300, 450];

/// A filter of a query, with one attribute name and one value as placeholder and replacement.
pub(crate) struct Filter<'a> {
    pub(crate) expression: &'a str,
    pub(crate) name: (&'a str, &'a str),
    pub(crate) value: (&'a str, AttributeValue),
}

/// The DynamoDB table and the retention of its items.
#[derive(Clone, Debug)]
pub struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
    retention: SignedDuration,
    /// How many shards of the due index are written.
    pub(crate) due_shards: u16,
    pub(crate) due_versions: due::Versions,
}

/// Default retention of an incident's items in days.
pub const RETENTION_DAYS: u32 = 90;
/// Minimum retention of plans: 400 days.
const PLAN_RETENTION_MIN: SignedDuration = SignedDuration::from_hours(24 * 400);
/// Retention of event records, excluded events included, in days.
pub const EVENT_DAYS: u32 = 30;

impl Table {
    /// Creates a client for the table `name` with the process's SDK configuration. Items of incidents expire after `retention_days`.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, name: &str, retention_days: u32) -> Self {
        let retention = SignedDuration::from_hours(24 * i64::from(retention_days));
        let due_versions = due::Versions::default();
        Self { client: Client::new(config), name: name.to_owned(), retention, due_shards: DUE_SHARDS, due_versions }
    }

    /// Returns a client that spreads what it schedules over so many shards of the due index, from 1 to [`DUE_SHARDS`]. `writer` is a random text
    /// of this process, from which the versions of its due entries are made.
    #[must_use]
    pub fn with_due_index(self, shards: u16, writer: &str) -> Self {
        Self { due_shards: shards.clamp(1, DUE_SHARDS), due_versions: due::Versions::of(writer), ..self }
    }

    /// Returns how many shards of the due index are written.
    #[must_use]
    pub fn due_shards(&self) -> u16 {
        self.due_shards
    }

    /// Returns when an incident's item written at `now` expires, in Unix seconds.
    pub(crate) fn expiry(&self, now: Timestamp) -> i64 {
        now.as_second().saturating_add(self.retention.as_secs())
    }

    /// Returns when a plan written at `now` expires, in Unix seconds: after at least 400 days.
    ///
    /// Plans outlive the texts of an incident, because an incident may stay open that long and its resolve goes to everyone who was
    /// notified of its opening. A plan identifies people by id only.
    pub(crate) fn plan_expiry(&self, now: Timestamp) -> i64 {
        self.expiry(now).max(now.as_second().saturating_add(PLAN_RETENTION_MIN.as_secs()))
    }

    /// Returns when a delivery row written at `now` expires, in Unix seconds. Where a row says who was notified, it lives as long as the plans.
    pub(crate) fn row_expiry(&self, channel: Channel, now: Timestamp) -> i64 {
        if channel == Channel::Webhook { self.expiry(now) } else { self.plan_expiry(now) }
    }

    pub(crate) async fn get(&self, pk: &str, sk: &str) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.name).consistent_read(true);
        let answer = request.key("pk", text(pk)).key("sk", text(sk)).send().await;
        Ok(answer.map_err(|error| store_error("GetItem", &error))?.item)
    }

    pub(crate) async fn put(&self, item: Item) -> Result<(), StoreError> {
        let answer = self.client.put_item().table_name(&self.name).set_item(Some(item)).send().await;
        answer.map(drop).map_err(|error| store_error("PutItem", &error))
    }

    /// Puts an item whose key must not exist yet. Returns the stored item if it does.
    pub(crate) async fn put_new(&self, item: Item) -> Result<Option<Item>, StoreError> {
        self.put_if(item, "attribute_not_exists(pk)", vec![]).await
    }

    /// Puts an item under a condition. Returns the stored item if the condition fails.
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
                _ => Err(store_error("PutItem", &error)),
            },
        }
    }

    /// Returns the items of `pk` whose sort key is in `from..=to`, in ascending order, at most `limit`.
    pub(crate) async fn query(&self, pk: &str, from: &str, to: &str, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.query_in(pk, from, to, limit, true).await
    }

    /// Returns the sort keys of the items of `pk` in `from..=to` for which one field meets a condition.
    pub(crate) async fn sort_keys(
        &self,
        pk: &str,
        from: &str,
        to: &str,
        filter: &Filter<'_>,
    ) -> Result<Vec<String>, StoreError> {
        let mut keys = Vec::new();
        let mut start: Option<Item> = None;
        loop {
            let request = self.client.query().table_name(&self.name).consistent_read(true).projection_expression("sk");
            let request = request.key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to");
            let request = request.filter_expression(filter.expression);
            let request = request.expression_attribute_names(filter.name.0, filter.name.1);
            let request = request.expression_attribute_values(filter.value.0, filter.value.1.clone());
            let request = request.expression_attribute_values(":pk", text(pk));
            let request = request.expression_attribute_values(":from", text(from));
            let request = request.expression_attribute_values(":to", text(to));
            let page = request.set_exclusive_start_key(start).send().await;
            let page = page.map_err(|error| store_error("Query", &error))?;
            keys.extend(page.items().iter().map(|item| sort_key(item).to_owned()));
            start = page.last_evaluated_key().cloned().filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(keys);
            }
        }
    }

    /// Returns the last items of `pk` whose sort key is in `from..=to`, in descending order, at most `limit`.
    pub(crate) async fn query_newest(
        &self,
        pk: &str,
        from: &str,
        to: &str,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        self.query_in(pk, from, to, limit, false).await
    }

    /// Returns up to `limit` items of `pk` whose sort key is in `from..=to`, ascending if `forward`, otherwise descending.
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
            let answer = answer.map_err(|error| store_error("Query", &error))?;
            items.extend(answer.items.unwrap_or_default());
            start = answer.last_evaluated_key;
            if start.is_none() || items.len() >= limit {
                return Ok(items);
            }
        }
    }

    /// Returns all items of `pk` whose sort key begins with `prefix`.
    pub(crate) async fn query_prefix(&self, pk: &str, prefix: &str) -> Result<Vec<Item>, StoreError> {
        // DynamoDB rejects an empty key, so an empty prefix starts at the lowest character. U+10FFFF sorts after every character
        // used in keys.
        let from = if prefix.is_empty() { "\u{1}" } else { prefix };
        self.query(pk, from, &format!("{prefix}\u{10ffff}"), usize::MAX).await
    }

    /// Runs a transaction. Returns `None` if it was written, otherwise the index of each write whose condition failed with the item
    /// stored under its key. If another transaction has one of the items, it is tried again a few times.
    pub(crate) async fn transact(
        &self,
        writes: Vec<aws_sdk_dynamodb::types::TransactWriteItem>,
    ) -> Result<Option<Vec<(usize, Item)>>, StoreError> {
        for (attempt, pause) in CONTENTION_PAUSES_MS.into_iter().enumerate() {
            match self.try_transact(writes.clone()).await {
                Err(StoreError::Contended { .. }) => {
                    let own = writes.iter().filter_map(|write| Some(sort_key(write.put()?.item())));
                    tokio::time::sleep(spread(pause, attempt, own)).await;
                }
                done => return done,
            }
        }
        self.try_transact(writes).await
    }

    /// Runs a transaction once; see [`Table::transact`].
    pub(crate) async fn try_transact(
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
            let failed: Vec<(usize, Item)> = reasons
                .iter()
                .enumerate()
                .filter(|(_, reason)| reason.code() == Some("ConditionalCheckFailed"))
                .map(|(index, reason)| (index, reason.item().cloned().unwrap_or_default()))
                .collect();
            if !failed.is_empty() {
                return Ok(Some(failed));
            }
            return Err(cancelled_error(reasons.iter().filter_map(CancellationReason::code)));
        }
        Err(store_error("TransactWriteItems", &error))
    }

    /// Builds a put for a transaction, with an optional condition and the condition's values.
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

    /// Builds an unconditional delete for a transaction.
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

/// Returns a pause from half to one and a half of `pause_ms` milliseconds. `own` are texts that no other writer has, such as random keys:
/// writers that met come again at different times, and at each attempt in another order.
pub(crate) fn spread<'a>(pause_ms: u64, attempt: usize, own: impl Iterator<Item = &'a str>) -> Duration {
    let sum = own.flat_map(str::bytes).fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        // FNV-1a.
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = sum.rotate_left(u32::try_from(attempt % 64).unwrap_or(0) * 7);
    Duration::from_millis(pause_ms / 2 + mixed % pause_ms.max(1))
}

/// The error of a request that the SDK cannot build, which is a bug.
pub(crate) fn build_error() -> StoreError {
    StoreError::Refused { operation: "build", code: "incomplete request".to_owned() }
}

pub(crate) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Builds the item of `value` under its key, removed by TTL after `expires_at` (Unix seconds) if given.
pub(crate) fn item(pk: &str, sk: &str, value: &impl Serialize, expires_at: Option<i64>) -> Result<Item, StoreError> {
    let mut item: Item = serde_dynamo::to_item(value).map_err(|error| corrupt("a new item", &error))?;
    item.insert("pk".to_owned(), text(pk));
    item.insert("sk".to_owned(), text(sk));
    if let Some(at) = expires_at {
        item.insert("expires_at".to_owned(), number(at));
    }
    Ok(item)
}

/// Parses an item; `kind` names the expected type in the error.
pub(crate) fn read<T: DeserializeOwned>(item: Item, kind: &'static str) -> Result<T, StoreError> {
    serde_dynamo::from_item(item).map_err(|error| corrupt(kind, &error))
}

/// Returns an item's sort key; empty if it has none.
pub(crate) fn sort_key(item: &Item) -> &str {
    item.get("sk").and_then(|value| value.as_s().ok()).map_or("", String::as_str)
}

fn corrupt(kind: &'static str, error: &serde_dynamo::Error) -> StoreError {
    // serde's messages may quote a value, so everything from the first quote on is cut off.
    let detail = error.to_string();
    let detail = detail.split(['"', '`']).next().unwrap_or_default().trim().to_owned();
    StoreError::Corrupt { kind, detail }
}

/// Maps the reasons of a canceled transaction to an error. None of them is a condition that failed.
///
/// Codes: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>
fn cancelled_error<'a>(codes: impl Iterator<Item = &'a str>) -> StoreError {
    let operation = "TransactWriteItems";
    let codes: Vec<&str> = codes.filter(|code| *code != "None").collect();
    // What is invalid or too large fails again, whatever else was the matter.
    if codes.iter().any(|code| ["ValidationError", "ItemCollectionSizeLimitExceeded"].contains(code)) {
        return StoreError::Refused { operation, code: "ValidationException".to_owned() };
    }
    match codes.iter().find(|code| **code != "TransactionConflict") {
        Some(code) => StoreError::Unavailable { operation, code: (*code).to_owned() },
        None => StoreError::Contended { operation },
    }
}

/// Maps an SDK error to a [`StoreError`] by what the caller can do next.
pub(crate) fn store_error<E: ProvideErrorMetadata, R>(operation: &'static str, error: &SdkError<E, R>) -> StoreError {
    let Some(service) = error.as_service_error() else {
        // Timeouts and broken connections: the write may have happened. All writes of this crate can therefore be repeated.
        return StoreError::Unavailable { operation, code: "no response".to_owned() };
    };
    let code = service.code().unwrap_or("unknown").to_owned();
    match code.as_str() {
        "ConditionalCheckFailedException" => StoreError::Conflict { operation },
        "TransactionConflictException" | "TransactionInProgressException" | "TransactionCanceledException" => {
            StoreError::Contended { operation }
        }
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "InternalServerError"
        | "ServiceUnavailable" => StoreError::Unavailable { operation, code },
        _ => StoreError::Refused { operation, code },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_that_met_come_again_at_different_times() {
        let pause = |own: &str, attempt| spread(100, attempt, std::iter::once(own)).as_millis();
        let writers = ["a7f3k2", "b8d1m9", "c4x6q0", "d2v5w7", "e9z3r1"];
        for attempt in 0..5 {
            let all: std::collections::BTreeSet<u128> = writers.iter().map(|own| pause(own, attempt)).collect();
            assert!(all.len() >= 4, "{all:?}");
            assert!(all.iter().all(|pause| (50..150).contains(pause)), "{all:?}");
        }
        assert_eq!(spread(0, 3, std::iter::once("a")), Duration::ZERO);
    }
}
