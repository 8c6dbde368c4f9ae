//! Queue messages. Each carries its version and the correlation id of the source's request.

mod delivery;
mod outbound;
mod received;
mod routing;

pub use delivery::{Delivery, DeliveryTarget};
pub use outbound::{BatchDelivery, ConfirmationRequest, ContactRefused, OutboundMessage, Question};
pub use received::{FollowUpJob, IncidentReceived, MessageBody, Note};
pub use routing::{RoutingJob, RoutingTarget};

/// The version of every queue message.
pub const VERSION: u32 = 1;

/// The lane of a delivery queue. Each channel has two, so that bulk deliveries do not delay urgent ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Alerts of a single tenant.
    Urgent,
    /// Platform-wide alerts to many tenants, and retries.
    Bulk,
}

/// A message with the correlation id of the source's request.
pub trait Correlated {
    /// Returns the id of the source's request.
    fn correlation_id(&self) -> &str;
}

macro_rules! correlated {
    ($($message:ty),+) => {$(
        impl Correlated for $message {
            fn correlation_id(&self) -> &str {
                &self.correlation_id
            }
        }
    )+};
}

correlated!(IncidentReceived, RoutingJob, Delivery);
