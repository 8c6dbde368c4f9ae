//! Runs `tests/tools/aws.py`, which calls the emulator's AWS APIs. One process serves all commands of a test.

use crate::Stack;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Processes that no test is using, each with the URL of its emulator.
static IDLE: Mutex<Vec<(String, Tool)>> = Mutex::new(Vec::new());

struct Tool {
    words: ChildStdin,
    answers: BufReader<ChildStdout>,
    // The process ends when its standard input closes.
    _process: Child,
}

/// Runs one command and returns its result.
pub(crate) fn ask(stack: &Stack, arguments: &[&str]) -> Value {
    let emulator = stack.text("/emulator_url");
    let idle = || {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = idle.iter().position(|(of, _)| *of == emulator)?;
        Some(idle.swap_remove(place).1)
    };
    let mut tool = idle().unwrap_or_else(|| start(stack, &emulator));
    writeln!(tool.words, "{}", json!(arguments)).expect("aws.py listens");
    let mut line = String::new();
    tool.answers.read_line(&mut line).expect("aws.py answers");
    let mut answer: Value =
        serde_json::from_str(&line).expect("aws.py answers; if not, see tests/aws/errors.log of the stack");
    assert!(
        answer["error"].is_null(),
        "aws.py {arguments:?} failed:\n{}",
        answer["error"].as_str().unwrap_or_default()
    );
    IDLE.lock().unwrap_or_else(PoisonError::into_inner).push((emulator, tool));
    answer["is"].take()
}

fn start(stack: &Stack, emulator: &str) -> Tool {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tools/aws.py");
    let mut command = Command::new(stack.text("/python"));
    command.arg(script);
    command.env("AWS_ENDPOINT_URL", emulator).env("AWS_DEFAULT_REGION", stack.text("/region"));
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env_remove("AWS_PROFILE");
    // nextest reports a test as leaky if a child that outlives it holds its output.
    let file = stack.folder("aws").join("errors.log");
    let errors = std::fs::OpenOptions::new().create(true).append(true).open(&file).expect("a log can be made");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
    let mut process = command.spawn().expect("Python can be started");
    let words = process.stdin.take().expect("it is piped");
    let answers = BufReader::new(process.stdout.take().expect("it is piped"));
    Tool { words, answers, _process: process }
}
