//! `webhook-verify`: is this delivery genuine, and if not, why not?

#![expect(clippy::print_stdout, reason = "this program's answer is what it prints")]
#![expect(
    clippy::disallowed_methods,
    reason = "a tool on a receiver's machine has that machine's clock and environment"
)]

use anyhow::{Context, Result, bail};
use clap::Parser;
use jiff::Timestamp;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use webhook_verify::{ReceivedWebhook, Secrets, verify};

/// Says whether a webhook of Tocsin's is genuine, or exactly why a receiver refuses it.
///
/// Secrets come from a file or from the environment (WEBHOOK_SECRET, WEBHOOK_OTHER_SECRET), never from the command line, where every
/// user of the machine sees them. Ends with 0 if the webhook is valid, 1 if it is not, 2 if it could not be judged.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A file with the secret, whsec_…
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// A file with another secret that may have signed it: from before or after a rotation
    #[arg(long, value_name = "FILE")]
    other_secret_file: Option<PathBuf>,
    /// A file with the request's headers, one `Name: value` a line
    #[arg(long, value_name = "FILE")]
    headers: Option<PathBuf>,
    /// One header; may be given several times
    #[arg(short = 'H', value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// When the receiver got it (RFC 3339); without it now
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The body, byte for byte; `-` or nothing is standard input
    body: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            println!("cannot judge: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let secret = |file: &Option<PathBuf>, variable: &str| -> Result<Option<String>> {
        match file {
            Some(file) => {
                let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
                // An editor ends the file with a line break; that is not the secret's.
                Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
            None => Ok(std::env::var(variable).ok()),
        }
    };
    let Some(now) = secret(&arguments.secret_file, "WEBHOOK_SECRET")? else {
        bail!("give the secret by --secret-file or in WEBHOOK_SECRET");
    };
    let secrets = Secrets { current: now, other: secret(&arguments.other_secret_file, "WEBHOOK_OTHER_SECRET")? };
    let mut lines = arguments.header.clone();
    if let Some(file) = &arguments.headers {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        lines.extend(text.lines().map(str::to_owned));
    }
    let headers = lines.iter().filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect();
    let mut body = Vec::new();
    match &arguments.body {
        Some(file) if file.as_os_str() != "-" => {
            body = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        }
        _ => drop(std::io::stdin().read_to_end(&mut body).context("reading the body from standard input")?),
    }
    let now = arguments.at.unwrap_or_else(Timestamp::now);
    let verdict = verify(&ReceivedWebhook { headers, body }, &secrets, now);
    let (what, remedy) = verdict.sentences();
    println!("{}: {what}\n{remedy}", if verdict.is_valid() { "valid" } else { "not valid" });
    Ok(if verdict.is_valid() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
