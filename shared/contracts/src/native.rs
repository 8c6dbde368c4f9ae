//! The native event of `POST /v1/incidents` and the update of `POST /v1/incidents/{id}/updates`.

use crate::intake::Defaults;
use crate::problem::FieldError;
use domain::event::{DEDUP_KEY_MAX, Event, Format, Link, NAME_MAX, TENANTS_MAX};
use domain::ids::{EventId, IncidentId, TenantId};
use domain::incident::{Incident, Update};
use domain::maintenance;
use domain::reason::Reason;
use domain::schema::Instant;
use domain::vocabulary::{Category, Phase, Severity, Status};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The body as posted. Unknown fields are refused: a misspelt `tenant_ids` must not alert nobody in silence.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NativeEvent")]
pub struct Body {
    /// The system that says so.
    #[schemars(length(min = 1, max = 255))]
    source: String,
    /// What kind of thing happened, such as `api.outage`; may be left to the token's defaults.
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// What makes two events the same incident; absent, each event is an incident of its own.
    #[schemars(length(min = 1, max = 512))]
    dedup_key: Option<String>,
    /// `critical`, `error`, `warning` or `info`; any other word counts as `error` and is kept.
    severity: Option<String>,
    /// One line; cut after 255 characters.
    #[schemars(length(min = 1))]
    title: String,
    /// The text; cut after 15,000 characters.
    #[serde(default)]
    message: String,
    /// The line for the public.
    public_title: Option<String>,
    /// The text for the public.
    public_message: Option<String>,
    /// The status; absent, it is firing.
    status: Option<Status>,
    /// The tenants it is about. An incident is made for each.
    #[serde(default)]
    #[schemars(with = "Vec<TenantId>", length(max = 100))]
    tenant_ids: Vec<String>,
    /// True when it is about everybody; needs the scope `incidents:platform`.
    #[serde(default)]
    platform: bool,
    /// What is affected.
    #[serde(default)]
    components: Vec<String>,
    /// Where.
    #[serde(default)]
    regions: Vec<String>,
    /// When it began, by the source's clock.
    #[schemars(with = "Option<Instant>")]
    starts_at: Option<Timestamp>,
    /// When announced work is to end; of `maintenance.…` only.
    #[schemars(with = "Option<Instant>")]
    ends_at: Option<Timestamp>,
    /// Numbers that rules compare, such as `delay_minutes`.
    #[serde(default)]
    measurements: BTreeMap<String, f64>,
    /// Words for whoever reads the alert.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Where to look further.
    #[serde(default)]
    links: Vec<Link>,
    /// Anything else; cut after 32 KiB.
    #[serde(default)]
    details: Map<String, Value>,
    /// Whether the public sees it; absent, the rule decides.
    public: Option<bool>,
}

/// Parses a native event; `new_key` is the dedup key of an event that names none (then every event is its own incident).
///
/// # Errors
/// Every field that does not fit, with its mend.
pub fn parse(body: &[u8], defaults: &Defaults, new_key: &str) -> Result<Event, Vec<FieldError>> {
    let body: Body = crate::problem::parse_object(body).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
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
    if tenant_ids.len() > TENANTS_MAX {
        errors.push(FieldError::new("/tenant_ids", format!("name at most {TENANTS_MAX} tenants, or set `platform`")));
    }
    if body.platform && !tenant_ids.is_empty() {
        errors.push(FieldError::new("/platform", "set `platform` or `tenant_ids`, not both"));
    }
    if !body.platform && tenant_ids.is_empty() && errors.is_empty() {
        errors.push(FieldError::new(
            "/tenant_ids",
            "name the tenants it is about, or set `platform` to true if it is about all of them",
        ));
    }
    let event_type = match body.event_type.or_else(|| defaults.event_type.clone()) {
        Some(text) if !text.trim().is_empty() => text,
        _ => {
            errors.push(FieldError::new("/type", "say what kind of event it is, such as `api.outage`"));
            String::new()
        }
    };
    for (pointer, text, max) in [
        ("/source", Some(body.source.as_str()), NAME_MAX),
        ("/title", Some(body.title.as_str()), usize::MAX),
        ("/dedup_key", body.dedup_key.as_deref(), DEDUP_KEY_MAX),
    ] {
        if text.is_some_and(|text| text.trim().is_empty()) {
            errors.push(FieldError::new(pointer, "must not be empty"));
        }
        if text.is_some_and(|text| text.chars().count() > max) {
            errors.push(FieldError::new(pointer, format!("must have at most {max} characters")));
        }
    }
    for (index, link) in body.links.iter().enumerate() {
        if !link.href.starts_with("https://") {
            errors.push(FieldError::new(format!("/links/{index}/href"), "must begin with https://"));
        }
    }
    if let (Some(from), Some(until)) = (body.starts_at, body.ends_at)
        && until <= from
    {
        errors.push(FieldError::new("/ends_at", "must be later than `starts_at`"));
    }
    let phase = maintenance::phase(&event_type);
    if body.ends_at.is_some() && phase.is_none() {
        errors.push(FieldError::new("/ends_at", "is for `maintenance.…` only: what breaks has no planned end"));
    }
    if (body.status == Some(Status::Resolved) || phase == Some(Phase::Completed)) && body.dedup_key.is_none() {
        errors.push(FieldError::new("/dedup_key", "is needed to resolve: it names what is resolved"));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let (severity, severity_given) = severity(body.severity.as_deref());
    Ok(Event {
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
        platform: body.platform,
        components: or_default(body.components, &defaults.components),
        regions: or_default(body.regions, &defaults.regions),
        starts_at: body.starts_at,
        ends_at: body.ends_at,
        as_of: None,
        measurements: body.measurements,
        labels: body.labels,
        links: body.links,
        details: body.details,
        public: body.public,
        test_of: None,
        cut: Vec::new(),
        warnings: Vec::new(),
    }
    .capped())
}

/// The severity of a source's word: unknown or missing is `error`, and what was given is kept.
#[must_use]
pub fn severity(given: Option<&str>) -> (Severity, Option<String>) {
    match given {
        Some(text) => match Severity::parse(&text.to_ascii_lowercase()) {
            Some(severity) => (severity, None),
            None => (Severity::Error, Some(text.chars().take(64).collect())),
        },
        None => (Severity::Error, Some(String::new())),
    }
}

/// A list, or the token's default where the source was silent.
#[must_use]
pub fn or_default(list: Vec<String>, default: &[String]) -> Vec<String> {
    if list.is_empty() { default.to_vec() } else { list }
}

/// The body of an update.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateBody {
    /// The new status; missing keeps it.
    pub status: Option<Status>,
    /// The words.
    #[serde(default)]
    pub message: String,
}

/// 202: the event is durably queued.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Accepted {
    /// By which `GET /v1/events/{id}` tells what became of it.
    pub event_id: EventId,
    /// What later events name to mean the same incident.
    pub dedup_key: String,
}

/// 202: the update is durably queued.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UpdateAccepted {
    /// By which `GET /v1/events/{id}` tells what became of it.
    pub event_id: EventId,
    /// The incident.
    pub incident_id: IncidentId,
}

/// 202 of a drop-in format: every event of the request is durably queued.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AllAccepted {
    /// In the order of the request.
    pub events: Vec<Accepted>,
}

/// What a dry run says.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DryRunAnswer {
    /// Always true.
    pub dry_run: bool,
    /// `included`, `excluded` or `unclassified`.
    pub classification: &'static str,
    /// The rule that matched.
    pub rule: Option<String>,
    /// How many tenants would be asked.
    pub tenants: usize,
    /// How many deliveries there would be, by channel.
    pub would_tell: BTreeMap<&'static str, u64>,
    /// What is odd about it: a rule that could not be asked, a component or region that the catalogue does not have.
    pub warnings: Vec<String>,
}

/// `GET /v1/events/{id}`: what became of an event.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EventAnswer {
    /// The event.
    pub event_id: EventId,
    /// `included`, `excluded` or `unclassified`.
    pub classification: String,
    /// The category, if it has one.
    pub category: Option<Category>,
    /// The rule that matched.
    pub rule: Option<String>,
    /// The incidents that it opened, updated or repeated.
    pub incidents: Vec<Made>,
    /// For whom it told nobody, and why.
    pub not_told: Vec<NotTold>,
    /// What is odd about it: what its source asked for and did not get, a component or region that the catalogue does not have, a rule that
    /// could not be asked.
    pub warnings: Vec<String>,
}

/// An incident that an event opened, updated or repeated.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Made {
    /// The incident.
    pub incident_id: String,
    /// Whose; `None` when it is everybody's.
    pub tenant_id: Option<TenantId>,
    /// The update that the event made; `None` where it changed nothing.
    pub update: Option<u32>,
}

/// Why an event told nobody of a tenant.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NotTold {
    /// Whose; `None` when it is everybody's or nobody's.
    pub tenant_id: Option<TenantId>,
    /// The word.
    pub reason: Reason,
    /// What it means.
    pub sentence: &'static str,
    /// Where it would be changed.
    pub setting: &'static str,
}

/// `GET /v1/incidents/{id}`: an incident as its source sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IncidentAnswer {
    /// What is true of it now.
    pub incident: Incident,
    /// How it came there.
    pub timeline: Vec<Update>,
}

/// Parses an update.
///
/// # Errors
/// What does not fit, with its mend.
pub fn parse_update(body: &[u8]) -> Result<UpdateBody, Vec<FieldError>> {
    let mut update: UpdateBody = crate::problem::parse_object(body).map_err(|error| vec![error])?;
    if update.status.is_none() && update.message.trim().is_empty() {
        return Err(vec![FieldError::new("/message", "say what is new, or give a new `status`")]);
    }
    domain::event::cut_chars(&mut update.message, domain::event::MESSAGE_MAX);
    Ok(update)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(body: &Value) -> Result<Event, Vec<FieldError>> {
        parse(body.to_string().as_bytes(), &Defaults::default(), "new")
    }

    fn pointers(body: &Value) -> Vec<String> {
        check(body).unwrap_err().into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_whole_event_parses() {
        let event = check(&json!({"source":"voice-monitor","type":"voice.routing_failure","dedup_key":"pop-bom-1",
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
    fn neither_tenant_nor_platform_alerts_nobody_and_says_so() {
        assert_eq!(pointers(&json!({"source":"s","type":"t","title":"x"})), ["/tenant_ids"]);
        let both = json!({"source":"s","type":"t","title":"x","platform":true,"tenant_ids":["a"]});
        assert_eq!(pointers(&both), ["/platform"]);
        let defaults = Defaults { tenant_ids: vec![TenantId::parse("acme").unwrap()], ..Defaults::default() };
        let event = parse(br#"{"source":"s","type":"t","title":"x"}"#, &defaults, "k").unwrap();
        assert_eq!(event.tenant_ids, defaults.tenant_ids);
        assert_eq!(event.dedup_key, "k");
    }

    #[test]
    fn every_bad_field_is_named() {
        let bad = json!({"source":" ","title":"","tenant_ids":["Acme"],"links":[{"href":"http://x"}]});
        assert_eq!(pointers(&bad), ["/tenant_ids/0", "/type", "/source", "/title", "/links/0/href"]);
        assert!(check(&json!({"tenants":["acme"]})).unwrap_err()[0].detail.contains("unknown field"));
        assert_eq!(pointers(&json!({"source":"s","type":"t","title":"x","platform":"yes"})), ["/platform"]);
    }

    #[test]
    fn an_unknown_severity_is_error_and_recorded() {
        assert_eq!(severity(Some("CRITICAL")), (Severity::Critical, None));
        assert_eq!(severity(Some("page")), (Severity::Error, Some("page".into())));
        assert_eq!(severity(None), (Severity::Error, Some(String::new())));
    }

    #[test]
    fn an_update_says_something() {
        assert!(parse_update(b"{}").is_err());
        assert!(parse_update(br#"{"status":"resolved"}"#).is_ok());
        assert!(parse_update(br#"{"message":"We found it."}"#).is_ok());
        assert!(parse_update(br#"{"status":"over"}"#).is_err());
    }
}
