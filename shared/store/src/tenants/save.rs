//! The transaction of [`Table::save`]: the changed setting, its address locks, its chunks and the audit entry.

use super::{AuditRecord, SaveOutcome, StoredDestination, TenantChange};
use crate::{Item, StoreError, Table, item, keys, number, read, text};
use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};
use domain::ids::TenantId;
use domain::tenant::{Chunk, DESTINATIONS_PER_CHUNK_MAX, Destination, Integration, NameRequests, Recipient, Settings};
use domain::vocabulary::{Category, Channel};
use serde::{Deserialize, Serialize};

/// The item that reserves an address, number or URL for one destination of a tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct AddressLock {
    /// Id of the destination.
    owner: String,
}

/// The writes of one save. The first one is the changed item itself, so its failure means that the version is outdated.
#[derive(Default)]
struct SaveTransaction {
    writes: Vec<TransactWriteItem>,
    /// Index and channel of each write that locks an address, number or URL.
    locks: Vec<(usize, Channel)>,
}

/// What happens to a destination.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Put,
    Remove,
}

impl Table {
    /// Tries to write a change once. Returns `None` if a chunk changed in the meantime and the caller should try again.
    pub(super) async fn try_save(
        &self,
        tenant: &TenantId,
        change: &TenantChange,
        audit: &AuditRecord,
        nonce: &str,
    ) -> Result<Option<SaveOutcome>, StoreError> {
        let mut transaction = SaveTransaction::default();
        let refused = match change {
            TenantChange::Settings(settings) => {
                self.add_settings(&mut transaction, tenant, settings).await?;
                None
            }
            TenantChange::Destination(destination) => {
                self.add_destination(&mut transaction, tenant, destination, Operation::Put).await?
            }
            TenantChange::Removed(destination) => {
                self.add_destination(&mut transaction, tenant, destination, Operation::Remove).await?
            }
        };
        if refused.is_some() {
            return Ok(refused);
        }
        let SaveTransaction { mut writes, locks } = transaction;
        writes.push(self.audit_write(tenant, audit, nonce)?);
        // What another writer has will not be the same when it is done, so the caller reads again instead of trying this once more.
        match self.try_transact(writes).await? {
            Some(failures) => outcome_of_failures(failures, &locks),
            None => Ok(Some(SaveOutcome::Saved)),
        }
    }

    /// Adds the writes of a tenant's settings: the item, and the first chunk of every category.
    async fn add_settings(
        &self,
        transaction: &mut SaveTransaction,
        tenant: &TenantId,
        settings: &Settings,
    ) -> Result<(), StoreError> {
        let stored = item(&keys::tenant(tenant), keys::SETTINGS, settings, None)?;
        transaction.writes.push(self.versioned_put(stored, settings.version)?);
        if settings.name_requests != NameRequests::default() {
            transaction.writes.push(self.name_request_write(tenant, settings)?);
        }
        for &category in Category::ALL {
            let mut chunk = self.chunk_or_empty(tenant, category, 0).await?;
            chunk.settings = Some(settings.clone());
            transaction.writes.push(self.chunk_write(category, chunk)?);
        }
        Ok(())
    }

    /// Adds the writes of a recipient or an integration: the item, its address locks, and its chunk of every category. Returns an outcome if
    /// there is nothing to write.
    async fn add_destination(
        &self,
        transaction: &mut SaveTransaction,
        tenant: &TenantId,
        destination: &Destination,
        operation: Operation,
    ) -> Result<Option<SaveOutcome>, StoreError> {
        let pk = keys::tenant(tenant);
        let (sk, version) = destination_key(destination);
        let (stored_chunk, stored) = match self.get(&pk, &sk).await? {
            Some(found) => {
                let (chunk, stored) = read_destination(found, destination)?;
                (Some(chunk), Some(stored))
            }
            None => (None, None),
        };
        if operation == Operation::Remove && stored.is_none() {
            return Ok(Some(SaveOutcome::VersionConflict));
        }
        let chunks = self.chunks(tenant, Category::Infrastructure).await?;
        if !chunks.iter().any(|chunk| chunk.number == 0) {
            return Ok(Some(SaveOutcome::NoTenant));
        }
        let chunk_number = stored_chunk.unwrap_or_else(|| free_chunk(&chunks));
        transaction.writes.push(match operation {
            Operation::Put => self.versioned_put(stored_item(&pk, &sk, destination, chunk_number)?, version)?,
            Operation::Remove => self.versioned_delete(&pk, &sk, version)?,
        });
        self.add_address_locks(transaction, &pk, stored.as_ref(), destination, operation)?;
        for &category in Category::ALL {
            let mut chunk = self.chunk_or_empty(tenant, category, chunk_number).await?;
            update_chunk(&mut chunk, destination, operation);
            transaction.writes.push(self.chunk_write(category, chunk)?);
        }
        Ok(None)
    }

    /// Adds a lock for each new address, number or URL of a destination, and deletes the locks of those that it no longer has.
    fn add_address_locks(
        &self,
        transaction: &mut SaveTransaction,
        pk: &str,
        stored: Option<&Destination>,
        destination: &Destination,
        operation: Operation,
    ) -> Result<(), StoreError> {
        let key = |channel: Channel, identity: &str| keys::address(&format!("{}#{identity}", channel.class()));
        let wanted = if operation == Operation::Remove { Vec::new() } else { addresses(destination) };
        let held = stored.map(addresses).unwrap_or_default();
        for (channel, identity) in wanted.iter().filter(|entry| !held.contains(entry)) {
            let lock = AddressLock { owner: destination.id().to_owned() };
            let entry = item(pk, &key(*channel, identity), &lock, None)?;
            transaction.locks.push((transaction.writes.len(), *channel));
            transaction.writes.push(self.put_action(entry, Some("attribute_not_exists(pk)"), vec![])?);
        }
        for (channel, identity) in held.iter().filter(|entry| !wanted.contains(entry)) {
            transaction.writes.push(self.delete_action(pk, &key(*channel, identity))?);
        }
        Ok(())
    }

    /// Reads a chunk of a category; an empty one if it is not stored yet.
    async fn chunk_or_empty(&self, tenant: &TenantId, category: Category, number: u32) -> Result<Chunk, StoreError> {
        let chunks = self.chunks(tenant, category).await?;
        Ok(chunks.into_iter().find(|chunk| chunk.number == number).unwrap_or_else(|| empty_chunk(tenant, number)))
    }

    /// Builds the write of an item whose stored version must be the predecessor of `version`; of a new item if that is 1.
    fn versioned_put(&self, item: crate::Item, version: u64) -> Result<TransactWriteItem, StoreError> {
        if version <= 1 {
            return self.put_action(item, Some("attribute_not_exists(pk)"), vec![]);
        }
        self.put_action(item, Some("version = :before"), vec![(":before", number(version - 1))])
    }

    /// Builds the deletion of an item whose stored version must be `version`.
    fn versioned_delete(&self, pk: &str, sk: &str, version: u64) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder().table_name(&self.name).key("pk", text(pk)).key("sk", text(sk));
        let delete = delete.condition_expression("version = :before");
        let delete = delete.expression_attribute_values(":before", number(version));
        Ok(TransactWriteItem::builder().delete(delete.build().map_err(|_| crate::build_error())?).build())
    }
}

/// Tells from the failed writes why the transaction failed. Returns `None` if only a chunk has changed.
fn outcome_of_failures(
    failures: Vec<(usize, Item)>,
    locks: &[(usize, Channel)],
) -> Result<Option<SaveOutcome>, StoreError> {
    if failures.iter().any(|(index, _)| *index == 0) {
        return Ok(Some(SaveOutcome::VersionConflict));
    }
    for (index, found) in failures {
        if let Some((_, channel)) = locks.iter().find(|(lock, _)| *lock == index) {
            let by = read::<AddressLock>(found, "an address lock")?.owner;
            return Ok(Some(SaveOutcome::AddressInUse { by, channel: *channel }));
        }
    }
    Ok(None)
}

/// Puts a destination into its chunk, at its known position, or removes it.
fn update_chunk(chunk: &mut Chunk, destination: &Destination, operation: Operation) {
    let position = chunk.destinations.iter().position(|entry| entry.id() == destination.id());
    match (position, operation) {
        (Some(position), Operation::Remove) => drop(chunk.destinations.remove(position)),
        (Some(position), Operation::Put) => {
            if let Some(entry) = chunk.destinations.get_mut(position) {
                *entry = destination.clone();
            }
        }
        (None, Operation::Remove) => {}
        (None, Operation::Put) => chunk.destinations.push(destination.clone()),
    }
}

/// Returns the normalized address, number or URL hash of each channel of a destination.
fn addresses(destination: &Destination) -> Vec<(Channel, String)> {
    let address = |channel: &Channel| destination.identity(*channel).map(|identity| (*channel, identity));
    destination.channels().iter().filter_map(address).collect()
}

fn empty_chunk(tenant: &TenantId, number: u32) -> Chunk {
    Chunk { tenant: tenant.clone(), number, settings: None, destinations: Vec::new(), version: 0 }
}

/// Returns the number of the first chunk with room, or of a new one after the last.
fn free_chunk(chunks: &[Chunk]) -> u32 {
    let open = chunks.iter().find(|chunk| chunk.destinations.len() < DESTINATIONS_PER_CHUNK_MAX);
    open.map_or_else(|| u32::try_from(chunks.len()).unwrap_or(u32::MAX), |chunk| chunk.number)
}

/// Returns the sort key and the version of a destination.
fn destination_key(destination: &Destination) -> (String, u64) {
    match destination {
        Destination::Recipient(recipient) => (keys::recipient(recipient.id.as_str()), recipient.version),
        Destination::Integration(integration) => (keys::integration(integration.id.as_str()), integration.version),
    }
}

/// Builds the item of a destination, with the number of its chunk.
fn stored_item(pk: &str, sk: &str, destination: &Destination, chunk: u32) -> Result<Item, StoreError> {
    match destination {
        Destination::Recipient(value) => item(pk, sk, &StoredDestination { chunk, value: value.as_ref() }, None),
        Destination::Integration(value) => item(pk, sk, &StoredDestination { chunk, value: value.as_ref() }, None),
    }
}

/// Reads an item of the same kind as `like`, and the number of its chunk.
fn read_destination(found: Item, like: &Destination) -> Result<(u32, Destination), StoreError> {
    Ok(match like {
        Destination::Recipient(_) => {
            let stored: StoredDestination<Recipient> = read(found, "a recipient")?;
            (stored.chunk, Destination::Recipient(Box::new(stored.value)))
        }
        Destination::Integration(_) => {
            let stored: StoredDestination<Integration> = read(found, "an integration")?;
            (stored.chunk, Destination::Integration(Box::new(stored.value)))
        }
    })
}
