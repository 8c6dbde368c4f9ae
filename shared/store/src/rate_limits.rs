//! Rate limits: messages per contact, calls per destination, incidents and test alerts per tenant.

use crate::{StoreError, Table, item, keys, number, read, store_error, text};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use domain::ids::TenantId;
use domain::policy::{BucketLimit, RateLimit};
use domain::rate_limit::{Admission, Bucket, CLOCKS_DIFFER_MS, CallSlot, Exemption, RateLimitDecision, RateLimitState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A contact's rate-limit state, with the version that the next write is conditional on.
#[derive(Default, Serialize, Deserialize)]
struct StoredRateLimit {
    contact: RateLimitState,
    version: u64,
}

/// Maximum tries of a bucket's write. More than two need the bucket to become full, or not full, in between.
const BUCKET_TRIES: usize = 6;
/// Maximum tries of a conditional write before the caller gets a conflict.
const WRITE_TRIES: usize = 20;

impl Table {
    /// Reserves a rate-limit slot of a contact (a hash of its address or number) for one more message, and stores the decision.
    ///
    /// # Errors
    /// [`StoreError`] of the call; [`StoreError::Conflict`] if other reservations of the contact keep winning.
    pub async fn reserve_contact_slot(
        &self,
        contact: &str,
        windows: &[RateLimit],
        now: Timestamp,
        exempt: Option<(Exemption, u32)>,
    ) -> Result<RateLimitDecision, StoreError> {
        let pk = keys::rate_limit(contact);
        let longest = windows.iter().map(RateLimit::seconds).max().unwrap_or(0);
        let expiry = Some(now.as_second() + longest + 3_600);
        let mut before = StoredRateLimit::default();
        for _ in 0..WRITE_TRIES {
            let (may, contact) = before.contact.reserve(windows, now, exempt);
            if contact == before.contact {
                return Ok(may);
            }
            let after = StoredRateLimit { contact, version: before.version + 1 };
            let entry = item(&pk, "CONTACT", &after, expiry)?;
            // The first try assumes a contact without any message so far, which is the most common case and saves a read.
            match self
                .put_if(
                    entry,
                    "attribute_not_exists(pk) OR version = :before",
                    vec![(":before", number(before.version))],
                )
                .await?
            {
                None => return Ok(may),
                Some(other) => before = read(other, "a contact")?,
            }
        }
        Err(StoreError::Conflict { operation: "reserve_contact_slot" })
    }

    /// Counts an incident opened for a tenant in a window of storm protection. Returns the number of incidents with it. `until` is the
    /// window's end.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn count_opening(&self, tenant: &TenantId, window: i64, until: Timestamp) -> Result<u32, StoreError> {
        let pk = keys::rate_limit(&domain::ids::short_hash(&["storm", tenant.as_str()]));
        let request = self.client.update_item().table_name(&self.name).key("pk", text(&pk));
        let request = request.key("sk", text(&format!("STORM#{window}")));
        let request = request.update_expression("SET expires_at = :expires ADD opened :one");
        let request = request.expression_attribute_values(":one", number(1));
        let request = request.expression_attribute_values(":expires", number(until.as_second() + 3_600));
        let done = request.return_values(ReturnValue::UpdatedNew).send().await;
        let done = done.map_err(|error| store_error("UpdateItem", &error))?;
        let opened = done.attributes().and_then(|item| item.get("opened")).and_then(|value| value.as_n().ok());
        Ok(opened.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Counts a test alert of a tenant against each of its rate limits. Returns the first limit that is used up, with the seconds until
    /// its window ends, or `None` if the test alert is within all limits.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn count_test_alert<'a>(
        &self,
        tenant: &TenantId,
        windows: &'a [RateLimit],
        now: Timestamp,
    ) -> Result<Option<(&'a RateLimit, i64)>, StoreError> {
        let pk = keys::rate_limit(&domain::ids::short_hash(&["test", tenant.as_str()]));
        for window in windows {
            let (index, left) = window.current_window(now);
            let request = self.client.update_item().table_name(&self.name).key("pk", text(&pk));
            let request = request.key("sk", text(&format!("TEST#{}#{index}", window.minutes)));
            let request = request.update_expression("SET expires_at = :expires ADD sent :one");
            let request = request.condition_expression("attribute_not_exists(sent) OR sent < :limit");
            let request = request.expression_attribute_values(":one", number(1));
            let request = request.expression_attribute_values(":limit", number(window.messages));
            let request = request.expression_attribute_values(":expires", number(now.as_second() + left + 3_600));
            match request.send().await.map_err(|error| store_error("UpdateItem", &error)) {
                Ok(_) => {}
                Err(StoreError::Conflict { .. }) => return Ok(Some((window, left))),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Takes messages out of a token bucket. Returns `None` if they are admitted, otherwise the seconds until the bucket is not in debt. The
    /// writes carry out [`Bucket::admit`] without reading first, so that no number of requests at once gets past it.
    ///
    /// # Errors
    /// [`StoreError`] of the call; [`StoreError::Conflict`] if the bucket kept changing between full and not full.
    pub async fn take_from_bucket(
        &self,
        name: &[&str],
        messages: u32,
        limit: BucketLimit,
        now: Timestamp,
    ) -> Result<Option<u32>, StoreError> {
        let now_ms = now.as_millisecond();
        let (cost_ms, burst_ms) = (limit.milliseconds(messages), limit.milliseconds(limit.burst));
        // Most buckets are full, so that is assumed first.
        let mut full = true;
        for _ in 0..BUCKET_TRIES {
            let request = self.bucket_update(name, now_ms + burst_ms + cost_ms);
            let request = match full {
                true => request
                    .update_expression("SET full_at_ms = :after, taken_at_ms = :now, expires_at = :expires")
                    .condition_expression("attribute_not_exists(pk) OR full_at_ms <= :now OR taken_at_ms > :later")
                    .expression_attribute_values(":later", number(now_ms + CLOCKS_DIFFER_MS))
                    .expression_attribute_values(":after", number(now_ms + cost_ms)),
                false => request
                    .update_expression("SET full_at_ms = full_at_ms + :cost, taken_at_ms = :now, expires_at = :expires")
                    .condition_expression("full_at_ms > :now AND full_at_ms <= :until")
                    .expression_attribute_values(":cost", number(cost_ms))
                    .expression_attribute_values(":until", number(now_ms + burst_ms)),
            };
            match request.expression_attribute_values(":now", number(now_ms)).send().await {
                Ok(_) => return Ok(None),
                Err(error) => match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(old)) => {
                        let stored = |name| old.item()?.get(name)?.as_n().ok()?.parse().ok();
                        let times = (stored("full_at_ms"), stored("taken_at_ms"));
                        let (Some(full_at_ms), Some(taken_at_ms)) = times else {
                            return Err(StoreError::Conflict { operation: "take_from_bucket" });
                        };
                        let before = Some(Bucket { full_at_ms, taken_at_ms });
                        if let Admission::InDebt { retry_after } = Bucket::admit(before, messages, limit, now_ms) {
                            return Ok(Some(retry_after));
                        }
                        full = before.is_none_or(|bucket| bucket.is_full(now_ms));
                    }
                    _ => return Err(store_error("UpdateItem", &error)),
                },
            }
        }
        Err(StoreError::Conflict { operation: "take_from_bucket" })
    }

    /// Gives messages back to a token bucket, which were taken and then not let in.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn return_to_bucket(
        &self,
        name: &[&str],
        messages: u32,
        limit: BucketLimit,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let request = self.bucket_update(name, now.as_millisecond() + limit.milliseconds(limit.burst));
        let request = request.update_expression("SET full_at_ms = full_at_ms - :cost, expires_at = :expires");
        let request = request.condition_expression("attribute_exists(pk)");
        let request = request.expression_attribute_values(":cost", number(limit.milliseconds(messages)));
        match request.send().await.map_err(|error| store_error("UpdateItem", &error)) {
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Begins an update of a bucket that TTL may delete an hour after `until_ms`.
    fn bucket_update(&self, name: &[&str], until_ms: i64) -> UpdateItemFluentBuilder {
        let pk = keys::rate_limit(&domain::ids::short_hash(name));
        let request = self.client.update_item().table_name(&self.name).key("pk", text(&pk)).key("sk", text("BUCKET"));
        request
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_values(":expires", number(until_ms / 1_000 + 3_600))
    }

    /// Reserves the next time at which a target may be called, when it accepts one call per `pause_ms`. Each time is given to one caller only.
    /// If the next one is more than `within_ms` ahead, nothing is reserved.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn reserve_call_slot(
        &self,
        target: &str,
        now: Timestamp,
        pause_ms: i64,
        within_ms: Option<i64>,
    ) -> Result<CallSlot, StoreError> {
        let now_ms = now.as_millisecond();
        let pk = keys::rate_limit(&domain::ids::short_hash(&["gate", target]));
        let mut free_at = now_ms;
        // The first try reserves "now". If that fails, the stored item says when the target is free, and the next try reserves that.
        for _ in 0..50 {
            let request = self.client.update_item().table_name(&self.name).key("pk", text(&pk)).key("sk", text("GATE"));
            let request = request
                .update_expression("SET next_ms = :next, expires_at = :expires")
                .condition_expression("attribute_not_exists(pk) OR next_ms <= :free")
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .expression_attribute_values(":next", number(free_at + pause_ms))
                .expression_attribute_values(":free", number(free_at))
                .expression_attribute_values(":expires", number(free_at / 1_000 + 3_600));
            match request.send().await {
                Ok(_) => return Ok(CallSlot::At(free_at)),
                Err(error) => match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(old)) => {
                        let next = old.item().and_then(|item| item.get("next_ms"));
                        let next = next.and_then(|value| value.as_n().ok()).and_then(|text| text.parse().ok());
                        free_at = next.unwrap_or(free_at + pause_ms).max(free_at);
                        if within_ms.is_some_and(|within| free_at > now_ms + within) {
                            return Ok(CallSlot::Full);
                        }
                    }
                    _ => return Err(store_error("UpdateItem", &error)),
                },
            }
        }
        Err(StoreError::Conflict { operation: "reserve_call_slot" })
    }
}
