//! Who is told and why the others are not, by example and by property.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use domain::digest::{Digest, Every};
use domain::event::TestOf;
use domain::ids::{EventId, IncidentId, IntegrationId, RecipientId, Scope, TenantId};
use domain::incident::{Change, Incident, Update};
use domain::maintenance::Covered;
use domain::plan::{Asked, Decision, Outcome, Told, afresh, follows, plan};
use domain::policy::Policy;
use domain::quiet::{OwnQuietHours, QuietHours};
use domain::reason::Reason;
use domain::tenant::{
    CategorySettings, ComplianceConfirmed, DataProcessing, Destination, Disabled, Email, Filters, Integration, OptIn,
    Phone, Recipient, Sealed, Settings, Suppressed, compliance_wording,
};
use domain::vocabulary::{Category, Channel, ChannelClass, Kind, Role, Severity, Status};
use jiff::Timestamp;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy::embedded().unwrap());

fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn settings() -> Settings {
    let all =
        CategorySettings { enabled: true, channels: ChannelClass::ALL.iter().copied().collect(), muted_until: None };
    Settings {
        tenant: acme(),
        name: "Acme".into(),
        plan: "enterprise".into(),
        zone: "Asia/Kolkata".into(),
        alert_window_seconds: 60,
        categories: Category::ALL.iter().map(|category| (*category, all.clone())).collect(),
        allowed_email_domains: vec![],
        compliance: Default::default(),
        data_processing: DataProcessing::default(),
        quiet_hours: None,
        storms: domain::vocabulary::Storms::Bundle,
        compliance_confirmed: confirmed(),
        version: 1,
    }
}

fn incident(category: Category) -> Incident {
    Incident {
        id: IncidentId::new("1"),
        scope: Scope::Tenant(acme()),
        key: "k".into(),
        integration_id: IntegrationId::new("monitor"),
        source: "monitor".into(),
        event_type: "x".into(),
        dedup_key: "d".into(),
        category: Some(category),
        kind: Kind::Incident,
        rule: "r".into(),
        low_balance: false,
        severity: Severity::Error,
        status: Status::Investigating,
        title: "t".into(),
        components: vec![],
        regions: vec![],
        public: false,
        shown: None,
        public_title: String::new(),
        opened_at: Some(now()),
        started_at: now(),
        source_started_at: None,
        as_of: None,
        last_seen: now(),
        maintenance: None,
        covered: None,
        openings: None,
        resolved_at: None,
        updates: 1,
        repeats: 0,
        test: false,
        test_of: None,
        version: 1,
    }
}

fn update(number: u32, change: Change, severity: Severity) -> Update {
    Update {
        number,
        event_id: EventId::new("1"),
        correlation_id: "c".into(),
        accepted_at: now(),
        late_source: None,
        change,
        status: if change == Change::Resolved { Status::Resolved } else { Status::Investigating },
        severity,
        worst_before: None,
        title: "t".into(),
        message: "m".into(),
        components: vec![],
        regions: vec![],
        public_message: String::new(),
        links: vec![],
        measurements: BTreeMap::new(),
        labels: BTreeMap::new(),
        details: Default::default(),
        cut: vec![],
    }
}

fn person(name: &str, role: Role) -> Recipient {
    Recipient {
        id: RecipientId::new(name),
        name: name.into(),
        email: Some(Email::parse(&format!("{name}@example.com")).unwrap()),
        email_confirmed: true,
        phone: Some(Phone::parse(&format!("+1415555{:04}", name.len() * 7 + 100)).unwrap()),
        phone_confirmed: true,
        roles: BTreeSet::from([role]),
        filters: Filters::default(),
        opt_ins: BTreeSet::new(),
        unsubscribed: BTreeSet::new(),
        unsubscribed_warnings: false,
        dnd: false,
        sms_consent: false,
        zone: None,
        suppressed: None,
        sms_opted_out: None,
        digest: None,
        quiet_hours: None,
        shared: false,
        created_at: Timestamp::UNIX_EPOCH,
        version: 1,
    }
}

fn endpoint(name: &str, kind: Channel, role: Role) -> Integration {
    Integration {
        id: IntegrationId::new(name),
        name: name.into(),
        kind,
        url: Sealed::new("v1.1.x".into()),
        host: "example.com".into(),
        fingerprint: format!("fp-{name}"),
        secret: Some(Sealed::new("v1.1.y".into())),
        old_secret: None,
        categories: BTreeSet::new(),
        audiences: BTreeSet::from([role]),
        filters: Filters::default(),
        paused: false,
        disabled: None,
        failing: None,
        created_at: Timestamp::UNIX_EPOCH,
        version: 1,
    }
}

fn to(recipient: Recipient) -> Destination {
    Destination::Recipient(Box::new(recipient))
}

fn at(integration: Integration) -> Destination {
    Destination::Integration(Box::new(integration))
}

/// What these decisions of now mean for the next.
fn told_of(decisions: &[Decision]) -> Told {
    Told::from_plans(decisions.iter().map(|decision| (now(), decision)), &[], now())
}

fn run(incident: &Incident, updates: &[Update], settings: &Settings, to: &[Destination], told: &Told) -> Vec<Decision> {
    plan(&Asked {
        incident,
        updates,
        settings,
        destinations: to,
        told,
        policy: &POLICY,
        now: now(),
        due: None,
        storm: None,
    })
}

/// The outcome on one channel of the only destination, for an opening incident of `category`.
fn check(category: Category, settings: &Settings, to: Destination, channel: Channel) -> Result<Option<Role>, Reason> {
    let opened = [update(1, Change::Opened, Severity::Error)];
    let decisions = run(&incident(category), &opened, settings, &[to], &Told::default());
    match &decisions.iter().find(|decision| decision.channel == channel).unwrap().outcome {
        Outcome::Deliver { role } => Ok(*role),
        Outcome::Hold { reason, .. } | Outcome::Skip { reason, .. } => Err(*reason),
    }
}

use Category::{Billing, Configurable, Infrastructure};
use Role::{BillingAdmin, OrgAdmin, SupportManager, TechDevops};

#[test]
fn the_role_matrix_of_the_product_document() {
    let yes = |role| Ok(Some(role));
    let no = Err(Reason::RoleNotInMatrix);
    for (category, role, email, sms, chat, webhook) in [
        (Infrastructure, OrgAdmin, yes(OrgAdmin), yes(OrgAdmin), yes(OrgAdmin), yes(OrgAdmin)),
        (Infrastructure, BillingAdmin, no, no, no, no),
        (Infrastructure, TechDevops, yes(TechDevops), no, yes(TechDevops), yes(TechDevops)),
        (Infrastructure, SupportManager, yes(SupportManager), no, yes(SupportManager), no),
        (Billing, OrgAdmin, yes(OrgAdmin), no, yes(OrgAdmin), no),
        (Billing, BillingAdmin, yes(BillingAdmin), Err(Reason::LowBalanceOnly), yes(BillingAdmin), no),
        (Billing, TechDevops, no, no, no, no),
        (Billing, SupportManager, no, no, no, no),
        (Configurable, OrgAdmin, Err(Reason::OptInMissing), no, yes(OrgAdmin), yes(OrgAdmin)),
        (Configurable, BillingAdmin, no, no, no, no),
        (Configurable, TechDevops, yes(TechDevops), no, yes(TechDevops), yes(TechDevops)),
        (Configurable, SupportManager, yes(SupportManager), no, yes(SupportManager), no),
    ] {
        let settings = settings();
        let row = format!("{category} {role}");
        assert_eq!(check(category, &settings, to(person("p", role)), Channel::Email), email, "{row} email");
        assert_eq!(check(category, &settings, to(person("p", role)), Channel::Sms), sms, "{row} sms");
        assert_eq!(check(category, &settings, at(endpoint("s", Channel::Slack, role)), Channel::Slack), chat, "{row}");
        assert_eq!(check(category, &settings, at(endpoint("t", Channel::Teams, role)), Channel::Teams), chat, "{row}");
        let hook = at(endpoint("w", Channel::Webhook, role));
        assert_eq!(check(category, &settings, hook, Channel::Webhook), webhook, "{row} webhook");
    }
}

#[test]
fn every_setting_that_stops_an_alert_says_so() {
    let base = settings();
    let mut off = base.clone();
    off.categories.get_mut(&Infrastructure).unwrap().enabled = false;
    let mut unticked = base.clone();
    unticked.categories.get_mut(&Infrastructure).unwrap().channels.remove(&ChannelClass::Email);
    let mut muted = base.clone();
    muted.categories.get_mut(&Infrastructure).unwrap().muted_until = Some("2026-11-23T10:00:01Z".parse().unwrap());
    let mut past = base.clone();
    past.categories.get_mut(&Infrastructure).unwrap().muted_until = Some(now());
    let starter = Settings { plan: "starter".into(), ..base.clone() };
    let agreement = DataProcessing { channels: Some(BTreeSet::from([ChannelClass::Webhook])), ..Default::default() };
    let agreement = Settings { data_processing: agreement, ..base.clone() };
    let domains = Settings { allowed_email_domains: vec!["acme.test".into()], ..base.clone() };
    let admin = || person("p", OrgAdmin);
    let filter = |filters| Recipient { filters, ..admin() };
    let email = |settings: &Settings, person| check(Infrastructure, settings, to(person), Channel::Email).err();
    let sms = |settings: &Settings, person| check(Infrastructure, settings, to(person), Channel::Sms).err();
    assert_eq!(email(&base, admin()), None);
    assert_eq!(email(&off, admin()), Some(Reason::CategoryDisabled));
    assert_eq!(email(&unticked, admin()), Some(Reason::ChannelNotTicked));
    assert_eq!(email(&muted, admin()), Some(Reason::Muted));
    assert_eq!(email(&past, admin()), None, "a mute ends at its time");
    assert_eq!(sms(&starter, admin()), Some(Reason::PlanExcludesChannel));
    assert_eq!(email(&agreement, admin()), Some(Reason::AgreementExcludesChannel));
    assert_eq!(email(&domains, admin()), Some(Reason::DomainNotAllowed));
    assert_eq!(email(&base, Recipient { email: None, ..admin() }), Some(Reason::NoDestination));
    assert_eq!(sms(&base, Recipient { phone: None, ..admin() }), Some(Reason::NoDestination));
    assert_eq!(email(&base, Recipient { email_confirmed: false, ..admin() }), Some(Reason::ContactUnconfirmed));
    assert_eq!(sms(&base, Recipient { phone_confirmed: false, ..admin() }), Some(Reason::ContactUnconfirmed));
    assert_eq!(sms(&base, Recipient { dnd: true, ..admin() }), Some(Reason::Dnd));
    assert_eq!(sms(&base, Recipient { dnd: true, sms_consent: true, ..admin() }), None);
    let unsubscribed = Recipient { unsubscribed: BTreeSet::from([Infrastructure]), ..admin() };
    assert_eq!(email(&base, unsubscribed.clone()), Some(Reason::OptedOut));
    assert_eq!(sms(&base, unsubscribed), None, "unsubscribing is by e-mail and category");
    let critical_only = Filters { min_severity: Some(Severity::Critical), ..Default::default() };
    assert_eq!(email(&base, filter(critical_only)), Some(Reason::SeverityBelowFilter));
    let hook = |change: fn(&mut Integration)| {
        let mut integration = endpoint("w", Channel::Webhook, OrgAdmin);
        change(&mut integration);
        check(Infrastructure, &base, at(integration), Channel::Webhook).err()
    };
    assert_eq!(hook(|_| {}), None);
    assert_eq!(hook(|w| w.paused = true), Some(Reason::IntegrationPaused));
    assert_eq!(
        hook(|w| w.disabled = Some(Disabled { at: now(), cause: "http_410".into(), probe_at: None })),
        Some(Reason::EndpointDisabled)
    );
    assert_eq!(hook(|w| w.categories = BTreeSet::from([Billing])), Some(Reason::CategoryNotChosen));
}

#[test]
fn filters_take_what_overlaps_and_what_says_nothing() {
    let wants = |regions: &[&str]| Recipient {
        filters: Filters { regions: regions.iter().map(|r| (*r).to_owned()).collect(), ..Default::default() },
        ..person("p", OrgAdmin)
    };
    let outcome = |wanted: &[&str], affected: &[&str]| {
        let opened = Update {
            regions: affected.iter().map(|r| (*r).to_owned()).collect(),
            ..update(1, Change::Opened, Severity::Error)
        };
        let decisions = run(&incident(Infrastructure), &[opened], &settings(), &[to(wants(wanted))], &Told::default());
        decisions[0].outcome.clone()
    };
    let told = Outcome::Deliver { role: Some(OrgAdmin) };
    let missed = Outcome::Skip { reason: Reason::RegionMismatch, by: None };
    assert_eq!(outcome(&[], &["a"]), told);
    assert_eq!(outcome(&["a"], &[]), told);
    assert_eq!(outcome(&["a", "b"], &["b", "c"]), told);
    assert_eq!(outcome(&["a"], &["b"]), missed);
}

#[test]
fn low_balance_reaches_billing_admins_by_sms() {
    let low = Incident { low_balance: true, ..incident(Billing) };
    let opened = [update(1, Change::Opened, Severity::Warning)];
    let decisions = run(&low, &opened, &settings(), &[to(person("p", BillingAdmin))], &Told::default());
    assert!(decisions.iter().all(|decision| decision.outcome == Outcome::Deliver { role: Some(BillingAdmin) }));
}

#[test]
fn user_warnings_go_exactly_where_they_were_asked_for() {
    let warning = Incident { category: None, kind: Kind::OptIn, ..incident(Configurable) };
    let opened = [update(1, Change::Opened, Severity::Warning)];
    let asked = Recipient { opt_ins: BTreeSet::from([OptIn::WarningsSms]), ..person("p", SupportManager) };
    let hook = at(endpoint("w", Channel::Webhook, OrgAdmin));
    let mut off = settings();
    off.categories.values_mut().for_each(|category| category.enabled = false);
    let decisions = run(&warning, &opened, &off, &[to(asked), hook], &Told::default());
    let missing = Outcome::Skip { reason: Reason::OptInMissing, by: None };
    let outcomes: Vec<_> = decisions.iter().map(|decision| (decision.channel, decision.outcome.clone())).collect();
    assert_eq!(
        outcomes,
        [
            (Channel::Email, missing.clone()),
            (Channel::Sms, Outcome::Deliver { role: None }),
            (Channel::Webhook, missing)
        ]
    );
}

#[test]
fn one_address_is_told_once() {
    let first = person("p", OrgAdmin);
    let mut second = person("q", TechDevops);
    second.email = Some(Email::parse("P@EXAMPLE.com").unwrap());
    let opened = [update(1, Change::Opened, Severity::Error)];
    let decisions = run(&incident(Infrastructure), &opened, &settings(), &[to(first), to(second)], &Told::default());
    assert!(matches!(decisions[0].outcome, Outcome::Deliver { .. }));
    assert_eq!(decisions[2].outcome, Outcome::Skip { reason: Reason::SameDestinationAs, by: Some("rcp_p".into()) });
}

#[test]
fn whoever_got_open_gets_resolved_and_nobody_else() {
    let told_before = |destinations: &[Destination]| {
        let opened = [update(1, Change::Opened, Severity::Error)];
        told_of(&run(&incident(Infrastructure), &opened, &settings(), destinations, &Told::default()))
    };
    let admin = || person("p", OrgAdmin);
    let told = told_before(&[to(admin())]);
    let resolved = [update(2, Change::Resolved, Severity::Error)];
    let mut off = Settings { plan: "starter".into(), ..settings() };
    off.categories.values_mut().for_each(|category| {
        category.enabled = false;
        category.channels.clear();
    });
    let narrowed = Recipient {
        filters: Filters { min_severity: Some(Severity::Critical), ..Default::default() },
        roles: BTreeSet::from([BillingAdmin]),
        ..admin()
    };
    let decisions = run(&incident(Infrastructure), &resolved, &off, &[to(narrowed)], &told);
    assert!(decisions.iter().all(|d| matches!(d.outcome, Outcome::Deliver { .. })), "{decisions:?}");
    let gone = Recipient { unsubscribed: BTreeSet::from([Infrastructure]), ..admin() };
    let decisions = run(&incident(Infrastructure), &resolved, &off, &[to(gone)], &told);
    assert_eq!(decisions[0].outcome, Outcome::Skip { reason: Reason::OptedOut, by: None });
    let newcomer = person("newcomer", OrgAdmin);
    let decisions = run(&incident(Infrastructure), &resolved, &settings(), &[to(newcomer)], &told);
    assert_eq!(decisions[0].outcome, Outcome::Skip { reason: Reason::OpenNotTold, by: None });
}

#[test]
fn sms_speaks_of_open_worse_and_resolved_only() {
    let told = told_of(&[Decision {
        update: 1,
        destination: "rcp_p".into(),
        channel: Channel::Sms,
        outcome: Outcome::Deliver { role: Some(OrgAdmin) },
    }]);
    for (change, speaks) in [
        (Change::SeverityRaised, true),
        (Change::Resolved, true),
        (Change::StatusChanged, false),
        (Change::TextAdded, false),
        (Change::ScopeChanged, false),
        (Change::SeverityLowered, false),
    ] {
        let next = [update(2, change, Severity::Error)];
        let decisions = run(&incident(Infrastructure), &next, &settings(), &[to(person("p", OrgAdmin))], &told);
        let sms = decisions.iter().find(|decision| decision.channel == Channel::Sms).unwrap();
        assert_eq!(matches!(sms.outcome, Outcome::Deliver { .. }), speaks, "{change:?}");
    }
}

#[test]
fn updates_planned_together_supersede_for_people_and_not_for_webhooks() {
    let updates = [update(1, Change::Opened, Severity::Error), update(2, Change::Resolved, Severity::Error)];
    let destinations = [to(person("p", OrgAdmin)), at(endpoint("w", Channel::Webhook, OrgAdmin))];
    let decisions = run(&incident(Infrastructure), &updates, &settings(), &destinations, &Told::default());
    let of = |channel, number| &decisions.iter().find(|d| d.channel == channel && d.update == number).unwrap().outcome;
    assert_eq!(
        of(Channel::Email, 1),
        &Outcome::Skip { reason: Reason::SupersededBy, by: Some("2".into()) },
        "one message: it is over"
    );
    assert!(matches!(of(Channel::Email, 2), Outcome::Deliver { .. }));
    assert!(matches!(of(Channel::Webhook, 1), Outcome::Deliver { .. }));
    assert!(matches!(of(Channel::Webhook, 2), Outcome::Deliver { .. }));
}

#[test]
fn an_endpoint_is_not_told_by_itself_that_it_fails() {
    let own = "tocsin.endpoint_failing".into();
    let about = Incident { event_type: own, dedup_key: "int_w".into(), ..incident(Configurable) };
    let opened = [update(1, Change::Opened, Severity::Error)];
    let hook = at(endpoint("w", Channel::Webhook, TechDevops));
    let decisions = run(&about, &opened, &settings(), &[hook], &Told::default());
    assert_eq!(decisions[0].outcome, Outcome::Skip { reason: Reason::EndpointIsSubject, by: None });
}

#[test]
fn what_could_not_be_delivered_is_told_to_org_admins_on_another_channel() {
    let about =
        Incident { event_type: "tocsin.delivery_failed".into(), source: "tocsin".into(), ..incident(Infrastructure) };
    let labels = [("channel".to_owned(), "email".to_owned())].into();
    let opened = [Update { labels, ..update(1, Change::Opened, Severity::Critical) }];
    let destinations = [
        to(person("p", OrgAdmin)),
        to(person("longer", TechDevops)),
        at(endpoint("a", Channel::Slack, OrgAdmin)),
        at(endpoint("b", Channel::Slack, TechDevops)),
    ];
    let decisions = run(&about, &opened, &settings(), &destinations, &Told::default());
    let told: Vec<_> = decisions
        .iter()
        .filter(|decision| matches!(decision.outcome, Outcome::Deliver { .. }))
        .map(|decision| (decision.destination.as_str(), decision.channel))
        .collect();
    assert_eq!(told, [("rcp_p", Channel::Sms), ("int_a", Channel::Slack)]);
}

#[test]
fn what_reaches_nobody_else_is_told_to_an_org_admin_on_whatever_that_admin_has() {
    // Of Configurable the matrix gives an org admin no e-mail without an opt-in, and of Billing no text message.
    let admin = person("p", OrgAdmin);
    let bounced =
        Recipient { suppressed: Some(Suppressed { reason: Reason::SuppressedBounce, at: now() }), ..admin.clone() };
    for event_type in ["tocsin.suppressed", "tocsin.unsubscribed", "tocsin.delivery_failed"] {
        for category in [Infrastructure, Billing, Configurable] {
            let about = Incident { event_type: event_type.into(), source: "tocsin".into(), ..incident(category) };
            let told = |to_whom: &Recipient| -> Vec<Channel> {
                let opened = [update(1, Change::Opened, Severity::Warning)];
                let decisions = run(&about, &opened, &settings(), &[to(to_whom.clone())], &Told::default());
                let told = decisions.iter().filter(|one| matches!(one.outcome, Outcome::Deliver { .. }));
                told.map(|one| one.channel).collect()
            };
            assert_eq!(told(&admin), [Channel::Email, Channel::Sms], "{event_type} {category}");
            assert_eq!(told(&bounced), [Channel::Sms], "{event_type} {category}");
            assert!(told(&person("p", BillingAdmin)).is_empty());
        }
    }
}

fn any_role() -> impl Strategy<Value = Role> {
    prop::sample::select(Role::ALL)
}

prop_compose! {
    fn any_recipient()(name in "[a-f]", roles in prop::collection::btree_set(any_role(), 1..=4), email in any::<bool>(),
        confirmed in any::<bool>(), least in prop::option::of(prop::sample::select(Severity::ALL)),
        regions in prop::collection::vec("[xy]", 0..2)) -> Recipient {
        let mut recipient = person(&name, OrgAdmin);
        recipient.roles = roles;
        recipient.email_confirmed = confirmed;
        recipient.filters = Filters { min_severity: least, regions, components: vec![] };
        if !email { recipient.email = None; }
        recipient
    }
}

prop_compose! {
    fn any_endpoint()(name in "[g-l]", kind in prop::sample::select(vec![Channel::Slack, Channel::Teams, Channel::Webhook]),
        roles in prop::collection::btree_set(any_role(), 1..=4), paused in any::<bool>()) -> Integration {
        Integration { audiences: roles, paused, ..endpoint(&name, kind, OrgAdmin) }
    }
}

prop_compose! {
    fn any_settings()(plan in prop::sample::select(vec!["starter", "business", "enterprise"]),
        enabled in prop::collection::vec(any::<bool>(), 3), ticks in prop::collection::vec(any::<u8>(), 3)) -> Settings {
        let mut settings = Settings { plan: plan.to_owned(), ..settings() };
        for ((category, enabled), ticks) in settings.categories.values_mut().zip(enabled).zip(ticks) {
            category.enabled = enabled;
            category.channels = ChannelClass::ALL.iter().enumerate()
                .filter(|(bit, _)| ticks >> bit & 1 == 1).map(|(_, class)| *class).collect();
        }
        settings
    }
}

prop_compose! {
    fn any_story()(changes in prop::collection::vec((prop::sample::select(vec![Change::StatusChanged,
        Change::SeverityRaised, Change::TextAdded, Change::ScopeChanged]), prop::sample::select(Severity::ALL)), 0..4),
        resolved in any::<bool>()) -> Vec<Update> {
        let mut updates = vec![update(1, Change::Opened, Severity::Error)];
        for (change, severity) in changes {
            updates.push(update(u32::try_from(updates.len()).unwrap() + 1, change, severity));
        }
        if resolved {
            updates.push(update(u32::try_from(updates.len()).unwrap() + 1, Change::Resolved, Severity::Error));
        }
        updates
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// One decision for every update, destination and channel; never two to one address; whoever was told is told the end,
    /// and nobody else is; planning update by update says the same as planning them all, but for what supersedes.
    #[test]
    fn every_plan_is_complete_and_symmetric(
        people in prop::collection::vec(any_recipient(), 0..5),
        endpoints in prop::collection::vec(any_endpoint(), 0..5),
        first in any_settings(),
        later in any_settings(),
        category in prop::sample::select(Category::ALL),
        story in any_story(),
    ) {
        let mut destinations: Vec<Destination> = Vec::new();
        for destination in people.into_iter().map(to).chain(endpoints.into_iter().map(at)) {
            if destinations.iter().all(|other| other.id() != destination.id()) {
                destinations.push(destination);
            }
        }
        let incident = incident(category);
        let mut all: Vec<Decision> = Vec::new();
        for (place, update) in story.iter().enumerate() {
            let settings = if place == 0 { &first } else { &later };
            let told = told_of(&all);
            let round = run(&incident, std::slice::from_ref(update), settings, &destinations, &told);
            let expected: usize = destinations.iter().map(|destination| destination.channels().len()).sum();
            prop_assert_eq!(round.len(), expected);
            let mut sent = BTreeSet::new();
            for decision in &round {
                if matches!(decision.outcome, Outcome::Deliver { .. }) {
                    let destination = destinations.iter().find(|d| d.id() == decision.destination).unwrap();
                    prop_assert!(sent.insert((decision.channel, destination.identity(decision.channel).unwrap())));
                }
            }
            if update.change == Change::Resolved {
                for decision in &round {
                    let was_told = all.iter().any(|earlier| earlier.destination == decision.destination
                        && earlier.channel == decision.channel && matches!(earlier.outcome, Outcome::Deliver { .. }));
                    prop_assert_eq!(was_told, matches!(decision.outcome, Outcome::Deliver { .. }), "{:?}", decision);
                }
            }
            all.extend(round);
        }
    }
}

/// The plan is stored: its JSON is a contract with every later version.
#[test]
fn a_decision_reads_as_it_was_written() {
    let text = r#"{"update":1,"destination":"rcp_p","channel":"email","outcome":"skip","reason":"opted_out"}"#;
    let decision: Decision = serde_json::from_str(text).unwrap();
    assert_eq!(decision.outcome, Outcome::Skip { reason: Reason::OptedOut, by: None });
    assert_eq!(serde_json::to_string(&decision).unwrap(), text);
}

/// The codes of the findings, each with its channel.
fn found(settings: &Settings, to: &[Destination]) -> Vec<(String, Option<ChannelClass>)> {
    let findings = domain::lint::lint(settings, to, &POLICY, now());
    for finding in &findings {
        assert!(
            !finding.sentence.is_empty() && !finding.mend.is_empty() && !finding.setting.contains('<'),
            "{finding:?}"
        );
    }
    findings.into_iter().map(|finding| (finding.code.to_owned(), finding.channel)).collect()
}

fn only(category: Category, channels: &[ChannelClass]) -> Settings {
    let mut settings = settings();
    for (other, chosen) in &mut settings.categories {
        chosen.enabled = *other == category;
        chosen.channels = channels.iter().copied().collect();
    }
    settings
}

#[test]
fn settings_that_reach_somebody_have_no_findings() {
    let email = only(Infrastructure, &[ChannelClass::Email, ChannelClass::Sms]);
    assert_eq!(found(&email, &[to(person("a", OrgAdmin))]), []);
    assert_eq!(found(&email, &[to(person("a", OrgAdmin)), to(person("bb", TechDevops))]), []);
}

#[test]
fn what_is_on_and_reaches_nobody_is_found_with_its_mend() {
    let code = |code: &str, channel| (code.to_owned(), channel);
    let on = only(Billing, &[ChannelClass::Email]);
    assert_eq!(found(&on, &[]), [code("category_unreachable", None)]);
    let wrong = found(&on, &[to(person("a", TechDevops))]);
    assert_eq!(wrong, [code("category_unreachable", None), code("destination_silent", None)]);

    let sms = only(Infrastructure, &[ChannelClass::Email, ChannelClass::Sms]);
    let unconfirmed = Recipient { phone_confirmed: false, ..person("a", OrgAdmin) };
    let channel = Some(ChannelClass::Sms);
    let both = [code("channel_unreachable", channel), code("contact_unconfirmed", channel)];
    assert_eq!(found(&sms, &[to(unconfirmed)]), both);
    let small = Settings { plan: "starter".into(), ..sms };
    assert_eq!(found(&small, &[to(person("a", OrgAdmin))]), [code("plan_excludes_channel", channel)]);

    let hook = only(Infrastructure, &[ChannelClass::Webhook]);
    let gone = Integration {
        disabled: Some(Disabled { at: now(), cause: "http_410".into(), probe_at: None }),
        ..endpoint("h", Channel::Webhook, TechDevops)
    };
    let expected = [code("category_unreachable", None), code("endpoint_disabled", Some(ChannelClass::Webhook))];
    assert_eq!(found(&hook, &[at(gone)]), expected);

    let mut off = settings();
    off.categories.values_mut().for_each(|chosen| chosen.enabled = false);
    let findings = domain::lint::lint(&off, &[], &POLICY, now());
    assert_eq!(findings.iter().map(|finding| finding.code).collect::<Vec<_>>(), ["nothing_is_on"]);
}

#[test]
fn a_test_for_some_decides_on_nobody_else_and_reaches_a_disabled_endpoint() {
    let disabled = Some(Disabled { at: now(), cause: "http_410".into(), probe_at: None });
    let hook = Integration { disabled, ..endpoint("hook", Channel::Webhook, Role::OrgAdmin) };
    let hook_id = hook.id.to_string();
    let everybody = [to(person("ops", Role::OrgAdmin)), at(hook)];
    let update = [update(1, Change::Opened, Severity::Critical)];
    let decide = |incident: &Incident| afresh((incident, &update[0]), &settings(), &everybody, &POLICY, now());
    let hooks =
        |decisions: &[Decision]| decisions.iter().find(|made| made.destination == hook_id).unwrap().outcome.clone();
    let mut incident = incident(Category::Infrastructure);
    assert!(matches!(hooks(&decide(&incident)), Outcome::Skip { reason: Reason::EndpointDisabled, .. }));
    incident.test = true;
    assert!(matches!(hooks(&decide(&incident)), Outcome::Deliver { .. }));
    incident.test_of = Some(TestOf { channels: vec![Channel::Sms], destination: None });
    let sms = decide(&incident);
    assert!(sms.len() == 1 && sms.iter().all(|decision| decision.channel == Channel::Sms), "{sms:?}");
    incident.test_of = Some(TestOf { channels: vec![], destination: Some(hook_id.clone()) });
    let one = decide(&incident);
    assert!(one.len() == 1 && one.iter().all(|decision| decision.destination == hook_id), "{one:?}");
}

#[test]
fn no_person_is_told_on_a_channel_that_nobody_called_lawful() {
    let settings = Settings { compliance_confirmed: BTreeMap::new(), ..settings() };
    let everybody = [to(person("ops", Role::OrgAdmin)), at(endpoint("hook", Channel::Webhook, Role::OrgAdmin))];
    let update = update(1, Change::Opened, Severity::Critical);
    for decision in afresh((&incident(Category::Infrastructure), &update), &settings, &everybody, &POLICY, now()) {
        let stopped = matches!(decision.outcome, Outcome::Skip { reason: Reason::ComplianceUnconfirmed, .. });
        assert_eq!(stopped, decision.channel != Channel::Webhook, "{decision:?}");
    }
}

/// Everything is confirmed to be lawful.
fn confirmed() -> BTreeMap<ChannelClass, ComplianceConfirmed> {
    let said = |class: &ChannelClass| {
        let wording = compliance_wording(*class)?;
        Some((*class, ComplianceConfirmed { by: "tok_a".into(), at: Timestamp::UNIX_EPOCH, wording }))
    };
    ChannelClass::ALL.iter().filter_map(said).collect()
}

/// 15:00 to 16:00 in India: `now` is in the middle.
fn quiet(critical_passes: bool) -> QuietHours {
    let time = |text: &str| text.parse().unwrap();
    QuietHours { from: time("15:00"), to: time("16:00"), days: BTreeSet::new(), zone: None, critical_passes }
}

fn held_until(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Hold { until, reason: Reason::QuietHours, .. } => Some(until.to_string()),
        _ => None,
    }
}

#[test]
fn quiet_hours_hold_people_and_rooms_and_never_webhooks_or_tests() {
    let asleep = Settings { quiet_hours: Some(quiet(true)), ..settings() };
    let all = [
        to(person("p", OrgAdmin)),
        at(endpoint("s", Channel::Slack, OrgAdmin)),
        at(endpoint("w", Channel::Webhook, OrgAdmin)),
    ];
    let outcomes = |settings: &Settings, incident: &Incident, severity| {
        let decisions = run(incident, &[update(1, Change::Opened, severity)], settings, &all, &Told::default());
        decisions.iter().map(|decision| held_until(&decision.outcome)).collect::<Vec<_>>()
    };
    let end = Some("2026-11-23T10:30:00Z".to_owned());
    let usual = incident(Infrastructure);
    assert_eq!(outcomes(&asleep, &usual, Severity::Error), [end.clone(), end.clone(), end.clone(), None]);
    assert_eq!(outcomes(&asleep, &usual, Severity::Critical), [None, None, None, None]);
    let strict = Settings { quiet_hours: Some(quiet(false)), ..settings() };
    assert_eq!(outcomes(&strict, &usual, Severity::Critical), [end.clone(), end.clone(), end, None]);
    assert_eq!(outcomes(&strict, &Incident { test: true, ..usual.clone() }, Severity::Error), [None, None, None, None]);
    // A plan without quiet hours holds nothing that it cannot show in its settings.
    let business = Settings { plan: "starter".into(), ..asleep };
    assert_eq!(outcomes(&business, &usual, Severity::Error), [None, None, None, None]);
}

#[test]
fn a_persons_own_quiet_hours_count_instead_of_the_tenants() {
    let asleep = Settings { quiet_hours: Some(quiet(true)), ..settings() };
    let held = |settings: &Settings, own: Option<OwnQuietHours>, zone: Option<&str>| {
        let person = Recipient { quiet_hours: own, zone: zone.map(str::to_owned), ..person("p", OrgAdmin) };
        check(Infrastructure, settings, to(person), Channel::Email) == Err(Reason::QuietHours)
    };
    let hours = || Some(OwnQuietHours::Hours(quiet(true)));
    assert!(held(&asleep, None, None));
    assert!(held(&asleep, None, Some("America/New_York")), "the tenant's hours are the tenant's");
    assert!(!held(&asleep, Some(OwnQuietHours::Off), None));
    assert!(held(&settings(), hours(), None));
    assert!(!held(&settings(), hours(), Some("America/New_York")), "a person's hours are where the person is");
}

#[test]
fn what_waits_becomes_one_message_and_what_was_told_is_told_to_its_end() {
    let asleep = Settings { quiet_hours: Some(quiet(true)), ..settings() };
    let who = [to(person("p", SupportManager))];
    let incident = incident(Infrastructure);
    let next = |settings: &Settings, told: &[Decision], change, severity| {
        let told = told_of(told);
        run(&incident, &[update(2, change, severity)], settings, &who, &told).remove(0).outcome
    };
    let opened = |settings: &Settings| {
        run(&incident, &[update(1, Change::Opened, Severity::Error)], settings, &who, &Told::default())
    };
    let (waits, told) = (opened(&asleep), opened(&settings()));
    assert!(held_until(&waits[0].outcome).is_some() && held_until(&told[0].outcome).is_none());
    // Resolved while the open waits: one message, when the hours end.
    assert!(held_until(&next(&asleep, &waits, Change::Resolved, Severity::Error)).is_some());
    // Whoever has the open hears of the end at once.
    assert!(matches!(next(&asleep, &told, Change::Resolved, Severity::Error), Outcome::Deliver { .. }));
    // It gets critical: now.
    assert!(matches!(next(&asleep, &waits, Change::SeverityRaised, Severity::Critical), Outcome::Deliver { .. }));
    // The hours were taken away meanwhile.
    assert!(matches!(next(&settings(), &waits, Change::Resolved, Severity::Error), Outcome::Deliver { .. }));
    // Both planned at once, after an outage: the newer one takes the older one's place, and waits.
    let both = [update(1, Change::Opened, Severity::Error), update(2, Change::Resolved, Severity::Error)];
    let outcomes = run(&incident, &both, &asleep, &who, &Told::default());
    let by_mail: Vec<&Outcome> = outcomes
        .iter()
        .filter(|decision| decision.channel == Channel::Email)
        .map(|decision| &decision.outcome)
        .collect();
    assert!(matches!(by_mail[0], Outcome::Skip { reason: Reason::SupersededBy, .. }), "{by_mail:?}");
    assert!(held_until(by_mail[1]).is_some(), "{by_mail:?}");
}

#[test]
fn a_filter_by_a_name_that_nobody_knows_is_found() {
    let mut who = person("p", OrgAdmin);
    who.filters.components = vec!["voice".into(), "vioce".into()];
    who.filters.regions = vec!["mars-1".into(), "ap-south-1".into()];
    let found = domain::lint::lint(&only(Infrastructure, &[ChannelClass::Email]), &[to(who)], &POLICY, now());
    let found: Vec<(&str, &str)> = found.iter().map(|one| (one.code, one.setting.as_str())).collect();
    assert_eq!(
        found,
        [("unknown_component", "recipients.rcp_p.components"), ("unknown_region", "recipients.rcp_p.regions")]
    );
}

#[test]
fn quiet_hours_that_hold_too_much_are_found() {
    let with = |from: &str, to: &str, critical_passes| {
        let hours = QuietHours { from: from.parse().unwrap(), to: to.parse().unwrap(), ..quiet(critical_passes) };
        Settings { quiet_hours: Some(hours), ..only(Infrastructure, &[ChannelClass::Email]) }
    };
    let codes = |settings: &Settings, who: Recipient| -> Vec<&'static str> {
        let found = domain::lint::lint(settings, &[to(who)], &POLICY, now());
        found.iter().map(|finding| finding.code).collect()
    };
    let admin = || person("p", OrgAdmin);
    assert!(codes(&with("22:00", "07:00", true), admin()).is_empty());
    assert_eq!(codes(&with("07:00", "06:30", true), admin()), ["quiet_hours_all_day"]);
    assert_eq!(codes(&with("22:00", "07:00", false), admin()), ["quiet_hours_hold_critical"]);
    let own = Recipient { quiet_hours: Some(OwnQuietHours::Hours(quiet(false))), ..admin() };
    assert_eq!(codes(&with("22:00", "07:00", true), own.clone()), ["quiet_hours_hold_critical"]);
    let starter = Settings { plan: "starter".into(), quiet_hours: None, ..with("22:00", "07:00", true) };
    assert_eq!(codes(&starter, own), ["quiet_hours_not_in_plan"]);
}

fn collects(below: Severity) -> Recipient {
    let channels = BTreeSet::from([ChannelClass::Email]);
    let digest = Some(Digest { every: Every::Daily { at: "18:00".parse().unwrap() }, below, channels });
    Recipient { digest, ..person("p", SupportManager) }
}

#[test]
fn a_digest_collects_what_is_less_severe_and_its_end_too() {
    let incident = incident(Infrastructure);
    let decided = |settings: &Settings, who: Recipient, told: &[Decision], update: Update| {
        let told = told_of(told);
        run(&incident, &[update], settings, &[to(who)], &told)
    };
    let by_mail = |decisions: &[Decision]| decisions[0].outcome.clone();
    let opened = |severity| update(1, Change::Opened, severity);
    let six = "2026-11-23T12:30:00Z".parse().unwrap();
    let held =
        |outcome: &Outcome| matches!(outcome, Outcome::Hold { until, reason: Reason::Digest, .. } if *until == six);
    let warning = decided(&settings(), collects(Severity::Error), &[], opened(Severity::Warning));
    assert!(held(&by_mail(&warning)), "{warning:?}");
    let error = decided(&settings(), collects(Severity::Error), &[], opened(Severity::Error));
    assert!(matches!(by_mail(&error), Outcome::Deliver { .. }), "{error:?}");
    // On the channels that it names, each for itself.
    let mut by_text = collects(Severity::Error);
    by_text.digest.as_mut().unwrap().channels = BTreeSet::from([ChannelClass::Sms]);
    by_text.roles = BTreeSet::from([OrgAdmin]);
    let both = decided(&settings(), by_text, &[], opened(Severity::Warning));
    assert!(matches!(both[0].outcome, Outcome::Deliver { .. }) && held(&both[1].outcome), "{both:?}");
    // Its resolve is collected as well, whether the open waits or came with an earlier digest.
    let resolved = || update(2, Change::Resolved, Severity::Warning);
    assert!(held(&by_mail(&decided(&settings(), collects(Severity::Error), &warning, resolved()))));
    let told = decided(&settings(), person("p", SupportManager), &[], opened(Severity::Warning));
    assert!(held(&by_mail(&decided(&settings(), collects(Severity::Error), &told, resolved()))));
    // It gets worse: now.
    let worse =
        decided(&settings(), collects(Severity::Error), &warning, update(2, Change::SeverityRaised, Severity::Error));
    assert!(matches!(by_mail(&worse), Outcome::Deliver { .. }), "{worse:?}");
    // A digest that falls into quiet hours comes at their end.
    let hours = QuietHours { from: "17:00".parse().unwrap(), to: "19:00".parse().unwrap(), ..quiet(true) };
    let asleep = Settings { quiet_hours: Some(hours), ..settings() };
    let later = by_mail(&decided(&asleep, collects(Severity::Error), &[], opened(Severity::Warning)));
    let seven = "2026-11-23T13:30:00Z".parse().unwrap();
    assert!(matches!(later, Outcome::Hold { until, .. } if until == seven), "{later:?}");
    // Plans without digests send each alert; the lint says so.
    let starter = Settings { plan: "starter".into(), ..settings() };
    let each = decided(&starter, collects(Severity::Error), &[], opened(Severity::Warning));
    assert!(matches!(by_mail(&each), Outcome::Deliver { .. }), "{each:?}");
    let found = domain::lint::lint(&starter, &[to(collects(Severity::Error))], &POLICY, now());
    assert!(found.iter().any(|finding| finding.code == "digest_not_in_plan"), "{found:?}");
}

#[test]
fn what_announced_work_explains_waits_for_its_end_and_what_is_worse_does_not() {
    let until = now() + jiff::SignedDuration::from_hours(1);
    let covered = Covered { by: IncidentId::new("m"), until, up_to: Severity::Error };
    let explained = Incident { covered: Some(covered), ..incident(Infrastructure) };
    let all = [to(person("p", SupportManager)), at(endpoint("w", Channel::Webhook, OrgAdmin))];
    let said = |incident: &Incident, update: Update, told: &Told, now| {
        let settings = settings();
        let updates = [update];
        let decisions = plan(&Asked {
            incident,
            updates: &updates,
            settings: &settings,
            destinations: &all,
            told,
            policy: &POLICY,
            now,
            due: None,
            storm: None,
        });
        let mut outcomes = decisions.into_iter().filter(|one| one.channel != Channel::Sms).map(|one| one.outcome);
        let (person, machine) = (outcomes.next().unwrap(), outcomes.next().unwrap());
        (person, matches!(machine, Outcome::Deliver { .. }))
    };
    let opened = || update(1, Change::Opened, Severity::Error);
    let none = Told::default();
    let (held, machine) = said(&explained, opened(), &none, now());
    assert!(machine, "machines wait for nothing");
    let Outcome::Hold { until: waits, reason, .. } = &held else { panic!("{held:?}") };
    assert_eq!((*waits, *reason), (until, Reason::CoveredByMaintenance));
    let deliver = |(outcome, machine): (Outcome, bool)| machine && matches!(outcome, Outcome::Deliver { .. });
    assert!(deliver(said(&explained, opened(), &none, until)), "it outlived the work");
    assert!(deliver(said(&explained, update(1, Change::Opened, Severity::Critical), &none, now())), "it is worse");
    let over = Incident { resolved_at: Some(now()), ..explained.clone() };
    let skipped = Outcome::Skip { reason: Reason::CoveredByMaintenance, by: Some("inc_m".into()) };
    let waited = told_of(&run(&explained, &[opened()], &settings(), &all, &none));
    let resolved = || update(2, Change::Resolved, Severity::Error);
    assert_eq!(said(&over, resolved(), &waited, now()), (skipped.clone(), true), "both were part of the work");
    assert_eq!(said(&over, opened(), &none, until), (skipped, true), "what waited is over by then");
    let worse = [update(1, Change::Opened, Severity::Critical)];
    let told = told_of(&run(&incident(Infrastructure), &worse, &settings(), &all, &none));
    assert!(deliver(said(&over, resolved(), &told, now())), "whoever was told hears of the end");
}

#[test]
fn a_disabled_endpoint_is_tried_when_its_probe_is_due_and_what_tocsin_says_is_told_elsewhere() {
    let disabled = |probe_at: Option<&str>| {
        let probe_at = probe_at.map(|at| at.parse().unwrap());
        let disabled = Some(Disabled { at: now(), cause: "failing_too_long".into(), probe_at });
        at(Integration { disabled, failing: Some(now()), ..endpoint("w", Channel::Webhook, TechDevops) })
    };
    let outcome = |to: Destination| check(Infrastructure, &settings(), to, Channel::Webhook);
    assert_eq!(outcome(disabled(None)), Err(Reason::EndpointDisabled));
    assert_eq!(outcome(disabled(Some("2026-11-23T10:00:01Z"))), Err(Reason::EndpointDisabled));
    assert_eq!(outcome(disabled(Some("2026-11-23T10:00:00Z"))), Ok(Some(TechDevops)), "half open");

    let own = Incident {
        source: "tocsin".into(),
        event_type: "tocsin.endpoint_failing".into(),
        dedup_key: "int_other".into(),
        ..incident(Configurable)
    };
    let opened = [update(1, Change::Opened, Severity::Warning)];
    let failing = at(Integration { failing: Some(now()), ..endpoint("f", Channel::Webhook, TechDevops) });
    let half_open = disabled(Some("2026-11-23T10:00:00Z"));
    let well = at(endpoint("well", Channel::Slack, TechDevops));
    let decisions = run(&own, &opened, &settings(), &[failing, half_open, well], &Told::default());
    let outcomes: Vec<_> = decisions.into_iter().map(|decision| decision.outcome).collect();
    let skip = |reason| Outcome::Skip { reason, by: None };
    let told = Outcome::Deliver { role: Some(TechDevops) };
    assert_eq!(outcomes, [skip(Reason::EndpointFailing), skip(Reason::EndpointDisabled), told]);
    let of_owner = at(Integration { failing: Some(now()), ..endpoint("f", Channel::Webhook, TechDevops) });
    assert_eq!(outcome(of_owner), Ok(Some(TechDevops)), "its owner's alerts go on");
}

#[test]
fn the_law_of_a_numbers_country_holds_what_is_no_alert_at_any_severity() {
    let texted_of = |event_type: &str, phone: &str, kind: Kind, now: &str, change: Change| {
        let recipient = Recipient { phone: Some(Phone::parse(phone).unwrap()), ..person("p", OrgAdmin) };
        let incident = Incident { kind, event_type: event_type.into(), ..incident(Infrastructure) };
        let decisions = plan(&Asked {
            incident: &incident,
            updates: &[update(1, change, Severity::Critical)],
            settings: &settings(),
            destinations: &[to(recipient)],
            told: &Told::default(),
            policy: &POLICY,
            now: now.parse().unwrap(),
            due: Some(Reason::RegulatoryWindow),
            storm: None,
        });
        decisions.into_iter().find(|one| one.channel == Channel::Sms).unwrap().outcome
    };
    let texted = |phone: &str, kind, now: &str, change| texted_of("work", phone, kind, now, change);
    let told = Outcome::Deliver { role: Some(OrgAdmin) };
    let (india, night, morning) = ("+919812345678", "2026-11-23T20:59:00+05:30", "2026-11-23T21:00:00+05:30");
    let held = Outcome::Hold {
        until: "2026-11-24T10:00:00+05:30".parse().unwrap(),
        reason: Reason::RegulatoryWindow,
        role: Some(OrgAdmin),
    };
    assert_eq!(texted(india, Kind::Maintenance, night, Change::Opened), told);
    assert_eq!(texted(india, Kind::Maintenance, morning, Change::Opened), held);
    assert_eq!(texted(india, Kind::Maintenance, "2026-11-24T09:59:59+05:30", Change::Opened), held);
    assert_eq!(texted(india, Kind::Maintenance, "2026-11-24T10:00:00+05:30", Change::Opened), told);
    assert_eq!(texted(india, Kind::Incident, morning, Change::Opened), told, "alerts go at any hour");
    let failed = texted_of("tocsin.delivery_failed", india, Kind::Advisory, morning, Change::Opened);
    assert_eq!(failed, told, "so does that one did not come");
    assert_eq!(texted("+14155550100", Kind::Maintenance, morning, Change::Opened), told, "other countries");
    let silenced = Recipient { sms_opted_out: Some(now()), ..person("p", OrgAdmin) };
    assert_eq!(check(Infrastructure, &settings(), to(silenced), Channel::Sms), Err(Reason::OptedOut));
}

/// A decision on an e-mail to one person: delivered, or held until then for a reason.
fn decided(update: u32, held: Option<(&str, Reason)>) -> Decision {
    let outcome = match held {
        Some((until, reason)) => Outcome::Hold { until: until.parse().unwrap(), reason, role: None },
        None => Outcome::Deliver { role: None },
    };
    Decision { update, destination: person("p", SupportManager).id.to_string(), channel: Channel::Email, outcome }
}

#[test]
fn whoever_has_the_open_is_told_of_the_end_at_any_hour_though_a_later_word_waits() {
    // Quiet until 10:30; the plans are of these times, and it is 10:00.
    let asleep = Settings { quiet_hours: Some(quiet(true)), ..settings() };
    let waits = |hour: &str| Some((hour.to_owned(), Reason::QuietHours));
    let end = |settings: &Settings, plans: &[(&str, Option<(String, Reason)>)]| {
        let held = |held: &Option<(String, Reason)>| held.clone();
        let decisions: Vec<(Timestamp, Decision)> = (1..)
            .zip(plans)
            .map(|(number, (at, hold))| {
                let hold = held(hold);
                let hold = hold.as_ref().map(|(until, reason)| (until.as_str(), *reason));
                (at.parse().unwrap(), decided(number, hold))
            })
            .collect();
        let told = Told::from_plans(decisions.iter().map(|(at, decision)| (*at, decision)), &[], now());
        let who = [to(person("p", SupportManager))];
        run(&incident(Infrastructure), &[update(9, Change::Resolved, Severity::Error)], settings, &who, &told)
            .remove(0)
            .outcome
    };
    let (nine, half, later) = ("2026-11-23T09:00:00Z", "2026-11-23T09:45:00Z", "2026-11-23T10:30:00Z");
    let deliver = |outcome: Outcome| matches!(outcome, Outcome::Deliver { .. });
    // The open was sent at once, or when its time came; the next word waits.
    assert!(deliver(end(&asleep, &[(nine, None), (half, waits(later))])));
    assert!(deliver(end(&asleep, &[("2026-11-22T20:00:00Z", waits(nine)), (half, waits(later))])));
    // Also where it was switched off meanwhile.
    let mut off = asleep.clone();
    off.categories.get_mut(&Infrastructure).unwrap().enabled = false;
    assert!(deliver(end(&off, &[(nine, None), (half, waits(later))])));
    // A newer word took the open's place before its time came, so nobody has it.
    let replaced = [(nine, waits("2026-11-23T09:50:00Z")), (half, waits(later))];
    assert!(held_until(&end(&asleep, &replaced)).is_some());
    assert!(matches!(end(&off, &replaced), Outcome::Skip { reason: Reason::CategoryDisabled, .. }));
}

#[test]
fn what_became_of_a_decision_counts_and_not_what_its_plan_says() {
    // Quiet until 10:30; it is 10:00.
    let asleep = Settings { quiet_hours: Some(quiet(true)), ..settings() };
    let mut off = asleep.clone();
    off.categories.get_mut(&Infrastructure).unwrap().enabled = false;
    let (nine, half, later) = ("2026-11-23T09:00:00Z", "2026-11-23T09:45:00Z", "2026-11-23T10:30:00Z");
    let end = |settings: &Settings, plans: &[(&str, Decision)], revised: &[Decision]| {
        let plans = plans.iter().map(|(at, decision)| (at.parse().unwrap(), decision));
        let told = Told::from_plans(plans, revised, now());
        let who = [to(person("p", SupportManager))];
        let updates = [update(9, Change::Resolved, Severity::Error)];
        run(&incident(Infrastructure), &updates, settings, &who, &told).remove(0).outcome
    };
    let held = |update, until| decided(update, Some((until, Reason::QuietHours)));
    let ended = |update| Decision {
        outcome: Outcome::Skip { reason: Reason::CategoryDisabled, by: None },
        ..decided(update, None)
    };
    let untold = Outcome::Skip { reason: Reason::OpenNotTold, by: None };
    // It was to be sent at once, and its reader could take no more: both become one message.
    let put_off = [decided(1, Some((later, Reason::Throttled)))];
    let at_once = [(nine, decided(1, None))];
    assert_eq!(held_until(&end(&asleep, &at_once, &put_off)).as_deref(), Some(later));
    assert_eq!(end(&off, &at_once, &put_off), Outcome::Skip { reason: Reason::CategoryDisabled, by: None });
    // It waited on past the time of its plan, or was ended then.
    let slept = [(nine, held(1, half))];
    assert!(matches!(end(&asleep, &slept, &[]), Outcome::Deliver { .. }));
    assert!(held_until(&end(&asleep, &slept, &[held(1, later)])).is_some());
    assert_eq!(end(&asleep, &slept, &[ended(1)]), untold);
    // It came before the time of its plan.
    let early = [(nine, held(1, later))];
    assert!(held_until(&end(&asleep, &early, &[])).is_some());
    assert!(matches!(end(&asleep, &early, &[held(1, half)]), Outcome::Deliver { .. }));
    // Within its minute it is handed out, and a queue holds it for the rest.
    let handed_out = [(nine, held(1, "2026-11-23T10:00:30Z")), ("2026-11-23T10:00:10Z", held(2, later))];
    assert!(matches!(end(&asleep, &handed_out, &[ended(2)]), Outcome::Deliver { .. }));
    // An admin had it sent after all.
    let sent = Decision { outcome: Outcome::Deliver { role: None }, ..decided(1, None) };
    assert!(matches!(end(&asleep, &slept, &[sent]), Outcome::Deliver { .. }));
    // What took the place of another and was ended leaves nothing to wait for; what was told before is told.
    let replaced = [(nine, held(1, later)), (half, held(2, later))];
    assert_eq!(end(&asleep, &replaced, &[ended(2)]), untold);
    let told_first = [(nine, decided(1, None)), (half, held(2, later))];
    assert!(matches!(end(&asleep, &told_first, &[ended(2)]), Outcome::Deliver { .. }));
}

#[test]
fn what_is_held_is_held_until_no_clock_forbids_it() {
    // The work ends in the quiet hours, which end half an hour later.
    let covered = Covered { by: IncidentId::new("m"), until: now(), up_to: Severity::Error };
    let explained = Incident { covered: Some(covered), ..incident(Infrastructure) };
    let asleep = Settings { quiet_hours: Some(quiet(true)), ..settings() };
    let who = [to(person("p", SupportManager))];
    let opened = [update(1, Change::Opened, Severity::Error)];
    let asked = |incident, settings, destinations, at: &str| {
        let (told, now) = (Told::default(), at.parse().unwrap());
        let (updates, policy) = (&opened[..], &*POLICY);
        plan(&Asked { incident, updates, settings, destinations, told: &told, policy, now, due: None, storm: None })
    };
    let until = |decision: &Decision| match &decision.outcome {
        Outcome::Hold { until, reason, .. } => (until.to_string(), *reason),
        other => panic!("{other:?}"),
    };
    let decisions = asked(&explained, &asleep, &who, "2026-11-23T08:00:00Z");
    assert_eq!(until(&decisions[0]), ("2026-11-23T10:30:00Z".into(), Reason::CoveredByMaintenance));
    // The law lets it go at 10:00 in India; from 09:30 to 11:00 it is quiet.
    let advisory = Incident { kind: Kind::Advisory, ..incident(Infrastructure) };
    let indian = Recipient { phone: Some(Phone::parse("+919876543210").unwrap()), ..person("p", OrgAdmin) };
    let time = |text: &str| text.parse().unwrap();
    let hours = QuietHours { from: time("09:30"), to: time("11:00"), ..quiet(true) };
    let asleep = Settings { quiet_hours: Some(hours), ..settings() };
    let decisions = asked(&advisory, &asleep, &[to(indian)], "2026-11-23T02:00:00Z");
    assert_eq!(until(&decisions[1]), ("2026-11-23T05:30:00Z".into(), Reason::RegulatoryWindow));
}

#[test]
fn what_came_together_is_not_collected_once_more() {
    // It waited with others, then its recipient chose a digest; each alone would hand it to the other for ever.
    let incident = incident(Infrastructure);
    let stormy = decided(1, Some(("2026-11-23T09:00:00Z", Reason::Throttled)));
    let told = Told::from_plans([("2026-11-23T08:58:00Z".parse().unwrap(), &stormy)], &[], now());
    let updates = [update(2, Change::Resolved, Severity::Warning)];
    let (settings, destinations) = (settings(), [to(collects(Severity::Error))]);
    let due = |due| {
        let (incident, updates, settings, destinations) = (&incident, &updates[..], &settings, &destinations[..]);
        let (told, policy, now) = (&told, &*POLICY, now());
        plan(&Asked { incident, updates, settings, destinations, told, policy, now, due, storm: None })
            .remove(0)
            .outcome
    };
    assert!(matches!(due(None), Outcome::Hold { reason: Reason::Digest, .. }));
    assert!(matches!(due(Some(Reason::Digest)), Outcome::Deliver { .. }));
    assert!(matches!(due(Some(Reason::Throttled)), Outcome::Deliver { .. }));
}

#[test]
fn a_webhooks_update_is_tried_after_the_one_before_it_that_is_not_left_out() {
    let hook = |decision: Decision| Decision { channel: Channel::Webhook, ..decision };
    let left_out = Outcome::Skip { reason: Reason::Muted, by: None };
    let all = [hook(decided(1, None)), hook(Decision { outcome: left_out, ..decided(2, None) }), decided(2, None)];
    let before = |one: Decision| follows(&one, &all);
    assert_eq!(before(hook(decided(3, None))), Some(1));
    assert_eq!((before(hook(decided(1, None))), before(decided(3, None))), (None, None));
}
