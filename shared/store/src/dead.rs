//! Dead letters: what could not be handled, kept with its reason until somebody redrives it.

use crate::{Item, StoreError, Table, failed, item, keys, number, read, sort_key, text};
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What stands between a letter's id and the number of a further part of its body.
const PART: &str = "#BODY#";
/// Bytes of a sealed body in one item: an item takes 400 KB, a message is up to 1 MiB, and none may be lost for its size.
const PART_BYTES: usize = 300_000;

/// A dead letter. The body is sealed: it may hold addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The SQS message id of the letter; the same for every copy of it.
    pub id: String,
    /// The function whose queue it comes from.
    pub function: String,
    /// The name of the queue that it comes from.
    pub source_queue: String,
    /// Why it died.
    pub reason: String,
    /// The upstream's request, if it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// When it was first sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_sent_at: Option<Timestamp>,
    /// When it was recorded.
    pub at: Timestamp,
    /// The sealed body.
    pub body: String,
    /// The FIFO group, for FIFO queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// When it was sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redriven_at: Option<Timestamp>,
    /// How often it was sent again.
    #[serde(default)]
    pub redrives: u32,
}

/// A page of dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadPage {
    /// The letters, by id.
    pub letters: Vec<DeadLetter>,
    /// The letter behind which the next page begins, if there may be one.
    pub next: Option<String>,
}

impl Table {
    /// Records a dead letter; recording it again changes nothing. `true` if it is new.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn bury(&self, letter: &DeadLetter) -> Result<bool, StoreError> {
        let pk = keys::dead(&letter.function, &day(letter.at));
        let expiry = Some(self.expiry(letter.at));
        let mut head = item(&pk, &letter.id, letter, expiry)?;
        let parts = split(&letter.body);
        head.insert("body".to_owned(), text(parts.first().copied().unwrap_or_default()));
        let mut writes = vec![self.put_action(head, Some("attribute_not_exists(pk)"), vec![])?];
        for (place, part) in parts.iter().enumerate().skip(1) {
            let mut entry = Item::from([
                ("pk".to_owned(), text(&pk)),
                ("sk".to_owned(), text(&format!("{}{PART}{place:02}", letter.id))),
                ("body".to_owned(), text(part)),
            ]);
            if let Some(at) = expiry {
                entry.insert("expires_at".to_owned(), number(at));
            }
            writes.push(self.put_action(entry, None, vec![])?);
        }
        Ok(self.transact(writes).await?.is_none())
    }

    /// The dead letters of one function on one day (`2026-11-23`, UTC) behind the letter `after`, by id, about `limit`.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn dead_letters(
        &self,
        function: &str,
        day: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<DeadPage, StoreError> {
        let pk = keys::dead(function, day);
        // "$" is the first character behind "#": behind the letter and every part of it.
        let from = after.map_or_else(|| "0".to_owned(), |id| format!("{id}$"));
        let found = self.query(&pk, &from, "\u{10ffff}", limit).await?;
        let full = found.len() >= limit;
        let mut letters = assembled(found)?;
        if let (true, Some(last)) = (full, letters.last_mut()) {
            // The page may have ended within the last letter's body.
            if let Some(whole) = self.dead_letter(function, day, &last.id).await? {
                *last = whole;
            }
        }
        let next = letters.last().filter(|_| full).map(|last| last.id.clone());
        Ok(DeadPage { letters, next })
    }

    /// One dead letter.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn dead_letter(&self, function: &str, day: &str, id: &str) -> Result<Option<DeadLetter>, StoreError> {
        let pk = keys::dead(function, day);
        let found = self.query(&pk, id, &format!("{id}{PART}~"), usize::MAX).await?;
        Ok(assembled(found)?.into_iter().find(|letter| letter.id == id))
    }

    /// Notes that a dead letter was sent again.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn redriven(&self, letter: &DeadLetter, now: Timestamp) -> Result<(), StoreError> {
        let request = self.client.update_item().table_name(&self.name);
        let request =
            request.key("pk", text(&keys::dead(&letter.function, &day(letter.at)))).key("sk", text(&letter.id));
        let request = request
            .update_expression("SET redriven_at = :now, redrives = if_not_exists(redrives, :zero) + :one")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":now", text(&now.to_string()))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1));
        request.send().await.map(drop).map_err(|error| failed("UpdateItem", &error))
    }
}

/// Letters from their items in key order: each letter's first, then the further parts of its body.
fn assembled(items: Vec<Item>) -> Result<Vec<DeadLetter>, StoreError> {
    let mut letters: Vec<DeadLetter> = Vec::new();
    for mut found in items {
        let sk = sort_key(&found).to_owned();
        match sk.split_once(PART) {
            None => letters.push(read(found, "a dead letter")?),
            Some((id, _)) => {
                if let (Some(letter), Some(AttributeValue::S(part))) = (letters.last_mut(), found.remove("body"))
                    && letter.id == id
                {
                    letter.body.push_str(&part);
                }
            }
        }
    }
    Ok(letters)
}

/// A body in parts that each fit an item. Sealed text is ASCII, so every cut is between two characters.
fn split(body: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = body;
    while rest.len() > PART_BYTES && rest.is_char_boundary(PART_BYTES) {
        let (part, after) = rest.split_at(PART_BYTES);
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

/// The day of a moment, in UTC.
#[must_use]
pub fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(id: &str, body: &str) -> DeadLetter {
        DeadLetter {
            id: id.into(),
            function: "classify".into(),
            source_queue: "q".into(),
            reason: "max_receives".into(),
            correlation_id: None,
            first_sent_at: None,
            at: Timestamp::UNIX_EPOCH,
            body: body.into(),
            group: None,
            redriven_at: None,
            redrives: 0,
        }
    }

    #[test]
    fn a_body_of_any_size_comes_back_whole() {
        for size in [0, 1, PART_BYTES, PART_BYTES + 1, 1_500_000] {
            let body = "x".repeat(size);
            let parts = split(&body);
            assert!(parts.iter().all(|part| part.len() <= PART_BYTES), "{size}");
            let mut items = vec![item("p", "a", &letter("a", parts[0]), None).unwrap()];
            for (place, part) in parts.iter().enumerate().skip(1) {
                let sk = format!("a{PART}{place:02}");
                items.push(Item::from([("sk".into(), text(&sk)), ("body".into(), text(part))]));
            }
            items.push(item("p", "b", &letter("b", "other"), None).unwrap());
            let letters = assembled(items).unwrap();
            assert_eq!((letters.len(), letters[0].body.len(), letters[1].body.as_str()), (2, size, "other"));
        }
    }
}
