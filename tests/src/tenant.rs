//! Creates tenants through the API, with recipients and integrations that no other test has.

use crate::http::Response;
use crate::receive::{Arrival, text};
use crate::{Stack, pause, random, unique, wait};
use domain::tenant::{NumberType, Phone};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The four roles of recipients and audiences.
pub const ROLES: [&str; 4] = ["org_admin", "billing_admin", "tech_devops", "support_manager"];

/// A tenant of one test, with what the test added to it.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The stack that the tenant is on.
    pub stack: Stack,
    /// Id in the API.
    pub id: String,
    /// Token of the tenant's admin.
    pub token: String,
    /// Recipients that the test added.
    pub people: Vec<Person>,
    /// Integrations that the test added.
    pub endpoints: Vec<Endpoint>,
}

/// A recipient with one role.
#[derive(Clone, Debug)]
pub struct Person {
    /// Id in the API.
    pub id: String,
    /// Role of the recipient.
    pub role: String,
    /// E-mail address of the recipient.
    pub email: String,
    /// Phone number of the recipient.
    pub phone: String,
}

/// An integration with one audience.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Id in the API.
    pub id: String,
    /// `slack`, `teams` or `webhook`.
    pub kind: String,
    /// Role that is the integration's audience.
    pub role: String,
    /// Path of its receiver, also the key of its inbox.
    pub path: String,
    /// Signing secret; empty for Slack and Teams.
    pub secret: String,
}

/// Number of messages by destination, as `role channel`.
pub type Got = BTreeMap<String, usize>;

impl Stack {
    /// Creates a tenant without recipients or integrations. Every category is on with every channel that the matrix and the plan allow.
    /// Storm protection is off: otherwise a second text message would be deferred to the next minute.
    #[must_use]
    pub fn tenant(&self, plan: &str) -> Tenant {
        let id = unique();
        let admin = self.admin();
        let body = json!({"name": format!("Tenant {id}"), "plan": plan, "zone": "Asia/Kolkata"});
        let answer = self.call("PUT", &format!("/v1/tenants/{id}"), &admin, Some(&body));
        assert_eq!(answer.status, 201, "{}", answer.body);
        let token = self.token(json!({"name": "e2e", "tenants": [id],
            "scopes": ["alerts:read", "alerts:manage", "incidents:write"]}));
        let token = text(&token, "/token");
        let tenant = Tenant { stack: self.clone(), id, token, people: Vec::new(), endpoints: Vec::new() };
        let ticks = |all: &[&str]| -> Vec<String> {
            let included: &[&str] = match plan {
                "starter" => &["email"],
                "business" => &["email", "chat", "webhook"],
                _ => &["email", "sms", "chat", "webhook"],
            };
            all.iter().filter(|channel| included.contains(channel)).map(|channel| (*channel).to_owned()).collect()
        };
        tenant.set(json!({"storms": "each", "compliance": {"confirmed": ["email", "sms"]}, "categories": {
            "infrastructure": {"enabled": true, "channels": ticks(&["email", "sms", "chat", "webhook"])},
            "billing": {"enabled": true, "channels": ticks(&["email", "sms", "chat"])},
            "configurable": {"enabled": true, "channels": ticks(&["email", "chat", "webhook"])},
        }}));
        tenant
    }

    /// Creates a tenant on the largest plan with one recipient and one Slack, Teams and webhook integration per role.
    #[must_use]
    pub fn full_tenant(&self) -> Tenant {
        let mut tenant = self.tenant("enterprise");
        for role in ROLES {
            tenant.person(role, &["configurable_email"]);
            for kind in ["slack", "teams", "webhook"] {
                tenant.endpoint(kind, role);
            }
        }
        tenant
    }

    /// Issues a token as the platform's admin. Returns the API's response.
    #[must_use]
    pub fn token(&self, body: Value) -> Value {
        let answer = self.call("POST", "/v1/tokens", &self.admin(), Some(&body));
        assert_eq!(answer.status, 201, "{}", answer.body);
        let issued = answer.json();
        self.secret(&text(&issued, "/token"));
        issued
    }
}

impl Tenant {
    /// Returns a path below this tenant's.
    #[must_use]
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/tenants/{}{rest}", self.id)
    }

    /// Sends a GET as this tenant's admin and returns the body.
    #[must_use]
    pub fn get(&self, rest: &str) -> Value {
        let answer = self.stack.call("GET", &self.path(rest), &self.token, None);
        assert_eq!(answer.status, 200, "GET {rest}: {}", answer.body);
        answer.json()
    }

    /// Patches the object at a path with its current ETag.
    #[must_use]
    pub fn patch(&self, rest: &str, patch: &Value) -> Response {
        let path = self.path(rest);
        let current = self.stack.call("GET", &path, &self.token, None);
        let tag = current.header("etag").expect("what can be written has an ETag").to_owned();
        // Sent as the platform's admin, because a tenant's admin may not change the plan.
        self.stack.call_with("PATCH", &path, &self.stack.admin(), &[("if-match", &tag)], Some(patch))
    }

    /// Patches the tenant's settings with its current ETag.
    pub fn set(&self, patch: Value) {
        let answer = self.patch("/settings", &patch);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// Adds a confirmed recipient with an e-mail address and a phone number.
    pub fn person(&mut self, role: &str, opt_ins: &[&str]) -> Person {
        self.person_with(role, json!({"opt_ins": opt_ins}))
    }

    /// As [`Tenant::person`], with more fields.
    pub fn person_with(&mut self, role: &str, more: Value) -> Person {
        let email = format!("{}@{}.test", unique(), self.id);
        let phone = fictional_phone();
        let mut body = json!({"name": format!("{} {role}", self.id), "email": email, "phone": phone, "roles": [role],
            "confirmed": true});
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let answer = self.stack.call("POST", &self.path("/recipients"), &self.stack.admin(), Some(&body));
        assert_eq!(answer.status, 201, "{}", answer.body);
        self.stack.secret(&email);
        self.stack.secret(&phone);
        let person = Person { id: text(&answer.json(), "/id"), role: role.to_owned(), email, phone };
        self.people.push(person.clone());
        person
    }

    /// Adds an integration with a receiver of its own.
    pub fn endpoint(&mut self, kind: &str, role: &str) -> Endpoint {
        self.endpoint_with(kind, role, json!({}))
    }

    /// As [`Tenant::endpoint`], with more fields.
    pub fn endpoint_with(&mut self, kind: &str, role: &str, more: Value) -> Endpoint {
        let path = format!("/{kind}/{}/{}", self.id, unique());
        let url = format!("{}{path}", self.stack.text("/receivers_url"));
        let mut body = json!({"name": format!("{kind} {role}"), "kind": kind, "url": url, "audiences": [role]});
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let answer = self.stack.call("POST", &self.path("/integrations"), &self.token, Some(&body));
        assert_eq!(answer.status, 201, "{}", answer.body);
        let made = answer.json();
        self.stack.secret(&path);
        let secret = text(&made, "/secret");
        if !secret.is_empty() {
            self.stack.secret(&secret);
        }
        let endpoint = Endpoint { id: text(&made, "/id"), kind: kind.to_owned(), role: role.to_owned(), path, secret };
        self.endpoints.push(endpoint.clone());
        endpoint
    }

    /// Returns every message to this tenant's destinations whose text contains `mark`.
    #[must_use]
    pub fn arrivals(&self, mark: &str) -> Vec<Arrival> {
        let mails = self.stack.mails(mark);
        let mut found = Vec::new();
        for person in &self.people {
            found.extend(mails.iter().filter(|mail| mail.to == person.email).cloned());
            found.extend(self.stack.texts(&person.phone).into_iter().filter(|sms| sms.text.contains(mark)));
        }
        for endpoint in &self.endpoints {
            for request in self.stack.inbox(&endpoint.path) {
                let words = text(&request, "/body");
                if words.contains(mark) {
                    found.push(Arrival { channel: endpoint.kind.clone(), to: endpoint.path.clone(), text: words });
                }
            }
        }
        found
    }

    /// Returns [`Tenant::arrivals`] counted by `role channel`.
    #[must_use]
    pub fn got(&self, mark: &str) -> Got {
        let mut got = Got::new();
        for arrival in self.arrivals(mark) {
            let person = self.people.iter().find(|person| person.email == arrival.to || person.phone == arrival.to);
            let endpoint = self.endpoints.iter().find(|endpoint| endpoint.path == arrival.to);
            let role = person.map(|p| p.role.clone()).or(endpoint.map(|e| e.role.clone())).unwrap_or_default();
            *got.entry(format!("{role} {}", arrival.channel)).or_default() += 1;
        }
        got
    }

    /// Returns the incident as this tenant sees it.
    #[must_use]
    pub fn incident(&self, id: &str) -> Value {
        self.get(&format!("/incidents/{id}"))
    }

    /// Returns this tenant's own incidents, newest first, without platform-wide ones.
    #[must_use]
    pub fn own_incidents(&self) -> Vec<Value> {
        let list = self.get("/incidents")["incidents"].as_array().cloned().unwrap_or_default();
        list.into_iter().filter(|incident| incident["tenant_id"] == self.id.as_str()).collect()
    }

    /// Waits up to two minutes until `update` is planned and all its deliveries have ended. Returns the incident.
    #[must_use]
    pub fn settled(&self, incident: &str, update: u64) -> Value {
        self.settled_within(incident, update, Duration::from_secs(120))
    }

    /// Like [`Tenant::settled`], with another time limit.
    #[must_use]
    pub fn settled_within(&self, incident: &str, update: u64, at_most: Duration) -> Value {
        let mut last = Value::Null;
        let begun = std::time::Instant::now();
        loop {
            let answer = self.stack.call("GET", &self.path(&format!("/incidents/{incident}")), &self.token, None);
            if answer.status == 200 {
                last = answer.json();
                if is_settled(&last, update) {
                    return last;
                }
            }
            assert!(begun.elapsed() < at_most, "update {update} of {incident} is not over: {last:#}");
            std::thread::sleep(Duration::from_millis(400));
        }
    }

    /// Asserts that exactly the `expected` destinations got a message with `mark`, once each, and nothing more for `quiet` seconds.
    pub fn expect(&self, mark: &str, expected: &[&str], quiet: u64) {
        let expected: Got = expected.iter().map(|line| ((*line).to_owned(), 1)).collect();
        self.expect_counts(mark, &expected, quiet);
    }

    /// Like [`Tenant::expect`], with the number of messages per destination.
    pub fn expect_counts(&self, mark: &str, expected: &Got, quiet: u64) {
        let got = self.got(mark);
        if got != *expected {
            // The delivery row is written after the send, but the receivers' inbox may be a moment behind.
            pause(2);
            assert_eq!(self.got(mark), *expected, "what arrived with {mark}");
        }
        if quiet > 0 {
            pause(quiet);
            assert_eq!(self.got(mark), *expected, "what arrived with {mark} after {quiet} more seconds");
        }
    }

    /// Returns every entry of an incident's explanation for a destination and channel, as update, outcome and reason.
    #[must_use]
    pub fn explained(&self, incident: &str, id: &str, channel: &str) -> Vec<(u64, String, String)> {
        entries(&self.get(&format!("/incidents/{incident}/explain")), id, channel)
    }

    /// Returns the decisions on an update: `deliver` or the reason, by `role channel`.
    #[must_use]
    pub fn decisions(&self, incident: &Value, update: u64) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for decision in incident["decisions"].as_array().into_iter().flatten() {
            if decision["update"].as_u64() != Some(update) {
                continue;
            }
            let id = text(decision, "/destination");
            let person = self.people.iter().find(|person| person.id == id).map(|person| person.role.clone());
            let endpoint =
                self.endpoints.iter().find(|endpoint| endpoint.id == id).map(|endpoint| endpoint.role.clone());
            let role = person.or(endpoint).unwrap_or(id);
            let outcome = text(decision, "/outcome");
            let what = if outcome == "deliver" { outcome } else { text(decision, "/reason") };
            let before = found.insert(format!("{role} {}", text(decision, "/channel")), what);
            assert_eq!(before, None, "two decisions for {role} {}", text(decision, "/channel"));
        }
        found
    }

    /// Waits until a receiver has got `count` requests, and returns them.
    #[must_use]
    pub fn requests(&self, endpoint: &Endpoint, count: usize, at_most: Duration) -> Vec<Value> {
        let what = format!("{count} requests to a {} receiver", endpoint.kind);
        wait(&what, at_most, || {
            let inbox = self.stack.inbox(&endpoint.path);
            (inbox.len() >= count).then_some(inbox)
        })
    }
}

/// Returns a random number of the US: 555-0100 to 555-0199 are reserved for fiction in every area code.
#[must_use]
pub fn fictional_phone() -> String {
    loop {
        let [a, b, c] = random::<3>();
        let area = 201 + (u32::from(a) * 256 + u32::from(b)) % 700;
        let phone = format!("+1{area}55501{:02}", c % 100);
        // Many area codes are of other countries, are for toll-free numbers, or are not given out.
        let fits = |phone: Phone| {
            let facts = phone.facts();
            facts.country.as_deref() == Some("US") && facts.number_type == NumberType::FixedLineOrMobile
        };
        if Phone::parse(&phone).is_ok_and(fits) {
            return phone;
        }
    }
}

fn is_settled(incident: &Value, update: u64) -> bool {
    let list = |name: &str| incident[name].as_array().cloned().unwrap_or_default();
    let decisions: Vec<Value> =
        list("decisions").into_iter().filter(|decision| decision["update"].as_u64() == Some(update)).collect();
    if decisions.is_empty() {
        return false;
    }
    let deliveries = list("deliveries");
    decisions.iter().filter(|decision| decision["outcome"] == "deliver").all(|decision| {
        deliveries.iter().any(|delivery| {
            let newest = delivery["update"].as_u64().unwrap_or(0);
            let reached = if decision["channel"] == "webhook" { newest == update } else { newest >= update };
            delivery["destination"] == decision["destination"]
                && delivery["channel"] == decision["channel"]
                && reached
                && (delivery["state"] == "accepted" || delivery["state"] == "failed")
        })
    })
}

/// Returns an entry in the form of [`Tenant::explained`].
#[must_use]
pub fn outcome(update: u64, outcome: &str, reason: &str) -> (u64, String, String) {
    (update, outcome.to_owned(), reason.to_owned())
}

/// Returns every entry of an explanation for a destination and channel, as update, outcome and reason.
#[must_use]
pub fn entries(known: &Value, id: &str, channel: &str) -> Vec<(u64, String, String)> {
    let mine =
        known["decisions"].as_array().into_iter().flatten().filter(|entry| {
            (entry["recipient_id"] == id || entry["integration_id"] == id) && entry["channel"] == channel
        });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    mine.map(|entry| (entry["update"].as_u64().unwrap_or_default(), text(&entry["outcome"]), text(&entry["reason"])))
        .collect()
}
