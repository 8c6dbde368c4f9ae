//! Prometheus Alertmanager's webhook, version 4 (`notify/webhook/webhook.go`, `template/template.go` of 0.34).
//!
//! `endsAt` is the zero time `0001-01-01T00:00:00Z` while an alert fires. Alertmanager retries after a 5xx until the next group interval,
//! but drops the notification after a 4xx, including 429. A receiver that sheds load must therefore answer 503.

use crate::intake::{
    Addressees, DropInFormat, EVENTS_MAX, IntakeItem, IntakeRequest, TENANT_FIELD, https_links, resolve_event_type,
    split_list,
};
use crate::native::{or_token_default, parse_severity};
use crate::problem::FieldError;
use domain::event::{Event, Format, shrink_details};
use domain::vocabulary::Status;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The format of Alertmanager's webhook.
pub const FORMAT: DropInFormat = DropInFormat { name: "alertmanager", parse };

/// The event type that reports alerts which Alertmanager left out.
const TRUNCATED: &str = "alerts.truncated";
/// Maximum size of a notification's own fields as JSON, in bytes.
const NOTIFICATION_MAX: usize = 8 * 1024;
/// Fields of a notification that say nothing about any single alert. If a notification has alerts of several tenants, only these are
/// kept: its title, message and common labels are about all of them, and details are sent to each tenant's webhooks.
const SHARED_FIELDS: [&str; 7] = ["receiver", "status", "version", "truncatedAlerts", "orgId", "state", "externalURL"];

#[derive(Debug, Deserialize)]
struct Payload {
    version: String,
    alerts: Vec<Alert>,
    #[serde(flatten)]
    rest: Map<String, Value>,
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
    #[serde(default)]
    fingerprint: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AlertStatus {
    Firing,
    Resolved,
}

fn parse(request: &IntakeRequest<'_>) -> Result<Vec<IntakeItem>, Vec<FieldError>> {
    map_notification(request, "4", &|_| Event::blank(Format::Alertmanager, "alertmanager"))
}

/// Maps a notification to one event for each alert. Grafana sends the same structure as another version with fields of its own:
/// `base_event` builds an event from an alert's other fields, and the common fields are then set on it.
///
/// # Errors
/// If the body is not a notification of this version.
pub(crate) fn map_notification(
    request: &IntakeRequest<'_>,
    version: &str,
    base_event: &dyn Fn(&Map<String, Value>) -> Event,
) -> Result<Vec<IntakeItem>, Vec<FieldError>> {
    let payload: Payload = crate::problem::parse_object(request.body).map_err(|error| vec![error])?;
    if payload.version != version {
        let detail =
            format!("must be \"{version}\" on this path: Alertmanager sends \"4\", Grafana \"1\"; check the URL");
        return Err(vec![FieldError::new("/version", detail)]);
    }
    if payload.alerts.len() > EVENTS_MAX {
        return Err(vec![FieldError::new("/alerts", format!("must have at most {EVENTS_MAX} alerts; set max_alerts"))]);
    }
    // The notification's own fields are stored with every alert, so they must be small.
    let mut rest = payload.rest;
    if !same_tenant(&payload.alerts, request) {
        rest.retain(|name, _| SHARED_FIELDS.contains(&name.as_str()));
    }
    shrink_details(&mut rest, NOTIFICATION_MAX);
    let mut mapped: Vec<IntakeItem> =
        payload.alerts.iter().map(|alert| map_alert(alert, &rest, request, base_event)).collect();
    let cut = rest.get("truncatedAlerts").and_then(Value::as_u64).filter(|cut| *cut > 0);
    mapped.extend(cut.map(|cut| truncated_event(cut, &rest, base_event(&Map::new()))));
    Ok(mapped)
}

/// Whether every alert is about the same single tenant, or every alert is platform-wide.
fn same_tenant(alerts: &[Alert], request: &IntakeRequest<'_>) -> bool {
    let mut addressees = alerts.iter().map(|alert| alert.addressees(request));
    let Some(first) = addressees.next() else { return true };
    first.tenant_ids.len() + first.invalid_tenants.len() <= 1 && addressees.all(|other| other == first)
}

impl Alert {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    fn label_list(&self, name: &str) -> Vec<String> {
        split_list(self.label(name).unwrap_or_default())
    }

    fn addressees(&self, request: &IntakeRequest<'_>) -> Addressees {
        Addressees::parse(self.label_list(TENANT_FIELD), request.defaults)
    }
}

/// Builds the event for alerts that Alertmanager left out. No rule matches its type, so the operators are notified.
fn truncated_event(cut: u64, payload: &Map<String, Value>, blank: Event) -> IntakeItem {
    let group = payload.get("groupKey").and_then(Value::as_str).unwrap_or_default();
    let event = Event {
        event_type: TRUNCATED.to_owned(),
        dedup_key: domain::ids::short_hash(&["truncated", group]),
        title: format!("Alertmanager left out {cut} alerts of a group; increase max_alerts or group by more labels"),
        details: payload.clone(),
        ..blank
    };
    IntakeItem::event(event, Addressees::default())
}

fn map_alert(
    alert: &Alert,
    payload: &Map<String, Value>,
    request: &IntakeRequest<'_>,
    base_event: &dyn Fn(&Map<String, Value>) -> Event,
) -> IntakeItem {
    let (label, label_list) = (|name: &str| alert.label(name), |name: &str| alert.label_list(name));
    let annotation = |name: &str| alert.annotations.get(name).filter(|text| !text.is_empty());
    let name = label("alertname").unwrap_or("alert");
    let defaults = request.defaults;
    let (severity, severity_given) = parse_severity(label("severity"));
    let starts_at = alert.starts_at.as_deref().and_then(parse_time);
    let ends_at = alert.ends_at.as_deref().and_then(parse_time);
    let fingerprint = if alert.fingerprint.is_empty() {
        // Alertmanager always sends one; a hand-made payload without one is identified by its labels.
        let labels: Vec<&str> = alert.labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect();
        domain::ids::short_hash(&labels)
    } else {
        alert.fingerprint.clone()
    };
    let resolved = alert.status == AlertStatus::Resolved;
    let event = base_event(&alert.rest);
    let mut details = alert.rest.clone();
    details.insert("annotations".to_owned(), to_value(&alert.annotations));
    details.insert("notification".to_owned(), Value::Object(payload.clone()));
    // No tenant may see which other tenants are affected.
    let labels = alert.labels.iter().filter(|(name, _)| *name != TENANT_FIELD);
    let labels = labels.map(|(name, value)| (name.clone(), value.clone())).collect();
    let annotated_links = ["runbook_url", "dashboard_url"]
        .into_iter()
        .filter_map(|name| Some((annotation(name)?.as_str(), name.trim_end_matches("_url"))));
    let event = Event {
        event_type: resolve_event_type(label("type"), name, request),
        dedup_key: fingerprint.clone(),
        severity,
        severity_given,
        title: annotation("summary").cloned().unwrap_or_else(|| name.to_owned()),
        message: annotation("description").cloned().unwrap_or(event.message),
        public_title: annotation("public_title").cloned(),
        public_message: annotation("public_message").cloned(),
        status: resolved.then_some(Status::Resolved),
        components: or_token_default(label_list("component"), &defaults.components),
        regions: or_token_default(label_list("region"), &defaults.regions),
        starts_at,
        labels,
        links: https_links(annotated_links).into_iter().chain(event.links).collect(),
        details,
        ..event
    };
    let status = if resolved { "resolved" } else { "firing" };
    let optional_time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let source_event_id =
        vec![fingerprint, status.to_owned(), optional_time(starts_at), optional_time(ends_at.filter(|_| resolved))];
    IntakeItem::event(event, alert.addressees(request)).with_source_event_id(source_event_id)
}

/// Parses a time. Alertmanager's zero time (year 1) means that there is none.
fn parse_time(text: &str) -> Option<Timestamp> {
    let at: Timestamp = text.parse().ok()?;
    (at > Timestamp::UNIX_EPOCH).then_some(at)
}

fn to_value(map: &BTreeMap<String, String>) -> Value {
    Value::Object(map.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::{TokenDefaults, testing};
    use domain::ids::TenantId;
    use proptest::prelude::*;

    const CAPTURED: &str = r#"{"receiver":"tocsin","status":"firing","alerts":[{"status":"firing","labels":{"alertname":
        "PopDown","component":"voice","region":"ap-south-1, eu-west-1","severity":"critical","tenant":"acme,globex",
        "type":"pop.degraded"},"annotations":{"summary":"POP bom-1 down","description":"host bom-1.internal","public_title":
        "Calls fail"},"startsAt":"2026-11-23T10:00:00.123456789Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":
        "http://prom.internal/graph","fingerprint":"b1946ac92492d234"}],"groupLabels":{},"commonLabels":{},
        "commonAnnotations":{},"externalURL":"http://am.internal","version":"4","groupKey":"{}:{}","truncatedAlerts":0}"#;

    fn one(body: &str, defaults: &TokenDefaults) -> IntakeItem {
        testing::parse(FORMAT, body, defaults).unwrap().remove(0)
    }

    #[test]
    fn a_captured_notification_maps() {
        let mapped = one(CAPTURED, &TokenDefaults::default());
        let event = testing::event(&mapped);
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
        let first = one(CAPTURED, &TokenDefaults::default());
        let again =
            one(&CAPTURED.replace("POP bom-1 down", "POP bom-1 is down, 12 calls lost"), &TokenDefaults::default());
        assert_eq!(first.source_event_id, again.source_event_id);
        let resolved = CAPTURED
            .replacen("\"status\":\"firing\",\"labels\"", "\"status\":\"resolved\",\"labels\"", 1)
            .replace("0001-01-01T00:00:00Z", "2026-11-23T11:00:00Z");
        let resolved = one(&resolved, &TokenDefaults::default());
        assert_ne!(first.source_event_id, resolved.source_event_id);
        assert_eq!(testing::event(&resolved).status, Some(Status::Resolved));
    }

    #[test]
    fn an_alert_without_labels_gets_the_tokens_defaults() {
        let body = r#"{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"HighErrorRate"}}]}"#;
        let defaults = TokenDefaults {
            event_type: Some("api.outage".into()),
            tenant_ids: vec![TenantId::parse("acme").unwrap()],
            components: vec!["api".into()],
            regions: vec![],
        };
        let mapped = one(body, &defaults);
        let event = testing::event(&mapped);
        assert_eq!((event.event_type.as_str(), event.title.as_str()), ("api.outage", "HighErrorRate"));
        assert_eq!(event.tenant_ids, defaults.tenant_ids);
        assert_eq!(event.components, ["api"]);
        let silent = one(body, &TokenDefaults::default());
        let silent = testing::event(&silent);
        assert_eq!(silent.event_type, "HighErrorRate");
        assert!(silent.tenant_ids.is_empty() && !silent.platform, "tenants are never guessed");
    }

    #[test]
    fn a_star_means_every_tenant_and_invalid_names_are_listed() {
        let body = |tenant: &str| {
            format!(r#"{{"version":"4","alerts":[{{"status":"firing","labels":{{"tenant":"{tenant}"}}}}]}}"#)
        };
        assert!(one(&body("*"), &TokenDefaults::default()).addressees.platform);
        let bad = one(&body("Acme Inc,globex"), &TokenDefaults::default());
        assert_eq!(bad.addressees.invalid_tenants, ["Acme Inc"]);
        assert_eq!(bad.addressees.tenant_ids.len(), 1);
    }

    #[test]
    fn another_version_is_rejected() {
        let error = testing::parse(FORMAT, r#"{"version":"1","alerts":[]}"#, &TokenDefaults::default()).unwrap_err();
        assert_eq!(error[0].pointer, "/version");
    }

    #[test]
    fn alerts_that_alertmanager_left_out_notify_the_operators() {
        let body = CAPTURED.replace("\"truncatedAlerts\":0", "\"truncatedAlerts\":7");
        let defaults = TokenDefaults { tenant_ids: vec![TenantId::parse("acme").unwrap()], ..TokenDefaults::default() };
        let mapped = testing::parse(FORMAT, &body, &defaults).unwrap();
        let event = testing::event(&mapped[1]);
        assert_eq!((mapped.len(), event.event_type.as_str(), &event.tenant_ids), (2, "alerts.truncated", &vec![]));
        assert!(event.title.contains("7 alerts"));
    }

    #[test]
    fn no_tenant_sees_data_of_another() {
        let alert = |tenant: &str| serde_json::json!({"status": "firing", "labels": {"tenant": tenant, "pop": "bom-1"}, "fingerprint": tenant});
        let body = |tenants: &[&str]| {
            serde_json::json!({"version": "4", "receiver": "tocsin", "groupKey": "{tenant=\"acme\"}", "title": "globex burns",
                "commonLabels": {"customer": "globex"}, "alerts": tenants.iter().map(|name| alert(name)).collect::<Vec<_>>()})
            .to_string()
        };
        for shared in [&["acme", "globex"][..], &["acme,globex"], &["acme", "*"], &["acme", "Globex Inc."]] {
            for mapped in testing::parse(FORMAT, &body(shared), &TokenDefaults::default()).unwrap() {
                let event = testing::event(&mapped);
                let sent = serde_json::to_string(&(&event.labels, &event.details)).unwrap();
                assert!(!sent.contains("lobex") && !sent.contains("acme") && sent.contains("bom-1"), "{sent}");
                assert_eq!(event.details["notification"]["receiver"], "tocsin");
            }
        }
        let own = testing::parse(FORMAT, &body(&["acme", "acme"]), &TokenDefaults::default()).unwrap();
        assert_eq!(
            testing::event(&own[0]).details["notification"]["title"],
            "globex burns",
            "every alert is about acme"
        );
    }

    #[test]
    fn unknown_fields_are_kept_in_the_details() {
        let odd =
            CAPTURED.replacen("\"alerts\":[{", "\"odd\":{\"x\":1},\"alerts\":[{\"own\":[2],", 1).replace(",globex", "");
        let mapped = one(&odd, &TokenDefaults::default());
        let details = &testing::event(&mapped).details;
        assert_eq!((&details["own"][0], &details["notification"]["odd"]["x"]), (&2.into(), &1.into()));
    }

    proptest! {
        #[test]
        fn every_parsed_body_maps_to_a_valid_item(
            labels in proptest::collection::btree_map("[a-z]{1,8}|tenant|type|severity|component", ".{0,300}", 0..60),
            annotations in proptest::collection::btree_map("[a-z]{1,8}|summary|description", ".{0,20000}", 0..4),
        ) {
            let body = serde_json::json!({"version":"4","alerts":[{"status":"firing","labels":labels,"annotations":annotations}]});
            testing::check_valid(&one(&body.to_string(), &TokenDefaults::default()))?;
        }

        #[test]
        fn no_body_makes_it_panic(body in testing::any_json()) {
            for mapped in testing::parse(FORMAT, &body.to_string(), &TokenDefaults::default()).unwrap_or_default() {
                testing::check_valid(&mapped)?;
            }
        }
    }
}
