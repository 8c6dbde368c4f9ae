//! Errors of the HTTP API: RFC 9457 problem details that name the field and the mend.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldError {
    /// A JSON pointer (RFC 6901) to the field, such as `/tenant_ids/0`; `header:If-Match` for a header and `query:from` for
    /// a query parameter.
    pub pointer: String,
    /// What is wrong and how to mend it.
    pub detail: String,
}

impl FieldError {
    /// A field error.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Parses a JSON body and, where it does not fit, names the field.
///
/// # Errors
/// A [`FieldError`] whose pointer is the place where the body stops fitting. Its text never repeats a value.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, FieldError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let mut pointer = String::new();
        // Where a text stops being JSON, no field is at fault.
        let json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        for segment in error.path().iter().filter(|_| json) {
            use serde_path_to_error::Segment;
            match segment {
                Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
                Segment::Map { key } => pointer.push_str(&format!("/{key}")),
                Segment::Enum { variant } => pointer.push_str(&format!("/{variant}")),
                Segment::Unknown => {}
            }
        }
        FieldError { pointer, detail: without_values(&error.into_inner().to_string()) }
    })?;
    deserializer
        .end()
        .map_err(|_| FieldError::new("", "there is something after the end of the JSON value; send one value"))?;
    Ok(value)
}

/// As [`parse`], for a body that is an object. serde would take a list of the members' values as well, in an order that nobody
/// promised.
///
/// # Errors
/// As [`parse`], and for anything but an object.
pub fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, FieldError> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(FieldError::new("", "must be a JSON object, not a list"));
    }
    parse(body)
}

/// serde quotes what it met (`invalid type: string "…"`, "unknown variant `…`"); an address or a token must not come back
/// that way. An unknown field is named: it is the sender's own spelling that has to be mended.
fn without_values(message: &str) -> String {
    for (begin, what) in
        [("invalid type: ", "invalid type"), ("invalid value: ", "invalid value"), ("unknown variant ", "unknown word")]
    {
        if let (true, Some(expected)) = (message.starts_with(begin), message.rfind(", expected")) {
            return format!("{what}{}", message.get(expected..).unwrap_or(""));
        }
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(rename = "numbers")]
        _numbers: Vec<u8>,
    }

    #[test]
    fn an_error_names_the_place_and_not_the_value() {
        let error = parse::<Body>(br#"{"numbers":[1,"secret@example.com"]}"#).unwrap_err();
        assert_eq!(error.pointer, "/numbers/1");
        assert_eq!(
            without_values("unknown variant `+4915112345678`, expected one of `OK`"),
            "unknown word, expected one of `OK`"
        );
        assert!(!parse::<Body>(br#"{"numbers":[4915112345678]}"#).unwrap_err().detail.contains("4915"));
        assert!(!error.detail.contains("secret"), "{}", error.detail);
        assert!(parse::<Body>(br#"{"numbrs":[]}"#).unwrap_err().detail.contains("unknown field"));
        assert_eq!(parse::<Body>(br#"{"numbers":["#).unwrap_err().pointer, "", "what is no JSON has no fields");
        assert!(parse::<Body>(br#"{"numbers":[]} x"#).is_err());
        assert!(parse::<Body>(b" [[1]]").is_ok(), "what serde takes");
        assert!(parse_object::<Body>(b" [[1]]").unwrap_err().detail.contains("object"));
    }
}
