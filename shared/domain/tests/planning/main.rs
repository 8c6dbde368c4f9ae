//! The delivery plan by example and by property.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod eligibility;
mod history;
mod lint;
mod properties;
mod timing;

use domain::delivery::{DeliveryRow, RowWrite};
use domain::digest::{Digest, DigestSchedule};
use domain::event::TestTarget;
use domain::ids::{EventId, IncidentId, IntegrationId, RecipientId, Scope, TenantId};
use domain::incident::{Change, Incident, Update};
use domain::maintenance::MaintenanceSuppression;
use domain::plan::{
    Decision, DecisionOutcome, LastSent, NotificationHistory, PlanHistory, PlanInput, PlannedHold, StoredPlan,
    carried_threads, plan_deliveries, plan_without_history,
};
use domain::policy::Policy;
use domain::quiet::{QuietHours, QuietHoursOverride};
use domain::reason::Reason;
use domain::tenant::{
    CategorySettings, ComplianceConfirmed, ConsentRecord, DataProcessing, Destination, Disablement, Email, Filters,
    Footprint, Integration, OptIn, Phone, Recipient, Sealed, Settings, SmsCompliance, Suppression, compliance_wording,
};
use domain::vocabulary::{Category, Channel, ChannelClass, Kind, Role, Severity, Status};
use jiff::Timestamp;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use Category::{Billing, Configurable, Infrastructure};
use Role::{BillingAdmin, OrgAdmin, SupportManager, TechDevops};

static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy::embedded().unwrap());

fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn settings() -> Settings {
    let all = CategorySettings {
        enabled: true,
        channels: ChannelClass::ALL.iter().copied().collect(),
        muted_until: None,
        min_severity: None,
    };
    Settings {
        tenant: acme(),
        name: "Acme".into(),
        plan: "enterprise".into(),
        zone: "Asia/Kolkata".into(),
        alert_window_seconds: 60,
        categories: Category::ALL.iter().map(|category| (*category, all.clone())).collect(),
        allowed_email_domains: vec![],
        compliance: SmsCompliance {
            dlt_entity_id: Some("1101".into()),
            dlt_template_id: Some("2202".into()),
            ..SmsCompliance::default()
        },
        public_name: None,
        approved: domain::tenant::ApprovedNames::default(),
        name_requests: domain::tenant::NameRequests::default(),
        data_processing: DataProcessing::default(),
        quiet_hours: None,
        min_severity: None,
        digest: None,
        storms: domain::vocabulary::StormMode::Bundle,
        compliance_confirmed: confirmed_compliance(),
        footprint: Footprint::default(),
        version: 1,
    }
}

fn incident(category: Category) -> Incident {
    Incident {
        id: IncidentId::new("1"),
        scope: Scope::Tenant(acme()),
        key: "k".into(),
        integration_id: IntegrationId::new("monitor"),
        source: "monitor".into(),
        event_type: "x".into(),
        dedup_key: "d".into(),
        category: Some(category),
        kind: Kind::Incident,
        rule: "r".into(),
        advice: String::new(),
        low_balance: false,
        user_id: None,
        severity: Severity::Error,
        status: Status::Investigating,
        critical_since: None,
        title: "t".into(),
        opened_title: "t".into(),
        components: vec![],
        regions: vec![],
        key_details: Vec::new(),
        public: false,
        shown: None,
        public_title: String::new(),
        opened_at: Some(now()),
        started_at: now(),
        changed_at: None,
        closed_by_key_alone: false,
        as_of: None,
        last_seen: now(),
        maintenance: None,
        covered: None,
        openings: None,
        resolved_at: None,
        source_text_hash: None,
        updates: 1,
        repeats: 0,
        test: false,
        test_of: None,
        version: 1,
    }
}

fn update(number: u32, change: Change, severity: Severity) -> Update {
    Update {
        number,
        event_id: EventId::new("1"),
        correlation_id: "c".into(),
        accepted_at: now(),
        late_source: None,
        change,
        status: if change == Change::Resolved { Status::Resolved } else { Status::Investigating },
        severity,
        worst_before: None,
        title: "t".into(),
        message: "m".into(),
        components: vec![],
        regions: vec![],
        public_message: String::new(),
        links: vec![],
        measurements: BTreeMap::new(),
        labels: BTreeMap::new(),
        key_details: Vec::new(),
        details: Default::default(),
        cut: vec![],
    }
}

fn recipient(name: &str, role: Role) -> Recipient {
    Recipient {
        id: RecipientId::new(name),
        name: name.into(),
        email: Some(Email::parse(&format!("{name}@example.com")).unwrap()),
        email_confirmed: true,
        phone: Some(Phone::parse(&format!("+1415555{:04}", name.len() * 7 + 100)).unwrap()),
        phone_facts: None,
        phone_confirmed: true,
        roles: BTreeSet::from([role]),
        filters: Filters::default(),
        user_id: None,
        opt_ins: BTreeSet::new(),
        unsubscribed: BTreeSet::new(),
        unsubscribed_warnings: false,
        dnd: false,
        sms_consent: false,
        sms_consent_record: None,
        zone: None,
        suppressed: None,
        sms_opted_out: None,
        digest: None,
        no_digest: false,
        quiet_hours: None,
        shared: false,
        created_at: Timestamp::UNIX_EPOCH,
        version: 1,
    }
}

fn endpoint(name: &str, kind: Channel, role: Role) -> Integration {
    Integration {
        id: IntegrationId::new(name),
        name: name.into(),
        kind,
        url: Sealed::new("v1.1.x".into()),
        host: "example.com".into(),
        fingerprint: format!("fp-{name}"),
        secret: Some(Sealed::new("v1.1.y".into())),
        old_secret: None,
        categories: BTreeSet::new(),
        audiences: BTreeSet::from([role]),
        filters: Filters::default(),
        paused: false,
        disabled: None,
        failing: None,
        slow: None,
        created_at: Timestamp::UNIX_EPOCH,
        version: 1,
    }
}

fn to(recipient: Recipient) -> Destination {
    Destination::Recipient(Box::new(recipient))
}

fn to_endpoint(integration: Integration) -> Destination {
    Destination::Integration(Box::new(integration))
}

/// The history after these decisions, of which nothing is known but the plans.
fn history_of(decisions: &[Decision]) -> NotificationHistory {
    history_with(decisions, &[])
}

/// The history after these decisions, of which these rows say what became.
fn history_with(decisions: &[Decision], rows: &[DeliveryRow]) -> NotificationHistory {
    let plan = |update| StoredPlan {
        tenant: TenantId::parse("acme").unwrap(),
        chunk: 0,
        update,
        at: now(),
        settings_version: 1,
        decisions: decisions.iter().filter(|decision| decision.update == update).cloned().collect(),
        carried: Vec::new(),
    };
    let updates: BTreeSet<u32> = decisions.iter().map(|decision| decision.update).collect();
    let rows = rows.iter().map(|row| (("rcp_p".to_owned(), row.channel), row.clone()));
    let known =
        PlanHistory { plans: updates.into_iter().map(plan).collect(), rows: rows.collect(), stopped: BTreeSet::new() };
    NotificationHistory::before(u32::MAX, &known)
}

fn plan_updates(
    incident: &Incident,
    updates: &[Update],
    settings: &Settings,
    to: &[Destination],
    history: &NotificationHistory,
) -> Vec<Decision> {
    plan_deliveries(&PlanInput {
        incident,
        updates,
        earlier: &[],
        settings,
        destinations: to,
        history,
        policy: &POLICY,
        now: now(),
        released_from: None,
        storm_until: None,
    })
}

/// The outcome on one channel of the only destination, for the opening of an incident in `category`.
fn opening_outcome(
    category: Category,
    settings: &Settings,
    to: Destination,
    channel: Channel,
) -> Result<Option<Role>, Reason> {
    let opened = [update(1, Change::Opened, Severity::Error)];
    let decisions = plan_updates(&incident(category), &opened, settings, &[to], &NotificationHistory::default());
    match &decisions.iter().find(|decision| decision.channel == channel).unwrap().outcome {
        DecisionOutcome::Deliver { role } => Ok(*role),
        DecisionOutcome::Hold { reason, .. } | DecisionOutcome::Skip { reason, .. } => Err(*reason),
    }
}

/// Compliance is confirmed for every channel that needs it.
fn confirmed_compliance() -> BTreeMap<ChannelClass, ComplianceConfirmed> {
    let confirmation = |class: &ChannelClass| {
        let wording = compliance_wording(*class)?;
        Some((*class, ComplianceConfirmed { by: "tok_a".into(), at: Timestamp::UNIX_EPOCH, wording }))
    };
    ChannelClass::ALL.iter().filter_map(confirmation).collect()
}

/// Quiet hours from 15:00 to 16:00 in India; [`now`] is in the middle.
fn quiet_hours(critical_passes: bool) -> QuietHours {
    let time = |text: &str| text.parse().unwrap();
    QuietHours { from: time("15:00"), to: time("16:00"), days: BTreeSet::new(), zone: None, critical_passes }
}

/// Until when quiet hours hold the update; `None` for any other outcome.
fn quiet_until(outcome: &DecisionOutcome) -> Option<String> {
    match outcome {
        DecisionOutcome::Hold { until, reason: Reason::QuietHours, .. } => Some(until.to_string()),
        _ => None,
    }
}

/// A recipient with a daily digest at 18:00 for alerts below a severity.
fn with_digest(below: Severity) -> Recipient {
    let channels = BTreeSet::from([ChannelClass::Email]);
    let digest = Some(Digest { schedule: DigestSchedule::Daily { at: "18:00".parse().unwrap() }, below, channels });
    Recipient { digest, ..recipient("p", SupportManager) }
}

/// A decision on an e-mail to one recipient: delivered, or held until a time for a reason.
fn email_decision(update: u32, held: Option<(&str, Reason)>) -> Decision {
    let outcome = match held {
        Some((until, reason)) => DecisionOutcome::Hold { until: until.parse().unwrap(), reason, role: None },
        None => DecisionOutcome::Deliver { role: None },
    };
    let destination = recipient("p", SupportManager).id.to_string();
    Decision { update, destination, channel: Channel::Email, outcome, last_sent: None }
}
