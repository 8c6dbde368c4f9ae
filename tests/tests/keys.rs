//! The data key is rotated and a leaked generation retired with `cargo xtask keys`, on a stack under load: every alert arrives, links of each
//! kind do what the documents say, and nobody's identity changes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may fail by a panic"
)]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tests::receive::text;
use tests::tenant::{Endpoint, Tenant, fictional_phone};
use tests::{Stack, http, in_seconds, pause, stack, today, unique, wait};
use webhook_verify::{ReceivedWebhook, Secrets, Verification, verify};

/// The program that brought the stack up.
const PROGRAM: &str = "TOCSIN_XTASK";
/// Tenants that get alerts all the time, so that no number reaches its day's limit.
const TENANTS: usize = 6;
const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];

/// Runs `cargo xtask keys`, and returns whether it succeeded, with all that it said.
fn keys(stack: &Stack, action: &str, more: &[&str]) -> (bool, String) {
    let program = std::env::var_os(PROGRAM).expect("cargo xtask test says where it is");
    let mut command = Command::new(program);
    command.args(["keys", action, "--stack", &stack.text("/stack_name")]).args(more);
    command.env("AWS_ENDPOINT_URL", stack.text("/emulator_url")).env("AWS_DEFAULT_REGION", stack.text("/region"));
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env_remove("AWS_PROFILE");
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    eprintln!("{said}{}", String::from_utf8_lossy(&done.stderr));
    (done.status.success(), said)
}

fn invoke(stack: &Stack, function: &str, payload: &Value) -> Value {
    stack.aws(&["invoke", &stack.text(&format!("/functions/{function}")), &payload.to_string()])
}

fn newest(stack: &Stack) -> u64 {
    invoke(stack, "PreferencesApiFunction", &json!({"keys": "status"}))["newest"].as_u64().unwrap()
}

/// A tenant with one destination on each channel.
fn tenant(stack: &Stack) -> Tenant {
    let mut tenant = stack.tenant("enterprise");
    drop(tenant.person("org_admin", &[]));
    for kind in ["slack", "teams", "webhook"] {
        drop(tenant.endpoint(kind, "org_admin"));
    }
    tenant
}

const ALL: [&str; 5] = ["org_admin email", "org_admin slack", "org_admin sms", "org_admin teams", "org_admin webhook"];

fn open(tenant: &Tenant, mark: &str) -> String {
    let event = json!({"type": "api.outage", "severity": "critical", "title": format!("{mark} down"), "tenant_ids": [tenant.id]});
    tenant.stack.incident_of(&tenant.stack.post(event))
}

fn is_signed(hook: &Endpoint, request: &Value) -> bool {
    let headers = request["headers"].as_object().unwrap().iter();
    let headers = headers.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
    let received = ReceivedWebhook { headers: headers.collect(), body: text(request, "/body").into_bytes() };
    let sent: i64 = text(request, "/headers/webhook-timestamp").parse().unwrap();
    let secrets = Secrets { current: hook.secret.clone(), other: None };
    verify(&received, &secrets, jiff::Timestamp::from_second(sent).unwrap()) == Verification::Valid
}

/// The links of one message on each channel and of the questions to people, by kind, with the tenant that they are about.
struct Links {
    tenant: Tenant,
    by_kind: BTreeMap<&'static str, String>,
}

impl Links {
    /// Has every kind of link sent.
    fn new(stack: &Stack) -> Self {
        let mut tenant = stack.tenant("enterprise");
        let person = tenant.person("org_admin", &[]);
        let other = tenant.person_with("tech_devops", json!({"phone": null}));
        let mark = unique();
        drop(tenant.settled(&open(&tenant, &mark), 1));
        let mut by_kind = BTreeMap::new();
        for (kind, part) in [("read", "/read?t="), ("stop", "/stop?t="), ("unsubscribe", "/unsubscribe?t=")] {
            by_kind.insert(kind, stack.mail_link(&mark, &person.email, part));
        }
        let sms = stack.texts(&person.phone).into_iter().find(|sms| sms.text.contains(&mark)).unwrap();
        let link = sms.text.split_whitespace().find(|word| word.contains("/r/")).unwrap().to_owned();
        stack.secret(link.split("/r/").nth(1).unwrap());
        by_kind.insert("read in a text message", link);

        let asked = format!("{}@{}.test", unique(), tenant.id);
        drop(add(&tenant, &json!({"name": "Asked", "email": asked, "roles": ["org_admin"]})));
        by_kind.insert("confirm", stack.mail_link("Confirm incident alerts", &asked, "/confirm?t="));
        by_kind.insert("never", stack.mail_link("Confirm incident alerts", &asked, "/never?t="));

        // Somebody who unsubscribed is asked whether that still holds.
        let unsubscribe = stack.mail_link(&mark, &other.email, "/unsubscribe?t=");
        assert_eq!(stack.raw("POST", &unsubscribe, "", &FORM, None).status, 200);
        assert_eq!(ask_again(&tenant, &other.id).status, 202);
        by_kind.insert("resubscribe", stack.mail_link("", &other.email, "/resubscribe?t="));
        Self { tenant, by_kind }
    }

    /// Asserts that each link's page answers with this status and these words.
    fn answer(&self, status: u16, words: &str) {
        for (kind, url) in &self.by_kind {
            let page = self.tenant.stack.raw("GET", url, "", &[], None);
            assert_eq!(page.status, status, "{kind}: {}", page.body);
            assert!(page.body.contains(words), "{kind}: {}", page.body);
        }
    }

    /// Asserts that no link does anything any more.
    fn do_nothing(&self) {
        for kind in ["stop", "unsubscribe", "confirm", "never", "resubscribe"] {
            let answer = self.tenant.stack.raw("POST", &self.by_kind[kind], "", &FORM, None);
            assert_eq!(answer.status, 410, "{kind}: {}", answer.body);
        }
        let people = self.tenant.get("/recipients")["recipients"].as_array().unwrap().clone();
        let states = |field: &str| people.iter().map(|person| person[field].clone()).collect::<Vec<Value>>();
        let unsubscribed = states("unsubscribed").into_iter().filter(|topics| *topics != json!([])).count();
        let confirmed = states("email_confirmed").into_iter().filter(|confirmed| *confirmed == json!(true)).count();
        assert_eq!((unsubscribed, confirmed), (1, 2), "as before: {people:?}");
        assert!(people.iter().all(|person| person["suppressed"].is_null()), "{people:?}");
    }
}

/// Asks the owner of a recipient's address again.
fn ask_again(tenant: &Tenant, id: &str) -> http::Response {
    let path = tenant.path(&format!("/recipients/{id}/confirmation"));
    tenant.stack.call("POST", &path, &tenant.token, Some(&json!({"channel": "email"})))
}

fn add(tenant: &Tenant, body: &Value) -> Value {
    let answer = tenant.stack.call("POST", &tenant.path("/recipients"), &tenant.token, Some(body));
    assert_eq!(answer.status, 201, "{}", answer.body);
    if let Some(email) = body["email"].as_str() {
        tenant.stack.secret(email);
    }
    answer.json()
}

/// Ends the load also where the test fails, which would wait for it otherwise.
struct EndOfLoad<'a>(&'a AtomicBool);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Opens an incident every few seconds for one tenant after the other until `over`, and returns the marks of each.
fn load(tenants: &[Tenant], over: &AtomicBool) -> Vec<(usize, String, String)> {
    let mut opened = Vec::new();
    for number in (0..tenants.len()).cycle() {
        if over.load(Ordering::SeqCst) {
            break;
        }
        let mark = unique();
        opened.push((number, mark.clone(), open(&tenants[number], &mark)));
        std::thread::sleep(Duration::from_secs(3));
    }
    opened
}

/// Returns the audit entries of the operators' tenant about a generation.
fn acts(stack: &Stack, generation: u64) -> Vec<String> {
    let trail = stack.call("GET", "/v1/tenants/platform/audit?limit=100", &stack.admin(), None).json();
    let entries = trail["audit"].as_array().unwrap().iter();
    let object = format!("generation {generation}");
    entries.filter(|entry| entry["object"] == object).map(|entry| text(entry, "/what")).collect()
}

/// Asserts that what recognizes people and endpoints by a fingerprint, a hash or a count still does.
fn assert_identities(tenant: &Tenant, elsewhere: &Tenant, asked: &str, complained: &str) {
    let stack = &tenant.stack;
    for endpoint in &tenant.endpoints {
        let url = format!("{}{}", stack.text("/receivers_url"), endpoint.path);
        let body = json!({"name": "Again", "kind": endpoint.kind, "url": url, "audiences": ["org_admin"]});
        let answer = stack.call("POST", &tenant.path("/integrations"), &tenant.token, Some(&body));
        assert_eq!(answer.status, 409, "{}: {}", endpoint.kind, answer.body);
    }
    let person = &tenant.people[0];
    for body in [
        json!({"name": "Again", "email": person.email.to_uppercase(), "roles": ["org_admin"]}),
        json!({"name": "Again", "phone": person.phone, "roles": ["org_admin"]}),
    ] {
        let answer = stack.call("POST", &tenant.path("/recipients"), &tenant.token, Some(&body));
        assert_eq!(answer.status, 409, "{}", answer.body);
    }
    // A tenant asks a mailbox three times a day, however it is spelled, and a suppressed address not at all.
    let again = json!({"name": "Again", "email": asked.replace('@', "+again@"), "roles": ["org_admin"]});
    let made = add(elsewhere, &again);
    assert_eq!(text(&made, "/confirmation/email/state"), "too_soon", "{made}");
    let next = text(&made, "/confirmation/email/next_at");
    assert!(next > in_seconds(20 * 3_600), "the questions before the rotation count: {made}");
    let made = add(elsewhere, &json!({"name": "Elsewhere", "email": complained, "roles": ["org_admin"]}));
    assert_eq!(text(&made, "/confirmation/email/state"), "withheld", "{made}");
}

#[test]
fn a_leaked_generation_ends_under_load_and_nothing_is_lost() {
    let stack = stack!(alone);
    let old = newest(&stack);
    let new = old + 1;
    let tenants: Vec<Tenant> = (0..TENANTS).map(|_| tenant(&stack)).collect();
    let mut known = tenant(&stack);
    let elsewhere = stack.tenant("business");
    let before = Links::new(&stack);
    before.answer(200, "<h1>");

    // Who complained, who was asked often, and who has a code that was not entered.
    let complained = format!("complaint+{}@simulator.amazonses.com", unique());
    stack.secret(&complained);
    let complainer = known.person_with("support_manager", json!({"email": complained, "phone": null}));
    drop(open(&known, &unique()));
    wait("the complaint", Duration::from_secs(90), || {
        let suppressed = &known.get(&format!("/recipients/{}", complainer.id))["suppressed"];
        (suppressed["reason"] == "suppressed_complaint").then_some(())
    });
    let asked = format!("{}@{}.test", unique(), elsewhere.id);
    let asked_id = text(&add(&elsewhere, &json!({"name": "Asked", "email": asked, "roles": ["org_admin"]})), "/id");
    let phone = fictional_phone();
    stack.secret(&phone);
    let coded = add(&known, &json!({"name": "On call", "phone": phone, "roles": ["org_admin"]}));
    let sms = wait("the code", Duration::from_secs(60), || {
        stack.texts(&phone).into_iter().find(|sms| sms.text.contains("is your code"))
    });
    let code: String = sms.text.chars().take(6).collect();
    stack.secret(&code);

    // A dead letter.
    let letter = text(&stack.aws(&["send", &stack.text("/queues/DeliverSmsQueue"), "{}"]), "/message_id");
    let letters = |action: &str| {
        invoke(
            &stack,
            "DeadLetterFunction",
            &json!({action: {"function": "deliver-sms", "day": today(), "id": letter}}),
        )
    };
    wait("the dead letter", Duration::from_secs(90), || letters("list").pointer("/letters/0").cloned());

    // A webhook whose third attempt waits on a queue until its key is gone, with a URL and a secret that the old generation sealed.
    let hook = known.endpoints[2].clone();
    let late = unique();
    stack.behave(&hook.path, json!({"status": 503, "retry_after": 160, "times": 2}));
    let late_incident = open(&known, &late);
    let of_late = || {
        let inbox = stack.inbox(&hook.path);
        inbox.into_iter().filter(|request| text(request, "/body").contains(&late)).collect::<Vec<_>>()
    };
    wait("two failed attempts", Duration::from_secs(60), || (of_late().len() == 2).then_some(()));

    let (done, said) = keys(&stack, "retire", &["--generation", &new.to_string()]);
    assert!(!done && said.contains("there is no generation"), "{said}");

    let over = AtomicBool::new(false);
    let opened = std::thread::scope(|scope| {
        let loading = scope.spawn(|| load(&tenants, &over));
        let end_of_load = EndOfLoad(&over);
        // One is asked no more than once a minute.
        let asking = scope.spawn(|| {
            for _ in 0..2 {
                pause(65);
                assert_eq!(ask_again(&elsewhere, &asked_id).status, 202);
            }
        });
        let (done, said) = keys(&stack, "rotate", &[]);
        assert!(done && said.contains(&format!("everything is sealed by generation {new}: yes")), "{said}");
        before.answer(200, "<h1>");
        let between = Links::new(&stack);
        between.answer(200, "<h1>");
        let token = between.by_kind["stop"].split("t=").nth(1).unwrap();
        assert!(token.starts_with(&format!("{new}.")), "the new generation signs");

        let generation = old.to_string();
        let (done, said) = keys(&stack, "retire", &["--generation", &generation]);
        assert!(!done && said.contains("is kept until 20"), "{said}");
        before.answer(200, "<h1>");
        let (done, said) = keys(&stack, "retire", &["--generation", &generation, "--now"]);
        assert!(done && said.contains(&format!("generation {old} is retired")), "{said}");
        before.answer(410, "This link was turned off");
        before.do_nothing();
        between.answer(200, "<h1>");
        assert_eq!(of_late().len(), 2, "the third attempt must come after the end of its key");
        asking.join().unwrap();
        pause(10);
        drop(end_of_load);
        loading.join().unwrap()
    });

    // Every alert of the load arrived, once, and signed.
    assert!(opened.len() > 15, "{}", opened.len());
    for (number, mark, incident) in &opened {
        let tenant = &tenants[*number];
        drop(tenant.settled(incident, 1));
        tenant.expect(mark, &ALL, 0);
        let hook = tenant.endpoints.iter().find(|endpoint| endpoint.kind == "webhook").unwrap();
        let inbox = stack.inbox(&hook.path);
        let request = inbox.iter().find(|request| text(request, "/body").contains(mark)).unwrap();
        assert!(is_signed(hook, request), "{mark}");
    }

    // Secrets are sealed by the new generation wherever they are, and the old key is nowhere.
    let item = stack.aws(&["row", &stack.text("/table"), &format!("DATAKEY#{old}"), "DATAKEY"]);
    assert!(item.get("retired_ms").is_some() && item.get("wrapped").is_none(), "{item}");
    for tenant in tenants.iter().chain([&known]) {
        for endpoint in &tenant.endpoints {
            let key = [format!("T#{}", tenant.id), format!("INTEGRATION#{}", endpoint.id)];
            let stored = stack.aws(&["row", &stack.text("/table"), &key[0], &key[1]]);
            assert!(text(&stored, "/url").starts_with(&format!("v1.{new}.")), "{}", endpoint.kind);
        }
        let trail = tenant.get("/audit")["audit"].to_string();
        assert!(trail.contains("integration.resealed"), "{trail}");
    }
    assert_eq!(acts(&stack, old)[..2], ["data_key.retired", "data_key.links_ended"]);
    assert_eq!(acts(&stack, new), ["data_key.made"]);

    // Identities are what they were.
    assert_identities(&known, &elsewhere, &asked, &complained);
    let path = known.path(&format!("/recipients/{}/confirm", text(&coded, "/id")));
    let entered = stack.call("POST", &path, &known.token, Some(&json!({"channel": "sms", "code": code})));
    assert_eq!((entered.status, &entered.json()["phone_confirmed"]), (200, &json!(true)), "{}", entered.body);
    let decided = known.settled(&open(&known, &unique()), 1);
    assert_eq!(known.decisions(&decided, 1)["support_manager email"], "suppressed_complaint");

    // A dead letter goes back to its queue, and the webhook that waited arrives with a valid signature.
    let redriven = letters("redrive");
    assert_eq!((&redriven["redriven"], &redriven["failed"]), (&json!(1), &json!(0)), "{redriven}");
    let arrived = wait("the third attempt", Duration::from_secs(400), || {
        let requests = of_late();
        (requests.len() == 3).then_some(requests)
    });
    assert!(arrived.iter().all(|request| is_signed(&hook, request)));
    drop(known.settled(&late_incident, 1));
}
