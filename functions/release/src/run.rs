//! Performs the effects of a run, one after the other. It decides nothing: each answer goes back to the story.

use crate::{IN_FLIGHT, PAGE_SIZE, ReleaseFunction};
use aws::sqs::OutgoingMessage;
use contracts::queue::Lane;
use domain::delivery::{AttemptKey, ClaimRefusal, delivery_row_key};
use domain::due::{DueItem, DuePage, DuePlaces, ScheduledDelivery};
use domain::vocabulary::ChannelClass;
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use pipeline::deliver::Message;
use pipeline::release::page::{
    CountBehind, DeleteEntries, DueMessage, EndRows, EnqueueDue, Later, MarkQueued, Reschedule, Wait,
};
use pipeline::release::{Ended, Lease, ReadPage, ReadPlaces, ReadShards, Release as Story, SavePlaces, begin};
use pipeline::{Answer, Counted, Fault, Turn};
use runtime::queue::{Deadline, next_turn};
use runtime::{clock, ids, metrics};
use std::collections::BTreeMap;
use store::StoreError;
use store::deliveries::RowOf;

impl ReleaseFunction {
    /// Releases what is due in the shards that begin with `first`.
    pub(crate) async fn run(&self, first: u16, deadline: Deadline) -> Ended {
        let mut turn = Turn {
            now: clock::now(),
            left: deadline.remaining(),
            receives: 1,
            lane: Lane::Bulk,
            jitter: 0.0,
            token: ids::id_suffix(),
            counted: Vec::new(),
        };
        let mut story = begin(ReadShards { first, written: self.table.due_shards() }, &turn);
        loop {
            turn.counted.drain(..).for_each(|counted| record(&counted));
            if let Story::End(ended) = story {
                return ended;
            }
            // Boxed: the nested stream types are deeper than the compiler computes layouts for.
            story = self.perform(story, &mut turn, deadline).boxed().await;
        }
    }

    /// Performs the next effect of a run, and tells the story what came of it.
    async fn perform(&self, story: Story, turn: &mut Turn, deadline: Deadline) -> Story {
        match story {
            Story::Places(step) => {
                let answer = self.read_places(&step).await;
                step.answered(answer, next_turn(turn, deadline))
            }
            Story::Page(step) => {
                let answer = self.read_page(&step).await;
                step.answered(answer, next_turn(turn, deadline))
            }
            Story::Lease(step) => {
                let answer = self.lease_batches(&step, &turn.token, deadline).await;
                step.answered(answer, next_turn(turn, deadline))
            }
            Story::Facts(step) => {
                let facts = self.read_facts(step.items()).boxed().await;
                step.answered(&facts, &self.policy, next_turn(turn, deadline))
            }
            Story::Queued(step) => {
                let answers = self.mark_queued(&step).await;
                step.answered(answers, next_turn(turn, deadline))
            }
            Story::Behind(step) => {
                let answers = self.count_behind(&step).await;
                step.answered(answers, next_turn(turn, deadline))
            }
            Story::Reschedule(step) => {
                let answers = self.reschedule(&step).await;
                step.answered(answers, next_turn(turn, deadline))
            }
            Story::Enqueue(step) => {
                let enqueued = self.enqueue(&step).await;
                step.answered(&enqueued, next_turn(turn, deadline))
            }
            Story::EndRows(step) => {
                let answers = self.end_rows(&step).await;
                step.answered(answers, next_turn(turn, deadline))
            }
            Story::Delete(step) => {
                self.delete(&step).await;
                step.answered((), next_turn(turn, deadline))
            }
            Story::Unlease(step) => {
                let shard = step.shard();
                if let Err(error) = self.table.release_shard_lease(shard, &turn.token).await {
                    tracing::warn!(shard, %error, "cannot release the batch lease of the shard; it expires by itself");
                }
                step.answered((), next_turn(turn, deadline))
            }
            Story::SavePlaces(step) => {
                self.save_places(&step).await;
                step.answered((), next_turn(turn, deadline))
            }
            Story::End(_) => story,
        }
    }

    async fn read_places(&self, step: &ReadPlaces) -> Answer<DuePlaces> {
        let places = self.table.due_places(step.first()).await;
        places.map_err(|error| {
            tracing::warn!(first = step.first(), %error, "cannot read where the run before stopped; each shard is read from its beginning");
            fault(&error)
        })
    }

    async fn save_places(&self, step: &SavePlaces) {
        if let Err(error) = self.table.save_due_places(step.first(), step.places(), step.now()).await {
            tracing::warn!(first = step.first(), %error, "cannot save where the run stopped; the next one begins at the beginning");
        }
    }

    async fn read_page(&self, step: &ReadPage) -> Answer<DuePage> {
        let page = self.table.due_page(step.shard(), step.now(), step.after(), PAGE_SIZE).await;
        page.map_err(|error| {
            tracing::error!(shard = step.shard(), %error, "cannot read a shard of the due index; the next run tries again");
            fault(&error)
        })
    }

    async fn lease_batches(&self, step: &Lease, run: &str, deadline: Deadline) -> Answer<bool> {
        let shard = step.shard();
        // For as long as this run can last.
        let until = step.now().saturating_add(deadline.until_end()).unwrap_or(Timestamp::MAX);
        let leased = self.table.lease_shard(shard, run, step.now(), until).await;
        match &leased {
            Ok(true) => {}
            Ok(false) => tracing::info!(shard, "another run sends the digests and bundles of this shard"),
            Err(error) => {
                tracing::error!(shard, %error, "cannot lease the digests and bundles of this shard; they wait for the next run");
            }
        }
        leased.map_err(|error| fault(&error))
    }

    async fn mark_queued(&self, step: &MarkQueued) -> Vec<Answer<Result<(), ClaimRefusal>>> {
        let now = step.now();
        let marking = step.deliveries().map(|(due, has_row)| async move {
            let row = delivery_row_key(&due.destination, due.channel, due.update);
            let marked = self.table.mark_queued(attempt_key(due, &row), row_of(has_row), now).await;
            marked.map_err(|error| not_updated(due, &error))
        });
        in_order(marking.collect()).await
    }

    async fn count_behind(&self, step: &CountBehind) -> Vec<Answer<usize>> {
        let counting = step.lists().map(|(last, reason)| async move {
            self.table.count_incidents_behind(last, reason).await.map_err(|error| {
                tracing::error!(%error, "cannot count the alerts of a digest; the next run sends it");
                fault(&error)
            })
        });
        in_order(counting.collect()).await
    }

    async fn reschedule(&self, step: &Reschedule) -> Vec<Answer<Result<(), ClaimRefusal>>> {
        let writing = step.later().iter().map(|later| self.write_later(later, step.now()));
        in_order(writing.collect()).await
    }

    async fn write_later(&self, later: &Later, now: Timestamp) -> Answer<Result<(), ClaimRefusal>> {
        let entry = &later.entry;
        let row = delivery_row_key(&entry.destination, entry.channel, entry.update);
        let put = match later.wait {
            Some(Wait { until, reason }) => {
                let key = attempt_key(entry, &row);
                self.table.reschedule(key, entry, until, reason, row_of(later.has_row), now).await
            }
            None => self.table.schedule(entry).await.map(Ok),
        };
        put.map_err(|error| not_updated(later.replaced(), &error))
    }

    /// Puts the messages on the queues of their channels, each queue's a few at a time: the text of a page of large messages is never in memory
    /// as a whole. Returns whether each is there.
    async fn enqueue(&self, step: &EnqueueDue) -> Vec<bool> {
        let mut enqueued = vec![false; step.messages().len()];
        let mut by_class: BTreeMap<ChannelClass, Vec<usize>> = BTreeMap::new();
        for (place, message) in step.messages().iter().enumerate() {
            if let Some(first) = message.message.members().first() {
                by_class.entry(first.channel.class()).or_default().push(place);
            }
        }
        let sending = by_class.iter().map(|(class, places)| async move {
            let mut sent = Vec::with_capacity(places.len());
            for places in places.chunks(MESSAGES_AT_ONCE) {
                sent.extend(self.enqueue_some(*class, step.messages(), places).await);
            }
            sent
        });
        for place in in_order(sending.collect()).await.into_iter().flatten() {
            if let Some(one) = enqueued.get_mut(place) {
                *one = true;
            }
        }
        enqueued
    }

    /// Puts the messages at some places on the queue of a channel. Returns the places of those that are there.
    async fn enqueue_some(&self, class: ChannelClass, messages: &[DueMessage], places: &[usize]) -> Vec<usize> {
        let built = places.iter().filter_map(|place| Some((*place, outgoing(messages.get(*place)?)?)));
        let (mut places, messages): (Vec<usize>, Vec<OutgoingMessage>) = built.unzip();
        if let Err(unsent) = self.queues.send_all(self.config.queue(class), messages).await {
            let channel = class.as_str();
            tracing::error!(channel, error = %unsent, "cannot queue some of the due deliveries; the next run tries again");
            let mut index = 0..;
            places.retain(|_| index.next().is_none_or(|index| !unsent.indices.contains(&index)));
        }
        places
    }

    async fn end_rows(&self, step: &EndRows) -> Vec<Answer<Result<(), ClaimRefusal>>> {
        let now = step.now();
        let ending = step.ended().map(|(due, ended)| async move {
            let row = delivery_row_key(&due.destination, due.channel, due.update);
            let (key, token) = (attempt_key(due, &row), ids::id_suffix());
            let ended = self.table.end_without_sending(key, &token, now, ended.reason).await;
            ended.map_err(|error| not_updated(due, &error))
        });
        in_order(ending.collect()).await
    }

    async fn delete(&self, step: &DeleteEntries) {
        let delete = |item: &DueItem| {
            let (item, incident) = (item.clone(), item.due.incident_id.clone());
            async move {
                if let Err(error) = self.table.delete_due_item(&item).await {
                    tracing::warn!(
                        %incident,
                        %error,
                        "cannot delete a due entry; it is released once more, and its claim is refused"
                    );
                }
            }
        };
        in_order(step.items().iter().map(delete).collect()).await;
    }
}

/// Messages that are built and sent at once: a full batch of SQS.
const MESSAGES_AT_ONCE: usize = 10;

/// Awaits all, several at a time, and returns the results in order.
async fn in_order<F: Future>(all: Vec<F>) -> Vec<F::Output> {
    stream::iter(all).buffered(IN_FLIGHT).collect().await
}

fn outgoing(message: &DueMessage) -> Option<OutgoingMessage> {
    let body = match &message.message {
        Message::Single(delivery) => serde_json::to_string(delivery).ok()?,
        Message::List(list) => serde_json::to_string(list).ok()?,
    };
    let (group, delay_seconds) = (Some(message.group.clone()), message.delay_seconds);
    Some(OutgoingMessage { body, group, delay_seconds, ..OutgoingMessage::default() })
}

fn attempt_key<'a>(due: &'a ScheduledDelivery, row: &'a str) -> AttemptKey<'a> {
    let ScheduledDelivery { incident_id: incident, tenant, channel, update, attempt, .. } = due;
    AttemptKey { incident, tenant, row, channel: *channel, update: *update, attempt: *attempt }
}

fn row_of(has_row: bool) -> RowOf {
    if has_row { RowOf::ThisUpdate } else { RowOf::AnOlderUpdate }
}

/// Logs that a due delivery could not be updated.
fn not_updated(due: &ScheduledDelivery, error: &StoreError) -> Fault {
    tracing::error!(
        incident = %due.incident_id,
        destination = due.destination,
        %error,
        "cannot update a due delivery; the next run tries again"
    );
    fault(error)
}

fn fault(error: &StoreError) -> Fault {
    Fault::Unavailable { code: error.to_string() }
}

/// Counts and logs what the story counted.
fn record(counted: &Counted) {
    if let Counted::EndedUnsent { incident, channel, destination, reason } = counted {
        metrics::count_by("DeliveryGivenUp", "channel", channel.as_str(), 1);
        tracing::info!(
            %incident,
            destination,
            channel = channel.as_str(),
            reason = reason.as_str(),
            "ended a due delivery without sending it"
        );
    }
}
