//! Trigger     API Gateway, before every request to a route that needs a token (TOKEN or REQUEST authorizer)
//! Reads       the token's record, by the token's hash; the identity provider's keys, if one is configured
//! Writes      that a token is used after its end, once a day
//! Emits       nothing
//! On failure  no valid token: a policy that denies the request and says why, which the gateway response turns into a 401. Table unavailable,
//!             or the provider's keys were never read: a 500
//! Config      [`config::Config`]
//!
//! The authorizer identifies the caller. It passes scopes and tenants in the request's context, and the function behind the route decides
//! what the caller may do.

pub mod config;
mod identity;
mod keys;

use config::Config;
use domain::contact::utc_day;
use domain::ids::{TenantId, TokenId};
use identity::{Identity, TrustedIssuer, is_jwt};
use jiff::Timestamp;
use keys::{IdentityProvider, JwtError};
use outbound::{Client, ClientOptions};
use runtime::queue::Deadline;
use runtime::{Aws, DirectError, EventFunction, StartError, clock, metrics};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use store::Table;
use store::credentials::{TenantScope, TokenRecord, has_token_format};

/// The request of API Gateway, of either authorizer type. It has no `Debug`, because it holds a token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationRequest {
    method_arn: String,
    /// The value of the Authorization header, if this is a TOKEN authorizer.
    authorization_token: Option<String>,
    /// All headers, if this is a REQUEST authorizer.
    headers: Option<BTreeMap<String, Option<String>>>,
}

/// The credential of a request.
#[derive(Debug, PartialEq)]
enum Credential<'a> {
    /// An API token issued by Tocsin.
    Token(&'a str),
    /// A JWT of the identity provider.
    Jwt(&'a str),
}

impl AuthorizationRequest {
    /// Returns the bearer credential; its format tells the kind. `None` if there is none, or if it can be neither kind.
    fn credential(&self) -> Option<Credential<'_>> {
        let of_header = || {
            let headers = self.headers.as_ref()?;
            headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"))?.1.as_deref()
        };
        let (scheme, token) = self.authorization_token.as_deref().or_else(of_header)?.trim().split_once(' ')?;
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") {
            None
        } else if has_token_format(token) {
            Some(Credential::Token(token))
        } else if is_jwt(token) {
            Some(Credential::Jwt(token))
        } else {
            None
        }
    }

    /// Returns the ARN of all routes of the stage. API Gateway may cache the policy, and one for a single route would then deny the others.
    fn stage_arn(&self) -> Option<String> {
        let mut parts = self.method_arn.split('/');
        let (api, stage) = (parts.next()?, parts.next()?);
        (api.starts_with("arn:") && !stage.is_empty()).then(|| format!("{api}/{stage}/*/*"))
    }
}

/// The response that allows or denies a request.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationResponse {
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

/// What API Gateway passes on. It allows flat strings only.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Context {
    /// To the functions behind the routes.
    Caller(CallerContext),
    /// To the gateway response of a denied request.
    Refusal {
        /// What is the matter with the token, for its holder. It has no character that JSON escapes.
        detail: &'static str,
    },
}

#[derive(Debug, PartialEq, Serialize)]
struct CallerContext {
    token_id: String,
    integration_id: String,
    scopes: String,
    tenants: String,
    defaults: String,
}

/// The Lambda function and its clients.
#[derive(Debug)]
pub struct Authorizer {
    table: Table,
    provider: Option<IdentityProvider>,
    /// The tokens of which this process noted, on which day (UTC), that they are used after their end.
    noted: Mutex<BTreeMap<TokenId, i64>>,
}

/// The most tokens of which a process remembers that. Beyond that all are forgotten; the table still notes each once a day.
const NOTED_MAX: usize = 1_000;

impl EventFunction for Authorizer {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type In = AuthorizationRequest;
    type Out = AuthorizationResponse;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, store::RETENTION_DAYS);
        Ok(Self { table, provider: identity_provider(config)?, noted: Mutex::default() })
    }

    async fn handle(
        &self,
        request: AuthorizationRequest,
        _deadline: Deadline,
    ) -> Result<AuthorizationResponse, DirectError> {
        let resource =
            request.stage_arn().ok_or_else(|| DirectError::new("BadRequest", "methodArn is not an ARN of an API"))?;
        match request.credential() {
            Some(Credential::Token(token)) => self.authorize_token(token, resource).await,
            Some(Credential::Jwt(token)) => self.authorize_jwt(token, resource).await,
            None => Ok(deny("no_token", resource)),
        }
    }
}

/// Builds the client of the identity provider; `None` if none is configured.
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

/// The audience is missing. Without it, a token issued for any other application would be accepted.
#[derive(Debug, thiserror::Error)]
#[error(
    "OIDC_ISSUER is set but OIDC_AUDIENCE is not; set OIDC_AUDIENCE to the application that tokens must be issued for"
)]
struct MissingAudience;

impl Authorizer {
    /// Authorizes an API token.
    async fn authorize_token(&self, token: &str, resource: String) -> Result<AuthorizationResponse, DirectError> {
        let record = self.table.token(token).await.map_err(|error| {
            tracing::error!(%error, "a table operation failed");
            DirectError::new("Unavailable", "the tokens cannot be read; send the same request again")
        })?;
        let Some(record) = record else { return Ok(deny("unknown_token", resource)) };
        let now = clock::now();
        if let Some(reason) = record.invalid_reason(now) {
            self.note_refused(&record, reason, now).await;
            return Ok(deny(reason, resource));
        }
        tracing::info!(token_id = %record.token_id, "authorized");
        Ok(allow_token(&record, resource))
    }

    /// Notes once a day that a token is used after its end, so that its owner finds out where it is still in use. An error is only logged.
    async fn note_refused(&self, record: &TokenRecord, reason: &'static str, now: Timestamp) {
        let (day, _) = utc_day(now);
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.get(&record.token_id) == Some(&day) {
                return;
            }
            if noted.len() >= NOTED_MAX {
                noted.clear();
            }
            noted.insert(record.token_id.clone(), day);
        }
        match self.table.note_refused_token(&record.owner, &record.token_id, now).await {
            Ok(true) => {
                metrics::count("RefusedTokenUsed", 1);
                tracing::warn!(token_id = %record.token_id, tenant = %record.owner, reason, "a token is used after its end");
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, token_id = %record.token_id, "cannot note that a token is used after its end");
            }
        }
    }

    /// Authorizes a JWT of the identity provider.
    async fn authorize_jwt(&self, token: &str, resource: String) -> Result<AuthorizationResponse, DirectError> {
        let Some(provider) = &self.provider else { return Ok(deny("no_identity_provider", resource)) };
        match provider.identify(token, clock::now()).await {
            Ok(identity) => {
                tracing::info!(token_id = identity.token_id, "authorized");
                Ok(allow_identity(identity, resource))
            }
            Err(JwtError::Refused(refusal)) => Ok(deny(refusal.as_str(), resource)),
            Err(JwtError::NoKeys) => {
                let detail = "the identity provider's keys cannot be read; send the same request again";
                Err(DirectError::new("Unavailable", detail))
            }
        }
    }
}

/// Denies the request of a token that is not valid. It is no error: CloudWatch would count one, and strangers could make its alarm ring.
fn deny(reason: &'static str, resource: String) -> AuthorizationResponse {
    tracing::info!(reason, "unauthorized");
    AuthorizationResponse {
        principal_id: "nobody".to_owned(),
        policy_document: policy("Deny", resource),
        context: Context::Refusal { detail: refusal_detail(reason) },
    }
}

/// Returns the detail for the holder of a token. Of a JWT it says only that it has expired: the other checks are the provider's to explain.
fn refusal_detail(reason: &str) -> &'static str {
    match reason {
        "revoked" => "this token was revoked; use another one, and remove this one wherever it is still in use",
        "expired" => "this token has expired; ask an admin for another one",
        "no_token" => "send the header Authorization: Bearer with a token of this stack",
        "unknown_token" => "this stack does not know this token; check that it is complete and of this stack",
        "jwt_expired" => "this JWT has expired; sign in again",
        _ => "this JWT is not accepted here; sign in again, and ask an admin if that does not help",
    }
}

fn allow_token(record: &TokenRecord, resource: String) -> AuthorizationResponse {
    let tenants = match &record.tenants {
        TenantScope::All(_) => None,
        TenantScope::Listed(tenants) => Some(tenants),
    };
    let context = CallerContext {
        token_id: record.token_id.to_string(),
        integration_id: record.integration_id.to_string(),
        scopes: join_scopes(&record.scopes),
        tenants: join_tenants(tenants),
        defaults: record.defaults.to_string(),
    };
    allow_stage(context, resource)
}

fn allow_identity(identity: Identity, resource: String) -> AuthorizationResponse {
    let context = CallerContext {
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

fn allow_stage(context: CallerContext, resource: String) -> AuthorizationResponse {
    AuthorizationResponse {
        principal_id: context.token_id.clone(),
        policy_document: policy("Allow", resource),
        context: Context::Caller(context),
    }
}

fn policy(effect: &'static str, resource: String) -> PolicyDocument {
    PolicyDocument {
        version: "2012-10-17",
        statement: [Statement { action: "execute-api:Invoke", effect, resource: [resource] }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::{IntegrationId, TokenId};
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
            issued_by: None,
            hash: "h".into(),
        }
    }

    fn parse_request(event: serde_json::Value) -> AuthorizationRequest {
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn both_authorizer_types_are_parsed() {
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
    fn a_jwt_is_distinguished_from_a_token_by_its_format() {
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
    fn a_malformed_token_is_not_looked_up() {
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
    fn revoked_and_expired_tokens_are_invalid() {
        let now = Timestamp::from_second(1_000).unwrap();
        assert_eq!(record().invalid_reason(now), None);
        assert_eq!(TokenRecord { expires_at_time: Some(now), ..record() }.invalid_reason(now), Some("expired"));
        let later = Timestamp::from_second(1_001).unwrap();
        assert_eq!(TokenRecord { expires_at_time: Some(later), ..record() }.invalid_reason(now), None);
        assert_eq!(TokenRecord { revoked_at: Some(later), ..record() }.invalid_reason(now), Some("revoked"));
    }

    #[test]
    fn a_denied_request_says_what_is_the_matter_and_passes_nothing_else_on() {
        let said = |reason| {
            let answer = serde_json::to_value(deny(reason, "arn:x/s/*/*".into())).unwrap();
            let statement = json!([{"Action": "execute-api:Invoke", "Effect": "Deny", "Resource": ["arn:x/s/*/*"]}]);
            assert_eq!(answer["policyDocument"]["Statement"], statement);
            let context = answer["context"].as_object().unwrap();
            assert_eq!(context.len(), 1, "{context:?}");
            let detail = context["detail"].as_str().unwrap().to_owned();
            // The gateway response puts it between quotes as it is.
            assert_eq!(serde_json::to_string(&detail).unwrap(), format!("\"{detail}\""));
            detail
        };
        assert!(said("revoked").contains("was revoked") && said("expired").contains("has expired"));
        assert!(said("unknown_token").contains("does not know") && said("jwt_expired").contains("JWT has expired"));
        assert_eq!(said("jwt_signature"), said("no_identity_provider"));
    }

    #[test]
    fn the_context_is_flat_and_parses_back_to_the_same_caller() {
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
        let for_all_tenants = TokenRecord { tenants: TenantScope::All(Wildcard::Asterisk), ..record() };
        let answer = serde_json::to_value(allow_token(&for_all_tenants, String::new())).unwrap();
        assert_eq!(answer["context"]["tenants"], "*");
    }
}
