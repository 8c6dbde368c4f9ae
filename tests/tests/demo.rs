//! `cargo xtask demo`, which `cargo xtask up` runs too: it waits for all deliveries, and prints who was notified of what, and who was
//! skipped and why.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by a panic"
)]

use std::path::PathBuf;
use std::process::Command;
use tests::stack;

/// The program that brought the stack up.
const PROGRAM: &str = "TOCSIN_XTASK";

#[test]
fn the_samples_are_delivered_and_skips_have_their_reasons() {
    let _stack = stack!(alone);
    let outputs = PathBuf::from(std::env::var_os("TOCSIN_OUTPUTS_ALONE").unwrap());
    let name = outputs.parent().unwrap().file_name().unwrap();
    let program = std::env::var_os(PROGRAM).expect("cargo xtask test says where it is");
    let done = Command::new(program).arg("demo").arg("--name").arg(name).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    let (reached, not) = said.split_once("Skipped, and why:").unwrap_or_else(|| panic!("{said}"));
    let line = |words: [&str; 3]| reached.lines().any(|line| words.iter().all(|word| line.contains(word)));
    for words in [
        ["e-mail", "org.admin@acme.test", "Outbound calls fail in Mumbai"],
        ["e-mail", "org.admin@initech.test", "Outbound calls fail in Mumbai"],
        // A text message of one part has no room for the whole title beside a long local link.
        ["SMS", "acme billing_admin", "Wallet balance is below"],
        ["webhook", "/globex/tech_devops", "Your call-events webhook answers 404"],
        ["Slack", "/acme/support_manager", "Outbound calls fail in Mumbai"],
        ["Teams", "/globex/org_admin", "Your call-events webhook answers 404"],
    ] {
        assert!(line(words), "{words:?} in {said}");
    }
    for other in [["e-mail", "acme.test", "call-events"], ["SMS", "globex", ""], ["SMS", "initech", ""]] {
        assert!(!line(other), "{other:?} in {said}");
    }
    for reason in [
        "A classification rule excludes this type of event.",
        "None of this destination's roles receives this category on this channel.",
        "The tenant's plan doesn't include this channel.",
    ] {
        assert!(not.contains(reason), "{reason} in {said}");
    }
}
