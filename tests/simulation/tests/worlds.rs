//! Production's stories keep the invariants in every world.

#![allow(clippy::print_stdout, reason = "the counts are the result of the run")]

/// How many worlds every run of the tests simulates.
const WORLDS: u64 = 10_000;

#[test]
fn every_world_keeps_the_invariants() {
    let coverage = match simulation::run_all(WORLDS) {
        Ok(coverage) => coverage,
        Err(broken) => panic!("{broken}"),
    };
    println!("{WORLDS} worlds reached: {coverage}");
    assert!(coverage.missing().is_empty(), "no world reached: {:?}", coverage.missing());
}
