//! Opsgenie's Alert API (docs.opsgenie.com/docs/alert-api): create, close, acknowledge, add a note.
//!
//! The alias is the dedup key. Later requests contain only alias or id, so intake stores the scopes of an incident under its alias. Errors
//! are the original's: 400 if the body is not JSON, 422 with a text for each invalid field.

use crate::intake::{
    Addressees, IntakeItem, IntakeRequest, TENANT_FIELD, TokenDefaults, resolve_event_type, split_list, string_list,
    text_field,
};
use crate::native::or_token_default;
use crate::queue::Note;
use domain::event::{DEDUP_KEY_MAX, Event, Format};
use domain::vocabulary::{Severity, Status};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The source of every event from Opsgenie's API.
pub const SOURCE: &str = "opsgenie";
/// The event type of an alert that sets none.
const ALERT: &str = "opsgenie.alert";

/// Why a request is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpsgenieError {
    /// The body is not a JSON object: 400.
    Unreadable,
    /// Invalid fields, each with an error text: 422.
    Fields(BTreeMap<String, String>),
}

/// An action on an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertAction {
    /// Closes the alert: `POST /v2/alerts/{id}/close`.
    Close,
    /// Acknowledges the alert: `POST /v2/alerts/{id}/acknowledge`.
    Acknowledge,
    /// Adds a note: `POST /v2/alerts/{id}/notes`.
    AddNote,
}

impl AlertAction {
    /// Parses the last segment of the path.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        match path {
            "close" => Some(Self::Close),
            "acknowledge" => Some(Self::Acknowledge),
            "notes" => Some(Self::AddNote),
            _ => None,
        }
    }
}

fn field_error(field: &str, text: &str) -> OpsgenieError {
    OpsgenieError::Fields(BTreeMap::from([(field.to_owned(), text.to_owned())]))
}

fn parse_object(body: &[u8]) -> Result<Map<String, Value>, OpsgenieError> {
    serde_json::from_slice(body).map_err(|_| OpsgenieError::Unreadable)
}

/// Maps `POST /v2/alerts`. `new_key` is the alias of an alert that sets none.
///
/// # Errors
/// [`OpsgenieError`] if the body is invalid.
pub fn map_alert(
    body: &[u8],
    defaults: &TokenDefaults,
    is_known_type: &(dyn Fn(&str) -> bool + Sync),
    new_key: &str,
) -> Result<IntakeItem, OpsgenieError> {
    let body = parse_object(body)?;
    let mut errors = BTreeMap::new();
    let Some(title) = text_field(&body, "message") else {
        return Err(field_error("message", "Message can not be empty."));
    };
    let alias = text_field(&body, "alias").unwrap_or(new_key);
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
        return Err(OpsgenieError::Fields(errors));
    }
    // No tenant may see which other tenants are affected.
    let mut event_details = body.clone();
    if let Some(Value::Object(details)) = event_details.get_mut("details") {
        details.remove(TENANT_FIELD);
    }
    let headers = BTreeMap::new();
    let request = IntakeRequest { body: &[], headers: &headers, defaults, is_known_type };
    let event = Event {
        event_type: resolve_event_type(text_field(&details, "type"), ALERT, &request),
        dedup_key: alias.to_owned(),
        severity,
        title: title.to_owned(),
        message: text_field(&body, "description").unwrap_or_default().to_owned(),
        public_title: text_field(&details, "public_title").map(str::to_owned),
        public_message: text_field(&details, "public_message").map(str::to_owned),
        components: or_token_default(
            split_list(text_field(&details, "component").unwrap_or_default()),
            &defaults.components,
        ),
        regions: or_token_default(split_list(text_field(&details, "region").unwrap_or_default()), &defaults.regions),
        details: event_details,
        ..Event::blank(Format::Opsgenie, SOURCE)
    };
    let addressees = Addressees::parse(string_list(details.get(TENANT_FIELD)), defaults);
    Ok(IntakeItem { index_dedup_key: true, ..IntakeItem::event(event, addressees) })
}

/// Maps an action on the alert with this alias.
///
/// # Errors
/// [`OpsgenieError`] if the alias or the body is invalid.
pub fn map_action(action: AlertAction, alias: &str, body: &[u8]) -> Result<IntakeItem, OpsgenieError> {
    // Close and acknowledge may have no body.
    let body = if body.iter().all(u8::is_ascii_whitespace) { Map::new() } else { parse_object(body)? };
    // The alias is trimmed when an alert is created, too.
    let alias = alias.trim();
    if alias.is_empty() || alias.chars().count() > DEDUP_KEY_MAX {
        return Err(field_error("identifier", &format!("Identifier must have 1 to {DEDUP_KEY_MAX} characters.")));
    }
    let mut message = text_field(&body, "note").unwrap_or_default().to_owned();
    domain::event::truncate_chars(&mut message, domain::event::MESSAGE_MAX);
    let status = match action {
        AlertAction::Close => Some(Status::Resolved),
        AlertAction::Acknowledge => Some(Status::Identified),
        AlertAction::AddNote if message.is_empty() => return Err(field_error("note", "Note can not be empty.")),
        AlertAction::AddNote => None,
    };
    if action == AlertAction::Acknowledge && message.is_empty() {
        message = "Somebody has acknowledged it and is looking into it.".to_owned();
    }
    let notify = action == AlertAction::AddNote;
    let note = Note { source: SOURCE.to_owned(), dedup_key: alias.to_owned(), status, message, notify };
    Ok(IntakeItem { index_dedup_key: true, ..IntakeItem::note(note, Addressees::default()) })
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

    fn create(body: &str) -> Result<IntakeItem, OpsgenieError> {
        super::map_alert(body.as_bytes(), &TokenDefaults::default(), &testing::is_known_type, "new")
    }

    #[test]
    fn the_documented_example_maps() {
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
    fn priorities_map_to_severities() {
        for (priority, severity) in
            [("P1", "critical"), ("P2", "error"), ("P3", "warning"), ("P4", "info"), ("P5", "info")]
        {
            let mapped = create(&json!({"message": "m", "priority": priority}).to_string()).unwrap();
            assert_eq!(testing::event(&mapped).severity.as_str(), severity);
        }
    }

    #[test]
    fn errors_name_the_invalid_field() {
        let fields = |body: Value| match create(&body.to_string()) {
            Err(OpsgenieError::Fields(fields)) => fields.into_keys().collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(fields(json!({"message": ""})), ["message"]);
        assert_eq!(fields(json!({"message": "m", "priority": "P9", "details": 1})), ["details", "priority"]);
        assert_eq!(fields(json!({"message": "m", "alias": "x".repeat(513)})), ["alias"]);
        assert_eq!(create("{"), Err(OpsgenieError::Unreadable));
        assert!(matches!(map_action(AlertAction::AddNote, "a", b"{}"), Err(OpsgenieError::Fields(_))));
        assert!(matches!(map_action(AlertAction::Close, " ", b""), Err(OpsgenieError::Fields(_))));
        assert_eq!(map_action(AlertAction::Close, "a", b"["), Err(OpsgenieError::Unreadable));
    }

    #[test]
    fn actions_become_notes_on_the_alias() {
        let done = |action, body: &str| map_action(action, "alias", body.as_bytes()).unwrap();
        let resolved = done(AlertAction::Close, "");
        assert_eq!(
            (testing::note(&resolved).status, resolved.content.source_and_dedup_key()),
            (Some(Status::Resolved), ("opsgenie", "alias"))
        );
        let ack = done(AlertAction::Acknowledge, r#"{"user":"Monitoring Script","source":"AWS Lambda"}"#);
        assert_eq!(testing::note(&ack).status, Some(Status::Identified));
        let note = done(AlertAction::AddNote, r#"{"note":"We found it."}"#);
        let note = testing::note(&note);
        assert_eq!((note.status, note.message.as_str(), note.notify), (None, "We found it.", true));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in testing::any_json(), alias in ".{0,600}") {
            if let Ok(mapped) = create(&body.to_string()) {
                testing::check_valid(&mapped)?;
            }
            for action in [AlertAction::Close, AlertAction::Acknowledge, AlertAction::AddNote] {
                if let Ok(mapped) = map_action(action, &alias, body.to_string().as_bytes()) {
                    testing::check_valid(&mapped)?;
                }
            }
        }

        #[test]
        fn every_parsed_body_maps_to_a_valid_item(message in ".{1,600}", description in ".{0,20000}", extra in testing::any_json()) {
            let body = json!({"message": message, "description": description, "details": {"x": extra.clone()}, "entity": extra});
            if let Ok(mapped) = create(&body.to_string()) {
                testing::check_valid(&mapped)?;
            }
        }
    }
}
