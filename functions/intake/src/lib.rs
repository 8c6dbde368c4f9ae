//! Trigger  `POST /v1/incidents`, `POST /v1/incidents/{id}/updates`, `GET /v1/incidents/{id}`, `GET /v1/events/{id}`,
//!          `POST /v1/intake/{format}`, PagerDuty's `/v2/enqueue`, Opsgenie's `/v2/alerts`; `IntakeQueue` (CloudWatch alarms)
//! Reads    tenants (whether they exist), event records, incidents, tokens of PagerDuty's and Opsgenie's clients; for a dry run the
//!          compiled subscriptions
//! Writes   idempotency keys; the scopes of a dedup key, for later requests that name only the key
//! Emits    one message for each named tenant, or one for the platform; 202 only once all of them are on the queue
//! Fails    bad request: the format's own error, naming the field. AWS fault: Retry-After and the status on which the format's clients
//!          retry
//! Config   [`config::Config`]
//!
//! It does not decide about incidents; classify does.

mod access;
mod alarms;
mod answers;
pub mod config;
mod drop_in;
mod dry_run;
mod enqueue;
mod native;
mod opsgenie;
mod pagerduty;
mod permissions;

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

/// The Lambda function: clients and configuration that every route uses.
#[derive(Debug)]
pub struct Intake {
    config: Config,
    policy: Policy,
    table: Table,
    queues: Queues,
}

/// The router's shared state.
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
            .route("/v1/incidents", post(native::post_event))
            .route("/v1/incidents/{id}", get(answers::get_incident))
            .route("/v1/incidents/{id}/updates", post(native::post_update))
            .route("/v1/events/{id}", get(answers::get_event))
            .route("/v1/intake/{format}", post(drop_in::post_format).options(drop_in::handshake))
            .route("/v2/enqueue", post(pagerduty::post_event))
            .route("/v2/change/enqueue", post(pagerduty::post_change))
            .route("/v2/alerts", post(opsgenie::create_alert))
            .route("/v2/alerts/requests/{id}", get(opsgenie::get_request))
            .route(
                "/v2/alerts/{*path}",
                get(opsgenie::get_alert)
                    .post(opsgenie::alert_action)
                    .put(opsgenie::alert_action)
                    .delete(opsgenie::alert_action),
            )
            .with_state(self)
    }
}

#[cfg(test)]
mod tests;
