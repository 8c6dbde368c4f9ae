//! Confirmation requests: which are pending, and how many a contact and a tenant have been sent.
//!
//! A contact is an e-mail address or phone number, identified here by its keyed hash (`identity`).

use crate::{StoreError, Table, item, keys, number, read, store_error, text};
use domain::contact::{ConfirmationCounter, PendingConfirmation, SentConfirmation, Unsubscription, utc_day};
use domain::ids::{RecipientId, TenantId};
use domain::vocabulary::Channel;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Retention of what is limited by the day. No such limit looks back more than a day.
const RETENTION: SignedDuration = SignedDuration::from_hours(48);

/// Retention of an unsubscription: as long as an unsubscribe link lives, and longer than any time between two questions.
const UNSUBSCRIPTION_RETENTION: SignedDuration = SignedDuration::from_hours(24 * 400);
/// Sort key of an unsubscription.
const UNSUBSCRIBED: &str = "UNSUBSCRIBED";

/// The confirmation requests sent to one contact, by all tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmationHistory {
    /// The requests of the last 24 hours: when each was sent and by which tenant.
    pub sent: Vec<SentConfirmation>,
    /// Version of the item, incremented by each write; 0 if there is no item.
    pub version: u64,
}

/// A recipient's address or number on a channel.
#[derive(Clone, Copy, Debug)]
pub struct RecipientChannel<'a> {
    /// Tenant of the recipient.
    pub tenant: &'a TenantId,
    /// Id of the recipient.
    pub recipient: &'a RecipientId,
    /// Channel of the address or number.
    pub channel: Channel,
}

impl RecipientChannel<'_> {
    /// Returns the partition key of the pending confirmation.
    fn pending_key(&self) -> String {
        keys::pending_confirmation(self.tenant, self.recipient.as_str(), self.channel)
    }
}

impl Table {
    /// Returns the confirmation requests sent to a contact.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn confirmation_history(&self, identity: &str) -> Result<ConfirmationHistory, StoreError> {
        match self.get(&keys::confirmation_history(identity), "ASKED").await? {
            Some(found) => read(found, "a contact"),
            None => Ok(ConfirmationHistory::default()),
        }
    }

    /// Records a confirmation request: adds it to the contact's history and stores it as pending. Returns `false` if another request
    /// was recorded at the same time.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn record_confirmation(
        &self,
        identity: &str,
        history: &ConfirmationHistory,
        contact: RecipientChannel<'_>,
        pending: &PendingConfirmation,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let expires = Some(now.saturating_add(RETENTION).unwrap_or(now).as_second());
        let next = ConfirmationHistory { version: history.version + 1, ..history.clone() };
        let history_item = item(&keys::confirmation_history(identity), "ASKED", &next, expires)?;
        let history_write = match history.version {
            0 => self.put_action(history_item, Some("attribute_not_exists(pk)"), vec![])?,
            version => self.put_action(history_item, Some("version = :before"), vec![(":before", number(version))])?,
        };
        let pending = item(&contact.pending_key(), "PENDING", pending, expires)?;
        Ok(self.transact(vec![history_write, self.put_action(pending, None, vec![])?]).await?.is_none())
    }

    /// Counts a tenant's confirmation request on a day (days since the Unix epoch) by one of its counters. Returns `false` if `limit` were
    /// counted already.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn count_confirmation(
        &self,
        tenant: &TenantId,
        counter: ConfirmationCounter<'_>,
        limit: u32,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (day, _) = utc_day(now);
        let expires = now.saturating_add(RETENTION).unwrap_or(now).as_second();
        let request = self.client.update_item().table_name(&self.name);
        let request =
            request.key("pk", text(&keys::confirmations_on_day(tenant, &counter.key(), day))).key("sk", text("COUNT"));
        // A counter: with a list, two admins who add recipients at the same time would conflict.
        let request = request.update_expression("ADD sent :one SET expires_at = :expires");
        let request = request.condition_expression("attribute_not_exists(sent) OR sent < :limit");
        let request = request.expression_attribute_values(":one", number(1));
        let request = request.expression_attribute_values(":limit", number(limit));
        match request.expression_attribute_values(":expires", number(expires)).send().await {
            Ok(_) => Ok(true),
            Err(error) => match store_error("UpdateItem", &error) {
                StoreError::Conflict { .. } => Ok(false),
                other => Err(other),
            },
        }
    }

    /// Returns the unsubscription of a mailbox, by its keyed hash, from a tenant's mail. It outlives the recipient.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn unsubscription(&self, tenant: &TenantId, mailbox: &str) -> Result<Option<Unsubscription>, StoreError> {
        match self.get(&keys::unsubscription(tenant, mailbox), UNSUBSCRIBED).await? {
            Some(found) => Ok(Some(read(found, "an unsubscription")?)),
            None => Ok(None),
        }
    }

    /// Stores an unsubscription whose stored version is `next.version`. Returns `false` if it was stored anew at the same time.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn put_unsubscription(
        &self,
        tenant: &TenantId,
        mailbox: &str,
        next: Unsubscription,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let expires = Some(now.saturating_add(UNSUBSCRIPTION_RETENTION).unwrap_or(now).as_second());
        let stored = Unsubscription { version: next.version + 1, ..next };
        let entry = item(&keys::unsubscription(tenant, mailbox), UNSUBSCRIBED, &stored, expires)?;
        let unchanged = "attribute_not_exists(pk) OR version = :before";
        Ok(self.put_if(entry, unchanged, vec![(":before", number(next.version))]).await?.is_none())
    }

    /// Returns a recipient's pending confirmation on a channel.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn pending_confirmation(
        &self,
        tenant: &TenantId,
        recipient: &RecipientId,
        channel: Channel,
    ) -> Result<Option<PendingConfirmation>, StoreError> {
        match self.get(&keys::pending_confirmation(tenant, recipient.as_str(), channel), "PENDING").await? {
            Some(found) => Ok(Some(read(found, "a confirmation")?)),
            None => Ok(None),
        }
    }

    /// Counts a wrong confirmation code; `tries` is the number of wrong codes before it. Returns `false` if another one was counted at
    /// the same time.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn count_wrong_code(
        &self,
        tenant: &TenantId,
        recipient: &RecipientId,
        channel: Channel,
        tries: u32,
    ) -> Result<bool, StoreError> {
        let request = self.client.update_item().table_name(&self.name);
        let request = request.key("pk", text(&keys::pending_confirmation(tenant, recipient.as_str(), channel)));
        let request = request.key("sk", text("PENDING")).update_expression("SET tries = :next");
        let request = request.condition_expression("tries = :before");
        let request = request.expression_attribute_values(":next", number(tries + 1));
        match request.expression_attribute_values(":before", number(tries)).send().await {
            Ok(_) => Ok(true),
            Err(error) => match store_error("UpdateItem", &error) {
                StoreError::Conflict { .. } => Ok(false),
                other => Err(other),
            },
        }
    }

    /// Records the cause for which a provider refused a confirmation message, unless a newer request has replaced it.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn record_confirmation_refusal(
        &self,
        contact: RecipientChannel<'_>,
        identity: &str,
        cause: &str,
    ) -> Result<(), StoreError> {
        let request = self.client.update_item().table_name(&self.name);
        let request = request.key("pk", text(&contact.pending_key()));
        let request = request.key("sk", text("PENDING")).update_expression("SET refused = :cause");
        let request = request.condition_expression("#identity = :identity");
        let request = request.expression_attribute_names("#identity", "identity");
        let request = request.expression_attribute_values(":identity", text(identity));
        match request.expression_attribute_values(":cause", text(cause)).send().await {
            Ok(_) => Ok(()),
            Err(error) => match store_error("UpdateItem", &error) {
                StoreError::Conflict { .. } => Ok(()),
                other => Err(other),
            },
        }
    }
}
