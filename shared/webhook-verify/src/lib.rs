//! Verifies a webhook from Tocsin and, if it is invalid, finds out why. Pure: the time is a parameter.
//!
//! Webhooks are signed according to Standard Webhooks: HMAC-SHA256 of `id.timestamp.body`, in base64, as `v1,…` (standardwebhooks.com).
//! The most common mistake of receivers is to parse the body and serialize it again before they verify it.

use jiff::Timestamp;
use serde_json::Value;
use standardwebhooks::Webhook;
use std::fmt;

/// Maximum difference between a webhook's time and the receiver's, in seconds.
pub const TOLERANCE_SECONDS: i64 = 300;
/// The header with the id of the message, the same for every attempt.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the Unix time of the attempt, in seconds.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with one signature for each secret.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// A webhook request as it was received.
#[derive(Clone, Debug, Default)]
pub struct ReceivedWebhook {
    /// Names and values of the headers. Names are case-insensitive.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

/// The secrets that may have signed a webhook.
#[derive(Clone)]
pub struct Secrets {
    /// The secret that the receiver uses.
    pub current: String,
    /// Another secret, from before or after a rotation.
    pub other: Option<String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(redacted)")
    }
}

/// The result of verifying one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The signature, time and body are valid.
    Valid,
    /// This header is missing.
    MissingHeader(&'static str),
    /// This header is present but cannot be parsed.
    MalformedHeader(&'static str),
    /// No signature has the version `v1`.
    UnknownVersion,
    /// The secret is not a signing secret.
    NotASecret,
    /// The signature is valid for the secret once this mistake in its spelling is corrected.
    SecretMalformed(&'static str),
    /// The other secret signed the webhook.
    SignedByOtherSecret,
    /// The signature is valid, but this many seconds old (negative: from the future), which is more than [`TOLERANCE_SECONDS`].
    ClockSkew(i64),
    /// The signature is valid for the body without this addition.
    BodyChanged(&'static str),
    /// The body was parsed and serialized again: it is the same JSON in another spelling.
    Reserialised,
    /// No known secret produces this signature.
    WrongSecretOrBody,
}

impl Verification {
    /// Whether a receiver should accept the webhook.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        *self == Self::Valid
    }

    /// Returns the result and its remedy, as two sentences or more.
    #[must_use]
    pub fn sentences(&self) -> (String, &'static str) {
        let raw = "Check the raw bytes of the request, before any framework parses, decodes or trims them.";
        match self {
            Self::Valid => ("The signature is valid.".to_owned(), "Nothing to do."),
            Self::MissingHeader(name) => (
                format!("The header {name} is missing."),
                "Check whether a proxy or framework in front of the receiver removes headers; all three webhook- headers are required.",
            ),
            Self::MalformedHeader(name) => (
                format!("The header {name} cannot be parsed."),
                "Pass the header on unchanged. The time is a Unix time in seconds; a signature is `v1,` followed by base64.",
            ),
            Self::UnknownVersion => (
                "No signature in the header has the version v1.".to_owned(),
                "Pass the header on unchanged. It may contain several signatures, separated by spaces.",
            ),
            Self::NotASecret => (
                "The secret is not a signing secret.".to_owned(),
                "A signing secret is whsec_ followed by the base64 of 24 to 64 bytes, shown once when the integration was created. If you no longer have it, rotate it.",
            ),
            Self::SecretMalformed(how) => (
                format!("The signature is valid for this secret, but the secret has {how}."),
                "Store the secret exactly as it was shown.",
            ),
            Self::SignedByOtherSecret => (
                "The webhook is signed with the other secret, not with the receiver's.".to_owned(),
                "The receiver uses a secret from before or after a rotation: configure the newest one. For 24 hours after a rotation both secrets sign.",
            ),
            Self::ClockSkew(seconds) => (
                format!(
                    "The signature is valid, but its time is {} seconds {} the receiver's; at most {TOLERANCE_SECONDS} are accepted.",
                    seconds.unsigned_abs(),
                    if *seconds > 0 { "before" } else { "after" }
                ),
                "Synchronize the receiver's clock with NTP. To verify an old webhook, pass the time at which it was received with --at.",
            ),
            Self::BodyChanged(what) => (format!("The signature is valid for the body without {what}."), raw),
            Self::Reserialised => {
                ("The body was parsed and serialized again: it is the same JSON in another spelling.".to_owned(), raw)
            }
            Self::WrongSecretOrBody => (
                "The signature does not match this secret and body, nor any common mistake.".to_owned(),
                "Check that the secret is this integration's and not another one's, then compare the body byte for byte.",
            ),
        }
    }
}

/// Verifies a webhook and names the cause of a failure.
#[must_use]
pub fn verify(received: &ReceivedWebhook, secrets: &Secrets, now: Timestamp) -> Verification {
    let header = |name: &'static str| {
        let found = received.headers.iter().find(|(given, _)| given.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty()).ok_or(Verification::MissingHeader(name))
    };
    let (id, at, given) = match (header(ID_HEADER), header(TIMESTAMP_HEADER), header(SIGNATURE_HEADER)) {
        (Ok(id), Ok(at), Ok(given)) => (id, at, given),
        (Err(missing), _, _) | (_, Err(missing), _) | (_, _, Err(missing)) => return missing,
    };
    let Ok(at) = at.parse::<i64>() else { return Verification::MalformedHeader(TIMESTAMP_HEADER) };
    let signatures: Vec<&str> = given.split_whitespace().filter(|entry| entry.starts_with("v1,")).collect();
    if signatures.is_empty() {
        return if given.contains(',') {
            Verification::UnknownVersion
        } else {
            Verification::MalformedHeader(SIGNATURE_HEADER)
        };
    }
    let is_signed_with = |secret: &str, body: &[u8]| {
        let expected = Webhook::new(secret).ok().and_then(|key| key.sign(id, at, body).ok());
        expected.is_some_and(|expected| signatures.contains(&expected.as_str()))
    };
    let body = received.body.as_slice();
    let is_well_formed = secrets.current.starts_with("whsec_") && Webhook::new(&secrets.current).is_ok();
    if is_well_formed && is_signed_with(&secrets.current, body) {
        let age = now.as_second().saturating_sub(at);
        return if age.abs() > TOLERANCE_SECONDS { Verification::ClockSkew(age) } else { Verification::Valid };
    }
    let bare = secrets.current.trim().trim_matches(['"', '\'']);
    let prefixed = format!("whsec_{}", bare.trim_start_matches("whsec_"));
    if prefixed != secrets.current && is_signed_with(&prefixed, body) {
        let how = if bare == secrets.current {
            "a missing or repeated whsec_ prefix"
        } else {
            "whitespace or quotes around it"
        };
        return Verification::SecretMalformed(how);
    }
    if !is_well_formed {
        return Verification::NotASecret;
    }
    if secrets.other.as_deref().is_some_and(|other| is_signed_with(other.trim(), body)) {
        return Verification::SignedByOtherSecret;
    }
    for (what, changed) in without_usual_additions(body) {
        if is_signed_with(&secrets.current, &changed) {
            return Verification::BodyChanged(what);
        }
    }
    let text = String::from_utf8_lossy(body);
    let original_spellings = [compact(&text), unescape(&compact(&text))];
    if original_spellings.iter().any(|spelling| is_signed_with(&secrets.current, spelling.as_bytes()))
        || has_reordered_fields(&text)
    {
        return Verification::Reserialised;
    }
    Verification::WrongSecretOrBody
}

/// Returns variants of the body without what proxies and frameworks usually add, each with the name of the addition.
fn without_usual_additions(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut changes = Vec::new();
    for (what, ending) in [("its trailing line break", &b"\r\n"[..]), ("its trailing line break", b"\n")] {
        changes.extend(body.strip_suffix(ending).map(|rest| (what, rest.to_vec())));
    }
    changes.extend(body.strip_prefix(b"\xef\xbb\xbf").map(|rest| ("its byte order mark", rest.to_vec())));
    let text = String::from_utf8_lossy(body);
    if text.contains("\r\n") {
        changes.push(("the carriage returns before its line breaks", text.replace("\r\n", "\n").into_bytes()));
    }
    if text.trim().len() != text.len() {
        changes.push(("the whitespace around it", text.trim().as_bytes().to_vec()));
    }
    changes
}

/// Removes the whitespace between the tokens of a JSON text and keeps the order of its fields.
fn compact(text: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::with_capacity(text.len()), false, false);
    for character in text.chars() {
        if in_string {
            out.push(character);
            (in_string, escaped) = (escaped || character != '"', !escaped && character == '\\');
        } else if !character.is_ascii_whitespace() {
            out.push(character);
            in_string = character == '"';
        }
    }
    out
}

/// Replaces the `\uXXXX` escapes of non-ASCII characters in a JSON text, which Python writes by default and Tocsin does not.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut units: Vec<u16> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\u") {
        let (before, tail) = rest.split_at(at);
        // Two halves of a surrogate pair are adjacent.
        if !before.is_empty() {
            flush(&mut units, &mut out);
        }
        out.push_str(before);
        match tail.get(2..6).and_then(|digits| u16::from_str_radix(digits, 16).ok()) {
            Some(unit) if unit >= 0x80 => units.push(unit),
            _ => {
                flush(&mut units, &mut out);
                out.push_str(tail.get(..2).unwrap_or_default());
                rest = tail.get(2..).unwrap_or_default();
                continue;
            }
        }
        rest = tail.get(6..).unwrap_or_default();
    }
    flush(&mut units, &mut out);
    out.push_str(rest);
    out
}

fn flush(units: &mut Vec<u16>, out: &mut String) {
    out.push_str(&String::from_utf16_lossy(units));
    units.clear();
}

/// Whether a body has Tocsin's fields in another order. Tocsin writes `type`, `timestamp` and `data` in this order, so such a body was
/// serialized again.
fn has_reordered_fields(text: &str) -> bool {
    let Ok(Value::Object(body)) = serde_json::from_str::<Value>(text) else { return false };
    let has_fields = ["type", "timestamp", "data"].iter().all(|name| body.contains_key(*name));
    has_fields && !text.starts_with("{\"type\":")
}
