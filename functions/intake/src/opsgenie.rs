//! `/v2/alerts`, with responses of Opsgenie's Alert API.

use crate::permissions::{event_defaults, integration_id, may_post_to};
use crate::{App, access, drop_in};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contracts::intake::IntakeItem;
use contracts::opsgenie::{self, AlertAction, OpsgenieError};
use domain::ids::{EventId, IncidentId};
use domain::reason::Reason;
use jiff::Timestamp;
use runtime::http::{Caller, CorrelationId};
use runtime::{clock, ids};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::events::EventRecord;

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

    /// 429, on which Opsgenie's clients retry.
    fn busy(&self) -> Response {
        let message = "The request was not accepted. Please send it again.";
        let mut response = self.respond_message(StatusCode::TOO_MANY_REQUESTS, message);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        response
    }

    async fn authenticate(&self, app: &App, headers: &HeaderMap) -> Result<Caller, Response> {
        let authorization =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (scheme, key) = authorization.trim().split_once(' ').unwrap_or_default();
        let key = if scheme.eq_ignore_ascii_case("geniekey") { key.trim() } else { "" };
        let caller = access::authenticate(app, key).await.map_err(|error| {
            tracing::error!(%error, "cannot read tokens");
            self.busy()
        })?;
        caller.ok_or_else(|| self.respond_message(StatusCode::UNAUTHORIZED, "Could not authenticate"))
    }

    /// Queues the mapped request. The id in the response names the event and the action.
    async fn accept(&self, app: &App, caller: &Caller, mapped: IntakeItem, action: &str) -> Result<Response, Response> {
        let accepted =
            drop_in::accept(app, caller, &self.request_id, FORMAT_NAME, vec![mapped]).await.map_err(|_| self.busy())?;
        let event = accepted.first().map(|one| one.event_id.to_string()).unwrap_or_default();
        let body = [
            ("result".to_owned(), json!("Request will be processed")),
            ("requestId".to_owned(), json!(format!("{event}.{action}"))),
        ];
        Ok(self.respond(StatusCode::ACCEPTED, Map::from_iter(body)))
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

/// `POST /v2/alerts/{identifier}/{action}`: closes or acknowledges an alert, or adds a note.
pub(crate) async fn alert_action(
    State(app): State<App>,
    correlation: CorrelationId,
    Path((identifier, path)): Path<(String, String)>,
    query: Result<Query<IdentifierQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let request = AlertRequest::new(&correlation);
    let caller = request.authenticate(&app, &headers).await?;
    let Some(action) = AlertAction::from_path(&path) else {
        let message = "There is no such action. Use close, acknowledge or notes.";
        return Err(request.respond_message(StatusCode::NOT_FOUND, message));
    };
    let alias = match query.as_ref().map(|query| query.identifier_type.as_deref()) {
        Ok(Some("alias")) => identifier,
        Ok(None | Some("id")) => alias_of(&app, &caller, &identifier, &request).await?,
        Ok(Some(_)) | Err(_) => {
            let errors = [("identifierType".to_owned(), "must be id or alias".to_owned())];
            return Err(request.reject(OpsgenieError::Fields(errors.into())));
        }
    };
    let mapped = opsgenie::map_action(action, &alias, &body).map_err(|refusal| request.reject(refusal))?;
    let name = match action {
        AlertAction::Close => "Close",
        AlertAction::Acknowledge => "Acknowledge",
        AlertAction::AddNote => "AddNote",
    };
    request.accept(&app, &caller, mapped, name).await
}

/// Returns the alias of an alert, whose id is our incident's. An alert of another integration answers 404.
async fn alias_of(app: &App, caller: &Caller, id: &str, request: &AlertRequest) -> Result<String, Response> {
    let incident = match IncidentId::parse(id) {
        Some(id) => app.table.incident(&id).await.map_err(|error| {
            tracing::error!(%error, "cannot read the table");
            request.busy()
        })?,
        None => None,
    };
    let alert = incident.filter(|incident| {
        incident.source == opsgenie::SOURCE
            && incident.integration_id == integration_id(caller)
            && may_post_to(caller, &incident.scope)
    });
    alert.map(|incident| incident.dedup_key).ok_or_else(|| {
        request.respond_message(
            StatusCode::NOT_FOUND,
            "There is no such alert. To identify it by its alias, add ?identifierType=alias.",
        )
    })
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
            request.busy()
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
        (None, _) => "Added note to alert",
    };
    let data = json!({"success": success, "isSuccess": success, "action": action, "status": status, "alertId": alert,
        "alias": alias, "processedAt": first.accepted_at, "integrationId": caller.integration_id});
    Ok(request.respond(StatusCode::OK, Map::from_iter([("data".to_owned(), data)])))
}
