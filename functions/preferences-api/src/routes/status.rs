//! A tenant's own status: what is public and what is only its own, in the shape of Statuspage's summary.

use super::{incidents, settings_of};
use crate::App;
use crate::access::{self, READ, answer};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::statuspage::Page;
use domain::incident::Incident;
use domain::status::{DAYS, Said, Shown, board};
use domain::tenant::Settings;
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use runtime::clock;
use runtime::http::{ApiId, Caller, Problem};

/// Most incidents in an answer: with long timelines they still fit into what a function may answer.
const SHOWN_MAX: usize = 100;

/// `GET /v1/tenants/{tenant}/status`
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    api: ApiId,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, READ)?;
    let settings = settings_of(&app, &tenant).await?;
    let now = clock::now();
    let days = SignedDuration::from_hours(24 * i64::try_from(DAYS).unwrap_or(i64::MAX));
    let (found, complete) = incidents::since(&app, &tenant, now.saturating_sub(days).unwrap_or(now), now).await?;
    let open: Vec<(Shown, &Incident)> = found
        .iter()
        .map(|incident| (incidents::shown(incident), incident))
        .filter(|(shown, _)| !shown.is_over(now))
        .collect();
    // All of it counts for the components; an answer has room for the newest.
    let shown: Vec<Shown> = open.iter().map(|(shown, _)| shown.clone()).collect();
    let timelines = open.iter().take(SHOWN_MAX).map(|(_, incident)| timeline(&app, &settings, incident));
    let timelines = try_join_all(timelines).await.map_err(access::table)?;
    let told: Vec<(&Shown, &[Said])> = shown.iter().zip(timelines.iter().map(Vec::as_slice)).collect();
    let complete = complete && open.len() <= SHOWN_MAX;
    let base = api.address(&app.public_base_url);
    let page = Page {
        id: tenant.as_str(),
        name: &settings.name,
        url: format!("{base}/v1/tenants/{tenant}/status"),
        incidents: format!("{base}/v1/tenants/{tenant}/incidents/"),
        updated_at: found.iter().map(|incident| incident.last_seen).max().unwrap_or(Timestamp::UNIX_EPOCH),
    };
    Ok(answer(StatusCode::OK, &page.own_summary(&board(&app.policy.catalogue, &shown, now), &told, complete)))
}

/// What was said of an incident, newest first.
async fn timeline(app: &App, settings: &Settings, incident: &Incident) -> Result<Vec<Said>, store::StoreError> {
    let updates = app.table.updates(&incident.id, 1).await?;
    let said = updates.iter().rev().map(|update| {
        let entry = incidents::entry(settings, incident, update);
        Said { number: entry.update, at: entry.at, status: entry.status, message: entry.message }
    });
    Ok(said.collect())
}
