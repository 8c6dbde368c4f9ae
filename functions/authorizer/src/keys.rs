//! The identity provider's signing keys: located by its discovery document, cached, and fetched again when a token names an unknown key.
//! The decision when to fetch is pure; fetching goes through `outbound`.

use crate::identity::{Identity, JwtRefusal, TrustedIssuer, parse_header, verify_jwt};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::JwkSet;
use outbound::{Client, SecretUrl};
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::Mutex;

/// Time after which cached keys are fetched again.
const FRESH_FOR: SignedDuration = SignedDuration::from_mins(10);
/// Time for which cached keys are used while the provider is unavailable.
const USABLE_FOR: SignedDuration = SignedDuration::from_hours(24);
/// Least time between two fetches, so that tokens with made-up key ids do not cause a flood of requests.
const FETCH_INTERVAL_MIN: SignedDuration = SignedDuration::from_secs(30);
/// Least time between two fetches while no keys are cached.
const FETCH_INTERVAL_WITHOUT_KEYS: SignedDuration = SignedDuration::from_secs(2);
/// Timeout of one request. The two requests of a fetch fit into the function's timeout of five seconds.
const TIMEOUT: Duration = Duration::from_millis(1_500);
/// Largest document that is read, in bytes. Large providers publish dozens of keys with certificates.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// The cached keys of the provider.
#[derive(Debug, Default)]
struct KeyCache {
    /// The keys, and when they were fetched.
    keys: Option<(JwkSet, Timestamp)>,
    /// When the latest fetch started, successful or not.
    fetch_started_at: Option<Timestamp>,
}

impl KeyCache {
    /// Whether to fetch the keys now to verify a token that names the key `kid`.
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

    /// Returns the cached keys unless they are too old to be used.
    fn usable_keys(&self, now: Timestamp) -> Option<&JwkSet> {
        self.keys.as_ref().filter(|(_, fetched)| now.duration_since(*fetched) < USABLE_FOR).map(|(keys, _)| keys)
    }
}

/// Why a JWT could not be accepted.
#[derive(Debug, PartialEq)]
pub(crate) enum JwtError {
    /// The token is not valid.
    Refused(JwtRefusal),
    /// There are no keys to verify it with, because the provider is unavailable.
    NoKeys,
}

/// The identity provider and its cached keys.
#[derive(Debug)]
pub(crate) struct IdentityProvider {
    issuer: TrustedIssuer,
    discovery: SecretUrl,
    client: Client,
    cache: Mutex<KeyCache>,
}

/// The fields used of a discovery document (OpenID Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl IdentityProvider {
    pub(crate) fn new(issuer: TrustedIssuer, discovery: SecretUrl, client: Client) -> Self {
        Self { issuer, discovery, client, cache: Mutex::new(KeyCache::default()) }
    }

    /// Verifies a JWT and returns the identity that it proves.
    pub(crate) async fn identify(&self, token: &str, now: Timestamp) -> Result<Identity, JwtError> {
        // A malformed token is refused before any keys are fetched.
        let (_, kid) = parse_header(token).map_err(JwtError::Refused)?;
        let mut cache = self.cache.lock().await;
        if cache.needs_fetch(&kid, now) {
            cache.fetch_started_at = Some(now);
            match self.fetch_keys(now).await {
                Ok(keys) => cache.keys = Some((keys, now)),
                Err(cause) => tracing::warn!(cause, "cannot fetch the keys of the identity provider"),
            }
        }
        let keys = cache.usable_keys(now).ok_or(JwtError::NoKeys)?;
        verify_jwt(token, keys, &self.issuer, now).map_err(JwtError::Refused)
    }

    async fn fetch_keys(&self, now: Timestamp) -> Result<JwkSet, &'static str> {
        let discovery: Discovery = self.get_json(&self.discovery, now).await?;
        if discovery.issuer != self.issuer.issuer {
            return Err("the discovery document names another issuer");
        }
        // The URL comes from outside, so the SSRF guard checks it.
        let jwks_url = outbound::check_url(&discovery.jwks_uri, self.client.exceptions())
            .map_err(|_| "the jwks_uri of the discovery document is not a public https URL")?;
        self.get_json(&jwks_url, now).await
    }

    async fn get_json<T: serde::de::DeserializeOwned>(
        &self,
        url: &SecretUrl,
        now: Timestamp,
    ) -> Result<T, &'static str> {
        let answer = self.client.get(url, TIMEOUT, DOCUMENT_BYTES_MAX, now).await.map_err(|error| {
            tracing::warn!(%error, "the request to the identity provider failed");
            "the request failed"
        })?;
        if !answer.status.is_success() || answer.truncated {
            return Err("the response has an error status or is too large");
        }
        serde_json::from_slice(&answer.body).map_err(|_| "the document is not valid JSON of the expected form")
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
    fn keys_are_fetched_when_old_or_unknown_but_not_too_often() {
        assert!(KeyCache::default().needs_fetch("a", at(0)));
        let failed = KeyCache { keys: None, fetch_started_at: Some(at(0)) };
        assert!(!failed.needs_fetch("a", at(1)) && failed.needs_fetch("a", at(2)));
        assert!(!cache(0, 0).needs_fetch("a", at(599)) && cache(0, 0).needs_fetch("a", at(600)));
        assert!(!cache(0, 0).needs_fetch("new", at(29)) && cache(0, 0).needs_fetch("new", at(30)));
        assert!(!cache(0, 590).needs_fetch("a", at(610)), "the last fetch has just failed");
    }

    #[test]
    fn cached_keys_are_used_for_a_day_while_the_provider_is_unavailable() {
        assert!(cache(0, 0).usable_keys(at(86_399)).is_some());
        assert!(cache(0, 0).usable_keys(at(86_400)).is_none());
        assert!(KeyCache::default().usable_keys(at(0)).is_none());
    }
}
