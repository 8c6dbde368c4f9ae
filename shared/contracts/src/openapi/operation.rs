//! Builds one operation of the OpenAPI document.

use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// One method of one path of the API.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    id: &'static str,
    summary: &'static str,
    /// Any one of these scopes is required. Empty for public routes, and for routes that take another product's key.
    scopes: &'static [&'static str],
    parameters: Vec<Value>,
    body: Option<Value>,
    pub(super) answers: Map<String, Value>,
}

/// Starts an operation. Path parameters come from the path; every route can answer 500 and 503.
pub(super) fn route(method: &'static str, path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    let mut parameters = Vec::new();
    for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let schema = match name {
            "tenant" => json!({"type": "string", "pattern": "^[a-z0-9-]{1,63}$"}),
            "format" => {
                json!({"type": "string", "enum": crate::formats::FORMATS.iter().map(|format| format.name).collect::<Vec<_>>()})
            }
            "action" => json!({"type": "string", "enum": ["close", "acknowledge", "notes"]}),
            _ => json!({"type": "string", "minLength": 1}),
        };
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
    }
    let operation = Operation { method, path, id, summary, scopes: &[], parameters, body: None, answers: Map::new() };
    let operation = if path.contains('{') { operation.fails_with(&[400, 404]) } else { operation };
    operation.fails_with(&[500, 503])
}

impl Operation {
    /// Requires a bearer token with any one of these scopes.
    pub(super) fn scopes(mut self, scopes: &'static [&'static str]) -> Self {
        self.scopes = scopes;
        self.fails_with(&[401, 403])
    }

    /// Adds an optional query parameter.
    pub(super) fn query(mut self, name: &str, schema: &Value, description: &str) -> Self {
        self.parameters.push(json!({"name": name, "in": "query", "schema": schema, "description": description}));
        self.fails_with(&[400, 422])
    }

    /// Adds a header of up to 255 characters.
    pub(super) fn header(self, name: &str, required: bool, description: &str) -> Self {
        let schema = json!({"type": "string", "minLength": 1, "maxLength": 255});
        self.header_with_schema(name, required, &schema, description)
    }

    fn header_with_schema(mut self, name: &str, required: bool, schema: &Value, description: &str) -> Self {
        let header =
            json!({"name": name, "in": "header", "required": required, "schema": schema, "description": description});
        self.parameters.push(header);
        self.fails_with(&[422])
    }

    /// Adds the parameters of a paged list.
    pub(super) fn paged(self, default_limit: u32, max_limit: u32) -> Self {
        let limit = json!({"type": "integer", "minimum": 1, "maximum": max_limit, "default": default_limit});
        let text = json!({"type": "string"});
        self.query("limit", &limit, "Maximum number of entries on a page").query(
            "cursor",
            &text,
            "The `next` of the previous page",
        )
    }

    /// Adds the parameters of a time range.
    pub(super) fn time_range(self) -> Self {
        let time = json!({"type": "string", "format": "date-time"});
        self.query("from", &time, "Start of the time range; defaults to a week before `to`").query(
            "to",
            &time,
            "End of the time range; defaults to now",
        )
    }

    /// Requires the version that the change is based on.
    pub(super) fn if_match(self) -> Self {
        let tag = json!({"type": "string", "pattern": "^\"[0-9]{1,18}\"$"});
        self.header_with_schema("If-Match", true, &tag, "The ETag of the version that this change is based on")
            .fails_with(&[409, 412, 428])
    }

    /// Requires a JSON body.
    pub(super) fn with_body<T: JsonSchema>(self, generator: &mut SchemaGenerator) -> Self {
        let schema = generator.subschema_for::<T>();
        self.body(true, &json!({"application/json": {"schema": schema}}))
    }

    /// Accepts an optional JSON body.
    pub(super) fn with_optional_body<T: JsonSchema>(self, generator: &mut SchemaGenerator) -> Self {
        let schema = generator.subschema_for::<T>();
        self.body(false, &json!({"application/json": {"schema": schema}}))
    }

    /// Requires a JSON merge patch of such a document.
    pub(super) fn with_patch<T: JsonSchema>(self, generator: &mut SchemaGenerator) -> Self {
        let name = T::schema_name();
        let _ = generator.subschema_for::<T>();
        let description = format!("The members of `{name}` to change (RFC 7396)");
        let schema = json!({"type": "object", "description": description});
        let content =
            json!({"application/merge-patch+json": {"schema": schema}, "application/json": {"schema": schema}});
        self.body(true, &content)
    }

    /// Requires a body in another product's format, which that product's documentation describes.
    pub(super) fn with_foreign_body(self, media: &[&str]) -> Self {
        let content: Map<String, Value> =
            media.iter().map(|media| ((*media).to_owned(), json!({"schema": {}}))).collect();
        self.body(true, &Value::Object(content))
    }

    fn body(mut self, required: bool, content: &Value) -> Self {
        self.body = Some(json!({"required": required, "content": content}));
        self.fails_with(&[400, 413, 422])
    }

    /// Adds an answer with a JSON body.
    pub(super) fn answers<T: JsonSchema>(self, generator: &mut SchemaGenerator, status: u16) -> Self {
        let schema = generator.subschema_for::<T>();
        self.add_answer(status, Some(&schema), &[])
    }

    /// Adds an answer with a JSON body and its version as ETag; a 201 also has a Location.
    pub(super) fn answers_with_etag<T: JsonSchema>(self, generator: &mut SchemaGenerator, status: u16) -> Self {
        let schema = generator.subschema_for::<T>();
        let tag = ("ETag", "The version; send it as If-Match with the next change");
        let location = ("Location", "The address of the created object, relative to the collection's parent");
        if status == 201 {
            self.add_answer(status, Some(&schema), &[tag, location])
        } else {
            self.add_answer(status, Some(&schema), &[tag])
        }
    }

    /// Adds an answer without a body.
    pub(super) fn answers_empty(self, status: u16) -> Self {
        self.add_answer(status, None, &[])
    }

    fn add_answer(mut self, status: u16, schema: Option<&Schema>, headers: &[(&str, &str)]) -> Self {
        let mut answer = Map::from_iter([("description".to_owned(), json!(status_description(status)))]);
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

    /// Adds answers in another product's format.
    pub(super) fn answers_foreign(mut self, statuses: &[u16]) -> Self {
        for status in statuses {
            let content = json!({"application/json": {"schema": {"type": "object"}}});
            self.answers
                .insert(status.to_string(), json!({"description": status_description(*status), "content": content}));
        }
        self
    }

    /// Adds error answers, each a problem document.
    pub(super) fn fails_with(mut self, statuses: &[u16]) -> Self {
        for status in statuses {
            self.answers.entry(status.to_string()).or_insert_with(|| json!({"$ref": "#/components/responses/Problem"}));
        }
        self
    }

    /// Renders the operation as it is written in the document.
    pub(super) fn render(self) -> Value {
        let tag = match self.path {
            path if path.starts_with("/api/v2/") => "Status page",
            path if path.starts_with("/v2/") => "Drop-in APIs",
            path if path.starts_with("/v1/tenants") => "Tenants",
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
            operation.insert("description".to_owned(), json!(format!("Requires the scope `{scopes}`.")));
            operation.insert("x-scopes".to_owned(), json!(self.scopes));
        }
        Value::Object(operation)
    }
}

/// The description of an answer. Any status not listed here is an error in another product's format.
fn status_description(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted: the request is queued durably",
        204 => "No content",
        _ => "Error, in the format of that product",
    }
}
