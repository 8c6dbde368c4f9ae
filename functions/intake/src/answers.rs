//! What became of an event, and how an incident stands.

use crate::App;
use crate::accept::{may_speak, no_incident, unavailable};
use axum::Json;
use axum::extract::{Path, State};
use domain::ids::{EventId, IncidentId};
use runtime::http::{Caller, Problem};
use serde_json::{Value, json};

/// `GET /v1/events/{id}`
pub(crate) async fn event(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
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
    let incidents: Vec<Value> = mine
        .iter()
        .filter_map(|record| {
            let tenant = record.scope.as_ref().and_then(|scope| scope.tenant());
            record
                .incident_id
                .as_ref()
                .map(|id| json!({"incident_id": id, "tenant_id": tenant, "update": record.update}))
        })
        .collect();
    let reasons: Vec<Value> = mine
        .iter()
        .filter_map(|record| record.reason.map(|reason| (record, reason)))
        .map(|(record, reason)| {
            let tenant = record.scope.as_ref().and_then(|scope| scope.tenant());
            json!({"tenant_id": tenant, "reason": reason, "sentence": reason.sentence(), "setting": reason.setting()})
        })
        .collect();
    Ok(Json(json!({
        "event_id": id,
        "classification": first.classification,
        "category": first.category,
        "rule": first.rule,
        "incidents": incidents,
        "not_told": reasons,
        "warnings": first.warnings,
    })))
}

/// `GET /v1/incidents/{id}`
pub(crate) async fn incident(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.require_any(&["incidents:write", "alerts:read"])?;
    let Some(id) = IncidentId::parse(&id) else { return Err(no_incident()) };
    let incident = app.table.incident(&id).await.map_err(unavailable)?;
    let incident = incident.filter(|incident| may_speak(&caller, &incident.scope)).ok_or_else(no_incident)?;
    let timeline = app.table.updates(&id, 1).await.map_err(unavailable)?;
    Ok(Json(json!({"incident": incident, "timeline": timeline})))
}
