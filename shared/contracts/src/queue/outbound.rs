//! Messages to the deliver functions that are not a single delivery, and the opt-out that deliver-sms reports.

use super::{Correlated, Delivery, DeliveryTarget, VERSION};
use domain::ids::{IncidentId, RecipientId, TenantId};
use domain::reason::Reason;
use domain::tenant::Sealed;
use domain::vocabulary::Category;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A message to deliver-email or deliver-sms: a delivery, a confirmation request or a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OutboundMessage {
    /// One update to one destination on one channel.
    Delivery(Box<Delivery>),
    /// A request to confirm an address or phone number.
    Confirmation(Box<ConfirmationRequest>),
    /// Several deliveries in one message.
    Batch(Box<BatchDelivery>),
}

impl Correlated for OutboundMessage {
    fn correlation_id(&self) -> &str {
        match self {
            Self::Delivery(delivery) => &delivery.correlation_id,
            Self::Confirmation(confirmation) => &confirmation.correlation_id,
            // A batch combines many requests; the log shows the first one's id.
            Self::Batch(batch) => batch.members.first().map_or("", |first| &first.correlation_id),
        }
    }
}

/// release → deliver-*: several deliveries to one recipient that are sent as one message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchDelivery {
    /// The message version, [`VERSION`].
    pub v: u32,
    /// The deliveries, each with a row of its own. Texts that a digest does not show are empty.
    pub members: Vec<Delivery>,
    /// Number of further deliveries, which the message counts without listing them.
    #[serde(default)]
    pub omitted_count: u32,
    /// Whether it is a bundle (too many alerts at once). Otherwise it is the recipient's digest.
    #[serde(default)]
    pub storm: bool,
}

impl BatchDelivery {
    /// Maximum number of deliveries: they fit a queue message (256 KiB) with room to spare.
    pub const MEMBERS_MAX: usize = 100;

    /// Creates a batch and clears the texts that it does not show.
    #[must_use]
    pub fn new(members: Vec<Delivery>, omitted_count: u32, storm: bool) -> Self {
        let without_hidden_texts = |mut delivery: Delivery| {
            let alert = &mut delivery.alert;
            alert.message.clear();
            alert.links.clear();
            alert.key_details = domain::render::target_detail(alert).cloned().into_iter().collect();
            alert.measurements.clear();
            alert.labels.clear();
            alert.details.clear();
            alert.suppressed_incidents.limit_named(3);
            alert.components.truncate(3);
            alert.regions.truncate(3);
            delivery
        };
        Self { v: VERSION, members: members.into_iter().map(without_hidden_texts).collect(), omitted_count, storm }
    }
}

/// preferences-api → deliver-email, deliver-sms: ask the owner of an address or number to confirm that a tenant may send alerts to it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfirmationRequest {
    /// The message version, [`VERSION`].
    pub v: u32,
    /// The id of the admin's request.
    pub correlation_id: String,
    /// The tenant that asks.
    pub tenant: TenantId,
    /// The tenant's display name.
    pub tenant_name: String,
    /// The recipient that is asked.
    pub recipient: RecipientId,
    /// A keyed hash of the address or number. The link or code confirms this identity and nothing else.
    pub identity: String,
    /// Time until which the link is valid.
    pub until: Timestamp,
    /// The sealed code that an SMS contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Sealed>,
    /// The address or number to send to.
    pub target: DeliveryTarget,
    /// What its owner is asked.
    #[serde(default, skip_serializing_if = "Question::is_confirmation")]
    pub question: Question,
}

/// What the owner of an address or number is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Whether a tenant may send alerts there.
    #[default]
    Confirm,
    /// Whether mail is welcome again at an address that is suppressed. Nothing else is sent there.
    AllowAgain,
    /// Whether somebody who unsubscribed wants alerts again.
    SubscribeAgain,
}

impl Question {
    fn is_confirmation(&self) -> bool {
        *self == Self::Confirm
    }

    /// Whether it asks about an earlier refusal.
    #[must_use]
    pub fn is_resubscription(self) -> bool {
        self != Self::Confirm
    }
}

impl std::fmt::Debug for ConfirmationRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConfirmationRequest({} {})", self.tenant, self.recipient)
    }
}

/// deliver-sms, deliver-email → feedback: the phone's owner has opted out of SMS, or the address is suppressed for the whole stack, so that
/// the recipient is marked as well, and the tenant's org admins are notified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactRefused {
    /// The message version, [`VERSION`].
    pub v: u32,
    /// The tenant of the recipient.
    pub tenant: TenantId,
    /// Id of the recipient.
    pub recipient: RecipientId,
    /// The incident that the message was about.
    pub incident_id: IncidentId,
    /// The incident's category.
    pub category: Option<Category>,
    /// The phone number or address, hashed as in `domain::contact`.
    pub contact: String,
    /// Why nothing is sent there. Default: the owner opted out of SMS.
    #[serde(default = "opted_out", skip_serializing_if = "is_opt_out")]
    pub reason: Reason,
}

fn is_opt_out(reason: &Reason) -> bool {
    *reason == Reason::OptedOut
}

fn opted_out() -> Reason {
    Reason::OptedOut
}
