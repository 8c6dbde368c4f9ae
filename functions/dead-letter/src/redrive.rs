//! What an operator asks for, and which letters that means.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use store::dead::DeadLetter;

/// A direct invocation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Command {
    /// What is there?
    List(Which),
    /// Send it again.
    Redrive(Which),
}

/// Which letters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The function that they died in.
    pub(crate) function: String,
    /// The day on which they were recorded, in UTC.
    pub(crate) day: Date,
    /// One letter; all of the day without.
    #[serde(default)]
    pub(crate) id: Option<String>,
    /// Behind this letter: `next` of the answer before.
    #[serde(default)]
    pub(crate) after: Option<String>,
}

/// A letter as an operator sees it: never its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Shown {
    pub(crate) id: String,
    pub(crate) source_queue: String,
    pub(crate) reason: String,
    pub(crate) correlation_id: Option<String>,
    pub(crate) first_sent_at: Option<Timestamp>,
    pub(crate) at: Timestamp,
    pub(crate) redriven_at: Option<Timestamp>,
    pub(crate) redrives: u32,
}

impl From<DeadLetter> for Shown {
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

/// What came of a redrive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Outcome {
    /// Sent again.
    pub(crate) redriven: u32,
    /// Left alone, because they were sent again before; name one by its id to send it once more.
    pub(crate) already: u32,
    /// Not sent; the log says why.
    pub(crate) failed: u32,
    /// Where to go on, when there was more than fits one invocation.
    pub(crate) next: Option<String>,
}

/// Whether a letter is sent when a whole day is redriven: a second redrive of the day must not send what the first one sent.
pub(crate) fn is_left(letter: &DeadLetter) -> bool {
    letter.redriven_at.is_none()
}

/// The FIFO deduplication id: another for every redrive, the same where one is repeated after a crash.
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
    fn a_command_is_one_of_two_and_a_misspelt_one_is_refused() {
        let list = json!({"list": {"function": "classify", "day": "2026-11-23"}});
        assert!(matches!(serde_json::from_value(list).unwrap(), Command::List(which) if which.id.is_none()));
        let one = json!({"redrive": {"function": "classify", "day": "2026-11-23", "id": "m"}});
        assert!(matches!(serde_json::from_value(one).unwrap(), Command::Redrive(which) if which.id.is_some()));
        for bad in [
            json!({}),
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
        assert!(is_left(&first));
        assert_eq!(deduplication_id(&first), "m-1-r1");
        let again = DeadLetter { redriven_at: Some(Timestamp::UNIX_EPOCH), redrives: 1, ..first };
        assert!(!is_left(&again));
        assert_eq!(deduplication_id(&again), "m-1-r2");
    }

    #[test]
    fn a_list_shows_no_body() {
        let shown = serde_json::to_string(&Shown::from(letter())).unwrap();
        assert!(!shown.contains("secret") && !shown.contains("body"), "{shown}");
    }
}
