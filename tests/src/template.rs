//! Reads `template.yaml` as CloudFormation does.

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The workspace's folder.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Reads a file of the workspace.
#[must_use]
pub fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Reads a YAML file of the workspace.
#[must_use]
pub fn yaml(path: &str) -> Value {
    plain(serde_norway::from_str(&file(path)).unwrap())
}

/// CloudFormation's short forms as their long ones: `!Ref X` as `{"Ref": "X"}`, `!Sub X` as `{"Fn::Sub": "X"}`.
fn plain(value: serde_norway::Value) -> Value {
    use serde_norway::Value as Yaml;
    match value {
        Yaml::Tagged(tagged) => {
            let name = tagged.tag.to_string();
            let name = name.trim_start_matches('!');
            let name = if matches!(name, "Ref" | "Condition") { name.to_owned() } else { format!("Fn::{name}") };
            json!({ name: plain(tagged.value) })
        }
        Yaml::Mapping(entries) => {
            let text = |key: Yaml| key.as_str().unwrap_or_else(|| panic!("{key:?} is no text")).to_owned();
            Value::Object(entries.into_iter().map(|(key, value)| (text(key), plain(value))).collect())
        }
        Yaml::Sequence(values) => Value::Array(values.into_iter().map(plain).collect()),
        other => serde_json::to_value(other).unwrap(),
    }
}

/// `template.yaml`, in CloudFormation's long forms.
#[derive(Clone, Debug)]
pub struct Template(pub Value);

impl Template {
    /// Reads and resolves the file.
    #[must_use]
    pub fn read() -> Self {
        Self(yaml("template.yaml"))
    }

    /// A top-level section, such as `Resources`.
    #[must_use]
    pub fn section(&self, name: &str) -> &Map<String, Value> {
        self.0[name].as_object().unwrap()
    }

    /// Resources of a type, by logical id.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let resources = self.section("Resources").iter();
        resources.filter(move |(_, resource)| resource["Type"] == kind).map(|(id, resource)| (id.as_str(), resource))
    }

    /// A resource by its logical id.
    #[must_use]
    pub fn resource(&self, id: &str) -> &Value {
        self.section("Resources").get(id).unwrap_or_else(|| panic!("there is no resource {id}"))
    }

    /// Functions: folder, logical id without `Function`, properties.
    pub fn functions(&self) -> impl Iterator<Item = (String, String, &Value)> {
        self.of("AWS::Serverless::Function").map(|(id, resource)| {
            let base = id.strip_suffix("Function").unwrap_or_else(|| panic!("{id} does not end in Function"));
            (kebab(base), base.to_owned(), &resource["Properties"])
        })
    }

    /// The properties of a function's events of one type.
    #[must_use]
    pub fn events<'a>(&self, properties: &'a Value, kind: &'static str) -> Vec<&'a Value> {
        let events = properties["Events"].as_object().into_iter().flat_map(Map::values);
        events.filter(|event| event["Type"] == kind).map(|event| &event["Properties"]).collect()
    }

    /// Logical ids of the dead-letter queues.
    #[must_use]
    pub fn dead_letter_queues(&self) -> BTreeSet<&str> {
        self.of("AWS::SQS::Queue").map(|(id, _)| id).filter(|id| id.ends_with("DeadLetterQueue")).collect()
    }

    /// Logical ids of the other queues.
    #[must_use]
    pub fn work_queues(&self) -> BTreeSet<&str> {
        self.of("AWS::SQS::Queue").map(|(id, _)| id).filter(|id| !id.ends_with("DeadLetterQueue")).collect()
    }

    /// Every statement of every policy, with the resource that holds it.
    #[must_use]
    pub fn statements(&self) -> Vec<(&str, &Value)> {
        let mut found = Vec::new();
        for (id, resource) in self.section("Resources") {
            let properties = &resource["Properties"];
            let inline =
                properties["Policies"].as_array().into_iter().flatten().map(|policy| &policy["PolicyDocument"]);
            for document in inline.chain([&properties["PolicyDocument"], &properties["KeyPolicy"]]) {
                let statements = document["Statement"].as_array().into_iter().flatten();
                found.extend(statements.map(|statement| (id.as_str(), statement)));
            }
        }
        assert!(found.len() > 50, "only {} statements were found", found.len());
        found
    }
}

/// `DeliverEmail` as `deliver-email`.
#[must_use]
pub fn kebab(pascal: &str) -> String {
    let mut text = String::new();
    for letter in pascal.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// One value or a list of them.
#[must_use]
pub fn many(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.iter().collect(),
        one => vec![one],
    }
}

/// The texts of one text or a list of them.
#[must_use]
pub fn texts(value: &Value) -> Vec<&str> {
    many(value).into_iter().map(|entry| entry.as_str().unwrap_or_else(|| panic!("{entry} is no text"))).collect()
}

/// The logical id in `!GetAtt ID.Arn`.
#[must_use]
pub fn arn_of(value: &Value) -> Option<&str> {
    value["Fn::GetAtt"].as_str()?.strip_suffix(".Arn")
}

/// A condition as AWS gets it: where the emulator needs another one, that is the first branch.
#[must_use]
pub fn on_aws(condition: &Value) -> &Value {
    if condition["Fn::If"][0] == "OnEmulator" { &condition["Fn::If"][2] } else { condition }
}
