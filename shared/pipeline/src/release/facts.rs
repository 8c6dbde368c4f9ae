//! Everything that the decisions about a page of due entries depend on.

use super::RunTimes;
use super::decide::{
    DeliveryFacts, ReleaseDecision, ReplanInput, decide_held, decide_retry, is_batched_hold, stored_wait,
};
use domain::alert::EARLIER_UPDATES_MAX;
use domain::due::{DueItem, Hold, ScheduledDelivery};
use domain::ids::{IncidentId, TenantId};
use domain::incident::{Incident, Update};
use domain::maintenance::{MaintenanceWindow, SuppressedIncident};
use domain::plan::{NotificationHistory, PlanHistory};
use domain::policy::Policy;
use domain::reason::Reason;
use domain::subscriber::Subscriber;
use domain::tenant::{Destination, Settings};
use domain::vocabulary::{Category, Channel};
use std::collections::{BTreeMap, BTreeSet};

/// The keys of everything that a page's entries depend on.
#[derive(Clone, Debug, Default)]
pub struct FactKeys {
    /// The tenants whose settings are read.
    pub tenants: BTreeSet<TenantId>,
    /// The incidents whose heads are read.
    pub incidents: BTreeSet<IncidentId>,
    /// The updates, by incident and number.
    pub updates: BTreeSet<(IncidentId, u32)>,
    /// The recipients and integrations.
    pub destinations: BTreeSet<(TenantId, String)>,
    /// Entries that are planned again, which needs the tenant's subscription.
    pub replanned: BTreeSet<(IncidentId, TenantId)>,
    /// Entries whose earlier decisions count. Retries of webhooks depend on none.
    pub plans: BTreeSet<(IncidentId, TenantId)>,
    /// Tenants with incidents that are suppressed by maintenance.
    pub suppressed: BTreeSet<TenantId>,
}

impl FactKeys {
    /// The keys that the entries of a page need.
    #[must_use]
    pub fn of(items: &[DueItem]) -> Self {
        let mut keys = Self::default();
        for DueItem { due, .. } in items {
            keys.tenants.insert(due.tenant.clone());
            keys.incidents.insert(due.incident_id.clone());
            keys.updates.insert((due.incident_id.clone(), due.update));
            // A single e-mail shows the updates before its own. A list of alerts has no room for them.
            if due.channel == Channel::Email && !due.held.is_some_and(is_batched_hold) {
                let earlier = earlier_updates(due).map(|number| (due.incident_id.clone(), number));
                keys.updates.extend(earlier);
            }
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
#[derive(Clone, Debug, Default)]
pub struct PageFacts {
    /// The settings of each tenant.
    pub settings: BTreeMap<TenantId, Option<Settings>>,
    /// The incidents; `None` for one that has expired.
    pub incidents: BTreeMap<IncidentId, Option<Incident>>,
    /// The updates, by incident and number.
    pub updates: BTreeMap<(IncidentId, u32), Option<Update>>,
    /// The recipients and integrations.
    pub destinations: BTreeMap<(TenantId, String), Option<Destination>>,
    /// The subscriptions of each tenant and category.
    pub subscribers: BTreeMap<(TenantId, Category), Option<Subscriber>>,
    /// The plans of each incident and tenant, with the delivery rows of its recipients and chat channels.
    pub plans: BTreeMap<(IncidentId, TenantId), PlanHistory>,
    /// The maintenance windows of each tenant.
    pub windows: BTreeMap<TenantId, Vec<MaintenanceWindow>>,
    /// The incidents that each scheduled maintenance suppressed.
    pub suppressed_incidents: BTreeMap<IncidentId, Vec<SuppressedIncident>>,
}

/// A due entry with what was decided about it.
#[derive(Debug)]
pub(crate) struct DecidedItem {
    pub(crate) item: DueItem,
    /// `None` if something that the decision depends on could not be read: the entry then stays for the next run.
    pub(crate) decision: Option<ReleaseDecision>,
    /// Whether the delivery has a row of its update already.
    pub(crate) has_row: bool,
    /// Whether what is stored says another time or reason than a later entry.
    pub(crate) waits_anew: bool,
}

impl PageFacts {
    /// Decides about one due entry.
    pub(crate) fn decide_item(&self, item: DueItem, policy: &Policy, times: RunTimes) -> DecidedItem {
        let decision = self.decide(&item.due, policy, times).map(|decision| self.add_thread(decision, &item.due));
        let plans = self.plan_history(&item.due);
        let row = plans.and_then(|plans| plans.rows.get(&(item.due.destination.clone(), item.due.channel)));
        let has_row = item.due.attempt > 1 || row.is_some_and(|row| row.latest == item.due.update);
        let stored = plans.and_then(|plans| stored_wait(&item.due, plans));
        // While an older update is still tried, the row is about that one: a hold that only moves must not end it.
        let is_taken = row.is_some_and(|row| row.latest < item.due.update && row.done < row.latest);
        let waits_anew = match &decision {
            Some(ReleaseDecision::Reschedule { wait, .. }) => stored != Some(*wait) && !is_taken,
            _ => false,
        };
        DecidedItem { item, decision, has_row, waits_anew }
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

    /// Adds to an e-mail what the updates before its own said, as far as they could be read.
    fn add_thread(&self, decision: ReleaseDecision, due: &ScheduledDelivery) -> ReleaseDecision {
        let incident = self.incidents.get(&due.incident_id).and_then(Option::as_ref);
        let Some(incident) = incident else { return decision };
        let ReleaseDecision::Send(delivery) = decision else { return decision };
        let first_sent = self
            .plan_history(due)
            .and_then(|plans| NotificationHistory::before(due.update, plans).first_sent(&due.destination, due.channel));
        let earlier: Vec<&Update> = earlier_updates(due)
            .filter_map(|number| self.updates.get(&(due.incident_id.clone(), number))?.as_ref())
            .collect();
        ReleaseDecision::Send(Box::new(delivery.with_thread(incident, first_sent, earlier.into_iter())))
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

/// Returns the numbers of the updates that an e-mail shows below its own, oldest first.
fn earlier_updates(due: &ScheduledDelivery) -> std::ops::Range<u32> {
    let shown = u32::try_from(EARLIER_UPDATES_MAX).unwrap_or(0);
    due.update.saturating_sub(shown).max(1)..due.update
}

/// Returns the incident with the current end of the maintenance window that suppresses it: the window may have ended early.
#[must_use]
pub fn with_current_window(incident: &Incident, hold: Hold, windows: &[MaintenanceWindow]) -> Incident {
    let covered = match &incident.covered {
        Some(cover) if hold.reason == Reason::CoveredByMaintenance => Some(cover.with_current_end(windows)),
        covered => covered.clone(),
    };
    Incident { covered, ..incident.clone() }
}

/// Returns the category whose subscriptions include the incident's subscribers. User-level warnings have no category;
/// their subscribers are in every one.
#[must_use]
pub fn subscription_category(incident: &Incident) -> Category {
    incident.category.unwrap_or(Category::Configurable)
}
