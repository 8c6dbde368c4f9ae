//! What is true of every world that has come to its end. Hours are read off the wall clock here, and not asked of the rules.

use super::{Ended, Name, POLICY, Sent, World};
use contracts::queue::{Delivery, Target};
use domain::ids::TenantId;
use domain::incident::Change;
use domain::plan::{Decision, Outcome};
use domain::quiet::{OwnQuietHours, QuietHours};
use domain::reason::Reason;
use domain::storm::Exempt;
use domain::tenant::{Destination, Settings};
use domain::vocabulary::{Channel, Day, Kind, Severity};
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::collections::{BTreeMap, BTreeSet};
use store::due::Due;
use store::plans::StoredPlan;

/// What text messages to India wait for the day with.
const LIMITED: &[Kind] = &[Kind::Advisory, Kind::Maintenance, Kind::OptIn];

/// Destination, channel and incident.
type Thread<'a> = (&'a str, Channel, &'a str);

type Checked = Result<(), TestCaseError>;

/// What nobody gets round: there is nowhere to send to, or its owner's own no.
const UNREACHABLE: &[Reason] = &[
    Reason::NoDestination,
    Reason::OptedOut,
    Reason::IncidentStopped,
    Reason::IntegrationPaused,
    Reason::EndpointDisabled,
    Reason::SameDestinationAs,
];

/// Every decision with its name and its plan.
fn decisions(world: &World) -> impl Iterator<Item = (Name, &StoredPlan, &Decision)> {
    world.known.iter().flat_map(|((incident, tenant), known)| {
        known.plans.iter().flat_map(move |plan| {
            plan.decisions.iter().map(move |one| {
                let name = (tenant.clone(), one.destination.clone(), one.channel, incident.clone(), one.update);
                (name, plan, one)
            })
        })
    })
}

fn sent(world: &World) -> BTreeMap<&Name, &Sent> {
    world.sent.iter().map(|sent| (&sent.name, sent)).collect()
}

fn ended(world: &World) -> BTreeMap<&Name, &Ended> {
    world.ended.iter().map(|ended| (&ended.name, ended)).collect()
}

fn is_of(due: &Due, name: &Name) -> bool {
    due.tenant == name.0
        && (due.destination.as_str(), due.channel, &due.incident_id) == (name.1.as_str(), name.2, &name.3)
        && due.update == name.4
}

fn is_skip(decision: &Decision) -> bool {
    matches!(decision.outcome, Outcome::Skip { .. })
}

/// The earlier updates of the same thread.
fn lower(name: &Name) -> impl Iterator<Item = Name> {
    let (tenant, destination, channel, incident, update) = name.clone();
    (1..update).map(move |number| (tenant.clone(), destination.clone(), channel, incident.clone(), number))
}

/// One destination gets one update once, whatever dies and whatever comes twice; so nothing is in two digests either.
pub(super) fn nothing_is_sent_twice(world: &World) -> Checked {
    let mut seen = BTreeSet::new();
    for sent in &world.sent {
        prop_assert!(seen.insert(&sent.name), "twice: {sent:?}");
    }
    Ok(())
}

/// Nothing that was decided is left without an end, and nothing has two.
pub(super) fn nothing_vanishes(world: &World) -> Checked {
    for due in world.due.values() {
        // Where somebody is quiet whenever the law lets a text message be sent, there is no moment for it.
        let kind = world.stories[&due.incident_id].incident.kind;
        let excluded = due.channel == Channel::Sms && LIMITED.contains(&kind) && due.at > world.now;
        prop_assert!(excluded, "waits for ever: {due:?}");
    }
    let (sent, ended) = (sent(world), ended(world));
    prop_assert_eq!(ended.len(), world.ended.len(), "something ended twice");
    let newest: BTreeMap<(&str, Channel, &str, &str), u32> =
        world.sent.iter().map(|sent| &sent.name).chain(world.ended.iter().map(|ended| &ended.name)).fold(
            BTreeMap::new(),
            |mut newest, (tenant, destination, channel, incident, update)| {
                let whose = (destination.as_str(), *channel, incident.as_str(), tenant.as_str());
                let known: &mut u32 = newest.entry(whose).or_default();
                *known = (*known).max(*update);
                newest
            },
        );
    for (name, plan, decision) in decisions(world) {
        let ways = (sent.contains_key(&name), ended.get(&name).map(|ended| ended.reason));
        if is_skip(decision) {
            prop_assert_eq!(ways, (false, None), "skipped, and yet: {:?}", decision);
            continue;
        }
        let whose = (name.1.as_str(), name.2, name.3.as_str(), name.0.as_str());
        // The thread of a person or a room belongs to its newest update.
        let superseded = name.2 != Channel::Webhook && newest.get(&whose).is_some_and(|newest| *newest > name.4);
        let waits = world.due.values().any(|due| is_of(due, &name));
        prop_assert!(ways.0 || ways.1.is_some() || superseded || waits, "vanished: {decision:?} of {}", plan.at);
        prop_assert!(!(ways.0 && ways.1.is_some()), "sent and ended: {decision:?} {ways:?}");
    }
    Ok(())
}

/// What was held comes when its time has come, and is not handed from one collection to the next.
pub(super) fn nothing_comes_before_its_time(world: &World) -> Checked {
    for one in &world.sent {
        prop_assert!(one.held.is_none_or(|until| until <= one.at), "early: {one:?}");
    }
    prop_assert!(world.again.is_empty(), "collected once more: {:?}", world.again);
    Ok(())
}

/// People and rooms get no word that waited once a newer one is on its way or waits as well.
pub(super) fn the_newest_is_enough(world: &World) -> Checked {
    let mut planned: BTreeMap<Thread<'_>, Vec<(u32, Timestamp)>> = BTreeMap::new();
    for (name, plan, decision) in decisions(world).filter(|(.., decision)| !is_skip(decision)) {
        let whose = (decision.destination.as_str(), name.2, world.stories[&name.3].incident.id.as_str());
        planned.entry(whose).or_default().push((name.4, plan.at));
    }
    // What failed is tried again until a newer word is sent: that may wait for the morning, and this may not.
    let waited = |one: &&Sent| one.held.is_some() && !world.failed.contains(&one.name);
    for one in world.sent.iter().filter(waited).filter(|one| one.name.2 != Channel::Webhook) {
        let whose = (one.name.1.as_str(), one.name.2, one.name.3.as_str());
        // It was handed out at the beginning of its minute.
        let minute = super::begin_of(super::minute(one.at));
        let newer = planned.get(&whose).into_iter().flatten().any(|(update, at)| *update > one.name.4 && *at < minute);
        prop_assert!(!newer, "an old word beside a new one: {one:?}");
    }
    Ok(())
}

/// Whoever was sent anything of an incident that is over is sent its end, or has a reason that nobody gets round; whoever was not is sent
/// the end only in place of an open that waited. What a storm's message only counted is told.
pub(super) fn whoever_is_told_of_the_open_is_told_of_the_end(world: &World) -> Checked {
    let (sent, ended) = (sent(world), ended(world));
    let all: BTreeMap<Name, &Decision> = decisions(world).map(|(name, _, decision)| (name, decision)).collect();
    for (name, plan, decision) in decisions(world) {
        let story = &world.stories[&name.3];
        let resolves =
            |update: u32| story.updates.iter().any(|one| one.number == update && one.change == Change::Resolved);
        if !resolves(name.4) {
            continue;
        }
        let collapsed = |name: &Name| ended.get(name).is_some_and(|ended| ended.reason == Reason::StormCollapsed);
        let told = lower(&name).any(|name| sent.contains_key(&name) || collapsed(&name));
        let reason = match &decision.outcome {
            Outcome::Skip { reason, .. } => Some(*reason),
            _ => ended.get(&name).map(|ended| ended.reason),
        };
        if told {
            let waits = world.due.values().any(|due| is_of(due, &name));
            let excused = reason.is_some_and(|reason| UNREACHABLE.contains(&reason)) || collapsed(&name) || waits;
            prop_assert!(sent.contains_key(&name) || excused, "told of the open only: {decision:?} {reason:?}");
        } else if sent.contains_key(&name) {
            let waited = |name: &Name| {
                all.get(name).is_some_and(|decision| !is_skip(decision))
                    && ended.get(name).is_none_or(|ended| ended.reason == Reason::SupersededBy)
            };
            prop_assert!(
                name.2 != Channel::Webhook && lower(&name).any(|name| waited(&name)),
                "told of an end without a beginning: {decision:?}"
            );
        }
        // Whoever has the open is told of the end at any hour.
        let had = lower(&name).any(|name| sent.get(&name).is_some_and(|sent| sent.at < plan.at));
        let asleep = matches!(decision.outcome, Outcome::Hold { reason: Reason::QuietHours, .. });
        prop_assert!(!(had && asleep), "the end waits, although the open was told: {decision:?}");
    }
    Ok(())
}

/// Nothing that does not pass comes in quiet hours but the end of what its reader has, or would have had when an outage kept it back.
pub(super) fn nobody_is_disturbed(world: &World) -> Checked {
    let (sent, ended) = (sent(world), ended(world));
    let missed = |name: &Name| {
        let known = world.known.get(&(name.3.clone(), name.0.clone()));
        let standing = known.and_then(|known| known.standing(&name.1, name.2, name.4));
        let until = |decision: &Decision| match decision.outcome {
            Outcome::Hold { until, .. } => Some(super::minute(until)),
            _ => None,
        };
        standing.and_then(until).is_some_and(|until| world.outage.contains(&until))
    };
    for one in world.sent.iter().filter(|one| one.quiet.is_some()) {
        let has = |name: Name| {
            sent.get(&name).is_some_and(|before| before.at < one.at)
                || ended.get(&name).is_some_and(|ended| ended.reason == Reason::StormCollapsed)
                || missed(&name)
                // Nobody knows whether what failed came after all.
                || world.failed.contains(&name)
        };
        prop_assert!(one.change == Change::Resolved && lower(&one.name).any(has), "in quiet hours: {one:?}");
    }
    Ok(())
}

/// A machine gets every update that it is due, one after the other.
pub(super) fn webhooks_get_everything_in_order(world: &World) -> Checked {
    let sent = sent(world);
    let ended = ended(world);
    let mut last: BTreeMap<(&str, &str), (Timestamp, u32)> = BTreeMap::new();
    for one in world.sent.iter().filter(|one| one.name.2 == Channel::Webhook) {
        let before = last.insert((one.name.1.as_str(), one.name.3.as_str()), (one.at, one.name.4));
        prop_assert!(before.is_none_or(|(_, update)| update < one.name.4), "out of order: {one:?} after {before:?}");
    }
    for (name, _, decision) in decisions(world).filter(|(name, ..)| name.2 == Channel::Webhook) {
        let reason = ended.get(&name).map(|ended| ended.reason);
        let superseded = reason == Some(Reason::SupersededBy)
            || matches!(decision.outcome, Outcome::Skip { reason: Reason::SupersededBy, .. });
        prop_assert!(!superseded, "a webhook gets every update: {decision:?}");
        prop_assert!(is_skip(decision) || sent.contains_key(&name) || reason.is_some(), "not sent: {decision:?}");
    }
    Ok(())
}

/// No window of a contact has more messages that asked for room, or for which room was kept, than it may. What comes together at a time of
/// its own (a digest, what the tenant's ceiling or a flapping key held) asks no contact and is one message beside them.
pub(super) fn contacts_are_spared(world: &World) -> Checked {
    let mut messages: BTreeMap<(&str, Channel), BTreeMap<usize, Timestamp>> = BTreeMap::new();
    for one in world.sent.iter().filter(|one| one.counts) {
        let Some(contact) = &one.contact else { continue };
        messages.entry((contact, one.name.2)).or_default().insert(one.message, one.at);
    }
    for ((contact, channel), messages) in &messages {
        let Some(windows) = POLICY.storms.contacts.get(&channel.class()) else { continue };
        for window in windows {
            for end in messages.values() {
                // By the clock's minutes.
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

/// A storm of others does not keep back what may go at once, and what is critical is never collected.
pub(super) fn the_critical_is_told_at_once(world: &World) -> Checked {
    let most = usize::try_from(POLICY.storms.exempt_per_minute).unwrap();
    for one in world.put_off.iter().filter(|one| one.exempt.is_some()) {
        prop_assert!(one.exempt_before >= most, "waits for others: {one:?}");
        let waits = one.until.duration_since(one.at);
        let soon = waits <= SignedDuration::from_mins(1) || one.exempt == Some(Exempt::End);
        prop_assert!(soon, "waits longer than for the next minute: {one:?}");
    }
    let put_off: BTreeSet<&Name> = world.put_off.iter().map(|one| &one.name).collect();
    let sent = sent(world);
    for (name, plan, decision) in decisions(world) {
        let update = world.stories[&name.3].updates.iter().find(|update| update.number == name.4).unwrap();
        let first = matches!(update.change, Change::Opened | Change::SeverityRaised);
        if update.severity != Severity::Critical || !first {
            continue;
        }
        let collected = matches!(decision.outcome, Outcome::Hold { reason: Reason::Throttled, .. });
        prop_assert!(!collected, "collected: {decision:?}");
        let first = !put_off.contains(&name) && !world.failed.contains(&name);
        let now = matches!(decision.outcome, Outcome::Deliver { .. }) && first;
        let late = sent.get(&name).is_some_and(|one| one.at.duration_since(plan.at) > SignedDuration::from_mins(1));
        prop_assert!(!(now && late), "late: {decision:?}");
    }
    Ok(())
}

/// However many minutes were missed, what they held comes in a few messages: what waited too long together, beside that of the last two
/// minutes; a digest and what was too much each for itself.
pub(super) fn catching_up_is_no_stampede(world: &World) -> Checked {
    let mut messages: BTreeMap<(&TenantId, &str, Channel, i64), BTreeSet<usize>> = BTreeMap::new();
    for one in world.sent.iter().filter(|one| one.together) {
        let whose = (&one.name.0, one.name.1.as_str(), one.name.2, one.at.as_second() / 60);
        messages.entry(whose).or_default().insert(one.message);
    }
    for (whose, messages) in &messages {
        prop_assert!(messages.len() <= 4, "{} messages of what comes together: {whose:?}", messages.len());
    }
    Ok(())
}

/// No text message comes at an hour at which its country forbids it.
pub(super) fn the_law_is_kept(world: &World) -> Checked {
    for one in &world.sent {
        prop_assert!(!one.unlawful, "forbidden at this hour: {one:?}");
    }
    Ok(())
}

/// Since when it is quiet where a delivery goes, if it is and the delivery does not pass.
pub(super) fn quiet(settings: &Settings, to: &Destination, delivery: &Delivery, now: Timestamp) -> Option<Timestamp> {
    if delivery.channel == Channel::Webhook || !POLICY.plans.get(&settings.plan)?.quiet_hours {
        return None;
    }
    let own = match to {
        Destination::Recipient(one) => one.quiet_hours.as_ref().map(|own| (own, one.zone.as_ref())),
        Destination::Integration(_) => None,
    };
    let (hours, zone) = match own {
        Some((OwnQuietHours::Off, _)) => return None,
        Some((OwnQuietHours::Hours(hours), zone)) => (hours, zone.unwrap_or(&settings.zone)),
        None => (settings.quiet_hours.as_ref()?, &settings.zone),
    };
    let passes = delivery.alert.severity == Severity::Critical && hours.critical_passes;
    if passes { None } else { within(hours, hours.zone.as_ref().unwrap_or(zone), now) }
}

/// When the hours began that the wall clock is in. Within an hour of a change the wall clock is no witness: what it shows comes
/// twice, or is left out.
fn within(hours: &QuietHours, zone: &str, now: Timestamp) -> Option<Timestamp> {
    let zone = TimeZone::get(zone).unwrap();
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

/// Whether this is a text message to India that is no alert, outside of 10:00 to 21:00 there.
pub(super) fn unlawful(settings: &Settings, delivery: &Delivery, now: Timestamp) -> bool {
    let Target::Sms { phone, .. } = &delivery.target else { return false };
    let number = phone.expose();
    let india = number.starts_with("+91")
        || (!number.starts_with("+1") && settings.compliance.country.as_deref() == Some("IN"));
    let time = now.to_zoned_datetime(TimeZone::get("Asia/Kolkata").unwrap()).time();
    let open = Time::constant(10, 0, 0, 0) <= time && time < Time::constant(21, 0, 0, 0);
    india && LIMITED.contains(&delivery.alert.kind) && !open
}
