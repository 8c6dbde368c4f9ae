//! What holds in every world.
//!
//! | Module | Has |
//! |---|---|
//! | [`safety`] | what holds whatever fails: nothing is lost, nothing is sent twice, nobody sends without a claim |
//! | [`contacts`] | what holds about contacts: suppressions, reports, questions |
//! | [`promises`] | what tenants are promised: who is notified, when, and how often |
//! | [`wall_clock`] | quiet hours and the regulatory SMS window, computed a second time |

pub mod contacts;
pub mod promises;
pub mod safety;
pub mod wall_clock;

use crate::table::{DeliveryKey, End};
use crate::world::{SentRecord, World};
use domain::plan::{Decision, DecisionOutcome, StoredPlan};
use domain::reason::Reason;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What a check says.
pub type Checked = Result<(), String>;

/// Checks a world that ran to its end.
///
/// # Errors
/// What does not hold.
pub fn all(world: &World) -> Checked {
    let seen = Seen::of(world);
    safety::all(world, &seen)?;
    promises::all(world, &seen)?;
    contacts::all(world, &seen)
}

/// Everything that was planned and happened, by delivery.
pub(crate) struct Seen<'a> {
    /// The planned decisions, each with its plan.
    decisions: BTreeMap<DeliveryKey, (&'a StoredPlan, &'a Decision)>,
    /// The first acceptance of each.
    sent: BTreeMap<&'a DeliveryKey, &'a SentRecord>,
    /// How each ended, if it did.
    ends: BTreeMap<&'a DeliveryKey, &'a End>,
}

impl<'a> Seen<'a> {
    fn of(world: &'a World) -> Self {
        let mut decisions = BTreeMap::new();
        for ((incident, tenant), plans) in &world.table.plans {
            for plan in plans {
                for one in &plan.decisions {
                    let thread = crate::table::Thread {
                        tenant: tenant.clone(),
                        incident: incident.clone(),
                        destination: one.destination.clone(),
                        channel: one.channel,
                    };
                    decisions.insert(DeliveryKey { thread, update: one.update }, (plan, one));
                }
            }
        }
        let mut sent = BTreeMap::new();
        for one in &world.log.sent {
            sent.entry(&one.key).or_insert(one);
        }
        let ends = world.table.ends.iter().filter_map(|(key, ends)| Some((key, ends.last()?))).collect();
        Self { decisions, sent, ends }
    }

    /// The reason for which a delivery ended without being accepted.
    fn reason(&self, key: &DeliveryKey) -> Option<Reason> {
        self.ends.get(key).and_then(|end| end.outcome.err())
    }

    /// Whether a bundle counted a delivery without naming it.
    fn is_counted(&self, key: &DeliveryKey) -> bool {
        self.reason(key) == Some(Reason::StormCollapsed)
    }

    /// Whether a bundle had counted a delivery without naming it at this time.
    fn was_counted_by(&self, key: &DeliveryKey, at: Timestamp) -> bool {
        self.is_counted(key) && self.ends.get(key).is_some_and(|end| end.at <= at.as_millisecond())
    }

    /// Whether a delivery was given up after attempts.
    fn is_given_up(&self, key: &DeliveryKey) -> bool {
        self.ends.get(key).is_some_and(|end| end.by_sender && end.outcome.is_err())
    }
}

fn is_skip(decision: &Decision) -> bool {
    matches!(decision.outcome, DecisionOutcome::Skip { .. })
}

/// Whether a delivery's thread was planned and released without delay or repetition.
fn is_released_in_time(world: &World, key: &DeliveryKey) -> bool {
    let plan = (key.thread.incident.clone(), key.thread.tenant.clone());
    !world.log.disturbed_releases.contains(&key.thread) && !world.log.disturbed_plans.contains(&plan)
}

/// Whether no function delayed or repeated anything of a delivery's thread.
fn is_undisturbed(world: &World, key: &DeliveryKey) -> bool {
    is_released_in_time(world, key) && !world.log.disturbed.contains(&key.thread)
}

/// Whether nothing at all delayed anything of a delivery's thread, not even its receiver: only then is it expected to be in time.
fn is_in_time(world: &World, key: &DeliveryKey) -> bool {
    is_undisturbed(world, key) && !world.log.slowed.contains(&key.thread)
}
