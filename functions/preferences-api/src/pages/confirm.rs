//! `/confirm`: confirms an e-mail address. The link is valid for one address of one recipient, for 24 hours.

use super::{
    LinkFault, LinkQuery, QuestionForm, SAVE_ATTEMPTS_MAX, html_response, message_page, storage_failed, try_again_later,
};
use crate::App;
use crate::confirmation_requests::contact_fingerprint;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::ids::{RecipientId, SuppressionId, TenantId};
use domain::link::LinkPurpose;
use domain::tenant::{Destination, Recipient};
use domain::vocabulary::Channel;
use runtime::{clock, ids};
use store::tenants::{AuditRecord, SaveOutcome, TenantChange};

/// The content of a link to the owner of an address: to confirm it, or to allow e-mail again.
pub(super) struct AddressLink {
    pub(super) tenant: TenantId,
    pub(super) recipient: RecipientId,
    /// Keyed hash of the address that was asked.
    fingerprint: String,
    /// When the link expires, in Unix seconds.
    expires_second: i64,
}

pub(super) async fn parse_link(app: &App, query: &LinkQuery, purpose: LinkPurpose) -> Result<AddressLink, LinkFault> {
    // A link that was used shows what it did, also after its time.
    let parts = query.verify(app, purpose, |_| false).await?;
    let [tenant, recipient, fingerprint, expires]: [String; 4] = parts.try_into().map_err(|_| LinkFault::Invalid)?;
    let link = || {
        Some(AddressLink {
            tenant: TenantId::parse(&tenant).ok()?,
            recipient: RecipientId::parse(&recipient)?,
            fingerprint,
            expires_second: expires.parse().ok()?,
        })
    };
    link().ok_or(LinkFault::Invalid)
}

/// `GET /confirm?t=`
pub(crate) async fn show(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    let link = match parse_link(&app, &query, LinkPurpose::Confirm).await {
        Ok(link) => link,
        Err(fault) => return fault.into_response(),
    };
    match load_recipient(&app, &link, is_confirmed).await {
        Ok((name, recipient)) if is_confirmed(&recipient) => confirmed_page(&name),
        Ok((name, _)) => {
            let text = format!(
                "{name} wants to send incident alerts to the e-mail address that received this link. You can unsubscribe at any time."
            );
            html_response(
                StatusCode::OK,
                &QuestionForm {
                    heading: "Get incident alerts by e-mail?",
                    text: &text,
                    button: "Confirm this address",
                    action: "confirm",
                    after: Some(
                        "If you didn't expect this, close this page. No alerts are sent to an address that isn't confirmed.",
                    ),
                },
            )
        }
        Err(response) => response,
    }
}

/// `POST /confirm?t=`
pub(crate) async fn submit(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    let link = match parse_link(&app, &query, LinkPurpose::Confirm).await {
        Ok(link) => link,
        Err(fault) => return fault.into_response(),
    };
    for _ in 0..SAVE_ATTEMPTS_MAX {
        let (name, mut recipient) = match load_recipient(&app, &link, is_confirmed).await {
            Ok(loaded) => loaded,
            Err(response) => return response,
        };
        if is_confirmed(&recipient) {
            return confirmed_page(&name);
        }
        // Whoever blocked the address, or whose mail bounced, is asked with another link.
        let suppression = recipient.email.as_ref().map(SuppressionId::of);
        let is_blocked = match &suppression {
            Some(id) => app.table.address_suppression(id).await,
            None => Ok(None),
        };
        match is_blocked {
            Ok(None) => recipient.suppressed = None,
            Ok(Some(_)) => return still_blocked(),
            Err(error) => return storage_failed(&error),
        }
        recipient.email_confirmed = true;
        recipient.version += 1;
        let audit = AuditRecord {
            at: clock::now(),
            who: "recipient".to_owned(),
            what: "recipient.email_confirmed".to_owned(),
            object: link.recipient.to_string(),
        };
        let setting = TenantChange::Destination(Destination::Recipient(Box::new(recipient)));
        match app.table.save(&link.tenant, &setting, &audit, &ids::id_suffix()).await {
            Ok(SaveOutcome::Saved) => return confirmed_page(&name),
            Ok(SaveOutcome::VersionConflict) => {}
            Ok(SaveOutcome::NoTenant | SaveOutcome::AddressInUse { .. }) => return recipient_gone(),
            Err(error) => return storage_failed(&error),
        }
    }
    try_again_later()
}

fn is_confirmed(recipient: &Recipient) -> bool {
    recipient.email_confirmed && recipient.suppressed.is_none()
}

pub(super) fn confirmed_page(name: &str) -> Response {
    message_page(StatusCode::OK, "Confirmed", &format!("{name} can now send incident alerts to this address."))
}

fn still_blocked() -> Response {
    let text = "E-mail to this address was stopped since this link was sent, because a message bounced, it was marked as spam, or somebody who \
                reads this mailbox asked for it. Ask the person who added you what is possible.";
    message_page(StatusCode::CONFLICT, "E-mail to this address is stopped", text)
}

fn recipient_gone() -> Response {
    let text =
        "This address was removed, or this link was for a different address. No alerts are sent because of this link.";
    message_page(StatusCode::NOT_FOUND, "Nothing to confirm", text)
}

fn link_expired() -> Response {
    let text = "Confirmation links work for 24 hours. Ask the person who added you to send a new one.";
    message_page(StatusCode::GONE, "This link has expired", text)
}

/// Reads who asks, as a stranger may read it, and the recipient. The error is the page to show: they no longer exist, the address has changed
/// since the link was sent, or the link has expired. A link that was used never expires, so that it can still show what it did: `is_done` says
/// whether it was.
pub(super) async fn load_recipient(
    app: &App,
    link: &AddressLink,
    is_done: fn(&Recipient) -> bool,
) -> Result<(String, Recipient), Response> {
    let settings = app.table.settings(&link.tenant);
    let recipient = app.table.recipient(&link.tenant, &link.recipient);
    let (settings, recipient) = futures::try_join!(settings, recipient).map_err(|error| storage_failed(&error))?;
    let Some((settings, recipient)) = settings.zip(recipient) else { return Err(recipient_gone()) };
    if contact_fingerprint(app, &recipient, Channel::Email).as_ref() != Some(&link.fingerprint) {
        return Err(recipient_gone());
    }
    if clock::now().as_second() >= link.expires_second && !is_done(&recipient) {
        return Err(link_expired());
    }
    let name = settings.name_for_strangers();
    let name =
        if name == settings.tenant.as_str() { format!("The organization “{name}”") } else { name.to_owned() };
    Ok((name, recipient))
}
