//! Creates three demo tenants through the public API.

use crate::http::{Response, send};
use crate::process::CommandFault;
use serde_json::{Value, json};

const ROLES: [&str; 4] = ["org_admin", "billing_admin", "tech_devops", "support_manager"];
/// The channels that the role matrix allows, by category.
const CHANNELS_BY_CATEGORY: [(&str, &[&str]); 3] = [
    ("infrastructure", &["email", "sms", "chat", "webhook"]),
    ("billing", &["email", "sms", "chat"]),
    ("configurable", &["email", "chat", "webhook"]),
];

/// A client of the API with one token.
struct Api<'a> {
    base: &'a str,
    token: &'a str,
}

impl Api<'_> {
    fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Result<Response, CommandFault> {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        let answer = send(method, &format!("{}{path}", self.base), &all, body.as_ref())?;
        if answer.status >= 300 {
            let what = format!("{method} {path} was refused with status {}: {}", answer.status, answer.body);
            return Err(CommandFault::new(what, "The functions' logs: target/local/logs/emulator.log"));
        }
        Ok(answer)
    }

    fn post(&self, path: &str, body: Value) -> Result<Value, CommandFault> {
        Ok(self.call("POST", path, Some(body), &[])?.body)
    }
}

/// Seeds a fresh stack. Returns its outputs with tokens and demo data added.
pub(crate) fn seed(mut outputs: Value, admin: &str) -> Result<Value, CommandFault> {
    let text = |name: &str| outputs.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (base, receivers, control) = (text("api_url"), text("receivers_url"), text("control_url"));
    let api = Api { base: &base, token: admin };
    let mut demo = serde_json::Map::new();
    let mut admins = serde_json::Map::new();
    for (tenant, name, plan, zone, allowed) in [
        ("acme", "Acme Voice", "enterprise", "Asia/Kolkata", &["email", "sms", "chat", "webhook"][..]),
        ("globex", "Globex", "business", "Europe/Berlin", &["email", "chat", "webhook"]),
        ("initech", "Initech", "starter", "America/Chicago", &["email"]),
    ] {
        api.call(
            "PUT",
            &format!("/v1/tenants/{tenant}"),
            Some(json!({"name": name, "plan": plan, "zone": zone})),
            &[],
        )?;
        let token = api.post(
            "/v1/tokens",
            json!({"name": "demo admin", "scopes": ["alerts:read", "alerts:manage", "alerts:test", "incidents:write"], "tenants": [tenant]}),
        )?;
        admins.insert(tenant.to_owned(), token.get("token").cloned().unwrap_or_default());
        enable_categories(&api, tenant, allowed)?;
        let recipients = create_recipients(&api, tenant)?;
        let integrations = if allowed.contains(&"chat") {
            create_integrations(&api, tenant, &receivers, &control)?
        } else {
            Vec::new()
        };
        demo.insert(tenant.to_owned(), json!({"recipients": recipients, "integrations": integrations}));
    }
    let intake = api.post(
        "/v1/tokens",
        json!({"name": "demo monitor", "scopes": ["incidents:write", "incidents:platform", "alerts:read"], "tenants": "*"}),
    )?;
    let tokens = json!({"intake": intake.get("token"), "platform_admin": admin, "tenant_admin": admins});
    if let Some(outputs) = outputs.as_object_mut() {
        outputs.insert("tokens".to_owned(), tokens);
        outputs.insert("demo".to_owned(), Value::Object(demo));
    }
    Ok(outputs)
}

/// Enables all three categories with every channel that the matrix and the plan allow.
fn enable_categories(api: &Api<'_>, tenant: &str, allowed: &[&str]) -> Result<(), CommandFault> {
    let path = format!("/v1/tenants/{tenant}/settings");
    let current = api.call("GET", &path, None, &[])?;
    let etag = current.header("etag").unwrap_or_default().to_owned();
    let mut categories = serde_json::Map::new();
    for (category, channels) in CHANNELS_BY_CATEGORY {
        let ticks: Vec<&str> = channels.iter().copied().filter(|channel| allowed.contains(channel)).collect();
        categories.insert(category.to_owned(), json!({"enabled": true, "channels": ticks}));
    }
    api.call(
        "PATCH",
        &path,
        Some(json!({"categories": categories, "compliance": {"confirmed": ["email", "sms"]}})),
        &[("if-match", &etag)],
    )?;
    Ok(())
}

fn create_recipients(api: &Api<'_>, tenant: &str) -> Result<Vec<Value>, CommandFault> {
    let mut made = Vec::new();
    for (place, role) in ROLES.iter().enumerate() {
        let email = format!("{}@{tenant}.test", role.replace('_', "."));
        // 555-0100 to 555-0199 are reserved for fictional use by the North American Numbering Plan.
        let phone = format!("+1202555{:04}", 100 + place * 10 + tenant.len());
        let body = json!({"name": format!("{tenant} {role}"), "email": email, "phone": phone, "roles": [role], "confirmed": true,
            "opt_ins": if *role == "org_admin" { json!(["configurable_email"]) } else { json!([]) }});
        let answer = api.post(&format!("/v1/tenants/{tenant}/recipients"), body)?;
        made.push(json!({"id": answer.get("id"), "role": role, "email": email, "phone": phone}));
    }
    Ok(made)
}

fn create_integrations(
    api: &Api<'_>,
    tenant: &str,
    receivers: &str,
    control: &str,
) -> Result<Vec<Value>, CommandFault> {
    let mut made = Vec::new();
    for kind in ["slack", "teams", "webhook"] {
        for role in ROLES {
            if kind == "webhook" && !["org_admin", "tech_devops"].contains(&role) {
                continue;
            }
            let path = format!("/{kind}/{tenant}/{role}");
            let url = format!("{receivers}{path}");
            let body = json!({"name": format!("{kind} {role}"), "kind": kind, "url": url, "audiences": [role]});
            let answer = api.post(&format!("/v1/tenants/{tenant}/integrations"), body)?;
            made.push(json!({"id": answer.get("id"), "kind": kind, "audience": role, "url": url,
                "secret": answer.get("secret"), "inbox": format!("{control}/inbox{path}")}));
        }
    }
    Ok(made)
}
