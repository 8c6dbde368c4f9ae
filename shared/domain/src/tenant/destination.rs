//! Recipients and integrations: what may be notified.

use super::{Email, NumberFacts, Phone, Sealed};
use crate::digest::Digest;
use crate::ids::{IntegrationId, RecipientId};
use crate::quiet::QuietHoursOverride;
use crate::reason::Reason;
use crate::vocabulary::{Category, Channel, Role, Severity};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// An alert that a recipient opted in to, beyond the role matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptIn {
    /// Configurable incidents by e-mail, for an org admin.
    ConfigurableEmail,
    /// User-level warnings by e-mail.
    WarningsEmail,
    /// User-level warnings by SMS.
    WarningsSms,
}

/// Filters of a destination. An empty filter accepts everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filters {
    /// Names of regions to be notified of.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Names of components to be notified of.
    #[serde(default)]
    pub components: Vec<String>,
    /// Minimum severity; `None` leaves it to the category and the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_severity: Option<Severity>,
    /// Minimum severity of single categories, in place of `min_severity`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub min_severities: BTreeMap<Category, Severity>,
}

/// Why and since when nothing is sent to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// `suppressed_bounce`, `suppressed_complaint` or `suppressed_by_owner`; `opted_out` for a number.
    pub reason: Reason,
    /// When it was suppressed.
    pub at: Timestamp,
}

/// Who recorded a recipient's consent, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentRecord {
    /// Id of the token, or who else recorded it.
    pub by: String,
    /// When it was recorded.
    pub at: Timestamp,
}

/// A person, or a shared mailbox, that may be notified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Id of the recipient (`rcp_…`).
    pub id: RecipientId,
    /// Display name, for people.
    pub name: String,
    /// E-mail address; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// Whether the owner confirmed the address.
    #[serde(default)]
    pub email_confirmed: bool,
    /// Phone number; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Phone>,
    /// What was known of the number when it was saved; `None` for an older record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_facts: Option<NumberFacts>,
    /// Whether the owner confirmed the number.
    #[serde(default)]
    pub phone_confirmed: bool,
    /// Roles of the recipient, 1 to 4.
    pub roles: BTreeSet<Role>,
    /// Filters on regions, components and severity.
    #[serde(flatten)]
    pub filters: Filters,
    /// The platform's id of the user who the recipient is. User-level warnings about that user are the recipient's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Alerts that the recipient opted in to.
    #[serde(default)]
    pub opt_ins: BTreeSet<OptIn>,
    /// Categories whose e-mails the recipient unsubscribed from.
    #[serde(default)]
    pub unsubscribed: BTreeSet<Category>,
    /// Whether the recipient unsubscribed from e-mails about user-level warnings.
    #[serde(default)]
    pub unsubscribed_warnings: bool,
    /// Whether the number is in a do-not-disturb registry.
    #[serde(default)]
    pub dnd: bool,
    /// Whether consent to SMS is recorded, which overrides `dnd`.
    #[serde(default)]
    pub sms_consent: bool,
    /// Who recorded the consent, and when; `None` without consent, and for an older record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms_consent_record: Option<ConsentRecord>,
    /// IANA time zone of the recipient; `None` means the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Why nothing is sent to the address until its owner confirms it again; `None` if it is not suppressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<Suppression>,
    /// When the owner of the phone opted out of SMS; `None` once the number is confirmed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms_opted_out: Option<Timestamp>,
    /// Which alerts are put into a digest; `None` leaves it to the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Whether the recipient wants no digest, not even the tenant's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_digest: bool,
    /// Quiet hours that replace the tenant's; `None` keeps the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHoursOverride>,
    /// Whether several people read this address. Then no single one of them can unsubscribe it.
    #[serde(default)]
    pub shared: bool,
    /// When it was added. Earlier plans do not include it.
    #[serde(default)]
    pub created_at: Timestamp,
    /// Increases by one with each write; used as the ETag.
    pub version: u64,
}

impl Recipient {
    /// Returns the recipient with the record of its consent to SMS, if there is any: the saved one as long as the number is the same, otherwise
    /// that of whoever saves it now.
    #[must_use]
    pub fn with_consent_record(self, before: Option<&Self>, now: ConsentRecord) -> Self {
        let kept = before.filter(|before| before.sms_consent && before.phone == self.phone);
        let record = match kept {
            Some(before) => before.sms_consent_record.clone(),
            None => Some(now),
        };
        Self { sms_consent_record: record.filter(|_| self.sms_consent), ..self }
    }

    /// Returns the recipient's digest: its own, or the tenant's; `None` if it wants none, or there is none.
    #[must_use]
    pub fn digest_or<'a>(&'a self, of_tenant: Option<&'a Digest>) -> Option<&'a Digest> {
        self.digest.as_ref().or(of_tenant.filter(|_| !self.no_digest))
    }

    /// Returns what is known of the recipient's number; `None` without a number.
    #[must_use]
    pub fn number_facts(&self) -> Option<NumberFacts> {
        let phone = self.phone.as_ref()?;
        Some(self.phone_facts.clone().unwrap_or_else(|| phone.facts()))
    }

    /// Suppresses the address, or the number if the reason is an SMS opt-out. Returns whether anything changed; `false` if it is suppressed
    /// already or missing.
    pub fn suppress(&mut self, suppressed: &Suppression) -> bool {
        match suppressed.reason {
            Reason::OptedOut if self.phone.is_none() || self.sms_opted_out.is_some() => false,
            Reason::OptedOut => {
                self.sms_opted_out = Some(suppressed.at);
                true
            }
            _ if self.email.is_none() || self.suppressed.is_some() => false,
            _ => {
                self.suppressed = Some(*suppressed);
                true
            }
        }
    }
}

/// Why and since when an integration is disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disablement {
    /// When it was disabled.
    pub at: Timestamp,
    /// The cause: `http_410`, Slack's code such as `no_service`, or `failing_too_long`.
    pub cause: String,
    /// From when on an alert probes the endpoint; `None` if the endpoint said that it no longer exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_at: Option<Timestamp>,
}

impl Disablement {
    /// Returns whether an alert may probe the endpoint at `now`.
    #[must_use]
    pub fn is_half_open(&self, now: Timestamp) -> bool {
        self.probe_at.is_some_and(|at| now >= at)
    }
}

/// A signing secret that was rotated out. Webhooks are signed with both secrets until it expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSecret {
    /// The secret, encrypted by the vault.
    pub secret: Sealed,
    /// When the secret expires and no longer signs.
    pub until: Timestamp,
}

/// A Slack, Teams or webhook endpoint that may be notified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integration {
    /// Id of the integration (`int_…`).
    pub id: IntegrationId,
    /// Display name, for people.
    pub name: String,
    /// The kind of endpoint: `Slack`, `Teams` or `Webhook`.
    pub kind: Channel,
    /// The encrypted URL. For Slack and Teams the URL is the credential.
    pub url: Sealed,
    /// Host of the URL, which may be displayed.
    pub host: String,
    /// Keyed hash of the normalized URL: equal for equal URLs, and reveals nothing else.
    pub fingerprint: String,
    /// The encrypted signing secret; only for webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Sealed>,
    /// The secret before the last rotation; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_secret: Option<OldSecret>,
    /// Categories it receives; empty means all.
    #[serde(default)]
    pub categories: BTreeSet<Category>,
    /// Roles whose alerts it receives, 1 to 4.
    pub audiences: BTreeSet<Role>,
    /// Filters on regions, components and severity.
    #[serde(flatten)]
    pub filters: Filters,
    /// Whether the tenant paused it.
    #[serde(default)]
    pub paused: bool,
    /// Why it is disabled; `None` if it is enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disablement>,
    /// When the tenant was notified that it is failing; the days until it is disabled count from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Timestamp>,
    /// Since when its endpoint answers slowly: what is sent to it takes the bulk lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow: Option<Timestamp>,
    /// When it was added. Earlier plans do not include it.
    #[serde(default)]
    pub created_at: Timestamp,
    /// Increases by one with each write; used as the ETag.
    pub version: u64,
}

/// A recipient or an integration that may be notified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Destination {
    /// A person, by e-mail and SMS.
    Recipient(Box<Recipient>),
    /// A Slack, Teams or webhook endpoint.
    Integration(Box<Integration>),
}

impl Destination {
    /// Returns its id, as used in decisions, rows and messages.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Recipient(recipient) => recipient.id.as_str(),
            Self::Integration(integration) => integration.id.as_str(),
        }
    }

    /// Returns when it was added.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        match self {
            Self::Recipient(recipient) => recipient.created_at,
            Self::Integration(integration) => integration.created_at,
        }
    }

    /// Returns the destination's filters.
    #[must_use]
    pub fn filters(&self) -> &Filters {
        match self {
            Self::Recipient(recipient) => &recipient.filters,
            Self::Integration(integration) => &integration.filters,
        }
    }

    /// Returns the roles for which it is notified.
    #[must_use]
    pub fn roles(&self) -> &BTreeSet<Role> {
        match self {
            Self::Recipient(recipient) => &recipient.roles,
            Self::Integration(integration) => &integration.audiences,
        }
    }

    /// Returns every channel on which it could be notified.
    #[must_use]
    pub fn channels(&self) -> &'static [Channel] {
        match self {
            Self::Recipient(_) => &[Channel::Email, Channel::Sms],
            Self::Integration(integration) => match integration.kind {
                Channel::Slack => &[Channel::Slack],
                Channel::Teams => &[Channel::Teams],
                _ => &[Channel::Webhook],
            },
        }
    }

    /// Returns the address, number or URL hash by which two destinations are the same on `channel`; `None` if it has none.
    #[must_use]
    pub fn identity(&self, channel: Channel) -> Option<String> {
        match (self, channel) {
            (Self::Recipient(recipient), Channel::Email) => recipient.email.as_ref().map(Email::identity),
            (Self::Recipient(recipient), Channel::Sms) => recipient.phone.as_ref().map(|p| p.expose().to_owned()),
            (Self::Integration(integration), _) => Some(integration.fingerprint.clone()),
            _ => None,
        }
    }
}
