//! Events, incidents, plans and settings.

use super::{IncidentRecord, SimulatedTable};
use domain::delivery::thread_of_row;
use domain::event_record::EventRecordWrite;
use domain::ids::{IncidentId, SHARDS, Scope, TenantId, shard_of};
use domain::incident::{Incident, KeyState};
use domain::maintenance::MaintenanceWindow;
use domain::plan::{PlanHistory, StoredPlan};
use domain::policy::Policy;
use domain::subscriber::Subscriber;
use jiff::Timestamp;
use pipeline::classify::Commit;
use pipeline::route::EarlierPlans;
use std::collections::BTreeMap;

/// How many tenants a page of a shard has: one, so that jobs have pages.
const PAGE_TENANTS: usize = 1;

impl SimulatedTable {
    /// Writes what `classify` decided, in one transaction. Returns `false` if the incident, the key or the record changed since they were
    /// read.
    pub fn commit(&mut self, step: &Commit) -> bool {
        let decision = step.decision();
        let record = decision.record.clone();
        let place = (record.event_id.clone(), record.scope.clone());
        let head = decision.head.as_ref();
        // The key's state changes when an incident opens or closes, and when a resolve comes before its opening.
        let of_incident = head.filter(|(incident, replaces)| *replaces == 0 || incident.resolved_at.is_some());
        let of_incident = of_incident.map(|(incident, _)| (incident.key.clone(), KeyState::of(incident)));
        let key_writes: Vec<(String, KeyState)> = decision.early_resolve.iter().cloned().chain(of_incident).collect();
        let previous = decision.previous_key_state.as_ref().map(|state| &state.incident_id);
        let changed = key_writes.iter().any(|(key, _)| self.keys.get(key).map(|state| &state.incident_id) != previous);
        let replaced = head.is_none_or(|(incident, replaces)| {
            self.incidents.get(&incident.id).map_or(0, |stored| stored.incident.version) == *replaces
        });
        let accepted_before = self.records.get(&place).map(|stored| stored.accepted_at);
        let first = match decision.record_write {
            EventRecordWrite::New => accepted_before.is_none(),
            EventRecordWrite::Replace { accepted_at } => accepted_before == Some(accepted_at),
            EventRecordWrite::Keep => true,
        };
        if changed || !replaced || !first {
            return false;
        }
        if decision.record_write != EventRecordWrite::Keep {
            self.records.insert(place, record);
        }
        self.keys.extend(key_writes);
        if let Some((incident, _)) = head {
            let record = self.incidents.entry(incident.id.clone()).or_insert_with(|| IncidentRecord {
                incident: incident.clone(),
                updates: Vec::new(),
                suppressed: Vec::new(),
                places: BTreeMap::new(),
            });
            record.incident = incident.clone();
            record.updates.extend(decision.update.clone());
        }
        for (maintenance, suppressed) in &decision.suppressed {
            if let Some(record) = self.incidents.get_mut(maintenance) {
                record.suppressed.retain(|one| one.incident_id != suppressed.incident_id);
                record.suppressed.push(suppressed.clone());
            }
        }
        true
    }

    /// The open incident of a dedup key.
    #[must_use]
    pub fn open_incident(&self, key: &str) -> Option<&Incident> {
        let state = self.keys.get(key).filter(|state| state.open)?;
        Some(&self.incidents.get(&state.incident_id)?.incident)
    }

    /// The maintenance windows that reach a scope.
    #[must_use]
    pub fn maintenance_windows(&self, scope: &Scope) -> Vec<MaintenanceWindow> {
        let reaches = |incident: &&Incident| incident.scope == Scope::Platform || incident.scope == *scope;
        let all = self.incidents.values().map(|record| &record.incident);
        all.filter(reaches).filter_map(Incident::maintenance_window).collect()
    }

    /// A tenant with its destinations.
    #[must_use]
    pub fn tenant(&self, tenant: &TenantId) -> Option<&Subscriber> {
        self.tenants.iter().find(|one| one.settings.tenant == *tenant)
    }

    /// A page of a shard's tenants, and the tenant after which the next one begins.
    #[must_use]
    pub fn shard_page(&self, shard: u16, after: Option<&TenantId>) -> (Vec<Subscriber>, Option<TenantId>) {
        let of_shard = self.tenants.iter().filter(|one| shard_of(one.settings.tenant.as_str(), SHARDS) == shard);
        let mut later: Vec<&Subscriber> =
            of_shard.filter(|one| after.is_none_or(|after| one.settings.tenant > *after)).collect();
        later.sort_by_key(|one| one.settings.tenant.clone());
        let more = later.len() > PAGE_TENANTS;
        later.truncate(PAGE_TENANTS);
        let next = later.last().filter(|_| more).map(|last| last.settings.tenant.clone());
        (later.into_iter().cloned().collect(), next)
    }

    /// A tenant's plans for an incident: all, or the newest of each of its chunks.
    #[must_use]
    pub fn plans(&self, incident: &IncidentId, tenant: &TenantId, which: EarlierPlans) -> Vec<StoredPlan> {
        let all = self.plans.get(&(incident.clone(), tenant.clone())).into_iter().flatten();
        let is_newest = |plan: &&StoredPlan| {
            let same_chunk = all.clone().filter(|other| other.chunk == plan.chunk);
            which == EarlierPlans::All || same_chunk.map(|other| other.update).max() == Some(plan.update)
        };
        all.clone().filter(is_newest).cloned().collect()
    }

    /// A tenant's plans for an incident with what became of them.
    #[must_use]
    pub fn plan_history(&self, incident: &IncidentId, tenant: &TenantId, which: EarlierPlans) -> PlanHistory {
        let of_incident = self.rows.iter().filter(|((of, about, _), _)| (of, about) == (tenant, incident));
        let threads = of_incident.filter_map(|((_, _, row), state)| Some((thread_of_row(row)?, state.clone())));
        let plans = self.plans(incident, tenant, which);
        let stopped = self.stopped.get(&(incident.clone(), tenant.clone())).cloned().unwrap_or_default();
        PlanHistory { plans, rows: threads.collect(), stopped }
    }

    /// Counts an opening, and returns how many there were in its window.
    pub fn count_opening(&mut self, tenant: &TenantId, at: Timestamp, policy: &Policy) -> u32 {
        let (window, _) = policy.storms.ceiling.window_at(at);
        let opened = self.openings.entry((tenant.clone(), window)).or_default();
        *opened += 1;
        *opened
    }

    /// Stores a plan unless there is one. Returns the plan that counts.
    pub fn store_plan(&mut self, incident: &IncidentId, plan: &StoredPlan) -> StoredPlan {
        let stored = self.plans.entry((incident.clone(), plan.tenant.clone())).or_default();
        if let Some(first) = stored.iter().find(|one| (one.chunk, one.update) == (plan.chunk, plan.update)) {
            return first.clone();
        }
        stored.push(plan.clone());
        plan.clone()
    }
}
