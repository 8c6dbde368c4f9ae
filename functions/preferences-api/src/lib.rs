//! Trigger     `/v1/tenants/…`, `/v1/tokens…` (authorizer); `/unsubscribe`, `/stop`, `/confirm`, `/read` (open:
//!             the link is signed);
//!             a direct invocation by an operator: `{"bootstrap": "platform_admin"}`, `{"recompile": "<tenant>"}`
//! Reads       tenants, recipients, integrations, tokens; incidents with their plans and deliveries
//! Writes      tenants, recipients, integrations (with compiled subscriptions and audit), tokens; a failed delivery that is to be
//!             sent again, with its due work
//! Emits       confirmations, to the queues of e-mail and SMS; notices to org admins, on the queue of every event
//! On failure  the caller: problem+json that names every wrong field. AWS: 503 with Retry-After
//! Config      [`config::Config`]
//!
//! The authorizer says who is calling; here every path's tenant is checked against it again, and another tenant's object
//! is a 404.

pub mod config;

mod access;
mod bootstrap;
mod check;
mod notices;
mod pages;
mod patch;
mod routes;

use aws::sqs::Queues;
use axum::Router;
use axum::routing::{delete, get, post, put};
use config::Config;
use contracts::http::Operator;
use domain::policy::Policy;
use outbound::Exceptions;
use routes::{
    audit, catalogue, confirmation, deliveries, explain, impact, incidents, integrations, lint, recipients, settings,
    status, support, tokens,
};
use runtime::http::HttpFunction;
use runtime::{Aws, DirectError, StartError, clock};
use serde_json::Value;
use std::sync::Arc;
use store::Table;
use vault::Keyring;

/// The function.
#[derive(Debug)]
pub struct PreferencesApi {
    policy: Policy,
    table: Table,
    retention_days: u32,
    keyring: Keyring,
    exceptions: Exceptions,
    operator_email: String,
    email_from: String,
    sms_sender: Option<String>,
    queues: Queues,
    classify_queue_url: String,
    email_queue_url: String,
    sms_queue_url: String,
    public_base_url: String,
}

/// The state of the router.
pub(crate) type App = Arc<PreferencesApi>;

impl HttpFunction for PreferencesApi {
    const NAME: &'static str = env!("CARGO_PKG_NAME");

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days);
        let kms = aws::kms::Keys::new(aws.config());
        let keyring = vault::load(&table, &kms, &config.kms_key_id, clock::now()).await.map_err(StartError::new)?;
        let exceptions = config.outbound_exceptions.as_deref().unwrap_or_default();
        Ok(Self {
            policy: Policy::embedded().map_err(StartError::new)?,
            table,
            retention_days: config.retention_days,
            keyring,
            exceptions: Exceptions::parse(exceptions).map_err(StartError::new)?,
            operator_email: config.operator_email,
            email_from: config.email_from,
            sms_sender: config.sms_sender_id,
            queues: Queues::new(aws.config()),
            classify_queue_url: config.classify_queue_url,
            email_queue_url: config.deliver_email_queue_url,
            sms_queue_url: config.deliver_sms_queue_url,
            public_base_url: config.public_base_url,
        })
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/v1/tenants/{tenant}", put(settings::put_tenant).get(settings::read))
            .route("/v1/tenants/{tenant}/settings", get(settings::read).put(settings::replace).patch(settings::patch))
            .route("/v1/tenants/{tenant}/recipients", get(recipients::list).post(recipients::create))
            .route(
                "/v1/tenants/{tenant}/recipients/{id}",
                get(recipients::read).put(recipients::replace).patch(recipients::patch).delete(recipients::remove),
            )
            .route("/v1/tenants/{tenant}/recipients/{id}/confirmation", post(confirmation::again))
            .route("/v1/tenants/{tenant}/recipients/{id}/confirm", post(confirmation::by_code))
            .route("/v1/tenants/{tenant}/integrations", get(integrations::list).post(integrations::create))
            .route(
                "/v1/tenants/{tenant}/integrations/{id}",
                get(integrations::read)
                    .put(integrations::replace)
                    .patch(integrations::patch)
                    .delete(integrations::remove),
            )
            .route("/v1/tenants/{tenant}/integrations/{id}/secret", post(integrations::rotate_secret))
            .route("/v1/tenants/{tenant}/incidents", get(incidents::list))
            .route("/v1/tenants/{tenant}/incidents/{id}", get(incidents::read))
            .route("/v1/tenants/{tenant}/incidents/{id}/explain", get(explain::incident))
            .route("/v1/tenants/{tenant}/explain", post(explain::event))
            .route("/v1/tenants/{tenant}/incidents/{id}/support", get(support::read))
            .route("/v1/tenants/{tenant}/incidents/{id}/resend", post(deliveries::resend))
            .route("/v1/tenants/{tenant}/deliveries", get(deliveries::list))
            .route("/v1/tenants/{tenant}/lint", get(lint::read))
            .route("/v1/tenants/{tenant}/catalogue", get(catalogue::read))
            .route("/v1/tenants/{tenant}/status", get(status::read))
            .route("/v1/tenants/{tenant}/impact", get(impact::read))
            .route("/v1/tenants/{tenant}/audit", get(audit::list))
            .route("/v1/tokens", get(tokens::list).post(tokens::issue))
            .route("/v1/tokens/{id}", delete(tokens::revoke))
            .route("/v1/tokens/{id}/rotate", post(tokens::rotate))
            .route("/unsubscribe", get(pages::unsubscribe::show).post(pages::unsubscribe::act))
            .route("/confirm", get(pages::confirm::show).post(pages::confirm::act))
            .route("/stop", get(pages::stop::show).post(pages::stop::act))
            .route("/read", get(pages::read::show))
            .with_state(self)
    }

    async fn direct(&self, event: Value) -> Result<Value, DirectError> {
        match serde_json::from_value(event) {
            Ok(Operator::Bootstrap(_)) => bootstrap::platform_admin(self).await,
            Ok(Operator::Recompile(tenant)) => bootstrap::recompile(self, &tenant).await,
            Err(_) => Err(DirectError::new(
                "BadRequest",
                "send {\"bootstrap\": \"platform_admin\"} or {\"recompile\": \"<tenant>\"}",
            )),
        }
    }
}

#[cfg(test)]
mod tests;
