//! A delivery: one update for one destination on one channel.

use super::VERSION;
use domain::alert::{Alert, NotificationReason};
use domain::delivery::{AttemptKey, delivery_row_key};
use domain::health::EndpointHealth;
use domain::incident::{Incident, Update};
use domain::maintenance::{SuppressedIncident, SuppressedIncidents};
use domain::tenant::{Destination, Email, OldSecret, Phone, Sealed, Settings, SmsCompliance};
use domain::vocabulary::{Channel, Role, StormMode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// subscription-lookup, release → deliver-*: one update for one destination on one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The message version, [`VERSION`].
    pub v: u32,
    /// The id of the source's request.
    pub correlation_id: String,
    /// The content of the message.
    pub alert: Alert,
    /// Why this destination is notified.
    pub why: NotificationReason,
    /// The id of the recipient or integration.
    pub destination: String,
    /// The channel to send on.
    pub channel: Channel,
    /// The address, number or URL to send to.
    pub target: DeliveryTarget,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// The tenant's alert window in seconds, counted from `alert.at`.
    pub window_seconds: u32,
    /// Whether to send the plain form, because the receiver rejected the rich one.
    #[serde(default)]
    pub plain: bool,
    /// Whether an admin requested it: then it is tried again though the resolve was skipped, and passes quiet hours.
    #[serde(default)]
    pub resend_requested: bool,
    /// Whether it may be deferred into a bundle when its contact is over the rate limit.
    #[serde(default)]
    pub bundle: bool,
    /// The known health of the integration's endpoint.
    #[serde(default, skip_serializing_if = "EndpointHealth::is_healthy")]
    pub endpoint: EndpointHealth,
    /// Since when the integration's endpoint is known to answer slowly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow: Option<Timestamp>,
    /// The preceding update that the same webhook still waits for. First attempts are made in the order of the updates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<u32>,
}

/// The address, number or URL that a delivery is sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum DeliveryTarget {
    /// An e-mail address.
    Email {
        /// E-mail address of the recipient.
        address: Email,
        /// Whether several people read it. Then no single reader may unsubscribe it or stop an incident.
        #[serde(default)]
        shared: bool,
    },
    /// A text message to a phone number.
    Sms {
        /// Phone number of the recipient, in E.164.
        phone: Phone,
        /// What SMS rules require.
        compliance: SmsCompliance,
    },
    /// A Slack or Teams webhook.
    Chat {
        /// URL of the endpoint, sealed by the vault.
        url: Sealed,
        /// The key of its rate limiter.
        fingerprint: String,
    },
    /// A signed webhook to a tenant's endpoint.
    Webhook {
        /// URL of the endpoint, sealed by the vault.
        url: Sealed,
        /// The sealed signing secret.
        secret: Sealed,
        /// The secret from before the last rotation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old_secret: Option<OldSecret>,
    },
}

impl Delivery {
    /// Returns the sort key of the delivery's row.
    #[must_use]
    pub fn row_key(&self) -> String {
        delivery_row_key(&self.destination, self.channel, self.alert.update)
    }

    /// Identifies the attempt on the row whose key is `row`.
    #[must_use]
    pub fn attempt_key<'a>(&'a self, row: &'a str) -> AttemptKey<'a> {
        AttemptKey {
            incident: &self.alert.incident_id,
            tenant: &self.alert.tenant,
            row,
            channel: self.channel,
            update: self.alert.update,
            attempt: self.attempt,
        }
    }
}

impl Delivery {
    /// Builds the first attempt to deliver `update` to `destination` on `channel`; `None` if the destination has no address there.
    #[must_use]
    pub fn build(
        settings: &Settings,
        incident: &Incident,
        update: &Update,
        destination: &Destination,
        channel: Channel,
        role: Option<Role>,
    ) -> Option<Self> {
        let target = match (destination, channel) {
            (Destination::Recipient(recipient), Channel::Email) => {
                DeliveryTarget::Email { address: recipient.email.clone()?, shared: recipient.shared }
            }
            (Destination::Recipient(recipient), Channel::Sms) => {
                DeliveryTarget::Sms { phone: recipient.phone.clone()?, compliance: settings.sms_compliance() }
            }
            (Destination::Integration(integration), Channel::Webhook) => DeliveryTarget::Webhook {
                url: integration.url.clone(),
                secret: integration.secret.clone()?,
                old_secret: integration.old_secret.clone(),
            },
            (Destination::Integration(integration), Channel::Slack | Channel::Teams) => {
                DeliveryTarget::Chat { url: integration.url.clone(), fingerprint: integration.fingerprint.clone() }
            }
            _ => return None,
        };
        let content = settings.data_processing.content;
        let own_zone = match destination {
            Destination::Recipient(recipient) => recipient.zone.as_deref(),
            Destination::Integration(_) => None,
        };
        let zone = own_zone.unwrap_or(&settings.zone);
        let mut alert = Alert::new(&settings.tenant, zone, content, incident, update);
        alert.tenant_name.clone_from(&settings.name);
        if channel != Channel::Webhook {
            // Only webhooks show the source's other data, and it may have 64 KiB.
            alert.details = serde_json::Map::new();
        }
        Some(Self {
            v: VERSION,
            correlation_id: update.correlation_id.clone(),
            alert,
            why: NotificationReason { role, held: None },
            destination: destination.id().to_owned(),
            channel,
            target,
            attempt: 1,
            window_seconds: settings.alert_window_seconds,
            plain: false,
            resend_requested: false,
            bundle: settings.storms == StormMode::Bundle,
            endpoint: match destination {
                Destination::Recipient(_) => EndpointHealth::Healthy,
                Destination::Integration(integration) => EndpointHealth::of_integration(integration),
            },
            slow: match destination {
                Destination::Recipient(_) => None,
                Destination::Integration(integration) => integration.slow,
            },
            follows: None,
        })
    }
}

impl Delivery {
    /// For e-mail: adds what the updates before this one said, and with which of them the recipient's messages began (`None`: with this one).
    /// `updates` are those of the incident that are known, oldest first.
    #[must_use]
    pub fn with_thread<'a>(
        mut self,
        incident: &Incident,
        first_sent: Option<u32>,
        updates: impl DoubleEndedIterator<Item = &'a Update>,
    ) -> Self {
        if self.channel == Channel::Email {
            let number = self.alert.update;
            let earlier = updates.filter(|update| update.number < number);
            self.alert = self.alert.with_thread(incident, first_sent, earlier);
        }
        self
    }

    /// For scheduled maintenance: adds the incidents that it suppressed.
    #[must_use]
    pub fn with_suppressed_incidents(mut self, suppressed: &[SuppressedIncident]) -> Self {
        self.alert.suppressed_incidents = SuppressedIncidents::of(suppressed, &self.alert.tenant);
        self
    }
}
