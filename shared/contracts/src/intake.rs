//! What all intake formats share: token defaults, and what a format hands on.

use crate::problem::FieldError;
use crate::queue::Note;
use domain::event::{DEDUP_KEY_MAX, Event, Link};
use domain::ids::TenantId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Most events of one request, and most messages that they become: what one invocation can queue.
pub const EVENTS_MAX: usize = 2_000;

/// The name under which formats say whom an alert is about. It is read and not kept: of several tenants none hears who the
/// others are.
pub const TENANT: &str = "tenant";

/// What a token says for events that are silent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// The event type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The tenants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenant_ids: Vec<TenantId>,
    /// The components.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// The regions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
}

/// A drop-in request, as a format reads it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The body as posted.
    pub body: &'a [u8],
    /// The headers, names in lower case.
    pub headers: &'a BTreeMap<String, String>,
    /// What the token says for what is silent.
    pub defaults: &'a Defaults,
    /// Whether a rule knows an event type: a monitor's own name for an alarm stands for its type only then, else the
    /// token's default type does.
    pub known: &'a (dyn Fn(&str) -> bool + Sync),
}

/// A drop-in format of `POST /v1/intake/{name}`.
#[derive(Clone, Copy, Debug)]
pub struct DropIn {
    /// Its name in the path.
    pub name: &'static str,
    /// Reads one request. Pure.
    pub parse: fn(&Request<'_>) -> Result<Vec<Mapped>, Vec<FieldError>>,
}

/// The drop-in formats that share a path and our own error shape. PagerDuty and Opsgenie have paths of their own.
pub const FORMATS: &[DropIn] =
    &[crate::alertmanager::FORMAT, crate::grafana::FORMAT, crate::cloudevents::FORMAT, crate::cloudwatch::FORMAT];

/// One event or note of a drop-in request.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapped {
    /// What it says.
    pub content: Content,
    /// Whom it is about.
    pub whose: Addressed,
    /// What the source calls this very event, if it calls it anything: the same words give the same event id.
    pub identity: Option<Vec<String>>,
    /// Whether a later request may name nothing but the dedup key: then it is remembered whose it is.
    pub by_key: bool,
}

/// What a drop-in request says.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Something happened.
    Event(Box<Event>),
    /// Words on whatever is open under the key.
    Note(Note),
}

impl Content {
    /// Source and dedup key: what a key is made of, besides integration and scope.
    #[must_use]
    pub fn key(&self) -> (&str, &str) {
        match self {
            Self::Event(event) => (&event.source, &event.dedup_key),
            Self::Note(note) => (&note.source, &note.dedup_key),
        }
    }
}

impl Mapped {
    /// An event, capped, whose tenants are `whose`.
    #[must_use]
    pub fn event(event: Event, whose: Addressed) -> Self {
        let event = Event { tenant_ids: whose.tenant_ids.clone(), platform: whose.platform, ..event }.capped();
        Self { content: Content::Event(Box::new(event)), whose, identity: None, by_key: false }
    }

    /// A note.
    #[must_use]
    pub fn note(note: Note, whose: Addressed) -> Self {
        Self { content: Content::Note(note), whose, identity: None, by_key: false }
    }

    /// The same under the source's own name for it.
    #[must_use]
    pub fn called(self, identity: Vec<String>) -> Self {
        Self { identity: Some(identity), ..self }
    }
}

/// Whom a drop-in request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addressed {
    /// The tenants.
    pub tenant_ids: Vec<TenantId>,
    /// True where it said `*`.
    pub platform: bool,
    /// Names that no tenant can have.
    pub bad_tenants: Vec<String>,
}

impl Addressed {
    /// Reads tenant names; `*` is the whole platform. Where nothing is said the token's defaults say it.
    #[must_use]
    pub fn read(names: Vec<String>, defaults: &Defaults) -> Self {
        let mut whose = Self::default();
        for name in names {
            match TenantId::parse(&name) {
                _ if name == "*" => whose.platform = true,
                Ok(id) if whose.tenant_ids.contains(&id) => {}
                Ok(id) => whose.tenant_ids.push(id),
                Err(_) => whose.bad_tenants.push(name),
            }
        }
        if whose.platform {
            whose.tenant_ids.clear();
        } else if whose.tenant_ids.is_empty() && whose.bad_tenants.is_empty() {
            whose.tenant_ids.clone_from(&defaults.tenant_ids);
        }
        whose
    }
}

/// The event type: what the source says, else its own name for it where a rule knows that, else the token's default, else
/// the name after all, so that the operators see what nobody placed.
#[must_use]
pub fn event_type(said: Option<&str>, name: &str, request: &Request<'_>) -> String {
    said.or_else(|| Some(name).filter(|name| (request.known)(name)))
        .or(request.defaults.event_type.as_deref())
        .unwrap_or(name)
        .to_owned()
}

/// A comma-separated text as a list.
#[must_use]
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

/// A JSON value as a list: an array's texts, or a comma-separated text.
#[must_use]
pub fn listed(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => list(text),
        Some(Value::Array(entries)) => entries.iter().filter_map(Value::as_str).flat_map(list).collect(),
        _ => Vec::new(),
    }
}

/// A text field of a JSON object that is not blank.
#[must_use]
pub fn worded<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}

/// Links that messages may carry: https only.
#[must_use]
pub fn links<'a>(given: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Link> {
    let secure = given.into_iter().filter(|(href, _)| href.starts_with("https://"));
    secure.map(|(href, text)| Link { href: href.to_owned(), text: text.to_owned() }).collect()
}

/// A dedup key of at most the longest length; a longer one is told apart by its hash.
#[must_use]
pub fn dedup_key(given: &str) -> String {
    if given.chars().count() <= DEDUP_KEY_MAX { given.to_owned() } else { domain::ids::digest(&[given]) }
}

/// What the tests of the formats share.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;

    /// The one type that a rule knows.
    pub(crate) fn known(event_type: &str) -> bool {
        event_type == "api.outage"
    }

    /// A request of these parts.
    pub(crate) fn request<'a>(
        body: &'a str,
        headers: &'a BTreeMap<String, String>,
        defaults: &'a Defaults,
    ) -> Request<'a> {
        Request { body: body.as_bytes(), headers, defaults, known: &known }
    }

    pub(crate) fn parse(format: DropIn, body: &str, defaults: &Defaults) -> Result<Vec<Mapped>, Vec<FieldError>> {
        (format.parse)(&request(body, &BTreeMap::new(), defaults))
    }

    pub(crate) fn event(mapped: &Mapped) -> &Event {
        match &mapped.content {
            Content::Event(event) => event,
            Content::Note(note) => panic!("{note:?} is no event"),
        }
    }

    pub(crate) fn note(mapped: &Mapped) -> &Note {
        match &mapped.content {
            Content::Note(note) => note,
            Content::Event(event) => panic!("{event:?} is no note"),
        }
    }

    /// Whatever was mapped is an event as the native format would have made it, or a note on a key.
    pub(crate) fn valid(mapped: &Mapped) -> Result<(), TestCaseError> {
        let (source, key) = mapped.content.key();
        prop_assert!(!source.is_empty() && !key.is_empty() && key.chars().count() <= DEDUP_KEY_MAX);
        if let Content::Event(event) = &mapped.content {
            prop_assert!(!event.event_type.is_empty() && !event.title.is_empty());
            prop_assert!(event.title.chars().count() <= domain::event::TITLE_MAX);
            prop_assert!(event.message.chars().count() <= domain::event::MESSAGE_MAX);
            prop_assert!(event.links.iter().all(|link| link.href.starts_with("https://")));
            prop_assert!(!event.platform || event.tenant_ids.is_empty());
            let text = serde_json::to_vec(event).unwrap();
            prop_assert!(text.len() <= domain::event::EVENT_MAX);
            let again = serde_json::from_slice::<Event>(&text);
            prop_assert!(again.is_ok_and(|again| again.event_type == event.event_type && again.title == event.title));
        }
        Ok(())
    }

    /// Any JSON, rich in the names and words that the formats look for.
    pub(crate) fn json() -> impl Strategy<Value = Value> {
        let words = prop::sample::select(vec![
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
            4 => words.prop_map(Value::from),
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
