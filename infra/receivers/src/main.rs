//! The test doubles around the local stack: HTTPS receivers that record their requests and can be made to fail, and a proxy between the
//! functions and the AWS emulator that counts AWS calls and can hold one.
//!
//! `receivers DIR EMULATOR_PORT RECEIVERS_PORT CONTROL_PORT PROXY_PORT` generates a certificate authority, writes `DIR/ca.pem`,
//! listens on the last three ports on loopback, and serves until it is stopped.
//!
//! | receivers (HTTPS) | response |
//! |---|---|
//! | `/slack/…` | 200 `ok` |
//! | `/teams/…` | 202 |
//! | `/_aws/execute-api/…` | the API's own, for clients that accept HTTPS only |
//! | `/…/.well-known/…` | an identity provider's documents |
//! | anything else | 204 |
//!
//! | control (HTTP) | does |
//! |---|---|
//! | `GET /inbox/<path>` | returns the requests to `<path>`, or all without a path: `[{received_at, method, path, headers, body}]` |
//! | `DELETE /inbox` | deletes all recorded requests |
//! | `PUT /behave/<path>` | sets the behavior: `{status?, delay_ms?, reset?, redirect?, huge?, retry_after?, body?, times?}` |
//! | `DELETE /behave/<path>` | resets the behavior to the default |
//! | `GET /calls`, `DELETE /calls` | returns the counts of AWS calls by `service.Operation`; clears them |
//! | `GET /permissions` | returns which IAM permissions the functions needed so far, and which were denied: `{needed, denied}` |
//! | `PUT /permissions` | removes permissions, by the template's names: `[{function, action, resource, keys}]`; forgets what was denied |
//! | `POST /faults` | makes AWS calls go wrong, drawn from a seed: `{seed, one_in, kinds, operations}`; returns `{id}` |
//! | `DELETE /faults/<id>` | ends that; returns how often each fault was drawn |
//! | `POST /hold` | holds an AWS call, or its response, after `skip` such calls: `{operation, contains?, after?, skip?}`; returns `{id}` |
//! | `GET /hold/<id>` | returns whether a call is held: `{held}` |
//! | `POST /hold/<id>` | releases the held call, or breaks its connection: `{drop?}` |

mod certificates;
mod control;
mod faults;
mod inbox;
mod permissions;
mod proxy;

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<()> {
    let (state, ports) = arguments()?;
    let [emulator, receivers, control, proxy] = ports;
    let certificates = certificates::generate()?;
    let (receivers, control, proxy) = (listen(receivers).await?, listen(control).await?, listen(proxy).await?);
    // Written last: once the file exists, the ports are open.
    tokio::fs::write(state.join("ca.pem"), &certificates.root).await.context("writing ca.pem")?;
    let inbox = Arc::new(inbox::Inbox::default());
    let aws_proxy = Arc::new(proxy::Proxy::new(&format!("http://127.0.0.1:{emulator}"))?);
    tokio::select! {
        done = inbox::serve(receivers, certificates.server, Arc::clone(&inbox), Arc::clone(&aws_proxy)) => done,
        done = control::serve(control, inbox, Arc::clone(&aws_proxy)) => done,
        done = proxy::serve(proxy, aws_proxy) => done,
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
    TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}; is another process using the port?"))
}
