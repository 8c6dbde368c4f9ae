//! The commands of README.md and docs/first-alert.md, run as their reader runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tests::documents::fenced_blocks;
use tests::{Stack, stack, unique, wait};

fn page(path: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.parent().unwrap().join(path)).unwrap()
}

/// Runs a script in `folder` and returns what it printed. Any command that fails ends it.
fn run(script: &str, folder: &Path, variables: &[(&str, &str)]) -> String {
    let script = format!("set -euo pipefail\n{script}");
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(folder).envs(variables.iter().copied()).stdin(Stdio::null());
    let output = bash.output().expect("bash can be started");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the commands of the document failed:\n{out}\n{error}");
    out.into_owned()
}

/// Returns the file from which the stack's values come.
fn outputs(stack: &Stack) -> String {
    std::env::var_os("TOCSIN_OUTPUTS").map_or_else(
        || panic!("no outputs.json of {}", stack.text("/stack_name")),
        |path| path.to_string_lossy().into_owned(),
    )
}

#[test]
fn the_commands_of_first_alert_lead_to_a_delivered_alert() {
    let stack = stack!();
    let script = fenced_blocks(&page("docs/first-alert.md"), "sh").concat();
    let tenant = unique();
    let printed =
        run(&script, &stack.folder("first-alert"), &[("TOCSIN_OUTPUTS", &outputs(&stack)), ("TENANT", &tenant)]);
    for row in ["email\tAsha\taccepted", "sms\tAsha\tskipped\tno_destination", "webhook\tOps webhook\tdelivered"] {
        assert!(printed.contains(row), "{row:?} is missing:\n{printed}");
    }
    assert!(printed.contains("webhook-signature"), "the request that the webhook received is shown:\n{printed}");
    assert!(printed.lines().any(|line| line == "The API answers 500"), "the e-mail is shown:\n{printed}");
}

#[test]
fn the_request_of_the_readme_is_delivered() {
    let stack = stack!();
    // The README's commands run in the root of a repository whose stack is up.
    let folder = stack.folder("readme").join(unique());
    std::fs::create_dir_all(folder.join("target/local")).unwrap();
    std::fs::copy(outputs(&stack), folder.join("target/local/outputs.json")).unwrap();
    let readme = page("README.md");
    let block = fenced_blocks(&readme, "sh").into_iter().find(|block| block.contains("curl ")).unwrap();
    let title = format!("My first alert {}", unique());
    let script = block.replace("My first alert", &title);
    assert!(script.contains(&title), "{script}");
    let printed = run(&script, &folder, &[]);
    assert!(printed.contains("event_id"), "{printed}");
    wait("the README's alert by e-mail", Duration::from_secs(60), || stack.mails(&title).first().map(|_| ()));
}
