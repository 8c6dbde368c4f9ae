//! Other people's JavaScript, which the tests use unmodified.

use crate::{Stack, unique};
use std::path::PathBuf;
use std::process::Command;

const MANIFEST: &str = include_str!("../tools/package.json");
const LOCK: &str = include_str!("../tools/package-lock.json");

/// Returns the `node_modules` folder with the packages of `tests/tools/package-lock.json`, installed by npm if they are not there yet.
///
/// Tests that run side by side may all find it missing. Each installs into a folder of its own, and the first to finish moves it in place.
///
/// # Panics
/// If npm is missing or cannot install.
#[must_use]
pub fn node_modules(stack: &Stack) -> PathBuf {
    let tools = stack.target().join("tools");
    let folder = tools.join("npm");
    let installed = || std::fs::read_to_string(folder.join("package-lock.json")).is_ok_and(|lock| lock == LOCK);
    if !installed() {
        let aside = tools.join(unique());
        std::fs::create_dir_all(&aside).unwrap();
        std::fs::write(aside.join("package.json"), MANIFEST).unwrap();
        std::fs::write(aside.join("package-lock.json"), LOCK).unwrap();
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]).current_dir(&aside);
        let done = npm.status().expect("npm is on the path; if not: apt-get install -y npm");
        assert!(done.success(), "npm could not install tests/tools/package-lock.json");
        // An older version is moved away, so that a test which still reads it keeps its files.
        if !installed() {
            drop(std::fs::rename(&folder, tools.join(unique())));
        }
        if std::fs::rename(&aside, &folder).is_err() {
            drop(std::fs::remove_dir_all(&aside));
        }
    }
    folder.join("node_modules")
}
