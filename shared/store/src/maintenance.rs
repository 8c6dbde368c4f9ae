//! Maintenance windows, the incidents suppressed by them, and their reminders.

use crate::{StoreError, Table, item, keys, number, read, sort_key, store_error, text};
use aws_sdk_dynamodb::types::TransactWriteItem;
use domain::ids::{IncidentId, Scope, TenantId};
use domain::maintenance::{MaintenanceWindow, Reminder, SuppressedIncident};
use jiff::Timestamp;

/// Retention of a maintenance window after its end, in seconds. Nothing reads it by then.
const RETENTION_SECONDS: i64 = 24 * 3_600;

impl Table {
    /// Returns the maintenance windows that may suppress an incident of `scope`: the tenant's own and the platform's. Windows that
    /// have ended may be included.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn maintenance_windows(&self, scope: &Scope) -> Result<Vec<MaintenanceWindow>, StoreError> {
        let mut items = self.query_prefix(&keys::maintenance_windows(&Scope::Platform), "").await?;
        if *scope != Scope::Platform {
            items.extend(self.query_prefix(&keys::maintenance_windows(scope), "").await?);
        }
        items.into_iter().map(|found| read(found, "a maintenance window")).collect()
    }

    /// Returns the incidents of all tenants that a maintenance has suppressed so far.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn incidents_suppressed_by(
        &self,
        maintenance: &IncidentId,
    ) -> Result<Vec<SuppressedIncident>, StoreError> {
        let items = self.query_prefix(&keys::suppressed_incidents(maintenance), "").await?;
        items.into_iter().map(|found| read(found, "a suppressed incident")).collect()
    }

    /// Returns the reminders due by the end of the current minute, oldest first, at most `limit`, and the number of unreadable ones.
    /// Unreadable reminders stay in the table.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn due_reminders(&self, now: Timestamp, limit: usize) -> Result<(Vec<Reminder>, usize), StoreError> {
        let to = format!("{}#\u{10ffff}", keys::due_minute(now));
        let found = self.query(keys::REMINDERS, "0", &to, limit).await?;
        let (all, mut due) = (found.len(), Vec::with_capacity(found.len()));
        for entry in found {
            let key = sort_key(&entry).to_owned();
            match read(entry, "a reminder") {
                Ok(reminder) => due.push(reminder),
                Err(error) => tracing::error!(sort_key = key, %error, "skipped an unreadable maintenance reminder"),
            }
        }
        let unreadable = all - due.len();
        Ok((due, unreadable))
    }

    /// Deletes a reminder that was enqueued, unless a newer update has replaced it.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn delete_reminder(&self, reminder: &Reminder) -> Result<(), StoreError> {
        let request = self.client.delete_item().table_name(&self.name);
        let request = request.key("pk", text(keys::REMINDERS)).key("sk", text(&reminder_key(reminder)));
        let request = request.condition_expression("#update = :update").expression_attribute_names("#update", "update");
        match request.expression_attribute_values(":update", number(reminder.update)).send().await {
            Ok(_) => Ok(()),
            Err(error) => match store_error("DeleteItem", &error) {
                StoreError::Conflict { .. } => Ok(()),
                other => Err(other),
            },
        }
    }

    /// Builds the write of a reminder. There is one item per maintenance and minute, so a newer update replaces the reminder.
    pub(crate) fn reminder_write(&self, reminder: &Reminder) -> Result<TransactWriteItem, StoreError> {
        let entry = item(keys::REMINDERS, &reminder_key(reminder), reminder, Some(self.expiry(reminder.at)))?;
        self.put_action(entry, None, vec![])
    }

    /// Returns the incidents that a maintenance has suppressed and that concern a tenant: its own and the platform's.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn tenant_incidents_suppressed_by(
        &self,
        maintenance: &IncidentId,
        tenant: &TenantId,
    ) -> Result<Vec<SuppressedIncident>, StoreError> {
        let mut found = Vec::new();
        for scope in [Scope::Platform, Scope::Tenant(tenant.clone())] {
            let items =
                self.query_prefix(&keys::suppressed_incidents(maintenance), &keys::suppressed_in_scope(&scope)).await?;
            found.extend(items);
        }
        found.into_iter().map(|found| read(found, "a suppressed incident")).collect()
    }

    /// Builds the write of a suppressed incident. There is one item per maintenance and incident, which each write replaces.
    pub(crate) fn suppressed_incident_write(
        &self,
        maintenance: &IncidentId,
        suppressed: &SuppressedIncident,
        expiry: i64,
    ) -> Result<TransactWriteItem, StoreError> {
        let sk = keys::suppressed_incident(&suppressed.scope, &suppressed.incident_id);
        self.put_action(item(&keys::suppressed_incidents(maintenance), &sk, suppressed, Some(expiry))?, None, vec![])
    }

    /// Builds the write of a maintenance window. There is one item per maintenance, so changed hours replace the window.
    pub(crate) fn window_write(
        &self,
        scope: &Scope,
        window: &MaintenanceWindow,
    ) -> Result<TransactWriteItem, StoreError> {
        let expiry = window.until.as_second().saturating_add(RETENTION_SECONDS);
        let entry = item(&keys::maintenance_windows(scope), window.incident_id.as_str(), window, Some(expiry))?;
        self.put_action(entry, None, vec![])
    }
}

/// Returns a reminder's sort key: its minute and its maintenance.
fn reminder_key(reminder: &Reminder) -> String {
    format!("{}#{}", keys::due_minute(reminder.at), reminder.incident_id)
}
