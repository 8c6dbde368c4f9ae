//! Which destinations an update is sent to: roles, settings, reachability and filters.

use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A platform-wide incident, and settings of a tenant that uses Virginia.
fn far_away() -> (Incident, Settings) {
    let platform_wide = Incident { scope: Scope::Platform, ..incident(Infrastructure) };
    let footprint = Footprint { regions: names(&["us-east-1"]), ..Footprint::default() };
    (platform_wide, Settings { footprint, ..settings() })
}

fn in_regions(number: u32, change: Change, regions: &[&str]) -> Update {
    Update { regions: names(regions), ..update(number, change, Severity::Error) }
}

#[test]
fn a_platform_wide_incident_outside_the_footprint_is_skipped_and_says_what_the_tenant_uses() {
    let (platform_wide, uses_virginia) = far_away();
    let to = [to(recipient("p", OrgAdmin)), to_endpoint(endpoint("hook", Channel::Webhook, OrgAdmin))];
    let plan = |incident: &Incident, update: Update| {
        plan_updates(incident, &[update], &uses_virginia, &to, &NotificationHistory::default())
    };
    let skipped = DecisionOutcome::Skip { reason: Reason::NotInFootprint, by: Some("Virginia".into()) };
    let mumbai = || in_regions(1, Change::Opened, &["ap-south-1"]);
    for decision in plan(&platform_wide, mumbai()) {
        assert_eq!(decision.outcome, skipped, "{:?}", decision.channel);
    }
    assert_eq!(
        Reason::NotInFootprint.sentence_about(Some("Virginia")),
        "The incident doesn't affect you: you use Virginia."
    );
    let is_sent = |decision: &Decision| matches!(decision.outcome, DecisionOutcome::Deliver { .. });
    for everybodys in [in_regions(1, Change::Opened, &[]), in_regions(1, Change::Opened, &["ap-south-1", "us-east-1"])]
    {
        assert!(plan(&platform_wide, everybodys).iter().all(is_sent));
    }
    assert!(plan(&incident(Infrastructure), mumbai()).iter().all(is_sent), "the tenant's own incident");
    let test = Incident { test: true, ..platform_wide };
    assert!(plan(&test, mumbai()).iter().all(is_sent), "a test");
}

#[test]
fn an_incident_that_reaches_the_footprint_opens_there_and_is_followed_to_its_end() {
    let (platform_wide, uses_virginia) = far_away();
    let to = [to(recipient("p", OrgAdmin))];
    let opened = in_regions(1, Change::Opened, &["ap-south-1"]);
    let spread = in_regions(2, Change::ScopeChanged, &["ap-south-1", "us-east-1"]);
    let narrowed = in_regions(3, Change::ScopeChanged, &["ap-south-1"]);
    let resolved = in_regions(4, Change::Resolved, &["ap-south-1"]);
    let plan = |earlier: &[Update], update: &Update, history: &NotificationHistory| {
        plan_deliveries(&PlanInput {
            incident: &platform_wide,
            updates: std::slice::from_ref(update),
            earlier,
            settings: &uses_virginia,
            destinations: &to,
            history,
            policy: &POLICY,
            now: now(),
            released_from: None,
            storm_until: None,
        })
    };
    let mut all = plan(&[], &opened, &NotificationHistory::default());
    assert!(all.iter().all(|one| matches!(one.outcome, DecisionOutcome::Skip { reason: Reason::NotInFootprint, .. })));
    let reached = plan(std::slice::from_ref(&opened), &spread, &history_of(&all));
    assert!(
        reached.iter().all(|one| matches!(one.outcome, DecisionOutcome::Deliver { .. })),
        "SMS as well: {reached:?}"
    );
    all.extend(reached);
    let earlier = [opened, spread];
    let after = plan(&earlier, &narrowed, &history_of(&all));
    let by_email = |decisions: &[Decision]| {
        decisions.iter().find(|one| one.channel == Channel::Email).map(|one| one.outcome.clone()).unwrap()
    };
    assert!(matches!(by_email(&after), DecisionOutcome::Deliver { .. }), "whoever was notified stays notified");
    all.extend(after);
    let end = plan(&earlier, &resolved, &history_of(&all));
    assert!(end.iter().all(|one| matches!(one.outcome, DecisionOutcome::Deliver { .. })), "{end:?}");
}

#[test]
fn the_role_matrix_matches_the_product_document() {
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
        assert_eq!(
            opening_outcome(category, &settings, to(recipient("p", role)), Channel::Email),
            email,
            "{row} email"
        );
        assert_eq!(opening_outcome(category, &settings, to(recipient("p", role)), Channel::Sms), sms, "{row} sms");
        assert_eq!(
            opening_outcome(category, &settings, to_endpoint(endpoint("s", Channel::Slack, role)), Channel::Slack),
            chat,
            "{row}"
        );
        assert_eq!(
            opening_outcome(category, &settings, to_endpoint(endpoint("t", Channel::Teams, role)), Channel::Teams),
            chat,
            "{row}"
        );
        let hook = to_endpoint(endpoint("w", Channel::Webhook, role));
        assert_eq!(opening_outcome(category, &settings, hook, Channel::Webhook), webhook, "{row} webhook");
    }
}

#[test]
fn every_setting_that_blocks_an_alert_gives_its_reason() {
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
    let admin = || recipient("p", OrgAdmin);
    let filter = |filters| Recipient { filters, ..admin() };
    let email =
        |settings: &Settings, person| opening_outcome(Infrastructure, settings, to(person), Channel::Email).err();
    let sms = |settings: &Settings, person| opening_outcome(Infrastructure, settings, to(person), Channel::Sms).err();
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
    assert_eq!(sms(&base, unsubscribed), None, "an unsubscribe counts for e-mail of one category");
    let critical_only = Filters { min_severity: Some(Severity::Critical), ..Default::default() };
    assert_eq!(email(&base, filter(critical_only)), Some(Reason::SeverityBelowFilter));
    let hook = |change: fn(&mut Integration)| {
        let mut integration = endpoint("w", Channel::Webhook, OrgAdmin);
        change(&mut integration);
        opening_outcome(Infrastructure, &base, to_endpoint(integration), Channel::Webhook).err()
    };
    assert_eq!(hook(|_| {}), None);
    assert_eq!(hook(|w| w.paused = true), Some(Reason::IntegrationPaused));
    assert_eq!(
        hook(|w| w.disabled = Some(Disablement { at: now(), cause: "http_410".into(), probe_at: None })),
        Some(Reason::EndpointDisabled)
    );
    assert_eq!(hook(|w| w.categories = BTreeSet::from([Billing])), Some(Reason::CategoryNotChosen));
}

#[test]
fn filters_accept_overlap_and_updates_without_values() {
    let interested_in = |regions: &[&str]| Recipient {
        filters: Filters { regions: regions.iter().map(|r| (*r).to_owned()).collect(), ..Default::default() },
        ..recipient("p", OrgAdmin)
    };
    let outcome = |wanted: &[&str], affected: &[&str]| {
        let opened = Update {
            regions: affected.iter().map(|r| (*r).to_owned()).collect(),
            ..update(1, Change::Opened, Severity::Error)
        };
        let decisions = plan_updates(
            &incident(Infrastructure),
            &[opened],
            &settings(),
            &[to(interested_in(wanted))],
            &NotificationHistory::default(),
        );
        decisions[0].outcome.clone()
    };
    let accepted = DecisionOutcome::Deliver { role: Some(OrgAdmin) };
    let filtered = DecisionOutcome::Skip { reason: Reason::RegionMismatch, by: None };
    assert_eq!(outcome(&[], &["a"]), accepted);
    assert_eq!(outcome(&["a"], &[]), accepted);
    assert_eq!(outcome(&["a", "b"], &["b", "c"]), accepted);
    assert_eq!(outcome(&["a"], &["b"]), filtered);
}

#[test]
fn low_balance_reaches_billing_admins_by_sms() {
    let low = Incident { low_balance: true, ..incident(Billing) };
    let opened = [update(1, Change::Opened, Severity::Warning)];
    let decisions =
        plan_updates(&low, &opened, &settings(), &[to(recipient("p", BillingAdmin))], &NotificationHistory::default());
    assert!(decisions.iter().all(|decision| decision.outcome == DecisionOutcome::Deliver { role: Some(BillingAdmin) }));
}

#[test]
fn user_warnings_are_sent_only_on_channels_with_an_opt_in() {
    let user = || Some("u-17".to_owned());
    let warning = Incident { category: None, kind: Kind::OptIn, user_id: user(), ..incident(Configurable) };
    let opened = [update(1, Change::Opened, Severity::Warning)];
    let opted_in =
        Recipient { opt_ins: BTreeSet::from([OptIn::WarningsSms]), user_id: user(), ..recipient("p", SupportManager) };
    let hook = to_endpoint(endpoint("w", Channel::Webhook, OrgAdmin));
    let mut off = settings();
    off.categories.values_mut().for_each(|category| category.enabled = false);
    let decisions = plan_updates(&warning, &opened, &off, &[to(opted_in), hook], &NotificationHistory::default());
    let missing = DecisionOutcome::Skip { reason: Reason::OptInMissing, by: None };
    let outcomes: Vec<_> = decisions.iter().map(|decision| (decision.channel, decision.outcome.clone())).collect();
    assert_eq!(
        outcomes,
        [
            (Channel::Email, missing.clone()),
            (Channel::Sms, DecisionOutcome::Deliver { role: None }),
            (Channel::Webhook, missing)
        ]
    );
}

#[test]
fn a_shared_address_is_notified_once() {
    let first = recipient("p", OrgAdmin);
    let mut second = recipient("q", TechDevops);
    second.email = Some(Email::parse("P@EXAMPLE.com").unwrap());
    let opened = [update(1, Change::Opened, Severity::Error)];
    let decisions = plan_updates(
        &incident(Infrastructure),
        &opened,
        &settings(),
        &[to(first), to(second)],
        &NotificationHistory::default(),
    );
    assert!(matches!(decisions[0].outcome, DecisionOutcome::Deliver { .. }));
    assert_eq!(
        decisions[2].outcome,
        DecisionOutcome::Skip { reason: Reason::SameDestinationAs, by: Some("rcp_p".into()) }
    );
}

#[test]
fn sms_is_sent_for_openings_raised_severity_and_resolves_only() {
    let history = history_of(&[Decision {
        update: 1,
        destination: "rcp_p".into(),
        channel: Channel::Sms,
        outcome: DecisionOutcome::Deliver { role: Some(OrgAdmin) },
        last_sent: None,
    }]);
    for (change, is_sent) in [
        (Change::SeverityRaised, true),
        (Change::Resolved, true),
        (Change::StatusChanged, false),
        (Change::TextAdded, false),
        (Change::ScopeChanged, false),
        (Change::SeverityLowered, false),
    ] {
        let next = [update(2, change, Severity::Error)];
        let decisions =
            plan_updates(&incident(Infrastructure), &next, &settings(), &[to(recipient("p", OrgAdmin))], &history);
        let sms = decisions.iter().find(|decision| decision.channel == Channel::Sms).unwrap();
        assert_eq!(matches!(sms.outcome, DecisionOutcome::Deliver { .. }), is_sent, "{change:?}");
    }
}

#[test]
fn a_failing_endpoint_does_not_get_the_alert_about_itself() {
    let event_type = "tocsin.endpoint_failing".into();
    let about = Incident { event_type, dedup_key: "int_w".into(), ..incident(Configurable) };
    let opened = [update(1, Change::Opened, Severity::Error)];
    let hook = to_endpoint(endpoint("w", Channel::Webhook, TechDevops));
    let decisions = plan_updates(&about, &opened, &settings(), &[hook], &NotificationHistory::default());
    assert_eq!(decisions[0].outcome, DecisionOutcome::Skip { reason: Reason::EndpointIsSubject, by: None });
}

#[test]
fn a_failed_delivery_is_reported_to_org_admins_on_another_channel() {
    let about =
        Incident { event_type: "tocsin.delivery_failed".into(), source: "tocsin".into(), ..incident(Infrastructure) };
    let labels = [("channel".to_owned(), "email".to_owned())].into();
    let opened = [Update { labels, ..update(1, Change::Opened, Severity::Critical) }];
    let destinations = [
        to(recipient("p", OrgAdmin)),
        to(recipient("longer", TechDevops)),
        to_endpoint(endpoint("a", Channel::Slack, OrgAdmin)),
        to_endpoint(endpoint("b", Channel::Slack, TechDevops)),
    ];
    let decisions = plan_updates(&about, &opened, &settings(), &destinations, &NotificationHistory::default());
    let delivered: Vec<_> = decisions
        .iter()
        .filter(|decision| matches!(decision.outcome, DecisionOutcome::Deliver { .. }))
        .map(|decision| (decision.destination.as_str(), decision.channel))
        .collect();
    assert_eq!(delivered, [("rcp_p", Channel::Sms), ("int_a", Channel::Slack)]);
}

#[test]
fn delivery_notices_reach_org_admins_on_every_channel_they_have() {
    // The role matrix gives org admins no Configurable e-mail without an opt-in, and no Billing SMS.
    let admin = recipient("p", OrgAdmin);
    let bounced =
        Recipient { suppressed: Some(Suppression { reason: Reason::SuppressedBounce, at: now() }), ..admin.clone() };
    for event_type in ["tocsin.suppressed", "tocsin.unsubscribed", "tocsin.delivery_failed"] {
        for category in [Infrastructure, Billing, Configurable] {
            let about = Incident { event_type: event_type.into(), source: "tocsin".into(), ..incident(category) };
            let delivered_to = |recipient: &Recipient| -> Vec<Channel> {
                let opened = [update(1, Change::Opened, Severity::Warning)];
                let decisions = plan_updates(
                    &about,
                    &opened,
                    &settings(),
                    &[to(recipient.clone())],
                    &NotificationHistory::default(),
                );
                let delivered = decisions.iter().filter(|one| matches!(one.outcome, DecisionOutcome::Deliver { .. }));
                delivered.map(|one| one.channel).collect()
            };
            assert_eq!(delivered_to(&admin), [Channel::Email, Channel::Sms], "{event_type} {category}");
            assert_eq!(delivered_to(&bounced), [Channel::Sms], "{event_type} {category}");
            assert!(delivered_to(&recipient("p", BillingAdmin)).is_empty());
        }
    }
}

#[test]
fn a_test_alert_for_selected_destinations_skips_all_others_and_reaches_a_disabled_endpoint() {
    let disabled = Some(Disablement { at: now(), cause: "http_410".into(), probe_at: None });
    let hook = Integration { disabled, ..endpoint("hook", Channel::Webhook, Role::OrgAdmin) };
    let hook_id = hook.id.to_string();
    let destinations = [to(recipient("ops", Role::OrgAdmin)), to_endpoint(hook)];
    let update = [update(1, Change::Opened, Severity::Critical)];
    let decide =
        |incident: &Incident| plan_without_history(incident, &update[0], &settings(), &destinations, &POLICY, now());
    let hook_outcome = |decisions: &[Decision]| {
        decisions.iter().find(|decision| decision.destination == hook_id).unwrap().outcome.clone()
    };
    let mut incident = incident(Category::Infrastructure);
    assert!(matches!(hook_outcome(&decide(&incident)), DecisionOutcome::Skip { reason: Reason::EndpointDisabled, .. }));
    incident.test = true;
    assert!(matches!(hook_outcome(&decide(&incident)), DecisionOutcome::Deliver { .. }));
    incident.test_of = Some(TestTarget { channels: vec![Channel::Sms], destination: None });
    let sms = decide(&incident);
    assert!(sms.len() == 1 && sms.iter().all(|decision| decision.channel == Channel::Sms), "{sms:?}");
    incident.test_of = Some(TestTarget { channels: vec![], destination: Some(hook_id.clone()) });
    let one = decide(&incident);
    assert!(one.len() == 1 && one.iter().all(|decision| decision.destination == hook_id), "{one:?}");
}

#[test]
fn no_person_is_notified_on_a_channel_without_confirmed_compliance() {
    let settings = Settings { compliance_confirmed: BTreeMap::new(), ..settings() };
    let destinations =
        [to(recipient("ops", Role::OrgAdmin)), to_endpoint(endpoint("hook", Channel::Webhook, Role::OrgAdmin))];
    let update = update(1, Change::Opened, Severity::Critical);
    for decision in
        plan_without_history(&incident(Category::Infrastructure), &update, &settings, &destinations, &POLICY, now())
    {
        let stopped = matches!(decision.outcome, DecisionOutcome::Skip { reason: Reason::ComplianceUnconfirmed, .. });
        assert_eq!(stopped, decision.channel != Channel::Webhook, "{decision:?}");
    }
}

#[test]
fn a_disabled_endpoint_is_probed_when_due_and_gets_no_system_alerts() {
    let disabled = |probe_at: Option<&str>| {
        let probe_at = probe_at.map(|at| at.parse().unwrap());
        let disabled = Some(Disablement { at: now(), cause: "failing_too_long".into(), probe_at });
        to_endpoint(Integration { disabled, failing: Some(now()), ..endpoint("w", Channel::Webhook, TechDevops) })
    };
    let outcome = |to: Destination| opening_outcome(Infrastructure, &settings(), to, Channel::Webhook);
    assert_eq!(outcome(disabled(None)), Err(Reason::EndpointDisabled));
    assert_eq!(outcome(disabled(Some("2026-11-23T10:00:01Z"))), Err(Reason::EndpointDisabled));
    assert_eq!(outcome(disabled(Some("2026-11-23T10:00:00Z"))), Ok(Some(TechDevops)), "the probe is due");

    let system_incident = Incident {
        source: "tocsin".into(),
        event_type: "tocsin.endpoint_failing".into(),
        dedup_key: "int_other".into(),
        ..incident(Configurable)
    };
    let opened = [update(1, Change::Opened, Severity::Warning)];
    let failing = to_endpoint(Integration { failing: Some(now()), ..endpoint("f", Channel::Webhook, TechDevops) });
    let half_open = disabled(Some("2026-11-23T10:00:00Z"));
    let healthy = to_endpoint(endpoint("healthy", Channel::Slack, TechDevops));
    let decisions = plan_updates(
        &system_incident,
        &opened,
        &settings(),
        &[failing, half_open, healthy],
        &NotificationHistory::default(),
    );
    let outcomes: Vec<_> = decisions.into_iter().map(|decision| decision.outcome).collect();
    let skip = |reason| DecisionOutcome::Skip { reason, by: None };
    let delivered = DecisionOutcome::Deliver { role: Some(TechDevops) };
    assert_eq!(outcomes, [skip(Reason::EndpointFailing), skip(Reason::EndpointDisabled), delivered]);
    let failing = to_endpoint(Integration { failing: Some(now()), ..endpoint("f", Channel::Webhook, TechDevops) });
    assert_eq!(outcome(failing), Ok(Some(TechDevops)), "the tenant's own alerts are still sent");
}

#[test]
fn the_most_particular_minimum_severity_counts() {
    let mut strict = settings();
    strict.min_severity = Some(Severity::Critical);
    let outcome = |settings: &Settings, filters: &Filters, category: Category| {
        let person = Recipient { filters: filters.clone(), ..recipient("p", OrgAdmin) };
        opening_outcome(category, settings, to(person), Channel::Email)
    };
    let none = Filters::default();
    let below = Err(Reason::SeverityBelowFilter);
    assert_eq!(outcome(&strict, &none, Infrastructure), below, "the tenant's");
    let mut of_category = strict.clone();
    of_category.categories.get_mut(&Infrastructure).unwrap().min_severity = Some(Severity::Warning);
    assert_eq!(outcome(&of_category, &none, Infrastructure), Ok(Some(OrgAdmin)), "the category's");
    assert_eq!(outcome(&of_category, &none, Billing), below);
    let own = Filters { min_severity: Some(Severity::Info), ..Filters::default() };
    assert_eq!(outcome(&strict, &own, Billing), Ok(Some(OrgAdmin)), "the destination's");
    let by_category = Filters { min_severities: [(Billing, Severity::Critical)].into(), ..own };
    assert_eq!(outcome(&strict, &by_category, Billing), below, "the destination's for the category");
    assert_eq!(outcome(&strict, &by_category, Infrastructure), Ok(Some(OrgAdmin)));
}

#[test]
fn a_tenants_minimum_severity_silences_neither_notices_about_tocsin_nor_tests() {
    let strict = Settings { min_severity: Some(Severity::Critical), ..settings() };
    let opened = [update(1, Change::Opened, Severity::Warning)];
    let sent = |incident: Incident| {
        let person = [to(recipient("p", OrgAdmin))];
        let decisions = plan_updates(&incident, &opened, &strict, &person, &NotificationHistory::default());
        decisions.iter().any(|one| matches!(one.outcome, DecisionOutcome::Deliver { .. }))
    };
    assert!(!sent(incident(Infrastructure)));
    assert!(sent(Incident { event_type: "tocsin.unclassified".into(), ..incident(Infrastructure) }));
    assert!(sent(Incident { test: true, ..incident(Infrastructure) }));
}

#[test]
fn a_user_warning_reaches_only_the_recipient_who_is_its_user() {
    let warning =
        Incident { category: None, kind: Kind::OptIn, user_id: Some("u-17".into()), ..incident(Configurable) };
    let opened = [update(1, Change::Opened, Severity::Warning)];
    let outcome = |incident: &Incident, user_id: Option<&str>| {
        let opt_ins = BTreeSet::from([OptIn::WarningsEmail]);
        let person = Recipient { opt_ins, user_id: user_id.map(str::to_owned), ..recipient("p", SupportManager) };
        let history = NotificationHistory::default();
        plan_updates(incident, &opened, &settings(), &[to(person)], &history)[0].outcome.clone()
    };
    let others = DecisionOutcome::Skip { reason: Reason::OtherUser, by: None };
    assert_eq!(outcome(&warning, Some("u-17")), DecisionOutcome::Deliver { role: None });
    assert_eq!(outcome(&warning, Some("u-18")), others);
    assert_eq!(outcome(&warning, None), others);
    let nobodys = Incident { user_id: None, ..warning };
    assert_eq!(outcome(&nobodys, None), others, "a warning without a user is not that of everybody without one");
}

#[test]
fn a_number_whose_country_requires_a_registration_gets_no_sms_without_one() {
    let none = Settings { compliance: SmsCompliance::default(), ..settings() };
    let with = |phone: &str| Recipient { phone: Some(Phone::parse(phone).unwrap()), ..recipient("p", OrgAdmin) };
    let outcome = |settings: &Settings, phone| opening_outcome(Infrastructure, settings, to(with(phone)), Channel::Sms);
    assert_eq!(outcome(&none, "+919876543210"), Err(Reason::DltRegistrationMissing));
    assert_eq!(outcome(&settings(), "+919876543210"), Ok(Some(OrgAdmin)));
    assert_eq!(outcome(&none, "+14155550100"), Ok(Some(OrgAdmin)), "no registration in this country");
    let mut half = settings();
    half.compliance.dlt_template_id = None;
    assert_eq!(outcome(&half, "+919876543210"), Err(Reason::DltRegistrationMissing));
    let findings = domain::lint::lint(&none, &[to(with("+919876543210"))], &POLICY, now());
    assert!(findings.iter().any(|finding| finding.code == "dlt_registration_missing"), "{findings:?}");
}

#[test]
fn a_consent_keeps_who_recorded_it_until_it_is_withdrawn_or_the_number_changes() {
    let by = |who: &str| ConsentRecord { by: who.into(), at: now() };
    let consenting = || Recipient { sms_consent: true, ..recipient("p", OrgAdmin) };
    let who = |one: &Recipient| one.sms_consent_record.as_ref().map(|record| record.by.clone());
    let first = consenting().with_consent_record(None, by("tok_a"));
    assert_eq!(who(&first).as_deref(), Some("tok_a"));
    let again = first.clone().with_consent_record(Some(&first), by("tok_b"));
    assert_eq!(who(&again).as_deref(), Some("tok_a"));
    let other = Recipient { phone: Some(Phone::parse("+14155550199").unwrap()), ..first.clone() };
    assert_eq!(who(&other.with_consent_record(Some(&first), by("tok_b"))).as_deref(), Some("tok_b"));
    let withdrawn = Recipient { sms_consent: false, ..first.clone() };
    assert_eq!(who(&withdrawn.with_consent_record(Some(&first), by("tok_b"))), None);
    let older = Recipient { sms_consent_record: None, ..first };
    assert_eq!(who(&older.clone().with_consent_record(Some(&older), by("tok_b"))), None, "nobody knows who did");
}
