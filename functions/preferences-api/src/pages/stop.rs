//! `/stop`: stops messages about one incident to one recipient. The link comes with a message about that incident.

use super::{
    LinkFault, LinkQuery, QuestionForm, html_response, is_current_contact, message_page, storage_failed,
    try_again_later,
};
use crate::App;
use crate::routes::incidents::find_incident;
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

/// `GET /stop?t=`
pub(crate) async fn show(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    let link = match parse_link(&app, &query).await {
        Ok(link) => link,
        Err(fault) => return fault.into_response(),
    };
    match find_incident(&app, &link.tenant, link.incident.as_str()).await {
        Ok(incident) => {
            let text = format!(
                "You will get no more e-mails or text messages about “{}”, not even when it is resolved. You still get alerts about other \
                 incidents, and other people still get alerts about this one.",
                incident.title
            );
            let heading = "Stop notifications about this incident?";
            let button = "Stop notifications";
            html_response(StatusCode::OK, &QuestionForm { heading, text: &text, button, action: "stop", after: None })
        }
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
