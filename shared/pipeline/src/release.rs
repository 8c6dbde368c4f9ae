//! The story of one run of `release`: it reads some shards of the due index page by page, decides about each entry, and reschedules, enqueues
//! or ends it. An entry is deleted last: a crash before that sends it twice, and the claim of the second one is refused.
//!
//! The shards take turns, a page each: what waits in one of them delays another by one page at a time. A shard that cannot be read costs the
//! others nothing. A run that ends before everything was read saves where it was in each shard, and the next one goes on there: entries that
//! stay, because something about them cannot be read, never keep it from those behind them.
//!
//! | Module | Has |
//! |---|---|
//! | `decide` | what becomes of one due entry |
//! | `batches` | which entries are one digest or bundle |
//! | [`facts`] | what the decisions about a page depend on |
//! | [`page`] | the steps of one page |
//! | `turns` | whose turn it is, and where a shard goes on |

mod batches;
mod decide;
pub mod facts;
pub mod page;
#[cfg(test)]
mod tests;
mod turns;

use crate::turn::{Answer, Fault, Turn};
pub use batches::is_batched;
use batches::without_partial_batch;
use domain::due::{DuePage, DuePlaces};
use jiff::{SignedDuration, Timestamp};
use page::{CountBehind, DeleteEntries, EndRows, EnqueueDue, MarkQueued, PageWork, ReadFacts, Reschedule};
use std::time::Duration;
pub use turns::ReadShards;
use turns::{ReleaseRun, end_shard, next_page, next_shard};

/// A page is begun only if at least this much time is left, which is more than a page takes.
const PAGE_RESERVE: Duration = Duration::from_secs(5);

/// The next effect of a run.
#[must_use]
#[derive(Debug)]
pub enum Release {
    /// Read where the run before stopped.
    Places(ReadPlaces),
    /// Read a page of a shard.
    Page(ReadPage),
    /// Lease the shard's digests and bundles.
    Lease(Lease),
    /// Read what the page's decisions depend on.
    Facts(ReadFacts),
    /// Record on their rows that held deliveries go onto their queues.
    Queued(MarkQueued),
    /// Count what full lists do not name.
    Behind(CountBehind),
    /// Put later entries into the due index.
    Reschedule(Reschedule),
    /// Put messages on the delivery queues.
    Enqueue(EnqueueDue),
    /// End deliveries without sending them.
    EndRows(EndRows),
    /// Delete entries that are done.
    Delete(DeleteEntries),
    /// Give the lease of a shard back.
    Unlease(Unlease),
    /// Save where the run stops.
    SavePlaces(SavePlaces),
    /// Nothing: the run is over.
    End(Ended),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How many entries were handled, and how.
    pub counts: ReleaseCounts,
    /// Whether entries were left because the time was over.
    pub behind: bool,
    /// By how much the oldest entry was overdue when it was read; zero if none was.
    pub overdue: SignedDuration,
    /// Why a shard could not be read.
    pub fault: Option<Fault>,
}

/// The number of due entries that a run handled, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReleaseCounts {
    /// Entries put on a queue.
    pub released: usize,
    /// Deliveries ended without sending, with a reason.
    pub ended: usize,
    /// Entries left for the next minute's run.
    pub left: usize,
    /// Entries left to another run of the shard, which sends its digests and bundles.
    pub elsewhere: usize,
}

/// When a run began, and the time now.
#[derive(Clone, Copy, Debug)]
pub struct RunTimes {
    /// When the run began. A digest whose minute was missed is sent in the minute after that, however long the run takes.
    pub began: Timestamp,
    /// The time at which the page was read.
    pub now: Timestamp,
}

/// Reads where the run before stopped.
#[derive(Debug)]
pub struct ReadPlaces {
    run: ReleaseRun,
}

/// Reads a page of a shard.
#[derive(Debug)]
pub struct ReadPage {
    run: ReleaseRun,
    now: Timestamp,
}

/// Leases the shard's digests and bundles: two runs at once would split a digest into two messages.
#[derive(Debug)]
pub struct Lease {
    run: ReleaseRun,
    now: Timestamp,
}

/// Gives the lease of a shard back. If that fails, it expires by itself.
#[derive(Debug)]
pub struct Unlease {
    run: ReleaseRun,
}

/// Saves where the run stops. If that fails, the next one begins at the beginning of each shard.
#[derive(Debug)]
pub struct SavePlaces {
    run: ReleaseRun,
    now: Timestamp,
}

/// Begins a run over some shards.
pub fn begin(shards: ReadShards, turn: &Turn) -> Release {
    Release::Places(ReadPlaces { run: ReleaseRun::new(shards, turn.now) })
}

impl ReadPlaces {
    /// The first of the shards, beside which the places are saved.
    #[must_use]
    pub fn first(&self) -> u16 {
        self.run.shards.first
    }

    /// Goes on with the places. If they are not known, each shard is read from its beginning.
    pub fn answered(self, answer: Answer<DuePlaces>, turn: &mut Turn) -> Release {
        let mut run = self.run;
        run.go_on_at(answer.unwrap_or_default());
        next_page(run, turn)
    }
}

impl ReadPage {
    /// The shard that is read.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.run.current.shard
    }

    /// The time until whose minute's end entries are due.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The place after which the page begins; `None` for the shard's first page.
    #[must_use]
    pub fn after(&self) -> Option<&str> {
        self.run.current.after.as_deref()
    }

    /// Goes on with the page.
    pub fn answered(self, answer: Answer<DuePage>, turn: &mut Turn) -> Release {
        let Self { mut run, now } = self;
        let page = match answer {
            Ok(page) => page,
            Err(fault) => {
                run.fault.get_or_insert(fault);
                run.keep_place();
                return end_shard(run, turn);
            }
        };
        let (items, next) = run.current.up_to_where_it_began(page.items, page.next);
        let (mut items, next) = without_partial_batch(items, next);
        match run.current.sends_batches {
            // The page is read again after the lease is taken: the previous holder may have sent some of it in between.
            None if items.iter().any(is_batched) => return Release::Lease(Lease { run, now }),
            Some(false) => {
                let all = items.len();
                items.retain(|item| !is_batched(item));
                run.counts.elsewhere += all - items.len();
            }
            _ => {}
        }
        run.counts.left += page.unreadable;
        run.note_overdue(&items, now);
        let times = RunTimes { began: run.began, now };
        PageWork::new(run, next, times).begin(items, turn)
    }
}

impl Lease {
    /// The shard whose digests and bundles are leased.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.run.current.shard
    }

    /// The time at which the lease is taken.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Goes on with whether this run has the lease. If that is not known, digests and bundles wait for the next run.
    pub fn answered(self, answer: Answer<bool>, turn: &mut Turn) -> Release {
        let mut run = self.run;
        run.counts.left += usize::from(answer.is_err());
        run.current.sends_batches = Some(answer.unwrap_or(false));
        next_page(run, turn)
    }
}

impl Unlease {
    /// The shard whose lease is given back.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.run.current.shard
    }

    /// Goes on with the other shards.
    pub fn answered(self, (): (), turn: &mut Turn) -> Release {
        next_shard(self.run, turn)
    }
}

impl SavePlaces {
    /// The first of the shards, beside which the places are saved.
    #[must_use]
    pub fn first(&self) -> u16 {
        self.run.shards.first
    }

    /// The places; none if everything was read.
    #[must_use]
    pub fn places(&self) -> &DuePlaces {
        &self.run.stopped
    }

    /// The time at which they are saved.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Ends the run with its counts, whether they were saved or not.
    pub fn answered(self, (): (), _: &mut Turn) -> Release {
        Release::End(self.run.ended())
    }
}
