//! Simulation of the whole pipeline, from an event to the accepted messages, over generated tenants, events and clocks.
//!
//! Tables and queues are maps, which are read and written in the order in which the functions do it; every rule is the real one. A world is
//! one simulated run. `scenario` generates its input; `check` holds the invariants that are checked at its end.

mod check;
mod classify;
mod lookup;
mod people;
mod release;
mod scenario;
mod senders;

use contracts::queue::{Delivery, DeliveryTarget, delivery_row_key};
use domain::alert::Alert;
use domain::attempt::{AttemptFailure, RetryVerdict};
use domain::delivery::{ClaimRefusal, DeliveryRow, EarlierClaim, earlier_claim};
use domain::due::ScheduledDelivery;
use domain::event::{Event, Format};
use domain::event_record::EventRecord;
use domain::ids::{EventId, IncidentId, IntegrationId, Scope, TenantId};
use domain::incident::{Change, Incident, KeyState, Update, hash_dedup_key};
use domain::maintenance::MaintenanceWindow;
use domain::plan::{Decision, DecisionOutcome, PlanHistory, StoredPlan};
use domain::policy::{Policy, PolicyFiles};
use domain::rate_limit::{Exemption, RateLimitDecision, RateLimitState};
use domain::reason::Reason;
use domain::subscriber::Subscriber;
use domain::tenant::Destination;
use domain::vocabulary::{Channel, Severity, Status};
use jiff::{SignedDuration, Timestamp};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use scenario::{EVENT_KINDS, EventSpec, Scenario, Scene, SettingChange};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::LazyLock;

/// The embedded policy with rules of its own: one for each generated kind of event, as it is and with a low balance.
static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let rule = |event_kind: usize, low_balance: bool| {
        let (category, kind) = EVENT_KINDS[event_kind];
        let event_type = event_type(event_kind, low_balance);
        let example = serde_json::json!({"source": "monitor", "type": event_type, "severity": "error", "title": "t"});
        serde_json::json!({
            "id": event_type.replace('.', "-"), "category": category, "kind": kind, "types": [event_type],
            "low_balance": low_balance, "document": "none", "examples": [example],
        })
    };
    let rules: Vec<_> = (0..EVENT_KINDS.len()).flat_map(|kind| [rule(kind, false), rule(kind, true)]).collect();
    let classification = serde_json::json!({ "rules": rules }).to_string();
    Policy::parse(&PolicyFiles { classification: &classification, ..PolicyFiles::EMBEDDED }).unwrap()
});

/// The event type of a generated kind of event.
fn event_type(event_kind: usize, low_balance: bool) -> String {
    format!("x.kind{event_kind}{}", if low_balance { ".low" } else { "" })
}

/// How long a world runs on after its last event: longer than any hold.
const RUN_AFTER_LAST_EVENT: SignedDuration = SignedDuration::from_hours(24 * 9);

/// The longest pause before a retry to people for which quiet hours are not checked again.
const PAUSE_MAX: SignedDuration = SignedDuration::from_secs(60);

/// An incident and its timeline.
#[derive(Debug)]
struct IncidentRecord {
    incident: Incident,
    updates: Vec<Update>,
}

/// An action at a point in simulated time.
#[derive(Clone, Debug)]
enum Job {
    Event(EventSpec),
    OperatorUpdate { tenant: usize, key: usize, status: Option<Status> },
    Stop { tenant: usize, destination: usize, key: usize },
    SettingChange { tenant: usize, to: SettingChange },
    Route { incident: IncidentId, update: u32, tenant: usize },
    Deliver(QueuedMessage),
}

/// A message on a delivery queue: one delivery, or a batch (digest or bundle).
#[derive(Clone, Debug)]
struct QueuedMessage {
    members: Vec<Delivery>,
    batched: bool,
    /// The version of the settings that the delivery was decided with.
    version: u64,
    /// How often the message was received, including this time.
    receives: u32,
}

/// Identifies a delivery: tenant, destination, channel, incident, update.
type DeliveryKey = (TenantId, String, Channel, IncidentId, u32);

/// A delivery that a provider or receiver accepted.
#[derive(Clone, Debug)]
struct SentRecord {
    key: DeliveryKey,
    at: Timestamp,
    change: Change,
    /// The number of the message; the members of a batch have the same.
    message: usize,
    /// Whether the message is a batch.
    batched: bool,
    /// The beginning of the quiet hours in which it was sent, if it was.
    quiet: Option<Timestamp>,
    /// Whether it was a restricted SMS outside the regulatory window.
    outside_sms_window: bool,
    /// Until when it was held, if it was.
    held: Option<Timestamp>,
    /// The tenant and the e-mail address or phone number; `None` for chat and webhooks.
    contact: Option<String>,
    /// Whether it counts towards the contact's rate limits: it had capacity, or used a reserved bundle slot.
    counts: bool,
}

/// A delivery that ended without sending.
#[derive(Clone, Debug)]
struct EndedRecord {
    key: DeliveryKey,
    reason: Reason,
}

/// A first attempt that was deferred by its contact's rate limit.
#[derive(Clone, Debug)]
struct DeferredRecord {
    key: DeliveryKey,
    /// Exempt messages of the same kind that were sent to the contact in the minute before.
    exempt_before: usize,
    exempt: Option<Exemption>,
    at: Timestamp,
    until: Timestamp,
}

/// The state of one simulated run.
struct World {
    now: Timestamp,
    lag: SignedDuration,
    fault_seed: Option<u64>,
    /// The seed that decides which messages to people fail, and how often.
    failure_seed: Option<u64>,
    /// Deliveries that failed at least once.
    failed: BTreeSet<DeliveryKey>,
    /// The minutes of an outage, in which `release` does not run.
    outage: Range<i64>,
    tenants: Vec<Subscriber>,
    jobs: BTreeMap<(Timestamp, u64), Job>,
    number: u64,
    keys: BTreeMap<String, KeyState>,
    records: BTreeMap<(EventId, Option<Scope>), EventRecord>,
    /// The deduplication ids of routing jobs.
    emitted: BTreeSet<String>,
    incidents: BTreeMap<IncidentId, IncidentRecord>,
    plan_history: BTreeMap<(IncidentId, TenantId), PlanHistory>,
    openings: BTreeMap<(TenantId, i64), u32>,
    due: BTreeMap<String, ScheduledDelivery>,
    rows: BTreeMap<(IncidentId, TenantId, String), DeliveryRow>,
    contacts: BTreeMap<String, RateLimitState>,
    /// When exempt messages were sent to a contact over its limit, by contact and whether they were critical openings.
    exempt_sends: BTreeMap<(String, bool), Vec<Timestamp>>,
    /// The minutes in which a contact has a slot reserved for its bundle.
    bundle_slots: BTreeSet<(String, Timestamp)>,
    /// The slots that a bundle has used. A second bundle in the same minute names what the full one could not omit.
    filled_slots: BTreeSet<(String, i64)>,
    messages: usize,
    sent: Vec<SentRecord>,
    ended: Vec<EndedRecord>,
    deferred: Vec<DeferredRecord>,
    /// Batched entries that were rescheduled into another batch: there must be none.
    rebatched: Vec<ScheduledDelivery>,
}

impl World {
    fn new(scenario: &Scenario) -> Self {
        let mut world = Self {
            now: scenario.begin,
            lag: SignedDuration::from_secs(scenario.lag),
            fault_seed: scenario.fault_seed.map(|seed| seed | 1),
            failure_seed: scenario.failure_seed,
            failed: BTreeSet::new(),
            outage: scenario.outage.map_or(0..0, |(from, lasts)| {
                let from = minute(seconds_after(scenario.begin, from));
                from..from + lasts
            }),
            tenants: scenario.tenants.clone(),
            jobs: BTreeMap::new(),
            number: 0,
            keys: BTreeMap::new(),
            records: BTreeMap::new(),
            emitted: BTreeSet::new(),
            incidents: BTreeMap::new(),
            plan_history: BTreeMap::new(),
            openings: BTreeMap::new(),
            due: BTreeMap::new(),
            rows: BTreeMap::new(),
            contacts: BTreeMap::new(),
            exempt_sends: BTreeMap::new(),
            bundle_slots: BTreeSet::new(),
            filled_slots: BTreeSet::new(),
            messages: 0,
            sent: Vec::new(),
            ended: Vec::new(),
            deferred: Vec::new(),
            rebatched: Vec::new(),
        };
        let mut at = scenario.begin;
        for (pause, scene) in &scenario.scenes {
            at = seconds_after(at, *pause);
            world.schedule_scene(scene, at);
        }
        world
    }

    /// Runs a scenario to its end.
    fn ended(scenario: &Scenario) -> Self {
        let mut world = Self::new(scenario);
        let last = world.jobs.keys().next_back().map_or(scenario.begin, |(at, _)| *at);
        world.run(last.saturating_add(RUN_AFTER_LAST_EVENT).unwrap());
        world
    }

    fn schedule_scene(&mut self, scene: &Scene, at: Timestamp) {
        let one = |tenant: usize, key: usize, event_kind: usize, severity: Severity, status: Option<Status>| {
            let (components, regions) = (vec![], vec![]);
            Job::Event(EventSpec {
                tenant: Some(tenant),
                key,
                event_kind,
                severity,
                status,
                components,
                regions,
                lasts: 30,
            })
        };
        match scene.clone() {
            Scene::Event(spec) => self.schedule_job(at, Job::Event(spec)),
            Scene::Storm { tenant, many, severity, event_kind } => {
                for key in 0..many {
                    let then = seconds_after(at, i64::try_from(key).unwrap() / 3);
                    self.schedule_job(then, one(tenant, 100 + key, event_kind, severity, None));
                }
            }
            Scene::ResolveAll { tenant } => {
                for key in 0..180 {
                    let then = seconds_after(at, i64::try_from(key).unwrap() / 3);
                    self.schedule_job(then, one(tenant, 100 + key, 0, Severity::Error, Some(Status::Resolved)));
                }
            }
            Scene::Flap { spec, times, gap } => {
                for time in 0..times {
                    let then = seconds_after(at, i64::try_from(time).unwrap() * gap * 2);
                    self.schedule_job(then, Job::Event(EventSpec { status: None, ..spec.clone() }));
                    let resolved = EventSpec { status: Some(Status::Resolved), ..spec.clone() };
                    self.schedule_job(seconds_after(then, gap), Job::Event(resolved));
                }
            }
            Scene::DuringMaintenance { spec, later, severity } => {
                let components = vec!["voice".to_owned()];
                let work = EventSpec {
                    key: 50,
                    event_kind: 5,
                    status: None,
                    components: components.clone(),
                    regions: vec![],
                    ..spec
                };
                let broken = EventSpec { key: 1, event_kind: 0, severity, components, ..work.clone() };
                self.schedule_job(at, Job::Event(work));
                self.schedule_job(seconds_after(at, later * 60), Job::Event(broken));
            }
            Scene::OperatorUpdate { tenant, key, status } => {
                self.schedule_job(at, Job::OperatorUpdate { tenant, key, status })
            }
            Scene::Stop { tenant, destination, key } => self.schedule_job(at, Job::Stop { tenant, destination, key }),
            Scene::SettingChange { tenant, to } => self.schedule_job(at, Job::SettingChange { tenant, to }),
        }
    }

    fn schedule_job(&mut self, at: Timestamp, job: Job) {
        self.number += 1;
        self.jobs.insert((at, self.number), job);
    }

    /// Whether a fault happens here: once in `often` times on average, if the scenario has faults.
    fn fault_strikes(&mut self, often: u64) -> bool {
        let Some(state) = &mut self.fault_seed else { return false };
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 20).is_multiple_of(often)
    }

    /// Runs jobs and release minutes in order of time, until `end`.
    fn run(&mut self, end: Timestamp) {
        let mut ticked = i64::MIN;
        loop {
            let job = self.jobs.keys().next().map(|(at, _)| *at);
            let tick = self.due.values().next().map(|due| minute(due.at).max(ticked.saturating_add(1)));
            let tick = tick.map(|tick| tick.max(minute(self.now)));
            // The schedule fires at the start of a minute; entries that are added later wait for the next one.
            let tick = tick.map(|tick| if minute_start(tick) < self.now { tick + 1 } else { tick });
            let tick = tick.map(|tick| if self.outage.contains(&tick) { self.outage.end } else { tick });
            match (job, tick) {
                (None, None) => return,
                (job, Some(tick)) if job.is_none_or(|job| minute_start(tick) <= job) => {
                    if minute_start(tick) > end {
                        return;
                    }
                    self.now = minute_start(tick);
                    ticked = tick;
                    self.release_due();
                }
                (Some(at), _) => {
                    self.now = at;
                    if let Some((_, job)) = self.jobs.pop_first() {
                        self.perform(job);
                    }
                }
                (None, Some(_)) => return,
            }
        }
    }

    fn perform(&mut self, job: Job) {
        match job {
            Job::Event(spec) => self.receive_event(&spec),
            Job::OperatorUpdate { tenant, key, status } => self.post_operator_update(tenant, key, status),
            Job::Stop { tenant, destination, key } => self.stop_notifications(tenant, destination, key),
            Job::SettingChange { tenant, to } => self.change_setting(tenant, &to),
            Job::Route { incident, update, tenant } => self.route(&incident, update, tenant),
            Job::Deliver(message) => {
                self.deliver(&message);
                if self.fault_strikes(4) {
                    self.deliver(&message);
                }
            }
        }
    }
}

fn integration() -> IntegrationId {
    IntegrationId::new("monitor")
}

fn seconds_after(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

fn minute_start(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60).unwrap()
}

fn due_key(due: &ScheduledDelivery) -> String {
    let minute = minute(due.at);
    format!("{minute:010}#{}#{}#{}#{}#{:06}", due.tenant, due.destination, due.channel, due.incident_id, due.update)
}

fn key_of_due(due: &ScheduledDelivery) -> DeliveryKey {
    (due.tenant.clone(), due.destination.clone(), due.channel, due.incident_id.clone(), due.update)
}

fn key_of(delivery: &Delivery) -> DeliveryKey {
    let Alert { tenant, incident_id, update, .. } = &delivery.alert;
    (tenant.clone(), delivery.destination.clone(), delivery.channel, incident_id.clone(), *update)
}

fn contact_key(delivery: &Delivery) -> Option<String> {
    let tenant = delivery.alert.tenant.as_str();
    match &delivery.target {
        DeliveryTarget::Email { address, .. } => Some(format!("{tenant} {}", address.expose())),
        DeliveryTarget::Sms { phone, .. } => Some(format!("{tenant} {}", phone.expose())),
        DeliveryTarget::Chat { .. } | DeliveryTarget::Webhook { .. } => None,
    }
}

/// Runs `PROPTEST_CASES` worlds, or 1,200 if that is not set (proptest's own default, 256, counts as not set).
fn run_worlds(changes_settings: bool) {
    let asked = Config::default();
    let cases = if asked.cases == 256 { 1_200 } else { asked.cases };
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..asked });
    if let Err(error) =
        runner.run(&scenario::scenario(changes_settings), |scenario| check_invariants(&World::ended(&scenario)))
    {
        panic!("{error}");
    }
}

fn check_invariants(world: &World) -> Result<(), TestCaseError> {
    check::nothing_is_sent_twice(world)?;
    check::every_decision_ends_once(world)?;
    check::nothing_is_sent_early(world)?;
    check::held_updates_are_superseded_by_newer_ones(world)?;
    check::openings_and_resolves_reach_the_same_destinations(world)?;
    check::quiet_hours_are_kept(world)?;
    check::webhooks_receive_every_update_in_order(world)?;
    check::contact_rate_limits_are_kept(world)?;
    check::critical_openings_are_sent_at_once(world)?;
    check::an_outage_is_followed_by_few_messages(world)?;
    check::the_regulatory_sms_window_is_kept(world)
}

#[test]
fn every_world_keeps_the_invariants() {
    run_worlds(false);
}

#[test]
fn every_world_keeps_the_invariants_while_tenants_change_settings() {
    run_worlds(true);
}
