//! Scheduling: deliveries that are due at another time, or once more, with their entry in the due index.

use super::CLAIMABLE;
use crate::{Item, StoreError, Table, keys, number, read, text};
use aws_sdk_dynamodb::types::{ConditionCheck, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};
use domain::delivery::{ABANDONED_AFTER_MS, AttemptKey, ClaimRefusal, DeliveryRow, claim_refusal};
use domain::due::ScheduledDelivery;
use domain::plan::{Decision, DecisionOutcome};
use domain::reason::Reason;
use jiff::Timestamp;

/// The condition that nobody is sending a delivery, or may have: the rule of [`domain::delivery::RowWrite::CheckUnsent`].
const NOBODY_SENDS: &str = "#state <> :sending OR lease_until_ms = :zero OR lease_until_ms < :abandoned";

impl Table {
    /// Schedules a delivery at another time than planned and stores the revised decision, in one transaction. Neither is written if the
    /// delivery was sent. The inner error says that another claimant is sending or that the delivery has already ended, because an
    /// earlier run released it and died before it deleted the due item.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn schedule_revised(
        &self,
        key: AttemptKey<'_>,
        due: &ScheduledDelivery,
        revised: &Decision,
        now: Timestamp,
    ) -> Result<Result<(), ClaimRefusal>, StoreError> {
        let now_ms = now.as_millisecond();
        let check = ConditionCheck::builder()
            .table_name(&self.name)
            .key("pk", text(&keys::deliveries(key.incident, key.tenant)))
            .key("sk", text(key.row))
            // A claimant that died may have sent it. Its queue message is redelivered, which then settles the row.
            .condition_expression(format!("({CLAIMABLE}) AND (attribute_not_exists(pk) OR {NOBODY_SENDS})"))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":sending", text("sending"))
            .expression_attribute_values(":abandoned", number(now_ms - ABANDONED_AFTER_MS))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":n", number(key.update))
            .expression_attribute_values(":now", number(now_ms))
            .expression_attribute_values(":attempt", number(key.attempt));
        let check = check.build().map_err(|_| crate::build_error())?;
        let writes = vec![
            TransactWriteItem::builder().condition_check(check).build(),
            self.put_action(self.due_item(due)?, None, vec![])?,
            self.revision_write(key.incident, key.tenant, revised, now)?,
        ];
        let Some(refused) = self.transact(writes).await? else { return Ok(Ok(())) };
        Ok(Err(read_refusal(refused, key, now_ms)?))
    }

    /// Reschedules the next attempt of a delivery that was attempted before: stores `reason` and the due time on its row and in the due
    /// index, with the revised decision if there is one. The inner error says that nothing was written, because the delivery has ended
    /// or another claimant is sending.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn reschedule_attempt(
        &self,
        key: AttemptKey<'_>,
        due: &ScheduledDelivery,
        reason: Reason,
        revised: Option<&Decision>,
        now: Timestamp,
    ) -> Result<Result<(), ClaimRefusal>, StoreError> {
        let now_ms = now.as_millisecond();
        let update = Update::builder()
            .table_name(&self.name)
            .key("pk", text(&keys::deliveries(key.incident, key.tenant)))
            .key("sk", text(key.row))
            .update_expression("SET #state = :retrying, next_at_ms = :next, reason = :reason")
            .condition_expression(format!("({CLAIMABLE}) AND attribute_exists(pk) AND ({NOBODY_SENDS})"))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":retrying", text("retrying"))
            .expression_attribute_values(":next", number(due.at.as_millisecond()))
            .expression_attribute_values(":reason", text(reason.as_str()))
            .expression_attribute_values(":sending", text("sending"))
            .expression_attribute_values(":abandoned", number(now_ms - ABANDONED_AFTER_MS))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":n", number(key.update))
            .expression_attribute_values(":now", number(now_ms))
            .expression_attribute_values(":attempt", number(key.attempt));
        let update = update.build().map_err(|_| crate::build_error())?;
        let mut writes = vec![
            TransactWriteItem::builder().update(update).build(),
            self.put_action(self.due_item(due)?, None, vec![])?,
        ];
        if let Some(revised) = revised {
            writes.push(self.revision_write(key.incident, key.tenant, revised, now)?);
        }
        let Some(refused) = self.transact(writes).await? else { return Ok(Ok(())) };
        Ok(Err(read_refusal(refused, key, now_ms)?))
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
        // Later plans must know that the recipient is notified after all, so that it also gets the resolve.
        let sent = due.to_decision(DecisionOutcome::Deliver { role: due.role });
        writes.push(self.revision_write(key.incident, key.tenant, &sent, now)?);
        self.write_mark(writes).await
    }
}

/// Says why a delivery could not be scheduled, from the items that a transaction's conditions failed on.
fn read_refusal(refused: Vec<(usize, Item)>, key: AttemptKey<'_>, now_ms: i64) -> Result<ClaimRefusal, StoreError> {
    let row = refused.into_iter().map(|(_, row)| row).next().unwrap_or_default();
    if row.is_empty() {
        // Its retention is over.
        return Ok(ClaimRefusal::Done { accepted_by: None });
    }
    let row: DeliveryRow = read(row, "a delivery")?;
    let refusal = claim_refusal(Some(&row), key.update, key.attempt, now_ms);
    Ok(refusal.unwrap_or(ClaimRefusal::Leased { until_ms: now_ms + 1_000 }))
}
