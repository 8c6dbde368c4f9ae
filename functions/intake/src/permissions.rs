//! What a caller may post, and the answers that every route gives alike.

use contracts::intake::TokenDefaults;
use domain::ids::{IntegrationId, Scope};
use domain::incident::Incident;
use runtime::http::{Caller, Problem};
use serde_json::Value;

/// The scope that posting events needs.
pub(crate) const WRITE_SCOPE: &str = "incidents:write";
/// The scope that posting about the whole platform needs.
pub(crate) const PLATFORM_SCOPE: &str = "incidents:platform";

/// Values that the caller's token fills in where an event leaves them out.
pub(crate) fn event_defaults(caller: &Caller) -> TokenDefaults {
    let stored = caller.defaults.clone().unwrap_or(Value::Null);
    serde_json::from_value(stored).unwrap_or_default()
}

/// The integration that the caller's token belongs to.
pub(crate) fn integration_id(caller: &Caller) -> IntegrationId {
    IntegrationId::parse(&caller.integration_id).unwrap_or_else(|| IntegrationId::derived(&[&caller.integration_id]))
}

/// Whether the caller may post platform-wide events: it needs the scope and a token for all tenants.
pub(crate) fn may_post_platform_wide(caller: &Caller) -> bool {
    caller.has_scope(PLATFORM_SCOPE) && caller.can_access_all_tenants()
}

/// Whether the caller may post events and updates for `scope`.
pub(crate) fn may_post_to(caller: &Caller, scope: &Scope) -> bool {
    match scope {
        Scope::Platform => may_post_platform_wide(caller),
        Scope::Tenant(tenant) => caller.can_access_tenant(tenant),
    }
}

/// Scopes with which a token reads and updates what other sources opened.
const BEYOND_OWN_SOURCE: [&str; 4] = ["alerts:read", "alerts:manage", PLATFORM_SCOPE, "platform:admin"];

/// Whether the caller may read and update an incident: a token that can post and nothing else sees what its own source opened.
pub(crate) fn may_access_incident(caller: &Caller, incident: &Incident) -> bool {
    let own = incident.integration_id == integration_id(caller);
    may_post_to(caller, &incident.scope) && (own || BEYOND_OWN_SOURCE.iter().any(|scope| caller.has_scope(scope)))
}

/// 404. An incident that the caller may not see gets the same answer as one that does not exist.
pub(crate) fn incident_not_found() -> Problem {
    Problem::not_found("there is no such incident, or this token cannot access it; check the incident's id")
}

/// 503 with Retry-After, for a failed read or write of the table.
pub(crate) fn table_unavailable(error: store::StoreError) -> Problem {
    tracing::error!(%error, "cannot read or write the table");
    Problem::unavailable()
}
