//! `/confirm`: GET shows a page and changes nothing, because mail scanners open links; only POST confirms. The link is good for
//! one address of one recipient, for 24 hours.

use super::{LinkQuery, html_response, invalid_link, message_page, try_again_later};
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

/// How often a recipient is read again when somebody else writes it at the same time.
const SAVE_ATTEMPTS_MAX: usize = 5;

/// The link's meaning, as far as it can be known without reading anything.
struct ConfirmLink {
    tenant: TenantId,
    recipient: RecipientId,
    identity: String,
    until_second: i64,
}

fn parse_link(app: &App, query: &LinkQuery) -> Option<ConfirmLink> {
    let [tenant, recipient, identity, until] = query.verify(app, "confirm")?;
    Some(ConfirmLink {
        tenant: TenantId::parse(&tenant).ok()?,
        recipient: RecipientId::parse(&recipient)?,
        identity,
        until_second: until.parse().ok()?,
    })
}

/// One form, and what it does.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Confirm alerts</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}
button{font:inherit;padding:.6rem 1.2rem;cursor:pointer}</style></head>
<body><main><h1>Confirm alerts of {{ name }}</h1>
<p>{{ name }} ({{ tenant }}) wants to send incident alerts to the address that this link came to. You can stop them at any time.</p>
<form method="post"><button type="submit">Confirm this address</button></form>
<p>If you do not know of this, close this page: no alert is sent to an address that is not confirmed.</p></main></body>
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
        Ok(Ok((name, recipient))) if is_confirmed(&recipient) => confirmed_page(&name),
        Ok(Ok((name, _))) => html_response(StatusCode::OK, &Form { name: &name, tenant: link.tenant.as_str() }),
        Ok(Err(why)) | Err(why) => why,
    }
}

/// `POST /confirm?t=`
pub(crate) async fn submit(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    let Some(link) = parse_link(&app, &query) else { return invalid_link() };
    for _ in 0..SAVE_ATTEMPTS_MAX {
        let (name, mut recipient) = match load_recipient(&app, &link).await {
            Ok(Ok(found)) => found,
            Ok(Err(why)) | Err(why) => return why,
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
            Err(error) => return unavailable(&error),
        }
    }
    try_again_later()
}

fn is_confirmed(recipient: &Recipient) -> bool {
    recipient.email_confirmed && recipient.suppressed.is_none()
}

fn confirmed_page(name: &str) -> Response {
    message_page(StatusCode::OK, "Confirmed", &format!("This address gets alerts of {name} from now on."))
}

fn recipient_gone() -> Response {
    let text = "This address is no longer on the list, or another link was meant for it. Nothing is sent to it.";
    message_page(StatusCode::NOT_FOUND, "Nothing to confirm", text)
}

fn link_expired() -> Response {
    let text = "The link was good for 24 hours. Ask whoever put you on the list to send a new one.";
    message_page(StatusCode::GONE, "This link is too old", text)
}

/// The tenant's name and the recipient, if both still exist, the address is still the one that was asked, and the link is fresh.
/// A link that was used stays good for saying so.
async fn load_recipient(app: &App, link: &ConfirmLink) -> Result<Result<(String, Recipient), Response>, Response> {
    let settings = app.table.settings(&link.tenant);
    let recipient = app.table.recipient(&link.tenant, &link.recipient);
    let (settings, recipient) = futures::try_join!(settings, recipient).map_err(|error| unavailable(&error))?;
    let Some((settings, recipient)) = settings.zip(recipient) else { return Ok(Err(recipient_gone())) };
    if contact_fingerprint(app, &recipient, Channel::Email).as_ref() != Some(&link.identity) {
        return Ok(Err(recipient_gone()));
    }
    if clock::now().as_second() >= link.until_second && !is_confirmed(&recipient) {
        return Ok(Err(link_expired()));
    }
    Ok(Ok((settings.name, recipient)))
}

fn unavailable(error: &store::StoreError) -> Response {
    tracing::error!(%error, "the table did not answer");
    try_again_later()
}
