//! Tracks how quickly Slack, Teams and webhook endpoints answer. What goes to slow ones leaves the urgent lane, so that they hold up nobody
//! else's alerts: each endpoint after some slow answers, and all of a tenant's for a while once they have had their share of this environment.
//!
//! A quick answer of an endpoint that is not marked as slow is not recorded.

use crate::Deliverer;
use contracts::queue::Delivery;
use domain::health::{SLOW_ANSWER, SpeedMark};
use domain::ids::IntegrationId;
use jiff::{SignedDuration, Timestamp};
use pipeline::deliver::{Message, monitored_integration};
use runtime::{ids, metrics};
use std::sync::{MutexGuard, PoisonError};
use store::StoreError;
use store::tenants::AuditStamp;

impl Deliverer {
    /// Whether the slow endpoints of the message's tenant have used up their share of this environment.
    pub(crate) fn is_share_used_up(&self, message: &Message, now: Timestamp) -> bool {
        let tenant = message.members().first().map(|member| &member.alert.tenant);
        tenant.is_some_and(|tenant| self.shares().is_used_up(tenant, now))
    }

    /// Records how long a call of a tenant's endpoint occupied this environment. Calls of SES and SNS are not the tenant's to slow down.
    pub(crate) fn record_share(&self, message: &Message, started: Timestamp, ended: Timestamp) {
        let first = message.members().first();
        if let Some(first) = first.filter(|first| IntegrationId::parse(&first.destination).is_some()) {
            self.shares().record(&first.alert.tenant, started, ended);
        }
    }

    fn shares(&self) -> MutexGuard<'_, domain::health::SlowShares> {
        self.slow_shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records how quickly an endpoint answered, or timed out: a slow answer always, a quick one if the endpoint is marked as slow. An error is
    /// only logged: the next slow answer counts again.
    pub(crate) async fn record_endpoint_speed(
        &self,
        delivery: &Delivery,
        took: Option<SignedDuration>,
        now: Timestamp,
    ) {
        let Some(took) = took else { return };
        let Some(id) = monitored_integration(delivery) else { return };
        let slow = took >= SLOW_ANSWER;
        if !slow && delivery.slow.is_none() {
            return;
        }
        if let Err(error) = self.mark_endpoint_speed(delivery, &id, slow, now).await {
            tracing::warn!(%error, destination = delivery.destination, "cannot record how quickly the endpoint answered");
        }
    }

    /// Counts an answer, and marks the integration if it changes what the endpoint counts as.
    async fn mark_endpoint_speed(
        &self,
        delivery: &Delivery,
        id: &IntegrationId,
        slow: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let tenant = &delivery.alert.tenant;
        let streak = self.table.count_endpoint_answer(tenant, id, slow, now).await?;
        if streak.new_mark(delivery.slow).is_none() {
            return Ok(());
        }
        let nonce = ids::id_suffix();
        let stamp = AuditStamp { at: now, who: self.function, nonce: &nonce };
        let changed = self.table.change_integration(tenant, id, stamp, |integration| {
            // The message may be older than the mark.
            match streak.new_mark(integration.slow)? {
                SpeedMark::Slow => {
                    integration.slow = Some(now);
                    Some("integration.slow")
                }
                SpeedMark::Quick => {
                    integration.slow = None;
                    Some("integration.quick")
                }
            }
        });
        changed.await?;
        let channel = delivery.channel.as_str();
        match slow {
            true => metrics::count_by("IntegrationSlow", "channel", channel, 1),
            false => metrics::count_by("IntegrationQuick", "channel", channel, 1),
        }
        Ok(())
    }
}
