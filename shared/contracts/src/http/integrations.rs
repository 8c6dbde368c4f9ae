//! Bodies of integrations: Slack, Teams and webhook destinations.

use super::Private;
use domain::lint::Finding;
use domain::schema::Instant;
use domain::vocabulary::{Category, Role, Severity};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Body of `/v1/tenants/{t}/integrations`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntegrationBody {
    /// The integration's id. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The integration's display name.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// The kind of the integration: `slack`, `teams` or `webhook`. It cannot be changed later.
    #[schemars(extend("enum" = ["slack", "teams", "webhook"]))]
    pub kind: String,
    /// The URL that messages are posted to. Omit it to keep the stored one. Write-only.
    #[schemars(extend("writeOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Private>,
    /// The host of the URL, which is all of it that is shown. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The signing secret of a webhook. It is set or generated when the integration is created, and returned only in that answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Private>,
    /// Time until which the secret from before the last rotation signs as well. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub old_secret_valid_until: Option<Timestamp>,
    /// Categories that the integration receives. Empty means all.
    #[serde(default)]
    #[schemars(with = "Vec<Category>")]
    pub categories: Vec<String>,
    /// Roles on whose behalf the integration is notified: 1 to 4.
    #[schemars(with = "Vec<Role>", length(min = 1))]
    pub audiences: Vec<String>,
    /// Regions that the integration is notified about. Empty means all.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub regions: Vec<String>,
    /// Components that the integration is notified about. Empty means all.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub components: Vec<String>,
    /// The lowest severity that the integration is notified about. Omit it for the category's or the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Severity>")]
    pub min_severity: Option<String>,
    /// The lowest severity of single categories, in place of `min_severity`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<Category, Severity>")]
    pub min_severities: BTreeMap<String, String>,
    /// Whether the tenant paused the integration.
    #[serde(default)]
    pub paused: bool,
    /// Whether the integration is enabled. It is disabled when its endpoint fails permanently; write `true` to enable it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Why the integration is disabled. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<DisabledBody>,
    /// Time since which deliveries to the endpoint fail. Absent while it works. Read-only.
    #[schemars(extend("readOnly" = true), with = "Option<Instant>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Time since which the endpoint takes two seconds and more to answer. Its alerts then wait behind those of quicker endpoints. Absent
    /// while it is quick. Read-only.
    #[schemars(extend("readOnly" = true), with = "Option<Instant>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_since: Option<Timestamp>,
    /// The version of the integration, as in the ETag. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Settings that look as if they notified somebody but do not. Returned after a write. Read-only.
    #[schemars(extend("readOnly" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Finding>>")]
    pub lint: Option<serde_json::Value>,
}

/// Answer of `GET /v1/tenants/{t}/integrations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IntegrationList {
    /// Integrations, sorted by id.
    pub integrations: Vec<IntegrationBody>,
    /// Cursor of the next page; `null` on the last page. Pass it as `cursor`.
    pub next: Option<String>,
}

/// Why an integration is disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisabledBody {
    /// Time at which it was disabled.
    #[schemars(with = "Instant")]
    pub at: Timestamp,
    /// What the endpoint answered, or that it failed for too long.
    pub cause: String,
    /// Time from which the next alert is sent to the endpoint to see whether it works again. Absent if the endpoint answered that it is
    /// gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub probe_at: Option<Timestamp>,
}

/// Body of `POST /v1/tenants/{t}/integrations/{id}/secret`: rotates the signing secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateSecretBody {
    /// The new secret. Omit it to generate one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Private>,
}
