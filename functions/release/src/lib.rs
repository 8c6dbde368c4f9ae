//! Trigger  every minute, once for each of the eight shards of the due index: `{"shard": n}`
//! Reads    due entries; their incident, update, settings and destination as they are now; for held deliveries also subscriptions, plans
//!          and maintenance windows
//! Writes   which run of a shard sends its digests and bundles; the end of deliveries that cannot be made any more, with the reason; a
//!          later time for deliveries that must still wait; revised decisions beside the plans
//! Emits    deliveries, on the bulk lane of their channel; digests and bundles, in one message each; to `classify`, reminders of scheduled
//!          maintenance
//! Fails    what could not be sent stays in the due index, and the next minute's run tries again
//! Config   [`config::Config`]
//!
//! A delivery is sent first and deleted from the due index afterwards. A crash in between sends it twice, and the claim
//! of the second one is refused.
//!
//! | Module | Does |
//! |---|---|
//! | `page` | releases one page of due entries |
//! | `facts` | reads everything that the decisions about a page depend on |
//! | `decide` | decides what becomes of one due entry: pure |
//! | `batches` | groups entries into digests and bundles: pure |
//! | `reminders` | sends the due reminders of scheduled maintenance |

mod batches;
pub mod config;
mod decide;
mod facts;
mod page;
mod reminders;
#[cfg(test)]
mod world;

use aws::sqs::Queues;
use batches::{SentBatches, is_batched, without_partial_batch};
use config::Config;
use domain::ids::DUE_SHARDS;
use domain::policy::Policy;
use futures::FutureExt;
use jiff::Timestamp;
use page::RunTimes;
use runtime::queue::Deadline;
use runtime::{Aws, DirectError, EventFunction, StartError, clock, ids, metrics};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use store::{StoreError, Table};

/// Due entries per page: ten full batches of an SQS queue.
const PAGE_SIZE: usize = 100;
/// The shard whose run also sends the reminders of scheduled maintenance.
const REMINDER_SHARD: u16 = 0;
/// Table calls in flight at once.
const IN_FLIGHT: usize = 16;
/// A page is begun only if at least this much time is left, which is more than a page takes.
const PAGE_RESERVE: Duration = Duration::from_secs(5);

/// The function, with the clients and settings that one Lambda environment keeps.
#[derive(Debug)]
pub struct Release {
    config: Config,
    policy: Policy,
    table: Table,
    queues: Queues,
}

/// The input from the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Tick {
    /// The shard of the due index, from 0.
    pub shard: u16,
}

/// The number of due entries that one run handled, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
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

impl EventFunction for Release {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type In = Tick;
    type Out = ReleaseCounts;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days);
        let policy = Policy::embedded().map_err(StartError::new)?;
        Ok(Self { policy, table, queues: Queues::new(aws.config()), config })
    }

    async fn handle(&self, tick: Tick, deadline: Deadline) -> Result<ReleaseCounts, DirectError> {
        if tick.shard >= DUE_SHARDS {
            let message = format!("shard is {}; it must be from 0 to {}", tick.shard, DUE_SHARDS - 1);
            return Err(DirectError::new("BadRequest", message));
        }
        let mut total = ReleaseCounts::default();
        let mut after: Option<String> = None;
        let mut sent_batches = SentBatches::new();
        let run = ids::id_suffix();
        // Whether this run sends the shard's digests and bundles. `None` until the first batched entry is found.
        let mut sends_batches: Option<bool> = None;
        let began = clock::now();
        if tick.shard == REMINDER_SHARD {
            total.left += self.send_due_reminders(began).await;
        }
        while deadline.remaining() > PAGE_RESERVE {
            let now = clock::now();
            let page = self.table.due_page(tick.shard, now, after.as_deref(), PAGE_SIZE).await.map_err(unavailable)?;
            let (mut items, next) = without_partial_batch(page.items, page.next);
            match sends_batches {
                // The page is read again after the lease is taken: the previous holder may have sent some of it in between.
                None if items.iter().any(is_batched) => {
                    let leased = self.lease_batches(tick.shard, &run, deadline, now).await;
                    total.left += usize::from(leased.is_err());
                    sends_batches = Some(leased.unwrap_or(false));
                    continue;
                }
                Some(false) => {
                    let all = items.len();
                    items.retain(|item| !is_batched(item));
                    total.elsewhere += all - items.len();
                }
                _ => {}
            }
            total.left += page.unreadable;
            // Boxed: the nested stream types are deeper than the compiler computes layouts for.
            let done = self.release_page(items, &mut sent_batches, RunTimes { began, now }).boxed().await;
            total.released += done.released;
            total.ended += done.ended;
            total.left += done.left;
            after = next;
            if after.is_none() {
                break;
            }
        }
        if sends_batches == Some(true)
            && let Err(error) = self.table.release_shard_lease(tick.shard, &run).await
        {
            tracing::warn!(shard = tick.shard, %error, "cannot release the batch lease of the shard; it expires by itself");
        }
        metrics::count("DueReleased", count(total.released));
        metrics::count("DueEnded", count(total.ended));
        metrics::count("DueLeft", count(total.left));
        if after.is_some() {
            // The remaining entries are a minute late by the next run. If this is counted often, eight shards are not enough.
            metrics::count("DueBehind", 1);
            tracing::warn!(shard = tick.shard, "ran out of time before all due entries were released");
        }
        Ok(total)
    }
}

impl Release {
    /// Leases the digests and bundles of a shard for as long as this run can last: two runs at once would split a digest into two messages.
    /// Returns whether this run has the lease.
    async fn lease_batches(
        &self,
        shard: u16,
        run: &str,
        deadline: Deadline,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let until = now.saturating_add(deadline.until_end()).unwrap_or(Timestamp::MAX);
        let leased = self.table.lease_shard(shard, run, now, until).await;
        match &leased {
            Ok(true) => {}
            Ok(false) => tracing::info!(shard, "another run sends the digests and bundles of this shard"),
            Err(error) => {
                tracing::error!(shard, %error, "cannot lease the digests and bundles of this shard; they wait for the next run");
            }
        }
        leased
    }
}

fn unavailable(error: StoreError) -> DirectError {
    DirectError::new("Unavailable", format!("cannot read the due index: {error}"))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
