//! Bodies of the preferences API: settings, recipients, integrations, tokens, and incidents as a tenant sees them.
//!
//! Reading and writing use the same type, so that a client can read an object, change it and write it back. Read-only fields are accepted
//! and ignored on a write; write-only fields (a URL, a secret) are never returned. Values of closed lists are strings here: the
//! function that checks them reports every invalid one at once, where serde would stop at the first.

mod catalogue;
mod deliveries;
mod explain;
mod incidents;
mod integrations;
mod operator;
mod recipients;
mod schema;
pub mod scopes;
mod tenants;
mod test_alert;
mod tokens;

pub use catalogue::{CatalogueView, PlanView, Senders};
pub use deliveries::{
    AttemptView, DeliveryLog, DeliveryLogEntry, DeliveryOutcomeView, DeliveryView, ResendAnswer, ResendBody,
};
pub use explain::{ClassificationView, ExplainAnswer, ExplainEntry, ReasonView, SupportBundle};
pub use incidents::{
    DecisionView, ExcludedEventView, ImpactAnswer, IncidentDetailAnswer, IncidentList, IncidentView, TimelineEntry,
};
pub use integrations::{DisabledBody, IntegrationBody, IntegrationList, RotateSecretBody};
pub use operator::{BootstrapTarget, KeysCommand, OperatorCommand, RetireKey};
pub use recipients::{
    ConfirmBody, ConfirmationView, ConsentRecordBody, DigestBody, RecipientBody, RecipientList, SendConfirmationBody,
    SuppressedBody, SuppressionView,
};
pub use tenants::{
    ApprovedNamesBody, AuditEntry, AuditList, CategoryBody, ComplianceBody, ComplianceConfirmation, DataProcessingBody,
    FootprintBody, LintAnswer, NameRequestList, NameRequestView, QuietHoursBody, SettingsBody, TenantBody,
};
pub use test_alert::{TestAlertAnswer, TestAlertBody, TestAlertRow};
pub use tokens::{RevokedTokens, RotateTokenBody, TokenBody, TokenList, TokenView};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Text that no log may hold: an address, a number, a URL, a secret, a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Private(String);

impl Private {
    /// Wraps a text that must not be logged.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, which must not be logged.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Private(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::vocabulary::Channel;
    use serde_json::json;

    #[test]
    fn private_text_is_redacted_in_debug_output() {
        let body = RecipientBody { email: Some(Private::new("ops@example.com")), ..RecipientBody::default() };
        assert!(!format!("{body:?}").contains("ops@"));
        assert_eq!(serde_json::to_value(&body).unwrap()["email"], "ops@example.com");
    }

    #[test]
    fn an_unknown_field_is_rejected() {
        let body = br#"{"name":"Ops","roles":["org_admin"],"e-mail":"x"}"#;
        assert!(crate::problem::parse_json::<RecipientBody>(body).unwrap_err().detail.contains("unknown field"));
    }

    #[test]
    fn a_reason_is_flattened_beside_the_outcome() {
        let reason =
            ReasonView { reason: "muted".into(), sentence: "s".into(), setting: "t".into(), remedy: "m".into() };
        let mut decision = DecisionView {
            update: 1,
            destination: "rcp_1".into(),
            name: None,
            channel: Channel::Email,
            outcome: "skip".into(),
            role: None,
            until: None,
            reason: Some(reason),
            by: None,
        };
        let written = serde_json::to_value(&decision).unwrap();
        assert_eq!(written["reason"], "muted");
        assert_eq!(serde_json::from_value::<DecisionView>(written).unwrap(), decision);
        decision.reason = None;
        decision.outcome = "deliver".into();
        assert_eq!(serde_json::to_value(&decision).unwrap().get("reason"), None);
    }

    #[test]
    fn operator_commands_parse_from_json() {
        let parse = |value| serde_json::from_value::<OperatorCommand>(value).ok();
        assert_eq!(
            parse(json!({"bootstrap": "platform_admin"})),
            Some(OperatorCommand::Bootstrap(BootstrapTarget::PlatformAdmin))
        );
        assert_eq!(parse(json!({"recompile": "acme"})), Some(OperatorCommand::Recompile("acme".into())));
        assert_eq!(parse(json!({"keys": "rotate"})), Some(OperatorCommand::Keys(KeysCommand::Rotate)));
        let retire = |now| Some(OperatorCommand::Keys(KeysCommand::Retire(RetireKey { generation: 1, now })));
        assert_eq!(parse(json!({"keys": {"retire": {"generation": 1}}})), retire(false));
        assert_eq!(parse(json!({"keys": {"retire": {"generation": 1, "now": true}}})), retire(true));
        assert_eq!(parse(json!({"keys": {"retire": {"generation": 1, "force": true}}})), None);
        assert_eq!(parse(json!({"bootstrap": "x"})), None);
    }
}
