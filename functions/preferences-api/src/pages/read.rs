//! `/read`: the page of an incident that is not on the public status page. The link in a message is signed for tenant and incident, and
//! shows everybody who opens it what that tenant's messages say. The link in a text message also names its recipient, who can stop
//! messages about the incident here.

use super::{
    LinkQuery, contacts, html_response, invalid_link, is_current_contact, is_day_over, message_page, storage_failed,
    try_again_later, verify_short, without_day,
};
use crate::App;
use crate::routes::incidents::{find_incident, suppressed_incidents};
use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::alert::Alert;
use domain::event::KeyDetail;
use domain::ids::{TenantId, short_recipient_id};
use domain::incident::{Incident, Update};
use domain::link::{LinkPurpose, expiry_day};
use domain::maintenance::SuppressedIncidents;
use domain::render::{
    ADVICE_HEADING, DETAILS_HEADING, SUPPRESSED_HEADING, facts, format_time, heading, headline, severity_label, state,
    suppressed_incident_lines,
};
use domain::tenant::{Recipient, Settings};
use domain::vocabulary::{Kind, Severity, Status};
use runtime::clock;

/// One update on the page.
struct UpdateRow {
    tone: &'static str,
    state: String,
    severity: &'static str,
    at: String,
    message: String,
}

/// The page of an incident: what it says first, then the facts. Times are in the reader's zone.
#[derive(Template)]
#[template(path = "incident.html")]
struct IncidentPage {
    tone: &'static str,
    heading: String,
    title: String,
    tenant: String,
    /// The newest text, which is in the timeline as well.
    message: String,
    advice: Option<String>,
    /// The source's newest links, such as a runbook, as address and label.
    links: Vec<(String, String)>,
    facts: Vec<(&'static str, String)>,
    id: String,
    /// What tells the target from another.
    details: Vec<KeyDetail>,
    /// Incidents that this maintenance suppressed.
    suppressed: Vec<String>,
    entries: Vec<UpdateRow>,
    /// Relative address of `/stop` that names the reader; `None` offers no way to stop messages.
    stop: Option<String>,
}

/// What the page is made of.
struct PageContent<'a> {
    settings: &'a Settings,
    /// The IANA time zone of the reader.
    zone: &'a str,
    incident: &'a Incident,
    updates: &'a [Update],
    suppressed: SuppressedIncidents,
    stop: Option<String>,
}

impl IncidentPage {
    /// Builds the page with the newest update first, each limited to what the tenant's data-processing settings allow. `None` without
    /// updates.
    fn new(content: PageContent<'_>) -> Option<Self> {
        let PageContent { settings, zone, incident, updates, suppressed, stop } = content;
        let alert = |update: &Update| Alert {
            tenant_name: settings.name.clone(),
            ..Alert::new(&settings.tenant, zone, settings.data_processing.content, incident, update)
        };
        let alerts: Vec<Alert> = updates.iter().rev().map(alert).collect();
        let last = Alert { suppressed_incidents: suppressed, ..alerts.first()?.clone() };
        let newest = |has: fn(&Alert) -> bool| alerts.iter().find(|alert| has(alert));
        let links = newest(|alert| !alert.links.is_empty()).map(|alert| alert.links.as_slice()).unwrap_or_default();
        let entries = alerts.iter().map(|alert| UpdateRow {
            tone: tone(alert),
            state: state(alert).unwrap_or_else(|| headline(alert)),
            severity: severity_label(alert.severity),
            at: format_time(alert.at, zone),
            message: alert.message.trim().to_owned(),
        });
        Some(Self {
            tone: tone(&last),
            heading: heading(&last),
            message: newest(|alert| !alert.message.trim().is_empty())
                .map_or_else(String::new, |alert| alert.message.trim().to_owned()),
            advice: last.advice_shown().map(str::to_owned),
            links: links
                .iter()
                .filter(|link| link.href.starts_with("https://"))
                .map(|link| (link.href.clone(), link.label()))
                .collect(),
            facts: facts(&last),
            details: last.key_details.clone(),
            suppressed: suppressed_incident_lines(&last),
            title: last.title,
            tenant: settings.name.clone(),
            id: incident.id.to_string(),
            entries: entries.collect(),
            stop,
        })
    }
}

/// Returns the color class of an update, as on the status page.
fn tone(alert: &Alert) -> &'static str {
    match (alert.status, alert.kind, alert.severity) {
        (Status::Resolved, ..) => "good",
        (_, Kind::Maintenance, _) | (.., Severity::Info) => "note",
        (.., Severity::Warning | Severity::Error) => "warn",
        (.., Severity::Critical) => "bad",
    }
}

/// `GET /read?t=`
pub(crate) async fn show(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    // The link in a text message names its reader, with the fingerprint of the number.
    let parts = match query.verify(&app, LinkPurpose::Read, is_day_over).await {
        Ok(parts) => parts,
        Err(fault) => return fault.into_response(),
    };
    let read = if parts.len() == 5 {
        without_day(parts)
            .map(|[tenant, incident, short_id, contact]| (tenant, incident, Some(Reader::Named { short_id, contact })))
    } else {
        without_day(parts).map(|[tenant, incident]| (tenant, incident, None))
    };
    let (tenant, incident, reader) = match read {
        Ok(read) => read,
        Err(fault) => return fault.into_response(),
    };
    let Ok(tenant) = TenantId::parse(&tenant) else { return invalid_link() };
    Box::pin(show_incident(&app, &tenant, &incident, reader)).await
}

/// `GET /r/{token}`: the link in a text message.
pub(crate) async fn show_short(State(app): State<App>, Path(token): Path<String>) -> Response {
    let read = match verify_short(&app, LinkPurpose::Read, &token).await {
        Ok(read) => read,
        Err(fault) => return fault.into_response(),
    };
    let tenant = match read.tenant {
        Some(tenant) => tenant,
        // A tenant's own incident says whose it is.
        None => match app.table.incident(&read.incident).await {
            Ok(Some(incident)) => match incident.scope.tenant() {
                Some(tenant) => tenant.clone(),
                None => return invalid_link(),
            },
            Ok(None) => return incident_gone(),
            Err(error) => return storage_failed(&error),
        },
    };
    Box::pin(show_incident(&app, &tenant, read.incident.as_str(), Some(Reader::Short(read.reader)))).await
}

async fn show_incident(app: &App, tenant: &TenantId, incident: &str, reader: Option<Reader>) -> Response {
    let incident = match find_incident(app, tenant, incident).await {
        Ok(incident) => incident,
        Err(problem) if problem.status == StatusCode::NOT_FOUND => return incident_gone(),
        Err(_) => return try_again_later(),
    };
    let all = futures::try_join!(
        app.table.settings(tenant),
        app.table.updates(&incident.id, 1),
        suppressed_incidents(app, &incident, tenant)
    );
    let (settings, updates, suppressed) = match all {
        Ok(all) => all,
        Err(error) => {
            return storage_failed(&error);
        }
    };
    let Some(settings) = settings else { return incident_gone() };
    // The link in a text message is one level below the others.
    let up = if matches!(reader, Some(Reader::Short(_))) { "../" } else { "" };
    let reader = match &reader {
        Some(reader) => find_reader(app, tenant, reader).await,
        None => None,
    };
    let stop = reader.as_ref().filter(|_| incident.resolved_at.is_none());
    let keyring = match stop {
        Some(_) => app.keyring.get(clock::now()).await.ok(),
        None => None,
    };
    let stop = stop.zip(keyring).and_then(|((recipient, contact), keyring)| {
        let until = expiry_day(LinkPurpose::Stop, clock::now()).to_string();
        let parts = [tenant.as_str(), recipient.id.as_str(), incident.id.as_str(), contact, &until];
        keyring.sign_link(LinkPurpose::Stop.as_str(), &parts).ok()
    });
    let zone = reader.as_ref().and_then(|(recipient, _)| recipient.zone.as_deref()).unwrap_or(&settings.zone);
    let content = PageContent {
        settings: &settings,
        zone,
        incident: &incident,
        updates: &updates,
        suppressed,
        stop: stop.map(|token| format!("{up}stop?t={token}")),
    };
    match IncidentPage::new(content) {
        Some(read) => html_response(StatusCode::OK, &read),
        None => incident_gone(),
    }
}

/// Who a link was sent to.
enum Reader {
    /// In a link of an e-mail.
    Named {
        /// The beginning of the recipient's id.
        short_id: String,
        /// The fingerprint of the address or number.
        contact: String,
    },
    /// In a link of a text message: the mark of recipient and contact.
    Short(u32),
}

impl Reader {
    /// Returns the fingerprint of the recipient's contact to which the link was sent; `None` if it was sent to somebody else.
    fn contact_of(&self, app: &App, recipient: &Recipient) -> Option<String> {
        match self {
            Self::Named { short_id, contact } => {
                let is_reader = short_recipient_id(recipient.id.as_str()) == short_id.as_str()
                    && is_current_contact(app, recipient, contact);
                is_reader.then(|| contact.clone())
            }
            Self::Short(mark) => {
                let is_marked =
                    |contact: &String| app.fingerprints.reader_mark(recipient.id.as_str(), contact) == Ok(*mark);
                let contact = contacts(recipient).find(is_marked)?;
                app.fingerprints.short_contact(&contact).ok()
            }
        }
    }
}

/// Finds the recipient to whom a link was sent, with the fingerprint of the contact. `None` if the recipients cannot be read, if the reader has
/// another address or number by now, or if the link fits more than one recipient.
async fn find_reader(app: &App, tenant: &TenantId, reader: &Reader) -> Option<(Recipient, String)> {
    let recipients = app.table.recipients(tenant).await.inspect_err(|error| {
        tracing::warn!(%error, "cannot read the recipients; the page is shown without the button that stops messages");
    });
    let mut candidates =
        recipients.ok()?.into_iter().filter_map(|one| reader.contact_of(app, &one).map(|contact| (one, contact)));
    candidates.next().filter(|_| candidates.next().is_none())
}

fn incident_gone() -> Response {
    let text = "Incidents are kept for a limited time, and this one was deleted.";
    message_page(StatusCode::NOT_FOUND, "This incident is no longer available", text)
}
