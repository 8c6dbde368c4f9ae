//! The messages that released versions put on queues, which this one must read: while it is deployed, half of the functions are older.
//!
//! Each file of `golden` has the messages of one version. A message may get new optional fields; whatever else changes its form needs a new
//! `contracts::queue::VERSION`, a new file, and a reader of both for one release.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by a panic")]

use contracts::queue::{ContactRefused, IncidentReceived, OutboundMessage, RoutingJob};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Maps whose names are the source's, so that a new name is no new field; and the one in which a name is a variant.
const MAPS: [&str; 8] = ["details", "labels", "measurements", "body", "scope", "route", "endpoint", "runbook"];

/// Adds a field that no version knows to every object.
fn with_unknown_fields(value: &Value, is_map: bool) -> Value {
    match value {
        Value::Object(fields) => {
            let known = fields
                .iter()
                .map(|(name, value)| (name.clone(), with_unknown_fields(value, MAPS.contains(&name.as_str()))));
            let mut fields: serde_json::Map<String, Value> = known.collect();
            if !is_map {
                fields.insert("added_by_a_later_version".to_owned(), json!({"a": [1]}));
            }
            Value::Object(fields)
        }
        Value::Array(values) => values.iter().map(|value| with_unknown_fields(value, is_map)).collect(),
        other => other.clone(),
    }
}

fn check<T: DeserializeOwned + Serialize>(kind: &str, messages: &[Value]) {
    for message in messages {
        let read: T =
            serde_json::from_value(message.clone()).unwrap_or_else(|error| panic!("{kind}: {error}: {message}"));
        assert_eq!(&serde_json::to_value(&read).unwrap(), message, "{kind}: it is written in another form");
        let newer = with_unknown_fields(message, false);
        let read: T = serde_json::from_value(newer).unwrap_or_else(|error| panic!("{kind}: {error}: {message}"));
        assert_eq!(&serde_json::to_value(&read).unwrap(), message, "{kind}: a new field changes the others");
    }
}

#[test]
fn messages_of_released_versions_are_read_and_written_the_same() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/golden")).unwrap();
    let mut checked = 0;
    for file in files {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let kinds: BTreeMap<String, Vec<Value>> = serde_json::from_str(&text).unwrap();
        for (kind, messages) in &kinds {
            checked += messages.len();
            match kind.as_str() {
                "received" => check::<IncidentReceived>(kind, messages),
                "routing" => check::<RoutingJob>(kind, messages),
                "outbound" => check::<OutboundMessage>(kind, messages),
                "sms_opt_out" => check::<ContactRefused>(kind, messages),
                other => panic!("no type for {other}"),
            }
        }
    }
    assert!(checked >= 13, "{checked} messages");
}
