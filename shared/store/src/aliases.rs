//! The scopes under which a source's dedup key has incidents, one item each.
//!
//! PagerDuty's and Opsgenie's clients acknowledge and close an incident with nothing but its dedup key. Intake writes the item before it queues
//! the opening, because the client may close it right after the 202. From then on `classify` writes it with the state of the key: it stays as
//! long as the incident is open, however long that is, and expires with the key after it was closed.

use crate::{Item, StoreError, Table, item, keys, read};
use domain::ids::{IntegrationId, Scope};
use domain::incident::Incident;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a closed incident is still found by its dedup key, for a client that closes it twice.
const CLOSED_FOUND: SignedDuration = SignedDuration::from_hours(24);

/// A source's dedup key.
#[derive(Clone, Copy, Debug)]
pub struct SourceKey<'a> {
    /// The integration whose token sent it.
    pub integration: &'a IntegrationId,
    /// Name of the source.
    pub source: &'a str,
    /// The dedup key as the source sent it.
    pub dedup_key: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Alias {
    scope: Scope,
    /// When its incident was closed; `None` while it is open, or not opened yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closed_at: Option<Timestamp>,
    /// Whether TTL deletes it, in Unix seconds.
    #[serde(default, skip_serializing)]
    expires_at: Option<i64>,
}

impl Table {
    /// Notes that a source's dedup key is about to open incidents of these scopes, unless that is known.
    ///
    /// # Errors
    /// [`StoreError`] of a call.
    pub async fn add_alias_scopes(
        &self,
        key: SourceKey<'_>,
        scopes: &[Scope],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for scope in scopes {
            let entry = alias_item(key, scope, None, Some(self.expiry(now)))?;
            // Only what `classify` holds open has no expiry. Another may expire before the key opens again.
            let renewable = "attribute_not_exists(pk) OR attribute_exists(expires_at)";
            self.put_if(entry, renewable, vec![]).await?;
        }
        Ok(())
    }

    /// Returns the scopes under which a source's dedup key has incidents that are open, or were a day ago; empty if there are none.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn open_alias_scopes(&self, key: SourceKey<'_>, now: Timestamp) -> Result<Vec<Scope>, StoreError> {
        self.alias_scopes_since(key, now, now.saturating_sub(CLOSED_FOUND).unwrap_or(Timestamp::UNIX_EPOCH)).await
    }

    /// Returns all scopes under which a source's dedup key has incidents that are not forgotten; empty if there are none.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn alias_scopes(&self, key: SourceKey<'_>, now: Timestamp) -> Result<Vec<Scope>, StoreError> {
        self.alias_scopes_since(key, now, Timestamp::UNIX_EPOCH).await
    }

    async fn alias_scopes_since(
        &self,
        key: SourceKey<'_>,
        now: Timestamp,
        since: Timestamp,
    ) -> Result<Vec<Scope>, StoreError> {
        let mut scopes = Vec::new();
        for found in self.query_prefix(&pk(key), "").await? {
            let alias: Alias = read(found, "an alias")?;
            let is_current = alias.closed_at.is_none_or(|closed| closed > since);
            // TTL deletes late.
            if is_current && alias.expires_at.is_none_or(|expires| expires > now.as_second()) {
                scopes.push(alias.scope);
            }
        }
        Ok(scopes)
    }
}

/// Builds the item of an incident whose clients know only its dedup key, with the life of that key.
pub(crate) fn alias_of(incident: &Incident, expiry: Option<i64>) -> Result<Item, StoreError> {
    let Incident { integration_id: integration, source, dedup_key, .. } = incident;
    alias_item(SourceKey { integration, source, dedup_key }, &incident.scope, incident.resolved_at, expiry)
}

fn alias_item(
    key: SourceKey<'_>,
    scope: &Scope,
    closed_at: Option<Timestamp>,
    expiry: Option<i64>,
) -> Result<Item, StoreError> {
    let alias = Alias { scope: scope.clone(), closed_at, expires_at: None };
    item(&pk(key), &keys::scope(Some(scope)), &alias, expiry)
}

fn pk(key: SourceKey<'_>) -> String {
    keys::alias(key.integration.as_str(), key.source, key.dedup_key)
}
