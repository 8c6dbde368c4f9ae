//! The effects of `classify`.

use super::{Fate, Invocation, POLICY, World, event_type};
use crate::queue::Body;
use crate::scenario::{EVENT_KINDS, EventSpec, USER, seconds_after};
use contracts::queue::{FollowUpJob, IncidentReceived, MessageBody};
use domain::event::{Event, Format};
use domain::ids::{EventId, IntegrationId, SHARDS, Scope};
use domain::incident::hash_dedup_key;
use domain::vocabulary::{Kind, Status};
use pipeline::classify::Classify;

/// Shards of the compiled subscriptions that one routing job covers.
const SHARDS_PER_JOB: u16 = SHARDS / 16;

pub(super) fn begin(message: IncidentReceived) -> Classify {
    pipeline::classify::begin(message, SHARDS_PER_JOB)
}

/// The dedup keys of a monitor.
const MONITORED_KEYS: [usize; 2] = [2, 3];

/// The token of the events' source.
pub(super) fn integration() -> IntegrationId {
    IntegrationId::new("monitor")
}

impl World {
    pub(super) fn receive_event(&mut self, spec: &EventSpec) {
        let Some(scope) = self.scope(spec.tenant) else { return };
        let maintenance = EVENT_KINDS[spec.event_kind].1 == Kind::Maintenance;
        // Some keys are a monitor's, which reports a state again and again: the same state is the same event.
        let repeats = MONITORED_KEYS.contains(&spec.key);
        let ends_at = seconds_after(self.now(), spec.lasts * 60);
        let event = Event {
            event_type: event_type(spec.event_kind, spec.key == 0),
            dedup_key: format!("k{}", spec.key),
            severity: spec.severity,
            title: "t".to_owned(),
            user_id: Some(USER.to_owned()),
            status: spec.status,
            components: spec.components.clone(),
            regions: spec.regions.clone(),
            ends_at: (maintenance && spec.status.is_none()).then_some(ends_at),
            ..Event::blank(if repeats { Format::Alertmanager } else { Format::Native }, "monitor")
        };
        let state = if spec.status == Some(Status::Resolved) { "resolved" } else { "firing" };
        let id = repeats.then(|| EventId::derived(&[&event.dedup_key, state]));
        if repeats {
            let key = hash_dedup_key(&scope, &integration(), "monitor", &event.dedup_key);
            self.log.reports.insert(key, Some(event.clone()));
        }
        self.post(scope, MessageBody::Event(Box::new(event)), id);
    }

    pub(super) fn post_operator_update(&mut self, tenant: usize, key: usize, status: Option<Status>) {
        let Some(incident) = self.open_key(tenant, key).and_then(|key| self.table.open_incident(&key).cloned()) else {
            return;
        };
        let (incident_id, key) = (incident.id, incident.key);
        if status == Some(Status::Resolved) {
            self.log.reports.insert(key.clone(), None);
        }
        let body = MessageBody::Update { incident_id, key, status, message: "We know.".to_owned() };
        self.post(incident.scope, body, None);
    }

    /// Intake puts an event on its queue, with the source's id if it has one.
    fn post(&mut self, scope: Scope, body: MessageBody, id: Option<EventId>) {
        self.scheduled += 1;
        let message = IncidentReceived {
            v: 1,
            event_id: id.unwrap_or_else(|| EventId::new(&self.scheduled.to_string())),
            correlation_id: "c".to_owned(),
            accepted_at: self.now(),
            integration_id: integration(),
            scope: Some(scope),
            unroutable: None,
            body,
        };
        self.log.accepted.push((message.event_id.clone(), message.scope.clone()));
        let (group, dedup) = (message.message_group_id(), message.deduplication_id());
        let body = Body::Received(Box::new(message));
        self.send_in_order(body, format!("classify {group}"), format!("classify {dedup}"));
    }

    pub(super) fn perform_classify(&mut self, story: Classify, invocation: &mut Invocation, fate: Fate) -> Classify {
        let turn = &mut invocation.turn;
        match story {
            Classify::Record(step) => {
                let place = (step.message().event_id.clone(), step.scope().cloned());
                let record = self.table.records.get(&place).cloned();
                step.answered(fate.answer(record), &POLICY, turn)
            }
            Classify::Tenant(step) => {
                let known = self.table.tenant(step.tenant()).is_some();
                step.answered(fate.answer(known), &POLICY, turn)
            }
            Classify::Key(step) => {
                let state = self.table.keys.get(step.key()).cloned();
                let open = self.table.open_incident(step.key()).cloned();
                step.answered(fate.answer((state, open)), &POLICY, turn)
            }
            Classify::Incident(step) => {
                let incident = self.table.incidents.get(step.id()).map(|record| record.incident.clone());
                step.answered(fate.answer(incident), &POLICY, turn)
            }
            Classify::Windows(step) => {
                let windows = self.table.maintenance_windows(step.scope());
                step.answered(fate.answer(windows), &POLICY, turn)
            }
            Classify::Commit(step) => {
                // A transaction that meets another one is refused, whatever it writes.
                let conflict = !self.calm() && self.random.once_in(40);
                let written = fate != Fate::Fails && !conflict && self.table.commit(&step);
                if !written && fate == Fate::Done {
                    self.coverage.count("classify.commit: lost");
                }
                step.answered(fate.answer(written), &mut invocation.turn)
            }
            Classify::Emit(step) => {
                // Whoever dies over several jobs has sent some of them.
                let jobs = step.jobs().to_vec();
                for job in jobs {
                    let some = matches!(fate, Fate::DiesAfter | Fate::AnswerLost);
                    if fate == Fate::Fails || some && self.random.once_in(2) {
                        continue;
                    }
                    match job {
                        FollowUpJob::Route(job) => {
                            let (group, dedup) = (job.message_group_id(), job.deduplication_id());
                            let body = Body::Routing(Box::new(job));
                            self.send_in_order(body, format!("route {group}"), format!("route {dedup}"));
                        }
                        // The operators' own tenant is not in the world.
                        FollowUpJob::Receive(_) => {}
                    }
                }
                step.answered(fate.answer(()), &mut invocation.turn)
            }
            Classify::Reminder(_) => panic!("worlds have no reminders"),
            Classify::End(_) => story,
        }
    }

    fn scope(&self, tenant: Option<usize>) -> Option<Scope> {
        let Some(tenant) = tenant else { return Some(Scope::Platform) };
        Some(Scope::Tenant(self.table.tenants.get(tenant)?.settings.tenant.clone()))
    }

    /// The dedup key of a tenant's open incident.
    pub(super) fn open_key(&self, tenant: usize, key: usize) -> Option<String> {
        Some(hash_dedup_key(&self.scope(Some(tenant))?, &integration(), "monitor", &format!("k{key}")))
    }
}
