//! The story of a routing job: plan an update for tenants, store the plans, and put what they say on queues and into the due index.
//!
//! A plan is stored before anything of it is enqueued, and a stored plan takes precedence over a recomputed one. A repeated run enqueues
//! again: a claim drops what was sent already, but nothing would bring back what was never enqueued.
//!
//! | Module | Has |
//! |---|---|
//! | [`enqueue`] | the messages of a page, built and sent a few at a time |
//! | `planned` | which updates a tenant still needs planned, and which decisions are enqueued |
//! | [`tenant`] | one tenant's plans and deliveries |

pub mod enqueue;
mod planned;
pub mod tenant;
#[cfg(test)]
mod tests;

use crate::turn::{Answer, Counted, Turn, Verdict};
use contracts::queue::{RoutingJob, RoutingTarget};
use domain::due::ScheduledDelivery;
use domain::ids::{Scope, TenantId};
use domain::incident::{Incident, Update};
use domain::maintenance::SuppressedIncident;
use domain::plan::{PlanHistory, StoredPlan};
use domain::policy::Policy;
use domain::subscriber::Subscriber;
use domain::vocabulary::{Category, StormMode};
use enqueue::{EnqueuePlanned, enqueue};
use jiff::Timestamp;
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
    /// Enqueue the job that continues with the next page.
    Continue(Continue),
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
}

/// A page of a shard's tenants, each with its plans for the incident.
#[derive(Clone, Debug, Default)]
pub struct TenantPage {
    /// The tenants, each with its earlier plans for the incident.
    pub tenants: Vec<(Subscriber, PlanHistory)>,
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

/// A position in the compiled subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor {
    shard: u16,
    /// The last tenant of the shard that is done; `None` at the shard's beginning.
    after: Option<TenantId>,
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
    cursor: Cursor,
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
    next: Option<Cursor>,
}

/// Puts held deliveries into the due index. Each has the same place whenever it is put.
#[derive(Debug)]
pub struct HoldPlanned {
    entries: Vec<ScheduledDelivery>,
    then: Box<Route>,
}

/// Enqueues the job that continues with the next page.
#[derive(Debug)]
pub struct Continue {
    job: RoutingJob,
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

    /// Goes on with what is stored.
    pub fn answered(self, answer: Answer<RouteContext>, turn: &mut Turn) -> Route {
        let job = self.job;
        let RouteContext { incident, mut updates, suppressed } = match answer {
            Ok(context) => context,
            Err(fault) => return Route::End(fault.into()),
        };
        let Some(incident) = incident else { return park("the incident of this job is not in the table") };
        updates.retain(|update| update.number <= job.update);
        if updates.last().is_none_or(|last| last.number != job.update) {
            return park("the update of this job is not in the table");
        }
        let redelivered = turn.receives > 1;
        let route = job.route.clone();
        let earlier = RoutingRun::earlier_plans(&job, redelivered);
        let run = RoutingRun { job, incident, updates, suppressed, redelivered, earlier };
        match route {
            RoutingTarget::Tenant(tenant) => Route::Tenant(ReadTenant { run, tenant }),
            RoutingTarget::Shards { next, after, .. } => next_page(run, Cursor { shard: next, after }, turn),
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
        plan(run, vec![work], None, policy, turn)
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
        plan(run, vec![*work], None, policy, turn)
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

/// Begins the next page, if there is time for it.
fn next_page(run: RoutingRun, cursor: Cursor, turn: &Turn) -> Route {
    let RoutingTarget::Shards { first, next, end, after } = &run.job.route else {
        return Route::End(Verdict::Delete);
    };
    if cursor.shard >= *end {
        return Route::End(Verdict::Delete);
    }
    if turn.left >= PAGE_RESERVE {
        return Route::Page(ReadTenants { run, cursor });
    }
    // A next message with the same cursor would have this message's deduplication id, and the queue would drop it.
    if cursor == (Cursor { shard: *next, after: after.clone() }) {
        return Route::End(Verdict::Return { pause: Duration::ZERO, code: "no_time_for_a_page" });
    }
    let route = RoutingTarget::Shards { first: *first, next: cursor.shard, end: *end, after: cursor.after };
    Route::Continue(Continue { job: RoutingJob { route, ..run.job } })
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
        self.cursor.shard
    }

    /// The tenant after which the page begins.
    #[must_use]
    pub fn after(&self) -> Option<&TenantId> {
        self.cursor.after.as_ref()
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
        let Self { mut run, cursor } = self;
        let page = match answer {
            Ok(page) => page,
            Err(fault) => return Route::End(fault.into()),
        };
        let works = page.tenants.into_iter().map(|(subscriber, plans)| TenantWork::new(&run, subscriber, plans));
        let works: Vec<TenantWork> = works.collect();
        if run.needs_all_plans(&works) {
            run.earlier = EarlierPlans::All;
            return Route::Page(Self { run, cursor });
        }
        run.earlier = RoutingRun::earlier_plans(&run.job, run.redelivered);
        let next = advance(cursor, page.next);
        plan(run, works, Some(next), policy, turn)
    }
}

/// Returns the cursor after a page: further on in the shard, or the beginning of the next one.
fn advance(cursor: Cursor, next: Option<TenantId>) -> Cursor {
    match next {
        Some(after) => Cursor { after: Some(after), ..cursor },
        None => Cursor { shard: cursor.shard + 1, after: None },
    }
}

/// Plans for the tenants of a page.
fn plan(run: RoutingRun, mut works: Vec<TenantWork>, next: Option<Cursor>, policy: &Policy, turn: &mut Turn) -> Route {
    works.retain(TenantWork::has_anybody);
    for work in &mut works {
        work.plan(&run, policy, turn.now);
    }
    let step = StorePlans { run, works, next };
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
        let Self { run, works, next } = self;
        let mut answers = answers.into_iter();
        let (mut held, mut tenants) = (Vec::new(), VecDeque::new());
        for work in works {
            work.plans.iter().flat_map(|plan| &plan.decisions).for_each(|decision| {
                turn.count(Counted::Planned { outcome: tenant::outcome_name(decision) });
            });
            let mut stored = Vec::with_capacity(work.plans.len());
            for answer in answers.by_ref().take(work.plans.len()) {
                match answer {
                    Ok(plan) => stored.extend(plan.decisions),
                    Err(fault) => return Route::End(fault.into()),
                }
            }
            let (later, now) = work.split(&run, stored);
            held.extend(later);
            tenants.push_back(now);
        }
        hold(held, enqueue(run, tenants, next, turn))
    }
}

/// Puts due entries, if there are any, and goes on.
fn hold(entries: Vec<ScheduledDelivery>, then: Route) -> Route {
    if entries.is_empty() { then } else { Route::Hold(HoldPlanned { entries, then: Box::new(then) }) }
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
            Err(fault) => Route::End(fault.into()),
            Ok(()) => *self.then,
        }
    }
}

fn after_page(run: RoutingRun, next: Option<Cursor>, turn: &Turn) -> Route {
    match next {
        Some(cursor) => next_page(run, cursor, turn),
        None => Route::End(Verdict::Delete),
    }
}

impl Continue {
    /// The job that continues.
    #[must_use]
    pub fn job(&self) -> &RoutingJob {
        &self.job
    }

    /// Ends the story. The rest is the new message's.
    pub fn answered(self, answer: Answer<()>, _: &mut Turn) -> Route {
        Route::End(answer.map_or_else(Verdict::from, |()| Verdict::Delete))
    }
}
