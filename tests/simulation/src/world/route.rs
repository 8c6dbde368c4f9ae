//! The effects of `subscription-lookup`.

use super::{Fate, Invocation, POLICY, World};
use crate::queue::Body;
use contracts::queue::RoutingJob;
use domain::ids::IncidentId;
use domain::plan::StoredPlan;
use pipeline::Fault;
use pipeline::deliver::Message;
use pipeline::route::{Route, RouteContext, TenantPage};

/// The incident that a job is about.
pub(super) fn incident(story: &Route) -> Option<IncidentId> {
    match story {
        Route::Context(step) => Some(step.job().incident_id.clone()),
        Route::Tenant(step) => Some(step.incident().id.clone()),
        Route::Page(step) => Some(step.incident().id.clone()),
        Route::Store(step) => Some(step.incident().id.clone()),
        Route::Hold(step) => step.entries().first().map(|entry| entry.incident_id.clone()),
        Route::Enqueue(step) => step.deliveries().first().map(|first| first.alert.incident_id.clone()),
        Route::Save(step) => Some(step.incident().clone()),
        Route::Separate(step) => step.jobs().first().map(|job| job.incident_id.clone()),
        Route::Continue(step) => Some(step.job().incident_id.clone()),
        // Counting comes after the plans were read, and nothing is late yet.
        Route::Count(_) | Route::End(_) => None,
    }
}

impl World {
    pub(super) fn perform_route(&mut self, story: Route, invocation: &mut Invocation, fate: Fate) -> Route {
        let calm = self.calm();
        let turn = &mut invocation.turn;
        match story {
            Route::Context(step) => {
                let context = match self.table.incidents.get(&step.job().incident_id) {
                    None => RouteContext::default(),
                    Some(record) => RouteContext {
                        incident: Some(record.incident.clone()),
                        updates: record.updates.clone(),
                        suppressed: record.suppressed.clone(),
                        place: step.saved_place(turn).and_then(|job| record.places.get(&job).cloned()),
                    },
                };
                step.answered(fate.answer(context), turn)
            }
            Route::Tenant(step) => {
                let subscriber = self.table.tenant(step.tenant()).cloned();
                let which = step.earlier_plans();
                let plans = self.table.plan_history(&step.incident().id, step.tenant(), which);
                // Half a deployment: what the next version wrote, this one cannot read yet.
                let answer = match fate == Fate::Done && !calm && self.random.once_in(30) {
                    false => fate.answer((subscriber, plans)),
                    true => Err(Fault::Unreadable { reason: "stored item is invalid".to_owned() }),
                };
                step.answered(answer, &POLICY, turn)
            }
            Route::Page(step) => {
                let (subscribers, next) = self.table.shard_page(step.shard(), step.after());
                let incident = &step.incident().id;
                let with_plans = subscribers.into_iter().map(|one| {
                    let plans = self.table.plan_history(incident, &one.settings.tenant, step.earlier_plans());
                    (one, plans)
                });
                let mut page = TenantPage { tenants: with_plans.collect(), unreadable: Vec::new(), next };
                // Now and then this version cannot read one of the tenants; its own job can.
                if !page.tenants.is_empty() && self.scenario.faults && self.random.once_in(20) {
                    let place = self.random.place(page.tenants.len());
                    let (subscriber, _) = page.tenants.remove(place);
                    page.unreadable.push(subscriber.settings.tenant);
                }
                step.answered(fate.answer(page), &POLICY, turn)
            }
            Route::Count(step) => {
                let opened = match fate {
                    Fate::Fails => 0,
                    _ => self.table.count_opening(step.tenant(), step.at(), &POLICY),
                };
                step.answered(fate.answer(opened), &POLICY, turn)
            }
            Route::Store(step) => {
                let (incident, plans) = (step.incident().id.clone(), step.plans().cloned().collect::<Vec<_>>());
                let mut stopped = false;
                let store = |plan: StoredPlan| {
                    // Each tenant's plans are stored in the order of their updates: whoever dies has stored the first ones.
                    let some = matches!(fate, Fate::DiesAfter | Fate::AnswerLost);
                    stopped |= fate == Fate::Fails || some && self.random.once_in(2);
                    let stored = if stopped { plan } else { self.table.store_plan(&incident, &plan) };
                    fate.answer(stored)
                };
                let answers = plans.into_iter().map(store).collect();
                step.answered(answers, turn)
            }
            Route::Hold(step) => {
                let entries = step.entries().to_vec();
                for entry in &entries {
                    if !self.is_left_out(fate) {
                        self.table.schedule(entry, false);
                    }
                }
                step.answered(fate.answer(()), &mut invocation.turn)
            }
            Route::Enqueue(step) => {
                for delivery in step.deliveries().to_vec() {
                    if self.is_left_out(fate) {
                        continue;
                    }
                    let (version, lane) = (self.version(&delivery.alert.tenant), step.lane(&delivery));
                    let message = Message::Single(Box::new(delivery));
                    self.send(Body::Delivery { message, version }, lane, 0);
                }
                step.answered(fate.answer(()), &mut invocation.turn)
            }
            Route::Separate(step) => {
                for job in step.jobs().to_vec() {
                    if !self.is_left_out(fate) {
                        self.send_job(job);
                    }
                }
                step.answered(fate.answer(()), &mut invocation.turn)
            }
            Route::Continue(step) => {
                if fate != Fate::Fails {
                    self.send_job(step.job().clone());
                }
                step.answered(fate.answer(()), &mut invocation.turn)
            }
            Route::Save(step) => {
                if let (Some(record), true) = (self.table.incidents.get_mut(step.incident()), fate != Fate::Fails) {
                    record.places.insert(step.job(), step.place().clone());
                }
                step.answered(fate.answer(()), &mut invocation.turn)
            }
            Route::End(_) => story,
        }
    }

    fn send_job(&mut self, job: RoutingJob) {
        let (group, dedup) = (job.message_group_id(), job.deduplication_id());
        self.send_in_order(Body::Routing(Box::new(job)), format!("route {group}"), format!("route {dedup}"));
    }

    /// Whether one of several writes of an effect does not take place. Whoever dies over them has made some of them.
    pub(super) fn is_left_out(&mut self, fate: Fate) -> bool {
        match fate {
            Fate::Fails => true,
            Fate::DiesAfter | Fate::AnswerLost => self.random.once_in(2),
            Fate::Done | Fate::DiesBefore => false,
        }
    }

    /// The version of a tenant's settings.
    pub(super) fn version(&self, tenant: &domain::ids::TenantId) -> u64 {
        self.table.tenant(tenant).map_or(0, |one| one.settings.version)
    }
}
