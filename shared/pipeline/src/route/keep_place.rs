//! What keeps a platform-wide job going: its place, the message that continues it, and jobs for single tenants that cannot be read.

use super::{PAGE_RESERVE, ReadTenants, Route, RoutingRun};
use crate::turn::{Answer, Counted, Turn, Verdict};
use contracts::queue::{RoutingJob, RoutingTarget};
use domain::ids::{IncidentId, TenantId};
use domain::plan::{PlannedShards, RoutingPlace};
use std::time::Duration;

/// Enqueues jobs for single tenants of a page.
#[derive(Debug)]
pub struct SeparateTenants {
    jobs: Vec<RoutingJob>,
    then: Box<Route>,
    interrupted: Interrupted,
}

/// What an interrupted job saves; `None` if it has done nothing since its message's own beginning.
#[derive(Clone, Debug)]
pub(super) struct Interrupted(Option<SavedPlace>);

/// The place of an interrupted job.
#[derive(Clone, Debug)]
struct SavedPlace {
    incident: IncidentId,
    job: PlannedShards,
    place: RoutingPlace,
}

/// Saves the place of an interrupted job, whose message then comes again.
#[derive(Debug)]
pub struct SavePlace {
    saved: SavedPlace,
    then: Verdict,
}

/// Enqueues the job that continues with the next page.
#[derive(Debug)]
pub struct Continue {
    job: RoutingJob,
    interrupted: Interrupted,
}

impl Interrupted {
    /// Ends the run for this cause, after the place is saved.
    pub(super) fn by(self, cause: impl Into<Verdict>) -> Route {
        match self.0 {
            Some(saved) => Route::Save(SavePlace { saved, then: cause.into() }),
            None => Route::End(cause.into()),
        }
    }
}

impl RoutingRun {
    /// The same job for one tenant of a page.
    pub(super) fn job_of(&self, tenant: TenantId) -> RoutingJob {
        RoutingJob { route: RoutingTarget::Tenant(tenant), ..self.job.clone() }
    }

    /// Whether the place is another than where the job's own message begins.
    pub(super) fn has_moved(&self) -> bool {
        match &self.job.route {
            RoutingTarget::Shards { next, after, .. } => (self.place.shard, &self.place.after) != (*next, after),
            RoutingTarget::Tenant(_) => false,
        }
    }

    /// What the job saves if it is interrupted now.
    pub(super) fn interrupted(&self) -> Interrupted {
        let RoutingTarget::Shards { first, .. } = self.job.route else { return Interrupted(None) };
        let job = PlannedShards { update: self.job.update, first };
        let saved = SavedPlace { incident: self.incident.id.clone(), job, place: self.place.clone() };
        Interrupted(self.has_moved().then_some(saved))
    }
}

/// Returns the place after a page: further on in the shard, or the beginning of the next one.
pub(super) fn advance(place: RoutingPlace, next: Option<TenantId>) -> RoutingPlace {
    match next {
        Some(after) => RoutingPlace { after: Some(after), ..place },
        None => RoutingPlace { shard: place.shard + 1, after: None },
    }
}

/// Begins the page at the place, if there is time for it.
pub(super) fn next_page(run: RoutingRun, turn: &Turn) -> Route {
    let RoutingTarget::Shards { first, end, .. } = run.job.route else { return Route::End(Verdict::Delete) };
    if run.place.shard >= end {
        return Route::End(Verdict::Delete);
    }
    if turn.left >= PAGE_RESERVE {
        return Route::Page(ReadTenants { run });
    }
    // A next message with the same place would have this message's deduplication id, and the queue would drop it.
    if !run.has_moved() {
        return Route::End(Verdict::Return { pause: Duration::ZERO, code: "no_time_for_a_page" });
    }
    let interrupted = run.interrupted();
    let route = RoutingTarget::Shards { first, next: run.place.shard, end, after: run.place.after };
    Route::Continue(Continue { job: RoutingJob { route, ..run.job }, interrupted })
}

/// Begins the next page, or ends the story after the last one.
pub(super) fn after_page(mut run: RoutingRun, next: Option<RoutingPlace>, turn: &Turn) -> Route {
    match next {
        Some(place) => {
            run.place = place;
            next_page(run, turn)
        }
        None => Route::End(Verdict::Delete),
    }
}

/// Enqueues jobs for single tenants, if there are any, and goes on.
pub(super) fn separate(jobs: Vec<RoutingJob>, interrupted: Interrupted, then: Route, turn: &mut Turn) -> Route {
    if jobs.is_empty() {
        return then;
    }
    turn.count(Counted::TenantsSeparated { tenants: jobs.len() });
    Route::Separate(SeparateTenants { jobs, then: Box::new(then), interrupted })
}

impl SeparateTenants {
    /// The jobs, each for one tenant.
    #[must_use]
    pub fn jobs(&self) -> &[RoutingJob] {
        &self.jobs
    }

    /// Goes on with the others of the page.
    pub fn answered(self, answer: Answer<()>, _: &mut Turn) -> Route {
        match answer {
            Err(fault) => self.interrupted.by(fault),
            Ok(()) => *self.then,
        }
    }
}

impl SavePlace {
    /// The incident of the job.
    #[must_use]
    pub fn incident(&self) -> &IncidentId {
        &self.saved.incident
    }

    /// The job whose place it is.
    #[must_use]
    pub fn job(&self) -> PlannedShards {
        self.saved.job
    }

    /// The place up to which everything is planned and enqueued.
    #[must_use]
    pub fn place(&self) -> &RoutingPlace {
        &self.saved.place
    }

    /// Ends the story. A place that could not be saved costs only work that is done twice.
    pub fn answered(self, _: Answer<()>, _: &mut Turn) -> Route {
        Route::End(self.then)
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
        match answer {
            Err(fault) => self.interrupted.by(fault),
            Ok(()) => Route::End(Verdict::Delete),
        }
    }
}
