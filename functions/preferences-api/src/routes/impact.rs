//! The periods in which a tenant was affected by incidents, for marking call logs and reports.

use super::{incidents, load_settings};
use crate::App;
use crate::access::{self, READ_SCOPES, json_response};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::ImpactAnswer;
use domain::impact::{has_impact, list_impact_periods};
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::SignedDuration;
use runtime::clock;
use runtime::http::{Caller, Problem};
use serde::Deserialize;

/// How long after the period a source may still have reported an incident in it. A longer delay would read most of a busy tenant's
/// incidents for a question about last year.
const REPORT_DELAY_MAX: SignedDuration = SignedDuration::from_hours(24);
/// Timelines to read at the same time.
const TIMELINES_AT_ONCE: usize = 10;

/// The query of `GET /v1/tenants/{tenant}/impact`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ImpactParams {
    from: Option<String>,
    to: Option<String>,
    component: Option<String>,
    region: Option<String>,
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
    let (from, to) = incidents::parse_period(params.from.as_deref(), params.to.as_deref(), clock::now(), &mut errors);
    if !errors.is_empty() {
        return Err(Problem::invalid_fields(errors));
    }
    let settings = load_settings(&app, &tenant).await?;
    // An incident that began long before the period may have lasted into it, so all that are kept are read.
    let kept = SignedDuration::from_hours(24 * i64::from(app.retention_days));
    let since = from.saturating_sub(kept).unwrap_or(from);
    let (mut found, complete) = incidents::incidents_between(&app, &tenant, since, to).await?;
    // Incidents that started within the period may have been reported after it, by a source that was up to a day late.
    let reported_by = to.saturating_add(REPORT_DELAY_MAX).unwrap_or(to).min(clock::now());
    let (later, all) = incidents::incidents_between(&app, &tenant, to, reported_by).await?;
    found.extend(later);
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
    let known = found.into_iter().filter(|incident| has_impact(incident, &query)).map(|incident| async {
        let timeline = app.table.updates(&incident.id, 1).await?;
        Ok((incident, timeline))
    });
    let known = stream::iter(known)
        .buffered(TIMELINES_AT_ONCE)
        .try_collect::<Vec<_>>()
        .await
        .map_err(access::storage_problem)?;
    let complete = complete && all;
    Ok(json_response(
        StatusCode::OK,
        &ImpactAnswer { from, to, affected: list_impact_periods(&known, &query), complete },
    ))
}
