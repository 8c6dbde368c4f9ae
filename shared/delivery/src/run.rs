//! Performs the effects of a story, one after the other. It decides nothing: each answer goes back to the story.

use crate::{ConfirmationSender, Deliverer, Sender, counted};
use aws::sqs::OutgoingMessage;
use contracts::queue::{ConfirmationRequest, Delivery, DeliveryTarget, IncidentReceived, Lane};
use domain::contact::email_contact_key;
use domain::delivery::{
    AttemptKey, ClaimRefusal, ConfirmationMessage, DeliveryResult, DeliveryRow, EarlierClaim, ProviderMessage,
};
use domain::ids::SuppressionId;
use domain::rate_limit::{CallSlot, RateLimitDecision};
use domain::vocabulary::Channel;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use pipeline::confirm::{self, Confirm, NameMessage, Refuse};
use pipeline::deliver::claim::{Claim, Limit, Predecessor, Slot};
use pipeline::deliver::outcome::{Disable, RecordFailure, ReportRefusal};
use pipeline::deliver::record::{EnqueueDelivery, Mark, ReleaseClaims, Settle, Write};
use pipeline::deliver::{Deliver, Message, begin, pass_on};
use pipeline::{Answer, Fault, Turn};
use runtime::metrics;
use runtime::queue::{RecordError, RecordMeta, first_turn, next_turn, verdict_result};
use serde::Serialize;
use store::StoreError;
use store::contacts::RecipientChannel;
use store::deliveries::WaitsIn;

/// Table calls in flight at once. One after the other, the hundred rows of a list would take the whole invocation.
const IN_FLIGHT: usize = 16;
/// Minimum milliseconds between two messages to one chat webhook. Slack allows one message a second and may disable an app that sends more;
/// Teams publishes no figure for Workflows, so it gets the same.
const SLOT_INTERVAL_MS: i64 = 1_000;

impl Deliverer {
    /// Delivers a message: claims, sends and marks it.
    ///
    /// # Errors
    /// [`RecordError`] where the queue message must stay on its queue.
    pub async fn deliver<S: Sender>(&self, sender: &S, message: Message, meta: &RecordMeta) -> Result<(), RecordError> {
        if let Message::Single(delivery) = &message {
            let span = tracing::Span::current();
            span.record("tenant", delivery.alert.tenant.as_str());
            span.record("incident", delivery.alert.incident_id.as_str());
        }
        let mut turn = first_turn(meta);
        let passed_on = if self.is_share_used_up(&message, turn.now) { pass_on(&message, &mut turn) } else { None };
        let mut story = match passed_on {
            Some(story) => story,
            None => begin(message, &mut turn),
        };
        loop {
            turn.counted.drain(..).for_each(|counted| counted::record(&counted));
            if let Deliver::End(verdict) = story {
                return verdict_result(verdict);
            }
            // Boxed: the future would be larger than clippy allows.
            story = Box::pin(self.perform(sender, story, &mut turn, meta)).await;
        }
    }

    /// Performs the next effect of a story, and tells the story what came of it.
    async fn perform<S: Sender>(&self, sender: &S, story: Deliver, turn: &mut Turn, meta: &RecordMeta) -> Deliver {
        match story {
            Deliver::Slot(step) => {
                let answer = self.reserve_slot(&step, turn.now).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Deliver::Predecessor(step) => {
                let answer = self.read_predecessor(&step).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Deliver::Claim(step) => {
                let answers = self.claim(&step).await;
                step.answered(answers, next_turn(turn, meta.deadline))
            }
            Deliver::Limit(step) => {
                let answer = self.reserve_place(&step, turn.now).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Deliver::Send(step) => {
                let started = turn.now;
                let outcome = sender.send(step.message(), turn.left).await;
                let turn = next_turn(turn, meta.deadline);
                self.record_share(step.message(), started, turn.now);
                step.answered(outcome, turn)
            }
            Deliver::Refusal(step) => {
                let answer = self.report_refusal(&step).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Deliver::Endpoint(step) => {
                let answer = self.record_failure(&step).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Deliver::Disable(step) => {
                let answer = self.disable(&step).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Deliver::Notify(step) => {
                let answer = self.send_notices(step.notices()).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Deliver::Write(step) => {
                let answers = self.write(&step).await;
                step.answered(answers, next_turn(turn, meta.deadline))
            }
            Deliver::Schedule(step) => {
                let answer = self.table.schedule_once(step.entry()).await.map_err(table_fault);
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Deliver::Release(step) => {
                let answer = self.release(&step).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Deliver::Enqueue(step) => {
                let answer = self.enqueue(&step).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Deliver::Settle(step) => {
                self.settle(&step).await;
                step.answered((), next_turn(turn, meta.deadline))
            }
            Deliver::End(_) => story,
        }
    }

    /// Sends a confirmation request.
    ///
    /// # Errors
    /// [`RecordError`] where the queue message must stay on its queue.
    pub async fn confirm<S: ConfirmationSender>(
        &self,
        sender: &S,
        request: Box<ConfirmationRequest>,
        channel: Channel,
        meta: &RecordMeta,
    ) -> Result<(), RecordError> {
        let mut turn = first_turn(meta);
        let mut story = confirm::begin(request, channel);
        loop {
            turn.counted.drain(..).for_each(|counted| counted::record(&counted));
            story = match story {
                Confirm::Send(step) => {
                    let outcome = sender.send_confirmation(step.request()).await;
                    step.answered(outcome, next_turn(&mut turn, meta.deadline))
                }
                Confirm::Refuse(step) => {
                    let answer = self.record_refusal(&step).await;
                    step.answered(answer, next_turn(&mut turn, meta.deadline))
                }
                Confirm::Name(step) => {
                    self.name_confirmation(&step, turn.now).await;
                    step.answered((), next_turn(&mut turn, meta.deadline))
                }
                Confirm::End(verdict) => return verdict_result(verdict),
            };
        }
    }

    async fn reserve_slot(&self, step: &Slot, now: Timestamp) -> Answer<CallSlot> {
        let slot = self.table.reserve_call_slot(step.fingerprint(), now, SLOT_INTERVAL_MS, step.within_ms()).await;
        slot.map_err(table_fault)
    }

    async fn read_predecessor(&self, step: &Predecessor) -> Answer<Option<DeliveryRow>> {
        let Some(delivery) = step.delivery() else { return Ok(None) };
        let row = self.table.delivery(&delivery.alert.incident_id, &delivery.alert.tenant, step.row()).await;
        row.map_err(table_fault)
    }

    async fn claim(&self, step: &Claim) -> Vec<Answer<Result<EarlierClaim, ClaimRefusal>>> {
        let claims = step.members().iter().map(|member| async {
            let row = member.row_key();
            let key = member.attempt_key(&row);
            self.table.claim(key, step.token(), step.at(), step.lease_until_ms()).await.map_err(table_fault)
        });
        in_order(claims.collect()).await
    }

    async fn reserve_place(&self, step: &Limit, now: Timestamp) -> Answer<RateLimitDecision> {
        let Some(storms) = &self.storms else { return Ok(RateLimitDecision::SendNow) };
        let Some(limits) = storms.contacts.get(&step.class()) else { return Ok(RateLimitDecision::SendNow) };
        let exempt = step.exempt().map(|kind| (kind, storms.exempt_per_minute));
        self.table.reserve_contact_slot(step.contact(), limits, now, exempt).await.map_err(table_fault)
    }

    async fn report_refusal(&self, step: &ReportRefusal) -> Answer<()> {
        // Endpoints are no contacts, and the story reports none of them.
        let Some(url) = &self.feedback_url else { return Ok(()) };
        let outgoing = OutgoingMessage { body: json(step.refused())?, ..OutgoingMessage::default() };
        self.queues.send(url, &outgoing).await.map_err(queue_fault)
    }

    async fn record_failure(&self, step: &RecordFailure) -> Answer<Option<domain::reason::Reason>> {
        let Some(delivery) = step.delivery() else { return Ok(None) };
        self.record_endpoint_speed(delivery, step.took(), step.at()).await;
        self.record_endpoint_failure(delivery, step.cause(), step.at()).await.map_err(RecordError::into_fault)
    }

    async fn disable(&self, step: &Disable) -> Answer<()> {
        let Some(delivery) = step.delivery() else { return Ok(()) };
        self.disable_integration(delivery, step.cause(), step.at()).await.map_err(RecordError::into_fault)
    }

    async fn send_notices(&self, notices: &[IncidentReceived]) -> Answer<()> {
        for notice in notices {
            let (group, dedup) = (Some(notice.message_group_id()), Some(notice.deduplication_id()));
            let outgoing = OutgoingMessage { body: json(notice)?, group, dedup, ..OutgoingMessage::default() };
            self.queues.send(&self.classify_url, &outgoing).await.map_err(queue_fault)?;
        }
        Ok(())
    }

    async fn write(&self, step: &Write) -> Vec<Answer<bool>> {
        if let Some(pause) = step.pause() {
            tokio::time::sleep(pause).await;
        }
        let writes = step.marks().map(|(member, mark)| async {
            let row = member.row_key();
            let key = member.attempt_key(&row);
            self.write_mark(key, mark, step.token(), step.at()).await.map_err(table_fault)
        });
        in_order(writes.collect()).await
    }

    async fn write_mark(
        &self,
        key: AttemptKey<'_>,
        mark: &Mark,
        token: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        match mark {
            Mark::Accept { provider_id, latency_ms, late, .. } => {
                let provider_id = provider_id.as_deref();
                let end = DeliveryResult::Accepted { provider_id, latency_ms: *latency_ms, late: *late };
                self.table.mark_ended(key, token, at, &end, None).await
            }
            Mark::Retry { at: next_at, attempt, due } => {
                self.table.mark_retrying(key, token, at, *next_at, attempt, due.as_deref()).await
            }
            Mark::Fail { reason, attempt } => {
                self.table.mark_ended(key, token, at, &DeliveryResult::Failed { reason: *reason }, Some(attempt)).await
            }
            Mark::Wait { reason, until } => {
                self.table.mark_deferred(key, token, at, *until, *reason, WaitsIn::Queue).await
            }
            Mark::Defer { reason, due } => {
                self.table.mark_deferred(key, token, at, due.at, *reason, WaitsIn::NewEntry(due)).await
            }
            Mark::Leave { reason, until } => {
                self.table.mark_deferred(key, token, at, *until, *reason, WaitsIn::ItsEntry).await
            }
        }
    }

    async fn release(&self, step: &ReleaseClaims) -> Answer<()> {
        for member in step.members() {
            let row = member.row_key();
            self.table.release_claim(member.attempt_key(&row), step.token()).await.map_err(table_fault)?;
        }
        Ok(())
    }

    async fn enqueue(&self, step: &EnqueueDelivery) -> Answer<()> {
        let url = match step.lane() {
            Lane::Urgent => &self.urgent_url,
            Lane::Bulk => &self.bulk_url,
        };
        let (body, group) = (json(step.delivery())?, Some(step.group().to_owned()));
        let outgoing =
            OutgoingMessage { body, group, delay_seconds: step.delay_seconds(), ..OutgoingMessage::default() };
        self.queues.send(url, &outgoing).await.map_err(queue_fault)
    }

    async fn settle(&self, step: &Settle) {
        if let Some((id, contact)) = step.provider_message() {
            let named = step.members().iter().map(|member| self.name_message(id, &contact, member, step.at()));
            in_order(named.collect()).await;
        }
        if let Some(first) = step.members().first() {
            self.record_endpoint_success(first, step.at()).await;
            self.record_endpoint_speed(first, step.took(), step.at()).await;
        }
    }

    /// Stores which delivery a provider's message id belongs to, so that later feedback of SES or SNS finds the row.
    async fn name_message(&self, id: &str, contact: &str, delivery: &Delivery, now: Timestamp) {
        let message = ProviderMessage {
            tenant: delivery.alert.tenant.clone(),
            incident_id: delivery.alert.incident_id.clone(),
            row: delivery.row_key(),
            destination: delivery.destination.clone(),
            update: delivery.alert.update,
            category: delivery.alert.category,
            contact: Some(contact.to_owned()),
            suppression: match &delivery.target {
                DeliveryTarget::Email { address, .. } => Some(SuppressionId::of(address)),
                _ => None,
            },
        };
        if let Err(error) = self.table.record_provider_message(delivery.channel, id, &message, now).await {
            metrics::count("FeedbackUnnamed", 1);
            tracing::warn!(%error, "cannot store the provider's message id: its later feedback will match no delivery");
        }
    }

    /// Stores that a provider's message id is a confirmation's, so that a bounce or a complaint finds its address. A failure is only logged, as
    /// in [`Self::name_message`].
    async fn name_confirmation(&self, step: &NameMessage, now: Timestamp) {
        let ConfirmationRequest { tenant, recipient, target, .. } = step.request();
        let DeliveryTarget::Email { address, .. } = target else { return };
        let message = ConfirmationMessage {
            tenant: tenant.clone(),
            recipient: recipient.clone(),
            contact: email_contact_key(tenant, address),
            suppression: SuppressionId::of(address),
        };
        let stored = self.table.record_confirmation_message(Channel::Email, step.provider_id(), &message, now).await;
        if let Err(error) = stored {
            metrics::count("FeedbackUnnamed", 1);
            tracing::warn!(%error, "cannot store the provider's message id: its later feedback will match no confirmation");
        }
    }

    async fn record_refusal(&self, step: &Refuse) -> Answer<()> {
        let ConfirmationRequest { tenant, recipient, identity, .. } = &*step.request;
        tracing::Span::current().record("tenant", tenant.as_str());
        tracing::warn!(%recipient, "a confirmation request was not accepted");
        let contact = RecipientChannel { tenant, recipient, channel: step.channel };
        self.table.record_confirmation_refusal(contact, identity, &step.cause).await.map_err(table_fault)
    }
}

/// Awaits all, several at a time, and returns the results in order.
async fn in_order<F: Future>(all: Vec<F>) -> Vec<F::Output> {
    stream::iter(all).buffered(IN_FLIGHT).collect().await
}

fn json(message: &impl Serialize) -> Answer<String> {
    serde_json::to_string(message)
        .map_err(|_| Fault::Unprocessable { reason: "cannot serialize the message".to_owned() })
}

fn table_fault(error: StoreError) -> Fault {
    runtime::queue::store_error(error).into_fault()
}

fn queue_fault(error: aws::AwsError) -> Fault {
    runtime::queue::aws_error(error).into_fault()
}
