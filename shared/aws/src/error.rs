//! What went wrong with an AWS call, by what to do next.

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

/// Why an AWS call failed. Nothing here is the message's fault but [`AwsError::Refused`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// Too many calls: do the same again, later.
    #[error("throttled by AWS")]
    Throttled,
    /// No answer, or AWS's own fault: do the same again, later.
    #[error("AWS did not answer or failed")]
    Unavailable,
    /// A quota of the account is used up: again when it is renewed, and tell an operator.
    #[error("a quota of the AWS account is used up")]
    QuotaExhausted,
    /// Our permissions, credentials or a named resource are wrong: again later, and tell an operator.
    #[error("AWS denied the call ({code}); check the function's role and the resource's policy")]
    Denied {
        /// AWS's error code.
        code: String,
    },
    /// The request itself is wrong: the same request will be refused again.
    #[error("AWS refused the request ({code})")]
    Refused {
        /// AWS's error code.
        code: String,
    },
}

impl AwsError {
    /// Whether it is what the request carries that AWS will never take: only then is a message given up for it. A code that
    /// nobody here has heard of may be AWS's own trouble.
    pub fn is_about_content(&self) -> bool {
        matches!(self, Self::Refused { code } if matches!(
            code.as_str(),
            "InvalidRequest"
                | "InvalidMessageContents"
                | "InvalidParameterValue"
                | "InvalidParameterValueException"
                | "MessageTooLong"
                | "BatchRequestTooLong"
        ))
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// An error code and the other facts that decide, freed from the operation's own error type.
pub(crate) struct Failure<'a> {
    pub(crate) code: &'a str,
    pub(crate) status: u16,
    /// AWS's sentence. It may repeat what we sent: to be looked into, never shown.
    pub(crate) message: &'a str,
}

/// Splits "AWS answered with an error" from "there was no usable answer".
pub(crate) fn failure<E>(error: &SdkError<E, HttpResponse>) -> Result<Failure<'_>, AwsError>
where
    E: ProvideErrorMetadata,
{
    match error {
        SdkError::ServiceError(context) => {
            let metadata = context.err().meta();
            Ok(Failure {
                code: metadata.code().unwrap_or("Unknown"),
                status: context.raw().status().as_u16(),
                message: metadata.message().unwrap_or_default(),
            })
        }
        // The request was never sent, because it cannot be written: sending it again will not help.
        SdkError::ConstructionFailure(_) => Err(AwsError::Refused { code: "InvalidRequest".to_owned() }),
        // Timeouts, connections, answers that are no AWS answer, and whatever the SDK adds later.
        _ => Err(AwsError::Unavailable),
    }
}

/// The mapping that all services share.
pub(crate) fn classify<E>(error: &SdkError<E, HttpResponse>) -> AwsError
where
    E: ProvideErrorMetadata,
{
    match failure(error) {
        Ok(failure) => shared(&failure),
        Err(known) => known,
    }
}

pub(crate) fn shared(failure: &Failure<'_>) -> AwsError {
    let code = bare(failure.code);
    if failure.status == 429 || is_throttle(&code) {
        AwsError::Throttled
    } else if failure.status >= 500 || is_outage(&code) {
        AwsError::Unavailable
    } else if is_quota(&code) {
        AwsError::QuotaExhausted
    } else if is_denied(&code) {
        AwsError::Denied { code }
    } else {
        AwsError::Refused { code }
    }
}

/// The code without the decorations of older protocols (`com.amazonaws.sqs#…`, `AWS.SimpleQueueService.…`), and with
/// nothing in it that could be a payload.
pub(crate) fn bare(code: &str) -> String {
    let last = code.rsplit(['#', '.']).next().unwrap_or(code);
    last.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}

fn is_throttle(code: &str) -> bool {
    matches!(
        code,
        "Throttling"
            | "ThrottlingException"
            | "Throttled"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequests"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded"
            | "ProvisionedThroughputExceededException"
            | "KmsThrottled"
            | "KMSThrottlingException"
            | "OverLimit"
            | "SlowDown"
            | "PriorRequestNotComplete"
    )
}

fn is_quota(code: &str) -> bool {
    matches!(code, "LimitExceeded" | "LimitExceededException" | "QuotaExceeded" | "ServiceQuotaExceededException")
}

fn is_outage(code: &str) -> bool {
    matches!(
        code,
        "InternalError"
            | "InternalFailure"
            | "InternalErrorException"
            | "InternalServerError"
            | "ServiceUnavailable"
            | "ServiceUnavailableException"
            | "RequestTimeout"
            | "RequestTimeoutException"
            | "DependencyTimeoutException"
            | "KMSInternalException"
            | "KeyUnavailableException"
            | "RequestExpired"
    )
}

fn is_denied(code: &str) -> bool {
    matches!(
        code,
        "AccessDenied"
            | "AccessDeniedException"
            | "AuthorizationError"
            | "AuthorizationErrorException"
            | "UnauthorizedOperation"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "InvalidAccessKeyId"
            | "InvalidSecurity"
            | "InvalidSecurityException"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "NotAuthorized"
            | "OptInRequired"
            | "QueueDoesNotExist"
            | "NonExistentQueue"
            | "KmsAccessDenied"
            | "KMSAccessDeniedException"
            | "KmsDisabled"
            | "KMSDisabledException"
            | "KmsInvalidState"
            | "KMSInvalidStateException"
            | "KmsNotFound"
            | "KMSNotFoundException"
            | "DisabledException"
            | "NotFoundException"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(code: &str, status: u16) -> AwsError {
        shared(&Failure { code, status, message: "" })
    }

    #[test]
    fn codes_are_mapped_by_what_to_do_next() {
        let denied = |code: &str| AwsError::Denied { code: code.to_owned() };
        let refused = |code: &str| AwsError::Refused { code: code.to_owned() };
        for (code, status, expected) in [
            ("ThrottlingException", 400, AwsError::Throttled),
            ("Throttling", 400, AwsError::Throttled),
            ("RequestThrottled", 403, AwsError::Throttled),
            ("AWS.SimpleQueueService.RequestThrottled", 403, AwsError::Throttled),
            ("com.amazonaws.sqs#RequestThrottled", 400, AwsError::Throttled),
            ("Whatever", 429, AwsError::Throttled),
            ("LimitExceededException", 400, AwsError::QuotaExhausted),
            ("ServiceQuotaExceededException", 402, AwsError::QuotaExhausted),
            ("Whatever", 500, AwsError::Unavailable),
            ("ServiceUnavailable", 503, AwsError::Unavailable),
            ("KMSInternalException", 500, AwsError::Unavailable),
            ("AccessDenied", 403, denied("AccessDenied")),
            ("AccessDeniedException", 400, denied("AccessDeniedException")),
            ("AWS.SimpleQueueService.NonExistentQueue", 400, denied("NonExistentQueue")),
            ("ExpiredTokenException", 403, denied("ExpiredTokenException")),
            ("InvalidCiphertextException", 400, refused("InvalidCiphertextException")),
            ("InvalidMessageContents", 400, refused("InvalidMessageContents")),
        ] {
            assert_eq!(mapped(code, status), expected, "{code} {status}");
        }
    }

    #[test]
    fn a_code_shows_nothing_but_letters_and_digits() {
        assert_eq!(bare("https://x/?sig=secret +4915112345"), "httpsxsigsecret4915112345");
        assert!(bare(&"x".repeat(500)).len() <= 64);
    }

    #[test]
    fn only_a_refused_request_is_final() {
        assert!(mapped("AccessDenied", 403).is_transient());
        assert!(AwsError::Throttled.is_transient());
        assert!(!mapped("InvalidMessageContents", 400).is_transient());
        assert!(mapped("InvalidMessageContents", 400).is_about_content());
        assert!(!mapped("SomethingNew", 400).is_about_content());
    }
}
