//! Authentication of PagerDuty's and Opsgenie's clients, which send the token in the body or under a scheme of their own. Their routes
//! bypass the authorizer, because those clients expect errors in their product's format.

use crate::Intake;
use crate::permissions::WRITE_SCOPE;
use runtime::clock;
use runtime::http::Caller;
use store::StoreError;
use store::credentials::{TenantScope, has_token_format};

/// Returns the caller of a token that may post events; `None` for an unknown, expired or revoked token and for one without the scope.
pub(crate) async fn authenticate(app: &Intake, token: &str) -> Result<Option<Caller>, StoreError> {
    if !has_token_format(token) {
        return Ok(None);
    }
    let record = app.table.token(token).await?;
    let record = record.filter(|record| {
        let rejection = record.invalid_reason(clock::now());
        if let Some(why) = rejection {
            tracing::info!(why, token_id = %record.token_id, "token rejected");
        }
        rejection.is_none()
    });
    let Some(record) = record else { return Ok(None) };
    let caller = Caller {
        token_id: record.token_id.to_string(),
        integration_id: record.integration_id.to_string(),
        scopes: record.scopes,
        tenants: match record.tenants {
            TenantScope::All(_) => None,
            TenantScope::Listed(tenants) => Some(tenants),
        },
        defaults: Some(record.defaults),
    };
    Ok(Some(caller).filter(|caller| caller.has_scope(WRITE_SCOPE)))
}
