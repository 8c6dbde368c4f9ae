//! How keys are spelled. Nobody else spells one.

use domain::ids::{EventId, IncidentId, Scope, TenantId};
use domain::plan::Decision;
use domain::vocabulary::{Category, Channel};
use jiff::Timestamp;

pub(crate) fn tenant(tenant: &TenantId) -> String {
    format!("T#{tenant}")
}

/// Platform-wide things that no tenant owns.
pub(crate) const PLATFORM: &str = "P#";
pub(crate) const SETTINGS: &str = "SETTINGS";

pub(crate) fn recipient(id: &str) -> String {
    format!("RECIPIENT#{id}")
}

pub(crate) fn integration(id: &str) -> String {
    format!("INTEGRATION#{id}")
}

/// How an integration's endpoint fares.
pub(crate) fn health(id: &str) -> String {
    format!("HEALTH#{id}")
}

/// What keeps one address, number or URL from being saved twice in a tenant.
pub(crate) fn address(identity: &str) -> String {
    format!("ADDRESS#{}", domain::ids::digest(&[identity]))
}

/// When an address or number was asked, by whichever tenant.
pub(crate) fn asked(identity: &str) -> String {
    format!("CONFIRM#{identity}")
}

/// How many a tenant asked on a day.
pub(crate) fn asked_on(tenant: &TenantId, day: i64) -> String {
    format!("CONFIRM#{tenant}#{day}")
}

/// What is pending of one recipient on one channel.
pub(crate) fn pending(tenant: &TenantId, recipient: &str, channel: Channel) -> String {
    format!("CONFIRM#{tenant}#{recipient}#{channel}")
}

pub(crate) fn audit(at: Timestamp, nonce: &str) -> String {
    format!("AUDIT#{}#{nonce}", instant(at))
}

/// The sort key of an audit entry from its tail, and the tail from the sort key.
pub(crate) fn audit_after(tail: &str) -> String {
    format!("AUDIT#{tail}")
}

pub(crate) fn audit_tail(sort_key: &str) -> &str {
    sort_key.strip_prefix("AUDIT#").unwrap_or(sort_key)
}

pub(crate) fn seen(at: Timestamp, id: &str) -> String {
    format!("SEEN#{}#{id}", instant(at))
}

/// The sort key of a list entry from its tail, and the tail from the sort key.
pub(crate) fn seen_after(tail: &str) -> String {
    format!("SEEN#{tail}")
}

pub(crate) fn seen_tail(sort_key: &str) -> &str {
    sort_key.strip_prefix("SEEN#").unwrap_or(sort_key)
}

/// Milliseconds since the epoch, zero-padded, so that text order is time order.
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

/// The sort key of an event record: its tenant, `P` for the platform, `-` when nobody could tell.
pub(crate) fn scope(scope: Option<&Scope>) -> String {
    match scope {
        Some(Scope::Tenant(tenant)) => tenant.to_string(),
        Some(Scope::Platform) => "P".to_owned(),
        None => "-".to_owned(),
    }
}

pub(crate) fn idempotency(token: &str, key: &str) -> String {
    format!("IDEM#{}", domain::ids::digest(&[token, key]))
}

/// Whose a source's key is, for formats that later name nothing else.
pub(crate) fn alias(integration: &str, source: &str, dedup_key: &str) -> String {
    format!("ALIAS#{}", domain::ids::digest(&[integration, source, dedup_key]))
}

pub(crate) fn open_key(scope: &Scope, hash: &str) -> String {
    match scope {
        Scope::Platform => format!("KEY#P#{hash}"),
        Scope::Tenant(tenant) => format!("KEY#T#{tenant}#{hash}"),
    }
}

/// The windows of announced work.
pub(crate) fn windows(scope: &Scope) -> String {
    match scope {
        Scope::Platform => "MAINT#P".to_owned(),
        Scope::Tenant(tenant) => format!("MAINT#T#{tenant}"),
    }
}

/// What announced work explains.
pub(crate) fn explained(work: &IncidentId) -> String {
    format!("MAINT#I#{work}")
}

pub(crate) fn explained_of(scope: &Scope, incident: &IncidentId) -> String {
    format!("{}{incident}", explained_to(scope))
}

/// What concerns a scope begins so.
pub(crate) fn explained_to(scope: &Scope) -> String {
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

/// What tells a recipient's stop from the plans that it stands beside.
pub(crate) const STOP: &str = "#STOP#";

/// What tells a revised decision from the plans that it stands beside.
pub(crate) const REVISED: &str = "#REVISED#";

pub(crate) fn revised(tenant: &TenantId, decision: &Decision) -> String {
    let Decision { destination, channel, update, .. } = decision;
    format!("{tenant}{REVISED}{destination}#{channel}#{update:06}")
}

pub(crate) fn stop(tenant: &TenantId, recipient: &str) -> String {
    format!("{tenant}{STOP}{recipient}")
}

pub(crate) fn deliveries(id: &IncidentId, tenant: &TenantId) -> String {
    format!("INC#{id}#{tenant}")
}

pub(crate) fn attempt(row: &str, update: u32, attempt: u32) -> String {
    format!("{row}#ATT#{update:06}#{attempt:02}")
}

pub(crate) fn due(shard: u16) -> String {
    format!("DUE#{shard}")
}

/// Beside the due work of a shard: the run that puts together what comes together. It sorts behind every [`slot`].
pub(crate) const LEASE: &str = "LEASE";

/// Reminders of announced work; few, so they need no shards.
pub(crate) const REMINDERS: &str = "REMIND#";

/// A due slot: the minute, zero-padded.
pub(crate) fn slot(at: Timestamp) -> String {
    format!("{:010}", at.as_second().max(0) / 60)
}

/// The deliveries that a message of SES or SNS was.
pub(crate) fn message(channel: Channel, id: &str) -> String {
    format!("MSG#{}#{id}", if channel == Channel::Sms { "sns" } else { "ses" })
}

pub(crate) fn gate(hash: &str) -> String {
    format!("GATE#{hash}")
}

/// The time that a test sets.
pub(crate) const CLOCK: &str = "CLOCK#";

pub(crate) fn token(hash: &str) -> String {
    format!("TOKEN#{hash}")
}

pub(crate) fn token_of(id: &str) -> String {
    format!("TOKEN#{id}")
}

pub(crate) fn data_key(generation: u32) -> String {
    format!("DATAKEY#{generation}")
}

/// Dead letters of one function on one day.
pub(crate) fn dead(function: &str, day: &str) -> String {
    format!("DEAD#{function}#{day}")
}

/// The public incidents that are open and announced work that is not over, in the status page's index.
pub(crate) const PUBLIC_OPEN: &str = "PUBLIC#OPEN";

/// The other public incidents.
pub(crate) const PUBLIC_INCIDENTS: &str = "PUBLIC#INCIDENTS";

/// A public incident's place among the others: when it was opened, which no sender chooses.
pub(crate) fn public_place(opened: Timestamp, id: &IncidentId) -> String {
    format!("{}#{id}", instant(opened))
}

/// When the incident of a place was opened.
pub(crate) fn opened(place: &str) -> Option<Timestamp> {
    let (instant, _) = place.split_once('#')?;
    Timestamp::from_millisecond(instant.parse().ok()?).ok()
}

/// A public incident's timeline, in the status page's index.
pub(crate) fn public_timeline(id: &IncidentId) -> String {
    format!("PUBLIC#TIMELINE#{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_incidents_place_is_ordered_by_when_it_was_opened_and_says_when() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let place = |second| public_place(at(second), &IncidentId::new("a"));
        assert!(place(999_999_999) < place(1_800_000_000));
        assert_eq!(opened(&place(1_800_000_000)), Some(at(1_800_000_000)));
        assert_eq!(opened("UPDATE#000001"), None);
    }
}
