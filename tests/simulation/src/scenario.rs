//! What happens in a world, and when: events, storms, flapping keys, maintenance, updates of operators, settings that change.

pub mod contacts;
pub mod people;

use crate::random::Random;
use domain::digest::Digest;
use domain::quiet::QuietHours;
use domain::subscriber::Subscriber;
use domain::tenant::Phone;
use domain::vocabulary::{Category, Channel, Kind, Severity, Status, StormMode};
use jiff::{SignedDuration, Timestamp};

/// Days before daylight-saving changes in both directions, a leap day, a new year, and an ordinary day.
const START_TIMES: &[&str] = &[
    "2027-03-13T10:00:00Z",
    "2027-03-27T10:00:00Z",
    "2027-04-03T00:00:00Z",
    "2027-10-02T00:00:00Z",
    "2027-10-30T10:00:00Z",
    "2027-11-06T12:00:00Z",
    "2028-02-28T06:00:00Z",
    "2026-12-31T08:00:00Z",
    "2027-06-16T12:00:00Z",
];
/// The user whom user-level warnings are about: every other recipient of a tenant.
pub const USER: &str = "u-1";
/// Names of components and regions; few, so that filters often match.
pub const SCOPE_NAMES: &[&str] = &["voice", "sms"];
/// The category and kind of the generated events.
pub const EVENT_KINDS: &[(Option<Category>, Kind)] = &[
    (Some(Category::Infrastructure), Kind::Incident),
    (Some(Category::Infrastructure), Kind::Incident),
    (Some(Category::Billing), Kind::Incident),
    (Some(Category::Configurable), Kind::Incident),
    (Some(Category::Infrastructure), Kind::Advisory),
    (Some(Category::Infrastructure), Kind::Maintenance),
    (None, Kind::OptIn),
];
/// Events that a world has at least.
const EVENTS_MIN: i64 = 20;

/// The input of one world.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// When the world begins.
    pub begin: Timestamp,
    /// The tenants: two or three.
    pub tenants: Vec<Subscriber>,
    /// What happens, each with its time.
    pub scenes: Vec<(Timestamp, Scene)>,
    /// Whether functions, table, queues and receivers fail.
    pub faults: bool,
    /// Whether providers report what becomes of messages, and owners of contacts are asked.
    pub contacts: bool,
    /// The minutes (since 1970) in which `release` does not run.
    pub outage: std::ops::Range<i64>,
    /// Whether some functions are still those of release 0.1.0, which writes eight shards of the due index. One in eight worlds.
    pub upgrading: bool,
}

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub enum Scene {
    /// A source sends an event.
    Event(EventSpec),
    /// An operator posts an update on the open incident of a dedup key.
    OperatorUpdate {
        /// Index of the tenant.
        tenant: usize,
        /// Number of the dedup key.
        key: usize,
        /// The new status, if it changes.
        status: Option<Status>,
    },
    /// A recipient stops notifications about the open incident of a dedup key.
    Stop {
        /// Index of the tenant.
        tenant: usize,
        /// Index of the recipient.
        destination: usize,
        /// Number of the dedup key.
        key: usize,
    },
    /// An admin asks the owner of a contact whether it may be written to.
    Ask {
        /// Index of the tenant.
        tenant: usize,
        /// Index of the recipient.
        destination: usize,
        /// The channel of the contact.
        channel: Channel,
    },
    /// A recipient gets its first or its second address.
    Address {
        /// Index of the tenant.
        tenant: usize,
        /// Index of the recipient.
        destination: usize,
        /// Whether it is the second one.
        second: bool,
    },
    /// A recipient unsubscribes from the e-mails about a category.
    Unsubscribe {
        /// Index of the tenant.
        tenant: usize,
        /// Index of the recipient.
        destination: usize,
        /// The category.
        category: Category,
    },
    /// The owner of an address wants no e-mail from anybody any more.
    Never {
        /// Index of the tenant.
        tenant: usize,
        /// Index of the recipient.
        destination: usize,
    },
    /// A tenant changes a setting.
    Setting {
        /// Index of the tenant.
        tenant: usize,
        /// What it changes, and to what.
        to: SettingChange,
    },
}

/// A generated event of a monitoring source.
#[derive(Clone, Debug)]
pub struct EventSpec {
    /// The index of the tenant; `None` for a platform-wide event.
    pub tenant: Option<usize>,
    /// Number of the dedup key.
    pub key: usize,
    /// What it is about, as an index in [`EVENT_KINDS`].
    pub event_kind: usize,
    /// The severity that the source gives.
    pub severity: Severity,
    /// The status that the source gives.
    pub status: Option<Status>,
    /// The affected components; none means all.
    pub components: Vec<String>,
    /// The affected regions; none means all.
    pub regions: Vec<String>,
    /// For scheduled maintenance, its length in minutes.
    pub lasts: i64,
}

/// A change of one setting.
#[derive(Clone, Debug)]
pub enum SettingChange {
    /// The tenant's time zone.
    Zone(&'static str),
    /// The tenant's quiet hours.
    QuietHours(Option<QuietHours>),
    /// Whether a category is on.
    Enabled(Category, bool),
    /// For how many minutes a category is muted; `None` ends that.
    Muted(Category, Option<i64>),
    /// Whether the integration at this index is paused.
    Paused(usize, bool),
    /// The digest of the recipient at this index.
    Digest(usize, Option<Digest>),
    /// The phone number of the recipient at this index; it may come back.
    Phone(usize, Option<Phone>),
    /// Storm protection, on or off.
    Storms(StormMode),
}

/// Returns `at`, `seconds` later.
#[must_use]
pub fn seconds_after(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(at)
}

impl Scenario {
    /// The scenario of a seed. One in three worlds has no faults, so that every rule about times is checked on all of it.
    #[must_use]
    pub fn new(seed: u64, random: &mut Random) -> Self {
        let begin: Timestamp = match random.pick(START_TIMES).parse() {
            Ok(begin) => begin,
            Err(error) => panic!("{error}"),
        };
        let begin = seconds_after(begin, random.between(0, 24 * 3_600));
        let tenants =
            (0..if random.percent(30) { 3 } else { 2 }).map(|number| people::tenant(number, random)).collect();
        let outage = if random.percent(30) {
            let from = (begin.as_second() + random.between(0, 100_000)).div_euclid(60);
            from..from + random.between(1, 1_000)
        } else {
            0..0
        };
        let (faults, contacts) = (!seed.is_multiple_of(3), seed.is_multiple_of(2));
        let upgrading = seed % 8 == 5;
        let mut scenario = Self { begin, tenants, scenes: Vec::new(), faults, contacts, outage, upgrading };
        let changes_settings = random.once_in(2);
        let mut at = begin;
        let events_min = random.between(EVENTS_MIN, EVENTS_MIN + 8);
        while scenario.events() < events_min {
            let pause = match random.between(0, 11) {
                0..=3 => random.between(0, 90),
                4..=7 => random.between(60, 3_600),
                _ => random.between(3_600, 30_000),
            };
            at = seconds_after(at, pause);
            if changes_settings && random.percent(28) {
                let (tenant, to) = (random.place(scenario.tenants.len()), setting(random));
                scenario.scenes.push((at, Scene::Setting { tenant, to }));
            } else {
                scenario.add_scene(at, random);
            }
        }
        scenario.scenes.sort_by_key(|(at, _)| *at);
        if contacts {
            scenario.add_contact_scenes(&mut contacts::random(seed));
            scenario.scenes.sort_by_key(|(at, _)| *at);
        }
        scenario
    }

    fn events(&self) -> i64 {
        let events = self.scenes.iter().filter(|(_, scene)| matches!(scene, Scene::Event(_)));
        i64::try_from(events.count()).unwrap_or(i64::MAX)
    }

    fn add_scene(&mut self, at: Timestamp, random: &mut Random) {
        let tenants = self.tenants.len();
        match random.between(0, 53) {
            0 => self.storm(at, random),
            1 => {
                let tenant = random.place(tenants);
                for key in 0..180 {
                    let then = seconds_after(at, i64::try_from(key).unwrap_or(0) / 3);
                    self.add_event(then, one(tenant, 100 + key, 0, Severity::Error, Some(Status::Resolved)));
                }
            }
            2 | 3 => self.flap(at, random),
            4..=6 => self.incident_during_maintenance(at, random),
            7..=10 => {
                let statuses = [None, Some(Status::Identified), Some(Status::Resolved)];
                let scene = Scene::OperatorUpdate {
                    tenant: random.place(tenants),
                    key: random.place(4),
                    status: *random.pick(&statuses),
                };
                self.scenes.push((at, scene));
            }
            11 | 12 => {
                let (tenant, destination, key) = (random.place(tenants), random.place(2), random.place(4));
                self.scenes.push((at, Scene::Stop { tenant, destination, key }));
            }
            _ => {
                let spec = event_spec(self.tenants.len(), random);
                self.add_event(at, spec);
            }
        }
    }

    /// Many incidents open within a minute.
    fn storm(&mut self, at: Timestamp, random: &mut Random) {
        let (tenant, severity, kind) =
            (random.place(self.tenants.len()), severity(random), random.place(EVENT_KINDS.len()));
        for key in 0..usize::try_from(random.between(58, 170)).unwrap_or(58) {
            let then = seconds_after(at, i64::try_from(key).unwrap_or(0) / 3);
            self.add_event(then, one(tenant, 100 + key, kind, severity, None));
        }
    }

    /// One dedup key opens and resolves several times.
    fn flap(&mut self, at: Timestamp, random: &mut Random) {
        let (spec, gap) = (event_spec(self.tenants.len(), random), random.between(5, 200));
        for time in 0..random.between(5, 9) {
            let then = seconds_after(at, time * gap * 2);
            self.add_event(then, EventSpec { status: None, ..spec.clone() });
            self.add_event(seconds_after(then, gap), EventSpec { status: Some(Status::Resolved), ..spec.clone() });
        }
    }

    /// Maintenance is scheduled, and later an incident opens on the same component.
    fn incident_during_maintenance(&mut self, at: Timestamp, random: &mut Random) {
        let components = vec!["voice".to_owned()];
        let spec = event_spec(self.tenants.len(), random);
        let work =
            EventSpec { key: 50, event_kind: 5, status: None, components: components.clone(), regions: vec![], ..spec };
        let broken = EventSpec { key: 1, event_kind: 0, severity: severity(random), components, ..work.clone() };
        // Work that ends early lets go what it held back.
        if random.once_in(2) {
            let over = seconds_after(at, random.between(60, work.lasts * 60));
            self.add_event(over, EventSpec { status: Some(Status::Resolved), ..work.clone() });
        }
        self.add_event(at, work);
        self.add_event(seconds_after(at, random.between(1, 240) * 60), broken);
    }

    fn add_event(&mut self, at: Timestamp, spec: EventSpec) {
        self.scenes.push((at, Scene::Event(spec)));
    }
}

fn one(tenant: usize, key: usize, event_kind: usize, severity: Severity, status: Option<Status>) -> EventSpec {
    let (components, regions) = (vec![], vec![]);
    EventSpec { tenant: Some(tenant), key, event_kind, severity, status, components, regions, lasts: 30 }
}

fn event_spec(tenants: usize, random: &mut Random) -> EventSpec {
    let tenant = random.percent(85).then(|| random.place(tenants));
    let event_kind = random.place(EVENT_KINDS.len());
    // Platform-wide events are of the infrastructure category only.
    let other = tenant.is_none() && EVENT_KINDS[event_kind].0 != Some(Category::Infrastructure);
    let status = match random.between(0, 12) {
        0..=4 => None,
        5 => Some(Status::Identified),
        6 => Some(Status::Monitoring),
        _ => Some(Status::Resolved),
    };
    EventSpec {
        tenant,
        key: random.place(4),
        event_kind: if other { 0 } else { event_kind },
        severity: severity(random),
        status,
        components: names(random),
        regions: names(random),
        lasts: random.between(10, 400),
    }
}

fn severity(random: &mut Random) -> Severity {
    *random.pick(Severity::ALL)
}

/// No name, or one.
fn names(random: &mut Random) -> Vec<String> {
    if random.percent(60) { Vec::new() } else { vec![(*random.pick(SCOPE_NAMES)).to_owned()] }
}

fn setting(random: &mut Random) -> SettingChange {
    // Mostly the category of most events.
    let category = if random.percent(75) { Category::Infrastructure } else { *random.pick(Category::ALL) };
    match random.between(0, 10) {
        0 => SettingChange::Zone(people::zone(random)),
        1 => SettingChange::QuietHours(random.once_in(2).then(|| people::quiet_hours(random))),
        2 => SettingChange::Enabled(category, random.once_in(2)),
        3..=5 => SettingChange::Muted(category, random.percent(80).then(|| random.between(1, 400))),
        6 => SettingChange::Paused(2 + random.place(2), random.once_in(2)),
        7 => SettingChange::Digest(random.place(2), random.once_in(2).then(|| people::digest(random))),
        8 | 9 => {
            let place = random.place(2);
            SettingChange::Phone(place, random.once_in(2).then(|| people::phone(place)))
        }
        _ => SettingChange::Storms(*random.pick(StormMode::ALL)),
    }
}
