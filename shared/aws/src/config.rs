//! The one SDK configuration of a process.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

/// Amazon Trust Services: the roots under which every endpoint of AWS stands, China's aside.
const AMAZON_ROOTS: &[u8] = include_bytes!("../roots/amazon.pem");

const CONNECT: Duration = Duration::from_secs(1);
/// Within one attempt: a healthy call takes milliseconds, and three attempts must fit the time for work of the shortest
/// function (7 of 8 s).
const ATTEMPT: Duration = Duration::from_millis(2_000);
const ATTEMPTS: u32 = 3;
/// For a message to a person: an attempt that we give up on may still have been accepted, and the next one would be a
/// second copy. It leaves three seconds of the function's eight.
const SENDING_ATTEMPT: Duration = Duration::from_secs(5);
/// The default of one second would spend half an alert's time budget on the first hiccup.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// Loads configuration and credentials as AWS gives them to a function (`AWS_ENDPOINT_URL` included); call it once per
/// process, before the first event.
///
/// Trusts Amazon's own roots only, instead of scanning the system's store: that scan is most of a cold start.
pub async fn load() -> SdkConfig {
    loader().await.load().await
}

async fn loader() -> ConfigLoader {
    let region = EnvironmentVariableRegionProvider::new().region().await;
    let mut roots = TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
    // The endpoints of the China partition are certified by others.
    if region.is_some_and(|region| region.as_ref().starts_with("cn-")) {
        roots = roots.with_native_roots(true);
    }
    let mut http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    // Without a TLS context of our own the system's roots are used: slower, and just as right.
    if let Ok(context) = TlsContext::builder().with_trust_store(roots).build() {
        http = http.tls_context(context);
    }
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.build_https())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_BACKOFF))
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build())
}

/// How often and how long a message to a person is tried within one call: once, and patiently. The SDK cannot know
/// whether a call that timed out was accepted, and would send twice.
pub(crate) fn sending() -> (RetryConfig, TimeoutConfig) {
    let patient = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(SENDING_ATTEMPT).build();
    (RetryConfig::disabled(), patient)
}

/// The same configuration, for tests: towards a server on loopback, with credentials of no account.
#[cfg(test)]
pub(crate) async fn towards(endpoint: &str) -> SdkConfig {
    let nobody = aws_sdk_sqs::config::Credentials::new("test", "test", None, None, "test");
    let region = aws_config::Region::new("eu-central-1");
    loader().await.endpoint_url(endpoint).region(region).credentials_provider(nobody).load().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roots_are_five_certificates() {
        let pem = std::str::from_utf8(AMAZON_ROOTS).unwrap();
        assert_eq!(pem.matches("-----BEGIN CERTIFICATE-----").count(), 5);
        assert_eq!(pem.matches("-----END CERTIFICATE-----").count(), 5);
    }

    // A root that does not parse would panic at the first call of a cold function: here it does so first.
    #[tokio::test]
    async fn every_root_parses_when_the_first_call_builds_its_connector() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        drop(listener);
        let queues = crate::sqs::Queues::new(&towards(&endpoint).await);
        let sent = queues.send(&format!("{endpoint}/1/q"), &crate::sqs::Outgoing::default()).await;
        assert_eq!(sent, Err(crate::AwsError::Unavailable));
    }
}
