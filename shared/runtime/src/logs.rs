//! Reads the events that CloudWatch Logs sends to a function that is subscribed to a log group.
//!
//! Format: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html>. `aws_lambda_events` has a type for it,
//! which needs a second date library.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;
use std::io::Read;

/// Maximum bytes of a decompressed event. An asynchronous invocation has at most 1 MiB compressed.
const UNPACKED_MAX: u64 = 64 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubscriptionData {
    message_type: String,
    log_events: Vec<LogEvent>,
}

#[derive(Deserialize)]
struct LogEvent {
    message: String,
}

/// Returns the log messages of a subscription event.
///
/// # Errors
/// A sentence for the caller if it is not a subscription event.
pub fn subscription_messages(event: &Value) -> Result<Vec<String>, String> {
    let other = || "this function accepts only SQS events and events of a CloudWatch log group subscription".to_owned();
    let packed = event.pointer("/awslogs/data").and_then(Value::as_str).ok_or_else(other)?;
    let packed = STANDARD.decode(packed).map_err(|_| other())?;
    let unpacked = GzDecoder::new(packed.as_slice()).take(UNPACKED_MAX);
    let data: SubscriptionData = serde_json::from_reader(unpacked).map_err(|_| other())?;
    // CloudWatch Logs also sends control messages that check whether the function is reachable.
    let lines = if data.message_type == "DATA_MESSAGE" { data.log_events } else { Vec::new() };
    Ok(lines.into_iter().map(|line| line.message).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn log_messages_are_read_from_a_subscription_event() {
        let data = "H4sIAAAAAAACA32PT4vCMBDFv0qZs9Kkm/XP3gp2Pe0itDcRaeuogTYpmUQR6Xc3qQp68Tq/9968d4UWicoDFpcO4SeCRVqk278sz9NlBqMI9FmhCYAnX+J7Mp3NGU8CaPRhabTrAiNFMbpxjcqashnz+FUcL6TB2q5c1Ug6Fnp11Ar/XVv53HtObg2W7RAULuQqqo3srNTqVzYWDXm2hj1s7vrs5B8NtyvI3VAu+Kz0W2zZhkpcCCZEMp9NGWOePVYG7V4astCPoqc5+WTm72bCWqsd9Jv+BvTZmOI6AQAA";
        assert_eq!(subscription_messages(&json!({"awslogs": {"data": data}})).unwrap(), ["first", "second"]);
        assert!(subscription_messages(&json!({"tick": 1})).unwrap_err().contains("log group"));
    }
}
