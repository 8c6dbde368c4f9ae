//! Incidents, their timelines and the state of their dedup keys, written in one transaction by classify.

use crate::aliases::alias_of;
use crate::{Item, StoreError, Table, item, keys, number, read, sort_key, text};
use aws_sdk_dynamodb::types::TransactWriteItem;
use domain::event_record::{EventRecord, EventRecordWrite, IncidentListEntry};
use domain::ids::{IncidentId, Scope, TenantId};
use domain::incident::{Incident, KeyState, Update};
use domain::maintenance::{Reminder, SuppressedIncident};
use domain::vocabulary::Kind;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Condition of a put whose item must not exist yet.
const NEW_ITEM: Option<&str> = Some("attribute_not_exists(pk)");

/// The items that classify writes in one transaction.
#[derive(Debug)]
pub struct IncidentChange<'a> {
    /// The event's record. Its existence makes a redelivered event fail the transaction.
    pub record: &'a EventRecord,
    /// How the record is written.
    pub record_write: EventRecordWrite,
    /// The incident's new head, with the version that it replaces (0 for a new incident).
    pub head: Option<(&'a Incident, u64)>,
    /// The update that the event added to the incident.
    pub update: Option<&'a Update>,
    /// Entries of this incident for each maintenance that suppresses it, or did.
    pub suppressed_incidents: &'a [(IncidentId, SuppressedIncident)],
    /// The reminder to schedule, if the incident is a maintenance.
    pub reminder: Option<&'a Reminder>,
    /// The dedup key's state that the change is based on. If it has changed since, another event was first.
    pub previous_key_state: Option<&'a KeyState>,
    /// State to store for a dedup key without an incident.
    pub key_without_incident: Option<KeyWrite<'a>>,
    /// The list entry, for an incident or event that is not in the list yet.
    pub list_entry: Option<&'a IncidentListEntry>,
}

/// The new state of a dedup key.
#[derive(Clone, Copy, Debug)]
pub struct KeyWrite<'a> {
    /// Scope of the dedup key.
    pub scope: &'a Scope,
    /// Hash of the dedup key.
    pub hash: &'a str,
    /// The state to store.
    pub state: &'a KeyState,
}

impl Table {
    /// Returns the state of a dedup key, given by its hash.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn key_state(&self, scope: &Scope, hash: &str) -> Result<Option<KeyState>, StoreError> {
        match self.get(&keys::open_key(scope, hash), "OPEN").await? {
            Some(found) => Ok(Some(read(found, "a dedup key's state")?)),
            None => Ok(None),
        }
    }

    /// Returns an incident's current state by its id.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn incident(&self, id: &IncidentId) -> Result<Option<Incident>, StoreError> {
        match self.get(&keys::incident(id), keys::HEAD).await? {
            Some(found) => Ok(Some(read(found, "an incident")?)),
            None => Ok(None),
        }
    }

    /// Returns an incident's timeline from update `from` on, in order.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn updates(&self, id: &IncidentId, from: u32) -> Result<Vec<Update>, StoreError> {
        let items = self.query(&keys::incident(id), &keys::update(from), &keys::update(u32::MAX), usize::MAX).await?;
        items.into_iter().map(read_update).collect()
    }

    /// Returns one update of an incident.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn update(&self, id: &IncidentId, update: u32) -> Result<Option<Update>, StoreError> {
        match self.get(&keys::incident(id), &keys::update(update)).await? {
            Some(found) => Ok(Some(read_update(found)?)),
            None => Ok(None),
        }
    }

    /// Writes event, incident, update and dedup key in one transaction. Returns `false` if another event was first: the caller reads
    /// and decides again.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn record_change(&self, change: &IncidentChange<'_>) -> Result<bool, StoreError> {
        let now = change.record.accepted_at;
        let mut writes = match change.record_write {
            EventRecordWrite::New => vec![self.put_action(self.event_item(change.record)?, NEW_ITEM, vec![])?],
            EventRecordWrite::Replace { accepted_at } => {
                let before = vec![(":before", text(&accepted_at.to_string()))];
                vec![self.put_action(self.event_item(change.record)?, Some("accepted_at = :before"), before)?]
            }
            EventRecordWrite::Keep => Vec::new(),
        };
        if let Some((incident, previous_version)) = change.head {
            writes.extend(self.incident_writes(change, incident, previous_version)?);
        }
        if let Some(key) = change.key_without_incident {
            let expiry = (!key.state.open).then(|| self.expiry(now));
            writes.push(self.key_write(key, change.previous_key_state, expiry)?);
        }
        if let Some(entry) = change.list_entry {
            writes.push(self.list_entry_write(change.record, entry)?);
        }
        match self.transact(writes).await {
            Ok(None) => Ok(true),
            Ok(Some(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Builds the writes of a changed incident: its head, dedup key, maintenance window, reminder, suppressed incidents and update.
    fn incident_writes(
        &self,
        change: &IncidentChange<'_>,
        incident: &Incident,
        previous_version: u64,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let now = change.record.accepted_at;
        // An open incident is kept without limit. Retention begins when it is resolved; tests are never resolved.
        let is_over = incident.test || incident.resolved_at.is_some();
        let expiry = is_over.then(|| self.expiry(now));
        let head = head_item(incident, expiry)?;
        let mut writes = vec![match previous_version {
            0 => self.put_action(head, NEW_ITEM, vec![])?,
            version => self.put_action(head, Some("version = :before"), vec![(":before", number(version))])?,
        }];
        let open = incident.resolved_at.is_none();
        if previous_version == 0 || !open {
            let state = KeyState::of(incident);
            let key = KeyWrite { scope: &incident.scope, hash: incident.key.as_str(), state: &state };
            writes.push(self.key_write(key, change.previous_key_state, expiry)?);
            if incident.closed_by_key_alone {
                writes.push(self.put_action(alias_of(incident, expiry)?, None, vec![])?);
            }
        }
        if let Some(window) = incident.maintenance_window().filter(|_| change.update.is_some()) {
            writes.push(self.window_write(&incident.scope, &window)?);
        }
        if let Some(reminder) = change.reminder {
            writes.push(self.reminder_write(reminder)?);
        }
        for (maintenance, suppressed) in change.suppressed_incidents {
            writes.push(self.suppressed_incident_write(maintenance, suppressed, self.expiry(now))?);
        }
        if let Some(update) = change.update {
            writes.push(self.put_action(update_item(incident, update, self.expiry(now))?, NEW_ITEM, vec![])?);
        }
        Ok(writes)
    }

    /// Builds the write of a list entry, in the list of the event's scope.
    fn list_entry_write(
        &self,
        record: &EventRecord,
        entry: &IncidentListEntry,
    ) -> Result<TransactWriteItem, StoreError> {
        let pk = match &record.scope {
            Some(Scope::Tenant(tenant)) => keys::tenant(tenant),
            Some(Scope::Platform) => keys::PLATFORM.to_owned(),
            // The scope is unknown, so only the operators may see it.
            None => keys::tenant(&TenantId::operators()),
        };
        let name = entry.incident_id.as_ref().map_or(record.event_id.as_str(), |id| id.as_str());
        let expiry = Some(self.expiry(record.accepted_at));
        self.put_action(item(&pk, &keys::list_entry(entry.at, name), entry, expiry)?, None, vec![])
    }

    /// Builds the write of a dedup key's state, on condition that the stored state is still the one that was read.
    fn key_write(
        &self,
        key: KeyWrite<'_>,
        previous: Option<&KeyState>,
        expiry: Option<i64>,
    ) -> Result<TransactWriteItem, StoreError> {
        let entry = item(&keys::open_key(key.scope, key.hash), "OPEN", key.state, expiry)?;
        match previous {
            None => self.put_action(entry, NEW_ITEM, vec![]),
            Some(previous) => {
                let values = vec![(":previous", text(previous.incident_id.as_str()))];
                self.put_action(entry, Some("incident_id = :previous"), values)
            }
        }
    }

    /// Returns a page of a tenant's list between two times, newest first: its own entries and the platform-wide ones. `before` is the
    /// cursor of the previous page.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn incident_list(
        &self,
        tenant: &TenantId,
        from: Timestamp,
        to: Timestamp,
        before: Option<&IncidentListCursor>,
        limit: usize,
    ) -> Result<IncidentListPage, StoreError> {
        let from = keys::list_entry(from, "");
        let to =
            before.map_or_else(|| keys::list_entry(to, "\u{10ffff}"), |cursor| keys::list_entry_from_tail(&cursor.0));
        if to < from {
            return Ok(IncidentListPage { entries: Vec::new(), next: None });
        }
        // One more than `limit` shows whether there is another page; one more again for the cursor's own entry.
        let most = limit.saturating_add(2);
        let mut items = Vec::new();
        for pk in [keys::tenant(tenant), keys::PLATFORM.to_owned()] {
            items.extend(self.query_newest(&pk, &from, &to, most).await?);
        }
        items.retain(|item| before.is_none() || sort_key(item) < to.as_str());
        items.sort_by(|left, right| sort_key(right).cmp(sort_key(left)));
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().map(|item| IncidentListCursor(keys::list_entry_tail(sort_key(item)).to_owned()));
        let entries = items.into_iter().map(|found| read(found, "a list entry")).collect::<Result<_, _>>()?;
        Ok(IncidentListPage { entries, next: last.filter(|_| more) })
    }
}

/// Builds an incident's head. A public incident has its view for the status page's index.
fn head_item(incident: &Incident, expiry: Option<i64>) -> Result<Item, StoreError> {
    let mut head = item(&keys::incident(&incident.id), keys::HEAD, incident, expiry)?;
    if incident.public {
        // The status page reads this index only, and the index has public fields only. Advisories are never resolved, so they are
        // listed by age.
        let open = incident.resolved_at.is_none() && incident.kind != Kind::Advisory;
        let pk = if open { keys::PUBLIC_OPEN } else { keys::PUBLIC_INCIDENTS };
        head.insert("public_pk".to_owned(), text(pk));
        let opened = crate::public::opening_of(incident);
        head.insert("public_sk".to_owned(), text(&keys::public_incident(opened, &incident.id)));
        head.insert("public_view".to_owned(), crate::public::incident_view(incident)?);
    }
    Ok(head)
}

/// The attribute of an update that holds what its source owns.
const SOURCE_DATA: &str = "source_data";

/// The part of an update that its source owns. It is stored as one JSON text, because a map of DynamoDB would not hold all of it: numbers
/// have 38 digits and a range there, maps 32 levels, and names at least one character.
#[derive(Debug, Default, Serialize, Deserialize)]
struct SourceData {
    labels: BTreeMap<String, String>,
    measurements: BTreeMap<String, f64>,
    details: Map<String, Value>,
}

fn read_update(mut found: Item) -> Result<Update, StoreError> {
    let source_data = found.remove(SOURCE_DATA);
    let update: Update = read(found, "an update")?;
    let Some(text) = source_data.as_ref().and_then(|value| value.as_s().ok()) else { return Ok(update) };
    let SourceData { labels, measurements, details } = serde_json::from_str(text)
        .map_err(|_| StoreError::Corrupt { kind: "an update", detail: "its source data is not JSON".to_owned() })?;
    Ok(Update { labels, measurements, details, ..update })
}

/// Builds the item of an update. The update of a public incident has its view for the status page's index.
fn update_item(incident: &Incident, update: &Update, expiry: i64) -> Result<Item, StoreError> {
    let sk = keys::update(update.number);
    let mut update = update.clone();
    let source_data = SourceData {
        labels: std::mem::take(&mut update.labels),
        measurements: std::mem::take(&mut update.measurements),
        details: std::mem::take(&mut update.details),
    };
    let mut entry = item(&keys::incident(&incident.id), &sk, &update, Some(expiry))?;
    let source_data = serde_json::to_string(&source_data).map_err(|_| StoreError::Corrupt {
        kind: "an update",
        detail: "its source data cannot be written".to_owned(),
    })?;
    entry.insert(SOURCE_DATA.to_owned(), text(&source_data));
    if incident.public {
        entry.insert("public_pk".to_owned(), text(&keys::public_timeline(&incident.id)));
        entry.insert("public_sk".to_owned(), text(&sk));
        entry.insert("public_view".to_owned(), crate::public::update_view(incident, &update)?);
    }
    Ok(entry)
}

/// A page of a tenant's list of incidents and excluded events.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentListPage {
    /// The entries, newest first.
    pub entries: Vec<IncidentListEntry>,
    /// Cursor of the next page; `None` on the last page.
    pub next: Option<IncidentListCursor>,
}

/// Position after a page of a tenant's list. Its text contains nothing that the page did not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentListCursor(String);

impl IncidentListCursor {
    /// Parses the text of a cursor; `None` if it is not valid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (instant, name) = text.split_once('.')?;
        let ok = instant.len() == 15
            && instant.bytes().all(|byte| byte.is_ascii_digit())
            && (1..=80).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        ok.then(|| Self(format!("{instant}#{name}")))
    }

    /// Formats the cursor as text that needs no escaping in a URL.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.0.replace('#', ".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::types::AttributeValue;
    use domain::classification::RuleMatch;
    use domain::event::{Event, Format, KeyDetail, Link};
    use domain::incident::simulate_opening;
    use proptest::prelude::*;

    /// Checks an attribute against "Constraints in Amazon DynamoDB" and "Supported data types" (AWS's developer guide), and returns its size.
    fn check_attribute(value: &AttributeValue, level: usize) -> Result<usize, TestCaseError> {
        prop_assert!(level <= 32, "nested deeper than 32 levels");
        match value {
            AttributeValue::S(text) => Ok(text.len()),
            AttributeValue::N(number) => {
                let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
                let (whole, fraction) =
                    mantissa.trim_start_matches('-').split_once('.').unwrap_or((mantissa.trim_start_matches('-'), ""));
                let all = format!("{whole}{fraction}");
                let digits = all.trim_matches('0').len();
                let zeros = all.len() - all.trim_start_matches('0').len();
                let magnitude = exponent.parse::<i64>().unwrap() + whole.len() as i64 - zeros as i64 - 1;
                prop_assert!(digits <= 38 && (digits == 0 || (-130..=125).contains(&magnitude)), "{number}");
                Ok(number.len())
            }
            AttributeValue::Bool(_) | AttributeValue::Null(_) => Ok(1),
            AttributeValue::L(entries) => {
                entries.iter().try_fold(3, |size, entry| Ok(size + 1 + check_attribute(entry, level + 1)?))
            }
            AttributeValue::M(entries) => entries.iter().try_fold(3, |size, (name, entry)| {
                prop_assert!(!name.is_empty() && name.len() < 65_536, "a name has 1 to 65,535 bytes");
                Ok(size + 1 + name.len() + check_attribute(entry, level + 1)?)
            }),
            other => Err(TestCaseError::fail(format!("{other:?} is not expected"))),
        }
    }

    fn check_item(item: &Item) -> Result<(), TestCaseError> {
        let mut size = 0;
        for (name, value) in item {
            prop_assert!(!name.is_empty());
            size += name.len() + check_attribute(value, 1)?;
        }
        prop_assert!(size < 400 * 1024, "{size} bytes");
        let key = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).map_or(0, String::len);
        prop_assert!((1..=2_048).contains(&key("pk")) && (1..=1_024).contains(&key("sk")));
        Ok(())
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            Just(String::new()),
            "[\u{0}-\u{ff}\u{2028}\u{202e}\u{fffe}]{0,20}",
            "a{3000}|😀{3000}"
        ]
    }

    fn any_details() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<f64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            Just(Value::from(f64::MAX)),
            Just(Value::from(5e-324)),
            any_text().prop_map(Value::from),
        ];
        leaf.prop_recursive(60, 120, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map(any_text(), inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    prop_compose! {
        fn any_event()(
            texts in prop::collection::vec(any_text(), 8),
            names in prop::collection::vec(any_text(), 0..60),
            labels in prop::collection::btree_map(any_text(), any_text(), 0..60),
            measurements in prop::collection::btree_map(any_text(), prop_oneof![any::<f64>(), Just(f64::MAX)], 0..5),
            details in any_details(),
        ) -> Event {
            let [title, message, source, event_type, public_title, public_message, dedup_key, name] = texts.try_into().unwrap();
            let finite = measurements.into_iter().filter(|(_, value)| value.is_finite()).collect();
            Event {
                title,
                message,
                event_type,
                public_title: Some(public_title),
                public_message: Some(public_message),
                dedup_key: dedup_key.chars().take(512).collect(),
                components: names.clone(),
                regions: names,
                labels,
                measurements: finite,
                key_details: vec![KeyDetail::new(&name, name.clone()); 30],
                links: vec![Link { href: format!("https://example.com/{name}"), text: name.clone() }; 60],
                details: Map::from_iter([(name, details)]),
                public: Some(true),
                ..Event::blank(Format::Native, &source)
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_passes_the_gate_can_be_stored_and_read_without_loss(event in any_event()) {
            let event = event.normalized();
            let rule = RuleMatch { category: None, kind: Kind::Incident, rule: "r".into(), public: true,
                public_sentence: String::new(), advice: String::new(), low_balance: false, warnings: vec![] };
            let now = "2026-11-29T12:00:00Z".parse().unwrap();
            let (incident, update) = simulate_opening(&event, &rule, &Scope::Platform, now);
            check_item(&head_item(&incident, Some(1)).unwrap())?;
            let stored = update_item(&incident, &update, 1).unwrap();
            check_item(&stored)?;
            let again = read_update(stored).unwrap();
            prop_assert!(again == update, "an update is read as it was stored");
        }
    }

    #[test]
    fn a_cursor_parses_back_and_other_texts_do_not() {
        let text = "000001764000000.inc_abc";
        assert_eq!(IncidentListCursor::parse(text).unwrap().to_text(), text);
        for bad in ["", "x", "1.inc_a", "000001764000000.", "000001764000000.a#b", "00000176400000x.inc_a"] {
            assert_eq!(IncidentListCursor::parse(bad), None, "{bad}");
        }
    }
}
