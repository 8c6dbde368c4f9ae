//! What senders share: keys, sealed values, and errors before and after a request.

use domain::attempt::{AttemptFailure, RetryVerdict};
use outbound::SendError;
use pipeline::SendFailure;
use vault::{Keyring, LazyKeyring, VaultError};

/// A failed attempt that the receiver answered. Takes the pause of a Retry-After header from `answer`.
#[must_use]
pub fn failed_response(mut failed: AttemptFailure, answer: &outbound::Response, response: String) -> SendFailure {
    failed.retry_after = answer.retry_after.and_then(|pause| u32::try_from(pause.as_secs()).ok());
    SendFailure::Failed { failed, status: Some(answer.status.as_u16()), response, plain: false }
}

/// A failed attempt that got no answer.
#[must_use]
pub fn failed_request(error: &SendError) -> SendFailure {
    let (cause, slow_down) = match error {
        SendError::Forbidden(_) => ("forbidden_address", false),
        SendError::Dns => ("dns", false),
        SendError::Connect => ("connect", false),
        SendError::Tls(_) => ("tls", false),
        SendError::Timeout => ("timeout", true),
        SendError::Reset => ("reset", false),
        SendError::Protocol => ("protocol", false),
    };
    let failed = AttemptFailure { cause: cause.to_owned(), retry_after: None, slow_down, verdict: RetryVerdict::Retry };
    SendFailure::Failed { failed, status: None, response: error.to_string(), plain: false }
}

/// Returns the keyring of this process, and loads it if it was not loaded yet.
///
/// # Errors
/// [`SendFailure::Unavailable`] while KMS or the table is unavailable; the cause is in the log.
pub async fn load_keyring(keyring: &LazyKeyring) -> Result<&Keyring, SendFailure> {
    keyring.get().await.map_err(|error| {
        tracing::error!(%error, "cannot load the data keys");
        SendFailure::unavailable("keyring")
    })
}

/// Opens a sealed URL, secret or code.
///
/// # Errors
/// A permanent failure where the value was not sealed for `aad`; [`SendFailure::Unavailable`] where this process does
/// not know the data key yet.
pub fn open_sealed(keyring: &Keyring, aad: &str, sealed: &domain::tenant::Sealed) -> Result<String, SendFailure> {
    match keyring.open(aad, &vault::Sealed::from(sealed.expose().to_owned())) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| SendFailure::permanent("url_cannot_be_opened")),
        Err(VaultError::UnknownGeneration(_)) => Err(SendFailure::unavailable("unknown_data_key")),
        Err(_) => Err(SendFailure::permanent("url_cannot_be_opened")),
    }
}
