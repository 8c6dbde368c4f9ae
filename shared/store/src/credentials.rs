//! API tokens, stored as hashes.

use crate::tenants::AuditRecord;
use crate::{Item, StoreError, Table, build_error, item, keys, number, read, text};
use aws_sdk_dynamodb::types::{ConditionCheck, TransactWriteItem};
use domain::contact::utc_day;
use domain::ids::{IntegrationId, TenantId, TokenId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The tenants that a token may act for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TenantScope {
    /// Only the listed tenants.
    Listed(BTreeSet<TenantId>),
    /// All tenants, stored as `*`.
    All(Wildcard),
}

/// The text `*`, which stands for all tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wildcard {
    /// The only value, stored as `*`.
    #[serde(rename = "*")]
    Asterisk,
}

impl TenantScope {
    /// Whether `tenant` is in the scope.
    #[must_use]
    pub fn includes(&self, tenant: &TenantId) -> bool {
        match self {
            Self::All(_) => true,
            Self::Listed(tenants) => tenants.contains(tenant),
        }
    }
}

/// A token's record. The token itself is not stored: the item's key is its SHA-256 hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Public id of the token.
    pub token_id: TokenId,
    /// The integration that the token belongs to. It is part of dedup keys and stays the same when the token is rotated.
    pub integration_id: IntegrationId,
    /// Name of the token as shown to admins.
    pub name: String,
    /// Scopes that the token grants.
    pub scopes: BTreeSet<String>,
    /// Tenants that the token may act for.
    pub tenants: TenantScope,
    /// Default values for fields that an event leaves out.
    pub defaults: Value,
    /// When the token was issued.
    pub created_at: Timestamp,
    /// When the token expires; `None` for a token without expiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_time: Option<Timestamp>,
    /// When the token was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// The tenant that lists the token; `platform` for tokens of several tenants.
    pub owner: TenantId,
    /// The integration of the token that this one was made with; `None` if an operator, a person with a JWT or the bootstrap command made it.
    /// An integration outlives the rotations of its token, so a child keeps its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_by: Option<IntegrationId>,
    /// SHA-256 hash of the token, hexadecimal.
    pub hash: String,
}

impl TokenRecord {
    /// Returns why the token is not valid at `now` (`revoked` or `expired`), or `None` if it is valid.
    #[must_use]
    pub fn invalid_reason(&self, now: Timestamp) -> Option<&'static str> {
        if self.revoked_at.is_some() {
            return Some("revoked");
        }
        self.expires_at_time.is_some_and(|end| end <= now).then_some("expired")
    }
}

/// A token that was used after it was revoked or had expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RefusedToken {
    token_id: TokenId,
    /// The first time on the last day (UTC) on which it was used.
    at: Timestamp,
    /// That day, in days since 1970-01-01.
    utc_day: i64,
}

/// How long it is known that a token was used after its end, in seconds: 400 days.
const REFUSED_RETENTION_SECONDS: i64 = 400 * 86_400;

/// Whether a text has the format of a token. Other texts are not looked up.
#[must_use]
pub fn has_token_format(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The condition that a token's item exists and is not revoked.
const UNREVOKED: &str = "attribute_exists(pk) AND attribute_not_exists(revoked_at)";

/// Returns the hash under which a token is stored.
#[must_use]
pub fn token_hash(token: &str) -> String {
    domain::ids::sha256(&["token", token]).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Table {
    /// Returns the record of a token, including expired and revoked tokens.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn token(&self, token: &str) -> Result<Option<TokenRecord>, StoreError> {
        match self.get(&keys::token(&token_hash(token)), "TOKEN").await? {
            Some(found) => Ok(Some(read(found, "a token")?)),
            None => Ok(None),
        }
    }

    /// Stores a new token, its entry in the owner's list, its entry among its parent's children, and the audit entry. `parent` is the token
    /// that it is made with. Returns `false` if that token was revoked meanwhile: whoever revokes it has seen all of its children.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn issue_token(
        &self,
        record: &TokenRecord,
        parent: Option<&TokenRecord>,
        audit: &AuditRecord,
        nonce: &str,
    ) -> Result<bool, StoreError> {
        let mut writes = self.new_token_writes(record)?;
        writes.push(self.audit_write(&record.owner, audit, nonce)?);
        if let Some(parent) = parent {
            writes.push(self.unrevoked_check(parent)?);
        }
        Ok(self.transact(writes).await?.is_none())
    }

    /// The check of a transaction that a token is not revoked.
    fn unrevoked_check(&self, record: &TokenRecord) -> Result<TransactWriteItem, StoreError> {
        let check = ConditionCheck::builder().table_name(&self.name).key("pk", text(&keys::token(&record.hash)));
        let check = check.key("sk", text("TOKEN")).condition_expression(UNREVOKED).build();
        Ok(TransactWriteItem::builder().condition_check(check.map_err(|_| build_error())?).build())
    }

    /// Replaces a token by a new one in one transaction. The old token expires at `old_ends`, or is revoked now if that is `None`.
    /// `rotator` is the token that rotates it. Returns `false` if one of the two was revoked in the meantime.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn rotate_token(
        &self,
        old: &TokenRecord,
        new: &TokenRecord,
        old_ends: Option<Timestamp>,
        rotator: Option<&TokenRecord>,
        audit: &AuditRecord,
        nonce: &str,
    ) -> Result<bool, StoreError> {
        let mut ended = old.clone();
        match old_ends {
            Some(at) => ended.expires_at_time = Some(old.expires_at_time.map_or(at, |ends| ends.min(at))),
            None => ended.revoked_at = Some(audit.at),
        }
        let mut writes = self.new_token_writes(new)?;
        writes.extend(self.token_update_writes(&ended)?);
        if let (None, Some(parent)) = (old_ends, &old.issued_by) {
            let key = keys::child_token(&old.owner, old.token_id.as_str());
            writes.push(self.delete_action(&keys::tokens_issued_by(parent), &key)?);
        }
        writes.push(self.audit_write(&new.owner, audit, nonce)?);
        // A transaction names an item once, and the old token's own write has the same condition.
        if let Some(rotator) = rotator.filter(|rotator| rotator.token_id != old.token_id) {
            writes.push(self.unrevoked_check(rotator)?);
        }
        Ok(self.transact(writes).await?.is_none())
    }

    fn new_token_writes(&self, record: &TokenRecord) -> Result<Vec<TransactWriteItem>, StoreError> {
        let (by_hash, listed) = token_items(record)?;
        let fresh = Some("attribute_not_exists(pk)");
        let mut writes = vec![self.put_action(by_hash, fresh, vec![])?, self.put_action(listed, fresh, vec![])?];
        if let Some(parent) = &record.issued_by {
            writes.push(self.child_write(parent, record)?);
        }
        Ok(writes)
    }

    /// The write that lists a token among the children of its parent's integration until the token ends or is revoked. A rotated child is
    /// listed once for each of its tokens.
    fn child_write(&self, parent: &IntegrationId, child: &TokenRecord) -> Result<TransactWriteItem, StoreError> {
        let entry = ChildToken { owner: child.owner.clone(), token_id: child.token_id.clone() };
        let key = keys::child_token(&child.owner, child.token_id.as_str());
        let ends = child.expires_at_time.map(Timestamp::as_second);
        self.put_action(item(&keys::tokens_issued_by(parent), &key, &entry, ends)?, None, vec![])
    }

    /// Returns the valid tokens that were made with a token of this integration, at `now`.
    ///
    /// # Errors
    /// [`StoreError`] of a call.
    pub async fn child_tokens(&self, parent: &IntegrationId, now: Timestamp) -> Result<Vec<TokenRecord>, StoreError> {
        let mut children = Vec::new();
        for found in self.query_prefix(&keys::tokens_issued_by(parent), "").await? {
            let ChildToken { owner, token_id } = read(found, "a child token")?;
            let record = self.tenant_token(&owner, &token_id).await?;
            // A child that was given to another parent is that one's.
            let own = |record: &TokenRecord| {
                record.issued_by.as_ref() == Some(parent) && record.invalid_reason(now).is_none()
            };
            children.extend(record.filter(own));
        }
        Ok(children)
    }

    /// Gives a token to another parent. Returns `false` if it was revoked meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn give_token_to(
        &self,
        child: &TokenRecord,
        parent: Option<&IntegrationId>,
        audit: &AuditRecord,
        nonce: &str,
    ) -> Result<bool, StoreError> {
        let given = TokenRecord { issued_by: parent.cloned(), ..child.clone() };
        let mut writes = self.token_update_writes(&given)?;
        if let Some(parent) = parent {
            writes.push(self.child_write(parent, &given)?);
        }
        writes.push(self.audit_write(&given.owner, audit, nonce)?);
        Ok(self.transact(writes).await?.is_none())
    }

    /// The writes that update a token's two items, on condition that it is not revoked.
    fn token_update_writes(&self, record: &TokenRecord) -> Result<Vec<TransactWriteItem>, StoreError> {
        let (by_hash, listed) = token_items(record)?;
        let valid = Some(UNREVOKED);
        Ok(vec![self.put_action(by_hash, valid, vec![])?, self.put_action(listed, valid, vec![])?])
    }

    /// Returns the tokens in a tenant's list, including revoked tokens.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn tenant_tokens(&self, owner: &TenantId) -> Result<Vec<TokenRecord>, StoreError> {
        let items = self.query_prefix(&keys::tenant(owner), "TOKEN#").await?;
        items.into_iter().map(|found| read(found, "a token")).collect()
    }

    /// Returns a page of the tokens in a tenant's list in the order of their ids, and whether more follow. `after` is the last id of the page
    /// before.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn tenant_tokens_page(
        &self,
        owner: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<TokenRecord>, bool), StoreError> {
        let (items, more) = self.page_of_ids(owner, keys::tenant_token, after, limit).await?;
        let records = items.into_iter().map(|found| read(found, "a token")).collect::<Result<_, StoreError>>()?;
        Ok((records, more))
    }

    /// Returns one token of a tenant's list.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn tenant_token(&self, owner: &TenantId, id: &TokenId) -> Result<Option<TokenRecord>, StoreError> {
        match self.get(&keys::tenant(owner), &keys::tenant_token(id.as_str())).await? {
            Some(found) => Ok(Some(read(found, "a token")?)),
            None => Ok(None),
        }
    }

    /// Revokes a token. Returns `false` if the owner's list has no such token.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn revoke_token(
        &self,
        owner: &TenantId,
        id: &TokenId,
        audit: &AuditRecord,
        nonce: &str,
    ) -> Result<bool, StoreError> {
        let Some(mut record) = self.tenant_token(owner, id).await? else { return Ok(false) };
        if record.revoked_at.is_none() {
            record.revoked_at = Some(audit.at);
            let mut writes = self.token_update_writes(&record)?;
            writes.push(self.audit_write(owner, audit, nonce)?);
            if let Some(parent) = &record.issued_by {
                let key = keys::child_token(owner, id.as_str());
                writes.push(self.delete_action(&keys::tokens_issued_by(parent), &key)?);
            }
            // A failed condition means that another request revoked the token just now, which has the same result.
            self.transact(writes).await?;
        }
        Ok(true)
    }

    /// Notes that a token was used after its end, once a day (UTC). Returns whether this is the first time today.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn note_refused_token(
        &self,
        owner: &TenantId,
        token_id: &TokenId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (day, _) = utc_day(now);
        let refused = RefusedToken { token_id: token_id.clone(), at: now, utc_day: day };
        let expires = Some(now.as_second() + REFUSED_RETENTION_SECONDS);
        let entry = item(&keys::refused_tokens(owner), token_id.as_str(), &refused, expires)?;
        let first = "attribute_not_exists(pk) OR utc_day < :today";
        Ok(self.put_if(entry, first, vec![(":today", number(day))]).await?.is_none())
    }

    /// Returns when tokens of a tenant were used after their end, of the tokens whose ids are in `ids`, which is ascending.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn refused_tokens(
        &self,
        owner: &TenantId,
        ids: &[&TokenId],
    ) -> Result<BTreeMap<TokenId, Timestamp>, StoreError> {
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(BTreeMap::new()) };
        let found = self.query(&keys::refused_tokens(owner), first.as_str(), last.as_str(), ids.len()).await?;
        let refused = found.into_iter().map(|found| read::<RefusedToken>(found, "a refused token"));
        refused.map(|refused| refused.map(|refused| (refused.token_id, refused.at))).collect()
    }
}

/// Names a token among its parent's children.
#[derive(Serialize, Deserialize)]
struct ChildToken {
    owner: TenantId,
    token_id: TokenId,
}

/// Builds a token's two items: under its hash, and in its owner's list.
fn token_items(record: &TokenRecord) -> Result<(Item, Item), StoreError> {
    let by_hash = item(&keys::token(&record.hash), "TOKEN", record, None)?;
    let listed = item(&keys::tenant(&record.owner), &keys::tenant_token(record.token_id.as_str()), record, None)?;
    Ok((by_hash, listed))
}
