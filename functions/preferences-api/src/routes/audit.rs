//! Who changed what of a tenant.

use super::settings_of;
use crate::App;
use crate::access::{self, READ, answer};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::{AuditEntry, AuditList};
use contracts::problem::FieldError;
use runtime::http::{Caller, Problem};
use serde::Deserialize;
use store::tenants::AuditCursor;

const LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;

/// The query, as text: each wrong parameter is named.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    limit: Option<String>,
    cursor: Option<String>,
}

/// `GET /v1/tenants/{tenant}/audit`: newest first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, READ)?;
    let mut errors = Vec::new();
    let limit = access::limit(asked.limit.as_deref(), LIMIT, LIMIT_MAX, &mut errors);
    let cursor = asked.cursor.as_deref().map(|text| {
        let cursor = AuditCursor::parse(text);
        if cursor.is_none() {
            errors.push(FieldError::new("query:cursor", "is not the `next` of an earlier answer"));
        }
        cursor
    });
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    settings_of(&app, &tenant).await?;
    let (entries, next) = app.table.audit(&tenant, cursor.flatten().as_ref(), limit).await.map_err(access::table)?;
    let view = |entry: store::tenants::Audit| AuditEntry {
        at: entry.at,
        who: entry.who,
        what: entry.what,
        object: entry.object,
    };
    let list = AuditList { audit: entries.into_iter().map(view).collect(), next: next.map(|cursor| cursor.to_text()) };
    Ok(answer(StatusCode::OK, &list))
}
