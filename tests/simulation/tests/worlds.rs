//! Production's stories keep the invariants in every world.

#![allow(clippy::print_stdout, reason = "the counts are the result of the run")]

/// How many worlds a run simulates, unless `TOCSIN_WORLDS` says otherwise.
const WORLDS: u64 = 10_000;

#[test]
fn every_world_keeps_the_invariants() {
    let asked = std::env::var_os("TOCSIN_WORLDS").and_then(|text| text.to_str()?.parse().ok());
    let worlds = asked.unwrap_or(WORLDS);
    let coverage = match simulation::run_all(worlds) {
        Ok(coverage) => coverage,
        Err(broken) => panic!("{broken}"),
    };
    println!("{worlds} worlds reached: {coverage}");
    let missing = coverage.missing();
    // Fewer worlds do not reach everything.
    assert!(worlds < WORLDS || missing.is_empty(), "no world reached: {missing:?}");
}
