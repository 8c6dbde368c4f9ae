//! The items that released versions stored, which this one must read: it finds them all when it is deployed, and while it is, half of the
//! functions still write them.
//!
//! Each file of `golden` has items of one version. An item may get new optional fields. Whatever else changes its form needs a reader of both
//! for one release.

use crate::{Item, item, read};
use domain::delivery::DeliveryRow;
use domain::due::ScheduledDelivery;
use domain::event_record::EventRecord;
use domain::incident::{Incident, KeyState, Update};
use domain::plan::StoredPlan;
use domain::tenant::{Chunk, Integration, Recipient, Settings};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What `store` adds to what it is given.
const ADDED: [&str; 10] =
    ["pk", "sk", "expires_at", "history", "public_pk", "public_sk", "public_view", "chunk", "hash", "source_data"];

fn stored(value: &Value) -> Item {
    serde_dynamo::to_item(value).unwrap()
}

fn check<T: DeserializeOwned + Serialize>(kind: &'static str, golden: &Value) {
    let mut newer = golden.clone();
    newer["added_by_a_later_version"] = json!({"a": [1]});
    for one in [golden, &newer] {
        let known: T = read(stored(one), kind).unwrap_or_else(|error| panic!("{error}: {one}"));
        let written: Map<String, Value> = serde_dynamo::from_item(item("pk", "sk", &known, None).unwrap()).unwrap();
        for (name, value) in golden.as_object().unwrap().iter().filter(|(name, _)| !ADDED.contains(&name.as_str())) {
            assert_eq!(written.get(name), Some(value), "{kind}: {name} is written in another form");
        }
    }
}

#[test]
fn items_of_released_versions_are_read_and_written_the_same() {
    let mut checked = 0;
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/golden")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let kinds: BTreeMap<String, Vec<Value>> = serde_json::from_str(&text).unwrap();
        for (kind, items) in &kinds {
            for golden in items {
                checked += 1;
                match kind.as_str() {
                    "settings" => check::<Settings>("settings", golden),
                    "recipient" => check::<Recipient>("a recipient", golden),
                    "integration" => check::<Integration>("an integration", golden),
                    "subscription" => check::<Chunk>("a subscription", golden),
                    "plan" => check::<StoredPlan>("a plan", golden),
                    "incident" => check::<Incident>("an incident", golden),
                    "update" => check::<Update>("an update", golden),
                    "delivery" => check::<DeliveryRow>("a delivery", golden),
                    "event" => check::<EventRecord>("an event", golden),
                    "key" => check::<KeyState>("a key's state", golden),
                    "due" => check::<ScheduledDelivery>("a scheduled delivery", golden),
                    other => panic!("no type for {other}"),
                }
            }
        }
    }
    assert!(checked >= 15, "{checked} items");
}
