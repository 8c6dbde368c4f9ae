//! The notifications that SES publishes about a message after it accepted it: identity notifications (`notificationType`) and the events
//! of a configuration set (`eventType`), which have the same structure.
//!
//! <https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html>

use crate::problem::FieldError;
use domain::delivery::FeedbackKind;
use serde::Deserialize;

/// Maximum number of characters kept of a mail server's answer.
const TEXT_MAX: usize = 500;

/// A notification of SES about one message.
#[derive(Debug, PartialEq)]
pub struct SesNotification {
    /// SES's id of the message.
    pub message_id: String,
    /// Returns the feedback and the mail server's text; `None` for kinds of notifications that are not used.
    feedback: Option<(FeedbackKind, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NotificationBody {
    #[serde(alias = "eventType")]
    notification_type: String,
    mail: Mail,
    bounce: Option<Bounce>,
    complaint: Option<Complaint>,
    delivery: Option<Delivery>,
    delivery_delay: Option<Delay>,
    reject: Option<Reject>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mail {
    message_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce {
    bounce_type: String,
    #[serde(default)]
    bounce_sub_type: String,
    #[serde(default)]
    bounced_recipients: Vec<RecipientDiagnostic>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecipientDiagnostic {
    #[serde(default)]
    diagnostic_code: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    #[serde(default)]
    complaint_feedback_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    #[serde(default)]
    smtp_response: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delay {
    #[serde(default)]
    delay_type: String,
    #[serde(default)]
    delayed_recipients: Vec<RecipientDiagnostic>,
}

#[derive(Deserialize)]
struct Reject {
    #[serde(default)]
    reason: String,
}

/// Parses a notification as the SNS topic delivers it (raw delivery).
///
/// # Errors
/// If it is not a notification about a message.
pub fn parse(body: &[u8]) -> Result<SesNotification, FieldError> {
    let written: NotificationBody = crate::problem::parse_object(body)?;
    let diagnostic_or = |recipients: &[RecipientDiagnostic], default: &str| {
        let given = recipients.iter().map(|one| one.diagnostic_code.as_str()).find(|text| !text.is_empty());
        given.unwrap_or(default).to_owned()
    };
    let feedback = match written.notification_type.as_str() {
        "Bounce" => written.bounce.map(|bounce| {
            // `Undetermined` does not suppress the address.
            let permanent = bounce.bounce_type == "Permanent";
            let kind = if permanent { FeedbackKind::Bounced } else { FeedbackKind::Deferred };
            (kind, diagnostic_or(&bounce.bounced_recipients, &bounce.bounce_sub_type))
        }),
        "Complaint" => written
            .complaint
            .map(|complaint| (FeedbackKind::Complained, complaint.complaint_feedback_type.unwrap_or_default())),
        "Delivery" => written.delivery.map(|delivery| (FeedbackKind::Delivered, delivery.smtp_response)),
        "DeliveryDelay" => written
            .delivery_delay
            .map(|delay| (FeedbackKind::Deferred, diagnostic_or(&delay.delayed_recipients, &delay.delay_type))),
        "Reject" => written.reject.map(|reject| (FeedbackKind::Rejected, reject.reason)),
        _ => None,
    };
    let feedback = feedback.map(|(kind, mut text)| {
        domain::event::truncate_chars(&mut text, TEXT_MAX);
        (kind, without_addresses(&text))
    });
    Ok(SesNotification { message_id: written.mail.message_id, feedback })
}

/// Replaces addresses. Mail servers often repeat the address that they reject; neither the row nor a support bundle may contain it.
fn without_addresses(text: &str) -> String {
    let word = |word: &str| if word.contains('@') { "[address]".to_owned() } else { word.to_owned() };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

impl SesNotification {
    /// Returns the feedback and the mail server's text; `None` for kinds of notifications that are not used.
    #[must_use]
    pub fn feedback(&self) -> Option<(FeedbackKind, String)> {
        self.feedback.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn feedback(body: &Value) -> Option<(FeedbackKind, String)> {
        parse(body.to_string().as_bytes()).unwrap().feedback()
    }

    #[test]
    fn every_kind_is_parsed_with_the_servers_text_and_without_addresses() {
        let mail = json!({"messageId": "0000-1", "destination": ["ops@example.com"]});
        for (body, kind, text) in [
            (
                json!({"notificationType": "Bounce", "mail": mail, "bounce": {"bounceType": "Permanent", "bounceSubType": "General",
                    "bouncedRecipients": [{"emailAddress": "ops@example.com", "diagnosticCode": "smtp; 550 5.1.1 <ops@example.com>: unknown"}]}}),
                FeedbackKind::Bounced,
                "smtp; 550 5.1.1 [address] unknown",
            ),
            (
                json!({"eventType": "Bounce", "mail": mail, "bounce": {"bounceType": "Permanent", "bounceSubType": "Suppressed",
                    "bouncedRecipients": [{"emailAddress": "ops@example.com"}]}}),
                FeedbackKind::Bounced,
                "Suppressed",
            ),
            (
                json!({"notificationType": "Bounce", "mail": mail, "bounce": {"bounceType": "Transient", "bounceSubType": "MailboxFull"}}),
                FeedbackKind::Deferred,
                "MailboxFull",
            ),
            (
                json!({"eventType": "DeliveryDelay", "mail": mail, "deliveryDelay": {"delayType": "TransientCommunicationFailure",
                    "delayedRecipients": [{"diagnosticCode": "smtp; 421 4.4.1 Unable to connect"}]}}),
                FeedbackKind::Deferred,
                "smtp; 421 4.4.1 Unable to connect",
            ),
            (
                json!({"notificationType": "Complaint", "mail": mail, "complaint": {"complaintFeedbackType": "abuse"}}),
                FeedbackKind::Complained,
                "abuse",
            ),
            (
                json!({"notificationType": "Delivery", "mail": mail, "delivery": {"smtpResponse": "250 2.6.0 Message received"}}),
                FeedbackKind::Delivered,
                "250 2.6.0 Message received",
            ),
            (
                json!({"eventType": "Reject", "mail": mail, "reject": {"reason": "Bad content"}}),
                FeedbackKind::Rejected,
                "Bad content",
            ),
        ] {
            assert_eq!(feedback(&body), Some((kind, text.to_owned())), "{body}");
        }
        assert_eq!(feedback(&json!({"eventType": "Open", "mail": mail})), None);
        assert!(parse(br#"{"notificationType":"AmazonSnsSubscriptionSucceeded"}"#).is_err());
    }
}
