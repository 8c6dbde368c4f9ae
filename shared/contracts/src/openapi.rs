//! The document of the HTTP API (OpenAPI 3.1), made from the types of this crate: `infra/openapi.yaml` is what [`document`] says.
//!
//! Pages for people (`/status`, `/console`, `/unsubscribe`, `/stop`, `/confirm`, `/read`) are no part of it.

use crate::http::scopes::{ALERTS_MANAGE, ALERTS_READ, ALERTS_TEST, INCIDENTS_WRITE, PLATFORM_ADMIN, SUPPORT_READ};
use crate::http::{
    AskConfirmationBody, AuditList, Catalogue, ConfirmBody, ConfirmationView, DeliveryLog, ExplainAnswer, ImpactAnswer,
    IncidentAnswer, IncidentList, IntegrationBody, IntegrationList, LintAnswer, RecipientBody, RecipientList,
    ResendAnswer, ResendBody, RotateSecretBody, RotateTokenBody, SettingsBody, SupportBundle, TenantBody,
    TestAlertAnswer, TestAlertBody, TokenBody, TokenList, TokenView,
};
use crate::native;
use crate::problem::FieldError;
use crate::statuspage::{
    OwnSummary, PublicComponentList, PublicIncidentList, PublicMaintenanceList, PublicStatusAnswer, PublicSummary,
};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

const READ: &[&str] = &[ALERTS_READ, ALERTS_MANAGE, SUPPORT_READ, PLATFORM_ADMIN];
const MANAGE: &[&str] = &[ALERTS_MANAGE, PLATFORM_ADMIN];
const TEST: &[&str] = &[ALERTS_TEST, ALERTS_MANAGE, PLATFORM_ADMIN];
const POST: &[&str] = &[INCIDENTS_WRITE];

/// A problem document, as every refusal is one.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "runtime writes it; here is its shape")]
struct Problem {
    /// Always `about:blank`.
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: Option<u16>,
    /// What is wrong and how to mend it.
    detail: String,
    /// Every field that is wrong.
    errors: Option<Vec<FieldError>>,
    /// The API's own id of the request, where it refused without asking a function.
    request_id: Option<String>,
}

/// One method of one path.
struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    /// Any of these scopes; empty for who shows a key of another product's kind.
    scopes: &'static [&'static str],
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: Map<String, Value>,
}

fn route(method: &'static str, path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    let mut parameters = Vec::new();
    for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let schema = match name {
            "tenant" => json!({"type": "string", "pattern": "^[a-z0-9-]{1,63}$"}),
            "format" => {
                json!({"type": "string", "enum": crate::intake::FORMATS.iter().map(|format| format.name).collect::<Vec<_>>()})
            }
            "action" => json!({"type": "string", "enum": ["close", "acknowledge", "notes"]}),
            _ => json!({"type": "string", "minLength": 1}),
        };
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
    }
    let operation = Operation { method, path, id, summary, scopes: &[], parameters, body: None, answers: Map::new() };
    if path.contains("{") { operation.refuses(&[400, 404]) } else { operation }.refuses(&[500, 503])
}

impl Operation {
    /// A bearer token with any of these scopes.
    fn scopes(mut self, scopes: &'static [&'static str]) -> Self {
        self.scopes = scopes;
        self.refuses(&[401, 403])
    }

    fn query(mut self, name: &str, schema: &Value, description: &str) -> Self {
        self.parameters.push(json!({"name": name, "in": "query", "schema": schema, "description": description}));
        self.refuses(&[400, 422])
    }

    fn header(self, name: &str, required: bool, description: &str) -> Self {
        let schema = json!({"type": "string", "minLength": 1, "maxLength": 255});
        self.header_of(name, required, &schema, description)
    }

    fn header_of(mut self, name: &str, required: bool, schema: &Value, description: &str) -> Self {
        let header =
            json!({"name": name, "in": "header", "required": required, "schema": schema, "description": description});
        self.parameters.push(header);
        self.refuses(&[422])
    }

    /// A page of a list.
    fn paged(self, usual: u32, most: u32) -> Self {
        let limit = json!({"type": "integer", "minimum": 1, "maximum": most, "default": usual});
        let text = json!({"type": "string"});
        self.query("limit", &limit, "The most things on a page").query("cursor", &text, "The `next` of the page before")
    }

    /// A time that is asked about.
    fn window(self) -> Self {
        let time = json!({"type": "string", "format": "date-time"});
        self.query("from", &time, "The beginning; a week before `to` unless it is said").query(
            "to",
            &time,
            "The end; now unless it is said",
        )
    }

    /// A write that names the version it is based on.
    fn if_match(self) -> Self {
        let tag = json!({"type": "string", "pattern": "^\"[0-9]{1,18}\"$"});
        self.header_of("If-Match", true, &tag, "The ETag of the GET that this change is based on")
            .refuses(&[409, 412, 428])
    }

    fn takes<T: JsonSchema>(self, generator: &mut SchemaGenerator) -> Self {
        let schema = generator.subschema_for::<T>();
        self.body(true, &json!({"application/json": {"schema": schema}}))
    }

    /// A body that may be left out.
    fn may_take<T: JsonSchema>(self, generator: &mut SchemaGenerator) -> Self {
        let schema = generator.subschema_for::<T>();
        self.body(false, &json!({"application/json": {"schema": schema}}))
    }

    /// A JSON merge patch of such a document.
    fn patches<T: JsonSchema>(self, generator: &mut SchemaGenerator) -> Self {
        let name = T::schema_name();
        let _ = generator.subschema_for::<T>();
        let description = format!("The members of `{name}` that change (RFC 7396)");
        let schema = json!({"type": "object", "description": description});
        let content =
            json!({"application/merge-patch+json": {"schema": schema}, "application/json": {"schema": schema}});
        self.body(true, &content)
    }

    /// A body in another product's form, which its own documentation describes.
    fn takes_foreign(self, media: &[&str]) -> Self {
        let content: Map<String, Value> =
            media.iter().map(|media| ((*media).to_owned(), json!({"schema": {}}))).collect();
        self.body(true, &Value::Object(content))
    }

    fn body(mut self, required: bool, content: &Value) -> Self {
        self.body = Some(json!({"required": required, "content": content}));
        self.refuses(&[400, 413, 422])
    }

    fn gives<T: JsonSchema>(self, generator: &mut SchemaGenerator, status: u16) -> Self {
        let schema = generator.subschema_for::<T>();
        self.answer(status, Some(&schema), &[])
    }

    /// An answer with the version that the next write is based on.
    fn gives_tagged<T: JsonSchema>(self, generator: &mut SchemaGenerator, status: u16) -> Self {
        let schema = generator.subschema_for::<T>();
        let tag = ("ETag", "The version; the next write sends it as If-Match");
        let place = ("Location", "Where it is, relative to the collection's parent");
        if status == 201 {
            self.answer(status, Some(&schema), &[tag, place])
        } else {
            self.answer(status, Some(&schema), &[tag])
        }
    }

    fn gives_nothing(self, status: u16) -> Self {
        self.answer(status, None, &[])
    }

    fn answer(mut self, status: u16, schema: Option<&Schema>, headers: &[(&str, &str)]) -> Self {
        let mut answer = Map::from_iter([("description".to_owned(), json!(said(status)))]);
        if let Some(schema) = schema {
            answer.insert("content".to_owned(), json!({"application/json": {"schema": schema}}));
        }
        let headers: Map<String, Value> = headers
            .iter()
            .map(|(name, text)| ((*name).to_owned(), json!({"description": text, "schema": {"type": "string"}})))
            .collect();
        if !headers.is_empty() {
            answer.insert("headers".to_owned(), Value::Object(headers));
        }
        self.answers.insert(status.to_string(), Value::Object(answer));
        self
    }

    /// Another product's own answers.
    fn answers_foreign(mut self, statuses: &[u16]) -> Self {
        for status in statuses {
            let content = json!({"application/json": {"schema": {"type": "object"}}});
            self.answers.insert(status.to_string(), json!({"description": said(*status), "content": content}));
        }
        self
    }

    fn refuses(mut self, statuses: &[u16]) -> Self {
        for status in statuses {
            self.answers.entry(status.to_string()).or_insert_with(|| json!({"$ref": "#/components/responses/Problem"}));
        }
        self
    }

    fn written(self) -> Value {
        let tag = match self.path {
            path if path.starts_with("/api/v2/") => "The status page",
            path if path.starts_with("/v2/") => "Other products' clients",
            path if path.starts_with("/v1/tenants") => "A tenant",
            path if path.starts_with("/v1/tokens") => "Tokens",
            _ => "Incidents",
        };
        let mut operation = Map::from_iter([
            ("operationId".to_owned(), json!(self.id)),
            ("summary".to_owned(), json!(self.summary)),
            ("tags".to_owned(), json!([tag])),
            ("responses".to_owned(), Value::Object(self.answers)),
        ]);
        if !self.parameters.is_empty() {
            operation.insert("parameters".to_owned(), Value::Array(self.parameters));
        }
        if let Some(body) = self.body {
            operation.insert("requestBody".to_owned(), body);
        }
        if self.scopes.is_empty() {
            operation.insert("security".to_owned(), json!([]));
        } else {
            let scopes = self.scopes.join("` or `");
            operation.insert("description".to_owned(), json!(format!("Needs the scope `{scopes}`.")));
            operation.insert("x-scopes".to_owned(), json!(self.scopes));
        }
        Value::Object(operation)
    }
}

fn said(status: u16) -> &'static str {
    match status {
        200 => "Here it is",
        201 => "Made",
        202 => "Accepted: durably queued",
        204 => "Done",
        _ => "Refused, in that product's own words",
    }
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = SchemaGenerator::new(settings);
    let mut paths = Map::new();
    let operations = [
        incidents(&mut generator),
        tenant(&mut generator),
        seen(&mut generator),
        tokens(&mut generator),
        public(&mut generator),
        foreign(),
    ];
    for operation in operations.into_iter().flatten() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(operation.method.to_owned(), operation.written());
        }
    }
    let problem = generator.subschema_for::<Problem>();
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tocsin",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Incident alerting for a platform with many tenants. Errors are problem documents (RFC 9457) that \
                name every wrong field and the mend.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "https://{api}/live", "variables": {"api": {
            "default": "api.example.com",
            "description": "The stack output ApiUrl without scheme and stage",
        }}}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Problem": {
                "description": "What is wrong and how to mend it",
                "content": {"application/problem+json": {"schema": problem}},
                "headers": {"Retry-After": {
                    "description": "Seconds after which to try again, where that helps",
                    "schema": {"type": "integer"},
                }},
            }},
            "securitySchemes": {"bearer": {
                "type": "http", "scheme": "bearer",
                "description": "A token of `POST /v1/tokens`, or a JWT of the identity provider that the stack was given",
            }},
        },
    })
}

fn incidents(g: &mut SchemaGenerator) -> Vec<Operation> {
    let flag = json!({"type": "boolean", "default": false});
    let key = "The same key and body within 24 hours is one event";
    vec![
        route("post", "/v1/incidents", "postIncident", "Post an incident, or what changed of one")
            .scopes(POST)
            .query("dry_run", &flag, "Tells the rule and how many would be told, and does nothing")
            .header("Idempotency-Key", false, key)
            .takes::<native::Body>(g)
            .gives::<native::DryRunAnswer>(g, 200)
            .gives::<native::Accepted>(g, 202),
        route("get", "/v1/incidents/{id}", "getIncident", "An incident as its source sees it")
            .scopes(&[INCIDENTS_WRITE, ALERTS_READ])
            .gives::<native::IncidentAnswer>(g, 200),
        route("post", "/v1/incidents/{id}/updates", "postUpdate", "Say what is new of an open incident")
            .scopes(POST)
            .header("Idempotency-Key", false, key)
            .takes::<native::UpdateBody>(g)
            .gives::<native::UpdateAccepted>(g, 202)
            .refuses(&[409]),
        route(
            "get",
            "/v1/events/{id}",
            "getEvent",
            "What became of an event; 404 with Retry-After until it is classified",
        )
        .scopes(&[INCIDENTS_WRITE, ALERTS_READ])
        .gives::<native::EventAnswer>(g, 200),
        route("post", "/v1/intake/{format}", "postFormat", "Post as another monitor writes it")
            .scopes(POST)
            .takes_foreign(&["application/json", "application/cloudevents+json", "application/cloudevents-batch+json"])
            .gives::<native::AllAccepted>(g, 202)
            .refuses(&[415]),
        route("options", "/v1/intake/{format}", "askFormat", "CloudEvents' question whether a sender may send")
            .header("WebHook-Request-Origin", true, "The sender")
            .gives_nothing(200),
    ]
}

fn tenant(g: &mut SchemaGenerator) -> Vec<Operation> {
    vec![
        route("put", "/v1/tenants/{tenant}", "putTenant", "Make a tenant, or give it another name, plan or zone")
            .scopes(&[PLATFORM_ADMIN])
            .takes::<TenantBody>(g)
            .gives_tagged::<SettingsBody>(g, 200)
            .gives_tagged::<SettingsBody>(g, 201)
            .refuses(&[412]),
        route("get", "/v1/tenants/{tenant}", "getTenant", "A tenant's settings")
            .scopes(READ)
            .gives_tagged::<SettingsBody>(g, 200),
        route("get", "/v1/tenants/{tenant}/settings", "getSettings", "A tenant's settings")
            .scopes(READ)
            .gives_tagged::<SettingsBody>(g, 200),
        route("put", "/v1/tenants/{tenant}/settings", "putSettings", "Write a tenant's settings")
            .scopes(MANAGE)
            .if_match()
            .takes::<SettingsBody>(g)
            .gives_tagged::<SettingsBody>(g, 200),
        route("patch", "/v1/tenants/{tenant}/settings", "patchSettings", "Change some of a tenant's settings")
            .scopes(MANAGE)
            .if_match()
            .patches::<SettingsBody>(g)
            .gives_tagged::<SettingsBody>(g, 200),
        route("get", "/v1/tenants/{tenant}/recipients", "listRecipients", "The people who may be told")
            .scopes(READ)
            .paged(100, 500)
            .gives::<RecipientList>(g, 200),
        route("post", "/v1/tenants/{tenant}/recipients", "createRecipient", "Add somebody who may be told")
            .scopes(MANAGE)
            .takes::<RecipientBody>(g)
            .gives_tagged::<RecipientBody>(g, 201)
            .refuses(&[409]),
        route(
            "get",
            "/v1/tenants/{tenant}/recipients/{id}",
            "getRecipient",
            "A recipient, and how its confirmations stand",
        )
        .scopes(READ)
        .gives_tagged::<RecipientBody>(g, 200),
        route("put", "/v1/tenants/{tenant}/recipients/{id}", "putRecipient", "Write a recipient")
            .scopes(MANAGE)
            .if_match()
            .takes::<RecipientBody>(g)
            .gives_tagged::<RecipientBody>(g, 200),
        route("patch", "/v1/tenants/{tenant}/recipients/{id}", "patchRecipient", "Change some of a recipient")
            .scopes(MANAGE)
            .if_match()
            .patches::<RecipientBody>(g)
            .gives_tagged::<RecipientBody>(g, 200),
        route("delete", "/v1/tenants/{tenant}/recipients/{id}", "deleteRecipient", "Remove a recipient")
            .scopes(MANAGE)
            .if_match()
            .gives_nothing(204),
        route(
            "post",
            "/v1/tenants/{tenant}/recipients/{id}/confirmation",
            "askConfirmation",
            "Ask an address or a number again",
        )
        .scopes(MANAGE)
        .takes::<AskConfirmationBody>(g)
        .gives::<ConfirmationView>(g, 202)
        .refuses(&[409, 429]),
        route(
            "post",
            "/v1/tenants/{tenant}/recipients/{id}/confirm",
            "confirmNumber",
            "Enter the code that a number's owner got",
        )
        .scopes(MANAGE)
        .takes::<ConfirmBody>(g)
        .gives_tagged::<RecipientBody>(g, 200)
        .refuses(&[409]),
        route("get", "/v1/tenants/{tenant}/integrations", "listIntegrations", "Slack, Teams and webhook destinations")
            .scopes(READ)
            .paged(100, 500)
            .gives::<IntegrationList>(g, 200),
        route(
            "post",
            "/v1/tenants/{tenant}/integrations",
            "createIntegration",
            "Add a destination; a webhook's secret is shown once",
        )
        .scopes(MANAGE)
        .takes::<IntegrationBody>(g)
        .gives_tagged::<IntegrationBody>(g, 201)
        .refuses(&[409]),
        route(
            "get",
            "/v1/tenants/{tenant}/integrations/{id}",
            "getIntegration",
            "A destination, without URL and secret",
        )
        .scopes(READ)
        .gives_tagged::<IntegrationBody>(g, 200),
        route("put", "/v1/tenants/{tenant}/integrations/{id}", "putIntegration", "Write a destination")
            .scopes(MANAGE)
            .if_match()
            .takes::<IntegrationBody>(g)
            .gives_tagged::<IntegrationBody>(g, 200),
        route("patch", "/v1/tenants/{tenant}/integrations/{id}", "patchIntegration", "Change some of a destination")
            .scopes(MANAGE)
            .if_match()
            .patches::<IntegrationBody>(g)
            .gives_tagged::<IntegrationBody>(g, 200),
        route("delete", "/v1/tenants/{tenant}/integrations/{id}", "deleteIntegration", "Remove a destination")
            .scopes(MANAGE)
            .if_match()
            .gives_nothing(204),
        route(
            "post",
            "/v1/tenants/{tenant}/integrations/{id}/secret",
            "rotateSecret",
            "A new signing secret; the old one signs beside it for 24 hours",
        )
        .scopes(MANAGE)
        .may_take::<RotateSecretBody>(g)
        .gives_tagged::<IntegrationBody>(g, 200)
        .refuses(&[412]),
    ]
}

fn seen(g: &mut SchemaGenerator) -> Vec<Operation> {
    let text = json!({"type": "string"});
    let excluded = json!({"type": "string", "enum": ["excluded"]});
    let channel = json!({"type": "string", "enum": ["email", "sms", "chat", "slack", "teams", "webhook"]});
    let outcome = json!({"type": "string", "enum": ["delivered", "accepted", "pending", "held", "skipped", "failed"]});
    let html = json!({"type": "string", "enum": ["json", "html"], "default": "json"});
    let mut support = route(
        "get",
        "/v1/tenants/{tenant}/incidents/{id}/support",
        "supportBundle",
        "Everything that Support asks for",
    )
    .scopes(READ)
    .query("format", &html, "`html` is a page to print")
    .gives::<SupportBundle>(g, 200);
    if let Some(content) = support.answers.get_mut("200").and_then(|answer| answer.get_mut("content")?.as_object_mut())
    {
        content.insert("text/html; charset=utf-8".to_owned(), json!({"schema": {"type": "string"}}));
    }
    vec![
        route(
            "get",
            "/v1/tenants/{tenant}/incidents",
            "listIncidents",
            "What a tenant saw, platform-wide incidents included",
        )
        .scopes(READ)
        .window()
        .query("include", &excluded, "Also the events that made no incident, with the rule")
        .paged(50, 200)
        .gives::<IncidentList>(g, 200),
        route(
            "get",
            "/v1/tenants/{tenant}/incidents/{id}",
            "getTenantIncident",
            "An incident with its timeline, decisions and deliveries",
        )
        .scopes(READ)
        .gives::<IncidentAnswer>(g, 200),
        route("get", "/v1/tenants/{tenant}/incidents/{id}/explain", "explainIncident", "Why somebody was told, or not")
            .scopes(READ)
            .gives::<ExplainAnswer>(g, 200),
        route(
            "post",
            "/v1/tenants/{tenant}/explain",
            "explainEvent",
            "Who would be told of an event; nothing is sent or stored",
        )
        .scopes(READ)
        .takes::<native::Body>(g)
        .gives::<ExplainAnswer>(g, 200),
        support,
        route("post", "/v1/tenants/{tenant}/incidents/{id}/resend", "resend", "Try a failed delivery once more")
            .scopes(MANAGE)
            .takes::<ResendBody>(g)
            .gives::<ResendAnswer>(g, 202)
            .refuses(&[409]),
        route(
            "get",
            "/v1/tenants/{tenant}/deliveries",
            "listDeliveries",
            "The delivery log, told or not, with attempts",
        )
        .scopes(READ)
        .window()
        .query("channel", &channel, "Only this channel")
        .query("recipient_id", &text, "Only this recipient")
        .query("integration_id", &text, "Only this integration")
        .query("outcome", &outcome, "Only this outcome")
        .paged(50, 200)
        .gives::<DeliveryLog>(g, 200),
        route(
            "get",
            "/v1/tenants/{tenant}/lint",
            "lint",
            "What the settings cannot do although they look as if they could",
        )
        .scopes(READ)
        .gives::<LintAnswer>(g, 200),
        route("get", "/v1/tenants/{tenant}/catalogue", "catalogue", "What a tenant can choose from")
            .scopes(READ)
            .gives::<Catalogue>(g, 200),
        route(
            "get",
            "/v1/tenants/{tenant}/status",
            "getTenantStatus",
            "What is open for a tenant, as Statuspage's summary",
        )
        .scopes(READ)
        .gives::<OwnSummary>(g, 200),
        route(
            "get",
            "/v1/tenants/{tenant}/impact",
            "getImpact",
            "When a tenant was affected, by component and region only: for call logs and reports",
        )
        .scopes(READ)
        .window()
        .query("component", &text, "Only this component")
        .query("region", &text, "Only this region")
        .gives::<ImpactAnswer>(g, 200),
        route("get", "/v1/tenants/{tenant}/audit", "listAudit", "Who changed what, newest first")
            .scopes(READ)
            .paged(50, 200)
            .gives::<AuditList>(g, 200),
        route(
            "post",
            "/v1/tenants/{tenant}/test-alert",
            "sendTestAlert",
            "Send a test alert through the real queues and senders",
        )
        .scopes(TEST)
        .may_take::<TestAlertBody>(g)
        .gives::<TestAlertAnswer>(g, 200)
        .refuses(&[429]),
        route("get", "/v1/tenants/{tenant}/test-alert/{id}", "getTestAlert", "How a test alert stands")
            .scopes(TEST)
            .gives::<TestAlertAnswer>(g, 200),
    ]
}

fn tokens(g: &mut SchemaGenerator) -> Vec<Operation> {
    let tenant = json!({"type": "string", "pattern": "^[a-z0-9-]{1,63}$"});
    let whose = "Whose; needed unless the caller is the platform";
    vec![
        route("get", "/v1/tokens", "listTokens", "Tokens, without their values")
            .scopes(MANAGE)
            .query("tenant", &tenant, whose)
            .gives::<TokenList>(g, 200)
            .refuses(&[404]),
        route("post", "/v1/tokens", "issueToken", "A new token, shown once")
            .scopes(MANAGE)
            .takes::<TokenBody>(g)
            .gives_tagged::<TokenView>(g, 201),
        route("delete", "/v1/tokens/{id}", "revokeToken", "End a token at once")
            .scopes(MANAGE)
            .query("tenant", &tenant, whose)
            .gives_nothing(204),
        route("post", "/v1/tokens/{id}/rotate", "rotateToken", "Another token with the same rights and identity")
            .scopes(MANAGE)
            .query("tenant", &tenant, whose)
            .may_take::<RotateTokenBody>(g)
            .gives_tagged::<TokenView>(g, 201)
            .refuses(&[409]),
    ]
}

/// The status page for programs: Statuspage's public API.
fn public(g: &mut SchemaGenerator) -> Vec<Operation> {
    let route = |path, id, summary| route("get", path, id, summary);
    vec![
        route("/api/v2/summary.json", "publicSummary", "The state of everything, what is open and what is announced")
            .gives::<PublicSummary>(g, 200),
        route("/api/v2/status.json", "publicStatus", "The state of everything").gives::<PublicStatusAnswer>(g, 200),
        route("/api/v2/components.json", "publicComponents", "The state of each component")
            .gives::<PublicComponentList>(g, 200),
        route("/api/v2/incidents.json", "publicIncidents", "The last 50 incidents").gives::<PublicIncidentList>(g, 200),
        route("/api/v2/incidents/unresolved.json", "publicUnresolved", "What is open")
            .gives::<PublicIncidentList>(g, 200),
        route("/api/v2/scheduled-maintenances.json", "publicMaintenances", "The last 50 maintenances")
            .gives::<PublicMaintenanceList>(g, 200),
        route("/api/v2/scheduled-maintenances/upcoming.json", "publicUpcoming", "What is announced")
            .gives::<PublicMaintenanceList>(g, 200),
        route("/api/v2/scheduled-maintenances/active.json", "publicActive", "What is being done")
            .gives::<PublicMaintenanceList>(g, 200),
    ]
}

/// What clients of other products find at the paths that they know. The key is in the body or in a header of theirs.
fn foreign() -> Vec<Operation> {
    let by = json!({"type": "string", "enum": ["id", "alias"], "default": "id"});
    let key = "`GenieKey` and a token of `POST /v1/tokens`";
    vec![
        route("post", "/v2/enqueue", "pagerDutyEvent", "PagerDuty's Events API v2")
            .takes_foreign(&["application/json"])
            .answers_foreign(&[202, 400, 429]),
        route("post", "/v2/change/enqueue", "pagerDutyChange", "PagerDuty's change events: words on what is open")
            .takes_foreign(&["application/json"])
            .answers_foreign(&[202, 400, 429]),
        route("post", "/v2/alerts", "opsgenieCreate", "Opsgenie's Alert API: create")
            .header("Authorization", true, key)
            .takes_foreign(&["application/json"])
            .answers_foreign(&[202, 400, 401, 422, 429]),
        route("get", "/v2/alerts/requests/{id}", "opsgenieRequest", "Opsgenie's Alert API: what became of a request")
            .header("Authorization", true, key)
            .answers_foreign(&[200, 401, 404, 422, 429]),
        route(
            "post",
            "/v2/alerts/{identifier}/{action}",
            "opsgenieAct",
            "Opsgenie's Alert API: close, acknowledge, note",
        )
        .header("Authorization", true, key)
        .query("identifierType", &by, "Whether the path names our incident's id or the alias")
        .takes_foreign(&["application/json"])
        .answers_foreign(&[202, 400, 401, 404, 422, 429]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_document_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/openapi.yaml");
        let written: Value = serde_norway::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(
            written == document(),
            "infra/openapi.yaml is outdated: cargo run -p contracts --example openapi > infra/openapi.yaml"
        );
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_name_is_told_once() {
        let document = document();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
        let ids: Vec<&str> =
            text.split("\"operationId\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let unique: std::collections::BTreeSet<&&str> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len());
    }

    #[test]
    fn a_url_is_written_and_never_read() {
        let schemas = &document()["components"]["schemas"];
        assert_eq!(schemas["IntegrationBody"]["properties"]["url"]["writeOnly"], true);
    }
}
