//! Slack, Teams and webhook destinations of a tenant. URL and secret are sealed here and never shown again.

use super::recipients::within_plan;
use super::{lint, save, settings_of};
use crate::App;
use crate::access::{self, Limited, MANAGE, Paged, READ, answer, based_on, created, tagged};
use crate::check::integration as check;
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
use store::tenants::Setting;

/// What URLs are fingerprinted for: two integrations of a tenant must not have the same one.
const FINGERPRINT: &str = "integration-url";
/// How long the old secret signs beside the new one.
const OLD_SECRET_HOURS: i64 = 24;

/// `GET /v1/tenants/{tenant}/integrations`
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    Query(paged): Query<Paged>,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, READ)?;
    let (limit, after) = paged.read(|text| IntegrationId::parse(text).is_some())?;
    settings_of(&app, &tenant).await?;
    let now = clock::now();
    let (integrations, more) = app.table.integrations_page(&tenant, after, limit).await.map_err(access::table)?;
    let next = integrations.last().filter(|_| more).map(|last| last.id.to_string());
    let integrations = integrations.iter().map(|known| check::body_of(known, now)).collect();
    Ok(answer(StatusCode::OK, &IntegrationList { integrations, next }))
}

/// `POST /v1/tenants/{tenant}/integrations`
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    body: Limited,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, MANAGE)?;
    let settings = settings_of(&app, &tenant).await?;
    let body: IntegrationBody = body.parse()?;
    let id = IntegrationId::new(&ids::suffix());
    let draft = check::integration(None, &id, &body, &app.exceptions).map_err(Problem::fields)?;
    let most = app.policy.plans.get(&settings.plan).map_or(0, |plan| plan.integrations);
    let known = app.table.integrations(&tenant).await.map_err(access::table)?.len();
    within_plan(known, most, &settings.plan, "integrations")?;
    // Without a URL the check has refused the body.
    let place = place(&app, &tenant, &id, &draft.url.ok_or_else(Problem::internal)?)?;
    let secret = (draft.kind == Channel::Webhook).then(|| draft.secret.unwrap_or_else(fresh_secret));
    let integration = Integration {
        name: draft.name,
        kind: draft.kind,
        url: place.url,
        host: place.host,
        fingerprint: place.fingerprint,
        secret: secret.as_deref().map(|secret| seal(&app, &tenant, &id, secret)).transpose()?,
        old_secret: None,
        categories: draft.categories,
        audiences: draft.audiences,
        filters: draft.filters,
        paused: draft.paused,
        disabled: None,
        failing: None,
        created_at: clock::now(),
        version: 1,
        id,
    };
    store(&app, &caller, &tenant, &integration, "integration.created").await?;
    let lint = lint::after_write(&app, &tenant).await;
    let shown =
        IntegrationBody { secret: secret.map(Private::new), lint, ..check::body_of(&integration, clock::now()) };
    Ok(created("integrations", integration.id.as_str(), 1, &shown))
}

/// `GET /v1/tenants/{tenant}/integrations/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, READ)?;
    let integration = find(&app, &tenant, &id).await?;
    Ok(tagged(StatusCode::OK, integration.version, &check::body_of(&integration, clock::now())))
}

/// `PUT /v1/tenants/{tenant}/integrations/{id}`
pub(crate) async fn replace(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    body: Limited,
) -> Result<Response, Problem> {
    write(&app, &caller, path, &headers, |_| body.parse()).await
}

/// `PATCH /v1/tenants/{tenant}/integrations/{id}`: a JSON merge patch.
pub(crate) async fn patch(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    body: Limited,
) -> Result<Response, Problem> {
    let now = clock::now();
    write(&app, &caller, path, &headers, |before| body.patched(&check::body_of(before, now))).await
}

async fn write(
    app: &App,
    caller: &Caller,
    (path, id): (String, String),
    headers: &HeaderMap,
    asked: impl FnOnce(&Integration) -> Result<IntegrationBody, Problem>,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, MANAGE)?;
    let before = find(app, &tenant, &id).await?;
    based_on(headers, before.version)?;
    let body = asked(&before)?;
    let draft = check::integration(Some(&before), &before.id, &body, &app.exceptions).map_err(Problem::fields)?;
    let now = clock::now();
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
        let place = place(app, &tenant, &before.id, &url)?;
        // What another endpoint said is not this one's fault.
        if place.fingerprint != before.fingerprint {
            next = enabled(next, now);
        }
        (next.url, next.host, next.fingerprint) = (place.url, place.host, place.fingerprint);
    }
    if draft.enable {
        next = enabled(next, now);
    }
    next.old_secret = next.old_secret.filter(|old| old.until > now);
    store(app, caller, &tenant, &next, "integration.updated").await?;
    let lint = lint::after_write(app, &tenant).await;
    Ok(tagged(StatusCode::OK, next.version, &IntegrationBody { lint, ..check::body_of(&next, now) }))
}

/// `POST /v1/tenants/{tenant}/integrations/{id}/secret`: a new secret, shown once. The one before signs beside it for 24
/// hours; an even older one stops at once, so that rotating twice ends a secret that leaked.
pub(crate) async fn rotate_secret(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Limited,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, MANAGE)?;
    let before = find(&app, &tenant, &id).await?;
    // Without If-Match two who rotate at once are still told apart: the later write is based on a version that is gone.
    if access::expected(&headers)?.is_some() {
        based_on(&headers, before.version)?;
    }
    let body: RotateSecretBody = body.parse_or_default()?;
    if before.kind != Channel::Webhook {
        let detail = "only a webhook is signed; for Slack and Teams the URL is the secret, so change the URL";
        return Err(Problem::fields(vec![FieldError::new("/kind", detail)]));
    }
    let secret = match body.secret {
        Some(given) => {
            let given = given.expose().to_owned();
            check::new_secret(&given).map_err(|detail| Problem::fields(vec![FieldError::new("/secret", detail)]))?;
            given
        }
        None => fresh_secret(),
    };
    let now = clock::now();
    let until = now.saturating_add(SignedDuration::from_hours(OLD_SECRET_HOURS)).unwrap_or(now);
    let next = Integration {
        secret: Some(seal(&app, &tenant, &before.id, &secret)?),
        old_secret: before.secret.clone().map(|secret| OldSecret { secret, until }),
        version: before.version + 1,
        ..before
    };
    store(&app, &caller, &tenant, &next, "integration.secret_rotated").await?;
    let shown = IntegrationBody { secret: Some(Private::new(secret)), ..check::body_of(&next, now) };
    Ok(tagged(StatusCode::OK, next.version, &shown))
}

/// `DELETE /v1/tenants/{tenant}/integrations/{id}`
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, MANAGE)?;
    let integration = find(&app, &tenant, &id).await?;
    based_on(&headers, integration.version)?;
    let setting = Setting::Removed(Destination::Integration(Box::new(integration.clone())));
    save(&app, &caller, &tenant, setting, "integration.deleted", &id).await?;
    notices::removed(&app, &tenant, &integration).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The same, tried again. Whether it is mended the next alert shows, and the days until it is disabled begin anew.
fn enabled(integration: Integration, now: Timestamp) -> Integration {
    Integration { disabled: None, failing: integration.failing.map(|_| now), ..integration }
}

/// A URL as it is stored.
struct Place {
    url: Sealed,
    host: String,
    fingerprint: String,
}

fn place(app: &App, tenant: &TenantId, id: &IntegrationId, url: &SecretUrl) -> Result<Place, Problem> {
    // Over the URL alone: Slack counts messages by URL, whoever posts them, so the gate must know two tenants' same URL.
    let fingerprint = app.keyring.fingerprint(FINGERPRINT, url.expose()).map_err(sealing)?;
    Ok(Place { url: seal(app, tenant, id, url.expose())?, host: url.host().to_owned(), fingerprint })
}

fn seal(app: &App, tenant: &TenantId, id: &IntegrationId, secret: &str) -> Result<Sealed, Problem> {
    let aad = vault::aad(tenant.as_str(), id.as_str());
    let sealed = app.keyring.seal(&aad, secret.as_bytes()).map_err(sealing)?;
    Ok(Sealed::new(sealed.into()))
}

fn sealing(error: vault::VaultError) -> Problem {
    tracing::error!(%error, "nothing can be sealed");
    Problem::internal()
}

fn fresh_secret() -> String {
    outbound::secret_from(&ids::bytes::<32>())
}

async fn find(app: &App, tenant: &TenantId, id: &str) -> Result<Integration, Problem> {
    let found = match IntegrationId::parse(id) {
        Some(id) => app.table.integration(tenant, &id).await.map_err(access::table)?,
        None => None,
    };
    found.ok_or_else(|| Problem::not_found("this tenant has no such integration"))
}

async fn store(
    app: &App,
    caller: &Caller,
    tenant: &TenantId,
    integration: &Integration,
    what: &str,
) -> Result<(), Problem> {
    let setting = Setting::Destination(Destination::Integration(Box::new(integration.clone())));
    save(app, caller, tenant, setting, what, integration.id.as_str()).await
}
