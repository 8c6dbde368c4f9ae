//! The delivery log of a tenant over all its incidents, and sending a failed delivery again.

use super::incidents::{find_incident, parse_period};
use super::{audit_entry, load_settings};
use crate::App;
use crate::access::{self, LimitedBody, MANAGE_SCOPES, READ_SCOPES, json_response};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::{DeliveryLog, DeliveryLogEntry, ExplainEntry, ResendBody};
use contracts::problem::FieldError;

use domain::delivery::{AttemptKey, DeliveryState, delivery_row_key};
use domain::due::ScheduledDelivery;
use domain::ids::{IntegrationId, RecipientId, TenantId};
use domain::incident::Incident;
use domain::permission::refused_for_tenant;
use domain::plan::{DecisionOutcome, unreachable_reason};
use domain::tenant::Destination;
use domain::vocabulary::Channel;
use jiff::Timestamp;
use ledger::{Destinations, Ledger};
use runtime::http::{Caller, Problem};
use runtime::{clock, ids};
use serde::Deserialize;
use store::incidents::IncidentListCursor;

/// Entries on a page, unless the query has a `limit`.
const PAGE_SIZE: usize = 50;
/// Largest `limit` that a request may name.
const PAGE_SIZE_MAX: usize = 200;
/// Most incidents that one request reads. Each takes three reads of the table.
const INCIDENTS_MAX: usize = 40;
/// Incidents to read before checking whether the page is full.
const INCIDENTS_PER_READ: usize = 10;
/// The outcomes that the query can filter by.
const OUTCOMES: [&str; 6] = ["delivered", "accepted", "pending", "held", "skipped", "failed"];

/// The query parameters as text, so that each wrong one can be reported.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct DeliveryParams {
    from: Option<String>,
    to: Option<String>,
    channel: Option<String>,
    recipient_id: Option<String>,
    integration_id: Option<String>,
    outcome: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// Query parameters after validation.
#[derive(Debug)]
struct DeliveryFilter {
    from: Timestamp,
    to: Timestamp,
    channels: Vec<Channel>,
    destination: Option<String>,
    outcome: Option<String>,
    limit: usize,
    cursor: Option<IncidentListCursor>,
}

impl DeliveryParams {
    fn into_filter(self, now: Timestamp) -> Result<DeliveryFilter, Vec<FieldError>> {
        let mut errors = Vec::new();
        let (from, to) = parse_period(self.from.as_deref(), self.to.as_deref(), now, &mut errors);
        let channels: Vec<Channel> = match self.channel.as_deref() {
            None | Some("") => Channel::ALL.to_vec(),
            Some("chat") => vec![Channel::Slack, Channel::Teams],
            Some(word) => Channel::ALL.iter().copied().filter(|channel| channel.as_str() == word).collect(),
        };
        if channels.is_empty() {
            errors.push(FieldError::new("query:channel", "must be email, sms, chat, slack, teams or webhook"));
        }
        let outcome = self.outcome.filter(|word| !word.is_empty());
        if outcome.as_deref().is_some_and(|word| !OUTCOMES.contains(&word)) {
            errors.push(FieldError::new("query:outcome", format!("must be one of {}", OUTCOMES.join(", "))));
        }
        let limit = access::parse_limit(self.limit.as_deref(), PAGE_SIZE, PAGE_SIZE_MAX, &mut errors);
        let cursor = access::parse_incident_cursor(self.cursor.as_deref(), &mut errors);
        let destination = self.recipient_id.or(self.integration_id).filter(|id| !id.is_empty());
        if errors.is_empty() {
            Ok(DeliveryFilter { from, to, channels, destination, outcome, limit, cursor })
        } else {
            Err(errors)
        }
    }
}

impl DeliveryFilter {
    fn matches(&self, entry: &ExplainEntry) -> bool {
        let id = entry.recipient_id.as_ref().or(entry.integration_id.as_ref());
        self.channels.contains(&entry.channel)
            && self.outcome.as_ref().is_none_or(|outcome| *outcome == entry.outcome)
            && self.destination.as_ref().is_none_or(|filter| id == Some(filter))
    }
}

/// `GET /v1/tenants/{tenant}/deliveries`: deliveries of the incidents that were opened in a period, newest first. A page ends after a
/// whole incident, so it may have a few entries more or fewer than its limit.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    Query(params): Query<DeliveryParams>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    let filter = params.into_filter(clock::now()).map_err(Problem::invalid_fields)?;
    load_settings(&app, &tenant).await?;
    let destinations = Destinations::read(&app.table, &tenant).await.map_err(access::storage_problem)?;
    let mut deliveries = Vec::new();
    let mut cursor = filter.cursor.clone();
    for _ in 0..INCIDENTS_MAX / INCIDENTS_PER_READ {
        let page = app.table.incident_list(&tenant, filter.from, filter.to, cursor.as_ref(), INCIDENTS_PER_READ);
        let page = page.await.map_err(access::storage_problem)?;
        for id in page.entries.iter().filter_map(|seen| seen.incident_id.as_ref()) {
            let Some(incident) = app.table.incident(id).await.map_err(access::storage_problem)? else { continue };
            let ledger =
                Box::pin(Ledger::read(&app.table, &incident, &tenant)).await.map_err(access::storage_problem)?;
            let entries = ledger.planned_entries(&destinations).into_iter().rev().filter(|entry| filter.matches(entry));
            deliveries.extend(entries.map(|entry| logged_delivery(&incident, entry)));
        }
        cursor = page.next;
        if cursor.is_none() || deliveries.len() >= filter.limit {
            break;
        }
    }
    let next = cursor.map(|cursor| cursor.to_text());
    Ok(json_response(StatusCode::OK, &DeliveryLog { from: filter.from, to: filter.to, deliveries, next }))
}

fn logged_delivery(incident: &Incident, entry: ExplainEntry) -> DeliveryLogEntry {
    DeliveryLogEntry {
        incident_id: incident.id.to_string(),
        title: incident.title.clone(),
        category: incident.category,
        test: incident.test,
        started_at: incident.started_at,
        entry,
    }
}

/// `POST /v1/tenants/{tenant}/incidents/{id}/resend`: schedules one more attempt of a delivery that has failed for good. The scheduler
/// releases it within a minute.
pub(crate) async fn resend(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
    body: LimitedBody,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, MANAGE_SCOPES)?;
    let settings = load_settings(&app, &tenant).await?;
    let body: ResendBody = body.parse()?;
    let channel = Channel::parse(&body.channel)
        .ok_or_else(|| field_problem("/channel", "must be email, sms, slack, teams or webhook"))?;
    let destination = find_destination(&app, &tenant, &body).await?;
    let incident = find_incident(&app, &tenant, &id).await?;
    let ledger = Box::pin(Ledger::read(&app.table, &incident, &tenant)).await.map_err(access::storage_problem)?;
    let failed = ledger.deliveries.iter().rev().find(|listed| {
        let row = &listed.delivery;
        row.state == DeliveryState::Failed && listed.row == delivery_row_key(destination.id(), channel, row.latest)
    });
    let Some(failed) = failed else {
        return Err(Problem::conflict(
            "this incident has no failed delivery to this destination on this channel; see the incident's explanation for what happened",
        ));
    };
    let refused = refused_for_tenant(&app.policy, &settings, channel.class())
        .or_else(|| unreachable_reason(&app.policy, &incident, &settings, &destination, channel, clock::now()));
    if let Some(reason) = refused {
        return Err(Problem::conflict(&format!("{}: {} {}", reason.as_str(), reason.sentence(), reason.remedy())));
    }
    let update = failed.delivery.latest;
    let role = ledger.plans.iter().flat_map(|plan| &plan.decisions).find_map(|decision| match decision.outcome {
        DecisionOutcome::Deliver { role } | DecisionOutcome::Hold { role, .. }
            if (decision.destination.as_str(), decision.channel, decision.update)
                == (destination.id(), channel, update) =>
        {
            Some(role)
        }
        _ => None,
    });
    let now = clock::now();
    let due = ScheduledDelivery {
        at: now,
        tenant: tenant.clone(),
        destination: destination.id().to_owned(),
        channel,
        incident_id: incident.id.clone(),
        update,
        attempt: failed.delivery.attempts + 1,
        plain: false,
        role: role.flatten(),
        held: None,
        held_before: None,
        omitted_count: 0,
        rebatched: false,
        resend_requested: true,
    };
    let slot =
        AttemptKey { incident: &incident.id, tenant: &tenant, row: &failed.row, channel, update, attempt: due.attempt };
    if !app.table.reopen(slot, now, &due).await.map_err(access::storage_problem)? {
        return Err(Problem::conflict(
            "this delivery is being sent right now; check the incident's explanation in a minute",
        ));
    }
    let object = format!("{}/{}#{channel}", incident.id, destination.id());
    let audit = audit_entry(&caller, "delivery.resent", &object);
    if let Err(error) = app.table.record_audit(&tenant, &audit, &ids::id_suffix()).await {
        // The resend is already scheduled; only its audit entry is missing.
        tracing::error!(%error, %tenant, "cannot write the audit entry of a resend");
    }
    Ok(json_response(
        StatusCode::ACCEPTED,
        &contracts::http::ResendAnswer { incident_id: incident.id.to_string(), update, due_at: now },
    ))
}

fn field_problem(pointer: &str, detail: &str) -> Problem {
    Problem::invalid_fields(vec![FieldError::new(pointer, detail)])
}

async fn find_destination(app: &App, tenant: &TenantId, body: &ResendBody) -> Result<Destination, Problem> {
    let found = match (&body.recipient_id, &body.integration_id) {
        (Some(id), None) => match RecipientId::parse(id) {
            Some(id) => {
                app.table.recipient(tenant, &id).await.map(|found| found.map(Box::new).map(Destination::Recipient))
            }
            None => Ok(None),
        },
        (None, Some(id)) => match IntegrationId::parse(id) {
            Some(id) => {
                app.table.integration(tenant, &id).await.map(|found| found.map(Box::new).map(Destination::Integration))
            }
            None => Ok(None),
        },
        _ => return Err(field_problem("/recipient_id", "send either recipient_id or integration_id")),
    };
    found
        .map_err(access::storage_problem)?
        .ok_or_else(|| Problem::not_found("this tenant has no such recipient or integration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_parameter_is_reported_and_valid_ones_filter() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let params = DeliveryParams {
            from: Some("x".into()),
            channel: Some("fax".into()),
            outcome: Some("lost".into()),
            limit: Some("0".into()),
            cursor: Some("?".into()),
            ..DeliveryParams::default()
        };
        let pointers: Vec<String> =
            params.into_filter(now).unwrap_err().into_iter().map(|error| error.pointer).collect();
        assert_eq!(pointers, ["query:from", "query:channel", "query:outcome", "query:limit", "query:cursor"]);
        let filter = DeliveryParams {
            channel: Some("chat".into()),
            outcome: Some("failed".into()),
            ..DeliveryParams::default()
        };
        let filter = filter.into_filter(now).unwrap();
        let entry = |channel: &str, outcome: &str| -> ExplainEntry {
            let entry = serde_json::json!({"update": 1, "integration_id": "int_1", "name": null, "channel": channel,
                "outcome": outcome, "attempts": []});
            serde_json::from_value(entry).unwrap()
        };
        assert!(filter.matches(&entry("teams", "failed")) && !filter.matches(&entry("webhook", "failed")));
        assert!(!filter.matches(&entry("slack", "delivered")));
        let one = DeliveryParams { integration_id: Some("int_2".into()), ..DeliveryParams::default() }
            .into_filter(now)
            .unwrap();
        assert!(!one.matches(&entry("slack", "failed")));
    }
}
