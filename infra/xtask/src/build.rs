//! One cargo call for every binary of the local stack, with progress.

use crate::process::{CommandFault, cargo, output, progress, root, say};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

/// Returns the names of all functions, sorted. Each is one folder, one crate and one binary.
pub(crate) fn functions() -> Result<Vec<String>, CommandFault> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("functions"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Which targets a build covers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Targets {
    /// The binaries of the functions and the receivers.
    Stack,
    /// The binaries and every test in one call, so that both resolve the same features and nothing is built twice.
    Tests,
}

/// Builds in the dev profile with one cargo call, printing progress. Returns the folder of the binaries.
pub(crate) fn build_dev(targets: Targets) -> Result<PathBuf, CommandFault> {
    let mut chosen = Vec::new();
    if targets == Targets::Stack {
        for name in functions()?.into_iter().chain(["receivers".to_owned()]) {
            chosen.extend(["-p".to_owned(), name]);
        }
    } else {
        chosen.push("--workspace".to_owned());
    }
    let total = count_crates(targets, &chosen);
    let started = Instant::now();
    say(&format!("  building ({total} crates) in one cargo call"));
    let mut command = cargo();
    command.args(["build", "--locked", "--quiet", "--message-format=json-render-diagnostics"]).args(&chosen);
    command.arg(if targets == Targets::Stack { "--bins" } else { "--all-targets" });
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut done = BTreeSet::new();
    let mut last_line = Instant::now();
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            let message: Value = serde_json::from_str(&line?).unwrap_or_default();
            if message.get("reason").and_then(Value::as_str) != Some("compiler-artifact") {
                continue;
            }
            done.insert(message.get("package_id").map(ToString::to_string).unwrap_or_default());
            let line = progress_line(done.len(), total, started);
            progress(&line);
            // Without a terminal, a line every 20 seconds shows that the build is still running.
            if last_line.elapsed().as_secs() >= 20 {
                say(&line);
                last_line = Instant::now();
            }
        }
    }
    if !child.wait()?.success() {
        return Err(CommandFault::new("the build failed; see the errors above", "Try again: cargo xtask up"));
    }
    progress("");
    say(&format!("  built in {} s", started.elapsed().as_secs()));
    Ok(root().join("target/debug"))
}

fn progress_line(done: usize, total: usize, started: Instant) -> String {
    let elapsed = started.elapsed().as_secs_f64();
    let share = done as f64 / total.max(1) as f64;
    // The first tenth of the crates is too small a sample for an estimate.
    let left =
        if share > 0.1 { format!(", about {:.0} s left", (elapsed / share - elapsed).max(1.0)) } else { String::new() };
    format!("  {done} of {total} crates, {elapsed:.0} s{left}")
}

/// Counts the crates of the build, dependencies included.
fn count_crates(targets: Targets, chosen: &[String]) -> usize {
    let mut tree = cargo();
    let edges = if targets == Targets::Stack { "normal,build" } else { "normal,build,dev" };
    tree.args(["tree", "--quiet", "-e", edges, "--prefix", "none", "--format", "{p}"]).args(chosen);
    let text = output(&mut tree).unwrap_or_default();
    let names: BTreeSet<&str> =
        text.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.is_empty()).collect();
    names.len()
}
