//! Routes of API tokens. A token is shown once, in the response that issues it; only its hash is stored.

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

/// Longest time that an old token may stay valid after its rotation, in seconds: one day.
const OLD_VALID_SECONDS_MAX: u32 = 86_400;

/// Query parameters of the request.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenParams {
    tenant: Option<String>,
}

impl TokenParams {
    /// Returns the tenant whose tokens are meant. Without `tenant`, a platform admin gets the platform's own.
    fn owner(&self, caller: &Caller) -> Result<TenantId, Problem> {
        caller.require_any_scope(MANAGE_SCOPES)?;
        match &self.tenant {
            Some(tenant) => caller.authorize_tenant(tenant, MANAGE_SCOPES),
            None if caller.has_scope(PLATFORM_ADMIN) => caller.authorize_tenant(domain::ids::OPERATORS, MANAGE_SCOPES),
            None => Err(Problem::invalid_fields(vec![FieldError::new(
                "query:tenant",
                "is required; name the tenant whose tokens you want",
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

/// Requires that every tenant of a new token exists; a mistyped tenant would otherwise go unnoticed.
async fn require_tenants_exist(app: &App, tenants: &TenantScope) -> Result<(), Problem> {
    let TenantScope::Listed(tenants) = tenants else { return Ok(()) };
    let mut errors = Vec::new();
    for (index, tenant) in tenants.iter().enumerate() {
        if let Err(problem) = load_settings(app, tenant).await {
            if problem.status != StatusCode::NOT_FOUND {
                return Err(problem);
            }
            let detail =
                format!("there is no tenant {tenant}; correct the id, or create it with PUT /v1/tenants/{tenant}");
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

/// `POST /v1/tokens/{id}/rotate?tenant=`: replaces a token by a new one with the same rights and the same identity, so that open incidents
/// keep their source.
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
            "this token has scopes or tenants that yours cannot grant; ask a platform admin to rotate it",
        ));
    }
    let now = clock::now();
    let inactive = || Problem::conflict("this token is revoked or expired; issue a new one instead");
    if old.revoked_at.is_some() || old.expires_at_time.is_some_and(|end| end <= now) {
        return Err(inactive());
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
        Err(inactive())
    }
}

fn token_not_found() -> Problem {
    Problem::not_found("this tenant has no such token")
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
