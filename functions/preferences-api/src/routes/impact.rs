//! The periods in which a tenant was affected by incidents, for marking call logs and reports.
//!
//! A request reads a bounded number of incidents and says where to go on; the same request within a few seconds reads nothing.

use super::{incidents, load_settings};
use crate::App;
use crate::access::{self, READ_SCOPES, json_bytes};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use contracts::http::ImpactAnswer;
use domain::impact::{has_impact, list_impact_periods};
use domain::incident::{Incident, Update};
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::SignedDuration;
use runtime::clock;
use runtime::http::{Caller, Problem};
use serde::Deserialize;

/// How long after the period a source may still have reported an incident in it. A longer delay would read most of a busy tenant's
/// incidents for a question about last year.
const REPORT_DELAY_MAX: SignedDuration = SignedDuration::from_hours(24);
/// Incidents that are read at a time.
const INCIDENTS_PER_READ: usize = 100;
/// Most reads of so many incidents for one request.
const READS_MAX: usize = 4;
/// A request reads no further incidents once so many timelines are to be read.
const TIMELINES_ENOUGH: usize = 100;
/// Timelines to read at the same time.
const TIMELINES_AT_ONCE: usize = 10;
/// The newest updates of an incident that count. Before them, it counts as affecting what the oldest of them says.
const UPDATES_MAX: u32 = 200;

/// The query of `GET /v1/tenants/{tenant}/impact`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ImpactParams {
    from: Option<String>,
    to: Option<String>,
    component: Option<String>,
    region: Option<String>,
    cursor: Option<String>,
}

/// `GET /v1/tenants/{tenant}/impact`
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    Query(params): Query<ImpactParams>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    let mut errors = Vec::new();
    let now = clock::now();
    let (from, to) = incidents::parse_period(params.from.as_deref(), params.to.as_deref(), now, &mut errors);
    let mut cursor = access::parse_incident_cursor(params.cursor.as_deref(), &mut errors);
    if !errors.is_empty() {
        return Err(Problem::invalid_fields(errors));
    }
    let settings = load_settings(&app, &tenant).await?;
    let asked = format!("impact {tenant} {params:?}");
    if let Some(kept) = app.kept.answer(&asked) {
        return Ok(json_bytes(kept));
    }
    // An incident that began long before the period may have lasted into it, so all that are kept are read. And one that started within the
    // period may have been reported after it, by a source that was up to a day late.
    let retention = SignedDuration::from_hours(24 * i64::from(app.retention_days));
    let since = from.saturating_sub(retention).unwrap_or(from);
    let reported_by = to.saturating_add(REPORT_DELAY_MAX).unwrap_or(to).min(now);
    let only = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let (component, region) = (only(&params.component), only(&params.region));
    let query = domain::impact::ImpactQuery {
        from,
        to,
        component: component.as_deref(),
        region: region.as_deref(),
        footprint: &settings.footprint,
        catalogue: &app.policy.catalogue,
    };
    let mut found: Vec<Incident> = Vec::new();
    for _ in 0..READS_MAX {
        let page = incidents::read_page(&app, &tenant, (since, reported_by), cursor.as_ref(), INCIDENTS_PER_READ);
        let (incidents, next) = page.await?;
        found.extend(incidents.into_iter().filter(|incident| has_impact(incident, &query)));
        cursor = next;
        if cursor.is_none() || found.len() >= TIMELINES_ENOUGH {
            break;
        }
    }
    let known = found.into_iter().map(|incident| async {
        let timeline = app.table.updates(&incident.id, incident.first_of_newest(UPDATES_MAX)).await?;
        Ok::<(Incident, Vec<Update>), store::StoreError>((incident, timeline))
    });
    let known: Vec<(Incident, Vec<Update>)> =
        stream::iter(known).buffered(TIMELINES_AT_ONCE).try_collect().await.map_err(access::storage_problem)?;
    let affected = list_impact_periods(&known, &query);
    let next = cursor.map(|cursor| cursor.to_text());
    let answer = ImpactAnswer { from, to, affected, complete: next.is_none(), next };
    let body = serde_json::to_vec(&answer).map_err(|_| Problem::internal())?;
    Ok(json_bytes(app.kept.keep(asked, body)))
}
