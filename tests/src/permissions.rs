//! Compares what the functions' roles may do with what the functions asked AWS for.
//!
//! The emulator enforces actions and resources, but knows no `dynamodb:LeadingKeys`. Here a statement allows a call to the table only if its
//! prefixes cover every key that the call touches, which is how AWS evaluates `ForAllValues:StringLike`.

use crate::template::{Template, arn_of, many, texts};
use crate::{Stack, http};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// What a call needed, as the proxy between the functions and the emulator noted it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallPermission {
    /// The function that called, such as `DeliverEmail`.
    pub function: String,
    /// The IAM action, such as `dynamodb:PutItem`.
    pub action: String,
    /// The logical id of what the call is about, `Table/public` for an index, empty if it has none.
    pub resource: String,
    /// The kinds of partition keys that the call touches, such as `INC#`.
    pub keys: BTreeSet<String>,
}

/// One part of a statement that can be removed alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The role that holds the statement.
    pub role: String,
    /// The statement's `Sid`.
    pub statement: String,
    /// What it grants.
    pub part: GrantPart,
}

/// What a [`Grant`] grants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrantPart {
    /// An action on one resource, by its logical id.
    Action(String, String),
    /// A prefix of the table's keys.
    Prefix(String),
}

impl CallPermission {
    fn json(&self) -> Value {
        json!({"function": self.function, "action": self.action, "resource": self.resource, "keys": self.keys})
    }
}

impl fmt::Display for CallPermission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        write!(f, "{} {} {} {}", self.function, self.action, self.resource, keys.join(" "))
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, statement, part } = self;
        match part {
            GrantPart::Action(action, resource) => write!(f, "{role} {statement} {action} on {resource}"),
            GrantPart::Prefix(prefix) => write!(f, "{role} {statement} keys {prefix}"),
        }
    }
}

/// The calls of a stack's functions, as the permissions that they need.
#[derive(Clone, Debug, Default)]
pub struct RecordedCalls {
    /// What they needed.
    pub needed: BTreeSet<CallPermission>,
    /// What the emulator denied of that.
    pub denied: BTreeSet<CallPermission>,
}

impl Stack {
    /// Returns what the calls of this stack's functions so far.
    #[must_use]
    pub fn recorded(&self, template: &Template) -> RecordedCalls {
        let answer =
            http::send("GET", &format!("{}/permissions", self.text("/control_url")), &[], None).unwrap().json();
        let of = |list: &str| {
            let permissions = answer[list].as_array().into_iter().flatten();
            permissions.filter_map(|one| permission(template, one)).collect()
        };
        RecordedCalls { needed: of("needed"), denied: of("denied") }
    }
}

/// A permission with logical ids for names. `None` for a call that no function made.
fn permission(template: &Template, noted: &Value) -> Option<CallPermission> {
    let text = |field: &str| noted[field].as_str().unwrap_or_default();
    let logical = |name: &str| {
        let found = template.section("Resources").keys().find(|id| name.contains(&format!("-{id}-")));
        found.cloned().unwrap_or_else(|| name.to_owned())
    };
    let function = logical(text("function")).strip_suffix("Function")?.to_owned();
    let resource = match text("resource").split_once('/') {
        Some((table, index)) => format!("{}/{index}", logical(table)),
        None if text("resource").is_empty() => String::new(),
        None => logical(text("resource")),
    };
    let keys = noted["keys"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    Some(CallPermission { function, action: text("action").to_owned(), resource, keys })
}

/// A statement of a function's role.
#[derive(Clone)]
struct Statement<'a> {
    /// The role, or the policy that is attached to it.
    holder: &'a str,
    role: &'a str,
    sid: &'a str,
    actions: Vec<&'a str>,
    /// Logical ids; `*` for everything.
    resources: Vec<String>,
    prefixes: Vec<&'a str>,
}

impl Statement<'_> {
    fn allows(&self, needed: &CallPermission) -> bool {
        self.role.strip_suffix("Role") == Some(&needed.function)
            && self.actions.iter().any(|action| covers(action, &needed.action))
            && self.resources.iter().any(|resource| is_about(resource, needed))
            && (self.prefixes.is_empty() || self.covers_keys(&needed.keys))
    }

    /// What is left of it without a part.
    fn without(&self, part: &GrantPart) -> Vec<Self> {
        let left = match part {
            GrantPart::Prefix(gone) => {
                let mut left = self.clone();
                left.prefixes.retain(|prefix| prefix != gone);
                // Without prefixes it would allow every key.
                return if left.prefixes.is_empty() { Vec::new() } else { vec![left] };
            }
            GrantPart::Action(action, resource) => {
                let (mut other_actions, mut other_resources) = (self.clone(), self.clone());
                other_actions.actions.retain(|one| one != action);
                other_resources.actions.retain(|one| one == action);
                other_resources.resources.retain(|one| one != resource);
                [other_actions, other_resources]
            }
        };
        left.into_iter().filter(|one| !one.actions.is_empty() && !one.resources.is_empty()).collect()
    }

    /// AWS gives nothing to a request without keys: the statement says so by a condition `Null`.
    fn covers_keys(&self, keys: &BTreeSet<String>) -> bool {
        !keys.is_empty() && keys.iter().all(|key| self.prefixes.iter().any(|prefix| covers(prefix, key)))
    }
}

/// Whether a pattern that may end in `*` covers a text.
fn covers(pattern: &str, text: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == text, |prefix| text.starts_with(prefix))
}

/// What has no name in a call (a phone number, a key, a sender) is not compared.
fn is_about(resource: &str, needed: &CallPermission) -> bool {
    resource == "*" || needed.resource.is_empty() || resource == needed.resource
}

/// The logical id of a statement's resource, or its text. The table's index is `Table/public`.
fn resource_name(value: &Value) -> String {
    let index = json!({"Fn::Sub": "${Table.Arn}/index/public"});
    let named = arn_of(value).or_else(|| value["Ref"].as_str()).or_else(|| value.as_str());
    if *value == index { "Table/public".to_owned() } else { named.unwrap_or("*").to_owned() }
}

fn statements(template: &Template) -> Vec<Statement<'_>> {
    let functions: BTreeSet<String> = template.functions().map(|(_, base, _)| format!("{base}Role")).collect();
    let mut found = Vec::new();
    for (holder, statement) in template.statements() {
        // A policy of its own names its roles.
        let attached = template.resource(holder)["Properties"]["Roles"].as_array();
        let roles = attached.into_iter().flatten().filter_map(|role| role["Ref"].as_str());
        for role in std::iter::once(holder).chain(roles).filter(|role| functions.contains(*role)) {
            if statement["Effect"] == "Allow" {
                found.push(Statement {
                    holder,
                    role,
                    sid: statement["Sid"].as_str().unwrap_or_default(),
                    actions: texts(&statement["Action"]),
                    resources: many(&statement["Resource"]).into_iter().map(resource_name).collect(),
                    prefixes: texts(&statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]),
                });
            }
        }
    }
    found
}

/// Returns every part of the functions' roles. The test clock's policy, which only the local stage has, is none.
#[must_use]
pub fn grants(template: &Template) -> BTreeSet<Grant> {
    let mut found = BTreeSet::new();
    for statement in statements(template).into_iter().filter(|statement| statement.holder == statement.role) {
        let actions = statement.actions.iter().flat_map(|action| {
            statement.resources.iter().map(|resource| GrantPart::Action((*action).to_owned(), resource.clone()))
        });
        let prefixes = statement.prefixes.iter().map(|prefix| GrantPart::Prefix((*prefix).to_owned()));
        found.extend(actions.chain(prefixes).map(|part| Grant {
            role: statement.role.to_owned(),
            statement: statement.sid.to_owned(),
            part,
        }));
    }
    found
}

/// Returns the calls that are allowed, and would be denied without a grant.
#[must_use]
pub fn denied_without<'a>(template: &Template, grant: &Grant, recorded: &'a RecordedCalls) -> Vec<&'a CallPermission> {
    let of_role = statements(template).into_iter().filter(|statement| statement.role == grant.role);
    let (changed, others): (Vec<_>, Vec<_>) = of_role.partition(|statement| statement.sid == grant.statement);
    let left: Vec<Statement<'_>> = changed.iter().flat_map(|statement| statement.without(&grant.part)).collect();
    let allowed_by =
        |statements: &[Statement<'_>], call: &CallPermission| statements.iter().any(|one| one.allows(call));
    let calls = recorded.needed.iter();
    calls.filter(|call| allowed_by(&changed, call) && !allowed_by(&left, call) && !allowed_by(&others, call)).collect()
}

/// A grant and the calls that would be denied without it, for `cargo xtask test --removals`.
#[must_use]
pub fn removal(grant: &Grant, calls: &[&CallPermission]) -> Value {
    json!({"grant": grant.to_string(), "calls": calls.iter().map(|call| call.json()).collect::<Vec<_>>()})
}

/// Returns the calls that no statement of their function's role allows.
#[must_use]
pub fn not_allowed<'a>(template: &Template, recorded: &'a RecordedCalls) -> Vec<&'a CallPermission> {
    let statements = statements(template);
    recorded.needed.iter().filter(|needed| !statements.iter().any(|statement| statement.allows(needed))).collect()
}

#[cfg(test)]
mod tests {
    use super::{CallPermission, RecordedCalls, denied_without, grants, not_allowed};
    use crate::template::Template;
    use std::collections::BTreeSet;

    fn needed(function: &str, action: &str, resource: &str, keys: &[&str]) -> RecordedCalls {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let (function, action, resource) = (function.to_owned(), action.to_owned(), resource.to_owned());
        let needed = BTreeSet::from([CallPermission { function, action, resource, keys }]);
        RecordedCalls { needed, denied: BTreeSet::new() }
    }

    #[test]
    fn a_call_is_allowed_by_one_statement_that_covers_all_of_it() {
        let template = Template::read();
        let denied = |recorded: &RecordedCalls| !not_allowed(&template, recorded).is_empty();
        assert!(!denied(&needed("Release", "dynamodb:PutItem", "Table", &["INC#", "DUE#"])));
        assert!(denied(&needed("Release", "dynamodb:PutItem", "Table", &["INC#", "TOKEN#"])));
        assert!(denied(&needed("Release", "dynamodb:PutItem", "Table", &[])));
        assert!(denied(&needed("Release", "sqs:SendMessage", "FeedbackQueue", &[])));
        assert!(!denied(&needed("Release", "sqs:SendMessage", "ClassifyQueue", &[])));
    }

    #[test]
    fn a_call_is_denied_without_its_action_resource_or_prefix_and_without_nothing_else() {
        let template = Template::read();
        let needs = |recorded: &RecordedCalls| -> Vec<String> {
            let grants = grants(&template).into_iter();
            grants
                .filter(|grant| !denied_without(&template, grant, recorded).is_empty())
                .map(|one| one.to_string())
                .collect()
        };
        assert_eq!(
            needs(&needed("Release", "sqs:SendMessage", "ClassifyQueue", &[])),
            ["ReleaseRole Queue sqs:SendMessage* on ClassifyQueue"]
        );
        assert_eq!(
            needs(&needed("StatusPage", "dynamodb:Query", "Table/public", &["PUBLIC#"])),
            [
                "StatusPageRole ReadPublicIndex dynamodb:Query on Table/public",
                "StatusPageRole ReadPublicIndex keys PUBLIC#*"
            ]
        );
    }
}
