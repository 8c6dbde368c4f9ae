//! Marks: the result of a claimed attempt.

use crate::{Item, StoreError, Table, item, keys, number, store_error, text};
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use domain::delivery::{AttemptKey, DeliveryResult, FailedAttempt, HistoryEntry};
use domain::due::ScheduledDelivery;
use domain::reason::Reason;
use jiff::Timestamp;

/// Where a deferred delivery waits.
#[derive(Clone, Copy, Debug)]
pub enum WaitsIn<'a> {
    /// Its message waits on its queue.
    Queue,
    /// In the due index, whose entry is written with the mark.
    NewEntry(&'a ScheduledDelivery),
    /// In the due index, which has its entry already.
    ItsEntry,
}

impl Table {
    /// Marks a delivery as ended and stores its last failed attempt, if there is one. Returns `false` if the claim was lost.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn mark_ended(
        &self,
        key: AttemptKey<'_>,
        token: &str,
        now: Timestamp,
        end: &DeliveryResult<'_>,
        attempt: Option<&FailedAttempt>,
    ) -> Result<bool, StoreError> {
        let (state, outcome) = match end {
            DeliveryResult::Accepted { .. } => ("accepted", "accepted"),
            DeliveryResult::Failed { reason } => ("failed", reason.as_str()),
        };
        let ended = HistoryEntry { update: key.update, outcome: outcome.to_owned(), at: now, attempts: key.attempt };
        let ended = serde_dynamo::to_attribute_value(&ended)
            .map_err(|_| StoreError::Corrupt { kind: "a delivery's end", detail: "cannot be serialized".to_owned() })?;
        let mut expression = "SET done = :n, #state = :state, attempts = :attempt, lease_until_ms = :zero, #at = :at, \
                              history = list_append(if_not_exists(history, :none), :ended)"
            .to_owned();
        let mut values = vec![
            (":n", number(key.update)),
            (":state", text(state)),
            (":attempt", number(key.attempt)),
            (":zero", number(0)),
            (":at", text(&now.to_string())),
            (":none", AttributeValue::L(Vec::new())),
            (":ended", AttributeValue::L(vec![ended])),
            (":token", text(token)),
        ];
        match end {
            DeliveryResult::Accepted { provider_id, latency_ms, late } => {
                expression.push_str(", notified = :n, latency_ms = :latency, late = :late");
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
                if *reason == Reason::StormCollapsed {
                    // A bundle that counts an alert without listing it notifies its recipient.
                    expression.push_str(", notified = :n");
                }
                values.push((":reason", text(reason.as_str())));
                if let Some(attempt) = attempt {
                    expression.push_str(", cause = :cause");
                    values.push((":cause", text(&attempt.cause)));
                }
                if key.attempt > 0 {
                    expression.push_str(", tried = :n");
                }
                expression.push_str(" REMOVE next_at_ms");
            }
        }
        // `done < :n` keeps a repeated mark, whose first response was lost, from adding a second history entry.
        let update = self.row_update(key, &expression, "#token = :token AND done < :n", values)?;
        let mut writes = vec![TransactWriteItem::builder().update(update).build()];
        if let Some(attempt) = attempt {
            writes.push(self.put_action(self.attempt_item(key, attempt, now)?, None, vec![])?);
        }
        self.write_mark(writes).await
    }

    /// Marks a failed attempt that will be retried. `due` schedules the retry if the pause is longer than a queue's delay. Returns
    /// `false` if the claim was lost.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn mark_retrying(
        &self,
        key: AttemptKey<'_>,
        token: &str,
        now: Timestamp,
        next_at: Timestamp,
        attempt: &FailedAttempt,
        due: Option<&ScheduledDelivery>,
    ) -> Result<bool, StoreError> {
        let expression = "SET #state = :state, attempts = :attempt, lease_until_ms = :zero, next_at_ms = :next, \
                          cause = :cause, #at = :at, tried = latest REMOVE reason";
        let values = vec![
            (":state", text("retrying")),
            (":attempt", number(key.attempt)),
            (":zero", number(0)),
            (":next", number(next_at.as_millisecond())),
            (":cause", text(&attempt.cause)),
            (":at", text(&now.to_string())),
            (":token", text(token)),
        ];
        let update = self.row_update(key, expression, "#token = :token", values)?;
        let mut writes = vec![TransactWriteItem::builder().update(update).build()];
        writes.push(self.put_action(self.attempt_item(key, attempt, now)?, None, vec![])?);
        if let Some(due) = due {
            writes.push(self.put_action(self.due_item(due)?, None, vec![])?);
        }
        self.write_mark(writes).await
    }

    /// Marks a claimed delivery as waiting until `until` without an attempt. Returns `false` if the claim was lost.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn mark_deferred(
        &self,
        key: AttemptKey<'_>,
        token: &str,
        now: Timestamp,
        until: Timestamp,
        reason: Reason,
        waits_in: WaitsIn<'_>,
    ) -> Result<bool, StoreError> {
        let expression = "SET #state = :state, attempts = :attempts, lease_until_ms = :zero, next_at_ms = :next, \
                          reason = :reason, #at = :at";
        let values = vec![
            (":state", text(if matches!(waits_in, WaitsIn::Queue) { "queued" } else { "retrying" })),
            (":attempts", number(key.attempt.saturating_sub(1))),
            (":zero", number(0)),
            (":next", number(until.as_millisecond())),
            (":reason", text(reason.as_str())),
            (":at", text(&now.to_string())),
            (":token", text(token)),
        ];
        let update = self.row_update(key, expression, "#token = :token", values)?;
        let mut writes = vec![TransactWriteItem::builder().update(update).build()];
        if let WaitsIn::NewEntry(due) = waits_in {
            writes.push(self.put_action(self.due_item(due)?, None, vec![])?);
        }
        self.write_mark(writes).await
    }

    fn attempt_item(&self, key: AttemptKey<'_>, attempt: &FailedAttempt, now: Timestamp) -> Result<Item, StoreError> {
        let pk = keys::deliveries(key.incident, key.tenant);
        item(&pk, &keys::attempt(key.row, key.update, key.attempt), attempt, Some(self.expiry(now)))
    }

    pub(super) fn row_update(
        &self,
        key: AttemptKey<'_>,
        expression: &str,
        condition: &str,
        values: Vec<(&str, AttributeValue)>,
    ) -> Result<Update, StoreError> {
        let mut update = Update::builder()
            .table_name(&self.name)
            .key("pk", text(&keys::deliveries(key.incident, key.tenant)))
            .key("sk", text(key.row))
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

    pub(super) async fn write_mark(&self, mut writes: Vec<TransactWriteItem>) -> Result<bool, StoreError> {
        if writes.len() > 1 {
            return Ok(self.transact(writes).await?.is_none());
        }
        // A single write needs no transaction, which would cost twice as much.
        let Some(update) = writes.pop().and_then(|write| write.update) else { return Err(crate::build_error()) };
        match self.update_alone(update).send().await {
            Ok(_) => Ok(true),
            Err(error) => match store_error("UpdateItem", &error) {
                StoreError::Conflict { .. } => Ok(false),
                other => Err(other),
            },
        }
    }
}
