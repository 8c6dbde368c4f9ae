//! What a world is made of: tenants, what happens to them, and when. Generated, and small enough to be read when it fails.

use domain::digest::{Digest, Every};
use domain::ids::{IntegrationId, RecipientId, TenantId};
use domain::quiet::{OwnQuietHours, QuietHours};
use domain::tenant::{
    CategorySettings, ComplianceConfirmed, DataProcessing, Destination, Email, Filters, Integration, OptIn, Phone,
    Recipient, Sealed, Settings, SmsCompliance, compliance_wording,
};
use domain::vocabulary::{Category, Channel, ChannelClass, Day, Kind, Role, Severity, Status, Storms};
use jiff::civil::Time;
use jiff::{SignedDuration, Timestamp};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use store::subscriptions::Subscriber;

/// Half and quarter hours, both hemispheres, a clock that changes by half an hour, and one that never does.
const ZONES: &[&str] =
    &["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"];
/// Clocks that change soon in both directions, a leap day, a new year, and a day like any other.
const BEGINNINGS: &[&str] = &[
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
/// Names of components and regions; few, so that filters often meet them.
const NAMES: &[&str] = &["voice", "sms"];
/// What events are about: category and kind.
pub(super) const SORTS: &[(Option<Category>, Kind)] = &[
    (Some(Category::Infrastructure), Kind::Incident),
    (Some(Category::Infrastructure), Kind::Incident),
    (Some(Category::Billing), Kind::Incident),
    (Some(Category::Configurable), Kind::Incident),
    (Some(Category::Infrastructure), Kind::Advisory),
    (Some(Category::Infrastructure), Kind::Maintenance),
    (None, Kind::OptIn),
];

/// Reading a number takes its time, so every world takes the same.
static PHONES: LazyLock<Vec<Phone>> = LazyLock::new(|| {
    let all = (0..8).flat_map(|n| [format!("+1415555010{n}"), format!("+9198765432{n}0")]);
    all.map(|text| Phone::parse(&text).unwrap()).collect()
});

/// A world before it begins.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) begin: Timestamp,
    pub(super) tenants: Vec<Subscriber>,
    pub(super) scenes: Vec<(i64, Scene)>,
    /// Seconds from the acceptance of an event to its plan.
    pub(super) lag: i64,
    /// What decides where something dies and what comes twice; `None` is a world without faults.
    pub(super) faults: Option<u64>,
    /// What decides which messages fail at first, and how often; `None` is a world in which all are taken.
    pub(super) failures: Option<u64>,
    /// From which second on, and for how many minutes, nothing is released.
    pub(super) outage: Option<(i64, i64)>,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Scene {
    /// An event of a source.
    Event(Said),
    /// So many incidents open within a minute.
    Storm { tenant: usize, many: usize, severity: Severity, sort: usize },
    /// And they all end within a minute.
    Calm { tenant: usize },
    /// One key opens and closes so often, with so many seconds in between.
    Flap { said: Said, times: usize, gap: i64 },
    /// Work is announced, and so many minutes later something breaks where it is done.
    Explained { said: Said, later: i64, severity: Severity },
    /// Somebody writes words on what is open under a key.
    Words { tenant: usize, key: usize, status: Option<Status> },
    /// A recipient wants to hear no more of what is open under a key.
    Stop { tenant: usize, destination: usize, key: usize },
    /// A tenant changes its mind.
    Setting { tenant: usize, to: Setting },
}

/// What an event says.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// `None` is everybody.
    pub(super) tenant: Option<usize>,
    pub(super) key: usize,
    pub(super) sort: usize,
    pub(super) severity: Severity,
    pub(super) status: Option<Status>,
    pub(super) components: Vec<String>,
    pub(super) regions: Vec<String>,
    /// Of announced work, how many minutes it lasts.
    pub(super) lasts: i64,
}

/// What a tenant may change.
#[derive(Clone, Debug)]
pub(super) enum Setting {
    Zone(&'static str),
    QuietHours(Option<QuietHours>),
    Enabled(Category, bool),
    Muted(Category, Option<i64>),
    Paused(usize, bool),
    Digest(usize, Option<Digest>),
    Storms(Storms),
}

fn severity() -> impl Strategy<Value = Severity> {
    select(Severity::ALL)
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![3 => Just(vec![]), 2 => select(NAMES).prop_map(|name| vec![name.to_owned()])]
}

fn zone() -> impl Strategy<Value = &'static str> {
    select(ZONES)
}

/// At full and half hours, so that hours, windows and digests often meet at one minute.
fn time() -> impl Strategy<Value = Time> {
    (0i8..24, select(&[0i8, 30, 15][..])).prop_map(|(hour, minute)| Time::constant(hour, minute, 0, 0))
}

fn quiet_hours() -> BoxedStrategy<QuietHours> {
    let days = prop_oneof![3 => Just(BTreeSet::new()), 1 => btree_set(select(Day::ALL), 1..5)];
    (time(), time(), days, option::weighted(0.3, zone()), any::<bool>())
        .prop_filter("hours have a length", |(from, to, ..)| from != to)
        .prop_map(|(from, to, days, zone, critical_passes)| QuietHours {
            from,
            to,
            days,
            zone: zone.map(str::to_owned),
            critical_passes,
        })
        .boxed()
}

fn digest() -> BoxedStrategy<Digest> {
    let every = prop_oneof![Just(Every::Hourly), time().prop_map(|at| Every::Daily { at })];
    let channels = btree_set(select(&[ChannelClass::Email, ChannelClass::Sms][..]), 1..=2);
    (every, severity(), channels).prop_map(|(every, below, channels)| Digest { every, below, channels }).boxed()
}

fn filters() -> BoxedStrategy<Filters> {
    (names(), names(), option::weighted(0.3, severity()))
        .prop_map(|(regions, components, min_severity)| Filters { regions, components, min_severity })
        .boxed()
}

fn recipient(tenant: usize, place: usize) -> BoxedStrategy<Destination> {
    let own = prop_oneof![
        3 => Just(None),
        1 => Just(Some(OwnQuietHours::Off)),
        2 => quiet_hours().prop_map(|hours| Some(OwnQuietHours::Hours(hours))),
    ];
    let facts = (
        btree_set(select(Role::ALL), 1..4),
        filters(),
        prop_oneof![3 => Just(None), 2 => Just(Some(false)), 2 => Just(Some(true))],
        option::weighted(0.3, zone()),
        own,
        option::weighted(0.35, digest()),
        any::<bool>(),
    );
    facts
        .prop_map(move |(mut roles, filters, phone, zone, quiet_hours, digest, opts)| {
            roles.insert(Role::OrgAdmin);
            let name = format!("t{tenant}d{place}");
            let opt_ins = [OptIn::ConfigurableEmail, OptIn::WarningsEmail, OptIn::WarningsSms];
            Destination::Recipient(Box::new(Recipient {
                id: RecipientId::new(&name),
                email: Some(Email::parse(&format!("{name}@example.com")).unwrap()),
                email_confirmed: true,
                phone: phone.map(|india| PHONES[place * 2 + usize::from(india)].clone()),
                phone_confirmed: true,
                name,
                roles,
                filters,
                opt_ins: opt_ins.into_iter().filter(|_| opts).collect(),
                unsubscribed: BTreeSet::new(),
                unsubscribed_warnings: false,
                dnd: false,
                sms_consent: false,
                zone: zone.map(str::to_owned),
                suppressed: None,
                sms_opted_out: None,
                digest,
                quiet_hours,
                shared: false,
                created_at: Timestamp::UNIX_EPOCH,
                version: 1,
            }))
        })
        .boxed()
}

fn integration(tenant: usize, place: usize) -> BoxedStrategy<Destination> {
    let kinds = select(&[Channel::Slack, Channel::Teams, Channel::Webhook, Channel::Webhook][..]);
    (kinds, filters())
        .prop_map(move |(kind, filters)| {
            let name = format!("t{tenant}d{place}");
            Destination::Integration(Box::new(Integration {
                id: IntegrationId::new(&name),
                kind,
                url: Sealed::new("v1.1.x".into()),
                host: "example.com".into(),
                fingerprint: format!("fp-{name}"),
                secret: Some(Sealed::new("v1.1.y".into())),
                old_secret: None,
                categories: BTreeSet::new(),
                audiences: BTreeSet::from([Role::OrgAdmin, Role::TechDevops]),
                filters,
                paused: false,
                disabled: None,
                failing: None,
                created_at: Timestamp::UNIX_EPOCH,
                version: 1,
                name,
            }))
        })
        .boxed()
}

fn tenant(number: usize) -> BoxedStrategy<Subscriber> {
    let first = recipient(number, 0);
    let others = (
        option::weighted(0.5, recipient(number, 1)),
        option::weighted(0.6, integration(number, 2)),
        option::weighted(0.4, integration(number, 3)),
    );
    let facts = (
        prop_oneof![1 => Just("starter"), 2 => Just("business"), 6 => Just("enterprise")],
        zone(),
        option::weighted(0.6, quiet_hours()),
        prop_oneof![4 => Just(Storms::Bundle), 1 => Just(Storms::Each)],
        any::<bool>(),
        btree_set(select(Category::ALL), 0..2),
    );
    (first, others, facts)
        .prop_map(move |(first, others, (plan, zone, quiet_hours, storms, india, off))| {
            let chosen = |category: &Category| CategorySettings {
                enabled: !off.contains(category) || *category == Category::Infrastructure,
                channels: ChannelClass::ALL.iter().copied().collect(),
                muted_until: None,
            };
            let lawful = |class: &ChannelClass| {
                let wording = compliance_wording(*class)?;
                Some((*class, ComplianceConfirmed { by: "tok_a".into(), at: Timestamp::UNIX_EPOCH, wording }))
            };
            let settings = Settings {
                tenant: TenantId::parse(&format!("t{number}")).unwrap(),
                name: "T".into(),
                plan: plan.into(),
                zone: zone.into(),
                alert_window_seconds: 60,
                categories: Category::ALL.iter().map(|category| (*category, chosen(category))).collect(),
                allowed_email_domains: vec![],
                compliance: SmsCompliance { country: india.then(|| "IN".to_owned()), ..SmsCompliance::default() },
                compliance_confirmed: ChannelClass::ALL.iter().filter_map(lawful).collect(),
                data_processing: DataProcessing::default(),
                quiet_hours,
                storms,
                version: 1,
            };
            let all = [Some(first), others.0, others.1, others.2];
            Subscriber { settings, destinations: all.into_iter().flatten().map(|one| (0, one)).collect() }
        })
        .boxed()
}

fn said() -> BoxedStrategy<Said> {
    let status = prop_oneof![
        5 => Just(None),
        1 => Just(Some(Status::Identified)),
        1 => Just(Some(Status::Monitoring)),
        5 => Just(Some(Status::Resolved)),
    ];
    let facts = (option::weighted(0.85, 0usize..3), 0usize..4, 0..SORTS.len(), severity(), status);
    (facts, names(), names(), 10i64..400)
        .prop_map(|((tenant, key, sort, severity, status), components, regions, lasts)| {
            // Only what is everybody's may be said to everybody.
            let sort = if tenant.is_none() && SORTS[sort].0 != Some(Category::Infrastructure) { 0 } else { sort };
            Said { tenant, key, sort, severity, status, components, regions, lasts }
        })
        .boxed()
}

/// Mostly that of most events.
fn category() -> impl Strategy<Value = Category> {
    prop_oneof![3 => Just(Category::Infrastructure), 1 => select(Category::ALL)]
}

fn setting() -> BoxedStrategy<Setting> {
    prop_oneof![
        1 => zone().prop_map(Setting::Zone),
        1 => option::of(quiet_hours()).prop_map(Setting::QuietHours),
        1 => (category(), any::<bool>()).prop_map(|(category, on)| Setting::Enabled(category, on)),
        3 => (category(), option::weighted(0.8, 1i64..400))
            .prop_map(|(category, minutes)| Setting::Muted(category, minutes)),
        1 => (2usize..4, any::<bool>()).prop_map(|(place, on)| Setting::Paused(place, on)),
        1 => (0usize..2, option::of(digest())).prop_map(|(place, digest)| Setting::Digest(place, digest)),
        1 => select(Storms::ALL).prop_map(Setting::Storms),
    ]
    .boxed()
}

fn scene(restless: bool) -> BoxedStrategy<Scene> {
    let calm = prop_oneof![
        40 => said().prop_map(Scene::Event),
        1 => (0usize..3, 58usize..170, severity(), 0..SORTS.len()).prop_map(|(tenant, many, severity, sort)| {
            Scene::Storm { tenant, many, severity, sort }
        }),
        1 => (0usize..3).prop_map(|tenant| Scene::Calm { tenant }),
        2 => (said(), 5usize..9, 5i64..200).prop_map(|(said, times, gap)| Scene::Flap { said, times, gap }),
        3 => (said(), 1i64..240, severity()).prop_map(|(said, later, severity)| Scene::Explained { said, later, severity }),
        4 => (0usize..3, 0usize..4, option::of(select(&[Status::Identified, Status::Resolved][..])))
            .prop_map(|(tenant, key, status)| Scene::Words { tenant, key, status }),
        2 => (0usize..3, 0usize..2, 0usize..4)
            .prop_map(|(tenant, destination, key)| Scene::Stop { tenant, destination, key }),
    ];
    if restless {
        let change = (0usize..3, setting()).prop_map(|(tenant, to)| Scene::Setting { tenant, to });
        prop_oneof![5 => calm, 2 => change].boxed()
    } else {
        calm.boxed()
    }
}

/// Any world; `restless` ones have tenants who change their minds.
pub(super) fn plot(restless: bool) -> BoxedStrategy<Plot> {
    let tenants = (tenant(0), option::weighted(0.4, tenant(1)), option::weighted(0.2, tenant(2)));
    let tenants = tenants.prop_map(|(first, second, third)| [Some(first), second, third]);
    let pause = prop_oneof![4 => 0i64..90, 4 => 60i64..3_600, 3 => 3_600i64..30_000];
    let begin = (select(BEGINNINGS), 0i64..24 * 60 * 60).prop_map(|(text, later)| {
        let begin: Timestamp = text.parse().unwrap();
        begin.saturating_add(SignedDuration::from_secs(later)).unwrap()
    });
    let faults = option::weighted(0.4, any::<u64>());
    let failures = option::weighted(0.4, any::<u64>());
    let outage = option::weighted(0.3, (0i64..100_000, 1i64..1_000));
    (begin, tenants, vec((pause, scene(restless)), 1..24), 0i64..20, faults, failures, outage)
        .prop_map(|(begin, tenants, scenes, lag, faults, failures, outage)| Plot {
            begin,
            tenants: tenants.into_iter().flatten().collect(),
            scenes,
            lag,
            faults,
            failures,
            outage,
        })
        .boxed()
}
