//! JSON over plain HTTP on loopback.

use crate::process::CommandFault;
use serde_json::Value;
use std::sync::LazyLock;
use std::time::Duration;

static AGENT: LazyLock<ureq::Agent> = LazyLock::new(|| {
    let config =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
    config.build().into()
});

/// The response to a request. The body is a JSON string if it was not JSON.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Sends one request and waits up to 60 seconds for the response, whatever its status.
pub(crate) fn send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Result<Response, CommandFault> {
    let failed =
        |error: ureq::Error| CommandFault::new(format!("{method} {url}: {error}"), "Is the stack up? cargo xtask up");
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let sent = match body {
        Some(body) => {
            request.header("content-type", "application/json").body(body.to_string()).map(|request| AGENT.run(request))
        }
        None => request.body(()).map(|request| AGENT.run(request)),
    };
    let mut response = sent.map_err(|error| failed(error.into()))?.map_err(failed)?;
    let text = response.body_mut().read_to_string().map_err(failed)?;
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Ok(Response {
        status: response.status().as_u16(),
        headers: headers.collect(),
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    })
}
