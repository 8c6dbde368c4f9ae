//! The hours of announced work, as incidents are compared with them, the incidents that it explains, and its reminders.

use crate::{StoreError, Table, failed, item, keys, number, read, sort_key, text};
use aws_sdk_dynamodb::types::TransactWriteItem;
use domain::ids::{IncidentId, Scope, TenantId};
use domain::maintenance::{Explained, Reminder, Window};
use jiff::Timestamp;

/// How long a window's item outlives its end, in seconds: nothing asks for it any more.
const KEPT: i64 = 24 * 3_600;

impl Table {
    /// The windows of the announced work that may explain an incident of `scope`: a tenant's own and the platform's. Those
    /// that are over may be among them.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn windows(&self, scope: &Scope) -> Result<Vec<Window>, StoreError> {
        let mut items = self.query_prefix(&keys::windows(&Scope::Platform), "").await?;
        if *scope != Scope::Platform {
            items.extend(self.query_prefix(&keys::windows(scope), "").await?);
        }
        items.into_iter().map(|found| read(found, "a maintenance window")).collect()
    }

    /// The incidents that announced work explained so far, of all tenants.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn explained_by(&self, work: &IncidentId) -> Result<Vec<Explained>, StoreError> {
        let items = self.query_prefix(&keys::explained(work), "").await?;
        items.into_iter().map(|found| read(found, "an explained incident")).collect()
    }

    /// The reminders that are due by the end of the current minute, oldest first, at most `limit`; and how many cannot be read, which stay.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn reminders(&self, now: Timestamp, limit: usize) -> Result<(Vec<Reminder>, usize), StoreError> {
        let to = format!("{}#\u{10ffff}", keys::slot(now));
        let found = self.query(keys::REMINDERS, "0", &to, limit).await?;
        let (all, mut due) = (found.len(), Vec::with_capacity(found.len()));
        for entry in found {
            let place = sort_key(&entry).to_owned();
            match read(entry, "a reminder") {
                Ok(reminder) => due.push(reminder),
                Err(error) => tracing::error!(place, %error, "a reminder cannot be read"),
            }
        }
        let unreadable = all - due.len();
        Ok((due, unreadable))
    }

    /// Takes a reminder out, once it is on its queue; not another that has taken its place since.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn reminder_done(&self, reminder: &Reminder) -> Result<(), StoreError> {
        let request = self.client.delete_item().table_name(&self.name);
        let request = request.key("pk", text(keys::REMINDERS)).key("sk", text(&place_of(reminder)));
        let request = request.condition_expression("#update = :update").expression_attribute_names("#update", "update");
        match request.expression_attribute_values(":update", number(reminder.update)).send().await {
            Ok(_) => Ok(()),
            Err(error) => match failed("DeleteItem", &error) {
                StoreError::Conflict { .. } => Ok(()),
                other => Err(other),
            },
        }
    }

    /// One item for each time at which work is to be reminded of: what is said anew takes the place of what was said before.
    pub(crate) fn reminder_write(&self, reminder: &Reminder) -> Result<TransactWriteItem, StoreError> {
        let entry = item(keys::REMINDERS, &place_of(reminder), reminder, Some(self.expiry(reminder.at)))?;
        self.put_action(entry, None, vec![])
    }

    /// Of these the ones that concern a tenant: its own, and those of everybody.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn explained_to(&self, work: &IncidentId, tenant: &TenantId) -> Result<Vec<Explained>, StoreError> {
        let mut found = Vec::new();
        for scope in [Scope::Platform, Scope::Tenant(tenant.clone())] {
            let items = self.query_prefix(&keys::explained(work), &keys::explained_to(&scope)).await?;
            found.extend(items);
        }
        found.into_iter().map(|found| read(found, "an explained incident")).collect()
    }

    /// One item for each incident that the work explains: how it stands takes the place of how it stood.
    pub(crate) fn explained_write(
        &self,
        (work, explained): &(IncidentId, Explained),
        expiry: i64,
    ) -> Result<TransactWriteItem, StoreError> {
        let sk = keys::explained_of(&explained.scope, &explained.incident_id);
        self.put_action(item(&keys::explained(work), &sk, explained, Some(expiry))?, None, vec![])
    }

    /// One item for each maintenance: other hours take the place of those before.
    pub(crate) fn window_write(&self, scope: &Scope, window: &Window) -> Result<TransactWriteItem, StoreError> {
        let expiry = window.until.as_second().saturating_add(KEPT);
        let entry = item(&keys::windows(scope), window.incident_id.as_str(), window, Some(expiry))?;
        self.put_action(entry, None, vec![])
    }
}

fn place_of(reminder: &Reminder) -> String {
    format!("{}#{}", keys::slot(reminder.at), reminder.incident_id)
}
