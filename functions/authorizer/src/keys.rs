//! The identity provider's keys: found by its discovery document, kept for a while, asked for again when a token names one that is
//! not known. When to ask is pure; asking goes through `outbound`.

use crate::identity::{Identity, Refusal, Trust, header, identify};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::JwkSet;
use outbound::{Client, SecretUrl};
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::Mutex;

/// For how long keys are taken as they are.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
/// For how long known keys count while the provider does not answer.
const STALE: SignedDuration = SignedDuration::from_hours(24);
/// The least time between two questions: made-up key ids do not become a flood of questions.
const PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// The same while there are no keys at all.
const PAUSE_WITHOUT: SignedDuration = SignedDuration::from_secs(2);
/// One of two requests; both fit the function's five seconds.
const TIMEOUT: Duration = Duration::from_millis(1_500);
/// The longest document that is read, in bytes: large providers have dozens of keys with certificates.
const LONGEST: usize = 256 * 1024;

/// What is known of the provider's keys.
#[derive(Debug, Default)]
struct Known {
    keys: Option<(JwkSet, Timestamp)>,
    asked_at: Option<Timestamp>,
}

impl Known {
    /// Whether to ask for the keys now, for a token that names `kid`.
    fn must_ask(&self, kid: &str, now: Timestamp) -> bool {
        let since = |then: Timestamp| now.duration_since(then);
        match &self.keys {
            None => self.asked_at.is_none_or(|asked| since(asked) >= PAUSE_WITHOUT),
            Some((keys, fetched)) => {
                let wanted = since(*fetched) >= FRESH || keys.find(kid).is_none();
                wanted && self.asked_at.is_none_or(|asked| since(asked) >= PAUSE)
            }
        }
    }

    /// The keys that still count.
    fn usable(&self, now: Timestamp) -> Option<&JwkSet> {
        self.keys.as_ref().filter(|(_, fetched)| now.duration_since(*fetched) < STALE).map(|(keys, _)| keys)
    }
}

/// Why a JWT opened nothing.
#[derive(Debug, PartialEq)]
pub(crate) enum Closed {
    /// The token's fault.
    Refused(Refusal),
    /// There are no keys to check it with: the provider does not answer.
    NoKeys,
}

/// An identity provider.
#[derive(Debug)]
pub(crate) struct Provider {
    trust: Trust,
    discovery: SecretUrl,
    client: Client,
    known: Mutex<Known>,
}

/// What of a discovery document is needed (OpenID Connect Discovery 1.0, 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Provider {
    pub(crate) fn new(trust: Trust, discovery: SecretUrl, client: Client) -> Self {
        Self { trust, discovery, client, known: Mutex::new(Known::default()) }
    }

    /// Whose a JWT is.
    pub(crate) async fn identify(&self, token: &str, now: Timestamp) -> Result<Identity, Closed> {
        // What cannot be right whatever the keys are asks nobody.
        let (_, kid) = header(token).map_err(Closed::Refused)?;
        let mut known = self.known.lock().await;
        if known.must_ask(&kid, now) {
            known.asked_at = Some(now);
            match self.fetch(now).await {
                Ok(keys) => known.keys = Some((keys, now)),
                Err(cause) => tracing::warn!(cause, "the identity provider's keys cannot be read"),
            }
        }
        let keys = known.usable(now).ok_or(Closed::NoKeys)?;
        identify(token, keys, &self.trust, now).map_err(Closed::Refused)
    }

    async fn fetch(&self, now: Timestamp) -> Result<JwkSet, &'static str> {
        let discovery: Discovery = self.get(&self.discovery, now).await?;
        if discovery.issuer != self.trust.issuer {
            return Err("the discovery document is another issuer's");
        }
        // The same guard as for everything else that a document from outside names.
        let place = outbound::check_url(&discovery.jwks_uri, self.client.exceptions())
            .map_err(|_| "the discovery document's jwks_uri is no public https address")?;
        self.get(&place, now).await
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: &SecretUrl, now: Timestamp) -> Result<T, &'static str> {
        let answer = self.client.get(url, TIMEOUT, LONGEST, now).await.map_err(|error| {
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

    fn known(fetched: i64, asked: i64) -> Known {
        let key = r#"{"keys":[{"kty":"RSA","kid":"a","use":"sig","alg":"RS256","n":"AQAB","e":"AQAB"}]}"#;
        Known { keys: Some((serde_json::from_str(key).unwrap(), at(fetched))), asked_at: Some(at(asked)) }
    }

    #[test]
    fn keys_are_asked_for_when_they_are_old_or_one_is_missing_and_never_in_a_flood() {
        assert!(Known::default().must_ask("a", at(0)));
        let failed = Known { keys: None, asked_at: Some(at(0)) };
        assert!(!failed.must_ask("a", at(1)) && failed.must_ask("a", at(2)));
        assert!(!known(0, 0).must_ask("a", at(599)) && known(0, 0).must_ask("a", at(600)));
        assert!(!known(0, 0).must_ask("new", at(29)) && known(0, 0).must_ask("new", at(30)));
        assert!(!known(0, 590).must_ask("a", at(610)), "the provider was just asked and did not answer");
    }

    #[test]
    fn known_keys_outlive_the_provider_by_a_day() {
        assert!(known(0, 0).usable(at(86_399)).is_some());
        assert!(known(0, 0).usable(at(86_400)).is_none());
        assert!(Known::default().usable(at(0)).is_none());
    }
}
