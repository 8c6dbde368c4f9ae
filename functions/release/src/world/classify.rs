//! What `classify` does: turns events and operator updates into incidents and updates.

use super::*;

impl World {
    pub(super) fn receive_event(&mut self, spec: &EventSpec) {
        let Some(scope) = self.scope(spec.tenant) else { return };
        let (category, kind) = EVENT_KINDS[spec.event_kind];
        let maintenance = kind == domain::vocabulary::Kind::Maintenance;
        let event = Event {
            event_type: if maintenance { "maintenance.announced" } else { "x.broken" }.to_owned(),
            dedup_key: format!("k{}", spec.key),
            severity: spec.severity,
            title: "t".to_owned(),
            status: spec.status,
            components: spec.components.clone(),
            regions: spec.regions.clone(),
            ends_at: (maintenance && spec.status.is_none()).then(|| seconds_after(self.now, spec.lasts * 60)),
            ..Event::blank(Format::Native, "monitor")
        };
        let class = RuleMatch {
            category,
            kind,
            rule: "r".to_owned(),
            public: false,
            public_sentence: String::new(),
            low_balance: spec.key == 0,
            warnings: vec![],
        };
        let key = hash_dedup_key(&scope, &integration(), &event.source, &event.dedup_key);
        let id = self.event_id();
        let arrival = EventArrival {
            event_id: &id,
            scope: &scope,
            key: &key,
            integration_id: &integration(),
            correlation_id: "c",
            accepted_at: self.now,
        };
        let remembered = self.keys.get(&key).cloned();
        let open =
            remembered.as_ref().filter(|state| state.open).map(|state| &self.incidents[&state.incident_id].incident);
        let step = apply_event(remembered.as_ref(), open, &event, &class, &arrival);
        let step = apply_maintenance_windows(step, open, &self.maintenance_windows(&scope), self.now);
        let step = record_opening(step, remembered.as_ref(), &POLICY.storms.flapping, self.now);
        self.apply_step(step);
    }

    pub(super) fn post_operator_update(&mut self, tenant: usize, key_number: usize, status: Option<Status>) {
        let Some(incident) = self.open_incident(tenant, key_number).cloned() else { return };
        let (id, integration) = (self.event_id(), integration());
        let arrival = EventArrival {
            event_id: &id,
            scope: &incident.scope,
            key: &incident.key,
            integration_id: &integration,
            correlation_id: "c",
            accepted_at: self.now,
        };
        let step = apply_update(&incident, status, "We know.", &arrival);
        let windows = self.maintenance_windows(&incident.scope);
        self.apply_step(apply_maintenance_windows(step, Some(&incident), &windows, self.now));
    }

    pub(super) fn apply_step(&mut self, step: Transition) {
        let (incident, update) = match step {
            Transition::Open(pair) | Transition::Update(pair) => *pair,
            Transition::Repeat(incident) => {
                if let Some(record) = self.incidents.get_mut(&incident.id) {
                    record.incident = *incident;
                }
                return;
            }
            Transition::Stale | Transition::ResolveWithoutOpen => return,
        };
        let state = KeyState {
            incident_id: incident.id.clone(),
            open: incident.resolved_at.is_none(),
            source_started_at: incident.source_started_at,
            as_of: incident.as_of,
            closed_at: incident.resolved_at,
            openings: incident.openings,
        };
        self.keys.insert(incident.key.clone(), state);
        for tenant in 0..self.tenants.len() {
            let concerns = match &incident.scope {
                Scope::Platform => true,
                Scope::Tenant(whose) => *whose == self.tenants[tenant].settings.tenant,
            };
            if concerns {
                let job = Job::Route { incident: incident.id.clone(), update: update.number, tenant };
                self.schedule_job(self.now.saturating_add(self.lag).unwrap(), job);
            }
        }
        let record = self.incidents.entry(incident.id.clone());
        let record = record.or_insert_with(|| IncidentRecord { incident: incident.clone(), updates: Vec::new() });
        record.incident = incident;
        record.updates.push(update);
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
