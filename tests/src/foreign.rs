//! Inputs of other people's bug reports (`tests/foreign`), as posted to an intake format.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// One input.
#[derive(Clone, Debug)]
pub struct Case(Value);

/// Reads the inputs of all formats.
#[must_use]
pub fn format_cases() -> Vec<Case> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/formats.json");
    let text = std::fs::read_to_string(&file).expect("tests/foreign/formats.json is there");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("it is a list");
    cases.into_iter().map(Case).collect()
}

impl Case {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The case's own name.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text("id")
    }

    /// The format that it is posted in: a name of `POST /v1/intake/{name}`, `native`, `pagerduty` or `opsgenie`.
    #[must_use]
    pub fn format(&self) -> &str {
        self.text("format")
    }

    /// The public report, as `owner/repository#number` or a URL.
    #[must_use]
    pub fn source(&self) -> &str {
        self.text("source")
    }

    /// The request's body for a tenant and, for PagerDuty, a routing key.
    #[must_use]
    pub fn body(&self, tenant: &str, routing_key: &str) -> String {
        let text = match self.0.get("raw").and_then(Value::as_str) {
            Some(raw) => raw.to_owned(),
            None => self.0.get("body").map(Value::to_string).unwrap_or_default(),
        };
        text.replace("TENANT", tenant).replace("ROUTING_KEY", routing_key)
    }

    /// The request's headers, with names in lower case.
    #[must_use]
    pub fn headers(&self) -> BTreeMap<String, String> {
        let given = self.0.get("headers").and_then(Value::as_object).into_iter().flatten();
        given.map(|(name, value)| (name.to_lowercase(), value.as_str().unwrap_or_default().to_owned())).collect()
    }

    /// Whether it is a CloudEvent in binary mode, whose media type is that of its data.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.headers().contains_key("ce-specversion")
    }

    /// What is right: `{"refused": FIELD}`, or the events and notes that are accepted.
    #[must_use]
    pub fn expected(&self) -> Value {
        self.0.get("expected").cloned().unwrap_or_default()
    }
}

/// A text, an address, a number or a zone that broke somebody's channel.
#[derive(Clone, Debug)]
pub struct ChannelCase(Value);

/// Reads the inputs of all channels. Half of an emoji is kept as its escape, which Rust's texts cannot hold.
#[must_use]
pub fn channel_cases() -> Vec<ChannelCase> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/channels.json");
    let text = std::fs::read_to_string(&file).expect("tests/foreign/channels.json is there");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("it is a list");
    cases.into_iter().map(ChannelCase).collect()
}

impl ChannelCase {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn list(&self, name: &str) -> Vec<String> {
        let entries = self.0.get(name).and_then(Value::as_array).into_iter().flatten();
        entries.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The case's own name.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text("id")
    }

    /// The channel, such as `slack`; `phone`, `address` or `zone` for what a recipient has.
    #[must_use]
    pub fn channel(&self) -> &str {
        self.text("channel")
    }

    /// The public report, as `owner/repository#number` or a URL.
    #[must_use]
    pub fn source(&self) -> &str {
        self.text("source")
    }

    /// The texts as a JSON object.
    #[must_use]
    pub fn input(&self) -> String {
        match self.0.get("raw_input").and_then(Value::as_str) {
            Some(raw) => raw.to_owned(),
            None => self.0.get("input").map(Value::to_string).unwrap_or_default(),
        }
    }

    /// What must be sent for an address, number or zone; `None` if it must be refused.
    #[must_use]
    pub fn accepted(&self) -> Option<&str> {
        self.0.get("accepted").and_then(Value::as_str)
    }

    /// Texts that the reader must see.
    #[must_use]
    pub fn must_contain(&self) -> Vec<String> {
        self.list("must_contain")
    }

    /// Texts that the reader must not see.
    #[must_use]
    pub fn must_not_contain(&self) -> Vec<String> {
        self.list("must_not_contain")
    }
}
