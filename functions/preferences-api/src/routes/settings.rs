//! Routes of a tenant and its settings.

use super::{audit_entry, lint, load_settings, save_setting};
use crate::App;
use crate::access::{self, LimitedBody, MANAGE_SCOPES, READ_SCOPES, json_with_etag, require_current_version};
use crate::check::settings::{Editor, new_settings, settings_body, update_settings, update_tenant};
use crate::notices;
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
use store::tenants::{SaveOutcome, TenantChange};

/// Attempts to save a tenant while others change it at the same time.
const SAVE_ATTEMPTS_MAX: usize = 5;

/// `PUT /v1/tenants/{tenant}`: creates a tenant, or changes its name, plan or zone. Repeating it changes nothing, so If-Match is optional.
pub(crate) async fn put_tenant(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: LimitedBody,
) -> Result<Response, Problem> {
    caller.require_scope(PLATFORM_ADMIN)?;
    let tenant = TenantId::parse(&path)
        .map_err(|error| Problem::invalid_fields(vec![FieldError::new("path:tenant", error.to_string())]))?;
    let tenant = caller.authorize_tenant(tenant.as_str(), &[PLATFORM_ADMIN])?;
    let body: TenantBody = body.parse()?;
    let expected = access::if_match_versions(&headers)?;
    for _ in 0..SAVE_ATTEMPTS_MAX {
        let before = app.table.settings(&tenant).await.map_err(access::storage_problem)?;
        let current = before.as_ref().map_or(0, |before| before.version);
        if expected.as_ref().is_some_and(|versions| !versions.contains(&current)) {
            return Err(access::outdated_version());
        }
        let (status, what, next) = match &before {
            None => {
                let settings = new_settings(&tenant, &body, &app.policy).map_err(Problem::invalid_fields)?;
                (StatusCode::CREATED, "tenant.created", settings)
            }
            Some(before) => {
                let settings = update_tenant(before, &body, &app.policy).map_err(Problem::invalid_fields)?;
                if settings == *before {
                    return Ok(json_with_etag(StatusCode::OK, before.version, &settings_body(before)));
                }
                (StatusCode::OK, "tenant.updated", Settings { version: before.version + 1, ..settings })
            }
        };
        let setting = TenantChange::Settings(Box::new(next.clone()));
        let audit = audit_entry(&caller, what, tenant.as_str());
        match app.table.save(&tenant, &setting, &audit, &ids::id_suffix()).await.map_err(access::storage_problem)? {
            SaveOutcome::VersionConflict => {}
            saved => {
                access::ensure_saved(Ok(saved))?;
                let lint = lint::findings_after_save(&app, &tenant).await;
                return Ok(json_with_etag(status, next.version, &SettingsBody { lint, ..settings_body(&next) }));
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
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    let settings = load_settings(&app, &tenant).await?;
    Ok(json_with_etag(StatusCode::OK, settings.version, &settings_body(&settings)))
}

/// `PUT /v1/tenants/{tenant}/settings`
pub(crate) async fn replace(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: LimitedBody,
) -> Result<Response, Problem> {
    update(&app, &caller, &path, &headers, |_| body.parse()).await
}

/// `PATCH /v1/tenants/{tenant}/settings`: a JSON merge patch.
pub(crate) async fn patch(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: LimitedBody,
) -> Result<Response, Problem> {
    update(&app, &caller, &path, &headers, |before| body.apply_merge_patch(&settings_body(before))).await
}

/// Saves the settings that `read_body` makes of the request and of the saved settings.
async fn update(
    app: &App,
    caller: &Caller,
    path: &str,
    headers: &HeaderMap,
    read_body: impl FnOnce(&Settings) -> Result<SettingsBody, Problem>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(path, MANAGE_SCOPES)?;
    let before = load_settings(app, &tenant).await?;
    require_current_version(headers, before.version)?;
    let body = read_body(&before)?;
    let is_platform_admin = caller.has_scope(PLATFORM_ADMIN);
    let editor = Editor { token_id: &caller.token_id, is_platform_admin, now: clock::now() };
    let next = update_settings(&before, &body, &app.policy, editor).map_err(Problem::invalid_fields)?;
    let (next, wants_names) = next.with_name_requests(&before, editor.now);
    // What is confirmed, approved or agreed has an audit action of its own, so that it can be found.
    let confirms = next.compliance_confirmed.keys().any(|class| !before.compliance_confirmed.contains_key(class));
    let what = if confirms {
        "settings.compliance_confirmed"
    } else if next.approved != before.approved {
        "settings.names_approved"
    } else if next.data_processing != before.data_processing {
        "settings.agreement_changed"
    } else if next.footprint != before.footprint {
        "settings.footprint_changed"
    } else {
        "settings.updated"
    };
    let next = Settings { version: before.version + 1, ..next };
    let setting = TenantChange::Settings(Box::new(next.clone()));
    save_setting(app, caller, &tenant, setting, what, tenant.as_str()).await?;
    if wants_names {
        notices::notify_platform_of_names(app, &next).await;
    }
    let lint = lint::findings_after_save(app, &tenant).await;
    Ok(json_with_etag(StatusCode::OK, next.version, &SettingsBody { lint, ..settings_body(&next) }))
}
