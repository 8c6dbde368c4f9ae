//! Other people's JavaScript, which the tests use unmodified.

use crate::{Stack, unique};
use std::path::PathBuf;
use std::process::Command;

/// The `node_modules` with a package (`name@version`), from npm once. Tests side by side may all find it missing: each fetches it aside,
/// and moves it in whole.
///
/// # Panics
/// Without npm, and when it cannot fetch.
#[must_use]
pub fn npm(stack: &Stack, package: &str) -> PathBuf {
    let tools = stack.target().join("tools");
    let folder = tools.join(package.replace('@', "-"));
    if !folder.exists() {
        let aside = tools.join(unique());
        std::fs::create_dir_all(&aside).unwrap();
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", "--prefix"])
            .arg(&aside)
            .arg(package);
        let done = npm.status().expect("npm is on the path; apt-get install -y npm");
        assert!(done.success(), "npm could not install {package}");
        if std::fs::rename(&aside, &folder).is_err() {
            // Another test was quicker.
            drop(std::fs::remove_dir_all(&aside));
        }
    }
    folder.join("node_modules")
}
