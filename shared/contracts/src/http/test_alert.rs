//! Bodies of test alerts.

use domain::vocabulary::{Category, Channel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/tenants/{t}/test-alert`, and payload of a direct invocation of `test-alert`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestAlertBody {
    /// The tenant's id. Only for a direct invocation; the API takes it from the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The category to test. Defaults to the first enabled one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Category>")]
    pub category: Option<String>,
    /// Tests only this channel: `email`, `sms`, `chat`, `slack`, `teams` or `webhook`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["email", "sms", "chat", "slack", "teams", "webhook", null]))]
    pub channel: Option<String>,
    /// Tests only this recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_id: Option<String>,
    /// Tests only this integration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration_id: Option<String>,
    /// How long the request waits for outcomes, in seconds. Default 15; at most 25 through the API and 60 by direct invocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 60))]
    pub wait_seconds: Option<u32>,
    /// Required if the test would reach more than ten recipients and integrations.
    #[serde(default)]
    pub confirm_all: bool,
}

/// The result of a test alert so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestAlertAnswer {
    /// The test's id, to read its result again.
    pub test_id: String,
    /// The id of the incident that the test created.
    pub incident_id: String,
    /// Category that the test alert belonged to.
    pub category: Category,
    /// Whether no delivery is pending any more.
    pub complete: bool,
    /// One row for each recipient or integration, and channel.
    pub rows: Vec<TestAlertRow>,
}

/// The result of a test on one channel of one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestAlertRow {
    /// The recipient's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_id: Option<String>,
    /// The integration's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration_id: Option<String>,
    /// The name of the recipient or integration; `null` if it was deleted.
    pub name: Option<String>,
    /// Channel that the row is about.
    pub channel: Channel,
    /// The outcome: `delivered` (the receiver answered), `accepted` (SES or SNS accepted the message), `held`, `skipped`, `failed` or
    /// `pending`.
    #[schemars(extend("enum" = ["delivered", "accepted", "held", "skipped", "failed", "pending"]))]
    pub outcome: String,
    /// The code of the rule that stopped the delivery.
    #[schemars(with = "Option<domain::reason::Reason>")]
    pub reason: Option<String>,
    /// The error code of a failed attempt, such as `http_404`, `tls`, `dns`, or a code of Slack's.
    pub cause: Option<String>,
    /// What the outcome or the error code means.
    pub detail: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
    /// The setting that would change the outcome.
    pub setting: Option<String>,
    /// Milliseconds between our acceptance of the event and the receiver's acceptance of the message.
    pub latency_ms: Option<i64>,
    /// The receiver's HTTP status.
    pub status: Option<u16>,
    /// The receiver's answer: the TLS error, or the first part of the response body.
    pub response: Option<String>,
}
