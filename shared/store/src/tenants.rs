//! Tenants: settings, recipients and integrations, written together with the compiled subscriptions.
//!
//! All writers use [`Table::save`]. It writes the setting, its chunks in all three categories, the lock on its address and the audit
//! entry in one transaction, conditional on all versions that were read.

mod save;

use crate::{StoreError, Table, item, keys, number, read};
use aws_sdk_dynamodb::types::TransactWriteItem;
use domain::contact::SilencedContact;
use domain::ids::{IntegrationId, RecipientId, TenantId};
use domain::tenant::{Chunk, Destination, Integration, Recipient, Settings, Suppression};
use domain::vocabulary::{Category, Channel};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An entry of the audit trail: who changed what, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When the change was made.
    pub at: Timestamp,
    /// Author of the change: a token's id, `recipient` for a person who used a link, or the function that disabled an endpoint.
    pub who: String,
    /// Kind of the change, such as `recipient.created`.
    pub what: String,
    /// Id of the changed object.
    pub object: String,
}

/// When and by whom a change is made, with the nonce of its audit entry's key.
#[derive(Clone, Copy, Debug)]
pub struct AuditStamp<'a> {
    /// When the change is made.
    pub at: Timestamp,
    /// Author of the change: a token's id, `recipient`, or a function's name.
    pub who: &'a str,
    /// Random text that keeps the keys of simultaneous audit entries apart.
    pub nonce: &'a str,
}

/// Position after a page of the audit trail. Its text contains nothing that the page did not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditCursor(String);

impl AuditCursor {
    /// Parses the text of a cursor; `None` if it is not valid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (instant, nonce) = text.split_once('.')?;
        let ok = instant.len() == 15
            && instant.bytes().all(|byte| byte.is_ascii_digit())
            && (1..=80).contains(&nonce.len())
            && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
        ok.then(|| Self(format!("{instant}#{nonce}")))
    }

    /// Formats the cursor as text that needs no escaping in a URL.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.0.replace('#', ".")
    }
}

/// A change to a tenant.
#[derive(Clone, Debug)]
pub enum TenantChange {
    /// Writes the tenant's settings.
    Settings(Box<Settings>),
    /// Writes a recipient or an integration.
    Destination(Destination),
    /// Deletes a recipient or an integration.
    Removed(Destination),
}

/// The result of saving a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaveOutcome {
    /// The change was written.
    Saved,
    /// The change is not based on the current version.
    VersionConflict,
    /// Another destination of the tenant already has this address, number or URL.
    AddressInUse {
        /// Id of the other destination.
        by: String,
        /// Channel on which both use it.
        channel: Channel,
    },
    /// The tenant does not exist.
    NoTenant,
}

/// A recipient or an integration as stored: with its chunk, which never changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredDestination<T> {
    chunk: u32,
    #[serde(flatten)]
    value: T,
}

/// The pauses between the tries of a save, in milliseconds: about six seconds in all. Saves of one tenant come one after the other, because they
/// write the same chunks, and each takes some ten milliseconds.
const SAVE_PAUSES_MS: [u64; 14] = [20, 40, 60, 100, 150, 250, 350, 450, 600, 700, 800, 900, 900, 900];

impl Table {
    /// Returns a tenant's settings.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn settings(&self, tenant: &TenantId) -> Result<Option<Settings>, StoreError> {
        match self.get(&keys::tenant(tenant), keys::SETTINGS).await? {
            Some(found) => Ok(Some(read(found, "settings")?)),
            None => Ok(None),
        }
    }

    /// Returns a tenant's recipients, ordered by id.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn recipients(&self, tenant: &TenantId) -> Result<Vec<Recipient>, StoreError> {
        let items = self.query_prefix(&keys::tenant(tenant), &keys::recipient("")).await?;
        items.into_iter().map(|found| Ok(read::<StoredDestination<Recipient>>(found, "a recipient")?.value)).collect()
    }

    /// Returns a page of a tenant's recipients, ordered by id, after the id `after`, and whether there are more.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn recipients_page(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Recipient>, bool), StoreError> {
        let (items, more) = self.page_of_ids(tenant, keys::recipient, after, limit).await?;
        let read = |found| Ok(read::<StoredDestination<Recipient>>(found, "a recipient")?.value);
        Ok((items.into_iter().map(read).collect::<Result<_, StoreError>>()?, more))
    }

    /// Returns a page of a tenant's integrations, like [`Table::recipients_page`].
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn integrations_page(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Integration>, bool), StoreError> {
        let (items, more) = self.page_of_ids(tenant, keys::integration, after, limit).await?;
        let read = |found| Ok(read::<StoredDestination<Integration>>(found, "an integration")?.value);
        Ok((items.into_iter().map(read).collect::<Result<_, StoreError>>()?, more))
    }

    /// Returns the items of a tenant whose sort keys `key` makes of ids, after the id `after`, and whether there are more.
    pub(crate) async fn page_of_ids(
        &self,
        tenant: &TenantId,
        key: fn(&str) -> String,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<crate::Item>, bool), StoreError> {
        // All ids have the same length, so the next item follows right after the last one's key.
        let from = after.map_or_else(|| key(""), |after| format!("{}\u{1}", key(after)));
        let to = key("\u{10ffff}");
        let mut items = self.query(&keys::tenant(tenant), &from, &to, limit.saturating_add(1)).await?;
        let more = items.len() > limit;
        items.truncate(limit);
        Ok((items, more))
    }

    /// Returns a recipient by its id.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn recipient(&self, tenant: &TenantId, id: &RecipientId) -> Result<Option<Recipient>, StoreError> {
        match self.get(&keys::tenant(tenant), &keys::recipient(id.as_str())).await? {
            Some(found) => Ok(Some(read::<StoredDestination<Recipient>>(found, "a recipient")?.value)),
            None => Ok(None),
        }
    }

    /// Returns a tenant's integrations, ordered by id.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn integrations(&self, tenant: &TenantId) -> Result<Vec<Integration>, StoreError> {
        let items = self.query_prefix(&keys::tenant(tenant), &keys::integration("")).await?;
        items
            .into_iter()
            .map(|found| Ok(read::<StoredDestination<Integration>>(found, "an integration")?.value))
            .collect()
    }

    /// Returns an integration by its id.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn integration(&self, tenant: &TenantId, id: &IntegrationId) -> Result<Option<Integration>, StoreError> {
        match self.get(&keys::tenant(tenant), &keys::integration(id.as_str())).await? {
            Some(found) => Ok(Some(read::<StoredDestination<Integration>>(found, "an integration")?.value)),
            None => Ok(None),
        }
    }

    /// Writes a change with everything that depends on it. The value's `version` is the new version: one more than the stored version,
    /// or 1 for a new item.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the tenant's chunks kept changing; otherwise the error of the call.
    pub async fn save(
        &self,
        tenant: &TenantId,
        setting: &TenantChange,
        audit: &AuditRecord,
        nonce: &str,
    ) -> Result<SaveOutcome, StoreError> {
        for (attempt, pause) in SAVE_PAUSES_MS.into_iter().enumerate() {
            match self.try_save(tenant, setting, audit, nonce).await {
                Ok(Some(saved)) => return Ok(saved),
                Ok(None) | Err(StoreError::Conflict { .. } | StoreError::Contended { .. }) => {}
                Err(error) => return Err(error),
            }
            // Everybody who adds a recipient at the same time wants the same chunk. The nonce is random.
            tokio::time::sleep(crate::spread(pause, attempt, std::iter::once(nonce))).await;
        }
        Err(StoreError::Conflict { operation: "save" })
    }

    /// Changes the current version of an integration, for example when a sender disables its endpoint. `change` returns the kind of
    /// change for the audit trail, or `None` to change nothing. Returns the changed integration, or `None` if nothing was changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the integration kept changing; otherwise the error of a call.
    pub async fn change_integration(
        &self,
        tenant: &TenantId,
        id: &IntegrationId,
        stamp: AuditStamp<'_>,
        change: impl Fn(&mut Integration) -> Option<&'static str>,
    ) -> Result<Option<Integration>, StoreError> {
        for _ in 0..6 {
            let Some(mut integration) = self.integration(tenant, id).await? else { return Ok(None) };
            let Some(what) = change(&mut integration) else { return Ok(None) };
            integration.version += 1;
            let audit =
                AuditRecord { at: stamp.at, who: stamp.who.to_owned(), what: what.to_owned(), object: id.to_string() };
            let setting = TenantChange::Destination(Destination::Integration(Box::new(integration.clone())));
            match self.save(tenant, &setting, &audit, stamp.nonce).await? {
                SaveOutcome::VersionConflict => {}
                _ => return Ok(Some(integration)),
            }
        }
        Err(StoreError::Conflict { operation: "change_integration" })
    }

    /// Suppresses a recipient's address, or its number if the phone's owner opted out. Returns the changed recipient, or `None` if it was
    /// suppressed already, or has another address or number by now.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the recipient kept changing; otherwise the error of a call.
    pub async fn suppress_contact(
        &self,
        tenant: &TenantId,
        id: &RecipientId,
        silenced: &SilencedContact,
        who: &str,
        nonce: &str,
    ) -> Result<Option<Recipient>, StoreError> {
        for _ in 0..6 {
            let Some(mut recipient) = self.recipient(tenant, id).await? else { return Ok(None) };
            if !silenced.suppress(tenant, &mut recipient) {
                return Ok(None);
            }
            recipient.version += 1;
            let Suppression { reason, at } = silenced.suppression;
            let audit =
                AuditRecord { at, who: who.to_owned(), what: format!("recipient.{reason}"), object: id.to_string() };
            let setting = TenantChange::Destination(Destination::Recipient(Box::new(recipient.clone())));
            match self.save(tenant, &setting, &audit, nonce).await? {
                SaveOutcome::VersionConflict => {}
                _ => return Ok(Some(recipient)),
            }
        }
        Err(StoreError::Conflict { operation: "suppress_contact" })
    }

    /// Rebuilds a tenant's compiled subscriptions from its settings, recipients and integrations. Repairs chunks that were written by
    /// anything else than [`Table::save`]. Returns the number of chunks, or `None` if the tenant does not exist.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the tenant kept changing; otherwise the error of a call.
    pub async fn rebuild_subscriptions(&self, tenant: &TenantId) -> Result<Option<usize>, StoreError> {
        for _ in 0..6 {
            match self.try_rebuild_subscriptions(tenant).await {
                Err(StoreError::Conflict { .. } | StoreError::Contended { .. }) => {}
                done => return done,
            }
        }
        Err(StoreError::Conflict { operation: "rebuild_subscriptions" })
    }

    async fn try_rebuild_subscriptions(&self, tenant: &TenantId) -> Result<Option<usize>, StoreError> {
        // Chunks are read first and written conditional on their versions. A change saved after this line increments one of the
        // versions, so the destinations read below are never older than those they replace.
        let mut stored = Vec::new();
        for &category in Category::ALL {
            stored.push((category, self.chunks(tenant, category).await?));
        }
        let Some(settings) = self.settings(tenant).await? else { return Ok(None) };
        let pk = keys::tenant(tenant);
        let mut facts: BTreeMap<u32, Vec<Destination>> = BTreeMap::from([(0, Vec::new())]);
        for found in self.query_prefix(&pk, &keys::recipient("")).await? {
            let StoredDestination { chunk, value } = read::<StoredDestination<Recipient>>(found, "a recipient")?;
            facts.entry(chunk).or_default().push(Destination::Recipient(Box::new(value)));
        }
        for found in self.query_prefix(&pk, &keys::integration("")).await? {
            let StoredDestination { chunk, value } = read::<StoredDestination<Integration>>(found, "an integration")?;
            facts.entry(chunk).or_default().push(Destination::Integration(Box::new(value)));
        }
        for (_, chunks) in &stored {
            for chunk in chunks {
                facts.entry(chunk.number).or_default();
            }
        }
        for (category, chunks) in stored {
            for (&number, destinations) in &facts {
                let before = chunks.iter().find(|chunk| chunk.number == number);
                let chunk = Chunk {
                    tenant: tenant.clone(),
                    number,
                    settings: (number == 0).then(|| settings.clone()),
                    destinations: in_known_order(destinations.clone(), before),
                    version: before.map_or(0, |chunk| chunk.version),
                };
                if self.transact(vec![self.chunk_write(category, chunk)?]).await?.is_some() {
                    return Err(StoreError::Conflict { operation: "rebuild_subscriptions" });
                }
            }
        }
        Ok(Some(facts.len()))
    }

    /// Records an audit entry without a change to the tenant.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn record_audit(&self, tenant: &TenantId, audit: &AuditRecord, nonce: &str) -> Result<(), StoreError> {
        self.transact(vec![self.audit_write(tenant, audit, nonce)?]).await.map(|_| ())
    }

    /// Returns a page of a tenant's audit trail, newest first, and the cursor of the next page. `before` is the cursor of the previous
    /// page.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn audit_trail(
        &self,
        tenant: &TenantId,
        before: Option<&AuditCursor>,
        limit: usize,
    ) -> Result<(Vec<AuditRecord>, Option<AuditCursor>), StoreError> {
        let from = keys::audit(Timestamp::UNIX_EPOCH, "");
        let to = before.map_or_else(|| keys::audit(Timestamp::MAX, ""), |cursor| keys::audit_from_tail(&cursor.0));
        // One more than `limit` shows whether there is another page; one more again for the cursor's own entry.
        let mut items = self.query_newest(&keys::tenant(tenant), &from, &to, limit.saturating_add(2)).await?;
        items.retain(|item| before.is_none() || crate::sort_key(item) < to.as_str());
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().map(|item| AuditCursor(keys::audit_tail(crate::sort_key(item)).to_owned()));
        let entries = items.into_iter().map(|found| read(found, "an audit entry")).collect::<Result<_, _>>()?;
        Ok((entries, last.filter(|_| more)))
    }

    /// Builds the write of an audit entry, for a transaction.
    pub(crate) fn audit_write(
        &self,
        tenant: &TenantId,
        audit: &AuditRecord,
        nonce: &str,
    ) -> Result<TransactWriteItem, StoreError> {
        self.put_action(item(&keys::tenant(tenant), &keys::audit(audit.at, nonce), audit, None)?, None, vec![])
    }

    /// Builds the conditional write of a chunk, whose version it raises by one.
    fn chunk_write(&self, category: Category, mut chunk: Chunk) -> Result<TransactWriteItem, StoreError> {
        let before = chunk.version;
        chunk.version += 1;
        let pk = keys::subscriptions(category, chunk.tenant.shard());
        let entry = item(&pk, &keys::chunk(&chunk.tenant, chunk.number), &chunk, None)?;
        if before == 0 {
            return self.put_action(entry, Some("attribute_not_exists(pk)"), vec![]);
        }
        self.put_action(entry, Some("version = :before"), vec![(":before", number(before))])
    }
}

/// Sorts destinations in the order of the stored chunk, because plans refer to their position; new ones come last.
fn in_known_order(mut destinations: Vec<Destination>, before: Option<&Chunk>) -> Vec<Destination> {
    let known = before.map(|chunk| chunk.destinations.as_slice()).unwrap_or_default();
    let place = |id: &str| known.iter().position(|entry| entry.id() == id).unwrap_or(usize::MAX);
    destinations.sort_by_key(|destination| place(destination.id()));
    destinations
}
