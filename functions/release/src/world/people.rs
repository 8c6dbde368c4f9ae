//! What people do: stop notifications, and change settings.

use super::*;

impl World {
    pub(super) fn stop_notifications(&mut self, tenant: usize, destination: usize, key_number: usize) {
        let Some(incident) = self.open_incident(tenant, key_number).map(|incident| incident.id.clone()) else { return };
        let subscriber = &self.tenants[tenant];
        let Some((_, destination)) = subscriber.destinations.get(destination) else { return };
        if matches!(destination, Destination::Recipient(_)) {
            let plan_history = self.plan_history.entry((incident, subscriber.settings.tenant.clone())).or_default();
            plan_history.stopped.insert(destination.id().to_owned());
        }
    }

    pub(super) fn change_setting(&mut self, tenant: usize, to: &SettingChange) {
        let now = self.now;
        let Some(subscriber) = self.tenants.get_mut(tenant) else { return };
        let settings = &mut subscriber.settings;
        settings.version += 1;
        match to {
            SettingChange::Zone(zone) => settings.zone = (*zone).to_owned(),
            SettingChange::QuietHours(hours) => settings.quiet_hours.clone_from(hours),
            SettingChange::Storms(storms) => settings.storms = *storms,
            SettingChange::Enabled(category, enabled) => {
                settings.categories.entry(*category).and_modify(|chosen| chosen.enabled = *enabled);
            }
            SettingChange::Muted(category, minutes) => {
                let until = minutes.map(|minutes| seconds_after(now, minutes * 60));
                settings.categories.entry(*category).and_modify(|chosen| chosen.muted_until = until);
            }
            SettingChange::Paused(place, paused) => {
                if let Some((_, Destination::Integration(one))) = subscriber.destinations.get_mut(*place) {
                    one.paused = *paused;
                }
            }
            SettingChange::Digest(place, digest) => {
                if let Some((_, Destination::Recipient(one))) = subscriber.destinations.get_mut(*place) {
                    one.digest.clone_from(digest);
                }
            }
        }
    }
}
