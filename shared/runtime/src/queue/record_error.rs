//! Errors of records: what happens to a record that could not be handled.

use aws::AwsError;
use aws::sqs::UnsentMessages;
use contracts::queue::VERSION;
use pipeline::{Fault, Verdict};
use std::time::Duration;
use store::StoreError;

/// At which receive a message about an item that cannot be read is given up: twenty-one minutes after the first one, with the pauses after
/// AWS faults. A deployment takes minutes; if the item is broken, the group's other messages wait for no longer.
const ITEM_RECEIVES_MAX: u32 = 9;

/// At which receive SQS gives a message up (`maxReceiveCount` in `template.yaml`): about three hours after the first one.
pub(super) const RECEIVES_MAX: u32 = 20;

/// Why a record could not be handled, which decides what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// An AWS call failed. The record returns to its queue, each time for longer.
    Retry {
        /// Code and detail for the log.
        code: String,
    },
    /// Another invocation is handling the same work. The record returns to its queue for a given pause.
    RetryAfter {
        /// How long the record stays hidden.
        pause: Duration,
        /// Code for the log.
        code: &'static str,
    },
    /// This version cannot read the message, or a stored item that it is about. A deployment may be under way: the record returns to its queue
    /// like after an AWS fault, and is sent to the dead-letter queue when it was received too often.
    Unreadable {
        /// The reason, without anything of the body or the item.
        reason: String,
        /// At which receive it is sent to the dead-letter queue.
        receives_max: u32,
    },
    /// The message can never be handled. It is sent to the dead-letter queue.
    Unprocessable {
        /// The reason, without anything of the body.
        reason: String,
    },
}

impl RecordError {
    /// Builds a [`RecordError::Retry`] with a code and a detail for the log.
    #[must_use]
    pub fn retry(code: &str, detail: &str) -> Self {
        Self::Retry { code: format!("{code}: {detail}") }
    }

    /// Builds a [`RecordError::RetryAfter`] with a pause and a code for the log.
    #[must_use]
    pub fn retry_after(pause: Duration, code: &'static str) -> Self {
        Self::RetryAfter { pause, code }
    }

    /// Builds the error for an item that cannot be read.
    #[must_use]
    pub fn unreadable_item(reason: String) -> Self {
        Self::Unreadable { reason, receives_max: ITEM_RECEIVES_MAX }
    }

    /// Builds the error for a message of a newer version.
    #[must_use]
    pub fn newer_message(version: u64) -> Self {
        let reason = format!("the message has version {version}, and this function reads up to {VERSION}");
        Self::Unreadable { reason, receives_max: RECEIVES_MAX }
    }

    /// Builds a [`RecordError::Unprocessable`] with the reason for the dead letter.
    #[must_use]
    pub fn unprocessable(reason: &str) -> Self {
        Self::Unprocessable { reason: reason.to_owned() }
    }
}

impl RecordError {
    /// Returns the error as a story's fault.
    #[must_use]
    pub fn into_fault(self) -> Fault {
        match self {
            Self::Retry { code } => Fault::Unavailable { code },
            Self::RetryAfter { code, .. } => Fault::Unavailable { code: code.to_owned() },
            Self::Unreadable { reason, .. } => Fault::Unreadable { reason },
            Self::Unprocessable { reason } => Fault::Unprocessable { reason },
        }
    }
}

/// Maps the end of a story to a record's result.
///
/// # Errors
/// Where the record stays on its queue, or goes to the dead-letter queue.
pub fn verdict_result(verdict: Verdict) -> Result<(), RecordError> {
    match verdict {
        Verdict::Delete => Ok(()),
        Verdict::Return { pause, code } => Err(RecordError::RetryAfter { pause, code }),
        Verdict::Fault { code } => Err(RecordError::Retry { code }),
        Verdict::Unreadable { reason } => Err(RecordError::unreadable_item(reason)),
        Verdict::Park { reason } => Err(RecordError::Unprocessable { reason }),
    }
}

/// Maps a table error to a record's error. Only an invalid request makes the message unprocessable; an item that cannot be read and a missing
/// permission may be repaired by a deployment, so they are retried.
#[must_use]
pub fn store_error(error: StoreError) -> RecordError {
    match error {
        StoreError::Corrupt { .. } => RecordError::unreadable_item(error.to_string()),
        StoreError::Refused { ref code, .. } if code == "ValidationException" => {
            RecordError::Unprocessable { reason: error.to_string() }
        }
        other => RecordError::Retry { code: other.to_string() },
    }
}

/// Maps an AWS error to a record's error. Only invalid content makes the message unprocessable.
#[must_use]
pub fn aws_error(error: AwsError) -> RecordError {
    let reason = error.to_string();
    if error.is_about_content() { RecordError::Unprocessable { reason } } else { RecordError::Retry { code: reason } }
}

/// Maps a partly failed send to a record's error. All messages are sent again; consumers ignore those that arrive twice.
#[must_use]
pub fn unsent_error(unsent: UnsentMessages) -> RecordError {
    RecordError::Retry { code: unsent.to_string() }
}
