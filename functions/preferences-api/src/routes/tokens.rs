//! API tokens. The token itself is shown once, in the answer that issues it; the table knows its hash.

use super::{audit_entry, load_settings};
use crate::App;
use crate::access::{self, LimitedBody, MANAGE_SCOPES, created_response, json_response};
use crate::check::token::{check_token, may_rotate};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use contracts::http::scopes::PLATFORM_ADMIN;
use contracts::http::{Private, RotateTokenBody, TokenBody, TokenList, TokenView};
use contracts::problem::FieldError;
use domain::ids::{IntegrationId, TenantId, TokenId};
use jiff::SignedDuration;
use runtime::http::{Caller, Problem};
use runtime::{clock, ids};
use serde::Deserialize;
use serde_json::json;
use store::credentials::{TenantScope, TokenRecord, token_hash};

/// The longest time that an old token may stay valid beside its successor, in seconds.
const OLD_VALID_SECONDS_MAX: u32 = 86_400;

/// TokenParams list.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenParams {
    tenant: Option<String>,
}

impl TokenParams {
    /// The list's owner. The platform's own list is the default for the platform.
    fn owner(&self, caller: &Caller) -> Result<TenantId, Problem> {
        caller.require_any_scope(MANAGE_SCOPES)?;
        match &self.tenant {
            Some(tenant) => caller.authorize_tenant(tenant, MANAGE_SCOPES),
            None if caller.has_scope(PLATFORM_ADMIN) => caller.authorize_tenant(domain::ids::OPERATORS, MANAGE_SCOPES),
            None => Err(Problem::invalid_fields(vec![FieldError::new(
                "query:tenant",
                "is missing; say params tokens you mean",
            )])),
        }
    }
}

/// `GET /v1/tokens?tenant=`
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(params): Query<TokenParams>,
) -> Result<Response, Problem> {
    let owner = params.owner(&caller)?;
    let records = app.table.tenant_tokens(&owner).await.map_err(access::storage_problem)?;
    let tokens = records.iter().map(|record| token_view(record, None)).collect();
    Ok(json_response(StatusCode::OK, &TokenList { tokens }))
}

/// `POST /v1/tokens`
pub(crate) async fn issue(State(app): State<App>, caller: Caller, body: LimitedBody) -> Result<Response, Problem> {
    caller.require_any_scope(MANAGE_SCOPES)?;
    let body: TokenBody = body.parse()?;
    let now = clock::now();
    let draft = check_token(&caller, &body, &app.policy, now).map_err(Problem::invalid_fields)?;
    require_tenants_exist(&app, &draft.tenants).await?;
    let token = ids::api_token();
    let record = TokenRecord {
        token_id: TokenId::new(&ids::id_suffix()),
        integration_id: IntegrationId::new(&ids::id_suffix()),
        name: draft.name,
        scopes: draft.scopes,
        tenants: draft.tenants,
        defaults: json!(draft.defaults),
        created_at: now,
        expires_at_time: draft.expires_at,
        revoked_at: None,
        owner: draft.owner,
        hash: token_hash(&token),
    };
    let audit = audit_entry(&caller, "token.issued", record.token_id.as_str());
    app.table.issue_token(&record, &audit, &ids::id_suffix()).await.map_err(access::storage_problem)?;
    Ok(created_response("tokens", record.token_id.as_str(), 1, &token_view(&record, Some(token))))
}

/// A token for a tenant that does not exist would be a typo that nobody notices.
async fn require_tenants_exist(app: &App, tenants: &TenantScope) -> Result<(), Problem> {
    let TenantScope::Listed(tenants) = tenants else { return Ok(()) };
    let mut errors = Vec::new();
    for (index, tenant) in tenants.iter().enumerate() {
        if let Err(problem) = load_settings(app, tenant).await {
            if problem.status != StatusCode::NOT_FOUND {
                return Err(problem);
            }
            let detail = format!("there is no tenant {tenant}; PUT /v1/tenants/{tenant} makes it");
            errors.push(FieldError::new(format!("/tenants/{index}"), detail));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(errors)) }
}

/// `DELETE /v1/tokens/{id}?tenant=`
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(params): Query<TokenParams>,
) -> Result<Response, Problem> {
    let owner = params.owner(&caller)?;
    let id = TokenId::parse(&id).ok_or_else(token_not_found)?;
    let audit = audit_entry(&caller, "token.revoked", id.as_str());
    if app.table.revoke_token(&owner, &id, &audit, &ids::id_suffix()).await.map_err(access::storage_problem)? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(token_not_found())
    }
}

/// `POST /v1/tokens/{id}/rotate?tenant=`: another token with the same rights and the same identity, so that open incidents
/// stay the ones of their source.
pub(crate) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(params): Query<TokenParams>,
    body: LimitedBody,
) -> Result<Response, Problem> {
    let owner = params.owner(&caller)?;
    let body: RotateTokenBody = body.parse_or_default()?;
    if body.old_valid_seconds > OLD_VALID_SECONDS_MAX {
        let detail = format!("must be from 0 to {OLD_VALID_SECONDS_MAX}");
        return Err(Problem::invalid_fields(vec![FieldError::new("/old_valid_seconds", detail)]));
    }
    let id = TokenId::parse(&id).ok_or_else(token_not_found)?;
    let old =
        app.table.tenant_token(&owner, &id).await.map_err(access::storage_problem)?.ok_or_else(token_not_found)?;
    if !may_rotate(&caller, &old) {
        return Err(Problem::forbidden(
            "this token has rights that yours may not hand out; a platform admin rotates it",
        ));
    }
    let now = clock::now();
    let over = || Problem::conflict("this token is revoked or expired; issue a new one");
    if old.revoked_at.is_some() || old.expires_at_time.is_some_and(|end| end <= now) {
        return Err(over());
    }
    let token = ids::api_token();
    let new = TokenRecord {
        token_id: TokenId::new(&ids::id_suffix()),
        created_at: now,
        hash: token_hash(&token),
        ..old.clone()
    };
    let overlap = SignedDuration::from_secs(i64::from(body.old_valid_seconds));
    let old_ends = (body.old_valid_seconds > 0).then(|| now.saturating_add(overlap).unwrap_or(now));
    let audit = audit_entry(&caller, "token.rotated", &format!("{} to {}", old.token_id, new.token_id));
    if app.table.rotate_token(&old, &new, old_ends, &audit, &ids::id_suffix()).await.map_err(access::storage_problem)? {
        Ok(created_response("tokens", new.token_id.as_str(), 1, &token_view(&new, Some(token))))
    } else {
        Err(over())
    }
}

fn token_not_found() -> Problem {
    Problem::not_found("this list has no such token")
}

fn token_view(record: &TokenRecord, token: Option<String>) -> TokenView {
    TokenView {
        token_id: record.token_id.to_string(),
        integration_id: record.integration_id.to_string(),
        name: record.name.clone(),
        scopes: record.scopes.iter().cloned().collect(),
        tenants: json!(record.tenants),
        defaults: record.defaults.clone(),
        owner: record.owner.to_string(),
        created_at: record.created_at,
        expires_at: record.expires_at_time,
        revoked_at: record.revoked_at,
        token: token.map(Private::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_listed_token_shows_neither_token_nor_hash() {
        let record = TokenRecord {
            token_id: TokenId::new("a"),
            integration_id: IntegrationId::new("b"),
            name: "n".into(),
            scopes: ["alerts:read".to_owned()].into(),
            tenants: TenantScope::Listed([TenantId::parse("acme").unwrap()].into()),
            defaults: json!({}),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            expires_at_time: None,
            revoked_at: None,
            owner: TenantId::parse("acme").unwrap(),
            hash: "HASH".into(),
        };
        let listed = serde_json::to_value(token_view(&record, None)).unwrap();
        assert!(!listed.to_string().contains("HASH") && listed.get("token").is_none(), "{listed}");
        assert_eq!(listed["tenants"], json!(["acme"]));
        assert_eq!(serde_json::to_value(token_view(&record, Some("T".into()))).unwrap()["token"], "T");
    }
}
