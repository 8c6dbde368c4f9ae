//! `/v2/alerts`, with the answers of Opsgenie's Alert API.

use crate::accept::{defaults, integration, may_speak};
use crate::{App, access, drop_in};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contracts::intake::Mapped;
use contracts::opsgenie::{self, Action, Refusal};
use domain::ids::{EventId, IncidentId};
use domain::reason::Reason;
use jiff::Timestamp;
use runtime::http::{Caller, Correlation};
use runtime::{clock, ids};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::events::EventRecord;

/// The format's name in metrics.
const NAME: &str = "opsgenie";

/// How an alert is named.
#[derive(Debug, Deserialize)]
pub(crate) struct Identified {
    #[serde(default, rename = "identifierType")]
    identifier_type: Option<String>,
}

/// One request: what every answer repeats.
struct Asked {
    begun: Timestamp,
    request_id: String,
}

impl Asked {
    fn new(correlation: &Correlation) -> Self {
        Self { begun: clock::now(), request_id: correlation.0.clone() }
    }

    fn answer(&self, status: StatusCode, mut body: Map<String, Value>) -> Response {
        let took = clock::now().as_millisecond() - self.begun.as_millisecond();
        body.insert("took".to_owned(), json!(f64::from(i32::try_from(took).unwrap_or(0)) / 1_000.0));
        body.entry("requestId").or_insert_with(|| json!(self.request_id));
        (status, Json(Value::Object(body))).into_response()
    }

    fn say(&self, status: StatusCode, message: &str) -> Response {
        self.answer(status, Map::from_iter([("message".to_owned(), json!(message))]))
    }

    fn refuse(&self, refusal: Refusal) -> Response {
        match refusal {
            Refusal::Unreadable => {
                self.say(StatusCode::BAD_REQUEST, "Could not parse request body: it is not a JSON object")
            }
            Refusal::Fields(errors) => {
                let message = "Request body is not processable. Please check the errors.";
                let body = [("message".to_owned(), json!(message)), ("errors".to_owned(), json!(errors))];
                self.answer(StatusCode::UNPROCESSABLE_ENTITY, Map::from_iter(body))
            }
        }
    }

    /// What Opsgenie's clients send again.
    fn busy(&self) -> Response {
        let message = "We cannot take it just now; please send the same request again";
        let mut response = self.say(StatusCode::TOO_MANY_REQUESTS, message);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        response
    }

    async fn caller(&self, app: &App, headers: &HeaderMap) -> Result<Caller, Response> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (scheme, key) = given.trim().split_once(' ').unwrap_or_default();
        let key = Some(key.trim()).filter(|_| scheme.eq_ignore_ascii_case("geniekey")).unwrap_or_default();
        let caller = access::caller(app, key).await.map_err(|error| {
            tracing::error!(%error, "the tokens cannot be read");
            self.busy()
        })?;
        caller.ok_or_else(|| self.say(StatusCode::UNAUTHORIZED, "Could not authenticate"))
    }

    async fn take(&self, app: &App, caller: &Caller, mapped: Mapped, action: &str) -> Result<Response, Response> {
        let taken = drop_in::take(app, caller, &self.request_id, NAME, vec![mapped]).await.map_err(|_| self.busy())?;
        let event = taken.first().map(|one| one.event_id.to_string()).unwrap_or_default();
        let body = [
            ("result".to_owned(), json!("Request will be processed")),
            ("requestId".to_owned(), json!(format!("{event}.{action}"))),
        ];
        Ok(self.answer(StatusCode::ACCEPTED, Map::from_iter(body)))
    }
}

/// `POST /v2/alerts`
pub(crate) async fn create(
    State(app): State<App>,
    correlation: Correlation,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let asked = Asked::new(&correlation);
    let caller = asked.caller(&app, &headers).await?;
    let known = |event_type: &str| app.policy.knows(event_type);
    let mapped = opsgenie::create(&body, &defaults(&caller), &known, &ids::suffix());
    let mapped = mapped.map_err(|refusal| asked.refuse(refusal))?;
    asked.take(&app, &caller, mapped, "Create").await
}

/// `POST /v2/alerts/{identifier}/{action}`
pub(crate) async fn act(
    State(app): State<App>,
    correlation: Correlation,
    Path((identifier, path)): Path<(String, String)>,
    by: Result<Query<Identified>, QueryRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let asked = Asked::new(&correlation);
    let caller = asked.caller(&app, &headers).await?;
    let Some(action) = Action::of(&path) else {
        let message = "There is no such action here; there are close, acknowledge and notes";
        return Err(asked.say(StatusCode::NOT_FOUND, message));
    };
    let alias = match by.as_ref().map(|by| by.identifier_type.as_deref()) {
        Ok(Some("alias")) => identifier,
        Ok(None | Some("id")) => alias_of(&app, &caller, &identifier, &asked).await?,
        Ok(Some(_)) | Err(_) => {
            let errors = [("identifierType".to_owned(), "must be id or alias".to_owned())];
            return Err(asked.refuse(Refusal::Fields(errors.into())));
        }
    };
    let mapped = opsgenie::act(action, &alias, &body).map_err(|refusal| asked.refuse(refusal))?;
    let name = match action {
        Action::Close => "Close",
        Action::Acknowledge => "Acknowledge",
        Action::AddNote => "AddNote",
    };
    asked.take(&app, &caller, mapped, name).await
}

/// The alias of an alert by its id, which is our incident's.
async fn alias_of(app: &App, caller: &Caller, id: &str, asked: &Asked) -> Result<String, Response> {
    let incident = match IncidentId::parse(id) {
        Some(id) => app.table.incident(&id).await.map_err(|error| {
            tracing::error!(%error, "the table did not answer");
            asked.busy()
        })?,
        None => None,
    };
    let theirs = incident.filter(|incident| {
        incident.source == opsgenie::SOURCE
            && incident.integration_id == integration(caller)
            && may_speak(caller, &incident.scope)
    });
    theirs.map(|incident| incident.dedup_key).ok_or_else(|| {
        asked.say(StatusCode::NOT_FOUND, "There is no such alert; to name it by its alias add ?identifierType=alias")
    })
}

/// `GET /v2/alerts/requests/{id}`
pub(crate) async fn request(
    State(app): State<App>,
    correlation: Correlation,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let asked = Asked { request_id: id.clone(), ..Asked::new(&correlation) };
    let caller = asked.caller(&app, &headers).await?;
    let named = id.rsplit_once('.').and_then(|(event, action)| Some((EventId::parse(event)?, action)));
    let records = match &named {
        Some((event, _)) => app.table.event_records(event).await.map_err(|error| {
            tracing::error!(%error, "the table did not answer");
            asked.busy()
        })?,
        None => Vec::new(),
    };
    let mine = |record: &EventRecord| match &record.scope {
        Some(scope) => may_speak(&caller, scope),
        // Nobody could tell whose it is: only who posts for everybody may ask.
        None => caller.speaks_for_all(),
    };
    let mine: Vec<EventRecord> = records.into_iter().filter(mine).collect();
    let (Some((_, action)), Some(first)) = (named, mine.first()) else {
        return Err(asked.say(StatusCode::NOT_FOUND, "Request not found. It might not be processed, yet."));
    };
    let with_alert = mine.iter().find(|record| record.incident_id.is_some());
    let alert = with_alert.and_then(|record| record.incident_id.clone()).unwrap_or_default();
    let success = with_alert.is_some();
    let alias = match with_alert.and_then(|record| IncidentId::parse(record.incident_id.as_deref()?)) {
        Some(id) => app.table.incident(&id).await.ok().flatten().map(|incident| incident.dedup_key).unwrap_or_default(),
        None => String::new(),
    };
    let status = match (with_alert.unwrap_or(first).reason, action) {
        (Some(Reason::Repeat) | None, _) if !success => "Nobody is told of this type of alert",
        (Some(Reason::Repeat), _) => "Alert is already open",
        (Some(reason), _) => reason.sentence(),
        (None, "Create") => "Created alert",
        (None, "Close") => "Closed alert",
        (None, "Acknowledge") => "Acknowledged alert",
        (None, _) => "Added note to alert",
    };
    let data = json!({"success": success, "isSuccess": success, "action": action, "status": status, "alertId": alert,
        "alias": alias, "processedAt": first.accepted_at, "integrationId": caller.integration_id});
    Ok(asked.answer(StatusCode::OK, Map::from_iter([("data".to_owned(), data)])))
}
