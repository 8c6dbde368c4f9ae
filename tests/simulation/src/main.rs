//! `simulate`: runs many worlds, or one with its trace.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

use clap::Parser;
use simulation::coverage::Coverage;
use simulation::{run, run_all, world::World};
use std::process::ExitCode;

/// Runs production's stories in simulated worlds, where anything may fail between any two effects.
#[derive(Parser)]
struct Arguments {
    /// How many worlds to run.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// Run only the world of this seed, and print its trace.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.seed {
        Some(seed) => {
            let mut world = World::new(seed, true);
            world.run();
            world.trace.iter().for_each(|line| println!("{line}"));
            let mut coverage = Coverage::default();
            run(seed, &mut coverage).map(|()| coverage).map_err(|broken| format!("Seed {seed}: {}", broken.finding))
        }
        None => run_all(arguments.seeds).map_err(|broken| broken.to_string()),
    };
    match result {
        Ok(coverage) => {
            let worlds = if arguments.seed.is_some() { 1 } else { arguments.seeds };
            println!("{worlds} worlds, every check holds. Reached: {coverage}");
            ExitCode::SUCCESS
        }
        Err(finding) => {
            eprintln!("{finding}");
            ExitCode::FAILURE
        }
    }
}
