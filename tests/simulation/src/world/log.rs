//! What happened in a world, for the checks.

use super::contacts::{QuestionRecord, Spell};
use super::feedback::{HandledReport, SuppressionNotice};
use crate::table::{DeliveryKey, Thread};
use domain::due::ScheduledDelivery;
use domain::event::Event;
use domain::ids::{EventId, IncidentId, RecipientId, Scope, TenantId};
use domain::incident::Change;
use domain::rate_limit::Exemption;
use domain::reason::Reason;
use domain::vocabulary::Channel;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// A delivery that a provider or receiver accepted.
#[derive(Clone, Debug)]
pub struct SentRecord {
    /// What was accepted: whose, and which update.
    pub key: DeliveryKey,
    /// When it was accepted.
    pub at: Timestamp,
    /// What its update changed.
    pub change: Change,
    /// The number of the message; the members of a list have the same.
    pub message: u64,
    /// Whether the message is a list.
    pub listed: bool,
    /// The beginning of the quiet hours in which it was sent, if it was.
    pub quiet: Option<Timestamp>,
    /// Whether it was a restricted SMS outside the regulatory window.
    pub outside_sms_window: bool,
    /// Until when it was held, if it was.
    pub held: Option<Timestamp>,
    /// Why it was held.
    pub held_for: Option<Reason>,
    /// Whether a list names it, however many others it has: critical openings and resolves.
    pub always_listed: bool,
    /// Whether the chat webhook's rate limiter delayed it: one message a second is sent there.
    pub waited: bool,
    /// The tenant and the e-mail address or phone number; `None` for chat and webhooks.
    pub contact: Option<String>,
    /// When it counts towards the contact's rate limits, because there was room or it used a bundle's reserved slot; `None` if it does not.
    pub counts_at: Option<Timestamp>,
}

/// A first attempt that its contact's rate limit deferred.
#[derive(Clone, Debug)]
pub struct DeferredRecord {
    /// What was deferred: whose, and which update.
    pub key: DeliveryKey,
    /// Exempt messages of the same kind that were sent to the contact in the minute before.
    pub exempt_before: usize,
    /// Why it may exceed the limit.
    pub exempt: Option<Exemption>,
    /// When it was deferred.
    pub at: Timestamp,
    /// Until when it was deferred.
    pub until: Timestamp,
}

/// A contact that a sender could not write to.
#[derive(Clone, Debug)]
pub struct RefusalRecord {
    /// What was to be sent.
    pub key: DeliveryKey,
    /// The address or number.
    pub contact: String,
    /// When it was met, in milliseconds.
    pub at: i64,
}

/// What happened in a world, for the checks.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The events that intake accepted, with their scopes.
    pub accepted: Vec<(EventId, Option<Scope>)>,
    /// The latest report of a monitor by dedup key; `None` if an operator resolved it since.
    pub reports: BTreeMap<String, Option<Event>>,
    /// Sends whose mark may be missing: each may arrive once more.
    pub excused: BTreeMap<DeliveryKey, usize>,
    /// What receivers and providers accepted.
    pub sent: Vec<SentRecord>,
    /// What a rate limit deferred.
    pub deferred: Vec<DeferredRecord>,
    /// What failed at least once.
    pub failed: BTreeSet<DeliveryKey>,
    /// Critical deliveries: org admins are notified if one is given up.
    pub critical: BTreeSet<DeliveryKey>,
    /// What a sender had when something went wrong: it may be late.
    pub disturbed: BTreeSet<Thread>,
    /// What was due when something went wrong in a run of `release`: it may be late, too.
    pub disturbed_releases: BTreeSet<Thread>,
    /// What a provider or receiver throttled or did not accept at first.
    pub slowed: BTreeSet<Thread>,
    /// Tenants whose plans for an incident may be late.
    pub disturbed_plans: BTreeSet<(IncidentId, TenantId)>,
    /// The deduplication ids of the notices to org admins.
    pub notices: BTreeSet<String>,
    /// What providers reported about each of their messages, by rank.
    pub reported: BTreeMap<(Channel, String), BTreeSet<u8>>,
    /// The contacts that some report or their owner refuses messages for.
    pub refusing: BTreeSet<String>,
    /// The reports that were handled to their end.
    pub handled: Vec<HandledReport>,
    /// The reports that were recorded on a row, at least in part.
    pub recorded: Vec<HandledReport>,
    /// The contacts whose owners allowed messages again, each with the last time.
    pub lifted: BTreeMap<String, i64>,
    /// When each recipient's contact on a channel was allowed again or replaced the last time, in milliseconds.
    pub replaced: BTreeMap<(TenantId, RecipientId, Channel), i64>,
    /// The contacts that a sender could not write to, because they are suppressed or opted out.
    pub refusals: Vec<RefusalRecord>,
    /// The addresses to which nothing may be sent, each since when.
    pub silent: BTreeMap<String, i64>,
    /// When recipients' contacts were marked, and allowed again.
    pub spells: Vec<Spell>,
    /// The notices to org admins about suppressed contacts.
    pub suppression_notices: Vec<SuppressionNotice>,
    /// The questions to owners of contacts, by the id of the admin's request.
    pub questions: BTreeMap<String, QuestionRecord>,
    /// Entries of lists that were rescheduled into another list.
    pub rebatched: Vec<ScheduledDelivery>,
    /// What nobody may ever do.
    pub findings: Vec<String>,
}
