//! What a recipient is told, in neutral form: every channel renders the same facts.

use crate::event::Link;
use crate::ids::{EventId, IncidentId, Scope, TenantId};
use crate::incident::{Change, Incident, Update};
use crate::maintenance::{Covered, Inside, Planned};
use crate::reason::Reason;
use crate::render::when;
use crate::storm::{Exempt, Openings};
use crate::tenant::Content;
use crate::vocabulary::{Category, Kind, Role, Severity, Status};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An update of an incident as one tenant is told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Who is told.
    pub tenant: TenantId,
    /// The incident.
    pub incident_id: IncidentId,
    /// The update's number; receivers order by it.
    pub update: u32,
    /// The event that made the update.
    pub event_id: EventId,
    /// True when it is about everybody.
    pub platform_wide: bool,
    /// The category; `None` for user-level warnings.
    pub category: Option<Category>,
    /// The kind.
    pub kind: Kind,
    /// The event type.
    pub event_type: String,
    /// How bad.
    pub severity: Severity,
    /// Where it stands.
    pub status: Status,
    /// What happened, in one line.
    pub title: String,
    /// What happened.
    #[serde(default)]
    pub message: String,
    /// To what.
    #[serde(default)]
    pub components: Vec<String>,
    /// Where.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Since when.
    pub started_at: Timestamp,
    /// When this update was accepted.
    pub at: Timestamp,
    /// When it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// Of announced work, its hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Planned>,
    /// Of announced work, the incidents that it explained so far.
    #[serde(default, skip_serializing_if = "is_none")]
    pub inside: Inside,
    /// The announced work that explained it when it was said. Only machines are told then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered: Option<Covered>,
    /// When it happened, where its source told us late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_source: Option<Timestamp>,
    /// How often its key opened lately, where that is more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openings: Option<Openings>,
    /// Why it is sent now.
    pub change: Change,
    /// The tenant's zone, in which times are printed.
    pub zone: String,
    /// Where to look further, as the source gave it.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Numbers.
    #[serde(default)]
    pub measurements: BTreeMap<String, f64>,
    /// Words.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Everything else; for webhooks.
    #[serde(default)]
    pub details: Map<String, Value>,
    /// What was cut on the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
    /// Whether the incident is on the public status page.
    pub public: bool,
    /// True for a test alert.
    #[serde(default)]
    pub test: bool,
    /// True where the data-processing agreement left only title, severity and link.
    #[serde(default)]
    pub minimal: bool,
}

fn is_none(inside: &Inside) -> bool {
    inside.count() == 0
}

/// Why this recipient is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The role that the matrix gives this category on this channel; `None` where only an opt-in counts.
    pub role: Option<Role>,
    /// Since when and why it was held, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// What was held before it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Since when this recipient would have been told.
    pub since: Timestamp,
    /// Until when it was held; the alert window counts from here.
    pub until: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// Why an alert is sent now, as a clause: "sent now because …".
#[must_use]
pub fn because(alert: &Alert, why: &Why) -> String {
    match &why.held {
        Some(Held { reason: Reason::CoveredByMaintenance, .. }) => {
            "it has outlived the maintenance that explained it".to_owned()
        }
        Some(held) => format!(
            "it waited since {} for {} to end",
            when(held.since, &alert.zone),
            match held.reason {
                Reason::QuietHours => "quiet hours",
                Reason::Throttled => "too much at once",
                _ => "its time",
            }
        ),
        None => alert.change.because().to_owned(),
    }
}

impl Alert {
    /// As what it may go to a contact that has had enough for now: the first word of something critical, and every end.
    #[must_use]
    pub fn exempt(&self) -> Option<Exempt> {
        match self.change {
            Change::Resolved => Some(Exempt::End),
            Change::Opened | Change::SeverityRaised if self.severity == Severity::Critical => Some(Exempt::Critical),
            _ => None,
        }
    }

    /// Milliseconds from the moment from which its window counts until `now`, and whether that is longer than the window. What was held
    /// is late only if it comes late after its time.
    #[must_use]
    pub fn latency(&self, why: &Why, window_seconds: u32, now: Timestamp) -> (i64, bool) {
        let from = why.held.as_ref().map_or(self.at, |held| held.until.max(self.at));
        let latency_ms = (now.as_millisecond() - from.as_millisecond()).max(0);
        (latency_ms, latency_ms > i64::from(window_seconds) * 1_000)
    }

    /// The alert of `update` for `tenant`, cut to what its data-processing agreement allows.
    #[must_use]
    pub fn new(tenant: &TenantId, zone: &str, content: Content, incident: &Incident, update: &Update) -> Self {
        let full = Self {
            tenant: tenant.clone(),
            incident_id: incident.id.clone(),
            update: update.number,
            event_id: update.event_id.clone(),
            platform_wide: incident.scope == Scope::Platform,
            category: incident.category,
            kind: incident.kind,
            event_type: incident.event_type.clone(),
            severity: update.severity,
            status: update.status,
            title: update.title.clone(),
            message: update.message.clone(),
            components: update.components.clone(),
            regions: update.regions.clone(),
            started_at: incident.started_at,
            at: update.accepted_at,
            resolved_at: if update.status == Status::Resolved { incident.resolved_at } else { None },
            maintenance: incident.maintenance,
            inside: Inside::default(),
            covered: incident.covered.clone().filter(|cover| update.accepted_at < cover.until),
            late_source: update.late_source,
            openings: incident.openings.filter(|openings| openings.count > 1),
            change: update.change,
            zone: zone.to_owned(),
            links: update.links.clone(),
            measurements: update.measurements.clone(),
            labels: update.labels.clone(),
            details: update.details.clone(),
            cut: update.cut.clone(),
            public: incident.public,
            test: incident.test,
            minimal: false,
        };
        match content {
            Content::Full => full,
            Content::Minimal => Self {
                message: String::new(),
                components: Vec::new(),
                regions: Vec::new(),
                links: Vec::new(),
                measurements: BTreeMap::new(),
                labels: BTreeMap::new(),
                details: Map::new(),
                minimal: true,
                ..full
            },
        }
    }

    /// The category as people read it.
    #[must_use]
    pub fn category_title(&self) -> &'static str {
        self.category.map_or("User-level warning", Category::title)
    }
}

/// The sentence that says why this recipient gets this alert.
#[must_use]
pub fn why_sentence(alert: &Alert, why: &Why, channel_title: &str) -> String {
    let tenant = &alert.tenant;
    match (why.role, alert.category) {
        (Some(role), Some(category)) => format!(
            "You get this because {tenant} sends {} alerts by {channel_title} to the role {}.",
            category.title(),
            role.title()
        ),
        _ => format!("You get this because you opted in to user-level warnings of {tenant} by {channel_title}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::alert;

    #[test]
    fn a_window_counts_from_acceptance_or_from_the_end_of_what_held_it() {
        let alert = Alert { severity: Severity::Error, ..alert() };
        let after = |seconds: i64| alert.at.saturating_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
        let held = |reason| Why { role: None, held: Some(Held { since: alert.at, until: after(3_600), reason }) };
        let at_once = Why { role: None, held: None };
        assert_eq!(alert.latency(&at_once, 60, after(60)), (60_000, false));
        assert_eq!(alert.latency(&at_once, 60, after(61)), (61_000, true));
        assert_eq!(alert.latency(&at_once, 86_400, after(61)), (61_000, false), "each tenant has its own");
        assert_eq!(alert.latency(&held(Reason::QuietHours), 60, after(3_602)), (2_000, false));
        assert_eq!(alert.latency(&held(Reason::QuietHours), 60, after(3_661)), (61_000, true), "late after its time");
        assert_eq!(alert.latency(&held(Reason::Throttled), 60, after(3_602)), (2_000, false));
    }
}
