//! Delivery rows: claim → send → mark, never mark → send.

use crate::{Item, StoreError, Table, due::Due, failed, item, keys, number, read, sort_key, text};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use domain::delivery::{Before, Refusal, Row, before, refusal};
use domain::ids::{IncidentId, TenantId};
use domain::plan::{Decision, Outcome};
use domain::reason::Reason;
use domain::vocabulary::Channel;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a claim is granted: what [`refusal`] says, as the table checks it.
const CLAIMABLE: &str = "attribute_not_exists(pk) OR (done < :n AND latest <= :n AND lease_until_ms <= :now \
                         AND (latest < :n OR attempts < :attempt))";

/// Which row, which update, which attempt.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    /// The incident.
    pub incident: &'a IncidentId,
    /// The tenant.
    pub tenant: &'a TenantId,
    /// The row's name (`contracts::queue::row_name`).
    pub row: &'a str,
    /// The channel.
    pub channel: Channel,
    /// The update.
    pub update: u32,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// How a delivery ended.
#[derive(Clone, Debug)]
pub enum End<'a> {
    /// The provider or receiver took it.
    Accepted {
        /// Its id for the message, if it gave one.
        provider_id: Option<&'a str>,
        /// Milliseconds from acceptance by intake.
        latency_ms: i64,
        /// Whether that is longer than the tenant's alert window.
        late: bool,
    },
    /// It is over without success.
    Failed {
        /// Why it is over.
        reason: Reason,
    },
}

/// An attempt that failed, as support reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The update.
    pub update: u32,
    /// The attempt, from 1.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// What it met.
    pub cause: String,
    /// The receiver's HTTP status, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the receiver said, at most 20,000 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub response: String,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
}

/// A delivery row by name, for lists.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// The row's name.
    pub row: String,
    /// The row.
    pub delivery: Row,
    /// Every end of the row, one for each update.
    pub history: Vec<Ended>,
    /// Its failed attempts, in order.
    pub attempts: Vec<Attempt>,
}

/// One end in a row's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// The update.
    pub update: u32,
    /// `accepted`, or the reason.
    pub outcome: String,
    /// When.
    pub at: Timestamp,
    /// Attempts it took.
    pub attempts: u32,
}

impl Table {
    /// Claims the right to send until `lease_until_ms`. Inside: what came of this attempt before, or why not.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn claim(
        &self,
        slot: Slot<'_>,
        token: &str,
        now: Timestamp,
        lease_until_ms: i64,
    ) -> Result<Result<Before, Refusal>, StoreError> {
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
                // The claim stands, whatever the row was.
                let log = |error: &StoreError| tracing::error!(row = slot.row, %error, "what was there cannot be read");
                let row: Option<Row> = claimed.attributes.and_then(|old| read(old, "a delivery").inspect_err(log).ok());
                Ok(Ok(before(row.as_ref(), slot.update, slot.attempt)))
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(old)) => {
                    let row: Row = read(old.item().cloned().unwrap_or_default(), "a delivery")?;
                    // The rule and the condition say the same; where they ever differ, waiting a second is the safe side.
                    let refusal = refusal(Some(&row), slot.update, slot.attempt, now_ms);
                    Ok(Err(refusal.unwrap_or(Refusal::Leased { until_ms: now_ms + 1_000 })))
                }
                _ => Err(failed("UpdateItem", &error)),
            },
        }
    }

    /// Ends a delivery that is not sent any more, under the same rules as a claim: nothing goes without a record and a
    /// reason. `Err(refusal)` inside: somebody sends, or it is over already. `revised`: what so becomes of the decision, for later
    /// plans to read.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn end_unsent(
        &self,
        slot: Slot<'_>,
        token: &str,
        now: Timestamp,
        reason: Reason,
        revised: Option<&Decision>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        // No lease: if we die before the mark, the next run need not wait, and nobody takes it for sent.
        let before = match self.claim(slot, token, now, 0).await? {
            Ok(before) => before,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // The attempt that was due was never made.
        let slot = Slot { attempt: slot.attempt.saturating_sub(1), ..slot };
        let revised = revised.filter(|_| !before.tried);
        let revised = revised.map(|one| self.revised_action((slot.incident, slot.tenant), one, now)).transpose()?;
        if self.mark_end(slot, token, now, &End::Failed { reason }, None, revised).await? {
            Ok(Ok(()))
        } else {
            Ok(Err(Refusal::Leased { until_ms: now.as_millisecond() + 1_000 }))
        }
    }

    /// Notes that a delivery is due at another time than its plan says, and that it is: both or neither, and neither where it was sent.
    /// `Err(refusal)` inside: somebody sends, or it is over already, since whoever gave it out before died before taking it off.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn put_due_revised(
        &self,
        slot: Slot<'_>,
        due: &Due,
        revised: &Decision,
        now: Timestamp,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let now_ms = now.as_millisecond();
        let check = ConditionCheck::builder()
            .table_name(&self.name)
            .key("pk", text(&keys::deliveries(slot.incident, slot.tenant)))
            .key("sk", text(slot.row))
            // Who died with it may have sent it; its message comes once more, and then it is known.
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
            self.revised_action((slot.incident, slot.tenant), revised, now)?,
        ];
        let Some(refused) = self.transact(writes).await? else { return Ok(Ok(())) };
        let row: Row = read(refused.into_iter().next().map(|(_, row)| row).unwrap_or_default(), "a delivery")?;
        let refusal = refusal(Some(&row), slot.update, slot.attempt, now_ms);
        Ok(Err(refusal.unwrap_or(Refusal::Leased { until_ms: now_ms + 1_000 })))
    }

    /// Notes that the next attempt of what was tried already waits for `reason`, and when it is due, on its row and in the due index, with
    /// the revision of what was decided where there is one. The inner error says why nothing was noted: it is over, or somebody has it.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn put_due_again(
        &self,
        slot: Slot<'_>,
        due: &Due,
        reason: Reason,
        revised: Option<&Decision>,
        now: Timestamp,
    ) -> Result<Result<(), Refusal>, StoreError> {
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
            writes.push(self.revised_action((slot.incident, slot.tenant), revised, now)?);
        }
        let Some(refused) = self.transact(writes).await? else { return Ok(Ok(())) };
        let row: Row = read(refused.into_iter().next().map(|(_, row)| row).unwrap_or_default(), "a delivery")?;
        let refusal = refusal(Some(&row), slot.update, slot.attempt, now_ms);
        Ok(Err(refusal.unwrap_or(Refusal::Leased { until_ms: now_ms + 1_000 })))
    }

    /// Gives a claim back unused, so that whoever comes next need not wait for the lease.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn release_claim(&self, slot: Slot<'_>, token: &str) -> Result<(), StoreError> {
        let request = self.client.update_item().table_name(&self.name);
        let request = request.key("pk", text(&keys::deliveries(slot.incident, slot.tenant))).key("sk", text(slot.row));
        let request = request.update_expression("SET lease_until_ms = :zero").condition_expression("#token = :token");
        let request = request.expression_attribute_names("#token", "token");
        let request = request.expression_attribute_values(":zero", number(0));
        match request.expression_attribute_values(":token", text(token)).send().await {
            Ok(_) => Ok(()),
            Err(error) => match failed("UpdateItem", &error) {
                StoreError::Conflict { .. } => Ok(()),
                other => Err(other),
            },
        }
    }

    /// Marks the end of a delivery, with the last failed attempt where there is one. `false` if the claim was lost.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn mark_ended(
        &self,
        slot: Slot<'_>,
        token: &str,
        now: Timestamp,
        end: &End<'_>,
        attempt: Option<&Attempt>,
    ) -> Result<bool, StoreError> {
        self.mark_end(slot, token, now, end, attempt, None).await
    }

    /// Marks the end, together with the revision of what was decided where there is one.
    async fn mark_end(
        &self,
        slot: Slot<'_>,
        token: &str,
        now: Timestamp,
        end: &End<'_>,
        attempt: Option<&Attempt>,
        revised: Option<TransactWriteItem>,
    ) -> Result<bool, StoreError> {
        let (state, outcome) = match end {
            End::Accepted { .. } => ("accepted", "accepted"),
            End::Failed { reason } => ("failed", reason.as_str()),
        };
        let ended = Ended { update: slot.update, outcome: outcome.to_owned(), at: now, attempts: slot.attempt };
        let ended = serde_dynamo::to_attribute_value(&ended)
            .map_err(|_| StoreError::Corrupt { kind: "a delivery's end", detail: "cannot be written".to_owned() })?;
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
            End::Accepted { provider_id, latency_ms, late } => {
                expression.push_str(", latency_ms = :latency, late = :late");
                values.push((":latency", number(latency_ms)));
                values.push((":late", AttributeValue::Bool(*late)));
                if let Some(id) = provider_id {
                    expression.push_str(", provider_id = :provider");
                    values.push((":provider", text(id)));
                }
                expression.push_str(" REMOVE next_at_ms, cause, reason");
            }
            End::Failed { reason } => {
                expression.push_str(", reason = :reason");
                values.push((":reason", text(reason.as_str())));
                if let Some(attempt) = attempt {
                    expression.push_str(", cause = :cause");
                    values.push((":cause", text(&attempt.cause)));
                }
                expression.push_str(" REMOVE next_at_ms");
            }
        }
        // Not twice: a mark whose answer was lost is made again, and the history would tell of two ends.
        let update = self.marked(slot, &expression, "#token = :token AND done < :n", values)?;
        let mut writes = vec![TransactWriteItem::builder().update(update).build()];
        if let Some(attempt) = attempt {
            writes.push(self.put_action(self.attempt_item(slot, attempt, now)?, None, vec![])?);
        }
        writes.extend(revised);
        self.mark(writes).await
    }

    /// Opens a delivery that failed for good once more, and puts its next attempt into the due index: both or neither. `false`
    /// if it did not fail, or a newer update has the row.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn reopen(&self, slot: Slot<'_>, now: Timestamp, due: &Due) -> Result<bool, StoreError> {
        // The attempts stay: this one is another, and its number is new to the claim.
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
        let update = self.marked(slot, expression, condition, values)?;
        let mut writes = vec![TransactWriteItem::builder().update(update).build()];
        writes.push(self.put_action(self.due_item(due)?, None, vec![])?);
        // Whatever ended it before: it is told now, and so is its end.
        let sent = due.decision(Outcome::Deliver { role: due.role });
        writes.push(self.revised_action((slot.incident, slot.tenant), &sent, now)?);
        self.mark(writes).await
    }

    /// Marks a failed attempt after which another is due; `due` where the pause is longer than a queue's delay. `false` if
    /// the claim was lost.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn mark_retrying(
        &self,
        slot: Slot<'_>,
        token: &str,
        now: Timestamp,
        next_at: Timestamp,
        attempt: &Attempt,
        due: Option<&Due>,
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
        let update = self.marked(slot, expression, "#token = :token", values)?;
        let mut writes = vec![TransactWriteItem::builder().update(update).build()];
        writes.push(self.put_action(self.attempt_item(slot, attempt, now)?, None, vec![])?);
        if let Some(due) = due {
            writes.push(self.put_action(self.due_item(due)?, None, vec![])?);
        }
        self.mark(writes).await
    }

    /// Marks a claimed delivery as put off: nothing was tried, and it comes again by the due index, which
    /// later plans are to know. `false` if the claim was lost.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn mark_put_off(
        &self,
        slot: Slot<'_>,
        token: &str,
        now: Timestamp,
        reason: Reason,
        due: &Due,
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
        let update = self.marked(slot, expression, "#token = :token", values)?;
        let held = self.put_action(self.due_item(due)?, None, vec![])?;
        let outcome = Outcome::Hold { until: due.at, reason, role: due.role };
        let revised = self.revised_action((slot.incident, slot.tenant), &due.decision(outcome), now)?;
        self.mark(vec![TransactWriteItem::builder().update(update).build(), held, revised]).await
    }

    fn attempt_item(&self, slot: Slot<'_>, attempt: &Attempt, now: Timestamp) -> Result<Item, StoreError> {
        let pk = keys::deliveries(slot.incident, slot.tenant);
        item(&pk, &keys::attempt(slot.row, slot.update, slot.attempt), attempt, Some(self.expiry(now)))
    }

    fn marked(
        &self,
        slot: Slot<'_>,
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

    async fn mark(&self, mut writes: Vec<TransactWriteItem>) -> Result<bool, StoreError> {
        if writes.len() > 1 {
            return Ok(self.transact(writes).await?.is_none());
        }
        // One write needs no transaction, which would cost twice as much.
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
            Err(error) => match failed("UpdateItem", &error) {
                StoreError::Conflict { .. } => Ok(false),
                other => Err(other),
            },
        }
    }

    /// One delivery row.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn delivery(
        &self,
        incident: &IncidentId,
        tenant: &TenantId,
        row: &str,
    ) -> Result<Option<Row>, StoreError> {
        match self.get(&keys::deliveries(incident, tenant), row).await? {
            Some(found) => Ok(Some(read(found, "a delivery")?)),
            None => Ok(None),
        }
    }

    /// Every delivery row of an incident for one tenant, with its history and its failed attempts.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn deliveries(&self, incident: &IncidentId, tenant: &TenantId) -> Result<Vec<Listed>, StoreError> {
        let mut listed: Vec<Listed> = Vec::new();
        for mut found in self.query_prefix(&keys::deliveries(incident, tenant), "").await? {
            let row = sort_key(&found).to_owned();
            match row.split_once("#ATT#") {
                Some((row, _)) => {
                    let attempt: Attempt = read(found, "an attempt")?;
                    if let Some(entry) = listed.iter_mut().find(|entry| entry.row == row) {
                        entry.attempts.push(attempt);
                    }
                }
                None => {
                    let history = match found.remove("history") {
                        Some(list) => serde_dynamo::from_attribute_value(list).map_err(|_| StoreError::Corrupt {
                            kind: "a delivery's history",
                            detail: "cannot be read".to_owned(),
                        })?,
                        None => Vec::new(),
                    };
                    listed.push(Listed { row, delivery: read(found, "a delivery")?, history, attempts: Vec::new() });
                }
            }
        }
        Ok(listed)
    }
}
