//! Recipients, what was sent with a provider's message, suppressions, and confirmation requests.

use super::{RowKey, SimulatedTable};
use domain::contact::{
    ConfirmationCounter, PendingConfirmation, SentConfirmation, SilencedContact, next_confirmation_at,
    record_confirmation, utc_day,
};
use domain::delivery::{ProviderFeedback, ProviderMessage, RowWrite, SentMessage};
use domain::ids::{RecipientId, SuppressionId, TenantId};
use domain::policy::ConfirmationLimits;
use domain::suppression::AddressSuppression;
use domain::tenant::{Destination, Email, Recipient};
use domain::vocabulary::Channel;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Where a recipient's pending confirmation is.
pub type PendingKey = (TenantId, RecipientId, Channel);

/// What the table knows about contacts.
#[derive(Clone, Debug, Default)]
pub struct ContactItems {
    /// What was sent with each provider's message, and when that was noted first, in milliseconds.
    pub messages: BTreeMap<(Channel, String), (i64, BTreeMap<String, SentMessage>)>,
    /// The suppressed addresses.
    pub suppressions: BTreeMap<SuppressionId, AddressSuppression>,
    /// The latest confirmation request of each recipient.
    pub pending: BTreeMap<PendingKey, PendingConfirmation>,
    history: BTreeMap<String, Vec<SentConfirmation>>,
    counts: BTreeMap<(TenantId, String, i64), u32>,
}

impl SimulatedTable {
    /// A recipient.
    #[must_use]
    pub fn recipient(&self, tenant: &TenantId, id: &RecipientId) -> Option<&Recipient> {
        let destinations = self.tenant(tenant)?.destinations.iter();
        destinations.map(|(_, one)| one).find_map(|one| match one {
            Destination::Recipient(one) if one.id == *id => Some(&**one),
            _ => None,
        })
    }

    /// Changes a recipient.
    pub fn change_recipient(&mut self, tenant: &TenantId, id: &RecipientId, change: impl FnOnce(&mut Recipient)) {
        let subscriber = self.tenants.iter_mut().find(|one| one.settings.tenant == *tenant);
        let destinations = subscriber.into_iter().flat_map(|one| &mut one.destinations).map(|(_, one)| one);
        let found = destinations.filter_map(|one| match one {
            Destination::Recipient(one) if one.id == *id => Some(&mut **one),
            _ => None,
        });
        if let Some(recipient) = found.into_iter().next() {
            change(recipient);
            recipient.version += 1;
        }
    }

    /// Suppresses a recipient's contact. Returns whether that changed anything.
    pub fn suppress_contact(&mut self, tenant: &TenantId, id: &RecipientId, silenced: &SilencedContact) -> bool {
        let Some(mut after) = self.recipient(tenant, id).cloned() else { return false };
        let changed = silenced.suppress(tenant, &mut after);
        if changed {
            self.change_recipient(tenant, id, |recipient| *recipient = after);
        }
        changed
    }

    /// Notes what was sent with a provider's message.
    pub fn name_message(&mut self, channel: Channel, id: &str, what: SentMessage, now_ms: i64) {
        let place = match &what {
            SentMessage::Delivery(message) => format!("{}#{}#{}", message.incident_id, message.tenant, message.row),
            SentMessage::Confirmation(_) => "CONFIRMATION".to_owned(),
        };
        let of_message = self.contacts.messages.entry((channel, id.to_owned()));
        of_message.or_insert_with(|| (now_ms, BTreeMap::new())).1.insert(place, what);
    }

    /// What was sent with a provider's message.
    #[must_use]
    pub fn sent_with(&self, channel: Channel, id: &str) -> Vec<SentMessage> {
        let found = self.contacts.messages.get(&(channel, id.to_owned()));
        found.into_iter().flat_map(|(_, all)| all.values().cloned()).collect()
    }

    /// Records a provider's report on the row of a delivery.
    pub fn record_report(&mut self, message: &ProviderMessage, feedback: &ProviderFeedback) {
        // One that does not count changes nothing.
        drop(self.apply(row_of(message), &RowWrite::Report { feedback }));
    }

    /// Suppresses an address for every tenant.
    pub fn suppress_address(&mut self, id: &SuppressionId, suppression: &AddressSuppression) {
        let suppressions = &mut self.contacts.suppressions;
        match suppressions.get(id) {
            None => drop(suppressions.insert(id.clone(), suppression.clone())),
            Some(before) => {
                if let Some(after) = before.replaced_by(suppression) {
                    suppressions.insert(id.clone(), after);
                }
            }
        }
    }

    /// Why nothing is sent to an address.
    #[must_use]
    pub fn address_suppression(&self, address: &Email) -> Option<&AddressSuppression> {
        self.contacts.suppressions.get(&SuppressionId::of(address))
    }

    /// Counts a confirmation request against the limits of its contact and of the day, unless one is used up. Returns whether it may be sent.
    pub fn count_request(
        &mut self,
        tenant: &TenantId,
        recipient: &RecipientId,
        contact: &str,
        domain: Option<&str>,
        limits: &ConfirmationLimits,
        now: Timestamp,
    ) -> bool {
        let items = &mut self.contacts;
        let sent = items.history.entry(contact.to_owned()).or_default();
        if next_confirmation_at(sent, tenant, limits, now).is_some() {
            return false;
        }
        let (day, _) = utc_day(now);
        let counters = [
            ConfirmationCounter::Recipient(recipient),
            ConfirmationCounter::Token("admin"),
            ConfirmationCounter::Tenant,
        ];
        for counter in domain.map(ConfirmationCounter::Domain).into_iter().chain(counters) {
            let count = items.counts.entry((tenant.clone(), counter.key(), day)).or_default();
            if *count >= counter.limit(limits) {
                return false;
            }
            *count += 1;
        }
        *sent = record_confirmation(sent, tenant, now);
        true
    }

    /// Records why the provider refused a confirmation request, unless a newer request has replaced it.
    pub fn refuse_request(&mut self, place: &PendingKey, identity: &str, cause: &str) {
        let pending = self.contacts.pending.get_mut(place).filter(|pending| pending.identity == identity);
        if let Some(pending) = pending {
            pending.refused = Some(cause.to_owned());
        }
    }
}

/// Where the row of a delivery is that was sent with a provider's message.
#[must_use]
pub fn row_of(message: &ProviderMessage) -> RowKey {
    (message.tenant.clone(), message.incident_id.clone(), message.row.clone())
}
