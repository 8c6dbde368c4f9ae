//! What all drop-in formats share: the scopes of an event, its id, and queuing it.

use crate::enqueue::{EventStamp, enqueue};
use crate::permissions::{
    WRITE_SCOPE, event_defaults, integration_id, may_post_platform_wide, may_post_to, table_unavailable,
};
use crate::{App, Intake};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use contracts::formats::FORMATS;
use contracts::intake::{Addressees, DropInFormat, EVENTS_MAX, IntakeContent, IntakeItem, IntakeRequest};
use contracts::native::{EventAccepted, EventsAccepted};
use contracts::problem::FieldError;
use contracts::queue::MessageBody;
use contracts::{cloudevents, grafana};
use domain::classification::Classification;
use domain::event::{Event, TENANTS_MAX};
use domain::ids::{EventId, Scope, TenantId};
use domain::reason::Reason;
use domain::vocabulary::Status;
use runtime::http::{Caller, CorrelationId, Problem};
use runtime::{clock, ids, metrics};
use std::collections::BTreeMap;
use store::aliases::SourceKey;

/// The header in which a CloudEvents sender names itself before its first event (`http-webhook.md` of CloudEvents, 4.1).
const WEBHOOK_REQUEST_ORIGIN: &str = "webhook-request-origin";
/// Events a minute that a CloudEvents sender may post. The API's own limit of requests a second is reached first.
const WEBHOOK_ALLOWED_RATE: &str = "12000";

/// `POST /v1/intake/{format}`: accepts a request in another product's format; 202.
pub(crate) async fn post_format(
    State(app): State<App>,
    caller: Caller,
    correlation: CorrelationId,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    caller.require_scope(WRITE_SCOPE)?;
    let format = find_format(&name)?;
    let headers = header_map(&headers);
    if format.name == grafana::FORMAT.name {
        let token = headers.get("authorization").and_then(|value| value.split_once(' ')).map_or("", |(_, token)| token);
        grafana::verify_signature(&headers, &body, token.trim(), clock::now())
            .map_err(|error| Problem { status: StatusCode::UNAUTHORIZED, ..Problem::invalid_fields(vec![error]) })?;
    }
    let mapped = parse(&app, format, &body, &headers, &caller).map_err(rejected)?;
    let events = accept(&app, &caller, &correlation.0, format.name, mapped).await?;
    Ok((StatusCode::ACCEPTED, Json(EventsAccepted { events })).into_response())
}

/// `OPTIONS /v1/intake/cloudevents`: allows a CloudEvents sender to post. Each event is authorized by its own token.
pub(crate) async fn handshake(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    if name != cloudevents::FORMAT.name {
        return Err(Problem::not_found("only /v1/intake/cloudevents answers OPTIONS; post to this path without it"));
    }
    let Some(origin) = headers.get(WEBHOOK_REQUEST_ORIGIN) else {
        let remedy = "name the sender, such as eventemitter.example.com";
        return Err(Problem::invalid_fields(vec![FieldError::new("header:WebHook-Request-Origin", remedy)]));
    };
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("webhook-allowed-origin"), origin.clone());
    headers.insert(HeaderName::from_static("webhook-allowed-rate"), HeaderValue::from_static(WEBHOOK_ALLOWED_RATE));
    headers.insert(axum::http::header::ALLOW, HeaderValue::from_static("POST"));
    Ok(response)
}

fn find_format(name: &str) -> Result<&'static DropInFormat, Problem> {
    FORMATS.iter().find(|format| format.name == name).ok_or_else(|| {
        let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
        Problem::not_found(&format!("there is no such intake format; use one of: {}", names.join(", ")))
    })
}

/// The headers by their names in lower case. If a name occurs more than once, its last value wins. What is not ASCII is read as UTF-8,
/// which senders use although HTTP does not provide for it.
fn header_map(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// 415 for a wrong content type, else 400 or 422.
fn rejected(errors: Vec<FieldError>) -> Problem {
    let wrong_media_type = errors.iter().any(|error| error.pointer == "header:Content-Type");
    let problem = Problem::invalid_fields(errors);
    if wrong_media_type { Problem { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..problem } } else { problem }
}

/// Parses a request; the defaults of the caller's token fill in what it leaves out.
///
/// # Errors
/// Every field that is wrong.
pub(crate) fn parse(
    app: &Intake,
    format: &DropInFormat,
    body: &[u8],
    headers: &BTreeMap<String, String>,
    caller: &Caller,
) -> Result<Vec<IntakeItem>, Vec<FieldError>> {
    let known = |event_type: &str| app.policy.has_rule_for(event_type);
    (format.parse)(&IntakeRequest { body, headers, defaults: &event_defaults(caller), is_known_type: &known })
}

/// Queues mapped events and notes, one message for each scope, and returns their ids.
///
/// # Errors
/// 413 for more than [`EVENTS_MAX`] messages, 503 if the table or the queue fails. Nothing is accepted then; what was queued already is
/// dropped as a duplicate when the request is repeated.
pub(crate) async fn accept(
    app: &Intake,
    caller: &Caller,
    correlation_id: &str,
    format: &str,
    mapped: Vec<IntakeItem>,
) -> Result<Vec<EventAccepted>, Problem> {
    let (at, integration_id) = (clock::now(), integration_id(caller));
    let (mut messages, mut accepted) = (Vec::new(), Vec::new());
    for entry in mapped {
        let (source, key) = entry.content.source_and_dedup_key();
        let alias = SourceKey { integration: &integration_id, source, dedup_key: key };
        let opens = matches!(&entry.content, IntakeContent::Event(event) if event.status != Some(Status::Resolved));
        let mut targets = match &entry.content {
            IntakeContent::Event(event) => event_targets(app, caller, event, &entry.addressees),
            IntakeContent::Note(_) => targets_of(caller, &entry.addressees),
        };
        if entry.index_dedup_key && !opens {
            let known = app.table.open_alias_scopes(alias, at).await.map_err(table_unavailable)?;
            targets = add_known_scopes(caller, targets, known);
        }
        if entry.index_dedup_key && opens {
            // Stored before the event is queued, because the sender may resolve right after its 202.
            let opened: Vec<Scope> = targets.iter().filter_map(|(scope, _)| scope.clone()).collect();
            app.table.add_alias_scopes(alias, &opened, at).await.map_err(table_unavailable)?;
        }
        let stamp =
            EventStamp { event_id: event_id(caller, format, &entry), at, correlation_id: correlation_id.to_owned() };
        accepted.push(EventAccepted { event_id: stamp.event_id.clone(), dedup_key: key.to_owned() });
        let body = match entry.content {
            IntakeContent::Event(event) if may_post_platform_wide(caller) => MessageBody::Event(event),
            IntakeContent::Event(event) => MessageBody::Event(Box::new(event.deny_public())),
            IntakeContent::Note(note) => MessageBody::Note(Box::new(note)),
        };
        for (scope, trouble) in targets {
            messages.push(stamp.message(caller, scope, trouble, body.clone()));
        }
    }
    if messages.len() > EVENTS_MAX {
        let detail = format!(
            "this request needs more than {EVENTS_MAX} messages, one for each event and tenant; split it into smaller requests"
        );
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, &detail));
    }
    enqueue(app, caller, messages).await?;
    metrics::count_by("IncidentAccepted", "format", format, u64::try_from(accepted.len()).unwrap_or(0));
    Ok(accepted)
}

/// Returns the id of a drop-in event.
///
/// It is derived from the source's own id of the event, if there is one, so that a repeated request has the same id.
fn event_id(caller: &Caller, format: &str, mapped: &IntakeItem) -> EventId {
    match &mapped.source_event_id {
        Some(identity) => {
            let mut parts = vec![caller.integration_id.as_str(), format];
            parts.extend(identity.iter().map(String::as_str));
            EventId::derived(&parts)
        }
        None => EventId::new(&ids::id_suffix()),
    }
}

/// The scopes to queue a message for. One without a scope has the reason why it could not be attributed.
type Targets = Vec<(Option<Scope>, Option<Reason>)>;

/// The targets of a drop-in event. A monitor that gets a 4xx drops the whole notification, so an event that cannot be attributed to a tenant
/// is accepted and stored, and the operators are notified.
fn event_targets(app: &Intake, caller: &Caller, event: &Event, whose: &Addressees) -> Targets {
    let is_single_tenant_type = whose.platform
        && match app.policy.classify(event) {
            Classification::Included(included) => !app.policy.allows_platform_wide(&included),
            Classification::Excluded { .. } | Classification::Unclassified => false,
        };
    if is_single_tenant_type && may_post_platform_wide(caller) {
        return vec![(None, Some(Reason::TenantMissing))];
    }
    targets_of(caller, whose)
}

/// The targets that the request names and the caller may post to.
fn targets_of(caller: &Caller, whose: &Addressees) -> Targets {
    if whose.platform {
        let allowed = may_post_platform_wide(caller);
        return vec![if allowed { (Some(Scope::Platform), None) } else { (None, Some(Reason::TenantNotAllowed)) }];
    }
    let (allowed, denied): (Vec<&TenantId>, Vec<&TenantId>) =
        whose.tenant_ids.iter().take(TENANTS_MAX).partition(|tenant| caller.can_access_tenant(tenant));
    let mut scopes: Targets = allowed.into_iter().map(|tenant| (Some(Scope::Tenant(tenant.clone())), None)).collect();
    if !denied.is_empty() {
        scopes.push((None, Some(Reason::TenantNotAllowed)));
    } else if !whose.invalid_tenants.is_empty() || whose.tenant_ids.len() > TENANTS_MAX {
        scopes.push((None, Some(Reason::TenantUnknown)));
    } else if scopes.is_empty() {
        scopes.push((None, Some(Reason::TenantMissing)));
    }
    scopes
}

/// Adds the scopes for which the incident was opened under the same key: a resolve or a note often names the key only.
fn add_known_scopes(caller: &Caller, targets: Targets, known: Vec<Scope>) -> Targets {
    let mut all: Targets = targets.into_iter().filter(|(scope, _)| scope.is_some()).collect();
    for scope in known.into_iter().filter(|scope| may_post_to(caller, scope)) {
        if !all.iter().any(|(named, _)| named.as_ref() == Some(&scope)) {
            all.push((Some(scope), None));
        }
    }
    // No incident was opened under this key. The event is recorded; nobody is notified.
    if all.is_empty() { vec![(None, Some(Reason::ResolveWithoutOpen))] } else { all }
}
