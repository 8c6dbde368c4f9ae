//! What is written, scheduled and enqueued.

use super::{Deliver, Job, Message, contact_key, seconds_until};
use crate::turn::{Answer, Counted, Fault, Turn, Verdict};
use contracts::queue::{Delivery, Lane};
use domain::attempt::QUEUE_DELAY_MAX;
use domain::delivery::{FailedAttempt, RowWrite};
use domain::due::ScheduledDelivery;
use domain::reason::Reason;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// The pause between two tries to mark an accepted message.
const MARK_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The result of one member's attempt, as its row says it.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// The provider or the receiver accepted it.
    Accept {
        /// The provider's id of the message.
        provider_id: Option<String>,
        /// Milliseconds since intake accepted the event.
        latency_ms: i64,
        /// Whether the latency exceeds the tenant's alert window.
        late: bool,
        /// Whether that is our doing.
        by_us: bool,
    },
    /// It failed and is retried.
    Retry {
        /// When the next attempt is made.
        at: Timestamp,
        /// The failed attempt, for the delivery's history.
        attempt: FailedAttempt,
        /// The due entry of the retry; `None` if it waits on a queue.
        due: Option<Box<ScheduledDelivery>>,
    },
    /// It failed for good.
    Fail {
        /// Why nothing more is tried.
        reason: Reason,
        /// The failed attempt, for the delivery's history.
        attempt: FailedAttempt,
    },
    /// It was not made: its message waits on its queue for a rate-limit slot.
    Wait {
        /// Why it waits.
        reason: Reason,
        /// When its slot is.
        until: Timestamp,
    },
    /// It was not made: the contact's rate limit deferred it, or its provider throttles or has no quota left.
    Defer {
        /// Why it is deferred.
        reason: Reason,
        /// When it is due.
        due: Box<ScheduledDelivery>,
    },
    /// It was not made, and its message is a copy: the due index has its entry already.
    Leave {
        /// Why it waits.
        reason: Reason,
        /// When it is due.
        until: Timestamp,
    },
}

impl Mark {
    /// What the mark does to the row of `member`.
    #[must_use]
    pub fn row_write<'a>(&'a self, member: &Delivery, token: &'a str, at: Timestamp) -> RowWrite<'a> {
        let (update, attempt) = (member.alert.update, member.attempt);
        match self {
            Self::Accept { provider_id, latency_ms, late, .. } => RowWrite::Accept {
                update,
                attempt,
                token,
                at,
                provider_id: provider_id.as_deref(),
                latency_ms: *latency_ms,
                late: *late,
            },
            Self::Retry { at: next, attempt: failed, .. } => {
                RowWrite::Retry { attempt, token, at, next_at_ms: next.as_millisecond(), cause: &failed.cause }
            }
            Self::Fail { reason, attempt: failed } => {
                RowWrite::Fail { update, attempt, token, at, reason: *reason, cause: Some(&failed.cause) }
            }
            Self::Wait { reason, until } => {
                RowWrite::Wait { attempt, token, at, next_at_ms: until.as_millisecond(), reason: *reason }
            }
            Self::Defer { reason, due } => {
                RowWrite::Defer { attempt, token, at, next_at_ms: due.at.as_millisecond(), reason: *reason }
            }
            Self::Leave { reason, until } => {
                RowWrite::Defer { attempt, token, at, next_at_ms: until.as_millisecond(), reason: *reason }
            }
        }
    }
}

/// Marks the rows of a claimed message.
#[derive(Clone, Debug)]
pub struct Write {
    job: Job,
    at: Timestamp,
    /// One mark per member.
    marks: Vec<Mark>,
    /// The members whose marks are still to be written, by their place.
    open: Vec<usize>,
    pause: Option<Duration>,
    /// What follows, if that is not what the marks ask for.
    then: Option<Box<Deliver>>,
}

/// Puts the entry of a retry into the due index, unless it has one with the same or a later attempt: that one has the reason for the delay.
#[derive(Clone, Debug)]
pub struct ScheduleRetry {
    entry: Box<ScheduledDelivery>,
}

/// Gives the unused claims of a message back, so that the next claimant need not wait for the leases to expire.
#[derive(Clone, Debug)]
pub struct ReleaseClaims {
    job: Job,
    then: Box<Deliver>,
}

/// Puts a delivery on one of the function's own lanes.
#[derive(Clone, Debug)]
pub struct EnqueueDelivery {
    delivery: Box<Delivery>,
    lane: Lane,
    delay_seconds: u16,
}

/// Records what follows from an acceptance: whose message the provider's id is, and that the endpoint works. Nothing depends on it.
///
/// It comes after the mark and not with it: a transaction that is refused for a conflict would send the message a second time, whereas
/// feedback that finds no row is only not shown.
#[derive(Clone, Debug)]
pub struct Settle {
    job: Job,
    at: Timestamp,
    provider_id: Option<String>,
}

impl Write {
    pub(super) fn new(job: Job, at: Timestamp, marks: Vec<Mark>) -> Self {
        let open = (0..marks.len()).collect();
        Self { job, at, marks, open, pause: None, then: None }
    }

    /// Goes on with `then` after the write.
    pub(super) fn and_then(self, then: Deliver) -> Self {
        Self { then: Some(Box::new(then)), ..self }
    }

    /// How long to wait before the write, if at all.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        self.pause
    }

    /// When the attempt ended.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The token of the claims.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.job.token
    }

    /// The members to write with their marks, in the order of the answers.
    pub fn marks(&self) -> impl Iterator<Item = (&Delivery, &Mark)> {
        let members = self.job.members();
        self.open.iter().filter_map(|place| Some((members.get(*place)?, self.marks.get(*place)?)))
    }

    /// Goes on with one answer per mark: whether it was written. `false` says that another claimer took over.
    ///
    /// Without its mark an accepted message would be sent again, so the mark is tried again until the invocation ends.
    pub fn answered(mut self, answers: Vec<Answer<bool>>, turn: &mut Turn) -> Deliver {
        let retried = self.pause.is_some();
        let (mut open, mut fault, mut lost) = (Vec::new(), None, false);
        for (place, answer) in self.open.iter().zip(answers) {
            match answer {
                Ok(true) => {}
                // If the answer to an earlier try was lost, the mark may be there already.
                Ok(false) if retried => {}
                Ok(false) => {
                    lost = true;
                    let row = self.job.members().get(*place).map(Delivery::row_key).unwrap_or_default();
                    turn.count(Counted::ClaimLost { row });
                }
                Err(error) => {
                    let accepted = matches!(self.marks.get(*place), Some(Mark::Accept { .. }));
                    if accepted && matches!(error, Fault::Unavailable { .. }) && turn.left > MARK_RETRY_PAUSE {
                        open.push(*place);
                    } else {
                        fault = fault.or(Some(error));
                    }
                }
            }
        }
        if !open.is_empty() {
            (self.open, self.pause) = (open, Some(MARK_RETRY_PAUSE));
            return Deliver::Write(self);
        }
        if let Some(fault) = fault {
            return Deliver::End(fault.into());
        }
        self.count(turn);
        self.next(lost, turn)
    }

    /// Counts the results. Test alerts stay out of the delivery metrics.
    fn count(&self, turn: &mut Turn) {
        if let (Message::List(list), Some(Mark::Accept { .. })) = (&self.job.message, self.marks.first()) {
            turn.count(Counted::ListDelivered { storm: list.storm });
        }
        let single = self.job.single().is_some();
        for (member, mark) in self.job.members().iter().zip(&self.marks) {
            match mark {
                Mark::Accept { latency_ms, by_us, .. } if !member.alert.test => turn.count(Counted::Delivered {
                    channel: member.channel,
                    latency_ms: single.then_some(*latency_ms),
                    late: *by_us,
                }),
                Mark::Fail { reason, .. } => turn.count(Counted::GivenUp {
                    channel: member.channel,
                    destination: member.destination.clone(),
                    reason: *reason,
                    test: member.alert.test,
                }),
                Mark::Accept { .. }
                | Mark::Retry { .. }
                | Mark::Wait { .. }
                | Mark::Defer { .. }
                | Mark::Leave { .. } => {}
            }
        }
    }

    fn next(mut self, lost: bool, turn: &Turn) -> Deliver {
        if let Some(then) = self.then {
            return *then;
        }
        match (self.marks.pop(), self.job.message) {
            (Some(Mark::Accept { provider_id, .. }), message) => {
                let job = Job { message, ..self.job };
                Deliver::Settle(Settle { job, at: self.at, provider_id })
            }
            (Some(Mark::Retry { at, attempt, due: None }), Message::Single(delivery)) if !lost => {
                let retry = Delivery { attempt: attempt.attempt + 1, ..*delivery };
                // Retries use the bulk lane, so that a failing endpoint never delays another tenant's first alert.
                Deliver::Enqueue(EnqueueDelivery::new(Box::new(retry), at, Lane::Bulk, turn))
            }
            _ => Deliver::End(Verdict::Delete),
        }
    }
}

impl ScheduleRetry {
    pub(super) fn new(entry: ScheduledDelivery) -> Self {
        Self { entry: Box::new(entry) }
    }

    /// The entry to put.
    #[must_use]
    pub fn entry(&self) -> &ScheduledDelivery {
        &self.entry
    }

    /// Ends the story after the entry was put.
    pub fn answered(self, answer: Answer<()>, _: &mut Turn) -> Deliver {
        Deliver::End(answer.map_or_else(Verdict::from, |()| Verdict::Delete))
    }
}

impl ReleaseClaims {
    /// Releases the claims, and then goes on with `then`.
    pub(super) fn then(job: Job, then: Deliver) -> Deliver {
        Deliver::Release(Self { job, then: Box::new(then) })
    }

    /// The deliveries whose claims are released.
    #[must_use]
    pub fn members(&self) -> &[Delivery] {
        self.job.members()
    }

    /// The token of the claims.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.job.token
    }

    /// Goes on after the claims were released.
    pub fn answered(self, answer: Answer<()>, _: &mut Turn) -> Deliver {
        match answer {
            Err(fault) => Deliver::End(fault.into()),
            Ok(()) => *self.then,
        }
    }
}

impl EnqueueDelivery {
    /// Puts `delivery` on `lane` with the delay until `at`, capped at SQS's maximum.
    pub(super) fn new(delivery: Box<Delivery>, at: Timestamp, lane: Lane, turn: &Turn) -> Self {
        let delay = seconds_until(at, turn.now).clamp(0, i64::from(QUEUE_DELAY_MAX));
        Self { delivery, lane, delay_seconds: u16::try_from(delay).unwrap_or(0) }
    }

    /// The delivery as its next receiver gets it.
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// The lane that it goes on.
    #[must_use]
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// The message group, by which SQS shares a lane fairly: the tenant, and on the bulk lane a platform-wide incident.
    #[must_use]
    pub fn group(&self) -> &str {
        let alert = &self.delivery.alert;
        match self.lane {
            Lane::Bulk if alert.platform_wide => alert.incident_id.as_str(),
            Lane::Bulk | Lane::Urgent => alert.tenant.as_str(),
        }
    }

    /// The delay on the queue, in seconds.
    #[must_use]
    pub fn delay_seconds(&self) -> u16 {
        self.delay_seconds
    }

    /// Goes on after the delivery was enqueued.
    pub fn answered(self, answer: Answer<()>, _: &mut Turn) -> Deliver {
        Deliver::End(answer.map_or_else(Verdict::from, |()| Verdict::Delete))
    }
}

impl Settle {
    /// The deliveries that were accepted in one message.
    #[must_use]
    pub fn members(&self) -> &[Delivery] {
        self.job.members()
    }

    /// When they were accepted.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// How long the send took; `None` if an earlier invocation made it.
    #[must_use]
    pub fn took(&self) -> Option<SignedDuration> {
        self.job.took
    }

    /// The provider's id of the message with the contact that its later feedback is about; `None` where there will be none.
    #[must_use]
    pub fn provider_message(&self) -> Option<(&str, String)> {
        let contact = self.job.members().first().and_then(contact_key)?;
        Some((self.provider_id.as_deref()?, contact))
    }

    /// Ends the story. The queue message is deleted.
    pub fn answered(self, (): (), _: &mut Turn) -> Deliver {
        Deliver::End(Verdict::Delete)
    }
}
