//! A tenant's audit trail.

use super::load_settings;
use crate::App;
use crate::access::{self, READ_SCOPES, json_response};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::{AuditEntry, AuditList};
use contracts::problem::FieldError;
use runtime::http::{Caller, Problem};
use serde::Deserialize;
use store::tenants::AuditCursor;

/// Entries on a page, unless the query has a `limit`.
const PAGE_SIZE: usize = 50;
/// Largest `limit` that a request may name.
const PAGE_SIZE_MAX: usize = 200;

/// The query parameters as text, so that each wrong one can be reported.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct AuditParams {
    limit: Option<String>,
    cursor: Option<String>,
}

/// `GET /v1/tenants/{tenant}/audit`: newest first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    Query(params): Query<AuditParams>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    let mut errors = Vec::new();
    let limit = access::parse_limit(params.limit.as_deref(), PAGE_SIZE, PAGE_SIZE_MAX, &mut errors);
    let cursor = params.cursor.as_deref().map(|text| {
        let cursor = AuditCursor::parse(text);
        if cursor.is_none() {
            errors.push(FieldError::new("query:cursor", "is not valid; send the `next` of an earlier response"));
        }
        cursor
    });
    if !errors.is_empty() {
        return Err(Problem::invalid_fields(errors));
    }
    load_settings(&app, &tenant).await?;
    let (entries, next) =
        app.table.audit_trail(&tenant, cursor.flatten().as_ref(), limit).await.map_err(access::storage_problem)?;
    let view = |entry: store::tenants::AuditRecord| AuditEntry {
        at: entry.at,
        who: entry.who,
        what: entry.what,
        object: entry.object,
    };
    let list = AuditList { audit: entries.into_iter().map(view).collect(), next: next.map(|cursor| cursor.to_text()) };
    Ok(json_response(StatusCode::OK, &list))
}
