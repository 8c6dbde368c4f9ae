//! Trigger     `POST /v1/tenants/{tenant}/test-alert`, `GET /v1/tenants/{tenant}/test-alert/{id}`; a direct invocation by an admin,
//!             allowed by IAM: `{"tenant_id": "acme", "category"?, "channel"?, "recipient_id"?, "integration_id"?, "wait_seconds"?,
//!             "confirm_all"?}`
//! Reads       the tenant, its compiled subscription, the test's incident, plan and deliveries
//! Writes      the number of tests that the tenant has sent
//! Emits       one event of type `test.alert`, marked as a test, to the classify queue that all events go through
//! On failure  caller's mistakes: problem+json that names the field; 429 after too many tests. AWS unavailable: 503 with Retry-After
//! Config      [`config::Config`]
//!
//! A test uses the real queues, rules and senders, and every rule that skips a destination applies to it. Unlike a real alert it is
//! attempted once, reaches disabled endpoints, never disables one, and counts against no limit but that of test alerts (`storms.yaml`).
//! Its severity is critical, so that it reaches everybody whom the most severe real alert would reach.

pub mod config;
mod request;
mod rows;

use aws::sqs::{OutgoingMessage, Queues};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use config::Config;
use contracts::http::scopes::{ALERTS_MANAGE, ALERTS_TEST, PLATFORM_ADMIN};
use contracts::http::{TestAlertAnswer, TestAlertBody};
use contracts::problem::FieldError;
use contracts::queue::IncidentReceived;
use domain::classification::Classification;
use domain::ids::{EventId, IncidentId, Scope, TenantId};
use domain::incident::{opened_incident_id, simulate_opening};
use domain::plan::{Decision, DecisionOutcome, plan_without_history};
use domain::policy::{Policy, RateLimit};
use domain::tenant::{Destination, Settings};
use domain::vocabulary::Category;
use jiff::{SignedDuration, Timestamp};
use ledger::{Destinations, Ledger};
use request::TestRequest;
use runtime::http::{Caller, CorrelationId, HttpFunction, Problem};
use runtime::{Aws, DirectError, StartError, clock, ids};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use store::Table;

/// Scopes that may send test alerts; any one is enough.
const TEST_SCOPES: &[&str] = &[ALERTS_TEST, ALERTS_MANAGE, PLATFORM_ADMIN];
/// Longest `wait_seconds` through the API. API Gateway ends a request after 29 seconds.
const API_WAIT_MAX: u32 = 25;
/// Longest `wait_seconds` of a direct invocation.
const DIRECT_WAIT_MAX: u32 = 60;
/// Tests that reach more destinations than this need `confirm_all`.
const CONFIRM_ABOVE: usize = 10;
/// Pause between two reads of the result while the caller waits.
const POLL_INTERVAL: Duration = Duration::from_millis(400);
/// Largest request body, in bytes.
const BODY_MAX: usize = 4 * 1024;

/// The Lambda function and its clients.
#[derive(Debug)]
pub struct TestAlert {
    config: Config,
    policy: Policy,
    table: Table,
    queues: Queues,
}

type App = Arc<TestAlert>;

impl HttpFunction for TestAlert {
    const NAME: &'static str = env!("CARGO_PKG_NAME");

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        Ok(Self {
            policy: Policy::embedded().map_err(StartError::new)?,
            table: Table::new(aws.config(), &config.table_name, config.retention_days),
            queues: Queues::new(aws.config()),
            config,
        })
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/v1/tenants/{tenant}/test-alert", post(send))
            .route("/v1/tenants/{tenant}/test-alert/{id}", get(read))
            .with_state(self)
    }

    async fn handle_direct(&self, event: Value) -> Result<Value, DirectError> {
        let body: TestAlertBody = contracts::problem::parse_object(event.to_string().as_bytes())
            .map_err(|error| DirectError::new("BadRequest", format!("{}: {}", error.pointer, error.detail)))?;
        let named = body.tenant_id.as_deref().and_then(|id| TenantId::parse(id).ok());
        let tenant =
            named.ok_or_else(|| DirectError::new("BadRequest", "/tenant_id: is required; send the id of a tenant"))?;
        let answer = self.run_test(&tenant, &body, DIRECT_WAIT_MAX, &ids::id_suffix()).await;
        let answer = answer.map_err(|problem| DirectError::new("Refused", problem.detail))?;
        serde_json::to_value(answer).map_err(|_| DirectError::new("Internal", "the response could not be encoded"))
    }
}

/// `POST /v1/tenants/{tenant}/test-alert`
async fn send(
    State(app): State<App>,
    caller: Caller,
    correlation: CorrelationId,
    Path(path): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, TEST_SCOPES)?;
    if body.len() > BODY_MAX {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 4 KiB; send a smaller one"));
    }
    let body: TestAlertBody = if body.is_empty() {
        TestAlertBody::default()
    } else {
        contracts::problem::parse_object(&body).map_err(|error| Problem::invalid_fields(vec![error]))?
    };
    if body.tenant_id.as_deref().is_some_and(|named| named != tenant.as_str()) {
        return Err(field_problem("/tenant_id", "must be the tenant of the path, or be left out"));
    }
    let answer = app.run_test(&tenant, &body, API_WAIT_MAX, &correlation.0).await?;
    tracing::info!(%tenant, token = caller.token_id, test = answer.test_id, "a test alert was sent");
    Ok(json_response(&answer))
}

/// `GET /v1/tenants/{tenant}/test-alert/{id}`
async fn read(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, TEST_SCOPES)?;
    let event = EventId::parse(&id).ok_or_else(test_not_found)?;
    let settings = app.table.settings(&tenant).await.map_err(storage_problem)?.ok_or_else(Problem::tenant_not_found)?;
    let incident = incident_of(&event, &tenant);
    let head = app.table.incident(&incident).await.map_err(storage_problem)?;
    let category = head.filter(|head| head.test).and_then(|head| head.category).ok_or_else(test_not_found)?;
    Ok(json_response(&app.read_result(&settings, &event, category, &[]).await?))
}

fn test_not_found() -> Problem {
    Problem::not_found("this tenant has no such test alert; if you just sent it, try again in a second")
}

fn json_response(answer: &TestAlertAnswer) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(answer)).into_response()
}

fn field_problem(pointer: &str, detail: &str) -> Problem {
    Problem::invalid_fields(vec![FieldError::new(pointer, detail)])
}

fn storage_problem(error: store::StoreError) -> Problem {
    tracing::error!(%error, "a table operation failed");
    Problem::unavailable()
}

/// Returns the id of the test's incident, which is known before the incident exists: every test has a dedup key of its own.
fn incident_of(event: &EventId, tenant: &TenantId) -> IncidentId {
    opened_incident_id(event, &Scope::Tenant(tenant.clone()), None)
}

impl TestAlert {
    /// Sends a test alert and waits for its outcomes.
    async fn run_test(
        &self,
        tenant: &TenantId,
        body: &TestAlertBody,
        wait_max: u32,
        correlation: &str,
    ) -> Result<TestAlertAnswer, Problem> {
        let settings =
            self.table.settings(tenant).await.map_err(storage_problem)?.ok_or_else(Problem::tenant_not_found)?;
        let request = request::parse(body, &settings, wait_max).map_err(Problem::invalid_fields)?;
        let now = clock::now();
        let planned = self.plan_test(&settings, &request, now).await?;
        if planned.is_empty() {
            return Err(no_destination(&request));
        }
        let reached: BTreeSet<&str> = planned
            .iter()
            .filter(|decision| !matches!(decision.outcome, DecisionOutcome::Skip { .. }))
            .map(|decision| decision.destination.as_str())
            .collect();
        if reached.len() > CONFIRM_ABOVE && !request.confirm_all {
            let detail =
                format!("this would reach {} recipients and integrations; send true to send it anyway", reached.len());
            return Err(field_problem("/confirm_all", &detail));
        }
        let exceeded =
            self.table.count_test_alert(tenant, &self.policy.storms.tests, now).await.map_err(storage_problem)?;
        if let Some((limit, seconds)) = exceeded {
            return Err(rate_limited(limit, seconds));
        }
        let event_id = EventId::new(&ids::id_suffix());
        let event = request::build_event(&request, &settings, event_id.as_str());
        let message = IncidentReceived::system_event(tenant, event, event_id.clone(), correlation, now);
        let body = serde_json::to_string(&message).map_err(|_| Problem::internal())?;
        let (group, dedup) = (Some(message.message_group_id()), Some(message.deduplication_id()));
        let outgoing = OutgoingMessage { body, group, dedup, ..OutgoingMessage::default() };
        self.queues.send(&self.config.classify_queue_url, &outgoing).await.map_err(|error| {
            tracing::error!(%error, "cannot queue a test alert");
            Problem::unavailable()
        })?;
        let until = now.saturating_add(SignedDuration::from_secs(request.wait_seconds.into())).unwrap_or(now);
        loop {
            let answer = self.read_result(&settings, &event_id, request.category, &planned).await?;
            if answer.complete || clock::now() >= until {
                return Ok(answer);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Predicts what routing will decide, with the same rules and the same data.
    async fn plan_test(
        &self,
        settings: &Settings,
        request: &TestRequest,
        now: Timestamp,
    ) -> Result<Vec<Decision>, Problem> {
        let event = request::build_event(request, settings, "planned");
        let Classification::Included(included) = self.policy.classify(&event) else {
            let detail = "this deployment has no classification rule for test alerts of this category; choose another one, or tell the operator";
            return Err(field_problem("/category", detail));
        };
        let subscriber = self.table.subscriber(&settings.tenant, request.category).await.map_err(storage_problem)?;
        let Some(subscriber) = subscriber else { return Ok(Vec::new()) };
        let destinations: Vec<Destination> =
            subscriber.destinations.into_iter().map(|(_, destination)| destination).collect();
        let (incident, update) = simulate_opening(&event, &included, &Scope::Tenant(settings.tenant.clone()), now);
        Ok(plan_without_history(&incident, &update, &subscriber.settings, &destinations, &self.policy, now))
    }

    /// Reads the outcomes of a test. Until routing has planned it, the rows are those predicted by `planned`.
    async fn read_result(
        &self,
        settings: &Settings,
        event: &EventId,
        category: Category,
        planned: &[Decision],
    ) -> Result<TestAlertAnswer, Problem> {
        let tenant = &settings.tenant;
        let incident_id = incident_of(event, tenant);
        // Boxed to keep the callers' futures small.
        let destinations = Box::pin(Destinations::read(&self.table, tenant));
        let (head, destinations) =
            futures::try_join!(self.table.incident(&incident_id), destinations).map_err(storage_problem)?;
        let ledger = match &head {
            Some(head) => Some(Box::pin(Ledger::read(&self.table, head, tenant)).await.map_err(storage_problem)?),
            None => None,
        };
        let entries = match ledger.filter(|ledger| !ledger.plans.is_empty()) {
            Some(ledger) => ledger.entries(&destinations),
            None => rows::mark_pending(ledger::hypothetical_entries(planned, Some(category), &destinations.names())),
        };
        let notes = rows::hold_notes(&destinations, settings, &self.policy, clock::now());
        let rows: Vec<_> = entries
            .iter()
            .map(|entry| rows::build_row(entry, &destinations, &self.config.email_from, &notes))
            .collect();
        Ok(TestAlertAnswer {
            test_id: event.to_string(),
            incident_id: incident_id.to_string(),
            category,
            complete: !rows.is_empty() && rows.iter().all(|row| row.outcome != "pending"),
            rows,
        })
    }
}

/// 429 for a tenant that has sent too many tests; `seconds` until it may send the next one.
fn rate_limited(limit: &RateLimit, seconds: i64) -> Problem {
    let detail = format!(
        "this tenant has sent {} test alerts in {} minutes, which is the limit; try again after the seconds in Retry-After",
        limit.messages, limit.minutes
    );
    Problem::new(StatusCode::TOO_MANY_REQUESTS, &detail).retry_after(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// 422 for a test that no destination matches.
fn no_destination(request: &TestRequest) -> Problem {
    match (&request.test_of.destination, request.test_of.channels.is_empty()) {
        (Some(id), _) if id.starts_with(domain::ids::RecipientId::PREFIX) => {
            field_problem("/recipient_id", "this tenant has no such recipient, or the recipient has no such channel")
        }
        (Some(_), _) => field_problem(
            "/integration_id",
            "this tenant has no such integration, or the integration has another channel",
        ),
        (None, false) => {
            field_problem("/channel", "no recipient or integration of this tenant has this channel; add one")
        }
        (None, true) => field_problem("", "this tenant has no destinations to test; add a recipient or an integration"),
    }
}

#[cfg(test)]
mod tests;
