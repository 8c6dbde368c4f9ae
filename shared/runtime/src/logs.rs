//! What CloudWatch Logs hands to a function that subscribed to a log group.
//!
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html>. `aws_lambda_events` reads it too, with a second
//! library for time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;
use std::io::Read;

/// Most bytes of an event once it is unpacked: an asynchronous invocation carries 1 MiB of it packed.
const UNPACKED_MAX: u64 = 64 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    message_type: String,
    log_events: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    message: String,
}

/// The lines of an event of a subscription.
///
/// # Errors
/// Where it is no such event: a sentence that says so.
pub fn lines(event: &Value) -> Result<Vec<String>, String> {
    let other = || "this function takes messages of its queue, and events of a log group's subscription".to_owned();
    let packed = event.pointer("/awslogs/data").and_then(Value::as_str).ok_or_else(other)?;
    let packed = STANDARD.decode(packed).map_err(|_| other())?;
    let unpacked = GzDecoder::new(packed.as_slice()).take(UNPACKED_MAX);
    let data: Data = serde_json::from_reader(unpacked).map_err(|_| other())?;
    // CloudWatch Logs also asks whether anybody is there.
    let lines = if data.message_type == "DATA_MESSAGE" { data.log_events } else { Vec::new() };
    Ok(lines.into_iter().map(|line| line.message).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_lines_come_out_of_their_envelope() {
        let data = "H4sIAAAAAAACA32PT4vCMBDFv0qZs9Kkm/XP3gp2Pe0itDcRaeuogTYpmUQR6Xc3qQp68Tq/9968d4UWicoDFpcO4SeCRVqk278sz9NlBqMI9FmhCYAnX+J7Mp3NGU8CaPRhabTrAiNFMbpxjcqashnz+FUcL6TB2q5c1Ug6Fnp11Ar/XVv53HtObg2W7RAULuQqqo3srNTqVzYWDXm2hj1s7vrs5B8NtyvI3VAu+Kz0W2zZhkpcCCZEMp9NGWOePVYG7V4astCPoqc5+WTm72bCWqsd9Jv+BvTZmOI6AQAA";
        assert_eq!(lines(&json!({"awslogs": {"data": data}})).unwrap(), ["first", "second"]);
        assert!(lines(&json!({"tick": 1})).unwrap_err().contains("log group"));
    }
}
