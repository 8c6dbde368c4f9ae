//! How many parts of text messages were sent on a day (UTC): to a number, of a tenant, and of the whole stack.

use crate::{StoreError, Table, keys, number, store_error, text};
use domain::contact::utc_day;
use domain::ids::{TenantId, short_hash};
use domain::tenant::Phone;
use jiff::Timestamp;

/// How long a day's counts are kept after it, in seconds.
const RETENTION_SECONDS: i64 = 86_400;

/// The most parts per day.
#[derive(Clone, Copy, Debug)]
pub struct SmsPartLimits {
    /// To one number, from all tenants together.
    pub number: u32,
    /// Of one tenant.
    pub tenant: u32,
    /// Of the whole stack.
    pub stack: u32,
}

impl Table {
    /// Counts the parts of a text message against every limit. Returns the scope of the first limit that is used up (`number`, `tenant` or
    /// `stack`), or `None` if it may be sent. What was counted before a later limit refused stays counted.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn count_sms_parts(
        &self,
        phone: &Phone,
        tenant: &TenantId,
        parts: u32,
        limits: SmsPartLimits,
        now: Timestamp,
    ) -> Result<Option<&'static str>, StoreError> {
        let scopes = [
            ("number", short_hash(&["sms-parts", "number", phone.expose()]), limits.number),
            ("tenant", short_hash(&["sms-parts", "tenant", tenant.as_str()]), limits.tenant),
            ("stack", short_hash(&["sms-parts", "stack"]), limits.stack),
        ];
        let (day, tomorrow) = utc_day(now);
        for (scope, key, most) in scopes {
            let Some(room) = most.checked_sub(parts) else { return Ok(Some(scope)) };
            let request = self.client.update_item().table_name(&self.name).key("pk", text(&keys::rate_limit(&key)));
            let request = request.key("sk", text(&format!("SMS#{day}")));
            let request = request.update_expression("SET expires_at = :expires ADD sent :parts");
            let request = request.condition_expression("attribute_not_exists(sent) OR sent <= :room");
            let request = request.expression_attribute_values(":parts", number(parts));
            let request = request.expression_attribute_values(":room", number(room));
            let expires = tomorrow.as_second() + RETENTION_SECONDS;
            let request = request.expression_attribute_values(":expires", number(expires));
            match request.send().await.map_err(|error| store_error("UpdateItem", &error)) {
                Ok(_) => {}
                Err(StoreError::Conflict { .. }) => return Ok(Some(scope)),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
