//! What CloudWatch Logs hands to a function that subscribed to a log group.

use aws_lambda_events::cloudwatch_logs::LogsEvent;
use serde_json::Value;

/// The lines of an event of a subscription.
///
/// # Errors
/// Where it is no such event: a sentence that says so.
pub fn lines(event: Value) -> Result<Vec<String>, String> {
    let read: LogsEvent = serde_json::from_value(event).map_err(|_| {
        "this function takes messages of its queue, and events of a log group's subscription".to_owned()
    })?;
    Ok(read.aws_logs.data.log_events.into_iter().map(|line| line.message).collect())
}
