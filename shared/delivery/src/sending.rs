//! What senders share: keys, sealed values, and errors before and after a request.

use contracts::queue::Delivery;
use domain::attempt::{AttemptFailure, CAUSE_CODE_LOST, RetryVerdict};
use domain::ids::IntegrationId;
use domain::tenant::{OldSecret, Sealed};
use jiff::Timestamp;
use outbound::{SecretUrl, SendError};
use pipeline::SendFailure;
use runtime::clock;
use std::sync::Arc;
use store::Table;
use vault::{Keyring, LazyKeyring, LoadError, VaultError};

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

/// The cause of a value that was not sealed for its owner.
const CANNOT_BE_OPENED: &str = "url_cannot_be_opened";

/// Returns the keyring of this process, and loads it if it was not loaded yet.
///
/// # Errors
/// [`SendFailure::Unavailable`] while KMS or the table is unavailable; the cause is in the log.
pub async fn load_keyring(keyring: &LazyKeyring) -> Result<Arc<Keyring>, SendFailure> {
    keyring.get(clock::now()).await.map_err(|error| keyring_fault(&error))
}

fn keyring_fault(error: &LoadError) -> SendFailure {
    tracing::error!(%error, "cannot load the data keys");
    SendFailure::unavailable("keyring")
}

/// The values of an integration as a message or the table has them: sealed.
#[derive(Clone, Copy, Debug)]
pub struct SealedEndpoint<'a> {
    /// The URL.
    pub url: &'a Sealed,
    /// The signing secret of a webhook.
    pub secret: Option<&'a Sealed>,
    /// The secret before the last rotation.
    pub old_secret: Option<&'a OldSecret>,
}

/// The values of an integration, ready for use. Never printed.
pub struct OpenEndpoint {
    /// The URL.
    pub url: SecretUrl,
    /// The secrets that sign, the current one first; none for chat.
    pub secrets: Vec<String>,
}

impl SealedEndpoint<'_> {
    fn open(&self, keyring: &Keyring, aad: &str, now: Timestamp) -> Result<OpenEndpoint, NotOpened> {
        let url = open_text(keyring, aad, self.url)?;
        let mut secrets = Vec::new();
        if let Some(secret) = self.secret {
            secrets.push(open_text(keyring, aad, secret)?);
        }
        // For 24 hours after a rotation both secrets sign, so that a receiver can switch to the new one without losing an alert.
        if let Some(old) = self.old_secret.filter(|old| now < old.until) {
            match open_text(keyring, aad, &old.secret) {
                Ok(secret) => secrets.push(secret),
                Err(NotOpened::Generation) => return Err(NotOpened::Generation),
                Err(NotOpened::Never(_)) => {}
            }
        }
        let url = SecretUrl::parse(&url).map_err(|_| NotOpened::Never("url_not_usable"))?;
        Ok(OpenEndpoint { url, secrets })
    }
}

/// Why a sealed value was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotOpened {
    /// The keyring does not have its generation.
    Generation,
    /// It is not what was sealed for this owner, or no URL. Holds the cause.
    Never(&'static str),
}

fn open_text(keyring: &Keyring, aad: &str, sealed: &Sealed) -> Result<String, NotOpened> {
    match keyring.open(aad, &vault::Sealed::from(sealed.expose().to_owned())) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| NotOpened::Never(CANNOT_BE_OPENED)),
        Err(VaultError::UnknownGeneration(_)) => Err(NotOpened::Generation),
        Err(_) => Err(NotOpened::Never(CANNOT_BE_OPENED)),
    }
}

/// Opens the values of the integration that a delivery goes to. If they are sealed by a generation of the data key that this process does not
/// know, it reads the data keys again. If the generation is gone (a message may be older than a leak), the values of the table count, which
/// are sealed again before a generation ends.
///
/// # Errors
/// A permanent failure where the values were not sealed for this integration, or where it was deleted and its key is gone;
/// [`SendFailure::Unavailable`] while KMS or the table is unavailable.
pub async fn open_endpoint(
    keyring: &LazyKeyring,
    table: &Table,
    delivery: &Delivery,
    sealed: SealedEndpoint<'_>,
) -> Result<OpenEndpoint, SendFailure> {
    let (tenant, now) = (&delivery.alert.tenant, clock::now());
    let aad = vault::owner_aad(tenant.as_str(), &delivery.destination);
    match sealed.open(load_keyring(keyring).await?.as_ref(), &aad, now) {
        Ok(open) => return Ok(open),
        Err(NotOpened::Never(cause)) => return Err(SendFailure::permanent(cause)),
        Err(NotOpened::Generation) => {}
    }
    let keyring = keyring.reload(now).await.map_err(|error| keyring_fault(&error))?;
    match sealed.open(&keyring, &aad, now) {
        Ok(open) => return Ok(open),
        Err(NotOpened::Never(cause)) => return Err(SendFailure::permanent(cause)),
        Err(NotOpened::Generation) => {}
    }
    // Without the key and the integration there is nothing left that could be opened.
    let never = || SendFailure::permanent(CANNOT_BE_OPENED);
    let id = IntegrationId::parse(&delivery.destination).ok_or_else(never)?;
    let stored = table.integration(tenant, &id).await.map_err(|error| {
        tracing::error!(%error, "a table operation failed");
        SendFailure::unavailable("integration")
    })?;
    let stored = stored.ok_or_else(never)?;
    let current = SealedEndpoint {
        url: &stored.url,
        secret: sealed.secret.and(stored.secret.as_ref()),
        old_secret: sealed.secret.and(stored.old_secret.as_ref()),
    };
    current.open(&keyring, &aad, now).map_err(|reason| match reason {
        NotOpened::Generation => SendFailure::unavailable("unknown_data_key"),
        NotOpened::Never(cause) => SendFailure::permanent(cause),
    })
}

/// Opens the code of a confirmation request, and reads the data keys again if the code is sealed by a generation that is not known.
///
/// # Errors
/// A permanent failure where the code was not sealed for `aad` or its key is gone; [`SendFailure::Unavailable`] while KMS or the table is
/// unavailable.
pub async fn open_code(keyring: &LazyKeyring, aad: &str, code: &Sealed) -> Result<String, SendFailure> {
    let sealed = vault::Sealed::from(code.expose().to_owned());
    match keyring.open(aad, &sealed, clock::now()).await {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| SendFailure::permanent(CANNOT_BE_OPENED)),
        Err(LoadError::Vault(VaultError::UnknownGeneration(_))) => Err(SendFailure::permanent(CAUSE_CODE_LOST)),
        Err(LoadError::Vault(VaultError::Malformed | VaultError::NotGenuine)) => {
            Err(SendFailure::permanent(CANNOT_BE_OPENED))
        }
        Err(error) => Err(keyring_fault(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(keyring: &Keyring, aad: &str, text: &str) -> Sealed {
        Sealed::new(keyring.seal(aad, text.as_bytes()).unwrap().into())
    }

    fn keys(generations: &[u8]) -> Keyring {
        Keyring::from_keys(generations.iter().map(|number| (u32::from(*number), [*number; 32])).collect()).unwrap()
    }

    #[test]
    fn an_endpoint_of_two_generations_needs_both_and_only_a_secret_that_still_signs() {
        let (first, second, both) = (keys(&[1]), keys(&[2]), keys(&[1, 2]));
        let now = Timestamp::UNIX_EPOCH;
        let url = sealed(&second, "a", "https://hooks.acme.test/x");
        let secret = sealed(&first, "a", "whsec_new");
        let old = OldSecret { secret: sealed(&first, "a", "whsec_old"), until: Timestamp::from_second(9).unwrap() };
        let endpoint = SealedEndpoint { url: &url, secret: Some(&secret), old_secret: Some(&old) };
        assert_eq!(endpoint.open(&both, "a", now).ok().unwrap().secrets, ["whsec_new", "whsec_old"]);
        assert_eq!(endpoint.open(&both, "a", old.until).ok().unwrap().secrets, ["whsec_new"]);
        assert_eq!(endpoint.open(&second, "a", now).err(), Some(NotOpened::Generation));
        assert_eq!(endpoint.open(&both, "b", now).err(), Some(NotOpened::Never(CANNOT_BE_OPENED)));
        let secret = sealed(&second, "a", "whsec_new");
        let endpoint = SealedEndpoint { secret: Some(&secret), ..endpoint };
        assert_eq!(
            endpoint.open(&second, "a", now).err(),
            Some(NotOpened::Generation),
            "or it would sign with one only"
        );
        assert_eq!(endpoint.open(&second, "a", old.until).ok().unwrap().secrets, ["whsec_new"]);
    }
}
