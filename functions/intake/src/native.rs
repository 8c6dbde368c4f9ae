//! The native format: `POST /v1/incidents` and `POST /v1/incidents/{id}/updates`.

use crate::App;
use crate::enqueue::{EventStamp, enqueue};
use crate::permissions::{
    PLATFORM_SCOPE, WRITE_SCOPE, event_defaults, incident_not_found, may_access_incident, may_post_platform_wide,
    table_unavailable,
};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use contracts::native::{EventAccepted, UpdateAccepted};
use contracts::problem::FieldError;
use contracts::queue::MessageBody;
use domain::classification::Classification;
use domain::event::{Event, PUBLIC_DENIED, is_reserved_type};
use domain::ids::{EventId, IncidentId, Scope};
use domain::policy::{MaintenancePolicy, Policy};
use domain::vocabulary::{Kind, Status};
use jiff::Timestamp;
use runtime::http::{Caller, CorrelationId, Problem};
use runtime::{clock, ids, metrics};
use serde::Deserialize;
use store::events::IdempotencyRecord;

/// The error for an event whose type is reserved for Tocsin.
const RESERVED_TYPE: &str = "the types `test.alert` and `tocsin.…` are reserved; use a type of your own, and send test alerts with POST \
                             /v1/tenants/{tenant}/test-alert";

/// The query of `POST /v1/incidents`.
#[derive(Debug, Deserialize)]
pub(crate) struct PostEventQuery {
    #[serde(default)]
    dry_run: bool,
}

/// `POST /v1/incidents`: validates an event, resolves its tenants and queues a message for each; 202.
pub(crate) async fn post_event(
    State(app): State<App>,
    caller: Caller,
    correlation: CorrelationId,
    Query(query): Query<PostEventQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    caller.require_scope(WRITE_SCOPE)?;
    let defaults = event_defaults(&caller);
    let new_key = ids::id_suffix();
    let event = contracts::native::parse_event(&body, &defaults, &new_key).map_err(Problem::invalid_fields)?;
    if is_reserved_type(&event.event_type) {
        return Err(Problem::invalid_fields(vec![FieldError::new("/type", RESERVED_TYPE)]));
    }
    let now = clock::now();
    check_window(&app.policy.maintenance, &event, now)?;
    check_user(&app.policy, &event)?;
    let scopes = resolve_scopes(&app, &caller, &event).await?;
    if query.dry_run {
        return crate::dry_run::respond(&app, &event, &scopes).await;
    }
    let mut stamp = EventStamp { event_id: EventId::new(&ids::id_suffix()), at: now, correlation_id: correlation.0 };
    if let Some(key) = headers.get("idempotency-key") {
        stamp = apply_idempotency_key(&app, &caller, key.to_str().unwrap_or_default(), &body, stamp).await?;
    }
    // A repeated request is queued again under the first request's id: the stored key does not prove that its messages were sent. What was
    // handled already has a record under that id.
    let dedup_key = if event.dedup_key == new_key { stamp.event_id.to_string() } else { event.dedup_key.clone() };
    let event = Event { dedup_key: dedup_key.clone(), ..event };
    let event = if may_post_platform_wide(&caller) { event } else { event.deny_public() };
    let body = MessageBody::Event(Box::new(event));
    let messages = scopes.into_iter().map(|scope| stamp.message(&caller, Some(scope), None, body.clone()));
    enqueue(&app, &caller, messages.collect()).await?;
    metrics::count_by("IncidentAccepted", "format", "native", 1);
    let answer = EventAccepted { event_id: stamp.event_id, dedup_key };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// `POST /v1/incidents/{id}/updates`: queues an update of an open incident; 202.
pub(crate) async fn post_update(
    State(app): State<App>,
    caller: Caller,
    correlation: CorrelationId,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    caller.require_scope(WRITE_SCOPE)?;
    let update = contracts::native::parse_update(&body).map_err(Problem::invalid_fields)?;
    let incident = match IncidentId::parse(&id) {
        Some(id) => app.table.incident(&id).await.map_err(table_unavailable)?,
        None => None,
    };
    // Incidents of other tenants and test alerts answer 404, as if they did not exist.
    let incident = incident.filter(|incident| may_access_incident(&caller, incident) && !incident.test);
    let incident = incident.ok_or_else(incident_not_found)?;
    if incident.resolved_at.is_some() {
        return Err(Problem::conflict(
            "the incident is resolved and takes no more updates; post a new event to open a new incident",
        ));
    }
    // An update of a public incident appears on the status page, which everybody can read.
    if incident.public && !may_post_platform_wide(&caller) {
        return Err(Problem::forbidden(
            "this incident is on the public status page, where this update would appear; use a token with the scope \
             incidents:platform",
        ));
    }
    let now = clock::now();
    let mut stamp = EventStamp { event_id: EventId::new(&ids::id_suffix()), at: now, correlation_id: correlation.0 };
    if let Some(key) = headers.get("idempotency-key") {
        stamp = apply_idempotency_key(&app, &caller, key.to_str().unwrap_or_default(), &body, stamp).await?;
    }
    let body = MessageBody::Update {
        incident_id: incident.id.clone(),
        key: incident.key.clone(),
        status: update.status,
        message: update.message,
    };
    let message = stamp.message(&caller, Some(incident.scope), None, body);
    enqueue(&app, &caller, vec![message]).await?;
    metrics::count_by("IncidentAccepted", "format", "update", 1);
    let answer = UpdateAccepted { event_id: stamp.event_id, incident_id: incident.id };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Checks that a maintenance ends within the longest window. A window keeps incidents silent, so it must not last for years by mistake.
///
/// # Errors
/// 422 if it ends later. Where the event does not say when it starts, it starts now.
fn check_window(maintenance: &MaintenancePolicy, event: &Event, now: Timestamp) -> Result<(), Problem> {
    let last_end = maintenance.last_end(event.starts_at.unwrap_or(now));
    if event.ends_at.is_none_or(|end| end <= last_end) {
        return Ok(());
    }
    let days = maintenance.window_days_max;
    let detail = format!("must be at most {days} days after the start; announce longer work in several windows");
    Err(Problem::invalid_fields(vec![FieldError::new("/ends_at", detail)]))
}

/// Checks that a user-level warning names its user. Without one it reaches nobody, and its caller can correct it.
///
/// # Errors
/// 422 if it names no user and is no resolve: what continues an open warning is compared with its user.
fn check_user(policy: &Policy, event: &Event) -> Result<(), Problem> {
    let is_warning = matches!(policy.classify(event), Classification::Included(rule) if rule.kind == Kind::OptIn);
    if !is_warning || event.user().is_some() || event.status == Some(Status::Resolved) {
        return Ok(());
    }
    let detail = "is required for a user-level warning: set the platform's id of the user whom it is about";
    Err(Problem::invalid_fields(vec![FieldError::new("/user_id", detail)]))
}

/// The scopes that a native event is for. An event that cannot be attributed is rejected, because its caller can correct it.
///
/// # Errors
/// 403 if the token may not post there, 422 for unknown tenants and for types that cannot be platform-wide, 503 if the table fails.
async fn resolve_scopes(app: &App, caller: &Caller, event: &Event) -> Result<Vec<Scope>, Problem> {
    if event.platform {
        caller.require_scope(PLATFORM_SCOPE)?;
        if !may_post_platform_wide(caller) {
            return Err(Problem::forbidden(
                "this token is limited to some tenants; name them in `tenant_ids`, or use a token for all tenants",
            ));
        }
        if let Classification::Included(included) = app.policy.classify(event)
            && !app.policy.allows_platform_wide(&included)
        {
            return Err(Problem::invalid_fields(vec![FieldError::new(
                "/platform",
                "events of this type concern one tenant only; name that tenant in `tenant_ids`",
            )]));
        }
        return Ok(vec![Scope::Platform]);
    }
    if event.public == Some(true) && !may_post_platform_wide(caller) {
        let problem = Problem::invalid_fields(vec![FieldError::new("/public", PUBLIC_DENIED)]);
        return Err(Problem { status: StatusCode::FORBIDDEN, ..problem });
    }
    let mut scopes = Vec::new();
    let mut errors = Vec::new();
    for (index, tenant) in event.tenant_ids.iter().enumerate() {
        // Checked first, so that a token cannot find out which other tenants exist.
        if !caller.can_access_tenant(tenant) {
            return Err(Problem::forbidden(&format!(
                "this token may not post for the tenant in /tenant_ids/{index}; use a token of that tenant"
            )));
        }
        match app.table.settings(tenant).await.map_err(table_unavailable)? {
            Some(_) => scopes.push(Scope::Tenant(tenant.clone())),
            None => errors.push(FieldError::new(
                format!("/tenant_ids/{index}"),
                "This tenant does not exist. Check the id, or ask an admin to create it with PUT /v1/tenants/{tenant}.",
            )),
        }
    }
    if errors.is_empty() { Ok(scopes) } else { Err(Problem::invalid_fields(errors)) }
}

/// Stores the request under its idempotency key, and returns the stamp to use.
///
/// If the key was used with the same body within 24 hours, that has the first request's ids.
///
/// # Errors
/// 422 for a key that is too long or empty, or that was used with another body; 503 if the table fails.
async fn apply_idempotency_key(
    app: &App,
    caller: &Caller,
    key: &str,
    body: &[u8],
    stamp: EventStamp,
) -> Result<EventStamp, Problem> {
    if key.is_empty() || key.len() > 255 {
        return Err(Problem::invalid_fields(vec![FieldError::new(
            "header:Idempotency-Key",
            "must have 1 to 255 characters",
        )]));
    }
    let body_hash = domain::ids::short_hash(&[&String::from_utf8_lossy(body)]);
    let entry = IdempotencyRecord {
        event_id: stamp.event_id.clone(),
        body_hash: body_hash.clone(),
        accepted_at: stamp.at,
        correlation_id: stamp.correlation_id.clone(),
    };
    match app.table.record_idempotency_key(caller.token_id.as_str(), key, &entry).await.map_err(table_unavailable)? {
        None => Ok(stamp),
        Some(first) if first.body_hash == body_hash => {
            // Accepted now: something newer may have happened since the first try, and what is old by then would be dropped as stale.
            Ok(EventStamp { event_id: first.event_id, correlation_id: first.correlation_id, ..stamp })
        }
        Some(_) => Err(Problem::invalid_fields(vec![FieldError::new(
            "header:Idempotency-Key",
            "this key was used with a different body in the last 24 hours; use a new key for a new event",
        )])),
    }
}
