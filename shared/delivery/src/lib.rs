//! Claim → send → mark, once for every channel. Never mark → send.
//!
//! A channel brings a [`Sender`]; everything that must not differ between channels is here: who may send, what is recorded,
//! what follows a failure, and whose fault it was. The receiver's failure is our success: it is recorded, the next attempt is
//! scheduled and the message is deleted. An AWS fault is nobody's attempt: the message goes back to its queue.

mod digest;
mod health;
pub mod outbound_link;

use aws::sqs::{Outgoing, Queues};
use contracts::queue::{Confirmation, Delivery, Digest, IncidentReceived, Target, row_name};
use domain::alert::Alert;
use domain::attempt::{Failed, Next, QUEUE_DELAY_MAX, Verdict, after_test, next, pause_on_queue_max};
use domain::contact;
use domain::delivery::{Before, Refusal, is_our_delay, was_tried};
use domain::event::{Event, Format};
use domain::health::{OWN_SOURCE, OWN_TYPES};
use domain::ids::EventId;
use domain::incident::UNDELIVERED;
use domain::policy::Storms;
use domain::reason::Reason;
use domain::storm::May;
use domain::vocabulary::{Channel, Severity};
use jiff::{SignedDuration, Timestamp};
use runtime::queue::{Failure, Lane, Meta};
use runtime::{clock, ids, metrics};
use std::collections::BTreeMap;
use std::time::Duration;
use store::StoreError;
use store::Table;
use store::deliveries::{Attempt, End, Slot};
use store::due::{Due, Hold};
use store::messages::Message;
use vault::{Keyring, LazyKeyring, VaultError};

/// How long a claim outlives its invocation's time for work, which ends a second before the invocation: the clocks of two
/// environments differ by less.
const LEASE_MARGIN: SignedDuration = SignedDuration::from_secs(6);
/// A slot that is at most this far away is waited for: SQS delays have whole seconds.
const SHORT_WAIT_MS: i64 = 250;
/// How long a webhook waits for the first attempt of the update before it, and how often it looks.
const ORDER_PAUSE: Duration = Duration::from_secs(1);
const ORDER_RECEIVES: u32 = 6;
/// The pause between two tries to note what was accepted.
const MARK_PAUSE: Duration = Duration::from_millis(200);
/// A slot that is longer ago than this was missed: whoever asks the gate again stands in line with the others.
const MISSED_MS: i64 = 2_000;
/// Most moments that the gate hands out for one attempt. Behind a backlog every moment is missed; then it is better to send and
/// be told to slow down than never to send.
const SLOTS_MAX: u32 = 3;
/// The pause after a provider's throttle, in seconds, before jitter.
const THROTTLE_PAUSE: f64 = 2.0;
/// The pause after a provider's daily quota, in minutes: hourly, since quotas are a sliding day.
const QUOTA_PAUSE: SignedDuration = SignedDuration::from_mins(60);

/// What a channel does.
pub trait Sender: Send + Sync {
    /// The moment that the destination's gate gives this delivery, in epoch milliseconds; `None` where there is no gate.
    fn slot(
        &self,
        delivery: &Delivery,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<i64>, store::StoreError>> + Send;

    /// Sends once, within `time_limit`.
    fn send(&self, delivery: &Delivery, time_limit: Duration) -> impl Future<Output = Sent> + Send;
}

/// How a send ended.
#[derive(Debug)]
pub enum Sent {
    /// The provider or receiver took it.
    Accepted {
        /// Its id for the message.
        provider_id: Option<String>,
    },
    /// The receiver did not take it.
    Failed {
        /// What it met.
        failed: Failed,
        /// The HTTP status, if there was one.
        status: Option<u16>,
        /// What it said, at most 20,000 bytes.
        response: String,
    },
    /// The receiver did not understand the rich form: the plain one is sent at once, as the same attempt.
    Plain,
    /// The provider throttled us: sent again later, no attempt.
    Throttled,
    /// The provider's quota for the day is used up: the due index brings it back.
    QuotaExhausted,
    /// AWS is not there, or our own rights are wrong: back to the queue.
    Unavailable {
        /// A code for the log.
        code: String,
    },
}

/// What every delivery function has.
#[derive(Debug)]
pub struct Deliverer {
    table: Table,
    queues: Queues,
    urgent_url: String,
    bulk_url: String,
    classify_url: String,
    function: &'static str,
    storms: Option<Storms>,
}

impl Deliverer {
    /// What `function` (its name, for the audit trail) delivers with: its two lanes' queues, and classify's for the notice
    /// that a critical alert could not be delivered.
    #[must_use]
    pub fn new(
        function: &'static str,
        queues: Queues,
        table: Table,
        (urgent_url, bulk_url): (&str, &str),
        classify_url: &str,
    ) -> Self {
        let [urgent_url, bulk_url, classify_url] = [urgent_url, bulk_url, classify_url].map(str::to_owned);
        Self { table, queues, urgent_url, bulk_url, classify_url, function, storms: None }
    }

    /// The same, where a contact is written to no more often than it can take.
    #[must_use]
    pub fn sparing(self, storms: Storms) -> Self {
        Self { storms: Some(storms), ..self }
    }

    /// Takes one delivery through claim, send and mark.
    ///
    /// # Errors
    /// [`Failure`] where the message is to stay on its queue.
    pub async fn deliver<S: Sender>(&self, sender: &S, mut delivery: Delivery, meta: &Meta) -> Result<(), Failure> {
        let span = tracing::Span::current();
        span.record("tenant", delivery.alert.tenant.as_str()).record("incident", delivery.alert.incident_id.as_str());
        let now = clock::now();
        if let Some(()) = self.wait_for_slot(sender, &mut delivery, now, meta).await? {
            return Ok(());
        }
        self.wait_for_the_one_before(&delivery, meta).await?;
        let token = ids::suffix();
        let row = delivery.row();
        let incident = delivery.alert.incident_id.clone();
        let tenant = delivery.alert.tenant.clone();
        let slot = Slot {
            incident: &incident,
            tenant: &tenant,
            row: &row,
            channel: delivery.channel,
            update: delivery.alert.update,
            attempt: delivery.attempt,
        };
        let now = clock::now();
        let remaining = SignedDuration::try_from(meta.deadline.remaining()).unwrap_or_default();
        let lease_until = now.saturating_add(remaining + LEASE_MARGIN).unwrap_or(now);
        let claimed = self.table.claim(slot, &token, now, lease_until.as_millisecond()).await;
        let before = match claimed.map_err(runtime::queue::table)? {
            Ok(before) => before,
            Err(refusal) => return self.refused(&delivery, refusal, now, meta).await,
        };
        match self.put_off(&delivery, slot, &token, now, before).await {
            Ok(false) => {}
            Ok(true) => return Ok(()),
            Err(error) => {
                self.table.release_claim(slot, &token).await.map_err(runtime::queue::table)?;
                return Err(runtime::queue::table(error));
            }
        }
        let started = clock::now();
        let sent = match sender.send(&delivery, meta.deadline.remaining()).await {
            Sent::Plain => {
                delivery.plain = true;
                sender.send(&delivery, meta.deadline.remaining()).await
            }
            sent => sent,
        };
        let now = clock::now();
        match sent {
            Sent::Accepted { provider_id } => {
                let (latency_ms, late) = delivery.alert.latency(&delivery.why, delivery.window_seconds, now);
                let end = End::Accepted { provider_id: provider_id.as_deref(), latency_ms, late };
                self.note_acceptance(slot, &token, now, &end, meta).await?;
                self.name_message(provider_id.as_deref(), &delivery, now).await;
                self.endpoint_took(&delivery, now).await;
                // A test says nothing about how the alerts fare.
                if delivery.alert.test {
                    return Ok(());
                }
                metrics::count_by("DeliveryDelivered", "channel", delivery.channel.as_str(), 1);
                metrics::observe_ms("AlertLatencyMs", latency_ms);
                let (_, was_late) = delivery.alert.latency(&delivery.why, delivery.window_seconds, started);
                if late && is_our_delay(delivery.channel, delivery.attempt, delivery.slots, was_late) {
                    metrics::count("DeliveryLate", 1);
                }
                Ok(())
            }
            Sent::Failed { failed, status, response } => {
                let attempt = Attempt {
                    update: slot.update,
                    attempt: slot.attempt,
                    at: now,
                    cause: failed.cause.clone(),
                    status,
                    response,
                    took_ms: now.as_millisecond() - started.as_millisecond(),
                };
                self.failed(delivery, slot, &token, now, &failed, attempt).await
            }
            Sent::Throttled => {
                self.table.release_claim(slot, &token).await.map_err(runtime::queue::table)?;
                metrics::count_by("ProviderThrottled", "channel", delivery.channel.as_str(), 1);
                let pause = THROTTLE_PAUSE * (0.5 + ids::fraction());
                let at = now.saturating_add(SignedDuration::from_secs_f64(pause)).unwrap_or(now);
                self.send_later(&delivery, at, now, lane_of(meta)).await
            }
            Sent::QuotaExhausted => {
                metrics::count_by("ProviderQuotaExhausted", "channel", delivery.channel.as_str(), 1);
                let at = now.saturating_add(QUOTA_PAUSE).unwrap_or(now);
                // The due item first: if the claim's release is lost, the lease ends by itself.
                self.table.put_due(&due(&delivery, at)).await.map_err(runtime::queue::table)?;
                self.table.release_claim(slot, &token).await.map_err(runtime::queue::table)
            }
            // A second refusal of the plain form never comes here: a sender answers `Plain` to the rich form only.
            Sent::Plain => Err(Failure::poison("the plain form was refused as too rich")),
            Sent::Unavailable { code } => {
                self.table.release_claim(slot, &token).await.map_err(runtime::queue::table)?;
                Err(Failure::retry("provider_unavailable", &code))
            }
        }
    }

    /// Puts a first attempt off where its contact has had enough for now: it then comes together with what else waits. `true`: done.
    /// `before`: what came of it, by the same message that came a second time.
    async fn put_off(
        &self,
        delivery: &Delivery,
        slot: Slot<'_>,
        token: &str,
        now: Timestamp,
        before: Before,
    ) -> Result<bool, StoreError> {
        let Some(storms) = &self.storms else { return Ok(false) };
        let class = delivery.channel.class();
        let (Some(contact), Some(windows)) = (self::contact(delivery), storms.contacts.get(&class)) else {
            return Ok(false);
        };
        // What was put off before has its place already.
        let reserved = delivery.why.held.as_ref().is_some_and(|held| held.reason == Reason::Throttled);
        if !delivery.bundle || delivery.attempt > 1 || delivery.alert.test || reserved || before.tried {
            return Ok(false);
        }
        let exempt = delivery.alert.exempt();
        let may = match before.put_off {
            Some(at) => May::Then(at),
            None => {
                self.table
                    .ask_contact(&contact, windows, now, exempt.map(|kind| (kind, storms.exempt_per_minute)))
                    .await?
            }
        };
        let May::Then(at) = may else { return Ok(false) };
        let since = delivery.why.held.as_ref().map_or(delivery.alert.at, |held| held.since);
        let hold = Hold { since, reason: Reason::Throttled, named: exempt.is_some() };
        let due = Due { held: Some(hold), ..due(delivery, at) };
        let marked = self.table.mark_put_off(slot, token, now, Reason::Throttled, &due).await?;
        self.warn_if_lost(marked, slot);
        metrics::count_by("DeliveryThrottled", "channel", delivery.channel.as_str(), 1);
        Ok(true)
    }

    /// What follows the sending of a confirmation. It has no row and no attempts: whoever was not asked is asked again by the
    /// admin, who sees what became of it.
    ///
    /// # Errors
    /// [`Failure`] where the message is to stay on its queue.
    pub async fn asked(&self, confirmation: &Confirmation, channel: Channel, sent: Sent) -> Result<(), Failure> {
        let (tenant, recipient) = (&confirmation.tenant, &confirmation.recipient);
        match sent {
            Sent::Accepted { .. } => {
                metrics::count_by("ConfirmationSent", "channel", channel.as_str(), 1);
                Ok(())
            }
            Sent::Failed { failed, .. } => {
                let whose = (tenant, recipient, channel);
                let noted = self.table.confirmation_refused(whose, &confirmation.identity, &failed.cause).await;
                noted.map_err(runtime::queue::table)?;
                metrics::count_by("ConfirmationRefused", "channel", channel.as_str(), 1);
                tracing::warn!(%tenant, %recipient, cause = failed.cause, "a confirmation was refused");
                Ok(())
            }
            Sent::Throttled => Err(Failure::later(Duration::from_secs_f64(THROTTLE_PAUSE), "throttled")),
            Sent::QuotaExhausted => Err(Failure::retry("provider_quota", "a quota of the provider is used up")),
            Sent::Unavailable { code } => Err(Failure::retry("provider_unavailable", &code)),
            Sent::Plain => Err(Failure::poison("a confirmation has no plain form")),
        }
    }

    /// Marks what the provider took. Without the mark it would be sent once more, so this is tried for as long as the
    /// invocation lasts.
    async fn note_acceptance(
        &self,
        slot: Slot<'_>,
        token: &str,
        now: Timestamp,
        end: &End<'_>,
        meta: &Meta,
    ) -> Result<(), Failure> {
        let mut again = false;
        loop {
            match self.table.mark_ended(slot, token, now, end, None).await {
                // After a try whose answer was lost the mark may be there already.
                Ok(marked) => {
                    self.warn_if_lost(marked || again, slot);
                    return Ok(());
                }
                Err(StoreError::Unavailable { .. }) if meta.deadline.remaining() > MARK_PAUSE => again = true,
                Err(error) => return Err(runtime::queue::table(error)),
            }
            tokio::time::sleep(MARK_PAUSE).await;
        }
    }

    /// Notes by what the later word of SES or SNS finds the row; others have none. After the mark and not with it: a transaction that
    /// is refused for a conflict would have the message sent a second time, and a bounce that finds nothing is only not shown.
    async fn name_message(&self, provider_id: Option<&str>, delivery: &Delivery, now: Timestamp) {
        let Some(id) = provider_id.filter(|_| matches!(delivery.channel, Channel::Email | Channel::Sms)) else {
            return;
        };
        if let Err(error) = self.table.put_message(delivery.channel, id, &message_of(delivery), now).await {
            metrics::count("FeedbackUnnamed", 1);
            tracing::warn!(%error, "what the provider says of this message later will find no delivery");
        }
    }

    /// Asks the destination's gate once. `Some(())`: the delivery is on its way to its slot.
    async fn wait_for_slot<S: Sender>(
        &self,
        sender: &S,
        delivery: &mut Delivery,
        now: Timestamp,
        meta: &Meta,
    ) -> Result<Option<()>, Failure> {
        let now_ms = now.as_millisecond();
        if (now_ms - MISSED_MS..=now_ms + SHORT_WAIT_MS).contains(&delivery.slot_ms) {
            return Ok(None);
        }
        let slot_ms = match delivery.slot_ms {
            missed if missed < now_ms && delivery.slots >= SLOTS_MAX => None,
            missed if missed < now_ms => sender.slot(delivery, now).await.map_err(runtime::queue::table)?,
            earlier => Some(earlier),
        };
        let Some(slot_ms) = slot_ms.filter(|slot_ms| *slot_ms > now.as_millisecond() + SHORT_WAIT_MS) else {
            return Ok(None);
        };
        delivery.slots += u32::from(delivery.slot_ms < slot_ms);
        delivery.slot_ms = slot_ms;
        let at = Timestamp::from_millisecond(slot_ms).unwrap_or(now);
        self.send_later(delivery, at, now, lane_of(meta)).await?;
        Ok(Some(()))
    }

    /// Updates that are planned together lie on the queue together, in no order. One whose predecessor is not tried yet goes back, a few
    /// times: should that one be lost, it is not to hold up what follows.
    async fn wait_for_the_one_before(&self, delivery: &Delivery, meta: &Meta) -> Result<(), Failure> {
        let Some(before) = delivery.follows.filter(|_| delivery.attempt == 1 && meta.receive_count < ORDER_RECEIVES)
        else {
            return Ok(());
        };
        let row = row_name(&delivery.destination, delivery.channel, before);
        let row = self.table.delivery(&delivery.alert.incident_id, &delivery.alert.tenant, &row).await;
        match was_tried(row.map_err(runtime::queue::table)?.as_ref()) {
            true => Ok(()),
            false => Err(Failure::later(ORDER_PAUSE, "out_of_order")),
        }
    }

    async fn refused(&self, delivery: &Delivery, refusal: Refusal, now: Timestamp, meta: &Meta) -> Result<(), Failure> {
        match refusal {
            Refusal::Done | Refusal::Superseded { .. } => {
                metrics::count("DuplicateSuppressed", 1);
                Ok(())
            }
            Refusal::Leased { until_ms } => {
                let wait = u64::try_from(until_ms - now.as_millisecond()).unwrap_or(0);
                Err(Failure::later(Duration::from_millis(wait), "leased"))
            }
            Refusal::AttemptOver { attempts, next_at_ms } => {
                // Whoever marked may have died before the next attempt was on its queue. A second message for it does no
                // harm, because its claim is refused; a missing one would lose the alert. Longer pauses are in the due index,
                // written with the mark.
                metrics::count("DuplicateSuppressed", 1);
                let at = Timestamp::from_millisecond(next_at_ms).unwrap_or(now);
                if pause_of(at, now) > i64::from(pause_on_queue_max(delivery.channel)) {
                    return Ok(());
                }
                let again = Delivery { attempt: attempts + 1, slot_ms: 0, slots: 0, ..delivery.clone() };
                // What is left of the pause does not say how long it was: to people it is asked whether it is night by now.
                if again.channel != Channel::Webhook {
                    return self.table.put_due_once(&due(&again, at)).await.map_err(runtime::queue::table);
                }
                self.send_later(&again, at, now, lane_of(meta)).await
            }
        }
    }

    async fn failed(
        &self,
        delivery: Delivery,
        slot: Slot<'_>,
        token: &str,
        now: Timestamp,
        failed: &Failed,
        attempt: Attempt,
    ) -> Result<(), Failure> {
        let channel = delivery.channel.as_str();
        if !delivery.alert.test {
            metrics::count_by("AttemptFailed", "channel", channel, 1);
        }
        tracing::info!(
            channel,
            destination = delivery.destination,
            attempt = slot.attempt,
            cause = failed.cause,
            "attempt failed"
        );
        let next = match delivery.alert.test {
            true => after_test(failed),
            false => next(delivery.channel, slot.attempt, failed, now, ids::fraction()),
        };
        let next = match self.endpoint_failed(&delivery, &failed.cause, now).await? {
            Some(reason) if matches!(next, Next::Again { .. }) => Next::GiveUp { reason, disable: false },
            _ => next,
        };
        match next {
            Next::Again { at } => {
                let again = Delivery { attempt: slot.attempt + 1, slot_ms: 0, slots: 0, ..delivery };
                let later = pause_of(at, now) > i64::from(pause_on_queue_max(again.channel));
                let due = later.then(|| due(&again, at));
                let marked = self.table.mark_retrying(slot, token, now, at, &attempt, due.as_ref()).await;
                let marked = marked.map_err(runtime::queue::table)?;
                self.warn_if_lost(marked, slot);
                // Retries share the bulk lane, so that a failing endpoint never stands before somebody's first alert.
                if marked && !later { self.send_later(&again, at, now, Lane::Bulk).await } else { Ok(()) }
            }
            Next::GiveUp { reason, disable } => {
                if disable {
                    self.disable(&delivery, &failed.cause, now).await?;
                }
                // Before the mark: a crash in between repeats the notice, which is then the same event.
                self.tell_org_admins(&delivery, &failed.cause, now).await?;
                let end = End::Failed { reason };
                let marked = self.table.mark_ended(slot, token, now, &end, Some(&attempt)).await;
                self.warn_if_lost(marked.map_err(runtime::queue::table)?, slot);
                if !delivery.alert.test {
                    metrics::count_by("DeliveryGivenUp", "channel", channel, 1);
                }
                tracing::warn!(channel, destination = delivery.destination, reason = reason.as_str(), "given up");
                Ok(())
            }
        }
    }

    /// A critical alert that nobody will get is told to the tenant's org admins on another channel. A notice that cannot be
    /// delivered makes no further notice.
    async fn tell_org_admins(&self, delivery: &Delivery, cause: &str, now: Timestamp) -> Result<(), Failure> {
        let Some(notice) = undelivered(delivery, cause, now) else { return Ok(()) };
        let body = serde_json::to_string(&notice).map_err(|_| Failure::poison("a notice cannot be written"))?;
        let outgoing = Outgoing {
            body,
            group: Some(notice.group()),
            dedup: Some(notice.deduplication_id()),
            ..Outgoing::default()
        };
        self.queues.send(&self.classify_url, &outgoing).await.map_err(runtime::queue::aws)
    }

    async fn send_later(&self, delivery: &Delivery, at: Timestamp, now: Timestamp, lane: Lane) -> Result<(), Failure> {
        let body = serde_json::to_string(delivery).map_err(|_| Failure::poison("a delivery cannot be written"))?;
        let (url, group) = match lane {
            Lane::Urgent => (&self.urgent_url, delivery.alert.tenant.to_string()),
            Lane::Bulk => (&self.bulk_url, delivery.alert.incident_id.to_string()),
        };
        let delay = pause_of(at, now).clamp(0, i64::from(QUEUE_DELAY_MAX));
        let delay_seconds = u16::try_from(delay).unwrap_or(0);
        let outgoing = Outgoing { body, group: Some(group), delay_seconds, ..Outgoing::default() };
        self.queues.send(url, &outgoing).await.map_err(runtime::queue::aws)
    }

    fn warn_if_lost(&self, marked: bool, slot: Slot<'_>) {
        if !marked {
            // Another claimer took over after our lease: the one duplicate that cannot be ruled out. It is counted.
            metrics::count("ClaimLost", 1);
            tracing::warn!(row = slot.row, "the claim was lost before the mark");
        }
    }
}

/// The notice about a critical alert that was given up: one incident for each incident and destination.
fn undelivered(delivery: &Delivery, cause: &str, now: Timestamp) -> Option<IncidentReceived> {
    let alert = &delivery.alert;
    let category = alert.category?;
    if alert.severity != Severity::Critical || alert.event_type.starts_with(OWN_TYPES) || alert.test {
        return None;
    }
    let channel = delivery.channel;
    let words = [("category", category.as_str()), ("channel", channel.as_str()), ("cause", cause)];
    let mut labels: BTreeMap<String, String> =
        words.into_iter().map(|(name, word)| (name.to_owned(), word.to_owned())).collect();
    labels.insert("destination".to_owned(), delivery.destination.clone());
    labels.insert("incident_id".to_owned(), alert.incident_id.to_string());
    let event = Event {
        event_type: UNDELIVERED.to_owned(),
        dedup_key: format!("{}:{}:{channel}:{}", alert.incident_id, delivery.destination, alert.update),
        severity: Severity::Critical,
        title: format!("Not delivered by {}: {}", channel.title(), alert.title),
        message: format!(
            "The critical alert \"{}\" ({}) could not be delivered to {} by {}: {cause}. You are told instead.",
            alert.title,
            alert.incident_id,
            delivery.destination,
            channel.title()
        ),
        tenant_ids: vec![alert.tenant.clone()],
        labels,
        public: Some(false),
        ..Event::blank(Format::Native, OWN_SOURCE)
    };
    let update = alert.update.to_string();
    let parts = [alert.incident_id.as_str(), alert.tenant.as_str(), &update, &delivery.destination, channel.as_str()];
    Some(IncidentReceived::own(&alert.tenant, event, EventId::derived(&parts), &delivery.correlation_id, now))
}

/// The delivery as feedback finds it.
#[must_use]
pub fn message_of(delivery: &Delivery) -> Message {
    Message {
        tenant: delivery.alert.tenant.clone(),
        incident_id: delivery.alert.incident_id.clone(),
        row: delivery.row(),
        destination: delivery.destination.clone(),
        update: delivery.alert.update,
        category: delivery.alert.category,
        contact: contact(delivery),
    }
}

fn lane_of(meta: &Meta) -> Lane {
    meta.lane
}

/// What an address or number is remembered by, for its throttles and for what its provider says later.
#[must_use]
pub fn contact(delivery: &Delivery) -> Option<String> {
    let tenant = &delivery.alert.tenant;
    match &delivery.target {
        Target::Email { address, .. } => Some(contact::of_email(tenant, address)),
        Target::Sms { phone, .. } => Some(contact::of_phone(tenant, phone)),
        Target::Chat { .. } | Target::Webhook { .. } => None,
    }
}

/// Whole seconds from `now` to `at`, rounded up: nothing comes early.
fn pause_of(at: Timestamp, now: Timestamp) -> i64 {
    (at.as_millisecond() - now.as_millisecond() + 999).div_euclid(1_000).max(0)
}

fn due(delivery: &Delivery, at: Timestamp) -> Due {
    Due {
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
        waited: delivery.why.held.clone(),
        more: 0,
        gathered: false,
        asked: false,
    }
}

/// The keyring of a process, loaded now if it was not yet.
///
/// # Errors
/// How the send ends while KMS or the table is away; the cause is in the log.
pub async fn keyring(keyring: &LazyKeyring) -> Result<&Keyring, Sent> {
    keyring.get(clock::now()).await.map_err(|error| {
        tracing::error!(%error, "the data keys cannot be loaded");
        Sent::Unavailable { code: "keyring".to_owned() }
    })
}

/// Opens a sealed URL or secret.
///
/// # Errors
/// How the send ends: refused where it is not what was sealed; back to the queue where this process does not know its key yet.
pub fn opened(keyring: &Keyring, aad: &str, sealed: &domain::tenant::Sealed) -> Result<String, Sent> {
    match keyring.open(aad, &vault::Sealed::from(sealed.expose().to_owned())) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| refused("url_cannot_be_opened")),
        Err(VaultError::UnknownGeneration(_)) => Err(Sent::Unavailable { code: "unknown_data_key".to_owned() }),
        Err(_) => Err(refused("url_cannot_be_opened")),
    }
}

/// What came at once, or was collected, as one delivery, for channels that have no list of their own. `None` of nothing.
#[must_use]
pub fn bundled(digest: Digest) -> Option<Delivery> {
    let alerts: Vec<&Alert> = digest.members.iter().map(|member| &member.alert).collect();
    let alert = domain::render::bundle(&alerts, digest.more, digest.storm)?;
    let member = digest.members.into_iter().find(|member| member.alert.incident_id == alert.incident_id)?;
    Some(Delivery { alert, ..member })
}

/// An attempt that no retry mends.
#[must_use]
pub fn refused(cause: &str) -> Sent {
    let failed = Failed { cause: cause.to_owned(), retry_after: None, slow_down: false, verdict: Verdict::Refused };
    Sent::Failed { failed, status: None, response: String::new() }
}

/// An attempt that the receiver answered, but not with yes.
#[must_use]
pub fn answered(mut failed: Failed, answer: &outbound::Response, response: String) -> Sent {
    failed.retry_after = answer.retry_after.and_then(|pause| u32::try_from(pause.as_secs()).ok());
    Sent::Failed { failed, status: Some(answer.status.as_u16()), response }
}

/// An attempt that got no answer.
#[must_use]
pub fn not_answered(error: &outbound::SendError) -> Sent {
    use outbound::SendError;
    let (cause, slow_down) = match error {
        SendError::Forbidden(_) => ("forbidden_address", false),
        SendError::Dns => ("dns", false),
        SendError::Connect => ("connect", false),
        SendError::Tls(_) => ("tls", false),
        SendError::Timeout => ("timeout", true),
        SendError::Reset => ("reset", false),
        SendError::Protocol => ("protocol", false),
    };
    let failed = Failed { cause: cause.to_owned(), retry_after: None, slow_down, verdict: Verdict::Retry };
    Sent::Failed { failed, status: None, response: error.to_string() }
}
