//! `/read`: where a message about an incident that is on no public page leads to. The link is signed for tenant and
//! incident and shows what that tenant's messages say, whoever opens it. The link of a text message names its reader as well, who
//! may stop hearing of the incident there.

use super::{LinkQuery, html_response, invalid_link, message_page, try_again_later};
use crate::App;
use crate::routes::incidents::{find_incident, suppressed_incidents};
use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::alert::Alert;
use domain::ids::{TenantId, short_recipient_id};
use domain::incident::{Incident, Update};
use domain::maintenance::SuppressedIncidents;
use domain::render::{SUPPRESSED_HEADING, format_time, incident_status_label, suppressed_incident_lines};
use domain::tenant::Settings;

/// One update on the page.
struct UpdateRow {
    at: String,
    status: &'static str,
    severity: &'static str,
    message: String,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{ title }}</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}
button{font:inherit;padding:.6rem 1.2rem;cursor:pointer}dt{font-weight:600}dd{margin:0 0 .5rem}li{margin:0 0 1rem}.message{white-space:pre-wrap;overflow-wrap:anywhere}</style></head>
<body><main><h1>{{ title }}</h1>
<dl>
<dt>Tenant</dt><dd>{{ tenant }}</dd>
<dt>Category</dt><dd>{{ category }}</dd>
<dt>Severity</dt><dd>{{ severity }}</dd>
<dt>Status</dt><dd>{{ status }}</dd>
<dt>Since</dt><dd>{{ since }}</dd>
{% if let Some(until) = until %}<dt>Resolved</dt><dd>{{ until }}</dd>{% endif %}
{% if !components.is_empty() %}<dt>Affected</dt><dd>{{ components }}</dd>{% endif %}
{% if !regions.is_empty() %}<dt>Regions</dt><dd>{{ regions }}</dd>{% endif %}
<dt>Incident</dt><dd><code>{{ id }}</code></dd>
</dl>
{% if !inside.is_empty() %}<h2>{{ SUPPRESSED_HEADING }}</h2>
<ul>
{% for line in inside %}<li>{{ line }}</li>
{% endfor %}</ul>
{% endif %}<h2>Updates</h2>
<ol reversed>
{% for entry in entries %}<li><strong>{{ entry.status }}</strong> · {{ entry.severity }} · {{ entry.at }}
{% if !entry.message.is_empty() %}<div class="message">{{ entry.message }}</div>{% endif %}</li>
{% endfor %}</ol>
{% if let Some(stop) = stop %}<form method="post" action="stop?t={{ stop }}">
<p>You will hear no more of this incident, not even that it is resolved. Other incidents still reach you.</p>
<button type="submit">Stop telling me about this incident</button></form>{% endif %}
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
    /// Incidents that this maintenance suppressed.
    inside: Vec<String>,
    entries: Vec<UpdateRow>,
    /// What proves to `/stop` whose link this is.
    stop: Option<String>,
}

impl IncidentPage {
    /// Newest update first, each cut to what the tenant's data-processing agreement lets out.
    fn new(
        settings: &Settings,
        incident: &Incident,
        updates: &[Update],
        explained: SuppressedIncidents,
        stop: Option<String>,
    ) -> Option<Self> {
        let alert = |update: &Update| {
            Alert::new(&settings.tenant, &settings.zone, settings.data_processing.content, incident, update)
        };
        let last = Alert { suppressed_incidents: explained, ..alert(updates.last()?) };
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
            inside: suppressed_incident_lines(&last),
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
    let (tenant, incident, reader) = match (query.verify(&app, "read"), query.verify(&app, "read")) {
        (Some([tenant, incident]), _) => (tenant, incident, None),
        (_, Some([tenant, incident, reader])) => (tenant, incident, Some(reader)),
        _ => return invalid_link(),
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
    let (settings, updates, explained) = match all {
        Ok(all) => all,
        Err(error) => {
            tracing::error!(%error, "the table did not answer");
            return try_again_later();
        }
    };
    let stop = match &reader {
        Some(reader) if incident.resolved_at.is_none() => stop_token(&app, &tenant, &incident, reader).await,
        _ => None,
    };
    match settings.and_then(|settings| IncidentPage::new(&settings, &incident, &updates, explained, stop)) {
        Some(read) => html_response(StatusCode::OK, &read),
        None => incident_gone(),
    }
}

/// The token with which `/stop` takes the reader's word. Where two recipients begin alike neither has one; the page is shown in
/// any case.
async fn stop_token(app: &App, tenant: &TenantId, incident: &Incident, reader: &str) -> Option<String> {
    let recipients = app.table.recipients(tenant).await.inspect_err(|error| {
        tracing::warn!(%error, "the recipients cannot be read; the page offers no stop");
    });
    let recipients = recipients.ok()?;
    let mut alike = recipients.iter().filter(|recipient| short_recipient_id(recipient.id.as_str()) == reader);
    let only = alike.next().filter(|_| alike.next().is_none())?;
    app.keyring.sign_link("stop", &[tenant.as_str(), only.id.as_str(), incident.id.as_str()]).ok()
}

fn incident_gone() -> Response {
    let text = "Incidents are kept for a limited time. This one is no longer there.";
    message_page(StatusCode::NOT_FOUND, "This incident is not kept any more", text)
}
