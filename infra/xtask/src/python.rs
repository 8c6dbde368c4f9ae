//! Checks prerequisites and creates the virtual environments from pinned requirement lists.

use crate::process::{CommandFault, output, root, run, say};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Checks everything that a build needs. Each fault names the command that installs what is missing.
pub(crate) fn prerequisites() -> Result<(), CommandFault> {
    if output(Command::new("cc").arg("--version")).is_none() {
        return Err(CommandFault::new(
            "there is no C compiler (cc)",
            "Debian: apt-get install -y gcc · macOS: xcode-select --install",
        ));
    }
    interpreter()?;
    if output(Command::new("ps").args(["-o", "pid=", "-p", "1"])).is_none() {
        return Err(CommandFault::new("there is no `ps`", "Debian: apt-get install -y procps"));
    }
    let free = output(Command::new("df").arg("-Pk").arg(root()))
        .and_then(|text| text.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>().ok());
    if let Some(free) = free.filter(|free| *free < 6 * 1024 * 1024) {
        return Err(CommandFault::new(
            format!("{} MB are free here; the build, the environments and the stack need 6 GB", free / 1024),
            "Make room, or clone to another disk",
        ));
    }
    Ok(())
}

/// Finds a Python 3.10 or newer with venv.
fn interpreter() -> Result<&'static str, CommandFault> {
    let fits = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
    ["python3", "python3.13", "python3.12", "python3.11", "python3.10"]
        .into_iter()
        .find(|name| output(Command::new(name).args(["-c", fits])).is_some())
        .ok_or_else(|| {
            CommandFault::new(
                "there is no Python 3.10 or newer with venv",
                "Debian: apt-get install -y python3 python3-venv · macOS: brew install python",
            )
        })
}

/// Returns the `bin` folder of the environment for `infra/local/requirements-<name>.txt`, which names every package by its hash. Creates the
/// environment if it is missing or its list has changed.
pub(crate) fn environment(name: &str) -> Result<PathBuf, CommandFault> {
    let list = root().join(format!("infra/local/requirements-{name}.txt"));
    let folder = root().join(format!("target/venv/{name}"));
    let (bin, stamp) = (folder.join("bin"), folder.join("requirements.txt"));
    let wanted = std::fs::read_to_string(&list)?;
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(bin);
    }
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(root().join("target/venv"))?;
    let log = root().join(format!("target/venv/{name}.log"));
    let again = "cargo xtask up (it needs PyPI; behind a proxy set PIP_INDEX_URL)";
    run(
        Command::new(interpreter()?).args(["-m", "venv"]).arg(&folder),
        &format!("creating the Python environment `{name}`"),
        &log,
        again,
    )?;
    let mut pip = Command::new(bin.join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r"])
        .arg(&list);
    run(&mut pip, &format!("installing the Python packages of `{name}`"), &log, again)?;
    std::fs::write(&stamp, wanted)?;
    Ok(bin)
}

/// Ensures that a Debian package's program is installed. Installs it as root on Debian, otherwise fails with the command to run.
pub(crate) fn ensure_debian_package(program: &str, package: &str) -> Result<(), CommandFault> {
    if on_path(program) {
        return Ok(());
    }
    let remedy = format!("apt-get install -y {package}");
    let is_root = output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0");
    if is_root && on_path("apt-get") {
        say(&format!("  installing {package} (Debian)"));
        let log = root().join(format!("target/apt-{package}.log"));
        std::fs::create_dir_all(root().join("target"))?;
        // An outdated package list is the usual reason for a failed install. Without a network the update fails and the old list is used.
        drop(run(Command::new("apt-get").args(["-q", "update"]), "apt-get update", &log, &remedy));
        let mut install = Command::new("apt-get");
        // RUNLEVEL=1 keeps Debian from starting the packages' services.
        install.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        install.args(["-q", "install", "-y", "--no-install-recommends", package]);
        run(&mut install, &format!("installing {package}"), &log, &remedy)?;
    }
    if on_path(program) { Ok(()) } else { Err(CommandFault::new(format!("there is no `{program}`"), remedy)) }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}
