//! Gates: what hands out the next free moment of a destination.

use crate::{StoreError, Table, failed, keys, number, text};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use jiff::Timestamp;

impl Table {
    /// The next moment, in epoch milliseconds, at which `what` may be called when it bears one call per `pause_ms`. The
    /// moment is the caller's own: nobody else is given it.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn next_free(&self, what: &str, now: Timestamp, pause_ms: i64) -> Result<i64, StoreError> {
        let now_ms = now.as_millisecond();
        let pk = keys::gate(&domain::ids::digest(&["gate", what]));
        let mut free_at = now_ms;
        // The first try takes "now"; whoever loses learns when the gate is free and takes that moment, and so on.
        for _ in 0..50 {
            let request = self.client.update_item().table_name(&self.name).key("pk", text(&pk)).key("sk", text("GATE"));
            let request = request
                .update_expression("SET next_ms = :next, expires_at = :expires")
                .condition_expression("attribute_not_exists(pk) OR next_ms <= :free")
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .expression_attribute_values(":next", number(free_at + pause_ms))
                .expression_attribute_values(":free", number(free_at))
                .expression_attribute_values(":expires", number(free_at / 1_000 + 3_600));
            match request.send().await {
                Ok(_) => return Ok(free_at),
                Err(error) => match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(old)) => {
                        let next = old.item().and_then(|item| item.get("next_ms"));
                        let next = next.and_then(|value| value.as_n().ok()).and_then(|text| text.parse().ok());
                        free_at = next.unwrap_or(free_at + pause_ms).max(free_at);
                    }
                    _ => return Err(failed("UpdateItem", &error)),
                },
            }
        }
        Err(StoreError::Conflict { operation: "next_free" })
    }
}
