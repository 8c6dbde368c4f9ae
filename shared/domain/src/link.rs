//! What the signed links in messages are for, and how long each works.

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
}
