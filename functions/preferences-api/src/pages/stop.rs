//! `/stop`: a recipient hears no more of one incident. GET shows a page and changes nothing; only POST acts.

use super::{Link, come_back, not_ours, notice, page};
use crate::App;
use crate::routes::incidents::find;
use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::ids::{IncidentId, RecipientId, TenantId};
use runtime::{clock, ids};
use store::tenants::Audit;

/// The link's meaning, as far as it can be known without reading anything.
struct Meant {
    tenant: TenantId,
    recipient: RecipientId,
    incident: IncidentId,
}

fn meant(app: &App, link: &Link) -> Option<Meant> {
    let [tenant, recipient, incident] = link.parts(app, "stop")?;
    Some(Meant {
        tenant: TenantId::parse(&tenant).ok()?,
        recipient: RecipientId::parse(&recipient)?,
        incident: IncidentId::parse(&incident)?,
    })
}

/// One form, and what it does.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Stop this incident</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}
button{font:inherit;padding:.6rem 1.2rem;cursor:pointer}</style></head>
<body><main><h1>Hear no more of this incident?</h1>
<p>You will get no more e-mails and text messages about “{{ title }}”, not even that it is resolved. Other incidents still reach you, and
other people still hear of this one.</p>
<form method="post"><button type="submit">Stop telling me about it</button></form></main></body>
</html>
"#
)]
struct Form<'a> {
    title: &'a str,
}

/// `GET /stop?t=`
pub(crate) async fn show(State(app): State<App>, Query(link): Query<Link>) -> Response {
    let Some(meant) = meant(&app, &link) else { return not_ours() };
    match find(&app, &meant.tenant, meant.incident.as_str()).await {
        Ok(incident) => page(StatusCode::OK, &Form { title: &incident.title }),
        Err(problem) if problem.status == StatusCode::NOT_FOUND => over(),
        Err(_) => come_back(),
    }
}

/// `POST /stop?t=`
pub(crate) async fn act(State(app): State<App>, Query(link): Query<Link>) -> Response {
    let Some(meant) = meant(&app, &link) else { return not_ours() };
    match find(&app, &meant.tenant, meant.incident.as_str()).await {
        Ok(_) => {}
        Err(problem) if problem.status == StatusCode::NOT_FOUND => return over(),
        Err(_) => return come_back(),
    }
    let audit = Audit {
        at: clock::now(),
        who: "recipient".to_owned(),
        what: "recipient.stopped_incident".to_owned(),
        object: format!("{}/{}", meant.recipient, meant.incident),
    };
    let stopped = async {
        app.table.stop_incident(&meant.incident, &meant.tenant, meant.recipient.as_str(), audit.at).await?;
        app.table.note(&meant.tenant, &audit, &ids::suffix()).await
    };
    match stopped.await {
        Ok(()) => {
            let text = "You hear no more of this incident. Other incidents still reach you.";
            notice(StatusCode::OK, "Stopped", text)
        }
        Err(error) => {
            tracing::error!(%error, "the table did not answer");
            come_back()
        }
    }
}

fn over() -> Response {
    let text = "Incidents are kept for a limited time. This one is no longer there, and nothing more is sent about it.";
    notice(StatusCode::NOT_FOUND, "This incident is not kept any more", text)
}
