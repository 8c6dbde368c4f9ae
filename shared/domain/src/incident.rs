//! The incident's state machine: what an event does to the incident of its key.

use crate::classification::Included;
use crate::event::{Event, Format, Link, TEST, TestOf};
use crate::ids::{EventId, IncidentId, IntegrationId, Scope, sha256};
use crate::maintenance::{self, Covered, Planned, planned};
use crate::schema::Instant;
use crate::storm::Openings;
use crate::vocabulary::{Category, Kind, Phase, Severity, Status};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The type of the notice that a critical alert could not be delivered: only org admins are told, on another channel.
pub const UNDELIVERED: &str = "tocsin.delivery_failed";
/// The type of the notice that a recipient unsubscribed, or that somebody at a shared address asked for it.
pub const UNSUBSCRIBED: &str = "tocsin.unsubscribed";
/// The type of the notice that an address bounced for good or complained, and gets no more e-mails.
pub const SUPPRESSED: &str = "tocsin.suppressed";
/// The types of which only org admins are told.
pub const NOTICES: [&str; 3] = [UNDELIVERED, UNSUBSCRIBED, SUPPRESSED];

/// How long after its beginning an incident may reach us without the delay being told: a gateway that throttles its callbacks
/// looks like our own slowness.
pub const LATE: SignedDuration = SignedDuration::from_mins(5);

/// How much older than what is known an event may be and still count.
const OLD: SignedDuration = SignedDuration::from_secs(60);

/// The head of an incident: what is true of it now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Its name.
    pub id: IncidentId,
    /// Whose it is.
    pub scope: Scope,
    /// The hash of its key: how `/updates` finds the key.
    pub key: String,
    /// Who posted it.
    pub integration_id: IntegrationId,
    /// The source's name.
    pub source: String,
    /// The event type.
    pub event_type: String,
    /// The source's dedup key.
    pub dedup_key: String,
    /// The category; `None` only for `opt_in` kinds, which belong to no category.
    pub category: Option<Category>,
    /// What sort of thing it is.
    pub kind: Kind,
    /// The rule that classified it.
    pub rule: String,
    /// True where SMS counts it as "low balance".
    #[serde(default)]
    pub low_balance: bool,
    /// How bad it is now.
    pub severity: Severity,
    /// Where it stands.
    pub status: Status,
    /// Its title now.
    pub title: String,
    /// What is affected.
    pub components: Vec<String>,
    /// Where.
    pub regions: Vec<String>,
    /// Whether anybody may see it.
    pub public: bool,
    /// What the public reads of what it affects, where that is not what its newest event said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<PublicScope>,
    /// The title for the public; empty unless `public`.
    #[serde(default)]
    pub public_title: String,
    /// When the event that opened it was accepted; unknown of the oldest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub opened_at: Option<Timestamp>,
    /// When it began: the source's `starts_at`, else the time of acceptance.
    #[schemars(with = "Instant")]
    pub started_at: Timestamp,
    /// The source's `starts_at` as given; what makes a late repeat of a closed incident stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub source_started_at: Option<Timestamp>,
    /// The newest change of state that its source told of, where the source says when it saw them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub as_of: Option<Timestamp>,
    /// When the last event on it was accepted.
    #[schemars(with = "Instant")]
    pub last_seen: Timestamp,
    /// When it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub resolved_at: Option<Timestamp>,
    /// Of announced work, where it stands and its hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Planned>,
    /// The announced work that explains it, if any does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered: Option<Covered>,
    /// How often its key opened lately, with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openings: Option<Openings>,
    /// The number of its newest update, from 1.
    pub updates: u32,
    /// How many events changed nothing.
    #[serde(default)]
    pub repeats: u64,
    /// True for an incident that a test alert made.
    #[serde(default)]
    pub test: bool,
    /// Whom that test alert is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_of: Option<TestOf>,
    /// Goes up by one with each write; what makes two writers notice each other.
    pub version: u64,
}

/// What an incident affects, as the public reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublicScope {
    /// What.
    pub components: Vec<String>,
    /// Where.
    pub regions: Vec<String>,
}

impl Incident {
    /// What the public reads of what it affects.
    #[must_use]
    pub fn shown(&self) -> PublicScope {
        let all = || PublicScope { components: self.components.clone(), regions: self.regions.clone() };
        self.shown.clone().unwrap_or_else(all)
    }
}

/// Why an update is sent; printed in every message (Alertmanager's `notification_reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The first one.
    Opened,
    /// The status moved.
    StatusChanged,
    /// It got worse.
    SeverityRaised,
    /// It got better, but is not over.
    SeverityLowered,
    /// Other components or regions are affected.
    ScopeChanged,
    /// Somebody wrote an update.
    TextAdded,
    /// Announced work is near.
    Reminded,
    /// Announced work has other hours.
    Rescheduled,
    /// It is over.
    Resolved,
}

impl Change {
    /// The change as a clause: "sent because …".
    #[must_use]
    pub const fn because(self) -> &'static str {
        match self {
            Self::Opened => "this is the first message about it",
            Self::StatusChanged => "its status changed",
            Self::SeverityRaised => "it got worse",
            Self::SeverityLowered => "its severity went down",
            Self::ScopeChanged => "what it affects changed",
            Self::TextAdded => "there is a new update",
            Self::Reminded => "it is a reminder",
            Self::Rescheduled => "its hours changed",
            Self::Resolved => "it is resolved",
        }
    }
}

/// One entry of an incident's timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Update {
    /// From 1, without gaps.
    pub number: u32,
    /// The event that made it.
    pub event_id: EventId,
    /// The upstream request, end to end.
    pub correlation_id: String,
    /// When we accepted it; the alert window counts from here.
    #[schemars(with = "Instant")]
    pub accepted_at: Timestamp,
    /// When it happened, where its source said so late (over [`LATE`] after): our window counts from acceptance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Instant>")]
    pub late_source: Option<Timestamp>,
    /// Why it is sent.
    pub change: Change,
    /// Status after it.
    pub status: Status,
    /// Severity after it.
    pub severity: Severity,
    /// The worst severity before it; what decides whether SMS goes out again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_before: Option<Severity>,
    /// Title after it.
    pub title: String,
    /// The text.
    pub message: String,
    /// What is affected after it.
    pub components: Vec<String>,
    /// Where, after it.
    pub regions: Vec<String>,
    /// The text for the public; empty unless the incident is public.
    #[serde(default)]
    pub public_message: String,
    /// Where to look further.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Numbers the source gave.
    #[serde(default)]
    pub measurements: BTreeMap<String, f64>,
    /// Words the source gave.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Everything else the source gave.
    #[serde(default)]
    pub details: Map<String, Value>,
    /// What the caps cut.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
}

/// What the key remembers: the incident that is open on it, or the one that was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyState {
    /// The incident.
    pub incident_id: IncidentId,
    /// Whether it is still open.
    pub open: bool,
    /// Its `starts_at` as the source gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_started_at: Option<Timestamp>,
    /// The newest change of state that its source told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// When it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
    /// How often it opened lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openings: Option<Openings>,
}

/// Identity and time of the event at hand.
#[derive(Clone, Debug)]
pub struct Arrival<'a> {
    /// The event's id.
    pub event_id: &'a EventId,
    /// Whose incident it would be.
    pub scope: &'a Scope,
    /// The key's hash, from [`key`].
    pub key: &'a str,
    /// Who posted it.
    pub integration_id: &'a IntegrationId,
    /// The upstream request.
    pub correlation_id: &'a str,
    /// When intake accepted it.
    pub accepted_at: Timestamp,
}

/// What an event does.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A new incident.
    Open(Box<(Incident, Update)>),
    /// A new update of the open one.
    Update(Box<(Incident, Update)>),
    /// Nothing changed: count it and tell nobody.
    Repeat(Box<Incident>),
    /// A late repeat of a closed incident.
    Stale,
    /// A resolve with nothing open.
    ResolveWithoutOpen,
}

/// The key's hash: platform or tenant, integration, source, dedup key. The integration's id survives a token's rotation.
#[must_use]
pub fn key(scope: &Scope, integration_id: &IntegrationId, source: &str, dedup_key: &str) -> String {
    let whose = scope.tenant().map_or("P", |tenant| tenant.as_str());
    sha256(&[whose, integration_id.as_str(), source, dedup_key]).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `event` does to the incident of its key. Pure: the same arguments give the same step, so that a redelivered event
/// can be taken through it again.
#[must_use]
pub fn advance(
    remembered: Option<&KeyState>,
    open: Option<&Incident>,
    event: &Event,
    class: &Included,
    arrival: &Arrival<'_>,
) -> Step {
    let asked = maintenance::asked(event);
    match open {
        // What its source saw later is known already, and so is what came in later: only a redriven letter is that old.
        Some(incident) if event.as_of.is_some() && event.as_of < incident.as_of => Step::Stale,
        Some(incident) if is_old(arrival, Some(incident.last_seen)) => Step::Stale,
        Some(incident) => {
            let status = next_status(incident.status, asked);
            let components = keep_if_silent(&incident.components, &event.components);
            let regions = keep_if_silent(&incident.regions, &event.regions);
            // A resolve seldom repeats what was broken, so it changes nothing but the status.
            let (severity, components, regions) = if status == Status::Resolved {
                (incident.severity, incident.components.clone(), incident.regions.clone())
            } else {
                (event.severity, components, regions)
            };
            let change = if status == Status::Resolved {
                Change::Resolved
            } else if severity > incident.severity {
                Change::SeverityRaised
            } else if status != incident.status {
                Change::StatusChanged
            } else if severity < incident.severity {
                Change::SeverityLowered
            } else if !same_set(&components, &incident.components) || !same_set(&regions, &incident.regions) {
                Change::ScopeChanged
            } else if has_other_hours(incident, event) {
                Change::Rescheduled
            } else if incident.maintenance.is_some() && event.event_type == maintenance::REMINDER {
                Change::Reminded
            } else {
                let mut same = repeated(incident, event.as_of, arrival);
                same.shown = shown_after(incident, event, &same);
                return Step::Repeat(Box::new(same));
            };
            let text = (event.title.clone(), event.message.clone());
            let (mut next, mut update) = updated(incident, change, status, severity, text, arrival);
            next.components.clone_from(&components);
            next.regions.clone_from(&regions);
            next.shown = shown_after(incident, event, &next);
            next.as_of = incident.as_of.max(event.as_of);
            next.maintenance =
                planned(incident.kind, incident.maintenance.as_ref(), status, Some(event), arrival.accepted_at);
            update.components = components;
            update.regions = regions;
            update.public_message = public_text(next.public && event.public != Some(false), event, class).1;
            fill(&mut update, event);
            Step::Update(Box::new((next, update)))
        }
        None if asked == Some(Status::Resolved) => Step::ResolveWithoutOpen,
        None if is_stale(remembered, event, arrival) => Step::Stale,
        None => Step::Open(Box::new(opened(event, class, arrival))),
    }
}

/// The incident that an event would open now if nothing were open: for those who ask what would happen.
#[must_use]
pub fn imagined(event: &Event, class: &Included, scope: &Scope, now: Timestamp) -> (Incident, Update) {
    let (event_id, integration_id) = (EventId::new("imagined"), IntegrationId::new("imagined"));
    let arrival = Arrival {
        event_id: &event_id,
        scope,
        key: "",
        integration_id: &integration_id,
        correlation_id: "",
        accepted_at: now,
    };
    opened(&Event { status: None, ..event.clone() }, class, &arrival)
}

/// What somebody's own words do to an open incident (`POST /v1/incidents/{id}/updates`): text alone notifies here.
/// `None` for the status keeps it. An update on a resolved incident is recorded as a repeat: nothing is told about what is over.
#[must_use]
pub fn advance_by_update(incident: &Incident, status: Option<Status>, message: &str, arrival: &Arrival<'_>) -> Step {
    if incident.status == Status::Resolved {
        return Step::Stale;
    }
    let to = next_status(incident.status, status);
    let change = if to == Status::Resolved {
        Change::Resolved
    } else if to != incident.status {
        Change::StatusChanged
    } else {
        Change::TextAdded
    };
    let text = (incident.title.clone(), message.to_owned());
    let (next, mut update) = updated(incident, change, to, incident.severity, text, arrival);
    if next.public {
        message.clone_into(&mut update.public_message);
    }
    Step::Update(Box::new((next, update)))
}

/// What a drop-in format's note does to the incident of its key. It never opens one, and it tells people only what is new: a
/// status, or words that the source wants told. Acknowledging never takes back what is further on.
#[must_use]
pub fn advance_by_note(
    open: Option<&Incident>,
    status: Option<Status>,
    message: &str,
    tell: bool,
    arrival: &Arrival<'_>,
) -> Step {
    let Some(incident) = open else { return Step::ResolveWithoutOpen };
    let status = status.filter(|status| *status > incident.status);
    if status.is_some() || (tell && !message.trim().is_empty()) {
        let mut step = advance_by_update(incident, status, message, arrival);
        if let Step::Update(pair) = &mut step {
            // Whoever types into a monitor does not write for the public; the status alone is shown.
            pair.1.public_message.clear();
        }
        return step;
    }
    Step::Repeat(Box::new(repeated(incident, None, arrival)))
}

/// What the public reads at a reminder; the hours stand above it.
const REMINDED: &str = "This is a reminder: the work begins soon.";

/// A reminder of announced work that was noted when update `spoken` was its newest. It says again what that said, if that is still kept;
/// it says nothing where there is a newer word, or where the work has begun, or should have.
#[must_use]
pub fn advance_by_reminder(
    incident: &Incident,
    (spoken, said): (u32, Option<&Update>),
    arrival: &Arrival<'_>,
    now: Timestamp,
) -> Step {
    let stands = incident.maintenance.is_some_and(|planned| {
        let is_ahead = planned.phase == Phase::Scheduled && now < planned.from;
        is_ahead && incident.resolved_at.is_none() && incident.updates == spoken
    });
    if !stands {
        return Step::Stale;
    }
    let text = (incident.title.clone(), said.map(|said| said.message.clone()).unwrap_or_default());
    let (next, mut update) = updated(incident, Change::Reminded, incident.status, incident.severity, text, arrival);
    update.links = said.map(|said| said.links.clone()).unwrap_or_default();
    if next.public {
        REMINDED.clone_into(&mut update.public_message);
    }
    Step::Update(Box::new((next, update)))
}

fn repeated(incident: &Incident, as_of: Option<Timestamp>, arrival: &Arrival<'_>) -> Incident {
    let mut repeated = incident.clone();
    repeated.as_of = incident.as_of.max(as_of);
    repeated.repeats += 1;
    repeated.version += 1;
    repeated.last_seen = arrival.accepted_at.max(incident.last_seen);
    repeated
}

/// Whether an event gives announced work other hours.
fn has_other_hours(incident: &Incident, event: &Event) -> bool {
    incident.maintenance.is_some_and(|known| {
        event.starts_at.is_some_and(|from| from != known.from && known.phase == Phase::Scheduled)
            || event.ends_at.is_some_and(|until| Some(until) != known.until)
    })
}

/// Forward jumps are allowed, monitoring may fall back to identified, nothing else moves backwards.
#[must_use]
pub fn next_status(now: Status, asked: Option<Status>) -> Status {
    match asked {
        Some(asked) if asked > now => asked,
        Some(Status::Identified) if now == Status::Monitoring => Status::Identified,
        _ => now,
    }
}

fn opened(event: &Event, class: &Included, arrival: &Arrival<'_>) -> (Incident, Update) {
    let public = may_be_public(event, class, arrival.scope);
    let (public_title, public_message) = public_text(public, event, class);
    let status = maintenance::asked(event).unwrap_or(Status::Investigating);
    let incident = Incident {
        id: IncidentId::derived(&[arrival.event_id.as_str(), arrival.scope.tenant().map_or("P", |t| t.as_str())]),
        scope: arrival.scope.clone(),
        key: arrival.key.to_owned(),
        integration_id: arrival.integration_id.clone(),
        source: event.source.clone(),
        event_type: event.event_type.clone(),
        dedup_key: event.dedup_key.clone(),
        category: class.category,
        kind: class.kind,
        rule: class.rule.clone(),
        low_balance: class.low_balance,
        severity: event.severity,
        status,
        title: event.title.clone(),
        components: event.components.clone(),
        regions: event.regions.clone(),
        public,
        shown: None,
        public_title,
        opened_at: Some(arrival.accepted_at),
        started_at: event.starts_at.unwrap_or(arrival.accepted_at),
        source_started_at: event.starts_at,
        as_of: event.as_of,
        last_seen: arrival.accepted_at,
        resolved_at: None,
        maintenance: planned(class.kind, None, status, Some(event), arrival.accepted_at),
        covered: None,
        openings: None,
        updates: 1,
        repeats: 0,
        test: event.event_type == TEST,
        test_of: event.test_of.clone(),
        version: 1,
    };
    let mut update = Update {
        number: 1,
        event_id: arrival.event_id.clone(),
        correlation_id: arrival.correlation_id.to_owned(),
        accepted_at: arrival.accepted_at,
        late_source: late_source(event, class.kind, arrival.accepted_at),
        change: Change::Opened,
        status,
        severity: event.severity,
        worst_before: None,
        title: event.title.clone(),
        message: event.message.clone(),
        components: event.components.clone(),
        regions: event.regions.clone(),
        public_message,
        links: Vec::new(),
        measurements: BTreeMap::new(),
        labels: BTreeMap::new(),
        details: Map::new(),
        cut: Vec::new(),
    };
    fill(&mut update, event);
    (incident, update)
}

/// When it happened, where we heard of it late. What was announced lies in the future, or is no event that could be late.
fn late_source(event: &Event, kind: Kind, accepted_at: Timestamp) -> Option<Timestamp> {
    let late = |from: &Timestamp| accepted_at.duration_since(*from) > LATE;
    event.starts_at.filter(late).filter(|_| kind != Kind::Maintenance)
}

fn updated(
    incident: &Incident,
    change: Change,
    status: Status,
    severity: Severity,
    (title, message): (String, String),
    arrival: &Arrival<'_>,
) -> (Incident, Update) {
    let mut next = incident.clone();
    next.version += 1;
    next.updates += 1;
    next.status = status;
    next.severity = severity;
    next.last_seen = arrival.accepted_at.max(incident.last_seen);
    if status == Status::Resolved {
        next.resolved_at = Some(arrival.accepted_at);
    }
    next.maintenance = planned(incident.kind, incident.maintenance.as_ref(), status, None, arrival.accepted_at);
    let update = Update {
        number: next.updates,
        event_id: arrival.event_id.clone(),
        correlation_id: arrival.correlation_id.to_owned(),
        accepted_at: arrival.accepted_at,
        late_source: None,
        change,
        status,
        severity,
        worst_before: Some(incident.severity),
        title,
        message,
        components: incident.components.clone(),
        regions: incident.regions.clone(),
        public_message: String::new(),
        links: Vec::new(),
        measurements: BTreeMap::new(),
        labels: BTreeMap::new(),
        details: Map::new(),
        cut: Vec::new(),
    };
    next.title.clone_from(&update.title);
    (next, update)
}

fn fill(update: &mut Update, event: &Event) {
    update.links.clone_from(&event.links);
    update.measurements.clone_from(&event.measurements);
    update.labels.clone_from(&event.labels);
    update.details.clone_from(&event.details);
    update.cut.clone_from(&event.cut);
}

/// Public only if the rule says so and no tenant is named, or the event itself says so, which intake lets through only from whoever
/// may speak to everybody.
fn may_be_public(event: &Event, class: &Included, scope: &Scope) -> bool {
    match event.public {
        Some(said) => said && class.kind != Kind::OptIn,
        None => class.public && *scope == Scope::Platform,
    }
}

/// Title and text for the public. A drop-in format never publishes raw monitor text: only the annotations meant for the
/// public, else the rule's neutral sentence with component and region.
fn public_text(public: bool, event: &Event, class: &Included) -> (String, String) {
    if !public {
        return (String::new(), String::new());
    }
    let neutral = || {
        let mut sentence = class.public_sentence.clone();
        let named = |names: &[String]| names.join(", ");
        if !event.components.is_empty() {
            sentence.push_str(&format!(" Affected: {}.", named(&event.components)));
        }
        if !event.regions.is_empty() {
            sentence.push_str(&format!(" Region: {}.", named(&event.regions)));
        }
        sentence
    };
    let native = event.format == Format::Native;
    let title = match &event.public_title {
        Some(title) => title.clone(),
        None if native => event.title.clone(),
        None => class.public_sentence.clone(),
    };
    let message = match &event.public_message {
        Some(message) => message.clone(),
        None if native => event.message.clone(),
        None => neutral(),
    };
    (title, message)
}

/// What the public reads of what is affected once `event` made `next` of the incident. Whose words are not for the public does not say
/// there what is affected either. `None`: what is so.
fn shown_after(incident: &Incident, event: &Event, next: &Incident) -> Option<PublicScope> {
    let before = incident.shown();
    let after = match event.public {
        Some(false) => before,
        _ if next.status == Status::Resolved => before,
        _ => PublicScope {
            components: keep_if_silent(&before.components, &event.components),
            regions: keep_if_silent(&before.regions, &event.regions),
        },
    };
    let is_so = after.components == next.components && after.regions == next.regions;
    (next.public && !is_so).then_some(after)
}

fn is_stale(remembered: Option<&KeyState>, event: &Event, arrival: &Arrival<'_>) -> bool {
    let Some(key) = remembered.filter(|key| !key.open) else { return false };
    let same = event.starts_at.is_some() && key.source_started_at == event.starts_at;
    same || (event.as_of.is_some() && event.as_of <= key.as_of) || is_old(arrival, key.closed_at)
}

/// Whether an event was accepted so long before `then` that it can only be a dead letter that was sent again. A key's events
/// stay in order on their queue, and the clocks of two environments differ by far less.
fn is_old(arrival: &Arrival<'_>, then: Option<Timestamp>) -> bool {
    then.is_some_and(|then| arrival.accepted_at.saturating_add(OLD).is_ok_and(|late| late < then))
}

/// What a key remembers of an end that overtook its beginning: with it, the beginning is stale when it comes.
#[must_use]
pub fn ended_before_it_began(event: &Event, remembered: Option<&KeyState>, arrival: &Arrival<'_>) -> Option<KeyState> {
    let as_of = event.as_of.filter(|_| event.status == Some(Status::Resolved))?;
    let newer = remembered.is_none_or(|key| !key.open && key.as_of < Some(as_of));
    newer.then(|| KeyState {
        incident_id: IncidentId::derived(&[arrival.event_id.as_str(), "never"]),
        open: false,
        source_started_at: None,
        as_of: Some(as_of),
        closed_at: Some(arrival.accepted_at),
        openings: remembered.and_then(|key| key.openings),
    })
}

fn keep_if_silent(before: &[String], now: &[String]) -> Vec<String> {
    if now.is_empty() { before.to_vec() } else { now.to_vec() }
}

fn same_set(left: &[String], right: &[String]) -> bool {
    left.iter().all(|entry| right.contains(entry)) && right.iter().all(|entry| left.contains(entry))
}
