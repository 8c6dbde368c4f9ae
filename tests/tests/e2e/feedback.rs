//! What SES says later: a bounce, a complaint and a delivery end on the row, in the explanation and in the test's outcome.

use serde_json::{Value, json};
use std::time::Duration;
use tests::tenant::Tenant;
use tests::{Stack, stack, unique, wait};

/// The newest entry for a recipient's e-mail, as soon as it is as wanted.
fn explained(tenant: &Tenant, incident: &str, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait("the mail server's word", Duration::from_secs(90), || {
        let known = tenant.get(&format!("/incidents/{incident}/explain"));
        let mine = known["decisions"]
            .as_array()?
            .iter()
            .rfind(|entry| entry["recipient_id"] == id && entry["channel"] == "email")?;
        wanted(mine).then(|| mine.clone())
    })
}

fn opened(stack: &Stack, tenant: &Tenant) -> String {
    let event = json!({"type": "api.outage", "severity": "error", "title": unique(), "tenant_ids": [tenant.id]});
    let incident = stack.incident_of(&stack.post(event));
    drop(tenant.settled(&incident, 1));
    incident
}

/// SES's mailbox simulator, an address of its own for each test.
fn simulator(what: &str) -> String {
    format!("{what}+{}@simulator.amazonses.com", unique())
}

#[test]
fn a_bounce_fails_the_delivery_suppresses_the_address_and_notifies_the_admins() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let admin = tenant.person("org_admin", &[]);
    let address = simulator("bounce");
    stack.secret(&address);
    let gone = tenant.person_with("support_manager", json!({"email": address}));
    let first = opened(&stack, &tenant);
    let bounced = explained(&tenant, &first, &gone.id, |entry| entry["outcome"] == "failed");
    assert_eq!(bounced["reason"], "suppressed_bounce", "{bounced}");
    let said = bounced["attempts"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&said["cause"], &said["response"]),
        (&json!("bounced"), &json!("smtp; 550 5.1.1 user unknown")),
        "{said}"
    );
    assert!(said["remedy"].as_str().unwrap().contains("allow-list"), "{said}");

    // The incident's own list says the same as its explanation.
    let known = tenant.incident(&first);
    let rows = known["deliveries"].as_array().unwrap();
    let row = rows.iter().find(|row| row["destination"] == gone.id.as_str() && row["channel"] == "email").unwrap();
    assert_eq!(
        (&row["state"], &row["outcome"], &row["reason"]),
        (&json!("accepted"), &json!("failed"), &bounced["reason"])
    );
    assert_eq!(row["failed_attempts"].as_array().unwrap().last(), Some(said), "{row}");
    let known = tenant.get(&format!("/recipients/{}", gone.id));
    assert_eq!(known["suppressed"]["reason"], "suppressed_bounce", "{known}");
    let second = opened(&stack, &tenant);
    let skipped = explained(&tenant, &second, &gone.id, |entry| entry["outcome"] == "skipped");
    assert_eq!(skipped["reason"], "suppressed_bounce");
    assert!(tenant.get("/lint")["lint"].to_string().contains("suppressed_bounce"));
    let notice = wait("the notice", Duration::from_secs(90), || {
        stack.mails("bounced").into_iter().find(|mail| mail.to == admin.email && mail.text.contains(&gone.id))
    });
    assert!(!notice.text.contains(&address), "{}", notice.text);

    // Its owner can allow mail again.
    let body = json!({"channel": "email"});
    let path = tenant.path(&format!("/recipients/{}/confirmation", gone.id));
    assert_eq!(stack.call("POST", &path, &tenant.token, Some(&body)).status, 202);
    let link = wait("the link", Duration::from_secs(60), || {
        let mail = stack.mails("Allow incident alerts by e-mail again?").into_iter().find(|mail| mail.to == address)?;
        let from = mail.text.find("http")?;
        Some(mail.text[from..].split(['\n', '\r', ' ', '"']).next()?.to_owned())
    });
    stack.secret(link.split("t=").nth(1).unwrap());
    assert_eq!(stack.raw("POST", &link, "", &[], Some(b"")).status, 200);
    assert_eq!(tenant.get(&format!("/recipients/{}", gone.id)).get("suppressed"), None);
}

#[test]
fn admins_are_notified_of_a_bounce_whatever_the_role_matrix_says() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    // Of Configurable an org admin has no e-mail without an opt-in.
    let admin = tenant.person("org_admin", &[]);
    let gone = tenant.person_with("tech_devops", json!({"email": simulator("bounce")}));
    drop(
        stack.post(
            json!({"type": "ivr.misconfigured", "severity": "error", "title": unique(), "tenant_ids": [tenant.id]}),
        ),
    );
    wait("the notice", Duration::from_secs(90), || {
        stack.mails("bounced").into_iter().find(|mail| mail.to == admin.email && mail.text.contains(&gone.id))
    });
}

#[test]
fn a_complaint_suppresses_the_address_and_a_delivery_is_shown_as_delivered() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let cross = tenant.person_with("support_manager", json!({"email": simulator("complaint")}));
    let known = tenant.person_with("support_manager", json!({"email": simulator("suppressionlist")}));
    let glad = tenant.person("support_manager", &[]);
    let incident = opened(&stack, &tenant);
    let complained = explained(&tenant, &incident, &cross.id, |entry| entry["reason"] == "suppressed_complaint");
    assert_eq!(complained["attempts"].as_array().unwrap().last().unwrap()["cause"], "complained");
    assert_eq!(tenant.get(&format!("/recipients/{}", cross.id))["suppressed"]["reason"], "suppressed_complaint");

    // An address on SES's own list bounces without being tried.
    let listed = explained(&tenant, &incident, &known.id, |entry| entry["outcome"] == "failed");
    assert_eq!(listed["reason"], "suppressed_bounce", "{listed}");
    assert_eq!(tenant.get(&format!("/recipients/{}", known.id))["suppressed"]["reason"], "suppressed_bounce");

    // The local SES does not publish deliveries, so the test publishes its documented notification.
    let known = tenant.incident(&incident);
    let row = known["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["destination"] == glad.id.as_str() && row["channel"] == "email");
    let message = row.unwrap()["provider_id"].as_str().unwrap().to_owned();
    let topic = stack.text("/outputs/FeedbackTopicArn");
    let publish = |body: Value| {
        let answer = stack.aws(&["publish", &topic, &body.to_string()]);
        assert!(answer["message_id"].is_string(), "{answer}");
    };
    let mail = json!({"messageId": message, "destination": [glad.email]});
    publish(json!({"eventType": "DeliveryDelay", "mail": mail, "deliveryDelay": {"delayType": "MailboxFull",
        "delayedRecipients": [{"diagnosticCode": "smtp; 452 4.2.2 mailbox full"}]}}));
    let deferred = explained(&tenant, &incident, &glad.id, |entry| !entry["attempts"].as_array().unwrap().is_empty());
    assert_eq!(deferred["outcome"], "accepted", "{deferred}");
    assert_eq!(deferred["attempts"][0]["response"], "smtp; 452 4.2.2 mailbox full");
    publish(json!({"notificationType": "Delivery", "mail": mail, "delivery": {"smtpResponse": "250 ok"}}));
    let delivered = explained(&tenant, &incident, &glad.id, |entry| entry["outcome"] == "delivered");
    assert_eq!(delivered["attempts"], json!([]), "{delivered}");
    // Late feedback has no effect.
    publish(
        json!({"notificationType": "Bounce", "mail": mail, "bounce": {"bounceType": "Transient", "bounceSubType": "General"}}),
    );
    tests::pause(5);
    let still = explained(&tenant, &incident, &glad.id, |entry| entry["at"].is_string());
    assert_eq!(still["outcome"], "delivered", "{still}");
}

/// The newest entry for a recipient's text message, as soon as it is as wanted.
fn texted(tenant: &Tenant, incident: &str, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait("the carrier's word", Duration::from_secs(120), || {
        let known = tenant.get(&format!("/incidents/{incident}/explain"));
        let mine =
            known["decisions"].as_array()?.iter().rfind(|one| one["recipient_id"] == id && one["channel"] == "sms")?;
        wanted(mine).then(|| mine.clone())
    })
}

/// A person's number as messages remember it.
fn number(tenant: &Tenant, id: &str) -> String {
    let phone = &tenant.people.iter().find(|person| person.id == id).unwrap().phone;
    let owner = domain::ids::TenantId::parse(&tenant.id).unwrap();
    domain::contact::phone_contact_key(&owner, &domain::tenant::Phone::parse(phone).unwrap())
}

#[test]
fn sms_outcomes_and_opt_outs_are_recorded_from_the_delivery_log() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let people = [(); 4].map(|()| tenant.person("org_admin", &[]));
    let incident = opened(&stack, &tenant);
    let known = tenant.incident(&incident);
    let message = |id: &str| {
        let rows = known["deliveries"].as_array().unwrap();
        let row = rows.iter().find(|row| row["destination"] == id && row["channel"] == "sms");
        row.unwrap()["provider_id"].as_str().unwrap().to_owned()
    };
    // The emulator writes no log of text messages; these are the lines that SNS documents, through the log group and its subscription.
    let log = |id: &str, status: &str, response: &str| {
        let line = json!({"notification": {"messageId": message(id), "timestamp": "2026-11-25 10:00:00.000"},
            "delivery": {"phoneCarrier": "Carrier", "destination": "+1XXX", "smsType": "Transactional", "providerResponse": response,
                "dwellTimeMs": 599},
            "status": status});
        let failure = (status == "FAILURE").to_string();
        let _none = stack.aws(&["sms-log", &failure, &line.to_string()]);
    };
    let [well, refused, stopped, at_once] = people.map(|person| person.id);
    log(&well, "SUCCESS", "Message has been accepted by phone carrier");
    log(&refused, "FAILURE", "Blocked as spam by phone carrier");
    log(&stopped, "FAILURE", "Phone number is opted out");
    let delivered = texted(&tenant, &incident, &well, |entry| entry["outcome"] == "delivered");
    assert_eq!(delivered["attempts"], json!([]), "{delivered}");
    let failed = texted(&tenant, &incident, &refused, |entry| entry["outcome"] == "failed");
    assert_eq!(failed["reason"], "refused_by_provider", "{failed}");
    assert_eq!(failed["attempts"][0]["response"], "Blocked as spam by phone carrier", "{failed}");
    let opted = texted(&tenant, &incident, &stopped, |entry| entry["outcome"] == "failed");
    assert_eq!(opted["reason"], "opted_out", "{opted}");

    // SNS may also report this at once, and `deliver-sms` passes it on.
    let said = json!({"v": 1, "tenant": tenant.id, "recipient": at_once, "incident_id": incident, "category": "infrastructure",
        "contact": number(&tenant, &at_once)});
    let _id = stack.aws(&["send", &stack.text("/queues/FeedbackQueue"), &said.to_string()]);
    wait("it to be noted", Duration::from_secs(60), || {
        tenant.get(&format!("/recipients/{at_once}"))["sms_opted_out_at"].as_str().map(drop)
    });

    // Nothing more is sent to that number, the admins are notified by e-mail, and the owner can confirm again.
    wait("the notice", Duration::from_secs(90), || {
        stack.mails("opted out of SMS").into_iter().find(|mail| mail.text.contains(&stopped))
    });
    let path = format!("/recipients/{stopped}");
    assert!(tenant.get(&path)["sms_opted_out_at"].is_string());
    let second = opened(&stack, &tenant);
    let skipped = texted(&tenant, &second, &stopped, |entry| entry["outcome"] == "skipped");
    assert_eq!(skipped["reason"], "opted_out");
    let asked = stack.call(
        "POST",
        &tenant.path(&format!("{path}/confirmation")),
        &tenant.token,
        Some(&json!({"channel": "sms"})),
    );
    assert_eq!(asked.status, 202, "{}", asked.body);
    let phone = tenant.people.iter().find(|person| person.id == stopped).unwrap().phone.clone();
    let code = wait("the code", Duration::from_secs(60), || {
        let asked = stack.texts(&phone).into_iter().find(|sms| sms.text.contains("is your code"))?;
        Some(asked.text.chars().take(6).collect::<String>())
    });
    stack.secret(&code);
    let body = json!({"channel": "sms", "code": code});
    let confirmed = stack.call("POST", &tenant.path(&format!("{path}/confirm")), &tenant.token, Some(&body));
    assert_eq!(confirmed.status, 200, "{}", confirmed.body);
    assert_eq!(tenant.get(&path).get("sms_opted_out_at"), None);
}
