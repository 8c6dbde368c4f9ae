//! The support bundle: everything about one incident that a tenant sends to Support, as JSON or as a page to print.

use super::incidents::{find_incident, incident_view, newest_updates, timeline_entry};
use super::load_settings;
use crate::App;
use crate::access::{self, READ_SCOPES, json_response};
use crate::pages;
use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::{AttemptView, SupportBundle};
use contracts::problem::FieldError;
use domain::ids::TenantId;
use domain::incident::Incident;
use domain::render::format_time;
use domain::vocabulary::Channel;
use ledger::{Destinations, Ledger};
use runtime::clock;
use runtime::http::{Caller, Problem};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Query parameters of the request.
#[derive(Debug, Deserialize)]
pub(crate) struct SupportParams {
    format: Option<String>,
}

/// `GET /v1/tenants/{tenant}/incidents/{id}/support`; `?format=html` is a page to print.
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
    Query(params): Query<SupportParams>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    let html = match params.format.as_deref() {
        None | Some("" | "json") => false,
        Some("html") => true,
        Some(_) => return Err(Problem::invalid_fields(vec![FieldError::new("query:format", "must be json or html")])),
    };
    let settings = load_settings(&app, &tenant).await?;
    let incident = find_incident(&app, &tenant, &id).await?;
    let ledger = Ledger::read(&app.table, &incident, &tenant);
    let (timeline, ledger, destinations) =
        futures::try_join!(newest_updates(&app, &incident), ledger, Destinations::read(&app.table, &tenant))
            .map_err(access::storage_problem)?;
    let mut decisions = ledger.entries(&destinations);
    for attempt in decisions.iter_mut().flat_map(|decision| &mut decision.attempts) {
        attempt.response = redact(&attempt.response);
    }
    let channels: BTreeSet<Channel> = decisions.iter().map(|decision| decision.channel).collect();
    let support_url = contact_url(app.support_url.as_deref(), &tenant, &incident, channels.iter().copied());
    let bundle = SupportBundle {
        generated_at: clock::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        tenant_id: tenant.to_string(),
        tenant_name: settings.name.clone(),
        plan: settings.plan.clone(),
        zone: settings.zone.clone(),
        settings_version: settings.version,
        planned_with: ledger.plans.iter().map(|plan| plan.settings_version).max(),
        correlation_ids: timeline.iter().map(|update| update.correlation_id.clone()).collect(),
        timeline: timeline.iter().map(|update| timeline_entry(&settings, &incident, update)).collect(),
        incident: incident_view(&incident),
        channels: channels.into_iter().collect(),
        support_url,
        decisions,
    };
    if html {
        return Ok(pages::html_response(StatusCode::OK, &SupportPage { bundle: &bundle, zone: &settings.zone }));
    }
    Ok(json_response(StatusCode::OK, &bundle))
}

/// Returns the address of Support's page with what Support asks for first: tenant, incident, channels, and from when to when. `None` if the
/// deployment has no such page. Ids, channels and times need no escaping.
pub(super) fn contact_url(
    page: Option<&str>,
    tenant: &TenantId,
    incident: &Incident,
    channels: impl Iterator<Item = Channel>,
) -> Option<String> {
    let page = page?;
    let separator = if page.contains('?') { '&' } else { '?' };
    let channels: BTreeSet<&str> = channels.map(Channel::as_str).collect();
    let channels = channels.into_iter().collect::<Vec<_>>().join(",");
    let (id, from) = (&incident.id, incident.started_at);
    let until = incident.resolved_at.unwrap_or(incident.last_seen);
    Some(format!("{page}{separator}tenant={tenant}&incident={id}&channels={channels}&from={from:.0}&until={until:.0}"))
}

/// Redacts everything in a receiver's response that could be an address, a number, a URL or a secret: the response may repeat what it
/// received, and support bundles get forwarded.
fn redact(response: &str) -> String {
    let private = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        word.contains("://")
            || word.contains('@')
            || word.contains("whsec_")
            || (bare.len() >= 20
                && bare.bytes().any(|b| b.is_ascii_digit())
                && bare.bytes().any(|b| b.is_ascii_alphabetic()))
            || (bare.len() >= 8 && bare.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
    };
    let mut out = String::with_capacity(response.len());
    let mut rest = response;
    while !rest.is_empty() {
        let end =
            rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>' | ',' | '\'')).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        out.push_str(if private(word) { "[redacted]" } else { word });
        let step = tail.chars().next().map_or(0, char::len_utf8);
        let (gap, tail) = tail.split_at(step);
        out.push_str(gap);
        rest = tail;
    }
    out
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Support bundle: {{ bundle.incident.incident_id }}</title>
<style>:root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dt{font-weight:600}dd{margin:0}
table{border-collapse:collapse;width:100%;font-size:.9rem}th,td{border:1px solid #999;padding:.3rem .5rem;text-align:left;vertical-align:top}
caption{text-align:left;font-weight:600;padding:.5rem 0}.message,.response{white-space:pre-wrap;overflow-wrap:anywhere}
@media print{body{margin:0;max-width:none}tr{break-inside:avoid}}</style></head>
<body><main><h1>Support bundle</h1>
{% if let Some(url) = bundle.support_url %}<p><a href="{{ url }}">Contact Support</a> and attach this page.</p>{% endif %}
<dl>
<dt>Tenant</dt><dd>{{ bundle.tenant_name }} (<code>{{ bundle.tenant_id }}</code>), plan {{ bundle.plan }}</dd>
<dt>Incident</dt><dd><code>{{ bundle.incident.incident_id }}</code>: {{ bundle.incident.title }}</dd>
<dt>Type and rule</dt><dd>{{ bundle.incident.event_type }}, {{ bundle.incident.rule }}</dd>
<dt>Severity, status</dt><dd>{{ bundle.incident.severity.as_str() }}, {{ bundle.incident.status.as_str() }}</dd>
<dt>Started</dt><dd>{{ self.at(bundle.incident.started_at) }}</dd>
<dt>Channels</dt><dd>{% for channel in bundle.channels %}{{ channel.title() }}{% if !loop.last %}, {% endif %}{% endfor %}</dd>
<dt>Correlation IDs</dt><dd>{% for id in bundle.correlation_ids %}<code>{{ id }}</code> {% endfor %}</dd>
<dt>Settings</dt><dd>version {{ bundle.settings_version }}{% if let Some(version) = bundle.planned_with %} (deliveries were planned with version {{ version }}){% endif %}</dd>
<dt>Generated</dt><dd>{{ self.at(bundle.generated_at) }}, Tocsin {{ bundle.version }}</dd>
</dl>
<h2>Timeline</h2>
<ol>{% for update in bundle.timeline %}<li value="{{ update.update }}"><strong>{{ update.status.as_str() }}</strong> · {{ update.severity.as_str() }} · {{ self.at(update.at) }}<div class="message">{{ update.message }}</div></li>{% endfor %}</ol>
<table><caption>Who was notified, who was skipped, and why</caption>
<thead><tr><th scope="col">Update</th><th scope="col">Destination</th><th scope="col">Channel</th><th scope="col">Outcome</th><th scope="col">Reason</th><th scope="col">Setting</th><th scope="col">Time</th></tr></thead>
<tbody>{% for row in bundle.decisions %}<tr><td>{{ row.update }}</td>
<td>{% if let Some(name) = row.name %}{{ name }}<br>{% endif %}<code>{% if let Some(id) = row.recipient_id %}{{ id }}{% endif %}{% if let Some(id) = row.integration_id %}{{ id }}{% endif %}</code></td>
<td>{{ row.channel.title() }}</td><td>{{ row.outcome }}</td>
<td>{% if let Some(reason) = row.reason %}{{ reason.sentence }} <em>{{ reason.remedy }}</em>{% endif %}
{% for attempt in row.attempts %}<div>Attempt {{ attempt.attempt }}, {{ self.at(attempt.at) }}: {{ self.attempt_text(attempt) }}<div class="response">{{ attempt.response }}</div></div>{% endfor %}</td>
<td>{% if let Some(reason) = row.reason %}<code>{{ reason.setting }}</code>{% endif %}</td>
<td>{% if let Some(at) = row.at %}{{ self.at(**at) }}{% endif %}</td></tr>{% endfor %}</tbody></table>
</main></body>
</html>
"#
)]
struct SupportPage<'a> {
    bundle: &'a SupportBundle,
    zone: &'a str,
}

impl SupportPage<'_> {
    fn at(&self, at: impl std::borrow::Borrow<jiff::Timestamp>) -> String {
        format_time(*at.borrow(), self.zone)
    }

    fn attempt_text(&self, attempt: &AttemptView) -> String {
        let status = attempt.status.map(|status| format!(" (HTTP {status})")).unwrap_or_default();
        format!("{}{status} {}", attempt.sentence, attempt.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_to_support_names_tenant_incident_channels_and_times() {
        let json = serde_json::json!({"id": "inc_a", "scope": "platform", "key": "k", "integration_id": "int_s", "source": "s",
            "event_type": "t", "dedup_key": "d", "category": "infrastructure", "kind": "incident", "rule": "r",
            "severity": "error", "status": "identified", "title": "t", "components": [], "regions": [], "public": false,
            "started_at": "2026-11-23T10:00:00.5Z", "last_seen": "2026-11-23T11:00:00Z", "updates": 1, "version": 1});
        let incident: Incident = serde_json::from_value(json).unwrap();
        let url = |page| {
            let channels = [Channel::Sms, Channel::Email, Channel::Sms].into_iter();
            contact_url(page, &TenantId::parse("acme").unwrap(), &incident, channels)
        };
        let query =
            "tenant=acme&incident=inc_a&channels=email,sms&from=2026-11-23T10:00:00Z&until=2026-11-23T11:00:00Z";
        assert_eq!(url(Some("https://help.example/new")), Some(format!("https://help.example/new?{query}")));
        assert_eq!(url(Some("https://help.example/?form=7")), Some(format!("https://help.example/?form=7&{query}")));
        assert_eq!(url(None), None);
    }

    #[test]
    fn addresses_numbers_urls_and_secrets_are_redacted() {
        let redacted = redact(
            "no route to https://x.example/hook?k=1, ask ops@example.com or +4915112345678 \"whsec_abc\" code 42",
        );
        assert_eq!(redacted, "no route to [redacted], ask [redacted] or [redacted] \"[redacted]\" code 42");
        assert_eq!(redact("token=abcDEF0123456789abcDEF0 gone"), "[redacted] gone");
        assert_eq!(redact("Not Found\n"), "Not Found\n");
    }
}
