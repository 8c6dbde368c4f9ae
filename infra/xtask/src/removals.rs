//! `cargo xtask test --removals`: takes permissions from the functions of a running stack, one at a time, and sees whether the tests notice.

use crate::check::{TESTS, TESTS_VARIABLE, tool};
use crate::http::send;
use crate::process::{CommandFault, in_workspace, root, say};
use crate::stack;
use serde_json::Value;
use std::process::{Command, Stdio};

/// Which permissions are removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removals {
    /// What they are drawn from.
    pub(crate) seed: u64,
    /// How many.
    pub(crate) count: usize,
}

/// Runs the end-to-end tests once for each permission that is removed, until the first test that fails. A removal that no test notices is a
/// fault of the tests, or the permission is not needed.
pub(crate) fn run(removals: Removals) -> Result<(), CommandFault> {
    let again = format!("Try again: cargo xtask test --removals --seed {}", removals.seed);
    let list = std::fs::read_to_string(root().join("target/permissions.json")).map_err(|_| {
        let remedy = "Run all tests first; they write it: cargo xtask test";
        CommandFault::new("there is no list of needed permissions (target/permissions.json)", remedy)
    })?;
    let list: Vec<Value> =
        serde_json::from_str(&list).map_err(|_| CommandFault::new("target/permissions.json is not JSON", &again))?;
    let drawn = draw(list, removals);
    let nextest = tool("cargo-nextest")?;
    let tools = stack::prepare(crate::build::Targets::Tests, &again)?;
    let stack = stack::create(TESTS, &tools, stack::Clock::Machine, &again)?;
    let control = stack.outputs.get("control_url").and_then(Value::as_str).unwrap_or_default();
    let permissions = format!("{control}/permissions");
    std::fs::create_dir_all(root().join("target/removals"))?;
    let mut unnoticed = Vec::new();
    for (number, removal) in drawn.iter().enumerate() {
        let grant = removal.get("grant").and_then(Value::as_str).unwrap_or_default();
        send("PUT", &permissions, &[], removal.get("calls"))?;
        let log = std::fs::File::create(root().join(format!("target/removals/{number}.log")))?;
        let mut command = in_workspace(Command::new(&nextest));
        let tests = "package(tests) & binary(/^(e2e|zz_permissions)$/)";
        command.args([
            "nextest",
            "run",
            "--locked",
            "--workspace",
            "--filterset",
            tests,
            "--fail-fast",
            "--retries",
            "0",
        ]);
        command.env(TESTS_VARIABLE, stack::folder(TESTS).join("outputs.json"));
        command.stdout(Stdio::null()).stderr(log);
        let passed = command.status()?.success();
        let denied = send("GET", &permissions, &[], None)?.body;
        let denied = denied.get("denied").and_then(Value::as_array).map_or(0, Vec::len);
        let noticed = !passed && denied > 0;
        say(&format!("  {} {grant}", if noticed { "noticed  " } else { "UNNOTICED" }));
        if !noticed {
            unnoticed.push(grant);
        }
        send("PUT", &permissions, &[], Some(&Value::Array(Vec::new())))?;
    }
    stack::down(TESTS)?;
    if unnoticed.is_empty() {
        say(&format!("Each of {} removed permissions was noticed (seed {}).", drawn.len(), removals.seed));
        return Ok(());
    }
    let problem = format!("no test noticed that these were removed:\n{}", unnoticed.join("\n"));
    Err(CommandFault::new(problem, "Logs: target/removals. Write a test that needs the permission, or remove it"))
}

/// Draws by a seed, none twice.
fn draw(mut list: Vec<Value>, removals: Removals) -> Vec<Value> {
    let mut state = removals.seed;
    let mut drawn = Vec::new();
    while drawn.len() < removals.count && !list.is_empty() {
        // Knuth's MMIX generator; its high bits are the random ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = usize::try_from(state >> 33).unwrap_or_default() % list.len();
        drawn.push(list.swap_remove(place));
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::{Removals, draw};
    use serde_json::{Value, json};

    #[test]
    fn a_seed_draws_the_same_again_and_nothing_twice() {
        let all: Vec<Value> = (0..100).map(|number| json!(number)).collect();
        let drawn = |seed| draw(all.clone(), Removals { seed, count: 20 });
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let mut different = drawn(1);
        different.sort_by_key(Value::as_u64);
        different.dedup();
        assert_eq!(different.len(), 20);
    }
}
