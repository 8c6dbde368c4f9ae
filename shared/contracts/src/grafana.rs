//! Grafana's alert webhook (unified alerting): Alertmanager's structure as version "1", with additional links and values
//! (grafana.com/docs/grafana/latest/alerting, webhook notifier).
//!
//! Grafana can sign its requests: the hexadecimal HMAC-SHA256 of the body, or of `timestamp:body` if a timestamp header is configured
//! (grafana/grafana#100960). The key is the token itself, so that there is only one secret to store.

use crate::intake::{DropInFormat, IntakeItem, IntakeRequest, Measurement, https_links, set_measurements};
use crate::problem::FieldError;
use domain::event::{Event, Format, KeyDetail};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Map, Value};
use sha2::Sha256;
use std::collections::BTreeMap;

/// The format of Grafana's webhook.
pub const FORMAT: DropInFormat = DropInFormat { name: "grafana", parse };
/// The header with the signature.
pub const SIGNATURE_HEADER: &str = "x-grafana-alerting-signature";
/// The header with the signature's time, if the contact point is configured to send it. Grafana has no default name for it.
pub const TIMESTAMP_HEADER: &str = "x-grafana-alerting-timestamp";
/// Maximum difference between a signature's time and ours, in seconds.
const TOLERANCE_SECONDS: i64 = 300;

fn parse(request: &IntakeRequest<'_>) -> Result<Vec<IntakeItem>, Vec<FieldError>> {
    crate::alertmanager::map_notification(request, "1", &base_event)
}

/// Builds an event from the fields that Grafana adds to Alertmanager's.
fn base_event(alert: &Map<String, Value>) -> Event {
    let pages =
        [("panelURL", "panel"), ("dashboardURL", "dashboard"), ("silenceURL", "silence"), ("imageURL", "image")];
    let pages = pages.into_iter().filter_map(|(name, text)| Some((alert.get(name)?.as_str()?, text)));
    let values = alert.get("values").and_then(Value::as_object).cloned().unwrap_or_default();
    let shown: Vec<String> = values.iter().map(|(name, value)| format!("{name} = {}", plain_text(value))).collect();
    let mut event = Event {
        key_details: vec![KeyDetail::new("value", shown.join(", "))],
        message: alert.get("valueString").and_then(Value::as_str).unwrap_or_default().to_owned(),
        links: https_links(pages),
        ..Event::blank(Format::Grafana, "grafana")
    };
    let numbers = values.iter().filter_map(|(name, value)| Some((name.clone(), Measurement::of(value)?)));
    set_measurements(&mut event, numbers.collect());
    event
}

/// A JSON value without the quotes of a text.
fn plain_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Verifies the signature, if there is one.
///
/// # Errors
/// What is wrong with a header and how to fix it.
pub fn verify_signature(
    headers: &BTreeMap<String, String>,
    body: &[u8],
    token: &str,
    now: Timestamp,
) -> Result<(), FieldError> {
    let Some(given) = headers.get(SIGNATURE_HEADER) else { return Ok(()) };
    let header_error = |header: &str, detail: &str| FieldError::new(format!("header:{header}"), detail);
    let mut mac = <Hmac<Sha256>>::new_from_slice(token.as_bytes())
        .map_err(|_| header_error("Authorization", "is required to verify the signature; send the token"))?;
    if let Some(at) = headers.get(TIMESTAMP_HEADER) {
        let seconds: i64 =
            at.trim().parse().map_err(|_| header_error(TIMESTAMP_HEADER, "must be a Unix time in seconds"))?;
        if (now.as_second() - seconds).abs() > TOLERANCE_SECONDS {
            return Err(header_error(
                TIMESTAMP_HEADER,
                "differs from our time by more than five minutes; correct the clock of the Grafana server",
            ));
        }
        mac.update(at.as_bytes());
        mac.update(b":");
    }
    mac.update(body);
    let digits = given.trim().as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
    let remedy = "is not the HMAC-SHA256 of this body; set the contact point's HMAC secret to the token";
    // Compares in constant time.
    mac.verify_slice(&bytes.unwrap_or_default()).map_err(|_| header_error(SIGNATURE_HEADER, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::{TokenDefaults, testing};
    use domain::vocabulary::Status;
    use proptest::prelude::*;

    /// As Grafana 11 sends it (grafana.com/docs, "Webhook notifier", body).
    const CAPTURED: &str = r#"{"receiver":"My Super Webhook","status":"firing","orgId":1,"alerts":[{"status":"firing","labels":
        {"alertname":"High memory usage","team":"blue","zone":"us-1","type":"api.outage","tenant":"acme"},"annotations":
        {"description":"The system has high memory usage","runbook_url":"https://myrunbook.com/runbook/1234",
        "summary":"This alert was triggered for zone us-1"},"startsAt":"2021-10-12T09:51:03.157076+02:00",
        "endsAt":"0001-01-01T00:00:00Z","generatorURL":"https://play.grafana.org/alerting/1afz29v7z/edit",
        "fingerprint":"c6eadffa33fcdf37","silenceURL":"https://play.grafana.org/alerting/silence/new",
        "dashboardURL":"","panelURL":"https://play.grafana.org/d/x?viewPanel=2","values":{"B":44.23943737541908,"C":1},
        "valueString":"[ var='B' labels={} value=44.2 ]"}],"groupLabels":{},"commonLabels":{"team":"blue"},"commonAnnotations":{},
        "externalURL":"https://play.grafana.org/","version":"1","groupKey":"{}:{}","truncatedAlerts":0,
        "title":"[FIRING:2]  (blue)","state":"alerting","message":"**Firing**"}"#;

    #[test]
    fn a_captured_notification_maps() {
        let mapped = testing::parse(FORMAT, CAPTURED, &TokenDefaults::default()).unwrap().remove(0);
        let event = testing::event(&mapped);
        assert_eq!((event.source.as_str(), event.event_type.as_str()), ("grafana", "api.outage"));
        assert_eq!(event.title, "This alert was triggered for zone us-1");
        assert_eq!(event.message, "The system has high memory usage");
        assert_eq!(event.measurements["C"], 1.0);
        let links: Vec<&str> = event.links.iter().map(|link| link.text.as_str()).collect();
        assert_eq!(links, ["runbook", "panel", "silence", "source"]);
        assert_eq!(event.details["notification"]["state"], "alerting");
        assert!(event.details["valueString"].is_string());
        let resolved = CAPTURED.replacen("[{\"status\":\"firing\"", "[{\"status\":\"resolved\"", 1);
        let mapped = testing::parse(FORMAT, &resolved, &TokenDefaults::default()).unwrap().remove(0);
        assert_eq!(testing::event(&mapped).status, Some(Status::Resolved));
        let error = testing::parse(
            FORMAT,
            &CAPTURED.replace("\"version\":\"1\"", "\"version\":\"4\""),
            &TokenDefaults::default(),
        );
        assert_eq!(error.unwrap_err()[0].pointer, "/version");
    }

    #[test]
    fn an_alert_without_annotations_names_rule_folder_and_values() {
        let body = r#"{"version":"1","alerts":[{"status":"firing","labels":{"alertname":"DatasourceNoData","rulename":"High memory",
            "grafana_folder":"Ops","host":"db-1"},"annotations":{},"values":{"B":1.5,"C":null}}]}"#;
        let mapped = testing::parse(FORMAT, body, &TokenDefaults::default()).unwrap().remove(0);
        let event = testing::event(&mapped);
        assert_eq!(event.title, "High memory: DatasourceNoData");
        let details: Vec<(&str, &str)> =
            event.key_details.iter().map(|detail| (detail.name.as_str(), detail.value.as_str())).collect();
        assert_eq!(details, [("value", "B = 1.5, C = null"), ("host", "db-1"), ("folder", "Ops")]);
    }

    #[test]
    fn legacy_alerting_is_refused_by_its_name() {
        let body = r#"{"dashboardId":1,"evalMatches":[{"value":1,"metric":"x","tags":{}}],"ruleId":1,"ruleName":"n","state":"alerting",
            "title":"[Alerting] n"}"#;
        let error = testing::parse(FORMAT, body, &TokenDefaults::default()).unwrap_err().remove(0);
        assert!(error.detail.contains("legacy alerting") && error.detail.contains("migrate"), "{error:?}");
    }

    fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_signature_is_valid_only_for_its_body_token_and_time() {
        let now = Timestamp::from_second(1_700_000_100).unwrap();
        // printf '{"a":1}' | openssl dgst -sha256 -hmac secret
        let known = "aa9e2e3575f5d7098b6caccd790888c36d5fdb63342a73bada2d6a51747a8494";
        assert!(verify_signature(&headers(&[(SIGNATURE_HEADER, known)]), br#"{"a":1}"#, "secret", now).is_ok());
        assert!(verify_signature(&headers(&[]), b"{}", "secret", now).is_ok(), "signing is optional");
        let signed = |text: &str| {
            let mac = <Hmac<Sha256>>::new_from_slice(b"secret").unwrap().chain_update(text).finalize().into_bytes();
            mac.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let body = r#"{"a":1}"#;
        let good = headers(&[(SIGNATURE_HEADER, &signed(body))]);
        assert!(verify_signature(&good, body.as_bytes(), "secret", now).is_ok());
        assert!(verify_signature(&good, br#"{"a":2}"#, "secret", now).is_err());
        assert!(verify_signature(&good, body.as_bytes(), "other", now).is_err());
        let stamped =
            |at: &str| headers(&[(SIGNATURE_HEADER, &signed(&format!("{at}:{body}"))), (TIMESTAMP_HEADER, at)]);
        assert!(verify_signature(&stamped("1700000000"), body.as_bytes(), "secret", now).is_ok());
        let late = verify_signature(&stamped("1699990000"), body.as_bytes(), "secret", now).unwrap_err();
        assert_eq!(late.pointer, format!("header:{TIMESTAMP_HEADER}"));
        assert!(verify_signature(&stamped("yesterday"), body.as_bytes(), "secret", now).is_err());
        for odd in ["", "zz", "abc", "é"] {
            assert!(verify_signature(&headers(&[(SIGNATURE_HEADER, odd)]), body.as_bytes(), "secret", now).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in testing::any_json()) {
            for mapped in testing::parse(FORMAT, &body.to_string(), &TokenDefaults::default()).unwrap_or_default() {
                testing::check_valid(&mapped)?;
            }
        }
    }
}
