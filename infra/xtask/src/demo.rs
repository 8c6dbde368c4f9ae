//! The sample incidents, and what became of them.

use crate::http::send;
use crate::process::{Fault, say};
use crate::stack;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// `cargo xtask demo`
pub(crate) fn again() -> Result<(), Fault> {
    let outputs = stack::outputs("local")?;
    post(&outputs)?;
    table(&outputs)
}

/// Posts one platform-wide infrastructure incident, one low balance, one failing webhook and one notice that is excluded.
pub(crate) fn post(outputs: &Value) -> Result<(), Fault> {
    let token = text(outputs, "/tokens/intake");
    say("▸ posting four events");
    for event in [
        json!({"source": "voice-monitor", "type": "voice.routing_failure", "severity": "critical", "platform": true,
            "title": "Outbound calls fail in Mumbai", "message": "Every third call over the Mumbai carrier fails. We are rerouting.",
            "components": ["voice"], "regions": ["ap-south-1"]}),
        json!({"source": "wallet", "type": "wallet.low_balance", "severity": "warning", "tenant_ids": ["acme"],
            "title": "Wallet balance is below 100 USD", "message": "12.40 USD are left. Calls stop at zero.",
            "measurements": {"balance": 12.4, "threshold": 100}}),
        json!({"source": "webhook-monitor", "type": "webhook.failing", "severity": "error", "tenant_ids": ["globex"],
            "title": "Your call-events webhook answers 404", "message": "37 calls to it failed in the last ten minutes."}),
        json!({"source": "announcements", "type": "advisory.notice", "severity": "info", "platform": true,
            "title": "The new console is here", "message": "Have a look."}),
    ] {
        let answer = send(
            "POST",
            &format!("{}/v1/incidents", text(outputs, "/api_url")),
            &[("authorization", &format!("Bearer {token}"))],
            Some(&event),
        )?;
        let title = event.get("title").and_then(Value::as_str).unwrap_or_default();
        if answer.status != 202 {
            return Err(Fault::new(
                format!("the event was answered {}: {}", answer.status, answer.body),
                "Look into target/local/logs/emulator.log",
            ));
        }
        say(&format!("  202  {title}"));
    }
    Ok(())
}

/// Waits until nothing more arrives, then prints what reached whom, and what did not and why.
pub(crate) fn table(outputs: &Value) -> Result<(), Fault> {
    let started = Instant::now();
    let mut seen = (0, Instant::now());
    while started.elapsed() < Duration::from_secs(60) && (seen.0 == 0 || seen.1.elapsed() < Duration::from_secs(4)) {
        std::thread::sleep(Duration::from_millis(500));
        let now = arrivals(outputs).len();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
    }
    say("\nWhat reached whom:");
    for arrival in arrivals(outputs) {
        say(&format!("  {:<8} {:<46} {}", arrival.channel, arrival.to, arrival.what));
    }
    say("\nWhat did not, and why:");
    for tenant in ["acme", "globex", "initech"] {
        let token = text(outputs, &format!("/tokens/tenant_admin/{tenant}"));
        let get = |path: &str| -> Result<Value, Fault> {
            let url = format!("{}/v1/tenants/{tenant}/{path}", text(outputs, "/api_url"));
            Ok(send("GET", &url, &[("authorization", &format!("Bearer {token}"))], None)?.body)
        };
        let list = get("incidents?include=excluded")?;
        for excluded in array(&list, "/excluded") {
            say(&format!(
                "  {tenant:<8} everybody                          {}: {}",
                text(excluded, "/title"),
                text(excluded, "/reason")
            ));
        }
        for incident in array(&list, "/incidents") {
            let detail = get(&format!("incidents/{}", text(incident, "/incident_id")))?;
            let mut reasons: Vec<(String, u32)> = Vec::new();
            for decision in
                array(&detail, "/decisions").iter().filter(|decision| text(decision, "/outcome") != "deliver")
            {
                let line = format!("{} ({})", text(decision, "/reason"), text(decision, "/channel"));
                match reasons.iter_mut().find(|(known, _)| *known == line) {
                    Some((_, count)) => *count += 1,
                    None => reasons.push((line, 1)),
                }
            }
            let reasons: Vec<String> = reasons.into_iter().map(|(line, count)| format!("{count}× {line}")).collect();
            let title: String = text(incident, "/title").chars().take(34).collect();
            let why = if reasons.is_empty() { "nobody was left out".to_owned() } else { reasons.join(", ") };
            say(&format!("  {tenant:<8} {title:<34} {why}"));
        }
    }
    Ok(())
}

/// What runs where, how to send one's own alert, how to stop and how to deploy.
pub(crate) fn explain(outputs: &Value) -> Result<(), Fault> {
    let get = |pointer: &str| text(outputs, pointer);
    say("\nWhat runs where:");
    say(&format!("  API          {}", get("/api_url")));
    say(&format!("  status page  {}/status", get("/api_url")));
    say(&format!(
        "  emulator     {}   (mail: /_ministack/ses/messages, SMS: /_ministack/sns/sms-messages)",
        get("/emulator_url")
    ));
    say(&format!("  receivers    {}   (what they got: {}/inbox)", get("/receivers_url"), get("/control_url")));
    say("  everything   target/local/outputs.json (tokens, queues, functions, demo recipients and integrations)");
    say("\nSend your own alert:");
    say(&format!(
        "  curl -sS {}/v1/incidents -H 'Authorization: Bearer {}' -H 'content-type: application/json' \\\n    -d '{{\"source\":\"me\",\
         \"type\":\"api.outage\",\"severity\":\"critical\",\"tenant_ids\":[\"acme\"],\"title\":\"My first alert\",\"message\":\"Hello.\"}}'",
        get("/api_url"),
        get("/tokens/intake")
    ));
    say(
        "\nWatch messages arrive: cargo xtask watch · post the samples again: cargo xtask demo · stop: cargo xtask down",
    );
    say("Deploy to AWS: sam build && sam deploy --guided (README, \"Deploy\")");
    Ok(())
}

/// `cargo xtask watch`
pub(crate) fn watch() -> Result<(), Fault> {
    let outputs = stack::outputs("local")?;
    say("Watching; Ctrl-C ends it.");
    let mut known: BTreeSet<String> = arrivals(&outputs).into_iter().map(|arrival| arrival.id).collect();
    loop {
        for arrival in arrivals(&outputs) {
            if known.insert(arrival.id.clone()) {
                say(&format!("{:<8} {:<46} {}", arrival.channel, arrival.to, arrival.what));
                if !arrival.why.is_empty() {
                    say(&format!("         {}", arrival.why));
                }
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

struct Arrival {
    id: String,
    channel: String,
    to: String,
    what: String,
    why: String,
}

/// Everything that arrived anywhere, e-mail first.
fn arrivals(outputs: &Value) -> Vec<Arrival> {
    let emulator = text(outputs, "/emulator_url");
    let get = |url: String| send("GET", &url, &[], None).map(|answer| answer.body).unwrap_or_default();
    let mut found = Vec::new();
    let mail = get(format!("{emulator}/_ministack/ses/messages"));
    for message in list(&mail) {
        let body = text(message, "/BodyText");
        let why = body.lines().find(|line| line.starts_with("You get this")).unwrap_or_default().to_owned();
        found.push(Arrival {
            id: text(message, "/MessageId"),
            channel: "e-mail".into(),
            to: text(message, "/To/0"),
            what: text(message, "/Subject"),
            why,
        });
    }
    let texts = get(format!("{emulator}/_ministack/sns/sms-messages"));
    for message in list(&texts) {
        found.push(Arrival {
            id: text(message, "/MessageId"),
            channel: "SMS".into(),
            to: text(message, "/PhoneNumber"),
            what: text(message, "/Message"),
            why: String::new(),
        });
    }
    let inbox = get(format!("{}/inbox", text(outputs, "/control_url")));
    for request in inbox.as_array().into_iter().flatten() {
        let path = text(request, "/path");
        let body: Value = serde_json::from_str(&text(request, "/body")).unwrap_or_default();
        let (channel, what, why) = match path.split('/').nth(1) {
            Some("slack") => ("Slack", text(&body, "/text"), body.to_string()),
            Some("teams") => ("Teams", text(&body, "/attachments/0/content/fallbackText"), body.to_string()),
            _ => ("webhook", format!("{}: {}", text(&body, "/type"), text(&body, "/data/title")), String::new()),
        };
        let why = why
            .find("You get this")
            .and_then(|at| why.get(at..))
            .and_then(|rest| rest.split('.').next())
            .unwrap_or_default();
        found.push(Arrival {
            id: format!("{}{path}{}", text(request, "/received_at"), text(request, "/headers/webhook-id")),
            channel: channel.into(),
            to: path.clone(),
            what,
            why: why.to_owned(),
        });
    }
    found
}

/// Every entry of the lists that the emulator keeps by account or by number.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().flat_map(list).collect(),
        _ => Vec::new(),
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn array<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
