//! Builds the links in messages: to the incident, to stop an incident, to unsubscribe, and to confirm an address.

use contracts::queue::ConfirmationRequest;
use domain::alert::Alert;
use domain::ids::short_recipient_id;
use vault::{Keyring, VaultError};

/// Builds signed links of messages, all below one base URL. No link needs a session.
#[derive(Clone, Debug)]
pub struct MessageLinks {
    base: String,
}

impl MessageLinks {
    /// Creates links that begin with the URL `base`.
    #[must_use]
    pub fn new(base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned() }
    }

    /// Returns the link to an alert's incident: its public status page, or, for an incident that is not public, a
    /// page signed for tenant and incident.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn incident(&self, keyring: &Keyring, alert: &Alert) -> Result<String, VaultError> {
        if alert.public {
            return Ok(format!("{}/status/incidents/{}", self.base, alert.incident_id));
        }
        let token = keyring.sign_link("read", &[alert.tenant.as_str(), alert.incident_id.as_str()])?;
        Ok(format!("{}/read?t={token}", self.base))
    }

    /// Returns the link to an incident for one recipient, whose page offers to stop notifications about that incident. For text messages,
    /// which have no room for two links or a whole recipient id, and for the alerts of a digest.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn incident_for_recipient(
        &self,
        keyring: &Keyring,
        alert: &Alert,
        recipient: &str,
    ) -> Result<String, VaultError> {
        let short = short_recipient_id(recipient);
        let token = keyring.sign_link("read", &[alert.tenant.as_str(), alert.incident_id.as_str(), short])?;
        Ok(format!("{}/read?t={token}", self.base))
    }

    /// Returns the link by which a recipient stops notifications about one incident.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn stop_incident(&self, keyring: &Keyring, alert: &Alert, recipient: &str) -> Result<String, VaultError> {
        let token = keyring.sign_link("stop", &[alert.tenant.as_str(), recipient, alert.incident_id.as_str()])?;
        Ok(format!("{}/stop?t={token}", self.base))
    }

    /// Returns the link that confirms an address, once, until `confirmation.until`.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn confirm_address(&self, keyring: &Keyring, confirmation: &ConfirmationRequest) -> Result<String, VaultError> {
        let until = confirmation.until.as_second().to_string();
        let (tenant, recipient) = (confirmation.tenant.as_str(), confirmation.recipient.as_str());
        let token = keyring.sign_link("confirm", &[tenant, recipient, &confirmation.identity, &until])?;
        Ok(format!("{}/confirm?t={token}", self.base))
    }

    /// Returns the link by which a recipient unsubscribes from the alert's category, or from warnings if it has none. It never expires.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn unsubscribe(&self, keyring: &Keyring, alert: &Alert, recipient: &str) -> Result<String, VaultError> {
        let topic = alert.category.map_or("warnings", domain::vocabulary::Category::as_str);
        let token = keyring.sign_link("unsubscribe", &[alert.tenant.as_str(), recipient, topic])?;
        Ok(format!("{}/unsubscribe?t={token}", self.base))
    }
}
