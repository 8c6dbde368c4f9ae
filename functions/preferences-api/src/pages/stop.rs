//! `/stop`: stops messages about one incident to one recipient, or undoes that. The link comes with a message about that incident.

use super::{
    LinkFault, LinkQuery, QuestionForm, html_response, is_current_contact, message_page, storage_failed,
    try_again_later,
};
use crate::App;
use crate::access::LimitedBody;
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
    let [tenant, recipient, incident, contact] = query.verify_alive(app, LinkPurpose::Stop).await?;
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

/// What a request does with the messages about the incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Stop,
    Resume,
}

impl Action {
    /// Reads the body of a POST. Only the page's own button asks to resume; everything else stops.
    fn of_body(body: &[u8]) -> Self {
        let resumes = url::form_urlencoded::parse(body).any(|(name, value)| name == "action" && value == "resume");
        if resumes { Self::Resume } else { Self::Stop }
    }
}

/// Responds with what happens to messages about the incident by now, and the button that changes it.
fn stopped_page(stopped: bool) -> Response {
    let (heading, text, button, action) = if stopped {
        (
            "Notifications stopped",
            "You will get no more e-mails or text messages about this incident. You still get alerts about other incidents.",
            "Undo",
            "resume",
        )
    } else {
        (
            "Notifications are on again",
            "You get e-mails and text messages about this incident again, from its next update on.",
            "Stop notifications",
            "stop",
        )
    };
    html_response(StatusCode::OK, &QuestionForm { heading, text, button, action, after: None })
}

/// `GET /stop?t=`
pub(crate) async fn show(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    let link = match parse_link(&app, &query).await {
        Ok(link) => link,
        Err(fault) => return fault.into_response(),
    };
    let incident = match find_incident(&app, &link.tenant, link.incident.as_str()).await {
        Ok(incident) => incident,
        Err(problem) if problem.status == StatusCode::NOT_FOUND => return incident_gone(),
        Err(_) => return try_again_later(),
    };
    match app.table.has_stopped_incident(&link.incident, &link.tenant, link.recipient.as_str()).await {
        Ok(true) => stopped_page(true),
        Ok(false) => {
            let text = format!(
                "You will get no more e-mails or text messages about “{}”, not even when it is resolved. You still get alerts about other \
                 incidents, and other people still get alerts about this one.",
                incident.title
            );
            let heading = "Stop notifications about this incident?";
            let button = "Stop notifications";
            html_response(StatusCode::OK, &QuestionForm { heading, text: &text, button, action: "stop", after: None })
        }
        Err(error) => storage_failed(&error),
    }
}

/// `POST /stop?t=`
pub(crate) async fn submit(State(app): State<App>, Query(query): Query<LinkQuery>, body: LimitedBody) -> Response {
    let link = match parse_link(&app, &query).await {
        Ok(link) => link,
        Err(fault) => return fault.into_response(),
    };
    match find_incident(&app, &link.tenant, link.incident.as_str()).await {
        Ok(_) => {}
        Err(problem) if problem.status == StatusCode::NOT_FOUND => return incident_gone(),
        Err(_) => return try_again_later(),
    }
    let action = Action::of_body(&body.0);
    let what = match action {
        Action::Stop => "recipient.stopped_incident",
        Action::Resume => "recipient.resumed_incident",
    };
    let audit = AuditRecord {
        at: clock::now(),
        who: "recipient".to_owned(),
        what: what.to_owned(),
        object: format!("{}/{}", link.recipient, link.incident),
    };
    let changed = async {
        let (incident, tenant, recipient) = (&link.incident, &link.tenant, link.recipient.as_str());
        match action {
            Action::Stop => app.table.stop_incident_for_recipient(incident, tenant, recipient, audit.at).await?,
            Action::Resume => app.table.resume_incident_for_recipient(incident, tenant, recipient, audit.at).await?,
        }
        app.table.record_audit(&link.tenant, &audit, &ids::id_suffix()).await
    };
    match changed.await {
        Ok(()) => stopped_page(action == Action::Stop),
        Err(error) => storage_failed(&error),
    }
}

fn incident_gone() -> Response {
    let text = "Incidents are kept for a limited time, and this one was deleted. No more messages are sent about it.";
    message_page(StatusCode::NOT_FOUND, "This incident is no longer available", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pages_own_button_resumes() {
        for body in ["", "action=stop", "x", "resume"] {
            assert_eq!(Action::of_body(body.as_bytes()), Action::Stop, "{body}");
        }
        assert_eq!(Action::of_body(b"action=resume"), Action::Resume);
    }
}
