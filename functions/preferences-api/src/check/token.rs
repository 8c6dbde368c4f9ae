//! Checks of API tokens: which scopes and tenants a caller may grant.

use super::FieldErrors;
use contracts::http::TokenBody;
use contracts::http::scopes::{ALL_SCOPES, PLATFORM_ADMIN, TENANT_SCOPES};
use contracts::intake::TokenDefaults;
use contracts::problem::FieldError;
use domain::event::TENANTS_MAX;
use domain::ids::TenantId;
use domain::policy::Policy;
use jiff::{SignedDuration, Timestamp};
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

/// The longest life of a token that a person with a JWT makes. A JWT ends within hours and is nobody's parent, so nothing else ends them.
pub(crate) const JWT_TOKEN_LIFETIME: SignedDuration = SignedDuration::from_hours(400 * 24);
/// The most valid tokens of a tenant. Each reads a list of them now and then; a source needs one.
pub(crate) const TOKENS_MAX: usize = 100;

/// What a new token depends on: nothing lives longer than what it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Issuer {
    /// A token, which ends then, if it ends.
    Token {
        /// When it expires.
        expires_at: Option<Timestamp>,
    },
    /// A person with a JWT of the identity provider.
    Person,
}

impl Issuer {
    /// Returns the last time at which a token made now may expire; `None` for any.
    fn last_expiry(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Token { expires_at } => expires_at,
            Self::Person => now.saturating_add(JWT_TOKEN_LIFETIME).ok(),
        }
    }
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
    let owner = owner_of(match &tenants {
        TenantScope::Listed(tenants) => Some(tenants),
        TenantScope::All(_) => None,
    });
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
    errors.into_result(TokenDraft { name, scopes, tenants, owner, defaults, expires_at: body.expires_at })
}

impl TokenDraft {
    /// Returns the token as it may be issued: it ends when what it is made with ends, if it names no earlier time.
    ///
    /// # Errors
    /// The field, if it names a later time.
    pub(crate) fn within_life_of(self, issuer: Issuer, now: Timestamp) -> Result<Self, Vec<FieldError>> {
        let last = issuer.last_expiry(now);
        match (self.expires_at, last) {
            (Some(end), Some(last)) if end > last => {
                let detail = format!("must be at most {last}, because nothing lives longer than what it was made with");
                Err(vec![FieldError::new("/expires_at", detail)])
            }
            (end, _) => Ok(Self { expires_at: end.or(last), ..self }),
        }
    }
}

/// Returns the tenant in whose list a token for these tenants is (`None`: all): the tenant itself if it is one, otherwise the operators'.
pub(crate) fn owner_of(tenants: Option<&BTreeSet<TenantId>>) -> TenantId {
    match tenants {
        Some(tenants) if tenants.len() == 1 => tenants.first().cloned().unwrap_or_else(TenantId::operators),
        _ => TenantId::operators(),
    }
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

/// Whether the caller could have issued this token. The one rule for every act on a token: listing, rotating and revoking it, and giving it to
/// another parent.
pub(crate) fn could_issue(caller: &Caller, record: &TokenRecord) -> bool {
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
    fn nothing_lives_longer_than_what_it_was_made_with() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let check = |issuer, expires_at: Option<i64>| {
            let body: TokenBody =
                serde_json::from_value(json!({"name": "a", "scopes": ["alerts:read"], "tenants": ["acme"],
                "expires_at": expires_at.map(at)}))
                .unwrap();
            let draft = check_token(&manager(), &body, &Policy::embedded().unwrap(), at(1_000)).unwrap();
            draft
                .within_life_of(issuer, at(1_000))
                .map(|draft| draft.expires_at)
                .map_err(|errors| errors[0].pointer.clone())
        };
        let parent = Issuer::Token { expires_at: Some(at(5_000)) };
        assert_eq!(check(parent, None), Ok(Some(at(5_000))), "without a word, as long as its parent");
        assert_eq!(check(parent, Some(4_000)), Ok(Some(at(4_000))));
        assert_eq!(check(parent, Some(5_001)), Err("/expires_at".to_owned()));
        assert_eq!(check(Issuer::Token { expires_at: None }, None), Ok(None));
        let days = 400 * 86_400;
        assert_eq!(check(Issuer::Person, None), Ok(Some(at(1_000 + days))));
        assert_eq!(check(Issuer::Person, Some(1_001 + days)), Err("/expires_at".to_owned()));
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
    fn a_caller_acts_only_on_tokens_that_it_could_issue() {
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
            issued_by: None,
            hash: "h".into(),
        };
        let acme = || TenantScope::Listed([TenantId::parse("acme").unwrap()].into());
        let wide = || TenantScope::Listed(["acme", "initech"].map(|id| TenantId::parse(id).unwrap()).into());
        assert!(could_issue(&manager(), &record(&["alerts:read"], acme())));
        assert!(!could_issue(&manager(), &record(&["alerts:read", "incidents:platform"], acme())));
        assert!(!could_issue(&manager(), &record(&["alerts:read"], wide())));
        assert!(!could_issue(&manager(), &record(&["alerts:read"], TenantScope::All(Wildcard::Asterisk))));
        assert!(could_issue(&limited(), &record(&["alerts:read"], acme())));
        assert!(!could_issue(&limited(), &record(&["platform:admin"], acme())));
        assert!(could_issue(&admin(), &record(&["platform:admin"], TenantScope::All(Wildcard::Asterisk))));
    }
}
