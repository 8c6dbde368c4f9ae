//! `POST /v2/enqueue` and `POST /v2/change/enqueue`, with the answers of PagerDuty's Events API.

use crate::accept::defaults;
use crate::{App, access, drop_in};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contracts::intake::Mapped;
use contracts::pagerduty;
use runtime::http::{Caller, Correlation};
use runtime::ids;
use serde_json::json;

/// The format's name in metrics.
const NAME: &str = "pagerduty";

/// `POST /v2/enqueue`
pub(crate) async fn event(
    State(app): State<App>,
    correlation: Correlation,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let (caller, enqueue) = known(&app, &headers, &body).await?;
    let event_types = |event_type: &str| app.policy.knows(event_type);
    let mapped = enqueue.event(&defaults(&caller), &event_types, &ids::suffix()).map_err(invalid)?;
    let key = take(&app, &caller, &correlation, mapped).await?;
    let answer = json!({"status": "success", "message": "Event processed", "dedup_key": key});
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// `POST /v2/change/enqueue`
pub(crate) async fn change(
    State(app): State<App>,
    correlation: Correlation,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let (caller, enqueue) = known(&app, &headers, &body).await?;
    let mapped = enqueue.change(&defaults(&caller), &ids::suffix()).map_err(invalid)?;
    take(&app, &caller, &correlation, mapped).await?;
    let answer = json!({"status": "success", "message": "Change event processed"});
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

async fn known(app: &App, headers: &HeaderMap, body: &[u8]) -> Result<(Caller, pagerduty::Enqueue), Response> {
    let header = headers.get("x-routing-key").and_then(|value| value.to_str().ok());
    let enqueue = pagerduty::read(body, header).map_err(invalid)?;
    let caller = access::caller(app, &enqueue.routing_key).await.map_err(|error| {
        tracing::error!(%error, "the tokens cannot be read");
        busy()
    })?;
    let caller = caller.ok_or_else(|| invalid(vec!["Invalid routing key".to_owned()]))?;
    Ok((caller, enqueue))
}

async fn take(app: &App, caller: &Caller, correlation: &Correlation, mapped: Mapped) -> Result<String, Response> {
    let taken = drop_in::take(app, caller, &correlation.0, NAME, vec![mapped]).await.map_err(|_| busy())?;
    Ok(taken.into_iter().next().map(|one| one.dedup_key).unwrap_or_default())
}

fn invalid(errors: Vec<String>) -> Response {
    let answer = json!({"status": "invalid event", "message": "Event object is invalid", "errors": errors});
    (StatusCode::BAD_REQUEST, Json(answer)).into_response()
}

/// What PagerDuty's clients send again.
fn busy() -> Response {
    let answer = json!({"status": "throttle exceeded", "message": "We cannot take it just now; send it again.",
        "errors": ["something that this needs did not answer"]});
    let mut response = (StatusCode::TOO_MANY_REQUESTS, Json(answer)).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}
