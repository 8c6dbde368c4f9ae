//! Event records (the result of classifying an accepted event) and idempotency keys.

use crate::{EVENT_DAYS, StoreError, Table, item, keys, read};
use domain::event_record::EventRecord;
use domain::ids::{EventId, Scope};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The first request made with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    /// Event id that the first request was given.
    pub event_id: EventId,
    /// Hash of the first request's body.
    pub body_hash: String,
    /// When the first request was accepted. The key is forgotten a day later.
    pub accepted_at: Timestamp,
    /// Correlation id of the first request.
    pub correlation_id: String,
}

impl Table {
    /// Returns the record of an event for one scope.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn event(&self, id: &EventId, scope: Option<&Scope>) -> Result<Option<EventRecord>, StoreError> {
        match self.get(&keys::event(id), &keys::scope(scope)).await? {
            Some(found) => Ok(Some(read(found, "an event")?)),
            None => Ok(None),
        }
    }

    /// Returns the records of an event for all scopes that it named.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn event_records(&self, id: &EventId) -> Result<Vec<EventRecord>, StoreError> {
        let items = self.query_prefix(&keys::event(id), "").await?;
        items.into_iter().map(|found| read(found, "an event")).collect()
    }

    /// Builds the item of an event record, for a transaction.
    pub(crate) fn event_item(&self, record: &EventRecord) -> Result<crate::Item, StoreError> {
        let sk = keys::scope(record.scope.as_ref());
        item(&keys::event(&record.event_id), &sk, record, Some(event_expiry(record.accepted_at)))
    }

    /// Records an idempotency key for 24 hours. Returns the record of the first request if the key was already used.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn record_idempotency_key(
        &self,
        token: &str,
        key: &str,
        entry: &IdempotencyRecord,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        let day = 24 * 60 * 60;
        let new = item(&keys::idempotency(token, key), "IDEM", entry, Some(entry.accepted_at.as_second() + day))?;
        match self.put_new(new).await? {
            None => Ok(None),
            Some(old) => {
                let old: IdempotencyRecord = read(old, "an idempotency key")?;
                // TTL deletes late: an entry older than a day no longer counts, even if it is still stored.
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
