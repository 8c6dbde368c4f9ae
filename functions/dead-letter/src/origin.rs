//! The queue that a dead letter came from, to which a redrive returns it.

use runtime::queue::dead_letter_attributes;
use std::collections::BTreeMap;

/// The function of a letter whose source queue is not known.
pub(crate) const UNKNOWN_FUNCTION: &str = "unknown";
/// The reason of a letter that SQS moved after its last receive.
pub(crate) const MAX_RECEIVES: &str = "max_receives";

/// A queue whose messages can become dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceQueue {
    /// The function that reads it.
    pub(crate) function: &'static str,
    /// URL of the queue.
    pub(crate) url: String,
}

impl SourceQueue {
    fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }
}

/// The origin of a dead letter, from its SQS record and message attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The letter's id: the SQS id of the original message, the same for every copy of it.
    pub(crate) id: String,
    /// The function that failed to process it, or [`UNKNOWN_FUNCTION`].
    pub(crate) function: String,
    /// The name of the queue that it was on; empty if not known.
    pub(crate) source_queue: String,
    /// Why it was moved: the function's text, or [`MAX_RECEIVES`].
    pub(crate) reason: String,
}

/// Identifies a letter's origin. Never fails, so that no letter is lost: a function that cannot be identified is `unknown`.
pub(crate) fn identify_origin(
    sources: &[SourceQueue],
    message_id: &str,
    dead_letter_queue: &str,
    moved_from: Option<&str>,
    attributes: &BTreeMap<String, String>,
) -> Origin {
    let queue = attributes.get(dead_letter_attributes::SOURCE_QUEUE).map(String::as_str).or(moved_from);
    let by_queue = queue.and_then(|name| sources.iter().find(|source| source.name() == name));
    // The name of a dead-letter queue contains its logical id in every stack: DeliverEmailDeadLetterQueue.
    let by_dead_letter_queue =
        || sources.iter().find(|source| dead_letter_queue.contains(&dead_letter_queue_logical_id(source.function)));
    let source = by_queue.or_else(by_dead_letter_queue);
    let id = attributes
        .get(dead_letter_attributes::MESSAGE_ID)
        .map(String::as_str)
        .filter(|id| is_safe_id(id))
        .unwrap_or(message_id);
    Origin {
        id: id.to_owned(),
        function: source.map_or(UNKNOWN_FUNCTION, |source| source.function).to_owned(),
        source_queue: queue.or(source.map(SourceQueue::name)).unwrap_or_default().to_owned(),
        reason: attributes.get(dead_letter_attributes::REASON).cloned().unwrap_or_else(|| MAX_RECEIVES.to_owned()),
    }
}

/// Returns the URL of the queue to return a letter to: the one that it was on, else the urgent queue of its function.
pub(crate) fn return_queue_url<'a>(sources: &'a [SourceQueue], function: &str, source_queue: &str) -> Option<&'a str> {
    let original = sources.iter().find(|source| source.name() == source_queue);
    let found = original.or_else(|| sources.iter().find(|source| source.function == function));
    found.map(|source| source.url.as_str())
}

/// Reads the correlation id from a message's body, for letters without it in their attributes.
pub(crate) fn correlation_id_of(body: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct CorrelatedBody {
        correlation_id: String,
    }
    let parsed: CorrelatedBody = serde_json::from_str(body).ok()?;
    is_safe_id(&parsed.correlation_id).then_some(parsed.correlation_id)
}

/// Whether a text may be used in a table key and in logs: 1 to 100 characters of `A-Z`, `a-z`, `0-9`, `-` and `_`.
fn is_safe_id(text: &str) -> bool {
    (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Returns the logical id of a function's dead-letter queue: `DeliverEmailDeadLetterQueue` for `deliver-email`.
fn dead_letter_queue_logical_id(function: &str) -> String {
    let parts = function.split('-').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_ascii_uppercase() + rest
    });
    parts.collect::<String>() + "DeadLetterQueue"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Vec<SourceQueue> {
        let at = |function, name| SourceQueue { function, url: format!("https://sqs.test/1/{name}") };
        vec![
            at("classify", "t-ClassifyQueue-1.fifo"),
            at("deliver-email", "t-DeliverEmailQueue-1"),
            at("deliver-email", "t-DeliverEmailBulkQueue-1"),
            at("deliver-webhook", "t-DeliverWebhookQueue-1"),
        ]
    }

    fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_parked_letter_names_its_origin_in_its_attributes() {
        let parked = attributes(&[
            ("reason", "the function panicked while handling the message"),
            ("source_queue", "t-DeliverEmailBulkQueue-1"),
            ("message_id", "m-1"),
        ]);
        let origin = identify_origin(&sources(), "copy", "t-DeliverEmailDeadLetterQueue-1", None, &parked);
        assert_eq!(origin.id, "m-1");
        assert_eq!(origin.function, "deliver-email");
        assert_eq!(origin.source_queue, "t-DeliverEmailBulkQueue-1");
        assert_eq!(origin.reason, "the function panicked while handling the message");
    }

    #[test]
    fn a_letter_that_sqs_moved_is_identified_by_its_source_queue_or_its_dead_letter_queue() {
        let none = attributes(&[]);
        let moved = identify_origin(&sources(), "m", "x", Some("t-DeliverEmailBulkQueue-1"), &none);
        assert_eq!((moved.function.as_str(), moved.reason.as_str()), ("deliver-email", MAX_RECEIVES));
        assert_eq!((moved.id.as_str(), moved.source_queue.as_str()), ("m", "t-DeliverEmailBulkQueue-1"));
        let by_name = identify_origin(&sources(), "m", "t-ClassifyDeadLetterQueue-7.fifo", None, &none);
        assert_eq!((by_name.function.as_str(), by_name.source_queue.as_str()), ("classify", "t-ClassifyQueue-1.fifo"));
    }

    #[test]
    fn odd_attributes_do_not_lose_a_letter() {
        let odd = attributes(&[("source_queue", "gone"), ("message_id", "a#b"), ("reason", "")]);
        let origin = identify_origin(&sources(), "m", "somebody-elses-queue", None, &odd);
        assert_eq!(
            (origin.id.as_str(), origin.function.as_str(), origin.source_queue.as_str()),
            ("m", UNKNOWN_FUNCTION, "gone")
        );
    }

    #[test]
    fn a_letter_returns_to_its_own_queue_or_to_its_functions_urgent_queue() {
        let sources = sources();
        let back = |function, queue| return_queue_url(&sources, function, queue);
        assert_eq!(
            back("deliver-email", "t-DeliverEmailBulkQueue-1"),
            Some("https://sqs.test/1/t-DeliverEmailBulkQueue-1")
        );
        assert_eq!(back("deliver-email", "another-stacks"), Some("https://sqs.test/1/t-DeliverEmailQueue-1"));
        assert_eq!(back(UNKNOWN_FUNCTION, "gone"), None);
    }

    #[test]
    fn a_correlation_id_is_read_from_the_body() {
        assert_eq!(correlation_id_of(r#"{"v":1,"correlation_id":"req-1","x":[]}"#).as_deref(), Some("req-1"));
        for body in ["", "{", "[]", r#"{"correlation_id":1}"#, r#"{"correlation_id":"a b@c"}"#] {
            assert_eq!(correlation_id_of(body), None, "{body}");
        }
    }
}
