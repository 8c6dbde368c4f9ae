//! Direct invocations of the preferences API by an operator.

use serde::{Deserialize, Serialize};

/// A direct invocation by an operator. IAM controls who may invoke it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorCommand {
    /// Creates the operators' tenant and issues the first admin token. Invoke it again to replace the token.
    Bootstrap(BootstrapTarget),
    /// Rebuilds the compiled subscriptions of this tenant from its settings.
    Recompile(String),
}

/// The object that the bootstrap command creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootstrapTarget {
    /// The first token with the scope `platform:admin`.
    PlatformAdmin,
}
