//! A real Prometheus Alertmanager of which only URL and credentials are ours.

use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::receive::text;
use tests::tenant::Tenant;
use tests::{Stack, http, in_seconds, stack, unique, wait};

const PROGRAM: &str = "/usr/bin/prometheus-alertmanager";

/// An Alertmanager that ends with the test.
pub(crate) struct Alertmanager {
    child: Child,
    url: String,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Alertmanager {
    /// Starts one that re-sends what fires every second or two to our webhook. `None` where Debian's package is missing.
    pub(crate) fn start(stack: &Stack, token: &str) -> Option<Self> {
        let receiver = format!(
            "webhook_configs:\n  - url: {}/v1/intake/alertmanager\n    http_config:\n      authorization:\n        credentials: \
             {token}\n",
            stack.text("/api_url")
        );
        Self::start_with(stack, &receiver)
    }

    /// As [`Alertmanager::start`], with a receiver's configuration.
    pub(crate) fn start_with(stack: &Stack, receiver: &str) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            eprintln!("skipped: {PROGRAM} is missing; apt-get install -y prometheus-alertmanager");
            return None;
        }
        let folder = stack.folder(&format!("alertmanager-{}", unique()));
        let config = format!(
            "route:\n  receiver: tocsin\n  group_by: ['alertname']\n  group_wait: 0s\n  group_interval: 1s\n  repeat_interval: \
             1s\nreceivers:\n- name: tocsin\n  {receiver}"
        );
        std::fs::write(folder.join("config.yml"), config).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg(format!("--config.file={}", folder.join("config.yml").display()));
        command.arg(format!("--storage.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--cluster.listen-address=");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let started = Self { child, url: format!("http://127.0.0.1:{port}") };
        wait("Alertmanager to start", Duration::from_secs(30), || {
            let ready = http::send("GET", &format!("{}/-/ready", started.url), &[], None);
            ready.is_ok_and(|answer| answer.status == 200).then_some(())
        });
        Some(started)
    }

    /// Posts an alert as Prometheus does; it is over when `over`.
    pub(crate) fn alert(&self, labels: &Value, annotations: &Value, over: bool) {
        let ends = in_seconds(if over { -1 } else { 600 });
        let starts = if over { in_seconds(-3_600) } else { in_seconds(-60) };
        let mut alert = json!({"labels": labels, "annotations": annotations, "endsAt": ends,
            "generatorURL": "http://prometheus.test/graph"});
        if over {
            alert["startsAt"] = json!(starts);
        }
        let headers = [("content-type", "application/json")];
        let body = json!([alert]).to_string();
        let answer =
            http::send("POST", &format!("{}/api/v2/alerts", self.url), &headers, Some(body.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

/// A token whose defaults stand in for what alerts do not say.
fn token(stack: &Stack, tenant: &Tenant) -> String {
    let issued = stack.token(json!({"name": "alertmanager", "scopes": ["incidents:write"], "tenants": [tenant.id],
        "defaults": {"type": "api.outage", "tenant_ids": [tenant.id], "components": ["api"]}}));
    text(&issued, "/token")
}

pub(crate) fn newest(tenant: &Tenant, count: usize) -> Value {
    wait("the incident", Duration::from_secs(60), || {
        let list = tenant.own_incidents();
        (list.len() == count).then(|| list[0].clone())
    })
}

#[test]
fn everybody_in_the_matrix_is_notified_of_firing_and_resolved_once() {
    let stack = stack!();
    let tenant = stack.full_tenant();
    let Some(alertmanager) = Alertmanager::start(&stack, &token(&stack, &tenant)) else { return };
    let mark = unique();
    // Neither type nor tenant: the token's defaults say them.
    let labels = json!({"alertname": "ApiDown", "severity": "critical", "region": "ap-south-1"});
    let annotations =
        |round: u32| json!({"summary": format!("{mark} down"), "description": format!("{round} errors a second")});
    alertmanager.alert(&labels, &annotations(0), false);
    let incident = text(&newest(&tenant, 1), "/incident_id");
    drop(tenant.settled(&incident, 1));
    tenant.expect(&mark, super::pipeline::INFRASTRUCTURE, 0);

    for round in 1..=10 {
        alertmanager.alert(&labels, &annotations(round), false);
        tests::pause(1);
    }
    // Alertmanager repeats the notification every second or two. Repeats neither notify anybody again nor add an update.
    let detail = tenant.incident(&incident);
    assert_eq!(detail["incident"]["updates"], 1, "{detail}");
    tenant.expect(&mark, super::pipeline::INFRASTRUCTURE, 4);

    alertmanager.alert(&labels, &annotations(11), true);
    drop(tenant.settled(&incident, 2));
    let twice = super::pipeline::INFRASTRUCTURE.iter().map(|name| ((*name).to_owned(), 2)).collect();
    tenant.expect_counts(&mark, &twice, 15);
    let known = tenant.incident(&incident);
    assert_eq!(known["incident"]["status"], "resolved");
    assert_eq!(known["incident"]["updates"], 2);
}

/// A notification as Alertmanager sends it.
pub(crate) fn notification(labels: &Value, annotations: &Value) -> Value {
    json!({"version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": "firing", "receiver": "tocsin",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager.test",
        "alerts": [{"status": "firing", "labels": labels, "annotations": annotations, "startsAt": in_seconds(-60),
            "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://prometheus.test", "fingerprint": unique()}]})
}

#[test]
fn a_repeated_notification_is_one_event() {
    let stack = stack!();
    let tenant = stack.full_tenant();
    let token = token(&stack, &tenant);
    let mark = unique();
    let body = notification(&json!({"alertname": "api.outage", "tenant": tenant.id}), &json!({"summary": mark}));
    let post = || {
        let answer = stack.call("POST", "/v1/intake/alertmanager", &token, Some(&body));
        assert_eq!(answer.status, 202, "{}", answer.body);
        text(&answer.json(), "/events/0/event_id")
    };
    let first = post();
    assert_eq!([post(), post()], [first.clone(), first.clone()]);
    let incident = stack.incident_of(&first);
    drop(tenant.settled(&incident, 1));
    tenant.expect(&mark, super::pipeline::INFRASTRUCTURE, 4);
    wait("both repeats to be counted", Duration::from_secs(30), || {
        (tenant.incident(&incident)["incident"]["repeats"] == 2).then_some(())
    });
}

#[test]
fn an_alert_that_fires_again_with_the_same_beginning_is_another_incident() {
    let stack = stack!();
    let tenant = stack.full_tenant();
    let token = token(&stack, &tenant);
    let mark = unique();
    let mut body = notification(&json!({"alertname": "api.outage", "tenant": tenant.id}), &json!({"summary": mark}));
    // All within a minute, and so within the queue's five minutes of deduplication.
    let post = |body: &Value| {
        let answer = stack.call("POST", "/v1/intake/alertmanager", &token, Some(body));
        assert_eq!(answer.status, 202, "{}", answer.body);
        text(&answer.json(), "/events/0/event_id")
    };
    let firing = body.clone();
    let event = post(&firing);
    let first = text(&newest(&tenant, 1), "/incident_id");
    drop(tenant.settled(&first, 1));
    body["alerts"][0]["status"] = json!("resolved");
    body["alerts"][0]["endsAt"] = json!(in_seconds(0));
    let _resolved = post(&body);
    drop(tenant.settled(&first, 2));
    assert_eq!(post(&firing), event, "the source's id is the same");
    let second = text(&newest(&tenant, 2), "/incident_id");
    assert_ne!(second, first);
    drop(tenant.settled(&second, 1));
    let known = tenant.incident(&second);
    assert_eq!((&known["incident"]["status"], &known["incident"]["updates"]), (&json!("investigating"), &json!(1)));
    assert_eq!(stack.incident_of(&event), second, "the event's record says what it did last");
}

#[test]
fn a_low_balance_without_tenants_reaches_no_tenant() {
    let stack = stack!();
    let tenant = stack.full_tenant();
    let mark = unique();
    for more in [json!({}), json!({"tenant": "*"}), json!({"tenant": "Not A Tenant"})] {
        let mut labels = json!({"alertname": "Wallet", "type": "wallet.low_balance"});
        for (name, value) in more.as_object().unwrap() {
            labels[name] = value.clone();
        }
        let body = notification(&labels, &json!({"summary": mark}));
        let answer = stack.call("POST", "/v1/intake/alertmanager", &stack.monitor(), Some(&body));
        assert_eq!(answer.status, 202, "{}", answer.body);
        let known = stack.event(&text(&answer.json(), "/events/0/event_id"));
        assert_eq!(known["classification"], "unclassified", "{known}");
        let reason = text(&known, "/not_notified/0/reason");
        assert!(reason == "tenant_missing" || reason == "tenant_unknown", "{known}");
    }
    tenant.expect(&mark, &[], 5);
    assert!(stack.mails(&mark).iter().all(|mail| mail.to == "operators@tocsin.test"));
    let elsewhere = stack.inbox("").iter().filter(|got| text(got, "/body").contains(&mark)).count();
    assert_eq!(elsewhere, 0);
}

#[test]
fn an_alert_for_another_tenant_is_stored_and_notifies_nobody_there() {
    let stack = stack!();
    let (mine, other) = (stack.full_tenant(), stack.full_tenant());
    let mark = unique();
    let body = notification(&json!({"alertname": "api.outage", "tenant": other.id}), &json!({"summary": mark}));
    let answer = stack.call("POST", "/v1/intake/alertmanager", &token(&stack, &mine), Some(&body));
    // A 4xx would make Alertmanager drop the whole notification.
    assert_eq!(answer.status, 202, "{}", answer.body);
    let known = stack.event(&text(&answer.json(), "/events/0/event_id"));
    assert_eq!(known["not_notified"][0]["reason"], "tenant_not_allowed", "{known}");
    other.expect(&mark, &[], 4);
    mine.expect(&mark, &[], 0);
}
