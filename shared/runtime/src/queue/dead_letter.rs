//! Dead letters: the messages that a function sends to its dead-letter queue.

use super::RecordMeta;
use aws::sqs::OutgoingMessage;

/// Names of the message attributes of a dead letter.
pub mod dead_letter_attributes {
    /// Why the message was sent to the dead-letter queue.
    pub const REASON: &str = "reason";
    /// Name of the queue that the message came from.
    pub const SOURCE_QUEUE: &str = "source_queue";
    /// SQS message id on that queue.
    pub const MESSAGE_ID: &str = "message_id";
    /// Correlation id of the upstream request, if the message could be parsed.
    pub const CORRELATION_ID: &str = "correlation_id";
    /// When the message was first sent.
    pub const FIRST_SENT_AT: &str = "first_sent_at";
}

/// Builds the dead letter of a record. Empty texts and control characters are replaced or removed, because SQS would reject the message.
pub(super) fn dead_letter_message(
    url: &str,
    meta: &RecordMeta,
    body: &str,
    reason: &str,
    correlation: Option<&str>,
) -> OutgoingMessage {
    let printable = |text: &str| text.chars().filter(|letter| !letter.is_control()).take(200).collect::<String>();
    let attributes = [
        (dead_letter_attributes::REASON, printable(reason)),
        (dead_letter_attributes::SOURCE_QUEUE, printable(&meta.queue)),
        (dead_letter_attributes::MESSAGE_ID, printable(&meta.message_id)),
        (dead_letter_attributes::CORRELATION_ID, correlation.map(printable).unwrap_or_default()),
        (dead_letter_attributes::FIRST_SENT_AT, meta.sent_at.map(|at| at.to_string()).unwrap_or_default()),
    ];
    let fifo = url.ends_with(".fifo");
    OutgoingMessage {
        body: if body.is_empty() { " ".to_owned() } else { body.to_owned() },
        group: fifo.then(|| meta.group.clone().unwrap_or_else(|| "none".to_owned())),
        dedup: fifo.then(|| meta.message_id.clone()),
        delay_seconds: 0,
        attributes: attributes
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| (name.to_owned(), text))
            .collect(),
    }
}
