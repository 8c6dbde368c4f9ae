//! API tokens: who may issue what.

use super::Faults;
use contracts::http::TokenBody;
use contracts::http::scopes::{ALL, OF_A_TENANT, PLATFORM_ADMIN};
use contracts::intake::Defaults;
use contracts::problem::FieldError;
use domain::event::TENANTS_MAX;
use domain::ids::TenantId;
use domain::policy::Policy;
use jiff::Timestamp;
use runtime::http::Caller;
use serde_json::Value;
use std::collections::BTreeSet;
use store::credentials::{Star, Tenants, TokenRecord};

/// The name of the token that the bootstrap command issues and replaces.
pub(crate) const BOOTSTRAP: &str = "bootstrap";

/// A token that may be issued.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) tenants: Tenants,
    /// The tenant whose list it stands in.
    pub(crate) owner: TenantId,
    pub(crate) defaults: Defaults,
    pub(crate) expires_at: Option<Timestamp>,
}

/// The token that `body` asks for. The platform may issue any; who speaks for some tenants only ones for those (a tenant's admin for one
/// of them), with scopes that do not reach beyond a tenant.
pub(crate) fn token(
    caller: &Caller,
    body: &TokenBody,
    policy: &Policy,
    now: Timestamp,
) -> Result<Draft, Vec<FieldError>> {
    let mut faults = Faults::default();
    let platform = caller.has(PLATFORM_ADMIN);
    let grantable = grantable(caller);
    let name = faults.title("/name", &body.name);
    if name == BOOTSTRAP {
        faults.add("/name", "is kept for the token of the bootstrap command, which replaces every token of that name");
    }
    let known = |text: &str| grantable.contains(&text).then(|| text.to_owned());
    let scopes = faults.words("/scopes", &body.scopes, known, grantable);
    if body.scopes.is_empty() {
        faults.add("/scopes", format_args!("name at least one of {}", grantable.join(", ")));
    }
    let tenants = tenants(&mut faults, caller, &body.tenants, platform);
    let owner = match &tenants {
        Tenants::Some(tenants) if tenants.len() == 1 => tenants.first().cloned(),
        _ => None,
    };
    let defaults = body.defaults.clone().unwrap_or_default();
    for (index, tenant) in defaults.tenant_ids.iter().enumerate().filter(|(_, tenant)| !tenants.include(tenant)) {
        let pointer = format!("/defaults/tenant_ids/{index}");
        faults.add(pointer, format_args!("{tenant} is not among the token's tenants"));
    }
    if defaults.event_type.as_deref().is_some_and(|event_type| !policy.knows(event_type)) {
        faults.add("/defaults/type", "no rule of classification.yaml knows this type");
    }
    if body.expires_at.is_some_and(|end| end <= now) {
        faults.add("/expires_at", "is in the past");
    }
    let owner = owner.unwrap_or_else(TenantId::operators);
    faults.or(Draft { name, scopes, tenants, owner, defaults, expires_at: body.expires_at })
}

fn tenants(faults: &mut Faults, caller: &Caller, given: &Value, platform: bool) -> Tenants {
    let nobody = Tenants::Some(BTreeSet::new());
    if given.as_str() == Some("*") {
        if platform && caller.speaks_for_all() {
            return Tenants::All(Star::Star);
        }
        faults.add("/tenants", "this token may not issue tokens for all tenants; name one of its own");
        return nobody;
    }
    let Some(list) = given.as_array().filter(|list| !list.is_empty()) else {
        faults.add("/tenants", "must be a list of tenants, or \"*\" for all");
        return nobody;
    };
    let most = if platform { TENANTS_MAX } else { 1 };
    if list.len() > most {
        faults.add("/tenants", format_args!("name at most {most}; issue one token for each"));
    }
    let mut named = BTreeSet::new();
    for (index, entry) in list.iter().enumerate() {
        match entry.as_str().map(TenantId::parse) {
            Some(Ok(tenant)) if caller.may_speak_for(&tenant) => drop(named.insert(tenant)),
            // Whether another tenant exists is nobody's business.
            Some(Ok(_)) => faults.add(format!("/tenants/{index}"), "is not a tenant that this token may speak for"),
            Some(Err(error)) => faults.add(format!("/tenants/{index}"), error),
            None => faults.add(format!("/tenants/{index}"), "must be the id of a tenant"),
        }
    }
    Tenants::Some(named)
}

/// The scopes that the caller may hand out: those that reach beyond a tenant only where the caller itself speaks for all.
fn grantable(caller: &Caller) -> &'static [&'static str] {
    if caller.has(PLATFORM_ADMIN) && caller.speaks_for_all() { ALL } else { OF_A_TENANT }
}

/// Whether the caller may have this token issued anew, which hands it to the caller.
pub(crate) fn may_rotate(caller: &Caller, record: &TokenRecord) -> bool {
    if caller.has(PLATFORM_ADMIN) && caller.speaks_for_all() {
        return true;
    }
    let grantable = grantable(caller);
    let own = match &record.tenants {
        Tenants::All(_) => false,
        Tenants::Some(tenants) => tenants.iter().all(|tenant| caller.may_speak_for(tenant)),
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

    /// A platform's admin for some tenants.
    fn limited() -> Caller {
        caller(&["platform:admin"], Some(&["acme", "globex"]))
    }

    fn asked(caller: &Caller, body: Value) -> Result<Draft, Vec<String>> {
        let body: TokenBody = serde_json::from_value(body).unwrap();
        let now = Timestamp::from_second(1_000).unwrap();
        token(caller, &body, &Policy::embedded().unwrap(), now)
            .map_err(|faults| faults.into_iter().map(|fault| fault.pointer).collect())
    }

    #[test]
    fn the_platform_issues_anything() {
        let draft = asked(
            &admin(),
            json!({"name": "monitor", "scopes": ["incidents:write", "incidents:platform"], "tenants": "*",
                "defaults": {"type": "api.outage", "tenant_ids": ["acme"]}}),
        );
        let draft = draft.unwrap();
        assert_eq!((draft.tenants, draft.owner), (Tenants::All(Star::Star), TenantId::operators()));
        let one = asked(&admin(), json!({"name": "a", "scopes": ["alerts:manage"], "tenants": ["acme"]})).unwrap();
        assert_eq!(one.owner.as_str(), "acme");
        let two = asked(&admin(), json!({"name": "a", "scopes": ["alerts:read"], "tenants": ["acme", "globex"]}));
        assert_eq!(two.unwrap().owner, TenantId::operators());
    }

    #[test]
    fn a_tenants_admin_issues_for_one_of_its_own_and_nothing_beyond() {
        let manager = manager();
        assert!(asked(&manager, json!({"name": "a", "scopes": OF_A_TENANT, "tenants": ["globex"]})).is_ok());
        for scope in ["incidents:platform", "platform:admin", "support:read", "everything"] {
            let body = json!({"name": "a", "scopes": ["alerts:read", scope], "tenants": ["acme"]});
            assert_eq!(asked(&manager, body).unwrap_err(), ["/scopes/1"], "{scope}");
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
            assert_eq!(asked(&manager, body).unwrap_err(), [pointer], "{tenants}");
        }
        let both = json!({"name": "a", "scopes": OF_A_TENANT, "tenants": ["acme", "globex"]});
        assert!(asked(&limited(), both).is_ok());
        for scope in ["incidents:platform", "platform:admin", "support:read"] {
            let body = json!({"name": "a", "scopes": [scope], "tenants": ["acme"]});
            assert_eq!(asked(&limited(), body).unwrap_err(), ["/scopes/0"], "{scope}");
        }
        // The scope is for all tenants only where the token is.
        let everybodys = caller(&["alerts:manage"], None);
        assert!(asked(&everybodys, json!({"name": "a", "scopes": ["alerts:read"], "tenants": "*"})).is_err());
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let kept = json!({"name": "bootstrap", "scopes": ["alerts:read"], "tenants": "*"});
        assert_eq!(asked(&admin(), kept).unwrap_err(), ["/name"]);
        let body = json!({"name": "", "scopes": [], "tenants": ["acme"], "expires_at": "1970-01-01T00:00:00Z",
            "defaults": {"type": "no.such", "tenant_ids": ["acme", "globex"]}});
        assert_eq!(
            asked(&admin(), body).unwrap_err(),
            ["/name", "/scopes", "/defaults/tenant_ids/1", "/defaults/type", "/expires_at"]
        );
    }

    #[test]
    fn rotating_hands_nobody_more_than_he_may_issue() {
        let record = |scopes: &[&str], tenants: Tenants| TokenRecord {
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
        let acme = || Tenants::Some([TenantId::parse("acme").unwrap()].into());
        let wide = || Tenants::Some(["acme", "initech"].map(|id| TenantId::parse(id).unwrap()).into());
        assert!(may_rotate(&manager(), &record(&["alerts:read"], acme())));
        assert!(!may_rotate(&manager(), &record(&["alerts:read", "incidents:platform"], acme())));
        assert!(!may_rotate(&manager(), &record(&["alerts:read"], wide())));
        assert!(!may_rotate(&manager(), &record(&["alerts:read"], Tenants::All(Star::Star))));
        assert!(may_rotate(&limited(), &record(&["alerts:read"], acme())));
        assert!(!may_rotate(&limited(), &record(&["platform:admin"], acme())));
        assert!(may_rotate(&admin(), &record(&["platform:admin"], Tenants::All(Star::Star))));
    }
}
