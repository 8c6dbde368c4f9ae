//! Sends one SMS to one phone number with SNS.

use std::fmt;

use aws_config::SdkConfig;
use aws_sdk_sns::Client;
use aws_sdk_sns::config::http::HttpResponse;
use aws_sdk_sns::error::{BuildError, SdkError};
use aws_sdk_sns::operation::publish::PublishError;
use aws_sdk_sns::types::MessageAttributeValue;

use crate::error::{AwsError, ServiceFailure, classify_failure, service_failure};

/// An SMS to send.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sms {
    /// Phone number in E.164 format.
    pub phone: String,
    /// Text of the message.
    pub text: String,
    /// Sender name shown on the phone, in countries that allow it.
    pub sender_id: Option<String>,
    /// India only: id of the registered entity (DLT).
    pub entity_id: Option<String>,
    /// India only: id of the registered template (DLT).
    pub template_id: Option<String>,
    /// Maximum price of the message in US dollars, for example `0.50`.
    pub max_price: Option<String>,
}

impl fmt::Debug for Sms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sms").field("text_bytes", &self.text.len()).finish_non_exhaustive()
    }
}

/// Why an SMS was not accepted. SNS accepts most messages that it cannot deliver, and reports that later as feedback.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmsError {
    /// The account's sending rate is exceeded. Retry in a moment; this does not count as an attempt.
    #[error("throttled by SNS: over the account's sending rate")]
    Throttled,
    /// The account's monthly spend limit or sandbox quota is used up. Retry hours later, and alert an operator.
    #[error("the SMS quota or spend limit of the AWS account is used up")]
    QuotaExhausted,
    /// The phone's owner replied STOP.
    #[error("the phone number is opted out")]
    OptedOut,
    /// Our permissions or credentials are wrong. Retry later, and alert an operator.
    #[error("SNS denied the call ({code}); check the function's role")]
    Denied {
        /// Error code that AWS returned.
        code: String,
    },
    /// SNS rejects this number or text. The same message fails again.
    #[error("SNS rejected the message ({code})")]
    Refused {
        /// Error code that AWS returned.
        code: String,
    },
    /// SNS did not respond, or failed internally. Retry later.
    #[error("SNS did not respond, or failed")]
    Unavailable,
}

/// Sends SMS with SNS.
#[derive(Debug, Clone)]
pub struct SmsSender {
    client: Client,
}

impl SmsSender {
    /// Creates a client with the process's configuration. The SDK's retries are off, as for e-mail.
    pub fn new(config: &SdkConfig) -> Self {
        let (retries, timeouts) = crate::config::send_once_config();
        let own = aws_sdk_sns::config::Builder::from(config).retry_config(retries).timeout_config(timeouts).build();
        Self { client: Client::from_conf(own) }
    }

    /// Sends a transactional SMS and returns SNS's message id.
    ///
    /// Retries once if the connection broke, as for e-mail.
    ///
    /// # Errors
    /// [`SmsError`] of the call. After `Unavailable`, the message may have been accepted.
    pub async fn send(&self, sms: &Sms) -> Result<String, SmsError> {
        let answer = match self.attempt(sms).await {
            Err(SdkError::DispatchFailure(broken)) if !broken.is_timeout() => self.attempt(sms).await,
            answer => answer,
        };
        answer.map_err(|error| sms_error(&error))
    }

    async fn attempt(&self, sms: &Sms) -> Result<String, SdkError<PublishError, HttpResponse>> {
        let mut call = self.client.publish().phone_number(&sms.phone).message(&sms.text);
        for (name, kind, value) in attributes(sms) {
            call = call.message_attributes(name, attribute(kind, value).map_err(SdkError::construction_failure)?);
        }
        Ok(call.send().await?.message_id.unwrap_or_default())
    }
}

fn attributes(sms: &Sms) -> impl Iterator<Item = (&'static str, &'static str, &str)> {
    [
        // Alerts are transactional. Carriers block promotional messages at night and for numbers on opt-out lists.
        ("AWS.SNS.SMS.SMSType", "String", Some("Transactional")),
        ("AWS.SNS.SMS.SenderID", "String", sms.sender_id.as_deref()),
        ("AWS.MM.SMS.EntityId", "String", sms.entity_id.as_deref()),
        ("AWS.MM.SMS.TemplateId", "String", sms.template_id.as_deref()),
        ("AWS.SNS.SMS.MaxPrice", "Number", sms.max_price.as_deref()),
    ]
    .into_iter()
    .filter_map(|(name, kind, value)| Some((name, kind, value.filter(|value| !value.is_empty())?)))
}

fn attribute(kind: &str, value: &str) -> Result<MessageAttributeValue, BuildError> {
    MessageAttributeValue::builder().data_type(kind).string_value(value).build()
}

fn sms_error(error: &SdkError<PublishError, HttpResponse>) -> SmsError {
    match service_failure(error) {
        Ok(failure) => classify_sns_failure(&failure),
        Err(error) => from_aws_error(error),
    }
}

fn classify_sns_failure(failure: &ServiceFailure<'_>) -> SmsError {
    let says = |text: &str| failure.message.to_ascii_lowercase().contains(text);
    match crate::error::plain_code(failure.code).as_str() {
        "OptedOut" | "OptedOutException" => SmsError::OptedOut,
        _ if says("opted out") => SmsError::OptedOut,
        _ if says("no quota left") || says("spend limit") || says("spending limit") => SmsError::QuotaExhausted,
        _ => from_aws_error(classify_failure(failure)),
    }
}

fn from_aws_error(error: AwsError) -> SmsError {
    match error {
        AwsError::Throttled => SmsError::Throttled,
        AwsError::Unavailable => SmsError::Unavailable,
        AwsError::QuotaExhausted => SmsError::QuotaExhausted,
        AwsError::Denied { code } => SmsError::Denied { code },
        AwsError::Refused { code } => SmsError::Refused { code },
    }
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    const ACCEPTED: &str = "<PublishResponse><PublishResult><MessageId>m-1</MessageId></PublishResult>\
        <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></PublishResponse>";

    async fn answering(status: u16, body: &str) -> (MockServer, SmsSender) {
        let server = MockServer::start().await;
        Mock::given(any())
            .respond_with(ResponseTemplate::new(status).set_body_raw(body, "text/xml"))
            .mount(&server)
            .await;
        let texter = SmsSender::new(&crate::config::test_config(&server.uri()).await);
        (server, texter)
    }

    fn sms() -> Sms {
        Sms { phone: "+4915112345678".to_owned(), text: "hunter2".to_owned(), ..Sms::default() }
    }

    async fn body(server: &MockServer) -> String {
        String::from_utf8(server.received_requests().await.unwrap()[0].body.clone()).unwrap()
    }

    #[tokio::test]
    async fn an_indian_sms_carries_its_dlt_registration() {
        let (server, texter) = answering(200, ACCEPTED).await;
        let sms = Sms {
            sender_id: Some("TOCSIN".to_owned()),
            entity_id: Some("1101".to_owned()),
            template_id: Some("2202".to_owned()),
            max_price: Some("0.50".to_owned()),
            ..sms()
        };
        assert_eq!(texter.send(&sms).await.unwrap(), "m-1");
        let body = body(&server).await;
        for (name, kind, value) in [
            ("AWS.SNS.SMS.SMSType", "String", "Transactional"),
            ("AWS.SNS.SMS.SenderID", "String", "TOCSIN"),
            ("AWS.MM.SMS.EntityId", "String", "1101"),
            ("AWS.MM.SMS.TemplateId", "String", "2202"),
            ("AWS.SNS.SMS.MaxPrice", "Number", "0.50"),
        ] {
            let at =
                body.split("MessageAttributes.entry.").find(|part| part.contains(&format!("Name={name}&"))).unwrap();
            let number = at.split('.').next().unwrap();
            for (field, expected) in [("DataType", kind), ("StringValue", value)] {
                let pair = format!("MessageAttributes.entry.{number}.Value.{field}={expected}");
                assert!(body.contains(&pair), "{pair} in {body}");
            }
        }
        assert!(body.contains("PhoneNumber=%2B4915112345678"));
        assert!(!body.contains("TopicArn"));
    }

    #[tokio::test]
    async fn empty_attributes_are_omitted() {
        let (server, texter) = answering(200, ACCEPTED).await;
        texter.send(&Sms { sender_id: Some(String::new()), ..sms() }).await.unwrap();
        assert_eq!(body(&server).await.matches("Name=AWS").count(), 1);
    }

    #[tokio::test]
    async fn errors_map_to_what_the_caller_can_do_and_are_not_retried() {
        let denied = |code: &str| SmsError::Denied { code: code.to_owned() };
        let refused = |code: &str| SmsError::Refused { code: code.to_owned() };
        for (status, code, message, expected) in [
            (400, "Throttling", "Rate exceeded", SmsError::Throttled),
            (429, "ThrottledException", "Rate exceeded", SmsError::Throttled),
            (400, "OptedOut", "hunter2", SmsError::OptedOut),
            (400, "InvalidParameter", "Invalid parameter: +4915112345678 is opted out", SmsError::OptedOut),
            (400, "InvalidParameter", "Invalid parameter: PhoneNumber +4915112345678", refused("InvalidParameter")),
            (400, "UserError", "No quota left for account", SmsError::QuotaExhausted),
            (403, "AuthorizationError", "not authorized", denied("AuthorizationError")),
            (403, "InvalidClientTokenId", "x", denied("InvalidClientTokenId")),
            (500, "InternalError", "x", SmsError::Unavailable),
        ] {
            let xml = format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                <RequestId>r</RequestId></ErrorResponse>"
            );
            let (server, texter) = answering(status, &xml).await;
            let error = texter.send(&sms()).await.unwrap_err();
            assert_eq!(error, expected, "{code} {message}");
            assert!(!format!("{error} {error:?} {:?}", sms()).contains("hunter2"));
            assert!(!format!("{error} {error:?} {:?}", sms()).contains("49151"));
            assert_eq!(server.received_requests().await.unwrap().len(), 1, "{code}");
        }
    }
}
