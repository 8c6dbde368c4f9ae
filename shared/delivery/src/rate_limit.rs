//! Defers deliveries before they are sent: rate limits per contact (e-mail, SMS), rate-limit slots per destination (Slack, Teams), and the
//! order of a webhook's updates.

use crate::deliver::Claim;
use crate::retry::due_entry;
use crate::{Deliverer, Sender, contact_key};
use contracts::queue::{Delivery, delivery_row_key};
use domain::delivery::{EarlierClaim, is_first_attempt_over};
use domain::rate_limit::RateLimitDecision;
use domain::reason::Reason;
use jiff::Timestamp;
use runtime::metrics;
use runtime::queue::{RecordError, RecordMeta};
use std::time::Duration;
use store::StoreError;
use store::due::{Hold, ScheduledDelivery};

/// A rate-limit slot at most this many milliseconds ahead is used at once, because SQS delays are whole seconds.
const SLOT_EARLY_MS: i64 = 250;
/// A rate-limit slot more than this many milliseconds ago was missed, and another one is reserved.
const SLOT_LATE_MS: i64 = 2_000;
/// Slots reserved for one attempt at most. Behind a backlog every slot is missed; then sending, and being throttled by the receiver, is
/// better than never sending.
const SLOTS_MAX: u32 = 3;
/// The pause before a webhook checks again whether the first attempt of the preceding update was made.
const PREDECESSOR_PAUSE: Duration = Duration::from_secs(1);
/// How often a webhook's message is received before it stops waiting for the preceding update.
const PREDECESSOR_RECEIVES_MAX: u32 = 6;

impl Deliverer {
    /// Defers a claimed first attempt whose contact has reached its rate limit: it is delivered at the start of a later minute, in one
    /// bundle with everything else that was deferred until then. Returns whether it was deferred. `before` is what the row says of an
    /// earlier claim of the same attempt.
    pub(crate) async fn defer_if_rate_limited(
        &self,
        delivery: &Delivery,
        claim: Claim<'_>,
        now: Timestamp,
        before: EarlierClaim,
    ) -> Result<bool, StoreError> {
        let Some(storms) = &self.storms else { return Ok(false) };
        let class = delivery.channel.class();
        let (Some(contact), Some(limits)) = (contact_key(delivery), storms.contacts.get(&class)) else {
            return Ok(false);
        };
        // A deferred delivery has its place in the bundle already.
        let reserved = delivery.why.held.as_ref().is_some_and(|held| held.reason == Reason::Throttled);
        if !delivery.bundle || delivery.attempt > 1 || delivery.alert.test || reserved || before.may_have_sent {
            return Ok(false);
        }
        let exempt = delivery.alert.rate_limit_exemption();
        let decision = match before.deferred_until {
            Some(until) => RateLimitDecision::Defer { until },
            None => {
                self.table
                    .reserve_contact_slot(&contact, limits, now, exempt.map(|kind| (kind, storms.exempt_per_minute)))
                    .await?
            }
        };
        let RateLimitDecision::Defer { until: at } = decision else { return Ok(false) };
        let since = delivery.why.held.as_ref().map_or(delivery.alert.at, |held| held.since);
        let hold = Hold { since, reason: Reason::Throttled, always_listed: exempt.is_some() };
        let due = ScheduledDelivery { held: Some(hold), ..due_entry(delivery, at) };
        let marked = self.table.mark_deferred(claim.key, claim.token, now, Reason::Throttled, &due).await?;
        self.warn_if_claim_lost(marked, claim.key);
        metrics::count_by("DeliveryThrottled", "channel", delivery.channel.as_str(), 1);
        Ok(true)
    }

    /// Returns a delivery to its queue until the destination's next free rate-limit slot. Returns whether it did; `false` means
    /// that it may be sent now.
    pub(crate) async fn requeue_until_slot<S: Sender>(
        &self,
        sender: &S,
        delivery: &mut Delivery,
        now: Timestamp,
        meta: &RecordMeta,
    ) -> Result<bool, RecordError> {
        let now_ms = now.as_millisecond();
        if (now_ms - SLOT_LATE_MS..=now_ms + SLOT_EARLY_MS).contains(&delivery.slot_ms) {
            return Ok(false);
        }
        let slot_ms = if delivery.slot_ms >= now_ms {
            Some(delivery.slot_ms)
        } else if delivery.slots >= SLOTS_MAX {
            None
        } else {
            sender.reserve_slot(delivery, now).await.map_err(runtime::queue::store_error)?
        };
        let Some(slot_ms) = slot_ms.filter(|slot_ms| *slot_ms > now_ms + SLOT_EARLY_MS) else {
            return Ok(false);
        };
        delivery.slots += u32::from(delivery.slot_ms < slot_ms);
        delivery.slot_ms = slot_ms;
        let at = Timestamp::from_millisecond(slot_ms).unwrap_or(now);
        self.enqueue_with_delay(delivery, at, now, meta.lane).await?;
        Ok(true)
    }

    /// Keeps a webhook's updates in order: returns a delivery to its queue while the first attempt of the preceding update was not made.
    /// Updates that are planned together are on the queue together, in no order. It gives up waiting after [`PREDECESSOR_RECEIVES_MAX`]
    /// receives, so that a lost update does not block those behind it.
    pub(crate) async fn await_predecessor(&self, delivery: &Delivery, meta: &RecordMeta) -> Result<(), RecordError> {
        if delivery.attempt != 1 || meta.receive_count >= PREDECESSOR_RECEIVES_MAX {
            return Ok(());
        }
        let Some(predecessor) = delivery.follows else { return Ok(()) };
        let row = delivery_row_key(&delivery.destination, delivery.channel, predecessor);
        let row = self.table.delivery(&delivery.alert.incident_id, &delivery.alert.tenant, &row).await;
        if is_first_attempt_over(row.map_err(runtime::queue::store_error)?.as_ref()) {
            Ok(())
        } else {
            Err(RecordError::retry_after(PREDECESSOR_PAUSE, "out_of_order"))
        }
    }
}
