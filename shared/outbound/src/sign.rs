//! Webhook signatures as Standard Webhooks writes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

const PREFIX: &str = "whsec_";
/// The range of key lengths that the specification names.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Why a webhook could not be signed; never holds the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// No secret was given.
    #[error("no signing secret; set the integration's secret")]
    NoSecret,
    /// A secret is not `whsec_` and base64 of 24 to 64 bytes.
    #[error("secret is not a signing secret; write whsec_ followed by the base64 of 24 to 64 random bytes")]
    Secret,
    /// The message id is empty, holds a full stop (which separates the signed parts) or cannot stand in a header.
    #[error("webhook id cannot be signed; use letters, digits, _ and - only")]
    Id,
    /// The body is not UTF-8.
    #[error("webhook body is not UTF-8")]
    Body,
}

/// The three Standard Webhooks headers for this attempt: one signature per secret, the newest secret first.
///
/// `id` must be the same on every attempt of one message; `timestamp` is the Unix second of this attempt.
///
/// # Errors
/// A secret, id or body that cannot be signed.
pub fn sign(secrets: &[&str], id: &str, timestamp: i64, body: &[u8]) -> Result<HeaderMap, SignError> {
    if secrets.is_empty() {
        return Err(SignError::NoSecret);
    }
    if id.is_empty() || id.contains('.') {
        return Err(SignError::Id);
    }
    std::str::from_utf8(body).map_err(|_| SignError::Body)?;
    let signatures = secrets
        .iter()
        .map(|secret| Webhook::new(secret).and_then(|key| key.sign(id, timestamp, body)).map_err(|_| SignError::Secret))
        .collect::<Result<Vec<String>, SignError>>()?
        .join(" ");

    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(HEADER_WEBHOOK_ID, HeaderValue::from_str(id).map_err(|_| SignError::Id)?);
    headers.insert(HEADER_WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp));
    headers.insert(HEADER_WEBHOOK_SIGNATURE, HeaderValue::from_str(&signatures).map_err(|_| SignError::Secret)?);
    Ok(headers)
}

/// Whether a secret that a tenant brings along can sign.
///
/// # Errors
/// [`SignError::Secret`], which says what a secret looks like.
pub fn check_secret(secret: &str) -> Result<(), SignError> {
    let key = secret.strip_prefix(PREFIX).ok_or(SignError::Secret)?;
    let bytes = STANDARD.decode(key).map_err(|_| SignError::Secret)?;
    if KEY_BYTES.contains(&bytes.len()) { Ok(()) } else { Err(SignError::Secret) }
}

/// The written form of a new secret; the 32 bytes must come from a cryptographic random source.
pub fn secret_from(random: &[u8; 32]) -> String {
    format!("{PREFIX}{}", STANDARD.encode(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const NEW: &str = "whsec_plJ3nmyCDGBKInavdOK15jsl";

    fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
        headers[name].to_str().unwrap()
    }

    #[test]
    fn the_vector_of_the_standard_webhooks_library() {
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let headers = sign(&[OLD], "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body).unwrap();
        assert_eq!(header(&headers, "webhook-id"), "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk");
        assert_eq!(header(&headers, "webhook-timestamp"), "1649367553");
        assert_eq!(header(&headers, "webhook-signature"), "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn the_vector_of_the_svix_tests() {
        let body = br#"{"event_type":"ping","data":{"success":true}}"#;
        let headers = sign(&[NEW], "msg_loFOjxBNrRLzqYUf", 1_731_705_121, body).unwrap();
        assert_eq!(header(&headers, "webhook-signature"), "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=");
    }

    #[test]
    fn during_a_rotation_both_secrets_sign_and_either_verifies() {
        let body = b"{}";
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().try_into().unwrap();
        let headers = sign(&[NEW, OLD], "msg_1", now, body).unwrap();
        assert_eq!(header(&headers, "webhook-signature").split(' ').count(), 2);
        for secret in [NEW, OLD] {
            Webhook::new(secret).unwrap().verify(body, &headers).unwrap();
        }
        assert!(Webhook::new(&secret_from(&[7; 32])).unwrap().verify(body, &headers).is_err());
        assert!(Webhook::new(NEW).unwrap().verify(b"{ }", &headers).is_err());
    }

    #[test]
    fn what_cannot_be_signed_is_named() {
        assert_eq!(sign(&[], "m", 1, b"{}"), Err(SignError::NoSecret));
        assert_eq!(sign(&["whsec_***"], "m", 1, b"{}"), Err(SignError::Secret));
        assert_eq!(sign(&[OLD], "m.1", 1, b"{}"), Err(SignError::Id));
        assert_eq!(sign(&[OLD], "", 1, b"{}"), Err(SignError::Id));
        assert_eq!(sign(&[OLD], "m\n1", 1, b"{}"), Err(SignError::Id));
        assert_eq!(sign(&[OLD], "m", 1, &[0xff]), Err(SignError::Body));
    }

    #[test]
    fn secrets_are_checked_by_form_and_length() {
        assert!(check_secret(OLD).is_ok());
        assert!(check_secret(&secret_from(&[0; 32])).is_ok());
        assert!(check_secret(&format!("whsec_{}", STANDARD.encode([1; 64]))).is_ok());
        for secret in ["", "hunter2", "whsec_", "whsec_hunter2!", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"] {
            assert_eq!(check_secret(secret), Err(SignError::Secret), "{secret}");
        }
        for length in [23, 65] {
            assert!(check_secret(&format!("whsec_{}", STANDARD.encode(vec![1; length]))).is_err());
        }
    }
}
