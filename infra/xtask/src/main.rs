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
cargo xtask watch           print each message as it arrives
cargo xtask test [FILTER]   run all tests from nothing, on a stack of their own
cargo xtask check           format, lints, licences, documentation, the template's rules
cargo xtask build           build every function for AWS (arm64) with the real `sam build`
cargo xtask deploy [ARG…]   build, then `sam deploy --guided`";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["up"] => stack::up(false),
        ["up", "--detach"] => stack::up(true),
        ["down"] => stack::down("local"),
        ["demo"] => demo::again(),
        ["watch"] => demo::watch(),
        ["test", rest @ ..] => check::test(rest),
        ["check"] => check::check(),
        ["build"] => check::build(),
        ["deploy", rest @ ..] => check::deploy(rest),
        _ => Err(Fault::new("the command is not one of these:", USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            process::say(&format!("\n✗ {fault}"));
            ExitCode::FAILURE
        }
    }
}
