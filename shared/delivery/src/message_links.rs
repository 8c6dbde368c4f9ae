//! Builds the links in messages: to the incident, to stop an incident, to unsubscribe, to confirm an address, to allow e-mail again, and never to
//! be asked again.
//!
//! A link that is bound to a recipient also holds the fingerprint of the address or number that it was sent to, so that an old owner's link
//! does nothing to the next one. Every link ends on a day of its own.

use contracts::queue::{ConfirmationRequest, Delivery, DeliveryTarget};
use domain::alert::Alert;
use domain::ids::{SuppressionId, short_recipient_id};
use domain::link::{LinkPurpose, SHORT_READ_PATH, ShortRead, expiry_day};
use jiff::Timestamp;
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

    fn link(
        &self,
        keyring: &Keyring,
        purpose: LinkPurpose,
        parts: &[&str],
        now: Timestamp,
    ) -> Result<String, VaultError> {
        let until = expiry_day(purpose, now).to_string();
        let parts: Vec<&str> = parts.iter().copied().chain([until.as_str()]).collect();
        let token = keyring.sign_link(purpose.as_str(), &parts)?;
        Ok(format!("{}{}?t={token}", self.base, purpose.path()))
    }

    /// Returns the link to an alert's incident: its public status page, or, for an incident that is not public, a page signed for tenant and
    /// incident.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn incident(&self, keyring: &Keyring, alert: &Alert, now: Timestamp) -> Result<String, VaultError> {
        if alert.public {
            return Ok(format!("{}/status/incidents/{}{}", self.base, alert.incident_id, zone_query(&alert.zone)));
        }
        self.link(keyring, LinkPurpose::Read, &[alert.tenant.as_str(), alert.incident_id.as_str()], now)
    }

    /// Returns the link to an incident for one recipient's text message, whose page offers to stop notifications about that incident. It has
    /// the fewest characters that can hold what it says and 128 bits of signature.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn short_incident(&self, keyring: &Keyring, delivery: &Delivery, now: Timestamp) -> Result<String, VaultError> {
        let alert = &delivery.alert;
        let reader = keyring.fingerprints().reader_mark(&delivery.destination, &contact_text(&delivery.target))?;
        let tenant = alert.platform_wide.then(|| alert.tenant.clone());
        let last_day = u16::try_from(expiry_day(LinkPurpose::Read, now)).unwrap_or(u16::MAX);
        let read = ShortRead { incident: alert.incident_id.clone(), tenant, reader, last_day };
        let token = read.encode().and_then(|read| keyring.sign_short_link(LinkPurpose::Read.as_str(), &read).ok());
        match token {
            Some(token) => Ok(format!("{}{SHORT_READ_PATH}{token}", self.base)),
            None => self.incident_for_recipient(keyring, delivery, now),
        }
    }

    /// Returns the link to an incident for one recipient, whose page offers to stop notifications about that incident. For the alerts of a
    /// digest, which have no room for two links.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn incident_for_recipient(
        &self,
        keyring: &Keyring,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<String, VaultError> {
        let alert = &delivery.alert;
        let (reader, contact) = (short_recipient_id(&delivery.destination), contact_of(keyring, &delivery.target)?);
        let parts = [alert.tenant.as_str(), alert.incident_id.as_str(), reader, &contact];
        self.link(keyring, LinkPurpose::Read, &parts, now)
    }

    /// Returns the link by which a recipient stops notifications about one incident.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn stop_incident(&self, keyring: &Keyring, delivery: &Delivery, now: Timestamp) -> Result<String, VaultError> {
        let alert = &delivery.alert;
        let contact = contact_of(keyring, &delivery.target)?;
        let parts = [alert.tenant.as_str(), &delivery.destination, alert.incident_id.as_str(), &contact];
        self.link(keyring, LinkPurpose::Stop, &parts, now)
    }

    /// Returns the link by which a recipient unsubscribes from the alert's category, or from warnings if it has none.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn unsubscribe(&self, keyring: &Keyring, delivery: &Delivery, now: Timestamp) -> Result<String, VaultError> {
        let alert = &delivery.alert;
        let topic = alert.category.map_or("warnings", domain::vocabulary::Category::as_str);
        let contact = contact_of(keyring, &delivery.target)?;
        let parts = [alert.tenant.as_str(), &delivery.destination, topic, &contact];
        self.link(keyring, LinkPurpose::Unsubscribe, &parts, now)
    }

    /// Returns the link of a question to the owner of an address: to confirm it, or to allow e-mail again. It works until `request.until`.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn agree(&self, keyring: &Keyring, request: &ConfirmationRequest) -> Result<String, VaultError> {
        let purpose =
            if request.question.is_resubscription() { LinkPurpose::Resubscribe } else { LinkPurpose::Confirm };
        let (tenant, recipient) = (request.tenant.as_str(), request.recipient.as_str());
        let until = request.until.as_second().to_string();
        let token = keyring.sign_link(purpose.as_str(), &[tenant, recipient, &request.identity, &until])?;
        Ok(format!("{}{}?t={token}", self.base, purpose.path()))
    }

    /// Returns the link by which the owner of an address is never asked again, by any tenant.
    ///
    /// # Errors
    /// [`VaultError`] where there is no key to sign with.
    pub fn never(
        &self,
        keyring: &Keyring,
        request: &ConfirmationRequest,
        now: Timestamp,
    ) -> Result<String, VaultError> {
        let DeliveryTarget::Email { address, .. } = &request.target else { return Err(VaultError::Malformed) };
        let suppression = SuppressionId::of(address);
        let parts = [request.tenant.as_str(), request.recipient.as_str(), suppression.as_str()];
        self.link(keyring, LinkPurpose::Never, &parts, now)
    }
}

/// Returns the query by which the status page shows times in the reader's zone; empty for UTC, which it shows anyway.
fn zone_query(zone: &str) -> String {
    match zone {
        "UTC" | "Etc/UTC" => String::new(),
        zone => format!("?zone={}", zone.replace('+', "%2B")),
    }
}

/// Returns the short fingerprint of the address or number that a message goes to.
fn contact_of(keyring: &Keyring, target: &DeliveryTarget) -> Result<String, VaultError> {
    keyring.fingerprints().short_contact(&contact_text(target))
}

/// Returns the address or number that a message goes to, normalized.
fn contact_text(target: &DeliveryTarget) -> String {
    match target {
        DeliveryTarget::Email { address, .. } => address.identity(),
        DeliveryTarget::Sms { phone, .. } => phone.expose().to_owned(),
        DeliveryTarget::Chat { fingerprint, .. } => fingerprint.clone(),
        DeliveryTarget::Webhook { .. } => String::new(),
    }
}
