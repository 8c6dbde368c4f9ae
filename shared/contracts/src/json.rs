//! JSON from outside, rewritten so that everything after it can hold it: the one gate that every body passes before it is parsed.
//!
//! DynamoDB's limits are those of "Constraints in Amazon DynamoDB" and "Supported data types and naming rules" (docs.aws.amazon.com).

use serde_json::{Map, Value};
use std::borrow::Cow;

/// Maximum nesting of a body, in arrays and objects. DynamoDB holds 32 levels, of which the item's own take two. What is nested deeper is
/// kept as a text.
pub const DEPTH_MAX: usize = 30;
/// Decimal exponents of the numbers that DynamoDB holds: from 1E-130 to 9.9…E+125.
const EXPONENTS: std::ops::RangeInclusive<i64> = -130..=125;

/// Rewrites a JSON text so that it can be stored and shown everywhere. A body that is not JSON is returned more or less as it was, for the
/// parser to refuse.
///
/// - A byte order mark is removed, and what is no UTF-8 becomes U+FFFD.
/// - Texts and field names: a lone surrogate, such as JavaScript leaves of an emoji that it cut, becomes U+FFFD. Then [`domain::text::clean`].
/// - Numbers that DynamoDB or a double cannot hold without loss become texts with the same digits.
/// - What is nested deeper than [`DEPTH_MAX`] becomes a text that holds the JSON.
#[must_use]
pub fn normalize(body: &[u8]) -> Cow<'_, str> {
    let text = match String::from_utf8_lossy(body) {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Cow::Owned(text) => Cow::Owned(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned()),
    };
    let normalized = Normalizer { rest: &text, out: String::with_capacity(text.len()), ..Normalizer::default() }.run();
    if normalized == text { text } else { Cow::Owned(normalized) }
}

/// Parses a JSON object after [`normalize`]; `None` for anything else.
#[must_use]
pub fn parse_map(body: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_str(&normalize(body)).ok()
}

#[derive(Default)]
struct Normalizer<'a> {
    rest: &'a str,
    out: String,
    depth: usize,
    /// Where in `out` the part begins that is nested too deep.
    deep_from: Option<usize>,
}

impl<'a> Normalizer<'a> {
    fn run(mut self) -> String {
        while let Some(first) = self.rest.chars().next() {
            match first {
                '"' => self.text(),
                '-' | '0'..='9' => self.number(),
                '{' | '[' => {
                    self.depth += 1;
                    if self.depth == DEPTH_MAX + 1 {
                        self.deep_from = Some(self.out.len());
                    }
                    self.copy(first.len_utf8());
                }
                '}' | ']' => {
                    self.copy(first.len_utf8());
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == DEPTH_MAX
                        && let Some(from) = self.deep_from.take()
                    {
                        let deep = self.out.split_off(from);
                        self.out.push_str(&quote(&deep));
                    }
                }
                _ => self.copy(first.len_utf8()),
            }
        }
        self.out
    }

    /// Copies the next `length` bytes.
    fn copy(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.out.push_str(taken);
        self.rest = rest;
    }

    fn text(&mut self) {
        let Some(length) = text_length(self.rest) else {
            // It has no end, so the body is not JSON.
            return self.copy(self.rest.len());
        };
        let (quoted, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        let inner = quoted.get(1..length.saturating_sub(1)).unwrap_or_default();
        // A raw control character is not allowed in a JSON text, so it is left for the parser to refuse.
        let unescaped = if inner.contains(|c| c < ' ') { None } else { unescape(inner) };
        match unescaped {
            Some(text) => match domain::text::clean(&text) {
                Cow::Borrowed(_) if matches!(text, Cow::Borrowed(_)) => self.out.push_str(quoted),
                clean => self.out.push_str(&quote(&clean)),
            },
            None => self.out.push_str(quoted),
        }
        self.rest = rest;
    }

    fn number(&mut self) {
        let is_part = |c: char| matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E');
        let length = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        if is_number(token) && !is_storable(token) {
            self.out.push_str(&quote(token));
        } else {
            self.out.push_str(token);
        }
        self.rest = rest;
    }
}

fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

/// The length of the quoted text at the beginning of `json`, with its quotes.
fn text_length(json: &str) -> Option<usize> {
    let mut is_escaped = false;
    let mut inner = json.bytes().enumerate().skip(1);
    let end = inner.find(|(_, byte)| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    end.map(|(index, _)| index + 1)
}

/// Resolves the escapes of a JSON text. A surrogate without its other half becomes U+FFFD. `None` if an escape is not one of JSON's.
fn unescape(inner: &str) -> Option<Cow<'_, str>> {
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at_checked(at)?;
        out.push_str(before);
        let letter = escape.chars().nth(1)?;
        let mut length = 1 + letter.len_utf8();
        match letter {
            '"' | '\\' | '/' => out.push(letter),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'u' => {
                let unit = code_unit(escape)?;
                length = 6;
                let low = escape.get(6..).and_then(code_unit).filter(|low| (0xdc00..=0xdfff).contains(low));
                let character = match (unit, low) {
                    (0xd800..=0xdbff, Some(low)) => {
                        length = 12;
                        char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
                    }
                    _ => char::from_u32(unit),
                };
                out.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            _ => return None,
        }
        rest = escape.get(length..)?;
    }
    out.push_str(rest);
    Some(Cow::Owned(out))
}

/// The code unit of an escape such as `\ud83d` at the beginning of `text`.
fn code_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) { u32::from_str_radix(digits, 16).ok() } else { None }
}

/// Whether a token is a number by JSON's grammar (RFC 8259, 6).
pub(crate) fn is_number(token: &str) -> bool {
    let (mantissa, exponent) = split_exponent(token);
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(whole, part)| (whole, Some(part)));
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    are_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(are_digits)
        && exponent.is_none_or(|text| are_digits(text.strip_prefix(['+', '-']).unwrap_or(text)))
}

fn split_exponent(token: &str) -> (&str, Option<&str>) {
    token.split_once(['e', 'E']).map_or((token, None), |(mantissa, exponent)| (mantissa, Some(exponent)))
}

/// Whether both DynamoDB (38 digits) and a 64-bit integer or double hold a number without loss.
fn is_storable(token: &str) -> bool {
    if token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok() {
        return true;
    }
    let Some((digits, exponent)) = decimal(token) else { return false };
    if digits.is_empty() {
        return true;
    }
    let Some(double) = token.parse::<f64>().ok().filter(|double| double.is_finite() && *double != 0.0) else {
        return false;
    };
    // A double has 17 digits. Writers print as many where fewer would do.
    let is_exact = digits.len() <= 17 || decimal(&format!("{double:e}")).is_some_and(|same| same == (digits, exponent));
    EXPONENTS.contains(&exponent) && is_exact
}

/// Whether two numbers have the same value.
pub(crate) fn same_number(left: &str, right: &str) -> bool {
    let value = |token| decimal(token).map(|(digits, exponent)| (if digits.is_empty() { 0 } else { exponent }, digits));
    left.starts_with('-') == right.starts_with('-') && value(left).is_some_and(|left| Some(left) == value(right))
}

/// The significant digits of a number and the decimal exponent of the first one: ("125", 2) for 125.0. No digits stand for zero. `None` if
/// the exponent is absurd.
fn decimal(token: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = split_exponent(token.strip_prefix('-').unwrap_or(token));
    let exponent: i64 = exponent.map_or(Some(0), |text| text.parse().ok())?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let leading_zeros = all.len() - all.trim_start_matches('0').len();
    let digits = all.trim_matches('0').to_owned();
    let place = i64::try_from(whole.len()).ok()? - i64::try_from(leading_zeros).ok()? - 1;
    Some((digits, exponent.checked_add(place)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn assert_normalized(body: &str, expected: &str) {
        assert_eq!(normalize(body.as_bytes()), expected, "{body}");
    }

    #[test]
    fn a_body_that_needs_nothing_is_not_copied() {
        let body = r#" {"a": [1, -2.5e3, true, null, "é \" \\ \/ 😀"], "b": {}} "#;
        assert!(matches!(
            normalize(body.replace("\\/", "").replace("\\\"", "").replace("\\\\", "").as_bytes()),
            Cow::Borrowed(_)
        ));
        let value: Value = serde_json::from_str(body).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&normalize(body.as_bytes())).unwrap(), value);
    }

    #[test]
    fn half_an_emoji_becomes_a_replacement_character() {
        assert_normalized(r#""cut \ud83d""#, "\"cut \u{fffd}\"");
        assert_normalized(r#""\ude00 \ud83dx \ud83d\ud83d\ude00""#, "\"\u{fffd} \u{fffd}x \u{fffd}😀\"");
        assert_normalized(r#"{"\ud83d":"\uD83D\uDE00"}"#, "{\"\u{fffd}\":\"😀\"}");
        assert_eq!(normalize(b"\xef\xbb\xbf{\"a\":\"\xf0\x9f\"}"), "{\"a\":\"\u{fffd}\"}");
    }

    #[test]
    fn texts_and_names_are_cleaned() {
        assert_normalized(r#"{"a\u0000":"b\r\nc\u0010\u202ed"}"#, r#"{"a":"b\ncd"}"#);
        assert_normalized("{\"a\":\"b\u{fffe}\u{85}c\"}", r#"{"a":"b\nc"}"#);
    }

    #[test]
    fn numbers_that_would_lose_digits_become_texts() {
        for number in [
            "0",
            "-0.0",
            "1",
            "18446744073709551615",
            "-9223372036854775808",
            "1.5",
            "1.50",
            "1e3",
            "0.1",
            "44.23943737541908",
            "0.10000000000000001",
            "1e125",
            "9.99e+125",
            "1E-130",
            "-2.5e-100",
        ] {
            assert_normalized(number, number);
        }
        for number in [
            "1.7976931348623157e308",
            "1e126",
            "1e400",
            "-1e400",
            "9e-131",
            "5e-324",
            "1e-400",
            "18446744073709551616",
            "123456789012345678901234567890",
            "0.12345678901234567890",
            "1e99999999999999999999",
            "100000000000000000000001",
        ] {
            assert_normalized(number, &format!("\"{number}\""));
        }
        assert_normalized(r#"{"a":[1e400,1]}"#, r#"{"a":["1e400",1]}"#);
    }

    #[test]
    fn what_is_nested_too_deep_becomes_a_text() {
        let nested = |levels: usize| format!("{}\"x\\\"\"{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(normalize(nested(DEPTH_MAX).as_bytes()), nested(DEPTH_MAX));
        for levels in [DEPTH_MAX + 1, DEPTH_MAX + 2, 5_000] {
            let mut value: Value = serde_json::from_str(&normalize(nested(levels).as_bytes())).unwrap();
            for _ in 0..DEPTH_MAX {
                value = value[0].take();
            }
            assert_eq!(value, json!(nested(levels - DEPTH_MAX)));
        }
    }

    #[test]
    fn what_is_not_json_stays_that() {
        for body in [
            "",
            "{",
            "\"",
            "\"\\",
            "\"\\u12\"",
            "\"\\x\"",
            "{\"a\":01}",
            "[1,]",
            "]]]",
            "--1",
            "1e",
            "\"a\nb\"",
            "{\"a\":\"b}",
            "NaN",
            "1.",
        ] {
            assert!(serde_json::from_str::<Value>(body).is_err());
            assert!(serde_json::from_str::<Value>(&normalize(body.as_bytes())).is_err(), "{body}");
        }
    }

    /// What the gate is to make of a value whose numbers and depth it keeps: clean texts.
    fn cleaned(value: Value) -> Value {
        match value {
            Value::String(text) => Value::from(domain::text::clean(&text)),
            Value::Array(entries) => entries.into_iter().map(cleaned).collect(),
            Value::Object(entries) => Value::Object(
                entries
                    .into_iter()
                    .map(|(name, value)| (domain::text::clean(&name).into_owned(), cleaned(value)))
                    .collect(),
            ),
            Value::Number(number) if !is_storable(&number.to_string()) => Value::from(number.to_string()),
            other => other,
        }
    }

    proptest! {
        #[test]
        fn any_json_stays_json_and_keeps_its_values(value in crate::intake::testing::any_json()) {
            let again: Value = serde_json::from_str(&normalize(value.to_string().as_bytes())).unwrap();
            prop_assert_eq!(normalize(again.to_string().as_bytes()).into_owned(), again.to_string());
            prop_assert_eq!(again, cleaned(value));
        }

        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\"\\\\u0-9dDeE+.,:-]{0,60}") {
            let _ = normalize(&body);
            let _ = normalize(text.as_bytes());
        }

        #[test]
        fn a_number_keeps_its_value(whole in any::<i64>(), fraction in 0..1_000_000_000u64, exponent in -200..200i32) {
            let token = format!("{whole}.{fraction}e{exponent}");
            match serde_json::from_str::<Value>(&normalize(token.as_bytes())).unwrap() {
                Value::String(text) => prop_assert_eq!(text, token),
                number => {
                    let kept = format!("{:e}", number.as_f64().unwrap());
                    prop_assert_eq!(token.parse::<f64>().unwrap(), kept.parse::<f64>().unwrap());
                }
            }
        }
    }
}
