//! Tracks the health of Slack, Teams and webhook endpoints: notifies the owner of a failing one, disables it, and notices its recovery.
//!
//! Only the tenant's own alerts count. Test alerts and Tocsin's system events do not, or two failing endpoints would
//! cause endless notices about each other.

use crate::Deliverer;
use aws::sqs::OutgoingMessage;
use contracts::queue::{Delivery, IncidentReceived};
use domain::attempt::FAILING_TOO_LONG;
use domain::health::{ENDPOINT_FAILING_TYPE, EndpointHealth, EndpointNotice, PROBE_AFTER, endpoint_notice_event};
use domain::ids::{EventId, IntegrationId};
use domain::reason::Reason;
use domain::tenant::{Disablement, Integration};
use jiff::Timestamp;
use pipeline::deliver::monitored_integration;
use runtime::queue::RecordError;
use runtime::{ids, metrics};
use store::tenants::AuditStamp;

impl Deliverer {
    /// Records a failed attempt of an endpoint. Returns the reason to give the delivery up, if its endpoint failed for too long: then it is
    /// disabled, or stays disabled.
    ///
    /// # Errors
    /// [`RecordError`] of the AWS call that failed; the attempt is then made again.
    pub(crate) async fn record_endpoint_failure(
        &self,
        delivery: &Delivery,
        cause: &str,
        now: Timestamp,
    ) -> Result<Option<Reason>, RecordError> {
        let Some(id) = monitored_integration(delivery) else { return Ok(None) };
        let tenant = &delivery.alert.tenant;
        let nonce = ids::id_suffix();
        let stamp = AuditStamp { at: now, who: self.function, nonce: &nonce };
        match delivery.endpoint {
            EndpointHealth::HalfOpen => {
                let probed = self.table.change_integration(tenant, &id, stamp, |integration| {
                    let disabled = integration.disabled.as_mut().filter(|disabled| disabled.probe_at.is_some())?;
                    disabled.probe_at = now.saturating_add(PROBE_AFTER).ok();
                    Some("integration.still_failing")
                });
                probed.await.map_err(runtime::queue::store_error)?;
                Ok(Some(Reason::EndpointDisabled))
            }
            endpoint if endpoint.failed_for_too_long(now) => {
                // The endpoint may have recovered while the message was on the queue.
                let current = self.table.integration(tenant, &id).await.map_err(runtime::queue::store_error)?;
                if !current.is_some_and(|current| EndpointHealth::of_integration(&current).failed_for_too_long(now)) {
                    return Ok(None);
                }
                self.disable_integration(delivery, FAILING_TOO_LONG, now).await?;
                Ok(Some(Reason::EndpointDisabled))
            }
            EndpointHealth::Failing { .. } => Ok(None),
            EndpointHealth::Healthy => {
                let failures =
                    self.table.count_endpoint_failure(tenant, &id, now).await.map_err(runtime::queue::store_error)?;
                if failures.should_notify(delivery.attempt) {
                    self.notify_owner_of_failure(delivery, &id, cause, now).await?;
                }
                Ok(None)
            }
        }
    }

    /// Notifies the owner once that an endpoint is failing, and marks the integration as failing. The event goes first: after a crash in
    /// between, it is sent again and deduplicated.
    async fn notify_owner_of_failure(
        &self,
        delivery: &Delivery,
        id: &IntegrationId,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        let tenant = &delivery.alert.tenant;
        let current = self.table.integration(tenant, id).await.map_err(runtime::queue::store_error)?;
        let Some(integration) = current.filter(|current| current.failing.is_none()) else { return Ok(()) };
        self.send_owner_notice(delivery, &integration, EndpointNotice::Failing, cause, now).await?;
        let nonce = ids::id_suffix();
        let failing = self.table.change_integration(
            tenant,
            id,
            AuditStamp { at: now, who: self.function, nonce: &nonce },
            |integration| {
                if integration.failing.is_some() {
                    return None;
                }
                integration.failing = Some(now);
                Some("integration.failing")
            },
        );
        failing.await.map_err(runtime::queue::store_error)?;
        metrics::count_by("IntegrationFailing", "channel", delivery.channel.as_str(), 1);
        Ok(())
    }

    /// Disables the integration of a delivery and notifies its owner. Only an endpoint that failed for too long is probed again later.
    ///
    /// # Errors
    /// [`RecordError`] of the AWS call that failed.
    pub(crate) async fn disable_integration(
        &self,
        delivery: &Delivery,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        let Some(id) = IntegrationId::parse(&delivery.destination) else { return Ok(()) };
        let tenant = &delivery.alert.tenant;
        let current = self.table.integration(tenant, &id).await.map_err(runtime::queue::store_error)?;
        let Some(integration) = current.filter(|current| current.disabled.is_none()) else { return Ok(()) };
        self.send_owner_notice(delivery, &integration, EndpointNotice::Disabled, cause, now).await?;
        let probe_at = if cause == FAILING_TOO_LONG { now.saturating_add(PROBE_AFTER).ok() } else { None };
        let disabled = Disablement { at: now, cause: cause.to_owned(), probe_at };
        let nonce = ids::id_suffix();
        let done = self.table.change_integration(
            tenant,
            &id,
            AuditStamp { at: now, who: self.function, nonce: &nonce },
            |integration| {
                if integration.disabled.is_some() {
                    return None;
                }
                integration.disabled = Some(disabled.clone());
                integration.failing = integration.failing.or(Some(now));
                Some("integration.disabled")
            },
        );
        done.await.map_err(runtime::queue::store_error)?;
        metrics::count_by("IntegrationDisabled", "channel", delivery.channel.as_str(), 1);
        Ok(())
    }

    /// Records that an endpoint accepted an alert, if it had failed before. An error is only logged: the alert is delivered, and the next
    /// accepted alert tries to record the recovery again.
    pub(crate) async fn record_endpoint_success(&self, delivery: &Delivery, now: Timestamp) {
        if delivery.attempt == 1 && delivery.endpoint.is_healthy() {
            return;
        }
        let Some(id) = monitored_integration(delivery) else { return };
        if let Err(error) = self.mark_endpoint_recovered(delivery, &id, now).await {
            tracing::warn!(
                ?error,
                destination = delivery.destination,
                "cannot record that the endpoint recovered; the next accepted alert tries again"
            );
        }
    }

    /// Clears an endpoint's failures, and notifies its owner if the integration was marked as failing.
    async fn mark_endpoint_recovered(
        &self,
        delivery: &Delivery,
        id: &IntegrationId,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        let tenant = &delivery.alert.tenant;
        self.table.clear_endpoint_failures(tenant, id, now).await.map_err(runtime::queue::store_error)?;
        let current = self.table.integration(tenant, id).await.map_err(runtime::queue::store_error)?;
        // An endpoint that answered "gone" (HTTP 410) is enabled again only by its owner.
        let is_gone =
            |current: &Integration| current.disabled.as_ref().is_some_and(|disabled| disabled.probe_at.is_none());
        let current = current.filter(|current| current.failing.is_some() && !is_gone(current));
        let Some(integration) = current else { return Ok(()) };
        self.send_owner_notice(delivery, &integration, EndpointNotice::Recovered, "", now).await?;
        let nonce = ids::id_suffix();
        let recovered = self.table.change_integration(
            tenant,
            id,
            AuditStamp { at: now, who: self.function, nonce: &nonce },
            |integration| {
                if integration.failing.is_none() || is_gone(integration) {
                    return None;
                }
                (integration.failing, integration.disabled) = (None, None);
                Some("integration.recovered")
            },
        );
        recovered.await.map_err(runtime::queue::store_error)?;
        metrics::count_by("IntegrationRecovered", "channel", delivery.channel.as_str(), 1);
        Ok(())
    }

    /// Sends the owner of an endpoint a notice about it, as a system event to `classify`.
    async fn send_owner_notice(
        &self,
        delivery: &Delivery,
        integration: &Integration,
        notice: EndpointNotice,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        let tenant = &delivery.alert.tenant;
        let event = endpoint_notice_event(tenant, integration, notice, cause);
        // The integration's version changes when the notice is recorded, so a repeated notice has the same event id
        // and the next one does not.
        let version = integration.version.to_string();
        let event_id =
            EventId::derived(&[ENDPOINT_FAILING_TYPE, integration.id.as_str(), &version, &format!("{notice:?}")]);
        let received = IncidentReceived::system_event(tenant, event, event_id, &delivery.correlation_id, now);
        let body =
            serde_json::to_string(&received).map_err(|_| RecordError::unprocessable("cannot serialize the notice"))?;
        let (group, dedup) = (Some(received.message_group_id()), Some(received.deduplication_id()));
        let outgoing = OutgoingMessage { body, group, dedup, ..OutgoingMessage::default() };
        self.queues.send(&self.classify_url, &outgoing).await.map_err(runtime::queue::aws_error)
    }
}
