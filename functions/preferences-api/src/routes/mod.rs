//! One file for each thing that has a path.

pub(crate) mod audit;
pub(crate) mod catalogue;
pub(crate) mod confirmation;
pub(crate) mod deliveries;
pub(crate) mod explain;
pub(crate) mod impact;
pub(crate) mod incidents;
pub(crate) mod integrations;
pub(crate) mod lint;
pub(crate) mod recipients;
pub(crate) mod settings;
pub(crate) mod status;
pub(crate) mod support;
pub(crate) mod tokens;

use crate::App;
use crate::access::table;
use domain::ids::TenantId;
use domain::tenant::Settings;
use runtime::http::{Caller, Problem};
use runtime::{clock, ids};
use store::tenants::{Audit, Setting};

/// A tenant's settings, or 404.
pub(crate) async fn settings_of(app: &App, tenant: &TenantId) -> Result<Settings, Problem> {
    app.table.settings(tenant).await.map_err(table)?.ok_or_else(Problem::no_tenant)
}

/// Who did what, now.
pub(crate) fn audit(caller: &Caller, what: &str, object: &str) -> Audit {
    Audit { at: clock::now(), who: caller.token_id.clone(), what: what.to_owned(), object: object.to_owned() }
}

/// Saves a setting with its audit entry.
pub(crate) async fn save(
    app: &App,
    caller: &Caller,
    tenant: &TenantId,
    setting: Setting,
    what: &str,
    object: &str,
) -> Result<(), Problem> {
    let audit = audit(caller, what, object);
    crate::access::saved(app.table.save(tenant, &setting, &audit, &ids::suffix()).await)
}
