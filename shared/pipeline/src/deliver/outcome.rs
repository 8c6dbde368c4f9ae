//! The send, and what follows it.

use super::record::{Mark, ReleaseClaims, Write};
use super::undelivered::{sms_limit_notice, undelivered_notice, window_missed_notice};
use super::{Deliver, Job, Message, QUOTA_PAUSE, contact_key, monitored_integration, seconds_until, throttle_pause};
use crate::send::{Accepted, SendFailure};
use crate::turn::{Answer, Counted, Turn, Verdict};
use contracts::queue::{ContactRefused, Delivery, IncidentReceived, VERSION};
use domain::attempt::{AttemptFailure, NextStep, decide_after_test_alert, decide_next_step, queue_delay_max};
use domain::delivery::{FailedAttempt, counts_as_our_delay};
use domain::ids::RecipientId;
use domain::reason::Reason;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// How often a message that its provider throttles is received before it goes to the due index: a dead letter is one that was received 20 times.
const THROTTLED_RECEIVES_MAX: u32 = 5;
/// The longest pause on a queue after a provider throttled us.
const THROTTLE_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Sends a claimed message once.
#[derive(Clone, Debug)]
pub struct Send {
    job: Job,
    started: Timestamp,
}

/// Reports to `feedback` that the contact refuses messages, so that the recipient is marked, and the next plan knows. Before the mark: after
/// a crash in between, the next attempt reports it again, which changes nothing.
#[derive(Clone, Debug)]
pub struct ReportRefusal {
    refused: ContactRefused,
    failure: Failure,
}

/// Records the failure of an endpoint for its owner.
#[derive(Clone, Debug)]
pub struct RecordFailure {
    failure: Failure,
}

/// Disables an endpoint that no longer exists.
#[derive(Clone, Debug)]
pub struct Disable {
    failure: Failure,
    ended: Option<Reason>,
}

/// Sends notices to `classify` about critical alerts that are given up, or miss their window. Before the mark: after a crash in between, a
/// notice is sent again and deduplicated.
#[derive(Clone, Debug)]
pub struct Notify {
    notices: Vec<IncidentReceived>,
    then: Box<Deliver>,
    /// The claimed message if nothing of it was sent.
    unsent: Option<Job>,
}

/// A failed attempt of a claimed message.
#[derive(Clone, Debug)]
struct Failure {
    job: Job,
    failed: AttemptFailure,
    status: Option<u16>,
    response: String,
    started: Timestamp,
    at: Timestamp,
    jitter: f64,
}

impl Send {
    pub(super) fn new(job: Job, turn: &Turn) -> Self {
        Self { job, started: turn.now }
    }

    /// The message: after the claim, the members that were claimed.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.job.message
    }

    /// Whether the chat webhook's rate limiter delayed it.
    #[must_use]
    pub fn waited(&self) -> bool {
        self.job.waited
    }

    /// Goes on with the outcome of the send.
    pub fn answered(self, answer: Result<Accepted, SendFailure>, turn: &mut Turn) -> Deliver {
        let Self { job, started } = self;
        let job = Job { took: Some(turn.now.duration_since(started)), ..job };
        match answer {
            Ok(Accepted { provider_id }) => accepted(job, provider_id, started, turn),
            Err(SendFailure::Failed { failed, status, response, plain }) => {
                let job = Job { message: with_plain(job.message, plain), ..job };
                let (at, jitter) = (turn.now, turn.jitter);
                let failure = Failure { job, failed, status, response, started, at, jitter };
                match failure.refused_contact() {
                    Some(refused) => Deliver::Refusal(ReportRefusal { refused, failure }),
                    None => failed_attempt(failure, turn),
                }
            }
            Err(SendFailure::Throttled) => throttled(job, turn),
            Err(SendFailure::QuotaExhausted) => quota_exhausted(job, turn),
            Err(SendFailure::Unavailable { code }) => {
                let verdict = Verdict::Fault { code: format!("provider_unavailable: {code}") };
                ReleaseClaims::then(job, Deliver::End(verdict))
            }
        }
    }
}

/// Remembers that the receiver refused the rich form.
fn with_plain(message: Message, refused: bool) -> Message {
    match message {
        Message::Single(delivery) => {
            let plain = delivery.plain || refused;
            Message::Single(Box::new(Delivery { plain, ..*delivery }))
        }
        list @ Message::List(_) => list,
    }
}

/// Marks the members of a list that an earlier invocation sent and did not mark any more, and goes on with `then`. That invocation knew the
/// provider's id of the message, this one does not.
pub(super) fn accepted_before(job: Job, then: Deliver, turn: &Turn) -> Deliver {
    let mark = |member: &Delivery| {
        let (latency_ms, late) = member.alert.latency(&member.why, member.window_seconds, turn.now);
        Mark::Accept { provider_id: None, latency_ms, late, by_us: false }
    };
    let marks = job.members().iter().map(mark).collect();
    Deliver::Write(Write::new(job, turn.now, marks).and_then(then))
}

/// Marks every member as accepted.
fn accepted(job: Job, provider_id: Option<String>, started: Timestamp, turn: &Turn) -> Deliver {
    let mark = |member: &Delivery| {
        let (latency_ms, late) = member.alert.latency(&member.why, member.window_seconds, turn.now);
        let (_, was_late) = member.alert.latency(&member.why, member.window_seconds, started);
        let by_us = late && counts_as_our_delay(member.channel, member.attempt, job.waited, was_late);
        Mark::Accept { provider_id: provider_id.clone(), latency_ms, late, by_us }
    };
    let marks = job.members().iter().map(mark).collect();
    Deliver::Write(Write::new(job, turn.now, marks))
}

/// Gives the claims back and comes again: after some pauses on the queue, from the due index. It is no attempt, however long it lasts, and
/// never a dead letter.
fn throttled(job: Job, turn: &mut Turn) -> Deliver {
    turn.counted.extend(job.members().first().map(|first| Counted::ProviderThrottled { channel: first.channel }));
    if turn.receives <= THROTTLED_RECEIVES_MAX {
        let pause = throttle_pause(turn.receives, THROTTLE_PAUSE_MAX, turn.jitter);
        let end = Deliver::End(Verdict::Return { pause, code: "throttled" });
        if job.single().is_none() {
            return ReleaseClaims::then(job, end);
        }
        // Noted on the row, so that it keeps its place within its contact's rate limit.
        let until = turn.now.saturating_add(SignedDuration::try_from(pause).unwrap_or_default()).unwrap_or(turn.now);
        let mark = Mark::Wait { reason: Reason::ProviderLimit, until };
        return wait_until(Late { cause: "throttled", next_at: until }, job, vec![mark], Some(end), turn);
    }
    let oldest = job.members().iter().map(|member| member.alert.at).min().unwrap_or(turn.now);
    schedule_anew(job, turn.now.saturating_add(long_throttle_pause(turn.now.duration_since(oldest))), turn)
}

/// Returns the pause in the due index for an alert of this age: a quarter of it, from one to fifteen minutes. Each pause is about a quarter
/// longer than the one before it.
fn long_throttle_pause(age: SignedDuration) -> SignedDuration {
    SignedDuration::from_secs((age.as_secs() / 4).clamp(60, 900))
}

/// Comes again in an hour. It is no attempt.
fn quota_exhausted(job: Job, turn: &mut Turn) -> Deliver {
    turn.counted.extend(job.members().first().map(|first| Counted::QuotaExhausted { channel: first.channel }));
    schedule_anew(job, turn.now.saturating_add(QUOTA_PAUSE), turn)
}

/// Defers every member. The rows say that they wait, so that nobody counts as notified, and the wait is explained.
fn schedule_anew(job: Job, at: Result<Timestamp, jiff::Error>, turn: &mut Turn) -> Deliver {
    let at = at.unwrap_or(turn.now);
    let defer = |member: &Delivery| Mark::Defer {
        reason: Reason::ProviderLimit,
        due: Box::new(job.due_entry(member, at, member.attempt)),
    };
    let marks = job.members().iter().map(defer).collect();
    wait_until(Late { cause: Reason::ProviderLimit.as_str(), next_at: at }, job, marks, None, turn)
}

/// Writes the marks of a claimed message that is not sent before `next_at`, and then goes on with `then`. Before that, notices say of critical
/// openings that they miss their alert window.
pub(super) fn wait_until(
    late: Late<'_>,
    job: Job,
    marks: Vec<Mark>,
    then: Option<Deliver>,
    turn: &mut Turn,
) -> Deliver {
    let members = job.members().iter();
    let notices: Vec<_> =
        members.filter_map(|member| window_missed_notice(member, late.cause, late.next_at, turn.now)).collect();
    turn.counted.extend(notices.first().map(|_| Counted::WindowMissed));
    let unsent = job.clone();
    let write = Write::new(job, turn.now, marks);
    let story = Deliver::Write(match then {
        Some(then) => write.and_then(then),
        None => write,
    });
    if notices.is_empty() {
        return story;
    }
    Deliver::Notify(Notify { notices, then: Box::new(story), unsent: Some(unsent) })
}

/// Why a message is not sent now, and when it is.
pub(super) struct Late<'a> {
    pub(super) cause: &'a str,
    pub(super) next_at: Timestamp,
}

/// Counts a failed attempt, and records it for the endpoint's owner: once, however many members the message has.
fn failed_attempt(failure: Failure, turn: &mut Turn) -> Deliver {
    for member in failure.job.members() {
        turn.count(Counted::AttemptFailed {
            channel: member.channel,
            destination: member.destination.clone(),
            attempt: member.attempt,
            cause: failure.failed.cause.clone(),
            test: member.alert.test,
        });
    }
    let monitored = failure.job.members().first().and_then(monitored_integration).is_some();
    if monitored { Deliver::Endpoint(RecordFailure { failure }) } else { after_endpoint(failure, None, turn) }
}

impl ReportRefusal {
    /// The report, for the queue of `feedback`.
    #[must_use]
    pub fn refused(&self) -> &ContactRefused {
        &self.refused
    }

    /// Goes on after the report was sent. Without it the message comes again: a contact that refuses messages is not forgotten.
    pub fn answered(self, answer: Answer<()>, turn: &mut Turn) -> Deliver {
        match answer {
            Ok(()) => failed_attempt(self.failure, turn),
            Err(fault) => ReleaseClaims::then(self.failure.job, Deliver::End(fault.into())),
        }
    }
}

impl RecordFailure {
    /// A delivery to the endpoint.
    #[must_use]
    pub fn delivery(&self) -> Option<&Delivery> {
        self.failure.job.members().first()
    }

    /// The failure's code.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.failure.failed.cause
    }

    /// When the attempt failed.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.failure.at
    }

    /// How long the attempt took.
    #[must_use]
    pub fn took(&self) -> Option<SignedDuration> {
        self.failure.job.took
    }

    /// Goes on with the reason to give up, if the endpoint failed for too long.
    pub fn answered(self, answer: Answer<Option<Reason>>, turn: &mut Turn) -> Deliver {
        match answer {
            Err(fault) => Deliver::End(fault.into()),
            Ok(ended) => after_endpoint(self.failure, ended, turn),
        }
    }
}

fn after_endpoint(failure: Failure, ended: Option<Reason>, turn: &mut Turn) -> Deliver {
    let disables = |member: &Delivery| matches!(failure.next(member, ended), NextStep::GiveUp { disable: true, .. });
    if failure.job.members().iter().any(disables) {
        return Deliver::Disable(Disable { failure, ended });
    }
    failure.record(ended, turn)
}

impl Disable {
    /// A delivery to the endpoint.
    #[must_use]
    pub fn delivery(&self) -> Option<&Delivery> {
        self.failure.job.members().first()
    }

    /// The failure's code.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.failure.failed.cause
    }

    /// When the attempt failed.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.failure.at
    }

    /// Goes on after the endpoint was disabled.
    pub fn answered(self, answer: Answer<()>, turn: &mut Turn) -> Deliver {
        match answer {
            Err(fault) => Deliver::End(fault.into()),
            Ok(()) => self.failure.record(self.ended, turn),
        }
    }
}

impl Failure {
    /// Returns the report about a recipient's contact that refuses messages for good; `None` for any other failure.
    fn refused_contact(&self) -> Option<ContactRefused> {
        let first = self.job.members().first()?;
        let reason = self.failed.contact_refusal()?;
        Some(ContactRefused {
            v: VERSION,
            tenant: first.alert.tenant.clone(),
            recipient: RecipientId::parse(&first.destination)?,
            incident_id: first.alert.incident_id.clone(),
            category: first.alert.category,
            contact: contact_key(first)?,
            reason,
        })
    }

    /// Decides what follows for one member. All members of a list get one time, so that it stays one message.
    fn next(&self, member: &Delivery, ended: Option<Reason>) -> NextStep {
        let next = if member.alert.test {
            decide_after_test_alert(&self.failed)
        } else {
            decide_next_step(member.channel, member.attempt, &self.failed, self.at, self.jitter)
        };
        match (next, ended) {
            (NextStep::Retry { .. }, Some(reason)) => NextStep::GiveUp { reason, disable: false },
            (next, _) => next,
        }
    }

    /// Records the attempt on every row: the retry or the end.
    fn record(self, ended: Option<Reason>, turn: &mut Turn) -> Deliver {
        let mut notices = Vec::new();
        let mut marks = Vec::with_capacity(self.job.members().len());
        for member in self.job.members() {
            let attempt = FailedAttempt {
                update: member.alert.update,
                attempt: member.attempt,
                at: self.at,
                cause: self.failed.cause.clone(),
                status: self.status,
                response: self.response.clone(),
                took_ms: self.at.as_millisecond() - self.started.as_millisecond(),
            };
            marks.push(match self.next(member, ended) {
                NextStep::Retry { at } => {
                    let late = window_missed_notice(member, &self.failed.cause, at, self.at);
                    turn.counted.extend(late.as_ref().map(|_| Counted::WindowMissed));
                    notices.extend(late);
                    let long = seconds_until(at, self.at) > i64::from(queue_delay_max(member.channel));
                    let listed = matches!(self.job.message, Message::List(_));
                    let due = || Box::new(self.job.due_entry(member, at, member.attempt + 1));
                    Mark::Retry { at, attempt, due: (long || listed).then(due) }
                }
                NextStep::GiveUp { reason, .. } => {
                    notices.extend(undelivered_notice(member, &self.failed.cause, self.at));
                    if reason == Reason::SmsLimitReached {
                        notices.push(sms_limit_notice(member, self.at));
                    }
                    Mark::Fail { reason, attempt }
                }
            });
        }
        let write = Deliver::Write(Write::new(self.job, self.at, marks));
        if notices.is_empty() {
            write
        } else {
            Deliver::Notify(Notify { notices, then: Box::new(write), unsent: None })
        }
    }
}

impl Notify {
    /// The notices to send.
    #[must_use]
    pub fn notices(&self) -> &[IncidentReceived] {
        &self.notices
    }

    /// Goes on after the notices were sent. Without them the message comes again. A claim of which nothing was sent is given back: the next
    /// claimant would take it for a message that may have arrived.
    pub fn answered(self, answer: Answer<()>, _: &mut Turn) -> Deliver {
        match (answer, self.unsent) {
            (Ok(()), _) => *self.then,
            (Err(fault), Some(job)) => ReleaseClaims::then(job, Deliver::End(fault.into())),
            (Err(fault), None) => Deliver::End(fault.into()),
        }
    }
}
