//! The delivery row: the state of a delivery, and whether an attempt may be claimed.
//!
//! Every attempt is claimed, sent and marked. A claim carries a lease and a token; a mark without the token changes nothing. Recipients and
//! chat channels have one row per incident and channel, in which a newer update supersedes older ones. Webhooks have one row per update.

mod records;
mod write;

pub use records::{
    AttemptKey, ConfirmationMessage, DeliveryResult, FailedAttempt, HistoryEntry, ProviderMessage, SentMessage,
};
pub use write::{ABANDONED_AFTER_MS, RowRefusal, RowWrite};

use crate::plan::Thread;
use crate::reason::Reason;
use crate::vocabulary::{Channel, ChannelClass};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Its message is on its queue, and no attempt is claimed: it was held before, or waits there for a short time.
    Queued,
    /// An attempt is claimed and not marked yet.
    Sending,
    /// It waits: it is held, or an attempt failed or was deferred and another is scheduled.
    Retrying,
    /// The provider or the receiver accepted it. For e-mail and SMS that does not mean delivered.
    Accepted,
    /// The delivery failed, and no further attempt follows.
    Failed,
}

/// Returns whether the first attempt of a delivery is over. The next update of a webhook waits for that, but not for retries.
#[must_use]
pub fn is_first_attempt_over(row: Option<&DeliveryRow>) -> bool {
    row.is_some_and(|row| row.attempts > 0 || !matches!(row.state, DeliveryState::Queued | DeliveryState::Sending))
}

/// What a provider reports about a message after it accepted the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedbackKind {
    /// The recipient's mail server has not accepted it yet.
    Deferred,
    /// The recipient's mail server accepted it.
    Delivered,
    /// The provider did not send it.
    Rejected,
    /// The recipient's mail server rejected it permanently.
    Bounced,
    /// The recipient reported it as spam.
    Complained,
    /// The owner of the phone opted out of SMS.
    OptedOut,
}

impl FeedbackKind {
    /// Returns the code in metrics, such as `bounced`.
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

    /// Returns the rank among reports on one message; the highest counts. Reports arrive in any order.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Deferred => 1,
            Self::Delivered => 2,
            Self::Rejected => 3,
            Self::Bounced => 4,
            Self::Complained => 5,
            Self::OptedOut => 6,
        }
    }

    /// Returns why nothing more is sent to the address or number; `None` if sending goes on.
    #[must_use]
    pub const fn suppression_reason(self) -> Option<Reason> {
        match self {
            Self::Bounced => Some(Reason::SuppressedBounce),
            Self::Complained => Some(Reason::SuppressedComplaint),
            Self::OptedOut => Some(Reason::OptedOut),
            Self::Deferred | Self::Delivered | Self::Rejected => None,
        }
    }

    /// Returns why the delivery failed; `None` if it did not.
    #[must_use]
    pub const fn failure_reason(self) -> Option<Reason> {
        match self {
            Self::Rejected => Some(Reason::RefusedByProvider),
            other => other.suppression_reason(),
        }
    }
}

/// A provider's report about the message of one update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderFeedback {
    /// Number of the update within its incident.
    pub update: u32,
    /// The outcome that the provider reported.
    pub kind: FeedbackKind,
    /// When the provider reported it.
    pub at: Timestamp,
    /// The reply of the recipient's mail server, verbatim.
    pub text: String,
}

/// What the sort key of a row begins with, in the partition of its incident and tenant.
const THREAD_ROW: &str = "THREAD#";
const WEBHOOK_ROW: &str = "HOOK#";

/// Returns the sort key of a delivery's row. E-mail, SMS and chat have one row for all updates of an incident, a webhook has one per update.
#[must_use]
pub fn delivery_row_key(destination: &str, channel: Channel, update: u32) -> String {
    match channel {
        Channel::Webhook => format!("{WEBHOOK_ROW}{destination}#{update:06}"),
        _ => format!("{THREAD_ROW}{destination}#{channel}"),
    }
}

/// Returns the destination in the sort key of a row.
#[must_use]
pub fn destination_of_row(row: &str) -> &str {
    row.split('#').nth(1).unwrap_or_default()
}

/// Returns the destination and the channel of a row that is for all updates of an incident; `None` for another sort key.
#[must_use]
pub fn thread_of_row(row: &str) -> Option<Thread> {
    let (destination, channel) = row.strip_prefix(THREAD_ROW)?.rsplit_once('#')?;
    Some((destination.to_owned(), Channel::parse(channel)?))
}

/// A delivery row as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// The newest update that was claimed.
    pub latest: u32,
    /// The newest update that is over (accepted or failed).
    #[serde(default)]
    pub done: u32,
    /// The newest update that was accepted, or that an accepted bundle counts; 0 if there is none.
    #[serde(default)]
    pub notified: u32,
    /// The newest update of which an attempt failed, or was claimed by a function that died; it may have arrived nevertheless. 0 if there is
    /// none.
    #[serde(default)]
    pub tried: u32,
    /// The state of `latest`.
    pub state: DeliveryState,
    /// Attempts of `latest` that are over.
    #[serde(default)]
    pub attempts: u32,
    /// When the claim's lease expires, in Unix milliseconds; 0 if there is no claim.
    #[serde(default)]
    pub lease_until_ms: i64,
    /// The token of the claim, which its mark must present.
    #[serde(default)]
    pub token: String,
    /// The channel of the delivery.
    pub channel: Channel,
    /// The provider's report that counts; `None` until there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<ProviderFeedback>,
    /// When the next attempt is due, in Unix milliseconds; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at_ms: Option<i64>,
    /// The cause of the last attempt's failure, such as `http_500` or `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Why the delivery failed or is deferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The message id that the provider assigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// When the last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Milliseconds from acceptance by intake to acceptance by the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<i64>,
    /// Whether the latency exceeded the tenant's alert window.
    #[serde(default)]
    pub late: bool,
}

/// Why a claim was refused, and what becomes of its queue message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimRefusal {
    /// The update is done; the queue message can be deleted.
    Done {
        /// The token of the claim that sent it; `None` if it was not accepted, or its row is gone.
        accepted_by: Option<String>,
    },
    /// A newer update superseded it; the queue message can be deleted.
    Superseded {
        /// Number of the newer update.
        by: u32,
    },
    /// Another claim is active; try again when its lease expires.
    Leased {
        /// When the lease expires, in Unix milliseconds.
        until_ms: i64,
    },
    /// The attempt is over and the next one is scheduled. The function may have died after the mark, before it enqueued that attempt.
    AttemptOver {
        /// Number of attempts that are over.
        attempts: u32,
        /// When the next attempt is due, in Unix milliseconds.
        next_at_ms: i64,
    },
}

/// Returns why attempt `attempt` (from 1) of `update` cannot be claimed at `now_ms`; `None` if it can.
#[must_use]
pub fn claim_refusal(row: Option<&DeliveryRow>, update: u32, attempt: u32, now_ms: i64) -> Option<ClaimRefusal> {
    let row = row?;
    if row.done >= update {
        return Some(if row.latest > update {
            ClaimRefusal::Superseded { by: row.latest }
        } else {
            let accepted = row.state == DeliveryState::Accepted;
            ClaimRefusal::Done { accepted_by: accepted.then(|| row.token.clone()) }
        });
    }
    if row.latest > update {
        return Some(ClaimRefusal::Superseded { by: row.latest });
    }
    if row.lease_until_ms > now_ms {
        return Some(ClaimRefusal::Leased { until_ms: row.lease_until_ms });
    }
    if row.latest == update && row.attempts >= attempt {
        return Some(ClaimRefusal::AttemptOver {
            attempts: row.attempts,
            next_at_ms: row.next_at_ms.unwrap_or(now_ms),
        });
    }
    None
}

/// What an earlier claim of the same attempt left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EarlierClaim {
    /// Until when the rate limit of the contact deferred the attempt. A queue may deliver a message twice; the second one must keep the
    /// slot of the first.
    pub deferred_until: Option<Timestamp>,
    /// Why it waits in the due index, from which only `release` takes it; `None` if it waits on its queue or not at all. Whatever else brings
    /// its message is a copy.
    pub due_reason: Option<Reason>,
    /// The token of an earlier claimant who may have sent it before its lease expired. It can then no longer be reported as deferred or
    /// skipped.
    pub may_have_sent: Option<String>,
}

impl EarlierClaim {
    /// Returns how many attempts were made when attempt number `attempt` is not made any more: one more if an earlier claimant may have
    /// made it.
    #[must_use]
    pub fn attempts_made(&self, attempt: u32) -> u32 {
        if self.may_have_sent.is_some() { attempt } else { attempt.saturating_sub(1) }
    }
}

/// Reads what an earlier claim left behind from the row as it was before this claim.
#[must_use]
pub fn earlier_claim(row: Option<&DeliveryRow>, update: u32, attempt: u32) -> EarlierClaim {
    let Some(row) = row.filter(|row| row.latest == update && row.attempts + 1 == attempt) else {
        return EarlierClaim::default();
    };
    let waited = matches!(row.state, DeliveryState::Retrying | DeliveryState::Queued);
    let deferred = waited && matches!(row.reason, Some(Reason::Throttled | Reason::ProviderLimit));
    // Whatever it waits for: a retry has no reason. What release puts on a queue is queued.
    let due_reason = row.reason.filter(|_| row.state == DeliveryState::Retrying);
    // A failed attempt is over, so that only a claimant who died can have tried the first one.
    let may_have_sent = row.has_unsettled_claim() || (attempt == 1 && row.tried >= update);
    EarlierClaim {
        deferred_until: row
            .next_at_ms
            .filter(|_| deferred || due_reason.is_some())
            .and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        due_reason,
        may_have_sent: may_have_sent.then(|| row.token.clone()),
    }
}

/// Returns whether a late delivery counts as Tocsin's delay, for the latency alarm.
///
/// Only first attempts count. The endpoint of a tenant may be slow itself, so for chat and webhooks the sending must have started late
/// (`started_late`) although the endpoint's own rate limiter did not delay it (`waited`).
#[must_use]
pub fn counts_as_our_delay(channel: Channel, attempt: u32, waited: bool, started_late: bool) -> bool {
    attempt == 1
        && match channel.class() {
            ChannelClass::Email | ChannelClass::Sms => true,
            ChannelClass::Chat | ChannelClass::Webhook => !waited && started_late,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(latest: u32, done: u32, lease: i64, attempts: u32) -> DeliveryRow {
        DeliveryRow {
            latest,
            done,
            notified: 0,
            tried: 0,
            state: DeliveryState::Sending,
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
    fn the_first_attempt_is_over_before_its_retries_are() {
        assert!(!is_first_attempt_over(None) && !is_first_attempt_over(Some(&row(1, 0, 500, 0))));
        assert!(is_first_attempt_over(Some(&row(1, 0, 500, 1))), "a retry is in progress");
        assert!(is_first_attempt_over(Some(&DeliveryRow { state: DeliveryState::Accepted, ..row(1, 1, 0, 0) })));
    }

    #[test]
    fn a_slow_endpoint_is_not_our_delay() {
        for channel in [Channel::Webhook, Channel::Slack, Channel::Teams] {
            assert!(counts_as_our_delay(channel, 1, false, true));
            assert!(!counts_as_our_delay(channel, 1, false, false), "the endpoint is slow");
            assert!(!counts_as_our_delay(channel, 1, true, true), "its rate limiter delayed it");
            assert!(!counts_as_our_delay(channel, 2, false, true), "an earlier attempt failed");
        }
        for channel in [Channel::Email, Channel::Sms] {
            assert!(counts_as_our_delay(channel, 1, false, false), "the provider is part of our path");
            assert!(!counts_as_our_delay(channel, 2, false, true));
        }
    }

    #[test]
    fn one_claim_is_active_at_a_time_and_never_for_an_older_update() {
        let now = 100;
        assert_eq!(claim_refusal(None, 1, 1, now), None, "no row yet");
        assert_eq!(claim_refusal(Some(&row(1, 0, 90, 0)), 1, 1, now), None, "the lease has expired");
        assert_eq!(claim_refusal(Some(&row(1, 0, 200, 0)), 1, 1, now), Some(ClaimRefusal::Leased { until_ms: 200 }));
        let accepted = DeliveryRow { state: DeliveryState::Accepted, ..row(1, 1, 0, 1) };
        let failed = DeliveryRow { state: DeliveryState::Failed, ..row(1, 1, 0, 1) };
        let done = |row: &DeliveryRow| claim_refusal(Some(row), 1, 1, now);
        assert_eq!(done(&accepted), Some(ClaimRefusal::Done { accepted_by: Some("t".to_owned()) }));
        assert_eq!(done(&failed), Some(ClaimRefusal::Done { accepted_by: None }));
        assert_eq!(claim_refusal(Some(&row(2, 0, 0, 0)), 1, 1, now), Some(ClaimRefusal::Superseded { by: 2 }));
        assert_eq!(claim_refusal(Some(&row(2, 2, 0, 1)), 1, 1, now), Some(ClaimRefusal::Superseded { by: 2 }));
        assert_eq!(claim_refusal(Some(&row(1, 1, 0, 1)), 2, 1, now), None, "a newer update supersedes the older one");
        assert_eq!(
            claim_refusal(Some(&row(1, 0, 200, 0)), 2, 1, now),
            Some(ClaimRefusal::Leased { until_ms: 200 }),
            "not while the older one is being sent"
        );
        assert_eq!(
            claim_refusal(Some(&row(1, 0, 0, 1)), 1, 1, now),
            Some(ClaimRefusal::AttemptOver { attempts: 1, next_at_ms: 500 })
        );
        assert_eq!(claim_refusal(Some(&row(1, 0, 0, 1)), 1, 2, now), None, "the second attempt");
    }

    #[test]
    fn a_deferred_attempt_keeps_its_slot() {
        let deferred_for =
            |reason| DeliveryRow { state: DeliveryState::Retrying, reason: Some(reason), ..row(1, 0, 0, 0) };
        let deferred = deferred_for(Reason::Throttled);
        let at = Timestamp::from_millisecond(500).ok();
        let until = |row: &DeliveryRow, update, attempt| earlier_claim(Some(row), update, attempt).deferred_until;
        assert_eq!(until(&deferred, 1, 1), at);
        assert_eq!(until(&deferred_for(Reason::ProviderLimit), 1, 1), at);
        assert_eq!(until(&deferred_for(Reason::QuietHours), 1, 1), at);
        let due = |row: &DeliveryRow| earlier_claim(Some(row), 1, 1).due_reason;
        assert_eq!(due(&deferred_for(Reason::QuietHours)), Some(Reason::QuietHours));
        assert_eq!(due(&DeliveryRow { state: DeliveryState::Queued, ..deferred.clone() }), None, "release queued it");
        assert_eq!(until(&deferred, 2, 1), None, "a newer update reserves its own slot");
        assert_eq!(until(&DeliveryRow { attempts: 1, ..deferred.clone() }, 1, 2), at);
        assert_eq!(until(&DeliveryRow { attempts: 1, reason: None, ..deferred.clone() }, 1, 2), None, "a retry");
        assert_eq!(until(&DeliveryRow { state: DeliveryState::Sending, ..deferred }, 1, 1), None);
        assert_eq!(earlier_claim(None, 1, 1), EarlierClaim::default());
    }

    #[test]
    fn an_expired_lease_means_it_may_have_been_sent() {
        let by = |row: DeliveryRow, update| earlier_claim(Some(&row), update, 1).may_have_sent;
        assert_eq!(by(row(1, 0, 90, 0), 1).as_deref(), Some("t"));
        assert_eq!(by(row(1, 0, 0, 0), 1), None, "the claim was released");
        assert_eq!(by(row(1, 0, 90, 0), 2), None, "that was an older update");
        assert_eq!(by(DeliveryRow { state: DeliveryState::Retrying, ..row(1, 0, 90, 0) }, 1), None);
    }
}
