//! Where a platform-wide job stands, and from which update a tenant still has to be planned: pure.

use domain::ids::TenantId;
use domain::plan::Decision;
use std::collections::BTreeMap;
use store::plans::StoredPlan;

/// A place in the subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) shard: u16,
    pub(crate) after: Option<TenantId>,
}

/// The place after a page: further in the shard, or the next shard's beginning.
pub(crate) fn advance(cursor: Cursor, next: Option<TenantId>) -> Cursor {
    match next {
        Some(after) => Cursor { after: Some(after), ..cursor },
        None => Cursor { shard: cursor.shard + 1, after: None },
    }
}

/// The newest update that every chunk has a plan of. A chunk without any plan beside chunks that have one is new: it is
/// planned from the update at hand on, so that nobody is told an old story. `update` is the one at hand.
pub(crate) fn last_planned(chunks: impl Iterator<Item = u32>, earlier: &[StoredPlan], update: u32) -> u32 {
    let mut planned: BTreeMap<u32, u32> = BTreeMap::new();
    for plan in earlier {
        let newest = planned.entry(plan.chunk).or_default();
        *newest = (*newest).max(plan.update);
    }
    let any = planned.values().copied().max();
    chunks
        .map(|chunk| match (planned.get(&chunk), any) {
            (Some(newest), _) => *newest,
            (None, Some(_)) => update.saturating_sub(1),
            (None, None) => 0,
        })
        .min()
        .unwrap_or(update)
}

/// What is put on the queues. `stored` was planned by earlier runs: most of it is long delivered, and a claim for each of an
/// incident's updates at every further one would cost more with every update. It is given out again only where a run before
/// this one may have died in between: the queue delivers the job once more, or (a redriven job) nothing was left to plan.
pub(crate) fn given_out(stored: Vec<Decision>, fresh: Vec<Decision>, redelivered: bool) -> Vec<Decision> {
    let again = redelivered || fresh.is_empty();
    if again { stored.into_iter().chain(fresh).collect() } else { fresh }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::plan::Outcome;
    use domain::vocabulary::Channel;

    fn plan(chunk: u32, update: u32) -> StoredPlan {
        StoredPlan {
            tenant: TenantId::parse("acme").unwrap(),
            chunk,
            update,
            at: "2026-11-23T10:00:00Z".parse().unwrap(),
            settings_version: 1,
            decisions: vec![],
        }
    }

    #[test]
    fn what_is_left_to_plan() {
        let last = |chunks: &[u32], plans: &[StoredPlan], update| last_planned(chunks.iter().copied(), plans, update);
        assert_eq!(last(&[0], &[], 3), 0, "nothing was planned: everything is");
        assert_eq!(last(&[0], &[plan(0, 1), plan(0, 2)], 3), 2);
        assert_eq!(last(&[0, 1], &[plan(0, 3), plan(1, 2)], 3), 2, "a crash between two chunks");
        assert_eq!(last(&[0, 1], &[plan(0, 2)], 3), 2, "a new chunk hears of the update at hand");
        assert_eq!(last(&[0], &[plan(0, 3)], 3), 3, "a re-run plans nothing");
    }

    #[test]
    fn earlier_updates_are_given_out_again_only_where_a_run_may_have_died() {
        let decision = |update| Decision {
            destination: "rcp-1".to_owned(),
            channel: Channel::Email,
            update,
            outcome: Outcome::Deliver { role: None },
        };
        let updates = |decisions: Vec<Decision>| decisions.iter().map(|decision| decision.update).collect::<Vec<_>>();
        let stored = || vec![decision(1), decision(2)];
        assert_eq!(updates(given_out(stored(), vec![decision(3)], false)), [3]);
        assert_eq!(updates(given_out(stored(), vec![decision(3)], true)), [1, 2, 3]);
        assert_eq!(updates(given_out(stored(), vec![], false)), [1, 2], "a redriven job counts its receives anew");
    }

    #[test]
    fn pages_follow_each_other() {
        let acme = TenantId::parse("acme").ok();
        let start = Cursor { shard: 4, after: None };
        let further = advance(start, acme.clone());
        assert_eq!(further, Cursor { shard: 4, after: acme });
        assert_eq!(advance(further, None), Cursor { shard: 5, after: None });
    }
}
