//! The client itself: what goes out, what may come back, and how each failure is named.

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

use crate::resolve::{Guard, Refused};
use crate::url::{Exceptions, SecretUrl, UrlProblem, callable};

/// No call waits longer than this, whatever the caller asks for.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(15);
/// No more of an answer is read than this; the connection is dropped instead.
pub const LONGEST_RESPONSE: usize = 20_000;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the minute or more after which usual load balancers close an idle connection, so that we seldom meet one that
/// is just being closed.
const IDLE: Duration = Duration::from_secs(50);
const USER_AGENT: &str = concat!("Tocsin/", env!("CARGO_PKG_VERSION"));

/// How the client differs from the default: only ever on the local stack.
#[derive(Debug, Clone, Default)]
pub struct Options {
    exceptions: Exceptions,
    extra_root_pem: Option<String>,
}

impl Options {
    /// From the texts of `OUTBOUND_EXCEPTIONS` (comma-separated `host:port`) and `OUTBOUND_EXTRA_ROOT` (PEM, or the
    /// base64 of PEM); both may be empty.
    ///
    /// # Errors
    /// The variable that cannot be read, with its mend.
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

    /// The exceptions, for [`check_url`](crate::check_url).
    pub fn exceptions(&self) -> &Exceptions {
        &self.exceptions
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The exception list cannot be read.
    #[error(transparent)]
    Exceptions(#[from] crate::url::BadException),
    /// The extra root cannot be read.
    #[error(
        "OUTBOUND_EXTRA_ROOT: not a PEM certificate; write the certificate's PEM text or its base64, or leave it empty"
    )]
    ExtraRoot,
    /// The TLS stack did not start.
    #[error("the HTTP client cannot be built: {0}")]
    Tls(String),
}

/// The answer of the other side, whatever its status: what a status means is the caller's business.
pub struct Response {
    /// The HTTP status. Redirects arrive here as they are: they are never followed.
    pub status: StatusCode,
    /// How long the other side asked us to wait, from now on.
    pub retry_after: Option<Duration>,
    /// The body, at most [`LONGEST_RESPONSE`] bytes of it where it answers a post.
    pub body: Vec<u8>,
    /// Whether the body was longer than we read, or broke off after the status had arrived.
    pub truncated: bool,
    /// From the start of the call to the end of the body.
    pub elapsed: Duration,
}

/// A body may repeat what we sent, so it is not printed.
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

/// Why no answer came. Names neither the URL nor any address: it may be logged and shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Our guard refused the URL or what its name resolves to.
    #[error("refused: {0}")]
    Forbidden(UrlProblem),
    /// The name does not resolve.
    #[error("the host name does not resolve")]
    Dns,
    /// Nobody answers at the address, or the connection was refused.
    #[error("the host does not accept connections")]
    Connect,
    /// The TLS handshake failed; the text says why.
    #[error("TLS failed: {0}")]
    Tls(&'static str),
    /// No complete answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke before an answer.
    #[error("the connection was closed before an answer")]
    Reset,
    /// What came back is not HTTP.
    #[error("the answer is not valid HTTP")]
    Protocol,
}

/// The one HTTP client of a process: build it once, before the first event, and keep it.
#[derive(Clone)]
pub struct Client {
    exceptions: Exceptions,
    guarded: reqwest::Client,
    /// Calls the exceptions, and only them: no resolver guard, and the extra root is trusted here alone. A client of
    /// its own, because a resolver is asked for a name without the port, and an exception is one exact port.
    excepted: Option<reqwest::Client>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({:?})", self.exceptions)
    }
}

impl Client {
    /// Builds the client.
    ///
    /// # Errors
    /// An extra root that is no certificate, or a TLS stack that does not start.
    pub fn new(options: &Options) -> Result<Self, BuildError> {
        let public = certificates()?;
        let guarded = build(builder().dns_resolver(Guard).tls_certs_only(public.clone()))?;
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

    /// Posts once: no redirect, no retry, no proxy; over within `timeout` (at most [`MAX_TIMEOUT`]).
    ///
    /// `now` turns a `Retry-After` date into a duration.
    ///
    /// # Errors
    /// Only when there is no answer at all. Once a status has arrived it counts, even if the body breaks off.
    pub async fn post(
        &self,
        url: &SecretUrl,
        headers: HeaderMap,
        body: Vec<u8>,
        timeout: Duration,
        now: Timestamp,
    ) -> Result<Response, SendError> {
        let request = self.client(url)?.post(url.url().clone()).headers(headers).body(body);
        call(request.timeout(timeout.min(MAX_TIMEOUT)), LONGEST_RESPONSE, now).await
    }

    /// Gets once, under the same guards as [`Client::post`]; of the answer at most `longest` bytes.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub async fn get(
        &self,
        url: &SecretUrl,
        timeout: Duration,
        longest: usize,
        now: Timestamp,
    ) -> Result<Response, SendError> {
        let request = self.client(url)?.get(url.url().clone());
        call(request.timeout(timeout.min(MAX_TIMEOUT)), longest, now).await
    }

    /// The exceptions, for [`check_url`](crate::check_url).
    pub fn exceptions(&self) -> &Exceptions {
        &self.exceptions
    }

    /// The client that may call a URL.
    fn client(&self, url: &SecretUrl) -> Result<&reqwest::Client, SendError> {
        callable(url.url(), &self.exceptions).map_err(SendError::Forbidden)?;
        Ok(match &self.excepted {
            Some(excepted) if self.exceptions.covers(url.url()) => excepted,
            _ => &self.guarded,
        })
    }
}

async fn call(request: reqwest::RequestBuilder, longest: usize, now: Timestamp) -> Result<Response, SendError> {
    let started = Instant::now();
    let mut answer = request.send().await.map_err(|error| named(&error.without_url()))?;
    let status = answer.status();
    let retry_after = retry_after(answer.headers(), now, started.elapsed());
    let (body, truncated) = read(&mut answer, longest).await;
    Ok(Response { status, retry_after, body, truncated, elapsed: started.elapsed() })
}

// The only place that may: the lint forbids it everywhere else, so that no request passes the guard by.
#[allow(clippy::disallowed_methods)]
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(MAX_TIMEOUT)
        .pool_idle_timeout(IDLE)
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, BuildError> {
    builder.build().map_err(|error| BuildError::Tls(error.without_url().to_string()))
}

/// Mozilla's roots, compiled in: scanning the system's store is most of the start-up time of a small function.
fn certificates() -> Result<Vec<Certificate>, BuildError> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|der| Certificate::from_der(der).map_err(|error| BuildError::Tls(error.to_string())))
        .collect()
}

/// Reads no more than we keep; dropping the answer closes what is left of it.
async fn read(answer: &mut reqwest::Response, longest: usize) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(None) => return (body, false),
            Ok(Some(chunk)) => {
                let room = longest - body.len();
                body.extend(chunk.iter().take(room));
                if chunk.len() > room {
                    return (body, true);
                }
            }
            Err(_) => return (body, true),
        }
    }
}

/// Seconds or an HTTP date (RFC 9110, 10.2.3). A date is counted from when the answer came.
fn retry_after(headers: &HeaderMap, now: Timestamp, elapsed: Duration) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = at.duration_since(now);
    Some(Duration::try_from(wait).unwrap_or_default().saturating_sub(elapsed))
}

/// The one cause that matters among those that the HTTP library nests; its own texts may name the host, ours do not.
fn named(error: &reqwest::Error) -> SendError {
    if let Some(refused) = find::<Refused>(error) {
        return SendError::Forbidden(UrlProblem::Forbidden(refused.0));
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return SendError::Tls(tls_reason(tls));
    }
    if error.is_timeout() {
        return SendError::Timeout;
    }
    if error.is_dns() {
        return SendError::Dns;
    }
    let broken = find::<io::Error>(error).is_some_and(|io| {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        matches!(io.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof)
    });
    let cut_off = find::<hyper::Error>(error)
        .is_some_and(|http| http.is_incomplete_message() || http.is_closed() || http.is_canceled());
    if broken || cut_off {
        SendError::Reset
    } else if error.is_connect() {
        SendError::Connect
    } else {
        SendError::Protocol
    }
}

/// The first error of this type in the chain, also inside an [`io::Error`], whose payload is not a `source`.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inside.and_then(|inner| find::<E>(inner)) {
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
        rustls::Error::PeerIncompatible(_) => "the host offers no TLS version or cipher that we accept",
        rustls::Error::InvalidMessage(_) => "the host does not speak TLS on this port",
        _ => "the handshake failed",
    }
}
