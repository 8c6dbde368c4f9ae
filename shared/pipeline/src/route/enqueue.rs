//! The messages of a page, built and sent a few at a time: each carries a copy of the update.

use super::tenant::{Planned, SentNow};
use super::{Route, RoutingPlace, RoutingRun, after_page, hold};
use crate::turn::{Answer, Turn, Verdict};
use contracts::queue::{Delivery, Lane};
use domain::ids::{Scope, TenantId};
use domain::vocabulary::Channel;
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;

/// Most deliveries that are built and sent at once.
const ENQUEUED_MAX: usize = 100;
/// Most bytes of the messages that are built and sent at once, as JSON. In memory they take several times as much.
pub(super) const ENQUEUED_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a message besides its update's texts and data.
const MESSAGE_BYTES: usize = 4 * 1024;

/// Messages are built only if at least this much time is left; otherwise the job comes again and goes on after the last tenant that is done.
const ENQUEUE_RESERVE: Duration = Duration::from_secs(8);

/// Puts some deliveries on their queues.
#[derive(Debug)]
pub struct EnqueuePlanned {
    run: RoutingRun,
    deliveries: Vec<Delivery>,
    /// The last tenant that is done when they are on their queues; `None` if no further one is.
    done: Option<TenantId>,
    /// What is still to be built and sent.
    tenants: VecDeque<SentNow>,
    next: Option<RoutingPlace>,
}

/// Goes on with the next messages of a page: as many as fit into [`ENQUEUED_BYTES_MAX`], for every one carries a copy of the update.
pub(super) fn enqueue(
    run: RoutingRun,
    mut tenants: VecDeque<SentNow>,
    next: Option<RoutingPlace>,
    turn: &Turn,
) -> Route {
    if turn.left < ENQUEUE_RESERVE && !tenants.is_empty() && run.has_moved() {
        return run.interrupted().by(Verdict::Return { pause: Duration::ZERO, code: "no_time_for_the_page" });
    }
    let (mut deliveries, mut unreachable, mut bytes, mut done) = (Vec::new(), Vec::new(), 0, None);
    while let Some(tenant) = tenants.front_mut() {
        let Some((update, channel)) = tenant.next_update() else {
            done = tenants.pop_front().map(SentNow::into_tenant).or(done);
            continue;
        };
        let size = run.message_bytes(update, channel);
        let is_full = deliveries.len() >= ENQUEUED_MAX || bytes + size > ENQUEUED_BYTES_MAX;
        if is_full && !deliveries.is_empty() {
            break;
        }
        bytes += size;
        match tenant.build_next(&run, turn.now) {
            Some(Planned::Message(delivery)) => deliveries.push(*delivery),
            Some(Planned::Unreachable(entry)) => unreachable.push(*entry),
            None => {}
        }
    }
    let interrupted = run.interrupted();
    let then = match deliveries.is_empty() {
        true => after_page(run, next, turn),
        false => Route::Enqueue(EnqueuePlanned { run, deliveries, done, tenants, next }),
    };
    hold(unreachable, interrupted, then)
}

impl RoutingRun {
    /// About how many bytes a message about an update has. Only webhooks get its data.
    fn message_bytes(&self, update: u32, channel: Channel) -> usize {
        let Some(update) = self.updates.iter().find(|one| one.number == update) else { return MESSAGE_BYTES };
        let data = if channel == Channel::Webhook { json_bytes(&update.details) } else { 0 };
        let labels: usize = update.labels.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
        MESSAGE_BYTES + update.message.len() + labels + data
    }
}

/// About how many bytes a map has as JSON.
fn json_bytes(map: &serde_json::Map<String, Value>) -> usize {
    fn value_bytes(value: &Value) -> usize {
        match value {
            Value::Null | Value::Bool(_) => 6,
            Value::Number(_) => 20,
            Value::String(text) => text.len() + 3,
            Value::Array(all) => 2 + all.iter().map(value_bytes).sum::<usize>(),
            Value::Object(map) => json_bytes(map),
        }
    }
    2 + map.iter().map(|(name, value)| name.len() + 4 + value_bytes(value)).sum::<usize>()
}

impl EnqueuePlanned {
    /// The deliveries to put.
    #[must_use]
    pub fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }

    /// The lane that a delivery goes on. What goes to a failing or slow endpoint takes the bulk lane, so that its timeouts stand before
    /// nobody's urgent alert; a test of it does not, because somebody waits for the result.
    #[must_use]
    pub fn lane(&self, delivery: &Delivery) -> Lane {
        let waits = (!delivery.endpoint.is_healthy() || delivery.slow.is_some()) && !delivery.alert.test;
        if self.run.incident.scope == Scope::Platform || waits { Lane::Bulk } else { Lane::Urgent }
    }

    /// Returns the message group of a delivery. Queues are fair: SQS serves a noisy message group after the others. A platform-wide incident is
    /// one, whatever tenants it has; otherwise it is the tenant, or a tenant's failing endpoints would be as many groups as it has incidents.
    #[must_use]
    pub fn group(&self, delivery: &Delivery) -> String {
        match self.run.incident.scope {
            Scope::Platform => self.run.incident.id.to_string(),
            Scope::Tenant(_) => delivery.alert.tenant.to_string(),
        }
    }

    /// Goes on after the deliveries were enqueued.
    pub fn answered(self, answer: Answer<()>, turn: &mut Turn) -> Route {
        let Self { mut run, done, tenants, next, .. } = self;
        match answer {
            Err(fault) => run.interrupted().by(fault),
            Ok(()) => {
                run.place.after = done.or(run.place.after);
                enqueue(run, tenants, next, turn)
            }
        }
    }
}
