//! Explains for every recipient, integration and channel why it was or would be notified or skipped.

use super::incidents::find_incident;
use super::load_settings;
use crate::App;
use crate::access::{self, LimitedBody, READ_SCOPES, json_response};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::{ClassificationView, ExplainAnswer};
use contracts::intake::TokenDefaults;
use domain::classification::Classification;
use domain::ids::{Scope, TenantId};
use domain::incident::simulate_opening;
use domain::plan::{Decision, plan_without_history};
use domain::reason::Reason;
use domain::tenant::Destination;
use domain::vocabulary::Category;
use ledger::{Destinations, Ledger, reason_view};
use runtime::clock;
use runtime::http::{Caller, Problem};

/// `GET /v1/tenants/{tenant}/incidents/{id}/explain`
pub(crate) async fn explain_incident(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    load_settings(&app, &tenant).await?;
    let incident = find_incident(&app, &tenant, &id).await?;
    let ledger = Ledger::read(&app.table, &incident, &tenant);
    let (ledger, destinations) =
        futures::try_join!(ledger, Destinations::read(&app.table, &tenant)).map_err(access::storage_problem)?;
    let body = ExplainAnswer {
        incident_id: Some(incident.id.to_string()),
        classification: ClassificationView {
            classification: "included".to_owned(),
            category: incident.category,
            rule: Some(incident.rule.clone()),
            reason: None,
        },
        decisions: ledger.entries(&destinations),
    };
    Ok(json_response(StatusCode::OK, &body))
}

/// `POST /v1/tenants/{tenant}/explain`: explains what would happen to an event, without sending or storing anything.
pub(crate) async fn explain_event(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    body: LimitedBody,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    load_settings(&app, &tenant).await?;
    let defaults = TokenDefaults { tenant_ids: vec![tenant.clone()], ..TokenDefaults::default() };
    let event = contracts::native::parse_event(&body.0, &defaults, "imagined").map_err(Problem::invalid_fields)?;
    if event.tenant_ids.iter().any(|named| *named != tenant) {
        let detail = "must list only the tenant of the path, or be left out";
        return Err(Problem::invalid_fields(vec![contracts::problem::FieldError::new("/tenant_ids", detail)]));
    }
    let without_decisions = |classification: &str, rule: Option<String>, reason: Reason| ExplainAnswer {
        incident_id: None,
        classification: ClassificationView {
            classification: classification.to_owned(),
            category: None,
            rule,
            reason: Some(reason_view(reason, None, "")),
        },
        decisions: Vec::new(),
    };
    let included = match app.policy.classify(&event) {
        Classification::Included(included) => included,
        Classification::Excluded { rule } => {
            return Ok(json_response(
                StatusCode::OK,
                &without_decisions("excluded", Some(rule), Reason::ExcludedByRule),
            ));
        }
        Classification::Unclassified => {
            return Ok(json_response(StatusCode::OK, &without_decisions("unclassified", None, Reason::Unclassified)));
        }
    };
    if event.platform && !app.policy.allows_platform_wide(&included) {
        return Ok(json_response(
            StatusCode::OK,
            &without_decisions("unclassified", Some(included.rule), Reason::TenantMissing),
        ));
    }
    let scope = if event.platform { Scope::Platform } else { Scope::Tenant(tenant.clone()) };
    let decisions =
        planned_decisions(&app, &tenant, &simulate_opening(&event, &included, &scope, clock::now())).await?;
    let destinations = Destinations::read(&app.table, &tenant).await.map_err(access::storage_problem)?;
    let body = ExplainAnswer {
        incident_id: None,
        classification: ClassificationView {
            classification: "included".to_owned(),
            category: included.category,
            rule: Some(included.rule),
            reason: None,
        },
        decisions: ledger::hypothetical_entries(&decisions, included.category, &destinations.names()),
    };
    Ok(json_response(StatusCode::OK, &body))
}

/// Plans a hypothetical incident from the same data that routing reads.
async fn planned_decisions(
    app: &App,
    tenant: &TenantId,
    (incident, update): &(domain::incident::Incident, domain::incident::Update),
) -> Result<Vec<Decision>, Problem> {
    // User-level warnings have no category; every category's subscription lists the same destinations.
    let category = incident.category.unwrap_or(Category::Configurable);
    let subscriber = app.table.subscriber(tenant, category).await.map_err(access::storage_problem)?;
    let Some(subscriber) = subscriber else { return Ok(Vec::new()) };
    let destinations: Vec<Destination> =
        subscriber.destinations.into_iter().map(|(_, destination)| destination).collect();
    Ok(plan_without_history(incident, update, &subscriber.settings, &destinations, &app.policy, clock::now()))
}
