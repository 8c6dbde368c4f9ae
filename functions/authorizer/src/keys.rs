//! The identity provider's keys: found by its discovery document, kept for a while, asked for again when a token names one that is
//! not known. When to ask is pure; asking goes through `outbound`.

use crate::identity::{Identity, JwtRefusal, TrustedIssuer, parse_header, verify_jwt};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::JwkSet;
use outbound::{Client, SecretUrl};
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::Mutex;

/// For how long keys are taken as they are.
const FRESH_FOR: SignedDuration = SignedDuration::from_mins(10);
/// For how long known keys count while the provider does not answer.
const USABLE_FOR: SignedDuration = SignedDuration::from_hours(24);
/// The least time between two questions: made-up key ids do not become a flood of questions.
const FETCH_INTERVAL_MIN: SignedDuration = SignedDuration::from_secs(30);
/// The same while there are no keys at all.
const FETCH_INTERVAL_WITHOUT_KEYS: SignedDuration = SignedDuration::from_secs(2);
/// One of two requests; both fit the function's five seconds.
const TIMEOUT: Duration = Duration::from_millis(1_500);
/// The longest document that is read, in bytes: large providers have dozens of keys with certificates.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// What is known of the provider's keys.
#[derive(Debug, Default)]
struct KeyCache {
    keys: Option<(JwkSet, Timestamp)>,
    fetch_started_at: Option<Timestamp>,
}

impl KeyCache {
    /// Whether to ask for the keys now, for a token that names `kid`.
    fn needs_fetch(&self, kid: &str, now: Timestamp) -> bool {
        let since = |then: Timestamp| now.duration_since(then);
        match &self.keys {
            None => self.fetch_started_at.is_none_or(|started| since(started) >= FETCH_INTERVAL_WITHOUT_KEYS),
            Some((keys, fetched)) => {
                let wanted = since(*fetched) >= FRESH_FOR || keys.find(kid).is_none();
                wanted && self.fetch_started_at.is_none_or(|started| since(started) >= FETCH_INTERVAL_MIN)
            }
        }
    }

    /// The keys that still count.
    fn usable_keys(&self, now: Timestamp) -> Option<&JwkSet> {
        self.keys.as_ref().filter(|(_, fetched)| now.duration_since(*fetched) < USABLE_FOR).map(|(keys, _)| keys)
    }
}

/// Why a JWT opened nothing.
#[derive(Debug, PartialEq)]
pub(crate) enum JwtError {
    /// The token's fault.
    Refused(JwtRefusal),
    /// There are no keys to check it with: the provider does not answer.
    NoKeys,
}

/// An identity provider.
#[derive(Debug)]
pub(crate) struct IdentityProvider {
    issuer: TrustedIssuer,
    discovery: SecretUrl,
    client: Client,
    cache: Mutex<KeyCache>,
}

/// What of a discovery document is needed (OpenID Connect Discovery 1.0, 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl IdentityProvider {
    pub(crate) fn new(issuer: TrustedIssuer, discovery: SecretUrl, client: Client) -> Self {
        Self { issuer, discovery, client, cache: Mutex::new(KeyCache::default()) }
    }

    /// Whose a JWT is.
    pub(crate) async fn identify(&self, token: &str, now: Timestamp) -> Result<Identity, JwtError> {
        // What cannot be right whatever the keys are asks nobody.
        let (_, kid) = parse_header(token).map_err(JwtError::Refused)?;
        let mut cache = self.cache.lock().await;
        if cache.needs_fetch(&kid, now) {
            cache.fetch_started_at = Some(now);
            match self.fetch_keys(now).await {
                Ok(keys) => cache.keys = Some((keys, now)),
                Err(cause) => tracing::warn!(cause, "the identity provider's keys cannot be read"),
            }
        }
        let keys = cache.usable_keys(now).ok_or(JwtError::NoKeys)?;
        verify_jwt(token, keys, &self.issuer, now).map_err(JwtError::Refused)
    }

    async fn fetch_keys(&self, now: Timestamp) -> Result<JwkSet, &'static str> {
        let discovery: Discovery = self.get_json(&self.discovery, now).await?;
        if discovery.issuer != self.issuer.issuer {
            return Err("the discovery document is another issuer's");
        }
        // The same guard as for everything else that a document from outside names.
        let place = outbound::check_url(&discovery.jwks_uri, self.client.exceptions())
            .map_err(|_| "the discovery document's jwks_uri is no public https address")?;
        self.get_json(&place, now).await
    }

    async fn get_json<T: serde::de::DeserializeOwned>(
        &self,
        url: &SecretUrl,
        now: Timestamp,
    ) -> Result<T, &'static str> {
        let answer = self.client.get(url, TIMEOUT, DOCUMENT_BYTES_MAX, now).await.map_err(|error| {
            tracing::warn!(%error, "the identity provider did not answer");
            "no answer"
        })?;
        if !answer.status.is_success() || answer.truncated {
            return Err("an answer without the document");
        }
        serde_json::from_slice(&answer.body).map_err(|_| "the document does not parse")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn cache(fetched: i64, started: i64) -> KeyCache {
        let key = r#"{"keys":[{"kty":"RSA","kid":"a","use":"sig","alg":"RS256","n":"AQAB","e":"AQAB"}]}"#;
        KeyCache { keys: Some((serde_json::from_str(key).unwrap(), at(fetched))), fetch_started_at: Some(at(started)) }
    }

    #[test]
    fn keys_are_asked_for_when_they_are_old_or_one_is_missing_and_never_in_a_flood() {
        assert!(KeyCache::default().needs_fetch("a", at(0)));
        let failed = KeyCache { keys: None, fetch_started_at: Some(at(0)) };
        assert!(!failed.needs_fetch("a", at(1)) && failed.needs_fetch("a", at(2)));
        assert!(!cache(0, 0).needs_fetch("a", at(599)) && cache(0, 0).needs_fetch("a", at(600)));
        assert!(!cache(0, 0).needs_fetch("new", at(29)) && cache(0, 0).needs_fetch("new", at(30)));
        assert!(!cache(0, 590).needs_fetch("a", at(610)), "the provider was just asked and did not answer");
    }

    #[test]
    fn known_keys_outlive_the_provider_by_a_day() {
        assert!(cache(0, 0).usable_keys(at(86_399)).is_some());
        assert!(cache(0, 0).usable_keys(at(86_400)).is_none());
        assert!(KeyCache::default().usable_keys(at(0)).is_none());
    }
}
