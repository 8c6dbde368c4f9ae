//! CloudEvents 1.0 over HTTP: structured, batch and binary mode (github.com/cloudevents/spec, `http-protocol-binding.md`).
//!
//! `type` is the event type, `subject` (else `data.dedup_key`, else `id`) the dedup key. `data` contains the other native fields; its
//! remaining fields are kept in the details. `source` and `id` together identify the event.

use crate::intake::{
    Addressees, DropInFormat, EVENTS_MAX, IntakeItem, IntakeRequest, Measurement, TENANT_FIELD, TokenDefaults,
    all_key_details, capped_dedup_key, https_links, set_measurements, split_list,
};
use crate::native::{or_token_default, parse_severity};
use crate::problem::FieldError;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::{Engine, alphabet};
use domain::event::{Event, Format, KeyDetail, Link, NAME_MAX};
use domain::vocabulary::Status;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
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
    measurements: BTreeMap<String, Measurement>,
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
            let total = events.len();
            let mut invalid = 0;
            for (place, event) in events.into_iter().enumerate() {
                match map_event(event.clone(), &format!("/{place}"), "", request) {
                    Ok(event) => mapped.push(event),
                    Err(more) => {
                        invalid += 1;
                        mapped.push(invalid_event(event, &more, request.defaults));
                        errors.extend(more);
                    }
                }
            }
            // A sender drops the whole batch after a 4xx. So one bad event must not cost the others; it becomes an event of its own.
            if invalid == total && total > 0 { Err(errors) } else { Ok(mapped) }
        }
        _ if request.headers.contains_key("ce-specversion") => {
            map_event(structured_from_binary(&media, request)?, "", "ce-", request).map(|mapped| vec![mapped])
        }
        // Some senders name a structured event plain JSON.
        _ if is_json(&media)
            && crate::json::parse_map(request.body).is_some_and(|event| event.contains_key("specversion")) =>
        {
            map_event(json(request.body)?, "", "", request).map(|mapped| vec![mapped])
        }
        _ => Err(vec![FieldError::new(
            "header:Content-Type",
            "must be application/cloudevents+json or application/cloudevents-batch+json; in binary mode, send the attributes \
             as ce- headers",
        )]),
    }
}

/// The type of an event in a batch that is no CloudEvent. No rule matches it, so the operators are notified. It is listed for the token's
/// default tenant, if there is one.
const INVALID: &str = "cloudevents.invalid";

fn invalid_event(mut given: Value, errors: &[FieldError], defaults: &TokenDefaults) -> IntakeItem {
    // No tenant may see which others are affected.
    if let Some(data) = given.get_mut("data").and_then(Value::as_object_mut) {
        data.retain(|name, _| name != "tenant_ids" && name != TENANT_FIELD);
    }
    let warnings: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect();
    let event = Event {
        event_type: INVALID.to_owned(),
        dedup_key: domain::ids::short_hash(&[&given.to_string()]),
        title: "An event of a CloudEvents batch could not be read".to_owned(),
        message: warnings.join("\n"),
        details: Map::from_iter([("event".to_owned(), given)]),
        warnings,
        ..Event::blank(Format::CloudEvents, FORMAT.name)
    };
    let addressees =
        if defaults.tenant_ids.len() == 1 { Addressees::parse(vec![], defaults) } else { Addressees::default() };
    IntakeItem::event(event, addressees)
}

/// Decodes base64 as senders write it: in either alphabet, with or without padding, in lines or in one.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let decode = |alphabet| GeneralPurpose::new(alphabet, lenient).decode(&text).ok();
    decode(&alphabet::STANDARD).or_else(|| decode(&alphabet::URL_SAFE))
}

/// Whether data of a media type is JSON. Without a media type it is (`json-format.md`, 3.1).
fn is_json(media: &str) -> bool {
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(media.as_str(), "" | "application/json" | "text/json") || media.ends_with("+json")
}

/// Reads data as it is, apart from the event: JSON, if the media type says so or there is none; else a text, else the base64 of what is neither.
fn read_data(media: &str, data: &[u8]) -> Result<Value, FieldError> {
    let is_unnamed_text =
        media.is_empty() && serde_json::from_str::<IgnoredAny>(&crate::json::normalize(data)).is_err();
    if is_json(media) && !is_unnamed_text {
        return crate::problem::parse_json(data)
            .map_err(|error| FieldError { pointer: format!("/data{}", error.pointer), ..error });
    }
    match std::str::from_utf8(data) {
        Ok(text) => Ok(Value::from(domain::text::clean(text))),
        Err(_) => Ok(Value::from(STANDARD.encode(data))),
    }
}

/// Decodes a header as an attribute: quotes and their escapes are removed, then percent-encoding is decoded (`http-protocol-binding.md`,
/// 3.1.3.2).
fn decode_header(value: &str) -> String {
    let value = value.trim();
    let unquoted = match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => {
            let mut out = String::with_capacity(quoted.len());
            let mut rest = quoted.chars();
            while let Some(c) = rest.next() {
                out.push(if c == '\\' { rest.next().unwrap_or(c) } else { c });
            }
            out
        }
        None => value.to_owned(),
    };
    domain::text::clean(&percent_decode_str(&unquoted).decode_utf8_lossy()).into_owned()
}

/// Converts a binary-mode event to its structured form.
fn structured_from_binary(media: &str, request: &IntakeRequest<'_>) -> Result<Value, Vec<FieldError>> {
    let mut event = Map::new();
    for (name, value) in request.headers {
        if let Some(attribute) = name.strip_prefix("ce-") {
            event.insert(attribute.to_owned(), Value::from(decode_header(value)));
        }
    }
    if !request.body.is_empty() {
        let data = read_data(media, request.body).map_err(|error| vec![error])?;
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
    let media = event.get("datacontenttype").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut warnings = Vec::new();
    match event.get("data_base64").and_then(Value::as_str).map(decode_base64) {
        Some(Some(bytes)) if event.get("data").is_none_or(Value::is_null) => match read_data(&media, &bytes) {
            Ok(data) => {
                event.remove("data_base64");
                event.insert("data".to_owned(), data);
            }
            // What is called JSON and is none stays in base64, in the details.
            Err(_) if !bytes.is_empty() => {}
            Err(_) => drop(event.remove("data_base64")),
        },
        Some(None) => warnings.push("`data_base64` is not base64. It is kept in the details as it came.".to_owned()),
        _ => {}
    }
    // Some senders put JSON into a text although they call it JSON.
    if let Some(Value::String(text)) = event.get("data")
        && is_json(&media)
        && let Some(object) = crate::json::parse_map(text.as_bytes())
        && Data::read(object.clone()).is_ok()
    {
        event.insert("data".to_owned(), Value::Object(object));
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
    let is_unknown_time = !time.is_empty() && time.parse::<Timestamp>().is_err();
    let unknown_time =
        is_unknown_time.then(|| "`time` is not an RFC 3339 time. The time of acceptance is used.".to_owned());
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
    let key_details = key_details(&data.labels, &data.measurements, &details, &source);
    let mut normalized = Event {
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
        warnings: warnings.into_iter().chain(unknown_time).collect(),
        ends_at: data.ends_at,
        key_details,
        labels: data.labels,
        links: https_links(data.links.iter().map(|link| (link.href.as_str(), link.text.as_str()))),
        details,
        public: data.public,
        ..Event::blank(Format::CloudEvents, &capped_source(&source))
    };
    set_measurements(&mut normalized, data.measurements);
    let names: Vec<String> = data.tenants.iter().flat_map(|name| split_list(name)).collect();
    Ok(IntakeItem::event(normalized, Addressees::parse(names, defaults)).with_source_event_id(vec![source, id]))
}

/// What tells one target from another: labels and measurements, the plain values of the data, and the source.
fn key_details(
    labels: &BTreeMap<String, String>,
    measurements: &BTreeMap<String, Measurement>,
    rest: &Map<String, Value>,
    source: &str,
) -> Vec<KeyDetail> {
    let mut details: Vec<KeyDetail> = labels.iter().map(|(name, value)| KeyDetail::new(name, value)).collect();
    details.extend(measurements.iter().map(|(name, number)| {
        KeyDetail::new(name, number.exact.clone().unwrap_or_else(|| Value::from(number.value).to_string()))
    }));
    details.extend(all_key_details(rest, &["attributes"]));
    details.push(KeyDetail::new("source", source));
    details
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
    fn data_in_base64_is_decoded_and_headers_may_be_quoted() {
        let mut encoded = event();
        let data = encoded.as_object_mut().unwrap().remove("data").unwrap();
        encoded["data_base64"] = json!(STANDARD.encode(data.to_string()));
        for media in ["application/json", "text/json; charset=utf-8", "application/vnd.x+json"] {
            encoded["datacontenttype"] = json!(media);
            let mapped = post(STRUCTURED, &encoded.to_string()).unwrap().remove(0);
            let event = testing::event(&mapped);
            assert_eq!((event.title.as_str(), event.tenant_ids.len()), ("POP 1 is down", 1), "{media}");
        }
        let plain = STANDARD.encode(data.to_string());
        for spelled in [
            plain.trim_end_matches('=').to_owned(),
            plain.replace('+', "-").replace('/', "_"),
            format!("{}\n{}", &plain[..8], &plain[8..]),
        ] {
            encoded["data_base64"] = json!(spelled);
            let mapped = post(STRUCTURED, &encoded.to_string()).unwrap().remove(0);
            assert_eq!(testing::event(&mapped).title, "POP 1 is down", "{spelled}");
        }
        encoded["data_base64"] = json!("%%");
        let mapped = post(STRUCTURED, &encoded.to_string()).unwrap().remove(0);
        let event = testing::event(&mapped);
        assert_eq!((&event.details["attributes"]["data_base64"], event.warnings.len()), (&json!("%%"), 1));
        encoded["data_base64"] = json!("//79");
        encoded["datacontenttype"] = json!("application/octet-stream");
        let mapped = post(STRUCTURED, &encoded.to_string()).unwrap().remove(0);
        assert_eq!(testing::event(&mapped).details["data"], "//79", "bytes stay in base64");
        let headers = [
            ("content-type", "text/json"),
            ("ce-specversion", "1.0"),
            ("ce-id", "\"a \\\"quoted\\\" id\""),
            ("ce-source", "/s"),
            ("ce-type", "api.outage"),
            ("ce-subject", "Zürich%20%F0%9F%98%80"),
        ];
        let mapped = post(&headers, "{\"title\":\"t\"}").unwrap().remove(0);
        assert_eq!(mapped.source_event_id.as_ref().unwrap()[1], "a \"quoted\" id");
        assert_eq!(testing::event(&mapped).dedup_key, "Zürich 😀");
    }

    #[test]
    fn a_bad_event_of_a_batch_does_not_cost_the_others() {
        let mut second = event();
        second["id"] = json!("B");
        assert_eq!(post(BATCH, &json!([event(), second]).to_string()).unwrap().len(), 2);
        assert!(post(BATCH, "[]").unwrap().is_empty());
        second["specversion"] = json!("0.3");
        second["type"] = json!("");
        let accepted = post(BATCH, &json!([second, event()]).to_string()).unwrap();
        assert_eq!((accepted.len(), testing::event(&accepted[1]).title.as_str()), (2, "POP 1 is down"));
        let invalid = testing::event(&accepted[0]);
        assert!(!invalid.details["event"].to_string().contains("acme"), "no tenant sees the others");
        assert_eq!((invalid.event_type.as_str(), &invalid.details["event"]["id"]), (INVALID, &json!("B")));
        assert!(invalid.warnings[0].starts_with("/0/type: ") && invalid.message.contains("/0/specversion"));
        let errors = post(BATCH, &json!([second]).to_string()).unwrap_err();
        let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/0/type", "/0/specversion"]);
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
