//! Why somebody was, or would be, told or not: of every recipient, integration and channel.

use super::incidents::find;
use super::settings_of;
use crate::App;
use crate::access::{self, Limited, READ, answer};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::{ClassificationView, ExplainAnswer};
use contracts::intake::Defaults;
use domain::classification::Verdict;
use domain::ids::{Scope, TenantId};
use domain::incident::imagined;
use domain::plan::{Decision, afresh};
use domain::reason::Reason;
use domain::tenant::Destination;
use domain::vocabulary::Category;
use ledger::{Ledger, People, explained};
use runtime::clock;
use runtime::http::{Caller, Problem};

/// `GET /v1/tenants/{tenant}/incidents/{id}/explain`
pub(crate) async fn incident(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, READ)?;
    settings_of(&app, &tenant).await?;
    let incident = find(&app, &tenant, &id).await?;
    let ledger = Ledger::read(&app.table, &incident, &tenant);
    let (ledger, people) = futures::try_join!(ledger, People::read(&app.table, &tenant)).map_err(access::table)?;
    let body = ExplainAnswer {
        incident_id: Some(incident.id.to_string()),
        classification: ClassificationView {
            classification: "included".to_owned(),
            category: incident.category,
            rule: Some(incident.rule.clone()),
            reason: None,
        },
        decisions: ledger.entries(&people),
    };
    Ok(answer(StatusCode::OK, &body))
}

/// `POST /v1/tenants/{tenant}/explain`: what would happen to an event. Nothing is sent, nothing is stored.
pub(crate) async fn event(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    body: Limited,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, READ)?;
    settings_of(&app, &tenant).await?;
    let defaults = Defaults { tenant_ids: vec![tenant.clone()], ..Defaults::default() };
    let event = contracts::native::parse(&body.0, &defaults, "imagined").map_err(Problem::fields)?;
    if event.tenant_ids.iter().any(|named| *named != tenant) {
        let detail = "must name the tenant of the path, or be left out";
        return Err(Problem::fields(vec![contracts::problem::FieldError::new("/tenant_ids", detail)]));
    }
    let nothing = |classification: &str, rule: Option<String>, reason: Reason| ExplainAnswer {
        incident_id: None,
        classification: ClassificationView {
            classification: classification.to_owned(),
            category: None,
            rule,
            reason: Some(explained(reason, None, "")),
        },
        decisions: Vec::new(),
    };
    let included = match app.policy.classify(&event) {
        Verdict::Included(included) => included,
        Verdict::Excluded { rule } => {
            return Ok(answer(StatusCode::OK, &nothing("excluded", Some(rule), Reason::ExcludedByRule)));
        }
        Verdict::Unclassified => {
            return Ok(answer(StatusCode::OK, &nothing("unclassified", None, Reason::Unclassified)));
        }
    };
    if event.platform && !app.policy.may_be_platform_wide(&included) {
        return Ok(answer(StatusCode::OK, &nothing("unclassified", Some(included.rule), Reason::TenantMissing)));
    }
    let scope = if event.platform { Scope::Platform } else { Scope::Tenant(tenant.clone()) };
    let decisions = would(&app, &tenant, &imagined(&event, &included, &scope, clock::now())).await?;
    let people = People::read(&app.table, &tenant).await.map_err(access::table)?;
    let body = ExplainAnswer {
        incident_id: None,
        classification: ClassificationView {
            classification: "included".to_owned(),
            category: included.category,
            rule: Some(included.rule),
            reason: None,
        },
        decisions: ledger::imagined(&decisions, included.category, &people.names()),
    };
    Ok(answer(StatusCode::OK, &body))
}

/// The decisions on an imagined incident, from what routing itself would read.
async fn would(
    app: &App,
    tenant: &TenantId,
    (incident, update): &(domain::incident::Incident, domain::incident::Update),
) -> Result<Vec<Decision>, Problem> {
    // User-level warnings belong to no category; their subscribers are in every one.
    let category = incident.category.unwrap_or(Category::Configurable);
    let subscriber = app.table.subscriber(tenant, category).await.map_err(access::table)?;
    let Some(subscriber) = subscriber else { return Ok(Vec::new()) };
    let destinations: Vec<Destination> =
        subscriber.destinations.into_iter().map(|(_, destination)| destination).collect();
    Ok(afresh((incident, update), &subscriber.settings, &destinations, &app.policy, clock::now()))
}
