//! Routes of a tenant's integrations: Slack, Teams and webhooks. URL and secret are encrypted here and never shown again.

use super::{lint, load_settings, require_plan_capacity, save_setting};
use crate::App;
use crate::access::{
    self, LimitedBody, MANAGE_SCOPES, PageQuery, READ_SCOPES, created_response, json_response, json_with_etag,
    require_current_version,
};
use crate::check::integration::{check_integration, check_secret, integration_body};
use crate::notices;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use contracts::http::{IntegrationBody, IntegrationList, Private, RotateSecretBody};
use contracts::problem::FieldError;
use domain::ids::{IntegrationId, TenantId};
use domain::tenant::{Destination, Integration, OldSecret, Sealed};
use domain::vocabulary::Channel;
use jiff::{SignedDuration, Timestamp};
use outbound::SecretUrl;
use runtime::http::{Caller, Problem};
use runtime::{clock, ids};
use std::sync::Arc;
use store::tenants::TenantChange;
use vault::{FingerprintPurpose, Fingerprints, Keyring};

/// Hours for which webhooks are signed with the old secret as well.
const OLD_SECRET_HOURS: i64 = 24;

/// `GET /v1/tenants/{tenant}/integrations`
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    let (limit, after) = page.parse(|text| IntegrationId::parse(text).is_some())?;
    load_settings(&app, &tenant).await?;
    let now = clock::now();
    let (integrations, more) =
        app.table.integrations_page(&tenant, after, limit).await.map_err(access::storage_problem)?;
    let next = integrations.last().filter(|_| more).map(|last| last.id.to_string());
    let integrations = integrations.iter().map(|known| integration_body(known, now)).collect();
    Ok(json_response(StatusCode::OK, &IntegrationList { integrations, next }))
}

/// `POST /v1/tenants/{tenant}/integrations`
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    body: LimitedBody,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, MANAGE_SCOPES)?;
    let settings = load_settings(&app, &tenant).await?;
    let body: IntegrationBody = body.parse()?;
    let id = IntegrationId::new(&ids::id_suffix());
    let draft = check_integration(None, &id, &body, &app.exceptions).map_err(Problem::invalid_fields)?;
    let most = app.policy.plans.get(&settings.plan).map_or(0, |plan| plan.integrations);
    let known = app.table.integrations(&tenant).await.map_err(access::storage_problem)?.len();
    require_plan_capacity(known, most, &settings.plan, "integrations")?;
    // The check has already rejected a new integration without a URL.
    let seal = Seal::new(&app, &tenant, &id).await?;
    let sealed = seal.url(&draft.url.ok_or_else(Problem::internal)?)?;
    let secret = (draft.kind == Channel::Webhook).then(|| draft.secret.unwrap_or_else(generate_secret));
    let integration = Integration {
        name: draft.name,
        kind: draft.kind,
        url: sealed.url,
        host: sealed.host,
        fingerprint: sealed.fingerprint,
        secret: secret.as_deref().map(|secret| seal.secret(secret)).transpose()?,
        old_secret: None,
        categories: draft.categories,
        audiences: draft.audiences,
        filters: draft.filters,
        paused: draft.paused,
        disabled: None,
        failing: None,
        slow: None,
        created_at: clock::now(),
        version: 1,
        id,
    };
    save_integration(&app, &caller, &tenant, &integration, "integration.created").await?;
    let lint = lint::findings_after_save(&app, &tenant).await;
    let shown =
        IntegrationBody { secret: secret.map(Private::new), lint, ..integration_body(&integration, clock::now()) };
    Ok(created_response("integrations", integration.id.as_str(), 1, &shown))
}

/// `GET /v1/tenants/{tenant}/integrations/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    let integration = find_integration(&app, &tenant, &id).await?;
    Ok(json_with_etag(StatusCode::OK, integration.version, &integration_body(&integration, clock::now())))
}

/// `PUT /v1/tenants/{tenant}/integrations/{id}`
pub(crate) async fn replace(
    State(app): State<App>,
    caller: Caller,
    Path((tenant, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: LimitedBody,
) -> Result<Response, Problem> {
    update(&Change { app, caller, tenant, id, headers, now: clock::now() }, |_| body.parse()).await
}

/// `PATCH /v1/tenants/{tenant}/integrations/{id}`: a JSON merge patch.
pub(crate) async fn patch(
    State(app): State<App>,
    caller: Caller,
    Path((tenant, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: LimitedBody,
) -> Result<Response, Problem> {
    let change = Change { app, caller, tenant, id, headers, now: clock::now() };
    update(&change, |before| body.apply_merge_patch(&integration_body(before, change.now))).await
}

/// A request that changes a saved integration.
struct Change {
    app: App,
    caller: Caller,
    /// The tenant's id as it stands in the path.
    tenant: String,
    /// The integration's id as it stands in the path.
    id: String,
    headers: HeaderMap,
    now: Timestamp,
}

/// Saves the integration that `read_body` makes of the request and of the saved integration.
async fn update(
    change: &Change,
    read_body: impl FnOnce(&Integration) -> Result<IntegrationBody, Problem>,
) -> Result<Response, Problem> {
    let Change { app, caller, now, .. } = change;
    let now = *now;
    let tenant = caller.authorize_tenant(&change.tenant, MANAGE_SCOPES)?;
    let before = find_integration(app, &tenant, &change.id).await?;
    require_current_version(&change.headers, before.version)?;
    let body = read_body(&before)?;
    let draft =
        check_integration(Some(&before), &before.id, &body, &app.exceptions).map_err(Problem::invalid_fields)?;
    let mut next = Integration {
        name: draft.name,
        categories: draft.categories,
        audiences: draft.audiences,
        filters: draft.filters,
        paused: draft.paused,
        version: before.version + 1,
        ..before.clone()
    };
    if let Some(url) = draft.url {
        let sealed = Seal::new(app, &tenant, &before.id).await?.url(&url)?;
        // A new URL starts with a clean record: the failures were another endpoint's.
        if sealed.fingerprint != before.fingerprint {
            next = Integration { slow: None, ..reenable(next, now) };
        }
        (next.url, next.host, next.fingerprint) = (sealed.url, sealed.host, sealed.fingerprint);
    }
    if draft.enable {
        next = reenable(next, now);
    }
    next.old_secret = next.old_secret.filter(|old| old.until > now);
    save_integration(app, caller, &tenant, &next, "integration.updated").await?;
    let lint = lint::findings_after_save(app, &tenant).await;
    Ok(json_with_etag(StatusCode::OK, next.version, &IntegrationBody { lint, ..integration_body(&next, now) }))
}

/// `POST /v1/tenants/{tenant}/integrations/{id}/secret`: sets a new signing secret and shows it once. Webhooks are signed with the previous
/// secret as well for 24 hours. A still older secret stops at once, so rotating twice retires a leaked one.
pub(crate) async fn rotate_secret(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: LimitedBody,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, MANAGE_SCOPES)?;
    let before = find_integration(&app, &tenant, &id).await?;
    // Concurrent rotations without If-Match conflict as well: the later write is based on an outdated version.
    if access::if_match_versions(&headers)?.is_some() {
        require_current_version(&headers, before.version)?;
    }
    let body: RotateSecretBody = body.parse_or_default()?;
    if before.kind != Channel::Webhook {
        let detail =
            "only webhooks have a signing secret; for Slack and Teams the URL is the secret, so change the URL instead";
        return Err(Problem::invalid_fields(vec![FieldError::new("/kind", detail)]));
    }
    let secret = match body.secret {
        Some(given) => {
            let given = given.expose().to_owned();
            check_secret(&given).map_err(|detail| Problem::invalid_fields(vec![FieldError::new("/secret", detail)]))?;
            given
        }
        None => generate_secret(),
    };
    let now = clock::now();
    let until = now.saturating_add(SignedDuration::from_hours(OLD_SECRET_HOURS)).unwrap_or(now);
    let next = Integration {
        secret: Some(Seal::new(&app, &tenant, &before.id).await?.secret(&secret)?),
        old_secret: before.secret.clone().map(|secret| OldSecret { secret, until }),
        version: before.version + 1,
        ..before
    };
    save_integration(&app, &caller, &tenant, &next, "integration.secret_rotated").await?;
    let shown = IntegrationBody { secret: Some(Private::new(secret)), ..integration_body(&next, now) };
    Ok(json_with_etag(StatusCode::OK, next.version, &shown))
}

/// `DELETE /v1/tenants/{tenant}/integrations/{id}`
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, MANAGE_SCOPES)?;
    let integration = find_integration(&app, &tenant, &id).await?;
    require_current_version(&headers, integration.version)?;
    let setting = TenantChange::Removed(Destination::Integration(Box::new(integration.clone())));
    save_setting(&app, &caller, &tenant, setting, "integration.deleted", &id).await?;
    notices::resolve_endpoint_incident(&app, &tenant, &integration).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Enables an integration again. The next alert shows whether the endpoint works; the days until it is disabled start over.
fn reenable(integration: Integration, now: Timestamp) -> Integration {
    Integration { disabled: None, failing: integration.failing.map(|_| now), ..integration }
}

/// A URL as it is stored: encrypted, with its host in the clear and a keyed hash of the whole.
struct SealedUrl {
    url: Sealed,
    host: String,
    fingerprint: String,
}

/// What seals the values of one integration.
struct Seal {
    keyring: Arc<Keyring>,
    fingerprints: Fingerprints,
    /// What the values are bound to.
    aad: String,
}

impl Seal {
    async fn new(app: &App, tenant: &TenantId, id: &IntegrationId) -> Result<Self, Problem> {
        let keyring = app.keyring.get(clock::now()).await.map_err(|error| {
            tracing::error!(%error, "cannot load the data keys");
            Problem::unavailable()
        })?;
        let aad = vault::owner_aad(tenant.as_str(), id.as_str());
        Ok(Self { keyring, fingerprints: app.fingerprints.clone(), aad })
    }

    fn url(&self, url: &SecretUrl) -> Result<SealedUrl, Problem> {
        // A hash of the URL alone, without the tenant: Slack limits messages per URL, so the rate limiter must recognize one URL of two tenants.
        let fingerprint = self.fingerprints.fingerprint(FingerprintPurpose::IntegrationUrl, url.expose());
        let fingerprint = fingerprint.map_err(seal_problem)?;
        Ok(SealedUrl { url: self.secret(url.expose())?, host: url.host().to_owned(), fingerprint })
    }

    fn secret(&self, secret: &str) -> Result<Sealed, Problem> {
        let sealed = self.keyring.seal(&self.aad, secret.as_bytes()).map_err(seal_problem)?;
        Ok(Sealed::new(sealed.into()))
    }
}

fn seal_problem(error: vault::VaultError) -> Problem {
    tracing::error!(%error, "encryption failed");
    Problem::internal()
}

fn generate_secret() -> String {
    outbound::encode_secret(&ids::random_bytes::<32>())
}

async fn find_integration(app: &App, tenant: &TenantId, id: &str) -> Result<Integration, Problem> {
    let found = match IntegrationId::parse(id) {
        Some(id) => app.table.integration(tenant, &id).await.map_err(access::storage_problem)?,
        None => None,
    };
    found.ok_or_else(|| Problem::not_found("this tenant has no such integration"))
}

async fn save_integration(
    app: &App,
    caller: &Caller,
    tenant: &TenantId,
    integration: &Integration,
    what: &str,
) -> Result<(), Problem> {
    let setting = TenantChange::Destination(Destination::Integration(Box::new(integration.clone())));
    save_setting(app, caller, tenant, setting, what, integration.id.as_str()).await
}
