//! Delivers one alert to one destination.

use crate::retry::{due_entry, seconds_until};
use crate::{Deliverer, LEASE_MARGIN, QUOTA_PAUSE, SendOutcome, Sender, THROTTLE_PAUSE, contact_key};
use contracts::queue::Delivery;
use domain::attempt::queue_delay_max;
use domain::delivery::{ClaimRefusal, counts_as_our_delay};
use domain::vocabulary::Channel;
use jiff::{SignedDuration, Timestamp};
use runtime::queue::{RecordError, RecordMeta};
use runtime::{clock, ids, metrics};
use std::time::Duration;
use store::StoreError;
use store::deliveries::{AttemptKey, DeliveryResult, FailedAttempt};
use store::messages::ProviderMessage;

/// The pause between two tries to mark an accepted message.
const MARK_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A row that this invocation claimed, with the token that its mark must present.
#[derive(Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) key: AttemptKey<'a>,
    pub(crate) token: &'a str,
}

impl Deliverer {
    /// Claims, sends and marks one delivery.
    ///
    /// # Errors
    /// [`RecordError`] where the message must stay on its queue.
    pub async fn deliver<S: Sender>(
        &self,
        sender: &S,
        mut delivery: Delivery,
        meta: &RecordMeta,
    ) -> Result<(), RecordError> {
        let span = tracing::Span::current();
        span.record("tenant", delivery.alert.tenant.as_str()).record("incident", delivery.alert.incident_id.as_str());
        if self.requeue_until_slot(sender, &mut delivery, clock::now(), meta).await? {
            return Ok(());
        }
        self.await_predecessor(&delivery, meta).await?;
        let token = ids::id_suffix();
        let row = delivery.row_key();
        let incident = delivery.alert.incident_id.clone();
        let tenant = delivery.alert.tenant.clone();
        let key = AttemptKey {
            incident: &incident,
            tenant: &tenant,
            row: &row,
            channel: delivery.channel,
            update: delivery.alert.update,
            attempt: delivery.attempt,
        };
        let now = clock::now();
        let claimed = self.table.claim(key, &token, now, lease_until(now, meta).as_millisecond()).await;
        let before = match claimed.map_err(runtime::queue::store_error)? {
            Ok(before) => before,
            Err(refusal) => return self.handle_refused_claim(&delivery, refusal, now, meta).await,
        };
        let claim = Claim { key, token: &token };
        match self.defer_if_rate_limited(&delivery, claim, now, before).await {
            Ok(false) => {}
            Ok(true) => return Ok(()),
            Err(error) => {
                self.table.release_claim(key, &token).await.map_err(runtime::queue::store_error)?;
                return Err(runtime::queue::store_error(error));
            }
        }
        let started = clock::now();
        let outcome = match sender.send(&delivery, meta.deadline.remaining()).await {
            SendOutcome::RetryPlain => {
                delivery.plain = true;
                sender.send(&delivery, meta.deadline.remaining()).await
            }
            outcome => outcome,
        };
        // Boxed: the future would be larger than clippy allows.
        Box::pin(self.record_outcome(delivery, claim, outcome, started, meta)).await
    }

    /// Records how the send of a claimed delivery ended, and does what follows from that. `started` is when the send began.
    async fn record_outcome(
        &self,
        delivery: Delivery,
        claim: Claim<'_>,
        outcome: SendOutcome,
        started: Timestamp,
        meta: &RecordMeta,
    ) -> Result<(), RecordError> {
        let Claim { key, token } = claim;
        let now = clock::now();
        match outcome {
            SendOutcome::Accepted { provider_id } => {
                self.record_acceptance(&delivery, claim, provider_id.as_deref(), started, now, meta).await
            }
            SendOutcome::Failed { failed, status, response } => {
                let attempt = FailedAttempt {
                    update: key.update,
                    attempt: key.attempt,
                    at: now,
                    cause: failed.cause.clone(),
                    status,
                    response,
                    took_ms: now.as_millisecond() - started.as_millisecond(),
                };
                self.handle_failed_attempt(delivery, claim, now, &failed, attempt).await
            }
            SendOutcome::Throttled => {
                self.table.release_claim(key, token).await.map_err(runtime::queue::store_error)?;
                metrics::count_by("ProviderThrottled", "channel", delivery.channel.as_str(), 1);
                let pause = THROTTLE_PAUSE * (0.5 + ids::random_fraction());
                let at = now.saturating_add(SignedDuration::from_secs_f64(pause)).unwrap_or(now);
                self.enqueue_with_delay(&delivery, at, now, meta.lane).await
            }
            SendOutcome::QuotaExhausted => {
                metrics::count_by("ProviderQuotaExhausted", "channel", delivery.channel.as_str(), 1);
                let at = now.saturating_add(QUOTA_PAUSE).unwrap_or(now);
                // The due entry goes first: if the release of the claim is lost, the lease expires by itself.
                self.table.schedule(&due_entry(&delivery, at)).await.map_err(runtime::queue::store_error)?;
                self.table.release_claim(key, token).await.map_err(runtime::queue::store_error)
            }
            // A sender returns `RetryPlain` for the rich form only.
            SendOutcome::RetryPlain => {
                Err(RecordError::unprocessable("the receiver refused the plain form as too rich"))
            }
            SendOutcome::Unavailable { code } => {
                self.table.release_claim(key, token).await.map_err(runtime::queue::store_error)?;
                Err(RecordError::retry("provider_unavailable", &code))
            }
        }
    }

    /// Marks a delivery as accepted, and counts its latency.
    async fn record_acceptance(
        &self,
        delivery: &Delivery,
        claim: Claim<'_>,
        provider_id: Option<&str>,
        started: Timestamp,
        now: Timestamp,
        meta: &RecordMeta,
    ) -> Result<(), RecordError> {
        let (latency_ms, late) = delivery.alert.latency(&delivery.why, delivery.window_seconds, now);
        let end = DeliveryResult::Accepted { provider_id, latency_ms, late };
        self.mark_accepted(claim, now, &end, meta).await?;
        self.record_provider_message(provider_id, delivery, now).await;
        self.record_endpoint_success(delivery, now).await;
        // Test alerts stay out of the delivery metrics.
        if delivery.alert.test {
            return Ok(());
        }
        metrics::count_by("DeliveryDelivered", "channel", delivery.channel.as_str(), 1);
        metrics::observe_ms("AlertLatencyMs", latency_ms);
        let (_, was_late) = delivery.alert.latency(&delivery.why, delivery.window_seconds, started);
        if late && counts_as_our_delay(delivery.channel, delivery.attempt, delivery.slots, was_late) {
            metrics::count("DeliveryLate", 1);
        }
        Ok(())
    }

    /// Marks a message that the provider accepted. Without the mark it would be sent again, so the mark
    /// is retried until the invocation ends.
    pub(crate) async fn mark_accepted(
        &self,
        claim: Claim<'_>,
        now: Timestamp,
        end: &DeliveryResult<'_>,
        meta: &RecordMeta,
    ) -> Result<(), RecordError> {
        let mut retried = false;
        loop {
            match self.table.mark_ended(claim.key, claim.token, now, end, None).await {
                // If the answer to an earlier try was lost, the mark may be there already.
                Ok(marked) => {
                    self.warn_if_claim_lost(marked || retried, claim.key);
                    return Ok(());
                }
                Err(StoreError::Unavailable { .. }) if meta.deadline.remaining() > MARK_RETRY_PAUSE => retried = true,
                Err(error) => return Err(runtime::queue::store_error(error)),
            }
            tokio::time::sleep(MARK_RETRY_PAUSE).await;
        }
    }

    /// Stores which delivery a provider's message id belongs to, so that later feedback of SES or SNS finds the
    /// row. Other channels get no feedback.
    ///
    /// It is written after the mark and not with it: a transaction that is refused for a conflict would send the message a second time,
    /// whereas feedback that finds no row is only not shown.
    pub(crate) async fn record_provider_message(&self, provider_id: Option<&str>, delivery: &Delivery, now: Timestamp) {
        if !matches!(delivery.channel, Channel::Email | Channel::Sms) {
            return;
        }
        let Some(id) = provider_id else { return };
        if let Err(error) =
            self.table.record_provider_message(delivery.channel, id, &feedback_message(delivery), now).await
        {
            metrics::count("FeedbackUnnamed", 1);
            tracing::warn!(%error, "cannot store the provider's message id: its later feedback will match no delivery");
        }
    }

    /// Does what a refused claim asks for: deletes a duplicate, waits for another claimer's lease, or enqueues the next attempt once more.
    async fn handle_refused_claim(
        &self,
        delivery: &Delivery,
        refusal: ClaimRefusal,
        now: Timestamp,
        meta: &RecordMeta,
    ) -> Result<(), RecordError> {
        match refusal {
            ClaimRefusal::Done | ClaimRefusal::Superseded { .. } => {
                metrics::count("DuplicateSuppressed", 1);
                Ok(())
            }
            ClaimRefusal::Leased { until_ms } => {
                let wait = u64::try_from(until_ms - now.as_millisecond()).unwrap_or(0);
                Err(RecordError::retry_after(Duration::from_millis(wait), "leased"))
            }
            ClaimRefusal::AttemptOver { attempts, next_at_ms } => {
                // The invocation that marked the attempt may have died before it enqueued the next one. A second message for it does no
                // harm, because its claim is refused; a missing one would lose the alert. After a longer pause there is nothing to do:
                // its due entry was written with the mark.
                metrics::count("DuplicateSuppressed", 1);
                let at = Timestamp::from_millisecond(next_at_ms).unwrap_or(now);
                if seconds_until(at, now) > i64::from(queue_delay_max(delivery.channel)) {
                    return Ok(());
                }
                let retry = Delivery { attempt: attempts + 1, slot_ms: 0, slots: 0, ..delivery.clone() };
                // What is left of the pause does not say whether it was long enough for quiet hours to count. So a retry to
                // people goes to the due index, where `release` checks them.
                if retry.channel != Channel::Webhook {
                    return self.table.schedule_once(&due_entry(&retry, at)).await.map_err(runtime::queue::store_error);
                }
                self.enqueue_with_delay(&retry, at, now, meta.lane).await
            }
        }
    }
}

/// Returns when the lease of a claim made at `now` ends: [`LEASE_MARGIN`] after this invocation's time for work.
pub(crate) fn lease_until(now: Timestamp, meta: &RecordMeta) -> Timestamp {
    let remaining = SignedDuration::try_from(meta.deadline.remaining()).unwrap_or_default();
    now.saturating_add(remaining + LEASE_MARGIN).unwrap_or(now)
}

/// Returns the delivery as `feedback` looks it up by the provider's message id.
fn feedback_message(delivery: &Delivery) -> ProviderMessage {
    ProviderMessage {
        tenant: delivery.alert.tenant.clone(),
        incident_id: delivery.alert.incident_id.clone(),
        row: delivery.row_key(),
        destination: delivery.destination.clone(),
        update: delivery.alert.update,
        category: delivery.alert.category,
        contact: contact_key(delivery),
    }
}
