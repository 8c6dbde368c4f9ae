//! The normalized event that every intake format is converted to.

use crate::ids::TenantId;
use crate::text::{clean, clean_line};
use crate::vocabulary::{Channel, Severity, Status};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Maximum length of a title, in characters.
pub const TITLE_MAX: usize = 255;
/// Maximum length of a message, in characters (Opsgenie's limit for a description).
pub const MESSAGE_MAX: usize = 15_000;
/// Maximum size of `details`, in bytes of JSON.
pub const DETAILS_MAX: usize = 32 * 1024;
/// Maximum size of a normalized event, in bytes of JSON.
pub const EVENT_MAX: usize = 64 * 1024;
/// Maximum size of the list of truncated fields, in bytes of JSON.
const CUT_MAX: usize = 256;
/// Maximum number of tenants in one event.
pub const TENANTS_MAX: usize = 100;
/// Maximum length of a dedup key, in characters (Opsgenie's limit for an alias, the longest of similar products).
pub const DEDUP_KEY_MAX: usize = 512;
/// Maximum number of entries of a list (components, regions, links) or a map (labels, measurements).
pub const LIST_MAX: usize = 50;
/// The field or label that names the tenants of an alert. It is parsed and then removed, so that no tenant sees which others are
/// affected.
pub const TENANT_FIELD: &str = "tenant";
/// The label that names the user of a user-level warning, in formats without a field for it.
pub const USER_FIELD: &str = "user_id";
/// Maximum length of the address of a link, in bytes.
pub const LINK_MAX: usize = 2_048;
/// Maximum number of key details.
pub const KEY_DETAILS_MAX: usize = 10;
/// Maximum length of the name of a key detail, in characters.
const KEY_DETAIL_NAME_MAX: usize = 60;
/// Maximum length of the value of a key detail, in characters.
const KEY_DETAIL_VALUE_MAX: usize = 300;
/// Maximum length of a source, type, component, region or label, in characters.
pub const NAME_MAX: usize = 255;

/// The source of the events that Tocsin itself creates (system events).
pub const SYSTEM_SOURCE: &str = "tocsin";
/// The prefix of the types of system events, such as `tocsin.delivery_failed`.
pub const SYSTEM_TYPE_PREFIX: &str = "tocsin.";
/// The event type of test alerts.
pub const TEST_ALERT_TYPE: &str = "test.alert";

/// Whether an event type is reserved for Tocsin itself: test alerts, which bypass rate limits, and system events.
#[must_use]
pub fn is_reserved_type(event_type: &str) -> bool {
    event_type == TEST_ALERT_TYPE || event_type.starts_with(SYSTEM_TYPE_PREFIX)
}

/// The destinations of a test alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestTarget {
    /// Sends the test to these channels only; to all channels if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Channel>,
    /// Sends the test to this recipient or integration only (its id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}

impl TestTarget {
    /// Whether the test goes to this destination on this channel.
    #[must_use]
    pub fn includes(&self, destination: &str, channel: Channel) -> bool {
        (self.channels.is_empty() || self.channels.contains(&channel))
            && self.destination.as_ref().is_none_or(|only| only == destination)
    }
}

/// A link from the source of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// The address, an https URL.
    pub href: String,
    /// The text of the link; empty if the source gave none.
    #[serde(default)]
    pub text: String,
}

impl Link {
    /// Returns what a reader sees of the link: its text with the host that it leads to, or its address if it has no text. A text that names
    /// another host must not hide where the link leads.
    #[must_use]
    pub fn label(&self) -> String {
        let rest = self.href.split_once("://").map_or(self.href.as_str(), |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        match self.text.trim() {
            "" => self.href.clone(),
            text if text == self.href => self.href.clone(),
            text => format!("{text} ({host})"),
        }
    }

    /// Returns an address with the characters escaped that no URL holds and that would end a link in some channel.
    #[must_use]
    pub fn escape_href(href: &str) -> String {
        let mut out = String::with_capacity(href.len());
        for c in href.trim().chars() {
            match c {
                '<' | '>' | '"' | '`' | ' ' | '|' => out.push_str(&format!("%{:02X}", u32::from(c))),
                _ if c.is_whitespace() => {}
                _ => out.push(c),
            }
        }
        out
    }

    /// Whether the address is an https URL of at most [`LINK_MAX`] bytes that every channel can show.
    #[must_use]
    pub fn is_valid_href(href: &str) -> bool {
        let host = href.strip_prefix("https://").unwrap_or_default();
        let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '<' | '>' | '"');
        href.len() <= LINK_MAX
            && host.starts_with(|c: char| c.is_alphanumeric() || c == '[')
            && href.chars().all(is_plain)
    }
}

/// One of the few details by which a reader tells one target from another, such as an instance or a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyDetail {
    /// The name, as the source calls it.
    pub name: String,
    /// The value, in one line.
    pub value: String,
}

impl KeyDetail {
    /// Creates a key detail. Its texts are shortened when the event is [normalized](Event::normalized).
    #[must_use]
    pub fn new(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into() }
    }
}

/// The intake format of an event. Text from drop-in formats is never published unless it was written for the public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Tocsin's own format, `POST /v1/incidents`.
    Native,
    /// Prometheus Alertmanager's webhook, version 4.
    Alertmanager,
    /// Grafana's webhook for alerts.
    Grafana,
    /// PagerDuty's Events API, in version 2.
    #[serde(rename = "pagerduty")]
    PagerDuty,
    /// Opsgenie's API for alerts.
    Opsgenie,
    /// CloudWatch alarms, through SNS or EventBridge.
    #[serde(rename = "cloudwatch")]
    CloudWatch,
    /// CloudEvents, in version 1.0.
    #[serde(rename = "cloudevents")]
    CloudEvents,
}

impl Format {
    /// Whether its events report a state, again and again as long as it lasts. The same report may then mean that the state has come back.
    /// In all other formats an event with a known id is a second copy.
    #[must_use]
    pub const fn repeats_state(self) -> bool {
        matches!(self, Self::Alertmanager | Self::Grafana)
    }

    /// Whether its clients acknowledge and close an incident with nothing but its dedup key, without naming tenants.
    #[must_use]
    pub const fn closes_by_key_alone(self) -> bool {
        matches!(self, Self::PagerDuty | Self::Opsgenie | Self::CloudWatch)
    }
}

/// What happened according to the source, in one shape for all formats.
///
/// `Debug` is derived for tests; nothing logs an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The intake format that the event was sent in.
    pub format: Format,
    /// The name of the system that sent the event.
    pub source: String,
    /// The event type, such as `voice.routing_failure`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Events with the same dedup key belong to the same incident, within one source and integration.
    pub dedup_key: String,
    /// The severity; `error` if the source sent none or an unknown one.
    pub severity: Severity,
    /// The severity as the source sent it, if it is not one of the known ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity_given: Option<String>,
    /// A summary in one line.
    pub title: String,
    /// The text of the alert; may be empty.
    #[serde(default)]
    pub message: String,
    /// The title for the status page, if the source sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_title: Option<String>,
    /// The text for the status page, if the source sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_message: Option<String>,
    /// The status that the source sent; `None` means that the alert is firing, which never moves an incident's status backward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The tenants that the event is for, at most [`TENANTS_MAX`].
    #[serde(default)]
    pub tenant_ids: Vec<TenantId>,
    /// The platform's id of the user whom a user-level warning is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Whether the event is for all tenants. Sources must say so; it is never inferred.
    #[serde(default)]
    pub platform: bool,
    /// The components that the event affects, at most [`LIST_MAX`].
    #[serde(default)]
    pub components: Vec<String>,
    /// The regions that the event affects, at most [`LIST_MAX`].
    #[serde(default)]
    pub regions: Vec<String>,
    /// When it started, by the source's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// When the maintenance is planned to end; only in maintenance events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// When the source observed the change of state, if it says so. Puts events that overtook each other back in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// The details that people see, in order, at most [`KEY_DETAILS_MAX`]. Webhooks carry labels, measurements and details instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_details: Vec<KeyDetail>,
    /// Numbers that conditions of rules can use.
    #[serde(default)]
    pub measurements: BTreeMap<String, f64>,
    /// Texts that conditions of rules can use.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Links to more information, at most [`LIST_MAX`].
    #[serde(default)]
    pub links: Vec<Link>,
    /// All other data of the source, at most [`DETAILS_MAX`].
    #[serde(default)]
    pub details: Map<String, Value>,
    /// Whether the event may be shown on the status page; `None` leaves it to the rule. `false` on an incident that is already public
    /// keeps the text of this event off the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// The destinations of a test alert. Sources cannot send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_of: Option<TestTarget>,
    /// The names of the fields that were truncated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
    /// What its source asked for and did not get, each in a sentence with its remedy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The warning for an event with `public: true` from a token that may not publish. Every tenant reads the status page.
pub const PUBLIC_DENIED: &str =
    "`public: true` requires a token with the scope incidents:platform. Use such a token, or omit `public`.";

impl Event {
    /// Creates an event with empty fields, the severity `error`, and no statement about `public`.
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
            user_id: None,
            platform: false,
            components: Vec::new(),
            regions: Vec::new(),
            starts_at: None,
            ends_at: None,
            as_of: None,
            key_details: Vec::new(),
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

    /// Sets `public` to `false`, for senders without the scope `incidents:platform`, and adds a warning if they asked for `true`. The
    /// event publishes nothing, and its text is not shown even if its incident is already public.
    #[must_use]
    pub fn deny_public(mut self) -> Self {
        if self.public == Some(true) {
            self.warnings.push(PUBLIC_DENIED.to_owned());
        }
        self.public = Some(false);
        self
    }

    /// Returns the user whom a user-level warning is about: its field, or the label [`USER_FIELD`].
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        let named = self.user_id.as_ref().or_else(|| self.labels.get(USER_FIELD));
        named.map(|user| user.trim()).filter(|user| !user.is_empty())
    }

    /// Returns the event as it can be stored and shown everywhere. Every event passes here before it is queued.
    ///
    /// Its texts are [cleaned](crate::text::clean), and what is one line becomes one. A time at or before 1970 is none: Go's zero time is in
    /// the year 1. Links that a channel could not show are left out. Every field that is over its limit is truncated and listed in `cut`.
    #[must_use]
    pub fn normalized(self) -> Self {
        self.cleaned().truncated_to_limits()
    }

    fn cleaned(mut self) -> Self {
        let line = |text: &mut String| *text = clean_line(text);
        for text in [&mut self.source, &mut self.event_type, &mut self.title] {
            line(text);
        }
        if self.title.is_empty() {
            self.title = if self.event_type.is_empty() { "Alert".to_owned() } else { self.event_type.clone() };
        }
        self.public_title.iter_mut().chain(&mut self.user_id).for_each(line);
        for text in std::iter::once(&mut self.message).chain(&mut self.public_message).chain(&mut self.severity_given) {
            *text = clean(text).into_owned();
        }
        for list in [&mut self.components, &mut self.regions] {
            list.iter_mut().for_each(line);
            list.retain(|entry| !entry.is_empty());
        }
        for detail in &mut self.key_details {
            line(&mut detail.name);
            line(&mut detail.value);
            truncate_chars(&mut detail.name, KEY_DETAIL_NAME_MAX);
            truncate_chars(&mut detail.value, KEY_DETAIL_VALUE_MAX);
        }
        // No tenant may see which others are affected.
        if self.platform || self.tenant_ids.len() > 1 {
            self.labels.remove(TENANT_FIELD);
            self.details.remove(TENANT_FIELD);
            self.key_details.retain(|detail| detail.name != TENANT_FIELD);
        }
        self.key_details.retain(|detail| !detail.name.is_empty() && !detail.value.is_empty());
        self.key_details.truncate(KEY_DETAILS_MAX);
        let links = self.links.len();
        for link in &mut self.links {
            link.href = Link::escape_href(&link.href);
        }
        self.links.retain(|link| Link::is_valid_href(&link.href));
        if self.links.len() < links {
            self.cut.push("links".to_owned());
        }
        self.links.iter_mut().for_each(|link| line(&mut link.text));
        for time in [&mut self.starts_at, &mut self.ends_at, &mut self.as_of] {
            *time = time.filter(|time| *time > Timestamp::UNIX_EPOCH);
        }
        self
    }

    fn truncated_to_limits(mut self) -> Self {
        let mut cut = std::mem::take(&mut self.cut);
        let mut text = |field: &mut String, max: usize, name: &str| {
            if truncate_chars(field, max) {
                cut.push(name.to_owned());
            }
        };
        text(&mut self.title, TITLE_MAX, "title");
        text(&mut self.message, MESSAGE_MAX, "message");
        text(&mut self.source, NAME_MAX, "source");
        text(&mut self.event_type, NAME_MAX, "type");
        if let Some(user) = &mut self.user_id {
            text(user, NAME_MAX, "user_id");
        }
        if let Some(title) = &mut self.public_title {
            text(title, TITLE_MAX, "public_title");
        }
        if let Some(message) = &mut self.public_message {
            text(message, MESSAGE_MAX, "public_message");
        }
        for (list, name) in [(&mut self.components, "components"), (&mut self.regions, "regions")] {
            let long = list.iter_mut().map(|entry| truncate_chars(entry, NAME_MAX)).filter(|cut| *cut).count();
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
        cut.extend(self.shrink_to_event_max());
        cut.sort_unstable();
        cut.dedup();
        self.cut = cut;
        self
    }

    /// Removes data until the event fits [`EVENT_MAX`], and returns the names of the truncated fields.
    ///
    /// Characters of four bytes and escapes can exceed it although every field is within its own limit. Details go first, then labels,
    /// links and measurements, then the longer half of the message; title, type and tenants stay.
    fn shrink_to_event_max(&mut self) -> Vec<String> {
        let mut cut = Vec::new();
        // The list of truncated fields is part of the event too.
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
            self.key_details.truncate(3);
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
            truncate_chars(longest, half);
            cut.push(name);
        }
        cut.into_iter().map(str::to_owned).collect()
    }
}

/// Returns a title as events have it: one line of at most [`TITLE_MAX`] characters.
#[must_use]
pub fn title_of(text: &str) -> String {
    let mut title = clean_line(text);
    truncate_chars(&mut title, TITLE_MAX);
    title
}

/// Truncates `text` to `max` characters, the last of which is an ellipsis. Returns whether it was truncated.
pub fn truncate_chars(text: &mut String, max: usize) -> bool {
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

/// Removes the largest entries of `details` until it takes at most `max` bytes of JSON. One huge entry thus does not cost many small ones.
pub fn shrink_details(details: &mut Map<String, Value>, max: usize) {
    // The size of an entry is its name (with quotes), its value, the colon and the comma.
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
    fn a_link_shows_where_it_leads() {
        let label = |href: &str, text: &str| Link { href: href.to_owned(), text: text.to_owned() }.label();
        assert_eq!(label("https://evil.example/a", "https://bank.example"), "https://bank.example (evil.example)");
        assert_eq!(label("https://bank.example@evil.example/?x", "bank.example"), "bank.example (evil.example)");
        assert_eq!(label("https://evil.example:8443#bank.example", "Runbook"), "Runbook (evil.example:8443)");
        assert_eq!(label("https://a.example/b", " "), "https://a.example/b");
        assert_eq!(label("https://a.example/b", "https://a.example/b"), "https://a.example/b");
    }

    #[test]
    fn senders_without_the_platform_scope_publish_nothing() {
        let denied = |public| Event { public, ..Event::blank(Format::CloudEvents, "x") }.deny_public();
        assert_eq!(
            (denied(Some(true)).public, denied(Some(true)).warnings),
            (Some(false), vec![PUBLIC_DENIED.to_owned()])
        );
        for public in [None, Some(false)] {
            assert_eq!((denied(public).public, denied(public).warnings), (Some(false), vec![]));
        }
    }

    #[test]
    fn any_event_fits_a_queue_message_after_truncation() {
        for wide in ["\"\n", "𐀀", "\\", "a"] {
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
                key_details: names().map(|name| KeyDetail::new(&name, long.clone())).collect(),
                details: names().map(|name| (name, Value::from(long.clone()))).collect(),
                ..Event::blank(Format::Native, &long)
            }
            .normalized();
            assert!(json_len(&event) <= EVENT_MAX, "{wide:?}: {}", json_len(&event));
            assert!(!event.title.is_empty() && event.message.chars().count() > 100 && event.tenant_ids.len() == 100);
            assert!(event.cut.contains(&"message".to_owned()) && json_len(&event.cut) <= CUT_MAX);
        }
    }
}
