//! Generates scenarios: tenants, what happens to them, and when. They are small enough to read when one fails.

use domain::digest::{Digest, DigestSchedule};
use domain::ids::{IntegrationId, RecipientId, TenantId};
use domain::quiet::{QuietHours, QuietHoursOverride};
use domain::subscriber::Subscriber;
use domain::tenant::{
    CategorySettings, ComplianceConfirmed, DataProcessing, Destination, Email, Filters, Integration, OptIn, Phone,
    Recipient, Sealed, Settings, SmsCompliance, compliance_wording,
};
use domain::vocabulary::{Category, Channel, ChannelClass, Day, Kind, Role, Severity, Status, StormMode};
use jiff::civil::Time;
use jiff::{SignedDuration, Timestamp};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Time zones with half and quarter hours, in both hemispheres, with daylight saving of half an hour, and without any.
const ZONES: &[&str] =
    &["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"];
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
/// Names of components and regions; few, so that filters often match.
const SCOPE_NAMES: &[&str] = &["voice", "sms"];
/// The category and kind of the generated events.
pub(super) const EVENT_KINDS: &[(Option<Category>, Kind)] = &[
    (Some(Category::Infrastructure), Kind::Incident),
    (Some(Category::Infrastructure), Kind::Incident),
    (Some(Category::Billing), Kind::Incident),
    (Some(Category::Configurable), Kind::Incident),
    (Some(Category::Infrastructure), Kind::Advisory),
    (Some(Category::Infrastructure), Kind::Maintenance),
    (None, Kind::OptIn),
];

/// Shared by all worlds, because parsing a phone number is slow.
static PHONES: LazyLock<Vec<Phone>> = LazyLock::new(|| {
    let all = (0..8).flat_map(|n| [format!("+1415555010{n}"), format!("+9198765432{n}0")]);
    all.map(|text| Phone::parse(&text).unwrap()).collect()
});

/// The input of one simulated run.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) begin: Timestamp,
    pub(super) tenants: Vec<Subscriber>,
    pub(super) scenes: Vec<(i64, Scene)>,
    /// Seconds from the acceptance of an event to its plan.
    pub(super) lag: i64,
    /// The seed that decides where a function dies and what a queue redelivers; `None` for no faults.
    pub(super) fault_seed: Option<u64>,
    /// The seed that decides which messages fail at first, and how often; `None` if all are accepted.
    pub(super) failure_seed: Option<u64>,
    /// The outage of `release`: seconds from the beginning, and its length in minutes.
    pub(super) outage: Option<(i64, i64)>,
}

/// Something that happens in a scenario, at a time.
#[derive(Clone, Debug)]
pub(super) enum Scene {
    /// An event of a source.
    Event(EventSpec),
    /// `many` incidents open within a minute.
    Storm { tenant: usize, many: usize, severity: Severity, event_kind: usize },
    /// All incidents of a storm are resolved within a minute.
    ResolveAll { tenant: usize },
    /// One dedup key opens and resolves `times` times, `gap` seconds apart.
    Flap { spec: EventSpec, times: usize, gap: i64 },
    /// Maintenance is scheduled, and `later` minutes later an incident opens on the same component.
    DuringMaintenance { spec: EventSpec, later: i64, severity: Severity },
    /// An operator posts an update on the open incident of a dedup key.
    OperatorUpdate { tenant: usize, key: usize, status: Option<Status> },
    /// A recipient stops notifications about the open incident of a dedup key.
    Stop { tenant: usize, destination: usize, key: usize },
    /// A tenant changes a setting.
    SettingChange { tenant: usize, to: SettingChange },
}

/// A generated event of a monitoring source.
#[derive(Clone, Debug)]
pub(super) struct EventSpec {
    /// The index of the tenant; `None` for a platform-wide event.
    pub(super) tenant: Option<usize>,
    pub(super) key: usize,
    pub(super) event_kind: usize,
    pub(super) severity: Severity,
    pub(super) status: Option<Status>,
    pub(super) components: Vec<String>,
    pub(super) regions: Vec<String>,
    /// For scheduled maintenance, its length in minutes.
    pub(super) lasts: i64,
}

/// A change of one setting.
#[derive(Clone, Debug)]
pub(super) enum SettingChange {
    Zone(&'static str),
    QuietHours(Option<QuietHours>),
    Enabled(Category, bool),
    Muted(Category, Option<i64>),
    Paused(usize, bool),
    Digest(usize, Option<Digest>),
    Storms(StormMode),
}

fn severity() -> impl Strategy<Value = Severity> {
    select(Severity::ALL)
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![3 => Just(vec![]), 2 => select(SCOPE_NAMES).prop_map(|name| vec![name.to_owned()])]
}

fn zone() -> impl Strategy<Value = &'static str> {
    select(ZONES)
}

/// Times at full, half and quarter hours, so that quiet hours, windows and digests often meet in the same minute.
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
    let schedule = prop_oneof![Just(DigestSchedule::Hourly), time().prop_map(|at| DigestSchedule::Daily { at })];
    let channels = btree_set(select(&[ChannelClass::Email, ChannelClass::Sms][..]), 1..=2);
    (schedule, severity(), channels)
        .prop_map(|(schedule, below, channels)| Digest { schedule, below, channels })
        .boxed()
}

fn filters() -> BoxedStrategy<Filters> {
    (names(), names(), option::weighted(0.3, severity()))
        .prop_map(|(regions, components, min_severity)| Filters { regions, components, min_severity })
        .boxed()
}

fn recipient(tenant: usize, place: usize) -> BoxedStrategy<Destination> {
    let own = prop_oneof![
        3 => Just(None),
        1 => Just(Some(QuietHoursOverride::Off)),
        2 => quiet_hours().prop_map(|hours| Some(QuietHoursOverride::Hours(hours))),
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
        prop_oneof![4 => Just(StormMode::Bundle), 1 => Just(StormMode::Each)],
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

fn event_spec() -> BoxedStrategy<EventSpec> {
    let status = prop_oneof![
        5 => Just(None),
        1 => Just(Some(Status::Identified)),
        1 => Just(Some(Status::Monitoring)),
        5 => Just(Some(Status::Resolved)),
    ];
    let facts = (option::weighted(0.85, 0usize..3), 0usize..4, 0..EVENT_KINDS.len(), severity(), status);
    (facts, names(), names(), 10i64..400)
        .prop_map(|((tenant, key, event_kind, severity, status), components, regions, lasts)| {
            // Platform-wide events are of the infrastructure category only.
            let event_kind = if tenant.is_none() && EVENT_KINDS[event_kind].0 != Some(Category::Infrastructure) {
                0
            } else {
                event_kind
            };
            EventSpec { tenant, key, event_kind, severity, status, components, regions, lasts }
        })
        .boxed()
}

/// Mostly the category of most events.
fn category() -> impl Strategy<Value = Category> {
    prop_oneof![3 => Just(Category::Infrastructure), 1 => select(Category::ALL)]
}

fn setting() -> BoxedStrategy<SettingChange> {
    prop_oneof![
        1 => zone().prop_map(SettingChange::Zone),
        1 => option::of(quiet_hours()).prop_map(SettingChange::QuietHours),
        1 => (category(), any::<bool>()).prop_map(|(category, on)| SettingChange::Enabled(category, on)),
        3 => (category(), option::weighted(0.8, 1i64..400))
            .prop_map(|(category, minutes)| SettingChange::Muted(category, minutes)),
        1 => (2usize..4, any::<bool>()).prop_map(|(place, on)| SettingChange::Paused(place, on)),
        1 => (0usize..2, option::of(digest())).prop_map(|(place, digest)| SettingChange::Digest(place, digest)),
        1 => select(StormMode::ALL).prop_map(SettingChange::Storms),
    ]
    .boxed()
}

fn scene(changes_settings: bool) -> BoxedStrategy<Scene> {
    let calm = prop_oneof![
        40 => event_spec().prop_map(Scene::Event),
        1 => (0usize..3, 58usize..170, severity(), 0..EVENT_KINDS.len()).prop_map(|(tenant, many, severity, event_kind)| {
            Scene::Storm { tenant, many, severity, event_kind }
        }),
        1 => (0usize..3).prop_map(|tenant| Scene::ResolveAll { tenant }),
        2 => (event_spec(), 5usize..9, 5i64..200).prop_map(|(spec, times, gap)| Scene::Flap { spec, times, gap }),
        3 => (event_spec(), 1i64..240, severity()).prop_map(|(spec, later, severity)| Scene::DuringMaintenance { spec, later, severity }),
        4 => (0usize..3, 0usize..4, option::of(select(&[Status::Identified, Status::Resolved][..])))
            .prop_map(|(tenant, key, status)| Scene::OperatorUpdate { tenant, key, status }),
        2 => (0usize..3, 0usize..2, 0usize..4)
            .prop_map(|(tenant, destination, key)| Scene::Stop { tenant, destination, key }),
    ];
    if changes_settings {
        let change = (0usize..3, setting()).prop_map(|(tenant, to)| Scene::SettingChange { tenant, to });
        prop_oneof![5 => calm, 2 => change].boxed()
    } else {
        calm.boxed()
    }
}

/// Generates scenarios. With `changes_settings`, tenants change their settings in between.
pub(super) fn scenario(changes_settings: bool) -> BoxedStrategy<Scenario> {
    let tenants = (tenant(0), option::weighted(0.4, tenant(1)), option::weighted(0.2, tenant(2)));
    let tenants = tenants.prop_map(|(first, second, third)| [Some(first), second, third]);
    let pause = prop_oneof![4 => 0i64..90, 4 => 60i64..3_600, 3 => 3_600i64..30_000];
    let begin = (select(START_TIMES), 0i64..24 * 60 * 60).prop_map(|(text, later)| {
        let begin: Timestamp = text.parse().unwrap();
        begin.saturating_add(SignedDuration::from_secs(later)).unwrap()
    });
    let fault_seed = option::weighted(0.4, any::<u64>());
    let failure_seed = option::weighted(0.4, any::<u64>());
    let outage = option::weighted(0.3, (0i64..100_000, 1i64..1_000));
    (begin, tenants, vec((pause, scene(changes_settings)), 1..24), 0i64..20, fault_seed, failure_seed, outage)
        .prop_map(|(begin, tenants, scenes, lag, fault_seed, failure_seed, outage)| Scenario {
            begin,
            tenants: tenants.into_iter().flatten().collect(),
            scenes,
            lag,
            fault_seed,
            failure_seed,
            outage,
        })
        .boxed()
}
