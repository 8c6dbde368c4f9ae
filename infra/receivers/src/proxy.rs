//! The wire between the functions and the emulator: every AWS call goes through here, is counted, and can be held, so that a
//! test can kill a function while its claim, its send or its mark is on the way.

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Which call to hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    /// Such as `dynamodb.UpdateItem`.
    operation: String,
    /// What its body contains.
    #[serde(default)]
    contains: String,
    /// True: the call is made, its answer is held.
    #[serde(default)]
    after: bool,
    /// How many such calls pass before one is held.
    #[serde(default)]
    skip: u32,
}

struct Holding {
    hold: Hold,
    /// Whoever called gives up after two seconds and calls again, which is not to get through: it waits as well.
    waiting: Vec<oneshot::Sender<bool>>,
}

#[derive(Default)]
struct State {
    calls: BTreeMap<String, u64>,
    holds: BTreeMap<u64, Holding>,
    next: u64,
}

/// The wire.
pub(crate) struct Wire {
    emulator: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
    state: Mutex<State>,
}

impl Wire {
    pub(crate) fn new(emulator: &str) -> Result<Self> {
        let emulator = emulator.parse().context("the emulator's address is not a URL")?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { emulator, client, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn calls(&self) -> BTreeMap<String, u64> {
        self.state().calls.clone()
    }

    pub(crate) fn forget(&self) {
        self.state().calls.clear();
    }

    pub(crate) fn hold(&self, hold: Hold) -> u64 {
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        state.holds.insert(id, Holding { hold, waiting: Vec::new() });
        id
    }

    pub(crate) fn is_held(&self, id: u64) -> bool {
        self.state().holds.get(&id).is_some_and(|holding| !holding.waiting.is_empty())
    }

    pub(crate) fn release(&self, id: u64, drop_it: bool) {
        for sender in self.state().holds.remove(&id).into_iter().flat_map(|holding| holding.waiting) {
            // Nobody may be waiting any more: the function that called was killed.
            let _ = sender.send(drop_it);
        }
    }

    /// Passes a request on to the emulator as it is.
    pub(crate) async fn pass(&self, mut parts: Parts, body: Bytes) -> Result<Response<Full<Bytes>>> {
        let mut uri = self.emulator.clone().into_parts();
        uri.path_and_query = parts.uri.path_and_query().cloned();
        parts.uri = Uri::from_parts(uri)?;
        // The Host header is signed, so it stays what the caller sent.
        let answer = self.client.request(Request::from_parts(parts, Full::new(body))).await?;
        let (parts, body) = answer.into_parts();
        Ok(Response::from_parts(parts, Full::new(body.collect().await?.to_bytes())))
    }

    /// Counts a call; gives back what to wait for if it is to be held, and whether its answer is.
    fn arrive(&self, operation: &str, body: &[u8]) -> Option<(oneshot::Receiver<bool>, bool)> {
        let mut state = self.state();
        *state.calls.entry(operation.to_owned()).or_default() += 1;
        let text = String::from_utf8_lossy(body);
        let is_meant = |hold: &Hold| hold.operation == operation && text.contains(&hold.contains);
        let holding = state.holds.values_mut().find(|holding| is_meant(&holding.hold))?;
        if holding.hold.skip > 0 {
            holding.hold.skip -= 1;
            return None;
        }
        let after = holding.hold.after && holding.waiting.is_empty();
        let (sender, receiver) = oneshot::channel();
        holding.waiting.push(sender);
        Some((receiver, after))
    }
}

pub(crate) async fn serve(listener: TcpListener, wire: Arc<Wire>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let wire = Arc::clone(&wire);
        tokio::spawn(async move {
            let service = service_fn(move |request| forward(Arc::clone(&wire), request));
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// A call on its way. Whoever made it and went away before its answer cannot know whether it was done.
struct OnItsWay {
    wire: Arc<Wire>,
    operation: String,
    answered: bool,
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        if !self.answered {
            *self.wire.state().calls.entry(format!("{} unanswered", self.operation)).or_default() += 1;
        }
    }
}

async fn forward(wire: Arc<Wire>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let operation = operation(&parts, &body);
    let held = wire.arrive(&operation, &body);
    let mut on_its_way = OnItsWay { wire: Arc::clone(&wire), operation, answered: false };
    let (before, after) = match held {
        Some((receiver, false)) => (Some(receiver), None),
        Some((receiver, true)) => (None, Some(receiver)),
        None => (None, None),
    };
    if let Some(receiver) = before {
        anyhow::ensure!(!receiver.await.unwrap_or(true), "told to drop");
    }
    let answer = wire.pass(parts, body).await?;
    if let Some(receiver) = after {
        anyhow::ensure!(!receiver.await.unwrap_or(true), "told to drop");
    }
    on_its_way.answered = true;
    Ok(answer)
}

/// `service.Operation`: the JSON protocols name it in a header, the query protocols in the form.
fn operation(parts: &Parts, body: &[u8]) -> String {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    if let Some((service, operation)) = header("x-amz-target").and_then(|target| target.split_once('.')) {
        let service = service.to_ascii_lowercase();
        let service = match service.as_str() {
            "amazonsqs" => "sqs",
            "trentservice" => "kms",
            name if name.starts_with("dynamodb") => "dynamodb",
            name => name,
        };
        return format!("{service}.{operation}");
    }
    let text = String::from_utf8_lossy(body);
    let action = text.split('&').find_map(|pair| pair.strip_prefix("Action="));
    // The credential scope of the signature says which service a form is for.
    let service = header("authorization").and_then(|value| value.split('/').nth(3)).unwrap_or("unknown");
    match action {
        Some(action) => format!("{service}.{action}"),
        None => format!("{service}.{} {}", parts.method, parts.uri.path()),
    }
}
