//! Seals the bodies of dead letters with the newest generation of the data key, so that an earlier one can end.
//!
//! There is no list of the days that have letters. Every day is asked for on which a letter may have been recorded that is still kept.

use crate::origin::UNKNOWN_FUNCTION;
use crate::{DeadLetters, unavailable};
use domain::data_key::{DataKeyGeneration, ResealPass};
use futures::stream::{self, StreamExt};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use runtime::{DirectError, clock};
use serde_json::{Value, json};
use store::StoreError;
use store::data_keys::SealedValues;
use store::dead_letters::LetterBody;
use vault::{Keyring, Sealed, VaultError};

/// Letters read at once. Their bodies are all in memory.
const PAGE_SIZE: usize = 50;
/// Letters that are sealed at once.
const LETTERS_AT_ONCE: usize = 10;
/// How long one invocation seals. The function's timeout is 20 s.
const RESEAL_TIME_MAX: SignedDuration = SignedDuration::from_secs(12);
/// DynamoDB deletes expired items within a few days.
const DAYS_OF_EXPIRY: i64 = 3;

/// A place among the letters: function, day, and the letter after which it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    function: String,
    day: Date,
    after: Option<String>,
}

impl Place {
    fn parse(cursor: &str) -> Option<Self> {
        let mut parts = cursor.splitn(3, '/');
        let (function, day) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        Some(Self { function, day, after: parts.next().filter(|id| !id.is_empty()).map(str::to_owned) })
    }

    fn cursor(&self) -> String {
        format!("{}/{}/{}", self.function, self.day, self.after.as_deref().unwrap_or_default())
    }

    /// The next function's letters of the day, or the first one's of the next day; `None` after `last`.
    fn next(&self, functions: &[&str], last: Date) -> Option<Self> {
        let position = functions.iter().position(|function| *function == self.function);
        let (function, day) = match position.and_then(|position| functions.get(position + 1)) {
            Some(next) => (*next, self.day),
            None => (*functions.first()?, self.day.tomorrow().ok()?),
        };
        (day <= last).then(|| Self { function: function.to_owned(), day, after: None })
    }
}

fn utc_date(at: Timestamp) -> Date {
    at.to_zoned_datetime(TimeZone::UTC).date()
}

/// What was found of one letter.
enum Found {
    Resealed,
    Current,
    Unopened,
    /// It expired meanwhile.
    Gone,
}

impl DeadLetters {
    /// Goes on with the pass over all letters, for some seconds. The table says where.
    pub(crate) async fn reseal(&self) -> Result<Value, DirectError> {
        let began = clock::now();
        let generations = self.table.data_keys().await.map_err(unavailable)?;
        let newest: Option<DataKeyGeneration> = generations.into_iter().last().map(|key| key.generation);
        let newest = newest.ok_or_else(|| DirectError::new("Unavailable", "there is no data key yet"))?;
        // Read after the generations, so that it has the newest of them.
        let keyring = self.keyring.reload(began).await.map_err(|error| {
            tracing::error!(%error, "cannot load the data keys");
            DirectError::new("Unavailable", format!("{error}; run the command again"))
        })?;
        let stored = self.table.reseal_pass(SealedValues::DeadLetters).await.map_err(unavailable)?;
        let mut pass = ResealPass::resume(stored, &newest, began);
        let mut done = Ok(());
        if pass.finished_at.is_none() {
            let until = began.saturating_add(RESEAL_TIME_MAX).unwrap_or(began);
            done = self.go_on(&mut pass, &keyring, until).await;
            // Also after a fault: what was done before it is done.
            self.table.save_reseal_pass(SealedValues::DeadLetters, &pass).await.map_err(unavailable)?;
        }
        done.map_err(unavailable)?;
        Ok(json!({"done": pass.finished_at.is_some(), "pass": pass}))
    }

    async fn go_on(&self, pass: &mut ResealPass, keyring: &Keyring, until: Timestamp) -> Result<(), StoreError> {
        let mut functions: Vec<&str> = self.sources.iter().map(|source| source.function).collect();
        functions.dedup();
        functions.push(UNKNOWN_FUNCTION);
        let oldest = utc_date(pass.started_at).saturating_sub((i64::from(self.retention_days) + DAYS_OF_EXPIRY).days());
        let begin =
            || Place { function: functions.first().copied().unwrap_or_default().to_owned(), day: oldest, after: None };
        let mut place = pass.cursor.as_deref().and_then(Place::parse).unwrap_or_else(begin);
        loop {
            let day = place.day.to_string();
            let page = self.table.letter_bodies(&place.function, &day, place.after.as_deref(), PAGE_SIZE).await?;
            let sealing = page.bodies.iter().map(|letter| self.reseal_letter(keyring, &place.function, &day, letter));
            let found: Vec<Result<Found, StoreError>> =
                stream::iter(sealing.collect::<Vec<_>>()).buffered(LETTERS_AT_ONCE).collect().await;
            // A page is counted as a whole: after a fault it is done again.
            let found = found.into_iter().collect::<Result<Vec<Found>, StoreError>>()?;
            for (letter, found) in page.bodies.iter().zip(found) {
                match found {
                    Found::Resealed => pass.count_resealed(),
                    Found::Current => pass.count_sealed(pass.generation),
                    Found::Unopened => pass.count_unopened(format!("{} {day} {}", place.function, letter.id)),
                    Found::Gone => {}
                }
            }
            for id in page.unread {
                pass.count_unopened(format!("{} {day} {id}", place.function));
            }
            let next = match page.next {
                Some(after) => Some(Place { after: Some(after), ..place }),
                None => place.next(&functions, utc_date(clock::now())),
            };
            let Some(next) = next else {
                pass.cursor = None;
                pass.finished_at = Some(clock::now());
                tracing::info!(
                    generation = pass.generation,
                    resealed = pass.resealed,
                    unopened = pass.unopened,
                    "a pass over the dead letters is over"
                );
                return Ok(());
            };
            place = next;
            pass.cursor = Some(place.cursor());
            if clock::now() > until {
                return Ok(());
            }
        }
    }

    async fn reseal_letter(
        &self,
        keyring: &Keyring,
        function: &str,
        day: &str,
        letter: &LetterBody,
    ) -> Result<Found, StoreError> {
        match sealed_again(keyring, letter) {
            Ok(Some(sealed)) => {
                let replaced = self.table.replace_letter_body(function, day, letter, sealed.as_str()).await?;
                Ok(if replaced { Found::Resealed } else { Found::Gone })
            }
            Ok(None) => Ok(Found::Current),
            Err(error) => {
                tracing::error!(letter = letter.id, source = function, %error, "a dead letter cannot be sealed again");
                Ok(Found::Unopened)
            }
        }
    }
}

fn sealed_again(keyring: &Keyring, letter: &LetterBody) -> Result<Option<Sealed>, VaultError> {
    keyring.reseal(&vault::owner_aad("dead-letter", &letter.id), &Sealed::from(letter.sealed.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_visits_every_function_of_every_day_once_and_ends() {
        let functions = ["intake", "deliver-sms", "unknown"];
        let day = |text: &str| text.parse::<Date>().unwrap();
        let first = Place { function: "intake".into(), day: day("2026-02-27"), after: None };
        let mut visited = vec![first.cursor()];
        let mut place = first;
        while let Some(next) = place.next(&functions, day("2026-03-01")) {
            assert_eq!(Place::parse(&next.cursor()), Some(next.clone()));
            visited.push(next.cursor());
            place = next;
        }
        assert_eq!(visited.len(), 9);
        assert_eq!((visited[2].as_str(), visited[3].as_str()), ("unknown/2026-02-27/", "intake/2026-02-28/"));
        let within = Place { function: "intake".into(), day: day("2026-02-27"), after: Some("m-1".into()) };
        assert_eq!(Place::parse(&within.cursor()), Some(within));
        assert_eq!(Place::parse("intake/yesterday/"), None);
    }
}
