//! The hours of announced work, as incidents are compared with them, and the incidents that it explains.

use crate::{StoreError, Table, item, keys, read};
use aws_sdk_dynamodb::types::TransactWriteItem;
use domain::ids::{IncidentId, Scope};
use domain::maintenance::{Explained, Window};

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
