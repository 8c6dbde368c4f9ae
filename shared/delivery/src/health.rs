//! What a sender does when it learns how an endpoint fares. Only its owner's alerts count: no test, and nothing that Tocsin itself
//! says, or two dead endpoints would feed each other.

use crate::Deliverer;
use aws::sqs::Outgoing;
use contracts::queue::{Delivery, IncidentReceived};
use domain::health::{Endpoint, FAILING, OWN_TYPES, PROBE_AFTER, TOO_LONG, Word, notice};
use domain::ids::{EventId, IntegrationId};
use domain::reason::Reason;
use domain::tenant::{Disabled, Integration};
use jiff::Timestamp;
use runtime::queue::Failure;
use runtime::{ids, metrics};

/// The integration of a delivery whose outcome counts.
fn counted(delivery: &Delivery) -> Option<IntegrationId> {
    let alert = &delivery.alert;
    let own = alert.test || alert.event_type.starts_with(OWN_TYPES);
    IntegrationId::parse(&delivery.destination).filter(|_| !own)
}

impl Deliverer {
    /// Notes a failed attempt. Why this delivery ends with it, if it does: nothing is sent to an endpoint that only failed for days.
    ///
    /// # Errors
    /// [`Failure`] where AWS does not take it; the attempt is then made once more.
    pub(crate) async fn endpoint_failed(
        &self,
        delivery: &Delivery,
        cause: &str,
        now: Timestamp,
    ) -> Result<Option<Reason>, Failure> {
        let Some(id) = counted(delivery) else { return Ok(None) };
        let tenant = &delivery.alert.tenant;
        let who = ids::suffix();
        let stamp = (now, self.function, who.as_str());
        match delivery.endpoint {
            Endpoint::HalfOpen => {
                let probed = self.table.change_integration(tenant, &id, stamp, |integration| {
                    let disabled = integration.disabled.as_mut().filter(|disabled| disabled.probe_at.is_some())?;
                    disabled.probe_at = now.saturating_add(PROBE_AFTER).ok();
                    Some("integration.still_failing")
                });
                probed.await.map_err(runtime::queue::table)?;
                Ok(Some(Reason::EndpointDisabled))
            }
            endpoint if endpoint.failed_for_too_long(now) => {
                // The message may have waited while the endpoint recovered.
                let known = self.table.integration(tenant, &id).await.map_err(runtime::queue::table)?;
                if !known.is_some_and(|known| Endpoint::of(&known).failed_for_too_long(now)) {
                    return Ok(None);
                }
                self.disable(delivery, TOO_LONG, now).await?;
                Ok(Some(Reason::EndpointDisabled))
            }
            Endpoint::Failing { .. } => Ok(None),
            Endpoint::Healthy => {
                let failures = self.table.count_failure(tenant, &id, now).await.map_err(runtime::queue::table)?;
                if failures.are_enough(delivery.attempt) {
                    self.tell_owner(delivery, &id, cause, now).await?;
                }
                Ok(None)
            }
        }
    }

    /// Tells the owner that an endpoint fails, once. The event goes first: a crash in between repeats it, and it is the same event.
    async fn tell_owner(
        &self,
        delivery: &Delivery,
        id: &IntegrationId,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let tenant = &delivery.alert.tenant;
        let known = self.table.integration(tenant, id).await.map_err(runtime::queue::table)?;
        let Some(integration) = known.filter(|known| known.failing.is_none()) else { return Ok(()) };
        self.say(delivery, &integration, Word::Fails, cause, now).await?;
        let who = ids::suffix();
        let failing = self.table.change_integration(tenant, id, (now, self.function, &who), |integration| {
            if integration.failing.is_some() {
                return None;
            }
            integration.failing = Some(now);
            Some("integration.failing")
        });
        failing.await.map_err(runtime::queue::table)?;
        metrics::count_by("IntegrationFailing", "channel", delivery.channel.as_str(), 1);
        Ok(())
    }

    /// Sends nothing more to an endpoint, and tells its owner.
    ///
    /// # Errors
    /// [`Failure`] where AWS does not take it.
    pub(crate) async fn disable(&self, delivery: &Delivery, cause: &str, now: Timestamp) -> Result<(), Failure> {
        let Some(id) = IntegrationId::parse(&delivery.destination) else { return Ok(()) };
        let tenant = &delivery.alert.tenant;
        let known = self.table.integration(tenant, &id).await.map_err(runtime::queue::table)?;
        let Some(integration) = known.filter(|known| known.disabled.is_none()) else { return Ok(()) };
        self.say(delivery, &integration, Word::Disabled, cause, now).await?;
        let probe_at = (cause == TOO_LONG).then(|| now.saturating_add(PROBE_AFTER).ok()).flatten();
        let disabled = Disabled { at: now, cause: cause.to_owned(), probe_at };
        let who = ids::suffix();
        let done = self.table.change_integration(tenant, &id, (now, self.function, &who), |integration| {
            if integration.disabled.is_some() {
                return None;
            }
            integration.disabled = Some(disabled.clone());
            integration.failing = integration.failing.or(Some(now));
            Some("integration.disabled")
        });
        done.await.map_err(runtime::queue::table)?;
        metrics::count_by("IntegrationDisabled", "channel", delivery.channel.as_str(), 1);
        Ok(())
    }

    /// Notes that an endpoint took an alert where that may be news. It is noted as well as it can be: the alert is delivered, and as
    /// long as this is not noted every later one tries again.
    pub(crate) async fn endpoint_took(&self, delivery: &Delivery, now: Timestamp) {
        let Some(id) = counted(delivery).filter(|_| delivery.attempt > 1 || !delivery.endpoint.is_healthy()) else {
            return;
        };
        if let Err(error) = self.endpoint_recovered(delivery, &id, now).await {
            tracing::warn!(
                ?error,
                destination = delivery.destination,
                "that the endpoint is back is noted with the next alert"
            );
        }
    }

    async fn endpoint_recovered(&self, delivery: &Delivery, id: &IntegrationId, now: Timestamp) -> Result<(), Failure> {
        let tenant = &delivery.alert.tenant;
        self.table.forget_failures(tenant, id, now).await.map_err(runtime::queue::table)?;
        let known = self.table.integration(tenant, id).await.map_err(runtime::queue::table)?;
        // What said itself that it is gone is enabled by its owner only, and until then not back.
        let gone = |known: &Integration| known.disabled.as_ref().is_some_and(|disabled| disabled.probe_at.is_none());
        let known = known.filter(|known| known.failing.is_some() && !gone(known));
        let Some(integration) = known else { return Ok(()) };
        self.say(delivery, &integration, Word::Recovered, "", now).await?;
        let who = ids::suffix();
        let recovered = self.table.change_integration(tenant, id, (now, self.function, &who), |integration| {
            integration.failing.filter(|_| !gone(integration))?;
            (integration.failing, integration.disabled) = (None, None);
            Some("integration.recovered")
        });
        recovered.await.map_err(runtime::queue::table)?;
        metrics::count_by("IntegrationRecovered", "channel", delivery.channel.as_str(), 1);
        Ok(())
    }

    async fn say(
        &self,
        delivery: &Delivery,
        integration: &Integration,
        word: Word,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let tenant = &delivery.alert.tenant;
        let event = notice(tenant, integration, word, cause);
        // The integration's version tells one trouble from the next, and stays the same until this one is noted.
        let version = integration.version.to_string();
        let event_id = EventId::derived(&[FAILING, integration.id.as_str(), &version, &format!("{word:?}")]);
        let received = IncidentReceived::own(tenant, event, event_id, &delivery.correlation_id, now);
        let body = serde_json::to_string(&received).map_err(|_| Failure::poison("a notice cannot be written"))?;
        let (group, dedup) = (Some(received.group()), Some(received.deduplication_id()));
        let outgoing = Outgoing { body, group, dedup, ..Outgoing::default() };
        self.queues.send(&self.classify_url, &outgoing).await.map_err(runtime::queue::aws)
    }
}
