//! Trigger  every minute, once for each of eight groups of eight shards of the due index: `{"shard": n}` for `n`, `n + 8`, … `n + 56`
//! Reads    due entries; their incident, update, settings and destination as they are now; for held deliveries also subscriptions, plans
//!          and maintenance windows
//! Writes   which run of a shard sends its digests and bundles; where a run stopped; the end of deliveries that cannot be made any more, with the reason; a
//!          later time for deliveries that must still wait, on their rows and in the index
//! Emits    deliveries, on the bulk lane of their channel; digests and bundles, in one message each; to `classify`, reminders of scheduled
//!          maintenance
//! Fails    what could not be sent stays in the due index, and the next minute's run tries again
//! Config   [`config::Config`]
//!
//! A delivery is sent first and deleted from the due index afterwards. A crash in between sends it twice, and the claim
//! of the second one is refused.
//!
//! What it decides, and in which order, is the story in [`pipeline::release`].
//!
//! | Module | Does |
//! |---|---|
//! | `run` | performs the effects of the story |
//! | `facts` | reads everything that the decisions about a page depend on |
//! | `reminders` | sends the due reminders of scheduled maintenance |

pub mod config;
mod facts;
mod reminders;
mod run;

use aws::sqs::Queues;
use config::Config;
use domain::ids::DUE_SCHEDULES;
use domain::policy::Policy;
use pipeline::Fault;
use pipeline::release::Ended;
use runtime::queue::Deadline;
use runtime::{Aws, DirectError, EventFunction, StartError, clock, ids, metrics};
use serde::{Deserialize, Serialize};
use store::Table;

/// Due entries per page: ten full batches of an SQS queue.
const PAGE_SIZE: usize = 100;
/// The run that also sends the reminders of scheduled maintenance.
const REMINDER_SHARD: u16 = 0;
/// Table calls in flight at once.
const IN_FLIGHT: usize = 16;

/// The function, with the clients and settings that one Lambda environment keeps.
#[derive(Debug)]
pub struct ReleaseFunction {
    config: Config,
    policy: Policy,
    table: Table,
    queues: Queues,
}

/// The input from the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Tick {
    /// The first of the shards that this run reads, from 0. The others follow in steps of [`DUE_SCHEDULES`].
    pub shard: u16,
}

/// The number of due entries that one run handled, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReleaseReport {
    /// Entries put on a queue.
    pub released: usize,
    /// Deliveries ended without sending, with a reason.
    pub ended: usize,
    /// Entries left for the next minute's run.
    pub left: usize,
    /// Entries left to another run of the shard, which sends its digests and bundles.
    pub elsewhere: usize,
}

impl EventFunction for ReleaseFunction {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type In = Tick;
    type Out = ReleaseReport;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days)
            .with_due_index(config.due_shards, &ids::id_suffix());
        let policy = Policy::embedded().map_err(StartError::new)?;
        Ok(Self { policy, table, queues: Queues::new(aws.config()), config })
    }

    async fn handle(&self, tick: Tick, deadline: Deadline) -> Result<ReleaseReport, DirectError> {
        if tick.shard >= DUE_SCHEDULES {
            let message = format!("shard is {}; it must be from 0 to {}", tick.shard, DUE_SCHEDULES - 1);
            return Err(DirectError::new("BadRequest", message));
        }
        let reminders_left = match tick.shard {
            REMINDER_SHARD => self.send_due_reminders(clock::now()).await,
            _ => 0,
        };
        let Ended { counts, behind, overdue, fault } = self.run(tick.shard, deadline).await;
        let counts = ReleaseReport {
            released: counts.released,
            ended: counts.ended,
            left: counts.left + reminders_left,
            elsewhere: counts.elsewhere,
        };
        metrics::count("DueReleased", count(counts.released));
        metrics::count("DueEnded", count(counts.ended));
        metrics::count("DueLeft", count(counts.left));
        metrics::count("DueOverdueSeconds", u64::try_from(overdue.as_secs()).unwrap_or(0));
        if behind {
            // The remaining entries are a minute late by the next run, which begins with them.
            metrics::count("DueBehind", 1);
            tracing::warn!(shard = tick.shard, "ran out of time before all due entries were released");
        }
        match fault {
            None => Ok(counts),
            Some(
                Fault::Unavailable { code: why }
                | Fault::Unreadable { reason: why }
                | Fault::Unprocessable { reason: why },
            ) => Err(DirectError::new("Unavailable", format!("cannot read the due index: {why}"))),
        }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
