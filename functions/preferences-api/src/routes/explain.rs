//! Why somebody was, or would be, told or not: of every recipient, integration and channel.

use super::incidents::{Names, attempt, explained, find, names};
use super::settings_of;
use crate::App;
use crate::access::{self, Limited, READ, answer};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::{ClassificationView, ExplainAnswer, ExplainEntry};
use contracts::intake::Defaults;
use contracts::queue::row_name;
use domain::classification::Verdict;
use domain::delivery::State as DeliveryState;
use domain::ids::{Scope, TenantId};
use domain::incident::imagined;
use domain::plan::{Decision, Outcome, afresh};
use domain::reason::Reason;
use domain::tenant::{Destination, Integration, Recipient};
use domain::vocabulary::{Category, Channel};
use jiff::Timestamp;
use runtime::clock;
use runtime::http::{Caller, Problem};
use std::collections::{BTreeMap, BTreeSet};
use store::deliveries::Listed;

/// `GET /v1/tenants/{tenant}/incidents/{id}/explain`
pub(crate) async fn incident(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let tenant = access::tenant(&caller, &path, READ)?;
    settings_of(&app, &tenant).await?;
    let incident = find(&app, &tenant, &id).await?;
    let table = &app.table;
    let (plans, deliveries, recipients, integrations) = futures::try_join!(
        table.plans_of(&incident.id, &tenant),
        table.deliveries(&incident.id, &tenant),
        table.recipients(&tenant),
        table.integrations(&tenant),
    )
    .map_err(access::table)?;
    let decisions: Vec<&Decision> = plans.iter().flat_map(|plan| &plan.decisions).collect();
    let rows: BTreeMap<&str, &Listed> = deliveries.iter().map(|listed| (listed.row.as_str(), listed)).collect();
    let story = Story { category: incident.category, names: &names(&recipients, &integrations), rows };
    let mut entries: Vec<ExplainEntry> = decisions.iter().map(|decision| story.entry(decision)).collect();
    entries.extend(story.added_later(&decisions, &recipients, &integrations, incident.updates));
    entries.sort_by_key(|entry| entry.update);
    let body = ExplainAnswer {
        incident_id: Some(incident.id.to_string()),
        classification: ClassificationView {
            classification: "included".to_owned(),
            category: incident.category,
            rule: Some(incident.rule.clone()),
            reason: None,
        },
        decisions: entries,
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
    let tenant = access::tenant(&caller, &path, READ)?;
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
    let (recipients, integrations) =
        futures::try_join!(app.table.recipients(&tenant), app.table.integrations(&tenant)).map_err(access::table)?;
    let names = names(&recipients, &integrations);
    let story = Story { category: included.category, names: &names, rows: BTreeMap::new() };
    let entry = |decision: &Decision| {
        let entry = story.entry(decision);
        if matches!(decision.outcome, Outcome::Deliver { .. }) {
            ExplainEntry { outcome: "deliver".to_owned(), ..entry }
        } else {
            entry
        }
    };
    let body = ExplainAnswer {
        incident_id: None,
        classification: ClassificationView {
            classification: "included".to_owned(),
            category: included.category,
            rule: Some(included.rule),
            reason: None,
        },
        decisions: decisions.iter().map(entry).collect(),
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

/// What decisions and deliveries tell together.
struct Story<'a> {
    category: Option<Category>,
    names: &'a Names<'a>,
    rows: BTreeMap<&'a str, &'a Listed>,
}

/// How a planned delivery stands.
#[derive(Default)]
struct Stands {
    outcome: &'static str,
    reason: Option<Reason>,
    by: Option<String>,
    until: Option<Timestamp>,
    at: Option<Timestamp>,
}

impl Story<'_> {
    fn blank(&self, update: u32, destination: &str, channel: Channel) -> ExplainEntry {
        let is_recipient = destination.starts_with(domain::ids::RecipientId::PREFIX);
        ExplainEntry {
            update,
            recipient_id: is_recipient.then(|| destination.to_owned()),
            integration_id: (!is_recipient).then(|| destination.to_owned()),
            name: self.names.get(destination).map(|name| (*name).to_owned()),
            channel,
            outcome: String::new(),
            role: None,
            reason: None,
            by: None,
            until: None,
            at: None,
            attempts: Vec::new(),
        }
    }

    fn entry(&self, decision: &Decision) -> ExplainEntry {
        let row = self.rows.get(row_name(&decision.destination, decision.channel, decision.update).as_str());
        let (role, stands) = match &decision.outcome {
            Outcome::Skip { reason, by } => {
                (None, Stands { outcome: "skipped", reason: Some(*reason), by: by.clone(), ..Stands::default() })
            }
            Outcome::Hold { until, reason } => {
                (None, Stands { outcome: "held", reason: Some(*reason), until: Some(*until), ..Stands::default() })
            }
            Outcome::Deliver { role } => (*role, row.map_or_else(pending, |row| stands(row, decision))),
        };
        let attempts = row.map(|row| row.attempts.as_slice()).unwrap_or_default().iter();
        ExplainEntry {
            outcome: stands.outcome.to_owned(),
            role,
            reason: stands.reason.map(|reason| explained(reason, self.category, &decision.destination)),
            by: stands.by,
            until: stands.until,
            at: stands.at,
            attempts: attempts.filter(|failed| failed.update == decision.update).map(attempt).collect(),
            ..self.blank(decision.update, &decision.destination, decision.channel)
        }
    }

    /// Whoever is there now and was not when the last planned update was planned.
    fn added_later(
        &self,
        decisions: &[&Decision],
        recipients: &[Recipient],
        integrations: &[Integration],
        updates: u32,
    ) -> Vec<ExplainEntry> {
        let planned = decisions.iter().map(|decision| decision.update).max();
        let there: BTreeSet<&str> = decisions.iter().map(|decision| decision.destination.as_str()).collect();
        let people = recipients.iter().cloned().map(|one| Destination::Recipient(Box::new(one)));
        let endpoints = integrations.iter().cloned().map(|one| Destination::Integration(Box::new(one)));
        let mut entries = Vec::new();
        for destination in people.chain(endpoints).filter(|destination| !there.contains(destination.id())) {
            for channel in destination.channels() {
                let blank = self.blank(planned.unwrap_or(updates), destination.id(), *channel);
                let reason = explained(Reason::AddedLater, self.category, destination.id());
                entries.push(match planned {
                    Some(_) => ExplainEntry { outcome: "skipped".to_owned(), reason: Some(reason), ..blank },
                    // Nobody was planned yet: the next second tells.
                    None => ExplainEntry { outcome: "pending".to_owned(), ..blank },
                });
            }
        }
        entries
    }
}

fn pending() -> Stands {
    Stands { outcome: "pending", ..Stands::default() }
}

fn stands(listed: &Listed, decision: &Decision) -> Stands {
    let taken = match decision.channel {
        // SES and SNS take a message and send it later; whether it arrived is another matter.
        Channel::Email | Channel::Sms => "accepted",
        Channel::Slack | Channel::Teams | Channel::Webhook => "delivered",
    };
    if let Some(end) = listed.history.iter().find(|end| end.update == decision.update) {
        let at = Some(end.at);
        return match Reason::parse(&end.outcome) {
            Some(reason) => Stands { outcome: "failed", reason: Some(reason), at, ..Stands::default() },
            None => Stands { outcome: taken, at, ..Stands::default() },
        };
    }
    let row = &listed.delivery;
    if row.latest > decision.update {
        let by = Some(row.latest.to_string());
        return Stands { outcome: "skipped", reason: Some(Reason::SupersededBy), by, ..Stands::default() };
    }
    let until = row.next_at_ms.filter(|_| row.state == DeliveryState::Retrying);
    Stands { until: until.and_then(|ms| Timestamp::from_millisecond(ms).ok()), ..pending() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::delivery::Row;
    use domain::vocabulary::Role;
    use store::deliveries::{Attempt, Ended};

    fn decision(channel: Channel, update: u32, outcome: Outcome) -> Decision {
        Decision { update, destination: "rcp_1".into(), channel, outcome }
    }

    fn listed(state: DeliveryState, latest: u32, history: Vec<Ended>) -> Listed {
        let delivery = Row {
            latest,
            done: 0,
            state,
            attempts: 1,
            lease_until_ms: 0,
            token: String::new(),
            channel: Channel::Email,
            next_at_ms: Some(9_000),
            cause: None,
            reason: None,
            provider_id: None,
            at: None,
            latency_ms: None,
        };
        let at = Timestamp::UNIX_EPOCH;
        let failed = |update| Attempt {
            update,
            attempt: 1,
            at,
            cause: "http_500".into(),
            status: Some(500),
            response: "oops".into(),
            took_ms: 1,
        };
        Listed { row: "rcp_1#email".into(), delivery, history, attempts: vec![failed(1), failed(2)] }
    }

    fn entry(listed: Option<&Listed>, decision: &Decision) -> ExplainEntry {
        let names = Names::from([("rcp_1", "Ops")]);
        let rows = listed.map(|listed| (listed.row.as_str(), listed)).into_iter().collect();
        Story { category: Some(Category::Billing), names: &names, rows }.entry(decision)
    }

    const DELIVER: Outcome = Outcome::Deliver { role: Some(Role::BillingAdmin) };

    #[test]
    fn a_delivery_is_told_as_it_stands() {
        let ended =
            |update, outcome: &str| Ended { update, outcome: outcome.into(), at: Timestamp::UNIX_EPOCH, attempts: 2 };
        let first = decision(Channel::Email, 1, DELIVER);
        let pending = entry(None, &first);
        assert_eq!((pending.outcome.as_str(), pending.recipient_id.as_deref()), ("pending", Some("rcp_1")));
        let accepted = entry(Some(&listed(DeliveryState::Accepted, 1, vec![ended(1, "accepted")])), &first);
        assert_eq!((accepted.outcome.as_str(), accepted.attempts.len()), ("accepted", 1), "never shown as delivered");
        let failed = entry(Some(&listed(DeliveryState::Failed, 1, vec![ended(1, "gave_up")])), &first);
        assert_eq!((failed.outcome.as_str(), failed.reason.unwrap().reason.as_str()), ("failed", "gave_up"));
        let retrying = entry(Some(&listed(DeliveryState::Retrying, 1, vec![])), &first);
        assert_eq!((retrying.outcome.as_str(), retrying.until.is_some()), ("pending", true));
        let newer = entry(Some(&listed(DeliveryState::Sending, 2, vec![])), &first);
        assert_eq!((newer.reason.unwrap().reason.as_str(), newer.by.as_deref()), ("superseded_by", Some("2")));
        let hook = Decision { destination: "int_1".into(), ..decision(Channel::Webhook, 2, DELIVER) };
        let row =
            Listed { row: "int_1#000002".into(), ..listed(DeliveryState::Accepted, 2, vec![ended(2, "accepted")]) };
        let hook = entry(Some(&row), &hook);
        assert_eq!((hook.outcome.as_str(), hook.integration_id.as_deref()), ("delivered", Some("int_1")));
    }

    #[test]
    fn a_skip_names_the_setting() {
        let skip = Outcome::Skip { reason: Reason::CategoryDisabled, by: None };
        let entry = entry(None, &decision(Channel::Email, 1, skip));
        let reason = entry.reason.unwrap();
        assert_eq!(
            (entry.outcome.as_str(), reason.setting.as_str()),
            ("skipped", "settings.categories.billing.enabled")
        );
    }
}
