//! Requests and responses of test alerts. `tests/tests/e2e/test_alert.rs` follows a test through the whole pipeline.

use crate::{request, rows};
use contracts::http::{AttemptView, ExplainEntry, ReasonView, TestAlertBody};
use domain::tenant::Settings;
use domain::vocabulary::{Category, Channel, Severity};
use ledger::Destinations;
use serde_json::json;

fn settings(on: &[&str]) -> Settings {
    let category = |name: &str| json!({"enabled": on.contains(&name), "channels": ["email"]});
    serde_json::from_value(json!({
        "tenant": "acme", "name": "Acme", "plan": "business", "zone": "UTC", "alert_window_seconds": 60, "version": 1,
        "categories": {"infrastructure": category("infrastructure"), "billing": category("billing"),
            "configurable": category("configurable")},
    }))
    .unwrap()
}

fn entry(channel: Channel, outcome: &str) -> ExplainEntry {
    serde_json::from_value(json!({"update": 1, "integration_id": "int_1", "name": "Hook", "channel": channel,
        "outcome": outcome, "attempts": []}))
    .unwrap()
}

#[test]
fn without_a_category_the_first_enabled_one_is_tested() {
    let read = |on: &[&str]| request::parse(&TestAlertBody::default(), &settings(on), 25).unwrap();
    assert_eq!(read(&["billing", "configurable"]).category, Category::Billing);
    assert_eq!(read(&[]).category, Category::Infrastructure, "which then says that it is off");
    assert_eq!((read(&[]).wait_seconds, read(&[]).confirm_all), (15, false));
}

#[test]
fn every_wrong_field_is_reported() {
    let body: TestAlertBody =
        serde_json::from_value(json!({"category": "weather", "channel": "fax", "recipient_id": "x",
        "integration_id": "y", "wait_seconds": 26}))
        .unwrap();
    let errors = request::parse(&body, &settings(&[]), 25).unwrap_err();
    let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(
        pointers,
        ["/category", "/channel", "/integration_id", "/recipient_id", "/integration_id", "/wait_seconds"]
    );
    let chat: TestAlertBody = serde_json::from_value(json!({"channel": "chat", "wait_seconds": 26})).unwrap();
    let parsed = request::parse(&chat, &settings(&[]), 60).unwrap();
    assert_eq!(parsed.test_of.channels, [Channel::Slack, Channel::Teams]);
}

#[test]
fn every_category_has_a_rule_for_tests_and_no_test_is_public() {
    let policy = domain::policy::Policy::embedded().unwrap();
    for &category in Category::ALL {
        let body = TestAlertBody { category: Some(category.as_str().to_owned()), ..TestAlertBody::default() };
        let parsed = request::parse(&body, &settings(&[]), 25).unwrap();
        let event = request::build_event(&parsed, &settings(&[]), "evt_1");
        match policy.classify(&event) {
            domain::classification::Classification::Included(included) => {
                assert_eq!((included.category, included.public), (Some(category), false));
                assert_eq!(
                    included.low_balance,
                    category == Category::Billing,
                    "what only a low balance sends is tested too"
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((event.severity, event.public), (Severity::Critical, Some(false)));
    }
}

#[test]
fn a_row_shows_the_outcome_and_its_remedy() {
    let people = Destinations::default();
    let row = |entry: &ExplainEntry| rows::build_row(entry, &people, "alerts@example.com", &rows::HoldNotes::new());
    let mail = row(&entry(Channel::Email, "accepted"));
    assert!(mail.remedy.unwrap().contains("allow-list alerts@example.com"));
    let attempt = AttemptView {
        update: 1,
        attempt: 1,
        at: jiff::Timestamp::UNIX_EPOCH,
        cause: "http_404".into(),
        sentence: "The URL doesn't exist.".into(),
        remedy: "Correct the URL.".into(),
        status: Some(404),
        response: "x".repeat(600),
        took_ms: 3,
    };
    let failed = row(&ExplainEntry { attempts: vec![attempt.clone()], ..entry(Channel::Webhook, "failed") });
    assert_eq!(
        (failed.status, failed.cause.as_deref(), failed.remedy.as_deref()),
        (Some(404), Some("http_404"), Some("Correct the URL."))
    );
    assert_eq!(failed.response.unwrap().chars().count(), 500);
    let later = row(&ExplainEntry { attempts: vec![attempt], ..entry(Channel::Webhook, "delivered") });
    assert_eq!(
        (later.status, later.cause),
        (None, None),
        "an attempt that was sent again tells nothing of how it stands"
    );
    let reason = ReasonView { reason: "dnd".into(), sentence: "s.".into(), setting: "t".into(), remedy: "m.".into() };
    let skipped = row(&ExplainEntry { reason: Some(reason), ..entry(Channel::Sms, "skipped") });
    assert_eq!(
        (skipped.reason.as_deref(), skipped.detail.as_deref(), skipped.remedy.as_deref()),
        (Some("dnd"), Some("s."), Some("m."))
    );
    let waiting = rows::mark_pending(vec![entry(Channel::Email, "deliver"), entry(Channel::Sms, "skipped")]);
    assert_eq!((waiting[0].outcome.as_str(), waiting[1].outcome.as_str()), ("pending", "skipped"));
}
