//! CloudEvents 1.0 over HTTP: structured, batch and binary mode (github.com/cloudevents/spec, `http-protocol-binding.md`).
//!
//! `type` is the event type, `subject` (else `data.dedup_key`, else `id`) the dedup key. `data` contains the other native fields; its
//! remaining fields are kept in the details. `source` and `id` together identify the event.

use crate::intake::{
    Addressees, DropInFormat, EVENTS_MAX, IntakeItem, IntakeRequest, capped_dedup_key, https_links, split_list,
};
use crate::native::{or_token_default, parse_severity};
use crate::problem::FieldError;
use domain::event::{Event, Format, Link, NAME_MAX};
use domain::vocabulary::Status;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The format of CloudEvents.
pub const FORMAT: DropInFormat = DropInFormat { name: "cloudevents", parse };
/// The attributes that every event must have.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// The native fields that `data` contains. A field with a native name but another type is kept in the details, except for the tenants,
/// which are never guessed.
#[derive(Debug, Default)]
struct Data {
    title: Option<String>,
    message: Option<String>,
    dedup_key: Option<String>,
    severity: Option<String>,
    public_title: Option<String>,
    public_message: Option<String>,
    status: Option<Status>,
    tenants: Vec<String>,
    components: Vec<String>,
    regions: Vec<String>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    measurements: BTreeMap<String, f64>,
    labels: BTreeMap<String, String>,
    links: Vec<Link>,
    public: Option<bool>,
    rest: Map<String, Value>,
}

/// Removes and returns a field if it has the expected type.
fn take_field<T: DeserializeOwned>(data: &mut Map<String, Value>, name: &str) -> Option<T> {
    let found = T::deserialize(data.get(name)?).ok()?;
    data.remove(name);
    Some(found)
}

impl Data {
    fn read(mut data: Map<String, Value>) -> Result<Self, FieldError> {
        let mut tenants = match data.remove("tenant_ids") {
            None | Some(Value::Null) => Vec::new(),
            Some(given) => Vec::<String>::deserialize(given)
                .map_err(|_| FieldError::new("/tenant_ids", "must be a list of tenant ids"))?,
        };
        match data.remove("platform") {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(Value::Bool(true)) => tenants.push("*".to_owned()),
            Some(_) => return Err(FieldError::new("/platform", "must be true or false")),
        }
        let data = &mut data;
        Ok(Self {
            title: take_field(data, "title"),
            message: take_field(data, "message"),
            dedup_key: take_field(data, "dedup_key"),
            severity: take_field(data, "severity"),
            public_title: take_field(data, "public_title"),
            public_message: take_field(data, "public_message"),
            status: take_field(data, "status"),
            tenants,
            components: take_field(data, "components").unwrap_or_default(),
            regions: take_field(data, "regions").unwrap_or_default(),
            starts_at: take_field(data, "starts_at"),
            ends_at: take_field(data, "ends_at"),
            measurements: take_field(data, "measurements").unwrap_or_default(),
            labels: take_field(data, "labels").unwrap_or_default(),
            links: take_field(data, "links").unwrap_or_default(),
            public: take_field(data, "public"),
            rest: std::mem::take(data),
        })
    }
}

fn parse(request: &IntakeRequest<'_>) -> Result<Vec<IntakeItem>, Vec<FieldError>> {
    let media = request.headers.get("content-type").map(String::as_str).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = |body: &[u8]| crate::problem::parse_json::<Value>(body).map_err(|error| vec![error]);
    match media.as_str() {
        "application/cloudevents+json" => map_event(json(request.body)?, "", "", request).map(|mapped| vec![mapped]),
        "application/cloudevents-batch+json" => {
            let Value::Array(events) = json(request.body)? else {
                return Err(vec![FieldError::new(
                    "",
                    "must be an array of events, because the content type is that of a batch",
                )]);
            };
            if events.len() > EVENTS_MAX {
                return Err(vec![FieldError::new(
                    "",
                    format!("must have at most {EVENTS_MAX} events; send smaller batches"),
                )]);
            }
            let (mut mapped, mut errors) = (Vec::new(), Vec::new());
            for (place, event) in events.into_iter().enumerate() {
                match map_event(event, &format!("/{place}"), "", request) {
                    Ok(event) => mapped.push(event),
                    Err(more) => errors.extend(more),
                }
            }
            // All or nothing: senders resend a whole batch, even if a part of it was accepted.
            if errors.is_empty() { Ok(mapped) } else { Err(errors) }
        }
        _ if request.headers.contains_key("ce-specversion") => {
            map_event(structured_from_binary(&media, request)?, "", "ce-", request).map(|mapped| vec![mapped])
        }
        _ => Err(vec![FieldError::new(
            "header:Content-Type",
            "must be application/cloudevents+json or application/cloudevents-batch+json; in binary mode, send the attributes \
             as ce- headers",
        )]),
    }
}

/// Converts a binary-mode event to its structured form.
fn structured_from_binary(media: &str, request: &IntakeRequest<'_>) -> Result<Value, Vec<FieldError>> {
    let mut event = Map::new();
    for (name, value) in request.headers {
        if let Some(attribute) = name.strip_prefix("ce-") {
            // Characters that are not printable ASCII are percent-encoded (`http-protocol-binding.md`, 3.1.3.2).
            let decoded = percent_decode_str(value).decode_utf8_lossy();
            event.insert(attribute.to_owned(), Value::from(decoded));
        }
    }
    if !request.body.is_empty() {
        let is_json = media.is_empty() || media == "application/json" || media.ends_with("+json");
        let data = if is_json {
            crate::problem::parse_json(request.body)
                .map_err(|error| vec![FieldError { pointer: format!("/data{}", error.pointer), ..error }])?
        } else {
            Value::from(String::from_utf8_lossy(request.body))
        };
        event.insert("data".to_owned(), data);
    }
    Ok(Value::Object(event))
}

/// Returns the source as the event's source. If it is too long, such as a cloud's resource id, its end is replaced by a hash.
fn capped_source(source: &str) -> String {
    if source.chars().count() <= NAME_MAX {
        return source.to_owned();
    }
    let begin: String = source.chars().take(NAME_MAX - 33).collect();
    format!("{begin}#{:.32}", domain::ids::short_hash(&[source]))
}

/// Maps one event. Its attributes are at `pointer` or, in binary mode, in headers that start with `header`.
fn map_event(
    event: Value,
    pointer: &str,
    header: &str,
    request: &IntakeRequest<'_>,
) -> Result<IntakeItem, Vec<FieldError>> {
    let Value::Object(mut event) = event else {
        return Err(vec![FieldError::new(pointer, "must be a JSON object with the attributes of CloudEvents 1.0")]);
    };
    let place = |name: &str| {
        if header.is_empty() { format!("{pointer}/{name}") } else { format!("header:{header}{name}") }
    };
    let mut errors = Vec::new();
    let mut attribute = |name: &str, required: bool| match event.remove(name) {
        Some(Value::String(text)) if !text.trim().is_empty() => text,
        None | Some(Value::Null) if !required => String::new(),
        _ => {
            errors.push(FieldError::new(place(name), "is required and must be a non-empty string"));
            String::new()
        }
    };
    let [version, id, source, event_type] = REQUIRED.map(|name| attribute(name, true));
    let (subject, time) = (attribute("subject", false), attribute("time", false));
    if !version.is_empty() && version != "1.0" {
        errors.push(FieldError::new(place("specversion"), "must be 1.0"));
    }
    let data = match event.remove("data") {
        None | Some(Value::Null) => Data::default(),
        Some(Value::Object(data)) => match Data::read(data) {
            Ok(data) => data,
            Err(error) => {
                errors.push(FieldError::new(format!("{pointer}/data{}", error.pointer), error.detail));
                Data::default()
            }
        },
        // Data that is not an object has no native fields; it is kept in the details.
        Some(other) => Data { rest: Map::from_iter([("data".to_owned(), other)]), ..Data::default() },
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut details = data.rest;
    if !event.is_empty() {
        // Extension attributes, and data in base64.
        details.insert("attributes".to_owned(), Value::Object(event));
    }
    let given = data.dedup_key.filter(|key| !key.trim().is_empty());
    let key = if subject.is_empty() { given.unwrap_or_else(|| id.clone()) } else { subject };
    let (severity, severity_given) = parse_severity(data.severity.as_deref());
    let title = data.title.filter(|title| !title.trim().is_empty());
    let defaults = request.defaults;
    let normalized = Event {
        event_type: crate::intake::resolve_event_type(None, &event_type, request),
        dedup_key: capped_dedup_key(&key),
        severity,
        severity_given,
        title: title.unwrap_or(event_type),
        message: data.message.unwrap_or_default(),
        public_title: data.public_title,
        public_message: data.public_message,
        status: data.status,
        components: or_token_default(data.components, &defaults.components),
        regions: or_token_default(data.regions, &defaults.regions),
        starts_at: data.starts_at.or_else(|| time.parse().ok().filter(|_| data.status.is_none())),
        ends_at: data.ends_at,
        measurements: data.measurements,
        labels: data.labels,
        links: https_links(data.links.iter().map(|link| (link.href.as_str(), link.text.as_str()))),
        details,
        public: data.public,
        ..Event::blank(Format::CloudEvents, &capped_source(&source))
    };
    let names: Vec<String> = data.tenants.iter().flat_map(|name| split_list(name)).collect();
    Ok(IntakeItem::event(normalized, Addressees::parse(names, defaults)).with_source_event_id(vec![source, id]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::{TokenDefaults, testing};
    use domain::vocabulary::Severity;
    use proptest::prelude::*;
    use serde_json::json;

    fn post(headers: &[(&str, &str)], body: &str) -> Result<Vec<IntakeItem>, Vec<FieldError>> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        parse(&testing::request(body, &headers, &TokenDefaults::default()))
    }

    fn event() -> Value {
        json!({"specversion": "1.0", "id": "A234-1234-1234", "source": "/mycontext/4", "type": "api.outage", "subject": "pop-1",
            "time": "2018-04-05T17:31:00Z", "datacontenttype": "application/json", "comexampleextension1": "value",
            "data": {"title": "POP 1 is down", "severity": "critical", "tenant_ids": ["acme"], "components": ["voice"],
                "measurements": {"errors": 3}, "links": [{"href": "http://plain.example"}], "myfield": [1]}})
    }

    const STRUCTURED: &[(&str, &str)] = &[("content-type", "application/cloudevents+json; charset=UTF-8")];
    const BATCH: &[(&str, &str)] = &[("content-type", "application/cloudevents-batch+json")];

    #[test]
    fn a_structured_event_maps() {
        let mapped = post(STRUCTURED, &event().to_string()).unwrap().remove(0);
        let event = testing::event(&mapped);
        assert_eq!((event.source.as_str(), event.event_type.as_str()), ("/mycontext/4", "api.outage"));
        assert_eq!((event.dedup_key.as_str(), event.severity), ("pop-1", Severity::Critical));
        assert_eq!((event.tenant_ids.len(), event.links.len()), (1, 0));
        assert_eq!(event.starts_at.unwrap().to_string(), "2018-04-05T17:31:00Z");
        assert_eq!(event.details["myfield"], json!([1]));
        assert_eq!(event.details["attributes"]["comexampleextension1"], "value");
        assert_eq!(mapped.source_event_id.unwrap(), ["/mycontext/4", "A234-1234-1234"]);
    }

    #[test]
    fn a_binary_event_maps_like_a_structured_one() {
        let whole = event();
        let headers = [
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-id", "A234-1234-1234"),
            ("ce-source", "/mycontext/4"),
            ("ce-type", "api.outage"),
            ("ce-subject", "pop%2D1"),
            ("ce-time", "2018-04-05T17:31:00Z"),
            ("ce-comexampleextension1", "Euro %E2%82%AC 100% %zz %4"),
        ];
        let binary = post(&headers, &whole["data"].to_string()).unwrap().remove(0);
        let structured = post(STRUCTURED, &whole.to_string()).unwrap().remove(0);
        assert_eq!(
            (&binary.source_event_id, binary.content.source_and_dedup_key()),
            (&structured.source_event_id, structured.content.source_and_dedup_key())
        );
        let event = testing::event(&binary);
        assert_eq!(event.title, "POP 1 is down");
        assert_eq!(event.details["attributes"]["comexampleextension1"], "Euro € 100% %zz %4");
        let text = [headers[1], headers[2], headers[3], headers[4], ("content-type", "text/plain")];
        let plain = post(&text, "hello").unwrap().remove(0);
        assert_eq!(testing::event(&plain).details["data"], "hello");
        assert_eq!(post(&headers[..2], "{}").unwrap_err()[0].pointer, "header:ce-id");
        assert_eq!(post(&headers, "{").unwrap_err()[0].pointer, "/data");
    }

    #[test]
    fn a_batch_is_accepted_whole_or_not_at_all() {
        let mut second = event();
        second["id"] = json!("B");
        assert_eq!(post(BATCH, &json!([event(), second]).to_string()).unwrap().len(), 2);
        assert!(post(BATCH, "[]").unwrap().is_empty());
        second["specversion"] = json!("0.3");
        second["type"] = json!("");
        let errors = post(BATCH, &json!([event(), second]).to_string()).unwrap_err();
        let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/1/type", "/1/specversion"]);
        assert!(post(BATCH, &event().to_string()).is_err());
    }

    #[test]
    fn errors_name_invalid_fields_and_media_types() {
        let mut odd = event();
        odd["data"]["severity"] = json!(3);
        odd["data"]["status"] = json!("active");
        let kept = post(STRUCTURED, &odd.to_string()).unwrap().remove(0);
        let details = &testing::event(&kept).details;
        assert_eq!(
            (&details["severity"], &details["status"]),
            (&json!(3), &json!("active")),
            "fields of another type are kept in the details"
        );
        odd["data"]["tenant_ids"] = json!("acme");
        assert_eq!(post(STRUCTURED, &odd.to_string()).unwrap_err()[0].pointer, "/data/tenant_ids");
        assert_eq!(post(STRUCTURED, "[]").unwrap_err()[0].pointer, "");
        assert_eq!(post(&[("content-type", "application/json")], "{}").unwrap_err()[0].pointer, "header:Content-Type");
        assert_eq!(post(&[], "").unwrap_err()[0].pointer, "header:Content-Type");
    }

    #[test]
    fn an_event_without_a_subject_is_its_own_incident() {
        let plain = json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t"}).to_string();
        let mapped = post(STRUCTURED, &plain).unwrap().remove(0);
        assert_eq!(mapped.content.source_and_dedup_key(), ("s", "1"));
        assert_eq!(testing::event(&mapped).title, "t");
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in testing::any_json(), media in prop::sample::select(vec![STRUCTURED, BATCH])) {
            for mapped in post(media, &body.to_string()).unwrap_or_default() {
                testing::check_valid(&mapped)?;
            }
        }

        #[test]
        fn every_parsed_body_maps_to_a_valid_item(
            id in ".{1,600}", kind in ".{1,400}", subject in ".{0,600}", data in testing::any_json(), header in "[ -~]{0,40}",
        ) {
            let body = json!({"specversion": "1.0", "id": id, "source": "s", "type": kind, "subject": subject, "data": data});
            for mapped in post(STRUCTURED, &body.to_string()).unwrap_or_default() {
                testing::check_valid(&mapped)?;
            }
            let headers = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "s"), ("ce-type", header.as_str())];
            for mapped in post(&headers, &data.to_string()).unwrap_or_default() {
                testing::check_valid(&mapped)?;
            }
        }
    }
}
