//! `cargo xtask keys`: the data key of a deployed stack. Invokes the functions that do it, again and again until they are done.

use crate::process::{CommandFault, root, say};
use crate::python;
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What to do with the data key.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Show the generations of the data key, and what is sealed by which
    Status(Deployed),
    /// Make the next generation and seal everything with it. Takes about four minutes
    Rotate(Deployed),
    /// Go on sealing everything with the newest generation, for example after an interrupted `rotate`
    Reseal(Deployed),
    /// Delete the key of a generation once nothing needs it
    ///
    /// Without --now it is refused while links in messages work that the generation signed: 401 days after the next one was made.
    Retire {
        #[command(flatten)]
        stack: Deployed,
        /// The generation to retire
        #[arg(long, value_name = "N")]
        generation: u32,
        /// The key leaked: end the links that it signed at once, seal everything again, and retire it then
        #[arg(long)]
        now: bool,
    },
}

/// Which deployed stack a command is about.
#[derive(clap::Args)]
pub(crate) struct Deployed {
    /// The name that the stack was deployed with, in the account and region of the environment. A local stack NAME is `tocsin-NAME`, with
    /// its emulator's URL in AWS_ENDPOINT_URL
    #[arg(long, value_name = "NAME")]
    stack: String,
}

/// Runs an action.
pub(crate) fn run(action: &Action) -> Result<(), CommandFault> {
    match action {
        Action::Status(stack) => Keys::of(stack)?.status(),
        Action::Rotate(stack) => Keys::of(stack)?.rotate(),
        Action::Reseal(stack) => Keys::of(stack)?.reseal(),
        Action::Retire { stack, generation, now } => Keys::of(stack)?.retire(*generation, *now),
    }
}

/// The functions of a stack that know the data key.
struct Keys<'a> {
    stack: &'a str,
    python: std::path::PathBuf,
}

/// A function's error: its kind and its sentence.
struct Refused {
    kind: String,
    message: String,
}

const PREFERENCES: &str = "PreferencesApiFunction";
const DEAD_LETTERS: &str = "DeadLetterFunction";
/// How often a function is asked again that could not reach AWS.
const TRIES: u32 = 5;
/// How often a retirement is tried. Each time, everything was sealed again before.
const ROUNDS: u32 = 4;

impl<'a> Keys<'a> {
    fn of(stack: &'a Deployed) -> Result<Self, CommandFault> {
        say(&format!("▸ data key of {}", stack.stack));
        Ok(Self { stack: &stack.stack, python: python::environment("sam")?.join("python") })
    }

    /// Invokes a function. A fault of AWS is tried again a few times; every command can be repeated.
    fn ask(&self, function: &str, payload: &Value) -> Result<Value, CommandFault> {
        for attempt in 1.. {
            match self.invoke(function, payload)? {
                Ok(answer) => return Ok(answer),
                Err(refused) if refused.kind == "Unavailable" && attempt < TRIES => {
                    std::thread::sleep(Duration::from_secs(3));
                }
                Err(refused) => {
                    let remedy = "What was done before is done. Run the command again, or see infra/runbook.md, “A data key leaked”";
                    return Err(CommandFault::new(refused.message, remedy));
                }
            }
        }
        Err(CommandFault::new("the function did not answer", "Run the command again"))
    }

    fn invoke(&self, function: &str, payload: &Value) -> Result<Result<Value, Refused>, CommandFault> {
        let mut command = Command::new(&self.python);
        command.arg(root().join("infra/local/invoke.py")).args([self.stack, function, &payload.to_string()]);
        let done = command.stdin(Stdio::null()).output()?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            let said = said.lines().last().unwrap_or_default();
            return Err(CommandFault::new(
                format!("{function} of stack {} could not be invoked: {said}", self.stack),
                "It needs credentials and a region in the environment (aws sts get-caller-identity), with the right to invoke functions",
            ));
        }
        let answer: Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(match text("errorMessage") {
            Some(message) => Err(Refused { kind: text("errorType").unwrap_or_default(), message }),
            None => Ok(answer),
        })
    }

    fn status(&self) -> Result<(), CommandFault> {
        let status = self.ask(PREFERENCES, &json!({"keys": "status"}))?;
        describe(&status).iter().for_each(|line| say(line));
        Ok(())
    }

    fn rotate(&self) -> Result<(), CommandFault> {
        let made = self.ask(PREFERENCES, &json!({"keys": "rotate"}))?;
        say(&format!(
            "▸ generation {} seals and signs. What follows may be interrupted: `cargo xtask keys reseal --stack {}` goes on",
            at(&made, "generation"),
            self.stack
        ));
        self.reseal()
    }

    /// Seals everything with the newest generation, waits until no function seals with an earlier one, and seals what they did meanwhile.
    fn reseal(&self) -> Result<(), CommandFault> {
        self.seal_everything()?;
        let status = self.ask(PREFERENCES, &json!({"keys": "status"}))?;
        if let Some(seconds) = at(&status, "settles_in_seconds").as_u64().filter(|seconds| *seconds > 0) {
            wait(seconds);
            self.seal_everything()?;
        }
        self.status()
    }

    fn seal_everything(&self) -> Result<(), CommandFault> {
        for (function, payload, what) in [
            (PREFERENCES, json!({"keys": "reseal"}), "URLs and secrets of integrations"),
            (DEAD_LETTERS, json!({"reseal": {}}), "dead letters"),
        ] {
            say(&format!("▸ sealing {what}"));
            let mut told = 0;
            loop {
                let answer = self.ask(function, &payload)?;
                let resealed = at(at(&answer, "pass"), "resealed").as_u64().unwrap_or_default();
                if at(&answer, "done") == true {
                    say(&format!("  {resealed} sealed again"));
                    break;
                }
                if resealed > told {
                    say(&format!("  {resealed} so far"));
                    told = resealed;
                }
            }
        }
        Ok(())
    }

    fn retire(&self, generation: u32, now: bool) -> Result<(), CommandFault> {
        for round in 0..ROUNDS {
            let answer = self.ask(PREFERENCES, &json!({"keys": {"retire": {"generation": generation, "now": now}}}))?;
            let message = at(&answer, "message").as_str().unwrap_or_default();
            if at(&answer, "retired") == true {
                say(&format!("✓ {message}"));
                return Ok(());
            }
            if now && round == 0 && at(&answer, "links_ended_at").is_string() {
                say(&format!("▸ links that generation {generation} signed do not work any more"));
            }
            match at(&answer, "waits_for").as_str() {
                Some("settling") => {
                    self.seal_everything()?;
                    wait(at(&answer, "wait_seconds").as_u64().unwrap_or(1));
                }
                Some("sealed") => self.seal_everything()?,
                _ => return Err(CommandFault::new(message, "cargo xtask keys status shows the generations")),
            }
        }
        let status = self.ask(PREFERENCES, &json!({"keys": "status"}))?;
        describe(&status).iter().for_each(|line| say(line));
        Err(CommandFault::new(
            format!("generation {generation} is kept: not everything could be sealed again"),
            "infra/runbook.md, “A data key leaked”, says what to do about what is named above. Then run the command again",
        ))
    }
}

/// Returns a field of an answer; `null` if there is none.
fn at<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn wait(seconds: u64) {
    say(&format!("▸ waiting {seconds} s until no running function seals with an earlier generation"));
    std::thread::sleep(Duration::from_secs(seconds));
}

/// Describes the generations, and what is sealed by which.
fn describe(status: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut lines = Vec::new();
    for one in list(at(status, "generations")) {
        let mut line =
            format!("  generation {}: {}", at(&one, "generation"), text(at(&one, "state")).unwrap_or_default());
        for (name, words) in [
            ("created_at", "made"),
            ("links_work_until", "links until"),
            ("links_ended_at", "links ended"),
            ("retired_at", "retired"),
        ] {
            if let Some(at) = text(at(&one, name)) {
                line.push_str(&format!(", {words} {}", at.get(..16).unwrap_or(&at).replace('T', " ")));
            }
        }
        lines.push(line);
    }
    for (name, what) in [("integrations", "integrations"), ("dead_letters", "dead letters")] {
        let pass = at(status, name);
        if pass.is_null() {
            lines.push(format!("  {what}: never sealed again"));
            continue;
        }
        let ended = match text(at(pass, "finished_at")) {
            Some(at) => format!("seen {}", at.get(..16).unwrap_or(&at).replace('T', " ")),
            None => "not all seen yet".to_owned(),
        };
        let sealed: Vec<String> = at(pass, "sealed_by")
            .as_object()
            .into_iter()
            .flatten()
            .map(|(generation, count)| format!("{count} sealed by generation {generation}"))
            .collect();
        let sealed = if sealed.is_empty() { "nothing is sealed".to_owned() } else { sealed.join(", ") };
        lines.push(format!("  {what}: {sealed} ({ended})"));
        for (name, words) in [("unread", "items that cannot be read"), ("unopened", "values that no key opens")] {
            if at(pass, name).as_u64().is_some_and(|count| count > 0) {
                let examples: Vec<String> = list(at(pass, "examples")).iter().filter_map(text).collect();
                lines.push(format!("  {what}: {} {words}, among {}", at(pass, name), examples.join("; ")));
            }
        }
    }
    let complete = if at(status, "resealed") == true { "yes" } else { "no, or not known yet" };
    lines.push(format!("  everything is sealed by generation {}: {complete}", at(status, "newest")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_described_in_lines_without_a_code() {
        let status = json!({"newest": 2, "resealed": false, "generations": [
            {"generation": 1, "state": "opens what it sealed; its links work", "created_at": "2026-01-01T00:00:00Z",
                "links_work_until": "2027-02-07T10:00:00Z", "links_ended_at": null, "retired_at": null},
            {"generation": 2, "state": "seals and signs", "created_at": "2026-01-02T10:00:01.5Z"}],
            "integrations": {"sealed_by": {"2": 12}, "finished_at": "2026-01-02T10:05:00Z", "unread": 1, "unopened": 0,
                "examples": ["tenant acme"]},
            "dead_letters": null});
        let lines = describe(&status);
        assert_eq!(
            lines,
            [
                "  generation 1: opens what it sealed; its links work, made 2026-01-01 00:00, links until 2027-02-07 10:00",
                "  generation 2: seals and signs, made 2026-01-02 10:00",
                "  integrations: 12 sealed by generation 2 (seen 2026-01-02 10:05)",
                "  integrations: 1 items that cannot be read, among tenant acme",
                "  dead letters: never sealed again",
                "  everything is sealed by generation 2: no, or not known yet",
            ]
        );
    }
}
