//! Trigger  `POST /v1/incidents`, `POST /v1/incidents/{id}/updates`, `GET /v1/incidents/{id}`, `GET /v1/events/{id}`,
//!          `POST /v1/intake/{format}`, PagerDuty's `/v2/enqueue`, Opsgenie's `/v2/alerts`; `IntakeQueue` (CloudWatch alarms)
//! Reads    tenants (do they exist?), event records, incidents, tokens of other products' clients; for a dry run compiled
//!          subscriptions
//! Writes   idempotency keys; whose a key is that later requests name alone
//! Emits    one message a named tenant, or one for the platform; 202 only when all are durably on the queue
//! Fails    the caller: in the format's own words, naming the field. AWS: with Retry-After and the status that the format's
//!          clients try again
//! Config   [`config::Config`]
//!
//! It decides nothing about incidents.

mod accept;
mod access;
mod alarms;
mod answers;
pub mod config;
mod drop_in;
mod dry_run;
mod opsgenie;
mod pagerduty;

pub use alarms::Alarms;

use aws::sqs::Queues;
use axum::Router;
use axum::routing::{get, post};
use config::Config;
use domain::policy::Policy;
use runtime::http::HttpFunction;
use runtime::{Aws, StartError};
use std::sync::Arc;
use store::Table;

/// What every route needs.
#[derive(Debug)]
pub struct Intake {
    config: Config,
    policy: Policy,
    table: Table,
    queues: Queues,
}

/// The state of the router.
pub(crate) type App = Arc<Intake>;

impl HttpFunction for Intake {
    const NAME: &'static str = env!("CARGO_PKG_NAME");

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days);
        Ok(Self {
            policy: Policy::embedded().map_err(StartError::new)?,
            table,
            queues: Queues::new(aws.config()),
            config,
        })
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/v1/incidents", post(accept::native))
            .route("/v1/incidents/{id}", get(answers::incident))
            .route("/v1/incidents/{id}/updates", post(accept::update))
            .route("/v1/events/{id}", get(answers::event))
            .route("/v1/intake/{format}", post(drop_in::post).options(drop_in::handshake))
            .route("/v2/enqueue", post(pagerduty::event))
            .route("/v2/change/enqueue", post(pagerduty::change))
            .route("/v2/alerts", post(opsgenie::create))
            .route("/v2/alerts/requests/{id}", get(opsgenie::request))
            .route("/v2/alerts/{identifier}/{action}", post(opsgenie::act))
            .with_state(self)
    }
}

#[cfg(test)]
mod tests;
