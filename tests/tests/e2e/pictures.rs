//! The pictures of README.md: the console of a tenant, and an alert by e-mail. They are written to target/screens as
//! `docs-console.png` and `docs-email.png`; whoever changes a page copies them to docs/images.

use super::browser::{Browser, driver, runtime};
use super::console::sign_in;
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
