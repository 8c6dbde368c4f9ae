//! How tests and the demo look into the receivers and tell them what to do. The table is in `main.rs`.

use crate::inbox::{Behaviour, Inbox};
use crate::proxy::{Hold, Wire};
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

#[derive(Deserialize)]
struct Release {
    #[serde(default)]
    drop: bool,
}

pub(crate) async fn serve(listener: TcpListener, inbox: Arc<Inbox>, wire: Arc<Wire>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let (inbox, wire) = (Arc::clone(&inbox), Arc::clone(&wire));
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&inbox), Arc::clone(&wire), request));
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(inbox: Arc<Inbox>, wire: Arc<Wire>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let (status, value) = match act(&inbox, &wire, &parts.method, parts.uri.path(), &body) {
        Ok(Some(value)) => (200, value),
        Ok(None) => (404, json!({"error": "there is no such control; see the table in main.rs"})),
        Err(error) => (400, json!({"error": error.to_string()})),
    };
    let answer = Response::builder().status(status).header("content-type", "application/json");
    Ok(answer.body(Full::new(Bytes::from(value.to_string())))?)
}

fn act(inbox: &Inbox, wire: &Wire, method: &Method, path: &str, body: &[u8]) -> Result<Option<Value>> {
    let rest = |prefix: &str| path.strip_prefix(prefix).map(|rest| if rest.is_empty() { "/" } else { rest });
    if let Some(of) = rest("/inbox") {
        if *method == Method::DELETE {
            inbox.clear();
            return Ok(Some(json!({})));
        }
        return Ok(Some(json!(inbox.of(of))));
    }
    if let Some(of) = rest("/behave") {
        let behaviour: Option<Behaviour> =
            if *method == Method::DELETE { None } else { Some(serde_json::from_slice(body)?) };
        inbox.behave(of, behaviour);
        return Ok(Some(json!({})));
    }
    if path == "/calls" {
        if *method == Method::DELETE {
            wire.forget();
        }
        return Ok(Some(json!(wire.calls())));
    }
    if let Some(id) = path.strip_prefix("/hold/") {
        let id: u64 = id.parse()?;
        if *method == Method::GET {
            return Ok(Some(json!({"held": wire.is_held(id)})));
        }
        let release: Release = serde_json::from_slice(body)?;
        wire.release(id, release.drop);
        return Ok(Some(json!({})));
    }
    if path == "/hold" {
        let hold: Hold = serde_json::from_slice(body)?;
        return Ok(Some(json!({"id": wire.hold(hold)})));
    }
    Ok(None)
}
