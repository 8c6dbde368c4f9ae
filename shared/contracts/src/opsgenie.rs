//! Opsgenie's Alert API (docs.opsgenie.com/docs/alert-api): create an alert, and what its clients do with it afterwards.
//!
//! The alias is the dedup key. Later requests contain only alias or id, so intake stores the scopes of an incident under its alias. Errors
//! are the original's: 400 if the body is not JSON, 422 with a text for each invalid field.

use crate::intake::{
    Addressees, IntakeItem, IntakeRequest, TENANT_FIELD, TokenDefaults, all_key_details, key_details_of,
    resolve_event_type, split_list, string_list, text_field,
};
use crate::native::or_token_default;
use crate::queue::Note;
use domain::event::{DEDUP_KEY_MAX, Event, Format, KeyDetail};
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
    /// Closes the alert: `POST …/close`, or `DELETE` of the alert itself.
    Close,
    /// Acknowledges the alert: `POST …/acknowledge`.
    Acknowledge,
    /// Withdraws the acknowledgment: `POST …/unacknowledge`. An incident's status never moves backward, so it is only recorded.
    Unacknowledge,
    /// Stops Opsgenie's own reminders for a time: `POST …/snooze`. Recorded.
    Snooze,
    /// Adds a note: `POST …/notes`.
    AddNote,
    /// Sets the title: `PUT …/message`. Alertmanager sends it with `update_alerts`.
    SetMessage,
    /// Sets the text: `PUT …/description`. Alertmanager sends it with `update_alerts`.
    SetDescription,
    /// Sets the priority: `PUT …/priority`.
    SetPriority,
    /// Changes what has no counterpart in an incident: tags, details, owner, teams, responders, escalations, custom actions. Recorded.
    Record,
}

impl AlertAction {
    /// Returns the action of a method on the last segment of a path, `None` if there is no such action. Without a segment it is the alert.
    #[must_use]
    pub fn from_request(method: &str, segment: Option<&str>) -> Option<Self> {
        Some(match (method, segment) {
            ("POST", Some("close")) | ("DELETE", None) => Self::Close,
            ("POST", Some("acknowledge")) => Self::Acknowledge,
            ("POST", Some("unacknowledge")) => Self::Unacknowledge,
            ("POST", Some("snooze")) => Self::Snooze,
            ("POST", Some("notes")) => Self::AddNote,
            ("PUT", Some("message")) => Self::SetMessage,
            ("PUT", Some("description")) => Self::SetDescription,
            ("PUT", Some("priority")) => Self::SetPriority,
            ("POST", Some("assign" | "teams" | "responders" | "escalate" | "tags" | "details" | "actions"))
            | ("DELETE", Some("tags" | "details")) => Self::Record,
            _ => return None,
        })
    }

    /// Opsgenie's name of the action, as the result of a request has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Close => "Close",
            Self::Acknowledge => "Acknowledge",
            Self::Unacknowledge => "UnAcknowledge",
            Self::Snooze => "Snooze",
            Self::AddNote => "AddNote",
            Self::SetMessage => "UpdateMessage",
            Self::SetDescription => "UpdateDescription",
            Self::SetPriority => "UpdatePriority",
            Self::Record => "Update",
        }
    }
}

/// What the path of a request may mean: the alert's identifier and the action, the likeliest first.
///
/// `rest` is what follows `/v2/alerts/`, decoded. The identifier may hold slashes, because gateways decode `%2F`, and even the name of an
/// action. The caller takes the first reading whose identifier it knows.
#[must_use]
pub fn readings<'a>(method: &str, rest: &'a str) -> Vec<(&'a str, AlertAction)> {
    let mut found = Vec::new();
    if let Some((before, last)) = rest.rsplit_once('/') {
        found.extend(AlertAction::from_request(method, Some(last)).map(|action| (before, action)));
        // The name of a custom action follows `actions`.
        if let Some((identifier, "actions")) = before.rsplit_once('/') {
            found.extend(AlertAction::from_request(method, Some("actions")).map(|action| (identifier, action)));
        }
    }
    found.extend(AlertAction::from_request(method, None).map(|action| (rest, action)));
    found
}

fn field_error(field: &str, text: &str) -> OpsgenieError {
    OpsgenieError::Fields(BTreeMap::from([(field.to_owned(), text.to_owned())]))
}

fn parse_object(body: &[u8]) -> Result<Map<String, Value>, OpsgenieError> {
    crate::json::parse_map(body).ok_or(OpsgenieError::Unreadable)
}

const PRIORITIES: &str = "Priority must be one of P1, P2, P3, P4 and P5.";

fn parse_priority(given: &Value) -> Option<Severity> {
    match given.as_str()? {
        "P1" => Some(Severity::Critical),
        "P2" => Some(Severity::Error),
        "P3" => Some(Severity::Warning),
        "P4" | "P5" => Some(Severity::Info),
        _ => None,
    }
}

/// Returns Opsgenie's priority for a severity.
#[must_use]
pub const fn priority_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "P1",
        Severity::Error => "P2",
        Severity::Warning => "P3",
        Severity::Info => "P4",
    }
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
        Some(Value::String(text)) if text.trim().is_empty() => Severity::Warning,
        Some(given) => parse_priority(given).unwrap_or_else(|| {
            errors.insert("priority".to_owned(), PRIORITIES.to_owned());
            Severity::Warning
        }),
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
        key_details: key_details(&body, &details),
        details: event_details,
        ..Event::blank(Format::Opsgenie, SOURCE)
    };
    let addressees = Addressees::parse(string_list(details.get(TENANT_FIELD)), defaults);
    Ok(IntakeItem { index_dedup_key: true, ..IntakeItem::event(event, addressees) })
}

/// Returns an alias as it is stored: cleaned and trimmed, as the body of a new alert is.
#[must_use]
pub fn clean_alias(given: &str) -> String {
    domain::text::clean(given).trim().to_owned()
}

/// Maps an action on the alert with this alias.
///
/// # Errors
/// [`OpsgenieError`] if the alias or the body is invalid.
pub fn map_action(action: AlertAction, alias: &str, body: &[u8]) -> Result<IntakeItem, OpsgenieError> {
    // Close and acknowledge may have no body.
    let body = if body.iter().all(u8::is_ascii_whitespace) { Map::new() } else { parse_object(body)? };
    let alias = clean_alias(alias);
    if alias.is_empty() || alias.chars().count() > DEDUP_KEY_MAX {
        return Err(field_error("identifier", &format!("Identifier must have 1 to {DEDUP_KEY_MAX} characters.")));
    }
    let mut note = Note { source: SOURCE.to_owned(), dedup_key: alias, ..Note::default() };
    let given = |name: &str| text_field(&body, name).map(str::to_owned);
    note.message = given("note").unwrap_or_default();
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    match action {
        AlertAction::Close => note.status = Some(Status::Resolved),
        AlertAction::Acknowledge => {
            note.status = Some(Status::Identified);
            note.message = or(note.message, "Somebody has acknowledged it and is looking into it.");
        }
        AlertAction::Unacknowledge => {
            note.message = or(note.message, "The acknowledgment was withdrawn in the source.")
        }
        AlertAction::Snooze => {
            let until = given("endTime").map(|time| format!(" until {time}")).unwrap_or_default();
            note.message = or(note.message, &format!("Snoozed{until} in the source."));
        }
        AlertAction::AddNote if note.message.is_empty() => return Err(field_error("note", "Note can not be empty.")),
        AlertAction::AddNote => note.notify = true,
        AlertAction::SetMessage => {
            let title = given("message").ok_or_else(|| field_error("message", "Message can not be empty."))?;
            note.title = Some(domain::event::title_of(&title));
        }
        AlertAction::SetDescription => {
            note.message =
                given("description").ok_or_else(|| field_error("description", "Description can not be empty."))?;
            (note.notify, note.only_if_new) = (true, true);
        }
        AlertAction::SetPriority => {
            let severity = body.get("priority").and_then(parse_priority);
            note.severity = Some(severity.ok_or_else(|| field_error("priority", PRIORITIES))?);
        }
        AlertAction::Record => note.message = or(note.message, "Changed in the source."),
    }
    domain::event::truncate_chars(&mut note.message, domain::event::MESSAGE_MAX);
    Ok(IntakeItem { index_dedup_key: true, ..IntakeItem::note(note, Addressees::default()) })
}

/// What tells one target from another: entity, source, tags, and the details that are not shown elsewhere.
fn key_details(body: &Map<String, Value>, details: &Map<String, Value>) -> Vec<KeyDetail> {
    let shown_elsewhere = [TENANT_FIELD, "type", "component", "region", "public_title", "public_message"];
    let mut shown = key_details_of(body, &[("entity", "entity"), ("source", "source"), ("tags", "tags")]);
    shown.extend(all_key_details(details, &shown_elsewhere));
    shown
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

    #[test]
    fn an_update_sets_title_text_or_priority() {
        let done = |action, body: Value| map_action(action, "alias", body.to_string().as_bytes());
        let title = done(AlertAction::SetMessage, json!({"message": "New\ntitle"})).unwrap();
        let title = testing::note(&title);
        assert_eq!((title.title.as_deref(), title.notify), (Some("New title"), false));
        let text = done(AlertAction::SetDescription, json!({"description": "Two hosts."})).unwrap();
        let text = testing::note(&text);
        assert_eq!((text.message.as_str(), text.notify, text.only_if_new), ("Two hosts.", true, true));
        let priority = done(AlertAction::SetPriority, json!({"priority": "P1"})).unwrap();
        assert_eq!(testing::note(&priority).severity, Some(Severity::Critical));
        for (action, field) in [
            (AlertAction::SetMessage, "message"),
            (AlertAction::SetDescription, "description"),
            (AlertAction::SetPriority, "priority"),
        ] {
            let Err(OpsgenieError::Fields(fields)) = done(action, json!({field: ""})) else { panic!("{field}") };
            assert!(fields.contains_key(field));
        }
    }

    #[test]
    fn an_identifier_may_hold_slashes_and_the_names_of_actions() {
        use AlertAction::{Close, Record, SetMessage};
        for (method, path, expected) in [
            ("POST", "abc/close", &[("abc", Close)][..]),
            ("POST", "web01/http/close", &[("web01/http", Close)]),
            ("POST", "web01/close/close", &[("web01/close", Close)]),
            ("POST", "a/b/actions/Restart now", &[("a/b", Record)]),
            ("POST", "job/actions/close", &[("job/actions", Close), ("job", Record)]),
            ("PUT", "a/message", &[("a", SetMessage)]),
            ("DELETE", "web01/http", &[("web01/http", Close)]),
            ("DELETE", "web01/tags", &[("web01", Record), ("web01/tags", Close)]),
            ("POST", "abc", &[]),
            ("PUT", "abc/close", &[]),
        ] {
            assert_eq!(readings(method, path), expected, "{method} {path}");
        }
        assert_eq!(AlertAction::from_request("PUT", Some("message")), Some(AlertAction::SetMessage));
        assert_eq!(AlertAction::from_request("GET", Some("close")), None);
        assert_eq!(AlertAction::from_request("DELETE", None), Some(AlertAction::Close));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in testing::any_json(), alias in ".{0,600}") {
            if let Ok(mapped) = create(&body.to_string()) {
                testing::check_valid(&mapped)?;
            }
            for action in [AlertAction::Close, AlertAction::AddNote, AlertAction::SetMessage, AlertAction::SetPriority] {
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
