//! The delivery log: what a tenant's recipients and integrations were told, or not, over all its incidents; and sending once
//! more what failed.

use super::incidents::{find, window_of};
use super::{audit, settings_of};
use crate::App;
use crate::access::{self, Limited, MANAGE, READ, answer};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::{DeliveryLog, ExplainEntry, LoggedDelivery, ResendBody};
use contracts::problem::FieldError;
use contracts::queue::row_name;
use domain::delivery::State as DeliveryState;
use domain::ids::{IntegrationId, RecipientId, TenantId};
use domain::incident::Incident;
use domain::plan::{Outcome, unreachable};
use domain::tenant::Destination;
use domain::vocabulary::Channel;
use jiff::Timestamp;
use ledger::{Ledger, People};
use runtime::http::{Caller, Problem};
use runtime::{clock, ids};
use serde::Deserialize;
use store::deliveries::Slot;
use store::due::Due;
use store::incidents::SeenCursor;

const LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;
/// Most incidents that one answer reads: each costs three reads.
const INCIDENTS_MAX: usize = 40;
/// Incidents that are read before it is looked whether there is enough.
const INCIDENTS_AT_ONCE: usize = 10;
const OUTCOMES: [&str; 6] = ["delivered", "accepted", "pending", "held", "skipped", "failed"];

/// The query, as text: each wrong parameter is named.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    from: Option<String>,
    to: Option<String>,
    channel: Option<String>,
    recipient_id: Option<String>,
    integration_id: Option<String>,
    outcome: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// What is asked for, checked.
#[derive(Debug)]
struct Wanted {
    from: Timestamp,
    to: Timestamp,
    channels: Vec<Channel>,
    destination: Option<String>,
    outcome: Option<String>,
    limit: usize,
    cursor: Option<SeenCursor>,
}

impl Asked {
    fn wanted(self, now: Timestamp) -> Result<Wanted, Vec<FieldError>> {
        let mut errors = Vec::new();
        let (from, to) = window_of(self.from.as_deref(), self.to.as_deref(), now, &mut errors);
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
        let limit = access::limit(self.limit.as_deref(), LIMIT, LIMIT_MAX, &mut errors);
        let cursor = access::seen_cursor(self.cursor.as_deref(), &mut errors);
        let destination = self.recipient_id.or(self.integration_id).filter(|id| !id.is_empty());
        if errors.is_empty() {
            Ok(Wanted { from, to, channels, destination, outcome, limit, cursor })
        } else {
            Err(errors)
        }
    }
}

impl Wanted {
    fn takes(&self, entry: &ExplainEntry) -> bool {
        let id = entry.recipient_id.as_ref().or(entry.integration_id.as_ref());
        self.channels.contains(&entry.channel)
            && self.outcome.as_ref().is_none_or(|outcome| *outcome == entry.outcome)
            && self.destination.as_ref().is_none_or(|wanted| id == Some(wanted))
    }
}

/// `GET /v1/tenants/{tenant}/deliveries`: by the incidents that were opened in a time, newest first. A page ends with an
/// incident, so it may have a few more entries than asked for, or fewer.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, READ)?;
    let wanted = asked.wanted(clock::now()).map_err(Problem::fields)?;
    settings_of(&app, &tenant).await?;
    let people = People::read(&app.table, &tenant).await.map_err(access::table)?;
    let mut deliveries = Vec::new();
    let mut cursor = wanted.cursor.clone();
    for _ in 0..INCIDENTS_MAX / INCIDENTS_AT_ONCE {
        let page = app.table.seen(&tenant, wanted.from, wanted.to, cursor.as_ref(), INCIDENTS_AT_ONCE);
        let page = page.await.map_err(access::table)?;
        for id in page.entries.iter().filter_map(|seen| seen.incident_id.as_ref()) {
            let Some(incident) = app.table.incident(id).await.map_err(access::table)? else { continue };
            let ledger = Box::pin(Ledger::read(&app.table, &incident, &tenant)).await.map_err(access::table)?;
            let entries = ledger.planned(&people).into_iter().rev().filter(|entry| wanted.takes(entry));
            deliveries.extend(entries.map(|entry| logged(&incident, entry)));
        }
        cursor = page.next;
        if cursor.is_none() || deliveries.len() >= wanted.limit {
            break;
        }
    }
    let next = cursor.map(|cursor| cursor.to_text());
    Ok(answer(StatusCode::OK, &DeliveryLog { from: wanted.from, to: wanted.to, deliveries, next }))
}

fn logged(incident: &Incident, entry: ExplainEntry) -> LoggedDelivery {
    LoggedDelivery {
        incident_id: incident.id.to_string(),
        title: incident.title.clone(),
        category: incident.category,
        test: incident.test,
        started_at: incident.started_at,
        entry,
    }
}

/// `POST /v1/tenants/{tenant}/incidents/{id}/resend`: a delivery that failed for good is tried once more. It is handed out with
/// the other due work, within a minute.
pub(crate) async fn resend(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
    body: Limited,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, MANAGE)?;
    let settings = settings_of(&app, &tenant).await?;
    let body: ResendBody = body.parse()?;
    let channel = Channel::parse(&body.channel).ok_or_else(|| field("/channel", "is not the channel of a delivery"))?;
    let destination = destination(&app, &tenant, &body).await?;
    let incident = find(&app, &tenant, &id).await?;
    let ledger = Box::pin(Ledger::read(&app.table, &incident, &tenant)).await.map_err(access::table)?;
    let failed = ledger.deliveries.iter().rev().find(|listed| {
        let row = &listed.delivery;
        row.state == DeliveryState::Failed && listed.row == row_name(destination.id(), channel, row.latest)
    });
    let Some(failed) = failed else {
        return Err(Problem::conflict(
            "this incident has no failed delivery to it on this channel; see its explanation",
        ));
    };
    if let Some(reason) = unreachable(&incident, &settings, &destination, channel, clock::now()) {
        return Err(Problem::conflict(&format!("{}: {} {}", reason.as_str(), reason.sentence(), reason.mend())));
    }
    let update = failed.delivery.latest;
    let role = ledger.plans.iter().flat_map(|plan| &plan.decisions).find_map(|decision| match decision.outcome {
        Outcome::Deliver { role } | Outcome::Hold { role, .. }
            if (decision.destination.as_str(), decision.channel, decision.update)
                == (destination.id(), channel, update) =>
        {
            Some(role)
        }
        _ => None,
    });
    let now = clock::now();
    let due = Due {
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
        waited: None,
        more: 0,
        gathered: false,
        asked: true,
    };
    let slot =
        Slot { incident: &incident.id, tenant: &tenant, row: &failed.row, channel, update, attempt: due.attempt };
    if !app.table.reopen(slot, now, &due).await.map_err(access::table)? {
        return Err(Problem::conflict("somebody sends it at this moment; look at its explanation in a minute"));
    }
    let object = format!("{}/{}", incident.id, failed.row);
    let audit = audit(&caller, "delivery.resent", &object);
    if let Err(error) = app.table.note(&tenant, &audit, &ids::suffix()).await {
        // It is on its way; only the trail lacks it.
        tracing::error!(%error, %tenant, "a resend is not in the audit trail");
    }
    Ok(answer(
        StatusCode::ACCEPTED,
        &contracts::http::ResendAnswer { incident_id: incident.id.to_string(), update, due_at: now },
    ))
}

fn field(pointer: &str, detail: &str) -> Problem {
    Problem::fields(vec![FieldError::new(pointer, detail)])
}

async fn destination(app: &App, tenant: &TenantId, body: &ResendBody) -> Result<Destination, Problem> {
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
        _ => return Err(field("/recipient_id", "name a recipient or an integration")),
    };
    found.map_err(access::table)?.ok_or_else(|| Problem::not_found("this tenant has no such recipient or integration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_parameter_is_named_and_the_others_narrow() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let asked = Asked {
            from: Some("x".into()),
            channel: Some("fax".into()),
            outcome: Some("lost".into()),
            limit: Some("0".into()),
            cursor: Some("?".into()),
            ..Asked::default()
        };
        let pointers: Vec<String> = asked.wanted(now).unwrap_err().into_iter().map(|error| error.pointer).collect();
        assert_eq!(pointers, ["query:from", "query:channel", "query:outcome", "query:limit", "query:cursor"]);
        let wanted = Asked { channel: Some("chat".into()), outcome: Some("failed".into()), ..Asked::default() };
        let wanted = wanted.wanted(now).unwrap();
        let entry = |channel: &str, outcome: &str| -> ExplainEntry {
            let entry = serde_json::json!({"update": 1, "integration_id": "int_1", "name": null, "channel": channel,
                "outcome": outcome, "attempts": []});
            serde_json::from_value(entry).unwrap()
        };
        assert!(wanted.takes(&entry("teams", "failed")) && !wanted.takes(&entry("webhook", "failed")));
        assert!(!wanted.takes(&entry("slack", "delivered")));
        let one = Asked { integration_id: Some("int_2".into()), ..Asked::default() }.wanted(now).unwrap();
        assert!(!one.takes(&entry("slack", "failed")));
    }
}
