//! What follows a delivery attempt: a retry at a certain time, or giving up.
//!
//! Only failures of a receiver or provider are handled here. Faults of AWS leave the message in its queue.

use crate::reason::Reason;
use crate::vocabulary::Channel;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Delays before webhook attempts 2, 3, …, in seconds (Svix's schedule: 0 s, 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 10 h).
pub const WEBHOOK_RETRY_DELAYS: &[u32] = &[5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
/// Delays before e-mail and chat attempts 2, 3, …, in seconds.
pub const MESSAGE_RETRY_DELAYS: &[u32] = &[5, 30, 120, 600, 1_800, 3_600];
/// Delays before SMS attempts 2, 3, …, in seconds.
pub const SMS_RETRY_DELAYS: &[u32] = &[5, 30, 120, 300];
/// The longest message delay that SQS supports, in seconds.
pub const QUEUE_DELAY_MAX: u32 = 900;

/// Returns the longest retry delay that is spent on a queue, in seconds. A longer one is spent in the due index.
///
/// Deliveries from the due index are checked against quiet hours again, those from a queue are not. So people's deliveries spend at most a
/// minute on a queue; webhooks have no quiet hours.
#[must_use]
pub const fn queue_delay_max(channel: Channel) -> u32 {
    match channel {
        Channel::Webhook => QUEUE_DELAY_MAX,
        Channel::Email | Channel::Sms | Channel::Slack | Channel::Teams => 60,
    }
}

/// The shortest retry delay after a timeout or a 429, in seconds, before it is varied by ±20 % (Svix has the same minute).
pub const SLOW_DOWN_DELAY_MIN: u32 = 60;

/// The cause recorded for a confirmation code that was sealed by a data key that is deleted: it was on its way for too long.
pub const CAUSE_CODE_LOST: &str = "code_lost";

/// The cause recorded when an endpoint is disabled because every delivery failed for too long ([`crate::health::DISABLE_AFTER`]).
pub const FAILING_TOO_LONG: &str = "failing_too_long";

/// How an attempt failed, as the receiver or the provider reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptFailure {
    /// The class of failure: `http_500`, `timeout`, `dns`, `tls`, `connect`, `reset`, `forbidden_address`, or a provider's
    /// code such as `no_service` or `MessageRejected`.
    pub cause: String,
    /// The `Retry-After` of the receiver, in seconds; `None` if it sent none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// Whether retries must slow down: after a timeout or a 429.
    #[serde(default)]
    pub slow_down: bool,
    /// Whether a retry can help.
    pub verdict: RetryVerdict,
}

/// Whether a retry can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryVerdict {
    /// A retry may succeed.
    Retry,
    /// The message was refused permanently.
    Refused,
    /// The destination no longer exists and is to be disabled (HTTP 410, Slack's permanent codes).
    Gone,
}

/// What follows a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Another attempt is scheduled.
    Retry {
        /// When the next attempt is due.
        at: Timestamp,
    },
    /// No further attempt follows.
    GiveUp {
        /// Why the delivery ends.
        reason: Reason,
        /// Whether the destination is to be disabled.
        disable: bool,
    },
}

/// Decides what follows failed attempt number `attempt` (from 1) on `channel`.
///
/// The caller draws `jitter` from `0.0..1.0`; it changes the delay by up to ±20 %, so that a thousand retries do not arrive in the same
/// second. `Retry-After` is honored between the delay and twice the delay (Svix), so that no receiver can postpone an alert for a day.
#[must_use]
pub fn decide_next_step(
    channel: Channel,
    attempt: u32,
    failed: &AttemptFailure,
    now: Timestamp,
    jitter: f64,
) -> NextStep {
    match failed.verdict {
        RetryVerdict::Gone => return NextStep::GiveUp { reason: Reason::EndpointDisabled, disable: true },
        RetryVerdict::Refused => return NextStep::GiveUp { reason: refusal_reason(failed), disable: false },
        RetryVerdict::Retry => {}
    }
    let delays = match channel {
        Channel::Webhook => WEBHOOK_RETRY_DELAYS,
        Channel::Sms => SMS_RETRY_DELAYS,
        Channel::Email | Channel::Slack | Channel::Teams => MESSAGE_RETRY_DELAYS,
    };
    let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(&delay) = delays.get(index) else {
        return NextStep::GiveUp { reason: Reason::GaveUp, disable: false };
    };
    let base = if failed.slow_down { delay.max(SLOW_DOWN_DELAY_MIN) } else { delay };
    let seconds = match failed.retry_after {
        Some(requested) => f64::from(requested.clamp(base, base.saturating_mul(2))),
        None => f64::from(base) * (0.8 + 0.4 * jitter.clamp(0.0, 1.0)),
    };
    NextStep::Retry { at: now.saturating_add(SignedDuration::from_secs_f64(seconds)).unwrap_or(now) }
}

/// Reasons for which a contact refuses every further message, as a cause names them.
const CONTACT_REFUSALS: [Reason; 4] =
    [Reason::OptedOut, Reason::SuppressedBounce, Reason::SuppressedComplaint, Reason::SuppressedByOwner];

impl AttemptFailure {
    /// Returns why the contact gets nothing more; `None` if another message may be accepted.
    #[must_use]
    pub fn contact_refusal(&self) -> Option<Reason> {
        let refused = self.verdict == RetryVerdict::Refused;
        CONTACT_REFUSALS.into_iter().find(|reason| refused && reason.as_str() == self.cause)
    }
}

/// Returns the reason for a permanent refusal. Where our own rules refuse, the cause is the code of their reason.
fn refusal_reason(failed: &AttemptFailure) -> Reason {
    const OURS: [Reason; 3] = [Reason::SmsCountryNotAllowed, Reason::DltRegistrationMissing, Reason::SmsLimitReached];
    let ours = || OURS.into_iter().find(|reason| reason.as_str() == failed.cause);
    failed.contact_refusal().or_else(ours).unwrap_or(Reason::RefusedByProvider)
}

/// Decides what follows a failed attempt of a test alert: it always gives up. The result of a test must be known at once, and a test
/// never disables an endpoint.
#[must_use]
pub fn decide_after_test_alert(failed: &AttemptFailure) -> NextStep {
    let reason = match failed.verdict {
        RetryVerdict::Retry => Reason::GaveUp,
        RetryVerdict::Refused | RetryVerdict::Gone => refusal_reason(failed),
    };
    NextStep::GiveUp { reason, disable: false }
}

/// Explains the cause of a failed attempt to a tenant admin: what it means, and what to do about it.
#[must_use]
pub fn explain_cause(cause: &str) -> (&'static str, &'static str) {
    match cause {
        "suppressed_bounce"
        | "suppressed_complaint"
        | "suppressed_by_owner"
        | "sms_country_not_allowed"
        | "dlt_registration_missing"
        | "sms_limit_reached"
        | "contact_limit" => {
            let reason = Reason::parse(cause).unwrap_or(Reason::RefusedByProvider);
            (reason.sentence(), reason.remedy())
        }
        "dns" => ("The host name doesn't resolve.", "Correct the host in the URL, or fix its DNS record."),
        "connect" => (
            "Nothing is listening at the endpoint's address.",
            "Check that the service is running and that its firewall lets us in.",
        ),
        "tls" => (
            "The TLS handshake failed.",
            "Install a valid certificate from a public authority for this host name, including the intermediate certificates.",
        ),
        "timeout" => (
            "The endpoint didn't respond in time.",
            "Respond with 2xx within 15 seconds, and process the alert afterward.",
        ),
        "reset" => ("The endpoint closed the connection.", "Check the logs of the receiver and its proxy."),
        "protocol" => ("The endpoint didn't respond with valid HTTP.", "Check the logs of the receiver and its proxy."),
        "forbidden_address" => {
            ("The URL points to a private address.", "Use a public HTTPS address; private addresses are not allowed.")
        }
        FAILING_TOO_LONG => (
            "Every delivery to the endpoint failed for five days.",
            "Fix the endpoint; its last failed attempt shows the error.",
        ),
        "http_400" | "http_422" => (
            "The receiver rejected the request body.",
            "Check its log for what it expects. For Slack and Teams URLs, create a Slack or Teams integration instead.",
        ),
        "http_401" | "http_403" => (
            "The receiver rejected our signature or credentials.",
            "Check that it verifies the signature with this integration's secret, over the raw request body.",
        ),
        "http_404" => ("The URL doesn't exist.", "Correct the URL, or create a new webhook in Slack or Teams."),
        "http_405" => ("The receiver doesn't accept POST at this URL.", "Correct the URL, or allow POST requests."),
        "http_410" => ("The receiver says that this URL is permanently gone.", "Enter a new URL for the integration."),
        "http_413" => ("The message is too large for the receiver.", "Raise its request size limit to 256 KiB."),
        "http_429" => ("The receiver is rate limiting us.", "Raise its rate limit. Retries slow down automatically."),
        "no_service" | "no_service_id" | "invalid_token" | "no_active_hooks" | "no_team" | "team_disabled" => {
            ("This Slack webhook no longer exists.", "Create a new incoming webhook in Slack and save its URL.")
        }
        "channel_not_found" | "channel_is_archived" => {
            ("The Slack channel was deleted or archived.", "Restore it, or create a webhook for another channel.")
        }
        "action_prohibited" | "posting_to_general_channel_denied" => {
            ("A Slack admin doesn't allow posts in this channel.", "Ask the admin, or choose another channel.")
        }
        "invalid_blocks" => (
            "Slack rejected both the rich and the plain text format.",
            "Contact support; this is a problem on our side.",
        ),
        "RecipientNotVerified" => (
            "The SES account can only send to verified addresses.",
            "The operators must ask AWS to move the account out of the SES sandbox.",
        ),
        "bounced" => (
            "The recipient's mail server rejected it permanently.",
            "Correct the address, or ask the recipient's mail admin to allow-list our sender, and ask for a resubscription.",
        ),
        "deferred" => (
            "The recipient's mail server hasn't accepted it yet. Retries continue for hours.",
            "Ask the recipient's mail admin to allow-list our sender, and check that the mailbox isn't full.",
        ),
        "rejected" => ("The mail service didn't send it.", "Contact support; this is a problem on our side."),
        "complained" => (
            "The recipient reported it as spam.",
            "Ask for a resubscription: only the owner of the address can allow e-mail again.",
        ),
        "opted_out" => ("The number has opted out of SMS.", "Ask its owner to text START, or use another number."),
        "url_not_usable" | "url_cannot_be_opened" | "secret_not_usable" => {
            ("The saved URL or secret can't be used.", "Save the integration's URL and secret again.")
        }
        cause if cause.starts_with("http_3") => {
            ("The receiver redirects, and redirects aren't followed.", "Save the URL that it redirects to.")
        }
        cause if cause.starts_with("http_5") => ("The receiver returned a server error.", "Check the receiver's log."),
        cause if cause.starts_with("http_") => ("The receiver rejected the message.", "Check the receiver's log."),
        _ => (
            "The provider rejected the message.",
            "Check the address or number. If it is correct, send this code to support.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(verdict: RetryVerdict) -> AttemptFailure {
        AttemptFailure { cause: "http_500".into(), retry_after: None, slow_down: false, verdict }
    }

    fn seconds(channel: Channel, attempt: u32, failed: &AttemptFailure, jitter: f64) -> Option<i64> {
        match decide_next_step(channel, attempt, failed, Timestamp::UNIX_EPOCH, jitter) {
            NextStep::Retry { at } => Some(at.as_second()),
            NextStep::GiveUp { .. } => None,
        }
    }

    #[test]
    fn a_test_alert_is_sent_once_and_disables_nothing() {
        for (verdict, reason) in [
            (RetryVerdict::Retry, Reason::GaveUp),
            (RetryVerdict::Refused, Reason::RefusedByProvider),
            (RetryVerdict::Gone, Reason::RefusedByProvider),
        ] {
            assert_eq!(decide_after_test_alert(&failed(verdict)), NextStep::GiveUp { reason, disable: false });
        }
    }

    #[test]
    fn every_cause_has_an_explanation_and_a_remedy() {
        for cause in ["dns", "tls", "http_302", "http_404", "http_418", "http_503", "no_service", "MessageRejected"] {
            let (sentence, remedy) = explain_cause(cause);
            assert!(sentence.ends_with('.') && remedy.ends_with('.'), "{cause}");
        }
        assert_ne!(explain_cause("http_404"), explain_cause("http_418"));
    }

    #[test]
    fn a_webhook_has_eight_attempts_over_the_schedule() {
        let plan: Vec<_> = (1..=8).map(|n| seconds(Channel::Webhook, n, &failed(RetryVerdict::Retry), 0.5)).collect();
        assert_eq!(
            plan,
            [Some(5), Some(300), Some(1_800), Some(7_200), Some(18_000), Some(36_000), Some(36_000), None]
        );
    }

    #[test]
    fn email_chat_and_sms_have_schedules_of_their_own() {
        let plan =
            |channel| (1..=7).map(|n| seconds(channel, n, &failed(RetryVerdict::Retry), 0.5)).collect::<Vec<_>>();
        let message = [Some(5), Some(30), Some(120), Some(600), Some(1_800), Some(3_600), None];
        assert_eq!(plan(Channel::Email), message);
        assert_eq!(plan(Channel::Slack), message);
        assert_eq!(plan(Channel::Sms), [Some(5), Some(30), Some(120), Some(300), None, None, None]);
    }

    #[test]
    fn jitter_is_twenty_percent_and_retry_after_is_honored_within_bounds() {
        assert_eq!(seconds(Channel::Webhook, 2, &failed(RetryVerdict::Retry), 0.0), Some(240));
        assert_eq!(seconds(Channel::Webhook, 2, &failed(RetryVerdict::Retry), 1.0), Some(360));
        for (requested, expected) in [(1, 300), (400, 400), (86_400, 600)] {
            let failed = AttemptFailure { retry_after: Some(requested), ..failed(RetryVerdict::Retry) };
            assert_eq!(seconds(Channel::Webhook, 2, &failed, 0.3), Some(expected));
        }
        let slow = AttemptFailure { slow_down: true, ..failed(RetryVerdict::Retry) };
        assert_eq!(seconds(Channel::Webhook, 1, &slow, 0.5), Some(60));
    }

    #[test]
    fn gone_disables_and_refused_does_not() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(
            decide_next_step(Channel::Slack, 1, &failed(RetryVerdict::Gone), now, 0.5),
            NextStep::GiveUp { reason: Reason::EndpointDisabled, disable: true }
        );
        assert_eq!(
            decide_next_step(Channel::Email, 1, &failed(RetryVerdict::Refused), now, 0.5),
            NextStep::GiveUp { reason: Reason::RefusedByProvider, disable: false }
        );
    }
}
