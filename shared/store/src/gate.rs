//! Gates: what hands out the next free moment of a destination.

use crate::{StoreError, Table, failed, item, keys, number, read, text};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use domain::ids::TenantId;
use domain::policy::Window;
use domain::storm::{Contact, Exempt, May};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a contact was sent, with the version that a write is based on.
#[derive(Default, Serialize, Deserialize)]
struct Remembered {
    contact: Contact,
    version: u64,
}

/// Tries to remember a message before somebody is told to try later.
const RACES: usize = 20;

impl Table {
    /// Asks whether one more message may go to a contact (a hash of its address or number), and remembers the answer.
    ///
    /// # Errors
    /// [`StoreError`] of the call; [`StoreError::Conflict`] where too many ask at once.
    pub async fn ask_contact(
        &self,
        contact: &str,
        windows: &[Window],
        now: Timestamp,
        exempt: Option<(Exempt, u32)>,
    ) -> Result<May, StoreError> {
        let pk = keys::gate(contact);
        let longest = windows.iter().map(Window::seconds).max().unwrap_or(0);
        let expiry = Some(now.as_second() + longest + 3_600);
        let mut before = Remembered::default();
        for _ in 0..RACES {
            let (may, contact) = before.contact.ask(windows, now, exempt);
            if contact == before.contact {
                return Ok(may);
            }
            let after = Remembered { contact, version: before.version + 1 };
            let entry = item(&pk, "CONTACT", &after, expiry)?;
            // The first try takes the contact for one that nothing was sent to yet: most of the time that is right.
            match self
                .put_if(
                    entry,
                    "attribute_not_exists(pk) OR version = :before",
                    vec![(":before", number(before.version))],
                )
                .await?
            {
                None => return Ok(may),
                Some(other) => before = read(other, "a contact")?,
            }
        }
        Err(StoreError::Conflict { operation: "ask_contact" })
    }

    /// Counts one more incident that opened for a tenant in a window of the ceiling; gives back how many there are with it.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn count_opening(&self, tenant: &TenantId, window: i64, until: Timestamp) -> Result<u32, StoreError> {
        let pk = keys::gate(&domain::ids::digest(&["storm", tenant.as_str()]));
        let request = self.client.update_item().table_name(&self.name).key("pk", text(&pk));
        let request = request.key("sk", text(&format!("STORM#{window}")));
        let request = request.update_expression("SET expires_at = :expires ADD opened :one");
        let request = request.expression_attribute_values(":one", number(1));
        let request = request.expression_attribute_values(":expires", number(until.as_second() + 3_600));
        let done = request.return_values(ReturnValue::UpdatedNew).send().await;
        let done = done.map_err(|error| failed("UpdateItem", &error))?;
        let opened = done.attributes().and_then(|item| item.get("opened")).and_then(|value| value.as_n().ok());
        Ok(opened.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Counts one more test alert of a tenant, where each of the clock's windows has room for it. Where one has none, gives back that
    /// window and the seconds that are left of it.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn count_test<'a>(
        &self,
        tenant: &TenantId,
        windows: &'a [Window],
        now: Timestamp,
    ) -> Result<Option<(&'a Window, i64)>, StoreError> {
        let pk = keys::gate(&domain::ids::digest(&["test", tenant.as_str()]));
        for window in windows {
            let (place, left) = window.at(now);
            let request = self.client.update_item().table_name(&self.name).key("pk", text(&pk));
            let request = request.key("sk", text(&format!("TEST#{}#{place}", window.minutes)));
            let request = request.update_expression("SET expires_at = :expires ADD sent :one");
            let request = request.condition_expression("attribute_not_exists(sent) OR sent < :most");
            let request = request.expression_attribute_values(":one", number(1));
            let request = request.expression_attribute_values(":most", number(window.messages));
            let request = request.expression_attribute_values(":expires", number(now.as_second() + left + 3_600));
            match request.send().await.map_err(|error| failed("UpdateItem", &error)) {
                Ok(_) => {}
                Err(StoreError::Conflict { .. }) => return Ok(Some((window, left))),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

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
