//! `POST /v2/enqueue` and `POST /v2/change/enqueue`, with responses of PagerDuty's Events API v2.

use crate::permissions::event_defaults;
use crate::{App, access, drop_in};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contracts::intake::IntakeItem;
use contracts::pagerduty;
use runtime::http::{Caller, CorrelationId};
use runtime::ids;
use serde_json::json;

/// The format's name in metrics.
const FORMAT_NAME: &str = "pagerduty";

/// `POST /v2/enqueue`: a trigger, acknowledge or resolve event.
pub(crate) async fn post_event(
    State(app): State<App>,
    correlation: CorrelationId,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let (caller, enqueue) = authenticate(&app, &headers, &body).await?;
    let event_types = |event_type: &str| app.policy.has_rule_for(event_type);
    let mapped = enqueue.map_event(&event_defaults(&caller), &event_types, &ids::id_suffix()).map_err(invalid)?;
    let key = accept(&app, &caller, &correlation, mapped).await?;
    let answer = json!({"status": "success", "message": "Event processed", "dedup_key": key});
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// `POST /v2/change/enqueue`: a change event.
pub(crate) async fn post_change(
    State(app): State<App>,
    correlation: CorrelationId,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let (caller, enqueue) = authenticate(&app, &headers, &body).await?;
    let mapped = enqueue.map_change(&event_defaults(&caller), &ids::id_suffix()).map_err(invalid)?;
    accept(&app, &caller, &correlation, mapped).await?;
    let answer = json!({"status": "success", "message": "Change event processed"});
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Parses the request, and authenticates it by its routing key.
async fn authenticate(app: &App, headers: &HeaderMap, body: &[u8]) -> Result<(Caller, pagerduty::Enqueue), Response> {
    let header = headers.get("x-routing-key").and_then(|value| value.to_str().ok());
    let enqueue = pagerduty::parse_enqueue(body, header).map_err(invalid)?;
    let caller = access::authenticate(app, &enqueue.routing_key).await.map_err(|error| {
        tracing::error!(%error, "cannot read tokens");
        busy(None)
    })?;
    let caller = caller.ok_or_else(|| invalid(vec!["Invalid routing key".to_owned()]))?;
    Ok((caller, enqueue))
}

/// Queues the event and returns its dedup key.
async fn accept(
    app: &App,
    caller: &Caller,
    correlation: &CorrelationId,
    mapped: IntakeItem,
) -> Result<String, Response> {
    let accepted = drop_in::accept(app, caller, &correlation.0, FORMAT_NAME, vec![mapped])
        .await
        .map_err(|problem| busy(problem.retry_after))?;
    Ok(accepted.into_iter().next().map(|one| one.dedup_key).unwrap_or_default())
}

fn invalid(errors: Vec<String>) -> Response {
    let answer = json!({"status": "invalid event", "message": "Event object is invalid", "errors": errors});
    (StatusCode::BAD_REQUEST, Json(answer)).into_response()
}

/// 429, on which PagerDuty's clients retry. `retry_after` is in seconds.
fn busy(retry_after: Option<u32>) -> Response {
    let answer = json!({"status": "throttle exceeded", "message": "The event was not accepted. Send it again.",
        "errors": ["too many events were sent with this key, or a service that intake depends on is not available"]});
    let mut response = (StatusCode::TOO_MANY_REQUESTS, Json(answer)).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after.unwrap_or(5)));
    response
}
