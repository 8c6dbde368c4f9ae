//! API tokens. The token itself is shown once, in the answer that issues it; the table knows its hash.

use super::{audit, settings_of};
use crate::App;
use crate::access::{self, Limited, MANAGE, answer, created};
use crate::check::token as check;
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
use store::credentials::{Tenants, TokenRecord, token_hash};

/// The longest time that an old token may stay valid beside its successor, in seconds.
const OVERLAP_MAX: u32 = 86_400;

/// Whose list.
#[derive(Debug, Deserialize)]
pub(crate) struct Whose {
    tenant: Option<String>,
}

impl Whose {
    /// The list's owner. The platform's own list is the default for the platform.
    fn owner(&self, caller: &Caller) -> Result<TenantId, Problem> {
        caller.require_any(MANAGE)?;
        match &self.tenant {
            Some(tenant) => caller.speaking_for(tenant, MANAGE),
            None if caller.has(PLATFORM_ADMIN) => caller.speaking_for(domain::ids::OPERATORS, MANAGE),
            None => {
                Err(Problem::fields(vec![FieldError::new("query:tenant", "is missing; say whose tokens you mean")]))
            }
        }
    }
}

/// `GET /v1/tokens?tenant=`
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(whose): Query<Whose>,
) -> Result<Response, Problem> {
    let owner = whose.owner(&caller)?;
    let records = app.table.tokens_of(&owner).await.map_err(access::table)?;
    let tokens = records.iter().map(|record| view(record, None)).collect();
    Ok(answer(StatusCode::OK, &TokenList { tokens }))
}

/// `POST /v1/tokens`
pub(crate) async fn issue(State(app): State<App>, caller: Caller, body: Limited) -> Result<Response, Problem> {
    caller.require_any(MANAGE)?;
    let body: TokenBody = body.parse()?;
    let now = clock::now();
    let draft = check::token(&caller, &body, &app.policy, now).map_err(Problem::fields)?;
    existing(&app, &draft.tenants).await?;
    let token = ids::token();
    let record = TokenRecord {
        token_id: TokenId::new(&ids::suffix()),
        integration_id: IntegrationId::new(&ids::suffix()),
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
    let audit = audit(&caller, "token.issued", record.token_id.as_str());
    app.table.issue_token(&record, &audit, &ids::suffix()).await.map_err(access::table)?;
    Ok(created("tokens", record.token_id.as_str(), 1, &view(&record, Some(token))))
}

/// A token for a tenant that does not exist would be a typo that nobody notices.
async fn existing(app: &App, tenants: &Tenants) -> Result<(), Problem> {
    let Tenants::Some(tenants) = tenants else { return Ok(()) };
    let mut errors = Vec::new();
    for (index, tenant) in tenants.iter().enumerate() {
        if let Err(problem) = settings_of(app, tenant).await {
            if problem.status != StatusCode::NOT_FOUND {
                return Err(problem);
            }
            let detail = format!("there is no tenant {tenant}; PUT /v1/tenants/{tenant} makes it");
            errors.push(FieldError::new(format!("/tenants/{index}"), detail));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::fields(errors)) }
}

/// `DELETE /v1/tokens/{id}?tenant=`
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(whose): Query<Whose>,
) -> Result<Response, Problem> {
    let owner = whose.owner(&caller)?;
    let id = TokenId::parse(&id).ok_or_else(no_token)?;
    let audit = audit(&caller, "token.revoked", id.as_str());
    if app.table.revoke_token(&owner, &id, &audit, &ids::suffix()).await.map_err(access::table)? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(no_token())
    }
}

/// `POST /v1/tokens/{id}/rotate?tenant=`: another token with the same rights and the same identity, so that open incidents
/// stay the ones of their source.
pub(crate) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(whose): Query<Whose>,
    body: Limited,
) -> Result<Response, Problem> {
    let owner = whose.owner(&caller)?;
    let body: RotateTokenBody = body.parse_or_default()?;
    if body.old_valid_seconds > OVERLAP_MAX {
        let detail = format!("must be from 0 to {OVERLAP_MAX}");
        return Err(Problem::fields(vec![FieldError::new("/old_valid_seconds", detail)]));
    }
    let id = TokenId::parse(&id).ok_or_else(no_token)?;
    let old = app.table.token_of(&owner, &id).await.map_err(access::table)?.ok_or_else(no_token)?;
    if !check::may_rotate(&caller, &old) {
        return Err(Problem::forbidden(
            "this token has rights that yours may not hand out; a platform admin rotates it",
        ));
    }
    let now = clock::now();
    let over = || Problem::conflict("this token is revoked or expired; issue a new one");
    if old.revoked_at.is_some() || old.expires_at_time.is_some_and(|end| end <= now) {
        return Err(over());
    }
    let token = ids::token();
    let new = TokenRecord {
        token_id: TokenId::new(&ids::suffix()),
        created_at: now,
        hash: token_hash(&token),
        ..old.clone()
    };
    let overlap = SignedDuration::from_secs(i64::from(body.old_valid_seconds));
    let old_ends = (body.old_valid_seconds > 0).then(|| now.saturating_add(overlap).unwrap_or(now));
    let audit = audit(&caller, "token.rotated", &format!("{} to {}", old.token_id, new.token_id));
    if app.table.rotate_token(&old, &new, old_ends, &audit, &ids::suffix()).await.map_err(access::table)? {
        Ok(created("tokens", new.token_id.as_str(), 1, &view(&new, Some(token))))
    } else {
        Err(over())
    }
}

fn no_token() -> Problem {
    Problem::not_found("this list has no such token")
}

fn view(record: &TokenRecord, token: Option<String>) -> TokenView {
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
            tenants: Tenants::Some([TenantId::parse("acme").unwrap()].into()),
            defaults: json!({}),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            expires_at_time: None,
            revoked_at: None,
            owner: TenantId::parse("acme").unwrap(),
            hash: "HASH".into(),
        };
        let listed = serde_json::to_value(view(&record, None)).unwrap();
        assert!(!listed.to_string().contains("HASH") && listed.get("token").is_none(), "{listed}");
        assert_eq!(listed["tenants"], json!(["acme"]));
        assert_eq!(serde_json::to_value(view(&record, Some("T".into()))).unwrap()["token"], "T");
    }
}
