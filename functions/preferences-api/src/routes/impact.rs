//! When a tenant was affected: what call logs and reports are marked with.

use super::{incidents, settings_of};
use crate::App;
use crate::access::{self, READ, answer};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::ImpactAnswer;
use domain::impact::{affected, touches};
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::SignedDuration;
use runtime::clock;
use runtime::http::{Caller, Problem};
use serde::Deserialize;

/// How late a source may tell of what is asked about. More would be most of a busy tenant's list, for a question about last year.
const TOLD_WITHIN: SignedDuration = SignedDuration::from_hours(24);
/// Timelines read at once.
const IN_FLIGHT: usize = 10;

/// The query of `GET /v1/tenants/{tenant}/impact`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
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
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, READ)?;
    let mut errors = Vec::new();
    let (from, to) = incidents::window_of(asked.from.as_deref(), asked.to.as_deref(), clock::now(), &mut errors);
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    settings_of(&app, &tenant).await?;
    // What began long before may have lasted into it: everything that is kept may have.
    let kept = SignedDuration::from_hours(24 * i64::from(app.retention_days));
    let since = from.saturating_sub(kept).unwrap_or(from);
    let (mut found, complete) = incidents::since(&app, &tenant, since, to).await?;
    // And what began within it may have been told after it, by a source that was a day late at the most.
    let told_by = to.saturating_add(TOLD_WITHIN).unwrap_or(to).min(clock::now());
    let (later, all) = incidents::since(&app, &tenant, to, told_by).await?;
    found.extend(later);
    let only = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let (component, region) = (only(&asked.component), only(&asked.region));
    let asked = domain::impact::Asked { from, to, component: component.as_deref(), region: region.as_deref() };
    let known = found.into_iter().filter(|incident| touches(incident, &asked)).map(|incident| async {
        let timeline = app.table.updates(&incident.id, 1).await?;
        Ok((incident, timeline))
    });
    let known = stream::iter(known).buffered(IN_FLIGHT).try_collect::<Vec<_>>().await.map_err(access::table)?;
    let complete = complete && all;
    Ok(answer(StatusCode::OK, &ImpactAnswer { from, to, affected: affected(&known, &asked), complete }))
}
