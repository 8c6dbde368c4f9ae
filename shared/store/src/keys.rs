//! Partition and sort keys of all items. No other module builds a key.

use domain::ids::{EventId, IncidentId, IntegrationId, Scope, SuppressionId, TenantId};
use domain::plan::PlannedShards;
use domain::vocabulary::{Category, Channel};
use jiff::Timestamp;

pub(crate) fn tenant(tenant: &TenantId) -> String {
    format!("T#{tenant}")
}

/// Partition of platform-wide items that no tenant owns.
pub(crate) const PLATFORM: &str = "P#";
pub(crate) const SETTINGS: &str = "SETTINGS";

pub(crate) fn recipient(id: &str) -> String {
    format!("RECIPIENT#{id}")
}

pub(crate) fn integration(id: &str) -> String {
    format!("INTEGRATION#{id}")
}

/// Sort key of the failure count of an integration's endpoint.
pub(crate) fn health(id: &str) -> String {
    format!("HEALTH#{id}")
}

/// Sort key of the lock that keeps an address, number or URL unique within a tenant.
pub(crate) fn address(identity: &str) -> String {
    format!("ADDRESS#{}", domain::ids::short_hash(&[identity]))
}

/// Key of the confirmation requests sent to a contact by all tenants.
pub(crate) fn confirmation_history(identity: &str) -> String {
    format!("CONFIRM#{identity}")
}

/// Key of the number of confirmation requests of a tenant on a day, by one of its counters.
pub(crate) fn confirmations_on_day(tenant: &TenantId, counter: &str, day: i64) -> String {
    format!("CONFIRM#{tenant}#{counter}#{day}")
}

/// Partition of a tenant's tokens that were used after their end.
pub(crate) fn refused_tokens(owner: &TenantId) -> String {
    format!("REFUSED#{owner}")
}

/// Sort key, in the platform's partition, of the names that a tenant wants approved.
pub(crate) fn name_request(tenant: &str) -> String {
    format!("NAMEREQUEST#{tenant}")
}

/// Key of a mailbox's unsubscription from a tenant's mail, by the mailbox's keyed hash.
pub(crate) fn unsubscription(tenant: &TenantId, mailbox: &str) -> String {
    format!("CONFIRM#{tenant}#{mailbox}")
}

/// Key of a recipient's pending confirmation on a channel.
pub(crate) fn pending_confirmation(tenant: &TenantId, recipient: &str, channel: Channel) -> String {
    format!("CONFIRM#{tenant}#{recipient}#{channel}")
}

pub(crate) fn audit(at: Timestamp, nonce: &str) -> String {
    format!("AUDIT#{}#{nonce}", instant(at))
}

/// Rebuilds the sort key of an audit entry from the tail that its cursor holds.
pub(crate) fn audit_from_tail(tail: &str) -> String {
    format!("AUDIT#{tail}")
}

/// Returns what follows the prefix of an audit entry's sort key.
pub(crate) fn audit_tail(sort_key: &str) -> &str {
    sort_key.strip_prefix("AUDIT#").unwrap_or(sort_key)
}

pub(crate) fn list_entry(at: Timestamp, id: &str) -> String {
    format!("SEEN#{}#{id}", instant(at))
}

/// Rebuilds the sort key of a list entry from the tail that its cursor holds.
pub(crate) fn list_entry_from_tail(tail: &str) -> String {
    format!("SEEN#{tail}")
}

/// Returns what follows the prefix of a list entry's sort key.
pub(crate) fn list_entry_tail(sort_key: &str) -> &str {
    sort_key.strip_prefix("SEEN#").unwrap_or(sort_key)
}

/// Formats a time as zero-padded Unix milliseconds, so that text order is time order.
pub(crate) fn instant(at: Timestamp) -> String {
    format!("{:015}", at.as_millisecond().max(0))
}

pub(crate) fn subscriptions(category: Category, shard: u16) -> String {
    format!("SUBS#{category}#{shard:02}")
}

pub(crate) fn chunk(tenant: &TenantId, number: u32) -> String {
    format!("{tenant}#{number:04}")
}

pub(crate) fn event(id: &EventId) -> String {
    format!("EVENT#{id}")
}

/// Sort key of an event record: its tenant, `P` for the platform, `-` if the scope is unknown.
pub(crate) fn scope(scope: Option<&Scope>) -> String {
    match scope {
        Some(Scope::Tenant(tenant)) => tenant.to_string(),
        Some(Scope::Platform) => "P".to_owned(),
        None => "-".to_owned(),
    }
}

pub(crate) fn idempotency(token: &str, key: &str) -> String {
    format!("IDEM#{}", domain::ids::short_hash(&[token, key]))
}

/// Key of the scopes of a source's dedup key, for formats whose later messages carry only the dedup key.
pub(crate) fn alias(integration: &str, source: &str, dedup_key: &str) -> String {
    format!("ALIAS#{}", domain::ids::short_hash(&[integration, source, dedup_key]))
}

pub(crate) fn open_key(scope: &Scope, hash: &str) -> String {
    match scope {
        Scope::Platform => format!("KEY#P#{hash}"),
        Scope::Tenant(tenant) => format!("KEY#T#{tenant}#{hash}"),
    }
}

/// Partition of a scope's maintenance windows.
pub(crate) fn maintenance_windows(scope: &Scope) -> String {
    match scope {
        Scope::Platform => "MAINT#P".to_owned(),
        Scope::Tenant(tenant) => format!("MAINT#T#{tenant}"),
    }
}

/// Partition of the incidents suppressed by a maintenance.
pub(crate) fn suppressed_incidents(maintenance: &IncidentId) -> String {
    format!("MAINT#I#{maintenance}")
}

/// Sort key of a suppressed incident.
pub(crate) fn suppressed_incident(scope: &Scope, incident: &IncidentId) -> String {
    format!("{}{incident}", suppressed_in_scope(scope))
}

/// Sort key prefix of a scope's suppressed incidents.
pub(crate) fn suppressed_in_scope(scope: &Scope) -> String {
    format!("{}#", self::scope(Some(scope)))
}

pub(crate) fn incident(id: &IncidentId) -> String {
    format!("INC#{id}")
}

pub(crate) const HEAD: &str = "HEAD";

pub(crate) fn update(number: u32) -> String {
    format!("UPDATE#{number:06}")
}

pub(crate) fn plan(id: &IncidentId, shard: u16) -> String {
    format!("PLAN#{id}#{shard:02}")
}

pub(crate) fn plan_of(tenant: &TenantId, chunk: u32, update: u32) -> String {
    format!("{tenant}#{chunk:04}#{update:06}")
}

/// Sort key of an interrupted routing job's place, in the partition of its first shard. It sorts after all tenants.
pub(crate) fn routing_place(job: PlannedShards) -> String {
    format!("~PLACE#{:06}", job.update)
}

/// Sort keys of one chunk's plans for a tenant: the first and the last that there can be.
pub(crate) fn plans_of_chunk(tenant: &TenantId, chunk: u32) -> (String, String) {
    (plan_of(tenant, chunk, 0), format!("{tenant}#{chunk:04}#\u{10ffff}"))
}

pub(crate) fn deliveries(id: &IncidentId, tenant: &TenantId) -> String {
    format!("INC#{id}#{tenant}")
}

/// Prefix of the sort keys of failed attempts, in the partition of the deliveries.
const ATTEMPT: &str = "ATTEMPT#";

pub(crate) fn attempt(row: &str, update: u32, attempt: u32) -> String {
    format!("{ATTEMPT}{row}#{update:06}#{attempt:02}")
}

/// Returns the row of a failed attempt's sort key; `None` for another sort key.
pub(crate) fn row_of_attempt(sort_key: &str) -> Option<&str> {
    let (row, _) = sort_key.strip_prefix(ATTEMPT)?.rsplit_once('#')?;
    Some(row.rsplit_once('#')?.0)
}

/// Prefix of the sort keys of stops, in the partition of the deliveries. They sort right before the rows of recipients and chat channels.
pub(crate) const STOP: &str = "STOP#";

/// The last sort key of recipients' and chat channels' rows that there can be.
pub(crate) const THREADS_END: &str = "THREAD#\u{10ffff}";

pub(crate) fn stop(recipient: &str) -> String {
    format!("{STOP}{recipient}")
}

pub(crate) fn due(shard: u16) -> String {
    format!("DUE#{shard}")
}

/// Sort key of a due shard's lease, held by the run that assembles batches. It sorts after all due items, which begin with a digit.
pub(crate) const LEASE: &str = "LEASE";

/// Sort key of the places where a run over several due shards stopped, in the partition of the first of them.
pub(crate) const PLACES: &str = "PLACES";

/// Partition of maintenance reminders. They are few, so they need no shards.
pub(crate) const REMINDERS: &str = "REMIND#";

/// Formats the minute of a due item: Unix minutes, zero-padded.
pub(crate) fn due_minute(at: Timestamp) -> String {
    format!("{:010}", at.as_second().max(0) / 60)
}

/// Partition of the deliveries sent with a message of SES or SNS.
pub(crate) fn message(channel: Channel, id: &str) -> String {
    format!("MSG#{}#{id}", if channel == Channel::Sms { "sns" } else { "ses" })
}

/// Partition of the suppression of an address.
pub(crate) fn suppression(id: &SuppressionId) -> String {
    format!("SUPPRESSED#{id}")
}

/// Sort key of the suppression of an address.
pub(crate) const SUPPRESSED_ADDRESS: &str = "ADDRESS";

/// Partition of a rate limit's state.
pub(crate) fn rate_limit(hash: &str) -> String {
    format!("GATE#{hash}")
}

/// Partition of the test clock.
pub(crate) const CLOCK: &str = "CLOCK#";

pub(crate) fn token(hash: &str) -> String {
    format!("TOKEN#{hash}")
}

pub(crate) fn tenant_token(id: &str) -> String {
    format!("TOKEN#{id}")
}

/// Partition of the tokens that were made with a token of this integration.
pub(crate) fn tokens_issued_by(parent: &IntegrationId) -> String {
    format!("TOKEN#BY#{parent}")
}

/// Sort key of a token among its parent's children.
pub(crate) fn child_token(owner: &TenantId, id: &str) -> String {
    format!("{owner}#{id}")
}

pub(crate) fn data_key(generation: u32) -> String {
    format!("DATAKEY#{generation}")
}

/// Partition of the key of fingerprints.
pub(crate) const LOOKUP_KEY: &str = "DATAKEY#LOOKUP";

/// Sort key of everything below `DATAKEY#`.
pub(crate) const DATA_KEY: &str = "DATAKEY";

/// Partition of the pass that seals the integrations' URLs and secrets again.
pub(crate) const INTEGRATIONS_PASS: &str = "DATAKEY#PASS";

/// Partition of the pass that seals dead letters again. No function is named so, and roles know it by its letter.
pub(crate) const LETTERS_PASS: &str = "DEAD#P#";

/// Partition of a function's dead letters of one day.
pub(crate) fn dead_letters(function: &str, day: &str) -> String {
    format!("DEAD#{function}#{day}")
}

/// Partition of the open public incidents in the status page's index, maintenance that has not ended included.
pub(crate) const PUBLIC_OPEN: &str = "PUBLIC#OPEN";

/// Partition of the other public incidents in the status page's index.
pub(crate) const PUBLIC_INCIDENTS: &str = "PUBLIC#INCIDENTS";

/// Sort key of a public incident: the time at which it was opened, which no sender can choose.
pub(crate) fn public_incident(opened: Timestamp, id: &IncidentId) -> String {
    format!("{}#{id}", instant(opened))
}

/// Returns the opening time in a public incident's sort key.
pub(crate) fn public_incident_opened_at(sort_key: &str) -> Option<Timestamp> {
    let (instant, _) = sort_key.split_once('#')?;
    Timestamp::from_millisecond(instant.parse().ok()?).ok()
}

/// Partition of a public incident's timeline in the status page's index.
pub(crate) fn public_timeline(id: &IncidentId) -> String {
    format!("PUBLIC#TIMELINE#{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_names_its_row_and_no_other_key_does() {
        let row = domain::delivery::delivery_row_key("rcp_a", Channel::Email, 2);
        assert_eq!(row_of_attempt(&attempt(&row, 2, 1)), Some(row.as_str()));
        assert_eq!((row_of_attempt(&row), row_of_attempt(&stop("rcp_a"))), (None, None));
        assert!(STOP < row.as_str() && row.as_str() < THREADS_END);
        assert!(attempt(&row, 2, 1).as_str() < STOP, "a read of stops and rows leaves the attempts out");
        assert!(domain::delivery::delivery_row_key("int_a", Channel::Webhook, 2).as_str() < STOP, "and the webhooks");
    }

    #[test]
    fn public_incidents_sort_by_opening_time_and_their_key_holds_it() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let key = |second| public_incident(at(second), &IncidentId::new("a"));
        assert!(key(999_999_999) < key(1_800_000_000));
        assert_eq!(public_incident_opened_at(&key(1_800_000_000)), Some(at(1_800_000_000)));
        assert_eq!(public_incident_opened_at("UPDATE#000001"), None);
    }
}
