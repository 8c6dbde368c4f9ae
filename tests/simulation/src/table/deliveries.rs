//! Delivery rows, rate limits and chat slots.

use super::{DeliveryKey, End, SimulatedTable};
use contracts::queue::Delivery;
use domain::delivery::{ClaimRefusal, DeliveryState, EarlierClaim, RowRefusal, RowWrite, earlier_claim};
use domain::policy::StormPolicy;
use domain::rate_limit::{CallSlot, RateLimitDecision, RateLimitState};
use domain::reason::Reason;
use jiff::Timestamp;
use pipeline::deliver::claim::{Claim, Limit};
use pipeline::deliver::record::Mark;

/// Milliseconds between two messages to one chat webhook.
const SLOT_INTERVAL_MS: i64 = 1_000;

impl SimulatedTable {
    /// Claims the row of one member.
    ///
    /// # Errors
    /// Why the claim was refused.
    pub fn claim(&mut self, claim: &Claim, member: &Delivery) -> Result<EarlierClaim, ClaimRefusal> {
        let (place, now_ms) = (DeliveryKey::of(member).row(), claim.at().as_millisecond());
        let before = earlier_claim(self.rows.get(&place), member.alert.update, member.attempt);
        let write = RowWrite::Claim {
            update: member.alert.update,
            attempt: member.attempt,
            token: claim.token(),
            now_ms,
            lease_until_ms: claim.lease_until_ms(),
            channel: member.channel,
        };
        match self.apply(place, &write) {
            Ok(()) => Ok(before),
            Err(RowRefusal::Claim(refusal)) => Err(refusal),
            Err(_) => Err(ClaimRefusal::Leased { until_ms: now_ms + 1_000 }),
        }
    }

    /// Releases the claim of one member.
    pub fn release(&mut self, member: &Delivery, token: &str) {
        // A claim that is lost needs no release.
        drop(self.apply(DeliveryKey::of(member).row(), &RowWrite::Release { token }));
    }

    /// Marks the row of one member, in one transaction with its due entry. Returns `false` if the claim was lost.
    pub fn mark(&mut self, member: &Delivery, mark: &Mark, token: &str, at: Timestamp) -> bool {
        let key = DeliveryKey::of(member);
        if self.apply(key.row(), &mark.row_write(member, token, at)).is_err() {
            return false;
        }
        let Some(row) = self.rows.get(&key.row()) else { return false };
        let outcome = match row.state {
            DeliveryState::Accepted => Some(Ok(())),
            DeliveryState::Failed => Some(Err(row.reason.unwrap_or(Reason::GaveUp))),
            DeliveryState::Queued | DeliveryState::Sending | DeliveryState::Retrying => None,
        };
        if let Some(outcome) = outcome {
            self.ends.entry(key).or_default().push(End { outcome, at: at.as_millisecond(), by_sender: true });
        }
        match mark {
            Mark::Defer { due, .. } | Mark::Retry { due: Some(due), .. } => self.schedule(due, false),
            Mark::Accept { .. }
            | Mark::Retry { due: None, .. }
            | Mark::Wait { .. }
            | Mark::Leave { .. }
            | Mark::Fail { .. } => {}
        }
        true
    }

    /// The state of a contact's rate limit.
    #[must_use]
    pub fn contact(&self, contact: &str) -> RateLimitState {
        self.limits.get(contact).cloned().unwrap_or_default()
    }

    /// Reserves a place within a contact's rate limit.
    pub fn reserve_place(&mut self, limit: &Limit, storms: &StormPolicy, now: Timestamp) -> RateLimitDecision {
        let Some(limits) = storms.contacts.get(&limit.class()) else { return RateLimitDecision::SendNow };
        let exempt = limit.exempt().map(|kind| (kind, storms.exempt_per_minute));
        let contact = self.limits.entry(limit.contact().to_owned()).or_default();
        let (decision, after) = contact.reserve(limits, now, exempt);
        *contact = after;
        decision
    }

    /// Reserves the next free slot of a chat webhook, unless it is further ahead than `within_ms`.
    pub fn reserve_slot(&mut self, fingerprint: &str, now_ms: i64, within_ms: Option<i64>) -> CallSlot {
        let next = self.slots.entry(fingerprint.to_owned()).or_insert(0);
        let slot = now_ms.max(*next);
        if within_ms.is_some_and(|within| slot > now_ms + within) {
            return CallSlot::Full;
        }
        *next = slot + SLOT_INTERVAL_MS;
        CallSlot::At(slot)
    }
}
