//! Verifies JWTs of the identity provider. Pure: keys and time are parameters.

use contracts::http::scopes::{ALL_SCOPES, PLATFORM_ADMIN};
use domain::ids::{IntegrationId, TenantId};
use jiff::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Tolerated difference between the provider's clock and ours, in seconds (RFC 7519, section 4.1.4: "usually no more than a few minutes").
const CLOCK_SKEW_SECONDS: f64 = 60.0;
/// The longest time that a JWT may still be valid, in seconds: a day, as Cognito's longest access token.
const JWT_LIFETIME_MAX_SECONDS: f64 = 86_400.0;
/// Largest JWT that is read, in bytes. API Gateway accepts 10,240 bytes for all headers together.
const JWT_BYTES_MAX: usize = 8 * 1024;
/// Longest subject that appears unhashed in the audit trail, in characters.
const SUBJECT_CHARS_MAX: usize = 64;

/// The trusted issuer of JWTs, and the claims that list tenants and scopes.
#[derive(Clone, Debug)]
pub(crate) struct TrustedIssuer {
    /// Expected claim `iss`, compared exactly.
    pub(crate) issuer: String,
    /// The audience that `aud` must name. Cognito's access tokens have no `aud`; their `client_id` must name it.
    pub(crate) audience: String,
    /// Name of the claim that lists the caller's tenants.
    pub(crate) tenants_claim: String,
    /// Name of the claim that lists the caller's scopes.
    pub(crate) scopes_claim: String,
}

/// The identity that a JWT proves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Identity {
    /// The name in logs and in the audit trail.
    pub(crate) token_id: String,
    /// The source identity of incidents that it posts; part of their dedup key.
    pub(crate) integration_id: IntegrationId,
    pub(crate) scopes: BTreeSet<String>,
    /// Tenants that the caller may access; `None` means all.
    pub(crate) tenants: Option<BTreeSet<TenantId>>,
}

/// Why a JWT was refused. Its code is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JwtRefusal {
    Unreadable,
    Algorithm,
    NoKeyId,
    UnknownKey,
    KeyUnfit,
    Signature,
    Issuer,
    Audience,
    Expired,
    NotYet,
    LifetimeTooLong,
    TokenUse,
    NoSubject,
    NoTenants,
    NoScopes,
}

impl JwtRefusal {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "jwt_unreadable",
            Self::Algorithm => "jwt_algorithm",
            Self::NoKeyId => "jwt_no_key_id",
            Self::UnknownKey => "jwt_unknown_key",
            Self::KeyUnfit => "jwt_key_unfit",
            Self::Signature => "jwt_signature",
            Self::Issuer => "jwt_issuer",
            Self::Audience => "jwt_audience",
            Self::Expired => "jwt_expired",
            Self::NotYet => "jwt_not_yet",
            Self::LifetimeTooLong => "jwt_lifetime_too_long",
            Self::TokenUse => "jwt_token_use",
            Self::NoSubject => "jwt_no_subject",
            Self::NoTenants => "jwt_no_tenants",
            Self::NoScopes => "jwt_no_scopes",
        }
    }
}

/// Whether a text has the format of a signed JWT: three parts in base64url.
pub(crate) fn is_jwt(text: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    // A JWT with `alg: none` has an empty third part. It is parsed nevertheless, so that it is refused for its algorithm.
    let mut parts = text.splitn(3, '.');
    text.len() <= JWT_BYTES_MAX
        && parts.next().is_some_and(part)
        && parts.next().is_some_and(part)
        && parts.next().is_some_and(|last| last.is_empty() || part(last))
}

/// Parses a token's header and returns its algorithm and key id. Only asymmetric algorithms are accepted, so neither an unsigned token nor
/// one signed with a public key as an HMAC secret (key confusion) gets through.
pub(crate) fn parse_header(token: &str) -> Result<(Algorithm, String), JwtRefusal> {
    let bytes = token.split('.').next().and_then(decode_base64url).ok_or(JwtRefusal::Unreadable)?;
    let header: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|_| JwtRefusal::Unreadable)?;
    // RFC 7515, section 4.1.11: a token with a critical extension that is not understood must be refused.
    if header.contains_key("crit") {
        return Err(JwtRefusal::Unreadable);
    }
    let algorithm = match header.get("alg").and_then(Value::as_str) {
        Some("RS256") => Algorithm::RS256,
        Some("ES256") => Algorithm::ES256,
        _ => return Err(JwtRefusal::Algorithm),
    };
    let kid = header.get("kid").and_then(Value::as_str).filter(|kid| !kid.is_empty()).ok_or(JwtRefusal::NoKeyId)?;
    Ok((algorithm, kid.to_owned()))
}

fn decode_base64url(part: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).ok()
}

/// Whether a key may be used with this algorithm. The key's own metadata decides; the token's header alone is not trusted.
fn is_key_for(key: &Jwk, algorithm: Algorithm) -> bool {
    let named = match key.common.key_algorithm {
        None => true,
        Some(KeyAlgorithm::RS256) => algorithm == Algorithm::RS256,
        Some(KeyAlgorithm::ES256) => algorithm == Algorithm::ES256,
        Some(_) => false,
    };
    let shape = match &key.algorithm {
        AlgorithmParameters::RSA(_) => algorithm == Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) => {
            algorithm == Algorithm::ES256 && curve.curve == EllipticCurve::P256
        }
        _ => false,
    };
    named && shape && matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature))
}

/// Reads and verifies the token of a request.
///
/// # Errors
/// The first check that fails.
pub(crate) fn verify_jwt(
    token: &str,
    keys: &JwkSet,
    issuer: &TrustedIssuer,
    now: Timestamp,
) -> Result<Identity, JwtRefusal> {
    let (algorithm, kid) = parse_header(token)?;
    let key = keys.find(&kid).ok_or(JwtRefusal::UnknownKey)?;
    if !is_key_for(key, algorithm) {
        return Err(JwtRefusal::KeyUnfit);
    }
    let key = DecodingKey::from_jwk(key).map_err(|_| JwtRefusal::KeyUnfit)?;
    let mut validation = Validation::new(algorithm);
    // The library checks the signature only. The claims are checked below, against the given time.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation);
    let claims = claims.map_err(|_| JwtRefusal::Signature)?.claims;
    check_claims(&claims, issuer, now)
}

/// Checks the claims of a token whose signature is valid.
fn check_claims(claims: &Map<String, Value>, issuer: &TrustedIssuer, now: Timestamp) -> Result<Identity, JwtRefusal> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(issuer.issuer.as_str()) {
        return Err(JwtRefusal::Issuer);
    }
    // Cognito's tokens name their purpose; refresh tokens are not accepted.
    let is_access = match text("token_use") {
        None | Some("id") => false,
        Some("access") => true,
        Some(_) => return Err(JwtRefusal::TokenUse),
    };
    let named = match claims.get("aud") {
        Some(Value::String(one)) => *one == issuer.audience,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(issuer.audience.as_str())),
        // The client id counts only in a token without an audience.
        None => is_access && text("client_id") == Some(issuer.audience.as_str()),
        Some(_) => false,
    };
    if !named {
        return Err(JwtRefusal::Audience);
    }
    let time = |name: &str| claims.get(name).map(|value| value.as_f64().unwrap_or(f64::NAN));
    let now = now.as_duration().as_secs_f64();
    // A time that is not a number is NaN, and every comparison with NaN is false. So the conditions below state what must hold.
    if !time("exp").is_some_and(|end| now < end + CLOCK_SKEW_SECONDS) {
        return Err(JwtRefusal::Expired);
    }
    if !time("exp").is_some_and(|end| end <= now + JWT_LIFETIME_MAX_SECONDS + CLOCK_SKEW_SECONDS) {
        return Err(JwtRefusal::LifetimeTooLong);
    }
    if !["nbf", "iat"].into_iter().filter_map(time).all(|begin| begin - CLOCK_SKEW_SECONDS <= now) {
        return Err(JwtRefusal::NotYet);
    }
    let subject = text("sub").filter(|subject| !subject.is_empty()).ok_or(JwtRefusal::NoSubject)?;
    let scopes: BTreeSet<String> = claim_values(claims.get(&issuer.scopes_claim))
        // Scopes of a resource server are prefixed with its name (Cognito: `tocsin/alerts:read`).
        .filter_map(|scope| scope.rsplit('/').next().filter(|scope| ALL_SCOPES.contains(scope)).map(str::to_owned))
        .collect();
    if scopes.is_empty() {
        return Err(JwtRefusal::NoScopes);
    }
    let named: Vec<&str> = claim_values(claims.get(&issuer.tenants_claim)).collect();
    let tenants = if named.contains(&"*") && scopes.contains(PLATFORM_ADMIN) {
        None
    } else {
        let tenants: BTreeSet<TenantId> = named.iter().filter_map(|name| TenantId::parse(name).ok()).collect();
        if tenants.is_empty() {
            return Err(JwtRefusal::NoTenants);
        }
        Some(tenants)
    };
    Ok(Identity {
        token_id: format!("jwt_{}", loggable_subject(subject)),
        integration_id: IntegrationId::derived(&["oidc", &issuer.issuer, subject]),
        scopes,
        tenants,
    })
}

/// Returns the values of a claim: a list, or a text separated by spaces or commas.
fn claim_values(claim: Option<&Value>) -> impl Iterator<Item = &str> {
    let texts: Vec<&str> = match claim {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    texts.into_iter().flat_map(|text| text.split([' ', ','])).filter(|value| !value.is_empty())
}

/// Returns a subject as logs and the audit trail may hold it. Some providers use an e-mail address, which is replaced by its hash.
fn loggable_subject(subject: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.' || b == b'|';
    let is_plain = subject.len() <= SUBJECT_CHARS_MAX && subject.bytes().all(plain);
    if is_plain { subject.to_owned() } else { domain::ids::short_hash(&[subject]) }
}

#[cfg(test)]
mod tests;
