//! Due work: retries after longer pauses than a queue's, written in one transaction with the mark that caused it; and what is held,
//! written after the plan that says so, and again by whoever comes after a crash.

use crate::{StoreError, Table, failed, item, keys, number, read, sort_key, text};
use domain::alert::Held;
use domain::ids::{DUE_SHARDS, IncidentId, TenantId, shard_of};
use domain::plan::{Decision, Outcome};
use domain::reason::Reason;
use domain::vocabulary::Channel;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One thing that is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// When.
    pub at: Timestamp,
    /// The tenant.
    pub tenant: TenantId,
    /// The recipient's or integration's id.
    pub destination: String,
    /// The channel.
    pub channel: Channel,
    /// The incident.
    pub incident_id: IncidentId,
    /// The update.
    pub update: u32,
    /// The attempt that is due.
    pub attempt: u32,
    /// True when the plain form is to be sent.
    #[serde(default)]
    pub plain: bool,
    /// The role that the recipient was told as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<domain::vocabulary::Role>,
    /// Since when and why it is held, where it is not a retry: then it is planned again before it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Hold>,
    /// How it was held before it was first tried, where it was: its later attempts say so as well, and its window counts from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited: Option<Held>,
    /// How many others a message that is tried again only counts.
    #[serde(default)]
    pub more: u32,
    /// True where its time was missed, and it was put together anew with what else was missed.
    #[serde(default)]
    pub gathered: bool,
    /// True where an admin had it sent again: that comes at once, whatever the hour.
    #[serde(default)]
    pub asked: bool,
}

/// Why something waits that was never tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: Reason,
    /// True for what is named however much waits beside it: the first word of something critical, and the end of what was told.
    #[serde(default)]
    pub named: bool,
}

/// The longest that a run may have a shard for: each minute starts one.
const LONGEST_LEASE: SignedDuration = SignedDuration::from_mins(1);

/// Which run puts together what comes together in a shard.
#[derive(Serialize)]
struct Lease<'a> {
    holder: &'a str,
    until_ms: i64,
}

/// Something due, with its place.
#[derive(Clone, Debug)]
pub struct DueItem {
    /// What is due.
    pub due: Due,
    shard: u16,
    sort_key: String,
}

impl Due {
    /// What comes of the decision that this is due by.
    #[must_use]
    pub fn decision(&self, outcome: Outcome) -> Decision {
        Decision { update: self.update, destination: self.destination.clone(), channel: self.channel, outcome }
    }
}

impl DueItem {
    /// The place of everything that is due at the same minute for the same destination on the same channel.
    #[must_use]
    pub fn group(&self) -> &str {
        let end = self.sort_key.match_indices('#').nth(3).map_or(self.sort_key.len(), |(at, _)| at);
        self.sort_key.get(..end).unwrap_or(&self.sort_key)
    }

    /// Something due at a place; what a page of a test holds.
    #[must_use]
    pub fn at_place(due: Due, place: &str) -> Self {
        Self { due, shard: 0, sort_key: place.to_owned() }
    }

    /// Whether this stands where `due` would: who puts it there must not take it off afterwards.
    #[must_use]
    pub fn is_place_of(&self, due: &Due) -> bool {
        self.sort_key == place_of(due)
    }

    /// Its place, after which a next page may begin.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.sort_key
    }
}

/// A page of due work.
#[derive(Clone, Debug)]
pub struct DuePage {
    /// What is due, oldest first.
    pub items: Vec<DueItem>,
    /// How many items could not be read; they stay.
    pub unreadable: usize,
    /// Where the next page begins, if there may be one.
    pub next: Option<String>,
}

/// How many incidents there are at these places but for one; an incident may have several updates there.
fn incidents_of(places: &[String], but: &str) -> usize {
    let incident = |place: &'_ String| place.rsplit('#').nth(1).unwrap_or_default().to_owned();
    let mut incidents: BTreeSet<String> = places.iter().map(incident).collect();
    incidents.remove(but);
    incidents.len()
}

fn place_of(due: &Due) -> String {
    let (slot, update) = (keys::slot(due.at), due.update);
    format!("{slot}#{}#{}#{}#{}#{update:06}", due.tenant, due.destination, due.channel, due.incident_id)
}

impl Table {
    pub(crate) fn due_item(&self, due: &Due) -> Result<crate::Item, StoreError> {
        let shard = shard_of(&format!("{}#{}", due.destination, due.channel), DUE_SHARDS);
        item(&keys::due(shard), &place_of(due), due, Some(self.expiry(due.at)))
    }

    /// What is due in `shard` by the end of the current minute, oldest first, at most `limit`; after the place of `after`,
    /// so that what stays behind does not stand before what follows.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn due(
        &self,
        shard: u16,
        now: Timestamp,
        after: Option<&str>,
        limit: usize,
    ) -> Result<DuePage, StoreError> {
        let to = format!("{}#\u{10ffff}", keys::slot(now));
        // No key extends another, so a key with one more character is the first place behind it.
        let from = after.map_or_else(|| "0".to_owned(), |place| format!("{place}#"));
        let found = self.query(&keys::due(shard), &from, &to, limit).await?;
        let mut page = DuePage { items: Vec::with_capacity(found.len()), unreadable: 0, next: None };
        if found.len() >= limit {
            page.next = found.last().map(|last| sort_key(last).to_owned());
        }
        for entry in found {
            let sort_key = sort_key(&entry).to_owned();
            match read(entry, "due work") {
                Ok(due) => page.items.push(DueItem { due, shard, sort_key }),
                // One item that nobody can read must not stop the others of its shard.
                Err(error) => {
                    tracing::error!(shard, place = sort_key, %error, "due work cannot be read");
                    page.unreadable += 1;
                }
            }
        }
        Ok(page)
    }

    /// Of how many other incidents something stands behind `item` that waits for `reason`, for the same minute, destination and channel.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn behind(&self, item: &DueItem, reason: Reason) -> Result<usize, StoreError> {
        let (from, to) = (format!("{}#", item.sort_key), format!("{}#\u{10ffff}", item.group()));
        let waits = ("held.#reason = :reason", ("#reason", "reason"), (":reason", text(reason.as_str())));
        let keys = self.sort_keys(&keys::due(item.shard), (&from, &to), waits).await?;
        Ok(incidents_of(&keys, item.due.incident_id.as_str()))
    }

    /// Claims for the run `holder` what comes together in `shard`, until `until`, by which the run is over. `false`: another run has it.
    /// The same run may claim it again. What says that it lasts for longer than a minute was written by a clock that is wrong, and binds nobody.
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
        let lease = Lease { holder, until_ms: until.as_millisecond() };
        let entry = item(&keys::due(shard), keys::LEASE, &lease, Some(self.expiry(until)))?;
        let condition = "attribute_not_exists(pk) OR holder = :holder OR until_ms <= :now OR until_ms > :longest";
        let longest = now.saturating_add(LONGEST_LEASE).unwrap_or(now);
        let values = vec![
            (":holder", text(holder)),
            (":now", number(now.as_millisecond())),
            (":longest", number(longest.as_millisecond())),
        ];
        Ok(self.put_if(entry, condition, values).await?.is_none())
    }

    /// Gives back what [`Table::lease_shard`] claimed, unless another run has it by now.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn leave_shard(&self, shard: u16, holder: &str) -> Result<(), StoreError> {
        let request = self.client.delete_item().table_name(&self.name);
        let request = request.key("pk", text(&keys::due(shard))).key("sk", text(keys::LEASE));
        let request = request.condition_expression("holder = :holder");
        let request = request.expression_attribute_values(":holder", text(holder));
        match request.send().await.map_err(|error| failed("DeleteItem", &error)) {
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes a due item out, once it is on its queue.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn due_done(&self, item: &DueItem) -> Result<(), StoreError> {
        self.delete(&keys::due(item.shard), &item.sort_key).await
    }

    /// Notes what is due, unless something stands in its place that is no earlier attempt: what is there already knows why it waits.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn put_due_once(&self, due: &Due) -> Result<(), StoreError> {
        let condition = "attribute_not_exists(pk) OR attempt < :attempt";
        self.put_if(self.due_item(due)?, condition, vec![(":attempt", number(due.attempt))]).await.map(drop)
    }

    /// Notes what is due. The same item again changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn put_due(&self, due: &Due) -> Result<(), StoreError> {
        self.put(self.due_item(due)?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_behind_is_counted_once() {
        let place = |incident: &str, update: u32| format!("202611231200#acme#rcp_a#email#{incident}#{update:06}");
        let behind = [place("inc_a", 2), place("inc_b", 1), place("inc_b", 2), place("inc_c", 1)];
        assert_eq!(incidents_of(&behind, "inc_a"), 2);
    }

    #[test]
    fn what_is_put_off_within_its_minute_has_the_same_place() {
        let due = |at: &str| -> Due {
            serde_json::from_value(
                serde_json::json!({"at": at, "tenant": "acme", "destination": "rcp_a", "channel": "email",
                "incident_id": "inc_a", "update": 1, "attempt": 1, "plain": false}),
            )
            .unwrap()
        };
        let first = due("2026-11-23T12:00:00Z");
        let item = DueItem::at_place(first.clone(), &place_of(&first));
        assert!(item.is_place_of(&due("2026-11-23T12:00:59Z")), "taking it off would lose it");
        assert!(!item.is_place_of(&due("2026-11-23T12:01:00Z")));
    }
}
