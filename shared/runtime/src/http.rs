//! API Gateway in, axum, problem+json out.

use crate::queue::Deadline;
use crate::{Aws, DirectError, StartError, ids};
use aws_lambda_events::apigw::ApiGatewayProxyRequest;
use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contracts::problem::FieldError;
use domain::ids::TenantId;
use futures::FutureExt;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tower::ServiceExt;
use tracing::Instrument;

/// The largest body (PagerDuty's and Novu's limit), in bytes.
pub const BODY_MAX: usize = 512 * 1024;
/// The header that carries the correlation id in and out.
pub const CORRELATION: &str = "x-correlation-id";
/// API Gateway's own id of a request, where the caller brings none.
const TRACE: &str = "x-amzn-trace-id";

/// A function behind the API.
pub trait HttpFunction: Send + Sync + Sized + 'static {
    /// The function's name.
    const NAME: &'static str;

    /// Builds the function.
    fn start(aws: &Aws) -> impl Future<Output = Result<Self, StartError>> + Send;

    /// Its routes.
    fn router(self: Arc<Self>) -> Router;

    /// What it answers when it is invoked directly.
    fn direct(&self, _event: Value) -> impl Future<Output = Result<Value, DirectError>> + Send {
        async { Err(DirectError::new("BadRequest", "this function is called through the API only")) }
    }
}

/// Whoever the authorizer let in. Without authorizer (open routes) nobody: no scope and no tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Caller {
    /// The token's public name.
    pub token_id: String,
    /// The identity behind the token.
    pub integration_id: String,
    /// What it may do.
    pub scopes: BTreeSet<String>,
    /// The tenants it may speak for; `None` means all.
    pub tenants: Option<BTreeSet<TenantId>>,
    /// What it says for events that are silent.
    pub defaults: Option<Value>,
}

impl Caller {
    /// Reads the authorizer's context. What is missing gives nothing.
    #[must_use]
    pub fn from_context(context: &Value) -> Self {
        let text = |name: &str| context.get(name).and_then(Value::as_str).unwrap_or_default();
        let tenants = text("tenants");
        Self {
            token_id: text("token_id").to_owned(),
            integration_id: text("integration_id").to_owned(),
            scopes: text("scopes").split_whitespace().map(str::to_owned).collect(),
            tenants: (tenants != "*")
                .then(|| tenants.split(',').filter_map(|tenant| TenantId::parse(tenant).ok()).collect()),
            defaults: serde_json::from_str(text("defaults")).ok(),
        }
    }

    /// Nobody.
    #[must_use]
    pub fn nobody() -> Self {
        Self { tenants: Some(BTreeSet::new()), ..Self::default() }
    }

    /// Whether it has a scope.
    #[must_use]
    pub fn has(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
    }

    /// Whether it may speak for a tenant.
    #[must_use]
    pub fn may_speak_for(&self, tenant: &TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }

    /// Whether it may speak for all tenants.
    #[must_use]
    pub fn speaks_for_all(&self) -> bool {
        self.tenants.is_none()
    }

    /// Insists on a scope.
    ///
    /// # Errors
    /// 403 that names the scope.
    pub fn require(&self, scope: &str) -> Result<(), Problem> {
        self.require_any(&[scope])
    }

    /// Insists on one of several scopes.
    ///
    /// # Errors
    /// 403 that names the scopes.
    pub fn require_any(&self, scopes: &[&str]) -> Result<(), Problem> {
        if scopes.iter().any(|scope| self.has(scope)) {
            return Ok(());
        }
        Err(Problem::forbidden(&format!("this token lacks the scope {}", scopes.join(" or "))))
    }
}

impl Caller {
    /// The tenant of a path, if the caller has one of the scopes and speaks for it. Another tenant's path does not exist.
    ///
    /// # Errors
    /// 403 without the scopes, 404 for another's tenant.
    pub fn speaking_for(&self, path: &str, scopes: &[&str]) -> Result<TenantId, Problem> {
        self.require_any(scopes)?;
        TenantId::parse(path).ok().filter(|tenant| self.may_speak_for(tenant)).ok_or_else(Problem::no_tenant)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::nobody))
    }
}

/// The one id of a request, from the upstream to the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlation(pub String);

impl<S: Sync> FromRequestParts<S> for Correlation {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let found = parts.extensions.get::<Self>().cloned();
        Ok(found.unwrap_or_else(|| Self(ids::suffix())))
    }
}

/// The id of the API that the request came by. A function behind the API cannot have its address in its environment (the two
/// would wait for each other), but all of it except this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiId(String);

impl ApiId {
    /// The API's address, from one that has `{api}` where the id belongs.
    #[must_use]
    pub fn address(&self, pattern: &str) -> String {
        pattern.replace("{api}", &self.0)
    }
}

impl<S: Sync> FromRequestParts<S> for ApiId {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// An answer that says what is wrong and how to mend it (RFC 9457).
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// What is wrong and how to mend it.
    pub detail: String,
    /// Every field that is wrong.
    pub errors: Vec<FieldError>,
    /// Seconds after which to try again.
    pub retry_after: Option<u32>,
}

impl Problem {
    /// A problem of a status.
    #[must_use]
    pub fn new(status: StatusCode, detail: &str) -> Self {
        Self { status, detail: detail.to_owned(), errors: Vec::new(), retry_after: None }
    }

    /// 400 or 422: fields that do not fit. What is not even JSON is 400.
    #[must_use]
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let syntax = errors.iter().any(|error| error.pointer.is_empty() && error.detail.contains(" at line "));
        let missing =
            errors.iter().any(|error| error.detail.contains("missing field") || error.detail.contains("unknown field"));
        let status = if syntax && !missing { StatusCode::BAD_REQUEST } else { StatusCode::UNPROCESSABLE_ENTITY };
        let detail = errors.first().map_or_else(String::new, |first| {
            if first.pointer.is_empty() { first.detail.clone() } else { format!("{}: {}", first.pointer, first.detail) }
        });
        Self { status, detail, errors, retry_after: None }
    }

    /// 403.
    #[must_use]
    pub fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404; also for what exists but not for this caller.
    #[must_use]
    pub fn not_found(detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 404 of a tenant that is not there, or not for this caller.
    #[must_use]
    pub fn no_tenant() -> Self {
        Self::not_found("there is no such tenant for this token")
    }

    /// 409.
    #[must_use]
    pub fn conflict(detail: &str) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 503 with Retry-After: what Alertmanager and Grafana try again.
    #[must_use]
    pub fn unavailable() -> Self {
        let detail = "something that this needs did not answer; send the same request again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(5)
    }

    /// 500, which says nothing about our inside.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "this is our fault; the operators see it under the correlation id")
    }

    /// With Retry-After, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body =
            json!({"type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.detail});
        if let (false, Some(object)) = (self.errors.is_empty(), body.as_object_mut()) {
            object.insert("errors".to_owned(), json!(self.errors));
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Answers one event of API Gateway (REST, payload 1.0).
pub(crate) async fn serve(router: Router, event: Value, deadline: Deadline) -> Result<Value, DirectError> {
    let context = event.pointer("/requestContext/authorizer").cloned().unwrap_or(Value::Null);
    let event: ApiGatewayProxyRequest = serde_json::from_value(event)
        .map_err(|_| DirectError::new("BadRequest", "this is not an event of API Gateway's proxy integration"))?;
    let correlation = correlation(&event);
    let path = event.path.clone().unwrap_or_default();
    let span = tracing::info_span!("request", correlation_id = correlation.0, route = event.resource);
    let response = match request(event, &context, &correlation) {
        Ok(request) => {
            let answer = AssertUnwindSafe(router.oneshot(request)).catch_unwind();
            // An invocation that Lambda ends is a bare 502; before that the caller can still be told to try again.
            match tokio::time::timeout(deadline.remaining(), answer).instrument(span.clone()).await {
                Ok(Ok(Ok(response))) => response,
                Ok(Ok(Err(infallible))) => match infallible {},
                Ok(Err(_panic)) => Problem::internal().into_response(),
                Err(_elapsed) => Problem::unavailable().into_response(),
            }
        }
        Err(problem) => problem.into_response(),
    };
    let response = plain_errors(response, &path);
    let status = response.status();
    let answer = encode(response, &correlation).await;
    span.in_scope(|| tracing::info!(status = status.as_u16(), "answered"));
    answer
}

/// axum's own refusals (no such route, wrong method, a query that does not parse) are plain text; everything we say is
/// problem+json.
fn plain_errors(response: Response, path: &str) -> Response {
    let is_text =
        response.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let status = response.status();
    if !(status.is_client_error() && is_text) {
        return response;
    }
    let detail = match status {
        StatusCode::NOT_FOUND => format!("there is nothing at {path}"),
        StatusCode::METHOD_NOT_ALLOWED => "this path has other methods".to_owned(),
        _ => "the path or the query does not parse".to_owned(),
    };
    let mut problem = Problem::new(status, &detail).into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allow.clone());
    }
    problem
}

fn correlation(event: &ApiGatewayProxyRequest) -> Correlation {
    let header = |name: &str| event.headers.get(name).and_then(|value| value.to_str().ok());
    // `Root=1-…;Parent=…;Sampled=1`: the root is what finds the request in X-Ray.
    let root = header(TRACE).and_then(|trace| trace.split(';').find_map(|part| part.trim().strip_prefix("Root=")));
    let fits =
        |text: &&str| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let given = header(CORRELATION).filter(fits).or_else(|| root.filter(fits)).map(str::to_owned);
    Correlation(given.or_else(|| event.request_context.request_id.clone()).unwrap_or_else(ids::suffix))
}

fn request(
    event: ApiGatewayProxyRequest,
    context: &Value,
    correlation: &Correlation,
) -> Result<Request<Body>, Problem> {
    let body = event.body.unwrap_or_default();
    let body = if event.is_base64_encoded {
        STANDARD.decode(body).map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is not base64"))?
    } else {
        body.into_bytes()
    };
    if body.len() > BODY_MAX {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body has more than 512 KiB; send less"));
    }
    let mut uri = path(&event.path.unwrap_or_else(|| "/".to_owned()));
    // Every value stands in the multi-value map where there is one, and only the last in the other.
    let values = if event.multi_value_query_string_parameters.is_empty() {
        &event.query_string_parameters
    } else {
        &event.multi_value_query_string_parameters
    };
    let query: Vec<String> =
        values.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    if !query.is_empty() {
        uri = format!("{uri}?{}", query.join("&"));
    }
    let mut request = Request::builder().method(event.http_method).uri(uri);
    if let Some(headers) = request.headers_mut() {
        *headers = event.multi_value_headers;
        for (name, value) in &event.headers {
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }
    let mut request = request
        .body(Body::from(body))
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the path is not a path of a URL"))?;
    let caller = if context.is_object() { Caller::from_context(context) } else { Caller::nobody() };
    request.extensions_mut().insert(ApiId(event.request_context.apiid.unwrap_or_default()));
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(correlation.clone());
    Ok(request)
}

/// A path as a URL has it: whatever may not stand there is percent-encoded, what is encoded already stays.
fn path(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if !b"\"<>?#\\^`{|}".contains(&byte) => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Percent-encodes what API Gateway decoded.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

async fn encode(response: Response, correlation: &Correlation) -> Result<Value, DirectError> {
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 5 * 1024 * 1024)
        .await
        .map_err(|_| DirectError::new("Internal", "the answer is too large"))?;
    let mut headers = serde_json::Map::new();
    for (name, value) in &parts.headers {
        let text = value.to_str().unwrap_or_default();
        match headers.get_mut(name.as_str()).and_then(Value::as_array_mut) {
            Some(values) => values.push(Value::from(text)),
            None => drop(headers.insert(name.to_string(), json!([text]))),
        }
    }
    headers.insert(HeaderName::from_static(CORRELATION).to_string(), json!([correlation.0]));
    let (body, is_base64) = match String::from_utf8(bytes.to_vec()) {
        Ok(text) => (text, false),
        Err(_) => (STANDARD.encode(&bytes), true),
    };
    Ok(json!({
        "statusCode": parts.status.as_u16(),
        "multiValueHeaders": headers,
        "body": body,
        "isBase64Encoded": is_base64,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use axum::extract::{Path, Query};
    use axum::routing::{get, post};
    use std::collections::BTreeMap;

    fn event(method: &str, path: &str, body: &str) -> Value {
        json!({
            "resource": "/{proxy+}", "path": path, "httpMethod": method,
            "headers": {"host": "x.test", "content-type": "application/json"}, "multiValueHeaders": {},
            "queryStringParameters": {"q": "a b&c"}, "multiValueQueryStringParameters": {"q": ["a b&c"]},
            "pathParameters": {}, "stageVariables": null, "body": body, "isBase64Encoded": false,
            "requestContext": {"stage": "live", "requestId": "r-1", "httpMethod": method, "identity": {},
                "authorizer": {"token_id": "tok_1", "integration_id": "int_1", "scopes": "a b", "tenants": "acme,globex",
                    "defaults": "{\"type\":\"x\"}"}}
        })
    }

    async fn answer(event: Value) -> Value {
        let router = Router::new()
            .route(
                "/echo/{name}",
                get(|Path(name): Path<String>, Query(q): Query<BTreeMap<String, String>>, caller: Caller| async move {
                    format!("{name} {} {}", q["q"], caller.scopes.len())
                }),
            )
            .route("/body", post(|body: String| async move { body.len().to_string() }))
            .route("/panic", get(|| async { panic!("secret") as () }))
            .route("/slow", get(|| async { tokio::time::sleep(std::time::Duration::from_secs(3_600)).await }))
            .route(
                "/heard",
                get(|headers: http::HeaderMap| async move { headers.get_all("x-many").iter().count().to_string() }),
            );
        let soon = clock::now().as_millisecond() + 1_300;
        serve(router, event, Deadline::at_epoch_ms(u64::try_from(soon).unwrap())).await.unwrap()
    }

    #[tokio::test]
    async fn a_request_goes_through() {
        let got = answer(event("GET", "/echo/x", "")).await;
        assert_eq!((got["statusCode"].as_u64(), got["body"].as_str()), (Some(200), Some("x a b&c 2")));
        assert_eq!(got["multiValueHeaders"]["x-correlation-id"], json!(["r-1"]));
    }

    #[tokio::test]
    async fn a_request_arrives_as_it_was_sent() {
        let mut many = event("GET", "/heard", "");
        many["headers"]["x-many"] = json!("b");
        many["multiValueHeaders"] = json!({"x-many": ["a", "b"]});
        assert_eq!(answer(many).await["body"], json!("2"));
        let mut odd = event("GET", "/echo/München 1%2F2", "");
        odd["multiValueQueryStringParameters"] = json!(null);
        assert_eq!(answer(odd).await["body"], json!("München 1/2 a b&c 2"));
        let mut encoded = event("POST", "/body", &STANDARD.encode([0_u8, 159, 146]));
        encoded["isBase64Encoded"] = json!(true);
        assert_eq!(answer(encoded.clone()).await["statusCode"], 400, "a String extractor wants UTF-8");
        encoded["body"] = json!(STANDARD.encode("four"));
        assert_eq!(answer(encoded).await["body"], json!("4"));
    }

    #[tokio::test]
    async fn the_correlation_id_is_the_callers_else_the_traces_else_the_requests() {
        let id = async |name: &str, value: &str| {
            let mut event = event("GET", "/heard", "");
            event["headers"][name] = json!(value);
            answer(event).await["multiValueHeaders"][CORRELATION][0].as_str().unwrap().to_owned()
        };
        assert_eq!(id("X-Correlation-Id", "abc-1").await, "abc-1");
        assert_eq!(id("X-Amzn-Trace-Id", "Parent=2;Root=1-67-ab;Sampled=0").await, "1-67-ab");
        assert_eq!(id("X-Correlation-Id", "a b\"").await, "r-1");
    }

    #[tokio::test]
    async fn every_error_is_a_problem() {
        for (event, status) in [
            (event("GET", "/nowhere", ""), 404),
            (event("POST", "/echo/x", ""), 405),
            (event("GET", "/panic", ""), 500),
            (event("GET", "/slow", ""), 503),
            (event("POST", "/body", &"x".repeat(BODY_MAX + 1)), 413),
        ] {
            let got = answer(event).await;
            assert_eq!(got["statusCode"], status);
            assert_eq!(got["multiValueHeaders"]["content-type"], json!(["application/problem+json"]), "{status}");
            assert!(!got["body"].as_str().unwrap().contains("secret"));
        }
        let fits = answer(event("POST", "/body", &"x".repeat(BODY_MAX))).await;
        assert_eq!(fits["body"], json!(BODY_MAX.to_string()));
    }

    #[test]
    fn the_authorizers_context_says_who_it_is() {
        let caller = Caller::from_context(&event("GET", "/", "")["requestContext"]["authorizer"]);
        assert!(caller.has("a") && !caller.has("c"));
        assert!(caller.may_speak_for(&TenantId::parse("acme").unwrap()));
        assert!(!caller.may_speak_for(&TenantId::parse("initech").unwrap()));
        assert!(!caller.speaks_for_all());
        assert!(Caller::from_context(&json!({"tenants": "*"})).speaks_for_all());
        let nobody = Caller::from_context(&json!({}));
        assert!(!nobody.speaks_for_all() && !nobody.may_speak_for(&TenantId::parse("acme").unwrap()));
    }

    #[test]
    fn what_is_not_json_is_400_and_what_does_not_fit_is_422() {
        let status =
            |pointer: &str, detail: &str| Problem::fields(vec![FieldError::new(pointer, detail)]).status.as_u16();
        assert_eq!(status("", "expected value at line 1 column 1"), 400);
        assert_eq!(status("", "missing field `title` at line 1 column 2"), 422);
        assert_eq!(status("/title", "must not be empty"), 422);
    }
}
