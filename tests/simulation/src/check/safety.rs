//! What holds whatever fails.

use super::wall_clock::RESTRICTED_SMS_KINDS;
use super::{Checked, Seen, is_skip};
use crate::queue::Body;
use crate::table::{DeliveryKey, Thread};
use crate::world::{POLICY, World};
use domain::classification::Classification;
use domain::delivery::DeliveryState;
use domain::reason::Reason;
use domain::vocabulary::{Channel, Status};
use pipeline::route::EarlierPlans;
use std::collections::BTreeMap;

/// Clocks differ by up to so many milliseconds.
const CLOCKS_DIFFER: i64 = 3_000;

pub(super) fn all(world: &World, seen: &Seen<'_>) -> Checked {
    nothing_is_left(world)?;
    every_event_is_recorded(world)?;
    the_latest_report_of_a_monitor_stands(world)?;
    every_update_is_planned(world)?;
    every_decision_ends_once(world, seen)?;
    what_was_accepted_arrived(world)?;
    nothing_arrives_twice(world)?;
    nothing_forbidden_happened(world)?;
    org_admins_are_notified_of_critical_alerts_that_were_given_up(world)
}

/// Nothing waits for ever, and nothing was put aside.
fn nothing_is_left(world: &World) -> Checked {
    if let Some((number, queued)) = world.queues.messages.first_key_value() {
        return Err(format!("message {number} is still on its queue after {} receives", queued.receives));
    }
    for due in world.table.due_entries() {
        // If quiet hours cover the whole regulatory SMS window, there is no time at which the message may be sent.
        let kind = world.table.incidents.get(&due.incident_id).map(|record| record.incident.kind);
        let restricted = kind.is_some_and(|kind| RESTRICTED_SMS_KINDS.contains(&kind));
        if due.channel != Channel::Sms || !restricted || due.at <= world.now() {
            return Err(format!("{} is still in the due index, for {}", DeliveryKey::of_due(due), due.at));
        }
    }
    match world.queues.dead.first() {
        Some((body, reason)) => {
            let about = match body {
                Body::Received(message) => format!("event {}", message.event_id),
                Body::Routing(job) => format!("routing of {}#{}", job.incident_id, job.update),
                Body::Delivery { message, .. } => {
                    message.members().first().map(|first| DeliveryKey::of(first).to_string()).unwrap_or_default()
                }
                Body::Confirmation { request, .. } => format!("question {}", request.correlation_id),
                Body::Report { text, .. } => format!("report {text}"),
            };
            Err(format!("{about} is a dead letter: {reason}"))
        }
        None => Ok(()),
    }
}

/// Every event that intake accepted is recorded, and every incident has its updates without a gap.
fn every_event_is_recorded(world: &World) -> Checked {
    let missing = world.log.accepted.iter().find(|place| !world.table.records.contains_key(place));
    if let Some((event, _)) = missing {
        return Err(format!("event {event} was accepted and never recorded"));
    }
    for record in world.table.incidents.values() {
        let numbers: Vec<u32> = record.updates.iter().map(|update| update.number).collect();
        let wanted: Vec<u32> = (1..=u32::try_from(numbers.len()).unwrap_or(0)).collect();
        if numbers != wanted {
            return Err(format!("the updates of {} are {numbers:?}", record.incident.id));
        }
    }
    Ok(())
}

/// Of a key that a monitor reports an incident is open if its latest report says so, however often it said so before.
fn the_latest_report_of_a_monitor_stands(world: &World) -> Checked {
    for (key, event) in world.log.reports.iter().filter_map(|(key, event)| Some((key, event.as_ref()?))) {
        let open = world.table.open_incident(key);
        let resolved = event.status == Some(Status::Resolved);
        let included = matches!(POLICY.classify(event), Classification::Included(_));
        if resolved && open.is_some() {
            return Err(format!("{key} is open, although its monitor resolved it: {open:?}"));
        }
        if !resolved && included && open.is_none() {
            return Err(format!("{key} has no open incident, although its monitor reports one: {event:?}"));
        }
    }
    Ok(())
}

/// Every update is planned for every tenant that it concerns.
fn every_update_is_planned(world: &World) -> Checked {
    for record in world.table.incidents.values() {
        let incident = &record.incident;
        for subscriber in &world.table.tenants {
            let tenant = &subscriber.settings.tenant;
            let concerns = match &incident.scope {
                domain::ids::Scope::Platform => true,
                domain::ids::Scope::Tenant(one) => one == tenant,
            };
            if !concerns {
                continue;
            }
            let plans = world.table.plans(&incident.id, tenant, EarlierPlans::All);
            let missing = record.updates.iter().find(|update| !plans.iter().any(|plan| plan.update == update.number));
            if let Some(update) = missing {
                return Err(format!("update {} of {} was never planned for {tenant}", update.number, incident.id));
            }
        }
    }
    Ok(())
}

/// Every decision to deliver ends exactly once: accepted, ended with a reason, or superseded by a newer update, which ended or waits.
fn every_decision_ends_once(world: &World, seen: &Seen<'_>) -> Checked {
    let mut newest: BTreeMap<Thread, u32> = BTreeMap::new();
    let waiting = world.table.due_entries().map(DeliveryKey::of_due);
    for DeliveryKey { thread, update } in world.table.ends.keys().cloned().chain(waiting) {
        let highest = newest.entry(thread).or_default();
        *highest = (*highest).max(update);
    }
    for (key, (plan, decision)) in &seen.decisions {
        let ends = world.table.ends.get(key).map_or(0, Vec::len);
        if ends > 1 {
            return Err(format!("{key} ended {ends} times"));
        }
        if is_skip(decision) {
            if ends > 0 {
                return Err(format!("{key} was skipped and ended nevertheless: {decision:?}"));
            }
            continue;
        }
        let superseded = key.thread.channel != Channel::Webhook
            && newest.get(&key.thread).is_some_and(|newest| *newest > key.update);
        let waits = || world.table.due_entries().any(|due| DeliveryKey::of_due(due) == *key);
        if ends == 0 && !superseded && !waits() {
            return Err(format!("{key} was lost: it was planned at {} and never ended: {decision:?}", plan.at));
        }
    }
    let unplanned = world.table.ends.keys().find(|key| !seen.decisions.contains_key(key));
    if let Some(key) = unplanned {
        return Err(format!("{key} ended, and no plan has it"));
    }
    let over = |state| matches!(state, DeliveryState::Accepted | DeliveryState::Failed);
    let open = world.table.rows.iter().find(|(_, row)| !over(row.state) || row.done != row.latest);
    let excused =
        |incident: &domain::ids::IncidentId| world.table.due_entries().any(|due| due.incident_id == *incident);
    match open {
        Some(((tenant, incident, row), state)) if !excused(incident) => {
            Err(format!("the row {tenant}/{incident}/{row} did not end: {state:?}"))
        }
        _ => Ok(()),
    }
}

/// What a row calls accepted has arrived, not later than that; what it calls failed has not, unless the answer was lost.
fn what_was_accepted_arrived(world: &World) -> Checked {
    for (key, ends) in &world.table.ends {
        let arrivals = world.receivers.inbox.get(key).map_or(&[][..], Vec::as_slice);
        let excused = world.log.excused.contains_key(key);
        for end in ends {
            match &end.outcome {
                Ok(()) if !arrivals.iter().any(|arrival| arrival.at <= end.at + CLOCKS_DIFFER) => {
                    return Err(format!("{key} is marked as accepted and never arrived"));
                }
                Err(reason) if !arrivals.is_empty() && !excused => {
                    return Err(format!("{key} arrived and is marked as {}", reason.as_str()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A message arrives twice only where a function died between its send and its mark, or the receiver's answer was lost.
fn nothing_arrives_twice(world: &World) -> Checked {
    for (key, arrivals) in &world.receivers.inbox {
        let allowed = 1 + world.log.excused.get(key).copied().unwrap_or(0);
        if arrivals.len() > allowed {
            return Err(format!("{key} arrived {} times; {allowed} can be explained", arrivals.len()));
        }
    }
    Ok(())
}

fn nothing_forbidden_happened(world: &World) -> Checked {
    world.log.findings.first().map_or(Ok(()), |finding| Err(finding.clone()))
}

fn org_admins_are_notified_of_critical_alerts_that_were_given_up(world: &World) -> Checked {
    for (key, ends) in &world.table.ends {
        let given_up =
            ends.iter().any(|end| end.by_sender && end.outcome.is_err_and(|reason| reason != Reason::SupersededBy));
        let Thread { incident, destination, channel, .. } = &key.thread;
        let notice = format!("{incident}:{destination}:{channel}:{}", key.update);
        if given_up && world.log.critical.contains(key) && !world.log.notices.contains(&notice) {
            return Err(format!("{key} was given up, and no org admin is notified"));
        }
    }
    Ok(())
}
