//! What a delivery row says, and who may send now.
//!
//! Claim → send → mark. A claim carries a lease and a token; a mark without the token changes nothing. A row of a person is
//! a thread: one row per incident and channel, and a newer update ends the older ones. A row of a webhook is one per update.

use crate::reason::Reason;
use crate::vocabulary::{Channel, ChannelClass};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Claimed, not yet marked.
    Sending,
    /// An attempt failed; another is due.
    Retrying,
    /// The provider or the receiver took it. For e-mail and SMS that is not "delivered".
    Accepted,
    /// Over, without success.
    Failed,
}

/// Whether the first attempt of a delivery, by its row, is over: what follows it may begin, and waits for no retry.
#[must_use]
pub fn was_tried(row: Option<&Row>) -> bool {
    row.is_some_and(|row| row.attempts > 0 || row.state != State::Sending)
}

/// What a provider says of a message after it took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedbackKind {
    /// The recipient's mail server did not take it yet.
    Deferred,
    /// The recipient's mail server took it.
    Delivered,
    /// The provider did not send it after all.
    Rejected,
    /// The recipient's mail server will never take it.
    Bounced,
    /// The recipient reported it as spam.
    Complained,
    /// The phone's owner wants no text messages.
    OptedOut,
}

impl FeedbackKind {
    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deferred => "deferred",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Bounced => "bounced",
            Self::Complained => "complained",
            Self::OptedOut => "opted_out",
        }
    }

    /// Which of two counts: notifications come in any order.
    #[must_use]
    pub const fn weight(self) -> u8 {
        match self {
            Self::Deferred => 1,
            Self::Delivered => 2,
            Self::Rejected => 3,
            Self::Bounced => 4,
            Self::Complained => 5,
            Self::OptedOut => 6,
        }
    }

    /// Why nothing more is sent to the address or number, where that follows.
    #[must_use]
    pub const fn suppresses(self) -> Option<Reason> {
        match self {
            Self::Bounced => Some(Reason::SuppressedBounce),
            Self::Complained => Some(Reason::SuppressedComplaint),
            Self::OptedOut => Some(Reason::OptedOut),
            Self::Deferred | Self::Delivered | Self::Rejected => None,
        }
    }

    /// Why the delivery failed after all, where it did.
    #[must_use]
    pub const fn ends_with(self) -> Option<Reason> {
        match self {
            Self::Rejected => Some(Reason::RefusedByProvider),
            other => other.suppresses(),
        }
    }
}

/// What a provider said of an update's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// The update.
    pub update: u32,
    /// What it said.
    pub kind: FeedbackKind,
    /// When.
    pub at: Timestamp,
    /// In the words of the recipient's mail server.
    pub text: String,
}

/// A delivery row as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The newest update that was claimed.
    pub latest: u32,
    /// The newest update that is over (accepted or failed).
    #[serde(default)]
    pub done: u32,
    /// How `latest` stands.
    pub state: State,
    /// Attempts of `latest` that are over.
    #[serde(default)]
    pub attempts: u32,
    /// Until when the claimer may send, in epoch milliseconds; 0 when nobody does.
    #[serde(default)]
    pub lease_until_ms: i64,
    /// What the mark must present.
    #[serde(default)]
    pub token: String,
    /// The channel.
    pub channel: Channel,
    /// What the provider said later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
    /// When the next attempt is due, in epoch milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at_ms: Option<i64>,
    /// What the last attempt met: `http_500`, `timeout`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Why it is over, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The provider's id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Milliseconds from acceptance by intake to acceptance by the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<i64>,
    /// Whether that was longer than the tenant's alert window.
    #[serde(default)]
    pub late: bool,
}

/// Why a claim was not granted, and what its message is worth now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This update is over: the message may go.
    Done,
    /// A newer update took the thread: the message may go.
    Superseded {
        /// The newer update.
        by: u32,
    },
    /// Somebody is sending: come back when the lease ends.
    Leased {
        /// When the lease ends, in epoch milliseconds.
        until_ms: i64,
    },
    /// This attempt is over and another is due: whoever marked may have died before enqueueing it.
    AttemptOver {
        /// Attempts that are over.
        attempts: u32,
        /// When the next is due, in epoch milliseconds.
        next_at_ms: i64,
    },
}

/// Why attempt `attempt` (from 1) of `update` cannot be claimed on `row` now; `None` if it can.
#[must_use]
pub fn refusal(row: Option<&Row>, update: u32, attempt: u32, now_ms: i64) -> Option<Refusal> {
    let row = row?;
    if row.done >= update {
        return Some(if row.latest > update { Refusal::Superseded { by: row.latest } } else { Refusal::Done });
    }
    if row.latest > update {
        return Some(Refusal::Superseded { by: row.latest });
    }
    if row.lease_until_ms > now_ms {
        return Some(Refusal::Leased { until_ms: row.lease_until_ms });
    }
    if row.latest == update && row.attempts >= attempt {
        return Some(Refusal::AttemptOver { attempts: row.attempts, next_at_ms: row.next_at_ms.unwrap_or(now_ms) });
    }
    None
}

/// What came of an attempt before it was claimed now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Until when it was put off for its contact. A queue delivers a message twice now and then: the second one asks for no other place,
    /// or what is said of the first would be wrong.
    pub put_off: Option<Timestamp>,
    /// Whether somebody had it and died: perhaps it was sent, so nobody may say any more that it waits or never came.
    pub tried: bool,
}

/// Reads it off the row as it stood before the claim.
#[must_use]
pub fn before(row: Option<&Row>, update: u32, attempt: u32) -> Before {
    let Some(row) = row.filter(|row| row.latest == update && row.attempts + 1 == attempt) else {
        return Before::default();
    };
    let put_off = row.state == State::Retrying && row.reason == Some(Reason::Throttled);
    Before {
        put_off: row.next_at_ms.filter(|_| put_off).and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        // A claim that was given back unused has no lease.
        tried: row.state == State::Sending && row.lease_until_ms != 0,
    }
}

/// Whether it is our doing that a delivery came late. Only a first attempt says so; and of a tenant's endpoint, which may take long by
/// itself, one whose sending began late (`begun_late`) though its own gate (`slots`: moments that it handed out) did not hold it back.
#[must_use]
pub fn is_our_delay(channel: Channel, attempt: u32, slots: u32, begun_late: bool) -> bool {
    attempt == 1
        && match channel.class() {
            ChannelClass::Email | ChannelClass::Sms => true,
            ChannelClass::Chat | ChannelClass::Webhook => slots == 0 && begun_late,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(latest: u32, done: u32, lease: i64, attempts: u32) -> Row {
        Row {
            latest,
            done,
            state: State::Sending,
            attempts,
            lease_until_ms: lease,
            token: "t".into(),
            channel: Channel::Email,
            feedback: None,
            next_at_ms: Some(500),
            cause: None,
            reason: None,
            provider_id: None,
            at: None,
            latency_ms: None,
            late: false,
        }
    }

    #[test]
    fn what_follows_waits_for_a_first_attempt_and_for_no_retry() {
        assert!(!was_tried(None) && !was_tried(Some(&row(1, 0, 500, 0))));
        assert!(was_tried(Some(&row(1, 0, 500, 1))), "a retry is under way");
        assert!(was_tried(Some(&Row { state: State::Accepted, ..row(1, 1, 0, 0) })));
    }

    #[test]
    fn no_endpoint_makes_our_lateness() {
        for channel in [Channel::Webhook, Channel::Slack, Channel::Teams] {
            assert!(is_our_delay(channel, 1, 0, true));
            assert!(!is_our_delay(channel, 1, 0, false), "it took long itself");
            assert!(!is_our_delay(channel, 1, 1, true), "its gate was full");
            assert!(!is_our_delay(channel, 2, 0, true), "it failed before");
        }
        for channel in [Channel::Email, Channel::Sms] {
            assert!(is_our_delay(channel, 1, 0, false), "its provider is ours");
            assert!(!is_our_delay(channel, 2, 0, true));
        }
    }

    #[test]
    fn a_claim_is_granted_once_at_a_time_and_never_backwards() {
        let now = 100;
        assert_eq!(refusal(None, 1, 1, now), None, "no row yet");
        assert_eq!(refusal(Some(&row(1, 0, 90, 0)), 1, 1, now), None, "the lease has lapsed");
        assert_eq!(refusal(Some(&row(1, 0, 200, 0)), 1, 1, now), Some(Refusal::Leased { until_ms: 200 }));
        assert_eq!(refusal(Some(&row(1, 1, 0, 1)), 1, 1, now), Some(Refusal::Done));
        assert_eq!(refusal(Some(&row(2, 0, 0, 0)), 1, 1, now), Some(Refusal::Superseded { by: 2 }));
        assert_eq!(refusal(Some(&row(2, 2, 0, 1)), 1, 1, now), Some(Refusal::Superseded { by: 2 }));
        assert_eq!(refusal(Some(&row(1, 1, 0, 1)), 2, 1, now), None, "a newer update takes the thread");
        assert_eq!(
            refusal(Some(&row(1, 0, 200, 0)), 2, 1, now),
            Some(Refusal::Leased { until_ms: 200 }),
            "but not while the older one is being sent"
        );
        assert_eq!(
            refusal(Some(&row(1, 0, 0, 1)), 1, 1, now),
            Some(Refusal::AttemptOver { attempts: 1, next_at_ms: 500 })
        );
        assert_eq!(refusal(Some(&row(1, 0, 0, 1)), 1, 2, now), None, "the second attempt");
    }

    #[test]
    fn what_was_put_off_is_not_put_off_anew() {
        let put_off = Row { state: State::Retrying, reason: Some(Reason::Throttled), ..row(1, 0, 0, 0) };
        let at = Timestamp::from_millisecond(500).ok();
        let until = |row: &Row, update, attempt| before(Some(row), update, attempt).put_off;
        assert_eq!(until(&put_off, 1, 1), at);
        assert_eq!(until(&put_off, 2, 1), None, "a newer update asks for itself");
        assert_eq!(until(&Row { attempts: 1, ..put_off.clone() }, 1, 2), at);
        assert_eq!(until(&Row { attempts: 1, reason: None, ..put_off.clone() }, 1, 2), None, "a retry");
        assert_eq!(until(&Row { state: State::Sending, ..put_off }, 1, 1), None);
        assert_eq!(before(None, 1, 1), Before::default());
    }

    #[test]
    fn whoever_died_with_it_may_have_sent_it() {
        assert!(before(Some(&row(1, 0, 90, 0)), 1, 1).tried);
        assert!(!before(Some(&row(1, 0, 0, 0)), 1, 1).tried, "the claim was given back");
        assert!(!before(Some(&row(1, 0, 90, 0)), 2, 1).tried, "that was an older update");
        assert!(!before(Some(&Row { state: State::Retrying, ..row(1, 0, 90, 0) }), 1, 1).tried);
    }
}
