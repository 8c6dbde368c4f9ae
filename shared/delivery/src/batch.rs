//! Delivers several alerts to one recipient in one message: a scheduled digest, or a bundle of storm protection. Each
//! alert has its own delivery row.
//!
//! Every row is claimed before the one send, so alerts that are over or were in another batch drop out; every row is marked after it. After
//! a crash in between, the message is received again and contains only what is not marked yet.

use crate::deliver::{Claim, lease_until};
use crate::retry::due_entry;
use crate::{Deliverer, QUOTA_PAUSE, SendOutcome, THROTTLE_PAUSE};
use contracts::queue::{BatchDelivery, Delivery};
use domain::alert::Alert;
use domain::attempt::{AttemptFailure, NextStep, decide_next_step};
use domain::delivery::{ClaimRefusal, counts_as_our_delay};
use domain::ids::{IncidentId, TenantId};
use domain::reason::Reason;
use domain::render::BatchKind;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use runtime::queue::{RecordError, RecordMeta};
use runtime::{clock, ids, metrics};
use std::time::Duration;
use store::deliveries::{AttemptKey, DeliveryResult, FailedAttempt};
use store::due::{Hold, ScheduledDelivery};

/// Table calls in flight at once.
const IN_FLIGHT: usize = 16;

/// One delivery of a batch, with the owned parts of its claim.
struct Member {
    delivery: Delivery,
    row: String,
    incident: IncidentId,
    tenant: TenantId,
}

impl Member {
    fn new(delivery: Delivery) -> Self {
        let (row, incident, tenant) =
            (delivery.row_key(), delivery.alert.incident_id.clone(), delivery.alert.tenant.clone());
        Self { delivery, row, incident, tenant }
    }

    fn attempt_key(&self) -> AttemptKey<'_> {
        AttemptKey {
            incident: &self.incident,
            tenant: &self.tenant,
            row: &self.row,
            channel: self.delivery.channel,
            update: self.delivery.alert.update,
            attempt: self.delivery.attempt,
        }
    }

    /// Returns the due entry that puts this delivery into a batch again. `omitted_count` is the number of
    /// alerts that the batch only counts.
    fn due_entry(&self, at: Timestamp, attempt: u32, omitted_count: u32) -> ScheduledDelivery {
        let since = self.delivery.why.held.as_ref().map_or(self.delivery.alert.at, |held| held.since);
        let reason = self.delivery.why.held.as_ref().map_or(Reason::Digest, |held| held.reason);
        let held = Some(Hold { since, reason, always_listed: self.delivery.alert.rate_limit_exemption().is_some() });
        ScheduledDelivery { attempt, held, omitted_count, ..due_entry(&self.delivery, at) }
    }
}

/// The claimed members of a batch.
struct ClaimedMembers {
    members: Vec<Member>,
    token: String,
    /// The number of alerts that the batch only counts.
    omitted_count: u32,
}

impl Deliverer {
    /// Claims, sends and marks a batch. `send` receives the members that could be claimed, at least one, and the time limit.
    ///
    /// # Errors
    /// [`RecordError`] where the message must stay on its queue.
    pub async fn deliver_batch<F: Future<Output = SendOutcome>>(
        &self,
        batch: BatchDelivery,
        meta: &RecordMeta,
        send: impl FnOnce(BatchDelivery, Duration) -> F,
    ) -> Result<(), RecordError> {
        let BatchDelivery { v, members, omitted_count, storm, .. } = batch;
        let Some(claimed) = self.claim_members(members, omitted_count, meta).await? else { return Ok(()) };
        let started = clock::now();
        let members = claimed.members.iter().map(|member| member.delivery.clone()).collect();
        let outcome = send(BatchDelivery { members, v, omitted_count, storm }, meta.deadline.remaining()).await;
        let now = clock::now();
        match outcome {
            SendOutcome::Accepted { provider_id } => {
                metrics::count(if storm { "BundleDelivered" } else { "DigestDelivered" }, 1);
                self.record_batch_acceptance(&claimed, provider_id.as_deref(), started, now, meta).await
            }
            SendOutcome::Failed { failed, status, response } => {
                let attempt = |member: &Member| FailedAttempt {
                    update: member.delivery.alert.update,
                    attempt: member.delivery.attempt,
                    at: now,
                    cause: failed.cause.clone(),
                    status,
                    response: response.clone(),
                    took_ms: now.as_millisecond() - started.as_millisecond(),
                };
                self.handle_failed_batch(&claimed, now, &failed, attempt).await
            }
            SendOutcome::Throttled => {
                self.release_claims(&claimed.members, &claimed.token).await?;
                Err(RecordError::retry_after(Duration::from_secs_f64(THROTTLE_PAUSE), "throttled"))
            }
            SendOutcome::QuotaExhausted => {
                let at = now.saturating_add(QUOTA_PAUSE).unwrap_or(now);
                for member in &claimed.members {
                    let due = member.due_entry(at, member.delivery.attempt, omitted_count);
                    self.table.schedule(&due).await.map_err(runtime::queue::store_error)?;
                }
                self.release_claims(&claimed.members, &claimed.token).await
            }
            SendOutcome::Unavailable { code } => {
                self.release_claims(&claimed.members, &claimed.token).await?;
                Err(RecordError::retry("provider_unavailable", &code))
            }
            SendOutcome::RetryPlain => Err(RecordError::unprocessable("a digest or bundle has no plain form")),
        }
    }

    /// Claims the rows of a batch. `None` if none is left to send.
    ///
    /// # Errors
    /// [`RecordError`] while another invocation has a lease on one of the rows: it is sending a part of the batch, and sending the
    /// rest would make a second one.
    async fn claim_members(
        &self,
        members: Vec<Delivery>,
        omitted_count: u32,
        meta: &RecordMeta,
    ) -> Result<Option<ClaimedMembers>, RecordError> {
        let (token, now) = (ids::id_suffix(), clock::now());
        let lease_ms = lease_until(now, meta).as_millisecond();
        let claims = members.into_iter().map(Member::new).map(|member| async {
            let claimed = self.table.claim(member.attempt_key(), &token, now, lease_ms).await;
            claimed.map(|claimed| (member, claimed)).map_err(runtime::queue::store_error)
        });
        // Concurrently: one after the other, a hundred rows would take the whole invocation.
        let claims: Vec<_> = stream::iter(claims).buffered(IN_FLIGHT).try_collect().await?;
        let mut members = Vec::with_capacity(claims.len());
        let mut leased = None;
        for (member, claimed) in claims {
            match claimed {
                Ok(_) => members.push(member),
                Err(ClaimRefusal::Leased { until_ms }) => leased = leased.max(Some(until_ms)),
                Err(ClaimRefusal::Done | ClaimRefusal::Superseded { .. } | ClaimRefusal::AttemptOver { .. }) => {
                    metrics::count("DuplicateSuppressed", 1);
                }
            }
        }
        if let Some(until_ms) = leased {
            self.release_claims(&members, &token).await?;
            let wait = u64::try_from(until_ms - now.as_millisecond()).unwrap_or(0);
            return Err(RecordError::retry_after(Duration::from_millis(wait), "leased"));
        }
        if members.is_empty() {
            return Ok(None);
        }
        Ok(Some(ClaimedMembers { members, token, omitted_count }))
    }

    /// Marks every member of an accepted batch. Every mark is tried before the first error is returned: what is not marked is sent again.
    async fn record_batch_acceptance(
        &self,
        claimed: &ClaimedMembers,
        provider_id: Option<&str>,
        started: Timestamp,
        now: Timestamp,
        meta: &RecordMeta,
    ) -> Result<(), RecordError> {
        let members = &claimed.members;
        // Boxed: the compiler cannot name the lifetimes of futures that are created in a closure.
        let (mut marks, mut names) = (Vec::with_capacity(members.len()), Vec::with_capacity(members.len()));
        for member in members {
            let claim = Claim { key: member.attempt_key(), token: &claimed.token };
            marks.push(self.mark_member_accepted(member, claim, provider_id, started, now, meta).boxed());
            names.push(self.record_provider_message(provider_id, &member.delivery, now).boxed());
        }
        let marked: Vec<_> = stream::iter(marks).buffer_unordered(IN_FLIGHT).collect().await;
        marked.into_iter().collect::<Result<(), RecordError>>()?;
        stream::iter(names).buffer_unordered(IN_FLIGHT).collect::<()>().await;
        if let Some(first) = members.first() {
            self.record_endpoint_success(&first.delivery, now).await;
        }
        Ok(())
    }

    /// Schedules the retry of a failed batch at one time for all its members, so that it stays one message; or gives them up.
    async fn handle_failed_batch(
        &self,
        claimed: &ClaimedMembers,
        now: Timestamp,
        failed: &AttemptFailure,
        attempt: impl Fn(&Member) -> FailedAttempt,
    ) -> Result<(), RecordError> {
        let jitter = ids::random_fraction();
        // Counts as one failure of the endpoint, however many members the batch has.
        let ended = match claimed.members.first() {
            Some(first) => self.record_endpoint_failure(&first.delivery, &failed.cause, now).await?,
            None => None,
        };
        let token = &claimed.token;
        for member in &claimed.members {
            let (key, attempt) = (member.attempt_key(), attempt(member));
            metrics::count_by("AttemptFailed", "channel", member.delivery.channel.as_str(), 1);
            let next = match (decide_next_step(member.delivery.channel, key.attempt, failed, now, jitter), ended) {
                (NextStep::Retry { .. }, Some(reason)) => NextStep::GiveUp { reason, disable: false },
                (next, _) => next,
            };
            let marked = match next {
                NextStep::Retry { at } => {
                    let due = member.due_entry(at, key.attempt + 1, claimed.omitted_count);
                    self.table.mark_retrying(key, token, now, at, &attempt, Some(&due)).await
                }
                NextStep::GiveUp { reason, disable } => {
                    if disable {
                        self.disable_integration(&member.delivery, &failed.cause, now).await?;
                    }
                    self.notify_org_admins(&member.delivery, &failed.cause, now).await?;
                    metrics::count_by("DeliveryGivenUp", "channel", member.delivery.channel.as_str(), 1);
                    self.table.mark_ended(key, token, now, &DeliveryResult::Failed { reason }, Some(&attempt)).await
                }
            };
            self.warn_if_claim_lost(marked.map_err(runtime::queue::store_error)?, key);
        }
        Ok(())
    }

    /// Marks one member of a batch that the provider accepted.
    async fn mark_member_accepted(
        &self,
        member: &Member,
        claim: Claim<'_>,
        provider_id: Option<&str>,
        started: Timestamp,
        now: Timestamp,
        meta: &RecordMeta,
    ) -> Result<(), RecordError> {
        let Delivery { alert, why, window_seconds, channel, attempt, slots, .. } = &member.delivery;
        let (latency_ms, late) = alert.latency(why, *window_seconds, now);
        let end = DeliveryResult::Accepted { provider_id, latency_ms, late };
        self.mark_accepted(claim, now, &end, meta).await?;
        metrics::count_by("DeliveryDelivered", "channel", channel.as_str(), 1);
        if late && counts_as_our_delay(*channel, *attempt, *slots, alert.latency(why, *window_seconds, started).1) {
            metrics::count("DeliveryLate", 1);
        }
        Ok(())
    }

    async fn release_claims(&self, members: &[Member], token: &str) -> Result<(), RecordError> {
        for member in members {
            self.table.release_claim(member.attempt_key(), token).await.map_err(runtime::queue::store_error)?;
        }
        Ok(())
    }
}

/// Merges a batch into one delivery whose alert lists all of its alerts, for channels that cannot send a list. `None` if it is empty.
#[must_use]
pub fn merge_batch(batch: BatchDelivery) -> Option<Delivery> {
    let alerts: Vec<&Alert> = batch.members.iter().map(|member| &member.alert).collect();
    let kind = if batch.storm { BatchKind::Bundle } else { BatchKind::Digest };
    let alert = domain::render::bundle(&alerts, batch.omitted_count, kind)?;
    let member = batch.members.into_iter().find(|member| member.alert.incident_id == alert.incident_id)?;
    Some(Delivery { alert, ..member })
}
