//! The normalised event: what every intake format becomes before anything is decided.

use crate::health::OWN_TYPES;
use crate::ids::TenantId;
use crate::vocabulary::{Channel, Severity, Status};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Most characters of a title.
pub const TITLE_MAX: usize = 255;
/// Most characters of a message (Opsgenie's cap for a description).
pub const MESSAGE_MAX: usize = 15_000;
/// Most bytes of `details` as JSON.
pub const DETAILS_MAX: usize = 32 * 1024;
/// Most bytes of a whole normalised event as JSON.
pub const EVENT_MAX: usize = 64 * 1024;
/// Most bytes that the names of all cut fields take as JSON.
const CUT_MAX: usize = 256;
/// Most tenants that one event may name.
pub const TENANTS_MAX: usize = 100;
/// Most characters of a dedup key (Opsgenie's alias is the longest of the peers').
pub const DEDUP_KEY_MAX: usize = 512;
/// Most entries of a list (components, regions, links) and of a map (labels, measurements).
pub const LIST_MAX: usize = 50;
/// Most characters of a source, a type, a component, a region, a label.
pub const NAME_MAX: usize = 255;

/// The type of a test alert.
pub const TEST: &str = "test.alert";

/// Whether a type is Tocsin's own: a test, which passes every limit, or its word to a tenant. No source can say it.
#[must_use]
pub fn is_own(event_type: &str) -> bool {
    event_type == TEST || event_type.starts_with(OWN_TYPES)
}

/// Whom a test alert is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestOf {
    /// Only these channels; empty is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Channel>,
    /// Only this recipient or integration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}

impl TestOf {
    /// Whether it is for this destination on this channel.
    #[must_use]
    pub fn takes(&self, destination: &str, channel: Channel) -> bool {
        (self.channels.is_empty() || self.channels.contains(&channel))
            && self.destination.as_ref().is_none_or(|only| only == destination)
    }
}

/// A link that the source gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// An https address.
    pub href: String,
    /// What to call it.
    #[serde(default)]
    pub text: String,
}

/// Which intake format an event came by: drop-in formats never publish raw monitor text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `POST /v1/incidents`.
    Native,
    /// Prometheus Alertmanager's webhook, version 4.
    Alertmanager,
    /// Grafana's alert webhook.
    Grafana,
    /// PagerDuty's Events API, version 2.
    #[serde(rename = "pagerduty")]
    PagerDuty,
    /// Opsgenie's Alert API.
    Opsgenie,
    /// CloudWatch alarms, by SNS or EventBridge.
    #[serde(rename = "cloudwatch")]
    CloudWatch,
    /// CloudEvents 1.0.
    #[serde(rename = "cloudevents")]
    CloudEvents,
}

/// What happened, as the source said it, in one shape for all formats.
///
/// `Debug` is derived for tests; nothing logs an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Which format it came by.
    pub format: Format,
    /// The system that says so.
    pub source: String,
    /// What kind of thing happened, such as `voice.routing_failure`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What makes two events the same incident, within source and integration.
    pub dedup_key: String,
    /// How bad; `error` when the source did not say or said something unknown.
    pub severity: Severity,
    /// What the source wrote where the severity was not one of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity_given: Option<String>,
    /// One line.
    pub title: String,
    /// The text.
    #[serde(default)]
    pub message: String,
    /// The line for the public, if the source wrote one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_title: Option<String>,
    /// The text for the public, if the source wrote one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_message: Option<String>,
    /// The status that the source states; `None` means "it is firing", which never moves an incident backwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The tenants it is about.
    #[serde(default)]
    pub tenant_ids: Vec<TenantId>,
    /// True when it is about everybody; always said, never guessed.
    #[serde(default)]
    pub platform: bool,
    /// What is affected.
    #[serde(default)]
    pub components: Vec<String>,
    /// Where.
    #[serde(default)]
    pub regions: Vec<String>,
    /// When it began, by the source's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// When announced work is to end; of a maintenance only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// When its source saw the state change, where the source says so: what it says later may overtake this on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// Numbers that rules may look at.
    #[serde(default)]
    pub measurements: BTreeMap<String, f64>,
    /// Words that rules may look at.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Where to look further.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Everything else.
    #[serde(default)]
    pub details: Map<String, Value>,
    /// Whether the source says that it may be shown in public. Said of an incident that is public already, `false` keeps these words
    /// off the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// Of a test alert, whom it is for. No source can say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_of: Option<TestOf>,
    /// The caps that cut something, by field name: never cut in silence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
    /// What its source asked for and did not get, each in a sentence with its mend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Why an event that says `public: true` is not shown in public for its word alone: every tenant reads the status page.
pub const PUBLISHING: &str =
    "`public: true` needs a token with the scope incidents:platform; without it leave the field out or say false";

impl Event {
    /// An event that says nothing yet; nothing is public that its source did not say so.
    #[must_use]
    pub fn blank(format: Format, source: &str) -> Self {
        Self {
            format,
            source: source.to_owned(),
            event_type: String::new(),
            dedup_key: String::new(),
            severity: Severity::Error,
            severity_given: None,
            title: String::new(),
            message: String::new(),
            public_title: None,
            public_message: None,
            status: None,
            tenant_ids: Vec::new(),
            platform: false,
            components: Vec::new(),
            regions: Vec::new(),
            starts_at: None,
            ends_at: None,
            as_of: None,
            measurements: BTreeMap::new(),
            labels: BTreeMap::new(),
            links: Vec::new(),
            details: Map::new(),
            public: None,
            test_of: None,
            cut: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The event as somebody may say it who may not speak to everybody: it publishes nothing, and none of its words are shown
    /// where somebody else has published its incident.
    #[must_use]
    pub fn unpublished(mut self) -> Self {
        if self.public == Some(true) {
            self.warnings.push(PUBLISHING.to_owned());
        }
        self.public = Some(false);
        self
    }

    /// Cuts what is longer than the caps and records which fields were cut.
    #[must_use]
    pub fn capped(mut self) -> Self {
        let mut cut = std::mem::take(&mut self.cut);
        let mut text = |field: &mut String, max: usize, name: &str| {
            if cut_chars(field, max) {
                cut.push(name.to_owned());
            }
        };
        text(&mut self.title, TITLE_MAX, "title");
        text(&mut self.message, MESSAGE_MAX, "message");
        text(&mut self.source, NAME_MAX, "source");
        text(&mut self.event_type, NAME_MAX, "type");
        if let Some(title) = &mut self.public_title {
            text(title, TITLE_MAX, "public_title");
        }
        if let Some(message) = &mut self.public_message {
            text(message, MESSAGE_MAX, "public_message");
        }
        for (list, name) in [(&mut self.components, "components"), (&mut self.regions, "regions")] {
            let long = list.iter_mut().map(|entry| cut_chars(entry, NAME_MAX)).filter(|cut| *cut).count();
            if list.len() > LIST_MAX || long > 0 {
                list.truncate(LIST_MAX);
                cut.push(name.to_owned());
            }
        }
        if self.links.len() > LIST_MAX {
            self.links.truncate(LIST_MAX);
            cut.push("links".to_owned());
        }
        while self.labels.len() > LIST_MAX {
            self.labels.pop_last();
            if !cut.iter().any(|name| name == "labels") {
                cut.push("labels".to_owned());
            }
        }
        while self.measurements.len() > LIST_MAX {
            self.measurements.pop_last();
            if !cut.iter().any(|name| name == "measurements") {
                cut.push("measurements".to_owned());
            }
        }
        if json_len(&self.details) > DETAILS_MAX {
            shrink_details(&mut self.details, DETAILS_MAX);
            cut.push("details".to_owned());
        }
        cut.extend(self.within_event_max());
        cut.sort_unstable();
        cut.dedup();
        self.cut = cut;
        self
    }

    /// Takes away until the whole fits [`EVENT_MAX`], which characters of four bytes and escapes can pass within all other
    /// caps. What goes first is what the alert can be understood without; title, type and addressing stay.
    fn within_event_max(&mut self) -> Vec<String> {
        let mut cut = Vec::new();
        // The list of cuts is in the event too.
        let too_long = |event: &Self| json_len(event) > EVENT_MAX - CUT_MAX;
        if too_long(self) {
            self.details = Map::new();
            self.labels.retain(|name, value| name.len() <= NAME_MAX && value.len() <= NAME_MAX);
            self.links.truncate(10);
            cut.push("details");
        }
        if too_long(self) {
            self.labels.clear();
            self.links.clear();
            self.measurements.clear();
            cut.extend(["labels", "links", "measurements"]);
        }
        while too_long(self) {
            let (longest, name) = match &mut self.public_message {
                Some(public) if public.len() > self.message.len() => (public, "public_message"),
                _ => (&mut self.message, "message"),
            };
            let half = longest.chars().count() / 2;
            if half < TITLE_MAX {
                self.components.truncate(10);
                self.regions.truncate(10);
                cut.extend(["components", "regions"]);
                break;
            }
            cut_chars(longest, half);
            cut.push(name);
        }
        cut.into_iter().map(str::to_owned).collect()
    }
}

/// Cuts `text` to `max` characters, the last one an ellipsis. True if it was cut.
pub fn cut_chars(text: &mut String, max: usize) -> bool {
    if text.chars().count() <= max {
        return false;
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    *text = short;
    true
}

fn json_len(value: &(impl Serialize + ?Sized)) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len())
}

/// Drops the largest entries first, so that the many small ones survive one huge one.
pub fn shrink_details(details: &mut Map<String, Value>, max: usize) {
    // Of an entry: its name and its value, the quotes, the colon and the comma.
    let mut sizes: Vec<(usize, String)> =
        details.iter().map(|(name, value)| (json_len(name) + json_len(value) + 2, name.clone())).collect();
    let mut total: usize = 1 + sizes.iter().map(|(size, _)| size).sum::<usize>();
    sizes.sort_unstable();
    while total > max {
        let Some((size, name)) = sizes.pop() else { return };
        details.remove(&name);
        total -= size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TenantId;

    #[test]
    fn who_may_not_speak_to_everybody_publishes_nothing() {
        let said = |public| Event { public, ..Event::blank(Format::CloudEvents, "x") }.unpublished();
        assert_eq!((said(Some(true)).public, said(Some(true)).warnings), (Some(false), vec![PUBLISHING.to_owned()]));
        for public in [None, Some(false)] {
            assert_eq!((said(public).public, said(public).warnings), (Some(false), vec![]));
        }
    }

    #[test]
    fn whatever_comes_fits_a_queue_message() {
        for wide in ["\0", "𐀀", "\\", "a"] {
            let long = wide.repeat(20_000);
            let names = || (0..200).map(|number| format!("{number}{long}"));
            let event = Event {
                event_type: long.clone(),
                title: long.clone(),
                message: long.clone(),
                public_title: Some(long.clone()),
                public_message: Some(long.clone()),
                tenant_ids: (0..TENANTS_MAX).map(|n| TenantId::parse(&format!("{n:063}")).unwrap()).collect(),
                components: names().collect(),
                regions: names().collect(),
                labels: names().map(|name| (name.clone(), name)).collect(),
                measurements: names().map(|name| (name, 1.0)).collect(),
                links: names().map(|href| Link { href, text: long.clone() }).collect(),
                details: names().map(|name| (name, Value::from(long.clone()))).collect(),
                ..Event::blank(Format::Native, &long)
            }
            .capped();
            assert!(json_len(&event) <= EVENT_MAX, "{wide:?}: {}", json_len(&event));
            assert!(!event.title.is_empty() && event.message.chars().count() > 100 && event.tenant_ids.len() == 100);
            assert!(event.cut.contains(&"message".to_owned()) && json_len(&event.cut) <= CUT_MAX);
        }
    }
}
