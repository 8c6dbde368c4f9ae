//! Plans: all decisions about an update, whether they notify or skip. A plan is stored before anything is enqueued, and a stored plan
//! takes precedence over a recomputed one.

use crate::{StoreError, Table, item, keys, read};
use domain::ids::{IncidentId, TenantId};
use domain::plan::{Decision, PlanHistory, StoredPlan};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Serialize, Deserialize)]
struct Stop {
    tenant: TenantId,
    recipient: String,
    at: Timestamp,
}

/// Adds one item of a plan's partition to a history.
fn add_item(history: &mut PlanHistory, found: crate::Item) -> Result<(), StoreError> {
    if crate::sort_key(&found).contains(keys::STOP) {
        history.stopped.insert(read::<Stop>(found, "a stop")?.recipient);
    } else if crate::sort_key(&found).contains(keys::REVISED) {
        // If a revision is unreadable, the plan itself applies.
        match read(found, "a revised decision") {
            Ok(revised) => history.revisions.push(revised),
            Err(error) => tracing::error!(%error, "skipped an unreadable revision of a decision; the plan applies"),
        }
    } else {
        history.plans.push(read(found, "a plan")?);
    }
    Ok(())
}

impl Table {
    /// Returns the plan history of an incident for each tenant of a shard.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn plans_of_shard(
        &self,
        incident: &IncidentId,
        shard: u16,
    ) -> Result<BTreeMap<TenantId, PlanHistory>, StoreError> {
        let items = self.query_prefix(&keys::plan(incident, shard), "").await?;
        let mut histories: BTreeMap<TenantId, PlanHistory> = BTreeMap::new();
        for found in items {
            let tenant = crate::sort_key(&found).split('#').next().and_then(|tenant| TenantId::parse(tenant).ok());
            let tenant =
                tenant.ok_or_else(|| StoreError::Corrupt { kind: "a plan", detail: "names no tenant".to_owned() })?;
            add_item(histories.entry(tenant).or_default(), found)?;
        }
        Ok(histories)
    }

    /// Returns the plan history of an incident for one tenant.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn plans_of(&self, incident: &IncidentId, tenant: &TenantId) -> Result<PlanHistory, StoreError> {
        let mut history = PlanHistory::default();
        for found in self.query_prefix(&keys::plan(incident, tenant.shard()), &format!("{tenant}#")).await? {
            add_item(&mut history, found)?;
        }
        Ok(history)
    }

    /// Records that a recipient stopped notifications of an incident. The item is stored beside the plans, so that planning the next
    /// update needs no further read.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn stop_incident_for_recipient(
        &self,
        incident: &IncidentId,
        tenant: &TenantId,
        recipient: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let stop = Stop { tenant: tenant.clone(), recipient: recipient.to_owned(), at };
        let (pk, sk) = (keys::plan(incident, tenant.shard()), keys::stop(tenant, recipient));
        self.transact(vec![self.put_action(item(&pk, &sk, &stop, Some(self.plan_expiry(at)))?, None, vec![])?])
            .await
            .map(|_| ())
    }

    /// Builds the write that records a revised decision. The item is stored beside the plans, like a stop.
    pub(crate) fn revision_write(
        &self,
        incident: &IncidentId,
        tenant: &TenantId,
        decision: &Decision,
        at: Timestamp,
    ) -> Result<aws_sdk_dynamodb::types::TransactWriteItem, StoreError> {
        self.put_action(self.revision_item(incident, tenant, decision, at)?, None, vec![])
    }

    /// Records a revised decision: one whose outcome differs from its plan.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn revise_decision(
        &self,
        incident: &IncidentId,
        tenant: &TenantId,
        decision: &Decision,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.put(self.revision_item(incident, tenant, decision, at)?).await
    }

    /// Builds the item of a revised decision.
    fn revision_item(
        &self,
        incident: &IncidentId,
        tenant: &TenantId,
        decision: &Decision,
        at: Timestamp,
    ) -> Result<crate::Item, StoreError> {
        let (pk, sk) = (keys::plan(incident, tenant.shard()), keys::revision(tenant, decision));
        item(&pk, &sk, decision, Some(self.plan_expiry(at)))
    }

    /// Stores a plan unless one is stored already. Returns the plan that applies: the stored one.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn store_plan(&self, incident: &IncidentId, plan: StoredPlan) -> Result<StoredPlan, StoreError> {
        let pk = keys::plan(incident, plan.tenant.shard());
        let sk = keys::plan_of(&plan.tenant, plan.chunk, plan.update);
        match self.put_new(item(&pk, &sk, &plan, Some(self.plan_expiry(plan.at)))?).await? {
            None => Ok(plan),
            Some(stored) => read(stored, "a plan"),
        }
    }
}
