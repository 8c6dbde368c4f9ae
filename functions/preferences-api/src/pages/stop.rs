//! `/stop`: stops messages about one incident to one recipient. The link comes with a message about that incident.

use super::{LinkFault, LinkQuery, html_response, is_current_contact, message_page, storage_failed, try_again_later};
use crate::App;
use crate::routes::incidents::find_incident;
use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::ids::{IncidentId, RecipientId, TenantId};
use domain::link::LinkPurpose;
use runtime::{clock, ids};
use store::tenants::AuditRecord;

/// The content of a stop link.
struct StopLink {
    tenant: TenantId,
    recipient: RecipientId,
    incident: IncidentId,
}

/// Reads a link. It works for the recipient only who still has the address or number that it was sent to.
async fn parse_link(app: &App, query: &LinkQuery) -> Result<StopLink, LinkFault> {
    let [tenant, recipient, incident, contact] = query.verify_alive(app, LinkPurpose::Stop)?;
    let link = || {
        Some(StopLink {
            tenant: TenantId::parse(&tenant).ok()?,
            recipient: RecipientId::parse(&recipient)?,
            incident: IncidentId::parse(&incident)?,
        })
    };
    let link = link().ok_or(LinkFault::Invalid)?;
    let recipient =
        app.table.recipient(&link.tenant, &link.recipient).await.map_err(|error| LinkFault::of_table(&error))?;
    match recipient.filter(|recipient| is_current_contact(app, recipient, &contact)) {
        Some(_) => Ok(link),
        None => Err(LinkFault::OldContact),
    }
}

/// The page with the confirmation button.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Stop notifications about this incident</title>
<style>:root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}
button{font:inherit;padding:.6rem 1.2rem;cursor:pointer}</style></head>
<body><main><h1>Stop notifications about this incident?</h1>
<p>You will get no more e-mails or text messages about “{{ title }}”, not even when it is resolved. You still get alerts about other
incidents, and other people still get alerts about this one.</p>
<form method="post"><button type="submit">Stop notifications</button></form></main></body>
</html>
"#
)]
struct Form<'a> {
    title: &'a str,
}

/// `GET /stop?t=`
pub(crate) async fn show(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    let link = match parse_link(&app, &query).await {
        Ok(link) => link,
        Err(fault) => return fault.into_response(),
    };
    match find_incident(&app, &link.tenant, link.incident.as_str()).await {
        Ok(incident) => html_response(StatusCode::OK, &Form { title: &incident.title }),
        Err(problem) if problem.status == StatusCode::NOT_FOUND => incident_gone(),
        Err(_) => try_again_later(),
    }
}

/// `POST /stop?t=`
pub(crate) async fn submit(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    let link = match parse_link(&app, &query).await {
        Ok(link) => link,
        Err(fault) => return fault.into_response(),
    };
    match find_incident(&app, &link.tenant, link.incident.as_str()).await {
        Ok(_) => {}
        Err(problem) if problem.status == StatusCode::NOT_FOUND => return incident_gone(),
        Err(_) => return try_again_later(),
    }
    let audit = AuditRecord {
        at: clock::now(),
        who: "recipient".to_owned(),
        what: "recipient.stopped_incident".to_owned(),
        object: format!("{}/{}", link.recipient, link.incident),
    };
    let stopped = async {
        app.table.stop_incident_for_recipient(&link.incident, &link.tenant, link.recipient.as_str(), audit.at).await?;
        app.table.record_audit(&link.tenant, &audit, &ids::id_suffix()).await
    };
    match stopped.await {
        Ok(()) => {
            let text = "You will get no more e-mails or text messages about this incident. You still get alerts about other incidents.";
            message_page(StatusCode::OK, "Notifications stopped", text)
        }
        Err(error) => storage_failed(&error),
    }
}

fn incident_gone() -> Response {
    let text = "Incidents are kept for a limited time, and this one was deleted. No more messages are sent about it.";
    message_page(StatusCode::NOT_FOUND, "This incident is no longer available", text)
}
