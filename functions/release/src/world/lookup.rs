//! Runs the story of `subscription-lookup` on the world. The function may die between any two effects; then its queue delivers the job again.

use super::*;
use contracts::queue::{RoutingJob, RoutingTarget};
use pipeline::route::{Route, RouteContext, begin};
use pipeline::{Turn, Verdict};

impl World {
    /// Plans one update for one tenant.
    pub(super) fn route(&mut self, incident: &IncidentId, update: u32, tenant: usize) {
        let job = RoutingJob {
            v: 1,
            correlation_id: "c".to_owned(),
            incident_id: incident.clone(),
            update,
            route: RoutingTarget::Tenant(self.tenants[tenant].settings.tenant.clone()),
        };
        for receives in 1.. {
            // Now and then a finished job comes again.
            if self.run_route(&job, tenant, receives) && !self.fault_strikes(8) {
                return;
            }
        }
    }

    /// Runs the story once. Returns whether it came to its end.
    fn run_route(&mut self, job: &RoutingJob, tenant: usize, receives: u32) -> bool {
        let mut turn = Turn {
            now: self.now,
            left: std::time::Duration::from_secs(60),
            receives,
            lane: contracts::queue::Lane::Urgent,
            jitter: 0.5,
            token: String::new(),
            counted: Vec::new(),
        };
        let mut story = begin(job.clone());
        loop {
            story = match story {
                Route::End(Verdict::Delete) => return true,
                Route::End(verdict) => panic!("{verdict:?} of {job:?}"),
                _ if self.fault_strikes(30) => return false,
                step => self.perform_route(step, tenant, &mut turn),
            };
        }
    }

    fn perform_route(&mut self, story: Route, tenant: usize, turn: &mut Turn) -> Route {
        match story {
            Route::Context(step) => {
                let record = &self.incidents[&step.job().incident_id];
                let (incident, updates) = (Some(record.incident.clone()), record.updates.clone());
                step.answered(Ok(RouteContext { incident, updates, suppressed: Vec::new() }), turn)
            }
            Route::Tenant(step) => {
                let subscriber = self.tenants[tenant].clone();
                let plans = self.plan_history.get(&(step.incident().id.clone(), step.tenant().clone()));
                let plans = plans.cloned().unwrap_or_default();
                step.answered(Ok((Some(subscriber), plans)), &POLICY, turn)
            }
            Route::Count(step) => {
                let (number, _) = POLICY.storms.ceiling.window_at(step.at());
                let opened = self.openings.entry((step.tenant().clone(), number)).or_default();
                *opened += 1;
                let opened = *opened;
                step.answered(Ok(opened), &POLICY, turn)
            }
            Route::Store(step) => {
                let (incident, plans) = (step.incident().id.clone(), step.plans().cloned().collect::<Vec<_>>());
                let store = |plan: StoredPlan| {
                    let history = self.plan_history.entry((incident.clone(), plan.tenant.clone())).or_default();
                    let same = |one: &&StoredPlan| (one.chunk, one.update) == (plan.chunk, plan.update);
                    if let Some(stored) = history.plans.iter().find(same) {
                        return Ok(stored.clone());
                    }
                    history.plans.push(plan.clone());
                    Ok(plan)
                };
                let answers = plans.into_iter().map(store).collect();
                step.answered(answers, turn)
            }
            Route::Hold(step) => {
                step.entries().iter().for_each(|entry| self.put_due(entry.clone()));
                step.answered(Ok(()), turn)
            }
            Route::Enqueue(step) => {
                let version = self.tenants[tenant].settings.version;
                for delivery in step.deliveries().to_vec() {
                    let message = QueuedMessage { members: vec![delivery], batched: false, version, receives: 1 };
                    self.perform(Job::Deliver(message));
                }
                step.answered(Ok(()), turn)
            }
            Route::Page(_) | Route::Continue(_) => panic!("worlds plan one tenant at a time"),
            Route::End(_) => story,
        }
    }
}
