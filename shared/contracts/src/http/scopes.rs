//! The scopes of API tokens.

/// Posts incidents for tenants.
pub const INCIDENTS_WRITE: &str = "incidents:write";
/// Posts platform-wide incidents.
pub const INCIDENTS_PLATFORM: &str = "incidents:platform";
/// Reads a tenant's settings, incidents and decisions.
pub const ALERTS_READ: &str = "alerts:read";
/// Changes a tenant's settings.
pub const ALERTS_MANAGE: &str = "alerts:manage";
/// Scope for sending test alerts.
pub const ALERTS_TEST: &str = "alerts:test";
/// Reads settings, incidents and decisions, for support staff.
pub const SUPPORT_READ: &str = "support:read";
/// Creates tenants and issues any token.
pub const PLATFORM_ADMIN: &str = "platform:admin";

/// All scopes that a token can have.
pub const ALL_SCOPES: &[&str] =
    &[ALERTS_MANAGE, ALERTS_READ, ALERTS_TEST, INCIDENTS_PLATFORM, INCIDENTS_WRITE, PLATFORM_ADMIN, SUPPORT_READ];

/// Scopes that a tenant's own admin may grant. None of them reaches beyond the tenant.
pub const TENANT_SCOPES: &[&str] = &[ALERTS_MANAGE, ALERTS_READ, ALERTS_TEST, INCIDENTS_WRITE];
