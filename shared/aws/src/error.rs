//! Errors of AWS calls, grouped by what the caller can do next.

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

/// Why an AWS call failed. Only [`AwsError::Refused`] can be caused by the message itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// Too many calls. Retry later.
    #[error("throttled by AWS")]
    Throttled,
    /// AWS did not respond, or failed internally. Retry later.
    #[error("AWS did not respond, or failed")]
    Unavailable,
    /// A quota of the account is used up. Retry after it is renewed, and alert an operator.
    #[error("a quota of the AWS account is used up")]
    QuotaExhausted,
    /// Our permissions or credentials are wrong, or a resource does not exist. Retry later, and alert an operator.
    #[error("AWS denied the call ({code}); check the function's role and the resource's policy")]
    Denied {
        /// Error code that AWS returned.
        code: String,
    },
    /// The request is invalid. The same request fails again.
    #[error("AWS rejected the request ({code})")]
    Refused {
        /// Error code that AWS returned.
        code: String,
    },
}

impl AwsError {
    /// Whether AWS rejects the content of the request. Only then is a message given up: an unknown code may be a problem of AWS.
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

/// The parts of a service error that decide its class, independent of the operation's error type.
pub(crate) struct ServiceFailure<'a> {
    pub(crate) code: &'a str,
    pub(crate) status: u16,
    /// AWS's error message. It may repeat parts of the request, so it is inspected but never shown.
    pub(crate) message: &'a str,
}

/// Returns the service's error, or as the error case the class of a call without a usable response.
pub(crate) fn service_failure<E>(error: &SdkError<E, HttpResponse>) -> Result<ServiceFailure<'_>, AwsError>
where
    E: ProvideErrorMetadata,
{
    match error {
        SdkError::ServiceError(context) => {
            let metadata = context.err().meta();
            Ok(ServiceFailure {
                code: metadata.code().unwrap_or("Unknown"),
                status: context.raw().status().as_u16(),
                message: metadata.message().unwrap_or_default(),
            })
        }
        // The request could not be built and was not sent. A retry fails again.
        SdkError::ConstructionFailure(_) => Err(AwsError::Refused { code: "InvalidRequest".to_owned() }),
        // Timeouts, broken connections, responses that do not come from AWS, and kinds that the SDK adds later.
        _ => Err(AwsError::Unavailable),
    }
}

/// Maps an SDK error to an [`AwsError`], for services without codes of their own.
pub(crate) fn classify<E>(error: &SdkError<E, HttpResponse>) -> AwsError
where
    E: ProvideErrorMetadata,
{
    match service_failure(error) {
        Ok(failure) => classify_failure(&failure),
        Err(error) => error,
    }
}

/// Maps a service's error by the codes that all services share.
pub(crate) fn classify_failure(failure: &ServiceFailure<'_>) -> AwsError {
    let code = plain_code(failure.code);
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

/// Removes the prefixes of older protocols (`com.amazonaws.sqs#…`, `AWS.SimpleQueueService.…`) from an error code, and all characters
/// but letters and digits, so that it cannot contain a payload.
pub(crate) fn plain_code(code: &str) -> String {
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
        classify_failure(&ServiceFailure { code, status, message: "" })
    }

    #[test]
    fn codes_map_to_what_the_caller_can_do_next() {
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
    fn a_code_keeps_only_letters_and_digits() {
        assert_eq!(plain_code("https://x/?sig=secret +4915112345"), "httpsxsigsecret4915112345");
        assert!(plain_code(&"x".repeat(500)).len() <= 64);
    }

    #[test]
    fn only_a_refused_request_is_permanent() {
        assert!(mapped("AccessDenied", 403).is_transient());
        assert!(AwsError::Throttled.is_transient());
        assert!(!mapped("InvalidMessageContents", 400).is_transient());
        assert!(mapped("InvalidMessageContents", 400).is_about_content());
        assert!(!mapped("SomethingNew", 400).is_about_content());
    }
}
