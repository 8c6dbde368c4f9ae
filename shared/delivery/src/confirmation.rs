//! Records how the sending of a confirmation request ended.

use crate::{Deliverer, SendOutcome, THROTTLE_PAUSE};
use contracts::queue::ConfirmationRequest;
use domain::vocabulary::Channel;
use runtime::metrics;
use runtime::queue::RecordError;
use std::time::Duration;
use store::contacts::RecipientChannel;

impl Deliverer {
    /// Records how the sending of a confirmation request ended. It has no delivery row and no retries: the admin sees the
    /// outcome, and can request it again.
    ///
    /// # Errors
    /// [`RecordError`] where the message must stay on its queue.
    pub async fn record_confirmation_outcome(
        &self,
        confirmation: &ConfirmationRequest,
        channel: Channel,
        outcome: SendOutcome,
    ) -> Result<(), RecordError> {
        let (tenant, recipient) = (&confirmation.tenant, &confirmation.recipient);
        match outcome {
            SendOutcome::Accepted { .. } => {
                metrics::count_by("ConfirmationSent", "channel", channel.as_str(), 1);
                Ok(())
            }
            SendOutcome::Failed { failed, .. } => {
                let contact = RecipientChannel { tenant, recipient, channel };
                let noted =
                    self.table.record_confirmation_refusal(contact, &confirmation.identity, &failed.cause).await;
                noted.map_err(runtime::queue::store_error)?;
                metrics::count_by("ConfirmationRefused", "channel", channel.as_str(), 1);
                tracing::warn!(
                    %tenant,
                    %recipient,
                    cause = failed.cause,
                    "the provider refused a confirmation request"
                );
                Ok(())
            }
            SendOutcome::Throttled => {
                Err(RecordError::retry_after(Duration::from_secs_f64(THROTTLE_PAUSE), "throttled"))
            }
            SendOutcome::QuotaExhausted => Err(RecordError::retry("provider_quota", "the provider's quota is used up")),
            SendOutcome::Unavailable { code } => Err(RecordError::retry("provider_unavailable", &code)),
            SendOutcome::RetryPlain => Err(RecordError::unprocessable("a confirmation request has no plain form")),
        }
    }
}
