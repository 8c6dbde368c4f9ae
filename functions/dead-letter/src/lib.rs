//! Trigger  the eight dead-letter queues; direct invocation for an operator
//! Reads    the data keys; the letters that are to be sent again
//! Writes   a letter with its sealed body and its reason
//! Emits    on redrive, the message to the queue that it died on; metric `DeadLetter`, which alarms
//! Fails    AWS fault: the record stays in its dead-letter queue and is tried again for 14 days
//! Config   [`config::Config`]
//!
//! Two kinds of letters come: what SQS moved after its last receive, and what a function parked at once with its reason.
//! Directly: `{"list": {"function": "classify", "day": "2026-11-23"}}` and `{"redrive": {"function", "day", "id"?}}`. An event
//! that is older than its incident's last update by then is recorded by classify, not told.

pub mod config;
mod origin;
mod redrive;

use aws::sqs::{Outgoing, Queues};
use config::Config;
use contracts::queue::Correlated;
use jiff::SignedDuration;
use origin::{Source, UNKNOWN};
use redrive::{Command, Outcome, Shown, Which};
use runtime::queue::{Failure, Meta, QueueFunction, Setup, parked};
use runtime::{Aws, Direct, DirectError, StartError, clock, metrics};
use serde::Deserialize;
use serde_json::{Value, json};
use store::dead::DeadLetter;
use store::{StoreError, Table};
use vault::{LazyKeyring, Sealed};

/// Letters of one page: their bodies are in memory at once.
const PAGE: usize = 50;
/// How long a redrive goes on before it answers where to continue; the function's timeout is 20 s.
const REDRIVE_TIME: SignedDuration = SignedDuration::from_secs(12);

/// The function.
#[derive(Debug)]
pub struct DeadLetters {
    sources: Vec<Source>,
    table: Table,
    queues: Queues,
    keyring: LazyKeyring,
}

/// A letter as it comes: any text.
#[derive(Deserialize)]
pub struct Letter {
    body: String,
    correlation_id: String,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Letter").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

impl Correlated for Letter {
    fn correlation_id(&self) -> &str {
        &self.correlation_id
    }
}

impl QueueFunction for DeadLetters {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type Message = Letter;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days);
        let keyring = LazyKeyring::new(aws.config(), &table, &config.kms_key_id, clock::now()).await;
        Ok(Self { sources: config.sources(), table, queues: Queues::new(aws.config()), keyring })
    }

    fn setup(&self) -> Setup {
        // There is no place behind this one: what fails here stays in its queue.
        Setup { dead_letters: None, sources: Vec::new() }
    }

    /// Takes any body: most of what comes here is what others could not read.
    fn read(&self, body: &str, meta: &Meta) -> Result<Letter, String> {
        let said = meta.attributes.get(parked::CORRELATION_ID).cloned();
        let correlation_id = said.or_else(|| origin::correlation_of(body)).unwrap_or_default();
        Ok(Letter { body: body.to_owned(), correlation_id })
    }

    async fn handle(&self, letter: Letter, meta: &Meta) -> Result<(), Failure> {
        let from =
            origin::origin(&self.sources, &meta.message_id, &meta.queue, meta.moved_from.as_deref(), &meta.attributes);
        let keyring = self.keyring.get(clock::now()).await;
        let sealed = keyring
            .map_err(|error| Failure::retry("vault", &error.to_string()))?
            .seal(&vault::aad("dead-letter", &from.id), letter.body.as_bytes())
            .map_err(|error| Failure::retry("vault", &error.to_string()))?;
        let first_sent_at = meta.attributes.get(parked::FIRST_SENT_AT).and_then(|text| text.parse().ok());
        let entry = DeadLetter {
            id: from.id,
            function: from.function,
            source_queue: from.source_queue,
            reason: from.reason,
            correlation_id: Some(letter.correlation_id).filter(|id| !id.is_empty()),
            first_sent_at: first_sent_at.or(meta.sent_at),
            at: clock::now(),
            body: sealed.into(),
            group: meta.group.clone(),
            redriven_at: None,
            redrives: 0,
        };
        if self.table.bury(&entry).await.map_err(runtime::queue::table)? {
            metrics::count_by("DeadLetter", "source", &entry.function, 1);
            tracing::error!(letter = entry.id, source = entry.function, reason = entry.reason, "dead letter");
        }
        Ok(())
    }
}

impl Direct for DeadLetters {
    async fn direct(&self, event: Value) -> Result<Value, DirectError> {
        let command: Command = serde_json::from_value(event).map_err(|error| bad(&error.to_string()))?;
        match command {
            Command::List(which) => {
                self.check(&which)?;
                self.list(&which).await
            }
            Command::Redrive(which) => {
                self.check(&which)?;
                let outcome = self.redrive(&which).await?;
                tracing::info!(
                    function = which.function,
                    redriven = outcome.redriven,
                    already = outcome.already,
                    failed = outcome.failed,
                    "redrive"
                );
                serde_json::to_value(outcome).map_err(|_| DirectError::new("Internal", "the answer cannot be written"))
            }
        }
    }
}

impl DeadLetters {
    fn check(&self, which: &Which) -> Result<(), DirectError> {
        let mut known: Vec<&str> = self.sources.iter().map(|source| source.function).collect();
        known.dedup();
        known.push(UNKNOWN);
        if known.contains(&which.function.as_str()) {
            return Ok(());
        }
        Err(bad(&format!("function must be one of {}", known.join(", "))))
    }

    async fn list(&self, which: &Which) -> Result<Value, DirectError> {
        let (function, day) = (which.function.as_str(), which.day.to_string());
        let (letters, next) = match &which.id {
            Some(id) => {
                let found = self.table.dead_letter(function, &day, id).await.map_err(unavailable)?;
                (found.into_iter().collect(), None)
            }
            None => {
                let page = self.table.dead_letters(function, &day, which.after.as_deref(), PAGE).await;
                let page = page.map_err(unavailable)?;
                (page.letters, page.next)
            }
        };
        let shown: Vec<Shown> = letters.into_iter().map(Shown::from).collect();
        Ok(json!({"letters": shown, "next": next}))
    }

    async fn redrive(&self, which: &Which) -> Result<Outcome, DirectError> {
        let (function, day) = (which.function.as_str(), which.day.to_string());
        let mut outcome = Outcome::default();
        if let Some(id) = &which.id {
            let found = self.table.dead_letter(function, &day, id).await.map_err(unavailable)?;
            let letter = found.ok_or_else(|| bad("id: there is no such dead letter of this function on this day"))?;
            self.send_again(&letter, &mut outcome).await;
            return Ok(outcome);
        }
        let until = clock::now().saturating_add(REDRIVE_TIME).map_err(|_| bad("the clock is at its end"))?;
        let mut after = which.after.clone();
        loop {
            let page = self.table.dead_letters(function, &day, after.as_deref(), PAGE).await.map_err(unavailable)?;
            // One after another: the order within a FIFO group is kept as far as the ids tell, and a burst helps nobody.
            for letter in &page.letters {
                if clock::now() > until {
                    outcome.next = after;
                    return Ok(outcome);
                }
                if redrive::is_left(letter) {
                    self.send_again(letter, &mut outcome).await;
                } else {
                    outcome.already += 1;
                }
                after = Some(letter.id.clone());
            }
            if page.next.is_none() {
                return Ok(outcome);
            }
        }
    }

    async fn send_again(&self, letter: &DeadLetter, outcome: &mut Outcome) {
        match self.try_send_again(letter).await {
            Ok(()) => {
                outcome.redriven += 1;
                tracing::info!(letter = letter.id, source = letter.function, "sent again");
            }
            Err(cause) => {
                outcome.failed += 1;
                tracing::error!(letter = letter.id, source = letter.function, cause, "cannot be sent again");
            }
        }
    }

    async fn try_send_again(&self, letter: &DeadLetter) -> Result<(), String> {
        let url = origin::back_to(&self.sources, &letter.function, &letter.source_queue);
        let url = url.ok_or("nobody knows the queue that it died on")?;
        let sealed = Sealed::from(letter.body.clone());
        let keyring = self.keyring.get(clock::now()).await.map_err(|error| error.to_string())?;
        let body = keyring.open(&vault::aad("dead-letter", &letter.id), &sealed).map_err(|error| error.to_string())?;
        let body = String::from_utf8(body).map_err(|_| "its body is not text")?;
        let fifo = url.ends_with(".fifo");
        let outgoing = Outgoing {
            body,
            group: letter.group.clone().or_else(|| fifo.then(|| letter.id.clone())),
            dedup: fifo.then(|| redrive::deduplication_id(letter)),
            ..Outgoing::default()
        };
        self.queues.send(url, &outgoing).await.map_err(|error| error.to_string())?;
        // After the send: a crash in between sends it once more, and the queue's function drops what it has done.
        self.table.redriven(letter, clock::now()).await.map_err(|error| error.to_string())
    }
}

fn bad(detail: &str) -> DirectError {
    let form = r#"{"list": {"function", "day"}} or {"redrive": {"function", "day", "id"?}}"#;
    DirectError::new("BadRequest", format!("{detail}; send {form}, day as 2026-11-23"))
}

fn unavailable(error: StoreError) -> DirectError {
    DirectError::new("Unavailable", format!("{error}; invoke this again"))
}
