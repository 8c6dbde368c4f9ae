//! `/confirm`: GET shows a page and changes nothing, because mail scanners open links; only POST confirms. The link is good for
//! one address of one recipient, for 24 hours.

use super::{Link, come_back, not_ours, notice, page};
use crate::App;
use crate::routes::confirmation::identity;
use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::ids::{RecipientId, TenantId};
use domain::tenant::{Destination, Recipient};
use domain::vocabulary::Channel;
use runtime::{clock, ids};
use store::tenants::{Audit, Saved, Setting};

/// How often a recipient is read again when somebody else writes it at the same time.
const TRIES: usize = 5;

/// The link's meaning, as far as it can be known without reading anything.
struct Meant {
    tenant: TenantId,
    recipient: RecipientId,
    identity: String,
    until_second: i64,
}

fn meant(app: &App, link: &Link) -> Option<Meant> {
    let [tenant, recipient, identity, until] = link.parts(app, "confirm")?;
    Some(Meant {
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
pub(crate) async fn show(State(app): State<App>, Query(link): Query<Link>) -> Response {
    let Some(meant) = meant(&app, &link) else { return not_ours() };
    match found(&app, &meant).await {
        Ok(Ok((name, recipient))) if is_done(&recipient) => done(&name),
        Ok(Ok((name, _))) => page(StatusCode::OK, &Form { name: &name, tenant: meant.tenant.as_str() }),
        Ok(Err(why)) | Err(why) => why,
    }
}

/// `POST /confirm?t=`
pub(crate) async fn act(State(app): State<App>, Query(link): Query<Link>) -> Response {
    let Some(meant) = meant(&app, &link) else { return not_ours() };
    for _ in 0..TRIES {
        let (name, mut recipient) = match found(&app, &meant).await {
            Ok(Ok(found)) => found,
            Ok(Err(why)) | Err(why) => return why,
        };
        if is_done(&recipient) {
            return done(&name);
        }
        recipient.email_confirmed = true;
        recipient.suppressed = None;
        recipient.version += 1;
        let audit = Audit {
            at: clock::now(),
            who: "recipient".to_owned(),
            what: "recipient.email_confirmed".to_owned(),
            object: meant.recipient.to_string(),
        };
        let setting = Setting::Destination(Destination::Recipient(Box::new(recipient)));
        match app.table.save(&meant.tenant, &setting, &audit, &ids::suffix()).await {
            Ok(Saved::Done) => return done(&name),
            Ok(Saved::Outdated) => {}
            Ok(Saved::NoTenant | Saved::Taken { .. }) => return gone(),
            Err(error) => return unavailable(&error),
        }
    }
    come_back()
}

fn is_done(recipient: &Recipient) -> bool {
    recipient.email_confirmed && recipient.suppressed.is_none()
}

fn done(name: &str) -> Response {
    notice(StatusCode::OK, "Confirmed", &format!("This address gets alerts of {name} from now on."))
}

fn gone() -> Response {
    let text = "This address is no longer on the list, or another link was meant for it. Nothing is sent to it.";
    notice(StatusCode::NOT_FOUND, "Nothing to confirm", text)
}

fn over() -> Response {
    let text = "The link was good for 24 hours. Ask whoever put you on the list to send a new one.";
    notice(StatusCode::GONE, "This link is too old", text)
}

/// The tenant's name and the recipient, if both still exist, the address is still the one that was asked, and the link is fresh.
/// A link that was used stays good for saying so.
async fn found(app: &App, meant: &Meant) -> Result<Result<(String, Recipient), Response>, Response> {
    let settings = app.table.settings(&meant.tenant);
    let recipient = app.table.recipient(&meant.tenant, &meant.recipient);
    let (settings, recipient) = futures::try_join!(settings, recipient).map_err(|error| unavailable(&error))?;
    let Some((settings, recipient)) = settings.zip(recipient) else { return Ok(Err(gone())) };
    if identity(app, &recipient, Channel::Email).as_ref() != Some(&meant.identity) {
        return Ok(Err(gone()));
    }
    if clock::now().as_second() >= meant.until_second && !is_done(&recipient) {
        return Ok(Err(over()));
    }
    Ok(Ok((settings.name, recipient)))
}

fn unavailable(error: &store::StoreError) -> Response {
    tracing::error!(%error, "the table did not answer");
    come_back()
}
