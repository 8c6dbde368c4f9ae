//! What a tenant's own endpoint receives, by Standard Webhooks: a type, a time and thin data; under 20 KB where it can be.

use domain::alert::{Alert, Why};
use domain::attempt::{Failed, Verdict};
use domain::event::Link;
use domain::ids::{EventId, IncidentId, TenantId, digest};
use domain::incident::Change;
use domain::maintenance::{Explained, Planned};
use domain::schema::Instant;
use domain::vocabulary::{Category, Kind, Role, Severity, Status};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What the specification recommends a body to stay under, in bytes.
pub const BODY_MAX: usize = 20 * 1024;

/// The body.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WebhookBody {
    /// `incident.opened`, `incident.updated`, `incident.resolved`; `maintenance.…` and `advisory.…` alike.
    #[serde(rename = "type")]
    pub event: String,
    /// When the update was accepted.
    pub timestamp: Timestamp,
    /// The update.
    pub data: Data,
}

/// The update.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Data {
    /// The incident.
    pub incident_id: IncidentId,
    /// The event that made the update.
    pub event_id: EventId,
    /// The tenant.
    pub tenant_id: TenantId,
    /// The update's number, from 1: retries may arrive late, the receiver orders by it.
    pub sequence: u32,
    /// True when everybody is affected.
    pub platform_wide: bool,
    /// The category; null for none.
    pub category: Option<Category>,
    /// The kind.
    pub kind: Kind,
    /// The source's type.
    pub event_type: String,
    /// How bad.
    pub severity: Severity,
    /// Where it stands.
    pub status: Status,
    /// Why it is sent now.
    pub change: Change,
    /// What happened, in one line.
    pub title: String,
    /// What happened.
    pub message: String,
    /// To what.
    pub components: Vec<String>,
    /// Where.
    pub regions: Vec<String>,
    /// Since when.
    pub started_at: Timestamp,
    /// Until when; null while it lasts.
    pub resolved_at: Option<Timestamp>,
    /// Of announced work, where it stands and its hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Planned>,
    /// Of announced work, the incidents that it explained so far: what is open first, at most ten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub covered: Vec<CoveredIncident>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub covered_more: usize,
    /// The announced work that explained it when it was said: people are told of it only if it lasts longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered_by: Option<CoveredBy>,
    /// When it happened, where its source told us more than five minutes later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_source: Option<Timestamp>,
    /// The role that this endpoint is told as.
    pub audience: Option<Role>,
    /// Where to look further.
    pub links: Vec<Link>,
    /// Words of the source.
    pub labels: BTreeMap<String, String>,
    /// Numbers of the source.
    pub measurements: BTreeMap<String, f64>,
    /// Everything else of the source.
    pub details: Map<String, Value>,
    /// True for a test alert.
    pub test: bool,
    /// What was cut.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
}

/// An incident that announced work explained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CoveredIncident {
    /// The incident.
    pub incident_id: IncidentId,
    /// Its title.
    pub title: String,
    /// Since when.
    #[schemars(with = "Instant")]
    pub started_at: Timestamp,
    /// Until when; null while it lasts.
    #[schemars(with = "Option<Instant>")]
    pub resolved_at: Option<Timestamp>,
}

/// The announced work that explained an incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoveredBy {
    /// The maintenance.
    pub incident_id: IncidentId,
    /// When it was to end: whoever waits for the incident is told of it then.
    pub until: Timestamp,
}

/// The body of an alert.
#[must_use]
pub fn body(alert: &Alert, why: &Why) -> WebhookBody {
    let family = match alert.kind {
        Kind::Maintenance => "maintenance",
        Kind::Advisory => "advisory",
        Kind::Incident | Kind::OptIn | Kind::Excluded => "incident",
    };
    let what = match alert.change {
        Change::Opened => "opened",
        Change::Resolved => "resolved",
        _ => "updated",
    };
    let mut body = WebhookBody {
        event: format!("{family}.{what}"),
        timestamp: alert.at,
        data: Data {
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
            covered: alert.inside.incidents.iter().map(CoveredIncident::of).collect(),
            covered_more: alert.inside.more,
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
            test: alert.test,
            cut: alert.cut.clone(),
        },
    };
    if length(&body) > BODY_MAX && !body.data.details.is_empty() {
        body.data.details = Map::new();
        if !body.data.cut.iter().any(|name| name == "details") {
            body.data.cut.push("details".to_owned());
        }
    }
    body
}

impl CoveredIncident {
    /// What announced work explained, as programs read it.
    #[must_use]
    pub fn of(one: &Explained) -> Self {
        Self {
            incident_id: one.incident_id.clone(),
            title: one.title.clone(),
            started_at: one.from,
            resolved_at: one.until,
        }
    }
}

/// The `webhook-id`: the same on every attempt of an update, so that a receiver can drop a double. It has no dot.
#[must_use]
pub fn webhook_id(tenant: &TenantId, incident: &IncidentId, update: u32, integration: &str) -> String {
    format!("msg_{}", digest(&[tenant.as_str(), incident.as_str(), &update.to_string(), integration]))
}

/// Reads an endpoint's answer: 2xx is success, 3xx is not followed, 410 is for good, everything else is tried again.
/// `None` is success.
#[must_use]
pub fn verdict(status: u16) -> Option<Failed> {
    if (200..300).contains(&status) {
        return None;
    }
    let verdict = if status == 410 { Verdict::Gone } else { Verdict::Retry };
    Some(Failed { cause: format!("http_{status}"), retry_after: None, slow_down: status == 429, verdict })
}

pub(crate) fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn length(body: &WebhookBody) -> usize {
    serde_json::to_vec(body).map_or(usize::MAX, |bytes| bytes.len())
}
