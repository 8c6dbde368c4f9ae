//! The people of a tenant.

use super::{confirmation, lint, save, settings_of};
use crate::App;
use crate::access::{self, Limited, MANAGE, Paged, READ, answer, based_on, created, tagged};
use crate::check::recipient as check;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use contracts::http::scopes::PLATFORM_ADMIN;
use contracts::http::{RecipientBody, RecipientList};
use contracts::problem::FieldError;
use domain::ids::{RecipientId, TenantId};
use domain::tenant::{Destination, Recipient};
use runtime::http::{Caller, Correlation, Problem};
use runtime::{clock, ids};
use store::tenants::Setting;

/// `GET /v1/tenants/{tenant}/recipients`
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    Query(paged): Query<Paged>,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, READ)?;
    let (limit, after) = paged.read(|text| RecipientId::parse(text).is_some())?;
    settings_of(&app, &tenant).await?;
    let (recipients, more) = app.table.recipients_page(&tenant, after, limit).await.map_err(access::table)?;
    let next = recipients.last().filter(|_| more).map(|last| last.id.to_string());
    let recipients = recipients.iter().map(check::body_of).collect();
    Ok(answer(StatusCode::OK, &RecipientList { recipients, next }))
}

/// `POST /v1/tenants/{tenant}/recipients`
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    correlation: Correlation,
    Path(path): Path<String>,
    body: Limited,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, MANAGE)?;
    let settings = settings_of(&app, &tenant).await?;
    let body: RecipientBody = body.parse()?;
    let id = RecipientId::new(&ids::suffix());
    let recipient = check::recipient(None, &id, &body, caller.has(PLATFORM_ADMIN)).map_err(Problem::fields)?;
    let most = app.policy.plans.get(&settings.plan).map_or(0, |plan| plan.recipients);
    let known = app.table.recipients(&tenant).await.map_err(access::table)?.len();
    within_plan(known, most, &settings.plan, "recipients")?;
    let recipient = Recipient { version: 1, created_at: clock::now(), ..recipient };
    store(&app, &caller, &tenant, &recipient, "recipient.created").await?;
    let confirmation = confirmation::after_write(&app, &settings, None, &recipient, &correlation).await;
    let lint = lint::after_write(&app, &tenant).await;
    Ok(created("recipients", id.as_str(), 1, &RecipientBody { confirmation, lint, ..check::body_of(&recipient) }))
}

/// 422 `plan_limit` where the plan has no room for another.
pub(crate) fn within_plan(known: usize, most: u32, plan: &str, what: &str) -> Result<(), Problem> {
    if u32::try_from(known).is_ok_and(|known| known < most) {
        return Ok(());
    }
    let detail = format!("plan_limit: the plan {plan} includes {most} {what}; delete one, or ask for a larger plan");
    Err(Problem::fields(vec![FieldError::new("", detail)]))
}

/// `GET /v1/tenants/{tenant}/recipients/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, READ)?;
    let recipient = find(&app, &tenant, &id).await?;
    let confirmation = confirmation::standing(&app, &tenant, &recipient).await?;
    Ok(tagged(StatusCode::OK, recipient.version, &RecipientBody { confirmation, ..check::body_of(&recipient) }))
}

/// `PUT /v1/tenants/{tenant}/recipients/{id}`
pub(crate) async fn replace(
    State(app): State<App>,
    caller: Caller,
    correlation: Correlation,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    body: Limited,
) -> Result<Response, Problem> {
    write(&app, (&caller, &correlation), path, &headers, |_| body.parse()).await
}

/// `PATCH /v1/tenants/{tenant}/recipients/{id}`: a JSON merge patch.
pub(crate) async fn patch(
    State(app): State<App>,
    caller: Caller,
    correlation: Correlation,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    body: Limited,
) -> Result<Response, Problem> {
    write(&app, (&caller, &correlation), path, &headers, |before| body.patched(&check::body_of(before))).await
}

async fn write(
    app: &App,
    (caller, correlation): (&Caller, &Correlation),
    (path, id): (String, String),
    headers: &HeaderMap,
    asked: impl FnOnce(&Recipient) -> Result<RecipientBody, Problem>,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, MANAGE)?;
    // Read before the write: what fails after it must not look as if nothing had been saved.
    let settings = settings_of(app, &tenant).await?;
    let before = find(app, &tenant, &id).await?;
    based_on(headers, before.version)?;
    let body = asked(&before)?;
    let next = check::recipient(Some(&before), &before.id, &body, caller.has(PLATFORM_ADMIN));
    let next = Recipient { version: before.version + 1, ..next.map_err(Problem::fields)? };
    store(app, caller, &tenant, &next, "recipient.updated").await?;
    let confirmation = confirmation::after_write(app, &settings, Some(&before), &next, correlation).await;
    let lint = lint::after_write(app, &tenant).await;
    Ok(tagged(StatusCode::OK, next.version, &RecipientBody { confirmation, lint, ..check::body_of(&next) }))
}

/// `DELETE /v1/tenants/{tenant}/recipients/{id}`
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, MANAGE)?;
    let recipient = find(&app, &tenant, &id).await?;
    based_on(&headers, recipient.version)?;
    let setting = Setting::Removed(Destination::Recipient(Box::new(recipient)));
    save(&app, &caller, &tenant, setting, "recipient.deleted", &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn find(app: &App, tenant: &TenantId, id: &str) -> Result<Recipient, Problem> {
    let found = match RecipientId::parse(id) {
        Some(id) => app.table.recipient(tenant, &id).await.map_err(access::table)?,
        None => None,
    };
    found.ok_or_else(|| Problem::not_found("this tenant has no such recipient"))
}

pub(super) async fn store(
    app: &App,
    caller: &Caller,
    tenant: &TenantId,
    recipient: &Recipient,
    what: &str,
) -> Result<(), Problem> {
    let setting = Setting::Destination(Destination::Recipient(Box::new(recipient.clone())));
    save(app, caller, tenant, setting, what, recipient.id.as_str()).await
}
