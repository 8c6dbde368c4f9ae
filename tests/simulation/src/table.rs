//! The table: delivery rows, due index and rate limits. Each function is one conditional write or transaction.

use contracts::queue::Delivery;
use domain::delivery::{ClaimRefusal, DeliveryRow, DeliveryState, EarlierClaim, RowRefusal, RowWrite, earlier_claim};
use domain::due::ScheduledDelivery;
use domain::ids::{IncidentId, TenantId};
use domain::policy::StormPolicy;
use domain::rate_limit::{RateLimitDecision, RateLimitState};
use domain::reason::Reason;
use domain::vocabulary::Channel;
use jiff::Timestamp;
use pipeline::deliver::claim::{Claim, Limit};
use pipeline::deliver::record::Mark;
use std::collections::BTreeMap;

/// Milliseconds between two messages to one chat webhook.
const SLOT_INTERVAL_MS: i64 = 1_000;

/// Identifies a delivery.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryKey {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its incident.
    pub incident: IncidentId,
    /// Its recipient or integration.
    pub destination: String,
    /// Its channel.
    pub channel: Channel,
    /// Number of the update.
    pub update: u32,
}

impl DeliveryKey {
    /// The key of a delivery.
    #[must_use]
    pub fn of(delivery: &Delivery) -> Self {
        Self {
            tenant: delivery.alert.tenant.clone(),
            incident: delivery.alert.incident_id.clone(),
            destination: delivery.destination.clone(),
            channel: delivery.channel,
            update: delivery.alert.update,
        }
    }

    /// The key of a scheduled delivery.
    #[must_use]
    pub fn of_due(due: &ScheduledDelivery) -> Self {
        Self {
            tenant: due.tenant.clone(),
            incident: due.incident_id.clone(),
            destination: due.destination.clone(),
            channel: due.channel,
            update: due.update,
        }
    }
}

impl std::fmt::Display for DeliveryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}#{}/{} by {}", self.tenant, self.incident, self.update, self.destination, self.channel)
    }
}

/// How an update ended on its row.
#[derive(Clone, Debug)]
pub struct End {
    /// Whether it was accepted, or why it was not.
    pub outcome: Result<(), Reason>,
    /// When, in milliseconds.
    pub at: i64,
}

/// Where a delivery row is: tenant, incident, name.
pub type RowKey = (TenantId, IncidentId, String);
/// Where a due entry is: its minute and its delivery.
pub type DueKey = (i64, DeliveryKey);

/// The table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The delivery rows.
    pub rows: BTreeMap<RowKey, DeliveryRow>,
    /// The due index.
    pub due: BTreeMap<DueKey, ScheduledDelivery>,
    /// How updates ended; each ends once.
    pub ends: BTreeMap<DeliveryKey, Vec<End>>,
    contacts: BTreeMap<String, RateLimitState>,
    slots: BTreeMap<String, i64>,
}

/// Returns where the row of a delivery is.
#[must_use]
pub fn row_key(delivery: &Delivery) -> RowKey {
    (delivery.alert.tenant.clone(), delivery.alert.incident_id.clone(), delivery.row_key())
}

impl Table {
    /// Claims the row of one member.
    ///
    /// # Errors
    /// Why the claim was refused.
    pub fn claim(&mut self, claim: &Claim, member: &Delivery) -> Result<EarlierClaim, ClaimRefusal> {
        let (place, now_ms) = (row_key(member), claim.at().as_millisecond());
        let row = self.rows.get(&place);
        let before = earlier_claim(row, member.alert.update, member.attempt);
        let write = RowWrite::Claim {
            update: member.alert.update,
            attempt: member.attempt,
            token: claim.token(),
            now_ms,
            lease_until_ms: claim.lease_until_ms(),
            channel: member.channel,
        };
        match DeliveryRow::apply(row, &write) {
            Ok(row) => {
                self.rows.extend(row.map(|row| (place, row)));
                Ok(before)
            }
            Err(RowRefusal::Claim(refusal)) => Err(refusal),
            Err(_) => Err(ClaimRefusal::Leased { until_ms: now_ms + 1_000 }),
        }
    }

    /// Releases the claim of one member.
    pub fn release(&mut self, member: &Delivery, token: &str) {
        let place = row_key(member);
        if let Ok(Some(row)) = DeliveryRow::apply(self.rows.get(&place), &RowWrite::Release { token }) {
            self.rows.insert(place, row);
        }
    }

    /// Marks the row of one member, in one transaction with its due entry. Returns `false` if the claim was lost.
    pub fn mark(&mut self, member: &Delivery, mark: &Mark, token: &str, at: Timestamp) -> bool {
        let place = row_key(member);
        let Ok(Some(row)) = DeliveryRow::apply(self.rows.get(&place), &mark.row_write(member, token, at)) else {
            return false;
        };
        let outcome = match row.state {
            DeliveryState::Accepted => Some(Ok(())),
            DeliveryState::Failed => Some(Err(row.reason.unwrap_or(Reason::GaveUp))),
            DeliveryState::Sending | DeliveryState::Retrying => None,
        };
        if let Some(outcome) = outcome {
            let end = End { outcome, at: at.as_millisecond() };
            self.ends.entry(DeliveryKey::of(member)).or_default().push(end);
        }
        self.rows.insert(place, row);
        match mark {
            Mark::Retry { due: Some(due), .. } | Mark::Defer { due, .. } => self.schedule(due, false),
            Mark::Accept { .. } | Mark::Retry { due: None, .. } | Mark::Fail { .. } => {}
        }
        true
    }

    /// Puts an entry into the due index. With `once`, one that is there with the same or a later attempt stays.
    pub fn schedule(&mut self, due: &ScheduledDelivery, once: bool) {
        let place = due_key(due);
        let stays = self.due.get(&place).is_some_and(|there| once && there.attempt >= due.attempt);
        if !stays {
            self.due.insert(place, due.clone());
        }
    }

    /// Reserves a place within a contact's rate limit.
    pub fn reserve_place(&mut self, limit: &Limit, storms: &StormPolicy, now: Timestamp) -> RateLimitDecision {
        let Some(limits) = storms.contacts.get(&limit.class()) else { return RateLimitDecision::SendNow };
        let exempt = limit.exempt().map(|kind| (kind, storms.exempt_per_minute));
        let contact = self.contacts.entry(limit.contact().to_owned()).or_default();
        let (decision, after) = contact.reserve(limits, now, exempt);
        *contact = after;
        decision
    }

    /// Reserves the next free slot of a chat webhook, in milliseconds.
    pub fn reserve_slot(&mut self, fingerprint: &str, now_ms: i64) -> i64 {
        let next = self.slots.entry(fingerprint.to_owned()).or_insert(0);
        let slot = now_ms.max(*next);
        *next = slot + SLOT_INTERVAL_MS;
        slot
    }
}

/// Returns where a due entry is.
#[must_use]
pub fn due_key(due: &ScheduledDelivery) -> DueKey {
    (due.at.as_second().div_euclid(60), DeliveryKey::of_due(due))
}
