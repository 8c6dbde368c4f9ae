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

/// The outcome of a resolve by e-mail, after these decisions of which these rows say what became.
fn resolve_after(settings: &Settings, decisions: &[Decision], rows: &[DeliveryRow]) -> DecisionOutcome {
    let recipients = [to(recipient("p", SupportManager))];
    let updates = [update(9, Change::Resolved, Severity::Error)];
    let history = history_with(decisions, rows);
    plan_updates(&incident(Infrastructure), &updates, settings, &recipients, &history).remove(0).outcome
}

/// The row of the recipient's e-mails after these writes; none may be refused.
fn row_after(writes: &[RowWrite<'_>]) -> DeliveryRow {
    let apply = |row: Option<DeliveryRow>, write| DeliveryRow::apply(row.as_ref(), write).unwrap();
    writes.iter().fold(None, apply).unwrap()
}

fn claim(update: u32, attempt: u32) -> RowWrite<'static> {
    RowWrite::Claim { update, attempt, token: "t", now_ms: 0, lease_until_ms: 1, channel: Channel::Email }
}

fn accept(update: u32) -> RowWrite<'static> {
    let (provider_id, latency_ms, late) = (None, 5, false);
    RowWrite::Accept { update, attempt: 1, token: "t", at: now(), provider_id, latency_ms, late }
}

fn wait(update: u32, attempt: u32, reason: Reason) -> RowWrite<'static> {
    let next_at_ms = "2026-11-23T10:30:00Z".parse::<Timestamp>().unwrap().as_millisecond();
    RowWrite::Reschedule { update, attempt, now_ms: 2, next_at_ms, reason, channel: Channel::Email }
}

/// It ended without an attempt.
fn drop(update: u32, reason: Reason) -> RowWrite<'static> {
    RowWrite::Fail { update, attempt: 0, token: "t", at: now(), reason, cause: None }
}

#[test]
fn rows_say_who_was_notified_and_no_clock_does() {
    // Quiet hours end at 10:30 and it is 10:00.
    let asleep = Settings { quiet_hours: Some(quiet_hours(true)), ..settings() };
    let mut off = asleep.clone();
    off.categories.get_mut(&Infrastructure).unwrap().enabled = false;
    let held = |update| email_decision(update, Some(("2026-11-23T10:30:00Z", Reason::QuietHours)));
    let after_held = |update, last: u32| Decision {
        last_sent: Some(LastSent { update: last, held: None, queued: Some(last), first: None }),
        ..held(update)
    };
    let (at_once, not_opened) =
        (email_decision(1, None), DecisionOutcome::Skip { reason: Reason::OpenNotTold, by: None });
    let switched_off = DecisionOutcome::Skip { reason: Reason::CategoryDisabled, by: None };
    let is_delivered = |outcome: DecisionOutcome| matches!(outcome, DecisionOutcome::Deliver { .. });
    let waits = |outcome: DecisionOutcome| quiet_until(&outcome).as_deref() == Some("2026-11-23T10:30:00Z");

    // The opening lies on its queue, is being sent, or was accepted: also where the category was disabled since.
    for rows in [vec![], vec![row_after(&[claim(1, 1)])], vec![row_after(&[claim(1, 1), accept(1)])]] {
        assert!(is_delivered(resolve_after(&asleep, std::slice::from_ref(&at_once), &rows)), "{rows:?}");
        assert!(is_delivered(resolve_after(&off, std::slice::from_ref(&at_once), &rows)), "{rows:?}");
    }
    // Its planned time is long over, but nobody released it: opening and resolve become one message.
    let missed = [email_decision(1, Some(("2026-11-23T09:00:00Z", Reason::QuietHours)))];
    assert!(waits(resolve_after(&asleep, &missed, &[])));
    assert_eq!(resolve_after(&off, &missed, &[]), switched_off);
    // It was released: its row says that it is on its queue.
    let queue = RowWrite::Queue { update: 1, attempt: 1, now_ms: 0, channel: Channel::Email };
    assert!(is_delivered(resolve_after(&asleep, &missed, &[row_after(&[queue])])));
    // The rate limit of its recipient deferred it, or quiet hours hold a retry.
    for reason in [Reason::Throttled, Reason::QuietHours] {
        let row = [row_after(&[wait(1, 1, reason)])];
        assert!(waits(resolve_after(&asleep, std::slice::from_ref(&at_once), &row)));
        assert_eq!(resolve_after(&off, std::slice::from_ref(&at_once), &row), switched_off);
    }
    // It ended before any attempt, or a newer update of which nothing came took its place.
    let dropped = row_after(&[claim(1, 1), drop(1, Reason::CategoryDisabled)]);
    assert_eq!(resolve_after(&asleep, &missed, &[dropped]), not_opened);
    let superseded = row_after(&[claim(1, 1), drop(1, Reason::SupersededBy)]);
    assert!(waits(resolve_after(&asleep, &[held(1), held(2)], &[superseded])), "the newer one takes its place");
    // Every attempt failed. One of them may have arrived, so the resolve follows, but in nobody's sleep.
    let fail =
        RowWrite::Fail { update: 1, attempt: 1, token: "t", at: now(), reason: Reason::GaveUp, cause: Some("timeout") };
    let given_up = [row_after(&[claim(1, 1), fail])];
    assert!(waits(resolve_after(&asleep, std::slice::from_ref(&at_once), &given_up)));
    assert!(is_delivered(resolve_after(&settings(), std::slice::from_ref(&at_once), &given_up)));
    assert!(
        is_delivered(resolve_after(
            &Settings { quiet_hours: None, ..off.clone() },
            std::slice::from_ref(&at_once),
            &given_up
        )),
        "whatever is switched off"
    );
    // So it may have, if a newer update ended before any attempt.
    let fail =
        RowWrite::Fail { update: 1, attempt: 1, token: "t", at: now(), reason: Reason::GaveUp, cause: Some("timeout") };
    let replaced = row_after(&[claim(1, 1), fail, claim(2, 1), drop(2, Reason::Muted)]);
    assert!(waits(resolve_after(&asleep, &[at_once.clone(), after_held(2, 1)], &[replaced])));
    // A chat message waits for its place on its queue, or a failed attempt for the next one.
    let slot = RowWrite::Wait { attempt: 1, token: "t", at: now(), next_at_ms: 0, reason: Reason::Throttled };
    assert!(is_delivered(resolve_after(&off, std::slice::from_ref(&at_once), &[row_after(&[claim(1, 1), slot])])));
    let retry = RowWrite::Retry { attempt: 1, token: "t", at: now(), next_at_ms: 0, cause: "timeout" };
    let retried = [row_after(&[claim(1, 1), retry])];
    assert!(waits(resolve_after(&off, std::slice::from_ref(&at_once), &retried)), "it follows, in nobody's sleep");
    // A bundle counted it without listing it.
    let counted = row_after(&[claim(1, 1), drop(1, Reason::StormCollapsed)]);
    assert!(is_delivered(resolve_after(&asleep, &missed, &[counted])));

    // The opening was received, and a later update waits, was dropped, or waits behind an opening that is still on its queue.
    let later = [at_once.clone(), after_held(2, 1)];
    assert!(is_delivered(resolve_after(&asleep, &later, &[row_after(&[claim(1, 1), accept(1)])])));
    assert!(is_delivered(resolve_after(&asleep, &later, &[])));
    let dropped_later = row_after(&[claim(1, 1), accept(1), claim(2, 1), drop(2, Reason::OptedOut)]);
    assert!(is_delivered(resolve_after(&asleep, &later, &[dropped_later])));
    // The newest plan alone says the same.
    assert!(is_delivered(resolve_after(&asleep, &later[1..], &[])));
    // The opening was deferred, and nothing was received.
    assert!(waits(resolve_after(&asleep, &later, &[row_after(&[wait(1, 1, Reason::Throttled)])])));
}

#[test]
fn whoever_comes_during_an_incident_begins_with_what_is_current() {
    let at = |number, change, severity| {
        let accepted_at = now() + jiff::SignedDuration::from_mins(i64::from(number));
        Update { accepted_at, ..update(number, change, severity) }
    };
    let updates = [
        at(1, Change::Opened, Severity::Error),
        at(2, Change::StatusChanged, Severity::Error),
        at(3, Change::SeverityRaised, Severity::Critical),
    ];
    // Their tenant was created after the second update, and so was its webhook.
    let created_at = now() + jiff::SignedDuration::from_secs(150);
    let hook = |created_at| to_endpoint(Integration { created_at, ..endpoint("w", Channel::Webhook, OrgAdmin) });
    let outcomes = |updates: &[Update], created_at| -> Vec<DecisionOutcome> {
        let all = [hook(created_at)];
        let decisions =
            plan_updates(&incident(Infrastructure), updates, &settings(), &all, &NotificationHistory::default());
        decisions.into_iter().map(|decision| decision.outcome).collect()
    };
    let later = DecisionOutcome::Skip { reason: Reason::AddedLater, by: None };
    let newcomer = outcomes(&updates, created_at);
    assert_eq!(newcomer[..2], [later.clone(), later.clone()]);
    assert!(matches!(newcomer[2], DecisionOutcome::Deliver { .. }), "{newcomer:?}");
    assert!(outcomes(&updates, now()).iter().all(|one| matches!(one, DecisionOutcome::Deliver { .. })), "an old one");
    // What is over is no news to them.
    let over = [updates[0].clone(), at(2, Change::Resolved, Severity::Error)];
    let not_opened = DecisionOutcome::Skip { reason: Reason::OpenNotTold, by: None };
    assert_eq!(outcomes(&over, created_at), [later, not_opened]);
}

#[test]
fn a_plan_says_which_update_was_sent_before() {
    let admin = recipient("p", OrgAdmin);
    let hook = to_endpoint(endpoint("w", Channel::Webhook, OrgAdmin));
    let both = [update(1, Change::Opened, Severity::Error), update(2, Change::StatusChanged, Severity::Error)];
    let decisions = plan_updates(
        &incident(Infrastructure),
        &both,
        &settings(),
        &[to(admin.clone()), hook.clone()],
        &NotificationHistory::default(),
    );
    let of = |channel, number| decisions.iter().find(|d| d.channel == channel && d.update == number).unwrap();
    assert_eq!(of(Channel::Webhook, 1).last_sent, None);
    let webhook = LastSent { update: 1, held: None, queued: Some(1), first: Some(1) };
    assert_eq!(of(Channel::Webhook, 2).last_sent, Some(webhook.clone()));
    // The second took the first one's place.
    assert_eq!(of(Channel::Email, 2).last_sent, Some(LastSent { update: 1, held: None, queued: None, first: None }));

    // What is skipped carries it on, also over a plan in which the channel did not exist.
    let history = history_of(&decisions);
    let third = [update(3, Change::Resolved, Severity::Error)];
    let without_hook = plan_updates(&incident(Infrastructure), &third, &settings(), &[to(admin)], &history);
    let carried = carried_threads(&history, &without_hook);
    let before = |thread: &domain::plan::CarriedThread| (thread.channel, thread.last_sent.update);
    assert_eq!(carried.iter().map(before).collect::<Vec<_>>(), [(Channel::Webhook, 2)]);
    let muted = Decision {
        outcome: DecisionOutcome::Skip { reason: Reason::Muted, by: None },
        last_sent: Some(webhook.clone()),
        ..of(Channel::Webhook, 2).clone()
    };
    let plan = StoredPlan {
        tenant: TenantId::parse("acme").unwrap(),
        chunk: 0,
        update: 3,
        at: now(),
        settings_version: 1,
        decisions: vec![muted],
        carried,
    };
    let known = PlanHistory { plans: vec![plan], ..PlanHistory::default() };
    let fourth = [update(4, Change::Resolved, Severity::Error)];
    let history = NotificationHistory::before(4, &known);
    let again = plan_updates(&incident(Infrastructure), &fourth, &settings(), &[hook], &history);
    assert_eq!(again[0].last_sent, Some(LastSent { update: 2, held: None, queued: Some(2), first: Some(1) }));
    assert!(matches!(again[0].outcome, DecisionOutcome::Deliver { .. }), "{again:?}");
    let hold = PlannedHold { until: now(), reason: Reason::Digest };
    let text = r#"{"update":2,"held":{"until":"2026-11-23T10:00:00Z","reason":"digest"}}"#;
    assert_eq!(
        serde_json::to_string(&LastSent { update: 2, held: Some(hold), queued: None, first: None }).unwrap(),
        text,
        "plans are stored"
    );
}

/// Plans are stored, so every later version must read this JSON.
#[test]
fn a_stored_decision_keeps_its_json_format() {
    let text = r#"{"update":1,"destination":"rcp_p","channel":"email","outcome":"skip","reason":"opted_out"}"#;
    let decision: Decision = serde_json::from_str(text).unwrap();
    assert_eq!(decision.outcome, DecisionOutcome::Skip { reason: Reason::OptedOut, by: None });
    assert_eq!(serde_json::to_string(&decision).unwrap(), text);
}
