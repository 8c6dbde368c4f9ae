//! The follow-up jobs of a decision: routing jobs, and the warning to the operators.

use contracts::queue::{FollowUpJob, IncidentReceived, RoutingJob, RoutingTarget, VERSION};
use domain::event::{Event, Format, SYSTEM_SOURCE};
use domain::ids::{EventId, SHARDS, Scope, TenantId};
use domain::incident::{Incident, Update};
use domain::reason::Reason;
use domain::vocabulary::Severity;
use std::collections::BTreeMap;

/// The event type of warnings to the operators about unclassified events. A rule of `classification.yaml` matches it.
pub(super) const UNCLASSIFIED_TYPE: &str = "tocsin.unclassified";

/// Returns the jobs that route an update to its subscribers: one for a tenant, or one for each range of `shards_per_job` shards.
pub(super) fn routing_jobs(incident: &Incident, update: &Update, shards_per_job: u16) -> Vec<String> {
    let job = |route| {
        let job = FollowUpJob::Route(RoutingJob {
            v: VERSION,
            correlation_id: update.correlation_id.clone(),
            incident_id: incident.id.clone(),
            update: update.number,
            route,
        });
        serde_json::to_string(&job).unwrap_or_default()
    };
    match &incident.scope {
        Scope::Tenant(tenant) => vec![job(RoutingTarget::Tenant(tenant.clone()))],
        Scope::Platform => {
            let shards = shards_per_job.clamp(1, SHARDS);
            let range = |first: u16| {
                let end = first.saturating_add(shards).min(SHARDS);
                job(RoutingTarget::Shards { first, next: first, end, after: None })
            };
            (0..SHARDS).step_by(usize::from(shards)).map(range).collect()
        }
    }
}

/// Returns the job for a system event that warns the operators' own tenant about an event that was not routed.
///
/// System events cause no warning.
/// There is one warning per integration, reason and hour; further ones are repeats. Dedup key and severity never come from the sender, so
/// that one tenant's token cannot page the operators.
pub(super) fn operators_warning(message: &IncidentReceived, reason: Reason, event: &Event) -> Vec<String> {
    if message.is_system_event() {
        return Vec::new();
    }
    let operators = TenantId::operators();
    let hour = message.accepted_at.as_second() / 3_600;
    let mut labels = BTreeMap::new();
    labels.insert("reason".to_owned(), reason.as_str().to_owned());
    labels.insert("event_id".to_owned(), message.event_id.to_string());
    let warning = Event {
        event_type: UNCLASSIFIED_TYPE.to_owned(),
        dedup_key: format!("{reason}:{}:{hour}", message.integration_id),
        severity: Severity::Warning,
        title: format!("An event of type {} was not routed to any tenant", event.event_type),
        message: format!(
            "{} Source: {}. Title: {}. Event: {}. Further events of the same token within this hour are shown in the incident list only.",
            reason.sentence(),
            event.source,
            event.title,
            message.event_id
        ),
        tenant_ids: vec![operators.clone()],
        labels,
        ..Event::blank(Format::Native, SYSTEM_SOURCE)
    };
    let id = EventId::derived(&[message.event_id.as_str(), "operators"]);
    let received =
        IncidentReceived::system_event(&operators, warning, id, &message.correlation_id, message.accepted_at);
    vec![serde_json::to_string(&FollowUpJob::Receive(Box::new(received))).unwrap_or_default()]
}
