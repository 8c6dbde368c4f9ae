//! What `release` does: sends, reschedules or ends due deliveries. Its decisions are the real ones of `decide`.

use super::*;

impl World {
    pub(super) fn put_due(&mut self, due: ScheduledDelivery) {
        self.due.insert(due_key(&due), due);
    }

    pub(super) fn release_due(&mut self) {
        let to = format!("{:010}#\u{10ffff}", minute(self.now));
        let mut after = String::new();
        let mut sent_batches = SentBatches::new();
        loop {
            let range =
                self.due.range((std::ops::Bound::Excluded(after.clone()), std::ops::Bound::Included(to.clone())));
            let found = range.take(crate::PAGE_SIZE).map(|(place, due)| DueItem::with_sort_key(due.clone(), place));
            let items: Vec<DueItem> = found.collect();
            let next = items.last().filter(|_| items.len() >= crate::PAGE_SIZE).map(|last| last.sort_key().to_owned());
            let (items, next) = without_partial_batch(items, next);
            let dies = self.fault_strikes(6);
            self.release_page(items, &mut sent_batches, dies);
            let Some(next) = next.filter(|_| !dies) else { break };
            after = next;
        }
    }

    /// Releases one page. With `dies`, the function dies after it sent everything and before it deleted any due entry.
    pub(super) fn release_page(&mut self, items: Vec<DueItem>, sent_batches: &mut SentBatches, dies: bool) {
        let (collapsed, items): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| is_counted_only(item, sent_batches));
        let mut ends: Vec<(DueItem, Reason, Option<Decision>)> =
            collapsed.into_iter().map(|item| (item, Reason::StormCollapsed, None)).collect();
        let mut batches: BTreeMap<BatchKey, Vec<(DueItem, Delivery)>> = BTreeMap::new();
        let mut waits: Vec<(DueItem, ScheduledDelivery)> = Vec::new();
        let mut gone: Vec<String> = Vec::new();
        for item in items {
            let decided = self.decide_entry(&item.due);
            let plan_history = self.plan_history.get(&(item.due.incident_id.clone(), item.due.tenant.clone()));
            let revised = revised_decision(&item.due, &decided, plan_history, self.now);
            let key = key_of_due(&item.due);
            let now_ms = self.now.as_millisecond();
            match (&decided, &revised) {
                // An earlier run sent it and died.
                (ReleaseDecision::Reschedule(..), Some(_))
                    if claim_refusal(self.row(&key).as_deref(), key.4, item.due.attempt, now_ms).is_some() =>
                {
                    gone.push(item.sort_key().to_owned());
                    continue;
                }
                (ReleaseDecision::Send(_) | ReleaseDecision::Reschedule(..), Some(revised)) => {
                    self.record_revision(&item.due, revised.clone())
                }
                _ => {}
            }
            match decided {
                ReleaseDecision::Reschedule(later, _) => {
                    let stays_batched = is_batched(&item) && later.held.is_some_and(is_batched_hold);
                    if stays_batched && later.rebatched == item.due.rebatched {
                        self.rebatched.push((*later).clone());
                    }
                    waits.push((item, *later));
                }
                ReleaseDecision::Send(delivery) if is_batched(&item) => {
                    batches.entry(BatchKey::of(&item)).or_default().push((item, *delivery));
                }
                ReleaseDecision::Send(delivery) => {
                    let delay = delay_seconds(&item.due, self.now);
                    self.enqueue(vec![*delivery], false, delay);
                    gone.push(item.sort_key().to_owned());
                }
                ReleaseDecision::End(reason) => ends.push((item, reason, revised)),
            }
        }
        for (key, group) in batches {
            let (items, members): (Vec<DueItem>, Vec<Delivery>) = group.into_iter().unzip();
            let Some(last) = items.last() else { continue };
            let delay = batch_delay_seconds(&items, self.now);
            let to = format!("{}#\u{10ffff}", last.group());
            let more = self.due.range(format!("{}#", last.sort_key())..=to).count();
            self.enqueue(members, !key.storm || more > 0 || items.len() > 1, delay);
            sent_batches.insert(key);
            gone.extend(items.iter().map(|item| item.sort_key().to_owned()));
        }
        for (item, later) in waits {
            let same = due_key(&later) == item.sort_key();
            self.put_due(later);
            if !same {
                self.due.remove(item.sort_key());
            }
        }
        if dies {
            return;
        }
        for place in gone {
            self.due.remove(&place);
        }
        self.end_deliveries(ends);
    }

    /// Ends deliveries without sending them, and deletes their due entries.
    pub(super) fn end_deliveries(&mut self, ends: Vec<(DueItem, Reason, Option<Decision>)>) {
        for (item, reason, revised) in ends {
            let due = &item.due;
            let key = key_of_due(due);
            if self.end_unsent(&key, due.attempt) {
                self.ended.push(EndedRecord { key, reason });
                if let Some(revised) = revised {
                    self.record_revision(due, revised);
                }
            }
            self.due.remove(item.sort_key());
        }
    }

    pub(super) fn record_revision(&mut self, due: &ScheduledDelivery, revised: Decision) {
        let plan_history = self.plan_history.entry((due.incident_id.clone(), due.tenant.clone())).or_default();
        plan_history.revisions.retain(|one| !one.has_same_target(&revised));
        plan_history.revisions.push(revised);
    }

    pub(super) fn decide_entry(&self, due: &ScheduledDelivery) -> ReleaseDecision {
        let subscriber = self.tenants.iter().find(|one| one.settings.tenant == due.tenant);
        let record = self.incidents.get(&due.incident_id);
        let all = subscriber.into_iter().flat_map(|one| one.destinations.iter());
        let facts = DeliveryFacts {
            settings: subscriber.map(|one| &one.settings),
            incident: record.map(|record| &record.incident),
            update: record.and_then(|record| record.updates.iter().find(|update| update.number == due.update)),
            destination: all.map(|(_, one)| one).find(|one| one.id() == due.destination),
            suppressed_incidents: &[],
        };
        let none = PlanHistory::default();
        let plan_history = self.plan_history.get(&(due.incident_id.clone(), due.tenant.clone())).unwrap_or(&none);
        let Some(hold) = due.held else { return decide_retry(due, facts, plan_history, &POLICY, self.now) };
        let windows = self.maintenance_windows(&Scope::Tenant(due.tenant.clone()));
        let incident_now = facts.incident.map(|incident| with_current_window(incident, hold, &windows));
        let facts = DeliveryFacts { incident: incident_now.as_ref(), ..facts };
        decide_held(
            due,
            hold,
            facts,
            ReplanInput { subscriber, plans: plan_history, policy: &POLICY, began: self.now, now: self.now },
        )
    }

    pub(super) fn enqueue(&mut self, members: Vec<Delivery>, batched: bool, delay: u16) {
        let Some(tenant) = members.first().map(|first| &first.alert.tenant) else { return };
        let version =
            self.tenants.iter().find(|one| one.settings.tenant == *tenant).map_or(0, |one| one.settings.version);
        let at = seconds_after(self.now, i64::from(delay));
        self.schedule_job(at, Job::Deliver(QueuedMessage { members, batched, version }));
    }
}
