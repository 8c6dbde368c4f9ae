//! One alert of each kind of message, as the deliveries carry them, and the links in them.

#![allow(dead_code, reason = "each test uses the samples that it needs")]

use domain::alert::{Alert, EarlierUpdate, HoldPeriod, NotificationReason, ThreadStart};
use domain::event::{KeyDetail, Link};
use domain::ids::{EventId, IncidentId, Scope, TenantId};
use domain::incident::Change;
use domain::maintenance::{MaintenanceSchedule, SuppressedIncident, SuppressedIncidents};
use domain::reason::Reason;
use domain::render::AlertLinks;
use domain::vocabulary::{Category, Kind, Phase, Role, Severity, Status};
use jiff::Timestamp;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The opening of a critical platform-wide incident.
pub(crate) fn alert() -> Alert {
    Alert {
        tenant: TenantId::parse("acme").unwrap(),
        tenant_name: "Acme Voice".into(),
        incident_id: IncidentId::new("abcdefghijklmnopqrstuvwxyz"),
        update: 1,
        event_id: EventId::new("zyxwvutsrqponmlkjihgfedcba"),
        platform_wide: true,
        category: Some(Category::Infrastructure),
        kind: Kind::Incident,
        event_type: "voice.routing_failure".into(),
        severity: Severity::Critical,
        status: Status::Investigating,
        title: "Outbound calls fail in Mumbai".into(),
        message: "Every third call fails.\nWe are looking at the carrier <!channel> & more.".into(),
        components: vec!["voice".into()],
        regions: vec!["ap-south-1".into()],
        started_at: at("2026-11-23T08:30:00Z"),
        at: at("2026-11-23T08:31:00Z"),
        resolved_at: None,
        maintenance: None,
        suppressed_incidents: Default::default(),
        covered: None,
        late_source: None,
        openings: None,
        change: Change::Opened,
        advice: "Test a call from each of your main numbers. If calls fail, route urgent ones over another number or carrier."
            .into(),
        thread: Some(ThreadStart { title: "Outbound calls fail in Mumbai".into(), critical: true }),
        earlier: Vec::new(),
        zone: "Asia/Kolkata".into(),
        links: vec![Link { href: "https://grafana.example.com/d/1?a=b&c=d".into(), text: "Dashboard".into() }],
        measurements: [("delay_minutes".to_owned(), 12.0)].into(),
        labels: [("carrier".to_owned(), "one".to_owned())].into(),
        key_details: Vec::new(),
        details: Default::default(),
        cut: vec![],
        public: true,
        test: false,
        minimal: false,
    }
}

fn earlier(time: &str, change: Change, status: Status, message: &str) -> EarlierUpdate {
    EarlierUpdate { at: at(time), change, status, severity: Severity::Critical, message: message.into() }
}

fn identified() -> Alert {
    Alert {
        update: 2,
        at: at("2026-11-23T08:52:00Z"),
        change: Change::StatusChanged,
        status: Status::Identified,
        message: "The carrier confirmed an outage. We are rerouting calls.".into(),
        earlier: vec![earlier(
            "2026-11-23T08:31:00Z",
            Change::Opened,
            Status::Investigating,
            "Every third call fails.\nWe are looking at the carrier.",
        )],
        ..alert()
    }
}

fn maintenance(phase: Phase, status: Status, change: Change) -> Alert {
    Alert {
        kind: Kind::Maintenance,
        event_type: "maintenance.announced".into(),
        severity: Severity::Info,
        title: "New carrier in Mumbai".into(),
        message: "We move calls to a new carrier. Calls may drop once.".into(),
        started_at: at("2026-11-23T08:30:00Z"),
        maintenance: Some(MaintenanceSchedule {
            phase,
            from: at("2026-11-25T20:30:00Z"),
            until: Some(at("2026-11-25T22:30:00Z")),
        }),
        status,
        change,
        advice: "Plan around these hours. You don't have to do anything else.".into(),
        thread: Some(ThreadStart { title: "New carrier in Mumbai".into(), critical: false }),
        links: Vec::new(),
        ..alert()
    }
}

fn own(title: &str, category: Category, severity: Severity) -> Alert {
    Alert {
        platform_wide: false,
        public: false,
        category: Some(category),
        severity,
        title: title.into(),
        components: Vec::new(),
        regions: Vec::new(),
        links: Vec::new(),
        thread: Some(ThreadStart { title: title.into(), critical: severity == Severity::Critical }),
        ..alert()
    }
}

/// The kinds of messages about one alert, each with its name.
pub(crate) fn alerts() -> Vec<(&'static str, Alert)> {
    let resolved_at = Some(at("2026-11-23T09:12:00Z"));
    let suppressed = |id: &str, title: &str, until: Option<&str>| SuppressedIncident {
        incident_id: IncidentId::new(id),
        scope: Scope::Platform,
        title: title.to_owned(),
        from: at("2026-11-25T20:40:00Z"),
        until: until.map(at),
        escalated: false,
    };
    let inside = vec![
        suppressed("inside", "Calls <!here> & *texts* fail", None),
        suppressed("over", "Texts wait", Some("2026-11-25T21:00:00Z")),
    ];
    let verifying = Alert {
        suppressed_incidents: SuppressedIncidents { incidents: inside, omitted_count: 2 },
        ..maintenance(Phase::Verifying, Status::Monitoring, Change::StatusChanged)
    };
    let completed = Alert {
        resolved_at: Some(at("2026-11-25T22:12:00Z")),
        started_at: at("2026-11-25T20:30:00Z"),
        message: "Calls run over the new carrier.".into(),
        ..maintenance(Phase::Completed, Status::Resolved, Change::Resolved)
    };
    vec![
        ("opening", alert()),
        ("update", identified()),
        (
            "raised",
            Alert {
                change: Change::SeverityRaised,
                thread: Some(ThreadStart { title: "Outbound calls fail in Mumbai".into(), critical: false }),
                ..identified()
            },
        ),
        (
            "resolution",
            Alert {
                update: 3,
                at: at("2026-11-23T09:12:00Z"),
                status: Status::Resolved,
                change: Change::Resolved,
                resolved_at,
                message: "Calls run over another carrier.".into(),
                ..identified()
            },
        ),
        ("maintenance_announced", maintenance(Phase::Scheduled, Status::Investigating, Change::Opened)),
        ("maintenance_reminder", maintenance(Phase::Scheduled, Status::Investigating, Change::Reminded)),
        ("maintenance_started", maintenance(Phase::InProgress, Status::Identified, Change::StatusChanged)),
        ("maintenance_verifying", verifying),
        ("maintenance_ended", completed),
        (
            "low_balance",
            Alert {
                event_type: "wallet.low_balance".into(),
                message: String::new(),
                key_details: vec![KeyDetail::new("balance", "90 INR"), KeyDetail::new("threshold", "100 INR")],
                advice:
                    "Add credit under Billing, or turn on auto-recharge. Service goes on until the balance is used up."
                        .into(),
                ..own("Balance below 100 INR", Category::Billing, Severity::Warning)
            },
        ),
        (
            "configuration",
            Alert {
                event_type: "ivr.misconfigured".into(),
                message: "Step 3 leads to a group that does not exist.".into(),
                advice: "Open the IVR flow, correct the step that is named here, and call the number once to check it."
                    .into(),
                ..own("IVR \"Sales\" is misconfigured", Category::Configurable, Severity::Error)
            },
        ),
        (
            "notice",
            Alert {
                kind: Kind::Advisory,
                event_type: "tocsin.delivery_failed".into(),
                message: "The webhook \"PagerHub\" answered 500 for 27 hours.".into(),
                advice: "Pass the alert on by hand, then check the destination in the console and send it again."
                    .into(),
                ..own(
                    "A critical alert could not be delivered by webhook",
                    Category::Infrastructure,
                    Severity::Critical,
                )
            },
        ),
        (
            "test",
            Alert {
                event_type: "test.alert".into(),
                test: true,
                message: "Sent by the console.".into(),
                advice: "You don't have to do anything. If you can read this, this channel works.".into(),
                ..own("Test alert", Category::Infrastructure, Severity::Critical)
            },
        ),
        (
            "minimal",
            Alert {
                minimal: true,
                message: String::new(),
                components: vec![],
                regions: vec![],
                links: vec![],
                labels: Default::default(),
                measurements: Default::default(),
                advice: String::new(),
                ..alert()
            },
        ),
    ]
}

/// The alerts of a bundle or digest, in no order.
pub(crate) fn several() -> Vec<Alert> {
    let number = |number: u32, severity| Alert {
        incident_id: IncidentId::derived(&[&number.to_string()]),
        title: format!("Queue {number} is slow"),
        severity,
        components: vec!["messaging".into()],
        ..alert()
    };
    let mut all: Vec<Alert> = (1..12).map(|one| number(one, Severity::Warning)).collect();
    all.push(Alert {
        status: Status::Resolved,
        resolved_at: Some(at("2026-11-23T09:12:00Z")),
        ..number(12, Severity::Error)
    });
    all.push(alert());
    all
}

pub(crate) fn why() -> NotificationReason {
    NotificationReason { role: Some(Role::OrgAdmin), held: None }
}

/// Why an alert is sent that quiet hours held.
pub(crate) fn held() -> NotificationReason {
    let held =
        HoldPeriod { since: at("2026-11-22T20:00:00Z"), until: at("2026-11-23T02:30:00Z"), reason: Reason::QuietHours };
    NotificationReason { held: Some(held), ..why() }
}

pub(crate) const INCIDENT_URL: &str = "https://alerts.example.com/status/incidents/inc_abcdefghijklmnopqrstuvwxyz";

pub(crate) fn links() -> AlertLinks {
    AlertLinks {
        incident_url: INCIDENT_URL.into(),
        unsubscribe_url: Some("https://alerts.example.com/unsubscribe?t=1.acme.rcp_a.infrastructure.x".into()),
        stop_url: Some("https://alerts.example.com/stop?t=1.acme.rcp_a.inc_a.x".into()),
    }
}
