//! Incidents, their timelines and their keys; classify's one transaction.

use crate::events::EventRecord;
use crate::{StoreError, Table, item, keys, number, read, sort_key, text};
use aws_sdk_dynamodb::types::TransactWriteItem;
use domain::ids::{IncidentId, Scope, TenantId};
use domain::incident::{Incident, KeyState, Update};
use domain::maintenance::{Explained, Reminder};
use domain::vocabulary::Kind;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a tenant's list of incidents and excluded events is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// When it was accepted.
    pub at: Timestamp,
    /// The incident; `None` for an event that made none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<IncidentId>,
    /// The event record, for an event that made no incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventRecord>,
}

/// What classify writes at once.
#[derive(Debug)]
pub struct Change<'a> {
    /// The event's record.
    pub record: &'a EventRecord,
    /// The incident's new head with the version it had before (0 for a new one), and its key's new state.
    pub head: Option<(&'a Incident, u64)>,
    /// The update that it made.
    pub update: Option<&'a Update>,
    /// What is noted with the announced work that explains it, or that did.
    pub explained: &'a [(IncidentId, Explained)],
    /// When it is to be reminded of, where it is announced work.
    pub reminder: Option<&'a Reminder>,
    /// The state of the key that was read, so that two openers notice each other.
    pub key_before: Option<&'a KeyState>,
    /// What a key is to remember although it has no incident: its scope, its hash, its state.
    pub key_alone: Option<(&'a Scope, &'a str, &'a KeyState)>,
    /// The entry of the list; only for what is new to the list.
    pub seen: Option<&'a Seen>,
}

impl Table {
    /// The state of a key.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn key_state(&self, scope: &Scope, hash: &str) -> Result<Option<KeyState>, StoreError> {
        match self.get(&keys::open_key(scope, hash), "OPEN").await? {
            Some(found) => Ok(Some(read(found, "an incident key")?)),
            None => Ok(None),
        }
    }

    /// An incident's head.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn incident(&self, id: &IncidentId) -> Result<Option<Incident>, StoreError> {
        match self.get(&keys::incident(id), keys::HEAD).await? {
            Some(found) => Ok(Some(read(found, "an incident")?)),
            None => Ok(None),
        }
    }

    /// An incident's timeline from update `from` on, in order.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn updates(&self, id: &IncidentId, from: u32) -> Result<Vec<Update>, StoreError> {
        let items = self.query(&keys::incident(id), &keys::update(from), &keys::update(u32::MAX), usize::MAX).await?;
        items.into_iter().map(|found| read(found, "an update")).collect()
    }

    /// One entry of an incident's timeline.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn update(&self, id: &IncidentId, update: u32) -> Result<Option<Update>, StoreError> {
        match self.get(&keys::incident(id), &keys::update(update)).await? {
            Some(found) => Ok(Some(read(found, "an update")?)),
            None => Ok(None),
        }
    }

    /// Writes event, incident, timeline and key at once. `false` if somebody else was first: read again and decide again.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn record_change(&self, change: &Change<'_>) -> Result<bool, StoreError> {
        let now = change.record.accepted_at;
        let fresh = Some("attribute_not_exists(pk)");
        let mut writes = vec![self.put_action(self.event_item(change.record)?, fresh, vec![])?];
        if let Some((incident, before)) = change.head {
            // What is open is kept, however long; its end is counted from its last write. Nobody resolves a test.
            let ends = incident.test || incident.resolved_at.is_some();
            let expiry = ends.then(|| self.expiry(now));
            let mut head = item(&keys::incident(&incident.id), keys::HEAD, incident, expiry)?;
            if incident.public {
                // The status page may read this index only, and the index holds public fields only.
                // Nobody ends a notice: it goes by its age.
                let open = incident.resolved_at.is_none() && incident.kind != Kind::Advisory;
                let pk = if open { keys::PUBLIC_OPEN } else { keys::PUBLIC_INCIDENTS };
                head.insert("public_pk".to_owned(), text(pk));
                // Of an incident from before `opened_at` was kept, the first moment that is known and that no sender chose.
                let opened = incident.opened_at.unwrap_or(incident.started_at.min(incident.last_seen));
                head.insert("public_sk".to_owned(), text(&keys::public_place(opened, &incident.id)));
                head.insert("public_view".to_owned(), crate::public::view_of(incident)?);
            }
            let condition = if before == 0 { "attribute_not_exists(pk)" } else { "version = :before" };
            let values = if before == 0 { vec![] } else { vec![(":before", number(before))] };
            writes.push(self.put_action(head, Some(condition), values)?);
            let open = incident.resolved_at.is_none();
            if before == 0 || !open {
                let state = KeyState {
                    incident_id: incident.id.clone(),
                    open,
                    source_started_at: incident.source_started_at,
                    as_of: incident.as_of,
                    closed_at: incident.resolved_at,
                    openings: incident.openings,
                };
                let key = (&incident.scope, incident.key.as_str(), &state);
                writes.push(self.key_write(key, change.key_before, expiry)?);
            }
            if let Some(window) = domain::maintenance::window(incident).filter(|_| change.update.is_some()) {
                writes.push(self.window_write(&incident.scope, &window)?);
            }
            if let Some(reminder) = change.reminder {
                writes.push(self.reminder_write(reminder)?);
            }
            for explained in change.explained {
                writes.push(self.explained_write(explained, self.expiry(now))?);
            }
            if let Some(update) = change.update {
                let sk = keys::update(update.number);
                let mut entry = item(&keys::incident(&incident.id), &sk, update, Some(self.expiry(now)))?;
                if incident.public {
                    entry.insert("public_pk".to_owned(), text(&keys::public_timeline(&incident.id)));
                    entry.insert("public_sk".to_owned(), text(&sk));
                    entry.insert("public_view".to_owned(), crate::public::update_view(update)?);
                }
                writes.push(self.put_action(entry, fresh, vec![])?);
            }
        }
        if let Some(alone) = change.key_alone {
            let expiry = (!alone.2.open).then(|| self.expiry(now));
            writes.push(self.key_write(alone, change.key_before, expiry)?);
        }
        if let Some(seen) = change.seen {
            let pk = match &change.record.scope {
                Some(Scope::Tenant(tenant)) => keys::tenant(tenant),
                Some(Scope::Platform) => keys::PLATFORM.to_owned(),
                // Nobody knows whose it is, so only the operators may see it.
                None => keys::tenant(&TenantId::operators()),
            };
            let name = seen.incident_id.as_ref().map_or(change.record.event_id.as_str(), |id| id.as_str());
            writes.push(self.put_action(
                item(&pk, &keys::seen(seen.at, name), seen, Some(self.expiry(now)))?,
                None,
                vec![],
            )?);
        }
        match self.transact(writes).await {
            Ok(None) => Ok(true),
            Ok(Some(_)) | Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A key's new state, on condition that nobody gave it another since it was read.
    fn key_write(
        &self,
        (scope, hash, state): (&Scope, &str, &KeyState),
        before: Option<&KeyState>,
        expiry: Option<i64>,
    ) -> Result<TransactWriteItem, StoreError> {
        let entry = item(&keys::open_key(scope, hash), "OPEN", state, expiry)?;
        match before {
            None => self.put_action(entry, Some("attribute_not_exists(pk)"), vec![]),
            Some(known) => {
                let known = vec![(":known", text(known.incident_id.as_str()))];
                self.put_action(entry, Some("incident_id = :known"), known)
            }
        }
    }

    /// A page of what a tenant saw between two moments, newest first: its own incidents and the platform-wide ones. `before`
    /// is where the page before ended.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn seen(
        &self,
        tenant: &TenantId,
        from: Timestamp,
        to: Timestamp,
        before: Option<&SeenCursor>,
        limit: usize,
    ) -> Result<SeenPage, StoreError> {
        let from = keys::seen(from, "");
        let to = before.map_or_else(|| keys::seen(to, "\u{10ffff}"), |cursor| keys::seen_after(&cursor.0));
        if to < from {
            return Ok(SeenPage { entries: Vec::new(), next: None });
        }
        // One more than asked tells whether there is another page; one more again for the cursor's own entry.
        let most = limit.saturating_add(2);
        let mut items = Vec::new();
        for pk in [keys::tenant(tenant), keys::PLATFORM.to_owned()] {
            items.extend(self.query_newest(&pk, &from, &to, most).await?);
        }
        items.retain(|item| before.is_none() || sort_key(item) < to.as_str());
        items.sort_by(|left, right| sort_key(right).cmp(sort_key(left)));
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().map(|item| SeenCursor(keys::seen_tail(sort_key(item)).to_owned()));
        let entries = items.into_iter().map(|found| read(found, "a list entry")).collect::<Result<_, _>>()?;
        Ok(SeenPage { entries, next: last.filter(|_| more) })
    }
}

/// A page of a tenant's list.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenPage {
    /// Newest first.
    pub entries: Vec<Seen>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<SeenCursor>,
}

/// Where a page of a tenant's list ended. Its text holds nothing that the page did not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenCursor(String);

impl SeenCursor {
    /// Reads a cursor that came back; `None` if it is none of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (instant, name) = text.split_once('.')?;
        let ok = instant.len() == 15
            && instant.bytes().all(|byte| byte.is_ascii_digit())
            && (1..=80).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        ok.then(|| Self(format!("{instant}#{name}")))
    }

    /// The cursor as text that needs no escaping in a URL.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.0.replace('#', ".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let text = "000001764000000.inc_abc";
        assert_eq!(SeenCursor::parse(text).unwrap().to_text(), text);
        for bad in ["", "x", "1.inc_a", "000001764000000.", "000001764000000.a#b", "00000176400000x.inc_a"] {
            assert_eq!(SeenCursor::parse(bad), None, "{bad}");
        }
    }
}
