//! The commands that an operator invokes directly, and their results.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use store::dead_letters::DeadLetter;

/// The payload of a direct invocation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Command {
    /// Lists the dead letters of a function and day.
    List(LetterSelector),
    /// Sends dead letters to their queues again.
    Redrive(LetterSelector),
    /// Seals all dead letters with the newest generation of the data key, for some seconds. Repeat it until it is done.
    Reseal {},
}

/// Selects dead letters by function, day and id.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LetterSelector {
    /// The function that failed to process them.
    pub(crate) function: String,
    /// The day on which they were recorded, in UTC.
    pub(crate) day: Date,
    /// The id of a single letter; absent for all letters of the day.
    #[serde(default)]
    pub(crate) id: Option<String>,
    /// Continues after this letter: `next` of the previous result.
    #[serde(default)]
    pub(crate) after: Option<String>,
}

/// A letter as operators see it. It never contains the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LetterView {
    pub(crate) id: String,
    pub(crate) source_queue: String,
    pub(crate) reason: String,
    pub(crate) correlation_id: Option<String>,
    pub(crate) first_sent_at: Option<Timestamp>,
    pub(crate) at: Timestamp,
    pub(crate) redriven_at: Option<Timestamp>,
    pub(crate) redrives: u32,
}

impl From<DeadLetter> for LetterView {
    fn from(letter: DeadLetter) -> Self {
        Self {
            id: letter.id,
            source_queue: letter.source_queue,
            reason: letter.reason,
            correlation_id: letter.correlation_id,
            first_sent_at: letter.first_sent_at,
            at: letter.at,
            redriven_at: letter.redriven_at,
            redrives: letter.redrives,
        }
    }
}

/// The result of a redrive. Counts are letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct RedriveSummary {
    /// Sent to their queues.
    pub(crate) redriven: u32,
    /// Skipped, because an earlier redrive sent them. To send one again, select it by its id.
    pub(crate) already: u32,
    /// Not sent; the log has the error of each.
    pub(crate) failed: u32,
    /// Pass it as `after` to continue; absent when all selected letters were handled.
    pub(crate) next: Option<String>,
}

impl RedriveSummary {
    /// Counts and logs a letter that was not sent.
    pub(crate) fn count_failed(&mut self, letter: &DeadLetter, cause: &str) {
        self.failed += 1;
        tracing::error!(letter = letter.id, source = letter.function, cause, "cannot redrive dead letter");
    }
}

/// Whether the redrive of a whole day includes this letter. A second redrive of the same day skips letters that the first one sent.
pub(crate) fn needs_redrive(letter: &DeadLetter) -> bool {
    letter.redriven_at.is_none()
}

/// The FIFO deduplication id. Each redrive of a letter has its own; one that is repeated after a crash keeps it.
pub(crate) fn deduplication_id(letter: &DeadLetter) -> String {
    format!("{}-r{}", letter.id, letter.redrives.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn letter() -> DeadLetter {
        DeadLetter {
            id: "m-1".into(),
            function: "classify".into(),
            source_queue: "t-ClassifyQueue-1.fifo".into(),
            reason: "max_receives".into(),
            correlation_id: None,
            first_sent_at: None,
            at: Timestamp::UNIX_EPOCH,
            body: "v1.1.secret".into(),
            group: Some("g".into()),
            redriven_at: None,
            redrives: 0,
        }
    }

    #[test]
    fn a_command_is_list_redrive_or_reseal_and_unknown_fields_are_rejected() {
        let list = json!({"list": {"function": "classify", "day": "2026-11-23"}});
        assert!(matches!(serde_json::from_value(list).unwrap(), Command::List(selector) if selector.id.is_none()));
        let one = json!({"redrive": {"function": "classify", "day": "2026-11-23", "id": "m"}});
        assert!(matches!(serde_json::from_value(one).unwrap(), Command::Redrive(selector) if selector.id.is_some()));
        assert_eq!(serde_json::from_value::<Command>(json!({"reseal": {}})).unwrap(), Command::Reseal {});
        for bad in [
            json!({}),
            json!({"reseal": {"day": "2026-11-23"}}),
            json!({"delete": {"function": "classify", "day": "2026-11-23"}}),
            json!({"redrive": {"function": "classify", "day": "yesterday"}}),
            json!({"redrive": {"function": "classify", "day": "2026-11-23", "ids": ["m"]}}),
            json!({"redrive": {"day": "2026-11-23"}}),
        ] {
            assert!(serde_json::from_value::<Command>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_day_is_redriven_once_and_every_redrive_has_its_own_deduplication_id() {
        let first = letter();
        assert!(needs_redrive(&first));
        assert_eq!(deduplication_id(&first), "m-1-r1");
        let again = DeadLetter { redriven_at: Some(Timestamp::UNIX_EPOCH), redrives: 1, ..first };
        assert!(!needs_redrive(&again));
        assert_eq!(deduplication_id(&again), "m-1-r2");
    }

    #[test]
    fn a_list_contains_no_bodies() {
        let listed = serde_json::to_string(&LetterView::from(letter())).unwrap();
        assert!(!listed.contains("secret") && !listed.contains("body"), "{listed}");
    }
}
