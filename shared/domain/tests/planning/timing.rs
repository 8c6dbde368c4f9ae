//! When an update is sent: quiet hours, the regulatory SMS window, digests, bundles and maintenance.

use super::*;

#[test]
fn quiet_hours_hold_people_and_chat_but_never_webhooks_or_tests() {
    let asleep = Settings { quiet_hours: Some(quiet_hours(true)), ..settings() };
    let all = [
        to(recipient("p", OrgAdmin)),
        to_endpoint(endpoint("s", Channel::Slack, OrgAdmin)),
        to_endpoint(endpoint("w", Channel::Webhook, OrgAdmin)),
    ];
    let outcomes = |settings: &Settings, incident: &Incident, severity| {
        let decisions = plan_updates(
            incident,
            &[update(1, Change::Opened, severity)],
            settings,
            &all,
            &NotificationHistory::default(),
        );
        decisions.iter().map(|decision| quiet_until(&decision.outcome)).collect::<Vec<_>>()
    };
    let end = Some("2026-11-23T10:30:00Z".to_owned());
    let usual = incident(Infrastructure);
    assert_eq!(outcomes(&asleep, &usual, Severity::Error), [end.clone(), end.clone(), end.clone(), None]);
    assert_eq!(outcomes(&asleep, &usual, Severity::Critical), [None, None, None, None]);
    let strict = Settings { quiet_hours: Some(quiet_hours(false)), ..settings() };
    assert_eq!(outcomes(&strict, &usual, Severity::Critical), [end.clone(), end.clone(), end, None]);
    assert_eq!(outcomes(&strict, &Incident { test: true, ..usual.clone() }, Severity::Error), [None, None, None, None]);
    // A plan without quiet hours ignores them.
    let starter = Settings { plan: "starter".into(), ..asleep };
    assert_eq!(outcomes(&starter, &usual, Severity::Error), [None, None, None, None]);
}

#[test]
fn a_recipients_quiet_hours_replace_the_tenants() {
    let asleep = Settings { quiet_hours: Some(quiet_hours(true)), ..settings() };
    let held = |settings: &Settings, own: Option<QuietHoursOverride>, zone: Option<&str>| {
        let person = Recipient { quiet_hours: own, zone: zone.map(str::to_owned), ..recipient("p", OrgAdmin) };
        opening_outcome(Infrastructure, settings, to(person), Channel::Email) == Err(Reason::QuietHours)
    };
    let hours = || Some(QuietHoursOverride::Hours(quiet_hours(true)));
    assert!(held(&asleep, None, None));
    assert!(held(&asleep, None, Some("America/New_York")), "the tenant's hours are in the tenant's zone");
    assert!(!held(&asleep, Some(QuietHoursOverride::Off), None));
    assert!(held(&settings(), hours(), None));
    assert!(!held(&settings(), hours(), Some("America/New_York")), "a recipient's hours are in the recipient's zone");
}

#[test]
fn a_digest_holds_less_severe_alerts_and_their_resolves() {
    let incident = incident(Infrastructure);
    let plan_for = |settings: &Settings, recipient: Recipient, earlier: &[Decision], update: Update| {
        let history = history_of(earlier);
        plan_updates(&incident, &[update], settings, &[to(recipient)], &history)
    };
    let email_outcome = |decisions: &[Decision]| decisions[0].outcome.clone();
    let opened = |severity| update(1, Change::Opened, severity);
    let six = "2026-11-23T12:30:00Z".parse().unwrap();
    let held = |outcome: &DecisionOutcome| matches!(outcome, DecisionOutcome::Hold { until, reason: Reason::Digest, .. } if *until == six);
    let warning = plan_for(&settings(), with_digest(Severity::Error), &[], opened(Severity::Warning));
    assert!(held(&email_outcome(&warning)), "{warning:?}");
    let error = plan_for(&settings(), with_digest(Severity::Error), &[], opened(Severity::Error));
    assert!(matches!(email_outcome(&error), DecisionOutcome::Deliver { .. }), "{error:?}");
    // A digest holds only the channels it is set up for.
    let mut by_sms = with_digest(Severity::Error);
    by_sms.digest.as_mut().unwrap().channels = BTreeSet::from([ChannelClass::Sms]);
    by_sms.roles = BTreeSet::from([OrgAdmin]);
    let both = plan_for(&settings(), by_sms, &[], opened(Severity::Warning));
    assert!(matches!(both[0].outcome, DecisionOutcome::Deliver { .. }) && held(&both[1].outcome), "{both:?}");
    // The resolve is put into a digest as well, whether the opening is still held or was delivered.
    let resolved = || update(2, Change::Resolved, Severity::Warning);
    assert!(held(&email_outcome(&plan_for(&settings(), with_digest(Severity::Error), &warning, resolved()))));
    let delivered = plan_for(&settings(), recipient("p", SupportManager), &[], opened(Severity::Warning));
    assert!(held(&email_outcome(&plan_for(&settings(), with_digest(Severity::Error), &delivered, resolved()))));
    // An update that reaches the threshold is sent at once.
    let worse = plan_for(
        &settings(),
        with_digest(Severity::Error),
        &warning,
        update(2, Change::SeverityRaised, Severity::Error),
    );
    assert!(matches!(email_outcome(&worse), DecisionOutcome::Deliver { .. }), "{worse:?}");
    // A digest due in quiet hours is sent when they end.
    let hours = QuietHours { from: "17:00".parse().unwrap(), to: "19:00".parse().unwrap(), ..quiet_hours(true) };
    let asleep = Settings { quiet_hours: Some(hours), ..settings() };
    let later = email_outcome(&plan_for(&asleep, with_digest(Severity::Error), &[], opened(Severity::Warning)));
    let seven = "2026-11-23T13:30:00Z".parse().unwrap();
    assert!(matches!(later, DecisionOutcome::Hold { until, .. } if until == seven), "{later:?}");
    // Plans without digests send every alert by itself; the lint reports it.
    let starter = Settings { plan: "starter".into(), ..settings() };
    let each = plan_for(&starter, with_digest(Severity::Error), &[], opened(Severity::Warning));
    assert!(matches!(email_outcome(&each), DecisionOutcome::Deliver { .. }), "{each:?}");
    let found = domain::lint::lint(&starter, &[to(with_digest(Severity::Error))], &POLICY, now());
    assert!(found.iter().any(|finding| finding.code == "digest_not_in_plan"), "{found:?}");
}

#[test]
fn an_incident_inside_a_maintenance_window_is_held_until_it_ends_unless_it_is_worse_than_announced() {
    let until = now() + jiff::SignedDuration::from_hours(1);
    let covered =
        MaintenanceSuppression { by: IncidentId::new("m"), until, up_to: Severity::Error, at_most_until: None };
    let inside_window = Incident { covered: Some(covered), ..incident(Infrastructure) };
    let all = [to(recipient("p", SupportManager)), to_endpoint(endpoint("w", Channel::Webhook, OrgAdmin))];
    let plan_at = |incident: &Incident, update: Update, history: &NotificationHistory, now| {
        let settings = settings();
        let updates = [update];
        let decisions = plan_deliveries(&PlanInput {
            incident,
            updates: &updates,
            earlier: &[],
            settings: &settings,
            destinations: &all,
            history,
            policy: &POLICY,
            now,
            released_from: None,
            storm_until: None,
        });
        let mut outcomes = decisions.into_iter().filter(|one| one.channel != Channel::Sms).map(|one| one.outcome);
        let (email, webhook) = (outcomes.next().unwrap(), outcomes.next().unwrap());
        (email, matches!(webhook, DecisionOutcome::Deliver { .. }))
    };
    let opened = || update(1, Change::Opened, Severity::Error);
    let no_history = NotificationHistory::default();
    let (held, webhook) = plan_at(&inside_window, opened(), &no_history, now());
    assert!(webhook, "webhooks are sent everything at once");
    let DecisionOutcome::Hold { until: held_until, reason, .. } = &held else { panic!("{held:?}") };
    assert_eq!((*held_until, *reason), (until, Reason::CoveredByMaintenance));
    let both_delivered =
        |(outcome, webhook): (DecisionOutcome, bool)| webhook && matches!(outcome, DecisionOutcome::Deliver { .. });
    assert!(both_delivered(plan_at(&inside_window, opened(), &no_history, until)), "it is still open after the window");
    assert!(
        both_delivered(plan_at(&inside_window, update(1, Change::Opened, Severity::Critical), &no_history, now())),
        "it is worse than announced"
    );
    let resolved_incident = Incident { resolved_at: Some(now()), ..inside_window.clone() };
    let skipped = DecisionOutcome::Skip { reason: Reason::CoveredByMaintenance, by: Some("inc_m".into()) };
    let held_history = history_of(&plan_updates(&inside_window, &[opened()], &settings(), &all, &no_history));
    let resolved = || update(2, Change::Resolved, Severity::Error);
    assert_eq!(
        plan_at(&resolved_incident, resolved(), &held_history, now()),
        (skipped.clone(), true),
        "opening and resolve were both inside the window"
    );
    assert_eq!(
        plan_at(&resolved_incident, opened(), &no_history, until),
        (skipped, true),
        "the held opening is skipped once it is resolved"
    );
    let worse = [update(1, Change::Opened, Severity::Critical)];
    let notified = history_of(&plan_updates(&incident(Infrastructure), &worse, &settings(), &all, &no_history));
    assert!(
        both_delivered(plan_at(&resolved_incident, resolved(), &notified, now())),
        "who got the opening gets the resolve"
    );
}

#[test]
fn the_regulatory_sms_window_holds_everything_but_alerts_at_any_severity() {
    let sms_outcome_for = |event_type: &str, phone: &str, kind: Kind, now: &str, change: Change| {
        let recipient = Recipient { phone: Some(Phone::parse(phone).unwrap()), ..recipient("p", OrgAdmin) };
        let incident = Incident { kind, event_type: event_type.into(), ..incident(Infrastructure) };
        let decisions = plan_deliveries(&PlanInput {
            incident: &incident,
            updates: &[update(1, change, Severity::Critical)],
            earlier: &[],
            settings: &settings(),
            destinations: &[to(recipient)],
            history: &NotificationHistory::default(),
            policy: &POLICY,
            now: now.parse().unwrap(),
            released_from: Some(Reason::RegulatoryWindow),
            storm_until: None,
        });
        decisions.into_iter().find(|one| one.channel == Channel::Sms).unwrap().outcome
    };
    let sms_outcome = |phone: &str, kind, now: &str, change| sms_outcome_for("maintenance", phone, kind, now, change);
    let delivered = DecisionOutcome::Deliver { role: Some(OrgAdmin) };
    let (india, before_nine, nine) = ("+919812345678", "2026-11-23T20:59:00+05:30", "2026-11-23T21:00:00+05:30");
    let held = DecisionOutcome::Hold {
        until: "2026-11-24T10:00:00+05:30".parse().unwrap(),
        reason: Reason::RegulatoryWindow,
        role: Some(OrgAdmin),
    };
    assert_eq!(sms_outcome(india, Kind::Maintenance, before_nine, Change::Opened), delivered);
    assert_eq!(sms_outcome(india, Kind::Maintenance, nine, Change::Opened), held);
    assert_eq!(sms_outcome(india, Kind::Maintenance, "2026-11-24T09:59:59+05:30", Change::Opened), held);
    assert_eq!(sms_outcome(india, Kind::Maintenance, "2026-11-24T10:00:00+05:30", Change::Opened), delivered);
    assert_eq!(sms_outcome(india, Kind::Incident, nine, Change::Opened), delivered, "alerts are sent at any hour");
    let failed = sms_outcome_for("tocsin.delivery_failed", india, Kind::Advisory, nine, Change::Opened);
    assert_eq!(failed, delivered, "a notice about a failed delivery is sent at any hour");
    assert_eq!(
        sms_outcome("+14155550100", Kind::Maintenance, nine, Change::Opened),
        delivered,
        "a country without SMS hours"
    );
    let opted_out = Recipient { sms_opted_out: Some(now()), ..recipient("p", OrgAdmin) };
    assert_eq!(opening_outcome(Infrastructure, &settings(), to(opted_out), Channel::Sms), Err(Reason::OptedOut));
}

#[test]
fn a_hold_ends_when_all_sending_hours_are_open() {
    // The maintenance window ends in quiet hours, which end half an hour later.
    let covered =
        MaintenanceSuppression { by: IncidentId::new("m"), until: now(), up_to: Severity::Error, at_most_until: None };
    let inside_window = Incident { covered: Some(covered), ..incident(Infrastructure) };
    let asleep = Settings { quiet_hours: Some(quiet_hours(true)), ..settings() };
    let recipients = [to(recipient("p", SupportManager))];
    let opened = [update(1, Change::Opened, Severity::Error)];
    let plan_at = |incident, settings, destinations, at: &str| {
        let (history, now) = (NotificationHistory::default(), at.parse().unwrap());
        let (updates, policy) = (&opened[..], &*POLICY);
        plan_deliveries(&PlanInput {
            incident,
            updates,
            earlier: &[],
            settings,
            destinations,
            history: &history,
            policy,
            now,
            released_from: None,
            storm_until: None,
        })
    };
    let until = |decision: &Decision| match &decision.outcome {
        DecisionOutcome::Hold { until, reason, .. } => (until.to_string(), *reason),
        other => panic!("{other:?}"),
    };
    let decisions = plan_at(&inside_window, &asleep, &recipients, "2026-11-23T08:00:00Z");
    assert_eq!(until(&decisions[0]), ("2026-11-23T10:30:00Z".into(), Reason::CoveredByMaintenance));
    // The SMS window opens at 10:00 in India; quiet hours last from 09:30 to 11:00.
    let advisory = Incident { kind: Kind::Advisory, ..incident(Infrastructure) };
    let indian = Recipient { phone: Some(Phone::parse("+919876543210").unwrap()), ..recipient("p", OrgAdmin) };
    let time = |text: &str| text.parse().unwrap();
    let hours = QuietHours { from: time("09:30"), to: time("11:00"), ..quiet_hours(true) };
    let asleep = Settings { quiet_hours: Some(hours), ..settings() };
    let decisions = plan_at(&advisory, &asleep, &[to(indian)], "2026-11-23T02:00:00Z");
    assert_eq!(until(&decisions[1]), ("2026-11-23T05:30:00Z".into(), Reason::RegulatoryWindow));
}

#[test]
fn a_released_bundle_is_not_put_into_a_digest() {
    // It was held for a bundle, then its recipient chose a digest. Digest and bundle must not hold it in turn, forever.
    let incident = incident(Infrastructure);
    let bundled = email_decision(1, Some(("2026-11-23T09:00:00Z", Reason::Throttled)));
    let received = RowWrite::Accept {
        update: 1,
        attempt: 1,
        token: "t",
        at: now(),
        provider_id: None,
        latency_ms: 5,
        late: false,
    };
    let claimed =
        RowWrite::Claim { update: 1, attempt: 1, token: "t", now_ms: 0, lease_until_ms: 1, channel: Channel::Email };
    let row = DeliveryRow::apply(None, &claimed).unwrap();
    let row = DeliveryRow::apply(row.as_ref(), &received).unwrap().unwrap();
    let history = history_with(std::slice::from_ref(&bundled), &[row]);
    let updates = [update(2, Change::Resolved, Severity::Warning)];
    let (settings, destinations) = (settings(), [to(with_digest(Severity::Error))]);
    let outcome = |released_from| {
        let (incident, updates, settings, destinations) = (&incident, &updates[..], &settings, &destinations[..]);
        let (history, policy, now) = (&history, &*POLICY, now());
        plan_deliveries(&PlanInput {
            incident,
            updates,
            earlier: &[],
            settings,
            destinations,
            history,
            policy,
            now,
            released_from,
            storm_until: None,
        })
        .remove(0)
        .outcome
    };
    assert!(matches!(outcome(None), DecisionOutcome::Hold { reason: Reason::Digest, .. }));
    assert!(matches!(outcome(Some(Reason::Digest)), DecisionOutcome::Deliver { .. }));
    assert!(matches!(outcome(Some(Reason::Throttled)), DecisionOutcome::Deliver { .. }));
}

#[test]
fn the_tenants_digest_is_for_those_who_chose_none() {
    let of_tenant = Settings { digest: with_digest(Severity::Error).digest, ..settings() };
    let held = |person: Recipient| {
        let opened = [update(1, Change::Opened, Severity::Warning)];
        let people = [to(person)];
        let decisions =
            plan_updates(&incident(Infrastructure), &opened, &of_tenant, &people, &NotificationHistory::default());
        match decisions[0].outcome {
            DecisionOutcome::Hold { until, reason: Reason::Digest, .. } => Some(until.to_string()),
            _ => None,
        }
    };
    let person = || recipient("p", SupportManager);
    assert_eq!(held(person()).as_deref(), Some("2026-11-23T12:30:00Z"), "18:00 in India");
    assert_eq!(held(Recipient { no_digest: true, ..person() }), None);
    let own = Digest { schedule: DigestSchedule::Hourly, ..of_tenant.digest.clone().unwrap() };
    assert_eq!(held(Recipient { digest: Some(own), ..person() }).as_deref(), Some("2026-11-23T10:30:00Z"));
}
