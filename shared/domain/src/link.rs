//! What the signed links in messages are for, and how long each works.

use crate::ids::{IncidentId, TenantId};
use jiff::{SignedDuration, Timestamp};

/// What a signed link is for. A link of one purpose does nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPurpose {
    /// Shows an incident, and lets the reader of a text message stop notifications about it.
    Read,
    /// Stops notifications about one incident.
    Stop,
    /// Unsubscribes an address from a category.
    Unsubscribe,
    /// Confirms an address.
    Confirm,
    /// Allows e-mail to a suppressed or unsubscribed address again.
    Resubscribe,
    /// Suppresses an address for the whole stack, because its owner does not want to be asked.
    Never,
}

impl LinkPurpose {
    /// Every purpose.
    pub const ALL: &[Self] =
        &[Self::Read, Self::Stop, Self::Unsubscribe, Self::Confirm, Self::Resubscribe, Self::Never];

    /// Returns the purpose as it is signed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Stop => "stop",
            Self::Unsubscribe => "unsubscribe",
            Self::Confirm => "confirm",
            Self::Resubscribe => "resubscribe",
            Self::Never => "never",
        }
    }

    /// Returns the path of its page.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Read => "/read",
            Self::Stop => "/stop",
            Self::Unsubscribe => "/unsubscribe",
            Self::Confirm => "/confirm",
            Self::Resubscribe => "/resubscribe",
            Self::Never => "/never",
        }
    }

    /// Returns how long a link works. An incident is closed long before 90 days; mail clients offer to unsubscribe for as long as they show a
    /// message, and 400 days are more than a year of it.
    #[must_use]
    pub const fn lifetime(self) -> SignedDuration {
        match self {
            Self::Confirm | Self::Resubscribe => crate::contact::CONFIRMATION_LIFETIME,
            Self::Read | Self::Stop => SignedDuration::from_hours(90 * 24),
            Self::Unsubscribe | Self::Never => SignedDuration::from_hours(400 * 24),
        }
    }
}

/// The path of the page that a short link opens; its token follows.
pub const SHORT_READ_PATH: &str = "/r/";
/// Bytes that hold the 26 letters of an incident's id, each five bits.
const INCIDENT_BYTES: usize = 17;
/// The letters of ids, in the order of their values.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What a text message's link to an incident says, in few bytes: one part of a text message has room for 160 characters in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortRead {
    /// The incident.
    pub incident: IncidentId,
    /// The tenant whose reader it is; `None` for a tenant's own incident, which says it.
    pub tenant: Option<TenantId>,
    /// By which the reader is found among the tenant's recipients.
    pub reader: u32,
    /// The last day on which it works, in days since 1970-01-01.
    pub last_day: u16,
}

impl ShortRead {
    /// Encodes it as bytes; `None` for an incident id that is not 26 letters of base 32.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let letters = self.incident.as_str().strip_prefix(IncidentId::PREFIX)?.as_bytes();
        if letters.len() != 26 {
            return None;
        }
        let (mut bytes, mut buffer, mut bits) = (Vec::with_capacity(32), 0_u32, 0_u32);
        for letter in letters {
            let value = LETTERS.iter().position(|known| known == letter)?;
            buffer = buffer << 5 | u32::try_from(value).ok()?;
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                bytes.push(u8::try_from(buffer >> bits & 0xff).ok()?);
            }
        }
        bytes.push(u8::try_from(buffer << (8 - bits) & 0xff).ok()?);
        bytes.extend_from_slice(&self.reader.to_be_bytes());
        bytes.extend_from_slice(&self.last_day.to_be_bytes());
        bytes.extend_from_slice(self.tenant.as_ref().map_or("", TenantId::as_str).as_bytes());
        Some(bytes)
    }

    /// Reverses [`ShortRead::encode`]; `None` for other bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (incident, rest) = bytes.split_first_chunk::<INCIDENT_BYTES>()?;
        let (reader, rest) = rest.split_first_chunk::<4>()?;
        let (last_day, tenant) = rest.split_first_chunk::<2>()?;
        let (mut letters, mut buffer, mut bits) = (String::with_capacity(26), 0_u32, 0_u32);
        for byte in incident {
            buffer = buffer << 8 | u32::from(*byte);
            bits += 8;
            while bits >= 5 && letters.len() < 26 {
                bits -= 5;
                letters.push(char::from(*LETTERS.get(usize::try_from(buffer >> bits & 31).ok()?)?));
            }
        }
        let tenant = match tenant {
            [] => None,
            text => Some(TenantId::parse(std::str::from_utf8(text).ok()?).ok()?),
        };
        Some(Self {
            incident: IncidentId::new(&letters),
            tenant,
            reader: u32::from_be_bytes(*reader),
            last_day: u16::from_be_bytes(*last_day),
        })
    }
}

/// Returns the last day (days since 1970-01-01, UTC) on which a link of this purpose works that is made at `now`. Days are short in a text
/// message.
#[must_use]
pub fn expiry_day(purpose: LinkPurpose, now: Timestamp) -> i64 {
    (now.as_second() + purpose.lifetime().as_secs()).div_euclid(86_400)
}

/// Whether a link still works at `now` that says `last_day`; `false` for a text that is no day.
#[must_use]
pub fn is_alive(last_day: &str, now: Timestamp) -> bool {
    last_day.parse::<i64>().is_ok_and(|day| now.as_second().div_euclid(86_400) <= day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_works_for_its_whole_life_and_not_much_longer() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        for (purpose, days) in [(LinkPurpose::Stop, 90), (LinkPurpose::Read, 90), (LinkPurpose::Unsubscribe, 400)] {
            let made = 1_000_000_000;
            let last = expiry_day(purpose, at(made)).to_string();
            assert!(is_alive(&last, at(made)) && is_alive(&last, at(made + days * 86_400)), "{purpose:?}");
            assert!(!is_alive(&last, at(made + (days + 1) * 86_400)), "{purpose:?}");
        }
        assert!(!is_alive("", at(0)) && !is_alive("x", at(0)));
    }

    #[test]
    fn a_short_link_says_in_few_bytes_what_it_is_for() {
        for tenant in [None, TenantId::parse("acme").ok(), TenantId::parse(&"x".repeat(63)).ok()] {
            let read =
                ShortRead { incident: IncidentId::derived(&["x"]), tenant, reader: 0xdead_beef, last_day: 20_500 };
            let bytes = read.encode().unwrap();
            assert_eq!(bytes.len(), 23 + read.tenant.as_ref().map_or(0, |tenant| tenant.as_str().len()));
            assert_eq!(ShortRead::decode(&bytes), Some(read));
            assert_eq!(ShortRead::decode(&bytes[..22]), None);
        }
        let other =
            |id: &str| ShortRead { incident: IncidentId::new(id), tenant: None, reader: 0, last_day: 0 }.encode();
        assert_eq!((other("abc"), other(&"A".repeat(26))), (None, None), "ids of another form keep the long link");
    }
}
