//! The HTML pages of the status page: overview, incident, and errors. Templates escape every text, and no page has a script.

mod card;
mod overview;
mod view;

pub use card::display_title;
pub use overview::{Overview, OverviewIncidents, sort_for_overview};
pub use view::{Brand, REFRESH_SECONDS, View, ViewQuery};

pub(crate) use card::status_label;

use askama::Template;
use card::{Card, DisplayTime, suppressed_incidents};
use domain::policy::Catalogue;
use domain::status::{PublishedIncident, PublishedUpdate};
use jiff::Timestamp;

/// The title of the status page, unless the deployer gave it another one.
pub const NAME: &str = "Service status";
/// Timeline entries per incident on the overview. The incident's own page shows the others.
pub const ENTRIES_SHOWN: usize = 10;
/// Bytes of timeline text per page, after escaping. With the newest entry of every incident added, a page stays below the 6 MB of a Lambda
/// response.
const TEXT_MAX: usize = 1_000_000;
/// The style sheet; the content security policy names its hash.
pub const STYLE: &str = runtime::http::PAGE_STYLE;

/// An incident with the newest entries of its timeline.
#[derive(Clone, Debug)]
pub struct IncidentTimeline {
    /// The public fields of the incident.
    pub incident: PublishedIncident,
    /// Public updates, newest first.
    pub timeline: Vec<PublishedUpdate>,
    /// Whether older updates exist that were not read.
    pub truncated: bool,
}

/// Removes the oldest timeline entries until all texts fit in `room` bytes. The newest entry of each incident stays.
pub fn truncate_timelines(listed: &mut [IncidentTimeline], mut room: usize) {
    for one in listed {
        let mut kept = 0;
        for update in &one.timeline {
            let size = serde_json::to_string(&update.message).map_or(update.message.len(), |text| text.len());
            if kept > 0 && size > room {
                break;
            }
            room = room.saturating_sub(size);
            kept += 1;
        }
        one.truncated |= kept < one.timeline.len();
        one.timeline.truncate(kept);
    }
}

/// Returns the relative path from a page to `/status`. It is relative because on AWS the stage's name precedes the path, and only the
/// browser knows it. `below` is the part of the page's path after `/status`.
#[must_use]
pub fn path_to_overview(below: &str) -> String {
    format!("{}status", "../".repeat(below.matches('/').count()))
}

/// Renders the page of one incident.
///
/// # Errors
/// [`askama::Error`] of the template engine; no value of these pages causes one.
pub fn render_incident(
    view: &View<'_>,
    listed: &IncidentTimeline,
    all: &[PublishedIncident],
    catalogue: &Catalogue,
    now: Timestamp,
) -> Result<String, askama::Error> {
    let mut room = TEXT_MAX;
    IncidentPage {
        view,
        card: Card::of(listed, &suppressed_incidents(all, now), catalogue, view, &mut room),
        rendered_at: view.time(now),
    }
    .render()
}

/// Splits the time of rendering out of a page, so that an unchanged page has an unchanged ETag.
#[must_use]
pub fn without_render_time(page: &str) -> [&str; 2] {
    let parts =
        page.rsplit_once("As of <time").and_then(|(before, rest)| Some([before, rest.split_once("</time>")?.1]));
    parts.unwrap_or([page, ""])
}

/// Renders the page for an address that does not exist. Unknown and private incidents get the same page.
///
/// # Errors
/// [`askama::Error`] of the template engine; no value of these pages causes one.
pub fn render_not_found(view: &View<'_>) -> Result<String, askama::Error> {
    let text = "There is no public page at this address. Incident pages are removed when their retention period ends.";
    MessagePage { view, title: "Not found", text }.render()
}

/// Renders the page for when the table cannot be read.
///
/// # Errors
/// [`askama::Error`] of the template engine; no value of these pages causes one.
pub fn render_unavailable(view: &View<'_>) -> Result<String, askama::Error> {
    let text = "We can't load the current status right now. This doesn't mean that the service is down. \
                Reload this page in a minute.";
    MessagePage { view, title: "Status unavailable", text }.render()
}

#[derive(Template)]
#[template(path = "incident.html")]
struct IncidentPage<'a> {
    view: &'a View<'a>,
    card: Card<'a>,
    rendered_at: DisplayTime,
}

#[derive(Template)]
#[template(path = "note.html")]
struct MessagePage<'a> {
    view: &'a View<'a>,
    title: &'a str,
    text: &'a str,
}

#[cfg(test)]
mod tests;
