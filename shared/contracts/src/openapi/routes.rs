//! The routes of the HTTP API with their scopes, parameters, bodies and answers.

use super::operation::{Operation, route};
use crate::http::scopes::{ALERTS_MANAGE, ALERTS_READ, ALERTS_TEST, INCIDENTS_WRITE, PLATFORM_ADMIN, SUPPORT_READ};
use crate::http::{
    AuditList, CatalogueView, ConfirmBody, ConfirmationView, DeliveryLog, ExplainAnswer, ImpactAnswer,
    IncidentDetailAnswer, IncidentList, IntegrationBody, IntegrationList, LintAnswer, NameRequestList, RecipientBody,
    RecipientList, ResendAnswer, ResendBody, RevokedTokens, RotateSecretBody, RotateTokenBody, SendConfirmationBody,
    SettingsBody, SupportBundle, SuppressionView, TenantBody, TestAlertAnswer, TestAlertBody, TokenBody, TokenList,
    TokenView,
};
use crate::native;
use crate::statuspage::{
    PublicComponentList, PublicIncidentList, PublicMaintenanceList, PublicStatusAnswer, PublicSummary, TenantSummary,
};
use schemars::generate::SchemaGenerator;
use serde_json::json;

const READ: &[&str] = &[ALERTS_READ, ALERTS_MANAGE, SUPPORT_READ, PLATFORM_ADMIN];
const MANAGE: &[&str] = &[ALERTS_MANAGE, PLATFORM_ADMIN];
const TEST: &[&str] = &[ALERTS_TEST, ALERTS_MANAGE, PLATFORM_ADMIN];
const POST: &[&str] = &[INCIDENTS_WRITE];

/// Incidents, events and intake.
pub(super) fn incidents(g: &mut SchemaGenerator) -> Vec<Operation> {
    let flag = json!({"type": "boolean", "default": false});
    let idempotency_text = "Requests with the same key and body within 24 hours are one event";
    vec![
        route("post", "/v1/incidents", "postIncident", "Create or update an incident")
            .scopes(POST)
            .query("dry_run", &flag, "Return the matching rule and the number of deliveries without sending anything")
            .header("Idempotency-Key", false, idempotency_text)
            .with_body::<native::NativeEventBody>(g)
            .answers::<native::DryRunAnswer>(g, 200)
            .answers::<native::EventAccepted>(g, 202),
        route("get", "/v1/incidents/{id}", "getIncident", "Get an incident as its source sees it")
            .scopes(&[INCIDENTS_WRITE, ALERTS_READ])
            .answers::<native::SourceIncidentAnswer>(g, 200),
        route("post", "/v1/incidents/{id}/updates", "postUpdate", "Post an update to an open incident")
            .scopes(POST)
            .header("Idempotency-Key", false, idempotency_text)
            .with_body::<native::UpdateBody>(g)
            .answers::<native::UpdateAccepted>(g, 202)
            .fails_with(&[409]),
        route(
            "get",
            "/v1/events/{id}",
            "getEvent",
            "Get the result of an event; 404 with Retry-After until it is classified",
        )
        .scopes(&[INCIDENTS_WRITE, ALERTS_READ])
        .answers::<native::EventAnswer>(g, 200),
        route("post", "/v1/intake/{format}", "postFormat", "Post an alert in another monitor's format")
            .scopes(POST)
            .with_foreign_body(&[
                "application/json",
                "application/cloudevents+json",
                "application/cloudevents-batch+json",
            ])
            .answers::<native::EventsAccepted>(g, 202)
            .fails_with(&[415]),
        route(
            "options",
            "/v1/intake/{format}",
            "validateFormat",
            "CloudEvents webhook handshake: asks whether a sender may post",
        )
        .header("WebHook-Request-Origin", true, "The host of the sender")
        .answers_empty(200),
    ]
}

/// Settings, recipients and integrations of a tenant.
pub(super) fn tenant_settings(g: &mut SchemaGenerator) -> Vec<Operation> {
    vec![
        route("put", "/v1/tenants/{tenant}", "putTenant", "Create a tenant, or change its name, plan or time zone")
            .scopes(&[PLATFORM_ADMIN])
            .with_body::<TenantBody>(g)
            .answers_with_etag::<SettingsBody>(g, 200)
            .answers_with_etag::<SettingsBody>(g, 201)
            .fails_with(&[412]),
        route("get", "/v1/tenants/{tenant}", "getTenant", "Get a tenant's settings")
            .scopes(READ)
            .answers_with_etag::<SettingsBody>(g, 200),
        route("get", "/v1/tenants/{tenant}/settings", "getSettings", "Get a tenant's settings")
            .scopes(READ)
            .answers_with_etag::<SettingsBody>(g, 200),
        route("put", "/v1/tenants/{tenant}/settings", "putSettings", "Replace a tenant's settings")
            .scopes(MANAGE)
            .if_match()
            .with_body::<SettingsBody>(g)
            .answers_with_etag::<SettingsBody>(g, 200),
        route("patch", "/v1/tenants/{tenant}/settings", "patchSettings", "Update a tenant's settings")
            .scopes(MANAGE)
            .if_match()
            .with_patch::<SettingsBody>(g)
            .answers_with_etag::<SettingsBody>(g, 200),
        route("get", "/v1/tenants/{tenant}/recipients", "listRecipients", "List recipients")
            .scopes(READ)
            .paged(100, 500)
            .answers::<RecipientList>(g, 200),
        route("post", "/v1/tenants/{tenant}/recipients", "createRecipient", "Create a recipient")
            .scopes(MANAGE)
            .with_body::<RecipientBody>(g)
            .answers_with_etag::<RecipientBody>(g, 201)
            .fails_with(&[409]),
        route(
            "get",
            "/v1/tenants/{tenant}/recipients/{id}",
            "getRecipient",
            "Get a recipient and the state of its confirmations",
        )
        .scopes(READ)
        .answers_with_etag::<RecipientBody>(g, 200),
        route("put", "/v1/tenants/{tenant}/recipients/{id}", "putRecipient", "Replace a recipient")
            .scopes(MANAGE)
            .if_match()
            .with_body::<RecipientBody>(g)
            .answers_with_etag::<RecipientBody>(g, 200),
        route("patch", "/v1/tenants/{tenant}/recipients/{id}", "patchRecipient", "Update a recipient")
            .scopes(MANAGE)
            .if_match()
            .with_patch::<RecipientBody>(g)
            .answers_with_etag::<RecipientBody>(g, 200),
        route("delete", "/v1/tenants/{tenant}/recipients/{id}", "deleteRecipient", "Delete a recipient")
            .scopes(MANAGE)
            .if_match()
            .answers_empty(204),
        route(
            "post",
            "/v1/tenants/{tenant}/recipients/{id}/confirmation",
            "sendConfirmation",
            "Send a confirmation request again",
        )
        .scopes(MANAGE)
        .with_body::<SendConfirmationBody>(g)
        .answers::<ConfirmationView>(g, 202)
        .fails_with(&[409, 429]),
        route(
            "post",
            "/v1/tenants/{tenant}/recipients/{id}/confirm",
            "confirmNumber",
            "Confirm a phone number with the code that was sent to it",
        )
        .scopes(MANAGE)
        .with_body::<ConfirmBody>(g)
        .answers_with_etag::<RecipientBody>(g, 200)
        .fails_with(&[409]),
        route(
            "get",
            "/v1/tenants/{tenant}/integrations",
            "listIntegrations",
            "List integrations: Slack, Teams and webhook destinations",
        )
        .scopes(READ)
        .paged(100, 500)
        .answers::<IntegrationList>(g, 200),
        route(
            "post",
            "/v1/tenants/{tenant}/integrations",
            "createIntegration",
            "Create an integration; a webhook's secret is returned only here",
        )
        .scopes(MANAGE)
        .with_body::<IntegrationBody>(g)
        .answers_with_etag::<IntegrationBody>(g, 201)
        .fails_with(&[409]),
        route(
            "get",
            "/v1/tenants/{tenant}/integrations/{id}",
            "getIntegration",
            "Get an integration, without its URL and secret",
        )
        .scopes(READ)
        .answers_with_etag::<IntegrationBody>(g, 200),
        route("put", "/v1/tenants/{tenant}/integrations/{id}", "putIntegration", "Replace an integration")
            .scopes(MANAGE)
            .if_match()
            .with_body::<IntegrationBody>(g)
            .answers_with_etag::<IntegrationBody>(g, 200),
        route("patch", "/v1/tenants/{tenant}/integrations/{id}", "patchIntegration", "Update an integration")
            .scopes(MANAGE)
            .if_match()
            .with_patch::<IntegrationBody>(g)
            .answers_with_etag::<IntegrationBody>(g, 200),
        route("delete", "/v1/tenants/{tenant}/integrations/{id}", "deleteIntegration", "Delete an integration")
            .scopes(MANAGE)
            .if_match()
            .answers_empty(204),
        route(
            "post",
            "/v1/tenants/{tenant}/integrations/{id}/secret",
            "rotateSecret",
            "Rotate a webhook's signing secret; for 24 hours both secrets sign",
        )
        .scopes(MANAGE)
        .with_optional_body::<RotateSecretBody>(g)
        .answers_with_etag::<IntegrationBody>(g, 200)
        .fails_with(&[412]),
    ]
}

/// What a tenant sees: incidents, explanations, deliveries, impact and test alerts.
pub(super) fn tenant_activity(g: &mut SchemaGenerator) -> Vec<Operation> {
    let text = json!({"type": "string"});
    let excluded = json!({"type": "string", "enum": ["excluded"]});
    let channel = json!({"type": "string", "enum": ["email", "sms", "chat", "slack", "teams", "webhook"]});
    let outcome = json!({"type": "string", "enum": ["delivered", "accepted", "pending", "held", "skipped", "failed"]});
    let html = json!({"type": "string", "enum": ["json", "html"], "default": "json"});
    let mut support = route(
        "get",
        "/v1/tenants/{tenant}/incidents/{id}/support",
        "supportBundle",
        "Get a support bundle: everything that support needs about an incident",
    )
    .scopes(READ)
    .query("format", &html, "`html` returns a page for printing")
    .answers::<SupportBundle>(g, 200);
    if let Some(content) = support.answers.get_mut("200").and_then(|answer| answer.get_mut("content")?.as_object_mut())
    {
        content.insert("text/html; charset=utf-8".to_owned(), json!({"schema": {"type": "string"}}));
    }
    vec![
        route(
            "get",
            "/v1/tenants/{tenant}/incidents",
            "listIncidents",
            "List a tenant's incidents, including platform-wide ones",
        )
        .scopes(READ)
        .time_range()
        .query(
            "include",
            &excluded,
            "`excluded` also returns events that created no incident, with the rule that matched",
        )
        .paged(50, 200)
        .answers::<IncidentList>(g, 200),
        route(
            "get",
            "/v1/tenants/{tenant}/incidents/{id}",
            "getTenantIncident",
            "Get an incident with its timeline, decisions and deliveries",
        )
        .scopes(READ)
        .answers::<IncidentDetailAnswer>(g, 200),
        route(
            "get",
            "/v1/tenants/{tenant}/incidents/{id}/explain",
            "explainIncident",
            "Explain why each destination was notified or not",
        )
        .scopes(READ)
        .answers::<ExplainAnswer>(g, 200),
        route(
            "post",
            "/v1/tenants/{tenant}/explain",
            "explainEvent",
            "Explain who would be notified of an event, without sending or storing anything",
        )
        .scopes(READ)
        .with_body::<native::NativeEventBody>(g)
        .answers::<ExplainAnswer>(g, 200),
        support,
        route("post", "/v1/tenants/{tenant}/incidents/{id}/resend", "resend", "Resend a failed delivery")
            .scopes(MANAGE)
            .with_body::<ResendBody>(g)
            .answers::<ResendAnswer>(g, 202)
            .fails_with(&[409]),
        route(
            "get",
            "/v1/tenants/{tenant}/deliveries",
            "listDeliveries",
            "List deliveries, sent or not, with their failed attempts",
        )
        .scopes(READ)
        .time_range()
        .query("channel", &channel, "Only this channel")
        .query("recipient_id", &text, "Only this recipient")
        .query("integration_id", &text, "Only this integration")
        .query("outcome", &outcome, "Only this outcome")
        .paged(50, 200)
        .answers::<DeliveryLog>(g, 200),
        route(
            "get",
            "/v1/tenants/{tenant}/lint",
            "lint",
            "Find settings that look as if they notified somebody but do not",
        )
        .scopes(READ)
        .answers::<LintAnswer>(g, 200),
        route(
            "get",
            "/v1/tenants/{tenant}/catalogue",
            "catalogue",
            "Get what a tenant can choose from: plan, notification matrix, components and regions",
        )
        .scopes(READ)
        .answers::<CatalogueView>(g, 200),
        route(
            "get",
            "/v1/tenants/{tenant}/status",
            "getTenantStatus",
            "Get a tenant's current status, in the format of Statuspage's summary",
        )
        .scopes(READ)
        .answers::<TenantSummary>(g, 200),
        route(
            "get",
            "/v1/tenants/{tenant}/impact",
            "getImpact",
            "List when a tenant was affected, by component and region, for call logs and reports",
        )
        .scopes(READ)
        .time_range()
        .query("component", &text, "Only this component")
        .query("region", &text, "Only this region")
        .query("cursor", &text, "The `next` of the previous answer")
        .answers::<ImpactAnswer>(g, 200),
        route("get", "/v1/tenants/{tenant}/audit", "listAudit", "List the audit log, newest first")
            .scopes(READ)
            .paged(50, 200)
            .answers::<AuditList>(g, 200),
        route(
            "post",
            "/v1/tenants/{tenant}/test-alert",
            "sendTestAlert",
            "Send a test alert through the same queues and senders as real alerts",
        )
        .scopes(TEST)
        .with_optional_body::<TestAlertBody>(g)
        .answers::<TestAlertAnswer>(g, 200)
        .fails_with(&[429]),
        route("get", "/v1/tenants/{tenant}/test-alert/{id}", "getTestAlert", "Get the result of a test alert")
            .scopes(TEST)
            .answers::<TestAlertAnswer>(g, 200),
    ]
}

/// Returns the operations of the platform: suppressed addresses, and names that wait for approval.
pub(super) fn suppressions(g: &mut SchemaGenerator) -> Vec<Operation> {
    vec![
        route("get", "/v1/suppressions/{id}", "getSuppression", "Get why nobody may write to an address")
            .scopes(&[PLATFORM_ADMIN])
            .answers::<SuppressionView>(g, 200),
        route(
            "delete",
            "/v1/suppressions/{id}",
            "liftSuppression",
            "Lift the suppression of an address; its owner still confirms each recipient that shows it",
        )
        .scopes(&[PLATFORM_ADMIN])
        .answers_empty(204),
        route("get", "/v1/name-requests", "listNameRequests", "List the names that wait for the platform's approval")
            .scopes(&[PLATFORM_ADMIN])
            .paged(100, 500)
            .answers::<NameRequestList>(g, 200),
    ]
}

/// Returns the operations on API tokens.
pub(super) fn tokens(g: &mut SchemaGenerator) -> Vec<Operation> {
    let tenant = json!({"type": "string", "pattern": "^[a-z0-9-]{1,63}$"});
    let tenant_text = "The tenant's id; required unless the caller is the platform";
    let keep = json!({"type": "string", "enum": ["keep"]});
    vec![
        route("get", "/v1/tokens", "listTokens", "List tokens, without their secret values")
            .scopes(MANAGE)
            .query("tenant", &tenant, tenant_text)
            .paged(100, 500)
            .answers::<TokenList>(g, 200)
            .fails_with(&[404]),
        route("post", "/v1/tokens", "issueToken", "Issue a token; its secret value is returned only here")
            .scopes(MANAGE)
            .with_body::<TokenBody>(g)
            .answers_with_etag::<TokenView>(g, 201),
        route(
            "delete",
            "/v1/tokens/{id}",
            "revokeToken",
            "Revoke a token immediately, and every token that was made with it",
        )
        .scopes(MANAGE)
        .query("tenant", &tenant, tenant_text)
        .query("children", &keep, "`keep` gives the tokens that were made with it to the caller's token")
        .answers::<RevokedTokens>(g, 200)
        .fails_with(&[409]),
        route(
            "post",
            "/v1/tokens/{id}/rotate",
            "rotateToken",
            "Rotate a token: issue a new one with the same scopes and identity",
        )
        .scopes(MANAGE)
        .query("tenant", &tenant, tenant_text)
        .with_optional_body::<RotateTokenBody>(g)
        .answers_with_etag::<TokenView>(g, 201)
        .fails_with(&[409]),
    ]
}

/// The status page's API, compatible with Statuspage's.
pub(super) fn status_page(g: &mut SchemaGenerator) -> Vec<Operation> {
    let route = |path, id, summary| route("get", path, id, summary);
    vec![
        route(
            "/api/v2/summary.json",
            "publicSummary",
            "Get the overall status, open incidents and scheduled maintenance",
        )
        .answers::<PublicSummary>(g, 200),
        route("/api/v2/status.json", "publicStatus", "Get the overall status").answers::<PublicStatusAnswer>(g, 200),
        route("/api/v2/components.json", "publicComponents", "List components with their status")
            .answers::<PublicComponentList>(g, 200),
        route("/api/v2/incidents.json", "publicIncidents", "List the last 50 incidents")
            .answers::<PublicIncidentList>(g, 200),
        route("/api/v2/incidents/unresolved.json", "publicUnresolved", "List open incidents")
            .answers::<PublicIncidentList>(g, 200),
        route("/api/v2/scheduled-maintenances.json", "publicMaintenances", "List the last 50 scheduled maintenances")
            .answers::<PublicMaintenanceList>(g, 200),
        route(
            "/api/v2/scheduled-maintenances/upcoming.json",
            "publicUpcoming",
            "List scheduled maintenances that have not started",
        )
        .answers::<PublicMaintenanceList>(g, 200),
        route("/api/v2/scheduled-maintenances/active.json", "publicActive", "List scheduled maintenances in progress")
            .answers::<PublicMaintenanceList>(g, 200),
    ]
}

/// Drop-in APIs at the paths that other products' clients use. The key is in the body or in that product's header.
pub(super) fn drop_in() -> Vec<Operation> {
    let by = json!({"type": "string", "enum": ["id", "alias"], "default": "id"});
    let identifier_type = "Whether the path contains the incident's id or its alias";
    let key = "`GenieKey` followed by a token of `POST /v1/tokens`";
    vec![
        route("post", "/v2/enqueue", "pagerDutyEvent", "PagerDuty Events API v2: trigger, acknowledge or resolve")
            .with_foreign_body(&["application/json"])
            .answers_foreign(&[202, 400, 429]),
        route("post", "/v2/change/enqueue", "pagerDutyChange", "PagerDuty Events API v2: post a change event")
            .with_foreign_body(&["application/json"])
            .answers_foreign(&[202, 400, 429]),
        route("post", "/v2/alerts", "opsgenieCreate", "Opsgenie Alert API: create an alert")
            .header("Authorization", true, key)
            .with_foreign_body(&["application/json"])
            .answers_foreign(&[202, 400, 401, 422, 429]),
        route("get", "/v2/alerts/requests/{id}", "opsgenieRequest", "Opsgenie Alert API: get the result of a request")
            .header("Authorization", true, key)
            .answers_foreign(&[200, 401, 404, 422, 429]),
        route("get", "/v2/alerts/{identifier}", "opsgenieAlert", "Opsgenie Alert API: get an alert")
            .header("Authorization", true, key)
            .query("identifierType", &by, identifier_type)
            .answers_foreign(&[200, 401, 404, 422, 429]),
        route(
            "delete",
            "/v2/alerts/{identifier}",
            "opsgenieDelete",
            "Opsgenie Alert API: delete an alert, which closes it",
        )
        .header("Authorization", true, key)
        .query("identifierType", &by, identifier_type)
        .answers_foreign(&[202, 401, 404, 422, 429]),
        route(
            "post",
            "/v2/alerts/{identifier}/{action}",
            "opsgenieAction",
            "Opsgenie Alert API: close, acknowledge, snooze, add a note, and what else its clients do",
        )
        .header("Authorization", true, key)
        .query("identifierType", &by, identifier_type)
        .with_foreign_body(&["application/json"])
        .answers_foreign(&[202, 400, 401, 404, 422, 429]),
        route(
            "put",
            "/v2/alerts/{identifier}/{action}",
            "opsgenieUpdate",
            "Opsgenie Alert API: set the message, the description or the priority",
        )
        .header("Authorization", true, key)
        .query("identifierType", &by, identifier_type)
        .with_foreign_body(&["application/json"])
        .answers_foreign(&[202, 400, 401, 404, 422, 429]),
    ]
}
