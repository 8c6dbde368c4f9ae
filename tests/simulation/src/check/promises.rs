//! What tenants are promised. Where something failed on the way, nothing is expected to be in time.

use super::wall_clock::TOLERANCE_SECONDS;
use super::{Checked, Seen, is_in_time, is_released_in_time, is_skip, is_undisturbed};
use crate::scenario::seconds_after;
use crate::table::{DeliveryKey, Thread};
use crate::world::{POLICY, SKEW_MAX, SentRecord, World};
use domain::incident::Change;
use domain::plan::DecisionOutcome;
use domain::rate_limit::Exemption;
use domain::reason::Reason;
use domain::vocabulary::{Channel, Severity};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Reasons for which even a resolve is not sent: there is no usable destination, or its owner refused.
const UNREACHABLE: &[Reason] = &[
    Reason::NoDestination,
    Reason::OptedOut,
    Reason::IncidentStopped,
    Reason::IntegrationPaused,
    Reason::EndpointDisabled,
    Reason::SameDestinationAs,
    Reason::ContactUnconfirmed,
    Reason::SuppressedBounce,
    Reason::SuppressedComplaint,
    Reason::SuppressedByOwner,
];

pub(super) fn all(world: &World, seen: &Seen<'_>) -> Checked {
    nothing_is_sent_early(world)?;
    held_updates_are_superseded_by_newer_ones(world, seen)?;
    openings_and_resolves_reach_the_same_destinations(world, seen)?;
    quiet_hours_are_kept(world, seen)?;
    the_regulatory_sms_window_is_kept(world)?;
    webhooks_receive_every_update_in_order(world, seen)?;
    contact_rate_limits_are_kept(world)?;
    critical_openings_are_sent_at_once(world, seen)?;
    a_digest_is_one_message(world)?;
    an_outage_is_followed_by_few_messages(world)
}

fn undisturbed(world: &World) -> impl Iterator<Item = &SentRecord> {
    world.log.sent.iter().filter(|one| is_undisturbed(world, &one.key))
}

fn in_time(world: &World) -> impl Iterator<Item = &SentRecord> {
    world.log.sent.iter().filter(|one| is_in_time(world, &one.key))
}

/// No held delivery is sent before its time, and nothing is moved from list to list.
fn nothing_is_sent_early(world: &World) -> Checked {
    let skew = SignedDuration::from_millis(2 * SKEW_MAX);
    let early = |one: &&SentRecord| one.held.is_some_and(|until| until.duration_since(one.at) > skew);
    if let Some(one) = world.log.sent.iter().find(early) {
        return Err(format!("{} was sent early: {one:?}", one.key));
    }
    match world.log.rebatched.first() {
        Some(due) => Err(format!("{} was put into a list again: {due:?}", DeliveryKey::of_due(due))),
        None => Ok(()),
    }
}

/// People and chat channels receive no held update once a newer one was planned.
fn held_updates_are_superseded_by_newer_ones(world: &World, seen: &Seen<'_>) -> Checked {
    let mut planned: BTreeMap<&Thread, Vec<(u32, Timestamp)>> = BTreeMap::new();
    for (key, (plan, _)) in seen.decisions.iter().filter(|(_, (_, decision))| !is_skip(decision)) {
        planned.entry(&key.thread).or_default().push((key.update, plan.at));
    }
    // A failed update is retried until a newer one is sent; the newer one may be held while the retry is not.
    let waited = |one: &&SentRecord| one.held.is_some() && !world.log.failed.contains(&one.key);
    for one in in_time(world).filter(waited).filter(|one| one.key.thread.channel != Channel::Webhook) {
        // It was released at the beginning of its minute.
        let minute = minute_start(one.at);
        let newer = planned.get(&one.key.thread).into_iter().flatten();
        let mut newer = newer.filter(|(update, at)| *update > one.key.update && *at < minute);
        if let Some((update, at)) = newer.next() {
            return Err(format!("{} was sent at {}, although update {update} was planned at {at}", one.key, one.at));
        }
    }
    Ok(())
}

/// Every destination that received an update of a resolved incident receives the resolve, unless it is unreachable; any other destination
/// receives the resolve only in place of an opening that was held, or planned with it. An alert that a bundle only counted counts as received
/// from then on: nobody looks again at each of thousands when the bundle that counts them is sent.
fn openings_and_resolves_reach_the_same_destinations(world: &World, seen: &Seen<'_>) -> Checked {
    for (key, (plan, decision)) in &seen.decisions {
        let Some(record) = world.table.incidents.get(&key.thread.incident) else { continue };
        let resolves = record.updates.iter().any(|one| one.number == key.update && one.change == Change::Resolved);
        if !resolves {
            continue;
        }
        let notified = key.earlier().any(|key| seen.sent.contains_key(&key) || seen.was_counted_by(&key, plan.at));
        let reason = match &decision.outcome {
            DecisionOutcome::Skip { reason, .. } => Some(*reason),
            _ => seen.reason(key),
        };
        let sent = seen.sent.contains_key(key);
        if notified {
            let waits = world.table.due_entries().any(|due| DeliveryKey::of_due(due) == *key);
            let unreachable = reason.is_some_and(|reason| UNREACHABLE.contains(&reason));
            if !(sent || unreachable || waits || seen.is_counted(key) || seen.is_given_up(key)) {
                return Err(format!("{key}: the opening was received, but not the resolve: {decision:?} {reason:?}"));
            }
        } else if sent && !key.earlier().any(|key| seen.is_counted(&key)) {
            // It was held, or planned together with the resolve, which took its place.
            let waited = |key: &DeliveryKey| match seen.decisions.get(key).map(|(_, decision)| &decision.outcome) {
                Some(DecisionOutcome::Skip { reason, .. }) => *reason == Reason::SupersededBy,
                Some(_) => seen.reason(key).is_none_or(|reason| reason == Reason::SupersededBy),
                None => false,
            };
            // A failed attempt may have arrived.
            let tried = |key: &DeliveryKey| seen.is_given_up(key) || world.log.failed.contains(key);
            let expected = key.thread.channel != Channel::Webhook && key.earlier().any(|key| waited(&key))
                || key.earlier().any(|key| tried(&key));
            if !expected {
                return Err(format!("{key}: the resolve was received without the opening: {decision:?}"));
            }
        }
        // After the opening was received, quiet hours do not hold the resolve.
        let had = key.earlier().any(|key| seen.sent.get(&key).is_some_and(|sent| sent.at < plan.at));
        let asleep = matches!(decision.outcome, DecisionOutcome::Hold { reason: Reason::QuietHours, .. });
        if had && asleep && is_in_time(world, key) {
            return Err(format!("{key}: the resolve is held, although the opening was received: {decision:?}"));
        }
    }
    Ok(())
}

/// In quiet hours, apart from alerts that may pass, nothing is sent but resolves whose opening was received.
fn quiet_hours_are_kept(world: &World, seen: &Seen<'_>) -> Checked {
    let at_night = |one: &&SentRecord| one.quiet.is_some_and(|began| seconds_after(began, TOLERANCE_SECONDS) < one.at);
    for one in undisturbed(world).filter(at_night) {
        let has = |key: DeliveryKey| {
            seen.sent.get(&key).is_some_and(|before| before.at < one.at)
                || seen.is_counted(&key)
                // A failed attempt may have arrived.
                || world.log.failed.contains(&key)
        };
        if one.change != Change::Resolved || !one.key.earlier().any(has) {
            return Err(format!("{} was sent in quiet hours: {one:?}", one.key));
        }
    }
    Ok(())
}

/// No restricted text message is sent outside its country's regulatory window.
fn the_regulatory_sms_window_is_kept(world: &World) -> Checked {
    match undisturbed(world).find(|one| one.outside_sms_window) {
        Some(one) => Err(format!("{} was sent outside the regulatory window: {one:?}", one.key)),
        None => Ok(()),
    }
}

/// Webhooks receive every update that was decided for them, and first attempts in order.
fn webhooks_receive_every_update_in_order(world: &World, seen: &Seen<'_>) -> Checked {
    let mut last: BTreeMap<&Thread, (Timestamp, u32)> = BTreeMap::new();
    let at_first =
        |one: &&SentRecord| one.key.thread.channel == Channel::Webhook && !world.log.failed.contains(&one.key);
    for one in in_time(world).filter(at_first) {
        let before = last.insert(&one.key.thread, (one.at, one.key.update));
        if before.is_some_and(|(_, update)| update > one.key.update) {
            return Err(format!("{} was sent out of order, after {before:?}", one.key));
        }
    }
    for (key, (_, decision)) in seen.decisions.iter().filter(|(key, _)| key.thread.channel == Channel::Webhook) {
        let skipped = matches!(decision.outcome, DecisionOutcome::Skip { reason: Reason::SupersededBy, .. });
        if skipped || seen.reason(key) == Some(Reason::SupersededBy) {
            return Err(format!("{key} goes to a webhook and was superseded: {decision:?}"));
        }
    }
    Ok(())
}

/// No contact receives more messages per rate-limit window than allowed. Digests, and bundles of the tenant's incident ceiling or of a
/// flapping key, have their own times and do not count.
fn contact_rate_limits_are_kept(world: &World) -> Checked {
    let mut messages: BTreeMap<(&str, Channel), BTreeMap<u64, Timestamp>> = BTreeMap::new();
    for one in in_time(world) {
        let (Some(contact), Some(at)) = (&one.contact, one.counts_at) else { continue };
        messages.entry((contact, one.key.thread.channel)).or_default().insert(one.message, at);
    }
    for ((contact, channel), messages) in &messages {
        let Some(windows) = POLICY.storms.contacts.get(&channel.class()) else { continue };
        for window in windows {
            for end in messages.values() {
                // Windows are whole clock minutes.
                let (last, length) = (end.as_second() / 60, i64::from(window.minutes));
                let minutes = last - length + 1..=last;
                let within = messages.values().filter(|at| minutes.contains(&(at.as_second() / 60))).count();
                if within > usize::try_from(window.messages).unwrap_or(0) {
                    return Err(format!("{within} messages to {contact} in {window:?} before {end}"));
                }
            }
        }
    }
    Ok(())
}

/// Exempt messages are not deferred for others, and critical openings are never put into a list by storm protection.
fn critical_openings_are_sent_at_once(world: &World, seen: &Seen<'_>) -> Checked {
    let most = usize::try_from(POLICY.storms.exempt_per_minute).unwrap_or(0);
    for one in world.log.deferred.iter().filter(|one| one.exempt.is_some()).filter(|one| is_in_time(world, &one.key)) {
        // The clocks of two senders differ.
        if one.exempt_before < most.saturating_sub(usize::from(world.scenario.faults)) {
            return Err(format!("{}: an exempt message was deferred within its allowance: {one:?}", one.key));
        }
        let soon = one.until.duration_since(one.at) <= SignedDuration::from_mins(1 + i64::from(world.scenario.faults));
        if !soon && one.exempt != Some(Exemption::Resolve) {
            return Err(format!("{}: an exempt message was deferred beyond the next minute: {one:?}", one.key));
        }
    }
    let deferred: BTreeSet<&DeliveryKey> = world.log.deferred.iter().map(|one| &one.key).collect();
    for (key, (plan, decision)) in &seen.decisions {
        let updates = world.table.incidents.get(&key.thread.incident).map(|record| &record.updates);
        let Some(update) = updates.into_iter().flatten().find(|update| update.number == key.update) else { continue };
        let opens = matches!(update.change, Change::Opened | Change::SeverityRaised);
        if update.severity != Severity::Critical || !opens {
            continue;
        }
        if matches!(decision.outcome, DecisionOutcome::Hold { reason: Reason::Throttled, .. }) {
            return Err(format!("{key}: a critical opening was put into a bundle: {decision:?}"));
        }
        let at_once = matches!(decision.outcome, DecisionOutcome::Deliver { .. })
            && !deferred.contains(key)
            && !world.log.failed.contains(key)
            && is_in_time(world, key);
        let late = |one: &SentRecord| !one.waited && one.at.duration_since(plan.at) > SignedDuration::from_mins(1);
        let late = seen.sent.get(key).is_some_and(|one| late(one));
        if at_once && late {
            return Err(format!("{key}: a critical opening was late: {decision:?}"));
        }
    }
    Ok(())
}

/// A digest is one message, however many runs of `release` there were. (A bundle may be two: a sender whose clock is behind defers into a
/// minute that was released already. And while a deployment is half done, what either release wrote is a message of its own.)
fn a_digest_is_one_message(world: &World) -> Checked {
    let mut digests: BTreeMap<(&str, &str, Channel, Timestamp), BTreeSet<u64>> = BTreeMap::new();
    let counts = |one: &&SentRecord| {
        // What a full list may not leave out is in a second one. A sender that died before its marks sends again.
        let digest = one.listed && one.held_for == Some(Reason::Digest) && !one.always_listed;
        let again = world.log.excused.contains_key(&one.key) || world.log.slowed.contains(&one.key.thread);
        digest && !again && is_released_in_time(world, &one.key)
    };
    for one in world.log.sent.iter().filter(counts) {
        let (Thread { tenant, destination, channel, .. }, Some(until)) = (&one.key.thread, one.held) else { continue };
        digests.entry((tenant.as_str(), destination.as_str(), *channel, until)).or_default().insert(one.message);
    }
    let most = if world.table.upgrading { 2 } else { 1 };
    match digests.iter().find(|(_, messages)| messages.len() > most) {
        Some((digest, messages)) => Err(format!("{} messages instead of one digest: {digest:?}", messages.len())),
        None => Ok(()),
    }
}

/// After an outage of any length, a contact receives at most four lists in a minute: a digest and a bundle of what the outage delayed, and a
/// digest and a bundle of the last two minutes.
fn an_outage_is_followed_by_few_messages(world: &World) -> Checked {
    let mut contacts: BTreeMap<(&str, &str, Channel, i64), BTreeSet<u64>> = BTreeMap::new();
    for one in in_time(world).filter(|one| one.listed) {
        let minute = one.at.as_second() / 60;
        let Thread { tenant, destination, channel, .. } = &one.key.thread;
        contacts.entry((tenant.as_str(), destination, *channel, minute)).or_default().insert(one.message);
    }
    match contacts.iter().find(|(_, messages)| messages.len() > 4) {
        Some((contact, messages)) => Err(format!("{} lists in one minute: {contact:?}", messages.len())),
        None => Ok(()),
    }
}

fn minute_start(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second().div_euclid(60) * 60).unwrap_or(at)
}
