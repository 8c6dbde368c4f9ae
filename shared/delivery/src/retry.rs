//! Handles failed attempts: schedules the retry, or gives up.

use crate::Deliverer;
use crate::deliver::Claim;
use aws::sqs::OutgoingMessage;
use contracts::queue::Delivery;
use domain::attempt::{
    AttemptFailure, NextStep, QUEUE_DELAY_MAX, decide_after_test_alert, decide_next_step, queue_delay_max,
};
use jiff::Timestamp;
use runtime::queue::{Lane, RecordError};
use runtime::{ids, metrics};
use store::deliveries::{DeliveryResult, FailedAttempt};
use store::due::ScheduledDelivery;

impl Deliverer {
    /// Records a failed attempt, and schedules the retry or gives the delivery up.
    pub(crate) async fn handle_failed_attempt(
        &self,
        delivery: Delivery,
        claim: Claim<'_>,
        now: Timestamp,
        failed: &AttemptFailure,
        attempt: FailedAttempt,
    ) -> Result<(), RecordError> {
        let Claim { key, token } = claim;
        let channel = delivery.channel.as_str();
        if !delivery.alert.test {
            metrics::count_by("AttemptFailed", "channel", channel, 1);
        }
        tracing::info!(
            channel,
            destination = delivery.destination,
            attempt = key.attempt,
            cause = failed.cause,
            "the attempt failed"
        );
        let next = if delivery.alert.test {
            decide_after_test_alert(failed)
        } else {
            decide_next_step(delivery.channel, key.attempt, failed, now, ids::random_fraction())
        };
        let next = match self.record_endpoint_failure(&delivery, &failed.cause, now).await? {
            Some(reason) if matches!(next, NextStep::Retry { .. }) => NextStep::GiveUp { reason, disable: false },
            _ => next,
        };
        match next {
            NextStep::Retry { at } => {
                let retry = Delivery { attempt: key.attempt + 1, slot_ms: 0, slots: 0, ..delivery };
                let uses_due_index = seconds_until(at, now) > i64::from(queue_delay_max(retry.channel));
                let due = uses_due_index.then(|| due_entry(&retry, at));
                let marked = self.table.mark_retrying(key, token, now, at, &attempt, due.as_ref()).await;
                let marked = marked.map_err(runtime::queue::store_error)?;
                self.warn_if_claim_lost(marked, key);
                if !marked || uses_due_index {
                    return Ok(());
                }
                // Retries use the bulk lane, so that a failing endpoint never delays another tenant's first alert.
                self.enqueue_with_delay(&retry, at, now, Lane::Bulk).await
            }
            NextStep::GiveUp { reason, disable } => {
                if disable {
                    self.disable_integration(&delivery, &failed.cause, now).await?;
                }
                // Before the mark: after a crash in between, the notice is sent again and deduplicated.
                self.notify_org_admins(&delivery, &failed.cause, now).await?;
                let end = DeliveryResult::Failed { reason };
                let marked = self.table.mark_ended(key, token, now, &end, Some(&attempt)).await;
                self.warn_if_claim_lost(marked.map_err(runtime::queue::store_error)?, key);
                if !delivery.alert.test {
                    metrics::count_by("DeliveryGivenUp", "channel", channel, 1);
                }
                tracing::warn!(
                    channel,
                    destination = delivery.destination,
                    reason = reason.as_str(),
                    "the delivery was given up"
                );
                Ok(())
            }
        }
    }

    /// Puts a delivery on one of the function's own lanes, with the delay until `at`, capped at SQS's maximum.
    pub(crate) async fn enqueue_with_delay(
        &self,
        delivery: &Delivery,
        at: Timestamp,
        now: Timestamp,
        lane: Lane,
    ) -> Result<(), RecordError> {
        let body =
            serde_json::to_string(delivery).map_err(|_| RecordError::unprocessable("cannot serialize the delivery"))?;
        let (url, group) = match lane {
            Lane::Urgent => (&self.urgent_url, delivery.alert.tenant.to_string()),
            Lane::Bulk => (&self.bulk_url, delivery.alert.incident_id.to_string()),
        };
        let delay = seconds_until(at, now).clamp(0, i64::from(QUEUE_DELAY_MAX));
        let delay_seconds = u16::try_from(delay).unwrap_or(0);
        let outgoing = OutgoingMessage { body, group: Some(group), delay_seconds, ..OutgoingMessage::default() };
        self.queues.send(url, &outgoing).await.map_err(runtime::queue::aws_error)
    }
}

/// Returns the whole seconds from `now` to `at`, rounded up so that nothing is sent early.
pub(crate) fn seconds_until(at: Timestamp, now: Timestamp) -> i64 {
    (at.as_millisecond() - now.as_millisecond() + 999).div_euclid(1_000).max(0)
}

/// Returns the entry of the due index that sends `delivery` again at `at`.
pub(crate) fn due_entry(delivery: &Delivery, at: Timestamp) -> ScheduledDelivery {
    ScheduledDelivery {
        at,
        tenant: delivery.alert.tenant.clone(),
        destination: delivery.destination.clone(),
        channel: delivery.channel,
        incident_id: delivery.alert.incident_id.clone(),
        update: delivery.alert.update,
        attempt: delivery.attempt,
        plain: delivery.plain,
        role: delivery.why.role,
        held: None,
        held_before: delivery.why.held.clone(),
        omitted_count: 0,
        rebatched: false,
        resend_requested: false,
    }
}
