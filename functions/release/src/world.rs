//! Whole worlds: the rules end to end, from an event to what stands in a mailbox, over generated tenants, events and clocks.
//!
//! What does I/O in production is a map here, and is written to and read as the functions do it; every rule is the real one. What
//! is asked at the end of each world is in `check`.

mod check;
mod plot;

use crate::decide::{Again, Decided, Facts, comes_together, decide_held, decide_unheld, delay_seconds, revised};
use crate::{Bundled, delay_of_all, is_collected, is_counted, is_storm, standing, whole_digests};
use contracts::queue::{Delivery, Target, row_name};
use domain::alert::Alert;
use domain::attempt::{Failed, Next, Verdict, next, pause_on_queue_max};
use domain::classification::Included;
use domain::delivery::{Before, Refusal, Row, State, before, refusal};
use domain::event::{Event, Format};
use domain::ids::{EventId, IncidentId, IntegrationId, Scope, TenantId};
use domain::incident::{Arrival, Change, Incident, KeyState, Step, Update, advance, advance_by_update, key};
use domain::maintenance::{Window, explained, look_again, window};
use domain::plan::{Asked, Decision, Outcome, Told, plan};
use domain::policy::Policy;
use domain::reason::Reason;
use domain::storm::{Contact, Exempt, May, counted};
use domain::tenant::Destination;
use domain::vocabulary::{Channel, Severity, Status, Storms};
use jiff::{SignedDuration, Timestamp};
use plot::{Plot, SORTS, Said, Scene, Setting};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::LazyLock;
use store::due::{Due, DueItem, Hold};
use store::plans::{Known, StoredPlan};
use store::subscriptions::Subscriber;

static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy::embedded().unwrap());

/// How long a world goes on after its last event: longer than any hold.
const AFTERWARDS: SignedDuration = SignedDuration::from_hours(24 * 9);

/// The longest pause before an attempt that is not asked for the hour.
const PAUSE_MAX: SignedDuration = SignedDuration::from_secs(60);

/// An incident and its timeline.
#[derive(Debug)]
struct Story {
    incident: Incident,
    updates: Vec<Update>,
}

/// What is to be done at a moment.
#[derive(Clone, Debug)]
enum Job {
    Event(Said),
    Words { tenant: usize, key: usize, status: Option<Status> },
    Stop { tenant: usize, destination: usize, key: usize },
    Setting { tenant: usize, to: Setting },
    Route { incident: IncidentId, update: u32, tenant: usize },
    Deliver(Message),
}

/// What stands on a delivery queue: one delivery, or several that come together.
#[derive(Clone, Debug)]
struct Message {
    members: Vec<Delivery>,
    together: bool,
    /// The settings that it was decided with.
    version: u64,
}

/// What names a delivery: tenant, destination, channel, incident, update.
type Name = (TenantId, String, Channel, IncidentId, u32);

/// What a provider or a receiver took.
#[derive(Clone, Debug)]
struct Sent {
    name: Name,
    at: Timestamp,
    change: Change,
    /// Of which message; several members of one have the same.
    message: usize,
    /// Whether that message is one for what comes together.
    together: bool,
    /// Whether it was somebody's quiet hours, and since when.
    quiet: Option<Timestamp>,
    /// Whether the law forbade it then.
    unlawful: bool,
    /// Until when it was held.
    held: Option<Timestamp>,
    /// The address or number, where a person is written to.
    contact: Option<String>,
    /// Whether the contact's windows count it: it asked and had room, or a place was kept for it.
    counts: bool,
}

/// What ended unsent.
#[derive(Clone, Debug)]
struct Ended {
    name: Name,
    reason: Reason,
}

/// A first attempt that its contact's throttle put off.
#[derive(Clone, Debug)]
struct PutOff {
    name: Name,
    /// How many messages of its kind went to the contact as exempt in the minute before.
    exempt_before: usize,
    exempt: Option<Exempt>,
    at: Timestamp,
    until: Timestamp,
}

/// Everything there is.
struct World {
    now: Timestamp,
    lag: SignedDuration,
    faults: Option<u64>,
    /// What decides which messages to people fail, and how often.
    failures: Option<u64>,
    /// What failed at least once.
    failed: BTreeSet<Name>,
    /// The minutes in which nothing is released.
    outage: Range<i64>,
    tenants: Vec<Subscriber>,
    jobs: BTreeMap<(Timestamp, u64), Job>,
    number: u64,
    keys: BTreeMap<String, KeyState>,
    stories: BTreeMap<IncidentId, Story>,
    known: BTreeMap<(IncidentId, TenantId), Known>,
    openings: BTreeMap<(TenantId, i64), u32>,
    due: BTreeMap<String, Due>,
    rows: BTreeMap<(IncidentId, TenantId, String), Row>,
    contacts: BTreeMap<String, Contact>,
    /// When a message went to a contact although there was no room.
    exempts: BTreeMap<(String, bool), Vec<Timestamp>>,
    /// The minutes in which a contact's message with everything that waits has a place.
    places: BTreeSet<(String, Timestamp)>,
    /// Which of them have their message: what is named although that is full comes in one beside it.
    filled: BTreeSet<(String, i64)>,
    messages: usize,
    sent: Vec<Sent>,
    ended: Vec<Ended>,
    put_off: Vec<PutOff>,
    /// What came together with others, and was then to wait for others once more.
    again: Vec<Due>,
}

impl World {
    fn new(plot: &Plot) -> Self {
        let mut world = Self {
            now: plot.begin,
            lag: SignedDuration::from_secs(plot.lag),
            faults: plot.faults.map(|seed| seed | 1),
            failures: plot.failures,
            failed: BTreeSet::new(),
            outage: plot.outage.map_or(0..0, |(from, lasts)| {
                let from = minute(after(plot.begin, from));
                from..from + lasts
            }),
            tenants: plot.tenants.clone(),
            jobs: BTreeMap::new(),
            number: 0,
            keys: BTreeMap::new(),
            stories: BTreeMap::new(),
            known: BTreeMap::new(),
            openings: BTreeMap::new(),
            due: BTreeMap::new(),
            rows: BTreeMap::new(),
            contacts: BTreeMap::new(),
            exempts: BTreeMap::new(),
            places: BTreeSet::new(),
            filled: BTreeSet::new(),
            messages: 0,
            sent: Vec::new(),
            ended: Vec::new(),
            put_off: Vec::new(),
            again: Vec::new(),
        };
        let mut at = plot.begin;
        for (pause, scene) in &plot.scenes {
            at = after(at, *pause);
            world.stage(scene, at);
        }
        world
    }

    /// A world that has come to its end.
    fn ended(plot: &Plot) -> Self {
        let mut world = Self::new(plot);
        let last = world.jobs.keys().next_back().map_or(plot.begin, |(at, _)| *at);
        world.run(last.saturating_add(AFTERWARDS).unwrap());
        world
    }

    fn stage(&mut self, scene: &Scene, at: Timestamp) {
        let one = |tenant: usize, key: usize, sort: usize, severity: Severity, status: Option<Status>| {
            let (components, regions) = (vec![], vec![]);
            Job::Event(Said { tenant: Some(tenant), key, sort, severity, status, components, regions, lasts: 30 })
        };
        match scene.clone() {
            Scene::Event(said) => self.later(at, Job::Event(said)),
            Scene::Storm { tenant, many, severity, sort } => {
                for key in 0..many {
                    let then = after(at, i64::try_from(key).unwrap() / 3);
                    self.later(then, one(tenant, 100 + key, sort, severity, None));
                }
            }
            Scene::Calm { tenant } => {
                for key in 0..180 {
                    let then = after(at, i64::try_from(key).unwrap() / 3);
                    self.later(then, one(tenant, 100 + key, 0, Severity::Error, Some(Status::Resolved)));
                }
            }
            Scene::Flap { said, times, gap } => {
                for time in 0..times {
                    let then = after(at, i64::try_from(time).unwrap() * gap * 2);
                    self.later(then, Job::Event(Said { status: None, ..said.clone() }));
                    let resolved = Said { status: Some(Status::Resolved), ..said.clone() };
                    self.later(after(then, gap), Job::Event(resolved));
                }
            }
            Scene::Explained { said, later, severity } => {
                let components = vec!["voice".to_owned()];
                let work =
                    Said { key: 50, sort: 5, status: None, components: components.clone(), regions: vec![], ..said };
                let broken = Said { key: 1, sort: 0, severity, components, ..work.clone() };
                self.later(at, Job::Event(work));
                self.later(after(at, later * 60), Job::Event(broken));
            }
            Scene::Words { tenant, key, status } => self.later(at, Job::Words { tenant, key, status }),
            Scene::Stop { tenant, destination, key } => self.later(at, Job::Stop { tenant, destination, key }),
            Scene::Setting { tenant, to } => self.later(at, Job::Setting { tenant, to }),
        }
    }

    fn later(&mut self, at: Timestamp, job: Job) {
        self.number += 1;
        self.jobs.insert((at, self.number), job);
    }

    /// Whether a fault strikes here, once in `often` times.
    fn strikes(&mut self, often: u64) -> bool {
        let Some(state) = &mut self.faults else { return false };
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 20).is_multiple_of(often)
    }

    /// Runs the clock: what happens, and every minute with something due in it.
    fn run(&mut self, end: Timestamp) {
        let mut ticked = i64::MIN;
        loop {
            let job = self.jobs.keys().next().map(|(at, _)| *at);
            let tick = self.due.values().next().map(|due| minute(due.at).max(ticked.saturating_add(1)));
            let tick = tick.map(|tick| tick.max(minute(self.now)));
            // The schedule comes at the beginning of its minute, so what was put there later waits for the next.
            let tick = tick.map(|tick| if begin_of(tick) < self.now { tick + 1 } else { tick });
            let tick = tick.map(|tick| if self.outage.contains(&tick) { self.outage.end } else { tick });
            match (job, tick) {
                (None, None) => return,
                (job, Some(tick)) if job.is_none_or(|job| begin_of(tick) <= job) => {
                    if begin_of(tick) > end {
                        return;
                    }
                    self.now = begin_of(tick);
                    ticked = tick;
                    self.tick();
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
            Job::Event(said) => self.event(&said),
            Job::Words { tenant, key, status } => self.words(tenant, key, status),
            Job::Stop { tenant, destination, key } => self.stop(tenant, destination, key),
            Job::Setting { tenant, to } => self.setting(tenant, &to),
            Job::Route { incident, update, tenant } => {
                let dies = self.strikes(8);
                self.route(&incident, update, tenant, false, dies);
                // The queue delivers what was not finished once more, and now and then what was.
                if dies || self.strikes(8) {
                    self.route(&incident, update, tenant, true, false);
                }
            }
            Job::Deliver(message) => {
                self.deliver(&message);
                if self.strikes(4) {
                    self.deliver(&message);
                }
            }
        }
    }

    // What classify does.

    fn event(&mut self, said: &Said) {
        let Some(scope) = self.scope(said.tenant) else { return };
        let (category, kind) = SORTS[said.sort];
        let maintenance = kind == domain::vocabulary::Kind::Maintenance;
        let event = Event {
            event_type: if maintenance { "maintenance.announced" } else { "x.broken" }.to_owned(),
            dedup_key: format!("k{}", said.key),
            severity: said.severity,
            title: "t".to_owned(),
            status: said.status,
            components: said.components.clone(),
            regions: said.regions.clone(),
            ends_at: (maintenance && said.status.is_none()).then(|| after(self.now, said.lasts * 60)),
            ..Event::blank(Format::Native, "monitor")
        };
        let class = Included {
            category,
            kind,
            rule: "r".to_owned(),
            public: false,
            public_sentence: String::new(),
            low_balance: said.key == 0,
            warnings: vec![],
        };
        let key = key(&scope, &integration(), &event.source, &event.dedup_key);
        let id = self.event_id();
        let arrival = Arrival {
            event_id: &id,
            scope: &scope,
            key: &key,
            integration_id: &integration(),
            correlation_id: "c",
            accepted_at: self.now,
        };
        let remembered = self.keys.get(&key).cloned();
        let open =
            remembered.as_ref().filter(|state| state.open).map(|state| &self.stories[&state.incident_id].incident);
        let step = advance(remembered.as_ref(), open, &event, &class, &arrival);
        let step = explained(step, open, &self.windows(&scope), self.now);
        let step = counted(step, remembered.as_ref(), &POLICY.storms.flapping, self.now);
        self.step(step);
    }

    fn words(&mut self, tenant: usize, key_number: usize, status: Option<Status>) {
        let Some(incident) = self.open(tenant, key_number).cloned() else { return };
        let (id, integration) = (self.event_id(), integration());
        let arrival = Arrival {
            event_id: &id,
            scope: &incident.scope,
            key: &incident.key,
            integration_id: &integration,
            correlation_id: "c",
            accepted_at: self.now,
        };
        let step = advance_by_update(&incident, status, "We know.", &arrival);
        let windows = self.windows(&incident.scope);
        self.step(explained(step, Some(&incident), &windows, self.now));
    }

    fn step(&mut self, step: Step) {
        let (incident, update) = match step {
            Step::Open(pair) | Step::Update(pair) => *pair,
            Step::Repeat(incident) => {
                if let Some(story) = self.stories.get_mut(&incident.id) {
                    story.incident = *incident;
                }
                return;
            }
            Step::Stale | Step::ResolveWithoutOpen => return,
        };
        let state = KeyState {
            incident_id: incident.id.clone(),
            open: incident.resolved_at.is_none(),
            source_started_at: incident.source_started_at,
            as_of: incident.as_of,
            closed_at: incident.resolved_at,
            openings: incident.openings,
        };
        self.keys.insert(incident.key.clone(), state);
        for tenant in 0..self.tenants.len() {
            let concerns = match &incident.scope {
                Scope::Platform => true,
                Scope::Tenant(whose) => *whose == self.tenants[tenant].settings.tenant,
            };
            if concerns {
                let job = Job::Route { incident: incident.id.clone(), update: update.number, tenant };
                self.later(self.now.saturating_add(self.lag).unwrap(), job);
            }
        }
        let story = self.stories.entry(incident.id.clone());
        let story = story.or_insert_with(|| Story { incident: incident.clone(), updates: Vec::new() });
        story.incident = incident;
        story.updates.push(update);
    }

    fn scope(&self, tenant: Option<usize>) -> Option<Scope> {
        let Some(tenant) = tenant else { return Some(Scope::Platform) };
        Some(Scope::Tenant(self.tenants.get(tenant)?.settings.tenant.clone()))
    }

    fn open(&self, tenant: usize, key_number: usize) -> Option<&Incident> {
        let key = key(&self.scope(Some(tenant))?, &integration(), "monitor", &format!("k{key_number}"));
        let state = self.keys.get(&key).filter(|state| state.open)?;
        Some(&self.stories.get(&state.incident_id)?.incident)
    }

    fn windows(&self, scope: &Scope) -> Vec<Window> {
        let reaches = |incident: &&Incident| incident.scope == Scope::Platform || incident.scope == *scope;
        self.stories.values().map(|story| &story.incident).filter(reaches).filter_map(window).collect()
    }

    fn event_id(&mut self) -> EventId {
        self.number += 1;
        EventId::new(&self.number.to_string())
    }

    // What people do.

    fn stop(&mut self, tenant: usize, destination: usize, key_number: usize) {
        let Some(incident) = self.open(tenant, key_number).map(|incident| incident.id.clone()) else { return };
        let subscriber = &self.tenants[tenant];
        let Some((_, destination)) = subscriber.destinations.get(destination) else { return };
        if matches!(destination, Destination::Recipient(_)) {
            let known = self.known.entry((incident, subscriber.settings.tenant.clone())).or_default();
            known.stopped.insert(destination.id().to_owned());
        }
    }

    fn setting(&mut self, tenant: usize, to: &Setting) {
        let now = self.now;
        let Some(subscriber) = self.tenants.get_mut(tenant) else { return };
        let settings = &mut subscriber.settings;
        settings.version += 1;
        match to {
            Setting::Zone(zone) => settings.zone = (*zone).to_owned(),
            Setting::QuietHours(hours) => settings.quiet_hours.clone_from(hours),
            Setting::Storms(storms) => settings.storms = *storms,
            Setting::Enabled(category, enabled) => {
                settings.categories.entry(*category).and_modify(|chosen| chosen.enabled = *enabled);
            }
            Setting::Muted(category, minutes) => {
                let until = minutes.map(|minutes| after(now, minutes * 60));
                settings.categories.entry(*category).and_modify(|chosen| chosen.muted_until = until);
            }
            Setting::Paused(place, paused) => {
                if let Some((_, Destination::Integration(one))) = subscriber.destinations.get_mut(*place) {
                    one.paused = *paused;
                }
            }
            Setting::Digest(place, digest) => {
                if let Some((_, Destination::Recipient(one))) = subscriber.destinations.get_mut(*place) {
                    one.digest.clone_from(digest);
                }
            }
        }
    }

    // What subscription-lookup does.

    /// Plans one update for one tenant. `dies`: after storing, before anything is given out.
    fn route(&mut self, incident: &IncidentId, number: u32, tenant: usize, redelivered: bool, dies: bool) {
        let subscriber = self.tenants[tenant].clone();
        let whose = subscriber.settings.tenant.clone();
        let known = self.known.entry((incident.clone(), whose.clone())).or_default().clone();
        let lower = known.plans.iter().map(|plan| plan.update).max().unwrap_or(0);
        let stored: Vec<Decision> = known.plans.iter().flat_map(|plan| plan.decisions.clone()).collect();
        let mut counted = if redelivered { stored.clone() } else { Vec::new() };
        if lower < number {
            let told = Told::from_plans(known.decisions(), &known.revised, self.now).but_not(&known.stopped);
            let storm = if lower == 0 { self.storm(incident, &subscriber) } else { None };
            let story = &self.stories[incident];
            let fresh: Vec<Update> =
                story.updates.iter().filter(|one| one.number > lower && one.number <= number).cloned().collect();
            let destinations: Vec<Destination> = subscriber.destinations.iter().map(|(_, one)| one.clone()).collect();
            let decisions = plan(&Asked {
                incident: &story.incident,
                updates: &fresh,
                settings: &subscriber.settings,
                destinations: &destinations,
                told: &told,
                policy: &POLICY,
                now: self.now,
                due: None,
                storm,
            });
            let known = self.known.entry((incident.clone(), whose.clone())).or_default();
            for update in &fresh {
                let decisions = decisions.iter().filter(|decision| decision.update == update.number).cloned();
                known.plans.push(StoredPlan {
                    tenant: whose.clone(),
                    chunk: 0,
                    update: update.number,
                    at: self.now,
                    settings_version: subscriber.settings.version,
                    decisions: decisions.collect(),
                });
            }
            counted.extend(decisions);
        } else if !redelivered {
            counted = stored;
        }
        if !dies {
            self.give_out(incident, &subscriber, counted);
        }
    }

    fn storm(&mut self, incident: &IncidentId, subscriber: &Subscriber) -> Option<Timestamp> {
        let incident = &self.stories[incident].incident;
        let Scope::Tenant(tenant) = &incident.scope else { return None };
        if subscriber.settings.storms != Storms::Bundle || incident.test || incident.severity == Severity::Critical {
            return None;
        }
        let (number, until) = POLICY.storms.ceiling.window(self.now);
        let opened = self.openings.entry((tenant.clone(), number)).or_default();
        *opened += 1;
        (*opened > POLICY.storms.ceiling.incidents).then_some(until)
    }

    fn give_out(&mut self, incident: &IncidentId, subscriber: &Subscriber, decisions: Vec<Decision>) {
        let mut now = Vec::new();
        for decision in decisions {
            let story = &self.stories[incident];
            let Some(update) = story.updates.iter().find(|update| update.number == decision.update) else { continue };
            match decision.outcome {
                Outcome::Deliver { role } => {
                    let destination = subscriber.destinations.iter().map(|(_, one)| one);
                    let Some(to) = destination.into_iter().find(|one| one.id() == decision.destination) else {
                        continue;
                    };
                    let (settings, incident) = (&subscriber.settings, &story.incident);
                    now.extend(Delivery::build(settings, incident, update, to, decision.channel, role));
                }
                Outcome::Hold { until, reason, role } => self.put_due(Due {
                    at: look_again(until, reason, update.accepted_at),
                    tenant: subscriber.settings.tenant.clone(),
                    destination: decision.destination,
                    channel: decision.channel,
                    incident_id: incident.clone(),
                    update: decision.update,
                    attempt: 1,
                    plain: false,
                    role,
                    held: Some(Hold { since: update.accepted_at, reason, named: false }),
                    waited: None,
                    more: 0,
                    gathered: false,
                    asked: false,
                }),
                Outcome::Skip { .. } => {}
            }
        }
        for delivery in now {
            let message = Message { members: vec![delivery], together: false, version: subscriber.settings.version };
            self.perform(Job::Deliver(message));
        }
    }

    // What release does.

    fn put_due(&mut self, due: Due) {
        self.due.insert(place_of(&due), due);
    }

    fn tick(&mut self) {
        let to = format!("{:010}#\u{10ffff}", minute(self.now));
        let mut after = String::new();
        let mut bundled = Bundled::new();
        loop {
            let range =
                self.due.range((std::ops::Bound::Excluded(after.clone()), std::ops::Bound::Included(to.clone())));
            let found = range.take(crate::PAGE).map(|(place, due)| DueItem::at_place(due.clone(), place));
            let items: Vec<DueItem> = found.collect();
            let next = items.last().filter(|_| items.len() >= crate::PAGE).map(|last| last.place().to_owned());
            let (items, next) = whole_digests(items, next);
            let dies = self.strikes(6);
            self.page(items, &mut bundled, dies);
            let Some(next) = next.filter(|_| !dies) else { break };
            after = next;
        }
    }

    /// One page. `dies`: after everything was sent, before anything is taken off.
    fn page(&mut self, items: Vec<DueItem>, bundled: &mut Bundled, dies: bool) {
        let (collapsed, items): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| is_counted(item, bundled));
        let mut ends: Vec<(DueItem, Reason, Option<Decision>)> =
            collapsed.into_iter().map(|item| (item, Reason::StormCollapsed, None)).collect();
        let mut digests: BTreeMap<(String, bool), Vec<(DueItem, Delivery)>> = BTreeMap::new();
        let mut waits: Vec<(DueItem, Due)> = Vec::new();
        let mut gone: Vec<String> = Vec::new();
        for item in items {
            let decided = self.decide(&item.due);
            let known = self.known.get(&(item.due.incident_id.clone(), item.due.tenant.clone()));
            let revised = revised(&item.due, &decided, known, self.now);
            let name = name_of_due(&item.due);
            let now_ms = self.now.as_millisecond();
            match (&decided, &revised) {
                // Whoever ran before died after it was sent.
                (Decided::Wait(..), Some(_))
                    if refusal(self.row(&name).as_deref(), name.4, item.due.attempt, now_ms).is_some() =>
                {
                    gone.push(item.place().to_owned());
                    continue;
                }
                (Decided::Send(_) | Decided::Wait(..), Some(revised)) => self.revise(&item.due, revised.clone()),
                _ => {}
            }
            match decided {
                Decided::Wait(later, _) => {
                    let collected = is_collected(&item) && later.held.is_some_and(comes_together);
                    if collected && later.gathered == item.due.gathered {
                        self.again.push((*later).clone());
                    }
                    waits.push((item, *later));
                }
                Decided::Send(delivery) if is_collected(&item) => {
                    digests.entry((item.group().to_owned(), is_storm(&item))).or_default().push((item, *delivery));
                }
                Decided::Send(delivery) => {
                    let delay = delay_seconds(&item.due, self.now);
                    self.send(vec![*delivery], false, delay);
                    gone.push(item.place().to_owned());
                }
                Decided::End(reason) => ends.push((item, reason, revised)),
            }
        }
        for ((place, storm), group) in digests {
            let (items, members): (Vec<DueItem>, Vec<Delivery>) = group.into_iter().unzip();
            let Some(last) = items.last() else { continue };
            let delay = delay_of_all(&items, self.now);
            let to = format!("{}#\u{10ffff}", last.group());
            let more = self.due.range(format!("{}#", last.place())..=to).count();
            self.send(members, !storm || more > 0 || items.len() > 1, delay);
            bundled.insert((place, storm));
            gone.extend(items.iter().map(|item| item.place().to_owned()));
        }
        for (item, later) in waits {
            let same = place_of(&later) == item.place();
            self.put_due(later);
            if !same {
                self.due.remove(item.place());
            }
        }
        if dies {
            return;
        }
        for place in gone {
            self.due.remove(&place);
        }
        for (item, reason, revised) in ends {
            let due = &item.due;
            let name = name_of_due(due);
            if self.end_unsent(&name, due.attempt) {
                self.ended.push(Ended { name, reason });
                if let Some(revised) = revised {
                    self.revise(due, revised);
                }
            }
            self.due.remove(item.place());
        }
    }

    fn revise(&mut self, due: &Due, revised: Decision) {
        let known = self.known.entry((due.incident_id.clone(), due.tenant.clone())).or_default();
        known.revised.retain(|one| !one.is_on_the_same(&revised));
        known.revised.push(revised);
    }

    fn decide(&self, due: &Due) -> Decided {
        let subscriber = self.tenants.iter().find(|one| one.settings.tenant == due.tenant);
        let story = self.stories.get(&due.incident_id);
        let all = subscriber.into_iter().flat_map(|one| one.destinations.iter());
        let facts = Facts {
            settings: subscriber.map(|one| &one.settings),
            incident: story.map(|story| &story.incident),
            update: story.and_then(|story| story.updates.iter().find(|update| update.number == due.update)),
            destination: all.map(|(_, one)| one).find(|one| one.id() == due.destination),
            explained: &[],
        };
        let none = Known::default();
        let known = self.known.get(&(due.incident_id.clone(), due.tenant.clone())).unwrap_or(&none);
        let Some(hold) = due.held else { return decide_unheld(due, facts, known, &POLICY, self.now) };
        let windows = self.windows(&Scope::Tenant(due.tenant.clone()));
        let as_it_stands = facts.incident.map(|incident| standing(incident, hold, &windows));
        let facts = Facts { incident: as_it_stands.as_ref(), ..facts };
        decide_held(due, hold, facts, Again { subscriber, known, policy: &POLICY, began: self.now, now: self.now })
    }

    fn send(&mut self, members: Vec<Delivery>, together: bool, delay: u16) {
        let Some(tenant) = members.first().map(|first| &first.alert.tenant) else { return };
        let version =
            self.tenants.iter().find(|one| one.settings.tenant == *tenant).map_or(0, |one| one.settings.version);
        let at = after(self.now, i64::from(delay));
        self.later(at, Job::Deliver(Message { members, together, version }));
    }

    // What the senders do.

    fn deliver(&mut self, message: &Message) {
        let mut mine = Vec::new();
        let mut before = Before::default();
        for delivery in &message.members {
            if let Ok(was) = self.claim(&name_of(delivery), delivery.attempt) {
                mine.push(delivery.clone());
                before = was;
            }
        }
        let Some(first) = mine.first().cloned() else { return };
        let counts = if message.together {
            self.takes_place(&first)
        } else {
            match self.put_off(&first, before) {
                Some(counts) => counts,
                None => return,
            }
        };
        if !message.together && self.fails(&first) {
            self.try_again(first, message.version);
            return;
        }
        self.messages += 1;
        for delivery in mine {
            let name = name_of(&delivery);
            if let Some(row) = self.row(&name) {
                (row.done, row.state, row.attempts, row.lease_until_ms) =
                    (name.4, State::Accepted, delivery.attempt, 0);
            }
            let subscriber = self.tenants.iter().find(|one| one.settings.tenant == name.0);
            let settings = subscriber.map(|one| &one.settings).filter(|settings| settings.version == message.version);
            let all = subscriber.into_iter().flat_map(|one| one.destinations.iter());
            let destination = all.map(|(_, one)| one).find(|one| one.id() == name.1);
            let quiet =
                settings.zip(destination).and_then(|(settings, to)| check::quiet(settings, to, &delivery, self.now));
            // A pause that a queue spends is a minute at most, and may end in the first one of the night.
            let just_now = |before: Timestamp| delivery.attempt > 1 && self.now.duration_since(before) <= PAUSE_MAX;
            let quiet = quiet.filter(|began| !just_now(*began));
            let moments = [self.now, self.now.saturating_sub(PAUSE_MAX).unwrap()];
            let moments = if delivery.attempt > 1 { moments.as_slice() } else { &moments[..1] };
            let unlawful = settings.zip(destination).is_some_and(|(settings, _)| {
                moments.iter().all(|moment| check::unlawful(settings, &delivery, *moment))
            });
            self.sent.push(Sent {
                name,
                at: self.now,
                change: delivery.alert.change,
                message: self.messages,
                together: message.together,
                quiet,
                unlawful,
                held: delivery.why.held.as_ref().map(|held| held.until),
                contact: contact(&delivery),
                counts,
            });
        }
    }

    /// Whether this attempt fails: of a quarter of what goes to people the first two or four. A machine's retries overtake each other.
    fn fails(&self, delivery: &Delivery) -> bool {
        let Some(seed) = self.failures.filter(|_| delivery.channel != Channel::Webhook) else { return false };
        let name = format!("{seed}{:?}", name_of(delivery));
        let draw = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let times = match (draw >> 32) % 8 {
            0 => 2,
            1 => 4,
            _ => 0,
        };
        delivery.attempt <= times
    }

    /// Marks a failed attempt, and has the next one come: by the queue, or by the due index after a longer pause.
    fn try_again(&mut self, delivery: Delivery, version: u64) {
        let why = Failed { cause: "http_503".to_owned(), retry_after: None, slow_down: false, verdict: Verdict::Retry };
        let (name, tried) = (name_of(&delivery), delivery.attempt);
        let at = match next(delivery.channel, tried, &why, self.now, 0.5) {
            Next::Again { at } => at,
            Next::GiveUp { .. } => panic!("four failures are not the last: {delivery:?}"),
        };
        if let Some(row) = self.row(&name) {
            (row.state, row.attempts, row.lease_until_ms, row.reason) = (State::Retrying, tried, 0, None);
            row.next_at_ms = Some(at.as_millisecond());
        }
        self.failed.insert(name);
        let again = Delivery { attempt: tried + 1, ..delivery };
        let pause = at.duration_since(self.now);
        if pause > SignedDuration::from_secs(pause_on_queue_max(again.channel).into()) {
            self.put_due(Due {
                at,
                tenant: again.alert.tenant.clone(),
                destination: again.destination.clone(),
                channel: again.channel,
                incident_id: again.alert.incident_id.clone(),
                update: again.alert.update,
                attempt: again.attempt,
                plain: again.plain,
                role: again.why.role,
                held: None,
                waited: again.why.held,
                more: 0,
                gathered: false,
                asked: false,
            });
        } else {
            self.later(at, Job::Deliver(Message { members: vec![again], together: false, version }));
        }
    }

    /// `None`: it waits for its contact. Else whether the contact's windows count it.
    fn put_off(&mut self, delivery: &Delivery, before: Before) -> Option<bool> {
        let windows = POLICY.storms.contacts.get(&delivery.channel.class());
        let Some((contact, windows)) = contact(delivery).zip(windows) else { return Some(false) };
        let reserved = delivery.why.held.as_ref().is_some_and(|held| held.reason == Reason::Throttled);
        if !delivery.bundle || delivery.attempt > 1 || delivery.alert.test || reserved {
            return Some(reserved && self.takes_place(delivery));
        }
        let exempt = delivery.alert.exempt();
        let asked = self.contacts.entry(contact.clone()).or_default().clone();
        let room = asked.ask(windows, self.now, None).0 == May::Now;
        let may = match before.put_off {
            Some(at) => May::Then(at),
            None => {
                let (may, after) =
                    asked.ask(windows, self.now, exempt.map(|kind| (kind, POLICY.storms.exempt_per_minute)));
                self.contacts.insert(contact.clone(), after);
                may
            }
        };
        let exempts = self.exempts.entry((contact.clone(), exempt == Some(Exempt::Critical))).or_default();
        let since = self.now.saturating_sub(SignedDuration::from_secs(60)).unwrap();
        let exempt_before = exempts.iter().filter(|at| **at > since).count();
        match may {
            May::Now => {
                if !room {
                    exempts.push(self.now);
                }
                Some(room)
            }
            May::Then(at) => {
                let name = name_of(delivery);
                // Beyond the windows none is kept.
                if exempt != Some(Exempt::Critical) {
                    self.places.insert((contact, at));
                }
                let since = delivery.why.held.as_ref().map_or(delivery.alert.at, |held| held.since);
                let due = Due {
                    at,
                    tenant: name.0.clone(),
                    destination: name.1.clone(),
                    channel: name.2,
                    incident_id: name.3.clone(),
                    update: name.4,
                    attempt: delivery.attempt,
                    plain: delivery.plain,
                    role: delivery.why.role,
                    held: Some(Hold { since, reason: Reason::Throttled, named: exempt.is_some() }),
                    waited: None,
                    more: 0,
                    gathered: false,
                    asked: false,
                };
                let outcome = Outcome::Hold { until: at, reason: Reason::Throttled, role: due.role };
                self.revise(&due, due.decision(outcome));
                self.put_due(due);
                if let Some(row) = self.row(&name) {
                    (row.state, row.attempts, row.lease_until_ms) = (State::Retrying, delivery.attempt - 1, 0);
                    row.next_at_ms = Some(at.as_millisecond());
                    row.reason = Some(Reason::Throttled);
                }
                if before.put_off.is_none() {
                    self.put_off.push(PutOff { name, exempt_before, exempt, at: self.now, until: at });
                }
                None
            }
        }
    }

    /// Takes the place that was kept for it, if there was one and it is the first there.
    fn takes_place(&mut self, delivery: &Delivery) -> bool {
        let place = contact(delivery).map(|contact| (contact, minute(self.now)));
        self.has_place(delivery) && place.is_some_and(|place| self.filled.insert(place))
    }

    /// Whether a place in its contact's windows was kept for it, and it is there in time: what a fault made late is nowhere counted.
    fn has_place(&self, delivery: &Delivery) -> bool {
        let in_time = |until: Timestamp| minute(until) == minute(self.now);
        let place = contact(delivery).map(|contact| (contact, begin_of(minute(self.now))));
        place.is_some_and(|place| self.places.contains(&place))
            && delivery.why.held.as_ref().is_some_and(|held| in_time(held.until))
    }

    fn row(&mut self, name: &Name) -> Option<&mut Row> {
        self.rows.get_mut(&(name.3.clone(), name.0.clone(), row_name(&name.1, name.2, name.4)))
    }

    fn claim(&mut self, name: &Name, attempt: u32) -> Result<Before, Refusal> {
        let now_ms = self.now.as_millisecond();
        let row = self.row(name);
        if let Some(refusal) = refusal(row.as_deref(), name.4, attempt, now_ms) {
            return Err(refusal);
        }
        let before = before(row.as_deref(), name.4, attempt);
        let done = row.map_or(0, |row| row.done);
        let claimed = Row {
            latest: name.4,
            done,
            state: State::Sending,
            attempts: attempt.saturating_sub(1),
            lease_until_ms: now_ms,
            token: String::new(),
            channel: name.2,
            feedback: None,
            next_at_ms: None,
            cause: None,
            reason: None,
            provider_id: None,
            at: None,
            latency_ms: None,
            late: false,
        };
        self.rows.insert((name.3.clone(), name.0.clone(), row_name(&name.1, name.2, name.4)), claimed);
        Ok(before)
    }

    /// Whether it ended now; else it is over, or a newer update has its row.
    fn end_unsent(&mut self, name: &Name, attempt: u32) -> bool {
        if self.claim(name, attempt).is_err() {
            return false;
        }
        if let Some(row) = self.row(name) {
            (row.done, row.state, row.attempts, row.lease_until_ms) =
                (name.4, State::Failed, attempt.saturating_sub(1), 0);
        }
        true
    }
}

fn integration() -> IntegrationId {
    IntegrationId::new("monitor")
}

fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

fn begin_of(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60).unwrap()
}

fn place_of(due: &Due) -> String {
    let minute = minute(due.at);
    format!("{minute:010}#{}#{}#{}#{}#{:06}", due.tenant, due.destination, due.channel, due.incident_id, due.update)
}

fn name_of_due(due: &Due) -> Name {
    (due.tenant.clone(), due.destination.clone(), due.channel, due.incident_id.clone(), due.update)
}

fn name_of(delivery: &Delivery) -> Name {
    let Alert { tenant, incident_id, update, .. } = &delivery.alert;
    (tenant.clone(), delivery.destination.clone(), delivery.channel, incident_id.clone(), *update)
}

fn contact(delivery: &Delivery) -> Option<String> {
    let tenant = delivery.alert.tenant.as_str();
    match &delivery.target {
        Target::Email { address, .. } => Some(format!("{tenant} {}", address.expose())),
        Target::Sms { phone, .. } => Some(format!("{tenant} {}", phone.expose())),
        Target::Chat { .. } | Target::Webhook { .. } => None,
    }
}

/// As many worlds as `PROPTEST_CASES` asks for; else enough for a run of all tests. The crate's own default stands for "not asked".
fn worlds(restless: bool) {
    let asked = Config::default();
    let cases = if asked.cases == 256 { 1_200 } else { asked.cases };
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..asked });
    if let Err(error) = runner.run(&plot::plot(restless), |plot| holds(&World::ended(&plot))) {
        panic!("{error}");
    }
}

fn holds(world: &World) -> Result<(), TestCaseError> {
    check::nothing_is_sent_twice(world)?;
    check::nothing_vanishes(world)?;
    check::nothing_comes_before_its_time(world)?;
    check::the_newest_is_enough(world)?;
    check::whoever_is_told_of_the_open_is_told_of_the_end(world)?;
    check::nobody_is_disturbed(world)?;
    check::webhooks_get_everything_in_order(world)?;
    check::contacts_are_spared(world)?;
    check::the_critical_is_told_at_once(world)?;
    check::catching_up_is_no_stampede(world)?;
    check::the_law_is_kept(world)
}

#[test]
fn every_world_keeps_its_promises() {
    worlds(false);
}

#[test]
fn every_world_keeps_its_promises_though_its_tenants_change_their_minds() {
    worlds(true);
}
