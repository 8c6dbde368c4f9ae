//! The status page as its readers have it: people in a browser, clients of Statuspage's API, feed readers and calendars, and a tenant
//! that also sees what is only its own.

use crate::browser::{Browser, driver, runtime};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use tests::npm::node_modules;
use tests::receive::text;
use tests::{Stack, in_seconds, stack, unique, wait};

fn post(stack: &Stack, mark: &str, event_type: &str, more: Value) -> String {
    let mut event = json!({"type": event_type, "severity": "error", "title": format!("{mark} raw"), "platform": true,
        "public_title": format!("{mark} {event_type}"), "public_message": format!("{mark} words & <more>"),
        "dedup_key": format!("{mark}-{event_type}"), "components": ["voice"], "regions": ["ap-south-1"]});
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    let incident = stack.incident_of(&stack.post(event));
    wait("its public page", Duration::from_secs(60), || {
        let page = stack.call("GET", &format!("/status/incidents/{incident}"), "", None);
        (page.status == 200).then_some(())
    });
    incident
}

fn find<'a>(list: &'a Value, id: &str) -> Option<&'a Value> {
    list.as_array().unwrap().iter().find(|one| one["id"] == id)
}

#[test]
fn statuspage_clients_feed_readers_and_calendars_accept_the_status_page() {
    let stack = stack!();
    let mark = unique();
    let open = post(&stack, &mark, "voice.routing_failure", json!({"components": ["voice", "flux"]}));
    let hours = json!({"starts_at": in_seconds(3_600), "ends_at": in_seconds(7_200), "dedup_key": format!("{mark}-w"),
        "components": ["network"]});
    let work = post(&stack, &mark, "maintenance.announced", hours);
    let key = json!({"dedup_key": format!("{mark}-off"), "starts_at": in_seconds(7_200), "components": ["network"]});
    let off = post(&stack, &mark, "maintenance.announced", key);
    post(&stack, &mark, "maintenance.completed", json!({"dedup_key": format!("{mark}-off")}));
    wait("the canceled maintenance", Duration::from_secs(60), || {
        let page = stack.call("GET", &format!("/status/incidents/{off}"), "", None);
        page.body.contains("Canceled").then_some(())
    });
    let over = post(&stack, &mark, "pop.degraded", json!({"regions": []}));
    post(&stack, &mark, "pop.degraded", json!({"regions": [], "status": "resolved"}));
    wait("the end on the page", Duration::from_secs(60), || {
        let list = stack.call("GET", "/api/v2/incidents.json", "", None).json();
        (find(&list["incidents"], &over)?["status"] == "resolved").then_some(())
    });

    let read = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/statuspage.js"))
        .args([node_modules(&stack).to_str().unwrap(), &stack.text("/api_url")])
        .output()
        .expect("node is on the path; apt-get install -y nodejs npm");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let read: Value = serde_json::from_slice(&read.stdout).unwrap();
    let now = find(&read["unresolved"]["incidents"], &open).unwrap();
    assert_eq!((&now["name"], &now["impact"]), (&json!(format!("{mark} voice.routing_failure")), &json!("major")));
    assert_eq!(now["shortlink"], format!("{}/status/incidents/{open}", stack.text("/api_url")));
    assert_eq!(now["incident_updates"][0]["body"], format!("{mark} words & <more>"));
    let components: Vec<&str> =
        now["components"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(components, ["Voice calls", "flux"], "what the catalogue does not know is there all the same");
    assert!(find(&read["unresolved"]["incidents"], &over).is_none());
    assert_eq!(find(&read["incidents"]["incidents"], &over).unwrap()["resolved_at"].as_str().map(str::len), Some(24));
    assert!(find(&read["summary"]["incidents"], &open).is_some());
    assert!(
        ["major", "critical"].contains(&read["status"]["status"]["indicator"].as_str().unwrap()),
        "{}",
        read["status"]
    );
    let voice = find(&read["components"]["components"], "voice").unwrap();
    assert!(["partial_outage", "major_outage"].contains(&voice["status"].as_str().unwrap()), "{voice}");
    for list in ["upcoming", "summary"] {
        let planned = find(&read[list]["scheduled_maintenances"], &work).unwrap_or_else(|| panic!("{list}"));
        assert_eq!((&planned["status"], &planned["impact"]), (&json!("scheduled"), &json!("maintenance")));
        assert!(planned["scheduled_until"].as_str() > planned["scheduled_for"].as_str());
    }
    // The client requests the upcoming list for each of its three maintenance calls.
    let active = stack.call("GET", "/api/v2/scheduled-maintenances/active.json", "", None).json();
    assert!(find(&active["scheduled_maintenances"], &work).is_none());
    let all = stack.call("GET", "/api/v2/scheduled-maintenances.json", "", None).json();
    assert!(find(&all["scheduled_maintenances"], &work).is_some());
    let called_off = find(&all["scheduled_maintenances"], &off).unwrap();
    assert_eq!(called_off["status"], "completed");
    assert!(called_off["scheduled_for"].as_str() > called_off["resolved_at"].as_str(), "{called_off}");
    assert!(!read.to_string().contains(&format!("{mark} raw")), "what is not public is not there");

    let feed = stack.call("GET", "/status/feed.atom", "", None);
    assert_eq!(feed.header("content-type"), Some("application/atom+xml; charset=utf-8"));
    let feed = stack.client(&["atom", &feed.body]);
    assert_eq!((&feed["bozo"], &feed["version"]), (&json!(false), &json!("atom10")), "{feed}");
    let page = format!("{}/status/incidents/{over}", stack.text("/api_url"));
    let entry = find(&feed["entries"], &page).unwrap();
    assert_eq!((&entry["title"], &entry["link"]), (&json!(format!("{mark} pop.degraded")), &json!(page)));
    let content = text(entry, "/content");
    assert!(content.contains("<strong>Resolved</strong>") && content.contains("&#60;more&#62;"), "{content}");
    assert!(entry["updated"].as_str() > entry["published"].as_str());

    let calendar = stack.call("GET", "/status/maintenance.ics", "", None);
    assert_eq!(calendar.header("content-type"), Some("text/calendar; charset=utf-8"));
    let events = stack.client(&["calendar", &calendar.body]);
    let event = |id: &str| {
        let uid = format!("{id}@tocsin");
        events.as_array().unwrap().iter().find(|event| event["uid"] == uid).unwrap()
    };
    assert_eq!(event(&off)["status"], "CANCELLED");
    let event = event(&work);
    assert_eq!(
        (&event["summary"], &event["status"]),
        (&json!(format!("{mark} maintenance.announced")), &json!("CONFIRMED"))
    );
    assert_eq!((&event["description"], &event["errors"]), (&json!(format!("{mark} words & <more>")), &json!([])));
    assert!(event["end"].as_str() > event["start"].as_str(), "{event}");

    // An unchanged page answers 304, and any site may read public responses.
    let first = stack.call("GET", "/api/v2/components.json", "", None);
    assert_eq!(first.header("access-control-allow-origin"), Some("*"));
    assert!(first.header("cache-control").unwrap().contains("max-age=15"));
    let url = format!("{}/api/v2/components.json", stack.text("/api_url"));
    let tag = first.header("etag").unwrap();
    let again = tests::http::send("GET", &url, &[("if-none-match", tag)], None).unwrap();
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    // A page says as of when it is, to the second, and is the same page all the same.
    let url = format!("{}/status", stack.text("/api_url"));
    wait("a page that did not change", Duration::from_secs(60), || {
        let first = tests::http::send("GET", &url, &[], None).unwrap();
        tests::pause(2);
        let tag = first.header("etag").unwrap();
        let again = tests::http::send("GET", &url, &[("if-none-match", tag)], None).unwrap();
        (again.status == 304 && again.body.is_empty()).then_some(())
    });
    let badge = stack.call("GET", "/status/badge.svg", "", None);
    assert!(badge.header("content-type") == Some("image/svg+xml") && badge.body.contains("outage"), "{}", badge.body);
    assert_eq!(stack.call("GET", "/api/v2/users.json", "", None).status, 404);
}

/// Opens a page, again and again until it has every one of `parts`: what a warm function read counts for five seconds.
async fn open_with(browser: &Browser, page: &str, parts: &[&str]) {
    for attempt in 0.. {
        browser.client.goto(page).await.unwrap();
        let text = browser.text().await;
        let Some(missing) = parts.iter().find(|part| !text.contains(**part)) else { return };
        assert!(attempt < 20, "{missing} in {text}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[test]
fn the_status_page_is_readable_in_light_and_dark_and_on_a_phone() {
    let stack = stack!();
    let mark = unique();
    let open = post(
        &stack,
        &mark,
        "voice.routing_failure",
        json!({"severity": "critical", "regions": ["ap-south-1", "eu-central-1"]}),
    );
    post(
        &stack,
        &mark,
        "voice.routing_failure",
        json!({"severity": "critical", "regions": ["ap-south-1", "eu-central-1"], "status": "identified",
            "public_message": "A route of a carrier is broken. Calls go over another one now."}),
    );
    let hours = |at: i64| {
        json!({"starts_at": in_seconds(at), "ends_at": in_seconds(at + 7_200), "components": ["network"],
        "dedup_key": format!("{mark}-w{at}"), "severity": "info"})
    };
    post(&stack, &mark, "maintenance.announced", hours(86_400));
    post(&stack, &mark, "maintenance.started", hours(-60));
    let (_driver, port) = driver();
    let page = format!("{}/status", stack.text("/api_url"));
    runtime().block_on(async {
        for (name, dark) in [("light", false), ("dark", true)] {
            let browser = Browser::open(&stack, port, dark).await;
            let parts = [
                "Major service disruption",
                "Open incidents",
                "Maintenance",
                "Voice calls",
                "Mumbai: major outage",
                "Under maintenance",
                "90 days ago",
            ];
            open_with(&browser, &page, &parts).await;
            browser.look(&format!("status-{name}")).await;
            open_with(&browser, &format!("{page}/incidents/{open}"), &["A route of a carrier is broken."]).await;
            browser.look(&format!("status-incident-{name}")).await;
            browser.client.goto(&format!("{page}/incidents/inc_{}", unique())).await.unwrap();
            browser.look(&format!("status-not-found-{name}")).await;
            browser.client.set_window_size(390, 844).await.unwrap();
            browser.client.goto(&page).await.unwrap();
            browser.look(&format!("status-phone-{name}")).await;
            // The links of the page lead where they say.
            let link = browser.xpath("//a[normalize-space()='Atom feed']").await.prop("href").await.unwrap().unwrap();
            assert_eq!(link, format!("{page}/feed.atom"));
            browser.client.clone().close().await.unwrap();
        }
    });
}

#[test]
fn a_tenant_also_sees_its_own_incidents_and_when_it_was_affected() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("org_admin", &[]));
    let other = stack.tenant("starter");
    let (mark, place) = (unique(), unique());
    let public = post(&stack, &mark, "carrier.outage", json!({"components": ["carrier"], "regions": ["us-east-1"]}));
    let say = |event_type: &str, components: &[&str], status: &str| {
        stack.incident_of(&stack.post(
            json!({"type": event_type, "title": format!("{mark} own"), "tenant_ids": [tenant.id],
            "components": components, "regions": [place], "dedup_key": format!("{mark}-{event_type}"), "status": status,
            "starts_at": in_seconds(-3_600)}),
        ))
    };
    let own = say("voice.routing_failure", &["voice", "api"], "investigating");
    drop(tenant.settled(&own, 1));
    // A tenant's own incident does not change the state of the platform's components.
    drop(tenant.settled(&say("ivr.misconfigured", &["ivr"], "investigating"), 1));
    let status = tenant.get("/status");
    assert!(find(&status["incidents"], &public).is_some() && find(&status["incidents"], &own).is_some(), "{status}");
    assert_eq!(status["complete"], true, "{status}");
    let mine = find(&status["incidents"], &own).unwrap();
    assert_eq!(mine["name"], format!("{mark} own"));
    // Others' platform-wide incidents count as well.
    let voice = find(&status["components"], "voice").unwrap()["status"].as_str().unwrap();
    assert!(["partial_outage", "major_outage"].contains(&voice), "{status}");
    let link = text(mine, "/shortlink");
    assert!(link.ends_with(&format!("/v1/tenants/{}/incidents/{own}", tenant.id)), "{link}");
    assert!(find(&other.get("/status")["incidents"], &own).is_none());
    assert!(!stack.call("GET", "/api/v2/incidents.json", "", None).body.contains(&format!("{mark} own")));

    // Others' platform-wide incidents may be open as well, but not there.
    let affected = |query: &str| -> Vec<(String, bool)> {
        let answer = tenant.get(&format!("/impact?region={place}&{query}"));
        assert!(!answer.to_string().contains(&mark), "by component and region only");
        let all = answer["affected"].as_array().unwrap().clone();
        let there = all.iter().filter(|one| one["region"] == place.as_str());
        there.map(|one| (text(one, "/component"), one["until"].is_null())).collect()
    };
    let (voice, api) = (|lasts| ("voice".to_owned(), lasts), |lasts| ("api".to_owned(), lasts));
    // It was reported an hour after it had started.
    let hour = format!("from={}&to={}", in_seconds(-3_000), in_seconds(-2_400));
    assert_eq!(affected(&hour), [api(true), voice(true)]);
    assert_eq!(affected("component=voice"), [voice(true)]);
    assert_eq!(say("voice.routing_failure", &["voice"], "identified"), own);
    drop(tenant.settled(&own, 2));
    // An answer is kept for a few seconds.
    let become_affected = |all: [(String, bool); 2]| {
        wait("the impact to change", Duration::from_secs(20), || (affected("") == all).then_some(()));
    };
    // What it affected before counts for as long as it did.
    become_affected([api(false), voice(true)]);
    assert_eq!(say("voice.routing_failure", &[], "resolved"), own);
    drop(tenant.settled(&own, 3));
    become_affected([api(false), voice(false)]);
    assert!(affected("from=2020-01-01T00:00:00Z&to=2020-02-01T00:00:00Z").is_empty());
    let wrong = stack.call("GET", &tenant.path("/impact?from=yesterday"), &tenant.token, None);
    assert_eq!((wrong.status, &wrong.json()["errors"][0]["pointer"]), (422, &json!("query:from")));
    let wrong = stack.call("GET", &tenant.path("/impact?cursor=yesterday"), &tenant.token, None);
    assert_eq!((wrong.status, &wrong.json()["errors"][0]["pointer"]), (422, &json!("query:cursor")));
    let foreign = stack.call("GET", &format!("/v1/tenants/{}/impact", other.id), &tenant.token, None);
    assert_eq!(foreign.status, 404, "another tenant's is not there");
}
