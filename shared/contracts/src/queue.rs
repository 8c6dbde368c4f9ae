//! Queue messages. Each carries its version and the correlation id of the source's request.

mod delivery;
mod outbound;
mod received;
mod routing;

pub use delivery::{Delivery, DeliveryTarget, delivery_row_key};
pub use outbound::{BatchDelivery, ConfirmationRequest, OutboundMessage, SmsOptOut};
pub use received::{FollowUpJob, IncidentReceived, MessageBody, Note};
pub use routing::{RoutingJob, RoutingTarget};

/// The version of every queue message.
pub const VERSION: u32 = 1;

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
