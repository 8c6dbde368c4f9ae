//! Runs the stories of [`pipeline`] in seeded worlds, where anything may fail between any two effects.
//!
//! A world has a table, queues, providers and receivers, all in memory, and a clock of its own. The stories are production's. A function may
//! die before or after any effect; an effect's answer may be an error or be lost; a queue delivers twice, late and in any order; the clocks of
//! two invocations differ. Afterwards the checks of [`check`] hold, or the world's trace says what happened.
//!
//! What a write does to a delivery row is `domain`'s rule, which `tests/tests/e2e/rows.rs` compares with DynamoDB. So the table here is no
//! second model of it.
//!
//! | Module | Has |
//! |---|---|
//! | [`scenario`] | what happens: tenants, events, storms, maintenance, settings that change, mailboxes that do not exist |
//! | [`world`] | the clock, the invocations, and what goes wrong |
//! | [`table`] | incidents, plans, delivery rows, due index, rate limits |
//! | [`queue`] | the queues |
//! | [`receiver`] | the providers and endpoints |
//! | [`check`] | what holds in every world |
//! | [`coverage`] | what the worlds of a run reached |
//! | [`random`] | the seeded numbers |
//! | [`sample`] | tenants and destinations for other tests |

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on says so")]

pub mod check;
pub mod coverage;
pub mod queue;
pub mod random;
pub mod receiver;
pub mod sample;
pub mod scenario;
pub mod table;
pub mod world;

use coverage::Coverage;
use std::sync::atomic::{AtomicU64, Ordering};
use world::World;

/// A world in which a check failed.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The seed of the world.
    pub seed: u64,
    /// What does not hold.
    pub finding: String,
    /// What happened, one line an effect.
    pub trace: Vec<String>,
}

/// Runs the world of `seed`, and adds what it reached to `coverage`.
///
/// # Errors
/// [`Broken`] with the trace, if a check does not hold.
pub fn run(seed: u64, coverage: &mut Coverage) -> Result<(), Box<Broken>> {
    let mut world = World::new(seed, false);
    world.run();
    coverage.add(&world.coverage);
    let Err(finding) = check::all(&world) else { return Ok(()) };
    // The same seed gives the same world, this time with its trace.
    let mut traced = World::new(seed, true);
    traced.run();
    Err(Box::new(Broken { seed, finding, trace: traced.trace }))
}

/// Runs the worlds of the seeds `0..seeds`, on all cores.
///
/// # Errors
/// [`Broken`] of the world with the lowest seed in which a check does not hold.
pub fn run_all(seeds: u64) -> Result<Coverage, Box<Broken>> {
    let threads = std::thread::available_parallelism().map_or(1, |cores| u64::try_from(cores.get()).unwrap_or(1));
    // No later world needs to run once one is broken.
    let lowest = AtomicU64::new(u64::MAX);
    let lowest = &lowest;
    let share = |first: u64| {
        let mut coverage = Coverage::default();
        for seed in (first..seeds).step_by(usize::try_from(threads).unwrap_or(1)) {
            if seed > lowest.load(Ordering::Relaxed) {
                break;
            }
            run(seed, &mut coverage).inspect_err(|_| {
                lowest.fetch_min(seed, Ordering::Relaxed);
            })?;
        }
        Ok(coverage)
    };
    let results: Vec<Result<Coverage, Box<Broken>>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(move || share(first))).collect();
        running.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut coverage = Coverage::default();
    let mut broken: Vec<Box<Broken>> = Vec::new();
    for result in results {
        match result {
            Ok(reached) => coverage.add(&reached),
            Err(one) => broken.push(one),
        }
    }
    match broken.into_iter().min_by_key(|one| one.seed) {
        Some(first) => Err(first),
        None => Ok(coverage),
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "Seed {}: {}", self.seed, self.finding)?;
        write!(f, "Replay it with: cargo xtask simulate --seed {}", self.seed)
    }
}
