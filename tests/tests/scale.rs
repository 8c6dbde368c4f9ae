//! A platform-wide incident over two thousand tenants: every subscribed destination exactly once, and what it cost in AWS calls. And one
//! behind a thousand others on the status page.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may fail by a panic"
)]

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use domain::event_record::{EventRecord, IncidentListEntry};
use domain::ids::{EventId, IncidentId, IntegrationId, RecipientId, TenantId};
use domain::incident::Incident;
use domain::tenant::{CategorySettings, Destination, Email, Filters, Integration, Recipient, Sealed, Settings};
use domain::vocabulary::{Category, Channel, ChannelClass, Role};
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use store::Table;
use store::incidents::IncidentChange;
use store::tenants::{AuditRecord, SaveOutcome, TenantChange};
use tests::receive::text;
use tests::{Stack, http, stack, unique, wait};
use vault::{FingerprintPurpose, Keyring};

/// One tenant in so many has a webhook besides its recipient.
const WEBHOOK_EVERY: usize = 4;

/// The number in an environment variable, or `default`.
fn given(name: &str, default: usize) -> usize {
    std::env::var_os(name).and_then(|text| text.to_str().and_then(|text| text.parse().ok())).unwrap_or(default)
}

fn number_of_tenants() -> usize {
    given("TOCSIN_TENANTS", 2_000)
}

fn config(stack: &Stack) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "tests");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(stack.text("/region")))
        .endpoint_url(stack.text("/emulator_url"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

fn settings(tenant: &TenantId) -> Settings {
    let category = |enabled: bool| CategorySettings {
        enabled,
        channels: BTreeSet::from([ChannelClass::Email, ChannelClass::Webhook]),
        muted_until: None,
        min_severity: None,
    };
    // Billing has no webhooks in the matrix, so the incident is an infrastructure one.
    let categories = BTreeMap::from([
        (Category::Infrastructure, category(true)),
        (Category::Billing, category(false)),
        (Category::Configurable, category(false)),
    ]);
    Settings {
        tenant: tenant.clone(),
        name: "One of many".to_owned(),
        plan: "business".to_owned(),
        zone: "UTC".to_owned(),
        alert_window_seconds: 60,
        categories,
        allowed_email_domains: Vec::new(),
        compliance: domain::tenant::SmsCompliance::default(),
        public_name: None,
        approved: domain::tenant::ApprovedNames::default(),
        name_requests: domain::tenant::NameRequests::default(),
        data_processing: domain::tenant::DataProcessing::default(),
        quiet_hours: None,
        min_severity: None,
        digest: None,
        storms: domain::vocabulary::StormMode::Bundle,
        compliance_confirmed: confirmed(),
        footprint: domain::tenant::Footprint::default(),
        version: 1,
    }
}

fn recipient(id: &str, address: &str) -> Recipient {
    Recipient {
        id: RecipientId::new(id),
        name: "Somebody".to_owned(),
        email: Some(Email::parse(address).unwrap()),
        email_confirmed: true,
        phone: None,
        phone_facts: None,
        phone_confirmed: false,
        roles: BTreeSet::from([Role::TechDevops]),
        filters: Filters::default(),
        user_id: None,
        opt_ins: BTreeSet::new(),
        unsubscribed: BTreeSet::new(),
        unsubscribed_warnings: false,
        dnd: false,
        sms_consent: false,
        sms_consent_record: None,
        zone: None,
        suppressed: None,
        sms_opted_out: None,
        digest: None,
        no_digest: false,
        quiet_hours: None,
        shared: false,
        created_at: Timestamp::UNIX_EPOCH,
        version: 1,
    }
}

fn integration(keyring: &Keyring, tenant: &TenantId, id: &str, url: &str) -> Integration {
    let id = IntegrationId::new(id);
    let aad = vault::owner_aad(tenant.as_str(), id.as_str());
    let seal = |text: &str| Sealed::new(keyring.seal(&aad, text.as_bytes()).unwrap().into());
    Integration {
        name: "Endpoint".to_owned(),
        kind: Channel::Webhook,
        url: seal(url),
        host: "127.0.0.1".to_owned(),
        fingerprint: keyring.fingerprints().fingerprint(FingerprintPurpose::IntegrationUrl, url).unwrap(),
        secret: Some(seal("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
        old_secret: None,
        categories: BTreeSet::new(),
        audiences: BTreeSet::from([Role::TechDevops]),
        filters: Filters::default(),
        paused: false,
        disabled: None,
        failing: None,
        slow: None,
        created_at: Timestamp::UNIX_EPOCH,
        version: 1,
        id,
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has a clock of its own")]
fn audit() -> AuditRecord {
    AuditRecord { at: Timestamp::now(), who: "tests".to_owned(), what: "made".to_owned(), object: "scale".to_owned() }
}

async fn save(table: &Table, tenant: &TenantId, setting: TenantChange) {
    let saved = table.save(tenant, &setting, &audit(), &unique()).await.unwrap();
    assert_eq!(saved, SaveOutcome::Saved);
}

/// Makes the tenants, each named after `mark`.
async fn seed(stack: &Stack, mark: &str, tenants: usize) {
    let config = config(stack);
    let table = Table::new(&config, &stack.text("/table"), 1);
    let keys = aws::kms::KeyService::new(&config);
    let keyring = vault::load(&table, &keys).await.unwrap();
    let receivers = stack.text("/receivers_url");
    let (table, keyring, receivers) = (&table, &keyring, &receivers);
    stream::iter(0..tenants)
        .for_each_concurrent(24, |place| async move {
            let tenant = TenantId::parse(&format!("{mark}-{place}")).unwrap();
            save(table, &tenant, TenantChange::Settings(Box::new(settings(&tenant)))).await;
            let person = recipient(&format!("{mark}{place}"), &format!("{place}@{mark}.test"));
            save(table, &tenant, TenantChange::Destination(Destination::Recipient(Box::new(person)))).await;
            if place % WEBHOOK_EVERY == 0 {
                let url = format!("{receivers}/webhook/{mark}/{place}");
                let hook = integration(keyring, &tenant, &format!("{mark}{place}"), &url);
                save(table, &tenant, TenantChange::Destination(Destination::Integration(Box::new(hook)))).await;
            }
        })
        .await;
}

/// The title of the incident that these tenants are notified of. An earlier test's platform-wide incident may still be on its way
/// when the first of them are made, and reaches them too.
fn title(mark: &str) -> String {
    format!("{mark} network")
}

/// How often each address of these tenants was written to about their incident.
fn mails(stack: &Stack, mark: &str) -> BTreeMap<String, usize> {
    let domain = format!("@{mark}.test");
    counted(stack.mails(&title(mark)).into_iter().map(|mail| mail.to).filter(|address| address.ends_with(&domain)))
}

/// How often each endpoint of these tenants was called about their incident.
fn webhooks(stack: &Stack, mark: &str) -> BTreeMap<String, usize> {
    let folder = format!("/webhook/{mark}/");
    let inbox = stack.inbox("");
    let about = inbox.iter().filter(|request| text(request, "/body").contains(&title(mark)));
    counted(about.map(|request| text(request, "/path")).filter(|path| path.starts_with(&folder)))
}

fn counted(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    names.fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name).or_insert(0) += 1;
        counts
    })
}

/// Returns when an address got e-mails, and its delivery rows, to find out why it was notified twice.
async fn trace(stack: &Stack, mark: &str, incident: &IncidentId, address: &str) -> String {
    let table = Table::new(&config(stack), &stack.text("/table"), 1);
    let place = address.split('@').next().unwrap_or_default();
    let tenant = TenantId::parse(&format!("{mark}-{place}")).unwrap();
    let rows = table.deliveries(incident, &tenant).await.unwrap();
    let rows = serde_json::to_string(&rows).unwrap();
    format!("{address}: sent at {:?}; {rows}", stack.mailed_at(&title(mark), address))
}

#[test]
fn every_subscribed_destination_of_two_thousand_tenants_is_notified_exactly_once() {
    let stack = stack!(alone);
    let (mark, tenants) = (unique(), number_of_tenants());
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(seed(&stack, &mark, tenants));
    eprintln!("{tenants} tenants were made in {:.0} s", begun.elapsed().as_secs_f64());

    let calls = format!("{}/calls", stack.text("/control_url"));
    drop(http::send("DELETE", &calls, &[], None).unwrap());
    let begun = Instant::now();
    let event = stack.post(json!({"type": "network.outage", "severity": "critical", "platform": true,
        "title": title(&mark), "components": ["network"]}));
    let incident = IncidentId::parse(&stack.incident_of(&event)).unwrap();
    // The wire counts; asking the emulator for thousands of mails again and again would hold up the sends themselves.
    let sends = |calls: &BTreeMap<String, u64>| calls.get("ses.SendRawEmail").copied().unwrap_or(0) as usize;
    let hooks_wanted = tenants.div_ceil(WEBHOOK_EVERY);
    let (mut calls, mut hooks) = (stack.calls(), 0);
    while sends(&calls) < tenants || hooks < hooks_wanted || mails(&stack, &mark).len() < tenants {
        let now = begun.elapsed();
        assert!(
            now < Duration::from_secs(400),
            "after {} s {} e-mails and {hooks} webhooks",
            now.as_secs(),
            sends(&calls)
        );
        tests::pause(4);
        (calls, hooks) = (stack.calls(), webhooks(&stack, &mark).len());
    }
    let took = begun.elapsed();
    // Whatever comes twice comes with a visibility timeout or a retry's pause, or at once.
    tests::pause(10);
    let calls_after = stack.calls();
    let (mails, hooks) = (mails(&stack, &mark), webhooks(&stack, &mark));
    assert_eq!((mails.len(), hooks.len()), (tenants, hooks_wanted), "destinations that were notified");
    // The one double that nobody can rule out: a send or a mark whose answer never came, on a machine that stood still.
    let unheard = |name: &str| calls_after.get(&format!("{name} unanswered")).copied().unwrap_or(0) as usize;
    let marks = unheard("dynamodb.UpdateItem");
    let twice = |counts: &BTreeMap<String, usize>| counts.values().map(|count| count - 1).sum::<usize>();
    let too_many = twice(&mails);
    if too_many > unheard("ses.SendRawEmail") + marks {
        let doubled = mails.iter().filter(|(_, count)| **count > 1).map(|(address, _)| address);
        let traces = doubled.take(3).map(|address| runtime.block_on(trace(&stack, &mark, &incident, address)));
        let traces: Vec<String> = traces.collect();
        panic!("{too_many} e-mails too many; {calls_after:?}\n{}", traces.join("\n"));
    }
    assert!(twice(&hooks) <= marks, "{} webhooks too many; {calls_after:?}", twice(&hooks));

    // The tenants of other tests are notified too, and cost their share.
    let at_receivers = stack.inbox("").iter().filter(|request| text(request, "/body").contains(&mark)).count();
    let sent = |name: &str| calls.get(name).copied().unwrap_or(0);
    let deliveries = sent("ses.SendRawEmail") + sent("sns.Publish") + at_receivers as u64;
    eprintln!("{deliveries} deliveries in {:.0} s; AWS calls:", took.as_secs_f64());
    for (name, count) in &calls {
        eprintln!("  {count:>7}  {name}  ({:.2} a delivery)", *count as f64 / deliveries as f64);
    }
    // Nothing is read per delivery that the message can carry, and nothing grows faster than the number of recipients: a
    // claim and a mark each (and a slot for chat), a plan a tenant. On a slow machine calls are not answered in time: then a claim is given
    // back, the message returns to its queue, and the row is claimed again.
    let count = |name: &str| sent(name) as f64 / deliveries as f64;
    let again = 3.0 * count("sqs.ChangeMessageVisibility") + count("dynamodb.UpdateItem unanswered");
    let updates = count("dynamodb.UpdateItem") - again;
    assert!(updates < 2.5, "claims and marks: {updates:.2} a delivery, without {again:.2} of returned messages");
    assert!(count("dynamodb.Query") < 0.3, "reads: {:.2} a delivery", count("dynamodb.Query"));
    // Of an e-mail it is read whether its address is suppressed: other tenants and its owner change that until it is sent.
    let reads = count("dynamodb.GetItem") - count("ses.SendRawEmail");
    assert!(reads < 0.3, "reads: {reads:.2} a delivery, without one for each e-mail");
    assert!(count("sqs.SendMessageBatch") < 0.3, "sends: {:.2} a delivery", count("sqs.SendMessageBatch"));
}

/// Writes a public incident that is over, and that says it began when nobody alive will read it.
async fn publish(table: &Table, id: &str) {
    let now = audit().at;
    let incident = incident(
        id,
        &json!({"scope": "platform", "public": true, "public_title": id, "opened_at": now,
        "started_at": "9999-01-01T00:00:00Z", "last_seen": now, "resolved_at": now}),
    );
    record(table, &incident, None).await;
}

/// Writes an open incident of a tenant, without an update, and lists it.
async fn record_own(table: &Table, tenant: &TenantId, id: &str) {
    let now = audit().at;
    let incident = incident(
        id,
        &json!({"scope": {"tenant": tenant}, "public": false, "started_at": now, "last_seen": now,
        "components": [id]}),
    );
    let entry = IncidentListEntry { at: now, incident_id: Some(incident.id.clone()), event: None };
    record(table, &incident, Some(&entry)).await;
}

/// An incident with these fields besides those that do not matter.
fn incident(id: &str, fields: &serde_json::Value) -> Incident {
    let mut all = json!({"id": format!("inc_{id}"), "key": id,
        "integration_id": "int_tests", "source": "tests", "event_type": "pop.degraded", "dedup_key": id,
        "category": "infrastructure", "kind": "incident", "rule": "pop-degraded", "severity": "error", "status": "resolved",
        "title": id, "components": [], "regions": [], "updates": 1, "version": 1});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

async fn record(table: &Table, incident: &Incident, list_entry: Option<&IncidentListEntry>) {
    let record = EventRecord {
        event_id: EventId::new(incident.key.as_str()),
        scope: Some(incident.scope.clone()),
        accepted_at: audit().at,
        classification: "included".to_owned(),
        category: incident.category,
        rule: None,
        reason: None,
        incident_id: None,
        update: None,
        event_type: incident.event_type.clone(),
        title: String::new(),
        warnings: Vec::new(),
        jobs: Vec::new(),
    };
    let head = Some((incident, 0));
    let change = IncidentChange {
        record: &record,
        record_write: domain::event_record::EventRecordWrite::New,
        head,
        update: None,
        suppressed_incidents: &[],
        reminder: None,
        previous_key_state: None,
        key_without_incident: None,
        list_entry,
    };
    assert!(table.record_change(&change).await.unwrap());
}

#[test]
fn an_open_incident_stays_on_the_status_page_behind_a_thousand_newer_ones() {
    let stack = stack!(alone);
    // Nobody is notified: this test is about reads.
    let (mark, tenant) = (unique(), stack.tenant("enterprise"));
    let post =
        |status: &str| {
            stack.incident_of(&stack.post(
                json!({"type": "pop.degraded", "severity": "critical", "tenant_ids": [tenant.id], "public": true,
            "status": status, "title": title(&mark), "components": ["carrier"], "dedup_key": mark}),
            ))
        };
    let open = post("investigating");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = Table::new(&config(&stack), &stack.text("/table"), 1);
    let (written, table) = (stream::iter(0..1_000), &table);
    runtime.block_on(written.for_each_concurrent(24, |n| {
        let id = format!("{mark}{n}");
        async move { publish(table, &id).await }
    }));
    wait("it to be on the page", Duration::from_secs(30), || {
        let page = stack.call("GET", "/status", "", None);
        (page.status == 200 && page.body.contains(&format!("{}</a></h3>", title(&mark)))).then_some(())
    });
    assert_eq!(stack.call("GET", &format!("/status/incidents/{open}"), "", None).status, 200);
    let listed = |path: &str| {
        let answer = stack.call("GET", path, "", None).json();
        let ids = answer["incidents"].as_array().unwrap().iter().map(|one| text(one, "/id"));
        ids.collect::<Vec<String>>()
    };
    // A process keeps what it read for five seconds.
    let is_listed = || listed("/api/v2/incidents/unresolved.json").contains(&open);
    wait("it to be listed", Duration::from_secs(30), || is_listed().then_some(()));
    assert!(!listed("/api/v2/incidents.json").contains(&open), "fifty were opened later");
    assert_eq!(post("resolved"), open);
    let page = stack.call("GET", &format!("/status/incidents/{open}"), "", None);
    assert!(page.status == 200 && page.body.contains("Resolved"), "{}", page.status);
    wait("it to be over", Duration::from_secs(30), || (!is_listed()).then_some(()));
}

#[test]
fn a_busy_tenants_impact_is_read_a_few_incidents_at_a_time() {
    const INCIDENTS: usize = 450;
    let stack = stack!(alone);
    let (mark, tenant) = (unique(), stack.tenant("enterprise"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = Table::new(&config(&stack), &stack.text("/table"), 1);
    let id = TenantId::parse(&tenant.id).unwrap();
    let (written, table, owner) = (stream::iter(0..INCIDENTS), &table, &id);
    runtime.block_on(written.for_each_concurrent(24, |n| {
        let id = format!("{mark}{n}");
        async move { record_own(table, owner, &id).await }
    }));
    let first = tenant.get("/impact");
    assert_eq!(first["complete"], false, "{first}");
    let (from, to) = (text(&first, "/from"), text(&first, "/to"));
    let (mut seen, mut next, mut answers) = (BTreeSet::new(), Some(first), 0);
    while let Some(answer) = next {
        answers += 1;
        let affected = answer["affected"].as_array().unwrap();
        assert!(affected.len() < 200, "{} periods in one answer", affected.len());
        let own = affected.iter().filter_map(|one| one["component"].as_str()).filter(|name| name.starts_with(&mark));
        seen.extend(own.map(str::to_owned));
        next =
            answer["next"].as_str().map(|cursor| tenant.get(&format!("/impact?from={from}&to={to}&cursor={cursor}")));
    }
    assert_eq!(seen.len(), INCIDENTS, "in {answers} answers");
    assert!(answers >= 3, "{answers}");
}

/// Everything is confirmed to be lawful.
fn confirmed() -> BTreeMap<ChannelClass, domain::tenant::ComplianceConfirmed> {
    let said = |class: &ChannelClass| {
        let wording = domain::tenant::compliance_wording(*class)?;
        Some((
            *class,
            domain::tenant::ComplianceConfirmed { by: "tok_a".into(), at: jiff::Timestamp::UNIX_EPOCH, wording },
        ))
    };
    ChannelClass::ALL.iter().filter_map(said).collect()
}

/// An Alertmanager notification with so many alerts.
fn notification(mark: &str, alerts: usize) -> serde_json::Value {
    let alert = |number: usize| {
        json!({"status": "firing", "labels": {"alertname": "api.outage", "instance": number.to_string()},
            "annotations": {}, "startsAt": "2026-01-01T00:00:00Z", "fingerprint": format!("{mark}{number}")})
    };
    let all: Vec<_> = (0..alerts).map(alert).collect();
    json!({"version": "4", "groupKey": "g", "status": "firing", "receiver": "r", "alerts": all})
}

#[test]
fn a_flood_of_one_token_is_refused_for_a_while_and_nobody_elses_alert_is() {
    let stack = stack!(alone);
    let [flooder, calm] = [stack.tenant("enterprise"), stack.tenant("enterprise")];
    let token = |tenant: &tests::tenant::Tenant| {
        let issued = stack.token(json!({"name": "flood", "scopes": ["incidents:write"], "tenants": [tenant.id],
            "defaults": {"type": "api.outage", "tenant_ids": [tenant.id]}}));
        text(&issued, "/token")
    };
    let (flooding, quiet) = (token(&flooder), token(&calm));
    let post = |token: &str, body: &serde_json::Value| stack.call("POST", "/v1/intake/alertmanager", token, Some(body));
    // A full bucket holds 1,000 messages and refills with 10 a second. A request is let in whole if anything is left, and may leave it in
    // debt: the second does, unless the machine is so slow that it refills meanwhile.
    let mut let_in = 0;
    let refused = loop {
        let answer = post(&flooding, &notification(&unique(), 600));
        if answer.status != 202 {
            break answer;
        }
        let_in += 1;
        assert!(let_in < 20, "{let_in} requests of 600 alerts were let in");
    };
    assert!(let_in >= 2, "the bucket is for 1,000 messages, and {let_in} requests were let in");
    let wait: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).unwrap_or_default();
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!((1..=60).contains(&wait), "Retry-After: {wait}");
    let event = json!({"routing_key": flooding, "event_action": "trigger",
        "payload": {"summary": "down", "source": "x", "severity": "critical"}});
    let refused = stack.call("POST", "/v2/enqueue", "", Some(&event));
    assert_eq!(refused.status, 429, "on which PagerDuty's clients send again: {}", refused.body);
    assert_eq!(post(&quiet, &notification(&unique(), 1)).status, 202, "another tenant");
    std::thread::sleep(Duration::from_secs(wait + 1));
    let later = post(&flooding, &notification(&unique(), 1));
    assert_eq!(later.status, 202, "{}", later.body);
    // What was let in is classified before the next test begins.
    drop(stack.event(&text(&later.json(), "/events/0/event_id")));
}

/// The webhooks of one tenant.
const WEBHOOKS: usize = 180;

/// How many large events they get at once: as many as there are routing jobs in a batch.
fn number_of_large_events() -> usize {
    given("TOCSIN_LARGE_EVENTS", 10)
}

/// Makes a tenant with so many webhooks, whose name is `mark`.
async fn tenant_with_webhooks(stack: &Stack, mark: &str, webhooks: usize) -> TenantId {
    let config = config(stack);
    let table = Table::new(&config, &stack.text("/table"), 1);
    let keys = aws::kms::KeyService::new(&config);
    let keyring = vault::load(&table, &keys).await.unwrap();
    let tenant = TenantId::parse(mark).unwrap();
    let settings = Settings { plan: "enterprise".to_owned(), ..settings(&tenant) };
    save(&table, &tenant, TenantChange::Settings(Box::new(settings))).await;
    for place in 0..webhooks {
        let url = format!("{}/webhook/{mark}/{place}", stack.text("/receivers_url"));
        let hook = integration(&keyring, &tenant, &format!("{mark}{place}"), &url);
        save(&table, &tenant, TenantChange::Destination(Destination::Integration(Box::new(hook)))).await;
    }
    tenant
}

/// The most memory that any process of a function has had, in MiB.
fn high_water_mib(stack: &Stack, function: &str) -> u64 {
    let of_process = |pid: u32| -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024)
    };
    let pids = stack.processes(function);
    pids.into_iter().filter_map(of_process).max().unwrap_or_else(|| panic!("{function} has no process"))
}

#[test]
fn large_updates_to_many_webhooks_take_little_of_each_functions_memory() {
    let stack = stack!(alone);
    let mark = unique();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tenant = runtime.block_on(tenant_with_webhooks(&stack, &mark, WEBHOOKS));
    let details: BTreeMap<String, String> = (0..30).map(|part| (format!("part{part}"), "x".repeat(1_000))).collect();
    let events = number_of_large_events();
    for number in 0..events {
        let event = json!({"source": "e2e", "type": "network.outage", "severity": "critical", "tenant_ids": [tenant],
            "title": title(&mark), "dedup_key": format!("{mark}{number}"), "details": details});
        drop(stack.post_until_accepted(&event));
    }
    let begun = Instant::now();
    let queues = ["SubscriptionLookupQueue", "DeliverWebhookQueue", "DeliverWebhookBulkQueue"];
    let queues = queues.map(|queue| stack.text(&format!("/queues/{queue}")));
    let depth: Vec<&str> = ["depth"].into_iter().chain(queues.iter().map(String::as_str)).collect();
    let inbox = |place: usize| stack.inbox(&format!("/webhook/{mark}/{place}"));
    // Each inbox is large, so that the queues are asked first.
    let is_done = || stack.aws(&depth)["messages"] == 0 && (0..WEBHOOKS).all(|place| inbox(place).len() == events);
    while !is_done() {
        assert!(begun.elapsed() < Duration::from_secs(400), "{}", stack.aws(&depth));
        tests::pause(4);
    }
    eprintln!("{} messages of 30 KB in {:.0} s", WEBHOOKS * events, begun.elapsed().as_secs_f64());
    // The messages on the queue have all of it. A webhook is smaller, and says what it leaves out.
    for request in inbox(0) {
        let body = text(&request, "/body");
        assert!(body.contains(r#""cut":["details"]"#), "{body}");
    }
    // Half of `MemorySize`, and less for the one that builds all the messages.
    for function in ["IntakeFunction", "ClassifyFunction", "SubscriptionLookupFunction", "DeliverWebhookFunction"] {
        let mib = high_water_mib(&stack, function);
        eprintln!("{function} had {mib} MiB");
        let most = if function == "SubscriptionLookupFunction" { 64 } else { 128 };
        assert!(mib <= most, "{function} had {mib} MiB, and may have {most}");
    }
}

/// Posts a critical event about a tenant and returns how long it takes until its webhook has it, in seconds.
fn seconds_to_arrive(stack: &Stack, tenant: &str, path: &str) -> f64 {
    let (begun, name) = (Instant::now(), title(&unique()));
    drop(stack.post(json!({"type": "network.outage", "severity": "critical", "tenant_ids": [tenant], "title": name,
        "dedup_key": name})));
    while !stack.inbox(path).iter().any(|request| text(request, "/body").contains(&name)) {
        assert!(begun.elapsed() < Duration::from_secs(90), "it has not arrived");
        std::thread::sleep(Duration::from_millis(100));
    }
    begun.elapsed().as_secs_f64()
}

#[test]
fn a_tenants_slow_endpoints_are_marked_and_others_alerts_arrive() {
    const SLOW_FOR_MS: u64 = 3_000;
    const SLOW: usize = 40;
    // As many slow answers in a row mark an endpoint.
    const EVENTS: usize = 3;
    let stack = stack!(alone);
    let mark = unique();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let slow = runtime.block_on(tenant_with_webhooks(&stack, &mark, SLOW));
    let inbox = |place: usize| format!("/webhook/{mark}/{place}");
    (0..SLOW).for_each(|place| stack.behave(&inbox(place), json!({"delay_ms": SLOW_FOR_MS})));
    let mut calm = stack.tenant("enterprise");
    let hook = calm.endpoint("webhook", "tech_devops");
    let arrives = || seconds_to_arrive(&stack, &calm.id, &hook.path);
    let alone = arrives();

    // All of them turn slow at once: they hold up others for one answer, and are then passed on to the bulk lane.
    let flood = |round: usize| {
        for number in 0..EVENTS {
            let name = format!("{mark} {round} {number}");
            drop(stack.post_until_accepted(&json!({"source": "e2e", "type": "network.outage", "severity": "critical",
                "tenant_ids": [slow], "title": name, "dedup_key": name})));
        }
    };
    let is_busy = || (0..SLOW).step_by(20).any(|place| !stack.inbox(&inbox(place)).is_empty());
    flood(1);
    wait("the first slow call", Duration::from_secs(60), || is_busy().then_some(()));
    let while_new: Vec<f64> = (0..6).map(|_| arrives()).collect();
    let all = |queue: &str| stack.aws(&["depth", &stack.text(&format!("/queues/{queue}"))])["messages"] == 0;
    wait("everything to be sent", Duration::from_secs(300), || {
        (all("DeliverWebhookQueue") && all("DeliverWebhookBulkQueue")).then_some(())
    });
    let list = format!("/v1/tenants/{slow}/integrations?limit=500");
    let listed = stack.call("GET", &list, &stack.admin(), None).json();
    let known = listed["integrations"].as_array().unwrap().iter().filter(|one| one["slow_since"].is_string()).count();

    // From then on they never enter the urgent lane.
    flood(2);
    let while_known: Vec<f64> = (0..6).map(|_| arrives()).collect();
    let show = |all: &[f64]| all.iter().map(|one| format!("{one:.1}")).collect::<Vec<_>>().join(", ");
    eprintln!(
        "an alert takes {alone:.1} s alone; beside slow endpoints {} s; once {known} are known {} s",
        show(&while_new),
        show(&while_known)
    );
    // Answers that end at the same time are counted once, so that how many are known depends on the machine.
    assert!(known > 0, "none of {SLOW} endpoints is known as slow");
    wait("everything to be sent", Duration::from_secs(300), || {
        (all("DeliverWebhookQueue") && all("DeliverWebhookBulkQueue")).then_some(())
    });
}
