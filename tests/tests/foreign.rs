//! Inputs of other people's bug reports: what each format makes of them. `tests/foreign/README.md` lists their sources.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by a panic"
)]

use contracts::formats::FORMATS;
use contracts::intake::{IntakeContent, IntakeItem, IntakeRequest, TokenDefaults};
use contracts::problem::FieldError;
use contracts::{native, opsgenie, pagerduty};
use domain::event::Event;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tests::foreign::{Case, format_cases};

/// What a format makes of a request: the refused field, or the events and notes that are accepted.
fn outcome(case: &Case) -> Value {
    let body = case.body("acme", "0123456789abcdefghijABCDEFGHIJ01");
    let defaults = TokenDefaults::default();
    let known = |event_type: &str| event_type == "api.outage";
    let headers: BTreeMap<String, String> = case.headers();
    let refused = |errors: Vec<FieldError>| json!({"refused": errors.first().map(|error| error.pointer.clone())});
    match case.format() {
        "native" => match native::parse_event(body.as_bytes(), &defaults, "new") {
            Ok(event) => json!([event_outcome(&event)]),
            Err(errors) => refused(errors),
        },
        "pagerduty" => {
            let mapped = pagerduty::parse_enqueue(body.as_bytes(), None)
                .and_then(|enqueue| enqueue.map_event(&defaults, &known, "new"));
            mapped.map_or_else(|errors| json!({"refused": errors[0]}), |item| json!([item_outcome(&item)]))
        }
        "opsgenie" => match opsgenie::map_alert(body.as_bytes(), &defaults, &known, "new") {
            Ok(item) => json!([item_outcome(&item)]),
            Err(opsgenie::OpsgenieError::Fields(fields)) => json!({"refused": fields.keys().next()}),
            Err(opsgenie::OpsgenieError::Unreadable) => json!({"refused": ""}),
        },
        name => {
            let format = FORMATS.iter().find(|format| format.name == name).unwrap();
            let request =
                IntakeRequest { body: body.as_bytes(), headers: &headers, defaults: &defaults, is_known_type: &known };
            match (format.parse)(&request) {
                Ok(items) => items.iter().map(item_outcome).collect(),
                Err(errors) => refused(errors),
            }
        }
    }
}

fn item_outcome(item: &IntakeItem) -> Value {
    match &item.content {
        IntakeContent::Event(event) => event_outcome(event),
        IntakeContent::Note(note) => {
            json!({"note": note.message, "status": note.status, "key": note.dedup_key, "notify": note.notify})
        }
    }
}

fn event_outcome(event: &Event) -> Value {
    let mut shown = Map::from_iter([
        ("title".to_owned(), json!(event.title)),
        ("type".to_owned(), json!(event.event_type)),
        ("severity".to_owned(), json!(event.severity)),
        ("tenants".to_owned(), json!(event.tenant_ids)),
    ]);
    let mut add = |name: &str, value: Value, is_set: bool| drop(is_set.then(|| shown.insert(name.to_owned(), value)));
    add("status", json!(event.status), event.status.is_some());
    add("message", json!(event.message), !event.message.is_empty());
    add("starts_at", json!(event.starts_at), event.starts_at.is_some());
    add("measurements", json!(event.measurements), !event.measurements.is_empty());
    add("links", json!(event.links.len()), !event.links.is_empty());
    add("warnings", json!(event.warnings), !event.warnings.is_empty());
    let details = event.key_details.iter().map(|detail| (detail.name.clone(), json!(detail.value)));
    add("details", Value::Object(details.collect()), !event.key_details.is_empty());
    Value::Object(shown)
}

#[test]
fn every_input_of_other_peoples_reports_has_the_right_outcome() {
    let cases = format_cases();
    assert!(cases.len() >= 90, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let outcome = outcome(case);
        if outcome != case.expected() {
            wrong.push(format!("{}:\n  is    {outcome}\n  right {}", case.id(), case.expected()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
