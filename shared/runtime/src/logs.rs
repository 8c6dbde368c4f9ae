//! What CloudWatch Logs hands to a function that subscribed to a log group.

use aws_lambda_events::cloudwatch_logs::LogsEvent;
use serde_json::Value;

/// The lines of an event of a subscription.
///
/// # Errors
/// Where it is no such event: a sentence that says so.
pub fn lines(event: &Value) -> Result<Vec<String>, String> {
    // Its own reader borrows the names of fields, so it reads text and no value.
    let read: LogsEvent = serde_json::from_str(&event.to_string()).map_err(|_| {
        "this function takes messages of its queue, and events of a log group's subscription".to_owned()
    })?;
    let data = read.aws_logs.data;
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
