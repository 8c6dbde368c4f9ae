//! The routes of the API: one file for each resource.

pub(crate) mod audit;
pub(crate) mod catalogue;
pub(crate) mod confirmation;
pub(crate) mod deliveries;
pub(crate) mod explain;
pub(crate) mod impact;
pub(crate) mod incidents;
pub(crate) mod integrations;
pub(crate) mod lint;
pub(crate) mod name_requests;
pub(crate) mod recipients;
pub(crate) mod settings;
pub(crate) mod status;
pub(crate) mod support;
pub(crate) mod suppressions;
pub(crate) mod tokens;

use crate::App;
use crate::access::storage_problem;
use contracts::problem::FieldError;
use domain::ids::TenantId;
use domain::tenant::Settings;
use runtime::http::{Caller, Problem};
use runtime::{clock, ids};
use store::tenants::{AuditRecord, TenantChange};

/// Reads a tenant's settings; 404 without them.
pub(crate) async fn load_settings(app: &App, tenant: &TenantId) -> Result<Settings, Problem> {
    app.table.settings(tenant).await.map_err(storage_problem)?.ok_or_else(Problem::tenant_not_found)
}

/// Returns an audit entry of the caller's action, with the current time.
pub(crate) fn audit_entry(caller: &Caller, what: &str, object: &str) -> AuditRecord {
    AuditRecord { at: clock::now(), who: caller.token_id.clone(), what: what.to_owned(), object: object.to_owned() }
}

/// Saves a setting together with its audit entry.
pub(crate) async fn save_setting(
    app: &App,
    caller: &Caller,
    tenant: &TenantId,
    setting: TenantChange,
    what: &str,
    object: &str,
) -> Result<(), Problem> {
    let audit = audit_entry(caller, what, object);
    crate::access::ensure_saved(app.table.save(tenant, &setting, &audit, &ids::id_suffix()).await)
}

/// Requires that the plan allows one more recipient or integration: 422 `plan_limit` if the tenant already has `most`.
pub(crate) fn require_plan_capacity(known: usize, most: u32, plan: &str, what: &str) -> Result<(), Problem> {
    if u32::try_from(known).is_ok_and(|known| known < most) {
        return Ok(());
    }
    let detail = format!("plan_limit: the plan {plan} includes {most} {what}; delete one, or ask for a larger plan");
    Err(Problem::invalid_fields(vec![FieldError::new("", detail)]))
}
