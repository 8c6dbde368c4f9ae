//! Plans: all decisions about an update, whether they notify or skip. A plan is stored before anything is enqueued, and a stored plan
//! takes precedence over a recomputed one.

use crate::subscriptions::tenant_of;
use crate::{StoreError, Table, item, keys, read, sort_key, store_error, text};
use domain::delivery::thread_of_row;
use domain::ids::{IncidentId, TenantId};
use domain::plan::{PlanHistory, PlannedShards, RoutingPlace, StoredPlan};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What plans and releases read of a stop or a row. A row's history grows with every update, so explanations alone read it whole.
const PLANNING_FIELDS: [&str; 15] = [
    "sk",
    "tenant",
    "recipient",
    "resumed_at",
    "at",
    "latest",
    "done",
    "notified",
    "tried",
    "state",
    "attempts",
    "lease_until_ms",
    "channel",
    "next_at_ms",
    "reason",
];

#[derive(Serialize, Deserialize)]
struct Stop {
    tenant: TenantId,
    recipient: String,
    at: Timestamp,
    /// When the recipient asked for messages again. A release that does not know this field still stops them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resumed_at: Option<Timestamp>,
}

impl Table {
    /// Returns all plans of an incident for the tenants from `first` to `last` of one shard; [`StoreError::Corrupt`] for a tenant with a plan
    /// that is invalid.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn plans_of_tenants(
        &self,
        incident: &IncidentId,
        first: &TenantId,
        last: &TenantId,
    ) -> Result<BTreeMap<TenantId, Result<Vec<StoredPlan>, StoreError>>, StoreError> {
        let (from, to) = (format!("{first}#"), format!("{last}#\u{10ffff}"));
        let mut plans: BTreeMap<TenantId, Result<Vec<StoredPlan>, StoreError>> = BTreeMap::new();
        for found in self.query(&keys::plan(incident, first.shard()), &from, &to, usize::MAX).await? {
            let tenant = tenant_of(sort_key(&found))?;
            let of_tenant = plans.entry(tenant).or_insert_with(|| Ok(Vec::new()));
            match (read(found, "a plan"), of_tenant) {
                (Ok(plan), Ok(plans)) => plans.push(plan),
                (Err(error), of_tenant) => *of_tenant = Err(error),
                (Ok(_), Err(_)) => {}
            }
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
        self.plans_of_tenants(incident, tenant, tenant).await?.remove(tenant).unwrap_or_else(|| Ok(Vec::new()))
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
                    let stop: Stop = read(found, "a stop")?;
                    if stop.resumed_at.is_none() {
                        history.stopped.insert(stop.recipient);
                    }
                }
            }
        }
        Ok(history)
    }

    /// Returns the [`PLANNING_FIELDS`] of stops and rows.
    async fn stops_and_rows(&self, pk: &str) -> Result<Vec<crate::Item>, StoreError> {
        let placeholders: Vec<String> = PLANNING_FIELDS.iter().map(|field| format!("#{field}")).collect();
        let names: HashMap<String, String> =
            placeholders.iter().cloned().zip(PLANNING_FIELDS.map(str::to_owned)).collect();
        let (mut items, mut start) = (Vec::new(), None);
        loop {
            let request = self.client.query().table_name(&self.name).consistent_read(true);
            let request = request
                .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
                .projection_expression(placeholders.join(", "))
                .set_expression_attribute_names(Some(names.clone()))
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
        let stop = Stop { tenant: tenant.clone(), recipient: recipient.to_owned(), at, resumed_at: None };
        self.put_stop(incident, &stop).await
    }

    /// Records that a recipient wants notifications of an incident after all, from its next update on.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn resume_incident_for_recipient(
        &self,
        incident: &IncidentId,
        tenant: &TenantId,
        recipient: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let stop = Stop { tenant: tenant.clone(), recipient: recipient.to_owned(), at, resumed_at: Some(at) };
        self.put_stop(incident, &stop).await
    }

    async fn put_stop(&self, incident: &IncidentId, stop: &Stop) -> Result<(), StoreError> {
        let (pk, sk) = (keys::deliveries(incident, &stop.tenant), keys::stop(&stop.recipient));
        self.transact(vec![self.put_action(item(&pk, &sk, stop, Some(self.plan_expiry(stop.at)))?, None, vec![])?])
            .await
            .map(|_| ())
    }

    /// Returns whether a recipient stopped notifications of an incident and did not resume them.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn has_stopped_incident(
        &self,
        incident: &IncidentId,
        tenant: &TenantId,
        recipient: &str,
    ) -> Result<bool, StoreError> {
        let found = self.get(&keys::deliveries(incident, tenant), &keys::stop(recipient)).await?;
        let stop: Option<Stop> = found.map(|found| read(found, "a stop")).transpose()?;
        Ok(stop.is_some_and(|stop| stop.resumed_at.is_none()))
    }

    /// Returns the place that an interrupted routing job saved.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn routing_place(
        &self,
        incident: &IncidentId,
        job: PlannedShards,
    ) -> Result<Option<RoutingPlace>, StoreError> {
        let sk = keys::routing_place(job);
        let found = self.query(&keys::plan(incident, job.first), &sk, &sk, 1).await?;
        found.into_iter().next().map(|found| read(found, "a place")).transpose()
    }

    /// Saves the place of a routing job that is interrupted.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn save_routing_place(
        &self,
        incident: &IncidentId,
        job: PlannedShards,
        place: &RoutingPlace,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (pk, sk) = (keys::plan(incident, job.first), keys::routing_place(job));
        self.put(item(&pk, &sk, place, Some(self.plan_expiry(now)))?).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use domain::delivery::{DeliveryRow, DeliveryState, FeedbackKind, ProviderFeedback};
    use domain::reason::Reason;
    use domain::vocabulary::Channel;

    const NOT_FOR_PLANNING: [&str; 6] = ["token", "feedback", "cause", "provider_id", "latency_ms", "late"];

    #[test]
    fn each_field_of_a_row_is_read_for_planning_or_named_as_not_needed() {
        let feedback =
            ProviderFeedback { update: 1, kind: FeedbackKind::Bounced, at: Timestamp::UNIX_EPOCH, text: String::new() };
        let row = DeliveryRow {
            latest: 3,
            done: 2,
            notified: 1,
            tried: 2,
            state: DeliveryState::Retrying,
            attempts: 1,
            lease_until_ms: 5,
            token: "token".to_owned(),
            channel: Channel::Email,
            feedback: Some(feedback),
            next_at_ms: Some(7),
            cause: Some("timeout".to_owned()),
            reason: Some(Reason::Throttled),
            provider_id: Some("m-1".to_owned()),
            at: Some(Timestamp::UNIX_EPOCH),
            latency_ms: Some(4),
            late: true,
        };
        let stored: crate::Item = serde_dynamo::to_item(&row).unwrap();
        let fields: BTreeSet<&str> = stored.keys().map(String::as_str).collect();
        let of_keys_and_stops = BTreeSet::from(["sk", "tenant", "recipient", "resumed_at"]);
        let named: BTreeSet<&str> = PLANNING_FIELDS.into_iter().chain(NOT_FOR_PLANNING).collect();
        assert_eq!(named.difference(&of_keys_and_stops).copied().collect::<BTreeSet<_>>(), fields);
        assert_eq!(named.len(), PLANNING_FIELDS.len() + NOT_FOR_PLANNING.len());
    }
}
