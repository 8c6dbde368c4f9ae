//! Processes, their logs, and faults that say what to do next.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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

/// Prints a line for the person who waits.
#[expect(clippy::print_stdout, reason = "xtask speaks to a person")]
pub(crate) fn say(line: &str) {
    println!("{line}");
    // Nobody may be listening any more; that is no fault of the step.
    let _ = std::io::stdout().flush();
}

/// Overwrites the last line on a terminal; prints nothing where there is none.
#[expect(clippy::print_stdout, reason = "xtask speaks to a person")]
pub(crate) fn progress(line: &str) {
    use std::io::IsTerminal;
    if std::io::stdout().is_terminal() {
        print!("\r\x1b[2K{line}");
        let _ = std::io::stdout().flush();
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

/// Starts a process that goes on, its output to `log`. A detached one has a group of its own, so that Ctrl-C in the terminal
/// does not reach it; another ends with the terminal's Ctrl-C.
pub(crate) fn start(command: &mut Command, log: &Path, detached: bool) -> Result<Child, Fault> {
    let out = File::create(log)?;
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    #[cfg(unix)]
    if detached {
        use std::os::unix::process::CommandExt;
        command.process_group(0);
    }
    command.spawn().map_err(|error| {
        Fault::new(
            format!("{} could not be started: {error}", command.get_program().display()),
            "Try again: cargo xtask up",
        )
    })
}

/// Ends a process with all its children; waits until they are gone.
pub(crate) fn end(pid: u32) {
    let family = family(pid);
    for signal in ["-TERM", "-KILL"] {
        for member in &family {
            drop(Command::new("kill").args([signal, &member.to_string()]).stderr(Stdio::null()).status());
        }
        for _ in 0..30 {
            if family.iter().all(|member| !alive(*member)) {
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

fn family(pid: u32) -> Vec<u32> {
    let table = output(Command::new("ps").args(["-eo", "pid=,ppid="])).unwrap_or_default();
    let pairs: Vec<(u32, u32)> = table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        })
        .collect();
    let mut family = vec![pid];
    let mut place = 0;
    while let Some(&parent) = family.get(place) {
        family.extend(pairs.iter().filter(|(_, ppid)| *ppid == parent).map(|(child, _)| *child));
        place += 1;
    }
    family
}

/// Free ports on loopback, all different.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N], Fault> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
