//! `/resubscribe`: the owner of an address that is suppressed, or that was unsubscribed, allows e-mail again. The link is valid for one address
//! of one recipient, for 24 hours.

use super::confirm::{AddressLink, confirmed_page, load_recipient, parse_link};
use super::{LinkQuery, QuestionForm, SAVE_ATTEMPTS_MAX, html_response, storage_failed, try_again_later};
use crate::App;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::ids::SuppressionId;
use domain::link::LinkPurpose;
use domain::tenant::{Destination, Recipient};
use runtime::{clock, ids};
use store::tenants::{AuditRecord, SaveOutcome, TenantChange};

/// `GET /resubscribe?t=`
pub(crate) async fn show(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    let link = match parse_link(&app, &query, LinkPurpose::Resubscribe).await {
        Ok(link) => link,
        Err(fault) => return fault.into_response(),
    };
    match load_recipient(&app, &link, is_subscribed).await {
        Ok((name, recipient)) if is_subscribed(&recipient) => confirmed_page(&name),
        Ok((name, _)) => {
            let text = format!(
                "Some or all incident alerts to this address are stopped. If you allow them again, {name} can send them, and so can every other \
                 organization whose alerts you confirmed. You can unsubscribe at any time."
            );
            html_response(
                StatusCode::OK,
                &QuestionForm {
                    heading: "Allow e-mail again?",
                    text: &text,
                    button: "Allow e-mail again",
                    action: "resubscribe",
                    after: Some("If you don't want that, close this page. Nothing is sent to this address."),
                },
            )
        }
        Err(response) => response,
    }
}

/// `POST /resubscribe?t=`
pub(crate) async fn submit(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    let link = match parse_link(&app, &query, LinkPurpose::Resubscribe).await {
        Ok(link) => link,
        Err(fault) => return fault.into_response(),
    };
    for _ in 0..SAVE_ATTEMPTS_MAX {
        let (name, recipient) = match load_recipient(&app, &link, is_subscribed).await {
            Ok(loaded) => loaded,
            Err(response) => return response,
        };
        if is_subscribed(&recipient) {
            return confirmed_page(&name);
        }
        match allow_again(&app, &link, recipient).await {
            Ok(SaveOutcome::Saved) => return confirmed_page(&name),
            Ok(SaveOutcome::VersionConflict) => {}
            Ok(SaveOutcome::NoTenant | SaveOutcome::AddressInUse { .. }) => return super::old_contact(),
            Err(error) => return storage_failed(&error),
        }
    }
    try_again_later()
}

/// Lifts the suppression for the whole stack, and then subscribes the recipient again. After a crash in between, the link does the rest.
async fn allow_again(app: &App, link: &AddressLink, recipient: Recipient) -> Result<SaveOutcome, store::StoreError> {
    if let Some(email) = &recipient.email {
        app.table.lift_suppression(&SuppressionId::of(email)).await?;
    }
    let version = recipient.version + 1;
    let allowed = Recipient {
        email_confirmed: true,
        suppressed: None,
        unsubscribed: Default::default(),
        unsubscribed_warnings: false,
        version,
        ..recipient
    };
    let audit = AuditRecord {
        at: clock::now(),
        who: "recipient".to_owned(),
        what: "recipient.resubscribed".to_owned(),
        object: link.recipient.to_string(),
    };
    let setting = TenantChange::Destination(Destination::Recipient(Box::new(allowed)));
    app.table.save(&link.tenant, &setting, &audit, &ids::id_suffix()).await
}

fn is_subscribed(recipient: &Recipient) -> bool {
    recipient.email_confirmed
        && recipient.suppressed.is_none()
        && recipient.unsubscribed.is_empty()
        && !recipient.unsubscribed_warnings
}
