//! Event records (what became of an accepted event) and idempotency keys.

use crate::{EVENT_DAYS, StoreError, Table, item, keys, read};
use domain::ids::{EventId, Scope};
use domain::reason::Reason;
use domain::vocabulary::Category;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What became of an event for one scope. Written in the transaction that changed the incident; a redelivered event finds it
/// and re-emits its jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// The event.
    pub event_id: EventId,
    /// Whose.
    pub scope: Option<Scope>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// `included`, `excluded` or `unclassified`.
    pub classification: String,
    /// The category, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// The rule that matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why nothing was told, if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The incident it opened, updated or repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<String>,
    /// The update it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<u32>,
    /// The event's type and title, for lists of what was not told.
    pub event_type: String,
    /// Its title.
    pub title: String,
    /// What went wrong while it was classified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The routing jobs to emit, and to emit again: messages as they go on the queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Value>,
}

/// What an idempotency key remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The event id that the first request got.
    pub event_id: EventId,
    /// The first request's body, hashed.
    pub body_hash: String,
    /// When the first request was accepted, so that a repeat is the same message.
    pub accepted_at: Timestamp,
    /// The first request's correlation id.
    pub correlation_id: String,
}

impl Table {
    /// What became of an event for one scope.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn event(&self, id: &EventId, scope: Option<&Scope>) -> Result<Option<EventRecord>, StoreError> {
        match self.get(&keys::event(id), &keys::scope(scope)).await? {
            Some(found) => Ok(Some(read(found, "an event")?)),
            None => Ok(None),
        }
    }

    /// What became of an event for every scope that it named.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn event_records(&self, id: &EventId) -> Result<Vec<EventRecord>, StoreError> {
        let items = self.query_prefix(&keys::event(id), "").await?;
        items.into_iter().map(|found| read(found, "an event")).collect()
    }

    /// The item of an event record, for a transaction.
    pub(crate) fn event_item(&self, record: &EventRecord) -> Result<crate::Item, StoreError> {
        let sk = keys::scope(record.scope.as_ref());
        item(&keys::event(&record.event_id), &sk, record, Some(event_expiry(record.accepted_at)))
    }

    /// Remembers an idempotency key; gives back what is remembered if it was used before.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn remember_idempotency(
        &self,
        token: &str,
        key: &str,
        entry: &Idempotency,
    ) -> Result<Option<Idempotency>, StoreError> {
        let day = 24 * 60 * 60;
        let new = item(&keys::idempotency(token, key), "IDEM", entry, Some(entry.accepted_at.as_second() + day))?;
        match self.put_new(new).await? {
            None => Ok(None),
            Some(old) => {
                let old: Idempotency = read(old, "an idempotency key")?;
                // TTL is a broom: an entry older than a day no longer counts, swept or not.
                if old.accepted_at.as_second() + day < entry.accepted_at.as_second() {
                    let again =
                        item(&keys::idempotency(token, key), "IDEM", entry, Some(entry.accepted_at.as_second() + day))?;
                    self.put(again).await?;
                    return Ok(None);
                }
                Ok(Some(old))
            }
        }
    }
}

pub(crate) fn event_expiry(at: Timestamp) -> i64 {
    at.as_second().saturating_add(i64::from(EVENT_DAYS) * 24 * 60 * 60)
}
