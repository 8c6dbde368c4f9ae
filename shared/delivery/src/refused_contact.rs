//! A contact that refuses messages, which a sender meets before or while it sends: the recipient is marked, so that the next plan knows.

use aws::sqs::{OutgoingMessage, Queues};
use contracts::queue::{ContactRefused, Delivery, VERSION};
use domain::ids::RecipientId;
use domain::reason::Reason;
use pipeline::SendFailure;
use pipeline::deliver::contact_key;

/// Reports to `feedback`, whose queue is `url`, that the contact of a delivery refuses messages. Returns how the send ended: refused for good,
/// with the reason as its cause.
pub async fn report_refused_contact(queues: &Queues, url: &str, delivery: &Delivery, reason: Reason) -> SendFailure {
    let refused = SendFailure::permanent(reason.as_str());
    let Some(recipient) = RecipientId::parse(&delivery.destination) else { return refused };
    let message = ContactRefused {
        v: VERSION,
        tenant: delivery.alert.tenant.clone(),
        recipient,
        incident_id: delivery.alert.incident_id.clone(),
        category: delivery.alert.category,
        contact: contact_key(delivery).unwrap_or_default(),
        reason,
    };
    let Ok(body) = serde_json::to_string(&message) else { return refused };
    match queues.send(url, &OutgoingMessage { body, ..OutgoingMessage::default() }).await {
        Ok(()) => refused,
        // The retry reports it again.
        Err(_) => SendFailure::unavailable("feedback_queue"),
    }
}
