//! Trigger  `GET /status…` (pages, feeds, badge) and `GET /api/v2/….json` (Statuspage's public API): open to everybody
//! Reads    the public index, and nothing else: what is not public is not there
//! Writes   nothing
//! Emits    nothing
//! Fails    AWS fault: 503 with Retry-After, a page that says so, or a problem document for programs
//! Config   [`config::Config`]
//!
//! Pages without script. An incident that is not public and one that never was get the same page. No queue and no other
//! function is needed for any of it: what the table has is told while the pipeline is in trouble.

pub mod config;
pub mod feed;
pub mod page;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use config::Config;
use contracts::statuspage::{INCIDENTS_MAX, OPEN_PHASES, StatusPageView};
use domain::ids::IncidentId;
use domain::policy::Catalogue;
use domain::status::{PublishedIncident, PublishedUpdate, StatusOverview, summarize_status};
use domain::vocabulary::{Kind, Phase};
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use page::{ENTRIES_SHOWN, Told};
use runtime::http::{ApiId, HttpFunction, Problem};
use runtime::{Aws, StartError, clock, metrics};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use store::{StoreError, Table};

/// Incidents that everything here is made of, besides all that are open: the last opened, more than a page can show with sense. A day
/// that older ones may have touched is drawn as unknown. Of what is open as many are listed.
pub const NEWEST: usize = 1_000;
/// Open incidents that are shown with their timelines; those beyond stand there without.
const TIMELINES: usize = 50;
/// Timelines read at once.
const IN_FLIGHT: usize = 10;
/// Entries of an incident's own page.
const ENTRIES_OF_ONE: usize = 500;
/// Entries of an incident for programs.
const ENTRIES_TOLD: usize = 100;
/// Most text of timelines in an answer for programs, as JSON, in bytes: twice that still fits a Lambda's answer.
const TEXT_MAX: usize = 2_000_000;
/// How long a browser or a cache before us may keep an answer, in seconds; and while we cannot be asked, a little longer, for an
/// old state is better than none.
const FRESH: &str = "public, max-age=15, stale-if-error=300";

/// The function.
#[derive(Debug)]
pub struct StatusPage {
    table: Table,
    catalogue: Catalogue,
    base: String,
    policy: HeaderValue,
}

impl HttpFunction for StatusPage {
    const NAME: &'static str = env!("CARGO_PKG_NAME");

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        // It writes nothing, so how long rows live is no matter here.
        let table = Table::new(aws.config(), &config.table_name, store::RETENTION_DAYS);
        Ok(Self {
            table,
            catalogue: Catalogue::embedded().map_err(StartError::new)?,
            base: config.public_base_url,
            policy: HeaderValue::try_from(security_policy()).map_err(StartError::new)?,
        })
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/status", get(overview))
            .route("/status/", get(overview))
            .route("/status/incidents/{id}", get(incident))
            .route("/status/feed.atom", get(feed))
            .route("/status/maintenance.ics", get(calendar))
            .route("/status/badge.svg", get(badge))
            .route("/api/v2/summary.json", get(summary))
            .route("/api/v2/status.json", get(status))
            .route("/api/v2/components.json", get(components))
            .route("/api/v2/incidents.json", get(incidents))
            .route("/api/v2/incidents/unresolved.json", get(unresolved))
            .route("/api/v2/scheduled-maintenances.json", get(maintenances))
            .route("/api/v2/scheduled-maintenances/upcoming.json", get(upcoming))
            .route("/api/v2/scheduled-maintenances/active.json", get(active))
            .fallback(missing)
            .with_state(self)
    }
}

/// What every handler is called with.
type App = State<Arc<StatusPage>>;

async fn overview(State(this): App, uri: Uri, headers: HeaderMap) -> Response {
    let home = home(&uri);
    match this.read_overview(clock::now()).await {
        Ok(overview) => this.page(StatusCode::OK, overview.render(&home), &headers),
        Err(error) => this.unavailable(&home, &error),
    }
}

async fn incident(State(this): App, Path(id): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    let home = home(&uri);
    let Some(id) = IncidentId::parse(&id) else { return this.missing(&home) };
    match this.read_incident(&id).await {
        Ok(Some((told, all))) => {
            let page = page::incident(&home, &told, &all, &this.catalogue, clock::now());
            this.page(StatusCode::OK, page, &headers)
        }
        Ok(None) => this.missing(&home),
        Err(error) => this.unavailable(&home, &error),
    }
}

async fn missing(State(this): App, uri: Uri) -> Response {
    this.missing(&home(&uri))
}

async fn feed(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    let base = api.address(&this.base);
    let told = this.read(|_| true, feed::ENTRIES).await;
    open_to_all(told.map(|told| answer(feed::ATOM, feed::atom(&base, &told), &headers)))
}

async fn calendar(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    let base = api.address(&this.base);
    let told = this.read(|shown| shown.maintenance.is_some(), NEWEST).await;
    open_to_all(told.map(|told| answer(feed::ICALENDAR, feed::calendar(&base, &told), &headers)))
}

async fn badge(State(this): App, headers: HeaderMap) -> Response {
    let all = this.table.public_incidents(NEWEST).await;
    open_to_all(all.map(|all| {
        let indicator = summarize_status(&this.catalogue, &all.incidents, clock::now()).indicator;
        match feed::badge(indicator) {
            Ok(badge) => answer("image/svg+xml", badge, &headers),
            Err(_) => Problem::internal().into_response(),
        }
    }))
}

async fn summary(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    let open = |shown: &PublishedIncident| match shown.kind {
        Kind::Incident => shown.resolved_at.is_none(),
        _ => in_phase(shown, OPEN_PHASES),
    };
    this.tell(&api, &headers, open, NEWEST, |page, board, told| json(&page.summary(board, told))).await
}

async fn status(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    this.tell(&api, &headers, |_| false, 0, |page, board, _| json(&page.status(board))).await
}

async fn components(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    this.tell(&api, &headers, |_| false, 0, |page, board, _| json(&page.component_list(board))).await
}

async fn incidents(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    let wanted = |shown: &PublishedIncident| shown.kind == Kind::Incident;
    this.tell(&api, &headers, wanted, INCIDENTS_MAX, |page, board, told| json(&page.all_incidents(board, told, false)))
        .await
}

async fn unresolved(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    let wanted = |shown: &PublishedIncident| shown.kind == Kind::Incident && shown.resolved_at.is_none();
    this.tell(&api, &headers, wanted, NEWEST, |page, board, told| json(&page.all_incidents(board, told, true))).await
}

async fn maintenances(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    let phases = [Phase::Scheduled, Phase::InProgress, Phase::Verifying, Phase::Completed];
    this.works(&api, &headers, &phases, INCIDENTS_MAX).await
}

async fn upcoming(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    this.works(&api, &headers, &[Phase::Scheduled], NEWEST).await
}

async fn active(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    this.works(&api, &headers, &[Phase::InProgress, Phase::Verifying], NEWEST).await
}

fn home(uri: &Uri) -> String {
    page::home(uri.path().strip_prefix("/status").unwrap_or_default())
}

fn in_phase(shown: &PublishedIncident, phases: &[Phase]) -> bool {
    shown.maintenance.is_some_and(|planned| phases.contains(&planned.phase))
}

impl StatusPage {
    async fn read_overview(&self, now: Timestamp) -> Result<page::Overview<'_>, StoreError> {
        let all = self.table.public_incidents(NEWEST).await?;
        let sorted = page::sort(&all.incidents, now);
        let (timelines, beyond) = sorted.shown.split_at(sorted.shown.len().min(TIMELINES));
        let mut told = self.told_each(timelines, ENTRIES_SHOWN).await?;
        told.extend(beyond.iter().map(|shown| Told { incident: shown.clone(), timeline: Vec::new(), more: true }));
        Ok(page::Overview::of(&self.catalogue, &all, told, sorted, now))
    }

    /// An incident, and everything that is public: unknown and not public are the same here.
    async fn read_incident(&self, id: &IncidentId) -> Result<Option<(Told, Vec<PublishedIncident>)>, StoreError> {
        // The index knows no incident by its name alone, and the rows of the retention time fit a page or two.
        let all = self.table.public_incidents(usize::MAX).await?.incidents;
        match all.iter().find(|incident| incident.id == *id) {
            Some(incident) => Ok(Some((self.told(incident.clone(), ENTRIES_OF_ONE).await?, all))),
            None => Ok(None),
        }
    }

    /// The newest of some incidents with their timelines, cut to what an answer holds.
    async fn read(&self, wanted: impl Fn(&PublishedIncident) -> bool, most: usize) -> Result<Vec<Told>, StoreError> {
        let all = self.table.public_incidents(NEWEST).await?;
        self.cut(&all.incidents, wanted, most).await
    }

    async fn cut(
        &self,
        all: &[PublishedIncident],
        wanted: impl Fn(&PublishedIncident) -> bool,
        most: usize,
    ) -> Result<Vec<Told>, StoreError> {
        let chosen: Vec<PublishedIncident> = all.iter().filter(|shown| wanted(shown)).take(most).cloned().collect();
        let mut told = self.told_each(&chosen, ENTRIES_TOLD).await?;
        page::fit(&mut told, TEXT_MAX);
        Ok(told)
    }

    async fn told_each(&self, incidents: &[PublishedIncident], limit: usize) -> Result<Vec<Told>, StoreError> {
        let each = incidents.iter().cloned().map(|incident| self.told(incident, limit));
        stream::iter(each.collect::<Vec<_>>()).buffered(IN_FLIGHT).try_collect().await
    }

    async fn told(&self, incident: PublishedIncident, limit: usize) -> Result<Told, StoreError> {
        let mut timeline = self.table.public_timeline(&incident.id, limit + 1).await?;
        let more = timeline.len() > limit;
        timeline.truncate(limit);
        Ok(Told { incident, timeline, more })
    }

    async fn works(&self, api: &ApiId, headers: &HeaderMap, phases: &[Phase], most: usize) -> Response {
        let wanted = |shown: &PublishedIncident| in_phase(shown, phases);
        self.tell(api, headers, wanted, most, |page, board, told| json(&page.maintenance_list(board, told, phases)))
            .await
    }

    /// An answer in Statuspage's shape about some of the incidents, the newest first.
    async fn tell(
        &self,
        api: &ApiId,
        headers: &HeaderMap,
        wanted: impl Fn(&PublishedIncident) -> bool,
        most: usize,
        write: impl FnOnce(
            &StatusPageView<'_>,
            &StatusOverview,
            &[(&PublishedIncident, &[PublishedUpdate])],
        ) -> Option<String>,
    ) -> Response {
        open_to_all(self.try_tell(api, headers, wanted, most, write).await)
    }

    async fn try_tell(
        &self,
        api: &ApiId,
        headers: &HeaderMap,
        wanted: impl Fn(&PublishedIncident) -> bool,
        most: usize,
        write: impl FnOnce(
            &StatusPageView<'_>,
            &StatusOverview,
            &[(&PublishedIncident, &[PublishedUpdate])],
        ) -> Option<String>,
    ) -> Result<Response, StoreError> {
        let all = self.table.public_incidents(NEWEST).await?.incidents;
        let told = self.cut(&all, wanted, most).await?;
        let told: Vec<(&PublishedIncident, &[PublishedUpdate])> =
            told.iter().map(|one| (&one.incident, one.timeline.as_slice())).collect();
        let base = api.address(&self.base);
        // Of a page on which nothing ever happened, a moment that does not change with every request.
        let updated_at = all.iter().map(|shown| shown.updated_at).max().unwrap_or(Timestamp::UNIX_EPOCH);
        let page = StatusPageView {
            id: "tocsin",
            name: page::NAME,
            url: format!("{base}/status"),
            incident_url_prefix: format!("{base}/status/incidents/"),
            updated_at,
        };
        let board = summarize_status(&self.catalogue, &all, clock::now());
        Ok(match write(&page, &board, &told) {
            Some(body) => answer("application/json; charset=utf-8", body, headers),
            None => Problem::internal().into_response(),
        })
    }

    fn missing(&self, home: &str) -> Response {
        self.page(StatusCode::NOT_FOUND, page::not_found(home), &HeaderMap::new())
    }

    fn unavailable(&self, home: &str, error: &StoreError) -> Response {
        unread(error);
        let mut response = self.page(StatusCode::SERVICE_UNAVAILABLE, page::unavailable(home), &HeaderMap::new());
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("15"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.remove(header::ETAG);
        response
    }

    fn page(&self, status: StatusCode, page: Result<String, askama::Error>, asked: &HeaderMap) -> Response {
        let Ok(page) = page else {
            tracing::error!("a page cannot be rendered");
            return Problem::internal().into_response();
        };
        // Weak: the same page says another time as of which it is.
        let tag = format!("W/{}", tag(&page::timeless(&page)));
        let mut response = tagged("text/html; charset=utf-8", page, &tag, asked);
        if status != StatusCode::OK {
            *response.status_mut() = status;
        }
        let headers = response.headers_mut();
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        response
    }
}

fn unread(error: &StoreError) {
    tracing::error!(%error, "the status cannot be read");
    metrics::count("StatusUnavailable", 1);
}

fn json<T: Serialize>(value: &T) -> Option<String> {
    serde_json::to_string(value).ok()
}

/// What any site's script may read: it is public, and nobody is signed in here.
fn open_to_all(answer: Result<Response, StoreError>) -> Response {
    let mut response = answer.unwrap_or_else(|error| {
        unread(&error);
        Problem::unavailable().into_response()
    });
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// An answer that a cache may keep for a moment, and that costs no body where it did not change.
fn answer(kind: &'static str, body: String, asked: &HeaderMap) -> Response {
    let tag = tag(&[&body]);
    tagged(kind, body, &tag, asked)
}

fn tag(parts: &[&str]) -> String {
    let digest = parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(part));
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest.finalize()))
}

fn tagged(kind: &'static str, body: String, tag: &str, asked: &HeaderMap) -> Response {
    let known = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let same = known.is_some_and(|tags| tags.split(',').any(|known| opaque(known) == opaque(tag)));
    let mut response =
        if same { StatusCode::NOT_MODIFIED.into_response() } else { (StatusCode::OK, body).into_response() };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, FRESH),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (HeaderName::from_static("permissions-policy"), "interest-cohort=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Nothing but our one style sheet, named by its hash, and the icon that stands in the page.
fn security_policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(page::STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_home_works_behind_any_stage() {
        let home = |path: &str| home(&path.parse().unwrap());
        assert_eq!(home("/status"), "status");
        assert_eq!(home("/status/"), "../status");
        assert_eq!(home("/status/incidents/inc_a"), "../../status");
        assert_eq!(home("/status/a/b/c"), "../../../status");
    }

    #[test]
    fn the_policy_names_the_style_that_is_in_the_page() {
        let policy = security_policy();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        let page = page::not_found("status").unwrap();
        assert!(
            page.contains(&format!("<style>{}</style>", page::STYLE)),
            "the hash is of what stands between the tags"
        );
        assert!(!page.contains("<script") && !page.contains(" style="));
    }

    #[test]
    fn what_did_not_change_costs_no_body() {
        let first = answer("application/json", "{}".into(), &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CACHE_CONTROL], FRESH);
        let tag = first.headers()[header::ETAG].clone();
        let mut asked = HeaderMap::new();
        asked.insert(
            header::IF_NONE_MATCH,
            HeaderValue::try_from(format!("\"x\", W/{}", tag.to_str().unwrap())).unwrap(),
        );
        let again = answer("application/json", "{}".into(), &asked);
        assert_eq!((again.status(), again.headers()[header::ETAG].clone()), (StatusCode::NOT_MODIFIED, tag));
        assert_eq!(answer("application/json", "[]".into(), &asked).status(), StatusCode::OK);
    }
}
