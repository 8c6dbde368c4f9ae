//! What all intake formats share: token defaults, and what a format hands on.

use domain::event::Event;
use domain::ids::TenantId;
use serde::{Deserialize, Serialize};

/// The drop-in formats of `POST /v1/intake/{format}`.
pub const FORMATS: &[&str] = &["alertmanager"];

/// What a token says for events that are silent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// The event type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The tenants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenant_ids: Vec<TenantId>,
    /// The components.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// The regions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
}

/// One event of a drop-in request.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapped {
    /// The normalised event, capped.
    pub event: Event,
    /// What the source calls this very event, if it calls it anything: the same words give the same event id.
    pub identity: Option<Vec<String>>,
    /// Tenants that were named in a form that no tenant can have.
    pub bad_tenants: Vec<String>,
}
