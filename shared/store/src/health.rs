//! Consecutive failures of an endpoint, counted until its owner is notified; and its slow answers in a row.

use crate::{StoreError, Table, item, keys, number, read};
use domain::health::{AnswerStreak, FailureStreak};
use domain::ids::{IntegrationId, TenantId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Retention after the last failure, in seconds: two days, longer than two consecutive failures can be apart.
const RETENTION_SECONDS: i64 = 2 * 86_400;

#[derive(Default, Serialize, Deserialize)]
struct FailureRow {
    failures: Option<FailureStreak>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answers: Option<AnswerStreak>,
    version: u64,
}

impl Table {
    /// Counts a failure of an endpoint and returns its consecutive failures. Of two failures at the same time, one is counted.
    ///
    /// # Errors
    /// [`StoreError`] of the calls.
    pub async fn count_endpoint_failure(
        &self,
        tenant: &TenantId,
        id: &IntegrationId,
        now: Timestamp,
    ) -> Result<FailureStreak, StoreError> {
        let row = self.failure_row(tenant, id).await?;
        let Some(failures) = FailureStreak::with_failure(row.failures, now) else {
            return Ok(row.failures.unwrap_or(FailureStreak { count: 1, last: now }));
        };
        self.put_failure_row(tenant, id, FailureRow { failures: Some(failures), ..row }, now).await?;
        Ok(failures)
    }

    /// Counts an answer of an endpoint and returns the row of like answers. Of two at the same time, one may be counted.
    ///
    /// # Errors
    /// [`StoreError`] of the calls.
    pub async fn count_endpoint_answer(
        &self,
        tenant: &TenantId,
        id: &IntegrationId,
        slow: bool,
        now: Timestamp,
    ) -> Result<AnswerStreak, StoreError> {
        let row = self.failure_row(tenant, id).await?;
        let answers = AnswerStreak::with_answer(row.answers, slow, now);
        self.put_failure_row(tenant, id, FailureRow { answers: Some(answers), ..row }, now).await?;
        Ok(answers)
    }

    /// Clears an endpoint's consecutive failures, if there are any.
    ///
    /// # Errors
    /// [`StoreError`] of the calls.
    pub async fn clear_endpoint_failures(
        &self,
        tenant: &TenantId,
        id: &IntegrationId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let before = self.failure_row(tenant, id).await?;
        if before.failures.is_none() {
            return Ok(());
        }
        self.put_failure_row(tenant, id, FailureRow { failures: None, ..before }, now).await
    }

    async fn failure_row(&self, tenant: &TenantId, id: &IntegrationId) -> Result<FailureRow, StoreError> {
        match self.get(&keys::tenant(tenant), &keys::health(id.as_str())).await? {
            Some(found) => read(found, "an endpoint's failures"),
            None => Ok(FailureRow::default()),
        }
    }

    async fn put_failure_row(
        &self,
        tenant: &TenantId,
        id: &IntegrationId,
        row: FailureRow,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let next = FailureRow { version: row.version + 1, ..row };
        let entry =
            item(&keys::tenant(tenant), &keys::health(id.as_str()), &next, Some(now.as_second() + RETENTION_SECONDS))?;
        let unchanged = "attribute_not_exists(pk) OR version = :before";
        self.put_if(entry, unchanged, vec![(":before", number(row.version))]).await.map(drop)
    }
}
