//! Runs processes, keeps their logs, and reports failures with the next step.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// An error for the person at the terminal: what went wrong and what to do next.
#[derive(Debug)]
pub(crate) struct CommandFault {
    what: String,
    remedy: String,
}

impl CommandFault {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }

    /// Describes a failed step with the last 15 lines of its log and the command to try again.
    pub(crate) fn failed_step(step: &str, log: &Path, again: &str) -> Self {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(15)).map(|line| format!("    {line}\n"));
        Self::new(
            format!("{step} failed. The last lines of its log:\n{}", tail.collect::<String>()),
            format!("Full log: {}\nTry again: {again}", log.display()),
        )
    }
}

impl fmt::Display for CommandFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.what, self.remedy)
    }
}

impl From<std::io::Error> for CommandFault {
    fn from(error: std::io::Error) -> Self {
        Self::new(
            format!("a file operation failed: {error}"),
            "Check that the disk is not full and that target/ belongs to you",
        )
    }
}

/// Prints a line and flushes it. A closed output (`| head`) is ignored.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Overwrites the last line on a terminal. Prints nothing if the output is not a terminal.
pub(crate) fn progress(line: &str) {
    let mut out = std::io::stdout();
    if out.is_terminal() {
        let _ = write!(out, "\r\x1b[2K{line}").and_then(|()| out.flush());
    }
}

/// Returns the root folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Runs a command to its end with its output in the file `log`.
pub(crate) fn run(command: &mut Command, step: &str, log: &Path, again: &str) -> Result<(), CommandFault> {
    let out = File::create(log)?;
    let done = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).status();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(CommandFault::failed_step(step, log, again)),
        Err(error) => Err(CommandFault::new(format!("{step} could not start: {error}"), format!("Try again: {again}"))),
    }
}

/// Runs a command to its end and returns its standard output, or `None` if it failed.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let done = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Returns a cargo command with the settings of [`in_workspace`].
pub(crate) fn cargo() -> Command {
    in_workspace(Command::new(env!("CARGO")))
}

/// Sets up a command to run in the workspace's root and to build into its target folder. Removes the variables that `cargo run` set for the
/// package xtask, since a change of those would rerun build scripts.
pub(crate) fn in_workspace(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command.current_dir(root()).env("CARGO", env!("CARGO")).env("CARGO_TARGET_DIR", root().join("target"));
    command
}

/// Terminates a process and waits until it is gone: SIGTERM, then SIGKILL after 8 seconds.
pub(crate) fn terminate(pid: u32) {
    for (signal, tenths) in [("-TERM", 80), ("-KILL", 20)] {
        drop(Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status());
        for _ in 0..tenths {
            if !is_running(pid) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

/// Returns whether a process is running. A zombie is not.
pub(crate) fn is_running(pid: u32) -> bool {
    let state = output(Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]));
    state.is_some_and(|state| !state.trim().is_empty() && !state.trim().starts_with('Z'))
}

/// Returns the command line of a running process. Process ids are reused, so check this before terminating one.
pub(crate) fn command_line(pid: u32) -> Option<String> {
    output(Command::new("ps").args(["-o", "args=", "-p", &pid.to_string()])).filter(|_| is_running(pid))
}

/// Returns the ids of the processes whose command line contains `text`.
pub(crate) fn find_processes(text: &str) -> Vec<u32> {
    let table = output(Command::new("ps").args(["-eo", "pid=,args="])).unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.trim_start().split_once(' '))
        .filter(|(_, command)| command.contains(text))
        .filter_map(|(pid, _)| pid.parse().ok())
        .collect()
}

/// Returns free ports on loopback. They differ from each other and from those of earlier calls.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N], CommandFault> {
    static ASSIGNED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut assigned = ASSIGNED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        loop {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            *port = listener.local_addr()?.port();
            held.push(listener);
            // A port from an earlier call may not be in use yet.
            if assigned.insert(*port) {
                break;
            }
        }
    }
    Ok(ports)
}
