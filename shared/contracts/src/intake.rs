//! What all intake formats share: token defaults, the parsed items, and helpers to map fields.

use crate::problem::FieldError;
use crate::queue::Note;
use domain::event::{DEDUP_KEY_MAX, Event, KeyDetail, Link};
use domain::ids::TenantId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Maximum number of events in a request, and of messages that they become: what one invocation can enqueue.
pub const EVENTS_MAX: usize = 2_000;

pub use domain::event::TENANT_FIELD;

/// A token's values for events that do not set these fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenDefaults {
    /// The event type, such as `api.outage`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Ids of the tenants that events are about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenant_ids: Vec<TenantId>,
    /// Ids of the affected components, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// Ids of the affected regions, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
}

/// A drop-in request as a format parses it.
#[derive(Clone, Copy)]
pub struct IntakeRequest<'a> {
    /// The body as it was posted.
    pub body: &'a [u8],
    /// The headers, with names in lower case.
    pub headers: &'a BTreeMap<String, String>,
    /// The token's values for fields that the request does not set.
    pub defaults: &'a TokenDefaults,
    /// Whether a rule matches an event type. A monitor's own alarm name becomes the event type only if it does; otherwise the token's
    /// default type is used.
    pub is_known_type: &'a (dyn Fn(&str) -> bool + Sync),
}

/// A drop-in format of `POST /v1/intake/{name}`.
#[derive(Clone, Copy, Debug)]
pub struct DropInFormat {
    /// The format's name in the path.
    pub name: &'static str,
    /// Parses a request into events and notes. Pure.
    pub parse: fn(&IntakeRequest<'_>) -> Result<Vec<IntakeItem>, Vec<FieldError>>,
}

/// An event or note of a drop-in request.
#[derive(Clone, Debug, PartialEq)]
pub struct IntakeItem {
    /// The event or note itself.
    pub content: IntakeContent,
    /// The tenants it is about.
    pub addressees: Addressees,
    /// The source's own id of this event, in parts, if it has one. The same parts give the same event id.
    pub source_event_id: Option<Vec<String>>,
    /// Whether later requests may name only the dedup key. The scopes of the incident are then stored under that key.
    pub index_dedup_key: bool,
}

/// An event, or a note on an open incident.
#[derive(Clone, Debug, PartialEq)]
pub enum IntakeContent {
    /// An event in the native format, after normalization.
    Event(Box<Event>),
    /// A note on whatever is open under its dedup key.
    Note(Note),
}

impl IntakeContent {
    /// Returns source and dedup key. With integration and scope they identify an incident.
    #[must_use]
    pub fn source_and_dedup_key(&self) -> (&str, &str) {
        match self {
            Self::Event(event) => (&event.source, &event.dedup_key),
            Self::Note(note) => (&note.source, &note.dedup_key),
        }
    }
}

impl IntakeItem {
    /// Creates an item from an event: sets its tenants and applies the caps.
    #[must_use]
    pub fn event(event: Event, addressees: Addressees) -> Self {
        let event =
            Event { tenant_ids: addressees.tenant_ids.clone(), platform: addressees.platform, ..event }.normalized();
        Self {
            content: IntakeContent::Event(Box::new(event)),
            addressees,
            source_event_id: None,
            index_dedup_key: false,
        }
    }

    /// Creates an item from a note.
    #[must_use]
    pub fn note(note: Note, addressees: Addressees) -> Self {
        Self { content: IntakeContent::Note(note), addressees, source_event_id: None, index_dedup_key: false }
    }

    /// Sets the source's own id of the event.
    #[must_use]
    pub fn with_source_event_id(self, parts: Vec<String>) -> Self {
        Self { source_event_id: Some(parts), ..self }
    }
}

/// The tenants that a drop-in request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addressees {
    /// Ids of the tenants, without duplicates.
    pub tenant_ids: Vec<TenantId>,
    /// Whether the request names `*`: it is about every tenant.
    pub platform: bool,
    /// Names that are not valid tenant ids.
    pub invalid_tenants: Vec<String>,
}

impl Addressees {
    /// Parses tenant names; `*` means every tenant. Without any name the token's default tenants are used.
    #[must_use]
    pub fn parse(names: Vec<String>, defaults: &TokenDefaults) -> Self {
        let mut addressees = Self::default();
        for name in names {
            match TenantId::parse(&name) {
                _ if name == "*" => addressees.platform = true,
                Ok(id) if addressees.tenant_ids.contains(&id) => {}
                Ok(id) => addressees.tenant_ids.push(id),
                Err(_) => addressees.invalid_tenants.push(name),
            }
        }
        if addressees.platform {
            addressees.tenant_ids.clear();
        } else if addressees.tenant_ids.is_empty() && addressees.invalid_tenants.is_empty() {
            addressees.tenant_ids.clone_from(&defaults.tenant_ids);
        }
        addressees
    }
}

/// Returns the event type: `given` if the source sets one; else the source's own `name` for it if a rule matches that; else the token's
/// default; else `name`, so that operators see which alarms are not classified.
#[must_use]
pub fn resolve_event_type(given: Option<&str>, name: &str, request: &IntakeRequest<'_>) -> String {
    if let Some(given) = given {
        return given.to_owned();
    }
    if (request.is_known_type)(name) {
        return name.to_owned();
    }
    request.defaults.event_type.as_deref().unwrap_or(name).to_owned()
}

/// Splits a comma-separated text into its non-empty entries.
#[must_use]
pub fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

/// Reads a JSON array of texts, or a comma-separated text, as a list.
#[must_use]
pub fn string_list(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => split_list(text),
        Some(Value::Array(entries)) => entries.iter().filter_map(Value::as_str).flat_map(split_list).collect(),
        _ => Vec::new(),
    }
}

/// Returns a text field of a JSON object, trimmed; `None` if it is missing or blank.
#[must_use]
pub fn text_field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}

/// Builds the links of an event from pairs of address and text. Other addresses than of https, such as `http://prometheus:9090`, are left
/// out: nobody outside could open them. [`Event::normalized`] escapes the rest, and records what it cannot keep.
#[must_use]
pub fn https_links<'a>(given: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Link> {
    let secure = given.into_iter().filter(|(href, _)| href.trim_start().starts_with("https://"));
    secure.map(|(href, text)| Link { href: href.to_owned(), text: text.to_owned() }).collect()
}

/// Returns the dedup key, replaced by its hash if it is longer than [`DEDUP_KEY_MAX`].
#[must_use]
pub fn capped_dedup_key(given: &str) -> String {
    if given.chars().count() <= DEDUP_KEY_MAX { given.to_owned() } else { domain::ids::short_hash(&[given]) }
}

/// A number that a source measured.
///
/// It may come as a text, because [`normalize`](crate::json::normalize) keeps so what a double cannot hold; then `exact` has its digits,
/// and `value`, which rules compare, is the nearest finite number.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The nearest finite number.
    pub value: f64,
    /// The number as the source wrote it, if `value` is another one.
    pub exact: Option<String>,
}

impl Measurement {
    /// Reads a JSON number or a text that is one.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Some(Self { value: number.as_f64()?, exact: None }),
            Value::String(text) if crate::json::is_number(text) => {
                let value = text.parse::<f64>().ok()?.clamp(f64::MIN, f64::MAX);
                let is_exact = crate::json::same_number(&format!("{value:e}"), text);
                Some(Self { value, exact: (!is_exact).then(|| text.clone()) })
            }
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Measurement {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Value::deserialize(deserializer)?;
        Self::of(&given).ok_or_else(|| serde::de::Error::custom("must be a number"))
    }
}

impl JsonSchema for Measurement {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Measurement".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let number = "^-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?$";
        schemars::json_schema!({
            "description": "A number, or a text that is one, for a number that a double cannot hold.",
            "anyOf": [{"type": "number"}, {"type": "string", "pattern": number}],
        })
    }
}

/// Sets the measurements of an event. The digits that a double cannot hold are kept in its details.
pub fn set_measurements(event: &mut Event, given: BTreeMap<String, Measurement>) {
    let mut exact = Map::new();
    for (name, measurement) in given {
        exact.extend(measurement.exact.map(|digits| (name.clone(), Value::from(digits))));
        event.measurements.insert(name, measurement.value);
    }
    if !exact.is_empty() {
        event.details.entry("measurements").or_insert(Value::Object(exact));
    }
}

/// The key details of an event: the named fields of `object` that are set, and a name for each.
#[must_use]
pub fn key_details_of(object: &Map<String, Value>, names: &[(&str, &str)]) -> Vec<KeyDetail> {
    let found = names.iter().filter_map(|(field, name)| Some(KeyDetail::new(name, detail_text(object.get(*field)?)?)));
    found.collect()
}

/// All entries of a map as key details, but those whose names are in `except`.
#[must_use]
pub fn all_key_details(object: &Map<String, Value>, except: &[&str]) -> Vec<KeyDetail> {
    let entries = object.iter().filter(|(name, _)| !except.contains(&name.as_str()));
    entries.filter_map(|(name, value)| Some(KeyDetail::new(name, detail_text(value)?))).collect()
}

/// A value as people read it: a text, a number, a list of them. `None` for what is empty or has a structure of its own.
fn detail_text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Array(entries) => entries.iter().map(detail_text).collect::<Option<Vec<_>>>()?.join(", "),
        Value::Null | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// Helpers for the tests of the formats.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;

    /// The only event type that a rule matches in these tests is `api.outage`.
    pub(crate) fn is_known_type(event_type: &str) -> bool {
        event_type == "api.outage"
    }

    /// Builds a request from its parts.
    pub(crate) fn request<'a>(
        body: &'a str,
        headers: &'a BTreeMap<String, String>,
        defaults: &'a TokenDefaults,
    ) -> IntakeRequest<'a> {
        IntakeRequest { body: body.as_bytes(), headers, defaults, is_known_type: &is_known_type }
    }

    pub(crate) fn parse(
        format: DropInFormat,
        body: &str,
        defaults: &TokenDefaults,
    ) -> Result<Vec<IntakeItem>, Vec<FieldError>> {
        (format.parse)(&request(body, &BTreeMap::new(), defaults))
    }

    pub(crate) fn event(mapped: &IntakeItem) -> &Event {
        match &mapped.content {
            IntakeContent::Event(event) => event,
            IntakeContent::Note(note) => panic!("{note:?} is not an event"),
        }
    }

    pub(crate) fn note(mapped: &IntakeItem) -> &Note {
        match &mapped.content {
            IntakeContent::Note(note) => note,
            IntakeContent::Event(event) => panic!("{event:?} is not a note"),
        }
    }

    /// Checks that an item is an event that the native format could have produced, or a note with a valid key.
    pub(crate) fn check_valid(mapped: &IntakeItem) -> Result<(), TestCaseError> {
        let (source, key) = mapped.content.source_and_dedup_key();
        prop_assert!(!source.is_empty() && !key.is_empty() && key.chars().count() <= DEDUP_KEY_MAX);
        if let IntakeContent::Event(event) = &mapped.content {
            prop_assert!(!event.event_type.is_empty() && !event.title.is_empty());
            prop_assert!(event.title.chars().count() <= domain::event::TITLE_MAX);
            prop_assert!(event.message.chars().count() <= domain::event::MESSAGE_MAX);
            prop_assert!(event.links.iter().all(|link| Link::is_valid_href(&link.href)));
            prop_assert!(!event.platform || event.tenant_ids.is_empty());
            let text = serde_json::to_vec(event).unwrap();
            prop_assert!(text.len() <= domain::event::EVENT_MAX);
            let again = serde_json::from_slice::<Event>(&text);
            prop_assert!(again.is_ok_and(|again| again.event_type == event.event_type && again.title == event.title));
        }
        Ok(())
    }

    /// Any JSON, rich in the field names and values that the formats look for.
    pub(crate) fn any_json() -> impl Strategy<Value = Value> {
        let values = prop::sample::select(vec![
            "1",
            "4",
            "1.0",
            "firing",
            "resolved",
            "trigger",
            "acknowledge",
            "resolve",
            "critical",
            "P1",
            "ALARM",
            "OK",
            "INSUFFICIENT_DATA",
            "acme",
            "*",
            "api.outage",
            "2026-11-23T10:00:00Z",
            "https://example.test/x",
            "",
            "0123456789abcdefghijABCDEFGHIJ01",
            "aws.cloudwatch",
            "{\"tenant\":\"acme\"}",
            "arn:aws:cloudwatch:x:1:alarm:a",
        ]);
        let names = prop::sample::select(vec![
            "version",
            "alerts",
            "status",
            "labels",
            "annotations",
            "startsAt",
            "fingerprint",
            "values",
            "routing_key",
            "event_action",
            "dedup_key",
            "payload",
            "summary",
            "source",
            "severity",
            "custom_details",
            "class",
            "links",
            "href",
            "message",
            "alias",
            "priority",
            "details",
            "description",
            "specversion",
            "id",
            "type",
            "subject",
            "time",
            "data",
            "tenant_ids",
            "title",
            "AlarmName",
            "AlarmArn",
            "NewStateValue",
            "AlarmDescription",
            "StateChangeTime",
            "detail",
            "alarmName",
            "state",
            "value",
            "configuration",
            "resources",
            "tenant",
            "region",
            "component",
            "note",
        ]);
        let leaf = prop_oneof![
            1 => Just(Value::Null),
            1 => any::<bool>().prop_map(Value::from),
            1 => any::<i64>().prop_map(Value::from),
            1 => any::<f64>().prop_map(Value::from),
            4 => values.prop_map(Value::from),
            1 => ".{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                4 => prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..10)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
