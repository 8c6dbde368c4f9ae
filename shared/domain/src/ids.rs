//! Ids. Each kind of id has a prefix, so that a log line shows what an id names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// The id of the operators' own tenant.
pub const OPERATORS: &str = "platform";

/// Number of subscription shards. It is a constant, because a change would move every compiled subscription.
pub const SHARDS: u16 = 64;

/// Number of shards of the due index.
pub const DUE_SHARDS: u16 = 64;

/// Number of schedules of `release`. Schedule `n` reads the shards `n`, `n + 8`, `n + 16` and so on. Release 0.1.0 had as many shards, and
/// of each destination both shards belong to the same schedule.
pub const DUE_SCHEDULES: u16 = 8;

/// The id of a tenant: `[a-z0-9-]{1,63}`, which fits a DNS label, a key and a URL path without escaping.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[a-z0-9-]{1,63}$"))]
pub struct TenantId(String);

/// The error for a text that is not a tenant id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tenant id must be 1 to 63 characters of a-z, 0-9 and '-'")]
pub struct InvalidTenantId;

impl TenantId {
    /// Parses a tenant id.
    ///
    /// # Errors
    /// [`InvalidTenantId`] if it is empty, longer than 63 characters, or has characters other than `a-z0-9-`.
    pub fn parse(text: &str) -> Result<Self, InvalidTenantId> {
        let ok = (1..=63).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if ok { Ok(Self(text.to_owned())) } else { Err(InvalidTenantId) }
    }

    /// Returns the id of the operators' own tenant.
    #[must_use]
    pub fn operators() -> Self {
        Self(OPERATORS.to_owned())
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the subscription shard of this tenant, `0..SHARDS`. It never changes.
    #[must_use]
    pub fn shard(&self) -> u16 {
        shard_of(&self.0, SHARDS)
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidTenantId;
    fn try_from(text: String) -> Result<Self, InvalidTenantId> {
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

/// The scope of an incident.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The whole platform: the incident goes to all tenants, each with its own settings.
    Platform,
    /// A single tenant, by its id.
    Tenant(TenantId),
}

impl Scope {
    /// Returns the tenant; `None` for the platform.
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
            /// The prefix of every id of this kind.
            pub const PREFIX: &'static str = $prefix;

            /// Creates an id from a suffix, usually a random one.
            #[must_use]
            pub fn new(suffix: &str) -> Self {
                Self(format!("{}{suffix}", $prefix))
            }

            /// Derives an id from `parts`. The same parts always give the same id.
            #[must_use]
            pub fn derived(parts: &[&str]) -> Self {
                Self(format!("{}{}", $prefix, short_hash(parts)))
            }

            /// Parses an id from outside: the prefix and 1 to 64 ASCII letters and digits. `None` if it is anything else.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let suffix = text.strip_prefix($prefix)?;
                let ok = (1..=64).contains(&suffix.len()) && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric());
                ok.then(|| Self(text.to_owned()))
            }

            /// Returns the id as text.
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
    /// The id of an event; the same for all tenants that the event names.
    EventId, "evt_"
);
id!(
    /// The id of an incident, which belongs to one scope.
    IncidentId, "inc_"
);
id!(
    /// The id of a recipient: a person who can receive alerts.
    RecipientId, "rcp_"
);
id!(
    /// The id of an integration: a Slack, Teams or webhook destination, or the source behind an intake token. Rotating the token keeps it.
    IntegrationId, "int_"
);
id!(
    /// The id of a suppression: derived from an address, which it does not reveal.
    SuppressionId, "sup_"
);
id!(
    /// The public id of an API token; never the token itself.
    TokenId, "tok_"
);

/// Returns the first five characters of a recipient's id, by which links name it within its tenant. They hold 25 bits, so two of a thousand
/// recipients rarely share them; if they do, neither matches.
#[must_use]
pub fn short_recipient_id(id: &str) -> &str {
    let suffix = id.strip_prefix(RecipientId::PREFIX).unwrap_or(id);
    suffix.get(..5).unwrap_or(suffix)
}

/// Hashes `parts` to 26 characters of lowercase base 32, which hold 130 bits of SHA-256. The parts are length-prefixed, so that
/// `["a","bc"]` and `["ab","c"]` differ.
#[must_use]
pub fn short_hash(parts: &[&str]) -> String {
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

/// Returns the SHA-256 of the length-prefixed parts.
#[must_use]
pub fn sha256(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

/// Returns the shard of a name, `0..shards`. It never changes.
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
            assert_eq!(TenantId::parse(bad), Err(InvalidTenantId), "{bad}");
        }
    }

    #[test]
    fn a_short_hash_separates_its_parts_and_is_stable() {
        assert_ne!(short_hash(&["a", "bc"]), short_hash(&["ab", "c"]));
        assert_eq!(short_hash(&["acme"]).len(), 26);
        assert_eq!(short_hash(&["acme"]), short_hash(&["acme"]));
        assert_eq!(IncidentId::derived(&["x"]).as_str().len(), 30);
    }

    #[test]
    fn shards_are_stable() {
        // If these change, every compiled subscription is in the wrong place.
        let shards = ["acme", "globex", "initech"].map(|name| TenantId::parse(name).unwrap().shard());
        assert_eq!(
            (shards, ["acme", "globex", "initech"].map(|name| shard_of(name, SHARDS))),
            ([51, 3, 1], [51, 3, 1])
        );
        assert!((0..1000).map(|n| shard_of(&n.to_string(), SHARDS)).all(|shard| shard < SHARDS));
    }

    #[test]
    fn both_shards_of_a_destination_belong_to_one_schedule() {
        for name in (0..1000).map(|number| format!("rcp_{number}#email")) {
            let (before, after) = (shard_of(&name, DUE_SCHEDULES), shard_of(&name, DUE_SHARDS));
            assert_eq!(
                before,
                after % DUE_SCHEDULES,
                "{name}: what an earlier release wrote is read by another schedule"
            );
        }
    }

    #[test]
    fn ids_from_outside_need_their_prefix_and_alphanumeric_characters() {
        assert!(IncidentId::parse("inc_abc").is_some());
        for bad in ["abc", "inc_", "evt_abc", "inc_a#b", "inc_a/b"] {
            assert!(IncidentId::parse(bad).is_none(), "{bad}");
        }
    }
}
