//! The body of a webhook according to Standard Webhooks: a type, a time and the data of one update. It stays under 20 KB if possible.

use domain::alert::{Alert, NotificationReason};
use domain::attempt::{AttemptFailure, RetryVerdict};
use domain::event::Link;
use domain::ids::{EventId, IncidentId, TenantId, short_hash};
use domain::incident::Change;
use domain::maintenance::{MaintenanceSchedule, SuppressedIncident};
use domain::schema::Instant;
use domain::vocabulary::{Category, Kind, Role, Severity, Status};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Size in bytes that Standard Webhooks recommends a body to stay under.
pub const BODY_MAX: usize = 20 * 1024;

/// The body of a webhook.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WebhookBody {
    /// The type of the message: `incident.opened`, `incident.updated` or `incident.resolved`, and the same for `maintenance.…` and
    /// `advisory.…`.
    #[serde(rename = "type")]
    pub event: String,
    /// Time at which the update was accepted.
    pub timestamp: Timestamp,
    /// The update that this webhook reports.
    pub data: WebhookData,
}

/// The update that a webhook reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WebhookData {
    /// The incident's id.
    pub incident_id: IncidentId,
    /// The id of the event that caused the update.
    pub event_id: EventId,
    /// The tenant's id.
    pub tenant_id: TenantId,
    /// The update's number, from 1. Retries may arrive late; receivers order updates by it.
    pub sequence: u32,
    /// Whether the incident is about every tenant.
    pub platform_wide: bool,
    /// The category; null if it has none.
    pub category: Option<Category>,
    /// The kind of the incident.
    pub kind: Kind,
    /// The event type, such as `api.outage`.
    pub event_type: String,
    /// The severity after the update.
    pub severity: Severity,
    /// The status after the update.
    pub status: Status,
    /// What the update changed, which is why it is sent.
    pub change: Change,
    /// The title in one line.
    pub title: String,
    /// The update's text.
    pub message: String,
    /// Ids of the affected components, at most 50.
    pub components: Vec<String>,
    /// Ids of the affected regions, at most 50.
    pub regions: Vec<String>,
    /// Time at which the incident began.
    pub started_at: Timestamp,
    /// Time at which the incident was resolved; null while it is open.
    pub resolved_at: Option<Timestamp>,
    /// For scheduled maintenance: its phase and its window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceSchedule>,
    /// For scheduled maintenance: the incidents that it suppressed so far. Open ones first, at most ten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub covered: Vec<CoveredIncident>,
    /// Number of suppressed incidents that are not listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub covered_more: usize,
    /// The maintenance window that suppresses this incident. Recipients are notified of the incident only if it outlasts the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered_by: Option<CoveredBy>,
    /// Time at which it happened, if the source reported it more than five minutes later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_source: Option<Timestamp>,
    /// The role on whose behalf this endpoint is notified.
    pub audience: Option<Role>,
    /// Links to further information.
    pub links: Vec<Link>,
    /// Labels from the source.
    pub labels: BTreeMap<String, String>,
    /// Numbers from the source, by name.
    pub measurements: BTreeMap<String, f64>,
    /// Everything else from the source.
    pub details: Map<String, Value>,
    /// The page of the incident: its public status page, or a signed page that works for 90 days and shows it to whoever opens it.
    pub url: String,
    /// Whether it is a test alert.
    pub test: bool,
    /// Names of the fields that were truncated because they were too long.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
}

/// An incident that a maintenance window suppressed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CoveredIncident {
    /// The incident's id.
    pub incident_id: IncidentId,
    /// The incident's title.
    pub title: String,
    /// Time at which the incident began.
    #[schemars(with = "Instant")]
    pub started_at: Timestamp,
    /// Time at which the incident was resolved; null while it is open.
    #[schemars(with = "Option<Instant>")]
    pub resolved_at: Option<Timestamp>,
}

/// The maintenance window that suppresses an incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoveredBy {
    /// The id of the maintenance.
    pub incident_id: IncidentId,
    /// Planned end of the window. Recipients are notified then if the incident is still open.
    pub until: Timestamp,
}

/// Builds the body of a webhook, with the URL of the incident's page. Drops the details if the body would exceed [`BODY_MAX`].
#[must_use]
pub fn build_body(alert: &Alert, why: &NotificationReason, url: &str) -> WebhookBody {
    let family = match alert.kind {
        Kind::Maintenance => "maintenance",
        Kind::Advisory => "advisory",
        Kind::Incident | Kind::OptIn | Kind::Excluded => "incident",
    };
    let action = match alert.change {
        Change::Opened => "opened",
        Change::Resolved => "resolved",
        _ => "updated",
    };
    let mut body = WebhookBody {
        event: format!("{family}.{action}"),
        timestamp: alert.at,
        data: WebhookData {
            incident_id: alert.incident_id.clone(),
            event_id: alert.event_id.clone(),
            tenant_id: alert.tenant.clone(),
            sequence: alert.update,
            platform_wide: alert.platform_wide,
            category: alert.category,
            kind: alert.kind,
            event_type: alert.event_type.clone(),
            severity: alert.severity,
            status: alert.status,
            change: alert.change,
            title: alert.title.clone(),
            message: alert.message.clone(),
            components: alert.components.clone(),
            regions: alert.regions.clone(),
            started_at: alert.started_at,
            resolved_at: alert.resolved_at,
            maintenance: alert.maintenance,
            covered: alert.suppressed_incidents.incidents.iter().map(CoveredIncident::of).collect(),
            covered_more: alert.suppressed_incidents.omitted_count,
            covered_by: alert
                .covered
                .as_ref()
                .map(|cover| CoveredBy { incident_id: cover.by.clone(), until: cover.until }),
            late_source: alert.late_source,
            audience: why.role,
            links: alert.links.clone(),
            labels: alert.labels.clone(),
            measurements: alert.measurements.clone(),
            details: alert.details.clone(),
            url: url.to_owned(),
            test: alert.test,
            cut: alert.cut.clone(),
        },
    };
    if encoded_length(&body) > BODY_MAX && !body.data.details.is_empty() {
        body.data.details = Map::new();
        if !body.data.cut.iter().any(|name| name == "details") {
            body.data.cut.push("details".to_owned());
        }
    }
    body
}

impl CoveredIncident {
    /// Converts a suppressed incident to its form in the API.
    #[must_use]
    pub fn of(suppressed: &SuppressedIncident) -> Self {
        Self {
            incident_id: suppressed.incident_id.clone(),
            title: suppressed.title.clone(),
            started_at: suppressed.from,
            resolved_at: suppressed.until,
        }
    }
}

/// Returns the `webhook-id`: the same for every attempt of an update, so that a receiver can drop duplicates. It contains no dot.
#[must_use]
pub fn webhook_id(tenant: &TenantId, incident: &IncidentId, update: u32, integration: &str) -> String {
    format!("msg_{}", short_hash(&[tenant.as_str(), incident.as_str(), &update.to_string(), integration]))
}

/// Evaluates an endpoint's answer; `None` is success. 2xx is success, redirects (3xx) are not followed, 410 is permanent, and everything
/// else is retried.
#[must_use]
pub fn evaluate_response(status: u16) -> Option<AttemptFailure> {
    if (200..300).contains(&status) {
        return None;
    }
    let verdict = if status == 410 { RetryVerdict::Gone } else { RetryVerdict::Retry };
    Some(AttemptFailure { cause: format!("http_{status}"), retry_after: None, slow_down: status == 429, verdict })
}

pub(crate) fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn encoded_length(body: &WebhookBody) -> usize {
    serde_json::to_vec(body).map_or(usize::MAX, |bytes| bytes.len())
}
