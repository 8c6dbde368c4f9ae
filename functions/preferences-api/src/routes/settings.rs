//! A tenant and its settings.

use super::{audit, lint, save, settings_of};
use crate::App;
use crate::access::{self, Limited, MANAGE, READ, based_on, tagged};
use crate::check::settings as check;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use contracts::http::scopes::PLATFORM_ADMIN;
use contracts::http::{SettingsBody, TenantBody};
use contracts::problem::FieldError;
use domain::ids::TenantId;
use domain::tenant::Settings;
use runtime::http::{Caller, Problem};
use runtime::{clock, ids};
use store::tenants::{Saved, Setting};

/// How often a tenant is read again when somebody else writes it at the same time.
const TRIES: usize = 5;

/// `PUT /v1/tenants/{tenant}`: makes a tenant, or gives it another name, plan or zone. Doing it twice changes nothing, so
/// If-Match is welcome here and not required.
pub(crate) async fn put_tenant(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Limited,
) -> Result<Response, Problem> {
    caller.require(PLATFORM_ADMIN)?;
    let tenant = TenantId::parse(&path)
        .map_err(|error| Problem::fields(vec![FieldError::new("path:tenant", error.to_string())]))?;
    let tenant = caller.speaking_for(tenant.as_str(), &[PLATFORM_ADMIN])?;
    let body: TenantBody = body.parse()?;
    let expected = access::expected(&headers)?;
    for _ in 0..TRIES {
        let before = app.table.settings(&tenant).await.map_err(access::table)?;
        let current = before.as_ref().map_or(0, |before| before.version);
        if expected.as_ref().is_some_and(|versions| !versions.contains(&current)) {
            return Err(access::outdated());
        }
        let (status, what, next) = match &before {
            None => {
                let settings = check::create(&tenant, &body, &app.policy).map_err(Problem::fields)?;
                (StatusCode::CREATED, "tenant.created", settings)
            }
            Some(before) => {
                let settings = check::rename(before, &body, &app.policy).map_err(Problem::fields)?;
                if settings == *before {
                    return Ok(tagged(StatusCode::OK, before.version, &check::body_of(before)));
                }
                (StatusCode::OK, "tenant.updated", Settings { version: before.version + 1, ..settings })
            }
        };
        let setting = Setting::Settings(Box::new(next.clone()));
        let audit = audit(&caller, what, tenant.as_str());
        match app.table.save(&tenant, &setting, &audit, &ids::suffix()).await.map_err(access::table)? {
            Saved::Outdated => {}
            saved => {
                access::saved(Ok(saved))?;
                let lint = lint::after_write(&app, &tenant).await;
                return Ok(tagged(status, next.version, &SettingsBody { lint, ..check::body_of(&next) }));
            }
        }
    }
    Err(Problem::unavailable())
}

/// `GET /v1/tenants/{tenant}` and `GET /v1/tenants/{tenant}/settings`
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, READ)?;
    let settings = settings_of(&app, &tenant).await?;
    Ok(tagged(StatusCode::OK, settings.version, &check::body_of(&settings)))
}

/// `PUT /v1/tenants/{tenant}/settings`
pub(crate) async fn replace(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Limited,
) -> Result<Response, Problem> {
    write(&app, &caller, &path, &headers, |_| body.parse()).await
}

/// `PATCH /v1/tenants/{tenant}/settings`: a JSON merge patch.
pub(crate) async fn patch(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Limited,
) -> Result<Response, Problem> {
    write(&app, &caller, &path, &headers, |before| body.patched(&check::body_of(before))).await
}

async fn write(
    app: &App,
    caller: &Caller,
    path: &str,
    headers: &HeaderMap,
    asked: impl FnOnce(&Settings) -> Result<SettingsBody, Problem>,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(path, MANAGE)?;
    let before = settings_of(app, &tenant).await?;
    based_on(headers, before.version)?;
    let body = asked(&before)?;
    let said = (caller.token_id.as_str(), clock::now());
    let next = check::update(&before, &body, &app.policy, caller.has(PLATFORM_ADMIN), said).map_err(Problem::fields)?;
    // Who confirmed that a channel is lawful is found in the trail by its own name.
    let confirms = next.compliance_confirmed.keys().any(|class| !before.compliance_confirmed.contains_key(class));
    let what = if confirms { "settings.compliance_confirmed" } else { "settings.updated" };
    let next = Settings { version: before.version + 1, ..next };
    let setting = Setting::Settings(Box::new(next.clone()));
    save(app, caller, &tenant, setting, what, tenant.as_str()).await?;
    let lint = lint::after_write(app, &tenant).await;
    Ok(tagged(StatusCode::OK, next.version, &SettingsBody { lint, ..check::body_of(&next) }))
}
