//! The pictures of README.md: the console of a tenant, and an alert by e-mail. They are written to target/screens as
//! `docs-console.png` and `docs-email.png`; whoever changes a page copies them to docs/images.

#[path = "../../../shared/contracts/tests/samples/mod.rs"]
mod samples;

use super::browser::{Browser, driver, runtime};
use super::console::sign_in;
use domain::render::{self, BatchKind, DigestContent, DigestEntry, QuestionLinks};
use fantoccini::Locator;
use serde_json::json;
use std::time::Duration;
use tests::{stack, unique, wait};

#[test]
fn the_pictures_of_the_readme_are_made() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    tenant.set(json!({"name": "Acme Voice"}));
    let person = tenant.person("org_admin", &[]);
    drop(tenant.endpoint("slack", "org_admin"));
    drop(tenant.endpoint("webhook", "org_admin"));
    let key = unique();
    let event = stack.post(json!({"type": "voice.routing_failure", "severity": "critical", "dedup_key": key,
        "title": "Outbound calls fail in Mumbai", "tenant_ids": [tenant.id], "components": ["voice"], "regions": ["ap-south-1"],
        "message": "Every third call over the Mumbai carrier fails. We are rerouting."}));
    drop(stack.incident_of(&event));
    let html =
        wait("the e-mail", Duration::from_secs(60), || stack.mail_html("Outbound calls fail in Mumbai", &person.email));
    let file = stack.folder("pictures").join("email.html");
    // The text in every test's message has no place in a picture.
    std::fs::write(&file, html.replace(tests::BODY_MARK, "")).unwrap();
    let (_driver, port) = driver();
    runtime().block_on(async {
        let browser = Browser::open(&stack, port, false).await;
        browser.client.set_window_size(1000, 760).await.unwrap();
        sign_in(&browser, &tenant.id, &tenant.token).await;
        browser.find("#app:not([hidden]) #view form").await;
        browser.look("docs-console").await;
        browser.client.set_window_size(640, 760).await.unwrap();
        browser.client.goto(&format!("file://{}", file.display())).await.unwrap();
        browser.photograph("docs-email").await;
        browser.client.clone().close().await.unwrap();
    });
}

/// The HTML of one e-mail of each kind, with its name.
fn mails() -> Vec<(String, String)> {
    let (why, links) = (samples::why(), samples::links());
    let mail = |(name, alert)| (String::from(name), render::email(&alert, &why, &links).html);
    let mut mails: Vec<(String, String)> = samples::alerts().into_iter().map(mail).collect();
    let several = samples::several();
    let entries: Vec<DigestEntry<'_>> =
        several.iter().map(|alert| DigestEntry { alert, url: samples::INCIDENT_URL }).collect();
    for (name, kind) in [("bundle", BatchKind::Bundle), ("digest", BatchKind::Digest)] {
        let content = DigestContent {
            tenant: &several[0].tenant,
            zone: "Asia/Kolkata",
            kind,
            since: several[0].at,
            entries: &entries,
            omitted_count: 0,
            unsubscribe: &[],
        };
        mails.push((name.to_owned(), render::digest_email(&content).html));
    }
    let question =
        QuestionLinks { agree: "https://alerts.example.com/confirm", never: "https://alerts.example.com/never" };
    mails.push(("confirmation".to_owned(), render::confirmation_email("Acme Voice", "acme", question).html));
    mails
}

#[test]
fn every_e_mail_is_readable_by_day_and_by_night_on_a_phone_and_on_a_desk() {
    let stack = stack!();
    let folder = stack.folder("mail-pictures");
    let (_driver, port) = driver();
    runtime().block_on(async {
        for (dark, scheme) in [(false, "light"), (true, "dark")] {
            let browser = Browser::open(&stack, port, dark).await;
            for (name, html) in mails() {
                let file = folder.join(format!("{name}.html"));
                std::fs::write(&file, html).unwrap();
                browser.client.goto(&format!("file://{}", file.display())).await.unwrap();
                for (width, height) in [(1280, 1000), (390, 1400)] {
                    browser.client.set_window_size(width, height).await.unwrap();
                    browser.look_at_mail(&format!("mail-{name}-{width}-{scheme}")).await;
                }
            }
            browser.client.clone().close().await.unwrap();
        }
    });
}

/// Pages as their readers open them, by name and address.
fn pages(stack: &tests::Stack) -> Vec<(&'static str, String)> {
    let mut tenant = stack.tenant("enterprise");
    tenant.set(json!({"name": "Acme Voice"}));
    let person = tenant.person("org_admin", &[]);
    let mark = unique();
    let post = |kind: &str, more: serde_json::Value| {
        let mut event = json!({"type": kind, "severity": "critical", "dedup_key": unique(), "title": format!("Calls fail {mark}"),
            "tenant_ids": [tenant.id], "components": ["voice"], "regions": ["ap-south-1"],
            "message": "Every third call over the Mumbai carrier fails. We are rerouting.",
            "links": [{"href": "https://runbooks.example.com/calls", "text": "Runbook"}]});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stack.incident_of(&stack.post(event))
    };
    let own = post("voice.routing_failure", json!({}));
    drop(tenant.settled(&own, 1));
    let mail = stack.mails(&mark).into_iter().find(|mail| mail.to == person.email).expect("an e-mail came");
    let words = mail.text.replace("=\r\n", "").replace("=\n", "");
    let link = |part: &str| {
        let url =
            words.split_whitespace().find(|word| word.contains(part)).unwrap_or_else(|| panic!("{part} in {words}"));
        stack.secret(url.split("t=").nth(1).unwrap());
        url.trim_end_matches('.').to_owned()
    };
    let texts = stack.texts(&person.phone);
    let text = texts.iter().find(|text| text.text.contains("/r/")).expect("a text message came");
    let short = text.text.split_whitespace().find(|word| word.contains("/r/")).unwrap().to_owned();
    stack.secret(short.rsplit('/').next().unwrap());
    let api = stack.text("/api_url");
    vec![
        ("status", format!("{api}/status?zone=Asia/Kolkata")),
        ("read", short),
        ("stop", link("/stop?t=")),
        ("unsubscribe", link("/unsubscribe?t=")),
        ("invalid-link", format!("{api}/confirm?t=x")),
    ]
}

#[test]
fn pages_that_messages_lead_to_are_readable_by_day_and_by_night_at_any_size_and_by_keyboard() {
    let stack = stack!();
    let pages = pages(&stack);
    let (_driver, port) = driver();
    runtime().block_on(async {
        for (dark, scheme) in [(false, "light"), (true, "dark")] {
            let browser = Browser::open(&stack, port, dark).await;
            for (name, url) in &pages {
                browser.client.goto(url).await.unwrap();
                // 640 is 1,280 at 200 %.
                for (width, height) in [(1280, 1100), (640, 900), (390, 1200)] {
                    browser.client.set_window_size(width, height).await.unwrap();
                    browser.look(&format!("page-{name}-{width}-{scheme}")).await;
                }
                for one in browser.client.find_all(Locator::Css("a[href], button, select")).await.unwrap() {
                    let focus = "arguments[0].focus(); return document.activeElement === arguments[0]";
                    let focused = browser.script(focus, vec![serde_json::to_value(&one).unwrap()]).await;
                    assert_eq!(focused, json!(true), "{name}: {:?}", one.html(false).await);
                }
            }
            browser.client.clone().close().await.unwrap();
        }
    });
}
