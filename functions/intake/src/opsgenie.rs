//! `/v2/alerts`, with responses of Opsgenie's Alert API.

use crate::permissions::{event_defaults, integration_id, may_post_to};
use crate::{App, access, drop_in};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contracts::intake::IntakeItem;
use contracts::opsgenie::{self, OpsgenieError};
use domain::event_record::EventRecord;
use domain::ids::{EventId, IncidentId};
use domain::incident::Incident;
use domain::reason::Reason;
use domain::vocabulary::Status;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use runtime::http::{Caller, CorrelationId};
use runtime::{clock, ids};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::aliases::SourceKey;

/// The format's name in metrics.
const FORMAT_NAME: &str = "opsgenie";

/// The query that says whether an alert is identified by its id or its alias.
#[derive(Debug, Deserialize)]
pub(crate) struct IdentifierQuery {
    #[serde(default, rename = "identifierType")]
    identifier_type: Option<String>,
}

/// One request: its start and id, which every response contains.
struct AlertRequest {
    started_at: Timestamp,
    request_id: String,
}

impl AlertRequest {
    fn new(correlation: &CorrelationId) -> Self {
        Self { started_at: clock::now(), request_id: correlation.0.clone() }
    }

    /// A response with its duration in seconds (`took`) and the request's id.
    fn respond(&self, status: StatusCode, mut body: Map<String, Value>) -> Response {
        let took = clock::now().as_millisecond() - self.started_at.as_millisecond();
        body.insert("took".to_owned(), json!(f64::from(i32::try_from(took).unwrap_or(0)) / 1_000.0));
        body.entry("requestId").or_insert_with(|| json!(self.request_id));
        (status, Json(Value::Object(body))).into_response()
    }

    fn respond_message(&self, status: StatusCode, message: &str) -> Response {
        self.respond(status, Map::from_iter([("message".to_owned(), json!(message))]))
    }

    fn reject(&self, refusal: OpsgenieError) -> Response {
        match refusal {
            OpsgenieError::Unreadable => {
                self.respond_message(StatusCode::BAD_REQUEST, "Could not parse request body: it is not a JSON object")
            }
            OpsgenieError::Fields(errors) => {
                let message = "Request body is not processable. Please check the errors.";
                let body = [("message".to_owned(), json!(message)), ("errors".to_owned(), json!(errors))];
                self.respond(StatusCode::UNPROCESSABLE_ENTITY, Map::from_iter(body))
            }
        }
    }

    /// 429, on which Opsgenie's clients retry. `retry_after` is in seconds.
    fn busy(&self, retry_after: Option<u32>) -> Response {
        let message = "The request was not accepted. Please send it again.";
        let mut response = self.respond_message(StatusCode::TOO_MANY_REQUESTS, message);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after.unwrap_or(5)));
        response
    }

    async fn authenticate(&self, app: &App, headers: &HeaderMap) -> Result<Caller, Response> {
        let authorization =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (scheme, key) = authorization.trim().split_once(' ').unwrap_or_default();
        let key = if scheme.eq_ignore_ascii_case("geniekey") { key.trim() } else { "" };
        let caller = access::authenticate(app, key).await.map_err(|error| {
            tracing::error!(%error, "cannot read tokens");
            self.busy(None)
        })?;
        caller.ok_or_else(|| self.respond_message(StatusCode::UNAUTHORIZED, "Could not authenticate"))
    }

    fn table_fault(&self, error: &store::StoreError) -> Response {
        tracing::error!(%error, "cannot read the table");
        self.busy(None)
    }

    fn alert_not_found(&self) -> Response {
        let message = "There is no such alert. To identify it by its alias, add ?identifierType=alias.";
        self.respond_message(StatusCode::NOT_FOUND, message)
    }

    /// Returns an alert by its id, which is our incident's. An alert of another integration is not found.
    async fn incident_by_id(&self, app: &App, caller: &Caller, id: &str) -> Result<Incident, Response> {
        let incident = match IncidentId::parse(id) {
            Some(id) => app.table.incident(&id).await.map_err(|error| self.table_fault(&error))?,
            None => None,
        };
        let alert = incident.filter(|incident| {
            incident.source == opsgenie::SOURCE
                && incident.integration_id == integration_id(caller)
                && may_post_to(caller, &incident.scope)
        });
        alert.ok_or_else(|| self.alert_not_found())
    }

    /// Returns the alert under an alias that the caller may see: an open one, else the newest.
    async fn incident_by_alias(&self, app: &App, caller: &Caller, alias: &str) -> Result<Incident, Response> {
        let (alias, integration) = (self.known_alias(app, caller, alias).await?, integration_id(caller));
        let fault = |error| self.table_fault(&error);
        let known = SourceKey { integration: &integration, source: opsgenie::SOURCE, dedup_key: &alias };
        let scopes = app.table.alias_scopes(known, clock::now()).await.map_err(fault)?;
        let mut found: Option<Incident> = None;
        for scope in scopes.into_iter().filter(|scope| may_post_to(caller, scope)) {
            let key = domain::incident::hash_dedup_key(&scope, &integration, opsgenie::SOURCE, &alias);
            let Some(state) = app.table.key_state(&scope, &key).await.map_err(fault)? else { continue };
            let incident = app.table.incident(&state.incident_id).await.map_err(fault)?;
            let rank = |incident: &Incident| (incident.resolved_at.is_none(), incident.opened_at);
            found = found.into_iter().chain(incident).max_by_key(rank);
        }
        found.ok_or_else(|| self.alert_not_found())
    }

    /// Whether an alert was opened under an alias.
    async fn is_known(&self, app: &App, caller: &Caller, alias: &str) -> Result<bool, Response> {
        let alias = opsgenie::clean_alias(alias);
        let integration = integration_id(caller);
        let key = SourceKey { integration: &integration, source: opsgenie::SOURCE, dedup_key: &alias };
        let known = app.table.alias_scopes(key, clock::now()).await;
        Ok(!known.map_err(|error| self.table_fault(&error))?.is_empty())
    }

    /// Returns the alias of a path. Some gateways decode `%2F` and some do not, so the decoded alias counts if only that is known.
    async fn known_alias(&self, app: &App, caller: &Caller, given: &str) -> Result<String, Response> {
        let decoded = percent_decode_str(given).decode_utf8_lossy();
        let is_decoded = decoded != given
            && !self.is_known(app, caller, given).await?
            && self.is_known(app, caller, &decoded).await?;
        Ok(opsgenie::clean_alias(if is_decoded { &decoded } else { given }))
    }

    /// Queues the mapped request. The id in the response names the event and the action.
    async fn accept(&self, app: &App, caller: &Caller, mapped: IntakeItem, action: &str) -> Result<Response, Response> {
        let accepted = drop_in::accept(app, caller, &self.request_id, FORMAT_NAME, vec![mapped])
            .await
            .map_err(|problem| self.busy(problem.retry_after))?;
        let event = accepted.first().map(|one| one.event_id.to_string()).unwrap_or_default();
        let body = [
            ("result".to_owned(), json!("Request will be processed")),
            ("requestId".to_owned(), json!(format!("{event}.{action}"))),
        ];
        Ok(self.respond(StatusCode::ACCEPTED, Map::from_iter(body)))
    }
}

/// Whether the path names an alert by its alias rather than by its id.
fn is_alias(query: Result<Query<IdentifierQuery>, QueryRejection>) -> Result<bool, OpsgenieError> {
    match query.as_ref().map(|query| query.identifier_type.as_deref()) {
        Ok(Some("alias")) => Ok(true),
        Ok(None | Some("id")) => Ok(false),
        Ok(Some(_)) | Err(_) => {
            Err(OpsgenieError::Fields([("identifierType".to_owned(), "must be id or alias".to_owned())].into()))
        }
    }
}

/// `POST /v2/alerts`: creates an alert.
pub(crate) async fn create_alert(
    State(app): State<App>,
    correlation: CorrelationId,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let request = AlertRequest::new(&correlation);
    let caller = request.authenticate(&app, &headers).await?;
    let known = |event_type: &str| app.policy.has_rule_for(event_type);
    let mapped = opsgenie::map_alert(&body, &event_defaults(&caller), &known, &ids::id_suffix());
    let mapped = mapped.map_err(|refusal| request.reject(refusal))?;
    request.accept(&app, &caller, mapped, "Create").await
}

/// `POST`, `PUT` and `DELETE /v2/alerts/{identifier}/{action}`: closes, acknowledges or changes an alert, or adds a note.
pub(crate) async fn alert_action(
    State(app): State<App>,
    correlation: CorrelationId,
    method: Method,
    Path(path): Path<String>,
    query: Result<Query<IdentifierQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let request = AlertRequest::new(&correlation);
    let caller = request.authenticate(&app, &headers).await?;
    let by_alias = is_alias(query).map_err(|refusal| request.reject(refusal))?;
    let readings = opsgenie::readings(method.as_str(), &path);
    let Some((mut identifier, mut action)) = readings.first().copied() else {
        let message = "There is no such action. Use close, acknowledge, notes, message, description or priority.";
        return Err(request.respond_message(StatusCode::NOT_FOUND, message));
    };
    for (candidate, meant) in readings.into_iter().skip(1) {
        if by_alias
            && !request.is_known(&app, &caller, identifier).await?
            && request.is_known(&app, &caller, candidate).await?
        {
            (identifier, action) = (candidate, meant);
        }
    }
    let alias = if by_alias {
        request.known_alias(&app, &caller, identifier).await?
    } else {
        request.incident_by_id(&app, &caller, identifier).await?.dedup_key
    };
    let mapped = opsgenie::map_action(action, &alias, &body).map_err(|refusal| request.reject(refusal))?;
    request.accept(&app, &caller, mapped, action.name()).await
}

/// `GET /v2/alerts/{identifier}`: the alert, with the fields that an incident has.
pub(crate) async fn get_alert(
    State(app): State<App>,
    correlation: CorrelationId,
    Path(identifier): Path<String>,
    query: Result<Query<IdentifierQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let request = AlertRequest::new(&correlation);
    let caller = request.authenticate(&app, &headers).await?;
    let incident = if is_alias(query).map_err(|refusal| request.reject(refusal))? {
        request.incident_by_alias(&app, &caller, &identifier).await?
    } else {
        request.incident_by_id(&app, &caller, &identifier).await?
    };
    let status = if incident.resolved_at.is_some() { "closed" } else { "open" };
    let data = json!({"id": incident.id, "alias": incident.dedup_key, "message": incident.title, "status": status,
        "acknowledged": incident.status >= Status::Identified, "isSeen": true, "snoozed": false, "tags": [],
        "count": incident.repeats + 1, "createdAt": incident.opened_at.unwrap_or(incident.started_at),
        "lastOccurredAt": incident.last_seen, "updatedAt": incident.last_seen, "source": incident.source,
        "priority": opsgenie::priority_of(incident.severity), "integration": {"id": caller.integration_id}});
    Ok(request.respond(StatusCode::OK, Map::from_iter([("data".to_owned(), data)])))
}

/// `GET /v2/alerts/requests/{id}`: the result of an earlier request.
pub(crate) async fn get_request(
    State(app): State<App>,
    correlation: CorrelationId,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let request = AlertRequest { request_id: id.clone(), ..AlertRequest::new(&correlation) };
    let caller = request.authenticate(&app, &headers).await?;
    let named = id.rsplit_once('.').and_then(|(event, action)| Some((EventId::parse(event)?, action)));
    let records = match &named {
        Some((event, _)) => app.table.event_records(event).await.map_err(|error| {
            tracing::error!(%error, "cannot read the table");
            request.busy(None)
        })?,
        None => Vec::new(),
    };
    let is_visible = |record: &EventRecord| match &record.scope {
        Some(scope) => may_post_to(&caller, scope),
        // The event has no scope; only tokens for all tenants may read it.
        None => caller.can_access_all_tenants(),
    };
    let visible: Vec<EventRecord> = records.into_iter().filter(is_visible).collect();
    let (Some((_, action)), Some(first)) = (named, visible.first()) else {
        return Err(
            request.respond_message(StatusCode::NOT_FOUND, "Request not found. It might not be processed, yet.")
        );
    };
    let with_alert = visible.iter().find(|record| record.incident_id.is_some());
    let alert = with_alert.and_then(|record| record.incident_id.clone()).unwrap_or_default();
    let success = with_alert.is_some();
    let alias = match with_alert.and_then(|record| IncidentId::parse(record.incident_id.as_deref()?)) {
        Some(id) => app.table.incident(&id).await.ok().flatten().map(|incident| incident.dedup_key).unwrap_or_default(),
        None => String::new(),
    };
    let status = match (with_alert.unwrap_or(first).reason, action) {
        (Some(Reason::Repeat) | None, _) if !success => "No notifications are sent for this type of alert",
        (Some(Reason::Repeat), _) => "Alert is already open",
        (Some(reason), _) => reason.sentence(),
        (None, "Create") => "Created alert",
        (None, "Close") => "Closed alert",
        (None, "Acknowledge") => "Acknowledged alert",
        (None, "AddNote") => "Added note to alert",
        (None, _) => "Updated alert",
    };
    let data = json!({"success": success, "isSuccess": success, "action": action, "status": status, "alertId": alert,
        "alias": alias, "processedAt": first.accepted_at, "integrationId": caller.integration_id});
    Ok(request.respond(StatusCode::OK, Map::from_iter([("data".to_owned(), data)])))
}
