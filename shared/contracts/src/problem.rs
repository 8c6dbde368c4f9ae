//! Errors of the HTTP API: problem details (RFC 9457) that name the field and how to fix it.

use crate::json::normalize;
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// Begins the detail of a body that is not JSON. Such a body is answered with 400, every other one that is refused with 422.
const INVALID_JSON: &str = "the body is not valid JSON";
/// Most characters of a field name in a pointer: a sender may have invented it.
const SEGMENT_MAX: usize = 64;
/// What a time field accepts.
const TIME: &str = "an RFC 3339 time with its offset, such as 2026-11-30T18:00:00Z";

/// An error of one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldError {
    /// A JSON pointer (RFC 6901) to the field, such as `/tenant_ids/0`; `header:If-Match` for a header and `query:from` for a query
    /// parameter.
    pub pointer: String,
    /// What is wrong and how to fix it.
    pub detail: String,
}

impl FieldError {
    /// Creates a field error.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }

    /// Whether the body is not JSON at all, so that no field is at fault.
    #[must_use]
    pub fn is_invalid_json(&self) -> bool {
        self.pointer.is_empty() && self.detail.starts_with(INVALID_JSON)
    }
}

/// Parses a JSON body, after [`normalize`], and on failure names the field.
///
/// # Errors
/// A [`FieldError`] whose pointer is the place where the body stops matching. Its text never repeats a value.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, FieldError> {
    let body: &str = &normalize(body);
    let mut deserializer = serde_json::Deserializer::from_str(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        match serde_json::from_str::<IgnoredAny>(body) {
            Ok(_) => describe(error.path(), error.inner(), body),
            Err(syntax) => FieldError::new("", format!("{INVALID_JSON}: {syntax}")),
        }
    })?;
    deserializer
        .end()
        .map_err(|_| FieldError::new("", "the body has text after the end of the JSON value; send a single value"))?;
    Ok(value)
}

/// Parses a JSON body that must be an object. Without this check serde would also accept an array of the fields' values.
///
/// # Errors
/// As [`parse_json`], and for anything but an object.
pub fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, FieldError> {
    if normalize(body).trim_start().starts_with('[') {
        return Err(FieldError::new("", "must be a JSON object, not an array"));
    }
    parse_json(body)
}

/// A field name as one segment of a JSON pointer (RFC 6901), at most 64 characters of it.
#[must_use]
pub fn pointer_segment(name: &str) -> String {
    name.chars().take(SEGMENT_MAX).collect::<String>().replace('~', "~0").replace('/', "~1")
}

/// Translates serde's error into a pointer and a sentence for the sender of the body.
fn describe(path: &Path, error: &serde_json::Error, body: &str) -> FieldError {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let message = text.strip_suffix(position.as_str()).unwrap_or(&text);
    let mut pointer = pointer_to(path);
    if let Some(field) = quoted_after(message, "missing field ") {
        push_field(&mut pointer, field);
        return FieldError::new(pointer, "is required; add this field");
    }
    if let Some(field) = quoted_after(message, "duplicate field ") {
        push_field(&mut pointer, field);
        return FieldError::new(pointer, "appears more than once; send it once");
    }
    if let Some(field) = quoted_after(message, "unknown field ") {
        // serde's path ends with the unknown key, except in structs that flatten others.
        if last_key(path) != Some(field) {
            push_field(&mut pointer, field);
        }
        let detail = match alternatives(message) {
            Some(known) => format!("unknown field; remove it, or use one of: {known}"),
            None => "unknown field; remove it".to_owned(),
        };
        return FieldError::new(pointer, detail);
    }
    let detail = describe_value(message, &pointer, body)
        .unwrap_or_else(|| "is not in the expected format; see the API reference".to_owned());
    FieldError::new(pointer, detail)
}

/// Says which values a field accepts. `None` where that cannot be said without repeating the value.
fn describe_value(message: &str, pointer: &str, body: &str) -> Option<String> {
    let begins_with = |begins: &[&str]| begins.iter().any(|begin| message.starts_with(begin));
    if begins_with(&["unknown variant "]) {
        return Some(format!("must be one of: {}", alternatives(message)?));
    }
    if begins_with(&["invalid type: ", "invalid value: ", "invalid length "]) {
        let (_, expected) = message.rsplit_once(", expected ")?;
        return Some(format!("must be {}", in_json_terms(expected)));
    }
    // jiff's messages name the digit or the component at which it stopped.
    if begins_with(&["failed to "]) {
        return Some(format!("must be {TIME}"));
    }
    // The message of one of our own types, such as a tenant id.
    if repeats_value(message, pointer, body) { None } else { Some(message.to_owned()) }
}

fn pointer_to(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key: name } | Segment::Enum { variant: name } => push_field(&mut pointer, name),
            Segment::Unknown => {}
        }
    }
    pointer
}

fn push_field(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&pointer_segment(name));
}

fn last_key(path: &Path) -> Option<&str> {
    match path.iter().next_back() {
        Some(Segment::Map { key }) => Some(key),
        _ => None,
    }
}

/// The text in backquotes after `begin`, if the message begins with that. A sender's field name may hold backquotes of its own.
fn quoted_after<'a>(message: &'a str, begin: &str) -> Option<&'a str> {
    let rest = message.strip_prefix(begin)?.strip_prefix('`')?;
    let end = rest.rfind("`, expected ").or_else(|| rest.rfind("`, there are no ")).or_else(|| rest.rfind('`'))?;
    rest.get(..end)
}

/// What serde lists as expected, without its backquotes: `one of `a`, `b`` becomes `a, b`.
fn alternatives(message: &str) -> Option<String> {
    let (_, expected) = message.rsplit_once("`, expected ")?;
    Some(expected.strip_prefix("one of ").unwrap_or(expected).replace('`', "").replace(" or ", ", "))
}

/// serde's name of an expected type in the terms of JSON.
fn in_json_terms(expected: &str) -> String {
    let known = match expected {
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "a timestamp string" => TIME,
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number of at least 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        _ if expected == "a map" || expected.starts_with("struct ") => "a JSON object",
        _ => expected,
    };
    known.to_owned()
}

/// Whether a message quotes the text at `pointer`. Texts of up to three characters are in every message by chance.
fn repeats_value(message: &str, pointer: &str, body: &str) -> bool {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    match body.pointer(pointer) {
        Some(Value::String(value)) => value.len() > 3 && message.contains(value.as_str()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Body {
        name: String,
        #[serde(default)]
        numbers: Vec<u8>,
        hours: Option<Hours>,
        #[serde(default)]
        links: Vec<Link>,
        #[serde(default)]
        by_name: BTreeMap<String, Link>,
        starts_at: Option<jiff::Timestamp>,
        status: Option<Status>,
        owner: Option<Owner>,
        guest: Option<Guest>,
    }

    /// A type whose error says only what is wrong.
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "String")]
    struct Owner;

    impl TryFrom<String> for Owner {
        type Error = &'static str;

        fn try_from(_: String) -> Result<Self, &'static str> {
            Err("must have 2 to 64 characters of a-z, 0-9 and -")
        }
    }

    /// A type whose error quotes the value.
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "String")]
    struct Guest;

    impl TryFrom<String> for Guest {
        type Error = String;

        fn try_from(text: String) -> Result<Self, String> {
            Err(format!("{text} is no guest"))
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Hours {
        zone: String,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Link {
        href: String,
        #[serde(default)]
        count: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Status {
        Firing,
        Resolved,
    }

    fn error(body: &str) -> FieldError {
        parse_object::<Body>(body.as_bytes()).unwrap_err()
    }

    fn assert_error(body: &str, pointer: &str, detail: &str) {
        assert_eq!(error(body), FieldError::new(pointer, detail), "{body}");
    }

    #[test]
    fn a_missing_field_is_named_by_its_own_pointer_at_every_depth() {
        let required = "is required; add this field";
        assert_error("{}", "/name", required);
        assert_error(r#"{"name":"a","hours":{}}"#, "/hours/zone", required);
        assert_error(r#"{"name":"a","links":[{"href":"x"},{"count":1}]}"#, "/links/1/href", required);
        assert_error(r#"{"name":"a","by_name":{"a/b~c":{}}}"#, "/by_name/a~1b~0c/href", required);
    }

    #[test]
    fn an_unknown_field_is_named_with_the_fields_that_exist() {
        let known = "unknown field; remove it, or use one of: name, numbers, hours, links, by_name, starts_at, status, owner, guest";
        assert_error(r#"{"nam":"a"}"#, "/nam", known);
        assert_error(
            r#"{"name":"a","hours":{"zon":"UTC"}}"#,
            "/hours/zon",
            "unknown field; remove it, or use one of: zone",
        );
        assert_error(r#"{"a`, expected `b":1}"#, "/a`, expected `b", known);
        assert_eq!(error(&format!(r#"{{"{}":1}}"#, "x".repeat(1_000))).pointer.len(), 65, "a long name is cut");
    }

    #[test]
    fn a_wrong_type_is_named_in_the_terms_of_json() {
        assert_error(r#"{"name":7}"#, "/name", "must be a string");
        assert_error(r#"{"name":null}"#, "/name", "must be a string");
        assert_error(r#"{"name":"a","numbers":[1,"x"]}"#, "/numbers/1", "must be a whole number from 0 to 255");
        assert_error(r#"{"name":"a","numbers":[1,256]}"#, "/numbers/1", "must be a whole number from 0 to 255");
        assert_error(r#"{"name":"a","numbers":{}}"#, "/numbers", "must be a list");
        assert_error(r#"{"name":"a","hours":"late"}"#, "/hours", "must be a JSON object");
        assert_error(r#"{"name":"a","hours":[]}"#, "/hours", "must be a JSON object");
        assert_error(
            r#"{"name":"a","links":[{"href":"x","count":-1}]}"#,
            "/links/0/count",
            "must be a whole number from 0 to 4294967295",
        );
        assert_error(r#"{"name":"a","status":"broken"}"#, "/status", "must be one of: firing, resolved");
        assert_error(
            r#"{"name":"a","starts_at":7}"#,
            "/starts_at",
            "must be an RFC 3339 time with its offset, such as 2026-11-30T18:00:00Z",
        );
        assert_error(
            r#"{"name":"a","starts_at":"2026-11-30T18:00:00"}"#,
            "/starts_at",
            "must be an RFC 3339 time with its offset, such as 2026-11-30T18:00:00Z",
        );
        assert_error(r#"{"name":"a","owner":"ACME"}"#, "/owner", "must have 2 to 64 characters of a-z, 0-9 and -");
        assert_error("7", "", "must be a JSON object");
        assert_error(" [[1]]", "", "must be a JSON object, not an array");
        assert_error(r#"{"name":"a","name":"b"}"#, "/name", "appears more than once; send it once");
    }

    #[test]
    fn an_error_never_repeats_a_value() {
        for body in [
            r#"{"name":"a","numbers":["secret@example.com"]}"#,
            r#"{"name":"a","numbers":["secret, expected x"]}"#,
            r#"{"name":"a","numbers":[4915112345678]}"#,
            r#"{"name":"a","status":"secret`, expected `x"}"#,
            r#"{"name":"a","starts_at":"secret"}"#,
            r#"{"name":"a","guest":"secret"}"#,
            r#"{"name":"a","starts_at":"2026-secret"}"#,
            r#"{"name":"a","numbers":["secret"#,
        ] {
            let error = error(body);
            assert!(!error.detail.contains("secret") && !error.detail.contains("4915"), "{error:?}");
        }
    }

    #[test]
    fn a_body_that_is_not_json_has_no_field_at_fault() {
        for body in ["", "{", r#"{"name":"#, r#"{"name":7,"#] {
            let error = error(body);
            assert!(error.is_invalid_json() && error.detail.contains(" at line 1 column "), "{error:?}");
        }
        let trailing = error(r#"{"name":"a"} x"#);
        assert!(!trailing.is_invalid_json() && trailing.pointer.is_empty(), "{trailing:?}");
        assert!(!error(r#"{"name":7}"#).is_invalid_json());
    }
}
