//! Tenants: settings, recipients, integrations, their audit trail, and the compiled subscriptions, written together.
//!
//! One function, [`Table::save`], writes all of it for all writers: the setting, its chunks in all three categories, the
//! lock on its address and the audit entry go in one transaction, conditional on every version that was read.

use crate::{StoreError, Table, item, keys, number, read, text};
use aws_sdk_dynamodb::types::TransactWriteItem;
use domain::ids::{IntegrationId, RecipientId, TenantId};
use domain::tenant::{CHUNK_MAX, Chunk, Destination, Integration, Recipient, Settings, Suppressed};
use domain::vocabulary::{Category, Channel};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who changed what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// When.
    pub at: Timestamp,
    /// The token's id, `recipient` for somebody who used a link, or the function that found an endpoint gone.
    pub who: String,
    /// What was done, such as `recipient.created`.
    pub what: String,
    /// To which object.
    pub object: String,
}

/// Where a page of the audit trail ended. Its text holds nothing that the page did not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditCursor(String);

impl AuditCursor {
    /// Reads a cursor that came back; `None` if it is none of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (instant, nonce) = text.split_once('.')?;
        let ok = instant.len() == 15
            && instant.bytes().all(|byte| byte.is_ascii_digit())
            && (1..=80).contains(&nonce.len())
            && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
        ok.then(|| Self(format!("{instant}#{nonce}")))
    }

    /// The cursor as text that needs no escaping in a URL.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.0.replace('#', ".")
    }
}

/// A setting that is written.
#[derive(Clone, Debug)]
pub enum Setting {
    /// The tenant's settings.
    Settings(Box<Settings>),
    /// A recipient or an integration.
    Destination(Destination),
    /// A recipient or an integration that goes.
    Removed(Destination),
}

/// How a save ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is written.
    Done,
    /// The version that it was based on is not the current one.
    Outdated,
    /// Another destination of the tenant has this address, number or URL.
    Taken {
        /// The other destination.
        by: String,
        /// On which channel the two meet.
        channel: Channel,
    },
    /// There is no such tenant.
    NoTenant,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lock {
    owner: String,
}

/// A recipient or an integration as stored: with its chunk, which it keeps for life.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored<T> {
    chunk: u32,
    #[serde(flatten)]
    value: T,
}

impl Table {
    /// A tenant's settings.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn settings(&self, tenant: &TenantId) -> Result<Option<Settings>, StoreError> {
        match self.get(&keys::tenant(tenant), keys::SETTINGS).await? {
            Some(found) => Ok(Some(read(found, "settings")?)),
            None => Ok(None),
        }
    }

    /// A tenant's recipients, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn recipients(&self, tenant: &TenantId) -> Result<Vec<Recipient>, StoreError> {
        let items = self.query_prefix(&keys::tenant(tenant), &keys::recipient("")).await?;
        items.into_iter().map(|found| Ok(read::<Stored<Recipient>>(found, "a recipient")?.value)).collect()
    }

    /// A page of a tenant's recipients, by id, after `after`; with whether more follow.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn recipients_page(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Recipient>, bool), StoreError> {
        let (items, more) = self.page(tenant, keys::recipient, after, limit).await?;
        let read = |found| Ok(read::<Stored<Recipient>>(found, "a recipient")?.value);
        Ok((items.into_iter().map(read).collect::<Result<_, StoreError>>()?, more))
    }

    /// A page of a tenant's integrations, as [`Table::recipients_page`].
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn integrations_page(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Integration>, bool), StoreError> {
        let (items, more) = self.page(tenant, keys::integration, after, limit).await?;
        let read = |found| Ok(read::<Stored<Integration>>(found, "an integration")?.value);
        Ok((items.into_iter().map(read).collect::<Result<_, StoreError>>()?, more))
    }

    async fn page(
        &self,
        tenant: &TenantId,
        key: fn(&str) -> String,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<crate::Item>, bool), StoreError> {
        // Ids have one length, so what begins right behind the last one's key is the next one.
        let from = after.map_or_else(|| key(""), |after| format!("{}\u{1}", key(after)));
        let to = key("\u{10ffff}");
        let mut items = self.query(&keys::tenant(tenant), &from, &to, limit.saturating_add(1)).await?;
        let more = items.len() > limit;
        items.truncate(limit);
        Ok((items, more))
    }

    /// One recipient.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn recipient(&self, tenant: &TenantId, id: &RecipientId) -> Result<Option<Recipient>, StoreError> {
        match self.get(&keys::tenant(tenant), &keys::recipient(id.as_str())).await? {
            Some(found) => Ok(Some(read::<Stored<Recipient>>(found, "a recipient")?.value)),
            None => Ok(None),
        }
    }

    /// A tenant's integrations, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn integrations(&self, tenant: &TenantId) -> Result<Vec<Integration>, StoreError> {
        let items = self.query_prefix(&keys::tenant(tenant), &keys::integration("")).await?;
        items.into_iter().map(|found| Ok(read::<Stored<Integration>>(found, "an integration")?.value)).collect()
    }

    /// One integration.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn integration(&self, tenant: &TenantId, id: &IntegrationId) -> Result<Option<Integration>, StoreError> {
        match self.get(&keys::tenant(tenant), &keys::integration(id.as_str())).await? {
            Some(found) => Ok(Some(read::<Stored<Integration>>(found, "an integration")?.value)),
            None => Ok(None),
        }
    }

    /// Writes one setting with everything that depends on it. The value's `version` is the new one: it must be one more
    /// than the stored version, or 1 for something new.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the tenant's chunks changed again and again; else that of the call.
    pub async fn save(
        &self,
        tenant: &TenantId,
        setting: &Setting,
        audit: &Audit,
        nonce: &str,
    ) -> Result<Saved, StoreError> {
        for _ in 0..6 {
            match self.try_save(tenant, setting, audit, nonce).await {
                Ok(Some(saved)) => return Ok(saved),
                Ok(None) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict { operation: "save" })
    }

    /// Changes one integration from wherever it stands: what a sender does when it learns of the endpoint. `change` says what was done,
    /// for the audit trail, or that nothing is to be done. The integration as it is then, if it was changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the integration kept changing; else that of the calls.
    pub async fn change_integration(
        &self,
        tenant: &TenantId,
        id: &IntegrationId,
        (at, who, nonce): (Timestamp, &str, &str),
        change: impl Fn(&mut Integration) -> Option<&'static str>,
    ) -> Result<Option<Integration>, StoreError> {
        for _ in 0..6 {
            let Some(mut integration) = self.integration(tenant, id).await? else { return Ok(None) };
            let Some(what) = change(&mut integration) else { return Ok(None) };
            integration.version += 1;
            let audit = Audit { at, who: who.to_owned(), what: what.to_owned(), object: id.to_string() };
            let setting = Setting::Destination(Destination::Integration(Box::new(integration.clone())));
            match self.save(tenant, &setting, &audit, nonce).await? {
                Saved::Outdated => {}
                _ => return Ok(Some(integration)),
            }
        }
        Err(StoreError::Conflict { operation: "change_integration" })
    }

    /// Sends nothing more to a recipient's address, or to its number where the phone's owner said so. The recipient, if it was not so
    /// already.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the recipient kept changing; else that of the calls.
    pub async fn suppress(
        &self,
        tenant: &TenantId,
        id: &RecipientId,
        suppressed: &Suppressed,
        who: &str,
        nonce: &str,
    ) -> Result<Option<Recipient>, StoreError> {
        for _ in 0..6 {
            let Some(mut recipient) = self.recipient(tenant, id).await? else { return Ok(None) };
            if !recipient.silence(suppressed) {
                return Ok(None);
            }
            recipient.version += 1;
            let audit = Audit {
                at: suppressed.at,
                who: who.to_owned(),
                what: format!("recipient.{}", suppressed.reason),
                object: id.to_string(),
            };
            let setting = Setting::Destination(Destination::Recipient(Box::new(recipient.clone())));
            match self.save(tenant, &setting, &audit, nonce).await? {
                Saved::Outdated => {}
                _ => return Ok(Some(recipient)),
            }
        }
        Err(StoreError::Conflict { operation: "suppress" })
    }

    /// Writes a tenant's compiled subscriptions anew from its settings, recipients and integrations: the repair for chunks
    /// that anything else than [`Table::save`] wrote. The number of chunks; `None` if there is no such tenant.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the tenant kept changing; else that of the calls.
    pub async fn recompile(&self, tenant: &TenantId) -> Result<Option<usize>, StoreError> {
        for _ in 0..6 {
            match self.try_recompile(tenant).await {
                Err(StoreError::Conflict { .. }) => {}
                done => return done,
            }
        }
        Err(StoreError::Conflict { operation: "recompile" })
    }

    async fn try_recompile(&self, tenant: &TenantId) -> Result<Option<usize>, StoreError> {
        // Chunks are read first and written on their versions: whatever is saved after this line bumps one of them, so that
        // facts read below are never older than what they replace.
        let mut stored = Vec::new();
        for &category in Category::ALL {
            stored.push((category, self.chunks(tenant, category).await?));
        }
        let Some(settings) = self.settings(tenant).await? else { return Ok(None) };
        let pk = keys::tenant(tenant);
        let mut facts: BTreeMap<u32, Vec<Destination>> = BTreeMap::from([(0, Vec::new())]);
        for found in self.query_prefix(&pk, &keys::recipient("")).await? {
            let Stored { chunk, value } = read::<Stored<Recipient>>(found, "a recipient")?;
            facts.entry(chunk).or_default().push(Destination::Recipient(Box::new(value)));
        }
        for found in self.query_prefix(&pk, &keys::integration("")).await? {
            let Stored { chunk, value } = read::<Stored<Integration>>(found, "an integration")?;
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
                    return Err(StoreError::Conflict { operation: "recompile" });
                }
            }
        }
        Ok(Some(facts.len()))
    }

    /// Notes who did what where nothing of the settings changed.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn note(&self, tenant: &TenantId, audit: &Audit, nonce: &str) -> Result<(), StoreError> {
        self.transact(vec![self.audit_write(tenant, audit, nonce)?]).await.map(|_| ())
    }

    /// Who changed what of a tenant, newest first; `before` is where the page before ended.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn audit(
        &self,
        tenant: &TenantId,
        before: Option<&AuditCursor>,
        limit: usize,
    ) -> Result<(Vec<Audit>, Option<AuditCursor>), StoreError> {
        let from = keys::audit(Timestamp::UNIX_EPOCH, "");
        let to = before.map_or_else(|| keys::audit(Timestamp::MAX, ""), |cursor| keys::audit_after(&cursor.0));
        // One more than asked tells whether there is another page; one more again for the cursor's own entry.
        let mut items = self.query_newest(&keys::tenant(tenant), &from, &to, limit.saturating_add(2)).await?;
        items.retain(|item| before.is_none() || crate::sort_key(item) < to.as_str());
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().map(|item| AuditCursor(keys::audit_tail(crate::sort_key(item)).to_owned()));
        let entries = items.into_iter().map(|found| read(found, "an audit entry")).collect::<Result<_, _>>()?;
        Ok((entries, last.filter(|_| more)))
    }

    /// `Ok(None)`: a chunk changed in between, try again.
    async fn try_save(
        &self,
        tenant: &TenantId,
        setting: &Setting,
        audit: &Audit,
        nonce: &str,
    ) -> Result<Option<Saved>, StoreError> {
        let pk = keys::tenant(tenant);
        let mut writes: Vec<TransactWriteItem> = Vec::new();
        let mut locks: Vec<(usize, Channel)> = Vec::new();
        match setting {
            Setting::Settings(settings) => {
                writes.push(self.versioned(item(&pk, keys::SETTINGS, settings, None)?, settings.version)?);
                for &category in Category::ALL {
                    let chunks = self.chunks(tenant, category).await?;
                    let mut chunk =
                        chunks.into_iter().find(|chunk| chunk.number == 0).unwrap_or_else(|| empty(tenant, 0));
                    chunk.settings = Some(settings.as_ref().clone());
                    writes.push(self.chunk_write(category, chunk)?);
                }
            }
            Setting::Destination(destination) | Setting::Removed(destination) => {
                let removed = matches!(setting, Setting::Removed(_));
                let (sk, version) = place_of(destination);
                let before = self.get(&pk, &sk).await?;
                let (chunk_before, old) = match before {
                    Some(found) => {
                        let (chunk, old) = read_destination(found, destination)?;
                        (Some(chunk), Some(old))
                    }
                    None => (None, None),
                };
                if removed && old.is_none() {
                    return Ok(Some(Saved::Outdated));
                }
                let all = self.chunks(tenant, Category::Infrastructure).await?;
                if !all.iter().any(|chunk| chunk.number == 0) {
                    return Ok(Some(Saved::NoTenant));
                }
                let place = chunk_before.unwrap_or_else(|| free_chunk(&all));
                if removed {
                    writes.push(self.removal(&pk, &sk, version)?);
                } else {
                    writes.push(self.versioned(stored_item(&pk, &sk, destination, place)?, version)?);
                }
                let of = |value: &Destination| -> Vec<(Channel, String)> {
                    value.channels().iter().filter_map(|c| value.identity(*c).map(|identity| (*c, identity))).collect()
                };
                let wanted = if removed { Vec::new() } else { of(destination) };
                let held = old.as_ref().map(of).unwrap_or_default();
                for (channel, identity) in wanted.iter().filter(|entry| !held.contains(entry)) {
                    let lock = Lock { owner: destination.id().to_owned() };
                    let entry = item(&pk, &keys::address(&format!("{}#{identity}", channel.class())), &lock, None)?;
                    locks.push((writes.len(), *channel));
                    writes.push(self.put_action(entry, Some("attribute_not_exists(pk)"), vec![])?);
                }
                for (channel, identity) in held.iter().filter(|entry| !wanted.contains(entry)) {
                    writes.push(self.delete_action(&pk, &keys::address(&format!("{}#{identity}", channel.class())))?);
                }
                for &category in Category::ALL {
                    let chunks = self.chunks(tenant, category).await?;
                    let mut chunk =
                        chunks.into_iter().find(|chunk| chunk.number == place).unwrap_or_else(|| empty(tenant, place));
                    let at = chunk.destinations.iter().position(|entry| entry.id() == destination.id());
                    match (at, removed) {
                        (Some(at), true) => drop(chunk.destinations.remove(at)),
                        (Some(at), false) => {
                            if let Some(entry) = chunk.destinations.get_mut(at) {
                                *entry = destination.clone();
                            }
                        }
                        (None, true) => {}
                        (None, false) => chunk.destinations.push(destination.clone()),
                    }
                    writes.push(self.chunk_write(category, chunk)?);
                }
            }
        }
        writes.push(self.audit_write(tenant, audit, nonce)?);
        let Some(failures) = self.transact(writes).await? else { return Ok(Some(Saved::Done)) };
        if failures.iter().any(|(place, _)| *place == 0) {
            return Ok(Some(Saved::Outdated));
        }
        for (place, found) in failures {
            if let Some((_, channel)) = locks.iter().find(|(lock, _)| *lock == place) {
                let by = read::<Lock>(found, "an address lock")?.owner;
                return Ok(Some(Saved::Taken { by, channel: *channel }));
            }
        }
        Ok(None)
    }

    fn versioned(&self, item: crate::Item, version: u64) -> Result<TransactWriteItem, StoreError> {
        if version <= 1 {
            return self.put_action(item, Some("attribute_not_exists(pk)"), vec![]);
        }
        self.put_action(item, Some("version = :before"), vec![(":before", number(version - 1))])
    }

    /// The audit entry of a write, for its transaction.
    pub(crate) fn audit_write(
        &self,
        tenant: &TenantId,
        audit: &Audit,
        nonce: &str,
    ) -> Result<TransactWriteItem, StoreError> {
        self.put_action(item(&keys::tenant(tenant), &keys::audit(audit.at, nonce), audit, None)?, None, vec![])
    }

    fn removal(&self, pk: &str, sk: &str, version: u64) -> Result<TransactWriteItem, StoreError> {
        use aws_sdk_dynamodb::types::Delete;
        let delete = Delete::builder().table_name(&self.name).key("pk", text(pk)).key("sk", text(sk));
        let delete = delete.condition_expression("version = :before");
        let delete = delete.expression_attribute_values(":before", number(version));
        Ok(TransactWriteItem::builder().delete(delete.build().map_err(|_| crate::build_error())?).build())
    }

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

fn empty(tenant: &TenantId, number: u32) -> Chunk {
    Chunk { tenant: tenant.clone(), number, settings: None, destinations: Vec::new(), version: 0 }
}

/// The order in which a chunk had its destinations, because the plan's numbers count in it; new ones come last.
fn in_known_order(mut destinations: Vec<Destination>, before: Option<&Chunk>) -> Vec<Destination> {
    let known = before.map(|chunk| chunk.destinations.as_slice()).unwrap_or_default();
    let place = |id: &str| known.iter().position(|entry| entry.id() == id).unwrap_or(usize::MAX);
    destinations.sort_by_key(|destination| place(destination.id()));
    destinations
}

/// The first chunk with room; a new one after the last.
fn free_chunk(chunks: &[Chunk]) -> u32 {
    let open = chunks.iter().find(|chunk| chunk.destinations.len() < CHUNK_MAX);
    open.map_or_else(|| u32::try_from(chunks.len()).unwrap_or(u32::MAX), |chunk| chunk.number)
}

fn place_of(destination: &Destination) -> (String, u64) {
    match destination {
        Destination::Recipient(recipient) => (keys::recipient(recipient.id.as_str()), recipient.version),
        Destination::Integration(integration) => (keys::integration(integration.id.as_str()), integration.version),
    }
}

fn stored_item(pk: &str, sk: &str, destination: &Destination, chunk: u32) -> Result<crate::Item, StoreError> {
    match destination {
        Destination::Recipient(value) => item(pk, sk, &Stored { chunk, value: value.as_ref() }, None),
        Destination::Integration(value) => item(pk, sk, &Stored { chunk, value: value.as_ref() }, None),
    }
}

fn read_destination(found: crate::Item, like: &Destination) -> Result<(u32, Destination), StoreError> {
    Ok(match like {
        Destination::Recipient(_) => {
            let stored: Stored<Recipient> = read(found, "a recipient")?;
            (stored.chunk, Destination::Recipient(Box::new(stored.value)))
        }
        Destination::Integration(_) => {
            let stored: Stored<Integration> = read(found, "an integration")?;
            (stored.chunk, Destination::Integration(Box::new(stored.value)))
        }
    })
}
