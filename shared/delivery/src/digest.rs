//! Claim → send → mark for many at once: a digest is one message about several deliveries, each with its own row.
//!
//! Every row is claimed before the one send, so what was in another digest, or is over, drops out; and marked after it. A crash
//! in between has the same message come again, with what is not marked yet.

use crate::{Deliverer, LEASE_MARGIN, QUOTA_PAUSE, Sent, THROTTLE_PAUSE, due};
use contracts::queue::{Delivery, Digest};
use domain::attempt::{Failed, Next, next};
use domain::delivery::{Refusal, is_our_delay};
use domain::ids::{IncidentId, TenantId};
use domain::reason::Reason;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use runtime::queue::{Failure, Meta};
use runtime::{clock, ids, metrics};
use std::time::Duration;
use store::deliveries::{Attempt, End, Slot};
use store::due::{Due, Hold};

/// Calls to the table in flight at once.
const IN_FLIGHT: usize = 16;

/// What a claim needs, owned.
struct Member {
    delivery: Delivery,
    row: String,
    incident: IncidentId,
    tenant: TenantId,
}

impl Member {
    fn new(delivery: Delivery) -> Self {
        let (row, incident, tenant) =
            (delivery.row(), delivery.alert.incident_id.clone(), delivery.alert.tenant.clone());
        Self { delivery, row, incident, tenant }
    }

    fn slot(&self) -> Slot<'_> {
        Slot {
            incident: &self.incident,
            tenant: &self.tenant,
            row: &self.row,
            channel: self.delivery.channel,
            update: self.delivery.alert.update,
            attempt: self.delivery.attempt,
        }
    }

    /// The same once more, collected again, with what its message only counts.
    fn again(&self, at: Timestamp, attempt: u32, more: u32) -> Due {
        let since = self.delivery.why.held.as_ref().map_or(self.delivery.alert.at, |held| held.since);
        let reason = self.delivery.why.held.as_ref().map_or(Reason::Digest, |held| held.reason);
        let held = Some(Hold { since, reason, named: self.delivery.alert.exempt().is_some() });
        Due { attempt, held, more, ..due(&self.delivery, at) }
    }
}

impl Deliverer {
    /// Takes a digest through claim, send and mark. `send` gets it with what is left of its members, which is at least one.
    ///
    /// # Errors
    /// [`Failure`] where the message is to stay on its queue.
    pub async fn digest<F: Future<Output = Sent>>(
        &self,
        digest: Digest,
        meta: &Meta,
        send: impl FnOnce(Digest, Duration) -> F,
    ) -> Result<(), Failure> {
        let (token, now) = (ids::suffix(), clock::now());
        let remaining = SignedDuration::try_from(meta.deadline.remaining()).unwrap_or_default();
        let lease_ms = now.saturating_add(remaining + LEASE_MARGIN).unwrap_or(now).as_millisecond();
        let claims = digest.members.into_iter().map(Member::new).map(|member| async {
            let claimed = self.table.claim(member.slot(), &token, now, lease_ms).await;
            claimed.map(|claimed| (member, claimed)).map_err(runtime::queue::table)
        });
        // Side by side, or a hundred rows would take as long as an invocation has.
        let claims: Vec<_> = stream::iter(claims).buffered(IN_FLIGHT).try_collect().await?;
        let mut mine = Vec::with_capacity(claims.len());
        let mut leased = None;
        for (member, claimed) in claims {
            match claimed {
                Ok(_) => mine.push(member),
                Err(Refusal::Leased { until_ms }) => leased = leased.max(Some(until_ms)),
                Err(Refusal::Done | Refusal::Superseded { .. } | Refusal::AttemptOver { .. }) => {
                    metrics::count("DuplicateSuppressed", 1);
                }
            }
        }
        if let Some(until_ms) = leased {
            // Somebody sends a part of it: then this would be a second digest.
            self.give_back(&mine, &token).await?;
            let wait = u64::try_from(until_ms - now.as_millisecond()).unwrap_or(0);
            return Err(Failure::later(Duration::from_millis(wait), "leased"));
        }
        if mine.is_empty() {
            return Ok(());
        }
        let started = clock::now();
        let members = mine.iter().map(|member| member.delivery.clone()).collect();
        let sent =
            send(Digest { members, v: digest.v, more: digest.more, storm: digest.storm }, meta.deadline.remaining())
                .await;
        let now = clock::now();
        match sent {
            Sent::Accepted { provider_id } => {
                metrics::count(if digest.storm { "BundleDelivered" } else { "DigestDelivered" }, 1);
                // Boxed: the compiler cannot name the lifetimes of what is made in a closure.
                let (mut marks, mut names) = (Vec::with_capacity(mine.len()), Vec::with_capacity(mine.len()));
                for member in &mine {
                    marks.push(self.taken(member, provider_id.as_deref(), &token, (started, now), meta).boxed());
                    names.push(self.name_message(provider_id.as_deref(), &member.delivery, now).boxed());
                }
                // Every mark is tried before one that failed is told: what is not marked is sent once more.
                let marked: Vec<_> = stream::iter(marks).buffer_unordered(IN_FLIGHT).collect().await;
                marked.into_iter().collect::<Result<(), Failure>>()?;
                stream::iter(names).buffer_unordered(IN_FLIGHT).collect::<()>().await;
                if let Some(first) = mine.first() {
                    self.endpoint_took(&first.delivery, now).await;
                }
                Ok(())
            }
            Sent::Failed { failed, status, response } => {
                let attempt = |member: &Member| Attempt {
                    update: member.delivery.alert.update,
                    attempt: member.delivery.attempt,
                    at: now,
                    cause: failed.cause.clone(),
                    status,
                    response: response.clone(),
                    took_ms: now.as_millisecond() - started.as_millisecond(),
                };
                self.digest_failed((&mine, digest.more), &token, now, &failed, attempt).await
            }
            Sent::Throttled => {
                self.give_back(&mine, &token).await?;
                Err(Failure::later(Duration::from_secs_f64(THROTTLE_PAUSE), "throttled"))
            }
            Sent::QuotaExhausted => {
                let at = now.saturating_add(QUOTA_PAUSE).unwrap_or(now);
                for member in &mine {
                    let due = member.again(at, member.delivery.attempt, digest.more);
                    self.table.put_due(&due).await.map_err(runtime::queue::table)?;
                }
                self.give_back(&mine, &token).await
            }
            Sent::Unavailable { code } => {
                self.give_back(&mine, &token).await?;
                Err(Failure::retry("provider_unavailable", &code))
            }
            Sent::Plain => Err(Failure::poison("a digest has no plain form")),
        }
    }

    /// The whole digest is tried again, at one moment for all, so that it stays one.
    async fn digest_failed(
        &self,
        (mine, more): (&[Member], u32),
        token: &str,
        now: Timestamp,
        failed: &Failed,
        attempt: impl Fn(&Member) -> Attempt,
    ) -> Result<(), Failure> {
        let jitter = ids::fraction();
        // One message failed, whatever is in it.
        let ended = match mine.first() {
            Some(first) => self.endpoint_failed(&first.delivery, &failed.cause, now).await?,
            None => None,
        };
        for member in mine {
            let (slot, attempt) = (member.slot(), attempt(member));
            metrics::count_by("AttemptFailed", "channel", member.delivery.channel.as_str(), 1);
            let next = match (next(member.delivery.channel, slot.attempt, failed, now, jitter), ended) {
                (Next::Again { .. }, Some(reason)) => Next::GiveUp { reason, disable: false },
                (next, _) => next,
            };
            let marked = match next {
                Next::Again { at } => {
                    let due = member.again(at, slot.attempt + 1, more);
                    self.table.mark_retrying(slot, token, now, at, &attempt, Some(&due)).await
                }
                Next::GiveUp { reason, disable } => {
                    if disable {
                        self.disable(&member.delivery, &failed.cause, now).await?;
                    }
                    self.tell_org_admins(&member.delivery, &failed.cause, now).await?;
                    metrics::count_by("DeliveryGivenUp", "channel", member.delivery.channel.as_str(), 1);
                    self.table.mark_ended(slot, token, now, &End::Failed { reason }, Some(&attempt)).await
                }
            };
            self.warn_if_lost(marked.map_err(runtime::queue::table)?, slot);
        }
        Ok(())
    }

    /// Marks one member of what the provider took.
    async fn taken(
        &self,
        member: &Member,
        provider_id: Option<&str>,
        token: &str,
        (started, now): (Timestamp, Timestamp),
        meta: &Meta,
    ) -> Result<(), Failure> {
        let Delivery { alert, why, window_seconds, channel, attempt, slots, .. } = &member.delivery;
        let (latency_ms, late) = alert.latency(why, *window_seconds, now);
        let end = End::Accepted { provider_id, latency_ms, late };
        self.note_acceptance(member.slot(), token, now, &end, meta).await?;
        metrics::count_by("DeliveryDelivered", "channel", channel.as_str(), 1);
        if late && is_our_delay(*channel, *attempt, *slots, alert.latency(why, *window_seconds, started).1) {
            metrics::count("DeliveryLate", 1);
        }
        Ok(())
    }

    async fn give_back(&self, mine: &[Member], token: &str) -> Result<(), Failure> {
        for member in mine {
            self.table.release_claim(member.slot(), token).await.map_err(runtime::queue::table)?;
        }
        Ok(())
    }
}
