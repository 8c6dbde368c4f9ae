//! The story of one message to one destination: claim → send → mark. Never mark → send.
//!
//! A single alert is a batch of one; a digest or a bundle has up to a hundred members, each with a delivery row of its own. Every row is
//! claimed before the one send, so members that are over or were in another message drop out; every row is marked after it. After a crash
//! in between, the queue delivers the message again, and only what is not marked yet is sent.
//!
//! A failure of the receiver is an attempt: it is recorded, and the next one is scheduled. A fault of AWS is not: the message returns to its
//! queue.
//!
//! | Module | Steps |
//! |---|---|
//! | [`claim`] | before the send: chat slots, the order of a webhook's updates, the claim, the contact's rate limit |
//! | [`outcome`] | the send, and what follows it |
//! | [`record`] | what is written, scheduled and enqueued |
//! | `undelivered` | the notices about critical alerts that were given up or are late |

pub mod claim;
pub mod outcome;
pub mod record;
#[cfg(test)]
mod tests;
mod undelivered;

use crate::turn::{Counted, Turn, Verdict};
use claim::{Claim, Limit, Predecessor, Slot};
use contracts::queue::{BatchDelivery, Delivery, DeliveryTarget, Lane};
use domain::contact;
use domain::due::{Hold, ScheduledDelivery};
use domain::event::SYSTEM_TYPE_PREFIX;
use domain::ids::IntegrationId;
use domain::reason::Reason;
use jiff::{SignedDuration, Timestamp};
use outcome::{Disable, Notify, RecordFailure, ReportRefusal, Send};
use record::{EnqueueDelivery, ReleaseClaims, ScheduleRetry, Settle, Write};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a claim outlives the invocation's time for work, which ends a second before the invocation: the clocks of two environments
/// differ by less.
const LEASE_MARGIN: SignedDuration = SignedDuration::from_secs(6);
/// The first pause after a provider throttled us; each further one is twice as long.
const THROTTLE_PAUSE: Duration = Duration::from_secs(5);
/// The pause after a provider's daily quota is used up. Hourly, because providers count quotas over a sliding day.
const QUOTA_PAUSE: SignedDuration = SignedDuration::from_mins(60);

/// The next effect of a delivery.
#[must_use]
#[derive(Clone, Debug)]
pub enum Deliver {
    /// Read the row of the webhook's preceding update.
    Predecessor(Predecessor),
    /// Claim the rows, each until its lease ends.
    Claim(Claim),
    /// Reserve the chat webhook's next free rate-limit slot.
    Slot(Slot),
    /// Reserve a place within the contact's rate limit.
    Limit(Limit),
    /// Send the message, once.
    Send(Send),
    /// Report that the contact refuses messages.
    Refusal(ReportRefusal),
    /// Record the endpoint's failure.
    Endpoint(RecordFailure),
    /// Disable the endpoint, which said that it is gone.
    Disable(Disable),
    /// Notify the org admins of critical alerts that are given up, or miss the tenant's window.
    Notify(Notify),
    /// Mark the rows with what came of the attempt.
    Write(Write),
    /// Put the entry of a retry into the due index.
    Schedule(ScheduleRetry),
    /// Give unused claims back.
    Release(ReleaseClaims),
    /// Put the delivery on a queue.
    Enqueue(EnqueueDelivery),
    /// Record what follows from an acceptance.
    Settle(Settle),
    /// Nothing: the story is over.
    End(Verdict),
}

/// What is sent at once: one alert, or several as a list.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// One alert on its own.
    Single(Box<Delivery>),
    /// A digest or a bundle.
    List(Box<BatchDelivery>),
}

impl Message {
    /// The deliveries of the message.
    #[must_use]
    pub fn members(&self) -> &[Delivery] {
        match self {
            Self::Single(delivery) => std::slice::from_ref(delivery),
            Self::List(list) => &list.members,
        }
    }
}

/// Begins the story of a message that a queue delivered.
pub fn begin(message: Message, turn: &mut Turn) -> Deliver {
    let mut job = Job { message, token: turn.token.clone(), waited: false, took: None };
    if let Message::List(list) = &mut job.message {
        keep_newest(list, turn);
        return Deliver::Claim(Claim::new(job, turn));
    }
    claim::begin_single(job, turn)
}

/// Passes a single alert on from the urgent lane to the bulk lane, because the slow endpoints of its tenant used up their share of this
/// environment. It is neither claimed nor written; `None` if it stays. Tests stay, because somebody waits for the result, and so do retries,
/// which are on the bulk lane.
pub fn pass_on(message: &Message, turn: &mut Turn) -> Option<Deliver> {
    let Message::Single(delivery) = message else { return None };
    let urgent = turn.lane == Lane::Urgent && delivery.attempt == 1 && !delivery.alert.test;
    if !urgent || IntegrationId::parse(&delivery.destination).is_none() {
        return None;
    }
    turn.count(Counted::PassedOn { channel: delivery.channel });
    Some(Deliver::Enqueue(EnqueueDelivery::new(delivery.clone(), turn.now, Lane::Bulk, turn)))
}

/// Keeps one member per row: its newest update's latest attempt. A list can name a row twice, because an entry of the due index may outlive
/// its attempt: then the claim of the second would be refused for the lease of the first, at every receive.
fn keep_newest(list: &mut BatchDelivery, turn: &mut Turn) {
    let row = |member: &Delivery| (member.alert.tenant.clone(), member.alert.incident_id.clone(), member.row_key());
    let age = |member: &Delivery| (member.alert.update, member.attempt);
    let mut newest = BTreeMap::new();
    for member in &list.members {
        let found = newest.entry(row(member)).or_insert_with(|| age(member));
        *found = age(member).max(*found);
    }
    let before = list.members.len();
    list.members.retain(|member| {
        let is_newest = newest.get(&row(member)) == Some(&age(member));
        if is_newest {
            // Of two equal ones the first stays.
            newest.remove(&row(member));
        }
        is_newest
    });
    (list.members.len()..before).for_each(|_| turn.count(Counted::DuplicateSuppressed));
}

/// The message with the token of its claims. Before the claim it has all members, after it those that were claimed.
#[derive(Clone, Debug)]
struct Job {
    message: Message,
    token: String,
    /// Whether the chat webhook's rate limiter delayed it.
    waited: bool,
    /// How long the send took; `None` before it.
    took: Option<SignedDuration>,
}

impl Job {
    fn single(&self) -> Option<&Delivery> {
        match &self.message {
            Message::Single(delivery) => Some(delivery),
            Message::List(_) => None,
        }
    }

    fn members(&self) -> &[Delivery] {
        self.message.members()
    }

    /// Keeps the members that `kept` names; of a single delivery nothing is removed.
    fn retain(&mut self, mut kept: impl Iterator<Item = bool>) {
        if let Message::List(list) = &mut self.message {
            list.members.retain(|_| kept.next().unwrap_or(false));
        }
    }

    /// Returns the due entry that sends a member again at `at`, as attempt number `attempt`. A list's member comes in a list again.
    fn due_entry(&self, member: &Delivery, at: Timestamp, attempt: u32) -> ScheduledDelivery {
        let entry = ScheduledDelivery { attempt, ..due_entry(member, at) };
        let Message::List(list) = &self.message else { return entry };
        let (since, reason) = match &member.why.held {
            Some(held) => (held.since, held.reason),
            None => (member.alert.at, Reason::Digest),
        };
        let held = Some(Hold { since, reason, always_listed: member.alert.rate_limit_exemption().is_some() });
        ScheduledDelivery { held, omitted_count: list.omitted_count, ..entry }
    }
}

/// Returns the pause after a provider throttled us, by how often the message was received: 5 s, and twice as long each time, up to `longest`.
/// `jitter` is from 0.0 to 1.0 and moves it by a quarter either way.
pub(crate) fn throttle_pause(receives: u32, longest: Duration, jitter: f64) -> Duration {
    let doubled = THROTTLE_PAUSE.saturating_mul(1 << receives.saturating_sub(1).min(10));
    doubled.min(longest).mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0)
}

/// Returns the key of a delivery's e-mail address or phone number: a hash by which rate limits and the provider's later feedback find the
/// contact. `None` for chat and webhooks.
#[must_use]
pub fn contact_key(delivery: &Delivery) -> Option<String> {
    let tenant = &delivery.alert.tenant;
    match &delivery.target {
        DeliveryTarget::Email { address, .. } => Some(contact::email_contact_key(tenant, address)),
        DeliveryTarget::Sms { phone, .. } => Some(contact::phone_contact_key(tenant, phone)),
        DeliveryTarget::Chat { .. } | DeliveryTarget::Webhook { .. } => None,
    }
}

/// Returns the integration of a delivery whose outcome counts for its endpoint's health; `None` for recipients, tests and system events.
/// Otherwise two failing endpoints would cause endless notices about each other.
#[must_use]
pub fn monitored_integration(delivery: &Delivery) -> Option<IntegrationId> {
    let alert = &delivery.alert;
    let own = alert.test || alert.event_type.starts_with(SYSTEM_TYPE_PREFIX);
    if own { None } else { IntegrationId::parse(&delivery.destination) }
}

/// Returns the whole seconds from `now` to `at`, rounded up so that nothing is sent early.
fn seconds_until(at: Timestamp, now: Timestamp) -> i64 {
    (at.as_millisecond() - now.as_millisecond() + 999).div_euclid(1_000).max(0)
}

/// Returns the entry of the due index that sends `delivery` again at `at`.
fn due_entry(delivery: &Delivery, at: Timestamp) -> ScheduledDelivery {
    ScheduledDelivery {
        at,
        tenant: delivery.alert.tenant.clone(),
        destination: delivery.destination.clone(),
        channel: delivery.channel,
        incident_id: delivery.alert.incident_id.clone(),
        update: delivery.alert.update,
        attempt: delivery.attempt,
        plain: delivery.plain,
        role: delivery.why.role,
        held: None,
        held_before: delivery.why.held.clone(),
        omitted_count: 0,
        rebatched: false,
        resend_requested: delivery.resend_requested,
    }
}
