//! The sample incidents of `cargo xtask up`, and what they delivered.

use crate::http::send;
use crate::process::{CommandFault, progress, say};
use crate::stack;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// `cargo xtask demo`
pub(crate) fn run(name: &str) -> Result<(), CommandFault> {
    show(&stack::outputs(name)?)
}

/// Posts a platform-wide infrastructure incident, a low balance, a failing webhook and a notice that no category covers. Prints what was
/// delivered to whom, and what was skipped and why.
pub(crate) fn show(outputs: &Value) -> Result<(), CommandFault> {
    let before: BTreeSet<String> = arrivals(outputs).into_iter().map(|arrival| arrival.id).collect();
    let events = post_events(outputs)?;
    let incidents = await_deliveries(outputs, &events)?;
    say("\nDelivered:");
    for arrival in arrivals(outputs).iter().filter(|arrival| !before.contains(&arrival.id)) {
        say(&arrival.line());
    }
    say("\nSkipped, and why:");
    for (event, title) in &events {
        for skipped in array(&get(outputs, "/tokens/intake", &format!("/v1/events/{event}"))?, "/not_notified") {
            say(&format!("  all tenants: {title}: {}", text(skipped, "/sentence")));
        }
    }
    for (tenant, incident) in &incidents {
        print_skipped(tenant, &detail(outputs, tenant, incident)?);
    }
    Ok(())
}

/// Posts the four events. Returns the id and title of each.
fn post_events(outputs: &Value) -> Result<Vec<(String, String)>, CommandFault> {
    say("▸ posting four sample incidents");
    let mut posted = Vec::new();
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
        let url = format!("{}/v1/incidents", text(outputs, "/api_url"));
        let bearer = format!("Bearer {}", text(outputs, "/tokens/intake"));
        let answer = send("POST", &url, &[("authorization", &bearer)], Some(&event))?;
        if answer.status != 202 {
            let what = format!("the event was refused with status {}: {}", answer.status, answer.body);
            return Err(CommandFault::new(what, logs(outputs)));
        }
        let title = text(&event, "/title");
        say(&format!("  202  {title}"));
        posted.push((text(&answer.body, "/event_id"), title));
    }
    Ok(posted)
}

/// Waits until each event is classified and each planned delivery has ended. Returns the tenant and incident of each.
fn await_deliveries(outputs: &Value, events: &[(String, String)]) -> Result<Vec<(String, String)>, CommandFault> {
    let mut found = Vec::new();
    for (event, title) in events {
        let event = until(outputs, &format!("\"{title}\" to be classified"), || {
            let known = get(outputs, "/tokens/intake", &format!("/v1/events/{event}"))?;
            Ok(known.get("classification").is_some().then_some(known))
        })?;
        for incident in array(&event, "/incidents") {
            let id = text(incident, "/incident_id");
            match incident.pointer("/tenant_id").and_then(Value::as_str) {
                Some(tenant) => found.push((tenant.to_owned(), id)),
                None => found.extend(TENANTS.map(|tenant| (tenant.to_owned(), id.clone()))),
            }
        }
    }
    for (tenant, incident) in &found {
        until(outputs, &format!("the messages to {tenant}"), || {
            let detail = detail(outputs, tenant, incident)?;
            let decided = array(&detail, "/decisions").iter().filter(|one| text(one, "/outcome") == "deliver").count();
            let ended = |one: &&Value| ["accepted", "delivered", "failed"].contains(&text(one, "/outcome").as_str());
            let done = array(&detail, "/deliveries").iter().filter(ended).count();
            progress(&format!("  {tenant}: {done} of {decided} messages"));
            Ok((!array(&detail, "/decisions").is_empty() && done >= decided).then_some(()))
        })?;
    }
    progress("");
    Ok(found)
}

/// Polls every 300 ms for at most two minutes. The first calls on a machine that has just built everything are slow.
fn until<T>(
    outputs: &Value,
    what: &str,
    mut poll: impl FnMut() -> Result<Option<T>, CommandFault>,
) -> Result<T, CommandFault> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(120) {
        if let Some(found) = poll()? {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    Err(CommandFault::new(format!("timed out after two minutes waiting for {what}"), logs(outputs)))
}

/// Prints which recipients and channels an incident skipped, grouped by reason.
fn print_skipped(tenant: &str, detail: &Value) {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for decision in array(detail, "/decisions").iter().filter(|one| text(one, "/outcome") != "deliver") {
        let who = format!("{} ({})", text(decision, "/name"), text(decision, "/channel"));
        let why = text(decision, "/sentence");
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, all)) => all.push(who),
            None => reasons.push((why, vec![who])),
        }
    }
    say(&format!("  {tenant}: {}", text(detail, "/incident/title")));
    for (why, who) in reasons {
        say(&format!("    {why}\n      {}", who.join(", ")));
    }
}

fn detail(outputs: &Value, tenant: &str, incident: &str) -> Result<Value, CommandFault> {
    get(outputs, &format!("/tokens/tenant_admin/{tenant}"), &format!("/v1/tenants/{tenant}/incidents/{incident}"))
}

/// Sends a GET to the API with the token at this pointer of outputs.json.
fn get(outputs: &Value, token: &str, path: &str) -> Result<Value, CommandFault> {
    let url = format!("{}{path}", text(outputs, "/api_url"));
    Ok(send("GET", &url, &[("authorization", &format!("Bearer {}", text(outputs, token)))], None)?.body)
}

fn logs(outputs: &Value) -> String {
    let place = text(outputs, "/ca_certificate");
    format!("The functions' logs: {}", place.replace("ca.pem", "logs/emulator.log"))
}

/// Prints the URLs of the stack and how to send an alert, watch, stop and deploy.
pub(crate) fn print_next_steps(name: &str, outputs: &Value) -> Result<(), CommandFault> {
    let flag = stack::flag(name);
    let get = |pointer: &str| text(outputs, pointer);
    say("\nRunning:");
    say(&format!("  API          {}", get("/api_url")));
    say(&format!("  status page  {}/status", get("/api_url")));
    say(&format!(
        "  console      {}/console   (tenant acme, token {})",
        get("/api_url"),
        get("/tokens/tenant_admin/acme")
    ));
    say(&format!(
        "  emulator     {}   (mail: /_ministack/ses/messages, SMS: /_ministack/sns/sms-messages)",
        get("/emulator_url")
    ));
    say(&format!("  receivers    {}   (requests received: {}/inbox)", get("/receivers_url"), get("/control_url")));
    say(&format!(
        "  everything   target/{name}/outputs.json (tokens, queues, functions, demo recipients and integrations)"
    ));
    say("\nSend your own alert:");
    say(&format!(
        "  curl -sS {}/v1/incidents -H 'Authorization: Bearer {}' -H 'content-type: application/json' \\\n    -d '{{\"source\":\"me\",\
         \"type\":\"api.outage\",\"severity\":\"critical\",\"tenant_ids\":[\"acme\"],\"title\":\"My first alert\",\"message\":\"Hello.\"}}'",
        get("/api_url"),
        get("/tokens/intake")
    ));
    say(&format!("\nWatch messages arrive:      cargo xtask watch{flag}"));
    say(&format!("Post the samples again:     cargo xtask demo{flag}"));
    say(&format!("Stop:                       cargo xtask down{flag}"));
    say("Deploy to AWS:              cargo xtask deploy   (docs/deploy.md)");
    Ok(())
}

/// `cargo xtask watch`
pub(crate) fn watch(name: &str) -> Result<(), CommandFault> {
    let outputs = stack::outputs(name)?;
    say("Waiting for messages. Press Ctrl-C to stop.");
    let mut known: BTreeSet<String> = arrivals(&outputs).into_iter().map(|arrival| arrival.id).collect();
    // outputs.json is deleted when the stack goes down.
    while stack::outputs(name).is_ok() {
        for arrival in arrivals(&outputs) {
            if known.insert(arrival.id.clone()) {
                say(&arrival.line());
                say(&format!("           {}", arrival.why));
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    say("The stack was stopped.");
    Ok(())
}

struct Arrival {
    id: String,
    channel: String,
    to: String,
    what: String,
    why: String,
}

impl Arrival {
    fn line(&self) -> String {
        format!("  {:<8} {:<36} {}", self.channel, self.to, self.what)
    }
}

/// Returns every message that arrived on any channel, e-mail first.
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
        let phone = text(message, "/PhoneNumber");
        let (tenant, role) = owner(outputs, &phone).unwrap_or_default();
        found.push(Arrival {
            id: text(message, "/MessageId"),
            channel: "SMS".into(),
            to: format!("{phone} {tenant} {role}"),
            what: text(message, "/Message"),
            why: format!("You get this because {tenant} sends alerts by SMS to the role {role}"),
        });
    }
    let inbox = get(format!("{}/inbox", text(outputs, "/control_url")));
    for request in inbox.as_array().into_iter().flatten() {
        let path = text(request, "/path");
        let body: Value = serde_json::from_str(&text(request, "/body")).unwrap_or_default();
        let (channel, what) = match path.split('/').nth(1) {
            Some("slack") => ("Slack", text(&body, "/text")),
            Some("teams") => ("Teams", text(&body, "/attachments/0/content/fallbackText")),
            _ => ("webhook", format!("{}: {}", text(&body, "/type"), text(&body, "/data/title"))),
        };
        let body_text = body.to_string();
        let why = match body_text.find("You get this").and_then(|at| body_text.get(at..)?.split('.').next()) {
            Some(why) => why.to_owned(),
            None => format!(
                "You get this because {} sends {} alerts by webhook to the role {}",
                text(&body, "/data/tenant_id"),
                text(&body, "/data/category"),
                text(&body, "/data/audience")
            ),
        };
        found.push(Arrival {
            id: format!("{}{path}{}", text(request, "/received_at"), text(request, "/headers/webhook-id")),
            channel: channel.into(),
            to: path.clone(),
            what,
            why,
        });
    }
    found
}

/// Returns the tenant and role of the demo recipient with this phone number.
fn owner(outputs: &Value, phone: &str) -> Option<(String, String)> {
    outputs.get("demo")?.as_object()?.iter().find_map(|(tenant, demo)| {
        let found = array(demo, "/recipients").iter().find(|one| text(one, "/phone") == phone)?;
        Some((tenant.clone(), text(found, "/role")))
    })
}

/// Flattens the lists that the emulator keeps by account or by number.
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
