//! The due index: deliveries scheduled for later.
//!
//! It has retries after pauses longer than a queue's delay, written in one transaction with the mark that schedules them, and held
//! deliveries, written after their plan and again by the next run after a crash.

use crate::{Filter, StoreError, Table, item, keys, number, read, sort_key, store_error, text};
use domain::due::{DueItem, DuePage, DuePlaces, ScheduledDelivery};
use domain::reason::Reason;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Maximum duration of a shard's lease. A run starts every minute.
const LEASE_MAX: SignedDuration = SignedDuration::from_mins(1);

/// Attribute with the version of an entry.
const VERSION: &str = "version";

/// Gives every write of a due entry a version that no other write has.
///
/// An entry that was read and is then written again with the same content is another one: whoever wrote it relies on it, and whoever read the
/// first one must not delete it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions {
    writer: Arc<str>,
    written: Arc<AtomicU64>,
}

impl Versions {
    pub(crate) fn of(writer: &str) -> Self {
        Self { writer: Arc::from(writer), written: Arc::default() }
    }

    fn next(&self) -> String {
        format!("{}.{}", self.writer, self.written.fetch_add(1, Ordering::Relaxed))
    }
}

/// The run that assembles the batches of a shard, and until when.
#[derive(Serialize)]
struct ShardLease<'a> {
    holder: &'a str,
    until_ms: i64,
}

/// Returns the beginning of the sort keys of everything that is due in the same minute for the same destination and channel.
fn group_of(sort_key: &str) -> &str {
    let end = sort_key.match_indices('#').nth(3).map_or(sort_key.len(), |(at, _)| at);
    sort_key.get(..end).unwrap_or(sort_key)
}

/// Counts the different incidents in these sort keys, without `own`. An incident may have several updates among them.
fn count_other_incidents(sort_keys: &[String], own: &str) -> usize {
    let incident = |key: &'_ String| key.rsplit('#').nth(1).unwrap_or_default().to_owned();
    let mut incidents: BTreeSet<String> = sort_keys.iter().map(incident).collect();
    incidents.remove(own);
    incidents.len()
}

/// Returns the sort key of a scheduled delivery: minute, tenant, destination, channel, incident and update.
fn sort_key_of(due: &ScheduledDelivery) -> String {
    let (slot, update) = (keys::due_minute(due.at), due.update);
    format!("{slot}#{}#{}#{}#{}#{update:06}", due.tenant, due.destination, due.channel, due.incident_id)
}

impl Table {
    /// Builds a scheduled delivery's item.
    pub(crate) fn due_item(&self, due: &ScheduledDelivery) -> Result<crate::Item, StoreError> {
        let pk = keys::due(due.shard(self.due_shards));
        let mut item = item(&pk, &sort_key_of(due), due, Some(self.expiry(due.at)))?;
        item.insert(VERSION.to_owned(), text(&self.due_versions.next()));
        // By this, functions of release 0.1.0 know what they delete.
        item.insert("hash".to_owned(), text(&content_hash(due)?));
        Ok(item)
    }

    /// Returns a page of the deliveries of `shard` due by the end of the current minute, oldest first, at most `limit`. With `after`,
    /// the page begins after that sort key, so that items left in the index do not block those behind them.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn due_page(
        &self,
        shard: u16,
        now: Timestamp,
        after: Option<&str>,
        limit: usize,
    ) -> Result<DuePage, StoreError> {
        let to = format!("{}#\u{10ffff}", keys::due_minute(now));
        // No sort key is the beginning of another, so a key with "#" appended sorts right after it.
        let from = after.map_or_else(|| "0".to_owned(), |key| format!("{key}#"));
        let found = self.query(&keys::due(shard), &from, &to, limit).await?;
        let mut page = DuePage { items: Vec::with_capacity(found.len()), unreadable: 0, next: None };
        if found.len() >= limit {
            page.next = found.last().map(|last| sort_key(last).to_owned());
        }
        for entry in found {
            let sort_key = sort_key(&entry).to_owned();
            let version = entry.get(VERSION).and_then(|version| version.as_s().ok()).cloned().unwrap_or_default();
            match read(entry, "a scheduled delivery") {
                Ok(due) => page.items.push(DueItem::new(due, shard, &sort_key, &version)),
                // One unreadable item must not block the others of its shard.
                Err(error) => {
                    tracing::error!(shard, sort_key, %error, "skipped an unreadable scheduled delivery");
                    page.unreadable += 1;
                }
            }
        }
        Ok(page)
    }

    /// Returns the places where the run before stopped, in the shards that are read with `first`.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn due_places(&self, first: u16) -> Result<DuePlaces, StoreError> {
        let found = self.query(&keys::due(first), keys::PLACES, keys::PLACES, 1).await?;
        found.into_iter().next().map_or_else(|| Ok(DuePlaces::default()), |found| read(found, "places"))
    }

    /// Saves the places where a run stopped, in the shards that are read with `first`.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn save_due_places(&self, first: u16, places: &DuePlaces, now: Timestamp) -> Result<(), StoreError> {
        self.put(item(&keys::due(first), keys::PLACES, places, Some(self.expiry(now)))?).await
    }

    /// Counts the other incidents with a delivery after `item` that is held for `reason` in the same minute, for the same destination
    /// and channel.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn count_incidents_behind(&self, item: &DueItem, reason: Reason) -> Result<usize, StoreError> {
        let (from, to) = (format!("{}#", item.place()), format!("{}#\u{10ffff}", group_of(item.place())));
        let held_for_reason = Filter {
            expression: "held.#reason = :reason",
            name: ("#reason", "reason"),
            value: (":reason", text(reason.as_str())),
        };
        let keys = self.sort_keys(&keys::due(item.shard()), &from, &to, &held_for_reason).await?;
        Ok(count_other_incidents(&keys, item.due.incident_id.as_str()))
    }

    /// Leases the batches of `shard` to the run `holder` until `until`, the latest end of the run. Returns `false` if another run holds
    /// the lease. The same run may renew its lease. Leases longer than a minute come from a skewed clock and are ignored.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn lease_shard(
        &self,
        shard: u16,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let lease = ShardLease { holder, until_ms: until.as_millisecond() };
        let entry = item(&keys::due(shard), keys::LEASE, &lease, Some(self.expiry(until)))?;
        let condition = "attribute_not_exists(pk) OR holder = :holder OR until_ms <= :now OR until_ms > :longest";
        let longest = now.saturating_add(LEASE_MAX).unwrap_or(now);
        let values = vec![
            (":holder", text(holder)),
            (":now", number(now.as_millisecond())),
            (":longest", number(longest.as_millisecond())),
        ];
        Ok(self.put_if(entry, condition, values).await?.is_none())
    }

    /// Releases a lease taken by [`Table::lease_shard`], unless another run holds it by now.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn release_shard_lease(&self, shard: u16, holder: &str) -> Result<(), StoreError> {
        let request = self.client.delete_item().table_name(&self.name);
        let request = request.key("pk", text(&keys::due(shard))).key("sk", text(keys::LEASE));
        let request = request.condition_expression("holder = :holder");
        let request = request.expression_attribute_values(":holder", text(holder));
        match request.send().await.map_err(|error| store_error("DeleteItem", &error)) {
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes a due item that was enqueued. The sender may have scheduled the delivery again in the same minute, with the same key and perhaps
    /// the same content: that item stays.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn delete_due_item(&self, item: &DueItem) -> Result<(), StoreError> {
        let request = self.client.delete_item().table_name(&self.name);
        let request = request.key("pk", text(&keys::due(item.shard()))).key("sk", text(item.place()));
        let request = if item.version().is_empty() {
            // Written by release 0.1.0.
            let request = request.condition_expression("#hash = :hash AND attribute_not_exists(#version)");
            let request = request.expression_attribute_names("#hash", "hash");
            request.expression_attribute_values(":hash", text(&content_hash(&item.due)?))
        } else {
            let request = request.condition_expression("#version = :version");
            request.expression_attribute_values(":version", text(item.version()))
        };
        let request = request.expression_attribute_names("#version", VERSION);
        match request.send().await.map_err(|error| store_error("DeleteItem", &error)) {
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Schedules a delivery unless its key has an item with the same or a later attempt, which already has the reason for the delay.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn schedule_once(&self, due: &ScheduledDelivery) -> Result<(), StoreError> {
        let condition = "attribute_not_exists(pk) OR attempt < :attempt";
        self.put_if(self.due_item(due)?, condition, vec![(":attempt", number(due.attempt))]).await.map(drop)
    }

    /// Schedules a delivery. Scheduling it again changes nothing, and an item with a later attempt stays: a routing job that comes again puts
    /// first attempts, and one of them may have the place of a retry.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn schedule(&self, due: &ScheduledDelivery) -> Result<(), StoreError> {
        let condition = "attribute_not_exists(pk) OR attempt <= :attempt";
        self.put_if(self.due_item(due)?, condition, vec![(":attempt", number(due.attempt))]).await.map(drop)
    }
}

/// Returns a hash of everything that a due item says, which distinguishes it from another with the same key.
fn content_hash(due: &ScheduledDelivery) -> Result<String, StoreError> {
    let json = serde_json::to_string(due).map_err(|_| crate::build_error())?;
    Ok(domain::ids::short_hash(&[&json]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::DUE_SHARDS;

    #[test]
    fn an_incident_with_several_updates_is_counted_once() {
        let key = |incident: &str, update: u32| format!("202611231200#acme#rcp_a#email#{incident}#{update:06}");
        let behind = [key("inc_a", 2), key("inc_b", 1), key("inc_b", 2), key("inc_c", 1)];
        assert_eq!(count_other_incidents(&behind, "inc_a"), 2);
    }

    #[test]
    fn a_delivery_rescheduled_within_its_minute_keeps_its_key() {
        let due = |at: &str| -> ScheduledDelivery {
            serde_json::from_value(
                serde_json::json!({"at": at, "tenant": "acme", "destination": "rcp_a", "channel": "email",
                "incident_id": "inc_a", "update": 1, "attempt": 1, "plain": false}),
            )
            .unwrap()
        };
        let first = due("2026-11-23T12:00:00Z");
        let item = DueItem::new(first.clone(), first.shard(DUE_SHARDS), &sort_key_of(&first), "");
        let elsewhere = DueItem::new(first.clone(), first.shard(8), &sort_key_of(&first), "");
        assert_ne!(item.shard(), elsewhere.shard());
        assert!(
            !elsewhere.has_place_of(&first, DUE_SHARDS),
            "an entry of release 0.1.0 would stay, and come each minute"
        );
        for (at, same) in [("2026-11-23T12:00:59Z", true), ("2026-11-23T12:01:00Z", false)] {
            let again = due(at);
            assert_eq!(item.has_place_of(&again, DUE_SHARDS), same, "deleting the old item would lose the delivery");
            assert_eq!(item.place() == sort_key_of(&due(at)), same);
        }
    }
}
