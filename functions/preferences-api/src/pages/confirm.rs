//! `/confirm`: confirms an e-mail address. The link is valid for one address of one recipient, for 24 hours.

use super::{LinkQuery, SAVE_ATTEMPTS_MAX, html_response, invalid_link, message_page, storage_failed, try_again_later};
use crate::App;
use crate::confirmation_requests::contact_fingerprint;
use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::ids::{RecipientId, TenantId};
use domain::tenant::{Destination, Recipient};
use domain::vocabulary::Channel;
use runtime::{clock, ids};
use store::tenants::{AuditRecord, SaveOutcome, TenantChange};

/// The content of a confirmation link.
struct ConfirmLink {
    tenant: TenantId,
    recipient: RecipientId,
    /// Keyed hash of the address that was asked.
    fingerprint: String,
    /// When the link expires, in Unix seconds.
    expires_second: i64,
}

fn parse_link(app: &App, query: &LinkQuery) -> Option<ConfirmLink> {
    let [tenant, recipient, fingerprint, expires] = query.verify(app, "confirm")?;
    Some(ConfirmLink {
        tenant: TenantId::parse(&tenant).ok()?,
        recipient: RecipientId::parse(&recipient)?,
        fingerprint,
        expires_second: expires.parse().ok()?,
    })
}

/// The page with the confirmation button.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Confirm your address</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}
button{font:inherit;padding:.6rem 1.2rem;cursor:pointer}</style></head>
<body><main><h1>Get incident alerts from {{ name }}?</h1>
<p>{{ name }} ({{ tenant }}) wants to send incident alerts to the e-mail address that received this link. You can unsubscribe at any time.</p>
<form method="post"><button type="submit">Confirm this address</button></form>
<p>If you didn't expect this, close this page. No alerts are sent to an address that isn't confirmed.</p></main></body>
</html>
"#
)]
struct Form<'a> {
    name: &'a str,
    tenant: &'a str,
}

/// `GET /confirm?t=`
pub(crate) async fn show(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    let Some(link) = parse_link(&app, &query) else { return invalid_link() };
    match load_recipient(&app, &link).await {
        Ok((name, recipient)) if is_confirmed(&recipient) => confirmed_page(&name),
        Ok((name, _)) => html_response(StatusCode::OK, &Form { name: &name, tenant: link.tenant.as_str() }),
        Err(response) => response,
    }
}

/// `POST /confirm?t=`
pub(crate) async fn submit(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    let Some(link) = parse_link(&app, &query) else { return invalid_link() };
    for _ in 0..SAVE_ATTEMPTS_MAX {
        let (name, mut recipient) = match load_recipient(&app, &link).await {
            Ok(loaded) => loaded,
            Err(response) => return response,
        };
        if is_confirmed(&recipient) {
            return confirmed_page(&name);
        }
        recipient.email_confirmed = true;
        recipient.suppressed = None;
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

fn confirmed_page(name: &str) -> Response {
    message_page(StatusCode::OK, "Confirmed", &format!("You will now get alerts from {name} at this address."))
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

/// Reads the tenant's name and the recipient. The error is the page to show: they no longer exist, the address has changed since the link
/// was sent, or the link has expired. A used link never expires, so that it can still show that the address is confirmed.
async fn load_recipient(app: &App, link: &ConfirmLink) -> Result<(String, Recipient), Response> {
    let settings = app.table.settings(&link.tenant);
    let recipient = app.table.recipient(&link.tenant, &link.recipient);
    let (settings, recipient) = futures::try_join!(settings, recipient).map_err(|error| storage_failed(&error))?;
    let Some((settings, recipient)) = settings.zip(recipient) else { return Err(recipient_gone()) };
    if contact_fingerprint(app, &recipient, Channel::Email).as_ref() != Some(&link.fingerprint) {
        return Err(recipient_gone());
    }
    if clock::now().as_second() >= link.expires_second && !is_confirmed(&recipient) {
        return Err(link_expired());
    }
    Ok((settings.name, recipient))
}
