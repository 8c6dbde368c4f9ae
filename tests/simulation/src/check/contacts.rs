//! What holds about contacts, whatever providers report, and whenever.

use super::{Checked, Seen, is_skip};
use crate::world::{
    HandledReport, POLICY, QuestionRecord, RefusalRecord, SKEW_MAX, Spell, World, current_contact, timestamp,
};
use contracts::queue::Question;
use domain::contact::CONFIRMATION_INTERVAL_MIN;
use domain::ids::{RecipientId, Scope};
use domain::reason::Reason;
use domain::suppression::{RESUBSCRIPTION_INTERVAL, RESUBSCRIPTIONS_MAX};
use domain::vocabulary::Channel;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// A message whose id was noted so soon after its report came, in milliseconds, is found: it is looked up for a minute.
const LOOKED_UP_MS: i64 = 55_000;
/// A day, in seconds.
const DAY: i64 = 86_400;

pub(super) fn all(world: &World, seen: &Seen<'_>) -> Checked {
    reports_are_recorded_on_their_rows(world)?;
    rows_say_only_what_was_reported(world)?;
    no_report_is_ignored_whose_message_is_known_soon(world)?;
    nothing_is_planned_for_a_marked_contact(world, seen)?;
    whoever_refuses_messages_is_marked(world)?;
    org_admins_are_notified_of_every_marked_contact(world)?;
    questions_arrive_or_their_refusal_is_recorded(world)?;
    questions_are_not_asked_too_often(world)
}

/// A report that was handled is on each row that its message was for, or a graver one is.
fn reports_are_recorded_on_their_rows(world: &World) -> Checked {
    for HandledReport { facts, rows, .. } in &world.log.handled {
        for (place, update) in rows {
            let Some(row) = world.table.rows.get(place) else {
                return Err(format!("the row {place:?} of message {} is gone", facts.id));
            };
            let recorded = |one: &domain::delivery::ProviderFeedback| {
                one.update == *update && one.kind.rank() >= facts.kind.rank()
            };
            if row.latest == *update && !row.feedback.as_ref().is_some_and(recorded) {
                return Err(format!("{facts:?} is not recorded on {place:?}#{update}: {:?}", row.feedback));
            }
        }
    }
    Ok(())
}

/// What a row says of its newest update was reported about a message that it was in.
fn rows_say_only_what_was_reported(world: &World) -> Checked {
    for (place, row) in &world.table.rows {
        let Some(feedback) = &row.feedback else { continue };
        let about = world.log.recorded.iter().filter(|one| one.rows.contains(&(place.clone(), feedback.update)));
        if !about.clone().any(|one| one.facts.kind == feedback.kind) {
            return Err(format!("{place:?} says {feedback:?}, which nobody reported"));
        }
    }
    Ok(())
}

/// SES may report a message before its id is noted. Then it is looked up again.
fn no_report_is_ignored_whose_message_is_known_soon(world: &World) -> Checked {
    for HandledReport { facts, first_at, known, .. } in &world.log.handled {
        let named = world.table.contacts.messages.get(&(facts.channel, facts.id.clone())).map(|(at, _)| *at);
        if let Some(named) = named.filter(|named| !known && *named <= first_at + LOOKED_UP_MS) {
            let (named, came) = (timestamp(named), timestamp(*first_at));
            return Err(format!("{facts:?} was ignored: it came at {came}, and its message was known at {named}"));
        }
    }
    Ok(())
}

/// Once a recipient is marked, nothing is planned for its contact.
fn nothing_is_planned_for_a_marked_contact(world: &World, seen: &Seen<'_>) -> Checked {
    let planned = seen.decisions.iter().filter(|(_, (_, decision))| !is_skip(decision));
    for (key, (plan, decision)) in planned {
        let marked = |one: &&Spell| {
            let at = plan.at.as_millisecond();
            (one.tenant == key.thread.tenant && one.recipient.as_str() == key.thread.destination)
                && one.channel == key.thread.channel
                && one.from + 2 * SKEW_MAX < at
                && one.until.is_none_or(|until| at < until)
        };
        // A plan that came late was decided with what was read before.
        let disturbed = world.log.disturbed_plans.contains(&(key.thread.incident.clone(), key.thread.tenant.clone()));
        if let Some(spell) = world.log.spells.iter().find(marked).filter(|_| !disturbed) {
            return Err(format!("{key} was planned at {}, although: {spell:?} {decision:?}", plan.at));
        }
    }
    Ok(())
}

/// A contact that a sender could not write to is marked at its recipient, so that the next plan knows, unless it was allowed or replaced since.
fn whoever_refuses_messages_is_marked(world: &World) -> Checked {
    for RefusalRecord { key, contact, at } in &world.log.refusals {
        let thread = &key.thread;
        let id = RecipientId::parse(&thread.destination);
        let Some(recipient) = id.and_then(|id| world.table.recipient(&thread.tenant, &id)) else { continue };
        let marked = match thread.channel {
            Channel::Sms => recipient.sms_opted_out.is_some(),
            _ => recipient.suppressed.is_some(),
        };
        let current = current_contact(recipient, thread.channel).as_ref() == Some(contact);
        let place = (thread.tenant.clone(), recipient.id.clone(), thread.channel);
        let replaced = world.log.replaced.get(&place).is_some_and(|replaced| replaced >= at);
        let allowed = world.log.lifted.get(contact).is_some_and(|lifted| lifted >= at);
        if current && !marked && !replaced && !allowed {
            return Err(format!("{key} met {contact}, which refuses messages, and its recipient is not marked"));
        }
    }
    Ok(())
}

/// Whenever a provider's report marks a contact, the org admins are notified, as an incident of their tenant: also if a function died before the
/// mark, and also of the second bounce after the owner allowed e-mail again.
fn org_admins_are_notified_of_every_marked_contact(world: &World) -> Checked {
    for (place, spell) in world.log.spells.iter().enumerate() {
        // The page on which an owner wants nothing more notifies after the mark, and only logs a failure.
        if spell.reason == Reason::SuppressedByOwner {
            continue;
        }
        let same = |one: &&Spell| {
            (&one.tenant, &one.recipient, one.channel) == (&spell.tenant, &spell.recipient, spell.channel)
        };
        let before = world.log.spells[..place].iter().rfind(same).and_then(|one| one.until).unwrap_or(i64::MIN);
        let sent = world.log.suppression_notices.iter().filter(|one| {
            (&one.tenant, one.recipient.as_str()) == (&spell.tenant, spell.recipient.as_str())
                && (before..=spell.from).contains(&one.at)
        });
        let notified = |event: &domain::ids::EventId| {
            let record = world.table.records.get(&(event.clone(), Some(Scope::Tenant(spell.tenant.clone()))));
            record.is_some_and(|record| {
                record.update.is_some() && record.accepted_at.as_millisecond() >= before.saturating_sub(2 * SKEW_MAX)
            })
        };
        let events: Vec<_> = sent.map(|one| &one.event).collect();
        if !events.iter().any(|event| notified(event)) {
            return Err(format!("no org admin is notified of {spell:?}; sent: {events:?}"));
        }
    }
    Ok(())
}

/// A question is not lost silently, and arrives twice only where nobody learned of the first time.
fn questions_arrive_or_their_refusal_is_recorded(world: &World) -> Checked {
    for (id, question) in &world.log.questions {
        if question.arrivals == 0 && !question.refused {
            return Err(format!("question {id} was lost: {question:?}"));
        }
        if question.arrivals > 1 + question.excused {
            return Err(format!("question {id} arrived {} times: {question:?}", question.arrivals));
        }
    }
    Ok(())
}

/// Nobody is asked more often than the limits allow, by whomever.
fn questions_are_not_asked_too_often(world: &World) -> Checked {
    let limits = &POLICY.limits.confirmations;
    let mut contacts: BTreeMap<&str, Vec<&QuestionRecord>> = BTreeMap::new();
    for question in world.log.questions.values() {
        contacts.entry(&question.contact).or_default().push(question);
    }
    for (contact, mut asked) in contacts {
        asked.sort_by_key(|one| one.at);
        let within = |since: Timestamp, all: &[&QuestionRecord], seconds: i64| {
            let after = |one: &&&QuestionRecord| one.at.duration_since(since) < SignedDuration::from_secs(seconds);
            all.iter().filter(after).count()
        };
        for (place, first) in asked.iter().enumerate() {
            let later = &asked[place..];
            let own: Vec<&QuestionRecord> = later.iter().filter(|one| one.tenant == first.tenant).copied().collect();
            let many = within(first.at, later, DAY);
            let by_one = within(first.at, &own, DAY);
            let at_once = within(first.at, later, CONFIRMATION_INTERVAL_MIN.as_secs());
            let most = |limit: u32| usize::try_from(limit).unwrap_or(0);
            if many > most(limits.contact) || by_one > most(limits.contact_by_one_tenant) || at_once > 1 {
                return Err(format!("{contact} was asked {many} times within a day, {by_one} by {}", first.tenant));
            }
        }
        // The item of a suppression counts, and goes when its owner allows mail again.
        let again = asked.iter().filter(|one| one.question == Question::AllowAgain);
        let again: Vec<&QuestionRecord> = again.copied().collect();
        let soon = again.windows(2).find(|two| {
            two[1].at.duration_since(two[0].at) < RESUBSCRIPTION_INTERVAL && !world.log.lifted.contains_key(contact)
        });
        if soon.is_some() || again.len() > RESUBSCRIPTIONS_MAX && !world.log.lifted.contains_key(contact) {
            return Err(format!("{contact} was asked {} times whether mail is welcome again", again.len()));
        }
    }
    Ok(())
}
