//! The HTTP client: requests, responses and errors.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use reqwest::Certificate;
use rustls::CertificateError;

use crate::resolve::{ForbiddenAddress, PublicOnlyResolver};
use crate::url::{Exceptions, SecretUrl, UrlProblem, check_callable};

/// Upper limit of any call's timeout.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(15);
/// Maximum bytes read of a response to a POST. The connection is closed after that.
pub const RESPONSE_BYTES_MAX: usize = 20_000;

/// Timeout for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time after which an idle connection is closed. Load balancers usually close theirs after a minute or more, so we rarely use one
/// that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
const USER_AGENT: &str = concat!("Tocsin/", env!("CARGO_PKG_VERSION"));

/// Settings of the client that differ from the default. Used only on the local stack.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    exceptions: Exceptions,
    extra_root_pem: Option<String>,
}

impl ClientOptions {
    /// Parses the values of `OUTBOUND_EXCEPTIONS` (comma-separated `host:port`) and `OUTBOUND_EXTRA_ROOT` (PEM, or PEM in base64). Both
    /// may be empty.
    ///
    /// # Errors
    /// Names the variable that is not valid and how to fix it.
    pub fn parse(exceptions: &str, extra_root: &str) -> Result<Self, BuildError> {
        let exceptions = Exceptions::parse(exceptions)?;
        let extra_root = extra_root.trim();
        let extra_root_pem = if extra_root.is_empty() {
            None
        } else if extra_root.contains("-----BEGIN") {
            Some(extra_root.to_owned())
        } else {
            let bytes = STANDARD.decode(extra_root).map_err(|_| BuildError::ExtraRoot)?;
            Some(String::from_utf8(bytes).map_err(|_| BuildError::ExtraRoot)?)
        };
        Ok(Self { exceptions, extra_root_pem })
    }

    /// Returns the exceptions, for [`check_url`](crate::check_url).
    pub fn exceptions(&self) -> &Exceptions {
        &self.exceptions
    }
}

/// Why the client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The exception list is not valid.
    #[error(transparent)]
    Exceptions(#[from] crate::url::ExceptionsError),
    /// The extra root certificate is not valid.
    #[error(
        "OUTBOUND_EXTRA_ROOT: not a PEM certificate; write the certificate's PEM text or its base64, or leave it empty"
    )]
    ExtraRoot,
    /// The TLS stack could not be set up.
    #[error("the HTTP client cannot be built: {0}")]
    Tls(String),
}

/// A receiver's response, whatever its status. The caller decides what a status means.
pub struct Response {
    /// HTTP status. Redirects are not followed, so their status is returned.
    pub status: StatusCode,
    /// How long the receiver asks to wait (`Retry-After`), from now on.
    pub retry_after: Option<Duration>,
    /// The body: at most [`RESPONSE_BYTES_MAX`] bytes for a POST.
    pub body: Vec<u8>,
    /// Whether the body was longer than the limit, or ended early.
    pub truncated: bool,
    /// Time from the start of the call to the end of the body.
    pub elapsed: Duration,
}

/// Omits the body, which may repeat what we sent.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("retry_after", &self.retry_after)
            .field("body_bytes", &self.body.len())
            .field("truncated", &self.truncated)
            .field("elapsed", &self.elapsed)
            .finish()
    }
}

/// Why a call got no response. Contains neither URL nor address, so it may be logged and shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The URL, or an address that its host resolves to, is forbidden.
    #[error("blocked: {0}")]
    Forbidden(UrlProblem),
    /// The host name does not resolve.
    #[error("the host name does not resolve")]
    Dns,
    /// The host is unreachable or refused the connection.
    #[error("the host does not accept connections")]
    Connect,
    /// The TLS handshake failed; the text says why.
    #[error("TLS failed: {0}")]
    Tls(&'static str),
    /// No response arrived before the timeout.
    #[error("the host did not respond in time")]
    Timeout,
    /// The connection broke before a response.
    #[error("the host closed the connection without a response")]
    Reset,
    /// The response is not HTTP.
    #[error("the response is not valid HTTP")]
    Protocol,
}

/// The process's HTTP client. Build it once, before the first event, and keep it.
#[derive(Clone)]
pub struct Client {
    exceptions: Exceptions,
    guarded: reqwest::Client,
    /// Client for the exceptions only: without the guarded resolver, and the only one to trust the extra root. It is separate, because a
    /// resolver does not see the port, and an exception is for one port.
    excepted: Option<reqwest::Client>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({:?})", self.exceptions)
    }
}

impl Client {
    /// Builds a client with the outbound guard.
    ///
    /// # Errors
    /// If the extra root is not a certificate, or the TLS stack cannot be set up.
    pub fn new(options: &ClientOptions) -> Result<Self, BuildError> {
        let public = public_roots()?;
        let guarded = build(builder().dns_resolver(PublicOnlyResolver).tls_certs_only(public.clone()))?;
        let excepted = if options.exceptions.is_empty() {
            None
        } else {
            let mut roots = public;
            if let Some(pem) = &options.extra_root_pem {
                let extra = Certificate::from_pem_bundle(pem.as_bytes()).map_err(|_| BuildError::ExtraRoot)?;
                if extra.is_empty() {
                    return Err(BuildError::ExtraRoot);
                }
                roots.extend(extra);
            }
            Some(build(builder().tls_certs_only(roots))?)
        };
        Ok(Self { exceptions: options.exceptions.clone(), guarded, excepted })
    }

    /// Sends one POST, without redirects, retries or proxy. Ends within `timeout` (at most [`TIMEOUT_MAX`]).
    ///
    /// `now` is needed to turn a `Retry-After` date into a duration.
    ///
    /// # Errors
    /// Only if no response arrived. Once the status has arrived, the response counts even if its body ends early.
    pub async fn post(
        &self,
        url: &SecretUrl,
        headers: HeaderMap,
        body: Vec<u8>,
        timeout: Duration,
        now: Timestamp,
    ) -> Result<Response, SendError> {
        let request = self.client_for(url)?.post(url.url().clone()).headers(headers).body(body);
        call(request.timeout(timeout.min(TIMEOUT_MAX)), RESPONSE_BYTES_MAX, now).await
    }

    /// Sends one GET, with the same protection as [`Client::post`], and reads at most `max_bytes` of the response.
    ///
    /// # Errors
    /// Like [`Client::post`].
    pub async fn get(
        &self,
        url: &SecretUrl,
        timeout: Duration,
        max_bytes: usize,
        now: Timestamp,
    ) -> Result<Response, SendError> {
        let request = self.client_for(url)?.get(url.url().clone());
        call(request.timeout(timeout.min(TIMEOUT_MAX)), max_bytes, now).await
    }

    /// Returns the exceptions, for [`check_url`](crate::check_url).
    pub fn exceptions(&self) -> &Exceptions {
        &self.exceptions
    }

    /// Checks a URL and returns the client that may call it.
    fn client_for(&self, url: &SecretUrl) -> Result<&reqwest::Client, SendError> {
        check_callable(url.url(), &self.exceptions).map_err(SendError::Forbidden)?;
        Ok(match &self.excepted {
            Some(excepted) if self.exceptions.contains(url.url()) => excepted,
            _ => &self.guarded,
        })
    }
}

async fn call(request: reqwest::RequestBuilder, max_bytes: usize, now: Timestamp) -> Result<Response, SendError> {
    let started = Instant::now();
    let mut answer = request.send().await.map_err(|error| classify_error(&error.without_url()))?;
    let status = answer.status();
    let retry_after = retry_after(answer.headers(), now, started.elapsed());
    let (body, truncated) = read_body(&mut answer, max_bytes).await;
    Ok(Response { status, retry_after, body, truncated, elapsed: started.elapsed() })
}

// The only use of reqwest's builder. A lint forbids it everywhere else, so that no request bypasses the address check.
#[allow(clippy::disallowed_methods)]
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT_MAX)
        .pool_idle_timeout(IDLE_TIMEOUT)
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, BuildError> {
    builder.build().map_err(|error| BuildError::Tls(error.without_url().to_string()))
}

/// Returns Mozilla's root certificates, which are compiled in. Scanning the system's certificate store would take most of a small
/// function's start-up time.
fn public_roots() -> Result<Vec<Certificate>, BuildError> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|der| Certificate::from_der(der).map_err(|error| BuildError::Tls(error.to_string())))
        .collect()
}

/// Reads at most `max_bytes` of a body, and whether it was longer or ended early. Dropping the response closes the connection.
async fn read_body(answer: &mut reqwest::Response, max_bytes: usize) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(None) => return (body, false),
            Ok(Some(chunk)) => {
                let room = max_bytes - body.len();
                body.extend(chunk.iter().take(room));
                if chunk.len() > room {
                    return (body, true);
                }
            }
            Err(_) => return (body, true),
        }
    }
}

/// Reads `Retry-After`: seconds or an HTTP date (RFC 9110, 10.2.3). A date counts from the arrival of the response.
fn retry_after(headers: &HeaderMap, now: Timestamp, elapsed: Duration) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = at.duration_since(now);
    Some(Duration::try_from(wait).unwrap_or_default().saturating_sub(elapsed))
}

/// Finds the decisive cause among the nested errors of the HTTP library. The library's texts may contain the host; ours do not.
fn classify_error(error: &reqwest::Error) -> SendError {
    if let Some(refused) = find_in_chain::<ForbiddenAddress>(error) {
        return SendError::Forbidden(UrlProblem::Forbidden(refused.0));
    }
    if let Some(tls) = find_in_chain::<rustls::Error>(error) {
        return SendError::Tls(tls_reason(tls));
    }
    if error.is_timeout() {
        return SendError::Timeout;
    }
    if error.is_dns() {
        return SendError::Dns;
    }
    let broken = find_in_chain::<io::Error>(error).is_some_and(|io| {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        matches!(io.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof)
    });
    let cut_off = find_in_chain::<hyper::Error>(error)
        .is_some_and(|http| http.is_incomplete_message() || http.is_closed() || http.is_canceled());
    if broken || cut_off {
        SendError::Reset
    } else if error.is_connect() {
        SendError::Connect
    } else {
        SendError::Protocol
    }
}

/// Returns the first error of a type in the chain of sources, including the payload of an [`io::Error`], which is not a `source`.
fn find_in_chain<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inside.and_then(|inner| find_in_chain::<E>(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn tls_reason(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet"
            }
            CertificateError::UnknownIssuer => {
                "the certificate's issuer is not trusted, or its intermediate certificate is missing"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is for another host name"
            }
            CertificateError::Revoked => "the certificate is revoked",
            _ => "the certificate is not valid",
        },
        rustls::Error::AlertReceived(_) => "the host refused the handshake",
        rustls::Error::PeerIncompatible(_) => "the host offers no TLS version or cipher that Tocsin accepts",
        rustls::Error::InvalidMessage(_) => "the host does not speak TLS on this port",
        _ => "the handshake failed",
    }
}
