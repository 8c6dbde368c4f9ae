//! The story of one run of `release`: it reads a shard of the due index page by page, decides about each entry, and reschedules, enqueues or
//! ends it. An entry is deleted last: a crash before that sends it twice, and the claim of the second one is refused.
//!
//! | Module | Has |
//! |---|---|
//! | `decide` | what becomes of one due entry |
//! | `batches` | which entries are one digest or bundle |
//! | [`facts`] | what the decisions about a page depend on |
//! | [`page`] | the steps of one page |

mod batches;
mod decide;
pub mod facts;
pub mod page;
#[cfg(test)]
mod tests;

use crate::turn::{Answer, Fault, Turn};
pub use batches::is_batched;
use batches::{SentBatches, without_partial_batch};
use domain::due::DuePage;
use jiff::Timestamp;
use page::{CountBehind, DeleteEntries, EndRows, EnqueueDue, MarkQueued, PageWork, ReadFacts, Reschedule};
use std::time::Duration;

/// A page is begun only if at least this much time is left, which is more than a page takes.
const PAGE_RESERVE: Duration = Duration::from_secs(5);

/// The next effect of a run.
#[must_use]
#[derive(Debug)]
pub enum Release {
    /// Read a page of the due index.
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
    /// Give the lease back.
    Unlease(Unlease),
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
    /// Why the due index could not be read.
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

/// What a run keeps from page to page.
#[derive(Debug)]
pub(crate) struct ReleaseRun {
    began: Timestamp,
    /// The place after which the next page begins.
    after: Option<String>,
    counts: ReleaseCounts,
    /// The digests and bundles that this run has sent.
    sent_batches: SentBatches,
    /// Whether this run sends the shard's digests and bundles; `None` until the first of them is found.
    sends_batches: Option<bool>,
}

/// Reads a page of the due index.
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

/// Gives the lease back. If that fails, it expires by itself.
#[derive(Debug)]
pub struct Unlease {
    counts: ReleaseCounts,
    behind: bool,
}

/// Begins a run over one shard.
pub fn begin(turn: &Turn) -> Release {
    let run = ReleaseRun {
        began: turn.now,
        after: None,
        counts: ReleaseCounts::default(),
        sent_batches: SentBatches::new(),
        sends_batches: None,
    };
    next_page(run, turn)
}

fn next_page(run: ReleaseRun, turn: &Turn) -> Release {
    if turn.left > PAGE_RESERVE { Release::Page(ReadPage { run, now: turn.now }) } else { finish(run, true, None) }
}

fn finish(run: ReleaseRun, behind: bool, fault: Option<Fault>) -> Release {
    if run.sends_batches == Some(true) && fault.is_none() {
        return Release::Unlease(Unlease { counts: run.counts, behind });
    }
    Release::End(Ended { counts: run.counts, behind, fault })
}

impl ReadPage {
    /// The time until whose minute's end entries are due.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The place after which the page begins; `None` for the first page.
    #[must_use]
    pub fn after(&self) -> Option<&str> {
        self.run.after.as_deref()
    }

    /// Goes on with the page.
    pub fn answered(self, answer: Answer<DuePage>, turn: &mut Turn) -> Release {
        let Self { mut run, now } = self;
        let page = match answer {
            Ok(page) => page,
            Err(fault) => return finish(run, false, Some(fault)),
        };
        let (mut items, next) = without_partial_batch(page.items, page.next);
        match run.sends_batches {
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
        let times = RunTimes { began: run.began, now };
        PageWork::new(run, next, times).begin(items, turn)
    }
}

impl Lease {
    /// The time at which the lease is taken.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Goes on with whether this run has the lease. If that is not known, digests and bundles wait for the next run.
    pub fn answered(self, answer: Answer<bool>, turn: &mut Turn) -> Release {
        let mut run = self.run;
        run.counts.left += usize::from(answer.is_err());
        run.sends_batches = Some(answer.unwrap_or(false));
        next_page(run, turn)
    }
}

impl Unlease {
    /// Ends the run with its counts.
    pub fn answered(self, (): (), _: &mut Turn) -> Release {
        Release::End(Ended { counts: self.counts, behind: self.behind, fault: None })
    }
}

/// Goes on after a page.
fn after_page(mut run: ReleaseRun, next: Option<String>, turn: &Turn) -> Release {
    run.after = next;
    if run.after.is_some() { next_page(run, turn) } else { finish(run, false, None) }
}
