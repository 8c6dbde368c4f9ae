//! Where a letter comes from, and where it goes back to.

use runtime::queue::parked;
use std::collections::BTreeMap;

/// The name of a function that nobody can tell.
pub(crate) const UNKNOWN: &str = "unknown";
/// The reason of what SQS moved by itself.
pub(crate) const MAX_RECEIVES: &str = "max_receives";

/// A queue that letters come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The function that it feeds.
    pub(crate) function: &'static str,
    /// Its URL.
    pub(crate) url: String,
}

impl Source {
    fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }
}

/// What a record's envelope says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The letter's id: that of the message that died, the same for every copy of it.
    pub(crate) id: String,
    /// The function.
    pub(crate) function: String,
    /// The name of the queue that it died on.
    pub(crate) source_queue: String,
    /// Why it died.
    pub(crate) reason: String,
}

/// Reads an envelope. Nothing in it can be so wrong that a letter is refused: what cannot be told is `unknown`.
pub(crate) fn origin(
    sources: &[Source],
    message_id: &str,
    dead_letter_queue: &str,
    moved_from: Option<&str>,
    attributes: &BTreeMap<String, String>,
) -> Origin {
    let said = attributes.get(parked::SOURCE_QUEUE).map(String::as_str).or(moved_from);
    let known = said.and_then(|name| sources.iter().find(|source| source.name() == name));
    // A dead-letter queue's name holds its logical id, whatever the stack is called: DeliverEmailDeadLetterQueue.
    let by_name = || sources.iter().find(|source| dead_letter_queue.contains(&logical_id(source.function)));
    let source = known.or_else(by_name);
    let id = attributes.get(parked::MESSAGE_ID).map(String::as_str).filter(|id| is_plain(id)).unwrap_or(message_id);
    Origin {
        id: id.to_owned(),
        function: source.map_or(UNKNOWN, |source| source.function).to_owned(),
        source_queue: said.or(source.map(Source::name)).unwrap_or_default().to_owned(),
        reason: attributes.get(parked::REASON).cloned().unwrap_or_else(|| MAX_RECEIVES.to_owned()),
    }
}

/// The queue that a letter goes back to: the one it died on, else the urgent one of its function.
pub(crate) fn back_to<'a>(sources: &'a [Source], function: &str, source_queue: &str) -> Option<&'a str> {
    let same = sources.iter().find(|source| source.name() == source_queue);
    let found = same.or_else(|| sources.iter().find(|source| source.function == function));
    found.map(|source| source.url.as_str())
}

/// The upstream's request as the body tells it, where the envelope does not.
pub(crate) fn correlation_of(body: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Known {
        correlation_id: String,
    }
    let known: Known = serde_json::from_str(body).ok()?;
    is_plain(&known.correlation_id).then_some(known.correlation_id)
}

/// What may stand in a key and in a log.
fn is_plain(text: &str) -> bool {
    (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// `deliver-email` → `DeliverEmailDeadLetterQueue`.
fn logical_id(function: &str) -> String {
    let words = function.split('-').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_ascii_uppercase() + rest
    });
    words.collect::<String>() + "DeadLetterQueue"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Vec<Source> {
        let at = |function, name| Source { function, url: format!("https://sqs.test/1/{name}") };
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
    fn a_parked_letter_says_where_it_comes_from() {
        let said = attributes(&[
            ("reason", "it made the function panic"),
            ("source_queue", "t-DeliverEmailBulkQueue-1"),
            ("message_id", "m-1"),
        ]);
        let origin = origin(&sources(), "copy", "t-DeliverEmailDeadLetterQueue-1", None, &said);
        assert_eq!(origin.id, "m-1");
        assert_eq!(origin.function, "deliver-email");
        assert_eq!(origin.source_queue, "t-DeliverEmailBulkQueue-1");
        assert_eq!(origin.reason, "it made the function panic");
    }

    #[test]
    fn what_sqs_moved_is_known_by_its_source_or_else_by_the_dead_letter_queue() {
        let none = attributes(&[]);
        let moved = origin(&sources(), "m", "x", Some("t-DeliverEmailBulkQueue-1"), &none);
        assert_eq!((moved.function.as_str(), moved.reason.as_str()), ("deliver-email", MAX_RECEIVES));
        assert_eq!((moved.id.as_str(), moved.source_queue.as_str()), ("m", "t-DeliverEmailBulkQueue-1"));
        let named = origin(&sources(), "m", "t-ClassifyDeadLetterQueue-7.fifo", None, &none);
        assert_eq!((named.function.as_str(), named.source_queue.as_str()), ("classify", "t-ClassifyQueue-1.fifo"));
    }

    #[test]
    fn nothing_in_an_envelope_loses_a_letter() {
        let odd = attributes(&[("source_queue", "gone"), ("message_id", "a#b"), ("reason", "")]);
        let origin = origin(&sources(), "m", "somebody-elses-queue", None, &odd);
        assert_eq!(
            (origin.id.as_str(), origin.function.as_str(), origin.source_queue.as_str()),
            ("m", UNKNOWN, "gone")
        );
    }

    #[test]
    fn a_letter_goes_back_to_its_lane_or_its_function() {
        let sources = sources();
        let back = |function, queue| back_to(&sources, function, queue);
        assert_eq!(
            back("deliver-email", "t-DeliverEmailBulkQueue-1"),
            Some("https://sqs.test/1/t-DeliverEmailBulkQueue-1")
        );
        assert_eq!(back("deliver-email", "another-stacks"), Some("https://sqs.test/1/t-DeliverEmailQueue-1"));
        assert_eq!(back(UNKNOWN, "gone"), None);
    }

    #[test]
    fn a_body_may_tell_its_correlation_id() {
        assert_eq!(correlation_of(r#"{"v":1,"correlation_id":"req-1","x":[]}"#).as_deref(), Some("req-1"));
        for body in ["", "{", "[]", r#"{"correlation_id":1}"#, r#"{"correlation_id":"a b@c"}"#] {
            assert_eq!(correlation_of(body), None, "{body}");
        }
    }
}
