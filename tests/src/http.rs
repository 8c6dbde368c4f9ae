//! The HTTP client of the tests: plain HTTP to loopback. It is not the product's client (reqwest), so that it shares none of its faults.

use serde_json::Value;
use std::sync::LazyLock;
use std::time::Duration;
use ureq::http::{HeaderValue, Request};

static AGENT: LazyLock<ureq::Agent> = LazyLock::new(|| {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(90)))
        // One connection per request: a test may kill what is behind an idle one.
        .max_idle_connections(0);
    config.build().into()
});

/// Bytes of a response that are read at most.
const BODY_MAX: u64 = 64 * 1024 * 1024;

/// The response to a request.
#[derive(Clone, Debug)]
pub struct Response {
    /// HTTP status code of the response.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl Response {
    /// Returns the first header of a name, which is given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Parses the body as JSON.
    ///
    /// # Panics
    /// If the body is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{} is not JSON: {}", self.status, self.body))
    }
}

/// Sends one request to an `http://127.0.0.1:port/…` URL and returns the response, whatever its status. Follows no redirect.
///
/// # Errors
/// If no HTTP response arrives within 90 seconds.
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Result<Response, ureq::Error> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).map_err(ureq::http::Error::from)?);
    }
    let mut response = match body {
        Some(body) => AGENT.run(request.body(body)?),
        None => AGENT.run(request.body(())?),
    }?;
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).trim().to_owned()));
    let headers = headers.collect();
    let body = response.body_mut().with_config().limit(BODY_MAX).read_to_vec()?;
    Ok(Response { status: response.status().as_u16(), headers, body: String::from_utf8_lossy(&body).into_owned() })
}
