//! `infra/openapi.yaml` is true: schemathesis asks every operation that it names, with what fits and what does not, and each one
//! is closed to the wrong caller.

use serde_json::{Value, json};
use std::process::{Command, Stdio};
use tests::receive::text;
use tests::{stack, unique};

fn document() -> Value {
    contracts::openapi::document()
}

/// Every operation: method, path, scopes.
fn operations(document: &Value) -> Vec<(String, String, Vec<String>)> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let scopes = operation["x-scopes"].as_array().cloned().unwrap_or_default();
            let scopes = scopes.iter().filter_map(|scope| scope.as_str().map(str::to_owned)).collect();
            operations.push((method.to_uppercase(), path.clone(), scopes));
        }
    }
    operations
}

/// Shares of the operations that take about equally long, by schemathesis's arguments.
const SHARES: [(&str, &[&str]); 3] = [
    ("contacts", &["--include-path-regex", "^/v1/tenants/.*/(recipients|integrations|settings)"]),
    (
        "tenants",
        &["--include-path-regex", "^/v1/tenants", "--exclude-path-regex", "/(recipients|integrations|settings)"],
    ),
    ("others", &["--exclude-path-regex", "^/v1/tenants"]),
];

#[test]
fn every_operation_answers_as_the_document_says() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let other = stack.tenant("starter");
    let (kept, lost) = (tenant.person("org_admin", &[]), tenant.person("tech_devops", &[]));
    let (hook, gone) = (tenant.endpoint("webhook", "org_admin"), tenant.endpoint("webhook", "tech_devops"));
    let event = stack.post(json!({"type": "api.outage", "title": "asked about", "tenant_ids": [tenant.id]}));
    let incident = stack.incident_of(&event);
    drop(tenant.settled(&incident, 1));
    // The token is for two tenants, so it is in the list of one that it cannot manage: it cannot revoke itself.
    let token = text(
        &stack.token(json!({"name": "schemathesis", "tenants": [tenant.id, other.id], "scopes": ["alerts:manage",
            "alerts:read", "alerts:test", "incidents:write", "support:read", "platform:admin"]})),
        "/token",
    );
    let folder = stack.folder(&format!("openapi-{}", unique()));
    let operation = |filter: &str, name: &str, id: &str| {
        format!("[[operations]]\n{filter}\n[operations.parameters]\n\"path.{name}\" = \"{id}\"\n")
    };
    let config = [
        // 412 for an outdated version is left out, as in the document.
        "[checks.negative_data_rejection]\nexpected-statuses = [400, 401, 403, 404, 409, 412, 413, 415, 422, 428, 429]\n".to_owned(),
        format!("[parameters]\n\"path.tenant\" = \"{0}\"\n\"query.tenant\" = \"{0}\"\n", tenant.id),
        operation("include-name = \"DELETE /v1/tenants/{tenant}/recipients/{id}\"", "id", &lost.id),
        operation("include-path-regex = \"/recipients/\"", "id", &kept.id),
        operation("include-name = \"DELETE /v1/tenants/{tenant}/integrations/{id}\"", "id", &gone.id),
        operation("include-path-regex = \"/integrations/\"", "id", &hook.id),
        operation("include-path-regex = \"/incidents/\"", "id", &incident),
        operation("include-path-regex = \"/events/\"", "id", &event),
        // What only the platform may ask: no token that is bound to tenants.
        format!(
            "[[operations]]\ninclude-path-regex = \"/v1/name-requests\"\nheaders = {{ Authorization = \"Bearer {}\" }}\n",
            stack.admin()
        ),
        format!(
            "[[operations]]\ninclude-path-regex = \"/v2/alerts\"\nheaders = {{ Authorization = \"GenieKey {token}\" }}\n"
        ),
    ];
    std::fs::write(folder.join("schemathesis.toml"), config.concat()).unwrap();
    std::fs::write(folder.join("openapi.json"), document().to_string()).unwrap();
    // Processes side by side, each with its share of the operations: schemathesis itself crashes with two workers.
    let schemathesis = stack.clients().with_file_name("schemathesis");
    let said: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = SHARES
            .iter()
            .map(|(name, share)| {
                let mut command = Command::new(&schemathesis);
                let folder = folder.join(name);
                std::fs::create_dir_all(&folder).unwrap();
                command.current_dir(&folder).args(["--config-file", "../schemathesis.toml", "run", "../openapi.json"]);
                command.args(["--url", &stack.text("/api_url"), "--header", &format!("Authorization: Bearer {token}")]);
                // The last check: what the schemas do not take, the API does not take either.
                command.args([
                    "--checks",
                    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                     response_headers_conformance,negative_data_rejection",
                ]);
                command.args(["--phases", "coverage,fuzzing", "--max-examples", "5", "--seed", "20261123"]);
                command.args(["--workers", "1", "--continue-on-failure", "--no-color"]).args(*share);
                scope.spawn(move || {
                    let output = command.stdin(Stdio::null()).output().expect("schemathesis can be started");
                    let said = String::from_utf8_lossy(&output.stdout).into_owned();
                    std::fs::write(folder.join("said.txt"), &said).unwrap();
                    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
                    said
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    // It did ask: a run that met nothing but refusals would pass as well.
    let number = |line: &str| line.trim().split_once(" generated").and_then(|(number, _)| number.parse::<u32>().ok());
    let asked: u32 = said.iter().filter_map(|said| said.lines().find_map(number)).sum();
    assert!(asked > 3_000, "{asked} {said:?}");
    assert!(said.iter().all(|said| !said.contains("returned only 401/403")), "{said:?}");
    // It may well have ended the tenant's own token, which it found in the list.
    let described = stack.call("GET", &tenant.path("/settings"), &stack.admin(), None);
    assert_eq!(described.json()["tenant"], json!(tenant.id), "the tenant outlives it");
}

#[test]
fn every_operation_is_closed_to_the_wrong_caller() {
    let stack = stack!();
    let (mine, theirs) = (stack.tenant("enterprise"), stack.tenant("enterprise"));
    let all = ["alerts:manage", "alerts:read", "alerts:test", "incidents:write", "platform:admin"];
    let token =
        |scopes: &[&str]| text(&stack.token(json!({"name": "n", "tenants": [mine.id], "scopes": scopes})), "/token");
    let (everything, poster, reader) = (token(&all), token(&["incidents:write"]), token(&["alerts:read"]));
    let document = document();
    let mut asked = 0;
    for (method, path, scopes) in operations(&document) {
        if scopes.is_empty() {
            continue;
        }
        asked += 1;
        let place = |tenant: &str| {
            let path =
                path.replace("{tenant}", tenant).replace("{id}", "rcp_nobody").replace("{format}", "alertmanager");
            if path.starts_with("/v1/tokens") { format!("{path}?tenant={tenant}") } else { path }
        };
        let body = json!({});
        let body = (method != "GET" && method != "DELETE").then_some(&body);
        let ask = |path: &str, token: &str| {
            let answer = stack.call_with(&method, path, token, &[("if-match", "\"1\"")], body);
            let kind = answer.header("content-type").unwrap_or_default();
            assert!(kind.starts_with("application/problem+json"), "{method} {path}: {kind} {}", answer.body);
            answer.status
        };
        let what = format!("{method} {path}");
        assert_eq!(ask(&place(&mine.id), ""), 401, "{what} without a token");
        assert_eq!(ask(&place(&mine.id), &"A".repeat(32)), 401, "{what} with an unknown one");
        let poor = if scopes.iter().any(|scope| scope == "incidents:write") { &reader } else { &poster };
        if !scopes.contains(&"alerts:read".to_owned()) || !scopes.contains(&"incidents:write".to_owned()) {
            assert_eq!(ask(&place(&mine.id), poor), 403, "{what} without the scope");
        }
        if path.contains("{tenant}") || path.starts_with("/v1/tokens") && method != "POST" || path.ends_with("/rotate")
        {
            assert_eq!(ask(&place(&theirs.id), &everything), 404, "{what} of another tenant");
        }
    }
    assert!(asked > 35, "only {asked} operations were tried");
}
