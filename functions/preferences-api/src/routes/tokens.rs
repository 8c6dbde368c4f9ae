//! Routes of API tokens. A token is shown once, in the response that issues it; only its hash is stored.

use super::{audit_entry, load_settings};
use crate::App;
use crate::access::{self, LimitedBody, MANAGE_SCOPES, PageQuery, created_response, json_response};
use crate::check::token::{Issuer, TOKENS_MAX, check_token, could_issue, owner_of};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::scopes::PLATFORM_ADMIN;
use contracts::http::{Private, RevokedTokens, RotateTokenBody, TokenBody, TokenList, TokenView};
use contracts::problem::FieldError;
use domain::ids::{IntegrationId, TenantId, TokenId};
use jiff::{SignedDuration, Timestamp};
use runtime::http::{Caller, Problem};
use runtime::{clock, ids};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;
use store::credentials::{TenantScope, TokenRecord, token_hash};

/// Longest time that an old token may stay valid after its rotation, in seconds: one day.
const OLD_VALID_SECONDS_MAX: u32 = 86_400;

/// Query parameters of the request.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenParams {
    tenant: Option<String>,
    /// What becomes of the tokens that were made with a revoked one: `keep` gives them to the caller.
    children: Option<String>,
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
    Query(page): Query<PageQuery>,
) -> Result<Response, Problem> {
    let owner = params.owner(&caller)?;
    let (limit, after) = page.parse(|text| TokenId::parse(text).is_some())?;
    let (records, more) = app.table.tenant_tokens_page(&owner, after, limit).await.map_err(access::storage_problem)?;
    let next = records.last().filter(|_| more).map(|last| last.token_id.to_string());
    // A tenant's admin sees no token that reaches beyond the tenant.
    let tokens = records.iter().filter(|record| could_issue(&caller, record));
    let ids: Vec<&TokenId> = records.iter().map(|record| &record.token_id).collect();
    let refused = app.table.refused_tokens(&owner, &ids).await.map_err(access::storage_problem)?;
    let view = |record: &TokenRecord| TokenView {
        refused_at: refused.get(&record.token_id).copied(),
        ..token_view(record, None)
    };
    let tokens = tokens.map(view).collect();
    Ok(json_response(StatusCode::OK, &TokenList { tokens, next }))
}

/// `POST /v1/tokens`
pub(crate) async fn issue(State(app): State<App>, caller: Caller, body: LimitedBody) -> Result<Response, Problem> {
    caller.require_any_scope(MANAGE_SCOPES)?;
    let body: TokenBody = body.parse()?;
    let now = clock::now();
    let draft = check_token(&caller, &body, &app.policy, now).map_err(Problem::invalid_fields)?;
    let parent = caller_token(&app, &caller, now).await?;
    let issuer = parent.as_ref().map_or(Issuer::Person, |parent| Issuer::Token { expires_at: parent.expires_at_time });
    let draft = draft.within_life_of(issuer, now).map_err(Problem::invalid_fields)?;
    require_tenants_exist(&app, &draft.tenants).await?;
    require_room(&app, &draft.owner, now).await?;
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
        issued_by: parent.as_ref().map(|parent| parent.integration_id.clone()),
        hash: token_hash(&token),
    };
    let audit = audit_entry(&caller, "token.issued", record.token_id.as_str());
    let issued = app.table.issue_token(&record, parent.as_ref(), &audit, &ids::id_suffix()).await;
    if !issued.map_err(access::storage_problem)? {
        return Err(revoked_meanwhile());
    }
    Ok(created_response("tokens", record.token_id.as_str(), 1, &token_view(&record, Some(token))))
}

/// Returns the record of the caller's token; `None` for a person with a JWT. The authorizer may have read the token before it was revoked.
async fn caller_token(app: &App, caller: &Caller, now: Timestamp) -> Result<Option<TokenRecord>, Problem> {
    let Some(id) = TokenId::parse(&caller.token_id) else { return Ok(None) };
    let owner = owner_of(caller.tenants.as_ref());
    let record = app.table.tenant_token(&owner, &id).await.map_err(access::storage_problem)?;
    // Without its record a token would pass for a person, whose tokens have no parent.
    record.filter(|record| record.invalid_reason(now).is_none()).map(Some).ok_or_else(revoked_meanwhile)
}

/// Requires that a tenant has room for one more valid token. The platform's own list has no limit.
async fn require_room(app: &App, owner: &TenantId, now: Timestamp) -> Result<(), Problem> {
    if *owner == TenantId::operators() {
        return Ok(());
    }
    let records = app.table.tenant_tokens(owner).await.map_err(access::storage_problem)?;
    if records.iter().filter(|record| record.invalid_reason(now).is_none()).count() < TOKENS_MAX {
        return Ok(());
    }
    let detail =
        format!("this tenant has {TOKENS_MAX} valid tokens, the most that it can have; revoke those that nobody uses");
    Err(Problem::invalid_fields(vec![FieldError::new("", detail)]))
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

/// `DELETE /v1/tokens/{id}?tenant=&children=`: revokes a token and every token that was made with it. The token itself is the first, so that it
/// makes no more of them; the caller's own is the last. After a crash in between the same request does the rest. `children=keep` gives the
/// children to the caller instead.
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(params): Query<TokenParams>,
) -> Result<Response, Problem> {
    let owner = params.owner(&caller)?;
    let keeps_children = match params.children.as_deref() {
        None => false,
        Some("keep") => true,
        Some(_) => {
            let detail = "must be keep, or be left out to revoke the tokens that were made with this one as well";
            return Err(Problem::invalid_fields(vec![FieldError::new("query:children", detail)]));
        }
    };
    let id = TokenId::parse(&id).ok_or_else(token_not_found)?;
    let record = app.table.tenant_token(&owner, &id).await.map_err(access::storage_problem)?;
    let record = record.ok_or_else(token_not_found)?;
    if !could_issue(&caller, &record) {
        return Err(Problem::forbidden(
            "this token has scopes or tenants that yours cannot grant; ask a platform admin to revoke it",
        ));
    }
    let now = clock::now();
    // A rotated token's children are its successor's.
    let successors = successors(&app, &record, now).await?;
    let mut all = Vec::new();
    if successors.is_empty() {
        let below = descendants(&app, &record, now).await?;
        if keeps_children {
            keep_children(&app, &caller, &record, &below, now).await?;
        } else {
            all = below;
        }
    }
    // The lowest first, so that what is above still names what is left after a crash.
    all.reverse();
    all.insert(0, record);
    all.sort_by_key(|token| token.token_id.as_str() == caller.token_id);
    let mut revoked = Vec::new();
    for token in &all {
        revoke_one(&app, &caller, token, &mut revoked).await?;
    }
    let still_valid = successors.iter().map(|token| token.token_id.to_string()).collect();
    Ok(json_response(StatusCode::OK, &RevokedTokens { revoked, still_valid }))
}

/// Returns the other valid tokens of the same integration: this one was rotated, and is still valid for a while.
async fn successors(app: &App, record: &TokenRecord, now: Timestamp) -> Result<Vec<TokenRecord>, Problem> {
    let mut siblings = app.table.tenant_tokens(&record.owner).await.map_err(access::storage_problem)?;
    siblings.retain(|other| {
        other.token_id != record.token_id
            && other.integration_id == record.integration_id
            && other.invalid_reason(now).is_none()
    });
    Ok(siblings)
}

/// Returns every valid token below `record`, what is above before what is below it. Each once: whoever rotates the token that made theirs makes
/// a circle.
async fn descendants(app: &App, record: &TokenRecord, now: Timestamp) -> Result<Vec<TokenRecord>, Problem> {
    let mut seen = BTreeSet::from([record.integration_id.clone()]);
    let mut found: Vec<TokenRecord> = Vec::new();
    let mut waiting = vec![record.integration_id.clone()];
    while let Some(parent) = waiting.pop() {
        for child in app.table.child_tokens(&parent, now).await.map_err(access::storage_problem)? {
            if seen.insert(child.integration_id.clone()) {
                waiting.push(child.integration_id.clone());
            }
            if child.token_id != record.token_id && !found.iter().any(|known| known.token_id == child.token_id) {
                found.push(child);
            }
        }
    }
    Ok(found)
}

async fn revoke_one(
    app: &App,
    caller: &Caller,
    record: &TokenRecord,
    revoked: &mut Vec<String>,
) -> Result<(), Problem> {
    let audit = audit_entry(caller, "token.revoked", record.token_id.as_str());
    let done = app.table.revoke_token(&record.owner, &record.token_id, &audit, &ids::id_suffix()).await;
    if done.map_err(access::storage_problem)? {
        revoked.push(record.token_id.to_string());
    }
    Ok(())
}

/// Gives the children of a token to the caller, who must have been able to issue each of them, and whose own token ends no sooner.
async fn keep_children(
    app: &App,
    caller: &Caller,
    record: &TokenRecord,
    below: &[TokenRecord],
    now: Timestamp,
) -> Result<(), Problem> {
    let parent = caller_token(app, caller, now).await?;
    let comes_from_it = |token: &TokenRecord| {
        let mut all = std::iter::once(record).chain(below);
        all.any(|revoked| revoked.integration_id == token.integration_id)
    };
    if parent.as_ref().is_some_and(comes_from_it) {
        return Err(Problem::conflict(
            "your token is this one or was made with it, so it cannot keep the children; use another token",
        ));
    }
    let children = app.table.child_tokens(&record.integration_id, now).await.map_err(access::storage_problem)?;
    let ends = parent.as_ref().and_then(|parent| parent.expires_at_time);
    for child in &children {
        let lives_longer = ends.is_some_and(|ends| child.expires_at_time.is_none_or(|child| child > ends));
        if !could_issue(caller, child) || lives_longer {
            return Err(Problem::conflict(&format!(
                "{} was made with this token, and yours could not have made it: its scopes, its tenants or its expiry reach further; \
                 revoke it first, or use another token",
                child.token_id
            )));
        }
    }
    for child in &children {
        let audit = audit_entry(caller, "token.kept", child.token_id.as_str());
        let parent = parent.as_ref().map(|parent| &parent.integration_id);
        app.table.give_token_to(child, parent, &audit, &ids::id_suffix()).await.map_err(access::storage_problem)?;
    }
    Ok(())
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
    if !could_issue(&caller, &old) {
        return Err(Problem::forbidden(
            "this token has scopes or tenants that yours cannot grant; ask a platform admin to rotate it",
        ));
    }
    let now = clock::now();
    let inactive = || Problem::conflict("this token, or yours, is revoked or expired; issue a new one instead");
    if old.revoked_at.is_some() || old.expires_at_time.is_some_and(|end| end <= now) {
        return Err(inactive());
    }
    if body.old_valid_seconds > 0 {
        require_room(&app, &old.owner, now).await?;
    }
    // Whoever rotates a token knows the new one. So it goes with the token that it was made with, as any other; a token that rotates itself
    // stays where it was.
    let rotator = caller_token(&app, &caller, now).await?;
    let issued_by = match &rotator {
        Some(rotator) if rotator.integration_id == old.integration_id => old.issued_by.clone(),
        Some(rotator) => Some(rotator.integration_id.clone()),
        None => None,
    };
    let token = ids::api_token();
    let new = TokenRecord {
        issued_by,
        token_id: TokenId::new(&ids::id_suffix()),
        created_at: now,
        hash: token_hash(&token),
        ..old.clone()
    };
    let overlap = SignedDuration::from_secs(i64::from(body.old_valid_seconds));
    let old_ends = (body.old_valid_seconds > 0).then(|| now.saturating_add(overlap).unwrap_or(now));
    let audit = audit_entry(&caller, "token.rotated", &format!("{} to {}", old.token_id, new.token_id));
    let rotated = app.table.rotate_token(&old, &new, old_ends, rotator.as_ref(), &audit, &ids::id_suffix()).await;
    if rotated.map_err(access::storage_problem)? {
        Ok(created_response("tokens", new.token_id.as_str(), 1, &token_view(&new, Some(token))))
    } else {
        Err(inactive())
    }
}

fn revoked_meanwhile() -> Problem {
    Problem::forbidden("your token is revoked or has expired; use another one")
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
        issued_by: record.issued_by.as_ref().map(ToString::to_string),
        created_at: record.created_at,
        expires_at: record.expires_at_time,
        revoked_at: record.revoked_at,
        refused_at: None,
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
            issued_by: None,
            hash: "HASH".into(),
        };
        let listed = serde_json::to_value(token_view(&record, None)).unwrap();
        assert!(!listed.to_string().contains("HASH") && listed.get("token").is_none(), "{listed}");
        assert_eq!(listed["tenants"], json!(["acme"]));
        assert_eq!(serde_json::to_value(token_view(&record, Some("T".into()))).unwrap()["token"], "T");
    }
}
