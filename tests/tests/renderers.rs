//! What passes the gate is rendered so that parsers of other makers read it: the inputs of other people's bug reports
//! (`tests/foreign/channels.json`), and any text at all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by a panic"
)]

use contracts::intake::TokenDefaults;
use contracts::{native, slack, teams, webhook};
use domain::alert::{Alert, NotificationReason};
use domain::classification::RuleMatch;
use domain::ids::{Scope, TenantId};
use domain::incident::{Incident, Update, simulate_opening};
use domain::render::{self, AlertLinks};
use domain::status::{PublishedIncident, PublishedUpdate};
use domain::tenant::{ContentLevel, Email, Phone};
use domain::vocabulary::{Kind, Role};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use status_page::feed;
use status_page::page::IncidentTimeline;
use tests::foreign::{ChannelCase, channel_cases};

fn now() -> Timestamp {
    "2026-11-29T12:00:00Z".parse().unwrap()
}

/// Posts the texts as a public maintenance, and returns what it opens.
fn open(texts: &str) -> Option<(Incident, Update)> {
    let mut body: Map<String, Value> = contracts::json::parse_map(texts.as_bytes()).unwrap();
    for (name, value) in [("source", json!("s")), ("type", json!("maintenance.announced")), ("title", json!("t"))] {
        body.entry(name).or_insert(value);
    }
    body.insert("tenant_ids".into(), json!(["acme"]));
    body.insert("public".into(), json!(true));
    body.insert("starts_at".into(), json!("2026-12-01T12:00:00Z"));
    body.insert("ends_at".into(), json!("2026-12-01T14:00:00Z"));
    // The given texts stay as they came: the gate is what is tried.
    let text = Value::Object(body).to_string();
    let event = native::parse_event(text.as_bytes(), &TokenDefaults::default(), "key").ok()?;
    let rule = RuleMatch {
        category: None,
        kind: Kind::Maintenance,
        rule: "r".into(),
        public: true,
        public_sentence: "Maintenance".into(),
        advice: String::new(),
        low_balance: false,
        warnings: vec![],
    };
    Some(simulate_opening(&event, &rule, &Scope::Platform, now()))
}

fn alert(opened: &(Incident, Update)) -> Alert {
    Alert::new(&TenantId::parse("acme").unwrap(), "Europe/Berlin", ContentLevel::Full, &opened.0, &opened.1)
}

fn why() -> NotificationReason {
    NotificationReason { role: Some(Role::OrgAdmin), held: None }
}

fn links() -> AlertLinks {
    AlertLinks {
        incident_url: "https://s.example.com/i".into(),
        unsubscribe_url: Some("https://s.example.com/u?t=1".into()),
        stop_url: None,
    }
}

fn listed(opened: &(Incident, Update)) -> Vec<IncidentTimeline> {
    let (incident, update) = opened;
    let scope = incident.public_scope();
    let published = PublishedIncident {
        id: incident.id.clone(),
        title: incident.public_title.clone(),
        kind: incident.kind,
        status: incident.status,
        severity: incident.severity,
        components: scope.components,
        regions: scope.regions,
        started_at: incident.started_at,
        updated_at: now(),
        resolved_at: None,
        maintenance: incident.maintenance,
        covered_by: None,
    };
    let message = update.public_message.clone();
    let timeline = vec![PublishedUpdate { opened_at: None, number: 1, at: now(), status: update.status, message }];
    vec![IncidentTimeline { incident: published, timeline, truncated: false }]
}

/// Every text of a JSON value, each on a line.
fn texts_of(value: &tinyjson::JsonValue, out: &mut Vec<String>) {
    match value {
        tinyjson::JsonValue::String(text) => out.push(text.clone()),
        tinyjson::JsonValue::Array(entries) => entries.iter().for_each(|entry| texts_of(entry, out)),
        tinyjson::JsonValue::Object(entries) => entries.values().for_each(|entry| texts_of(entry, out)),
        _ => {}
    }
}

/// The texts of a JSON message, as a parser of another maker reads them.
fn read_json(message: &Value) -> Vec<String> {
    let parsed: tinyjson::JsonValue = message.to_string().parse().unwrap();
    let mut texts = Vec::new();
    texts_of(&parsed, &mut texts);
    texts
}

/// A Slack message as its reader sees it. Checks Slack's limits and that nothing of a source is markup.
fn read_slack(alert: &Alert) -> String {
    let message = slack::build_message(alert, &why(), &links());
    for block in message["blocks"].as_array().unwrap() {
        let text = block.pointer("/text/text").and_then(Value::as_str).unwrap_or("x").chars().count();
        let most = if block["type"] == "header" { 150 } else { 3_000 };
        assert!((1..=most).contains(&text), "{text} characters in a {}", block["type"]);
    }
    let texts = read_json(&message).join("\n");
    for begin in ["<!", "<@", "<#"] {
        let quoted = texts
            .lines()
            .filter(|line| !line.starts_with(['🔴', '🟠', '🟡', '🔵', '✅']))
            .any(|line| line.contains(begin));
        assert!(!quoted, "{begin} would mention somebody: {texts}");
    }
    texts.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

fn read_teams(alert: &Alert) -> String {
    let message = teams::build_message(alert, &why(), &links());
    assert!(message.to_string().len() <= teams::CARD_MAX + 1_024);
    let mut shown = String::new();
    let texts = read_json(&message).join("\n");
    let mut rest = texts.chars();
    while let Some(c) = rest.next() {
        shown.push(if c == '\\' { rest.next().unwrap_or(c) } else { c });
    }
    shown
}

/// An e-mail as another maker's parser reads it: subject and text.
fn read_email(alert: &Alert) -> String {
    let email = render::email(alert, &why(), &links());
    let mime =
        render::build_mime("a@example.com", "b@example.com", &email, Some("https://s.example.com/u?t=1")).unwrap();
    let text = String::from_utf8(mime.clone()).unwrap();
    assert!(text.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])), "{text}");
    let parsed = mail_parser::MessageParser::default().parse(&mime).unwrap();
    for name in ["Bcc", "X-Injected"] {
        assert!(parsed.header(name).is_none(), "{text}");
    }
    assert_eq!(parsed.to().and_then(|to| to.first()).and_then(|to| to.address()), Some("b@example.com"));
    format!("{}\n{}", parsed.subject().unwrap_or_default(), parsed.body_text(0).unwrap_or_default())
}

fn read_sms(alert: &Alert) -> String {
    let sms = render::sms(alert, &why(), "https://s.example.com/i");
    assert!(sms.parts <= 2 && sms.text.ends_with("https://s.example.com/i"), "{sms:?}");
    sms.text
}

const SITE: feed::Site<'static> = feed::Site { base: "https://s.example.com", name: "Service status" };

/// The feed as an XML 1.0 parser of another maker reads it.
fn read_feed(opened: &(Incident, Update)) -> String {
    let atom = feed::atom(SITE, &listed(opened));
    let parsed = roxmltree::Document::parse(&atom).unwrap_or_else(|error| panic!("{error}\n{atom}"));
    let texts: Vec<&str> = parsed.descendants().filter_map(|node| node.text().filter(|_| node.is_element())).collect();
    // The content is HTML inside of XML.
    let text =
        texts.join("\n").replace("&#60;", "<").replace("&#62;", ">").replace("&#34;", "\"").replace("&#39;", "'");
    text.replace("&#38;", "&").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// The calendar as a parser of another maker reads it.
fn read_calendar(opened: &(Incident, Update)) -> String {
    let calendar = feed::calendar(SITE, &listed(opened));
    // A line should have at most 75 octets; the writer's last line of a folded property may have one more (its space).
    assert!(calendar.split("\r\n").all(|line| line.len() <= 76 && !line.contains(['\r', '\n'])), "{calendar:?}");
    let parsed = ical::IcalParser::new(calendar.as_bytes()).next().unwrap().unwrap();
    assert_eq!(
        (parsed.events.len(), parsed.events[0].properties.iter().filter(|one| one.name == "ATTENDEE").count()),
        (1, 0)
    );
    let values = parsed.events[0].properties.iter().filter_map(|property| property.value.as_deref());
    values.map(unescape_ical).collect::<Vec<_>>().join("\n")
}

/// Resolves the escapes of a TEXT (RFC 5545, 3.3.11).
fn unescape_ical(value: &str) -> String {
    let mut out = String::new();
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('n' | 'N') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            _ => out.push(c),
        }
    }
    out
}

fn read_webhook(alert: &Alert) -> String {
    read_json(&serde_json::to_value(webhook::build_body(alert, &why(), "https://s.example.com/i")).unwrap()).join("\n")
}

fn rendered(case: &ChannelCase) -> String {
    let opened = open(&case.input()).unwrap_or_else(|| panic!("{} is refused", case.id()));
    let alert = alert(&opened);
    match case.channel() {
        "slack" => read_slack(&alert),
        "teams" => read_teams(&alert),
        "email" => read_email(&alert),
        "sms" => read_sms(&alert),
        "feed" => read_feed(&opened),
        "calendar" => read_calendar(&opened),
        "webhook" => read_webhook(&alert),
        other => panic!("{other} is no channel"),
    }
}

/// What is sent to an address or number, or the zone; the error if it is refused.
fn checked(case: &ChannelCase) -> Result<String, String> {
    let body: Map<String, Value> = contracts::json::parse_map(case.input().as_bytes()).unwrap();
    let text = body.values().next().and_then(Value::as_str).unwrap();
    match case.channel() {
        "phone" => Phone::parse(text).map(|phone| phone.expose().to_owned()).map_err(str::to_owned),
        "address" => Email::parse(text).map(|email| email.to_wire()).map_err(str::to_owned),
        _ => domain::zone::find_zone(text).map(|_| text.to_owned()).ok_or_else(|| "no such zone".to_owned()),
    }
}

#[test]
fn every_text_of_other_peoples_reports_is_rendered_right() {
    let cases = channel_cases();
    assert!(cases.len() >= 80, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        if matches!(case.channel(), "phone" | "address" | "zone") {
            match (checked(case), case.accepted()) {
                (Ok(wire), Some(right)) if wire == right => {}
                (Err(error), None) if !error.is_empty() => {}
                (outcome, right) => wrong.push(format!("{}: {outcome:?}, right is {right:?}", case.id())),
            }
            continue;
        }
        let shown = rendered(case);
        for text in case.must_contain().iter().filter(|text| !shown.contains(text.as_str())) {
            wrong.push(format!("{}: {text:?} is missing in {shown:?}", case.id()));
        }
        for text in case.must_not_contain().iter().filter(|text| shown.contains(text.as_str())) {
            wrong.push(format!("{}: {text:?} is in {shown:?}", case.id()));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

/// Characters that broke somebody's parser, among ordinary ones. Half of an emoji is written as an escape.
fn any_json_text() -> impl Strategy<Value = String> {
    let escaped = |text: String| {
        let quoted = Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let piece = prop_oneof![
        4 => "[ -~]{0,12}".prop_map(escaped),
        2 => any::<char>().prop_map(move |c| escaped(c.to_string())),
        2 => (0u32..0x10000).prop_map(|unit| format!("\\u{unit:04x}")),
        1 => Just("]]>".to_owned()),
        1 => Just("\\r\\n.\\r\\nBEGIN:VEVENT\\r\\n".to_owned()),
        1 => Just("<!channel> &amp; <b>".to_owned()),
        1 => Just("é\u{301}👩\u{200d}💻🏴".to_owned()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn whatever_passes_the_gate_is_read_by_every_parser(
        title in any_json_text(), message in any_json_text(), public_title in any_json_text(), public_message in any_json_text(),
        name in any_json_text(), number in "-?[1-9][0-9]{0,40}(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?",
    ) {
        let body = format!(
            r#"{{"source":"s","type":"maintenance.announced","tenant_ids":["acme"],"public":true,"starts_at":"2026-12-01T12:00:00Z",
                "ends_at":"2026-12-01T14:00:00Z","title":"{title}","message":"{message}","public_title":"{public_title}",
                "public_message":"{public_message}","components":["{name}"],"regions":["{name}"],"labels":{{"{name}":"{message}"}},
                "measurements":{{"n":{number}}},"details":{{"{name}":[{number}]}}}}"#
        );
        // A title that is blank after the gate is refused by name.
        if let Ok(event) = native::parse_event(body.as_bytes(), &TokenDefaults::default(), "key") {
            let rule = RuleMatch { category: None, kind: Kind::Maintenance, rule: "r".into(), public: true,
                public_sentence: "Maintenance".into(), advice: String::new(), low_balance: false, warnings: vec![] };
            let opened = simulate_opening(&event, &rule, &Scope::Platform, now());
            let alert = alert(&opened);
            read_slack(&alert);
            read_teams(&alert);
            read_email(&alert);
            read_sms(&alert);
            read_feed(&opened);
            read_calendar(&opened);
            read_webhook(&alert);
        } else {
            let errors = native::parse_event(body.as_bytes(), &TokenDefaults::default(), "key").unwrap_err();
            prop_assert!(errors.iter().all(|error| error.pointer == "/title"), "{:?}", errors);
        }
    }
}
