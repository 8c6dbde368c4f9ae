//! Checks of API tokens: which scopes and tenants a caller may grant.

use super::FieldErrors;
use contracts::http::TokenBody;
use contracts::http::scopes::{ALL_SCOPES, PLATFORM_ADMIN, TENANT_SCOPES};
use contracts::intake::TokenDefaults;
use contracts::problem::FieldError;
use domain::event::TENANTS_MAX;
use domain::ids::TenantId;
use domain::policy::Policy;
use jiff::Timestamp;
use runtime::http::Caller;
use serde_json::Value;
use std::collections::BTreeSet;
use store::credentials::{TenantScope, TokenRecord, Wildcard};

/// The name of the token that the bootstrap command issues and replaces.
pub(crate) const BOOTSTRAP_TOKEN_NAME: &str = "bootstrap";

/// A checked token that may be issued.
#[derive(Debug)]
pub(crate) struct TokenDraft {
    pub(crate) name: String,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) tenants: TenantScope,
    /// The tenant whose list of tokens shows it.
    pub(crate) owner: TenantId,
    pub(crate) defaults: TokenDefaults,
    pub(crate) expires_at: Option<Timestamp>,
}

/// Checks `body`. A platform admin for all tenants may issue any token. Other callers may issue tokens for tenants of their own (a tenant's
/// admin for one of them), with scopes that do not reach beyond a tenant.
pub(crate) fn check_token(
    caller: &Caller,
    body: &TokenBody,
    policy: &Policy,
    now: Timestamp,
) -> Result<TokenDraft, Vec<FieldError>> {
    let mut errors = FieldErrors::default();
    let grantable = grantable_scopes(caller);
    let name = errors.parse_display_name("/name", &body.name);
    if name == BOOTSTRAP_TOKEN_NAME {
        errors.add(
            "/name",
            "is reserved for the bootstrap command, which replaces every token of that name; choose another name",
        );
    }
    let known = |text: &str| grantable.contains(&text).then(|| text.to_owned());
    let scopes = errors.parse_set("/scopes", &body.scopes, known, grantable);
    if body.scopes.is_empty() {
        errors.add("/scopes", format_args!("must list at least one of {}", grantable.join(", ")));
    }
    let tenants = check_tenants(&mut errors, caller, &body.tenants);
    let owner = match &tenants {
        TenantScope::Listed(tenants) if tenants.len() == 1 => tenants.first().cloned(),
        _ => None,
    };
    let defaults = body.defaults.clone().unwrap_or_default();
    for (index, tenant) in defaults.tenant_ids.iter().enumerate().filter(|(_, tenant)| !tenants.includes(tenant)) {
        let pointer = format!("/defaults/tenant_ids/{index}");
        errors.add(
            pointer,
            format_args!("{tenant} is not one of the token's tenants; add it to /tenants, or remove it here"),
        );
    }
    if defaults.event_type.as_deref().is_some_and(|event_type| !policy.has_rule_for(event_type)) {
        errors.add(
            "/defaults/type",
            "is not an event type that any classification rule matches; correct it, or leave it out",
        );
    }
    if body.expires_at.is_some_and(|end| end <= now) {
        errors.add("/expires_at", "must be in the future");
    }
    let owner = owner.unwrap_or_else(TenantId::operators);
    errors.into_result(TokenDraft { name, scopes, tenants, owner, defaults, expires_at: body.expires_at })
}

fn check_tenants(errors: &mut FieldErrors, caller: &Caller, given: &Value) -> TenantScope {
    let platform = caller.has_scope(PLATFORM_ADMIN);
    let nobody = TenantScope::Listed(BTreeSet::new());
    if given.as_str() == Some("*") {
        if platform && caller.can_access_all_tenants() {
            return TenantScope::All(Wildcard::Asterisk);
        }
        errors.add("/tenants", "this token cannot issue tokens for all tenants; list one of its own");
        return nobody;
    }
    let Some(list) = given.as_array().filter(|list| !list.is_empty()) else {
        errors.add("/tenants", "must be a list of tenant ids, or \"*\" for all tenants");
        return nobody;
    };
    let most = if platform { TENANTS_MAX } else { 1 };
    if list.len() > most {
        errors.add("/tenants", format_args!("must list at most {most}; issue one token for each"));
        return nobody;
    }
    let mut named = BTreeSet::new();
    for (index, entry) in list.iter().enumerate() {
        match entry.as_str().map(TenantId::parse) {
            Some(Ok(tenant)) if caller.can_access_tenant(&tenant) => drop(named.insert(tenant)),
            // The same answer whether that tenant exists or not.
            Some(Ok(_)) => errors.add(format!("/tenants/{index}"), "is not a tenant that your token has access to"),
            Some(Err(error)) => errors.add(format!("/tenants/{index}"), error),
            None => errors.add(format!("/tenants/{index}"), "must be a tenant id"),
        }
    }
    TenantScope::Listed(named)
}

/// Scopes that the caller may grant. Only a platform admin for all tenants may grant those that reach beyond a tenant.
fn grantable_scopes(caller: &Caller) -> &'static [&'static str] {
    if caller.has_scope(PLATFORM_ADMIN) && caller.can_access_all_tenants() { ALL_SCOPES } else { TENANT_SCOPES }
}

/// Whether the caller may rotate this token. Rotating shows the caller the new token, so the caller must be allowed to issue it.
pub(crate) fn may_rotate(caller: &Caller, record: &TokenRecord) -> bool {
    if caller.has_scope(PLATFORM_ADMIN) && caller.can_access_all_tenants() {
        return true;
    }
    let grantable = grantable_scopes(caller);
    let own = match &record.tenants {
        TenantScope::All(_) => false,
        TenantScope::Listed(tenants) => tenants.iter().all(|tenant| caller.can_access_tenant(tenant)),
    };
    own && record.scopes.iter().all(|scope| grantable.contains(&scope.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::{IntegrationId, TokenId};
    use serde_json::json;

    fn caller(scopes: &[&str], tenants: Option<&[&str]>) -> Caller {
        Caller {
            token_id: "tok_x".into(),
            integration_id: "int_x".into(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            tenants: tenants.map(|ids| ids.iter().map(|id| TenantId::parse(id).unwrap()).collect()),
            defaults: None,
        }
    }

    fn admin() -> Caller {
        caller(&["platform:admin"], None)
    }

    fn manager() -> Caller {
        caller(&["alerts:manage"], Some(&["acme", "globex"]))
    }

    /// A platform admin for two tenants only.
    fn limited() -> Caller {
        caller(&["platform:admin"], Some(&["acme", "globex"]))
    }

    fn check(caller: &Caller, body: Value) -> Result<TokenDraft, Vec<String>> {
        let body: TokenBody = serde_json::from_value(body).unwrap();
        let now = Timestamp::from_second(1_000).unwrap();
        check_token(caller, &body, &Policy::embedded().unwrap(), now)
            .map_err(|errors| errors.into_iter().map(|error| error.pointer).collect())
    }

    #[test]
    fn a_platform_admin_issues_any_token() {
        let draft = check(
            &admin(),
            json!({"name": "monitor", "scopes": ["incidents:write", "incidents:platform"], "tenants": "*",
                "defaults": {"type": "api.outage", "tenant_ids": ["acme"]}}),
        );
        let draft = draft.unwrap();
        assert_eq!((draft.tenants, draft.owner), (TenantScope::All(Wildcard::Asterisk), TenantId::operators()));
        let one = check(&admin(), json!({"name": "a", "scopes": ["alerts:manage"], "tenants": ["acme"]})).unwrap();
        assert_eq!(one.owner.as_str(), "acme");
        let two = check(&admin(), json!({"name": "a", "scopes": ["alerts:read"], "tenants": ["acme", "globex"]}));
        assert_eq!(two.unwrap().owner, TenantId::operators());
    }

    #[test]
    fn a_tenant_admin_issues_only_tenant_scopes_for_one_tenant_of_its_own() {
        let manager = manager();
        assert!(check(&manager, json!({"name": "a", "scopes": TENANT_SCOPES, "tenants": ["globex"]})).is_ok());
        for scope in ["incidents:platform", "platform:admin", "support:read", "everything"] {
            let body = json!({"name": "a", "scopes": ["alerts:read", scope], "tenants": ["acme"]});
            assert_eq!(check(&manager, body).unwrap_err(), ["/scopes/1"], "{scope}");
        }
        for (tenants, pointer) in [
            (json!("*"), "/tenants"),
            (json!([]), "/tenants"),
            (json!("acme"), "/tenants"),
            (json!(["acme", "globex"]), "/tenants"),
            (json!(["initech"]), "/tenants/0"),
            (json!(["ACME"]), "/tenants/0"),
            (json!([7]), "/tenants/0"),
        ] {
            let body = json!({"name": "a", "scopes": ["alerts:read"], "tenants": tenants});
            assert_eq!(check(&manager, body).unwrap_err(), [pointer], "{tenants}");
        }
        let both = json!({"name": "a", "scopes": TENANT_SCOPES, "tenants": ["acme", "globex"]});
        assert!(check(&limited(), both).is_ok());
        for scope in ["incidents:platform", "platform:admin", "support:read"] {
            let body = json!({"name": "a", "scopes": [scope], "tenants": ["acme"]});
            assert_eq!(check(&limited(), body).unwrap_err(), ["/scopes/0"], "{scope}");
        }
        // A caller for all tenants without platform:admin cannot issue tokens for all tenants.
        let manager_of_all = caller(&["alerts:manage"], None);
        assert!(check(&manager_of_all, json!({"name": "a", "scopes": ["alerts:read"], "tenants": "*"})).is_err());
    }

    #[test]
    fn every_wrong_field_is_reported_at_once() {
        let kept = json!({"name": "bootstrap", "scopes": ["alerts:read"], "tenants": "*"});
        assert_eq!(check(&admin(), kept).unwrap_err(), ["/name"]);
        let body = json!({"name": "", "scopes": [], "tenants": ["acme"], "expires_at": "1970-01-01T00:00:00Z",
            "defaults": {"type": "no.such", "tenant_ids": ["acme", "globex"]}});
        assert_eq!(
            check(&admin(), body).unwrap_err(),
            ["/name", "/scopes", "/defaults/tenant_ids/1", "/defaults/type", "/expires_at"]
        );
    }

    #[test]
    fn a_caller_rotates_only_tokens_that_it_could_issue() {
        let record = |scopes: &[&str], tenants: TenantScope| TokenRecord {
            token_id: TokenId::new("a"),
            integration_id: IntegrationId::new("b"),
            name: "n".into(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            tenants,
            defaults: json!({}),
            created_at: Timestamp::UNIX_EPOCH,
            expires_at_time: None,
            revoked_at: None,
            owner: TenantId::parse("acme").unwrap(),
            hash: "h".into(),
        };
        let acme = || TenantScope::Listed([TenantId::parse("acme").unwrap()].into());
        let wide = || TenantScope::Listed(["acme", "initech"].map(|id| TenantId::parse(id).unwrap()).into());
        assert!(may_rotate(&manager(), &record(&["alerts:read"], acme())));
        assert!(!may_rotate(&manager(), &record(&["alerts:read", "incidents:platform"], acme())));
        assert!(!may_rotate(&manager(), &record(&["alerts:read"], wide())));
        assert!(!may_rotate(&manager(), &record(&["alerts:read"], TenantScope::All(Wildcard::Asterisk))));
        assert!(may_rotate(&limited(), &record(&["alerts:read"], acme())));
        assert!(!may_rotate(&limited(), &record(&["platform:admin"], acme())));
        assert!(may_rotate(&admin(), &record(&["platform:admin"], TenantScope::All(Wildcard::Asterisk))));
    }
}
