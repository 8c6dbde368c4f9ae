//! Claims: the right to send one attempt of a delivery, until a lease expires.

use super::CLAIMABLE;
use crate::{StoreError, Table, keys, number, read, store_error, text};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use domain::delivery::{
    AttemptKey, ClaimRefusal, DeliveryResult, DeliveryRow, EarlierClaim, claim_refusal, earlier_claim,
};
use domain::reason::Reason;
use jiff::Timestamp;

impl Table {
    /// Claims the right to send an attempt until `lease_until_ms` (Unix milliseconds). The inner result has what is known of earlier
    /// claims of the attempt, or why the claim was refused.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn claim(
        &self,
        key: AttemptKey<'_>,
        token: &str,
        now: Timestamp,
        lease_until_ms: i64,
    ) -> Result<Result<EarlierClaim, ClaimRefusal>, StoreError> {
        let now_ms = now.as_millisecond();
        let mut claimed = self.claim_row(key, token, now, lease_until_ms, None).await?;
        if let Err(row) = &claimed
            && row.has_unsettled_claim()
            && claim_refusal(Some(row), key.update, key.attempt, now_ms).is_none()
        {
            let row = row.clone();
            claimed = self.claim_row(key, token, now, lease_until_ms, Some(&row)).await?;
        }
        Ok(match claimed {
            Ok(before) => Ok(earlier_claim(before.as_ref(), key.update, key.attempt)),
            // The rule and the condition are equivalent. If they ever differ, waiting a second is safe.
            Err(row) => Err(claim_refusal(Some(&row), key.update, key.attempt, now_ms)
                .unwrap_or(ClaimRefusal::Leased { until_ms: now_ms + 1_000 })),
        })
    }

    /// Writes a claim. The inner result has the row before it, or the row that refused it.
    ///
    /// A claim from a claimant who died is taken over by naming it, `from`, and records that the row's update may have been sent. Only that
    /// costs a second write, since an update expression cannot depend on the state of its row.
    async fn claim_row(
        &self,
        key: AttemptKey<'_>,
        token: &str,
        now: Timestamp,
        lease_until_ms: i64,
        from: Option<&DeliveryRow>,
    ) -> Result<Result<Option<DeliveryRow>, DeliveryRow>, StoreError> {
        let (tried, whose) = match from {
            None => ("", "attribute_not_exists(pk) OR #state <> :sending OR lease_until_ms = :zero"),
            Some(_) => (", tried = latest", "#token = :from AND lease_until_ms = :from_lease"),
        };
        let request = self.client.update_item().table_name(&self.name);
        let request = request.key("pk", text(&keys::deliveries(key.incident, key.tenant))).key("sk", text(key.row));
        let mut request = request
            .update_expression(format!(
                "SET latest = :n, #state = :sending, lease_until_ms = :lease, #token = :token, channel = :channel, \
                 attempts = :done_attempts, expires_at = :expires, done = if_not_exists(done, :zero){tried}"
            ))
            .condition_expression(format!("({CLAIMABLE}) AND ({whose})"))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_values(ReturnValue::AllOld)
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#token", "token")
            .expression_attribute_values(":n", number(key.update))
            .expression_attribute_values(":sending", text("sending"))
            .expression_attribute_values(":lease", number(lease_until_ms))
            .expression_attribute_values(":token", text(token))
            .expression_attribute_values(":channel", text(key.channel.as_str()))
            .expression_attribute_values(":done_attempts", number(key.attempt.saturating_sub(1)))
            .expression_attribute_values(":expires", number(self.row_expiry(key.channel, now)))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .expression_attribute_values(":attempt", number(key.attempt));
        if let Some(from) = from {
            request = request.expression_attribute_values(":from", text(&from.token));
            request = request.expression_attribute_values(":from_lease", number(from.lease_until_ms));
        }
        match request.send().await {
            Ok(claimed) => {
                // The claim is valid even if the row that it replaced is unreadable.
                let log = |error: &StoreError| {
                    tracing::error!(row = key.row, %error, "claimed a delivery row whose previous state is unreadable");
                };
                Ok(Ok(claimed.attributes.and_then(|old| read(old, "a delivery").inspect_err(log).ok())))
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(old)) => {
                    Ok(Err(read(old.item().cloned().unwrap_or_default(), "a delivery")?))
                }
                _ => Err(store_error("UpdateItem", &error)),
            },
        }
    }

    /// Ends a delivery without sending it, under the same rules as a claim, and records the reason. The inner error says that another
    /// claimant is sending or that the delivery has already ended.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn end_without_sending(
        &self,
        key: AttemptKey<'_>,
        token: &str,
        now: Timestamp,
        reason: Reason,
    ) -> Result<Result<(), ClaimRefusal>, StoreError> {
        // Without a lease, the next run need not wait if this one dies before the mark, and does not assume that it was sent.
        let before = match self.claim(key, token, now, 0).await? {
            Ok(before) => before,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let key = AttemptKey { attempt: before.attempts_made(key.attempt), ..key };
        if self.mark_ended(key, token, now, &DeliveryResult::Failed { reason }, None).await? {
            Ok(Ok(()))
        } else {
            Ok(Err(ClaimRefusal::Leased { until_ms: now.as_millisecond() + 1_000 }))
        }
    }

    /// Releases an unused claim, so that the next claimant need not wait for the lease to expire.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn release_claim(&self, key: AttemptKey<'_>, token: &str) -> Result<(), StoreError> {
        let request = self.client.update_item().table_name(&self.name);
        let request = request.key("pk", text(&keys::deliveries(key.incident, key.tenant))).key("sk", text(key.row));
        let request = request.update_expression("SET lease_until_ms = :zero").condition_expression("#token = :token");
        let request = request.expression_attribute_names("#token", "token");
        let request = request.expression_attribute_values(":zero", number(0));
        match request.expression_attribute_values(":token", text(token)).send().await {
            Ok(_) => Ok(()),
            Err(error) => match store_error("UpdateItem", &error) {
                StoreError::Conflict { .. } => Ok(()),
                other => Err(other),
            },
        }
    }
}
