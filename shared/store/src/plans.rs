//! Plans: every decision of an update, sent or not. Stored before anything is enqueued; a stored plan wins over a
//! recomputed one.

use crate::{StoreError, Table, item, keys, read};
use domain::ids::{IncidentId, TenantId};
use domain::plan::Decision;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The decisions about one chunk of a tenant's destinations for one update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredPlan {
    /// Whose.
    pub tenant: TenantId,
    /// The chunk.
    pub chunk: u32,
    /// The update.
    pub update: u32,
    /// When it was decided.
    pub at: Timestamp,
    /// The version of the settings that it was decided with.
    pub settings_version: u64,
    /// What was decided.
    pub decisions: Vec<Decision>,
}

impl Table {
    /// Every plan of an incident in a shard, by tenant.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn plans_of_shard(
        &self,
        incident: &IncidentId,
        shard: u16,
    ) -> Result<BTreeMap<TenantId, Vec<StoredPlan>>, StoreError> {
        let items = self.query_prefix(&keys::plan(incident, shard), "").await?;
        let mut plans: BTreeMap<TenantId, Vec<StoredPlan>> = BTreeMap::new();
        for found in items {
            let plan: StoredPlan = read(found, "a plan")?;
            plans.entry(plan.tenant.clone()).or_default().push(plan);
        }
        Ok(plans)
    }

    /// Every plan of an incident for one tenant.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn plans_of(&self, incident: &IncidentId, tenant: &TenantId) -> Result<Vec<StoredPlan>, StoreError> {
        let items = self.query_prefix(&keys::plan(incident, tenant.shard()), &format!("{tenant}#")).await?;
        items.into_iter().map(|found| read(found, "a plan")).collect()
    }

    /// Stores a plan unless one is stored; gives back the one that counts.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn store_plan(&self, incident: &IncidentId, plan: StoredPlan) -> Result<StoredPlan, StoreError> {
        let pk = keys::plan(incident, plan.tenant.shard());
        let sk = keys::plan_of(&plan.tenant, plan.chunk, plan.update);
        match self.put_new(item(&pk, &sk, &plan, Some(self.expiry(plan.at)))?).await? {
            None => Ok(plan),
            Some(stored) => read(stored, "a plan"),
        }
    }
}
