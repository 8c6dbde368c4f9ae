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
    /// Acts on the data key and its generations.
    Keys(KeysCommand),
}

/// An act on the data key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeysCommand {
    /// Tells the generations, and how far secrets are sealed again.
    Status,
    /// Makes the next generation, which seals and signs from then on.
    Rotate,
    /// Seals integrations' URLs and secrets with the newest generation, for some seconds. Repeat it until it is done.
    Reseal,
    /// Deletes the key of a generation that nothing needs.
    Retire(RetireKey),
}

/// Which generation is retired, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetireKey {
    /// The generation.
    pub generation: u32,
    /// Whether its links end at once, because the key leaked. Otherwise it is kept until the last of them has expired.
    #[serde(default)]
    pub now: bool,
}

/// The object that the bootstrap command creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootstrapTarget {
    /// The first token with the scope `platform:admin`.
    PlatformAdmin,
}
