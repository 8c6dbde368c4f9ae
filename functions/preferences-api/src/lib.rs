//! Trigger     `/v1/tenants/…`, `/v1/tokens…`, `/v1/suppressions/…`, `/v1/name-requests` (behind the authorizer); `/unsubscribe`, `/stop`, `/confirm`, `/resubscribe`,
//!             `/never`, `/read`, `/r/…` (no authorizer: the link is signed);
//!             a direct invocation by an operator: `{"bootstrap": "platform_admin"}`, `{"recompile": "<tenant>"}`, `{"keys": …}`
//! Reads       tenants, recipients, integrations, tokens; incidents with their plans and deliveries
//! Writes      tenants, recipients, integrations (each with the compiled subscriptions and an audit entry), tokens; a failed delivery
//!             that an admin resends, with its item of the due index; the data keys
//! Emits       confirmation requests, to the e-mail and SMS queues; system events for org admins, to the classify queue
//! On failure  caller's mistakes: problem+json that names every wrong field. AWS unavailable: 503 with Retry-After
//! Config      [`config::Config`]
//!
//! The authorizer identifies the caller. Each route checks again that the caller may act for the tenant in its path; another tenant's
//! object is a 404.

pub mod config;

mod access;
mod bootstrap;
mod check;
mod confirmation_requests;
mod data_keys;
mod kept;
mod notices;
mod pages;
mod patch;
mod routes;

use aws::sqs::Queues;
use axum::Router;
use axum::routing::{delete, get, post, put};
use config::Config;
use contracts::http::OperatorCommand;
use domain::policy::Policy;
use jiff::SignedDuration;
use outbound::Exceptions;
use routes::{
    audit, catalogue, confirmation, deliveries, explain, impact, incidents, integrations, lint, name_requests,
    recipients, settings, status, support, suppressions, tokens,
};
use runtime::http::HttpFunction;
use runtime::{Aws, DirectError, StartError, clock, ids};
use serde_json::Value;
use std::sync::Arc;
use store::Table;
use vault::{Fingerprints, LazyKeyring};

/// The preferences API: settings, recipients, integrations, tokens and the delivery log of each tenant.
#[derive(Debug)]
pub struct PreferencesApi {
    policy: Policy,
    table: Table,
    retention_days: u32,
    kept: kept::KeptAnswers,
    kms_key_id: String,
    /// After how long no function seals or signs with an earlier generation of the data key.
    data_key_settling: SignedDuration,
    keyring: LazyKeyring,
    fingerprints: Fingerprints,
    exceptions: Exceptions,
    operator_email: String,
    email_from: String,
    sms_sender: Option<String>,
    /// The page on which tenants contact Support.
    support_url: Option<String>,
    queues: Queues,
    classify_queue_url: String,
    email_queue_url: String,
    sms_queue_url: String,
    public_base_url: String,
}

/// The state that the router shares with every request.
pub(crate) type App = Arc<PreferencesApi>;

impl HttpFunction for PreferencesApi {
    const NAME: &'static str = env!("CARGO_PKG_NAME");

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days)
            .with_due_index(config.due_shards, &ids::id_suffix());
        let keyring = LazyKeyring::create(aws.config(), &table, &config.kms_key_id, clock::now()).await;
        let (keyring, fingerprints) = keyring.map_err(StartError::new)?;
        let exceptions = config.outbound_exceptions.as_deref().unwrap_or_default();
        Ok(Self {
            policy: Policy::embedded().map_err(StartError::new)?,
            table,
            retention_days: config.retention_days,
            kept: kept::KeptAnswers::default(),
            kms_key_id: config.kms_key_id,
            data_key_settling: SignedDuration::from_secs(i64::from(config.data_key_settling_seconds)),
            keyring,
            fingerprints,
            exceptions: Exceptions::parse(exceptions).map_err(StartError::new)?,
            operator_email: config.operator_email,
            email_from: config.email_from,
            sms_sender: config.sms_sender_id,
            support_url: config.support_url,
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
            .route("/v1/tenants/{tenant}/recipients/{id}/confirmation", post(confirmation::resend))
            .route("/v1/tenants/{tenant}/recipients/{id}/confirm", post(confirmation::confirm_by_code))
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
            .route("/v1/tenants/{tenant}/incidents/{id}/explain", get(explain::explain_incident))
            .route("/v1/tenants/{tenant}/explain", post(explain::explain_event))
            .route("/v1/tenants/{tenant}/incidents/{id}/support", get(support::read))
            .route("/v1/tenants/{tenant}/incidents/{id}/resend", post(deliveries::resend))
            .route("/v1/tenants/{tenant}/deliveries", get(deliveries::list))
            .route("/v1/tenants/{tenant}/lint", get(lint::read))
            .route("/v1/tenants/{tenant}/catalogue", get(catalogue::read))
            .route("/v1/tenants/{tenant}/status", get(status::read))
            .route("/v1/tenants/{tenant}/impact", get(impact::read))
            .route("/v1/tenants/{tenant}/audit", get(audit::list))
            .route("/v1/suppressions/{id}", get(suppressions::read).delete(suppressions::lift))
            .route("/v1/name-requests", get(name_requests::list))
            .route("/v1/tokens", get(tokens::list).post(tokens::issue))
            .route("/v1/tokens/{id}", delete(tokens::revoke))
            .route("/v1/tokens/{id}/rotate", post(tokens::rotate))
            .route("/unsubscribe", get(pages::unsubscribe::show).post(pages::unsubscribe::submit))
            .route("/confirm", get(pages::confirm::show).post(pages::confirm::submit))
            .route("/stop", get(pages::stop::show).post(pages::stop::submit))
            .route("/resubscribe", get(pages::resubscribe::show).post(pages::resubscribe::submit))
            .route("/never", get(pages::never::show).post(pages::never::submit))
            .route("/read", get(pages::read::show))
            .route("/r/{token}", get(pages::read::show_short))
            .with_state(self)
    }

    async fn handle_direct(&self, event: Value) -> Result<Value, DirectError> {
        match serde_json::from_value(event) {
            Ok(OperatorCommand::Bootstrap(_)) => bootstrap::issue_admin_token(self).await,
            Ok(OperatorCommand::Recompile(tenant)) => bootstrap::recompile_subscriptions(self, &tenant).await,
            Ok(OperatorCommand::Keys(command)) => data_keys::run(self, command).await,
            Err(_) => Err(DirectError::new(
                "BadRequest",
                "send {\"bootstrap\": \"platform_admin\"}, {\"recompile\": \"<tenant>\"}, {\"keys\": \"status\"}, {\"keys\": \"rotate\"}, \
                 {\"keys\": \"reseal\"} or {\"keys\": {\"retire\": {\"generation\": 1, \"now\": false}}}",
            )),
        }
    }
}

#[cfg(test)]
mod tests;
