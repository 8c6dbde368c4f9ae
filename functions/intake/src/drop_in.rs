//! What all drop-in formats share: whose an event is, its id, and that it is queued.

use crate::accept::{Stamp, WRITE, defaults, integration, may_speak, send, speaks_for_platform, unavailable};
use crate::{App, Intake};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use contracts::intake::{Addressed, Content, DropIn, EVENTS_MAX, FORMATS, Mapped, Request};
use contracts::native::{Accepted, AllAccepted};
use contracts::problem::FieldError;
use contracts::queue::Body;
use contracts::{cloudevents, grafana};
use domain::classification::Verdict;
use domain::event::{Event, TENANTS_MAX};
use domain::ids::{EventId, Scope, TenantId};
use domain::reason::Reason;
use domain::vocabulary::Status;
use runtime::http::{Caller, Correlation, Problem};
use runtime::{clock, ids, metrics};
use std::collections::BTreeMap;

/// Who asks, before it sends its first event (`http-webhook.md` of CloudEvents, 4.1).
const ORIGIN: &str = "webhook-request-origin";
/// Events a minute that one sender may post: the API's own limit of requests a second is reached first.
const RATE: &str = "12000";

/// `POST /v1/intake/{format}`
pub(crate) async fn post(
    State(app): State<App>,
    caller: Caller,
    correlation: Correlation,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    caller.require(WRITE)?;
    let format = format(&name)?;
    let headers = plain(&headers);
    if format.name == grafana::FORMAT.name {
        let token = headers.get("authorization").and_then(|value| value.split_once(' ')).map_or("", |(_, token)| token);
        grafana::verify(&headers, &body, token.trim(), clock::now())
            .map_err(|error| Problem { status: StatusCode::UNAUTHORIZED, ..Problem::fields(vec![error]) })?;
    }
    let mapped = read(&app, format, &body, &headers, &caller).map_err(refused)?;
    let taken = take(&app, &caller, &correlation.0, format.name, mapped).await?;
    Ok((StatusCode::ACCEPTED, Json(AllAccepted { events: taken })).into_response())
}

/// `OPTIONS /v1/intake/cloudevents`: whether a sender may send. It may, for each event shows its token.
pub(crate) async fn handshake(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    if name != cloudevents::FORMAT.name {
        return Err(Problem::not_found("only CloudEvents ask before they send; post to this path at once"));
    }
    let Some(origin) = headers.get(ORIGIN) else {
        let mend = "name the sender, such as eventemitter.example.com";
        return Err(Problem::fields(vec![FieldError::new("header:WebHook-Request-Origin", mend)]));
    };
    let mut response = StatusCode::OK.into_response();
    let answers = response.headers_mut();
    answers.insert(HeaderName::from_static("webhook-allowed-origin"), origin.clone());
    answers.insert(HeaderName::from_static("webhook-allowed-rate"), HeaderValue::from_static(RATE));
    answers.insert(axum::http::header::ALLOW, HeaderValue::from_static("POST"));
    Ok(response)
}

fn format(name: &str) -> Result<&'static DropIn, Problem> {
    FORMATS.iter().find(|format| format.name == name).ok_or_else(|| {
        let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
        Problem::not_found(&format!("there is no such intake format; there are: {}", names.join(", ")))
    })
}

/// Headers by name in lower case; of several of one name the last.
fn plain(headers: &HeaderMap) -> BTreeMap<String, String> {
    let pair =
        |(name, value): (&HeaderName, &HeaderValue)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()));
    headers.iter().filter_map(pair).collect()
}

fn refused(errors: Vec<FieldError>) -> Problem {
    let media = errors.iter().any(|error| error.pointer == "header:Content-Type");
    let problem = Problem::fields(errors);
    if media { Problem { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..problem } } else { problem }
}

/// Reads a request as `caller` sends it.
pub(crate) fn read(
    app: &Intake,
    format: &DropIn,
    body: &[u8],
    headers: &BTreeMap<String, String>,
    caller: &Caller,
) -> Result<Vec<Mapped>, Vec<FieldError>> {
    let known = |event_type: &str| app.policy.knows(event_type);
    (format.parse)(&Request { body, headers, defaults: &defaults(caller), known: &known })
}

/// Queues what was mapped; all or nothing.
pub(crate) async fn take(
    app: &Intake,
    caller: &Caller,
    correlation_id: &str,
    format: &str,
    mapped: Vec<Mapped>,
) -> Result<Vec<Accepted>, Problem> {
    let (at, integration_id) = (clock::now(), integration(caller));
    let (mut messages, mut taken) = (Vec::new(), Vec::new());
    for entry in mapped {
        let (source, key) = entry.content.key();
        let opens = matches!(&entry.content, Content::Event(event) if event.status != Some(Status::Resolved));
        let mut placed = match &entry.content {
            Content::Event(event) => event_scopes(app, caller, event, &entry.whose),
            Content::Note(_) => scopes(caller, &entry.whose),
        };
        if entry.by_key && !opens {
            let known = app.table.alias(&integration_id, source, key).await.map_err(unavailable)?;
            placed = with_known(caller, placed, known);
        }
        if entry.by_key && opens {
            // Before the event is queued: whoever is told 202 may resolve in the same second.
            let opened: Vec<Scope> = placed.iter().filter_map(|(scope, _)| scope.clone()).collect();
            app.table.remember_alias(&integration_id, source, key, &opened, at).await.map_err(unavailable)?;
        }
        let stamp = Stamp { event_id: event_id(caller, format, &entry), at, correlation_id: correlation_id.to_owned() };
        taken.push(Accepted { event_id: stamp.event_id.clone(), dedup_key: key.to_owned() });
        let body = match entry.content {
            Content::Event(event) if speaks_for_platform(caller) => Body::Event(event),
            Content::Event(event) => Body::Event(Box::new(event.unpublished())),
            Content::Note(note) => Body::Note(Box::new(note)),
        };
        for (scope, trouble) in placed {
            messages.push(stamp.message(caller, scope, trouble, body.clone()));
        }
    }
    if messages.len() > EVENTS_MAX {
        let detail = format!("these events make more than {EVENTS_MAX} messages, one a tenant; send fewer at once");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, &detail));
    }
    send(app, messages).await?;
    metrics::count_by("IncidentAccepted", "format", format, u64::try_from(taken.len()).unwrap_or(0));
    Ok(taken)
}

/// The id of a drop-in event: derived where the source calls it anything, so that a re-sent notification is the same event.
fn event_id(caller: &Caller, format: &str, mapped: &Mapped) -> EventId {
    match &mapped.identity {
        Some(identity) => {
            let mut parts = vec![caller.integration_id.as_str(), format];
            parts.extend(identity.iter().map(String::as_str));
            EventId::derived(&parts)
        }
        None => EventId::new(&ids::suffix()),
    }
}

type Placed = Vec<(Option<Scope>, Option<Reason>)>;

/// Whose a drop-in event is. A monitor that gets a 4xx drops the whole notification, so what cannot be placed is accepted,
/// stored, and told to the operators.
fn event_scopes(app: &Intake, caller: &Caller, event: &Event, whose: &Addressed) -> Placed {
    let one_tenants = whose.platform
        && match app.policy.classify(event) {
            Verdict::Included(included) => !app.policy.may_be_platform_wide(&included),
            Verdict::Excluded { .. } | Verdict::Unclassified => false,
        };
    if one_tenants && speaks_for_platform(caller) {
        return vec![(None, Some(Reason::TenantMissing))];
    }
    scopes(caller, whose)
}

fn scopes(caller: &Caller, whose: &Addressed) -> Placed {
    if whose.platform {
        let allowed = speaks_for_platform(caller);
        return vec![if allowed { (Some(Scope::Platform), None) } else { (None, Some(Reason::TenantNotAllowed)) }];
    }
    let (mine, others): (Vec<&TenantId>, Vec<&TenantId>) =
        whose.tenant_ids.iter().take(TENANTS_MAX).partition(|tenant| caller.may_speak_for(tenant));
    let mut scopes: Placed = mine.into_iter().map(|tenant| (Some(Scope::Tenant(tenant.clone())), None)).collect();
    if !others.is_empty() {
        scopes.push((None, Some(Reason::TenantNotAllowed)));
    } else if !whose.bad_tenants.is_empty() || whose.tenant_ids.len() > TENANTS_MAX {
        scopes.push((None, Some(Reason::TenantUnknown)));
    } else if scopes.is_empty() {
        scopes.push((None, Some(Reason::TenantMissing)));
    }
    scopes
}

/// For whom the end of something is, or a note on it: those for whom it was opened under its key, and those it names.
fn with_known(caller: &Caller, placed: Placed, known: Vec<Scope>) -> Placed {
    let mut all: Placed = placed.into_iter().filter(|(scope, _)| scope.is_some()).collect();
    for scope in known.into_iter().filter(|scope| may_speak(caller, scope)) {
        if !all.iter().any(|(named, _)| named.as_ref() == Some(&scope)) {
            all.push((Some(scope), None));
        }
    }
    // Nothing was ever opened: recorded, and nobody is told.
    if all.is_empty() { vec![(None, Some(Reason::ResolveWithoutOpen))] } else { all }
}
