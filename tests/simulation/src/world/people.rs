//! What people do: stop notifications, and change settings.

use super::World;
use crate::scenario::{SettingChange, seconds_after};
use domain::tenant::Destination;
use domain::vocabulary::Channel;

impl World {
    pub(super) fn stop_notifications(&mut self, tenant: usize, destination: usize, key: usize) {
        let incident = self.open_key(tenant, key).and_then(|key| Some(self.table.open_incident(&key)?.id.clone()));
        let (Some(incident), Some(subscriber)) = (incident, self.table.tenants.get(tenant)) else { return };
        let Some((_, destination)) = subscriber.destinations.get(destination) else { return };
        if matches!(destination, Destination::Recipient(_)) {
            let (id, place) = (destination.id().to_owned(), (incident, subscriber.settings.tenant.clone()));
            self.table.stopped.entry(place).or_default().insert(id);
        }
    }

    pub(super) fn change_setting(&mut self, tenant: usize, to: &SettingChange) {
        let now = self.now();
        let Some(subscriber) = self.table.tenants.get_mut(tenant) else { return };
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
            SettingChange::Phone(place, phone) => {
                let tenant = subscriber.settings.tenant.clone();
                if let Some((_, Destination::Recipient(one))) = subscriber.destinations.get_mut(*place)
                    && one.phone != *phone
                {
                    (one.phone, one.sms_opted_out) = (phone.clone(), None);
                    let id = one.id.clone();
                    self.end_spell(&tenant, &id, Channel::Sms);
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
