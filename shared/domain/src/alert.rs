//! The alert: the content of a notification, independent of its channel. Every channel renders the same facts.

use crate::event::{KeyDetail, Link, truncate_chars};
use crate::ids::{EventId, IncidentId, Scope, TenantId};
use crate::incident::{Change, Incident, Update};
use crate::maintenance::{MaintenanceSchedule, MaintenanceSuppression, SuppressedIncidents};
use crate::rate_limit::Exemption;
use crate::reason::Reason;
use crate::storm::Openings;
use crate::tenant::ContentLevel;
use crate::vocabulary::{Category, Kind, Role, Severity, Status};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Maximum number of earlier updates that an e-mail shows.
pub const EARLIER_UPDATES_MAX: usize = 3;
/// Maximum length of an earlier update's text in an e-mail, in characters.
const EARLIER_MESSAGE_MAX: usize = 400;

/// What the subjects of all e-mails about one incident to one recipient say, so that mail clients keep them in one thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadStart {
    /// The title with which the incident was opened.
    pub title: String,
    /// Whether the incident had been critical by the first message to this recipient.
    pub critical: bool,
}

/// An update before the one that a message is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierUpdate {
    /// When the intake accepted it.
    pub at: Timestamp,
    /// What it changed.
    pub change: Change,
    /// The status after it.
    pub status: Status,
    /// The severity after it.
    pub severity: Severity,
    /// Its text, shortened; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// One update of an incident as one tenant is notified of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The tenant that is notified.
    pub tenant: TenantId,
    /// The tenant's name; empty in messages of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant_name: String,
    /// The id of the incident.
    pub incident_id: IncidentId,
    /// The update's number within the incident, from 1; receivers order by it.
    pub update: u32,
    /// The event that made the update.
    pub event_id: EventId,
    /// Whether the incident affects the whole platform, not only this tenant.
    pub platform_wide: bool,
    /// The category; `None` for user-level warnings.
    pub category: Option<Category>,
    /// Whether it is an incident, maintenance, an advisory or an opt-in warning.
    pub kind: Kind,
    /// The type of the event, such as `voice.routing_failure`.
    pub event_type: String,
    /// The severity of this update.
    pub severity: Severity,
    /// The status of the incident after this update.
    pub status: Status,
    /// One line that says what happened.
    pub title: String,
    /// The description, as plain text; may be empty.
    #[serde(default)]
    pub message: String,
    /// Names of the affected components; may be empty.
    #[serde(default)]
    pub components: Vec<String>,
    /// Names of the affected regions; may be empty.
    #[serde(default)]
    pub regions: Vec<String>,
    /// When the incident started.
    pub started_at: Timestamp,
    /// When the intake accepted this update.
    pub at: Timestamp,
    /// When the incident was resolved; only in the resolve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// The scheduled start and end; only for maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceSchedule>,
    /// The incidents inside the maintenance window so far; only for maintenance.
    #[serde(default, skip_serializing_if = "has_no_incidents")]
    pub suppressed_incidents: SuppressedIncidents,
    /// The maintenance window that the incident was inside when the update was accepted. Such updates go to webhooks only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered: Option<MaintenanceSuppression>,
    /// When it happened, if the source reported it late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_source: Option<Timestamp>,
    /// How often the dedup key opened recently; `None` if once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openings: Option<Openings>,
    /// What changed with this update.
    pub change: Change,
    /// What readers can do about it by the rule that classified it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advice: String,
    /// How the thread of e-mails began; only in e-mails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<ThreadStart>,
    /// The updates before this one, newest first, at most [`EARLIER_UPDATES_MAX`]; only in e-mails.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierUpdate>,
    /// The IANA time zone of the tenant, in which times are printed.
    pub zone: String,
    /// Links that the source provided.
    #[serde(default)]
    pub links: Vec<Link>,
    /// The details that people see, in order: the source's own words for what tells one target from another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_details: Vec<KeyDetail>,
    /// Numeric facts by name, as the source provided them.
    #[serde(default)]
    pub measurements: BTreeMap<String, f64>,
    /// Text facts by name, as the source provided them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// All other fields of the source's request; sent to webhooks only.
    #[serde(default)]
    pub details: Map<String, Value>,
    /// Names of the fields that were shortened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
    /// Whether the incident is on the public status page.
    pub public: bool,
    /// Whether this is a test alert.
    #[serde(default)]
    pub test: bool,
    /// Whether the data-processing agreement reduced the content to title, severity and link.
    #[serde(default)]
    pub minimal: bool,
}

fn has_no_incidents(inside: &SuppressedIncidents) -> bool {
    inside.count() == 0
}

/// Why a recipient gets an alert, and why only now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationReason {
    /// The role to which the role matrix grants this category on this channel; `None` where only an opt-in counts.
    pub role: Option<Role>,
    /// How long and why the alert was held; `None` if it was sent at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HoldPeriod>,
}

/// The time for which an alert was held before it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldPeriod {
    /// When the alert would have been sent otherwise.
    pub since: Timestamp,
    /// When the hold ended. The alert window counts from here.
    pub until: Timestamp,
    /// Why it was held.
    pub reason: Reason,
}

impl Alert {
    /// Returns the exemption from a contact's rate limit: openings and escalations of critical incidents, and every resolve.
    #[must_use]
    pub fn rate_limit_exemption(&self) -> Option<Exemption> {
        match self.change {
            Change::Resolved => Some(Exemption::Resolve),
            Change::Opened | Change::SeverityRaised if self.severity == Severity::Critical => {
                Some(Exemption::CriticalOpening)
            }
            _ => None,
        }
    }

    /// Returns the latency at `now` in milliseconds, and whether it exceeds the tenant's alert window.
    ///
    /// The latency counts from acceptance, or from the end of the hold if the alert was held.
    #[must_use]
    pub fn latency(&self, why: &NotificationReason, window_seconds: u32, now: Timestamp) -> (i64, bool) {
        let from = why.held.as_ref().map_or(self.at, |held| held.until.max(self.at));
        let latency_ms = (now.as_millisecond() - from.as_millisecond()).max(0);
        (latency_ms, latency_ms > i64::from(window_seconds) * 1_000)
    }

    /// Builds the alert of `update` for `tenant`, reduced to what its data-processing agreement allows.
    #[must_use]
    pub fn new(tenant: &TenantId, zone: &str, content: ContentLevel, incident: &Incident, update: &Update) -> Self {
        let full = Self {
            tenant: tenant.clone(),
            tenant_name: String::new(),
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
            suppressed_incidents: SuppressedIncidents::default(),
            covered: incident.covered.clone().filter(|cover| update.accepted_at < cover.until),
            late_source: update.late_source,
            openings: incident.openings.filter(|openings| openings.count > 1),
            change: update.change,
            advice: incident.advice.clone(),
            thread: None,
            earlier: Vec::new(),
            zone: zone.to_owned(),
            links: update.links.clone(),
            key_details: update.key_details.clone(),
            measurements: update.measurements.clone(),
            labels: update.labels.clone(),
            details: update.details.clone(),
            cut: update.cut.clone(),
            public: incident.public,
            test: incident.test,
            minimal: false,
        };
        match content {
            ContentLevel::Full => full,
            ContentLevel::Minimal => Self {
                message: String::new(),
                components: Vec::new(),
                regions: Vec::new(),
                links: Vec::new(),
                key_details: Vec::new(),
                advice: String::new(),
                measurements: BTreeMap::new(),
                labels: BTreeMap::new(),
                details: Map::new(),
                minimal: true,
                ..full
            },
        }
    }

    /// Adds what an e-mail says of the updates before this one: with which of them the recipient's thread began, and the newest ones.
    #[must_use]
    pub fn with_thread<'a>(
        mut self,
        incident: &Incident,
        first_sent: Option<u32>,
        earlier: impl DoubleEndedIterator<Item = &'a Update>,
    ) -> Self {
        let first = first_sent.unwrap_or(self.update).min(self.update);
        let title = if incident.opened_title.is_empty() { &self.title } else { &incident.opened_title };
        let critical = incident.critical_since.is_some_and(|since| since <= first);
        self.thread = Some(ThreadStart { title: title.clone(), critical });
        if !self.minimal {
            self.earlier = earlier.rev().take(EARLIER_UPDATES_MAX).map(EarlierUpdate::of).collect();
        }
        self
    }

    /// Returns the tenant's name, or its id where the message does not carry the name.
    #[must_use]
    pub fn tenant_title(&self) -> &str {
        if self.tenant_name.is_empty() { self.tenant.as_str() } else { &self.tenant_name }
    }

    /// Returns what readers can do; `None` where the incident is over, and where its source says so itself by linking a runbook.
    #[must_use]
    pub fn advice_shown(&self) -> Option<&str> {
        let has_runbook = self.links.iter().any(|link| link.text.to_lowercase().contains("runbook"));
        Some(self.advice.as_str()).filter(|advice| {
            !advice.is_empty() && !has_runbook && self.change != Change::Resolved && self.status != Status::Resolved
        })
    }

    /// Returns the name of the category for people.
    #[must_use]
    pub fn category_title(&self) -> &'static str {
        self.category.map_or("User-level warning", Category::title)
    }
}

impl EarlierUpdate {
    fn of(update: &Update) -> Self {
        let mut message = update.message.trim().to_owned();
        truncate_chars(&mut message, EARLIER_MESSAGE_MAX);
        Self {
            at: update.accepted_at,
            change: update.change,
            status: update.status,
            severity: update.severity,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::alert;

    #[test]
    fn the_alert_window_counts_from_acceptance_or_from_the_end_of_the_hold() {
        let alert = Alert { severity: Severity::Error, ..alert() };
        let after = |seconds: i64| alert.at.saturating_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
        let held = |reason| NotificationReason {
            role: None,
            held: Some(HoldPeriod { since: alert.at, until: after(3_600), reason }),
        };
        let at_once = NotificationReason { role: None, held: None };
        assert_eq!(alert.latency(&at_once, 60, after(60)), (60_000, false));
        assert_eq!(alert.latency(&at_once, 60, after(61)), (61_000, true));
        assert_eq!(alert.latency(&at_once, 86_400, after(61)), (61_000, false), "each tenant has its own window");
        assert_eq!(alert.latency(&held(Reason::QuietHours), 60, after(3_602)), (2_000, false));
        assert_eq!(
            alert.latency(&held(Reason::QuietHours), 60, after(3_661)),
            (61_000, true),
            "late after the hold ended"
        );
        assert_eq!(alert.latency(&held(Reason::Throttled), 60, after(3_602)), (2_000, false));
    }
}
