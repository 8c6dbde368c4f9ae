//! What holds in every world.

use crate::table::{DeliveryKey, row_key};
use crate::world::World;
use domain::delivery::DeliveryState;
use domain::reason::Reason;
use domain::vocabulary::Severity;

/// Checks a world that ran to its end.
///
/// # Errors
/// What does not hold.
pub fn all(world: &World) -> Result<(), String> {
    nothing_is_left(world)?;
    every_delivery_ends_once(world)?;
    what_was_accepted_arrived(world)?;
    nothing_arrives_twice(world)?;
    nobody_sends_without_a_claim(world)?;
    org_admins_hear_of_critical_alerts_that_were_given_up(world)
}

/// Nothing waits for ever, and nothing was put aside.
fn nothing_is_left(world: &World) -> Result<(), String> {
    if let Some((number, queued)) = world.queue.messages.first_key_value() {
        return Err(format!("message {number} is still on the queue after {} receives", queued.receives));
    }
    if let Some(((_, key), _)) = world.table.due.first_key_value() {
        return Err(format!("{key} is still in the due index"));
    }
    match world.queue.dead.first() {
        Some((message, reason)) => {
            let key = message.members().first().map(|first| DeliveryKey::of(first).to_string());
            Err(format!("{} is a dead letter: {reason}", key.unwrap_or_default()))
        }
        None => Ok(()),
    }
}

/// Every delivery is accepted, or failed with a reason, or a newer update has its row.
fn every_delivery_ends_once(world: &World) -> Result<(), String> {
    for (key, delivery) in &world.load.deliveries {
        let ends = world.table.ends.get(key).map_or(0, Vec::len);
        let row = world.table.rows.get(&row_key(delivery));
        let superseded = row.is_some_and(|row| row.latest > key.update);
        if ends > 1 {
            return Err(format!("{key} ended {ends} times"));
        }
        if ends == 0 && !superseded {
            return Err(format!("{key} was lost: no end, and no newer update has its row ({row:?})"));
        }
        let over = |state| matches!(state, DeliveryState::Accepted | DeliveryState::Failed);
        if !row.is_some_and(|row| over(row.state) && row.done == row.latest) {
            return Err(format!("the row of {key} did not end: {row:?}"));
        }
    }
    Ok(())
}

/// What a row calls accepted has arrived, not later than that; what it calls failed has not, unless the answer was lost.
fn what_was_accepted_arrived(world: &World) -> Result<(), String> {
    for (key, ends) in &world.table.ends {
        let arrivals = world.receivers.inbox.get(key).map_or(&[][..], Vec::as_slice);
        let excused = world.excused.contains_key(key);
        for end in ends {
            match &end.outcome {
                // Clocks differ by up to three seconds.
                Ok(()) if !arrivals.iter().any(|arrival| arrival.at <= end.at + 3_000) => {
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
fn nothing_arrives_twice(world: &World) -> Result<(), String> {
    for (key, arrivals) in &world.receivers.inbox {
        let allowed = 1 + world.excused.get(key).copied().unwrap_or(0);
        if arrivals.len() > allowed {
            return Err(format!("{key} arrived {} times; {allowed} can be explained", arrivals.len()));
        }
    }
    Ok(())
}

fn nobody_sends_without_a_claim(world: &World) -> Result<(), String> {
    match world.unclaimed_sends.first().or(world.early.first()) {
        Some(finding) => Err(finding.clone()),
        None => Ok(()),
    }
}

fn org_admins_hear_of_critical_alerts_that_were_given_up(world: &World) -> Result<(), String> {
    for (key, ends) in &world.table.ends {
        let given_up = ends.iter().any(|end| end.outcome.is_err_and(|reason| reason != Reason::SupersededBy));
        let critical = world.load.deliveries.get(key).is_some_and(|one| one.alert.severity == Severity::Critical);
        let notice = format!("{}:{}:{}:{}", key.incident, key.destination, key.channel, key.update);
        if given_up && critical && !world.notices.contains(&notice) {
            return Err(format!("{key} was given up, and no org admin hears of it"));
        }
    }
    Ok(())
}
