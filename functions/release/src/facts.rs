//! Reads everything that the decisions about a page of due entries depend on, each thing once.

use crate::decide::{DeliveryFacts, ReleaseDecision, ReplanInput, decide_held, decide_retry, revised_decision};
use crate::page::RunTimes;
use crate::{IN_FLIGHT, Release};
use domain::due::{Hold, ScheduledDelivery};
use domain::ids::{IncidentId, IntegrationId, RecipientId, Scope, TenantId};
use domain::incident::{Incident, Update};
use domain::maintenance::{MaintenanceWindow, SuppressedIncident};
use domain::plan::{Decision, PlanHistory};
use domain::policy::Policy;
use domain::reason::Reason;
use domain::subscriber::Subscriber;
use domain::tenant::{Destination, Settings};
use domain::vocabulary::{Category, Channel};
use futures::stream::{self, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use store::StoreError;
use store::due::DueItem;

/// A due entry with what was decided about it.
pub(crate) struct DecidedItem {
    pub(crate) item: DueItem,
    /// `None` if something that the decision depends on could not be read: the entry then stays for the next run.
    pub(crate) decision: Option<ReleaseDecision>,
    /// The decision to record beside the plan, if it differs from the stored one.
    pub(crate) revised: Option<Decision>,
}

/// The keys of everything that a page's entries depend on.
#[derive(Default)]
struct FactKeys {
    tenants: BTreeSet<TenantId>,
    incidents: BTreeSet<IncidentId>,
    updates: BTreeSet<(IncidentId, u32)>,
    destinations: BTreeSet<(TenantId, String)>,
    /// Entries that are planned again, which needs the tenant's subscription.
    replanned: BTreeSet<(IncidentId, TenantId)>,
    /// Entries whose earlier decisions count. Retries of webhooks depend on none.
    plans: BTreeSet<(IncidentId, TenantId)>,
    /// Tenants with incidents that are suppressed by maintenance.
    suppressed: BTreeSet<TenantId>,
}

impl FactKeys {
    fn of(items: &[DueItem]) -> Self {
        let mut keys = Self::default();
        for DueItem { due, .. } in items {
            keys.tenants.insert(due.tenant.clone());
            keys.incidents.insert(due.incident_id.clone());
            keys.updates.insert((due.incident_id.clone(), due.update));
            keys.destinations.insert((due.tenant.clone(), due.destination.clone()));
            if due.held.is_some() || due.channel != Channel::Webhook {
                keys.plans.insert((due.incident_id.clone(), due.tenant.clone()));
            }
            if let Some(hold) = due.held {
                keys.replanned.insert((due.incident_id.clone(), due.tenant.clone()));
                if hold.reason == Reason::CoveredByMaintenance {
                    keys.suppressed.insert(due.tenant.clone());
                }
            }
        }
        keys
    }
}

/// The facts about a page of due entries. A missing entry could not be read; an entry of `None` does not exist.
pub(crate) struct PageFacts {
    settings: BTreeMap<TenantId, Option<Settings>>,
    incidents: BTreeMap<IncidentId, Option<Incident>>,
    updates: BTreeMap<(IncidentId, u32), Option<Update>>,
    destinations: BTreeMap<(TenantId, String), Option<Destination>>,
    subscribers: BTreeMap<(TenantId, Category), Option<Subscriber>>,
    plans: BTreeMap<(IncidentId, TenantId), PlanHistory>,
    windows: BTreeMap<TenantId, Vec<MaintenanceWindow>>,
    /// The incidents that each scheduled maintenance suppressed.
    suppressed_incidents: BTreeMap<IncidentId, Vec<SuppressedIncident>>,
}

impl Release {
    /// Reads the facts about a page of due entries.
    pub(crate) async fn read_facts(&self, items: &[DueItem]) -> PageFacts {
        let keys = FactKeys::of(items);
        let incidents = read_all(keys.incidents, |id| async { self.table.incident(&id).await.map(|f| (id, f)) }).await;
        let subscribed: BTreeSet<(TenantId, Category)> = keys
            .replanned
            .iter()
            .filter_map(|(id, tenant)| Some((tenant.clone(), subscription_category(incidents.get(id)?.as_ref()?))))
            .collect();
        let maintenance = incidents.values().flatten().filter(|incident| incident.maintenance.is_some());
        let maintenance = maintenance.map(|incident| incident.id.clone()).collect();
        // One kind after the other: each makes as many calls at once as the table should get.
        PageFacts {
            settings: read_all(keys.tenants, |tenant| async {
                self.table.settings(&tenant).await.map(|f| (tenant, f))
            })
            .await,
            suppressed_incidents: read_all(maintenance, |id| async {
                self.table.incidents_suppressed_by(&id).await.map(|found| (id, found))
            })
            .await,
            incidents,
            subscribers: read_all(subscribed, |(tenant, category)| async move {
                self.table.subscriber(&tenant, category).await.map(|found| ((tenant, category), found))
            })
            .await,
            windows: read_all(keys.suppressed, |tenant| async move {
                self.table.maintenance_windows(&Scope::Tenant(tenant.clone())).await.map(|found| (tenant, found))
            })
            .await,
            plans: read_all(keys.plans, |(id, tenant)| async move {
                self.table.plans_of(&id, &tenant).await.map(|plans| ((id, tenant), plans))
            })
            .await,
            updates: read_all(keys.updates, |(id, number)| async move {
                self.table.update(&id, number).await.map(|found| ((id, number), found))
            })
            .await,
            destinations: read_all(keys.destinations, |(tenant, name)| async {
                self.read_destination(&tenant, &name).await.map(|found| ((tenant, name), found))
            })
            .await,
        }
    }

    async fn read_destination(&self, tenant: &TenantId, name: &str) -> Result<Option<Destination>, StoreError> {
        if let Some(id) = RecipientId::parse(name) {
            let found = self.table.recipient(tenant, &id).await?;
            return Ok(found.map(|recipient| Destination::Recipient(Box::new(recipient))));
        }
        let Some(id) = IntegrationId::parse(name) else { return Ok(None) };
        let found = self.table.integration(tenant, &id).await?;
        Ok(found.map(|integration| Destination::Integration(Box::new(integration))))
    }
}

impl PageFacts {
    /// Decides about one due entry, and which revision of its plan that makes.
    pub(crate) fn decide_item(&self, item: DueItem, policy: &Policy, times: RunTimes) -> DecidedItem {
        let decision = self.decide(&item.due, policy, times);
        let plans = self.plan_history(&item.due);
        let revised = match &decision {
            Some(decision) => revised_decision(&item.due, decision, plans, times.now),
            None => None,
        };
        DecidedItem { item, decision, revised }
    }

    /// Decides about one due entry. `None` if something about it could not be read.
    fn decide(&self, due: &ScheduledDelivery, policy: &Policy, times: RunTimes) -> Option<ReleaseDecision> {
        let facts = self.of_entry(due)?;
        // A retry, or a resend that an admin requested, is not planned again. A delivery whose incident is gone ends as expired.
        let (Some(hold), Some(incident), false) = (due.held, facts.incident, due.resend_requested) else {
            let no_plans = PlanHistory::default();
            let plans = if due.channel == Channel::Webhook { &no_plans } else { self.plan_history(due)? };
            return Some(decide_retry(due, facts, plans, policy, times.now));
        };
        let subscriber = self.subscribers.get(&(due.tenant.clone(), subscription_category(incident)))?.as_ref();
        let plans = self.plan_history(due)?;
        let windows = match hold.reason {
            Reason::CoveredByMaintenance => self.windows.get(&due.tenant)?.as_slice(),
            _ => &[],
        };
        let incident = with_current_window(incident, hold, windows);
        let facts = DeliveryFacts { incident: Some(&incident), ..facts };
        let RunTimes { began, now } = times;
        Some(decide_held(due, hold, facts, ReplanInput { subscriber, plans, policy, began, now }))
    }

    /// Returns the plans that were read for a due entry, if they were.
    fn plan_history(&self, due: &ScheduledDelivery) -> Option<&PlanHistory> {
        self.plans.get(&(due.incident_id.clone(), due.tenant.clone()))
    }

    /// Returns the facts about one due entry; `None` if one of them could not be read, so that no delivery ends because of a fault of ours.
    fn of_entry(&self, due: &ScheduledDelivery) -> Option<DeliveryFacts<'_>> {
        let incident = self.incidents.get(&due.incident_id)?.as_ref();
        let suppressed_incidents: &[SuppressedIncident] = match incident.and_then(|incident| incident.maintenance) {
            Some(_) => self.suppressed_incidents.get(&due.incident_id)?,
            None => &[],
        };
        Some(DeliveryFacts {
            settings: self.settings.get(&due.tenant)?.as_ref(),
            incident,
            suppressed_incidents,
            update: self.updates.get(&(due.incident_id.clone(), due.update))?.as_ref(),
            destination: self.destinations.get(&(due.tenant.clone(), due.destination.clone()))?.as_ref(),
        })
    }
}

/// Returns the incident with the current end of the maintenance window that suppresses it: the window may have ended early.
pub(crate) fn with_current_window(incident: &Incident, hold: Hold, windows: &[MaintenanceWindow]) -> Incident {
    let covered = match &incident.covered {
        Some(cover) if hold.reason == Reason::CoveredByMaintenance => Some(cover.with_current_end(windows)),
        covered => covered.clone(),
    };
    Incident { covered, ..incident.clone() }
}

/// Returns the category whose subscriptions include the incident's subscribers. User-level warnings have no category;
/// their subscribers are in every one.
fn subscription_category(incident: &Incident) -> Category {
    incident.category.unwrap_or(Category::Configurable)
}

/// Reads many things concurrently. What cannot be read is logged, and missing from the result.
async fn read_all<K, V, F, Fut>(keys: BTreeSet<K>, read: F) -> BTreeMap<K, V>
where
    K: Ord,
    F: FnMut(K) -> Fut,
    Fut: Future<Output = Result<(K, V), StoreError>>,
{
    let read = stream::iter(keys).map(read).buffer_unordered(IN_FLIGHT);
    read.filter_map(|found| async move {
        found
            .inspect_err(
                |error| tracing::error!(%error, "cannot read what a due delivery depends on; the next run tries again"),
            )
            .ok()
    })
    .collect()
    .await
}
