//! The steps before the send.

use super::outcome::{Late, accepted_before, wait_until};
use super::record::{EnqueueDelivery, Mark, ReleaseClaims, ScheduleRetry, Write};
use super::{Deliver, Job, LEASE_MARGIN, Message, Send, contact_key, due_entry, seconds_until};
use crate::turn::{Answer, Counted, Turn, Verdict};
use contracts::queue::{Delivery, DeliveryTarget};
use domain::attempt::queue_delay_max;
use domain::delivery::{
    ClaimRefusal, DeliveryRow, EarlierClaim, FailedAttempt, delivery_row_key, is_first_attempt_over,
};
use domain::due::{Hold, ScheduledDelivery};
use domain::rate_limit::{CallSlot, Exemption, RateLimitDecision};
use domain::reason::Reason;
use domain::vocabulary::{Channel, ChannelClass};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// A rate-limit slot at most this many milliseconds ahead is used at once, because pauses on a queue are whole seconds.
const SLOT_EARLY_MS: i64 = 250;
/// Alerts that would wait for a slot for longer than this go into a bundle instead, in milliseconds. They reserve none, so that a flood never
/// stands before the next alert for longer than that.
const SLOT_WAIT_MAX_MS: i64 = 60_000;
/// The pause before a webhook checks again whether the first attempt of the preceding update was made.
const PREDECESSOR_PAUSE: Duration = Duration::from_secs(1);
/// How far the clock of whoever marked an attempt may be ahead of ours, in seconds. A pause that was just short enough for a queue then looks too
/// long for one.
const CLOCKS_DIFFER_SECONDS: i64 = 3;
/// How often a webhook's message is received before it stops waiting for the preceding update.
const PREDECESSOR_RECEIVES_MAX: u32 = 6;

/// Reads the row of the preceding update of a webhook.
#[derive(Clone, Debug)]
pub struct Predecessor {
    job: Job,
    row: String,
}

/// Claims the rows of a message.
#[derive(Clone, Debug)]
pub struct Claim {
    job: Job,
    at: Timestamp,
    lease_until_ms: i64,
}

/// Reserves the next free rate-limit slot of a chat webhook. After the claim, so that a duplicate spends none.
#[derive(Clone, Debug)]
pub struct Slot {
    job: Job,
    fingerprint: String,
    /// What waits too long for a slot: a bundle, or nothing.
    bundles: bool,
    exempt: Option<Exemption>,
}

/// Reserves a place within the rate limit of an e-mail address or phone number.
#[derive(Clone, Debug)]
pub struct Limit {
    job: Job,
    contact: String,
    class: ChannelClass,
    exempt: Option<Exemption>,
}

/// Begins with a single delivery: a webhook's updates keep their order.
///
/// Updates that are planned together are on the queue together, in no order. The delivery waits while the first attempt of the preceding
/// update was not made. It gives up waiting after [`PREDECESSOR_RECEIVES_MAX`] receives, so that a lost update does not block those behind.
pub(super) fn begin_single(job: Job, turn: &Turn) -> Deliver {
    match job.single() {
        Some(Delivery { attempt: 1, follows: Some(before), destination, channel, .. })
            if turn.receives < PREDECESSOR_RECEIVES_MAX =>
        {
            let row = delivery_row_key(destination, *channel, *before);
            Deliver::Predecessor(Predecessor { job, row })
        }
        _ => Deliver::Claim(Claim::new(job, turn)),
    }
}

impl Predecessor {
    /// The delivery that waits; its row is of the same incident and tenant.
    #[must_use]
    pub fn delivery(&self) -> Option<&Delivery> {
        self.job.single()
    }

    /// The name of the row to read.
    #[must_use]
    pub fn row(&self) -> &str {
        &self.row
    }

    /// Goes on with the row of the preceding update.
    pub fn answered(self, answer: Answer<Option<DeliveryRow>>, turn: &mut Turn) -> Deliver {
        match answer {
            Err(fault) => Deliver::End(fault.into()),
            Ok(row) if is_first_attempt_over(row.as_ref()) => Deliver::Claim(Claim::new(self.job, turn)),
            Ok(_) => Deliver::End(Verdict::Return { pause: PREDECESSOR_PAUSE, code: "out_of_order" }),
        }
    }
}

impl Claim {
    pub(super) fn new(job: Job, turn: &Turn) -> Self {
        let left = SignedDuration::try_from(turn.left).unwrap_or_default();
        let lease_until = turn.now.saturating_add(left + LEASE_MARGIN).unwrap_or(turn.now);
        Self { job, at: turn.now, lease_until_ms: lease_until.as_millisecond() }
    }

    /// The deliveries whose rows are claimed, in the order of the answers.
    #[must_use]
    pub fn members(&self) -> &[Delivery] {
        self.job.members()
    }

    /// The token that the marks must present.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.job.token
    }

    /// When the claim is made.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// When the lease expires, in Unix milliseconds.
    #[must_use]
    pub fn lease_until_ms(&self) -> i64 {
        self.lease_until_ms
    }

    /// Goes on with one answer per member: what an earlier claim of the attempt left behind, or why the claim was refused.
    ///
    /// While another invocation has a lease on a row of a list, that one is sending a part of it. Sending the rest would make a second
    /// message, so all of it waits. If an earlier invocation ended while it marked a list, some rows say that its message was accepted: then
    /// the others were in it too, and are marked instead of sent again.
    pub fn answered(mut self, answers: Vec<Answer<Result<EarlierClaim, ClaimRefusal>>>, turn: &mut Turn) -> Deliver {
        let (mut fault, mut leased, mut refused) = (None, None, None);
        let mut accepted = BTreeSet::new();
        let mut claimed = Vec::with_capacity(answers.len());
        for answer in answers {
            let mut earlier = None;
            match answer {
                Err(error) => fault = fault.or(Some(error)),
                Ok(Ok(before)) => earlier = Some(before),
                Ok(Err(ClaimRefusal::Leased { until_ms })) => leased = leased.max(Some(until_ms)),
                Ok(Err(refusal)) => {
                    turn.count(Counted::DuplicateSuppressed);
                    if let ClaimRefusal::Done { accepted_by: Some(token) } = &refusal {
                        accepted.insert(token.clone());
                    }
                    refused = Some(refusal);
                }
            }
            claimed.push(earlier);
        }
        let waits = match (fault, leased) {
            (Some(fault), _) => Some(Verdict::from(fault)),
            (None, Some(until_ms)) => {
                let left = u64::try_from(until_ms - self.at.as_millisecond()).unwrap_or(0);
                Some(Verdict::Return { pause: Duration::from_millis(left), code: "leased" })
            }
            (None, None) => None,
        };
        if let (Message::Single(delivery), Some(refusal)) = (&self.job.message, refused) {
            return after_refusal(delivery, refusal, turn);
        }
        let was_sent =
            |before: &EarlierClaim| before.may_have_sent.as_ref().is_some_and(|token| accepted.contains(token));
        let mut sent = self.job.clone();
        sent.retain(claimed.iter().map(|claim| claim.as_ref().is_some_and(was_sent)));
        self.job.retain(claimed.iter().map(|claim| claim.as_ref().is_some_and(|before| !was_sent(before))));
        let earlier = claimed.into_iter().flatten().next_back().unwrap_or_default();
        let any = !self.job.members().is_empty();
        let then = match waits {
            Some(verdict) if any => ReleaseClaims::then(self.job, Deliver::End(verdict)),
            Some(verdict) => Deliver::End(verdict),
            None if any => limit(self.job, earlier, turn),
            None => Deliver::End(Verdict::Delete),
        };
        if accepted.is_empty() || sent.members().is_empty() { then } else { accepted_before(sent, then, turn) }
    }
}

/// Does what a refused claim of a single delivery asks for: nothing for a duplicate, or the next attempt is enqueued once more.
fn after_refusal(delivery: &Delivery, refusal: ClaimRefusal, turn: &Turn) -> Deliver {
    let ClaimRefusal::AttemptOver { attempts, next_at_ms } = refusal else { return Deliver::End(Verdict::Delete) };
    // The invocation that marked the attempt may have died before it enqueued the next one. A second message for it does no harm, because
    // its claim is refused; a missing one would lose the alert. After a longer pause there is nothing to do: its due entry was written with
    // the mark.
    let at = Timestamp::from_millisecond(next_at_ms).unwrap_or(turn.now);
    if seconds_until(at, turn.now) > i64::from(queue_delay_max(delivery.channel)) + CLOCKS_DIFFER_SECONDS {
        return Deliver::End(Verdict::Delete);
    }
    let retry = Delivery { attempt: attempts + 1, ..delivery.clone() };
    // What is left of the pause does not say whether it was long enough for quiet hours to count. So a retry to people goes to the due
    // index, where `release` checks them.
    if retry.channel == Channel::Webhook {
        Deliver::Enqueue(EnqueueDelivery::new(Box::new(retry), at, turn.lane, turn))
    } else {
        Deliver::Schedule(ScheduleRetry::new(due_entry(&retry, at)))
    }
}

/// Goes on with a claimed message: applies the contact's rate limit to the first attempt of a single alert. A delivery that it deferred is
/// delivered at the start of a later minute, in one bundle with everything else that was deferred until then.
fn limit(job: Job, before: EarlierClaim, turn: &mut Turn) -> Deliver {
    if let (Some(_), Some(reason), Some(until), None) =
        (job.single(), before.due_reason, before.deferred_until, &before.may_have_sent)
    {
        // A copy, as of a routing job that came again. The entry of the due index sends it, after one more look: since the wait began, the
        // incident may have been resolved, or its category muted.
        turn.count(Counted::DuplicateSuppressed);
        // Once the entry is due, `release` may be gone with it: one of an earlier version did not say on the row that it had sent the message.
        // The entry is written over itself, or anew.
        let again = job.single().filter(|_| reason == Reason::ProviderLimit && until <= turn.now);
        let due = again.map(|delivery| Box::new(due_entry(delivery, until)));
        let mark = due.map_or(Mark::Leave { reason, until }, |due| Mark::Defer { reason, due });
        return Deliver::Write(Write::new(job, turn.now, vec![mark]));
    }
    if let Some(DeliveryTarget::Chat { fingerprint, .. }) = job.single().map(|delivery| &delivery.target) {
        let fingerprint = fingerprint.clone();
        return chat_slot(job, fingerprint, &before, turn);
    }
    let limited = job.single().filter(|delivery| {
        // A deferred delivery has its place in the bundle already.
        let reserved = delivery.why.held.as_ref().is_some_and(|held| held.reason == Reason::Throttled);
        // A test keeps the limits whatever the tenant's settings say: it reaches people who did not ask for it.
        let asks = (delivery.bundle && !reserved) || delivery.alert.test;
        asks && delivery.attempt <= 1 && before.may_have_sent.is_none()
    });
    let asked = limited.and_then(|delivery| {
        Some((contact_key(delivery)?, delivery.channel.class(), delivery.alert.rate_limit_exemption()))
    });
    match (asked, before.deferred_until) {
        (None, _) => Deliver::Send(Send::new(job, turn)),
        // Its provider throttled it, and its pause is over: it has its place already.
        (Some(_), Some(until)) if until <= turn.now => Deliver::Send(Send::new(job, turn)),
        // A queue may deliver a message twice; the second one keeps the place of the first.
        (Some((_, _, exempt)), Some(until)) => defer(job, until, exempt, turn),
        (Some((contact, class, exempt)), None) => Deliver::Limit(Limit { job, contact, class, exempt }),
    }
}

/// Goes on with a claimed message to a chat webhook: it is sent in the slot that its row has, or asks for one.
fn chat_slot(mut job: Job, fingerprint: String, before: &EarlierClaim, turn: &mut Turn) -> Deliver {
    let Some(delivery) = job.single() else { return Deliver::Send(Send::new(job, turn)) };
    let from_bundle = delivery.why.held.as_ref().is_some_and(|held| held.reason == Reason::Throttled);
    let exempt = delivery.alert.rate_limit_exemption();
    let bundles = delivery.bundle && delivery.attempt <= 1 && !delivery.alert.test && exempt.is_none();
    match before.deferred_until {
        // A bundle of one has waited, and what may have been sent is not asked to wait.
        _ if from_bundle || before.may_have_sent.is_some() => Deliver::Send(Send::new(job, turn)),
        None => Deliver::Slot(Slot { job, fingerprint, bundles, exempt }),
        Some(until) => {
            let ahead_ms = until.as_millisecond() - turn.now.as_millisecond();
            if ahead_ms <= SLOT_EARLY_MS {
                job.waited = true;
                return Deliver::Send(Send::new(job, turn));
            }
            // A queue may deliver a message twice; the second one keeps the slot of the first.
            wait_for_slot(job, until, turn)
        }
    }
}

/// Notes on the row for which slot a delivery waits, and returns its message to the queue until then.
fn wait_for_slot(job: Job, until: Timestamp, turn: &mut Turn) -> Deliver {
    let left = until.as_millisecond() - turn.now.as_millisecond();
    let pause = Duration::from_millis(u64::try_from(left).unwrap_or(0));
    let mark = Mark::Wait { reason: Reason::Throttled, until };
    let then = Deliver::End(Verdict::Return { pause, code: "slot" });
    wait_until(Late { cause: Reason::Throttled.as_str(), next_at: until }, job, vec![mark], Some(then), turn)
}

impl Slot {
    /// The key of the chat webhook's rate limiter.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// How far ahead a slot may be, in milliseconds; `None` for any, because the alert goes into no bundle.
    #[must_use]
    pub fn within_ms(&self) -> Option<i64> {
        (self.bundles || self.exempt.is_some()).then_some(SLOT_WAIT_MAX_MS)
    }

    /// Goes on with the reserved slot. If there is none soon, what is exempt is sent at once, and anything else goes into the bundle of the next
    /// minute.
    pub fn answered(self, answer: Answer<CallSlot>, turn: &mut Turn) -> Deliver {
        let Self { job, exempt, .. } = self;
        match answer {
            Err(fault) => ReleaseClaims::then(job, Deliver::End(fault.into())),
            Ok(CallSlot::At(slot_ms)) if slot_ms > turn.now.as_millisecond() + SLOT_EARLY_MS => {
                wait_for_slot(job, Timestamp::from_millisecond(slot_ms).unwrap_or(turn.now), turn)
            }
            Ok(CallSlot::Full) if exempt.is_none() => {
                let minute = (turn.now.as_second().div_euclid(60) + 1) * 60;
                defer(job, Timestamp::from_second(minute).unwrap_or(turn.now), None, turn)
            }
            Ok(_) => Deliver::Send(Send::new(job, turn)),
        }
    }
}

impl Limit {
    /// The contact's key.
    #[must_use]
    pub fn contact(&self) -> &str {
        &self.contact
    }

    /// The channels whose limits apply.
    #[must_use]
    pub fn class(&self) -> ChannelClass {
        self.class
    }

    /// Why the message may exceed the limit, if it may.
    #[must_use]
    pub fn exempt(&self) -> Option<Exemption> {
        self.exempt
    }

    /// Goes on with the limiter's decision.
    pub fn answered(self, answer: Answer<RateLimitDecision>, turn: &mut Turn) -> Deliver {
        match answer {
            Err(fault) => ReleaseClaims::then(self.job, Deliver::End(fault.into())),
            Ok(RateLimitDecision::SendNow) => Deliver::Send(Send::new(self.job, turn)),
            Ok(RateLimitDecision::Defer { until }) => match self.job.single() {
                Some(test) if test.alert.test => refuse_test(test.clone(), self.job, turn),
                _ => defer(self.job, until, self.exempt, turn),
            },
        }
    }
}

/// Ends a test alert that its contact's rate limit does not allow. A test is never deferred: somebody waits for its result.
fn refuse_test(test: Delivery, job: Job, turn: &Turn) -> Deliver {
    let attempt = FailedAttempt {
        update: test.alert.update,
        attempt: test.attempt,
        at: turn.now,
        cause: Reason::ContactLimit.as_str().to_owned(),
        status: None,
        response: String::new(),
        took_ms: 0,
    };
    Deliver::Write(Write::new(job, turn.now, vec![Mark::Fail { reason: Reason::ContactLimit, attempt }]))
}

fn defer(job: Job, until: Timestamp, exempt: Option<Exemption>, turn: &mut Turn) -> Deliver {
    let Some(delivery) = job.single() else { return Deliver::Send(Send::new(job, turn)) };
    let since = delivery.why.held.as_ref().map_or(delivery.alert.at, |held| held.since);
    let hold = Hold { since, reason: Reason::Throttled, always_listed: exempt.is_some() };
    let due = ScheduledDelivery { held: Some(hold), ..due_entry(delivery, until) };
    turn.count(Counted::Deferred { channel: delivery.channel });
    let mark = Mark::Defer { reason: Reason::Throttled, due: Box::new(due) };
    wait_until(Late { cause: Reason::Throttled.as_str(), next_at: until }, job, vec![mark], None, turn)
}
