//! How external receivers' answers are read, and the size limits that hold for every alert. What messages say is in `messages.rs`.

#![expect(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod samples;

use contracts::{slack, teams, webhook};
use domain::alert::Alert;
use domain::event::Link;
use domain::ids::{IncidentId, Scope};
use domain::maintenance::{MaintenanceSuppression, SuppressedIncident, SuppressedIncidents};
use domain::vocabulary::Severity;
use proptest::prelude::*;
use samples::{INCIDENT_URL, alert, links, why};
use serde_json::Value;

#[test]
fn a_webhook_names_the_maintenance_that_suppresses_its_incident() {
    let until = "2026-11-23T10:00:00Z".parse().unwrap();
    let covered =
        MaintenanceSuppression { by: IncidentId::new("work"), until, up_to: Severity::Critical, at_most_until: None };
    let body = webhook::build_body(&Alert { covered: Some(covered), ..alert() }, &why(), INCIDENT_URL);
    let body = serde_json::to_value(&body).unwrap();
    assert_eq!(
        body["data"]["covered_by"],
        serde_json::json!({"incident_id": "inc_work", "until": "2026-11-23T10:00:00Z"})
    );
    assert!(
        serde_json::to_value(webhook::build_body(&alert(), &why(), INCIDENT_URL)).unwrap()["data"]
            .get("covered_by")
            .is_none()
    );
}

#[test]
fn the_webhook_id_differs_by_update_and_integration() {
    let id = |update, integration| webhook::webhook_id(&alert().tenant, &alert().incident_id, update, integration);
    assert_eq!(id(1, "int_a"), id(1, "int_a"));
    assert_ne!(id(1, "int_a"), id(2, "int_a"));
    assert_ne!(id(1, "int_a"), id(1, "int_b"));
    assert!(!id(1, "int_a").contains('.'));
}

#[test]
fn slack_answers_are_evaluated() {
    use domain::attempt::RetryVerdict::{Gone, Retry};
    let failed = |status, body: &str| match slack::evaluate_response(status, body) {
        slack::SlackResult::Failed(failed) => Some((failed.cause, failed.verdict, failed.slow_down)),
        _ => None,
    };
    assert_eq!(slack::evaluate_response(200, "ok"), slack::SlackResult::Accepted);
    assert_eq!(slack::evaluate_response(400, "invalid_blocks"), slack::SlackResult::RetryPlain);
    assert_eq!(failed(200, "<html>captive portal"), Some(("http_200".into(), Retry, false)), "ok, and nothing else");
    assert_eq!(failed(404, "no_service"), Some(("no_service".into(), Gone, false)));
    assert_eq!(failed(410, "channel_is_archived"), Some(("channel_is_archived".into(), Gone, false)));
    assert_eq!(failed(500, "rollup_error"), Some(("http_500".into(), Retry, false)));
    let limited = r#"{"retry_after":1,"ok":false,"error":"rate_limited"}"#;
    assert_eq!(failed(429, limited), Some(("http_429".into(), Retry, true)));
}

#[test]
fn teams_answers_are_evaluated() {
    assert_eq!(teams::evaluate_response(202, ""), None);
    assert_eq!(teams::evaluate_response(200, "1"), None);
    let limited = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429";
    assert!(teams::evaluate_response(200, limited).is_some_and(|failed| failed.slow_down));
    assert!(teams::evaluate_response(502, "").is_some());
    for (host, retired) in [
        ("acme.webhook.office.com", true),
        ("prod-1.westeurope.logic.azure.com", true),
        ("x.environment.api.powerplatform.com", false),
        ("notwebhook.office.com.example.com", false),
    ] {
        assert_eq!(teams::is_retired_host(host), retired, "{host}");
    }
}

fn collect_texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|entry| collect_texts(entry, found)),
        Value::Object(map) => map.values().for_each(|entry| collect_texts(entry, found)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn any_alert_stays_within_the_receivers_limits(title in ".{0,255}", message in ".{0,15000}|(<!channel>){0,400}",
        components in prop::collection::vec(".{0,100}", 0..50), inside in prop::collection::vec(".{0,255}", 0..11),
        href in "https://[a-z|<>&]{1,50}") {
        let suppressed = |title: String| SuppressedIncident {
            incident_id: IncidentId::new("i"),
            scope: Scope::Platform,
            title,
            from: alert().at,
            until: Some(alert().at),
            escalated: false,
        };
        let incidents = inside.into_iter().map(suppressed).collect();
        let suppressed_incidents = SuppressedIncidents { incidents, omitted_count: 7 };
        let alert = Alert { title, message, components, suppressed_incidents, links: vec![Link { href, text: String::new() }], ..alert() };
        let slack = slack::build_message(&alert, &why(), &links());
        let blocks = slack["blocks"].as_array().unwrap();
        prop_assert!(blocks.len() <= 50);
        for block in blocks {
            let text = block["text"]["text"].as_str().unwrap_or_default();
            let max = if block["type"] == "header" { 150 } else { 3_000 };
            prop_assert!(text.chars().count() <= max);
            for field in block["fields"].as_array().into_iter().flatten() {
                prop_assert!(field["text"].as_str().unwrap().chars().count() <= 2_000);
            }
        }
        let mut found = Vec::new();
        collect_texts(&serde_json::json!([slack["text"], blocks[1..]]), &mut found);
        prop_assert!(found.iter().all(|text| !text.contains("<!")), "{:?}", found);
        prop_assert!(teams::build_message(&alert, &why(), &links()).to_string().len() <= teams::CARD_MAX);
        prop_assert!(serde_json::to_vec(&webhook::build_body(&alert, &why(), INCIDENT_URL)).unwrap().len() < 256 * 1024);
    }
}
