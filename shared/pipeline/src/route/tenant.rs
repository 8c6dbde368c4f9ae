//! One tenant's plans for an update, and what follows from them.

use super::RoutingRun;
use super::planned::{decisions_to_enqueue, last_planned};
use contracts::queue::Delivery;
use domain::due::{Hold, ScheduledDelivery};
use domain::ids::TenantId;
use domain::incident::{Incident, Update};
use domain::maintenance::next_recheck;
use domain::plan::{
    CarriedThread, Decision, DecisionOutcome, NotificationHistory, PlanHistory, PlanInput, StoredPlan, carried_threads,
    plan_deliveries,
};
use domain::policy::Policy;
use domain::subscriber::Subscriber;
use domain::tenant::Destination;
use domain::vocabulary::Channel;
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// The work for one tenant.
#[derive(Debug)]
pub(crate) struct TenantWork {
    pub(super) subscriber: Subscriber,
    earlier: PlanHistory,
    /// The newest update for which every chunk has a plan; 0 if nothing was planned.
    last_planned: u32,
    /// The update of the job.
    update: u32,
    /// Until when notifications are bundled, because too many incidents opened.
    pub(super) storm_until: Option<Timestamp>,
    /// The plans to store.
    pub(super) plans: Vec<StoredPlan>,
}

/// What is sent to one tenant now. Its messages are built when they are sent, a few at a time: each carries a copy of the update.
#[derive(Debug)]
pub(super) struct SentNow {
    subscriber: Subscriber,
    decisions: VecDeque<Decision>,
}

impl SentNow {
    /// The number of the update that the next message is about; `None` if there are no more.
    pub(super) fn next_update(&self) -> Option<(u32, Channel)> {
        self.decisions.front().map(|decision| (decision.update, decision.channel))
    }

    /// Returns the tenant of these deliveries.
    pub(super) fn into_tenant(self) -> TenantId {
        self.subscriber.settings.tenant
    }

    /// Builds the next message. A delivery whose destination is gone from the subscription since the plan was made becomes a due entry: release
    /// sends it by the settings as they are then, or ends it with the reason.
    pub(super) fn build_next(&mut self, run: &RoutingRun, now: Timestamp) -> Option<Planned> {
        let decision = self.decisions.pop_front()?;
        let DecisionOutcome::Deliver { role } = decision.outcome else { return None };
        let update = run.updates.iter().find(|update| update.number == decision.update)?;
        let destinations = self.subscriber.destinations.iter().map(|(_, destination)| destination);
        let destination = destinations.into_iter().find(|one| one.id() == decision.destination);
        let (settings, incident) = (&self.subscriber.settings, &run.incident);
        let delivery =
            destination.and_then(|one| Delivery::build(settings, incident, update, one, decision.channel, role));
        let Some(delivery) = delivery else {
            let entry = due_entry(&settings.tenant, incident, &decision, now);
            return Some(Planned::Unreachable(Box::new(ScheduledDelivery { role, ..entry })));
        };
        let first_sent = decision.last_sent.as_ref().and_then(|before| before.first);
        // A webhook's updates keep their order. One that has expired has no delivery row any more to wait for.
        let before = decision.last_sent.filter(|_| decision.channel == Channel::Webhook).map(|before| before.update);
        let follows = before.filter(|before| run.updates.iter().any(|update| update.number == *before));
        let delivery =
            delivery.with_thread(incident, first_sent, run.updates.iter()).with_suppressed_incidents(&run.suppressed);
        let delivery = Delivery { follows, ..delivery };
        Some(Planned::Message(Box::new(delivery)))
    }
}

/// What a decision to deliver becomes.
#[derive(Debug)]
pub(super) enum Planned {
    /// A message for the channel's queue.
    Message(Box<Delivery>),
    /// A due entry, since the destination cannot be reached any more.
    Unreachable(Box<ScheduledDelivery>),
}

/// Returns the due entry of a decision that is not sent at once.
fn due_entry(tenant: &TenantId, incident: &Incident, decision: &Decision, at: Timestamp) -> ScheduledDelivery {
    ScheduledDelivery {
        at,
        tenant: tenant.clone(),
        destination: decision.destination.clone(),
        channel: decision.channel,
        incident_id: incident.id.clone(),
        update: decision.update,
        attempt: 1,
        plain: false,
        role: None,
        held: None,
        held_before: None,
        omitted_count: 0,
        rebatched: false,
        resend_requested: false,
    }
}

/// Returns the name of a decision's outcome, for metrics.
pub(super) fn outcome_name(decision: &Decision) -> &'static str {
    match &decision.outcome {
        DecisionOutcome::Deliver { .. } => "deliver",
        DecisionOutcome::Hold { .. } => "hold",
        DecisionOutcome::Skip { .. } => "skip",
    }
}

impl TenantWork {
    pub(super) fn new(run: &RoutingRun, subscriber: Subscriber, earlier: PlanHistory) -> Self {
        let chunks = subscriber.destinations.iter().map(|(chunk, _)| *chunk);
        let last_planned = last_planned(chunks, &earlier.plans, run.job.update);
        Self { subscriber, earlier, last_planned, update: run.job.update, storm_until: None, plans: Vec::new() }
    }

    /// Whether the tenant has destinations, or had some when an earlier run of this job planned for them.
    pub(super) fn has_anybody(&self) -> bool {
        let was_planned = self.earlier.plans.iter().any(|plan| plan.update >= self.update);
        was_planned || !self.subscriber.destinations.is_empty()
    }

    /// Whether the newest plans are not enough: nothing is left to plan, so what is stored is enqueued again; or chunks have different ones.
    pub(super) fn needs_all_plans(&self) -> bool {
        let plans = &self.earlier.plans;
        let uneven = plans.windows(2).any(|pair| matches!(pair, [one, next] if one.update != next.update));
        !self.subscriber.destinations.is_empty() && (self.last_planned >= self.update || uneven)
    }

    /// Whether the tenant's first plan for the incident is still to be made.
    pub(super) fn is_opening(&self) -> bool {
        !self.subscriber.destinations.is_empty() && self.last_planned == 0 && self.update > 0
    }

    /// Plans the updates after the last planned one, chunk by chunk.
    pub(super) fn plan(&mut self, run: &RoutingRun, policy: &Policy, now: Timestamp) {
        if self.last_planned >= self.update {
            return;
        }
        let destinations: Vec<Destination> =
            self.subscriber.destinations.iter().map(|(_, destination)| destination.clone()).collect();
        let (earlier, updates) =
            run.updates.split_at(run.updates.partition_point(|update| update.number <= self.last_planned));
        let history = NotificationHistory::before(self.last_planned.saturating_add(1), &self.earlier);
        let decisions = plan_deliveries(&PlanInput {
            incident: &run.incident,
            updates,
            earlier,
            settings: &self.subscriber.settings,
            destinations: &destinations,
            history: &history,
            policy,
            now,
            released_from: None,
            storm_until: self.storm_until,
        });
        let chunk_of: BTreeMap<&str, u32> =
            self.subscriber.destinations.iter().map(|(chunk, destination)| (destination.id(), *chunk)).collect();
        let carried = carried_threads(&history, &decisions);
        // In the order of the updates, so that a crash in between leaves no gap.
        let mut plans: BTreeMap<(u32, u32), Vec<Decision>> = BTreeMap::new();
        for decision in decisions {
            let chunk = chunk_of.get(decision.destination.as_str()).copied().unwrap_or_default();
            plans.entry((decision.update, chunk)).or_default().push(decision);
        }
        // What a gone destination got stands in the plan of its chunk, or of the first one if that is gone, too.
        let first_chunk = plans.keys().map(|(_, chunk)| *chunk).min();
        let mut carried_of_chunk: BTreeMap<u32, Vec<CarriedThread>> = BTreeMap::new();
        for thread in carried {
            let chunk = chunk_of.get(thread.destination.as_str()).copied();
            let chunk = chunk.filter(|chunk| plans.keys().any(|(_, planned)| planned == chunk)).or(first_chunk);
            carried_of_chunk.entry(chunk.unwrap_or_default()).or_default().push(thread);
        }
        let settings = &self.subscriber.settings;
        let plan = |((update, chunk), decisions)| StoredPlan {
            tenant: settings.tenant.clone(),
            chunk,
            update,
            at: now,
            settings_version: settings.version,
            decisions,
            carried: carried_of_chunk.get(&chunk).cloned().unwrap_or_default(),
        };
        self.plans = plans.into_iter().map(plan).collect();
    }

    /// Returns the due entries of what is held, and what is sent now. `fresh` are the decisions that this run stored, or found stored.
    pub(super) fn split(self, run: &RoutingRun, fresh: Vec<Decision>) -> (Vec<ScheduledDelivery>, SentNow) {
        let mut stored: Vec<Decision> = self.earlier.plans.iter().flat_map(|plan| plan.decisions.clone()).collect();
        if self.last_planned < self.update {
            stored.retain(|decision| decision.update <= self.last_planned);
        }
        let (mut held, mut now) = (Vec::new(), VecDeque::new());
        for decision in decisions_to_enqueue(stored, fresh, run.redelivered) {
            let Some(update) = run.updates.iter().find(|update| update.number == decision.update) else { continue };
            match decision.outcome {
                DecisionOutcome::Skip { .. } => {}
                DecisionOutcome::Hold { .. } => held.extend(self.held(run, update, &decision)),
                DecisionOutcome::Deliver { .. } => now.push_back(decision),
            }
        }
        (held, SentNow { subscriber: self.subscriber, decisions: now })
    }

    /// Returns the due entry of a held delivery.
    fn held(&self, run: &RoutingRun, update: &Update, decision: &Decision) -> Option<ScheduledDelivery> {
        let DecisionOutcome::Hold { until, reason, role } = decision.outcome.clone() else { return None };
        let at = next_recheck(until, reason, update.accepted_at);
        let held = Some(Hold { since: update.accepted_at, reason, always_listed: false });
        let entry = due_entry(&self.subscriber.settings.tenant, &run.incident, decision, at);
        Some(ScheduledDelivery { role, held, ..entry })
    }
}
