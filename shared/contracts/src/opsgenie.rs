//! Opsgenie's Alert API (docs.opsgenie.com/docs/alert-api): create, close, acknowledge, add a note.
//!
//! The alias is the dedup key. What comes after the creation names alias or id and nothing else, so intake remembers whose an
//! alias is. Errors are the original's: 400 for what is no JSON, 422 with a text for each field.

use crate::intake::{Addressed, Defaults, Mapped, Request, TENANT, event_type, list, listed, worded};
use crate::native::or_default;
use crate::queue::Note;
use domain::event::{DEDUP_KEY_MAX, Event, Format};
use domain::vocabulary::{Severity, Status};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The source of every event by this way.
pub const SOURCE: &str = "opsgenie";
/// The event type of an alert that names none.
const ALERT: &str = "opsgenie.alert";

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no JSON object: 400.
    Unreadable,
    /// Fields that do not fit, each with its text: 422.
    Fields(BTreeMap<String, String>),
}

/// What is done to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `POST /v2/alerts/{id}/close`
    Close,
    /// `POST /v2/alerts/{id}/acknowledge`
    Acknowledge,
    /// `POST /v2/alerts/{id}/notes`
    AddNote,
}

impl Action {
    /// By the last part of the path.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        match path {
            "close" => Some(Self::Close),
            "acknowledge" => Some(Self::Acknowledge),
            "notes" => Some(Self::AddNote),
            _ => None,
        }
    }
}

fn refused(field: &str, text: &str) -> Refusal {
    Refusal::Fields(BTreeMap::from([(field.to_owned(), text.to_owned())]))
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::Unreadable)
}

/// Maps `POST /v2/alerts`. `new_key` is the alias of an alert that names none.
///
/// # Errors
/// [`Refusal`].
pub fn create(
    body: &[u8],
    defaults: &Defaults,
    known: &(dyn Fn(&str) -> bool + Sync),
    new_key: &str,
) -> Result<Mapped, Refusal> {
    let body = object(body)?;
    let mut errors = BTreeMap::new();
    let Some(title) = worded(&body, "message") else { return Err(refused("message", "Message can not be empty.")) };
    let alias = worded(&body, "alias").unwrap_or(new_key);
    if alias.chars().count() > DEDUP_KEY_MAX {
        errors.insert("alias".to_owned(), format!("Alias can not be longer than {DEDUP_KEY_MAX} characters."));
    }
    let severity = match body.get("priority") {
        // Opsgenie's own default is P3.
        None | Some(Value::Null) => Severity::Warning,
        Some(given) => match given.as_str() {
            Some("P1") => Severity::Critical,
            Some("P2") => Severity::Error,
            Some("P3") => Severity::Warning,
            Some("P4" | "P5") => Severity::Info,
            _ => {
                errors.insert("priority".to_owned(), "Priority must be one of P1, P2, P3, P4 and P5.".to_owned());
                Severity::Warning
            }
        },
    };
    let details = match body.get("details") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(details)) => details.clone(),
        Some(_) => {
            errors.insert("details".to_owned(), "Details must be a map of texts.".to_owned());
            Map::new()
        }
    };
    if !errors.is_empty() {
        return Err(Refusal::Fields(errors));
    }
    // Whom else it is about is no tenant's business.
    let mut kept = body.clone();
    if let Some(Value::Object(details)) = kept.get_mut("details") {
        details.remove(TENANT);
    }
    let headers = BTreeMap::new();
    let request = Request { body: &[], headers: &headers, defaults, known };
    let event = Event {
        event_type: event_type(worded(&details, "type"), ALERT, &request),
        dedup_key: alias.to_owned(),
        severity,
        title: title.to_owned(),
        message: worded(&body, "description").unwrap_or_default().to_owned(),
        public_title: worded(&details, "public_title").map(str::to_owned),
        public_message: worded(&details, "public_message").map(str::to_owned),
        components: or_default(list(worded(&details, "component").unwrap_or_default()), &defaults.components),
        regions: or_default(list(worded(&details, "region").unwrap_or_default()), &defaults.regions),
        details: kept,
        ..Event::blank(Format::Opsgenie, SOURCE)
    };
    let whose = Addressed::read(listed(details.get(TENANT)), defaults);
    Ok(Mapped { by_key: true, ..Mapped::event(event, whose) })
}

/// Maps an action on the alert of an alias.
///
/// # Errors
/// [`Refusal`].
pub fn act(action: Action, alias: &str, body: &[u8]) -> Result<Mapped, Refusal> {
    // Close and acknowledge may come without a body.
    let body = if body.iter().all(u8::is_ascii_whitespace) { Map::new() } else { object(body)? };
    // As at the creation.
    let alias = alias.trim();
    if alias.is_empty() || alias.chars().count() > DEDUP_KEY_MAX {
        return Err(refused("identifier", &format!("Identifier must have 1 to {DEDUP_KEY_MAX} characters.")));
    }
    let mut words = worded(&body, "note").unwrap_or_default().to_owned();
    domain::event::cut_chars(&mut words, domain::event::MESSAGE_MAX);
    let status = match action {
        Action::Close => Some(Status::Resolved),
        Action::Acknowledge => Some(Status::Identified),
        Action::AddNote if words.is_empty() => return Err(refused("note", "Note can not be empty.")),
        Action::AddNote => None,
    };
    if action == Action::Acknowledge && words.is_empty() {
        words = "Somebody has acknowledged it and is looking into it.".to_owned();
    }
    let tell = action == Action::AddNote;
    let note = Note { source: SOURCE.to_owned(), dedup_key: alias.to_owned(), status, message: words, tell };
    Ok(Mapped { by_key: true, ..Mapped::note(note, Addressed::default()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::testing;
    use proptest::prelude::*;
    use serde_json::json;

    /// The example of Opsgenie's documentation, with what we add in the details.
    const EXAMPLE: &str = r#"{"message":"An example alert message","alias":"Life is too short for no alias","description":
        "Every alert needs a description","responders":[{"id":"4513b7ea-3b91-438f-b7e4-e3e54af9147c","type":"team"}],
        "visibleTo":[{"username":"trinity@opsgenie.com","type":"user"}],"actions":["Restart","AnExampleAction"],"tags":
        ["OverwriteQuietHours","Critical"],"details":{"key1":"value1","tenant":"acme, globex","type":"api.outage","component":
        "api"},"entity":"An example entity","priority":"P1","x-new":1}"#;

    fn create(body: &str) -> Result<Mapped, Refusal> {
        super::create(body.as_bytes(), &Defaults::default(), &testing::known, "new")
    }

    #[test]
    fn the_example_of_the_documentation_maps() {
        let mapped = create(EXAMPLE).unwrap();
        let event = testing::event(&mapped);
        assert_eq!((event.title.as_str(), event.severity), ("An example alert message", Severity::Critical));
        assert_eq!(
            (event.dedup_key.as_str(), event.event_type.as_str()),
            ("Life is too short for no alias", "api.outage")
        );
        assert_eq!((event.tenant_ids.len(), event.components.len()), (2, 1));
        assert_eq!((&event.details["x-new"], &event.details["tags"][1]), (&json!(1), &json!("Critical")));
        assert_eq!(event.details["details"].as_object().unwrap().get("tenant"), None);
        let plain = create(r#"{"message":"m"}"#).unwrap();
        let plain = testing::event(&plain);
        assert_eq!(
            (plain.severity, plain.dedup_key.as_str(), plain.event_type.as_str()),
            (Severity::Warning, "new", ALERT)
        );
    }

    #[test]
    fn priorities_are_severities() {
        for (priority, severity) in
            [("P1", "critical"), ("P2", "error"), ("P3", "warning"), ("P4", "info"), ("P5", "info")]
        {
            let mapped = create(&json!({"message": "m", "priority": priority}).to_string()).unwrap();
            assert_eq!(testing::event(&mapped).severity.as_str(), severity);
        }
    }

    #[test]
    fn errors_name_the_field() {
        let fields = |body: Value| match create(&body.to_string()) {
            Err(Refusal::Fields(fields)) => fields.into_keys().collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(fields(json!({"message": ""})), ["message"]);
        assert_eq!(fields(json!({"message": "m", "priority": "P9", "details": 1})), ["details", "priority"]);
        assert_eq!(fields(json!({"message": "m", "alias": "x".repeat(513)})), ["alias"]);
        assert_eq!(create("{"), Err(Refusal::Unreadable));
        assert!(matches!(act(Action::AddNote, "a", b"{}"), Err(Refusal::Fields(_))));
        assert!(matches!(act(Action::Close, " ", b""), Err(Refusal::Fields(_))));
        assert_eq!(act(Action::Close, "a", b"["), Err(Refusal::Unreadable));
    }

    #[test]
    fn actions_are_notes_on_the_alias() {
        let done = |action, body: &str| act(action, "alias", body.as_bytes()).unwrap();
        let over = done(Action::Close, "");
        assert_eq!((testing::note(&over).status, over.content.key()), (Some(Status::Resolved), ("opsgenie", "alias")));
        let ack = done(Action::Acknowledge, r#"{"user":"Monitoring Script","source":"AWS Lambda"}"#);
        assert_eq!(testing::note(&ack).status, Some(Status::Identified));
        let note = done(Action::AddNote, r#"{"note":"We found it."}"#);
        let note = testing::note(&note);
        assert_eq!((note.status, note.message.as_str(), note.tell), (None, "We found it.", true));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(body in testing::json(), alias in ".{0,600}") {
            if let Ok(mapped) = create(&body.to_string()) {
                testing::valid(&mapped)?;
            }
            for action in [Action::Close, Action::Acknowledge, Action::AddNote] {
                if let Ok(mapped) = act(action, &alias, body.to_string().as_bytes()) {
                    testing::valid(&mapped)?;
                }
            }
        }

        #[test]
        fn whatever_parses_maps_within_the_caps(message in ".{1,600}", description in ".{0,20000}", extra in testing::json()) {
            let body = json!({"message": message, "description": description, "details": {"x": extra.clone()}, "entity": extra});
            if let Ok(mapped) = create(&body.to_string()) {
                testing::valid(&mapped)?;
            }
        }
    }
}
