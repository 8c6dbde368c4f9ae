//! What became of an event, and how an incident stands.

use crate::App;
use crate::accept::{may_speak, no_incident, unavailable};
use axum::Json;
use axum::extract::{Path, State};
use contracts::native::{EventAnswer, IncidentAnswer, Made, NotTold};
use domain::ids::{EventId, IncidentId};
use runtime::http::{Caller, Problem};
use store::events::EventRecord;

/// `GET /v1/events/{id}`
pub(crate) async fn event(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<EventAnswer>, Problem> {
    caller.require_any(&["incidents:write", "alerts:read"])?;
    let records = match EventId::parse(&id) {
        Some(id) => app.table.event_records(&id).await.map_err(unavailable)?,
        None => Vec::new(),
    };
    let mine = records.into_iter().filter(|record| match &record.scope {
        Some(scope) => may_speak(&caller, scope),
        // Nobody could tell whose it is: only who posts for everybody may ask.
        None => caller.speaks_for_all(),
    });
    let mine: Vec<_> = mine.collect();
    let Some(first) = mine.first() else {
        let detail = "this event is not known for this token, or not classified yet; ask again in a second";
        return Err(Problem::not_found(detail).retry_after(1));
    };
    let tenant = |record: &EventRecord| record.scope.as_ref().and_then(|scope| scope.tenant()).cloned();
    let made = |record: &EventRecord| {
        let incident_id = record.incident_id.clone()?;
        Some(Made { incident_id, tenant_id: tenant(record), update: record.update })
    };
    let not_told = |record: &EventRecord| {
        let reason = record.reason?;
        let (sentence, setting) = (reason.sentence(), reason.setting());
        Some(NotTold { tenant_id: tenant(record), reason, sentence, setting })
    };
    Ok(Json(EventAnswer {
        event_id: first.event_id.clone(),
        classification: first.classification.clone(),
        category: first.category,
        rule: first.rule.clone(),
        incidents: mine.iter().filter_map(made).collect(),
        not_told: mine.iter().filter_map(not_told).collect(),
        warnings: first.warnings.clone(),
    }))
}

/// `GET /v1/incidents/{id}`
pub(crate) async fn incident(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<IncidentAnswer>, Problem> {
    caller.require_any(&["incidents:write", "alerts:read"])?;
    let Some(id) = IncidentId::parse(&id) else { return Err(no_incident()) };
    let incident = app.table.incident(&id).await.map_err(unavailable)?;
    let incident = incident.filter(|incident| may_speak(&caller, &incident.scope)).ok_or_else(no_incident)?;
    let timeline = app.table.updates(&id, 1).await.map_err(unavailable)?;
    Ok(Json(IncidentAnswer { incident, timeline }))
}
