//! Delivery rows: each attempt is claimed, sent, then marked.
//!
//! The order is claim → send → mark. A mark before the send would lose the message if the function died in between.

use crate::{Item, StoreError, Table, due::ScheduledDelivery, item, keys, number, read, sort_key, store_error, text};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use domain::delivery::{ClaimRefusal, DeliveryRow, EarlierClaim, claim_refusal, earlier_claim};
use domain::ids::{IncidentId, TenantId};
use domain::plan::{Decision, DecisionOutcome};
use domain::reason::Reason;
use domain::vocabulary::Channel;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The condition under which a claim is granted: the rule [`refusal`] as a DynamoDB expression.
const CLAIMABLE: &str = "attribute_not_exists(pk) OR (done < :n AND latest <= :n AND lease_until_ms <= :now \
                         AND (latest < :n OR attempts < :attempt))";

/// Identifies one attempt of one update on a delivery row.
#[derive(Clone, Copy, Debug)]
pub struct AttemptKey<'a> {
    /// Incident of the delivery.
    pub incident: &'a IncidentId,
    /// Tenant of the delivery.
    pub tenant: &'a TenantId,
    /// Name of the row (`contracts::queue::row_name`).
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
    /// Claims the right to send an attempt until `lease_until_ms` (Unix milliseconds). The inner result has what is known of earlier
    /// claims of the attempt, or why the claim was refused.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn claim(
        &self,
        slot: AttemptKey<'_>,
        token: &str,
        now: Timestamp,
        lease_until_ms: i64,
    ) -> Result<Result<EarlierClaim, ClaimRefusal>, StoreError> {
        let now_ms = now.as_millisecond();
        let request = self.client.update_item().table_name(&self.name);
        let request = request.key("pk", text(&keys::deliveries(slot.incident, slot.tenant))).key("sk", text(slot.row));
        let request = request
            .update_expression(
                "SET latest = :n, #state = :sending, lease_until_ms = :lease, #token = :token, channel = :channel, \
                 attempts = :done_attempts, expires_at = :expires, done = if_not_exists(done, :zero)",
            )
            .condition_expression(CLAIMABLE)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_values(ReturnValue::AllOld)
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#token", "token")
            .expression_attribute_values(":n", number(slot.update))
            .expression_attribute_values(":sending", text("sending"))
            .expression_attribute_values(":lease", number(lease_until_ms))
            .expression_attribute_values(":token", text(token))
            .expression_attribute_values(":channel", text(slot.channel.as_str()))
            .expression_attribute_values(":done_attempts", number(slot.attempt.saturating_sub(1)))
            .expression_attribute_values(":expires", number(self.expiry(now)))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":now", number(now_ms))
            .expression_attribute_values(":attempt", number(slot.attempt));
        match request.send().await {
            Ok(claimed) => {
                // The claim is valid even if the row that it replaced is unreadable.
                let log = |error: &StoreError| {
                    tracing::error!(row = slot.row, %error, "claimed a delivery row whose previous state is unreadable");
                };
                let row: Option<DeliveryRow> =
                    claimed.attributes.and_then(|old| read(old, "a delivery").inspect_err(log).ok());
                Ok(Ok(earlier_claim(row.as_ref(), slot.update, slot.attempt)))
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(old)) => {
                    let row: DeliveryRow = read(old.item().cloned().unwrap_or_default(), "a delivery")?;
                    // The rule and the condition are equivalent. If they ever differ, waiting a second is safe.
                    let refusal = claim_refusal(Some(&row), slot.update, slot.attempt, now_ms);
                    Ok(Err(refusal.unwrap_or(ClaimRefusal::Leased { until_ms: now_ms + 1_000 })))
                }
                _ => Err(store_error("UpdateItem", &error)),
            },
        }
    }

    /// Ends a delivery without sending it, under the same rules as a claim, and records the reason. The inner error says that another
    /// claimant is sending or that the delivery has already ended. `revised` is the decision that later plans read instead of the
    /// planned one; it is not stored if the delivery may have been sent before.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn end_without_sending(
        &self,
        slot: AttemptKey<'_>,
        token: &str,
        now: Timestamp,
        reason: Reason,
        revised: Option<&Decision>,
    ) -> Result<Result<(), ClaimRefusal>, StoreError> {
        // Without a lease, the next run need not wait if this one dies before the mark, and does not assume that it was sent.
        let before = match self.claim(slot, token, now, 0).await? {
            Ok(before) => before,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // The claimed attempt was not made, so it is not counted.
        let slot = AttemptKey { attempt: slot.attempt.saturating_sub(1), ..slot };
        let revised = revised.filter(|_| !before.may_have_sent);
        let revised = revised.map(|one| self.revision_write((slot.incident, slot.tenant), one, now)).transpose()?;
        if self.write_end(slot, token, now, &DeliveryResult::Failed { reason }, None, revised).await? {
            Ok(Ok(()))
        } else {
            Ok(Err(ClaimRefusal::Leased { until_ms: now.as_millisecond() + 1_000 }))
        }
    }

    /// Schedules a delivery at another time than planned and stores the revised decision, in one transaction. Neither is written if the
    /// delivery was sent. The inner error says that another claimant is sending or that the delivery has already ended, because an
    /// earlier run released it and died before it deleted the due item.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn schedule_revised(
        &self,
        slot: AttemptKey<'_>,
        due: &ScheduledDelivery,
        revised: &Decision,
        now: Timestamp,
    ) -> Result<Result<(), ClaimRefusal>, StoreError> {
        let now_ms = now.as_millisecond();
        let check = ConditionCheck::builder()
            .table_name(&self.name)
            .key("pk", text(&keys::deliveries(slot.incident, slot.tenant)))
            .key("sk", text(slot.row))
            // A claimant that died may have sent it. Its queue message is redelivered, which then settles the row.
            .condition_expression(format!(
                "({CLAIMABLE}) AND (attribute_not_exists(pk) OR #state <> :sending OR lease_until_ms = :zero)"
            ))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":sending", text("sending"))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":n", number(slot.update))
            .expression_attribute_values(":now", number(now_ms))
            .expression_attribute_values(":attempt", number(slot.attempt));
        let check = check.build().map_err(|_| crate::build_error())?;
        let writes = vec![
            TransactWriteItem::builder().condition_check(check).build(),
            self.put_action(self.due_item(due)?, None, vec![])?,
            self.revision_write((slot.incident, slot.tenant), revised, now)?,
        ];
        let Some(refused) = self.transact(writes).await? else { return Ok(Ok(())) };
        let row: DeliveryRow = read(refused.into_iter().next().map(|(_, row)| row).unwrap_or_default(), "a delivery")?;
        let refusal = claim_refusal(Some(&row), slot.update, slot.attempt, now_ms);
        Ok(Err(refusal.unwrap_or(ClaimRefusal::Leased { until_ms: now_ms + 1_000 })))
    }

    /// Reschedules the next attempt of a delivery that was attempted before: stores `reason` and the due time on its row and in the due
    /// index, with the revised decision if there is one. The inner error says that nothing was written, because the delivery has ended
    /// or another claimant is sending.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn reschedule_attempt(
        &self,
        slot: AttemptKey<'_>,
        due: &ScheduledDelivery,
        reason: Reason,
        revised: Option<&Decision>,
        now: Timestamp,
    ) -> Result<Result<(), ClaimRefusal>, StoreError> {
        let now_ms = now.as_millisecond();
        let update = Update::builder()
            .table_name(&self.name)
            .key("pk", text(&keys::deliveries(slot.incident, slot.tenant)))
            .key("sk", text(slot.row))
            .update_expression("SET #state = :retrying, next_at_ms = :next, reason = :reason")
            .condition_expression(format!(
                "({CLAIMABLE}) AND attribute_exists(pk) AND (#state <> :sending OR lease_until_ms = :zero)"
            ))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":retrying", text("retrying"))
            .expression_attribute_values(":next", number(due.at.as_millisecond()))
            .expression_attribute_values(":reason", text(reason.as_str()))
            .expression_attribute_values(":sending", text("sending"))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":n", number(slot.update))
            .expression_attribute_values(":now", number(now_ms))
            .expression_attribute_values(":attempt", number(slot.attempt));
        let update = update.build().map_err(|_| crate::build_error())?;
        let mut writes = vec![
            TransactWriteItem::builder().update(update).build(),
            self.put_action(self.due_item(due)?, None, vec![])?,
        ];
        if let Some(revised) = revised {
            writes.push(self.revision_write((slot.incident, slot.tenant), revised, now)?);
        }
        let Some(refused) = self.transact(writes).await? else { return Ok(Ok(())) };
        let row: DeliveryRow = read(refused.into_iter().next().map(|(_, row)| row).unwrap_or_default(), "a delivery")?;
        let refusal = claim_refusal(Some(&row), slot.update, slot.attempt, now_ms);
        Ok(Err(refusal.unwrap_or(ClaimRefusal::Leased { until_ms: now_ms + 1_000 })))
    }

    /// Releases an unused claim, so that the next claimant need not wait for the lease to expire.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn release_claim(&self, slot: AttemptKey<'_>, token: &str) -> Result<(), StoreError> {
        let request = self.client.update_item().table_name(&self.name);
        let request = request.key("pk", text(&keys::deliveries(slot.incident, slot.tenant))).key("sk", text(slot.row));
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

    /// Marks a delivery as ended and stores its last failed attempt, if there is one. Returns `false` if the claim was lost.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn mark_ended(
        &self,
        slot: AttemptKey<'_>,
        token: &str,
        now: Timestamp,
        end: &DeliveryResult<'_>,
        attempt: Option<&FailedAttempt>,
    ) -> Result<bool, StoreError> {
        self.write_end(slot, token, now, end, attempt, None).await
    }

    /// Marks a delivery as ended, together with the write of its revised decision, if there is one.
    async fn write_end(
        &self,
        slot: AttemptKey<'_>,
        token: &str,
        now: Timestamp,
        end: &DeliveryResult<'_>,
        attempt: Option<&FailedAttempt>,
        revised: Option<TransactWriteItem>,
    ) -> Result<bool, StoreError> {
        let (state, outcome) = match end {
            DeliveryResult::Accepted { .. } => ("accepted", "accepted"),
            DeliveryResult::Failed { reason } => ("failed", reason.as_str()),
        };
        let ended = HistoryEntry { update: slot.update, outcome: outcome.to_owned(), at: now, attempts: slot.attempt };
        let ended = serde_dynamo::to_attribute_value(&ended)
            .map_err(|_| StoreError::Corrupt { kind: "a delivery's end", detail: "cannot be serialized".to_owned() })?;
        let mut expression = "SET done = :n, #state = :state, attempts = :attempt, lease_until_ms = :zero, #at = :at, \
                              history = list_append(if_not_exists(history, :none), :ended)"
            .to_owned();
        let mut values = vec![
            (":n", number(slot.update)),
            (":state", text(state)),
            (":attempt", number(slot.attempt)),
            (":zero", number(0)),
            (":at", text(&now.to_string())),
            (":none", AttributeValue::L(Vec::new())),
            (":ended", AttributeValue::L(vec![ended])),
            (":token", text(token)),
        ];
        match end {
            DeliveryResult::Accepted { provider_id, latency_ms, late } => {
                expression.push_str(", latency_ms = :latency, late = :late");
                values.push((":latency", number(latency_ms)));
                values.push((":late", AttributeValue::Bool(*late)));
                if let Some(id) = provider_id {
                    expression.push_str(", provider_id = :provider");
                    values.push((":provider", text(id)));
                }
                expression.push_str(" REMOVE next_at_ms, cause, reason");
            }
            DeliveryResult::Failed { reason } => {
                expression.push_str(", reason = :reason");
                values.push((":reason", text(reason.as_str())));
                if let Some(attempt) = attempt {
                    expression.push_str(", cause = :cause");
                    values.push((":cause", text(&attempt.cause)));
                }
                expression.push_str(" REMOVE next_at_ms");
            }
        }
        // `done < :n` keeps a repeated mark, whose first response was lost, from adding a second history entry.
        let update = self.row_update(slot, &expression, "#token = :token AND done < :n", values)?;
        let mut writes = vec![TransactWriteItem::builder().update(update).build()];
        if let Some(attempt) = attempt {
            writes.push(self.put_action(self.attempt_item(slot, attempt, now)?, None, vec![])?);
        }
        writes.extend(revised);
        self.write_mark(writes).await
    }

    /// Reopens a delivery that failed permanently and schedules its next attempt, in one transaction. Returns `false` if it did not
    /// fail, or if the row has a newer update.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn reopen(
        &self,
        slot: AttemptKey<'_>,
        now: Timestamp,
        due: &ScheduledDelivery,
    ) -> Result<bool, StoreError> {
        // The attempt count stays, so that the next attempt has a number that no claim has used.
        let expression = "SET done = :before, #state = :retrying, next_at_ms = :next, lease_until_ms = :zero, #at = :at, \
                          #token = :token REMOVE reason";
        let values = vec![
            (":before", number(slot.update.saturating_sub(1))),
            (":retrying", text("retrying")),
            (":next", number(due.at.as_millisecond())),
            (":zero", number(0)),
            (":at", text(&now.to_string())),
            (":token", text("")),
            (":n", number(slot.update)),
            (":failed", text("failed")),
        ];
        let condition = "#state = :failed AND latest = :n AND done = :n";
        let update = self.row_update(slot, expression, condition, values)?;
        let mut writes = vec![TransactWriteItem::builder().update(update).build()];
        writes.push(self.put_action(self.due_item(due)?, None, vec![])?);
        // Later plans must know that the recipient is notified after all, so that it also gets the resolve.
        let sent = due.to_decision(DecisionOutcome::Deliver { role: due.role });
        writes.push(self.revision_write((slot.incident, slot.tenant), &sent, now)?);
        self.write_mark(writes).await
    }

    /// Marks a failed attempt that will be retried. `due` schedules the retry if the pause is longer than a queue's delay. Returns
    /// `false` if the claim was lost.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn mark_retrying(
        &self,
        slot: AttemptKey<'_>,
        token: &str,
        now: Timestamp,
        next_at: Timestamp,
        attempt: &FailedAttempt,
        due: Option<&ScheduledDelivery>,
    ) -> Result<bool, StoreError> {
        let expression = "SET #state = :state, attempts = :attempt, lease_until_ms = :zero, next_at_ms = :next, \
                          cause = :cause, #at = :at REMOVE reason";
        let values = vec![
            (":state", text("retrying")),
            (":attempt", number(slot.attempt)),
            (":zero", number(0)),
            (":next", number(next_at.as_millisecond())),
            (":cause", text(&attempt.cause)),
            (":at", text(&now.to_string())),
            (":token", text(token)),
        ];
        let update = self.row_update(slot, expression, "#token = :token", values)?;
        let mut writes = vec![TransactWriteItem::builder().update(update).build()];
        writes.push(self.put_action(self.attempt_item(slot, attempt, now)?, None, vec![])?);
        if let Some(due) = due {
            writes.push(self.put_action(self.due_item(due)?, None, vec![])?);
        }
        self.write_mark(writes).await
    }

    /// Marks a claimed delivery as deferred without an attempt, schedules it in the due index and stores the revised decision for later
    /// plans. Returns `false` if the claim was lost.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn mark_deferred(
        &self,
        slot: AttemptKey<'_>,
        token: &str,
        now: Timestamp,
        reason: Reason,
        due: &ScheduledDelivery,
    ) -> Result<bool, StoreError> {
        let expression = "SET #state = :state, attempts = :attempts, lease_until_ms = :zero, next_at_ms = :next, \
                          reason = :reason, #at = :at";
        let values = vec![
            (":state", text("retrying")),
            (":attempts", number(slot.attempt.saturating_sub(1))),
            (":zero", number(0)),
            (":next", number(due.at.as_millisecond())),
            (":reason", text(reason.as_str())),
            (":at", text(&now.to_string())),
            (":token", text(token)),
        ];
        let update = self.row_update(slot, expression, "#token = :token", values)?;
        let held = self.put_action(self.due_item(due)?, None, vec![])?;
        let outcome = DecisionOutcome::Hold { until: due.at, reason, role: due.role };
        let revised = self.revision_write((slot.incident, slot.tenant), &due.to_decision(outcome), now)?;
        self.write_mark(vec![TransactWriteItem::builder().update(update).build(), held, revised]).await
    }

    fn attempt_item(&self, slot: AttemptKey<'_>, attempt: &FailedAttempt, now: Timestamp) -> Result<Item, StoreError> {
        let pk = keys::deliveries(slot.incident, slot.tenant);
        item(&pk, &keys::attempt(slot.row, slot.update, slot.attempt), attempt, Some(self.expiry(now)))
    }

    fn row_update(
        &self,
        slot: AttemptKey<'_>,
        expression: &str,
        condition: &str,
        values: Vec<(&str, AttributeValue)>,
    ) -> Result<Update, StoreError> {
        let mut update = Update::builder()
            .table_name(&self.name)
            .key("pk", text(&keys::deliveries(slot.incident, slot.tenant)))
            .key("sk", text(slot.row))
            .update_expression(expression)
            .condition_expression(condition)
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#token", "token")
            .expression_attribute_names("#at", "at");
        for (name, value) in values {
            update = update.expression_attribute_values(name, value);
        }
        update.build().map_err(|_| crate::build_error())
    }

    async fn write_mark(&self, mut writes: Vec<TransactWriteItem>) -> Result<bool, StoreError> {
        if writes.len() > 1 {
            return Ok(self.transact(writes).await?.is_none());
        }
        // A single write needs no transaction, which would cost twice as much.
        let Some(update) = writes.pop().and_then(|write| write.update) else { return Err(crate::build_error()) };
        let request = self
            .client
            .update_item()
            .table_name(update.table_name)
            .set_key(Some(update.key))
            .update_expression(update.update_expression)
            .set_condition_expression(update.condition_expression)
            .set_expression_attribute_names(update.expression_attribute_names)
            .set_expression_attribute_values(update.expression_attribute_values);
        match request.send().await {
            Ok(_) => Ok(true),
            Err(error) => match store_error("UpdateItem", &error) {
                StoreError::Conflict { .. } => Ok(false),
                other => Err(other),
            },
        }
    }

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
