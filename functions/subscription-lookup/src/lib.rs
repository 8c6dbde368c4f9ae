//! Trigger  `SubscriptionLookupQueue` (FIFO, one group an incident and group of shards)
//! Reads    the incident, its timeline, what it explains where it is announced work, compiled subscriptions, earlier plans
//! Writes   plans; due work for what they hold
//! Emits    deliveries, two lanes a channel; the next page of a platform-wide job
//! Fails    AWS fault: retried in order. Poison: dead letter
//! Config   [`config::Config`]
//!
//! The plan is stored first; a stored plan wins over a recomputed one; then everything due in it is enqueued, again on every
//! re-run, because a claim drops what was sent already and nothing brings back what was never enqueued.

pub mod config;
mod pages;

use aws::sqs::{Outgoing, Queues};
use config::Config;
use contracts::queue::{Delivery, Route, RoutingJob};
use domain::ids::Scope;
use domain::incident::{Incident, Update};
use domain::maintenance::{Explained, look_again};
use domain::plan::{Asked, Decision, Outcome, Told, follows, plan};
use domain::policy::Policy;
use domain::tenant::Destination;
use domain::vocabulary::{Category, ChannelClass, Severity, Storms};
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use runtime::queue::{Failure, Meta, QueueFunction, Setup};
use runtime::{Aws, StartError, metrics};
use std::collections::BTreeMap;
use std::time::Duration;
use store::Table;
use store::due::{Due, Hold};
use store::plans::{Known, StoredPlan};
use store::subscriptions::Subscriber;

/// Plans that are stored at once: enough to hide the table's latency, few enough not to be throttled.
const PLANS_IN_FLIGHT: usize = 16;
/// A page is begun only while this much time is left; what remains goes to the next page's message.
const PAGE_RESERVE: Duration = Duration::from_secs(30);

/// The function.
#[derive(Debug)]
pub struct SubscriptionLookup {
    config: Config,
    policy: Policy,
    table: Table,
    queues: Queues,
}

/// What plans give out.
#[derive(Default)]
struct Planned {
    now: Vec<Delivery>,
    held: Vec<Due>,
}

impl Planned {
    fn and(mut self, other: Self) -> Self {
        self.now.extend(other.now);
        self.held.extend(other.held);
        self
    }
}

/// The incident and the updates that a job is about.
struct Subject {
    incident: Incident,
    updates: Vec<Update>,
    /// Of announced work, the incidents that it explained so far.
    explained: Vec<Explained>,
    update: u32,
    /// Whether the queue delivers this job once more: the run before it may have died after storing and before enqueuing.
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

    fn setup(&self) -> Setup {
        Setup::fifo(&self.config.dead_letter_queue_url, &[&self.config.subscription_lookup_queue_url])
    }

    async fn handle(&self, job: RoutingJob, meta: &Meta) -> Result<(), Failure> {
        tracing::Span::current().record("incident", job.incident_id.as_str());
        let subject = self.subject(&job, meta).await?;
        // User-level warnings belong to no category; their subscribers are in every one, so one is as good as another.
        let category = subject.incident.category.unwrap_or(Category::Configurable);
        match &job.route {
            Route::Tenant(tenant) => {
                let found = self.table.subscriber(tenant, category).await.map_err(runtime::queue::table)?;
                let subscriber = found.ok_or_else(|| Failure::poison("the tenant has no compiled subscription"))?;
                let plans = self.table.plans_of(&job.incident_id, tenant).await.map_err(runtime::queue::table)?;
                let planned = self.plan(&subject, &subscriber, &plans).await?;
                self.give_out(&subject, planned).await
            }
            Route::Shards { first, next, end, after } => {
                let cursor = pages::Cursor { shard: *next, after: after.clone() };
                match self.pages(&subject, category, cursor.clone(), *end, meta).await? {
                    None => Ok(()),
                    // A successor at the same place would have this message's own deduplication id, and the queue would drop it.
                    Some(rest) if rest == cursor => Err(Failure::later(Duration::ZERO, "no_time_for_a_page")),
                    Some(rest) => {
                        let route = Route::Shards { first: *first, next: rest.shard, end: *end, after: rest.after };
                        self.enqueue_next(&RoutingJob { route, ..job.clone() }).await
                    }
                }
            }
        }
    }
}

impl SubscriptionLookup {
    async fn subject(&self, job: &RoutingJob, meta: &Meta) -> Result<Subject, Failure> {
        let incident = self.table.incident(&job.incident_id).await.map_err(runtime::queue::table)?;
        let incident = incident.ok_or_else(|| Failure::poison("the incident of this job is not in the table"))?;
        let mut updates = self.table.updates(&job.incident_id, 1).await.map_err(runtime::queue::table)?;
        updates.retain(|update| update.number <= job.update);
        if updates.last().is_none_or(|last| last.number != job.update) {
            return Err(Failure::poison("the update of this job is not in the table"));
        }
        let explained = match incident.maintenance {
            Some(_) => self.table.explained_by(&incident.id).await.map_err(runtime::queue::table)?,
            None => Vec::new(),
        };
        Ok(Subject { incident, updates, explained, update: job.update, redelivered: meta.receive_count > 1 })
    }

    /// Plans page after page while there is time. What is left comes back as a cursor.
    async fn pages(
        &self,
        subject: &Subject,
        category: Category,
        mut cursor: pages::Cursor,
        end: u16,
        meta: &Meta,
    ) -> Result<Option<pages::Cursor>, Failure> {
        while cursor.shard < end {
            if meta.deadline.remaining() < PAGE_RESERVE {
                return Ok(Some(cursor));
            }
            let page = self.table.subscribers(category, cursor.shard, cursor.after.as_ref());
            let page = page.await.map_err(runtime::queue::table)?;
            if !page.subscribers.is_empty() {
                let plans = self.table.plans_of_shard(&subject.incident.id, cursor.shard);
                let plans = plans.await.map_err(runtime::queue::table)?;
                let none = Known::default();
                let mut planning = Vec::with_capacity(page.subscribers.len());
                for subscriber in &page.subscribers {
                    let earlier = plans.get(&subscriber.settings.tenant).unwrap_or(&none);
                    planning.push(self.plan(subject, subscriber, earlier).boxed());
                }
                let planned: Vec<Planned> = stream::iter(planning).buffered(PLANS_IN_FLIGHT).try_collect().await?;
                let together = planned.into_iter().fold(Planned::default(), Planned::and);
                self.give_out(subject, together).await?;
            }
            cursor = pages::advance(cursor, page.next);
        }
        Ok(None)
    }

    /// One tenant's part: every update after its last plan is planned and stored, then what is due now or later is given back.
    async fn plan(&self, subject: &Subject, subscriber: &Subscriber, earlier: &Known) -> Result<Planned, Failure> {
        if subscriber.destinations.is_empty() {
            return Ok(Planned::default());
        }
        let chunks = subscriber.destinations.iter().map(|(chunk, _)| *chunk);
        let lower = pages::last_planned(chunks, &earlier.plans, subject.update);
        let mut stored: Vec<Decision> = earlier.plans.iter().flat_map(|plan| plan.decisions.clone()).collect();
        let mut fresh = Vec::new();
        if lower < subject.update {
            fresh = self.store(subject, subscriber, lower, earlier).await?;
            stored.retain(|decision| decision.update <= lower);
        }
        let all: Vec<Decision> = stored.iter().chain(&fresh).cloned().collect();
        let counted = pages::given_out(stored, fresh, subject.redelivered);
        let by_id: BTreeMap<&str, &Destination> =
            subscriber.destinations.iter().map(|(_, destination)| (destination.id(), destination)).collect();
        let mut planned = Planned::default();
        for decision in counted {
            let role = match decision.outcome {
                Outcome::Deliver { role } => role,
                Outcome::Hold { until, reason, role } => {
                    let update = subject.updates.iter().find(|update| update.number == decision.update);
                    planned.held.extend(update.map(|update| Due {
                        at: look_again(until, reason, update.accepted_at),
                        tenant: subscriber.settings.tenant.clone(),
                        destination: decision.destination,
                        channel: decision.channel,
                        incident_id: subject.incident.id.clone(),
                        update: update.number,
                        attempt: 1,
                        plain: false,
                        role,
                        held: Some(Hold { since: update.accepted_at, reason, named: false }),
                        waited: None,
                        more: 0,
                        gathered: false,
                        asked: false,
                    }));
                    continue;
                }
                Outcome::Skip { .. } => continue,
            };
            let update = subject.updates.iter().find(|update| update.number == decision.update);
            let destination = by_id.get(decision.destination.as_str());
            // A destination that was deleted since it was planned is told nothing more; the plan keeps what was decided.
            if let (Some(update), Some(destination)) = (update, destination) {
                let (settings, incident) = (&subscriber.settings, &subject.incident);
                let delivery = Delivery::build(settings, incident, update, destination, decision.channel, role);
                let delivery = delivery.map(|delivery| delivery.naming(&subject.explained));
                // What has expired has no row any more to wait for.
                let before = follows(&decision, &all)
                    .filter(|before| subject.updates.iter().any(|update| update.number == *before));
                planned.now.extend(delivery.map(|one| Delivery { follows: before, ..one }));
            }
        }
        Ok(planned)
    }

    /// Plans the updates after `lower` and stores them, chunk by chunk; gives back what counts.
    async fn store(
        &self,
        subject: &Subject,
        subscriber: &Subscriber,
        lower: u32,
        earlier: &Known,
    ) -> Result<Vec<Decision>, Failure> {
        let destinations: Vec<Destination> =
            subscriber.destinations.iter().map(|(_, destination)| destination.clone()).collect();
        let updates: Vec<Update> = subject.updates.iter().filter(|update| update.number > lower).cloned().collect();
        let now = runtime::clock::now();
        let stored = earlier.decisions().filter(|(_, decision)| decision.update <= lower);
        let told = Told::from_plans(stored, &earlier.revised, now);
        let told = told.but_not(&earlier.stopped);
        let storm = if lower == 0 { self.storm(subject, subscriber, now).await? } else { None };
        let decisions = plan(&Asked {
            incident: &subject.incident,
            updates: &updates,
            settings: &subscriber.settings,
            destinations: &destinations,
            told: &told,
            policy: &self.policy,
            now,
            due: None,
            storm,
        });
        let chunk_of: BTreeMap<&str, u32> =
            subscriber.destinations.iter().map(|(chunk, destination)| (destination.id(), *chunk)).collect();
        let mut plans: BTreeMap<(u32, u32), Vec<Decision>> = BTreeMap::new();
        for decision in decisions {
            let chunk = chunk_of.get(decision.destination.as_str()).copied().unwrap_or_default();
            plans.entry((decision.update, chunk)).or_default().push(decision);
        }
        let mut counted = Vec::new();
        // In the order of the updates, so that a crash in between leaves a prefix and never a gap.
        for ((update, chunk), decisions) in plans {
            let plan = StoredPlan {
                tenant: subscriber.settings.tenant.clone(),
                chunk,
                update,
                at: now,
                settings_version: subscriber.settings.version,
                decisions,
            };
            count(&plan.decisions);
            let stored = self.table.store_plan(&subject.incident.id, plan).await.map_err(runtime::queue::table)?;
            counted.extend(stored.decisions);
        }
        Ok(counted)
    }

    /// Until when a tenant's incidents are collected, because too many opened at once; this one is counted. What is critical is told by
    /// itself, and what is about everybody is one incident.
    async fn storm(
        &self,
        subject: &Subject,
        subscriber: &Subscriber,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Failure> {
        let Scope::Tenant(tenant) = &subject.incident.scope else { return Ok(None) };
        let collects = subscriber.settings.storms == Storms::Bundle && !subject.incident.test;
        if !collects || subject.incident.severity == Severity::Critical {
            return Ok(None);
        }
        let ceiling = &self.policy.storms.ceiling;
        let (window, until) = ceiling.window(now);
        let opened = self.table.count_opening(tenant, window, until).await.map_err(runtime::queue::table)?;
        if opened <= ceiling.incidents {
            return Ok(None);
        }
        metrics::count("StormHeld", 1);
        Ok(Some(until))
    }

    /// Puts what is due now on the queues, and what is due later on the index. Doing it twice changes nothing: a claim drops what
    /// was sent, and the same item of the index is one item.
    async fn give_out(&self, subject: &Subject, planned: Planned) -> Result<(), Failure> {
        let mut putting = Vec::with_capacity(planned.held.len());
        for due in &planned.held {
            putting.push(self.table.put_due(due).boxed());
        }
        let put = stream::iter(putting).buffer_unordered(PLANS_IN_FLIGHT).try_collect::<()>();
        put.await.map_err(runtime::queue::table)?;
        self.enqueue(subject, planned.now).await
    }

    async fn enqueue(&self, subject: &Subject, deliveries: Vec<Delivery>) -> Result<(), Failure> {
        let bulk = subject.incident.scope == Scope::Platform;
        let mut queues: BTreeMap<ChannelClass, Vec<Outgoing>> = BTreeMap::new();
        for delivery in deliveries {
            let body = serde_json::to_string(&delivery).map_err(|_| Failure::poison("a delivery cannot be written"))?;
            // Fair queues: a noisy tenant is served after the others. In bulk the incident is the noisy one.
            let group = if bulk { subject.incident.id.to_string() } else { delivery.alert.tenant.to_string() };
            let outgoing = Outgoing { body, group: Some(group), ..Outgoing::default() };
            queues.entry(delivery.channel.class()).or_default().push(outgoing);
        }
        for (class, messages) in queues {
            self.queues.send_all(self.config.queue(class, bulk), messages).await.map_err(runtime::queue::unsent)?;
        }
        Ok(())
    }

    async fn enqueue_next(&self, job: &RoutingJob) -> Result<(), Failure> {
        let body = serde_json::to_string(job).map_err(|_| Failure::poison("a routing job cannot be written"))?;
        let outgoing =
            Outgoing { body, group: Some(job.group()), dedup: Some(job.deduplication_id()), ..Outgoing::default() };
        let sent = self.queues.send(&self.config.subscription_lookup_queue_url, &outgoing).await;
        sent.map_err(runtime::queue::aws)
    }
}

fn count(decisions: &[Decision]) {
    for decision in decisions {
        let outcome = match &decision.outcome {
            Outcome::Deliver { .. } => "deliver",
            Outcome::Hold { .. } => "hold",
            Outcome::Skip { .. } => "skip",
        };
        metrics::count_by("DeliveryPlanned", "decision", outcome, 1);
    }
}
