//! Bodies of API tokens.

use super::Private;
use super::schema::ScopeName;
use crate::intake::TokenDefaults;
use domain::schema::Instant;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Schema of the tenants of a token: a list of ids, or `"*"`.
fn tenants_schema(generator: &mut SchemaGenerator) -> Schema {
    let tenant = generator.subschema_for::<domain::ids::TenantId>();
    json_schema!({"oneOf": [{"const": "*"}, {"type": "array", "items": tenant, "minItems": 1}]})
}

/// Body of `POST /v1/tokens`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// The token's display name.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// The token's scopes.
    #[schemars(with = "Vec<ScopeName>", length(min = 1))]
    pub scopes: Vec<String>,
    /// Ids of the tenants that the token is valid for, or `"*"` for all.
    #[schemars(schema_with = "tenants_schema")]
    pub tenants: Value,
    /// Values for events that do not set these fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<TokenDefaults>,
    /// Time at which the token expires: at most when the token expires that makes it, or 400 days from now if a person makes it. Omit it for
    /// the longest life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub expires_at: Option<Timestamp>,
}

/// Body of `POST /v1/tokens/{id}/rotate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateTokenBody {
    /// How long the old token stays valid beside the new one, in seconds: 0 (the default) to 86,400.
    #[serde(default)]
    #[schemars(range(max = 86_400))]
    pub old_valid_seconds: u32,
}

/// A token. Its secret value is returned only when it is issued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// The token's public id.
    pub token_id: String,
    /// The id of the source that uses the token. It stays the same when the token is rotated.
    pub integration_id: String,
    /// The token's display name.
    pub name: String,
    /// The token's scopes.
    #[schemars(with = "Vec<ScopeName>")]
    pub scopes: Vec<String>,
    /// Ids of the tenants that the token is valid for, or `"*"` for all.
    #[schemars(schema_with = "tenants_schema")]
    pub tenants: Value,
    /// Values for events that do not set these fields.
    #[schemars(with = "TokenDefaults")]
    pub defaults: Value,
    /// The tenant in whose list of tokens it appears.
    pub owner: String,
    /// The source (`integration_id`) of the token that it was made with. Revoking that one revokes this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_by: Option<String>,
    /// Time at which the token was issued.
    #[schemars(with = "Instant")]
    pub created_at: Timestamp,
    /// Time at which the token expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub expires_at: Option<Timestamp>,
    /// Time at which the token was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub revoked_at: Option<Timestamp>,
    /// Time at which it was last used although it is revoked or has expired; of one day (UTC) the first. Whoever uses it gets 401. Only in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub refused_at: Option<Timestamp>,
    /// The secret value of the token. It is returned only once, when the token is issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Private>,
}

/// Answer of `GET /v1/tokens`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenList {
    /// Tokens, without their secret values: those that the caller could have issued.
    pub tokens: Vec<TokenView>,
    /// Cursor of the next page; `null` on the last page. Pass it as `cursor`.
    pub next: Option<String>,
}

/// Answer of `DELETE /v1/tokens/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevokedTokens {
    /// Ids of the revoked tokens: the token itself, and those that were made with it.
    pub revoked: Vec<String>,
    /// Ids of the tokens that replaced this one by a rotation and are still valid. If the token leaked, revoke them as well: whoever had it
    /// may have rotated it.
    pub still_valid: Vec<String>,
}
