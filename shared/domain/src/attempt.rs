//! What follows an attempt. Whose fault it was decides: a receiver's failure is scheduled here, an AWS fault never is.

use crate::health::TOO_LONG;
use crate::reason::Reason;
use crate::vocabulary::Channel;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Pauses before webhook attempts 2, 3, …, in seconds (Svix's schedule: 0 s, 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 10 h).
pub const WEBHOOK_PAUSES: &[u32] = &[5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
/// Pauses before e-mail and chat attempts 2, 3, …, in seconds.
pub const MESSAGE_PAUSES: &[u32] = &[5, 30, 120, 600, 1_800, 3_600];
/// Pauses before SMS attempts 2, 3, …, in seconds.
pub const SMS_PAUSES: &[u32] = &[5, 30, 120, 300];
/// The longest delay of a queue (SQS), in seconds.
pub const QUEUE_DELAY_MAX: u32 = 900;

/// The longest pause before an attempt that is spent on a queue, in seconds; after a longer one it comes off the due index, where it is asked
/// whether it is night by then. So to people it is a minute; machines know no hours.
#[must_use]
pub const fn pause_on_queue_max(channel: Channel) -> u32 {
    match channel {
        Channel::Webhook => QUEUE_DELAY_MAX,
        Channel::Email | Channel::Sms | Channel::Slack | Channel::Teams => 60,
    }
}
/// The least pause after a timeout or a 429 (Svix), in seconds.
pub const SLOW_DOWN: u32 = 60;

/// The cause of a number whose owner wants no text messages.
pub const OPTED_OUT: &str = "opted_out";

/// How an attempt failed, in the receiver's or the provider's terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The class of failure: `http_500`, `timeout`, `dns`, `tls`, `connect`, `reset`, `forbidden_address`, or a provider's
    /// code such as `no_service` or `MessageRejected`.
    pub cause: String,
    /// What the receiver asked for, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// True for a timeout or a 429: the receiver is asked more slowly.
    #[serde(default)]
    pub slow_down: bool,
    /// Whether trying again can help at all.
    pub verdict: Verdict,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Perhaps.
    Retry,
    /// This message never: refused for good.
    Refused,
    /// Nothing will ever be taken there: disable the destination (HTTP 410, Slack's permanent codes).
    Gone,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, then.
    Again {
        /// When it is due.
        at: Timestamp,
    },
    /// No more.
    GiveUp {
        /// Why.
        reason: Reason,
        /// Whether the destination is to be disabled.
        disable: bool,
    },
}

/// What follows failed attempt number `attempt` (from 1) on `channel`. `jitter` is drawn by the caller from `0.0..1.0` and
/// moves the pause by ±20 %, so that a thousand retries do not come back in the same second.
///
/// Retry-After is honoured between the pause and twice the pause (Svix), so that no receiver can park an alert for a day.
#[must_use]
pub fn next(channel: Channel, attempt: u32, failed: &Failed, now: Timestamp, jitter: f64) -> Next {
    match failed.verdict {
        Verdict::Gone => return Next::GiveUp { reason: Reason::EndpointDisabled, disable: true },
        Verdict::Refused => return Next::GiveUp { reason: refusal(failed), disable: false },
        Verdict::Retry => {}
    }
    let pauses = match channel {
        Channel::Webhook => WEBHOOK_PAUSES,
        Channel::Sms => SMS_PAUSES,
        Channel::Email | Channel::Slack | Channel::Teams => MESSAGE_PAUSES,
    };
    let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(&pause) = pauses.get(index) else {
        return Next::GiveUp { reason: Reason::GaveUp, disable: false };
    };
    let base = if failed.slow_down { pause.max(SLOW_DOWN) } else { pause };
    let seconds = match failed.retry_after {
        Some(asked) => f64::from(asked.clamp(base, base.saturating_mul(2))),
        None => f64::from(base) * (0.8 + 0.4 * jitter.clamp(0.0, 1.0)),
    };
    Next::Again { at: now.saturating_add(SignedDuration::from_secs_f64(seconds)).unwrap_or(now) }
}

/// Why a provider will never take it.
fn refusal(failed: &Failed) -> Reason {
    if failed.cause == OPTED_OUT { Reason::OptedOut } else { Reason::RefusedByProvider }
}

/// What follows a test alert's failed attempt: nothing. Whoever tests wants to know now, and a test neither disables an endpoint
/// nor tries for hours.
#[must_use]
pub fn after_test(failed: &Failed) -> Next {
    let reason = match failed.verdict {
        Verdict::Retry => Reason::GaveUp,
        Verdict::Refused | Verdict::Gone => refusal(failed),
    };
    Next::GiveUp { reason, disable: false }
}

/// What a failed attempt's cause means and what to do about it, for a tenant admin.
#[must_use]
pub fn meaning(cause: &str) -> (&'static str, &'static str) {
    match cause {
        "dns" => ("The host name does not resolve.", "Correct the host in the URL, or its DNS record."),
        "connect" => {
            ("Nobody answers at the endpoint's address.", "See that the service runs and that its firewall lets us in.")
        }
        "tls" => (
            "TLS failed.",
            "Install a certificate of a public authority, for this host name, unexpired and with its chain.",
        ),
        "timeout" => (
            "The endpoint did not answer in time.",
            "Answer with 2xx within 15 seconds at once, and do the work afterwards.",
        ),
        "reset" => ("The endpoint broke the connection off.", "Look into the receiver's and its proxy's log."),
        "protocol" => ("The endpoint does not answer in HTTP.", "Look into the receiver's and its proxy's log."),
        "forbidden_address" => {
            ("The URL leads to an address that is not public.", "Use a public https address; private ones are refused.")
        }
        TOO_LONG => (
            "It failed for five days, and took nothing.",
            "Mend the endpoint; its last failed attempt says what it met.",
        ),
        "http_400" | "http_422" => (
            "The receiver does not take the body.",
            "See in its log what it expects; Slack and Teams URLs belong to integrations of their own kind.",
        ),
        "http_401" | "http_403" => (
            "The receiver refused us.",
            "Check that it verifies the signature with this integration's secret over the body as it came.",
        ),
        "http_404" => ("There is nothing at that URL.", "Correct the URL, or make it anew in Slack or Teams."),
        "http_405" => ("The receiver takes no POST at that URL.", "Correct the URL, or let it take POST."),
        "http_410" => ("The receiver says that it is gone for good.", "Give the integration a new URL."),
        "http_413" => ("The message is too large for the receiver.", "Raise its limit to 256 KiB."),
        "http_429" => ("The receiver has too many messages.", "Raise its limit; it is tried again more slowly."),
        "no_service" | "no_service_id" | "invalid_token" | "no_active_hooks" | "no_team" | "team_disabled" => {
            ("Slack says that this webhook no longer exists.", "Make a new incoming webhook in Slack and save its URL.")
        }
        "channel_not_found" | "channel_is_archived" => {
            ("Slack says that the channel is gone or archived.", "Restore it, or make a webhook for another channel.")
        }
        "action_prohibited" | "posting_to_general_channel_denied" => {
            ("A Slack admin does not allow posts there.", "Ask that admin, or choose another channel.")
        }
        "invalid_blocks" => ("Slack took neither the rich nor the plain form.", "Tell support: this is ours to mend."),
        "RecipientNotVerified" => (
            "The SES account may only write to verified addresses yet.",
            "The operators must ask AWS to lift the SES sandbox.",
        ),
        "bounced" => (
            "The recipient's mail server refused it for good.",
            "Correct the address, or ask the recipient's mail admin to allow-list our sender; then have the address confirmed again.",
        ),
        "deferred" => (
            "The recipient's mail server has not taken it yet; the mail service tries again for hours.",
            "Ask the recipient's mail admin to allow-list our sender, and see that the mailbox is not full.",
        ),
        "rejected" => ("The mail service did not send it after all.", "Tell support: this is ours to mend."),
        "complained" => (
            "The recipient reported it as spam.",
            "Have the address confirmed again: only its owner, by the link, lifts this.",
        ),
        "opted_out" => ("The number has opted out of SMS.", "Have its owner text START, or use another number."),
        "dlt_registration_missing" => (
            "SMS to this country need a registered entity and template.",
            "Enter both under SMS compliance in the settings.",
        ),
        "url_not_usable" | "url_cannot_be_opened" | "secret_not_usable" => {
            ("The saved URL or secret cannot be used.", "Save the integration's URL and secret anew.")
        }
        cause if cause.starts_with("http_3") => {
            ("The receiver redirects, and redirects are not followed.", "Save the URL that it redirects to.")
        }
        cause if cause.starts_with("http_5") => ("The receiver failed.", "Look into the receiver's log."),
        cause if cause.starts_with("http_") => ("The receiver refused the message.", "Look into the receiver's log."),
        _ => ("The provider refused the message.", "Check the address or number; else tell support this code."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(verdict: Verdict) -> Failed {
        Failed { cause: "http_500".into(), retry_after: None, slow_down: false, verdict }
    }

    fn seconds(channel: Channel, attempt: u32, failed: &Failed, jitter: f64) -> Option<i64> {
        match next(channel, attempt, failed, Timestamp::UNIX_EPOCH, jitter) {
            Next::Again { at } => Some(at.as_second()),
            Next::GiveUp { .. } => None,
        }
    }

    #[test]
    fn a_test_is_tried_once_and_disables_nothing() {
        for (verdict, reason) in [
            (Verdict::Retry, Reason::GaveUp),
            (Verdict::Refused, Reason::RefusedByProvider),
            (Verdict::Gone, Reason::RefusedByProvider),
        ] {
            assert_eq!(after_test(&failed(verdict)), Next::GiveUp { reason, disable: false });
        }
    }

    #[test]
    fn every_cause_has_a_meaning_and_a_mend() {
        for cause in ["dns", "tls", "http_302", "http_404", "http_418", "http_503", "no_service", "MessageRejected"] {
            let (sentence, mend) = meaning(cause);
            assert!(sentence.ends_with('.') && mend.ends_with('.'), "{cause}");
        }
        assert_ne!(meaning("http_404"), meaning("http_418"));
    }

    #[test]
    fn a_webhook_has_eight_attempts_over_the_schedule() {
        let plan: Vec<_> = (1..=8).map(|n| seconds(Channel::Webhook, n, &failed(Verdict::Retry), 0.5)).collect();
        assert_eq!(
            plan,
            [Some(5), Some(300), Some(1_800), Some(7_200), Some(18_000), Some(36_000), Some(36_000), None]
        );
    }

    #[test]
    fn e_mail_chat_and_sms_have_theirs() {
        let plan = |channel| (1..=7).map(|n| seconds(channel, n, &failed(Verdict::Retry), 0.5)).collect::<Vec<_>>();
        let message = [Some(5), Some(30), Some(120), Some(600), Some(1_800), Some(3_600), None];
        assert_eq!(plan(Channel::Email), message);
        assert_eq!(plan(Channel::Slack), message);
        assert_eq!(plan(Channel::Sms), [Some(5), Some(30), Some(120), Some(300), None, None, None]);
    }

    #[test]
    fn jitter_is_twenty_percent_and_retry_after_is_honoured_within_bounds() {
        assert_eq!(seconds(Channel::Webhook, 2, &failed(Verdict::Retry), 0.0), Some(240));
        assert_eq!(seconds(Channel::Webhook, 2, &failed(Verdict::Retry), 1.0), Some(360));
        for (asked, got) in [(1, 300), (400, 400), (86_400, 600)] {
            let failed = Failed { retry_after: Some(asked), ..failed(Verdict::Retry) };
            assert_eq!(seconds(Channel::Webhook, 2, &failed, 0.3), Some(got));
        }
        let slow = Failed { slow_down: true, ..failed(Verdict::Retry) };
        assert_eq!(seconds(Channel::Webhook, 1, &slow, 0.5), Some(60));
    }

    #[test]
    fn gone_disables_and_refused_does_not() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(
            next(Channel::Slack, 1, &failed(Verdict::Gone), now, 0.5),
            Next::GiveUp { reason: Reason::EndpointDisabled, disable: true }
        );
        assert_eq!(
            next(Channel::Email, 1, &failed(Verdict::Refused), now, 0.5),
            Next::GiveUp { reason: Reason::RefusedByProvider, disable: false }
        );
    }
}
