//! Signed webhooks as their receivers see them: signature, retries, the end of an endpoint.

use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::time::Duration;
use tests::npm::node_modules;
use tests::receive::{body, text};
use tests::tenant::{Endpoint, Tenant};
use tests::{Stack, stack, unique, wait};

const PYTHON: &str = "import json, sys
from standardwebhooks.webhooks import Webhook
given = json.load(sys.stdin)
print(Webhook(given['secret']).verify(given['body'], given['headers'])['data']['title'])
try:
    Webhook(given['secret']).verify(given['body'].replace('calls', 'cells'), given['headers'])
except Exception:
    print('refused')
";

const NODE: &str = "const { Webhook } = require('standardwebhooks');
const given = JSON.parse(require('fs').readFileSync(0));
console.log(new Webhook(given.secret).verify(given.body, given.headers).data.title);
try { new Webhook(given.secret).verify(given.body.replace('calls', 'cells'), given.headers); }
catch (error) { console.log('refused'); }
";

fn open(stack: &Stack, tenant: &Tenant, title: &str) -> String {
    let id = stack.post(json!({"type": "voice.routing_failure", "severity": "critical", "title": title,
        "tenant_ids": [tenant.id]}));
    stack.incident_of(&id)
}

fn one_hook(stack: &Stack) -> (Tenant, Endpoint) {
    let mut tenant = stack.tenant("enterprise");
    let hook = tenant.endpoint("webhook", "tech_devops");
    (tenant, hook)
}

fn run(command: &mut Command, input: &str) -> String {
    use std::io::Write as _;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{error}");
    out.into_owned()
}

fn signed(secret: &str, got: &Value) -> String {
    json!({"secret": secret, "body": got["body"], "headers": got["headers"]}).to_string()
}

fn python(stack: &Stack, input: &str) -> String {
    run(Command::new(stack.clients()).args(["-c", PYTHON]), input)
}

/// The title in what a receiver got, as a library reads it that checks the signature by `secret`.
pub(crate) fn verified(stack: &Stack, secret: &str, got: &Value) -> String {
    python(stack, &signed(secret, got)).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn the_signature_verifies_with_the_libraries_of_python_and_node() {
    let stack = stack!();
    let (tenant, hook) = one_hook(&stack);
    let title = format!("{} calls fail", unique());
    drop(open(&stack, &tenant, &title));
    let got = tenant.requests(&hook, 1, Duration::from_secs(60)).remove(0);
    let input = signed(&hook.secret, &got);
    assert_eq!(python(&stack, &input), format!("{title}\nrefused\n"));

    let folder = node_modules(&stack);
    let folder = folder.parent().unwrap();
    let said = run(Command::new("node").args(["-e", NODE]).current_dir(folder), &input);
    assert_eq!(said, format!("{title}\nrefused\n"));
}

#[test]
fn both_secrets_sign_after_a_rotation() {
    let stack = stack!();
    let (tenant, hook) = one_hook(&stack);
    let path = tenant.path(&format!("/integrations/{}", hook.id));
    let tag = stack.call("GET", &path, &tenant.token, None).header("etag").unwrap().to_owned();
    let answer =
        stack.call_with("POST", &format!("{path}/secret"), &tenant.token, &[("if-match", &tag)], Some(&json!({})));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let new = text(&answer.json(), "/secret");
    stack.secret(&new);
    assert_ne!(new, hook.secret);
    let title = format!("{} calls fail", unique());
    drop(open(&stack, &tenant, &title));
    let got = tenant.requests(&hook, 1, Duration::from_secs(60)).remove(0);
    let signatures = text(&got, "/headers/webhook-signature");
    assert_eq!(signatures.split(' ').count(), 2, "{signatures}");
    for secret in [&hook.secret, &new] {
        let input = json!({"secret": secret, "body": got["body"], "headers": got["headers"]}).to_string();
        assert_eq!(run(Command::new(stack.clients()).args(["-c", PYTHON]), &input), format!("{title}\nrefused\n"));
    }
}

/// The delivery of the tenant's only hook.
fn delivery(tenant: &Tenant, incident: &str) -> Value {
    tenant.incident(incident)["deliveries"][0].clone()
}

#[test]
fn a_failed_attempt_is_retried_with_the_same_webhook_id() {
    let stack = stack!();
    let (tenant, hook) = one_hook(&stack);
    stack.behave(&hook.path, json!({"status": 503, "body": "come back", "times": 1}));
    let incident = open(&stack, &tenant, &unique());
    let got = tenant.requests(&hook, 2, Duration::from_secs(60));
    assert_eq!(text(&got[0], "/headers/webhook-id"), text(&got[1], "/headers/webhook-id"));
    assert_eq!(got[0]["body"], got[1]["body"]);
    assert!(text(&got[0], "/headers/webhook-id").starts_with("msg_"));
    drop(tenant.settled(&incident, 1));
    let delivery = delivery(&tenant, &incident);
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("accepted"), &json!(2)), "{delivery}");
    let failed = &delivery["failed_attempts"][0];
    assert_eq!((&failed["status"], &failed["response"]), (&json!(503), &json!("come back")), "{delivery}");
    tests::pause(5);
    assert_eq!(stack.inbox(&hook.path).len(), 2);
}

#[test]
fn the_third_attempt_comes_after_five_minutes_and_is_the_same_message() {
    let stack = stack!();
    let (tenant, hook) = one_hook(&stack);
    // For so long a time nobody else's platform-wide incident may come between.
    tenant.set(json!({"categories": {"infrastructure": {"enabled": false}}}));
    stack.behave(&hook.path, json!({"status": 500, "times": 2}));
    let event = json!({"type": "ivr.misconfigured", "title": unique(), "tenant_ids": [tenant.id]});
    let incident = stack.incident_of(&stack.post(event));
    drop(tenant.requests(&hook, 2, Duration::from_secs(60)));
    // 300 s and at most 20 % more.
    let got = tenant.requests(&hook, 3, Duration::from_secs(420));
    let id = text(&got[0], "/headers/webhook-id");
    assert!(got.iter().all(|one| text(one, "/headers/webhook-id") == id && one["body"] == got[0]["body"]));
    drop(tenant.settled(&incident, 1));
    assert_eq!(delivery(&tenant, &incident)["attempts"], 3);
}

#[test]
fn a_410_disables_the_integration_and_a_patch_enables_it_again() {
    let stack = stack!();
    let (tenant, hook) = one_hook(&stack);
    stack.behave(&hook.path, json!({"status": 410, "times": 1}));
    let incident = open(&stack, &tenant, &unique());
    drop(tenant.settled(&incident, 1));
    let failed = delivery(&tenant, &incident);
    assert_eq!((&failed["state"], &failed["reason"]), (&json!("failed"), &json!("endpoint_disabled")), "{failed}");
    let path = format!("/integrations/{}", hook.id);
    let read = tenant.get(&path);
    assert_eq!((&read["enabled"], &read["disabled"]["cause"]), (&json!(false), &json!("http_410")), "{read}");

    let second = open(&stack, &tenant, &unique());
    let known = tenant.settled(&second, 1);
    assert_eq!(tenant.decisions(&known, 1)["tech_devops webhook"], "endpoint_disabled");
    assert_eq!(stack.inbox(&hook.path).len(), 1);

    assert_eq!(tenant.patch(&path, &json!({"enabled": true})).status, 200);
    drop(open(&stack, &tenant, &unique()));
    drop(tenant.requests(&hook, 2, Duration::from_secs(60)));
}

#[test]
fn a_redirect_is_a_failure_and_is_not_followed() {
    let stack = stack!();
    let (tenant, hook) = one_hook(&stack);
    let trap = format!("/webhook/{}", unique());
    stack.behave(&hook.path, json!({"redirect": format!("{}{trap}", stack.text("/receivers_url")), "times": 1}));
    let incident = open(&stack, &tenant, &unique());
    let failed = wait("the failed attempt", Duration::from_secs(60), || {
        let delivery = delivery(&tenant, &incident);
        delivery.pointer("/failed_attempts/0").cloned()
    });
    assert_eq!((&failed["status"], &failed["cause"]), (&json!(302), &json!("http_302")), "{failed}");
    drop(tenant.requests(&hook, 2, Duration::from_secs(60)));
    assert_eq!(stack.inbox(&trap), Vec::<Value>::new());
}

#[test]
fn a_reset_connection_and_a_huge_response_do_no_harm() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let (reset, huge) = (tenant.endpoint("webhook", "tech_devops"), tenant.endpoint("webhook", "tech_devops"));
    let well = tenant.endpoint("webhook", "tech_devops");
    stack.behave(&reset.path, json!({"reset": true, "times": 1}));
    stack.behave(&huge.path, json!({"status": 500, "huge": true, "times": 1}));
    let incident = open(&stack, &tenant, &unique());
    drop(tenant.requests(&reset, 2, Duration::from_secs(60)));
    drop(tenant.requests(&huge, 2, Duration::from_secs(60)));
    let known = tenant.settled(&incident, 1);
    assert_eq!(stack.inbox(&well.path).len(), 1);
    for delivery in known["deliveries"].as_array().unwrap() {
        assert_eq!(delivery["state"], "accepted", "{delivery}");
        for attempt in delivery["failed_attempts"].as_array().unwrap() {
            assert!(attempt["response"].as_str().unwrap_or_default().len() <= 20_000);
        }
    }
}

#[test]
fn slack_gets_a_message_a_second_and_is_disabled_by_its_permanent_codes() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let slack = tenant.endpoint("slack", "support_manager");
    let incidents: Vec<String> = (0..4).map(|_| open(&stack, &tenant, &unique())).collect();
    for incident in &incidents {
        drop(tenant.settled(incident, 1));
    }
    let mut times: Vec<String> = stack.inbox(&slack.path).iter().map(|got| text(got, "/received_at")).collect();
    times.sort();
    assert_eq!(times.len(), 4);
    let seconds = |time: &str| -> f64 {
        let clock = time.split('T').nth(1).unwrap().trim_end_matches('Z');
        clock.split(':').fold(0.0, |all, part| all * 60.0 + part.parse::<f64>().unwrap())
    };
    // The rate is kept. Two in a row may be closer: a queue hands a delayed message on when it comes to it, and a late slot
    // is not asked for again.
    let took = (seconds(&times[3]) - seconds(&times[0])).rem_euclid(86_400.0);
    assert!(took > 2.0, "{times:?}");

    stack.behave(&slack.path, json!({"status": 404, "body": "no_service"}));
    let incident = open(&stack, &tenant, &unique());
    drop(tenant.settled(&incident, 1));
    assert_eq!(delivery(&tenant, &incident)["reason"], "endpoint_disabled");
    assert_eq!(tenant.get(&format!("/integrations/{}", slack.id))["enabled"], false);
}

#[test]
fn slack_gets_plain_text_where_it_refuses_the_blocks() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let slack = tenant.endpoint("slack", "support_manager");
    stack.behave(&slack.path, json!({"status": 400, "body": "invalid_blocks", "times": 1}));
    let mark = unique();
    let incident = open(&stack, &tenant, &mark);
    drop(tenant.settled(&incident, 1));
    let got = stack.inbox(&slack.path);
    assert_eq!(got.len(), 2);
    assert!(body(&got[0]).get("blocks").is_some() && body(&got[1]).get("blocks").is_none());
    assert!(text(&body(&got[1]), "/text").contains(&mark));
}
