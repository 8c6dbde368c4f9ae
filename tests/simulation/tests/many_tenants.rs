//! A platform-wide incident for 1,000, 10,000 and 100,000 tenants through production's paging stories, with an allocator that counts.
//!
//! The tenants are made when a page of them is read and gone afterwards, so what stays in memory is what the stories keep. Calls grow with the
//! number of tenants, memory does not, and every destination gets every update once. Bytes and calls are asserted; the time is printed.
//!
//! 100,000 tenants take minutes in a build without optimization: `TOCSIN_MANY_TENANTS=100000`.

#![allow(clippy::print_stdout, reason = "the table is the result of the run")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by a panic")]

use contracts::queue::{Lane, RoutingJob, RoutingTarget, VERSION};
use domain::due::{DueItem, DuePage, DuePlaces, ScheduledDelivery};
use domain::ids::{DUE_SCHEDULES, DUE_SHARDS, IncidentId, SHARDS, TenantId};
use domain::incident::{Incident, Update};
use domain::plan::{Decision, DecisionOutcome, PlanHistory, StoredPlan};
use domain::policy::Policy;
use domain::subscriber::Subscriber;
use domain::tenant::Destination;
use domain::vocabulary::{Channel, Role};
use peak_alloc::PeakAlloc;
use pipeline::release::facts::{FactKeys, PageFacts};
use pipeline::release::{ReadShards, Release};
use pipeline::route::{EarlierPlans, Route, RouteContext, TenantPage};
use pipeline::{Turn, Verdict, release, route};
use serde_json::json;
use simulation::sample::{self, AT, parsed};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Tenants of a page. DynamoDB's page of 1 MB has more of so small ones; with fewer, 1,000 tenants fill pages as 100,000 do.
const PAGE_TENANTS: usize = 12;
/// The destinations of each tenant: two recipients, the second of whom sleeps, a Slack channel and a webhook.
const DESTINATIONS: usize = 4;
/// The shards of a routing job, as many as the template's default.
const SHARDS_PER_JOB: u16 = 4;
/// Entries of a page of the due index. `release` reads 100; with fewer, those of 1,000 tenants fill pages of 64 shards, too.
const PAGE_ENTRIES: usize = 12;
/// How long an invocation has for its work.
const INVOCATION: Duration = Duration::from_secs(50);
/// How long each effect of a routing job and of a run of `release` takes: so long that 10,000 tenants need several invocations.
const ROUTE_EFFECT: Duration = Duration::from_millis(200);
const RELEASE_EFFECT: Duration = Duration::from_secs(1);

/// The number and the bytes of one kind of call.
type Calls = BTreeMap<&'static str, u64>;

/// What one run did.
#[derive(Debug, Default)]
struct Measured {
    calls: Calls,
    /// The most bytes that were alive at once, beyond those before the run.
    peak: usize,
    took: Duration,
}

impl Measured {
    fn all_calls(&self) -> u64 {
        self.calls.values().sum()
    }
}

fn turn() -> Turn {
    Turn {
        now: AT.parse().unwrap(),
        left: INVOCATION,
        receives: 1,
        lane: Lane::Bulk,
        jitter: 0.0,
        token: "run".to_owned(),
        counted: Vec::new(),
    }
}

/// Runs `work` and measures calls, bytes and time.
fn measured(work: impl FnOnce(&mut Calls)) -> Measured {
    let mut calls = Calls::new();
    let (before, started) = (ALLOCATED.current_usage(), Instant::now());
    ALLOCATED.reset_peak_usage();
    work(&mut calls);
    Measured { calls, peak: ALLOCATED.peak_usage().saturating_sub(before), took: started.elapsed() }
}

/// The world of a run: a number of tenants, and how often each of their destinations was given an update.
struct Tenants {
    number: usize,
    given: Vec<u8>,
    policy: Policy,
    /// What all tenants have in common but their ids.
    like: Subscriber,
}

impl Tenants {
    fn new(number: usize) -> Self {
        let destinations = vec![
            sample::recipient(&Self::destination_id(0), false),
            sample::recipient(&Self::destination_id(1), true),
            sample::endpoint(&Self::destination_id(2), "slack"),
            sample::endpoint(&Self::destination_id(3), "webhook"),
        ];
        let like = sample::subscriber("acme", destinations);
        Self { number, given: vec![0; number * DESTINATIONS], policy: Policy::embedded().unwrap(), like }
    }

    /// The tenants of a shard. Which shard a tenant belongs to does not matter to the stories.
    fn of_shard(&self, shard: u16) -> impl Iterator<Item = usize> + use<> {
        (usize::from(shard)..self.number).step_by(usize::from(SHARDS))
    }

    fn id(number: usize) -> TenantId {
        TenantId::parse(&format!("t{number:07}")).unwrap()
    }

    fn number_of(tenant: &TenantId) -> usize {
        tenant.as_str()[1..].parse().unwrap()
    }

    fn destination_id(place: usize) -> String {
        format!("{}_{place}", if place < 2 { "rcp" } else { "int" })
    }

    fn place_of(destination: &str) -> usize {
        destination[4..].parse().unwrap()
    }

    fn channel(place: usize) -> Channel {
        [Channel::Email, Channel::Email, Channel::Slack, Channel::Webhook][place]
    }

    fn destination(&self, place: usize) -> Destination {
        self.like.destinations[place].1.clone()
    }

    fn subscriber(&self, number: usize) -> Subscriber {
        let mut subscriber = self.like.clone();
        subscriber.settings.tenant = Self::id(number);
        subscriber
    }

    /// What a tenant's plan for the update before says: it was given to all of them.
    fn plan_before(number: usize, update: u32) -> StoredPlan {
        let decision = |place| Decision {
            destination: Self::destination_id(place),
            channel: Self::channel(place),
            update,
            outcome: DecisionOutcome::Deliver { role: Some(Role::TechDevops) },
            last_sent: None,
        };
        StoredPlan {
            tenant: Self::id(number),
            chunk: 0,
            update,
            at: AT.parse().unwrap(),
            settings_version: 1,
            decisions: (0..DESTINATIONS).map(decision).collect(),
            carried: Vec::new(),
        }
    }

    fn give(&mut self, tenant: &TenantId, destination: &str) {
        let place = Self::number_of(tenant) * DESTINATIONS + Self::place_of(destination);
        self.given[place] += 1;
    }

    fn everybody_was_given_it_once(&self) {
        let wrong = self.given.iter().enumerate().find(|(_, given)| **given != 1);
        assert_eq!(
            wrong,
            None,
            "destination {:?} of tenant {:?}",
            wrong.map(|(n, _)| n % DESTINATIONS),
            wrong.map(|(n, _)| n / DESTINATIONS)
        );
    }
}

fn incident(updates: u32) -> Incident {
    parsed(json!({"id": "inc_a", "scope": "platform", "key": "k", "integration_id": "int_s",
        "source": "monitor", "event_type": "api.outage", "dedup_key": "d", "category": "infrastructure",
        "kind": "incident", "rule": "r", "severity": "error", "status": "investigating", "title": "Down",
        "components": [], "regions": [], "public": false, "started_at": AT, "last_seen": AT, "updates": updates, "version": 1}))
}

/// An update with details of some kilobytes, of which webhooks get a copy.
fn update(number: u32) -> Update {
    let rows: Vec<String> = (0..40).map(|row| format!("{row:>4} {}", "measured ".repeat(10))).collect();
    let change = if number == 1 { "opened" } else { "text_added" };
    parsed(json!({"number": number, "event_id": "evt_a", "correlation_id": "c-1", "accepted_at": AT,
        "change": change, "status": "investigating", "severity": "error", "title": "Down", "message": "All calls fail.",
        "components": [], "regions": [], "details": {"rows": rows}}))
}

/// Runs the routing jobs of one update, as `subscription-lookup` does: jobs that continue come behind the others.
fn route_update(tenants: &mut Tenants, number: u32, calls: &mut Calls) {
    let job = |first: u16| RoutingJob {
        v: VERSION,
        correlation_id: "c-1".to_owned(),
        incident_id: IncidentId::new("a"),
        update: number,
        route: RoutingTarget::Shards { first, next: first, end: first + SHARDS_PER_JOB, after: None },
    };
    let mut jobs: Vec<RoutingJob> = (0..SHARDS).step_by(usize::from(SHARDS_PER_JOB)).map(job).rev().collect();
    while let Some(job) = jobs.pop() {
        let mut turn = turn();
        let mut story = route::begin(job);
        loop {
            turn.counted.clear();
            turn.left = turn.left.saturating_sub(ROUTE_EFFECT);
            story = match story {
                Route::Context(step) => {
                    *calls.entry("read").or_default() += 2;
                    let updates = (1..=number).map(update).collect();
                    let context =
                        RouteContext { incident: Some(incident(number)), updates, suppressed: Vec::new(), place: None };
                    step.answered(Ok(context), &mut turn)
                }
                Route::Page(step) => {
                    *calls.entry("page").or_default() += 1;
                    let after = step.after().map_or(0, |tenant| Tenants::number_of(tenant) + 1);
                    let mut page: Vec<usize> =
                        tenants.of_shard(step.shard()).skip_while(|one| *one < after).take(PAGE_TENANTS + 1).collect();
                    let is_last = page.len() <= PAGE_TENANTS;
                    page.truncate(PAGE_TENANTS);
                    let next = page.last().filter(|_| !is_last).map(|last| Tenants::id(*last));
                    let has_history = number > 1;
                    if has_history && step.earlier_plans() == EarlierPlans::Newest {
                        // One query for the newest plan, one for the rows.
                        *calls.entry("history").or_default() += 2 * page.len() as u64;
                    }
                    let history = |one: usize| PlanHistory {
                        plans: if has_history { vec![Tenants::plan_before(one, number - 1)] } else { Vec::new() },
                        ..PlanHistory::default()
                    };
                    let tenants_of_page = page.iter().map(|one| (tenants.subscriber(*one), history(*one))).collect();
                    let page = TenantPage { tenants: tenants_of_page, unreadable: Vec::new(), next };
                    step.answered(Ok(page), &tenants.policy, &mut turn)
                }
                Route::Store(step) => {
                    let answers: Vec<_> = step.plans().cloned().map(Ok).collect();
                    *calls.entry("store").or_default() += answers.len() as u64;
                    step.answered(answers, &mut turn)
                }
                Route::Hold(step) => {
                    *calls.entry("hold").or_default() += step.entries().len() as u64;
                    step.entries().iter().for_each(|due| tenants.give(&due.tenant, &due.destination));
                    step.answered(Ok(()), &mut turn)
                }
                Route::Enqueue(step) => {
                    // As the function does: the texts of a step are in memory together.
                    let mut bodies: BTreeMap<Channel, Vec<String>> = BTreeMap::new();
                    for delivery in step.deliveries() {
                        tenants.give(&delivery.alert.tenant, &delivery.destination);
                        bodies.entry(delivery.channel).or_default().push(serde_json::to_string(delivery).unwrap());
                    }
                    // A batch of SQS has ten.
                    *calls.entry("enqueue").or_default() +=
                        bodies.values().map(|bodies| bodies.len().div_ceil(10) as u64).sum::<u64>();
                    step.answered(Ok(()), &mut turn)
                }
                Route::Continue(step) => {
                    *calls.entry("continue").or_default() += 1;
                    jobs.push(step.job().clone());
                    step.answered(Ok(()), &mut turn)
                }
                Route::End(verdict) => {
                    assert_eq!(verdict, Verdict::Delete);
                    break;
                }
                other => panic!("{other:?}"),
            };
        }
    }
}

/// The due index with a retry for every tenant's webhook, made when its page is read.
struct DueIndex {
    entries: usize,
    /// How many entries of each shard were released. They are released in the order of their places.
    released: Vec<usize>,
    places: Vec<DuePlaces>,
}

impl DueIndex {
    fn place(number: usize) -> String {
        format!("0029383040#{number:07}")
    }

    fn entry(number: usize) -> ScheduledDelivery {
        parsed(
            json!({"at": AT, "tenant": Tenants::id(number), "destination": Tenants::destination_id(3), "channel": "webhook",
            "incident_id": "inc_a", "update": 1, "attempt": 2}),
        )
    }

    fn page(&self, shard: u16, after: Option<&str>) -> DuePage {
        let first = self.released[usize::from(shard)] * usize::from(DUE_SHARDS) + usize::from(shard);
        let numbers = (first..self.entries).step_by(usize::from(DUE_SHARDS));
        let numbers = numbers.skip_while(|number| after.is_some_and(|after| Self::place(*number).as_str() <= after));
        let item = |number| DueItem::new(Self::entry(number), shard, &Self::place(number), "1");
        let items: Vec<DueItem> = numbers.take(PAGE_ENTRIES).map(item).collect();
        let next = (items.len() >= PAGE_ENTRIES).then(|| items.last().map(|last| last.place().to_owned())).flatten();
        DuePage { items, unreadable: 0, next }
    }
}

/// Runs `release`, minute by minute, until nothing is due. Returns the minutes.
fn release_all(tenants: &mut Tenants, calls: &mut Calls) -> usize {
    let places = vec![DuePlaces::default(); usize::from(DUE_SCHEDULES)];
    let mut index = DueIndex { entries: tenants.number, released: vec![0; usize::from(DUE_SHARDS)], places };
    for minute in 1..1_000 {
        let before = tenants.given.iter().filter(|given| **given > 0).count();
        for first in 0..DUE_SCHEDULES {
            release_run(tenants, &mut index, first, calls);
        }
        let given = tenants.given.iter().filter(|given| **given > 0).count();
        if given == tenants.number {
            return minute;
        }
        assert!(given > before, "nothing is released any more");
    }
    panic!("it does not end");
}

fn release_run(tenants: &mut Tenants, index: &mut DueIndex, first: u16, calls: &mut Calls) {
    let mut turn = turn();
    let mut story = release::begin(ReadShards { first, written: DUE_SHARDS }, &turn);
    loop {
        turn.counted.clear();
        turn.left = turn.left.saturating_sub(RELEASE_EFFECT);
        story = match story {
            Release::Places(step) => step.answered(Ok(index.places[usize::from(first)].clone()), &mut turn),
            Release::Page(step) => {
                *calls.entry("page").or_default() += 1;
                let page = index.page(step.shard(), step.after());
                step.answered(Ok(page), &mut turn)
            }
            Release::Facts(step) => {
                let facts = facts(tenants, step.items(), calls);
                step.answered(&facts, &tenants.policy, &mut turn)
            }
            Release::Enqueue(step) => {
                let messages = step.messages();
                *calls.entry("enqueue").or_default() += messages.len().div_ceil(10) as u64;
                for some in messages.chunks(10) {
                    let members = some.iter().flat_map(|one| one.message.members());
                    let bodies: Vec<String> = members.map(|one| serde_json::to_string(one).unwrap()).collect();
                    assert_eq!(bodies.len(), some.len());
                }
                for member in messages.iter().flat_map(|one| one.message.members()) {
                    tenants.give(&member.alert.tenant, &member.destination);
                }
                let enqueued = vec![true; messages.len()];
                step.answered(&enqueued, &mut turn)
            }
            Release::Delete(step) => {
                *calls.entry("delete").or_default() += step.items().len() as u64;
                step.items().iter().for_each(|item| index.released[usize::from(item.shard())] += 1);
                step.answered((), &mut turn)
            }
            Release::SavePlaces(step) => {
                index.places[usize::from(first)] = step.places().clone();
                step.answered((), &mut turn)
            }
            Release::End(_) => return,
            other => panic!("{other:?}"),
        };
    }
}

fn facts(tenants: &Tenants, items: &[DueItem], calls: &mut Calls) -> PageFacts {
    let keys = FactKeys::of(items);
    let read = keys.tenants.len() + keys.incidents.len() + keys.updates.len() + keys.destinations.len();
    *calls.entry("read").or_default() += read as u64;
    let settings = |tenant: TenantId| {
        let subscriber = tenants.subscriber(Tenants::number_of(&tenant));
        (tenant, Some(subscriber.settings))
    };
    PageFacts {
        settings: keys.tenants.into_iter().map(settings).collect(),
        incidents: keys.incidents.into_iter().map(|id| (id, Some(incident(1)))).collect(),
        updates: keys.updates.into_iter().map(|key| (key, Some(update(1)))).collect(),
        destinations: keys.destinations.into_iter().map(|key| (key, Some(tenants.destination(3)))).collect(),
        ..PageFacts::default()
    }
}

/// The stories with this many tenants: the first update, the second, and a retry to every webhook.
fn run(number: usize) -> [(&'static str, Measured); 3] {
    let routed = |update: u32| {
        let mut tenants = Tenants::new(number);
        let measured = measured(|calls| route_update(&mut tenants, update, calls));
        tenants.everybody_was_given_it_once();
        measured
    };
    let (opening, second) = (routed(1), routed(2));
    let mut tenants = Tenants::new(number);
    let released = measured(|calls| {
        *calls.entry("minutes").or_default() = release_all(&mut tenants, calls) as u64;
    });
    let webhooks: Vec<u8> = tenants.given.iter().skip(3).step_by(DESTINATIONS).copied().collect();
    assert!(webhooks.iter().all(|given| *given == 1), "a retry was lost, or released twice");
    [("route, update 1", opening), ("route, update 2", second), ("release", released)]
}

#[test]
fn many_tenants_take_more_calls_and_no_more_memory() {
    // Whatever is made once for the process is made before it counts.
    drop(run(100));
    let asked = std::env::var_os("TOCSIN_MANY_TENANTS").and_then(|text| text.to_str()?.parse().ok());
    let most: usize = asked.unwrap_or(10_000);
    let numbers = [1_000, 10_000, 100_000].into_iter().filter(|number| *number <= most.max(10_000));
    let runs: Vec<(usize, [(&str, Measured); 3])> = numbers.map(|number| (number, run(number))).collect();
    for (number, stories) in &runs {
        for (story, Measured { calls, peak, took }) in stories {
            println!(
                "{number:>7} tenants, {story}: {:.1} s, {} KB at most, {calls:?}",
                took.as_secs_f64(),
                peak / 1024
            );
        }
    }
    let (few, base) = &runs[0];
    for (number, stories) in &runs[1..] {
        for ((story, measured), (_, base)) in stories.iter().zip(base) {
            let (calls, tenants) = (measured.all_calls() as f64 / base.all_calls() as f64, (number / few) as f64);
            // What each job and each minute costs by itself weighs less with more tenants.
            assert!(
                (0.7 * tenants..=1.05 * tenants).contains(&calls),
                "{story}: {tenants} times the tenants take {calls} times the calls"
            );
            let bytes = measured.peak as f64 / base.peak as f64;
            assert!(bytes <= 1.2, "{story}: {tenants} times the tenants take {bytes} times the memory");
        }
    }
}
