//! Event records (the result of classifying an accepted event) and idempotency keys.

use crate::{EVENT_DAYS, StoreError, Table, item, keys, read};
use domain::ids::{EventId, Scope};
use domain::reason::Reason;
use domain::vocabulary::Category;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The result of classifying an event for one scope. Written in the transaction that changes the incident; if the event is
/// redelivered, classify finds the record and emits its jobs again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Id of the event.
    pub event_id: EventId,
    /// Scope of the event; `None` if it could not be determined.
    pub scope: Option<Scope>,
    /// When intake accepted the event.
    pub accepted_at: Timestamp,
    /// `included`, `excluded` or `unclassified`.
    pub classification: String,
    /// Category of the event, if a rule assigned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// Id of the classification rule that matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why nobody was notified, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Incident that the event opened, updated or repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<String>,
    /// Number of the update that the event added to the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<u32>,
    /// Type of the event, for lists of excluded events.
    pub event_type: String,
    /// Title of the event, for lists of excluded events.
    pub title: String,
    /// Problems found during classification.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Routing jobs to emit, each as JSON. A redelivered event emits the same ones again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
}

/// The first request made with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    /// Event id that the first request was given.
    pub event_id: EventId,
    /// Hash of the first request's body.
    pub body_hash: String,
    /// When the first request was accepted, so that a repeated request produces the same queue message.
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
