//! Scheduling: deliveries that are due at another time, or once more, with their entry in the due index.

use super::CLAIMABLE;
use crate::{StoreError, Table, keys, number, read, store_error, text};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};
use domain::delivery::{ABANDONED_AFTER_MS, AttemptKey, ClaimRefusal, DeliveryRow, claim_refusal};
use domain::due::ScheduledDelivery;
use domain::reason::Reason;
use jiff::Timestamp;

/// The condition that nobody is sending a delivery, or may have: the rule of [`domain::delivery::RowWrite::Reschedule`].
const NOBODY_SENDS: &str = "attribute_not_exists(pk) OR #state <> :sending OR lease_until_ms = :zero";

/// What is set on the row of a delivery that nobody is sending.
const UNSENT: &str = "SET latest = :n, #state = :state, lease_until_ms = :zero, #token = :none, channel = :channel, \
                      attempts = :made, expires_at = :expires, done = if_not_exists(done, :zero)";

/// Whether a delivery's row is about the update that is written, or about an older one, whose causes and times are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOf {
    /// The row is about the same update.
    ThisUpdate,
    /// There is no row, or it is about an older update.
    AnOlderUpdate,
}

impl Table {
    /// Schedules a delivery at another time than planned, and stores time and reason on its row, in one transaction. The inner error says
    /// that nothing was written, because another claimant is sending or the delivery has ended.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn reschedule(
        &self,
        key: AttemptKey<'_>,
        due: &ScheduledDelivery,
        until: Timestamp,
        reason: Reason,
        row: RowOf,
        now: Timestamp,
    ) -> Result<Result<(), ClaimRefusal>, StoreError> {
        let write = async || {
            let mut expression = format!("{UNSENT}, next_at_ms = :next, reason = :reason");
            if row == RowOf::AnOlderUpdate {
                expression.push_str(" REMOVE cause");
            }
            let values = vec![(":next", number(until.as_millisecond())), (":reason", text(reason.as_str()))];
            let update = self.unsent_update(key, &expression, "retrying", values, now)?;
            let entry = self.put_action(self.due_item(due)?, None, vec![])?;
            let writes = vec![TransactWriteItem::builder().update(update).build(), entry];
            let Some(refused) = self.transact(writes).await? else { return Ok(Ok(())) };
            Ok(Err(read(refused.into_iter().map(|(_, row)| row).next().unwrap_or_default(), "a delivery")?))
        };
        let written = match write().await? {
            Err(row) if self.end_abandoned_claim(key, &row, now).await? => write().await?,
            other => other,
        };
        Ok(written.map_err(|row: DeliveryRow| refusal(&row, key, now)))
    }

    /// Records on its row that a held delivery goes onto its queue. The inner error says that nothing was written, because another claimant
    /// is sending or the delivery has ended.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn mark_queued(
        &self,
        key: AttemptKey<'_>,
        row: RowOf,
        now: Timestamp,
    ) -> Result<Result<(), ClaimRefusal>, StoreError> {
        let expression = match row {
            RowOf::ThisUpdate => UNSENT.to_owned(),
            RowOf::AnOlderUpdate => format!("{UNSENT} REMOVE cause, reason, next_at_ms"),
        };
        let write = async || {
            let update = self.unsent_update(key, &expression, "queued", Vec::new(), now)?;
            match self.update_alone(update).send().await {
                Ok(_) => Ok(Ok(())),
                Err(error) => match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(old)) => {
                        Ok(Err(read(old.item().cloned().unwrap_or_default(), "a delivery")?))
                    }
                    _ => Err(store_error("UpdateItem", &error)),
                },
            }
        };
        let written = match write().await? {
            Err(row) if self.end_abandoned_claim(key, &row, now).await? => write().await?,
            other => other,
        };
        Ok(written.map_err(|row: DeliveryRow| refusal(&row, key, now)))
    }

    /// Takes over a claim whose claimant will never come back, without a lease, which records that its update may have been sent. Returns
    /// whether the row can be written now.
    async fn end_abandoned_claim(
        &self,
        key: AttemptKey<'_>,
        row: &DeliveryRow,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let abandoned = row.lease_until_ms < now.as_millisecond() - ABANDONED_AFTER_MS;
        Ok(row.has_unsettled_claim() && abandoned && self.claim(key, "", now, 0).await?.is_ok())
    }

    /// Builds the update of a row that nobody is sending.
    fn unsent_update(
        &self,
        key: AttemptKey<'_>,
        expression: &str,
        state: &str,
        values: Vec<(&str, AttributeValue)>,
        now: Timestamp,
    ) -> Result<Update, StoreError> {
        let now_ms = now.as_millisecond();
        let mut update = Update::builder()
            .table_name(&self.name)
            .key("pk", text(&keys::deliveries(key.incident, key.tenant)))
            .key("sk", text(key.row))
            .update_expression(expression)
            // A claimant that died may have sent it. Its queue message is redelivered, which then settles the row.
            .condition_expression(format!("({CLAIMABLE}) AND ({NOBODY_SENDS})"))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#token", "token")
            .expression_attribute_values(":state", text(state))
            .expression_attribute_values(":none", text(""))
            .expression_attribute_values(":channel", text(key.channel.as_str()))
            .expression_attribute_values(":made", number(key.attempt.saturating_sub(1)))
            .expression_attribute_values(":expires", number(self.row_expiry(key.channel, now)))
            .expression_attribute_values(":sending", text("sending"))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":n", number(key.update))
            .expression_attribute_values(":now", number(now_ms))
            .expression_attribute_values(":attempt", number(key.attempt));
        for (name, value) in values {
            update = update.expression_attribute_values(name, value);
        }
        update.build().map_err(|_| crate::build_error())
    }

    /// Reopens a delivery that failed permanently and schedules its next attempt, in one transaction. Returns `false` if it did not
    /// fail, or if the row has a newer update.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn reopen(
        &self,
        key: AttemptKey<'_>,
        now: Timestamp,
        due: &ScheduledDelivery,
    ) -> Result<bool, StoreError> {
        // The attempt count stays, so that the next attempt has a number that no claim has used.
        let expression = "SET done = :before, #state = :retrying, next_at_ms = :next, lease_until_ms = :zero, #at = :at, \
                          #token = :token REMOVE reason";
        let values = vec![
            (":before", number(key.update.saturating_sub(1))),
            (":retrying", text("retrying")),
            (":next", number(due.at.as_millisecond())),
            (":zero", number(0)),
            (":at", text(&now.to_string())),
            (":token", text("")),
            (":n", number(key.update)),
            (":failed", text("failed")),
        ];
        let condition = "#state = :failed AND latest = :n AND done = :n";
        let update = self.row_update(key, expression, condition, values)?;
        let mut writes = vec![TransactWriteItem::builder().update(update).build()];
        writes.push(self.put_action(self.due_item(due)?, None, vec![])?);
        self.write_mark(writes).await
    }
}

/// Says why a delivery could not be scheduled, from the row as it is.
fn refusal(row: &DeliveryRow, key: AttemptKey<'_>, now: Timestamp) -> ClaimRefusal {
    let now_ms = now.as_millisecond();
    claim_refusal(Some(row), key.update, key.attempt, now_ms)
        .unwrap_or(ClaimRefusal::Leased { until_ms: now_ms + 1_000 })
}
