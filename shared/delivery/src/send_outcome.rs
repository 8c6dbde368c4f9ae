//! How one send ended, and the errors before and after the request as such an outcome.

use domain::attempt::{AttemptFailure, RetryVerdict};
use outbound::SendError;
use runtime::clock;
use vault::{Keyring, LazyKeyring, VaultError};

/// How a send ended.
#[derive(Debug)]
pub enum SendOutcome {
    /// The provider or receiver accepted the message.
    Accepted {
        /// The provider's id of the message, if it gave one.
        provider_id: Option<String>,
    },
    /// The receiver did not accept the message, or did not answer. This counts as an attempt.
    Failed {
        /// The cause, and whether a retry can help.
        failed: AttemptFailure,
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
        /// The body of the answer, at most 20,000 bytes, or the error in words.
        response: String,
    },
    /// The receiver did not understand the rich form. The plain form is sent at once, as the same attempt.
    RetryPlain,
    /// The provider throttled us. The message is sent again after a short pause; this does not count as an attempt.
    Throttled,
    /// The provider's daily quota is used up. The due index sends the message again after an hour; this does not count as an attempt.
    QuotaExhausted,
    /// AWS is unavailable, or our own permissions are wrong. The message returns to its queue; this does not count as an attempt.
    Unavailable {
        /// A code for the log.
        code: String,
    },
}

impl SendOutcome {
    /// A failed attempt that no retry can repair.
    #[must_use]
    pub fn permanent_failure(cause: &str) -> Self {
        let failed = AttemptFailure {
            cause: cause.to_owned(),
            retry_after: None,
            slow_down: false,
            verdict: RetryVerdict::Refused,
        };
        Self::Failed { failed, status: None, response: String::new() }
    }

    /// A failed attempt that the receiver answered. Takes the pause of a Retry-After header from `answer`.
    #[must_use]
    pub fn failed_response(mut failed: AttemptFailure, answer: &outbound::Response, response: String) -> Self {
        failed.retry_after = answer.retry_after.and_then(|pause| u32::try_from(pause.as_secs()).ok());
        Self::Failed { failed, status: Some(answer.status.as_u16()), response }
    }

    /// A failed attempt that got no answer.
    #[must_use]
    pub fn failed_request(error: &SendError) -> Self {
        let (cause, slow_down) = match error {
            SendError::Forbidden(_) => ("forbidden_address", false),
            SendError::Dns => ("dns", false),
            SendError::Connect => ("connect", false),
            SendError::Tls(_) => ("tls", false),
            SendError::Timeout => ("timeout", true),
            SendError::Reset => ("reset", false),
            SendError::Protocol => ("protocol", false),
        };
        let failed =
            AttemptFailure { cause: cause.to_owned(), retry_after: None, slow_down, verdict: RetryVerdict::Retry };
        Self::Failed { failed, status: None, response: error.to_string() }
    }
}

/// Returns the keyring of this process, and loads it if it was not loaded yet.
///
/// # Errors
/// [`SendOutcome::Unavailable`] while KMS or the table is unavailable; the cause is in the log.
pub async fn load_keyring(keyring: &LazyKeyring) -> Result<&Keyring, SendOutcome> {
    keyring.get(clock::now()).await.map_err(|error| {
        tracing::error!(%error, "cannot load the data keys");
        SendOutcome::Unavailable { code: "keyring".to_owned() }
    })
}

/// Opens a sealed URL, secret or code.
///
/// # Errors
/// A permanent failure where the value was not sealed for `aad`; [`SendOutcome::Unavailable`] where this process does
/// not know the data key yet.
pub fn open_sealed(keyring: &Keyring, aad: &str, sealed: &domain::tenant::Sealed) -> Result<String, SendOutcome> {
    match keyring.open(aad, &vault::Sealed::from(sealed.expose().to_owned())) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| SendOutcome::permanent_failure("url_cannot_be_opened")),
        Err(VaultError::UnknownGeneration(_)) => Err(SendOutcome::Unavailable { code: "unknown_data_key".to_owned() }),
        Err(_) => Err(SendOutcome::permanent_failure("url_cannot_be_opened")),
    }
}
