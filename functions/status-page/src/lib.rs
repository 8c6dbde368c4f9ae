//! Trigger  `GET /status…` (pages, feeds, badge) and `GET /api/v2/….json` (Statuspage's public API): open to everybody
//! Reads    the public index only, which holds public fields only
//! Writes   nothing
//! Emits    nothing
//! Fails    AWS fault: 503 with Retry-After, a page that says so, or a problem document for programs
//! Config   [`config::Config`]
//!
//! Pages have no script. An incident that is not public and one that does not exist get the same page. The status page needs no queue and no
//! other function, so it works while the pipeline is in trouble.

pub mod config;
pub mod feed;
mod kept;
pub mod page;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use config::Config;
use contracts::statuspage::{INCIDENTS_MAX, IncidentWithTimeline, OPEN_PHASES, StatusPageView};
use domain::ids::IncidentId;
use domain::policy::Catalogue;
use domain::status::{PublishedIncident, StatusOverview, summarize_status};
use domain::vocabulary::{Kind, Phase};
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use jiff::civil::Date;
use kept::Kept;
use page::{Brand, ENTRIES_SHOWN, IncidentTimeline, REFRESH_SECONDS, View, ViewQuery};
use runtime::http::{ApiId, HttpFunction, Problem};
use runtime::{Aws, StartError, clock, metrics};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Instant;
use store::public::PublicIncidents;
use store::{StoreError, Table};

/// Number of past incidents that are read for any page, besides all open ones. Days that older incidents may have affected are drawn as
/// unknown. At most as many open incidents are listed.
pub const PAST_INCIDENTS_READ: usize = 1_000;
/// Number of current incidents on the overview that are shown with their timelines. Further ones are shown without.
const TIMELINES_SHOWN: usize = 50;
/// Number of timelines that are read at the same time.
const PARALLEL_READS: usize = 10;
/// Timeline entries on an incident's own page.
const INCIDENT_PAGE_ENTRIES: usize = 500;
/// Timeline entries per incident in feeds and in Statuspage's API.
const API_ENTRIES: usize = 100;
/// Bytes of timeline text, as JSON, in a response to programs. Twice as much still fits in the 6 MB of a Lambda response.
const TEXT_MAX: usize = 2_000_000;
/// Lets browsers and caches keep a response for 15 seconds, and for 300 seconds while the status page does not answer: an old state is
/// better than none.
const CACHE_CONTROL: &str = "public, max-age=15, stale-if-error=300";

/// The Lambda function of the status page.
#[derive(Debug)]
pub struct StatusPage {
    table: Table,
    kept: Kept,
    catalogue: Catalogue,
    base: String,
    brand: Brand,
    /// The first day whose history is shown, if the deployer says it.
    since: Option<Date>,
    policy: HeaderValue,
}

impl HttpFunction for StatusPage {
    const NAME: &'static str = env!("CARGO_PKG_NAME");

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let logo = config.status_page_logo_url.filter(|url| logo_origin(url).is_some());
        // The retention does not matter, because this function writes nothing.
        let table = Table::new(aws.config(), &config.table_name, store::RETENTION_DAYS);
        Ok(Self {
            table,
            kept: Kept::default(),
            catalogue: Catalogue::embedded().map_err(StartError::new)?,
            base: config.public_base_url,
            policy: HeaderValue::try_from(security_policy(logo.as_deref())).map_err(StartError::new)?,
            brand: Brand { name: config.status_page_name.unwrap_or_else(|| page::NAME.to_owned()), logo },
            since: config.status_page_since.and_then(|day| day.parse().ok()),
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

/// The state that every handler receives.
type App = State<Arc<StatusPage>>;

async fn overview(State(this): App, uri: Uri, headers: HeaderMap) -> Response {
    let view = this.view(&uri);
    match this.read_overview(clock::now()).await {
        Ok(overview) => reloading(this.page(StatusCode::OK, overview.render(&view), &headers), &view),
        Err(error) => this.unavailable(&view, &error),
    }
}

async fn incident(State(this): App, Path(id): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    let view = this.view(&uri);
    let Some(id) = IncidentId::parse(&id) else { return this.missing(&view) };
    match this.read_incident(&id).await {
        Ok(Some((listed, all))) => {
            let page = page::render_incident(&view, &listed, &all.incidents, &this.catalogue, clock::now());
            let response = this.page(StatusCode::OK, page, &headers);
            // Nothing follows the end of an incident.
            if listed.incident.resolved_at.is_some() { response } else { reloading(response, &view) }
        }
        Ok(None) => this.missing(&view),
        Err(error) => this.unavailable(&view, &error),
    }
}

async fn missing(State(this): App, uri: Uri) -> Response {
    this.missing(&this.view(&uri))
}

/// Makes the browser load the page again after a while, unless the reader stopped that.
fn reloading(mut response: Response, view: &View<'_>) -> Response {
    if view.refreshes() {
        response.headers_mut().insert(HeaderName::from_static("refresh"), HeaderValue::from(REFRESH_SECONDS));
    }
    response
}

async fn feed(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    let base = api.address(&this.base);
    let site = feed::Site { base: &base, name: &this.brand.name };
    let listed = this.read_newest(|_| true, feed::ENTRIES).await;
    allow_any_origin(listed.map(|listed| cacheable_response(feed::ATOM, feed::atom(site, &listed), &headers)))
}

async fn calendar(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    let base = api.address(&this.base);
    let site = feed::Site { base: &base, name: &this.brand.name };
    let listed = this.read_newest(|shown| shown.maintenance.is_some(), PAST_INCIDENTS_READ).await;
    allow_any_origin(listed.map(|listed| cacheable_response(feed::ICALENDAR, feed::calendar(site, &listed), &headers)))
}

async fn badge(State(this): App, headers: HeaderMap) -> Response {
    let all = this.incidents().await;
    allow_any_origin(all.map(|all| {
        let indicator = summarize_status(&this.catalogue, &all.incidents, clock::now()).indicator;
        match feed::badge(indicator) {
            Ok(badge) => cacheable_response("image/svg+xml", badge, &headers),
            Err(_) => Problem::internal().into_response(),
        }
    }))
}

async fn summary(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    let open = |shown: &PublishedIncident| match shown.kind {
        Kind::Incident => shown.resolved_at.is_none(),
        _ => in_phase(shown, OPEN_PHASES),
    };
    this.statuspage_response(&api, &headers, open, PAST_INCIDENTS_READ, |page, board, listed| {
        json(&page.summary(board, listed))
    })
    .await
}

async fn status(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    this.statuspage_response(&api, &headers, |_| false, 0, |page, board, _| json(&page.status(board))).await
}

async fn components(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    this.statuspage_response(&api, &headers, |_| false, 0, |page, board, _| json(&page.component_list(board))).await
}

async fn incidents(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    let wanted = |shown: &PublishedIncident| shown.kind == Kind::Incident;
    this.statuspage_response(&api, &headers, wanted, INCIDENTS_MAX, |page, board, listed| {
        json(&page.incident_list(board, listed))
    })
    .await
}

async fn unresolved(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    let wanted = |shown: &PublishedIncident| shown.kind == Kind::Incident && shown.resolved_at.is_none();
    this.statuspage_response(&api, &headers, wanted, PAST_INCIDENTS_READ, |page, board, listed| {
        json(&page.unresolved_incident_list(board, listed))
    })
    .await
}

async fn maintenances(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    let phases = [Phase::Scheduled, Phase::InProgress, Phase::Verifying, Phase::Completed];
    this.maintenance_response(&api, &headers, &phases, INCIDENTS_MAX).await
}

async fn upcoming(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    this.maintenance_response(&api, &headers, &[Phase::Scheduled], PAST_INCIDENTS_READ).await
}

async fn active(State(this): App, api: ApiId, headers: HeaderMap) -> Response {
    this.maintenance_response(&api, &headers, &[Phase::InProgress, Phase::Verifying], PAST_INCIDENTS_READ).await
}

fn overview_path(uri: &Uri) -> String {
    page::path_to_overview(uri.path().strip_prefix("/status").unwrap_or_default())
}

fn in_phase(shown: &PublishedIncident, phases: &[Phase]) -> bool {
    shown.maintenance.is_some_and(|planned| phases.contains(&planned.phase))
}

impl StatusPage {
    /// Reads from an address how its reader looks at the page. What it does not understand changes nothing.
    fn view(&self, uri: &Uri) -> View<'_> {
        let query = Query::<ViewQuery>::try_from_uri(uri).map(|Query(query)| query).unwrap_or_default();
        View::new(overview_path(uri), &self.brand, &query)
    }

    async fn read_overview(&self, now: Timestamp) -> Result<page::Overview<'_>, StoreError> {
        let all = self.incidents().await?;
        let sorted = page::sort_for_overview(&all.incidents, now);
        let (with_timeline, without) = sorted.current.split_at(sorted.current.len().min(TIMELINES_SHOWN));
        let mut listed = self.read_timelines(with_timeline, ENTRIES_SHOWN).await?;
        listed.extend(without.iter().map(|incident| IncidentTimeline {
            incident: incident.clone(),
            timeline: Vec::new(),
            truncated: true,
        }));
        Ok(page::Overview::of(&self.catalogue, &all, listed, sorted, self.since, now))
    }

    /// Returns all open incidents and the last of the others, as they were at most some seconds ago.
    async fn incidents(&self) -> Result<Arc<PublicIncidents>, StoreError> {
        let now = Instant::now();
        if let Some(kept) = self.kept.incidents(now) {
            return Ok(kept);
        }
        Ok(self.kept.keep_incidents(self.table.public_incidents(PAST_INCIDENTS_READ).await?, now))
    }

    /// Reads an incident with its timeline, and the incidents that its page names. `None` if the incident is unknown or not public: that costs
    /// one read, whoever asks for what.
    async fn read_incident(
        &self,
        id: &IncidentId,
    ) -> Result<Option<(IncidentTimeline, Arc<PublicIncidents>)>, StoreError> {
        let Some(incident) = self.table.public_incident(id).await? else { return Ok(None) };
        let all = self.incidents().await?;
        Ok(Some((self.read_timeline(incident, INCIDENT_PAGE_ENTRIES).await?, all)))
    }

    /// Reads the newest incidents that `wanted` selects, at most `most`, with their timelines, truncated to fit in a response.
    async fn read_newest(
        &self,
        wanted: impl Fn(&PublishedIncident) -> bool,
        most: usize,
    ) -> Result<Vec<IncidentTimeline>, StoreError> {
        let all = self.incidents().await?;
        self.read_selected(&all.incidents, wanted, most).await
    }

    async fn read_selected(
        &self,
        all: &[PublishedIncident],
        wanted: impl Fn(&PublishedIncident) -> bool,
        most: usize,
    ) -> Result<Vec<IncidentTimeline>, StoreError> {
        let chosen: Vec<PublishedIncident> = all.iter().filter(|shown| wanted(shown)).take(most).cloned().collect();
        let mut listed = self.read_timelines(&chosen, API_ENTRIES).await?;
        page::truncate_timelines(&mut listed, TEXT_MAX);
        Ok(listed)
    }

    async fn read_timelines(
        &self,
        incidents: &[PublishedIncident],
        limit: usize,
    ) -> Result<Vec<IncidentTimeline>, StoreError> {
        let each = incidents.iter().cloned().map(|incident| self.read_timeline(incident, limit));
        stream::iter(each.collect::<Vec<_>>()).buffered(PARALLEL_READS).try_collect().await
    }

    async fn read_timeline(&self, incident: PublishedIncident, limit: usize) -> Result<IncidentTimeline, StoreError> {
        let now = Instant::now();
        let kept = match self.kept.timeline(&incident, limit, now) {
            Some(kept) => kept,
            None => {
                let read = self.table.public_timeline(&incident.id, limit + 1).await?;
                self.kept.keep_timeline(&incident, limit, read, now)
            }
        };
        let mut timeline = kept.to_vec();
        let more = timeline.len() > limit;
        timeline.truncate(limit);
        Ok(IncidentTimeline { incident, timeline, truncated: more })
    }

    async fn maintenance_response(&self, api: &ApiId, headers: &HeaderMap, phases: &[Phase], most: usize) -> Response {
        let wanted = |shown: &PublishedIncident| in_phase(shown, phases);
        self.statuspage_response(api, headers, wanted, most, |page, board, listed| {
            json(&page.maintenance_list(board, listed, phases))
        })
        .await
    }

    /// Responds in the format of Statuspage's API about the incidents that `wanted` selects, newest first.
    async fn statuspage_response(
        &self,
        api: &ApiId,
        headers: &HeaderMap,
        wanted: impl Fn(&PublishedIncident) -> bool,
        most: usize,
        write: impl FnOnce(&StatusPageView<'_>, &StatusOverview, &[IncidentWithTimeline<'_>]) -> Option<String>,
    ) -> Response {
        allow_any_origin(self.build_statuspage_response(api, headers, wanted, most, write).await)
    }

    async fn build_statuspage_response(
        &self,
        api: &ApiId,
        headers: &HeaderMap,
        wanted: impl Fn(&PublishedIncident) -> bool,
        most: usize,
        write: impl FnOnce(&StatusPageView<'_>, &StatusOverview, &[IncidentWithTimeline<'_>]) -> Option<String>,
    ) -> Result<Response, StoreError> {
        let all = self.incidents().await?;
        let all = &all.incidents;
        let listed = self.read_selected(all, wanted, most).await?;
        let listed: Vec<IncidentWithTimeline<'_>> =
            listed.iter().map(|one| IncidentWithTimeline { incident: &one.incident, updates: &one.timeline }).collect();
        let base = api.address(&self.base);
        // Without any incident, a constant time keeps the ETag stable.
        let updated_at = all.iter().map(|shown| shown.updated_at).max().unwrap_or(Timestamp::UNIX_EPOCH);
        let page = StatusPageView {
            id: "tocsin",
            name: &self.brand.name,
            url: format!("{base}/status"),
            incident_url_prefix: format!("{base}/status/incidents/"),
            updated_at,
        };
        let board = summarize_status(&self.catalogue, all, clock::now());
        Ok(match write(&page, &board, &listed) {
            Some(body) => cacheable_response("application/json; charset=utf-8", body, headers),
            None => Problem::internal().into_response(),
        })
    }

    fn missing(&self, view: &View<'_>) -> Response {
        self.page(StatusCode::NOT_FOUND, page::render_not_found(view), &HeaderMap::new())
    }

    fn unavailable(&self, view: &View<'_>, error: &StoreError) -> Response {
        record_unavailable(error);
        let mut response =
            self.page(StatusCode::SERVICE_UNAVAILABLE, page::render_unavailable(view), &HeaderMap::new());
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("15"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.remove(header::ETAG);
        response
    }

    fn page(&self, status: StatusCode, page: Result<String, askama::Error>, request_headers: &HeaderMap) -> Response {
        let Ok(page) = page else {
            tracing::error!("cannot render the page");
            return Problem::internal().into_response();
        };
        // The ETag is weak: equal pages differ in their time of rendering.
        let tag = format!("W/{}", etag(&page::without_render_time(&page)));
        let mut response = respond_with_etag("text/html; charset=utf-8", page, &tag, request_headers);
        if status != StatusCode::OK {
            *response.status_mut() = status;
        }
        let headers = response.headers_mut();
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        response
    }
}

fn record_unavailable(error: &StoreError) {
    tracing::error!(%error, "cannot read the status from the table");
    metrics::count("StatusUnavailable", 1);
}

fn json<T: Serialize>(value: &T) -> Option<String> {
    serde_json::to_string(value).ok()
}

/// Allows scripts of any site to read a response. Everything here is public and there are no sessions.
fn allow_any_origin(answer: Result<Response, StoreError>) -> Response {
    let mut response = answer.unwrap_or_else(|error| {
        record_unavailable(&error);
        Problem::unavailable().into_response()
    });
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// Builds a response with an ETag that caches may keep for [`CACHE_CONTROL`]; 304 without a body if the client has it already.
fn cacheable_response(kind: &'static str, body: String, request_headers: &HeaderMap) -> Response {
    let tag = etag(&[&body]);
    respond_with_etag(kind, body, &tag, request_headers)
}

fn etag(parts: &[&str]) -> String {
    let digest = parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(part));
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest.finalize()))
}

fn respond_with_etag(kind: &'static str, body: String, tag: &str, request_headers: &HeaderMap) -> Response {
    let known = request_headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let same = known.is_some_and(|tags| tags.split(',').any(|known| opaque(known) == opaque(tag)));
    let mut response =
        if same { StatusCode::NOT_MODIFIED.into_response() } else { (StatusCode::OK, body).into_response() };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, CACHE_CONTROL),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("permissions-policy"), "interest-cohort=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Returns the content security policy: the one style sheet, by its hash, images in data URLs, and those of the logo's host. Nothing else
/// loads.
fn security_policy(logo: Option<&str>) -> String {
    let hash = STANDARD.encode(Sha256::digest(page::STYLE.as_bytes()));
    let logo = logo.and_then(logo_origin).map(|origin| format!(" {origin}")).unwrap_or_default();
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:{logo}; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    )
}

/// Returns the origin of an https URL; `None` for anything else, and for what would end a directive of the policy.
fn logo_origin(url: &str) -> Option<&str> {
    let host = url.strip_prefix("https://")?.split(['/', '?', '#']).next()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
    (!host.is_empty() && host.chars().all(is_plain)).then(|| url.get(.."https://".len() + host.len()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relative_path_to_the_overview_works_behind_any_stage() {
        let home = |path: &str| overview_path(&path.parse().unwrap());
        assert_eq!(home("/status"), "status");
        assert_eq!(home("/status/"), "../status");
        assert_eq!(home("/status/incidents/inc_a"), "../../status");
        assert_eq!(home("/status/a/b/c"), "../../../status");
    }

    #[test]
    fn the_security_policy_has_the_hash_of_the_embedded_style() {
        let policy = security_policy(None);
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        let brand = Brand::default();
        let view = View::new("status".to_owned(), &brand, &ViewQuery::default());
        let page = page::render_not_found(&view).unwrap();
        assert!(
            page.contains(&format!("<style>{}</style>", page::STYLE)),
            "the hash covers the text between the style tags"
        );
        assert!(!page.contains("<script") && !page.contains(" style="));
    }

    #[test]
    fn a_logo_is_loaded_from_its_own_host_and_nothing_else_is() {
        let policy = security_policy(Some("https://cdn.example.com/a/logo.svg?v=1"));
        assert!(policy.contains("img-src data: https://cdn.example.com;"), "{policy}");
        for bad in
            ["http://cdn.example.com/x", "https://", "https://a;script-src *", "javascript:alert(1)", "https://a b/"]
        {
            assert_eq!(logo_origin(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_unchanged_response_is_304_without_a_body() {
        let first = cacheable_response("application/json", "{}".into(), &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CACHE_CONTROL], CACHE_CONTROL);
        let tag = first.headers()[header::ETAG].clone();
        let mut request_headers = HeaderMap::new();
        request_headers.insert(
            header::IF_NONE_MATCH,
            HeaderValue::try_from(format!("\"x\", W/{}", tag.to_str().unwrap())).unwrap(),
        );
        let again = cacheable_response("application/json", "{}".into(), &request_headers);
        assert_eq!((again.status(), again.headers()[header::ETAG].clone()), (StatusCode::NOT_MODIFIED, tag));
        assert_eq!(cacheable_response("application/json", "[]".into(), &request_headers).status(), StatusCode::OK);
    }
}
