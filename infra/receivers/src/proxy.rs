//! The proxy between the functions and the AWS emulator. It counts every AWS call, can hold one, so that a test can kill a function while its
//! claim, its send or its mark is in flight, and can make calls go wrong. It notes which permissions each function needs.

use crate::faults::{self, FaultKind, FaultPlan, Faults};
use crate::permissions::{self, CallPermission};
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
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How late a late call is made: longer than the functions' clients wait for most services.
const LATE: Duration = Duration::from_secs(3);
/// How long a call waits for the next one, which is to be made before it: shorter than the functions' clients wait.
const OVERTAKEN: Duration = Duration::from_millis(1_500);

/// Which AWS call to hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldRequest {
    /// The operation, for example `dynamodb.UpdateItem`.
    operation: String,
    /// A text that the request body must contain.
    #[serde(default)]
    contains: String,
    /// True to make the call and hold its response.
    #[serde(default)]
    after: bool,
    /// The number of such calls that pass before one is held.
    #[serde(default)]
    skip: u32,
}

/// A hold that was requested and not released.
struct ActiveHold {
    hold: HoldRequest,
    /// The held calls. A caller retries after two seconds; its retries are held as well.
    waiting: Vec<oneshot::Sender<bool>>,
}

#[derive(Default)]
struct State {
    calls: BTreeMap<String, u64>,
    holds: BTreeMap<u64, ActiveHold>,
    next: u64,
    /// The functions by the access keys of their processes.
    functions: BTreeMap<String, String>,
    needed: BTreeSet<CallPermission>,
    /// What was denied of that.
    denied: BTreeSet<CallPermission>,
    /// What the functions may no longer do, by the template's names.
    removed: Vec<CallPermission>,
    /// The fault plans at work, by id. Of two plans about a call the later one decides.
    faults: BTreeMap<u64, Faults>,
    /// The calls that wait for the next call of their operation.
    overtaken: BTreeMap<String, Vec<oneshot::Sender<()>>>,
}

/// Forwards AWS calls to the emulator.
pub(crate) struct Proxy {
    emulator: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
    state: Mutex<State>,
}

impl Proxy {
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

    pub(crate) fn clear_calls(&self) {
        self.state().calls.clear();
    }

    /// Lets calls go wrong from now on. Returns the plan's id.
    pub(crate) fn begin_faults(&self, plan: FaultPlan) -> u64 {
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        state.faults.insert(id, Faults::new(plan));
        id
    }

    /// Ends a plan. Returns how often each fault was drawn.
    pub(crate) fn end_faults(&self, id: u64) -> Value {
        self.state().faults.remove(&id).map_or(Value::Null, |faults| faults.counts())
    }

    /// Draws what goes wrong with a call.
    fn draw_fault(&self, operation: &str) -> Option<FaultKind> {
        self.state().faults.values_mut().rev().find_map(|faults| faults.draw(operation))
    }

    /// Waits until another call of the operation was made, a second and a half at most.
    async fn wait_for_next(&self, operation: &str) {
        let (sender, receiver) = oneshot::channel();
        self.state().overtaken.entry(operation.to_owned()).or_default().push(sender);
        drop(tokio::time::timeout(OVERTAKEN, receiver).await);
    }

    /// Lets the calls go that waited for one of the operation.
    fn release_overtaken(&self, operation: &str) {
        for sender in self.state().overtaken.remove(operation).into_iter().flatten() {
            // It may have waited for long enough.
            let _ = sender.send(());
        }
    }

    /// Returns which permissions were needed so far, and which of them were denied.
    pub(crate) fn permissions(&self) -> Value {
        let state = self.state();
        json!({"needed": state.needed, "denied": state.denied})
    }

    /// Denies these from now on, as if no statement allowed them, and forgets what was denied before.
    pub(crate) fn remove_permissions(&self, removed: Vec<CallPermission>) {
        let mut state = self.state();
        state.removed = removed;
        state.denied.clear();
    }

    /// Whether a call needs a permission that was removed.
    fn is_removed(&self, needed: &[CallPermission]) -> bool {
        let state = self.state();
        needed.iter().any(|one| state.removed.iter().any(|removed| one.is(removed)))
    }

    /// Notes the permissions that a call needs. Returns them.
    fn note_permissions(&self, operation: &str, parts: &Parts, body: &[u8]) -> Vec<CallPermission> {
        let mut needed = permissions::needed(operation, parts.uri.path(), body);
        let Some(access_key) = permissions::access_key(parts) else { return needed };
        let known = self.state().functions.get(access_key).cloned();
        // Looked up without the lock: it reads the environment of every process, once for each access key.
        let function = known.or_else(|| permissions::function_with(access_key)).unwrap_or_default();
        let mut state = self.state();
        state.functions.insert(access_key.to_owned(), function.clone());
        for permission in &mut needed {
            permission.function.clone_from(&function);
        }
        state.needed.extend(needed.iter().cloned());
        needed
    }

    /// Starts a hold. Returns its id.
    pub(crate) fn hold(&self, hold: HoldRequest) -> u64 {
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        state.holds.insert(id, ActiveHold { hold, waiting: Vec::new() });
        id
    }

    pub(crate) fn is_held(&self, id: u64) -> bool {
        self.state().holds.get(&id).is_some_and(|holding| !holding.waiting.is_empty())
    }

    /// Releases the calls of a hold, or breaks their connections.
    pub(crate) fn release(&self, id: u64, break_connection: bool) {
        for sender in self.state().holds.remove(&id).into_iter().flat_map(|holding| holding.waiting) {
            // The caller may be gone: the test killed the function.
            let _ = sender.send(break_connection);
        }
    }

    /// Forwards a request to the emulator unchanged.
    pub(crate) async fn forward(&self, mut parts: Parts, body: Bytes) -> Result<Response<Full<Bytes>>> {
        let mut uri = self.emulator.clone().into_parts();
        uri.path_and_query = parts.uri.path_and_query().cloned();
        parts.uri = Uri::from_parts(uri)?;
        // The Host header is part of the signature, so it stays as the caller sent it.
        let answer = self.client.request(Request::from_parts(parts, Full::new(body))).await?;
        let (parts, body) = answer.into_parts();
        Ok(Response::from_parts(parts, Full::new(body.collect().await?.to_bytes())))
    }

    /// Counts a call. If it must be held, returns the receiver to wait on, and whether the response is held instead of the call.
    fn count_and_hold(&self, operation: &str, body: &[u8]) -> Option<(oneshot::Receiver<bool>, bool)> {
        let mut state = self.state();
        *state.calls.entry(operation.to_owned()).or_default() += 1;
        let text = String::from_utf8_lossy(body);
        let matches = |hold: &HoldRequest| hold.operation == operation && text.contains(&hold.contains);
        let holding = state.holds.values_mut().find(|holding| matches(&holding.hold))?;
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

pub(crate) async fn serve(listener: TcpListener, proxy: Arc<Proxy>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let proxy = Arc::clone(&proxy);
        tokio::spawn(async move {
            let service = service_fn(move |request| handle(Arc::clone(&proxy), request));
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// A call in flight. It is counted as unanswered if the caller goes away before the response: then the caller cannot
/// know whether the call was made.
struct CallInFlight {
    proxy: Arc<Proxy>,
    operation: String,
    answered: bool,
}

impl Drop for CallInFlight {
    fn drop(&mut self) {
        if !self.answered {
            *self.proxy.state().calls.entry(format!("{} unanswered", self.operation)).or_default() += 1;
        }
    }
}

async fn handle(proxy: Arc<Proxy>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let operation = operation_name(&parts, &body);
    let permissions = proxy.note_permissions(&operation, &parts, &body);
    let held = proxy.count_and_hold(&operation, &body);
    let mut call = CallInFlight { proxy: Arc::clone(&proxy), operation, answered: false };
    let (before, after) = match held {
        Some((receiver, false)) => (Some(receiver), None),
        Some((receiver, true)) => (None, Some(receiver)),
        None => (None, None),
    };
    if let Some(receiver) = before {
        anyhow::ensure!(!receiver.await.unwrap_or(true), "a broken connection was requested");
    }
    if proxy.is_removed(&permissions) {
        call.answered = true;
        proxy.state().denied.extend(permissions);
        return permissions::denial(&call.operation);
    }
    let fault = proxy.draw_fault(&call.operation);
    match fault {
        Some(FaultKind::Throttled | FaultKind::Unavailable) => {
            call.answered = true;
            return faults::rejection(&call.operation, fault);
        }
        Some(FaultKind::CutBefore) => anyhow::bail!("the connection breaks before the call"),
        Some(FaultKind::Late) => tokio::time::sleep(LATE).await,
        Some(FaultKind::Duplicated) => drop(proxy.forward(parts.clone(), body.clone()).await?),
        Some(FaultKind::Reordered) => proxy.wait_for_next(&call.operation).await,
        _ => {}
    }
    let answer = proxy.forward(parts, body).await?;
    proxy.release_overtaken(&call.operation);
    if let Some(receiver) = after {
        anyhow::ensure!(!receiver.await.unwrap_or(true), "a broken connection was requested");
    }
    anyhow::ensure!(fault != Some(FaultKind::CutAfter), "the connection breaks after the call");
    let (answer, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    if answer.status.is_client_error() && String::from_utf8_lossy(&body).contains("AccessDenied") {
        proxy.state().denied.extend(permissions);
    }
    let body = match fault {
        Some(FaultKind::Truncated) => body.slice(..body.len() / 2),
        Some(FaultKind::PartlyFailed) => faults::partly_failed(&body).unwrap_or(body),
        _ => body,
    };
    call.answered = fault != Some(FaultKind::Truncated);
    Ok(whole(answer, body))
}

/// A response with a body of another length.
fn whole(mut answer: hyper::http::response::Parts, body: Bytes) -> Response<Full<Bytes>> {
    answer.headers.remove("content-length");
    // The SDK compares a checksum of the body if there is one.
    answer.headers.remove("x-amz-crc32");
    Response::from_parts(answer, Full::new(body))
}

/// Returns `service.Operation` of a call. JSON protocols name it in a header, query protocols in the form.
fn operation_name(parts: &Parts, body: &[u8]) -> String {
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
    // For a form, the service is in the credential scope of the signature.
    let service = header("authorization").and_then(|value| value.split('/').nth(3)).unwrap_or("unknown");
    match action {
        Some(action) => format!("{service}.{action}"),
        None => format!("{service}.{} {}", parts.method, parts.uri.path()),
    }
}
