//! Whose turn it is, and where a shard goes on.

use super::batches::SentBatches;
use super::{Ended, PAGE_RESERVE, ReadPage, Release, ReleaseCounts, SavePlaces, Unlease};
use crate::turn::{Fault, Turn};
use domain::due::{DueItem, DuePlace, DuePlaces};
use domain::ids::{DUE_SCHEDULES, DUE_SHARDS};
use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;

/// The shards that one run reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadShards {
    /// The first of them, `0..DUE_SCHEDULES`; the others follow in steps of [`DUE_SCHEDULES`].
    pub first: u16,
    /// How many shards of the index are written, which decides where a later entry goes.
    pub written: u16,
}

/// What a run keeps from page to page.
#[derive(Debug)]
pub(crate) struct ReleaseRun {
    pub(super) shards: ReadShards,
    pub(super) began: Timestamp,
    pub(super) counts: ReleaseCounts,
    overdue: SignedDuration,
    pub(super) fault: Option<Fault>,
    behind: bool,
    /// The shard whose page is read or worked on.
    pub(super) current: ShardRun,
    /// The other shards that have entries, the next one first.
    waiting: VecDeque<ShardRun>,
    /// Whether places were saved by the run before.
    had_places: bool,
    /// Where this run stopped, shard by shard.
    pub(super) stopped: DuePlaces,
}

/// What a run keeps about one shard.
#[derive(Debug)]
pub(crate) struct ShardRun {
    pub(super) shard: u16,
    /// The place after which the next page begins.
    pub(super) after: Option<String>,
    /// The place at which this run began, if that is not the shard's beginning.
    began_after: Option<String>,
    /// Whether it reads what is before that place.
    is_before: bool,
    /// The digests and bundles that this run has sent.
    pub(super) sent_batches: SentBatches,
    /// Whether this run sends the shard's digests and bundles; `None` until the first of them is found.
    pub(super) sends_batches: Option<bool>,
}

impl ReadShards {
    fn all(self) -> impl Iterator<Item = u16> {
        (self.first..DUE_SHARDS).step_by(usize::from(DUE_SCHEDULES))
    }
}

impl ReleaseRun {
    pub(super) fn new(shards: ReadShards, began: Timestamp) -> Self {
        Self {
            shards,
            began,
            counts: ReleaseCounts::default(),
            overdue: SignedDuration::ZERO,
            fault: None,
            behind: false,
            current: ShardRun::new(shards.first),
            waiting: shards.all().skip(1).map(ShardRun::new).collect(),
            had_places: false,
            stopped: DuePlaces::default(),
        }
    }

    /// Goes on where the run before stopped: with the same shards first, each behind its place.
    pub(super) fn go_on_at(&mut self, stopped: DuePlaces) {
        self.had_places = !stopped.places.is_empty();
        let mut shards: Vec<u16> = stopped.places.iter().map(|place| place.shard).collect();
        shards.retain(|shard| self.shards.all().any(|one| one == *shard));
        shards.extend(self.shards.all().filter(|shard| !stopped.places.iter().any(|place| place.shard == *shard)));
        let place =
            |shard: u16| stopped.places.iter().find(|place| place.shard == shard).and_then(|one| one.after.clone());
        let runs = shards.into_iter().map(|shard| {
            let after = place(shard);
            ShardRun { after: after.clone(), began_after: after, ..ShardRun::new(shard) }
        });
        self.waiting = runs.collect();
        if let Some(first) = self.waiting.pop_front() {
            self.current = first;
        }
    }

    /// Notes by how much the oldest of some entries is overdue.
    pub(super) fn note_overdue(&mut self, items: &[DueItem], now: Timestamp) {
        let overdue = items.iter().map(|item| now.duration_since(item.due.at)).max();
        self.overdue = self.overdue.max(overdue.unwrap_or_default());
    }

    /// Notes where the current shard stopped.
    pub(super) fn keep_place(&mut self) {
        let ShardRun { shard, after, .. } = &self.current;
        self.stopped.places.push(DuePlace { shard: *shard, after: after.clone() });
    }

    pub(super) fn ended(self) -> Ended {
        Ended { counts: self.counts, behind: self.behind, overdue: self.overdue, fault: self.fault }
    }
}

impl ShardRun {
    fn new(shard: u16) -> Self {
        Self {
            shard,
            after: None,
            began_after: None,
            is_before: false,
            sent_batches: SentBatches::new(),
            sends_batches: None,
        }
    }

    /// Cuts off what this run has seen already, once it reads what is before the place at which it began.
    pub(super) fn up_to_where_it_began(
        &self,
        mut items: Vec<DueItem>,
        next: Option<String>,
    ) -> (Vec<DueItem>, Option<String>) {
        let Some(begin) = self.began_after.as_deref().filter(|_| self.is_before) else { return (items, next) };
        items.retain(|item| item.place() <= begin);
        (items, next.filter(|next| next.as_str() < begin))
    }

    /// Goes on behind a page. Returns whether there is more to read.
    fn go_on(&mut self, next: Option<String>) -> bool {
        let is_at_the_end = next.is_none();
        self.after = next;
        if !is_at_the_end {
            return true;
        }
        let begins_again = self.began_after.is_some() && !self.is_before;
        self.is_before |= begins_again;
        begins_again
    }
}

/// Reads the next page of the current shard, or stops if no time is left.
pub(super) fn next_page(mut run: ReleaseRun, turn: &Turn) -> Release {
    if turn.left > PAGE_RESERVE {
        return Release::Page(ReadPage { run, now: turn.now });
    }
    run.behind = true;
    run.keep_place();
    end_shard(run, turn)
}

/// Goes on after a page: the other shards have their turn before this one's next page.
pub(super) fn after_page(mut run: ReleaseRun, next: Option<String>, turn: &Turn) -> Release {
    if !run.current.go_on(next) {
        return end_shard(run, turn);
    }
    if let Some(other) = run.waiting.pop_front() {
        run.waiting.push_back(std::mem::replace(&mut run.current, other));
    }
    next_page(run, turn)
}

/// Ends the current shard's part of the run.
pub(super) fn end_shard(run: ReleaseRun, turn: &Turn) -> Release {
    if run.current.sends_batches == Some(true) { Release::Unlease(Unlease { run }) } else { next_shard(run, turn) }
}

/// Goes on with the next shard, or ends the run.
pub(super) fn next_shard(mut run: ReleaseRun, turn: &Turn) -> Release {
    if let Some(next) = run.waiting.pop_front() {
        run.current = next;
        return next_page(run, turn);
    }
    if run.had_places || !run.stopped.places.is_empty() {
        return Release::SavePlaces(SavePlaces { run, now: turn.now });
    }
    Release::End(run.ended())
}
