//! The steps of one page: decide, reschedule, enqueue, end, in this order.

use super::batches::{BatchKey, SentBatches, batch_delay_seconds, is_batched, is_counted_only};
pub use super::decide::Wait;
use super::decide::{ReleaseDecision, delay_seconds};
use super::facts::{DecidedItem, PageFacts};
use super::turns::{ReleaseRun, after_page};
use super::{Release, RunTimes};
use crate::deliver::Message;
use crate::turn::{Answer, Counted, Turn};
use contracts::queue::{BatchDelivery, Delivery};
use domain::delivery::ClaimRefusal;
use domain::due::{DueItem, ScheduledDelivery};
use domain::policy::Policy;
use domain::reason::Reason;
use domain::vocabulary::Channel;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The work of a page that is still to be done.
#[derive(Debug)]
pub(crate) struct PageWork {
    run: ReleaseRun,
    /// The place after which the next page begins.
    next: Option<String>,
    times: RunTimes,
    decided: Vec<DecidedItem>,
    messages: Vec<DueMessage>,
    /// The lists among the messages.
    lists: SentBatches,
    batches: Vec<DueBatch>,
    later: Vec<Later>,
    ended: Vec<EndedItem>,
}

/// A message for a delivery queue, with the due entries that it releases.
#[derive(Clone, Debug)]
pub struct DueMessage {
    /// What is sent: one alert, a digest or a bundle.
    pub message: Message,
    /// The message group: the incident, or the destination of a list.
    pub group: String,
    /// The delay on the queue in seconds, until the last of its entries is due.
    pub delay_seconds: u16,
    items: Vec<DueItem>,
}

/// The members of a digest or bundle.
#[derive(Clone, Debug)]
struct DueBatch {
    key: BatchKey,
    items: Vec<DueItem>,
    members: Vec<Delivery>,
}

/// A due entry that is replaced by a later one.
#[derive(Clone, Debug)]
pub struct Later {
    item: DueItem,
    /// The entry that takes its place.
    pub entry: ScheduledDelivery,
    /// Until when the delivery waits, and why, if its row is written with the entry; `None` if row or plan say the same already.
    pub wait: Option<Wait>,
    /// Whether the delivery has a row of its update already.
    pub has_row: bool,
}

/// A due entry whose delivery ends without sending.
#[derive(Clone, Debug)]
pub struct EndedItem {
    item: DueItem,
    /// Why it ends without being sent.
    pub reason: Reason,
}

/// Reads what the decisions about a page depend on.
#[derive(Debug)]
pub struct ReadFacts {
    work: PageWork,
    items: Vec<DueItem>,
}

/// Records on the rows of held deliveries that they go onto their queues. From then on their recipients count as notified.
#[derive(Debug)]
pub struct MarkQueued {
    work: PageWork,
    /// Their places among the decided entries.
    places: Vec<usize>,
}

/// Counts the incidents that each list does not name, because it is full.
#[derive(Debug)]
pub struct CountBehind {
    work: PageWork,
}

/// Puts later entries into the due index.
#[derive(Debug)]
pub struct Reschedule {
    work: PageWork,
}

/// Puts messages on the delivery queues.
#[derive(Debug)]
pub struct EnqueueDue {
    work: PageWork,
}

/// Ends deliveries without sending them.
#[derive(Debug)]
pub struct EndRows {
    work: PageWork,
}

/// Deletes due entries. One that cannot be deleted is released once more, and its claim is refused.
#[derive(Debug)]
pub struct DeleteEntries {
    items: Vec<DueItem>,
    then: Box<Release>,
}

/// Deletes the entries, if there are any, and then goes on.
fn delete(items: Vec<DueItem>, then: Release) -> Release {
    if items.is_empty() { then } else { Release::Delete(DeleteEntries { items, then: Box::new(then) }) }
}

impl PageWork {
    pub(super) fn new(run: ReleaseRun, next: Option<String>, times: RunTimes) -> Self {
        Self {
            run,
            next,
            times,
            decided: Vec::new(),
            messages: Vec::new(),
            lists: SentBatches::new(),
            batches: Vec::new(),
            later: Vec::new(),
            ended: Vec::new(),
        }
    }

    pub(super) fn begin(mut self, items: Vec<DueItem>, turn: &Turn) -> Release {
        let (counted_only, items): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| is_counted_only(item, &self.run.current.sent_batches));
        let ended = |item| EndedItem { item, reason: Reason::StormCollapsed };
        self.ended.extend(counted_only.into_iter().map(ended));
        if items.is_empty() { self.end_rows(turn) } else { Release::Facts(ReadFacts { work: self, items }) }
    }

    /// Sorts the decided entries by what is done with them.
    fn sort(mut self, turn: &Turn) -> Release {
        let mut batches: BTreeMap<BatchKey, DueBatch> = BTreeMap::new();
        for decided in std::mem::take(&mut self.decided) {
            let DecidedItem { item, decision, has_row, waits_anew } = decided;
            match decision {
                None => self.run.counts.left += 1,
                Some(ReleaseDecision::Reschedule { entry, wait }) => {
                    self.later.push(Later { item, entry: *entry, wait: waits_anew.then_some(wait), has_row });
                }
                Some(ReleaseDecision::End(reason)) => self.ended.push(EndedItem { item, reason }),
                Some(ReleaseDecision::Send(delivery)) if is_batched(&item) => {
                    let key = BatchKey::of(&item);
                    let empty = || DueBatch { key, items: Vec::new(), members: Vec::new() };
                    let batch = batches.entry(BatchKey::of(&item)).or_insert_with(empty);
                    batch.items.push(item);
                    batch.members.push(*delivery);
                }
                Some(ReleaseDecision::Send(delivery)) => self.messages.push(DueMessage {
                    message: Message::Single(delivery),
                    group: item.due.incident_id.to_string(),
                    delay_seconds: delay_seconds(&item.due, self.times.now),
                    items: vec![item],
                }),
            }
        }
        self.batches = batches.into_values().collect();
        if self.batches.is_empty() { self.reschedule(turn) } else { Release::Behind(CountBehind { work: self }) }
    }

    fn reschedule(self, turn: &Turn) -> Release {
        if self.later.is_empty() { self.enqueue(turn) } else { Release::Reschedule(Reschedule { work: self }) }
    }

    fn enqueue(self, turn: &Turn) -> Release {
        if self.messages.is_empty() { self.end_rows(turn) } else { Release::Enqueue(EnqueueDue { work: self }) }
    }

    fn end_rows(self, turn: &Turn) -> Release {
        if self.ended.is_empty() {
            after_page(self.run, self.next, turn)
        } else {
            Release::EndRows(EndRows { work: self })
        }
    }
}

impl ReadFacts {
    /// The entries of the page.
    #[must_use]
    pub fn items(&self) -> &[DueItem] {
        &self.items
    }

    /// Goes on with the facts. An entry about which something could not be read stays for the next run.
    pub fn answered(self, facts: &PageFacts, policy: &Policy, turn: &mut Turn) -> Release {
        let Self { mut work, items } = self;
        work.decided = items.into_iter().map(|item| facts.decide_item(item, policy, work.times)).collect();
        // Webhooks get every update, so nobody reads from their rows who was notified. Of all others the row says that it is on its queue now:
        // a message whose row waits in the due index is a copy.
        let is_marked = |decided: &DecidedItem| {
            matches!(decided.decision, Some(ReleaseDecision::Send(_))) && decided.item.due.channel != Channel::Webhook
        };
        let places: Vec<usize> =
            work.decided.iter().enumerate().filter(|(_, one)| is_marked(one)).map(|(place, _)| place).collect();
        if places.is_empty() { work.sort(turn) } else { Release::Queued(MarkQueued { work, places }) }
    }
}

impl MarkQueued {
    /// The deliveries, in the order of the answers, each with whether it has a row of its update already.
    pub fn deliveries(&self) -> impl Iterator<Item = (&ScheduledDelivery, bool)> {
        let decided = self.places.iter().filter_map(|place| self.work.decided.get(*place));
        decided.map(|one| (&one.item.due, one.has_row))
    }

    /// The time of the release.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.work.times.now
    }

    /// Goes on with one answer per delivery. One that is over goes, another that could not be marked waits for the next run.
    pub fn answered(self, answers: Vec<Answer<Result<(), ClaimRefusal>>>, turn: &mut Turn) -> Release {
        let Self { mut work, places } = self;
        let answers: BTreeMap<usize, Answer<Result<(), ClaimRefusal>>> = places.into_iter().zip(answers).collect();
        let mut over = Vec::new();
        for (place, decided) in std::mem::take(&mut work.decided).into_iter().enumerate() {
            match answers.get(&place).map(WriteAnswer::of) {
                None | Some(WriteAnswer::Written) => work.decided.push(decided),
                Some(WriteAnswer::Over) => over.push(decided.item),
                Some(WriteAnswer::Attempted(next)) => work.later.push(next.replace(decided.item)),
                Some(WriteAnswer::Unknown) => work.run.counts.left += 1,
            }
        }
        delete(over, work.sort(turn))
    }
}

impl CountBehind {
    /// The last entry of each list with the reason of its members, in the order of the answers.
    pub fn lists(&self) -> impl Iterator<Item = (&DueItem, Reason)> {
        let reason = |storm| if storm { Reason::Throttled } else { Reason::Digest };
        self.work.batches.iter().filter_map(move |batch| Some((batch.items.last()?, reason(batch.key.storm))))
    }

    /// Goes on with one answer per list: how many other incidents are held behind its last entry. A list whose number is not known waits for
    /// the next run.
    pub fn answered(self, answers: Vec<Answer<usize>>, turn: &mut Turn) -> Release {
        let mut work = self.work;
        for (batch, answer) in std::mem::take(&mut work.batches).into_iter().zip(answers) {
            match answer {
                Ok(behind) => {
                    work.lists.insert(batch.key.clone());
                    work.messages.push(batch.message(behind, work.times.now));
                }
                Err(_) => work.run.counts.left += batch.items.len(),
            }
        }
        work.reschedule(turn)
    }
}

impl DueBatch {
    /// Builds the one message of a digest or bundle: its members, and the number of entries behind them that it only counts. A bundle with a
    /// single member is sent as a plain delivery.
    fn message(self, behind: usize, now: Timestamp) -> DueMessage {
        let Self { key, items, mut members } = self;
        // A retried list brings along what it only counted before.
        let omitted_before = items.iter().map(|item| item.due.omitted_count).max().unwrap_or(0);
        let omitted_count = u32::try_from(behind).unwrap_or(u32::MAX).saturating_add(omitted_before);
        let group = items.last().map(|item| item.due.destination.clone()).unwrap_or_default();
        let alone = key.storm && omitted_count == 0 && members.len() == 1;
        let message = match members.pop() {
            Some(delivery) if alone => Message::Single(Box::new(delivery)),
            last => {
                members.extend(last);
                Message::List(Box::new(BatchDelivery::new(members, omitted_count, key.storm)))
            }
        };
        DueMessage { message, group, delay_seconds: batch_delay_seconds(&items, now), items }
    }
}

impl Later {
    /// The entry that it replaces.
    #[must_use]
    pub fn replaced(&self) -> &ScheduledDelivery {
        &self.item.due
    }
}

/// What the answer of a conditional write says about a due entry.
enum WriteAnswer {
    /// The write took place.
    Written,
    /// The delivery is over, or a newer update replaced it.
    Over,
    /// Its attempt was made after all.
    Attempted(NextAttempt),
    /// Another invocation has the delivery, or nothing is known.
    Unknown,
}

/// The attempt after one that was made. Whoever made it may have lost the message for the next: another copy of its own message may have
/// been deferred, and deleted it. A second entry or message for the same attempt is refused by its claim.
struct NextAttempt {
    attempt: u32,
    at: Timestamp,
}

impl WriteAnswer {
    fn of(answer: &Answer<Result<(), ClaimRefusal>>) -> Self {
        match answer {
            Ok(Ok(())) => Self::Written,
            Ok(Err(ClaimRefusal::Done { .. } | ClaimRefusal::Superseded { .. })) => Self::Over,
            Ok(Err(ClaimRefusal::AttemptOver { attempts, next_at_ms })) => {
                let at = Timestamp::from_millisecond(*next_at_ms).unwrap_or_default();
                Self::Attempted(NextAttempt { attempt: attempts + 1, at })
            }
            Ok(Err(ClaimRefusal::Leased { .. })) | Err(_) => Self::Unknown,
        }
    }
}

impl NextAttempt {
    /// Replaces the entry of an attempt that was made.
    fn replace(self, item: DueItem) -> Later {
        let Self { attempt, at } = self;
        let entry = ScheduledDelivery { attempt, at, held: None, rebatched: false, ..item.due.clone() };
        Later { item, entry, wait: None, has_row: true }
    }
}

impl Reschedule {
    /// The later entries, in the order of the answers.
    #[must_use]
    pub fn later(&self) -> &[Later] {
        &self.work.later
    }

    /// The time of the release.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.work.times.now
    }

    /// Goes on with one answer per entry.
    pub fn answered(self, answers: Vec<Answer<Result<(), ClaimRefusal>>>, turn: &mut Turn) -> Release {
        let mut work = self.work;
        let mut done = Vec::new();
        for (later, answer) in std::mem::take(&mut work.later).into_iter().zip(answers) {
            match WriteAnswer::of(&answer) {
                // Within the same minute both have the same place: deleting the earlier one would lose the later one.
                WriteAnswer::Written if later.item.has_place_of(&later.entry, work.run.shards.written) => {}
                WriteAnswer::Written | WriteAnswer::Over => done.push(later.item),
                WriteAnswer::Attempted(next) => work.later.push(next.replace(later.item)),
                WriteAnswer::Unknown => work.run.counts.left += 1,
            }
        }
        delete(done, work.reschedule(turn))
    }
}

impl EnqueueDue {
    /// The messages, in the order of the answers.
    #[must_use]
    pub fn messages(&self) -> &[DueMessage] {
        &self.work.messages
    }

    /// Goes on with whether each message is on its queue.
    pub fn answered(self, enqueued: &[bool], turn: &mut Turn) -> Release {
        let mut work = self.work;
        let mut done = Vec::new();
        let mut all = true;
        for (message, enqueued) in std::mem::take(&mut work.messages).into_iter().zip(enqueued) {
            if *enqueued {
                work.run.counts.released += message.items.len();
                done.extend(message.items);
            } else {
                work.run.counts.left += message.items.len();
                all = false;
            }
        }
        // The next minute's run builds an unsent list again, with everything that is in it by then.
        if all {
            work.run.current.sent_batches.append(&mut work.lists);
        }
        delete(done, work.end_rows(turn))
    }
}

impl EndRows {
    /// The deliveries to end, in the order of the answers.
    pub fn ended(&self) -> impl Iterator<Item = (&ScheduledDelivery, &EndedItem)> {
        self.work.ended.iter().map(|ended| (&ended.item.due, ended))
    }

    /// The time of the release.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.work.times.now
    }

    /// Goes on with one answer per delivery.
    pub fn answered(self, answers: Vec<Answer<Result<(), ClaimRefusal>>>, turn: &mut Turn) -> Release {
        let mut work = self.work;
        let mut done = Vec::new();
        for (ended, answer) in std::mem::take(&mut work.ended).into_iter().zip(answers) {
            let after = WriteAnswer::of(&answer);
            if matches!(after, WriteAnswer::Written) {
                turn.count(Counted::EndedUnsent {
                    incident: ended.item.due.incident_id.clone(),
                    channel: ended.item.due.channel,
                    destination: ended.item.due.destination.clone(),
                    reason: ended.reason,
                });
            }
            match after {
                WriteAnswer::Written | WriteAnswer::Over => {
                    work.run.counts.ended += 1;
                    done.push(ended.item);
                }
                WriteAnswer::Attempted(next) => work.later.push(next.replace(ended.item)),
                WriteAnswer::Unknown => work.run.counts.left += 1,
            }
        }
        delete(done, work.reschedule(turn))
    }
}

impl DeleteEntries {
    /// The entries to delete.
    #[must_use]
    pub fn items(&self) -> &[DueItem] {
        &self.items
    }

    /// Goes on, whether they were deleted or not.
    pub fn answered(self, (): (), _: &mut Turn) -> Release {
        *self.then
    }
}
