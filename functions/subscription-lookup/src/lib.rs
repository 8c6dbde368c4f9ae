//! Trigger  `SubscriptionLookupQueue` (FIFO, one group per incident), and `SubscriptionLookupBulkQueue` for platform-wide incidents (FIFO, one
//!          group per incident and range of shards, or single tenant)
//! Reads    the incident, its timeline, for scheduled maintenance the incidents that it suppresses, compiled subscriptions, earlier plans,
//!          and the delivery rows that say what became of them
//! Writes   plans; entries of the due index for held deliveries; the place of an interrupted platform-wide job
//! Emits    deliveries, on two lanes per channel; for a platform-wide job the next page, and jobs for tenants whose items cannot be read
//! Fails    AWS fault: retried in order. Unprocessable message: dead-letter queue
//! Config   [`config::Config`]
//!
//! The plan is stored first, and a stored plan takes precedence over a recomputed one. Then its deliveries are enqueued. A repeated run
//! enqueues them again: a claim drops what was sent already, but nothing would bring back what was never enqueued.
//!
//! What it decides, and in which order, is the story in [`pipeline::route`].

pub mod config;

use aws::sqs::{OutgoingMessage, Queues};
use config::Config;
use contracts::queue::RoutingJob;
use domain::ids::{IncidentId, TenantId};
use domain::incident::Incident;
use domain::plan::{PlanHistory, PlannedShards, RoutingPlace, StoredPlan};
use domain::policy::Policy;
use domain::subscriber::Subscriber;
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use pipeline::route::enqueue::EnqueuePlanned;
use pipeline::route::{
    CountOpening, EarlierPlans, HoldPlanned, ReadContext, ReadTenant, ReadTenants, Route, RouteContext, SavePlace,
    StorePlans, TenantPage, begin,
};
use pipeline::{Answer, Counted, Fault, Turn};
use runtime::queue::{QueueFunction, QueueSetup, RecordError, RecordMeta, first_turn, next_turn, verdict_result};
use runtime::{Aws, StartError, ids, metrics};
use std::collections::BTreeMap;
use store::{StoreError, Table};

/// Tenants whose plans are read or stored at once: enough to hide the table's latency, few enough not to be throttled.
const PLANS_IN_FLIGHT: usize = 16;

/// The function, with the clients and settings that one Lambda environment keeps.
#[derive(Debug)]
pub struct SubscriptionLookup {
    config: Config,
    policy: Policy,
    table: Table,
    queues: Queues,
}

impl QueueFunction for SubscriptionLookup {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type Message = RoutingJob;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days)
            .with_due_index(config.due_shards, &ids::id_suffix());
        Ok(Self {
            policy: Policy::embedded().map_err(StartError::new)?,
            table,
            queues: Queues::new(aws.config()),
            config,
        })
    }

    fn setup(&self) -> QueueSetup {
        QueueSetup::lanes(
            &self.config.dead_letter_queue_url,
            &self.config.subscription_lookup_queue_url,
            &self.config.subscription_lookup_bulk_queue_url,
        )
    }

    async fn handle(&self, job: RoutingJob, meta: &RecordMeta) -> Result<(), RecordError> {
        tracing::Span::current().record("incident", job.incident_id.as_str());
        let mut turn = first_turn(meta);
        let mut story = begin(job);
        loop {
            turn.counted.drain(..).for_each(|counted| record(&counted));
            story = match story {
                Route::End(verdict) => return verdict_result(verdict),
                // Boxed: the future would be larger than clippy allows.
                step => self.perform(step, &mut turn, meta).boxed().await,
            };
        }
    }
}

impl SubscriptionLookup {
    /// Performs the next effect of a job, and tells the story what came of it.
    async fn perform(&self, story: Route, turn: &mut Turn, meta: &RecordMeta) -> Route {
        match story {
            Route::Context(step) => {
                let answer = self.read_context(&step, turn).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Route::Tenant(step) => {
                let answer = self.read_tenant(&step).await;
                step.answered(answer, &self.policy, next_turn(turn, meta.deadline))
            }
            Route::Page(step) => {
                let answer = self.read_page(&step).await;
                step.answered(answer, &self.policy, next_turn(turn, meta.deadline))
            }
            Route::Count(step) => {
                let answer = self.count_opening(&step).await;
                step.answered(answer, &self.policy, next_turn(turn, meta.deadline))
            }
            Route::Store(step) => {
                let answers = self.store_plans(&step).await;
                step.answered(answers, next_turn(turn, meta.deadline))
            }
            Route::Hold(step) => {
                let answer = self.hold(&step).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Route::Enqueue(step) => {
                let answer = self.enqueue(&step).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Route::Separate(step) => {
                let answer = self.enqueue_jobs(step.jobs()).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Route::Continue(step) => {
                let answer = self.enqueue_jobs(std::slice::from_ref(step.job())).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Route::Save(step) => {
                let answer = self.save_place(&step).await;
                step.answered(answer, next_turn(turn, meta.deadline))
            }
            Route::End(_) => story,
        }
    }

    /// Reads a saved place. One that cannot be read costs only work that is done twice.
    async fn saved_place(&self, incident: &IncidentId, job: PlannedShards) -> Answer<Option<RoutingPlace>> {
        match self.table.routing_place(incident, job).await.map_err(fault) {
            Err(Fault::Unreadable { reason }) => {
                tracing::error!(reason, "the place of an interrupted job cannot be read; it begins again");
                Ok(None)
            }
            other => other,
        }
    }

    async fn save_place(&self, step: &SavePlace) -> Answer<()> {
        let saved =
            self.table.save_routing_place(step.incident(), step.job(), step.place(), runtime::clock::now()).await;
        saved.map_err(fault)
    }

    async fn read_context(&self, step: &ReadContext, turn: &Turn) -> Answer<RouteContext> {
        let id = &step.job().incident_id;
        let Some(incident) = self.table.incident(id).await.map_err(fault)? else { return Ok(RouteContext::default()) };
        let updates = self.table.updates(id, 1).await.map_err(fault)?;
        let suppressed = match incident.maintenance {
            Some(_) => self.table.incidents_suppressed_by(id).await.map_err(fault)?,
            None => Vec::new(),
        };
        let place = match step.saved_place(turn) {
            Some(job) => self.saved_place(id, job).await?,
            None => None,
        };
        Ok(RouteContext { incident: Some(incident), updates, suppressed, place })
    }

    async fn read_tenant(&self, step: &ReadTenant) -> Answer<(Option<Subscriber>, PlanHistory)> {
        let subscriber = self.table.subscriber(step.tenant(), step.category()).await.map_err(fault)?;
        let Some(subscriber) = subscriber else { return Ok((None, PlanHistory::default())) };
        let incident = &step.incident().id;
        let plans = match step.earlier_plans() {
            EarlierPlans::All => self.table.plans_of(incident, step.tenant()).await.map_err(fault)?,
            EarlierPlans::Newest => self.newest_plans(incident, &subscriber).await?,
        };
        let earlier = self.with_rows(incident, step.tenant(), plans, step.reads_rows()).await?;
        Ok((Some(subscriber), earlier))
    }

    async fn newest_plans(&self, incident: &IncidentId, subscriber: &Subscriber) -> Answer<Vec<StoredPlan>> {
        let chunks = subscriber.destinations.iter().map(|(chunk, _)| *chunk).collect();
        self.table.newest_plans(incident, &subscriber.settings.tenant, &chunks).await.map_err(fault)
    }

    /// Reads what became of a tenant's plans. Nothing became of plans that do not exist.
    async fn with_rows(
        &self,
        incident: &IncidentId,
        tenant: &TenantId,
        plans: Vec<StoredPlan>,
        reads_rows: bool,
    ) -> Answer<PlanHistory> {
        if plans.is_empty() || !reads_rows {
            return Ok(PlanHistory { plans, ..PlanHistory::default() });
        }
        self.table.with_rows(incident, tenant, plans).await.map_err(fault)
    }

    async fn read_page(&self, step: &ReadTenants) -> Answer<TenantPage> {
        let page = self.table.subscribers(step.category(), step.shard(), step.after()).await.map_err(fault)?;
        let mut unreadable: Vec<TenantId> = page.unreadable.into_iter().collect();
        let (Some(first), Some(last)) = (page.subscribers.first(), page.subscribers.last()) else {
            return Ok(TenantPage { tenants: Vec::new(), unreadable, next: page.next });
        };
        let incident = &step.incident().id;
        let mut all = match step.earlier_plans() {
            EarlierPlans::All => {
                let (first, last) = (&first.settings.tenant, &last.settings.tenant);
                Some(self.table.plans_of_tenants(incident, first, last).await.map_err(fault)?)
            }
            EarlierPlans::Newest => None,
        };
        let reading = page.subscribers.into_iter().map(|subscriber| {
            let known =
                all.as_mut().map(|all| all.remove(&subscriber.settings.tenant).unwrap_or_else(|| Ok(Vec::new())));
            async move {
                let plans = match known {
                    Some(plans) => plans.map_err(fault),
                    None => self.newest_plans(incident, &subscriber).await,
                };
                let tenant = &subscriber.settings.tenant;
                let earlier = match plans {
                    Ok(plans) => self.with_rows(incident, tenant, plans, step.reads_rows()).await,
                    Err(fault) => Err(fault),
                };
                (subscriber, earlier)
            }
            .boxed()
        });
        let reading: Vec<_> = reading.collect();
        let read: Vec<(Subscriber, Answer<PlanHistory>)> =
            stream::iter(reading).buffered(PLANS_IN_FLIGHT).collect().await;
        let mut tenants = Vec::with_capacity(read.len());
        for (subscriber, earlier) in read {
            match earlier {
                Ok(earlier) => tenants.push((subscriber, earlier)),
                Err(Fault::Unreadable { reason }) => {
                    let tenant = subscriber.settings.tenant;
                    tracing::error!(%tenant, reason, "a plan or a delivery row cannot be read");
                    unreadable.push(tenant);
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(TenantPage { tenants, unreadable, next: page.next })
    }

    async fn count_opening(&self, step: &CountOpening) -> Answer<u32> {
        let (window, until) = self.policy.storms.ceiling.window_at(step.at());
        self.table.count_opening(step.tenant(), window, until).await.map_err(fault)
    }

    /// Stores plans: those of different tenants at the same time, those of one tenant in order. After an error nothing more of a tenant is
    /// stored, which would leave a gap.
    async fn store_plans(&self, step: &StorePlans) -> Vec<Answer<StoredPlan>> {
        let plans: Vec<&StoredPlan> = step.plans().collect();
        let by_tenant = plans.chunk_by(|one, next| one.tenant == next.tenant);
        let storing = by_tenant.map(|plans| self.store_in_order(step.incident(), plans).boxed());
        let storing: Vec<_> = storing.collect();
        let stored: Vec<Vec<Answer<StoredPlan>>> = stream::iter(storing).buffered(PLANS_IN_FLIGHT).collect().await;
        stored.into_iter().flatten().collect()
    }

    async fn store_in_order(&self, incident: &Incident, plans: &[&StoredPlan]) -> Vec<Answer<StoredPlan>> {
        let mut stored: Vec<Answer<StoredPlan>> = Vec::with_capacity(plans.len());
        for plan in plans {
            let answer = match stored.last() {
                Some(Err(fault)) => Err(fault.clone()),
                _ => self.table.store_plan(&incident.id, (*plan).clone()).await.map_err(fault),
            };
            stored.push(answer);
        }
        stored
    }

    async fn hold(&self, step: &HoldPlanned) -> Answer<()> {
        let putting: Vec<_> = step.entries().iter().map(|due| self.table.schedule(due).boxed()).collect();
        let put: Vec<Result<(), StoreError>> = stream::iter(putting).buffered(PLANS_IN_FLIGHT).collect().await;
        put.into_iter().collect::<Result<(), StoreError>>().map_err(fault)
    }

    async fn enqueue(&self, step: &EnqueuePlanned) -> Answer<()> {
        let mut queues: BTreeMap<&str, Vec<OutgoingMessage>> = BTreeMap::new();
        for delivery in step.deliveries() {
            let body = serde_json::to_string(delivery)
                .map_err(|_| Fault::Unprocessable { reason: "cannot serialize the delivery".to_owned() })?;
            let outgoing = OutgoingMessage { body, group: Some(step.group(delivery)), ..OutgoingMessage::default() };
            let queue = self.config.queue(delivery.channel.class(), step.lane(delivery));
            queues.entry(queue).or_default().push(outgoing);
        }
        for (queue, messages) in queues {
            let sent = self.queues.send_all(queue, messages).await;
            sent.map_err(|unsent| runtime::queue::unsent_error(unsent).into_fault())?;
        }
        Ok(())
    }

    /// Enqueues routing jobs of a platform-wide incident: the one that continues this one, or those of single tenants.
    async fn enqueue_jobs(&self, jobs: &[RoutingJob]) -> Answer<()> {
        let messages = jobs.iter().map(|job| {
            let body = serde_json::to_string(job)
                .map_err(|_| Fault::Unprocessable { reason: "cannot serialize the routing job".to_owned() })?;
            let (group, dedup) = (Some(job.message_group_id()), Some(job.deduplication_id()));
            Ok(OutgoingMessage { body, group, dedup, ..OutgoingMessage::default() })
        });
        let messages = messages.collect::<Answer<Vec<_>>>()?;
        let sent = self.queues.send_all(&self.config.subscription_lookup_bulk_queue_url, messages).await;
        sent.map_err(|unsent| runtime::queue::unsent_error(unsent).into_fault())
    }
}

fn fault(error: StoreError) -> Fault {
    runtime::queue::store_error(error).into_fault()
}

/// Counts what the story counted.
fn record(counted: &Counted) {
    match counted {
        Counted::Planned { outcome } => metrics::count_by("DeliveryPlanned", "decision", outcome, 1),
        Counted::StormHeld => metrics::count("StormHeld", 1),
        Counted::TenantsSeparated { tenants } => metrics::count("TenantsSeparated", *tenants as u64),
        _ => {}
    }
}
