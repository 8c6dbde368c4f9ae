//! Releases one page of due entries: decides about each, then sends, reschedules or ends it.

use crate::batches::{BatchKey, SentBatches, batch_delay_seconds, is_batched, is_counted_only};
use crate::decide::{ReleaseDecision, delay_seconds};
use crate::facts::DecidedItem;
use crate::{IN_FLIGHT, Release, ReleaseCounts};
use aws::sqs::OutgoingMessage;
use contracts::queue::{BatchDelivery, Delivery, delivery_row_key};
use domain::delivery::{AttemptKey, ClaimRefusal};
use domain::due::ScheduledDelivery;
use domain::plan::Decision;
use domain::reason::Reason;
use domain::vocabulary::ChannelClass;
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use runtime::{ids, metrics};
use std::collections::{BTreeMap, BTreeSet};
use store::due::DueItem;
use store::{StoreError, Table};

/// When a run began, and the time now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunTimes {
    /// When the run began. A digest whose minute was missed is sent in the minute after that, however long the run takes.
    pub(crate) began: Timestamp,
    pub(crate) now: Timestamp,
}

/// A message for a delivery queue, with the due entries that it releases.
struct QueuedMessage {
    items: Vec<DueItem>,
    message: OutgoingMessage,
}

/// A due entry whose delivery ends without sending.
struct EndedItem {
    item: DueItem,
    reason: Reason,
    revised: Option<Decision>,
}

/// A due entry that is replaced by a later one.
struct RescheduledItem {
    item: DueItem,
    later: ScheduledDelivery,
    revised: Option<Decision>,
}

/// What to do with the entries of a page.
#[derive(Default)]
struct PageWork {
    messages: BTreeMap<ChannelClass, Vec<QueuedMessage>>,
    batches: BTreeMap<BatchKey, Vec<(DueItem, Delivery)>>,
    rescheduled: Vec<RescheduledItem>,
    ended: Vec<EndedItem>,
    /// Entries that stay for the next minute's run.
    left: usize,
}

impl PageWork {
    /// Adds one entry, by what was decided about it.
    fn add(&mut self, decided: DecidedItem, now: Timestamp) {
        let DecidedItem { item, decision, revised } = decided;
        match decision {
            Some(ReleaseDecision::Reschedule(later, _)) => {
                self.rescheduled.push(RescheduledItem { item, later: *later, revised });
            }
            Some(ReleaseDecision::Send(delivery)) if is_batched(&item) => {
                self.batches.entry(BatchKey::of(&item)).or_default().push((item, *delivery));
            }
            Some(ReleaseDecision::Send(delivery)) => match serde_json::to_string(&delivery) {
                Ok(body) => {
                    let message = OutgoingMessage {
                        body,
                        group: Some(item.due.incident_id.to_string()),
                        delay_seconds: delay_seconds(&item.due, now),
                        ..OutgoingMessage::default()
                    };
                    let class = item.due.channel.class();
                    self.messages.entry(class).or_default().push(QueuedMessage { items: vec![item], message });
                }
                Err(_) => self.left += 1,
            },
            Some(ReleaseDecision::End(reason)) => self.ended.push(EndedItem { item, reason, revised }),
            None => self.left += 1,
        }
    }
}

impl Release {
    /// Releases one page. `sent_batches` are the digests and bundles that this run has sent; further entries of
    /// theirs are only counted in them.
    pub(crate) async fn release_page(
        &self,
        items: Vec<DueItem>,
        sent_batches: &mut SentBatches,
        times: RunTimes,
    ) -> ReleaseCounts {
        let now = times.now;
        let (counted_only, items): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| is_counted_only(item, sent_batches));
        let facts = self.read_facts(&items).boxed().await;
        let mut work = PageWork::default();
        let ended =
            counted_only.into_iter().map(|item| EndedItem { item, reason: Reason::StormCollapsed, revised: None });
        work.ended.extend(ended);
        let decided: Vec<DecidedItem> =
            items.into_iter().map(|item| facts.decide_item(item, &self.policy, times)).collect();
        let unrecorded = self.record_early_releases(&decided, now).await;
        for (index, decided) in decided.into_iter().enumerate() {
            if unrecorded.contains(&index) {
                work.left += 1;
            } else {
                work.add(decided, now);
            }
        }
        self.carry_out(work, sent_batches, now).await
    }

    /// Reschedules, sends and ends the entries of a page, in this order.
    async fn carry_out(&self, work: PageWork, sent_batches: &mut SentBatches, now: Timestamp) -> ReleaseCounts {
        let PageWork { mut messages, batches, rescheduled, ended, left } = work;
        let mut counts = ReleaseCounts { left, ..ReleaseCounts::default() };
        let mut page_batches = SentBatches::new();
        for (key, members) in batches {
            let (all, class) = (members.len(), members.first().map(|(item, _)| item.due.channel.class()));
            let Some(class) = class else { continue };
            match self.build_batch(members, key.storm, now).await {
                Some(message) => {
                    messages.entry(class).or_default().push(message);
                    page_batches.insert(key);
                }
                None => counts.left += all,
            }
        }
        let rescheduled: Vec<bool> = stream::iter(rescheduled)
            .map(|item| self.reschedule(item, now).boxed())
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
        counts.left += rescheduled.iter().filter(|done| !**done).count();
        let sent: Vec<(usize, usize)> = stream::iter(messages)
            .map(|(class, messages)| self.send_messages(class, messages).boxed())
            .buffer_unordered(4)
            .collect()
            .await;
        for (released, left) in sent {
            counts.released += released;
            // The next minute's run builds an unsent batch again, with everything that is in it by then.
            if left > 0 {
                page_batches.clear();
            }
            counts.left += left;
        }
        sent_batches.extend(page_batches);
        let ended: Vec<bool> = stream::iter(ended)
            .map(|item| self.end_delivery(item, now).boxed())
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
        let ended_now = ended.iter().filter(|done| **done).count();
        counts.ended += ended_now;
        counts.left += ended.len() - ended_now;
        counts
    }

    /// Builds the one message of a digest or bundle: its members, and the number of entries behind them that it only counts. A bundle with
    /// a single member is sent as a plain delivery. `None` if it must wait for the next minute's run.
    async fn build_batch(
        &self,
        members: Vec<(DueItem, Delivery)>,
        storm: bool,
        now: Timestamp,
    ) -> Option<QueuedMessage> {
        let (items, members): (Vec<DueItem>, Vec<Delivery>) = members.into_iter().unzip();
        let last = items.last()?;
        // A retried batch brings along what it only counted before.
        let omitted_before: u32 = items.iter().map(|item| item.due.omitted_count).max().unwrap_or(0);
        let reason = if storm { Reason::Throttled } else { Reason::Digest };
        let omitted_count = match self.table.count_incidents_behind(last, reason).await {
            Ok(behind) => u32::try_from(behind).unwrap_or(u32::MAX).saturating_add(omitted_before),
            Err(error) => {
                tracing::error!(%error, "cannot count the alerts of a digest; the next run sends it");
                return None;
            }
        };
        let (destination, delay_seconds) = (last.due.destination.clone(), batch_delay_seconds(&items, now));
        let body = match <[Delivery; 1]>::try_from(members) {
            Ok([alone]) if storm && omitted_count == 0 => serde_json::to_string(&alone).ok()?,
            Ok([first]) => serde_json::to_string(&BatchDelivery::new(vec![first], omitted_count, storm)).ok()?,
            Err(members) => serde_json::to_string(&BatchDelivery::new(members, omitted_count, storm)).ok()?,
        };
        let message = OutgoingMessage { body, group: Some(destination), delay_seconds, ..OutgoingMessage::default() };
        Some(QueuedMessage { items, message })
    }

    /// Sends the messages of one channel class, and deletes the due entries of those that are on the queue. Returns how many entries were
    /// sent and how many stay.
    async fn send_messages(&self, class: ChannelClass, messages: Vec<QueuedMessage>) -> (usize, usize) {
        let (items, messages): (Vec<Vec<DueItem>>, Vec<OutgoingMessage>) =
            messages.into_iter().map(|queued| (queued.items, queued.message)).unzip();
        let unsent: BTreeSet<usize> = match self.queues.send_all(self.config.queue(class), messages).await {
            Ok(()) => BTreeSet::new(),
            Err(unsent) => {
                tracing::error!(
                    channel = class.as_str(),
                    error = %unsent,
                    "cannot queue some of the due deliveries; the next run tries again"
                );
                unsent.indices.into_iter().collect()
            }
        };
        let all: usize = items.iter().map(Vec::len).sum();
        let (stay, sent): (Vec<_>, Vec<_>) =
            items.into_iter().enumerate().partition(|(index, _)| unsent.contains(index));
        let left: usize = stay.iter().map(|(_, items)| items.len()).sum();
        let sent = sent.into_iter().flat_map(|(_, items)| items);
        // An entry that cannot be deleted is sent again in the next minute, and its claim is refused.
        stream::iter(sent).for_each_concurrent(IN_FLIGHT, |item| self.delete_entry(item)).await;
        (all - left, left)
    }

    /// Ends a delivery without sending it. Returns whether its due entry is done; otherwise the next run tries again.
    async fn end_delivery(&self, ended: EndedItem, now: Timestamp) -> bool {
        let EndedItem { item, reason, revised } = ended;
        let due = &item.due;
        let row = delivery_row_key(&due.destination, due.channel, due.update);
        let ended = self
            .table
            .end_without_sending(attempt_key(due, &row), &ids::id_suffix(), now, reason, revised.as_ref())
            .await;
        if matches!(ended, Ok(Ok(()))) {
            metrics::count_by("DeliveryGivenUp", "channel", due.channel.as_str(), 1);
            tracing::info!(
                incident = %due.incident_id,
                destination = due.destination,
                channel = due.channel.as_str(),
                reason = reason.as_str(),
                "ended a due delivery without sending it"
            );
        }
        self.finish_entry(item, ended).await
    }

    /// Stores the later due entry, then deletes the earlier one. Returns whether the earlier one is done;
    /// otherwise the next run tries again.
    async fn reschedule(&self, rescheduled: RescheduledItem, now: Timestamp) -> bool {
        let RescheduledItem { item, later, revised } = rescheduled;
        let row = delivery_row_key(&later.destination, later.channel, later.update);
        let put = match (&revised, later.held) {
            // The delivery has a row already, which then shows the new wait as well.
            (_, Some(hold)) if later.attempt > 1 || later.resend_requested => {
                self.table
                    .reschedule_attempt(attempt_key(&later, &row), &later, hold.reason, revised.as_ref(), now)
                    .await
            }
            (Some(revised), _) => self.table.schedule_revised(attempt_key(&later, &row), &later, revised, now).await,
            (None, _) => self.table.schedule(&later).await.map(Ok),
        };
        // Within the same minute both have the same key: deleting the earlier one would lose the later one.
        if matches!(put, Ok(Ok(()))) && item.has_key_of(&later) {
            return true;
        }
        self.finish_entry(item, put).await
    }

    /// Deletes a due entry whose delivery is over, or was made by another run. Returns `false` if the entry stays for the next run.
    async fn finish_entry(&self, item: DueItem, done: Result<Result<(), ClaimRefusal>, StoreError>) -> bool {
        match done {
            // The delivery is over, a newer update replaced it, or this attempt was made after all.
            Ok(
                Ok(()) | Err(ClaimRefusal::Done | ClaimRefusal::Superseded { .. } | ClaimRefusal::AttemptOver { .. }),
            ) => {
                self.delete_entry(item).await;
                true
            }
            Ok(Err(ClaimRefusal::Leased { .. })) => false,
            Err(error) => {
                let due = &item.due;
                tracing::error!(
                    incident = %due.incident_id,
                    destination = due.destination,
                    %error,
                    "cannot update a due delivery; the next run tries again"
                );
                false
            }
        }
    }

    /// Records revised decisions for deliveries that are released earlier than their plan says, because a maintenance window ended early.
    /// Returns the indices of those that could not be recorded; they must not be sent.
    async fn record_early_releases(&self, decided: &[DecidedItem], now: Timestamp) -> BTreeSet<usize> {
        let mut recording = Vec::new();
        for (index, decided) in decided.iter().enumerate() {
            let (Some(ReleaseDecision::Send(_)), Some(revised)) = (&decided.decision, &decided.revised) else {
                continue;
            };
            recording.push(record_early_release(&self.table, index, &decided.item.due, revised, now).boxed());
        }
        stream::iter(recording).buffer_unordered(IN_FLIGHT).filter_map(|index| async move { index }).collect().await
    }

    async fn delete_entry(&self, item: DueItem) {
        if let Err(error) = self.table.delete_due_item(&item).await {
            tracing::warn!(
                incident = %item.due.incident_id,
                %error,
                "cannot delete a due entry; it is released once more, and its claim is refused"
            );
        }
    }
}

/// Records one revised decision. Returns `index` if that failed.
async fn record_early_release(
    table: &Table,
    index: usize,
    due: &ScheduledDelivery,
    revised: &Decision,
    now: Timestamp,
) -> Option<usize> {
    match table.revise_decision(&due.incident_id, &due.tenant, revised, now).await {
        Ok(_) => None,
        Err(error) => {
            tracing::error!(incident = %due.incident_id, %error, "cannot record an early release; the next run tries again");
            Some(index)
        }
    }
}

fn attempt_key<'a>(due: &'a ScheduledDelivery, row: &'a str) -> AttemptKey<'a> {
    let ScheduledDelivery { incident_id: incident, tenant, channel, update, attempt, .. } = due;
    AttemptKey { incident, tenant, row, channel: *channel, update: *update, attempt: *attempt }
}
