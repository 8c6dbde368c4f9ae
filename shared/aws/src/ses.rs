//! Sends one e-mail to one recipient with SES.

use aws_config::SdkConfig;
use aws_sdk_ses::Client;
use aws_sdk_ses::config::http::HttpResponse;
use aws_sdk_ses::error::SdkError;
use aws_sdk_ses::operation::send_raw_email::SendRawEmailError;
use aws_sdk_ses::primitives::Blob;
use aws_sdk_ses::types::RawMessage;

use crate::error::{AwsError, ServiceFailure, classify_failure, service_failure};

/// Why an e-mail was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The account's sending rate is exceeded. Retry in a moment; this does not count as an attempt.
    #[error("throttled by SES: over the account's sending rate")]
    Throttled,
    /// The account's daily quota is used up, or its sending is paused. Retry hours later, and alert an operator.
    #[error("SES does not send for this account: its daily quota is used up or sending is paused")]
    DailyQuota,
    /// Our permissions or credentials are wrong. Retry later, and alert an operator.
    #[error("SES denied the call ({code}); check the function's role and the sender identity")]
    Denied {
        /// Error code that AWS returned.
        code: String,
    },
    /// SES rejects this message or address. The same message fails again.
    #[error("SES rejected the message ({code})")]
    Refused {
        /// Error code that AWS returned.
        code: String,
    },
    /// SES did not respond, or failed internally. Retry later.
    #[error("SES did not respond, or failed")]
    Unavailable,
}

/// Sends e-mails with SES.
#[derive(Debug, Clone)]
pub struct EmailSender {
    client: Client,
}

impl EmailSender {
    /// Creates a client with the process's configuration.
    ///
    /// The SDK's retries are off. It cannot know whether a call that timed out was accepted, so a retry could send twice.
    pub fn new(config: &SdkConfig) -> Self {
        let (retries, timeouts) = crate::config::send_once_config();
        let own = aws_sdk_ses::config::Builder::from(config).retry_config(retries).timeout_config(timeouts).build();
        Self { client: Client::from_conf(own) }
    }

    /// Sends a MIME message to one recipient and returns SES's message id.
    ///
    /// Retries once if the connection broke: after a pause between two events, a kept connection is usually closed.
    ///
    /// # Errors
    /// [`MailError`] of the call. After `Unavailable`, the message may have been accepted.
    pub async fn send_raw(&self, from: &str, to: &str, mime: Vec<u8>) -> Result<String, MailError> {
        let mime = Blob::new(mime);
        let answer = match self.attempt(from, to, mime.clone()).await {
            Err(SdkError::DispatchFailure(broken)) if !broken.is_timeout() => self.attempt(from, to, mime).await,
            answer => answer,
        };
        answer.map_err(|error| mail_error(&error, from))
    }

    async fn attempt(
        &self,
        from: &str,
        to: &str,
        mime: Blob,
    ) -> Result<String, SdkError<SendRawEmailError, HttpResponse>> {
        let message = RawMessage::builder().data(mime).build().map_err(SdkError::construction_failure)?;
        let answer = self.client.send_raw_email().source(from).destinations(to).raw_message(message).send().await?;
        Ok(answer.message_id)
    }
}

fn mail_error(error: &SdkError<SendRawEmailError, HttpResponse>, from: &str) -> MailError {
    match service_failure(error) {
        Ok(failure) => classify_ses_failure(&failure, from),
        Err(error) => from_aws_error(error),
    }
}

fn classify_ses_failure(failure: &ServiceFailure<'_>, from: &str) -> MailError {
    let message = failure.message.to_ascii_lowercase();
    match crate::error::plain_code(failure.code).as_str() {
        // Rate and daily quota share one code. Only the message distinguishes them.
        "Throttling" | "ThrottlingException" if message.contains("daily") || message.contains("quota exceeded") => {
            MailError::DailyQuota
        }
        "AccountSendingPausedException" | "ConfigurationSetSendingPausedException" | "AccountSuspendedException" => {
            MailError::DailyQuota
        }
        // One code for two faults. In the sandbox, the recipient is not verified, and no retry helps. An unverified sender is a fault
        // of our setup, and must not make every e-mail fail permanently.
        "MessageRejected" if message.contains("not verified") && message.contains(&address(from)) => {
            MailError::Denied { code: "SenderNotVerified".to_owned() }
        }
        code @ ("MailFromDomainNotVerifiedException" | "ConfigurationSetDoesNotExist") => {
            MailError::Denied { code: code.to_owned() }
        }
        _ => from_aws_error(classify_failure(failure)),
    }
}

/// Returns the address of `Name <address>` in lower case.
fn address(from: &str) -> String {
    let bare = from.rsplit_once('<').map_or(from, |(_, rest)| rest.trim_end_matches('>'));
    bare.trim().to_ascii_lowercase()
}

fn from_aws_error(error: AwsError) -> MailError {
    match error {
        AwsError::Throttled => MailError::Throttled,
        AwsError::Unavailable => MailError::Unavailable,
        AwsError::QuotaExhausted => MailError::DailyQuota,
        AwsError::Denied { code } => MailError::Denied { code },
        AwsError::Refused { code } => MailError::Refused { code },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wiremock::matchers::{any, body_string_contains};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    const ACCEPTED: &str = "<SendRawEmailResponse><SendRawEmailResult><MessageId>m-1</MessageId></SendRawEmailResult>\
        <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></SendRawEmailResponse>";

    async fn send(endpoint: &str) -> Result<String, MailError> {
        let mailer = EmailSender::new(&crate::config::test_config(endpoint).await);
        mailer
            .send_raw("Tocsin <alerts@tocsin.example>", "hunter2@acme.example", b"Subject: hunter2\r\n\r\nx".to_vec())
            .await
    }

    fn refusal(code: &str, message: &str) -> String {
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
            <RequestId>r</RequestId></ErrorResponse>"
        )
    }

    #[tokio::test]
    async fn an_accepted_message_returns_its_id() {
        let server = MockServer::start().await;
        Mock::given(body_string_contains("Action=SendRawEmail"))
            .and(body_string_contains("Destinations.member.1=hunter2%40acme.example"))
            .respond_with(ResponseTemplate::new(200).set_body_raw(ACCEPTED, "text/xml"))
            .mount(&server)
            .await;
        assert_eq!(send(&server.uri()).await.unwrap(), "m-1");
    }

    #[tokio::test]
    async fn errors_map_to_what_the_caller_can_do_and_are_not_retried() {
        let denied = |code: &str| MailError::Denied { code: code.to_owned() };
        let refused = |code: &str| MailError::Refused { code: code.to_owned() };
        for (status, code, message, expected) in [
            (400, "Throttling", "Maximum sending rate exceeded.", MailError::Throttled),
            (400, "Throttling", "Daily message quota exceeded.", MailError::DailyQuota),
            (454, "Throttling", "Daily sending quota exceeded.", MailError::DailyQuota),
            (400, "AccountSendingPausedException", "paused", MailError::DailyQuota),
            (400, "ConfigurationSetSendingPausedException", "paused", MailError::DailyQuota),
            (400, "MessageRejected", "Email address is not verified: hunter2@acme.example", refused("MessageRejected")),
            (
                400,
                "MessageRejected",
                "Email address is not verified. The following identities failed the check: Alerts@tocsin.example",
                denied("SenderNotVerified"),
            ),
            (400, "InvalidParameterValue", "Illegal address hunter2", refused("InvalidParameterValue")),
            (400, "MailFromDomainNotVerifiedException", "x", denied("MailFromDomainNotVerifiedException")),
            (400, "ConfigurationSetDoesNotExist", "x", denied("ConfigurationSetDoesNotExist")),
            (403, "AccessDenied", "User arn is not authorized", denied("AccessDenied")),
            (403, "ExpiredToken", "x", denied("ExpiredToken")),
            (500, "InternalFailure", "x", MailError::Unavailable),
            (503, "ServiceUnavailable", "x", MailError::Unavailable),
        ] {
            let server = MockServer::start().await;
            Mock::given(any())
                .respond_with(ResponseTemplate::new(status).set_body_raw(refusal(code, message), "text/xml"))
                .mount(&server)
                .await;
            let error = send(&server.uri()).await.unwrap_err();
            assert_eq!(error, expected, "{code} {message}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
            assert_eq!(server.received_requests().await.unwrap().len(), 1, "{code}");
        }
    }

    #[tokio::test]
    async fn a_call_that_times_out_is_not_retried() {
        let server = MockServer::start().await;
        let late = ResponseTemplate::new(200).set_body_raw(ACCEPTED, "text/xml").set_delay(Duration::from_secs(9));
        Mock::given(any()).respond_with(late).mount(&server).await;
        let started = std::time::Instant::now();
        assert_eq!(send(&server.uri()).await, Err(MailError::Unavailable));
        assert!(started.elapsed() < Duration::from_secs(7));
        assert_eq!(server.received_requests().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_broken_connection_is_retried_once() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (mut broken, _) = listener.accept().await.unwrap();
            let _ = broken.read(&mut [0; 1]).await;
            drop(broken);
            let (mut whole, _) = listener.accept().await.unwrap();
            let _ = whole.read(&mut [0; 65_536]).await;
            let length = ACCEPTED.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ncontent-type: text/xml\r\n\r\n{ACCEPTED}");
            whole.write_all(answer.as_bytes()).await.unwrap();
            whole
        });
        assert_eq!(send(&endpoint).await.unwrap(), "m-1");
        drop(serving.await.unwrap());
        assert_eq!(send(&endpoint).await, Err(MailError::Unavailable));
    }
}
