//! The local stack refuses what AWS refuses, in AWS's words, so that nothing passes here and is lost there. The limits are those of
//! "Constraints in Amazon DynamoDB" and of the API references of DynamoDB and SQS.

use serde_json::{Value, json};
use tests::{Stack, stack, unique};

/// Calls AWS, and checks that it refuses with this code and a message that contains `words`.
fn assert_refused(stack: &Stack, service: &str, operation: &str, parameters: &Value, code: &str, words: &str) {
    let answer = stack.aws(&["call", service, operation, &parameters.to_string()]);
    let message = answer["message"].as_str().unwrap_or_default();
    assert_eq!(answer["status"], 400, "{operation} {code} {words}: {answer}");
    assert_eq!(answer["code"], code, "{answer}");
    assert!(message.contains(words), "{message:?} does not say {words:?}");
}

fn assert_accepted(stack: &Stack, service: &str, operation: &str, parameters: &Value) {
    let answer = stack.aws(&["call", service, operation, &parameters.to_string()]);
    assert_eq!(answer["status"], 200, "{operation}: {answer}");
}

/// An attribute value in `levels` lists or maps.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!({"S": "x"}), |inner, level| match level % 2 {
        0 => json!({"L": [inner]}),
        _ => json!({"M": {"a": inner}}),
    })
}

/// The parameters that put an item with these attributes.
fn put(stack: &Stack, attributes: &Value) -> Value {
    let mut item = json!({"pk": {"S": format!("LIMITS#{}", unique())}, "sk": {"S": "A"}});
    item.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    json!({"TableName": stack.text("/table"), "Item": item})
}

#[test]
fn dynamodb_refuses_values_that_it_cannot_hold() {
    let stack = &stack!();
    let refused = |value: Value, words: &str| {
        let put_item = put(stack, &json!({"a": value}));
        assert_refused(stack, "dynamodb", "put_item", &put_item, "ValidationException", words);
        let key = json!({"pk": put_item["Item"]["pk"], "sk": put_item["Item"]["sk"]});
        let update = json!({"TableName": put_item["TableName"], "Key": key, "UpdateExpression": "SET a = :a",
            "ExpressionAttributeValues": {":a": value}});
        assert_refused(stack, "dynamodb", "update_item", &update, "ValidationException", words);
    };
    let accepted = |value: Value| assert_accepted(stack, "dynamodb", "put_item", &put(stack, &json!({"a": value})));

    accepted(nested(31));
    refused(nested(32), "Nesting Levels have exceeded supported limits");
    accepted(json!({"N": "9.9999999999999999999999999999999999999E+125"}));
    refused(json!({"N": "1E+126"}), "Number overflow");
    refused(json!({"M": {"b": {"N": "1.7976931348623157e308"}}}), "Number overflow");
    accepted(json!({"N": "-1E-130"}));
    refused(json!({"N": "1E-131"}), "Number underflow");
    accepted(json!({"N": "1".repeat(38)}));
    refused(json!({"N": "1".repeat(39)}), "more than 38 significant digits");
    refused(json!({"N": "NaN"}), "cannot be converted to a numeric value");
    refused(json!({"SS": []}), "may not be empty");
    refused(json!({"NS": []}), "may not be empty");
    refused(json!({"SS": ["a", "a"]}), "contains duplicates");
}

#[test]
fn dynamodb_refuses_items_and_keys_that_are_too_large() {
    let stack = &stack!();
    let large = |bytes: usize| json!({"a": {"S": "x".repeat(bytes)}});
    assert_accepted(stack, "dynamodb", "put_item", &put(stack, &large(409_000)));
    let words = "exceeded the maximum allowed size";
    assert_refused(stack, "dynamodb", "put_item", &put(stack, &large(409_600)), "ValidationException", words);

    // An update that makes a stored item too large, as a history without a bound does.
    let half = put(stack, &large(250_000));
    assert_accepted(stack, "dynamodb", "put_item", &half);
    let update = json!({"TableName": half["TableName"], "Key": {"pk": half["Item"]["pk"], "sk": half["Item"]["sk"]},
        "UpdateExpression": "SET b = :b", "ExpressionAttributeValues": {":b": {"S": "x".repeat(250_000)}}});
    assert_refused(stack, "dynamodb", "update_item", &update, "ValidationException", words);

    for (name, bytes, words) in
        [("pk", 2_049, "2048 bytes"), ("sk", 1_025, "1024 bytes"), ("pk", 0, "empty string value")]
    {
        let key = put(stack, &json!({name: {"S": "k".repeat(bytes)}}));
        assert_refused(stack, "dynamodb", "put_item", &key, "ValidationException", words);
    }
    assert_accepted(
        stack,
        "dynamodb",
        "put_item",
        &put(stack, &json!({"pk": {"S": unique().repeat(2_048).get(..2_048)}})),
    );
}

#[test]
fn dynamodb_refuses_transactions_and_batches_beyond_their_limits() {
    let stack = &stack!();
    let puts = |count: usize, bytes: usize| {
        let put = |_| json!({"Put": put(stack, &json!({"a": {"S": "x".repeat(bytes)}}))});
        json!({"TransactItems": (0..count).map(put).collect::<Vec<_>>()})
    };
    assert_accepted(stack, "dynamodb", "transact_write_items", &puts(100, 1));
    let limit = "less than or equal to 100";
    assert_refused(stack, "dynamodb", "transact_write_items", &puts(101, 1), "ValidationException", limit);
    assert_refused(stack, "dynamodb", "transact_write_items", &puts(11, 400_000), "ValidationException", "");

    let mut twice = puts(1, 1);
    let again = twice["TransactItems"][0].clone();
    twice["TransactItems"].as_array_mut().unwrap().push(again);
    let words = "cannot include multiple operations on one item";
    assert_refused(stack, "dynamodb", "transact_write_items", &twice, "ValidationException", words);

    let table = stack.text("/table");
    let requests: Vec<Value> =
        (0..26).map(|_| json!({"PutRequest": {"Item": put(stack, &json!({}))["Item"]}})).collect();
    let batch = json!({"RequestItems": {&table: requests}});
    assert_refused(stack, "dynamodb", "batch_write_item", &batch, "ValidationException", "less than or equal to 25");
    let request = json!({"PutRequest": {"Item": put(stack, &json!({}))["Item"]}});
    let batch = json!({"RequestItems": {&table: [request, request]}});
    assert_refused(stack, "dynamodb", "batch_write_item", &batch, "ValidationException", "contains duplicates");
}

/// A queue that refuses all that these tests send.
fn queue(stack: &Stack) -> String {
    stack.text("/queues/IntakeQueue")
}

#[test]
fn sqs_refuses_messages_that_it_cannot_hold() {
    let stack = &stack!();
    let url = queue(stack);
    let refused = |parameters: Value, code: &str, words: &str| {
        let mut parameters = parameters;
        parameters["QueueUrl"] = json!(url);
        assert_refused(stack, "sqs", "send_message", &parameters, code, words);
    };
    for character in ["\u{1}", "\u{b}", "\u{1f}", "\u{fffe}", "\u{ffff}"] {
        refused(json!({"MessageBody": format!("a{character}")}), "InvalidMessageContents", "outside the allowed set");
    }
    refused(json!({"MessageBody": "x".repeat(1_048_577)}), "InvalidParameterValue", "shorter than 1048576 bytes");
    refused(json!({"MessageBody": ""}), "MissingParameter", "MessageBody");
}

#[test]
fn sqs_refuses_batches_beyond_its_limits() {
    let stack = &stack!();
    let url = queue(stack);
    let batch = |entries: Vec<Value>| json!({"QueueUrl": url, "Entries": entries});
    let refused = |entries: Vec<Value>, code: &str, words: &str| {
        let code = format!("AWS.SimpleQueueService.{code}");
        assert_refused(stack, "sqs", "send_message_batch", &batch(entries), &code, words);
    };
    let entry = |id: usize| json!({"Id": id.to_string(), "MessageBody": "x"});
    refused((0..11).map(entry).collect(), "TooManyEntriesInBatchRequest", "10");
    refused(vec![entry(1), entry(1)], "BatchEntryIdsNotDistinct", "repeated");
    refused(vec![], "EmptyBatchRequest", "");
    let half = |id: usize| json!({"Id": id.to_string(), "MessageBody": "x".repeat(600_000)});
    refused(vec![half(1), half(2)], "BatchRequestTooLong", "1048576 bytes");
}
