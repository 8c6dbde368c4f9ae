//! Trigger  `GET /status`, `GET /status/incidents/{id}`: open to everybody
//! Reads    the public index, and nothing else: what is not public is not there
//! Writes   nothing
//! Emits    nothing
//! Fails    AWS fault: 503, a page that says so and Retry-After
//! Config   [`config::Config`]
//!
//! Pages without script. An incident that is not public and one that never was get the same page.

pub mod config;
pub mod page;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::Config;
use domain::ids::IncidentId;
use futures::stream::{self, StreamExt, TryStreamExt};
use page::{ENTRIES_SHOWN, Told};
use runtime::http::HttpFunction;
use runtime::{Aws, StartError, clock, metrics};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use store::public::PublicIncident;
use store::{StoreError, Table};

/// The newest incidents that the overview is made of: more than a page can show with sense.
const NEWEST: usize = 1_000;
/// Open incidents that are shown with their timelines; those beyond stand there without.
const TIMELINES: usize = 50;
/// Timelines read at once.
const IN_FLIGHT: usize = 10;
/// Entries of an incident's own page.
const ENTRIES_OF_ONE: usize = 500;
/// How long a browser or a cache before us may keep a page, in seconds.
const FRESH: &str = "public, max-age=15";

/// The function.
#[derive(Debug)]
pub struct StatusPage {
    table: Table,
    policy: HeaderValue,
}

impl HttpFunction for StatusPage {
    const NAME: &'static str = env!("CARGO_PKG_NAME");

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        // It writes nothing, so how long rows live is no matter here.
        let table = Table::new(aws.config(), &config.table_name, store::RETENTION_DAYS);
        Ok(Self { table, policy: HeaderValue::try_from(security_policy()).map_err(StartError::new)? })
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/status", get(overview))
            .route("/status/", get(overview))
            .route("/status/incidents/{id}", get(incident))
            .fallback(missing)
            .with_state(self)
    }
}

async fn overview(State(this): State<Arc<StatusPage>>, uri: Uri) -> Response {
    let home = home(&uri);
    match this.read_overview().await {
        Ok((open, over)) => this.answer(StatusCode::OK, page::overview(&home, &open, &over, clock::now())),
        Err(error) => this.unavailable(&home, &error),
    }
}

async fn incident(State(this): State<Arc<StatusPage>>, Path(id): Path<String>, uri: Uri) -> Response {
    let home = home(&uri);
    let Some(id) = IncidentId::parse(&id) else { return this.missing(&home) };
    match this.read_incident(&id).await {
        Ok(Some(told)) => this.answer(StatusCode::OK, page::incident(&home, &told, clock::now())),
        Ok(None) => this.missing(&home),
        Err(error) => this.unavailable(&home, &error),
    }
}

async fn missing(State(this): State<Arc<StatusPage>>, uri: Uri) -> Response {
    this.missing(&home(&uri))
}

fn home(uri: &Uri) -> String {
    page::home(uri.path().strip_prefix("/status").unwrap_or_default())
}

impl StatusPage {
    async fn read_overview(&self) -> Result<(Vec<Told>, Vec<PublicIncident>), StoreError> {
        let (mut open, over) = page::sort(self.table.public_incidents(NEWEST).await?, clock::now());
        let beyond = open.split_off(open.len().min(TIMELINES));
        let mut told: Vec<Told> = stream::iter(open)
            .map(|incident| self.told(incident, ENTRIES_SHOWN))
            .buffered(IN_FLIGHT)
            .try_collect()
            .await?;
        told.extend(beyond.into_iter().map(|incident| Told { incident, timeline: Vec::new(), more: true }));
        Ok((told, over))
    }

    async fn read_incident(&self, id: &IncidentId) -> Result<Option<Told>, StoreError> {
        match self.table.public_incident(id).await? {
            Some(incident) => Ok(Some(self.told(incident, ENTRIES_OF_ONE).await?)),
            None => Ok(None),
        }
    }

    async fn told(&self, incident: PublicIncident, limit: usize) -> Result<Told, StoreError> {
        let mut timeline = self.table.public_timeline(&incident.id, limit + 1).await?;
        let more = timeline.len() > limit;
        timeline.truncate(limit);
        Ok(Told { incident, timeline, more })
    }

    fn missing(&self, home: &str) -> Response {
        self.answer(StatusCode::NOT_FOUND, page::not_found(home))
    }

    fn unavailable(&self, home: &str, error: &StoreError) -> Response {
        tracing::error!(%error, "the status cannot be read");
        metrics::count("StatusUnavailable", 1);
        let mut response = self.answer(StatusCode::SERVICE_UNAVAILABLE, page::unavailable(home));
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("15"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn answer(&self, status: StatusCode, page: Result<String, askama::Error>) -> Response {
        let Ok(page) = page else {
            tracing::error!("a page cannot be rendered");
            return runtime::http::Problem::internal().into_response();
        };
        let mut response = (status, page).into_response();
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, FRESH),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (HeaderName::from_static("permissions-policy"), "interest-cohort=()"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        response
    }
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
}
