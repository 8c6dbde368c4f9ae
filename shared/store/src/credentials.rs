//! API tokens (stored hashed) and wrapped data keys.

use crate::tenants::Audit;
use crate::{Item, StoreError, Table, item, keys, number, read, text};
use aws_sdk_dynamodb::types::TransactWriteItem;
use domain::ids::{IntegrationId, TenantId, TokenId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// The tenants a token may speak for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Tenants {
    /// These.
    Some(BTreeSet<TenantId>),
    /// All, written `*`.
    All(Star),
}

/// The word `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Star {
    /// `*`
    #[serde(rename = "*")]
    Star,
}

impl Tenants {
    /// Whether `tenant` is among them.
    #[must_use]
    pub fn include(&self, tenant: &TenantId) -> bool {
        match self {
            Self::All(_) => true,
            Self::Some(tenants) => tenants.contains(tenant),
        }
    }
}

/// A token's record. The token itself is nowhere: the key is its SHA-256.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its public name.
    pub token_id: TokenId,
    /// The identity behind it, which incident keys hold; kept when the token is rotated.
    pub integration_id: IntegrationId,
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub scopes: BTreeSet<String>,
    /// For whom.
    pub tenants: Tenants,
    /// What it says for events that are silent.
    pub defaults: Value,
    /// When it was issued.
    pub created_at: Timestamp,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_time: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// The tenant whose list it stands in; `platform` for tokens of several.
    pub owner: TenantId,
    /// The SHA-256 of the token, in hex.
    pub hash: String,
}

impl TokenRecord {
    /// Why it lets nobody in at `now`; `None` while it does.
    #[must_use]
    pub fn invalid(&self, now: Timestamp) -> Option<&'static str> {
        if self.revoked_at.is_some() {
            return Some("revoked");
        }
        self.expires_at_time.is_some_and(|end| end <= now).then_some("expired")
    }
}

/// Whether a text can be a token at all: what cannot is not looked up.
#[must_use]
pub fn is_token(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The hash a token is stored under.
#[must_use]
pub fn token_hash(token: &str) -> String {
    domain::ids::sha256(&["token", token]).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Table {
    /// The record of a token; expired and revoked ones included.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn token(&self, token: &str) -> Result<Option<TokenRecord>, StoreError> {
        match self.get(&keys::token(&token_hash(token)), "TOKEN").await? {
            Some(found) => Ok(Some(read(found, "a token")?)),
            None => Ok(None),
        }
    }

    /// Stores a new token, its entry in its owner's list, and the audit entry of it.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn issue_token(&self, record: &TokenRecord, audit: &Audit, nonce: &str) -> Result<(), StoreError> {
        let mut writes = self.new_token(record)?;
        writes.push(self.audit_write(&record.owner, audit, nonce)?);
        match self.transact(writes).await? {
            None => Ok(()),
            Some(_) => Err(StoreError::Conflict { operation: "issue_token" }),
        }
    }

    /// Replaces a token by a new one at once. The old one ends at `old_ends`, or now if that is `None`. `false` if somebody
    /// revoked or replaced the old one in between.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn rotate_token(
        &self,
        old: &TokenRecord,
        new: &TokenRecord,
        old_ends: Option<Timestamp>,
        audit: &Audit,
        nonce: &str,
    ) -> Result<bool, StoreError> {
        let mut ended = old.clone();
        match old_ends {
            Some(at) => ended.expires_at_time = Some(old.expires_at_time.map_or(at, |ends| ends.min(at))),
            None => ended.revoked_at = Some(audit.at),
        }
        let mut writes = self.new_token(new)?;
        writes.extend(self.changed_token(&ended)?);
        writes.push(self.audit_write(&new.owner, audit, nonce)?);
        Ok(self.transact(writes).await?.is_none())
    }

    fn new_token(&self, record: &TokenRecord) -> Result<Vec<TransactWriteItem>, StoreError> {
        let (by_hash, listed) = token_items(record)?;
        let fresh = Some("attribute_not_exists(pk)");
        Ok(vec![self.put_action(by_hash, fresh, vec![])?, self.put_action(listed, fresh, vec![])?])
    }

    /// A token's two items, written only while nobody revoked it.
    fn changed_token(&self, record: &TokenRecord) -> Result<Vec<TransactWriteItem>, StoreError> {
        let (by_hash, listed) = token_items(record)?;
        let valid = Some("attribute_exists(pk) AND attribute_not_exists(revoked_at)");
        Ok(vec![self.put_action(by_hash, valid, vec![])?, self.put_action(listed, valid, vec![])?])
    }

    /// The tokens in a tenant's list, revoked ones included.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn tokens_of(&self, owner: &TenantId) -> Result<Vec<TokenRecord>, StoreError> {
        let items = self.query_prefix(&keys::tenant(owner), "TOKEN#").await?;
        items.into_iter().map(|found| read(found, "a token")).collect()
    }

    /// One token of a tenant's list.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn token_of(&self, owner: &TenantId, id: &TokenId) -> Result<Option<TokenRecord>, StoreError> {
        match self.get(&keys::tenant(owner), &keys::token_of(id.as_str())).await? {
            Some(found) => Ok(Some(read(found, "a token")?)),
            None => Ok(None),
        }
    }

    /// Revokes a token. `false` if the owner's list has no such token.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn revoke_token(
        &self,
        owner: &TenantId,
        id: &TokenId,
        audit: &Audit,
        nonce: &str,
    ) -> Result<bool, StoreError> {
        let Some(mut record) = self.token_of(owner, id).await? else { return Ok(false) };
        if record.revoked_at.is_none() {
            record.revoked_at = Some(audit.at);
            let mut writes = self.changed_token(&record)?;
            writes.push(self.audit_write(owner, audit, nonce)?);
            // A condition that failed means that somebody else revoked it just now, which is as good.
            self.transact(writes).await?;
        }
        Ok(true)
    }

    /// The wrapped data keys, by generation.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn data_keys(&self) -> Result<Vec<(u32, Vec<u8>)>, StoreError> {
        let mut found = Vec::new();
        // Generations are added one at a time, so the first missing one ends the list.
        for generation in 1.. {
            let Some(item) = self.get(&keys::data_key(generation), "DATAKEY").await? else { break };
            let wrapped = item.get("wrapped").and_then(|value| value.as_b().ok());
            let wrapped = wrapped.ok_or(StoreError::Corrupt { kind: "a data key", detail: "no key".to_owned() })?;
            found.push((generation, wrapped.as_ref().to_vec()));
        }
        Ok(found)
    }

    /// Stores a wrapped data key unless its generation exists. `true` if it was stored.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn add_data_key(&self, generation: u32, wrapped: &[u8], now: Timestamp) -> Result<bool, StoreError> {
        let mut entry = crate::Item::new();
        entry.insert("pk".to_owned(), text(&keys::data_key(generation)));
        entry.insert("sk".to_owned(), text("DATAKEY"));
        entry.insert("wrapped".to_owned(), aws_sdk_dynamodb::types::AttributeValue::B(wrapped.to_vec().into()));
        entry.insert("created_ms".to_owned(), number(now.as_millisecond()));
        Ok(self.put_new(entry).await?.is_none())
    }
}

/// A token's record under its hash, and in its owner's list.
fn token_items(record: &TokenRecord) -> Result<(Item, Item), StoreError> {
    let by_hash = item(&keys::token(&record.hash), "TOKEN", record, None)?;
    let listed = item(&keys::tenant(&record.owner), &keys::token_of(record.token_id.as_str()), record, None)?;
    Ok((by_hash, listed))
}
