//! The suppression of an address for the whole stack: nothing is sent there, whichever tenant asks, until the owner of the address allows it
//! again or the platform lifts it.
//!
//! One tenant's complaint protects the owner from all of them. A tenant sees why its recipient gets nothing, and never whose mail it was.

use crate::ids::SuppressionId;
use crate::reason::Reason;
use crate::tenant::Email;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Shortest time between two e-mails that ask the owner of a suppressed address whether mail is welcome again.
pub const RESUBSCRIPTION_INTERVAL: SignedDuration = SignedDuration::from_hours(24);
/// Most such e-mails to one suppressed address, ever and from all tenants together.
pub const RESUBSCRIPTIONS_MAX: usize = 3;

/// Why nothing is sent to an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSuppression {
    /// `suppressed_bounce`, `suppressed_complaint` or `suppressed_by_owner`. The first one stays, unless the owner's own word comes later.
    pub reason: Reason,
    /// Since when.
    pub at: Timestamp,
    /// When its owner was asked whether mail is welcome again, ascending; at most [`RESUBSCRIPTIONS_MAX`].
    #[serde(default)]
    pub asked: Vec<Timestamp>,
    /// Increases by one with each write.
    pub version: u64,
}

/// Whether the owner of a suppressed address may be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resubscription {
    /// Now.
    Now,
    /// Not before this time.
    Later(Timestamp),
    /// Never: it was asked often enough.
    Never,
}

impl AddressSuppression {
    /// A new suppression, about which nobody has been asked.
    #[must_use]
    pub fn new(reason: Reason, at: Timestamp) -> Self {
        Self { reason, at, asked: Vec::new(), version: 1 }
    }

    /// Returns the suppression after the owner said so, if it had another reason. What was asked before still counts.
    #[must_use]
    pub fn replaced_by(&self, later: &Self) -> Option<Self> {
        let is_owners_word = later.reason == Reason::SuppressedByOwner && self.reason != later.reason;
        is_owners_word.then(|| Self {
            reason: later.reason,
            at: later.at,
            asked: self.asked.clone(),
            version: self.version + 1,
        })
    }

    /// Returns whether the owner may be asked at `now`.
    #[must_use]
    pub fn may_ask(&self, now: Timestamp) -> Resubscription {
        if self.asked.len() >= RESUBSCRIPTIONS_MAX {
            return Resubscription::Never;
        }
        let next = self.asked.last().and_then(|last| last.checked_add(RESUBSCRIPTION_INTERVAL).ok());
        next.filter(|next| *next > now).map_or(Resubscription::Now, Resubscription::Later)
    }

    /// Returns the suppression after its owner was asked at `now`.
    #[must_use]
    pub fn asked_at(&self, now: Timestamp) -> Self {
        let mut after = self.clone();
        after.asked.push(now);
        after.version += 1;
        after
    }
}

impl SuppressionId {
    /// The id of the suppression of an address, whoever wrote it and whether or not it is suppressed. Spellings of one mailbox share it;
    /// tags and dots do not, for they may be another person's.
    #[must_use]
    pub fn of(address: &Email) -> Self {
        Self::derived(&["suppressed", &address.identity()])
    }
}

/// Whether the reason is one for which an address is suppressed.
#[must_use]
pub const fn suppresses_addresses(reason: Reason) -> bool {
    matches!(reason, Reason::SuppressedBounce | Reason::SuppressedComplaint | Reason::SuppressedByOwner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3_600).unwrap()
    }

    #[test]
    fn an_owner_is_asked_once_a_day_and_three_times_ever() {
        let mut suppression = AddressSuppression::new(Reason::SuppressedComplaint, at(0));
        assert_eq!(suppression.may_ask(at(0)), Resubscription::Now);
        suppression = suppression.asked_at(at(1));
        assert_eq!(suppression.may_ask(at(2)), Resubscription::Later(at(25)));
        assert_eq!(suppression.may_ask(at(25)), Resubscription::Now);
        suppression = suppression.asked_at(at(25)).asked_at(at(50));
        assert_eq!(suppression.may_ask(at(90_000)), Resubscription::Never);
        assert_eq!(suppression.version, 4);
    }

    #[test]
    fn only_the_owners_word_replaces_a_reason_and_what_was_asked_still_counts() {
        let bounced = AddressSuppression::new(Reason::SuppressedBounce, at(0)).asked_at(at(1));
        assert_eq!(bounced.replaced_by(&AddressSuppression::new(Reason::SuppressedComplaint, at(2))), None);
        let never = bounced.replaced_by(&AddressSuppression::new(Reason::SuppressedByOwner, at(2))).unwrap();
        assert_eq!((never.reason, never.at, never.version), (Reason::SuppressedByOwner, at(2), 3));
        assert_eq!(never.asked, [at(1)]);
        assert_eq!(never.replaced_by(&never), None);
    }

    #[test]
    fn an_id_is_of_one_mailbox_and_reveals_nothing() {
        let id = |text: &str| SuppressionId::of(&Email::parse(text).unwrap());
        assert_eq!(id("Ops@Example.com"), id("ops@example.COM"));
        assert_ne!(id("ops+1@example.com"), id("ops@example.com"));
        assert!(SuppressionId::parse(id("ops@example.com").as_str()).is_some());
    }
}
