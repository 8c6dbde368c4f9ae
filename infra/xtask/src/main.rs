//! `cargo xtask …`: the commands of this repository. It uses no AWS crate and prints its first line within 20 seconds.

mod build;
mod check;
mod demo;
mod http;
mod keys;
mod process;
mod python;
mod removals;
mod seed;
mod simulate;
mod stack;

use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;

/// The commands of this repository. Each does its own setup and says what to do if something is missing.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run Tocsin on this machine: the real template and binaries on an emulator of AWS, with demo tenants
    ///
    /// Builds, starts the emulator with IAM enforced, deploys template.yaml with the SAM CLI, creates three demo tenants, posts four sample
    /// incidents and shows what was delivered and why the rest was not. The first run takes about 8 minutes, later ones about 1.
    Up {
        /// Return to the shell and leave the stack running until `cargo xtask down`
        #[arg(long)]
        detach: bool,
        #[command(flatten)]
        stack: StackName,
    },
    /// Stop the local stack and delete its data
    Down(StackName),
    /// Post the sample incidents again and show what was delivered
    Demo(StackName),
    /// Print each message as it arrives: recipient, channel and reason
    Watch(StackName),
    /// Run all tests from nothing, on local stacks of their own
    ///
    /// Takes 25 to 30 minutes the first time on two cores. With FILTER, starts only the stacks that the chosen tests need.
    Test {
        /// Run only the tests that need no local stack: about a minute when they are built
        #[arg(long)]
        fast: bool,
        /// Run bad hours drawn from seeds: AWS and receivers fail, functions are killed, and every alert arrives or has a reason
        ///
        /// Goes on with the seed after the last one.
        #[arg(long, group = "drawn", conflicts_with_all = ["fast", "arguments"])]
        faults: bool,
        /// Take permissions from the functions, one at a time, and see whether the tests notice each
        ///
        /// Draws twenty from what the last run of all tests needed.
        #[arg(long, group = "drawn", conflicts_with_all = ["fast", "arguments"])]
        removals: bool,
        /// With --faults: run only this seed. With --removals: draw by this seed
        #[arg(long, value_name = "N", requires = "drawn")]
        seed: Option<u64>,
        /// With --removals: how many permissions
        #[arg(long, value_name = "COUNT", default_value_t = 20, requires = "removals")]
        count: usize,
        /// With --faults: for how many minutes
        #[arg(long, value_name = "M", default_value_t = 10, requires = "faults")]
        minutes: u64,
        /// Run only tests whose name contains this text; further arguments go to `cargo nextest run`
        #[arg(value_name = "FILTER", trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run production's stories in simulated worlds, where anything may fail between any two effects
    Simulate {
        /// How many worlds to run
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// Run only the world of this seed, and print its trace
        #[arg(long, value_name = "SEED")]
        seed: Option<u64>,
        /// Plant faults into a copy of the sources, and see whether the simulation finds each within 2,000 worlds; with NAME, only those
        /// whose name contains it
        #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["seeds", "seed"])]
        faults: Option<String>,
    },
    /// Look at the data key of a deployed stack, make the next generation, or end one that leaked
    Keys {
        #[command(subcommand)]
        action: keys::Action,
    },
    /// Check formatting, lints, documentation, licenses and template.yaml
    Check,
    /// Build every function for AWS (arm64) with `sam build`
    ///
    /// A release build of all functions takes about half an hour on two cores.
    Build,
    /// Build, then deploy to AWS with `sam deploy`
    ///
    /// Without arguments it runs `sam deploy --guided`, which asks for everything it needs. Needs AWS credentials in the environment.
    Deploy {
        /// Arguments for `sam deploy`, instead of `--guided`
        #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Which local stack a command is about.
#[derive(Args)]
struct StackName {
    /// A second stack beside the usual one, with ports of its own; its files are in target/NAME
    #[arg(long, default_value = stack::DEFAULT_NAME, value_parser = stack_name)]
    name: String,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up { detach, stack } => stack::up(&stack.name, detach),
        Command::Down(stack) => stack::down_and_report(&stack.name),
        Command::Demo(stack) => demo::run(&stack.name),
        Command::Watch(stack) => demo::watch(&stack.name),
        Command::Test { faults: true, seed, minutes, .. } => check::fault_rounds(check::FaultRounds { seed, minutes }),
        Command::Test { removals: true, seed, count, .. } => {
            removals::run(removals::Removals { seed: seed.unwrap_or(1), count })
        }
        Command::Test { fast: true, arguments, .. } => check::fast_tests(&arguments),
        Command::Test { fast: false, arguments, .. } => check::test(&arguments),
        Command::Simulate { faults: Some(name), .. } => simulate::find_planted(&name),
        Command::Simulate { seeds, seed, .. } => simulate::run(seeds, seed),
        Command::Keys { action } => keys::run(&action),
        Command::Check => check::check(),
        Command::Build => check::build(),
        Command::Deploy { arguments } => check::deploy(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            process::say(&format!("\n✗ {fault}"));
            ExitCode::FAILURE
        }
    }
}

/// Accepts a stack's name: 1 to 30 of a-z, 0-9 and -, and not the name of a folder that cargo or this tool keeps in target/.
fn stack_name(name: &str) -> Result<String, String> {
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if name.is_empty() || name.len() > 30 || name.starts_with('-') || !name.chars().all(allowed) {
        return Err("use 1 to 30 of a-z, 0-9 and -, beginning with a letter or digit".to_owned());
    }
    if ["debug", "release", "doc", "tmp", "tools", "venv", "xtask", "check", "screens"].contains(&name) {
        return Err(format!("target/{name} is a folder of the build; choose another name"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_subcommand_explains_itself_and_starts_nothing() {
        for command in ["up", "down", "demo", "watch", "test", "simulate", "keys", "check", "build", "deploy"] {
            let asked = Cli::try_parse_from(["xtask", command, "--help"]);
            let error = asked.err().map(|error| (error.kind(), error.exit_code()));
            assert_eq!(error, Some((clap::error::ErrorKind::DisplayHelp, 0)), "{command}");
        }
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_of_other_tools_are_passed_on() {
        let parsed = Cli::try_parse_from(["xtask", "deploy", "--config-env", "prod", "--no-confirm-changeset"]);
        let Ok(Cli { command: Command::Deploy { arguments } }) = parsed else { panic!("not a deploy") };
        assert_eq!(arguments, ["--config-env", "prod", "--no-confirm-changeset"]);
        let parsed = Cli::try_parse_from(["xtask", "test", "storms", "--no-capture"]);
        let Ok(Cli { command: Command::Test { arguments, .. } }) = parsed else { panic!("not a test") };
        assert_eq!(arguments, ["storms", "--no-capture"]);
        let parsed = Cli::try_parse_from(["xtask", "test", "storms", "--", "--exact"]);
        let Ok(Cli { command: Command::Test { arguments, .. } }) = parsed else { panic!("not a test") };
        assert_eq!(arguments, ["storms", "--", "--exact"]);
    }

    #[test]
    fn a_data_key_is_retired_by_its_number_and_at_once_only_if_that_is_said() {
        let retire = |arguments: &[&str]| {
            let all = ["xtask", "keys", "retire", "--stack", "tocsin"].into_iter().chain(arguments.iter().copied());
            match Cli::try_parse_from(all).ok()?.command {
                Command::Keys { action: keys::Action::Retire { generation, now, .. } } => Some((generation, now)),
                _ => None,
            }
        };
        assert_eq!(retire(&["--generation", "1"]), Some((1, false)));
        assert_eq!(retire(&["--generation", "1", "--now"]), Some((1, true)));
        assert_eq!(retire(&["--now"]), None);
        assert!(Cli::try_parse_from(["xtask", "keys", "rotate"]).is_err(), "which stack is never guessed");
    }

    #[test]
    fn a_stack_is_not_named_like_a_folder_of_the_build() {
        assert!(Cli::try_parse_from(["xtask", "up", "--name", "second"]).is_ok());
        for name in ["debug", "Venv", "-x", "", "a/b"] {
            assert!(Cli::try_parse_from(["xtask", "up", &format!("--name={name}")]).is_err(), "{name}");
        }
    }
}
