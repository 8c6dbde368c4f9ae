//! Addresses and numbers get nothing before their owners say yes, and are not asked often.

use serde_json::{Value, json};
use std::time::Duration;
use tests::tenant::Tenant;
use tests::{stack, unique, wait};

fn add(tenant: &Tenant, body: Value) -> Value {
    let answer = tenant.stack.call("POST", &tenant.path("/recipients"), &tenant.token, Some(&body));
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.json()
}

fn id(recipient: &Value) -> String {
    recipient["id"].as_str().unwrap().to_owned()
}

fn of(tenant: &Tenant, recipient: &Value) -> Value {
    tenant.get(&format!("/recipients/{}", id(recipient)))
}

/// The link of the newest mail to an address.
fn link(tenant: &Tenant, email: &str, nth: usize) -> String {
    wait("the mail with the link", Duration::from_secs(60), || {
        let mails: Vec<_> =
            tenant.stack.mails("Confirm incident alerts").into_iter().filter(|mail| mail.to == email).collect();
        let text = mails.get(nth)?.text.clone();
        let from = text.find("http")?;
        Some(text[from..].split(['\n', '\r', ' ', '"']).next()?.to_owned())
    })
}

#[test]
fn an_address_gets_no_alert_before_its_owner_confirms_it() {
    let stack = stack!();
    let tenant = stack.tenant("enterprise");
    let email = format!("{}@{}.test", unique(), tenant.id);
    stack.secret(&email);
    let made = add(&tenant, json!({"name": "Ops", "email": email, "roles": ["org_admin"], "confirmed": true}));
    assert_eq!((&made["email_confirmed"], &made["confirmation"]["email"]["state"]), (&json!(false), &json!("sent")));
    let test = |outcome: &str| {
        let body = json!({"recipient_id": id(&made), "channel": "email", "category": "infrastructure"});
        let answer = stack.call("POST", &tenant.path("/test-alert"), &tenant.token, Some(&body)).json();
        assert_eq!(answer["rows"][0]["outcome"], outcome, "{answer:#}");
        answer["rows"][0].clone()
    };
    assert_eq!(test("skipped")["reason"], "contact_unconfirmed");

    let url = link(&tenant, &email, 0);
    stack.secret(url.split("t=").nth(1).unwrap());
    for _ in 0..2 {
        let page = stack.raw("GET", &url, "", &[], None);
        assert!(page.status == 200 && page.body.contains("Confirm this address"), "{}", page.body);
        assert!(!page.body.contains(&email), "the page shows no address");
    }
    assert_eq!(of(&tenant, &made)["email_confirmed"], false, "a scanner that opens links confirms nothing");
    let broken = format!("{url}x");
    assert_eq!(stack.raw("POST", &broken, "", &[], Some(b"")).status, 404);
    let yes = stack.raw("POST", &url, "", &[], Some(b""));
    assert!(yes.status == 200 && yes.body.contains("Confirmed"), "{}", yes.body);
    assert_eq!(of(&tenant, &made)["email_confirmed"], true);
    assert_eq!(stack.raw("POST", &url, "", &[], Some(b"")).status, 200, "twice is once");
    test("accepted");

    // Another address is another question, and the old link answers it not.
    let other = format!("{}@{}.test", unique(), tenant.id);
    stack.secret(&other);
    let path = format!("/recipients/{}", id(&made));
    let answer = tenant.patch(&path, &json!({"email": other}));
    assert_eq!(
        (answer.status, &answer.json()["confirmation"]["email"]["state"]),
        (200, &json!("sent")),
        "{}",
        answer.body
    );
    assert_eq!(stack.raw("POST", &url, "", &[], Some(b"")).status, 404);
    assert_eq!(of(&tenant, &made)["email_confirmed"], false);
    let fresh = link(&tenant, &other, 0);
    stack.secret(fresh.split("t=").nth(1).unwrap());
    assert_eq!(stack.raw("POST", &fresh, "", &[], Some(b"")).status, 200);

    let trail = tenant.get("/audit");
    let confirmed =
        trail["audit"].as_array().unwrap().iter().filter(|entry| entry["what"] == "recipient.email_confirmed");
    assert!(confirmed.clone().all(|entry| entry["who"] == "recipient") && confirmed.count() == 2, "{trail:#}");
}

#[test]
fn a_number_is_confirmed_by_its_code_and_guessing_ends() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    // A number that nobody else has; the person itself is taken away again.
    let person = tenant.person("org_admin", &[]);
    let path = format!("/recipients/{}", person.id);
    let tag = stack.call("GET", &tenant.path(&path), &tenant.token, None);
    let tag = tag.header("etag").unwrap().to_owned();
    let gone = stack.call_with("DELETE", &tenant.path(&path), &tenant.token, &[("if-match", &tag)], None);
    assert_eq!(gone.status, 204);
    let made = add(&tenant, json!({"name": "On call", "phone": person.phone, "roles": ["org_admin"]}));
    let sms = wait("the code", Duration::from_secs(60), || {
        stack.texts(&person.phone).into_iter().find(|sms| sms.text.contains("is your code"))
    });
    let code: String = sms.text.chars().take(6).collect();
    stack.secret(&code);
    let confirm = |code: &str| {
        let body = json!({"channel": "sms", "code": code});
        stack.call("POST", &tenant.path(&format!("/recipients/{}/confirm", id(&made))), &tenant.token, Some(&body))
    };
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let refused = confirm(wrong);
    assert_eq!((refused.status, refused.json()["errors"][0]["pointer"].as_str()), (422, Some("/code")));
    assert!(refused.body.contains("4 tries"), "{}", refused.body);
    let right = confirm(&code);
    assert_eq!((right.status, &right.json()["phone_confirmed"]), (200, &json!(true)), "{}", right.body);
    assert_eq!(confirm(&code).status, 409, "there is nothing left to confirm");

    // Whoever guesses is stopped, and not even the right code opens then.
    let other = add(&tenant, json!({"name": "Guess", "phone": next(&person.phone), "roles": ["org_admin"]}));
    let path = tenant.path(&format!("/recipients/{}/confirm", id(&other)));
    let guess = |code: &str| stack.call("POST", &path, &tenant.token, Some(&json!({"channel": "sms", "code": code})));
    let sms = wait("the other code", Duration::from_secs(60), || {
        stack.texts(&next(&person.phone)).into_iter().find(|sms| sms.text.contains("is your code"))
    });
    let code: String = sms.text.chars().take(6).collect();
    stack.secret(&code);
    for _ in 0..5 {
        assert_eq!(guess(if code == "000000" { "000001" } else { "000000" }).status, 422);
    }
    let over = guess(&code);
    assert!(over.status == 422 && over.body.contains("tried too often"), "{}", over.body);
}

/// Another number for fiction.
fn next(phone: &str) -> String {
    let (head, last) = phone.split_at(phone.len() - 2);
    format!("{head}{:02}", (last.parse::<u32>().unwrap() + 1) % 100)
}

#[test]
fn confirmation_requests_are_limited_across_tenants() {
    let stack = stack!();
    let (first, second) = (stack.tenant("business"), stack.tenant("business"));
    let email = format!("{}@{}.test", unique(), first.id);
    stack.secret(&email);
    let recipient = json!({"name": "Victim", "email": email, "roles": ["org_admin"]});
    let made = add(&first, recipient.clone());
    assert_eq!(made["confirmation"]["email"]["state"], "sent");
    let elsewhere = add(&second, recipient);
    assert_eq!(elsewhere["confirmation"]["email"]["state"], "too_soon", "{elsewhere}");
    let again = |tenant: &Tenant, recipient: &Value| {
        let path = tenant.path(&format!("/recipients/{}/confirmation", id(recipient)));
        stack.call("POST", &path, &tenant.token, Some(&json!({"channel": "email"})))
    };
    let refused = again(&first, &made);
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert!(refused.header("retry-after").is_some_and(|seconds| (1..=60).contains(&seconds.parse::<u32>().unwrap())));
    assert_eq!(again(&second, &made).status, 404, "another tenant's recipient does not exist");
    let sms = json!({"channel": "sms"});
    let path = first.path(&format!("/recipients/{}/confirmation", id(&made)));
    assert_eq!(stack.call("POST", &path, &first.token, Some(&sms)).status, 409, "there is no number");
    assert_eq!(stack.mails("Confirm incident alerts").iter().filter(|mail| mail.to == email).count(), 1);

    // What may not be mailed is not asked either.
    second.set(json!({"allowed_email_domains": ["example.com"]}));
    let outside = format!("{}@elsewhere.test", unique());
    stack.secret(&outside);
    let withheld = add(&second, json!({"name": "Outside", "email": outside, "roles": ["org_admin"]}));
    assert_eq!(withheld["confirmation"]["email"]["state"], "withheld", "{withheld}");
}

#[test]
fn nobody_is_notified_without_the_admins_compliance_statement() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("org_admin", &[]);
    let hook = tenant.endpoint("webhook", "org_admin");
    tenant.set(json!({"compliance": {"confirmed": ["email"]}}));
    let event = json!({"type": "api.outage", "severity": "critical", "title": unique(), "tenant_ids": [tenant.id]});
    let incident = stack.incident_of(&stack.post(event));
    drop(tenant.settled(&incident, 1));
    let known = tenant.get(&format!("/incidents/{incident}/explain"));
    let of = |id: &str, channel: &str| {
        let entries = known["decisions"].as_array().unwrap();
        let entry = entries.iter().find(|entry| {
            (entry["recipient_id"] == id || entry["integration_id"] == id) && entry["channel"] == channel
        });
        entry.unwrap_or_else(|| panic!("{known:#}")).clone()
    };
    let sms = of(&person.id, "sms");
    assert_eq!(
        (&sms["reason"], &sms["setting"]),
        (&json!("compliance_unconfirmed"), &json!("settings.compliance.confirmed"))
    );
    assert_eq!(of(&person.id, "email")["outcome"], "accepted");
    assert_eq!(of(&hook.id, "webhook")["outcome"], "delivered", "a machine needs no such word");
    let lint = tenant.get("/lint")["lint"].as_array().unwrap().clone();
    let said = lint.iter().filter(|finding| finding["setting"] == "settings.compliance.confirmed").count();
    assert!(said >= 1 && lint.iter().all(|finding| finding["code"] != "compliance_unconfirmed"), "{lint:#?}");
    let settings = tenant.get("/settings");
    let confirmations = settings["compliance"]["confirmations"].as_array().unwrap();
    assert!(confirmations.len() == 1 && confirmations[0]["wording"].as_str().unwrap().contains("notification rules"));
    let trail = tenant.get("/audit");
    assert!(trail["audit"].as_array().unwrap().iter().any(|entry| entry["what"] == "settings.compliance_confirmed"));
}
