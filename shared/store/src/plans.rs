//! Plans: all decisions about an update, whether they notify or skip. A plan is stored before anything is enqueued, and a stored plan
//! takes precedence over a recomputed one.

use crate::{StoreError, Table, item, keys, read, sort_key, store_error, text};
use domain::delivery::thread_of_row;
use domain::ids::{IncidentId, TenantId};
use domain::plan::{PlanHistory, StoredPlan};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Serialize, Deserialize)]
struct Stop {
    tenant: TenantId,
    recipient: String,
    at: Timestamp,
}

impl Table {
    /// Returns all plans of an incident for the tenants from `first` to `last` of one shard.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn plans_of_tenants(
        &self,
        incident: &IncidentId,
        first: &TenantId,
        last: &TenantId,
    ) -> Result<BTreeMap<TenantId, Vec<StoredPlan>>, StoreError> {
        let (from, to) = (format!("{first}#"), format!("{last}#\u{10ffff}"));
        let mut plans: BTreeMap<TenantId, Vec<StoredPlan>> = BTreeMap::new();
        for found in self.query(&keys::plan(incident, first.shard()), &from, &to, usize::MAX).await? {
            let plan: StoredPlan = read(found, "a plan")?;
            plans.entry(plan.tenant.clone()).or_default().push(plan);
        }
        Ok(plans)
    }

    /// Returns a tenant's newest plan of each of these chunks for an incident.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn newest_plans(
        &self,
        incident: &IncidentId,
        tenant: &TenantId,
        chunks: &BTreeSet<u32>,
    ) -> Result<Vec<StoredPlan>, StoreError> {
        let mut plans = Vec::new();
        for chunk in chunks {
            let (from, to) = keys::plans_of_chunk(tenant, *chunk);
            let newest = self.query_newest(&keys::plan(incident, tenant.shard()), &from, &to, 1).await?;
            for found in newest {
                plans.push(read(found, "a plan")?);
            }
        }
        Ok(plans)
    }

    /// Returns all plans of an incident for one tenant.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn plans_of(&self, incident: &IncidentId, tenant: &TenantId) -> Result<Vec<StoredPlan>, StoreError> {
        Ok(self.plans_of_tenants(incident, tenant, tenant).await?.remove(tenant).unwrap_or_default())
    }

    /// Returns what became of an incident's plans for one tenant: the plans with the rows of recipients and chat channels, and who stopped
    /// its notifications.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn with_rows(
        &self,
        incident: &IncidentId,
        tenant: &TenantId,
        plans: Vec<StoredPlan>,
    ) -> Result<PlanHistory, StoreError> {
        let mut history = PlanHistory { plans, ..PlanHistory::default() };
        for found in self.stops_and_rows(&keys::deliveries(incident, tenant)).await? {
            match thread_of_row(sort_key(&found)) {
                Some(thread) => {
                    history.rows.insert(thread, read(found, "a delivery")?);
                }
                None => {
                    history.stopped.insert(read::<Stop>(found, "a stop")?.recipient);
                }
            }
        }
        Ok(history)
    }

    /// Returns stops and rows without what only explanations need: a row's history grows with every update.
    async fn stops_and_rows(&self, pk: &str) -> Result<Vec<crate::Item>, StoreError> {
        let (mut items, mut start) = (Vec::new(), None);
        loop {
            let request = self.client.query().table_name(&self.name).consistent_read(true);
            let request = request
                .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
                .projection_expression(
                    "sk, tenant, recipient, #at, latest, done, notified, #state, attempts, lease_until_ms, channel, \
                     next_at_ms, reason",
                )
                .expression_attribute_names("#at", "at")
                .expression_attribute_names("#state", "state")
                .expression_attribute_values(":pk", text(pk))
                .expression_attribute_values(":from", text(keys::STOP))
                .expression_attribute_values(":to", text(keys::THREADS_END))
                .set_exclusive_start_key(start);
            let page = request.send().await.map_err(|error| store_error("Query", &error))?;
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(items);
            }
        }
    }

    /// Records that a recipient stopped notifications of an incident. The item is stored beside the delivery rows, so that planning the
    /// next update needs no further read.
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
        let (pk, sk) = (keys::deliveries(incident, tenant), keys::stop(recipient));
        self.transact(vec![self.put_action(item(&pk, &sk, &stop, Some(self.plan_expiry(at)))?, None, vec![])?])
            .await
            .map(|_| ())
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
