//! How one send ends.

use domain::attempt::{AttemptFailure, RetryVerdict};

/// The provider or receiver accepted the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The provider's id of the message, if it gave one.
    pub provider_id: Option<String>,
}

/// Why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendFailure {
    /// The receiver did not accept it, or did not answer. This counts as an attempt.
    Failed {
        /// The cause, and whether a retry can help.
        failed: AttemptFailure,
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
        /// The body of the answer, at most 20,000 bytes, or the error in words.
        response: String,
        /// Whether the receiver refused the rich form before, so that retries send the plain one.
        plain: bool,
    },
    /// The provider throttled us. It is sent again after a short pause; this does not count as an attempt.
    Throttled,
    /// The provider's daily quota is used up. It is sent again after an hour; this does not count as an attempt.
    QuotaExhausted,
    /// AWS is unavailable, or our own permissions are wrong. This does not count as an attempt.
    Unavailable {
        /// A code for the log.
        code: String,
    },
}

impl SendFailure {
    /// A failed attempt that no retry can repair.
    #[must_use]
    pub fn permanent(cause: &str) -> Self {
        let failed = AttemptFailure {
            cause: cause.to_owned(),
            retry_after: None,
            slow_down: false,
            verdict: RetryVerdict::Refused,
        };
        Self::Failed { failed, status: None, response: String::new(), plain: false }
    }

    /// AWS is unavailable, or our own permissions are wrong. `code` is for the log.
    #[must_use]
    pub fn unavailable(code: &str) -> Self {
        Self::Unavailable { code: code.to_owned() }
    }
}
