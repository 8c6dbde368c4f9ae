//! What the local stack has outside of itself: receivers over HTTPS that record what they get and can be told to fail, and a
//! proxy between the functions and the emulator that counts AWS calls and can hold one.
//!
//! `receivers DIR EMULATOR_PORT RECEIVERS_PORT CONTROL_PORT PROXY_PORT` makes a certificate authority, writes `DIR/ca.pem`,
//! listens on the three loopback ports and serves until it is stopped.
//!
//! | receivers (HTTPS) | answer |
//! |---|---|
//! | `/slack/…` | 200 `ok` |
//! | `/teams/…` | 202 |
//! | `/_aws/execute-api/…` | the API's own, for clients that speak HTTPS only |
//! | `/…/.well-known/…` | an identity provider's documents |
//! | anything else | 204 |
//!
//! | control (HTTP) | does |
//! |---|---|
//! | `GET /inbox/<path>` | what `<path>` got: `[{received_at, method, path, headers, body}]`; without a path, everything |
//! | `DELETE /inbox` | forgets what was got |
//! | `PUT /behave/<path>` | `{status?, delay_ms?, reset?, redirect?, huge?, retry_after?, body?, times?}` from now on |
//! | `DELETE /behave/<path>` | well again |
//! | `GET /calls`, `DELETE /calls` | AWS calls by `service.Operation`; forgets them |
//! | `POST /hold` | `{operation, contains?, after?, skip?}`: lets `skip` such calls pass and holds the next, or its answer; `{id}` |
//! | `GET /hold/<id>` | `{held}` |
//! | `POST /hold/<id>` | `{drop?}`: lets it go, or breaks the connection |

mod certificates;
mod control;
mod inbox;
mod proxy;

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<()> {
    let (state, ports) = arguments()?;
    let [emulator, receivers, control, proxy] = ports;
    let certificates = certificates::make()?;
    let (receivers, control, proxy) = (listen(receivers).await?, listen(control).await?, listen(proxy).await?);
    // Written last: whoever sees the file finds the ports open.
    tokio::fs::write(state.join("ca.pem"), &certificates.root).await.context("writing ca.pem")?;
    let inbox = Arc::new(inbox::Inbox::default());
    let wire = Arc::new(proxy::Wire::new(&format!("http://127.0.0.1:{emulator}"))?);
    tokio::select! {
        done = inbox::serve(receivers, certificates.server, Arc::clone(&inbox), Arc::clone(&wire)) => done,
        done = control::serve(control, inbox, Arc::clone(&wire)) => done,
        done = proxy::serve(proxy, wire) => done,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

fn arguments() -> Result<(PathBuf, [u16; 4])> {
    let mut arguments = std::env::args().skip(1);
    let state = arguments.next();
    let ports: Vec<u16> = arguments.filter_map(|port| port.parse().ok()).collect();
    match (state, <[u16; 4]>::try_from(ports)) {
        (Some(state), Ok(ports)) => Ok((PathBuf::from(state), ports)),
        _ => bail!("usage: receivers DIR EMULATOR_PORT RECEIVERS_PORT CONTROL_PORT PROXY_PORT"),
    }
}

async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).await.with_context(|| format!("port {port} on loopback is taken"))
}
