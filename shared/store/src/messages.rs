//! Maps a provider's message id to the deliveries sent with it, so that later feedback finds their rows.

use crate::{StoreError, Table, item, keys, read, text};
use aws_sdk_dynamodb::types::AttributeValue;
use domain::delivery::{ConfirmationMessage, ProviderFeedback, ProviderMessage, SentMessage};
use domain::vocabulary::Channel;
use jiff::Timestamp;

impl Table {
    /// Records that a delivery was sent with a provider's message.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn record_provider_message(
        &self,
        channel: Channel,
        id: &str,
        message: &ProviderMessage,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sk = format!("{}#{}#{}", message.incident_id, message.tenant, message.row);
        self.put(item(&keys::message(channel, id), &sk, message, Some(self.expiry(now)))?).await
    }

    /// Records that a confirmation request was sent with a provider's message.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn record_confirmation_message(
        &self,
        channel: Channel,
        id: &str,
        message: &ConfirmationMessage,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.put(item(&keys::message(channel, id), "CONFIRMATION", message, Some(self.expiry(now)))?).await
    }

    /// Returns what was sent with a message of SES or SNS; empty if the message is unknown or not recorded yet.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn provider_messages(&self, channel: Channel, id: &str) -> Result<Vec<SentMessage>, StoreError> {
        let found = self.query_prefix(&keys::message(channel, id), "").await?;
        found.into_iter().map(|found| read(found, "a message")).collect()
    }

    /// Records a provider's feedback on a delivery. Returns `false` if it does not count: feedback of equal or higher rank is stored, or the row
    /// has a newer update.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn record_feedback(
        &self,
        message: &ProviderMessage,
        feedback: &ProviderFeedback,
    ) -> Result<bool, StoreError> {
        let value: AttributeValue = serde_dynamo::to_attribute_value(feedback)
            .map_err(|_| StoreError::Corrupt { kind: "feedback", detail: "cannot be written".to_owned() })?;
        let request = self.client.update_item().table_name(&self.name);
        let pk = keys::deliveries(&message.incident_id, &message.tenant);
        let request = request.key("pk", text(&pk)).key("sk", text(&message.row));
        let request = request
            .update_expression("SET feedback = :feedback, feedback_weight = :weight, feedback_update = :n")
            .condition_expression(
                "latest = :n AND (attribute_not_exists(feedback_weight) OR feedback_weight < :weight OR feedback_update < :n)",
            )
            .expression_attribute_values(":feedback", value)
            .expression_attribute_values(":weight", crate::number(feedback.kind.rank()))
            .expression_attribute_values(":n", crate::number(message.update));
        match request.send().await {
            Ok(_) => Ok(true),
            Err(error) => match crate::store_error("UpdateItem", &error) {
                StoreError::Conflict { .. } => Ok(false),
                other => Err(other),
            },
        }
    }
}
