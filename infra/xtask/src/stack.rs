//! Starts and stops the local stack: the same template and binaries as on AWS, deployed by the SAM CLI to an emulator on loopback that
//! enforces IAM.

mod create;

pub(crate) use create::{Clock, create};

use crate::process::{self, CommandFault, root, say};
use crate::{build, demo, python};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Instant;

/// The name of the stack if `--name` is not given.
pub(crate) const DEFAULT_NAME: &str = "local";

const SENDER: &str = "alerts@tocsin.test";
const OPERATOR: &str = "operators@tocsin.test";
const REGION: &str = "eu-central-1";

/// Returns the folder of a stack's files: outputs.json, logs, process ids.
pub(crate) fn folder(name: &str) -> PathBuf {
    root().join("target").join(name)
}

/// Reads the outputs.json of a running stack.
pub(crate) fn outputs(name: &str) -> Result<Value, CommandFault> {
    let file = folder(name).join("outputs.json");
    let flag = flag(name);
    let text = std::fs::read_to_string(&file)
        .map_err(|_| CommandFault::new("no stack is running", format!("Start one: cargo xtask up{flag}")))?;
    serde_json::from_str(&text).map_err(|_| {
        let remedy = format!("Start again: cargo xtask down{flag} && cargo xtask up{flag}");
        CommandFault::new("outputs.json is not valid JSON", remedy)
    })
}

/// A running stack. It ends when this value is dropped, unless [`Stack::detach`] was called.
pub(crate) struct Stack {
    /// The content of outputs.json.
    pub(crate) outputs: Value,
    keeper: Child,
}

impl Stack {
    /// Keeps the stack running after this process ends.
    fn detach(&mut self) -> Result<(), CommandFault> {
        if let Some(stdin) = &mut self.keeper.stdin {
            writeln!(stdin, "stay")?;
        }
        Ok(())
    }
}

/// `cargo xtask up`
pub(crate) fn up(name: &str, detach: bool) -> Result<(), CommandFault> {
    let begun = Instant::now();
    say("Tocsin: starting the whole system on this machine (first run: about 8 minutes and 4 GB of disk in target/).");
    let flag = flag(name);
    if running(name) {
        say(&format!(
            "The stack is already running. To run changed code: cargo xtask down{flag} && cargo xtask up{flag}"
        ));
        return demo::print_next_steps(name, &outputs(name)?);
    }
    python::prerequisites()?;
    let again = format!("cargo xtask up{flag}");
    let tools = prepare(build::Targets::Stack, &again)?;
    let mut stack = create(name, &tools, Clock::Machine, &again)?;
    let shown = demo::show(&stack.outputs).and_then(|()| demo::print_next_steps(name, &stack.outputs));
    if shown.is_err() {
        down(name)?;
        return shown;
    }
    say(&format!("\nUp in {} s.", begun.elapsed().as_secs()));
    if detach {
        return stack.detach();
    }
    say("Press Ctrl-C to stop it.");
    // The keeper stops the stack when its standard input closes, which happens when Ctrl-C ends this process. `wait` would close it now.
    let open = stack.keeper.stdin.take();
    let stopped_on_request = stack.keeper.wait()?.success();
    drop(open);
    down(name)?;
    if stopped_on_request {
        say("The stack was stopped.");
        return Ok(());
    }
    let logs = folder(name).join("logs");
    Err(CommandFault::new(
        "a process of the stack ended unexpectedly",
        format!("Logs: {}\nTry again: cargo xtask up{flag}", logs.display()),
    ))
}

/// Returns the ` --name …` that a command needs for this stack, empty for the default stack.
pub(crate) fn flag(name: &str) -> String {
    if name == DEFAULT_NAME { String::new() } else { format!(" --name {name}") }
}

/// The built binaries and tools from which stacks are created.
pub(crate) struct Toolchain {
    binaries: PathBuf,
    emulator_bin: PathBuf,
    sam_bin: PathBuf,
}

/// Creates the Python environments and builds the binaries, at the same time.
pub(crate) fn prepare(targets: build::Targets, again: &str) -> Result<Toolchain, CommandFault> {
    say("▸ environments (PyPI, about 200 MB the first time) and binaries");
    // pip mostly waits for the network while cargo uses the cores.
    let environments =
        std::thread::spawn(|| Ok::<_, CommandFault>((python::environment("emulator")?, python::environment("sam")?)));
    let binaries = build::build_dev(targets)?;
    let made =
        environments.join().map_err(|_| CommandFault::new("creating the Python environments panicked", again))?;
    let (emulator_bin, sam_bin) = made?;
    Ok(Toolchain { binaries, emulator_bin, sam_bin })
}

/// `cargo xtask down`
pub(crate) fn down_and_report(name: &str) -> Result<(), CommandFault> {
    let was_running = !pids(name).is_empty();
    down(name)?;
    say(if was_running { "Tocsin was stopped." } else { "Tocsin was not running." });
    Ok(())
}

/// Stops a stack and waits until none of its processes is left.
pub(crate) fn down(name: &str) -> Result<(), CommandFault> {
    let folder = folder(name);
    // The keeper comes first and stops the others. The others are checked in case the keeper was killed.
    for pid in pids(name) {
        process::terminate(pid);
    }
    // The functions' processes outlive an emulator that was killed.
    for pid in process::find_processes(&format!("{}/", folder.join("scratch").display())) {
        process::terminate(pid);
    }
    // The keeper deletes these files unless it was killed.
    drop(std::fs::remove_file(folder.join("outputs.json")));
    drop(std::fs::remove_dir_all(folder.join("scratch")));
    drop(std::fs::remove_file(folder.join("pids")));
    Ok(())
}

fn running(name: &str) -> bool {
    pids(name).len() == 3 && folder(name).join("outputs.json").exists()
}

/// Returns the running processes that the keeper recorded: keeper, receivers, emulator. Reused process ids are left out.
fn pids(name: &str) -> Vec<u32> {
    let text = std::fs::read_to_string(folder(name).join("pids")).unwrap_or_default();
    let ours = ["keep.py", "receivers", "ministack"];
    text.lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| process::command_line(*pid).is_some_and(|line| ours.iter().any(|name| line.contains(name))))
        .collect()
}

/// Sets the environment variables that point an AWS client at the emulator.
pub(crate) fn aws<'a>(command: &'a mut Command, emulator_url: &str) -> &'a mut Command {
    command
        .env("AWS_ENDPOINT_URL", emulator_url)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_REGION", REGION)
        .env("SAM_CLI_TELEMETRY", "0")
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN")
}
