//! What earlier updates mean for later ones: resolves, superseded updates, revised decisions.

use super::*;

#[test]
fn everyone_who_got_the_opening_gets_the_resolve_and_nobody_else() {
    let history_after_opening = |destinations: &[Destination]| {
        let opened = [update(1, Change::Opened, Severity::Error)];
        history_of(&plan_updates(
            &incident(Infrastructure),
            &opened,
            &settings(),
            destinations,
            &NotificationHistory::default(),
        ))
    };
    let admin = || recipient("p", OrgAdmin);
    let history = history_after_opening(&[to(admin())]);
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
    let decisions = plan_updates(&incident(Infrastructure), &resolved, &off, &[to(narrowed)], &history);
    assert!(decisions.iter().all(|d| matches!(d.outcome, DecisionOutcome::Deliver { .. })), "{decisions:?}");
    let unsubscribed = Recipient { unsubscribed: BTreeSet::from([Infrastructure]), ..admin() };
    let decisions = plan_updates(&incident(Infrastructure), &resolved, &off, &[to(unsubscribed)], &history);
    assert_eq!(decisions[0].outcome, DecisionOutcome::Skip { reason: Reason::OptedOut, by: None });
    let newcomer = recipient("newcomer", OrgAdmin);
    let decisions = plan_updates(&incident(Infrastructure), &resolved, &settings(), &[to(newcomer)], &history);
    assert_eq!(decisions[0].outcome, DecisionOutcome::Skip { reason: Reason::OpenNotTold, by: None });
}

#[test]
fn of_updates_planned_together_people_get_the_newest_and_webhooks_get_all() {
    let updates = [update(1, Change::Opened, Severity::Error), update(2, Change::Resolved, Severity::Error)];
    let destinations = [to(recipient("p", OrgAdmin)), to_endpoint(endpoint("w", Channel::Webhook, OrgAdmin))];
    let decisions =
        plan_updates(&incident(Infrastructure), &updates, &settings(), &destinations, &NotificationHistory::default());
    let of = |channel, number| &decisions.iter().find(|d| d.channel == channel && d.update == number).unwrap().outcome;
    assert_eq!(
        of(Channel::Email, 1),
        &DecisionOutcome::Skip { reason: Reason::SupersededBy, by: Some("2".into()) },
        "one message, the resolve"
    );
    assert!(matches!(of(Channel::Email, 2), DecisionOutcome::Deliver { .. }));
    assert!(matches!(of(Channel::Webhook, 1), DecisionOutcome::Deliver { .. }));
    assert!(matches!(of(Channel::Webhook, 2), DecisionOutcome::Deliver { .. }));
}

#[test]
fn a_held_opening_and_its_resolve_become_one_message_and_a_delivered_opening_is_resolved_at_once() {
    let asleep = Settings { quiet_hours: Some(quiet_hours(true)), ..settings() };
    let recipients = [to(recipient("p", SupportManager))];
    let incident = incident(Infrastructure);
    let next = |settings: &Settings, earlier: &[Decision], change, severity| {
        let history = history_of(earlier);
        plan_updates(&incident, &[update(2, change, severity)], settings, &recipients, &history).remove(0).outcome
    };
    let opened = |settings: &Settings| {
        plan_updates(
            &incident,
            &[update(1, Change::Opened, Severity::Error)],
            settings,
            &recipients,
            &NotificationHistory::default(),
        )
    };
    let (held, delivered) = (opened(&asleep), opened(&settings()));
    assert!(quiet_until(&held[0].outcome).is_some() && quiet_until(&delivered[0].outcome).is_none());
    // Resolved while the opening is held: one message, when quiet hours end.
    assert!(quiet_until(&next(&asleep, &held, Change::Resolved, Severity::Error)).is_some());
    // The resolve of a delivered opening is sent at once.
    assert!(matches!(next(&asleep, &delivered, Change::Resolved, Severity::Error), DecisionOutcome::Deliver { .. }));
    // An update that becomes critical is sent at once.
    assert!(matches!(
        next(&asleep, &held, Change::SeverityRaised, Severity::Critical),
        DecisionOutcome::Deliver { .. }
    ));
    // Quiet hours were removed in the meantime.
    assert!(matches!(next(&settings(), &held, Change::Resolved, Severity::Error), DecisionOutcome::Deliver { .. }));
    // Both planned at once, after an outage: the resolve supersedes the opening and is held.
    let both = [update(1, Change::Opened, Severity::Error), update(2, Change::Resolved, Severity::Error)];
    let outcomes = plan_updates(&incident, &both, &asleep, &recipients, &NotificationHistory::default());
    let by_mail: Vec<&DecisionOutcome> = outcomes
        .iter()
        .filter(|decision| decision.channel == Channel::Email)
        .map(|decision| &decision.outcome)
        .collect();
    assert!(matches!(by_mail[0], DecisionOutcome::Skip { reason: Reason::SupersededBy, .. }), "{by_mail:?}");
    assert!(quiet_until(by_mail[1]).is_some(), "{by_mail:?}");
}

#[test]
fn the_resolve_of_a_delivered_opening_passes_quiet_hours_though_a_later_update_is_held() {
    // Quiet hours end at 10:30 and it is 10:00; each plan comes with the time it was made.
    let asleep = Settings { quiet_hours: Some(quiet_hours(true)), ..settings() };
    let held_until = |hour: &str| Some((hour.to_owned(), Reason::QuietHours));
    let resolve_outcome = |settings: &Settings, plans: &[(&str, Option<(String, Reason)>)]| {
        let decisions: Vec<(Timestamp, Decision)> = (1..)
            .zip(plans)
            .map(|(number, (at, hold))| {
                let hold = hold.as_ref().map(|(until, reason)| (until.as_str(), *reason));
                (at.parse().unwrap(), email_decision(number, hold))
            })
            .collect();
        let history =
            NotificationHistory::from_plans(decisions.iter().map(|(at, decision)| (*at, decision)), &[], now());
        let recipients = [to(recipient("p", SupportManager))];
        let updates = [update(9, Change::Resolved, Severity::Error)];
        plan_updates(&incident(Infrastructure), &updates, settings, &recipients, &history).remove(0).outcome
    };
    let (nine, half, later) = ("2026-11-23T09:00:00Z", "2026-11-23T09:45:00Z", "2026-11-23T10:30:00Z");
    let is_delivered = |outcome: DecisionOutcome| matches!(outcome, DecisionOutcome::Deliver { .. });
    // The opening was sent at once, or when its hold ended; the next update is held.
    assert!(is_delivered(resolve_outcome(&asleep, &[(nine, None), (half, held_until(later))])));
    assert!(is_delivered(resolve_outcome(
        &asleep,
        &[("2026-11-22T20:00:00Z", held_until(nine)), (half, held_until(later))]
    )));
    // The same where the category was disabled in the meantime.
    let mut off = asleep.clone();
    off.categories.get_mut(&Infrastructure).unwrap().enabled = false;
    assert!(is_delivered(resolve_outcome(&off, &[(nine, None), (half, held_until(later))])));
    // A newer update replaced the held opening before it was sent, so nothing was delivered.
    let replaced = [(nine, held_until("2026-11-23T09:50:00Z")), (half, held_until(later))];
    assert!(quiet_until(&resolve_outcome(&asleep, &replaced)).is_some());
    assert!(matches!(resolve_outcome(&off, &replaced), DecisionOutcome::Skip { reason: Reason::CategoryDisabled, .. }));
}

#[test]
fn revised_decisions_override_the_stored_plan() {
    // Quiet hours end at 10:30 and it is 10:00.
    let asleep = Settings { quiet_hours: Some(quiet_hours(true)), ..settings() };
    let mut off = asleep.clone();
    off.categories.get_mut(&Infrastructure).unwrap().enabled = false;
    let (nine, half, later) = ("2026-11-23T09:00:00Z", "2026-11-23T09:45:00Z", "2026-11-23T10:30:00Z");
    let resolve_outcome = |settings: &Settings, plans: &[(&str, Decision)], revised: &[Decision]| {
        let plans = plans.iter().map(|(at, decision)| (at.parse().unwrap(), decision));
        let history = NotificationHistory::from_plans(plans, revised, now());
        let recipients = [to(recipient("p", SupportManager))];
        let updates = [update(9, Change::Resolved, Severity::Error)];
        plan_updates(&incident(Infrastructure), &updates, settings, &recipients, &history).remove(0).outcome
    };
    let held = |update, until| email_decision(update, Some((until, Reason::QuietHours)));
    let skipped = |update| Decision {
        outcome: DecisionOutcome::Skip { reason: Reason::CategoryDisabled, by: None },
        ..email_decision(update, None)
    };
    let not_opened = DecisionOutcome::Skip { reason: Reason::OpenNotTold, by: None };
    // The opening was deferred by the rate limit of its recipient: opening and resolve become one message.
    let deferred = [email_decision(1, Some((later, Reason::Throttled)))];
    let at_once = [(nine, email_decision(1, None))];
    assert_eq!(quiet_until(&resolve_outcome(&asleep, &at_once, &deferred)).as_deref(), Some(later));
    assert_eq!(
        resolve_outcome(&off, &at_once, &deferred),
        DecisionOutcome::Skip { reason: Reason::CategoryDisabled, by: None }
    );
    // The hold ended as planned, was extended, or ended in a skip.
    let held_to_half = [(nine, held(1, half))];
    assert!(matches!(resolve_outcome(&asleep, &held_to_half, &[]), DecisionOutcome::Deliver { .. }));
    assert!(quiet_until(&resolve_outcome(&asleep, &held_to_half, &[held(1, later)])).is_some());
    assert_eq!(resolve_outcome(&asleep, &held_to_half, &[skipped(1)]), not_opened);
    // The opening was sent before the planned time.
    let early = [(nine, held(1, later))];
    assert!(quiet_until(&resolve_outcome(&asleep, &early, &[])).is_some());
    assert!(matches!(resolve_outcome(&asleep, &early, &[held(1, half)]), DecisionOutcome::Deliver { .. }));
    // A held message is released at the start of its minute; a queue delays it for the rest.
    let released = [(nine, held(1, "2026-11-23T10:00:30Z")), ("2026-11-23T10:00:10Z", held(2, later))];
    assert!(matches!(resolve_outcome(&asleep, &released, &[skipped(2)]), DecisionOutcome::Deliver { .. }));
    // An admin sent it manually.
    let sent = Decision { outcome: DecisionOutcome::Deliver { role: None }, ..email_decision(1, None) };
    assert!(matches!(resolve_outcome(&asleep, &held_to_half, &[sent]), DecisionOutcome::Deliver { .. }));
    // A skipped update that had replaced a held one leaves nothing pending; an opening that was delivered before still counts.
    let replaced = [(nine, held(1, later)), (half, held(2, later))];
    assert_eq!(resolve_outcome(&asleep, &replaced, &[skipped(2)]), not_opened);
    let delivered_first = [(nine, email_decision(1, None)), (half, held(2, later))];
    assert!(matches!(resolve_outcome(&asleep, &delivered_first, &[skipped(2)]), DecisionOutcome::Deliver { .. }));
}

#[test]
fn a_webhook_predecessor_is_the_newest_earlier_update_that_was_not_skipped() {
    let hook = |decision: Decision| Decision { channel: Channel::Webhook, ..decision };
    let muted = DecisionOutcome::Skip { reason: Reason::Muted, by: None };
    let all = [
        hook(email_decision(1, None)),
        hook(Decision { outcome: muted, ..email_decision(2, None) }),
        email_decision(2, None),
    ];
    let predecessor = |decision: Decision| webhook_predecessor(&decision, &all);
    assert_eq!(predecessor(hook(email_decision(3, None))), Some(1));
    assert_eq!((predecessor(hook(email_decision(1, None))), predecessor(email_decision(3, None))), (None, None));
}

/// Plans are stored, so every later version must read this JSON.
#[test]
fn a_stored_decision_keeps_its_json_format() {
    let text = r#"{"update":1,"destination":"rcp_p","channel":"email","outcome":"skip","reason":"opted_out"}"#;
    let decision: Decision = serde_json::from_str(text).unwrap();
    assert_eq!(decision.outcome, DecisionOutcome::Skip { reason: Reason::OptedOut, by: None });
    assert_eq!(serde_json::to_string(&decision).unwrap(), text);
}
