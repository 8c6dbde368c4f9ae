//! Plans: every decision of an update, sent or not. Stored before anything is enqueued; a stored plan wins over a
//! recomputed one.

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

/// What is known of one tenant before the next update of an incident is planned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Its plans.
    pub plans: Vec<StoredPlan>,
    /// What became of some of their decisions otherwise than it was decided: what was held came at another time or not at all.
    pub revised: Vec<Decision>,
    /// The recipients who want to hear no more of the incident.
    pub stopped: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct Stop {
    tenant: TenantId,
    recipient: String,
    at: Timestamp,
}

impl Known {
    /// Every decision, as it was decided and when.
    pub fn decisions(&self) -> impl Iterator<Item = (Timestamp, &Decision)> {
        self.plans.iter().flat_map(|plan| plan.decisions.iter().map(|decision| (plan.at, decision)))
    }

    /// What became of the decision on one update for one destination, as far as it is known; `None` where nothing was decided.
    #[must_use]
    pub fn standing(&self, destination: &str, channel: Channel, update: u32) -> Option<&Decision> {
        let mine =
            |one: &&Decision| (one.destination.as_str(), one.channel, one.update) == (destination, channel, update);
        let decided = || self.decisions().map(|(_, decision)| decision).find(mine);
        self.revised.iter().find(mine).or_else(decided)
    }

    fn add(&mut self, found: crate::Item) -> Result<(), StoreError> {
        if crate::sort_key(&found).contains(keys::STOP) {
            self.stopped.insert(read::<Stop>(found, "a stop")?.recipient);
        } else if crate::sort_key(&found).contains(keys::REVISED) {
            // It refines its plan; without it the plan counts.
            match read(found, "a revised decision") {
                Ok(revised) => self.revised.push(revised),
                Err(error) => tracing::error!(%error, "a revised decision is left out"),
            }
        } else {
            self.plans.push(read(found, "a plan")?);
        }
        Ok(())
    }
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
    ) -> Result<BTreeMap<TenantId, Known>, StoreError> {
        let items = self.query_prefix(&keys::plan(incident, shard), "").await?;
        let mut known: BTreeMap<TenantId, Known> = BTreeMap::new();
        for found in items {
            let tenant = crate::sort_key(&found).split('#').next().and_then(|tenant| TenantId::parse(tenant).ok());
            let tenant =
                tenant.ok_or_else(|| StoreError::Corrupt { kind: "a plan", detail: "names no tenant".to_owned() })?;
            known.entry(tenant).or_default().add(found)?;
        }
        Ok(known)
    }

    /// Every plan of an incident for one tenant.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn plans_of(&self, incident: &IncidentId, tenant: &TenantId) -> Result<Known, StoreError> {
        let mut known = Known::default();
        for found in self.query_prefix(&keys::plan(incident, tenant.shard()), &format!("{tenant}#")).await? {
            known.add(found)?;
        }
        Ok(known)
    }

    /// Notes that a recipient wants to hear no more of an incident. It stands beside the plans, so that planning the next update
    /// reads nothing more for it.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn stop_incident(
        &self,
        incident: &IncidentId,
        tenant: &TenantId,
        recipient: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let stop = Stop { tenant: tenant.clone(), recipient: recipient.to_owned(), at };
        let (pk, sk) = (keys::plan(incident, tenant.shard()), keys::stop(tenant, recipient));
        self.transact(vec![self.put_action(item(&pk, &sk, &stop, Some(self.expiry_of_plans(at)))?, None, vec![])?])
            .await
            .map(|_| ())
    }

    /// What is written where something comes of a decision that its plan does not say. It stands beside the plans, like a stop.
    pub(crate) fn revised_action(
        &self,
        whose: (&IncidentId, &TenantId),
        decision: &Decision,
        at: Timestamp,
    ) -> Result<aws_sdk_dynamodb::types::TransactWriteItem, StoreError> {
        self.put_action(self.revised_item(whose, decision, at)?, None, vec![])
    }

    /// Notes what comes of a decision that its plan does not say.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn revise(
        &self,
        incident: &IncidentId,
        tenant: &TenantId,
        decision: &Decision,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.put(self.revised_item((incident, tenant), decision, at)?).await
    }

    fn revised_item(
        &self,
        (incident, tenant): (&IncidentId, &TenantId),
        decision: &Decision,
        at: Timestamp,
    ) -> Result<crate::Item, StoreError> {
        let (pk, sk) = (keys::plan(incident, tenant.shard()), keys::revised(tenant, decision));
        item(&pk, &sk, decision, Some(self.expiry_of_plans(at)))
    }

    /// Stores a plan unless one is stored; gives back the one that counts.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn store_plan(&self, incident: &IncidentId, plan: StoredPlan) -> Result<StoredPlan, StoreError> {
        let pk = keys::plan(incident, plan.tenant.shard());
        let sk = keys::plan_of(&plan.tenant, plan.chunk, plan.update);
        match self.put_new(item(&pk, &sk, &plan, Some(self.expiry_of_plans(plan.at)))?).await? {
            None => Ok(plan),
            Some(stored) => read(stored, "a plan"),
        }
    }
}
