//! The bodies of the status page's API, as Statuspage shapes them.

use domain::schema::Instant;
use domain::vocabulary::{Health, Impact, Indicator};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

/// A time as Statuspage writes it: RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatuspageTime(pub(super) Timestamp);

impl Serialize for StatuspageTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

impl JsonSchema for StatuspageTime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Instant::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Instant::json_schema(generator)
    }
}

/// Name, URL and time of the last change of the page.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicPage {
    /// The page's id.
    pub id: String,
    /// The page's name.
    pub name: String,
    /// The page's address.
    pub url: String,
    /// The time zone of its texts. Always `Etc/UTC`.
    pub time_zone: &'static str,
    /// Time at which something on the page last changed.
    pub updated_at: StatuspageTime,
}

/// Overall status: an indicator and its description.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicStatus {
    /// The overall status as a code.
    pub indicator: Indicator,
    /// The overall status as a phrase, such as `All Systems Operational`.
    pub description: &'static str,
}

/// A component and its current status.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicComponent {
    /// The component's id, as in events.
    pub id: String,
    /// The component's name.
    pub name: String,
    /// The component's current status.
    pub status: Health,
    /// Time of the latest update about the component.
    pub created_at: StatuspageTime,
    /// Time of the latest update about the component.
    pub updated_at: StatuspageTime,
    /// The component's position on the page, from 1.
    pub position: usize,
    /// What the component is.
    pub description: Option<String>,
    /// Always `true`: every component is shown.
    pub showcase: bool,
    /// Always `null`.
    pub start_date: Option<String>,
    /// Always `null`: there are no groups.
    pub group_id: Option<String>,
    /// The page's id.
    pub page_id: String,
    /// Always `false`.
    pub group: bool,
    /// False for components of the catalogue.
    pub only_show_if_degraded: bool,
}

/// An update of an incident.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicUpdate {
    /// The update's id: the incident's id and the update's number.
    pub id: String,
    /// The incident's status after the update.
    pub status: &'static str,
    /// The update's text.
    pub body: String,
    /// The incident's id.
    pub incident_id: String,
    /// Time of the update.
    pub created_at: StatuspageTime,
    /// Time of the update.
    pub updated_at: StatuspageTime,
    /// Time of the update.
    pub display_at: StatuspageTime,
    /// Always `null`: updates do not list their components.
    pub affected_components: Option<Vec<String>>,
    /// Always `true`: subscribers are notified of every update.
    pub deliver_notifications: bool,
}

/// An incident or a scheduled maintenance.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicIncident {
    /// The incident's id.
    pub id: String,
    /// The incident's title.
    pub name: String,
    /// `investigating`, `identified`, `monitoring` or `resolved`; for maintenance `scheduled`, `in_progress`, `verifying` or `completed`.
    pub status: &'static str,
    /// Time of the first update.
    pub created_at: StatuspageTime,
    /// Time of the latest update.
    pub updated_at: StatuspageTime,
    /// Time at which the status first became `monitoring`.
    pub monitoring_at: Option<StatuspageTime>,
    /// Time at which the incident was resolved.
    pub resolved_at: Option<StatuspageTime>,
    /// The impact of the incident.
    pub impact: Impact,
    /// The address of the incident's page.
    pub shortlink: String,
    /// Time at which the incident began.
    pub started_at: StatuspageTime,
    /// The page's id.
    pub page_id: String,
    /// Public updates of the incident, newest first.
    pub incident_updates: Vec<PublicUpdate>,
    /// Affected components with their current status.
    pub components: Vec<PublicComponent>,
    /// Affected regions, by the names that events use. Statuspage has no such field.
    pub regions: Vec<String>,
    /// For maintenance: the planned start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_for: Option<StatuspageTime>,
    /// For maintenance: the planned end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_until: Option<StatuspageTime>,
}

/// Answer of `status.json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicStatusAnswer {
    /// Name, URL and time of the last change of the page.
    pub page: PublicPage,
    /// Overall status: an indicator and its description.
    pub status: PublicStatus,
}

/// Answer of `components.json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicComponentList {
    /// Name, URL and time of the last change of the page.
    pub page: PublicPage,
    /// All components of the catalogue, in its order.
    pub components: Vec<PublicComponent>,
}

/// Answer of `incidents.json` and `incidents/unresolved.json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicIncidentList {
    /// Name, URL and time of the last change of the page.
    pub page: PublicPage,
    /// Incidents on this page, newest first.
    pub incidents: Vec<PublicIncident>,
}

/// Answer of `scheduled-maintenances.json`, `…/upcoming.json` and `…/active.json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicMaintenanceList {
    /// Name, URL and time of the last change of the page.
    pub page: PublicPage,
    /// Maintenance, the latest start first.
    pub scheduled_maintenances: Vec<PublicIncident>,
}

/// Answer of `summary.json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublicSummary {
    /// Name, URL and time of the last change of the page.
    pub page: PublicPage,
    /// All components of the catalogue, in its order.
    pub components: Vec<PublicComponent>,
    /// Open incidents with their updates, newest first.
    pub incidents: Vec<PublicIncident>,
    /// Maintenance that is scheduled or in progress.
    pub scheduled_maintenances: Vec<PublicIncident>,
    /// Overall status: an indicator and its description.
    pub status: PublicStatus,
}

/// The summary of a tenant's own status: `summary.json` with the tenant's advisories among the incidents.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TenantSummary {
    /// Summary in the format of Statuspage's API.
    #[serde(flatten)]
    pub summary: PublicSummary,
    /// False if there were too many incidents to list all of them; older ones are missing. Statuspage has no such field.
    pub complete: bool,
}
