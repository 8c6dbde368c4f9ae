//! People who never asked for anything: what a tenant can send them, in whose words, and how they end it.

use serde_json::{Value, json};
use std::time::Duration;
use tests::receive::text;
use tests::tenant::Tenant;
use tests::{Stack, stack, unique, wait};

fn add(tenant: &Tenant, body: &Value) -> Value {
    let answer = tenant.stack.call("POST", &tenant.path("/recipients"), &tenant.token, Some(body));
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.json()
}

fn state(made: &Value, channel: &str) -> String {
    text(made, &format!("/confirmation/{channel}/state"))
}

/// Asks for a confirmation as the tenant's admin.
fn ask(tenant: &Tenant, id: &str) -> tests::http::Response {
    let path = tenant.path(&format!("/recipients/{id}/confirmation"));
    tenant.stack.call("POST", &path, &tenant.token, Some(&json!({"channel": "email"})))
}

/// The link after `label` in the newest mail to an address whose subject contains `subject`.
fn link(stack: &Stack, subject: &str, to: &str, label: &str) -> String {
    wait(subject, Duration::from_secs(60), || {
        let mail = stack.mails(subject).into_iter().rfind(|mail| mail.to == to)?;
        let (_, rest) = mail.text.split_once(&format!("{label}: "))?;
        let url = rest.split(['\n', '\r', ' ']).next()?.to_owned();
        stack.secret(url.split("t=").nth(1)?);
        Some(url)
    })
}

/// Opens an incident and returns the newest decision about a recipient's e-mail once it is as wanted.
fn decision(tenant: &Tenant, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let event = json!({"type": "api.outage", "severity": "error", "title": unique(), "tenant_ids": [tenant.id]});
    let incident = tenant.stack.incident_of(&tenant.stack.post(event));
    wait("the decision", Duration::from_secs(90), || {
        let known = tenant.get(&format!("/incidents/{incident}/explain"));
        let mine = |entry: &&Value| entry["recipient_id"] == id && entry["channel"] == "email";
        let mine = known["decisions"].as_array()?.iter().rfind(mine)?;
        wanted(mine).then(|| mine.clone())
    })
}

#[test]
fn one_mailbox_has_one_limit_however_it_is_spelled() {
    let stack = stack!();
    let tenant = stack.tenant("business");
    let victim = unique();
    let others = [format!("{victim}+1@{victim}.test"), format!("{victim}+2+3@{victim}.TEST")];
    let first = add(&tenant, &json!({"name": "V", "email": format!("{victim}@{victim}.test"), "roles": ["org_admin"]}));
    assert_eq!(state(&first, "email"), "sent");
    for email in others {
        let made = add(&tenant, &json!({"name": "V", "email": email, "roles": ["org_admin"]}));
        assert_eq!(state(&made, "email"), "too_soon", "{made}");
    }
    let dotted = format!("{}.{}", &victim[..4], &victim[4..]);
    let at_google =
        [format!("{victim}@gmail.com"), format!("{dotted}@gmail.com"), format!("{dotted}+x@googlemail.com")];
    let states = at_google
        .map(|email| state(&add(&tenant, &json!({"name": "G", "email": email, "roles": ["org_admin"]})), "email"));
    assert_eq!(states, ["sent", "too_soon", "too_soon"]);
}

#[test]
fn no_code_goes_where_text_messages_do_not_nor_on_a_plan_without_them() {
    let stack = stack!();
    let tenant = stack.tenant("enterprise");
    // Satellites, premium rates, the Caribbean behind +1, islands behind +44, a landline, and countries that are not on the list.
    for number in [
        "+881612345678",
        "+882161234567",
        "+979123456789",
        "+19005550100",
        "+18765550100",
        "+18095550100",
        "+447797712345",
        "+442071838750",
        "+25261234567",
        "+5352345678",
        "+393123456789",
    ] {
        let body = json!({"name": "On call", "phone": number, "roles": ["org_admin"]});
        let answer = stack.call("POST", &tenant.path("/recipients"), &tenant.token, Some(&body));
        assert_eq!(
            (answer.status, text(&answer.json(), "/errors/0/pointer").as_str()),
            (422, "/phone"),
            "{}",
            answer.body
        );
        assert!(!answer.body.contains(number), "{}", answer.body);
        assert!(stack.texts(number).is_empty());
    }

    let phone = tests::tenant::fictional_phone();
    let starter = stack.tenant("starter");
    let made = add(&starter, &json!({"name": "On call", "phone": phone, "roles": ["org_admin"]}));
    assert_eq!(state(&made, "sms"), "withheld", "{made}");
    assert!(text(&made, "/confirmation/sms/remedy").contains("plan doesn't include"), "{made}");
    let silent = stack.tenant("enterprise");
    silent.set(json!({"compliance": {"confirmed": ["email"]}}));
    let made = add(&silent, &json!({"name": "On call", "phone": phone, "roles": ["org_admin"]}));
    assert_eq!(state(&made, "sms"), "withheld", "{made}");
    tests::pause(3);
    assert!(stack.texts(&phone).is_empty());
}

#[test]
fn strangers_read_names_that_the_platform_approved_and_no_others() {
    let stack = stack!();
    let tenant = stack.tenant("enterprise");
    let patch = |token: &str, body: Value| {
        let path = tenant.path("/settings");
        let tag = stack.call("GET", &path, token, None).header("etag").unwrap().to_owned();
        stack.call_with("PATCH", &path, token, &[("if-match", &tag)], Some(&body))
    };
    let lure = "Invoice overdue - pay now at https://evil.example";
    assert_eq!(patch(&tenant.token, json!({"name": lure})).status, 200, "its own name is its own");
    for (field, body) in [
        ("/public_name", json!({"public_name": lure})),
        ("/approved", json!({"approved": {"public_name": "HSBC", "sender_id": "HSBC"}})),
        ("/data_processing", json!({"data_processing": {"content": "minimal"}})),
    ] {
        let answer = patch(&tenant.token, body);
        assert_eq!(
            (answer.status, text(&answer.json(), "/errors/0/pointer").as_str()),
            (422, field),
            "{}",
            answer.body
        );
    }
    let wished = json!({"public_name": "Acme Alerts", "compliance": {"sender_id": "ACMEALERT"}});
    let saved = patch(&tenant.token, wished);
    assert_eq!(saved.status, 200);
    let waiting = |found: &Value| {
        let lint = found["lint"].as_array().unwrap();
        let names = lint.iter().filter(|one| one["code"] == "name_not_approved");
        names.map(|one| text(one, "/sentence")).collect::<Vec<String>>()
    };
    let [name, sender] = &waiting(&saved.json())[..] else { panic!("{}", saved.body) };
    let neutral = format!("Until then strangers read \u{201c}{}\u{201d}", tenant.id);
    assert!(name.contains("\u{201c}Acme Alerts\u{201d} has waited") && name.contains(&neutral), "{name}");
    assert!(sender.contains("ACMEALERT"), "{sender}");
    assert_eq!(waiting(&tenant.get("/lint")).len(), 2);

    let person =
        |name: &str| json!({"name": name, "email": format!("{}@{}.test", unique(), tenant.id), "roles": ["org_admin"]});
    let asked = |body: &Value| {
        let made = add(&tenant, body);
        assert_eq!(state(&made, "email"), "sent", "{made}");
        let to = text(body, "/email");
        let mail = wait("the question", Duration::from_secs(60), || {
            stack.mails("Confirm incident alerts").into_iter().find(|mail| mail.to == to)
        });
        let page =
            stack.raw("GET", &link(&stack, "Confirm incident alerts", &to, "Confirm this address"), "", &[], None);
        (mail, page.body)
    };
    let (mail, page) = asked(&person(lure));
    for text in [&mail.text, &page] {
        assert!(!text.contains("evil") && !text.contains("Invoice") && !text.contains("Acme"), "{text}");
    }
    assert!(mail.text.contains(&tenant.id) && page.contains(&tenant.id));

    // The platform was notified and sees what waits; no tenant does.
    wait("the operators' mail", Duration::from_secs(60), || {
        let about = format!("{} wants a name approved", tenant.id);
        let mail = stack.mails(&about).into_iter().find(|mail| mail.to == "operators@tocsin.test")?;
        (mail.text.contains("Acme Alerts") && mail.text.contains("ACMEALERT")).then_some(())
    });
    let listed = |token: &str| {
        let (mut all, mut path) = (Vec::new(), "/v1/name-requests".to_owned());
        loop {
            let answer = stack.call("GET", &path, token, None);
            assert_eq!(answer.status, 200, "{}", answer.body);
            let page = answer.json();
            all.extend(page["name_requests"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/v1/name-requests?cursor={next}");
        }
        all.into_iter().find(|one| one["tenant_id"] == tenant.id.as_str())
    };
    let request = listed(&stack.admin()).unwrap();
    assert_eq!((&request["public_name"], &request["sender_id"]), (&json!("Acme Alerts"), &json!("ACMEALERT")));
    assert_eq!(stack.call("GET", "/v1/name-requests", &tenant.token, None).status, 403);

    let approved = json!({"approved": {"public_name": "Acme Alerts", "sender_id": "ACMEALERT"}});
    let saved = patch(&stack.admin(), approved);
    assert_eq!((saved.status, waiting(&saved.json())), (200, Vec::new()));
    assert_eq!(listed(&stack.admin()), None);
    let (mail, page) = asked(&person("Somebody"));
    assert!(mail.text.contains("Acme Alerts") && page.contains("Acme Alerts"), "{}", mail.text);
    let trail = tenant.get("/audit");
    assert!(
        trail["audit"].as_array().unwrap().iter().any(|entry| entry["what"] == "settings.names_approved"),
        "{trail}"
    );
}

/// SES's mailbox simulator, which complains about whatever it gets.
fn complainer() -> String {
    format!("complaint+{}@simulator.amazonses.com", unique())
}

#[test]
fn a_complaint_holds_for_every_tenant_until_the_owner_allows_mail_again() {
    let stack = stack!();
    let (mut first, mut second) = (stack.tenant("enterprise"), stack.tenant("enterprise"));
    let address = complainer();
    stack.secret(&address);
    let there = first.person_with("org_admin", json!({"email": address, "phone": null}));
    let elsewhere = second.person_with("org_admin", json!({"email": address, "phone": null}));
    let admin = second.person("org_admin", &[]);
    drop(decision(&first, &there.id, |entry| entry["reason"] == "suppressed_complaint"));

    // The other tenant's alert is not sent, its recipient says why, and its admins are notified.
    let refused =
        decision(&second, &elsewhere.id, |entry| entry["outcome"] == "failed" || entry["outcome"] == "skipped");
    assert_eq!(refused["reason"], "suppressed_complaint", "{refused}");
    wait("the other tenant's recipient to be marked", Duration::from_secs(60), || {
        (second.get(&format!("/recipients/{}", elsewhere.id))["suppressed"]["reason"] == "suppressed_complaint")
            .then_some(())
    });
    let known = second.get(&format!("/recipients/{}", elsewhere.id));
    assert_eq!(known["suppressed"].get("id"), None, "a tenant sees the reason only: {known}");
    wait("the notice", Duration::from_secs(90), || {
        stack
            .mails("reported an alert as spam")
            .into_iter()
            .find(|mail| mail.to == admin.email && mail.text.contains(&elsewhere.id))
    });

    // Neither a new recipient nor the platform's word lifts it.
    let third = stack.tenant("enterprise");
    let body = json!({"name": "Again", "email": address, "roles": ["org_admin"], "confirmed": true});
    let answer = stack.call("POST", &third.path("/recipients"), &stack.admin(), Some(&body));
    assert_eq!(answer.status, 201, "{}", answer.body);
    let made = answer.json();
    assert_eq!(made["suppressed"]["reason"], "suppressed_complaint", "{made}");
    let suppression = text(&made, "/suppressed/id");
    let skipped = decision(&third, &text(&made, "/id"), |entry| entry["outcome"] == "skipped");
    assert_eq!(skipped["reason"], "suppressed_complaint", "{skipped}");

    // Its owner is asked once a day, by whichever tenant.
    // The simulator is one mailbox, about which other tests ask as well: a minute is between two questions.
    let asked = wait("a minute for the question", Duration::from_secs(180), || {
        let asked = ask(&first, &there.id);
        (asked.status != 429).then_some(asked)
    });
    assert_eq!(asked.status, 202, "{}", asked.body);
    for (tenant, id) in [(&first, &there.id), (&second, &elsewhere.id)] {
        let refused = ask(tenant, id);
        assert_eq!(refused.status, 429, "{}", refused.body);
        assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().unwrap() > 80_000));
    }
    let url = link(&stack, "Allow incident alerts by e-mail again?", &address, "Allow e-mail again");
    let page = stack.raw("GET", &url, "", &[], None);
    assert!(page.status == 200 && page.body.contains("Allow e-mail again"), "{}", page.body);
    let view = stack.call("GET", &format!("/v1/suppressions/{suppression}"), &stack.admin(), None);
    assert_eq!(
        (view.status, view.json()["asked"].as_array().unwrap().len()),
        (200, 1),
        "opening the page changes nothing"
    );
    assert_eq!(stack.call("GET", &format!("/v1/suppressions/{suppression}"), &first.token, None).status, 403);
    assert_eq!(stack.raw("POST", &url, "", &[], Some(b"")).status, 200);
    assert_eq!(first.get(&format!("/recipients/{}", there.id)).get("suppressed"), None);
    assert_eq!(stack.call("GET", &format!("/v1/suppressions/{suppression}"), &stack.admin(), None).status, 404);
}

#[test]
fn a_question_offers_never_to_ask_again_and_only_the_platform_or_the_owner_lifts_that() {
    let stack = stack!();
    let (first, second) = (stack.tenant("business"), stack.tenant("business"));
    let email = format!("{}@{}.test", unique(), first.id);
    stack.secret(&email);
    let body = json!({"name": "Stranger", "email": email, "roles": ["org_admin"]});
    let made = add(&first, &body);
    let never = link(&stack, "Confirm incident alerts", &email, "Never write to this address again");
    let confirm = link(&stack, "Confirm incident alerts", &email, "Confirm this address");
    assert_eq!(stack.raw("GET", &never, "", &[], None).status, 200);
    assert_eq!(
        first.get(&format!("/recipients/{}", text(&made, "/id"))).get("suppressed"),
        None,
        "opening changes nothing"
    );
    assert_eq!(stack.raw("POST", &never, "", &[], Some(b"")).status, 200);
    assert_eq!(
        first.get(&format!("/recipients/{}", text(&made, "/id")))["suppressed"]["reason"],
        "suppressed_by_owner"
    );
    assert_eq!(stack.raw("POST", &confirm, "", &[], Some(b"")).status, 409, "the older link confirms nothing any more");
    let elsewhere = add(&second, &body);
    assert_eq!(
        (state(&elsewhere, "email").as_str(), &elsewhere["suppressed"]["reason"]),
        ("withheld", &json!("suppressed_by_owner"))
    );

    // The platform lifts it, with a record. The owner still confirms.
    let platform =
        stack.call("GET", &second.path(&format!("/recipients/{}", text(&elsewhere, "/id"))), &stack.admin(), None);
    let id = text(&platform.json(), "/suppressed/id");
    let path = format!("/v1/suppressions/{id}");
    assert_eq!(stack.call("DELETE", &path, &second.token, None).status, 403);
    assert_eq!(stack.call("DELETE", &path, &stack.admin(), None).status, 204);
    assert_eq!(stack.call("DELETE", &path, &stack.admin(), None).status, 404);
    let trail = stack.call("GET", "/v1/tenants/platform/audit", &stack.admin(), None).json();
    let lifted = |entry: &Value| entry["what"] == "suppression.lifted" && entry["object"] == id.as_str();
    assert!(trail["audit"].as_array().unwrap().iter().any(lifted), "{trail}");
    tests::pause(61);
    assert_eq!(ask(&second, &text(&elsewhere, "/id")).status, 202);
    let again = wait("the second tenant's question", Duration::from_secs(60), || {
        let mails = stack.mails("Confirm incident alerts").into_iter().filter(|mail| mail.to == email);
        let mail = mails.into_iter().find(|mail| mail.text.contains(&second.id))?;
        let (_, rest) = mail.text.split_once("Confirm this address: ")?;
        Some(rest.split(['\n', '\r', ' ']).next()?.to_owned())
    });
    stack.secret(again.split("t=").nth(1).unwrap());
    assert_eq!(stack.raw("POST", &again, "", &[], Some(b"")).status, 200);
    let known = second.get(&format!("/recipients/{}", text(&elsewhere, "/id")));
    assert_eq!((known.get("suppressed"), &known["email_confirmed"]), (None, &json!(true)));
}

/// The confirmation is no delivery, and a complaint about it counts all the same.
#[test]
fn a_complaint_about_a_question_is_a_complaint() {
    let stack = stack!();
    let tenant = stack.tenant("business");
    let address = complainer();
    stack.secret(&address);
    let made = add(&tenant, &json!({"name": "Stranger", "email": address, "roles": ["org_admin"]}));
    if state(&made, "email") != "sent" {
        wait("a minute for the question", Duration::from_secs(180), || {
            (ask(&tenant, &text(&made, "/id")).status == 202).then_some(())
        });
    }
    wait("the complaint", Duration::from_secs(90), || {
        let known = tenant.get(&format!("/recipients/{}", text(&made, "/id")));
        (known["suppressed"]["reason"] == "suppressed_complaint").then_some(())
    });
}

#[test]
fn the_links_of_an_old_address_do_nothing_to_the_new_one() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("org_admin", &[]);
    let event = json!({"type": "api.outage", "severity": "error", "title": unique(), "tenant_ids": [tenant.id]});
    let incident = stack.incident_of(&stack.post(event));
    let mail = wait("the alert", Duration::from_secs(60), || {
        stack.mails("").into_iter().find(|mail| mail.to == person.email && mail.text.contains("/unsubscribe?t="))
    });
    let url = |path: &str| {
        let at = mail.text.find(path).unwrap();
        let start = mail.text[..at].rfind("http").unwrap();
        let url = mail.text[start..].split(['\n', '\r', ' ']).next().unwrap().to_owned();
        stack.secret(url.split("t=").nth(1).unwrap());
        url
    };
    let (unsubscribe, stop) = (url("/unsubscribe?t="), url("/stop?t="));
    let new = format!("{}@{}.test", unique(), tenant.id);
    stack.secret(&new);
    let path = format!("/recipients/{}", person.id);
    assert_eq!(tenant.patch(&path, &json!({"email": new, "confirmed": true})).status, 200);
    for url in [&unsubscribe, &stop] {
        for (method, body) in [("GET", None), ("POST", Some(b"List-Unsubscribe=One-Click".as_slice()))] {
            let answer = stack.raw(method, url, "", &[], body);
            assert_eq!(answer.status, 410, "{method} {}", answer.body);
            assert!(answer.body.contains("earlier address") && !answer.body.contains(&new), "{}", answer.body);
        }
    }
    let known = tenant.get(&path);
    assert_eq!(known["unsubscribed"], json!([]));
    let known = tenant.get(&format!("/incidents/{incident}/explain"));
    assert!(!known.to_string().contains("incident_stopped"), "{known}");
}

#[test]
fn an_admin_sees_who_unsubscribed_and_can_ask() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person_with("org_admin", json!({"phone": null}));
    let event = json!({"type": "api.outage", "severity": "error", "title": unique(), "tenant_ids": [tenant.id]});
    drop(stack.incident_of(&stack.post(event)));
    let unsubscribe = wait("the alert", Duration::from_secs(60), || {
        let mail = stack
            .mails("")
            .into_iter()
            .find(|mail| mail.to == person.email && mail.text.contains("/unsubscribe?t="))?;
        let at = mail.text.find("/unsubscribe?t=")?;
        let start = mail.text[..at].rfind("http")?;
        Some(mail.text[start..].split(['\n', '\r', ' ']).next()?.to_owned())
    });
    stack.secret(unsubscribe.split("t=").nth(1).unwrap());
    assert_eq!(stack.raw("POST", &unsubscribe, "", &[], Some(b"List-Unsubscribe=One-Click")).status, 200);
    let path = format!("/recipients/{}", person.id);
    assert_eq!(tenant.get(&path)["unsubscribed"], json!(["infrastructure"]));
    let asked = ask(&tenant, &person.id);
    assert_eq!(asked.status, 202, "{}", asked.body);
    let url = link(&stack, "again?", &person.email, "Subscribe again");
    assert_eq!(stack.raw("POST", &url, "", &[], Some(b"")).status, 200);
    assert_eq!(tenant.get(&path)["unsubscribed"], json!([]));

    // Whoever unsubscribes after that is asked again in a month, also as a recipient that was deleted and added again.
    assert_eq!(stack.raw("POST", &unsubscribe, "", &[], Some(b"List-Unsubscribe=One-Click")).status, 200);
    assert_eq!(tenant.get(&path)["unsubscribed"], json!(["infrastructure"]));
    let refused = ask(&tenant, &person.id);
    let detail = text(&refused.json(), "/detail");
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert!(detail.contains("unsubscribed from your alerts") && detail.contains(" can be asked on 20"), "{detail}");
    let seconds: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).unwrap_or_default();
    assert!((29 * 86_400..=30 * 86_400).contains(&seconds), "{seconds}");
    let questions =
        stack.mails("").iter().filter(|mail| mail.to == person.email && mail.text.contains("again?")).count();
    let tag = stack.call("GET", &tenant.path(&path), &tenant.token, None).header("etag").unwrap().to_owned();
    assert_eq!(stack.call_with("DELETE", &tenant.path(&path), &tenant.token, &[("if-match", &tag)], None).status, 204);
    let (name, host) = person.email.split_once('@').unwrap();
    for email in [person.email.clone(), format!("{name}+again@{host}")] {
        let made = add(&tenant, &json!({"name": "Again", "email": email, "roles": ["org_admin"]}));
        assert_eq!(state(&made, "email"), "too_soon", "{made}");
        assert!(text(&made, "/confirmation/email/remedy").contains("unsubscribed"), "{made}");
    }
    // Another tenant is a stranger to them.
    let other = stack.tenant("business");
    let made = add(&other, &json!({"name": "V", "email": person.email, "roles": ["org_admin"]}));
    assert!(!made.to_string().contains("unsubscribed from your"), "{made}");
    let now = stack.mails("").iter().filter(|mail| mail.to == person.email && mail.text.contains("again?")).count();
    assert_eq!(now, questions);
}

#[test]
fn a_days_text_messages_end_at_their_limit() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person_with("org_admin", json!({"email": null}));
    let admin = tenant.person_with("org_admin", json!({"phone": null}));
    // Two parts each: twenty of them are the forty parts per day that one tenant has for one number.
    let mark = unique();
    let incidents: Vec<String> = (0..32)
        .map(|number| {
            let title = format!("{mark}{number} {}", "the lines of the eastern carrier are down ".repeat(4));
            stack.post(json!({"type": "api.outage", "severity": "critical", "title": title, "tenant_ids": [tenant.id]}))
        })
        .collect();
    let incidents: Vec<String> = incidents.iter().map(|event| stack.incident_of(event)).collect();
    let reasons = || -> Vec<String> {
        let of = |incident: &String| {
            let known = tenant.get(&format!("/incidents/{incident}/explain"));
            let mine = |entry: &&Value| entry["recipient_id"] == person.id.as_str() && entry["channel"] == "sms";
            let entry = known["decisions"].as_array().unwrap().iter().find(mine).cloned().unwrap_or_default();
            text(&entry, "/reason")
        };
        incidents.iter().map(of).collect()
    };
    wait("the limit", Duration::from_secs(120), || {
        let held = reasons().iter().filter(|reason| *reason == "sms_limit_reached").count();
        (held >= 1).then_some(())
    });
    assert!(stack.texts(&person.phone).len() <= 20, "{}", stack.texts(&person.phone).len());
    wait("the notice", Duration::from_secs(90), || {
        stack.mails("held back by today's limit").into_iter().find(|mail| mail.to == admin.email)
    });
    tests::pause(5);
    let notices = stack.mails("held back by today's limit").into_iter().filter(|mail| mail.to == admin.email).count();
    assert_eq!(notices, 1, "one a day, however many are held back");
}
