//! Prometheus Alertmanager's webhook, version 4 (`notify/webhook/webhook.go`, `template/template.go` of 0.34).
//!
//! `endsAt` is the zero time `0001-01-01T00:00:00Z` while an alert fires. Its 5xx are retried until the next group interval;
//! its 4xx, 429 included, are dropped: whoever sheds load answers 503.

use crate::intake::{Defaults, Mapped};
use crate::native::{or_default, severity};
use crate::problem::FieldError;
use domain::event::{Event, Format, Link};
use domain::ids::TenantId;
use domain::vocabulary::Status;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
struct Payload {
    version: String,
    #[serde(default, rename = "groupKey")]
    group_key: String,
    #[serde(default, rename = "truncatedAlerts")]
    truncated_alerts: u64,
    #[serde(default)]
    receiver: String,
    alerts: Vec<Alert>,
}

#[derive(Debug, Deserialize)]
struct Alert {
    status: AlertStatus,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default, rename = "startsAt")]
    starts_at: Option<String>,
    #[serde(default, rename = "endsAt")]
    ends_at: Option<String>,
    #[serde(default, rename = "generatorURL")]
    generator_url: String,
    #[serde(default)]
    fingerprint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AlertStatus {
    Firing,
    Resolved,
}

/// Maps one notification to its events, one for each alert. `known` tells whether a rule knows an event type: an alert's
/// name stands for its type only then, else the token's default type does.
///
/// # Errors
/// Where the body is not what Alertmanager sends.
pub fn parse(body: &[u8], defaults: &Defaults, known: &dyn Fn(&str) -> bool) -> Result<Vec<Mapped>, Vec<FieldError>> {
    let payload: Payload = crate::problem::parse(body).map_err(|error| vec![error])?;
    if payload.version != "4" {
        return Err(vec![FieldError::new("/version", "must be \"4\": this is Alertmanager's webhook format")]);
    }
    Ok(payload.alerts.iter().map(|alert| map(alert, &payload, defaults, known)).collect())
}

fn map(alert: &Alert, payload: &Payload, defaults: &Defaults, known: &dyn Fn(&str) -> bool) -> Mapped {
    let label = |name: &str| alert.labels.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
    let annotation = |name: &str| alert.annotations.get(name).filter(|text| !text.is_empty());
    let name = label("alertname").unwrap_or("alert");
    let event_type = label("type")
        .or_else(|| Some(name).filter(|name| known(name)))
        .or(defaults.event_type.as_deref())
        .unwrap_or(name)
        .to_owned();
    let (mut tenant_ids, mut bad_tenants, mut platform) = (Vec::new(), Vec::new(), false);
    for entry in list(label("tenant")) {
        match TenantId::parse(&entry) {
            _ if entry == "*" => platform = true,
            Ok(id) if tenant_ids.contains(&id) => {}
            Ok(id) => tenant_ids.push(id),
            Err(_) => bad_tenants.push(entry),
        }
    }
    if platform {
        tenant_ids.clear();
    } else if tenant_ids.is_empty() && bad_tenants.is_empty() {
        tenant_ids.clone_from(&defaults.tenant_ids);
    }
    let (severity, severity_given) = severity(label("severity"));
    let starts_at = alert.starts_at.as_deref().and_then(time);
    let ends_at = alert.ends_at.as_deref().and_then(time);
    let fingerprint = if alert.fingerprint.is_empty() {
        // Alertmanager always sends one; a hand-made payload is told apart by its labels.
        let labels: Vec<&str> = alert.labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect();
        domain::ids::digest(&labels)
    } else {
        alert.fingerprint.clone()
    };
    let resolved = alert.status == AlertStatus::Resolved;
    let mut details = Map::new();
    details.insert("annotations".to_owned(), to_value(&alert.annotations));
    details.insert("group_key".to_owned(), Value::from(payload.group_key.clone()));
    details.insert("receiver".to_owned(), Value::from(payload.receiver.clone()));
    if !alert.generator_url.is_empty() {
        details.insert("generator_url".to_owned(), Value::from(alert.generator_url.clone()));
    }
    if payload.truncated_alerts > 0 {
        details.insert("truncated_alerts".to_owned(), Value::from(payload.truncated_alerts));
    }
    let links = ["runbook_url", "dashboard_url"]
        .into_iter()
        .filter_map(|name| annotation(name).map(|href| (name, href)))
        .filter(|(_, href)| href.starts_with("https://"))
        .map(|(name, href)| Link { href: href.clone(), text: name.trim_end_matches("_url").to_owned() })
        .collect();
    let event = Event {
        format: Format::Alertmanager,
        source: "alertmanager".to_owned(),
        event_type,
        dedup_key: fingerprint.clone(),
        severity,
        severity_given,
        title: annotation("summary").cloned().unwrap_or_else(|| name.to_owned()),
        message: annotation("description").cloned().unwrap_or_default(),
        public_title: annotation("public_title").cloned(),
        public_message: annotation("public_message").cloned(),
        status: resolved.then_some(Status::Resolved),
        tenant_ids,
        platform,
        components: or_default(list(label("component")), &defaults.components),
        regions: or_default(list(label("region")), &defaults.regions),
        starts_at,
        measurements: BTreeMap::new(),
        labels: alert.labels.clone(),
        links,
        details,
        public: None,
        cut: Vec::new(),
    }
    .capped();
    let status = if resolved { "resolved" } else { "firing" };
    let moment = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let identity = Some(vec![fingerprint, status.to_owned(), moment(starts_at), moment(ends_at.filter(|_| resolved))]);
    Mapped { event, identity, bad_tenants }
}

/// A comma-separated label as a list.
fn list(label: Option<&str>) -> Vec<String> {
    let entries = label.unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(str::to_owned).collect()
}

/// A time of Alertmanager's; its zero time (year 1) means "none".
fn time(text: &str) -> Option<Timestamp> {
    let at: Timestamp = text.parse().ok()?;
    (at > Timestamp::UNIX_EPOCH).then_some(at)
}

fn to_value(map: &BTreeMap<String, String>) -> Value {
    Value::Object(map.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAPTURED: &str = r#"{"receiver":"tocsin","status":"firing","alerts":[{"status":"firing","labels":{"alertname":
        "PopDown","component":"voice","region":"ap-south-1, eu-west-1","severity":"critical","tenant":"acme,globex",
        "type":"pop.degraded"},"annotations":{"summary":"POP bom-1 down","description":"host bom-1.internal","public_title":
        "Calls fail"},"startsAt":"2026-11-23T10:00:00.123456789Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":
        "http://prom.internal/graph","fingerprint":"b1946ac92492d234"}],"groupLabels":{},"commonLabels":{},
        "commonAnnotations":{},"externalURL":"http://am.internal","version":"4","groupKey":"{}:{}","truncatedAlerts":0}"#;

    fn one(body: &str, defaults: &Defaults) -> Mapped {
        parse(body.as_bytes(), defaults, &|name| name == "api.outage").unwrap().remove(0)
    }

    #[test]
    fn a_captured_notification_maps() {
        let mapped = one(CAPTURED, &Defaults::default());
        let event = &mapped.event;
        assert_eq!(event.event_type, "pop.degraded");
        assert_eq!(event.tenant_ids.len(), 2);
        assert_eq!(event.regions, ["ap-south-1", "eu-west-1"]);
        assert_eq!(event.title, "POP bom-1 down");
        assert_eq!(event.public_title.as_deref(), Some("Calls fail"));
        assert_eq!(event.status, None);
        assert!(event.starts_at.is_some());
        assert_eq!(event.dedup_key, "b1946ac92492d234");
    }

    #[test]
    fn changed_annotations_are_the_same_event_and_a_resolve_is_another() {
        let first = one(CAPTURED, &Defaults::default());
        let again = one(&CAPTURED.replace("POP bom-1 down", "POP bom-1 is down, 12 calls lost"), &Defaults::default());
        assert_eq!(first.identity, again.identity);
        let resolved = CAPTURED
            .replacen("\"status\":\"firing\",\"labels\"", "\"status\":\"resolved\",\"labels\"", 1)
            .replace("0001-01-01T00:00:00Z", "2026-11-23T11:00:00Z");
        let resolved = one(&resolved, &Defaults::default());
        assert_ne!(first.identity, resolved.identity);
        assert_eq!(resolved.event.status, Some(Status::Resolved));
    }

    #[test]
    fn a_plain_alert_takes_the_tokens_defaults() {
        let body = r#"{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"HighErrorRate"}}]}"#;
        let defaults = Defaults {
            event_type: Some("api.outage".into()),
            tenant_ids: vec![TenantId::parse("acme").unwrap()],
            components: vec!["api".into()],
            regions: vec![],
        };
        let event = one(body, &defaults).event;
        assert_eq!((event.event_type.as_str(), event.title.as_str()), ("api.outage", "HighErrorRate"));
        assert_eq!(event.tenant_ids, defaults.tenant_ids);
        assert_eq!(event.components, ["api"]);
        let silent = one(body, &Defaults::default()).event;
        assert_eq!(silent.event_type, "HighErrorRate");
        assert!(silent.tenant_ids.is_empty() && !silent.platform, "nobody is guessed");
    }

    #[test]
    fn the_star_is_everybody_and_a_bad_name_is_kept_apart() {
        let body = |tenant: &str| {
            format!(r#"{{"version":"4","alerts":[{{"status":"firing","labels":{{"tenant":"{tenant}"}}}}]}}"#)
        };
        assert!(one(&body("*"), &Defaults::default()).event.platform);
        let bad = one(&body("Acme Inc,globex"), &Defaults::default());
        assert_eq!(bad.bad_tenants, ["Acme Inc"]);
        assert_eq!(bad.event.tenant_ids.len(), 1);
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let error = parse(br#"{"version":"1","alerts":[]}"#, &Defaults::default(), &|_| false).unwrap_err();
        assert_eq!(error[0].pointer, "/version");
    }

    proptest! {
        #[test]
        fn whatever_parses_maps_within_the_caps(
            labels in proptest::collection::btree_map("[a-z]{1,8}|tenant|type|severity|component", ".{0,300}", 0..60),
            annotations in proptest::collection::btree_map("[a-z]{1,8}|summary|description", ".{0,20000}", 0..4),
        ) {
            let body = serde_json::json!({"version":"4","alerts":[{"status":"firing","labels":labels,"annotations":annotations}]});
            let mapped = one(&body.to_string(), &Defaults::default());
            prop_assert!(mapped.event.title.chars().count() <= domain::event::TITLE_MAX);
            prop_assert!(mapped.event.message.chars().count() <= domain::event::MESSAGE_MAX);
            prop_assert!(serde_json::to_vec(&mapped.event).unwrap().len() <= domain::event::EVENT_MAX);
            prop_assert!(!mapped.event.event_type.is_empty());
        }
    }
}
