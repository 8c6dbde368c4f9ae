//! The OpenAPI 3.1 document of the HTTP API, generated from the types of this crate into `infra/openapi.yaml`.
//!
//! Pages for people (`/status`, `/console`, `/unsubscribe`, `/stop`, `/confirm`, `/read`, `/r`) are not part of it.

mod operation;
mod routes;

use crate::problem::FieldError;
use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

/// A problem document (RFC 9457). Every error answer is one.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used; runtime writes the documents")]
struct Problem {
    /// Always `about:blank` (RFC 9457, section 4.2.1).
    r#type: String,
    /// The name of the HTTP status, such as `Not Found`.
    title: String,
    /// HTTP status code of the response.
    status: Option<u16>,
    /// What is wrong and how to fix it.
    detail: String,
    /// The errors of each invalid field.
    errors: Option<Vec<FieldError>>,
    /// The id of the request, if API Gateway rejected it before it reached a function.
    request_id: Option<String>,
}

/// Builds the OpenAPI document.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = SchemaGenerator::new(settings);
    let mut paths = Map::new();
    let operations = [
        routes::incidents(&mut generator),
        routes::tenant_settings(&mut generator),
        routes::tenant_activity(&mut generator),
        routes::suppressions(&mut generator),
        routes::tokens(&mut generator),
        routes::status_page(&mut generator),
        routes::drop_in(),
    ];
    for operation in operations.into_iter().flatten() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(operation.method.to_owned(), operation.render());
        }
    }
    let problem = generator.subschema_for::<Problem>();
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tocsin",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Incident alerting for multi-tenant platforms. Errors are problem documents (RFC 9457) that list every \
                invalid field and how to fix it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "https://{api}/live", "variables": {"api": {
            "default": "api.example.com",
            "description": "The host of the stack output ApiUrl",
        }}}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Problem": {
                "description": "An error: what is wrong and how to fix it",
                "content": {"application/problem+json": {"schema": problem}},
                "headers": {"Retry-After": {
                    "description": "Seconds to wait before the next try, if another try can succeed",
                    "schema": {"type": "integer"},
                }},
            }},
            "securitySchemes": {"bearer": {
                "type": "http", "scheme": "bearer",
                "description": "A token of `POST /v1/tokens`, or a JWT of the identity provider that the stack is configured with",
            }},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/openapi.yaml");
        let written: Value = serde_norway::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(
            written == document(),
            "infra/openapi.yaml is outdated; run: cargo run -p contracts --example openapi > infra/openapi.yaml"
        );
    }

    #[test]
    fn every_reference_resolves_and_operation_ids_are_unique() {
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
    fn an_integrations_url_is_write_only() {
        let schemas = &document()["components"]["schemas"];
        assert_eq!(schemas["IntegrationBody"]["properties"]["url"]["writeOnly"], true);
    }
}
