//! `/read`: the page of an incident that is not on the public status page. The link in a message is signed for tenant and incident, and
//! shows everybody who opens it what that tenant's messages say. The link in a text message also names its recipient, who can stop
//! messages about the incident here.

use super::{
    LinkFault, LinkQuery, html_response, invalid_link, is_current_contact, message_page, storage_failed,
    try_again_later,
};
use crate::App;
use crate::routes::incidents::{find_incident, suppressed_incidents};
use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::alert::Alert;
use domain::event::KeyDetail;
use domain::ids::{TenantId, short_recipient_id};
use domain::incident::{Incident, Update};
use domain::link::{LinkPurpose, expiry_day};
use domain::maintenance::SuppressedIncidents;
use domain::render::{
    DETAILS_HEADING, SUPPRESSED_HEADING, format_time, incident_status_label, suppressed_incident_lines,
};
use domain::tenant::Settings;
use runtime::clock;

/// One update on the page.
struct UpdateRow {
    at: String,
    status: &'static str,
    severity: &'static str,
    message: String,
}

/// The page of an incident. Times are in the tenant's zone.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{ title }}</title>
<style>:root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}
button{font:inherit;padding:.6rem 1.2rem;cursor:pointer}dt{font-weight:600}dd{margin:0 0 .5rem}li{margin:0 0 1rem}.message{white-space:pre-wrap;overflow-wrap:anywhere}</style></head>
<body><main><h1>{{ title }}</h1>
<dl>
<dt>Tenant</dt><dd>{{ tenant }}</dd>
<dt>Category</dt><dd>{{ category }}</dd>
<dt>Severity</dt><dd>{{ severity }}</dd>
<dt>Status</dt><dd>{{ status }}</dd>
<dt>Started</dt><dd>{{ since }}</dd>
{% if let Some(until) = until %}<dt>Resolved</dt><dd>{{ until }}</dd>{% endif %}
{% if !components.is_empty() %}<dt>Affected</dt><dd>{{ components }}</dd>{% endif %}
{% if !regions.is_empty() %}<dt>Regions</dt><dd>{{ regions }}</dd>{% endif %}
<dt>Incident</dt><dd><code>{{ id }}</code></dd>
</dl>
{% if !details.is_empty() %}<h2>{{ DETAILS_HEADING }}</h2>
<dl>
{% for detail in details %}<dt>{{ detail.name }}</dt><dd>{{ detail.value }}</dd>
{% endfor %}</dl>
{% endif %}{% if !suppressed.is_empty() %}<h2>{{ SUPPRESSED_HEADING }}</h2>
<ul>
{% for line in suppressed %}<li>{{ line }}</li>
{% endfor %}</ul>
{% endif %}<h2>Updates</h2>
<ol reversed>
{% for entry in entries %}<li><strong>{{ entry.status }}</strong> · {{ entry.severity }} · {{ entry.at }}
{% if !entry.message.is_empty() %}<div class="message">{{ entry.message }}</div>{% endif %}</li>
{% endfor %}</ol>
{% if let Some(stop) = stop %}<form method="post" action="stop?t={{ stop }}">
<p>You will get no more e-mails or text messages about this incident, not even when it is resolved. You still get alerts about other
incidents.</p>
<button type="submit">Stop notifications about this incident</button></form>{% endif %}
</main></body>
</html>
"#
)]
struct IncidentPage {
    title: String,
    tenant: String,
    category: &'static str,
    severity: &'static str,
    status: &'static str,
    since: String,
    until: Option<String>,
    components: String,
    regions: String,
    id: String,
    /// What tells the target from another.
    details: Vec<KeyDetail>,
    /// Incidents that this maintenance suppressed.
    suppressed: Vec<String>,
    entries: Vec<UpdateRow>,
    /// Signed token for `/stop` that names the reader; `None` offers no way to stop messages.
    stop: Option<String>,
}

impl IncidentPage {
    /// Builds the page with the newest update first, each limited to what the tenant's data-processing settings allow. `None` without
    /// updates.
    fn new(
        settings: &Settings,
        incident: &Incident,
        updates: &[Update],
        suppressed: SuppressedIncidents,
        stop: Option<String>,
    ) -> Option<Self> {
        let alert = |update: &Update| {
            Alert::new(&settings.tenant, &settings.zone, settings.data_processing.content, incident, update)
        };
        let last = Alert { suppressed_incidents: suppressed, ..alert(updates.last()?) };
        let entries = updates.iter().rev().map(alert).map(|alert| UpdateRow {
            at: format_time(alert.at, &settings.zone),
            status: incident_status_label(alert.status),
            severity: alert.severity.as_str(),
            message: alert.message,
        });
        Some(Self {
            category: last.category_title(),
            severity: last.severity.as_str(),
            status: incident_status_label(last.status),
            since: format_time(last.started_at, &settings.zone),
            until: last.resolved_at.map(|at| format_time(at, &settings.zone)),
            components: last.components.join(", "),
            regions: last.regions.join(", "),
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

/// `GET /read?t=`
pub(crate) async fn show(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    // The link in a text message names its reader, with the fingerprint of the number.
    let for_reader: Result<[String; 4], LinkFault> = query.verify_alive(&app, LinkPurpose::Read);
    let (tenant, incident, reader) = match (for_reader, query.verify_alive(&app, LinkPurpose::Read)) {
        (Ok([tenant, incident, reader, contact]), _) => (tenant, incident, Some(Reader { short_id: reader, contact })),
        (_, Ok([tenant, incident])) => (tenant, incident, None),
        // It has one of the two forms, and the other one only says that it does not fit.
        (Err(LinkFault::Expired), _) => return LinkFault::Expired.into_response(),
        (_, Err(fault)) => return fault.into_response(),
    };
    let Ok(tenant) = TenantId::parse(&tenant) else { return invalid_link() };
    let incident = match find_incident(&app, &tenant, &incident).await {
        Ok(incident) => incident,
        Err(problem) if problem.status == StatusCode::NOT_FOUND => return incident_gone(),
        Err(_) => return try_again_later(),
    };
    let all = futures::try_join!(
        app.table.settings(&tenant),
        app.table.updates(&incident.id, 1),
        suppressed_incidents(&app, &incident, &tenant)
    );
    let (settings, updates, suppressed) = match all {
        Ok(all) => all,
        Err(error) => {
            return storage_failed(&error);
        }
    };
    let stop = match &reader {
        Some(reader) if incident.resolved_at.is_none() => stop_token(&app, &tenant, &incident, reader).await,
        _ => None,
    };
    match settings.and_then(|settings| IncidentPage::new(&settings, &incident, &updates, suppressed, stop)) {
        Some(read) => html_response(StatusCode::OK, &read),
        None => incident_gone(),
    }
}

/// Who a link was sent to.
struct Reader {
    /// The beginning of the recipient's id.
    short_id: String,
    /// The fingerprint of the address or number.
    contact: String,
}

/// Signs the token with which `/stop` stops messages to the reader. `None` if the recipients cannot be read, if the reader has another address
/// or number by now, or if the short id in the link fits more than one recipient.
async fn stop_token(app: &App, tenant: &TenantId, incident: &Incident, reader: &Reader) -> Option<String> {
    let recipients = app.table.recipients(tenant).await.inspect_err(|error| {
        tracing::warn!(%error, "cannot read the recipients; the page is shown without the button that stops messages");
    });
    let recipients = recipients.ok()?;
    let mut candidates = recipients.iter().filter(|recipient| {
        short_recipient_id(recipient.id.as_str()) == reader.short_id
            && is_current_contact(app, recipient, &reader.contact)
    });
    let only = candidates.next().filter(|_| candidates.next().is_none())?;
    let until = expiry_day(LinkPurpose::Stop, clock::now()).to_string();
    let parts = [tenant.as_str(), only.id.as_str(), incident.id.as_str(), &reader.contact, &until];
    app.keyring.sign_link(LinkPurpose::Stop.as_str(), &parts).ok()
}

fn incident_gone() -> Response {
    let text = "Incidents are kept for a limited time, and this one was deleted.";
    message_page(StatusCode::NOT_FOUND, "This incident is no longer available", text)
}
