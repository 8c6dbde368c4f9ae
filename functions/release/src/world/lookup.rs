//! What `subscription-lookup` does: plans updates, and enqueues or holds their deliveries.

use super::*;

impl World {
    /// Plans one update for one tenant. With `dies`, the function dies after it stored the plan and before it enqueued anything.
    pub(super) fn plan_update(
        &mut self,
        incident: &IncidentId,
        number: u32,
        tenant: usize,
        redelivered: bool,
        dies: bool,
    ) {
        let subscriber = self.tenants[tenant].clone();
        let tenant_id = subscriber.settings.tenant.clone();
        let plan_history = self.plan_history.entry((incident.clone(), tenant_id.clone())).or_default().clone();
        let last_planned = plan_history.plans.iter().map(|plan| plan.update).max().unwrap_or(0);
        let stored: Vec<Decision> = plan_history.plans.iter().flat_map(|plan| plan.decisions.clone()).collect();
        let mut to_enqueue = if redelivered { stored.clone() } else { Vec::new() };
        if last_planned < number {
            let history = NotificationHistory::from_plans(plan_history.decisions(), &plan_history.revisions, self.now)
                .with_stopped(&plan_history.stopped);
            let storm_until = if last_planned == 0 { self.storm_until(incident, &subscriber) } else { None };
            let record = &self.incidents[incident];
            let fresh: Vec<Update> = record
                .updates
                .iter()
                .filter(|one| one.number > last_planned && one.number <= number)
                .cloned()
                .collect();
            let destinations: Vec<Destination> = subscriber.destinations.iter().map(|(_, one)| one.clone()).collect();
            let decisions = plan_deliveries(&PlanInput {
                incident: &record.incident,
                updates: &fresh,
                settings: &subscriber.settings,
                destinations: &destinations,
                history: &history,
                policy: &POLICY,
                now: self.now,
                released_from: None,
                storm_until,
            });
            let plan_history = self.plan_history.entry((incident.clone(), tenant_id.clone())).or_default();
            for update in &fresh {
                let decisions = decisions.iter().filter(|decision| decision.update == update.number).cloned();
                plan_history.plans.push(StoredPlan {
                    tenant: tenant_id.clone(),
                    chunk: 0,
                    update: update.number,
                    at: self.now,
                    settings_version: subscriber.settings.version,
                    decisions: decisions.collect(),
                });
            }
            to_enqueue.extend(decisions);
        } else if !redelivered {
            to_enqueue = stored;
        }
        if !dies {
            self.enqueue_decisions(incident, &subscriber, to_enqueue);
        }
    }

    pub(super) fn storm_until(&mut self, incident: &IncidentId, subscriber: &Subscriber) -> Option<Timestamp> {
        let incident = &self.incidents[incident].incident;
        let Scope::Tenant(tenant) = &incident.scope else { return None };
        if subscriber.settings.storms != StormMode::Bundle || incident.test || incident.severity == Severity::Critical {
            return None;
        }
        let (number, until) = POLICY.storms.ceiling.window_at(self.now);
        let opened = self.openings.entry((tenant.clone(), number)).or_default();
        *opened += 1;
        (*opened > POLICY.storms.ceiling.incidents).then_some(until)
    }

    pub(super) fn enqueue_decisions(
        &mut self,
        incident: &IncidentId,
        subscriber: &Subscriber,
        decisions: Vec<Decision>,
    ) {
        let mut now = Vec::new();
        for decision in decisions {
            let record = &self.incidents[incident];
            let Some(update) = record.updates.iter().find(|update| update.number == decision.update) else { continue };
            match decision.outcome {
                DecisionOutcome::Deliver { role } => {
                    let destination = subscriber.destinations.iter().map(|(_, one)| one);
                    let Some(to) = destination.into_iter().find(|one| one.id() == decision.destination) else {
                        continue;
                    };
                    let (settings, incident) = (&subscriber.settings, &record.incident);
                    now.extend(Delivery::build(settings, incident, update, to, decision.channel, role));
                }
                DecisionOutcome::Hold { until, reason, role } => self.put_due(ScheduledDelivery {
                    at: next_recheck(until, reason, update.accepted_at),
                    tenant: subscriber.settings.tenant.clone(),
                    destination: decision.destination,
                    channel: decision.channel,
                    incident_id: incident.clone(),
                    update: decision.update,
                    attempt: 1,
                    plain: false,
                    role,
                    held: Some(Hold { since: update.accepted_at, reason, always_listed: false }),
                    held_before: None,
                    omitted_count: 0,
                    rebatched: false,
                    resend_requested: false,
                }),
                DecisionOutcome::Skip { .. } => {}
            }
        }
        for delivery in now {
            let message =
                QueuedMessage { members: vec![delivery], batched: false, version: subscriber.settings.version };
            self.perform(Job::Deliver(message));
        }
    }
}
