//! Accepting: authenticate, validate, normalise, split by tenant, enqueue, answer 202.

use crate::{App, Intake};
use aws::sqs::Outgoing;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use contracts::intake::Defaults;
use contracts::native::{Accepted, UpdateAccepted};
use contracts::problem::FieldError;
use contracts::queue::{Body, IncidentReceived, VERSION};
use domain::classification::Verdict;
use domain::event::{Event, PUBLISHING, is_own};
use domain::ids::{EventId, IncidentId, IntegrationId, Scope};
use domain::reason::Reason;
use jiff::Timestamp;
use runtime::http::{Caller, Correlation, Problem};
use runtime::{clock, ids, metrics};
use serde::Deserialize;
use serde_json::Value;
use store::events::Idempotency;

/// The scope that posting needs.
pub(crate) const WRITE: &str = "incidents:write";
/// The scope that platform-wide posting needs.
pub(crate) const PLATFORM: &str = "incidents:platform";

/// What a source may not say of itself.
const OWN_TYPE: &str = "`test.alert` and `tocsin.…` are Tocsin's own; send a test by POST /v1/tenants/{tenant}/test-alert, and name what \
                        happened by a type of yours";

/// The query of `POST /v1/incidents`.
#[derive(Debug, Deserialize)]
pub(crate) struct Options {
    #[serde(default)]
    dry_run: bool,
}

/// `POST /v1/incidents`
pub(crate) async fn native(
    State(app): State<App>,
    caller: Caller,
    correlation: Correlation,
    Query(options): Query<Options>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    caller.require(WRITE)?;
    let defaults = defaults(&caller);
    let new_key = ids::suffix();
    let event = contracts::native::parse(&body, &defaults, &new_key).map_err(Problem::fields)?;
    if is_own(&event.event_type) {
        return Err(Problem::fields(vec![FieldError::new("/type", OWN_TYPE)]));
    }
    let scopes = native_scopes(&app, &caller, &event).await?;
    if options.dry_run {
        return crate::dry_run::answer(&app, &event, &scopes).await;
    }
    let now = clock::now();
    let mut stamp = Stamp { event_id: EventId::new(&ids::suffix()), at: now, correlation_id: correlation.0 };
    if let Some(key) = headers.get("idempotency-key") {
        stamp = remembered(&app, &caller, key.to_str().unwrap_or_default(), &body, stamp).await?;
    }
    // An idempotent repeat is sent again under the first request's id: the record proves no send, and what did arrive is
    // dropped behind the queue.
    let dedup_key = if event.dedup_key == new_key { stamp.event_id.to_string() } else { event.dedup_key.clone() };
    let event = Event { dedup_key: dedup_key.clone(), ..event };
    let event = if speaks_for_platform(&caller) { event } else { event.unpublished() };
    let body = Body::Event(Box::new(event));
    let messages = scopes.into_iter().map(|scope| stamp.message(&caller, Some(scope), None, body.clone()));
    send(&app, messages.collect()).await?;
    metrics::count_by("IncidentAccepted", "format", "native", 1);
    let answer = Accepted { event_id: stamp.event_id, dedup_key };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// `POST /v1/incidents/{id}/updates`
pub(crate) async fn update(
    State(app): State<App>,
    caller: Caller,
    correlation: Correlation,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    caller.require(WRITE)?;
    let update = contracts::native::parse_update(&body).map_err(Problem::fields)?;
    let incident = match IncidentId::parse(&id) {
        Some(id) => app.table.incident(&id).await.map_err(unavailable)?,
        None => None,
    };
    // What a token may not speak for does not exist for it, and nobody has more to say of a test.
    let incident = incident.filter(|incident| may_speak(&caller, &incident.scope) && !incident.test);
    let incident = incident.ok_or_else(no_incident)?;
    if incident.resolved_at.is_some() {
        return Err(Problem::conflict(
            "the incident is resolved: nothing more is told about it; post a new event to open a new one",
        ));
    }
    // A tenant's incident is public where somebody published it who may speak to everybody; what is said of it is read by everybody.
    if incident.public && !speaks_for_platform(&caller) {
        return Err(Problem::forbidden(
            "this incident is on the public status page, and so would be these words; use a token with the scope \
             incidents:platform",
        ));
    }
    let now = clock::now();
    let mut stamp = Stamp { event_id: EventId::new(&ids::suffix()), at: now, correlation_id: correlation.0 };
    if let Some(key) = headers.get("idempotency-key") {
        stamp = remembered(&app, &caller, key.to_str().unwrap_or_default(), &body, stamp).await?;
    }
    let body = Body::Update {
        incident_id: incident.id.clone(),
        key: incident.key.clone(),
        status: update.status,
        message: update.message,
    };
    let message = stamp.message(&caller, Some(incident.scope), None, body);
    send(&app, vec![message]).await?;
    metrics::count_by("IncidentAccepted", "format", "update", 1);
    let answer = UpdateAccepted { event_id: stamp.event_id, incident_id: incident.id };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Whose a native event is. Everything that cannot be told is refused: the caller is there to mend it.
async fn native_scopes(app: &App, caller: &Caller, event: &Event) -> Result<Vec<Scope>, Problem> {
    if event.platform {
        caller.require(PLATFORM)?;
        if !speaks_for_platform(caller) {
            return Err(Problem::forbidden(
                "this token speaks for some tenants only; name them in `tenant_ids`, or use a token for all tenants",
            ));
        }
        if let Verdict::Included(included) = app.policy.classify(event)
            && !app.policy.may_be_platform_wide(&included)
        {
            return Err(Problem::fields(vec![FieldError::new(
                "/platform",
                "this type of event is always about one tenant; name it in `tenant_ids`",
            )]));
        }
        return Ok(vec![Scope::Platform]);
    }
    if event.public == Some(true) && !speaks_for_platform(caller) {
        let refused = Problem::fields(vec![FieldError::new("/public", PUBLISHING)]);
        return Err(Problem { status: StatusCode::FORBIDDEN, ..refused });
    }
    let mut scopes = Vec::new();
    let mut errors = Vec::new();
    for (index, tenant) in event.tenant_ids.iter().enumerate() {
        // Whether a tenant exists is told only to who may speak for it.
        if !caller.may_speak_for(tenant) {
            return Err(Problem::forbidden(&format!(
                "this token may not post for the tenant of /tenant_ids/{index}; use a token that names it"
            )));
        }
        match app.table.settings(tenant).await.map_err(unavailable)? {
            Some(_) => scopes.push(Scope::Tenant(tenant.clone())),
            None => errors.push(FieldError::new(
                format!("/tenant_ids/{index}"),
                "there is no such tenant; an admin creates it with PUT /v1/tenants/{tenant}",
            )),
        }
    }
    if errors.is_empty() { Ok(scopes) } else { Err(Problem::fields(errors)) }
}

/// Identity and time of an accepted event.
pub(crate) struct Stamp {
    pub(crate) event_id: EventId,
    pub(crate) at: Timestamp,
    pub(crate) correlation_id: String,
}

impl Stamp {
    pub(crate) fn message(
        &self,
        caller: &Caller,
        scope: Option<Scope>,
        trouble: Option<Reason>,
        body: Body,
    ) -> IncidentReceived {
        IncidentReceived {
            v: VERSION,
            event_id: self.event_id.clone(),
            correlation_id: self.correlation_id.clone(),
            accepted_at: self.at,
            integration_id: integration(caller),
            scope,
            trouble,
            body,
        }
    }
}

/// All or nothing: a failed send answers 503, the caller sends again, and what did arrive is the same message.
pub(crate) async fn send(app: &Intake, messages: Vec<IncidentReceived>) -> Result<(), Problem> {
    let mut outgoing = Vec::with_capacity(messages.len());
    for message in &messages {
        let body = serde_json::to_string(message).map_err(|_| Problem::internal())?;
        outgoing.push(Outgoing {
            body,
            group: Some(message.group()),
            dedup: Some(message.deduplication_id()),
            ..Outgoing::default()
        });
    }
    app.queues.send_all(&app.config.classify_queue_url, outgoing).await.map_err(|unsent| {
        tracing::error!(error = %unsent, "events could not be queued");
        Problem::unavailable()
    })
}

async fn remembered(app: &App, caller: &Caller, key: &str, body: &[u8], stamp: Stamp) -> Result<Stamp, Problem> {
    if key.is_empty() || key.len() > 255 {
        return Err(Problem::fields(vec![FieldError::new("header:Idempotency-Key", "must have 1 to 255 characters")]));
    }
    let body_hash = domain::ids::digest(&[&String::from_utf8_lossy(body)]);
    let entry = Idempotency {
        event_id: stamp.event_id.clone(),
        body_hash: body_hash.clone(),
        accepted_at: stamp.at,
        correlation_id: stamp.correlation_id.clone(),
    };
    match app.table.remember_idempotency(caller.token_id.as_str(), key, &entry).await.map_err(unavailable)? {
        None => Ok(stamp),
        Some(first) if first.body_hash == body_hash => {
            Ok(Stamp { event_id: first.event_id, at: first.accepted_at, correlation_id: first.correlation_id })
        }
        Some(_) => Err(Problem::fields(vec![FieldError::new(
            "header:Idempotency-Key",
            "this key was used with another body in the last 24 hours; use a new key for a new event",
        )])),
    }
}

pub(crate) fn defaults(caller: &Caller) -> Defaults {
    let given = caller.defaults.clone().unwrap_or(Value::Null);
    serde_json::from_value(given).unwrap_or_default()
}

pub(crate) fn integration(caller: &Caller) -> IntegrationId {
    IntegrationId::parse(&caller.integration_id).unwrap_or_else(|| IntegrationId::derived(&[&caller.integration_id]))
}

/// Whether the caller may post about everybody: a scope that reaches beyond its tenants is worth nothing without them.
pub(crate) fn speaks_for_platform(caller: &Caller) -> bool {
    caller.has(PLATFORM) && caller.speaks_for_all()
}

/// Whether the caller may post on something of `scope`.
pub(crate) fn may_speak(caller: &Caller, scope: &Scope) -> bool {
    match scope {
        Scope::Platform => speaks_for_platform(caller),
        Scope::Tenant(tenant) => caller.may_speak_for(tenant),
    }
}

pub(crate) fn no_incident() -> Problem {
    Problem::not_found("there is no such incident for this token")
}

pub(crate) fn unavailable(error: store::StoreError) -> Problem {
    tracing::error!(%error, "the table did not answer");
    Problem::unavailable()
}
