//! Which updates a tenant still needs planned, and which decisions are enqueued.

use domain::plan::{Decision, StoredPlan};
use std::collections::BTreeMap;

/// Returns the newest update for which every chunk has a plan; 0 if nothing was planned. `update` is the update of the job.
///
/// A chunk without any plan, beside chunks that have some, is new. It is planned from `update` on, so that
/// its destinations get no old updates.
pub(super) fn last_planned(chunks: impl Iterator<Item = u32>, earlier: &[StoredPlan], update: u32) -> u32 {
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

/// Returns the decisions to enqueue. `stored` are those of earlier runs, `fresh` those of this one.
///
/// Stored decisions are enqueued again only if an earlier run may have died before it enqueued them: the queue delivers the job
/// again, or (for a redriven job) nothing was left to plan. Otherwise most of them were delivered long ago, and claiming them again
/// would cost more with every update.
pub(super) fn decisions_to_enqueue(stored: Vec<Decision>, fresh: Vec<Decision>, redelivered: bool) -> Vec<Decision> {
    let enqueue_stored = redelivered || fresh.is_empty();
    if enqueue_stored { stored.into_iter().chain(fresh).collect() } else { fresh }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::TenantId;
    use domain::plan::DecisionOutcome;
    use domain::vocabulary::Channel;

    fn plan(chunk: u32, update: u32) -> StoredPlan {
        StoredPlan {
            tenant: TenantId::parse("acme").unwrap(),
            chunk,
            update,
            at: "2026-11-23T10:00:00Z".parse().unwrap(),
            settings_version: 1,
            decisions: vec![],
            carried: vec![],
        }
    }

    #[test]
    fn a_tenant_is_planned_from_its_last_complete_plan_on() {
        let last = |chunks: &[u32], plans: &[StoredPlan], update| last_planned(chunks.iter().copied(), plans, update);
        assert_eq!(last(&[0], &[], 3), 0, "nothing was planned, so everything is left");
        assert_eq!(last(&[0], &[plan(0, 1), plan(0, 2)], 3), 2);
        assert_eq!(last(&[0, 1], &[plan(0, 3), plan(1, 2)], 3), 2, "an earlier run died between two chunks");
        assert_eq!(last(&[0, 1], &[plan(0, 2)], 3), 2, "a new chunk is planned from this update on");
        assert_eq!(last(&[0], &[plan(0, 3)], 3), 3, "a repeated run plans nothing");
    }

    #[test]
    fn stored_decisions_are_enqueued_again_only_if_a_run_may_have_died() {
        let decision = |update| Decision {
            destination: "rcp-1".to_owned(),
            channel: Channel::Email,
            update,
            outcome: DecisionOutcome::Deliver { role: None },
            last_sent: None,
        };
        let updates = |decisions: Vec<Decision>| decisions.iter().map(|decision| decision.update).collect::<Vec<_>>();
        let stored = || vec![decision(1), decision(2)];
        assert_eq!(updates(decisions_to_enqueue(stored(), vec![decision(3)], false)), [3]);
        assert_eq!(updates(decisions_to_enqueue(stored(), vec![decision(3)], true)), [1, 2, 3]);
        assert_eq!(
            updates(decisions_to_enqueue(stored(), vec![], false)),
            [1, 2],
            "a redriven job starts with a receive count of one"
        );
    }
}
