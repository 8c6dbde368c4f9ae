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
    /// To one number, of one tenant: less than `number`, so that one tenant does not use up another's.
    pub number_by_one_tenant: u32,
    /// Of one tenant.
    pub tenant: u32,
    /// Of the whole stack.
    pub stack: u32,
}

/// A limit of one day, and what it counts.
#[derive(Clone, Debug)]
struct Scope {
    name: &'static str,
    key: String,
    most: u32,
}

/// Parts of a text message that were counted.
#[derive(Clone, Debug)]
pub struct CountedSmsParts {
    scopes: Vec<Scope>,
    day: i64,
    parts: u32,
}

/// Whether a text message may be sent today.
#[derive(Clone, Debug)]
pub enum SmsPartCount {
    /// It may. If it is not sent after all, the parts are to be [returned](Table::return_sms_parts).
    Counted(CountedSmsParts),
    /// It may not: the limit of this scope (`number`, `number_by_one_tenant`, `tenant` or `stack`) is used up. Nothing was counted.
    UsedUp(&'static str),
}

impl Table {
    /// Counts the parts of a text message against every limit.
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
    ) -> Result<SmsPartCount, StoreError> {
        let scope = |name, key: &[&str], most| Scope { name, key: short_hash(key), most };
        let (number, of_tenant) = (phone.expose(), tenant.as_str());
        let scopes = [
            scope("number_by_one_tenant", &["sms-parts", "number", number, of_tenant], limits.number_by_one_tenant),
            scope("number", &["sms-parts", "number", number], limits.number),
            scope("tenant", &["sms-parts", "tenant", of_tenant], limits.tenant),
            scope("stack", &["sms-parts", "stack"], limits.stack),
        ];
        let (day, tomorrow) = utc_day(now);
        let mut counted = CountedSmsParts { scopes: Vec::new(), day, parts };
        for scope in scopes {
            if !self.count_in_scope(&scope, &counted, tomorrow).await? {
                self.return_sms_parts(&counted).await?;
                return Ok(SmsPartCount::UsedUp(scope.name));
            }
            counted.scopes.push(scope);
        }
        Ok(SmsPartCount::Counted(counted))
    }

    /// Takes back what was counted for a text message that was not sent, so that a provider's outage does not use up the day.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn return_sms_parts(&self, counted: &CountedSmsParts) -> Result<(), StoreError> {
        for scope in &counted.scopes {
            let request =
                self.client.update_item().table_name(&self.name).key("pk", text(&keys::rate_limit(&scope.key)));
            let request = request.key("sk", text(&sort_key(counted.day))).update_expression("ADD sent :parts");
            let request = request.expression_attribute_values(":parts", number(-i64::from(counted.parts)));
            request.send().await.map_err(|error| store_error("UpdateItem", &error))?;
        }
        Ok(())
    }

    /// Counts the parts against one limit. Returns whether there was room.
    async fn count_in_scope(
        &self,
        scope: &Scope,
        counted: &CountedSmsParts,
        tomorrow: Timestamp,
    ) -> Result<bool, StoreError> {
        let Some(room) = scope.most.checked_sub(counted.parts) else { return Ok(false) };
        let request = self.client.update_item().table_name(&self.name).key("pk", text(&keys::rate_limit(&scope.key)));
        let request = request.key("sk", text(&sort_key(counted.day)));
        let request = request.update_expression("SET expires_at = :expires ADD sent :parts");
        let request = request.condition_expression("attribute_not_exists(sent) OR sent <= :room");
        let request = request.expression_attribute_values(":parts", number(counted.parts));
        let request = request.expression_attribute_values(":room", number(room));
        let expires = tomorrow.as_second() + RETENTION_SECONDS;
        let request = request.expression_attribute_values(":expires", number(expires));
        match request.send().await.map_err(|error| store_error("UpdateItem", &error)) {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The sort key of a day's counts; `day` is [`utc_day`].
fn sort_key(day: i64) -> String {
    format!("SMS#{day}")
}
