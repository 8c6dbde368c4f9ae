//! The names that wait for the platform's approval. A platform admin approves or declines them in the tenant's settings.

use crate::App;
use crate::access::{self, PageQuery, json_response};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::scopes::PLATFORM_ADMIN;
use contracts::http::{ApprovedNamesBody, NameRequestList, NameRequestView};
use domain::ids::{OPERATORS, TenantId};
use runtime::http::{Caller, Problem};
use store::name_requests::NameRequest;

/// `GET /v1/name-requests`
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(page): Query<PageQuery>,
) -> Result<Response, Problem> {
    caller.require_scope(PLATFORM_ADMIN)?;
    // The address names no tenant, so that there is nothing to hide from a token of some tenants.
    caller.authorize_tenant(OPERATORS, &[PLATFORM_ADMIN]).map_err(|_| {
        Problem::forbidden(
            "This token is for some tenants only. Use a token with the scope platform:admin that is for all of them.",
        )
    })?;
    let (limit, after) = page.parse(|text| TenantId::parse(text).is_ok())?;
    let (requests, more) = app.table.name_requests(after, limit).await.map_err(access::storage_problem)?;
    let next = requests.last().filter(|_| more).map(|last| last.tenant.to_string());
    let name_requests = requests.into_iter().map(view).collect();
    Ok(json_response(StatusCode::OK, &NameRequestList { name_requests, next }))
}

fn view(request: NameRequest) -> NameRequestView {
    NameRequestView {
        tenant_id: request.tenant.to_string(),
        since: request.since,
        public_name: request.public_name,
        sender_id: request.sender_id,
        approved: ApprovedNamesBody {
            public_name: request.approved.public_name,
            sender_id: request.approved.sender_id,
        },
    }
}
