//! `cargo xtask …`: the commands of this repository. It uses no AWS crate and prints its first line within 20 seconds.

mod build;
mod check;
mod demo;
mod http;
mod process;
mod python;
mod seed;
mod stack;

use process::Fault;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask up [--detach]   run Tocsin on this machine: the real template and binaries on an emulator, with a demo
cargo xtask down            end it
cargo xtask demo            post the sample incidents again
cargo xtask watch           print each message as it arrives: who, on which channel, why
cargo xtask test [FILTER]   run all tests from nothing, on stacks of their own
cargo xtask check           format, lints, licences, documentation, the template's rules
cargo xtask build           build every function for AWS (arm64) with the real `sam build`
cargo xtask deploy [ARG…]   build, then `sam deploy --guided`

up, down, demo and watch take --name NAME for a stack beside the usual one (target/NAME, ports of its own).";

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let done = name(&mut words).and_then(|name| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["up"] => stack::up(&name, false),
            ["up", "--detach"] => stack::up(&name, true),
            ["down"] => stack::down_and_say(&name),
            ["demo"] => demo::again(&name),
            ["watch"] => demo::watch(&name),
            ["test", rest @ ..] => check::test(rest),
            ["check"] => check::check(),
            ["build"] => check::build(),
            ["deploy", rest @ ..] => check::deploy(rest),
            _ => Err(Fault::new("the command is not one of these:", USAGE)),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            process::say(&format!("\n✗ {fault}"));
            ExitCode::FAILURE
        }
    }
}

/// Takes `--name NAME` out of the words. Tests and deployments have words of their own, which stay as they are.
fn name(words: &mut Vec<String>) -> Result<String, Fault> {
    let command = words.first().map(String::as_str);
    let place = words.iter().position(|word| word == "--name");
    let (Some("up" | "down" | "demo" | "watch"), Some(place)) = (command, place) else {
        return Ok(stack::USUAL.to_owned());
    };
    let name = words.get(place + 1).cloned().unwrap_or_default();
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    // The names of cargo's own folders in target/ are not free.
    let taken = ["debug", "release", "doc", "tmp", "tools", "venv", "xtask", "check"].contains(&name.as_str());
    if name.is_empty() || name.len() > 30 || taken || !name.chars().all(fits) || name.starts_with('-') {
        return Err(Fault::new(
            format!("--name needs 1 to 30 of a-z, 0-9 and -, and not a folder of the build; it was `{name}`"),
            "For example: cargo xtask up --name second",
        ));
    }
    words.drain(place..=place + 1);
    Ok(name)
}
