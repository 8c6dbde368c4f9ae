//! Runs the story of `release` on the world. The function may die between any two effects.

use super::*;
use domain::delivery::{RowRefusal, RowWrite};
use domain::due::{DueItem, DuePage};
use pipeline::deliver::Message;
use pipeline::release::facts::{PageFacts, subscription_category};
use pipeline::release::page::{Later, LaterWrite};
use pipeline::release::{Release as Story, begin, is_batched};
use pipeline::{Answer, Turn};

impl World {
    pub(super) fn put_due(&mut self, due: ScheduledDelivery) {
        self.due.insert(due_key(&due), due);
    }

    pub(super) fn release_due(&mut self) {
        let mut turn = Turn {
            now: self.now,
            left: std::time::Duration::from_secs(25),
            receives: 1,
            lane: contracts::queue::Lane::Bulk,
            jitter: 0.5,
            token: "run".to_owned(),
            counted: Vec::new(),
        };
        let mut story = begin(&turn);
        loop {
            let dies = self.fault_strikes(40);
            if dies || matches!(story, Story::End(_)) {
                return;
            }
            story = self.perform_release(story, &mut turn);
        }
    }

    fn perform_release(&mut self, story: Story, turn: &mut Turn) -> Story {
        match story {
            Story::Page(step) => {
                let page = self.due_page(step.after());
                step.answered(Ok(page), turn)
            }
            Story::Lease(step) => step.answered(Ok(true), turn),
            Story::Facts(step) => {
                let facts = self.page_facts(step.items());
                step.answered(&facts, &POLICY, turn)
            }
            Story::Early(step) => {
                let early: Vec<(ScheduledDelivery, Decision)> =
                    step.decisions().map(|(due, revised)| (due.clone(), revised.clone())).collect();
                let answers = early.iter().map(|(due, revised)| {
                    self.record_revision(due, revised.clone());
                    Ok(())
                });
                let answers = answers.collect();
                step.answered(answers, turn)
            }
            Story::Behind(step) => {
                let answers = step.lists().map(|(last, reason)| Ok(self.count_behind(last, reason))).collect();
                step.answered(answers, turn)
            }
            Story::Reschedule(step) => {
                let answers = step.later().iter().map(|later| self.write_later(later)).collect();
                step.answered(answers, turn)
            }
            Story::Enqueue(step) => {
                for queued in step.messages() {
                    let (members, batched) = match &queued.message {
                        Message::Single(delivery) => (vec![(**delivery).clone()], false),
                        Message::List(list) => (list.members.clone(), true),
                    };
                    self.enqueue(members, batched, queued.delay_seconds);
                }
                let enqueued = vec![true; step.messages().len()];
                step.answered(&enqueued, turn)
            }
            Story::EndRows(step) => {
                let ended: Vec<(ScheduledDelivery, Reason, Option<Decision>)> =
                    step.ended().map(|(due, ended)| (due.clone(), ended.reason, ended.revised.clone())).collect();
                let answers = ended.into_iter().map(|(due, reason, revised)| self.end_due(&due, reason, revised));
                let answers = answers.collect();
                step.answered(answers, turn)
            }
            Story::Delete(step) => {
                step.items().iter().for_each(|item| drop(self.due.remove(item.place())));
                step.answered((), turn)
            }
            Story::Unlease(step) => step.answered((), turn),
            Story::End(_) => story,
        }
    }

    fn due_page(&self, after: Option<&str>) -> DuePage {
        let to = format!("{:010}#\u{10ffff}", minute(self.now));
        let after = after.unwrap_or_default().to_owned();
        let range = self.due.range((std::ops::Bound::Excluded(after), std::ops::Bound::Included(to)));
        let found = range.take(crate::PAGE_SIZE).map(|(place, due)| DueItem::new(due.clone(), 0, place));
        let items: Vec<DueItem> = found.collect();
        let next = items.last().filter(|_| items.len() >= crate::PAGE_SIZE).map(|last| last.place().to_owned());
        DuePage { items, unreadable: 0, next }
    }

    fn page_facts(&self, items: &[DueItem]) -> PageFacts {
        let mut facts = PageFacts::default();
        for DueItem { due, .. } in items {
            let (tenant, id) = (due.tenant.clone(), due.incident_id.clone());
            let subscriber = self.tenants.iter().find(|one| one.settings.tenant == tenant);
            let record = self.incidents.get(&id);
            let update = record.and_then(|record| record.updates.iter().find(|update| update.number == due.update));
            let destinations = subscriber.into_iter().flat_map(|one| one.destinations.iter());
            let destination = destinations.map(|(_, one)| one).find(|one| one.id() == due.destination);
            if let Some(record) = record {
                let category = subscription_category(&record.incident);
                facts.subscribers.insert((tenant.clone(), category), subscriber.cloned());
            }
            let plans = self.plan_history.get(&(id.clone(), tenant.clone())).cloned().unwrap_or_default();
            facts.settings.insert(tenant.clone(), subscriber.map(|one| one.settings.clone()));
            facts.incidents.insert(id.clone(), record.map(|record| record.incident.clone()));
            facts.updates.insert((id.clone(), due.update), update.cloned());
            facts.destinations.insert((tenant.clone(), due.destination.clone()), destination.cloned());
            facts.plans.insert((id.clone(), tenant.clone()), plans);
            facts.windows.insert(tenant.clone(), self.maintenance_windows(&Scope::Tenant(tenant)));
            facts.suppressed_incidents.insert(id, Vec::new());
        }
        facts
    }

    /// Counts the incidents that a list does not name.
    fn count_behind(&self, last: &DueItem, reason: Reason) -> usize {
        let behind = self.due.range((std::ops::Bound::Excluded(last.place().to_owned()), std::ops::Bound::Unbounded));
        let same = behind.take_while(|(place, due)| DueItem::new((*due).clone(), 0, place).group() == last.group());
        let held = same.filter(|(_, due)| due.held.is_some_and(|hold| hold.reason == reason));
        let incidents: BTreeSet<&IncidentId> = held.map(|(_, due)| &due.incident_id).collect();
        incidents.iter().filter(|id| ***id != last.due.incident_id).count()
    }

    /// Writes a later entry, in one transaction with the condition on the delivery's row.
    fn write_later(&mut self, later: &Later) -> Answer<Result<(), ClaimRefusal>> {
        let (key, now_ms) = (key_of_due(&later.entry), self.now.as_millisecond());
        let (update, attempt) = (key.4, later.entry.attempt);
        let write = match later.write() {
            LaterWrite::WithRow { reason } => {
                let next_at_ms = later.entry.at.as_millisecond();
                Some(RowWrite::Reschedule { update, attempt, now_ms, next_at_ms, reason })
            }
            LaterWrite::WithDecision => Some(RowWrite::CheckUnsent { update, attempt, now_ms }),
            LaterWrite::Alone => None,
        };
        if let Some(write) = write {
            match self.apply(&key, &write) {
                Ok(()) => {}
                Err(RowRefusal::Claim(refusal)) => return Ok(Err(refusal)),
                Err(_) => return Ok(Err(ClaimRefusal::Leased { until_ms: now_ms + 1_000 })),
            }
            if let Some(revised) = &later.revised {
                self.record_revision(&later.entry, revised.clone());
            }
        }
        let is_list = |due: &ScheduledDelivery| is_batched(&DueItem::new(due.clone(), 0, ""));
        if is_list(later.replaced()) && is_list(&later.entry) && later.entry.rebatched == later.replaced().rebatched {
            self.rebatched.push(later.entry.clone());
        }
        self.put_due(later.entry.clone());
        Ok(Ok(()))
    }

    /// Ends a delivery without sending it.
    fn end_due(
        &mut self,
        due: &ScheduledDelivery,
        reason: Reason,
        revised: Option<Decision>,
    ) -> Answer<Result<(), ClaimRefusal>> {
        let key = key_of_due(due);
        match self.end_unsent(&key, due.attempt, reason) {
            Ok(()) => {}
            Err(RowRefusal::Claim(refusal)) => return Ok(Err(refusal)),
            Err(other) => panic!("{other:?} is no answer to a claim"),
        }
        self.ended.push(EndedRecord { key, reason });
        if let Some(revised) = revised {
            self.record_revision(due, revised);
        }
        Ok(Ok(()))
    }

    pub(super) fn record_revision(&mut self, due: &ScheduledDelivery, revised: Decision) {
        let plan_history = self.plan_history.entry((due.incident_id.clone(), due.tenant.clone())).or_default();
        plan_history.revisions.retain(|one| !one.has_same_target(&revised));
        plan_history.revisions.push(revised);
    }

    pub(super) fn enqueue(&mut self, members: Vec<Delivery>, batched: bool, delay: u16) {
        let Some(tenant) = members.first().map(|first| &first.alert.tenant) else { return };
        let version =
            self.tenants.iter().find(|one| one.settings.tenant == *tenant).map_or(0, |one| one.settings.version);
        let at = seconds_after(self.now, i64::from(delay));
        self.schedule_job(at, Job::Deliver(QueuedMessage { members, batched, version, receives: 1 }));
    }
}
