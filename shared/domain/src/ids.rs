//! Names of things. Each id has a printed prefix, so that a log line tells what kind of id it holds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// The tenant that stands for the operators of the platform themselves.
pub const OPERATORS: &str = "platform";

/// Number of subscription shards: a constant, because changing it would move every compiled subscription.
pub const SHARDS: u16 = 64;

/// Number of due shards: the release function is invoked once a minute for each.
pub const DUE_SHARDS: u16 = 8;

/// A tenant's name: `[a-z0-9-]{1,63}`, so that it fits a DNS label, a key and a URL path as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[a-z0-9-]{1,63}$"))]
pub struct TenantId(String);

/// Why a tenant id was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tenant id is 1 to 63 characters of a-z, 0-9 and '-'")]
pub struct BadTenantId;

impl TenantId {
    /// Parses a tenant id.
    ///
    /// # Errors
    /// [`BadTenantId`] when it is empty, longer than 63 characters or has other characters than `a-z0-9-`.
    pub fn parse(text: &str) -> Result<Self, BadTenantId> {
        let ok = (1..=63).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if ok { Ok(Self(text.to_owned())) } else { Err(BadTenantId) }
    }

    /// The operators' own tenant.
    #[must_use]
    pub fn operators() -> Self {
        Self(OPERATORS.to_owned())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The subscription shard of this tenant, `0..SHARDS`; the same for ever.
    #[must_use]
    pub fn shard(&self) -> u16 {
        shard_of(&self.0, SHARDS)
    }
}

impl TryFrom<String> for TenantId {
    type Error = BadTenantId;
    fn try_from(text: String) -> Result<Self, BadTenantId> {
        Self::parse(&text)
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> Self {
        id.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whom an incident belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The platform: every tenant is asked.
    Platform,
    /// One tenant.
    Tenant(TenantId),
}

impl Scope {
    /// The tenant, if it is one's.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Platform => None,
            Self::Tenant(tenant) => Some(tenant),
        }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(extend("pattern" = concat!("^", $prefix, "[0-9A-Za-z]{1,64}$")))]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// An id from a random suffix that the caller drew.
            #[must_use]
            pub fn new(suffix: &str) -> Self {
                Self(format!("{}{suffix}", $prefix))
            }

            /// An id that is the same whenever its parts are.
            #[must_use]
            pub fn derived(parts: &[&str]) -> Self {
                Self(format!("{}{}", $prefix, digest(parts)))
            }

            /// Reads an id that came from outside; `None` if it has another shape.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let suffix = text.strip_prefix($prefix)?;
                let ok = (1..=64).contains(&suffix.len()) && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric());
                ok.then(|| Self(text.to_owned()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// One accepted request's event; the same for every tenant that it names.
    EventId, "evt_"
);
id!(
    /// One incident of one scope.
    IncidentId, "inc_"
);
id!(
    /// A person who may be told.
    RecipientId, "rcp_"
);
id!(
    /// A Slack, Teams or webhook destination; also the identity behind an intake token, kept when the token is rotated.
    IntegrationId, "int_"
);
id!(
    /// An API token's public name (never the token).
    TokenId, "tok_"
);

/// The beginning of a recipient's id, by which it is known among those of its tenant: 25 bits, so two of a thousand share one
/// seldom, and then neither is meant.
#[must_use]
pub fn short_recipient(id: &str) -> &str {
    let suffix = id.strip_prefix(RecipientId::PREFIX).unwrap_or(id);
    suffix.get(..5).unwrap_or(suffix)
}

/// A short, stable, printable digest of `parts`: 26 characters of lower-case base 32, 130 bits of SHA-256. The parts are
/// length-prefixed, so that `["a","bc"]` and `["ab","c"]` differ.
#[must_use]
pub fn digest(parts: &[&str]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let hash = sha256(parts);
    let mut out = String::with_capacity(26);
    let (mut buffer, mut bits) = (0_u32, 0_u32);
    for byte in hash {
        buffer = (buffer << 8) | u32::from(byte);
        bits += 8;
        while bits >= 5 && out.len() < 26 {
            bits -= 5;
            let index = usize::try_from((buffer >> bits) & 31).unwrap_or(0);
            out.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'a')));
        }
    }
    out
}

/// SHA-256 over the length-prefixed parts.
#[must_use]
pub fn sha256(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

/// Which of `shards` a name falls into; the same for ever.
#[must_use]
pub fn shard_of(name: &str, shards: u16) -> u16 {
    let hash = sha256(&[name]);
    let [first, second, third, fourth, ..] = hash;
    let number = u32::from_be_bytes([first, second, third, fourth]);
    u16::try_from(number % u32::from(shards.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_ids_are_dns_labels() {
        for good in ["a", "acme", "acme-2", "0", &"x".repeat(63)] {
            assert!(TenantId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "Acme", "a_b", "a b", "ä", "*", "a#b", "a/b", &"x".repeat(64)] {
            assert_eq!(TenantId::parse(bad), Err(BadTenantId), "{bad}");
        }
    }

    #[test]
    fn a_digest_keeps_its_parts_apart_and_never_changes() {
        assert_ne!(digest(&["a", "bc"]), digest(&["ab", "c"]));
        assert_eq!(digest(&["acme"]).len(), 26);
        assert_eq!(digest(&["acme"]), digest(&["acme"]));
        assert_eq!(IncidentId::derived(&["x"]).as_str().len(), 30);
    }

    #[test]
    fn shards_are_stable() {
        // These three were computed once; if they change, every compiled subscription is in the wrong place.
        assert_eq!(
            ["acme", "globex", "initech"].map(|name| shard_of(name, SHARDS)),
            ["acme", "globex", "initech"].map(|name| TenantId::parse(name).unwrap().shard())
        );
        assert!((0..1000).map(|n| shard_of(&n.to_string(), SHARDS)).all(|shard| shard < SHARDS));
    }

    #[test]
    fn an_id_from_outside_has_its_prefix() {
        assert!(IncidentId::parse("inc_abc").is_some());
        for bad in ["abc", "inc_", "evt_abc", "inc_a#b", "inc_a/b"] {
            assert!(IncidentId::parse(bad).is_none(), "{bad}");
        }
    }
}
