//! `/never`: suppresses an address for the whole stack, because its owner does not want to be asked again. The link comes with every question.

use super::{LinkFault, LinkQuery, QuestionForm, html_response, message_page, storage_failed};
use crate::App;
use crate::notices;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::contact::{SilencedContact, email_contact_key};
use domain::ids::{RecipientId, SuppressionId, TenantId};
use domain::link::LinkPurpose;
use domain::reason::Reason;
use domain::suppression::AddressSuppression;
use domain::tenant::Suppression;
use runtime::{clock, ids};

/// The content of a link.
struct NeverLink {
    tenant: TenantId,
    recipient: RecipientId,
    suppression: SuppressionId,
}

async fn parse_link(app: &App, query: &LinkQuery) -> Result<NeverLink, LinkFault> {
    let [tenant, recipient, suppression] = query.verify_alive(app, LinkPurpose::Never).await?;
    let link = || {
        Some(NeverLink {
            tenant: TenantId::parse(&tenant).ok()?,
            recipient: RecipientId::parse(&recipient)?,
            suppression: SuppressionId::parse(&suppression)?,
        })
    };
    link().ok_or(LinkFault::Invalid)
}

/// `GET /never?t=`
pub(crate) async fn show(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    if let Err(fault) = parse_link(&app, &query).await {
        return fault.into_response();
    }
    html_response(
        StatusCode::OK,
        &QuestionForm {
            heading: "Never write to this address again?",
            text: "Nobody who uses this service will be able to send alerts to this address. If somebody wants to reach you here after all, you \
                   may be asked whether you changed your mind: three times at most, ever.",
            button: "Never write to this address again",
            action: "never",
            after: Some("If you get alerts that you want at this address, they stop as well."),
        },
    )
}

/// `POST /never?t=`
pub(crate) async fn submit(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    let link = match parse_link(&app, &query).await {
        Ok(link) => link,
        Err(fault) => return fault.into_response(),
    };
    let now = clock::now();
    let address = AddressSuppression::new(Reason::SuppressedByOwner, now);
    // The address first: it is what was asked for, whatever has become of the recipient.
    if let Err(error) = app.table.suppress_address(&link.suppression, &address).await {
        return storage_failed(&error);
    }
    // Nothing is sent to the address from here on. The mark on the recipient only shows it to its tenant.
    if let Err(error) =
        suppress_recipient(&app, &link, Suppression { reason: Reason::SuppressedByOwner, at: now }).await
    {
        tracing::error!(%error, tenant = %link.tenant, recipient = %link.recipient, "an address is suppressed, its recipient is not marked");
    }
    tracing::info!(tenant = %link.tenant, recipient = %link.recipient, "the owner of an address wants no e-mail any more");
    let text = "No more e-mail is sent to this address.";
    message_page(StatusCode::OK, "Done", text)
}

/// Marks the recipient that the question was about, if it still has the address, and notifies its org admins.
async fn suppress_recipient(app: &App, link: &NeverLink, why: Suppression) -> Result<(), store::StoreError> {
    let Some(recipient) = app.table.recipient(&link.tenant, &link.recipient).await? else { return Ok(()) };
    let Some(email) = recipient.email.filter(|email| SuppressionId::of(email) == link.suppression) else {
        return Ok(());
    };
    let silenced = SilencedContact { suppression: why, contact: Some(email_contact_key(&link.tenant, &email)) };
    let nonce = ids::id_suffix();
    let saved = app.table.suppress_contact(&link.tenant, &link.recipient, &silenced, "recipient", &nonce).await?;
    if let Some(recipient) = saved {
        notices::notify_of_suppression(app, &link.tenant, &recipient, why.reason).await;
    }
    Ok(())
}
