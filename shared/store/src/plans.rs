//! Plans: all decisions about an update, whether they notify or skip. A plan is stored before anything is enqueued, and a stored plan
//! takes precedence over a recomputed one.

use crate::{StoreError, Table, item, keys, read};
use domain::ids::{IncidentId, TenantId};
use domain::plan::Decision;
use domain::vocabulary::Channel;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The decisions about one chunk of a tenant's destinations for one update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredPlan {
    /// Tenant of the destinations.
    pub tenant: TenantId,
    /// Number of the chunk.
    pub chunk: u32,
    /// Number of the update.
    pub update: u32,
    /// When the plan was made.
    pub at: Timestamp,
    /// Version of the tenant's settings that the plan is based on.
    pub settings_version: u64,
    /// One decision per destination and channel.
    pub decisions: Vec<Decision>,
}

/// A tenant's plans for an incident, with later revisions: the history that the next update is planned on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanHistory {
    /// The stored plans, one per chunk and update.
    pub plans: Vec<StoredPlan>,
    /// Decisions whose outcome differs from the stored plan, for example a held delivery that was sent at another time or not at all.
    pub revisions: Vec<Decision>,
    /// Recipients who stopped notifications of this incident.
    pub stopped: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct Stop {
    tenant: TenantId,
    recipient: String,
    at: Timestamp,
}

impl PlanHistory {
    /// All decisions as planned, without revisions, each with the time of its plan.
    pub fn decisions(&self) -> impl Iterator<Item = (Timestamp, &Decision)> {
        self.plans.iter().flat_map(|plan| plan.decisions.iter().map(|decision| (plan.at, decision)))
    }

    /// Returns the decision about one update for one destination and channel: the revision if there is one, otherwise the planned
    /// decision. `None` if nothing was planned.
    #[must_use]
    pub fn current_decision(&self, destination: &str, channel: Channel, update: u32) -> Option<&Decision> {
        let matches =
            |one: &&Decision| (one.destination.as_str(), one.channel, one.update) == (destination, channel, update);
        if let Some(revision) = self.revisions.iter().find(matches) {
            return Some(revision);
        }
        self.decisions().map(|(_, decision)| decision).find(matches)
    }

    fn add_item(&mut self, found: crate::Item) -> Result<(), StoreError> {
        if crate::sort_key(&found).contains(keys::STOP) {
            self.stopped.insert(read::<Stop>(found, "a stop")?.recipient);
        } else if crate::sort_key(&found).contains(keys::REVISED) {
            // If a revision is unreadable, the plan itself applies.
            match read(found, "a revised decision") {
                Ok(revised) => self.revisions.push(revised),
                Err(error) => tracing::error!(%error, "skipped an unreadable revision of a decision; the plan applies"),
            }
        } else {
            self.plans.push(read(found, "a plan")?);
        }
        Ok(())
    }
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
            histories.entry(tenant).or_default().add_item(found)?;
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
            history.add_item(found)?;
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
