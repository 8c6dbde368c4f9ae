//! A tenant's own status: public incidents and its own, in the format of Statuspage's summary.

use super::{incidents, load_settings};
use crate::App;
use crate::access::{self, READ_SCOPES, json_bytes};
use axum::extract::{Path, State};
use axum::response::Response;
use contracts::statuspage::{IncidentWithTimeline, StatusPageView};
use domain::incident::Incident;
use domain::status::{HISTORY_DAYS, PublishedIncident, PublishedUpdate, summarize_status};
use domain::tenant::Settings;
use domain::vocabulary::Kind;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use runtime::clock;
use runtime::http::{ApiId, Caller, Problem};
use std::cmp::Reverse;

/// Most incidents in a response.
const INCIDENTS_MAX: usize = 60;
/// The newest updates of an incident in a response.
const UPDATES_MAX: u32 = 100;
/// Timelines to read at the same time.
const TIMELINES_AT_ONCE: usize = 10;
/// Most text of all timelines, in bytes. Together with the newest update of every incident it fits the size limit of a Lambda response,
/// however it is escaped.
const TEXT_BYTES_MAX: usize = 1_000_000;

/// `GET /v1/tenants/{tenant}/status`
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    api: ApiId,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    let settings = load_settings(&app, &tenant).await?;
    let now = clock::now();
    let base = api.address(&app.public_base_url);
    let asked = format!("status {tenant} {base}");
    if let Some(kept) = app.kept.answer(&asked) {
        return Ok(json_bytes(kept));
    }
    let days = SignedDuration::from_hours(24 * i64::try_from(HISTORY_DAYS).unwrap_or(i64::MAX));
    let (found, complete) =
        incidents::incidents_between(&app, &tenant, now.saturating_sub(days).unwrap_or(now), now).await?;
    let open: Vec<(PublishedIncident, &Incident)> = found
        .iter()
        .filter(|incident| settings.footprint.is_concerned_by(&app.policy.catalogue, incident))
        .map(|incident| (incidents::published_incident(incident), incident))
        .filter(|(shown, _)| !shown.is_over(now))
        .collect();
    // All open incidents count for the status of the components, even if the response has no room to list them.
    let shown: Vec<PublishedIncident> = open.iter().map(|(shown, _)| shown.clone()).collect();
    let listed = select_listed(&open);
    // Collected first: the compiler cannot tell how long a stream of borrowing closures lives.
    let reads: Vec<_> = listed.iter().map(|(_, incident)| load_timeline(&app, &settings, incident)).collect();
    let timelines = stream::iter(reads).buffered(TIMELINES_AT_ONCE).try_collect::<Vec<_>>();
    let mut timelines = timelines.await.map_err(access::storage_problem)?;
    let whole = truncate_timelines(&mut timelines, TEXT_BYTES_MAX);
    let timelines: Vec<IncidentWithTimeline<'_>> = listed
        .iter()
        .zip(&timelines)
        .map(|((incident, _), updates)| IncidentWithTimeline { incident, updates })
        .collect();
    let all_updates = listed.iter().all(|(_, incident)| incident.updates <= UPDATES_MAX);
    let complete = complete && whole && all_updates && listed.len() == open.len();
    let page = StatusPageView {
        id: tenant.as_str(),
        name: &settings.name,
        url: format!("{base}/v1/tenants/{tenant}/status"),
        incident_url_prefix: format!("{base}/v1/tenants/{tenant}/incidents/"),
        updated_at: found.iter().map(|incident| incident.last_seen).max().unwrap_or(Timestamp::UNIX_EPOCH),
    };
    let summary = page.tenant_summary(&summarize_status(&app.policy.catalogue, &shown, now), &timelines, complete);
    let body = serde_json::to_vec(&summary).map_err(|_| Problem::internal())?;
    Ok(json_bytes(app.kept.keep(asked, body)))
}

/// Selects the incidents to list, in their order. If there are too many, maintenance and then the most severe incidents are kept.
fn select_listed<T>(open: &[(PublishedIncident, T)]) -> Vec<&(PublishedIncident, T)> {
    let mut all: Vec<(usize, &(PublishedIncident, T))> = open.iter().enumerate().collect();
    all.sort_by_key(|(_, (shown, _))| Reverse((shown.kind == Kind::Maintenance, shown.severity)));
    all.truncate(INCIDENTS_MAX);
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, one)| one).collect()
}

/// Drops older updates that exceed `room` bytes; the newest update of each incident stays. Returns whether nothing was dropped.
fn truncate_timelines(timelines: &mut [Vec<PublishedUpdate>], mut room: usize) -> bool {
    let mut whole = true;
    for timeline in timelines {
        let fits = |update: &PublishedUpdate| {
            let left = room.checked_sub(update.message.len());
            room = left.unwrap_or(0);
            left.is_some()
        };
        let kept = timeline.iter().map(fits).take_while(|fits| *fits).count().max(1);
        whole &= kept >= timeline.len();
        timeline.truncate(kept);
    }
    whole
}

/// Reads the updates of an incident, newest first.
async fn load_timeline(
    app: &App,
    settings: &Settings,
    incident: &Incident,
) -> Result<Vec<PublishedUpdate>, store::StoreError> {
    let updates = app.table.updates(&incident.id, incident.first_of_newest(UPDATES_MAX)).await?;
    let published = updates.iter().rev().map(|update| {
        let entry = incidents::timeline_entry(settings, incident, update);
        PublishedUpdate {
            opened_at: None,
            number: entry.update,
            at: entry.at,
            status: entry.status,
            message: entry.message,
        }
    });
    Ok(published.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::vocabulary::{Severity, Status};

    fn shown(number: usize, kind: Kind, severity: Severity) -> PublishedIncident {
        let at = Timestamp::UNIX_EPOCH;
        PublishedIncident {
            id: domain::ids::IncidentId::new(&number.to_string()),
            title: "t".to_owned(),
            kind,
            status: Status::Investigating,
            severity,
            components: vec![],
            regions: vec![],
            started_at: at,
            updated_at: at,
            resolved_at: None,
            maintenance: None,
            covered_by: None,
        }
    }

    #[test]
    fn a_storm_crowds_out_neither_critical_incidents_nor_maintenance() {
        let mut all: Vec<(PublishedIncident, usize)> =
            (0..500).map(|n| (shown(n, Kind::Incident, Severity::Warning), n)).collect();
        all.push((shown(500, Kind::Incident, Severity::Critical), 500));
        all.push((shown(501, Kind::Maintenance, Severity::Info), 501));
        let places =
            |all: &[(PublishedIncident, usize)]| select_listed(all).iter().map(|(_, place)| *place).collect::<Vec<_>>();
        let kept = places(&all);
        assert_eq!(kept.len(), INCIDENTS_MAX);
        assert!(kept.is_sorted() && kept.ends_with(&[500, 501]));
        assert!(kept.starts_with(&[0, 1, 2]), "and of the others the newest");
        assert_eq!(places(&all[..3]), [0, 1, 2]);
    }

    #[test]
    fn timelines_that_are_too_long_are_cut_and_reported_as_incomplete() {
        let update = |number| PublishedUpdate {
            opened_at: None,
            number,
            at: Timestamp::UNIX_EPOCH,
            status: Status::Investigating,
            message: "ten letters".chars().take(10).collect(),
        };
        let mut all = vec![vec![update(3), update(2), update(1)], vec![update(2), update(1)]];
        assert!(truncate_timelines(&mut all, 50));
        assert!(!truncate_timelines(&mut all, 25));
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }
}
