//! PagerDuty's Events API, version 2 (developer.pagerduty.com/docs/events-api-v2; go-pagerduty `event_v2.go`).
//!
//! The routing key is one of our tokens; both have 32 characters. Acknowledge and resolve contain only the dedup key, so intake stores the
//! scopes of an incident under that key. Errors have the original's texts, which name the field.

use crate::intake::{
    Addressees, IntakeItem, IntakeRequest, TENANT_FIELD, TokenDefaults, all_key_details, capped_dedup_key, https_links,
    key_details_of, resolve_event_type, split_list, string_list, text_field,
};
use crate::native::or_token_default;
use crate::queue::Note;
use domain::event::{DEDUP_KEY_MAX, Event, Format, KeyDetail};
use domain::vocabulary::{Severity, Status};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::fmt;

/// The event type of an event that sets no class.
const EVENT: &str = "pagerduty.event";
/// The event type of a change event. It is recorded, and nobody is notified.
const CHANGE: &str = "advisory.notice";
const SOURCE: &str = "pagerduty";
/// The length of a routing key.
const ROUTING_KEY_LENGTH: usize = 32;

/// A JSON object with a well-formed routing key.
pub struct Enqueue {
    /// The routing key, which is a secret.
    pub routing_key: String,
    body: Map<String, Value>,
}

impl fmt::Debug for Enqueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Enqueue(…)")
    }
}

/// Parses the body and its routing key, which identifies the caller. The routing key may also be in the header `X-Routing-Key`.
///
/// # Errors
/// Texts for the answer's `errors`.
pub fn parse_enqueue(request: &[u8], header: Option<&str>) -> Result<Enqueue, Vec<String>> {
    let Some(body) = crate::json::parse_map(request) else {
        return Err(vec!["The body is not a JSON object".to_owned()]);
    };
    let Some(key) = body.get("routing_key").and_then(Value::as_str).or(header) else {
        return Err(vec!["'routing_key' is missing or blank".to_owned()]);
    };
    if key.len() != ROUTING_KEY_LENGTH {
        return Err(vec!["Length of 'routing_key' is incorrect (should be 32 characters)".to_owned()]);
    }
    Ok(Enqueue { routing_key: key.to_owned(), body })
}

impl Enqueue {
    /// Maps `/v2/enqueue`. `new_key` is the dedup key of a trigger that sets none.
    ///
    /// # Errors
    /// Texts for the answer's `errors`.
    pub fn map_event(
        mut self,
        defaults: &TokenDefaults,
        is_known_type: &(dyn Fn(&str) -> bool + Sync),
        new_key: &str,
    ) -> Result<IntakeItem, Vec<String>> {
        let key = match self.body.remove("dedup_key") {
            None | Some(Value::Null) => None,
            Some(Value::String(key)) if key.trim().is_empty() => None,
            // PagerDuty's own limit is lower; ours also fits Opsgenie's aliases.
            Some(Value::String(key)) if key.chars().count() > DEDUP_KEY_MAX => {
                return Err(vec![format!(
                    "Length of 'dedup_key' is incorrect (should be at most {DEDUP_KEY_MAX} characters)"
                )]);
            }
            Some(Value::String(key)) => Some(key),
            Some(_) => return Err(vec!["'dedup_key' must be a string".to_owned()]),
        };
        let action = self.body.remove("event_action");
        let status = match action.as_ref().and_then(Value::as_str) {
            Some("trigger") => {
                let key = key.unwrap_or_else(|| new_key.to_owned());
                return map_trigger(self.body, defaults, is_known_type, key);
            }
            Some("acknowledge") => Status::Identified,
            Some("resolve") => Status::Resolved,
            None => return Err(vec!["'event_action' is missing or blank".to_owned()]),
            Some(_) => {
                let names = "'trigger', 'acknowledge' or 'resolve'";
                return Err(vec![format!("'event_action' is invalid (must be one of the following: {names})")]);
            }
        };
        let Some(key) = key else { return Err(vec!["'dedup_key' is missing or blank".to_owned()]) };
        let message = match status {
            Status::Identified => "Somebody has acknowledged it and is looking into it.",
            _ => "",
        };
        let note = Note {
            source: SOURCE.to_owned(),
            dedup_key: key,
            status: Some(status),
            message: message.to_owned(),
            ..Note::default()
        };
        Ok(IntakeItem { index_dedup_key: true, ..IntakeItem::note(note, Addressees::default()) })
    }

    /// Maps `/v2/change/enqueue`: a planned change.
    ///
    /// # Errors
    /// Texts for the answer's `errors`.
    pub fn map_change(mut self, defaults: &TokenDefaults, new_key: &str) -> Result<IntakeItem, Vec<String>> {
        let payload = take_payload(&mut self.body)?;
        let Some(summary) = text_field(&payload, "summary") else {
            return Err(vec!["'payload.summary' is missing or blank".to_owned()]);
        };
        let custom = custom_details(&payload);
        let event = Event {
            event_type: CHANGE.to_owned(),
            dedup_key: new_key.to_owned(),
            severity: Severity::Info,
            title: summary.to_owned(),
            links: collect_links(&self.body),
            key_details: key_details(&payload, &self.body),
            details: details(self.body, &payload),
            ..Event::blank(Format::PagerDuty, SOURCE)
        };
        Ok(IntakeItem::event(event, Addressees::parse(string_list(custom.get(TENANT_FIELD)), defaults)))
    }
}

fn map_trigger(
    mut body: Map<String, Value>,
    defaults: &TokenDefaults,
    is_known_type: &(dyn Fn(&str) -> bool + Sync),
    key: String,
) -> Result<IntakeItem, Vec<String>> {
    let payload = take_payload(&mut body)?;
    let mut errors = Vec::new();
    let mut required = |name: &str| {
        let found = text_field(&payload, name).map(str::to_owned);
        if found.is_none() {
            errors.push(format!("'payload.{name}' is missing or blank"));
        }
        found.unwrap_or_default()
    };
    let (title, _source, severity) = (required("summary"), required("source"), required("severity"));
    let parsed = Severity::parse(&severity.to_ascii_lowercase());
    if parsed.is_none() && !severity.is_empty() {
        let names = "'critical', 'warning', 'error' or 'info'";
        errors.push(format!("'payload.severity' is invalid (must be one of the following: {names})"));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let key_details = key_details(&payload, &body);
    let timestamp = text_field(&payload, "timestamp");
    let unknown_time =
        |_: &str| "`payload.timestamp` is not an ISO 8601 time. The time of acceptance is used.".to_owned();
    let custom = custom_details(&payload);
    let headers = std::collections::BTreeMap::new();
    let request = IntakeRequest { body: &[], headers: &headers, defaults, is_known_type };
    let event = Event {
        // A class is free text ("ping failure"), so it is the event type only if a rule matches it.
        event_type: resolve_event_type(None, text_field(&payload, "class").unwrap_or(EVENT), &request),
        dedup_key: capped_dedup_key(&key),
        severity: parsed.unwrap_or(Severity::Error),
        title,
        // PagerDuty takes a text for the details as well.
        message: ["message", "description"]
            .into_iter()
            .find_map(|name| text_field(&custom, name))
            .or_else(|| text_field(&payload, "custom_details").filter(|_| custom.is_empty()))
            .unwrap_or_default()
            .to_owned(),
        public_title: text_field(&custom, "public_title").map(str::to_owned),
        public_message: text_field(&custom, "public_message").map(str::to_owned),
        components: or_token_default(
            split_list(text_field(&payload, "component").unwrap_or_default()),
            &defaults.components,
        ),
        regions: or_token_default(string_list(custom.get("region")), &defaults.regions),
        // PagerDuty ignores a time that it cannot parse, and its own client sends such times.
        starts_at: timestamp.and_then(|text| text.parse::<Timestamp>().ok()),
        warnings: timestamp.into_iter().filter(|text| text.parse::<Timestamp>().is_err()).map(unknown_time).collect(),
        links: collect_links(&body),
        key_details,
        details: details(body, &payload),
        ..Event::blank(Format::PagerDuty, SOURCE)
    };
    let addressees = Addressees::parse(string_list(custom.get(TENANT_FIELD)), defaults);
    Ok(IntakeItem { index_dedup_key: true, ..IntakeItem::event(event, addressees) })
}

fn take_payload(body: &mut Map<String, Value>) -> Result<Map<String, Value>, Vec<String>> {
    match body.remove("payload") {
        Some(Value::Object(payload)) => Ok(payload),
        Some(_) => Err(vec!["'payload' must be an object".to_owned()]),
        None => Err(vec!["'payload' is missing or blank".to_owned()]),
    }
}

fn custom_details(payload: &Map<String, Value>) -> Map<String, Value> {
    match payload.get("custom_details") {
        Some(Value::Object(custom)) => custom.clone(),
        // Some clients send the object as a text.
        Some(Value::String(text)) => crate::json::parse_map(text.as_bytes()).unwrap_or_default(),
        _ => Map::new(),
    }
}

fn collect_links(body: &Map<String, Value>) -> Vec<domain::event::Link> {
    let given = body.get("links").and_then(Value::as_array).into_iter().flatten().filter_map(|link| {
        let text = link.get("text").and_then(Value::as_str).unwrap_or_default();
        Some((link.get("href")?.as_str()?, text))
    });
    let client = text_field(body, "client_url").map(|href| (href, text_field(body, "client").unwrap_or("client")));
    let images = body.get("images").and_then(Value::as_array).into_iter().flatten().filter_map(|image| {
        let text = |name: &str| image.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        Some((text("href").or_else(|| text("src"))?, text("alt").unwrap_or("image")))
    });
    https_links(given.chain(client).chain(images))
}

/// What tells one target from another: the source, its group and class, the client, and the custom details that are plain values.
fn key_details(payload: &Map<String, Value>, body: &Map<String, Value>) -> Vec<KeyDetail> {
    let mut details = key_details_of(payload, &[("source", "source"), ("group", "group"), ("class", "class")]);
    let shown_elsewhere = [TENANT_FIELD, "region", "message", "description", "public_title", "public_message"];
    details.extend(all_key_details(&custom_details(payload), &shown_elsewhere));
    details.extend(key_details_of(body, &[("client", "client")]));
    details
}

/// Returns everything but the routing key, which is a secret, and the tenants.
fn details(mut body: Map<String, Value>, payload: &Map<String, Value>) -> Map<String, Value> {
    body.remove("routing_key");
    let mut payload = payload.clone();
    let mut custom = custom_details(&payload);
    if custom.remove(TENANT_FIELD).is_some() {
        payload.insert("custom_details".to_owned(), Value::Object(custom));
    }
    body.insert("payload".to_owned(), Value::Object(payload));
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::testing;
    use domain::ids::TenantId;
    use proptest::prelude::*;
    use serde_json::json;

    const KEY: &str = "0123456789abcdefghijABCDEFGHIJ01";

    fn map(body: &Value) -> Result<IntakeItem, Vec<String>> {
        parse_enqueue(body.to_string().as_bytes(), None)?.map_event(
            &TokenDefaults::default(),
            &testing::is_known_type,
            "new",
        )
    }

    fn trigger() -> Value {
        // The example of PagerDuty's own documentation, with what we add in custom_details.
        json!({"routing_key": KEY, "event_action": "trigger", "dedup_key": "samplekeyhere", "images": [{"src":
            "https://www.pagerduty.com/x.png"}], "links": [{"href": "https://example.com/", "text": "Link text"}, {"href":
            "http://plain.example/", "text": "no"}], "client": "Monitor", "client_url": "https://monitor.example",
            "payload": {"summary": "Example alert on host1.example.com", "timestamp": "2015-07-17T08:42:58.315+0000", "source":
            "monitoringtool:host1", "severity": "info", "component": "postgres, api", "group": "prod-datapipe", "class":
            "api.outage", "custom_details": {"ping time": "1500ms", "tenant": ["acme"], "region": "eu"}}})
    }

    #[test]
    fn the_documented_example_maps() {
        let mapped = map(&trigger()).unwrap();
        let event = testing::event(&mapped);
        assert_eq!((event.event_type.as_str(), event.severity), ("api.outage", Severity::Info));
        assert_eq!(
            (event.dedup_key.as_str(), event.title.as_str()),
            ("samplekeyhere", "Example alert on host1.example.com")
        );
        assert_eq!(event.tenant_ids, [TenantId::parse("acme").unwrap()]);
        assert_eq!((event.components.len(), event.regions.as_slice()), (2, &["eu".to_owned()][..]));
        assert_eq!(event.starts_at.unwrap().to_string(), "2015-07-17T08:42:58.315Z");
        let hrefs: Vec<&str> = event.links.iter().map(|link| link.href.as_str()).collect();
        assert_eq!(hrefs, ["https://example.com/", "https://monitor.example", "https://www.pagerduty.com/x.png"]);
        let details: Vec<(&str, &str)> =
            event.key_details.iter().map(|detail| (detail.name.as_str(), detail.value.as_str())).collect();
        let expected = [("source", "monitoringtool:host1"), ("group", "prod-datapipe"), ("class", "api.outage")];
        assert_eq!(details, [&expected[..], &[("ping time", "1500ms"), ("client", "Monitor")]].concat());
        assert_eq!(event.details["payload"]["group"], "prod-datapipe");
        assert!(!serde_json::to_string(event).unwrap().contains(KEY), "the routing key is a secret");
        assert_eq!(event.details["payload"]["custom_details"], json!({"ping time": "1500ms", "region": "eu"}));
        let read = parse_enqueue(trigger().to_string().as_bytes(), None).unwrap();
        assert_eq!(format!("{read:?}"), "Enqueue(…)");
        assert!(mapped.index_dedup_key);
    }

    #[test]
    fn acknowledge_and_resolve_need_only_the_dedup_key() {
        let ack = map(&json!({"routing_key": KEY, "event_action": "acknowledge", "dedup_key": "k"})).unwrap();
        assert_eq!((testing::note(&ack).status, ack.index_dedup_key), (Some(Status::Identified), true));
        let resolved = map(&json!({"routing_key": KEY, "event_action": "resolve", "dedup_key": "k"})).unwrap();
        assert_eq!(testing::note(&resolved).status, Some(Status::Resolved));
        assert_eq!(resolved.content.source_and_dedup_key(), ("pagerduty", "k"));
        let error = map(&json!({"routing_key": KEY, "event_action": "resolve"})).unwrap_err();
        assert_eq!(error, ["'dedup_key' is missing or blank"]);
        let mut fresh = trigger();
        fresh["dedup_key"] = Value::Null;
        assert_eq!(testing::event(&map(&fresh).unwrap()).dedup_key, "new");
    }

    #[test]
    fn errors_have_pagerdutys_texts() {
        let change = |pointer: &str, value: Value| {
            let mut body = trigger();
            *body.pointer_mut(pointer).unwrap() = value;
            map(&body).unwrap_err().join("; ")
        };
        assert_eq!(change("/payload/summary", json!(" ")), "'payload.summary' is missing or blank");
        assert_eq!(change("/payload/source", Value::Null), "'payload.source' is missing or blank");
        let severity =
            "'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')";
        assert_eq!(change("/payload/severity", json!("page")), severity);
        assert_eq!(change("/payload", json!(1)), "'payload' must be an object");
        assert!(change("/event_action", json!("open")).starts_with("'event_action' is invalid"));
        assert!(change("/dedup_key", json!("x".repeat(600))).starts_with("Length of 'dedup_key'"));
        let short = json!({"routing_key": "abc", "event_action": "trigger"});
        assert_eq!(map(&short).unwrap_err(), ["Length of 'routing_key' is incorrect (should be 32 characters)"]);
        assert_eq!(map(&json!({})).unwrap_err(), ["'routing_key' is missing or blank"]);
        assert_eq!(parse_enqueue(b"[", None).unwrap_err(), ["The body is not a JSON object"]);
        assert_eq!(parse_enqueue(b"{}", Some(KEY)).unwrap().routing_key, KEY);
    }

    #[test]
    fn times_and_details_are_taken_as_clients_send_them() {
        let with = |pointer: &str, value: Value| {
            let mut body = trigger();
            *body.pointer_mut(pointer).unwrap() = value;
            map(&body).unwrap()
        };
        let zero = with("/payload/timestamp", json!("0001-01-01T00:00:00Z"));
        assert_eq!((testing::event(&zero).starts_at, testing::event(&zero).warnings.len()), (None, 0));
        let unknown = with("/payload/timestamp", json!("yesterday"));
        assert_eq!((testing::event(&unknown).starts_at, testing::event(&unknown).warnings.len()), (None, 1));
        let text = with("/payload/custom_details", json!("Two hosts are down."));
        assert_eq!(testing::event(&text).message, "Two hosts are down.");
        let object = with("/payload/custom_details", json!("{\"tenant\":\"acme\",\"host\":\"a\"}"));
        let object = testing::event(&object);
        assert_eq!((object.tenant_ids.len(), object.message.as_str()), (1, ""));
        assert!(!serde_json::to_string(&object.details).unwrap().contains("acme"), "no tenant sees the others");
        assert_eq!(testing::event(&with("/payload/severity", json!("Critical"))).severity, Severity::Critical);
    }

    #[test]
    fn a_change_event_is_an_advisory() {
        let body = json!({"routing_key": KEY, "payload": {"summary": "Build Success", "timestamp": "2026-11-23T10:00:00+00:00Z",
            "source": "acme-build", "custom_details": {"build": 7}}, "links": [{"href": "https://ci.example", "text": "CI"}]});
        let mapped = parse_enqueue(body.to_string().as_bytes(), None)
            .unwrap()
            .map_change(&TokenDefaults::default(), "new")
            .unwrap();
        let event = testing::event(&mapped);
        assert_eq!((event.event_type.as_str(), event.severity), ("advisory.notice", Severity::Info));
        assert_eq!((event.links.len(), &event.details["payload"]["custom_details"]["build"]), (1, &json!(7)));
        let silent = parse_enqueue(json!({"routing_key": KEY, "payload": {}}).to_string().as_bytes(), None).unwrap();
        assert_eq!(
            silent.map_change(&TokenDefaults::default(), "new").unwrap_err(),
            ["'payload.summary' is missing or blank"]
        );
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in testing::any_json(), header in prop::option::of(Just(KEY))) {
            let read = |body: &Value| parse_enqueue(body.to_string().as_bytes(), header);
            if let Ok(enqueue) = read(&body)
                && let Ok(mapped) = enqueue.map_event(&TokenDefaults::default(), &testing::is_known_type, "new")
            {
                testing::check_valid(&mapped)?;
            }
            if let Ok(mapped) = read(&body).and_then(|enqueue| enqueue.map_change(&TokenDefaults::default(), "new")) {
                testing::check_valid(&mapped)?;
            }
        }

        #[test]
        fn every_parsed_body_maps_to_a_valid_item(summary in ".{1,2000}", class in ".{0,400}", extra in testing::any_json()) {
            let body = json!({"routing_key": KEY, "event_action": "trigger", "payload": {"summary": summary, "source": "s",
                "severity": "error", "class": class, "custom_details": extra}});
            if let Ok(mapped) = map(&body) {
                testing::check_valid(&mapped)?;
            }
        }
    }
}
