//! Puts what is due on the queue, in place of `release`.

use super::{Event, World};
use crate::load::timestamp;
use crate::table::{DeliveryKey, due_key};
use contracts::queue::{BatchDelivery, Delivery, Lane};
use domain::alert::HoldPeriod;
use domain::attempt::QUEUE_DELAY_MAX;
use domain::due::ScheduledDelivery;
use domain::reason::Reason;
use domain::vocabulary::Channel;
use pipeline::deliver::Message;
use std::collections::BTreeMap;

impl World {
    pub(super) fn schedule_minute(&mut self) {
        if !self.minute_scheduled {
            self.minute_scheduled = true;
            let next = (self.now / 60_000 + 1) * 60_000;
            self.schedule(next, Event::Minute);
        }
    }

    /// Puts what is due on the queue, and then deletes it from the due index.
    pub(super) fn release_due(&mut self) {
        self.minute_scheduled = false;
        let minute = self.now / 60_000;
        let due: Vec<_> = self.table.due.iter().filter(|((at, _), _)| *at <= minute).collect();
        let mut lists: BTreeMap<(String, Channel), Vec<ScheduledDelivery>> = BTreeMap::new();
        let mut singles = Vec::new();
        for (_, entry) in due {
            match entry.held {
                Some(_) => lists.entry((entry.destination.clone(), entry.channel)).or_default().push(entry.clone()),
                None => singles.push(entry.clone()),
            }
        }
        for entry in singles {
            let delivery = self.attempt_of(&entry);
            self.hand_out(Message::Single(Box::new(delivery)), &[entry]);
        }
        for entries in lists.into_values() {
            self.release_list(entries);
        }
        if !self.table.due.is_empty() {
            self.schedule_minute();
        }
    }

    /// Releases the held deliveries of one destination: each incident's newest update. The others are superseded.
    fn release_list(&mut self, entries: Vec<ScheduledDelivery>) {
        let newest = |entry: &ScheduledDelivery| {
            let planned = self.load.deliveries.keys().filter(|key| {
                let of = DeliveryKey::of_due(entry);
                key.destination == of.destination
                    && key.channel == of.channel
                    && key.incident == of.incident
                    && key.tenant == of.tenant
                    && timestamp(self.now) >= self.load.deliveries[*key].alert.at
            });
            planned.map(|key| key.update).max().unwrap_or(entry.update) <= entry.update
        };
        let (listed, superseded): (Vec<_>, Vec<_>) = entries.into_iter().partition(newest);
        for entry in superseded {
            self.table.due.remove(&due_key(&entry));
        }
        for chunk in listed.chunks(BatchDelivery::MEMBERS_MAX) {
            let members = chunk.iter().map(|entry| self.attempt_of(entry)).collect();
            let storm = chunk.iter().any(|one| one.held.is_some_and(|held| held.reason == Reason::Throttled));
            let list = BatchDelivery::new(members, 0, storm);
            self.hand_out(Message::List(Box::new(list)), chunk);
        }
    }

    fn hand_out(&mut self, message: Message, entries: &[ScheduledDelivery]) {
        let latest = entries.iter().map(|entry| entry.at.as_millisecond()).max().unwrap_or(self.now);
        let delay = (latest - self.now).clamp(0, i64::from(QUEUE_DELAY_MAX) * 1_000);
        let keys: Vec<String> = entries.iter().map(|entry| DeliveryKey::of_due(entry).to_string()).collect();
        self.note(|| format!("release: {}", keys.join("; ")));
        self.coverage.count("release: released");
        self.send(message, Lane::Bulk, delay);
        if !self.calm() && self.random.once_in(20) {
            self.coverage.count("release: died before its deletion");
            return;
        }
        for entry in entries {
            let place = due_key(entry);
            if self.table.due.get(&place) == Some(entry) {
                self.table.due.remove(&place);
            }
        }
    }

    /// The attempt that a due entry stands for.
    fn attempt_of(&self, entry: &ScheduledDelivery) -> Delivery {
        let planned = self.load.deliveries[&DeliveryKey::of_due(entry)].clone();
        let mut why = planned.why.clone();
        why.held = match entry.held {
            Some(hold) => Some(HoldPeriod { since: hold.since, until: entry.at, reason: hold.reason }),
            None => entry.held_before.clone(),
        };
        Delivery { attempt: entry.attempt, plain: entry.plain, why, follows: None, ..planned }
    }
}
