//! Queue messages. Each carries its version and the correlation id of the upstream's request.

use domain::alert::{Alert, Why};
use domain::event::Event;
use domain::health::{Endpoint, OWN_SOURCE};
use domain::ids::{EventId, IncidentId, IntegrationId, RecipientId, Scope, TenantId};
use domain::incident::{Incident, Update};
use domain::maintenance::{Explained, Inside, Reminder};
use domain::reason::Reason;
use domain::tenant::{Destination, Email, OldSecret, Phone, Sealed, Settings, SmsCompliance};
use domain::vocabulary::{Category, Channel, Role, Status, Storms};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of every message here.
pub const VERSION: u32 = 1;

/// intake → classify: one accepted event for one scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentReceived {
    /// [`VERSION`].
    pub v: u32,
    /// The event.
    pub event_id: EventId,
    /// The upstream's request, end to end.
    pub correlation_id: String,
    /// When it was accepted; every window counts from here.
    pub accepted_at: Timestamp,
    /// Who posted it.
    pub integration_id: IntegrationId,
    /// Whom it is about; `None` when nobody could tell.
    pub scope: Option<Scope>,
    /// Why nobody could tell, or why it may not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Reason>,
    /// What arrived.
    pub body: Body,
}

/// What arrived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A normalised event.
    Event(Box<Event>),
    /// Somebody's words on an incident (`POST /v1/incidents/{id}/updates`).
    Update {
        /// The incident.
        incident_id: IncidentId,
        /// The hash of its key: updates and events of one incident share a FIFO group.
        key: String,
        /// The new status; `None` keeps it.
        status: Option<Status>,
        /// The words.
        message: String,
    },
    /// What a drop-in format says about whatever is open under a key: acknowledged, closed, a note.
    Note(Box<Note>),
    /// It is time to remind of announced work, if nothing was said of it since (release → classify).
    Reminder(Reminder),
}

/// Words of a drop-in format on what is open under a key. A note never opens an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The source, as the events of its format name it.
    pub source: String,
    /// The source's dedup key.
    pub dedup_key: String,
    /// The new status; `None` keeps it.
    pub status: Option<Status>,
    /// The words.
    pub message: String,
    /// Whether people hear of it; a note that only says that data is missing is recorded.
    pub tell: bool,
}

/// classify → subscription-lookup, and from page to page: plan one update for these tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingJob {
    /// [`VERSION`].
    pub v: u32,
    /// The upstream's request.
    pub correlation_id: String,
    /// The incident.
    pub incident_id: IncidentId,
    /// The update.
    pub update: u32,
    /// For whom.
    pub route: Route,
}

/// For whom a routing job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// One tenant.
    Tenant(TenantId),
    /// Every tenant of the shards `next..end`.
    Shards {
        /// The first shard; with the group, what keeps an incident's updates in order.
        first: u16,
        /// The shard this page begins in.
        next: u16,
        /// One past the last shard.
        end: u16,
        /// The last tenant of that shard that is already planned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<TenantId>,
    },
}

impl RoutingJob {
    /// The FIFO group: updates of one incident for one group of shards stay in order.
    #[must_use]
    pub fn group(&self) -> String {
        match &self.route {
            Route::Tenant(_) => self.incident_id.as_str().to_owned(),
            Route::Shards { first, .. } => format!("{}-{first}", self.incident_id),
        }
    }

    /// The FIFO deduplication id: a page is enqueued once however often its predecessor runs.
    #[must_use]
    pub fn deduplication_id(&self) -> String {
        let (shard, cursor) = match &self.route {
            Route::Tenant(tenant) => (tenant.to_string(), String::new()),
            Route::Shards { next, after, .. } => {
                (next.to_string(), after.as_ref().map(ToString::to_string).unwrap_or_default())
            }
        };
        domain::ids::digest(&[self.incident_id.as_str(), &self.update.to_string(), &shard, &cursor])
    }
}

/// subscription-lookup, release → deliver-*: one update for one destination on one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// [`VERSION`].
    pub v: u32,
    /// The upstream's request.
    pub correlation_id: String,
    /// What is told.
    pub alert: Alert,
    /// Why to this destination.
    pub why: Why,
    /// The recipient's or integration's id.
    pub destination: String,
    /// The channel.
    pub channel: Channel,
    /// Where to.
    pub target: Target,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The tenant's alert window in seconds, counted from `alert.at`.
    pub window_seconds: u32,
    /// The moment that the destination's gate handed out, in epoch milliseconds; 0 when it was not asked yet.
    #[serde(default)]
    pub slot_ms: i64,
    /// How many moments the gate has handed out for this attempt.
    #[serde(default)]
    pub slots: u32,
    /// True when the receiver refused the rich form and the plain one is to be sent.
    #[serde(default)]
    pub plain: bool,
    /// Whether it may wait for others where its contact has had enough for now.
    #[serde(default)]
    pub bundle: bool,
    /// What is known of an integration's endpoint.
    #[serde(default, skip_serializing_if = "Endpoint::is_healthy")]
    pub endpoint: Endpoint,
    /// The update before it that the same webhook is due: what is tried first is tried first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<u32>,
}

/// What comes to the functions that write to people: a delivery, or the question whether they want any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Letter {
    /// A delivery.
    Delivery(Box<Delivery>),
    /// A confirmation.
    Confirmation(Box<Confirmation>),
    /// A digest.
    Digest(Box<Digest>),
}

/// release → deliver-*: several deliveries to one recipient that come in one message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    /// [`VERSION`].
    pub v: u32,
    /// What is in it, each with its own row; of the texts only what a digest shows.
    pub members: Vec<Delivery>,
    /// How many more there were, which it only counts.
    #[serde(default)]
    pub more: u32,
    /// True where so much came at once; else its recipient has a digest.
    #[serde(default)]
    pub storm: bool,
}

impl Digest {
    /// Most deliveries of one digest: what fits a message of a queue (256 KiB) with room to spare.
    pub const MEMBERS_MAX: usize = 100;

    /// A digest of these, without what it does not show.
    #[must_use]
    pub fn new(members: Vec<Delivery>, more: u32, storm: bool) -> Self {
        let shown = |mut delivery: Delivery| {
            let alert = &mut delivery.alert;
            alert.message.clear();
            alert.links.clear();
            alert.measurements.clear();
            alert.labels.clear();
            alert.details.clear();
            alert.inside.name_at_most(3);
            alert.components.truncate(3);
            alert.regions.truncate(3);
            delivery
        };
        Self { v: VERSION, members: members.into_iter().map(shown).collect(), more, storm }
    }
}

/// preferences-api → deliver-email, deliver-sms: ask whether an address or a number is to get a tenant's alerts.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Confirmation {
    /// [`VERSION`].
    pub v: u32,
    /// The admin's request.
    pub correlation_id: String,
    /// Who asks.
    pub tenant: TenantId,
    /// Its name for people.
    pub tenant_name: String,
    /// Who is asked.
    pub recipient: RecipientId,
    /// What the link or the code confirms, and nothing else: a keyed hash of the address or number.
    pub identity: String,
    /// Until when the link is good.
    pub until: Timestamp,
    /// The code that an SMS carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Sealed>,
    /// Where to.
    pub target: Target,
}

impl std::fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Confirmation({} {})", self.tenant, self.recipient)
    }
}

/// deliver-sms → feedback: SNS said at once that the phone's owner wants no text messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptedOut {
    /// [`VERSION`].
    pub v: u32,
    /// Whose recipient it is.
    pub tenant: TenantId,
    /// The recipient.
    pub recipient: RecipientId,
    /// The incident that was to be told.
    pub incident_id: IncidentId,
    /// Its category.
    pub category: Option<Category>,
    /// The number, as `domain::contact` hashes it.
    pub contact: String,
}

/// Where a delivery goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum Target {
    /// A mailbox.
    Email {
        /// The address.
        address: Email,
        /// Several people read it: no single one of them may unsubscribe it or stop an incident.
        #[serde(default)]
        shared: bool,
    },
    /// A phone.
    Sms {
        /// The number.
        phone: Phone,
        /// What the law wants with it.
        compliance: SmsCompliance,
    },
    /// A Slack or Teams webhook.
    Chat {
        /// The sealed URL.
        url: Sealed,
        /// What its gate is keyed by.
        fingerprint: String,
    },
    /// A signed webhook.
    Webhook {
        /// The sealed URL.
        url: Sealed,
        /// The sealed secret.
        secret: Sealed,
        /// The secret before the last rotation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old_secret: Option<OldSecret>,
    },
}

impl Delivery {
    /// The delivery row's sort key part: a person's thread is one row, a webhook's updates are one row each.
    #[must_use]
    pub fn row(&self) -> String {
        row_name(&self.destination, self.channel, self.alert.update)
    }
}

/// The name of a delivery's row within its incident and tenant.
#[must_use]
pub fn row_name(destination: &str, channel: Channel, update: u32) -> String {
    match channel {
        Channel::Webhook => format!("{destination}#{update:06}"),
        _ => format!("{destination}#{channel}"),
    }
}

impl Delivery {
    /// The first attempt of `update` to `destination` on `channel`; `None` when it has nothing to send to there.
    #[must_use]
    pub fn build(
        settings: &Settings,
        incident: &Incident,
        update: &Update,
        destination: &Destination,
        channel: Channel,
        role: Option<Role>,
    ) -> Option<Self> {
        let target = match (destination, channel) {
            (Destination::Recipient(recipient), Channel::Email) => {
                Target::Email { address: recipient.email.clone()?, shared: recipient.shared }
            }
            (Destination::Recipient(recipient), Channel::Sms) => {
                Target::Sms { phone: recipient.phone.clone()?, compliance: settings.compliance.clone() }
            }
            (Destination::Integration(integration), Channel::Webhook) => Target::Webhook {
                url: integration.url.clone(),
                secret: integration.secret.clone()?,
                old_secret: integration.old_secret.clone(),
            },
            (Destination::Integration(integration), Channel::Slack | Channel::Teams) => {
                Target::Chat { url: integration.url.clone(), fingerprint: integration.fingerprint.clone() }
            }
            _ => return None,
        };
        let content = settings.data_processing.content;
        let own = match destination {
            Destination::Recipient(recipient) => recipient.zone.as_deref(),
            Destination::Integration(_) => None,
        };
        let zone = own.unwrap_or(&settings.zone);
        Some(Self {
            v: VERSION,
            correlation_id: update.correlation_id.clone(),
            alert: Alert::new(&settings.tenant, zone, content, incident, update),
            why: Why { role, held: None },
            destination: destination.id().to_owned(),
            channel,
            target,
            attempt: 1,
            window_seconds: settings.alert_window_seconds,
            slot_ms: 0,
            slots: 0,
            plain: false,
            bundle: settings.storms == Storms::Bundle,
            endpoint: match destination {
                Destination::Recipient(_) => Endpoint::Healthy,
                Destination::Integration(integration) => Endpoint::of(integration),
            },
            follows: None,
        })
    }
}

impl Delivery {
    /// The same, where it is of announced work: naming what that explained.
    #[must_use]
    pub fn naming(mut self, explained: &[Explained]) -> Self {
        self.alert.inside = Inside::of(explained, &self.alert.tenant);
        self
    }
}

/// What classify has to put on a queue; stored with the event's record, so that a redelivered event can emit it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum Job {
    /// For subscription-lookup.
    Route(RoutingJob),
    /// For classify itself: what the operators are to be told.
    Receive(Box<IncidentReceived>),
}

impl IncidentReceived {
    /// What Tocsin itself tells a tenant; it goes the way of every event.
    #[must_use]
    pub fn own(tenant: &TenantId, event: Event, event_id: EventId, correlation_id: &str, now: Timestamp) -> Self {
        Self {
            v: VERSION,
            event_id,
            correlation_id: correlation_id.to_owned(),
            accepted_at: now,
            integration_id: IntegrationId::new(OWN_SOURCE),
            scope: Some(Scope::Tenant(tenant.clone())),
            trouble: None,
            body: Body::Event(Box::new(event.capped())),
        }
    }

    /// A reminder that is due: the same one is the same event, however often it is sent.
    #[must_use]
    pub fn reminder(reminder: Reminder, now: Timestamp) -> Self {
        let Reminder { incident_id, update, .. } = &reminder;
        Self {
            v: VERSION,
            event_id: EventId::derived(&[incident_id.as_str(), "reminder", &update.to_string()]),
            correlation_id: reminder.correlation_id.clone(),
            accepted_at: now,
            integration_id: IntegrationId::new(OWN_SOURCE),
            scope: Some(reminder.scope.clone()),
            trouble: None,
            body: Body::Reminder(reminder),
        }
    }

    /// Whether Tocsin itself says it: the integration is the token's, so no source can.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.integration_id == IntegrationId::new(OWN_SOURCE)
    }

    /// The FIFO group: one incident's events stay in order.
    #[must_use]
    pub fn group(&self) -> String {
        let everybody = Scope::Platform;
        let scope = self.scope.as_ref().unwrap_or(&everybody);
        let key = |source: &str, dedup_key: &str| domain::incident::key(scope, &self.integration_id, source, dedup_key);
        match &self.body {
            Body::Event(event) => key(&event.source, &event.dedup_key),
            Body::Note(note) => key(&note.source, &note.dedup_key),
            // An update is about an incident whose key the head holds; intake passes it on as the group.
            Body::Update { key, .. } | Body::Reminder(Reminder { key, .. }) => key.clone(),
        }
    }

    /// The FIFO deduplication id: the event and its scope.
    #[must_use]
    pub fn deduplication_id(&self) -> String {
        let scope = match &self.scope {
            Some(Scope::Tenant(tenant)) => tenant.as_str(),
            Some(Scope::Platform) => "P",
            None => "-",
        };
        domain::ids::digest(&[self.event_id.as_str(), scope])
    }
}

/// A message that knows the upstream's request.
pub trait Correlated {
    /// The upstream's request.
    fn correlation_id(&self) -> &str;
}

macro_rules! correlated {
    ($($message:ty),+) => {$(
        impl Correlated for $message {
            fn correlation_id(&self) -> &str {
                &self.correlation_id
            }
        }
    )+};
}

correlated!(IncidentReceived, RoutingJob, Delivery);

impl Correlated for Letter {
    fn correlation_id(&self) -> &str {
        match self {
            Self::Delivery(delivery) => &delivery.correlation_id,
            Self::Confirmation(confirmation) => &confirmation.correlation_id,
            // Of many requests; the first stands for them in the log.
            Self::Digest(digest) => digest.members.first().map_or("", |first| &first.correlation_id),
        }
    }
}
