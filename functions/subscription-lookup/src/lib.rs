//! Trigger  `SubscriptionLookupQueue` (FIFO, one group per incident and group of shards)
//! Reads    the incident, its timeline, for scheduled maintenance the incidents that it suppresses, compiled subscriptions, earlier plans
//! Writes   plans; entries of the due index for held deliveries
//! Emits    deliveries, on two lanes per channel; the next page of a platform-wide job
//! Fails    AWS fault: retried in order. Unprocessable message: dead-letter queue
//! Config   [`config::Config`]
//!
//! The plan is stored first, and a stored plan takes precedence over a recomputed one. Then its deliveries are enqueued. A repeated run
//! enqueues them again: a claim drops what was sent already, but nothing would bring back what was never enqueued.

pub mod config;
mod pages;

use aws::sqs::{OutgoingMessage, Queues};
use config::Config;
use contracts::queue::Lane;
use contracts::queue::{Delivery, RoutingJob, RoutingTarget};
use domain::due::{Hold, ScheduledDelivery};
use domain::ids::Scope;
use domain::incident::{Incident, Update};
use domain::maintenance::{SuppressedIncident, next_recheck};
use domain::plan::{
    Decision, DecisionOutcome, NotificationHistory, PlanHistory, PlanInput, StoredPlan, plan_deliveries,
    webhook_predecessor,
};
use domain::policy::Policy;
use domain::subscriber::Subscriber;
use domain::tenant::Destination;
use domain::vocabulary::{Category, ChannelClass, Severity, StormMode};
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use runtime::queue::{QueueFunction, QueueSetup, RecordError, RecordMeta};
use runtime::{Aws, StartError, metrics};
use std::collections::BTreeMap;
use std::time::Duration;
use store::Table;

/// Tenants planned concurrently: enough to hide the table's latency, few enough not to be throttled.
const PLANS_IN_FLIGHT: usize = 16;
/// A page is begun only if at least this much time is left; otherwise a new message continues with it.
const PAGE_RESERVE: Duration = Duration::from_secs(30);

/// The function, with the clients and settings that one Lambda environment keeps.
#[derive(Debug)]
pub struct SubscriptionLookup {
    config: Config,
    policy: Policy,
    table: Table,
    queues: Queues,
}

/// The deliveries of a plan.
#[derive(Default)]
struct PlannedDeliveries {
    /// Deliveries that are enqueued now.
    now: Vec<Delivery>,
    /// Held deliveries, which are released from the due index later.
    held: Vec<ScheduledDelivery>,
}

impl PlannedDeliveries {
    fn merge(mut self, other: Self) -> Self {
        self.now.extend(other.now);
        self.held.extend(other.held);
        self
    }
}

/// The incident and the updates that a routing job is about.
struct JobContext {
    incident: Incident,
    updates: Vec<Update>,
    /// For scheduled maintenance, the incidents that it suppresses.
    suppressed: Vec<SuppressedIncident>,
    update: u32,
    /// Whether the queue delivers this job again: the earlier run may have died after it stored a plan and before it enqueued it.
    redelivered: bool,
}

impl QueueFunction for SubscriptionLookup {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type Message = RoutingJob;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days);
        Ok(Self {
            policy: Policy::embedded().map_err(StartError::new)?,
            table,
            queues: Queues::new(aws.config()),
            config,
        })
    }

    fn setup(&self) -> QueueSetup {
        QueueSetup::fifo(&self.config.dead_letter_queue_url, &[&self.config.subscription_lookup_queue_url])
    }

    async fn handle(&self, job: RoutingJob, meta: &RecordMeta) -> Result<(), RecordError> {
        tracing::Span::current().record("incident", job.incident_id.as_str());
        let context = self.read_context(&job, meta).await?;
        // User-level warnings have no category, and their subscribers are in every one, so any category will do.
        let category = context.incident.category.unwrap_or(Category::Configurable);
        match &job.route {
            RoutingTarget::Tenant(tenant) => {
                let found = self.table.subscriber(tenant, category).await.map_err(runtime::queue::store_error)?;
                let subscriber =
                    found.ok_or_else(|| RecordError::unprocessable("the tenant has no compiled subscription"))?;
                let plans = self.table.plans_of(&job.incident_id, tenant).await.map_err(runtime::queue::store_error)?;
                let planned = self.plan_tenant(&context, &subscriber, &plans).await?;
                self.enqueue_planned(&context, planned).await
            }
            RoutingTarget::Shards { first, next, end, after } => {
                let cursor = pages::Cursor { shard: *next, after: after.clone() };
                match self.plan_pages(&context, category, cursor.clone(), *end, meta).await? {
                    None => Ok(()),
                    // A next message with the same cursor would have this message's deduplication id, and the queue would drop it.
                    Some(rest) if rest == cursor => Err(RecordError::retry_after(Duration::ZERO, "no_time_for_a_page")),
                    Some(rest) => {
                        let route =
                            RoutingTarget::Shards { first: *first, next: rest.shard, end: *end, after: rest.after };
                        self.enqueue_next_page(&RoutingJob { route, ..job.clone() }).await
                    }
                }
            }
        }
    }
}

impl SubscriptionLookup {
    /// Reads the incident and the updates of a job.
    async fn read_context(&self, job: &RoutingJob, meta: &RecordMeta) -> Result<JobContext, RecordError> {
        let incident = self.table.incident(&job.incident_id).await.map_err(runtime::queue::store_error)?;
        let incident =
            incident.ok_or_else(|| RecordError::unprocessable("the incident of this job is not in the table"))?;
        let mut updates = self.table.updates(&job.incident_id, 1).await.map_err(runtime::queue::store_error)?;
        updates.retain(|update| update.number <= job.update);
        if updates.last().is_none_or(|last| last.number != job.update) {
            return Err(RecordError::unprocessable("the update of this job is not in the table"));
        }
        let suppressed = match incident.maintenance {
            Some(_) => self.table.incidents_suppressed_by(&incident.id).await.map_err(runtime::queue::store_error)?,
            None => Vec::new(),
        };
        Ok(JobContext { incident, updates, suppressed, update: job.update, redelivered: meta.receive_count > 1 })
    }

    /// Plans page after page while there is time. Returns the cursor of the first page that is left, if any.
    async fn plan_pages(
        &self,
        context: &JobContext,
        category: Category,
        mut cursor: pages::Cursor,
        end: u16,
        meta: &RecordMeta,
    ) -> Result<Option<pages::Cursor>, RecordError> {
        while cursor.shard < end {
            if meta.deadline.remaining() < PAGE_RESERVE {
                return Ok(Some(cursor));
            }
            let page = self.table.subscribers(category, cursor.shard, cursor.after.as_ref());
            let page = page.await.map_err(runtime::queue::store_error)?;
            if !page.subscribers.is_empty() {
                let plans = self.table.plans_of_shard(&context.incident.id, cursor.shard);
                let plans = plans.await.map_err(runtime::queue::store_error)?;
                let none = PlanHistory::default();
                let mut planning = Vec::with_capacity(page.subscribers.len());
                for subscriber in &page.subscribers {
                    let earlier = plans.get(&subscriber.settings.tenant).unwrap_or(&none);
                    planning.push(self.plan_tenant(context, subscriber, earlier).boxed());
                }
                let planned: Vec<PlannedDeliveries> =
                    stream::iter(planning).buffered(PLANS_IN_FLIGHT).try_collect().await?;
                let merged = planned.into_iter().fold(PlannedDeliveries::default(), PlannedDeliveries::merge);
                self.enqueue_planned(context, merged).await?;
            }
            cursor = pages::advance(cursor, page.next);
        }
        Ok(None)
    }

    /// Plans and stores every update after the tenant's last plan. Returns the deliveries to send now or later.
    async fn plan_tenant(
        &self,
        context: &JobContext,
        subscriber: &Subscriber,
        earlier: &PlanHistory,
    ) -> Result<PlannedDeliveries, RecordError> {
        if subscriber.destinations.is_empty() {
            return Ok(PlannedDeliveries::default());
        }
        let chunks = subscriber.destinations.iter().map(|(chunk, _)| *chunk);
        let last_planned = pages::last_planned(chunks, &earlier.plans, context.update);
        let mut stored: Vec<Decision> = earlier.plans.iter().flat_map(|plan| plan.decisions.clone()).collect();
        let mut fresh = Vec::new();
        if last_planned < context.update {
            fresh = self.plan_and_store(context, subscriber, last_planned, earlier).await?;
            stored.retain(|decision| decision.update <= last_planned);
        }
        let all: Vec<Decision> = stored.iter().chain(&fresh).cloned().collect();
        let decisions = pages::decisions_to_enqueue(stored, fresh, context.redelivered);
        let by_id: BTreeMap<&str, &Destination> =
            subscriber.destinations.iter().map(|(_, destination)| (destination.id(), destination)).collect();
        let mut planned = PlannedDeliveries::default();
        for decision in decisions {
            let role = match decision.outcome {
                DecisionOutcome::Deliver { role } => role,
                DecisionOutcome::Hold { until, reason, role } => {
                    let update = context.updates.iter().find(|update| update.number == decision.update);
                    planned.held.extend(update.map(|update| ScheduledDelivery {
                        at: next_recheck(until, reason, update.accepted_at),
                        tenant: subscriber.settings.tenant.clone(),
                        destination: decision.destination,
                        channel: decision.channel,
                        incident_id: context.incident.id.clone(),
                        update: update.number,
                        attempt: 1,
                        plain: false,
                        role,
                        held: Some(Hold { since: update.accepted_at, reason, always_listed: false }),
                        held_before: None,
                        omitted_count: 0,
                        rebatched: false,
                        resend_requested: false,
                    }));
                    continue;
                }
                DecisionOutcome::Skip { .. } => continue,
            };
            let update = context.updates.iter().find(|update| update.number == decision.update);
            let destination = by_id.get(decision.destination.as_str());
            // A destination that was deleted since the plan was made is not notified any more; the plan keeps its decision.
            if let (Some(update), Some(destination)) = (update, destination) {
                let (settings, incident) = (&subscriber.settings, &context.incident);
                let delivery = Delivery::build(settings, incident, update, destination, decision.channel, role);
                let delivery = delivery.map(|delivery| delivery.with_suppressed_incidents(&context.suppressed));
                // An update that has expired has no delivery row any more to wait for.
                let predecessor = webhook_predecessor(&decision, &all)
                    .filter(|predecessor| context.updates.iter().any(|update| update.number == *predecessor));
                planned.now.extend(delivery.map(|delivery| Delivery { follows: predecessor, ..delivery }));
            }
        }
        Ok(planned)
    }

    /// Plans the updates after number `last_planned` and stores the plans, chunk by chunk. Returns the stored decisions, which are those of
    /// an earlier run where that stored a plan first.
    async fn plan_and_store(
        &self,
        context: &JobContext,
        subscriber: &Subscriber,
        last_planned: u32,
        earlier: &PlanHistory,
    ) -> Result<Vec<Decision>, RecordError> {
        let destinations: Vec<Destination> =
            subscriber.destinations.iter().map(|(_, destination)| destination.clone()).collect();
        let updates: Vec<Update> =
            context.updates.iter().filter(|update| update.number > last_planned).cloned().collect();
        let now = runtime::clock::now();
        let stored = earlier.decisions().filter(|(_, decision)| decision.update <= last_planned);
        let history = NotificationHistory::from_plans(stored, &earlier.revisions, now).with_stopped(&earlier.stopped);
        let storm_until = if last_planned == 0 { self.storm_until(context, subscriber, now).await? } else { None };
        let decisions = plan_deliveries(&PlanInput {
            incident: &context.incident,
            updates: &updates,
            settings: &subscriber.settings,
            destinations: &destinations,
            history: &history,
            policy: &self.policy,
            now,
            released_from: None,
            storm_until,
        });
        let chunk_of: BTreeMap<&str, u32> =
            subscriber.destinations.iter().map(|(chunk, destination)| (destination.id(), *chunk)).collect();
        let mut plans: BTreeMap<(u32, u32), Vec<Decision>> = BTreeMap::new();
        for decision in decisions {
            let chunk = chunk_of.get(decision.destination.as_str()).copied().unwrap_or_default();
            plans.entry((decision.update, chunk)).or_default().push(decision);
        }
        let mut stored_decisions = Vec::new();
        // In the order of the updates, so that a crash in between leaves no gap.
        for ((update, chunk), decisions) in plans {
            let plan = StoredPlan {
                tenant: subscriber.settings.tenant.clone(),
                chunk,
                update,
                at: now,
                settings_version: subscriber.settings.version,
                decisions,
            };
            count_decisions(&plan.decisions);
            let stored =
                self.table.store_plan(&context.incident.id, plan).await.map_err(runtime::queue::store_error)?;
            stored_decisions.extend(stored.decisions);
        }
        Ok(stored_decisions)
    }

    /// Counts an opening towards the tenant's incident ceiling. Returns until when its notifications are bundled, if too many incidents
    /// opened. Critical, platform-wide and test incidents are neither counted nor bundled.
    async fn storm_until(
        &self,
        context: &JobContext,
        subscriber: &Subscriber,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, RecordError> {
        let Scope::Tenant(tenant) = &context.incident.scope else { return Ok(None) };
        let bundles = subscriber.settings.storms == StormMode::Bundle && !context.incident.test;
        if !bundles || context.incident.severity == Severity::Critical {
            return Ok(None);
        }
        let ceiling = &self.policy.storms.ceiling;
        let (window, until) = ceiling.window_at(now);
        let opened = self.table.count_opening(tenant, window, until).await.map_err(runtime::queue::store_error)?;
        if opened <= ceiling.incidents {
            return Ok(None);
        }
        metrics::count("StormHeld", 1);
        Ok(Some(until))
    }

    /// Stores held deliveries in the due index, and enqueues the others. It is idempotent: a claim drops what was sent already, and a due
    /// entry has the same key again.
    async fn enqueue_planned(&self, context: &JobContext, planned: PlannedDeliveries) -> Result<(), RecordError> {
        let mut putting = Vec::with_capacity(planned.held.len());
        for due in &planned.held {
            putting.push(self.table.schedule(due).boxed());
        }
        let put = stream::iter(putting).buffer_unordered(PLANS_IN_FLIGHT).try_collect::<()>();
        put.await.map_err(runtime::queue::store_error)?;
        self.enqueue_deliveries(context, planned.now).await
    }

    /// Enqueues deliveries on their channels' queues.
    async fn enqueue_deliveries(&self, context: &JobContext, deliveries: Vec<Delivery>) -> Result<(), RecordError> {
        let lane = if context.incident.scope == Scope::Platform { Lane::Bulk } else { Lane::Urgent };
        let mut queues: BTreeMap<ChannelClass, Vec<OutgoingMessage>> = BTreeMap::new();
        for delivery in deliveries {
            let body = serde_json::to_string(&delivery)
                .map_err(|_| RecordError::unprocessable("cannot serialize the delivery"))?;
            // Fair queues: SQS serves a noisy message group after the others. On the bulk lane the incident is the noisy group.
            let group = match lane {
                Lane::Bulk => context.incident.id.to_string(),
                Lane::Urgent => delivery.alert.tenant.to_string(),
            };
            let outgoing = OutgoingMessage { body, group: Some(group), ..OutgoingMessage::default() };
            queues.entry(delivery.channel.class()).or_default().push(outgoing);
        }
        for (class, messages) in queues {
            self.queues
                .send_all(self.config.queue(class, lane), messages)
                .await
                .map_err(runtime::queue::unsent_error)?;
        }
        Ok(())
    }

    /// Enqueues the job that continues with the next page.
    async fn enqueue_next_page(&self, job: &RoutingJob) -> Result<(), RecordError> {
        let body =
            serde_json::to_string(job).map_err(|_| RecordError::unprocessable("cannot serialize the routing job"))?;
        let outgoing = OutgoingMessage {
            body,
            group: Some(job.message_group_id()),
            dedup: Some(job.deduplication_id()),
            ..OutgoingMessage::default()
        };
        let sent = self.queues.send(&self.config.subscription_lookup_queue_url, &outgoing).await;
        sent.map_err(runtime::queue::aws_error)
    }
}

/// Counts planned decisions by outcome.
fn count_decisions(decisions: &[Decision]) {
    for decision in decisions {
        let outcome = match &decision.outcome {
            DecisionOutcome::Deliver { .. } => "deliver",
            DecisionOutcome::Hold { .. } => "hold",
            DecisionOutcome::Skip { .. } => "skip",
        };
        metrics::count_by("DeliveryPlanned", "decision", outcome, 1);
    }
}
