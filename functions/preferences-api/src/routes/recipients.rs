//! Routes of a tenant's recipients.

use super::{lint, load_settings, require_plan_capacity, save_setting};
use crate::App;
use crate::access::{
    self, LimitedBody, MANAGE_SCOPES, PageQuery, READ_SCOPES, created_response, json_response, json_with_etag,
    require_current_version,
};
use crate::check::recipient::{ConfirmedFlag, check_recipient, recipient_body};
use crate::confirmation_requests::{self, Asker};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use contracts::http::scopes::PLATFORM_ADMIN;
use contracts::http::{RecipientBody, RecipientList};
use domain::ids::{RecipientId, SuppressionId, TenantId};
use domain::tenant::{ConsentRecord, Destination, Recipient, Suppression};
use runtime::http::{Caller, CorrelationId, Problem};
use runtime::{clock, ids};
use serde_json::Value;
use store::tenants::TenantChange;

/// `GET /v1/tenants/{tenant}/recipients`
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    let (limit, after) = page.parse(|text| RecipientId::parse(text).is_some())?;
    load_settings(&app, &tenant).await?;
    let (recipients, more) = app.table.recipients_page(&tenant, after, limit).await.map_err(access::storage_problem)?;
    let next = recipients.last().filter(|_| more).map(|last| last.id.to_string());
    let recipients = recipients.iter().map(recipient_body).collect();
    Ok(json_response(StatusCode::OK, &RecipientList { recipients, next }))
}

/// `POST /v1/tenants/{tenant}/recipients`
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    correlation: CorrelationId,
    Path(path): Path<String>,
    body: LimitedBody,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, MANAGE_SCOPES)?;
    let settings = load_settings(&app, &tenant).await?;
    let body: RecipientBody = body.parse()?;
    let id = RecipientId::new(&ids::id_suffix());
    let sms = &app.policy.limits.sms;
    let recipient =
        check_recipient(sms, None, &id, &body, ConfirmedFlag::from(&caller)).map_err(Problem::invalid_fields)?;
    let most = app.policy.plans.get(&settings.plan).map_or(0, |plan| plan.recipients);
    let known = app.table.recipients(&tenant).await.map_err(access::storage_problem)?.len();
    require_plan_capacity(known, most, &settings.plan, "recipients")?;
    let recipient = Recipient { version: 1, created_at: clock::now(), ..recipient };
    let recipient = recipient.with_consent_record(None, consent_of(&caller));
    let recipient = with_suppression(&app, recipient).await?;
    save_recipient(&app, &caller, &tenant, &recipient, "recipient.created").await?;
    let asker = Asker { integration_id: &caller.integration_id, correlation: &correlation.0 };
    let confirmation = confirmation_requests::request_after_save(&app, &settings, None, &recipient, asker).await;
    let lint = lint::findings_after_save(&app, &tenant).await;
    Ok(created_response(
        "recipients",
        id.as_str(),
        1,
        &RecipientBody { confirmation, lint, ..body_for(&caller, &recipient) },
    ))
}

/// `GET /v1/tenants/{tenant}/recipients/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    let recipient = find_recipient(&app, &tenant, &id).await?;
    let confirmation = confirmation_requests::confirmation_states(&app, &tenant, &recipient).await?;
    Ok(json_with_etag(
        StatusCode::OK,
        recipient.version,
        &RecipientBody { confirmation, ..body_for(&caller, &recipient) },
    ))
}

/// `PUT /v1/tenants/{tenant}/recipients/{id}`
pub(crate) async fn replace(
    State(app): State<App>,
    caller: Caller,
    correlation: CorrelationId,
    Path((tenant, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: LimitedBody,
) -> Result<Response, Problem> {
    let names_consent = true;
    update(&Change { app, caller, correlation, tenant, id, headers, names_consent }, |_| body.parse()).await
}

/// `PATCH /v1/tenants/{tenant}/recipients/{id}`: a JSON merge patch.
pub(crate) async fn patch(
    State(app): State<App>,
    caller: Caller,
    correlation: CorrelationId,
    Path((tenant, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: LimitedBody,
) -> Result<Response, Problem> {
    let names_consent = body.parse::<Value>()?.get("sms_consent").is_some();
    let change = Change { app, caller, correlation, tenant, id, headers, names_consent };
    update(&change, |before| body.apply_merge_patch(&recipient_body(before))).await
}

/// A request that changes a saved recipient.
struct Change {
    app: App,
    caller: Caller,
    correlation: CorrelationId,
    /// The tenant's id as it stands in the path.
    tenant: String,
    /// The recipient's id as it stands in the path.
    id: String,
    headers: HeaderMap,
    /// Whether the request itself says if the owner of the number consents to SMS.
    names_consent: bool,
}

/// Saves the recipient that `read_body` makes of the request and of the saved recipient.
async fn update(
    change: &Change,
    read_body: impl FnOnce(&Recipient) -> Result<RecipientBody, Problem>,
) -> Result<Response, Problem> {
    let Change { app, caller, correlation, .. } = change;
    let tenant = caller.authorize_tenant(&change.tenant, MANAGE_SCOPES)?;
    // Read before the write: an error after it would look as if nothing had been saved.
    let settings = load_settings(app, &tenant).await?;
    let before = find_recipient(app, &tenant, &change.id).await?;
    require_current_version(&change.headers, before.version)?;
    let body = read_body(&before)?;
    let sms = &app.policy.limits.sms;
    let next = check_recipient(sms, Some(&before), &before.id, &body, ConfirmedFlag::from(caller));
    let next = Recipient { version: before.version + 1, ..next.map_err(Problem::invalid_fields)? };
    // A consent is for the number that it was given for.
    let keeps_consent = change.names_consent || next.phone == before.phone;
    let next = Recipient { sms_consent: next.sms_consent && keeps_consent, ..next };
    let next = next.with_consent_record(Some(&before), consent_of(caller));
    let next = with_suppression(app, next).await?;
    save_recipient(app, caller, &tenant, &next, "recipient.updated").await?;
    let asker = Asker { integration_id: &caller.integration_id, correlation: &correlation.0 };
    let confirmation = confirmation_requests::request_after_save(app, &settings, Some(&before), &next, asker).await;
    let lint = lint::findings_after_save(app, &tenant).await;
    Ok(json_with_etag(StatusCode::OK, next.version, &RecipientBody { confirmation, lint, ..body_for(caller, &next) }))
}

/// `DELETE /v1/tenants/{tenant}/recipients/{id}`
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, MANAGE_SCOPES)?;
    let recipient = find_recipient(&app, &tenant, &id).await?;
    require_current_version(&headers, recipient.version)?;
    let setting = TenantChange::Removed(Destination::Recipient(Box::new(recipient)));
    save_setting(&app, &caller, &tenant, setting, "recipient.deleted", &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Marks a recipient whose address is suppressed for the whole stack, so that its admins see why it gets nothing. A platform's word that an
/// address is confirmed lifts nothing.
async fn with_suppression(app: &App, recipient: Recipient) -> Result<Recipient, Problem> {
    let Some(email) = recipient.email.as_ref().filter(|_| recipient.suppressed.is_none()) else { return Ok(recipient) };
    let found = app.table.address_suppression(&SuppressionId::of(email)).await.map_err(access::storage_problem)?;
    let suppressed = found.map(|found| Suppression { reason: found.reason, at: found.at });
    Ok(Recipient { suppressed, ..recipient })
}

/// The record of a consent that the caller saves now.
fn consent_of(caller: &Caller) -> ConsentRecord {
    ConsentRecord { by: caller.token_id.clone(), at: clock::now() }
}

/// Returns a recipient as the API shows it to this caller: only the platform sees under which id an address is suppressed.
fn body_for(caller: &Caller, recipient: &Recipient) -> RecipientBody {
    let mut body = recipient_body(recipient);
    if let (Some(suppressed), Some(email), true) =
        (&mut body.suppressed, &recipient.email, caller.has_scope(PLATFORM_ADMIN))
    {
        suppressed.id = Some(SuppressionId::of(email).to_string());
    }
    body
}

/// Reads a recipient by the id in a path; 404 without it.
pub(super) async fn find_recipient(app: &App, tenant: &TenantId, id: &str) -> Result<Recipient, Problem> {
    let found = match RecipientId::parse(id) {
        Some(id) => app.table.recipient(tenant, &id).await.map_err(access::storage_problem)?,
        None => None,
    };
    found.ok_or_else(|| Problem::not_found("this tenant has no such recipient"))
}

/// Saves a recipient with its audit entry.
pub(super) async fn save_recipient(
    app: &App,
    caller: &Caller,
    tenant: &TenantId,
    recipient: &Recipient,
    what: &str,
) -> Result<(), Problem> {
    let setting = TenantChange::Destination(Destination::Recipient(Box::new(recipient.clone())));
    save_setting(app, caller, tenant, setting, what, recipient.id.as_str()).await
}
