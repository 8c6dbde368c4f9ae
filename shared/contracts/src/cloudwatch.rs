//! CloudWatch alarms, as an SNS topic delivers them (the message of the notification) and as EventBridge does (`CloudWatch
//! Alarm State Change`; docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html).
//!
//! ALARM opens an incident, OK resolves it, INSUFFICIENT_DATA is a note. Other events of an alarm, such as the change of its
//! configuration, carry its state too, but change no incident; a deletion is an update, because nothing else will resolve the incident. A JSON object in the alarm's description sets type, tenant,
//! component, region and severity; any other description is the message. A state change that arrives through both SNS and EventBridge is
//! one event.

use crate::intake::{
    Addressees, DropInFormat, IntakeContent, IntakeItem, IntakeRequest, TENANT_FIELD, all_key_details,
    capped_dedup_key, resolve_event_type, string_list, text_field,
};
use crate::native::{or_token_default, parse_severity};
use crate::problem::FieldError;
use crate::queue::Note;
use domain::event::{Event, Format, KeyDetail};
use domain::vocabulary::Status;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The format of CloudWatch alarms.
pub const FORMAT: DropInFormat = DropInFormat { name: "cloudwatch", parse };
/// The event type of an alarm that sets none.
const ALARM: &str = "cloudwatch.alarm";
const SOURCE: &str = "cloudwatch";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum State {
    Ok,
    Alarm,
    InsufficientData,
}

/// The message of an SNS notification.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Notification {
    alarm_name: String,
    #[serde(default)]
    alarm_arn: Option<String>,
    #[serde(default)]
    alarm_description: Option<String>,
    new_state_value: State,
    #[serde(default)]
    new_state_reason: Option<String>,
    #[serde(default)]
    state_change_time: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// An alarm state change as EventBridge sends it.
#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(default)]
    resources: Vec<String>,
    detail: Detail,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    alarm_name: String,
    state: DetailState,
    #[serde(default)]
    configuration: Configuration,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct DetailState {
    value: State,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    description: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// What both SNS and EventBridge report.
struct Alarm {
    name: String,
    arn: Option<String>,
    description: Option<String>,
    state: State,
    reason: Option<String>,
    at: Option<String>,
    /// Whether a composite alarm's suppressor is active. EventBridge reports the state change nevertheless.
    suppressed: bool,
    rest: Map<String, Value>,
}

impl From<Notification> for Alarm {
    fn from(notification: Notification) -> Self {
        Self {
            name: notification.alarm_name,
            arn: notification.alarm_arn,
            description: notification.alarm_description,
            state: notification.new_state_value,
            reason: notification.new_state_reason,
            at: notification.state_change_time,
            suppressed: false,
            rest: notification.rest,
        }
    }
}

impl From<Envelope> for Alarm {
    fn from(envelope: Envelope) -> Self {
        let suppressed = envelope.detail.state.rest.get("actionsSuppressedBy").is_some_and(|by| !by.is_null());
        let mut rest = envelope.rest;
        rest.extend(envelope.detail.rest);
        rest.insert("state".to_owned(), Value::Object(envelope.detail.state.rest));
        rest.insert("configuration".to_owned(), Value::Object(envelope.detail.configuration.rest));
        Self {
            name: envelope.detail.alarm_name,
            arn: envelope.resources.into_iter().next(),
            description: envelope.detail.configuration.description,
            state: envelope.detail.state.value,
            reason: envelope.detail.state.reason,
            at: envelope.detail.state.timestamp,
            suppressed,
            rest,
        }
    }
}

fn parse(request: &IntakeRequest<'_>) -> Result<Vec<IntakeItem>, Vec<FieldError>> {
    let mut shape: Value = crate::problem::parse_json(request.body).map_err(|error| vec![error])?;
    // A subscription without raw delivery wraps the message.
    if shape.get("Type").and_then(Value::as_str) == Some("Notification")
        && let Some(message) = shape.get("Message").and_then(Value::as_str)
    {
        shape = crate::problem::parse_json(message.as_bytes())
            .map_err(|error| vec![FieldError { pointer: format!("/Message{}", error.pointer), ..error }])?;
    }
    if shape.get("Type").and_then(Value::as_str) == Some("SubscriptionConfirmation") {
        let detail = "this is a request of SNS to confirm a subscription, not an alarm; subscribe the stack's IntakeQueue to the topic \
                      instead, which needs no confirmation";
        return Err(vec![FieldError::new("/Type", detail)]);
    }
    // An alarm's Lambda action has the alarm under a name of its own.
    if let Some(fields) = shape.as_object_mut()
        && let Some(alarm) = fields.remove("alarmData")
    {
        let resources = fields.remove("alarmArn").filter(Value::is_string).into_iter().collect();
        fields.extend([("detail".to_owned(), alarm), ("resources".to_owned(), Value::Array(resources))]);
    }
    let body = shape.to_string();
    if let Some(note) = note_on_configuration(&shape, request) {
        return Ok(vec![note]);
    }
    let alarm = if shape.get("detail").is_some() {
        if shape.get("source").and_then(Value::as_str) != Some("aws.cloudwatch") {
            return Err(vec![FieldError::new(
                "/source",
                "must be aws.cloudwatch: this path only accepts CloudWatch alarms",
            )]);
        }
        crate::problem::parse_json::<Envelope>(body.as_bytes()).map(Alarm::from)
    } else {
        crate::problem::parse_json::<Notification>(body.as_bytes()).map(Alarm::from)
    };
    let alarm = alarm.map_err(|error| vec![error])?;
    if alarm.name.trim().is_empty() {
        return Err(vec![FieldError::new("/AlarmName", "must not be empty")]);
    }
    Ok(vec![map(alarm, request)])
}

/// The detail type of EventBridge's events about a change of configuration (AWS's user guide, "Alarm events and EventBridge").
const CONFIGURATION_CHANGE: &str = "CloudWatch Alarm Configuration Change";

/// Maps an event of EventBridge about an alarm that is no change of its state: it was created, updated or deleted.
fn note_on_configuration(event: &Value, request: &IntakeRequest<'_>) -> Option<IntakeItem> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    if text("/detail-type") != Some(CONFIGURATION_CHANGE) || text("/source") != Some("aws.cloudwatch") {
        return None;
    }
    let name = text("/detail/alarmName").filter(|name| !name.trim().is_empty())?;
    let is_deleted = text("/detail/operation") == Some("delete");
    let message = if is_deleted {
        "The alarm was deleted in CloudWatch, which will not report the end of this incident. Resolve the incident when it is over."
            .to_owned()
    } else {
        "The alarm's configuration changed in CloudWatch; its state did not.".to_owned()
    };
    let note = Note {
        source: SOURCE.to_owned(),
        dedup_key: capped_dedup_key(text("/resources/0").unwrap_or(name)),
        message,
        notify: is_deleted,
        ..Note::default()
    };
    let fields = text("/detail/configuration/description").and_then(|text| crate::json::parse_map(text.as_bytes()));
    let tenants = fields.as_ref().and_then(|fields| fields.get(TENANT_FIELD));
    let item = IntakeItem::note(note, Addressees::parse(string_list(tenants), request.defaults));
    let source_event_id = text("/id").map(|id| vec!["eventbridge".to_owned(), id.to_owned()]);
    Some(IntakeItem { index_dedup_key: true, source_event_id, ..item })
}

/// What tells one alarm's target from another's: the metric with its dimensions, the reason and the region. The account is the
/// operators' own, so it is left to the details.
fn key_details(alarm: &Alarm, has_description: bool) -> Vec<KeyDetail> {
    let rest = Value::Object(alarm.rest.clone());
    let text = |pointer: &str| rest.pointer(pointer).and_then(Value::as_str);
    let metric = "/configuration/metrics/0/metricStat/metric";
    let names = text("/Trigger/Namespace").zip(text("/Trigger/MetricName"));
    let names = names.or_else(|| text(&format!("{metric}/namespace")).zip(text(&format!("{metric}/name"))));
    let mut details: Vec<KeyDetail> =
        names.map(|(namespace, name)| KeyDetail::new("metric", format!("{namespace} {name}"))).into_iter().collect();
    for dimension in rest.pointer("/Trigger/Dimensions").and_then(Value::as_array).into_iter().flatten() {
        let field = |name: &str| dimension.get(name).and_then(Value::as_str).unwrap_or_default();
        details.push(KeyDetail::new(field("name"), field("value")));
    }
    if let Some(Value::Object(dimensions)) = rest.pointer(&format!("{metric}/dimensions")) {
        details.extend(all_key_details(dimensions, &[]));
    }
    if has_description {
        details.extend(alarm.reason.as_deref().map(|reason| KeyDetail::new("reason", reason)));
    }
    let region = text("/Region").or_else(|| text("/region"));
    details.extend(region.map(|region| KeyDetail::new("region", region)));
    details
}

fn map(alarm: Alarm, request: &IntakeRequest<'_>) -> IntakeItem {
    let json_fields = alarm.description.as_deref().and_then(|text| crate::json::parse_map(text.as_bytes()));
    let has_json_description = json_fields.is_some();
    let mut fields = json_fields.unwrap_or_default();
    // The tenants are parsed and then removed: no tenant may see which others are affected.
    let addressees = Addressees::parse(string_list(fields.remove(TENANT_FIELD).as_ref()), request.defaults);
    // The ARN contains account and region, which the name does not. Only a hand-made notification has no ARN.
    let key = capped_dedup_key(alarm.arn.as_deref().filter(|arn| !arn.is_empty()).unwrap_or(&alarm.name));
    let at = alarm.at.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    let state = match alarm.state {
        State::Ok => "OK",
        State::Alarm => "ALARM",
        State::InsufficientData => "INSUFFICIENT_DATA",
    };
    let reason = alarm.reason.clone().unwrap_or_default();
    let source_event_id = at.map(|at| vec![key.clone(), state.to_owned(), at.to_string()]);
    let mapped = if alarm.state == State::InsufficientData || (alarm.suppressed && alarm.state == State::Alarm) {
        let why = if alarm.suppressed {
            "The alarm's actions are suppressed."
        } else {
            "CloudWatch has no data for this alarm."
        };
        let note =
            Note { source: SOURCE.to_owned(), dedup_key: key, message: format!("{why} {reason}"), ..Note::default() };
        IntakeItem {
            content: IntakeContent::Note(note),
            ..IntakeItem::event(Event::blank(Format::CloudWatch, SOURCE), addressees)
        }
    } else {
        let (severity, severity_given) = parse_severity(text_field(&fields, "severity"));
        let plain_description =
            alarm.description.clone().filter(|text| !has_json_description && !text.trim().is_empty());
        let key_details = key_details(&alarm, plain_description.is_some() || text_field(&fields, "message").is_some());
        let description =
            if has_json_description { Value::Object(fields.clone()) } else { Value::from(alarm.description) };
        let mut details = alarm.rest;
        details.insert("alarm_name".to_owned(), Value::from(alarm.name.clone()));
        details.insert("description".to_owned(), description);
        details.insert("reason".to_owned(), Value::from(reason.clone()));
        let event = Event {
            event_type: resolve_event_type(text_field(&fields, "type"), ALARM, request),
            dedup_key: key,
            severity,
            severity_given,
            title: text_field(&fields, "title").unwrap_or(&alarm.name).to_owned(),
            message: text_field(&fields, "message").map(str::to_owned).or(plain_description).unwrap_or(reason),
            public_title: text_field(&fields, "public_title").map(str::to_owned),
            public_message: text_field(&fields, "public_message").map(str::to_owned),
            status: (alarm.state == State::Ok).then_some(Status::Resolved),
            components: or_token_default(string_list(fields.get("component")), &request.defaults.components),
            regions: or_token_default(string_list(fields.get("region")), &request.defaults.regions),
            // The time of an OK is not the time at which the incident began.
            starts_at: at.filter(|_| alarm.state == State::Alarm),
            as_of: at,
            key_details,
            details,
            ..Event::blank(Format::CloudWatch, SOURCE)
        };
        IntakeItem::event(event, addressees)
    };
    // An OK reaches everybody who was notified of the ALARM, even if the description changed in between.
    IntakeItem { source_event_id, index_dedup_key: true, ..mapped }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::{TokenDefaults, testing};
    use domain::vocabulary::Severity;
    use proptest::prelude::*;

    /// As SNS delivers it (field set of third-party fixtures, facts of AWS's console).
    const NOTIFICATION: &str = r#"{"AlarmName":"pop-bom-1 5xx","AlarmDescription":
        "{\"type\":\"api.outage\",\"tenant\":[\"acme\",\"globex\"],\"component\":\"voice\",\"severity\":\"critical\"}",
        "AWSAccountId":"123456789012","AlarmConfigurationUpdatedTimestamp":"2026-11-01T00:00:00.000+0000","NewStateValue":"ALARM",
        "NewStateReason":"Threshold Crossed: 1 datapoint (10.0) was greater than the threshold (1.0).","StateChangeTime":
        "2026-11-23T10:00:00.985+0000","Region":"Asia Pacific (Mumbai)","AlarmArn":
        "arn:aws:cloudwatch:ap-south-1:123456789012:alarm:pop-bom-1 5xx","OldStateValue":"OK","OKActions":[],"AlarmActions":[],
        "InsufficientDataActions":[],"Trigger":{"MetricName":"5XXError","Namespace":"AWS/ApiGateway","StatisticType":"Statistic",
        "Statistic":"SUM","Unit":null,"Dimensions":[{"value":"api","name":"ApiName"}],"Period":60}}"#;

    /// The same change of state as EventBridge delivers it (AWS's user guide).
    const EVENT: &str = r#"{"version":"0","id":"c4c1c1c9-6542-e61b-6ef0-8c4d36933a92","detail-type":
        "CloudWatch Alarm State Change","source":"aws.cloudwatch","account":"123456789012","time":"2026-11-23T10:00:01Z","region":
        "ap-south-1","resources":["arn:aws:cloudwatch:ap-south-1:123456789012:alarm:pop-bom-1 5xx"],"detail":{"alarmName":
        "pop-bom-1 5xx","configuration":{"description":
        "{\"type\":\"api.outage\",\"tenant\":\"acme,globex\",\"component\":\"voice\",\"severity\":\"critical\"}","metrics":[]},
        "previousState":{"reason":"","timestamp":"2026-11-23T09:00:00.000+0000","value":"OK"},"state":{"reason":
        "Threshold Crossed: 1 datapoint (10.0) was greater than the threshold (1.0).","reasonData":"{}","timestamp":
        "2026-11-23T10:00:00.985+0000","value":"ALARM"}}}"#;

    fn one(body: &str) -> IntakeItem {
        testing::parse(FORMAT, body, &TokenDefaults::default()).unwrap().remove(0)
    }

    #[test]
    fn a_state_change_through_sns_and_eventbridge_is_one_event() {
        let (topic, bridge) = (one(NOTIFICATION), one(EVENT));
        assert!(topic.source_event_id.is_some());
        assert_eq!(topic.source_event_id, bridge.source_event_id);
        assert_eq!(topic.content.source_and_dedup_key(), bridge.content.source_and_dedup_key());
        let event = testing::event(&topic);
        assert_eq!((event.event_type.as_str(), event.severity), ("api.outage", Severity::Critical));
        assert_eq!((event.title.as_str(), event.components.as_slice()), ("pop-bom-1 5xx", &["voice".to_owned()][..]));
        assert_eq!(event.tenant_ids.len(), 2);
        assert_eq!(event.starts_at.unwrap().to_string(), "2026-11-23T10:00:00.985Z");
        assert!(event.message.starts_with("Threshold Crossed"));
        assert_eq!(event.details["Trigger"]["Namespace"], "AWS/ApiGateway");
        assert_eq!(event.details["description"]["component"], "voice");
        assert!(
            !serde_json::to_string(&event.details).unwrap().contains("globex"),
            "a tenant does not see the other tenants"
        );
        let other = testing::event(&bridge);
        assert_eq!(
            (&other.title, &other.message, &other.tenant_ids),
            (&event.title, &event.message, &event.tenant_ids)
        );
        assert_eq!(other.details["previousState"]["value"], "OK");
    }

    #[test]
    fn ok_resolves_and_insufficient_data_is_a_note_without_notification() {
        let resolved = one(&NOTIFICATION.replacen("\"ALARM\"", "\"OK\"", 1));
        assert_eq!(testing::event(&resolved).status, Some(Status::Resolved));
        assert_eq!(resolved.content.source_and_dedup_key(), one(NOTIFICATION).content.source_and_dedup_key());
        let silent = one(&EVENT.replacen("\"value\":\"ALARM\"", "\"value\":\"INSUFFICIENT_DATA\"", 1));
        let note = testing::note(&silent);
        assert!(!note.notify && note.status.is_none());
        assert_eq!(silent.addressees.tenant_ids.len(), 2);
    }

    #[test]
    fn a_suppressed_alarm_is_a_note() {
        let quiet = EVENT.replacen("\"state\":{", "\"state\":{\"actionsSuppressedBy\":\"WaitPeriod\",", 1);
        assert!(!testing::note(&one(&quiet)).notify);
        let resolved = quiet.replacen("\"value\":\"ALARM\"", "\"value\":\"OK\"", 1);
        assert_eq!(testing::event(&one(&resolved)).status, Some(Status::Resolved), "a resolve always counts");
    }

    #[test]
    fn a_changed_configuration_changes_no_state() {
        let changed = |operation: &str| {
            EVENT.replace("CloudWatch Alarm State Change", "CloudWatch Alarm Configuration Change").replacen(
                "\"detail\":{",
                &format!("\"detail\":{{\"operation\":\"{operation}\","),
                1,
            )
        };
        for (operation, notify) in [("create", false), ("update", false), ("delete", true)] {
            let mapped = one(&changed(operation));
            let note = testing::note(&mapped);
            assert_eq!((note.status, note.notify), (None, notify), "{operation}");
            assert_eq!(mapped.content.source_and_dedup_key(), one(EVENT).content.source_and_dedup_key());
            assert_eq!(mapped.addressees.tenant_ids.len(), 2);
        }
    }

    #[test]
    fn a_wrapped_notification_and_a_lambda_action_are_alarms() {
        let wrapped =
            serde_json::json!({"Type": "Notification", "TopicArn": "arn:x", "Message": NOTIFICATION}).to_string();
        assert_eq!(one(&wrapped), one(NOTIFICATION));
        let event: Value = serde_json::from_str(EVENT).unwrap();
        let action = serde_json::json!({"source": "aws.cloudwatch", "alarmArn": event["resources"][0], "alarmData": event["detail"],
            "region": "ap-south-1"});
        assert_eq!(one(&action.to_string()).source_event_id, one(EVENT).source_event_id);
        let confirmation = r#"{"Type":"SubscriptionConfirmation","Message":"You have chosen"}"#;
        let error = testing::parse(FORMAT, confirmation, &TokenDefaults::default()).unwrap_err().remove(0);
        assert!(error.detail.contains("IntakeQueue"), "{error:?}");
    }

    #[test]
    fn the_metric_is_among_the_key_details() {
        let names = |body: &str| {
            let mapped = one(body);
            testing::event(&mapped)
                .key_details
                .iter()
                .map(|detail| format!("{}={}", detail.name, detail.value))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(NOTIFICATION),
            ["metric=AWS/ApiGateway 5XXError", "ApiName=api", "region=Asia Pacific (Mumbai)"]
        );
    }

    #[test]
    fn a_plain_description_is_the_message_and_sets_no_tenants() {
        let plain =
            r#"{"AlarmName":"cpu","AlarmDescription":"The CPU is hot.","NewStateValue":"ALARM","NewStateReason":"x"}"#;
        let mapped = one(plain);
        let event = testing::event(&mapped);
        assert_eq!((event.message.as_str(), event.event_type.as_str()), ("The CPU is hot.", "cloudwatch.alarm"));
        assert_eq!((event.dedup_key.as_str(), &mapped.source_event_id), ("cpu", &None));
        assert_eq!(mapped.addressees, Addressees::default());
    }

    #[test]
    fn errors_name_the_field_of_a_body_that_is_not_an_alarm() {
        let pointer =
            |body: &str| testing::parse(FORMAT, body, &TokenDefaults::default()).unwrap_err().remove(0).pointer;
        assert_eq!(pointer(&EVENT.replace("aws.cloudwatch", "aws.ec2")), "/source");
        assert_eq!(pointer(&EVENT.replacen("\"value\":\"ALARM\"", "\"value\":\"BAD\"", 1)), "/detail/state/value");
        assert_eq!(pointer(&NOTIFICATION.replacen("\"ALARM\"", "7", 1)), "/NewStateValue");
        assert_eq!(pointer(r#"{"AlarmName":" ","NewStateValue":"OK"}"#), "/AlarmName");
        assert_eq!(pointer("{}"), "/AlarmName");
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in testing::any_json()) {
            for mapped in testing::parse(FORMAT, &body.to_string(), &TokenDefaults::default()).unwrap_or_default() {
                testing::check_valid(&mapped)?;
            }
        }

        #[test]
        fn every_parsed_body_maps_to_a_valid_item(name in ".{1,2000}", description in ".{0,20000}", state in "OK|ALARM|INSUFFICIENT_DATA") {
            let body = serde_json::json!({"AlarmName": name, "AlarmDescription": description, "NewStateValue": state});
            for mapped in testing::parse(FORMAT, &body.to_string(), &TokenDefaults::default()).unwrap_or_default() {
                testing::check_valid(&mapped)?;
            }
        }
    }
}
