//! Where a message's links lead.

use serde_json::json;
use tests::tenant::Tenant;
use tests::{Stack, stack, unique};

/// The link with `part` in an e-mail about `mark`.
fn link(stack: &Stack, tenant: &Tenant, mark: &str, part: &str) -> String {
    stack.mail_link(mark, &tenant.people[0].email, part)
}

fn opened(stack: &Stack, tenant: &Tenant, event_type: &str, mark: &str) -> String {
    let event = stack.post(json!({"type": event_type, "severity": "critical", "title": format!("{mark} open"),
        "tenant_ids": [tenant.id]}));
    let incident = stack.incident_of(&event);
    drop(tenant.settled(&incident, 1));
    incident
}

#[test]
fn unsubscribing_needs_a_post_and_stops_that_category_only() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("tech_devops", &[]));
    let mark = unique();
    drop(opened(&stack, &tenant, "api.outage", &mark));
    let url = link(&stack, &tenant, &mark, "/unsubscribe?t=");
    stack.secret(url.split("t=").nth(1).unwrap());

    let page = stack.call("GET", &url, "", None);
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.body.contains("<form method=\"post\">") && page.body.contains("Unsubscribe"), "{}", page.body);
    let second = unique();
    drop(opened(&stack, &tenant, "api.outage", &second));
    tenant.expect(&second, &["tech_devops email"], 0);

    let form = [("content-type", "application/x-www-form-urlencoded")];
    let done = stack.raw("POST", &url, "", &form, None);
    assert_eq!(done.status, 200, "{}", done.body);
    let third = unique();
    let incident = opened(&stack, &tenant, "api.outage", &third);
    tenant.expect(&third, &[], 3);
    assert_eq!(tenant.decisions(&tenant.incident(&incident), 1)["tech_devops email"], "opted_out");
    let other = unique();
    drop(opened(&stack, &tenant, "webhook.failing", &other));
    tenant.expect(&other, &["tech_devops email"], 0);

    // An altered link does nothing and reveals nothing.
    let token = url.split("t=").nth(1).unwrap();
    let forged = url.replace(token, &token.chars().rev().collect::<String>());
    assert_eq!(stack.call("GET", &forged, "", None).status, 404);
    assert_eq!(stack.raw("POST", &forged, "", &form, None).status, 404);
}

#[test]
fn the_incident_link_shows_the_tenants_own_incident_and_the_status_page_does_not() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("tech_devops", &[]));
    let mark = unique();
    let incident = opened(&stack, &tenant, "webhook.failing", &mark);
    let url = link(&stack, &tenant, &mark, "/read?t=");
    stack.secret(url.split("t=").nth(1).unwrap());
    let page = stack.call("GET", &url, "", None);
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.body.contains(&mark), "{}", page.body);
    assert_eq!(stack.call("GET", &format!("{url}x"), "", None).status, 404);
    let public = stack.call("GET", "/status", "", None);
    assert_eq!(public.status, 200);
    assert!(!public.body.contains(&mark) && !public.body.contains(&tenant.id));
    let one = stack.call("GET", &format!("/status/incidents/{incident}"), "", None);
    assert_eq!(one.status, 404, "{}", one.body);
}

#[test]
fn a_text_messages_link_shows_the_tenants_own_incident() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("org_admin", &[]);
    let mark = unique();
    let incident = opened(&stack, &tenant, "api.outage", &mark);
    let texts = stack.texts(&person.phone);
    let words = &texts.iter().find(|sms| sms.text.contains(&mark)).expect("a text message came").text;
    let url = words.split_whitespace().find(|word| word.contains("/r/")).expect("it has a link");
    stack.secret(url.rsplit('/').next().unwrap());
    let page = stack.call("GET", url, "", None);
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.body.contains(&mark), "{}", page.body);
    // The link identifies the phone's owner, so its page can stop this incident for them.
    let action = page.body.split("action=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("it has a form");
    let action = action.strip_prefix("../").expect("the page is one level down");
    let stop = format!("{}/{action}", url.split("/r/").next().unwrap());
    stack.secret(stop.split("t=").nth(1).unwrap());
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let undo = stack.raw("POST", &stop, "", &form, None);
    assert!(undo.status == 200 && undo.body.contains("value=\"resume\""), "{}", undo.body);
    let stopped = stack.call("GET", &stop, "", None);
    assert!(stopped.body.contains("Notifications stopped"), "{}", stopped.body);
    // Undone, and stopped again.
    let resumed = stack.raw("POST", &stop, "", &form, Some(b"action=resume"));
    assert!(resumed.status == 200 && resumed.body.contains("on again"), "{}", resumed.body);
    let path = format!("/v1/incidents/{incident}/updates");
    let text = json!({"status": "identified", "message": "found"});
    assert_eq!(stack.call("POST", &path, &stack.monitor(), Some(&text)).status, 202);
    let known = tenant.settled(&incident, 2);
    assert_ne!(tenant.decisions(&known, 2)["org_admin sms"], "incident_stopped");
    assert_eq!(stack.raw("POST", &stop, "", &form, None).status, 200);
    let worse = json!({"status": "resolved", "message": "over"});
    assert_eq!(stack.call("POST", &path, &stack.monitor(), Some(&worse)).status, 202);
    let incident_detail = tenant.settled(&incident, 3);
    assert_eq!(tenant.decisions(&incident_detail, 3)["org_admin sms"], "incident_stopped");
}

#[test]
fn org_admins_are_notified_of_an_unsubscribe_and_of_the_resubscription() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("tech_devops", &[]);
    let hook = tenant.endpoint("webhook", "org_admin");
    drop(tenant.endpoint("slack", "tech_devops"));
    let mark = unique();
    drop(opened(&stack, &tenant, "api.outage", &mark));
    let url = link(&stack, &tenant, &mark, "/unsubscribe?t=");
    stack.secret(url.split("t=").nth(1).unwrap());
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(stack.raw("POST", &url, "", &form, Some(b"List-Unsubscribe=One-Click")).status, 200);
    let notice_with = |words: &str| {
        let what = format!("a notice with {words:?}");
        tests::wait(&what, std::time::Duration::from_secs(60), || {
            let inbox = stack.inbox(&hook.path);
            inbox.iter().map(|request| request["body"].to_string()).find(|body| body.contains(words))
        })
    };
    let notice = notice_with("unsubscribed from Infrastructure alerts by e-mail");
    assert!(notice.contains(&person.id) && !notice.contains(&person.email), "{notice}");
    assert_eq!(stack.raw("POST", &url, "", &form, Some(b"action=resubscribe")).status, 200);
    assert!(notice_with("alerts by e-mail again").contains("resolved"));
    let slack = &tenant.endpoints[1];
    assert!(
        stack.inbox(&slack.path).iter().all(|request| !request["body"].to_string().contains("by e-mail")),
        "org admins only"
    );
}

#[test]
fn an_unsubscribe_of_a_shared_address_asks_the_admins() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let team = tenant.person_with("tech_devops", json!({"shared": true}));
    let hook = tenant.endpoint("webhook", "org_admin");
    let mark = unique();
    drop(opened(&stack, &tenant, "api.outage", &mark));
    let mail = stack.mails(&mark).into_iter().find(|mail| mail.to == team.email).unwrap();
    assert!(!mail.text.contains("/stop?t="), "nobody stops an incident for the others");
    let url = link(&stack, &tenant, &mark, "/unsubscribe?t=");
    stack.secret(url.split("t=").nth(1).unwrap());
    assert!(stack.call("GET", &url, "", None).body.contains("Ask the admins"));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(stack.raw("POST", &url, "", &form, Some(b"action=ask")).status, 202);
    tests::wait("the notice", std::time::Duration::from_secs(60), || {
        let inbox = stack.inbox(&hook.path);
        inbox.iter().any(|request| request["body"].to_string().contains("asked to unsubscribe")).then_some(())
    });
    let known = tenant.get(&format!("/recipients/{}", team.id));
    assert_eq!(known["unsubscribed"], json!([]));
}

#[test]
fn one_person_stops_one_incident_and_others_are_still_notified() {
    let stack = stack!();
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("org_admin", &[]);
    let other = tenant.person("tech_devops", &[]);
    let mark = unique();
    let key = unique();
    let post = |status: Option<&str>| {
        let mut event = json!({"type": "api.outage", "severity": "critical", "title": format!("{mark} open"),
            "tenant_ids": [tenant.id], "dedup_key": key});
        if let Some(status) = status {
            event["status"] = json!(status);
        }
        stack.post(event)
    };
    let incident = stack.incident_of(&post(None));
    drop(tenant.settled(&incident, 1));
    let url = link(&stack, &tenant, &mark, "/stop?t=");
    stack.secret(url.split("t=").nth(1).unwrap());
    let page = stack.call("GET", &url, "", None);
    assert!(
        page.status == 200
            && page.body.contains("Stop notifications about this incident?")
            && page.body.contains(&mark),
        "{}",
        page.body
    );
    assert_eq!(stack.raw("POST", &format!("{url}x"), "", &[], None).status, 404);
    assert_eq!(stack.raw("POST", &url, "", &[], None).status, 200);
    assert_eq!(stack.incident_of(&post(Some("resolved"))), incident);
    let known = tenant.settled(&incident, 2);
    let decisions = tenant.decisions(&known, 2);
    assert_eq!(decisions["org_admin email"], "incident_stopped");
    assert_eq!(decisions["org_admin sms"], "incident_stopped");
    assert_eq!(decisions["tech_devops email"], "deliver");
    let mails = |to: &str| stack.mails(&mark).iter().filter(|mail| mail.to == to).count();
    assert_eq!((mails(&person.email), mails(&other.email)), (1, 2));
    let second = unique();
    drop(opened(&stack, &tenant, "api.outage", &second));
    assert!(stack.mails(&second).iter().any(|mail| mail.to == person.email), "other incidents still reach");
}
