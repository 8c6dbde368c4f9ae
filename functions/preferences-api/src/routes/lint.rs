//! Lint: settings of a tenant that have no effect or keep alerts from arriving.

use super::load_settings;
use crate::App;
use crate::access::{self, READ_SCOPES, json_response};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::LintAnswer;
use domain::ids::TenantId;
use domain::lint::Finding;
use domain::tenant::Destination;
use domain::vocabulary::Category;
use runtime::clock;
use runtime::http::{Caller, Problem};
use serde_json::Value;
use store::StoreError;

/// `GET /v1/tenants/{tenant}/lint`
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    load_settings(&app, &tenant).await?;
    let findings = read_findings(&app, &tenant).await.map_err(access::storage_problem)?;
    Ok(json_response(StatusCode::OK, &LintAnswer { lint: findings }))
}

/// Returns the findings for the response to a write; `None` if they cannot be read, because the write itself succeeded.
pub(crate) async fn findings_after_save(app: &App, tenant: &TenantId) -> Option<Value> {
    match read_findings(app, tenant).await {
        Ok(findings) => serde_json::to_value(findings).ok(),
        Err(error) => {
            tracing::warn!(%error, "the settings were saved, but the lint findings could not be read");
            None
        }
    }
}

async fn read_findings(app: &App, tenant: &TenantId) -> Result<Vec<Finding>, StoreError> {
    // The same data that routing reads. Every category's chunks hold the same settings and destinations, so one category is enough.
    let Some(subscriber) = app.table.subscriber(tenant, Category::Infrastructure).await? else { return Ok(Vec::new()) };
    let destinations: Vec<Destination> =
        subscriber.destinations.into_iter().map(|(_, destination)| destination).collect();
    Ok(domain::lint::lint(&subscriber.settings, &destinations, &app.policy, clock::now()))
}
