//! The receivers: each path is one, each records what it gets.

use crate::proxy::Wire;
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

/// The API's paths at the emulator: clients that insist on HTTPS, as AWS's API has it, reach them here.
const API: &str = "/_aws/execute-api/";
/// An identity provider's documents, which are https as well. The emulator writes into them the scheme and host that were asked.
const WELL_KNOWN: &str = "/.well-known/";

/// One request as it arrived.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Received {
    received_at: String,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// How a receiver behaves when it is told to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Behaviour {
    status: Option<u16>,
    delay_ms: Option<u64>,
    #[serde(default)]
    reset: bool,
    redirect: Option<String>,
    #[serde(default)]
    huge: bool,
    retry_after: Option<u32>,
    body: Option<String>,
    /// For that many requests; for ever when missing.
    times: Option<u32>,
}

/// Everything that was received, and how the receivers behave.
#[derive(Default)]
pub(crate) struct Inbox {
    received: Mutex<Vec<Received>>,
    behaviours: Mutex<BTreeMap<String, Behaviour>>,
}

impl Inbox {
    pub(crate) fn of(&self, path: &str) -> Vec<Received> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.iter().filter(|entry| path == "/" || entry.path == path).cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn behave(&self, path: &str, behaviour: Option<Behaviour>) {
        let mut behaviours = self.behaviours.lock().unwrap_or_else(PoisonError::into_inner);
        match behaviour {
            Some(behaviour) => drop(behaviours.insert(path.to_owned(), behaviour)),
            None => drop(behaviours.remove(path)),
        }
    }

    fn behaviour(&self, path: &str) -> Behaviour {
        let mut behaviours = self.behaviours.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(behaviour) = behaviours.get_mut(path) else { return Behaviour::default() };
        let now = behaviour.clone();
        if let Some(times) = &mut behaviour.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                behaviours.remove(path);
            }
        }
        now
    }
}

pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    inbox: Arc<Inbox>,
    wire: Arc<Wire>,
) -> Result<()> {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, inbox, wire) = (acceptor.clone(), Arc::clone(&inbox), Arc::clone(&wire));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| receive(Arc::clone(&inbox), Arc::clone(&wire), request));
            // An error is what `reset` asks for: the connection ends without an answer.
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn receive(inbox: Arc<Inbox>, wire: Arc<Wire>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = parts.uri.path().to_owned();
    if path.starts_with(API) || path.contains(WELL_KNOWN) {
        parts.headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        return wire.pass(parts, body).await;
    }
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
    inbox.received.lock().unwrap_or_else(PoisonError::into_inner).push(Received {
        received_at: now(),
        method: parts.method.to_string(),
        path: path.clone(),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    let behaviour = inbox.behaviour(&path);
    if let Some(delay) = behaviour.delay_ms {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    anyhow::ensure!(!behaviour.reset, "told to reset");
    let (status, text) = if path.starts_with("/slack/") {
        (200, "ok")
    } else if path.starts_with("/teams/") {
        (202, "")
    } else {
        (204, "")
    };
    let mut answer = Response::builder().status(StatusCode::from_u16(behaviour.status.unwrap_or(status))?);
    if let Some(location) = &behaviour.redirect {
        answer = answer.status(StatusCode::FOUND).header("location", location);
    }
    if let Some(seconds) = behaviour.retry_after {
        answer = answer.header("retry-after", seconds);
    }
    let text = match (behaviour.huge, behaviour.body) {
        (true, _) => Bytes::from(vec![b'x'; 10 * 1024 * 1024]),
        (false, Some(body)) => Bytes::from(body),
        (false, None) if behaviour.status.is_some() => Bytes::new(),
        (false, None) => Bytes::from_static(text.as_bytes()),
    };
    Ok(answer.body(Full::new(text))?)
}

#[expect(clippy::disallowed_methods, reason = "a receiver outside of Tocsin has a clock of its own")]
fn now() -> String {
    jiff::Timestamp::now().to_string()
}
