//! Who posts with another product's key: in the body (PagerDuty) or under its own scheme (Opsgenie). Those routes are open to
//! API Gateway, because its refusals are not the ones that those products' clients read.

use crate::Intake;
use crate::accept::WRITE;
use runtime::clock;
use runtime::http::Caller;
use store::StoreError;
use store::credentials::{Tenants, is_token};

/// The caller behind a token that may post events; `None` for any other.
pub(crate) async fn caller(app: &Intake, token: &str) -> Result<Option<Caller>, StoreError> {
    if !is_token(token) {
        return Ok(None);
    }
    let record = app.table.token(token).await?;
    let record = record.filter(|record| {
        let why = record.invalid(clock::now());
        if let Some(why) = why {
            tracing::info!(why, token_id = %record.token_id, "refused");
        }
        why.is_none()
    });
    let Some(record) = record else { return Ok(None) };
    let caller = Caller {
        token_id: record.token_id.to_string(),
        integration_id: record.integration_id.to_string(),
        scopes: record.scopes,
        tenants: match record.tenants {
            Tenants::All(_) => None,
            Tenants::Some(tenants) => Some(tenants),
        },
        defaults: Some(record.defaults),
    };
    Ok(Some(caller).filter(|caller| caller.has(WRITE)))
}
