//! The delivery log that SNS writes to CloudWatch Logs: one line per text message, up to three days after it was accepted.
//!
//! <https://docs.aws.amazon.com/sns/latest/dg/sms_stats_cloudwatch.html>

use crate::problem::FieldError;
use domain::delivery::FeedbackKind;
use serde::Deserialize;

/// Maximum number of characters kept of a carrier's answer.
const TEXT_MAX: usize = 500;

/// The delivery status of one SMS.
#[derive(Debug, PartialEq, Eq)]
pub struct SmsDeliveryStatus {
    /// SNS's id of the message.
    pub message_id: String,
    /// The kind of feedback.
    pub kind: FeedbackKind,
    /// The carrier's answer, or SNS's.
    pub text: String,
    /// Whether the account's quota or spend limit is exhausted. Then no SMS is sent to anybody.
    pub quota_exhausted: bool,
}

#[derive(Deserialize)]
struct LogLine {
    notification: Notification,
    #[serde(default)]
    delivery: Delivery,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    message_id: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    #[serde(default)]
    provider_response: String,
}

/// Parses one line of the log.
///
/// # Errors
/// If it is not the status of a message.
pub fn parse(line: &[u8]) -> Result<SmsDeliveryStatus, FieldError> {
    let written: LogLine = crate::problem::parse_object(line)?;
    let mut text = written.delivery.provider_response;
    domain::event::truncate_chars(&mut text, TEXT_MAX);
    let says = |phrase: &str| text.to_ascii_lowercase().contains(phrase);
    let quota_exhausted = says("no quota left") || says("spend limit") || says("spending limit");
    let kind = match written.status.as_str() {
        "SUCCESS" => FeedbackKind::Delivered,
        _ if says("opted out") => FeedbackKind::OptedOut,
        _ => FeedbackKind::Rejected,
    };
    Ok(SmsDeliveryStatus {
        message_id: written.notification.message_id,
        kind,
        text: without_numbers(&text),
        quota_exhausted,
    })
}

/// Replaces phone numbers. Carriers may repeat the number; neither the row nor a support bundle may contain it.
fn without_numbers(text: &str) -> String {
    let digits = |word: &str| word.chars().filter(char::is_ascii_digit).count();
    let word = |word: &str| if digits(word) > 6 { "[number]".to_owned() } else { word.to_owned() };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(status: &str, response: &str) -> (FeedbackKind, String, bool) {
        // The documentation's own example, shortened.
        let line = json!({"notification": {"messageId": "34d9b400", "timestamp": "2016-06-28 00:40:34.558"},
            "delivery": {"phoneCarrier": "My Phone Carrier", "numberOfMessageParts": 1, "destination": "+1XXX5550100",
                "priceInUSD": 0.00645, "smsType": "Transactional", "providerResponse": response, "dwellTimeMs": 599},
            "status": status});
        let outcome = parse(line.to_string().as_bytes()).unwrap();
        assert_eq!(outcome.message_id, "34d9b400");
        (outcome.kind, outcome.text, outcome.quota_exhausted)
    }

    #[test]
    fn every_status_is_parsed_with_the_carriers_text_and_without_numbers() {
        for (status, response, kind, quota) in [
            ("SUCCESS", "Message has been accepted by phone carrier", FeedbackKind::Delivered, false),
            ("FAILURE", "Phone number is opted out", FeedbackKind::OptedOut, false),
            ("FAILURE", "No quota left for account", FeedbackKind::Rejected, true),
            ("FAILURE", "This delivery would exceed max price", FeedbackKind::Rejected, false),
            ("FAILURE", "Unknown error attempting to reach phone", FeedbackKind::Rejected, false),
        ] {
            assert_eq!(parsed(status, response), (kind, response.to_owned(), quota));
        }
        assert_eq!(parsed("FAILURE", "+14155550100 is invalid").1, "[number] is invalid");
        assert!(parse(br#"{"status":"SUCCESS"}"#).is_err());
    }
}
