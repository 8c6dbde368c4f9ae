//! The receivers: each path is one receiver, which records its requests.

use crate::proxy::Proxy;
use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// Paths of the API, which are passed on to the emulator: some clients accept only HTTPS, which the real API has.
const API: &str = "/_aws/execute-api/";
/// Documents of an identity provider, which are passed on as well. The emulator writes the requested scheme and host into them.
const WELL_KNOWN: &str = "/.well-known/";

/// A request that a receiver got.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ReceivedRequest {
    received_at: String,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// How a receiver behaves, other than by default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Behavior {
    status: Option<u16>,
    delay_ms: Option<u64>,
    /// True to close the connection without a response.
    #[serde(default)]
    reset: bool,
    /// A URL to redirect to.
    redirect: Option<String>,
    /// True for a response body of 10 MiB.
    #[serde(default)]
    huge: bool,
    /// The value of the Retry-After header, in seconds.
    retry_after: Option<u32>,
    body: Option<String>,
    /// The number of requests for which this applies; all if missing.
    times: Option<u32>,
}

/// The requests of all receivers, and their behavior.
#[derive(Default)]
pub(crate) struct Inbox {
    received: Mutex<Vec<ReceivedRequest>>,
    behaviors: Mutex<BTreeMap<String, Behavior>>,
}

impl Inbox {
    /// Returns the requests to one path, or all for `/`.
    pub(crate) fn requests_to(&self, path: &str) -> Vec<ReceivedRequest> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.iter().filter(|entry| path == "/" || entry.path == path).cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Sets the behavior of a path, or resets it to the default.
    pub(crate) fn set_behavior(&self, path: &str, behavior: Option<Behavior>) {
        let mut behaviors = self.behaviors.lock().unwrap_or_else(PoisonError::into_inner);
        match behavior {
            Some(behavior) => drop(behaviors.insert(path.to_owned(), behavior)),
            None => drop(behaviors.remove(path)),
        }
    }

    /// Returns the behavior for the next request to a path, and counts that request.
    fn next_behavior(&self, path: &str) -> Behavior {
        let mut behaviors = self.behaviors.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(behavior) = behaviors.get_mut(path) else { return Behavior::default() };
        let now = behavior.clone();
        if let Some(times) = &mut behavior.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                behaviors.remove(path);
            }
        }
        now
    }
}

pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    inbox: Arc<Inbox>,
    proxy: Arc<Proxy>,
) -> Result<()> {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, inbox, proxy) = (acceptor.clone(), Arc::clone(&inbox), Arc::clone(&proxy));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| receive(Arc::clone(&inbox), Arc::clone(&proxy), request));
            // `reset` returns an error, which closes the connection without a response.
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn receive(inbox: Arc<Inbox>, proxy: Arc<Proxy>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = parts.uri.path().to_owned();
    if path.starts_with(API) || path.contains(WELL_KNOWN) {
        parts.headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        return proxy.forward(parts, body).await;
    }
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
    inbox.received.lock().unwrap_or_else(PoisonError::into_inner).push(ReceivedRequest {
        received_at: now(),
        method: parts.method.to_string(),
        path: path.clone(),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    let behavior = inbox.next_behavior(&path);
    if let Some(delay) = behavior.delay_ms {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    anyhow::ensure!(!behavior.reset, "reset was requested");
    let (status, text) = if path.starts_with("/slack/") {
        (200, "ok")
    } else if path.starts_with("/teams/") {
        (202, "")
    } else {
        (204, "")
    };
    let mut response = Response::builder().status(StatusCode::from_u16(behavior.status.unwrap_or(status))?);
    if let Some(location) = &behavior.redirect {
        response = response.status(StatusCode::FOUND).header("location", location);
    }
    if let Some(seconds) = behavior.retry_after {
        response = response.header("retry-after", seconds);
    }
    let text = match (behavior.huge, behavior.body) {
        (true, _) => Bytes::from(vec![b'x'; 10 * 1024 * 1024]),
        (false, Some(body)) => Bytes::from(body),
        (false, None) if behavior.status.is_some() => Bytes::new(),
        (false, None) => Bytes::from_static(text.as_bytes()),
    };
    Ok(response.body(Full::new(text))?)
}

#[expect(clippy::disallowed_methods, reason = "receivers are outside of Tocsin and have their own clock")]
fn now() -> String {
    jiff::Timestamp::now().to_string()
}
