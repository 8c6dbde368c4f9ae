//! Which deliveries a provider's message was: how what the provider says later finds their rows.

use crate::{StoreError, Table, item, keys, read, text};
use aws_sdk_dynamodb::types::AttributeValue;
use domain::delivery::Feedback;
use domain::ids::{IncidentId, TenantId};
use domain::vocabulary::{Category, Channel};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A delivery that a message was. A digest is many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The tenant.
    pub tenant: TenantId,
    /// The incident.
    pub incident_id: IncidentId,
    /// The delivery's row.
    pub row: String,
    /// The recipient.
    pub destination: String,
    /// The update.
    pub update: u32,
    /// The incident's category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// The address or number, as `domain::contact` hashes it: what is said of it is not said of another that the recipient has by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

impl Table {
    /// Notes which delivery a message was.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn put_message(
        &self,
        channel: Channel,
        id: &str,
        message: &Message,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sk = format!("{}#{}#{}", message.incident_id, message.tenant, message.row);
        self.put(item(&keys::message(channel, id), &sk, message, Some(self.expiry(now)))?).await
    }

    /// The deliveries that a message of SES or SNS was; none where it is not known, or not yet.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn messages(&self, channel: Channel, id: &str) -> Result<Vec<Message>, StoreError> {
        let found = self.query_prefix(&keys::message(channel, id), "").await?;
        found.into_iter().map(|found| read(found, "a message")).collect()
    }

    /// Notes on a delivery what its provider said, unless it said something of more weight before, or a newer update has the row.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn note_feedback(&self, message: &Message, said: &Feedback) -> Result<(), StoreError> {
        let feedback: AttributeValue = serde_dynamo::to_attribute_value(said)
            .map_err(|_| StoreError::Corrupt { kind: "feedback", detail: "cannot be written".to_owned() })?;
        let request = self.client.update_item().table_name(&self.name);
        let pk = keys::deliveries(&message.incident_id, &message.tenant);
        let request = request.key("pk", text(&pk)).key("sk", text(&message.row));
        let request = request
            .update_expression("SET feedback = :said, feedback_weight = :weight, feedback_update = :n")
            .condition_expression(
                "latest = :n AND (attribute_not_exists(feedback_weight) OR feedback_weight < :weight OR feedback_update < :n)",
            )
            .expression_attribute_values(":said", feedback)
            .expression_attribute_values(":weight", crate::number(said.kind.weight()))
            .expression_attribute_values(":n", crate::number(message.update));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => match crate::failed("UpdateItem", &error) {
                StoreError::Conflict { .. } => Ok(()),
                other => Err(other),
            },
        }
    }
}
