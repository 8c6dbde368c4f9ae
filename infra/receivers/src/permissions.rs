//! What the functions asked AWS for, as the permissions that it takes: who, which action, on what, and for the table the kinds of its keys.
//!
//! The emulator knows no `dynamodb:LeadingKeys`. With this list a test evaluates the template's statements as AWS would.

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A permission that a call needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallPermission {
    /// The function that called, by its name on AWS. Empty if it was none or was gone already.
    pub(crate) function: String,
    /// The IAM action, such as `dynamodb:PutItem`.
    pub(crate) action: String,
    /// The name of the table, queue, topic or function that it is about; `TABLE/INDEX` for an index. Empty for what has no name.
    pub(crate) resource: String,
    /// The kinds of partition keys that one call touches with this action, such as `INC#` or `MAINT#I#`.
    pub(crate) keys: BTreeSet<String>,
}

impl CallPermission {
    /// Whether this is `removed`, which has logical ids of the template for names: the stack's are `STACK-ID-HASH`.
    pub(crate) fn is(&self, removed: &Self) -> bool {
        let named = |name: &str, id: &str| match id.split_once('/') {
            _ if id.is_empty() => name.is_empty(),
            Some((table, index)) => name.contains(&format!("-{table}-")) && name.ends_with(&format!("/{index}")),
            None => name.contains(&format!("-{id}-")) && !name.contains('/'),
        };
        named(&self.function, &format!("{}Function", removed.function))
            && self.action == removed.action
            && named(&self.resource, &removed.resource)
            && self.keys == removed.keys
    }
}

/// How a service answers a caller without the permission, in the form of its protocol.
pub(crate) fn denial(operation: &str) -> Result<Response<Full<Bytes>>> {
    let service = operation.split('.').next().unwrap_or_default();
    let message = "User is not authorized to perform this action because no identity-based policy allows it";
    let (status, content_type, body) = match service {
        "ses" | "sns" => {
            let code = if service == "sns" { "AuthorizationError" } else { "AccessDenied" };
            let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
            (403, "text/xml", format!("<ErrorResponse>{error}<RequestId>denied</RequestId></ErrorResponse>"))
        }
        _ => {
            let body = json!({"__type": "com.amazon.coral.service#AccessDeniedException", "message": message});
            (if service == "sqs" { 403 } else { 400 }, "application/x-amz-json-1.0", body.to_string())
        }
    };
    let response = Response::builder().status(status).header("content-type", content_type);
    Ok(response.body(Full::new(Bytes::from(body)))?)
}

/// A call's caller: the access key of the temporary credentials that it was signed with.
pub(crate) fn access_key(parts: &Parts) -> Option<&str> {
    let signature = parts.headers.get("authorization")?.to_str().ok()?;
    signature.split("Credential=").nth(1)?.split('/').next()
}

/// Finds the function that has an access key, among the processes of this machine.
pub(crate) fn function_with(access_key: &str) -> Option<String> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        // A process may have ended since the folder was listed.
        let environment = std::fs::read(process.path().join("environ")).ok()?;
        let of = |name: &str| {
            let mut variables = environment.split(|byte| *byte == 0).filter_map(|pair| std::str::from_utf8(pair).ok());
            variables.find_map(|pair| Some(pair.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
        };
        (of("AWS_ACCESS_KEY_ID")? == access_key).then(|| of("AWS_LAMBDA_FUNCTION_NAME"))?
    })
}

/// Returns the permissions that a call takes, without its caller: several for a transaction, which needs one for each kind of write
/// ([IAM and transactions](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html)).
pub(crate) fn needed(operation: &str, path: &str, body: &[u8]) -> Vec<CallPermission> {
    let one = |action: String, resource: &str| {
        vec![CallPermission { function: String::new(), action, resource: resource.to_owned(), keys: BTreeSet::new() }]
    };
    let Some((service, name)) = operation.split_once('.') else { return Vec::new() };
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let last = |pointer: &str, separator: char| {
        let text = body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        text.rsplit(separator).next().unwrap_or_default().to_owned()
    };
    match service {
        "dynamodb" => table_permissions(name, &body),
        // A batch takes the permission of the single action.
        "sqs" => one(format!("sqs:{}", name.trim_end_matches("Batch")), &last("/QueueUrl", '/')),
        "lambda" => {
            let function = path.strip_prefix("/2015-03-31/functions/").and_then(|rest| rest.split('/').next());
            function.map(|function| one("lambda:InvokeFunction".to_owned(), function)).unwrap_or_default()
        }
        _ => one(operation.replacen('.', ":", 1), ""),
    }
}

fn table_permissions(operation: &str, body: &Value) -> Vec<CallPermission> {
    let mut found: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    let mut note = |action: &str, request: &Value, key: Option<&str>| {
        let table = request["TableName"].as_str().unwrap_or_default();
        let resource =
            request["IndexName"].as_str().map_or_else(|| table.to_owned(), |index| format!("{table}/{index}"));
        found.entry((format!("dynamodb:{action}"), resource)).or_default().extend(key.map(kind_of_key));
    };
    match operation {
        "TransactWriteItems" => {
            for item in body["TransactItems"].as_array().into_iter().flatten() {
                for (field, action) in [
                    ("Put", "PutItem"),
                    ("Update", "UpdateItem"),
                    ("Delete", "DeleteItem"),
                    ("ConditionCheck", "ConditionCheckItem"),
                ] {
                    let request = &item[field];
                    if request.is_object() {
                        note(action, request, partition_key(request));
                    }
                }
            }
        }
        "Query" => {
            let keys = queried_keys(body);
            note(operation, body, keys);
        }
        _ => note(operation, body, partition_key(body)),
    }
    found
        .into_iter()
        .map(|((action, resource), keys)| CallPermission { function: String::new(), action, resource, keys })
        .collect()
}

/// The partition key of a request about one item.
fn partition_key(request: &Value) -> Option<&str> {
    ["/Key/pk/S", "/Item/pk/S"].into_iter().find_map(|place| request.pointer(place)?.as_str())
}

/// The partition key that a query names: the value of its first equality.
fn queried_keys(body: &Value) -> Option<&str> {
    let placeholder = body["KeyConditionExpression"].as_str()?.split('=').nth(1)?.trim_start();
    let placeholder = placeholder.split(|c: char| c.is_whitespace() || c == ')').next()?;
    body.get("ExpressionAttributeValues")?.get(placeholder)?.get("S")?.as_str()
}

/// The kind of an item by its key: what is before the first `#`, and a scope or group of one letter behind it (`MAINT#I#`).
fn kind_of_key(key: &str) -> String {
    let mut parts = key.split_inclusive('#');
    let first = parts.next().unwrap_or_default();
    match parts.next() {
        Some(second) if second.len() == 2 && second.starts_with(|c: char| c.is_ascii_uppercase()) => {
            format!("{first}{second}")
        }
        _ => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{CallPermission, needed};
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    fn permission(action: &str, resource: &str, keys: &[&str]) -> CallPermission {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
        CallPermission { function: String::new(), action: action.to_owned(), resource: resource.to_owned(), keys }
    }

    fn of(operation: &str, body: &Value) -> Vec<CallPermission> {
        needed(operation, "/", body.to_string().as_bytes())
    }

    #[test]
    fn a_transaction_takes_one_permission_for_each_kind_of_write() {
        let body = json!({"TransactItems": [
            {"Put": {"TableName": "table", "Item": {"pk": {"S": "EVENT#1"}, "sk": {"S": "EVENT"}}}},
            {"Put": {"TableName": "table", "Item": {"pk": {"S": "T#acme"}, "sk": {"S": "SEEN#1"}}}},
            {"ConditionCheck": {"TableName": "table", "Key": {"pk": {"S": "INC#1"}}}},
        ]});
        assert_eq!(
            of("dynamodb.TransactWriteItems", &body),
            [
                permission("dynamodb:ConditionCheckItem", "table", &["INC#"]),
                permission("dynamodb:PutItem", "table", &["EVENT#", "T#"]),
            ]
        );
    }

    #[test]
    fn a_query_touches_the_partition_that_it_names() {
        let body = json!({"TableName": "table", "IndexName": "public", "KeyConditionExpression": "#0 = :0 AND begins_with(#1, :1)",
            "ExpressionAttributeValues": {":0": {"S": "MAINT#I#abc"}, ":1": {"S": "T#"}}});
        assert_eq!(of("dynamodb.Query", &body), [permission("dynamodb:Query", "table/public", &["MAINT#I#"])]);
    }

    #[test]
    fn what_is_removed_is_named_by_the_templates_ids() {
        let mut call = permission("dynamodb:PutItem", "tocsin-test-Table-0F", &["T#"]);
        "tocsin-test-ClassifyFunction-1".clone_into(&mut call.function);
        let mut removed = permission("dynamodb:PutItem", "Table", &["T#"]);
        "Classify".clone_into(&mut removed.function);
        assert!(call.is(&removed));
        for other in [
            CallPermission { function: "Intake".to_owned(), ..removed.clone() },
            CallPermission { resource: "Table/public".to_owned(), ..removed.clone() },
            CallPermission { keys: BTreeSet::new(), ..removed.clone() },
        ] {
            assert!(!call.is(&other), "{other:?}");
        }
    }

    #[test]
    fn a_batch_of_messages_takes_the_permission_for_one() {
        let body = json!({"QueueUrl": "http://127.0.0.1:1/000000000000/stack-ClassifyQueue-1.fifo"});
        assert_eq!(
            of("sqs.SendMessageBatch", &body),
            [permission("sqs:SendMessage", "stack-ClassifyQueue-1.fifo", &[])]
        );
    }
}
