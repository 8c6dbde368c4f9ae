//! The due index.

use super::{DeliveryKey, End, RowKey, SimulatedTable};
use domain::delivery::{ClaimRefusal, DeliveryRow, RowRefusal, RowWrite};
use domain::due::{DueItem, DuePage, ScheduledDelivery};
use domain::ids::{DUE_SCHEDULES, DUE_SHARDS};
use domain::reason::Reason;
use jiff::Timestamp;
use pipeline::release::page::Later;
use std::collections::BTreeSet;
use std::ops::Bound;

/// How many entries a page has.
pub(crate) const PAGE_ENTRIES: usize = 100;
/// A lease longer than this comes from a skewed clock, in milliseconds.
const LEASE_MAX_MS: i64 = 60_000;

/// Returns where an entry is in its shard. Within a minute the entries of a destination are together.
#[must_use]
pub fn due_place(due: &ScheduledDelivery) -> String {
    let minute = due.at.as_second().div_euclid(60);
    format!("{minute:010}#{}#{}#{}#{}#{:06}", due.tenant, due.destination, due.channel, due.incident_id, due.update)
}

fn due_item((due, version): &(ScheduledDelivery, u64), shard: u16, place: &str) -> DueItem {
    DueItem::new(due.clone(), shard, place, &version.to_string())
}

impl SimulatedTable {
    /// Everything in the due index.
    pub fn due_entries(&self) -> impl Iterator<Item = &ScheduledDelivery> {
        self.due.values().map(|(due, _)| due)
    }

    /// Puts an entry into the due index, unless one with a later attempt is there. With `once`, one with the same attempt stays, too.
    pub fn schedule(&mut self, due: &ScheduledDelivery, once: bool) {
        self.due_writes += 1;
        let is_before = self.upgrading && self.due_writes.is_multiple_of(2);
        self.put_due(due, once, if is_before { DUE_SCHEDULES } else { DUE_SHARDS });
    }

    fn put_due(&mut self, due: &ScheduledDelivery, once: bool, shards: u16) {
        let place = (due.shard(shards), due_place(due));
        let stays = |there: &ScheduledDelivery| there.attempt > due.attempt || once && there.attempt == due.attempt;
        if !self.due.get(&place).is_some_and(|(there, _)| stays(there)) {
            self.due_versions += 1;
            self.due.insert(place, (due.clone(), self.due_versions));
        }
    }

    /// A page of what is due in a shard by the end of the minute of `now`.
    #[must_use]
    pub fn due_page(&self, shard: u16, now: Timestamp, after: Option<&str>) -> DuePage {
        let to = format!("{:010}#\u{10ffff}", now.as_second().div_euclid(60));
        let from = after.unwrap_or_default().to_owned();
        let range = self.due.range((Bound::Excluded((shard, from)), Bound::Included((shard, to))));
        let items: Vec<DueItem> =
            range.take(PAGE_ENTRIES).map(|((_, place), entry)| due_item(entry, shard, place)).collect();
        let next = items.last().filter(|_| items.len() >= PAGE_ENTRIES).map(|last| last.place().to_owned());
        DuePage { items, unreadable: 0, next }
    }

    /// Leases the lists of a shard to a run, unless another run has the lease.
    pub fn lease_lists(&mut self, shard: u16, run: &str, now_ms: i64, until_ms: i64) -> bool {
        let free = self
            .leases
            .get(&shard)
            .is_none_or(|(holder, until)| holder == run || *until <= now_ms || *until > now_ms + LEASE_MAX_MS);
        if free {
            self.leases.insert(shard, (run.to_owned(), until_ms));
        }
        free
    }

    /// Gives the lease of a shard back.
    pub fn unlease_lists(&mut self, shard: u16, run: &str) {
        self.leases.retain(|leased, (holder, _)| *leased != shard || holder != run);
    }

    /// Counts the incidents that a list does not name.
    #[must_use]
    pub fn count_behind(&self, last: &DueItem, reason: Reason) -> usize {
        let behind = self.due.range((Bound::Excluded((last.shard(), last.place().to_owned())), Bound::Unbounded));
        let same = behind.take_while(|((shard, place), entry)| {
            *shard == last.shard() && due_item(entry, *shard, place).group() == last.group()
        });
        let held = same.filter(|(_, (due, _))| due.held.is_some_and(|hold| hold.reason == reason));
        let incidents: BTreeSet<_> = held.map(|(_, (due, _))| &due.incident_id).collect();
        incidents.iter().filter(|id| ***id != last.due.incident_id).count()
    }

    /// Deletes an entry that was read, unless another has its place by now.
    pub fn delete_due(&mut self, item: &DueItem) {
        let place = (item.shard(), item.place().to_owned());
        if self.due.get(&place).is_some_and(|(_, version)| version.to_string() == item.version()) {
            self.due.remove(&place);
        }
    }

    /// Writes a later entry, in one transaction with the condition on the delivery's row.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn write_later(&mut self, later: &Later, now_ms: i64) -> Result<(), ClaimRefusal> {
        if let Some(wait) = later.wait {
            let ScheduledDelivery { update, attempt, channel, .. } = later.entry;
            let (next_at_ms, reason) = (wait.until.as_millisecond(), wait.reason);
            let write = RowWrite::Reschedule { update, attempt, now_ms, next_at_ms, reason, channel };
            let row = DeliveryKey::of_due(&later.entry).row();
            self.apply(row, &write).map_err(|refusal| asked_to_wait(refusal, now_ms))?;
        }
        self.put_due(&later.entry, false, DUE_SHARDS);
        Ok(())
    }

    /// Records on its row that a held delivery goes onto its queue.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn mark_queued(&mut self, due: &ScheduledDelivery, now_ms: i64) -> Result<(), ClaimRefusal> {
        let ScheduledDelivery { update, attempt, channel, .. } = *due;
        let write = RowWrite::Queue { update, attempt, now_ms, channel };
        self.apply(DeliveryKey::of_due(due).row(), &write).map_err(|refusal| asked_to_wait(refusal, now_ms))
    }

    /// Ends a delivery without sending it: a claim without a lease, and the mark.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn end_unsent(&mut self, due: &ScheduledDelivery, reason: Reason, now_ms: i64) -> Result<(), ClaimRefusal> {
        let (key, update, token, channel) = (DeliveryKey::of_due(due), due.update, "end", due.channel);
        let before = domain::delivery::earlier_claim(self.rows.get(&key.row()), update, due.attempt);
        let claim = RowWrite::Claim { update, attempt: due.attempt, token, now_ms, lease_until_ms: 0, channel };
        self.apply(key.row(), &claim).map_err(|refusal| asked_to_wait(refusal, now_ms))?;
        let at = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let attempt = before.attempts_made(due.attempt);
        let fail = RowWrite::Fail { update, attempt, token, at, reason, cause: None };
        self.apply(key.row(), &fail).map_err(|refusal| asked_to_wait(refusal, now_ms))?;
        self.ends.entry(key).or_default().push(End { outcome: Err(reason), at: now_ms, by_sender: false });
        Ok(())
    }

    /// Carries out a write on a row, by the rule that the real table follows.
    pub(super) fn apply(&mut self, place: RowKey, write: &RowWrite<'_>) -> Result<(), RowRefusal> {
        let row = DeliveryRow::apply(self.rows.get(&place), write)?;
        if let Some(row) = &row {
            *self.states.entry(format!("{:?}", row.state).to_lowercase()).or_default() += 1;
        }
        self.rows.extend(row.map(|row| (place, row)));
        Ok(())
    }
}

/// Where the table cannot tell why, it asks the caller to wait a second.
fn asked_to_wait(refusal: RowRefusal, now_ms: i64) -> ClaimRefusal {
    match refusal {
        RowRefusal::Claim(refusal) => refusal,
        _ => ClaimRefusal::Leased { until_ms: now_ms + 1_000 },
    }
}
