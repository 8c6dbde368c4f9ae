//! What becomes of something due, now that everything about it was read anew.

use contracts::queue::Delivery;
use domain::alert::{Held, Why};
use domain::incident::{Change, Incident, Update};
use domain::maintenance::{Explained, look_again};
use domain::plan::{self, Asked, Decision, Outcome, Told, closed_until};
use domain::policy::Policy;
use domain::reason::Reason;
use domain::tenant::{Destination, Settings};
use domain::vocabulary::Channel;
use jiff::{SignedDuration, Timestamp};
use store::due::{Due, Hold};
use store::plans::Known;
use store::subscriptions::Subscriber;

/// The facts as they are now; `None` for what is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) settings: Option<&'a Settings>,
    pub(crate) incident: Option<&'a Incident>,
    pub(crate) update: Option<&'a Update>,
    pub(crate) destination: Option<&'a Destination>,
    /// What the incident explains, where it is announced work.
    pub(crate) explained: &'a [Explained],
}

/// What is read besides of something that was held: it passes the plan again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again<'a> {
    /// The tenant as routing sees it; `None` where it is gone.
    pub(crate) subscriber: Option<&'a Subscriber>,
    /// The tenant's plans of the incident.
    pub(crate) known: &'a Known,
    pub(crate) policy: &'a Policy,
    /// When this run began. What it finds missed it puts together in the minute after that, though it may go on for longer.
    pub(crate) began: Timestamp,
    pub(crate) now: Timestamp,
}

/// What becomes of it.
#[derive(Debug)]
pub(crate) enum Decided {
    /// It is sent.
    Send(Box<Delivery>),
    /// It waits until then, for another reason or for longer, and what was decided says until when at the longest.
    Wait(Box<Due>, Outcome),
    /// It ends unsent.
    End(Reason),
}

/// What becomes of what is tried again, or could not be tried for a quota of its provider. By now it may be quiet there, or the law's hours
/// may be over: then it waits for the morning, as if it came now. Whoever has the open is told of the end at any quiet hour, and so is what
/// an admin asked for; the law makes no such exceptions.
pub(crate) fn decide_unheld(due: &Due, facts: Facts<'_>, known: &Known, policy: &Policy, now: Timestamp) -> Decided {
    let asleep = || {
        let (incident, update) = (facts.incident?, facts.update?);
        let to = (facts.settings?, facts.destination?, due.channel);
        let ends =
            update.change == Change::Resolved && told_before(due, known).0.has_heard(&due.destination, due.channel);
        let quiet = !ends && !due.asked;
        let (until, reason) = closed_until(incident, to, update.severity, policy, now.max(due.at), quiet)?;
        (!incident.test).then_some((until, reason, update.accepted_at))
    };
    match (asleep(), decide(due, facts, now)) {
        (Some((at, reason, since)), Decided::Send(_)) => {
            let held = Some(Hold { since, reason, named: false });
            let outcome = Outcome::Hold { until: at, reason, role: due.role };
            Decided::Wait(Box::new(Due { at, held, ..due.clone() }), outcome)
        }
        (_, decided) => decided,
    }
}

/// Sends what was put off, unless nobody can be reached there any more. Toggles, filters and plan are not asked again: they
/// were asked when the update was planned, and a retry is the same delivery.
pub(crate) fn decide(due: &Due, facts: Facts<'_>, now: Timestamp) -> Decided {
    let (Some(incident), Some(update)) = (facts.incident, facts.update) else {
        // Rows of incidents go after the retention time; what is due longer than that is of no use to anybody.
        return Decided::End(Reason::Expired);
    };
    let (Some(settings), Some(destination)) = (facts.settings, facts.destination) else {
        return Decided::End(Reason::NoDestination);
    };
    if let Some(reason) = plan::unreachable(incident, settings, destination, due.channel, now) {
        return Decided::End(reason);
    }
    match Delivery::build(settings, incident, update, destination, due.channel, due.role) {
        Some(delivery) => {
            let delivery = delivery.naming(facts.explained);
            let why = Why { held: due.waited.clone(), ..delivery.why.clone() };
            Decided::Send(Box::new(Delivery { attempt: due.attempt, plain: due.plain, why, ..delivery }))
        }
        None => Decided::End(Reason::NoDestination),
    }
}

/// What becomes of something that was held. Settings, filters and hours may have changed while it waited, and a newer update may
/// have taken its place.
pub(crate) fn decide_held(due: &Due, hold: Hold, facts: Facts<'_>, again: Again<'_>) -> Decided {
    let (Some(incident), Some(update)) = (facts.incident, facts.update) else { return Decided::End(Reason::Expired) };
    let Some(subscriber) = again.subscriber else { return Decided::End(Reason::NoDestination) };
    let mine = |decision: &Decision| {
        (decision.destination.as_str(), decision.channel) == (due.destination.as_str(), due.channel)
    };
    let decisions = || again.known.decisions();
    let newer = || decisions().map(|(_, one)| one).filter(|one| mine(one) && one.update > due.update);
    // To people the newest update is enough, whether it was sent or waits as well.
    if due.channel != Channel::Webhook && newer().any(|one| !matches!(one.outcome, Outcome::Skip { .. })) {
        return Decided::End(Reason::SupersededBy);
    }
    // Whose end is told to nobody here is not begun here either.
    if let Some(reason) = newer().find_map(|one| unended(one, incident)) {
        return Decided::End(reason);
    }
    let (told, planned_at) = told_before(due, again.known);
    // Nobody is to be reminded of what has begun, unless it is the first that they hear of it, or of its hours.
    let has_begun = incident.maintenance.is_some_and(|planned| planned.from <= again.now);
    if update.change == Change::Reminded && has_begun && told.has_all(&due.destination, due.channel, planned_at) {
        return Decided::End(Reason::Expired);
    }
    let told = told.but_not(&again.known.stopped);
    let destinations: Vec<Destination> =
        subscriber.destinations.iter().map(|(_, destination)| destination.clone()).collect();
    let decisions = plan::plan(&Asked {
        incident,
        updates: std::slice::from_ref(update),
        settings: &subscriber.settings,
        destinations: &destinations,
        told: &told,
        policy: again.policy,
        // A slot is a minute, and a queue holds it for the rest: what counts is what is true when it comes.
        now: again.now.max(due.at),
        due: Some(hold.reason),
        storm: None,
    });
    match decisions.into_iter().find(mine).map(|decision| decision.outcome) {
        None => Decided::End(Reason::NoDestination),
        Some(Outcome::Skip { reason, .. }) => Decided::End(reason),
        Some(Outcome::Hold { until, reason, role }) => {
            let held = Some(Hold { reason, ..hold });
            let at = look_again(until, reason, again.now);
            Decided::Wait(Box::new(Due { at, role, held, ..due.clone() }), Outcome::Hold { until, reason, role })
        }
        // Many of its minutes may have been missed: what they held comes in one message, and not in one of each at once.
        Some(Outcome::Deliver { role }) if comes_together(hold) && !due.gathered && again.began >= missed(due.at) => {
            let until = next_minute(again.began);
            let gathered = Due { at: until, role, held: Some(hold), gathered: true, ..due.clone() };
            Decided::Wait(Box::new(gathered), Outcome::Hold { until, reason: hold.reason, role })
        }
        Some(Outcome::Deliver { role }) => {
            let held = Held { since: since(due, hold, again.known), until: due.at, reason: hold.reason };
            match decide(&Due { role, ..due.clone() }, facts, again.now) {
                Decided::Send(delivery) => {
                    let why = Why { held: Some(held), ..delivery.why.clone() };
                    Decided::Send(Box::new(Delivery { why, ..*delivery }))
                }
                other => other,
            }
        }
    }
}

/// What was told before this update, as it stood when this was planned, and when that was.
fn told_before(due: &Due, known: &Known) -> (Told, Timestamp) {
    let mine = |decision: &Decision| {
        let whom = (decision.destination.as_str(), decision.channel);
        whom == (due.destination.as_str(), due.channel) && decision.update == due.update
    };
    let planned = known.decisions().find(|(_, one)| mine(one)).map(|(at, _)| at);
    let earlier = known.decisions().filter(|(_, one)| one.update < due.update);
    let planned_at = planned.map_or(due.at, |at| at.min(due.at));
    (Told::from_plans(earlier, &known.revised, planned_at), planned_at)
}

/// Whether something waits to come together with others.
pub(crate) fn comes_together(hold: Hold) -> bool {
    matches!(hold.reason, Reason::Digest | Reason::Throttled)
}

/// From when on a time counts as missed: a schedule that comes late, or twice, is not an outage.
fn missed(at: Timestamp) -> Timestamp {
    at.saturating_add(SignedDuration::from_mins(2)).unwrap_or(at)
}

fn next_minute(now: Timestamp) -> Timestamp {
    Timestamp::from_second((now.as_second().div_euclid(60) + 1) * 60).unwrap_or(now)
}

/// What becomes of the decision, where its plan says otherwise: whether somebody was told is read off the decisions. `known` is `None`
/// where they were not read. What is only counted in a storm's message counts as told, and what a newer word takes the place of is
/// seen by that word; and what was tried may have come, unless it waits for the morning: then its end does as well.
pub(crate) fn revised(due: &Due, decided: &Decided, known: Option<&Known>, now: Timestamp) -> Option<Decision> {
    if due.attempt > 1 && !matches!(decided, Decided::Wait(..)) {
        return None;
    }
    let standing = known.and_then(|known| known.standing(&due.destination, due.channel, due.update));
    let outcome = match decided {
        Decided::End(Reason::SupersededBy | Reason::StormCollapsed) => return None,
        Decided::End(reason) => Outcome::Skip { reason: *reason, by: None },
        Decided::Wait(_, outcome) => outcome.clone(),
        Decided::Send(_) => match standing?.outcome {
            // It comes before its time: work that was to explain it ended early.
            Outcome::Hold { until, reason, role } if until > now.max(due.at) => {
                Outcome::Hold { until: now.max(due.at), reason, role }
            }
            _ => return None,
        },
    };
    (standing.map(|standing| &standing.outcome) != Some(&outcome)).then(|| due.decision(outcome))
}

/// Why the end of an incident is not told, where that is what was decided.
fn unended(decision: &Decision, incident: &Incident) -> Option<Reason> {
    let ends = incident.resolved_at.is_some() && decision.update == incident.updates;
    match &decision.outcome {
        Outcome::Skip { reason, .. } if ends => Some(*reason),
        _ => None,
    }
}

/// Since when this destination would have heard of the incident: the first of the updates that were all held.
fn since(due: &Due, hold: Hold, known: &Known) -> Timestamp {
    let mut since = hold.since;
    let mut plans: Vec<_> = known.plans.iter().filter(|plan| plan.update < due.update).collect();
    plans.sort_by_key(|plan| std::cmp::Reverse(plan.update));
    for plan in plans {
        let mine = |decision: &&Decision| {
            (decision.destination.as_str(), decision.channel) == (due.destination.as_str(), due.channel)
        };
        match plan.decisions.iter().find(mine).map(|decision| &decision.outcome) {
            Some(Outcome::Hold { .. }) => since = since.min(plan.at),
            Some(Outcome::Deliver { .. }) => break,
            _ => {}
        }
    }
    since
}

/// How long the queue is to hold it, in seconds, rounded up: a slot is a minute, and nothing comes before its time.
pub(crate) fn delay_seconds(due: &Due, now: Timestamp) -> u16 {
    let milliseconds = (due.at.as_millisecond() - now.as_millisecond()).max(0);
    u16::try_from((milliseconds + 999) / 1_000).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::queue::Target;
    use domain::maintenance::Planned;
    use domain::tenant::Recipient;
    use domain::vocabulary::{Kind, Phase, Status};
    use serde_json::{Value, json};

    const AT: &str = "2026-11-23T12:00:00Z";

    fn settings() -> Settings {
        serde_json::from_value(json!({"tenant": "acme", "name": "Acme", "plan": "top", "zone": "Asia/Kolkata",
            "alert_window_seconds": 60, "categories": {}, "version": 1}))
        .unwrap()
    }

    fn incident() -> Incident {
        serde_json::from_value(
            json!({"id": "inc_a", "scope": {"tenant": "acme"}, "key": "k", "integration_id": "int_s",
            "source": "monitor", "event_type": "api.outage", "dedup_key": "d", "category": "infrastructure",
            "kind": "incident", "rule": "r", "severity": "error", "status": "investigating", "title": "Down",
            "components": [], "regions": [], "public": false, "started_at": AT, "last_seen": AT, "updates": 1,
            "version": 1}),
        )
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
    ) -> Facts<'a> {
        Facts {
            settings: Some(settings),
            incident: Some(incident),
            update: Some(update),
            destination: Some(destination),
            explained: &[],
        }
    }

    fn due(channel: &str) -> Due {
        serde_json::from_value(json!({"at": AT, "tenant": "acme", "destination": "int_a", "channel": channel,
            "incident_id": "inc_a", "update": 1, "attempt": 4, "plain": true, "role": "tech_devops"}))
        .unwrap()
    }

    fn decided(channel: &str, destination: Option<&Destination>) -> Decided {
        let (settings, incident, update) = (settings(), incident(), update());
        let facts = Facts {
            settings: Some(&settings),
            incident: Some(&incident),
            update: Some(&update),
            destination,
            explained: &[],
        };
        decide_unheld(&due(channel), facts, &Known::default(), &Policy::embedded().unwrap(), AT.parse().unwrap())
    }

    #[test]
    fn what_is_tried_again_waits_for_the_morning() {
        let (incident, tenant) = (incident(), asleep(json!({})).settings);
        let to = recipient(json!({}));
        let decided = |update: &Update, now: &str| {
            let facts = facts(&tenant, &incident, update, &to);
            decide_unheld(&due("email"), facts, &Known::default(), &Policy::embedded().unwrap(), now.parse().unwrap())
        };
        let Decided::Wait(later, outcome) = decided(&update(), AT) else { panic!("does not wait") };
        assert_eq!((later.at.to_string().as_str(), later.attempt), (AWAKE, 4));
        assert_eq!(later.held.unwrap().reason, Reason::QuietHours);
        assert!(matches!(outcome, Outcome::Hold { reason: Reason::QuietHours, .. }));
        assert!(matches!(decided(&update(), AWAKE), Decided::Send(_)));
        let critical = Update { severity: domain::vocabulary::Severity::Critical, ..update() };
        assert!(matches!(decided(&critical, AT), Decided::Send(_)), "it passes");
        let over = Update { number: 2, change: Change::Resolved, ..update() };
        let ended = |known: &Known| {
            let facts = facts(&tenant, &incident, &over, &to);
            let due = Due { destination: "rcp_a".into(), update: 2, ..due("email") };
            decide_unheld(&due, facts, known, &Policy::embedded().unwrap(), AT.parse().unwrap())
        };
        let sent =
            json!({"update": 1, "destination": "rcp_a", "channel": "email", "outcome": "deliver", "role": "org_admin"});
        assert!(matches!(ended(&planned(json!([sent]))), Decided::Send(_)), "whoever may have the open is told");
        assert!(matches!(ended(&planned(json!([held(1, AWAKE)]))), Decided::Wait(..)), "and who waits for it waits");
        let (asked, update) = (Due { asked: true, ..due("email") }, update());
        let facts = facts(&tenant, &incident, &update, &to);
        let decided =
            decide_unheld(&asked, facts, &Known::default(), &Policy::embedded().unwrap(), AT.parse().unwrap());
        assert!(matches!(decided, Decided::Send(_)), "an admin knows the hour");
    }

    #[test]
    fn what_was_held_before_its_first_attempt_says_so_at_every_other() {
        let held = Held { since: AT.parse().unwrap(), until: AWAKE.parse().unwrap(), reason: Reason::QuietHours };
        let (tenant, incident, update, to) = (settings(), incident(), update(), recipient(json!({})));
        let facts = facts(&tenant, &incident, &update, &to);
        let due = Due { waited: Some(held.clone()), ..due("email") };
        let Decided::Send(delivery) = decide(&due, facts, AWAKE.parse().unwrap()) else { panic!("not sent") };
        assert_eq!(delivery.why.held, Some(held));
    }

    #[test]
    fn nobody_is_reminded_of_what_has_begun() {
        let subscriber = asleep(json!({}));
        let reminded = Update { number: 3, change: Change::Reminded, ..update() };
        let sent = |update: u32| json!({"update": update, "destination": "rcp_a", "channel": "email", "outcome": "deliver", "role": "org_admin"});
        let hours = |from: &str| {
            let until = Some("2026-11-24T12:00:00Z".parse().unwrap());
            Some(Planned { phase: Phase::Scheduled, from: from.parse().unwrap(), until })
        };
        let decided = |from: &str, before: [Value; 2]| {
            let [first, second] = before;
            let known = planned(json!([first, second, held(3, AWAKE)]));
            let work = Incident { kind: Kind::Maintenance, maintenance: hours(from), ..incident() };
            held_about(&work, &reminded, AWAKE, &subscriber, &known)
        };
        assert!(matches!(decided(AWAKE, [sent(1), sent(2)]), Decided::End(Reason::Expired)));
        assert!(matches!(decided("2026-11-24T10:00:00Z", [sent(1), sent(2)]), Decided::Send(_)));
        // What it took the place of, nobody has read.
        assert!(matches!(decided(AWAKE, [held(1, AWAKE), held(2, AWAKE)]), Decided::Send(_)), "not even announced");
        assert!(matches!(decided(AWAKE, [sent(1), held(2, AWAKE)]), Decided::Send(_)), "its new hours");
    }

    #[test]
    fn what_is_tried_again_respects_the_laws_hours() {
        let tenant = asleep(json!({"quiet_hours": null})).settings;
        let (incident, update) = (Incident { kind: Kind::Advisory, ..incident() }, update());
        let indian = recipient(json!({"phone": "+919876543210"}));
        let decided = |channel: &str| {
            let facts = facts(&tenant, &incident, &update, &indian);
            // 22:30 in India.
            let now = "2026-11-23T17:00:00Z".parse().unwrap();
            let due = Due { asked: true, ..due(channel) };
            decide_unheld(&due, facts, &Known::default(), &Policy::embedded().unwrap(), now)
        };
        // Also what an admin sends again.
        let Decided::Wait(later, outcome) = decided("sms") else { panic!("does not wait") };
        assert!(matches!(outcome, Outcome::Hold { reason: Reason::RegulatoryWindow, until, .. } if until == later.at));
        assert!(matches!(decided("email"), Decided::Send(_)));
    }

    #[test]
    fn what_an_outage_held_back_comes_together_anew_and_once() {
        let (incident, update, to) = (incident(), update(), recipient(json!({})));
        let (subscriber, policy) = (asleep(json!({"quiet_hours": null})), Policy::embedded().unwrap());
        let decided = |reason: Reason, gathered: bool, now: &str| {
            let facts = facts(&subscriber.settings, &incident, &update, &to);
            let hold = Hold { since: AT.parse().unwrap(), reason, named: true };
            let due = Due {
                at: AWAKE.parse().unwrap(),
                destination: "rcp_a".into(),
                attempt: 1,
                plain: false,
                held: Some(hold),
                gathered,
                ..due("email")
            };
            let known = planned(json!([held(1, AWAKE)]));
            let began: Timestamp = now.parse().unwrap();
            // However long the run goes on.
            let now = began + SignedDuration::from_secs(50);
            let again = Again { subscriber: Some(&subscriber), known: &known, policy: &policy, began, now };
            decide_held(&due, hold, facts, again)
        };
        for reason in [Reason::Digest, Reason::Throttled] {
            assert!(matches!(decided(reason, false, "2026-11-23T12:31:59Z"), Decided::Send(_)), "the schedule is late");
            let Decided::Wait(later, outcome) = decided(reason, false, "2026-11-23T20:02:30Z") else { panic!("sent") };
            let hold = later.held.unwrap();
            assert_eq!((later.at.to_string().as_str(), later.gathered), ("2026-11-23T20:03:00Z", true));
            assert_eq!((hold.reason, hold.named), (reason, true));
            assert!(matches!(outcome, Outcome::Hold { until, .. } if until == later.at));
            assert!(matches!(decided(reason, true, "2026-11-23T20:10:00Z"), Decided::Send(_)), "not for ever");
        }
        assert!(
            matches!(decided(Reason::QuietHours, false, "2026-11-23T20:02:30Z"), Decided::Send(_)),
            "asks its contact"
        );
    }

    #[test]
    fn what_can_be_reached_is_sent_with_its_attempt_and_todays_address() {
        let moved = integration(json!({"url": "v1.2.new"}));
        let Decided::Send(delivery) = decided("webhook", Some(&moved)) else { panic!("not sent") };
        assert_eq!((delivery.attempt, delivery.plain, delivery.slot_ms), (4, true, 0));
        assert_eq!(delivery.why.role, Some(domain::vocabulary::Role::TechDevops));
        assert!(matches!(&delivery.target, Target::Webhook { url, .. } if url.expose() == "v1.2.new"));
    }

    #[test]
    fn what_cannot_be_reached_ends_with_its_reason() {
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
                Decided::End(got) => assert_eq!(got, reason, "{channel}"),
                Decided::Send(_) | Decided::Wait(..) => panic!("{reason} was not the end"),
            }
        }
        assert!(matches!(decided("webhook", None), Decided::End(Reason::NoDestination)));
        assert!(matches!(
            decided("sms", Some(&recipient(json!({"dnd": true, "sms_consent": true})))),
            Decided::Send(_)
        ));
    }

    #[test]
    fn what_it_is_about_may_have_expired() {
        let (settings, destination) = (settings(), integration(json!({})));
        let facts = Facts {
            settings: Some(&settings),
            incident: None,
            update: None,
            destination: Some(&destination),
            explained: &[],
        };
        assert!(matches!(decide(&due("webhook"), facts, AT.parse().unwrap()), Decided::End(Reason::Expired)));
    }

    #[test]
    fn what_is_due_within_the_minute_is_asked_as_of_its_time() {
        let known = planned(json!([held(1, AWAKE)]));
        assert!(matches!(held_at("2026-11-23T12:29:30Z", &asleep(json!({})), &known), Decided::Send(_)));
    }

    #[test]
    fn nothing_comes_before_its_time() {
        let due = due("webhook");
        let delay = |now: &str| delay_seconds(&due, now.parse().unwrap());
        assert_eq!(delay("2026-11-23T12:00:00Z"), 0);
        assert_eq!(delay("2026-11-24T12:00:00Z"), 0);
        assert_eq!(delay("2026-11-23T11:59:59.999Z"), 1);
        assert_eq!(delay("2026-11-23T11:59:01Z"), 59);
    }

    /// Infrastructure by e-mail is on; quiet from 17:00 to 18:00 in India, which is until half an hour after `AT`.
    fn asleep(change: Value) -> Subscriber {
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

    fn planned(decisions: Value) -> Known {
        let plans = decisions.as_array().unwrap().iter().map(|decision| {
            serde_json::from_value(json!({"tenant": "acme", "chunk": 0, "update": decision["update"], "at": AT,
                "settings_version": 1, "decisions": [decision]}))
            .unwrap()
        });
        Known { plans: plans.collect(), ..Known::default() }
    }

    fn held(update: u32, until: &str) -> Value {
        json!({"update": update, "destination": "rcp_a", "channel": "email", "outcome": "hold", "until": until,
            "reason": "quiet_hours", "role": "org_admin"})
    }

    fn held_at(now: &str, subscriber: &Subscriber, known: &Known) -> Decided {
        held_of(&update(), now, subscriber, known)
    }

    fn resolved_at(now: &str, subscriber: &Subscriber, known: &Known) -> Decided {
        let update = Update { number: 2, change: Change::Resolved, status: Status::Resolved, ..update() };
        held_of(&update, now, subscriber, known)
    }

    fn held_of(update: &Update, now: &str, subscriber: &Subscriber, known: &Known) -> Decided {
        held_about(&incident(), update, now, subscriber, known)
    }

    fn held_about(incident: &Incident, update: &Update, now: &str, subscriber: &Subscriber, known: &Known) -> Decided {
        let destination = recipient(json!({}));
        let facts = facts(&subscriber.settings, incident, update, &destination);
        let hold = Hold { since: AT.parse().unwrap(), reason: Reason::QuietHours, named: false };
        let due = Due {
            at: AWAKE.parse().unwrap(),
            destination: "rcp_a".into(),
            update: update.number,
            attempt: 1,
            plain: false,
            held: Some(hold),
            ..due("email")
        };
        let (policy, now) = (Policy::embedded().unwrap(), now.parse().unwrap());
        let again = Again { subscriber: Some(subscriber), known, policy: &policy, began: now, now };
        decide_held(&due, hold, facts, again)
    }

    const AWAKE: &str = "2026-11-23T12:30:00Z";

    #[test]
    fn what_was_held_is_sent_when_its_time_has_come_and_says_so() {
        let known = planned(json!([held(1, AWAKE)]));
        let Decided::Send(delivery) = held_at(AWAKE, &asleep(json!({})), &known) else { panic!("not sent") };
        let held = delivery.why.held.unwrap();
        assert_eq!((held.since.to_string().as_str(), held.reason), (AT, Reason::QuietHours));
        assert_eq!(delivery.why.role, Some(domain::vocabulary::Role::OrgAdmin));
    }

    #[test]
    fn what_changed_while_it_waited_counts() {
        let known = planned(json!([held(1, AWAKE)]));
        // The hours were made longer: it waits on, since when it did.
        let longer = asleep(json!({"quiet_hours": {"from": "17:00:00", "to": "20:00:00", "critical_passes": true}}));
        let Decided::Wait(later, _) = held_at(AWAKE, &longer, &known) else { panic!("does not wait") };
        assert_eq!(later.at.to_string(), "2026-11-23T14:30:00Z");
        assert_eq!(later.held.unwrap().since.to_string(), AT);
        // The category was switched off.
        let off = asleep(json!({"categories": {"infrastructure": {"enabled": false, "channels": ["email"]}}}));
        assert!(matches!(held_at(AWAKE, &off, &known), Decided::End(Reason::CategoryDisabled)));
        // Also where it is over by now: whoever never heard of it does not hear of its end.
        let both = planned(json!([held(1, AWAKE), held(2, AWAKE)]));
        assert!(matches!(resolved_at(AWAKE, &off, &both), Decided::End(Reason::CategoryDisabled)));
        assert!(matches!(resolved_at(AWAKE, &asleep(json!({})), &both), Decided::Send(_)));
        // The recipient wants to hear no more of it.
        let stopped = Known { stopped: ["rcp_a".to_owned()].into(), ..known.clone() };
        assert!(matches!(held_at(AWAKE, &asleep(json!({})), &stopped), Decided::End(Reason::IncidentStopped)));
        // A newer update waits, or was sent, in its place.
        for newer in
            [held(2, AWAKE), json!({"update": 2, "destination": "rcp_a", "channel": "email", "outcome": "deliver"})]
        {
            let known = planned(json!([held(1, AWAKE), newer]));
            assert!(matches!(held_at(AWAKE, &asleep(json!({})), &known), Decided::End(Reason::SupersededBy)));
        }
    }

    #[test]
    fn what_comes_otherwise_than_its_plan_says_is_noted_once() {
        let planned = planned(json!([held(1, AWAKE)]));
        let due = |attempt| Due { at: AWAKE.parse().unwrap(), destination: "rcp_a".into(), attempt, ..due("email") };
        let noted = |due: &Due, decided: &Decided, known: &Known, now: &str| {
            revised(due, decided, Some(known), now.parse().unwrap()).map(|decision| decision.outcome)
        };
        // As it was planned.
        let sent = held_at(AWAKE, &asleep(json!({})), &planned);
        assert_eq!(noted(&due(1), &sent, &planned, AWAKE), None);
        // Before its time.
        let early = "2026-11-23T12:10:00Z";
        let outcome = noted(&Due { at: early.parse().unwrap(), ..due(1) }, &sent, &planned, early).unwrap();
        assert!(matches!(outcome, Outcome::Hold { until, .. } if until.to_string() == early), "{outcome:?}");
        // Later than that, or not at all.
        let longer = asleep(json!({"quiet_hours": {"from": "17:00:00", "to": "20:00:00", "critical_passes": true}}));
        let waits = held_at(AWAKE, &longer, &planned);
        let outcome = noted(&due(1), &waits, &planned, AWAKE).unwrap();
        assert!(matches!(&outcome, Outcome::Hold { until, .. } if until.to_string() == "2026-11-23T14:30:00Z"));
        let known = Known { revised: vec![due(1).decision(outcome)], ..planned.clone() };
        assert_eq!(noted(&due(1), &waits, &known, AWAKE), None, "it is known already");
        let ended = Decided::End(Reason::CategoryDisabled);
        let skip = Outcome::Skip { reason: Reason::CategoryDisabled, by: None };
        assert_eq!(noted(&due(1), &ended, &planned, AWAKE), Some(skip));
        // What was tried may have come, and a newer word speaks for itself.
        assert_eq!(noted(&due(2), &ended, &planned, AWAKE), None);
        assert_eq!(noted(&due(1), &Decided::End(Reason::SupersededBy), &planned, AWAKE), None);
    }

    #[test]
    fn what_ends_untold_does_not_begin_afterwards() {
        // Muted when it was over; by the morning the mute has ended.
        let muted =
            json!({"update": 2, "destination": "rcp_a", "channel": "email", "outcome": "skip", "reason": "muted"});
        let known = planned(json!([held(1, AWAKE), muted]));
        let over = Incident { resolved_at: Some(AT.parse().unwrap()), updates: 2, ..incident() };
        let decided = |incident: &Incident| {
            let (subscriber, destination, update) = (asleep(json!({})), recipient(json!({})), update());
            let facts = facts(&subscriber.settings, incident, &update, &destination);
            let hold = Hold { since: AT.parse().unwrap(), reason: Reason::QuietHours, named: false };
            let (at, destination) = (AWAKE.parse().unwrap(), "rcp_a".into());
            let due = Due { at, destination, attempt: 1, plain: false, held: Some(hold), ..due("email") };
            let (policy, now) = (Policy::embedded().unwrap(), AWAKE.parse().unwrap());
            let again = Again { subscriber: Some(&subscriber), known: &known, policy: &policy, began: now, now };
            decide_held(&due, hold, facts, again)
        };
        assert!(matches!(decided(&over), Decided::End(Reason::Muted)));
        assert!(matches!(decided(&Incident { updates: 2, ..incident() }), Decided::Send(_)), "it goes on");
    }
}
