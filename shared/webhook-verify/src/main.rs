//! `webhook-verify`: verifies a webhook and, if it is invalid, says why.

#![expect(clippy::print_stdout, reason = "a command-line tool prints its result")]
#![expect(
    clippy::disallowed_methods,
    reason = "a tool on a receiver's machine uses that machine's clock and environment"
)]

use anyhow::{Context, Result, bail};
use clap::Parser;
use jiff::Timestamp;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use webhook_verify::{ReceivedWebhook, Secrets, verify};

/// Verifies a webhook from Tocsin and, if it is invalid, says why.
///
/// Secrets are read from a file or from the environment (WEBHOOK_SECRET, WEBHOOK_OTHER_SECRET), never from the command line, where every
/// user of the machine can see them. Exits with 0 if the webhook is valid, 1 if it is not, and 2 if it could not be verified.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A file with the secret, whsec_…
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// A file with another secret that may have signed the webhook: from before or after a rotation
    #[arg(long, value_name = "FILE")]
    other_secret_file: Option<PathBuf>,
    /// A file with the request's headers, one `Name: value` per line
    #[arg(long, value_name = "FILE")]
    headers: Option<PathBuf>,
    /// A header; can be repeated
    #[arg(short = 'H', value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// The time at which the webhook was received (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// A file with the body, byte for byte; `-` or none reads standard input
    body: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            println!("cannot verify: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let secret = |file: &Option<PathBuf>, variable: &str| -> Result<Option<String>> {
        match file {
            Some(file) => {
                let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
                // Editors add a line break at the end of the file, which is not part of the secret.
                Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
            None => Ok(std::env::var(variable).ok()),
        }
    };
    let Some(now) = secret(&arguments.secret_file, "WEBHOOK_SECRET")? else {
        bail!("no secret; pass --secret-file FILE or set WEBHOOK_SECRET");
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
    let verification = verify(&ReceivedWebhook { headers, body }, &secrets, now);
    let (what, remedy) = verification.sentences();
    println!("{}: {what}\n{remedy}", if verification.is_valid() { "valid" } else { "not valid" });
    Ok(if verification.is_valid() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
