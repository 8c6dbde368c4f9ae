//! Dead letters: messages that could not be processed, kept with the reason until an operator redrives them.

use crate::{Item, StoreError, Table, item, keys, number, read, sort_key, store_error, text};
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Separates a letter's id from the number of a further part of its body in the sort key.
const PART: &str = "#BODY#";
/// Maximum bytes of a sealed body in one item. A DynamoDB item holds 400 KB and an SQS message up to 1 MiB, so a large body is split.
const PART_BYTES: usize = 300_000;

/// A dead letter. The body is sealed, because it may contain addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// SQS message id of the letter, the same for every copy of it.
    pub id: String,
    /// Name of the function that consumes the source queue.
    pub function: String,
    /// Name of the queue that the message came from.
    pub source_queue: String,
    /// Why the message could not be processed.
    pub reason: String,
    /// Correlation id of the upstream request, if the message could be parsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// When the message was first sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_sent_at: Option<Timestamp>,
    /// When the letter was recorded.
    pub at: Timestamp,
    /// The sealed message body.
    pub body: String,
    /// Message group, for FIFO queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// When the letter was last redriven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redriven_at: Option<Timestamp>,
    /// How many times the letter was redriven.
    #[serde(default)]
    pub redrives: u32,
}

/// A page of a function's dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterPage {
    /// The letters, ordered by id.
    pub letters: Vec<DeadLetter>,
    /// Id of the letter after which the next page begins; `None` on the last page.
    pub next: Option<String>,
}

/// The sealed body of a dead letter, without what is known of the letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterBody {
    /// Id of the letter.
    pub id: String,
    /// The sealed message body.
    pub sealed: String,
    /// When its items are deleted, in Unix seconds.
    expires_at: Option<String>,
}

/// A page of the bodies of a function's dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterBodyPage {
    /// The bodies, ordered by the letters' ids.
    pub bodies: Vec<LetterBody>,
    /// Ids of letters without a body.
    pub unread: Vec<String>,
    /// Id of the letter after which the next page begins; `None` on the last page.
    pub next: Option<String>,
}

impl Table {
    /// Records a dead letter. Returns whether it is new; recording it again changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn record_dead_letter(&self, letter: &DeadLetter) -> Result<bool, StoreError> {
        let pk = keys::dead_letters(&letter.function, &utc_day(letter.at));
        let expiry = Some(self.expiry(letter.at));
        let mut head = item(&pk, &letter.id, letter, expiry)?;
        let parts = split_body(&letter.body);
        head.insert("body".to_owned(), text(parts.first().copied().unwrap_or_default()));
        let mut writes = vec![self.put_action(head, Some("attribute_not_exists(pk)"), vec![])?];
        for (index, part) in parts.iter().enumerate().skip(1) {
            let mut entry = body_part(&pk, &letter.id, index, part);
            if let Some(at) = expiry {
                entry.insert("expires_at".to_owned(), number(at));
            }
            writes.push(self.put_action(entry, None, vec![])?);
        }
        Ok(self.transact(writes).await?.is_none())
    }

    /// Returns a page of about `limit` dead letters of a function on a day (`2026-11-23`, UTC), ordered by id, after the letter `after`.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn dead_letters(
        &self,
        function: &str,
        day: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<DeadLetterPage, StoreError> {
        let pk = keys::dead_letters(function, day);
        // "$" is the character after "#", so this key sorts after the letter and all its parts.
        let from = after.map_or_else(|| "0".to_owned(), |id| format!("{id}$"));
        let found = self.query(&pk, &from, "\u{10ffff}", limit).await?;
        let full = found.len() >= limit;
        let mut letters = assemble_letters(found)?;
        if let (true, Some(last)) = (full, letters.last_mut()) {
            // The page may have cut off the last letter's body.
            if let Some(whole) = self.dead_letter(function, day, &last.id).await? {
                *last = whole;
            }
        }
        let next = letters.last().filter(|_| full).map(|last| last.id.clone());
        Ok(DeadLetterPage { letters, next })
    }

    /// Returns one dead letter with its whole body.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn dead_letter(&self, function: &str, day: &str, id: &str) -> Result<Option<DeadLetter>, StoreError> {
        let pk = keys::dead_letters(function, day);
        let found = self.query(&pk, id, &format!("{id}{PART}~"), usize::MAX).await?;
        Ok(assemble_letters(found)?.into_iter().find(|letter| letter.id == id))
    }

    /// Returns a page of the sealed bodies of a function's dead letters of a day, as [`Table::dead_letters`] does. A letter of which nothing
    /// else can be read has its body still.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn letter_bodies(
        &self,
        function: &str,
        day: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<LetterBodyPage, StoreError> {
        let pk = keys::dead_letters(function, day);
        let from = after.map_or_else(|| "0".to_owned(), |id| format!("{id}$"));
        let mut found = self.query(&pk, &from, "\u{10ffff}", limit).await?;
        let mut page = LetterBodyPage::default();
        if found.len() >= limit
            && let Some(last) = found.last().map(|item| letter_of(sort_key(item)).to_owned())
        {
            // The page may have cut off the last letter's body.
            found.retain(|item| letter_of(sort_key(item)) != last);
            found.extend(self.query(&pk, &last, &format!("{last}{PART}~"), usize::MAX).await?);
            page.next = Some(last);
        }
        assemble_bodies(found, &mut page);
        Ok(page)
    }

    /// Replaces the sealed body of a dead letter, and changes nothing else of it. Returns `false` if the letter is gone.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn replace_letter_body(
        &self,
        function: &str,
        day: &str,
        letter: &LetterBody,
        sealed: &str,
    ) -> Result<bool, StoreError> {
        let pk = keys::dead_letters(function, day);
        let mut parts = split_body(sealed).into_iter();
        let head = Update::builder().table_name(&self.name).key("pk", text(&pk)).key("sk", text(&letter.id));
        let head = head.update_expression("SET body = :body").condition_expression("attribute_exists(pk)");
        let head = head.expression_attribute_values(":body", text(parts.next().unwrap_or_default()));
        let head = head.build().map_err(|_| crate::build_error())?;
        let mut writes = vec![TransactWriteItem::builder().update(head).build()];
        // There are never fewer parts than before: only the generation's number may get longer.
        for (index, part) in parts.enumerate() {
            let mut entry = body_part(&pk, &letter.id, index + 1, part);
            if let Some(at) = &letter.expires_at {
                entry.insert("expires_at".to_owned(), number(at));
            }
            writes.push(self.put_action(entry, None, vec![])?);
        }
        Ok(self.transact(writes).await?.is_none())
    }

    /// Records that a dead letter was redriven at `now`.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn mark_redriven(&self, letter: &DeadLetter, now: Timestamp) -> Result<(), StoreError> {
        let request = self.client.update_item().table_name(&self.name);
        let request = request
            .key("pk", text(&keys::dead_letters(&letter.function, &utc_day(letter.at))))
            .key("sk", text(&letter.id));
        let request = request
            .update_expression("SET redriven_at = :now, redrives = if_not_exists(redrives, :zero) + :one")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":now", text(&now.to_string()))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1));
        request.send().await.map(drop).map_err(|error| store_error("UpdateItem", &error))
    }
}

/// Builds the item of a further part of a body.
fn body_part(pk: &str, id: &str, index: usize, part: &str) -> Item {
    Item::from([
        ("pk".to_owned(), text(pk)),
        ("sk".to_owned(), text(&format!("{id}{PART}{index:02}"))),
        ("body".to_owned(), text(part)),
    ])
}

/// Returns the id of the letter that an item belongs to.
fn letter_of(sort_key: &str) -> &str {
    sort_key.split_once(PART).map_or(sort_key, |(id, _)| id)
}

/// Assembles bodies from the items of letters in key order.
fn assemble_bodies(items: Vec<Item>, page: &mut LetterBodyPage) {
    for mut found in items {
        let sk = sort_key(&found).to_owned();
        let part = match found.remove("body") {
            Some(AttributeValue::S(part)) => Some(part),
            _ => None,
        };
        let id = letter_of(&sk);
        match (part, page.bodies.last_mut().filter(|body| body.id == id && sk.contains(PART))) {
            (Some(part), Some(body)) => body.sealed.push_str(&part),
            (Some(sealed), None) if !sk.contains(PART) => {
                let expires_at = found.get("expires_at").and_then(|value| value.as_n().ok()).cloned();
                page.bodies.push(LetterBody { id: id.to_owned(), sealed, expires_at });
            }
            _ => page.unread.push(id.to_owned()),
        }
    }
}

/// Assembles letters from their items in key order: each letter's first item, then the further parts of its body.
fn assemble_letters(items: Vec<Item>) -> Result<Vec<DeadLetter>, StoreError> {
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

/// Splits a body into parts that fit an item. Sealed text is ASCII, so every cut is between two characters.
fn split_body(body: &str) -> Vec<&str> {
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

/// Formats the UTC date of a time, such as `2026-11-23`.
#[must_use]
pub fn utc_day(at: Timestamp) -> String {
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
    fn a_body_of_any_size_is_reassembled_unchanged() {
        for size in [0, 1, PART_BYTES, PART_BYTES + 1, 1_500_000] {
            let body = "x".repeat(size);
            let parts = split_body(&body);
            assert!(parts.iter().all(|part| part.len() <= PART_BYTES), "{size}");
            let mut items = vec![item("p", "a", &letter("a", parts[0]), None).unwrap()];
            for (index, part) in parts.iter().enumerate().skip(1) {
                let sk = format!("a{PART}{index:02}");
                items.push(Item::from([("sk".into(), text(&sk)), ("body".into(), text(part))]));
            }
            items.push(item("p", "b", &letter("b", "other"), None).unwrap());
            let mut page = LetterBodyPage::default();
            assemble_bodies(items.clone(), &mut page);
            let bodies: Vec<usize> = page.bodies.iter().map(|body| body.sealed.len()).collect();
            assert_eq!((bodies, page.unread.len()), (vec![size, "other".len()], 0));
            let letters = assemble_letters(items).unwrap();
            assert_eq!((letters.len(), letters[0].body.len(), letters[1].body.as_str()), (2, size, "other"));
        }
    }
}
