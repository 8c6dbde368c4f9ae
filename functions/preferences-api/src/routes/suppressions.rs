//! Routes of suppressed addresses, for the platform. A tenant sees the reason at its recipient, and never whose mail it was.

use super::audit_entry;
use crate::App;
use crate::access::{self, json_response};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use contracts::http::SuppressionView;
use contracts::http::scopes::PLATFORM_ADMIN;
use domain::ids::{OPERATORS, SuppressionId};
use runtime::http::{Caller, Problem};
use runtime::ids;

/// `GET /v1/suppressions/{id}`
pub(crate) async fn read(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    caller.require_scope(PLATFORM_ADMIN)?;
    let id = SuppressionId::parse(&id).ok_or_else(not_found)?;
    let found = app.table.address_suppression(&id).await.map_err(access::storage_problem)?.ok_or_else(not_found)?;
    let view =
        SuppressionView { id: id.to_string(), reason: found.reason.to_string(), at: found.at, asked: found.asked };
    Ok(json_response(StatusCode::OK, &view))
}

/// `DELETE /v1/suppressions/{id}`: the address may be written to again. A recipient that shows the suppression still has to be
/// confirmed by its owner.
pub(crate) async fn lift(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    caller.require_scope(PLATFORM_ADMIN)?;
    let id = SuppressionId::parse(&id).ok_or_else(not_found)?;
    let operators = caller.authorize_tenant(OPERATORS, &[PLATFORM_ADMIN])?;
    if app.table.address_suppression(&id).await.map_err(access::storage_problem)?.is_none() {
        return Err(not_found());
    }
    // The record first: nothing is lifted without one.
    let audit = audit_entry(&caller, "suppression.lifted", id.as_str());
    app.table.record_audit(&operators, &audit, &ids::id_suffix()).await.map_err(access::storage_problem)?;
    app.table.lift_suppression(&id).await.map_err(access::storage_problem)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn not_found() -> Problem {
    Problem::not_found("no address is suppressed under this id; it is `suppressed.id` of a recipient")
}
