//! Says whether a webhook of Tocsin's is genuine, or exactly why a receiver's check refuses it. Pure: the time is a parameter.
//!
//! Webhooks are signed by Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, base64, as `v1,…` (standardwebhooks.com). What
//! goes wrong with them is nearly always the same: the body was parsed and written again before it was checked.

use jiff::Timestamp;
use serde_json::Value;
use standardwebhooks::Webhook;
use std::fmt;

/// How far, in seconds, a webhook's time may be from the receiver's.
pub const TOLERANCE_SECONDS: i64 = 300;
/// The header that names the message.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the Unix second of the attempt.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with one signature for each secret.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// A delivery as a receiver got it.
#[derive(Clone, Debug, Default)]
pub struct ReceivedWebhook {
    /// Names in any case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

/// The secrets that may have signed it.
#[derive(Clone)]
pub struct Secrets {
    /// The secret that the receiver has.
    pub current: String,
    /// Another one that it once had, or will have.
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
    /// Genuine.
    Valid,
    /// A header is missing.
    MissingHeader(&'static str),
    /// A header is there and cannot be read.
    MalformedHeader(&'static str),
    /// No signature has a version that we know.
    UnknownVersion,
    /// The secret is none.
    NotASecret,
    /// The secret fits once it is written as a secret is.
    SecretMalformed(&'static str),
    /// The other secret signed it.
    SignedByOtherSecret,
    /// Genuine, but of another time: so many seconds after it was sent, or before.
    ClockSkew(i64),
    /// The body fits without this.
    BodyChanged(&'static str),
    /// The body is the same JSON in another spelling.
    Reserialised,
    /// Nothing fits.
    WrongSecretOrBody,
}

impl Verification {
    /// Whether a receiver should take it.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        *self == Self::Valid
    }

    /// Returns the result and its remedy, as two sentences or more.
    #[must_use]
    pub fn sentences(&self) -> (String, &'static str) {
        let raw = "Check the raw bytes of the request, before any framework parses, decodes or trims them.";
        match self {
            Self::Valid => ("The signature is valid.".to_owned(), "Nothing is to be done."),
            Self::MissingHeader(name) => (
                format!("The header {name} is missing."),
                "Look at what a proxy or framework in front of the receiver drops; all three webhook- headers are needed.",
            ),
            Self::MalformedHeader(name) => (
                format!("The header {name} cannot be read."),
                "Pass the header on as it came; the time is a Unix second, a signature is `v1,` and base64.",
            ),
            Self::UnknownVersion => (
                "No signature of the header has the version v1.".to_owned(),
                "Pass the header on as it came; it may hold several signatures with a space between them.",
            ),
            Self::NotASecret => (
                "The secret is not a signing secret.".to_owned(),
                "It is whsec_ and the base64 of 24 to 64 bytes, as the integration showed it once; rotate it to get a new one.",
            ),
            Self::SecretMalformed(how) => (
                format!("The signature is valid for this secret, but the secret is written with {how}."),
                "Store it exactly as it was shown.",
            ),
            Self::SignedByOtherSecret => (
                "The other secret signed this, and not the first one.".to_owned(),
                "The receiver has a secret from before or after a rotation: give it the newest one. For 24 hours both sign.",
            ),
            Self::ClockSkew(seconds) => (
                format!(
                    "The signature is valid, but it was made {} seconds {} the time given: more than {TOLERANCE_SECONDS}.",
                    seconds.unsigned_abs(),
                    if *seconds > 0 { "before" } else { "after" }
                ),
                "Set the receiver's clock by NTP. For an old delivery give its own time with --at.",
            ),
            Self::BodyChanged(what) => (format!("The signature is valid for the body without {what}."), raw),
            Self::Reserialised => {
                ("The body was parsed and written again: it is the same JSON in another spelling.".to_owned(), raw)
            }
            Self::WrongSecretOrBody => (
                "The signature fits neither this secret with this body nor any usual mistake.".to_owned(),
                "Compare the secret with the integration's (another integration's is the usual one), then the body byte for byte.",
            ),
        }
    }
}

/// Judges a delivery.
#[must_use]
pub fn verify(received: &ReceivedWebhook, secrets: &Secrets, now: Timestamp) -> Verification {
    let header = |name: &'static str| {
        let found = received.headers.iter().find(|(known, _)| known.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty()).ok_or(Verification::MissingHeader(name))
    };
    let parts = (|| Ok((header(ID_HEADER)?, header(TIMESTAMP_HEADER)?, header(SIGNATURE_HEADER)?)))();
    let (id, at, given) = match parts {
        Ok(parts) => parts,
        Err(verdict) => return verdict,
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
    let fits = |secret: &str, body: &[u8]| {
        let made = Webhook::new(secret).ok().and_then(|key| key.sign(id, at, body).ok());
        made.is_some_and(|made| signatures.contains(&made.as_str()))
    };
    let body = received.body.as_slice();
    let is_secret = secrets.current.starts_with("whsec_") && Webhook::new(&secrets.current).is_ok();
    if is_secret && fits(&secrets.current, body) {
        let age = now.as_second().saturating_sub(at);
        return if age.abs() > TOLERANCE_SECONDS { Verification::ClockSkew(age) } else { Verification::Valid };
    }
    let bare = secrets.current.trim().trim_matches(['"', '\'']);
    let prefixed = format!("whsec_{}", bare.trim_start_matches("whsec_"));
    if prefixed != secrets.current && fits(&prefixed, body) {
        let how =
            if bare == secrets.current { "its whsec_ missing or doubled" } else { "white space or quotes around it" };
        return Verification::SecretMalformed(how);
    }
    if !is_secret {
        return Verification::NotASecret;
    }
    if secrets.other.as_deref().is_some_and(|other| fits(other.trim(), body)) {
        return Verification::SignedByOtherSecret;
    }
    for (what, changed) in usual_changes(body) {
        if fits(&secrets.current, &changed) {
            return Verification::BodyChanged(what);
        }
    }
    let text = String::from_utf8_lossy(body);
    let respelled = [compact(&text), unescaped(&compact(&text))];
    if respelled.iter().any(|spelling| fits(&secrets.current, spelling.as_bytes())) || has_reordered_fields(&text) {
        return Verification::Reserialised;
    }
    Verification::WrongSecretOrBody
}

/// The body without what is usually added on the way.
fn usual_changes(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
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
        changes.push(("the white space around it", text.trim().as_bytes().to_vec()));
    }
    changes
}

/// JSON without the white space between its tokens, in the order in which it stands.
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

/// JSON whose `\uXXXX` escapes are characters again, where the wire has characters: Python escapes them by default.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut units: Vec<u16> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\u") {
        let (before, tail) = rest.split_at(at);
        // Between two halves of a pair stands nothing.
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

/// Tocsin writes `type`, `timestamp`, `data` in this order and nothing between the tokens. What is the same three in another
/// order was written by somebody else.
fn has_reordered_fields(text: &str) -> bool {
    let Ok(Value::Object(body)) = serde_json::from_str::<Value>(text) else { return false };
    let ours = ["type", "timestamp", "data"].iter().all(|name| body.contains_key(*name));
    ours && !text.starts_with("{\"type\":")
}
