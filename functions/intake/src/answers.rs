//! Reads: the result of an event, and an incident with its timeline.

use crate::App;
use crate::permissions::{incident_not_found, may_access_incident, may_post_to, table_unavailable};
use axum::Json;
use axum::extract::{Path, State};
use contracts::native::{EventAnswer, EventIncident, NotNotified, SourceIncidentAnswer};
use domain::event_record::EventRecord;
use domain::ids::{EventId, IncidentId};
use runtime::http::{Caller, Problem};

/// `GET /v1/events/{id}`: how the event was classified, and its incidents; 404 with Retry-After until it is classified.
pub(crate) async fn get_event(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<EventAnswer>, Problem> {
    caller.require_any_scope(&["incidents:write", "alerts:read"])?;
    let records = match EventId::parse(&id) {
        Some(id) => app.table.event_records(&id).await.map_err(table_unavailable)?,
        None => Vec::new(),
    };
    let visible = records.into_iter().filter(|record| match &record.scope {
        Some(scope) => may_post_to(&caller, scope),
        // The event has no scope; only tokens for all tenants may read it.
        None => caller.can_access_all_tenants(),
    });
    let visible: Vec<_> = visible.collect();
    let Some(first) = visible.first() else {
        let detail =
            "there is no such event, this token cannot access it, or it is not classified yet; try again in a second";
        return Err(Problem::not_found(detail).retry_after(1));
    };
    let tenant = |record: &EventRecord| record.scope.as_ref().and_then(|scope| scope.tenant()).cloned();
    let made = |record: &EventRecord| {
        let incident_id = record.incident_id.clone()?;
        Some(EventIncident { incident_id, tenant_id: tenant(record), update: record.update })
    };
    let not_notified = |record: &EventRecord| {
        let reason = record.reason?;
        let (sentence, setting) = (reason.sentence(), reason.setting());
        Some(NotNotified { tenant_id: tenant(record), reason, sentence, setting })
    };
    Ok(Json(EventAnswer {
        event_id: first.event_id.clone(),
        classification: first.classification.clone(),
        category: first.category,
        rule: first.rule.clone(),
        incidents: visible.iter().filter_map(made).collect(),
        not_notified: visible.iter().filter_map(not_notified).collect(),
        warnings: first.warnings.clone(),
    }))
}

/// `GET /v1/incidents/{id}`: the incident and its updates.
pub(crate) async fn get_incident(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<SourceIncidentAnswer>, Problem> {
    caller.require_any_scope(&["incidents:write", "alerts:read"])?;
    let Some(id) = IncidentId::parse(&id) else { return Err(incident_not_found()) };
    let incident = app.table.incident(&id).await.map_err(table_unavailable)?;
    let incident = incident.filter(|incident| may_access_incident(&caller, incident)).ok_or_else(incident_not_found)?;
    let timeline = app.table.updates(&id, 1).await.map_err(table_unavailable)?;
    Ok(Json(SourceIncidentAnswer { incident, timeline }))
}
