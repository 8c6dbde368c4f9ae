//! Wrapped data keys by generation, the key of fingerprints, and how far sealed values are sealed again.

use crate::tenants::AuditRecord;
use crate::{Item, StoreError, Table, item, keys, number, read, text};
use aws_sdk_dynamodb::types::AttributeValue;
use domain::data_key::{DataKeyGeneration, ResealPass};
use domain::ids::TenantId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A generation with its key as KMS wrapped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDataKey {
    /// The generation.
    pub generation: DataKeyGeneration,
    /// The wrapped key; `None` once the generation is retired.
    pub wrapped: Option<Vec<u8>>,
}

/// The key of fingerprints, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLookupKey {
    /// A key as KMS wrapped it.
    pub wrapped: Vec<u8>,
    /// Keys that are sealed with it.
    pub sealed: String,
}

/// What an operator's act on the data keys leaves in the audit trail of the operators' tenant.
#[derive(Clone, Copy, Debug)]
pub struct KeyAudit<'a> {
    /// The entry.
    pub record: &'a AuditRecord,
    /// Random text that keeps the keys of simultaneous entries apart.
    pub nonce: &'a str,
}

/// Whose sealed values a pass is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedValues {
    /// URLs and secrets of integrations.
    Integrations,
    /// Bodies of dead letters.
    DeadLetters,
}

impl SealedValues {
    fn key(self) -> &'static str {
        match self {
            Self::Integrations => keys::INTEGRATIONS_PASS,
            Self::DeadLetters => keys::LETTERS_PASS,
        }
    }
}

/// An item of a generation. A release that knows no retirement needs `wrapped`: without it, it starts no function and seals nothing.
#[derive(Serialize, Deserialize)]
struct GenerationItem {
    created_ms: i64,
    /// Releases before rotation wrote the first generation without it, which had none before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settled_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    links_ended_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired_ms: Option<i64>,
}

fn bytes(item: &Item, name: &str) -> Option<Vec<u8>> {
    Some(item.get(name)?.as_b().ok()?.as_ref().to_vec())
}

fn corrupt(kind: &'static str, detail: &str) -> StoreError {
    StoreError::Corrupt { kind, detail: detail.to_owned() }
}

impl Table {
    /// Returns all generations of the data key, ascending, retired ones included.
    ///
    /// # Errors
    /// [`StoreError`] of a call.
    pub async fn data_keys(&self) -> Result<Vec<StoredDataKey>, StoreError> {
        let mut found = Vec::new();
        // Generations are numbered without gaps, and a retired one leaves its item, so the first missing one ends the list.
        for number in 1.. {
            let Some(item) = self.get(&keys::data_key(number), keys::DATA_KEY).await? else { break };
            let wrapped = bytes(&item, "wrapped");
            let times: GenerationItem = read(item, "a data key")?;
            let time = |milliseconds| {
                Timestamp::from_millisecond(milliseconds).map_err(|_| corrupt("a data key", "not a time"))
            };
            let generation = DataKeyGeneration {
                number,
                created_at: time(times.created_ms)?,
                settled_at: time(times.settled_ms.unwrap_or(times.created_ms))?,
                links_ended_at: times.links_ended_ms.map(time).transpose()?,
                retired_at: times.retired_ms.map(time).transpose()?,
            };
            if wrapped.is_none() && generation.retired_at.is_none() {
                return Err(corrupt("a data key", "no key"));
            }
            found.push(StoredDataKey { generation, wrapped });
        }
        Ok(found)
    }

    /// Stores the first wrapped data key unless there is one. Returns whether it was stored.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn add_first_data_key(&self, wrapped: &[u8], now: Timestamp) -> Result<bool, StoreError> {
        let generation = DataKeyGeneration::made(1, now, SignedDuration::ZERO);
        Ok(self.put_new(generation_item(&generation, Some(wrapped))?).await?.is_none())
    }

    /// Stores a generation's wrapped data key unless the generation exists. Returns whether it was stored.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn add_data_key(&self, key: &StoredDataKey, audit: KeyAudit<'_>) -> Result<bool, StoreError> {
        self.put_generation(key, "attribute_not_exists(pk)", audit).await
    }

    /// Writes what has become of a generation that is not retired. Returns `false` if it was retired meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn change_data_key(&self, key: &StoredDataKey, audit: KeyAudit<'_>) -> Result<bool, StoreError> {
        // `wrapped`, which a retired one lacks, is a reserved word of DynamoDB.
        self.put_generation(key, "attribute_exists(pk) AND attribute_not_exists(retired_ms)", audit).await
    }

    async fn put_generation(
        &self,
        key: &StoredDataKey,
        condition: &str,
        audit: KeyAudit<'_>,
    ) -> Result<bool, StoreError> {
        let entry = generation_item(&key.generation, key.wrapped.as_deref())?;
        let writes = vec![
            self.put_action(entry, Some(condition), vec![])?,
            self.audit_write(&TenantId::operators(), audit.record, audit.nonce)?,
        ];
        Ok(self.transact(writes).await?.is_none())
    }

    /// Returns the key of fingerprints; `None` if fingerprints still have generation 1's.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn lookup_key(&self) -> Result<Option<StoredLookupKey>, StoreError> {
        let Some(item) = self.get(keys::LOOKUP_KEY, keys::DATA_KEY).await? else { return Ok(None) };
        let wrapped = bytes(&item, "wrapped").ok_or_else(|| corrupt("the lookup key", "no key"))?;
        let sealed = item.get("sealed").and_then(|value| value.as_s().ok()).cloned();
        let sealed = sealed.ok_or_else(|| corrupt("the lookup key", "no sealed keys"))?;
        Ok(Some(StoredLookupKey { wrapped, sealed }))
    }

    /// Stores the key of fingerprints unless there is one. It is never changed.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn add_lookup_key(&self, key: &StoredLookupKey, now: Timestamp) -> Result<(), StoreError> {
        let entry = Item::from([
            ("pk".to_owned(), text(keys::LOOKUP_KEY)),
            ("sk".to_owned(), text(keys::DATA_KEY)),
            ("wrapped".to_owned(), AttributeValue::B(key.wrapped.clone().into())),
            ("sealed".to_owned(), text(&key.sealed)),
            ("created_ms".to_owned(), number(now.as_millisecond())),
        ]);
        self.put_new(entry).await.map(drop)
    }

    /// Returns how far sealed values are sealed again; `None` if that was never begun.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn reseal_pass(&self, of: SealedValues) -> Result<Option<ResealPass>, StoreError> {
        match self.get(of.key(), keys::DATA_KEY).await? {
            Some(found) => Ok(Some(read(found, "a pass over sealed values")?)),
            None => Ok(None),
        }
    }

    /// Stores how far sealed values are sealed again. Of two that work at the same time the slower one may set the other back, which
    /// repeats some work.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn save_reseal_pass(&self, of: SealedValues, pass: &ResealPass) -> Result<(), StoreError> {
        self.put(item(of.key(), keys::DATA_KEY, pass, None)?).await
    }
}

fn generation_item(generation: &DataKeyGeneration, wrapped: Option<&[u8]>) -> Result<Item, StoreError> {
    let times = GenerationItem {
        created_ms: generation.created_at.as_millisecond(),
        settled_ms: Some(generation.settled_at.as_millisecond()),
        links_ended_ms: generation.links_ended_at.map(Timestamp::as_millisecond),
        retired_ms: generation.retired_at.map(Timestamp::as_millisecond),
    };
    let mut entry = item(&keys::data_key(generation.number), keys::DATA_KEY, &times, None)?;
    if let Some(wrapped) = wrapped {
        entry.insert("wrapped".to_owned(), AttributeValue::B(wrapped.to_vec().into()));
    }
    Ok(entry)
}
