//! Groups due entries into digests (by schedule) and bundles (by rate limit or storm protection): pure.

use super::decide::{delay_seconds, is_batched_hold};
use domain::due::{DueGroup, DueItem};
use domain::reason::Reason;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Which message a batched entry belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchKey {
    /// Minute, tenant, destination and channel.
    pub(crate) group: DueGroup,
    /// True for a bundle, false for a digest.
    pub(crate) storm: bool,
}

impl BatchKey {
    pub(crate) fn of(item: &DueItem) -> Self {
        Self { group: item.group(), storm: is_bundled(item) }
    }
}

/// The digests and bundles that a run has sent.
pub(crate) type SentBatches = BTreeSet<BatchKey>;

/// Whether an entry is sent together with others, in a digest or a bundle.
#[must_use]
pub fn is_batched(item: &DueItem) -> bool {
    item.due.held.is_some_and(is_batched_hold)
}

/// Whether an entry belongs to a bundle: it was over a rate limit or a storm limit.
fn is_bundled(item: &DueItem) -> bool {
    item.due.held.is_some_and(|hold| hold.reason == Reason::Throttled)
}

/// Whether an entry is only counted in a batch that was sent already, because that was full. A bundle never omits critical openings and
/// resolves; a digest names ten alerts of any kind.
pub(crate) fn is_counted_only(item: &DueItem, sent_batches: &SentBatches) -> bool {
    let always_named = is_bundled(item) && item.due.held.is_some_and(|hold| hold.always_listed);
    is_batched(item) && !always_named && sent_batches.contains(&BatchKey::of(item))
}

/// Returns the queue delay of a batch, in seconds: until the last of its entries is due, so that none is sent early.
pub(crate) fn batch_delay_seconds(items: &[DueItem], now: Timestamp) -> u16 {
    items.iter().map(|item| delay_seconds(&item.due, now)).max().unwrap_or(0)
}

/// Cuts off the beginning of a batch that may continue on the next page, so that it is not split into two messages: the next page then
/// begins with it. A page that consists of one batch is returned whole, because a batch is not larger than a page.
pub(crate) fn without_partial_batch(mut items: Vec<DueItem>, next: Option<String>) -> (Vec<DueItem>, Option<String>) {
    if next.is_none() {
        return (items, next);
    }
    let Some(last) = items.last() else { return (items, next) };
    let mut of_last_group = items.iter().filter(|item| item.group() == last.group());
    if !of_last_group.any(is_batched) {
        return (items, next);
    }
    let begin = items.iter().position(|item| item.group() == last.group()).unwrap_or(0);
    match begin.checked_sub(1).and_then(|before| items.get(before)).map(|item| item.place().to_owned()) {
        Some(before) => {
            items.truncate(begin);
            (items, Some(before))
        }
        None => (items, next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::due::{Hold, ScheduledDelivery};
    use domain::ids::{IncidentId, TenantId};

    fn items(destinations: &[(&str, bool)]) -> Vec<DueItem> {
        let item = |(number, (destination, batched)): (usize, &(&str, bool))| {
            let hold = Hold { since: Timestamp::UNIX_EPOCH, reason: Reason::Digest, always_listed: false };
            DueItem::new(
                ScheduledDelivery {
                    at: Timestamp::UNIX_EPOCH,
                    tenant: TenantId::parse("acme").unwrap(),
                    destination: (*destination).to_owned(),
                    channel: domain::vocabulary::Channel::Email,
                    incident_id: IncidentId::new("a"),
                    update: 1,
                    attempt: 1,
                    plain: false,
                    role: None,
                    held: batched.then_some(hold),
                    held_before: None,
                    omitted_count: 0,
                    rebatched: false,
                    resend_requested: false,
                },
                0,
                &format!("202611231200#acme#{destination}#email#inc_{number}#000001"),
                "1",
            )
        };
        destinations.iter().enumerate().map(item).collect()
    }

    #[test]
    fn a_batch_is_delayed_until_its_last_entry_is_due() {
        let mut all = items(&[("rcp_a", true), ("rcp_a", true), ("rcp_a", true)]);
        all[1].due.at = Timestamp::from_second(34).unwrap();
        assert_eq!(batch_delay_seconds(&all, Timestamp::UNIX_EPOCH), 34);
        assert_eq!(batch_delay_seconds(&all, Timestamp::from_second(60).unwrap()), 0);
    }

    fn cut(destinations: &[(&str, bool)], has_next_page: bool) -> (usize, Option<String>) {
        let all = items(destinations);
        let next = has_next_page.then(|| all.last().unwrap().place().to_owned());
        let (items, next) = without_partial_batch(all, next);
        (items.len(), next)
    }

    #[test]
    fn a_batch_is_not_split_at_the_end_of_a_page() {
        let two = [("rcp_a", true), ("rcp_a", true), ("rcp_b", true), ("rcp_b", true)];
        assert_eq!(cut(&two, false), (4, None), "the last page is kept whole");
        let (kept, next) = cut(&two, true);
        assert_eq!(
            (kept, next.unwrap().contains("rcp_a#email#inc_1#")),
            (2, true),
            "the second batch may continue on the next page"
        );
        assert_eq!(cut(&[("rcp_a", true), ("rcp_b", false)], true).0, 2, "an entry that is not batched is kept");
        let mixed = [("rcp_a", true), ("rcp_b", true), ("rcp_b", false)];
        assert_eq!(
            cut(&mixed, true).0,
            1,
            "the batch is cut off even if the page ends with a single entry of the same group"
        );
        assert_eq!(
            cut(&[("rcp_a", true), ("rcp_a", true)], true).0,
            2,
            "a batch that fills the page has its maximum size"
        );
    }
}
