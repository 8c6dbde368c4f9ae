//! The invariants that are checked at the end of every world. Quiet hours and the regulatory SMS window are computed from the wall clock
//! here, independently of the rules under test.

use super::{DeliveryKey, EndedRecord, POLICY, SentRecord, World};
use contracts::queue::{Delivery, DeliveryTarget};
use domain::due::ScheduledDelivery;
use domain::ids::TenantId;
use domain::incident::Change;
use domain::plan::{Decision, DecisionOutcome, StoredPlan};
use domain::quiet::{QuietHours, QuietHoursOverride};
use domain::rate_limit::Exemption;
use domain::reason::Reason;
use domain::tenant::{Destination, Settings};
use domain::vocabulary::{Channel, Day, Kind, Severity};
use jiff::civil::{Date, Time, Weekday};
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::collections::{BTreeMap, BTreeSet};

/// Kinds of text messages to India that are restricted to the regulatory SMS window.
const RESTRICTED_SMS_KINDS: &[Kind] = &[Kind::Advisory, Kind::Maintenance, Kind::OptIn];

/// Destination, channel and incident.
type ThreadKey<'a> = (&'a str, Channel, &'a str);

type CheckResult = Result<(), TestCaseError>;

/// Reasons for which even a resolve is not sent: there is no usable destination, or its owner refused.
const UNREACHABLE: &[Reason] = &[
    Reason::NoDestination,
    Reason::OptedOut,
    Reason::IncidentStopped,
    Reason::IntegrationPaused,
    Reason::EndpointDisabled,
    Reason::SameDestinationAs,
];

/// Returns every planned decision, with its delivery key and its plan.
fn decisions(world: &World) -> impl Iterator<Item = (DeliveryKey, &StoredPlan, &Decision)> {
    world.plan_history.iter().flat_map(|((incident, tenant), plan_history)| {
        plan_history.plans.iter().flat_map(move |plan| {
            plan.decisions.iter().map(move |one| {
                let key = (tenant.clone(), one.destination.clone(), one.channel, incident.clone(), one.update);
                (key, plan, one)
            })
        })
    })
}

fn sent(world: &World) -> BTreeMap<&DeliveryKey, &SentRecord> {
    world.sent.iter().map(|sent| (&sent.key, sent)).collect()
}

fn ended(world: &World) -> BTreeMap<&DeliveryKey, &EndedRecord> {
    world.ended.iter().map(|ended| (&ended.key, ended)).collect()
}

fn is_due_of(due: &ScheduledDelivery, key: &DeliveryKey) -> bool {
    due.tenant == key.0
        && (due.destination.as_str(), due.channel, &due.incident_id) == (key.1.as_str(), key.2, &key.3)
        && due.update == key.4
}

fn is_skip(decision: &Decision) -> bool {
    matches!(decision.outcome, DecisionOutcome::Skip { .. })
}

/// Returns the earlier updates of the same thread.
fn earlier_updates(key: &DeliveryKey) -> impl Iterator<Item = DeliveryKey> {
    let (tenant, destination, channel, incident, update) = key.clone();
    (1..update).map(move |number| (tenant.clone(), destination.clone(), channel, incident.clone(), number))
}

/// Each destination receives each update at most once, whatever dies and whatever a queue redelivers; so no alert is in two digests either.
pub(super) fn nothing_is_sent_twice(world: &World) -> CheckResult {
    let mut seen = BTreeSet::new();
    for sent in &world.sent {
        prop_assert!(seen.insert(&sent.key), "sent twice: {sent:?}");
    }
    Ok(())
}

/// Every decision to deliver ends exactly once: sent, ended with a reason, or superseded.
pub(super) fn every_decision_ends_once(world: &World) -> CheckResult {
    for due in world.due.values() {
        // If quiet hours cover the whole regulatory SMS window, there is no time at which the message may be sent.
        let kind = world.incidents[&due.incident_id].incident.kind;
        let excluded = due.channel == Channel::Sms && RESTRICTED_SMS_KINDS.contains(&kind) && due.at > world.now;
        prop_assert!(excluded, "never released: {due:?}");
    }
    let (sent, ended) = (sent(world), ended(world));
    prop_assert_eq!(ended.len(), world.ended.len(), "a delivery ended twice");
    let newest: BTreeMap<(&str, Channel, &str, &str), u32> =
        world.sent.iter().map(|sent| &sent.key).chain(world.ended.iter().map(|ended| &ended.key)).fold(
            BTreeMap::new(),
            |mut newest, (tenant, destination, channel, incident, update)| {
                let thread = (destination.as_str(), *channel, incident.as_str(), tenant.as_str());
                let highest: &mut u32 = newest.entry(thread).or_default();
                *highest = (*highest).max(*update);
                newest
            },
        );
    for (key, plan, decision) in decisions(world) {
        let ways = (sent.contains_key(&key), ended.get(&key).map(|ended| ended.reason));
        if is_skip(decision) {
            prop_assert_eq!(ways, (false, None), "skipped, but sent or ended: {:?}", decision);
            continue;
        }
        let thread = (key.1.as_str(), key.2, key.3.as_str(), key.0.as_str());
        // To people and chat channels, a newer update supersedes an older one.
        let superseded = key.2 != Channel::Webhook && newest.get(&thread).is_some_and(|newest| *newest > key.4);
        let waits = world.due.values().any(|due| is_due_of(due, &key));
        prop_assert!(
            ways.0 || ways.1.is_some() || superseded || waits,
            "neither sent nor ended: {decision:?} of {}",
            plan.at
        );
        prop_assert!(!(ways.0 && ways.1.is_some()), "sent and ended: {decision:?} {ways:?}");
    }
    Ok(())
}

/// No held delivery is sent before its time, and no batched one is moved from batch to batch.
pub(super) fn nothing_is_sent_early(world: &World) -> CheckResult {
    for one in &world.sent {
        prop_assert!(one.held.is_none_or(|until| until <= one.at), "sent early: {one:?}");
    }
    prop_assert!(world.rebatched.is_empty(), "batched again: {:?}", world.rebatched);
    Ok(())
}

/// People and chat channels receive no held update once a newer one was planned.
pub(super) fn held_updates_are_superseded_by_newer_ones(world: &World) -> CheckResult {
    let mut planned: BTreeMap<ThreadKey<'_>, Vec<(u32, Timestamp)>> = BTreeMap::new();
    for (key, plan, decision) in decisions(world).filter(|(.., decision)| !is_skip(decision)) {
        let thread = (decision.destination.as_str(), key.2, world.incidents[&key.3].incident.id.as_str());
        planned.entry(thread).or_default().push((key.4, plan.at));
    }
    // A failed update is retried until a newer one is sent; the newer one may be held while the retry is not.
    let waited = |one: &&SentRecord| one.held.is_some() && !world.failed.contains(&one.key);
    for one in world.sent.iter().filter(waited).filter(|one| one.key.2 != Channel::Webhook) {
        let thread = (one.key.1.as_str(), one.key.2, one.key.3.as_str());
        // It was released at the start of its minute.
        let minute = super::minute_start(super::minute(one.at));
        let newer = planned.get(&thread).into_iter().flatten().any(|(update, at)| *update > one.key.4 && *at < minute);
        prop_assert!(!newer, "a superseded update was sent: {one:?}");
    }
    Ok(())
}

/// Every destination that received an update of a resolved incident receives the resolve, unless it is unreachable; any other destination
/// receives the resolve only in place of a held opening. An alert that a bundle only counted counts as received.
pub(super) fn openings_and_resolves_reach_the_same_destinations(world: &World) -> CheckResult {
    let (sent, ended) = (sent(world), ended(world));
    let all: BTreeMap<DeliveryKey, &Decision> = decisions(world).map(|(key, _, decision)| (key, decision)).collect();
    for (key, plan, decision) in decisions(world) {
        let record = &world.incidents[&key.3];
        let resolves =
            |update: u32| record.updates.iter().any(|one| one.number == update && one.change == Change::Resolved);
        if !resolves(key.4) {
            continue;
        }
        let collapsed = |key: &DeliveryKey| ended.get(key).is_some_and(|ended| ended.reason == Reason::StormCollapsed);
        let told = earlier_updates(&key).any(|key| sent.contains_key(&key) || collapsed(&key));
        let reason = match &decision.outcome {
            DecisionOutcome::Skip { reason, .. } => Some(*reason),
            _ => ended.get(&key).map(|ended| ended.reason),
        };
        if told {
            let waits = world.due.values().any(|due| is_due_of(due, &key));
            let excused = reason.is_some_and(|reason| UNREACHABLE.contains(&reason)) || collapsed(&key) || waits;
            prop_assert!(
                sent.contains_key(&key) || excused,
                "received the opening, but not the resolve: {decision:?} {reason:?}"
            );
        } else if sent.contains_key(&key) {
            let waited = |key: &DeliveryKey| {
                all.get(key).is_some_and(|decision| !is_skip(decision))
                    && ended.get(key).is_none_or(|ended| ended.reason == Reason::SupersededBy)
            };
            prop_assert!(
                key.2 != Channel::Webhook && earlier_updates(&key).any(|key| waited(&key)),
                "received the resolve without the opening: {decision:?}"
            );
        }
        // After the opening was received, quiet hours do not hold the resolve.
        let had = earlier_updates(&key).any(|key| sent.get(&key).is_some_and(|sent| sent.at < plan.at));
        let asleep = matches!(decision.outcome, DecisionOutcome::Hold { reason: Reason::QuietHours, .. });
        prop_assert!(!(had && asleep), "the resolve is held, although the opening was received: {decision:?}");
    }
    Ok(())
}

/// In quiet hours, apart from alerts that may pass, nothing is sent but resolves thread opening was received, or was delayed by an outage.
pub(super) fn quiet_hours_are_kept(world: &World) -> CheckResult {
    let (sent, ended) = (sent(world), ended(world));
    let missed = |key: &DeliveryKey| {
        let plan_history = world.plan_history.get(&(key.3.clone(), key.0.clone()));
        let standing = plan_history.and_then(|plan_history| plan_history.current_decision(&key.1, key.2, key.4));
        let until = |decision: &Decision| match decision.outcome {
            DecisionOutcome::Hold { until, .. } => Some(super::minute(until)),
            _ => None,
        };
        standing.and_then(until).is_some_and(|until| world.outage.contains(&until))
    };
    for one in world.sent.iter().filter(|one| one.quiet.is_some()) {
        let has = |key: DeliveryKey| {
            sent.get(&key).is_some_and(|before| before.at < one.at)
                || ended.get(&key).is_some_and(|ended| ended.reason == Reason::StormCollapsed)
                || missed(&key)
                // A failed attempt may have arrived.
                || world.failed.contains(&key)
        };
        prop_assert!(
            one.change == Change::Resolved && earlier_updates(&one.key).any(has),
            "sent in quiet hours: {one:?}"
        );
    }
    Ok(())
}

/// Webhooks receive every update that was decided for them, in order.
pub(super) fn webhooks_receive_every_update_in_order(world: &World) -> CheckResult {
    let sent = sent(world);
    let ended = ended(world);
    let mut last: BTreeMap<(&str, &str), (Timestamp, u32)> = BTreeMap::new();
    for one in world.sent.iter().filter(|one| one.key.2 == Channel::Webhook) {
        let before = last.insert((one.key.1.as_str(), one.key.3.as_str()), (one.at, one.key.4));
        prop_assert!(before.is_none_or(|(_, update)| update < one.key.4), "out of order: {one:?} after {before:?}");
    }
    for (key, _, decision) in decisions(world).filter(|(key, ..)| key.2 == Channel::Webhook) {
        let reason = ended.get(&key).map(|ended| ended.reason);
        let superseded = reason == Some(Reason::SupersededBy)
            || matches!(decision.outcome, DecisionOutcome::Skip { reason: Reason::SupersededBy, .. });
        prop_assert!(!superseded, "an update to a webhook was superseded: {decision:?}");
        prop_assert!(is_skip(decision) || sent.contains_key(&key) || reason.is_some(), "not sent: {decision:?}");
    }
    Ok(())
}

/// No contact receives more messages per rate-limit window than allowed. Digests, and bundles of the tenant's incident ceiling or of a
/// flapping key, have their own times and do not count.
pub(super) fn contact_rate_limits_are_kept(world: &World) -> CheckResult {
    let mut messages: BTreeMap<(&str, Channel), BTreeMap<usize, Timestamp>> = BTreeMap::new();
    for one in world.sent.iter().filter(|one| one.counts) {
        let Some(contact) = &one.contact else { continue };
        messages.entry((contact, one.key.2)).or_default().insert(one.message, one.at);
    }
    for ((contact, channel), messages) in &messages {
        let Some(windows) = POLICY.storms.contacts.get(&channel.class()) else { continue };
        for window in windows {
            for end in messages.values() {
                // Windows are whole clock minutes.
                let (last, length) = (end.as_second() / 60, i64::from(window.minutes));
                let minutes = last - length + 1..=last;
                let within = messages.values().filter(|at| minutes.contains(&(at.as_second() / 60))).count();
                let most = usize::try_from(window.messages).unwrap();
                prop_assert!(within <= most, "{within} messages to {contact} in {window:?} before {end}");
            }
        }
    }
    Ok(())
}

/// Exempt messages are not deferred for others, and critical openings are never batched by storm protection.
pub(super) fn critical_openings_are_sent_at_once(world: &World) -> CheckResult {
    let most = usize::try_from(POLICY.storms.exempt_per_minute).unwrap();
    for one in world.deferred.iter().filter(|one| one.exempt.is_some()) {
        prop_assert!(one.exempt_before >= most, "an exempt message was deferred within its allowance: {one:?}");
        let waits = one.until.duration_since(one.at);
        let soon = waits <= SignedDuration::from_mins(1) || one.exempt == Some(Exemption::Resolve);
        prop_assert!(soon, "an exempt message was deferred beyond the next minute: {one:?}");
    }
    let deferred: BTreeSet<&DeliveryKey> = world.deferred.iter().map(|one| &one.key).collect();
    let sent = sent(world);
    for (key, plan, decision) in decisions(world) {
        let update = world.incidents[&key.3].updates.iter().find(|update| update.number == key.4).unwrap();
        let first = matches!(update.change, Change::Opened | Change::SeverityRaised);
        if update.severity != Severity::Critical || !first {
            continue;
        }
        let batched = matches!(decision.outcome, DecisionOutcome::Hold { reason: Reason::Throttled, .. });
        prop_assert!(!batched, "a critical opening was batched: {decision:?}");
        let first = !deferred.contains(&key) && !world.failed.contains(&key);
        let now = matches!(decision.outcome, DecisionOutcome::Deliver { .. }) && first;
        let late = sent.get(&key).is_some_and(|one| one.at.duration_since(plan.at) > SignedDuration::from_mins(1));
        prop_assert!(!(now && late), "a critical opening was late: {decision:?}");
    }
    Ok(())
}

/// After an outage of any length, a contact receives at most four batches in a minute: a digest and a bundle of what the outage delayed,
/// and a digest and a bundle of the last two minutes.
pub(super) fn an_outage_is_followed_by_few_messages(world: &World) -> CheckResult {
    let mut messages: BTreeMap<(&TenantId, &str, Channel, i64), BTreeSet<usize>> = BTreeMap::new();
    for one in world.sent.iter().filter(|one| one.batched) {
        let thread = (&one.key.0, one.key.1.as_str(), one.key.2, one.at.as_second() / 60);
        messages.entry(thread).or_default().insert(one.message);
    }
    for (thread, messages) in &messages {
        prop_assert!(messages.len() <= 4, "{} batches in one minute: {thread:?}", messages.len());
    }
    Ok(())
}

/// No restricted text message is sent outside its country's regulatory window.
pub(super) fn the_regulatory_sms_window_is_kept(world: &World) -> CheckResult {
    for one in &world.sent {
        prop_assert!(!one.outside_sms_window, "sent outside the regulatory window: {one:?}");
    }
    Ok(())
}

/// Returns the beginning of the quiet hours that are in effect for a delivery's destination, unless the delivery passes them.
pub(super) fn quiet_since(
    settings: &Settings,
    to: &Destination,
    delivery: &Delivery,
    now: Timestamp,
) -> Option<Timestamp> {
    if delivery.channel == Channel::Webhook || !POLICY.plans.get(&settings.plan)?.quiet_hours {
        return None;
    }
    let own = match to {
        Destination::Recipient(one) => one.quiet_hours.as_ref().map(|own| (own, one.zone.as_ref())),
        Destination::Integration(_) => None,
    };
    let (hours, zone) = match own {
        Some((QuietHoursOverride::Off, _)) => return None,
        Some((QuietHoursOverride::Hours(hours), zone)) => (hours, zone.unwrap_or(&settings.zone)),
        None => (settings.quiet_hours.as_ref()?, &settings.zone),
    };
    let passes = delivery.alert.severity == Severity::Critical && hours.critical_passes;
    if passes { None } else { quiet_since_within(hours, hours.zone.as_ref().unwrap_or(zone), now) }
}

/// Returns the beginning of the quiet hours that the wall clock is in. `None` within an hour of a daylight-saving change, when wall-clock
/// times occur twice or not at all.
fn quiet_since_within(hours: &QuietHours, zone: &str, now: Timestamp) -> Option<Timestamp> {
    let zone = domain::zone::find_zone(zone).unwrap();
    let hour = SignedDuration::from_hours(1);
    let offset = |at: Timestamp| zone.to_offset(at);
    if offset(now.saturating_sub(hour).unwrap()) != offset(now.saturating_add(hour).unwrap()) {
        return None;
    }
    let clock = now.to_zoned_datetime(zone.clone());
    let (today, time) = (clock.date(), clock.time());
    let yesterday = today.checked_sub(1.day()).unwrap();
    let counts = |date: Date| hours.days.is_empty() || hours.days.contains(&day(date.weekday()));
    let began = |date: Date| zone.to_timestamp(date.to_datetime(hours.from)).ok();
    let overnight = hours.to <= hours.from;
    if time >= hours.from && (overnight || time < hours.to) && counts(today) {
        return began(today);
    }
    if overnight && time < hours.to && counts(yesterday) { began(yesterday) } else { None }
}

fn day(weekday: Weekday) -> Day {
    Day::ALL[usize::try_from(weekday.to_monday_zero_offset()).unwrap()]
}

/// Whether this is a restricted text message to India, outside 10:00 to 21:00 there.
pub(super) fn outside_sms_window(settings: &Settings, delivery: &Delivery, now: Timestamp) -> bool {
    let DeliveryTarget::Sms { phone, .. } = &delivery.target else { return false };
    let number = phone.expose();
    let india = number.starts_with("+91")
        || (!number.starts_with("+1") && settings.compliance.country.as_deref() == Some("IN"));
    let time = now.to_zoned_datetime(domain::zone::find_zone("Asia/Kolkata").unwrap()).time();
    let open = Time::constant(10, 0, 0, 0) <= time && time < Time::constant(21, 0, 0, 0);
    india && RESTRICTED_SMS_KINDS.contains(&delivery.alert.kind) && !open
}
