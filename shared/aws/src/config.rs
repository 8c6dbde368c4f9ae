//! Loads the AWS SDK configuration, once per process.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

/// Root certificates of Amazon Trust Services, which sign all AWS endpoints except those in China.
const AMAZON_ROOTS: &[u8] = include_bytes!("../roots/amazon.pem");

/// Timeout for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of one attempt. A healthy call takes milliseconds, and three attempts must fit the working time of the shortest function
/// (7 of 8 s).
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2_000);
/// Maximum attempts per call.
const ATTEMPTS_MAX: u32 = 3;
/// Timeout of an attempt to send a message to a person. An attempt that timed out may have been accepted, and another one could send
/// a second copy. It leaves three of the function's eight seconds.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before the first retry. The SDK's default of one second would use half of an alert's latency budget.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// Loads configuration and credentials from the function's environment (`AWS_ENDPOINT_URL` included). Call it once per process, before
/// the first event.
///
/// Trusts only Amazon's roots instead of scanning the system's certificate store, which takes most of a cold start.
pub async fn load() -> SdkConfig {
    loader().await.load().await
}

async fn loader() -> ConfigLoader {
    let region = EnvironmentVariableRegionProvider::new().region().await;
    let mut roots = TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
    // Endpoints in the China partition have certificates of other authorities.
    if region.is_some_and(|region| region.as_ref().starts_with("cn-")) {
        roots = roots.with_native_roots(true);
    }
    let mut http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    // If this TLS context cannot be built, the client uses the system's roots, which is slower but equally safe.
    if let Ok(context) = TlsContext::builder().with_trust_store(roots).build() {
        http = http.tls_context(context);
    }
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.build_https())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX).with_initial_backoff(FIRST_BACKOFF))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .build(),
        )
}

/// Returns the retry and timeout settings for messages to people: a single attempt with a long timeout. The SDK cannot know whether an
/// attempt that timed out was accepted, so its retry could send a message twice.
pub(crate) fn send_once_config() -> (RetryConfig, TimeoutConfig) {
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(SEND_TIMEOUT).build();
    (RetryConfig::disabled(), timeouts)
}

/// Builds the same configuration for a server on loopback, with invalid credentials.
#[cfg(test)]
pub(crate) async fn test_config(endpoint: &str) -> SdkConfig {
    let credentials = aws_sdk_sqs::config::Credentials::new("test", "test", None, None, "test");
    let region = aws_config::Region::new("eu-central-1");
    loader().await.endpoint_url(endpoint).region(region).credentials_provider(credentials).load().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trust_store_has_five_certificates() {
        let pem = std::str::from_utf8(AMAZON_ROOTS).unwrap();
        assert_eq!(pem.matches("-----BEGIN CERTIFICATE-----").count(), 5);
        assert_eq!(pem.matches("-----END CERTIFICATE-----").count(), 5);
    }

    // A root that does not parse panics at a function's first call, so this test makes one.
    #[tokio::test]
    async fn every_root_certificate_parses_at_the_first_call() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        drop(listener);
        let queues = crate::sqs::Queues::new(&test_config(&endpoint).await);
        let sent = queues.send(&format!("{endpoint}/1/q"), &crate::sqs::OutgoingMessage::default()).await;
        assert_eq!(sent, Err(crate::AwsError::Unavailable));
    }
}
