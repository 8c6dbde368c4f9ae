//! Webhook signatures and secrets as specified by Standard Webhooks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

/// Prefix of a signing secret's text form.
const PREFIX: &str = "whsec_";
/// Key lengths that the specification allows, in bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Why a webhook could not be signed. Never contains the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// No secret was given.
    #[error("no signing secret; set the integration's secret")]
    NoSecret,
    /// A secret is not `whsec_` followed by the base64 of 24 to 64 bytes.
    #[error("secret is not a signing secret; use whsec_ followed by the base64 of 24 to 64 random bytes")]
    Secret,
    /// The message id is empty, contains a period (which separates the signed parts), or is not a valid header value.
    #[error("webhook id cannot be signed; use only letters, digits, _ and -")]
    Id,
    /// The body is not UTF-8.
    #[error("webhook body is not UTF-8")]
    Body,
}

/// Signs an attempt and returns the three Standard Webhooks headers, with one signature per secret, the newest secret first.
///
/// `id` must be the same in all attempts of a message; `timestamp` is the time of this attempt in Unix seconds.
///
/// # Errors
/// If a secret, the id or the body cannot be used.
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

/// Checks a signing secret supplied by a tenant.
///
/// # Errors
/// [`SignError::Secret`], which describes a valid secret.
pub fn check_secret(secret: &str) -> Result<(), SignError> {
    let key = secret.strip_prefix(PREFIX).ok_or(SignError::Secret)?;
    let bytes = STANDARD.decode(key).map_err(|_| SignError::Secret)?;
    if KEY_BYTES.contains(&bytes.len()) { Ok(()) } else { Err(SignError::Secret) }
}

/// Formats a new signing secret. The 32 bytes must come from a cryptographic random source.
pub fn encode_secret(random: &[u8; 32]) -> String {
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
    fn signature_matches_the_test_vector_of_the_standard_webhooks_library() {
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let headers = sign(&[OLD], "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body).unwrap();
        assert_eq!(header(&headers, "webhook-id"), "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk");
        assert_eq!(header(&headers, "webhook-timestamp"), "1649367553");
        assert_eq!(header(&headers, "webhook-signature"), "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn signature_matches_the_test_vector_of_svix() {
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
        assert!(Webhook::new(&encode_secret(&[7; 32])).unwrap().verify(body, &headers).is_err());
        assert!(Webhook::new(NEW).unwrap().verify(b"{ }", &headers).is_err());
    }

    #[test]
    fn unusable_secrets_ids_and_bodies_are_rejected_by_kind() {
        assert_eq!(sign(&[], "m", 1, b"{}"), Err(SignError::NoSecret));
        assert_eq!(sign(&["whsec_***"], "m", 1, b"{}"), Err(SignError::Secret));
        assert_eq!(sign(&[OLD], "m.1", 1, b"{}"), Err(SignError::Id));
        assert_eq!(sign(&[OLD], "", 1, b"{}"), Err(SignError::Id));
        assert_eq!(sign(&[OLD], "m\n1", 1, b"{}"), Err(SignError::Id));
        assert_eq!(sign(&[OLD], "m", 1, &[0xff]), Err(SignError::Body));
    }

    #[test]
    fn secrets_are_checked_for_format_and_length() {
        assert!(check_secret(OLD).is_ok());
        assert!(check_secret(&encode_secret(&[0; 32])).is_ok());
        assert!(check_secret(&format!("whsec_{}", STANDARD.encode([1; 64]))).is_ok());
        for secret in ["", "hunter2", "whsec_", "whsec_hunter2!", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"] {
            assert_eq!(check_secret(secret), Err(SignError::Secret), "{secret}");
        }
        for length in [23, 65] {
            assert!(check_secret(&format!("whsec_{}", STANDARD.encode(vec![1; length]))).is_err());
        }
    }
}
