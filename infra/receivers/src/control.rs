//! The control server: tests and the demo read what the receivers got, and change their behavior. `main.rs` lists its routes.

use crate::inbox::{Behavior, Inbox};
use crate::proxy::{HoldRequest, Proxy};
use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpListener;

/// The body of `POST /hold/<id>`.
#[derive(Deserialize)]
struct ReleaseRequest {
    /// True to break the held connection instead of letting the call pass.
    #[serde(default)]
    drop: bool,
}

pub(crate) async fn serve(listener: TcpListener, inbox: Arc<Inbox>, proxy: Arc<Proxy>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let (inbox, proxy) = (Arc::clone(&inbox), Arc::clone(&proxy));
        tokio::spawn(async move {
            let service = service_fn(move |request| respond(Arc::clone(&inbox), Arc::clone(&proxy), request));
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn respond(inbox: Arc<Inbox>, proxy: Arc<Proxy>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let (status, value) = match handle(&inbox, &proxy, &parts.method, parts.uri.path(), &body) {
        Ok(Some(value)) => (200, value),
        Ok(None) => (404, json!({"error": "unknown control route; infra/receivers/src/main.rs lists them"})),
        Err(error) => (400, json!({"error": error.to_string()})),
    };
    let answer = Response::builder().status(status).header("content-type", "application/json");
    Ok(answer.body(Full::new(Bytes::from(value.to_string())))?)
}

/// Handles a control request. `None` for an unknown route.
fn handle(inbox: &Inbox, proxy: &Proxy, method: &Method, path: &str, body: &[u8]) -> Result<Option<Value>> {
    let rest = |prefix: &str| path.strip_prefix(prefix).map(|rest| if rest.is_empty() { "/" } else { rest });
    if let Some(receiver) = rest("/inbox") {
        if *method == Method::DELETE {
            inbox.clear();
            return Ok(Some(json!({})));
        }
        return Ok(Some(json!(inbox.requests_to(receiver))));
    }
    if let Some(receiver) = rest("/behave") {
        let behavior: Option<Behavior> =
            if *method == Method::DELETE { None } else { Some(serde_json::from_slice(body)?) };
        inbox.set_behavior(receiver, behavior);
        return Ok(Some(json!({})));
    }
    if path == "/calls" {
        if *method == Method::DELETE {
            proxy.clear_calls();
        }
        return Ok(Some(json!(proxy.calls())));
    }
    if path == "/permissions" {
        if *method == Method::PUT {
            proxy.remove_permissions(serde_json::from_slice(body)?);
        }
        return Ok(Some(proxy.permissions()));
    }
    if path == "/faults" {
        return Ok(Some(json!({"id": proxy.begin_faults(serde_json::from_slice(body)?)})));
    }
    if let Some(id) = path.strip_prefix("/faults/") {
        return Ok(Some(proxy.end_faults(id.parse()?)));
    }
    if let Some(id) = path.strip_prefix("/hold/") {
        let id: u64 = id.parse()?;
        if *method == Method::GET {
            return Ok(Some(json!({"held": proxy.is_held(id)})));
        }
        let release: ReleaseRequest = serde_json::from_slice(body)?;
        proxy.release(id, release.drop);
        return Ok(Some(json!({})));
    }
    if path == "/hold" {
        let hold: HoldRequest = serde_json::from_slice(body)?;
        return Ok(Some(json!({"id": proxy.hold(hold)})));
    }
    Ok(None)
}
