//! Where a message's "read on" leads.

use contracts::queue::Confirmation;
use domain::alert::Alert;
use domain::ids::short_recipient;
use vault::{Keyring, VaultError};

/// Links to incidents: the public page of a public one, a signed page of a tenant's own.
#[derive(Clone, Debug)]
pub struct ReadOn {
    base: String,
}

impl ReadOn {
    /// Links that begin with `base`.
    #[must_use]
    pub fn new(base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned() }
    }

    /// The link of an alert. A tenant's own incident is on no public page: its link is signed for tenant and incident.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn link(&self, keyring: &Keyring, alert: &Alert) -> Result<String, VaultError> {
        if alert.public {
            return Ok(format!("{}/status/incidents/{}", self.base, alert.incident_id));
        }
        let token = keyring.link("read", &[alert.tenant.as_str(), alert.incident_id.as_str()])?;
        Ok(format!("{}/read?t={token}", self.base))
    }

    /// The link of a text message, or of one alert in a digest: the tenant's page of the incident, on which this recipient may stop
    /// hearing of it. A text message has no room for two links, nor for a whole id.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn reader(&self, keyring: &Keyring, alert: &Alert, recipient: &str) -> Result<String, VaultError> {
        let short = short_recipient(recipient);
        let token = keyring.link("read", &[alert.tenant.as_str(), alert.incident_id.as_str(), short])?;
        Ok(format!("{}/read?t={token}", self.base))
    }

    /// The link by which a recipient hears no more of one incident.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn stop(&self, keyring: &Keyring, alert: &Alert, recipient: &str) -> Result<String, VaultError> {
        let token = keyring.link("stop", &[alert.tenant.as_str(), recipient, alert.incident_id.as_str()])?;
        Ok(format!("{}/stop?t={token}", self.base))
    }

    /// The link that confirms an address, once and for 24 hours.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn confirm(&self, keyring: &Keyring, confirmation: &Confirmation) -> Result<String, VaultError> {
        let until = confirmation.until.as_second().to_string();
        let (tenant, recipient) = (confirmation.tenant.as_str(), confirmation.recipient.as_str());
        let token = keyring.link("confirm", &[tenant, recipient, &confirmation.identity, &until])?;
        Ok(format!("{}/confirm?t={token}", self.base))
    }

    /// The link by which a recipient unsubscribes from `what` (a category, or `warnings`). It never expires.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn unsubscribe(&self, keyring: &Keyring, alert: &Alert, recipient: &str) -> Result<String, VaultError> {
        let what = alert.category.map_or("warnings", domain::vocabulary::Category::as_str);
        let token = keyring.link("unsubscribe", &[alert.tenant.as_str(), recipient, what])?;
        Ok(format!("{}/unsubscribe?t={token}", self.base))
    }
}
