//! Runs the story of `classify` on the world. The function may die between any two effects; then its queue delivers the message again.

use super::*;
use contracts::queue::{FollowUpJob, IncidentReceived, MessageBody, RoutingTarget};
use pipeline::classify::{Classify, Commit, begin};
use pipeline::{Turn, Verdict};

/// Shards of the compiled subscriptions that one routing job covers: all, so that every update has one job.
const SHARDS_PER_JOB: u16 = domain::ids::SHARDS;

impl World {
    pub(super) fn receive_event(&mut self, spec: &EventSpec) {
        let Some(scope) = self.scope(spec.tenant) else { return };
        let (_, kind) = EVENT_KINDS[spec.event_kind];
        let maintenance = kind == domain::vocabulary::Kind::Maintenance;
        let event = Event {
            event_type: event_type(spec.event_kind, spec.key == 0),
            dedup_key: format!("k{}", spec.key),
            severity: spec.severity,
            title: "t".to_owned(),
            status: spec.status,
            components: spec.components.clone(),
            regions: spec.regions.clone(),
            ends_at: (maintenance && spec.status.is_none()).then(|| seconds_after(self.now, spec.lasts * 60)),
            ..Event::blank(Format::Native, "monitor")
        };
        self.receive(scope, MessageBody::Event(Box::new(event)));
    }

    pub(super) fn post_operator_update(&mut self, tenant: usize, key_number: usize, status: Option<Status>) {
        let Some(incident) = self.open_incident(tenant, key_number).cloned() else { return };
        let (incident_id, key) = (incident.id, incident.key);
        let body = MessageBody::Update { incident_id, key, status, message: "We know.".to_owned() };
        self.receive(incident.scope, body);
    }

    fn receive(&mut self, scope: Scope, body: MessageBody) {
        let message = IncidentReceived {
            v: 1,
            event_id: self.event_id(),
            correlation_id: "c".to_owned(),
            accepted_at: self.now,
            integration_id: integration(),
            scope: Some(scope),
            unroutable: None,
            body,
        };
        // Now and then a finished message comes again.
        while !self.run_classify(&message) || self.fault_strikes(8) {}
    }

    /// Runs the story once. Returns whether it came to its end.
    fn run_classify(&mut self, message: &IncidentReceived) -> bool {
        let mut turn = Turn {
            now: self.now,
            left: std::time::Duration::from_secs(20),
            receives: 1,
            lane: contracts::queue::Lane::Urgent,
            jitter: 0.5,
            token: String::new(),
            counted: Vec::new(),
        };
        let mut story = begin(message.clone(), SHARDS_PER_JOB);
        loop {
            story = match story {
                Classify::End(Verdict::Delete) => return true,
                Classify::End(verdict) => panic!("{verdict:?} of {message:?}"),
                _ if self.fault_strikes(30) => return false,
                step => self.perform_classify(step, &mut turn),
            };
        }
    }

    fn perform_classify(&mut self, story: Classify, turn: &mut Turn) -> Classify {
        match story {
            Classify::Record(step) => {
                let place = (step.message().event_id.clone(), step.scope().cloned());
                let record = self.records.get(&place).cloned();
                step.answered(Ok(record), &POLICY, turn)
            }
            Classify::Tenant(step) => {
                let known = self.tenants.iter().any(|one| one.settings.tenant == *step.tenant());
                step.answered(Ok(known), &POLICY, turn)
            }
            Classify::Key(step) => {
                let state = self.keys.get(step.key()).cloned();
                let open = state.as_ref().filter(|state| state.open);
                let open = open.map(|state| self.incidents[&state.incident_id].incident.clone());
                step.answered(Ok((state, open)), &POLICY, turn)
            }
            Classify::Incident(step) => {
                let incident = self.incidents.get(step.id()).map(|record| record.incident.clone());
                step.answered(Ok(incident), &POLICY, turn)
            }
            Classify::Windows(step) => {
                let windows = self.maintenance_windows(step.scope());
                step.answered(Ok(windows), &POLICY, turn)
            }
            Classify::Commit(step) => {
                self.commit(&step);
                step.answered(Ok(true), turn)
            }
            Classify::Emit(step) => {
                for job in step.jobs() {
                    // The operators' own tenant is not in the world.
                    let FollowUpJob::Route(job) = job else { continue };
                    // A FIFO queue drops what it had within five minutes.
                    if !self.emitted.insert(job.deduplication_id()) {
                        continue;
                    }
                    for tenant in 0..self.tenants.len() {
                        let concerns = match &job.route {
                            RoutingTarget::Shards { .. } => true,
                            RoutingTarget::Tenant(whose) => *whose == self.tenants[tenant].settings.tenant,
                        };
                        if concerns {
                            let job = Job::Route { incident: job.incident_id.clone(), update: job.update, tenant };
                            self.schedule_job(self.now.saturating_add(self.lag).unwrap(), job);
                        }
                    }
                }
                step.answered(Ok(()), turn)
            }
            Classify::Reminder(_) => panic!("worlds have no reminders"),
            Classify::End(_) => story,
        }
    }

    /// Writes a decision in one transaction.
    fn commit(&mut self, step: &Commit) {
        let decision = step.decision();
        let record = decision.record.clone();
        self.records.insert((record.event_id.clone(), record.scope.clone()), record);
        if let Some((hash, state)) = &decision.early_resolve {
            self.keys.insert(hash.clone(), state.clone());
        }
        let Some((incident, _)) = &decision.head else { return };
        let state = KeyState {
            incident_id: incident.id.clone(),
            open: incident.resolved_at.is_none(),
            source_started_at: incident.source_started_at,
            as_of: incident.as_of,
            closed_at: incident.resolved_at,
            openings: incident.openings,
        };
        self.keys.insert(incident.key.clone(), state);
        let record = self.incidents.entry(incident.id.clone());
        let record = record.or_insert_with(|| IncidentRecord { incident: incident.clone(), updates: Vec::new() });
        record.incident = incident.clone();
        record.updates.extend(decision.update.clone());
    }

    pub(super) fn scope(&self, tenant: Option<usize>) -> Option<Scope> {
        let Some(tenant) = tenant else { return Some(Scope::Platform) };
        Some(Scope::Tenant(self.tenants.get(tenant)?.settings.tenant.clone()))
    }

    pub(super) fn open_incident(&self, tenant: usize, key_number: usize) -> Option<&Incident> {
        let key = hash_dedup_key(&self.scope(Some(tenant))?, &integration(), "monitor", &format!("k{key_number}"));
        let state = self.keys.get(&key).filter(|state| state.open)?;
        Some(&self.incidents.get(&state.incident_id)?.incident)
    }

    pub(super) fn maintenance_windows(&self, scope: &Scope) -> Vec<MaintenanceWindow> {
        let reaches = |incident: &&Incident| incident.scope == Scope::Platform || incident.scope == *scope;
        self.incidents
            .values()
            .map(|record| &record.incident)
            .filter(reaches)
            .filter_map(Incident::maintenance_window)
            .collect()
    }

    pub(super) fn event_id(&mut self) -> EventId {
        self.number += 1;
        EventId::new(&self.number.to_string())
    }
}
