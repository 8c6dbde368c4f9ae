//! Accepted events become messages on classify's queue.

use crate::Intake;
use crate::permissions::integration_id;
use aws::sqs::OutgoingMessage;
use contracts::queue::{IncidentReceived, MessageBody, VERSION};
use domain::ids::{EventId, Scope};
use domain::reason::Reason;
use jiff::Timestamp;
use runtime::http::{Caller, Problem};

/// The id and time of an accepted event. All messages of one event share them.
pub(crate) struct EventStamp {
    pub(crate) event_id: EventId,
    pub(crate) at: Timestamp,
    pub(crate) correlation_id: String,
}

impl EventStamp {
    /// Builds the message for one scope. `trouble` is why the event cannot be attributed to a tenant.
    pub(crate) fn message(
        &self,
        caller: &Caller,
        scope: Option<Scope>,
        trouble: Option<Reason>,
        body: MessageBody,
    ) -> IncidentReceived {
        IncidentReceived {
            v: VERSION,
            event_id: self.event_id.clone(),
            correlation_id: self.correlation_id.clone(),
            accepted_at: self.at,
            integration_id: integration_id(caller),
            scope,
            unroutable: trouble,
            body,
        }
    }
}

/// Sends all messages to classify's queue.
///
/// # Errors
/// 503 if any message could not be sent. The caller then sends the request again; of the messages that did arrive there are records.
pub(crate) async fn enqueue(app: &Intake, messages: Vec<IncidentReceived>) -> Result<(), Problem> {
    let mut outgoing = Vec::with_capacity(messages.len());
    for message in &messages {
        let body = serde_json::to_string(message).map_err(|_| Problem::internal())?;
        outgoing.push(OutgoingMessage {
            body,
            group: Some(message.message_group_id()),
            dedup: Some(message.deduplication_id()),
            ..OutgoingMessage::default()
        });
    }
    app.queues.send_all(&app.config.classify_queue_url, outgoing).await.map_err(|unsent| {
        tracing::error!(error = %unsent, "cannot queue accepted events");
        Problem::unavailable()
    })
}
