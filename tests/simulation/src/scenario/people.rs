//! Generates tenants, recipients and integrations.

use super::{SCOPE_NAMES, USER};
use crate::random::Random;
use domain::digest::{Digest, DigestSchedule};
use domain::ids::{IntegrationId, RecipientId, TenantId};
use domain::quiet::{QuietHours, QuietHoursOverride};
use domain::subscriber::Subscriber;
use domain::tenant::{
    CategorySettings, ComplianceConfirmed, DataProcessing, Destination, Email, Filters, Footprint, Integration, OptIn,
    Phone, Recipient, Sealed, Settings, SmsCompliance, compliance_wording,
};
use domain::vocabulary::{Category, Channel, ChannelClass, Day, Role, Severity, StormMode};
use jiff::Timestamp;
use jiff::civil::Time;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Time zones with half and quarter hours, in both hemispheres, with daylight saving of half an hour, and without any.
const ZONES: &[&str] =
    &["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"];

/// Shared by all worlds, because parsing a phone number is slow.
static PHONES: LazyLock<Vec<Phone>> = LazyLock::new(|| {
    let all = (0..8).flat_map(|n| [format!("+1415555010{n}"), format!("+9198765432{n}0")]);
    all.filter_map(|text| Phone::parse(&text).ok()).collect()
});

pub(super) fn zone(random: &mut Random) -> &'static str {
    let zones: &[&'static str] = ZONES;
    zones[random.place(zones.len())]
}

/// A time at a full, half or quarter hour, so that quiet hours, windows and digests often meet in the same minute.
fn time(random: &mut Random) -> Time {
    let hour = i8::try_from(random.between(0, 24)).unwrap_or(0);
    Time::constant(hour, *random.pick(&[0, 30, 15]), 0, 0)
}

pub(super) fn quiet_hours(random: &mut Random) -> QuietHours {
    let from = time(random);
    let mut to = time(random);
    while to == from {
        to = time(random);
    }
    let some = random.percent(25);
    let days = (0..if some { random.between(1, 5) } else { 0 }).map(|_| *random.pick(Day::ALL)).collect();
    let zone = random.percent(30).then(|| zone(random).to_owned());
    QuietHours { from, to, days, zone, critical_passes: random.once_in(2) }
}

pub(super) fn digest(random: &mut Random) -> Digest {
    let schedule = if random.once_in(2) { DigestSchedule::Hourly } else { DigestSchedule::Daily { at: time(random) } };
    let channels = [ChannelClass::Email, ChannelClass::Sms];
    let first = *random.pick(&channels);
    let channels = channels.into_iter().filter(|class| *class == first || random.once_in(2)).collect();
    Digest { schedule, below: *random.pick(Severity::ALL), channels }
}

fn filters(random: &mut Random) -> Filters {
    let mut names = || -> Vec<String> {
        if random.percent(60) { Vec::new() } else { vec![(*random.pick(SCOPE_NAMES)).to_owned()] }
    };
    let (regions, components) = (names(), names());
    let min_severity = random.percent(30).then(|| *random.pick(Severity::ALL));
    Filters { regions, components, min_severity, ..Filters::default() }
}

fn recipient(tenant: usize, place: usize, random: &mut Random) -> Destination {
    let mut roles: BTreeSet<Role> = (0..random.between(1, 4)).map(|_| *random.pick(Role::ALL)).collect();
    roles.insert(Role::OrgAdmin);
    let name = format!("t{tenant}d{place}");
    let opts = random.once_in(2);
    let opt_ins = [OptIn::ConfigurableEmail, OptIn::WarningsEmail, OptIn::WarningsSms];
    let phone = match random.between(0, 7) {
        0..=2 => None,
        3 | 4 => Some(PHONES[place * 2].clone()),
        _ => Some(self::phone(place)),
    };
    let quiet_hours = match random.between(0, 6) {
        0..=2 => None,
        3 => Some(QuietHoursOverride::Off),
        _ => Some(QuietHoursOverride::Hours(quiet_hours(random))),
    };
    Destination::Recipient(Box::new(Recipient {
        id: RecipientId::new(&name),
        email: Email::parse(&format!("{name}@example.com")).ok(),
        email_confirmed: true,
        phone,
        phone_facts: None,
        phone_confirmed: true,
        name,
        roles,
        filters: filters(random),
        user_id: place.is_multiple_of(2).then(|| USER.to_owned()),
        opt_ins: opt_ins.into_iter().filter(|_| opts).collect(),
        unsubscribed: BTreeSet::new(),
        unsubscribed_warnings: false,
        dnd: false,
        sms_consent: false,
        sms_consent_record: None,
        zone: random.percent(30).then(|| zone(random).to_owned()),
        suppressed: None,
        sms_opted_out: None,
        digest: random.percent(35).then(|| digest(random)),
        no_digest: false,
        quiet_hours,
        shared: false,
        created_at: Timestamp::UNIX_EPOCH,
        version: 1,
    }))
}

/// The second of the numbers that the recipient at this index may have.
pub(super) fn phone(place: usize) -> Phone {
    PHONES[place * 2 + 1].clone()
}

fn integration(tenant: usize, place: usize, random: &mut Random) -> Destination {
    let name = format!("t{tenant}d{place}");
    Destination::Integration(Box::new(Integration {
        id: IntegrationId::new(&name),
        kind: *random.pick(&[Channel::Slack, Channel::Teams, Channel::Webhook, Channel::Webhook]),
        url: Sealed::new("v1.1.x".into()),
        host: "example.com".into(),
        fingerprint: format!("fp-{name}"),
        secret: Some(Sealed::new("v1.1.y".into())),
        old_secret: None,
        categories: BTreeSet::new(),
        audiences: BTreeSet::from([Role::OrgAdmin, Role::TechDevops]),
        filters: filters(random),
        paused: false,
        disabled: None,
        failing: None,
        slow: None,
        created_at: Timestamp::UNIX_EPOCH,
        version: 1,
        name,
    }))
}

/// Generates a tenant: one or two recipients, up to two integrations.
pub(super) fn tenant(number: usize, random: &mut Random) -> Subscriber {
    let mut destinations = vec![(0, recipient(number, 0, random))];
    if random.once_in(2) {
        destinations.push((0, recipient(number, 1, random)));
    }
    for (place, percent) in [(2, 60), (3, 40)] {
        if random.percent(percent) {
            // Half of them are in a chunk of their own.
            destinations.push((u32::from(random.once_in(2)), integration(number, place, random)));
        }
    }
    let off = random.once_in(2).then(|| *random.pick(Category::ALL));
    let chosen = |category: &Category| CategorySettings {
        enabled: off != Some(*category) || *category == Category::Infrastructure,
        channels: ChannelClass::ALL.iter().copied().collect(),
        muted_until: None,
        min_severity: None,
    };
    let lawful = |class: &ChannelClass| {
        let wording = compliance_wording(*class)?;
        Some((*class, ComplianceConfirmed { by: "tok_a".into(), at: Timestamp::UNIX_EPOCH, wording }))
    };
    let plan = match random.between(0, 9) {
        0 => "starter",
        1 | 2 => "business",
        _ => "enterprise",
    };
    let Ok(tenant) = TenantId::parse(&format!("t{number}")) else { panic!("no tenant id") };
    let settings = Settings {
        tenant,
        name: "T".into(),
        plan: plan.into(),
        zone: zone(random).into(),
        alert_window_seconds: 60,
        categories: Category::ALL.iter().map(|category| (*category, chosen(category))).collect(),
        allowed_email_domains: vec![],
        compliance: SmsCompliance {
            country: random.once_in(2).then(|| "IN".to_owned()),
            dlt_entity_id: Some("1101".to_owned()),
            dlt_template_id: Some("2202".to_owned()),
            ..SmsCompliance::default()
        },
        compliance_confirmed: ChannelClass::ALL.iter().filter_map(lawful).collect(),
        public_name: None,
        approved: domain::tenant::ApprovedNames::default(),
        name_requests: domain::tenant::NameRequests::default(),
        data_processing: DataProcessing::default(),
        quiet_hours: random.percent(60).then(|| quiet_hours(random)),
        min_severity: None,
        digest: None,
        storms: if random.percent(80) { StormMode::Bundle } else { StormMode::Each },
        // Some tenants do not use what most platform-wide incidents affect.
        footprint: Footprint {
            components: if number % 3 == 2 { vec!["api".to_owned()] } else { Vec::new() },
            ..Footprint::default()
        },
        version: 1,
    };
    Subscriber { settings, destinations }
}
