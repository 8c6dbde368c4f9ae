//! HTTP functions: turns API Gateway events into requests to an axum router, and errors into problem+json.

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
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tower::ServiceExt;
use tracing::Instrument;

/// Maximum size of a request body in bytes: 512 KiB, the limit of PagerDuty and Novu.
pub const BODY_MAX: usize = 512 * 1024;
/// Maximum number of errors in a problem. A body of half a megabyte could otherwise have more errors than a response may have bytes.
pub const ERRORS_MAX: usize = 50;
/// The style sheet of the pages that people open from messages: the status page and recipients' own pages.
pub const PAGE_STYLE: &str = include_str!("page.css");
/// Header with the correlation id, in requests and responses.
pub const CORRELATION_HEADER: &str = "x-correlation-id";
/// Header with API Gateway's trace id, used if the caller sends no correlation id.
const TRACE_HEADER: &str = "x-amzn-trace-id";

/// Characters that are percent-encoded in a path: those that are not allowed there. `%` is not among them, so existing
/// percent-encoding stays as it is.
const NOT_IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'#')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// Characters that are percent-encoded in a query name or value: all but the unreserved ones (RFC 3986, 2.3).
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A Lambda function behind the HTTP API.
pub trait HttpFunction: Send + Sync + Sized + 'static {
    /// Name of the function, in logs and metrics.
    const NAME: &'static str;

    /// Builds the function once per process, at cold start.
    fn start(aws: &Aws) -> impl Future<Output = Result<Self, StartError>> + Send;

    /// Returns the function's routes.
    fn router(self: Arc<Self>) -> Router;

    /// Handles a direct invocation. Rejected by default.
    fn handle_direct(&self, _event: Value) -> impl Future<Output = Result<Value, DirectError>> + Send {
        async {
            Err(DirectError::new(
                "BadRequest",
                "this function cannot be invoked directly; call it through the HTTP API",
            ))
        }
    }
}

/// The caller as authenticated by the authorizer. On routes without authorizer, a caller without scopes and tenants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Caller {
    /// Public id of the caller's token.
    pub token_id: String,
    /// Id of the integration that the token belongs to.
    pub integration_id: String,
    /// Scopes that the token grants.
    pub scopes: BTreeSet<String>,
    /// Tenants that the caller may access; `None` means all.
    pub tenants: Option<BTreeSet<TenantId>>,
    /// Default values for fields that an event leaves out.
    pub defaults: Option<Value>,
}

impl Caller {
    /// Builds a caller from the authorizer's context. Missing values grant nothing.
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

    /// Returns a caller without scopes and tenants.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { tenants: Some(BTreeSet::new()), ..Self::default() }
    }

    /// Whether the caller has a scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
    }

    /// Whether the caller may access a tenant.
    #[must_use]
    pub fn can_access_tenant(&self, tenant: &TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }

    /// Whether the caller may access all tenants.
    #[must_use]
    pub fn can_access_all_tenants(&self) -> bool {
        self.tenants.is_none()
    }

    /// Checks that the caller has a scope.
    ///
    /// # Errors
    /// 403 with the name of the scope.
    pub fn require_scope(&self, scope: &str) -> Result<(), Problem> {
        self.require_any_scope(&[scope])
    }

    /// Requires at least one of several scopes.
    ///
    /// # Errors
    /// 403 with the names of the scopes.
    pub fn require_any_scope(&self, scopes: &[&str]) -> Result<(), Problem> {
        if scopes.iter().any(|scope| self.has_scope(scope)) {
            return Ok(());
        }
        Err(Problem::forbidden(&format!(
            "This token does not have the scope {}. Use a token that has it.",
            scopes.join(" or ")
        )))
    }

    /// Returns the tenant of a path if the caller has one of the scopes and may access the tenant. The tenants of others do not exist
    /// for the caller.
    ///
    /// # Errors
    /// 403 without one of the scopes, 404 for a tenant that the caller may not access.
    pub fn authorize_tenant(&self, path: &str, scopes: &[&str]) -> Result<TenantId, Problem> {
        self.require_any_scope(scopes)?;
        TenantId::parse(path).ok().filter(|tenant| self.can_access_tenant(tenant)).ok_or_else(Problem::tenant_not_found)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::anonymous))
    }
}

/// Correlation id of a request, from the sender to the delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorrelationId(pub String);

impl<S: Sync> FromRequestParts<S> for CorrelationId {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let found = parts.extensions.get::<Self>().cloned();
        Ok(found.unwrap_or_else(|| Self(ids::id_suffix())))
    }
}

/// Id of the API that received the request. The API's URL cannot be in the function's environment, because the two resources would
/// depend on each other. The environment has a URL with a placeholder for the id instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiId(String);

impl ApiId {
    /// Returns the API's URL: `pattern` with the id in place of `{api}`.
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

/// An error response that says what is wrong and how to fix it (RFC 9457).
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// HTTP status of the response.
    pub status: StatusCode,
    /// What is wrong and how to fix it.
    pub detail: String,
    /// All fields that are not valid.
    pub errors: Vec<FieldError>,
    /// Seconds after which the caller may retry (`Retry-After`).
    pub retry_after: Option<u32>,
}

impl Problem {
    /// Builds a problem with a status and a detail.
    #[must_use]
    pub fn new(status: StatusCode, detail: &str) -> Self {
        Self { status, detail: detail.to_owned(), errors: Vec::new(), retry_after: None }
    }

    /// Builds a problem for invalid fields: 422, or 400 if the body is not JSON. It lists at most [`ERRORS_MAX`] of them.
    #[must_use]
    pub fn invalid_fields(mut errors: Vec<FieldError>) -> Self {
        errors.truncate(ERRORS_MAX);
        let status = if errors.iter().any(FieldError::is_invalid_json) {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::UNPROCESSABLE_ENTITY
        };
        let detail = errors.first().map_or_else(String::new, |first| {
            if first.pointer.is_empty() { first.detail.clone() } else { format!("{}: {}", first.pointer, first.detail) }
        });
        Self { status, detail, errors, retry_after: None }
    }

    /// Builds a 403: the caller is known but may not do this.
    #[must_use]
    pub fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// Builds a 404, also for objects that exist but that the caller may not access.
    #[must_use]
    pub fn not_found(detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// Builds a 404 for a tenant that does not exist or that the caller may not access.
    #[must_use]
    pub fn tenant_not_found() -> Self {
        Self::not_found("This tenant does not exist, or this token cannot access it.")
    }

    /// Builds a 409: the request conflicts with the current state.
    #[must_use]
    pub fn conflict(detail: &str) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// Builds a 503 with `Retry-After`, which Alertmanager and Grafana retry.
    #[must_use]
    pub fn unavailable() -> Self {
        let detail = "The service is temporarily unavailable. Send the same request again.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(5)
    }

    /// Builds a 500 without details of the error.
    #[must_use]
    pub fn internal() -> Self {
        let detail =
            "Internal error. If it happens again, contact the operators with the correlation id of this response.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// Sets `Retry-After`, in seconds.
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

/// Handles one event of API Gateway (REST, payload version 1.0).
pub(crate) async fn serve(router: Router, event: Value, deadline: Deadline) -> Result<Value, DirectError> {
    let context = event.pointer("/requestContext/authorizer").cloned().unwrap_or(Value::Null);
    let event: ApiGatewayProxyRequest = serde_json::from_value(event).map_err(|_| {
        DirectError::new("BadRequest", "this is not a proxy event of API Gateway (REST, payload version 1.0)")
    })?;
    let correlation = correlation_id(&event);
    let path = event.path.clone().unwrap_or_default();
    let span = tracing::info_span!("request", correlation_id = correlation.0, route = event.resource);
    let response = match build_request(event, &context, &correlation) {
        Ok(request) => {
            let answer = AssertUnwindSafe(router.oneshot(request)).catch_unwind();
            // If Lambda ends the invocation, the caller gets a bare 502. Before that, it can still be asked to retry.
            match tokio::time::timeout(deadline.remaining(), answer).instrument(span.clone()).await {
                Ok(Ok(Ok(response))) => response,
                Ok(Ok(Err(infallible))) => match infallible {},
                Ok(Err(_panic)) => Problem::internal().into_response(),
                Err(_elapsed) => Problem::unavailable().into_response(),
            }
        }
        Err(problem) => problem.into_response(),
    };
    let response = with_transport_headers(problem_for_plain_error(response, &path));
    let status = response.status();
    let answer = encode_response(response, &correlation).await;
    span.in_scope(|| tracing::info!(status = status.as_u16(), "request handled"));
    answer
}

/// Adds what every response has: browsers use HTTPS only, and nobody keeps a response that does not say for how long.
fn with_transport_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    response
}

/// Replaces axum's plain-text errors (unknown route, wrong method, invalid query) by problem+json.
fn problem_for_plain_error(response: Response, path: &str) -> Response {
    let is_text =
        response.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let status = response.status();
    if !(status.is_client_error() && is_text) {
        return response;
    }
    let detail = match status {
        StatusCode::NOT_FOUND => format!("There is no resource at {path}."),
        StatusCode::METHOD_NOT_ALLOWED => {
            "This path does not support this method. The Allow header lists the supported methods.".to_owned()
        }
        _ => "The path or the query string is not valid.".to_owned(),
    };
    let mut problem = Problem::new(status, &detail).into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allow.clone());
    }
    problem
}

/// Returns the request's correlation id: the caller's, otherwise the trace's, otherwise API Gateway's request id.
fn correlation_id(event: &ApiGatewayProxyRequest) -> CorrelationId {
    let header = |name: &str| event.headers.get(name).and_then(|value| value.to_str().ok());
    // `Root=1-…;Parent=…;Sampled=1`: the root identifies the request in X-Ray.
    let root =
        header(TRACE_HEADER).and_then(|trace| trace.split(';').find_map(|part| part.trim().strip_prefix("Root=")));
    let fits =
        |text: &&str| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let given = header(CORRELATION_HEADER).filter(fits).or_else(|| root.filter(fits)).map(str::to_owned);
    CorrelationId(given.or_else(|| event.request_context.request_id.clone()).unwrap_or_else(ids::id_suffix))
}

/// Builds the router's request from an API Gateway event.
fn build_request(
    event: ApiGatewayProxyRequest,
    context: &Value,
    correlation: &CorrelationId,
) -> Result<Request<Body>, Problem> {
    let body = event.body.unwrap_or_default();
    let body = if event.is_base64_encoded {
        STANDARD
            .decode(body)
            .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "The request body is not valid base64."))?
    } else {
        body.into_bytes()
    };
    if body.len() > BODY_MAX {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The request body is larger than 512 KiB. Send a smaller body.",
        ));
    }
    let mut uri = utf8_percent_encode(event.path.as_deref().unwrap_or("/"), NOT_IN_PATH).to_string();
    // The multi-value map has all values of a parameter, the other map only the last.
    let values = if event.multi_value_query_string_parameters.is_empty() {
        &event.query_string_parameters
    } else {
        &event.multi_value_query_string_parameters
    };
    let query: Vec<String> =
        values.iter().map(|(name, value)| format!("{}={}", encode_query(name), encode_query(value))).collect();
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
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "The path is not a valid URL path."))?;
    let caller = if context.is_object() { Caller::from_context(context) } else { Caller::anonymous() };
    request.extensions_mut().insert(ApiId(event.request_context.apiid.unwrap_or_default()));
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(correlation.clone());
    Ok(request)
}

/// Percent-encodes a query name or value, which API Gateway has decoded.
fn encode_query(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, NOT_UNRESERVED)
}

/// Builds the response that API Gateway expects.
async fn encode_response(response: Response, correlation: &CorrelationId) -> Result<Value, DirectError> {
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 5 * 1024 * 1024)
        .await
        .map_err(|_| DirectError::new("Internal", "the response is larger than 5 MiB"))?;
    let mut headers = serde_json::Map::new();
    for (name, value) in &parts.headers {
        let text = value.to_str().unwrap_or_default();
        match headers.get_mut(name.as_str()).and_then(Value::as_array_mut) {
            Some(values) => values.push(Value::from(text)),
            None => drop(headers.insert(name.to_string(), json!([text]))),
        }
    }
    headers.insert(HeaderName::from_static(CORRELATION_HEADER).to_string(), json!([correlation.0]));
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
mod tests;
