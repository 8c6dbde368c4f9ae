//! Confirmations: what was asked of whom, and how often an address was written to.

use crate::{StoreError, Table, failed, item, keys, number, read, text};
use domain::contact::{Ask, Pending};
use domain::ids::{RecipientId, TenantId};
use domain::vocabulary::Channel;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long rows are kept: nothing here means anything after two days.
const KEPT: SignedDuration = SignedDuration::from_hours(48);

/// When one address or number was asked, by whichever tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// When, and by whom; the last day's.
    pub sent: Vec<Ask>,
    /// Goes up by one with each write; 0 before the first.
    pub version: u64,
}

impl Table {
    /// When an address or number, given by its keyed hash, was asked.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn asked(&self, identity: &str) -> Result<Asked, StoreError> {
        match self.get(&keys::asked(identity), "ASKED").await? {
            Some(found) => read(found, "a contact"),
            None => Ok(Asked::default()),
        }
    }

    /// Notes that an address is asked, with what is pending of one recipient. `false`: somebody asked at the same time.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn ask(
        &self,
        identity: &str,
        asked: &Asked,
        (tenant, recipient, channel): (&TenantId, &RecipientId, Channel),
        pending: &Pending,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let expires = Some(now.saturating_add(KEPT).unwrap_or(now).as_second());
        let next = Asked { version: asked.version + 1, ..asked.clone() };
        let asked_item = item(&keys::asked(identity), "ASKED", &next, expires)?;
        let first = match asked.version {
            0 => self.put_action(asked_item, Some("attribute_not_exists(pk)"), vec![])?,
            version => self.put_action(asked_item, Some("version = :before"), vec![(":before", number(version))])?,
        };
        let pending = item(&keys::pending(tenant, recipient.as_str(), channel), "PENDING", pending, expires)?;
        Ok(self.transact(vec![first, self.put_action(pending, None, vec![])?]).await?.is_none())
    }

    /// Counts one confirmation of a tenant on a day. `false`: it has sent `most` already.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn count_asked(
        &self,
        tenant: &TenantId,
        day: i64,
        most: u32,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let expires = now.saturating_add(KEPT).unwrap_or(now).as_second();
        let request = self.client.update_item().table_name(&self.name);
        let request = request.key("pk", text(&keys::asked_on(tenant, day))).key("sk", text("COUNT"));
        // A counter, because a list would make two admins who add people at once conflict.
        let request = request.update_expression("ADD asked :one SET expires_at = :expires");
        let request = request.condition_expression("attribute_not_exists(asked) OR asked < :most");
        let request = request.expression_attribute_values(":one", number(1));
        let request = request.expression_attribute_values(":most", number(most));
        match request.expression_attribute_values(":expires", number(expires)).send().await {
            Ok(_) => Ok(true),
            Err(error) => match failed("UpdateItem", &error) {
                StoreError::Conflict { .. } => Ok(false),
                other => Err(other),
            },
        }
    }

    /// What is pending of a recipient on a channel.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn pending(
        &self,
        tenant: &TenantId,
        recipient: &RecipientId,
        channel: Channel,
    ) -> Result<Option<Pending>, StoreError> {
        match self.get(&keys::pending(tenant, recipient.as_str(), channel), "PENDING").await? {
            Some(found) => Ok(Some(read(found, "a confirmation")?)),
            None => Ok(None),
        }
    }

    /// Counts a wrong code. `false`: somebody else counted at the same time.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn count_try(
        &self,
        tenant: &TenantId,
        recipient: &RecipientId,
        channel: Channel,
        tries: u32,
    ) -> Result<bool, StoreError> {
        let request = self.client.update_item().table_name(&self.name);
        let request = request.key("pk", text(&keys::pending(tenant, recipient.as_str(), channel)));
        let request = request.key("sk", text("PENDING")).update_expression("SET tries = :next");
        let request = request.condition_expression("tries = :before");
        let request = request.expression_attribute_values(":next", number(tries + 1));
        match request.expression_attribute_values(":before", number(tries)).send().await {
            Ok(_) => Ok(true),
            Err(error) => match failed("UpdateItem", &error) {
                StoreError::Conflict { .. } => Ok(false),
                other => Err(other),
            },
        }
    }

    /// Notes that a provider did not take a confirmation, unless another was asked for since.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn confirmation_refused(
        &self,
        (tenant, recipient, channel): (&TenantId, &RecipientId, Channel),
        identity: &str,
        cause: &str,
    ) -> Result<(), StoreError> {
        let request = self.client.update_item().table_name(&self.name);
        let request = request.key("pk", text(&keys::pending(tenant, recipient.as_str(), channel)));
        let request = request.key("sk", text("PENDING")).update_expression("SET refused = :cause");
        let request = request.condition_expression("#identity = :identity");
        let request = request.expression_attribute_names("#identity", "identity");
        let request = request.expression_attribute_values(":identity", text(identity));
        match request.expression_attribute_values(":cause", text(cause)).send().await {
            Ok(_) => Ok(()),
            Err(error) => match failed("UpdateItem", &error) {
                StoreError::Conflict { .. } => Ok(()),
                other => Err(other),
            },
        }
    }
}
