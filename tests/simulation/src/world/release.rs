//! The effects of `release`.

use super::{Event, Fate, Invocation, POLICY, SenderState, Story, World};
use crate::queue::Body;
use crate::table::DeliveryKey;
use contracts::queue::Lane;
use domain::due::{DueItem, ScheduledDelivery};
use domain::ids::{DUE_SCHEDULES, DUE_SHARDS, Scope, shard_of};
use pipeline::deliver::Message;
use pipeline::release::facts::{PageFacts, subscription_category};
use pipeline::release::{ReadShards, Release, begin, is_batched};
use pipeline::route::EarlierPlans;
use std::collections::BTreeSet;

/// How long a run may last, in milliseconds.
const TIMEOUT: i64 = 30_000;

impl World {
    /// Lets the schedule fire at the beginning of the minute in which something is due.
    pub(super) fn schedule_minute(&mut self) {
        let Some(first) = self.table.due_entries().map(|due| due.at).min() else { return };
        let due = first.as_millisecond().div_euclid(60_000) * 60_000;
        let next = due.max((self.now / 60_000 + 1) * 60_000);
        let outage = self.scenario.outage.clone();
        let next = if outage.contains(&next.div_euclid(60_000)) { outage.end * 60_000 } else { next };
        if self.next_minute.is_none_or(|scheduled| scheduled > next || scheduled <= self.now) {
            self.next_minute = Some(next);
            self.schedule(next, Event::Minute);
        }
    }

    pub(super) fn release_minute(&mut self) {
        if self.next_minute != Some(self.now) {
            return;
        }
        self.next_minute = None;
        // The schedule invokes at least once.
        let copies = if !self.calm() && self.random.once_in(10) { 2 } else { 1 };
        for _ in 0..copies {
            let due = self.table.due.iter().filter(|(_, (due, _))| due.at.as_millisecond() < self.now + 60_000);
            let schedules: BTreeSet<u16> = due.map(|((shard, _), _)| shard % DUE_SCHEDULES).collect();
            for first in schedules {
                let turn = self.first_turn(TIMEOUT, 1, Lane::Bulk);
                let story = Story::Release(begin(ReadShards { first, written: DUE_SHARDS }, &turn));
                self.start(None, 1, story, turn, TIMEOUT, SenderState::default(), false);
            }
        }
    }

    pub(super) fn perform_release(&mut self, story: Release, invocation: &mut Invocation, fate: Fate) -> Release {
        let turn = &mut invocation.turn;
        let now_ms = turn.now.as_millisecond();
        match story {
            Release::Places(step) => {
                let places = self.table.due_places.get(&step.first()).cloned().unwrap_or_default();
                step.answered(fate.answer(places), turn)
            }
            Release::SavePlaces(step) => {
                if fate != Fate::Fails {
                    self.table.due_places.insert(step.first(), step.places().clone());
                }
                step.answered((), turn)
            }
            Release::Page(step) => {
                let page = self.table.due_page(step.shard(), step.now(), step.after());
                step.answered(fate.answer(page), turn)
            }
            Release::Lease(step) => {
                let until = now_ms + i64::try_from(turn.left.as_millis()).unwrap_or(0) + 1_000;
                let leased = fate != Fate::Fails && self.table.lease_lists(step.shard(), &turn.token, now_ms, until);
                if fate == Fate::Done && !leased {
                    self.coverage.count("release.lease: elsewhere");
                }
                step.answered(fate.answer(leased), turn)
            }
            Release::Facts(step) => {
                // What could not be read is missing.
                let facts = match fate {
                    Fate::Fails | Fate::AnswerLost => PageFacts::default(),
                    _ => self.page_facts(step.items()),
                };
                step.answered(&facts, &POLICY, turn)
            }
            Release::Queued(step) => {
                let held: Vec<ScheduledDelivery> = step.deliveries().map(|(due, _)| due.clone()).collect();
                let mut answers = Vec::new();
                for due in held {
                    let left_out = self.is_left_out(fate);
                    let marked = if left_out { Ok(()) } else { self.table.mark_queued(&due, now_ms) };
                    answers.push(fate.answer(marked));
                }
                step.answered(answers, &mut invocation.turn)
            }
            Release::Behind(step) => {
                let counted = step.lists().map(|(last, reason)| fate.answer(self.table.count_behind(last, reason)));
                let answers = counted.collect();
                step.answered(answers, turn)
            }
            Release::Reschedule(step) => {
                let mut answers = Vec::new();
                for later in step.later() {
                    if self.is_left_out(fate) {
                        answers.push(fate.answer(Ok(())));
                        continue;
                    }
                    let is_list = |due: &ScheduledDelivery| is_batched(&DueItem::new(due.clone(), 0, "", ""));
                    let again = is_list(later.replaced())
                        && is_list(&later.entry)
                        && later.entry.rebatched == later.replaced().rebatched;
                    let written = self.table.write_later(later, now_ms);
                    if again && written.is_ok() {
                        self.log.rebatched.push(later.entry.clone());
                    }
                    answers.push(fate.answer(written));
                }
                step.answered(answers, &mut invocation.turn)
            }
            Release::Enqueue(step) => {
                let mut enqueued = Vec::new();
                for queued in step.messages() {
                    let left_out = self.is_left_out(fate);
                    enqueued.push(!left_out && fate != Fate::AnswerLost);
                    let Some(first) = queued.message.members().first().filter(|_| !left_out) else { continue };
                    let version = self.version(&first.alert.tenant);
                    let delay = i64::from(queued.delay_seconds) * 1_000;
                    let message: Message = queued.message.clone();
                    if matches!(message, Message::List(_)) {
                        let members = message.members().iter().map(|member| (DeliveryKey::of(member), member.attempt));
                        invocation.listed.extend(members);
                    }
                    self.send(Body::Delivery { message, version }, Lane::Bulk, delay);
                }
                self.check_lists_of_one_run(invocation);
                step.answered(&enqueued, &mut invocation.turn)
            }
            Release::EndRows(step) => {
                let ended: Vec<_> = step.ended().map(|(due, ended)| (due.clone(), ended.clone())).collect();
                let mut answers = Vec::new();
                for (due, ended) in ended {
                    let left_out = self.is_left_out(fate);
                    let done = match left_out {
                        true => Ok(()),
                        false => self.table.end_unsent(&due, ended.reason, now_ms),
                    };
                    answers.push(fate.answer(done));
                }
                step.answered(answers, &mut invocation.turn)
            }
            Release::Delete(step) if self.scenario.faults && step.items().len() > 1 && !invocation.halfway => {
                // Somebody else may read the due index in between.
                invocation.halfway = true;
                let half = step.items().len() / 2;
                step.items()[..half].iter().for_each(|item| self.table.delete_due(item));
                Release::Delete(step)
            }
            Release::Delete(step) => {
                invocation.halfway = false;
                for item in step.items().to_vec() {
                    if !self.is_left_out(fate) {
                        self.table.delete_due(&item);
                    }
                }
                step.answered((), &mut invocation.turn)
            }
            Release::Unlease(step) => {
                if fate != Fate::Fails {
                    self.table.unlease_lists(step.shard(), &turn.token);
                }
                // It may take its time to end, and lists nothing of this shard any more.
                let is_in = |key: &DeliveryKey, shards| {
                    shard_of(&format!("{}#{}", key.thread.destination, key.thread.channel), shards) == step.shard()
                };
                invocation.listed.retain(|(key, _)| !is_in(key, DUE_SHARDS) && !is_in(key, DUE_SCHEDULES));
                step.answered((), turn)
            }
            Release::End(_) => story,
        }
    }

    /// What one run puts into a list, no other run does at the same time: two lists would be two messages.
    fn check_lists_of_one_run(&mut self, invocation: &Invocation) {
        let others = self.running.values().flat_map(|other| &other.listed);
        let twice = others.into_iter().find(|one| invocation.listed.contains(one));
        if let Some((key, _)) = twice {
            self.log.findings.push(format!("two runs put {key} into a list"));
        }
    }

    fn page_facts(&self, items: &[DueItem]) -> PageFacts {
        let mut facts = PageFacts::default();
        for DueItem { due, .. } in items {
            let (tenant, id) = (due.tenant.clone(), due.incident_id.clone());
            let subscriber = self.table.tenant(&tenant);
            let record = self.table.incidents.get(&id);
            let update = record.and_then(|record| record.updates.iter().find(|update| update.number == due.update));
            let destinations = subscriber.into_iter().flat_map(|one| one.destinations.iter());
            let destination = destinations.map(|(_, one)| one).find(|one| one.id() == due.destination);
            if let Some(record) = record {
                let category = subscription_category(&record.incident);
                facts.subscribers.insert((tenant.clone(), category), subscriber.cloned());
                facts.suppressed_incidents.insert(id.clone(), record.suppressed.clone());
            }
            facts.settings.insert(tenant.clone(), subscriber.map(|one| one.settings.clone()));
            facts.incidents.insert(id.clone(), record.map(|record| record.incident.clone()));
            facts.updates.insert((id.clone(), due.update), update.cloned());
            facts.destinations.insert((tenant.clone(), due.destination.clone()), destination.cloned());
            let plans = self.table.plan_history(&id, &tenant, EarlierPlans::All);
            facts.plans.insert((id.clone(), tenant.clone()), plans);
            facts.windows.insert(tenant.clone(), self.table.maintenance_windows(&Scope::Tenant(tenant)));
        }
        facts
    }
}
