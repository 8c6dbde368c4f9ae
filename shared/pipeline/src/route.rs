//! The story of a routing job: plan an update for tenants, store the plans, and put what they say on queues and into the due index.
//!
//! A plan is stored before anything of it is enqueued, and a stored plan takes precedence over a recomputed one. A repeated run enqueues
//! again: a claim drops what was sent already, but nothing would bring back what was never enqueued.
//!
//! A platform-wide job keeps its place. A fault or a lack of time costs no page that is done: the place is saved, and the message comes again,
//! before the incident's next update. Only a crash repeats its pages. And one tenant's unreadable items hold up nobody else: that tenant gets a job of its own.
//!
//! | Module | Has |
//! |---|---|
//! | [`enqueue`] | the messages of a page, built and sent a few at a time |
//! | `keep_place` | where an interrupted job goes on, and jobs for tenants that cannot be read |
//! | `planned` | which updates a tenant still needs planned, and which decisions are enqueued |
//! | [`tenant`] | one tenant's plans and deliveries |

pub mod enqueue;
mod keep_place;
mod planned;
pub mod tenant;
#[cfg(test)]
mod tests;

use crate::turn::{Answer, Counted, Fault, Turn, Verdict};
use contracts::queue::{RoutingJob, RoutingTarget};
use domain::due::ScheduledDelivery;
use domain::ids::{Scope, TenantId};
use domain::incident::{Incident, Update};
use domain::maintenance::SuppressedIncident;
use domain::plan::{PlanHistory, PlannedShards, RoutingPlace, StoredPlan};
use domain::policy::Policy;
use domain::subscriber::Subscriber;
use domain::vocabulary::{Category, StormMode};
use enqueue::{EnqueuePlanned, enqueue};
use jiff::Timestamp;
pub use keep_place::{Continue, SavePlace, SeparateTenants};
use keep_place::{Interrupted, advance, after_page, next_page, separate};
use std::collections::VecDeque;
use std::time::Duration;
use tenant::TenantWork;

/// A page is begun only if at least this much time is left; otherwise a new message continues with it.
const PAGE_RESERVE: Duration = Duration::from_secs(30);

/// The next effect of a routing job.
#[must_use]
#[derive(Debug)]
pub enum Route {
    /// Read the incident and its updates.
    Context(ReadContext),
    /// Read one tenant's subscription, plans and delivery rows.
    Tenant(ReadTenant),
    /// Read a page of a shard's subscriptions, with their plans and delivery rows.
    Page(ReadTenants),
    /// Count an opening towards the tenant's incident ceiling.
    Count(CountOpening),
    /// Store plans, before anything of them is enqueued.
    Store(StorePlans),
    /// Put held deliveries into the due index.
    Hold(HoldPlanned),
    /// Put some deliveries on their queues.
    Enqueue(EnqueuePlanned),
    /// Enqueue a job of its own for each tenant of a page that cannot be read.
    Separate(SeparateTenants),
    /// Enqueue the job that continues with the next page.
    Continue(Continue),
    /// Save the place of a job that is interrupted.
    Save(SavePlace),
    /// Nothing: the story is over.
    End(Verdict),
}

/// What a job is about, as it is stored; `None` for what does not exist.
#[derive(Clone, Debug, Default)]
pub struct RouteContext {
    /// The incident as it is now; it may have more updates than the job's.
    pub incident: Option<Incident>,
    /// Its updates, oldest first.
    pub updates: Vec<Update>,
    /// For scheduled maintenance, the incidents that it suppresses.
    pub suppressed: Vec<SuppressedIncident>,
    /// The place that an interrupted run of this job saved.
    pub place: Option<RoutingPlace>,
}

/// A page of a shard's tenants, each with its plans for the incident.
#[derive(Clone, Debug, Default)]
pub struct TenantPage {
    /// The tenants in the order of their ids, each with its earlier plans for the incident.
    pub tenants: Vec<(Subscriber, PlanHistory)>,
    /// The tenants with an item that this version cannot read.
    pub unreadable: Vec<TenantId>,
    /// The tenant after which the next page begins; `None` on the shard's last page.
    pub next: Option<TenantId>,
}

/// Which earlier plans of a tenant are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlierPlans {
    /// The newest of each chunk: all that a next update is planned on.
    Newest,
    /// All of them, because some may not be on their queues yet. There are none before the first update.
    All,
}

/// What a job knows and keeps from page to page.
#[derive(Debug)]
pub(crate) struct RoutingRun {
    job: RoutingJob,
    incident: Incident,
    updates: Vec<Update>,
    suppressed: Vec<SuppressedIncident>,
    /// Whether the queue delivers this job again: the earlier run may have died after it stored a plan and before it enqueued it.
    redelivered: bool,
    /// Which earlier plans are read next.
    earlier: EarlierPlans,
    /// Where the job goes on if it is interrupted. A job for one tenant has no other place than its beginning.
    place: RoutingPlace,
}

/// Reads the incident and its updates.
#[derive(Debug)]
pub struct ReadContext {
    job: RoutingJob,
}

/// Reads one tenant's subscription, plans and delivery rows.
#[derive(Debug)]
pub struct ReadTenant {
    run: RoutingRun,
    tenant: TenantId,
}

/// Reads a page of a shard's subscriptions, with their plans and delivery rows.
#[derive(Debug)]
pub struct ReadTenants {
    run: RoutingRun,
}

/// Counts an opening towards the tenant's incident ceiling.
#[derive(Debug)]
pub struct CountOpening {
    run: RoutingRun,
    work: Box<TenantWork>,
    tenant: TenantId,
    at: Timestamp,
}

/// Stores plans, each tenant's in the order of their updates, so that a crash in between leaves no gap.
#[derive(Debug)]
pub struct StorePlans {
    run: RoutingRun,
    works: Vec<TenantWork>,
    unreadable: Vec<TenantId>,
    next: Option<RoutingPlace>,
}

/// Puts held deliveries into the due index. Each has the same place whenever it is put.
#[derive(Debug)]
pub struct HoldPlanned {
    entries: Vec<ScheduledDelivery>,
    then: Box<Route>,
    interrupted: Interrupted,
}

/// Begins the story of a job.
pub fn begin(job: RoutingJob) -> Route {
    Route::Context(ReadContext { job })
}

fn park(reason: &str) -> Route {
    Route::End(Verdict::Park { reason: reason.to_owned() })
}

impl ReadContext {
    /// The job, which names incident and update.
    #[must_use]
    pub fn job(&self) -> &RoutingJob {
        &self.job
    }

    /// The job whose place is read, if it comes again and may have saved one.
    #[must_use]
    pub fn saved_place(&self, turn: &Turn) -> Option<PlannedShards> {
        match self.job.route {
            RoutingTarget::Shards { first, .. } if turn.receives > 1 => {
                Some(PlannedShards { update: self.job.update, first })
            }
            _ => None,
        }
    }

    /// Goes on with what is stored.
    pub fn answered(self, answer: Answer<RouteContext>, turn: &mut Turn) -> Route {
        let job = self.job;
        let RouteContext { incident, mut updates, suppressed, place: saved } = match answer {
            Ok(context) => context,
            Err(fault) => return Route::End(fault.into()),
        };
        let Some(incident) = incident else { return park("the incident of this job is not in the table") };
        updates.retain(|update| update.number <= job.update);
        if updates.last().is_none_or(|last| last.number != job.update) {
            return park("the update of this job is not in the table");
        }
        // The page of a tenant that got a job of its own may have come before.
        let is_separated = matches!(job.route, RoutingTarget::Tenant(_)) && incident.scope == Scope::Platform;
        let redelivered = turn.receives > 1 || is_separated;
        let route = job.route.clone();
        let earlier = RoutingRun::earlier_plans(&job, redelivered);
        let begin = match &route {
            RoutingTarget::Tenant(tenant) => RoutingPlace { shard: tenant.shard(), after: None },
            RoutingTarget::Shards { next, after, .. } => RoutingPlace { shard: *next, after: after.clone() },
        };
        // A page further on may have saved its place, too, and this message is then an old one of the same job.
        let place = saved.filter(|saved| *saved > begin).unwrap_or(begin);
        let run = RoutingRun { job, incident, updates, suppressed, redelivered, earlier, place };
        match route {
            RoutingTarget::Tenant(tenant) => Route::Tenant(ReadTenant { run, tenant }),
            RoutingTarget::Shards { .. } => next_page(run, turn),
        }
    }
}

impl ReadTenant {
    /// The tenant whose subscription and plans are read.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The category whose subscriptions are read.
    #[must_use]
    pub fn category(&self) -> Category {
        self.run.category()
    }

    /// The incident whose plans are read.
    #[must_use]
    pub fn incident(&self) -> &Incident {
        &self.run.incident
    }

    /// Which of its earlier plans are read.
    #[must_use]
    pub fn earlier_plans(&self) -> EarlierPlans {
        self.run.earlier
    }

    /// Whether its delivery rows are read.
    #[must_use]
    pub fn reads_rows(&self) -> bool {
        self.run.reads_rows()
    }

    /// Goes on with the subscription, the plans and the rows.
    pub fn answered(
        self,
        answer: Answer<(Option<Subscriber>, PlanHistory)>,
        policy: &Policy,
        turn: &mut Turn,
    ) -> Route {
        let Self { mut run, tenant } = self;
        let (subscriber, plans) = match answer {
            Ok((Some(subscriber), plans)) => (subscriber, plans),
            Ok((None, _)) => return park("the tenant has no compiled subscription"),
            Err(fault) => return Route::End(fault.into()),
        };
        let work = TenantWork::new(&run, subscriber, plans);
        if run.needs_all_plans(std::slice::from_ref(&work)) {
            run.earlier = EarlierPlans::All;
            return Route::Tenant(Self { run, tenant });
        }
        if run.counts_openings(&work) {
            return Route::Count(CountOpening { run, work: Box::new(work), tenant, at: turn.now });
        }
        plan(run, vec![work], Vec::new(), None, policy, turn)
    }
}

impl CountOpening {
    /// The tenant whose incident opens.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The time of the opening.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Goes on with the number of incidents that opened in the window. Beyond the ceiling their notifications are bundled at its end.
    pub fn answered(self, answer: Answer<u32>, policy: &Policy, turn: &mut Turn) -> Route {
        let Self { run, mut work, at, .. } = self;
        let ceiling = &policy.storms.ceiling;
        match answer {
            Err(fault) => return Route::End(fault.into()),
            Ok(opened) if opened > ceiling.incidents => {
                turn.count(Counted::StormHeld);
                work.storm_until = Some(ceiling.window_at(at).1);
            }
            Ok(_) => {}
        }
        plan(run, vec![*work], Vec::new(), None, policy, turn)
    }
}

impl RoutingRun {
    /// User-level warnings have no category, and their subscribers are in every one, so any category will do.
    fn category(&self) -> Category {
        self.incident.category.unwrap_or(Category::Configurable)
    }

    /// Which earlier plans are read first.
    fn earlier_plans(job: &RoutingJob, redelivered: bool) -> EarlierPlans {
        if redelivered || job.update <= 1 { EarlierPlans::All } else { EarlierPlans::Newest }
    }

    /// Whether all plans must be read, although the newest were: some are not on their queues perhaps, or a run died between two chunks.
    fn needs_all_plans(&self, works: &[TenantWork]) -> bool {
        self.earlier == EarlierPlans::Newest && works.iter().any(TenantWork::needs_all_plans)
    }

    /// Delivery rows say what became of earlier updates. The first one has none.
    fn reads_rows(&self) -> bool {
        self.job.update > 1
    }

    /// Whether the opening counts towards the tenant's incident ceiling. Critical, platform-wide and test incidents are neither counted nor
    /// bundled.
    fn counts_openings(&self, work: &TenantWork) -> bool {
        let bundles = work.subscriber.settings.storms == StormMode::Bundle && !self.incident.test;
        let own = matches!(self.incident.scope, Scope::Tenant(_));
        bundles && own && work.is_opening() && self.incident.severity != domain::vocabulary::Severity::Critical
    }
}

impl ReadTenants {
    /// The category whose subscriptions are read.
    #[must_use]
    pub fn category(&self) -> Category {
        self.run.category()
    }

    /// The incident whose plans are read.
    #[must_use]
    pub fn incident(&self) -> &Incident {
        &self.run.incident
    }

    /// The shard of the compiled subscriptions.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.run.place.shard
    }

    /// The tenant after which the page begins.
    #[must_use]
    pub fn after(&self) -> Option<&TenantId> {
        self.run.place.after.as_ref()
    }

    /// Which earlier plans of its tenants are read.
    #[must_use]
    pub fn earlier_plans(&self) -> EarlierPlans {
        self.run.earlier
    }

    /// Whether their delivery rows are read.
    #[must_use]
    pub fn reads_rows(&self) -> bool {
        self.run.reads_rows()
    }

    /// Goes on with the page.
    pub fn answered(self, answer: Answer<TenantPage>, policy: &Policy, turn: &mut Turn) -> Route {
        let Self { mut run } = self;
        let page = match answer {
            Ok(page) => page,
            Err(fault) => return run.interrupted().by(fault),
        };
        let works = page.tenants.into_iter().map(|(subscriber, plans)| TenantWork::new(&run, subscriber, plans));
        let works: Vec<TenantWork> = works.collect();
        if run.needs_all_plans(&works) {
            run.earlier = EarlierPlans::All;
            return Route::Page(Self { run });
        }
        run.earlier = RoutingRun::earlier_plans(&run.job, run.redelivered);
        let next = advance(run.place.clone(), page.next);
        plan(run, works, page.unreadable, Some(next), policy, turn)
    }
}

/// Plans for the tenants of a page.
fn plan(
    run: RoutingRun,
    mut works: Vec<TenantWork>,
    unreadable: Vec<TenantId>,
    next: Option<RoutingPlace>,
    policy: &Policy,
    turn: &mut Turn,
) -> Route {
    works.retain(TenantWork::has_anybody);
    for work in &mut works {
        work.plan(&run, policy, turn.now);
    }
    let step = StorePlans { run, works, unreadable, next };
    if step.plans().next().is_none() { step.answered(Vec::new(), turn) } else { Route::Store(step) }
}

impl StorePlans {
    /// The incident of the plans.
    #[must_use]
    pub fn incident(&self) -> &Incident {
        &self.run.incident
    }

    /// The plans, tenant by tenant, in the order of the answers.
    pub fn plans(&self) -> impl Iterator<Item = &StoredPlan> {
        self.works.iter().flat_map(|work| &work.plans)
    }

    /// Goes on with the stored plan of each: an earlier run's where that stored one first.
    pub fn answered(self, answers: Vec<Answer<StoredPlan>>, turn: &mut Turn) -> Route {
        let Self { run, works, mut unreadable, next } = self;
        let mut answers = answers.into_iter();
        let (mut held, mut tenants) = (Vec::new(), VecDeque::new());
        for work in works {
            work.plans.iter().flat_map(|plan| &plan.decisions).for_each(|decision| {
                turn.count(Counted::Planned { outcome: tenant::outcome_name(decision) });
            });
            let of_tenant: Answer<Vec<StoredPlan>> = answers.by_ref().take(work.plans.len()).collect();
            match of_tenant {
                Ok(stored) => {
                    let (later, now) = work.split(&run, stored.into_iter().flat_map(|plan| plan.decisions).collect());
                    held.extend(later);
                    tenants.push_back(now);
                }
                // The page has other tenants.
                Err(Fault::Unreadable { .. }) if next.is_some() => unreadable.push(work.subscriber.settings.tenant),
                Err(fault) => return run.interrupted().by(fault),
            }
        }
        let interrupted = run.interrupted();
        let jobs = unreadable.into_iter().map(|tenant| run.job_of(tenant)).collect();
        let then = hold(held, interrupted.clone(), enqueue(run, tenants, next, turn));
        separate(jobs, interrupted, then, turn)
    }
}

/// Puts due entries, if there are any, and goes on.
fn hold(entries: Vec<ScheduledDelivery>, interrupted: Interrupted, then: Route) -> Route {
    if entries.is_empty() { then } else { Route::Hold(HoldPlanned { entries, then: Box::new(then), interrupted }) }
}

impl HoldPlanned {
    /// The entries to put.
    #[must_use]
    pub fn entries(&self) -> &[ScheduledDelivery] {
        &self.entries
    }

    /// Goes on after the entries were put.
    pub fn answered(self, answer: Answer<()>, _: &mut Turn) -> Route {
        match answer {
            Err(fault) => self.interrupted.by(fault),
            Ok(()) => *self.then,
        }
    }
}
