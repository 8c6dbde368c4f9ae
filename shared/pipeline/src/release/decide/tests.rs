//! Tests of the decisions about due entries.

use super::*;
use contracts::queue::DeliveryTarget;
use domain::delivery::{DeliveryRow, RowWrite};
use domain::maintenance::MaintenanceSchedule;
use domain::tenant::Recipient;
use domain::vocabulary::{Kind, Phase, Status};
use serde_json::{Value, json};

const AT: &str = "2026-11-23T12:00:00Z";

fn settings() -> Settings {
    serde_json::from_value(json!({"tenant": "acme", "name": "Acme", "plan": "top", "zone": "Asia/Kolkata",
        "alert_window_seconds": 60, "categories": {}, "version": 1,
        "compliance": {"dlt_entity_id": "1101", "dlt_template_id": "2202"}}))
    .unwrap()
}

fn incident() -> Incident {
    serde_json::from_value(json!({"id": "inc_a", "scope": {"tenant": "acme"}, "key": "k", "integration_id": "int_s",
        "source": "monitor", "event_type": "api.outage", "dedup_key": "d", "category": "infrastructure",
        "kind": "incident", "rule": "r", "severity": "error", "status": "investigating", "title": "Down",
        "components": [], "regions": [], "public": false, "started_at": AT, "last_seen": AT, "updates": 1,
        "version": 1}))
    .unwrap()
}

fn update() -> Update {
    serde_json::from_value(json!({"number": 1, "event_id": "evt_a", "correlation_id": "c-1", "accepted_at": AT,
        "change": "opened", "status": "investigating", "severity": "error", "title": "Down", "message": "",
        "components": [], "regions": []}))
    .unwrap()
}

fn recipient(change: Value) -> Destination {
    let mut value = json!({"id": "rcp_a", "name": "A", "email": "a@example.com", "email_confirmed": true,
        "phone": "+14155550100", "phone_confirmed": true, "roles": ["org_admin"], "version": 1});
    for (name, to) in change.as_object().unwrap() {
        value[name] = to.clone();
    }
    Destination::Recipient(Box::new(serde_json::from_value::<Recipient>(value).unwrap()))
}

fn integration(change: Value) -> Destination {
    let mut value = json!({"id": "int_a", "name": "Hook", "kind": "webhook", "url": "v1.1.u", "host": "x.test",
        "fingerprint": "f", "secret": "v1.1.s", "audiences": ["tech_devops"], "version": 1});
    for (name, to) in change.as_object().unwrap() {
        value[name] = to.clone();
    }
    Destination::Integration(Box::new(serde_json::from_value(value).unwrap()))
}

fn facts<'a>(
    settings: &'a Settings,
    incident: &'a Incident,
    update: &'a Update,
    destination: &'a Destination,
) -> DeliveryFacts<'a> {
    DeliveryFacts {
        settings: Some(settings),
        incident: Some(incident),
        update: Some(update),
        destination: Some(destination),
        suppressed_incidents: &[],
    }
}

fn due(channel: &str) -> ScheduledDelivery {
    serde_json::from_value(json!({"at": AT, "tenant": "acme", "destination": "int_a", "channel": channel,
        "incident_id": "inc_a", "update": 1, "attempt": 4, "plain": true, "role": "tech_devops"}))
    .unwrap()
}

fn decided(channel: &str, destination: Option<&Destination>) -> ReleaseDecision {
    let (settings, incident, update) = (settings(), incident(), update());
    let facts = DeliveryFacts {
        settings: Some(&settings),
        incident: Some(&incident),
        update: Some(&update),
        destination,
        suppressed_incidents: &[],
    };
    decide_retry(&due(channel), facts, &PlanHistory::default(), &Policy::embedded().unwrap(), AT.parse().unwrap())
}

#[test]
fn a_retry_in_quiet_hours_is_held_until_they_end() {
    let (incident, tenant) = (incident(), tenant_with_quiet_hours(json!({})).settings);
    let to = recipient(json!({}));
    let decided = |update: &Update, now: &str| {
        let facts = facts(&tenant, &incident, update, &to);
        decide_retry(&due("email"), facts, &PlanHistory::default(), &Policy::embedded().unwrap(), now.parse().unwrap())
    };
    let ReleaseDecision::Reschedule { entry: later, wait } = decided(&update(), AT) else { panic!("not rescheduled") };
    assert_eq!((later.at.to_string().as_str(), later.attempt), (QUIET_HOURS_END, 4));
    assert_eq!(later.held.unwrap().reason, Reason::QuietHours);
    assert_eq!(wait, Wait { until: later.at, reason: Reason::QuietHours });
    assert!(matches!(decided(&update(), QUIET_HOURS_END), ReleaseDecision::Send(_)));
    let critical = Update { severity: domain::vocabulary::Severity::Critical, ..update() };
    assert!(matches!(decided(&critical, AT), ReleaseDecision::Send(_)), "critical alerts pass quiet hours");
    let resolved = Update { number: 2, change: Change::Resolved, ..update() };
    let ended = |plans: &PlanHistory| {
        let facts = facts(&tenant, &incident, &resolved, &to);
        let due = ScheduledDelivery { destination: "rcp_a".into(), update: 2, ..due("email") };
        decide_retry(&due, facts, plans, &Policy::embedded().unwrap(), AT.parse().unwrap())
    };
    let sent =
        json!({"update": 1, "destination": "rcp_a", "channel": "email", "outcome": "deliver", "role": "org_admin"});
    assert!(
        matches!(ended(&plans_with(json!([sent]))), ReleaseDecision::Send(_)),
        "the opening may have arrived, so the resolve is sent"
    );
    assert!(
        matches!(ended(&plans_with(json!([hold_decision(1, QUIET_HOURS_END)]))), ReleaseDecision::Reschedule { .. }),
        "the opening is held, so the resolve is held"
    );
    let (resend, update) = (ScheduledDelivery { resend_requested: true, ..due("email") }, update());
    let facts = facts(&tenant, &incident, &update, &to);
    let decided =
        decide_retry(&resend, facts, &PlanHistory::default(), &Policy::embedded().unwrap(), AT.parse().unwrap());
    assert!(matches!(decided, ReleaseDecision::Send(_)), "an admin's resend passes quiet hours");
}

#[test]
fn a_retry_keeps_the_hold_of_its_first_attempt() {
    let held =
        HoldPeriod { since: AT.parse().unwrap(), until: QUIET_HOURS_END.parse().unwrap(), reason: Reason::QuietHours };
    let (tenant, incident, update, to) = (settings(), incident(), update(), recipient(json!({})));
    let facts = facts(&tenant, &incident, &update, &to);
    let due = ScheduledDelivery { held_before: Some(held.clone()), ..due("email") };
    let ReleaseDecision::Send(delivery) =
        build_delivery(&Policy::embedded().unwrap(), &due, facts, QUIET_HOURS_END.parse().unwrap())
    else {
        panic!("not sent")
    };
    assert_eq!(delivery.why.held, Some(held));
}

#[test]
fn a_reminder_of_maintenance_that_has_begun_ends_unless_its_window_was_never_sent() {
    let subscriber = tenant_with_quiet_hours(json!({}));
    let reminded = Update { number: 3, change: Change::Reminded, ..update() };
    let sent = |update: u32| json!({"update": update, "destination": "rcp_a", "channel": "email", "outcome": "deliver", "role": "org_admin"});
    let hours = |from: &str| {
        let until = Some("2026-11-24T12:00:00Z".parse().unwrap());
        Some(MaintenanceSchedule { phase: Phase::Scheduled, from: from.parse().unwrap(), until })
    };
    let decided = |from: &str, before: [Value; 2]| {
        let [first, second] = before;
        let plans = plans_with(json!([first, second, hold_decision(3, QUIET_HOURS_END)]));
        let work = Incident { kind: Kind::Maintenance, maintenance: hours(from), ..incident() };
        decide_held_incident(&work, &reminded, QUIET_HOURS_END, &subscriber, &plans)
    };
    assert!(matches!(decided(QUIET_HOURS_END, [sent(1), sent(2)]), ReleaseDecision::End(Reason::Expired)));
    assert!(matches!(decided("2026-11-24T10:00:00Z", [sent(1), sent(2)]), ReleaseDecision::Send(_)));
    // The updates that it superseded were never sent.
    assert!(
        matches!(
            decided(QUIET_HOURS_END, [hold_decision(1, QUIET_HOURS_END), hold_decision(2, QUIET_HOURS_END)]),
            ReleaseDecision::Send(_)
        ),
        "the maintenance was never sent"
    );
    assert!(
        matches!(decided(QUIET_HOURS_END, [sent(1), hold_decision(2, QUIET_HOURS_END)]), ReleaseDecision::Send(_)),
        "the new window was never sent"
    );
}

#[test]
fn an_admins_resend_is_held_outside_the_regulatory_sms_window() {
    let registered = json!({"dlt_entity_id": "1101", "dlt_template_id": "2202"});
    let tenant = tenant_with_quiet_hours(json!({"quiet_hours": null, "compliance": registered})).settings;
    let (incident, update) = (Incident { kind: Kind::Advisory, ..incident() }, update());
    let indian = recipient(json!({"phone": "+919876543210"}));
    let decided = |channel: &str| {
        let facts = facts(&tenant, &incident, &update, &indian);
        // 22:30 in India.
        let now = "2026-11-23T17:00:00Z".parse().unwrap();
        let due = ScheduledDelivery { resend_requested: true, ..due(channel) };
        decide_retry(&due, facts, &PlanHistory::default(), &Policy::embedded().unwrap(), now)
    };
    let ReleaseDecision::Reschedule { entry: later, wait } = decided("sms") else { panic!("not rescheduled") };
    assert_eq!(wait, Wait { until: later.at, reason: Reason::RegulatoryWindow });
    assert!(matches!(decided("email"), ReleaseDecision::Send(_)));
}

#[test]
fn batches_missed_in_an_outage_are_combined_once() {
    let (incident, update, to) = (incident(), update(), recipient(json!({})));
    let (subscriber, policy) = (tenant_with_quiet_hours(json!({"quiet_hours": null})), Policy::embedded().unwrap());
    let decided = |reason: Reason, gathered: bool, now: &str| {
        let facts = facts(&subscriber.settings, &incident, &update, &to);
        let hold = Hold { since: AT.parse().unwrap(), reason, always_listed: true };
        let due = ScheduledDelivery {
            at: QUIET_HOURS_END.parse().unwrap(),
            destination: "rcp_a".into(),
            attempt: 1,
            plain: false,
            held: Some(hold),
            rebatched: gathered,
            ..due("email")
        };
        let plans = plans_with(json!([hold_decision(1, QUIET_HOURS_END)]));
        let began: Timestamp = now.parse().unwrap();
        // The run may take long: only its beginning counts.
        let now = began + SignedDuration::from_secs(50);
        let input = ReplanInput { subscriber: Some(&subscriber), plans: &plans, policy: &policy, began, now };
        decide_held(&due, hold, facts, input)
    };
    for reason in [Reason::Digest, Reason::Throttled] {
        assert!(
            matches!(decided(reason, false, "2026-11-23T12:31:59Z"), ReleaseDecision::Send(_)),
            "a late schedule is not an outage"
        );
        let ReleaseDecision::Reschedule { entry: later, wait } = decided(reason, false, "2026-11-23T20:02:30Z") else {
            panic!("sent")
        };
        let hold = later.held.unwrap();
        assert_eq!((later.at.to_string().as_str(), later.rebatched), ("2026-11-23T20:03:00Z", true));
        assert_eq!((hold.reason, hold.always_listed), (reason, true));
        assert_eq!(wait, Wait { until: later.at, reason });
        assert!(
            matches!(decided(reason, true, "2026-11-23T20:10:00Z"), ReleaseDecision::Send(_)),
            "a combined entry is not combined input"
        );
    }
    assert!(
        matches!(decided(Reason::QuietHours, false, "2026-11-23T20:02:30Z"), ReleaseDecision::Send(_)),
        "other holds are not batched"
    );
}

#[test]
fn a_retry_keeps_its_attempt_and_uses_the_current_url() {
    let moved = integration(json!({"url": "v1.2.new"}));
    let ReleaseDecision::Send(delivery) = decided("webhook", Some(&moved)) else { panic!("not sent") };
    assert_eq!((delivery.attempt, delivery.plain), (4, true));
    assert_eq!(delivery.why.role, Some(domain::vocabulary::Role::TechDevops));
    assert!(matches!(&delivery.target, DeliveryTarget::Webhook { url, .. } if url.expose() == "v1.2.new"));
}

#[test]
fn an_unreachable_destination_ends_the_delivery_with_its_reason() {
    for (channel, destination, reason) in [
        ("webhook", integration(json!({"paused": true})), Reason::IntegrationPaused),
        ("webhook", integration(json!({"disabled": {"at": AT, "cause": "http_410"}})), Reason::EndpointDisabled),
        ("webhook", integration(json!({"secret": null})), Reason::NoDestination),
        ("email", recipient(json!({"unsubscribed": ["infrastructure"]})), Reason::OptedOut),
        ("email", recipient(json!({"email": null})), Reason::NoDestination),
        ("email", recipient(json!({"email_confirmed": false})), Reason::ContactUnconfirmed),
        ("sms", recipient(json!({"phone": null})), Reason::NoDestination),
        ("sms", recipient(json!({"dnd": true})), Reason::Dnd),
    ] {
        match decided(channel, Some(&destination)) {
            ReleaseDecision::End(got) => assert_eq!(got, reason, "{channel}"),
            ReleaseDecision::Send(_) | ReleaseDecision::Reschedule { .. } => panic!("did not end with {reason}"),
        }
    }
    assert!(matches!(decided("webhook", None), ReleaseDecision::End(Reason::NoDestination)));
    assert!(matches!(
        decided("sms", Some(&recipient(json!({"dnd": true, "sms_consent": true})))),
        ReleaseDecision::Send(_)
    ));
}

#[test]
fn an_expired_incident_ends_the_delivery() {
    let (settings, destination) = (settings(), integration(json!({})));
    let facts = DeliveryFacts {
        settings: Some(&settings),
        incident: None,
        update: None,
        destination: Some(&destination),
        suppressed_incidents: &[],
    };
    assert!(matches!(
        build_delivery(&Policy::embedded().unwrap(), &due("webhook"), facts, AT.parse().unwrap()),
        ReleaseDecision::End(Reason::Expired)
    ));
}

#[test]
fn an_entry_due_later_in_the_minute_is_decided_as_of_its_own_time() {
    let plans = plans_with(json!([hold_decision(1, QUIET_HOURS_END)]));
    assert!(matches!(
        decide_held_at("2026-11-23T12:29:30Z", &tenant_with_quiet_hours(json!({})), &plans),
        ReleaseDecision::Send(_)
    ));
}

#[test]
fn the_queue_delay_is_rounded_up() {
    let due = due("webhook");
    let delay = |now: &str| delay_seconds(&due, now.parse().unwrap());
    assert_eq!(delay("2026-11-23T12:00:00Z"), 0);
    assert_eq!(delay("2026-11-24T12:00:00Z"), 0);
    assert_eq!(delay("2026-11-23T11:59:59.999Z"), 1);
    assert_eq!(delay("2026-11-23T11:59:01Z"), 59);
}

/// A tenant with infrastructure alerts by e-mail, and quiet hours from 17:00 to 18:00 in India: until half an hour after `AT`.
fn tenant_with_quiet_hours(change: Value) -> Subscriber {
    let mut value = json!({"tenant": "acme", "name": "Acme", "plan": "enterprise", "zone": "Asia/Kolkata",
        "alert_window_seconds": 60, "version": 1,
        "categories": {"infrastructure": {"enabled": true, "channels": ["email"]}},
        "compliance_confirmed": {"email": {"by": "tok_a", "at": AT, "wording": "w"}},
        "quiet_hours": {"from": "17:00:00", "to": "18:00:00", "critical_passes": true}});
    for (name, to) in change.as_object().unwrap() {
        value[name] = to.clone();
    }
    Subscriber { settings: serde_json::from_value(value).unwrap(), destinations: vec![(0, recipient(json!({})))] }
}

fn plans_with(decisions: Value) -> PlanHistory {
    let plans = decisions.as_array().unwrap().iter().map(|decision| {
        serde_json::from_value(json!({"tenant": "acme", "chunk": 0, "update": decision["update"], "at": AT,
            "settings_version": 1, "decisions": [decision]}))
        .unwrap()
    });
    PlanHistory { plans: plans.collect(), ..PlanHistory::default() }
}

fn hold_decision(update: u32, until: &str) -> Value {
    json!({"update": update, "destination": "rcp_a", "channel": "email", "outcome": "hold", "until": until,
        "reason": "quiet_hours", "role": "org_admin"})
}

fn decide_held_at(now: &str, subscriber: &Subscriber, plans: &PlanHistory) -> ReleaseDecision {
    decide_held_update(&update(), now, subscriber, plans)
}

fn decide_held_resolve_at(now: &str, subscriber: &Subscriber, plans: &PlanHistory) -> ReleaseDecision {
    let update = Update { number: 2, change: Change::Resolved, status: Status::Resolved, ..update() };
    decide_held_update(&update, now, subscriber, plans)
}

fn decide_held_update(update: &Update, now: &str, subscriber: &Subscriber, plans: &PlanHistory) -> ReleaseDecision {
    decide_held_incident(&incident(), update, now, subscriber, plans)
}

fn decide_held_incident(
    incident: &Incident,
    update: &Update,
    now: &str,
    subscriber: &Subscriber,
    plans: &PlanHistory,
) -> ReleaseDecision {
    let destination = recipient(json!({}));
    let facts = facts(&subscriber.settings, incident, update, &destination);
    let hold = Hold { since: AT.parse().unwrap(), reason: Reason::QuietHours, always_listed: false };
    let due = ScheduledDelivery {
        at: QUIET_HOURS_END.parse().unwrap(),
        destination: "rcp_a".into(),
        update: update.number,
        attempt: 1,
        plain: false,
        held: Some(hold),
        ..due("email")
    };
    let (policy, now) = (Policy::embedded().unwrap(), now.parse().unwrap());
    let input = ReplanInput { subscriber: Some(subscriber), plans, policy: &policy, began: now, now };
    decide_held(&due, hold, facts, input)
}

const QUIET_HOURS_END: &str = "2026-11-23T12:30:00Z";

#[test]
fn a_held_delivery_is_sent_at_its_time_and_says_that_it_was_held() {
    let plans = plans_with(json!([hold_decision(1, QUIET_HOURS_END)]));
    let ReleaseDecision::Send(delivery) = decide_held_at(QUIET_HOURS_END, &tenant_with_quiet_hours(json!({})), &plans)
    else {
        panic!("not sent")
    };
    let held = delivery.why.held.unwrap();
    assert_eq!((held.since.to_string().as_str(), held.reason), (AT, Reason::QuietHours));
    assert_eq!(delivery.why.role, Some(domain::vocabulary::Role::OrgAdmin));
}

#[test]
fn a_held_delivery_is_planned_again_with_current_settings() {
    let plans = plans_with(json!([hold_decision(1, QUIET_HOURS_END)]));
    // Longer quiet hours: it is held on, and keeps since when.
    let longer = tenant_with_quiet_hours(
        json!({"quiet_hours": {"from": "17:00:00", "to": "20:00:00", "critical_passes": true}}),
    );
    let ReleaseDecision::Reschedule { entry: later, .. } = decide_held_at(QUIET_HOURS_END, &longer, &plans) else {
        panic!("not rescheduled")
    };
    assert_eq!(later.at.to_string(), "2026-11-23T14:30:00Z");
    assert_eq!(later.held.unwrap().since.to_string(), AT);
    // A disabled category ends it.
    let off =
        tenant_with_quiet_hours(json!({"categories": {"infrastructure": {"enabled": false, "channels": ["email"]}}}));
    assert!(matches!(decide_held_at(QUIET_HOURS_END, &off, &plans), ReleaseDecision::End(Reason::CategoryDisabled)));
    // So it does for a resolve whose opening was never sent.
    let both = plans_with(json!([hold_decision(1, QUIET_HOURS_END), hold_decision(2, QUIET_HOURS_END)]));
    assert!(matches!(
        decide_held_resolve_at(QUIET_HOURS_END, &off, &both),
        ReleaseDecision::End(Reason::CategoryDisabled)
    ));
    assert!(matches!(
        decide_held_resolve_at(QUIET_HOURS_END, &tenant_with_quiet_hours(json!({})), &both),
        ReleaseDecision::Send(_)
    ));
    // The recipient stopped notifications of this incident.
    let stopped = PlanHistory { stopped: ["rcp_a".to_owned()].into(), ..plans.clone() };
    assert!(matches!(
        decide_held_at(QUIET_HOURS_END, &tenant_with_quiet_hours(json!({})), &stopped),
        ReleaseDecision::End(Reason::IncidentStopped)
    ));
    // A newer update is held or was sent.
    for newer in [
        hold_decision(2, QUIET_HOURS_END),
        json!({"update": 2, "destination": "rcp_a", "channel": "email", "outcome": "deliver"}),
    ] {
        let plans = plans_with(json!([hold_decision(1, QUIET_HOURS_END), newer]));
        assert!(matches!(
            decide_held_at(QUIET_HOURS_END, &tenant_with_quiet_hours(json!({})), &plans),
            ReleaseDecision::End(Reason::SupersededBy)
        ));
    }
}

#[test]
fn a_wait_is_known_by_its_plan_until_there_is_a_row() {
    let planned = plans_with(json!([hold_decision(1, QUIET_HOURS_END)]));
    let due = ScheduledDelivery { destination: "rcp_a".into(), attempt: 1, ..due("email") };
    let until: Timestamp = QUIET_HOURS_END.parse().unwrap();
    assert_eq!(stored_wait(&due, &planned), Some(Wait { until, reason: Reason::QuietHours }));
    let later: Timestamp = "2026-11-23T14:30:00Z".parse().unwrap();
    let with_row = |write: RowWrite<'_>| {
        let row = DeliveryRow::apply(None, &write).unwrap().unwrap();
        PlanHistory { rows: [(("rcp_a".to_owned(), Channel::Email), row)].into(), ..planned.clone() }
    };
    let (now_ms, next_at_ms, channel) = (0, later.as_millisecond(), Channel::Email);
    let reason = Reason::RegulatoryWindow;
    let moved = with_row(RowWrite::Reschedule { update: 1, attempt: 1, now_ms, next_at_ms, reason, channel });
    assert_eq!(stored_wait(&due, &moved), Some(Wait { until: later, reason }));
    let queued = with_row(RowWrite::Queue { update: 1, attempt: 1, now_ms, channel });
    assert_eq!(stored_wait(&due, &queued), None, "it is on its queue");
}

#[test]
fn a_retry_of_an_opening_ends_once_its_resolve_was_skipped_unless_an_admin_asks_for_it() {
    let muted = json!({"update": 2, "destination": "rcp_a", "channel": "email", "outcome": "skip", "reason": "muted"});
    let sent = json!({"update": 1, "destination": "rcp_a", "channel": "email", "outcome": "deliver"});
    let plans = plans_with(json!([sent, muted]));
    let over = Incident { resolved_at: Some(AT.parse().unwrap()), updates: 2, ..incident() };
    let (tenant, to, update) =
        (tenant_with_quiet_hours(json!({"quiet_hours": null})).settings, recipient(json!({})), update());
    let decided = |incident: &Incident, resend_requested: bool| {
        let due = ScheduledDelivery { destination: "rcp_a".into(), resend_requested, ..due("email") };
        let facts = facts(&tenant, incident, &update, &to);
        decide_retry(&due, facts, &plans, &Policy::embedded().unwrap(), AT.parse().unwrap())
    };
    assert!(matches!(decided(&over, false), ReleaseDecision::End(Reason::Muted)));
    assert!(matches!(decided(&over, true), ReleaseDecision::Send(_)));
    assert!(matches!(decided(&incident(), false), ReleaseDecision::Send(_)), "it is still open");
}

#[test]
fn an_opening_is_not_sent_once_its_resolve_was_skipped() {
    // The category was muted when the incident was resolved; the mute ends before quiet hours do.
    let muted = json!({"update": 2, "destination": "rcp_a", "channel": "email", "outcome": "skip", "reason": "muted"});
    let plans = plans_with(json!([hold_decision(1, QUIET_HOURS_END), muted]));
    let over = Incident { resolved_at: Some(AT.parse().unwrap()), updates: 2, ..incident() };
    let decided = |incident: &Incident| {
        let (subscriber, destination, update) = (tenant_with_quiet_hours(json!({})), recipient(json!({})), update());
        let facts = facts(&subscriber.settings, incident, &update, &destination);
        let hold = Hold { since: AT.parse().unwrap(), reason: Reason::QuietHours, always_listed: false };
        let (at, destination) = (QUIET_HOURS_END.parse().unwrap(), "rcp_a".into());
        let due = ScheduledDelivery { at, destination, attempt: 1, plain: false, held: Some(hold), ..due("email") };
        let (policy, now) = (Policy::embedded().unwrap(), QUIET_HOURS_END.parse().unwrap());
        let input = ReplanInput { subscriber: Some(&subscriber), plans: &plans, policy: &policy, began: now, now };
        decide_held(&due, hold, facts, input)
    };
    assert!(matches!(decided(&over), ReleaseDecision::End(Reason::Muted)));
    assert!(
        matches!(decided(&Incident { updates: 2, ..incident() }), ReleaseDecision::Send(_)),
        "the incident is still open"
    );
}
