//! Failures of an endpoint in a row, until its owner is told.

use crate::{StoreError, Table, item, keys, number, read};
use domain::health::Failures;
use domain::ids::{IntegrationId, TenantId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a row is kept after its last failure, in seconds: two days, more than failures in a row can be apart.
const KEPT: i64 = 2 * 86_400;

#[derive(Default, Serialize, Deserialize)]
struct Row {
    failures: Option<Failures>,
    version: u64,
}

impl Table {
    /// Counts one more failure of an endpoint and gives back those in a row. Where two count at once, one of them does.
    ///
    /// # Errors
    /// [`StoreError`] of the calls.
    pub async fn count_failure(
        &self,
        tenant: &TenantId,
        id: &IntegrationId,
        now: Timestamp,
    ) -> Result<Failures, StoreError> {
        let Row { failures: before, version } = self.health(tenant, id).await?;
        let Some(failures) = Failures::again(before, now) else {
            return Ok(before.unwrap_or(Failures { count: 1, last: now }));
        };
        self.put_health(tenant, id, Row { failures: Some(failures), version }, now).await?;
        Ok(failures)
    }

    /// Forgets the failures of an endpoint, if there were any.
    ///
    /// # Errors
    /// [`StoreError`] of the calls.
    pub async fn forget_failures(
        &self,
        tenant: &TenantId,
        id: &IntegrationId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let before = self.health(tenant, id).await?;
        if before.failures.is_none() {
            return Ok(());
        }
        self.put_health(tenant, id, Row { failures: None, ..before }, now).await
    }

    async fn health(&self, tenant: &TenantId, id: &IntegrationId) -> Result<Row, StoreError> {
        match self.get(&keys::tenant(tenant), &keys::health(id.as_str())).await? {
            Some(found) => read(found, "an endpoint's failures"),
            None => Ok(Row::default()),
        }
    }

    async fn put_health(
        &self,
        tenant: &TenantId,
        id: &IntegrationId,
        row: Row,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let next = Row { version: row.version + 1, ..row };
        let entry = item(&keys::tenant(tenant), &keys::health(id.as_str()), &next, Some(now.as_second() + KEPT))?;
        let unchanged = "attribute_not_exists(pk) OR version = :before";
        self.put_if(entry, unchanged, vec![(":before", number(row.version))]).await.map(drop)
    }
}
