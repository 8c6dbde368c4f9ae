//! Prometheus Alertmanager's webhook, version 4 (`notify/webhook/webhook.go`, `template/template.go` of 0.34).
//!
//! `endsAt` is the zero time `0001-01-01T00:00:00Z` while an alert fires. Alertmanager retries after a 5xx until the next group interval,
//! but drops the notification after a 4xx, including 429. A receiver that sheds load must therefore answer 503.

use crate::intake::{
    Addressees, DropInFormat, EVENTS_MAX, IntakeItem, IntakeRequest, TENANT_FIELD, capped_dedup_key, https_links,
    resolve_event_type, split_list,
};
use crate::native::{or_token_default, parse_severity};
use crate::problem::FieldError;
use domain::event::{Event, Format, KeyDetail, shrink_details};
use domain::vocabulary::Status;
use jiff::Timestamp;
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

/// An alert of a notification. What it lacks is empty, and null is the same as absent.
#[derive(Debug, Default)]
struct Alert {
    is_resolved: bool,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    fingerprint: String,
    rest: Map<String, Value>,
    /// What was not as Alertmanager sends it, and how it was taken.
    warnings: Vec<String>,
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
    let mut rest: Map<String, Value> = crate::problem::parse_object(request.body).map_err(|error| vec![error])?;
    check_version(&rest, version).map_err(|error| vec![error])?;
    rest.remove("version");
    let alerts = match rest.remove("alerts") {
        Some(Value::Array(alerts)) => alerts,
        _ => return Err(vec![FieldError::new("/alerts", "must be a list of alerts")]),
    };
    if alerts.len() > EVENTS_MAX {
        return Err(vec![FieldError::new("/alerts", format!("must have at most {EVENTS_MAX} alerts; set max_alerts"))]);
    }
    let group_status = rest.get("status").cloned().unwrap_or_default();
    let alerts: Vec<Alert> = alerts.into_iter().map(|alert| Alert::read(alert, &group_status)).collect();
    // The notification's own fields are stored with every alert, so they must be small.
    if !same_tenant(&alerts, request) {
        rest.retain(|name, _| SHARED_FIELDS.contains(&name.as_str()));
    }
    shrink_details(&mut rest, NOTIFICATION_MAX);
    let mut mapped: Vec<IntakeItem> =
        alerts.into_iter().map(|alert| map_alert(alert, &rest, request, base_event)).collect();
    let cut = rest.get("truncatedAlerts").and_then(Value::as_u64).filter(|cut| *cut > 0);
    mapped.extend(cut.map(|cut| truncated_event(cut, &rest, base_event(&Map::new()))));
    Ok(mapped)
}

fn check_version(payload: &Map<String, Value>, expected: &str) -> Result<(), FieldError> {
    let given = match payload.get("version") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    if given == expected {
        return Ok(());
    }
    if !payload.contains_key("alerts")
        && ["evalMatches", "ruleName", "ruleId"].iter().any(|name| payload.contains_key(*name))
    {
        let detail = "this is a notification of Grafana's legacy alerting, which names no alerts and was removed in Grafana 11; \
                      migrate the rule to Grafana Alerting and send it by a webhook contact point";
        return Err(FieldError::new("", detail));
    }
    let detail = format!("must be \"{expected}\" on this path: Alertmanager sends \"4\", Grafana \"1\"; check the URL");
    Err(FieldError::new("/version", detail))
}

/// Whether every alert is about the same single tenant, or every alert is platform-wide.
fn same_tenant(alerts: &[Alert], request: &IntakeRequest<'_>) -> bool {
    let mut addressees = alerts.iter().map(|alert| alert.addressees(request));
    let Some(first) = addressees.next() else { return true };
    first.tenant_ids.len() + first.invalid_tenants.len() <= 1 && addressees.all(|other| other == first)
}

impl Alert {
    /// Reads an alert as it came. One that is odd is still an event, because its neighbors in the group must not be lost.
    fn read(given: Value, group_status: &Value) -> Self {
        let Value::Object(mut fields) = given else {
            let warnings = vec!["This alert is not a JSON object. It is kept in the details.".to_owned()];
            return Self { rest: Map::from_iter([("alert".to_owned(), given)]), warnings, ..Self::default() };
        };
        let mut warnings = Vec::new();
        let mut text = |fields: &mut Map<String, Value>, name: &str| match fields.remove(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(other) => {
                warnings.push(format!("`{name}` is not a text. It was read as one."));
                other.to_string()
            }
        };
        let status = text(&mut fields, "status");
        let starts_at = parse_time(&text(&mut fields, "startsAt"));
        let ends_at = parse_time(&text(&mut fields, "endsAt"));
        let fingerprint = text(&mut fields, "fingerprint").trim().to_owned();
        let status = if status.is_empty() { group_status.as_str().unwrap_or_default() } else { &status }.trim();
        let is_resolved = status.eq_ignore_ascii_case("resolved");
        if !is_resolved && !status.eq_ignore_ascii_case("firing") {
            warnings.push("`status` is neither firing nor resolved. The alert was read as firing.".to_owned());
        }
        let mut texts = |fields: &mut Map<String, Value>, name: &str| match fields.remove(name) {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(Value::Object(entries)) => entries
                .into_iter()
                .filter_map(|(name, value)| match value {
                    Value::Null => None,
                    Value::String(text) => Some((name, text)),
                    other => Some((name, other.to_string())),
                })
                .collect(),
            Some(other) => {
                warnings.push(format!("`{name}` is not a map of texts. It is kept in the details."));
                fields.insert(name.to_owned(), other);
                BTreeMap::new()
            }
        };
        let (labels, annotations) = (texts(&mut fields, "labels"), texts(&mut fields, "annotations"));
        Self { is_resolved, labels, annotations, starts_at, ends_at, fingerprint, rest: fields, warnings }
    }

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
    alert: Alert,
    payload: &Map<String, Value>,
    request: &IntakeRequest<'_>,
    base_event: &dyn Fn(&Map<String, Value>) -> Event,
) -> IntakeItem {
    let (label, label_list) = (|name: &str| alert.label(name), |name: &str| alert.label_list(name));
    let annotation = |name: &str| alert.annotations.get(name).filter(|text| !text.trim().is_empty());
    let name = label("alertname").unwrap_or("alert");
    let defaults = request.defaults;
    let (severity, severity_given) = parse_severity(label("severity"));
    let fingerprint = if alert.fingerprint.is_empty() {
        // Alertmanager always sends one; a hand-made payload without one is identified by its labels.
        let labels = alert.labels.iter().flat_map(|(name, value)| [name.clone(), value.clone()]);
        // Without labels: by what is the same when it is resolved. What is no alert at all is resolved by nobody.
        let odd = alert.rest.get("alert").or_else(|| alert.rest.get("labels")).map(Value::to_string);
        let fallback =
            [alert.rest.get("generatorURL"), payload.get("groupKey")].into_iter().flatten().map(Value::to_string);
        let fallback = fallback.chain(alert.annotations.get("summary").cloned()).chain(odd);
        let identity: Vec<String> = labels.chain(fallback.filter(|_| alert.labels.is_empty())).collect();
        domain::ids::short_hash(&identity.iter().map(String::as_str).collect::<Vec<_>>())
    } else {
        capped_dedup_key(&alert.fingerprint)
    };
    let event = base_event(&alert.rest);
    let mut details = event.details.clone();
    details.extend(alert.rest.clone());
    // What was no map of texts is in the rest under its own name.
    details.entry("annotations").or_insert_with(|| to_value(&alert.annotations));
    details.insert("notification".to_owned(), Value::Object(payload.clone()));
    // No tenant may see which other tenants are affected.
    let labels = alert.labels.iter().filter(|(name, _)| *name != TENANT_FIELD);
    let labels: BTreeMap<String, String> = labels.map(|(name, value)| (name.clone(), value.clone())).collect();
    let annotated_links = ["runbook_url", "dashboard_url"]
        .into_iter()
        .filter_map(|name| Some((annotation(name)?.as_str(), name.trim_end_matches("_url"))));
    let generator = alert.rest.get("generatorURL").and_then(Value::as_str).map(|href| (href, "source"));
    let own_links = https_links(annotated_links).into_iter().chain(event.links).chain(https_links(generator));
    let event = Event {
        event_type: resolve_event_type(label("type"), name, request),
        dedup_key: fingerprint.clone(),
        severity,
        severity_given,
        title: annotation("summary").cloned().unwrap_or_else(|| title(name, label("rulename"))),
        message: annotation("description").cloned().unwrap_or(event.message),
        public_title: annotation("public_title").cloned(),
        public_message: annotation("public_message").cloned(),
        status: alert.is_resolved.then_some(Status::Resolved),
        components: or_token_default(label_list("component"), &defaults.components),
        regions: or_token_default(label_list("region"), &defaults.regions),
        starts_at: alert.starts_at,
        key_details: event.key_details.into_iter().chain(label_details(&labels)).collect(),
        labels,
        links: own_links.collect(),
        details,
        warnings: alert.warnings.clone(),
        ..event
    };
    let status = if alert.is_resolved { "resolved" } else { "firing" };
    let optional_time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let ended_at = alert.ends_at.filter(|_| alert.is_resolved);
    let source_event_id = vec![fingerprint, status.to_owned(), optional_time(alert.starts_at), optional_time(ended_at)];
    IntakeItem::event(event, alert.addressees(request)).with_source_event_id(source_event_id)
}

/// The title of an alert without a summary. Grafana's alerts about missing data name the rule in a label of their own.
fn title(name: &str, rule: Option<&str>) -> String {
    rule.map_or_else(|| name.to_owned(), |rule| format!("{rule}: {name}"))
}

/// Labels that an alert shows elsewhere, or that say nothing about the target.
const LABELS_SHOWN_ELSEWHERE: [&str; 9] = [
    "alertname",
    "severity",
    "type",
    "component",
    "region",
    "rulename",
    "__alert_rule_uid__",
    "__alert_rule_namespace_uid__",
    "__grafana_autogenerated__",
];
/// Labels that tell one target from another, in the order in which readers look for them.
const TARGET_LABELS: [&str; 12] = [
    "instance",
    "host",
    "hostname",
    "node",
    "pod",
    "container",
    "namespace",
    "service",
    "job",
    "device",
    "cluster",
    "grafana_folder",
];

fn label_details(labels: &BTreeMap<String, String>) -> Vec<KeyDetail> {
    let targets = TARGET_LABELS.iter().filter_map(|name| Some((*name, labels.get(*name)?)));
    let others = labels.iter().map(|(name, value)| (name.as_str(), value));
    let others = others.filter(|(name, _)| !TARGET_LABELS.contains(name) && !LABELS_SHOWN_ELSEWHERE.contains(name));
    let name_of = |name: &str| if name == "grafana_folder" { "folder".to_owned() } else { name.to_owned() };
    targets.chain(others).map(|(name, value)| KeyDetail::new(&name_of(name), value)).collect()
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
    fn one_odd_alert_does_not_cost_its_neighbors() {
        let body = r#"{"version":4,"status":"firing","alerts":[
            {"status":"firing","labels":{"alertname":"Good"},"annotations":null,"startsAt":null,"fingerprint":null},
            {"labels":{"alertname":"Numbers","port":9100,"empty":null},"annotations":"none","endsAt":7,"fingerprint":12},
            {"status":"pending","labels":["a"]}, "text", null]}"#;
        let mapped = testing::parse(FORMAT, body, &TokenDefaults::default()).unwrap();
        let events: Vec<&Event> = mapped.iter().map(testing::event).collect();
        let titles: Vec<&str> = events.iter().map(|event| event.title.as_str()).collect();
        assert_eq!(titles, ["Good", "Numbers", "alert", "alert", "alert"]);
        assert_eq!((events[0].warnings.len(), &events[1].labels["port"]), (0, &"9100".to_owned()));
        assert_eq!((events[1].labels.len(), &events[1].details["annotations"]), (2, &Value::from("none")));
        assert_eq!(events[2].details["labels"], serde_json::json!(["a"]));
        assert!(events[2].warnings.iter().any(|warning| warning.contains("`status`")), "{:?}", events[2].warnings);
        assert_eq!(events[3].details["alert"], "text");
        let keys: std::collections::BTreeSet<&str> = events.iter().map(|event| event.dedup_key.as_str()).collect();
        assert_eq!(keys.len(), 5, "each is an incident of its own");
    }

    #[test]
    fn the_target_is_the_first_of_the_key_details() {
        let labels = serde_json::json!({"alertname": "InstanceDown", "severity": "critical", "env": "prod", "instance": "192.0.2.1:9100"});
        let body = serde_json::json!({"version": "4", "alerts": [{"status": "firing", "labels": labels}]}).to_string();
        let mapped = one(&body, &TokenDefaults::default());
        let details = &testing::event(&mapped).key_details;
        assert_eq!(details[..], [KeyDetail::new("instance", "192.0.2.1:9100"), KeyDetail::new("env", "prod")]);
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
