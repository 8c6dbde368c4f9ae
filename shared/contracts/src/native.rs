//! The native event of `POST /v1/incidents` and the update of `POST /v1/incidents/{id}/updates`.

mod answers;

pub use answers::{
    DryRunAnswer, EventAccepted, EventAnswer, EventIncident, EventsAccepted, NotNotified, SourceIncidentAnswer,
    UpdateAccepted,
};

use crate::intake::{Measurement, TokenDefaults, set_measurements};
use crate::problem::FieldError;
use domain::event::{DEDUP_KEY_MAX, Event, Format, KeyDetail, Link, NAME_MAX, TENANTS_MAX};
use domain::ids::TenantId;
use domain::maintenance;
use domain::schema::Instant;
use domain::vocabulary::{Phase, Severity, Status};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Body of `POST /v1/incidents`. Unknown fields are rejected, so that a misspelled `tenant_ids` cannot silently alert nobody.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NativeEvent")]
pub struct NativeEventBody {
    /// The name of the system that reports the event.
    #[schemars(length(min = 1, max = 255))]
    source: String,
    /// The event type, such as `api.outage`. Defaults to the token's default type.
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// Events with the same source and dedup key belong to the same incident. If it is omitted, every event is an incident of its own.
    #[schemars(length(min = 1, max = 512))]
    dedup_key: Option<String>,
    /// `critical`, `error`, `warning` or `info`, or a common word for one of them such as `crit` or `none`. Any other value counts as
    /// `error`, and the original is kept.
    severity: Option<String>,
    /// The title in one line. Truncated to 255 characters.
    #[schemars(length(min = 1))]
    title: String,
    /// The text. Truncated to 15,000 characters.
    #[serde(default)]
    message: String,
    /// The title for the public status page.
    public_title: Option<String>,
    /// The text for the public status page.
    public_message: Option<String>,
    /// The status. Defaults to an open incident.
    status: Option<Status>,
    /// Ids of the tenants that the event is about. Each of them gets an incident.
    #[serde(default)]
    #[schemars(with = "Vec<TenantId>", length(max = 100))]
    tenant_ids: Vec<String>,
    /// The platform's id of the user whom a user-level warning (`user.warning`) is about. Required for one. It reaches the recipient with this
    /// `user_id`.
    #[schemars(length(min = 1, max = 255))]
    user_id: Option<String>,
    /// Whether the event is about every tenant. Requires the scope `incidents:platform`.
    #[serde(default)]
    platform: bool,
    /// Ids of the affected components, at most 50.
    #[serde(default)]
    components: Vec<String>,
    /// Ids of the affected regions, at most 50.
    #[serde(default)]
    regions: Vec<String>,
    /// Time at which it began, by the source's clock.
    #[schemars(with = "Option<Instant>")]
    starts_at: Option<Timestamp>,
    /// Planned end of scheduled maintenance. Only for event types `maintenance.…`.
    #[schemars(with = "Option<Instant>")]
    ends_at: Option<Timestamp>,
    /// Numbers that rules can compare, such as `delay_minutes`.
    #[serde(default)]
    measurements: BTreeMap<String, Measurement>,
    /// Labels for readers of the alert.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Links to further information. Only `https://`.
    #[serde(default)]
    links: Vec<Link>,
    /// Any other data. Truncated to 32 KiB.
    #[serde(default)]
    details: Map<String, Value>,
    /// Whether the incident is shown on the public status page. Defaults to what the rule says.
    public: Option<bool>,
}

/// Parses a native event. `new_key` is the dedup key of an event that sets none, so that it is an incident of its own.
///
/// # Errors
/// Every invalid field, each with what to do about it.
pub fn parse_event(body: &[u8], defaults: &TokenDefaults, new_key: &str) -> Result<Event, Vec<FieldError>> {
    let body: NativeEventBody = crate::problem::parse_object(body).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    let tenant_ids = resolve_tenants(&body, defaults, &mut errors);
    let event_type = match body.event_type.clone().or_else(|| defaults.event_type.clone()) {
        Some(text) if !text.trim().is_empty() => text,
        _ => {
            errors.push(FieldError::new("/type", "set the event type, such as `api.outage`"));
            String::new()
        }
    };
    check_texts(&body, &mut errors);
    check_schedule(&body, &event_type, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let (severity, severity_given) = parse_severity(body.severity.as_deref());
    let key_details = key_details(&body);
    let mut event = Event {
        format: Format::Native,
        source: body.source,
        event_type,
        dedup_key: body.dedup_key.unwrap_or_else(|| new_key.to_owned()),
        severity,
        severity_given,
        title: body.title,
        message: body.message,
        public_title: body.public_title,
        public_message: body.public_message,
        status: body.status,
        tenant_ids,
        user_id: body.user_id,
        platform: body.platform,
        components: or_token_default(body.components, &defaults.components),
        regions: or_token_default(body.regions, &defaults.regions),
        starts_at: body.starts_at,
        ends_at: body.ends_at,
        as_of: None,
        key_details,
        measurements: BTreeMap::new(),
        labels: body.labels,
        links: body.links,
        details: body.details,
        public: body.public,
        test_of: None,
        cut: Vec::new(),
        warnings: Vec::new(),
    };
    set_measurements(&mut event, body.measurements);
    Ok(event.normalized())
}

/// Labels and measurements, which the source sends for the readers of the alert.
fn key_details(body: &NativeEventBody) -> Vec<KeyDetail> {
    let labels = body.labels.iter().map(|(name, value)| KeyDetail::new(name, value));
    let numbers = body.measurements.iter().map(|(name, number)| match &number.exact {
        Some(digits) => KeyDetail::new(name, digits),
        None => KeyDetail::new(name, Value::from(number.value).to_string()),
    });
    labels.chain(numbers).collect()
}

/// Returns the tenants that the event is about, without duplicates: its own, or else the token's default tenants.
fn resolve_tenants(body: &NativeEventBody, defaults: &TokenDefaults, errors: &mut Vec<FieldError>) -> Vec<TenantId> {
    if body.tenant_ids.len() > TENANTS_MAX {
        errors.push(FieldError::new("/tenant_ids", format!("list at most {TENANTS_MAX} tenants, or set `platform`")));
        return Vec::new();
    }
    let mut tenant_ids = Vec::new();
    for (index, text) in body.tenant_ids.iter().enumerate() {
        match TenantId::parse(text) {
            Ok(id) if tenant_ids.contains(&id) => {}
            Ok(id) => tenant_ids.push(id),
            Err(error) => errors.push(FieldError::new(format!("/tenant_ids/{index}"), error.to_string())),
        }
    }
    if tenant_ids.is_empty() && !body.platform && errors.is_empty() {
        tenant_ids.clone_from(&defaults.tenant_ids);
    }
    if body.platform && !tenant_ids.is_empty() {
        errors.push(FieldError::new("/platform", "set `platform` or `tenant_ids`, not both"));
    }
    if !body.platform && tenant_ids.is_empty() && errors.is_empty() {
        let detail = "list the affected tenants, or set `platform` to true if every tenant is affected";
        errors.push(FieldError::new("/tenant_ids", detail));
    }
    tenant_ids
}

fn check_texts(body: &NativeEventBody, errors: &mut Vec<FieldError>) {
    for (pointer, text, max) in [
        ("/source", Some(body.source.as_str()), NAME_MAX),
        ("/title", Some(body.title.as_str()), usize::MAX),
        ("/dedup_key", body.dedup_key.as_deref(), DEDUP_KEY_MAX),
        ("/user_id", body.user_id.as_deref(), NAME_MAX),
    ] {
        if text.is_some_and(|text| text.trim().is_empty()) {
            errors.push(FieldError::new(pointer, "must not be empty"));
        }
        if text.is_some_and(|text| text.chars().count() > max) {
            errors.push(FieldError::new(pointer, format!("must have at most {max} characters")));
        }
    }
    for (index, link) in body.links.iter().enumerate() {
        if !link.href.trim_start().starts_with("https://") {
            errors.push(FieldError::new(format!("/links/{index}/href"), "must start with https://"));
        }
    }
}

fn check_schedule(body: &NativeEventBody, event_type: &str, errors: &mut Vec<FieldError>) {
    if let (Some(from), Some(until)) = (body.starts_at, body.ends_at)
        && until <= from
    {
        errors.push(FieldError::new("/ends_at", "must be later than `starts_at`"));
    }
    let phase = maintenance::phase_of_event_type(event_type);
    if body.ends_at.is_some() && phase.is_none() {
        let detail = "is only for event types `maintenance.…`; remove it, or set `type` to one of them";
        errors.push(FieldError::new("/ends_at", detail));
    }
    if (body.status == Some(Status::Resolved) || phase == Some(Phase::Completed)) && body.dedup_key.is_none() {
        errors.push(FieldError::new(
            "/dedup_key",
            "is required to resolve: set the dedup key of the incident to resolve",
        ));
    }
}

/// Returns the severity of a word in lower case, also of words that monitors commonly use for one. Prometheus's own rules send `none`.
fn severity_of_word(word: &str) -> Option<Severity> {
    match word {
        "crit" | "fatal" | "emergency" | "emerg" | "disaster" => Some(Severity::Critical),
        "err" | "high" | "major" => Some(Severity::Error),
        "warn" | "medium" | "minor" => Some(Severity::Warning),
        "none" | "ok" | "low" | "notice" | "informational" | "information" | "debug" => Some(Severity::Info),
        _ => Severity::parse(word),
    }
}

/// Parses the severity that a source sent. A missing or unknown one is `error`; the second value is the original, to be recorded.
#[must_use]
pub fn parse_severity(given: Option<&str>) -> (Severity, Option<String>) {
    match given {
        Some(text) => match severity_of_word(&text.trim().to_ascii_lowercase()) {
            Some(severity) if Severity::parse(&text.trim().to_ascii_lowercase()).is_some() => (severity, None),
            Some(severity) => (severity, Some(text.chars().take(64).collect())),
            None => (Severity::Error, Some(text.chars().take(64).collect())),
        },
        None => (Severity::Error, Some(String::new())),
    }
}

/// Returns `list`, or the token's default if it is empty.
#[must_use]
pub fn or_token_default(list: Vec<String>, default: &[String]) -> Vec<String> {
    if list.is_empty() { default.to_vec() } else { list }
}

/// Body of `POST /v1/incidents/{id}/updates`. It sets a status, a message, or both.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateBody {
    /// The new status. Omit it to leave it unchanged.
    pub status: Option<Status>,
    /// The update's text. Truncated to 15,000 characters.
    #[serde(default)]
    pub message: String,
}

/// Parses the body of an incident update.
///
/// # Errors
/// The fields that do not fit, each with what to do about it.
pub fn parse_update(body: &[u8]) -> Result<UpdateBody, Vec<FieldError>> {
    let mut update: UpdateBody = crate::problem::parse_object(body).map_err(|error| vec![error])?;
    if update.status.is_none() && update.message.trim().is_empty() {
        return Err(vec![FieldError::new("/message", "set a message, a new `status`, or both")]);
    }
    domain::event::truncate_chars(&mut update.message, domain::event::MESSAGE_MAX);
    Ok(update)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(body: &Value) -> Result<Event, Vec<FieldError>> {
        parse_event(body.to_string().as_bytes(), &TokenDefaults::default(), "new")
    }

    fn pointers(body: &Value) -> Vec<String> {
        parse(body).unwrap_err().into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn an_event_with_every_field_parses() {
        let event = parse(&json!({"source":"voice-monitor","type":"voice.routing_failure","dedup_key":"pop-bom-1",
            "severity":"critical","title":"t","message":"m","public_title":"p","public_message":"q",
            "status":"investigating","tenant_ids":["acme","acme"],"platform":false,"components":["voice"],
            "regions":["ap-south-1"],"starts_at":"2026-11-23T10:00:00Z","measurements":{"delay_minutes":12},
            "labels":{"a":"b"},"links":[{"href":"https://example.com","text":"x"}],"details":{"k":[1]}}))
        .unwrap();
        assert_eq!(event.tenant_ids.len(), 1);
        assert_eq!(event.severity, Severity::Critical);
        assert_eq!(event.severity_given, None);
    }

    #[test]
    fn an_event_without_tenants_is_rejected_unless_the_token_has_defaults() {
        assert_eq!(pointers(&json!({"source":"s","type":"t","title":"x"})), ["/tenant_ids"]);
        let both = json!({"source":"s","type":"t","title":"x","platform":true,"tenant_ids":["a"]});
        assert_eq!(pointers(&both), ["/platform"]);
        let defaults = TokenDefaults { tenant_ids: vec![TenantId::parse("acme").unwrap()], ..TokenDefaults::default() };
        let event = parse_event(br#"{"source":"s","type":"t","title":"x"}"#, &defaults, "k").unwrap();
        assert_eq!(event.tenant_ids, defaults.tenant_ids);
        assert_eq!(event.dedup_key, "k");
    }

    #[test]
    fn errors_name_every_invalid_field() {
        let bad = json!({"source":" ","title":"","tenant_ids":["Acme"],"links":[{"href":"http://x"}]});
        assert_eq!(pointers(&bad), ["/tenant_ids/0", "/type", "/source", "/title", "/links/0/href"]);
        assert!(parse(&json!({"tenants":["acme"]})).unwrap_err()[0].detail.contains("unknown field"));
        assert_eq!(pointers(&json!({"source":"s","type":"t","title":"x","platform":"yes"})), ["/platform"]);
    }

    #[test]
    fn an_unknown_severity_becomes_error_and_is_recorded() {
        assert_eq!(parse_severity(Some("CRITICAL")), (Severity::Critical, None));
        assert_eq!(parse_severity(Some("page")), (Severity::Error, Some("page".into())));
        assert_eq!(parse_severity(Some(" None ")), (Severity::Info, Some(" None ".into())));
        assert_eq!(parse_severity(Some("WARN")), (Severity::Warning, Some("WARN".into())));
        assert_eq!(parse_severity(None), (Severity::Error, Some(String::new())));
    }

    #[test]
    fn an_update_needs_a_message_or_a_status() {
        assert!(parse_update(b"{}").is_err());
        assert!(parse_update(br#"{"status":"resolved"}"#).is_ok());
        assert!(parse_update(br#"{"message":"We found it."}"#).is_ok());
        assert!(parse_update(br#"{"status":"over"}"#).is_err());
    }
}
