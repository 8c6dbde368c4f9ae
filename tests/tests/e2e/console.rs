//! The console in a real browser: everything that an admin does there, by mouse and keyboard, on the deployed stack. What it
//! looked like is kept under `target/screens`.

use super::browser::{Browser, driver, runtime};
use serde_json::json;
use std::time::Duration;
use tests::{Stack, stack, unique, wait};

fn console(stack: &Stack) -> String {
    format!("{}/console", stack.text("/api_url"))
}

pub(crate) async fn sign_in(browser: &Browser, tenant: &str, token: &str) {
    browser.client.goto(&console(&browser.stack)).await.unwrap();
    browser.fill("Tenant", tenant).await;
    browser.fill("Token", token).await;
    browser.press("Sign in").await;
}

#[test]
fn an_admin_enables_alerts_tests_them_sees_a_failure_and_fixes_it() {
    let stack = stack!();
    // As a platform admin makes it: everything off, nothing confirmed.
    let id = unique();
    let made = stack.call(
        "PUT",
        &format!("/v1/tenants/{id}"),
        &stack.admin(),
        Some(&json!({"name": "Acme Voice", "plan": "enterprise", "zone": "UTC"})),
    );
    assert_eq!(made.status, 201, "{}", made.body);
    let token = stack
        .token(json!({"name": "console", "tenants": [id], "scopes": ["alerts:read", "alerts:manage", "alerts:test"]}));
    let token = token["token"].as_str().unwrap().to_owned();
    let (_driver, port) = driver();
    runtime().block_on(async {
        let browser = Browser::open(&stack, port, false).await;
        sign_in(&browser, &id, "not-a-token-not-a-token-not-a-to").await;
        browser.status("not valid").await;
        browser.look("console-sign-in").await;
        sign_in(&browser, &id, &token).await;
        browser.find("#app:not([hidden]) #view form").await;
        let kept = browser.script("return [location.href, JSON.stringify({...window.name && {n: window.name}})]", vec![]).await;
        assert!(!kept.to_string().contains(&token), "no token in the address");

        // Turn alerts on: toggle, tick, confirm that it is lawful, save.
        assert!(browser.text().await.contains("No category is turned on"), "the lint says so");
        browser.tick("Infrastructure", true).await;
        browser.tick("Infrastructure by SMS", false).await;
        browser.tick("I confirm that alerting these recipients by e-mail complies with the notification rules that apply to them.", true).await;
        browser.save().await;
        assert!(browser.text().await.contains("Infrastructure is on, but nobody can receive it."), "{}", browser.text().await);
        browser.look("console-settings").await;

        // A field that does not fit is said at the field.
        browser.fill("Time zone", "Mars/Olympus").await;
        browser.press("Save").await;
        browser.xpath("//*[@data-pointer='/zone'][@aria-invalid='true']/following-sibling::*[contains(@class,'error')]").await;
        browser.look("console-settings-error").await;
        browser.fill("Time zone", "Asia/Kolkata").await;
        browser.save().await;

        // Quiet hours, as they stand in the fields.
        browser.choose("Quiet hours", "own").await;
        browser.tick("Saturday", true).await;
        browser.save().await;
        let settings = || stack.call("GET", &format!("/v1/tenants/{id}/settings"), &token, None).json();
        let hours = json!({"from": "22:00", "to": "07:00", "days": ["saturday"], "critical_passes": true});
        assert_eq!(settings()["quiet_hours"], hours);
        browser.tick("Send critical alerts during quiet hours", false).await;
        browser.save().await;
        assert!(browser.text().await.contains("Quiet hours also hold critical alerts"), "the lint says so, there");
        browser.look("console-quiet-hours").await;
        browser.choose("Quiet hours", "").await;
        browser.save().await;
        assert_eq!(settings().get("quiet_hours"), None);

        // A recipient, confirmed by its own link.
        browser.section("Recipients").await;
        browser.press("Add recipient").await;
        browser.fill("Name", "Ops").await;
        let email = format!("{}@{id}.test", unique());
        stack.secret(&email);
        browser.fill("Email", &email).await;
        browser.tick("Org Admin", true).await;
        browser.find("dialog details:last-of-type > summary").await.click().await.unwrap();
        browser.choose("Quiet hours", "none").await;
        browser.choose("Digest", "daily").await;
        browser.choose("Digest channels", "email,sms").await;
        browser.look("console-recipient").await;
        browser.press("Save").await;
        browser.status("Email: confirmation sent").await;
        let people = stack.call("GET", &format!("/v1/tenants/{id}/recipients"), &token, None).json();
        let digest = json!({"every": "daily", "at": "08:00", "below": "error", "channels": ["email", "sms"]});
        assert_eq!((&people["recipients"][0]["digest"], &people["recipients"][0]["no_quiet_hours"]), (&digest, &json!(true)));
        browser.look("console-recipients").await;
        let link = wait("the link", Duration::from_secs(60), || {
            let mail = stack.mails("Confirm incident alerts").into_iter().find(|mail| mail.to == email)?;
            let from = mail.text.find("http")?;
            Some(mail.text[from..].split(['\n', '\r', ' ', '"']).next()?.to_owned())
        });
        stack.secret(link.split("t=").nth(1).unwrap());
        assert_eq!(stack.raw("POST", &link, "", &[], Some(b"")).status, 200);

        // A webhook with the secret that its receiver has already; one of ours is shown once, and both sign.
        browser.section("Integrations").await;
        browser.press("Add integration").await;
        let path = format!("/hook/{id}/{}", unique());
        stack.secret(&path);
        browser.fill("Name", "Our endpoint").await;
        browser.fill("URL", &format!("{}{path}", stack.text("/receivers_url"))).await;
        let own = format!("whsec_{}{}", "QUFB".repeat(8), &id[..4]);
        browser.fill("Secret", "short").await;
        browser.tick("Org Admin", true).await;
        browser.press("Save").await;
        browser.find("dialog .error").await;
        browser.fill("Secret", &own).await;
        stack.secret(&own);
        browser.look("console-integration").await;
        browser.save().await;
        browser.press("New secret").await;
        browser.press("Save").await;
        let secret = browser.find("#secret").await.text().await.unwrap();
        assert!(secret.starts_with("whsec_"), "the secret is shown once");
        stack.secret(&secret);
        browser.look("console-secret").await;
        browser.press("Done").await;
        browser.xpath("//td[contains(., 'Our endpoint')]").await;
        assert!(!browser.text().await.contains(&secret));
        browser.look("console-integrations").await;

        // Send a test, break the receiver, see the cause, repair it, send again.
        browser.section("Test alert").await;
        browser.press("Send test alert").await;
        browser.status("2 delivered · 1 skipped as configured").await;
        browser.look("console-test").await;
        let got = stack.inbox(&path).remove(0);
        for one in [&own, &secret] {
            assert!(!super::webhooks::verified(&stack, one, &got).is_empty(), "{got}");
        }
        stack.behave(&path, json!({"status": 404, "body": "no such hook"}));
        browser.press("Send test alert").await;
        browser.status("1 failed").await;
        let page = browser.text().await;
        assert!(page.contains("The URL doesn't exist.") && page.contains("no such hook") && page.contains("HTTP 404"), "{page}");
        browser.look("console-test-failed").await;
        stack.behave(&path, json!({"status": 200}));
        browser.press("Send again").await;
        browser.status("2 delivered · 1 skipped as configured").await;
        browser.look("console-test-fixed").await;

        browser.section("Delivery log").await;
        browser.look("console-deliveries").await;
        browser.section("Incidents").await;
        browser.look("console-incidents").await;
        browser.press("Who was notified").await;
        browser.xpath(r#"//table[contains(., "This channel isn't selected for the category.")]"#).await;
        browser.look("console-explain").await;
        browser.client.clone().close().await.unwrap();
    });
}

#[test]
fn two_admins_who_save_at_once_lose_no_change() {
    let stack = stack!();
    let tenant = stack.tenant("business");
    let (_driver, port) = driver();
    runtime().block_on(async {
        let browser = Browser::open(&stack, port, true).await;
        sign_in(&browser, &tenant.id, &tenant.token).await;
        browser.find("#app:not([hidden]) #view form").await;
        browser.tick("Billing by Email", false).await;
        tenant.set(json!({"zone": "Europe/Berlin", "categories": {"configurable": {"enabled": false}}}));
        browser.press("Save").await;
        browser.status("Your changes are not lost").await;
        let shown = browser.text().await;
        assert!(shown.contains("Europe/Berlin") && shown.contains("They changed"), "{shown}");
        browser.look("console-conflict-dark").await;
        browser.press("Save my changes too").await;
        browser.status("your changes were added to theirs").await;
        let now = tenant.get("/settings");
        assert_eq!(now["categories"]["billing"]["channels"], json!(["chat"]));
        assert_eq!(
            (&now["zone"], &now["categories"]["configurable"]["enabled"]),
            (&json!("Europe/Berlin"), &json!(false))
        );
        browser.look("console-settings-dark").await;

        // On a phone, and with nothing but the keyboard.
        browser.client.set_window_size(360, 740).await.unwrap();
        for section in
            ["Categories and channels", "Recipients", "Integrations", "Test alert", "Delivery log", "Incidents"]
        {
            browser.section(section).await;
            browser.look(&format!("console-phone-{}", section.to_lowercase().replace(' ', "-"))).await;
        }
        browser.section("Recipients").await;
        let add = browser.xpath("//button[normalize-space()='Add recipient']").await;
        add.send_keys("\u{e007}").await.unwrap();
        browser.find("dialog[open]").await;
        browser.client.active_element().await.unwrap().send_keys("\u{e00c}").await.unwrap();
        let back = browser.client.active_element().await.unwrap().text().await.unwrap();
        assert_eq!(back, "Add recipient", "the focus goes back to where it came from");
        browser.client.clone().close().await.unwrap();
    });
}

#[test]
fn the_console_cannot_be_framed_and_runs_no_foreign_script() {
    let stack = stack!();
    for file in ["", "/app.js", "/style.css"] {
        let answer = stack.call("GET", &format!("{}{file}", console(&stack)), "", None);
        assert_eq!(answer.status, 200, "{file}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    assert_eq!(stack.call("GET", &format!("{}/other", console(&stack)), "", None).status, 404);
}
