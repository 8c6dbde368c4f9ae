//! Processes, their logs, and faults that say what to do next.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// What went wrong and what to do next.
#[derive(Debug)]
pub(crate) struct Fault {
    what: String,
    mend: String,
}

impl Fault {
    pub(crate) fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into() }
    }

    /// A step that failed, with its log's last lines and the command to try again with.
    pub(crate) fn step(step: &str, log: &Path, again: &str) -> Self {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(15)).map(|line| format!("    {line}\n"));
        Self::new(
            format!("{step} failed. The end of its log:\n{}", tail.collect::<String>()),
            format!("The whole log: {}\nTry again: {again}", log.display()),
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.what, self.mend)
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::new(format!("the file system refused: {error}"), "Is the disk full, or is target/ another user's?")
    }
}

/// Prints a line for the person who waits. That nobody listens any more (`| head`) is no fault of the step.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Overwrites the last line on a terminal; prints nothing where there is none.
pub(crate) fn progress(line: &str) {
    let mut out = std::io::stdout();
    if out.is_terminal() {
        let _ = write!(out, "\r\x1b[2K{line}").and_then(|()| out.flush());
    }
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Runs a command to its end, its output to `log`.
pub(crate) fn run(command: &mut Command, step: &str, log: &Path, again: &str) -> Result<(), Fault> {
    let out = File::create(log)?;
    let done = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).status();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Fault::step(step, log, again)),
        Err(error) => Err(Fault::new(format!("{step} could not be started: {error}"), format!("Try again: {again}"))),
    }
}

/// Runs a command to its end and gives back what it printed.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let done = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Cargo, as [`at_home`] sees it.
pub(crate) fn cargo() -> Command {
    at_home(Command::new(env!("CARGO")))
}

/// A command in the workspace's root that builds into its target folder, without what `cargo run` told this process about the
/// package xtask: build scripts that look at that would run again.
pub(crate) fn at_home(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command.current_dir(root()).env("CARGO", env!("CARGO")).env("CARGO_TARGET_DIR", root().join("target"));
    command
}

/// Tells a process to end, makes it end when it does not, and waits until it is gone.
pub(crate) fn end(pid: u32) {
    for (signal, tenths) in [("-TERM", 80), ("-KILL", 20)] {
        drop(Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status());
        for _ in 0..tenths {
            if !alive(pid) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

/// Whether a process lives; one that is dead and only waits to be reaped does not.
pub(crate) fn alive(pid: u32) -> bool {
    let state = output(Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]));
    state.is_some_and(|state| !state.trim().is_empty() && !state.trim().starts_with('Z'))
}

/// What a process was started as; nothing when it is gone. A number may be another process's by now, so whoever ends one asks first.
pub(crate) fn command_line(pid: u32) -> Option<String> {
    output(Command::new("ps").args(["-o", "args=", "-p", &pid.to_string()])).filter(|_| alive(pid))
}

/// The processes whose command line contains `text`.
pub(crate) fn processes_of(text: &str) -> Vec<u32> {
    let table = output(Command::new("ps").args(["-eo", "pid=,args="])).unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.trim_start().split_once(' '))
        .filter(|(_, command)| command.contains(text))
        .filter_map(|(pid, _)| pid.parse().ok())
        .collect()
}

/// Free ports on loopback, all different, and other ones with every call.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N], Fault> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        loop {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            *port = listener.local_addr()?.port();
            held.push(listener);
            // Who was given it by an earlier call may not have opened it yet.
            if given.insert(*port) {
                break;
            }
        }
    }
    Ok(ports)
}
