//! Trigger     API Gateway asks before every request of a route that is not open (TOKEN or REQUEST authorizer)
//! Reads       the token's record, by the token's hash; the identity provider's keys, where one is configured
//! Writes      nothing
//! Emits       nothing
//! On failure  a token that is not valid: the word `Unauthorized`, which API Gateway turns into a 401. The table, or a provider
//!             whose keys were never read: a 500
//! Config      [`config::Config`]
//!
//! It says who is calling. What a caller may do, the function behind the route decides: it gets scopes and tenants as the
//! request's context.

pub mod config;
mod identity;
mod keys;

use config::Config;
use domain::ids::TenantId;
use identity::{Identity, TrustedIssuer, is_jwt};
use keys::{IdentityProvider, JwtError};
use outbound::{Client, ClientOptions};
use runtime::queue::Deadline;
use runtime::{Aws, DirectError, EventFunction, StartError, clock};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use store::Table;
use store::credentials::{TenantScope, TokenRecord, has_token_format};

/// What API Gateway asks, in either of its shapes. It holds a token, so it is never printed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationRequest {
    method_arn: String,
    /// A TOKEN authorizer's: the header's value.
    authorization_token: Option<String>,
    /// A REQUEST authorizer's.
    headers: Option<BTreeMap<String, Option<String>>>,
}

/// What a request shows.
#[derive(Debug, PartialEq)]
enum Credential<'a> {
    /// A token of ours.
    Token(&'a str),
    /// A JWT of the identity provider.
    Jwt(&'a str),
}

impl AuthorizationRequest {
    /// What the request shows, if it can be a token; which kind tells its form.
    fn credential(&self) -> Option<Credential<'_>> {
        let of_header = || {
            let headers = self.headers.as_ref()?;
            headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"))?.1.as_deref()
        };
        let (scheme, token) = self.authorization_token.as_deref().or_else(of_header)?.trim().split_once(' ')?;
        let token = token.trim();
        match scheme.eq_ignore_ascii_case("bearer") {
            true if has_token_format(token) => Some(Credential::Token(token)),
            true if is_jwt(token) => Some(Credential::Jwt(token)),
            _ => None,
        }
    }

    /// Everything in the stage. A narrower policy would be right for the first route only where API Gateway caches it.
    fn stage_arn(&self) -> Option<String> {
        let mut parts = self.method_arn.split('/');
        let (api, stage) = (parts.next()?, parts.next()?);
        (api.starts_with("arn:") && !stage.is_empty()).then(|| format!("{api}/{stage}/*/*"))
    }
}

/// The answer that lets a request in.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowResponse {
    principal_id: String,
    policy_document: PolicyDocument,
    context: Context,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyDocument {
    version: &'static str,
    statement: [Statement; 1],
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    action: &'static str,
    effect: &'static str,
    resource: [String; 1],
}

/// The context that API Gateway passes to the functions behind the routes. It allows flat strings only.
#[derive(Debug, PartialEq, Serialize)]
struct Context {
    token_id: String,
    integration_id: String,
    scopes: String,
    tenants: String,
    defaults: String,
}

/// The function.
#[derive(Debug)]
pub struct Authorizer {
    table: Table,
    provider: Option<IdentityProvider>,
}

impl EventFunction for Authorizer {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type In = AuthorizationRequest;
    type Out = AllowResponse;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, store::RETENTION_DAYS);
        Ok(Self { table, provider: identity_provider(config)? })
    }

    async fn handle(&self, request: AuthorizationRequest, _deadline: Deadline) -> Result<AllowResponse, DirectError> {
        let resource =
            request.stage_arn().ok_or_else(|| DirectError::new("BadRequest", "methodArn is not an ARN of an API"))?;
        match request.credential() {
            Some(Credential::Token(token)) => self.authorize_token(token, resource).await,
            Some(Credential::Jwt(token)) => self.authorize_jwt(token, resource).await,
            None => Err(unauthorized("no_token")),
        }
    }
}

/// The identity provider that the stack was given, if it was.
fn identity_provider(config: Config) -> Result<Option<IdentityProvider>, StartError> {
    let Some(issuer) = config.oidc_issuer else { return Ok(None) };
    let audience = config.oidc_audience.ok_or_else(|| StartError::new(MissingAudience))?;
    let exceptions = config.outbound_exceptions.unwrap_or_default();
    let options = ClientOptions::parse(&exceptions, &config.outbound_extra_root.unwrap_or_default());
    let client = Client::new(&options.map_err(StartError::new)?).map_err(StartError::new)?;
    let usual = || format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let discovery = config.oidc_discovery_url.unwrap_or_else(usual);
    let discovery = outbound::check_url(&discovery, client.exceptions()).map_err(StartError::new)?;
    let trusted = TrustedIssuer {
        issuer,
        audience,
        tenants_claim: config.oidc_tenants_claim,
        scopes_claim: config.oidc_scopes_claim,
    };
    Ok(Some(IdentityProvider::new(trusted, discovery, client)))
}

/// Without an audience a token that was issued for any other application would open this one.
#[derive(Debug, thiserror::Error)]
#[error("OIDC_ISSUER is set and OIDC_AUDIENCE is not; name the application that its tokens must be for")]
struct MissingAudience;

impl Authorizer {
    /// Who shows a token of ours.
    async fn authorize_token(&self, token: &str, resource: String) -> Result<AllowResponse, DirectError> {
        let record = self.table.token(token).await.map_err(|error| {
            tracing::error!(%error, "the table did not answer");
            DirectError::new("Unavailable", "the tokens cannot be read; send the same request again")
        })?;
        let Some(record) = record else { return Err(unauthorized("unknown_token")) };
        if let Some(why) = record.invalid_reason(clock::now()) {
            tracing::info!(token_id = %record.token_id, "a token that is over");
            return Err(unauthorized(why));
        }
        tracing::info!(token_id = %record.token_id, "let in");
        Ok(allow_token(&record, resource))
    }

    /// Who shows a JWT.
    async fn authorize_jwt(&self, token: &str, resource: String) -> Result<AllowResponse, DirectError> {
        let Some(provider) = &self.provider else { return Err(unauthorized("no_identity_provider")) };
        match provider.identify(token, clock::now()).await {
            Ok(identity) => {
                tracing::info!(token_id = identity.token_id, "let in");
                Ok(allow_identity(identity, resource))
            }
            Err(JwtError::Refused(refusal)) => Err(unauthorized(refusal.as_str())),
            Err(JwtError::NoKeys) => {
                let detail = "the identity provider's keys cannot be read; send the same request again";
                Err(DirectError::new("Unavailable", detail))
            }
        }
    }
}

/// API Gateway answers 401 for exactly this message, and 500 for any other.
fn unauthorized(why: &'static str) -> DirectError {
    tracing::info!(why, "refused");
    DirectError::new("Unauthorized", "Unauthorized")
}

fn allow_token(record: &TokenRecord, resource: String) -> AllowResponse {
    let tenants = match &record.tenants {
        TenantScope::All(_) => None,
        TenantScope::Listed(tenants) => Some(tenants),
    };
    let context = Context {
        token_id: record.token_id.to_string(),
        integration_id: record.integration_id.to_string(),
        scopes: join_scopes(&record.scopes),
        tenants: join_tenants(tenants),
        defaults: record.defaults.to_string(),
    };
    allow_stage(context, resource)
}

fn allow_identity(identity: Identity, resource: String) -> AllowResponse {
    let context = Context {
        token_id: identity.token_id,
        integration_id: identity.integration_id.to_string(),
        scopes: join_scopes(&identity.scopes),
        tenants: join_tenants(identity.tenants.as_ref()),
        defaults: "{}".to_owned(),
    };
    allow_stage(context, resource)
}

fn join_scopes(scopes: &BTreeSet<String>) -> String {
    scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn join_tenants(tenants: Option<&BTreeSet<TenantId>>) -> String {
    let list = |tenants: &BTreeSet<TenantId>| tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join(",");
    tenants.map_or_else(|| "*".to_owned(), list)
}

fn allow_stage(context: Context, resource: String) -> AllowResponse {
    AllowResponse {
        principal_id: context.token_id.clone(),
        policy_document: PolicyDocument {
            version: "2012-10-17",
            statement: [Statement { action: "execute-api:Invoke", effect: "Allow", resource: [resource] }],
        },
        context,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::{IntegrationId, TokenId};
    use jiff::Timestamp;
    use serde_json::json;
    use store::credentials::Wildcard;

    fn record() -> TokenRecord {
        TokenRecord {
            token_id: TokenId::new("a"),
            integration_id: IntegrationId::new("b"),
            name: "monitor".into(),
            scopes: ["incidents:write".to_owned(), "alerts:read".to_owned()].into(),
            tenants: TenantScope::Listed(["acme", "globex"].map(|id| TenantId::parse(id).unwrap()).into()),
            defaults: json!({"type": "api.outage"}),
            created_at: Timestamp::UNIX_EPOCH,
            expires_at_time: None,
            revoked_at: None,
            owner: TenantId::operators(),
            hash: "h".into(),
        }
    }

    fn parse_request(event: serde_json::Value) -> AuthorizationRequest {
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn both_shapes_of_api_gateway_are_read() {
        let parsed: AuthorizationRequest = serde_json::from_str(include_str!("../event.json")).unwrap();
        assert_eq!(parsed.credential(), Some(Credential::Token("AbCdEfGhIjKlMnOpQrStUvWxYz012345")));
        assert_eq!(parsed.stage_arn().unwrap(), "arn:aws:execute-api:eu-central-1:123456789012:abcdef1234/api/*/*");
        let token =
            parse_request(json!({"type": "TOKEN", "methodArn": "arn:aws-cn:execute-api:cn-north-1:1:x/live/GET/a/b",
            "authorizationToken": "bearer  AbCdEfGhIjKlMnOpQrStUvWxYz012345 "}));
        assert_eq!(token.credential(), Some(Credential::Token("AbCdEfGhIjKlMnOpQrStUvWxYz012345")));
        assert_eq!(token.stage_arn().unwrap(), "arn:aws-cn:execute-api:cn-north-1:1:x/live/*/*");
    }

    #[test]
    fn a_jwt_is_told_from_a_token_by_its_form() {
        let is_jwt_credential = |header: &str| {
            let request =
                parse_request(json!({"methodArn": "arn:aws:execute-api:r:1:x/s/GET/", "authorizationToken": header}));
            request.credential().map(|credential| matches!(credential, Credential::Jwt(_)))
        };
        for (header, is_jwt) in [
            ("Bearer eyJh.eyJz.c2ln", Some(true)),
            ("Bearer eyJh.eyJz.", Some(true)),
            ("Bearer AbCdEfGhIjKlMnOpQrStUvWxYz012345", Some(false)),
            ("Bearer eyJh.eyJz", None),
            ("Bearer eyJh.eyJz.c2ln.x", None),
            ("Bearer .eyJz.c2ln", None),
            ("Bearer eyJh.ey Jz.c2ln", None),
        ] {
            assert_eq!(is_jwt_credential(header), is_jwt, "{header}");
        }
        assert_eq!(is_jwt_credential(&format!("Bearer a.{}.c", "b".repeat(9_000))), None);
    }

    #[test]
    fn what_cannot_be_a_token_is_not_looked_up() {
        for header in [
            "",
            "Bearer",
            "Bearer ",
            "Basic AbCdEfGhIjKlMnOpQrStUvWxYz012345",
            "AbCdEfGhIjKlMnOpQrStUvWxYz012345",
            "Bearer AbCdEfGhIjKlMnOpQrStUvWxYz01234",
            "Bearer AbCdEfGhIjKlMnOpQrStUvWxYz01234#",
            "Bearer AbCdEfGhIjKlMnOpQrStUvWxYz012345 x",
        ] {
            let request =
                parse_request(json!({"methodArn": "arn:aws:execute-api:r:1:x/s/GET/", "authorizationToken": header}));
            assert_eq!(request.credential(), None, "{header}");
        }
        assert_eq!(parse_request(json!({"methodArn": "", "headers": {"Authorization": null}})).credential(), None);
        assert_eq!(parse_request(json!({"methodArn": "nonsense", "headers": null})).stage_arn(), None);
    }

    #[test]
    fn revoked_and_expired_tokens_are_refused() {
        let now = Timestamp::from_second(1_000).unwrap();
        assert_eq!(record().invalid_reason(now), None);
        assert_eq!(TokenRecord { expires_at_time: Some(now), ..record() }.invalid_reason(now), Some("expired"));
        let later = Timestamp::from_second(1_001).unwrap();
        assert_eq!(TokenRecord { expires_at_time: Some(later), ..record() }.invalid_reason(now), None);
        assert_eq!(TokenRecord { revoked_at: Some(later), ..record() }.invalid_reason(now), Some("revoked"));
        // API Gateway compares the message word by word.
        assert_eq!(unauthorized("x").to_string(), "Unauthorized");
    }

    #[test]
    fn the_answer_is_flat_and_read_back_as_the_same_caller() {
        let answer = serde_json::to_value(allow_token(&record(), "arn:x/s/*/*".into())).unwrap();
        assert_eq!(
            answer,
            json!({
                "principalId": "tok_a",
                "policyDocument": {"Version": "2012-10-17", "Statement": [
                    {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": ["arn:x/s/*/*"]}
                ]},
                "context": {"token_id": "tok_a", "integration_id": "int_b", "scopes": "alerts:read incidents:write",
                    "tenants": "acme,globex", "defaults": "{\"type\":\"api.outage\"}"}
            })
        );
        let caller = runtime::http::Caller::from_context(&answer["context"]);
        assert!(caller.has_scope("alerts:read") && caller.can_access_tenant(&TenantId::parse("globex").unwrap()));
        assert_eq!(caller.defaults, Some(json!({"type": "api.outage"})));
        let everybody = TokenRecord { tenants: TenantScope::All(Wildcard::Asterisk), ..record() };
        assert_eq!(allow_token(&everybody, String::new()).context.tenants, "*");
    }
}
