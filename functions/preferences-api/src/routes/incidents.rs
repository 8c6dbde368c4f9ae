//! A tenant's incidents with their timelines, decisions and deliveries.

use super::{load_settings, support};
use crate::App;
use crate::access::{self, READ_SCOPES, json_response};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::{
    DecisionView, DeliveryOutcomeView, DeliveryView, ExcludedEventView, ExplainEntry, IncidentDetailAnswer,
    IncidentList, IncidentView, TimelineEntry,
};
use contracts::problem::FieldError;
use contracts::webhook::CoveredIncident;
use domain::alert::Alert;
use domain::delivery::{DeliveryState, destination_of_row};
use domain::event_record::EventRecord;
use domain::event_record::IncidentListEntry;
use domain::ids::{IncidentId, Scope, TenantId};
use domain::incident::{Incident, Update};
use domain::maintenance::SuppressedIncidents;
use domain::plan::{Decision, DecisionOutcome};
use domain::status::PublishedIncident;
use domain::tenant::{ContentLevel, Settings};
use domain::vocabulary::Category;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use ledger::{DestinationNames, Destinations, Ledger, attempt_view, reason_view, reason_view_about};
use runtime::clock;
use runtime::http::{Caller, Problem};
use serde::Deserialize;
use store::StoreError;
use store::deliveries::ListedDelivery;
use store::incidents::IncidentListCursor;

/// Days that a list or report covers, unless the query has a `from`.
const DEFAULT_DAYS: i64 = 7;
/// Entries on a page, unless the query has a `limit`.
const PAGE_SIZE: usize = 50;
/// Largest `limit` that a request may name.
const PAGE_SIZE_MAX: usize = 200;
/// Incidents to read at the same time.
const INCIDENTS_AT_ONCE: usize = 16;
/// Most pages of the table that one request reads to find incidents among excluded events.
const TABLE_PAGES_MAX: usize = 10;
/// The newest updates of an incident that its details and its support bundle have.
pub(super) const UPDATES_SHOWN_MAX: u32 = 500;

/// The query parameters of `GET /v1/tenants/{tenant}/incidents` as text, so that each wrong one can be reported.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct IncidentParams {
    from: Option<String>,
    to: Option<String>,
    include: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// Query parameters after validation.
#[derive(Debug, PartialEq)]
struct IncidentFilter {
    from: Timestamp,
    to: Timestamp,
    excluded: bool,
    limit: usize,
    cursor: Option<IncidentListCursor>,
}

impl IncidentParams {
    fn to_filter(&self, now: Timestamp) -> Result<IncidentFilter, Vec<FieldError>> {
        let mut errors = Vec::new();
        let (from, to) = parse_period(self.from.as_deref(), self.to.as_deref(), now, &mut errors);
        let excluded = match self.include.as_deref() {
            None | Some("") => false,
            Some("excluded") => true,
            Some(_) => {
                errors.push(FieldError::new("query:include", "must be `excluded`, or be left out"));
                false
            }
        };
        let limit = access::parse_limit(self.limit.as_deref(), PAGE_SIZE, PAGE_SIZE_MAX, &mut errors);
        let cursor = access::parse_incident_cursor(self.cursor.as_deref(), &mut errors);
        if errors.is_empty() { Ok(IncidentFilter { from, to, excluded, limit, cursor }) } else { Err(errors) }
    }
}

/// Parses the query parameters `from` and `to`; by default the last week. Notes an error for each that is not valid.
pub(super) fn parse_period(
    from: Option<&str>,
    to: Option<&str>,
    now: Timestamp,
    errors: &mut Vec<FieldError>,
) -> (Timestamp, Timestamp) {
    let mut time = |name: &str, text: Option<&str>| {
        let time = text?.parse::<Timestamp>().ok();
        if time.is_none() {
            let detail = "must be an RFC 3339 time, such as 2026-11-23T00:00:00Z";
            errors.push(FieldError::new(format!("query:{name}"), detail));
        }
        time
    };
    let to = time("to", to).unwrap_or(now);
    let week = SignedDuration::from_hours(24 * DEFAULT_DAYS);
    let from = time("from", from).unwrap_or_else(|| to.saturating_sub(week).unwrap_or(Timestamp::UNIX_EPOCH));
    if from > to {
        errors.push(FieldError::new("query:from", "must not be later than `to`"));
    }
    (from, to)
}

/// `GET /v1/tenants/{tenant}/incidents`
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    Query(params): Query<IncidentParams>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    let filter = params.to_filter(clock::now()).map_err(Problem::invalid_fields)?;
    load_settings(&app, &tenant).await?;
    let mut cursor = filter.cursor.clone();
    let mut entries: Vec<IncidentListEntry> = Vec::new();
    for _ in 0..TABLE_PAGES_MAX {
        let left = filter.limit.saturating_sub(entries.len());
        let page = app
            .table
            .incident_list(&tenant, filter.from, filter.to, cursor.as_ref(), left)
            .await
            .map_err(access::storage_problem)?;
        entries.extend(page.entries.into_iter().filter(|entry| filter.excluded || entry.incident_id.is_some()));
        cursor = page.next;
        if cursor.is_none() || entries.len() >= filter.limit {
            break;
        }
    }
    let incidents = load_incidents(&app, &entries).await?;
    let excluded: Vec<ExcludedEventView> =
        entries.iter().filter_map(|entry| entry.event.as_ref()).map(excluded_view).collect();
    let list = IncidentList {
        from: filter.from,
        to: filter.to,
        incidents: incidents
            .iter()
            .flatten()
            .filter(|incident| is_visible(&incident.scope, &tenant))
            .map(incident_view)
            .collect(),
        excluded: filter.excluded.then_some(excluded),
        next: cursor.map(|cursor| cursor.to_text()),
    };
    Ok(json_response(StatusCode::OK, &list))
}

/// Reads the incidents of a page, a few at a time: two hundred reads at once would delay each other until they time out.
async fn load_incidents(app: &App, entries: &[IncidentListEntry]) -> Result<Vec<Option<Incident>>, Problem> {
    let ids: Vec<_> = entries.iter().filter_map(|entry| entry.incident_id.clone()).collect();
    let incidents = ids.into_iter().map(|id| async move { app.table.incident(&id).await });
    stream::iter(incidents).buffered(INCIDENTS_AT_ONCE).try_collect().await.map_err(access::storage_problem)
}

/// Reads the incidents that a tenant may see and that were opened between two times, newest first, without test alerts. Also returns
/// whether the list is complete.
pub(super) async fn incidents_between(
    app: &App,
    tenant: &TenantId,
    from: Timestamp,
    to: Timestamp,
) -> Result<(Vec<Incident>, bool), Problem> {
    let (mut cursor, mut found) = (None, Vec::new());
    for _ in 0..TABLE_PAGES_MAX {
        let (incidents, next) = read_page(app, tenant, (from, to), cursor.as_ref(), PAGE_SIZE_MAX).await?;
        found.extend(incidents);
        cursor = next;
        if cursor.is_none() {
            return Ok((found, true));
        }
    }
    Ok((found, false))
}

/// Reads a page of the incidents that a tenant may see and that were opened between two times, newest first, without test alerts.
pub(super) async fn read_page(
    app: &App,
    tenant: &TenantId,
    (from, to): (Timestamp, Timestamp),
    cursor: Option<&IncidentListCursor>,
    limit: usize,
) -> Result<(Vec<Incident>, Option<IncidentListCursor>), Problem> {
    let page = app.table.incident_list(tenant, from, to, cursor, limit).await.map_err(access::storage_problem)?;
    let incidents = load_incidents(app, &page.entries).await?.into_iter().flatten();
    let visible = incidents.filter(|incident| is_visible(&incident.scope, tenant) && !incident.test);
    Ok((visible.collect(), page.next))
}

/// Returns an incident in the form of a status page, with the details that only its tenant may read.
pub(super) fn published_incident(incident: &Incident) -> PublishedIncident {
    PublishedIncident {
        id: incident.id.clone(),
        title: incident.title.clone(),
        kind: incident.kind,
        status: incident.status,
        severity: incident.severity,
        components: incident.components.clone(),
        regions: incident.regions.clone(),
        started_at: incident.started_at,
        updated_at: incident.last_seen,
        resolved_at: incident.resolved_at,
        maintenance: incident.maintenance,
        covered_by: incident.covered.as_ref().map(|cover| cover.by.clone()),
    }
}

/// `GET /v1/tenants/{tenant}/incidents/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    let settings = load_settings(&app, &tenant).await?;
    let incident = find_incident(&app, &tenant, &id).await?;
    let ledger = Ledger::read(&app.table, &incident, &tenant);
    let (timeline, ledger, destinations) =
        futures::try_join!(newest_updates(&app, &incident), ledger, Destinations::read(&app.table, &tenant))
            .map_err(access::storage_problem)?;
    let suppressed = suppressed_incidents(&app, &incident, &tenant).await.map_err(access::storage_problem)?;
    let names = destinations.names();
    let entries = ledger.planned_entries(&destinations);
    let mut decisions: Vec<&Decision> = ledger.plans.iter().flat_map(|plan| &plan.decisions).collect();
    decisions.sort_by_key(|decision| decision.update);
    let channels = decisions.iter().map(|decision| decision.channel);
    let body = IncidentDetailAnswer {
        support_url: support::contact_url(app.support_url.as_deref(), &tenant, &incident, channels),
        timeline: timeline.iter().map(|update| timeline_entry(&settings, &incident, update)).collect(),
        decisions: decisions.into_iter().map(|decision| decision_view(decision, incident.category, &names)).collect(),
        deliveries: ledger
            .deliveries
            .iter()
            .map(|listed| delivery_view(listed, incident.category, &names, &entries))
            .collect(),
        covered_incidents: suppressed.incidents.iter().map(CoveredIncident::of).collect(),
        covered_more: suppressed.omitted_count,
        incident: incident_view(&incident),
    };
    Ok(json_response(StatusCode::OK, &body))
}

/// Reads the newest updates of an incident, oldest first.
pub(super) async fn newest_updates(app: &App, incident: &Incident) -> Result<Vec<Update>, StoreError> {
    app.table.updates(&incident.id, incident.first_of_newest(UPDATES_SHOWN_MAX)).await
}

/// Reads the incidents that a maintenance suppressed, as far as they concern the tenant. Empty for other incidents.
pub(crate) async fn suppressed_incidents(
    app: &App,
    incident: &Incident,
    tenant: &TenantId,
) -> Result<SuppressedIncidents, StoreError> {
    match incident.maintenance {
        Some(_) => {
            Ok(SuppressedIncidents::of(&app.table.tenant_incidents_suppressed_by(&incident.id, tenant).await?, tenant))
        }
        None => Ok(SuppressedIncidents::default()),
    }
}

/// Reads an incident by the id in a path; 404 if it does not exist or belongs to another tenant.
pub(crate) async fn find_incident(app: &App, tenant: &TenantId, id: &str) -> Result<Incident, Problem> {
    let found = match IncidentId::parse(id) {
        Some(id) => app.table.incident(&id).await.map_err(access::storage_problem)?,
        None => None,
    };
    found
        .filter(|incident| is_visible(&incident.scope, tenant))
        .ok_or_else(|| Problem::not_found("this tenant has no such incident"))
}

/// Whether a tenant may see incidents of this scope: its own and platform-wide ones.
fn is_visible(scope: &Scope, tenant: &TenantId) -> bool {
    scope.tenant().is_none_or(|owner| owner == tenant)
}

/// Returns an incident as the API shows it. A platform-wide one is shown without its source and dedup key.
pub(super) fn incident_view(incident: &Incident) -> IncidentView {
    let own = incident.scope.tenant().is_some();
    IncidentView {
        incident_id: incident.id.to_string(),
        tenant_id: incident.scope.tenant().map(ToString::to_string),
        platform_wide: !own,
        category: incident.category,
        kind: incident.kind,
        rule: incident.rule.clone(),
        event_type: incident.event_type.clone(),
        source: own.then(|| incident.source.clone()),
        dedup_key: own.then(|| incident.dedup_key.clone()),
        severity: incident.severity,
        status: incident.status,
        title: incident.title.clone(),
        components: incident.components.clone(),
        regions: incident.regions.clone(),
        public: incident.public,
        started_at: incident.started_at,
        last_seen: incident.last_seen,
        resolved_at: incident.resolved_at,
        maintenance: incident.maintenance,
        covered: incident.covered.clone(),
        updates: incident.updates,
        repeats: incident.repeats,
        test: incident.test,
    }
}

fn excluded_view(record: &EventRecord) -> ExcludedEventView {
    ExcludedEventView {
        event_id: record.event_id.to_string(),
        at: record.accepted_at,
        event_type: record.event_type.clone(),
        // The title of a platform-wide event is the source's internal text, so its type is shown instead.
        title: if record.scope == Some(Scope::Platform) { record.event_type.clone() } else { record.title.clone() },
        classification: record.classification.clone(),
        category: record.category,
        rule: record.rule.clone(),
        reason: record.reason.map(|reason| reason_view(reason, record.category, "")),
    }
}

/// Returns an update as the API shows it: in full for the tenant's own incident, and as far as alerts carry it for a platform-wide one.
pub(crate) fn timeline_entry(settings: &Settings, incident: &Incident, update: &Update) -> TimelineEntry {
    let content = match incident.scope {
        Scope::Tenant(_) => ContentLevel::Full,
        Scope::Platform => settings.data_processing.content,
    };
    let alert = Alert::new(&settings.tenant, &settings.zone, content, incident, update);
    TimelineEntry {
        update: alert.update,
        event_id: alert.event_id.to_string(),
        at: alert.at,
        late_source: alert.late_source,
        change: alert.change,
        status: alert.status,
        severity: alert.severity,
        title: alert.title,
        message: alert.message,
        components: alert.components,
        regions: alert.regions,
        links: alert.links,
        key_details: alert.key_details,
        measurements: alert.measurements,
        labels: alert.labels,
        details: alert.details,
        cut: alert.cut,
    }
}

fn decision_view(decision: &Decision, category: Option<Category>, names: &DestinationNames<'_>) -> DecisionView {
    let (outcome, role, until, reason, by) = match &decision.outcome {
        DecisionOutcome::Deliver { role } => ("deliver", *role, None, None, None),
        DecisionOutcome::Hold { until, reason, role } => ("hold", *role, Some(*until), Some(*reason), None),
        DecisionOutcome::Skip { reason, by } => ("skip", None, None, Some(*reason), by.clone()),
    };
    DecisionView {
        update: decision.update,
        destination: decision.destination.clone(),
        name: names.get(decision.destination.as_str()).map(|name| (*name).to_owned()),
        channel: decision.channel,
        outcome: outcome.to_owned(),
        role,
        until,
        reason: reason.map(|reason| reason_view_about(reason, by.as_deref(), category, &decision.destination)),
        by,
    }
}

/// Returns a delivery as the API shows it: the stored item, with the explanation's outcome of its latest update.
fn delivery_view(
    listed: &ListedDelivery,
    category: Option<Category>,
    names: &DestinationNames<'_>,
    entries: &[ExplainEntry],
) -> DeliveryView {
    let row = &listed.delivery;
    let destination = destination_of_row(&listed.row);
    let entry = entries.iter().find(|entry| {
        let id = entry.recipient_id.as_ref().or(entry.integration_id.as_ref());
        (id.map(String::as_str), entry.channel, entry.update) == (Some(destination), row.channel, row.latest)
    });
    // Attempt 0 is feedback that the provider sent later; it is not stored among the attempts.
    let feedback = entry.into_iter().flat_map(|entry| &entry.attempts).filter(|attempt| attempt.attempt == 0).cloned();
    let state = match row.state {
        DeliveryState::Queued => "queued",
        DeliveryState::Sending => "sending",
        DeliveryState::Retrying => "retrying",
        DeliveryState::Accepted => "accepted",
        DeliveryState::Failed => "failed",
    };
    DeliveryView {
        update: row.latest,
        destination: destination.to_owned(),
        name: names.get(destination).map(|name| (*name).to_owned()),
        channel: row.channel,
        state: state.to_owned(),
        outcome: entry.map_or_else(|| state.to_owned(), |entry| entry.outcome.clone()),
        attempts: row.attempts,
        cause: row.cause.clone(),
        reason: match entry {
            Some(entry) => entry.reason.clone(),
            None => row.reason.map(|reason| reason_view(reason, category, destination)),
        },
        late_source: entry.and_then(|entry| entry.late_source),
        next_at: row
            .next_at_ms
            .filter(|_| row.state == DeliveryState::Retrying)
            .and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        at: row.at,
        latency_ms: row.latency_ms,
        provider_id: row.provider_id.clone(),
        history: listed
            .history
            .iter()
            .map(|end| DeliveryOutcomeView {
                update: end.update,
                outcome: end.outcome.clone(),
                at: end.at,
                attempts: end.attempts,
            })
            .collect(),
        failed_attempts: listed.attempts.iter().map(attempt_view).chain(feedback).collect(),
    }
}

#[cfg(test)]
mod tests;
