//! Trigger  the eight dead-letter queues; direct invocation for an operator
//! Reads    the data keys; the letters to redrive
//! Writes   each letter with its reason and its encrypted body
//! Emits    on redrive, the message to the queue that it was on; metric `DeadLetter`, which has an alarm
//! Fails    AWS fault: the record stays in its dead-letter queue and is retried for 14 days
//! Config   [`config::Config`]
//!
//! A letter is a message that SQS moved after its last receive, or one that a function moved itself with a reason.
//! Direct invocations: `{"list": {"function": "classify", "day": "2026-11-23"}}`, `{"redrive": {"function", "day", "id"?}}`, and
//! `{"reseal": {}}`, which seals all bodies with the newest data key.
//! If a redriven event is older than its incident's last update by then, classify records it without notifying anybody.

pub mod config;
mod origin;
mod redrive;
mod reseal;

use aws::sqs::{OutgoingMessage, Queues};
use config::Config;
use contracts::queue::Correlated;
use futures::stream::{self, StreamExt};
use jiff::SignedDuration;
use origin::{SourceQueue, UNKNOWN_FUNCTION};
use redrive::{Command, LetterSelector, LetterView, RedriveSummary};
use runtime::queue::{QueueFunction, QueueSetup, RecordError, RecordMeta, dead_letter_attributes};
use runtime::{Aws, DirectError, DirectFunction, StartError, clock, metrics};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use store::dead_letters::DeadLetter;
use store::{StoreError, Table};
use vault::{LazyKeyring, Sealed};

/// Letters read at once. Their bodies are all in memory.
const PAGE_SIZE: usize = 50;
/// Letters that are opened, sent and marked at once. A body may have 256 KiB.
const LETTERS_AT_ONCE: usize = 10;
/// How long a redrive runs before it returns where to continue. The function's timeout is 20 s.
const REDRIVE_TIME_MAX: SignedDuration = SignedDuration::from_secs(12);

/// The Lambda function and its clients.
#[derive(Debug)]
pub struct DeadLetters {
    sources: Vec<SourceQueue>,
    table: Table,
    queues: Queues,
    keyring: LazyKeyring,
    retention_days: u32,
}

/// A message from a dead-letter queue. Its body can be any text, and is not printed by `Debug`.
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
        let keyring = LazyKeyring::new(aws.config(), &table, clock::now()).await;
        let retention_days = config.retention_days;
        Ok(Self { sources: config.sources(), table, queues: Queues::new(aws.config()), keyring, retention_days })
    }

    fn setup(&self) -> QueueSetup {
        // There is no further dead-letter queue: a letter that cannot be stored stays where it is.
        QueueSetup { dead_letters: None, sources: Vec::new() }
    }

    /// Accepts any body, because most letters are messages that another function could not parse.
    fn read(&self, body: &str, meta: &RecordMeta) -> Result<Letter, RecordError> {
        let attribute = meta.attributes.get(dead_letter_attributes::CORRELATION_ID).cloned();
        let correlation_id = attribute.or_else(|| origin::correlation_id_of(body)).unwrap_or_default();
        Ok(Letter { body: body.to_owned(), correlation_id })
    }

    async fn handle(&self, letter: Letter, meta: &RecordMeta) -> Result<(), RecordError> {
        let origin = origin::identify_origin(
            &self.sources,
            &meta.message_id,
            &meta.queue,
            meta.moved_from.as_deref(),
            &meta.attributes,
        );
        let keyring = self.keyring.get(clock::now()).await;
        let sealed = keyring
            .map_err(|error| RecordError::retry("vault", &error.to_string()))?
            .seal(&vault::owner_aad("dead-letter", &origin.id), letter.body.as_bytes())
            .map_err(|error| RecordError::retry("vault", &error.to_string()))?;
        let first_sent_at =
            meta.attributes.get(dead_letter_attributes::FIRST_SENT_AT).and_then(|text| text.parse().ok());
        let entry = DeadLetter {
            id: origin.id,
            function: origin.function,
            source_queue: origin.source_queue,
            reason: origin.reason,
            correlation_id: Some(letter.correlation_id).filter(|id| !id.is_empty()),
            first_sent_at: first_sent_at.or(meta.sent_at),
            at: clock::now(),
            body: sealed.into(),
            group: meta.group.clone(),
            redriven_at: None,
            redrives: 0,
        };
        if self.table.record_dead_letter(&entry).await.map_err(runtime::queue::store_error)? {
            metrics::count_by("DeadLetter", "source", &entry.function, 1);
            tracing::error!(letter = entry.id, source = entry.function, reason = entry.reason, "dead letter");
        }
        Ok(())
    }
}

impl DirectFunction for DeadLetters {
    async fn handle_direct(&self, event: Value) -> Result<Value, DirectError> {
        let command: Command = serde_json::from_value(event).map_err(|error| bad_request(&error.to_string()))?;
        match command {
            Command::Reseal {} => self.reseal().await,
            Command::List(selector) => {
                self.validate_function(&selector)?;
                self.list(&selector).await
            }
            Command::Redrive(selector) => {
                self.validate_function(&selector)?;
                let summary = self.redrive(&selector).await?;
                tracing::info!(
                    function = selector.function,
                    redriven = summary.redriven,
                    already = summary.already,
                    failed = summary.failed,
                    "redrive"
                );
                serde_json::to_value(summary).map_err(|_| DirectError::new("Internal", "cannot serialize the result"))
            }
        }
    }
}

impl DeadLetters {
    fn validate_function(&self, selector: &LetterSelector) -> Result<(), DirectError> {
        let mut known: Vec<&str> = self.sources.iter().map(|source| source.function).collect();
        known.dedup();
        known.push(UNKNOWN_FUNCTION);
        if known.contains(&selector.function.as_str()) {
            return Ok(());
        }
        Err(bad_request(&format!("function must be one of {}", known.join(", "))))
    }

    async fn list(&self, selector: &LetterSelector) -> Result<Value, DirectError> {
        let (function, day) = (selector.function.as_str(), selector.day.to_string());
        let (letters, next) = match &selector.id {
            Some(id) => {
                let found = self.table.dead_letter(function, &day, id).await.map_err(unavailable)?;
                (found.into_iter().collect(), None)
            }
            None => {
                let page = self.table.dead_letters(function, &day, selector.after.as_deref(), PAGE_SIZE).await;
                let page = page.map_err(unavailable)?;
                (page.letters, page.next)
            }
        };
        let letters: Vec<LetterView> = letters.into_iter().map(LetterView::from).collect();
        Ok(json!({"letters": letters, "next": next}))
    }

    async fn redrive(&self, selector: &LetterSelector) -> Result<RedriveSummary, DirectError> {
        let (function, day) = (selector.function.as_str(), selector.day.to_string());
        let mut summary = RedriveSummary::default();
        if let Some(id) = &selector.id {
            let found = self.table.dead_letter(function, &day, id).await.map_err(unavailable)?;
            let letter = found.ok_or_else(|| bad_request("id: this function has no such dead letter on this day"))?;
            self.redrive_letters(&[&letter], &mut summary).await;
            return Ok(summary);
        }
        let until = clock::now()
            .saturating_add(REDRIVE_TIME_MAX)
            .map_err(|_| bad_request("the system clock is out of range"))?;
        let mut after = selector.after.clone();
        loop {
            let page =
                self.table.dead_letters(function, &day, after.as_deref(), PAGE_SIZE).await.map_err(unavailable)?;
            if clock::now() > until {
                summary.next = after;
                return Ok(summary);
            }
            let (open, over): (Vec<&DeadLetter>, Vec<&DeadLetter>) =
                page.letters.iter().partition(|letter| redrive::needs_redrive(letter));
            summary.already += u32::try_from(over.len()).unwrap_or(u32::MAX);
            for letters in open.chunks(LETTERS_AT_ONCE) {
                self.redrive_letters(letters, &mut summary).await;
            }
            after = page.letters.last().map(|letter| letter.id.clone()).or(after);
            if page.next.is_none() {
                return Ok(summary);
            }
        }
    }

    /// Redrives letters in batches and counts the results. They are in the order of their ids, which keeps the order within a FIFO group as
    /// far as possible.
    async fn redrive_letters(&self, letters: &[&DeadLetter], summary: &mut RedriveSummary) {
        let mut by_queue: BTreeMap<&str, Vec<(&DeadLetter, OutgoingMessage)>> = BTreeMap::new();
        for letter in letters {
            match self.open_letter(letter).await {
                Ok((url, outgoing)) => by_queue.entry(url).or_default().push((letter, outgoing)),
                Err(cause) => summary.count_failed(letter, &cause),
            }
        }
        for (url, messages) in by_queue {
            let (letters, outgoing): (Vec<&DeadLetter>, Vec<OutgoingMessage>) = messages.into_iter().unzip();
            let unsent = match self.queues.send_all(url, outgoing).await {
                Ok(()) => Vec::new(),
                Err(unsent) => unsent.indices,
            };
            // Marked after the send: a crash in between sends it again, and the queue's function drops the duplicate.
            let marking = letters.iter().enumerate().map(|(place, letter)| {
                let is_sent = !unsent.contains(&place);
                async move {
                    if !is_sent {
                        return (*letter, Err("its source queue did not accept it".to_owned()));
                    }
                    let marked = self.table.mark_redriven(letter, clock::now()).await;
                    (*letter, marked.map_err(|error| error.to_string()))
                }
            });
            let marked: Vec<(&DeadLetter, Result<(), String>)> =
                stream::iter(marking.collect::<Vec<_>>()).buffered(LETTERS_AT_ONCE).collect().await;
            for (letter, result) in marked {
                match result {
                    Ok(()) => {
                        summary.redriven += 1;
                        tracing::info!(letter = letter.id, source = letter.function, "dead letter redriven");
                    }
                    Err(cause) => summary.count_failed(letter, &cause),
                }
            }
        }
    }

    /// Opens a letter: the queue that it goes back to, and the message.
    async fn open_letter(&self, letter: &DeadLetter) -> Result<(&str, OutgoingMessage), String> {
        let url = origin::return_queue_url(&self.sources, &letter.function, &letter.source_queue);
        let url = url.ok_or("its source queue is not known")?;
        let sealed = Sealed::from(letter.body.clone());
        let aad = vault::owner_aad("dead-letter", &letter.id);
        let body = self.keyring.open(&aad, &sealed, clock::now()).await.map_err(|error| error.to_string())?;
        let body = String::from_utf8(body).map_err(|_| "its body is not text")?;
        let fifo = url.ends_with(".fifo");
        let outgoing = OutgoingMessage {
            body,
            group: letter.group.clone().or_else(|| fifo.then(|| letter.id.clone())),
            dedup: fifo.then(|| redrive::deduplication_id(letter)),
            ..OutgoingMessage::default()
        };
        Ok((url, outgoing))
    }
}

fn bad_request(detail: &str) -> DirectError {
    let form = r#"{"list": {"function", "day"}} or {"redrive": {"function", "day", "id"?}}"#;
    DirectError::new("BadRequest", format!("{detail}; send {form}, day as 2026-11-23"))
}

fn unavailable(error: StoreError) -> DirectError {
    DirectError::new("Unavailable", format!("{error}; invoke the function again"))
}
