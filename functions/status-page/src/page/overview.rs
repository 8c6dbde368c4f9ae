//! The overview page: the state of all components, current incidents, maintenance, notices, and what ended lately.

use super::card::{
    Card, DisplayTime, display_title, duration_of, incident_link, join_names, status_label, suppressed_incidents,
};
use super::{IncidentTimeline, TEXT_MAX, View};
use askama::Template;
use domain::ids::IncidentId;
use domain::policy::Catalogue;
use domain::status::{
    ComponentStatus, HISTORY_DAYS, PublishedIncident, StatusOverview, daily_history, summarize_status, uptime,
};
use domain::vocabulary::{Health, Indicator, Kind, Phase, Severity, Status};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{RoundMode, SignedDuration, Span, Timestamp, TimestampRound, Unit};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use store::public::PublicIncidents;

/// How long a resolved incident stays on the overview: 14 days.
const PAST_SHOWN_FOR: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Days before today in the history.
const HISTORY_SPAN: i64 = 89;
/// Width of one day in a history bar, in SVG units. A gap of one unit follows.
const DAY_WIDTH: usize = 4;

/// Incidents in the order of the overview.
#[derive(Clone, Debug)]
pub struct OverviewIncidents {
    /// Open incidents, worst first; then current and scheduled maintenance, the next one first; then notices.
    pub current: Vec<PublishedIncident>,
    /// Number of open incidents that are left out of `current`.
    pub omitted_count: usize,
    /// Incidents and maintenance that ended within the last 14 days, the latest first.
    pub past: Vec<PublishedIncident>,
}

/// Sorts incidents for the overview.
#[must_use]
pub fn sort_for_overview(incidents: &[PublishedIncident], now: Timestamp) -> OverviewIncidents {
    let (mut current, mut past): (Vec<_>, Vec<_>) =
        incidents.iter().cloned().partition(|incident| !incident.is_over(now));
    // Open incidents sort first, the worst of them at the top and the newest among equals; maintenance second, notices last.
    let sort_key = |incident: &PublishedIncident| match (incident.kind, incident.maintenance) {
        (Kind::Maintenance, planned) => {
            (1, Reverse(Severity::Info), planned.map_or(incident.started_at, |planned| planned.from).as_second())
        }
        (Kind::Advisory, _) => (2, Reverse(Severity::Info), -incident.started_at.as_second()),
        _ => (0, Reverse(incident.severity), -incident.started_at.as_second()),
    };
    current.sort_by(|left, right| sort_key(left).cmp(&sort_key(right)).then_with(|| left.id.cmp(&right.id)));
    let open = current.iter().take_while(|incident| sort_key(incident).0 == 0).count();
    let omitted_count = open.saturating_sub(crate::PAST_INCIDENTS_READ);
    drop(current.drain(open - omitted_count..open));
    let since = now.saturating_sub(PAST_SHOWN_FOR).unwrap_or(Timestamp::MIN);
    past.retain(|incident| incident.kind != Kind::Advisory && incident.ended_at() >= since);
    past.sort_by(|left, right| right.ended_at().cmp(&left.ended_at()).then_with(|| left.id.cmp(&right.id)));
    OverviewIncidents { current, omitted_count, past }
}

/// The content of the overview page.
#[derive(Clone, Debug)]
pub struct Overview<'c> {
    catalogue: &'c Catalogue,
    status: StatusOverview,
    history: BTreeMap<String, Vec<(Date, Health)>>,
    /// The first day with a complete history.
    known_from: Date,
    listed: Vec<IncidentTimeline>,
    omitted_count: usize,
    past: Vec<PublishedIncident>,
    /// All incidents that were read.
    all: Vec<PublishedIncident>,
    /// Incidents suppressed by a maintenance, each with the maintenance's id.
    suppressed: Vec<(IncidentId, PublishedIncident)>,
    now: Timestamp,
}

impl<'c> Overview<'c> {
    /// Builds the overview from all incidents that were read. `listed` holds the current ones of `sorted` with their timelines. `since` is the
    /// first day on which incidents were posted here, if it is known.
    #[must_use]
    pub fn of(
        catalogue: &'c Catalogue,
        all: &PublicIncidents,
        listed: Vec<IncidentTimeline>,
        sorted: OverviewIncidents,
        since: Option<Date>,
        now: Timestamp,
    ) -> Self {
        let day = |at: Timestamp| at.to_zoned_datetime(TimeZone::UTC).date();
        // Nothing is known of the time before the first incident, unless the deployer says since when incidents are posted.
        let first = all.incidents.iter().map(|incident| incident.started_at).min();
        let first = since.unwrap_or_else(|| day(first.unwrap_or(now))).min(day(now));
        let history = daily_history(&all.incidents, now);
        Self {
            catalogue,
            status: summarize_status(catalogue, &all.incidents, now),
            history: history.into_iter().map(|(name, days)| (name.to_owned(), days)).collect(),
            // If more incidents exist than were read, earlier days are drawn as unknown.
            known_from: all.complete_since.map_or(first, |complete| day(complete).max(first)),
            all: all.incidents.clone(),
            suppressed: suppressed_incidents(&all.incidents, now),
            listed,
            omitted_count: sorted.omitted_count,
            past: sorted.past,
            now,
        }
    }

    /// Renders the page.
    ///
    /// # Errors
    /// [`askama::Error`] of the template engine; no value of these pages causes one.
    pub fn render(&self, view: &View<'_>) -> Result<String, askama::Error> {
        let mut room = TEXT_MAX;
        let mut cards = |wanted: &dyn Fn(&PublishedIncident) -> bool| -> Vec<Card<'_>> {
            let listed = self.listed.iter().filter(|listed| wanted(&listed.incident));
            listed.map(|listed| Card::of(listed, &self.suppressed, self.catalogue, view, &mut room)).collect()
        };
        let is_maintenance = |shown: &PublishedIncident| shown.kind == Kind::Maintenance;
        let is_notice = |shown: &PublishedIncident| shown.kind == Kind::Advisory;
        // Incidents suppressed by a maintenance are shown below it.
        let is_suppressed = |shown: &PublishedIncident| self.suppressed.iter().any(|(_, one)| one.id == shown.id);
        let open = cards(&|shown| !is_maintenance(shown) && !is_notice(shown) && !is_suppressed(shown));
        let is_upcoming = |shown: &PublishedIncident| {
            shown.maintenance.is_some_and(|planned| planned.phase == Phase::Scheduled && planned.from > self.now)
        };
        let maintenances = cards(&|shown| is_maintenance(shown) && !is_upcoming(shown));
        let upcoming = self.listed.iter().map(|listed| &listed.incident).filter(|shown| is_upcoming(shown));
        let upcoming = upcoming.map(|shown| UpcomingRow::of(shown, self.catalogue, view)).collect();
        let notices = cards(&is_notice);
        let last_update = self.listed.iter().map(|listed| listed.incident.updated_at).max();
        OverviewPage {
            view,
            banner: Banner::of(self.status.indicator, open.len() + self.omitted_count, notices.len()),
            last_update: last_update.map(|at| view.time(at)),
            components: self.status.components.iter().map(|line| self.component_row(line)).collect(),
            history_width: HISTORY_DAYS * (DAY_WIDTH + 1),
            open,
            omitted_count: self.omitted_count,
            maintenances,
            upcoming,
            notices,
            past: self.past.iter().map(|incident| PastRow::of(incident, self.catalogue, view)).collect(),
            rendered_at: view.time(self.now),
        }
        .render()
    }

    /// Builds the row of a component: its state now and its history of [`HISTORY_DAYS`] days.
    fn component_row<'a>(&'a self, line: &'a ComponentStatus) -> ComponentRow<'a> {
        let days = self.history.get(&line.id).map(Vec::as_slice).unwrap_or_default();
        let bars = days
            .iter()
            .enumerate()
            .filter(|(_, (date, health))| *date >= self.known_from && !matches!(health, Health::Operational));
        let bars: Vec<Bar> = bars
            .map(|(index, (date, health))| Bar {
                x: index * (DAY_WIDTH + 1),
                tone: health_tone(*health),
                label: format!("{}: {}", date.strftime("%-d %b %Y"), health.title().to_lowercase()),
            })
            .collect();
        let today = self.now.to_zoned_datetime(TimeZone::UTC).date();
        let known = today
            .since(self.known_from)
            .map_or(HISTORY_DAYS, |span| usize::try_from(span.get_days()).unwrap_or(HISTORY_DAYS) + 1);
        let known = known.clamp(1, HISTORY_DAYS);
        let period = if known == 1 { "today".to_owned() } else { format!("in the last {known} days") };
        let label = match bars.as_slice() {
            [] => format!("No incidents {period}"),
            [one] => format!("Incidents on 1 day {period}: {}", one.label),
            [.., last] => format!("Incidents on {} days {period}, most recently {}", bars.len(), last.label),
        };
        let from = self.known_from.max(today.saturating_sub(Span::new().days(HISTORY_SPAN)));
        let from = from.to_zoned_datetime(TimeZone::UTC).map_or(self.now, |midnight| midnight.timestamp());
        let uptime = uptime(&self.all, &line.id, from, end_of_minute(self.now));
        ComponentRow {
            name: &line.name,
            description: &line.description,
            tone: health_tone(line.health),
            state: line.health.title(),
            regions: line
                .regions
                .iter()
                .map(|(name, health)| format!("{name}: {}", health.title().to_lowercase()))
                .collect(),
            unknown: (HISTORY_DAYS - known) * (DAY_WIDTH + 1),
            uptime: uptime.map(|share| format!("{} uptime {period}", format_share(share))),
            bars,
            label,
        }
    }
}

/// The overall state at the top of the overview.
pub(super) struct Banner {
    tone: &'static str,
    pub(super) title: &'static str,
    text: String,
}

impl Banner {
    pub(super) fn of(indicator: Indicator, open: usize, notices: usize) -> Self {
        let (tone, title) = match indicator {
            Indicator::None if open + notices > 0 => ("note", "Service notice"),
            Indicator::None => ("good", "All systems operational"),
            Indicator::Maintenance => ("note", "Maintenance in progress"),
            Indicator::Minor => ("warn", "Degraded service"),
            Indicator::Major => ("warn", "Service disruption"),
            Indicator::Critical => ("bad", "Major service disruption"),
        };
        let text = match open {
            0 => "No open incidents.".to_owned(),
            1 => "1 open incident.".to_owned(),
            many => format!("{many} open incidents."),
        };
        Self { tone, title, text }
    }
}

/// A component with its current state and its history.
struct ComponentRow<'a> {
    name: &'a str,
    description: &'a str,
    tone: &'static str,
    state: &'static str,
    regions: Vec<String>,
    bars: Vec<Bar>,
    /// Width of the unknown part of the history, from the left, in SVG units.
    unknown: usize,
    /// The share of the known days without an outage; `None` if it cannot be said.
    uptime: Option<String>,
    label: String,
}

/// Returns the end of the minute that a time is in. Uptime counts until then, so that a page stays the same for a minute while an outage
/// lasts, and an outage that has just begun counts already.
fn end_of_minute(at: Timestamp) -> Timestamp {
    at.round(TimestampRound::new().smallest(Unit::Minute).mode(RoundMode::Ceil)).unwrap_or(at)
}

/// Formats hundredths of a percent.
fn format_share(share: u32) -> String {
    if share == 10_000 { "100 %".to_owned() } else { format!("{}.{:02} %", share / 100, share % 100) }
}

/// A day on which the component was not operational.
struct Bar {
    /// Position in the history, in SVG units.
    x: usize,
    tone: &'static str,
    label: String,
}

const fn health_tone(health: Health) -> &'static str {
    match health {
        Health::Operational => "good",
        Health::UnderMaintenance => "note",
        Health::DegradedPerformance | Health::PartialOutage => "warn",
        Health::MajorOutage => "bad",
    }
}

/// An ended incident in the list of past incidents.
struct PastRow<'a> {
    link: String,
    title: &'a str,
    ended_label: &'static str,
    ended: DisplayTime,
    duration: Option<String>,
    components: String,
    regions: String,
}

impl<'a> PastRow<'a> {
    fn of(incident: &'a PublishedIncident, catalogue: &'a Catalogue, view: &View<'_>) -> Self {
        let from = incident.maintenance.map_or(incident.started_at, |planned| planned.from);
        Self {
            link: incident_link(view, incident),
            title: display_title(incident),
            ended_label: status_label(incident, Status::Resolved),
            ended: view.time(incident.ended_at()),
            duration: duration_of(incident, from),
            components: join_names(&incident.components, |id| catalogue.component_name(id)),
            regions: join_names(&incident.regions, |id| catalogue.region_name(id)),
        }
    }
}

/// A maintenance that has not begun, in a line. Its own page has the text.
struct UpcomingRow<'a> {
    link: String,
    title: &'a str,
    starts: DisplayTime,
    ends: Option<DisplayTime>,
    components: String,
    regions: String,
}

impl<'a> UpcomingRow<'a> {
    fn of(incident: &'a PublishedIncident, catalogue: &'a Catalogue, view: &View<'_>) -> Self {
        let planned = incident.maintenance;
        Self {
            link: incident_link(view, incident),
            title: display_title(incident),
            starts: view.time(planned.map_or(incident.started_at, |planned| planned.from)),
            ends: planned.and_then(|planned| planned.until).map(|until| view.time(until)),
            components: join_names(&incident.components, |id| catalogue.component_name(id)),
            regions: join_names(&incident.regions, |id| catalogue.region_name(id)),
        }
    }
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    view: &'a View<'a>,
    banner: Banner,
    last_update: Option<DisplayTime>,
    components: Vec<ComponentRow<'a>>,
    history_width: usize,
    open: Vec<Card<'a>>,
    omitted_count: usize,
    maintenances: Vec<Card<'a>>,
    upcoming: Vec<UpcomingRow<'a>>,
    notices: Vec<Card<'a>>,
    past: Vec<PastRow<'a>>,
    rendered_at: DisplayTime,
}
